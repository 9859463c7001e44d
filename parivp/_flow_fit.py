"""Least-squares fit of the flow of a box, all windows of time at once.

In a window of time the flow is sought as a polynomial of limited total degree in
local coordinates of the state at an earlier time, the start of a leg of one or more
windows, and a Chebyshev series in time. It is fitted to values that solve the
equation, in integral form, at Chebyshev points in time, from more points of the box
than the polynomial has coefficients; those of all points and legs are iterated
together.

Sources: M. Veselský, "A parallel regression approach to ODE integration", 2025,
for the regression over states and time; X. Bai, J. L. Junkins, "Modified Chebyshev-
Picard iteration methods for orbit propagation", J. Astronaut. Sci. 58, 2011, for
the iteration.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ._chebyshev import (
    TotalDegreeBasis,
    box_points,
    chebyshev_rows,
    coefficients_from_values,
    integration_matrix,
    lobatto_points,
)
from ._flow_evaluation import WindowMaps
from ._flow_trajectories import DoesNotBroadcast

__all__ = ["Comparison", "Fitter", "Frames"]

EPS = np.finfo(np.float64).eps
MAX_ITERATIONS = 60
# Iterations after which the changes must have become smaller than at first. They
# behave as (h L)^k / k!, so where they have not, windows are too long anyway.
PATIENCE = 12
# Part of the smallest error allowed to which the values in a window are iterated.
ITERATED = 1e-2
# A window's box reaches this much farther than the trajectories seen.
MARGIN = 1.1
# Directions in which a box has shrunk to less than this many tolerances are widened
# to it: errors of the windows before must not lead far out of the box.
NARROWEST = 10.0
# Numbers held at a time while windows are iterated.
CHUNK_ENTRIES = 2**22
# Times in a window at which maps are compared with trajectories, the last at its end.
CHECKS = np.array([-0.91, -0.67, -0.36, -0.08, 0.23, 0.54, 0.83, 1.0])


@dataclass
class Frames:
    """Local coordinates at the start of every leg: the box, as the flow moves it.

    The axes are the initial ones, moved by the flow linearized about the box: local
    coordinates then hardly change, however the box turns and shears. Where the box
    has become a thin, bent sheet, its principal directions give a smaller box.

    Attributes
    ----------
    origins : ndarray, shape (L, n)
    axes : ndarray, shape (L, n, n)
        States are ``origins + axes @ xi``.
    inverses : ndarray, shape (L, n, n)
    """

    origins: np.ndarray
    axes: np.ndarray
    inverses: np.ndarray

    @classmethod
    def at(cls, y, xi, radius, tolerance, margin):
        """Frames about states.

        Parameters
        ----------
        y : ndarray, shape (n, S, L)
            States at the starts of the legs; in the first, those of the box.
        xi : ndarray, shape (n, S)
            Points of the unit box they come from, the centre first.
        radius : ndarray, shape (n,)
        tolerance : ndarray, shape (n, S, L)
            Errors allowed of `y`.
        margin : float
            How much farther boxes reach than `y`.
        """
        tau = np.max(tolerance, axis=1).T  # (L, n)
        deviation = np.moveaxis(y - y[:, :1], 2, 0)  # (L, n, S)
        linear = deviation @ np.linalg.pinv(xi) / tau[:, :, None]
        u, sigma, vt = np.linalg.svd(linear)
        principal = tau[:, :, None] * (u * np.maximum(sigma, NARROWEST)[:, None, :])
        origins, axes = smaller(
            bounding_box(y, principal @ vt, margin), bounding_box(y, principal, margin)
        )
        origins[0] = y[:, 0, 0]
        axes[0] = np.diag(np.maximum(radius, NARROWEST * tau[0]))
        return cls(origins, axes, np.linalg.inv(axes))


def bounding_box(y, axes, margin):
    """Boxes of given directions around states.

    Parameters
    ----------
    y : ndarray, shape (n, S, L)
    axes : ndarray, shape (L, n, n)
    margin : float

    Returns
    -------
    origins : ndarray, shape (L, n)
    axes : ndarray, shape (L, n, n)
        Those given, stretched.
    """
    y = np.moveaxis(y, 2, 0)
    local = np.linalg.solve(axes, y - y[:, :, :1])
    low, high = local.min(axis=2), local.max(axis=2)
    origins = y[:, :, 0] + (axes @ ((low + high) / 2)[:, :, None])[:, :, 0]
    return origins, axes * np.maximum(margin * (high - low) / 2, 0.5)[:, None, :]


def smaller(box, other):
    """Choose the boxes of less volume, leg by leg."""
    volumes = [np.linalg.slogdet(axes)[1] for _, axes in (box, other)]
    keep = volumes[0] <= volumes[1]
    return (
        np.where(keep[:, None], box[0], other[0]),
        np.where(keep[:, None, None], box[1], other[1]),
    )


class Fitter:
    """Fits of one box and one basis, on any windows and legs.

    Parameters
    ----------
    rhs : Rhs
    trajectories : Trajectories
    radius : ndarray, shape (n,)
    degree : int
        Largest total degree in the state.
    n_nodes : int
        Chebyshev points in time per window.
    """

    def __init__(self, rhs, trajectories, radius, degree, n_nodes):
        self.rhs = rhs
        self.trajectories = trajectories
        self.radius = radius
        self.basis = TotalDegreeBasis(len(radius), degree)
        self.nodes = lobatto_points(n_nodes)
        self.integrate = integration_matrix(n_nodes)
        self.to_series = coefficients_from_values(n_nodes)
        self.margin = MARGIN

    @cached_property
    def points(self):
        """Points of the unit box from which solutions are fitted, shape (n, K)."""
        return box_points(self.basis)

    def of_degree(self, degree):
        """Return one of another degree, or itself."""
        if degree == self.basis.degree:
            return self
        other = Fitter(
            self.rhs, self.trajectories, self.radius, degree, len(self.nodes)
        )
        other.margin = self.margin
        return other

    def frames(self, t):
        """Local coordinates at the times `t` (L,), of which the first is initial."""
        y = self.trajectories(t)
        y[:, :, 0] = self.trajectories.y0
        tolerance = self.trajectories.atol + self.trajectories.rtol * np.abs(y)
        xi = self.trajectories.xi
        return Frames.at(y, xi, self.radius, tolerance, self.margin)

    def values(self, edges, firsts, frames):
        """Solutions from the points of every leg's box.

        Legs are independent of each other; in a leg the windows follow each other.

        Returns
        -------
        values : ndarray, shape (n, W, K, N)
        converged : ndarray of bool, shape (W,)
        """
        n, n_points = self.points.shape
        n_windows, n_nodes = len(edges) - 1, len(self.nodes)
        values = np.empty((n, n_windows, n_points, n_nodes))
        converged = np.zeros(n_windows, dtype=bool)
        starts = frames.origins[:, :, None] + frames.axes @ self.points
        starts = np.moveaxis(starts, 1, 0)
        lengths = np.diff(firsts, append=n_windows)
        width = max(CHUNK_ENTRIES // (n * n_points * n_nodes), 1)
        for position in range(lengths.max()):
            legs = np.flatnonzero(lengths > position)
            for i in range(0, len(legs), width):
                chunk = legs[i : i + width]
                windows = firsts[chunk] + position
                found, reached = self._iterate(edges, windows, starts[:, chunk])
                values[:, windows] = found
                starts[:, chunk] = found[..., -1]
                converged[windows] = reached
                if position:
                    converged[windows] &= converged[windows - 1]
        return values, converged

    def _iterate(self, edges, windows, starts):
        """Picard iteration in some windows at once, from `starts` (n, windows, K)."""
        half = (edges[windows + 1] - edges[windows])[:, None, None] / 2
        t = edges[windows, None] + (self.nodes + 1) * half[:, :, 0]
        values = self._guess(t, starts)
        t = np.broadcast_to(t[:, None, :], values.shape[1:])
        asked = ITERATED * self.trajectories.least[:, None, None, None]
        busy = np.arange(len(windows))
        converged = np.zeros(len(windows), dtype=bool)
        first = np.empty(0)
        for iteration in range(MAX_ITERATIONS):
            now = values[:, busy]
            points = (t[busy].ravel(), now.reshape(len(now), -1))
            f = self.rhs(*points)
            if iteration == 0 and not self.rhs.confirmed(*points, f):
                raise DoesNotBroadcast
            f = f.reshape(now.shape)
            new = starts[:, busy, :, None] + half[busy] * (f @ self.integrate.T)
            values[:, busy] = new
            rounding = 8 * EPS * np.max(np.abs(new), axis=(2, 3), keepdims=True)
            change = np.max(np.abs(new - now) / (asked + rounding), axis=(0, 2, 3))
            converged[busy] = change <= 1
            if iteration == 0:
                first = change
            goes_on = (change > 1) & np.isfinite(change)
            if iteration >= PATIENCE:
                goes_on &= change < first
            busy, first = busy[goes_on], first[goes_on]
            if busy.size == 0:
                break
        return values, converged

    def _guess(self, t, starts):
        """Values at times `t` (windows, N) that follow the centre's trajectory."""
        along = self.trajectories(t.ravel())[:, 0].reshape(len(starts), *t.shape)
        return starts[..., None] + (along - along[:, :, :1])[:, :, None, :]

    def maps(self, edges, firsts, frames, series, basis):
        """Fit polynomials in the state to Chebyshev series in time.

        One factorization serves all windows, since the points of the box are the
        same in local coordinates.

        Parameters
        ----------
        edges, firsts : ndarray
        frames : Frames
        series : ndarray, shape (n, W, K, N)
        basis : TotalDegreeBasis

        Returns
        -------
        maps : WindowMaps
        misfit : ndarray, shape (n, W)
            Largest one at the ends of the windows.
        """
        at_points = basis.values(np, self.points)
        q, r = np.linalg.qr(at_points.T)
        coefficients = np.linalg.solve(r, q.T) @ series
        coefficients = np.ascontiguousarray(np.moveaxis(coefficients, (1, 3), (0, 1)))
        maps = WindowMaps(
            edges, firsts, frames.origins, frames.inverses, coefficients, basis
        )
        fitted = np.moveaxis(coefficients.sum(axis=1) @ at_points, 1, 0)
        return maps, np.max(np.abs(fitted - series.sum(axis=3)), axis=2)


