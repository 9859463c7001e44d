"""What a caller who swaps the import relies on, beside SciPy's own tests."""

import copy
import math
import pickle
import time

import numpy as np
import pytest
import scipy.integrate
from conftest import method_for
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csc_array

import parivp

TIGHT = {"rtol": 1e-9, "atol": 1e-12}
FINISHED = "The solver successfully reached the end of the integration interval."
TERMINATED = "A termination event occurred."
SCIPY_METHODS = ("RK23", "RK45", "DOP853", "Radau", "BDF", "LSODA")


def oscillator(t, y):
    return np.array([y[1], -y[0]])


def oscillator_exact(t, y0=(1.0, 0.0)):
    t = np.asarray(t, dtype=float)
    c, s = np.cos(t), np.sin(t)
    return np.array([y0[0] * c + y0[1] * s, y0[1] * c - y0[0] * s])


def decay(t, y):
    return -y


def event(function, terminal=None, direction=None):
    """A fresh event with the attributes given."""

    def g(t, y, *args):
        return function(t, y, *args)

    if terminal is not None:
        g.terminal = terminal
    if direction is not None:
        g.direction = direction
    return g


def first_component(t, y):
    return y[0]


# -- OdeResult ---------------------------------------------------------------


def test_result_has_the_fields_of_scipy(method):
    ours = parivp.solve_ivp(oscillator, (0, 5), [1, 0], method)
    scipys = scipy.integrate.solve_ivp(oscillator, (0, 5), [1, 0])
    assert set(scipys) <= set(ours)
    assert isinstance(ours, parivp.OdeResult)
    assert isinstance(ours, scipy.optimize.OptimizeResult)
    for key in ("sol", "t_events", "y_events"):
        assert ours[key] is None
        assert scipys[key] is None
    for key in ("nfev", "njev", "nlu", "status"):
        assert type(ours[key]) is int
    assert (ours.status, ours.success) == (0, True)
    assert isinstance(ours.success, bool | np.bool_)
    assert ours.message == scipys.message == FINISHED
    assert ours["y"] is ours.y
    assert "message" in repr(ours)


def test_shapes_and_types_of_t_and_y(method):
    result = parivp.solve_ivp(oscillator, (0, 5), [1, 0], method, **TIGHT)
    assert result.t.dtype == np.float64
    assert result.y.dtype == np.float64
    assert result.t.ndim == 1
    assert result.y.shape == (2, result.t.size)
    assert (result.t[0], result.t[-1]) == (0, 5)
    assert_array_equal(result.y[:, 0], [1, 0])
    assert np.all(np.diff(result.t) > 0)
    assert_allclose(result.y, oscillator_exact(result.t), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("y0", "dtype"),
    [
        ([1, 0], np.float64),
        (np.array([1, 0], dtype=np.float32), np.float64),
        (np.array([1, 0], dtype=np.int8), np.float64),
        ((1.0, 0.0), np.float64),
        ([1 + 0j, 0], np.complex128),
        (np.array([1, 0], dtype=np.complex64), np.complex128),
    ],
)
def test_type_of_initial_state(method, y0, dtype):
    result = parivp.solve_ivp(oscillator, (0, 1), y0, method, **TIGHT)
    assert result.y.dtype == dtype
    assert_allclose(result.y[:, -1], oscillator_exact(1.0), rtol=1e-7)


def test_initial_state_is_not_changed(method):
    y0 = np.array([1.0, 0.0])
    result = parivp.solve_ivp(oscillator, (0, 1), y0, method)
    assert_array_equal(y0, [1, 0])
    result.y[:] = 7
    assert_array_equal(y0, [1, 0])


def test_extra_fields(method):
    result = parivp.solve_ivp(oscillator, (0, 20), [1, 0], method, **TIGHT)
    assert type(result.nit) is int
    assert type(result.nsteps) is int
    assert result.nit >= 1
    assert result.nsteps == result.t.size - 1
    assert result.backend == "numpy"
    assert isinstance(result.newton_residuals, list)
    assert len(result.newton_residuals) >= 1
    for history in result.newton_residuals:
        assert isinstance(history, np.ndarray)
        assert history.ndim == 1
        assert history.dtype == np.float64
        assert np.all(history >= 0)
    assert sum(map(len, result.newton_residuals)) >= result.nit


@pytest.mark.parametrize("time_vectorized", [None, False])
def test_nfev_counts_points(method, time_vectorized):
    points = 0

    def fun(t, y):
        nonlocal points
        points += np.size(t)
        return -y * np.cos(t)

    result = parivp.solve_ivp(
        fun, (0, 3), [1.0], method, time_vectorized=time_vectorized
    )
    assert result.nfev == points


def test_njev_counts_jacobians(method):
    points = 0

    def jac(t, y):
        nonlocal points
        value = np.array([[-np.cos(t)]])
        points += np.size(t)
        return value

    result = parivp.solve_ivp(
        lambda t, y: -y * np.cos(t), (0, 3), [1.0], method, jac=jac
    )
    assert result.njev == points > 0
    without = parivp.solve_ivp(lambda t, y: -y * np.cos(t), (0, 3), [1.0], method)
    # explicit methods difference the steps, not the right-hand side
    assert (without.njev == 0) == (method == "ScanNewton")


def test_defaults_are_those_of_scipy(method):
    """rtol 1e-3 and atol 1e-6: stating them changes nothing."""
    stated = parivp.solve_ivp(oscillator, (0, 10), [1, 0], method, rtol=1e-3, atol=1e-6)
    default = parivp.solve_ivp(oscillator, (0, 10), [1, 0], method)
    assert_array_equal(default.y, stated.y)


