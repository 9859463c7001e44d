"""Validation of options: every message names the option and both sides."""

import contextlib
import math
import numbers
import time
from collections.abc import Iterable
from warnings import warn

import numpy as np

from ._array_namespace import (
    array_namespace,
    backend_name,
    check_current,
    copied,
    cuda_namespace,
    device_of,
    downloaded,
    gather,
    has_own_place,
    interp,
    is_complex,
    like,
    same_place,
)

__all__ = [
    "as_args",
    "as_choice",
    "as_deadline",
    "as_first_step",
    "as_flag",
    "as_guess",
    "as_mesh",
    "as_numbers",
    "as_pair",
    "as_positive",
    "as_state",
    "as_tolerances",
    "as_whole",
    "on_device",
    "placed",
    "warn_extraneous",
    "with_args",
]

EPS = float(np.finfo(np.float64).eps)
TINY = float(np.finfo(np.float64).tiny)


def warn_extraneous(extraneous):
    """Warn of options that the method does not know, in SciPy's words."""
    if extraneous:
        names = ", ".join(f"`{name}`" for name in extraneous)
        warn(
            f"The following arguments have no effect for a chosen solver: {names}.",
            stacklevel=4,
        )


def as_tolerances(rtol, atol, n):
    """Check tolerances: floats or arrays of length `n`."""
    rtol, atol = _array("rtol", rtol), _array("atol", atol)
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value.ndim and value.shape != (n,):
            raise ValueError(
                f"`{name}` has wrong shape: expected a number or shape ({n},), "
                f"but actually has {value.shape}."
            )
        if np.isnan(value).any():
            raise ValueError(f"`{name}` must not be NaN.")
    if (atol < 0).any():
        raise ValueError(f"`atol` must be positive, but actually is {atol}.")
    if (rtol < 100 * EPS).any():
        warn(
            "At least one element of `rtol` is too small. "
            f"Setting `rtol = np.maximum(rtol, {100 * EPS})`.",
            stacklevel=4,
        )
        rtol = np.maximum(rtol, 100 * EPS)
    # a scale of zero would turn an exact zero into NaN
    return rtol[()], np.maximum(atol, TINY)[()]


def _array(name, value):
    """Convert to an array of floats, or say which argument cannot be."""
    try:
        if has_own_place(value):  # a few numbers, which come back once
            value = downloaded(value)
        if isinstance(value, str) or value is None or np.iscomplexobj(value):
            raise TypeError
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"`{name}` is expected to be a number or an array of numbers, "
            f"but actually is {value!r}."
        ) from None


def as_flag(name, value):
    """Check True, False or None."""
    if value is not None and not isinstance(value, bool | np.bool_):
        raise TypeError(
            f"`{name}` is expected to be True, False or None, "
            f"but actually is {value!r}."
        )
    return None if value is None else bool(value)


def as_first_step(first_step, t0, t_bound):
    """Check that `first_step` is positive and within the interval."""
    if first_step is None:
        return None
    first_step = as_positive("first_step", first_step)
    if first_step > abs(t_bound - t0):
        raise ValueError(
            f"`first_step` exceeds bounds: it is {first_step}, the interval's "
            f"length {abs(t_bound - t0)}."
        )
    return first_step


def as_positive(name, value):
    """Check a positive number, or None."""
    if value is None:
        return None
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(
            f"`{name}` is expected to be a positive number, but actually is {value!r}."
        )
    if not value > 0:
        raise ValueError(f"`{name}` must be positive, but actually is {value!r}.")
    return float(value)


def as_whole(name, value, *, or_inf=False):
    """Check a positive whole number, None, or infinity where it makes sense."""
    if value is None:
        return value
    whole = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if whole and or_inf and value == math.inf:
        return value
    whole = whole and 1 <= value < math.inf and value == int(value)
    if not whole:
        raise ValueError(
            f"`{name}` is expected to be a positive whole number"
            f"{' or inf' if or_inf else ''}, but actually is {value!r}."
        )
    return int(value)


