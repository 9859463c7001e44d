"""Flow maps: right at every initial value and time, or a clear error.

The truth is SciPy's DOP853 at a tolerance far tighter than that asked for.
"""

import math
import re

import numpy as np
import pytest
import scipy.integrate
from hypothesis import given, reject
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import parivp
from parivp._chebyshev import (
    TotalDegreeBasis,
    box_points,
    coefficients_from_values,
    integration_matrix,
    lobatto_points,
)

# The tolerance is met with a factor of two to spare at a sample of initial values;
# elsewhere in the box errors may be larger, but not by much.
ALLOWED = 2.0


def van_der_pol(t, y):
    return [y[1], (1 - y[0] ** 2) * y[1] - y[0]]


def toy(t, y):
    return -(y**3) + np.sin(t)


def pendulum(t, y):
    return [y[1], -np.sin(y[0])]


def lotka_volterra(t, y):
    return [1.5 * y[0] - y[0] * y[1], -3 * y[1] + y[0] * y[1]]


def lorenz(t, y):
    return [
        10 * (y[1] - y[0]),
        y[0] * (28 - y[2]) - y[1],
        y[0] * y[1] - 8 / 3 * y[2],
    ]


def kepler(t, y):
    r3 = (y[0] ** 2 + y[1] ** 2) ** 1.5
    return [y[2], y[3], -y[0] / r3, -y[1] / r3]


def ring(t, y):
    return 0.3 * np.roll(y, -1, axis=0) * y - y + np.sin(t)


PROBLEMS = {
    "toy": (toy, (0, 2), [0.5], 0.8),
    "toy, backward": (toy, (2, 1.4), [0.5], 0.1),
    "van der Pol": (van_der_pol, (0, 2), [0, 1], 0.1),
    "van der Pol, long": (van_der_pol, (0, 20), [2, 0], [0.1, 0.05]),
    "van der Pol, wide": (van_der_pol, (0, 2), [0, 0], 2.0),
    "pendulum, backward": (pendulum, (3, -7), [1, 0], 0.3),
    "Lotka-Volterra": (lotka_volterra, (0, 5), [10, 5], 0.2),
    "Lorenz": (lorenz, (0, 1), [1, 1, 1], 0.05),
    "Kepler": (kepler, (0, 3), [1, 0, 0, 1], 0.005),
    "five": (ring, (0, 3), [0.5] * 5, 0.1),
    "ten": (ring, (0, 3), [0.5] * 10, 0.01),
}


def in_box(centre, radius, n_columns, seed=1):
    """Initial values: random ones, every fourth of them in a corner."""
    rng = np.random.default_rng(seed)
    xi = rng.uniform(-1, 1, size=(len(centre), n_columns))
    xi[:, ::4] = np.sign(xi[:, ::4])
    radius = np.broadcast_to(radius, len(centre))
    return np.asarray(centre, float)[:, None] + radius[:, None] * xi


def truth(fun, t0, t, y0):
    """States at times `t` (m,), shape (n, B, m), by DOP853 from every column."""
    found = np.empty((*y0.shape, len(t)))
    for k in range(y0.shape[1]):
        for which in (t < t0, t >= t0):
            if np.any(which):
                end = t[which].min() if t[which][0] < t0 else t[which].max()
                found[:, k, which] = scipy.integrate.solve_ivp(
                    fun,
                    (t0, end),
                    y0[:, k],
                    "DOP853",
                    rtol=1e-13,
                    atol=1e-14,
                    dense_output=True,
                ).sol(t[which])
    return found


def times_in(t_span, n_times, seed=2):
    t = np.random.default_rng(seed).uniform(*sorted(t_span), n_times)
    t[:2] = t_span
    return t


# -- accuracy ------------------------------------------------------------------------


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_tolerance_holds_in_the_box_at_all_times(problem, rtol):
    fun, t_span, centre, radius = problem
    flow = parivp.fit_flow_map(
        fun, t_span, (centre, radius), rtol=rtol, atol=1e-2 * rtol
    )
    y0, t = in_box(centre, radius, 24), times_in(t_span, 15)
    expected = truth(fun, t_span[0], t, y0)
    error = np.abs(flow(t, y0) - expected)
    assert np.max(error / (1e-2 * rtol + rtol * np.abs(expected))) <= ALLOWED
    # DOP853 at its tightest is no better than this
    floor = 1e-12 * np.max(np.abs(expected))
    assert np.all(error.max(axis=(1, 2)) <= 3 * flow.error_estimate + floor)


