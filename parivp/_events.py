"""Events: sign changes over all accepted steps at once, then their roots."""

import numpy as np
from scipy.optimize import brentq
from scipy.optimize.elementwise import find_root

from ._mesh import split
from ._rhs import ManyPoints, sample_columns

__all__ = ["EventSearch"]

EPS = np.finfo(np.float64).eps
# From this many roots on, one vectorized search beats a loop over brentq.
MANY_ROOTS = 16
# Points of every step at which the signs of the events are compared.
SAMPLES = 4


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
        events = (events,) if callable(events) else tuple(events)
        self.limit = np.array([_limit(event) for event in events])
        self.direction = [getattr(event, "direction", 0) for event in events]
        self.functions = [
            ManyPoints(_with_args(event, args), (), float, "event") for event in events
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
        bad = np.isnan(values).any(axis=0)
        n = int(np.argmax(bad)) if bad.any() else len(bad)
        times = np.concatenate([segment.t[:1], t])
        stop = self._search(times[: n + 1], g[:, : n + 1], interpolant)
        if stop is None and n < len(bad):
            # values that could not be had ahead: now they are due, and what
            # the event raises arrives
            for index, k in zip(*np.nonzero(np.isnan(values)), strict=True):
                g[index, k + 1] = self.functions[index].single(t[k], y[:, k])
            stop = self._search(times[n:], g[:, n:], interpolant)
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
            if len(steps):
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
            if function.check and function.time_vectorized:
                columns = [k for k in sample_columns(y) if not np.isnan(values[k])]
                if not function.agrees(t, y, values, columns):
                    function.time_vectorized = False
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
    """Number of hits that ends the integration, from attribute `terminal`."""
    terminal = getattr(event, "terminal", None)
    if terminal is None or terminal == 0:
        return np.inf
    if int(terminal) == terminal and terminal > 0:
        return terminal
    raise ValueError(
        "The `terminal` attribute of each event must be a boolean or positive "
        f"integer, but actually is {terminal!r}."
    )


def _with_args(event, args):
    return (lambda t, y: event(t, y, *args)) if args else event


def _active_steps(g, direction):
    """Steps over which `g` changes sign in the wanted direction."""
    up = (g[:-1] <= 0) & (g[1:] >= 0)
    down = (g[:-1] >= 0) & (g[1:] <= 0)
    if direction > 0:
        return np.flatnonzero(up)
    return np.flatnonzero(down) if direction < 0 else np.flatnonzero(up | down)


def _roots(function, interpolant, t, g, steps):
    """Zeros of the event on the given steps, to four units of rounding."""
    if len(steps) >= MANY_ROOTS and function.time_vectorized:
        result = find_root(
            lambda s: function(np.atleast_1d(s), interpolant(np.atleast_1d(s))),
            (t[steps], t[steps + 1]),
            tolerances={"xatol": 4 * EPS, "xrtol": 4 * EPS, "fatol": 0, "frtol": 0},
        )
        if result.success.all():
            return [float(x) for x in result.x]
    return [_root(function, interpolant, t[k], t[k + 1], g[k], g[k + 1]) for k in steps]


def _root(function, interpolant, a, b, g_a, g_b):
    if g_a == 0 or g_b == 0:
        return float(a if g_a == 0 else b)
    return brentq(
        lambda s: float(function.single(s, interpolant.at(s))),
        a,
        b,
        xtol=4 * EPS,
        rtol=4 * EPS,
    )
