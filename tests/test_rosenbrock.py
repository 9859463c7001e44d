"""The predictor that is made of array operations alone."""

import math
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

from parivp._predictor import Predictor, predict
from parivp._rhs import DeadlineExceeded, Rhs
from parivp._rosenbrock import RODAS3, ROS4, rosenbrock

PREDICTOR = Predictor((), 1e-2)
TABLEAUS = {"ROS4": ROS4, "RODAS3": RODAS3}


@pytest.fixture(params=TABLEAUS)
def tableau(request):
    """Coefficients of a method."""
    return TABLEAUS[request.param]


def van_der_pol(t, y):
    return [y[1], (1 - y[0] ** 2) * y[1] - y[0]]


def forced(t, y):
    return [-y[0] + np.sin(3 * t) * y[1] * y[0], np.cos(t) - 0.5 * y[1]]


def robertson(t, y):
    back, forth, fast = 1e4 * y[1] * y[2], 0.04 * y[0], 3e7 * y[1] ** 2
    return [back - forth, forth - back - fast, fast]


def fast_relaxation(t, y):
    return [-1e6 * (y[0] - np.cos(t)) - np.sin(t)]


PROBLEMS = {
    "van der Pol": (van_der_pol, (0.0, 10.0), [2.0, 0.0]),
    "forced": (forced, (0.0, 8.0), [1.0, 1.0]),
    "backward": (forced, (2.0, 1.0), [1.0, 1.0]),
    "robertson": (robertson, (0.0, 1e4), [1.0, 0.0, 0.0]),
    "fast relaxation": (fast_relaxation, (0.0, 4.0), [2.0]),
}


def run(fun, t_span, y0, tol, max_step=math.inf, atol=None, tableau=RODAS3):
    y0, atol = np.array(y0), tol * 1e-3 if atol is None else atol
    arguments = (t_span[0], y0, t_span[1], tol, atol, max_step, tableau)
    return list(rosenbrock(Rhs(fun, y0), *arguments))


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_accuracy(problem, tol, tableau):
    fun, t_span, y0 = PROBLEMS[problem]
    t, y = run(fun, t_span, y0, tol, tableau=tableau)[-1]
    exact = solve_ivp(fun, t_span, y0, "Radau", rtol=1e-11, atol=1e-14).y[:, -1]
    assert t == t_span[1]
    assert_allclose(y, exact, rtol=0, atol=200 * tol * np.max(np.abs(exact)))


def test_order(tableau):
    """Steps of one length: the error falls as a power of it."""
    errors = []
    exact = solve_ivp(forced, (0, 2), [1.0, 1.0], rtol=1e-12, atol=1e-14).y[:, -1]
    for n_steps in (40, 80, 160):
        h = 2.0 / n_steps
        # tolerances that let every step pass, so that the bound is its length
        steps = run(forced, (0.0, 2.0), [1.0, 1.0], 1e9, h, 1e-6, tableau)
        assert n_steps <= len(steps) <= n_steps + 6
        errors.append(np.max(np.abs(steps[-1][1] - exact)))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(orders > tableau.error_order + 0.8)


def test_long_steps_where_it_is_stiff(tableau):
    steps = run(fast_relaxation, (0.0, 4.0), [2.0], 1e-3, tableau=tableau)
    assert len(steps) < 150


def test_coefficients_meet_the_order_conditions(tableau):
    """Of the usual form, which these coefficients stand for."""
    s, gamma = len(tableau.alpha), tableau.gamma
    a, c = np.zeros((s, s)), np.zeros((s, s))
    for i in range(1, s):
        a[i, :i], c[i, :i] = tableau.a[i - 1], tableau.c[i - 1]
    inverse = np.linalg.inv(np.eye(s) / gamma - c)  # Gamma (Hairer & Wanner, IV.7)
    alpha = a @ inverse
    beta, sums = alpha + inverse, alpha.sum(1)
    assert_allclose(sums, tableau.alpha, atol=1e-14)
    assert_allclose(inverse.sum(1), tableau.gammas, atol=1e-14)
    last = np.eye(s)[-1]
    m = np.array(tableau.m or a[-1] + last)
    e = np.array(tableau.e or last)
    for weights, order in (
        (m, tableau.error_order + 1),
        (m - e, tableau.error_order),
    ):
        b = weights @ inverse
        slopes = beta.sum(1)
        known = {
            1: [(b.sum(), 1)],
            2: [(b @ slopes, 1 / 2)],
            3: [(b @ sums**2, 1 / 3), (b @ beta @ slopes, 1 / 6)],
            4: [
                (b @ sums**3, 1 / 4),
                (b @ (sums * (alpha @ slopes)), 1 / 8),
                (b @ beta @ sums**2, 1 / 12),
                (b @ beta @ beta @ slopes, 1 / 24),
            ],
        }
        for k in range(1, order + 1):
            for found, expected in known[k]:
                assert found == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_what_fails_ends_the_trajectory(bad):
    def fun(t, y):
        if t > 1.0:
            if bad is None:
                raise ZeroDivisionError
            return [bad]
        return [-y[0]]

    steps = run(fun, (0.0, 3.0), [1.0], 1e-3)
    assert 0.9 <= steps[-1][0] <= 1.0
    assert steps[-1][1][0] == pytest.approx(np.exp(-steps[-1][0]), rel=1e-2)


