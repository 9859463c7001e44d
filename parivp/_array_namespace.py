"""Every difference between array libraries, in one place.

The numerical modules ask :func:`array_namespace` for the library their arrays
belong to and use array-API functions from it.  What the standard does not
cover is answered here.
"""

import contextlib

import array_api_compat
import array_api_compat.numpy as numpy_namespace
import numpy as np
from array_api_compat import (
    is_cupy_array,
    is_cupy_namespace,
    is_numpy_namespace,
    to_device,
)

__all__ = [
    "array_namespace",
    "as_numpy",
    "backend_name",
    "errstate",
    "is_cupy_namespace",
    "is_numpy_namespace",
    "running_max",
]


def array_namespace(*arrays):
    """Return the library that arrays belong to, as an array-API namespace."""
    # few steps are solved in less time than the general answer takes altogether
    if all(type(array) is np.ndarray for array in arrays):
        return numpy_namespace
    return array_api_compat.array_namespace(*arrays)


def as_numpy(x):
    """NumPy array of the same values, wherever `x` lives."""
    if is_cupy_array(x):
        x = to_device(x, "cpu")  # which gives one of NumPy's
    return np.asarray(x)


def backend_name(xp):
    """Name of the array library behind a namespace, such as ``"numpy"``."""
    return xp.__name__.rpartition("array_api_compat.")[2].partition(".")[0]


def errstate(xp):
    """Silence floating-point warnings of points that are computed ahead."""
    if is_numpy_namespace(xp):
        return np.errstate(all="ignore")
    return contextlib.nullcontext()


def running_max(xp, x):
    """Largest value so far along the last axis."""
    if is_numpy_namespace(xp):
        return np.maximum.accumulate(x, axis=-1)
    shift = 1
    while shift < x.shape[-1]:
        later = xp.maximum(x[..., shift:], x[..., :-shift])
        x = xp.concat([x[..., :shift], later], axis=-1)
        shift *= 2
    return x