coefficient = st.floats(-1, 1).map(lambda x: round(x, 3))


@st.composite
def smooth_systems(draw, n):
    """Linear terms, saturating ones and a force: nothing blows up."""

    def array(*shape):
        size = math.prod(shape)
        entries = draw(st.lists(coefficient, min_size=size, max_size=size))
        return np.reshape(entries, shape)

    # of size at most one, so that trajectories separate by exp(9) at most
    linear, outer, inner = (array(n, n) / n for _ in range(3))
    shift = array(n)
    force, centre = array(n), 2 * array(n)

    def fun(t, y):
        shifted = (shift[:, None] + inner @ y.reshape(n, -1)).reshape(y.shape)
        pushed = np.multiply.outer(force, np.cos(2 * t)).reshape(y.shape)
        return linear @ y + outer @ np.tanh(2 * shifted) + pushed

    radius = draw(st.floats(0.01, 0.3))
    t0, length = draw(st.floats(-2, 2)), draw(st.floats(0.1, 3))
    tf = t0 + draw(st.sampled_from([-1, 1])) * length
    return fun, (t0, tf), centre, radius


def fit_or_reject(*arguments, **options):
    """Fit; problems that are refused are none of Hypothesis's examples.

    It complains if they are many.
    """
    try:
        return parivp.fit_flow_map(*arguments, **options)
    except RuntimeError:
        reject()


@pytest.mark.parametrize("n", [1, 2])
@given(data=st.data())
def test_random_systems(n, data):
    fun, t_span, centre, radius = data.draw(smooth_systems(n))
    rtol = data.draw(st.sampled_from([1e-3, 1e-5, 1e-8]))
    flow = fit_or_reject(fun, t_span, (centre, radius), rtol=rtol, atol=1e-2 * rtol)
    y0, t = in_box(centre, radius, 4), times_in(t_span, 4)
    expected = truth(fun, t_span[0], t, y0)
    error = np.abs(flow(t, y0) - expected)
    assert np.max(error / (1e-2 * rtol + rtol * np.abs(expected))) <= ALLOWED


@given(data=st.data())
def test_semigroup(data):
    fun, (t0, t2), centre, radius = data.draw(smooth_systems(2))
    t1 = t0 + data.draw(st.floats(0.2, 0.8)) * (t2 - t0)
    tolerances = {"rtol": 1e-8, "atol": 1e-10}
    whole = fit_or_reject(fun, (t0, t2), (centre, radius), **tolerances)
    y0 = in_box(centre, radius, 8)
    y1 = whole(t1, y0)
    middle = (y1.min(axis=1) + y1.max(axis=1)) / 2
    reach = np.ptp(y1, axis=1) / 2 + 1e-3
    second = fit_or_reject(fun, (t1, t2), (middle, reach), **tolerances)
    growth = np.linalg.norm(second.jacobian(t2, middle), 2)
    assert_allclose(
        second(t2, y1),
        whole(t2, y0),
        rtol=0,
        atol=ALLOWED * (2 + 2 * growth) * 1e-8 * max(1, np.max(np.abs(y1))),
    )


def test_estimate_is_neither_too_small_nor_absurd():
    ratios = []
    for fun, t_span, centre, radius in list(PROBLEMS.values())[:9]:
        flow = parivp.fit_flow_map(fun, t_span, (centre, radius), rtol=1e-5)
        y0, t = in_box(centre, radius, 20, seed=7), times_in(t_span, 10)
        error = np.abs(flow(t, y0) - truth(fun, t_span[0], t, y0))
        ratios += list(error.max(axis=(1, 2)) / flow.error_estimate)
    assert 0.1 < np.median(ratios) < 3


def test_first_and_last_time_and_where_windows_meet():
    flow = parivp.fit_flow_map(van_der_pol, (0, 20), ([2, 0], 0.1), rtol=1e-8)
    y0 = in_box([2, 0], 0.1, 5)
    assert_allclose(flow(0.0, y0), y0, rtol=0, atol=1e-14)
    edges = flow._maps.edges
    assert flow.n_windows == len(edges) - 1 > 3
    states = flow(edges, y0)
    expected = truth(van_der_pol, 0, edges, y0)
    assert np.max(np.abs(states - expected) / (1e-9 + 1e-8 * np.abs(expected))) <= 2
    after = np.nextafter(edges[1:-1], np.inf)
    assert_allclose(flow(after, y0), states[:, :, 1:-1], rtol=0, atol=1e-9)


