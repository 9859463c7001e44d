"""The predictor: a loose sequential pass over the window to come.

It supplies the guess Newton's method starts from, and a first mesh.
"""

import contextlib
import itertools
import math
import threading
import warnings
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.integrate import LSODA, odeint

from ._array_namespace import (
    array_namespace,
    as_list,
    errstate,
    first_true,
    is_complex,
    is_numpy_namespace,
    like,
    new_empty,
    spacing,
)
from ._jacobian import SQRT_EPS
from ._rosenbrock import ROS4, RosenbrockTableau, rosenbrock

__all__ = ["Predictor", "Trajectory", "predict", "predict_at"]

# Steps of LSODA between two times that are known beforehand.
MOST_BETWEEN = 100
# What options of the class LSODA are called by `odeint`.
ODEINT_NAMES = {"jac": "Dfun", "lband": "ml", "uband": "mu"}
# Steps that it counts to.
MOST_STEPS = 2**31 - 1
# A trajectory may have so many times the steps asked for if that leads to the end.
STRETCH = 1.25
# Where steps are made in array operations, what counts is how many follow each other
# and not how many points they have: windows then pay that take an iteration or two
# more (benchmarks/native_predictor.py).
NATIVE_RTOL = 1e-2
# Many times for each piece of a trajectory.
MANY = 16
# From this size on one call for all columns of the Jacobian is faster than one for
# each, as LSODA makes them.
LARGE_SYSTEM = 10


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

    def __init__(self, t, y, f=None, n_steps=None):
        self.t = t
        self.n_steps = n_steps
        self.direction = 1.0 if t[-1] >= t[0] else -1.0
        h = t[1:] - t[:-1]
        f = _monotone_slopes(t, y) if f is None else f
        y0, f0, f1 = y[:, :-1], f[:, :-1], f[:, 1:]
        slope = (y[:, 1:] - y0) / h
        self.coefficients = new_empty(slope, (4, *y0.shape))
        self.coefficients[0, ...] = (f0 + f1 - 2 * slope) / h**2
        self.coefficients[1, ...] = (3 * slope - 2 * f0 - f1) / h
        self.coefficients[2, ...] = f0
        self.coefficients[3, ...] = y0

    def __call__(self, t):
        """States at sorted times `t` (M,) within the trajectory, shape (n, M)."""
        xp, inner = array_namespace(t), self.direction * self.t[1:-1]
        few = t.shape[0] < MANY * self.t.shape[0]
        if few or not is_numpy_namespace(xp):
            k = xp.searchsorted(inner, self.direction * t, side="right")
            s = t - xp.take(self.t, k)
            c = xp.take(self.coefficients, k, axis=2)
            values = (c[0, ...] * s + c[1, ...]) * s + c[2, ...]
            return values * s + c[3, ...]
        # where there are many more times than pieces, those are repeated for them
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
        xp, inner = array_namespace(self.t), self.direction * self.t
        wanted = like(self.t, [float(start), float(end)])
        ends = xp.searchsorted(inner, self.direction * wanted)
        first, last = (min(end, self.t.shape[0] - 1) for end in as_list(ends))
        if self.n_steps is not None:
            first, last = self.n_steps[first], self.n_steps[last]
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


@dataclass(frozen=True)
class Predictor:
    """How the guess for a window is made.

    Attributes
    ----------
    classes : tuple of OdeSolver
        Of these classes of SciPy the first that can make a step is used; where
        there are none, steps in array operations alone are made. LSODA
        costs about two evaluations and a few microseconds a step, a fraction of
        what the Runge-Kutta classes cost, and switches to its stiff formulas by
        itself, but cannot run inside a function that LSODA itself is
        integrating.
    rtol : float
        Relative tolerance that is good enough.
    slopes : bool
        Whether to interpolate with the values of the right-hand side. In stiff
        problems they amplify the errors of the states.
    structure : Structure or None
        That of the Jacobian, for systems with a sparse one.
    tableau : RosenbrockTableau
        For steps in array operations.
    """

    classes: tuple
    rtol: float
    slopes: bool = True
    structure: object = None
    tableau: RosenbrockTableau = ROS4

    def on(self, example):
        """Return the predictor for states that are where the array `example` is."""
        if type(example) is np.ndarray:
            return self
        return replace(self, classes=(), rtol=NATIVE_RTOL)

    def loosening(self, rtol):
        """How much looser than the tolerances it is at least."""
        return self.rtol / float(np.max(rtol))


