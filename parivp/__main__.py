"""The demo: ``python -m parivp`` solves the papers' problems, beside SciPy."""

import argparse
import statistics
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.integrate

import parivp

from ._ivp import METHODS
from ._problems import PROBLEMS, Problem

# Order of the papers' sections; a subset can be asked for by name.
DEMO_PROBLEMS = (
    "logistic",
    "van_der_pol",
    "cart_pole",
    "dahlquist",
    "robertson",
    "parode_toy",
)
ATOL_FACTOR = 1e-3
REPEATS = 5
# The tableau of ScanNewtonImplicit where problems are smooth and not stiff.
SMOOTH = "GaussLegendre12"
# A slow solve is repeated only while all its runs stay within this time.
SECONDS_PER_SOLVER = 1.0
PLOT_NEEDS = '--plot needs matplotlib: pip install "parivp[plot]"'


@dataclass
class Run:
    """What one method achieved on one problem."""

    method: str
    result: Any
    error: float
    seconds: float


def own_methods() -> list[str]:
    """Names of the solvers that parivp itself provides, the default one first."""
    return list(METHODS)


def methods_for(problem: Problem) -> tuple[str, ...]:
    """Methods of choice for a problem, those of parivp first."""
    if problem.stiff:
        return ("ScanNewtonImplicit", "Radau", "BDF", "LSODA")
    return (*own_methods(), "RK45", "DOP853")


def solve(problem: Problem, method: str, rtol: float, timeout: float, **options):
    """Solve once, through the `solve_ivp` that the method belongs to."""
    own = method in own_methods()
    solve_ivp = parivp.solve_ivp if own else scipy.integrate.solve_ivp
    if method == "ScanNewtonImplicit" and not problem.stiff:
        options["tableau"] = SMOOTH
    return solve_ivp(
        problem.fun,
        problem.t_span,
        problem.y0,
        method=method,
        rtol=rtol,
        atol=rtol * ATOL_FACTOR,
        **({"timeout": timeout} if own and timeout < np.inf else {}),
        **options,
    )


def measure(problem: Problem, method: str, rtol: float, timeout: float) -> Run:
    """Solve once to warm up, then several times for the median time."""
    start = time.perf_counter()
    result = solve(problem, method, rtol, timeout)
    first = time.perf_counter() - start
    error = problem.error(result.y[:, -1]) if result.success else np.nan
    seconds: list[float] = []
    repeats = REPEATS if result.success else 0
    while len(seconds) < repeats and first + sum(seconds) < SECONDS_PER_SOLVER:
        start = time.perf_counter()
        solve(problem, method, rtol, timeout)
        seconds.append(time.perf_counter() - start)
    return Run(method, result, error, statistics.median(seconds or [first]))


def print_problem(problem: Problem) -> None:
    """Print a problem's heading."""
    first, last = problem.t_span
    kind = "stiff" if problem.stiff else "non-stiff"
    count = len(problem.y0)
    equations = f"{count} equation" + ("s" if count > 1 else "")
    print(f"\n{problem.name}: {kind}, {equations}, t from {first:g} to {last:g}")
    print(f"  {'method':<20}{'error':>9}{'time [ms]':>11}{'steps':>9}{'Newton':>8}")


def print_run(run: Run) -> None:
    """Print one method's row: what it achieved, or why it stopped."""
    milliseconds, nsteps = 1e3 * run.seconds, len(run.result.t) - 1
    nit = run.result.get("nit", "-")
    error = f"{run.error:.1e}" if run.result.success else "-"
    print(f"  {run.method:<20}{error:>9}{milliseconds:>11.2f}{nsteps:>9}{nit:>8}")
    if not run.result.success:
        message = " ".join(run.result.message.split())
        print(
            textwrap.indent(
                textwrap.fill(f"{run.result.status}: {message}", 76), "    "
            )
        )


def paper_histories(problems: list[Problem]) -> dict[str, np.ndarray]:
    """Residual norms per Newton iteration in the papers' fixed-step mode."""
    histories = {}
    for problem in problems:
        if problem.dt is None:
            continue
        method, tableau = (
            ("ScanNewtonImplicit", "BackwardEuler")
            if problem.stiff
            else ("ScanNewton", "RK4")
        )
        first, last = problem.t_span
        result = parivp.solve_ivp(
            problem.fun,
            problem.t_span,
            problem.y0,
            method=method,
            tableau=tableau,
            n_steps=round((last - first) / problem.dt),
            window=np.inf,
            initial_guess=problem.initial_guess,
            jac=problem.jac if problem.stiff else None,
        )
        histories[problem.name] = np.concatenate(result.newton_residuals)
    return histories


def print_histories(histories: dict[str, np.ndarray]) -> None:
    """Print the residual norms of the papers' mode, problem by problem."""
    if not histories:
        return
    print(
        "\nThe paper's setting: all steps at once from a constant guess, RK4 with"
        "\nsteps of 0.01, for stiff problems backward Euler with steps of 0.1."
        "\nLargest residual at each Newton iteration:"
    )
    for name, norms in histories.items():
        values = " ".join(f"{norm:.0e}" for norm in norms)
        print(
            textwrap.fill(
                values,
                80,
                initial_indent=f"  {name:<14}",
                subsequent_indent=" " * 16,
                break_on_hyphens=False,
            )
        )


