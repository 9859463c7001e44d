"""Unusual but legitimate arguments, and wrong ones, on array libraries."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import parivp
from parivp import solve_ivp


def decay(t, y):
    return -0.5 * y


@pytest.mark.parametrize("kind", ["list", "range", "numpy", "there", "single"])
def test_times_of_any_type(library, method, kind):
    times = {
        "list": [0, 1, 4],
        "range": range(0, 5, 2),
        "numpy": np.array([0, 1, 4]),
        "there": library.put([0, 1, 4]),
        "single": library.put([0, 1, 4], np.float32),
    }[kind]
    found = solve_ivp(
        decay, (0, 4), library.put([1.0]), method, t_eval=times, rtol=1e-7, atol=1e-9
    )
    t = library.get(found.t)
    assert t.dtype == float
    assert_array_equal(t, [0, 2, 4] if kind == "range" else [0, 1, 4])
    assert_allclose(library.get(found.y)[0], np.exp(-0.5 * t), rtol=1e-5)


def test_no_times(library):
    found = solve_ivp(decay, (0, 1), library.put([1.0]), t_eval=library.put([]))
    assert found.success
    assert len(found.t) == 0


def test_times_that_are_none(library):
    y0 = library.put([1.0])
    for times in (library.put([0j, 1.0]), [0j, 1.0], ["a"]):
        with pytest.raises(TypeError, match="`t_eval`"):
            solve_ivp(decay, (0, 1), y0, t_eval=times)


def test_times_that_are_none_by_numpy():
    for times in ([0j, 1.0], ["a"]):
        with pytest.raises(TypeError, match="`t_eval`"):
            solve_ivp(decay, (0, 1), [1.0], t_eval=times)
    # SciPy takes them
    assert solve_ivp(decay, (0, 1), [1.0], t_eval=[False, True]).success


def test_tolerances_there(library, method):
    rtol, atol = [1e-7, 1e-6], [1e-9, 1e-8]
    y0 = library.put([1.0, 2.0])
    options = {"method": method, "initial_guess": 1.0}
    known = solve_ivp(decay, (0, 4), y0, rtol=rtol, atol=atol, **options)
    found = solve_ivp(
        decay, (0, 4), y0, rtol=library.put(rtol), atol=library.put(atol), **options
    )
    assert_array_equal(library.get(found.y), library.get(known.y))
    with pytest.raises(ValueError, match="`rtol` has wrong shape"):
        solve_ivp(decay, (0, 4), y0, method, rtol=library.put([1e-3] * 3))


def test_complex_tolerances():
    """They had been cut to their real parts, with a warning."""
    for rtol in (1j, 1e-3 + 1j, [1e-3 + 0j], np.array([1e-3j])):
        with pytest.raises(TypeError, match="`rtol`"):
            solve_ivp(decay, (0, 1), [1.0], rtol=rtol)


@pytest.mark.parametrize("name", ["window", "n_steps", "max_step", "newton_tol"])
def test_numbers_that_are_arrays(library, name):
    with pytest.raises((TypeError, ValueError), match=f"`{name}` is expected"):
        solve_ivp(decay, (0, 1), library.put([1.0]), **{name: library.put(2.0)})


def test_pair_that_is_an_array(library):
    options = {"n_basis": library.put([2, 4]), "n_steps": 9}
    with pytest.raises(ValueError, match="`n_basis`"):
        solve_ivp(decay, (0, 1), library.put([1.0]), "ParODE", **options)


def test_terminal_that_is_an_array(library):
    def event(t, y):
        return y[0, ...]

    event.terminal = library.put(True)
    with pytest.raises(ValueError, match="`terminal`"):
        solve_ivp(decay, (0, 1), library.put([1.0]), events=event)


def test_wrong_meshes(library):
    y0 = library.put([1.0])
    with pytest.raises(ValueError, match=r"from 0.0 to 1.0, .* from 0.0 to 3.0"):
        solve_ivp(decay, (0, 1), y0, mesh=library.put([0.0, 3.0]))
    for mesh in (library.put([0j, 1.0]), np.array([0j, 1.0])):
        with pytest.raises(TypeError, match="`mesh`"):
            solve_ivp(decay, (0, 1), y0, mesh=mesh)


@pytest.mark.parametrize("value", [np.array([1.0, 2.0]), [1j, 2.0]])
def test_wrong_guesses(library, value):
    with pytest.raises(TypeError, match="`initial_guess`"):
        solve_ivp(decay, (0, 1), library.put([1.0, 2.0]), initial_guess=lambda t: value)


def test_list_of_arrays_as_state(library, method):
    with pytest.raises(TypeError, match="`y0`.*`stack`"):
        solve_ivp(decay, (0, 1), [library.put(1.0), library.put(2.0)], method)


def test_empty_return(library):
    with pytest.raises(ValueError, match="`fun` return is expected to have shape"):
        solve_ivp(lambda t, y: [], (0, 1), library.put([1.0, 2.0]))


@pytest.mark.parametrize("method", ["RK45", "BDF"])
def test_methods_of_scipy(library, method):
    with pytest.raises(TypeError, match=f"`method` '{method}'.*{library.name}"):
        solve_ivp(decay, (0, 1), library.put([1.0]), method)


def test_attributes_of_the_solution(library):
    sol = solve_ivp(decay, (2, 0), library.put([1.0]), dense_output=True).sol
    assert (sol.t_min, sol.t_max) == (0.0, 2.0)
    assert {type(sol.t_min), type(sol.t_max)} == {float}
    piece = sol.interpolants[0]
    assert {type(piece.t_old), type(piece.t_min), type(piece.t)} == {float}
    assert_allclose(library.get(piece(piece.t_old)), [1.0])


def test_state_changed_afterwards(library, method):
    y0 = library.put([1.0, 2.0])
    found = solve_ivp(decay, (0, 1), y0, method, dense_output=True)
    solver = getattr(parivp, method)(decay, 0.0, y0, 1.0)
    y0[...] = math.nan
    assert_array_equal(library.get(found.y)[:, 0], [1.0, 2.0])
    found.y[...] = math.nan
    assert_array_equal(library.get(found.sol(0.0)), [1.0, 2.0])
    while solver.status == "running":
        solver.step()
    exact = np.exp(-0.5) * np.array([1.0, 2.0])
    assert_allclose(library.get(solver.y), exact, rtol=1e-2)