def as_choice(name, value, choices):
    """Check that a name is among the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(
            f"`{name}` is expected to be one of {list(choices)}, "
            f"but actually is {value!r}."
        )
    return value


def as_pair(name, value):
    """Check two positive whole numbers."""
    pair = tuple(value) if isinstance(value, Iterable) else ()
    if len(pair) != 2 or any(item is None for item in pair):
        raise ValueError(
            f"`{name}` is expected to be two positive whole numbers, "
            f"but actually is {value!r}."
        )
    return as_whole(name, pair[0]), as_whole(name, pair[1])


def as_state(y0, device):
    """Bring the initial state to the device asked for.

    Parameters
    ----------
    y0 : array_like, shape (n,)
    device : {None, "cpu", "cuda"}
        None leaves it where it is.

    Returns
    -------
    array or array_like
        An array of its library, of float64 or complex128, or what NumPy can read.
    """
    if isinstance(y0, list | tuple) and y0 and has_own_place(y0[0]):
        raise TypeError(
            "`y0` is expected to be an array or a list of numbers, but actually is a "
            f"list of arrays of {backend_name(array_namespace(y0[0]))}: `stack` them."
        )
    y0 = on_device("y0", y0, device)
    if not has_own_place(y0):
        return y0
    xp = array_namespace(y0)
    if y0.ndim != 1:
        raise ValueError("`y0` must be 1-dimensional.")
    if not xp.isdtype(y0.dtype, ("bool", "numeric")):
        raise TypeError(f"`y0` is expected to hold numbers, but has type {y0.dtype}.")
    y0 = xp.astype(y0, xp.complex128 if is_complex(y0) else xp.float64)
    if not bool(xp.all(xp.isfinite(y0))):
        raise ValueError("All components of the initial state `y0` must be finite.")
    return y0


def on_device(name, x, device):
    """Bring an array to the device asked for: "cpu", "cuda", or None.

    Raises
    ------
    TypeError
        If that is not the one of an array of another library than NumPy.
    """
    if device is not None:
        as_choice("device", device, ("cpu", "cuda"))
    if not has_own_place(x):
        return cuda_namespace().asarray(np.asarray(x)) if device == "cuda" else x
    check_current(name, x)
    library = backend_name(array_namespace(x))
    allowed = {"cpu": "numpy", "cuda": "cupy or numpy"}.get(device)
    if device == "cpu" or (device == "cuda" and library != "cupy"):
        raise TypeError(
            f"`device` is {device!r}, so that `{name}` is expected to be an array of "
            f"{allowed}, but actually is one of {library}."
        )
    return x


def as_numbers(name, values, y0, expected):
    """Bring real or complex numbers to where the state is, if they are numbers."""
    if not has_own_place(values):
        numbers = np.asarray(values)
        if numbers.dtype.kind not in "biufc":
            raise TypeError(
                f"`{name}` is expected to be {expected}, but actually is {values!r}."
            )
        values = numbers
    return placed(name, values, y0)


def placed(name, values, y, like_what="y0"):
    """Bring numbers of an option to where the state `y` is.

    Raises
    ------
    TypeError
        If they are an array of another library or on another device.
    """
    if not has_own_place(values):
        return like(y, values)
    if not same_place(values, y):
        raise TypeError(
            f"`{name}` and `{like_what}` are expected to be arrays of one library and "
            f"on one device, but actually are of {_place_of(values)} and "
            f"{_place_of(y)}."
        )
    return values


def _place_of(x):
    return f"{backend_name(array_namespace(x))} on {device_of(x)}"


def as_mesh(n_steps, mesh, t0, t_bound, y):
    """Make the fixed mesh from `t0` to `t_bound`, where the state `y` is, or None."""
    if n_steps is not None and mesh is not None:
        raise ValueError("Either `n_steps` or `mesh` can be given, not both.")
    xp = array_namespace(y)
    if n_steps is not None:
        n_steps = as_whole("n_steps", n_steps)
        if not math.isfinite(t_bound):
            raise ValueError("`n_steps` needs a finite `t_span`.")
        mesh = xp.linspace(t0, t_bound, n_steps + 1, device=device_of(y))
        mesh[-1] = t_bound  # to the last digit, whatever the library
        return mesh
    if mesh is None:
        return None
    if not has_own_place(mesh):
        mesh = _array("mesh", mesh)
    elif is_complex(mesh):
        raise TypeError(f"`mesh` is expected to be real, but has type {mesh.dtype}.")
    mesh = copied(xp.astype(placed("mesh", mesh, y), xp.float64, copy=False))
    if mesh.ndim != 1 or mesh.shape[0] < 2:
        raise ValueError(
            "`mesh` is expected to be 1-dimensional with at least two points, "
            f"but actually has shape {mesh.shape}."
        )
    if mesh[0] != t0 or mesh[-1] != t_bound:
        raise ValueError(
            f"`mesh` is expected to go from {t0} to {t_bound}, "
            f"but actually goes from {float(mesh[0])} to {float(mesh[-1])}."
        )
    steps = mesh[1:] - mesh[:-1]
    if not (bool(xp.all(steps > 0)) or bool(xp.all(steps < 0))):
        raise ValueError("Values in `mesh` are not properly sorted.")
    return mesh


def as_guess(guess, y0, mesh):
    """Make `initial_guess` a function ``t (m,) -> (n, m)``, or None."""
    if guess is None:
        return None
    if callable(guess):
        return lambda t: _call_guess(guess, y0, t)
    xp, n = array_namespace(y0), y0.size
    guess = as_numbers("initial_guess", guess, y0, "a callable or numbers")
    guess = _cast_guess(guess, y0)
    if not bool(xp.all(xp.isfinite(guess))):
        raise ValueError("All components of `initial_guess` must be finite.")
    if guess.ndim < 2 and guess.shape in ((), (n,)):
        column = xp.broadcast_to(guess, (n,))[:, None]
        return lambda t: xp.repeat(column, t.shape[0], axis=1)
    if mesh is not None and guess.shape == (n, mesh.shape[0]):
        sign = 1.0 if mesh[-1] > mesh[0] else -1.0
        return lambda t: xp.stack(
            [interp(xp, sign * t, sign * mesh, guess[i, :]) for i in range(n)]
        )
    expected = f"a number, shape ({n},)"
    if mesh is not None:
        expected += f", shape ({n}, {mesh.shape[0]})"
    raise ValueError(
        f"`initial_guess` is expected to be a callable, {expected} or None, "
        f"but actually has shape {guess.shape}."
    )


def _cast_guess(values, y0):
    """Bring a guess to the type of the state."""
    if is_complex(values) and not is_complex(y0):
        raise ValueError("`initial_guess` is complex, but `y0` is real.")
    return array_namespace(y0).astype(values, y0.dtype)


def _call_guess(guess, y0, t):
    """Ask a callable guess all at once or one by one."""
    xp, n, m = array_namespace(y0), y0.size, t.shape[0]
    values = None
    with contextlib.suppress(Exception):
        values = _as_values(y0, guess(t))
    if values is None or values.shape != (n, m):
        values = [_as_values(y0, guess(float(t[k]))) for k in range(m)]
        values = xp.reshape(xp.stack(values, axis=-1), (-1, m))
    if values.shape != (n, m):
        raise ValueError(
            f"`initial_guess` return is expected to have shape ({n},), "
            f"but actually has ({values.shape[0]},)."
        )
    return _cast_guess(values, y0)


def _as_values(y0, values):
    """Array like the state of what a guess returns, real or complex."""
    if has_own_place(values):
        return placed("initial_guess", values, y0)
    if not has_own_place(y0):
        return np.array(values)
    try:
        return gather(y0, values)
    except TypeError as error:
        raise TypeError(
            "`initial_guess` is expected to return numbers or an array where `y0` is, "
            f"and of its type, but: {error}"
        ) from error


def as_deadline(timeout):
    """Read the monotonic clock at which `timeout` seconds are over, or None."""
    timeout = as_positive("timeout", timeout)
    return None if timeout is None else time.monotonic() + timeout


def as_args(args):
    """Make `args` a tuple."""
    if args is None:
        return ()
    try:
        return tuple(args)
    except TypeError as error:
        raise TypeError(
            "Supplied 'args' cannot be unpacked. Please supply `args`"
            f" as a tuple (e.g. `args=({args},)`)"
        ) from error


def with_args(function, args):
    """Hand `args` on to a function of (t, y)."""
    return (lambda t, y: function(t, y, *args)) if args else function
