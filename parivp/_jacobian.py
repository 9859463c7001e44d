"""The Jacobian of the right-hand side: given by the user, or by differences."""

from dataclasses import replace

import numpy as np
from scipy.sparse import issparse

from ._array_namespace import (
    add_to_diagonal,
    array_namespace,
    block_size,
    is_complex,
)
from ._options import as_numbers
from ._rhs import ManyPoints

__all__ = [
    "SQRT_EPS",
    "ConstantJacobian",
    "DifferencedJacobian",
    "UserJacobian",
    "increments",
    "wrap_jacobian",
]

SQRT_EPS = float(np.sqrt(np.finfo(np.float64).eps))
# A power of two that makes them as large as the states.
LONG_INCREMENTS = 2.0**26
# Numbers that the perturbed copies of one block of points fill: a level-2 cache.
CACHED = 2**15


class ConstantJacobian:
    """A Jacobian that does not depend on (t, y)."""

    time_vectorized = True
    njev = 0

    def __init__(self, matrix):
        self.matrix = matrix

    def __call__(self, t, y, f=None):
        """Return the matrix for every point, shape (n, n, m)."""
        xp, shape = array_namespace(self.matrix), self.matrix.shape
        return xp.broadcast_to(self.matrix[:, :, None], (*shape, t.shape[0]))

    strict = __call__


class UserJacobian(ManyPoints):
    """A callable ``jac(t, y)``, dense or sparse, counted in points."""

    def __init__(self, jac, y0, *, time_vectorized=None):
        def dense(t, y):
            value = jac(t, y)
            return value.toarray() if issparse(value) else value

        n = y0.size
        super().__init__(dense, (n, n), y0, "jac", time_vectorized=time_vectorized)

    def __call__(self, t, y, f=None):
        """Jacobians at many points, shape (n, n, m)."""
        return super().__call__(t, y)

    @property
    def njev(self):
        """Number of evaluated Jacobians."""
        return self.n_points


class StructuredJacobian:
    """A sparse Jacobian given by the user, evaluated point by point.

    Parameters
    ----------
    jac : callable or sparse matrix
        ``jac(t, y)``, or its constant value.
    structure : Structure
    """

    time_vectorized = False

    def __init__(self, jac, structure):
        self.jac = jac
        self.structure = structure
        self.njev = int(callable(jac))  # `find_structure` has called it

    def strict(self, t, y, f=None):
        """Jacobians at points, a `BandedJacobians`; what is raised arrives."""
        if not callable(self.jac):
            banded = self.structure.from_matrices([self.jac])
            return replace(banded, band=np.repeat(banded.band, len(t), axis=-1))
        self.njev += len(t)
        return self.structure.from_matrices(
            [self.jac(float(t[k]), y[:, k].copy()) for k in range(len(t))]
        )

    def __call__(self, t, y, f=None):
        """Jacobians at points computed ahead; NaN where one raises."""
        try:
            return self.strict(t, y)
        except Exception:
            n_entries = len(self.structure.rows)
            return self.structure.from_entries(np.full((n_entries, len(t)), np.nan))


