"""The window loop on a mesh that is given: the mode of the paper.

There is no error control: the result is the recursion's, to rounding.
"""

import math
from dataclasses import dataclass

import numpy as np

from ._array_namespace import (
    array_namespace,
    block_size,
    copied,
    first_true,
    keep_pages,
    like,
    running_max,
)
from ._discretization import StepJacobians
from ._newton import newton
from ._predictor import predict, predict_at
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
# It is asked for at every so many points of the mesh, fewer where there would be
# less than so many of them, and so many steps ahead.
STRIDE, FEWEST_POINTS, HORIZON = 16, 1024, 2**17
# A trajectory serves further windows if the last one stayed this close to it.
GOOD_GUESS = 1e-3
EPS = float(np.finfo(np.float64).eps)
# Jacobians evaluated for one step of the predictor.
SAMPLES = 2
FIRST_WINDOW = 10_240
# Steps of the predictor for a window, however short: it may start with small ones.
FEWEST_STEPS = 256


@dataclass
class FixedMeshLoop(WindowLoop):
    """Solve the recursion on `mesh`, a window at a time.

    Parameters
    ----------
    mesh : array, shape (N + 1,)
        From the initial time to `t_bound`.
    """

    mesh: np.ndarray | None = None

    def __post_init__(self):
        super().__post_init__()
        self.mesh = self.times(self.mesh)
        self.n_points = self.mesh.shape[0]
        self.abrupt = 0.0  # short steps leave the guess by little at a time
        self.index = 0
        self.max_steps = self.settings.max_steps or math.inf
        self.max_newton = self.settings.max_newton or MAX_NEWTON
        self.single_window = self.settings.window == math.inf
        first = min(block_size(self.xp, FIRST_WINDOW), self.most_steps)
        self.window = self.settings.window or first
        self.largest = self.window
        self.guess = self.settings.initial_guess
        self.easy = True  # whether the predictor may take the times of the mesh
        self.measured = None, None  # sizes of states, and what follows from them

    def start(self):
        """Nothing to choose; whether `fun` broadcasts shows on the way."""
        self.discretization.rhs.first(self.t, self.y)
        if self.parallel():
            n, n_steps = self.y.size, int(min(self.window, self.n_points))
            n_arrays = n + self.discretization.tableau.n_stages + 12
            keep_pages(self.y, n_steps * n * n_arrays)

    def accept(self, t, y, K=None):
        """Take over the steps (t, y) and hand them out."""
        segment = super().accept(t, y, K)
        self.index += segment.t.shape[0] - 1
        return segment

    def main_loop(self):
        """Yield accepted segments until the mesh ends."""
        while self.index < self.n_points - 1:
            self.check_limits()
            stop = int(min(self.index + self.window, self.n_points - 1))
            mesh = self.mesh[self.index : stop + 1]
            if self.parallel():
                segment = self.attempt(self._advance_on, mesh)
                if segment is not None:
                    yield segment
            else:
                stop = min(self.index + SMALLEST_WINDOW, self.n_points - 1)
                if self.discretization.rhs.time_vectorized is False:
                    stop = self.n_points - 1
                yield from steps_on_mesh(self, self.mesh[self.index : stop + 1])
                self.window = min(2 * SMALLEST_WINDOW, self.largest)

    def _advance_on(self, mesh):
        """Solve the window `mesh`; return what converged, or None."""
        linearization = None
        if self.settings.initial_guess is None:
            mesh = self._predict_over(mesh)
        if self.guess is None:
            return self._shrink()
        x, Y = self.guessed(mesh, self.guess)
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
            max_iter=self.max_newton,
            exact=self.single_window,
            shorten=not self.single_window,
        )
        self.record(result)
        n = result.n_converged
        if self.single_window and n < self.n_points - 1:
            raise IntegrationFailed(_single_window_failure(result, self.n_points - 1))
        if self.settings.initial_guess is None and not result.deviation < GOOD_GUESS:
            self.guess, self.easy = None, False
        if not self.confirm(result):
            return None
        if n == 0:
            self.discretization.check_jacobian(self.t, self.y)
            return self._shrink()
        replaced = n < (mesh.shape[0] - 1) // 2 and self._without_guess()
        if n == mesh.shape[0] - 1:
            self.largest = min(self.largest, max(self.most_steps, self.window))
            self.window = min(2 * self.window, self.largest)
        elif not replaced:  # otherwise the guess was too bad, not the window too long
            self.window = max(n, SMALLEST_WINDOW)
        result.cut(n)
        return self.accept(result.mesh, result.x, self.discretization.stages(result))

    def _without_guess(self):
        """Let the predictor make the next guess."""
        given = super()._without_guess()
        self.guess = None if given else self.guess
        return given

    def _predict_over(self, mesh):
        """See to a guess from here on; return the part of `mesh` it covers.

        One trajectory serves windows as long as their solutions stay close.
        """
        if self.guess is None or self.direction * (self.guess.t[-1] - mesh[1]) < 0:
            self.guess = self._predict(max(mesh.shape[0], FEWEST_STEPS))
        if self.guess is None:
            return mesh
        beyond = self.direction * (mesh - self.guess.t[-1]) > 0
        n = first_true(self.xp, beyond)
        if n < 2:
            self.guess = None
        return mesh[:n]

    def _predict(self, n_steps):
        """Return a trajectory from here on, or None."""
        disc, settings, guess = self.discretization, self.settings, None
        # without SciPy's classes more iterations cost less than tight steps
        good = PREDICTOR_RTOL if disc.predictor.classes else disc.predictor.rtol
        tighten = good / float(np.max(settings.rtol))
        rtol, atol = settings.rtol * tighten, settings.atol * tighten
        if self.easy and disc.predictor.slopes and disc.predictor.classes:
            ahead = self.mesh[self.index + 1 : self.index + 1 + HORIZON]
            stride = min(max(len(ahead) // FEWEST_POINTS, 1), STRIDE)
            times = np.append(ahead[stride - 1 : -1 : stride], ahead[-1])
            guess = predict_at(disc.rhs, self.t, self.y, times, rtol=rtol, atol=atol)
            if guess and stride > 1 and guess.n_steps[-1] > len(times):
                guess = None  # cubics between these times would not follow it
        self.easy = guess is not None
        return guess or predict(
            disc.predictor,
            disc.rhs,
            self.t,
            self.y,
            self.t_bound,
            n_steps,
            rtol=rtol,
            atol=atol,
            max_step=math.inf,
        )

    def _linearize_coarsely(self, mesh, x, Y):
        """Linearize the steps, with interpolated Jacobians where they are many.

        ``(D_k - I) / h_k`` varies as slowly as the solution, whose time scale
        the predictor's steps show; on a mesh much finer than those cubics
        through a few values are near enough for Newton's method.
        """
        xp, h, n_steps = self.xp, mesh[1:] - mesh[:-1], mesh.shape[0] - 1
        samples = SAMPLES * (1 + self.guess.steps_between(mesh[0], mesh[-1]))
        stride = (n_steps - 1) // max(samples, 4)
        if stride < 4:
            return None
        residual, K = self.discretization.residual(mesh, x, Y)
        K = copied(K[:1, ...])  # no more is asked for; the others' memory is
        last = (n_steps - 1) // stride * stride
        steps = like(mesh, np.r_[:last:stride, last:n_steps])
        _, _, D = self.discretization.differentiate(mesh, x, steps)
        if not bool(xp.all(xp.isfinite(D))):
            return None
        identity = like(D, np.eye(D.shape[0])[:, :, None])
        D = _interpolate((D - identity) / xp.take(h, steps), last, stride)
        D *= h
        for i in range(D.shape[0]):
            D[i, i, :] += 1.0
        return residual, K, StepJacobians(D)

    def _newton_tol(self, x, size):
        tol = self.settings.newton_tol
        tol = NEWTON_TOL if tol is None else tol
        if size is not self.measured[0]:  # the same as long as Jacobians are kept
            largest = running_max(self.xp, size)
            largest *= max(tol, 4 * EPS * math.sqrt(size.shape[1]))
            self.measured = size, largest
        return self.measured[1]


def _interpolate(values, last, stride):
    """Cubic interpolation between every `stride`-th of N values along an axis.

    Parameters
    ----------
    values : ndarray, shape (..., m)
        Those of the indices 0, stride, ..., last, and all from there on.
    last, stride : int

    Returns
    -------
    ndarray, shape (..., N)
    """
    xp = array_namespace(values)
    shape, n_pieces = values.shape[:-1], last // stride
    values = xp.reshape(values, (-1, values.shape[-1]))
    coarse, rest = values[:, : n_pieces + 1], values[:, n_pieces:]
    # the cubics through the first four and the last four serve two pieces
    extrapolation = like(values, [4.0, -6.0, 4.0, -1.0])
    first = coarse[:, :4] @ extrapolation
    beyond = coarse[:, -4:] @ xp.flip(extrapolation)
    padded = xp.concat([first[:, None], coarse, beyond[:, None]], axis=1)
    neighbours = xp.stack([padded[:, k : k + n_pieces] for k in range(4)], axis=-1)
    s = np.arange(stride) / stride
    weights = np.stack(
        [
            -s * (s - 1) * (s - 2) / 6,
            (s + 1) * (s - 1) * (s - 2) / 2,
            -(s + 1) * s * (s - 2) / 2,
            (s + 1) * s * (s - 1) / 6,
        ]
    )
    pieces = xp.reshape(neighbours @ like(values, weights), (values.shape[0], last))
    return xp.reshape(xp.concat([pieces, rest], axis=1), (*shape, -1))


def _single_window_failure(result, n_steps):
    """Say why Newton's method failed, and what to try."""
    n_iterations = len(result.residuals)
    xp = array_namespace(result.x)
    finite = n_iterations > 0 and bool(xp.all(xp.isfinite(result.x)))
    reason = "did not converge" if finite else "met values that are not finite"
    return (
        f"Newton's method on the single window of {n_steps} steps {reason} "
        f"within {n_iterations} iterations. Use `window=None`, which divides the "
        "interval, or a better `initial_guess`."
    )
