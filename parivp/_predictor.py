"""The predictor: a loose sequential pass over the window to come.

It supplies the guess Newton's method starts from, and a first mesh.
"""

import contextlib
import itertools
import threading
import warnings

import numpy as np
from scipy.integrate import LSODA, RK45, odeint

__all__ = ["Trajectory", "predict", "predict_at"]

# LSODA costs about two evaluations and a few microseconds a step, a fraction
# of what the Runge-Kutta classes cost, and switches to its stiff formulas by
# itself; RK45 stands in where it cannot run (inside a function that LSODA
# itself is integrating).
PREDICTORS = (LSODA, RK45)

# Where the times are known beforehand `odeint`, LSODA in one call, does the same
# in half the time. It gives up after so many steps between two of them.
MOST_BETWEEN = 100


class Trajectory:
    """Cubic Hermite interpolation of states and derivatives at points.

    Parameters
    ----------
    t : ndarray, shape (m + 1,)
    y, f : ndarray, shape (n, m + 1)
    n_steps : ndarray of int, shape (m + 1,), optional
        Steps that the predictor had made at the points; one from each to the
        next by default.
    """

    def __init__(self, t, y, f, n_steps=None):
        self.t = t
        self.n_steps = np.arange(len(t)) if n_steps is None else n_steps
        self.direction = 1.0 if t[-1] >= t[0] else -1.0
        h = np.diff(t)
        y0, f0, f1 = y[:, :-1], f[:, :-1], f[:, 1:]
        slope = np.diff(y) / h
        c2 = (3 * slope - 2 * f0 - f1) / h
        c3 = (f0 + f1 - 2 * slope) / h**2
        self.coefficients = np.stack([c3, c2, f0, y0])

    def __call__(self, t):
        """States at sorted times `t` (M,) within the trajectory, shape (n, M)."""
        # the times may be many more than the pieces, which are repeated for them
        inner = self.direction * self.t[1:-1]
        ends = np.searchsorted(self.direction * t, inner)
        counts = np.diff(ends, prepend=0, append=len(t))
        used = slice(*(np.flatnonzero(counts)[[0, -1]] + [0, 1]))
        counts = counts[used]
        s = t - np.repeat(self.t[:-1][used], counts)
        first, *others = self.coefficients[:, :, used]
        x = np.repeat(first, counts, axis=-1)
        for c in others:
            x *= s
            x += np.repeat(c, counts, axis=-1)
        return x

    def steps_between(self, start, end):
        """Count the predictor's steps from one time to another."""
        inner = self.direction * self.t
        ends = np.searchsorted(inner, [self.direction * start, self.direction * end])
        first, last = self.n_steps[np.minimum(ends, len(self.t) - 1)]
        return int(last - first)


def predict_at(rhs, t, y, times, *, rtol, atol):
    """Integrate loosely from (t, y) through the given `times`.

    Returns
    -------
    Trajectory or None
        None where it takes `predict`, which keeps what came before a failure.
    """
    if times[-1] < t:
        return None  # backward in time `odeint` oversteps its end
    times = np.concatenate([[t], times])
    fun, y0, rtol, atol = _real(rhs, y, rtol, atol)
    uncounted, calls = fun is rhs.fun, itertools.count()
    if rhs.deadline is not None and uncounted:
        fun, uncounted = rhs.single, False

    def counting(t, y):
        next(calls)
        return rhs.fun(t, y)

    with _without_warnings(), np.errstate(all="ignore"):
        try:
            ys, info = odeint(
                counting if uncounted else fun,
                y0,
                times,
                rtol=rtol,
                atol=atol,
                tcrit=times[-1:],
                mxstep=MOST_BETWEEN,
                full_output=True,
                tfirst=True,
            )
        except Exception:  # the function's own, met ahead of time
            return None
        finally:
            rhs.n_points += next(calls)
    if "successful" not in info["message"]:
        return None
    ys, n_steps = _as_states(ys.T, y), np.append(0, info["nst"])
    f = rhs(times, ys)
    finite = np.isfinite(ys).all() and np.isfinite(f).all()
    return Trajectory(times, ys, f, n_steps) if finite else None


def predict(rhs, t, y, t_bound, n_steps, *, rtol, atol, max_step):
    """Integrate loosely from (t, y) for `n_steps` steps or to `t_bound`.

    Returns
    -------
    Trajectory or None
        None if no step could be made. What `rhs` raises ends the trajectory,
        as do states that are not finite: they were computed ahead.
    """
    for predictor in PREDICTORS:
        ts, ys = _run(predictor, rhs, t, y, t_bound, n_steps, rtol, atol, max_step)
        if len(ts) > 1:
            break
    else:
        return None
    ts, ys = np.array(ts), _as_states(np.array(ys).T, y)
    moved = np.abs(np.diff(ts)) > 10 * np.spacing(np.abs(ts[1:]))
    f = rhs(ts, ys)
    good = np.isfinite(f).all(axis=0) & np.isfinite(ys).all(axis=0)
    good[1:] &= moved
    m = len(ts) if good.all() else int(np.argmin(good))
    return Trajectory(ts[:m], ys[:, :m], f[:, :m]) if m > 1 else None


def _run(predictor, rhs, t, y, t_bound, n_steps, rtol, atol, max_step):
    """Run a sequential solver; return times and states, in real arithmetic."""
    fun, y, rtol, atol = _real(rhs, y, rtol, atol)
    ts, ys, solver = [t], [y], None
    with _without_warnings(), np.errstate(all="ignore"):
        try:
            solver = predictor(
                fun, t, y, t_bound, rtol=rtol, atol=atol, max_step=max_step
            )
            while solver.status == "running" and len(ts) <= n_steps:
                rhs.check_deadline()
                solver.step()
                if solver.status == "failed":
                    break
                ts.append(solver.t)
                ys.append(solver.y)
        except Exception:  # the function's own, met ahead of time
            pass
        finally:
            if fun is rhs.fun and solver is not None:
                rhs.n_points += solver.nfev
    return ts, ys


def _real(rhs, y, rtol, atol):
    """Put the problem in real arithmetic; ``rhs.fun`` itself counts no calls."""
    if not np.iscomplexobj(y):
        return rhs.single if rhs.vectorized else rhs.fun, y, rtol, atol
    rtol = np.repeat(rtol, 2) if np.ndim(rtol) else rtol
    atol = np.repeat(atol, 2) if np.ndim(atol) else atol

    def fun(t, y):
        return rhs.single(t, y.view(complex)).view(float)

    return fun, y.view(float), rtol, atol


def _as_states(ys, y):
    """Turn real states (n or 2n, m) into states like `y`."""
    if np.iscomplexobj(y):
        ys = ys[::2] + 1j * ys[1::2]
    return np.ascontiguousarray(ys)


@contextlib.contextmanager
def _without_warnings():
    """Keep quiet about a predictor that fails.

    Warning filters belong to the process, so that only the main thread may
    change them for a while.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
