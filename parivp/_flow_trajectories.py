"""Trajectories that a flow map is measured against, and around which it is built.

A few initial states of the box, its centre and corners among them, are integrated
far more accurately than the map is to be. They tell where the box goes, and how
wrong a map is; no map is fitted to them.
"""

import itertools
import math

import numpy as np

from ._array_namespace import array_namespace, first_true, like, new_full
from ._flow_steps import DenseTrajectories, SharedSteps

__all__ = ["DoesNotBroadcast", "Trajectories", "box_sample"]

MAX_STEPS = 20_000
MAX_ENTRIES = 2**26  # of the dense output
MAX_CORNERS, MAX_FACES = 64, 64
# Tolerances of the trajectories: as tight as double precision allows, and so much
# tighter than the absolute one asked for. A component that crosses zero is wanted to
# that, however loose the relative one is.
RTOL, ATOL_FACTOR = 1e-13, 1e-6
SMALLEST_RATIO = 1e-300


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
    centre, radius : array, shape (n,)
    rtol, atol : float or ndarray, shape (n,)
        Tolerances that the map is to meet.

    Attributes
    ----------
    xi : ndarray, shape (n, S)
        Points of the unit box at which the trajectories start.
    y0 : array, shape (n, S)
    steps : ndarray
        Times of the integrator's steps.
    rtol, atol : array, shape (n, 1, 1) or (1, 1, 1)
    least : array, shape (n,)
        Smallest error allowed of each component at any of them.
    digits : float
        Number of digits that the most accurate component is to have.

    Raises
    ------
    RuntimeError
        If the integration does not come to its end.
    """

    def __init__(self, rhs, t_span, centre, radius, rtol, atol):
        xp = array_namespace(centre)
        self.xi = box_sample(centre.shape[0])
        self.y0 = centre[:, None] + radius[:, None] * like(centre, self.xi)
        self.rtol = like(centre, np.reshape(rtol, (-1, 1, 1)))
        self.atol = like(centre, np.reshape(atol, (-1, 1, 1)))
        n_samples = self.xi.shape[1]

        def all_at(t, y):
            return rhs(new_full(y, (n_samples,), t), y)

        tightest = ATOL_FACTOR * self.atol[:, :, 0]
        solver = SharedSteps(all_at, t_span[0], self.y0, t_span[1], RTOL, tightest)
        at_start = solver.f
        finite = xp.all(xp.isfinite(at_start), axis=0)
        if not bool(xp.all(finite)):
            k = first_true(xp, ~finite)
            raise RuntimeError(
                f"`fun` is not finite at t = {t_span[0]} and y = {self.y0[:, k]}, "
                "which is in the box."
            )
        self.steps, self._solution = self._run(solver)
        y = self(self.steps)
        self.least = xp.min(self.tolerance(y), axis=(1, 2))
        size = xp.max(xp.abs(y), axis=(1, 2))
        ratio = xp.min(self.least / xp.maximum(size, self.least))
        self.digits = -math.log10(max(float(ratio), SMALLEST_RATIO))
        for t, y, f in (
            (t_span[0], self.y0, at_start),
            (solver.t, solver.y, solver.f),
        ):
            if not rhs.confirmed(new_full(y, (n_samples,), t), y, f):
                raise DoesNotBroadcast

    def _run(self, solver):
        """Integrate to the end; return the times of the steps and the solution."""
        xp = array_namespace(self.y0)
        steps, states, pieces = [solver.t], [], []
        limit = min(MAX_STEPS, MAX_ENTRIES // (8 * self.y0.size))
        while len(pieces) < limit and solver.t != solver.t_bound:
            y = solver.y
            solver.step()
            if solver.failed:
                break
            steps.append(solver.t)
            states.append(y)
            pieces.append(solver.interpolant())
        finished = solver.t == solver.t_bound
        if finished and bool(xp.all(xp.isfinite(solver.y))):
            steps = np.array(steps)
            return steps, DenseTrajectories(steps, states, pieces)
        if solver.failed or finished:
            why = "one of them seems to cease to exist"
        else:
            n_trajectories = self.y0.shape[1]
            why = f"more than {limit} steps of {n_trajectories} together are too many"
        raise RuntimeError(
            f"Trajectories from the box were not followed beyond t = {solver.t:.6g}: "
            f"{why}. Shorten `t_span` or shrink the box; a stiff problem has no flow "
            'map by this method, see `solve_ivp` with method="ScanNewtonImplicit".'
        )

    def __call__(self, t):
        """States at times `t` (m,), shape (n, S, m)."""
        return self._solution(t)

    def of_centre(self, t):
        """State of the first trajectory at times `t` (m,), shape (n, m)."""
        return self._solution(t, 1)[:, 0, :]

    def tolerance(self, y):
        """Error allowed of states at the same times from anywhere in the box.

        Parameters
        ----------
        y : array, shape (n, S, ...)

        Returns
        -------
        array, shape (n, 1, ...)
            By the smallest absolute value of any, which is zero between states of
            different signs.
        """
        xp = array_namespace(y)
        low, high = xp.min(y, axis=1, keepdims=True), xp.max(y, axis=1, keepdims=True)
        least = xp.where(low * high > 0, xp.minimum(xp.abs(low), xp.abs(high)), 0.0)
        shape = (-1,) + (1,) * (y.ndim - 1)
        rtol, atol = (xp.reshape(x, shape) for x in (self.rtol, self.atol))
        return atol + rtol * least
