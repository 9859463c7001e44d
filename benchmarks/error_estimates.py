"""The guards of DOP853's error estimate: what they cost, and what they prevent.

Run ``python -m benchmarks.error_estimates``. The first table has the ratio of
the guards' norm, unscaled, to the fifth-order estimate over all steps of smooth
problems: it is nearly constant, so that scaled by its inverse they change
little. The second has the errors of problems whose right-hand side jumps, with
the guards (ScanNewton) and without (SciPy's DOP853), over many phases.
"""

import numpy as np

import parivp
from parivp._problems import PROBLEMS

SMOOTH = ("logistic", "van_der_pol", "cart_pole", "lotka_volterra", "lorenz")
SCALE = 0.1  # of the guards, relative to the norm of the estimate's weights


def guard_ratios(problem, rtol):
    """Ratio of the guards' norm to the estimate, for every step."""
    solution = parivp.solve_ivp(
        problem.fun, problem.t_span, problem.y0, rtol=rtol, atol=1e-3 * rtol
    )
    tableau = parivp.TABLEAUS["DOP853"]
    t, x, h = solution.t[:-1], solution.y[:, :-1], np.diff(solution.t)
    stages = []
    for a, c in zip(tableau.a, tableau.c, strict=True):
        y = x + h * np.tensordot(a[: len(stages)], np.array(stages), 1) if stages else x
        stages.append(np.array(problem.fun(t + c * h, y)))
    scale = 1e-3 * rtol + rtol * np.abs(x)
    weights = tableau.error_weights[:-1, : tableau.n_stages]
    estimates = np.tensordot(weights, np.array(stages), 1) / scale
    squares = np.sum(estimates**2, axis=1)
    estimate, guards = squares[0], np.sum(squares[1:], axis=0)
    return np.sqrt(guards[estimate > 0] / estimate[estimate > 0]) / SCALE


def jump_errors(method, phases, rtol):
    """End-point errors of ``y' = sign(sin(20 t + phase)) - y`` on [0, 10]."""
    errors = []
    for phase in phases:
        solution = parivp.solve_ivp(
            lambda t, y, phase=phase: np.sign(np.sin(20 * t + phase)) - y,
            (0, 10),
            [0.0],
            method,
            rtol=rtol,
            atol=1e-3 * rtol,
        )
        errors.append(abs(solution.y[0, -1] - jump_solution(phase)))
    return np.array(errors)


def jump_solution(phase, end=10.0):
    """Exact end point, from one jump to the next."""
    jumps = (np.arange(1, 100) * np.pi - phase) / 20
    t, y = 0.0, 0.0
    for jump in [*jumps[(jumps > 0) & (jumps < end)], end]:
        sign = np.sign(np.sin(10 * (t + jump) + phase))
        y = sign + (y - sign) * np.exp(t - jump)
        t = jump
    return y


def main():
    """Print both tables."""
    print("Norm of the guards / fifth-order estimate, percentiles over the steps")
    print(f"{'problem':18}{'rtol':>7}{'5 %':>8}{'50 %':>8}{'95 %':>8}")
    for name in SMOOTH:
        for rtol in (1e-3, 1e-6, 1e-9):
            low, middle, high = np.percentile(
                guard_ratios(PROBLEMS[name], rtol), [5, 50, 95]
            )
            print(f"{name:18}{rtol:7.0e}{low:8.1f}{middle:8.1f}{high:8.1f}")
    phases = np.linspace(0, 3, 20)
    print(f"\ny' = sign(sin(20 t + phase)) - y, {len(phases)} phases, errors at t = 10")
    print(f"{'method':18}{'rtol':>7}{'median':>10}{'largest':>10}")
    for rtol in (1e-4, 1e-6, 1e-8):
        for method in ("RK45", "DOP853", "ScanNewton"):
            errors = jump_errors(method, phases, rtol)
            print(
                f"{method:18}{rtol:7.0e}{np.median(errors):10.1e}{errors.max():10.1e}"
            )


if __name__ == "__main__":
    main()