def test_legs():
    """The wide box needs several polynomials one after another."""
    box = ([1.01], 1.0)
    flow = parivp.fit_flow_map(
        lambda t, y: y * (1 - y), (0, 10), box, rtol=1e-9, degree=12
    )
    assert flow.n_legs > 3
    assert flow.degree <= 12
    y0, t = in_box(*box, 50), times_in((0, 10), 20)
    exact = 1 / (1 + (1 / y0[:, :, None] - 1) * np.exp(-t))
    assert_allclose(flow(t, y0), exact, rtol=2e-9, atol=2e-9)
    slope = exact**2 / y0[:, :, None] ** 2 * np.exp(-t)
    assert_allclose(flow.jacobian(t, y0)[0], slope, rtol=0, atol=1e-5)


def test_linear_problems_get_linear_maps():
    def oscillator(t, y):
        return [y[1], -4 * y[0]]

    flow = parivp.fit_flow_map(oscillator, (0, 5), ([1, 0], 10.0), rtol=1e-8)
    assert flow.degree == 1
    c, s = math.cos(10), math.sin(10)
    expected = [[c, s / 2], [-2 * s, c]]
    assert_allclose(flow.jacobian(5.0, [3.0, -4.0]), expected, atol=1e-7)


def test_a_radius_may_be_zero():
    """Such a state serves as a parameter that is not varied."""

    def decay(t, y):
        return [-y[1] * y[0], 0 * y[1]]

    flow = parivp.fit_flow_map(decay, (0, 2), ([1, 0.5], [0.2, 0]), rtol=1e-8)
    y0 = np.array([[0.8, 1.1], [0.5, 0.5]])
    assert_allclose(flow(2.0, y0)[0], y0[0] * math.exp(-1), rtol=1e-8)
    assert not flow.in_box([1, 0.6])


# -- Jacobians -----------------------------------------------------------------------


@pytest.mark.parametrize("t", [2.0, 0.7, 0.0])
def test_jacobian_solves_the_variational_equation(t):
    def variational(t, z):
        y, m = z[:2], z[2:].reshape(2, 2)
        slope = np.array([[0, 1], [-2 * y[0] * y[1] - 1, 1 - y[0] ** 2]])
        return np.concatenate([van_der_pol(t, y), (slope @ m).ravel()])

    flow = parivp.fit_flow_map(van_der_pol, (0, 2), ([0, 1], 0.1), rtol=1e-9)
    y0 = in_box([0, 1], 0.1, 6)
    found = flow.jacobian(t, y0)
    for k in range(6):
        z = scipy.integrate.solve_ivp(
            variational,
            (0, t),
            [*y0[:, k], 1, 0, 0, 1],
            "DOP853",
            rtol=1e-12,
            atol=1e-13,
        ).y[2:, -1]
        assert_allclose(found[:, :, k], z.reshape(2, 2), rtol=0, atol=1e-6)


@given(data=st.data())
def test_jacobian_agrees_with_differences(data):
    fun, t_span, centre, radius = data.draw(smooth_systems(2))
    flow = fit_or_reject(fun, t_span, (centre, radius), rtol=1e-8)
    t = times_in(t_span, 3)
    found = flow.jacobian(t, centre)
    for j, step in enumerate(1e-2 * radius * np.eye(2)):
        difference = truth(
            fun, t_span[0], t, np.stack([centre + step, centre - step], axis=1)
        )
        quotient = (difference[:, 0] - difference[:, 1]) / (2e-2 * radius)
        scale = max(1, np.max(np.abs(found)))
        assert_allclose(found[:, j], quotient, rtol=0, atol=1e-3 * scale)


# -- calling it ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def flow():
    """A map with two states; tests do not change it."""
    return parivp.fit_flow_map(van_der_pol, (0, 2), ([0, 1], [0.1, 0.2]), rtol=1e-6)


