"""Time to reach an accuracy: ScanNewton beside SciPy's RK45 and DOP853.

Run as ``taskset -c 0 python -m benchmarks.work_precision``.

Every method solves every problem at rtol 1e-3 ... 1e-13 with atol = rtol * 1e-3.
The achieved error is the largest relative error of the end point over its
components, each measured relative to max(|ref_i|, 1e-3 max|ref|). A time is the
median of several warm runs. Each repetition goes through all tolerances, the
methods taking turns, so that a slow spell of the machine falls on all of them and
is left out by the median.

The time a method needs for an error is read off its curve: of its points only
those are kept that no other point beats in both error and time, and between
them log(time) is interpolated linearly in log(error). A target is compared only
where ScanNewton and at least one SciPy method reach it. The figure of merit is

    ratio = min(time of RK45, time of DOP853) / time of ScanNewton,

above 1 where ScanNewton is faster.
"""

import argparse
import statistics
import sys
import time
from dataclasses import dataclass, field

import numpy as np
import scipy.integrate

from parivp._problems import PROBLEMS, Problem

RTOLS = tuple(10.0**-k for k in range(3, 14))
ATOL_FACTOR = 1e-3
TARGETS = tuple(10.0**-k for k in range(3, 11))
CALIBRATION_RTOLS = (1e-3, 1e-6, 1e-9)
CHALLENGER = "ScanNewton"
RIVALS = ("RK45", "DOP853")
DEFAULT_PROBLEMS = (
    "logistic",
    "van_der_pol",
    "van_der_pol_long",
    "cart_pole",
    "lotka_volterra",
    "arenstorf",
    "pleiades",
    "lorenz",
)
# A run is repeated until it has taken this long, or MAX_REPEATS times.
SECONDS_PER_POINT = 0.15
MAX_REPEATS = 9
MIN_REPEATS = 3


@dataclass
class Point:
    """One method on one problem at one tolerance."""

    rtol: float
    error: float = np.inf
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


def run_once(problem: Problem, method: str, rtol: float, options: dict, clock):
    """Solve once; return the result and the seconds it took."""
    solve_ivp = find_solver(method)
    y0 = np.array(problem.y0)
    start = clock()
    result = solve_ivp(
        problem.fun,
        problem.t_span,
        y0,
        method=method,
        rtol=rtol,
        atol=rtol * ATOL_FACTOR,
        **options,
    )
    return result, clock() - start


def first_run(problem: Problem, method: str, rtol: float, options: dict) -> Point:
    """Solve once, untimed, and record what was achieved."""
    point = Point(rtol)
    try:
        result, _ = run_once(problem, method, rtol, options, time.perf_counter)
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


def measure(problem: Problem, methods, options: dict, clock) -> dict[str, list[Point]]:
    """Sweep the tolerances on one problem, again and again."""
    curves: dict[str, list[Point]] = {
        m: [first_run(problem, m, rtol, options.get(m, {})) for rtol in RTOLS]
        for m in methods
    }
    for repeat in range(MAX_REPEATS):
        for row in zip(*curves.values(), strict=True):
            for method, point in zip(curves, row, strict=True):
                done = repeat >= MIN_REPEATS and sum(point.times) > SECONDS_PER_POINT
                if point.solved and not done:
                    _, seconds = run_once(
                        problem, method, point.rtol, options.get(method, {}), clock
                    )
                    point.times.append(seconds)
    return curves


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