def test_default_method_is_scan_newton():
    default = parivp.solve_ivp(oscillator, (0, 10), [1, 0])
    named = parivp.solve_ivp(oscillator, (0, 10), [1, 0], method="ScanNewton")
    assert_array_equal(default.t, named.t)
    assert_array_equal(default.y, named.y)


def test_positional_arguments_in_the_order_of_scipy(method):
    t_eval = [0.5, 1.0]
    events = event(lambda t, y, k: y[0] - 0.5)
    result = parivp.solve_ivp(
        lambda t, y, k: -k * y, (0, 1), [1], method, t_eval, True, events, False, (2,)
    )
    assert_array_equal(result.t, t_eval)
    assert result.sol is not None
    assert_allclose(result.t_events[0], [np.log(2) / 2], rtol=1e-3)


@pytest.mark.parametrize("rtol", [1e-4, [1e-4, 1e-8]])
@pytest.mark.parametrize("atol", [1e-7, [1e-9, 1e-5]])
def test_tolerances_scalar_and_array(method, rtol, atol):
    result = parivp.solve_ivp(oscillator, (0, 10), [1, 0], method, rtol=rtol, atol=atol)
    error = np.abs(result.y - oscillator_exact(result.t))
    # errors of this problem are not amplified: a step adds at most its tolerance
    assert np.max(error) < result.nsteps * (np.max(rtol) + np.max(atol))


def test_tighter_tolerance_means_smaller_error(method):
    errors = []
    for rtol in (1e-3, 1e-6, 1e-9):
        r = parivp.solve_ivp(
            oscillator, (0, 60), [1, 0], method, rtol=rtol, atol=rtol * 1e-3
        )
        errors.append(np.max(np.abs(r.y - oscillator_exact(r.t))))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-6


@pytest.mark.parametrize("size", [1e-300, 1e-170, 1e150, 1e300])
def test_magnitudes_of_the_state(method, size):
    """Nothing depends on the unit: squares of these under- or overflow."""
    result = parivp.solve_ivp(
        oscillator, (0, 5), [size, 0], method, rtol=1e-6, atol=1e-9 * size
    )
    assert result.success
    error = np.max(np.abs(result.y / size - oscillator_exact(result.t)))
    # errors of this problem are not amplified: a step adds at most its tolerance
    assert error < result.nsteps * 1e-6


@pytest.mark.parametrize("atol", [0, 1e-6])
def test_zero_state(method, atol):
    result = parivp.solve_ivp(decay, (0, 5), [0.0, 0.0], method, atol=atol)
    assert result.success
    assert_array_equal(result.y, np.zeros_like(result.y))


# -- t_span and t_eval ---------------------------------------------------------


@pytest.mark.parametrize("t_span", [(0, 5), (5, 0), (-3, -8), (2.5, 2.75)])
def test_spans_and_directions(method, t_span):
    y0 = oscillator_exact(t_span[0])
    result = parivp.solve_ivp(oscillator, t_span, y0, method, **TIGHT)
    assert (result.t[0], result.t[-1]) == t_span
    assert np.all(np.diff(result.t) * np.sign(t_span[1] - t_span[0]) > 0)
    assert_allclose(result.y, oscillator_exact(result.t), rtol=0, atol=1e-7)


@pytest.mark.parametrize("t_span", [(0, 5), (5, 0)])
@pytest.mark.parametrize("dense_output", [False, True])
def test_t_eval(method, t_span, dense_output):
    t_eval = np.linspace(*t_span, 37)[3:-2]
    result = parivp.solve_ivp(
        oscillator,
        t_span,
        oscillator_exact(t_span[0]),
        method,
        t_eval=t_eval,
        dense_output=dense_output,
        **TIGHT,
    )
    assert_array_equal(result.t, t_eval)
    assert result.y.shape == (2, t_eval.size)
    assert_allclose(result.y, oscillator_exact(t_eval), rtol=0, atol=1e-7)


def test_t_eval_does_not_change_the_steps(method):
    plain = parivp.solve_ivp(oscillator, (0, 9), [1, 0], method, dense_output=True)
    t_eval = np.linspace(0, 9, 5)
    result = parivp.solve_ivp(
        oscillator, (0, 9), [1, 0], method, t_eval=t_eval, dense_output=True
    )
    assert_array_equal(result.sol.ts, plain.t)
    assert_allclose(result.y, plain.sol(t_eval), rtol=1e-14, atol=1e-14)


def test_t_eval_with_one_point_and_with_a_list(method):
    for t_eval in ([2.0], (2.0,), [0, 3]):
        result = parivp.solve_ivp(oscillator, (0, 3), [1, 0], method, t_eval=t_eval)
        assert_array_equal(result.t, t_eval)
        assert result.y.shape == (2, len(t_eval))


@pytest.mark.parametrize("t_span", [(0, 3), (3, 0), (1, 1)])
def test_empty_t_eval(method, t_span):
    ours = parivp.solve_ivp(oscillator, t_span, [1, 0], method, t_eval=[])
    scipys = scipy.integrate.solve_ivp(oscillator, t_span, [1, 0], t_eval=[])
    assert ours.t == scipys.t == []
    assert ours.y == scipys.y == []
    assert ours.status == 0


def test_zero_span(method):
    result = parivp.solve_ivp(decay, (4, 4), [2, 3], method, dense_output=True)
    scipys = scipy.integrate.solve_ivp(decay, (4, 4), [2, 3], dense_output=True)
    assert_array_equal(result.t, scipys.t)
    assert_array_equal(result.y, scipys.y)
    assert (result.status, result.message) == (0, FINISHED)
    assert_array_equal(result.sol([3, 4, 5]), scipys.sol([3, 4, 5]))


