"""Flow maps of boxes that are arrays of another library, as NumPy fits them."""

import numpy as np
import pytest
from array_libraries import rows
from numpy.testing import assert_allclose, assert_array_equal

import parivp


def logistic(t, y):
    return y * (1.0 - y)


def decaying(t, y):
    return t - y


def van_der_pol(t, y):
    a, b = rows(y)
    return [b, (1.0 - a**2) * b - a]


def lorenz(t, y):
    a, b, c = rows(y)
    return [10.0 * (b - a), a * (28.0 - c) - b, a * b - (8 / 3) * c]


def four(t, y):
    a, b, c, d = rows(y)
    return [b, c * a - a, 0.1 * d, -0.5 * d]


# With the tolerance and the largest degree.
PROBLEMS = {
    "one": (decaying, (0.0, 2.0), [0.5], 0.8, 1e-7, None),
    "two": (van_der_pol, (0.0, 2.0), [0.0, 1.0], [0.1, 0.2], 1e-7, None),
    "legs": (logistic, (0.0, 3.0), [1.01], 1.0, 1e-6, 8),
    "legs of windows": (decaying, (0.0, 40.0), [0.5], 0.8, 1e-9, None),
    "backward": (van_der_pol, (2.0, -1.0), [1.0, 0.0], 0.1, 1e-6, None),
    "three": (lorenz, (0.0, 0.5), [1.0, 1.0, 1.0], 0.05, 1e-6, None),
    "four": (four, (0.0, 1.0), [1.0, 0.0, 0.3, 1.0], 0.1, 1e-6, None),
    "a radius of zero": (van_der_pol, (0.0, 2.0), [2.0, 0.0], [0.1, 0.0], 1e-6, None),
}


def in_box(centre, radius, n_columns):
    """Initial values: random ones, every fourth of them in a corner."""
    xi = np.random.default_rng(1).uniform(-1, 1, size=(len(centre), n_columns))
    xi[:, ::4] = np.sign(xi[:, ::4])
    radius = np.broadcast_to(radius, len(centre))
    return np.asarray(centre)[:, None] + radius[:, None] * xi


def times_in(t_span, n_times):
    t = np.random.default_rng(2).uniform(*sorted(t_span), n_times)
    t[:2] = t_span
    return t


def fit_both(library, problem):
    """Fit there, and by NumPy."""
    fun, t_span, centre, radius, rtol, degree = PROBLEMS[problem]
    options = {"rtol": rtol, "atol": 1e-2 * rtol, "degree": degree}
    found = parivp.fit_flow_map(fun, t_span, (library.put(centre), radius), **options)
    return found, parivp.fit_flow_map(fun, t_span, (centre, radius), **options)


@pytest.fixture
def flow(library):
    """A map that was fitted there."""
    box = library.put([0.0, 1.0]), 0.1
    return parivp.fit_flow_map(van_der_pol, (0, 2), box, rtol=1e-5)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_meets_numpy(library, problem):
    found, expected = fit_both(library, problem)
    centre, radius = PROBLEMS[problem][2:4]
    assert found.t_span == expected.t_span
    assert found.degree == expected.degree
    assert found.n_windows == expected.n_windows
    assert found.n_legs == expected.n_legs
    assert (found.n_legs > 1) == problem.startswith("legs")
    assert_array_equal(library.get(found.centre), centre)
    assert_array_equal(library.get(found.radius), np.broadcast_to(radius, len(centre)))
    errors = library.get(found.error_estimate)
    assert_allclose(errors, expected.error_estimate, rtol=1e-2, atol=1e-11)
    y0, t = in_box(centre, radius, 30), times_in(found.t_span, 7)
    states, jacobians = expected(t, y0), expected.jacobian(t, y0)
    size = np.max(np.abs(states))
    # the derivative along a radius of zero is a difference over a tiny distance
    across = problem == "a radius of zero" and not library.rounds_like_numpy
    near = 1e-6 if across else 1e-9
    for times in (t, t.tolist(), library.put(t)):
        y = library.get(found(times, library.put(y0)))
        assert_allclose(y, states, rtol=0, atol=1e-10 * size)
        dy = library.get(found.jacobian(times, library.put(y0)))
        assert_allclose(dy, jacobians, rtol=1e-9, atol=near)
    for k in (0, 5):
        one = library.put(y0[:, k])
        assert_allclose(library.get(found(t, one)), y[:, k], rtol=1e-12, atol=1e-13)
        for time in (t[3], float(t[3]), library.put(t[3])):
            state = library.get(found(time, one))
            assert_allclose(state, y[:, k, 3], rtol=1e-12, atol=1e-13)
            slopes = library.get(found.jacobian(time, one))
            assert_allclose(slopes, dy[:, :, k, 3], rtol=1e-10, atol=1e-12)


