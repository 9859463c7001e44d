"""The registry of problems: complete, consistent, and right at the end points."""

import numpy as np
import pytest
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
}

# How closely a tight solve in double precision can be expected to meet the end
# point. Three problems magnify its rounding and truncation errors: Arenstorf and
# Pleiades in close encounters, Lorenz by exp(0.9 t), some 1e7 over its span.
DEFAULT_RTOL = 1e-10
SENSITIVE = {"arenstorf": 1e-5, "pleiades": 1e-9, "lorenz": 1e-7}


def names(condition=lambda problem: True):
    return sorted(p.name for p in PROBLEMS.values() if condition(p))


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


@pytest.mark.parametrize("name", names(lambda p: p.jac is not None))
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


@pytest.mark.parametrize("name", names(lambda p: p.jac is not None))
def test_jac_is_the_derivative_of_fun(name):
    problem = PROBLEMS[name]
    t, y = states_near(problem, 5)
    # The right-hand sides are polynomials in y: a complex step is exact.
    step = 1e-30
    for j in range(len(y)):
        shifted = y.astype(complex)
        shifted[j] += 1j * step
        column = np.imag(np.asarray(problem.fun(t, shifted))) / step
        assert_allclose(problem.jac(t, y)[:, j], column, rtol=1e-12, atol=1e-13)


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


def test_error_is_absolute_where_the_reference_is_zero():
    assert make_problem((0.0, 0.0, 0.0)).error([0.0, -0.25, 0.0]) == 0.25


def test_error_of_a_solution_with_nan_is_nan():
    assert np.isnan(make_problem((1.0, 1.0, 1.0)).error([1.0, np.nan, 1.0]))


def test_reference_may_be_an_exact_solution():
    problem = make_problem(lambda t: [t, 2 * t, 3 * t])
    assert_allclose(problem.end_point, [2.0, 4.0, 6.0], rtol=0, atol=0)
