"""What is wrong is said so: the errors, warnings and failures of the contract."""

import itertools
import math
import re
import time

import numpy as np
import pytest
import scipy.integrate
from conftest import FIXED_STEP_OPTIONS, METHODS, method_for
from numpy.testing import assert_allclose
from scipy.sparse import csc_array

import parivp

# Seconds after which a solver that does not come to an end is stopped.
LIMIT = 10


def decay(t, y):
    return -y


def solve(method, fun=decay, t_span=(0, 1), y0=(1.0,), **options):
    return parivp.solve_ivp(fun, t_span, y0, method, **options)


# -- arguments that SciPy refuses, refused in the same words -------------------------


def event_with(**attributes):
    def g(t, y):
        return y[0] - 0.5

    vars(g).update(attributes)
    return g


REFUSED_BY_SCIPY = {
    "y0 two-dimensional": {"y0": [[1.0]]},
    "y0 a scalar": {"y0": 1.0},
    "y0 NaN": {"y0": [np.nan]},
    "y0 infinite": {"y0": [np.inf]},
    "y0 complex NaN": {"y0": [1j * np.nan]},
    "t_eval two-dimensional": {"t_eval": [[0.5]]},
    "t_eval a scalar": {"t_eval": 0.5},
    "t_eval before t_span": {"t_eval": [-0.5, 0.5]},
    "t_eval behind t_span": {"t_eval": [0.5, 1.5]},
    "t_eval descending": {"t_eval": [0.5, 0.25]},
    "t_eval twice": {"t_eval": [0.5, 0.5]},
    "t_eval ascending, backward": {"t_span": (1, 0), "t_eval": [0.25, 0.5]},
    "atol negative": {"atol": -1e-6},
    "atol of wrong shape": {"atol": [1e-6, 1e-6]},
    "atol two-dimensional": {"atol": [[1e-6]]},
    "one atol negative": {"y0": [1.0, 2.0], "atol": [1e-6, -1e-6]},
    "max_step zero": {"max_step": 0},
    "max_step negative": {"max_step": -1},
    "first_step zero": {"first_step": 0},
    "first_step negative": {"first_step": -0.1},
    "first_step too long": {"first_step": 1.5},
    "terminal negative": {"events": event_with(terminal=-1)},
    "terminal fractional": {"events": event_with(terminal=1.5)},
    "args not a sequence": {"args": 1.0},
    "method unknown": {"method": "RK46"},
    "method no solver": {"method": dict},
    "t_span three values": {"t_span": (0, 1, 2)},
    "t_span one value": {"t_span": (0,)},
    "t_span no numbers": {"t_span": ("a", "b")},
    "t_span a number": {"t_span": 1.0},
}


@pytest.mark.parametrize("change", REFUSED_BY_SCIPY.values(), ids=REFUSED_BY_SCIPY)
def test_refused_as_by_scipy(method, change):
    arguments = {"fun": decay, "t_span": (0, 1), "y0": [1.0], **change}
    with pytest.raises((ValueError, TypeError)) as scipys:
        scipy.integrate.solve_ivp(**({"method": "RK45"} | arguments))
    with pytest.raises(scipys.type) as ours:
        parivp.solve_ivp(**({"method": method} | arguments))
    # the argument is named as SciPy names it, and the message keeps SciPy's words
    if "method" in change:
        assert "`method` must be one of" in str(ours.value)
    else:
        assert str(scipys.value).rstrip(".") in str(ours.value)


def test_unknown_method_names_the_allowed_ones():
    with pytest.raises(ValueError, match="`method`") as caught:
        solve("RK46")
    for name in (*METHODS, "RK23", "RK45", "DOP853", "Radau", "BDF", "LSODA"):
        assert name in str(caught.value)


def test_args_that_cannot_be_unpacked_suggest_a_tuple(method):
    with pytest.raises(TypeError, match=re.escape("`args=(3.5,)`")):
        solve(method, args=3.5)


@pytest.mark.parametrize("t_span", [(0, np.nan), (np.nan, 1), (np.nan, np.nan)])
@pytest.mark.parametrize("chosen", [*METHODS, "RK45"])
def test_nan_in_t_span(t_span, chosen):
    """SciPy does not come back from it."""
    with pytest.raises(ValueError, match=r"`t_span`.*nan"):
        solve(chosen, t_span=t_span)


