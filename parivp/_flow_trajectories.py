"""Trajectories that a flow map is measured against, and around which it is built.

A few initial states of the box, its centre and corners among them, are integrated
far more accurately than the map is to be. They tell where the box goes, and how
wrong a map is; no map is fitted to them.
"""

import itertools

import numpy as np
from scipy.integrate import DOP853, OdeSolution

__all__ = ["DoesNotBroadcast", "Trajectories", "box_sample"]

MAX_STEPS = 20_000
MAX_ENTRIES = 2**26  # of the dense output
MAX_CORNERS, MAX_FACES = 64, 64
# DOP853 weights errors by their root mean square over all states of all trajectories,
# and errors add up over the steps; its dense output is of one order less.
TIGHTER = 1e-6
TIGHTEST_RTOL = 5e-14


class DoesNotBroadcast(Exception):
    """The right-hand side gives something else for many points than for one."""


def box_sample(n):
    """Points of the unit box: its centre, corners, faces, and some in between.

    Returns
    -------
    ndarray, shape (n, S)
        The centre comes first.
    """
    rng = np.random.default_rng(0)
    if 2**n <= MAX_CORNERS:
        corners = np.array(list(itertools.product((-1.0, 1.0), repeat=n)))
    else:
        corners = rng.choice((-1.0, 1.0), size=(MAX_CORNERS, n))
    faces = np.concatenate([np.eye(n), -np.eye(n)])[:MAX_FACES]
    between = rng.uniform(-1, 1, size=(16 + 4 * min(n, 8), n))
    half = len(between) // 2
    between[:half] /= np.max(np.abs(between[:half]), axis=1, keepdims=True)
    return np.concatenate([np.zeros((1, n)), corners, faces, between]).T


class Trajectories:
    """Trajectories of points of the box, the first of them that of its centre.

    Parameters
    ----------
    rhs : Rhs
    t_span : tuple of float
    centre, radius : ndarray, shape (n,)
    rtol, atol : float or ndarray, shape (n,)
        Tolerances that the map is to meet.

    Attributes
    ----------
    xi : ndarray, shape (n, S)
        Points of the unit box at which the trajectories start.
    y0 : ndarray, shape (n, S)
    steps : ndarray
        Times of the integrator's steps.

    Raises
    ------
    RuntimeError
        If the integration does not come to its end.
    """

    def __init__(self, rhs, t_span, centre, radius, rtol, atol):
        self.xi = box_sample(len(centre))
        self.y0 = centre[:, None] + radius[:, None] * self.xi
        self.rtol = np.reshape(rtol, (-1, 1, 1))
        self.atol = np.reshape(atol, (-1, 1, 1))
        shape = self.y0.shape

        def stacked(t, y):
            return rhs(np.full(shape[1], t), y.reshape(shape)).ravel()

        tight_rtol = np.maximum(TIGHTER * self.rtol, TIGHTEST_RTOL)
        solver = DOP853(
            stacked,
            t_span[0],
            self.y0.ravel(),
            t_span[1],
            rtol=np.broadcast_to(tight_rtol[..., 0], shape).ravel(),
            atol=np.broadcast_to(TIGHTER * self.atol[..., 0], shape).ravel(),
        )
        at_start = solver.f.reshape(shape)
        if not np.all(np.isfinite(at_start)):
            k = int(np.flatnonzero(~np.isfinite(at_start).all(axis=0))[0])
            raise RuntimeError(
                f"`fun` is not finite at t = {t_span[0]} and y = {self.y0[:, k]}, "
                "which is in the box."
            )
        self.steps, self._solution = self._run(solver)
        times = np.full(shape[1], solver.t)
        for t, y, f in (
            (np.full(shape[1], t_span[0]), self.y0, at_start),
            (times, solver.y.reshape(shape), solver.f.reshape(shape)),
        ):
            if not rhs.confirmed(t, y, f):
                raise DoesNotBroadcast

    def _run(self, solver):
        steps, pieces = [solver.t], []
        limit = min(MAX_STEPS, MAX_ENTRIES // (8 * solver.n))
        while solver.status == "running" and len(pieces) < limit:
            solver.step()
            if solver.status != "failed":
                steps.append(solver.t)
                pieces.append(solver.dense_output())
        if solver.status == "finished" and np.all(np.isfinite(solver.y)):
            return np.array(steps), OdeSolution(steps, pieces)
        went = f"{len(pieces)} steps" if solver.status == "running" else "the step"
        raise RuntimeError(
            f"Trajectories from the box could not be followed beyond t = {solver.t}: "
            f"after {went} an explicit method got no further. If one of them ceases "
            "to exist, shorten `t_span` or shrink the box; a stiff problem has no "
            "flow map by this method, see `solve_ivp` with "
            'method="ScanNewtonImplicit".'
        )

    def __call__(self, t):
        """States at times `t` (m,), shape (n, S, m)."""
        return self._solution(t).reshape(*self.xi.shape, -1)

    def tolerance(self, y):
        """Error allowed of states at the same times from anywhere in the box.

        Parameters
        ----------
        y : ndarray, shape (n, S, ...)

        Returns
        -------
        ndarray, shape (n, 1, ...)
            By the smallest absolute value of any, which is zero between states of
            different signs.
        """
        low, high = y.min(axis=1, keepdims=True), y.max(axis=1, keepdims=True)
        least = np.where(low * high > 0, np.minimum(np.abs(low), np.abs(high)), 0.0)
        shape = (-1,) + (1,) * (y.ndim - 1)
        return self.atol.reshape(shape) + self.rtol.reshape(shape) * least
