"""Every difference between array libraries, in one place.

The numerical modules ask :func:`array_namespace` for the library their arrays
belong to and use array-API functions from it.  What the standard does not
cover, or NumPy does faster another way, is answered here.

Arrays stay on the device they are on: new ones are made by `like`, `new_empty`,
`new_zeros` and `new_full`, after one that is there, and only numbers that steer the
solver come back, by ``float``, ``int`` and ``bool``.
"""

import functools
import math
from types import ModuleType

import array_api_compat
import array_api_compat.numpy
import numpy as np
from array_api_compat import device as device_of
from array_api_compat import (
    is_array_api_obj,
    is_cupy_array,
    is_cupy_namespace,
    to_device,
)
from array_api_compat import is_writeable_array as is_writeable

# Numbers, a gigabyte of them.
LARGE_BLOCK = 2**27
# Bytes: freed blocks up to 32 MiB count in the C library of Linux (mallopt(3)).
LARGEST_KEPT = 2**25 - 2**16

__all__ = [
    "add_to_diagonal",
    "advanced",
    "array_namespace",
    "as_list",
    "as_numpy",
    "backend_name",
    "block_size",
    "check_current",
    "contiguous",
    "copied",
    "cuda_namespace",
    "device_of",
    "downloaded",
    "errstate",
    "first_true",
    "fused",
    "gather",
    "has_own_place",
    "interp",
    "is_array_api_obj",
    "is_complex",
    "is_cupy_namespace",
    "is_numpy_namespace",
    "keep_pages",
    "like",
    "matrix_inverse",
    "new_arange",
    "new_empty",
    "new_full",
    "new_zeros",
    "running_max",
    "running_sum",
    "same_place",
    "spacing",
    "squares",
    "true_indices",
]


def _numpy_namespace():
    """Make NumPy's namespace, without the layers of Python in front of what works.

    Small windows are solved in a hundred such calls, of which each costs half as much.
    """

    def reduction(ufunc):
        def reduce(x, *, axis=None, keepdims=False):
            return ufunc.reduce(x, axis=axis, keepdims=keepdims)

        return reduce

    direct = {name: reduction(ufunc) for name, ufunc in REDUCTIONS.items()}
    direct["reshape"] = lambda x, shape: x.reshape(shape)
    direct["permute_dims"] = lambda x, axes: x.transpose(axes)
    direct["take"] = lambda x, indices, *, axis=None: x.take(indices, axis)
    direct["repeat"] = lambda x, repeats, *, axis=None: x.repeat(repeats, axis)
    namespace = ModuleType(array_api_compat.numpy.__name__)
    vars(namespace).update(vars(array_api_compat.numpy) | direct)
    return namespace


REDUCTIONS = {
    "all": np.logical_and,
    "any": np.logical_or,
    "max": np.maximum,
    "min": np.minimum,
    "sum": np.add,
}
numpy_namespace = _numpy_namespace()


def is_numpy_namespace(xp):
    """Whether a namespace is NumPy's."""
    return xp is numpy_namespace or xp is np


# Of classes of arrays: finding out takes as long as an operation on a few steps.
_namespaces = {np.ndarray: numpy_namespace}


def array_namespace(array, *others):
    """Return the library that arrays belong to, as an array-API namespace."""
    cls = type(array)
    for other in others:
        if type(other) is not cls:
            return _general_namespace(array, *others)
    if cls not in _namespaces:
        _namespaces[cls] = _general_namespace(array, *others)
    return _namespaces[cls]


def _general_namespace(*arrays):
    xp = array_api_compat.array_namespace(*arrays)
    return numpy_namespace if array_api_compat.is_numpy_namespace(xp) else xp


def has_own_place(x):
    """Whether `x` is an array that work is done on where it is.

    That is an array of CuPy, or of another library that keeps to the standard and
    lets elements be written. What else NumPy can read becomes an array of NumPy's,
    as in SciPy.
    """
    if type(x) is np.ndarray:
        return False
    if is_cupy_array(x):
        return True
    standard = hasattr(x, "__array_namespace__") and hasattr(x, "shape")
    return standard and not isinstance(x, np.ndarray | np.generic) and is_writeable(x)


def as_numpy(x):
    """NumPy array of the same values, wherever `x` lives."""
    if is_cupy_array(x):
        x = to_device(x, "cpu")  # which gives one of NumPy's
    return np.asarray(x)


