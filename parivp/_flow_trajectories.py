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
# Tolerances of the trajectories: as tight as double precision allows, and so much
# tighter than the absolute one asked for. A component that crosses zero is wanted to
# that, however loose the relative one is.
RTOL, ATOL_FACTOR = 1e-13, 1e-6


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
    # every direction at least once: the linearized flow is found from these points
    faces = np.concatenate([np.eye(n), -np.eye(n)])[: max(n, MAX_FACES)]
    between = rng.uniform(-1, 1, size=(32 + 16 * min(n, 4), n))
    on_faces = between[: 3 * len(between) // 4]
    on_faces /= np.max(np.abs(on_faces), axis=1, keepdims=True)
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
    least : ndarray, shape (n,)
        Smallest error allowed of each component at any of them.
    digits : float
        Number of digits that the most accurate component is to have.

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

        solver = DOP853(
            stacked,
            t_span[0],
            self.y0.ravel(),
            t_span[1],
            rtol=RTOL,
            atol=np.broadcast_to(ATOL_FACTOR * self.atol[..., 0], shape).ravel(),
        )
        at_start = solver.f.reshape(shape)
        if not np.all(np.isfinite(at_start)):
            k = int(np.flatnonzero(~np.isfinite(at_start).all(axis=0))[0])
            raise RuntimeError(
                f"`fun` is not finite at t = {t_span[0]} and y = {self.y0[:, k]}, "
                "which is in the box."
            )
        self.steps, self._solution = self._run(solver)
        y = self(self.steps)
        self.least = np.min(self.tolerance(y), axis=(1, 2))
        size = np.max(np.abs(y), axis=(1, 2))
        self.digits = -np.log10(np.min(self.least / np.maximum(size, self.least)))
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
        if solver.status == "running":
            n_trajectories = self.y0.shape[1]
            why = f"more than {limit} steps of {n_trajectories} together are too many"
        else:
            why = "one of them seems to cease to exist"
        raise RuntimeError(
            f"Trajectories from the box were not followed beyond t = {solver.t:.6g}: "
            f"{why}. Shorten `t_span` or shrink the box; a stiff problem has no flow "
            'map by this method, see `solve_ivp` with method="ScanNewtonImplicit".'
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