def test_infinite_start(method):
    with pytest.raises(ValueError, match=r"`t_span`"):
        solve(method, t_span=(-np.inf, 0))


@pytest.mark.parametrize(
    ("jac", "shape"),
    [
        (np.eye(3), (3, 3)),
        (np.ones(2), (2,)),
        (csc_array(np.eye(3)), (3, 3)),
        (lambda t, y: np.eye(3), (3, 3)),
        (lambda t, y: np.ones((2, 3)), (2, 3)),
        (lambda t, y: csc_array(np.eye(3)), (3, 3)),
    ],
    ids=["array", "vector", "sparse", "fun", "fun-wide", "fun-sparse"],
)
def test_jacobian_of_wrong_shape(method, jac, shape):
    with pytest.raises(ValueError, match="`jac`") as caught:
        solve(method, y0=[1.0, 2.0], jac=jac)
    assert "(2, 2)" in str(caught.value)
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [np.ones(3), np.ones((2, 2)), 1.0, [1.0], []],
    ids=["long", "matrix", "scalar", "one", "empty"],
)
def test_fun_of_wrong_shape(method, value):
    with pytest.raises(ValueError, match="`fun`") as caught:
        solve(method, lambda t, y: value, y0=[1.0, 2.0])
    assert "(2,)" in str(caught.value)
    assert str(np.shape(value)) in str(caught.value)


@pytest.mark.parametrize("rtol", [1e-16, 0.0, -1e-3, [1e-3, 1e-16]])
def test_rtol_too_small_warns_and_is_clipped(method, rtol):
    with pytest.warns(UserWarning, match="At least one element of `rtol` is too small"):
        result = solve(method, y0=[1.0, 2.0], rtol=rtol)
    assert result.success
    assert_allclose(result.y[:, -1], np.exp(-1) * np.array([1, 2]), rtol=2e-3)


@pytest.mark.parametrize("options", [{"nonsense": 1}, {"rtoll": 1e-9, "min_step": 0}])
def test_unknown_options_warn_and_are_named(method, options):
    with pytest.warns(
        UserWarning, match="The following arguments have no effect for a chosen solver"
    ) as caught:
        result = solve(method, **options)
    assert len(caught) == 1
    for name in options:
        assert f"`{name}`" in str(caught[0].message)
    assert result.success


def test_options_of_parivp_warn_where_scipys_methods_run():
    with pytest.warns(UserWarning, match="`window`"):
        solve("RK45", window=5)


# -- the options of parivp ---------------------------------------------------------

WRONG_OPTIONS = {
    "window zero": ("window", {"window": 0}),
    "window negative": ("window", {"window": -3}),
    "window fractional": ("window", {"window": 2.5}),
    "window NaN": ("window", {"window": np.nan}),
    "window text": ("window", {"window": "large"}),
    "n_steps zero": ("n_steps", {"n_steps": 0}),
    "n_steps negative": ("n_steps", {"n_steps": -1}),
    "n_steps fractional": ("n_steps", {"n_steps": 10.5}),
    "n_steps infinite": ("n_steps", {"n_steps": np.inf}),
    "n_steps and mesh": ("mesh", {"n_steps": 2, "mesh": [0, 0.5, 1]}),
    "n_steps without end": ("n_steps", {"n_steps": 10, "t_span": (0, np.inf)}),
    "mesh with another start": ("mesh", {"mesh": [0.1, 0.5, 1]}),
    "mesh with another end": ("mesh", {"mesh": [0, 0.5, 0.9]}),
    "mesh descending": ("mesh", {"mesh": [0, 0.7, 0.5, 1]}),
    "mesh with a point twice": ("mesh", {"mesh": [0, 0.5, 0.5, 1]}),
    "mesh with NaN": ("mesh", {"mesh": [0, np.nan, 1]}),
    "mesh of one point": ("mesh", {"mesh": [0.0]}),
    "mesh two-dimensional": ("mesh", {"mesh": [[0, 1]]}),
    "mesh ascending, backward": ("mesh", {"mesh": [0, 0.5, 1], "t_span": (1, 0)}),
    "newton_tol zero": ("newton_tol", {"newton_tol": 0}),
    "newton_tol negative": ("newton_tol", {"newton_tol": -1e-3}),
    "newton_tol NaN": ("newton_tol", {"newton_tol": np.nan}),
    "max_newton zero": ("max_newton", {"max_newton": 0}),
    "max_newton fractional": ("max_newton", {"max_newton": 1.5}),
    "max_steps zero": ("max_steps", {"max_steps": 0}),
    "max_steps negative": ("max_steps", {"max_steps": -5}),
    "max_steps fractional": ("max_steps", {"max_steps": 5.5}),
    "timeout negative": ("timeout", {"timeout": -1}),
    "timeout NaN": ("timeout", {"timeout": np.nan}),
    "callback no function": ("callback", {"callback": 3}),
    "guess of wrong length": ("initial_guess", {"initial_guess": [1.0, 2.0, 3.0]}),
    "guess complex, state real": ("initial_guess", {"initial_guess": 1j}),
    "guess with NaN": ("initial_guess", {"initial_guess": np.nan}),
    "max_step NaN": ("max_step", {"max_step": np.nan}),
    "first_step NaN": ("first_step", {"first_step": np.nan}),
    "rtol of wrong shape": ("rtol", {"rtol": [1e-3, 1e-3]}),
    "rtol NaN": ("rtol", {"rtol": np.nan}),
    "atol NaN": ("atol", {"atol": np.nan}),
}