def downloaded(x):
    """NumPy array of the same values, for a file: the one copy that is asked for."""
    if not has_own_place(x) or is_cupy_array(x):
        return as_numpy(x)
    return np.from_dlpack(x, device="cpu")


def same_place(x, y):
    """Whether two arrays are of the same library and on the same device."""
    return type(x) is type(y) and x.device == y.device


def backend_name(xp):
    """Name of the array library behind a namespace, such as ``"numpy"``."""
    return xp.__name__.rpartition("array_api_compat.")[2].partition(".")[0]


def errstate():
    """Silence floating-point warnings of points that are computed ahead.

    CuPy gives none, but a user's function may hand times, which are numbers, to NumPy.
    """
    return np.errstate(all="ignore")


@functools.cache
def _cupy():
    """CuPy itself, once there are arrays of it."""
    import cupy

    return cupy


def cuda_namespace():
    """CuPy as an array-API namespace.

    Raises
    ------
    ImportError
        If it is not installed.
    RuntimeError
        If it finds no device.
    """
    try:
        import array_api_compat.cupy as namespace
    except ImportError as error:
        raise ImportError(
            "`device='cuda'` needs CuPy: python -m pip install 'parivp[cuda13x]', or "
            "'parivp[cuda12x]' for CUDA 12."
        ) from error
    try:
        n_devices = namespace.cuda.runtime.getDeviceCount()
    except namespace.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(
            f"`device='cuda'` finds no device: {error}. There has to be one, and its "
            "driver to fit the extra: 'parivp[cuda13x]', or 'parivp[cuda12x]'."
        ) from error
    if n_devices == 0:
        raise RuntimeError("`device='cuda'` finds no device.")
    return namespace


def check_current(name, x):
    """Raise a ValueError for an array of CuPy's on a device that is not current."""
    if not is_cupy_array(x):
        return
    current = array_namespace(x).cuda.Device().id
    if x.device.id != current:
        raise ValueError(
            f"`{name}` is on CUDA device {x.device.id}, but the current one is "
            f"{current}. Use `with cupy.cuda.Device({x.device.id}):`."
        )


# -- new arrays ----------------------------------------------------------------


def like(x, values, dtype=None):
    """`values` as an array of the library and on the device of `x`.

    Parameters
    ----------
    x : array
    values : array_like
        Of NumPy, numbers, or of the library already.
    dtype : dtype, optional
    """
    if type(x) is np.ndarray:
        return np.asarray(values, dtype)
    xp = array_namespace(x)
    return xp.asarray(values, dtype=dtype, device=device_of(x))


def new_empty(x, shape, dtype=None):
    """Make an array like `x`, of its type or another one, not filled."""
    if type(x) is np.ndarray:
        return np.empty(shape, dtype or x.dtype)
    xp = array_namespace(x)
    if is_cupy_namespace(xp):
        # on the current device, as `x` is, without the standard's detours
        return _cupy().empty(shape, dtype or x.dtype)
    return xp.empty(shape, dtype=dtype or x.dtype, device=device_of(x))


def new_zeros(x, shape, dtype=None):
    """Make an array like `x`, of its type or another one, of zeros."""
    if type(x) is np.ndarray:
        return np.zeros(shape, dtype or x.dtype)
    xp = array_namespace(x)
    return xp.zeros(shape, dtype=dtype or x.dtype, device=device_of(x))


def new_full(x, shape, value, dtype=None):
    """Make an array like `x`, of its type or another one, of one value."""
    if type(x) is np.ndarray:
        return np.full(shape, value, dtype or x.dtype)
    xp = array_namespace(x)
    return xp.full(shape, value, dtype=dtype or x.dtype, device=device_of(x))


def new_arange(x, n):
    """Make an array like `x`, real, of the numbers from 0 to ``n - 1``."""
    if type(x) is np.ndarray:
        return np.arange(n, dtype=np.float64)
    xp = array_namespace(x)
    return xp.arange(n, dtype=xp.float64, device=device_of(x))


def copied(x):
    """Copy of an array."""
    if type(x) is np.ndarray:
        return x.copy()
    return array_namespace(x).asarray(x, copy=True)


def contiguous(x):
    """Array of the same values, in the order of its axes in memory."""
    if type(x) is np.ndarray:
        return np.ascontiguousarray(x)
    xp = array_namespace(x)
    if is_cupy_namespace(xp):
        return xp.ascontiguousarray(x)
    return xp.asarray(x, copy=True)