def test_zero_span_with_t_eval_and_events(method):
    kwargs = {"t_eval": [4.0], "events": event(lambda t, y: t - 4)}
    ours = parivp.solve_ivp(decay, (4, 4), [2, 3], method, **kwargs)
    scipys = scipy.integrate.solve_ivp(decay, (4, 4), [2, 3], **kwargs)
    assert_array_equal(ours.t_events, scipys.t_events)
    # SciPy loses the point of t_eval, which is within t_span
    assert_array_equal(ours.t, [4])
    assert_array_equal(ours.y, [[2], [3]])


@pytest.mark.parametrize("t_span", [(0, 10), (10, 0), (0, np.inf)])
def test_empty_initial_state(method, t_span):
    def fun(t, y):
        return np.zeros(0)

    ours = parivp.solve_ivp(fun, t_span, [], method, dense_output=True)
    scipys = scipy.integrate.solve_ivp(fun, t_span, [], dense_output=True)
    assert ours.status == 0
    assert ours.y.shape == scipys.y.shape == (0, 2)
    assert_array_equal(ours.t, scipys.t)
    assert ours.sol([1.0, 2.0]).shape == (0, 2)


@pytest.mark.parametrize("sign", [1, -1])
def test_infinite_bound_with_a_terminal_event(method, sign):
    result = parivp.solve_ivp(
        oscillator,
        (0, sign * np.inf),
        [1, 0],
        method,
        events=event(first_component, terminal=3),
        dense_output=True,
        **TIGHT,
    )
    assert result.status == 1
    expected = sign * np.pi * np.array([0.5, 1.5, 2.5])
    assert_allclose(result.t_events[0], expected, rtol=1e-8)
    assert result.t[-1] == result.t_events[0][-1] == result.sol.ts[-1]
    assert_allclose(result.y, oscillator_exact(result.t), rtol=0, atol=1e-7)


@pytest.mark.parametrize("t_span", [(0, 3), (3, 0)])
@pytest.mark.parametrize("tableau", list(parivp.TABLEAUS))
@pytest.mark.parametrize("time_vectorized", [None, False])
def test_fun_is_never_called_outside_the_span(t_span, tableau, time_vectorized):
    seen = []

    def fun(t, y):
        seen.append((np.min(t), np.max(t)))
        return -y * np.cos(t)

    options = {} if parivp.TABLEAUS[tableau].adaptive else {"n_steps": 37}
    parivp.solve_ivp(
        fun,
        t_span,
        [1.0],
        method_for(tableau),
        tableau=tableau,
        dense_output=True,
        time_vectorized=time_vectorized,
        **options,
    )
    assert np.min(seen) >= 0
    assert np.max(seen) <= 3
    if 1 in parivp.TABLEAUS[tableau].c:
        assert {np.min(seen), np.max(seen)} == {0, 3}


def test_events_are_never_called_outside_the_span(method):
    seen = []

    def g(t, y):
        seen.append((np.min(t), np.max(t)))
        return y[0]

    parivp.solve_ivp(oscillator, (0, 5), [1, 0], method, events=g)
    assert np.min(seen) == 0
    assert np.max(seen) == 5


# -- args ------------------------------------------------------------------------


def test_args_reach_fun_jac_and_events(method):
    seen = set()

    def fun(t, y, k, b):
        seen.add(("fun", k, b))
        return -k * y + b

    def jac(t, y, k, b):
        seen.add(("jac", k, b))
        return [[-k]]

    def g(t, y, k, b):
        seen.add(("event", k, b))
        return y[0] - 0.75

    result = parivp.solve_ivp(
        fun, (0, 3), [1.0], method, args=(2.0, 1.0), jac=jac, events=g, **TIGHT
    )
    # y = 1/2 + exp(-2 t)/2
    assert_allclose(result.t_events[0], [np.log(2) / 2], rtol=1e-7)
    assert_allclose(result.y[0], 0.5 + 0.5 * np.exp(-2 * result.t), rtol=1e-7)
    assert seen == {(name, 2.0, 1.0) for name in ("fun", "jac", "event")}


@pytest.mark.parametrize("args", [[2.0], np.array([2.0]), (2.0,)])
def test_args_may_be_any_sequence(method, args):
    result = parivp.solve_ivp(
        lambda t, y, k: -k * y, (0, 1), [1.0], method, args=args, **TIGHT
    )
    assert_allclose(result.y[0, -1], np.exp(-2), rtol=1e-7)


def test_options_are_not_changed(method):
    def jac(t, y, k):
        return [[-k]]

    options = {"jac": jac, "rtol": 1e-6}
    parivp.solve_ivp(
        lambda t, y, k: -k * y, (0, 1), [1.0], method, args=(1.0,), **options
    )
    assert options == {"jac": jac, "rtol": 1e-6}


# -- jac and vectorized --------------------------------------------------------


MATRIX = np.array([[-1.0, -5.0], [1.0, 1.0]])


@pytest.mark.parametrize(
    "jac",
    [
        MATRIX,
        MATRIX.tolist(),
        csc_array(MATRIX),
        lambda t, y: MATRIX,
        lambda t, y: MATRIX.tolist(),
        lambda t, y: csc_array(MATRIX),
        None,
    ],
    ids=["array", "list", "sparse", "fun", "fun-list", "fun-sparse", "none"],
)
def test_forms_of_the_jacobian(method, jac):
    result = parivp.solve_ivp(
        lambda t, y: MATRIX @ y, (0, 2), [0, 2], method, jac=jac, **TIGHT
    )
    exact = [
        -5 * np.sin(2 * result.t),
        2 * np.cos(2 * result.t) + np.sin(2 * result.t),
    ]
    assert_allclose(result.y, exact, rtol=0, atol=1e-6)


def test_wrong_jacobian_does_not_change_the_answer(method):
    """It steers Newton's method only."""
    result = parivp.solve_ivp(
        oscillator, (0, 5), [1, 0], method, jac=lambda t, y: np.eye(2) * 0.1, **TIGHT
    )
    assert result.success
    assert_allclose(result.y, oscillator_exact(result.t), rtol=0, atol=1e-6)


