"""Stiff problems: ScanNewtonImplicit beside SciPy's Radau, and against the truth."""

import functools
import itertools
import math
import re
import time
import tracemalloc
from dataclasses import dataclass

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.optimize
import scipy.sparse
import scipy.sparse.linalg
from hypothesis import assume, given, reject
from numpy.testing import assert_allclose, assert_array_equal

import parivp
from parivp._problems import PROBLEMS

METHOD = "ScanNewtonImplicit"
EPS = np.finfo(float).eps
RTOLS = (1e-3, 1e-6, 1e-9)
STIFF = tuple(problem.name for problem in PROBLEMS.values() if problem.stiff)
LARGE = tuple(problem.name for problem in PROBLEMS.values() if "large" in problem.tags)
# What is asked of every case, and of the geometric mean over all of them: accuracy
# that nobody asked for is time wasted.
WORST, MOST_ACCURATE = 3.0, 1 / 100


def solve(problem, rtol=1e-6, method=METHOD, **options):
    """Solve a problem of the registry, with atol = rtol / 1000 and its pattern."""
    if "large" in problem.tags and "jac" not in options:
        options.setdefault("jac_sparsity", problem.jac_sparsity)
    if method == METHOD:
        options.setdefault("timeout", 20)
    options = {"rtol": rtol, "atol": 1e-3 * rtol} | options
    solve_ivp = parivp.solve_ivp if method == METHOD else scipy.integrate.solve_ivp
    return solve_ivp(problem.fun, problem.t_span, problem.y0, method, **options)


# -- accuracy of the end point ------------------------------------------------------


@functools.cache
def end_point_errors(name, rtol):
    """Relative errors of ScanNewtonImplicit and of Radau at equal tolerances.

    Below `Problem.rounding` rounding decides. Where the solution has come to rest, a
    method may be right to far more digits than it was asked for: there nothing is to be
    learnt below a thousandth of the absolute tolerance. Nor how far beyond its size an
    end point is that Radau has missed, which depends on rounding errors.
    """
    problem = PROBLEMS[name]
    ours, radau = solve(problem, rtol), solve(problem, rtol, "Radau")
    assert ours.success, ours.message
    assert radau.success
    floor = max(problem.rounding, 1e-3 * (1e-3 * rtol))
    ours, radau = (max(problem.error(r.y[:, -1]), floor) for r in (ours, radau))
    return ours, min(radau, 1.0)


@pytest.mark.parametrize("rtol", RTOLS)
@pytest.mark.parametrize("name", STIFF)
def test_never_much_less_accurate_than_radau(name, rtol):
    ours, radau = end_point_errors(name, rtol)
    assert ours <= WORST * radau


def test_calibrated_on_average():
    errors = [end_point_errors(*case) for case in itertools.product(STIFF, RTOLS)]
    mean = np.exp(np.mean([np.log(ours / radau) for ours, radau in errors]))
    assert MOST_ACCURATE <= mean <= WORST


def test_flame_ignites_in_time():
    """The end point says nothing: the flame front is where the error shows."""
    problem = PROBLEMS["flame"]
    w = 1 / problem.y0[0] - 1
    exact = w + np.log(w) - 1.0  # w(y) + log w(y) = w0 + log w0 - t, at w = 1

    def half(t, y):
        return y[0] - 0.5

    for rtol in RTOLS:
        ours = solve(problem, rtol, events=half).t_events[0]
        radau = solve(problem, rtol, "Radau", events=half).t_events[0]
        assert len(ours) == 1
        assert abs(ours[0] - exact) <= max(
            WORST * abs(radau[0] - exact), 16 * EPS * exact
        )


@pytest.mark.parametrize("name", ["van_der_pol_stiff", "oregonator"])
@pytest.mark.parametrize("rtol", [1e-5, 1e-7])
def test_end_point_backward_from_a_stiff_start(name, rtol):
    """Mirrored in time, t -> -t: the same problem, run towards falling times."""
    problem = PROBLEMS[name]
    result = parivp.solve_ivp(
        lambda t, y: -np.asarray(problem.fun(-t, y)),
        (0, -problem.t_span[1]),
        problem.y0,
        METHOD,
        rtol=rtol,
        atol=1e-3 * rtol,
        timeout=20,
    )
    assert result.success, result.message
    radau = problem.error(solve(problem, rtol, "Radau").y[:, -1])
    assert problem.error(result.y[:, -1]) <= WORST * radau


# -- no order reduction disasters ---------------------------------------------------


def between_steps(t, points=7):
    """Points within every step."""
    return (
        t[:-1, None] + np.diff(t)[:, None] * np.linspace(0.05, 0.95, points)
    ).ravel()


@pytest.mark.parametrize("rtol", RTOLS)
@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("rate", [-1e2, -1e4, -1e6, -1e8])
def test_prothero_robinson_along_the_way(rate, offset, rtol):
    """y' = rate (y - sin t) + cos t, from `offset` off its smooth solution.

    Errors are damped, never amplified, so that those of the steps are all there is.
    """

    def fun(t, y):
        return rate * (y - np.sin(t)) + np.cos(t)

    def exact(t):
        return np.sin(t) + offset * np.exp(rate * t)

    result = parivp.solve_ivp(
        fun,
        (0, 10),
        [offset],
        METHOD,
        rtol=rtol,
        atol=1e-3 * rtol,
        dense_output=True,
        timeout=20,
    )
    assert result.success, result.message
    t = np.sort(np.concatenate([result.t, between_steps(result.t)]))
    assert_allclose(result.y[0], exact(result.t), rtol=0, atol=100 * rtol)
    assert_allclose(result.sol(t)[0], exact(t), rtol=0, atol=100 * rtol)
    # where the solution is smooth there is no reason for short steps
    assert result.nsteps < 2000


# -- fixed steps: the recursions ----------------------------------------------------

ROOT6 = math.sqrt(6)
# Rows of the Butcher matrix, weights, nodes; from the literature.
RECURSIONS = {
    "BackwardEuler": ([[1.0]], [1.0], [1.0]),
    "ImplicitMidpoint": ([[0.5]], [1.0], [0.5]),
    "Trapezoid": ([[0.0, 0.0], [0.5, 0.5]], [0.5, 0.5], [0.0, 1.0]),
    "RadauIIA3": (
        [[5 / 12, -1 / 12], [3 / 4, 1 / 4]],
        [3 / 4, 1 / 4],
        [1 / 3, 1.0],
    ),
    "RadauIIA5": (
        [
            [
                (88 - 7 * ROOT6) / 360,
                (296 - 169 * ROOT6) / 1800,
                (-2 + 3 * ROOT6) / 225,
            ],
            [
                (296 + 169 * ROOT6) / 1800,
                (88 + 7 * ROOT6) / 360,
                (-2 - 3 * ROOT6) / 225,
            ],
            [(16 - ROOT6) / 36, (16 + ROOT6) / 36, 1 / 9],
        ],
        [(16 - ROOT6) / 36, (16 + ROOT6) / 36, 1 / 9],
        [(4 - ROOT6) / 10, (4 + ROOT6) / 10, 1.0],
    ),
    "GaussLegendre4": (
        [[1 / 4, 1 / 4 - math.sqrt(3) / 6], [1 / 4 + math.sqrt(3) / 6, 1 / 4]],
        [1 / 2, 1 / 2],
        [1 / 2 - math.sqrt(3) / 6, 1 / 2 + math.sqrt(3) / 6],
    ),
}
# R(z) of y' = lambda y, z = h lambda, from the literature (Hairer & Wanner II, IV.3).
STABILITY = {
    "BackwardEuler": lambda z: 1 / (1 - z),
    "ImplicitMidpoint": lambda z: (1 + z / 2) / (1 - z / 2),
    "Trapezoid": lambda z: (1 + z / 2) / (1 - z / 2),
    "RadauIIA3": lambda z: (1 + z / 3) / (1 - 2 * z / 3 + z**2 / 6),
    "RadauIIA5": lambda z: (
        (1 + 2 * z / 5 + z**2 / 20) / (1 - 3 * z / 5 + 3 * z**2 / 20 - z**3 / 60)
    ),
    "GaussLegendre4": lambda z: (1 + z / 2 + z**2 / 12) / (1 - z / 2 + z**2 / 12),
}


