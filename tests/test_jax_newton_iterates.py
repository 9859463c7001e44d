"""The iterates of the JAX version are those of Newton's method, one by one.

Converging to the recursion's solution would not show it: an approximate Jacobian
converges, too, only in more iterations, and its times would be compared with.
"""

import numpy as np
import pytest

from parivp._problems import PROBLEMS

jax = pytest.importorskip("jax")

from benchmarks import jax_parallel_newton  # noqa: E402

pytestmark = pytest.mark.slow

NAMES = ["logistic", "van_der_pol", "cart_pole", "dahlquist", "robertson"]
N_STEPS = 100
EPS = np.finfo(float).eps


def rk4(f, h, x):
    k1 = f(x)
    k2 = f(x + h / 2 * k1)
    k3 = f(x + h / 2 * k2)
    k4 = f(x + h * k3)
    return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def complex_step_jacobian(step, x):
    """Exact to rounding: the steps are analytic functions."""
    size = 1e-30
    columns = [step(x + 1j * size * e).imag / size for e in np.eye(x.size)]
    return np.stack(columns, axis=1)


def explicit_system(problem, h, before, after):
    """Residual and derivatives of one step in its first and its last state."""

    def step(x):
        return rk4(lambda x: np.array(problem.fun(0.0, x)), h, x)

    jac = complex_step_jacobian(step, before)
    return after - step(before), -jac, np.eye(before.size)


def implicit_system(problem, h, before, after):
    residual = after - before - h * np.asarray(problem.fun(0.0, after))
    identity = np.eye(before.size)
    return residual, -identity, identity - h * problem.jac(0.0, after)


def newton_step(problem, x):
    """Eliminate from the first step to the last, without any scan.

    Returns the next iterate and the largest condition number of a step's matrix.
    """
    h = (problem.t_span[1] - problem.t_span[0]) / len(x)
    system = implicit_system if problem.stiff else explicit_system
    before, u, updates = np.array(problem.y0), np.zeros(x.shape[1]), []
    condition = 1.0
    for after in x:
        residual, below, diagonal = system(problem, h, before, after)
        u = -np.linalg.solve(diagonal, below @ u + residual)
        updates.append(u)
        condition = max(condition, np.linalg.cond(diagonal))
        before = after
    return x + np.array(updates), condition


@pytest.mark.parametrize("n_iterations", [1, 2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_iterates(name, n_iterations, monkeypatch):
    monkeypatch.setitem(jax_parallel_newton.PAPER_ITERATIONS, name, n_iterations)
    solver, y0 = jax_parallel_newton.make_solver("newton_paper", name, N_STEPS)
    found, counted = solver(y0)
    problem, tol = PROBLEMS[name], 1e-11
    expected = np.full((N_STEPS, len(problem.y0)), problem.initial_guess)
    for _ in range(n_iterations):
        expected, condition = newton_step(problem, expected)
        # Robertson's is 7e8 from the second iterate on, and in long double both
        # versions are seen to be off by 2e-7
        tol = max(tol, 10 * EPS * condition)
    assert int(counted) == n_iterations
    scale = abs(expected).max(axis=0)
    assert (abs(np.asarray(found) - expected) <= tol * scale).all()
