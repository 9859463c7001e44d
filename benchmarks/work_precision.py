"""Time to reach an accuracy: the methods of parivp beside SciPy's.

Run as ``taskset -c 0 python -m benchmarks.work_precision``: ScanNewton against RK45
and DOP853. With ``--gauss`` the same problems are also solved by ScanNewtonImplicit
with 6 Gauss-Legendre stages; with ``--stiff`` stiff problems by ScanNewtonImplicit,
against Radau, BDF and LSODA.

Every method solves every problem at rtol 1e-3 ... 1e-13 with atol = rtol * 1e-3.
The achieved error is the largest relative error of the end point over its
components, each measured relative to max(|ref_i|, 1e-3 max|ref|), in robertson_long
relative to max(|ref_i|, 1e-8). A time is the median of warm runs: where they are short
several come in a row, after another one that does not count, so that caches do not
hold what the methods before have left. Each repetition goes through all tolerances, the
methods taking turns, so that a slow spell of the machine falls on all of them and is
left out by the median. A method that was slow at one tolerance is not run at tighter
ones.

The time a method needs for an error is read off its curve: of its points only
those are kept that no other point beats in both error and time, and between
them log(time) is interpolated linearly in log(error). A target is compared only
where the method of parivp and at least one of SciPy's reach it, and not below what
rounding errors of the function alone amount to (robertson_long: 9e-7). The figure of
merit is

    ratio = time of the best of SciPy's / time of the method of parivp,

above 1 where the latter is faster.

Without ``--jac`` every method finds Jacobians by differences; large problems come
with the pattern of theirs, as `jac_sparsity` or, for LSODA, its bandwidths.
"""

import argparse
import math
import statistics
import sys
import time
import tracemalloc
import warnings
from dataclasses import dataclass, field

import numpy as np
import scipy.integrate

from parivp._problems import PROBLEMS, Problem

RTOLS = tuple(10.0**-k for k in range(3, 14))
ATOL_FACTOR = 1e-3
TARGETS = tuple(10.0**-k for k in range(3, 11))
CALIBRATION_RTOLS = (1e-3, 1e-6, 1e-9)
GAUSS = "GaussLegendre12"
NONSTIFF_PROBLEMS = (
    "logistic",
    "van_der_pol",
    "van_der_pol_long",
    "cart_pole",
    "lotka_volterra",
    "arenstorf",
    "pleiades",
    "lorenz",
)
# Left out: dahlquist and flame, whose end points are equilibria that every method
# meets at any tolerance.
STIFF_PROBLEMS = (
    "robertson",
    "robertson_long",
    "hires",
    "oregonator",
    "van_der_pol_stiff",
    "pollution",
    "prothero_robinson",
    "stiff_linear",
    "heat",
    "brusselator_pde",
)
# A run is repeated until it has taken this long, or MAX_REPEATS times.
SECONDS_PER_POINT = 0.15
MAX_REPEATS = 9
MIN_REPEATS = 3
# Runs shorter than this are repeated in a row, for about so long.
ROW_SECONDS = 0.02
# A method slower than this at one tolerance is not run at tighter ones.
SLOW_SECONDS = 3.0
# Methods of parivp stop after this time, should they get stuck.
TIMEOUT = 20.0
MEMORY_RTOL = 1e-6


@dataclass(frozen=True)
class Comparison:
    """A method of parivp, its rivals, and the errors its means are taken over."""

    challenger: str
    rivals: tuple[str, ...]
    limits: tuple[float, ...]


EXPLICIT = Comparison("ScanNewton", ("RK45", "DOP853"), (1e-6, 1e-9))
GAUSSIAN = Comparison(GAUSS, ("RK45", "DOP853"), (1e-6, 1e-9))
IMPLICIT = Comparison("ScanNewtonImplicit", ("Radau", "BDF"), (1e-6, 1e-8))
FORTRAN = Comparison("ScanNewtonImplicit", ("LSODA",), (1e-6, 1e-8))


@dataclass
class Point:
    """One method on one problem at one tolerance."""

    rtol: float
    error: float = np.inf
    first_seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    nsteps: int = 0
    nit: int | None = None
    nfev: int = 0
    message: str = ""

    @property
    def seconds(self) -> float:
        """Median of the times."""
        return statistics.median(self.times)

    @property
    def solved(self) -> bool:
        """Whether the solver reached the end of the interval."""
        return not self.message