def test_vectorized_means_many_states_at_one_time(method):
    def fun(t, y):
        assert np.ndim(t) == 0
        assert y.ndim == 2
        out = np.zeros((2, y.shape[1]))
        out[0] = y[1] * math.cos(t)
        out[1] = -y[0] * math.cos(t)
        return out

    result = parivp.solve_ivp(fun, (0, 3), [1, 0], method, vectorized=True, **TIGHT)
    assert_allclose(result.y, oscillator_exact(np.sin(result.t)), rtol=0, atol=1e-7)


# -- complex ---------------------------------------------------------------------


def test_complex_analytic(method):
    result = parivp.solve_ivp(
        lambda t, y: (2j - 0.1) * y, (0, 4), [1 + 0.5j], method, **TIGHT
    )
    exact = (1 + 0.5j) * np.exp((2j - 0.1) * result.t)
    assert result.y.dtype == np.complex128
    assert_allclose(result.y[0], exact, rtol=1e-6)


def test_complex_conjugate_is_not_analytic(method):
    """y' = i conj(y): u' = v and v' = u for y = u + i v."""
    result = parivp.solve_ivp(
        lambda t, y: 1j * np.conj(y), (0, 2), [1 - 0.5j], method, **TIGHT
    )
    c, s = np.cosh(result.t), np.sinh(result.t)
    assert_allclose(result.y[0], c - 0.5 * s + 1j * (s - 0.5 * c), rtol=1e-6)


def test_complex_modulus_is_not_analytic(method):
    """y' = (i - |y|^2) y: the modulus is r0 / sqrt(1 + 2 r0^2 t)."""
    result = parivp.solve_ivp(
        lambda t, y: (1j - np.abs(y) ** 2) * y, (0, 3), [2j], method, **TIGHT
    )
    exact = 2j * np.exp(1j * result.t) / np.sqrt(1 + 8 * result.t)
    assert_allclose(result.y[0], exact, rtol=1e-6)


def test_complex_with_jacobian_dense_output_and_events(method):
    result = parivp.solve_ivp(
        lambda t, y: 1j * y,
        (0, 4),
        [1 + 0j],
        method,
        jac=[[1j]],
        dense_output=True,
        events=event(lambda t, y: y[0].real),
        **TIGHT,
    )
    assert_allclose(result.t_events[0], [np.pi / 2], rtol=1e-7)
    assert result.y_events[0].dtype == np.complex128
    t = np.linspace(0, 4, 50)
    assert_allclose(result.sol(t)[0], np.exp(1j * t), rtol=1e-6)


@pytest.mark.parametrize("guess", [1.0, [1.0], lambda t: np.ones(1)])
def test_real_guess_for_a_complex_state(method, guess):
    result = parivp.solve_ivp(
        lambda t, y: 1j * y, (0, 3), [1 + 1j], method, initial_guess=guess, **TIGHT
    )
    assert_allclose(result.y[0], (1 + 1j) * np.exp(1j * result.t), rtol=1e-6)


def test_complex_fun_with_real_state_warns_and_drops_the_imaginary_part(method):
    def fun(t, y):
        return (-1 + 2j) * y

    with pytest.warns(np.exceptions.ComplexWarning):
        result = parivp.solve_ivp(fun, (0, 1), [1.0], method, **TIGHT)
    assert result.y.dtype == np.float64
    assert_allclose(result.y[0], np.exp(-result.t), rtol=1e-7)


# -- events ----------------------------------------------------------------------


def test_without_events(method):
    result = parivp.solve_ivp(oscillator, (0, 5), [1, 0], method, events=())
    assert result.t_events == []
    assert result.y_events == []


@pytest.mark.parametrize(
    ("direction", "expected"),
    [(0, [0.5, 1.5, 2.5]), (1, [1.5]), (-1, [0.5, 2.5]), (2.5, [1.5])],
)
def test_direction(method, direction, expected):
    result = parivp.solve_ivp(
        oscillator,
        (0, 9),
        [1, 0],
        method,
        events=event(first_component, direction=direction),
        **TIGHT,
    )
    assert result.status == 0
    assert_allclose(result.t_events[0], np.pi * np.array(expected), rtol=1e-8)
    assert result.y_events[0].shape == (len(expected), 2)
    assert_allclose(
        result.y_events[0].T, oscillator_exact(result.t_events[0]), rtol=0, atol=1e-7
    )


@pytest.mark.parametrize(
    ("direction", "expected"), [(0, [1.5, 0.5]), (1, [0.5]), (-1, [1.5])]
)
def test_direction_backward(method, direction, expected):
    """As in SciPy, the sign is that along the integration."""
    kwargs = {"events": event(first_component, direction=direction), **TIGHT}
    y0 = oscillator_exact(6.0)
    ours = parivp.solve_ivp(oscillator, (6, 0), y0, method, **kwargs)
    scipys = scipy.integrate.solve_ivp(oscillator, (6, 0), y0, **kwargs)
    assert_allclose(ours.t_events[0], scipys.t_events[0], rtol=1e-7)
    assert_allclose(ours.t_events[0], np.pi * np.array(expected), rtol=1e-8)


@pytest.mark.parametrize("terminal", [None, False, 0])
def test_event_that_does_not_terminate(method, terminal):
    g = event(first_component)
    g.terminal = terminal
    result = parivp.solve_ivp(oscillator, (0, 9), [1, 0], method, events=g)
    assert (result.status, result.message) == (0, FINISHED)
    assert result.t_events[0].size == 3
    assert result.t[-1] == 9


