"""Arrays of another library in, arrays of that library out, as NumPy computes them."""

import math

import numpy as np
import pytest
from array_libraries import rows
from conftest import FIXED_STEP_OPTIONS
from numpy.testing import assert_allclose, assert_array_equal

import parivp
from parivp import solve_ivp


def logistic(t, y):
    return y * (1.0 - y)


def van_der_pol(t, y):
    a, b = rows(y)
    return [b, (1.0 - a**2) * b - a]


def forced(t, y):
    a, b = rows(y)
    return [b, 0.0 * a + t - a]


def lorenz(t, y):
    a, b, c = rows(y)
    return [10.0 * (b - a), a * (28.0 - c) - b, a * b - (8 / 3) * c]


def rotation(t, y):
    return 1j * y


def stiff_oscillator(t, y):
    a, b = rows(y)
    return [b, 100.0 * ((1.0 - a**2) * b - a)]


def robertson(t, y):
    a, b, c = rows(y)
    back, forth = 1e4 * b * c, 0.04 * a
    fast = 3e7 * b**2
    return [back - forth, forth - back - fast, fast]


PROBLEMS = {
    "logistic": (logistic, (0.0, 8.0), [0.1, 0.5, 1.5]),
    "van der Pol": (van_der_pol, (0.0, 10.0), [2.0, 0.0]),
    "backward": (van_der_pol, (1.0, 0.0), [1.0, 0.5]),
    "forced": (forced, (0.0, 6.0), [0.0, 1.0]),
    "lorenz": (lorenz, (0.0, 3.0), [1.0, 1.0, 1.0]),
    "complex": (rotation, (0.0, 5.0), [1.0 + 0j, 2j]),
}
STIFF = {
    "oscillator": (stiff_oscillator, (0.0, 5.0), [2.0, 0.0]),
    "robertson": (robertson, (0.0, 100.0), [1.0, 0.0, 0.0]),
}


def solve_both(library, fun, t_span, y0, **options):
    """Solve there, and by NumPy."""
    y0 = np.asarray(y0)
    found = solve_ivp(fun, t_span, library.put(y0), **options)
    return found, solve_ivp(fun, t_span, y0, **options)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_meets_numpy(library, method, problem):
    fun, t_span, y0 = PROBLEMS[problem]
    options = {"rtol": 1e-8, "atol": 1e-10, "method": method, "dense_output": True}
    found, expected = solve_both(library, fun, t_span, y0, **options)
    assert found.success
    assert found.backend == library.name
    assert expected.backend == "numpy"
    # the guesses differ, and with them the meshes, so that errors do
    exact = solve_ivp(fun, t_span, np.asarray(y0), "DOP853", rtol=1e-12, atol=1e-14)
    size = np.max(np.abs(exact.y))
    t, y = library.get(found.t), library.get(found.y)
    assert t[0] == t_span[0]
    assert t[-1] == t_span[1]
    assert y.shape == (len(y0), len(t))
    error = np.max(np.abs(y[:, -1] - exact.y[:, -1]))
    error_of_numpy = np.max(np.abs(expected.y[:, -1] - exact.y[:, -1]))
    assert error <= 3 * error_of_numpy + 1e-7 * size
    between = np.linspace(*t_span, 7)
    assert_allclose(
        library.get(found.sol(library.put(between))),
        expected.sol(between),
        rtol=0,
        atol=1e-5 * size,
    )
    assert_allclose(library.get(found.sol(found.t)), y, rtol=0, atol=1e-13 * size)
    assert library.get(found.sol(float(between[3]))).shape == (len(y0),)


@pytest.mark.parametrize("method", ["ScanNewtonImplicit", "ParODE"])
@pytest.mark.parametrize("problem", STIFF)
def test_stiff_problems(library, method, problem):
    fun, t_span, y0 = STIFF[problem]
    options = {"rtol": 1e-6, "atol": 1e-10, "method": method}
    found, expected = solve_both(library, fun, t_span, y0, **options)
    assert found.success
    assert expected.success
    exact = solve_ivp(fun, t_span, np.asarray(y0), "Radau", rtol=1e-10, atol=1e-13)
    y, size = library.get(found.y), np.abs(exact.y[:, -1]) + 1e-6
    assert_allclose(y[:, -1] / size, exact.y[:, -1] / size, rtol=0, atol=1e-3)


