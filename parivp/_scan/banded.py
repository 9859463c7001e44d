"""The affine recursion as a triangular band matrix, solved by LAPACK.

``u_k - A_k u_{k-1} = b_k`` for all ``k`` is block lower bidiagonal with unit
diagonal, hence a lower triangular band matrix with ``2 d - 1`` subdiagonals.
"""

from functools import cache

import numpy as np
from scipy.linalg import get_lapack_funcs

__all__ = ["affine_scan_banded"]

# Numbers in the band of one piece of the recursion, which then stays in the
# cache: a piece starts from the last state of the one before.
CACHED = 2**15


def affine_scan_banded(xp, A, b):
    """Solve ``u_k = A_k u_{k-1} + b_k``, ``u_{-1} = 0`` by ``?tbtrs``."""
    A, u = np.asarray(A), np.array(b, order="C")
    tbtrs = _tbtrs(u.dtype)
    if u.ndim == 2:
        _solve_trajectory(tbtrs, A, u)
    else:
        for matrices, states in zip(A, u, strict=True):
            _solve_trajectory(tbtrs, matrices, states)
    return u


def _solve_trajectory(tbtrs, A, u):
    """Solve one recursion in place: ``u`` holds ``b`` before."""
    n_steps, d = u.shape
    piece = max(64, CACHED // (2 * d * d))
    for start in range(0, n_steps, piece):
        part = slice(start, start + piece)
        if start:
            u[start] += A[start] @ u[start - 1]
        u[part] = _solve_piece(tbtrs, A[part], u[part])


@cache
def _tbtrs(dtype):
    """LAPACK's routine for that type."""
    return get_lapack_funcs("tbtrs", dtype=dtype)


def _solve_piece(tbtrs, A, b):
    """Solve the recursion from zero, with the whole band in one matrix."""
    n_steps, d = b.shape
    band = np.zeros((2 * d, n_steps, d), dtype=b.dtype)
    # entry (k, i) x (k - 1, j) lies on diagonal d + i - j, as [i, j, k - 1] of a view
    diagonal, step, entry = band.strides
    np.ndarray(
        (d, d, n_steps - 1),
        band.dtype,
        band,
        offset=d * diagonal,
        strides=(diagonal, entry - diagonal, step),
    )[...] = A[1:].transpose(1, 2, 0)
    # in one contiguous piece: NumPy 2.4 negates strided float32 wrongly
    np.negative(band, out=band)
    u, info = tbtrs(
        band.reshape(2 * d, n_steps * d), b.reshape(-1, 1), uplo="L", diag="U"
    )
    if info != 0:
        raise ValueError(f"LAPACK tbtrs returned info = {info}.")
    return u.reshape(n_steps, d)
