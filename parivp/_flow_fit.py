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

from ._array_namespace import (
    array_namespace,
    block_size,
    contiguous,
    like,
    new_arange,
    new_empty,
)
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

EPS = float(np.finfo(np.float64).eps)
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
    origins : array, shape (L, n)
    axes : array, shape (L, n, n)
        States are ``origins + axes @ xi``.
    inverses : array, shape (L, n, n)
    """

    origins: object
    axes: object
    inverses: object

    @classmethod
    def at(cls, y, xi, radius, tolerance, margin):
        """Frames about states.

        Parameters
        ----------
        y : array, shape (n, S, L)
            States at the starts of the legs; in the first, those of the box.
        xi : ndarray, shape (n, S)
            Points of the unit box they come from, the centre first.
        radius : array, shape (n,)
        tolerance : array, shape (n, S, L)
            Errors allowed of `y`.
        margin : float
            How much farther boxes reach than `y`.
        """
        xp = array_namespace(y)
        tau = xp.max(tolerance, axis=1).T  # (L, n)
        deviation = xp.moveaxis(y - y[:, :1, :], 2, 0)  # (L, n, S)
        linear = deviation @ like(y, np.linalg.pinv(xi)) / tau[:, :, None]
        u, sigma, vt = xp.linalg.svd(linear)
        principal = tau[:, :, None] * (u * xp.maximum(sigma, NARROWEST)[:, None, :])
        origins, axes = smaller(
            bounding_box(y, principal @ vt, margin), bounding_box(y, principal, margin)
        )
        origins[0, :] = y[:, 0, 0]
        first = xp.maximum(radius, NARROWEST * tau[0, :])
        axes[0, :, :] = first * like(y, np.eye(len(xi)))
        return cls(origins, axes, xp.linalg.inv(axes))


def bounding_box(y, axes, margin):
    """Boxes of given directions around states.

    Parameters
    ----------
    y : array, shape (n, S, L)
    axes : array, shape (L, n, n)
    margin : float

    Returns
    -------
    origins : array, shape (L, n)
    axes : array, shape (L, n, n)
        Those given, stretched.
    """
    xp = array_namespace(y)
    y = xp.moveaxis(y, 2, 0)
    local = xp.linalg.solve(axes, y - y[:, :, :1])
    low, high = xp.min(local, axis=2), xp.max(local, axis=2)
    origins = y[:, :, 0] + (axes @ ((low + high) / 2)[:, :, None])[:, :, 0]
    return origins, axes * xp.maximum(margin * (high - low) / 2, 0.5)[:, None, :]


def smaller(box, other):
    """Choose the boxes of less volume, leg by leg."""
    xp = array_namespace(box[0])
    volumes = [xp.linalg.slogdet(axes)[1] for _, axes in (box, other)]
    keep = volumes[0] <= volumes[1]
    return (
        xp.where(keep[:, None], box[0], other[0]),
        xp.where(keep[:, None, None], box[1], other[1]),
    )


class Fitter:
    """Fits of one box and one basis, on any windows and legs.

    Parameters
    ----------
    rhs : Rhs
    trajectories : Trajectories
    radius : array, shape (n,)
    degree : int
        Largest total degree in the state.
    n_nodes : int
        Chebyshev points in time per window.
    """

    def __init__(self, rhs, trajectories, radius, degree, n_nodes):
        self.rhs = rhs
        self.trajectories = trajectories
        self.radius = radius
        self.basis = TotalDegreeBasis(radius.shape[0], degree)
        self.n_nodes = n_nodes
        self.nodes = lobatto_points(n_nodes)
        self.integrate = like(radius, integration_matrix(n_nodes))
        self.to_series = like(radius, coefficients_from_values(n_nodes))
        self.margin = MARGIN

    @cached_property
    def points(self):
        """Points of the unit box from which solutions are fitted, shape (n, K)."""
        return like(self.radius, box_points(self.basis))

    def of_degree(self, degree):
        """Return one of another degree, or itself."""
        if degree == self.basis.degree:
            return self
        other = Fitter(self.rhs, self.trajectories, self.radius, degree, self.n_nodes)
        other.margin = self.margin
        return other

    def frames(self, t):
        """Local coordinates at the times `t` (L,), of which the first is initial."""
        y, xp = self.trajectories(t), array_namespace(self.radius)
        y[:, :, 0] = self.trajectories.y0
        tolerance = self.trajectories.atol + self.trajectories.rtol * xp.abs(y)
        xi = self.trajectories.xi
        return Frames.at(y, xi, self.radius, tolerance, self.margin)

    def values(self, edges, firsts, frames):
        """Solutions from the points of every leg's box.

        Legs are independent of each other; in a leg the windows follow each other.

        Returns
        -------
        values : array, shape (n, W, K, N)
        converged : array of bool, shape (W,)
        """
        xp = array_namespace(self.points)
        n, n_points = self.points.shape
        starts = frames.origins[:, :, None] + frames.axes @ self.points
        starts = xp.moveaxis(starts, 1, 0)
        lengths = np.diff(firsts, append=len(edges) - 1)
        entries = block_size(xp, CHUNK_ENTRIES)
        width = max(entries // (n * n_points * self.n_nodes), 1)
        legs, reached, found = np.arange(len(firsts)), None, []
        for position in range(lengths.max()):
            going_on = np.flatnonzero(lengths[legs] > position)
            if len(going_on) < len(legs):
                legs, chosen = legs[going_on], like(starts, going_on)
                starts = xp.take(starts, chosen, axis=1)
                reached = xp.take(reached, chosen)
            windows, chunks = firsts[legs] + position, []
            for i in range(0, len(legs), width):
                chunk = slice(i, min(i + width, len(legs)))
                chunks.append(self._iterate(edges, windows[chunk], starts[:, chunk, :]))
            starts = _joined(xp, [values[..., -1] for values, _ in chunks], axis=1)
            here = _joined(xp, [converged for _, converged in chunks])
            reached = here if reached is None else here & reached
            found.append((windows, [values for values, _ in chunks], reached))
        values = _joined(xp, [part for _, parts, _ in found for part in parts], axis=1)
        converged = _joined(xp, [flags for _, _, flags in found])
        order = np.argsort(np.concatenate([windows for windows, _, _ in found]))
        if np.all(order[1:] > order[:-1]):
            return values, converged
        order = like(values, order)
        return xp.take(values, order, axis=1), xp.take(converged, order)

    def _iterate(self, edges, windows, starts):
        """Picard iteration in some windows at once, from `starts` (n, windows, K).

        Returns
        -------
        values : array, shape (n, windows, K, N)
        converged : array of bool, shape (windows,)
        """
        xp = array_namespace(starts)
        half = (edges[windows + 1] - edges[windows])[:, None] / 2
        t = edges[windows, None] + (self.nodes + 1) * half
        values = self._guess(t, starts)
        t, half = like(starts, t), like(starts, half[:, :, None])
        asked = ITERATED * self.trajectories.least[:, None, None, None]
        busy, done, first = new_arange(t, len(windows)), [], None
        for iteration in range(MAX_ITERATIONS):
            now = values
            points = _as_columns(xp, t, now)
            f = self.rhs(*points)
            if iteration == 0 and not self.rhs.confirmed(*points, f):
                raise DoesNotBroadcast
            f = xp.reshape(f, now.shape)
            values = starts[..., None] + half * (f @ self.integrate.T)
            rounding = 8 * EPS * xp.max(xp.abs(values), axis=(2, 3), keepdims=True)
            change = xp.max(xp.abs(values - now) / (asked + rounding), axis=(0, 2, 3))
            first = change if first is None else first
            goes_on = (change > 1) & xp.isfinite(change)
            if iteration >= PATIENCE:
                goes_on &= change < first
            n_going_on = int(xp.count_nonzero(goes_on))
            if n_going_on == 0:
                break
            if n_going_on < values.shape[1]:
                done.append(_selected(xp, ~goes_on, [busy, change], [values]))
                (busy, change, first, t, half), (values, starts) = _selected(
                    xp, goes_on, [busy, change, first, t, half], [values, starts]
                )
        if not done:
            return values, change <= 1
        rows, columns = zip(*done, ([busy, change], [values]), strict=True)
        order = xp.argsort(xp.concat([busy for busy, _ in rows]))
        values = xp.concat([values for (values,) in columns], axis=1)
        change = xp.concat([change for _, change in rows])
        return xp.take(values, order, axis=1), xp.take(change, order) <= 1

    def _guess(self, t, starts):
        """Values at times `t` (windows, N) that follow the centre's trajectory."""
        along, xp = self.trajectories.of_centre(t.ravel()), array_namespace(starts)
        along = xp.reshape(along, (starts.shape[0], *t.shape))
        return starts[..., None] + (along - along[:, :, :1])[:, :, None, :]

    def maps(self, edges, firsts, frames, series, basis):
        """Fit polynomials in the state to Chebyshev series in time.

        One factorization serves all windows, since the points of the box are the
        same in local coordinates.

        Parameters
        ----------
        edges, firsts : ndarray
        frames : Frames
        series : array, shape (n, W, K, N)
        basis : TotalDegreeBasis

        Returns
        -------
        maps : WindowMaps
        misfit : array, shape (n, W)
            Largest one at the ends of the windows.
        """
        xp = array_namespace(series)
        at_points = basis.values(xp, self.points)
        q, r = xp.linalg.qr(at_points.T)
        coefficients = xp.linalg.solve(r, q.T) @ series
        coefficients = contiguous(xp.moveaxis(coefficients, (1, 3), (0, 1)))
        maps = WindowMaps(
            edges, firsts, frames.origins, frames.inverses, coefficients, basis
        )
        fitted = xp.moveaxis(xp.sum(coefficients, axis=1) @ at_points, 1, 0)
        return maps, xp.max(xp.abs(fitted - xp.sum(series, axis=3)), axis=2)


