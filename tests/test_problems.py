"""The registry of problems: complete, consistent, and right at the end points."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

from parivp import _problems
from parivp._problems import PROBLEMS, Problem

EXPECTED = {
    "logistic": {"nonstiff", "paper"},
    "van_der_pol": {"nonstiff", "paper"},
    "cart_pole": {"nonstiff", "paper"},
    "dahlquist": {"stiff", "paper"},
    "robertson": {"stiff", "paper"},
    "parode_toy": {"nonstiff", "paper"},
    "van_der_pol_long": {"nonstiff"},
    "lotka_volterra": {"nonstiff"},
    "arenstorf": {"nonstiff"},
    "pleiades": {"nonstiff"},
    "lorenz": {"nonstiff", "chaotic"},
    "brusselator": {"nonstiff"},
    "hires": {"stiff"},
    "oregonator": {"stiff"},
    "van_der_pol_stiff": {"stiff"},
    "robertson_long": {"stiff"},
    "pollution": {"stiff"},
    "flame": {"stiff"},
    "prothero_robinson": {"stiff"},
    "stiff_linear": {"stiff"},
    "heat": {"stiff", "large"},
    "brusselator_pde": {"stiff", "large"},
}

# How closely a tight solve in double precision can be expected to meet the end
# point. Three problems magnify its rounding and truncation errors: Arenstorf and
# Pleiades in close encounters, Lorenz by exp(0.9 t), some 1e7 over its span. Over
# 1e11 units of time the absolute tolerance, 1e-15, counts beside components of 1e-8;
# the few steps of Prothero and Robinson's problem meet the tolerance and no more.
DEFAULT_RTOL = 1e-10
SENSITIVE = {
    "arenstorf": 1e-5,
    "pleiades": 1e-9,
    "lorenz": 1e-7,
    "robertson_long": 1e-7,
    "prothero_robinson": 1e-9,
}


def names(condition=lambda problem: True):
    return sorted(p.name for p in PROBLEMS.values() if condition(p))


def has_dense_jac(problem):
    return problem.jac is not None and "large" not in problem.tags


def jacobian(problem, t, y):
    """By complex steps, exact to rounding: the functions are analytic in y."""
    step = 1e-30
    shifted = y[:, None] + 1j * step * np.eye(y.size)
    values = problem.fun(np.full(y.size, t), shifted)
    return np.imag(np.asarray(values)) / step


def states_near(problem, m):
    """Times and states of shape (n, m) between the two ends, a little spread."""
    rng = np.random.default_rng(7)
    weights = rng.random(m)
    y0 = np.array(problem.y0)[:, None]
    end = problem.end_point[:, None]
    spread = 1 + 0.05 * rng.standard_normal((y0.size, m))
    y = ((1 - weights) * y0 + weights * end) * spread
    return rng.uniform(*problem.t_span, m), y


def test_registry_has_the_expected_problems():
    assert {name: set(p.tags) for name, p in PROBLEMS.items()} == EXPECTED


def test_names_are_unique_and_are_the_keys():
    assert [p.name for p in _problems._ALL] == list(PROBLEMS)


@pytest.mark.parametrize("name", names())
def test_fields_fit_together(name):
    problem = PROBLEMS[name]
    assert problem.t_span[0] < problem.t_span[1]
    assert problem.end_point.shape == (len(problem.y0),)
    assert np.isfinite(problem.end_point).all()
    assert problem.stiff != ("nonstiff" in problem.tags)
    assert problem.source


@pytest.mark.parametrize("name", names())
def test_fun_broadcasts_over_time(name):
    problem = PROBLEMS[name]
    t, y = states_near(problem, 5)
    together = np.asarray(problem.fun(t, y))
    single = [problem.fun(t[k], y[:, k]) for k in range(5)]
    assert together.shape == y.shape
    assert_allclose(together, np.transpose(single), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", names(has_dense_jac))
def test_jac_broadcasts_over_time(name):
    problem = PROBLEMS[name]
    n = len(problem.y0)
    t, y = states_near(problem, 5)
    together = problem.jac(t, y)
    assert together.shape == (n, n, 5)
    for k in range(5):
        single = problem.jac(t[k], y[:, k])
        assert single.shape == (n, n)
        assert_allclose(together[..., k], single, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", names(has_dense_jac))
def test_jac_is_the_derivative_of_fun(name):
    problem = PROBLEMS[name]
    t, y = states_near(problem, 5)
    for k in range(5):
        expected = jacobian(problem, t[k], y[:, k])
        assert_allclose(
            problem.jac(t, y)[..., k], expected, rtol=1e-12, atol=1e-15 * norm(expected)
        )


def norm(matrix):
    """Largest entry: the scale of rounding in any other."""
    return np.max(np.abs(matrix))


@pytest.mark.parametrize("name", names(lambda p: "large" in p.tags))
def test_sparse_jac_is_the_derivative_of_fun(name):
    problem = PROBLEMS[name]
    t, y = states_near(problem, 3)
    for k in range(3):
        jac = problem.jac(t[k], y[:, k]) if callable(problem.jac) else problem.jac
        expected = jacobian(problem, t[k], y[:, k])
        assert scipy.sparse.issparse(jac)
        assert_allclose(
            jac.toarray(), expected, rtol=1e-12, atol=1e-15 * norm(expected)
        )


@pytest.mark.parametrize("name", names(lambda p: "large" in p.tags))
def test_sparsity_pattern(name):
    """Every entry that is ever not zero is in it, and it is narrow."""
    problem = PROBLEMS[name]
    n = len(problem.y0)
    assert n == 500
    assert problem.jac_sparsity.shape == (n, n)
    rows, columns = problem.jac_sparsity.nonzero()
    assert np.max(np.abs(rows - columns)) <= 2
    inside = problem.jac_sparsity.toarray() != 0
    t, y = states_near(problem, 3)
    for k in range(3):
        assert not np.any(jacobian(problem, t[k], y[:, k])[~inside])


EXACT = names(lambda p: callable(p.reference) and p.name != "brusselator_pde")


@pytest.mark.parametrize("name", EXACT)
def test_exact_solution_solves_the_problem(name):
    """It starts at `y0`, and its derivative in time is `fun`.

    The derivative by complex steps; rounding of the state is amplified by the
    Jacobian.
    """
    problem = PROBLEMS[name]
    t0, tf = problem.t_span
    y0 = np.array(problem.y0)
    rounding = 16 * np.finfo(float).eps
    size = np.max(np.abs(y0)) + np.max(np.abs(problem.end_point))
    assert_allclose(problem.reference(t0), y0, rtol=0, atol=rounding * size)
    for t in t0 + (tf - t0) * np.array([1e-9, 1e-5, 0.1, 0.5, 0.9]):
        y = np.asarray(problem.reference(t))
        slope = np.imag(problem.reference(t + 1e-30j)) / 1e-30
        amplified = rounding * y.size * size * norm(jacobian(problem, t, y))
        assert_allclose(slope, problem.fun(t, y), rtol=1e-11, atol=amplified)


@pytest.mark.parametrize("name", EXACT)
def test_exact_solution_broadcasts_over_time(name):
    problem = PROBLEMS[name]
    t = np.linspace(*problem.t_span, 4)
    together = np.asarray(problem.reference(t))
    single = np.transpose([problem.reference(s) for s in t])
    assert together.shape == (len(problem.y0), 4)
    assert_allclose(together, single, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", names())
def test_end_point_agrees_with_a_tight_solve(name):
    problem = PROBLEMS[name]
    method, rtol = ("Radau", 1e-9) if problem.stiff else ("DOP853", 3e-13)
    result = solve_ivp(
        problem.fun,
        problem.t_span,
        problem.y0,
        method=method,
        rtol=rtol,
        atol=1e-15,
        **({"jac_sparsity": problem.jac_sparsity} if problem.stiff else {}),
    )
    assert result.success
    assert problem.error(result.y[:, -1]) < SENSITIVE.get(name, DEFAULT_RTOL)


def test_arenstorf_orbit_is_periodic():
    # The published orbit closes; its data are rounded to double precision, and
    # the reference is the end point of exactly those.
    problem = PROBLEMS["arenstorf"]
    assert problem.error(problem.y0) < 1e-7


def make_problem(reference):
    return Problem(
        name="made_up",
        fun=lambda t, y: y,
        t_span=(0.0, 2.0),
        y0=(1.0,) * 3,
        tags=frozenset({"nonstiff"}),
        reference=reference,
        source="test",
    )


def test_error_is_relative_per_component():
    problem = make_problem((100.0, -2.0, 1.0))
    assert problem.error([100.0, -2.0, 1.0]) == 0
    assert problem.error([101.0, -2.0, 1.0]) == pytest.approx(0.01)
    assert problem.error([101.0, -2.1, 1.0]) == pytest.approx(0.05)


def test_error_of_a_small_component_is_measured_by_the_largest():
    problem = make_problem((100.0, 1e-8, 0.0))
    assert problem.error([100.0, 1e-8, 1e-3]) == pytest.approx(1e-2)


def test_small_components_may_count():
    problem = replace(make_problem((100.0, 1e-4, 1e-9)), small=1e-8)
    assert problem.error([100.0, 1.1e-4, 1e-9]) == pytest.approx(0.1)
    assert problem.error([100.0, 1e-4, 1.1e-6]) == pytest.approx(1.099)


def test_error_is_absolute_where_the_reference_is_zero():
    assert make_problem((0.0, 0.0, 0.0)).error([0.0, -0.25, 0.0]) == 0.25


def test_error_of_a_solution_with_nan_is_nan():
    assert np.isnan(make_problem((1.0, 1.0, 1.0)).error([1.0, np.nan, 1.0]))


def test_reference_may_be_an_exact_solution():
    problem = make_problem(lambda t: [t, 2 * t, 3 * t])
    assert_allclose(problem.end_point, [2.0, 4.0, 6.0], rtol=0, atol=0)
