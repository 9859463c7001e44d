"""Events: sign changes over all accepted steps at once, then their roots."""

import numbers

import numpy as np
from scipy.optimize import brentq
from scipy.optimize.elementwise import find_root

from ._mesh import split
from ._options import with_args
from ._rhs import ManyPoints

__all__ = ["EventSearch"]

EPS = np.finfo(np.float64).eps
# From this many roots on, one vectorized search beats a loop over brentq.
MANY_ROOTS = 16
# Points of every step at which the signs of the events are compared.
SAMPLES = 4


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
    y0 : ndarray, shape (n,)

    Raises
    ------
    ValueError
        If a `terminal` attribute is neither a boolean nor a positive integer.
    """

    def __init__(self, events, args, t0, y0):
        events = _as_tuple(events)
        self.limit = np.array([_limit(event) for event in events])
        self.direction = [_direction(event) for event in events]
        real = np.empty(0)
        self.functions = [
            ManyPoints(with_args(event, args), (), real, "event") for event in events
        ]
        self.count = np.zeros(len(events))
        self.g = [function.single(t0, y0) for function in self.functions]
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
        t, y = _samples(segment, interpolant)
        values = np.empty((len(self.functions), len(t)))
        for function, row in zip(self.functions, values, strict=True):
            self._many(function, t, y, row)
        g = np.concatenate([np.reshape(self.g, (-1, 1)), values], axis=1)
        times = np.concatenate([segment.t[:1], t])
        start = 0
        for k in np.flatnonzero(np.isnan(values).any(axis=0)):
            stop = self._search(times[start : k + 1], g[:, start : k + 1], interpolant)
            if stop is not None:
                return stop
            # values that could not be had ahead are due now, and what the
            # event raises arrives
            for index in np.flatnonzero(np.isnan(values[:, k])):
                g[index, k + 1] = self.functions[index].single(t[k], y[:, k])
            start = k
        stop = self._search(times[start:], g[:, start:], interpolant)
        self.g = list(g[:, -1])
        return stop

    def times(self):
        """For each event, the times found, shape (k,)."""
        return [np.asarray(times) for times in self.t_events]

    def states(self):
        """For each event, the states found, shape (k, n)."""
        return [np.asarray(states) for states in self.y_events]

    def _search(self, t, g, interpolant):
        found = []
        for index, function in enumerate(self.functions):
            steps = _active_steps(g[index], self.direction[index])
            if len(steps) == 0:
                continue
            try:
                roots = _roots(function, interpolant(), t, g[index], steps)
            except _Disagreement:
                function.time_vectorized = False
                g[index, 1:] = function(t[1:], interpolant()(t[1:]))
                steps = _active_steps(g[index], self.direction[index])
                roots = _roots(function, interpolant(), t, g[index], steps)
            found += [(root, index) for root in roots]
        forward = t[-1] >= t[0]
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
        with np.errstate(all="ignore"):
            function(t, y, values)
            if not function.confirmed(t, y, values):
                function(t, y, values)


def _samples(segment, interpolant):
    """Points between the first, exclusive, and the last of a segment.

    Steps are long, so that every one is looked at in a few places.
    """
    if not np.all(np.diff(segment.t)):
        return segment.t[1:], segment.y[:, 1:]
    t = split(segment.t, np.full(len(segment.t) - 1, SAMPLES))[1:]
    t[SAMPLES - 1 :: SAMPLES] = segment.t[1:]
    return t, interpolant()(t)


def _limit(event):
    """Read the number of hits that ends the integration off `terminal`."""
    terminal = getattr(event, "terminal", None)
    if terminal is None or terminal == 0:
        return np.inf
    number = isinstance(terminal, numbers.Real | np.bool_)
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
    if direction > 0:
        return np.flatnonzero(up)
    return np.flatnonzero(down) if direction < 0 else np.flatnonzero(up | down)


def _roots(function, interpolant, t, g, steps):
    """Zeros of the event on the given steps, to four units of rounding.

    Raises
    ------
    _Disagreement
        If single calls do not change sign where broadcast values did.
    """
    brackets = []
    for k in steps:
        a, b = float(t[k]), float(t[k + 1])
        g_a = function.single(a, interpolant.at(a))
        g_b = function.single(b, interpolant.at(b))
        if np.sign(g_a) * np.sign(g_b) > 0:
            if function.time_vectorized:
                raise _Disagreement
            continue
        brackets.append((a, b, g_a, g_b))
    crossings = all(g_a != 0 != g_b for _, _, g_a, g_b in brackets)
    if crossings and len(brackets) >= MANY_ROOTS and function.time_vectorized:
        result = find_root(
            lambda s: function(np.atleast_1d(s), interpolant(np.atleast_1d(s))),
            (t[steps], t[steps + 1]),
            tolerances={"xatol": 4 * EPS, "xrtol": 4 * EPS, "fatol": 0, "frtol": 0},
        )
        if result.success.all():
            return [float(x) for x in result.x]
    return [_root(function, interpolant, *bracket) for bracket in brackets]


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
