"""A sequential solver in array operations alone, for devices that SciPy cannot reach.

Linearly implicit (Rosenbrock) steps need no iteration, serve stiff and non-stiff
problems alike, and few operations: at the start of a step the derivative and all of its
differences come from one call, and one inverse serves all stages.

Source: E. Hairer, G. Wanner, "Solving Ordinary Differential Equations II: Stiff and
Differential-Algebraic Problems", 2nd ed., Springer, 1996, Sections IV.7 and IV.10.
"""

import math
from dataclasses import dataclass

from ._array_namespace import (
    add_to_diagonal,
    array_namespace,
    errstate,
    like,
    new_zeros,
)
from ._jacobian import SQRT_EPS, increments

__all__ = ["RODAS3", "RosenbrockTableau", "rosenbrock"]

# Step size control as in the source, IV.7.
SAFETY, SHRINK, GROW = 0.9, 0.2, 6.0
# So small a part of the first scale of time is the first step.
FIRST = 0.01


@dataclass(frozen=True)
class RosenbrockTableau:
    """Coefficients in the form that needs no products with the Jacobian.

    With the stages ``u_i``, ``(I / (gamma h) - J) u_i = f(t + alpha_i h, y + sum_j
    a_ij u_j) + sum_j c_ij u_j / h + gamma_i h df/dt``, the step leads to the argument
    of `f` in the last stage plus ``u_s``, which is also the error estimate.

    Attributes
    ----------
    gamma : float
    a, c : tuple of tuple of float
        Rows of the second and later stages.
    alpha, gammas : tuple of float
    error_order : int
        The estimate behaves as ``h**(error_order + 1)``.
    """

    gamma: float
    a: tuple
    c: tuple
    alpha: tuple
    gammas: tuple
    error_order: int


# A. Sandu et al., "Benchmarking stiff ODE solvers for atmospheric chemistry problems
# II: Rosenbrock solvers", Atmospheric Environment 31, 1997: order 3, L-stable, with
# three different arguments of `f`.
RODAS3 = RosenbrockTableau(
    gamma=0.5,
    a=((0.0,), (2.0, 0.0), (2.0, 0.0, 1.0)),
    c=((4.0,), (1.0, -1.0), (1.0, -1.0, -8 / 3)),
    alpha=(0.0, 0.0, 1.0, 1.0),
    gammas=(0.5, 1.5, 0.0, 0.0),
    error_order=2,
)


def rosenbrock(rhs, t, y, t_bound, rtol, atol, max_step, tableau=RODAS3):
    """Yield steps from (t, y) towards `t_bound`, times and states.

    It ends there, or where no step succeeds: where the right-hand side is not finite
    or raises.

    Parameters
    ----------
    rhs : Rhs
    t : float
    y : array, shape (n,)
    t_bound : float
        May be infinite.
    rtol, atol : float or array_like, shape (n,)
    max_step : float
    tableau : RosenbrockTableau

    Yields
    ------
    t : float
    y : array, shape (n,)
    """
    xp = array_namespace(y)
    rtol, atol = like(y, rtol), like(y, atol)
    direction = 1.0 if t_bound >= t else -1.0
    h = None
    while t != t_bound:
        rhs.check_deadline()
        f, J, ft = _linearize(xp, rhs, t, y, direction, h, atol)
        if h is None:
            h = _first_step(xp, f, y, atol + rtol * xp.abs(y))
        grow = GROW
        while True:
            h = min(h, max_step, abs(t_bound - t))
            if not h > 10 * math.ulp(abs(t)):
                return
            step = direction * h
            with errstate(xp):
                new, estimate = _step(xp, tableau, rhs, t, y, step, f, J, ft)
                scale = atol + rtol * xp.maximum(xp.abs(y), xp.abs(new))
                error = math.sqrt(_mean_square(xp, estimate / scale))
            if error <= 1.0:
                break
            shrink = SAFETY * error ** (-1 / (tableau.error_order + 1))
            h *= max(SHRINK, shrink) if math.isfinite(error) else SHRINK
            grow = 1.0
        last = h == abs(t_bound - t)
        t, y = t_bound if last else t + step, new
        yield t, y
        if error > 0:
            grow = min(grow, SAFETY * error ** (-1 / (tableau.error_order + 1)))
        h *= grow


def _mean_square(xp, values):
    """Mean square as a number, inf where it is NaN."""
    mean = float(xp.sum(xp.abs(values) ** 2)) / values.size
    return mean if mean >= 0 else math.inf


def _first_step(xp, f, y, scale):
    """Choose a length in which the state changes by little."""
    with errstate(xp):
        size, slope = _mean_square(xp, y / scale), _mean_square(xp, f / scale)
    if 1e-10 < size < math.inf and 1e-10 < slope < math.inf:
        return FIRST * math.sqrt(size / slope)
    return 1e-6


def _linearize(xp, rhs, t, y, direction, h, atol):
    """Find derivative (n,), Jacobian (n, n) and slope in time (n,) by one call.

    A complex right-hand side is taken to be analytic. What is not finite counts as
    zero: with any Jacobian the step is one of a Runge-Kutta method.
    """
    n = y.shape[0]
    eps = xp.maximum(increments(y[:, None])[:, 0], SQRT_EPS * atol)
    points = xp.repeat(y[:, None], n + 2, axis=1)
    add_to_diagonal(xp, points[:, 1 : n + 1], eps)
    later = t + direction * SQRT_EPS * max(abs(t), h or SQRT_EPS)
    times = like(y, [t] * (n + 1) + [later], xp.float64)
    with errstate(xp):
        values = rhs(times, points)
        used = xp.linalg.diagonal(points[:, 1 : n + 1]) - y
        f = values[:, 0]
        J = (values[:, 1 : n + 1] - f[:, None]) / used
        ft = (values[:, n + 1] - f) / (later - t) if later != t else 0.0 * f
    return f, xp.where(xp.isfinite(J), J, 0.0), xp.where(xp.isfinite(ft), ft, 0.0)


def _step(xp, tableau, rhs, t, y, h, f, J, ft):
    """Take a step; return the state and its error estimate, NaN where `rhs` raises."""
    matrix = -J
    add_to_diagonal(xp, matrix, 1.0 / (tableau.gamma * h))
    try:
        inverse = xp.linalg.inv(matrix)
        stages = [inverse @ (f + (tableau.gammas[0] * h) * ft)]
        state = y
        for i, (a, c) in enumerate(zip(tableau.a, tableau.c, strict=True), start=1):
            if any(a):  # otherwise the argument is the one before
                state = y + _combine(a, stages)
                f = rhs.single(t + tableau.alpha[i] * h, state)
            force = f + _combine([x / h for x in c], stages)
            if tableau.gammas[i]:
                force = force + (tableau.gammas[i] * h) * ft
            stages.append(inverse @ force)
    except Exception:  # the function's own, met ahead of time, or a singular matrix
        return y, new_zeros(y, y.shape) + math.nan
    return state + stages[-1], stages[-1]


def _combine(coefficients, stages):
    """Linear combination of stages."""
    terms = [c * u for c, u in zip(coefficients, stages, strict=True) if c]
    total = terms[0] if terms else 0.0
    for term in terms[1:]:
        total = total + term
    return total
