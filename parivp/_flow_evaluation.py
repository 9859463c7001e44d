"""Polynomial maps of windows of time, composed and evaluated at many states."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from array_api_compat import device

from ._array_namespace import is_numpy_namespace
from ._chebyshev import TotalDegreeBasis, chebyshev_rows

__all__ = ["WindowMaps"]

# Values of the basis that are worked on at a time: NumPy's passes over them stay in
# the second-level cache; elsewhere only memory limits them.
BLOCK_ENTRIES, BLOCK_ENTRIES_OTHERS = 2**16, 2**24


@dataclass(frozen=True)
class WindowMaps:
    """The flow, leg after leg: what an initial state becomes.

    Time is split into windows, and one or more windows form a leg. A state y at the
    start of leg l has the local coordinates ``xi = inverses[l] @ (y - origins[l])``,
    and at the time that is s in [-1, 1] in window w of that leg it has become
    ``sum_k sum_b coefficients[w, k, :, b] T_k(s) basis_b(xi)``.

    Attributes
    ----------
    edges : ndarray, shape (W + 1,)
        Strictly monotonic times at which the windows meet.
    firsts : ndarray of int, shape (L,)
        First window of every leg.
    origins : ndarray, shape (L, n)
    inverses : ndarray, shape (L, n, n)
    coefficients : ndarray, shape (W, N, n, size)
    basis : TotalDegreeBasis
    """

    edges: np.ndarray
    firsts: np.ndarray
    origins: np.ndarray
    inverses: np.ndarray
    coefficients: np.ndarray
    basis: TotalDegreeBasis

    @cached_property
    def hops(self):
        """Maps from local coordinates to those of the next leg, shape (L - 1, n, size).

        They are what the last window of the leg gives at its end.
        """
        ends = np.sum(self.coefficients[self.firsts[1:] - 1], axis=1)  # T_k(1) = 1
        constant = int(np.flatnonzero(self.basis.totals == 0)[0])
        ends[:, :, constant] -= self.origins[1:]
        return self.inverses[1:] @ ends

    def locate(self, t):
        """Window and time therein, from -1 to 1, of times within the span."""
        sign = 1.0 if self.edges[-1] > self.edges[0] else -1.0
        w = np.searchsorted(sign * self.edges, sign * t, side="left") - 1
        w = np.clip(w, 0, len(self.edges) - 2)
        left, right = self.edges[w], self.edges[w + 1]
        # from the nearer end, so that both ends are hit exactly
        s = np.where(
            np.abs(t - left) < np.abs(right - t),
            -1 + 2 * (t - left) / (right - left),
            1 - 2 * (right - t) / (right - left),
        )
        return w, s

    def _plan(self, t):
        """Make what the basis is multiplied with, in every leg that is needed.

        Returns
        -------
        outputs : list of ndarray, shape (n_times * n, size)
        order : ndarray of int
            Position among all outputs of every time of `t`.
        """
        windows, s = self.locate(t)
        by_window = np.argsort(windows, kind="stable")
        legs = np.searchsorted(self.firsts, windows, side="right") - 1
        outputs = [[] for _ in range(legs.max() + 1)]
        for w in np.unique(windows):
            here = by_window[windows[by_window] == w]
            rows = np.stack(chebyshev_rows(np, s[here], self.coefficients.shape[1] - 1))
            at_times = np.tensordot(rows, self.coefficients[w], axes=(0, 0))
            outputs[legs[here[0]]].append(at_times.reshape(-1, self.basis.size))
        nothing = np.empty((0, self.basis.size))
        outputs = [np.concatenate([nothing, *matrices]) for matrices in outputs]
        return outputs, np.argsort(by_window, kind="stable")

    def _blocks(self, xp, n_columns, entries_each):
        entries = BLOCK_ENTRIES if is_numpy_namespace(xp) else BLOCK_ENTRIES_OTHERS
        width = max(entries // entries_each, 16)
        starts = range(0, n_columns, width)
        return [slice(i, min(i + width, n_columns)) for i in starts]

    def _start(self, xp, y0):
        inverse = xp.asarray(self.inverses[0], device=device(y0))
        origin = xp.asarray(self.origins[0][:, None], device=device(y0))
        return inverse @ (y0 - origin)

    def states(self, xp, t, y0):
        """States at all times, from all initial states.

        Parameters
        ----------
        xp : namespace
            Of `y0`.
        t : ndarray, shape (m,)
            Times within the span, in any order.
        y0 : array, shape (n, B)

        Returns
        -------
        array, shape (n, B, m)
        """
        n, n_columns = y0.shape
        if t.size == 0 or n_columns == 0:
            return xp.zeros((n, n_columns, t.size), dtype=y0.dtype, device=device(y0))
        outputs, order = self._plan(t)
        upload = [xp.asarray(matrix, device=device(y0)) for matrix in outputs]
        hops = [
            xp.asarray(hop, device=device(y0)) for hop in self.hops[: len(upload) - 1]
        ]
        blocks = []
        for block in self._blocks(xp, n_columns, self.basis.size):
            xi, pieces = self._start(xp, y0[:, block]), []
            for k, matrix in enumerate(upload):
                values = self.basis.values(xp, xi)
                if matrix.shape[0]:
                    pieces.append(matrix @ values)
                if k < len(hops):
                    xi = hops[k] @ values
            blocks.append(xp.concat(pieces, axis=0))
        found = xp.reshape(xp.concat(blocks, axis=1), (t.size, n, n_columns))
        return self._sorted(xp, found, order)

    def jacobians(self, xp, t, y0):
        """Jacobians of the states, shape (n, n, B, m).

        The first axis is that of the state, the second that of the initial one.
        """
        n, n_columns = y0.shape
        if t.size == 0 or n_columns == 0:
            return xp.zeros(
                (n, n, n_columns, t.size), dtype=y0.dtype, device=device(y0)
            )
        outputs, order = self._plan(t)
        outputs = [xp.asarray(matrix, device=device(y0)) for matrix in outputs]
        hops = [
            xp.asarray(hop, device=device(y0)) for hop in self.hops[: len(outputs) - 1]
        ]
        first = xp.asarray(self.inverses[0][:, :, None], device=device(y0))
        blocks = []
        for block in self._blocks(xp, n_columns, self.basis.size * n):
            xi, pieces = self._start(xp, y0[:, block]), []
            chain = xp.broadcast_to(first, (n, n, xi.shape[1]))
            for k, matrix in enumerate(outputs):
                gradients = self.basis.gradients(xp, xi)
                if matrix.shape[0]:
                    pieces.append(_chained(xp, matrix @ gradients, chain))
                if k < len(hops):
                    chain = _chained(xp, hops[k] @ gradients, chain)
                    xi = hops[k] @ self.basis.values(xp, xi)
            blocks.append(xp.concat(pieces, axis=0))
        found = xp.concat(blocks, axis=2)
        return self._sorted(xp, xp.reshape(found, (t.size, n, n, n_columns)), order)

    def _sorted(self, xp, found, order):
        """Bring times (first) into the order asked for, and to the end."""
        if len(order) > 1:
            found = xp.take(found, xp.asarray(order, device=device(found)), axis=0)
        return xp.moveaxis(found, 0, -1)

    def extent(self, y0):
        """Largest local coordinate that any of `y0` (n, B) takes on its way."""
        xi = self._start(np, y0)
        largest = np.max(np.abs(xi), initial=0.0)
        for hop in self.hops:
            xi = hop @ self.basis.values(np, xi)
            largest = max(largest, np.max(np.abs(xi), initial=0.0))
        return largest


def _chained(xp, outer, inner):
    """Chain rule: outer[j, i, b] inner[j, k, b] summed over j, shape (i, k, b)."""
    return xp.sum(outer[:, :, None, :] * inner[:, None, :, :], axis=0)