class Comparison:
    """Maps against trajectories that they were not fitted to.

    Parameters
    ----------
    trajectories : Trajectories
    edges : ndarray, shape (W + 1,)
    firsts : ndarray of int, shape (L,)

    Attributes
    ----------
    allowed : ndarray, shape (n, 1, W, checks)
        Errors allowed from all initial states, at times in every window and, the
        last one, at its end.
    """

    def __init__(self, trajectories, edges, firsts):
        self.trajectories = trajectories
        half = np.diff(edges)[:, None] / 2
        self.t = edges[:-1, None] + (CHECKS + 1) * half
        self.leg = np.repeat(
            np.arange(len(firsts)), np.diff(firsts, append=len(edges) - 1)
        )
        self.starts = trajectories(edges[firsts])
        self.starts[:, :, 0] = trajectories.y0
        truth = trajectories(self.t.ravel())
        self.truth = truth.reshape(*truth.shape[:2], *self.t.shape)
        self.allowed = trajectories.tolerance(self.truth)

    def local(self, maps):
        """Errors of the maps, each from true states at the start of its leg.

        Returns
        -------
        ndarray, shape (W,)
            The largest in every window, in tolerances.
        """
        n, n_samples, n_legs = self.starts.shape
        deviation = np.moveaxis(self.starts, 2, 0) - maps.origins[:, :, None]
        xi = np.moveaxis(maps.inverses @ deviation, 0, 1).reshape(n, -1)
        basis = maps.basis.values(np, xi).reshape(-1, n_legs, n_samples)
        basis = np.moveaxis(basis, 1, 0)
        rows = np.stack(chebyshev_rows(np, CHECKS, maps.coefficients.shape[1] - 1))
        worst = np.empty(len(self.t))
        for w, coefficients in enumerate(maps.coefficients):
            at_checks = np.tensordot(rows, coefficients, (0, 0))
            found = np.moveaxis(at_checks @ basis[self.leg[w]], 0, 2)
            error = np.abs(found - self.truth[:, :, w]) / self.allowed[:, :, w]
            worst[w] = np.max(error)
        return worst

    def composed(self, maps):
        """Errors of the maps one after another from the initial states.

        Returns
        -------
        scaled : float
            Largest one, in tolerances.
        absolute : ndarray, shape (n,)
        """
        found = maps.states(np, self.t.ravel(), self.trajectories.y0)
        error = np.abs(found.reshape(self.truth.shape) - self.truth)
        return float(np.max(error / self.allowed)), error.max(axis=(1, 2, 3))