def test_shapes(flow):
    one, many = [0, 1], in_box([0, 1], 0.1, 7)
    t = [0.5, 1.0, 0.25]
    assert flow(2, one).shape == (2,)
    assert flow(t, one).shape == (2, 3)
    assert flow(2.0, many).shape == (2, 7)
    assert flow(t, many).shape == (2, 7, 3)
    assert flow.jacobian(2, one).shape == (2, 2)
    assert flow.jacobian(t, one).shape == (2, 2, 3)
    assert flow.jacobian(2.0, many).shape == (2, 2, 7)
    assert flow.jacobian(t, many).shape == (2, 2, 7, 3)
    assert flow(t, np.empty((2, 0))).shape == (2, 0, 3)
    assert flow.jacobian(1.0, np.empty((2, 0))).shape == (2, 2, 0)
    assert flow([], many).shape == (2, 7, 0)
    assert flow.jacobian([], one).shape == (2, 2, 0)


def test_many_columns_and_times_are_the_single_ones(flow):
    many, t = in_box([0, 1], 0.1, 5000), np.array([1.7, 0.0, 2.0, 0.3])
    states, jacobians = flow(t, many), flow.jacobian(t, many)
    for k in (0, 17, 2500, 4999):
        for i in range(4):
            assert_allclose(states[:, k, i], flow(t[i], many[:, k]), rtol=1e-13)
            single = flow.jacobian(t[i], many[:, k])
            assert_allclose(jacobians[:, :, k, i], single, rtol=1e-11, atol=1e-13)


def test_attributes(flow):
    assert flow.t_span == (0.0, 2.0)
    assert_array_equal(flow.centre, [0, 1])
    assert_array_equal(flow.radius, [0.1, 0.2])
    assert flow.n == 2
    assert flow.error_estimate.shape == (2,)
    assert f"degree={flow.degree}" in repr(flow)


def test_in_box(flow):
    assert flow.in_box([0.1, 1.2])
    assert not flow.in_box([0.1001, 1.0])
    assert not flow.in_box([np.nan, 1.0])
    several = np.array([[0.0, 0.2, -0.1], [1.0, 1.0, 0.8]])
    assert_array_equal(flow.in_box(several), [True, False, True])


def test_outside_of_the_box_is_refused(flow):
    with pytest.raises(ValueError, match=re.escape("actually has [0.  1.3]")):
        flow(1.0, [0.0, 1.3])
    several = np.array([[0.0, 0.2, -0.1], [1.0, 1.0, 0.8]])
    with pytest.raises(ValueError, match="in column 1"):
        flow(1.0, several)
    with pytest.raises(ValueError, match="nan"):
        flow.jacobian(1.0, [np.nan, 1.0])


@pytest.mark.parametrize("t", [-1e-9, 2.1, math.nan, [1.0, 3.0]])
def test_times_outside_are_refused(flow, t):
    with pytest.raises(ValueError, match="`t` is expected to be between 0.0 and 2.0"):
        flow(t, [0, 1])


@pytest.mark.parametrize(
    ("t", "y0", "error"),
    [
        ([[1.0]], [0, 1], ValueError),
        (1.0, [0, 1, 2], ValueError),
        (1.0, [[[0], [1]]], ValueError),
        (1.0, 0.0, ValueError),
        (1.0, [0j, 1], ValueError),
        (1.0, ["a", "b"], TypeError),
    ],
)
def test_wrong_arguments_of_a_call(flow, t, y0, error):
    with pytest.raises(error, match="is expected|complex"):
        flow(t, y0)


def test_other_array_libraries(flow):
    xp = pytest.importorskip("array_api_strict")
    legs = parivp.fit_flow_map(
        lambda t, y: y * (1 - y), (0, 3), ([1.01], 1.0), degree=8
    )
    assert legs.n_legs > 1
    three = parivp.fit_flow_map(lorenz, (0, 0.5), ([1, 1, 1], 0.05), rtol=1e-4)
    for one in (flow, legs, three):
        y0 = in_box(one.centre, one.radius, 300)
        t = times_in(one.t_span, 5)
        for call in (one, one.jacobian):
            for times in (t, t[2], xp.asarray(t)):
                found = call(times, xp.asarray(y0))
                assert isinstance(found, type(xp.asarray(y0)))
                expected = call(np.asarray(times), y0)
                assert_allclose(np.asarray(found), expected, rtol=1e-12, atol=1e-14)
        assert bool(xp.all(one.in_box(xp.asarray(y0))))
        with pytest.raises(ValueError, match="in column 0"):
            one(0.1, xp.asarray(y0 + 10))


