"""Least-squares fit of the flow of a box, all windows of time at once.

In a window of time the flow is sought as a polynomial of limited total degree in
local coordinates of the state at the window's start, and a Chebyshev series in
time. It takes the values that solve the equation, in integral form, at Chebyshev
points in time and at more points of the box than the polynomial has coefficients;
those of all points and windows are iterated together.

Sources: M. Veselsky, "A parallel regression approach to ODE integration", 2025,
for the regression over states and time; X. Bai, J. L. Junkins, "Modified Chebyshev-
Picard iteration methods for orbit propagation", J. Astronaut. Sci. 58, 2011, for
the iteration.
"""

from dataclasses import dataclass

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
# Part of the tolerance to which the values in a window are iterated.
ITERATED = 1e-4
# A window's box reaches this much farther than the trajectories seen.
MARGIN = 1.1
# Directions in which a box has shrunk to less than this many tolerances are widened
# to it: errors of the windows before must not lead far out of the box.
NARROWEST = 10.0
# Numbers held at a time while windows are iterated.
CHUNK_ENTRIES = 2**22
# Times in a window, between the Chebyshev points and at its end, at which maps are
# compared with trajectories.
CHECKS = np.array([-0.87, -0.52, -0.08, 0.33, 0.71, 1.0])


@dataclass
class Frames:
    """Local coordinates at the start of every window: the box, as the flow moves it.

    The axes are the initial ones, moved by the flow linearized about the box: local
    coordinates then hardly change, however the box turns and shears. Where the box
    has become a thin, bent sheet, its principal directions give a smaller box.

    Attributes
    ----------
    origins : ndarray, shape (W, n)
    axes : ndarray, shape (W, n, n)
        States are ``origins + axes @ xi``.
    inverses : ndarray, shape (W, n, n)
    """

    origins: np.ndarray
    axes: np.ndarray
    inverses: np.ndarray

    @classmethod
    def at(cls, y, xi, radius, tolerance, margin):
        """Frames about states.

        Parameters
        ----------
        y : ndarray, shape (n, S, W)
            States at the starts of the windows; in the first, those of the box.
        xi : ndarray, shape (n, S)
            Points of the unit box they come from, the centre first.
        radius : ndarray, shape (n,)
        tolerance : ndarray, shape (n, S, W)
            Errors allowed of `y`.
        margin : float
            How much farther boxes reach than `y`.
        """
        tau = np.max(tolerance, axis=1).T  # (W, n)
        deviation = np.moveaxis(y - y[:, :1], 2, 0)  # (W, n, S)
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
    y : ndarray, shape (n, S, W)
    axes : ndarray, shape (W, n, n)
    margin : float

    Returns
    -------
    origins : ndarray, shape (W, n)
    axes : ndarray, shape (W, n, n)
        Those given, stretched.
    """
    y = np.moveaxis(y, 2, 0)
    local = np.linalg.solve(axes, y - y[:, :, :1])
    low, high = local.min(axis=2), local.max(axis=2)
    origins = y[:, :, 0] + (axes @ ((low + high) / 2)[:, :, None])[:, :, 0]
    return origins, axes * np.maximum(margin * (high - low) / 2, 0.5)[:, None, :]


def smaller(box, other):
    """Choose the boxes of less volume, window by window."""
    volumes = [np.linalg.slogdet(axes)[1] for _, axes in (box, other)]
    keep = volumes[0] <= volumes[1]
    return (
        np.where(keep[:, None], box[0], other[0]),
        np.where(keep[:, None, None], box[1], other[1]),
    )


class Fitter:
    """Fits of one box and one basis, on any windows.

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
        self.points = box_points(self.basis)
        self.nodes = lobatto_points(n_nodes)
        self.integrate = integration_matrix(n_nodes)
        self.to_series = coefficients_from_values(n_nodes)
        self.margin = MARGIN
        self.rtol = trajectories.rtol[..., None]
        self.atol = trajectories.atol[..., None]

    def frames(self, edges):
        """Local coordinates in the windows between `edges`."""
        y = self.trajectories(edges[:-1])
        y[:, :, 0] = self.trajectories.y0
        return Frames.at(
            y,
            self.trajectories.xi,
            self.radius,
            self.trajectories.tolerance(y),
            self.margin,
        )

    def values(self, edges, frames):
        """Solutions from the points of every window's box.

        Returns
        -------
        values : ndarray, shape (n, W, K, N)
        converged : ndarray of bool, shape (W,)
        """
        n, n_points = self.points.shape
        n_windows, n_nodes = len(edges) - 1, len(self.nodes)
        values = np.empty((n, n_windows, n_points, n_nodes))
        converged = np.empty(n_windows, dtype=bool)
        width = max(CHUNK_ENTRIES // (n * n_points * n_nodes), 1)
        for i in range(0, n_windows, width):
            chunk = slice(i, min(i + width, n_windows))
            starts = frames.origins[chunk, :, None] + frames.axes[chunk] @ self.points
            values[:, chunk], converged[chunk] = self._iterate(
                edges[chunk.start : chunk.stop + 1], np.moveaxis(starts, 1, 0)
            )
        return values, converged

    def _iterate(self, edges, starts):
        """Picard iteration of the windows between `edges`, from `starts` (n, W, K)."""
        half = np.diff(edges)[:, None, None] / 2
        t = edges[:-1, None] + (self.nodes + 1) * half[:, :, 0]
        along = self.trajectories(t.ravel())[:, 0].reshape(len(starts), *t.shape)
        along -= along[:, :, :1]
        values = starts[..., None] + along[:, :, None, :]
        t = np.broadcast_to(t[:, None, :], values.shape[1:])
        busy = np.arange(len(edges) - 1)
        converged = np.zeros(len(busy), dtype=bool)
        first = np.full(len(busy), np.inf)
        for iteration in range(MAX_ITERATIONS):
            now = values[:, busy]
            points = (t[busy].ravel(), now.reshape(len(now), -1))
            f = self.rhs(*points)
            if iteration == 0 and not self.rhs.confirmed(*points, f):
                raise DoesNotBroadcast
            f = f.reshape(now.shape)
            new = starts[:, busy, :, None] + half[busy] * (f @ self.integrate.T)
            size = np.abs(new)
            allowed = ITERATED * (self.atol + self.rtol * size) + 8 * EPS * np.max(
                size, axis=(2, 3), keepdims=True
            )
            change = np.max(np.abs(new - now) / allowed, axis=(0, 2, 3))
            values[:, busy] = new
            if iteration == 0:
                first = change
            converged[busy] = change <= 1
            goes_on = (change > 1) & np.isfinite(change)
            if iteration >= PATIENCE:
                goes_on &= change < first
            busy, first = busy[goes_on], first[goes_on]
            if busy.size == 0:
                break
        return values, converged

    def maps(self, edges, frames, values, basis):
        """Fit polynomials to the values, those of all windows by one factorization.

        Returns
        -------
        maps : WindowMaps
        residual : ndarray, shape (W,)
            Largest misfit at the ends of the windows, in tolerances.
        """
        at_points = basis.values(np, self.points)
        q, r = np.linalg.qr(at_points.T)
        series = np.linalg.solve(r, q.T) @ (values @ self.to_series.T)
        coefficients = np.ascontiguousarray(np.moveaxis(series, (1, 3), (0, 1)))
        maps = WindowMaps(edges, frames.origins, frames.inverses, coefficients, basis)
        ends = values[..., -1]
        fitted = np.moveaxis(coefficients.sum(axis=1) @ at_points, 1, 0)
        allowed = self.trajectories.atol + self.trajectories.rtol * np.abs(ends)
        return maps, np.max(np.abs(fitted - ends) / allowed, axis=(0, 2))


class Comparison:
    """Maps against trajectories that they were not fitted to.

    Parameters
    ----------
    trajectories : Trajectories
    edges : ndarray, shape (W + 1,)
    """

    def __init__(self, trajectories, edges):
        self.trajectories = trajectories
        half = np.diff(edges)[:, None] / 2
        self.t = edges[:-1, None] + (CHECKS + 1) * half
        self.starts = trajectories(edges[:-1])
        self.starts[:, :, 0] = trajectories.y0
        self.truth = trajectories(self.t.ravel())
        self.allowed = trajectories.tolerance(self.truth)

    def local(self, maps):
        """Largest error of every window's map alone, in tolerances, shape (W,)."""
        n, n_samples, n_windows = self.starts.shape
        deviation = np.moveaxis(self.starts, 2, 0) - maps.origins[:, :, None]
        xi = np.moveaxis(maps.inverses @ deviation, 0, 1).reshape(n, -1)
        basis = maps.basis.values(np, xi).reshape(-1, n_windows, n_samples)
        rows = np.stack(chebyshev_rows(np, CHECKS, maps.coefficients.shape[1] - 1))
        at_checks = np.moveaxis(np.tensordot(rows, maps.coefficients, (0, 1)), 0, 1)
        found = at_checks @ np.moveaxis(basis, 1, 0)[:, None]  # (W, checks, n, S)
        found = np.moveaxis(found, (2, 3), (0, 1)).reshape(self.truth.shape)
        error = np.abs(found - self.truth) / self.allowed
        return error.reshape(n, n_samples, n_windows, -1).max(axis=(0, 1, 3))

    def composed(self, maps):
        """Errors of the maps one after another from the initial states.

        Returns
        -------
        scaled : float
            Largest one, in tolerances.
        absolute : ndarray, shape (n,)
        """
        found = maps.states(np, self.t.ravel(), self.trajectories.y0)
        error = np.abs(found - self.truth)
        return float(np.max(error / self.allowed)), error.max(axis=(1, 2))
