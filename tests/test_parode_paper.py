"""ParODE as in its paper: the regression, its fixed points, and what is accepted."""

import math
import time
import tracemalloc

import array_api_strict
import numpy as np
import pytest
import scipy.integrate
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import parivp
from parivp import _regression as regression
from parivp._dense_output import PiecewisePolynomial
from parivp._rhs import Rhs
from parivp._trajectory_error import trajectory_errors

FORMULATIONS = ("simple", "residual")
BASES = tuple(regression.BASES)


def toy(t, y):
    """The example of the paper."""
    return -(y**3) + np.sin(t)


def solve(fun=toy, t_span=(0, 2), y0=(0.5,), **options):
    options = {"formulation": "residual", "n_samples": 5000} | options
    return parivp.solve_ivp(fun, t_span, y0, "ParODE", **options)


# Options that solve the example on [0, 2] at the default tolerance.
GOOD = {"n_basis": (12, 12), "basis": "chebyshev", "reg_lambda": 1e-6}


def reference(fun, t_span, y0, t, **options):
    options = {"rtol": 1e-12, "atol": 1e-13, "max_step": 0.1} | options
    solution = scipy.integrate.solve_ivp(
        fun, t_span, y0, "DOP853", dense_output=True, **options
    )
    return solution.sol(t)


def box(name="monomial", n_basis=(4, 3), y0=0.5, radius=0.8, t0=0.0, tf=2.0):
    middle, half_width = (t0 + tf) / 2, abs(tf - t0) / 2
    return regression.ProductBasis(name, n_basis, (y0, radius), (middle, half_width))


def fit(formulation, *, fun=toy, n_samples=5000, seed=0, **options):
    """Regress as the method does, without anything that judges the outcome."""
    lam, weight = options.pop("reg_lambda", 1e-8), options.pop("ic_weight", 1e3)
    place = {"y0": 0.5, "radius": 0.8, "t0": 0.0, "tf": 2.0}
    place |= {key: options[key] for key in place if key in options}
    rng = np.random.default_rng(seed)
    points = regression.sample_box(rng, n_samples, *place.values())
    return regression.regress(
        fun,
        box(**options),
        formulation,
        points,
        (np.array([place["t0"]]), np.array([place["y0"]])),
        ic_weight=weight,
        reg_lambda=lam,
    )


def trajectory(fitted, t_span=(0, 2), y0=0.5, damping=0.8, max_iter=200):
    """States at 201 times, whether all converged, and the number of iterations."""
    t = np.linspace(*t_span, 201)
    with np.errstate(all="ignore"):
        y, change, residuals = regression.fixed_points(
            fitted, t, np.full(201, y0), damping=damping, tol=1e-10, max_iter=max_iter
        )
    return t, y, np.max(change) < 1e-10, len(residuals)


def relative_error(t, y, t_span=(0, 2)):
    exact = reference(toy, t_span, [0.5], t)[0]
    return np.linalg.norm(y - exact) / np.linalg.norm(exact)


# -- the basis and the equations ---------------------------------------------------