@pytest.mark.parametrize("count", [True, 1, 2, 3, 5, np.int64(2), 2.0])
def test_terminal_count(method, count):
    result = parivp.solve_ivp(
        oscillator,
        (0, 100),
        [1, 0],
        method,
        events=event(first_component, terminal=count),
        dense_output=True,
        **TIGHT,
    )
    expected = np.pi * (np.arange(int(count)) + 0.5)
    assert (result.status, result.message) == (1, TERMINATED)
    assert result.success
    assert_allclose(result.t_events[0], expected, rtol=1e-8)
    # the event is appended, and the solution ends there
    assert result.t[-1] == result.t_events[0][-1]
    assert_array_equal(result.y[:, -1], result.y_events[0][-1])
    assert result.sol.t_max == result.t[-1]
    assert np.all(np.diff(result.t) > 0)


def test_terminal_event_with_t_eval(method):
    """The event is not appended; points behind it are left out."""
    t_eval = np.linspace(0, 4, 41)
    result = parivp.solve_ivp(
        oscillator,
        (0, 4),
        [1, 0],
        method,
        t_eval=t_eval,
        events=event(first_component, terminal=True),
        dense_output=True,
        **TIGHT,
    )
    assert_array_equal(result.t, t_eval[t_eval <= np.pi / 2])
    assert result.y.shape == (2, result.t.size)
    assert_allclose(result.t_events[0], [np.pi / 2], rtol=1e-9)
    assert result.sol.ts[-1] == result.t_events[0][0]


def test_terminal_event_before_every_point_of_t_eval(method):
    result = parivp.solve_ivp(
        oscillator,
        (0, 4),
        [1, 0],
        method,
        t_eval=[3.0, 4.0],
        events=event(first_component, terminal=True),
    )
    assert (result.t, result.y, result.status) == ([], [], 1)


def test_t_eval_exactly_at_a_terminal_event(method):
    result = parivp.solve_ivp(
        lambda t, y: np.ones_like(y),
        (0, 4),
        [0.0],
        method,
        t_eval=[1.0, 2.0, 3.0],
        events=event(lambda t, y: t - 2.0, terminal=True),
    )
    assert_array_equal(result.t, [1, 2])
    assert_allclose(result.y, [[1, 2]], rtol=1e-12)


@pytest.mark.parametrize("direction", [0, 1])
def test_zero_at_the_start_counts(method, direction):
    kwargs = {"events": event(lambda t, y: t - 1.0, direction=direction)}
    ours = parivp.solve_ivp(decay, (1, 3), [1.0], method, **kwargs)
    scipys = scipy.integrate.solve_ivp(decay, (1, 3), [1.0], **kwargs)
    assert_array_equal(scipys.t_events[0], [1.0])
    assert_array_equal(ours.t_events[0], [1.0])
    assert_array_equal(ours.y_events[0], [[1.0]])


def test_zero_at_the_end_counts(method):
    result = parivp.solve_ivp(
        decay, (1, 3), [1.0], method, events=event(lambda t, y: t - 3.0)
    )
    assert_allclose(result.t_events[0], [3.0], rtol=1e-15)


def test_terminal_zero_at_the_start(method):
    kwargs = {"events": event(lambda t, y: t - 1.0, terminal=True)}
    ours = parivp.solve_ivp(decay, (1, 3), [1.0], method, **kwargs)
    scipys = scipy.integrate.solve_ivp(decay, (1, 3), [1.0], **kwargs)
    assert ours.status == scipys.status == 1
    assert_array_equal(ours.t, scipys.t)
    assert_array_equal(ours.y, scipys.y)


def test_zero_at_the_end_of_a_step_counts_once(method):
    """It belongs to both steps; SciPy lists it twice."""
    mesh = np.linspace(0, 4, 17)
    result = parivp.solve_ivp(
        decay, (0, 4), [1.0], method, mesh=mesh, events=lambda t, y: t - mesh[8]
    )
    assert_array_equal(result.t_events[0], [mesh[8]])


@pytest.mark.parametrize("sign", [1, -1])
def test_several_events_in_one_step(method, sign):
    """y' = 1 is solved in few steps; what lies behind the terminal one is dropped."""
    levels = np.array([0.3, 0.1, 0.2, 0.15])
    events = [event(lambda t, y, c=c: y[0] - c) for c in sign * levels]
    events[2].terminal = True
    kwargs = {"events": events, "first_step": 0.5}
    result = parivp.solve_ivp(
        lambda t, y: np.ones_like(y), (0, sign * 1), [0.0], method, **kwargs
    )
    found = [list(np.round(times, 12)) for times in result.t_events]
    assert found == [[], [sign * 0.1], [sign * 0.2], [sign * 0.15]]
    assert result.status == 1
    assert_allclose(result.t[-1], sign * 0.2, rtol=1e-14)
    assert result.y_events[0].shape == (0,)
    assert_allclose(result.y_events[1], [[sign * 0.1]], rtol=1e-12)


def test_two_terminal_events_in_one_step_end_at_the_first(method):
    events = [
        event(lambda t, y: y[0] - 0.3, terminal=True),
        event(lambda t, y: y[0] - 0.1, terminal=True),
    ]
    result = parivp.solve_ivp(
        lambda t, y: np.ones_like(y), (0, 1), [0.0], method, events=events
    )
    assert_allclose(result.t[-1], 0.1, rtol=1e-12)
    assert result.t_events[0].size == 0
    assert_allclose(result.t_events[1], [0.1], rtol=1e-12)


def test_event_times_are_refined_to_rounding(method):
    """The event vanishes on the dense output to a few units in the last place."""
    result = parivp.solve_ivp(
        oscillator, (0, 20), [1, 0], method, events=first_component, dense_output=True
    )
    t = result.t_events[0]
    assert t.size == 6
    eps = np.finfo(float).eps
    # the slope of y[0] is 1 in size at its zeros; 4 eps relative plus absolute,
    # and the rounding of the interpolant itself
    assert np.all(np.abs(result.sol(t)[0]) < 16 * eps * (1 + t))
    assert_allclose(result.y_events[0], result.sol(t).T, rtol=0, atol=4 * eps)