def find_solver(method: str):
    """Return the `solve_ivp` that serves a method; SciPy's serves its own names."""
    if hasattr(scipy.integrate, method):
        return scipy.integrate.solve_ivp
    import parivp

    return parivp.solve_ivp


def find_options(problem: Problem, column: str, args) -> dict:
    """Return the method of a column and its options for a problem."""
    own = not hasattr(scipy.integrate, column)
    options: dict = {"method": column}
    if own:
        options["timeout"] = TIMEOUT
    if column == GAUSS:
        options |= {"method": "ScanNewtonImplicit", "tableau": GAUSS}
    elif own and args.tableau:
        options["tableau"] = args.tableau
    pattern = problem.jac_sparsity
    if column == "LSODA" and pattern is not None:
        rows, columns = pattern.nonzero()
        return options | {
            "lband": int((rows - columns).max()),
            "uband": int((columns - rows).max()),
        }
    if column in ("RK23", "RK45", "DOP853"):
        return options
    if args.jac and problem.jac is not None:
        options["jac"] = problem.jac
    elif pattern is not None and column != "ScanNewton":
        options["jac_sparsity"] = pattern
    return options


def run_once(problem: Problem, rtol: float, options: dict, clock):
    """Solve once; return the result and the seconds it took."""
    solve_ivp = find_solver(options["method"])
    y0 = np.array(problem.y0)
    start = clock()
    result = solve_ivp(
        problem.fun,
        problem.t_span,
        y0,
        rtol=rtol,
        atol=rtol * ATOL_FACTOR,
        **options,
    )
    return result, clock() - start


def first_run(problem: Problem, rtol: float, options: dict) -> Point:
    """Solve once, and record what was achieved; its time does not count."""
    point = Point(rtol)
    try:
        result, point.first_seconds = run_once(
            problem, rtol, options, time.perf_counter
        )
    except Exception as exc:  # a benchmark reports a crash and goes on
        point.message = f"{type(exc).__name__}: {exc}"
        return point
    if result.status < 0:
        point.message = f"-1: {result.message}"
        return point
    point.error = problem.error(result.y[:, -1])
    if not np.isfinite(point.error):
        point.message = "the end point is not finite"
    point.nsteps = len(result.t) - 1
    point.nit = result.get("nit")
    point.nfev = result.nfev
    return point


def first_runs(problem: Problem, options: dict) -> list[Point]:
    """Sweep the tolerances until they become too slow."""
    points: list[Point] = []
    for rtol in RTOLS:
        if points and points[-1].first_seconds > SLOW_SECONDS:
            slow = f"not run: {points[-1].rtol:.0e} took over {SLOW_SECONDS:.0f} s"
            points += [Point(tighter, message=slow) for tighter in RTOLS[len(points) :]]
            break
        points.append(first_run(problem, rtol, options))
    return points


def measure(problem: Problem, columns: dict, clock) -> dict[str, list[Point]]:
    """Sweep the tolerances on one problem, again and again.

    `columns` holds the options by the name of the column.
    """
    curves = {
        column: first_runs(problem, options) for column, options in columns.items()
    }
    for repeat in range(MAX_REPEATS):
        for row in zip(*curves.values(), strict=True):
            for options, point in zip(columns.values(), row, strict=True):
                done = repeat >= MIN_REPEATS and sum(point.times) > SECONDS_PER_POINT
                if point.solved and not done:
                    point.times += warm_times(problem, point, options, clock)
    return curves


def warm_times(problem: Problem, point: Point, options: dict, clock) -> list[float]:
    """Seconds of some runs in a row."""
    shortest = min([point.first_seconds, *point.times])
    n_runs = math.ceil(ROW_SECONDS / shortest)
    runs = range(n_runs + (n_runs > 1))
    times = [run_once(problem, point.rtol, options, clock)[1] for _ in runs]
    return times[-n_runs:]


