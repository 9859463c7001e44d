"""The papers' setting: fixed steps, every one of them unknown at once.

Newton's method for the 1000 steps of RK4 on the van der Pol oscillator starts
from a vector of ones and ends with the states of the sequential recursion.
"""

import numpy as np

from parivp import solve_ivp


def van_der_pol(t, y):
    return [y[1], (1 - y[0] ** 2) * y[1] - y[0]]


def recursion(fun, t_span, y0, n_steps):
    """Classical Runge-Kutta method, one step after another."""
    t, h = np.linspace(*t_span, n_steps + 1, retstep=True)
    y = np.array(y0)
    for s in t[:-1]:
        k1 = np.asarray(fun(s, y))
        k2 = np.asarray(fun(s + h / 2, y + h / 2 * k1))
        k3 = np.asarray(fun(s + h / 2, y + h / 2 * k2))
        k4 = np.asarray(fun(s + h, y + h * k3))
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y


def main():
    t_span, y0 = (0.0, 10.0), [0.0, 1.0]
    result = solve_ivp(
        van_der_pol,
        t_span,
        y0,
        tableau="RK4",
        n_steps=1000,
        initial_guess=1.0,
        window=np.inf,
    )
    print("largest residual at each Newton iteration:")
    print("  " + " ".join(f"{norm:.0e}" for norm in result.newton_residuals[0]))
    difference = np.abs(result.y[:, -1] - recursion(van_der_pol, t_span, y0, 1000))
    print(f"end point differs from the recursion's by {difference.max():.0e}")


if __name__ == "__main__":
    main()
