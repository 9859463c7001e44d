"""Change one import: the call and the result stay what SciPy has.

Predators and prey, at a tight tolerance.
"""

import numpy as np
import scipy.integrate

from parivp import solve_ivp  # was: from scipy.integrate import solve_ivp


def lotka_volterra(t, y, a, b, c, d):
    prey, predators = y
    return [a * prey - b * prey * predators, d * prey * predators - c * predators]


def main():
    problem = dict(
        fun=lotka_volterra,
        t_span=(0, 20),
        y0=[1.0, 1.0],
        args=(1.5, 1.0, 3.0, 1.0),
        t_eval=np.linspace(0, 20, 201),
        rtol=1e-9,
        atol=1e-12,
    )
    result = solve_ivp(**problem)
    print(result.message)
    print(f"{result.nsteps} steps in {result.nit} Newton iterations")

    scipys = scipy.integrate.solve_ivp(**problem, method="DOP853")
    print(f"largest difference from SciPy: {np.abs(result.y - scipys.y).max():.1e}")


if __name__ == "__main__":
    main()
