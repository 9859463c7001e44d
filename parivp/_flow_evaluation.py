"""Polynomial maps of windows of time, composed and evaluated at many states."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ._array_namespace import (
    array_namespace,
    is_numpy_namespace,
    like,
    new_zeros,
)
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
    origins : array, shape (L, n)
    inverses : array, shape (L, n, n)
    coefficients : array, shape (W, N, n, size)
        These are where the states are, times on the host.
    basis : TotalDegreeBasis
    """

    edges: np.ndarray
    firsts: np.ndarray
    origins: object
    inverses: object
    coefficients: object
    basis: TotalDegreeBasis

    def placed_like(self, x):
        """Return the same maps, of the library and on the device of `x`."""
        moved = replace(
            self,
            origins=like(x, self.origins),
            inverses=like(x, self.inverses),
            coefficients=like(x, self.coefficients),
        )
        moved.__dict__["hops"] = like(x, self.hops)  # made once, here
        return moved

    @cached_property
    def hops(self):
        """Maps from local coordinates to those of the next leg, shape (L - 1, n, size).

        They are what the last window of the leg gives at its end.
        """
        xp = array_namespace(self.coefficients)
        last = like(self.coefficients, self.firsts[1:] - 1)
        ends = xp.sum(xp.take(self.coefficients, last, axis=0), axis=1)  # T_k(1) = 1
        constant = int(np.flatnonzero(self.basis.totals == 0)[0])
        ends[:, :, constant] -= self.origins[1:, :]
        return self.inverses[1:, :, :] @ ends

    def locate(self, t):
        """Window and time therein, from -1 to 1, of times within the span."""
        xp, edges = array_namespace(t), like(t, self.edges)
        sign = 1.0 if self.edges[-1] > self.edges[0] else -1.0
        w = xp.searchsorted(sign * edges, sign * t, side="left") - 1
        w = xp.minimum(xp.maximum(w, 0), len(self.edges) - 2)
        left, right = xp.take(edges, w), xp.take(edges, w + 1)
        # from the nearer end, so that both ends are hit exactly
        s = xp.where(
            xp.abs(t - left) < xp.abs(right - t),
            -1 + 2 * (t - left) / (right - left),
            1 - 2 * (right - t) / (right - left),
        )
        return w, s

    def _plan(self, t):
        """Make what the basis is multiplied with, in every leg that is needed.

        Returns
        -------
        outputs : list of array, shape (n_times * n, size), or None
            None where no time is in the leg.
        order : array of int
            Position among all outputs of every time of `t`.
        """
        of_t, xp = array_namespace(t), array_namespace(self.coefficients)
        windows, s = self.locate(t)
        by_window = of_t.argsort(windows, stable=True)
        windows, s = of_t.take(windows, by_window), of_t.take(s, by_window)
        rows = of_t.stack(chebyshev_rows(of_t, s, self.coefficients.shape[1] - 1))
        rows = like(self.coefficients, rows)
        outputs, start = [], 0
        while start < t.shape[0]:
            here = windows[start : start + 1]
            w = int(here[0])
            stop = int(of_t.searchsorted(windows, here, side="right")[0])
            at_times = xp.tensordot(
                rows[:, start:stop], self.coefficients[w, ...], axes=((0,), (0,))
            )
            leg = int(np.searchsorted(self.firsts, w, side="right")) - 1
            outputs.extend([] for _ in range(leg + 1 - len(outputs)))
            outputs[leg].append(xp.reshape(at_times, (-1, self.basis.size)))
            start = stop
        outputs = [xp.concat(pieces) if pieces else None for pieces in outputs]
        return outputs, of_t.argsort(by_window, stable=True)

    def _blocks(self, xp, n_columns, entries_each):
        entries = BLOCK_ENTRIES if is_numpy_namespace(xp) else BLOCK_ENTRIES_OTHERS
        width = max(entries // entries_each, 16)
        starts = range(0, n_columns, width)
        return [slice(i, min(i + width, n_columns)) for i in starts]

    def _start(self, y0):
        return self.inverses[0, ...] @ (y0 - self.origins[0, :][:, None])

    def states(self, xp, t, y0):
        """States at all times, from all initial states.

        Parameters
        ----------
        xp : namespace
            Of `y0`.
        t : array, shape (m,)
            Times within the span, in any order; on the host or where `y0` is.
        y0 : array, shape (n, B)
            Where the maps are.

        Returns
        -------
        array, shape (n, B, m)
        """
        n, n_columns = y0.shape
        if t.size == 0 or n_columns == 0:
            return new_zeros(y0, (n, n_columns, t.size))
        outputs, order = self._plan(t)
        blocks, last = [], len(outputs) - 1
        for block in self._blocks(xp, n_columns, self.basis.size):
            xi, pieces = self._start(y0[:, block]), []
            for k, matrix in enumerate(outputs):
                values = self.basis.values(xp, xi)
                if matrix is not None:
                    pieces.append(matrix @ values)
                if k < last:
                    xi = self.hops[k, ...] @ values
            blocks.append(xp.concat(pieces, axis=0))
        found = xp.reshape(xp.concat(blocks, axis=1), (t.size, n, n_columns))
        return self._sorted(xp, found, order)

    def jacobians(self, xp, t, y0):
        """Jacobians of the states, shape (n, n, B, m).

        The first axis is that of the state, the second that of the initial one.
        """
        n, n_columns = y0.shape
        if t.size == 0 or n_columns == 0:
            return new_zeros(y0, (n, n, n_columns, t.size))
        outputs, order = self._plan(t)
        blocks, last = [], len(outputs) - 1
        first = self.inverses[0, ...][:, :, None]
        for block in self._blocks(xp, n_columns, self.basis.size * n):
            xi, pieces = self._start(y0[:, block]), []
            chain = xp.broadcast_to(first, (n, n, xi.shape[1]))
            for k, matrix in enumerate(outputs):
                gradients = self.basis.gradients(xp, xi)
                if matrix is not None:
                    pieces.append(_chained(xp, matrix @ gradients, chain))
                if k < last:
                    hop = self.hops[k, ...]
                    chain = _chained(xp, hop @ gradients, chain)
                    xi = hop @ self.basis.values(xp, xi)
            blocks.append(xp.concat(pieces, axis=0))
        found = xp.concat(blocks, axis=2)
        return self._sorted(xp, xp.reshape(found, (t.size, n, n, n_columns)), order)

    def _sorted(self, xp, found, order):
        """Bring times (first) into the order asked for, and to the end."""
        if order.shape[0] > 1:
            found = xp.take(found, like(found, order), axis=0)
        return xp.moveaxis(found, 0, -1)

    def extent(self, y0):
        """Largest local coordinate that any of `y0` (n, B) takes on its way."""
        xp, xi = array_namespace(y0), self._start(y0)
        largest = xp.max(xp.abs(xi))
        for k in range(len(self.firsts) - 1):
            xi = self.hops[k, ...] @ self.basis.values(xp, xi)
            largest = xp.maximum(largest, xp.max(xp.abs(xi)))
        return float(largest)


def _chained(xp, outer, inner):
    """Chain rule: outer[j, i, b] inner[j, k, b] summed over j, shape (i, k, b)."""
    return xp.sum(outer[:, :, None, :] * inner[:, None, :, :], axis=0)
