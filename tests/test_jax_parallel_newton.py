"""The JAX version of the paper's algorithm; runs where JAX is installed."""

import numpy as np
import pytest

from benchmarks import gpu_worker
from parivp._problems import PROBLEMS

jax = pytest.importorskip("jax")

from benchmarks import jax_parallel_newton  # noqa: E402

pytestmark = pytest.mark.slow

EXPLICIT = ["logistic", "van_der_pol", "cart_pole"]
IMPLICIT = ["dahlquist", "robertson"]
N_STEPS = 600


def solve(method, name, n_steps=N_STEPS):
    solver, y0 = jax_parallel_newton.make_solver(method, name, n_steps)
    states, n_iterations = solver(y0)
    return np.asarray(states), int(n_iterations)


def known(name, n_steps=N_STEPS):
    return gpu_worker.recursion(name, n_steps)


@pytest.mark.parametrize("name", EXPLICIT + IMPLICIT)
def test_right_hand_side(name):
    y = np.random.default_rng(0).standard_normal(len(PROBLEMS[name].y0))
    f = jax_parallel_newton.right_hand_side(name)
    np.testing.assert_allclose(f(y), PROBLEMS[name].fun(0.0, y), rtol=1e-14)


@pytest.mark.parametrize("method", ["newton", "newton_unrolled", "sequential"])
@pytest.mark.parametrize("name", EXPLICIT + IMPLICIT)
def test_same_recursion(name, method):
    states, _ = solve(method, name)
    assert gpu_worker.relative_error(states, known(name)) < 1e-12


@pytest.mark.parametrize("name", EXPLICIT)
def test_iterations_of_the_paper(name):
    """Section 4.1: residuals fall by 16 orders of magnitude in ten iterations."""
    for method in ("newton_paper", "parareal_paper"):
        states, n_iterations = solve(method, name)
        assert n_iterations == 11
        assert gpu_worker.relative_error(states, known(name)) < 1e-12


@pytest.mark.parametrize("name", EXPLICIT)
def test_parareal(name):
    states, n_iterations = solve("parareal", name)
    assert n_iterations < 24  # the number of intervals, after which it is exact
    assert gpu_worker.relative_error(states, known(name)) < 1e-9


@pytest.mark.parametrize(("n_steps", "expected"), [(1000, 25), (7, 1), (400, 20)])
def test_number_of_intervals(n_steps, expected):
    assert jax_parallel_newton.number_of_intervals(n_steps) == expected


def test_ends_at_numbers_that_are_none():
    states, n_iterations = solve("newton", "van_der_pol", 40)
    assert not np.isfinite(states).all()
    assert n_iterations < 10


def test_maps_that_do_not_commute():
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((33, 3, 3)) / 2, rng.standard_normal((33, 3))
    u = np.zeros(3)
    expected = [u := A[k] @ u + b[k] for k in range(33)]
    for compose in (jax_parallel_newton.compose, jax_parallel_newton.compose_unrolled):
        scan = jax.jit(lambda A, b, f=compose: jax_parallel_newton.affine_scan(A, b, f))
        scanned = scan(A, b)
        np.testing.assert_allclose(scanned, expected, rtol=1e-12)