def test_shapes(library, flow):
    one, many = library.put([0.0, 1.0]), library.put(in_box([0, 1], 0.1, 7))
    none, t = many[:, :0], [0.5, 1.0, 0.25]
    for y0, n_columns in ((one, ()), (many, (7,)), (none, (0,))):
        for times, n_times in ((1.0, ()), (t, (3,)), ([], (0,))):
            shape = (2, *n_columns, *n_times)
            assert library.get(flow(times, y0)).shape == shape
            assert library.get(flow.jacobian(times, y0)).shape == (2, *shape)


def test_in_box(library, flow):
    several = library.put([[0.0, 0.2, -0.1], [1.0, 1.0, 0.9]])
    assert_array_equal(library.get(flow.in_box(several)), [True, False, True])
    assert bool(flow.in_box(library.put([0.1, 1.1])))
    with pytest.raises(ValueError, match="in column 1"):
        flow(1.0, several)
    with pytest.raises(ValueError, match="`y0` is expected to be in the box"):
        flow.jacobian(1.0, library.put([0.0, np.nan]))
    for t in (2.5, np.array([1.0, -0.1]), library.put([1.0, np.nan])):
        with pytest.raises(ValueError, match="`t` is expected to be between 0.0 and"):
            flow(t, several[:, :1])
    assert "n_windows" in repr(flow)


def test_numbers_in_lists_are_brought_there(library, flow):
    expected = library.get(flow(2.0, library.put([0.05, 1.0])))
    assert_array_equal(library.get(flow(2, [0.05, 1])), expected)


def test_states_of_numpy_are_refused(library, flow):
    for call in (flow, flow.jacobian, lambda _, y0: flow.in_box(y0)):
        with pytest.raises(TypeError, match=f"`y0`.*{library.name}.*numpy"):
            call(1.0, np.array([0.0, 1.0]))
    if library.home is not None:
        y0 = library.xp.asarray([0.0, 1.0], device=library.home)
        with pytest.raises(TypeError, match="on one device"):
            flow(1.0, y0)


def test_maps_of_numpy_are_brought_to_the_states(library):
    flow = parivp.fit_flow_map(van_der_pol, (0, 2), ([0.0, 1.0], 0.1), rtol=1e-5)
    y0, t = in_box([0.0, 1.0], 0.1, 9), np.array([0.3, 2.0])
    for call in (flow, flow.jacobian):
        for times in (t, library.put(t)):
            found = library.get(call(times, library.put(y0)))
            assert_allclose(found, call(t, y0), rtol=0, atol=1e-12)
    with pytest.raises(TypeError, match="`t`"):
        flow(library.put(t), y0)


def test_parts_of_the_box(library):
    """A radius of NumPy's is brought to the centre, but nothing the other way."""
    known = None
    for radius in (0.1, [0.1, 0.1], np.array([0.1, 0.1]), library.put([0.1, 0.1])):
        box = library.put([0.0, 1.0]), radius
        flow = parivp.fit_flow_map(van_der_pol, (0, 1), box, rtol=1e-4)
        y = library.get(flow(1.0, box[0]))
        known = y if known is None else known
        assert_array_equal(y, known)
    for centre in ([0.0, 1.0], np.array([0.0, 1.0])):
        box = centre, library.put([0.1, 0.1])
        with pytest.raises(TypeError, match="`radius` and `centre`"):
            parivp.fit_flow_map(van_der_pol, (0, 1), box)


@pytest.mark.parametrize(
    ("centre", "radius", "error"),
    [
        ([[1.0]], 0.1, ValueError),
        ([], 0.1, ValueError),
        ([np.nan], 0.1, ValueError),
        ([1.0], -0.1, ValueError),
        ([1.0], np.inf, ValueError),
        ([1.0], [0.1, 0.1], ValueError),
        ([1j], 0.1, ValueError),
    ],
)
def test_wrong_boxes(library, centre, radius, error):
    with pytest.raises(error, match="y_box"):
        parivp.fit_flow_map(logistic, (0, 1), (library.put(centre), radius))


def test_whole_numbers_become_floats(library):
    flow = parivp.fit_flow_map(logistic, (0, 1), (library.put([2]), 1), rtol=1e-4)
    assert_allclose(library.get(flow(0.0, library.put([3]))), [3.0])


