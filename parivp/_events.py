"""Events: sign changes over all accepted steps at once, then their roots."""

import math
import numbers

import numpy as np
from scipy.optimize import brentq
from scipy.optimize.elementwise import find_root

from ._array_namespace import (
    array_namespace,
    as_list,
    errstate,
    is_complex,
    is_numpy_namespace,
    like,
    new_empty,
    true_indices,
)
from ._mesh import split
from ._options import with_args
from ._rhs import ManyPoints

__all__ = ["EventSearch"]

EPS = float(np.finfo(np.float64).eps)
# From this many roots on, one vectorized search beats a loop over brentq.
MANY_ROOTS = 16
# Points of every step at which the signs of the events are compared.
SAMPLES = 4
# Of an interval until its ends are neighbouring numbers, at most.
MOST_HALVINGS = 200


class _Disagreement(Exception):
    """An event does not broadcast over time after all."""


class EventSearch:
    """Finds the zeros of event functions along the solution.

    Parameters
    ----------
    events : callable or sequence of callables
        ``event(t, y) -> float`` with attributes `terminal` and `direction` as
        in `scipy.integrate.solve_ivp`.
    args : tuple
        Handed to every event.
    t0 : float
    y0 : array, shape (n,)

    Raises
    ------
    ValueError
        If a `terminal` attribute is neither a boolean nor a positive integer.
    """

    def __init__(self, events, args, t0, y0):
        events = _as_tuple(events)
        self.limit = np.array([_limit(event) for event in events])
        self.direction = [_direction(event) for event in events]
        self.xp, self.y0 = array_namespace(y0), y0
        real = self.xp.real(y0) if is_complex(y0) else y0
        self.functions = [
            ManyPoints(with_args(event, args), (), real, "event") for event in events
        ]
        self.count = np.zeros(len(events))
        self.g = new_empty(real, (len(events), 1))
        for index, function in enumerate(self.functions):
            self.g[index, 0] = function.single(t0, y0)
        self.t_events = [[] for _ in events]
        self.y_events = [[] for _ in events]

    def search(self, segment, interpolant):
        """Record the events on a segment.

        Parameters
        ----------
        segment : Segment
        interpolant : callable
            Makes the dense output of the segment when it is needed.

        Returns
        -------
        float or None
            Time of the event that ends the integration, if one does.
        """
        xp, (t, y) = self.xp, _samples(segment, interpolant)
        values = new_empty(self.g, (len(self.functions), t.shape[0]))
        for index, function in enumerate(self.functions):
            self._many(function, t, y, values[index, :])
        g = xp.concat([self.g, values], axis=1)
        times = xp.concat([segment.t[:1], t])
        start, missing = 0, xp.isnan(values)
        for k in true_indices(xp, xp.any(missing, axis=0)):
            stop = self._search(times[start : k + 1], g[:, start : k + 1], interpolant)
            if stop is not None:
                return stop
            # values that could not be had ahead are due now, and what the
            # event raises arrives
            for index in true_indices(xp, missing[:, k]):
                g[index, k + 1] = self.functions[index].single(float(t[k]), y[:, k])
            start = k
        stop = self._search(times[start:], g[:, start:], interpolant)
        self.g = g[:, -1:]
        return stop

    def times(self):
        """For each event, the times found, shape (k,)."""
        return [like(self.y0, times, self.xp.float64) for times in self.t_events]

    def states(self):
        """For each event, the states found, shape (k, n)."""
        none = new_empty(self.y0, (0,))
        return [self.xp.stack(states) if states else none for states in self.y_events]

    def _search(self, t, g, interpolant):
        found = []
        for index, function in enumerate(self.functions):
            steps = _active_steps(g[index, :], self.direction[index])
            if len(steps) == 0:
                continue
            try:
                roots = _roots(function, interpolant(), t, steps)
            except _Disagreement:
                function.time_vectorized = False
                g[index, 1:] = function(t[1:], interpolant()(t[1:]))
                steps = _active_steps(g[index, :], self.direction[index])
                roots = _roots(function, interpolant(), t, steps)
            found += [(root, index) for root in roots]
        forward = bool(t[-1] >= t[0])
        found.sort(key=lambda item: item[0] if forward else -item[0])
        for root, index in found:
            times = self.t_events[index]
            if times and times[-1] == root:
                continue  # a zero at a step's end belongs to both steps
            times.append(root)
            self.y_events[index].append(interpolant().at(root))
            self.count[index] += 1
            if self.count[index] >= self.limit[index]:
                return root
        return None

    def _many(self, function, t, y, values):
        """Values at many points, compared with single calls at a few."""
        with errstate():
            function(t, y, values)
            if not function.confirmed(t, y, values):
                function(t, y, values)


def _samples(segment, interpolant):
    """Points between the first, exclusive, and the last of a segment.

    Steps are long, so that every one is looked at in a few places.
    """
    xp, mesh = array_namespace(segment.t), segment.t
    if not bool(xp.all(mesh[1:] != mesh[:-1])):
        return segment.t[1:], segment.y[:, 1:]
    t = split(mesh, SAMPLES)[1:]
    t[SAMPLES - 1 :: SAMPLES] = segment.t[1:]
    return t, interpolant()(t)


