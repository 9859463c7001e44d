"""The predictor that is made of array operations alone."""

import math
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

from parivp._predictor import Predictor, predict
from parivp._rhs import DeadlineExceeded, Rhs
from parivp._rosenbrock import RODAS3, rosenbrock

PREDICTOR = Predictor((), 1e-2)


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


def run(fun, t_span, y0, tol, max_step=math.inf, atol=None):
    y0, atol = np.array(y0), tol * 1e-3 if atol is None else atol
    arguments = (t_span[0], y0, t_span[1], tol, atol, max_step)
    return list(rosenbrock(Rhs(fun, y0), *arguments))


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_accuracy(problem, tol):
    fun, t_span, y0 = PROBLEMS[problem]
    t, y = run(fun, t_span, y0, tol)[-1]
    exact = solve_ivp(fun, t_span, y0, "Radau", rtol=1e-11, atol=1e-14).y[:, -1]
    assert t == t_span[1]
    assert_allclose(y, exact, rtol=0, atol=200 * tol * np.max(np.abs(exact)))


def test_order():
    """Steps of one length: the error falls as its third power."""
    errors = []
    exact = solve_ivp(forced, (0, 2), [1.0, 1.0], rtol=1e-12, atol=1e-14).y[:, -1]
    for n_steps in (40, 80, 160):
        h = 2.0 / n_steps
        # tolerances that let every step pass, so that the bound is its length
        steps = run(forced, (0.0, 2.0), [1.0, 1.0], 1e9, max_step=h, atol=1e-6)
        assert n_steps <= len(steps) <= n_steps + 6
        errors.append(np.max(np.abs(steps[-1][1] - exact)))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(orders > 2.6)


def test_long_steps_where_it_is_stiff():
    steps = run(fast_relaxation, (0.0, 4.0), [2.0], 1e-3)
    assert len(steps) < 150


def test_coefficients_meet_the_order_conditions():
    """Of the usual form, which these coefficients stand for."""
    s, gamma = len(RODAS3.alpha), RODAS3.gamma
    a, c = np.zeros((s, s)), np.zeros((s, s))
    for i in range(1, s):
        a[i, :i], c[i, :i] = RODAS3.a[i - 1], RODAS3.c[i - 1]
    inverse = np.linalg.inv(np.eye(s) / gamma - c)  # Gamma (Hairer & Wanner, IV.7)
    alpha, b = a @ inverse, (a[-1] + np.eye(s)[-1]) @ inverse
    beta = alpha + inverse
    assert_allclose(alpha.sum(1), RODAS3.alpha, atol=1e-14)
    assert_allclose(inverse.sum(1), RODAS3.gammas, atol=1e-14)
    ones = np.ones(s)
    assert b @ ones == pytest.approx(1)
    assert b @ beta @ ones == pytest.approx(1 / 2)
    assert b @ alpha.sum(1) ** 2 == pytest.approx(1 / 3)
    assert b @ beta @ beta @ ones == pytest.approx(1 / 6)


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
    assert_allclose(library.get(guess.t), known.t, rtol=1e-9)
    times = np.linspace(0.0, 6.0, 50)
    assert_allclose(library.get(guess(library.put(times))), known(times), atol=1e-7)
