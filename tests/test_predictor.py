"""The predictor: LSODA in one call, its steps read from the calls of the function."""

import math
import threading

import numpy as np
import pytest
import scipy.integrate
from numpy.testing import assert_allclose

import parivp
from parivp._predictor import STRETCH, Predictor, predict
from parivp._problems import PROBLEMS
from parivp._rhs import Rhs

RTOL, ATOL = 1e-4, 1e-7
NAMES = ("logistic", "van_der_pol", "arenstorf", "lorenz", "robertson", "hires")


def run(fun, y0, t_span, *, n_steps=math.inf, slopes=True, **options):
    y0 = np.array(y0, dtype=float)
    rhs = Rhs(fun, y0)
    classes = (scipy.integrate.LSODA, scipy.integrate.RK45)
    predictor = Predictor(classes, RTOL, slopes=slopes)
    options = {"rtol": RTOL, "atol": ATOL, "max_step": math.inf} | options
    t0, tf = t_span
    return predict(predictor, rhs, t0, y0, tf, n_steps, **options), rhs


def steps_of_the_class(fun, y0, t_span, **options):
    options = {"rtol": RTOL, "atol": ATOL} | options
    result = scipy.integrate.solve_ivp(fun, t_span, y0, "LSODA", **options)
    return result.t, result.y, result.nfev


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_those_of_the_class(name):
    problem = PROBLEMS[name]
    args = problem.fun, problem.y0, problem.t_span
    trajectory, rhs = run(*args, slopes=name not in ("robertson", "hires"))
    t, y, nfev = steps_of_the_class(*args)
    assert_allclose(trajectory.t, t, rtol=1e-12)
    assert trajectory.t[-1] == problem.t_span[1]
    # but for a last correction
    error = np.abs(trajectory(t) - y) / (ATOL + RTOL * np.abs(y))
    assert np.median(np.max(error, axis=0)) < 1
    assert np.max(error) < 30
    assert_allclose(trajectory(t[:1])[:, 0], problem.y0, rtol=1e-15)
    assert rhs.n_points >= nfev


@pytest.mark.parametrize("tf", [-3.0, 3.0])
def test_both_directions(tf):
    trajectory, _ = run(lambda t, y: np.cos(t) * y, [1.0], (0.0, tf))
    t, _, _ = steps_of_the_class(lambda t, y: np.cos(t) * y, [1.0], (0.0, tf))
    assert_allclose(trajectory.t, t, rtol=1e-12)
    assert_allclose(trajectory(t)[0], np.exp(np.sin(t)), rtol=1e-2)


def test_no_step_is_longer_than_allowed():
    trajectory, _ = run(lambda t, y: -y, [1.0], (0.0, 3.0), max_step=0.1)
    assert np.max(np.diff(trajectory.t)) <= 0.1 * (1 + 1e-12)


def test_ends_after_the_steps_asked_for():
    problem = PROBLEMS["lorenz"]
    args = problem.fun, problem.y0, problem.t_span
    trajectory, _ = run(*args, n_steps=100)
    t, _, _ = steps_of_the_class(*args)
    assert_allclose(trajectory.t, t[:101], rtol=1e-12)


def test_goes_on_where_little_is_left():
    problem = PROBLEMS["van_der_pol"]
    args = problem.fun, problem.y0, problem.t_span
    t, _, _ = steps_of_the_class(*args)
    n_steps = int(0.95 * (len(t) - 1))
    trajectory, _ = run(*args, n_steps=n_steps)
    assert trajectory.t[-1] == problem.t_span[1]
    assert n_steps < len(trajectory.t) - 1 <= STRETCH * n_steps


def test_keeps_what_came_before_an_exception():
    def fun(t, y):
        if t > 1:
            raise ZeroDivisionError
        return -y

    trajectory, _ = run(fun, [1.0], (0.0, 3.0))
    assert 0.5 < trajectory.t[-1] <= 1
    assert_allclose(trajectory(trajectory.t)[0], np.exp(-trajectory.t), rtol=1e-2)


def test_function_that_runs_lsoda_itself():
    """LSODA cannot run inside itself; another class takes its place."""

    def fun(t, y):
        inner = scipy.integrate.odeint(lambda t, z: -z, [1.0], [0, 1], tfirst=True)
        return -y * inner[-1, 0]

    result = parivp.solve_ivp(fun, (0, 2), [1.0], rtol=1e-6, atol=1e-9)
    assert result.success
    assert_allclose(result.y[0, -1], np.exp(-2 * np.exp(-1)), rtol=1e-5)


def test_function_that_keeps_its_argument_and_returns_a_buffer():
    kept, buffer = [], np.empty(2)

    def fun(t, y):
        kept.append(y)
        buffer[...] = [y[1], -y[0]]
        return buffer

    trajectory, _ = run(fun, [0.0, 1.0], (0.0, 3.0))
    t = trajectory.t
    assert_allclose(trajectory(t), [np.sin(t), np.cos(t)], atol=1e-2)


def test_threads():
    """Functions of different sizes take turns within their integrations."""
    wrong = []

    def solve(n):
        rates = np.arange(1.0, n + 1)
        for _ in range(5):
            trajectory, _ = run(lambda t, y: -rates * y, np.ones(n), (0.0, 2.0))
            error = trajectory(trajectory.t)[:, -1] - np.exp(-2 * rates)
            if np.max(np.abs(error)) > 1e-2:
                wrong.append(n)

    threads = [threading.Thread(target=solve, args=(n,)) for n in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
