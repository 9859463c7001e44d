r"""Random problems against independent solutions, and against themselves.

The tolerance of every comparison is derived, not chosen.  A step is accepted if
the root mean square of its error over `atol + rtol |y|` is at most 1, so that it
adds at most ``tau = sqrt(n) (atol + rtol max|y|)`` in the Euclidean norm.  Newton's
method stops at a fraction of the same tolerance, which is covered by the factor 2.
An error made at time s is carried to time t by at most
``exp(int_s^t mu)``, with mu the logarithmic norm of the Jacobian, the largest
eigenvalue of its symmetric part (Hairer, Norsett & Wanner I, Theorem I.10.6).  With
N steps in all, at the steps,

    |error| <= 2 N tau growth,    growth = exp(int max(mu, 0)).
"""

from dataclasses import dataclass

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
from conftest import method_for
from hypothesis import assume, given, target
from numpy.testing import assert_array_equal

import parivp

METHOD = "ScanNewton"


@dataclass
class Problem:
    """``y' = a tanh(b y + c sin t) + d y`` from `y0` over (0, end)."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    d: float
    y0: np.ndarray
    end: float
    rtol: float

    @property
    def n(self):
        return self.y0.size

    @property
    def atol(self):
        return 1e-3 * self.rtol

    def fun(self, t, y):
        forcing = np.multiply.outer(self.c, np.sin(t))
        return self.a @ np.tanh(self.b @ y + forcing) + self.d * y

    def lipschitz(self):
        """A Lipschitz constant of the right-hand side."""
        return np.linalg.norm(self.a, 2) * np.linalg.norm(self.b, 2) + abs(self.d)

    def jac(self, t, y):
        slope = 1 / np.cosh(self.b @ y + self.c * np.sin(t)) ** 2
        return self.a @ (slope[:, None] * self.b) + self.d * np.eye(self.n)

    def reference(self):
        """SciPy's DOP853, at least 1000 times tighter than any tolerance here."""
        return scipy.integrate.solve_ivp(
            self.fun,
            (0, self.end),
            self.y0,
            "DOP853",
            rtol=1e-13,
            atol=1e-14,
            dense_output=True,
        ).sol

    def growth(self, sol):
        """Bound of the amplification of errors along the solution."""
        t = np.linspace(0, self.end, 201)
        sign = np.sign(self.end)
        mu = [log_norm(sign * self.jac(s, sol(s))) for s in t]
        return amplification(mu, abs(self.end) / 200)

    def solve(self, **options):
        span = options.pop("t_span", (0, self.end))
        y0 = options.pop("y0", self.y0)
        fun = options.pop("fun", self.fun)
        options = {"rtol": self.rtol, "atol": self.atol} | options
        options = {"method": METHOD} | options
        result = parivp.solve_ivp(fun, span, y0, **options)
        assert result.success, result.message
        return result

    def bound(self, result, growth):
        """The bound derived above, for the steps of a result."""
        scale = self.atol + self.rtol * np.max(np.abs(result.y))
        return 2 * result.nsteps * np.sqrt(self.n) * scale * growth


def log_norm(jacobian):
    return np.linalg.eigvalsh((jacobian + jacobian.T) / 2)[-1]


def amplification(mu, step):
    return np.exp(1.05 * np.sum(np.maximum(mu, 0)) * step)


def numbers(low, high):
    """Multiples of 1e-6: squares of 1e-160 underflow in SciPy's DOP853."""
    return st.floats(low, high, allow_nan=False).map(lambda x: round(x, 6))


def arrays(shape, size=1.0):
    return hnp.arrays(np.float64, shape, elements=numbers(-size, size))


def ends():
    """Ends of the interval of integration, in both directions."""
    return st.builds(
        lambda length, sign: sign * length,
        numbers(0.05, 4.0),
        st.sampled_from([-1.0, 1.0]),
    )


def tolerances():
    return st.floats(-9, -3).map(lambda exponent: 10.0**exponent)


@st.composite
def problems(draw):
    n = draw(st.integers(1, 5))
    return Problem(
        a=draw(arrays((n, n))),
        b=draw(arrays((n, n))),
        c=draw(arrays((n,))),
        d=draw(numbers(-1.0, 0.5)),
        y0=draw(arrays((n,), 2.0)),
        end=draw(ends()),
        rtol=draw(tolerances()),
    )


def assert_within(difference, bound):
    """The Euclidean norm of every column is within the bound."""
    size = np.max(np.linalg.norm(np.reshape(difference, (len(difference), -1)), axis=0))
    assert size <= bound
    return size / bound