def hull(points: list[Point]) -> tuple[np.ndarray, np.ndarray]:
    """Return errors (decreasing) and times (increasing) of the unbeaten points."""
    errors, times = [], []
    solved = (p for p in points if p.solved)
    for point in sorted(solved, key=lambda p: (p.seconds, p.error)):
        error = max(point.error, 1e-17)  # an exact hit still needs a logarithm
        if not errors or error < errors[-1]:
            errors.append(error)
            times.append(point.seconds)
    return np.array(errors), np.array(times)


def time_to_reach(points: list[Point], target: float) -> float:
    """Interpolate the time for a target error; inf where it is never reached."""
    errors, times = hull(points)
    if errors.size == 0 or errors[-1] > target:
        return np.inf
    # A target looser than the whole curve costs what the cheapest run costs.
    return float(np.exp(np.interp(-np.log(target), -np.log(errors), np.log(times))))


def ratios(
    curves: dict[str, list[Point]], comparison: Comparison, rounding: float = 0.0
) -> dict[float, float]:
    """Return the figure of merit by target, where both sides reach it."""
    found = {}
    for target in (t for t in TARGETS if t >= rounding):
        ours = time_to_reach(curves[comparison.challenger], target)
        theirs = min(
            time_to_reach(curves[rival], target)
            for rival in comparison.rivals
            if rival in curves
        )
        if np.isfinite(ours) and np.isfinite(theirs):
            found[target] = theirs / ours
    return found


def geometric_mean(values) -> float:
    """Geometric mean; NaN of nothing."""
    values = list(values)
    return float(np.exp(np.mean(np.log(values)))) if values else float("nan")


def print_curves(name: str, curves: dict[str, list[Point]]) -> None:
    """Print one problem's runs side by side: error, milliseconds, steps, iterations."""
    print(f"\n{name}")
    print("  rtol  " + "".join(f"| {m:<34}" for m in curves))
    print("        " + "| error      ms    steps  nit    nfev " * len(curves))
    for row in zip(*curves.values(), strict=True):
        line = f"  {row[0].rtol:5.0e} "
        for point in row:
            if point.solved:
                nit = "-" if point.nit is None else point.nit
                line += (
                    f"| {point.error:7.1e} {1e3 * point.seconds:8.2f} "
                    f"{point.nsteps:6d} {nit!s:>4} {point.nfev:7d}"
                )
            else:
                line += f"| {point.message[:35]:<35}"
        print(line)


def print_ratios(
    comparison: Comparison, all_curves: dict[str, dict[str, list[Point]]]
) -> None:
    """Print the figures of merit of one comparison and their summary."""
    table = {
        name: ratios(curves, comparison, PROBLEMS[name].rounding)
        for name, curves in all_curves.items()
    }
    width = max(map(len, table))
    rivals = " and ".join(comparison.rivals)
    whose = f"the better of {rivals}" if comparison.rivals[1:] else rivals
    print(f"\nTime of {whose} / time of {comparison.challenger} to reach an error")
    print(f"{'':{width}} " + "".join(f"{target:8.0e}" for target in TARGETS))
    for name, found in table.items():
        cells = "".join(
            f"{found[t]:8.2f}" if t in found else "       -" for t in TARGETS
        )
        print(f"{name:{width}} {cells}")
    means = [geometric_mean(f[t] for f in table.values() if t in f) for t in TARGETS]
    print(f"{'geom. mean':{width}} " + "".join(f"{mean:8.2f}" for mean in means))
    for limit in comparison.limits:
        print_summary(table, limit)
    cells = [
        (ratio, name, t) for name, found in table.items() for t, ratio in found.items()
    ]
    if cells:
        ratio, name, target = min(cells)
        print(f"worst single ratio: {ratio:.2f}, {name} at error {target:.0e}")


def print_summary(table: dict[str, dict[float, float]], limit: float) -> None:
    """Print the mean over the problems and the worst of them."""
    # Each problem counts once, however many of the targets it reaches.
    per_problem = {
        name: geometric_mean(r for t, r in found.items() if t <= limit * 1.001)
        for name, found in table.items()
    }
    per_problem = {name: mean for name, mean in per_problem.items() if mean > 0}
    if not per_problem:
        print(f"errors <= {limit:.0e}: reached by both sides on no problem")
        return
    worst = min(per_problem, key=per_problem.__getitem__)
    print(
        f"errors <= {limit:.0e}: geometric mean over {len(per_problem)} problems "
        f"{geometric_mean(per_problem.values()):.2f}, worst problem {worst} "
        f"{per_problem[worst]:.2f}"
    )


