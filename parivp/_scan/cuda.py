"""The affine recursion in one CUDA kernel, for CuPy arrays.

The kernel (``affine_scan.cu``) reads ``A`` and ``b`` once and writes ``u`` once:
``d**2 + 2 d`` numbers a step. Reducing in one kernel, scanning the partial results
in a second and replaying in a third is simpler, since no block waits for another,
but reads ``A`` and ``b`` twice, 1.7 to 1.9 times the bytes, and by its number of
operations this scan is bound by memory for every ``d`` it is made for. So blocks
look back: each keeps its steps in shared memory until it knows the state before
them. The usual look-back takes whichever partial results are there first, and rounds
differently from run to run; here every block waits for those that a fixed tree gives
it, and results are the same bit by bit.

Arrays are taken as they lie in memory, ``d * d`` numbers a step, or, as the windows of
the solvers have them, the steps of each entry together.

Source: D. Merrill, M. Garland, "Single-pass parallel prefix scan with decoupled
look-back", NVIDIA Technical Report NVR-2016-002, 2016, for the look-back and the
ticket; P. M. Fenwick, "A new data structure for cumulative frequency tables",
Software: Practice and Experience 24(3), 1994, for the tree.
"""

import functools
import math
from importlib import resources

from .associative import affine_scan_associative
from .initial import absorb_initial
from .launch_plan import MAX_DIM, plan_launch

__all__ = ["affine_scan_cuda", "kernel_options", "kernel_source", "launch"]

KERNEL = "affine_scan"


def affine_scan_cuda(xp, A, b, u0=None):
    """Solve ``u_k = A_k u_{k-1} + b_k`` by the CUDA kernel.

    What there is no kernel for, ``d > 16`` and types other than float32 and
    float64, goes through the associative scan, whose products are cuBLAS's.
    """
    if b.shape[-1] > MAX_DIM or b.dtype.char not in "fd":
        if u0 is not None:
            b = absorb_initial(xp, A, b, u0)
        return affine_scan_associative(xp, A, b)
    devices = [x.device.id for x in (A, b, u0) if x is not None]
    if len(set(devices)) > 1:
        raise ValueError(
            "`A`, `b` and `u0` are expected to be on one device, but actually are on "
            f"the devices {devices}."
        )
    with b.device:
        steps_last = not A.flags.c_contiguous and _entries_apart(A, 2) is not None
        plan = _plan(b.device.id, b.shape[-1], b.dtype.itemsize, steps_last)
        return launch(plan, A, b, u0)


def launch(plan, A, b, u0=None):
    """Run the kernel of a plan on the current device; as `affine_scan_cuda`."""
    import cupy

    kernel = _kernel(cupy.cuda.Device().id, plan)
    n_steps, period = math.prod(b.shape[:-1]), b.shape[-2]
    A, b = _arranged(cupy, plan, A, 2), _arranged(cupy, plan, b, 1)
    if plan.steps_last:
        u = cupy.moveaxis(cupy.empty((plan.d, *b.shape[:-1]), b.dtype), 0, -1)
        strides = [_entries_apart(x, axes) for x, axes in ((A, 2), (b, 1), (u, 1))]
    else:
        u = cupy.empty(b.shape, b.dtype)
        strides = [1, 1, 1]
    initial = cupy.uint64(0) if u0 is None else cupy.ascontiguousarray(u0)
    # all ones, which the kernel takes for "not yet"
    scratch = cupy.full(-(-plan.scratch_bytes(n_steps) // 8), -1, cupy.int64)
    numbers = (cupy.int64(number) for number in (n_steps, period, *strides))
    kernel(
        (plan.tiles(n_steps),),
        (plan.threads,),
        (A, b, initial, u, *numbers, scratch),
        shared_mem=plan.shared_bytes,
    )
    return u


def _arranged(cupy, plan, x, axes):
    """Array with its steps in memory as the plan has them, a copy if need be."""
    if not plan.steps_last:
        return cupy.ascontiguousarray(x)
    if _entries_apart(x, axes) is not None:
        return x
    last, first = tuple(range(-axes, 0)), tuple(range(axes))
    return cupy.moveaxis(
        cupy.ascontiguousarray(cupy.moveaxis(x, last, first)), first, last
    )


def _entries_apart(x, axes):
    """Numbers between neighbouring entries of a matrix or vector in memory.

    The last `axes` axes are those of the entries, and the others those of the
    steps; None unless neighbouring steps are neighbours in memory.
    """
    expected = x.itemsize
    for axis in reversed(range(x.ndim - axes)):
        if x.shape[axis] > 1 and x.strides[axis] != expected:
            return None
        expected *= x.shape[axis]
    apart = x.strides[-1]
    if apart < expected or (axes == 2 and x.strides[-2] != x.shape[-1] * apart):
        return None
    return apart // x.itemsize


def kernel_source():
    """Source of the kernel."""
    return resources.files(__package__).joinpath("affine_scan.cu").read_text("utf-8")


def kernel_options(plan):
    """Options that the source is compiled with for a plan."""
    return (
        "--std=c++17",
        *(f"-D{name}={value}" for name, value in plan.macros.items()),
    )


@functools.cache
def _plan(device_id, d, itemsize, steps_last):
    import cupy

    runtime = cupy.cuda.runtime
    attribute = runtime.cudaDevAttrMaxSharedMemoryPerBlockOptin
    limit = runtime.deviceGetAttribute(attribute, device_id)
    return plan_launch(d, itemsize, limit, steps_last=steps_last)


@functools.cache
def _kernel(device_id, plan):
    """Compile the kernel for the current device, which is `device_id`."""
    import cupy

    module = cupy.RawModule(code=kernel_source(), options=kernel_options(plan))
    kernel = module.get_function(KERNEL)
    kernel.max_dynamic_shared_size_bytes = plan.shared_bytes
    # all of the memory that shared memory and first-level cache divide
    kernel.preferred_shared_memory_carveout = 100
    return kernel
