"""The window loop of implicit methods: errors are estimated on a rough solution."""

import math

import numpy as np

from ._affine import guess_coarsely, solve_affine
from ._mesh import smooth
from ._newton import NewtonResult, newton
from ._predictor import Trajectory
from ._solver import WindowLoop

__all__ = ["ImplicitLoop"]

# The rough solution has this power of the predictor's tolerance: the mesh that
# meets the tolerance is extrapolated from it.
ROUGHNESS = 0.75
ROUGH_TOL, MAX_ROUGH = 0.1, 6
# A rough mesh with more steps than are needed by this factor is made anew.
GOOD_EXCESS = 4.0
# Steps of the predictor to one of the first rough mesh: so many at this tolerance,
# somewhat more where the solution need not be smooth to as many digits.
FIRST_RATIO, LEAST_RATIO, AT_RTOL, COARSENING = 3.5, 3.0, 1e-6, 0.08
# At least so many, and one in each step, show whether the function of a linear problem
# broadcasts.
SINGLE_CALLS = 48


class ImplicitLoop(WindowLoop):
    """Integrate by an implicit method under error control."""

    # Newton's method squares its error, so that accuracy costs little; at 0.1 the
    # end points of relaxation oscillations were a hundred times worse.
    newton_tol = 1e-3
    aim = 0.4  # estimates on a rough solution hardly change on the one proper
    tightest_predictor = 0.0
    patience = 4
    # all but the calls of `fun` is cheaper in windows, and those are not many more
    loops_pay = True

    def __post_init__(self):
        super().__post_init__()
        rtol = float(np.min(self.settings.rtol))
        self.ratio = max(LEAST_RATIO, FIRST_RATIO * (rtol / AT_RTOL) ** COARSENING)
        self.rough_quality = 1.0, math.inf  # share of steps that converged, deviation
        settings = self.settings
        default = settings.window is None and settings.initial_guess is None
        self._affine = None if default else False

    @property
    def affine(self):
        """Whether the problem is solved as a linear one; None where that is open."""
        return self._affine

    @affine.setter
    def affine(self, affine):
        self._affine = affine
        if self.discretization.jac is None:
            self.discretization.jacobian.affine = affine

    def iteration_cost(self):
        """Single steps that cost as much as an iteration."""
        return 0.3

    def _learn(self, result, mesh, guess):
        """Judge the guess by the rough solution, where there was one."""
        if isinstance(guess, Trajectory):
            self._resize(*self.rough_quality)
        else:
            super()._learn(result, mesh, guess)

    def solve(self, mesh, Y, rough):
        """Solve all steps from a guess, perhaps that of a rough `NewtonResult`."""
        if not self.affine:
            return super().solve(mesh, Y, None, kept=rough and rough.kept)
        if rough is not None:
            return rough  # which is the solution already
        tol, slack = self._newton_tol, self._slack()
        disc = self.discretization
        result = solve_affine(disc, mesh, self.y, Y, tol=tol, slack=slack)
        self.affine = result.n_converged == mesh.shape[0] - 1
        return result

    def _predict(self):
        """Return a first mesh and a guess for the window to come, or None twice."""
        if self.affine is not False:
            mesh, guess = guess_coarsely(self)
            if mesh is not None:
                return mesh, guess
            self.affine = False
        return super()._predict()

    def confirm(self, result):
        """Compare broadcast values of `fun` with single calls, on the solution.

        Where no predictor has made any, at many points.
        """
        if not self.affine:
            return super().confirm(result)
        rhs, disc = self.discretization.rhs, self.discretization
        agreed = rhs.confirmed(*disc.sample(result, SINGLE_CALLS), everywhere=True)
        self.suspect |= not agreed and self.nsteps > 0
        return agreed

    def _give_up(self):
        """Leave the next steps to others."""
        if self.affine:
            self.affine, self.trial, self.n_failures = False, None, 0
        else:
            super()._give_up()

    def fit(self, mesh, guess):
        """Equidistribute the errors of a rough solution on a coarse mesh.

        The guess is too rough for estimates of high order. Newton's method needs
        few iterations for a solution somewhat better than it, whose polynomials
        are the guess on the mesh proper.
        """
        if isinstance(guess, NewtonResult):
            return mesh, guess.Y, guess
        if not isinstance(guess, Trajectory):
            return mesh, self.guessed(mesh, guess)[1], None
        xp, disc = self.xp, self.discretization
        rough = max(1.0, self._loosening()) ** ROUGHNESS
        result = newton(
            disc,
            mesh,
            self.y,
            self.guessed(mesh, guess)[1],
            tol=lambda x, _: ROUGH_TOL * rough * disc.scale(x[:, :-1], x[:, 1:]),
            max_iter=self.settings.max_newton or MAX_ROUGH,
        )
        self.record(result)
        if result.n_converged == 0:
            return None, None, None
        n_steps = mesh.shape[0] - 1
        self.rough_quality = result.n_converged / n_steps, result.deviation
        K, h, error = self.errors(result)
        mesh = result.mesh
        pieces = h / self.wanted(h, error)
        needed = float(xp.sum(pieces))
        used = guess.steps_between(self.t, mesh[-1])
        self.ratio = used / (needed * rough**disc.error_exponent)
        few = h.shape[0] <= GOOD_EXCESS * needed + 1 + self.n_graded
        if few and float(xp.max(error)) <= 1:
            return mesh, result.Y, result
        rough_solution = disc.interpolant(mesh, result.x, K)
        mesh = self.remesh(mesh, h / smooth(pieces))
        return mesh, self.guessed(mesh, rough_solution)[1], None
