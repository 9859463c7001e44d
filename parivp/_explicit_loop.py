"""The window loop of explicit methods: errors are estimated on the guess."""

import math

import numpy as np

from ._mesh import prefix_below, smooth, split
from ._solver import WindowLoop

__all__ = ["ExplicitLoop"]

# Steps with a larger error than this are split; a mesh with steps to be split
# into more pieces than the second number, or with more steps than are needed by
# the third factor, is made anew.
GOOD_ERROR, LARGEST_SPLIT, GOOD_EXCESS = 0.8, 2.0, 1.5
MESH_PASSES = 4
# A window that fills no more points than this takes as long as the calls it makes:
# more steps than are needed are no loss.
SMALL_WINDOW, SMALL_EXCESS = 160, 2.5
LARGEST = float(np.finfo(np.float64).max)  # of the numbers that are finite
# Up to this size a second look at a mesh takes the Jacobians along, which
# Newton's method then finds ready.
SMALL_SYSTEM = 4


class ExplicitLoop(WindowLoop):
    """Integrate by an explicit method under error control."""

    # Finite differences cost the square of the number of unknowns, so that beyond
    # this many single steps are faster (benchmarks/work_precision.py, pleiades).
    largest_system = 32
    newton_tol = 0.1

    def __post_init__(self):
        super().__post_init__()
        # as observed at first
        rtol = float(np.min(self.settings.rtol))
        self.ratio = 5.0 * (1e3 * rtol) ** -self.discretization.error_exponent
        self.enough = math.inf  # steps of the last mesh that are not too many

    def iteration_cost(self):
        """Single steps that cost as much as an iteration: more with more unknowns."""
        return 2 * (1 + self.y.size / 8)

    def _learn(self, result, mesh, guess):
        """Follow the number of steps that were needed."""
        super()._learn(result, mesh, guess)
        if self.settings.initial_guess is None:
            # a little finer than what came out: the next mesh may only be split
            n_steps = min(mesh.shape[0] - 1, self.enough)
            self.ratio = 0.9 * (guess.t.shape[0] - 1) / n_steps

    def fit(self, mesh, guess):
        """Equidistribute the errors that the steps make from guessed states.

        The guess is close enough for the estimates to hold later, so that
        Newton's method works on the final mesh from the start.
        """
        disc, xp = self.discretization, self.xp
        for k in range(MESH_PASSES):
            x, Y = self.guessed(mesh, guess)
            small = (1 + self.y.size) * mesh.shape[0] <= SMALL_WINDOW
            if small or (k > 0 and self.y.size <= SMALL_SYSTEM):
                linearization = disc.linearize(mesh, x[:, :-1], Y)
                F = linearization[1]
            else:
                linearization, (_, F) = None, disc.residual(mesh, x[:, :-1], Y)
            h = xp.abs(mesh[1:] - mesh[:-1])
            error = disc.error_norm(h, F, x[:, :-1], x[:, 1:])
            n = prefix_below(error, LARGEST)
            if n == 0:
                return None, None, None
            n_steps = h.shape[0]
            if n < n_steps:
                # what is beyond may be beyond a singularity
                mesh, Y, h, error = mesh[: n + 1], Y[..., :n], h[:n], error[:n]
                linearization, n_steps = None, n
            pieces = h / self.wanted(h, error)
            needed, others = float(xp.sum(pieces)), 1 + self.n_graded
            self.enough = GOOD_EXCESS * needed + others
            most = SMALL_EXCESS * needed + others if small else self.enough
            fits = n_steps <= most and float(xp.max(pieces)) <= LARGEST_SPLIT
            if fits or k == MESH_PASSES - 1:
                break
            mesh = self.remesh(mesh, h / smooth(pieces))
        large = ~(error <= GOOD_ERROR)
        if not bool(xp.any(large)):
            return mesh, Y, linearization
        mesh = split(mesh, xp.where(large, xp.ceil(pieces), 1.0))
        return mesh, self.guessed(mesh, guess)[1], None