class DifferencedJacobian:
    """The Jacobian of a right-hand side by forward differences.

    A complex right-hand side is taken to be analytic, as by SciPy.

    Parameters
    ----------
    rhs : callable
        ``rhs(t, y)`` at many points, shapes (m,), (n, m) and (n, m).
    threshold : ndarray, shape (n, 1) or (1, 1)
        Components that are smaller are differenced as if they were not, since
        rounding errors of large terms would be divided by tiny increments.
    structure : Structure, optional
        Columns that share no row are differenced together.

    Attributes
    ----------
    affine : bool
        Whether the right-hand side is affine in `y`: increments as large as the
        states leave nothing but rounding errors then.
    """

    affine = False

    def __init__(self, rhs, threshold, structure=None):
        self.rhs = rhs
        self.threshold = threshold
        self.structure = structure
        self.njev = 0

    def __call__(self, t, y, f=None):
        """Jacobians at points ordered along the trajectory.

        Parameters
        ----------
        t : ndarray, shape (m,)
        y : ndarray, shape (n, m)
        f : ndarray, shape (n, m), optional
            Values of the right-hand side there, if they are known.

        Returns
        -------
        ndarray, shape (n, n, m), or BandedJacobians
        """
        xp, (n, m) = array_namespace(y), y.shape
        self.njev += m
        f = self.rhs(t, y) if f is None else f
        eps = xp.maximum(increments(y), SQRT_EPS * self.threshold)
        if self.affine:
            eps = eps * LONG_INCREMENTS
        n_groups = n if self.structure is None else int(self.structure.groups.max()) + 1
        block = max(16, block_size(xp, CACHED) // (n * n_groups))
        ends = [*range(block, m, block), m]
        parts = [
            self._block(n_groups, t[part], y[:, part], f[:, part], eps[:, part])
            for part in map(slice, [0, *ends[:-1]], ends)
        ]
        values = parts[0] if len(parts) == 1 else xp.concat(parts, axis=-1)
        return values if self.structure is None else self.structure.from_entries(values)

    def _block(self, n_groups, t, y, f, eps):
        """Differences in one direction for each group, all from one call."""
        xp, structure = array_namespace(y), self.structure
        values, used = self._forward(n_groups, t, y, f, eps)
        finite = xp.isfinite(values)
        if not bool(xp.all(finite)) and bool(xp.all(xp.isfinite(f))):
            # at the edge of the domain the other side may be inside
            back, used_back = self._forward(n_groups, t, y, f, -eps)
            outside = ~xp.all(finite, axis=0)
            values = xp.where(outside, back, values)
            outside = outside if structure is None else outside[structure.groups]
            used = xp.where(outside, used_back, used)
        if structure is None:
            return values / used
        rows, columns = structure.rows, structure.columns
        return values[rows, structure.groups[columns]] / used[columns]

    def _forward(self, n_groups, t, y, f, eps):
        """Return changes (n, n_groups, m) and what rounding left of the increments."""
        xp, (n, m) = array_namespace(y), y.shape
        copies = xp.repeat(y[:, None, :], n_groups, axis=1)
        if self.structure is None:
            matrices = xp.permute_dims(copies, (2, 0, 1))
            add_to_diagonal(xp, matrices, eps.T)
            moved = xp.linalg.diagonal(matrices).T
        else:
            place = np.arange(n), self.structure.groups
            copies[place] += eps
            moved = copies[place]
        used = moved - y
        used = xp.real(used) if is_complex(used) else used
        times = xp.concat([t] * n_groups)
        values = self.rhs(times, xp.reshape(copies, (n, -1)))
        return xp.reshape(values, (n, n_groups, m)) - f[:, None, :], used


def wrap_jacobian(jac, t0, y0, *, time_vectorized=None, structure=None):
    """Turn the option `jac` into a function of many points, or None."""
    if jac is None:
        return None
    if structure is not None:
        return StructuredJacobian(jac, structure)
    n, xp = y0.size, array_namespace(y0)
    if callable(jac):
        wrapped = UserJacobian(jac, y0, time_vectorized=time_vectorized)
        wrapped.single(t0, y0)  # wrong shapes show before the integration starts
        return wrapped
    matrix = jac.toarray() if issparse(jac) else jac
    expected = "a callable, an array, a sparse matrix or None"
    matrix = as_numbers("jac", matrix, y0, expected)
    if is_complex(matrix) and not is_complex(y0):
        raise TypeError("`jac` is complex, but `y0` is real.")
    matrix = xp.astype(matrix, y0.dtype, copy=False)
    if matrix.shape != (n, n):
        raise ValueError(
            f"`jac` is expected to have shape {(n, n)}, "
            f"but actually has {matrix.shape}."
        )
    return ConstantJacobian(matrix)


def increments(x):
    """Increments for forward differences with respect to every component.

    Parameters
    ----------
    x : ndarray, shape (n, N)
        States, along the trajectory.

    Returns
    -------
    ndarray, shape (n, N)
        ``sqrt(eps)`` times the size of the component. A component that passes
        through zero is measured by what it changes in a step and by its largest
        value, one that stays zero by the others: the Jacobian steers Newton's
        method and does not enter the solution.
    """
    xp = array_namespace(x)
    size = largest = xp.abs(x)
    if x.shape[1] > 1:
        largest = xp.max(size, axis=1, keepdims=True)
        change = xp.abs(x[:, 1:] - x[:, :-1])
        size[:, 1:] = xp.maximum(size[:, 1:], change)
        size[:, :-1] = xp.maximum(size[:, :-1], change)
        size = xp.maximum(size, 1e-6 * largest)
    if not bool(xp.all(size > 0)):
        others = xp.maximum(1e-3 * xp.max(largest), 1e-8)
        size = xp.where(size > 0, size, others)
    return SQRT_EPS * size
