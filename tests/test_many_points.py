"""Functions written for one point, evaluated at many: the answer stays right.

Every case is solved and compared with its exact solution, or with SciPy's DOP853
at a tolerance far tighter than that asked for.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.integrate
from conftest import FIXED_STEP_OPTIONS
from numpy.testing import assert_allclose, assert_array_equal

import parivp
from parivp._rhs import Rhs

TOLERANCES = {"rtol": 1e-7, "atol": 1e-10}
# No case amplifies errors by more than about 10, and none takes more than about a
# hundred steps of error rtol each.
ERROR = 1e-4

A = np.array([[-0.1, 2.0, 0.3], [-2.0, -0.2, 0.1], [0.2, -0.1, -0.3]])


def buffered():
    """Return one and the same array again and again."""
    buffer = np.empty(2)

    def fun(t, y):
        buffer[0] = y[1]
        buffer[1] = -y[0]
        return buffer

    return fun


def shaped_buffer():
    """Return the buffer of the shape asked for, one for each shape."""
    buffers = {}

    def fun(t, y):
        out = buffers.setdefault(np.shape(y), np.empty_like(y))
        out[0] = y[1]
        out[1] = -y[0]
        return out

    return fun


def through_norm(t, y):
    return -y / (1 + np.linalg.norm(y))


def through_sum(t, y):
    return -y * np.sum(y)


def through_mean(t, y):
    return np.mean(y) - y * (1 + 0.5 * np.sin(t))


def through_max(t, y):
    return -y / (1 + np.max(np.abs(y)))


def branch_on_state(t, y):
    if y[0] > 0.5:
        return [y[1], -y[0]]
    return [y[1], -y[0] + 0.0 * y[1]]


def branch_on_time(t, y):
    if t < 1:
        return -y
    return -y * t


def switch_by_all(t, y):
    """Right for one time; for many it takes the branch of none of them."""
    rate = 1.0 if np.all(t < 1) else t
    return -y * rate


def guard(t, y):
    """Raise for a state that the solution never reaches."""
    if np.any(y < 0):
        raise ValueError("negative concentration")
    return np.array([-y[0] + 0.1 * y[1], y[0] - 0.2 * y[1]])


def unpacking(t, y):
    a, b = y
    return b, -a


def loop_over_components(t, y):
    out = np.zeros(len(y))
    for i in range(len(y)):
        out[i] = -(i + 1) * y[i]
    return out


def python_floats(t, y):
    return [float(y[1]), -float(y[0])]


def integer_result(t, y):
    return [1, 2]


def outer_product(t, y):
    return np.outer(y, y) @ np.ones(len(y)) * -0.5


def clipped(t, y):
    return -np.clip(y, 0.0, 10.0)


def indexed_table(t, y):
    table = np.array([1.0, 0.5, 0.25, 0.125])
    return -y * table[int(t)]


def interpolated(t, y):
    return -y * np.interp(t, [0, 1, 2, 3], [1.0, 1.0, 1.0, 1.0])


def transposed(t, y):
    """Return what has the right number of entries, in the wrong order."""
    return (A @ y).T


def sorted_state(t, y):
    """Depend on the order of the components, by a function of the whole array."""
    return -np.sort(y) * (1 + np.argsort(np.argsort(-y)))


def unlike_in_one_column(t, y):
    """Broadcast, but wrongly at one point of many."""
    out = -np.array(y, dtype=float)
    if out.ndim == 2 and out.shape[1] > 20:
        out[:, 11] = 0.0
    return out


def unlike_in_late_columns(t, y):
    """Broadcast wrongly for half of the columns of long arrays."""
    out = -np.array(y, dtype=float)
    if out.ndim == 2 and out.shape[1] > 20:
        out[:, 10::2] *= 1.5
    return out


def unlike_in_inner_columns(t, y):
    """Broadcast slightly wrongly but at the ends, as filters over time do."""
    out = -np.array(y, dtype=float)
    if out.ndim == 2 and out.shape[1] > 20:
        out[:, 3:-3] *= 1.001
    return out


def switch_by_any(t, y):
    """Right for one state; for many it takes the branch of the smallest."""
    if np.any(y[0] < 0.3):
        return -y * (1 + 5 * (0.3 - y[0]))
    return -y


def constant_per_call(t, y):
    """Use the first time of an array for all of them."""
    return -y * np.cos(np.ravel(t)[0])


def cumulated(t, y):
    """Integrate along the wrong axis when there are many points."""
    return -np.cumsum(y, axis=-1)


CASES = {
    "list": (lambda t, y: [y[1], -y[0]], [1.0, 0.0], 6),
    "tuple": (lambda t, y: (y[1], -y[0]), [1.0, 0.0], 6),
    "unpacking": (unpacking, [1.0, 0.0], 6),
    "math.sin(t)": (lambda t, y: -y * math.sin(t), [1.0], 6),
    "math.exp(-y)": (lambda t, y: [math.exp(-y[0])], [0.0], 6),
    "if y[0] > 0.5": (branch_on_state, [1.0, 0.0], 6),
    "if t < 1": (branch_on_time, [1.0, 2.0], 3),
    "np.all(t < 1)": (switch_by_all, [1.0, 2.0], 3),
    "np.sum(y)": (through_sum, [1.0, 0.5, 0.25], 6),
    "np.mean(y)": (through_mean, [1.0, 0.5, 0.25], 6),
    "np.max(y)": (through_max, [1.0, 0.5, 0.25], 6),
    "norm(y)": (through_norm, [1.0, 0.5, 0.25], 6),
    "A @ y": (lambda t, y: A @ y, [1.0, 0.5, 0.25], 6),
    "A.dot(y)": (lambda t, y: A.dot(y), [1.0, 0.5, 0.25], 6),
    "y @ A": (lambda t, y: y @ A, [1.0, 0.5, 0.25], 6),
    "np.dot(y, y)": (lambda t, y: -y * np.dot(y, y), [1.0, 0.5], 6),
    "(A @ y).T": (transposed, [1.0, 0.5, 0.25], 6),
    "outer(y, y)": (outer_product, [1.0, 0.5], 3),
    "buffer": (buffered(), [1.0, 0.0], 6),
    "buffers by shape": (shaped_buffer(), [1.0, 0.0], 6),
    "constant component": (lambda t, y: [1.0, y[0]], [0.0, 0.0], 6),
    "constants only": (integer_result, [0.0, 1.0], 6),
    "function of t only": (lambda t, y: [np.cos(t), 1.0], [0.0, 0.0], 6),
    "scalar for n = 1": (lambda t, y: -y[0], [1.0], 6),
    "float for n = 1": (lambda t, y: -float(y[0]), [1.0], 6),
    "constant for n = 1": (lambda t, y: 2.0, [1.0], 6),
    "guard that raises": (guard, [1.0, 0.0], 6),
    "loop over components": (loop_over_components, [1.0, 1.0, 1.0], 3),
    "float(y[1])": (python_floats, [1.0, 0.0], 6),
    "np.clip": (clipped, [1.0, 2.0], 6),
    "table[int(t)]": (indexed_table, [1.0], 3.5),
    "np.interp": (interpolated, [1.0], 3),
    "np.sort(y)": (sorted_state, [1.0, 2.0, 3.0], 2),
    "wrong in one column": (unlike_in_one_column, [1.0, 2.0], 6),
    "wrong in late columns": (unlike_in_late_columns, [1.0, 2.0], 6),
    "wrong in inner columns": (unlike_in_inner_columns, [1.0, 2.0], 6),
    "np.any(y[0] < 0.3)": (switch_by_any, [1.0], 3),
    "first time for all": (constant_per_call, [1.0], 6),
    "cumsum over columns": (cumulated, [1.0], 6),
    "concatenate": (lambda t, y: np.concatenate([y[1:], -y[:1]]), [1.0, 0.0], 6),
    "roll": (lambda t, y: np.roll(y, 1) - y, [1.0, 0.0, 0.5], 6),
    "array of list": (lambda t, y: np.array([y[1], -y[0]]), [1.0, 0.0], 6),
    "array with constant": (lambda t, y: np.array([1.0, y[0]]), [0.0, 0.0], 6),
    "hstack": (lambda t, y: np.hstack((y[1], -y[0])), [1.0, 0.0], 6),
    "where": (lambda t, y: np.where(y > 0, -y, y), [1.0, 2.0], 6),
    "n equals a number of points": (lambda t, y: -y * np.sum(y), [0.1] * 8, 2),
}


# SciPy keeps what `fun` returns, and suffers from buffers itself.
UNBUFFERED = {
    "buffer": lambda t, y: [y[1], -y[0]],
    "buffers by shape": lambda t, y: [y[1], -y[0]],
}


def reference(fun, y0, t):
    """SciPy's DOP853, in one piece from integer to integer for the branches."""
    ends = [*np.arange(0, math.ceil(t[-1])), t[-1]]
    out, y = [], np.asarray(y0, dtype=float)
    for a, b in zip(ends[:-1], ends[1:], strict=True):
        inside = t[(t >= a) & ((t < b) | (b == t[-1]))]
        piece = scipy.integrate.solve_ivp(
            fun, (a, b), y, "DOP853", rtol=1e-12, atol=1e-13, dense_output=True
        )
        out.append(piece.sol(inside))
        y = piece.y[:, -1]
    return np.hstack(out)