def _as_columns(xp, t, values):
    """Make times (windows, N) and states (n, windows, K, N) columns of points."""
    t = xp.broadcast_to(t[:, None, :], values.shape[1:])
    return xp.reshape(t, (-1,)), xp.reshape(values, (values.shape[0], -1))


def _selected(xp, condition, rows, columns):
    """Of some arrays those rows, of others those columns, for which it is True."""
    k = xp.nonzero(condition)[0]
    rows = [xp.take(x, k, axis=0) for x in rows]
    return rows, [xp.take(x, k, axis=1) for x in columns]


def _joined(xp, pieces, axis=0):
    """Concatenate; one piece is not copied."""
    return pieces[0] if len(pieces) == 1 else xp.concat(pieces, axis=axis)


class Comparison:
    """Maps against trajectories that they were not fitted to.

    Parameters
    ----------
    trajectories : Trajectories
    edges : ndarray, shape (W + 1,)
    firsts : ndarray of int, shape (L,)

    Attributes
    ----------
    allowed : array, shape (n, 1, W, checks)
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
        truth, xp = trajectories(self.t.ravel()), array_namespace(self.starts)
        self.truth = xp.reshape(truth, (*truth.shape[:2], *self.t.shape))
        self.allowed = trajectories.tolerance(self.truth)

    def local(self, maps):
        """Errors of the maps, each from true states at the start of its leg.

        Returns
        -------
        array, shape (W,)
            The largest in every window, in tolerances.
        """
        n, n_samples, n_legs = self.starts.shape
        xp, n_nodes = array_namespace(self.starts), maps.coefficients.shape[1]
        deviation = xp.moveaxis(self.starts, 2, 0) - maps.origins[:, :, None]
        xi = xp.reshape(xp.moveaxis(maps.inverses @ deviation, 0, 1), (n, -1))
        basis = xp.reshape(maps.basis.values(xp, xi), (-1, n_legs, n_samples))
        basis = xp.moveaxis(basis, 1, 0)
        rows = like(xi, np.stack(chebyshev_rows(np, CHECKS, n_nodes - 1)))
        worst = new_empty(xi, (len(self.t),))
        for w in range(len(self.t)):
            at_checks = xp.tensordot(rows, maps.coefficients[w, ...], axes=((0,), (0,)))
            found = xp.moveaxis(at_checks @ basis[int(self.leg[w]), ...], 0, 2)
            error = xp.abs(found - self.truth[:, :, w, :]) / self.allowed[:, :, w, :]
            worst[w] = xp.max(error)
        return worst

    def composed(self, maps):
        """Errors of the maps one after another from the initial states.

        Returns
        -------
        scaled : float
            Largest one, in tolerances.
        absolute : array, shape (n,)
        """
        xp = array_namespace(self.truth)
        found = maps.states(xp, self.t.ravel(), self.trajectories.y0)
        error = xp.abs(xp.reshape(found, self.truth.shape) - self.truth)
        return float(xp.max(error / self.allowed)), xp.max(error, axis=(1, 2, 3))
