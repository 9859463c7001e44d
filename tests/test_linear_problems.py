"""Linear problems: solved without a predictor, whatever they look like."""

import numpy as np
import pytest
import scipy.integrate
from numpy.testing import assert_allclose

import parivp
import parivp._solver
from parivp._affine import is_affine
from parivp._jacobian import DifferencedJacobian
from parivp._problems import PROBLEMS
from parivp._rhs import Rhs

LINEAR = ("heat", "prothero_robinson", "stiff_linear", "dahlquist")
NONLINEAR = ("robertson", "hires", "van_der_pol_stiff", "brusselator_pde", "logistic")


@pytest.fixture(params=["ScanNewtonImplicit", "ParODE"])
def method(request):
    return request.param


@pytest.fixture
def predicted(monkeypatch):
    """Whether a predictor has run, as a list."""
    calls, predict = [], parivp._solver.predict

    def recording(*args, **options):
        calls.append(args)
        return predict(*args, **options)

    monkeypatch.setattr(parivp._solver, "predict", recording)
    return calls


def oscillator(t, y):
    return [y[1], -y[0]]


def solve_problem(name, method, rtol, **options):
    problem = PROBLEMS[name]
    if problem.jac_sparsity is not None:
        options |= {"jac_sparsity": problem.jac_sparsity}
    y0 = np.array(problem.y0)
    options |= {"rtol": rtol, "atol": rtol * 1e-3}
    return parivp.solve_ivp(problem.fun, problem.t_span, y0, method, **options)


# -- which problems ----------------------------------------------------------------