@dataclass
class Counter:
    """A function that counts its calls and the points they ask for."""

    fun: object
    calls: int = 0
    points: int = 0

    def __call__(self, t, y):
        self.calls += 1
        self.points += np.size(t)
        return self.fun(t, y)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("time_vectorized", [None, False])
def test_answer_is_right(method, case, time_vectorized):
    fun, y0, tf = CASES[case]
    t = np.linspace(0, tf, 40)
    result = parivp.solve_ivp(
        fun,
        (0, tf),
        y0,
        method,
        t_eval=t,
        time_vectorized=time_vectorized,
        timeout=60,
        **TOLERANCES,
    )
    assert result.success, result.message
    expected = reference(UNBUFFERED.get(case, fun), y0, t)
    scale = 1 + np.max(np.abs(expected))
    assert_allclose(result.y, expected, rtol=0, atol=ERROR * scale)


@pytest.mark.parametrize("case", CASES)
def test_answer_is_right_at_fixed_steps(method, case):
    """Two hundred steps with and without the probe, to rounding."""
    fun, y0, tf = CASES[case]
    options = FIXED_STEP_OPTIONS[method] | {"n_steps": 200}
    args = (fun, (0, tf), y0, method)
    probed = parivp.solve_ivp(*args, **options)
    looped = parivp.solve_ivp(*args, time_vectorized=False, **options)
    assert probed.success
    assert looped.success
    scale = np.max(np.abs(looped.y), axis=1, keepdims=True)
    assert_allclose(probed.y / scale, looped.y / scale, rtol=0, atol=1e-11)