def predict(predictor, rhs, t, y, t_bound, n_steps, *, rtol, atol, max_step):
    """Integrate loosely from (t, y) for about `n_steps` steps or to `t_bound`.

    Returns
    -------
    Trajectory or None
        None if no step could be made. What `rhs` raises ends the trajectory,
        as do states that are not finite: they were computed ahead.
    """
    xp, limits = rhs.xp, (t_bound, n_steps, rtol, atol, max_step)
    if not predictor.classes:
        ts, ys = _run_rosenbrock(predictor.tableau, rhs, t, y, *limits)
    for cls in predictor.classes:
        ts, ys = _run(cls, predictor.structure, rhs, t, y, *limits)
        if len(ts) > 1:
            break
    if len(ts) < 2:
        return None
    ts = like(y, ts, xp.float64)
    if not predictor.classes:
        ys = xp.stack(ys, axis=1)
    elif np.iscomplexobj(ys[-1]):
        ys = ys.T
    else:
        ys = _as_states(ys.T, y)
    moved = xp.abs(ts[1:] - ts[:-1]) > 10 * spacing(xp, ts[1:])
    f = rhs(ts, ys) if predictor.slopes else ys
    m = ts.shape[0]
    sizes = xp.sum(xp.abs(f)) + xp.sum(xp.abs(ys))
    if not (bool(xp.all(moved)) and math.isfinite(float(sizes))):
        good = xp.all(xp.isfinite(f), axis=0) & xp.all(xp.isfinite(ys), axis=0)
        good[1:] &= moved
        m = first_true(xp, ~good)
    if m < 2:
        return None
    return Trajectory(ts[:m], ys[:, :m], f[:, :m] if predictor.slopes else None)


def _run_rosenbrock(tableau, rhs, t, y, t_bound, n_steps, rtol, atol, max_step):
    """Make steps in array operations alone; return times and states."""
    ts, ys = [t], [y]
    steps = rosenbrock(rhs, t, y, t_bound, rtol, atol, max_step, tableau)
    for t_new, y_new in steps:
        ts.append(t_new)
        ys.append(y_new)
        if _suffices(ts, t_bound, n_steps):
            break
    return ts, ys


def _monotone_slopes(t, y):
    """Slopes from the values alone that keep the interpolation monotone.

    Weighted harmonic means (Fritsch & Butland, SIAM J. Sci. Stat. Comput. 5,
    1984), and of the two steps at the ends one that is limited by them.
    """
    xp, h = array_namespace(y), t[1:] - t[:-1]
    d = (y[:, 1:] - y[:, :-1]) / h
    if t.shape[0] == 2:
        return xp.repeat(d, 2, axis=1)
    w1, w2 = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    with errstate():
        mean = (w1 + w2) / (w1 / d[:, :-1] + w2 / d[:, 1:])
        same = _same_sign(xp, d[:, :-1], d[:, 1:])
    mean = xp.where(same, mean, 0.0)
    return xp.concat([d[:, :1], mean, d[:, -1:]], axis=1)


def _same_sign(xp, a, b):
    """Whether slopes point the same way."""
    return (xp.real(a * xp.conj(b)) if is_complex(a) else a * b) > 0


def _run(cls, structure, rhs, t, y, t_bound, n_steps, rtol, atol, max_step):
    """Run a sequential solver; return times and states (m, n), perhaps as real ones."""
    fun, y, rtol, atol, back, options = _adapt(cls, structure, rhs, y, rtol, atol)
    options |= {"rtol": rtol, "atol": atol}
    # `odeint` oversteps an end that lies behind
    in_one_call = cls is LSODA and t_bound > t
    run = _run_odeint if in_one_call else partial(_run_class, cls)
    with _without_warnings(), np.errstate(all="ignore"):
        ts, ys = run(rhs, fun, t, y, t_bound, n_steps, max_step, options)
    return ts, ys if back is None else ys[:, back]