@pytest.mark.parametrize(
    ("name", "change"), WRONG_OPTIONS.values(), ids=WRONG_OPTIONS.keys()
)
def test_wrong_options(method, name, change):
    with pytest.raises((ValueError, TypeError), match=f"`{name}`"):
        solve(method, **change)


@pytest.mark.parametrize("end", [1e308, np.inf])
def test_steps_as_long_as_numbers_go(method, end):
    """The first step of nothing to integrate is 1e-6, and 1e314 are asked for."""
    result = solve(method, fun=lambda t, y: 0 * y, t_span=(0, end), max_steps=50)
    assert result.status in (0, -1)
    assert np.all(result.y == result.y[:, :1])


@pytest.mark.parametrize("chosen", ["ScanNewton", "ScanNewtonImplicit"])
def test_unknown_tableau(chosen):
    with pytest.raises(ValueError, match="`tableau`.*'RK46'"):
        solve(chosen, tableau="RK46")


@pytest.mark.parametrize(
    "tableau", [name for name, t in parivp.TABLEAUS.items() if not t.adaptive]
)
def test_tableau_without_error_estimate_needs_steps(tableau):
    with pytest.raises(ValueError, match=r"`tableau`.*`n_steps`") as caught:
        solve(method_for(tableau), tableau=tableau)
    assert tableau in str(caught.value)


def test_guess_array_of_wrong_shape(method):
    with pytest.raises(ValueError, match="`initial_guess`") as caught:
        solve(
            method,
            n_steps=10,
            **FIXED_STEP_OPTIONS[method],
            initial_guess=np.ones((1, 5)),
        )
    assert "(1, 5)" in str(caught.value)
    assert "(1, 11)" in str(caught.value)


def test_first_step_and_max_step_in_the_class(method):
    cls = getattr(parivp, method)
    for options in ({"first_step": 2.0}, {"first_step": -1}, {"max_step": -1}):
        name = next(iter(options))
        with pytest.raises(ValueError, match=f"`{name}`"):
            cls(decay, 0.0, [1.0], 1.0, **options)


# -- fun that fails -----------------------------------------------------------------


class Mine(Exception):
    """An exception no library can know."""


@pytest.mark.parametrize("chosen", ["fun", "jac", "event"])
@pytest.mark.parametrize("error", [Mine, ValueError, TypeError, ZeroDivisionError])
def test_exceptions_arrive_unchanged(method, chosen, error):
    raised = error("mine")

    def fail(t, y):
        raise raised

    options = {
        "fun": {"fun": fail},
        "jac": {"jac": fail},
        "event": {"events": fail},
    }[chosen]
    with pytest.raises(error) as caught:
        solve(method, **options)
    assert caught.value is raised


