"""Sparse Jacobians, brought to band form by reordering.

A band matrix is stored as by LAPACK: entry (i, j) in row ``upper + i - j`` and
column j.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_array, csr_array, issparse
from scipy.sparse.csgraph import reverse_cuthill_mckee

from ._array_namespace import array_namespace, backend_name, has_own_place

__all__ = ["BandedJacobians", "Structure", "find_structure"]

# A band pays if it fills at most this fraction of the matrix, and the system has
# at least so many unknowns: below, dense matrices of all steps at once are faster.
WIDEST, SMALLEST_SYSTEM = 1 / 3, 30


@dataclass
class BandedJacobians:
    """Jacobians at many points, in band form.

    Attributes
    ----------
    band : ndarray, shape (lower + upper + 1, n, m)
    lower, upper : int
        Numbers of diagonals below and above the main one.
    order : ndarray, shape (n,), or slice
        The component at each place of the band matrix.
    """

    band: np.ndarray
    lower: int
    upper: int
    order: np.ndarray | slice


class Structure:
    """Positions of the entries of a sparse Jacobian.

    Parameters
    ----------
    pattern : sparse array, shape (n, n)
        Its stored entries are those that may differ from zero.

    Attributes
    ----------
    order, place : ndarray, shape (n,), or slice
        The component at each place of the band matrix, and the place of each
        component; slices where they stay in their order.
    """

    def __init__(self, pattern):
        self._take(csr_array(pattern))

    def _take(self, pattern):
        n, counts = pattern.shape[0], np.diff(pattern.indptr)
        self.pattern = pattern
        self.rows, self.columns = np.repeat(np.arange(n), counts), pattern.indices
        i, j, most = self.rows, self.columns, np.max(counts, initial=1)
        self.order = self.place = slice(None)
        if sum(_bandwidths(i, j)) > most:  # otherwise it can hardly be narrowed
            order, place = reverse_cuthill_mckee(pattern), np.empty(n, dtype=int)
            place[order] = np.arange(n)
            if sum(_bandwidths(place[i], place[j])) < sum(_bandwidths(i, j)):
                self.order, self.place, i, j = order, place, place[i], place[j]
        self.lower, self.upper = _bandwidths(i, j)
        self._band = self.upper + i - j, j
        width = self.lower + self.upper + 1
        if width <= 2 * most:
            self.groups = np.arange(n)[self.place] % width  # far apart: no row shared
        else:
            self.groups = _group_columns(csc_array(pattern))
        self.pays = n >= SMALLEST_SYSTEM and width <= WIDEST * n

    def from_entries(self, values):
        """Band form of Jacobians from their entries, shape (n_entries, m)."""
        band = np.zeros(
            (self.lower + self.upper + 1, self.pattern.shape[0], values.shape[1]),
            dtype=values.dtype,
        )
        band[self._band] = values
        return BandedJacobians(band, self.lower, self.upper, self.order)

    def from_matrices(self, matrices):
        """Band form of Jacobians given one by one, dense or sparse.

        The structure grows where they have further entries: stored ones may
        have been left out while they were zero.
        """
        n = self.pattern.shape[0]
        matrices = [csr_array(m, shape=(n, n)) for m in matrices]
        values = [self._entries(m) for m in matrices]
        known = (np.count_nonzero(v) for v in values)
        if any(k < m.count_nonzero() for k, m in zip(known, matrices, strict=True)):
            total = abs(self.pattern)
            for matrix in matrices:
                total = total + abs(matrix)
            total.data[:] = 1.0
            self._take(csr_array(total))
            values = [self._entries(m) for m in matrices]
        return self.from_entries(np.stack(values, axis=1))

    def _entries(self, matrix):
        return np.asarray(matrix[self.rows, self.columns]).reshape(-1)


def _bandwidths(rows, columns):
    """Count the diagonals below and above the main one."""
    offset = rows - columns
    return int(offset.max(initial=0)), int(-offset.min(initial=0))


def find_structure(jac, sparsity, t0, y0):
    """Find the structure of the Jacobian, or None if it is to be dense.

    Parameters
    ----------
    jac : callable, matrix or None
        As given by the user. A callable is asked at the initial point.
    sparsity : array_like or sparse matrix of shape (n, n), or None
        Counts only without `jac`, as in SciPy.
    t0 : float
    y0 : ndarray, shape (n,)
    """
    n = y0.size
    if has_own_place(y0):
        _refuse_sparse(jac, sparsity, y0)
        return None
    if callable(jac) and n >= SMALLEST_SYSTEM:
        jac = jac(t0, y0.copy())
    if n == 0:
        return None
    if jac is None and sparsity is not None:
        name, pattern = "jac_sparsity", csr_array(sparsity, copy=True)
    elif issparse(jac):
        name, pattern = "jac", csr_array(jac, copy=True)
    else:
        return None
    if pattern.shape != (n, n):
        raise ValueError(
            f"`{name}` is expected to have shape {(n, n)}, "
            f"but actually has {pattern.shape}."
        )
    pattern.data = np.ones(len(pattern.data))
    structure = Structure(pattern)
    return structure if structure.pays else None


def _refuse_sparse(jac, sparsity, y0):
    """Raise if a sparse Jacobian is given with a state that is not NumPy's."""
    for name, value in (("jac", jac), ("jac_sparsity", sparsity)):
        if issparse(value) or (name == "jac_sparsity" and value is not None):
            raise ValueError(
                f"`{name}` is expected to be None or dense where `y0` is an array of "
                f"{backend_name(array_namespace(y0))}; sparse matrices are NumPy's."
            )


def _group_columns(pattern):
    """Group columns that share no row, first fit; one number for each column.

    The columns of a group can be differenced together (Curtis, Powell & Reid,
    J. Inst. Maths Applics 13, 1974).
    """
    n = pattern.shape[1]
    groups, taken = np.empty(n, dtype=int), []
    for j in range(n):
        rows = pattern.indices[pattern.indptr[j] : pattern.indptr[j + 1]]
        free = (k for k, used in enumerate(taken) if not used[rows].any())
        groups[j] = next(free, len(taken))
        if groups[j] == len(taken):
            taken.append(np.zeros(n, dtype=bool))
        taken[groups[j]][rows] = True
    return groups