class NoConvergence(Exception):
    """Plain Newton iterations, from the state before, do not solve a step."""


def recursion(fun, jac, mesh, y0, tableau):
    """Plain sequential steps: Newton's method for the stages of one after another.

    In the increments z_i = Y_i - y, which keep their digits where y is large.
    """
    rows, weights, nodes = (np.array(part) for part in RECURSIONS[tableau])
    y = np.array(y0, dtype=float)
    stages, n = len(nodes), y.size
    out = [y]
    for t, h in zip(mesh[:-1], np.diff(mesh), strict=True):
        z = np.zeros((stages, n))
        times = t + nodes * h
        for _ in range(50):
            f = np.array([fun(s, y + zi) for s, zi in zip(times, z, strict=True)])
            residual = z - h * rows @ f
            matrix = np.eye(stages * n)
            for j, s in enumerate(times):
                J = np.asarray(jac(s, y + z[j]))
                matrix[:, j * n : (j + 1) * n] -= h * np.kron(rows[:, j : j + 1], J)
            update = np.linalg.solve(matrix, residual.ravel()).reshape(stages, n)
            z -= update
            if np.all(np.abs(update) <= 1e-14 * np.max(np.abs(y + z), initial=1e-300)):
                break
        else:
            raise NoConvergence(f"no convergence at t = {t}")
        # z = h A f(Y): stages at the end need no further evaluation, and none that
        # would multiply what is left of their residual by h lambda
        if np.array_equal(rows[-1], weights):
            y = y + z[-1]
        else:
            f = np.array([fun(s, y + zi) for s, zi in zip(times, z, strict=True)])
            y = y + h * weights @ f
        out.append(y)
    return np.array(out).T


def assert_reproduces(result, expected, rtol=1e-10):
    """Relative to the size of each component, since they may pass through zero."""
    assert result.status == 0, result.message
    size = np.max(np.abs(expected), axis=1, keepdims=True)
    assert_allclose(result.y / size, expected / size, rtol=0, atol=rtol)


@pytest.mark.parametrize("tableau", RECURSIONS)
@pytest.mark.parametrize("n_steps", [10, 100, 1000, 10_000])
@pytest.mark.parametrize("with_jac", [False, True])
def test_dahlquist_by_its_stability_function(tableau, n_steps, with_jac):
    problem = PROBLEMS["dahlquist"]
    result = parivp.solve_ivp(
        problem.fun,
        (0, 1),
        [1.0],
        METHOD,
        tableau=tableau,
        n_steps=n_steps,
        jac=problem.jac if with_jac else None,
    )
    assert result.nsteps == n_steps
    assert_allclose(result.t, np.linspace(0, 1, n_steps + 1), rtol=1e-14)
    powers = STABILITY[tableau](-1000 / n_steps) ** np.arange(n_steps + 1)
    assert_reproduces(result, powers[None])


def test_recursions_of_the_tests_agree_with_their_stability_functions():
    """The oracle itself."""
    mesh = np.linspace(0, 1, 21)
    problem = PROBLEMS["dahlquist"]
    for tableau, function in STABILITY.items():
        y = recursion(problem.fun, problem.jac, mesh, [1.0], tableau)
        assert_allclose(y[0], function(-50.0) ** np.arange(21), rtol=1e-11, atol=1e-14)


@functools.cache
def robertson_recursion(tableau, n_steps, end=500.0):
    problem = PROBLEMS["robertson"]
    mesh = np.linspace(0, end, n_steps + 1)
    return recursion(problem.fun, problem.jac, mesh, problem.y0, tableau)


def reproduce_robertson(tableau, n_steps, end=500.0, **options):
    problem = PROBLEMS["robertson"]
    result = parivp.solve_ivp(
        problem.fun,
        (0, end),
        problem.y0,
        METHOD,
        tableau=tableau,
        n_steps=n_steps,
        **options,
    )
    assert_reproduces(result, robertson_recursion(tableau, n_steps, end))


@pytest.mark.parametrize("tableau", RECURSIONS)
def test_robertson_recursion(tableau):
    reproduce_robertson(tableau, 500, end=50.0)


@pytest.mark.parametrize("tableau", ["BackwardEuler", "Trapezoid", "RadauIIA5"])
@pytest.mark.parametrize("with_jac", [False, True])
def test_robertson_recursion_of_the_paper(tableau, with_jac):
    jac = PROBLEMS["robertson"].jac if with_jac else None
    reproduce_robertson(tableau, 5000, jac=jac)


@pytest.mark.slow
@pytest.mark.parametrize("tableau", ["BackwardEuler", "Trapezoid", "RadauIIA5"])
@pytest.mark.parametrize("n_steps", [50_000, 100_000])
def test_robertson_recursion_over_many_steps(tableau, n_steps):
    reproduce_robertson(tableau, n_steps)


@pytest.mark.parametrize("window", [1, 7, 100, np.inf])
def test_recursion_does_not_depend_on_the_window(window):
    reproduce_robertson("BackwardEuler", 500, end=50.0, window=window)


@pytest.mark.parametrize("tableau", RECURSIONS)
@pytest.mark.parametrize("direction", [1, -1])
def test_mesh_is_taken_as_it_is(tableau, direction):
    """Uneven steps, in both directions, with a right-hand side that uses t."""
    rng = np.random.default_rng(0)
    mesh = direction * np.concatenate([[0], np.cumsum(rng.uniform(0.001, 0.03, 100))])

    def fun(t, y):
        return [y[1] * np.cos(t), -y[0] - 0.1 * y[1] * y[0]]

    def jac(t, y):
        return [[0.0, np.cos(t)], [-1 - 0.1 * y[1], -0.1 * y[0]]]

    y0 = [1.0, 0.5]
    result = parivp.solve_ivp(
        fun, (mesh[0], mesh[-1]), y0, METHOD, tableau=tableau, mesh=mesh
    )
    assert_array_equal(result.t, mesh)
    assert_reproduces(result, recursion(fun, jac, mesh, y0, tableau), rtol=1e-11)


@pytest.mark.parametrize("h", [0.5, 2.0, 10.0, 100.0])
@pytest.mark.parametrize("with_jac", [False, True])
@pytest.mark.parametrize("n_steps", [1, 2, 5])
def test_long_steps_are_solved_to_the_end(h, with_jac, n_steps):
    """y' = tanh(c(t) - y), backward Euler: z + h tanh(z - c) is y, with one root."""

    def target(t):
        return 0.5 + np.sin(t)

    def fun(t, y):
        return np.tanh(target(t) - y)

    def jac(t, y):
        return np.reshape(-1 / np.cosh(target(t) - y[0]) ** 2, (1, 1, *np.shape(t)))

    tf = n_steps * h
    result = parivp.solve_ivp(
        fun,
        (0, tf),
        [0.0],
        METHOD,
        tableau="BackwardEuler",
        n_steps=n_steps,
        jac=jac if with_jac else None,
    )
    y = 0.0
    expected = [y]
    for t in np.linspace(0, tf, n_steps + 1)[1:]:
        y = scipy.optimize.brentq(
            lambda z, t=t, y=y: z - y - h * fun(t, z), y - 2 * h, y + 2 * h, xtol=1e-15
        )
        expected.append(y)
    assert result.status == 0, result.message
    assert_allclose(result.y[0], expected, rtol=0, atol=1e-10)


