"""The CUDA kernel of the affine scan, run on the CPU by fibers."""

import contextlib
import faulthandler
import math
import os
import re
import signal
import sys
import types
import warnings

import numpy as np
import pytest
from cuda_host import COMPILER, HostKernel, KernelError, build, run
from hypothesis import given
from hypothesis import strategies as st
from test_affine_scan import assert_meets_loop, problem

from parivp._scan import cuda as scan_cuda
from parivp._scan.cuda import kernel_source
from parivp._scan.launch_plan import MAX_DIM, LaunchPlan, plan_launch

pytestmark = pytest.mark.skipif(COMPILER is None, reason="there is no g++ on Linux")

# d, part, chunks, chunk, log_group: small tiles, so that few steps make many
SMALL_SHAPES = [
    (1, 1, 32, 2, 2),
    (1, 1, 4, 1, 3),
    (2, 1, 8, 3, 3),
    (2, 2, 32, 1, 1),
    (3, 1, 64, 5, 6),
    (3, 2, 16, 1, 0),
    (4, 2, 4, 3, 2),
    (4, 4, 8, 2, 4),
    (5, 4, 2, 4, 1),
    (7, 2, 8, 1, 3),
    (9, 8, 2, 5, 2),
    (16, 8, 4, 2, 1),
    (16, 16, 8, 1, 2),
]
LENGTHS = (1, 2, 31, 32, 33, 1000, 4097)


def plan_of(shape, itemsize=8, steps_last=False):
    d, part, chunks, chunk, log_group = shape
    return LaunchPlan(d, itemsize, part, chunks, chunk, log_group, steps_last)


def exact_problem(shape, d, dtype, seed=0):
    """Maps whose products, which depend on their order, are computed exactly.

    Matrices are permutations with signs, inhomogeneities small integers.
    """
    rng = np.random.default_rng(seed)
    columns = np.argsort(rng.random((*shape, d)), axis=-1)
    signs = rng.choice([-1.0, 1.0], size=(*shape, d))
    A = signs[..., None] * (columns[..., None] == np.arange(d))
    b = rng.integers(-9, 10, size=(*shape, d))
    u0 = rng.integers(-9, 10, size=(*shape[:-1], d))
    return A.astype(dtype), b.astype(dtype), u0.astype(dtype)


def exact_loop(A, b, u0=None):
    u = np.zeros(b.shape, dtype=b.dtype)
    previous = np.zeros_like(b[..., 0, :]) if u0 is None else u0
    for k in range(b.shape[-2]):
        previous = (A[..., k, :, :] @ previous[..., None])[..., 0] + b[..., k, :]
        u[..., k, :] = previous
    return u


def find_bug(plan, source):
    """Run a kernel in many orders; what goes wrong, or an empty string."""
    kernel = HostKernel(plan, source)
    A, b, u0 = exact_problem((3, 400), plan.d, np.float64)
    expected = exact_loop(A, b, u0)

    def search():
        for seed in range(12):
            for resident in (1, 3):
                try:
                    u = kernel(A, b, u0, resident, seed)
                except KernelError as error:
                    return str(error)
                if not np.array_equal(u, expected):
                    return "wrong numbers"
        return ""

    return in_child(search)


