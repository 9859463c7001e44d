"""The tables of the ParODE paper, and what they depend on.

Run as ``OPENBLAS_NUM_THREADS=1 taskset -c 0 python -m benchmarks.parode_paper``;
``--plot FILE`` draws the error against the size of the basis instead, with 200000
samples, the median of three draws; hollow where most of them did not converge.

The example is ``y' = -y**3 + sin(t)``, ``y(0) = 0.5``, at 201 equal times. "simple"
is the paper's equation (4), "residual" the equation that the program in its appendix
assembles. Errors are relative, in the Euclidean norm, against DOP853 at tolerances of
1e-13. "defect" is that of the appendix: forward differences of y minus f(y, t), in
the Euclidean norm; "initial" is abs(F(y0, t0) - y0). Iterations are counted from one,
the appendix counts from zero; a star marks the limit of 200, reached without
convergence. Times are of one solve, those of Newton's method the median of five.
"""

import argparse
import itertools
import statistics
import time
from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp

from parivp import _regression as regression

Y0, N_TIMES, RADIUS = 0.5, 201, 0.8
IC_WEIGHT, REG_LAMBDA, DAMPING = 1e3, 1e-8, 0.8
MAX_NEWTON, NEWTON_TOL = 200, 1e-10
INTERVALS = (0.1, 2.0)
# M = N, K, and Table II: iterations, error, defect, initial residual, seconds
TABLE_II = (
    (5, 3_000, "200*", 4.28e-1, 4.55e-1, "~0", 0.122),
    (5, 50_000, "200*", 1.168e-1, 2.9074, "~0", 0.124),
    (10, 200_000, "15", 3.28e-4, 5.167e-2, "2.22e-16", 0.0396),
    (10, 800_000, "200*", 3.235e-2, 3.6785, "1.11e-16", 0.154),
    (15, 800_000, "15", 3.02e-5, 3.9813e-2, "1.53e-13", 0.0380),
)
# Table I: t, RK4, the regression with 10 x 10 and 2e5 samples
TABLE_I = ((0.0, 0.5, 0.5), (0.01, 0.4988, 0.4989), (0.05, 0.4951, 0.4955))
TABLE_I += ((0.09, 0.4931, 0.4936),)
HEADER = (
    "  M x N        K   iter     error    defect   initial  fit s  Newton ms"
    "   | paper: iter     error    defect   initial  Newton ms"
)


def toy(t, y):
    return -(y**3) + np.sin(t)


@dataclass
class Case:
    """One regression and its fixed points."""

    n: int = 10
    n_samples: int = 200_000
    tf: float = 2.0
    formulation: str = "residual"
    basis: str = "monomial"
    reg_lambda: float = REG_LAMBDA
    damping: float = DAMPING
    seed: int = 0

    def __post_init__(self):  # noqa: D105
        half = self.tf / 2
        self.t = np.linspace(0.0, self.tf, N_TIMES)
        self.products = regression.ProductBasis(
            self.basis, (self.n, self.n), (Y0, RADIUS), (half, half)
        )
        self.initial = np.zeros(1), np.full(1, Y0)
        rng = np.random.default_rng(self.seed)
        self.points = regression.sample_box(
            rng, self.n_samples, Y0, RADIUS, 0.0, self.tf
        )

    def run(self):
        """Fit F and find its fixed points."""
        start = time.perf_counter()
        self.fitted = regression.regress(
            toy,
            self.products,
            self.formulation,
            self.points,
            self.initial,
            ic_weight=IC_WEIGHT,
            reg_lambda=self.reg_lambda,
        )
        self.fit_seconds = time.perf_counter() - start
        self.newton()
        return self

    def newton(self):
        """Find the fixed points; return the seconds it took."""
        start = time.perf_counter()
        with np.errstate(all="ignore"):
            self.y, change, residuals = regression.fixed_points(
                self.fitted,
                self.t,
                np.full(N_TIMES, Y0),
                damping=self.damping,
                tol=NEWTON_TOL,
                max_iter=MAX_NEWTON,
            )
        self.converged = bool(np.all(change < NEWTON_TOL))
        self.iterations = f"{len(residuals)}{'' if self.converged else '*'}"
        return time.perf_counter() - start

    @property
    def error(self):
        """Relative error of the trajectory."""
        exact = reference(self.t)
        return float(np.linalg.norm(self.y - exact) / np.linalg.norm(exact))

    @property
    def initial_residual(self):
        """How far F(y0, t0) is from y0."""
        return float(abs(self.fitted(*self.initial)[0][0] - Y0))

    def slopes(self):
        """Least and greatest ``abs(dF/dy - 1)`` along the trajectory."""
        distance = np.abs(self.fitted(self.t, self.y)[1] - 1)
        return distance.min(), distance.max()

    def condition(self):
        """Condition number of the matrix of the normal equations, eq. (7)."""
        matrix, _ = regression.normal_equations(
            toy, self.products, self.formulation, *self.points
        )
        P, Q = self.products.in_y(self.initial[1]), self.products.in_t(self.initial[0])
        phi = np.outer(P[0], Q[0]).ravel()
        matrix += IC_WEIGHT * np.outer(phi, phi)
        return np.linalg.cond(matrix + self.reg_lambda * np.eye(len(phi)))


