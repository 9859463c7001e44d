"""A sequential solver in array operations alone, for devices that SciPy cannot reach.

Linearly implicit (Rosenbrock) steps need no iteration, serve stiff and non-stiff
problems alike, and few operations: at the start of a step the derivative and all of its
differences come from one call, and one inverse serves all stages.

Source: E. Hairer, G. Wanner, "Solving Ordinary Differential Equations II: Stiff and
Differential-Algebraic Problems", 2nd ed., Springer, 1996, Sections IV.7 and IV.10.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ._array_namespace import (
    array_namespace,
    errstate,
    fused,
    is_cupy_namespace,
    like,
    new_empty,
    squares,
)
from ._jacobian import SQRT_EPS
from ._rosenbrock_cuda import FusedSteps

__all__ = ["ROS4", "RODAS3", "RosenbrockTableau", "rosenbrock"]

# Step size control as in the source, IV.7.
SAFETY, SHRINK, GROW = 0.9, 0.2, 6.0
EPS = float(np.finfo(np.float64).eps)
# So small a part of the first scale of time is the first step.
FIRST = 0.01
# So many units of rounding of the time are the shortest step.
ULPS = 10


@dataclass(frozen=True)
class RosenbrockTableau:
    """Coefficients in the form that needs no products with the Jacobian.

    With the stages ``u_i``, ``(I / (gamma h) - J) u_i = f(t + alpha_i h, y + sum_j
    a_ij u_j) + sum_j c_ij u_j / h + gamma_i h df/dt``, the step leads to ``y + sum_i
    m_i u_i`` with the error estimate ``sum_i e_i u_i``.

    Attributes
    ----------
    gamma : float
    a, c : tuple of tuple of float
        Rows of the second and later stages.
    alpha, gammas : tuple of float
    error_order : int
        The estimate behaves as ``h**(error_order + 1)``.
    m, e : tuple of float, optional
        By default the step leads to the argument of `f` in the last stage plus
        ``u_s``, which is also the error estimate.
    """

    gamma: float
    a: tuple
    c: tuple
    alpha: tuple
    gammas: tuple
    error_order: int
    m: tuple = ()
    e: tuple = ()

    @cached_property
    def groups(self):
        """First and past-last stage of those that share an argument of `f`."""
        rows = [(), *self.a]
        new = [i for i in range(1, len(rows)) if rows[i] != (*rows[i - 1], 0.0)]
        return list(zip([0, *new], [*new, len(rows)], strict=True))


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


# L. F. Shampine, "Implementation of Rosenbrock methods", ACM Trans. Math. Softw. 8,
# 1982: order 4 with as many arguments, A-stable, but damped at infinity by 1/3 alone.
ROS4 = RosenbrockTableau(
    gamma=0.5,
    a=((2.0,), (48 / 25, 6 / 25), (48 / 25, 6 / 25, 0.0)),
    c=((-8.0,), (372 / 25, 12 / 5), (-112 / 125, -54 / 125, -2 / 5)),
    alpha=(0.0, 1.0, 0.6, 0.6),
    gammas=(0.5, -1.5, 121 / 50, 29 / 250),
    error_order=3,
    m=(19 / 9, 1 / 2, 25 / 108, 125 / 108),
    e=(17 / 54, 7 / 36, 0.0, 125 / 108),
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
    steps = _Steps(rhs, y, rtol, atol, tableau)
    if is_cupy_namespace(steps.xp) and FusedSteps.fit(y):
        steps = FusedSteps(steps)
    direction = 1.0 if t_bound >= t else -1.0
    power, h = -1 / (tableau.error_order + 1), steps.first_step(t, y)
    h, least = max(h, 10 * ULPS * math.ulp(t)), EPS * h
    while t != t_bound:
        rhs.check_deadline()
        left, shortest = abs(t_bound - t), ULPS * math.ulp(t)
        h = min(h, max_step, left)
        # neither beyond the end nor so far that the slope is another one
        later = t + direction * min(max(SQRT_EPS * h, shortest), left)
        known = steps.linearize(t, y, later - t)
        grow = GROW
        while True:
            if not h > max(shortest, least):
                return
            end = t_bound if h == left else t + direction * h
            new, error = steps.step(t, y, end, *known)
            if error <= 1.0:
                break
            h *= max(SHRINK, SAFETY * error**power) if math.isfinite(error) else SHRINK
            grow = 1.0
        t, y = end, new
        yield t, y
        h *= min(grow, SAFETY * error**power) if error > 0 else grow


class _Steps:
    """The steps of a method, in few operations.

    On a GPU each of them takes some microseconds, whatever its size. So the arguments
    of the stages, their forces and the new state are products of rows of coefficients
    with one array, whose rows are ``y``, ``h**2 df/dt`` and the stages. The equations
    are those of the tableau times ``h``.
    """

    def __init__(self, rhs, y, rtol, atol, tableau):
        n = y.shape[0]
        self.rhs, self.tableau, self.xp = rhs, tableau, array_namespace(y)
        self.rtol, self.atol = like(y, rtol), like(y, atol)
        self.known = new_empty(y, (2 + len(tableau.alpha), n))
        self.coefficients = _rows(tableau)

    @cached_property
    def directions(self):
        """Those of the state, copies of it moved in each direction, and one more."""
        n = self.known.shape[1]
        return like(self.known, np.eye(n, n + 2, k=1))

    @cached_property
    def later(self):
        """One for the last of these points, which is moved in time, and else zero."""
        return like(self.known, np.append(np.zeros(self.known.shape[1] + 1), 1.0))

    @cached_property
    def identity(self):
        """The identity matrix over gamma."""
        return like(self.known, np.eye(self.known.shape[1]) / self.tableau.gamma)

    @cached_property
    def rows(self):
        """The coefficients, where the states are."""
        known = self.known
        return [like(known, rows, known.dtype) for rows in self.coefficients]

    def first_step(self, t, y):
        """Choose a length in which the state changes by little."""
        with errstate():
            # this gives NaN where the function raises
            f = self.rhs(like(y, [t], self.xp.float64), y[:, None])[:, 0]
            scale = self.atol + self.rtol * self.xp.abs(y)
            size, slope = self._mean_square(y / scale), self._mean_square(f / scale)
        if 1e-10 < size < math.inf and 1e-10 < slope < math.inf:
            return FIRST * math.sqrt(size / slope)
        return 1e-6

    def linearize(self, t, y, dt):
        """Find derivative (n,), Jacobian (n, n) and slope in time (n,) by one call.

        A complex right-hand side is taken to be analytic. What is not finite counts
        as zero: with any Jacobian the step is one of a Runge-Kutta method.
        """
        xp, n, column = self.xp, y.shape[0], y[:, None]
        points = _moved(xp, column, self.atol[..., None], self.directions)
        with errstate():
            values = self.rhs(t + dt * self.later, points)
            increments = xp.linalg.diagonal(points[:, 1 : n + 1]) - y
            J = _quotient(xp, values[:, 1 : n + 1], values[:, :1], increments)
            slope = _quotient(xp, values[:, n + 1], values[:, 0], dt)
        return values[:, 0], J, slope

    def step(self, t, y, end, f, J, slope):
        """Take a step; return the state and its error, in units of the tolerance."""
        xp, tab, known, h = self.xp, self.tableau, self.known, end - t
        try:
            with errstate():
                known[0, :], known[1, :] = y, h * (h * slope)
                inverse = xp.linalg.inv(self.identity - h * J)
                force = h * f + tab.gammas[0] * known[1, :]
                new_arguments = [first for first, _ in tab.groups]
                for i in range(1, len(tab.alpha)):
                    known[1 + i, :] = inverse @ force
                    found = self.rows[i - 1] @ known[: 2 + i, :]
                    if i in new_arguments:
                        time = end if tab.alpha[i] == 1.0 else t + tab.alpha[i] * h
                        f = self.rhs.single(time, found[0, :])
                    force = h * f + found[1, :]
                known[-1, :] = inverse @ force
                found = self.rows[-1] @ known
                new, change = found[0, :], found[1, :]
                error = float(_squared_error(xp, change, y, new, self.atol, self.rtol))
                error /= y.size
        except Exception:  # the function's own, met ahead of time, or a singular matrix
            return y, math.inf
        return new, math.sqrt(error) if error >= 0 else math.inf

    def _mean_square(self, values):
        """Mean square as a number, inf where it is NaN."""
        mean = float(self.xp.sum(squares(self.xp, values))) / values.size
        return mean if mean >= 0 else math.inf


def _rows(tableau):
    """Coefficients of what follows from the stages so far.

    After each stage but the last those of the next argument and force, then those of
    the new state and the error estimate, shape (2, 2 + stages).
    """
    steps = zip(tableau.a, tableau.c, tableau.gammas[1:], strict=True)
    rows = [[[1.0, 0.0, *a], [0.0, gamma, *c]] for a, c, gamma in steps]
    unit = [0.0] * len(tableau.a) + [1.0]
    m, e = tableau.m or (*tableau.a[-1], 1.0), tableau.e or unit
    return [*rows, [[1.0, 0.0, *m], [0.0, 0.0, *e]]]


@fused
def _moved(xp, y, atol, directions):
    return y + SQRT_EPS * xp.maximum(xp.abs(y), atol) * directions


@fused
def _quotient(xp, later, value, increment):
    quotient = (later - value) / increment
    return xp.where(xp.isfinite(quotient), quotient, 0.0)


@fused
def _squared_error(xp, change, y, new, atol, rtol):
    scaled = xp.abs(change) / (atol + rtol * xp.maximum(xp.abs(y), xp.abs(new)))
    return xp.sum(scaled * scaled)