def in_child(function):
    """The string that a function returns in a process that it may well crash."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        # the child runs on in one thread and needs none of the others
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        faulthandler.disable()
        signal.alarm(60)
        os.write(write, function().encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    return text if status == 0 else f"crash with status {status}"


@pytest.mark.parametrize("steps_last", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", range(1, MAX_DIM + 1))
def test_every_kernel(d, dtype, steps_last):
    """The kernels as they are launched on a device.

    Over three tiles, or over more than one group where tiles are small.
    """
    plan = plan_launch(d, np.dtype(dtype).itemsize, steps_last=steps_last)
    kernel = HostKernel(plan)
    n_tiles = 2**plan.log_group + 2 if plan.tile <= 60 else 2
    n_steps = n_tiles * plan.tile + plan.chunk + 1
    A, b, u0 = exact_problem((n_steps,), d, dtype)
    np.testing.assert_array_equal(kernel(A, b, u0), exact_loop(A, b, u0))
    A, b, u0 = problem(n_steps, d, dtype)
    assert_meets_loop(kernel(A, b, u0, seed=2), A, b, u0)


@pytest.mark.parametrize("steps_last", [False, True])
@pytest.mark.parametrize("n_steps", LENGTHS)
@pytest.mark.parametrize("shape", SMALL_SHAPES)
def test_awkward_lengths(shape, n_steps, steps_last):
    d = shape[0]
    A, b, u0 = exact_problem((n_steps,), d, np.float64)
    u = HostKernel(plan_of(shape, steps_last=steps_last))(A, b, u0, seed=2)
    np.testing.assert_array_equal(u, exact_loop(A, b, u0))


launches = st.fixed_dictionaries(
    {"resident": st.integers(1, 9), "seed": st.integers(0, 2**31)}
)


@given(
    shape=st.sampled_from(SMALL_SHAPES),
    dtype=st.sampled_from([np.float32, np.float64]),
    steps_last=st.booleans(),
    batch=st.sampled_from([(), (1,), (2,), (7,), (40,)]),
    n_steps=st.integers(1, 100),
    with_u0=st.booleans(),
    launch=launches,
)
def test_exact_maps(shape, dtype, steps_last, batch, n_steps, with_u0, launch):
    d = shape[0]
    A, b, u0 = exact_problem((*batch, n_steps), d, dtype, seed=n_steps)
    u0 = u0 if with_u0 else None
    plan = plan_of(shape, np.dtype(dtype).itemsize, steps_last)
    u = HostKernel(plan)(A, b, u0, **launch)
    np.testing.assert_array_equal(u, exact_loop(A, b, u0))


@given(
    shape=st.sampled_from(SMALL_SHAPES),
    dtype=st.sampled_from([np.float32, np.float64]),
    steps_last=st.booleans(),
    n_steps=st.integers(1, 1500),
    with_u0=st.booleans(),
    launch=launches,
)
def test_random_maps(shape, dtype, steps_last, n_steps, with_u0, launch):
    """Against the loop; and the same bit by bit in another order of blocks."""
    A, b, u0 = problem(n_steps, shape[0], dtype, seed=n_steps)
    u0 = u0 if with_u0 else None
    kernel = HostKernel(plan_of(shape, np.dtype(dtype).itemsize, steps_last))
    u = kernel(A, b, u0, **launch)
    assert_meets_loop(u, A, b, u0)
    np.testing.assert_array_equal(kernel(A, b, u0), u)


@pytest.mark.parametrize("n_steps", [1, 5, 24, 30])
@pytest.mark.parametrize("shape", [(2, 1, 8, 3, 3), (5, 4, 2, 4, 1)])
def test_nan_stays_in_its_trajectory_behind_its_step(shape, n_steps):
    kernel = HostKernel(plan_of(shape))
    A, b, u0 = exact_problem((9, n_steps), shape[0], np.float64)
    clean = kernel(A, b, u0)
    A[4, n_steps // 2], b[4, n_steps // 2] = np.inf, np.nan
    u = kernel(A, b, u0)
    assert np.isnan(u[4, n_steps // 2 :]).all()
    u[4, n_steps // 2 :] = clean[4, n_steps // 2 :]
    np.testing.assert_array_equal(u, clean)


@pytest.mark.parametrize("scale", [0.0, 1e-250, 1.0])
def test_products_that_overflow_give_no_finite_wrong_states(scale):
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((400, 2, 2)) * 1e30, np.zeros((400, 2))
    b[::7] = scale
    with np.errstate(all="ignore"):
        expected = exact_loop(A, b)
    u = HostKernel(plan_of((2, 1, 8, 3, 3)))(A, b)
    finite = np.isfinite(u)
    assert finite[:8].all()
    np.testing.assert_allclose(u[finite], expected[finite], rtol=1e-9)


def test_first_matrix_acts_on_the_initial_state_only():
    kernel = HostKernel(plan_of((2, 1, 8, 3, 3)))
    A, b, _ = exact_problem((9, 17), 2, np.float64)
    expected = kernel(A, b)
    A[:, 0] = np.nan
    np.testing.assert_array_equal(kernel(A, b), expected)


# ---- the backend, with arrays of NumPy in place of CuPy's --------------------


launched = []  # plans of launches by the backend


class HostArray(np.ndarray):
    """What of a CuPy array the backend uses."""

    device = contextlib.nullcontext()
    device.id = 0


class HostModule:
    """What of `cupy.RawModule` the backend uses."""

    def __init__(self, code, options):
        self.library = build(options, code)
        self.steps_last = "-DSTEPS_LAST=1" in options

    def get_function(self, name):
        assert name == "affine_scan"
        return self

    def __call__(self, grid, block, args, shared_mem):
        d, itemsize = args[1].shape[-1], args[1].itemsize
        plan = plan_launch(d, itemsize, steps_last=self.steps_last)
        assert block == (plan.threads,)
        assert shared_mem == self.max_dynamic_shared_size_bytes == plan.shared_bytes
        assert args[-1].nbytes >= plan.scratch_bytes(int(args[4]))
        run(self.library, grid[0], args)
        launched.append(plan)


@pytest.fixture
def host_cupy(monkeypatch):
    runtime = types.SimpleNamespace(
        cudaDevAttrMaxSharedMemoryPerBlockOptin=97,
        deviceGetAttribute=lambda attribute, device: 227 * 1024,
    )
    cuda = types.SimpleNamespace(runtime=runtime, Device=lambda: HostArray.device)
    module = types.SimpleNamespace(cuda=cuda, RawModule=HostModule)
    for name in ("ascontiguousarray", "empty", "full", "int64", "moveaxis", "uint64"):
        setattr(module, name, getattr(np, name))
    monkeypatch.setitem(sys.modules, "cupy", module)
    scan_cuda._plan.cache_clear()
    scan_cuda._kernel.cache_clear()
    yield
    scan_cuda._plan.cache_clear()
    scan_cuda._kernel.cache_clear()


def steps_last(x, axes):
    """Copy of an array in which neighbouring steps are neighbours in memory."""
    last, first = tuple(range(-axes, 0)), tuple(range(axes))
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, last, first)), first, last)


def spaced(x, axes):
    """View of every other entry of a larger array, steps still neighbours."""
    larger = steps_last(np.repeat(x, 2, axis=-1), axes)
    return larger[..., ::2] if axes == 1 else steps_last(x, axes)


LAYOUTS = {
    "steps first": (np.ascontiguousarray, np.ascontiguousarray, False),
    "steps last": (lambda A: steps_last(A, 2), lambda b: steps_last(b, 1), True),
    "b apart": (lambda A: steps_last(A, 2), lambda b: spaced(b, 1), True),
    "b the other way": (lambda A: steps_last(A, 2), np.ascontiguousarray, True),
    "A transposed": (
        lambda A: steps_last(A.swapaxes(-1, -2), 2).swapaxes(-1, -2),
        lambda b: steps_last(b, 1),
        False,
    ),
    "reversed": (
        lambda A: np.flip(np.flip(A, -3).copy(), -3),
        lambda b: np.flip(np.flip(b, -2).copy(), -2),
        False,
    ),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(700,), (1,), (5, 200), (40, 1)])
@pytest.mark.parametrize("with_u0", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.usefixtures("host_cupy")
def test_backend_launches_as_the_kernel_expects(dtype, shape, with_u0, layout):
    A, b, u0 = exact_problem(shape, 4, dtype)
    u0 = u0 if with_u0 else None
    expected = exact_loop(A, b, u0)
    arrange_A, arrange_b, kept = LAYOUTS[layout]
    A, b = arrange_A(A).view(HostArray), arrange_b(b).view(HostArray)
    u = scan_cuda.affine_scan_cuda(np, A, b, None if u0 is None else u0.view(HostArray))
    assert u.dtype == dtype
    np.testing.assert_array_equal(u, expected)
    if math.prod(shape) > 1:
        assert launched[-1].steps_last == kept


@pytest.mark.parametrize(("d", "dtype"), [(17, np.float64), (2, np.complex128)])
def test_associative_scan_where_there_is_no_kernel(d, dtype):
    A, b, u0 = exact_problem((33,), d, dtype)
    u = scan_cuda.affine_scan_cuda(np, A, b, u0)
    np.testing.assert_array_equal(u, exact_loop(A, b, u0))


def test_arrays_on_two_devices():
    class OtherDevice(HostArray):
        device = types.SimpleNamespace(id=1)

    A, b, u0 = exact_problem((33,), 2, np.float64)
    A, b, u0 = A.view(HostArray), b.view(HostArray), u0.view(OtherDevice)
    with pytest.raises(ValueError, match=r"one device.*actually.*\[0, 0, 1\]"):
        scan_cuda.affine_scan_cuda(np, A, b, u0)


# ---- bugs planted into the source are found ---------------------------------

BUG_SHAPE = (3, 2, 32, 2, 2)  # two warps


def replaced(*substitutions):
    """The kernel's source with pieces replaced, each of which it must hold."""
    source = kernel_source()
    for old, new in substitutions:
        assert old in source
        source = source.replace(old, new)
    return source


