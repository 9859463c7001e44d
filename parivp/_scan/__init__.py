"""Affine scans: ``u_k = A_k u_{k-1} + b_k`` for all ``k`` at once.

A backend is a function ``(xp, A, b) -> u``; entering it in `SCAN_BACKENDS` is
all it takes to be selectable and tested.  The last axes of its arrays are the
steps and components; there may be an axis of independent trajectories before.
"""

from .._array_namespace import (
    array_namespace,
    backend_name,
    is_cupy_namespace,
    is_numpy_namespace,
)
from .associative import affine_scan_associative
from .banded import affine_scan_banded
from .cuda import affine_scan_cuda
from .initial import absorb_initial
from .sequential import affine_scan_sequential

__all__ = ["SCAN_BACKENDS", "affine_scan"]

SCAN_BACKENDS = {
    "sequential": affine_scan_sequential,
    "banded": affine_scan_banded,
    "associative": affine_scan_associative,
    "cuda": affine_scan_cuda,
}

# Backends that take the arrays of one library only.
ONLY_FOR = {"banded": "numpy", "cuda": "cupy"}

# Backends that take ``u0`` as a fourth argument, at no cost of a copy of ``b``.
TAKES_INITIAL = {"cuda"}


def affine_scan(A, b, u0=None, backend=None):
    """Solve the affine recursion ``u_k = A_k u_{k-1} + b_k`` for all ``k``.

    Parameters
    ----------
    A : array, shape (N, d, d) or (B, N, d, d)
        Matrices of the recursion, or of `B` independent ones. They need not
        commute.
    b : array, shape (N, d) or (B, N, d)
        Inhomogeneities.
    u0 : array, shape (d,) or (B, d), optional
        The state before the first step, ``u_{-1}``; zero by default.
    backend : {None, "banded", "associative", "sequential", "cuda"}, optional
        ``"banded"`` solves the block bidiagonal system with LAPACK's ``tbtrs``
        (NumPy arrays only), ``"cuda"`` runs a kernel that passes over the data
        once (CuPy arrays only; see :doc:`gpu_scan`), ``"associative"`` composes
        the maps pairwise in logarithmic depth (any array library),
        ``"sequential"`` loops over ``k``. The default is ``"banded"`` for NumPy,
        or ``"sequential"`` if there are more recursions than steps, ``"cuda"``
        for CuPy and ``"associative"`` for others.

    Returns
    -------
    u : array, shape (N, d) or (B, N, d)
        All states ``u_0, ..., u_{N-1}``.

    Raises
    ------
    ValueError
        If the shapes do not agree, or the backend is unknown or cannot take
        the arrays given.
    TypeError
        If the arrays are of more than one library, or of none.

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
    xp = _common_library(A, b, u0)
    _check_shapes(A, b, u0)
    backend = _default_backend(xp, b) if backend is None else backend
    _check_backend(xp, backend)
    dtype = xp.result_type(A, b) if u0 is None else xp.result_type(A, b, u0)
    A, b = xp.astype(A, dtype, copy=False), xp.astype(b, dtype, copy=False)
    if 0 in b.shape:
        return xp.zeros_like(b)
    if u0 is not None:
        u0 = xp.astype(u0, dtype, copy=False)
        if backend in TAKES_INITIAL:
            return SCAN_BACKENDS[backend](xp, A, b, u0)
        b = absorb_initial(xp, A, b, u0)
    return SCAN_BACKENDS[backend](xp, A, b)


def _common_library(A, b, u0):
    arrays = {"A": A, "b": b, "u0": u0}
    try:
        return array_namespace(*(x for x in arrays.values() if x is not None))
    except TypeError as error:
        kinds = ", ".join(f"`{name}` {type(x)}" for name, x in arrays.items())
        raise TypeError(
            "`A`, `b` and `u0` are expected to be arrays of one library, but actually "
            f"are {kinds}."
        ) from error


def _check_shapes(A, b, u0):
    shape = tuple(b.shape)
    if len(shape) not in (2, 3) or tuple(A.shape) != (*shape, shape[-1]):
        raise ValueError(
            "`A` and `b` are expected to have shapes (N, d, d) and (N, d), or "
            "(B, N, d, d) and (B, N, d), "
            f"but actually have {tuple(A.shape)} and {shape}."
        )
    expected = (*shape[:-2], shape[-1])
    if u0 is not None and tuple(u0.shape) != expected:
        raise ValueError(
            f"`u0` is expected to have shape {expected}, "
            f"but actually has {tuple(u0.shape)}."
        )


def _default_backend(xp, b):
    if is_cupy_namespace(xp):
        return "cuda"
    if not is_numpy_namespace(xp):
        return "associative"
    # one step of all recursions takes about as long as all steps of one
    return "sequential" if b.ndim == 3 and b.shape[0] > b.shape[1] else "banded"


def _check_backend(xp, backend):
    if backend not in SCAN_BACKENDS:
        raise ValueError(
            f"`backend` is expected to be one of {sorted(SCAN_BACKENDS)}, "
            f"but actually is {backend!r}."
        )
    library = ONLY_FOR.get(backend, backend_name(xp))
    if library != backend_name(xp):
        raise ValueError(
            f"The {backend!r} `backend` is expected to get arrays of {library}, "
            f"but actually got arrays of {backend_name(xp)}."
        )
