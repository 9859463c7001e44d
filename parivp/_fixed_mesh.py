"""The window loop on a mesh that is given: the mode of the paper.

There is no error control: the result is the recursion's, to rounding.
"""

import math
from dataclasses import dataclass

import numpy as np

from ._array_namespace import errstate, running_max
from ._discretization import StepJacobians
from ._newton import newton
from ._predictor import predict
from ._result import IntegrationFailed
from ._sequential import steps_on_mesh
from ._solver import SMALLEST_WINDOW, WindowLoop

__all__ = ["FixedMeshLoop"]

# Newton's updates, relative to the size of the solution.
NEWTON_TOL = 1e-13
MAX_NEWTON = 50
# The guess is worth some accuracy, since the mesh may be much finer than what
# the predictor needs.
PREDICTOR_RTOL = 1e-5
# A trajectory serves further windows if the last one stayed this close to it.
GOOD_GUESS = 1e-3
EPS = np.finfo(np.float64).eps
# Jacobians evaluated for one step of the predictor.
SAMPLES = 4
FIRST_WINDOW = 10_240


@dataclass
class FixedMeshLoop(WindowLoop):
    """Solve the recursion on `mesh`, a window at a time.

    Parameters
    ----------
    mesh : ndarray, shape (N + 1,)
        From the initial time to `t_bound`.
    """

    mesh: np.ndarray | None = None

    def __post_init__(self):
        super().__post_init__()
        self.abrupt = 0.0  # short steps leave the guess by little at a time
        self.index = 0
        self.max_steps = self.settings.max_steps or math.inf
        self.single_window = self.settings.window == math.inf
        self.window = self.settings.window or min(FIRST_WINDOW, self.most_steps)
        self.largest = self.window
        self.guess = self.settings.initial_guess

    def start(self):
        """Nothing to choose; whether `fun` broadcasts shows on the way."""
        self.discretization.rhs.single(self.t, self.y)

    def accept(self, t, y, K=None):
        """Take over the steps (t, y) and hand them out."""
        segment = super().accept(t, y, K)
        self.index += len(segment.t) - 1
        return segment

    def main_loop(self):
        """Yield accepted segments until the mesh ends."""
        while self.index < len(self.mesh) - 1:
            self.check_limits()
            stop = int(min(self.index + self.window, len(self.mesh) - 1))
            mesh = self.mesh[self.index : stop + 1]
            if self.parallel():
                with errstate(np):
                    segment = self._advance_on(mesh)
                if segment is not None:
                    yield segment
            else:
                stop = min(self.index + SMALLEST_WINDOW, len(self.mesh) - 1)
                if self.discretization.rhs.time_vectorized is False:
                    stop = len(self.mesh) - 1
                yield from steps_on_mesh(self, self.mesh[self.index : stop + 1])
                self.window = min(2 * SMALLEST_WINDOW, self.largest)

    def _advance_on(self, mesh):
        """Solve the window `mesh`; return what converged, or None."""
        linearization = None
        if self.settings.initial_guess is None:
            mesh = self._predict_over(mesh)
        if self.guess is None:
            return self._shrink()
        x, Y = self._guessed(mesh, self.guess)
        coarse = self.discretization.tableau_kind == "explicit"
        if self.settings.initial_guess is None and coarse and not self.single_window:
            linearization = self._linearize_coarsely(mesh, x[:, :-1], Y)
        result = newton(
            self.discretization,
            mesh,
            self.y,
            Y,
            linearization=linearization,
            trusted=linearization is None and self.discretization.jac is None,
            tol=self._newton_tol,
            max_iter=self.settings.max_newton or MAX_NEWTON,
            exact=self.single_window,
            shorten=not self.single_window,
        )
        self.record(result)
        n = result.n_converged
        if self.single_window and n < len(self.mesh) - 1:
            raise IntegrationFailed(_single_window_failure(result, len(self.mesh) - 1))
        if self.settings.initial_guess is None and not result.deviation < GOOD_GUESS:
            self.guess = None
        if not self.confirm(result):
            return None
        if n == 0:
            self.discretization.check_jacobian(self.t, self.y)
            return self._shrink()
        if n == len(mesh) - 1:
            self.window = min(2 * self.window, self.largest)
        else:
            self.window = max(n, SMALLEST_WINDOW)
        result.cut(n)
        return self.accept(result.mesh, result.x, self.discretization.stages(result))

    def _predict_over(self, mesh):
        """See to a guess from here on; return the part of `mesh` it covers.

        One trajectory serves windows as long as their solutions stay close.
        """
        settings = self.settings
        if self.guess is None or self.direction * (self.guess.t[-1] - mesh[1]) < 0:
            tighten = PREDICTOR_RTOL / float(np.max(settings.rtol))
            self.guess = predict(
                self.discretization.predictor,
                self.discretization.rhs,
                self.t,
                self.y,
                self.t_bound,
                len(mesh),
                rtol=settings.rtol * tighten,
                atol=settings.atol * tighten,
                max_step=math.inf,
            )
        if self.guess is None:
            return mesh
        covered = self.direction * (mesh - self.guess.t[-1]) <= 0
        return mesh[: max(2, int(np.count_nonzero(covered)))]

    def _linearize_coarsely(self, mesh, x, Y):
        """Linearize the steps, with interpolated Jacobians where they are many.

        ``(D_k - I) / h_k`` varies as slowly as the solution, whose time scale
        the predictor's steps show; on a mesh much finer than those a cubic
        spline through a few values is near enough for Newton's method.
        """
        # a third of the package's import time, for fine meshes only
        from scipy.interpolate import CubicSpline

        t, h = self.direction * mesh[:-1], np.diff(mesh)
        inside = np.abs(self.guess.t - mesh[0]) <= abs(mesh[-1] - mesh[0])
        samples = SAMPLES * (1 + int(np.count_nonzero(inside)))
        if len(h) < 4 * samples:
            return None
        steps = np.unique(np.linspace(0, len(h) - 1, samples).astype(int))
        _, _, D = self.discretization.differentiate(mesh, x, steps)
        if not np.isfinite(D).all():
            return None
        identity = np.eye(len(D))[:, :, None]
        slope = CubicSpline(t[steps], (D - identity) / h[steps], axis=-1)
        residual, K = self.discretization.residual(mesh, x, Y)
        return residual, K, StepJacobians(identity + h * slope(t))

    def _newton_tol(self, x, size):
        tol = self.settings.newton_tol
        tol = NEWTON_TOL if tol is None else tol
        return max(tol, 4 * EPS * math.sqrt(size.shape[1])) * running_max(np, size)


def _single_window_failure(result, n_steps):
    """Say why Newton's method failed, and what to try."""
    n_iterations = len(result.residuals)
    finite = np.isfinite(result.x).all() and n_iterations > 0
    reason = "did not converge" if finite else "met values that are not finite"
    return (
        f"Newton's method on the single window of {n_steps} steps {reason} "
        f"within {n_iterations} iterations. Use `window=None`, which divides the "
        "interval, or a better `initial_guess`."
    )