def test_dahlquist_takes_one_iteration_from_zeros():
    """Newton's method is exact on a linear problem."""
    problem = PROBLEMS["dahlquist"]
    result = parivp.solve_ivp(
        problem.fun,
        problem.t_span,
        problem.y0,
        METHOD,
        tableau="BackwardEuler",
        n_steps=round(problem.t_span[1] / problem.dt),
        window=np.inf,
        initial_guess=0.0,
        jac=problem.jac,
        newton_tol=1e-13,
    )
    assert result.success
    assert len(result.newton_residuals) == 1
    residuals = result.newton_residuals[0]
    assert residuals[0] == 1.0  # y0 - 0, of the first step; all others solve theirs
    assert residuals[1] < 16 * EPS


def test_residual_history_of_robertson_from_zeros():
    """As published (Iacob, Razavi and Särkkä, Figure 4, in figures).

    From 3e6 the residual of the quadratic term falls to a quarter per iteration, as
    Newton's method falls on a double root, then quadratically.
    """
    problem = PROBLEMS["robertson"]
    result = parivp.solve_ivp(
        problem.fun,
        problem.t_span,
        problem.y0,
        METHOD,
        tableau="BackwardEuler",
        n_steps=round(problem.t_span[1] / problem.dt),
        window=np.inf,
        initial_guess=0.0,
        jac=problem.jac,
        newton_tol=1e-15,
        max_newton=25,
    )
    assert len(result.newton_residuals) == 1
    residuals = np.array(result.newton_residuals[0])
    assert residuals[0] == 1.0
    assert abs(residuals[1] - 3e6) < 0.5e6
    assert_allclose(residuals[1:15] / residuals[2:16], 4, rtol=0.02)
    assert abs(residuals[21] - 1.3e-6) < 0.05e-6
    assert np.all(residuals[23:] < 2 * 1.1e-16)
    assert_reproduces(result, robertson_recursion("BackwardEuler", 5000))


@pytest.mark.parametrize("dt", [0.1, 0.01, 0.003])
def test_van_der_pol_past_its_fold_with_fixed_steps(dt):
    """Undamped Newton fails at the fold, t = 807; whatever comes out must be right.

    Either every step solves the equation of backward Euler, or the end of what was
    solved is stated, in bounded time.
    """
    problem = PROBLEMS["van_der_pol_stiff"]
    t0, tf = 800.0, 812.0
    start = scipy.integrate.solve_ivp(
        problem.fun, (0, t0), problem.y0, "Radau", rtol=1e-10, atol=1e-13
    ).y[:, -1]
    begin = time.monotonic()
    result = parivp.solve_ivp(
        problem.fun,
        (t0, tf),
        start,
        METHOD,
        tableau="BackwardEuler",
        n_steps=round((tf - t0) / dt),
        jac=problem.jac,
        timeout=20,
    )
    assert time.monotonic() - begin < 30
    if result.status == 0:
        assert result.t[-1] == tf
    else:
        assert result.status == -1
        assert re.search("timeout|t = 80[0-9]", result.message)
    assert np.all(np.isfinite(result.y))
    y, h = result.y, np.diff(result.t)
    slopes = np.asarray(problem.fun(result.t[1:], y[:, 1:]))
    residual = np.diff(y, axis=1) - h * slopes
    # Newton's tolerance is met in y; the residual is larger by h times the Jacobian
    jacobians = problem.jac(result.t[1:], y[:, 1:])
    size = 1 + h * np.max(np.abs(jacobians), axis=(0, 1))
    scale = np.max(np.abs(y), axis=1, keepdims=True)
    assert np.all(np.abs(residual) <= 1e-10 * size * scale)


# -- dense output -------------------------------------------------------------------

SMALL = tuple(name for name in STIFF if name not in LARGE)


@functools.cache
def dense_result(name, rtol):
    result = solve(PROBLEMS[name], rtol, dense_output=True)
    assert result.success, result.message
    return result


@pytest.mark.parametrize("rtol", [1e-3, 1e-7])
@pytest.mark.parametrize("name", STIFF)
def test_dense_output_meets_the_steps(name, rtol):
    result = dense_result(name, rtol)
    assert_array_equal(result.sol(result.t), result.y)
    assert_array_equal(result.sol.ts, result.t)
    single = [result.sol(t) for t in result.t]
    assert_array_equal(np.transpose(single), result.y)


@pytest.mark.parametrize("rtol", [1e-3, 1e-7])
@pytest.mark.parametrize("name", STIFF)
def test_dense_output_is_continuous(name, rtol):
    """Approaching a step from both sides, down to the distance of adjacent floats.

    The slope times that distance comes on top of rounding; slopes are those of
    `fun` at most times the number of stages squared (Markov's inequality), for
    which there is ample room.
    """
    result = dense_result(name, rtol)
    problem = PROBLEMS[name]
    t, y = result.t[1:-1], result.y[:, 1:-1]
    size = np.max(np.abs(result.y), axis=1, keepdims=True)
    for side in (-np.inf, np.inf):
        near = np.nextafter(t, side)
        h = np.minimum(np.diff(result.t)[:-1], np.diff(result.t)[1:])
        steepness = np.max(np.abs(np.diff(result.y, axis=1)), axis=1, keepdims=True) / h
        slope = np.abs(np.asarray(problem.fun(t, y))) + steepness
        bound = 100 * EPS * size + 1000 * slope * np.abs(near - t)
        assert np.all(np.abs(result.sol(near) - y) <= bound)


def truth(name, rtol):
    """The solution as a function of time: exact, or by Radau, 1000 times tighter."""
    problem = PROBLEMS[name]
    if callable(problem.reference) and name != "brusselator_pde":
        return lambda t: np.asarray(problem.reference(t))
    return solve(problem, 1e-3 * rtol, "Radau", dense_output=True).sol


def sizes(y):
    """What the tolerance of every component is a multiple of, atol / rtol + |y|."""
    return 1e-3 + np.max(np.abs(y), axis=1, keepdims=True)


@pytest.mark.parametrize("rtol", [1e-4, 1e-7])
@pytest.mark.parametrize("name", [*SMALL, "heat"])
def test_dense_output_is_as_accurate_as_the_steps(name, rtol):
    result = dense_result(name, rtol)
    exact = truth(name, rtol)
    inner = between_steps(result.t, 5)
    size = sizes(result.y)
    at_steps = np.abs(result.y - exact(result.t)) / size
    between = np.abs(result.sol(inner) - exact(inner)) / size
    # errors in time are the same on both sides of a step, not in its middle: on a
    # steep flank the error between the steps is held to the worst of any step
    assert np.max(between) <= 100 * rtol + 10 * np.max(at_steps)


@pytest.mark.parametrize("name", ["robertson", "hires", "pollution"])
def test_t_eval_on_stiff_problems(name):
    problem, rtol = PROBLEMS[name], 1e-6
    t0, tf = problem.t_span
    t_eval = np.concatenate([[t0], np.geomspace(1e-6 * tf, tf, 57)])
    result = solve(problem, rtol, t_eval=t_eval)
    assert_array_equal(result.t, t_eval)
    exact = truth(name, rtol)(t_eval)
    size = sizes(exact)
    assert_allclose(result.y / size, exact / size, rtol=0, atol=100 * rtol)
    dense = dense_result(name, rtol)
    assert_allclose(result.y, dense.sol(t_eval), rtol=1e-12, atol=1e-12 * np.min(size))


def crossing(component, level, direction=0.0):
    def event(t, y):
        return y[component] - level

    event.direction = direction
    return event


def last_crossing(component, level, count):
    event = crossing(component, level)
    event.terminal = count
    return event