@pytest.mark.parametrize(
    ("chosen", "time_vectorized"),
    [
        *itertools.product(["fun", "event"], [None, False, True]),
        # single steps of an explicit method, time_vectorized=False, ask for none
        *itertools.product(["jac"], [None, True]),
    ],
)
def test_exceptions_midway_arrive_unchanged(method, chosen, time_vectorized):
    """They are met by every solver that goes there."""

    def fail(value):
        def function(t, y):
            if np.any(np.asarray(t) > 0.5):
                raise Mine("beyond 0.5")
            return value(t, y)

        return function

    options = {
        "fun": {"fun": fail(decay)},
        "jac": {"jac": fail(lambda t, y: -np.ones((1, *np.shape(y))))},
        "event": {"events": fail(lambda t, y: y[0] - 0.1)},
    }[chosen]
    with pytest.raises(Mine, match=r"beyond 0\.5"):
        solve(method, time_vectorized=time_vectorized, **options)


def test_name_error_in_fun(method):
    """The mistake of a notebook."""

    def fun(t, y):
        return -kk * y  # noqa: F821

    with pytest.raises(NameError, match="kk"):
        solve(method, fun)


def test_missing_argument_of_fun(method):
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        solve(method, lambda t, y, k: -k * y)


def test_event_that_is_no_function(method):
    with pytest.raises(TypeError):
        solve(method, events=3)


def test_fun_that_is_no_function(method):
    with pytest.raises(TypeError):
        solve(method, 3.0)


# -- solutions that end before t_span does ------------------------------------------


@pytest.mark.parametrize("dense_output", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("fun", "y0", "singularity"),
    [
        (lambda t, y: y**2, [1.0], 1.0),
        (lambda t, y: 1 + y**2, [0.0], math.pi / 2),
        (lambda t, y: [y[0] ** 2 * y[1], y[1] * 0], [1.0, 1.0], 1.0),
    ],
    ids=["square", "tangent", "system"],
)
def test_blow_up_in_finite_time(method, fun, y0, singularity, sign, dense_output):
    """Status -1 near the singularity; warnings would be errors here."""

    def directed(t, y):
        return sign * np.asarray(fun(t, y))

    result = solve(
        method, directed, (0, sign * 3), y0, dense_output=dense_output, timeout=LIMIT
    )
    assert (result.status, result.success) == (-1, False)
    assert "timeout" not in result.message
    assert abs(result.t[-1]) == pytest.approx(singularity, rel=5e-3)
    assert np.all(np.isfinite(result.y))
    assert result.y.shape == (len(y0), result.t.size)
    # where the solution is moderate it is right
    early = np.abs(result.t) < 0.9 * singularity
    assert np.count_nonzero(early) > 2
    s = np.abs(result.t[early])
    exact = np.tan(s) if y0 == [0.0] else 1 / (1 - s)
    assert_allclose(result.y[0, early], exact, rtol=0.02, atol=1e-6)


@pytest.mark.parametrize("scalar", [False, True])
def test_nan_midway(method, scalar):
    """As in SciPy: status -1, the partial solution, no exception."""

    def fun(t, y):
        if scalar:
            return [-y[0] if t < 0.5 else math.nan]
        return np.where(t < 0.5, -y, np.nan)

    result = solve(method, fun, timeout=LIMIT)
    scipys = solve("RK45", fun)
    assert result.status == scipys.status == -1
    assert 0 < result.t[-1] <= 0.5 + 1e-12
    assert result.t[-1] == pytest.approx(0.5, abs=0.1)
    assert np.all(np.isfinite(result.y))
    assert_allclose(result.y[0], np.exp(-result.t), rtol=1e-3)


def test_nan_from_the_start(method):
    result = solve(method, lambda t, y: y * np.nan, timeout=LIMIT)
    assert (result.status, result.success) == (-1, False)
    assert "timeout" not in result.message
    assert np.all(np.isfinite(result.y))
    assert result.t[0] == 0


def test_infinite_derivative_at_the_start(method):
    with np.errstate(divide="ignore"):
        result = solve(method, lambda t, y: y / np.float64(t), timeout=LIMIT)
    assert result.status == -1
    assert "timeout" not in result.message