def reference(t):
    solution = solve_ivp(
        toy, (0, t[-1]), [Y0], "DOP853", t_eval=t, rtol=1e-13, atol=1e-13
    )
    return solution.y[0]


def defect(t, y):
    """Finite-difference residual of the appendix."""
    slope = np.diff(y) / (t[1] - t[0])
    return float(np.linalg.norm(np.append(slope, slope[-1]) - toy(t, y)))


def limit_of_simple(t):
    """Find the fixed points that eq. (4) leads to with ever more monomials and samples.

    They are those of ``c(y) + int_0^t f(y, s) ds`` with the function ``c`` of shortest
    coefficients that has ``c(y0) = y0``: ``y0 (1 - y0**2) / (1 - y0 y)``.
    """
    y = np.full_like(t, Y0)
    for _ in range(50):
        c = Y0 * (1 - Y0**2) / (1 - Y0 * y)
        residual = c - t * y**3 + 1 - np.cos(t) - y
        y = y - residual / (c * Y0 / (1 - Y0 * y) - 3 * t * y**2 - 1)
    return y


def print_table_ii():
    for tf, formulation in itertools.product(INTERVALS, regression.FORMULATIONS):
        print(f"\nTable II, {formulation}, t in [0, {tf:g}]\n{HEADER}")
        for n, n_samples, *paper in TABLE_II:
            case = Case(n, n_samples, tf, formulation).run()
            seconds = statistics.median(case.newton() for _ in range(5))
            print(
                f"{n:>3} x {n:<3}{n_samples:>7} {case.iterations:>6} {case.error:9.2e} "
                f"{defect(case.t, case.y):9.2e} {case.initial_residual:9.1e} "
                f"{case.fit_seconds:6.2f} {1e3 * seconds:10.2f}   | "
                f"{paper[0]:>11} {paper[1]:9.2e} {paper[2]:9.2e} {paper[3]:>9} "
                f"{1e3 * paper[4]:10.1f}"
            )
        t = case.t
        print(f"  defect of the exact solution: {defect(t, reference(t)):.2e}")
        if formulation == "simple":
            exact = reference(t)
            off = np.linalg.norm(limit_of_simple(t) - exact) / np.linalg.norm(exact)
            apart = np.max(np.abs(case.y - limit_of_simple(t)))
            print(f"  error of its limit, in closed form: {off:.2e}")
            print(f"  largest distance of the last row from that: {apart:.1e}")


def print_table_i():
    case = Case().run()
    exact = reference(case.t)
    print("\nTable I, residual, 10 x 10, K = 200000, t in [0, 2]: the first ten times")
    print("     t     exact      ours   | paper:  RK4       F")
    for t, rk4, value in TABLE_I:
        k = round(t / case.t[1])
        print(
            f"{t:6.3f} {exact[k]:9.5f} {case.y[k]:9.5f}   |      {rk4:.4f}  {value:.4f}"
        )


def print_coefficients():
    print("\nThe two formulations, 10 x 10, K = 200000: coefficients, and slopes along")
    print("the trajectory")
    print(
        "                 largest coefficients         abs(dF/dy - 1), least, greatest"
    )
    print("              simple  residual  difference        simple           residual")
    for tf in INTERVALS:
        runs = [Case(tf=tf, formulation=name).run() for name in ("simple", "residual")]
        simple, residual = (case.fitted.coefficients for case in runs)
        largest = [np.max(np.abs(a)) for a in (simple, residual, simple - residual)]
        row = (
            f"  [0, {tf:3g}]  {largest[0]:9.1e} {largest[1]:9.1e} {largest[2]:9.1e}   "
        )
        for case in runs:
            row += "   {:.1e} {:.1e}".format(*case.slopes())
        print(row)


