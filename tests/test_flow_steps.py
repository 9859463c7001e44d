"""Trajectories that share their steps, beside SciPy's DOP853 of all of them stacked."""

import numpy as np
import pytest
import scipy.integrate
from numpy.testing import assert_allclose

from parivp._flow_steps import DenseTrajectories, SharedSteps

Y0 = np.array([[1.0, 1.1, 0.7, 0.2], [0.0, -0.3, 0.4, 0.1]])
RTOL, ATOL = 1e-8, np.array([[1e-10], [1e-7]])


def forced(t, y):
    return np.stack([y[1], (1 - y[0] ** 2) * y[1] - y[0] + np.sin(3 * t)])


def scipys(fun, t_span, y0):
    return scipy.integrate.DOP853(
        lambda t, y: fun(t, y.reshape(y0.shape)).ravel(),
        t_span[0],
        y0.ravel(),
        t_span[1],
        rtol=RTOL,
        atol=np.broadcast_to(ATOL, y0.shape).ravel(),
    )


@pytest.mark.parametrize("t_span", [(0.0, 20.0), (3.0, -4.0), (0.0, 1e-3)])
def test_steps_and_what_is_between(t_span):
    solver = SharedSteps(forced, t_span[0], Y0, t_span[1], RTOL, ATOL)
    other = scipys(forced, t_span, Y0)
    t, y, pieces, dense = [solver.t], [], [], []
    while other.status == "running":
        y.append(solver.y)
        solver.step()
        other.step()
        assert not solver.failed
        assert_allclose(solver.t, other.t, rtol=1e-6)
        t.append(solver.t)
        pieces.append(solver.interpolant())
        dense.append(other.dense_output())
    assert solver.t == t_span[1]
    assert_allclose(solver.y.ravel(), other.y, rtol=1e-9, atol=1e-11)
    found = DenseTrajectories(np.array(t), y, pieces)
    expected = scipy.integrate.OdeSolution(
        [dense[0].t_old, *(d.t for d in dense)], dense
    )
    times = np.random.default_rng(0).uniform(*sorted(t_span), 3000)
    times[:2] = t_span
    states = expected(times).reshape(2, 4, -1)
    assert_allclose(found(times), states, rtol=1e-9, atol=1e-10)
    assert_allclose(found(times, 2), states[:, :2], rtol=1e-9, atol=1e-10)
    assert_allclose(found(np.array(t[:-1])), np.stack(y, axis=-1), rtol=1e-12)


def test_where_they_cease_to_exist():
    y0 = np.array([[1.0, 0.5]])
    solver = SharedSteps(lambda t, y: y**2, 0.0, y0, 2.0, RTOL, ATOL[:1])
    with np.errstate(all="ignore"):
        while not solver.failed and solver.t < 2.0:
            solver.step()
    assert solver.failed
    assert_allclose(solver.t, 1.0, rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, np.nan, 1e100])
def test_slopes_that_say_little_of_the_first_step(value):
    """Nothing is divided by zero, and steps that cannot be made are refused."""
    y0 = np.zeros((1, 2))
    solver = SharedSteps(lambda t, y: 0 * y + value, 0.0, y0, 1.0, RTOL, ATOL[:1])
    with np.errstate(all="ignore"):
        while not solver.failed and solver.t < 1.0:
            solver.step()
    assert solver.failed == bool(np.isnan(value))
    if value == 0:
        assert_allclose(solver.y, 0, atol=0)