EVENTS = {
    "robertson": [crossing(0, 0.9), crossing(2, 0.5), crossing(1, 3e-5)],
    "oregonator": [crossing(1, 100.0, 1), crossing(1, 100.0, -1)],
    "van_der_pol_stiff": [crossing(0, 0.0), crossing(0, 1.5, -1)],
}


@pytest.mark.parametrize("name", EVENTS)
def test_events_on_stiff_problems(name):
    """All that Radau finds at a tight tolerance, at the same times."""
    problem, rtol = PROBLEMS[name], 1e-7
    ours = solve(problem, rtol, events=EVENTS[name])
    tight = solve(problem, 1e-10, "Radau", events=EVENTS[name])
    for found, expected in zip(ours.t_events, tight.t_events, strict=True):
        assert len(expected) > 0
        assert len(found) == len(expected)
        assert_allclose(found, expected, rtol=1e-4 if name == "robertson" else 1e-5)


@pytest.mark.parametrize("count", [1, 2])
def test_terminal_event_on_a_stiff_problem(count):
    problem = PROBLEMS["van_der_pol_stiff"]
    event = last_crossing(0, 0.0, count)
    ours = solve(problem, 1e-7, events=event)
    tight = solve(problem, 1e-10, "Radau", events=event)
    assert ours.status == 1
    assert len(ours.t_events[0]) == count
    assert_allclose(ours.t_events[0], tight.t_events[0], rtol=1e-6)
    assert ours.t[-1] == ours.t_events[0][-1]
    assert np.all(ours.t <= ours.t[-1])


# -- the Jacobian -------------------------------------------------------------------


def sparse_callable(jac):
    return lambda t, y: scipy.sparse.csc_array(jac(t, y))


def single_time(jac):
    """A Jacobian that does not broadcast."""

    def single(t, y):
        assert np.ndim(t) == 0
        return np.asarray(jac(float(t), y))

    return single


JACOBIANS = {
    "callable": lambda p: {"jac": p.jac},
    "callable, single": lambda p: {"jac": single_time(p.jac)},
    "callable, sparse": lambda p: {"jac": sparse_callable(p.jac)},
    "pattern": lambda p: {"jac_sparsity": np.ones((len(p.y0),) * 2)},
    "sparse pattern": lambda p: {
        "jac_sparsity": scipy.sparse.csc_array(np.ones((len(p.y0),) * 2))
    },
}
CONSTANT = {
    "array": lambda p: {"jac": constant_jacobian(p)},
    "list": lambda p: {"jac": constant_jacobian(p).tolist()},
    "sparse array": lambda p: {"jac": scipy.sparse.csr_array(constant_jacobian(p))},
    "sparse matrix": lambda p: {"jac": scipy.sparse.csc_matrix(constant_jacobian(p))},
}
FORMS = [
    (name, form)
    for name in ("robertson", "oregonator", "pollution", "stiff_linear")
    for form in JACOBIANS
] + [("stiff_linear", form) for form in CONSTANT]


def constant_jacobian(problem):
    return problem.jac(0.0, np.array(problem.y0))


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_forms_of_the_jacobian(name, form):
    problem, rtol = PROBLEMS[name], 1e-6
    options = (JACOBIANS | CONSTANT)[form](problem)
    result = solve(problem, rtol, **options)
    assert result.success, result.message
    assert result.nlu > 0
    plain = solve(problem, rtol)
    assert plain.nlu > 0
    assert plain.njev > 0
    _, radau = end_point_errors(name, rtol)
    assert problem.error(result.y[:, -1]) <= WORST * radau
    if "pattern" not in form:
        assert result.nfev < plain.nfev
    if form in CONSTANT:
        assert result.njev == 0
    else:
        assert result.njev > 0


def test_given_jacobian_is_counted():
    """`njev` counts points, and no call is left out."""
    problem = PROBLEMS["robertson"]
    points = 0

    def jac(t, y):
        nonlocal points
        points += np.size(t)
        return problem.jac(t, y)

    result = solve(problem, jac=jac)
    assert 0 < result.njev <= points
    assert points <= result.njev + 16  # those that find out whether it broadcasts


def test_rough_solution_leaves_its_matrices():
    """Where its mesh is kept, each of its steps has been factorized once."""
    result = solve(PROBLEMS["pollution"], 1e-3)
    assert result.success
    assert result.nsteps <= result.nlu < 2 * result.nsteps


def test_function_calls_are_counted():
    problem = PROBLEMS["oregonator"]
    points = 0

    def fun(t, y):
        nonlocal points
        points += np.size(t)
        return problem.fun(t, y)

    result = parivp.solve_ivp(fun, problem.t_span, problem.y0, METHOD)
    assert result.nfev == points


@pytest.mark.parametrize("name", ["robertson", "stiff_linear"])
def test_wrong_jacobian_costs_time_only(name):
    """It steers Newton's method and does not enter the solution."""
    problem, rtol = PROBLEMS[name], 1e-6

    def jac(t, y):
        return 1.05 * problem.jac(t, y)

    result = solve(problem, rtol, jac=jac)
    assert result.success, result.message
    _, radau = end_point_errors(name, rtol)
    assert problem.error(result.y[:, -1]) <= WORST * radau


def test_pattern_is_ignored_beside_a_jacobian():
    """As SciPy does: `jac_sparsity` has no effect if `jac` is given."""
    problem = PROBLEMS["robertson"]
    given_both = solve(problem, jac=problem.jac, jac_sparsity=np.eye(3))
    assert_array_equal(given_both.y, solve(problem, jac=problem.jac).y)


@pytest.mark.parametrize("shape", [(2, 2), (3, 4), (9,)])
@pytest.mark.parametrize("option", ["jac", "jac_sparsity"])
def test_wrong_shapes_of_the_jacobian(option, shape):
    problem = PROBLEMS["robertson"]
    with pytest.raises(ValueError, match=option):
        solve(problem, **{option: np.ones(shape)})


# -- structure ----------------------------------------------------------------------


@pytest.mark.parametrize("form", ["pattern", "jac"])
@pytest.mark.parametrize("name", LARGE)
def test_large_sparse_problems(name, form):
    """Accurate, and within a fraction of the memory of one dense matrix a step."""
    problem, rtol = PROBLEMS[name], 1e-6
    n = len(problem.y0)
    structure = {"pattern": {"jac_sparsity": problem.jac_sparsity}}.get(
        form, {"jac": problem.jac}
    )
    tracemalloc.start()
    try:
        result = solve(problem, rtol, **structure)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert result.success, result.message
    _, radau = end_point_errors(name, rtol)
    assert problem.error(result.y[:, -1]) <= WORST * radau
    # A dense method keeps several matrices a step, of (stages * n)^2 entries even.
    assert peak / result.nsteps < n**2 * 8 / 2


def test_memory_grows_with_the_number_of_components_not_with_its_square():
    def per_step(n):
        def fun(t, y):
            out = -2.0 * y
            out[1:] += y[:-1]
            out[:-1] += y[1:]
            return 1e4 * out

        pattern = scipy.sparse.diags_array([1.0] * 3, offsets=[-1, 0, 1], shape=(n, n))
        y0 = np.cos(np.arange(n) / n)
        tracemalloc.start()
        try:
            result = parivp.solve_ivp(
                fun, (0, 1), y0, METHOD, rtol=1e-6, atol=1e-9, jac_sparsity=pattern
            )
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert result.success, result.message
        return peak / result.nsteps

    # 4 times as many: 4 times the memory, or 16 times where it is the square
    assert per_step(2000) < 6 * per_step(500)


@pytest.mark.parametrize("name", LARGE)
def test_large_problem_with_a_constant_number_of_evaluations_per_jacobian(name):
    """Columns that share no row are differenced together: five groups at most."""
    problem = PROBLEMS[name]
    result = solve(problem)
    assert result.nfev <= 5 * result.njev + 50 * result.nsteps