def print_loose(
    challenger: str, rival: str, all_curves: dict[str, dict[str, list[Point]]]
) -> None:
    """Print the ratio of times at the rival's error of the loosest tolerance."""
    width = max(map(len, all_curves))
    print(
        f"\nTime of {rival} at rtol {RTOLS[0]:.0e} / time of {challenger} to reach the "
        "same error"
    )
    found = {}
    for name, curves in all_curves.items():
        theirs = curves[rival][0]
        ours = time_to_reach(curves[challenger], theirs.error)
        if theirs.solved and np.isfinite(ours):
            found[name] = theirs.seconds / ours
            print(f"{name:{width}} {found[name]:8.2f}  at error {theirs.error:.0e}")
        else:
            print(f"{name:{width}}        -")
    if found:
        print(
            f"{'geom. mean':{width}} {geometric_mean(found.values()):8.2f}\n"
            f"{'worst':{width}} {min(found.values()):8.2f}"
        )


def print_calibration(
    challenger: str, rival: str, all_curves: dict[str, dict[str, list[Point]]]
) -> None:
    """Print the error of the challenger over the rival's at equal tolerances."""
    width = max(map(len, all_curves))
    print(f"\nEnd-point error of {challenger} / that of {rival} at the same tolerances")
    print(f"{'':{width}} " + "".join(f"{rtol:>9.0e}" for rtol in CALIBRATION_RTOLS))
    columns: dict[float, dict[str, float]] = {rtol: {} for rtol in CALIBRATION_RTOLS}
    for name, curves in all_curves.items():
        line = ""
        for rtol, column in columns.items():
            ours, theirs = (
                next(p for p in curves[m] if np.isclose(p.rtol, rtol, rtol=1e-6))
                for m in (challenger, rival)
            )
            if ours.solved and theirs.solved:
                # What is less is rounding, and above 1 no digit is right: the size
                # says nothing.
                least = max(1e-16, PROBLEMS[name].rounding)
                column[name] = np.divide(*np.clip([ours.error, theirs.error], least, 1))
                line += f"{column[name]:9.1e}"
            else:
                line += f"{'failed':>9}"
        print(f"{name:{width}} {line}")
    for label, statistic in (("worst (largest)", max), ("geom. mean", geometric_mean)):
        cells = "".join(
            f"{statistic(column.values()):9.1e}" if column else "        -"
            for column in columns.values()
        )
        print(f"{label:{width}} {cells}")


def print_memory(problem: Problem, columns: dict) -> None:
    """Print the peak memory of the solvers on a large problem."""
    n = len(problem.y0)
    print(
        f"  memory at rtol {MEMORY_RTOL:.0e}; a dense Jacobian takes {8 * n * n} bytes"
    )
    for column, options in columns.items():
        tracemalloc.start()
        try:
            result, _ = run_once(problem, MEMORY_RTOL, options, time.perf_counter)
            peak = tracemalloc.get_traced_memory()[1]
        except Exception as exc:
            print(f"  {column:<20} {type(exc).__name__}: {exc}")
            continue
        finally:
            tracemalloc.stop()
        steps = len(result.t) - 1
        print(
            f"  {column:<20} peak {peak / 2**20:8.2f} MiB, {steps:6d} steps, "
            f"{peak / steps:10.0f} bytes per step"
        )


