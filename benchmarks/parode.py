"""ParODE for one trajectory: error and time, beside DOP853.

Run as ``taskset -c 0 python -m benchmarks.parode``. The first table is the example of
the ParODE paper, with the relative L2 error over 201 times. The second solves five
problems at three tolerances, atol = rtol * 1e-3: ``error / rtol`` is that of the end
point, and ``ratio`` the time of ParODE over the time in which DOP853 reaches the same
error, read off its curve as in `benchmarks.work_precision`.

With ``--degrees`` the second table is one of times for different numbers of basis
functions in time, relative to the one that is chosen by default.

Needs mpmath, for the end point of the Lorenz system at t = 10.
"""

import argparse
import dataclasses
import statistics
import sys
import time
from functools import partial

import numpy as np
import scipy.integrate
from mpmath import mp, mpf

import parivp
from parivp._problems import PROBLEMS

from . import references
from .work_precision import first_run, geometric_mean, measure, time_to_reach

TOY_RTOLS = (1e-3, 1e-6, 1e-9, 1e-12)
RTOLS = (1e-3, 1e-6, 1e-9)
NAMES = ("logistic", "van_der_pol", "lotka_volterra", "cart_pole", "lorenz")
LORENZ_END = 10.0
METHOD = {"method": "ParODE", "timeout": 20.0}
N_TIMES = (5, 6, 7, 8, 9, 10)
REPEATS = 15


def choose_problems():
    """Return the problems; Lorenz's ends where chaos leaves something to compare."""
    problems = {name: PROBLEMS[name] for name in NAMES}
    lorenz, end = problems["lorenz"], LORENZ_END
    with mp.workdps(30):
        exact = references.integrate(
            references.lorenz, (0, end), lorenz.y0, mpf(10) ** -20, 10
        )
        reference = tuple(float(y) for y in exact)
    problems["lorenz"] = dataclasses.replace(
        lorenz, t_span=(0.0, end), reference=reference
    )
    return problems


def median_times(runs):
    """Median seconds of functions that take turns."""
    times = [[] for _ in runs]
    for _ in range(REPEATS):
        for run, seconds in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in times]


def print_toy():
    """Print the relative L2 error and the time of the paper's example."""
    toy = PROBLEMS["parode_toy"]
    t = np.linspace(*toy.t_span, 201)
    exact = scipy.integrate.solve_ivp(
        toy.fun, toy.t_span, toy.y0, "DOP853", t, rtol=3e-14, atol=1e-16
    ).y

    def solve(rtol):
        options = {"t_eval": t, "rtol": rtol, "atol": rtol * 1e-3}
        return parivp.solve_ivp(toy.fun, toy.t_span, toy.y0, **METHOD, **options)

    times = median_times([partial(solve, rtol) for rtol in TOY_RTOLS])
    print("y' = -y**3 + sin(t), y(0) = 0.5, on [0, 2]")
    print("  rtol    L2 error    windows  passes       ms")
    for rtol, seconds in zip(TOY_RTOLS, times, strict=True):
        result = solve(rtol)
        error = np.linalg.norm(result.y - exact) / np.linalg.norm(exact)
        print(
            f"  {rtol:.0e}  {error:9.1e}  {result.nsteps:8d} {result.nit:7d} "
            f"{1e3 * seconds:9.2f}"
        )


def print_problems(problems):
    """Print errors and times beside those of DOP853."""
    print("\nproblem           rtol  error/rtol  windows  passes       ms   ratio")
    found = []
    columns = {"DOP853": {"method": "DOP853"}, "ParODE": METHOD}
    for name, problem in problems.items():
        curves = measure(problem, columns, time.perf_counter)
        for point in curves["ParODE"]:
            if point.rtol not in RTOLS:
                continue
            if not point.solved:
                print(f"{name:16s} {point.rtol:5.0e}  {point.message}")
                continue
            theirs = time_to_reach(curves["DOP853"], point.error)
            found.append(point.seconds / theirs)
            print(
                f"{name:16s} {point.rtol:5.0e}  {point.error / point.rtol:10.1e}"
                f" {point.nsteps:8d} {point.nit:7d} {1e3 * point.seconds:8.2f}"
                f" {found[-1]:7.2f}"
            )
    print(
        "ratio: time over that in which DOP853 reaches the same error; geometric mean "
        f"{geometric_mean(r for r in found if r > 0):.2f}, largest {max(found):.2f}; "
        "0 where it does not"
    )


def print_degrees(problems):
    """Print times for numbers of basis functions, relative to the default."""
    print("\nproblem           rtol  " + "".join(f"{n:7d}" for n in N_TIMES))
    table = {}
    for name, problem in problems.items():
        for rtol in (*RTOLS, 1e-11, 1e-13):
            choices = [METHOD, *(METHOD | {"n_basis": (2, n)} for n in N_TIMES)]
            default, *others = median_times(
                [partial(first_run, problem, rtol, choice) for choice in choices]
            )
            row = [seconds / default for seconds in others]
            table.setdefault(rtol, []).append(row)
            print(f"{name:16s} {rtol:5.0e}  " + "".join(f"{r:7.2f}" for r in row))
    for rtol, rows in table.items():
        means = [geometric_mean(column) for column in zip(*rows, strict=True)]
        print(f"{'geom. mean':16s} {rtol:5.0e}  " + "".join(f"{r:7.2f}" for r in means))


def main(argv=None):
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.parode", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--degrees", action="store_true", help="compare numbers of basis functions"
    )
    args = parser.parse_args(argv)
    problems = choose_problems()
    if args.degrees:
        print_degrees(problems)
    else:
        print_toy()
        print_problems(problems)


if __name__ == "__main__":
    sys.exit(main())
