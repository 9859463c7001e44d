"""The CUDA kernels of the Rosenbrock steps, run on the CPU by fibers."""

import ctypes
import re

import numpy as np
import pytest
from cuda_host import COMPILER, KernelError, build, guarded, guards_hold
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp
from test_rosenbrock import PROBLEMS, TABLEAUS

from parivp import _rosenbrock
from parivp._rhs import Rhs
from parivp._rosenbrock import ROS4, _Steps, rosenbrock
from parivp._rosenbrock_cuda import (
    MAX_SIZE,
    OPTIONS,
    FusedSteps,
    kernel_source,
    shared_bytes,
)

pytestmark = pytest.mark.skipif(COMPILER is None, reason="there is no g++ on Linux")


class HostSteps(FusedSteps):
    """The steps on arrays of NumPy's; threads run in an order drawn from a seed."""

    seed, source = 0, None

    def __init__(self, steps):
        super().__init__(steps)
        self.work = guarded(self.work.shape, float, np.nan)
        self.error = guarded(self.error.shape, float, np.nan)

    def _launch(self, kernel, *arguments):
        library = build(OPTIONS, self.source or kernel_source(), "rosenbrock_host.cpp")
        run = getattr(library, f"run_{kernel}")
        run.restype = ctypes.c_char_p
        given = [as_argument(argument) for argument in arguments]
        shared = shared_bytes(kernel, self.n)
        message = run(*given, shared, self.seed)
        if message:
            raise KernelError(message.decode())
        if not (guards_hold(self.work) and guards_hold(self.error)):
            raise KernelError("wrote outside an array")


def as_argument(value):
    if isinstance(value, np.ndarray):
        assert value.dtype == float
        assert value.flags.c_contiguous
        return ctypes.c_void_p(value.ctypes.data)
    is_int = isinstance(value, np.int32)
    return ctypes.c_int(int(value)) if is_int else ctypes.c_double(value)


def both(fun, y, tableau=ROS4, rtol=1e-3, atol=1e-6):
    """The steps in array operations, and by the kernels."""
    rhs = Rhs(fun, y, time_vectorized=True)
    steps = _Steps(rhs, y, rtol, atol, tableau)
    return steps, HostSteps(_Steps(rhs, y, rtol, atol, tableau))


def linear(n, seed, scale=1.0):
    """A linear problem with a slope in time."""
    rng = np.random.default_rng(seed)
    A, b = scale * rng.normal(size=(n, n)), rng.normal(size=n)
    A[rng.random((n, n)) < 0.3] = 0.0

    def fun(t, y):
        column = b[:, None] if y.ndim == 2 else b
        return A @ y + np.sin(3 * t) * column

    return fun, rng.normal(size=n)


def one_step(steps, y, h, t=0.5):
    known = steps.linearize(t, y, 1e-7)
    return steps.step(t, y, t + h, *known)