# -- against independent solutions --------------------------------------------------


@given(data=st.data(), n=st.integers(1, 6), end=ends(), rtol=tolerances())
def test_linear_systems(data, n, end, rtol):
    matrix = data.draw(arrays((n, n), 2.0))
    y0 = data.draw(arrays((n,), 2.0))
    atol = 1e-3 * rtol
    result = parivp.solve_ivp(
        lambda t, y: matrix @ y, (0, end), y0, METHOD, rtol=rtol, atol=atol
    )
    assert result.success
    exact = scipy.linalg.expm(end * matrix) @ y0
    growth = amplification([log_norm(np.sign(end) * matrix)], abs(end))
    scale = atol + rtol * np.max(np.abs(result.y))
    bound = 2 * result.nsteps * np.sqrt(n) * scale * growth
    assert_within(result.y[:, -1] - exact, bound)


@given(data=st.data(), n=st.integers(1, 3), end=ends(), rtol=tolerances())
def test_complex_linear_systems(data, n, end, rtol):
    matrix = data.draw(arrays((n, n))) + 1j * data.draw(arrays((n, n)))
    y0 = data.draw(arrays((n,))) + 1j * data.draw(arrays((n,)))
    atol = 1e-3 * rtol
    result = parivp.solve_ivp(
        lambda t, y: matrix @ y, (0, end), y0, METHOD, rtol=rtol, atol=atol
    )
    assert result.success
    exact = scipy.linalg.expm(end * matrix) @ y0
    hermitian = np.sign(end) * (matrix + matrix.conj().T) / 2
    growth = amplification([np.linalg.eigvalsh(hermitian)[-1]], abs(end))
    scale = atol + rtol * np.max(np.abs(result.y))
    bound = 2 * result.nsteps * np.sqrt(n) * scale * growth
    assert_within(result.y[:, -1] - exact, bound)


@given(problem=problems(), with_jac=st.booleans())
def test_nonlinear_systems(problem, with_jac):
    sol = problem.reference()
    result = problem.solve(jac=problem.jac if with_jac else None)
    assert (result.t[0], result.t[-1]) == (0, problem.end)
    assert_array_equal(result.y[:, 0], problem.y0)
    bound = problem.bound(result, problem.growth(sol))
    share = assert_within(result.y - sol(result.t), bound)
    target(float(np.log10(share + 1e-20)), label="error / bound, in powers of ten")


@given(
    problem=problems(),
    fractions=st.lists(numbers(0, 1), min_size=1, max_size=20, unique=True),
)
def test_t_eval(problem, fractions):
    """Points between the steps come from the dense output.

    Its error is of one order less than that of the step, so that it may exceed
    the tolerance of a step; here it is held to what SciPy's suite asks of SciPy's
    own, five tolerances, on top of that of the steps.
    """
    t_eval = problem.end * np.unique(fractions)
    assume(np.all(np.diff(t_eval) != 0))
    sol = problem.reference()
    result = problem.solve(t_eval=t_eval, dense_output=True)
    assert_array_equal(result.t, t_eval)
    np.testing.assert_allclose(result.sol(t_eval), result.y, rtol=1e-13, atol=1e-14)
    y = result.sol(result.sol.ts)
    scale = problem.atol + problem.rtol * np.max(np.abs(y))
    at_steps = 2 * result.nsteps * scale * problem.growth(sol)
    bound = np.sqrt(problem.n) * (at_steps + 5 * scale)
    assert_within(result.y - sol(t_eval), bound)