# -- stating it instead of probing --------------------------------------------------


def test_broadcasting_function_is_evaluated_at_many_points(method):
    fun = Counter(lambda t, y: np.array([y[1], -y[0]]) * np.cos(t))
    result = parivp.solve_ivp(fun, (0, 50), [1.0, 0.0], method, **TOLERANCES)
    assert result.success
    assert fun.points > 5 * fun.calls


def test_time_vectorized_false_asks_for_single_points(method):
    fun = Counter(lambda t, y: np.array([y[1], -y[0]]) * np.cos(t))
    result = parivp.solve_ivp(
        fun, (0, 10), [1.0, 0.0], method, time_vectorized=False, **TOLERANCES
    )
    assert result.success
    assert fun.points == fun.calls


def test_time_vectorized_true_does_not_probe(method):
    """A function that takes arrays only is never called at a single time."""

    def fun(t, y):
        if np.ndim(y) == 2:
            assert t.shape == y.shape[1:]
        return np.array([y[1], -y[0]])

    result = parivp.solve_ivp(
        fun, (0, 10), [1.0, 0.0], method, time_vectorized=True, **TOLERANCES
    )
    assert_allclose(result.y[0], np.cos(result.t), rtol=0, atol=ERROR)


def test_fun_sees_floats_and_vectors_at_single_points(method):
    """As in SciPy: t a float, y of shape (n,), writable by nobody's loss."""
    seen = set()

    def fun(t, y):
        if np.ndim(y) == 1:
            seen.add((isinstance(t, float), y.shape, y.dtype.name))
        else:
            assert isinstance(t, np.ndarray)
            assert t.shape == y.shape[1:]
            assert y.dtype == np.float64
        return -y

    parivp.solve_ivp(fun, (0, 3), [1.0, 2.0], method)
    assert seen == {(True, (2,), "float64")}


def test_stateful_scratch_of_the_state_does_no_harm(method):
    """A function may use its argument as scratch where many points are asked."""

    def fun(t, y):
        y = np.asarray(y)
        out = -y.copy()
        if y.ndim == 2:
            y *= 0.0
        return out

    result = parivp.solve_ivp(fun, (0, 3), [1.0, 2.0], method, **TOLERANCES)
    assert_allclose(result.y[0], np.exp(-result.t), rtol=0, atol=ERROR)


