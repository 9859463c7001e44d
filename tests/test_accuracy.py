"""How accurate the end point is, beside SciPy's RK45 at the same tolerances."""

import functools

import numpy as np
import pytest
import scipy.integrate

import parivp
from benchmarks.error_estimates import jump_errors
from parivp._problems import PROBLEMS

NAMES = (
    "logistic",
    "van_der_pol",
    "van_der_pol_long",
    "cart_pole",
    "lotka_volterra",
    "arenstorf",
    "pleiades",
    "lorenz",
)
RTOLS = (1e-3, 1e-6, 1e-9)
# What is asked of every case, and of the geometric mean over all of them: accuracy
# that nobody asked for is time wasted.
WORST, MOST_ACCURATE = 3.0, 1 / 100


@functools.cache
def end_point_errors(name, rtol, method):
    """Relative errors of a method of parivp and of RK45; a wrong phase counts as 1."""
    problem = PROBLEMS[name]
    args = (problem.fun, problem.t_span, problem.y0)
    options = {"rtol": rtol, "atol": rtol * 1e-3}
    ours = parivp.solve_ivp(*args, method, timeout=60, **options)
    assert ours.success, ours.message
    rk45 = scipy.integrate.solve_ivp(*args, "RK45", **options)
    # rounding decides below this, and above 1 one wrong answer is as good as another
    low, high = 1e-14, 1.0
    return tuple(np.clip(problem.error(r.y[:, -1]), low, high) for r in (ours, rk45))


@pytest.mark.parametrize("rtol", RTOLS)
@pytest.mark.parametrize("name", NAMES)
def test_never_much_less_accurate_than_rk45(method, name, rtol):
    ours, rk45 = end_point_errors(name, rtol, method)
    assert ours <= WORST * rk45


def test_calibrated_on_average():
    method, ratios = "ScanNewton", []
    for name in NAMES:
        for rtol in RTOLS:
            ours, rk45 = end_point_errors(name, rtol, method)
            ratios.append(ours / rk45)
    mean = np.exp(np.mean(np.log(ratios)))
    assert MOST_ACCURATE <= mean <= WORST


@pytest.mark.parametrize("rtol", [1e-4, 1e-7])
@pytest.mark.parametrize("name", ["van_der_pol", "lotka_volterra"])
@pytest.mark.parametrize("kind", ["initial state", "coarse solution"])
def test_poor_guess_does_not_spoil_the_accuracy(method, name, rtol, kind):
    """Steps whose length follows a wrong guess must be checked on the solution."""
    problem = PROBLEMS[name]
    if kind == "initial state":
        guess = list(problem.y0)
    else:
        guess = scipy.integrate.solve_ivp(
            problem.fun, problem.t_span, problem.y0, rtol=0.1, dense_output=True
        ).sol
    result = parivp.solve_ivp(
        problem.fun,
        problem.t_span,
        problem.y0,
        method,
        rtol=rtol,
        atol=1e-3 * rtol,
        initial_guess=guess,
        timeout=60,
    )
    assert result.success, result.message
    rk45 = end_point_errors(name, rtol, method)[1]
    assert problem.error(result.y[:, -1]) <= WORST * rk45


@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize("amplitude", [0.1, 0.2, 0.3, 0.5])
def test_guess_at_rest(method, amplitude, rtol):
    """The guess is an equilibrium, where steps of any length make no error.

    u = 1 + amplitude cos(20 t).  In (u, u'/20) errors are not amplified; a step
    adds at most sqrt(2) (rtol + atol) (|u| + |u'|/20), with |u| + |u'|/20 < 2.2.
    """

    def fun(t, y):
        return np.array([y[1], -400 * (y[0] - 1)])

    result = parivp.solve_ivp(
        fun,
        (0, 3),
        [1 + amplitude, 0],
        method,
        rtol=rtol,
        atol=rtol * 1e-3,
        initial_guess=[1.0, 0.0],
        timeout=60,
    )
    assert result.success, result.message
    error = np.max(np.abs(result.y[0] - 1 - amplitude * np.cos(20 * result.t)))
    assert error <= np.sqrt(2) * 2.2 * 1.001 * rtol * result.nsteps


