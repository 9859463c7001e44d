"""The CUDA affine scan on a device; run with ``python -m pytest -m gpu``."""

import numpy as np
import pytest
from test_affine_scan import assert_meets_loop, problem
from test_cuda_scan import exact_loop, exact_problem

import parivp
from parivp._scan.launch_plan import MAX_DIM, plan_launch

pytestmark = pytest.mark.gpu


def on_device(cupy, *arrays):
    return tuple(None if x is None else cupy.asarray(x) for x in arrays)


def random_on_device(cupy, shape, d, dtype, seed=0):
    """As `problem`, but drawn on the device."""
    rng = cupy.random.default_rng(seed)
    A = rng.standard_normal((*shape, d, d), dtype=dtype)
    A *= 0.9 / abs(A).sum(axis=-1, keepdims=True)
    return A, rng.standard_normal((*shape, d), dtype=dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", range(1, MAX_DIM + 1))
def test_every_kernel(cupy, d, dtype):
    """Exactly, over more than one group of tiles; and a loop to rounding errors."""
    plan = plan_launch(d, np.dtype(dtype).itemsize)
    for n_steps in (1, plan.tile, min(130 * plan.tile + 5, 200_000)):
        A, b, u0 = exact_problem((n_steps,), d, dtype)
        u = parivp.affine_scan(*on_device(cupy, A, b, u0), backend="cuda")
        assert u.dtype == dtype
        np.testing.assert_array_equal(cupy.asnumpy(u), exact_loop(A, b, u0))
    A, b, u0 = problem(4097, d, dtype)
    u = parivp.affine_scan(*on_device(cupy, A, b, u0), backend="cuda")
    assert_meets_loop(cupy.asnumpy(u), A, b, u0)


@pytest.mark.parametrize("shape", [(1,), (33,), (1000,), (1, 1), (7, 100), (5000, 3)])
@pytest.mark.parametrize("d", [1, 2, 5, 16])
@pytest.mark.parametrize("with_u0", [False, True])
def test_default_backend(cupy, d, shape, with_u0):
    A, b, u0 = exact_problem(shape, d, np.float64)
    u0 = u0 if with_u0 else None
    u = parivp.affine_scan(*on_device(cupy, A, b, u0))
    assert isinstance(u, cupy.ndarray)
    np.testing.assert_array_equal(cupy.asnumpy(u), exact_loop(A, b, u0))


@pytest.mark.parametrize(
    ("n_steps", "d", "dtype"),
    [
        (10**6, 1, np.float64),
        (10**7, 1, np.float32),
        (10**7, 2, np.float64),
        (10**7, 3, np.float64),
        (10**6, 8, np.float64),
        (10**8, 1, np.float64),
        (10**7, 16, np.float32),  # more numbers than 32 bits count
    ],
)
def test_many_steps(cupy, n_steps, d, dtype):
    """Signed permutations and integers: every step holds exactly."""
    needed = 2 * n_steps * (d * d + 2 * d) * np.dtype(dtype).itemsize
    if needed > cupy.cuda.runtime.memGetInfo()[0]:
        pytest.skip(f"the device has less than {needed} bytes")
    A, b, _ = on_device(cupy, *exact_problem((1000,), d, dtype))
    A = cupy.tile(A, (n_steps // 1000, 1, 1))
    b = cupy.tile(b, (n_steps // 1000, 1))
    u = parivp.affine_scan(A, b, backend="cuda")
    assert bool((u[0] == b[0]).all())
    piece = 10**6
    for start in range(1, n_steps, piece):
        steps = slice(start, start + piece)
        before = u[start - 1 : start - 1 + piece][: u[steps].shape[0]]
        step = (A[steps] * before[:, None, :]).sum(axis=-1) + b[steps]
        assert bool((u[steps] == step).all())
    assert float(abs(u).max()) < 2**24  # integers are exact in float32, too


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 2, 4, 8, 16])
def test_same_bits_from_run_to_run(cupy, d, dtype):
    """Whatever else keeps the device busy."""
    A, b = random_on_device(cupy, (200_000,), d, dtype)
    first = parivp.affine_scan(A, b, backend="cuda")
    other = cupy.cuda.Stream(non_blocking=True)
    noise = cupy.ones((1000, 1000))
    cupy.cuda.get_current_stream().synchronize()
    for _ in range(20):
        with other:
            noise = noise @ noise * 0.0 + 1.0
        again = parivp.affine_scan(A, b, backend="cuda")
        assert bool((again.view(np.uint8) == first.view(np.uint8)).all())
    other.synchronize()


def test_other_stream(cupy):
    A, b = random_on_device(cupy, (100_000,), 3, np.float64)
    expected = parivp.affine_scan(A, b, backend="cuda")
    cupy.cuda.get_current_stream().synchronize()
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        u = parivp.affine_scan(A, b, backend="cuda")
    stream.synchronize()
    assert bool((u == expected).all())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", range(1, MAX_DIM + 1))
def test_steps_along_the_last_axis_in_memory(cupy, d, dtype):
    """As the windows of the solvers have them; so has the result."""
    A, b, u0 = exact_problem((3, 5000), d, dtype)
    A_there = cupy.asarray(np.moveaxis(A, (-2, -1), (0, 1)).copy())
    A_there = cupy.moveaxis(A_there, (0, 1), (-2, -1))
    b_there = cupy.moveaxis(cupy.asarray(np.moveaxis(b, -1, 0).copy()), 0, -1)
    u = parivp.affine_scan(A_there, b_there, cupy.asarray(u0))
    np.testing.assert_array_equal(cupy.asnumpy(u), exact_loop(A, b, u0))
    assert cupy.moveaxis(u, -1, 0).flags.c_contiguous


def test_arrays_that_are_not_contiguous(cupy):
    A, b, u0 = exact_problem((66,), 3, np.float64)
    A_there, b_there, u0_there = on_device(cupy, A, b, u0)
    A_there = cupy.asfortranarray(A_there)[::2]
    u = parivp.affine_scan(A_there, b_there[::-2], u0_there)
    np.testing.assert_array_equal(cupy.asnumpy(u), exact_loop(A[::2], b[::-2], u0))


@pytest.mark.parametrize(("d", "dtype"), [(17, np.float64), (2, np.complex128)])
def test_associative_scan_where_there_is_no_kernel(cupy, d, dtype):
    A, b, u0 = exact_problem((200,), d, dtype)
    u = parivp.affine_scan(*on_device(cupy, A, b, u0))
    np.testing.assert_array_equal(cupy.asnumpy(u), exact_loop(A, b, u0))


def test_nan_stays_in_its_trajectory_behind_its_step(cupy):
    A, b, u0 = exact_problem((900, 100), 2, np.float64)
    expected = exact_loop(A, b, u0)
    A[700, 50], b[700, 50] = np.inf, np.nan
    u = cupy.asnumpy(parivp.affine_scan(*on_device(cupy, A, b, u0)))
    assert np.isnan(u[700, 50:]).all()
    u[700, 50:] = expected[700, 50:]
    np.testing.assert_array_equal(u, expected)


@pytest.mark.parametrize("d", [1, 4, 16])
def test_memory(cupy, d):
    """Beside the result no more than the plan says, all of it given back."""
    A, b = random_on_device(cupy, (10**5,), d, np.float64)
    parivp.affine_scan(A, b)
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        u = parivp.affine_scan(A, b)
    cupy.cuda.get_current_stream().synchronize()
    rounding = 512
    assert pool.used_bytes() <= u.nbytes + rounding
    scratch = plan_launch(d, 8).scratch_bytes(10**5)
    assert pool.total_bytes() <= u.nbytes + scratch + 3 * rounding
    del u
    assert pool.used_bytes() == 0