@pytest.mark.parametrize("name", LARGE)
def test_fixed_steps_of_a_large_problem(name):
    """Backward Euler of the heat equation is a linear recursion, solved by SciPy."""
    problem = PROBLEMS[name]
    mesh = np.linspace(0, 1e-2, 21)
    result = parivp.solve_ivp(
        problem.fun,
        (0, mesh[-1]),
        problem.y0,
        METHOD,
        tableau="BackwardEuler",
        mesh=mesh,
        jac_sparsity=problem.jac_sparsity,
    )
    y = np.array(problem.y0)
    expected = [y]
    for t, h in zip(mesh[1:], np.diff(mesh), strict=True):
        start = y
        for _ in range(20):
            J = problem.jac(t, y) if callable(problem.jac) else problem.jac
            matrix = scipy.sparse.eye_array(y.size, format="csc") - h * J
            residual = y - start - h * problem.fun(t, y)
            update = scipy.sparse.linalg.spsolve(matrix, residual)
            y = y - update
            if np.max(np.abs(update)) < 1e-14:
                break
        expected.append(y)
    # where the heat has not arrived, components are 1e-14 of the largest: rounding
    assert result.status == 0, result.message
    assert_allclose(result.y, np.transpose(expected), rtol=0, atol=1e-10)


# -- complex states -----------------------------------------------------------------

COMPLEX_RATES = np.array([-1e4 + 1e3j, -100 - 50j, -1 + 2j, -0.1 - 1j])


@pytest.mark.parametrize("rtol", [1e-4, 1e-8])
@pytest.mark.parametrize("jac", ["none", "array", "callable", "pattern"])
def test_complex_stiff_linear_system(rtol, jac):
    y0 = np.array([1 + 1j, 2 - 1j, 1j, -1 + 0.5j])
    options = {
        "none": {},
        "array": {"jac": np.diag(COMPLEX_RATES)},
        "callable": {"jac": lambda t, y: np.diag(COMPLEX_RATES)},
        "pattern": {"jac_sparsity": np.eye(4)},
    }[jac]
    result = parivp.solve_ivp(
        lambda t, y: (COMPLEX_RATES * y.T).T,
        (0, 5),
        y0,
        METHOD,
        rtol=rtol,
        atol=1e-3 * rtol,
        dense_output=True,
        timeout=20,
        **options,
    )
    assert result.success, result.message
    assert result.y.dtype == complex
    t = np.concatenate([result.t, between_steps(result.t)])
    exact = (y0 * np.exp(np.multiply.outer(t, COMPLEX_RATES))).T
    # errors of single steps add up and are not amplified
    bound = 2 * result.nsteps * rtol * np.max(np.abs(y0))
    assert_allclose(result.sol(t), exact, rtol=0, atol=bound)
    assert np.max(np.abs(result.y[:, -1] - exact[:, len(result.t) - 1])) < 100 * rtol


@pytest.mark.parametrize("form", ["dense", "band"])
def test_complex_states_with_a_real_jacobian(form):
    """In a system so large that matrices are factorized."""
    n = 40
    A = np.diag(-np.logspace(0, 4, n)) + np.diag(np.ones(n - 1), 1)
    y0 = np.ones(n) + 1j * np.linspace(-1, 1, n)
    jac = A if form == "dense" else scipy.sparse.csr_array(A)
    options = {"rtol": 1e-8, "atol": 1e-11, "jac": jac}
    result = parivp.solve_ivp(lambda t, y: A @ y, (0, 2), y0, METHOD, **options)
    assert result.success
    exact = scipy.linalg.expm(2 * A) @ y0
    assert_allclose(result.y[:, -1], exact, rtol=0, atol=1e-8)


@pytest.mark.parametrize("tableau", ["BackwardEuler", "RadauIIA5"])
def test_complex_fixed_steps(tableau):
    """R(z) for complex z, componentwise."""
    n_steps = 50
    result = parivp.solve_ivp(
        lambda t, y: (COMPLEX_RATES * y.T).T,
        (0, 1),
        np.ones(4, dtype=complex),
        METHOD,
        tableau=tableau,
        n_steps=n_steps,
    )
    factors = STABILITY[tableau](COMPLEX_RATES / n_steps)
    expected = factors[:, None] ** np.arange(n_steps + 1)
    assert_allclose(result.y, expected, rtol=0, atol=1e-10)


# -- functions that do not broadcast ------------------------------------------------


def forced_by_math(t, y):
    return [-1000 * (y[0] - math.exp(-t)) - math.exp(-t), y[0] - y[1]]


def with_a_branch(t, y):
    if y[0] > 0:
        return [-1000 * (y[0] - math.exp(-t)) - math.exp(-t), y[0] - y[1]]
    raise AssertionError("the solution is positive")


def writing_into_zeros(t, y):
    out = np.zeros(2)
    out[0] = -1000 * (y[0] - math.exp(-t)) - math.exp(-t)
    out[1] = y[0] - y[1]
    return out


@pytest.mark.parametrize("time_vectorized", [None, False])
@pytest.mark.parametrize("fun", [forced_by_math, with_a_branch, writing_into_zeros])
def test_functions_that_do_not_broadcast(fun, time_vectorized):
    """y1 = exp(-t), y2' = y1 - y2: y2 = (1 + t) exp(-t)."""
    rtol = 1e-6
    result = parivp.solve_ivp(
        fun,
        (0, 5),
        [1.0, 1.0],
        METHOD,
        rtol=rtol,
        atol=1e-3 * rtol,
        time_vectorized=time_vectorized,
        timeout=20,
    )
    assert result.success, result.message
    assert result.nit > 0  # windows, with points one by one
    t = result.t
    exact = np.array([np.exp(-t), (1 + t) * np.exp(-t)])
    assert_allclose(result.y, exact, rtol=0, atol=2 * result.nsteps * rtol)


def test_jacobian_that_does_not_broadcast():
    """Of a function that does: both are told apart."""
    mu = 100.0

    def fun(t, y):
        return [y[1], mu * (1 - y[0] ** 2) * y[1] - y[0]]

    def jac(t, y):
        if y[0] > 1e9:
            raise AssertionError("never there")
        slope = -2 * mu * float(y[0]) * float(y[1]) - 1
        return [[0.0, 1.0], [slope, mu * (1 - float(y[0]) ** 2)]]

    rtol = 1e-6
    problem = (fun, (0, 200), [2.0, 0.0])
    options = {"rtol": rtol, "atol": 1e-9}
    ours = parivp.solve_ivp(*problem, METHOD, jac=jac, timeout=20, **options)
    assert ours.success, ours.message
    tight = scipy.integrate.solve_ivp(*problem, "Radau", rtol=1e-11, atol=1e-14)
    radau = scipy.integrate.solve_ivp(*problem, "Radau", **options)
    error, theirs = (np.max(np.abs(r.y[:, -1] - tight.y[:, -1])) for r in (ours, radau))
    assert error <= WORST * theirs


# -- what has no solution to the end ------------------------------------------------


def assert_stopped(result):
    assert result.status == -1
    assert not result.success
    assert len(result.message) > 20
    assert result.t.size == result.y.shape[1]
    assert np.all(np.isfinite(result.y))


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
def test_a_pole_is_not_crossed(rtol):
    """y1' = y1^2 ends at t = 1, beside a stiff component that does not mind."""
    result = parivp.solve_ivp(
        lambda t, y: [y[0] ** 2, -1e5 * (y[1] - np.cos(t))],
        (0, 1.1),
        [1.0, 0.0],
        METHOD,
        rtol=rtol,
        atol=1e-3 * rtol,
        timeout=20,
    )
    assert_stopped(result)
    # An error e of y = 1/(1 - t) moves the pole by e / y^2: those of early steps count
    assert abs(result.t[-1] - 1) < 10 * rtol + 1e-9
    early = result.t < 0.9
    exact = 1 / (1 - result.t[early])
    assert np.max(np.abs(result.y[0, early] / exact - 1)) < 1e3 * rtol


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("time_vectorized", [None, False])
def test_function_that_stops_being_finite(bad, time_vectorized):
    def fun(t, y):
        return np.where(t > 0.5, bad, -1e4 * (y - np.cos(t)))

    result = parivp.solve_ivp(
        fun, (0, 1), [1.0], METHOD, time_vectorized=time_vectorized, timeout=20
    )
    assert_stopped(result)
    assert 0.4 < result.t[-1] <= 0.5
    # slow manifold: cos t + sin t / 1e4 + ...
    assert_allclose(result.y[0], np.cos(result.t), rtol=0, atol=2e-3)