def ratios(curves: dict[str, list[Point]]) -> dict[float, float]:
    """Return the figure of merit by target, where both sides reach it."""
    found = {}
    for target in TARGETS:
        ours = time_to_reach(curves[CHALLENGER], target)
        theirs = min(
            time_to_reach(curves[rival], target) for rival in RIVALS if rival in curves
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


def print_ratios(table: dict[str, dict[float, float]]) -> None:
    """Print the figures of merit and their summary."""
    width = max(map(len, table))
    rivals = " and ".join(RIVALS)
    print(f"\nTime of the better of {rivals} / time of {CHALLENGER} to reach an error")
    print(f"{'':{width}} " + "".join(f"{target:8.0e}" for target in TARGETS))
    for name, found in table.items():
        cells = "".join(
            f"{found[t]:8.2f}" if t in found else "       -" for t in TARGETS
        )
        print(f"{name:{width}} {cells}")
    means = [geometric_mean(f[t] for f in table.values() if t in f) for t in TARGETS]
    print(f"{'geom. mean':{width}} " + "".join(f"{mean:8.2f}" for mean in means))
    print_summary(table)


def print_summary(table: dict[str, dict[float, float]]) -> None:
    """Print the mean over the problems and the worst of them."""
    for limit in (1e-6, 1e-9):
        # Each problem counts once, however many of the targets it reaches.
        per_problem = {
            name: geometric_mean(r for t, r in found.items() if t <= limit * 1.001)
            for name, found in table.items()
        }
        per_problem = {
            name: mean for name, mean in per_problem.items() if np.isfinite(mean)
        }
        if not per_problem:
            print(f"errors <= {limit:.0e}: reached by both sides on no problem")
            continue
        worst = min(per_problem, key=per_problem.__getitem__)
        print(
            f"errors <= {limit:.0e}: geometric mean over {len(per_problem)} problems "
            f"{geometric_mean(per_problem.values()):.2f}, worst problem {worst} "
            f"{per_problem[worst]:.2f}"
        )
    cells = [
        (ratio, name, t) for name, found in table.items() for t, ratio in found.items()
    ]
    if cells:
        ratio, name, target = min(cells)
        print(f"worst single ratio: {ratio:.2f}, {name} at error {target:.0e}")


def print_calibration(all_curves: dict[str, dict[str, list[Point]]]) -> None:
    """Print the error of ScanNewton over RK45's at equal tolerances."""
    width = max(map(len, all_curves))
    print(f"\nEnd-point error of {CHALLENGER} / that of RK45 at the same tolerances")
    print(f"{'':{width}} " + "".join(f"{rtol:>9.0e}" for rtol in CALIBRATION_RTOLS))
    columns: dict[float, dict[str, float]] = {rtol: {} for rtol in CALIBRATION_RTOLS}
    for name, curves in all_curves.items():
        line = ""
        for rtol, column in columns.items():
            ours, theirs = (
                next(p for p in curves[m] if np.isclose(p.rtol, rtol, rtol=1e-6))
                for m in (CHALLENGER, "RK45")
            )
            if ours.solved and theirs.solved:
                # Below 1e-16 an error is rounding; its size says nothing.
                column[name] = max(ours.error, 1e-16) / max(theirs.error, 1e-16)
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
                linewidth=2 if method == CHALLENGER else 1,
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
    parser.add_argument(
        "--problems",
        default=",".join(DEFAULT_PROBLEMS),
        help="comma-separated, or 'nonstiff' for all of these; default: %(default)s",
    )
    parser.add_argument(
        "--methods",
        default=",".join((*RIVALS, CHALLENGER)),
        help="comma-separated; default: %(default)s",
    )
    parser.add_argument("--plot", metavar="FILE", help="save the curves as a picture")
    parser.add_argument(
        "--tableau", help=f"tableau of {CHALLENGER}; its default where not given"
    )
    parser.add_argument(
        "--jac",
        action="store_true",
        help=f"give {CHALLENGER} the Jacobian where there is one",
    )
    parser.add_argument(
        "--cpu-time", action="store_true", help="measure CPU time, not elapsed time"
    )
    parser.add_argument(
        "--stiff",
        action="store_true",
        help="reserved: no method for stiff problems exists yet",
    )
    args = parser.parse_args(argv)
    if args.stiff:
        parser.error("--stiff is reserved: parivp has no method for stiff problems yet")
    args.methods = args.methods.split(",")
    if args.problems == "nonstiff":
        args.problems = [p.name for p in PROBLEMS.values() if not p.stiff]
    else:
        args.problems = args.problems.split(",")
    unknown = [name for name in args.problems if name not in PROBLEMS]
    if unknown:
        parser.error(f"unknown problems {unknown}; known: {', '.join(PROBLEMS)}")
    return args


def main(argv=None):
    """Run the benchmark."""
    args = parse(argv)
    start = time.perf_counter()
    clock = time.process_time if args.cpu_time else time.perf_counter
    all_curves, table = {}, {}
    for name in args.problems:
        problem = PROBLEMS[name]
        options = {}
        if args.tableau:
            options["tableau"] = args.tableau
        if args.jac and problem.jac is not None:
            options["jac"] = problem.jac
        curves = measure(problem, args.methods, {CHALLENGER: options}, clock)
        all_curves[name] = curves
        print_curves(name, curves)
        if CHALLENGER in curves and set(RIVALS) & set(curves):
            table[name] = ratios(curves)
    if table:
        print_ratios(table)
    if CHALLENGER in args.methods and "RK45" in args.methods:
        print_calibration(all_curves)
    if args.plot:
        save_plot(args.plot, all_curves)
    print(f"\n{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