@pytest.mark.parametrize("tableau", TABLEAUS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_trajectories(problem, tableau, monkeypatch):
    """About as many steps, and the same end.

    The slope in time of a stiff problem is a difference of large numbers, whose
    rounding errors decide about the lengths.
    """
    fun, (t, t_bound), y0 = PROBLEMS[problem]
    y0 = np.array(y0)
    arguments = t, y0, t_bound, 1e-3, 1e-6, 1e9, TABLEAUS[tableau]
    known = list(rosenbrock(Rhs(fun, y0), *arguments))
    monkeypatch.setattr(_rosenbrock, "_Steps", lambda *a: HostSteps(_Steps(*a)))
    found = list(rosenbrock(Rhs(fun, y0), *arguments))
    assert abs(len(found) - len(known)) <= 0.25 * len(known)
    assert found[-1][0] == t_bound
    exact = solve_ivp(fun, (t, t_bound), y0, "Radau", rtol=1e-11, atol=1e-14).y[:, -1]
    for _, y in (found[-1], known[-1]):
        assert_allclose(y, exact, rtol=0, atol=0.2 * np.max(np.abs(exact)))


@given(
    n=st.integers(1, 12),
    seed=st.integers(0, 2**20),
    h=st.sampled_from([-1.0, 1e-3, 0.1, 3.0]),
    tableau=st.sampled_from(sorted(TABLEAUS)),
    order=st.integers(0, 9),
)
def test_same_steps(n, seed, h, tableau, order):
    fun, y = linear(n, seed)
    steps, kernels = both(fun, y, TABLEAUS[tableau])
    kernels.seed = order
    known, found = one_step(steps, y, h), one_step(kernels, y, h)
    # the inverse loses as many digits as the matrix is ill-conditioned
    J = kernels.work[: n * n].reshape(n, n)
    near = 1e-12 * max(10.0, np.linalg.cond(J))
    size = np.max(np.abs(known[0]))
    assert_allclose(found[0], known[0], rtol=0, atol=near * size)
    # in units of tolerances of at least 1e-6
    assert_allclose(found[1], known[1], rtol=1e3 * near, atol=1e6 * near * size)


@pytest.mark.parametrize("n", [1, 31, 32, 33, MAX_SIZE])
def test_sizes(n):
    fun, y = linear(n, n, 0.1)
    atol, rtol = np.linspace(1e-6, 1e-3, n), np.linspace(1e-5, 1e-3, n)
    steps, kernels = both(fun, y, rtol=rtol, atol=atol)
    known, found = one_step(steps, y, 0.3), one_step(kernels, y, 0.3)
    assert_allclose(found[0], known[0], rtol=0, atol=1e-8)
    assert found[1] == pytest.approx(known[1], rel=1e-4)


def test_states_that_are_columns():
    """Neither the state nor what the function returns need lie together in memory."""
    A = np.array([[0.0, 2.0], [-3.0, 0.5]])
    steps, kernels = both(lambda t, y: (y.T @ A.T).T[::1], np.array([1.0, 2.0]))
    y = np.array([[1.0, 5.0], [2.0, 5.0]])[:, 0]
    known, found = one_step(steps, y, 0.2), one_step(kernels, y, 0.2)
    assert_allclose(found[0], known[0], rtol=1e-7)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_jacobians_that_are_not_finite_count_as_zero(bad):
    def fun(t, y):
        # finite at the state itself alone
        return np.where(y == 1.0, -y, np.where(y > 1.0, bad, -y)) + 0 * t

    steps, kernels = both(fun, np.array([1.0, 0.5]))
    known = one_step(steps, np.array([1.0, 0.5]), 0.1)
    found = one_step(kernels, np.array([1.0, 0.5]), 0.1)
    assert np.isfinite(known[0]).all()
    assert_allclose(found[0], known[0], rtol=1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_fail_the_step(value):
    _, kernels = both(lambda t, y: value * y, np.array([1.0, 2.0]))
    assert one_step(kernels, np.array([1.0, 2.0]), 0.1)[1] == np.inf


def test_singular_matrices_fail_the_step():
    rate = 1 / (ROS4.gamma * 0.5)
    A = np.array([[rate, 0.0], [0.0, rate]])
    _, kernels = both(lambda t, y: A @ y, np.array([1.0, 0.0]))
    values = [one_step(kernels, np.array([1.0, 0.0]), h)[1] for h in (0.5, 0.25)]
    assert values[0] == np.inf or values[0] > 1e3
    assert np.isfinite(values[1])


def test_what_the_function_raises_fails_the_step():
    def fun(t, y):
        if y.ndim == 1:
            raise ZeroDivisionError
        return -y

    y = np.array([1.0, 2.0])
    _, kernels = both(fun, y)
    found = one_step(kernels, y, 0.1)
    assert found[0] is y
    assert found[1] == np.inf


# -- bugs planted into the source are found ------------------------------------


def exact_problem(n, seed):
    """One whose differences have no rounding errors, with a first pivot of zero."""
    rng = np.random.default_rng(seed)
    A = rng.integers(-9, 10, (n, n)).astype(float)
    A[0, 0] = 1 / (ROS4.gamma * 0.5)

    def fun(t, y):
        return A @ y + 8.0 * t

    return fun, rng.choice([-2.0, -1.0, 0.5, 1.0], n)


def find_bug(source):
    """Take steps in many orders; what goes wrong, or an empty string."""
    for seed in range(24):
        fun, y = exact_problem(5, seed % 3)
        steps, kernels = both(fun, y)
        kernels.seed, kernels.source = seed, source
        known = one_step(steps, y, 0.5)
        try:
            found = one_step(kernels, y, 0.5)
        except KernelError as error:
            return str(error)
        size = np.max(np.abs(known[0]))
        exact = np.allclose(found[0], known[0], rtol=0, atol=1e-10 * size)
        if not (exact and np.isclose(found[1], known[1], rtol=1e-8)):
            return "wrong numbers"
    return ""


def barriers():
    return [m.span() for m in re.finditer(r"__syncthreads\(\);", kernel_source())]


def test_no_bug_is_found_in_the_kernels_themselves():
    assert find_bug(kernel_source()) == ""


@pytest.mark.parametrize("number", range(len(barriers())))
def test_every_barrier_is_missed(number):
    start, end = barriers()[number]
    source = kernel_source()
    assert find_bug(source[:start] + ";" + source[end:])


PLANTED = {
    "no exchange": ("p = i;", "p = k;"),
    "exchanges not undone": ("int k = n - 1; k >= 0; --k", "int k = 0; k < 0; --k"),
    "transposed": ("work[j * n + i] = matrix", "work[i * n + j] = matrix"),
    "swapped operands": ("/= -pivot", "/= pivot"),
    "no slope in time": ("known[n + j] = h *", "known[n + j] = 0 *"),
    "wrong row": ("coefficients[2 * stage * width", "coefficients[stage * width"),
    "past shared memory": ("force[i] = h *", "force[i + 5] = force[i] = h *"),
    "past the work": ("known[(2 + stage) * n] = u", "known[(9 + stage) * n] = u"),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_found(bug):
    old, new = PLANTED[bug]
    assert old in kernel_source()
    assert find_bug(kernel_source().replace(old, new))