def print_spread():
    print(
        "\nResidual, t in [0, 2]: the same with other random points, and with the same"
    )
    print("points summed in blocks of other sizes")
    print(
        "  M x N        K   varied   runs  converged  error: least    median  greatest"
    )
    for (n, n_samples), varied in itertools.product(
        ((10, 200_000), (10, 800_000), (15, 200_000)), ("points", "blocks")
    ):
        runs = [_varied(n, n_samples, varied, k) for k in range(10)]
        errors = [case.error for case in runs]
        print(
            f"{n:>3} x {n:<3}{n_samples:>7}   {varied}  {len(runs):>5}  "
            f"{sum(case.converged for case in runs):>9}  {min(errors):12.1e} "
            f"{statistics.median(errors):9.1e} {max(errors):9.1e}"
        )


def _varied(n, n_samples, varied, k):
    if varied == "points":
        return Case(n, n_samples, seed=k).run()
    block = regression.BLOCK
    try:
        regression.BLOCK = block * (20 - k) // 20
        return Case(n, n_samples).run()
    finally:
        regression.BLOCK = block


def print_lambda():
    print("\nThe role of lambda: residual, t in [0, 2], K = 200000")
    print("and the least abs(dF/dy - 1) along the trajectory")
    print(f"{'':15}{'monomial':^37}{'chebyshev':^37}")
    columns = "  iter     error     slope condition  "
    print(f"  M x N  lambda{columns}{columns.rstrip()}")
    for n, lam in itertools.product((10, 15), (1.0, 1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 0)):
        row = f"{n:>3} x {n:<3}{lam:6.0e}"
        for basis in regression.BASES:
            case = Case(n, reg_lambda=lam, basis=basis).run()
            row += f"{case.iterations:>6} {case.error:9.2e} {case.slopes()[0]:9.1e}"
            row += f" {case.condition():9.1e}  "
        print(row.rstrip())


def print_damping():
    print(
        "\nThe role of damping: residual, 15 x 15, K = 200000, lambda = 1e-6, on [0, 2]"
    )
    print("  factor   iter     error")
    for damping in (0.5, 0.8, 0.9, 1.0):
        case = Case(15, damping=damping, reg_lambda=1e-6).run()
        print(f"  {damping:6.1f} {case.iterations:>6} {case.error:9.2e}")


def print_sequential():
    print("\nDOP853 on the same problem, t in [0, 2], at the same 201 times")
    print("    rtol     error        ms")
    t = np.linspace(0.0, 2.0, N_TIMES)
    exact = reference(t)
    for rtol in (1e-3, 1e-6, 1e-9):
        seconds = []
        for _ in range(20):
            start = time.perf_counter()
            solution = solve_ivp(
                toy, (0, 2), [Y0], "DOP853", t_eval=t, rtol=rtol, atol=1e-3 * rtol
            )
            seconds.append(time.perf_counter() - start)
        error = np.linalg.norm(solution.y[0] - exact) / np.linalg.norm(exact)
        print(f"{rtol:8.0e} {error:9.1e} {1e3 * statistics.median(seconds):9.2f}")


def plot(path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, 2, figsize=(8, 3.4), sharey=True, layout="constrained"
    )
    sizes = range(3, 17)
    for axis, tf in zip(axes, INTERVALS, strict=True):
        for formulation, colour in (("simple", "C3"), ("residual", "C0")):
            errors, converged = np.transpose(
                [_median_of_three(n, tf, formulation) for n in sizes]
            )
            converged = converged.astype(bool)
            axis.semilogy(sizes, errors, "-", color=colour, label=formulation)
            axis.semilogy(np.array(sizes)[converged], errors[converged], "o", c=colour)
            axis.semilogy(
                np.array(sizes)[~converged], errors[~converged], "o", c=colour, mfc="w"
            )
        axis.set(title=f"t in [0, {tf:g}]", xlabel="M = N")
    axes[0].set_ylabel("relative error")
    axes[1].legend(title="formulation")
    figure.savefig(path, dpi=120)


def _median_of_three(n, tf, formulation):
    runs = [Case(n, tf=tf, formulation=formulation, seed=k).run() for k in range(3)]
    return [
        statistics.median(value)
        for value in zip(*((case.error, case.converged) for case in runs), strict=True)
    ]


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.parode_paper",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--plot", metavar="FILE", help="draw into FILE instead")
    args = parser.parse_args(argv)
    if args.plot:
        plot(args.plot)
        return
    print_table_ii()
    print_table_i()
    print_coefficients()
    print_spread()
    print_lambda()
    print_damping()
    print_sequential()


if __name__ == "__main__":
    main()