def _limit(event):
    """Read the number of hits that ends the integration off `terminal`."""
    terminal = getattr(event, "terminal", None)
    if terminal is None:
        return math.inf
    number = isinstance(terminal, numbers.Real | np.bool_)
    if (number or isinstance(terminal, np.ndarray)) and terminal == 0:
        return math.inf
    if number and int(terminal) == terminal and terminal > 0:
        return int(terminal)
    raise ValueError(
        "The `terminal` attribute of each event must be a boolean or positive "
        f"integer, but actually is {terminal!r}."
    )


def _direction(event):
    """Read the direction of the sign change off `direction`."""
    direction = getattr(event, "direction", 0)
    if not isinstance(direction, numbers.Real):
        raise TypeError(
            "The `direction` attribute of each event must be a number, but actually "
            f"is {direction!r}."
        )
    return direction


def _as_tuple(events):
    """Return the events as a tuple of callables."""
    listed = isinstance(events, list | tuple)
    functions = tuple(events) if listed else (events,)
    if not all(callable(event) for event in functions):
        raise TypeError(
            "`events` is expected to be a callable or a list of callables, "
            f"but actually is {events!r}."
        )
    return functions


def _active_steps(g, direction):
    """Find the steps over which `g` changes sign in the wanted direction."""
    up = (g[:-1] <= 0) & (g[1:] >= 0)
    down = (g[:-1] >= 0) & (g[1:] <= 0)
    wanted = up if direction > 0 else down if direction < 0 else up | down
    return true_indices(array_namespace(g), wanted)


def _roots(function, interpolant, t, steps):
    """Zeros of the event on the given steps, to four units of rounding.

    Raises
    ------
    _Disagreement
        If single calls do not change sign where broadcast values did.
    """
    brackets = []
    for k in steps:
        a, b = float(t[k]), float(t[k + 1])
        g_a = float(function.single(a, interpolant.at(a)))
        g_b = float(function.single(b, interpolant.at(b)))
        if (g_a > 0 and g_b > 0) or (g_a < 0 and g_b < 0):
            if function.time_vectorized:
                raise _Disagreement
            continue
        brackets.append((a, b, g_a, g_b))
    crossings = all(g_a != 0 != g_b for _, _, g_a, g_b in brackets)
    if crossings and len(brackets) >= MANY_ROOTS and function.time_vectorized:
        roots = _roots_at_once(function, interpolant, t, brackets)
        if roots is not None:
            return roots
    return [_root(function, interpolant, *bracket) for bracket in brackets]


def _roots_at_once(function, interpolant, t, brackets):
    """Zeros between many pairs of points, or None where some are not found."""
    xp = array_namespace(t)

    def g(s):
        s = xp.reshape(s, (-1,))
        return function(s, interpolant(s))

    a, b, g_a, g_b = (like(t, list(ends)) for ends in zip(*brackets, strict=True))
    if not is_numpy_namespace(xp):
        roots = as_list(_interpolate_truncate_project(xp, g, a, b, g_a, g_b))
        return None if any(map(math.isnan, roots)) else roots
    tolerances = {"xatol": 4 * EPS, "xrtol": 4 * EPS, "fatol": 0, "frtol": 0}
    result = find_root(g, (a, b), tolerances=tolerances)
    return result.x.tolist() if result.success.all() else None


def _interpolate_truncate_project(xp, g, a, b, g_a, g_b):
    """Zeros between many pairs of points at which `g` has opposite signs.

    They are NaN where `g` was NaN on the way: it may have raised there.

    The ITP method with its authors' parameters: the secant's zero, moved towards the
    middle and no farther from it than leaves bisection's number of steps (Oliveira &
    Takahashi, ACM Trans. Math. Softw. 47(1), 2020, Algorithm 1).
    """
    width = xp.abs(b - a)
    eps = 2 * EPS * xp.maximum(xp.abs(a), xp.abs(b)) + EPS**2
    shift = 0.2 / width
    radius = eps * 2.0 ** (xp.ceil(xp.log2(width / (2 * eps))) + 1)
    undefined = xp.isnan(g_a) | xp.isnan(g_b)
    for _ in range(MOST_HALVINGS):
        if bool(xp.all(xp.abs(b - a) <= 2 * eps)):
            break
        middle, half = (a + b) / 2, xp.abs(b - a) / 2
        secant = a - g_a * ((b - a) / (g_b - g_a))
        towards = xp.sign(middle - secant)
        delta = shift * (2 * half) ** 2
        moved = xp.where(
            delta <= xp.abs(middle - secant), secant + towards * delta, middle
        )
        reach = xp.maximum(radius - half, 0.0)
        x = xp.where(xp.abs(moved - middle) <= reach, moved, middle - towards * reach)
        value, radius = g(x), radius / 2
        undefined = undefined | xp.isnan(value)
        left = xp.sign(value) == xp.sign(g_a)
        zero = value == 0
        a, g_a = xp.where(left | zero, x, a), xp.where(left, value, g_a)
        b, g_b = xp.where(left & ~zero, b, x), xp.where(left, g_b, value)
        # a pair that has met stays where it is
        g_a = xp.where(zero, -1.0, g_a)
        g_b = xp.where(zero, 1.0, g_b)
    return xp.where(undefined, math.nan, (a + b) / 2)


def _root(function, interpolant, a, b, g_a, g_b):
    """Find the zero of the event between `a` and `b`."""
    if g_a == 0 or g_b == 0:
        return a if g_a == 0 else b
    return brentq(
        lambda s: float(function.single(s, interpolant.at(s))),
        a,
        b,
        xtol=4 * EPS,
        rtol=4 * EPS,
    )