# -- Jacobians and events -----------------------------------------------------------


def pendulum(t, y):
    return np.array([y[1], -np.sin(y[0])])


def jac_list(t, y):
    return [[0.0, 1.0], [-math.cos(y[0]), 0.0]]


def jac_broadcast(t, y):
    zero, one = np.zeros_like(y[0]), np.ones_like(y[0])
    return np.array([[zero, one], [-np.cos(y[0]), zero]])


def jac_ragged(t, y):
    return [[0.0, 1.0], [-np.cos(y[0]), 0.0]]


def jac_wrong_for_many(t, y):
    return np.array([[0.0, 1.0], [-np.cos(np.max(y[0])), 0.0]])


@pytest.mark.parametrize(
    "jac", [jac_list, jac_broadcast, jac_ragged, jac_wrong_for_many]
)
@pytest.mark.parametrize("time_vectorized", [None, False])
def test_jacobians(method, jac, time_vectorized):
    result = parivp.solve_ivp(
        pendulum,
        (0, 10),
        [1.0, 0.0],
        method,
        jac=jac,
        time_vectorized=time_vectorized,
        **TOLERANCES,
    )
    assert result.success
    expected = reference(pendulum, [1.0, 0.0], result.t)
    assert_allclose(result.y, expected, rtol=0, atol=ERROR)


EVENTS = {
    "component": lambda t, y: y[0],
    "float": lambda t, y: float(y[0]),
    "math": lambda t, y: math.sin(y[0]),
    "branch": lambda t, y: y[0] if y[0] > -2 else -1.0,
    "sum of all": lambda t, y: np.sum(y * np.array([1.0, 0.0])),
    "dot": lambda t, y: y @ np.array([1.0, 0.0]),
    "first component of the array": lambda t, y: np.ravel(y)[0],
}


@pytest.mark.parametrize("name", EVENTS)
@pytest.mark.parametrize("time_vectorized", [None, False])
def test_events(method, name, time_vectorized):
    def quarter(t, y):
        return EVENTS[name](t, y)

    result = parivp.solve_ivp(
        lambda t, y: np.array([y[1], -y[0]]),
        (0, 30),
        [1.0, 0.0],
        method,
        events=quarter,
        time_vectorized=time_vectorized,
        **TOLERANCES,
    )
    assert_allclose(
        result.t_events[0], np.pi * (np.arange(10) + 0.5), rtol=0, atol=ERROR
    )
    assert_allclose(result.y_events[0][:, 0], np.zeros(10), rtol=0, atol=1e-12)


def test_event_that_broadcasts_wrongly(method):
    """Its level depends on the time; for many times it takes the last level."""
    turns = 10
    switch = 2 * np.pi * turns

    def level(t, y):
        return y[0] - (0.5 if np.all(t < switch) else -0.5)

    result = parivp.solve_ivp(
        lambda t, y: np.array([y[1], -y[0]]),
        (0, 2 * switch),
        [1.0, 0.0],
        method,
        events=level,
        window=30,  # so that the first windows do not reach the switch
        **TOLERANCES,
    )
    starts = 2 * np.pi * np.arange(turns)[:, None]
    early = starts + np.array([1, 5]) * np.pi / 3
    late = switch + starts + np.array([2, 4]) * np.pi / 3
    expected = np.concatenate([early.ravel(), late.ravel()])
    assert_allclose(result.t_events[0], expected, rtol=0, atol=ERROR)


def test_event_that_is_wrong_in_one_column(method):
    """Neither a zero that is not there nor an error of the root finder."""

    def quarter(t, y):
        value = np.array(y[0], dtype=float)
        if value.size > 20:
            value[11] *= -1.0
        return value

    result = parivp.solve_ivp(
        lambda t, y: np.array([y[1], -y[0]]),
        (0, 30),
        [1.0, 0.0],
        method,
        events=quarter,
        **TOLERANCES,
    )
    assert_allclose(
        result.t_events[0], np.pi * (np.arange(10) + 0.5), rtol=0, atol=ERROR
    )


def test_event_of_time_only(method):
    times = np.array([1.25, 7.5, 9.0])

    def alarm(t, y):
        return np.prod(np.subtract.outer(t, times), axis=-1)

    result = parivp.solve_ivp(
        lambda t, y: np.array([y[1], -y[0]]),
        (0, 10),
        [1.0, 0.0],
        method,
        events=alarm,
        max_step=0.5,
    )
    assert_allclose(result.t_events[0], times, rtol=1e-12)