def gather(x, value):
    """Array like `x`, and of its type, of numbers, arrays, or lists of these.

    Raises
    ------
    TypeError
        If an array is of another library or on another device.
    """
    if type(x) is np.ndarray:
        return np.asarray(value, x.dtype)
    xp = array_namespace(x)
    if isinstance(value, list | tuple):
        return _gather_list(x, value)
    if isinstance(value, np.generic):
        value = value.item()
    if not is_array_api_obj(value):
        return xp.asarray(value, dtype=x.dtype, device=device_of(x))
    if not same_place(value, x):
        other = backend_name(array_namespace(value))
        raise TypeError(f"got an array of {other} on the device {device_of(value)}.")
    return value if value.dtype == x.dtype else xp.astype(value, x.dtype)


def _gather_list(x, values):
    """Array of the values of a list, those of single numbers written one by one."""
    numbers = (float, int)
    items = [v if type(v) in numbers else gather(x, v) for v in values]
    if any(type(item) not in numbers and item.ndim > 0 for item in items):
        return array_namespace(x).stack([gather(x, item) for item in items])
    array = new_empty(x, (len(items),))
    for k, item in enumerate(items):
        array[k] = item
    return array


# -- questions -----------------------------------------------------------------


def is_complex(x):
    """Whether the numbers of an array are complex."""
    if type(x) is np.ndarray:
        return x.dtype.kind == "c"
    kind = getattr(x.dtype, "kind", None)  # of NumPy's types, which are CuPy's, too
    if kind is not None:
        return kind == "c"
    return array_namespace(x).isdtype(x.dtype, "complex floating")


def first_true(xp, condition):
    """Return the index of the first True, the length where there is none."""
    n = condition.shape[0]
    if n == 0 or not bool(xp.any(condition)):
        return n
    if is_numpy_namespace(xp):
        return int(condition.argmax())
    return int(xp.argmax(xp.astype(condition, xp.int8)))


def true_indices(xp, condition):
    """Return the indices of the True ones along one axis, as Python integers."""
    if is_numpy_namespace(xp):
        return np.flatnonzero(condition).tolist()
    return as_list(xp.nonzero(condition)[0])


def as_list(x):
    """Python's numbers of a few elements that steer the solver, read together."""
    if type(x) is np.ndarray or is_cupy_array(x):
        return x.tolist()
    is_kind = functools.partial(array_namespace(x).isdtype, x.dtype)
    number = bool if is_kind("bool") else int if is_kind("integral") else float
    return [number(x[k]) for k in range(x.shape[0])]


