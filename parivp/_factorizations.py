"""Factorized matrices of the steps, as functions that solve with them in place.

For arrays of NumPy's, by LAPACK and BLAS.
"""

import math

import numpy as np
from scipy.linalg import get_lapack_funcs
from scipy.linalg.blas import ztbsv
from scipy.linalg.lapack import zgbtrf, zgbtrs, zgttrf, zgttrs

from ._array_namespace import is_complex

__all__ = ["band_solvers", "dense_solvers"]


def band_solvers(scaled, values):
    """Factorize ``I - lambda h J`` for all steps, ``h J``, and `values` of lambda.

    The matrices of a step are the blocks of one. Complex factorizations take no
    longer than real ones where the band is narrow.

    Returns
    -------
    list of callable
        They solve in place with vectors (m, n), contiguous and complex.
    """
    lower, upper, band = scaled.lower, scaled.upper, scaled.band
    factors = -np.array(values, dtype=complex)
    if lower == upper == 1:
        rows = np.ascontiguousarray(band.transpose(2, 0, 1))
        return [_tridiagonal_solver(factors[:, None] * hJ[:, None]) for hJ in rows]
    width, n, n_steps = band.shape
    # behind room for what pivoting adds
    columns = np.zeros((n_steps, n, lower + width), dtype=band.dtype)
    columns[..., lower:] = band.transpose(2, 1, 0)
    return [_band_solver(hJ, factors, lower, upper) for hJ in columns]


def _tridiagonal_solver(matrices):
    """Factorize the identity plus matrices with three diagonals, (3, m, n)."""
    above, diagonal, below = matrices.reshape(3, -1)
    *factors, info = zgttrf(below[:-1], 1 + diagonal, above[1:])
    if info != 0:
        return _spoil
    return lambda W: zgttrs(*factors, W.reshape(-1), overwrite_b=True)


def _band_solver(hJ, factors, lower, upper):
    """Factorize the identity plus multiples of a band matrix, its columns in rows."""
    size, shape = len(factors) * hJ.size, (-1, hJ.shape[1])
    numbers = np.empty(size + lower + upper, dtype=complex)

    def rows_from(k):
        """View that starts with row k of the factors, as BLAS takes it."""
        return numbers[k : k + size].reshape(shape).T

    np.multiply(
        factors[:, None], hJ.reshape(-1), out=numbers[:size].reshape(len(factors), -1)
    )
    numbers[lower + upper : size : shape[1]] += 1
    lu, pivots, info = zgbtrf(rows_from(0), lower, upper, overwrite_ab=True)
    if info != 0:
        return _spoil
    if (pivots != np.arange(len(pivots))).any():
        return lambda W: zgbtrs(
            lu, lower, upper, W.reshape(-1), pivots, overwrite_b=True
        )
    # where no rows were exchanged two triangular solves take half the time
    left, right = rows_from(lower + upper), rows_from(lower)

    def solve(W):
        w = ztbsv(lower, left, W.reshape(-1), lower=1, diag=1, overwrite_x=True)
        ztbsv(upper, right, w, overwrite_x=True)

    return solve


def dense_solvers(scaled, values):
    """Factorize as `band_solvers` for full matrices ``h J`` (N, n, n).

    With a real matrix only the real parts of the vectors count.
    """
    return [_together([_dense_solver(-v * hJ) for v in values]) for hJ in scaled]


def _together(solvers):
    """Solve with one vector each."""

    def solve(W):
        for one, w in zip(solvers, W, strict=True):
            one(w)

    return solve


def _dense_solver(matrix):
    """Factorize the identity plus a matrix."""
    matrix = np.asfortranarray(matrix)
    matrix[np.diag_indices(len(matrix))] += 1
    getrf, getrs = get_lapack_funcs(("getrf", "getrs"), (matrix,))
    lu, pivots, info = getrf(matrix, overwrite_a=True)
    if info != 0:
        return _spoil
    if is_complex(lu):
        return lambda b: getrs(lu, pivots, b, overwrite_b=True)

    def solve(b):
        b[:] = getrs(lu, pivots, b.real)[0]

    return solve


def _spoil(b):
    """Stand in for solving with a singular matrix."""
    b[:] = math.nan