def test_constant_event(method):
    result = parivp.solve_ivp(pendulum, (0, 3), [1, 0], method, events=lambda t, y: 1.0)
    assert result.t_events[0].size == 0
    assert result.y_events[0].shape == (0,)


# -- beyond the solution ------------------------------------------------------------


def falling(t, y):
    return np.array([y[1], np.full_like(y[1], -9.81)])


def on_the_floor(t, y):
    return y[0]


on_the_floor.terminal = True
on_the_floor.direction = -1


@pytest.mark.parametrize("time_vectorized", [None, False, True])
@pytest.mark.parametrize("failure", ["raise", "nan", "wrong shape", "infinite"])
def test_nothing_behind_a_terminal_event_surfaces(method, failure, time_vectorized):
    """A sequential solver with this max_step goes 1.5 below the floor at most."""

    def fun(t, y):
        if np.any(y[0] < -1.5):
            if failure == "raise":
                raise FloatingPointError("under the floor")
            if failure == "wrong shape":
                return np.zeros(7)
            return np.full_like(y, np.nan if failure == "nan" else np.inf)
        return falling(t, y)

    result = parivp.solve_ivp(
        fun,
        (0, 100),
        [10.0, 0.0],
        method,
        events=on_the_floor,
        max_step=0.1,
        time_vectorized=time_vectorized,
        dense_output=True,
        **TOLERANCES,
    )
    impact = math.sqrt(20 / 9.81)
    assert (result.status, result.success) == (1, True)
    assert_allclose(result.t_events[0], [impact], rtol=1e-9)
    assert result.t[-1] == result.t_events[0][0]
    assert_allclose(result.y[0], 10 - 9.81 / 2 * result.t**2, rtol=0, atol=1e-9)
    assert np.all(np.isfinite(result.sol(np.linspace(0, impact, 50))))


@pytest.mark.parametrize("beyond", ["raise", "nan"])
def test_nothing_beyond_a_blow_up_surfaces(method, beyond):
    """A terminal event stops y' = y^2 at y = 100, before t = 1."""

    def fun(t, y):
        if np.any(np.abs(y) > 1e6):
            if beyond == "raise":
                raise OverflowError("too large")
            return np.full_like(y, np.nan)
        return y**2

    def large(t, y):
        return y[0] - 100

    large.terminal = True
    result = parivp.solve_ivp(fun, (0, 2), [1.0], method, events=large, **TOLERANCES)
    assert result.status == 1
    assert_allclose(result.t[-1], 0.99, rtol=1e-6)


def test_event_that_raises_behind_a_terminal_event(method):
    """Another event is meaningless under the floor."""

    def speed(t, y):
        if np.any(y[0] < -1.5):
            raise FloatingPointError("under the floor")
        return y[1] + 5.0

    result = parivp.solve_ivp(
        falling,
        (0, 100),
        [10.0, 0.0],
        method,
        events=[speed, on_the_floor],
        max_step=0.1,
        **TOLERANCES,
    )
    assert result.status == 1
    assert_allclose(result.t_events[0], [5 / 9.81], rtol=1e-7)
    assert_allclose(result.t_events[1], [math.sqrt(20 / 9.81)], rtol=1e-9)


def test_jacobian_that_raises_behind_a_terminal_event(method):
    def jac(t, y):
        if np.any(y[0] < -1.5):
            raise FloatingPointError("under the floor")
        return np.array([[0.0, 1.0], [0.0, 0.0]])

    result = parivp.solve_ivp(
        falling,
        (0, 100),
        [10.0, 0.0],
        method,
        jac=jac,
        events=on_the_floor,
        max_step=0.1,
        **TOLERANCES,
    )
    assert result.status == 1
    assert_allclose(result.t[-1], math.sqrt(20 / 9.81), rtol=1e-9)


def test_warnings_of_points_ahead_do_not_surface(method):
    """The square root under the floor would warn, and warnings are errors here."""

    def fun(t, y):
        drag = 0.01 * np.sqrt(y[0] + 1.5)
        return np.array([y[1], -9.81 - drag])

    with np.errstate(all="warn"):
        result = parivp.solve_ivp(
            fun,
            (0, 100),
            [10.0, 0.0],
            method,
            events=on_the_floor,
            max_step=0.1,
            **TOLERANCES,
        )
    assert result.status == 1
    expected = reference(fun, [10.0, 0.0], result.t)
    assert_allclose(result.y, expected, rtol=0, atol=ERROR)


