"""Predictors that need no other solver: what follows one after another.

Run ``python -m benchmarks.native_predictor``. On a GPU an operation takes as long for
ten thousand points as for one, so that calls of the right-hand side one after another
are what a solution costs, and not the points evaluated. The tables have these calls,
of the predictor / of all, and the Newton iterations, for candidates and their
tolerances:

- ROS4, RODAS3, RODAS4: Rosenbrock steps of order 4, 3 and 4, with 3, 3 and 6 calls;
  parivp takes the first for ScanNewton, the second for ScanNewtonImplicit;
- RK45: SciPy's class, for problems that are not stiff;
- LSODA: what is used for NumPy arrays, to compare.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.integrate import LSODA, RK45

import parivp
from parivp._predictor import Predictor
from parivp._problems import PROBLEMS
from parivp._result import IntegrationFailed
from parivp._rosenbrock import RODAS3, ROS4, RosenbrockTableau

# E. Hairer, G. Wanner, "Solving Ordinary Differential Equations II: Stiff and
# Differential-Algebraic Problems", 2nd ed., Springer, 1996, IV.10, code RODAS: order 4,
# L-stable.
RODAS4 = RosenbrockTableau(
    gamma=0.25,
    a=(
        (1.544,),
        (0.9466785280815826, 0.2557011698983284),
        (3.314825187068521, 2.896124015972201, 0.9986419139977817),
        (1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950),
        (
            1.221224509226641,
            6.019134481288629,
            12.53708332932087,
            -0.6878860361058950,
            1.0,
        ),
    ),
    c=(
        (-5.6688,),
        (-2.430093356833875, -0.2063599157091915),
        (-0.1073529058151375, -9.594562251023355, -20.47028614809616),
        (7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160),
        (
            8.083246795921522,
            -7.981132988064893,
            -31.52159432874371,
            16.31930543123136,
            -6.058818238834054,
        ),
    ),
    alpha=(0.0, 0.386, 0.21, 0.63, 1.0, 1.0),
    gammas=(0.25, -0.1043, 0.1035, -0.0362, 0.0, 0.0),
    error_order=3,
)

EXPLICIT = ("logistic", "van_der_pol", "cart_pole", "lotka_volterra", "arenstorf")
EXPLICIT += ("lorenz", "brusselator")
IMPLICIT = ("robertson", "hires", "oregonator", "van_der_pol_stiff", "flame")
TOLERANCES = (1e-3, 1e-6, 1e-9)


@dataclass(frozen=True)
class Candidate:
    """A predictor.

    Attributes
    ----------
    name : str
    rtol : float
        Tolerance of the predictor.
    classes : tuple of OdeSolver
        Empty for steps in array operations.
    tableau : RosenbrockTableau
    """

    name: str
    rtol: float
    classes: tuple = ()
    tableau: RosenbrockTableau = ROS4

    def predictor(self, slopes):
        """Make the predictor."""
        return Predictor(self.classes, self.rtol, slopes, tableau=self.tableau)


CANDIDATES = (
    Candidate("ROS4", 1e-1, tableau=ROS4),
    Candidate("ROS4", 1e-2, tableau=ROS4),
    Candidate("ROS4", 1e-3, tableau=ROS4),
    Candidate("RODAS3", 1e-1, tableau=RODAS3),
    Candidate("RODAS3", 1e-2, tableau=RODAS3),
    Candidate("RODAS3", 1e-3, tableau=RODAS3),
    Candidate("RODAS4", 1e-1, tableau=RODAS4),
    Candidate("RODAS4", 1e-2, tableau=RODAS4),
    Candidate("RK45", 1e-2, classes=(RK45,)),
    Candidate("RK45", 1e-3, classes=(RK45,)),
    Candidate("LSODA", 1e-4, classes=(LSODA,)),
)


def count(problem, method, rtol, candidate):
    """Count calls of the predictor, all calls and iterations; None if it failed."""
    n_calls = 0

    def fun(t, y):
        nonlocal n_calls
        n_calls += 1
        return problem.fun(t, y)

    solver = getattr(parivp, method)(
        fun,
        problem.t_span[0],
        np.array(problem.y0),
        problem.t_span[1],
        rtol=rtol,
        atol=1e-3 * rtol,
        time_vectorized=True,
        max_steps=20_000,
    )
    loop, n_predicted = solver.loop, 0
    slopes = loop.discretization.predictor.slopes
    loop.discretization.predictor = candidate.predictor(slopes)
    predict = loop._predict

    def counting():
        nonlocal n_predicted
        before = n_calls
        guess = predict()
        n_predicted += n_calls - before
        return guess

    loop._predict = counting
    try:
        while solver.next_segment() is not None:
            pass
    except IntegrationFailed:
        return None
    return n_predicted, n_calls, loop.nit


def main():
    """Print both tables."""
    for method, names in (("ScanNewton", EXPLICIT), ("ScanNewtonImplicit", IMPLICIT)):
        candidates = CANDIDATES
        if method == "ScanNewtonImplicit":
            candidates = [c for c in CANDIDATES if c.name != "RK45"]
        print(f"\n{method}: calls of the predictor / all calls, Newton iterations")
        heads = [f"{c.name} {c.rtol:.0e}" for c in candidates]
        print(f"{'':24s}" + "".join(f"{head:>18s}" for head in heads))
        totals = {head: [] for head in heads}
        for name in names:
            for rtol in TOLERANCES:
                print(f"{name:18s}{rtol:6.0e}", end="")
                for head, candidate in zip(heads, candidates, strict=True):
                    counts = count(PROBLEMS[name], method, rtol, candidate)
                    totals[head].append(counts[1] if counts else math.inf)
                    text = "{}/{}, {}".format(*counts) if counts else "failed"
                    print(f"{text:>18s}", end="", flush=True)
                print()
        means = [math.exp(np.mean(np.log(totals[head]))) for head in heads]
        print(f"{'geometric mean':24s}" + "".join(f"{m:18.0f}" for m in means))


if __name__ == "__main__":
    main()