def test_steps_are_bounded():
    times = [0.0, *(t for t, _ in run(van_der_pol, (0.0, 5.0), [2.0, 0.0], 1e-2, 0.1))]
    assert np.max(np.diff(times)) <= 0.1 + 1e-15


def test_complex_states():
    y0 = np.array([1.0 + 0j, 2j])
    steps = list(
        rosenbrock(Rhs(lambda t, y: 1j * y, y0), 0.0, y0, 3.0, 1e-5, 1e-8, 9.0)
    )
    assert_allclose(steps[-1][1], y0 * np.exp(3j), rtol=1e-3)


def test_time_is_kept():
    rhs = Rhs(van_der_pol, np.array([2.0, 0.0]))
    rhs.deadline = time.monotonic() - 1
    with pytest.raises(DeadlineExceeded):
        next(rosenbrock(rhs, 0.0, rhs.example, 1.0, 1e-2, 1e-5, math.inf))


def spied(fun, y0):
    """Right-hand side that notes the times of its calls."""
    times = []

    def noting(t, y):
        times.append(np.atleast_1d(t))
        return fun(t, y)

    return Rhs(noting, np.array(y0)), times


@pytest.mark.parametrize(
    "t_span", [(0.0, 1.0), (1e6, 1e6 + 1e-3), (1.7e9 + 10, 1.7e9), (-1e6, 1e-9)]
)
def test_times_outside_are_not_asked_for(t_span, tableau):
    """Neither by stages nor by the differences that slopes in time are made of."""
    length = t_span[1] - t_span[0]
    rhs, times = spied(lambda t, y: (np.cos(10 * t / length) - y) / length, [0.5])
    arguments = (t_span[0], rhs.example, t_span[1], 1e-3, 1e-6, 1e5, tableau)
    t, _ = list(rosenbrock(rhs, *arguments))[-1]
    assert t == t_span[1]
    times = np.concatenate(times)
    assert np.min(times) == min(t_span)
    assert np.max(times) == max(t_span)


def test_time_far_from_zero(tableau):
    """Slopes in time are those of now, however large the time is."""
    far = 2.0**31

    def fun(t, y):
        return -y + np.cos(20 * t)

    near = run(fun, (0.0, 2.0), [0.0], 1e-4, tableau=tableau)
    span = far, far + 2.0
    steps = run(lambda t, y: fun(t - far, y), span, [0.0], 1e-4, tableau=tableau)
    # but for the first, which is not shorter than rounding of the time allows
    assert abs(len(steps) - len(near)) <= 0.05 * len(near)
    assert_allclose(steps[-1][1], near[-1][1], atol=1e-3)


def test_no_step_is_found_in_few_calls():
    """Where the function ends at the start, halving does not go on for ever."""
    rhs, times = spied(lambda t, y: np.where(np.greater(t, 0), np.nan, -1) * y, [1.0])
    assert not list(rosenbrock(rhs, 0.0, rhs.example, 1.0, 1e-2, 1e-5, math.inf))
    assert len(times) < 100


def test_singular_matrices_do_no_harm(tableau):
    """The first one is, with the first step that is tried."""
    rate = 1 / (tableau.gamma * 0.5)
    steps = run(lambda t, y: rate * y, (0.0, 0.5), [1.0], 1e9, 0.5, 1.0, tableau)
    steps += run(lambda t, y: rate * y, (0.0, 2.0), [1.0], 1e-4, 0.5, None, tableau)
    assert steps[-1][1][0] == pytest.approx(np.exp(2 * rate), rel=0.05)


