"""The window loop on a mesh that is given: the mode of the paper.

There is no error control: the result is the recursion's, to rounding.
"""

import math
from dataclasses import dataclass

import numpy as np

from ._array_namespace import errstate
from ._newton import newton
from ._predictor import Trajectory, predict
from ._result import IntegrationFailed
from ._sequential import steps_on_mesh
from ._solver import SMALLEST_WINDOW, WindowLoop

__all__ = ["FixedMeshLoop"]

# Newton's updates, relative to the size of the solution.
NEWTON_TOL = 1e-13
MAX_NEWTON = 50
# The guess is worth some accuracy, since the mesh may be much finer than what
# the predictor needs.
PREDICTOR_RTOL = 1e-6
MOST_PREDICTOR_STEPS = 100_000
FIRST_WINDOW = 8192


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
        self.index = 0
        self.max_steps = self.settings.max_steps or math.inf
        self.single_window = self.settings.window == math.inf
        self.window = self.settings.window or min(FIRST_WINDOW, self.most_steps)
        self.largest = self.window

    def start(self):
        """Nothing to choose; whether `fun` broadcasts shows on the way."""
        self.discretization.rhs.single(self.t, self.y)

    def accept(self, t, y):
        """Take over the steps (t, y) and hand them out."""
        segment = super().accept(t, y)
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
        guess = self.settings.initial_guess or self._predict_over(mesh)
        if guess is None:
            return self._shrink()
        if isinstance(guess, Trajectory):
            reached = self.direction * (mesh - guess.t[-1]) <= 0
            mesh = mesh[: max(2, int(np.count_nonzero(reached)))]
        x = guess(mesh)
        x[:, 0] = self.y
        result = newton(
            self.discretization,
            mesh,
            x,
            tol=self._newton_tol,
            max_iter=self.settings.max_newton or MAX_NEWTON,
            exact=self.single_window,
            shorten=not self.single_window,
        )
        self.record(result)
        n = result.n_converged
        if self.single_window and n < len(self.mesh) - 1:
            raise IntegrationFailed(
                f"Newton's method did not converge on the single window within "
                f"{len(result.residuals)} iterations. Use `window=None`, which "
                "divides the interval, or a better `initial_guess`."
            )
        if not self.confirm(result):
            return None
        if n == 0:
            self.discretization.check_jacobian(self.t, self.y)
            return self._shrink()
        if n == len(mesh) - 1:
            self.window = min(2 * self.window, self.largest)
        else:
            self.window = max(n, SMALLEST_WINDOW)
        return self.accept(mesh[: n + 1], result.x[:, : n + 1])

    def _predict_over(self, mesh):
        """Return a guess for the states on `mesh`, or None."""
        settings = self.settings
        tighten = PREDICTOR_RTOL / float(np.max(settings.rtol))
        return predict(
            self.discretization.rhs,
            self.t,
            self.y,
            float(mesh[-1]),
            MOST_PREDICTOR_STEPS,
            rtol=settings.rtol * tighten,
            atol=settings.atol * tighten,
            max_step=math.inf,
        )

    def _newton_tol(self, x, size):
        tol = self.settings.newton_tol
        return (NEWTON_TOL if tol is None else tol) * size
