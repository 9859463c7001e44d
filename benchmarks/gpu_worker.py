"""One library's part of `benchmarks.gpu`, in a process of its own.

Requests come as lines of JSON on standard input, answers leave as lines of JSON on
standard output; the first of them says what the library is and where it runs, or why
it does not run.
"""

import json
import os
import platform
import statistics
import sys
import time

import numpy as np

from parivp._array_namespace import array_namespace
from parivp._problems import PROBLEMS

from .fixed_step import sequential_rk4

MIN_REPEATS, MAX_REPEATS, SECONDS = 3, 25, 1.0
LONG = 5.0  # seconds of a call that is not repeated more than once
TOLERANCE = 1e-8
NO_MEMORY = "out of memory"


class Failure(Exception):
    """A result that is no result; its message says why."""


def processor():
    """Model of the CPU."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def broadcasting_jac(name):
    """Jacobian of a stiff problem by operations that all array libraries share."""

    def dahlquist(t, y):
        return [[0.0 * y[0, ...] - 1000.0]]

    def robertson(t, y):
        a, b, c = 6e7 * y[1, ...], 1e4 * y[2, ...], 1e4 * y[1, ...]
        zero = 0.0 * a
        return [[zero - 0.04, b, c], [zero + 0.04, -a - b, -c], [zero, a, zero]]

    entries = {"dahlquist": dahlquist, "robertson": robertson}[name]

    def jac(t, y):
        xp = array_namespace(y)
        return xp.stack([xp.stack(row) for row in entries(t, y)])

    return jac


def sequential_backward_euler(problem, n_steps):
    """Return the states of the implicit Euler recursion, shape (n, n_steps + 1)."""
    h = (problem.t_span[1] - problem.t_span[0]) / n_steps
    y = np.array(problem.y0)
    states = np.empty((y.size, n_steps + 1))
    states[:, 0] = y
    eye = np.eye(y.size)
    for k in range(1, n_steps + 1):
        before = y
        for _ in range(20):
            residual = y - before - h * np.asarray(problem.fun(0.0, y))
            jac = eye - h * problem.jac(0.0, y)
            update = np.linalg.solve(jac, residual)
            y = y - update
            # quadratic convergence: what is left is far below the tolerance checked
            if (abs(update) <= 1e-10 * abs(y) + 1e-300).all():
                break
        states[:, k] = y
    return states


def recursion(name, n_steps):
    """Solve sequentially in Python with NumPy; states of shape (n_steps, n)."""
    problem = PROBLEMS[name]
    if problem.stiff:
        states = sequential_backward_euler(problem, n_steps)
    else:
        states = sequential_rk4(problem.fun, problem.t_span, problem.y0, n_steps)
    return states[:, 1:].T


def parivp_solver(method, name, n_steps, device):
    """Return a function that solves with parivp in the default or the paper's mode."""
    import parivp

    problem = PROBLEMS[name]
    options = {"n_steps": n_steps, "time_vectorized": True, "device": device}
    if problem.stiff:
        options |= {"method": "ScanNewtonImplicit", "tableau": "BackwardEuler"}
        options["jac"] = broadcasting_jac(name)
    else:
        options |= {"method": "ScanNewton", "tableau": "RK4"}
    if method == "one_window":
        options |= {"window": np.inf, "initial_guess": problem.initial_guess}

    def solve():
        result = parivp.solve_ivp(problem.fun, problem.t_span, problem.y0, **options)
        if result.status < 0:
            raise Failure(result.message)
        return result.y[:, 1:].T, int(result.nit)

    return solve


class NumPyLibrary:
    """The recursion in Python, and parivp on NumPy arrays."""

    def __init__(self):
        self.about = {"version": f"NumPy {np.__version__}", "device": processor()}

    def solver(self, method, name, n_steps):
        """Return a function that returns states and a number of iterations."""
        if method == "recursion":
            return lambda: (recursion(name, n_steps), 0)
        return parivp_solver(method, name, n_steps, None)

    def wait(self, states):
        """Wait for the device."""

    def to_host(self, states):
        """Convert to a NumPy array."""
        return states

    def free(self):
        """Give memory back."""