@pytest.mark.parametrize("complex_state", [False, True])
@pytest.mark.parametrize("t_span", [(0.0, 3.0), (3.0, 0.0)])
def test_devices_make_the_same_steps(library, tableau, complex_state, t_span):
    y0 = np.array([1.0, 0.5, 0.0]) + (0.25j if complex_state else 0.0)
    shift = 1j if complex_state else 1.0

    def fun(t, y):
        a, b, c = (y[k, ...] for k in range(3))
        return [b - a, shift * c - 2.0 * b, a * b - c + 0.5 * t]

    tolerances = [1e-3, 1e-3, 1e-2], [1e-6, 1e-5, 1e-6]
    arguments = (t_span[1], *tolerances, 0.5, tableau)
    known = list(rosenbrock(Rhs(fun, y0), t_span[0], y0, *arguments))
    there = library.put(y0)
    found = list(rosenbrock(Rhs(fun, there), t_span[0], there, *arguments))
    assert known[-1][0] == t_span[1]
    assert len(found) == len(known)
    # a hundredth of the tolerance where rounding errors differ
    near = 1e-7 if library.rounds_like_numpy else 1e-5
    for (t, y), (t_known, y_known) in zip(found, known, strict=True):
        assert t == pytest.approx(t_known, rel=near, abs=near)
        assert_allclose(library.get(y), y_known, rtol=10 * near, atol=near)


def test_points_one_by_one(library):
    """Functions that take one time alone, and deadlines met within."""

    def fun(t, y):
        return [-math.sin(float(y[0]))]

    there = library.put([1.0])
    rhs = Rhs(fun, there)
    guess = predict(
        PREDICTOR, rhs, 0.0, there, 2.0, 99, rtol=1e-3, atol=1e-6, max_step=math.inf
    )
    assert rhs.time_vectorized is False
    exact = 2 * np.arctan(np.tan(0.5) * np.exp(-library.get(guess.t)))
    assert_allclose(library.get(guess(guess.t))[0], exact, atol=1e-3)


def test_reads_are_few(library, reads):
    """One number for each step that is tried, and two for the first length."""
    there, tried = library.put([2.0, 0.0]), 0

    def fun(t, y):
        nonlocal tried
        tried += type(t) is float
        return [y[1, ...], (1 - y[0, ...] ** 2) * y[1, ...] - y[0, ...]]

    rhs = Rhs(fun, there, time_vectorized=True)
    reads.clear()
    steps = list(rosenbrock(rhs, 0.0, there, 10.0, 1e-2, 1e-5, math.inf))
    # two further arguments a step; the first length takes a call and its time
    assert len(reads) == (tried - 1) / 2 + 3 < 2 * len(steps) + 3


@pytest.mark.parametrize("t_bound", [math.inf, -math.inf, 1e3])
def test_trajectory_of_so_many_steps(t_bound):
    y0 = np.array([2.0, 0.0])
    options = {"rtol": 1e-2, "atol": 1e-5, "max_step": math.inf}
    fun = van_der_pol if t_bound > 0 else lambda t, y: van_der_pol(-t, y)
    guess = predict(PREDICTOR, Rhs(fun, y0), 0.0, y0, t_bound, 40, **options)
    assert 40 <= guess.steps_between(0.0, guess.t[-1]) <= 50
    direction = 1.0 if t_bound > 0 else -1.0
    assert np.all(direction * np.diff(guess.t) > 0)


@pytest.mark.parametrize("slopes", [True, False])
def test_on_other_libraries(library, slopes):
    y0 = np.array([2.0, 0.0])

    def fun(t, y):
        return [y[1, ...], (1 - y[0, ...] ** 2) * y[1, ...] - y[0, ...]]

    options = {"rtol": 1e-2, "atol": 1e-5, "max_step": math.inf}
    known = predict(
        Predictor((), 1e-2, slopes), Rhs(fun, y0), 0.0, y0, 6.0, 99, **options
    )
    there = library.put(y0)
    predictor = Predictor((), 1e-2, slopes).on(there)
    guess = predict(predictor, Rhs(fun, there), 0.0, there, 6.0, 99, **options)
    # a hundredth of the tolerance where rounding errors differ
    exact = library.rounds_like_numpy
    assert_allclose(library.get(guess.t), known.t, rtol=1e-9 if exact else 1e-4)
    times, near = np.linspace(0.0, 6.0, 50), 1e-7 if exact else 1e-4
    assert_allclose(library.get(guess(library.put(times))), known(times), atol=near)
