"""Affine scans: ``u_k = A_k u_{k-1} + b_k`` for all ``k`` at once.

A backend is a function ``(xp, A, b) -> u``; entering it in `SCAN_BACKENDS` is
all it takes to be selectable and tested.
"""

from .._array_namespace import array_namespace, is_numpy_namespace
from .associative import affine_scan_associative
from .banded import affine_scan_banded
from .sequential import affine_scan_sequential

__all__ = ["SCAN_BACKENDS", "affine_scan"]

SCAN_BACKENDS = {
    "sequential": affine_scan_sequential,
    "banded": affine_scan_banded,
    "associative": affine_scan_associative,
}

NUMPY_ONLY = {"banded"}


def affine_scan(A, b, u0=None, backend=None):
    """Solve the affine recursion ``u_k = A_k u_{k-1} + b_k`` for all ``k``.

    Parameters
    ----------
    A : array, shape (N, d, d)
        Matrices of the recursion. They need not commute.
    b : array, shape (N, d)
        Inhomogeneities.
    u0 : array, shape (d,), optional
        The state before the first step, ``u_{-1}``; zero by default.
    backend : {None, "banded", "associative", "sequential"}, optional
        ``"banded"`` solves the block bidiagonal system with LAPACK's ``tbtrs``
        (NumPy arrays only, the default for them), ``"associative"`` composes
        the maps pairwise in logarithmic depth (any array library, the default
        for others), ``"sequential"`` loops over ``k``.

    Returns
    -------
    u : array, shape (N, d)
        All states ``u_0, ..., u_{N-1}``.

    Raises
    ------
    ValueError
        If the shapes do not agree, or the backend is unknown or cannot take
        the arrays given.

    References
    ----------
    .. [1] C. Iacob, H. Razavi, S. Särkkä, "A parallel-in-time Newton's
           method-based ODE solver", Section 3.1, eqs. (10)-(17).

    Examples
    --------
    >>> import numpy as np
    >>> from parivp import affine_scan
    >>> affine_scan(np.full((4, 1, 1), 2.0), np.ones((4, 1)))[:, 0]
    array([ 1.,  3.,  7., 15.])
    """
    xp = array_namespace(A, b)
    if A.ndim != 3 or b.ndim != 2 or tuple(A.shape) != (*b.shape, b.shape[-1]):
        raise ValueError(
            "`A` and `b` are expected to have shapes (N, d, d) and (N, d), "
            f"but actually have {tuple(A.shape)} and {tuple(b.shape)}."
        )
    if backend is None:
        backend = "banded" if is_numpy_namespace(xp) else "associative"
    if backend not in SCAN_BACKENDS:
        raise ValueError(
            f"`backend` is expected to be one of {sorted(SCAN_BACKENDS)}, "
            f"but actually is {backend!r}."
        )
    if backend in NUMPY_ONLY and not is_numpy_namespace(xp):
        raise ValueError(f"The {backend!r} `backend` takes NumPy arrays only.")
    dtype = xp.result_type(A, b) if u0 is None else xp.result_type(A, b, u0)
    A, b = xp.astype(A, dtype, copy=False), xp.astype(b, dtype, copy=False)
    if u0 is not None:
        b = _absorb_initial(xp, A, b, u0)
    if b.shape[0] == 0 or b.shape[1] == 0:
        return xp.zeros_like(b)
    return SCAN_BACKENDS[backend](xp, A, b)


def _absorb_initial(xp, A, b, u0):
    """Let the initial state enter the first inhomogeneity: ``b_0 + A_0 u0``."""
    if tuple(u0.shape) != (b.shape[1],):
        raise ValueError(
            f"`u0` is expected to have shape ({b.shape[1]},), "
            f"but actually has {tuple(u0.shape)}."
        )
    if b.shape[0] == 0:
        return b
    first = b[:1, :] + (A[0, :, :] @ xp.astype(u0, b.dtype))[None, :]
    return xp.concat([first, b[1:, :]])
