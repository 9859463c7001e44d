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

__all__ = ["DeadlineExceeded", "ManyPoints", "Rhs", "sample_columns"]

# A column of a broadcast evaluation counts as equal to a single call within
# this, relative to the largest entry: elementary functions of arrays and of
# scalars differ in the last digits, and cancellation may amplify that.
SAME_RTOL = 1e-9
# Or if the rounding errors that come with so large relative ones of the states
# explain the difference.
ROUNDING = 16 * np.finfo(np.float64).eps


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
    dtype : dtype
        Type of the values.
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
        self, fun, shape, dtype, name, *, vectorized=False, time_vectorized=None
    ):
        self.fun = fun
        self.shape = shape
        self.dtype = np.dtype(dtype)
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
        value = np.asarray(value, dtype=self.dtype)
        if self.vectorized and value.size == y.size:
            value = value.reshape(-1)
        if value.shape == self.shape:
            return value
        if value.size == 1 and self.shape in ((1,), (), (1, 1)):
            return value.reshape(self.shape)
        raise ValueError(
            f"`{self.name}` return is expected to have shape {self.shape}, "
            f"but actually has {value.shape}."
        )

    def strict(self, t, y):
        """Values at a few points, shape (*shape, m); what is raised arrives."""
        out = np.empty((*self.shape, len(t)), dtype=self.dtype)
        if self.time_vectorized and not self.check and len(t) > 1:
            try:
                self._broadcast(t, y, out)
            except Exception:
                pass  # single calls show what it is
            else:
                return out
        for k in range(len(t)):
            out[..., k] = self.single(float(t[k]), y[:, k].copy())
        return out

    def __call__(self, t, y, out=None):
        """Values at points computed ahead, shape (*shape, m).

        Points where the function raises get NaN: a sequential solver might
        never have asked for them. Floating-point warnings are the caller's to
        silence.

        Parameters
        ----------
        t : ndarray, shape (m,)
        y : ndarray, shape (n, m)
        out : ndarray, shape (*shape, m), optional
            Where to put the values.
        """
        self.check_deadline()
        if out is None:
            out = np.empty((*self.shape, len(t)), dtype=self.dtype)
        if self.time_vectorized is False or len(t) == 1:
            self._loop(t, y, out)
            return out
        try:
            self._broadcast(t, y, out)
        except Exception:
            n_raised = self._loop(t, y, out)
            if n_raised == 0 or self.time_vectorized is None:
                # nothing is wrong with the points, so it does not broadcast
                if not self.check:
                    raise
                self.time_vectorized = False
            return out
        if self.time_vectorized is None:
            self.time_vectorized = self.agrees(t, y, out, probe_columns(len(t)))
            if not self.time_vectorized:
                self._loop(t, y, out)
        return out

    def agrees(self, t, y, values, columns):
        """Whether the `columns` of broadcast `values` equal single calls."""
        columns, t, y = list(columns), t[columns], y[:, columns]
        expected = np.empty((*self.shape, len(columns)), dtype=self.dtype)
        try:
            for k, s in enumerate(t.tolist()):
                expected[..., k] = self.single(s, y[:, k].copy())
        except Exception:
            return False
        found = values[..., columns]
        difference = np.abs(found - expected)
        size = _entries(np.abs(expected)).max(axis=0, initial=0.0)
        same = difference <= SAME_RTOL * size
        if not same.all():
            same |= ~np.isfinite(expected) & ~np.isfinite(found)
        return bool(same.all()) or self._rounding_explains(t, y, difference, expected)

    def _rounding_explains(self, t, y, difference, expected):
        """Whether rounding errors of the states would change values as much.

        Sums of large terms, such as ``A @ y`` with a stiff matrix, depend on the
        order in which they are added.
        """
        signs = np.where(np.arange(len(y)) % 2, 1.0, -1.0)[:, None]
        difference = _entries(difference).max(axis=0)
        for sign in (signs, -signs, np.ones_like(signs)):
            rounded = y * (1 + ROUNDING * sign)
            try:
                moved = [self.single(float(s), rounded[:, k]) for k, s in enumerate(t)]
            except Exception:
                return False
            change = np.abs(np.stack(moved, axis=-1) - expected)
            if np.all(difference <= _entries(change).max(axis=0)):
                return True
        return False

    def confirmed(self, t, y, values):
        """Compare `values` with single calls at a few points, if so agreed.

        Where they differ the function does not broadcast after all, and is
        called point by point from now on.
        """
        if not (self.check and self.time_vectorized):
            return True
        columns = sample_columns(y)
        finite = np.isfinite(_entries(values[..., columns])).all(axis=0)
        columns = list(compress(columns, finite))
        self.time_vectorized = self.agrees(t, y, values, columns)
        return self.time_vectorized

    def _broadcast(self, t, y, out):
        self.n_points += len(t)
        value = self.fun(t, y)
        if type(value) is np.ndarray:
            if value.shape == out.shape:
                out[...] = value
                return
            if self.n_entries == 1 and value.size == len(t):
                value = value.reshape(out.shape)
        _fill(out, value)

    def check_deadline(self):
        """Raise `DeadlineExceeded` if the time allowed is over."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise DeadlineExceeded

    def _loop(self, t, y, out):
        """Call point by point; return how often the function raised."""
        n_raised = 0
        for k in range(len(t)):
            try:
                out[..., k] = self.single(float(t[k]), y[:, k].copy())
            except Exception:
                out[..., k] = np.nan
                n_raised += 1
        return n_raised


def _fill(out, value):
    """Copy a broadcast value, whose entries may be constants, into `out`."""
    if isinstance(value, list | tuple) and out.ndim > 1:
        if len(value) != len(out):
            raise ValueError("wrong number of components")
        for row, component in zip(out, value, strict=True):
            _fill(row, component)
    elif out.ndim > 1 and np.shape(value) != out.shape:
        raise ValueError("wrong shape")
    else:
        out[...] = value


def _entries(values):
    """View values (*shape, m) as rows of entries, shape (n_entries, m)."""
    return values.reshape(math.prod(values.shape[:-1]), values.shape[-1])


def probe_columns(m):
    """Choose a few columns of ``m``: the ends and the middle."""
    return sorted({0, m // 2, m - 1})


def sample_columns(x):
    """Choose columns: the extremes of the first components, and some between.

    Functions that look at all columns at once, such as ``np.any(y[0] > 1)``,
    give themselves away where a component is largest or smallest.
    """
    rows, m = x.real[:8], x.shape[1]
    between = {0, m // 3, 2 * m // 3, m - 1}
    return sorted(between.union(rows.argmax(1).tolist(), rows.argmin(1).tolist()))


class Rhs(ManyPoints):
    """The right-hand side ``f(t, y)``, shape (n,), counted in points."""

    def __init__(self, fun, n, dtype, *, vectorized=False, time_vectorized=None):
        super().__init__(
            fun,
            (n,),
            dtype,
            "fun",
            vectorized=vectorized,
            time_vectorized=time_vectorized,
        )

    @property
    def nfev(self):
        """Number of evaluated points, one (t, y) pair each."""
        return self.n_points
