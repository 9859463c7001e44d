"""The CUDA kernels, built by g++ and run on the CPU."""

import ctypes
import functools
import math
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from parivp._scan.cuda import kernel_options, kernel_source

HERE = Path(__file__).parent
# the shim's fibers are glibc's
COMPILER = shutil.which("g++") if sys.platform == "linux" else None
GUARD = 64


class KernelError(Exception):
    """What the shim found wrong with a launch."""


class HostKernel:
    """The kernel for one launch plan, as a function of NumPy arrays.

    Parameters
    ----------
    plan : LaunchPlan
        The plan to compile for.
    source : str, optional
        The kernel's source, if it is to be another one than the package's.
    """

    def __init__(self, plan, source=None):
        self.plan = plan
        self.library = build(kernel_options(plan), source or kernel_source())

    def __call__(self, A, b, u0=None, resident=4, seed=0):
        """Launch the kernel; raise `KernelError` for what the shim finds wrong."""
        plan = self.plan
        n_steps, period = math.prod(b.shape[:-1]), b.shape[-2]
        shape = (plan.d, *b.shape[:-1]) if plan.steps_last else b.shape
        u = guarded(shape, b.dtype, np.nan)
        scratch = guarded(plan.scratch_bytes(n_steps), np.uint8, 255)
        if plan.steps_last:
            A, b = np.moveaxis(A, (-2, -1), (0, 1)), np.moveaxis(b, -1, 0)
        arrays = [np.ascontiguousarray(x) for x in (A, b)]
        arrays.append(None if u0 is None else np.ascontiguousarray(u0))
        strides = 3 * [n_steps if plan.steps_last else 1]
        numbers = (np.int64(number) for number in (n_steps, period, *strides))
        arguments = (*arrays, u, *numbers, scratch)
        run(self.library, plan.tiles(n_steps), arguments, resident, seed)
        for array in (u, scratch):
            if not guards_hold(array):
                raise KernelError("wrote outside an array")
        return (np.moveaxis(u, 0, -1) if plan.steps_last else u).copy()


def run(library, grid, arguments, resident=4, seed=0):
    """Launch with the arguments of the kernel; raise `KernelError`."""
    addresses = [
        x.ctypes.data if isinstance(x, np.ndarray) else 0 if x is None else int(x)
        for x in arguments
    ]
    library.run.restype = ctypes.c_char_p
    message = library.run(*map(ctypes.c_void_p, addresses), grid, resident, seed)
    if message:
        raise KernelError(message.decode())


def guarded(shape, dtype, fill):
    """Array in the middle of a larger one of sevens."""
    size = math.prod(np.atleast_1d(shape))
    array = np.full(size + 2 * GUARD, 7, dtype)[GUARD:-GUARD].reshape(shape)
    array[...] = fill
    return array


def guards_hold(array):
    whole = array
    while whole.base is not None:
        whole = whole.base
    return np.all(whole[:GUARD] == 7) and np.all(whole[-GUARD:] == 7)


@functools.cache
def build_folder():
    return tempfile.TemporaryDirectory(prefix="cuda_host_")


@functools.cache
def build(options, source, host="affine_scan_host.cpp"):
    """Library of kernels compiled with options, of which there is one copy."""
    folder = Path(tempfile.mkdtemp(dir=build_folder().name))
    kernel, library = folder / "kernel.cu", folder / "kernel.so"
    kernel.write_text(source)
    command = [COMPILER, *options, "-O1", "-w", "-shared", "-fPIC", f"-I{HERE}"]
    command += [f'-DKERNEL="{kernel}"', "-o", library, HERE / host]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return ctypes.CDLL(str(library))