def barriers():
    return [found.span() for found in re.finditer(r"__sync\w+\(\);", kernel_source())]


def test_no_bug_is_found_in_the_kernel_itself():
    assert find_bug(plan_of(BUG_SHAPE), kernel_source()) == ""


@pytest.mark.parametrize("number", range(len(barriers())))
def test_every_barrier_is_missed(number):
    source = kernel_source()
    start, end = barriers()[number]
    assert find_bug(plan_of(BUG_SHAPE), source[:start] + ";" + source[end:])


SWAPPED_IN_CHUNKS = (
    ("    A += (CHUNK - 1) * STEP_A;\n    b += (CHUNK - 1) * STEP_B;\n", ""),
    ("        A -= STEP_A;\n        b -= STEP_B;\n", "A += STEP_A;\n b += STEP_B;\n"),
)
PLANTED = {
    "operands swapped": (SWAPPED_IN_CHUNKS, "wrong numbers"),
    "matrix transposed": (
        [("A[(i * DIM + j) *", "A[(j * DIM + i) *")],
        "wrong numbers",
    ),
    "no ticket": ([("atomicAdd(ticket, 1u) + 1u", "blockIdx.x")], "deadlock"),
    "nothing handed over": (
        [("    *to = word.bits ==", "    word.bits ==")],
        "deadlock",
    ),
    "state not waited for": (
        [("while (seen == NOT_YET)", "while (false)")],
        "wrong numbers",
    ),
    "early return": (
        [
            (
                "    load_tile(at,",
                "    if (at.chunk_first >= n_steps)\n return;\nload_tile(at,",
            )
        ],
        "divergence",
    ),
    "barrier in a branch": (
        [("    wait_for_copies();", "    if (at.thread < 3)\n    __syncthreads();")],
        "divergence",
    ),
    "write past shared memory": (
        [("states[(at.chunk + 1) * DIM", "states[(at.chunk + 2) * DIM")],
        "outside its shared",
    ),
    "write past the end": (
        [("        if (word.among(there))\n            u[", "u[")],
        "outside",
    ),
    "constant maps composed": ([(" && at.begin < node_first)", ")")], "wrong numbers"),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bug_is_found(bug):
    substitutions, message = PLANTED[bug]
    found = find_bug(plan_of(BUG_SHAPE), replaced(*substitutions))
    assert message in found