def _run_class(cls, rhs, fun, t, y, t_bound, n_steps, max_step, options):
    """Make steps with a class of SciPy."""
    ts, ys, solver = [t], [y], None
    try:
        solver = cls(fun, t, y, t_bound, max_step=max_step, **options)
        while solver.status == "running" and not _suffices(ts, t_bound, n_steps):
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
    return ts, np.array(ys)


def _suffices(ts, t_bound, n_steps):
    """Whether so many steps are enough: little left would be a window of its own."""
    n, done, left = len(ts) - 1, abs(ts[-1] - ts[0]), abs(t_bound - ts[-1])
    return n >= n_steps and (n >= STRETCH * n_steps or left > (STRETCH - 1) * done)


class _Enough(Exception):
    """As many steps as were asked for have been made."""


def _run_odeint(rhs, fun, t, y, t_bound, n_steps, max_step, options):
    """Make steps with LSODA in one call, faster than by its class.

    The steps show in the calls of the function. A call for an earlier time than
    before means that a step has failed, and the last call for a time is for the
    state there but for a last correction.
    """
    ts, ys, n_calls = [-math.inf], [b""], 0

    def recording(t, y):
        nonlocal n_calls
        while ts[-1] >= t:
            ts.pop()
            ys.pop()
        ts.append(t)
        ys.append(y.tobytes())  # in less time than a copy
        if len(ts) > n_steps + 2 and _suffices(ts[1:-1], t_bound, n_steps):
            raise _Enough
        rhs.check_deadline()
        n_calls += 1
        return fun(t, y)

    options = {ODEINT_NAMES.get(name, name): value for name, value in options.items()}
    message = ""
    try:
        states, info = odeint(
            recording,
            y,
            [t, t_bound],
            tcrit=[t_bound],
            hmax=0.0 if math.isinf(max_step) else max_step,
            mxstep=int(min(STRETCH * n_steps + 1, MOST_STEPS)),
            full_output=True,
            tfirst=True,
            **options,
        )
        message = info["message"]
    except Exception:  # the function's own, met ahead of time
        pass
    finally:
        if fun is rhs.fun:
            rhs.n_points += n_calls
    if "Illegal input" in message or len(ts) < 3:
        return [t], y[None]  # as where `fun` itself runs LSODA
    done = "successful" in message
    del ts[0], ts[-1]  # the last step was still being tried
    ys = np.frombuffer(b"".join(ys[1 : len(ts) + 1])).reshape(-1, len(y)).copy()
    ys[0] = y  # not what it was perturbed to
    return ([*ts, t_bound], np.concatenate([ys, states[1:]])) if done else (ts, ys)


def _batched_jacobian(rhs, threshold):
    """Jacobian by differences, from one call for all columns if that works."""

    def jac(t, y):
        n = len(y)
        points = np.repeat(y[:, None], n + 1, axis=1)
        moved = points.reshape(-1)[1 :: n + 2]  # the diagonal behind the first column
        moved += SQRT_EPS * np.maximum(np.abs(y), threshold)
        values = rhs(np.full(n + 1, t), points)
        return (values[:, 1:] - values[:, :1]) / (moved - y)

    return jac if rhs.time_vectorized else None


def _adapt(cls, structure, rhs, y, rtol, atol):
    """Write the problem as the solver takes it.

    Returns
    -------
    fun, y, rtol, atol
        In real arithmetic, and with the components in the order of the band,
        where LSODA needs it.
    back : ndarray or None
        The place of every component in that order.
    options : dict
    """
    fun = rhs.single if rhs.vectorized else rhs.fun
    if structure is not None and cls is not LSODA:
        return fun, y, rtol, atol, None, {"jac_sparsity": structure.pattern}
    if structure is None:
        options = {}
        if cls is LSODA and len(y) >= LARGE_SYSTEM and y.dtype.kind != "c":
            options["jac"] = _batched_jacobian(rhs, atol)
        return *_real(rhs, y, rtol, atol), None, options
    order, place = structure.order, structure.place

    def reordered(t, y):
        # a copy in any case: `y` is where LSODA works
        return rhs.single(t, np.array(y[place]))[order]

    rtol = rtol[order] if np.ndim(rtol) else rtol
    atol = atol[order] if np.ndim(atol) else atol
    bands = {"lband": structure.lower, "uband": structure.upper}
    return reordered, y[order], rtol, atol, place, bands


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