@pytest.mark.parametrize("name", LINEAR)
def test_linear_problems_need_no_predictor(name, method, predicted):
    result = solve_problem(name, method, 1e-6)
    assert result.success
    assert not predicted
    problem = PROBLEMS[name]
    reference = problem.reference
    expected = reference(problem.t_span[1]) if callable(reference) else reference
    scale = max(np.max(np.abs(expected)), 1e-6)
    assert_allclose(result.y[:, -1], expected, rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.parametrize("name", NONLINEAR)
def test_others_do(name, method, predicted):
    assert solve_problem(name, method, 1e-3).success
    assert predicted


@pytest.mark.parametrize("name", LINEAR)
def test_single_calls_are_few(name):
    """Where `fun` is known to broadcast none but the first of all are needed."""
    counts = {"single": 0, "many": 0}
    problem = PROBLEMS[name]

    def fun(t, y):
        counts["many" if np.ndim(t) else "single"] += 1
        return problem.fun(t, y)

    options = {"rtol": 1e-6, "atol": 1e-9, "jac_sparsity": problem.jac_sparsity}
    y0 = np.array(problem.y0)
    result = parivp.solve_ivp(
        fun, problem.t_span, y0, "ScanNewtonImplicit", time_vectorized=True, **options
    )
    assert result.success
    assert counts["single"] <= 4
    assert counts["many"] <= 50


AFFINE = {
    "decay": (lambda t, y: -y, 1),
    "forcing": (lambda t, y: -1e6 * (y - np.cos(t)) - np.sin(t), 1),
    "coefficients": (lambda t, y: np.exp(-t) * y + t, 3),
    "coupled": (lambda t, y: [1e4 * (y[1] - y[0]), np.sin(t) * y[0] - 3.0], 2),
    "matrix": (lambda t, y: np.array([[-1e5, 7.0], [3.0, -1.0]]) @ y, 2),
    "constant": (lambda t, y: 0.0 * y + 2.0, 2),
    "zero": (lambda t, y: 0.0 * y, 2),
}
NOT_AFFINE = {
    "square": lambda t, y: -y + 1e-6 * y**2,
    "cube": lambda t, y: -1e4 * y + y**3,
    "product": lambda t, y: [-y[0] * y[1], y[0]],
    "sine": lambda t, y: -np.sin(y),
    "absolute value": lambda t, y: -np.abs(y - 0.9),
    "later on": lambda t, y: -y + np.where(t > 5, y**2, 0.0),
    "overflow": lambda t, y: np.exp(1e3 * y),
}


def affine(fun, y0, t):
    rhs = Rhs(fun, np.array(y0), time_vectorized=True)
    return is_affine(rhs, np.asarray(t), np.array(y0))


@pytest.mark.parametrize("y0", [0.0, 1.0, -1e-12, 1e15])
@pytest.mark.parametrize("name", AFFINE)
def test_affine_functions_are_recognized(name, y0):
    fun, n = AFFINE[name]
    assert affine(fun, [y0] * n, np.linspace(0, 10, 7))


@pytest.mark.parametrize("name", NOT_AFFINE)
def test_others_are_not_taken_for_affine(name):
    assert not affine(NOT_AFFINE[name], [1.0, 1.0], np.linspace(0, 10, 7))


@pytest.mark.parametrize("n", [10, 100, 500])
@pytest.mark.parametrize("shape", ["sine", "parabola", "step", "zero"])
def test_diffusion_of_smooth_states_is_recognized(n, shape):
    """Where most of the terms cancel."""
    x = np.linspace(0, 1, n + 2)[1:-1]
    y0 = {
        "sine": np.sin(np.pi * x),
        "parabola": 16 * x * (1 - x),
        "step": 1.0 * (x > 0.5),
        "zero": 0 * x,
    }[shape]

    def fun(t, y):
        out = -2.0 * y
        out[1:] += y[:-1]
        out[:-1] += y[1:]
        return (n + 1) ** 2 * out

    assert affine(fun, y0, np.linspace(0, 10, 20))


@pytest.mark.parametrize("center", [3.1, 37.3, 50.7])
@pytest.mark.parametrize("width", [0.03, 0.1])
def test_pulses_between_the_nodes_of_a_coarse_mesh(width, center):
    """A predictor follows the oscillation in short steps, and so meets them."""

    def fun(t, y):
        return [y[1], -y[0] + np.exp(-(((t - center) / width) ** 2))]

    options = {"rtol": 1e-3, "atol": 1e-6}
    y0 = [1.0, 0.0]
    result = parivp.solve_ivp(fun, (0, 100), y0, "ScanNewtonImplicit", **options)
    # a kick of the velocity by the area of the pulse
    kick = np.sqrt(np.pi) * width * np.exp(-(width**2) / 4)
    expected = np.cos(100) + kick * np.sin(100 - center)
    assert result.success
    assert_allclose(result.y[0, -1], expected, atol=kick / 10)


def test_differences_of_affine_functions_are_exact():
    """Increments as large as the states leave rounding errors alone."""
    rng = np.random.default_rng(3)
    A = rng.standard_normal((6, 6)) * 10.0 ** rng.integers(-3, 6, (6, 6))
    y = rng.standard_normal((6, 4))
    errors = {}
    for long in (False, True):
        jacobian = DifferencedJacobian(lambda t, y: A @ y + 1e6, np.array([[1e-9]]))
        jacobian.affine = long
        J = jacobian(np.zeros(4), y)
        errors[long] = np.max(np.abs(J - A[:, :, None])) / np.max(np.abs(A))
    assert errors[True] < 1e-14
    assert errors[False] > 1e-12


# -- what looks linear and is not, or is hard ---------------------------------------

DECEPTIVE = {
    "kink": (lambda t, y: -1000 * np.maximum(y, 0) + np.cos(t), (0, 10), [1.0], 1e-5),
    "threshold": (lambda t, y: np.where(y > 1e-3, -y, -0.1 * y), (0, 30), [1.0], 1e-4),
    "magnitude": (lambda t, y: 5 * np.sin(t) - np.abs(y), (0, 10), [1.0], 1e-6),
    "saturation": (
        lambda t, y: np.clip(-y, -3, 3) + 9.0 * (t > 2),
        (0, 5),
        [1.0],
        1e-4,
    ),
}


@pytest.mark.parametrize("name", DECEPTIVE)
def test_what_only_looks_linear(name, method):
    fun, t_span, y0, error = DECEPTIVE[name]
    result = parivp.solve_ivp(fun, t_span, y0, method, rtol=1e-6, atol=1e-9)
    tight = {"rtol": 1e-11, "atol": 1e-13, "max_step": 0.01}
    expected = scipy.integrate.solve_ivp(fun, t_span, y0, "Radau", **tight).y[:, -1]
    assert result.success
    assert_allclose(result.y[:, -1], expected, rtol=1e-6, atol=error)


def test_function_that_is_real_linear_only(method):
    """Not analytic, so that its complex Jacobian does not exist."""

    def fun(t, y):
        return -1j * np.conj(y) - y

    def fun_real(t, y):
        return [-y[1] - y[0], -y[0] - y[1]]

    result = parivp.solve_ivp(fun, (0, 3), [1 + 0.5j], method, rtol=1e-6, atol=1e-9)
    tight = {"rtol": 1e-12, "atol": 1e-14}
    known = scipy.integrate.solve_ivp(fun_real, (0, 3), [1, 0.5], "DOP853", **tight)
    assert result.success
    assert_allclose(result.y[0, -1], known.y[0, -1] + 1j * known.y[1, -1], atol=1e-6)


@pytest.mark.parametrize("rate", [50.0, -50.0])
def test_growth_by_hundreds_of_digits(rate, method):
    t_span = (0, 10) if rate > 0 else (10, 0)
    y0 = [1.0]
    result = parivp.solve_ivp(lambda t, y: rate * y, t_span, y0, method, rtol=1e-8)
    assert result.success
    assert_allclose(result.y[0, -1], np.exp(500.0), rtol=1e-5)


GROWS = {
    "linear": (lambda t, y: y, lambda t, y0: y0 * np.exp(t)),
    "logistic": (
        lambda t, y: y * (1 - y),
        lambda t, y0: y0 * np.exp(t) / (1 + y0 * np.expm1(t)),
    ),
}


@pytest.mark.parametrize("y0", [1e-16, 1e-12, 1e-8])
@pytest.mark.parametrize("name", GROWS)
def test_growth_within_long_steps(name, y0, method, predicted):
    """Steps in which solutions grow fast would damp them, unseen below ``atol``."""
    fun, exact = GROWS[name]
    result = parivp.solve_ivp(fun, (0, 60), [y0], method, rtol=1e-6)
    assert predicted
    if y0 == 1e-8:  # from less, implicit methods of SciPy go astray as well
        assert result.success
        assert_allclose(result.y[0, -1], exact(60, y0), rtol=0.1)


def test_growth_of_one_component_among_others(method):
    """It is hidden by the others and by the tolerance until the end."""
    A = np.diag([-1e5, -1.0, 1.0])
    y0, options = [1.0, 1.0, 1e-7], {"rtol": 1e-6, "atol": 1e-6}
    result = parivp.solve_ivp(lambda t, y: A @ y, (0, 30), y0, method, **options)
    assert result.success
    assert_allclose(result.y[2, -1], 1e-7 * np.exp(30), rtol=0.1)


@pytest.mark.parametrize("t_end", [20.0, 300.0, 3000.0])
@pytest.mark.parametrize("direction", [1, -1])
def test_long_oscillation(t_end, direction, method):
    """A first mesh that is far too coarse does no harm, and costs little."""
    t_end *= direction
    options = {"rtol": 1e-8, "atol": 1e-10}
    result = parivp.solve_ivp(oscillator, (0, t_end), [1.0, 0.0], method, **options)
    expected = [np.cos(t_end), -np.sin(t_end)]
    assert result.success
    assert_allclose(result.y[:, -1], expected, atol=1e-8 * abs(t_end))


def test_coarse_meshes_cost_little_where_they_do_not_help(monkeypatch):
    def count():
        options = {"rtol": 1e-6, "atol": 1e-9}
        fun = oscillator
        return parivp.solve_ivp(
            fun, (0, 500), [1.0, 0], "ScanNewtonImplicit", **options
        )

    with_coarse = count()
    monkeypatch.setattr("parivp._affine.is_affine", lambda *args: False)
    assert with_coarse.nfev < 1.2 * count().nfev


@pytest.mark.parametrize("width", [1.0, 0.2])
def test_forcing_in_a_short_while(width, method):
    """Resolved once some point of a coarse mesh, or a step, has met it."""

    def fun(t, y):
        return -y + 10 * np.exp(-(((t - 50) / width) ** 2))

    options = {"rtol": 1e-8, "atol": 1e-10, "max_step": 0.5}
    result = parivp.solve_ivp(fun, (0, 60), [1.0], method, **options)
    tight = {"rtol": 1e-11, "atol": 1e-13, "max_step": 0.05}
    expected = scipy.integrate.solve_ivp(fun, (0, 60), [1.0], "DOP853", **tight)
    assert result.success
    assert np.max(np.diff(result.t)) <= 0.5 * (1 + 1e-12)
    assert_allclose(result.y[:, -1], expected.y[:, -1], rtol=1e-6)


def test_singular_coefficients(method):
    result = parivp.solve_ivp(lambda t, y: y / (1 - t), (0, 2), [1.0], method)
    assert result.status == -1
    assert 0.9 < result.t[-1] <= 1.0


def test_time_without_end(method, predicted):
    def half(t, y):
        return y[0] - 0.5

    half.terminal = True
    result = parivp.solve_ivp(
        lambda t, y: -y, (0, np.inf), [1.0], method, events=half, rtol=1e-8
    )
    assert result.status == 1
    assert_allclose(result.t_events[0], np.log(2), rtol=1e-7)
    assert predicted


@pytest.mark.parametrize("most_points", [50, 150, 400])
def test_without_room_for_a_mesh(most_points, method):
    """Shorter windows are tried where memory ends."""

    def fun(t, y):
        if np.ndim(t) and t.shape[0] > most_points:
            raise MemoryError(f"{t.shape[0]} points")
        return [y[1], -y[0]]

    options = {"rtol": 1e-8, "atol": 1e-10}
    result = parivp.solve_ivp(fun, (0, 60), [1.0, 0.0], method, **options)
    assert result.success
    assert_allclose(result.y[0, -1], np.cos(60), atol=1e-6)


@pytest.mark.parametrize("options", [{"window": 20}, {"initial_guess": 1.0}])
def test_options_of_the_guess_are_obeyed(options, monkeypatch):
    def fail(*args):
        raise AssertionError("not asked for")

    monkeypatch.setattr("parivp._affine.is_affine", fail)
    result = parivp.solve_ivp(
        oscillator, (0, 5), [1.0, 0.0], "ScanNewtonImplicit", **options
    )
    assert result.success


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
def test_dense_output_of_a_linear_problem(rtol, method):
    result = parivp.solve_ivp(
        lambda t, y: -1e6 * (y - np.cos(t)) - np.sin(t),
        (0, 10),
        [1.0],
        method,
        rtol=rtol,
        atol=rtol * 1e-3,
        dense_output=True,
    )
    t = np.linspace(0, 10, 1001)
    assert_allclose(result.sol(t)[0], np.cos(t), rtol=0, atol=rtol)
    assert_allclose(result.sol(result.t), result.y, rtol=1e-13, atol=1e-13)