class Stop(Exception):
    pass


def raising_at_late_times(t, y):
    if np.any(np.asarray(t) > 0.5):
        raise Stop("too late")
    return -1e4 * (y - np.cos(t))


@pytest.mark.parametrize("time_vectorized", [None, False])
def test_what_the_function_raises_arrives(time_vectorized):
    with pytest.raises(Stop, match="too late"):
        parivp.solve_ivp(
            raising_at_late_times,
            (0, 1),
            [1.0],
            METHOD,
            time_vectorized=time_vectorized,
            timeout=20,
        )


def test_raising_beyond_a_terminal_event_does_no_harm():
    def event(t, y):
        return t - 0.4

    event.terminal = True
    result = parivp.solve_ivp(
        raising_at_late_times, (0, 1), [1.0], METHOD, events=event, max_step=0.05
    )
    assert result.status == 1
    assert_allclose(result.t[-1], 0.4, rtol=1e-12)
    assert_allclose(result.y[0], np.cos(result.t), rtol=0, atol=2e-3)


def test_what_the_jacobian_raises_arrives():
    """Unless an earlier Jacobian served to the end, and well."""

    def jac(t, y):
        if np.any(np.asarray(t) > 0.5):
            raise Stop("no derivative")
        return np.array([[-1e4]])

    try:
        result = parivp.solve_ivp(
            lambda t, y: -1e4 * (y - np.cos(t)), (0, 1), [1.0], METHOD, jac=jac
        )
    except Stop:
        return
    assert result.success, result.message
    assert_allclose(result.y[0], np.cos(result.t), rtol=0, atol=2e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_jacobian_that_is_not_finite(bad):
    """Refused, or done without; never a wrong result."""
    result = parivp.solve_ivp(
        lambda t, y: -1e4 * (y - np.cos(t)),
        (0, 1),
        [1.0],
        METHOD,
        jac=lambda t, y: np.full((1, 1), bad),
        timeout=20,
    )
    if result.status == -1:
        assert_stopped(result)
    assert_allclose(result.y[0], np.cos(result.t), rtol=0, atol=2e-3)


def test_function_that_is_never_finite():
    result = parivp.solve_ivp(
        lambda t, y: np.nan * y, (0, 1), [1.0], METHOD, timeout=20
    )
    assert_stopped(result)
    assert_array_equal(result.t, [0.0])


@pytest.mark.parametrize("rate", [50.0, 1000.0])
def test_growth_is_not_damped_away(rate):
    """Long implicit steps would let a growing solution decay.

    Relative errors of single steps add up: y_k is a product of factors.
    """
    rtol, tf = 1e-6, 200 / rate
    result = parivp.solve_ivp(
        lambda t, y: rate * y, (0, tf), [1.0], METHOD, rtol=rtol, atol=0.0, timeout=20
    )
    assert result.success, result.message
    relative = result.y[0] / np.exp(rate * result.t) - 1
    assert np.max(np.abs(relative)) <= 2 * rtol * result.nsteps


def test_overflow_stops():
    result = parivp.solve_ivp(
        lambda t, y: 1000.0 * y, (0, 1), [1.0], METHOD, timeout=20
    )
    assert_stopped(result)
    assert result.t[-1] < 0.71  # exp(709.8) is the largest double
    assert_allclose(np.log(result.y[0]), 1000 * result.t, rtol=1e-2, atol=1e-2)


def test_root_of_a_negative_number():
    """y' = -sqrt(y) is at rest from t = 2; beyond 0 it is NaN."""

    def fun(t, y):
        with np.errstate(invalid="ignore"):
            return -np.sqrt(y)

    result = parivp.solve_ivp(fun, (0, 3), [1.0], METHOD, rtol=1e-6, timeout=20)
    exact = np.maximum(1 - result.t / 2, 0) ** 2
    assert_allclose(result.y[0], exact, rtol=0, atol=1e-4)
    if result.status == -1:
        assert_stopped(result)
        assert result.t[-1] > 1.9


@pytest.mark.parametrize("rtol", [1e-3, 1e-6])
def test_a_switch_in_a_stiff_function(rtol):
    """A jump of the right-hand side at t = 1, relaxing within 1e-4."""

    def fun(t, y):
        return -1e4 * (y - np.where(t < 1, 0.0, 1.0))

    result = parivp.solve_ivp(
        fun,
        (0, 2),
        [1.0],
        METHOD,
        rtol=rtol,
        atol=1e-3 * rtol,
        max_step=0.1,
        timeout=20,
    )
    assert result.success, result.message
    t = result.t
    exact = np.where(t < 1, np.exp(-1e4 * t), 1 - np.exp(-1e4 * np.maximum(t - 1, 0)))
    far = np.abs(t - 1) > 0.01  # there nothing is left of what happened at the jump
    assert np.any(far & (t > 1))
    assert_allclose(result.y[0, far], exact[far], rtol=0, atol=10 * rtol)
    assert np.min(result.y) > -0.1
    assert np.max(result.y) < 1.1


@pytest.mark.parametrize("broadcasts", [True, False])
def test_timeout(broadcasts):
    def fun(t, y):
        time.sleep(1e-3)
        if not broadcasts:
            float(t)
        return np.array([y[1], 1000 * (1 - y[0] ** 2) * y[1] - y[0]])

    begin = time.monotonic()
    result = parivp.solve_ivp(
        fun,
        (0, 1e6),
        [2.0, 0.0],
        METHOD,
        rtol=1e-10,
        atol=1e-13,
        timeout=0.5,
        time_vectorized=broadcasts,
    )
    assert time.monotonic() - begin < 5
    assert_stopped(result)
    assert "timeout" in result.message


def test_max_steps():
    problem = PROBLEMS["oregonator"]
    result = solve(problem, max_steps=20)
    assert_stopped(result)
    assert result.nsteps <= 20
    assert "max_steps" in result.message


# -- random problems ----------------------------------------------------------------
#
# As in test_properties: a step adds at most ``tau = sqrt(n) (atol + rtol max|y|)``,
# Newton's method another fraction, errors grow as the derivation at each test says.


def numbers(low, high):
    return st.floats(low, high, allow_nan=False).map(lambda x: round(x, 6))


def tolerances():
    return numbers(-8, -3).map(lambda exponent: 10.0**exponent)


def step_error(result, rtol, atol):
    """Twice the number of steps times the largest error of one."""
    n = len(result.y)
    return 2 * result.nsteps * np.sqrt(n) * (atol + rtol * np.max(np.abs(result.y)))


def orthogonal(n, seed):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]