@given(problem=problems(), data=st.data(), fraction=numbers(0.15, 0.85))
def test_events(problem, data, fraction):
    """Transversal, separated zeros of a linear event: all found, none invented."""
    problem.rtol = min(problem.rtol, 1e-6)
    weights = data.draw(arrays((problem.n,)))
    sol = problem.reference()
    level = weights @ sol(fraction * problem.end)  # there is a zero at this time
    t = np.linspace(0, problem.end, 2001)
    values = weights @ sol(t) - level
    slopes = np.gradient(values, t)
    longest = abs(problem.end) / 20  # no two zeros within one step

    result = problem.solve(events=lambda t, y: weights @ y - level, max_step=longest)
    scale = problem.atol + problem.rtol * np.max(np.abs(result.y))
    error = problem.bound(result, problem.growth(sol)) + 5 * np.sqrt(problem.n) * scale
    error *= 2 * np.linalg.norm(weights)
    # Within this of its zeros an event rises or falls; elsewhere it keeps its sign.
    near = np.abs(values) <= error
    steep = 0.5 * np.max(np.abs(slopes)) + 1e-3
    places = crossings(values)
    assume(np.all(np.abs(slopes[near | mark(places, len(t))]) > 0.2 * steep))
    assume(not near[0])
    assume(not near[-1])
    assume(np.all(np.abs(np.diff(t[places])) > 2 * longest))

    found = result.t_events[0]
    assert len(found) == len(places)
    for time, place in zip(found, places, strict=True):
        exact = scipy.optimize.brentq(
            lambda s: weights @ sol(s) - level, t[place], t[place + 1], xtol=1e-14
        )
        assert abs(time - exact) <= error / (0.1 * steep) + 1e-13
    at = result.y_events[0] @ weights - level
    assert np.all(np.abs(at) < 1e-12 * (1 + np.max(np.abs(result.y))))


def crossings(values):
    """Indices before a change of sign; an exact zero belongs to one of them."""
    positive = values > 0
    return np.flatnonzero(positive[:-1] != positive[1:])


def mark(places, n):
    marked = np.zeros(n, dtype=bool)
    marked[places] = marked[places + 1] = True
    return marked


# -- against themselves -------------------------------------------------------------
#
# Each of two results is within its bound of the exact solution, hence they are within
# the sum of the bounds of each other.


@given(problem=problems(), fraction=numbers(0.05, 0.95))
def test_splitting_the_interval(problem, fraction):
    growth = problem.growth(problem.reference())
    middle = fraction * problem.end
    whole = problem.solve()
    first = problem.solve(t_span=(0, middle))
    second = problem.solve(t_span=(middle, problem.end), y0=first.y[:, -1])
    bound = sum(problem.bound(r, growth) for r in (whole, first, second))
    assert_within(second.y[:, -1] - whole.y[:, -1], bound)


@given(problem=problems())
def test_there_and_back(problem):
    """The way back amplifies the error of the way there by its own growth."""
    sol = problem.reference()
    there = problem.solve()
    back = problem.solve(t_span=(problem.end, 0), y0=there.y[:, -1])
    t = np.linspace(0, problem.end, 201)
    sign = np.sign(problem.end)
    mu = [log_norm(-sign * problem.jac(s, sol(s))) for s in t]
    # the way back runs near the solution: the growth along it differs slightly
    back_growth = amplification(mu, abs(problem.end) / 200) ** 1.05
    there_bound = problem.bound(there, problem.growth(sol))
    assume(there_bound * back_growth < 1e-2)
    bound = there_bound * back_growth + problem.bound(back, back_growth)
    assert_within(back.y[:, -1] - problem.y0, bound)


@given(problem=problems())
def test_reversing_time(problem):
    """z(t) = y(-t) solves z' = -f(-t, z), over the mirrored interval."""
    growth = problem.growth(problem.reference())
    result = problem.solve()
    mirrored = problem.solve(
        fun=lambda t, z: -problem.fun(-t, z), t_span=(0, -problem.end)
    )
    bound = problem.bound(result, growth) + problem.bound(mirrored, growth)
    assert_within(mirrored.y[:, -1] - result.y[:, -1], bound)


@given(problem=problems(), shift=numbers(-10, 10))
def test_shifting_time(problem, shift):
    growth = problem.growth(problem.reference())
    result = problem.solve()
    shifted = problem.solve(
        fun=lambda t, y: problem.fun(t - shift, y),
        t_span=(shift, shift + problem.end),
    )
    bound = problem.bound(result, growth) + problem.bound(shifted, growth)
    # rounding of the shifted times moves the forcing by as much
    bound += 1e-13
    assert_within(shifted.y[:, -1] - result.y[:, -1], bound)


@given(problem=problems(), data=st.data())
def test_permuting_the_state(problem, data):
    growth = problem.growth(problem.reference())
    order = np.array(data.draw(st.permutations(range(problem.n))))
    inverse = np.argsort(order)
    result = problem.solve()
    permuted = problem.solve(
        fun=lambda t, z: problem.fun(t, z[inverse])[order], y0=problem.y0[order]
    )
    bound = problem.bound(result, growth) + problem.bound(permuted, growth)
    assert_within(permuted.y[inverse, -1] - result.y[:, -1], bound)


