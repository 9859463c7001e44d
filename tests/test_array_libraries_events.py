"""Events on any array library: as SciPy finds them, and what becomes of odd ones."""

import math

import numpy as np
import pytest
import scipy.integrate
from numpy.testing import assert_allclose
from scipy.optimize import brentq

from parivp import solve_ivp
from parivp._events import EPS, MANY_ROOTS, _interpolate_truncate_project

OPTIONS = {"rtol": 1e-9, "atol": 1e-11}
# Long windows of short steps: many roots in each.
MANY = {"rtol": 1e-8, "atol": 1e-8, "max_step": 0.1, "window": 2000}


def oscillator(t, y):
    return [y[1, ...], -y[0, ...]]


def rotation(t, y):
    return 1j * y


def event(function, terminal=None, direction=None):
    """Make an event with the attributes given."""

    def g(t, y):
        return function(t, y)

    if terminal is not None:
        g.terminal = terminal
    if direction is not None:
        g.direction = direction
    return g


def position(t, y):
    return y[0, ...]


# -- roots of many brackets ------------------------------------------------------

FUNCTIONS = {
    "line": lambda xp, x: 3.0 * x - 1.0,
    "cubic": lambda xp, x: (x - 0.3) ** 3,
    "flat": lambda xp, x: (x - 0.3) ** 9,
    "steep": lambda xp, x: xp.exp(40.0 * x) - 1e6,
    "pole-like": lambda xp, x: 1e-3 - 1.0 / (1.0 + 1e6 * (x - 0.9) ** 2) - 1e-4 * x,
    "jump": lambda xp, x: xp.where(x < 0.6180339, -1.0 + 0.0 * x, 1e12),
    "huge": lambda xp, x: 1e300 * (x - 0.123),
    "tiny": lambda xp, x: 1e-300 * (x - 0.123),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_zeros_of_brackets(library, name, backward, offset):
    """To the last digits, in no more steps than bisection takes and one."""
    xp, fun = library.xp, FUNCTIONS[name]
    # so far from a zero of the first and third that these do not lie at an end
    left, right = np.linspace(-3.0, -0.01, 20), np.linspace(0.95, 4.0, 20)
    if name == "pole-like":  # its zeros lie close to each other
        left, right = np.linspace(-0.5, 0.5, 20), np.full(20, 0.9)
    a, b = (offset + left, offset + right)[:: -1 if backward else 1]
    n_calls = 0

    def g(s):
        nonlocal n_calls
        n_calls += 1
        return fun(xp, s - offset)

    def g_numpy(s):
        return float(fun(np, s - offset))

    ends = [library.put(values) for values in (a, b)]
    zeros = library.get(
        _interpolate_truncate_project(xp, g, *ends, *(g(end) for end in ends))
    )
    assert np.all((np.minimum(a, b) <= zeros) & (zeros <= np.maximum(a, b)))
    width = 2 * EPS * np.maximum(abs(a), abs(b)) + EPS**2
    assert n_calls - 2 <= np.max(np.ceil(np.log2(abs(b - a) / (2 * width)))) + 2
    for zero, *bracket, allowed in zip(zeros, a, b, 4 * width, strict=True):
        values = g_numpy(zero - allowed), g_numpy(zero), g_numpy(zero + allowed)
        assert 0.0 in values or values[0] < 0 < values[2] or values[2] < 0 < values[0]
        if name == "line":
            expected = brentq(g_numpy, *bracket, xtol=4 * EPS, rtol=4 * EPS)
            assert abs(zero - expected) <= 2 * allowed


def test_zeros_that_are_hit_at_once(library):
    a, b = library.put([-1.0] * 3), library.put([1.0, 3.0, 1.0])
    zeros = _interpolate_truncate_project(
        library.xp, lambda s: s, a, b, library.put([-1.0] * 3), b
    )
    assert_allclose(library.get(zeros), 0.0, atol=4 * EPS)


def test_no_zero_where_the_function_is_undefined(library):
    """Halving goes on past NaN, but what it comes to is not a zero."""
    xp, nan = library.xp, library.put(math.nan)

    def g(s):
        return xp.where(xp.abs(s - 0.3) < 1e-3, nan, s - 0.3)

    a, b = library.put([0.0, 0.5]), library.put([1.0, 0.2])
    zeros = library.get(_interpolate_truncate_project(xp, g, a, b, g(a), g(b)))
    assert np.isnan(zeros).all()


# -- events ----------------------------------------------------------------------


@pytest.mark.parametrize("t_span", [(0.0, 14.0), (14.0, 0.0)])
@pytest.mark.parametrize("direction", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("terminal", [None, 2])
def test_as_scipy_finds_them(library, method, t_span, direction, terminal):
    events = [
        event(position, terminal, direction),
        event(lambda t, y: y[1, ...] - 0.5),
    ]
    found = solve_ivp(
        oscillator, t_span, library.put([0.2, 1.0]), method, events=events, **OPTIONS
    )
    numpys_events = [
        event(lambda t, y: y[0], terminal, direction),
        event(lambda t, y: y[1] - 0.5),
    ]
    expected = scipy.integrate.solve_ivp(
        lambda t, y: [y[1], -y[0]],
        t_span,
        [0.2, 1.0],
        "DOP853",
        events=numpys_events,
        **OPTIONS,
    )
    assert found.status == expected.status
    assert len(found.t_events) == len(found.y_events) == 2
    for k in range(2):
        times, states = library.get(found.t_events[k]), library.get(found.y_events[k])
        assert_allclose(times, expected.t_events[k], rtol=0, atol=1e-6)
        assert_allclose(states, expected.y_events[k], rtol=0, atol=1e-6)
    assert bool(terminal) == (found.status == 1)
    if terminal:
        assert float(found.t[-1]) == library.get(found.t_events[0])[-1]


RETURNS = {
    "float": lambda t, y: float(y[0]),
    "0-d array": lambda t, y: y[0],
    "one-element array": lambda t, y: y[:1],
    "array": position,
    "list": lambda t, y: [y[0]],
}


@pytest.mark.parametrize("kind", RETURNS)
def test_what_events_may_return(library, kind):
    found = solve_ivp(
        oscillator,
        (0.0, 10.0),
        library.put([1.0, 0.0]),
        events=event(RETURNS[kind]),
        **OPTIONS,
    )
    times = library.get(found.t_events[0])
    assert_allclose(times, np.pi * np.array([0.5, 1.5, 2.5]), rtol=0, atol=1e-7)


def test_time_of_events(library):
    """Of time alone: a number for one, an array on the device for many."""
    seen = set()

    def g(t, y):
        seen.add(type(t))
        return t - 1.25

    found = solve_ivp(oscillator, (0.0, 10.0), library.put([1.0, 0.0]), events=g)
    assert seen == {float, type(library.put(0.0))}
    assert_allclose(library.get(found.t_events[0]), [1.25], rtol=4 * EPS)


def test_complex_states(library, method):
    xp = library.xp
    found = solve_ivp(
        rotation,
        (0.0, 5.0),
        library.put([1.0 + 0j]),
        method,
        events=[lambda t, y: xp.real(y[0, ...]), lambda t, y: xp.real(y[0, ...]) + 9],
        **OPTIONS,
    )
    assert_allclose(library.get(found.t_events[0]), [np.pi / 2, 3 * np.pi / 2], 1e-7)
    assert_allclose(library.get(found.y_events[0]), [[1j], [-1j]], atol=1e-7)
    assert library.get(found.t_events[1]).shape == (0,)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_many_roots_of_one_window(library, sign):
    found = solve_ivp(
        oscillator,
        (0.0, sign * 150.0),
        library.put([1.0, 0.0]),
        events=position,
        **MANY,
    )
    times = library.get(found.t_events[0])
    expected = sign * np.pi * (np.arange(48) + 0.5)
    assert len(times) == 48 > MANY_ROOTS
    assert_allclose(times, expected, rtol=0, atol=1e-5)
    states = library.get(found.y_events[0])
    assert_allclose(states[:, 0], 0, atol=1e-13)


class _Raised(Exception):
    pass


def at_one_of_the_zeros(xp, t, x):
    """Close to the 14th of `MANY`, on both sides, where no sample is."""
    return (xp.abs(x) < 1e-5) & (t > 42.0) & (t < 43.0)


def test_events_that_raise_between_the_points_that_were_looked_at(library):
    """They are not called there by chance: what they raise arrives, as from SciPy."""
    xp = library.xp

    def g(t, y):
        x = y[0, ...]
        if bool(xp.any(at_one_of_the_zeros(xp, t, x))):
            raise _Raised
        return x

    y0 = library.put([1.0, 0.0])
    with pytest.raises(_Raised):
        solve_ivp(oscillator, (0.0, 100.0), y0, events=g, **MANY)


def test_events_undefined_between_the_points_that_were_looked_at(library):
    xp, nan = library.xp, library.put(math.nan)

    def g(t, y):
        x = y[0, ...]
        return xp.where(at_one_of_the_zeros(xp, t, x), nan, x)

    y0 = library.put([1.0, 0.0])
    with pytest.raises(ValueError, match="NaN"):
        solve_ivp(oscillator, (0.0, 100.0), y0, events=g, **MANY)


def test_event_that_looks_at_all_points_at_once(library):
    """Broadcast values disagree with single ones, which count."""
    xp = library.xp

    def g(t, y):
        x = y[0, ...]
        return x + 0.5 if bool(xp.any(x < -0.9)) and x.ndim else x

    y0 = library.put([1.0, 0.0])
    found = solve_ivp(oscillator, (0.0, 10.0), y0, events=g, **OPTIONS)
    times = library.get(found.t_events[0])
    assert_allclose(times, np.pi * np.array([0.5, 1.5, 2.5]), rtol=0, atol=1e-7)


def test_reads_grow_with_the_roots_and_not_with_the_steps(library, reads):
    numbers = []
    for n_steps in (400, 800):
        counts = []
        for events in (None, lambda t, y: y[0, ...]):
            reads.clear()
            options = {"tableau": "RK4", "n_steps": n_steps, "events": events}
            options |= {"initial_guess": 1.0, "window": math.inf}
            y0 = library.put([1.0, 0.0])
            assert solve_ivp(oscillator, (0.0, 3.0), y0, **options).success
            counts.append(len(reads))
        numbers.append(counts[1] - counts[0])
    assert 0 < max(numbers) <= min(numbers) + 10
    assert set(reads) == {()}