@given(
    decays=st.lists(numbers(-2, 7), min_size=1, max_size=3),
    spirals=st.lists(st.tuples(numbers(-2, 5), numbers(-1.4, 1.4)), max_size=2),
    length=numbers(0.05, 20),
    direction=st.sampled_from([-1.0, 1.0]),
    rtol=tolerances(),
    seed=st.integers(0, 2**16),
    with_jac=st.booleans(),
)
def test_stiff_linear_systems(decays, spirals, length, direction, rtol, seed, with_jac):
    """Known spectrum, normal matrix: errors are never amplified.

    Real rates -10^a and pairs 10^a (-cos phi +- i sin phi) in a random orthogonal
    basis; in both directions of time, damped in that of the integration.
    """
    blocks = [np.array([[-(10.0**a)]]) for a in decays]
    for a, phi in spirals:
        c, s = 10.0**a * np.cos(phi), 10.0**a * np.sin(phi)
        blocks.append(np.array([[-c, -s], [s, -c]]))
    core = direction * scipy.linalg.block_diag(*blocks)
    basis = orthogonal(len(core), seed)
    y0 = basis @ np.random.default_rng(seed + 1).uniform(-1, 1, len(core))
    atol = 1e-3 * rtol
    result = parivp.solve_ivp(
        lambda t, y: basis @ (core @ (basis.T @ y)),
        (0, direction * length),
        y0,
        METHOD,
        rtol=rtol,
        atol=atol,
        jac=basis @ core @ basis.T if with_jac else None,
        timeout=20,
    )
    assert result.success, result.message
    bound = step_error(result, rtol, atol) + 100 * EPS * np.linalg.norm(y0)
    for k in np.unique(np.linspace(0, len(result.t) - 1, 7).astype(int)):
        # block by block: the norm of the whole would cost expm its relative accuracy
        flow = scipy.linalg.block_diag(
            *(scipy.linalg.expm(abs(result.t[k]) * block) for block in blocks)
        )
        exact = basis @ (flow @ (basis.T @ y0))
        assert np.linalg.norm(result.y[:, k] - exact) <= bound


@dataclass
class SlowFast:
    """A singularly perturbed system, x slow and z fast.

    ``x' = a tanh(b x + c z + sin t)`` and ``z' = -(z - tanh(g x)) * rates``, run in
    the direction in which z relaxes.

    Errors: with z near its attracting manifold, dz = G dx to first order in
    1 / rates, G the slope of tanh(g x); dx grows by the logarithmic norm of the
    reduced Jacobian F_x + F_z G. An error of z itself is forgotten.
    """

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    g: np.ndarray
    rates: np.ndarray
    y0: np.ndarray
    end: float
    rtol: float

    def split(self, y):
        p = len(self.a)
        return y[:p], y[p:]

    def fun(self, t, y):
        x, z = self.split(y)
        slow = self.a @ np.tanh(self.b @ x + self.c @ z + np.sin(t))
        fast = -((self.rates * (z - np.tanh(self.g @ x)).T).T)
        return np.concatenate([slow, np.sign(self.end) * fast])

    def jac(self, t, y):
        x, z = self.split(y)
        inner = 1 / np.cosh(self.b @ x + self.c @ z + np.sin(t)) ** 2
        outer = 1 / np.cosh(self.g @ x) ** 2
        K = np.sign(self.end) * np.diag(self.rates)
        return np.block(
            [
                [
                    self.a @ (inner[:, None] * self.b),
                    self.a @ (inner[:, None] * self.c),
                ],
                [K @ (outer[:, None] * self.g), -K],
            ]
        )

    @property
    def atol(self):
        return 1e-3 * self.rtol

    def solve(self, **options):
        options = {"rtol": self.rtol, "atol": self.atol} | options
        result = parivp.solve_ivp(
            self.fun, (0, self.end), self.y0, METHOD, timeout=20, **options
        )
        assert result.success, result.message
        return result

    def reference(self):
        """Radau, 1000 times tighter."""
        result = scipy.integrate.solve_ivp(
            self.fun,
            (0, self.end),
            self.y0,
            "Radau",
            rtol=1e-3 * self.rtol,
            atol=1e-3 * self.atol,
            jac=self.jac,
            dense_output=True,
        )
        assert result.success
        return result

    def bound(self, result, sol):
        """Bound of the error in the Euclidean norm, as derived above."""
        p = len(self.a)
        t = np.linspace(0, self.end, 101)
        mu, slope = [], 0.0
        for s in t:
            J = self.jac(s, sol(s))
            G = np.linalg.solve(-J[p:, p:], J[p:, :p])
            reduced = np.sign(self.end) * (J[:p, :p] + J[:p, p:] @ G)
            mu.append(np.linalg.eigvalsh((reduced + reduced.T) / 2)[-1])
            slope = max(slope, np.linalg.norm(G, 2))
        growth = np.exp(1.05 * np.sum(np.maximum(mu, 0)) * abs(self.end) / 100)
        # one part in a thousand for the reference and the terms in 1 / rates
        steps = 1.001 * step_error(result, self.rtol, self.atol)
        return steps * (1 + slope) * growth


def entries(shape, size):
    return hnp.arrays(np.float64, shape, elements=numbers(-size, size))


@st.composite
def slow_fast_systems(draw):
    p, q = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return SlowFast(
        a=draw(entries((p, p), 1.0)),
        b=draw(entries((p, p), 1.0)),
        c=draw(entries((p, q), 1.0)),
        g=draw(entries((q, p), 2.0)),
        rates=10.0 ** draw(entries(q, 1.5)) * 10.0 ** draw(numbers(4, 6)),
        y0=draw(entries(p + q, 2.0)),
        end=draw(numbers(0.05, 4)) * draw(st.sampled_from([-1.0, 1.0])),
        rtol=10.0 ** draw(numbers(-7, -3)),
    )


@given(
    problem=slow_fast_systems(), jac=st.sampled_from(["none", "callable", "pattern"])
)
def test_slow_fast_systems(problem, jac):
    n = len(problem.y0)
    options = {
        "none": {},
        "callable": {"jac": problem.jac},
        "pattern": {"jac_sparsity": np.ones((n, n))},
    }[jac]
    reference = problem.reference()
    result = problem.solve(dense_output=True, **options)
    bound = problem.bound(result, reference.sol)
    error = np.linalg.norm(result.y - reference.sol(result.t), axis=0)
    assert np.max(error) <= bound
    # between the steps the collocation polynomial, held to what SciPy's suite asks
    # of SciPy's own: five tolerances on top
    inner = between_steps(result.t, 3)
    scale = problem.atol + problem.rtol * np.max(np.abs(result.y))
    error = np.linalg.norm(result.sol(inner) - reference.sol(inner), axis=0)
    assert np.max(error) <= bound + 5 * np.sqrt(n) * scale


@given(
    problem=slow_fast_systems(),
    window=st.integers(1, 40),
    single=st.booleans(),
)
def test_window_and_broadcasting_do_not_matter(problem, window, single):
    reference = problem.reference()
    result = problem.solve(window=window, time_vectorized=False if single else None)
    error = np.linalg.norm(result.y[:, -1] - reference.y[:, -1])
    assert error <= problem.bound(result, reference.sol)


@given(
    problem=slow_fast_systems(),
    tableau=st.sampled_from(["BackwardEuler", "RadauIIA3", "RadauIIA5"]),
    extra=st.integers(0, 40),
    window=st.one_of(st.none(), st.integers(1, 60)),
)
def test_fixed_steps_are_the_recursion(problem, tableau, extra, window):
    """Against plain sequential steps.

    The steps are so short that what is left when z has been eliminated, z = G x,
    contracts: the equations of a step have one solution.
    """
    a, b, c, g = (
        np.linalg.norm(m, 2) for m in (problem.a, problem.b, problem.c, problem.g)
    )
    n_steps = int(np.ceil(2 * abs(problem.end) * a * (b + c * g))) + 1 + extra
    mesh = np.linspace(0, problem.end, n_steps + 1)
    try:
        expected = recursion(problem.fun, problem.jac, mesh, problem.y0, tableau)
    except NoConvergence:
        reject()
    result = problem.solve(tableau=tableau, n_steps=n_steps, window=window)
    assert_array_equal(result.t, mesh)
    size = np.max(np.abs(expected))
    assert_allclose(result.y, expected, rtol=0, atol=1e-10 * size)