def plot_trajectory(ax, problem: Problem, runs: list[Run], rtol: float) -> None:
    """Draw the first method that reached the end; parivp's own come first."""
    run = next((run for run in runs if run.result.success), None)
    if run is None:
        ax.set_title(f"{problem.name}: not solved", fontsize="medium")
        return
    sol = solve(problem, run.method, rtol, np.inf, dense_output=True).sol
    first, last = problem.t_span
    t, factor = np.linspace(first, last, 500), np.ones(len(problem.y0))
    if problem.name == "robertson":
        t = np.geomspace(1e-6, last, 500)
        factor[1] = 1e4  # this component never exceeds 4e-5
        ax.set_xscale("log")
    for k, component in enumerate(sol(t)):
        times = f" x {factor[k]:g}" if factor[k] != 1 else ""
        ax.plot(t, factor[k] * component, linewidth=1, label=f"y[{k}]{times}")
    if 1 < len(factor) < 5:
        ax.legend(fontsize="x-small")
    ax.set_title(f"{problem.name} ({run.method})", fontsize="medium")
    ax.set_xlabel("t")


def plot(path: Path, solved, histories: dict[str, np.ndarray], rtol: float) -> None:
    """Save the trajectories and the residual histories as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = len(solved) + bool(histories)
    columns = min(4, panels)
    rows = -(-panels // columns)
    size = (3.5 * columns, 2.8 * rows)
    fig, axes = plt.subplots(
        rows, columns, figsize=size, squeeze=False, layout="constrained"
    )
    for ax in axes.flat[panels:]:
        ax.set_visible(False)
    for ax, (problem, runs) in zip(axes.flat, solved, strict=False):
        plot_trajectory(ax, problem, runs, rtol)
    if histories:
        ax = axes.flat[panels - 1]
        for name, norms in histories.items():
            ax.semilogy(norms, "o-", markersize=3, label=name)
        ax.set_title("residual norm, the paper's setting", fontsize="medium")
        ax.set_xlabel("Newton iteration")
        ax.legend(fontsize="x-small", loc="upper right")
    fig.savefig(path, dpi=130)
    plt.close(fig)
    print(f"\nplot saved to {path}")


def positive(text: str) -> float:
    """Read a positive number of the command line."""
    value = float(text)
    if not 0 < value < np.inf:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text}")
    return value


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m parivp",
        description="Solve the test problems of the papers behind parivp with its "
        "methods, beside SciPy's, and print what they achieved.",
    )
    parser.add_argument(
        "--rtol",
        type=positive,
        default=1e-6,
        help="relative tolerance; atol is 1e-3 of it (default: %(default)g)",
    )
    parser.add_argument(
        "--problems",
        nargs="+",
        choices=list(PROBLEMS),
        default=list(DEMO_PROBLEMS),
        metavar="NAME",
        help=f"some of: {', '.join(PROBLEMS)} (default: the papers' six)",
    )
    parser.add_argument(
        "--timeout",
        type=positive,
        default=5.0,
        help="seconds after which a parivp method gives up (default: %(default)g)",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="save trajectories and residual histories",
    )
    return parser


def check_plot(path: Path) -> None:
    """Exit with advice where no plot can be saved, before anything is solved."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ModuleNotFoundError:
        sys.exit(PLOT_NEEDS)
    if not path.absolute().parent.is_dir():
        sys.exit(f"--plot: there is no directory {path.parent}")
    known = FigureCanvasBase.get_supported_filetypes()
    if path.suffix and path.suffix[1:].lower() not in known:
        sys.exit(
            f"--plot: expected a file name ending in one of {', '.join(known)}, "
            f"got {path}"
        )


def main(argv: list[str] | None = None) -> None:
    """Run the demo."""
    args = build_parser().parse_args(argv)
    if args.plot:
        check_plot(args.plot)
    problems = [PROBLEMS[name] for name in args.problems]
    print(f"rtol = {args.rtol:g}, atol = {args.rtol * ATOL_FACTOR:g}; times are warm.")
    print(
        "error: largest relative error of the end point (absolute where it is zero)."
        "\nNewton: iterations, each over all steps of a window at once."
        f"\nScanNewtonImplicit has the tableau {SMOOTH} on non-stiff problems, its"
        "\ndefault on stiff ones; each problem is solved by the methods for its kind."
    )
    solved = []
    for problem in problems:
        print_problem(problem)
        runs = []
        for method in methods_for(problem):
            run = measure(problem, method, args.rtol, args.timeout)
            print_run(run)
            runs.append(run)
        solved.append((problem, runs))
    histories = paper_histories(problems)
    print_histories(histories)
    if args.plot:
        plot(args.plot, solved, histories, args.rtol)


if __name__ == "__main__":
    main()