def keep_pages(example, n_numbers):
    """Have NumPy's allocator keep the memory of one window for the next.

    The C library of Linux returns freed memory to the system when it is more
    than twice the largest block freed so far. Page by page it is then
    fetched anew for every temporary array, a third of the time of a solve.
    A block of more than half a window's arrays, never touched, prevents that.

    Parameters
    ----------
    example : array
        What the window's arrays are like.
    n_numbers : int
        How many numbers they hold.
    """
    if is_numpy_namespace(array_namespace(example)):
        np.empty(min(n_numbers, LARGEST_KEPT // example.itemsize), example.dtype)


def block_size(xp, cached):
    """Numbers that one block of work should fill.

    On a CPU so many as a cache holds; on other devices blocks are to be as large as
    memory allows, since every operation takes a while to start.
    """
    return cached if is_numpy_namespace(xp) else LARGE_BLOCK


# -- operations ----------------------------------------------------------------


def fused(formula):
    """Have CuPy make one kernel of a formula for every element.

    Each operation of its own reads and writes whole arrays, and takes some
    microseconds to start. `cupy.fuse` does the same, once CuPy is there.

    Parameters
    ----------
    formula : callable
        ``formula(xp, *arrays)`` of arrays that broadcast against each other, and of
        numbers; at its end there may be one reduction.
    """
    kernels = []

    @functools.wraps(formula)
    def evaluate(xp, *arrays):
        if is_numpy_namespace(xp) or not is_cupy_namespace(xp):
            return formula(xp, *arrays)
        if not kernels:
            fuse = _cupy().fuse(kernel_name=formula.__name__.strip("_"))
            kernels.append(fuse(functools.partial(formula, _cupy())))
        return kernels[0](*arrays)

    return evaluate


def advanced(xp, x, h, row, K):
    """``x + h * (row[0] * K[0] + row[1] * K[1] + ...)``.

    Parameters
    ----------
    x : array, shape (n, N)
    h : array, shape (N,)
    row : ndarray, shape (i,)
        Of NumPy: Runge-Kutta coefficients.
    K : array, shape (i, n, N)
    """
    if not is_numpy_namespace(xp):
        if is_cupy_namespace(xp):
            used = np.flatnonzero(row).tolist() or [0]
            return _advanced(xp, x, h, *row[used].tolist(), *(K[i, ...] for i in used))
        row = like(x, row, x.dtype)
    y = xp.reshape(row @ xp.reshape(K, (K.shape[0], -1)), x.shape)
    y *= h
    y += x
    return y


@fused
def _advanced(xp, x, h, *terms):
    half = len(terms) // 2
    change = terms[0] * terms[half]
    for i in range(1, half):
        change = change + terms[i] * terms[half + i]
    return x + h * change


def squares(xp, x):
    """Squares of the moduli."""
    return xp.abs(x) ** 2 if is_complex(x) else x * x


def running_max(xp, x):
    """Largest value so far along the last axis."""
    if is_numpy_namespace(xp):
        return np.maximum.accumulate(x, axis=-1)
    n = x.shape[-1]
    padded = new_full(x, (*x.shape[:-1], n + 15), -math.inf)
    padded[..., 15:] = x
    # the largest of 16, then that of all parts of 16 before
    of_4 = _largest_of(xp, *(padded[..., k : n + 12 + k] for k in range(4)))
    largest = _largest_of(xp, *(of_4[..., k : n + k] for k in range(0, 16, 4)))
    if n > 16:
        before = xp.repeat(running_max(xp, largest[..., 15::16]), 16, axis=-1)
        later = largest[..., 16:]
        largest[..., 16:] = xp.maximum(later, before[..., : n - 16])
    return largest


@fused
def _largest_of(xp, a, b, c, d):
    return xp.maximum(xp.maximum(a, b), xp.maximum(c, d))


def running_sum(xp, x):
    """Add up the leading values (N,), from none of them to all, (N + 1,)."""
    if is_numpy_namespace(xp):
        sums = np.zeros(len(x) + 1)
        np.cumsum(x, out=sums[1:])
        return sums
    return xp.cumulative_sum(x, include_initial=True)


def interp(xp, x, nodes, values):
    """Linear interpolation of `values` (m,) at ascending `nodes`, at `x` (k,)."""
    if is_numpy_namespace(xp):
        return np.interp(x, nodes, values)
    # not `clip`, for which array_api_compat reads how many numbers are outside
    k = xp.searchsorted(nodes, x, side="right") - 1
    k = xp.minimum(xp.maximum(k, 0), nodes.shape[0] - 2)
    ends = [xp.take(part, i) for part in (nodes, values) for i in (k, k + 1)]
    return _between(xp, x, *ends)


@fused
def _between(xp, x, left, right, first, second):
    """Linear interpolation that is exact at its ends."""
    width = right - left
    s = (x - left) / xp.where(width > 0, width, 1.0)
    s = xp.minimum(xp.maximum(s, 0.0), 1.0)
    return xp.where(s < 1, first + s * (second - first), second)


def spacing(xp, x):
    """Distance of the sizes of numbers to the next larger ones."""
    if isinstance(x, float):
        return math.ulp(abs(x))
    if is_numpy_namespace(xp):
        return np.spacing(np.abs(x))
    size = xp.abs(x)
    return xp.nextafter(size, xp.full_like(size, math.inf)) - size


def matrix_inverse(xp, matrices):
    """Inverses of matrices (..., n, n)."""
    if not is_cupy_namespace(xp):
        return xp.linalg.inv(matrices)
    # CuPy's own leaves that of a singular matrix as memory was, perhaps zero
    n, device = matrices.shape[-1], device_of(matrices)
    identity = xp.eye(n, dtype=matrices.dtype, device=device)
    return xp.linalg.solve(matrices, xp.broadcast_to(identity, matrices.shape))


def add_to_diagonal(xp, matrices, value):
    """Add to the diagonals of square matrices (..., n, n), in place.

    `value` is a float, or an array (..., n) of one number for each entry.
    """
    n = matrices.shape[-1]
    if is_numpy_namespace(xp):
        diagonal = np.einsum("...ii->...i", matrices)  # a view
        diagonal += value
        return
    identity = xp.eye(n, dtype=matrices.dtype, device=device_of(matrices))
    matrices += (value if isinstance(value, float) else value[..., None]) * identity
