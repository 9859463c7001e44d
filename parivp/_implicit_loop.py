"""The window loop of implicit methods: errors are estimated on a rough solution."""

import math

import numpy as np

from ._mesh import smooth
from ._newton import newton
from ._predictor import Trajectory
from ._solver import WindowLoop

__all__ = ["ImplicitLoop"]

# The rough solution has this power of the predictor's tolerance: the mesh that
# meets the tolerance is extrapolated from it.
ROUGHNESS = 0.75
ROUGH_TOL, MAX_ROUGH = 0.1, 6
# A rough mesh with more steps than are needed by this factor is made anew.
GOOD_EXCESS = 1.5
# Steps of the predictor to one of the first rough mesh.
FIRST_RATIO = 4.0
# With band matrices it grows with the tolerance, to 8 at 1e-3.
TIGHT, COARSENING = 1e-9, 0.05


class ImplicitLoop(WindowLoop):
    """Integrate by an implicit method under error control."""

    # Newton's method squares its error, so that accuracy costs little; at 0.1 the
    # end points of relaxation oscillations were a hundred times worse.
    newton_tol = 1e-3
    tightest_predictor = 0.0
    patience = 4
    # all but the calls of `fun` is cheaper in windows, and those are not many more
    loops_pay = True

    def __post_init__(self):
        super().__post_init__()
        self.ratio = FIRST_RATIO
        if self.discretization.structure is not None:
            # steps are solved one after another there: fewer, where they suffice
            rtol = float(np.min(self.settings.rtol))
            self.ratio *= max(1.0, (rtol / TIGHT) ** COARSENING)
        self.rough_quality = 1.0, math.inf  # share of steps that converged, deviation

    def iteration_cost(self):
        """Single steps that cost as much as an iteration."""
        return 0.3

    def _learn(self, result, mesh, guess):
        """Judge the guess by the rough solution, where there was one."""
        if isinstance(guess, Trajectory):
            self._resize(*self.rough_quality)
        else:
            super()._learn(result, mesh, guess)

    def fit(self, mesh, guess):
        """Equidistribute the errors of a rough solution on a coarse mesh.

        The guess is too rough for estimates of high order. Newton's method needs
        few iterations for a solution somewhat better than it, whose polynomials
        are the guess on the mesh proper.
        """
        if not isinstance(guess, Trajectory):
            return mesh, self._guessed(mesh, guess)[1], None
        disc, rough = self.discretization, max(1.0, self._loosening()) ** ROUGHNESS
        result = newton(
            disc,
            mesh,
            self.y,
            self._guessed(mesh, guess)[1],
            tol=lambda x, _: ROUGH_TOL * rough * disc.scale(x[:, :-1], x[:, 1:]),
            max_iter=self.settings.max_newton or MAX_ROUGH,
        )
        self.record(result)
        if result.n_converged == 0:
            return None, None, None
        n_steps = mesh.shape[0] - 1
        self.rough_quality = result.n_converged / n_steps, result.deviation
        result.cut(result.n_converged)
        mesh, x, K = result.mesh, result.x, disc.stages(result)
        steps = mesh[1:] - mesh[:-1]
        error = disc.error_norm(steps, K, x[:, :-1], x[:, 1:], self.slope)
        xp, h = self.xp, self.xp.abs(steps)
        pieces = h / self._wanted(h, error)
        needed = float(xp.sum(pieces))
        used = guess.steps_between(self.t, mesh[-1])
        self.ratio = used / (needed * rough**disc.error_exponent)
        few = h.shape[0] <= GOOD_EXCESS * needed + 1 + self.n_graded
        if few and float(xp.max(error)) <= 1:
            return mesh, result.Y, None
        mesh = self._remesh(mesh, h / smooth(pieces))
        return mesh, self._guessed(mesh, disc.interpolant(result.mesh, x, K))[1], None