def test_many_events_over_many_steps(method):
    result = parivp.solve_ivp(
        oscillator, (0, 300), [1, 0], method, events=first_component, **TIGHT
    )
    assert_allclose(result.t_events[0], np.pi * (np.arange(95) + 0.5), rtol=1e-7)


def test_ball_on_the_floor(method):
    """`fun` is meaningless under the floor, and says so."""

    def fun(t, y):
        if y[0] < -5:
            raise FloatingPointError("under the floor")
        return [y[1], -9.81]

    result = parivp.solve_ivp(
        fun,
        (0, 100),
        [10.0, 0.0],
        method,
        events=event(first_component, terminal=True, direction=-1),
        max_step=0.1,
    )
    assert result.status == 1
    assert_allclose(result.t[-1], math.sqrt(20 / 9.81), rtol=1e-3)


# -- dense output ----------------------------------------------------------------


@pytest.mark.parametrize("t_span", [(0, 7), (7, 0)])
def test_solution_attributes(method, t_span):
    y0 = oscillator_exact(t_span[0])
    result = parivp.solve_ivp(
        oscillator, t_span, y0, method, dense_output=True, **TIGHT
    )
    sol = result.sol
    assert isinstance(sol, parivp.OdeSolution)
    assert isinstance(sol, scipy.integrate.OdeSolution)
    assert_array_equal(sol.ts, result.t)
    assert sol.n_segments == len(sol.interpolants) == result.t.size - 1
    assert (sol.t_min, sol.t_max) == (0, 7)
    assert bool(sol.ascending) is (t_span[0] < t_span[1])
    for k, interpolant in enumerate(sol.interpolants):
        assert isinstance(interpolant, scipy.integrate.DenseOutput)
        assert (interpolant.t_old, interpolant.t) == (result.t[k], result.t[k + 1])
        middle = (result.t[k] + result.t[k + 1]) / 2
        assert_allclose(interpolant(middle), sol(middle), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("t_span", [(0, 7), (7, 0)])
def test_solution_values(method, t_span):
    y0 = oscillator_exact(t_span[0])
    sol = parivp.solve_ivp(
        oscillator, t_span, y0, method, dense_output=True, **TIGHT
    ).sol
    assert sol(3.0).shape == (2,)
    assert sol(np.array(3)).shape == (2,)
    assert sol([3.0]).shape == (2, 1)
    rng = np.random.default_rng(1)
    t = rng.uniform(0, 7, 500)
    assert_allclose(sol(t), oscillator_exact(t), rtol=0, atol=1e-7)
    one_by_one = np.stack([sol(s) for s in t], axis=1)
    assert_allclose(sol(t), one_by_one, rtol=1e-15, atol=1e-15)
    assert_array_equal(sol(np.sort(t)), sol(t)[:, np.argsort(t)])


@pytest.mark.parametrize("t_span", [(0, 7), (7, 0)])
def test_solution_meets_the_result_at_its_points(method, t_span):
    result = parivp.solve_ivp(oscillator, t_span, [1, 2], method, dense_output=True)
    assert_allclose(result.sol(result.t), result.y, rtol=1e-15, atol=1e-15)


def test_solution_extrapolates_with_the_outer_segments(method):
    sol = parivp.solve_ivp(
        oscillator, (0, 7), [1, 0], method, dense_output=True, **TIGHT
    ).sol
    t = np.array([-0.002, 7.002])
    assert_allclose(sol(t), oscillator_exact(t), rtol=0, atol=1e-6)
    assert_array_equal(sol(-0.01), sol.interpolants[0](-0.01))
    assert_array_equal(sol(7.01), sol.interpolants[-1](7.01))


def test_solution_rejects_more_dimensions(method):
    sol = parivp.solve_ivp(decay, (0, 1), [1.0], method, dense_output=True).sol
    with pytest.raises(ValueError, match="`t` must be a float or a 1-D array"):
        sol.interpolants[0](np.zeros((2, 2)))


def test_solution_is_continuous(method):
    """The values from both sides of every mesh point agree."""
    result = parivp.solve_ivp(oscillator, (0, 20), [1, 0], method, dense_output=True)
    pieces = result.sol.interpolants
    for left, right in zip(pieces[:-1], pieces[1:], strict=True):
        assert_allclose(left(left.t), right(left.t), rtol=1e-13, atol=1e-14)


def test_dense_output_is_as_accurate_as_the_steps(method):
    result = parivp.solve_ivp(
        oscillator, (0, 20), [1, 0], method, dense_output=True, rtol=1e-6, atol=1e-9
    )
    t = np.linspace(0, 20, 1001)
    inside = np.max(np.abs(result.sol(t) - oscillator_exact(t)))
    # errors grow linearly here: a step's tolerance for each step
    assert inside < result.nsteps * 1e-6


@pytest.mark.parametrize("dense_output", [False, True])
def test_result_is_picklable_and_copyable(method, dense_output):
    result = parivp.solve_ivp(
        lambda t, y: -y,  # a lambda: what refers to it cannot be pickled
        (0, 3),
        [1.0, 2.0],
        method,
        dense_output=dense_output,
        events=lambda t, y: y[0] - 0.5,
    )
    for other in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert set(other) == set(result)
        assert_array_equal(other.t, result.t)
        assert_array_equal(other.y, result.y)
        assert_array_equal(other.t_events[0], result.t_events[0])
        if dense_output:
            t = np.linspace(0, 3, 7)
            assert_array_equal(other.sol(t), result.sol(t))


# -- SciPy's own methods -----------------------------------------------------------


@pytest.mark.parametrize("name", SCIPY_METHODS)
@pytest.mark.parametrize("as_class", [False, True])
def test_methods_of_scipy_pass_through(name, as_class):
    chosen = getattr(scipy.integrate, name) if as_class else name
    kwargs = {
        "t_eval": np.linspace(0, 2, 7),
        "dense_output": True,
        "events": event(lambda t, y, k: y[0] - 0.5),
        "args": (1.5,),
        "rtol": 1e-6,
    }

    def fun(t, y, k):
        return -k * y

    ours = parivp.solve_ivp(fun, (0, 2), [1.0], chosen, **kwargs)
    scipys = scipy.integrate.solve_ivp(fun, (0, 2), [1.0], chosen, **kwargs)
    assert_array_equal(ours.y, scipys.y)
    assert_array_equal(ours.t_events[0], scipys.t_events[0])
    assert_array_equal(ours.sol.ts, scipys.sol.ts)
    assert (ours.nfev, ours.njev, ours.nlu) == (scipys.nfev, scipys.njev, scipys.nlu)


def test_subclass_of_a_scipy_solver_passes_through():
    class Counting(scipy.integrate.RK45):
        steps = 0

        def _step_impl(self):
            Counting.steps += 1
            return super()._step_impl()

    result = parivp.solve_ivp(decay, (0, 2), [1.0], Counting)
    assert Counting.steps == result.t.size - 1


# -- the solver class ----------------------------------------------------------------


def test_class_is_a_solver_of_scipy(method):
    assert issubclass(getattr(parivp, method), scipy.integrate.OdeSolver)


@pytest.mark.parametrize("t_span", [(0, 10), (10, 0)])
def test_class_in_scipys_solve_ivp(method, t_span):
    y0 = oscillator_exact(t_span[0])
    kwargs = {"dense_output": True, "events": first_component, **TIGHT}
    ours = parivp.solve_ivp(oscillator, t_span, y0, method, **kwargs)
    scipys = scipy.integrate.solve_ivp(
        oscillator, t_span, y0, method=getattr(parivp, method), **kwargs
    )
    assert scipys.status == 0
    assert_allclose(scipys.t, ours.t, rtol=1e-14)
    assert_allclose(scipys.y, ours.y, rtol=1e-12, atol=1e-12)
    assert_allclose(scipys.t_events[0], ours.t_events[0], rtol=1e-12)
    t = np.linspace(*t_span, 100)
    assert_allclose(scipys.sol(t), oscillator_exact(t), rtol=0, atol=1e-7)


def test_class_as_method_equals_its_name(method):
    named = parivp.solve_ivp(oscillator, (0, 10), [1, 0], method)
    given = parivp.solve_ivp(oscillator, (0, 10), [1, 0], getattr(parivp, method))
    assert_array_equal(named.y, given.y)
    assert given.nit == named.nit


def test_class_step_by_step(method):
    solver = getattr(parivp, method)(oscillator, 0.0, [1.0, 0.0], 10.0, **TIGHT)
    assert (solver.status, solver.t, solver.t_old) == ("running", 0.0, None)
    assert (solver.n, solver.direction, solver.t_bound) == (2, 1, 10.0)
    with pytest.raises(RuntimeError):
        solver.dense_output()
    while solver.status == "running":
        t = solver.t
        assert solver.step() is None
        assert solver.t_old == t < solver.t
        assert solver.step_size == solver.t - t
        assert_allclose(solver.y, oscillator_exact(solver.t), rtol=0, atol=1e-7)
        piece = solver.dense_output()
        middle = (solver.t_old + solver.t) / 2
        assert_allclose(piece(middle), oscillator_exact(middle), rtol=0, atol=1e-7)
        assert_array_equal(piece(solver.t), solver.y)
    assert (solver.status, solver.t) == ("finished", 10.0)
    assert solver.nfev > 0
    with pytest.raises(RuntimeError):
        solver.step()


def test_class_with_a_terminal_event_of_scipy(method):
    result = scipy.integrate.solve_ivp(
        oscillator,
        (0, np.inf),
        [1, 0],
        method=getattr(parivp, method),
        events=event(first_component, terminal=2),
        **TIGHT,
    )
    assert result.status == 1
    assert_allclose(result.t_events[0], np.pi * np.array([0.5, 1.5]), rtol=1e-8)


# -- options ------------------------------------------------------------------------


def falling(t, y):
    """Solved without error by every method: only `max_step` bounds the steps."""
    return np.array([y[1], np.full_like(y[1], -9.81)])


@pytest.mark.parametrize("max_step", [0.1, 0.37])
@pytest.mark.parametrize("t_span", [(0, 10), (10, 0), (0, 100)])
@pytest.mark.parametrize("fun", [oscillator, falling])
@pytest.mark.parametrize("rtol", [1e-3, 1e-7])
def test_max_step_is_honoured(method, max_step, t_span, fun, rtol):
    result = parivp.solve_ivp(fun, t_span, [1, 0], method, max_step=max_step, rtol=rtol)
    steps = np.abs(np.diff(result.t))
    # differences of points near 100 carry roundings of 100 eps
    assert np.max(steps) <= max_step + 100 * np.finfo(float).eps
    assert result.t[-1] == t_span[1]


@pytest.mark.parametrize("first_step", [1e-4, 0.1])
@pytest.mark.parametrize("t_span", [(0, 10), (10, 0)])
def test_first_step_is_honoured(method, first_step, t_span):
    result = parivp.solve_ivp(oscillator, t_span, [1, 0], method, first_step=first_step)
    assert_allclose(abs(result.t[1] - result.t[0]), first_step, rtol=1e-10)


def test_max_steps_ends_with_the_partial_solution(method):
    result = parivp.solve_ivp(
        oscillator, (0, 100), [1, 0], method, max_steps=20, dense_output=True, **TIGHT
    )
    assert (result.status, result.success) == (-1, False)
    assert "max_steps" in result.message
    assert 1 <= result.nsteps <= 20
    assert result.nsteps == result.t.size - 1
    assert 0 < result.t[-1] < 100
    assert_allclose(result.y, oscillator_exact(result.t), rtol=0, atol=1e-7)
    assert_array_equal(result.sol.ts, result.t)


def test_enough_max_steps_change_nothing(method):
    free = parivp.solve_ivp(oscillator, (0, 10), [1, 0], method)
    bounded = parivp.solve_ivp(
        oscillator, (0, 10), [1, 0], method, max_steps=free.nsteps + 10_000
    )
    assert_array_equal(free.y, bounded.y)


def test_timeout_ends_with_the_partial_solution(method):
    def slow(t, y):
        time.sleep(1e-3)
        return oscillator(t, y)

    start = time.perf_counter()
    result = parivp.solve_ivp(
        slow, (0, 1e4), [1, 0], method, timeout=0.5, time_vectorized=False, **TIGHT
    )
    assert time.perf_counter() - start < 10
    assert (result.status, result.success) == (-1, False)
    assert "timeout" in result.message
    assert result.t[-1] < 1e4
    assert_allclose(result.y, oscillator_exact(result.t), rtol=0, atol=1e-6)


def test_callback_sees_every_accepted_window(method):
    seen = []

    def callback(state):
        seen.append((state.t, np.array(state.y), state.nsteps, state.nit, state.window))

    result = parivp.solve_ivp(
        oscillator, (0, 500), [1, 0], method, callback=callback, **TIGHT
    )
    times = [entry[0] for entry in seen]
    assert np.all(np.diff(times) > 0)
    assert times[-1] == 500
    assert len(seen) > 1
    for t, y, nsteps, _, window in seen:
        k = np.searchsorted(result.t, t)
        assert result.t[k] == t
        assert_array_equal(y, result.y[:, k])
        assert nsteps == k
        assert window >= 1
    assert seen[-1][2:4] == (result.nsteps, result.nit)
    assert np.all(np.diff([entry[3] for entry in seen]) >= 0)


def test_callback_stops_the_integration(method):
    def callback(state):
        if state.t > 20:
            raise StopIteration

    result = parivp.solve_ivp(
        oscillator, (0, 500), [1, 0], method, callback=callback, window=10, **TIGHT
    )
    assert 20 < result.t[-1] < 500
    assert result.status == -1
    assert "callback" in result.message
    assert_allclose(result.y, oscillator_exact(result.t), rtol=0, atol=1e-6)


def test_exception_of_the_callback_arrives(method):
    def callback(state):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        parivp.solve_ivp(oscillator, (0, 5), [1, 0], method, callback=callback)


def test_progress_changes_nothing_but_the_screen(method, capsys):
    pytest.importorskip("tqdm")
    plain = parivp.solve_ivp(oscillator, (0, 20), [1, 0], method)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    shown = parivp.solve_ivp(oscillator, (0, 20), [1, 0], method, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "%" in captured.err
    assert_array_equal(plain.y, shown.y)


@pytest.mark.parametrize("window", [1, 2, 3, 7, 100, np.inf, None])
def test_window_does_not_change_the_accuracy(method, window):
    result = parivp.solve_ivp(
        oscillator, (0, 10), [1, 0], method, window=window, **TIGHT
    )
    assert result.status == 0
    assert_allclose(result.y, oscillator_exact(result.t), rtol=0, atol=1e-7)
    # the same errors are aimed at: no window needs several times the steps
    single = parivp.solve_ivp(oscillator, (0, 10), [1, 0], method, window=1, **TIGHT)
    assert result.nsteps < 4 * single.nsteps


@pytest.mark.parametrize(
    "guess",
    [
        1.0,
        [1.0, 0.0],
        lambda t: oscillator_exact(t),
        lambda t: np.array([1.0, 0.0]),
    ],
    ids=["scalar", "state", "function", "constant-function"],
)
def test_initial_guess_does_not_change_the_accuracy(method, guess):
    result = parivp.solve_ivp(
        oscillator, (0, 5), [1, 0], method, initial_guess=guess, **TIGHT
    )
    assert result.status == 0
    assert_allclose(result.y, oscillator_exact(result.t), rtol=0, atol=1e-7)


@pytest.mark.parametrize("method", ["ScanNewton", "ScanNewtonImplicit"])
@pytest.mark.parametrize("guess", [1e8, lambda t: [np.nan, 0 * t]], ids=["far", "nan"])
def test_a_bad_initial_guess_costs_little(method, guess):
    """The predictor takes over, instead of many single steps."""
    calls = []

    def fun(t, y):
        calls.append(t)
        return [y[1], (1 - y[0] ** 2) * y[1] - y[0]]

    options = {"method": method, **TIGHT}
    known = parivp.solve_ivp(fun, (0, 10), [2.0, 0.0], **options)
    n_calls = len(calls)
    found = parivp.solve_ivp(fun, (0, 10), [2.0, 0.0], initial_guess=guess, **options)
    assert len(calls) - n_calls <= 1.5 * n_calls
    assert found.status == 0
    assert_allclose(found.y[:, -1], known.y[:, -1], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "tableau", [name for name, t in parivp.TABLEAUS.items() if t.adaptive]
)
def test_adaptive_tableaus(tableau):
    result = parivp.solve_ivp(
        oscillator,
        (0, 5),
        [1, 0],
        method_for(tableau),
        tableau=tableau,
        rtol=1e-6,
        atol=1e-9,
    )
    assert result.status == 0
    error = np.max(np.abs(result.y - oscillator_exact(result.t)))
    # errors are not amplified here: a step adds at most its tolerance
    assert error < result.nsteps * 1e-6