def test_same_guess_same_steps(library, method):
    """Without a predictor all decisions are the same, and results to round-off."""
    exact = solve_ivp(van_der_pol, (0, 6), [2.0, 0.0], "DOP853", dense_output=True)

    def guess(t):
        numpy = isinstance(t, np.ndarray)
        y = exact.sol(t if numpy else library.get(t)) + 1e-4
        return y if numpy else library.put(y)

    options = {"rtol": 1e-7, "atol": 1e-10, "method": method, "initial_guess": guess}
    options["dense_output"] = True
    found, expected = solve_both(library, van_der_pol, (0, 6), [2.0, 0.0], **options)
    assert (found.nit, found.nsteps) == (expected.nit, expected.nsteps)
    if library.rounds_like_numpy:
        assert_allclose(library.get(found.t), expected.t, rtol=1e-12)
        assert_allclose(library.get(found.y), expected.y, rtol=0, atol=1e-10)
    t = np.linspace(0, 6, 100)
    assert_allclose(library.get(found.sol(t)), expected.sol(t), rtol=0, atol=1e-7)


@pytest.mark.parametrize("guess", [None, 0.5])
def test_fixed_steps(library, method, guess):
    options = FIXED_STEP_OPTIONS[method] | {"method": method, "n_steps": 100}
    options["initial_guess"] = guess
    found, expected = solve_both(library, van_der_pol, (0, 2), [2.0, 0.0], **options)
    assert found.success
    assert found.nsteps == expected.nsteps == 100
    assert_array_equal(library.get(found.t), expected.t)
    assert_allclose(library.get(found.y), expected.y, rtol=0, atol=1e-11)


def test_single_window(library):
    options = {"n_steps": 200, "tableau": "RK4", "window": math.inf}
    options["initial_guess"] = 1.0
    found, expected = solve_both(library, logistic, (0, 5), [0.1], **options)
    assert found.nit == expected.nit
    assert_allclose(library.get(found.y), expected.y, rtol=1e-12)
    history, known = found.newton_residuals[0], expected.newton_residuals[0]
    # the differences that the Jacobians are made of keep half the digits
    assert_allclose(history, known, rtol=1e-2, atol=1e-12)


def test_reads_do_not_grow_with_the_steps(library, method, reads):
    """Arrays cannot be read from this device; numbers are, and steer the loop."""
    numbers = []
    for n_steps in (200, 400, 800):
        options = FIXED_STEP_OPTIONS[method] | {"method": method, "n_steps": n_steps}
        options["initial_guess"] = lambda t: [2.0 + 0 * t, -1.0 * t]
        reads.clear()
        found = solve_ivp(van_der_pol, (0, 1), library.put([2.0, 0.0]), **options)
        assert found.success
        numbers.append(len(reads))
    assert 0 < max(numbers) <= min(numbers) + 40
    assert set(reads) == {()}


def test_times_asked_for(library, method):
    t_eval = np.linspace(0, 4, 9)
    options = {"method": method, "rtol": 1e-8, "atol": 1e-10}
    y0 = library.put([2.0, 0.0])
    known = solve_ivp(van_der_pol, (0, 4), [2.0, 0.0], t_eval=t_eval, **options)
    for times in (t_eval, list(t_eval), library.put(t_eval)):
        found = solve_ivp(van_der_pol, (0, 4), y0, t_eval=times, **options)
        assert_array_equal(library.get(found.t), t_eval)
        assert_allclose(library.get(found.y), known.y, rtol=0, atol=1e-6)


def test_events(library, method):
    def crossing(t, y):
        return y[0, ...]

    def third(t, y):
        return y[0, ...]

    third.terminal, third.direction = 3, 1
    options = {"method": method, "rtol": 1e-9, "atol": 1e-11, "dense_output": True}
    options["events"] = [crossing, third]
    found, expected = solve_both(library, van_der_pol, (0, 50), [2.0, 0.0], **options)
    assert found.status == expected.status == 1
    for times, known in zip(found.t_events, expected.t_events, strict=True):
        assert_allclose(library.get(times), known, rtol=1e-7)
    states = [library.get(states) for states in found.y_events]
    assert states[0].shape == (6, 2)
    assert_allclose(states[0][:, 0], 0, atol=1e-9)
    assert float(found.t[-1]) == library.get(found.t_events[1])[-1]


def test_no_events_found(library, method):
    found = solve_ivp(
        logistic, (0, 1), library.put([0.5]), method, events=lambda t, y: y[0, ...] + 9
    )
    assert library.get(found.t_events[0]).shape == (0,)


def test_many_events(library):
    found, expected = solve_both(
        library, forced, (0, 200), [0.0, 50.0], rtol=1e-9, events=lambda t, y: y[1, ...]
    )
    assert len(expected.t_events[0]) > 50
    assert_allclose(library.get(found.t_events[0]), expected.t_events[0], rtol=1e-7)


def test_scalar_functions(library, method):
    """Functions of one time, that have to be called point by point."""

    def fun(t, y):
        a, b = float(y[0]), float(y[1])
        return [b, -math.sin(a)]

    options = {"method": method, "rtol": 1e-5, "atol": 1e-7}
    found, expected = solve_both(library, fun, (0, 2), [1.0, 0.0], **options)
    assert found.success
    assert_allclose(library.get(found.y)[:, -1], expected.y[:, -1], atol=1e-4)