def save_plot(path: str, all_curves: dict[str, dict[str, list[Point]]]) -> None:
    """Draw time against error, one panel per problem."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        sys.exit('--plot needs matplotlib: pip install "parivp[plot]"')
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = min(4, len(all_curves))
    rows = -(-len(all_curves) // columns)
    fig, axes = plt.subplots(
        rows,
        columns,
        figsize=(3.6 * columns, 3.1 * rows),
        squeeze=False,
        layout="constrained",
    )
    for ax in axes.flat[len(all_curves) :]:
        ax.set_visible(False)
    for ax, (name, curves) in zip(axes.flat, all_curves.items(), strict=False):
        for method, points in curves.items():
            solved = [p for p in points if p.solved]
            ax.loglog(
                [max(p.error, 1e-17) for p in solved],
                [1e3 * p.seconds for p in solved],
                "o-",
                markersize=3,
                linewidth=1 if hasattr(scipy.integrate, method) else 2,
                label=method,
            )
        ax.invert_xaxis()
        ax.set_title(name, fontsize="medium")
        ax.grid(alpha=0.3)
    axes[0, 0].legend(fontsize="small")
    fig.supxlabel("relative error at the end point")
    fig.supylabel("time [ms]")
    fig.savefig(path, dpi=120)
    print(f"plot saved to {path}")


def parse(argv):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.work_precision",
        description=__doc__,
        epilog="Pin the process to one core (Linux: taskset -c 0 python -m ...), which "
        "also keeps BLAS to one thread; on a machine with other load add --cpu-time.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--stiff", action="store_true", help="stiff problems and the methods for them"
    )
    kind.add_argument(
        "--gauss",
        action="store_true",
        help=f"a column for ScanNewtonImplicit with tableau {GAUSS}",
    )
    parser.add_argument(
        "--problems",
        help="comma-separated, or 'nonstiff' or 'stiff' for all of these; default: "
        f"{','.join(NONSTIFF_PROBLEMS)}, or with --stiff {','.join(STIFF_PROBLEMS)}",
    )
    parser.add_argument(
        "--methods", help="comma-separated; default: all of the comparison"
    )
    parser.add_argument("--plot", metavar="FILE", help="save the curves as a picture")
    parser.add_argument(
        "--tableau", help="tableau of the method of parivp; its default where not given"
    )
    parser.add_argument(
        "--jac",
        action="store_true",
        help="give every method that takes it the Jacobian where there is one",
    )
    parser.add_argument(
        "--cpu-time", action="store_true", help="measure CPU time, not elapsed time"
    )
    args = parser.parse_args(argv)
    args.comparisons = (
        [IMPLICIT, FORTRAN]
        if args.stiff
        else [EXPLICIT, GAUSSIAN]
        if args.gauss
        else [EXPLICIT]
    )
    if args.methods:
        args.methods = args.methods.split(",")
    else:
        rivals = [rival for c in args.comparisons for rival in c.rivals]
        challengers = [c.challenger for c in args.comparisons]
        args.methods = list(dict.fromkeys(rivals + challengers))
    args.problems = choose_problems(args.problems, args.stiff)
    unknown = [name for name in args.problems if name not in PROBLEMS]
    if unknown:
        parser.error(f"unknown problems {unknown}; known: {', '.join(PROBLEMS)}")
    return args


def choose_problems(names: str | None, stiff: bool) -> list[str]:
    """Return the names of the problems asked for."""
    if names is None:
        return list(STIFF_PROBLEMS if stiff else NONSTIFF_PROBLEMS)
    if names in ("nonstiff", "stiff"):
        return [p.name for p in PROBLEMS.values() if names in p.tags]
    return names.split(",")


def report(args, all_curves: dict[str, dict[str, list[Point]]]) -> None:
    """Print what the curves of all problems say."""
    for comparison in args.comparisons:
        if comparison.challenger in args.methods and set(comparison.rivals) & set(
            args.methods
        ):
            print_ratios(comparison, all_curves)
    rival = "Radau" if args.stiff else "RK45"
    for challenger in dict.fromkeys(c.challenger for c in args.comparisons):
        if challenger in args.methods and rival in args.methods:
            if args.stiff:
                print_loose(challenger, rival, all_curves)
            print_calibration(challenger, rival, all_curves)


def main(argv=None):
    """Run the benchmark."""
    args = parse(argv)
    # BDF and LSODA warn where they fail, which the curves show.
    warnings.simplefilter("ignore")
    start = time.perf_counter()
    clock = time.process_time if args.cpu_time else time.perf_counter
    all_curves = {}
    for name in args.problems:
        problem = PROBLEMS[name]
        columns = {m: find_options(problem, m, args) for m in args.methods}
        all_curves[name] = measure(problem, columns, clock)
        print_curves(name, all_curves[name])
        if "large" in problem.tags:
            print_memory(problem, columns)
        sys.stdout.flush()
    report(args, all_curves)
    if args.plot:
        save_plot(args.plot, all_curves)
    print(f"\n{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
