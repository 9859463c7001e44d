"""How far a trajectory is from the solution, found afterwards."""

import numpy as np

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
    ndarray, shape (N,)
        The largest error of every step, at its middle and its end; NaN where
        `fun` has no finite value.
    """
    mesh = trajectory.t
    nodes = np.empty(2 * len(mesh) - 1)
    nodes[::2], nodes[1::2] = mesh, (mesh[:-1] + mesh[1:]) / 2
    states = trajectory(nodes)[0]
    coarse, _ = _integrals(rhs, trajectory, nodes, N_COARSE)
    integrals, (points, y, f, weights) = _integrals(rhs, trajectory, nodes, N_FINE)
    defects, doubts = np.diff(states) - integrals, np.abs(integrals - coarse)
    shift = np.maximum(atol + rtol * np.abs(y), SMALLEST_SHIFT * np.abs(y))
    worst = np.zeros(len(defects))
    for d in (shift, -shift):
        # the shift that is left after rounding
        moved = y + d
        rates = (_values(rhs, points, moved) - f) / (moved - y)
        growth = np.exp(np.sum(weights * rates, axis=1))
        inside = np.maximum(growth, 1.0)
        errors = np.abs(_carry_on(growth, inside * defects))
        errors += _carry_on(growth, inside * doubts)
        worst = np.maximum(worst, errors)  # NaN stays
    scaled = worst / (atol + rtol * np.abs(states[1:]))
    return scaled.reshape(-1, 2).max(axis=1)


def _integrals(rhs, trajectory, nodes, n_points):
    """Integrals of f along the trajectory, and what they were made of."""
    x, w = np.polynomial.legendre.leggauss(n_points)
    half = np.diff(nodes)[:, None] / 2
    points = nodes[:-1, None] + half * (1 + x)
    y = trajectory(points.ravel())[0].reshape(points.shape)
    f, weights = _values(rhs, points, y), half * w
    return np.sum(weights * f, axis=1), (points, y, f, weights)


def _values(rhs, t, y):
    """Values of `rhs` at points of any shape."""
    return rhs(t.ravel(), y.reshape(1, -1)).reshape(t.shape)


def _carry_on(growth, added):
    """Solve ``e_k = growth_k e_{k-1} + added_k``."""
    return affine_scan(growth[:, None, None], added[:, None])[:, 0]