def test_jacobians(library, method):
    def jac(t, y):
        a, b = rows(y)
        return [[0.0 * a, 0.0 * a + 1.0], [-2.0 * a * b - 1.0, 1.0 - a**2]]

    options = {"method": method, "rtol": 1e-7, "atol": 1e-9, "jac": jac}
    found, expected = solve_both(library, van_der_pol, (0, 5), [2.0, 0.0], **options)
    assert found.njev > 0
    assert_allclose(library.get(found.y)[:, -1], expected.y[:, -1], atol=1e-5)


def test_constant_jacobian(library, method):
    A = np.array([[-1.0, 2.0], [-2.0, -1.0]])
    there = library.put(A)
    options = {"method": method, "rtol": 1e-8, "atol": 1e-10}
    found = solve_ivp(
        lambda t, y: there @ y, (0, 3), library.put([1.0, 0.0]), jac=there, **options
    )
    expected = [np.cos(6), -np.sin(6)] * np.exp([-3.0])
    assert_allclose(library.get(found.y)[:, -1], expected, atol=1e-7)


def test_class_steps(library, method):
    solver = getattr(parivp, method)(
        van_der_pol, 0.0, library.put([2.0, 0.0]), 5.0, rtol=1e-7, atol=1e-9
    )
    while solver.status == "running":
        assert solver.step() is None
        middle = (solver.t_old + solver.t) / 2
        assert library.get(solver.dense_output()(middle)).shape == (2,)
    assert solver.status == "finished"
    known = solve_ivp(van_der_pol, (0, 5), [2.0, 0.0], rtol=1e-10, atol=1e-12)
    assert_allclose(library.get(solver.y), known.y[:, -1], atol=1e-5)


def test_callback(library, method):
    seen = []
    options = {"callback": lambda state: seen.append(state.y), "method": method}
    solve_ivp(logistic, (0, 5), library.put([0.1]), **options)
    assert all(library.get(y).shape == (1,) for y in seen)
    assert seen


def test_failure_keeps_what_came_before(library, method):
    found = solve_ivp(
        lambda t, y: y**2, (0, 2), library.put([1.0]), method, max_steps=25
    )
    assert found.status == -1
    t, y = library.get(found.t), library.get(found.y)
    assert 0.9 < t[-1] < 1.001
    assert np.isfinite(y).all()
    early = t < 0.9
    assert_allclose(y[0, early], 1 / (1 - t[early]), rtol=1e-2)


@pytest.mark.parametrize("y0", [[], [1.0]])
def test_nothing_to_do(library, method, y0):
    found = solve_ivp(logistic, (1.0, 1.0), library.put(y0, float), method)
    assert found.success
    assert library.get(found.y).shape == (len(y0), 2)


def test_whole_numbers_become_floats(library, method):
    found = solve_ivp(lambda t, y: 0.0 * y + 1, (0, 1), library.put([1, 2]), method)
    assert_allclose(library.get(found.y)[:, -1], [2.0, 3.0])


@pytest.mark.parametrize("option", ["t_eval", "mesh", "initial_guess", "jac"])
def test_options_of_another_library(library, option):
    """States of NumPy's and options that are not, and the other way round."""
    values = {"t_eval": [0.0, 1.0], "mesh": [0.0, 1.0], "initial_guess": [1.0]}
    values["jac"] = [[1.0]]
    options = {option: library.put(values[option])}
    with pytest.raises(TypeError, match=f"`{option}`"):
        solve_ivp(logistic, (0.0, 1.0), [0.1], "ScanNewtonImplicit", **options)


def test_fun_of_another_library(library, method):
    def fun(t, y):
        return np.ones(2)

    with pytest.raises(TypeError, match=r"`fun`.*numpy"):
        solve_ivp(fun, (0.0, 1.0), library.put([0.1, 0.2]), method)


def test_device_of_the_state(library):
    y0 = library.put([0.1])
    with pytest.raises(TypeError, match=r"`device` is 'cpu'.*" + library.name):
        solve_ivp(logistic, (0, 1), y0, device="cpu")
    with pytest.raises(ValueError, match="`device`"):
        solve_ivp(logistic, (0, 1), y0, device="tpu")


def test_bad_states(library, method):
    for y0, error in (([[1.0]], "1-dimensional"), ([math.inf], "finite")):
        with pytest.raises(ValueError, match=error):
            solve_ivp(logistic, (0, 1), library.put(y0), method)


def test_device_cpu():
    found = solve_ivp(logistic, (0, 1), [0.1], device="cpu")
    assert isinstance(found.y, np.ndarray)