class CuPyLibrary:
    """parivp on CuPy arrays."""

    def __init__(self):
        from .scan_bandwidth import import_cupy

        self.cupy, reason = import_cupy()
        if self.cupy is None:
            raise Failure(reason)
        properties = self.cupy.cuda.runtime.getDeviceProperties(0)
        self.about = {
            "version": f"CuPy {self.cupy.__version__}",
            "device": properties["name"].decode(),
        }

    def solver(self, method, name, n_steps):
        """Return a function that returns states and a number of iterations."""
        return parivp_solver(method, name, n_steps, "cuda")

    def wait(self, states):
        """Wait for the device."""
        self.cupy.cuda.Device().synchronize()

    def to_host(self, states):
        """Convert to a NumPy array."""
        return self.cupy.asnumpy(states)

    def free(self):
        """Give memory back."""
        self.cupy.get_default_memory_pool().free_all_blocks()


class JaxLibrary:
    """The paper's algorithm, Parareal and the recursion, on the device given."""

    def __init__(self, kind):
        try:
            import jax
        except ImportError:
            raise Failure("JAX is not installed") from None
        try:
            device = jax.devices(kind)[0]
        except RuntimeError:
            raise Failure(f"JAX finds no {kind}") from None
        self.jax = jax
        jax.config.update("jax_default_device", device)
        name = processor() if kind == "cpu" else device.device_kind
        self.about = {"version": f"JAX {jax.__version__}", "device": name}

    def solver(self, method, name, n_steps):
        """Return a function that returns states and a number of iterations."""
        from .jax_parallel_newton import make_solver

        solve, x0 = make_solver(method, name, n_steps)
        return lambda: solve(x0)

    def wait(self, states):
        """Wait for the device."""
        states.block_until_ready()

    def to_host(self, states):
        """Convert to a NumPy array."""
        return np.asarray(states)

    def free(self):
        """Give memory back."""
        self.jax.clear_caches()


LIBRARIES = {
    "numpy": NumPyLibrary,
    "cupy": CuPyLibrary,
    "jax-gpu": lambda: JaxLibrary("gpu"),
    "jax-cpu": lambda: JaxLibrary("cpu"),
}


def relative_error(states, reference):
    """Largest difference, by component relative to the largest of the reference.

    A reference with fewer steps is compared where both have states.
    """
    stride = len(states) // len(reference)
    difference = abs(states[stride - 1 :: stride] - reference).max(axis=0)
    return float((difference / abs(reference).max(axis=0)).max())


def time_calls(call):
    """Seconds of the first call, and the median of later ones."""
    seconds = []
    while len(seconds) <= MIN_REPEATS or (
        len(seconds) <= MAX_REPEATS and sum(seconds[1:]) < SECONDS
    ):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
        if len(seconds) > 1 and seconds[-1] > LONG:
            break
    return result, seconds[0], statistics.median(seconds[1:])


def measure(library, request):
    """Solve a case; return its times and its error, or raise `Failure`."""
    method = request["method"]
    solve = library.solver(method, request["problem"], request["n_steps"])

    def call():
        states, n_iterations = solve()
        library.wait(states)
        return states, n_iterations

    if method == "recursion":  # it is the reference: there is nothing to compare with
        seconds = []
        while not seconds or (len(seconds) < MIN_REPEATS and seconds[0] < SECONDS):
            start = time.perf_counter()
            states, _ = call()
            seconds.append(time.perf_counter() - start)
        np.save(request["reference"], states)
        warm = statistics.median(seconds)
        return {"cold": seconds[0], "warm": warm, "iterations": 0, "error": None}
    (states, n_iterations), cold, warm = time_calls(call)
    error = relative_error(library.to_host(states), np.load(request["reference"]))
    if not error <= TOLERANCE:  # NaN fails, too
        raise Failure(f"error {error:.0e} after {int(n_iterations)} iterations")
    return {
        "cold": cold,
        "warm": warm,
        "iterations": int(n_iterations),
        "error": error,
    }


def answer(library, request):
    """Return what `measure` does, or why it does not."""
    try:
        return measure(library, request)
    except Failure as failure:
        return {"failed": str(failure)}
    except Exception as error:
        name, text = type(error).__name__, str(error)
        if "Memory" in name or "RESOURCE_EXHAUSTED" in text:
            return {"failed": NO_MEMORY}
        first_line = text.partition("\n")[0]
        return {"failed": f"{name}: {first_line}"}
    finally:
        library.free()


def main():
    # What libraries print must not come between the answers.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(message):
        print(json.dumps(message), file=channel, flush=True)

    try:
        library = LIBRARIES[sys.argv[1]]()
    except Failure as failure:
        send({"not run": str(failure)})
        return
    send(library.about)
    for line in sys.stdin:
        send(answer(library, json.loads(line)))


if __name__ == "__main__":
    main()