@given(problem=slow_fast_systems(), data=st.data(), fraction=numbers(0.2, 0.8))
def test_events_of_slow_fast_systems(problem, data, fraction):
    """``t + w . x`` along t, with w so small that it rises by 0.5 to 1.5 per time."""
    p, sign = len(problem.a), np.sign(problem.end)
    weights = data.draw(entries(p, 1.0)) / (2 * p**2)  # |x'| <= p in every component
    reference = problem.reference()

    def event(t, y):
        return sign * t + weights @ y[:p]

    time_of_zero = fraction * problem.end
    level = event(time_of_zero, reference.sol(time_of_zero))
    result = problem.solve(events=lambda t, y: event(t, y) - level)
    bound = problem.bound(result, reference.sol)
    scale = problem.atol + problem.rtol * np.max(np.abs(result.y))
    error = np.linalg.norm(weights) * (bound + 5 * np.sqrt(p) * scale)
    # moved by the error over the slope, but not beyond the ends
    assume(2 * error < 0.2 * abs(problem.end))
    found = result.t_events[0]
    assert len(found) == 1
    assert abs(found[0] - time_of_zero) <= 2 * error + 1e-13


# -- what once went on for ever, or stopped with an error of its own ----------------


def in_float32(t, y):
    return np.array([y[1], 1e3 * (1 - y[0] ** 2) * y[1] - y[0]], dtype=np.float32)


def not_analytic(t, y):
    return -1e3 * (np.abs(y) ** 2 - 1) * y


def noisy(t, y):
    return -1e3 * (y - np.cos(t)) * (1 + 1e-5 * np.sin(1e9 * y + 1e7 * t))


def relaxation(t, y):
    return [y[1], 10 * (1 - y[0] ** 2) * y[1] - y[0]]


@pytest.mark.parametrize(
    ("fun", "tf", "y0", "options"),
    [
        (in_float32, 2000, [2.0, 0.0], {"rtol": 1e-3}),
        (not_analytic, 1, [1.5 + 0.5j], {"rtol": 1e-6}),
        (noisy, 10, [0.0], {"rtol": 1e-3}),
        (relaxation, 15, [2.0, 0.0], {"rtol": 1e-6, "jac": np.zeros((2, 2))}),
        (relaxation, 15, [2.0, 0.0], {"rtol": 1e-6, "jac": np.eye(2)}),
    ],
    ids=["float32", "not analytic", "noise", "jac of zeros", "jac of ones"],
)
def test_newton_that_converges_badly_goes_on(fun, tf, y0, options):
    """Jacobians and values that Newton's method can do little with."""
    options = options | {"atol": options["rtol"] * 1e-3}
    result = parivp.solve_ivp(fun, (0, tf), y0, METHOD, timeout=60, **options)
    assert result.success, result.message
    reference = scipy.integrate.solve_ivp(
        fun, (0, tf), y0, "BDF", rtol=1e-2 * options["rtol"], atol=1e-12
    )
    error = np.max(np.abs(result.y[:, -1] - reference.y[:, -1]))
    # a step adds at most its tolerance, and these solutions forget errors but for
    # the phase of the oscillators, which moves with every turn
    assert error < result.nsteps * options["rtol"]


def test_tolerance_of_a_component_that_is_zero_at_first():
    result = parivp.solve_ivp(
        lambda t, y: np.array([-1e4 * y[0] + y[1], -y[1]]),
        (0, 3),
        [0.0, 1.0],
        METHOD,
        rtol=1e-6,
        atol=0.0,
        timeout=60,
    )
    assert result.success, result.message
    exact = np.exp(-3.0) * np.array([1 / (1e4 - 1), 1.0])
    assert_allclose(result.y[:, -1], exact, rtol=1e-5)


def test_time_without_end_stops_at_the_largest_numbers():
    result = parivp.solve_ivp(
        lambda t, y: -y, (0, np.inf), [1.0], METHOD, max_steps=1000, timeout=60
    )
    assert result.status == -1
    assert "max_steps" in result.message


def coupled(t, y):
    return -y * np.roll(y, 1, axis=0) - 100 * y + 1


def coupled_jac(t, y):
    """Off the diagonal there is nothing at the initial point, which is zero."""
    n = len(y)
    matrix = np.diag(-np.roll(y, 1) - 100)
    matrix[np.arange(n), np.arange(n) - 1] -= y
    return scipy.sparse.csr_array(matrix)


def test_sparse_jacobian_whose_pattern_grows():
    y0 = np.zeros(60)
    result = parivp.solve_ivp(
        coupled, (0, 2), y0, METHOD, jac=coupled_jac, rtol=1e-8, atol=1e-10
    )
    assert result.success
    # the only stationary point that is reached: y^2 + 100 y = 1
    stationary = 2 / (100 + np.sqrt(100**2 + 4))
    assert_allclose(result.y[:, -1], stationary, rtol=1e-7)


def test_pattern_counts_only_without_a_jacobian():
    """As in SciPy: a pattern that lacks entries does no harm then."""
    options = {"jac": coupled_jac, "jac_sparsity": np.eye(60)}
    result = parivp.solve_ivp(coupled, (0, 2), np.ones(60), METHOD, **options)
    expected = parivp.solve_ivp(coupled, (0, 2), np.ones(60), METHOD, jac=coupled_jac)
    assert_array_equal(result.y, expected.y)


@pytest.mark.parametrize("shape", [(60, 61), (61, 61)])
@pytest.mark.parametrize("called", [True, False])
def test_sparse_jacobian_of_wrong_shape(shape, called):
    matrix = scipy.sparse.csr_array(np.ones(shape))
    jac = (lambda t, y: matrix) if called else matrix
    with pytest.raises(ValueError, match=r"`jac`.*\(60, 60\)"):
        parivp.solve_ivp(coupled, (0, 2), np.zeros(60), METHOD, jac=jac)


def test_complex_jacobian_of_a_real_problem():
    with pytest.raises(TypeError, match="`jac` is complex"):
        parivp.solve_ivp(lambda t, y: -y, (0, 1), [1.0], METHOD, jac=[[-1j]])


def test_nothing_to_solve_with_a_pattern():
    result = parivp.solve_ivp(
        lambda t, y: -y, (0, 1), [], METHOD, jac_sparsity=np.zeros((0, 0))
    )
    assert result.success


@pytest.mark.parametrize("rtol", np.logspace(-4, -3, 9))
def test_long_steps_do_not_lead_to_spurious_solutions(rtol):
    """Robertson's problem runs away from below zero, with errors as large as 1e15.

    One of its components falls below the absolute tolerance in a few long steps.
    """
    problem = PROBLEMS["robertson_long"]
    result = solve(problem, rtol)
    assert result.success
    assert np.max(np.abs(result.y[:, -1] - problem.reference)) <= 3 * 1e-3 * rtol


@pytest.mark.parametrize("length", [1e4, 1e5])
@pytest.mark.parametrize("t0", [0.0, 6e10, 1e11])
def test_late_times(t0, length):
    """Where a predictor comes no farther than the first steps of its transient."""
    problem = PROBLEMS["robertson"]
    y0 = [-0.0067, -2.662e-8, 1.0067 + 2.662e-8]
    exact = scipy.integrate.solve_ivp(
        problem.fun, (0, length), y0, "Radau", rtol=1e-9, atol=1e-12, jac=problem.jac
    )
    result = parivp.solve_ivp(
        problem.fun, (t0, t0 + length), y0, METHOD, rtol=3e-4, atol=3e-7, timeout=20
    )
    assert exact.success
    assert result.success
    assert len(result.t) < 100
    # the problem is autonomous: its solution does not depend on t0
    assert_allclose(result.y[:, -1], exact.y[:, -1], rtol=1e-3)