@pytest.mark.parametrize("name", BASES)
def test_function_is_the_sum_of_products(name):
    rng = np.random.default_rng(1)
    a = rng.normal(size=(4, 3))
    y, t = rng.uniform(-0.3, 1.3, 50), rng.uniform(0, 2, 50)
    F, _ = regression.FittedFunction(box(name), a)(t, y)
    if name == "monomial":
        expected = np.polynomial.polynomial.polyval2d(y, t, a)
    else:
        expected = np.polynomial.chebyshev.chebval2d((y - 0.5) / 0.8, t - 1, a)
    assert_allclose(F, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("n_basis", [(1, 1), (1, 2), (2, 1), (7, 6)])
@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_rows_are_the_derivatives_of_the_basis(formulation, name, n_basis):
    rng = np.random.default_rng(2)
    basis = box(name, n_basis)
    y, t = rng.uniform(-0.3, 1.3, 40), rng.uniform(0, 2, 40)
    f = toy(t, y)
    # along y + s f dy, t + s, the derivative by s, by central differences
    direction = f if formulation == "residual" else 0.0
    s = 1e-5
    for k in range(math.prod(n_basis)):
        a = np.zeros(n_basis)
        a.flat[k] = 1.0
        F = regression.FittedFunction(basis, a)
        ahead, behind = F(t + s, y + s * direction)[0], F(t - s, y - s * direction)[0]
        row = regression.collocation_rows(basis, formulation, t, y, f)[k]
        assert_allclose(row, (ahead - behind) / (2 * s), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", BASES)
def test_slope_in_y_by_differences(name):
    rng = np.random.default_rng(3)
    F = regression.FittedFunction(box(name, (7, 6)), rng.normal(size=(7, 6)))
    y, t = rng.uniform(-0.3, 1.3, 40), rng.uniform(0, 2, 40)
    difference = (F(t, y + 1e-5)[0] - F(t, y - 1e-5)[0]) / 2e-5
    assert_allclose(F(t, y)[1], difference, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("formulation", FORMULATIONS)
@pytest.mark.parametrize("t_span", [(0.0, 2.0), (3.0, 1.5)])
def test_samples_lie_in_the_box(formulation, t_span):
    seen = []

    def fun(t, y):
        seen.append((np.copy(t), np.copy(y)))
        return -y

    solve(
        fun, t_span, [0.25], formulation=formulation, radius=0.1, time_vectorized=True
    )
    t = np.concatenate([np.atleast_1d(t) for t, _ in seen])
    assert min(t_span) <= t.min() < min(t_span) + 0.01
    assert max(t_span) - 0.01 < t.max() <= max(t_span)
    samples = seen[1][1]
    assert abs(samples - 0.25).max() <= 0.1
    assert samples.min() < 0.16
    assert samples.max() > 0.34


def test_blocks_add_up(monkeypatch):
    rng = np.random.default_rng(4)
    t, y = regression.sample_box(rng, 1000, 0.5, 0.8, 0.0, 2.0)
    basis, f = box(n_basis=(4, 5)), toy(t, y)
    rows = regression.collocation_rows(basis, "residual", t, y, f)
    monkeypatch.setattr(regression, "BLOCK", 20 * 7)  # 142 blocks of 7 and one of 6
    matrix, vector = regression.normal_equations(toy, basis, "residual", t, y)
    assert_allclose(matrix, rows @ rows.T, rtol=1e-12, atol=1e-9)
    assert_allclose(vector, rows @ f, rtol=1e-12, atol=1e-9)


def test_memory_does_not_grow_with_the_samples():
    n_samples, size = 100_000, 225
    rng = np.random.default_rng(5)
    t, y = regression.sample_box(rng, n_samples, 0.5, 0.8, 0.0, 2.0)
    tracemalloc.start()
    try:
        regression.normal_equations(toy, box(n_basis=(15, 15)), "residual", t, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40e6 < n_samples * size * 8 / 4


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_normal_equations_are_those_of_the_stacked_system(formulation, name):
    """Eq. (7), against an orthogonal factorization of the equations it is made of."""
    lam, weight = 1e-2, 50.0
    basis = box(name)
    t, y = regression.sample_box(np.random.default_rng(0), 300, 0.5, 0.8, 0.0, 2.0)
    rows = regression.collocation_rows(basis, formulation, t, y, toy(t, y))
    phi = np.zeros(12)
    for k in range(12):
        a = np.zeros((4, 3))
        a.flat[k] = 1.0
        phi[k] = regression.FittedFunction(basis, a)(np.zeros(1), np.full(1, 0.5))[0][0]
    stacked = np.vstack([rows.T, math.sqrt(weight) * phi, math.sqrt(lam) * np.eye(12)])
    right = np.concatenate([toy(t, y), [math.sqrt(weight) * 0.5], np.zeros(12)])
    expected = np.linalg.lstsq(stacked, right)[0].reshape(4, 3)
    fitted = fit(
        formulation,
        name=name,
        n_samples=300,
        reg_lambda=lam,
        ic_weight=weight,
    )
    assert_allclose(fitted.coefficients, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_array_api(formulation):
    """The numerical part takes arrays of any library."""
    xp = array_api_strict
    t, y = regression.sample_box(np.random.default_rng(0), 300, 0.5, 0.8, 0.0, 2.0)
    basis = box("chebyshev", (4, 3))

    def run(xp):
        initial = xp.asarray([0.0]), xp.asarray([0.5])
        fitted = regression.regress(
            lambda t, y: -(y**3) + xp.sin(t),
            basis,
            formulation,
            (xp.asarray(t), xp.asarray(y)),
            initial,
            ic_weight=1e3,
            reg_lambda=1e-3,
        )
        times = xp.asarray(np.linspace(0, 0.5, 6))
        start = xp.full(6, 0.5, dtype=xp.float64)
        return regression.fixed_points(
            fitted, times, start, damping=0.8, tol=1e-10, max_iter=30
        )

    found, change, residuals = run(xp)
    expected = run(np)
    assert_allclose(np.asarray(found), expected[0], rtol=1e-9)
    assert_allclose(residuals, expected[2], rtol=1e-6, atol=1e-12)
    assert float(xp.max(change)) < 1e-10


# -- what the regression gives -----------------------------------------------------


def test_simple_formulation_integrates_polynomials():
    """Terms with t in them are those of the integral of f over t.

    Those without are in the null space of eq. (4): of them the regularization
    takes the shortest vector that meets the initial condition.
    """
    fitted = fit(
        "simple",
        fun=lambda t, y: y**2 * t**3 - 6 * t,
        n_basis=(4, 6),
        reg_lambda=1e-8,
    )
    expected = np.zeros((4, 6))
    expected[2, 4], expected[0, 2] = 1 / 4, -3
    powers = 0.5 ** np.arange(4)
    expected[:, 0] = 0.5 * powers / np.sum(powers**2)
    assert_allclose(fitted.coefficients, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_quadrature_without_y_in_the_basis(formulation, basis):
    """Where f depends on t only, and F too, both formulations integrate."""
    result = solve(
        lambda t, y: 0 * y + 5 * t**4 - 2 * t + 1,
        (-1, 1),
        [0.75],
        formulation=formulation,
        basis=basis,
        n_basis=(1, 6),
        rtol=1e-8,
        atol=1e-8,
    )
    assert result.success, result.message
    t = result.t
    assert_allclose(result.y[0], t**5 - t**2 + t + 3.75, rtol=0, atol=1e-8)


def test_residual_formulation_finds_polynomial_invariants():
    """With f = g(t) every polynomial of ``y - int g`` solves the equation."""
    result = solve(
        lambda t, y: 0 * y + 1 - 2 * t, n_basis=(3, 6), n_steps=50, rtol=1e-6
    )
    assert result.success, result.message
    assert_allclose(result.y[0], 0.5 + result.t - result.t**2, rtol=0, atol=2e-6)


def test_residual_formulation_is_solved_by_y_itself():
    """F = y satisfies its equations exactly, and makes the fixed points 0 = 0."""
    basis = box(n_basis=(5, 5))
    a = np.zeros((5, 5))
    a[1, 0] = 1.0
    t, y = regression.sample_box(np.random.default_rng(0), 100, 0.5, 0.8, 0.0, 2.0)
    rows = regression.collocation_rows(basis, "residual", t, y, toy(t, y))
    assert_array_equal(a.ravel() @ rows, toy(t, y))
    F, slope = regression.FittedFunction(basis, a)(t, y)
    assert_array_equal(F, y)
    assert_array_equal(slope, 1.0)


def limit_of_simple(t):
    """Fixed points of ``c(y) + int_0^t f(y, s) ds``, which eq. (4) leads to.

    Of all c with ``c(y0) = y0`` regularization takes that with the shortest
    coefficients, those proportional to the powers of y0.
    """

    def equation(y):
        return 0.5 * (1 - 0.25) / (1 - 0.5 * y) - t * y**3 + 1 - math.cos(t) - y

    return scipy.optimize.brentq(equation, 0.2, 1.2, xtol=1e-14)


def test_simple_formulation_converges_to_something_else():
    errors = []
    for n in (5, 8, 12):
        t, y, converged, _ = trajectory(fit("simple", n_basis=(n, n)))
        assert converged
        errors.append(np.max(np.abs(y - [limit_of_simple(s) for s in t])))
        assert relative_error(t, y) > 0.1
    assert errors[0] < 0.02
    assert errors[1] < errors[0] / 10
    assert errors[2] < 1e-4


@pytest.mark.parametrize("n", [5, 10, 15])
def test_simple_formulation_on_the_interval_of_the_text(n):
    fitted = fit("simple", n_basis=(n, n), tf=0.1)
    t, y, converged, _ = trajectory(fitted, (0, 0.1))
    assert converged
    assert 4e-3 < relative_error(t, y, (0, 0.1)) < 4.5e-3


def residual_row(n, n_samples, seed):
    """A row of Table II: error, finite-difference residual, initial residual."""
    fitted = fit("residual", n_basis=(n, n), n_samples=n_samples, seed=seed)
    t, y, converged, n_iterations = trajectory(fitted)
    slope = np.diff(y) / (t[1] - t[0])
    slope = np.append(slope, slope[-1])
    initial = abs(fitted(np.zeros(1), np.full(1, 0.5))[0][0] - 0.5)
    residual = np.linalg.norm(slope - toy(t, y))
    return relative_error(t, y), residual, initial, converged, n_iterations


def test_table_two_with_ten_by_ten():
    """The paper has 3.28e-4, 5.167e-2, 2e-16; rounding errors decide within a range."""
    rows = [residual_row(10, 200_000, seed) for seed in range(5)]
    error, residual, initial, *_ = np.array(rows).T
    assert 3.28e-4 / 5 < np.median(error) < 5 * 3.28e-4
    assert 5.167e-2 / 2 < np.median(residual) < 4 * 5.167e-2
    assert initial.max() < 1e-14


@pytest.mark.slow
def test_table_two_with_fifteen_by_fifteen():
    """The paper has 3.02e-5, 3.98e-2 and 15 iterations, counted from zero."""
    rows = [residual_row(15, 800_000, seed) for seed in range(3)]
    error, residual, initial, converged, n_iterations = np.array(rows).T
    assert 3.02e-5 / 5 < np.median(error) < 5 * 3.02e-5
    assert_allclose(np.median(residual), 3.98e-2, rtol=0.1)
    assert initial.max() < 1e-12
    assert np.median(converged) == 1
    assert 16 <= np.median(n_iterations) <= 17


def test_table_two_with_five_by_five():
    """The paper's errors are 0.43 and 0.12; the iteration reaches its limit."""
    for n_samples in (3000, 50_000):
        error, _, initial, converged, n_iterations = residual_row(5, n_samples, 0)
        assert 0.05 < error < 0.5
        assert initial < 1e-14
        assert not converged
        assert n_iterations == 200


# -- Newton's method ---------------------------------------------------------------


@given(st.lists(st.integers(-20, 20), min_size=4, max_size=4), st.floats(-1, 1))
def test_fixed_points_are_roots(coefficients, start):
    a = np.array(coefficients)[:, None] / 10 + np.array([[0], [3], [0], [0]])
    fitted = regression.FittedFunction(box(n_basis=(4, 1)), a)
    with np.errstate(all="ignore"):
        y, change, residuals = regression.fixed_points(
            fitted, np.zeros(1), np.array([start]), damping=0.8, tol=1e-12, max_iter=100
        )
    assert len(residuals) <= 100
    if change[0] < 1e-12 and abs(y[0]) < 10:
        polynomial = a[:, 0] - [0, 1, 0, 0]
        slope = np.polynomial.polynomial.polyval(
            y[0], np.polynomial.polynomial.polyder(polynomial)
        )
        if abs(slope) > 1e-3:
            roots = np.polynomial.polynomial.polyroots(np.trim_zeros(polynomial, "b"))
            assert np.min(np.abs(roots - y[0])) < 1e-8


@pytest.mark.parametrize("damping", [0.5, 0.8, 1.0])
def test_steps_are_damped(damping):
    """On a linear F every step leaves the same part of the residual."""
    fitted = regression.FittedFunction(box(n_basis=(2, 1)), np.array([[3.0], [-2.0]]))
    _, change, residuals = regression.fixed_points(
        fitted, np.zeros(1), np.zeros(1), damping=damping, tol=1e-9, max_iter=50
    )
    assert_allclose(
        residuals, 3 * (1 - damping) ** np.arange(len(residuals)), atol=1e-9
    )
    assert change[0] < 1e-9
    if damping == 0.8:  # 3 * 0.2**k / 3 * 0.8 first is below 1e-9 at k = 13
        assert len(residuals) == 14


@pytest.mark.parametrize("slope", [0.0, 1e-13, -1e-13])
def test_small_slopes_are_kept_from_zero(slope):
    a = np.array([[1.0], [1.0 + slope]])
    fitted = regression.FittedFunction(box(n_basis=(2, 1)), a)
    y, _, _ = regression.fixed_points(
        fitted, np.zeros(1), np.zeros(1), damping=1.0, tol=1e-9, max_iter=1
    )
    assert_allclose(abs(y), 1e12)


# -- the error estimate ------------------------------------------------------------


@pytest.mark.parametrize("rate", [-50.0, -1.0, 0.0, 3.0])
@pytest.mark.parametrize("wave", [1.0, 7.0])
def test_error_estimate_is_the_error(rate, wave):
    """Of cos t perturbed, as a solution of ``y' = rate (y - cos t) - sin t``."""

    def fun(t, y):
        return rate * (y - np.cos(t)) - np.sin(t)

    t = np.linspace(0, 2, 401)
    perturbation = 1e-3 * np.sin(wave * t)
    y = np.cos(t) + perturbation
    slopes = -np.sin(t) + 1e-3 * wave * np.cos(wave * t)
    h = np.diff(t)
    left, right = h * slopes[:-1], h * slopes[1:]
    bubble = np.stack([(left - right) / 2, np.diff(y) - (left + right) / 2])
    polynomial = PiecewisePolynomial(t, y[None], bubble[:, None])
    errors = trajectory_errors(Rhs(fun, np.empty(1)), polynomial, 0.0, 1e-4)
    middle = 1e-3 * np.sin(wave * (t[1:] + t[:-1]) / 2)
    expected = np.maximum(np.abs(perturbation[1:]), np.abs(middle)) / 1e-4
    # where perturbations decay within a step it is too large, by half a step's decay
    assert np.all(errors > 0.98 * expected - 0.1)
    assert np.all(errors < (1.02 - min(rate, 0.0) * 0.00125) * expected + 0.1)


def test_error_estimate_sees_a_jump_between_points():
    """The quadrature doubts itself where the right-hand side is not smooth."""

    def fun(t, y):
        return 0 * y + 100.0 * (t > 0.4321)

    polynomial = PiecewisePolynomial(
        np.array([0.0, 1.0]), np.array([[0.0, 56.79]]), np.zeros((0, 1, 1))
    )
    assert trajectory_errors(Rhs(fun, np.empty(1)), polynomial, 0.0, 1e-2)[0] > 1


coefficient = st.floats(-1.5, 1.5)
PROBLEMS = {
    "quadratic": lambda t, y, a, b, w: a - b * y - 0.3 * y**2 + np.sin(w * t),
    "pendulum": lambda t, y, a, b, w: a * np.sin(2 * y) + np.cos(w * t),
    "cubic": lambda t, y, a, b, w: a * y * np.cos(w * t) - y**3 + b,
    "kink": lambda t, y, a, b, w: a * abs(y - b) + np.cos(w * t),
    "jumps": lambda t, y, a, b, w: np.sign(np.sin(w * t)) - a * y,
}


@given(
    problem=st.sampled_from(sorted(PROBLEMS)),
    parameters=st.tuples(coefficient, coefficient, st.floats(0.5, 6)),
    y0=coefficient,
    t0=st.sampled_from([0.0, 1.0, -2.0]),
    length=st.floats(0.1, 2).flatmap(lambda x: st.sampled_from([x, -x])),
    formulation=st.sampled_from(["residual", "residual", "simple"]),
    basis=st.sampled_from(BASES),
    n_basis=st.tuples(st.integers(1, 9), st.integers(2, 9)),
    radius=st.floats(0.2, 1.2),
    reg_lambda=st.sampled_from([0.0, 1e-8, 1e-3]),
    rtol=st.sampled_from([1e-1, 1e-2, 1e-3, 1e-5]),
    n_steps=st.sampled_from([1, 5, 50, 200]),
)
def test_what_is_accepted_is_right(
    problem, parameters, y0, t0, length, rtol, n_steps, **options
):
    """Whatever the options, whatever the status: within the tolerance as far as t."""
    fun, t_span = PROBLEMS[problem], (t0, t0 + length)
    result = solve(
        fun,
        t_span,
        [y0],
        args=parameters,
        n_samples=1000,
        n_steps=n_steps,
        rtol=rtol,
        atol=rtol / 10,
        dense_output=True,
        **options,
    )
    assert result.t[0] == t0
    assert result.y[0, 0] == y0
    if result.success:
        assert result.t[-1] == t0 + length
    if len(result.t) > 1:
        t = np.sort(np.append(result.t, (result.t[1:] + result.t[:-1]) / 2))
        t = t if length > 0 else t[::-1]
        exact = reference(
            lambda t, y: fun(t, y, *parameters),
            (t0, result.t[-1]),
            [y0],
            t,
            max_step=0.02,
            rtol=1e-9,
            atol=1e-9,
        )
        tolerance = rtol / 10 + rtol * np.abs(exact)
        assert np.max(np.abs(result.sol(t) - exact) / tolerance) < 1.5


@pytest.mark.parametrize("problem", sorted(PROBLEMS))
def test_some_are_solved(problem):
    """So that the test above is not about failures alone."""
    result = solve(
        PROBLEMS[problem],
        (0, 0.5),
        [0.5],
        args=(1.0, 0.2, 2.0),
        rtol=1e-2,
        n_basis=(8, 8),
        reg_lambda=1e-3,
    )
    assert result.success, result.message


# -- solve_ivp ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def solution():
    return solve(dense_output=True, **GOOD)


def test_result(solution):
    assert solution.success
    assert solution.status == 0
    assert_allclose(solution.t, np.linspace(0, 2, 201), rtol=1e-15)
    assert solution.y.shape == (1, 201)
    assert solution.nsteps == 200
    assert solution.nlu == 1
    assert solution.njev == 0
    assert solution.nit == len(solution.newton_residuals[0]) < 50
    assert solution.newton_residuals[0][-1] < 1e-8
    assert solution.nfev > 5000
    exact = reference(toy, (0, 2), [0.5], solution.t)
    assert_allclose(solution.y, exact, rtol=1e-3, atol=1e-6)


def test_dense_output(solution):
    assert_allclose(solution.sol(solution.t), solution.y, rtol=1e-15)
    t = np.linspace(0, 2, 997)
    assert_allclose(solution.sol(t), reference(toy, (0, 2), [0.5], t), rtol=1e-3)
    # slopes are those of fun
    ahead = solution.sol(solution.t[1:] + 1e-6) - solution.y[:, 1:]
    assert_allclose(ahead[0] / 1e-6, toy(solution.t, solution.y)[0, 1:], atol=1e-4)


@pytest.mark.parametrize("n_steps", [1, 7, 500])
def test_number_of_steps(n_steps):
    result = solve(t_span=(0, 0.1), n_steps=n_steps)
    assert result.success
    assert len(result.t) == n_steps + 1


def test_mesh():
    mesh = np.array([0, 0.01, 0.04, 0.1])
    result = solve(t_span=(0, 0.1), mesh=mesh)
    assert_array_equal(result.t, mesh)


def test_t_eval_and_events(solution):
    def above(t, y):
        return y[0] - 0.6

    t_eval = [0, 0.3, 1.5]
    result = solve(t_eval=t_eval, events=above, **GOOD)
    assert_array_equal(result.t, t_eval)
    assert_allclose(result.y, solution.sol(t_eval), rtol=1e-14)
    assert_allclose(result.y_events[0], [[0.6]], rtol=1e-12)
    above.terminal = True
    stopped = solve(events=above, **GOOD)
    assert stopped.status == 1
    assert stopped.t[-1] == result.t_events[0][0]


def test_event_before_a_failure():
    """What is accepted may hold the end that was asked for."""

    def soon(t, y):
        return t - 0.01

    options = {"formulation": "simple", "rtol": 1e-2}
    assert solve(**options).status == -1
    soon.terminal = True
    assert solve(events=soon, **options).status == 1


def test_backward():
    result = solve(lambda t, y: np.cos(t) - y, (1, 0), [0.5], **GOOD)
    assert result.success
    exact = reference(lambda t, y: np.cos(t) - y, (1, 0), [0.5], result.t)
    assert_allclose(result.y, exact, rtol=1e-3)


def test_callback():
    states = []
    solve(callback=states.append, **GOOD)
    assert [state.t for state in states] == [2.0]
    assert states[0].nsteps == 200


def test_scipy_entry(solution):
    result = scipy.integrate.solve_ivp(
        toy,
        (0, 2),
        [0.5],
        method=parivp.ParODE,
        formulation="residual",
        n_samples=5000,
        **GOOD,
    )
    assert result.success
    assert_array_equal(result.t, solution.t)
    assert_array_equal(result.y, solution.y)
    failed = scipy.integrate.solve_ivp(
        toy, (0, 2), [0.5], method=parivp.ParODE, formulation="simple"
    )
    assert failed.status == -1
    assert "estimated error" in failed.message


def test_step_by_step(solution):
    solver = parivp.ParODE(
        toy, 0.0, [0.5], 2.0, formulation="residual", n_samples=5000, **GOOD
    )
    for k in range(1, 201):
        solver.step()
        assert solver.t == solution.t[k]
    assert solver.status == "finished"
    assert_allclose(solver.dense_output()(1.995), solution.sol(1.995), rtol=1e-14)


def test_zero_span():
    result = solve(t_span=(1, 1), dense_output=True)
    assert result.success
    assert_array_equal(result.y, [[0.5, 0.5]])
    assert_array_equal(result.sol(1.0), [0.5])


def test_seed():
    first, again = solve(seed=3, **GOOD), solve(seed=3, **GOOD)
    other = solve(seed=4, **GOOD)
    assert_array_equal(first.y, again.y)
    assert np.any(first.y != other.y)


def test_radius_and_samples_change_the_fit():
    options = {"time_vectorized": True, **GOOD}
    usual = solve(**options)
    assert np.any(solve(radius=0.7, **options).y != usual.y)
    assert solve(n_samples=6000, **options).nfev == usual.nfev + 1000


def test_weight_of_the_initial_condition():
    """Without weight F = 0 would be as good at the start as anything else."""
    options = {"n_basis": (1, 6), "time_vectorized": True}
    heavy = solve(lambda t, y: 0 * y + t, (0, 1), [0.5], **options)
    light = solve(lambda t, y: 0 * y + t, (0, 1), [0.5], ic_weight=1e-12, **options)
    assert heavy.success
    assert light.status == -1


def test_initial_guess_starts_the_iteration(solution):
    result = solve(initial_guess=solution.sol, **GOOD)
    assert_allclose(result.y, solution.y, rtol=1e-8)
    assert result.nit < solution.nit


@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_fun_point_by_point(formulation, solution):
    def fun(t, y):
        return [-(y[0] ** 3) + math.sin(t)]

    options = {"formulation": formulation, "n_samples": 2000, "n_basis": (6, 6)}
    result = solve(fun, **options)
    expected = solve(**options)
    assert result.status == expected.status
    assert_allclose(result.y, expected.y, rtol=1e-9)


def test_fun_that_only_seems_to_broadcast():
    def fun(t, y):
        return (1.0 if np.all(t > 0.5) else -1.0) - y

    result = solve(fun, (0, 1), [0.0], n_basis=(8, 8), rtol=1e-1, atol=5e-2, n_steps=50)
    exact = np.where(
        result.t < 0.5,
        np.expm1(-result.t),
        1 - (2 - math.exp(-0.5)) * np.exp(0.5 - result.t),
    )
    assert_allclose(result.y[0], exact, rtol=1e-1, atol=5e-2)


def test_vectorized_in_the_sense_of_scipy():
    def fun(t, y):
        assert y.ndim == 2
        return -y

    result = solve(fun, (0, 0.5), [0.5], vectorized=True, **GOOD)
    assert_allclose(result.y[0], 0.5 * np.exp(-result.t), rtol=1e-3)


# -- failures ----------------------------------------------------------------------


def test_not_converged():
    result = solve(max_newton=3, **GOOD)
    assert result.status == -1
    assert not result.success
    assert "did not converge within 3 iterations" in result.message
    assert 'formulation="flow"' in result.message
    assert_array_equal(result.t, [0.0])
    assert_array_equal(result.y, [[0.5]])


def test_inaccurate():
    result = solve(formulation="simple")
    assert result.status == -1
    assert "estimated error exceeds it from t = " in result.message
    assert 'formulation="flow"' in result.message
    assert result.t[-1] < 2


@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_accepted_up_to_where_it_fails(formulation):
    """A loose tolerance is met for some time."""
    options = {"n_basis": (6, 6), "reg_lambda": 1e-3, "rtol": 2e-2}
    result = solve(formulation=formulation, dense_output=True, **options)
    assert result.status == -1
    assert 2 < len(result.t) < 201
    assert result.sol.t_max == result.t[-1]
    exact = reference(toy, (0, 2), [0.5], result.t)
    assert_allclose(result.y, exact, rtol=2e-2, atol=1e-6)


def test_singular_equations():
    result = solve(n_samples=1, reg_lambda=0.0, n_basis=(3, 3))
    assert result.status == -1
    assert len(result.t) == 1


def test_fun_not_finite_in_the_box():
    result = solve(lambda t, y: -np.sqrt(y), (0, 0.5), [0.5])
    assert result.status == -1
    assert "smaller `radius`" in result.message
    options = {"radius": 0.45, "n_basis": (8, 8), "reg_lambda": 1e-3}
    result = solve(lambda t, y: -np.sqrt(y), (0, 0.5), [0.5], **options)
    assert result.success
    assert_allclose(result.y[0], (math.sqrt(0.5) - result.t / 2) ** 2, rtol=1e-3)


def test_fun_raises_in_the_box():
    def fun(t, y):
        if np.any(y > 0.9):
            raise RuntimeError("too far")
        return -y

    result = solve(fun, (0, 0.5), [0.5])
    assert result.status == -1
    assert "raised or is not finite at a sample, " in result.message
    assert solve(fun, (0, 0.5), [0.5], radius=0.3, n_basis=(6, 6)).success


def test_fun_raises_at_the_start():
    def fun(t, y):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        solve(fun)


def test_most_steps():
    result = solve(max_steps=30, **GOOD)
    assert result.status == -1
    assert "`max_steps` = 30" in result.message
    assert len(result.t) == 31


def test_timeout():
    def slow(t, y):
        time.sleep(0.01)
        return [-y[0]]

    start = time.monotonic()
    result = solve(slow, time_vectorized=False, timeout=0.2)
    assert time.monotonic() - start < 5
    assert result.status == -1
    assert "`timeout`" in result.message


@pytest.mark.parametrize("y0", [1e300, -1e160, 1e20])
def test_overflow_is_a_status(y0):
    result = solve(lambda t, y: y, (0, 1), [y0])
    assert result.status == -1
    assert_array_equal(result.t, [0.0])


WRONG = {
    "a system": ({"y0": [1.0, 2.0]}, ValueError, r"one equation: `y0`.*\(2,\)"),
    "no equation": ({"y0": []}, ValueError, r"one equation: `y0`.*\(0,\)"),
    "complex": ({"y0": [1j]}, ValueError, "`y0` is complex"),
    "no end": ({"t_span": (0, np.inf)}, ValueError, "ends at inf"),
    "formulation": ({"formulation": "full"}, ValueError, "`formulation`.*'full'"),
    "basis": ({"basis": "fourier"}, ValueError, "`basis`.*'fourier'"),
    "basis of no name": ({"basis": 3}, ValueError, "`basis`.*3"),
    "n_basis one number": ({"n_basis": 5}, ValueError, "`n_basis`.*two.*5"),
    "n_basis three": ({"n_basis": (5, 5, 5)}, ValueError, "`n_basis`.*two"),
    "n_basis zero": ({"n_basis": (5, 0)}, ValueError, "`n_basis`.*0"),
    "n_basis None": ({"n_basis": (5, None)}, ValueError, "`n_basis`.*None"),
    "n_samples zero": ({"n_samples": 0}, ValueError, "`n_samples`.*0"),
    "n_samples fraction": ({"n_samples": 10.5}, ValueError, "`n_samples`.*10.5"),
    "radius zero": ({"radius": 0}, ValueError, "`radius`.*finite and positive.*0"),
    "radius infinite": ({"radius": np.inf}, ValueError, "`radius`.*inf"),
    "radius NaN": ({"radius": np.nan}, ValueError, "`radius`.*nan"),
    "radius text": ({"radius": "1"}, TypeError, "`radius`.*'1'"),
    "ic_weight": ({"ic_weight": -1.0}, ValueError, "`ic_weight`.*-1"),
    "reg_lambda": ({"reg_lambda": -1e-8}, ValueError, "`reg_lambda`.*-1e-08"),
    "damping zero": ({"damping": 0}, ValueError, "`damping`.*0"),
    "damping two": ({"damping": 2}, ValueError, "`damping`.*at most 1.*2"),
    "seed": ({"seed": -1}, ValueError, "`seed`.*-1"),
    "seed a fraction": ({"seed": 0.5}, ValueError, "`seed`.*0.5"),
    "mesh and n_steps": ({"mesh": [0, 2], "n_steps": 5}, ValueError, "not both"),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors(name):
    options, error, match = WRONG[name]
    with pytest.raises(error, match=match):
        solve(**options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tableau", "RadauIIA5"),
        ("jac", [[0.0]]),
        ("jac_sparsity", [[1]]),
        ("window", 3),
    ],
)
def test_options_without_effect(name, value):
    with pytest.warns(UserWarning, match=f"no effect for a chosen solver: `{name}`"):
        solve(t_span=(0, 0.1), **{name: value})


@pytest.mark.parametrize("name", ["basis", "n_samples", "radius", "damping", "seed"])
def test_options_without_effect_on_flow(name):
    with pytest.warns(UserWarning, match=f"no effect for a chosen solver: `{name}`"):
        parivp.solve_ivp(toy, (0, 1), [0.5], "ParODE", **{name: 1})


@pytest.mark.parametrize("n_basis", [8, (2,), (2, None), (2, 0), "ab"])
@pytest.mark.parametrize("formulation", ["flow", *FORMULATIONS])
def test_n_basis_that_is_no_pair(formulation, n_basis):
    with pytest.raises(ValueError, match="`n_basis`"):
        solve(formulation=formulation, n_basis=n_basis, n_samples=None)
