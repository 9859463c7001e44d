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


def test_calibrated_on_average(method):
    ratios = []
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


def test_jumps_of_the_right_hand_side_are_noticed(method):
    """As RK45 notices them; the estimates of DOP853 without guards pass some."""
    phases = np.linspace(0, 3, 12)
    worst = jump_errors(method, phases, 1e-6).max()
    assert worst <= WORST * jump_errors("RK45", phases, 1e-6).max()
    assert jump_errors("DOP853", phases, 1e-6).max() > 100 * worst
