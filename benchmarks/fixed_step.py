"""Time and memory per step of the fixed-step mode, beside the recursion in Python.

Run as ``taskset -c 0 python -m benchmarks.fixed_step``.

The papers' non-stiff problems are solved with the classical Runge-Kutta method
(RK4) in N equal steps. Each row is a process of its own: after a small solve for
warm-up one solve with N steps is traced for the largest memory allocated at any
moment (tracemalloc, which NumPy reports to); then it is timed untraced, median of
several. The last line of a problem gives the memory as a + b N from its two
largest N: a is one window's, b what every step keeps, the result included.
The sequential recursion is RK4 as one writes it in Python with NumPy, timed on
1e4 steps; "difference" is the largest relative difference between the two
solutions of those 1e4 steps.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np

from parivp._problems import PROBLEMS

DEFAULT_PROBLEMS = ("logistic", "van_der_pol", "cart_pole")
DEFAULT_SIZES = (10**4, 10**5, 10**6)
SEQUENTIAL_STEPS = 10**4
MIN_REPEATS, MAX_REPEATS, SECONDS_PER_ROW = 3, 25, 1.0


def sequential_rk4(fun, t_span, y0, n_steps):
    """Return the states of the RK4 recursion, shape (n, n_steps + 1)."""
    t, h = np.linspace(*t_span, n_steps + 1, retstep=True)
    y = np.array(y0)
    states = np.empty((y.size, n_steps + 1))
    states[:, 0] = y
    for k in range(n_steps):
        k1 = np.asarray(fun(t[k], y))
        k2 = np.asarray(fun(t[k] + h / 2, y + h / 2 * k1))
        k3 = np.asarray(fun(t[k] + h / 2, y + h / 2 * k2))
        k4 = np.asarray(fun(t[k] + h, y + h * k3))
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        states[:, k + 1] = y
    return states


def parallel_rk4(problem, n_steps, options):
    import parivp

    result = parivp.solve_ivp(
        problem.fun,
        problem.t_span,
        problem.y0,
        method="ScanNewton",
        tableau="RK4",
        n_steps=n_steps,
        **options,
    )
    if result.status < 0:
        raise RuntimeError(f"{problem.name}, {n_steps} steps: {result.message}")
    return result


def peak_memory(solve):
    """Return the result of `solve` and the most bytes allocated at any moment."""
    tracemalloc.start()
    try:
        result = solve()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def median_time(solve, cpu_time):
    """Time `solve` repeatedly; return the median."""
    clock = time.process_time if cpu_time else time.perf_counter
    seconds = []
    while len(seconds) < MIN_REPEATS or (
        len(seconds) < MAX_REPEATS and sum(seconds) < SECONDS_PER_ROW
    ):
        start = clock()
        solve()
        seconds.append(clock() - start)
    return statistics.median(seconds)


def measure(name, n_steps, options, cpu_time):
    """Solve in this process; return seconds, bytes and iterations."""
    problem = PROBLEMS[name]
    parallel_rk4(problem, 100, options)
    result, memory = peak_memory(lambda: parallel_rk4(problem, n_steps, options))
    nit, nsteps = int(result.nit), int(result.nsteps)
    del result
    return {
        "seconds": median_time(
            lambda: parallel_rk4(problem, n_steps, options), cpu_time
        ),
        "bytes": memory,
        "nit": nit,
        "nsteps": nsteps,
    }


def measure_apart(*task):
    """Run `measure` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.fixed_step", "--child"]
    root = Path(__file__).parent.parent  # where `-m benchmarks` is found
    child = subprocess.run(
        [*command, json.dumps(task)], capture_output=True, text=True, cwd=root
    )
    if child.returncode:
        lines = child.stderr.strip().splitlines() or ["no output"]
        raise RuntimeError(lines[-1])
    return json.loads(child.stdout)


def time_sequential(problem, cpu_time):
    """Return the states of the recursion and its median seconds per step."""
    arguments = problem.fun, problem.t_span, problem.y0, SEQUENTIAL_STEPS
    states = sequential_rk4(*arguments)
    return states, median_time(
        lambda: sequential_rk4(*arguments), cpu_time
    ) / SEQUENTIAL_STEPS


def benchmark(name, sizes, options, cpu_time):
    """Print one problem's rows."""
    problem = PROBLEMS[name]
    states, sequential = time_sequential(problem, cpu_time)
    ours = parallel_rk4(problem, SEQUENTIAL_STEPS, options).y
    scale = np.abs(states).max(axis=1, keepdims=True)
    difference = (np.abs(ours - states) / scale).max()
    print(
        f"{name}, d = {len(problem.y0)}: recursion {1e6 * sequential:.2f} us/step, "
        f"difference {difference:.0e}"
    )
    rows = []
    for n_steps in sizes:
        try:
            row = measure_apart(name, n_steps, options, cpu_time)
        except RuntimeError as exc:
            print(f"  {n_steps:>8}  failed: {exc}")
            continue
        rows.append(row)
        per_step = row["seconds"] / row["nsteps"]
        print(
            f"  {row['nsteps']:>8} {row['nit']:>5} {1e3 * row['seconds']:>8.1f} "
            f"{1e6 * per_step:>10.3f} {row['bytes'] / row['nsteps']:>11.0f} "
            f"{sequential / per_step:>15.1f}"
        )
    print_scaling(rows)


def print_scaling(rows):
    """Print how time and memory grow with the number of steps."""
    if len(rows) < 2:
        return
    per_step = [row["seconds"] / row["nsteps"] for row in rows]
    print(f"  time per step, largest / smallest: {max(per_step) / min(per_step):.2f}")
    small, large = sorted(rows, key=lambda row: row["nsteps"])[-2:]
    slope = (large["bytes"] - small["bytes"]) / (large["nsteps"] - small["nsteps"])
    fixed = large["bytes"] - slope * large["nsteps"]
    print(f"  memory: {fixed / 2**20:.1f} MiB + {slope:.0f} bytes per step")


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fixed_step",
        description=__doc__,
        epilog="Pin the process to one core (Linux: taskset -c 0 python -m ...); on a "
        "machine with other load add --cpu-time.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--problems", default=",".join(DEFAULT_PROBLEMS), help="default: %(default)s"
    )
    parser.add_argument(
        "--sizes",
        default=",".join(map(str, DEFAULT_SIZES)),
        help="numbers of steps; default: %(default)s",
    )
    parser.add_argument(
        "--window", type=float, help="option window; its default where not given"
    )
    parser.add_argument(
        "--cpu-time", action="store_true", help="measure CPU time, not elapsed time"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        print(json.dumps(measure(*json.loads(args.child))))
        return
    unknown = set(args.problems.split(",")) - set(PROBLEMS)
    if unknown:
        parser.error(f"unknown problems {sorted(unknown)}; known: {list(PROBLEMS)}")
    options = {} if args.window is None else {"window": args.window}
    print("     steps   nit       ms    us/step  bytes/step  recursion/ours")
    for name in args.problems.split(","):
        sizes = [int(float(size)) for size in args.sizes.split(",")]
        benchmark(name, sizes, options, args.cpu_time)


if __name__ == "__main__":
    main()