# -- right-hand sides ----------------------------------------------------------------


def test_functions_that_do_not_broadcast():
    def single(t, y):
        assert np.shape(t) == ()
        return [y[1], -math.sin(y[0]) - 0.1 * y[1] + math.cos(t)]

    def summed(t, y):
        # of many states it adds up all of them
        return -y / (1 + np.sum(y**2)) + np.cos(t)

    def changing(t, y):
        # differs only where one of many is large
        return -2.0 * y if np.any(y > 1.3) else -2.0 * y / (1 + 0 * y[:1])

    for fun in (single, summed, changing):
        flow = parivp.fit_flow_map(fun, (0, 1), ([1, 0.5], 0.1), rtol=1e-5)
        y0, t = in_box([1, 0.5], 0.1, 5), times_in((0, 1), 4)
        expected = truth(fun, 0, t, y0)
        assert_allclose(flow(t, y0), expected, rtol=2e-5, atol=2e-9)


def test_args():
    flow = parivp.fit_flow_map(
        lambda t, y, k: -k * y, (0, 1), ([1.0], 0.5), args=(3.0,)
    )
    assert_allclose(flow(1.0, [1.2]), 1.2 * math.exp(-3), rtol=1e-6)
    with pytest.raises(TypeError, match="args"):
        parivp.fit_flow_map(lambda t, y, k: y, (0, 1), ([1.0], 0.5), args=3.0)


def test_what_fun_raises_arrives():
    def wrong(t, y):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        parivp.fit_flow_map(wrong, (0, 1), ([1.0], 0.5))
    with pytest.raises(ValueError, match="`fun` return is expected to have shape"):
        parivp.fit_flow_map(lambda t, y: [1.0, 2.0], (0, 1), ([1.0], 0.5))


# -- what cannot be fitted is said so ------------------------------------------------


def bounded_blow_up(t, y):
    return y**2


HOPELESS = {
    "stiff": (lambda t, y: -1e6 * (y - np.cos(t)), (0, 1), [1.0], 0.1),
    "stiff and quick": (lambda t, y: 3e4 * y * (1 - y), (0, 1), [0.5], 0.4),
    "ceases to exist": (bounded_blow_up, (0, 1), [1.0], 0.1),
    "chaotic": (lorenz, (0, 25), [1, 1, 1], 0.1),
    "not smooth": (lambda t, y: np.sign(y - 0.3) + 2, (0, 1), [0.0], 0.2),
    "not finite": (lambda t, y: np.sqrt(y), (0, 1), [0.1], 0.5),
}


@pytest.mark.parametrize("problem", HOPELESS.values(), ids=HOPELESS)
def test_hopeless_problems_are_refused(problem):
    fun, t_span, centre, radius = problem
    with pytest.raises(RuntimeError, match="box|stiff"):
        parivp.fit_flow_map(fun, t_span, (centre, radius), rtol=1e-8)


def test_max_windows_and_size():
    with pytest.raises(RuntimeError, match="`max_windows` is 1"):
        parivp.fit_flow_map(
            van_der_pol, (0, 20), ([2, 0], 0.1), rtol=1e-9, max_windows=1
        )
    with pytest.raises(RuntimeError, match="unknowns"):
        parivp.fit_flow_map(lambda t, y: -y * y, (0, 1), (np.ones(30), 0.1), degree=4)