def test_results_repeat_bit_by_bit(method):
    """Nothing depends on what was solved before."""
    options = {"rtol": 1e-6, "dense_output": True}
    first = parivp.solve_ivp(pendulum, (0, 10), [1.0, 0.0], method, **options)
    parivp.solve_ivp(CASES["np.sum(y)"][0], (0, 3), [1.0, 0.5], method)
    again = parivp.solve_ivp(pendulum, (0, 10), [1.0, 0.0], method, **options)
    assert_array_equal(first.t, again.t)
    assert_array_equal(first.y, again.y)
    assert (first.nfev, first.nit) == (again.nfev, again.nit)


ALL_AT_ONCE = {
    "a span of time": lambda t, y: [y[1], 5.0 * np.all((t > 7) & (t < 7.5)) - y[0]],
    "a wide span": lambda t, y: [y[1], 5.0 * np.all((t > 12) & (t < 14)) - y[0]],
    "a band of states": lambda t, y: [
        y[1],
        -y[0] - 4.0 * np.all((y[0] > 0.5) & (y[0] < 0.7)) * y[1],
    ],
    "any of the states": lambda t, y: [y[1], -y[0] - 0.3 * np.any(y[1] < -0.99)],
}


@pytest.mark.parametrize("options", [{}, {"n_steps": 4000}])
@pytest.mark.parametrize("name", ALL_AT_ONCE)
def test_conditions_on_all_columns_are_found_out(method, name, options):
    """``np.all`` of many points is hardly ever true, of one it often is."""
    if "n_steps" in options:
        options = options | FIXED_STEP_OPTIONS[method]
    solutions = [
        parivp.solve_ivp(
            ALL_AT_ONCE[name],
            (0, 20),
            [1.0, 0.0],
            method,
            time_vectorized=time_vectorized,
            **TOLERANCES,
            **options,
        )
        for time_vectorized in (None, False)
    ]
    assert all(solution.success for solution in solutions)
    assert_allclose(solutions[0].y[:, -1], solutions[1].y[:, -1], rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("fun", "y0"),
    [(lambda t, y: np.sqrt(1 - y**2), 0.0), (lambda t, y: 1e-6 - y**0.75, 1.0)],
)
@pytest.mark.parametrize("rtol", [1e-3, 1e-5, 1e-7])
def test_no_step_ends_outside_the_domain(method, fun, y0, rtol):
    """Where NaN begins the steps shorten until they stay inside."""

    def quiet(t, y):
        with np.errstate(invalid="ignore"):
            return fun(t, y)

    result = parivp.solve_ivp(quiet, (0, 30), [y0], method, rtol=rtol, atol=1e-3 * rtol)
    assert result.success, result.message
    assert np.all(np.isfinite(quiet(result.t, result.y)))


def test_fun_that_forgets_to_return(method):
    with pytest.raises(TypeError, match="`fun` returned None"):
        parivp.solve_ivp(lambda t, y: None, (0, 1), [1.0], method)


def negated(t, y):
    y *= -1
    return y


def wiped(t, y):
    value = -y
    y[...] = 0
    return value


@pytest.mark.parametrize("fun", [negated, wiped])
def test_function_that_writes_into_its_state(method, fun):
    """It gets copies, so that the solver's own states stay what they are."""
    options = {"rtol": 1e-8, "atol": 1e-10, "dense_output": True, "method": method}
    res = parivp.solve_ivp(fun, (0, 2), [1.0, 2.0], t_eval=[0.5, 2.0], **options)
    assert res.success
    expected = np.exp(-np.array([0.5, 2.0]))
    assert_allclose(res.y, [expected, 2 * expected], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_component_that_is_not_finite_says_nothing_about_the_others(bad):
    """The others still agree, or show that `fun` does not broadcast."""
    y = np.array([[1.0, bad, 2.0], [0.0, 0.5, 1.0]])
    good = Rhs(lambda t, y: np.stack([y[1], -np.sin(y[0])]), np.zeros(2))
    with np.errstate(invalid="ignore"):
        good(np.arange(3.0), y)
        other = Rhs(lambda t, y: np.stack([y[1] + np.size(t), -y[0]]), np.zeros(2))
        other(np.arange(3.0), y)
    assert good.time_vectorized
    assert not other.time_vectorized
