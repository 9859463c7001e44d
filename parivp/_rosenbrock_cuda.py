"""Steps of a Rosenbrock method on CuPy arrays, in few kernels of CUDA.

A step of a small system is a dozen operations on a few numbers between one call of the
right-hand side and the next. As operations on arrays they take some microseconds each,
whatever their size, and together three times as long as the calls; here they are one
kernel (``_rosenbrock.cu``).
"""

import functools
import math
from importlib import resources

import numpy as np

from ._array_namespace import contiguous, errstate, is_complex, like, new_empty
from ._jacobian import SQRT_EPS

__all__ = ["KERNELS", "OPTIONS", "FusedSteps", "kernel_source", "shared_bytes"]

KERNELS = ("difference_points", "step_matrix", "stages")
OPTIONS = ("--std=c++17",)
# One block has a thread for each component, and the matrix in shared memory, of which
# 48 KiB are there without asking.
MAX_SIZE = 64


class FusedSteps:
    """The steps of a method for real states of up to `MAX_SIZE` components.

    Parameters
    ----------
    steps : object
        The same in array operations, which tells the coefficients.
    """

    def __init__(self, steps):
        y, self.rhs, self.tableau = steps.known[0, :], steps.rhs, steps.tableau
        self.first_step, self.xp = steps.first_step, steps.xp
        self.n, self.n_stages = y.shape[0], len(self.tableau.alpha)
        width = 2 + self.n_stages
        coefficients = np.zeros((self.n_stages, 2, width))
        for stage, rows in enumerate(steps.coefficients):
            coefficients[stage, :, : 3 + stage] = rows
        self.coefficients = like(y, coefficients)
        self.atol, self.rtol = (
            contiguous(self.xp.broadcast_to(tolerance, y.shape))
            for tolerance in (steps.atol, steps.rtol)
        )
        self.work = new_empty(y, (self.n * (self.n + width + 1),))
        self.error = new_empty(y, (1,))
        self.sizes = np.int32(self.n), np.int32(self.n_stages)

    @staticmethod
    def fit(y):
        """Whether there are kernels for a state of CuPy's."""
        return 0 < y.size <= MAX_SIZE and not is_complex(y)

    def linearize(self, t, y, dt):
        """Return the points of the differences, the values there, and `dt`."""
        n, y = self.n, contiguous(y)
        points, times = new_empty(y, (n, n + 2)), new_empty(y, (n + 2,))
        numbers = self.sizes[0], float(t), float(dt), SQRT_EPS
        self._launch("difference_points", *numbers, y, self.atol, points, times)
        with errstate():
            return points, self.rhs(times, points), dt

    def step(self, t, y, end, points, values, dt):
        """Take a step; return the state and its error, in units of the tolerance."""
        tab, h, out, y = self.tableau, float(end - t), y, contiguous(y)
        numbers = *self.sizes, h, float(dt), 1 / tab.gamma, tab.gammas[0]
        self._launch("step_matrix", *numbers, y, points, values, self.work)
        f, apart = values, self.n + 2
        for first, past in tab.groups:
            if first > 0:
                time = end if tab.alpha[first] == 1.0 else t + tab.alpha[first] * h
                try:
                    with errstate():
                        f, apart = contiguous(self.rhs.single(time, out)), 1
                except Exception:  # the function's own, met ahead of time
                    return y, math.inf
            out = self._stages(first, past, h, f, apart)
        error = float(self.error[0])
        return out, math.sqrt(error) if error >= 0 else math.inf

    def _stages(self, first, past, h, f, apart):
        """Stages of one argument; return the next one or the new state."""
        out = new_empty(f, (self.n,))
        numbers = *self.sizes, np.int32(first), np.int32(past), h
        arrays = self.coefficients, self.atol, self.rtol, self.work, out, self.error
        self._launch("stages", *numbers, f, np.int32(apart), *arrays)
        return out

    def _launch(self, kernel, *arguments):
        """Run a kernel, of one block."""
        shared = shared_bytes(kernel, self.n)
        kernels = _kernels(arguments[-1].device.id)
        kernels[kernel]((1,), (self.n,), arguments, shared_mem=shared)


def shared_bytes(kernel, n):
    """Shared memory that a kernel takes for `n` components."""
    needed = {"difference_points": 0, "step_matrix": (8 * n + 4) * n, "stages": 8 * n}
    return needed[kernel]


def kernel_source():
    """Source of the kernels."""
    return resources.files(__package__).joinpath("_rosenbrock.cu").read_text("utf-8")


@functools.cache
def _kernels(device_id):
    """Compile the kernels for the current device, which is `device_id`."""
    import cupy

    module = cupy.RawModule(code=kernel_source(), options=OPTIONS)
    return {name: module.get_function(name) for name in KERNELS}