WRONG = {
    "t_span infinite": {"t_span": (0, math.inf)},
    "t_span empty": {"t_span": (1, 1)},
    "t_span NaN": {"t_span": (0, math.nan)},
    "t_span one value": {"t_span": (0,)},
    "box no pair": {"y_box": 1.0},
    "centre a scalar": {"y_box": (1.0, 0.1)},
    "centre empty": {"y_box": ([], 0.1)},
    "centre two-dimensional": {"y_box": ([[1.0]], 0.1)},
    "centre NaN": {"y_box": ([np.nan], 0.1)},
    "radius negative": {"y_box": ([1.0], -0.1)},
    "radius infinite": {"y_box": ([1.0], np.inf)},
    "radius of wrong shape": {"y_box": ([1.0], [0.1, 0.1])},
    "centre complex": {"y_box": ([1j], 0.1)},
    "fun not callable": {"fun": 1.0},
    "rtol NaN": {"rtol": np.nan},
    "atol negative": {"atol": -1.0},
    "atol of wrong shape": {"atol": [1e-6, 1e-6]},
    "degree zero": {"degree": 0},
    "degree fractional": {"degree": 1.5},
    "max_windows zero": {"max_windows": 0},
    "time_vectorized a number": {"time_vectorized": 1},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_wrong_arguments(change):
    arguments = {"fun": toy, "t_span": (0, 1), "y_box": ([1.0], 0.1), **change}
    name = next(iter(change))
    with pytest.raises((ValueError, TypeError), match=name.replace("t_span", ".")):
        parivp.fit_flow_map(**arguments)


# -- files ---------------------------------------------------------------------------


def test_save_and_load(flow, tmp_path):
    path = tmp_path / "map"
    flow.save(path)
    assert path.exists()
    loaded = parivp.FlowMap.load(path)
    y0, t = in_box([0, 1], 0.1, 5), times_in((0, 2), 4)
    assert_array_equal(loaded(t, y0), flow(t, y0))
    assert_array_equal(loaded.jacobian(t, y0), flow.jacobian(t, y0))
    assert repr(loaded) == repr(flow)
    assert_array_equal(loaded.error_estimate, flow.error_estimate)
    with np.load(path, allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file)


def test_files_that_hold_something_else(flow, tmp_path):
    path = tmp_path / "other.npz"
    with pytest.raises(FileNotFoundError):
        parivp.FlowMap.load(path)
    path.write_text("nothing of the kind")
    with pytest.raises(ValueError, match="`path` holds no flow map"):
        parivp.FlowMap.load(path)
    with open(path, "wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(ValueError, match="`path` holds no flow map"):
        parivp.FlowMap.load(path)
    np.savez(path, x=np.arange(3))
    with pytest.raises(ValueError, match="`path` holds no flow map"):
        parivp.FlowMap.load(path)
    np.savez(path, parivp_flow_map=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="`path` holds no flow map"):
        parivp.FlowMap.load(path)
    flow.save(path)
    with np.load(path) as file:
        stored = dict(file)
    np.savez(path, **(stored | {"parivp_flow_map": np.array(99)}))
    with pytest.raises(ValueError, match="format 99"):
        parivp.FlowMap.load(path)
    del stored["edges"]
    np.savez(path, **stored)
    with pytest.raises(ValueError, match="`path` holds no flow map"):
        parivp.FlowMap.load(path)


# -- Chebyshev polynomials -----------------------------------------------------------


@pytest.mark.parametrize(("n", "degree"), [(1, 5), (2, 4), (3, 3), (4, 2), (5, 1)])
def test_basis_is_the_products(n, degree):
    basis = TotalDegreeBasis(n, degree)
    x = np.random.default_rng(0).uniform(-1, 1, size=(n, 20))
    assert len({tuple(e) for e in basis.exponents}) == basis.size
    assert basis.exponents.sum(axis=1).max() == degree
    angles = np.arccos(x)
    expected = np.prod(np.cos(basis.exponents[:, :, None] * angles), axis=1)
    assert_allclose(basis.values(np, x), expected, atol=1e-13)
    h = 1e-6
    for j, step in enumerate(h * np.eye(n)):
        above, below = (basis.values(np, x + s * step[:, None]) for s in (1, -1))
        assert_allclose(basis.gradients(np, x)[j], (above - below) / (2 * h), atol=1e-7)


@pytest.mark.parametrize(("n", "degree"), [(1, 14), (2, 12), (3, 6), (6, 3), (20, 2)])
def test_points_determine_polynomials_well(n, degree):
    basis = TotalDegreeBasis(n, degree)
    points = box_points(basis)
    assert np.max(np.abs(points)) <= 1
    assert points.shape[1] > basis.size
    assert np.linalg.cond(basis.values(np, points)) < 30


def test_series_and_integrals():
    points = lobatto_points(9)
    assert (points[0], points[4], points[-1]) == (-1, 0, 1)
    coefficients = coefficients_from_values(9) @ points**5
    assert_allclose(np.polynomial.chebyshev.chebval(0.3, coefficients), 0.3**5)
    integrals = integration_matrix(9) @ points**7
    assert_allclose(integrals, (points**8 - 1) / 8, atol=1e-14)
