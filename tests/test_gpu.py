"""The solvers on a CUDA device; run with ``python -m pytest -m gpu``.

What they share with other array libraries is in ``test_array_libraries*.py``.
"""

import gc

import numpy as np
import pytest
from conftest import FIXED_STEP_OPTIONS
from numpy.testing import assert_allclose

import parivp
from parivp import solve_ivp

pytestmark = pytest.mark.gpu


@pytest.fixture
def pool(cupy):
    """CuPy's memory pool, empty of what others have left."""
    gc.collect()
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    yield pool
    pool.set_limit(size=0)


def van_der_pol(t, y):
    return [y[1], (1 - y[0] ** 2) * y[1] - y[0]]


def pendulum(t, y):
    """NumPy's functions take CuPy's arrays."""
    return [y[1], -np.sin(y[0]) + 0.1 * np.cos(t)]


def test_states_of_numpy_on_the_device(cupy, method):
    options = {"method": method, "rtol": 1e-8, "atol": 1e-10, "dense_output": True}
    options["events"] = lambda t, y: y[0]
    found = solve_ivp(pendulum, (0, 10), [1.0, 0.0], device="cuda", **options)
    known = solve_ivp(pendulum, (0, 10), [1.0, 0.0], **options)
    assert found.success
    assert found.backend == "cupy"
    for array in (found.t, found.y, found.t_events[0], found.y_events[0]):
        assert isinstance(array, cupy.ndarray)
    assert_allclose(found.y[:, -1].get(), known.y[:, -1], rtol=0, atol=1e-6)
    assert_allclose(found.t_events[0].get(), known.t_events[0], rtol=1e-6)
    times = np.linspace(0, 10, 33)
    assert isinstance(found.sol(times), cupy.ndarray)
    assert_allclose(found.sol(times).get(), known.sol(times), rtol=0, atol=1e-6)


def test_state_on_the_device_stays_there(cupy, method):
    y0 = cupy.asarray([1.0, 0.0])
    found = solve_ivp(pendulum, (0, 1), y0, method, device="cuda")
    assert isinstance(found.y, cupy.ndarray)
    with pytest.raises(TypeError, match="`device` is 'cpu'"):
        solve_ivp(pendulum, (0, 1), y0, method, device="cpu")


@pytest.mark.parametrize("problem", [van_der_pol, pendulum])
def test_results_are_the_same_bit_by_bit(cupy, method, problem):
    options = {"method": method, "rtol": 1e-8, "atol": 1e-10, "device": "cuda"}
    first, second = (solve_ivp(problem, (0, 20), [2.0, 0.0], **options) for _ in "12")
    assert first.nit == second.nit
    np.testing.assert_array_equal(first.t.get(), second.t.get())
    np.testing.assert_array_equal(first.y.get(), second.y.get())


@pytest.mark.parametrize("n_steps", [1000, 100_000, 1_000_000])
def test_fixed_steps_meet_numpy(cupy, method, n_steps):
    if method != "ScanNewton" and n_steps > 100_000:
        pytest.skip("a minute on a CPU")
    options = FIXED_STEP_OPTIONS[method] | {"method": method, "n_steps": n_steps}
    found = solve_ivp(van_der_pol, (0, 10), [2.0, 0.0], device="cuda", **options)
    known = solve_ivp(van_der_pol, (0, 10), [2.0, 0.0], **options)
    assert found.success
    assert_allclose(found.y.get(), known.y, rtol=0, atol=1e-10)


def test_memory_is_given_back(cupy, method, pool):
    options = {"method": method, "rtol": 1e-8, "dense_output": True, "device": "cuda"}
    solve_ivp(pendulum, (0, 10), [1.0, 0.0], **options)  # kernels and constants
    gc.collect()
    before = pool.used_bytes()
    result = solve_ivp(pendulum, (0, 10), [1.0, 0.0], **options)
    assert pool.used_bytes() > before
    del result
    gc.collect()
    assert pool.used_bytes() <= before


def test_windows_shrink_where_memory_ends(cupy, pool):
    options = {"n_steps": 400_000, "tableau": "RK4", "device": "cuda"}
    known = solve_ivp(van_der_pol, (0, 10), [2.0, 0.0], **options)
    gc.collect()
    pool.free_all_blocks()
    pool.set_limit(size=pool.used_bytes() + 100 * 2**20)
    found = solve_ivp(van_der_pol, (0, 10), [2.0, 0.0], **options)
    assert found.success
    assert_allclose(found.y.get(), known.y.get(), rtol=0, atol=1e-9)


def test_no_memory_is_a_status(cupy, pool):
    solve_ivp(van_der_pol, (0, 1), [2.0, 0.0], device="cuda")
    y0 = cupy.asarray([2.0, 0.0])

    def greedy(t, y):
        if (t > 0.5) if isinstance(t, float) else bool((t > 0.5).any()):
            cupy.empty(2**60, dtype=cupy.uint8)
        return van_der_pol(t, y)

    found = solve_ivp(greedy, (0, 1), y0)
    assert found.status == -1
    assert "memory" in found.message
    assert 0.1 <= float(found.t[-1]) <= 0.5


def test_flow_maps(cupy):
    box = ([2.0, 0.0], 0.1)
    flow = parivp.fit_flow_map(van_der_pol, (0, 2), box, rtol=1e-8, device="cuda")
    known = parivp.fit_flow_map(van_der_pol, (0, 2), box, rtol=1e-8)
    y0 = np.array([[2.0, 1.95], [0.0, 0.04]])
    found = flow(2.0, cupy.asarray(y0))
    assert isinstance(found, cupy.ndarray)
    assert_allclose(found.get(), known(2.0, y0), rtol=0, atol=1e-6)