@pytest.mark.parametrize("width", [0.3, 0.03])
@pytest.mark.parametrize("rtol", [1e-4, 1e-8])
def test_short_pulse(method, width, rtol):
    """A smooth pulse after a long calm: y steps by the integral of a Gaussian.

    `max_step` is what a user sets so that no solver can miss it.
    """

    def fun(t, y):
        return np.exp(-(((t - 7.0) / width) ** 2)) / (width * np.sqrt(np.pi)) - 0.0 * y

    result = parivp.solve_ivp(
        fun, (0, 10), [0.0], method, rtol=rtol, atol=rtol, max_step=width
    )
    assert result.success
    # errors add up without growing: at most the tolerance of every step, of which
    # few are long enough to use it
    assert abs(result.y[0, -1] - 1.0) <= rtol * result.nsteps


@functools.cache
def worst_jump_error(method):
    """Over phases enough for one to pass DOP853, whatever rounding errors do."""
    return jump_errors(method, np.linspace(0, 3, 24), 1e-6).max()


def test_jumps_of_the_right_hand_side_are_noticed(method):
    """As RK45 notices them; the estimates of DOP853 without guards pass some."""
    worst = worst_jump_error(method)
    assert worst <= WORST * worst_jump_error("RK45")
    assert worst_jump_error("DOP853") > 100 * worst


NEAR_POLES = {
    # fun, y0, end, the integral of 1 / y
    "before": (lambda t, y: y**2, 1.0, 0.9999, 0.9999),
    "grazing 1": (lambda t, y: y**2 * np.cos(t), 0.999, 20.0, np.sin(20.0)),
    "grazing 2": (lambda t, y: 2 * y**2 * np.cos(t), 0.4995, 20.0, 2 * np.sin(20.0)),
    "grazing 5": (lambda t, y: 5 * y**2 * np.cos(t), 0.1998, 20.0, 5 * np.sin(20.0)),
}


@pytest.mark.parametrize("rtol", [1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12])
@pytest.mark.parametrize("case", NEAR_POLES)
def test_nearby_poles_do_not_hide_errors(method, case, rtol):
    """An iterate that blows up on the way must not pass for converged.

    The solutions grow by up to 1e4 and fall again: ``1 / y`` is known.
    """
    fun, y0, tf, integral = NEAR_POLES[case]
    exact = 1 / (1 / y0 - integral)
    errors = {
        name: abs(
            parivp.solve_ivp(fun, (0, tf), [y0], name, rtol=rtol, atol=1e-3 * rtol).y[
                0, -1
            ]
            / exact
            - 1
        )
        for name in (method, "RK45")
    }
    # the rounding of the initial value alone is magnified to this
    rounding = 1e4 * np.finfo(float).eps * max(1.0, 1e4 * abs(exact))
    assert errors[method] <= max(WORST * errors["RK45"], rounding)


@pytest.mark.parametrize("rtol", [1e-6, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12])
def test_a_pole_is_not_crossed(method, rtol):
    """The solution of y' = y^2 ends at t = 1."""
    result = parivp.solve_ivp(
        lambda t, y: y**2, (0, 1.1), [1.0], method, rtol=rtol, atol=1e-3 * rtol
    )
    assert result.status == -1
    assert abs(result.t[-1] - 1) < 10 * rtol + 1e-9
    early = result.t < 0.99
    exact = 1 / (1 - result.t[early])
    assert np.max(np.abs(result.y[0, early] / exact - 1)) < 1e3 * rtol


@pytest.mark.parametrize("rtol", [1e-6, 1e-9])
def test_small_solutions_are_relatively_accurate(method, rtol):
    """With atol = 0, through decay by many orders of magnitude."""

    def fun(t, y):
        return [-y[0], -2 * y[1] + y[0] ** 2 * (1 + y[1] / (y[0] ** 2 + y[1]))]

    problem = (fun, (0, 40), [1.0, 0.5])
    exact = scipy.integrate.solve_ivp(*problem, "DOP853", rtol=1e-13, atol=0).y[:, -1]
    errors = {
        name: np.max(
            np.abs(
                parivp.solve_ivp(*problem, name, rtol=rtol, atol=0).y[:, -1] / exact - 1
            )
        )
        for name in (method, "RK45")
    }
    assert errors[method] <= WORST * errors["RK45"]