@given(problem=problems(), exponent=st.integers(-12, 12))
def test_scaling_the_state(problem, exponent):
    """z = s y solves z' = s f(t, z / s), with s atol for atol."""
    growth = problem.growth(problem.reference())
    s = 2.0**exponent
    result = problem.solve()
    scaled = problem.solve(
        fun=lambda t, z: s * problem.fun(t, z / s),
        y0=s * problem.y0,
        atol=s * problem.atol,
    )
    assert_within(
        scaled.y[:, -1] / s - result.y[:, -1],
        problem.bound(result, growth) * (1 + scaled.nsteps / result.nsteps),
    )


@given(problem=problems())
def test_forms_of_the_function(problem):
    """Broadcasting, single points, SciPy's `vectorized`, lists, args."""
    growth = problem.growth(problem.reference())

    def columns(t, y):
        assert np.ndim(t) == 0
        assert y.ndim == 2
        return np.stack([problem.fun(t, column) for column in y.T], axis=1)

    results = [
        problem.solve(),
        problem.solve(time_vectorized=True),
        problem.solve(time_vectorized=False),
        problem.solve(fun=columns, vectorized=True),
        problem.solve(fun=lambda t, y: list(problem.fun(float(t), y))),
        problem.solve(fun=lambda t, y, k: k * problem.fun(t, y), args=(1.0,)),
    ]
    first = results[0]
    for other in results[1:]:
        bound = problem.bound(first, growth) + problem.bound(other, growth)
        assert_within(other.y[:, -1] - first.y[:, -1], bound)


@given(problem=problems(), window=st.integers(1, 40))
def test_window_does_not_matter(problem, window):
    growth = problem.growth(problem.reference())
    free, fixed = problem.solve(), problem.solve(window=window)
    bound = problem.bound(free, growth) + problem.bound(fixed, growth)
    assert_within(fixed.y[:, -1] - free.y[:, -1], bound)


@given(problem=problems())
def test_class_in_scipys_solve_ivp(problem):
    ours = problem.solve()
    scipys = scipy.integrate.solve_ivp(
        problem.fun,
        (0, problem.end),
        problem.y0,
        method=getattr(parivp, METHOD),
        rtol=problem.rtol,
        atol=problem.atol,
    )
    assert_array_equal(scipys.t, ours.t)
    assert_array_equal(scipys.y, ours.y)


@given(problem=problems(), n_steps=st.integers(1, 200), data=st.data())
def test_fixed_steps_do_not_depend_on_the_window(problem, n_steps, data):
    """Every window solves the same recursion."""
    tableau = data.draw(st.sampled_from(sorted(parivp.TABLEAUS)))
    window = data.draw(st.integers(1, n_steps))
    if parivp.TABLEAUS[tableau].kind == "implicit":
        # where this is 1 an implicit step need not have a solution, nor one only
        assume(abs(problem.end) / n_steps * problem.lipschitz() < 0.5)
    options = {"method": method_for(tableau), "tableau": tableau, "n_steps": n_steps}
    one = problem.solve(window=window, **options)
    other = problem.solve(time_vectorized=False, **options)
    assert_array_equal(one.t, other.t)
    # rounding errors are amplified as all errors are
    size = np.max(np.abs(other.y))
    growth = problem.growth(problem.reference())
    np.testing.assert_allclose(one.y, other.y, rtol=0, atol=1e-11 * size * growth)


# -- affine recursions --------------------------------------------------------------


@given(
    n_steps=st.integers(1, 80),
    d=st.integers(1, 5),
    cut=st.integers(0, 80),
    seed=st.integers(0, 2**32 - 1),
)
@pytest.mark.parametrize("backend", ["sequential", "banded", "associative"])
def test_scan_continues_from_any_state(backend, n_steps, d, cut, seed):
    """Cutting a recursion in two and starting the rest from its state."""
    rng = np.random.default_rng(seed)
    A = rng.uniform(-1, 1, (n_steps, d, d)) / d
    b = rng.uniform(-1, 1, (n_steps, d))
    u0 = rng.uniform(-1, 1, d)
    cut = cut % n_steps
    whole = parivp.affine_scan(A, b, u0, backend=backend)
    start = u0 if cut == 0 else whole[cut - 1]
    rest = parivp.affine_scan(A[cut:], b[cut:], start, backend=backend)
    # rows of |A| sum to at most 1, states stay below n_steps + 1
    bound = 8 * np.finfo(float).eps * (d + 1) * (n_steps + 1) ** 2
    np.testing.assert_allclose(rest, whole[cut:], rtol=0, atol=bound)