def test_device(library):
    box = library.put([1.0]), 0.1
    with pytest.raises(TypeError, match=rf"`device` is 'cpu'.*`y_box`.*{library.name}"):
        parivp.fit_flow_map(logistic, (0, 1), box, device="cpu")
    with pytest.raises(ValueError, match="`device`"):
        parivp.fit_flow_map(logistic, (0, 1), box, device="tpu")
    flow = parivp.fit_flow_map(logistic, (0, 1), ([1.0], 0.1), device="cpu")
    assert isinstance(flow(1.0, [1.0]), np.ndarray)


def test_functions_that_do_not_broadcast(library):
    """They are called with one state at a time, and may return numbers."""

    def single(t, y):
        a = float(y[0])
        return [t - a]

    t_span, centre, radius = (0, 0.2), [1.0], 0.1
    options = {"rtol": 1e-2, "atol": 1e-3}
    box = library.put(centre), radius
    found = parivp.fit_flow_map(single, t_span, box, **options)
    expected = parivp.fit_flow_map(single, t_span, (centre, radius), **options)
    y0 = in_box(centre, radius, 5)
    assert_allclose(library.get(found(0.2, library.put(y0))), expected(0.2, y0))


def test_results_of_another_library(library):
    def fun(t, y):
        return np.ones(2)

    with pytest.raises(TypeError, match=r"`fun`.*numpy"):
        parivp.fit_flow_map(fun, (0, 1), (library.put([0.1, 0.2]), 0.1))


HOPELESS = {
    "ceases to exist": (lambda t, y: y**2, (0, 1), [1.0], 0.1),
    "not finite": (lambda t, y: 1.0 / y, (0, 1), [0.0], 0.1),
    "too long": (van_der_pol, (0, 20), [2.0, 0.0], 0.1),
}


@pytest.mark.parametrize("problem", HOPELESS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_hopeless_problems_are_refused(library, problem):
    fun, t_span, centre, radius = HOPELESS[problem]
    with pytest.raises(RuntimeError, match="box"):
        parivp.fit_flow_map(fun, t_span, (library.put(centre), radius), max_windows=1)


def test_files(library, flow, tmp_path):
    path = tmp_path / "map.npz"
    flow.save(path)
    loaded = parivp.FlowMap.load(path)
    y0, t = in_box([0.0, 1.0], 0.1, 5), times_in((0, 2), 4)
    assert isinstance(loaded(t, y0), np.ndarray)
    expected = library.get(flow(t, library.put(y0)))
    assert_allclose(loaded(t, y0), expected, rtol=0, atol=1e-13)
    assert repr(loaded) == repr(flow)
    assert_array_equal(loaded.error_estimate, library.get(flow.error_estimate))


@pytest.mark.gpu
def test_files_are_read_to_a_device(tmp_path):
    cupy = pytest.importorskip("cupy")
    path = tmp_path / "map.npz"
    known = parivp.fit_flow_map(van_der_pol, (0, 2), ([0.0, 1.0], 0.1), rtol=1e-5)
    known.save(path)
    loaded = parivp.FlowMap.load(path, device="cuda")
    y0 = in_box([0.0, 1.0], 0.1, 5)
    assert isinstance(loaded.error_estimate, cupy.ndarray)
    found = loaded(2.0, cupy.asarray(y0)).get()
    assert_allclose(found, known(2.0, y0), rtol=0, atol=1e-12)


def test_reads(library, flow, reads):
    """Calls read whether the states are in the box, whatever their number."""
    t, y0 = np.linspace(0, 2, 50), library.put(in_box([0.0, 1.0], 0.1, 200))
    for call in (flow, flow.jacobian):
        for times in (0.7, t):
            reads.clear()
            call(times, y0)
            assert reads == [()]
    times = library.put(t)
    reads.clear()
    flow(times, y0)
    # where the times are on the device, which windows they are in
    assert set(reads) == {()}
    assert len(reads) <= 2 + 2 * flow.n_windows


def test_reads_of_fits(library, reads):
    """Numbers steer the fit; there are more points than numbers that are read."""
    box = library.put([2.0, 0.0]), 0.1
    flow = parivp.fit_flow_map(van_der_pol, (0, 2), box, rtol=1e-5)
    assert set(reads) == {()}
    # a few for each of the integrator's steps and each window
    assert len(reads) < 1000
    assert flow.degree > 1
