"""How far a trajectory is from the solution, found afterwards."""

import numpy as np

from ._array_namespace import array_namespace, like, new_empty
from ._scan import affine_scan

__all__ = ["trajectory_errors"]

# Gauss-Legendre rules; what they differ by counts as error of the second.
N_COARSE, N_FINE = 5, 7
# Differences of `fun` are taken over the tolerance, or this part of the state.
SMALLEST_SHIFT = 1e-7


def trajectory_errors(rhs, trajectory, rtol, atol):
    r"""Estimate the error of a scalar trajectory, in units of the tolerance.

    By Picard's integral: on every half step from ``s`` to ``t`` the defect is
    ``y(t) - y(s) - \int f(t, y(t)) dt``. Defects are carried on as errors are,
    at the rates ``(f(t, y + d) - f(t, y)) / d`` seen over the tolerance to
    either side, of which the worse one counts. So errors that a problem
    amplifies are seen too. With defects that are exact, the estimate differs
    from the error by what the rates vary over the error.

    Parameters
    ----------
    rhs : Rhs
    trajectory : PiecewisePolynomial
        Of one component, exact at its first point, on N steps.
    rtol, atol : float
        Errors are measured in ``atol + rtol * abs(y)``.

    Returns
    -------
    array, shape (N,)
        The largest error of every step, at its middle and its end; NaN where
        `fun` has no finite value.
    """
    mesh, xp = trajectory.t, array_namespace(trajectory.t)
    nodes = new_empty(mesh, (2 * mesh.shape[0] - 1,))
    nodes[::2], nodes[1::2] = mesh, (mesh[:-1] + mesh[1:]) / 2
    states = trajectory(nodes)[0, :]
    coarse, _ = _integrals(rhs, trajectory, nodes, N_COARSE)
    integrals, (points, y, f, weights) = _integrals(rhs, trajectory, nodes, N_FINE)
    defects, doubts = xp.diff(states) - integrals, xp.abs(integrals - coarse)
    shift = xp.maximum(atol + rtol * xp.abs(y), SMALLEST_SHIFT * xp.abs(y))
    worst = xp.zeros_like(defects)
    for d in (shift, -shift):
        # the shift that is left after rounding
        moved = y + d
        rates = (_values(rhs, points, moved) - f) / (moved - y)
        growth = xp.exp(xp.sum(weights * rates, axis=1))
        inside = xp.maximum(growth, 1.0)
        errors = xp.abs(_carry_on(growth, inside * defects))
        errors += _carry_on(growth, inside * doubts)
        worst = xp.maximum(worst, errors)  # NaN stays
    scaled = worst / (atol + rtol * xp.abs(states[1:]))
    return xp.max(xp.reshape(scaled, (-1, 2)), axis=1)


def _integrals(rhs, trajectory, nodes, n_points):
    """Integrals of f along the trajectory, and what they were made of."""
    xp = array_namespace(nodes)
    x, w = (like(nodes, part) for part in np.polynomial.legendre.leggauss(n_points))
    half = xp.diff(nodes)[:, None] / 2
    points = nodes[:-1, None] + half * (1 + x)
    y = trajectory(xp.reshape(points, (-1,)))
    y = xp.reshape(y[0, :], points.shape)
    f, weights = _values(rhs, points, y), half * w
    return xp.sum(weights * f, axis=1), (points, y, f, weights)


def _values(rhs, t, y):
    """Values of `rhs` at points of any shape."""
    xp = array_namespace(t)
    values = rhs(xp.reshape(t, (-1,)), xp.reshape(y, (1, -1)))
    return xp.reshape(values, t.shape)


def _carry_on(growth, added):
    """Solve ``e_k = growth_k e_{k-1} + added_k``."""
    return affine_scan(growth[:, None, None], added[:, None])[:, 0]
