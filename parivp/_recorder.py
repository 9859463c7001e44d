"""Collects segments and turns them into the arrays of the result."""

import numpy as np

from ._array_namespace import (
    array_namespace,
    first_true,
    has_own_place,
    is_complex,
    like,
)
from ._dense_output import OdeSolution, join
from ._options import placed

__all__ = ["Recorder"]


class Recorder:
    """Points of the solution: the solver's own, or those of `t_eval`.

    Parameters
    ----------
    t0, tf : float
        Interval of integration.
    t_eval : array_like or None
    dense_output : bool

    Raises
    ------
    ValueError
        If `t_eval` is not one-dimensional, not within the interval, or not
        sorted in the direction of integration.
    """

    def __init__(self, t0, tf, t_eval, dense_output):
        self.direction = 1.0 if tf >= t0 else -1.0
        self.t_eval = _validate(t_eval, t0, tf)
        self.position = 0
        self.dense_output = dense_output
        self.ts, self.ys, self.polynomials = [], [], []
        self.t_end = None

    def start(self, t, y):
        """Record the initial point; other times are to be where `y` is."""
        if self.t_eval is None:
            self.ts.append(like(y, [t], array_namespace(y).float64))
            self.ys.append(y[:, None])
        else:
            self.t_eval = placed("t_eval", self.t_eval, y)
            if has_own_place(self.t_eval):
                xp = array_namespace(y)
                self.t_eval = xp.astype(self.t_eval, xp.float64, copy=False)

    def add(self, segment, polynomial, stop):
        """Record a segment, up to `stop` if that is not None."""
        if stop is None:
            t, y = segment.t[1:], segment.y[:, 1:]
            end = segment.t[-1:]
        else:
            t, y = _truncate(segment, polynomial(), stop)
            end = t[-1:]
        if self.dense_output:
            self.polynomials.append(polynomial().first(t.shape[0]))
            self.t_end = end[0]
        if self.t_eval is None:
            self.ts.append(t)
            self.ys.append(y)
            return
        xp = array_namespace(t)
        ends = xp.searchsorted(
            self.direction * self.t_eval, self.direction * end, side="right"
        )
        n = int(ends[0])
        wanted = self.t_eval[self.position : n]
        self.position = max(n, self.position)
        if wanted.shape[0]:
            self.ts.append(wanted)
            self.ys.append(polynomial()(wanted))

    def result(self):
        """Return times (m,), states (n, m) and the continuous solution or None."""
        sol = None
        if self.dense_output and self.polynomials:
            sol = OdeSolution(join(self.polynomials), self.t_end)
        if not self.ts:
            return [], [], sol
        xp = array_namespace(self.ts[0])
        return xp.concat(self.ts), xp.concat(self.ys, axis=1), sol


def _truncate(segment, polynomial, stop):
    """Cut a segment at an event at `stop`, which becomes its end."""
    xp, t, y = array_namespace(segment.t), segment.t, segment.y
    forward = bool(t[-1] >= t[0])
    n = first_true(xp, ~(t[1:] < stop if forward else t[1:] > stop))
    end = like(t, [stop], t.dtype)
    t = xp.concat([t[1 : n + 1], end])
    return t, xp.concat([y[:, 1 : n + 1], polynomial(end)], axis=1)


def _validate(t_eval, t0, tf):
    """Check the times at which the solution is wanted, wherever they are."""
    if t_eval is None:
        return None
    t_eval = _as_times(t_eval)
    if t_eval.ndim != 1:
        raise ValueError("`t_eval` must be 1-dimensional.")
    xp = array_namespace(t_eval)
    outside = (t_eval < min(t0, tf)) | (t_eval > max(t0, tf))
    if bool(xp.any(outside)):
        raise ValueError("Values in `t_eval` are not within `t_span`.")
    if tf != t0 and t_eval.shape[0] > 1:
        before, after = t_eval[:-1], t_eval[1:]
        if bool(xp.any(after <= before if tf > t0 else after >= before)):
            raise ValueError("Values in `t_eval` are not properly sorted.")
    return t_eval


def _as_times(t_eval):
    """Array of real numbers, wherever they are."""
    if not has_own_place(t_eval):
        try:
            t_eval = np.asarray(t_eval)
        except (TypeError, ValueError, RuntimeError):  # such as arrays elsewhere
            t_eval = None
        if t_eval is not None and t_eval.dtype.kind in "biufO":
            return t_eval
        raise TypeError("`t_eval` is expected to be an array of real numbers.")
    xp = array_namespace(t_eval)
    if is_complex(t_eval):
        raise TypeError(
            f"`t_eval` is expected to be real, but has type {t_eval.dtype}."
        )
    # other libraries do not mix types
    return xp.astype(t_eval, xp.float64, copy=False)