def test_square_root_leaving_its_domain(method):
    """y' = -sqrt(y) reaches zero at t = 2; beyond, NumPy's sqrt is NaN."""

    def fun(t, y):
        with np.errstate(invalid="ignore"):
            return -np.sqrt(y)

    result = solve(method, fun, (0, 3), [1.0], timeout=LIMIT)
    assert "timeout" not in result.message
    assert np.all(np.isfinite(result.y))
    early = result.t < 1.8
    exact = (1 - result.t[early] / 2) ** 2
    assert_allclose(result.y[0, early], exact, rtol=1e-2, atol=1e-4)


def test_failure_says_what_to_try(method):
    result = solve(method, lambda t, y: y**2, (0, 3), timeout=LIMIT)
    message = result.message
    # where it happened
    assert re.search(r"t = 0\.99|t = 1", message)
    assert len(message.split()) > 5


# -- interruption ---------------------------------------------------------------------


@pytest.mark.parametrize("calls", [1, 2, 5, 12])
@pytest.mark.parametrize("progress", [False, True])
@pytest.mark.parametrize("time_vectorized", [None, False])
def test_keyboard_interrupt_propagates_at_once(
    method, calls, progress, time_vectorized
):
    if progress:
        pytest.importorskip("tqdm")
    made = 0

    def fun(t, y):
        nonlocal made
        made += 1
        if made == calls:
            raise KeyboardInterrupt
        return -y

    options = {"progress": progress, "time_vectorized": time_vectorized, "rtol": 1e-8}
    with pytest.raises(KeyboardInterrupt):
        solve(method, fun, (0, 5), **options)
    assert made == calls
    before = np.geterr()
    result = solve(method, decay, (0, 5), **options)
    assert result.success
    assert_allclose(result.y[0], np.exp(-result.t), rtol=1e-5)
    assert np.geterr() == before


@pytest.mark.parametrize("chosen", ["jac", "event"])
def test_keyboard_interrupt_elsewhere(method, chosen):
    def interrupt(t, y):
        raise KeyboardInterrupt

    options = {"jac": {"jac": interrupt}, "event": {"events": interrupt}}[chosen]
    with pytest.raises(KeyboardInterrupt):
        solve(method, **options)
    assert solve(method).success


def test_floating_point_state_is_left_alone(method):
    """The user's own error handling of NumPy is the same afterwards."""
    with np.errstate(all="raise"):
        before = np.geterr()
        solve(method)
        assert np.geterr() == before


def test_stop_iteration_of_fun_arrives(method):
    def fun(t, y):
        if np.any(np.asarray(t) > 0.5):
            raise StopIteration("mine")
        return -y

    with pytest.raises(StopIteration, match="mine"):
        solve(method, fun)


def test_tiny_timeout_is_a_status(method):
    result = solve(method, timeout=1e-9)
    assert result.status == -1
    assert "timeout" in result.message


def test_timeout_does_not_interrupt_the_dense_output(method):
    def fun(t, y):
        time.sleep(1e-3)
        return -y

    result = solve(
        method,
        fun,
        (0, 50),
        timeout=0.1,
        dense_output=True,
        events=lambda t, y: y[0] - 0.5,
        time_vectorized=False,
    )
    assert result.status == -1
    assert "timeout" in result.message


def test_single_window_to_infinity(method):
    with pytest.raises(ValueError, match="`window` = inf"):
        solve(method, t_span=(0, np.inf), window=np.inf)


def test_stepping_on_after_an_exception(method):
    def fun(t, y):
        if t > 0.5:
            raise Mine("beyond 0.5")
        return -y

    solver = getattr(parivp, method)(fun, 0, [1.0], 1, time_vectorized=False)
    with pytest.raises(Mine):
        _ = [solver.step() for _ in range(1000)]
    assert "exception" in solver.step()
    assert solver.status == "failed"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time_vectorized", "maybe"),
        ("timeout", "1"),
        ("newton_tol", "small"),
        ("max_step", "1"),
        ("first_step", "1"),
        ("rtol", None),
        ("atol", "abc"),
        ("window", True),
        ("n_steps", True),
        ("mesh", "a"),
        ("jac", "2-point"),
        ("initial_guess", "a"),
        ("events", 3),
        ("events", [3]),
    ],
)
def test_values_of_the_wrong_kind_are_named(method, name, value):
    with pytest.raises((TypeError, ValueError), match=f"`{name}`"):
        solve(method, **{name: value})
