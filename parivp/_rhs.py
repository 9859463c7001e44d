"""The user's functions, evaluated at many points at once.

`fun(t, y)` is written for one time.  Written with array arithmetic it mostly
works for many as well: ``t`` of shape (m,) and ``y`` of shape (n, m).  Whether
it does is found out by comparing columns with single calls; where it does not,
the columns are evaluated in a loop.
"""

import math
import time
from itertools import compress

import numpy as np

from ._array_namespace import (
    array_namespace,
    as_list,
    backend_name,
    copied,
    device_of,
    gather,
    is_complex,
    like,
    new_empty,
    true_indices,
)

__all__ = ["DeadlineExceeded", "ManyPoints", "Rhs", "sample_columns"]

# A column of a broadcast evaluation counts as equal to a single call within
# this, relative to the largest entry: elementary functions of arrays and of
# scalars differ in the last digits, and cancellation may amplify that.
SAME_RTOL = 1e-9
# Or if the rounding errors that come with so large relative ones of the states
# explain the difference.
ROUNDING = 16 * float(np.finfo(np.float64).eps)


class DeadlineExceeded(BaseException):
    """The time allowed is over.

    Not an `Exception`, so that it is not taken for one of the user's function.
    """


class ManyPoints:
    """A function of (t, y) with values of a fixed shape, at many points.

    Parameters
    ----------
    fun : callable
        ``fun(t, y) -> array_like`` of shape `shape`, with scalar ``t`` and
        ``y`` of shape (n,), or (n, k) where `vectorized`.
    shape : tuple of int
        Shape of one value: (n,) for a right-hand side, (n, n) for a Jacobian,
        () for an event.
    example : array
        What the values are like: the library, the device and the type.
    name : str
        How errors call the function.
    vectorized : bool
        SciPy's meaning: ``fun`` takes ``y`` of shape (n, k) at one time.
    time_vectorized : bool or None
        Whether ``fun`` broadcasts over time; None finds out.

    Attributes
    ----------
    deadline : float or None
        Reading of `time.monotonic` from which on calls raise
        `DeadlineExceeded`.
    n_points : int
        Number of points evaluated, one (t, y) pair each.
    """

    def __init__(
        self, fun, shape, example, name, *, vectorized=False, time_vectorized=None
    ):
        self.fun = fun
        self.shape = shape
        self.example = example
        self.xp = array_namespace(example)
        self.name = name
        self.vectorized = vectorized
        self.time_vectorized = time_vectorized
        self.check = time_vectorized is None
        self.deadline = None
        self.n_points = 0
        self.n_entries = math.prod(shape)

    def single(self, t, y):
        """Value at one point; whatever the function raises arrives."""
        self.check_deadline()
        self.n_points += 1
        value = self.fun(t, y[:, None] if self.vectorized else y)
        if value is None:
            raise TypeError(f"`{self.name}` returned None: is its `return` missing?")
        value = self._as_array(value)
        if self.vectorized and value.size == y.size:
            value = self.xp.reshape(value, (-1,))
        if value.shape == self.shape:
            return value
        if value.size == 1 and self.shape in ((1,), (), (1, 1)):
            return self.xp.reshape(value, self.shape)
        raise ValueError(
            f"`{self.name}` return is expected to have shape {self.shape}, "
            f"but actually has {value.shape}."
        )

    def strict(self, t, y):
        """Values at a few points, shape (*shape, m); what is raised arrives."""
        out = new_empty(self.example, (*self.shape, t.shape[0]))
        if self.time_vectorized and not self.check and t.shape[0] > 1:
            try:
                self._broadcast(t, y, out)
            except Exception:
                pass  # single calls show what it is
            else:
                return out
        for k in range(t.shape[0]):
            out[..., k] = self.single(float(t[k]), copied(y[:, k]))
        return out

    def __call__(self, t, y, out=None):
        """Values at points computed ahead, shape (*shape, m).

        Points where the function raises get NaN: a sequential solver might
        never have asked for them. Floating-point warnings are the caller's to
        silence.

        Parameters
        ----------
        t : array, shape (m,)
        y : array, shape (n, m)
        out : array, shape (*shape, m), optional
            Where to put the values.
        """
        self.check_deadline()
        n_points = t.shape[0]
        if out is None:
            out = new_empty(self.example, (*self.shape, n_points))
        if self.time_vectorized is False or n_points == 1:
            self._loop(t, y, out)
            return out
        try:
            self._broadcast(t, y, out)
        except MemoryError:
            raise  # fewer points may fit
        except Exception:
            n_raised = self._loop(t, y, out)
            if n_raised == 0 or self.time_vectorized is None:
                # nothing is wrong with the points, so it does not broadcast
                if not self.check:
                    raise
                self.time_vectorized = False
            return out
        if self.time_vectorized is None:
            self.time_vectorized = self.agrees(t, y, out, probe_columns(n_points))
            if not self.time_vectorized:
                self._loop(t, y, out)
        return out

    def agrees(self, t, y, broadcast, columns):
        """Whether the `columns` of `broadcast` values equal single calls."""
        if self.n_entries == 0 or len(columns) == 0:
            return True
        xp, chosen = self.xp, like(t, columns)
        times, y = as_list(xp.take(t, chosen)), xp.take(y, chosen, axis=1)
        states = copied(y.T)  # one after the other, as `fun` may write into its own
        expected = new_empty(self.example, (*self.shape, len(columns)))
        try:
            for k, s in enumerate(times):
                expected[..., k] = self.single(s, states[k, ...])
        except MemoryError:
            raise  # which says nothing about broadcasting
        except Exception:
            return False
        found, expected = _entries(broadcast), _entries(expected)
        found = xp.take(found, chosen, axis=1)
        difference = xp.abs(found - expected)
        same = difference <= SAME_RTOL * xp.max(xp.abs(expected), axis=0)
        if bool(xp.all(same)):
            return True
        # so that one component that is not finite leaves the others as they are
        finite = xp.isfinite(expected) & xp.isfinite(found)
        size = xp.max(xp.where(finite, xp.abs(expected), 0.0), axis=0)
        same |= difference <= SAME_RTOL * size
        same |= ~xp.isfinite(expected) & ~xp.isfinite(found)
        difference = xp.where(same, 0.0, difference)
        if bool(xp.all(same)):
            return True
        others = true_indices(xp, ~xp.all(same, axis=0))
        chosen, times = like(t, others), [times[k] for k in others]
        difference, expected, y = (
            xp.take(part, chosen, axis=1) for part in (difference, expected, y)
        )
        return self._rounding_explains(times, y, difference, expected)

    def _rounding_explains(self, times, y, difference, expected):
        """Whether rounding errors of the states would change values as much.

        Sums of large terms, such as ``A @ y`` with a stiff matrix, depend on the
        order in which they are added.
        """
        xp = self.xp
        signs = like(expected, [1.0 - 2.0 * (i % 2) for i in range(y.shape[0])])
        difference = xp.max(difference, axis=0)
        explained = xp.zeros_like(difference)
        for sign in (signs, -signs, xp.ones_like(signs)):
            rounded = y * (1 + ROUNDING * sign[:, None])
            try:
                moved = [self.single(s, rounded[:, k]) for k, s in enumerate(times)]
            except Exception:
                return False
            moved = xp.reshape(xp.stack(moved, axis=-1), expected.shape)
            change = xp.abs(moved - expected)
            change = xp.max(xp.where(xp.isfinite(change), change, 0.0), axis=0)
            explained = xp.maximum(explained, change)
            if bool(xp.all(difference <= explained)):
                return True

        return False

    def confirmed(self, t, y, values, everywhere=False):
        """Compare `values` with single calls at a few points, or `everywhere`.

        Where they differ the function does not broadcast after all, and is
        called point by point from now on.
        """
        if not (self.check and self.time_vectorized):
            return True
        xp = self.xp
        columns = list(range(t.shape[0])) if everywhere else sample_columns(y)
        chosen = xp.take(_entries(values), like(t, columns), axis=1)
        finite = xp.all(xp.isfinite(chosen), axis=0)
        columns = list(compress(columns, as_list(finite)))
        self.time_vectorized = self.agrees(t, y, values, columns)
        return self.time_vectorized

    def _broadcast(self, t, y, out):
        self.n_points += t.shape[0]
        value = self.fun(t, y)
        if type(value) is type(self.example):
            if value.shape == out.shape:
                out[...] = value
                return
            if self.n_entries == 1 and value.size == t.shape[0]:
                value = self.xp.reshape(value, out.shape)
        _fill(out, value)

    def _as_array(self, value):
        """Array of the state's library and device, and of the type of the values."""
        try:
            return gather(self.example, value)
        except TypeError as error:
            name, place = backend_name(self.xp), device_of(self.example)
            raise TypeError(
                f"`{self.name}` is expected to return numbers or an array of {name} on "
                f"the device {place}, as `y0` is, but: {error}"
            ) from error

    def check_deadline(self):
        """Raise `DeadlineExceeded` if the time allowed is over."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise DeadlineExceeded

    def _loop(self, t, y, out):
        """Call point by point; return how often the function raised."""
        n_raised = 0
        for k in range(t.shape[0]):
            try:
                out[..., k] = self.single(float(t[k]), copied(y[:, k]))
            except Exception:
                out[..., k] = math.nan
                n_raised += 1
        return n_raised


def _fill(out, value):
    """Copy a broadcast value, whose entries may be constants, into `out`."""
    if isinstance(value, list | tuple) and out.ndim > 1:
        if len(value) != out.shape[0]:
            raise ValueError("wrong number of components")
        for k, component in enumerate(value):
            _fill(out[k, ...], component)
    elif out.ndim > 1 and np.shape(value) != out.shape:
        raise ValueError("wrong shape")
    elif type(value) is float:
        out[...] = value  # nothing to upload
    else:
        out[...] = gather(out, value)


def _entries(values):
    """Values (*shape, m) as rows of entries, shape (n_entries, m)."""
    shape = values.shape
    if len(shape) == 2:
        return values
    xp = array_namespace(values)
    return xp.reshape(values, (math.prod(shape[:-1]), shape[-1]))


def probe_columns(m):
    """Choose a few columns of ``m``: the ends and the middle."""
    return sorted({0, m // 2, m - 1})


def sample_columns(x):
    """Choose columns: the extremes of the first components, and some between.

    Functions that look at all columns at once, such as ``np.any(y[0] > 1)``,
    give themselves away where a component is largest or smallest.
    """
    xp, m = array_namespace(x), x.shape[1]
    rows = x[: min(8, x.shape[0]), :]
    rows = xp.real(rows) if is_complex(x) else rows
    extremes = xp.concat([xp.argmax(rows, axis=1), xp.argmin(rows, axis=1)])
    between = {0, m // 3, 2 * m // 3, m - 1}
    return sorted(between.union(as_list(extremes)))


class Rhs(ManyPoints):
    """The right-hand side ``f(t, y)``, shape (n,), counted in points."""

    def __init__(self, fun, y0, *, vectorized=False, time_vectorized=None):
        super().__init__(
            fun,
            y0.shape,
            y0,
            "fun",
            vectorized=vectorized,
            time_vectorized=time_vectorized,
        )

    def first(self, t, y):
        """Value at the first point; if `fun` changes `y`, it gets copies from here."""
        fun, given = self.fun, copied(y)
        value = self.single(t, given)
        if not bool(self.xp.all(given == y)):
            self.fun = lambda t, y: fun(t, copied(y))
        return value

    @property
    def nfev(self):
        """Number of evaluated points, one (t, y) pair each."""
        return self.n_points
