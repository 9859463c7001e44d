"""The window loop, shared by all methods.

    predict   a loose sequential pass gives a guess and a first mesh
    fit       error estimates of all steps at once, equidistributed
    newton    residual, linearization, affine scan, until the update is small
    judge     accept the prefix of steps that meet the tolerance
    leftover  what is beyond, with its own dense output as the next guess

A window of one step is the sequential method, so that the loop always ends.
"""

import gc
import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from ._array_namespace import (
    array_namespace,
    block_size,
    copied,
    errstate,
    is_numpy_namespace,
    keep_pages,
    like,
    new_arange,
)
from ._mesh import equidistribute, grade, prefix_below, smooth
from ._newton import newton
from ._predictor import predict
from ._result import IntegrationFailed, Segment
from ._sequential import (
    BLOCK,
    LARGEST_FACTOR,
    initial_step,
    smallest_step,
    steps_one_by_one,
)

__all__ = ["Settings", "WindowLoop"]

# How far one pass may shrink or stretch a step.
SHRINK, STRETCH = 0.05, 30.0
# A window without a bound ends at this many times the present time or step.
FARTHEST = 1e4
LARGEST_TIME = float(np.finfo(np.float64).max)
# Steps of the first mesh where there is no predictor to supply one.
FIRST_MESH = 32
# Windows are counted in steps of the predictor.
FIRST_WINDOW, SMALLEST_WINDOW, LARGEST_WINDOW = 256, 8, 8192
# Steps whose memory is kept for the next window.
KEPT_STEPS = 64
# A window grows by four if the guess was this good, by two if not much worse.
EASY, HARD = 1e-3, 0.02
# Where windows gain less than single steps would, those are taken, more of them
# every time.
MOST_SINGLE = 2048
MAX_NEWTON = 10
# The same where rounding errors do not let them become smaller.
LARGEST_NEWTON_TOL = 0.03
# Numbers that the linearization of a window may fill.
STAGE_STORAGE = 2**23
# So many steps are repeated by single calls where they leave the guess by more
# than so many tolerances of the predictor.
SUSPECTS, ABRUPT = 3, 10.0
MAX_STEPS = 10_000_000


@dataclass
class Settings:
    """What steers the loop; see `parivp.ScanNewton` for the meaning."""

    rtol: float | np.ndarray = 1e-3
    atol: float | np.ndarray = 1e-6
    first_step: float | None = None
    max_step: float = math.inf
    initial_guess: object = None
    window: float | None = None
    newton_tol: float | None = None
    max_newton: int | None = None
    max_steps: float | None = None


@dataclass
class WindowLoop:
    """Integrate from (t, y) to `t_bound` under error control.

    What differs between explicit and implicit methods is left to subclasses:
    how a mesh is fitted to a guess, and what is learnt from a window.

    Parameters
    ----------
    discretization : ExplicitRungeKutta
    t : float
    y : array, shape (n,)
    t_bound : float
    settings : Settings
    """

    discretization: object
    t: float
    y: np.ndarray
    t_bound: float
    settings: Settings
    nit: int = 0
    nsteps: int = 0
    newton_residuals: list = field(default_factory=list)
    abrupt: float = ABRUPT

    largest_system: ClassVar[float] = math.inf  # beyond it single steps are faster
    newton_tol: ClassVar[float]  # what updates may leave, in units of the tolerance
    tightest_predictor: ClassVar[float] = 1.0  # compared with the tolerance
    # Steps aim at this local error, in units of the tolerance, so that an estimate
    # which comes out somewhat larger on the final states still passes.
    aim: ClassVar[float] = 0.3
    patience: ClassVar[int] = 1  # windows that may gain nothing, one after the other
    loops_pay: ClassVar[bool] = False  # even where `fun` is called point by point

    def __post_init__(self):
        self.direction = 1.0 if self.t_bound >= self.t else -1.0
        self.xp = array_namespace(self.y)
        storage = max(1, self.discretization.step_storage(self.y))
        self.most_steps = max(2, block_size(self.xp, STAGE_STORAGE) // storage)
        keep_pages(self.y, KEPT_STEPS * storage)
        self.window = self.settings.window or FIRST_WINDOW
        self.max_steps = self.settings.max_steps or MAX_STEPS
        self.suspect = False  # whether steps were accepted before `fun` was found out
        self.h_next = None  # the step size wanted next
        self.h_first = math.inf  # bound on the first step of the next window
        self.n_graded = 0
        self.n_single = BLOCK // 2  # single steps between windows that fail
        self.trial = None  # mesh and guess left over from the last window
        self.n_failures = 0
        self.slope = None  # the derivative at the present time
        self.known_errors = None, None  # a result that is judged already
        self.ratio = 1.0  # steps of the predictor to one of the first mesh

    def segments(self):
        """Yield accepted segments until `t_bound` is reached.

        Raises
        ------
        IntegrationFailed
        """
        if self.y.size == 0 or self.t == self.t_bound:
            t = self.times([self.t, self.t_bound])
            yield self.accept(t, self.xp.repeat(self.y[:, None], 2, axis=1))
            return
        yield from self.main_loop()

    def main_loop(self):
        """Yield segments until the end, windows and single steps as they work."""
        if self.settings.first_step is not None:
            self.h_next = self.settings.first_step
            yield from steps_one_by_one(self, 1)
        while self.t != self.t_bound:
            self.check_limits()
            if self.parallel():
                segment = self.attempt(self._advance)
                if segment is not None:
                    yield segment
            else:
                yield from self._single_steps()

    def attempt(self, advance, *args):
        """Try a window; one that does not fit into memory is tried shorter next."""
        try:
            with errstate():
                return advance(*args)
        except MemoryError:
            if self.settings.window == math.inf:
                raise  # what was asked for is one window
            self.most_steps = max(1, int(min(self.window, self.most_steps)) // 4)
            self.window, self.trial = self.most_steps, None
            if not is_numpy_namespace(self.xp):
                gc.collect()  # which does not see how much of its memory is garbage
            if self.window < SMALLEST_WINDOW:
                self._give_up()
            return None

    def _single_steps(self):
        """Take steps one by one for a while, then try windows again.

        If the Jacobian was what failed in a window, it is asked for here where
        a sequential solver would ask, so that what it raises arrives.
        """
        for _ in range(0, self.n_single, BLOCK):
            if self.t != self.t_bound:
                self.check_limits()
                yield from steps_one_by_one(self)
        if self.parallel_pays():
            self.discretization.check_jacobian(self.t, self.y)
        self.window = self.settings.window or 2 * SMALLEST_WINDOW

    def start(self):
        """First step size; whether `fun` broadcasts, from a few first points."""
        rhs = self.discretization.rhs
        f0 = rhs.first(self.t, self.y)
        if self.y.size == 0 or self.t == self.t_bound:
            return
        self.slope = f0
        self.h_next = self.h_first = initial_step(self, f0)
        # as many points as nothing else in the problem is likely to have
        n_points = 4 if self.y.size != 4 else 5
        h = self.direction * self.h_next / (n_points - 1) * new_arange(f0, n_points)
        if rhs.time_vectorized is None:
            with errstate():
                rhs(self.t + h, self.y[:, None] + h * f0[:, None])

    def check_limits(self):
        """Stop where the user said so."""
        if self.nsteps >= self.max_steps:
            raise IntegrationFailed(
                f"The number of steps reached `max_steps` = "
                f"{self.max_steps} at t = {self.t:.15g}. Allow more, or loosen the "
                f"tolerances. {self.discretization.advice}".strip()
            )

    def accept(self, t, y, K=None):
        """Take over the steps (t, y) with stages `K` and hand them out."""
        n_steps = t.shape[0] - 1
        n = int(min(n_steps, self.max_steps - self.nsteps))
        if n < n_steps:
            t, y, self.trial = t[: n + 1], y[:, : n + 1], None
            K = None if K is None else K[..., :n]
        self.t, self.y = float(t[-1]), copied(y[:, -1])
        with errstate():
            self.h_first = LARGEST_FACTOR * abs(self.t - float(t[-2]))
            if K is not None:
                self.slope = self.discretization.end_slope(t[-1] - t[-2], K)
        self.nsteps += n
        return Segment(t, y, K)

    def parallel(self):
        """Whether to try a window of many steps next."""
        return self.window > 1 and self.parallel_pays()

    def parallel_pays(self):
        """Whether windows can be solved at once, and faster than step by step."""
        few = self.y.size <= self.largest_system or self.settings.window is not None
        return (
            few
            and (self.loops_pay or self.discretization.rhs.time_vectorized is not False)
            and self.settings.max_step > smallest_step(self.t)
        )

    # -- what subclasses do ------------------------------------------------

    def fit(self, mesh, guess):
        """Fit a mesh to a guess.

        Parameters
        ----------
        mesh : array, shape (N + 1,)
        guess : callable

        Returns
        -------
        mesh, Y : array
            The mesh and guessed unknowns, or None twice.
        linearization : tuple, NewtonResult or None
            What ``discretization.linearize`` gives there, if it is known, or a
            solution of which Y is the last iterate.
        """
        raise NotImplementedError

    def iteration_cost(self):
        """Single steps that cost as much as an iteration on a window."""
        raise NotImplementedError

    def _learn(self, result, mesh, guess):
        """Draw conclusions from the first solution of a window."""
        share = result.n_converged / (mesh.shape[0] - 1)
        self._resize(share, result.deviation)

    # -- one window --------------------------------------------------------

    def _advance(self):
        """Solve one window; return what was accepted, or None."""
        fresh = self.trial is None
        mesh, guess = self._predict() if fresh else self.trial
        self.trial = None
        if mesh is None:
            return self._shrink()
        mesh, Y, linearization = self.fit(mesh, guess)
        if mesh is None:
            return self._shrink()
        result = self.solve(mesh, Y, linearization)
        self.record(result)
        if not self.confirm(result):
            return None
        if result.n_converged == 0:
            self.discretization.check_jacobian(self.t, self.y)
            return self._shrink()
        if fresh:
            self._learn(result, mesh, guess)
        segment = self._judge(result)
        self._weigh(segment, len(result.residuals))
        return segment

    def solve(self, mesh, Y, linearization, kept=None):
        """Solve all steps from a guess; return a `NewtonResult`."""
        result = newton(
            self.discretization,
            mesh,
            self.y,
            Y,
            linearization=linearization,
            trusted=self.discretization.jac is None,
            tol=self._newton_tol,
            max_iter=self.settings.max_newton or MAX_NEWTON,
            slack=self._slack(),
            kept=kept,
        )
        result.kept = None  # most of the memory
        return result

    def _predict(self):
        """Return a first mesh and a guess for the window to come, or None twice."""
        settings, end, n_steps = self.settings, self.t_bound, self.window
        if math.isinf(end):
            end = self.t + self.direction * FARTHEST * max(abs(self.t), self.h_next)
            end = min(max(end, -LARGEST_TIME), LARGEST_TIME)
        if settings.window is not None or settings.initial_guess is not None:
            # here windows are counted in steps of the mesh, which the step size
            # wanted last turns into a length of time
            length = min(self.window * self.h_next, abs(self.t_bound - self.t))
            end, n_steps = self.t + self.direction * length, LARGEST_WINDOW
        if settings.initial_guess is not None:
            needed = math.ceil(abs(end - self.t) / self.h_next)
            n = int(min(self.window, FIRST_MESH, needed))
            mesh = np.linspace(self.t, end, n + 1)
            return self.times(mesh), settings.initial_guess
        # the predictor may be loose: Newton's method squares its error
        loosen = self._loosening()
        guess = predict(
            self.discretization.predictor,
            self.discretization.rhs,
            self.t,
            self.y,
            end,
            n_steps,
            rtol=settings.rtol * loosen,
            atol=settings.atol * loosen,
            max_step=settings.max_step,
        )
        if guess is None:
            return None, None
        wanted = self.ratio * self.xp.abs(guess.t[1:] - guess.t[:-1])
        return self.remesh(guess.t, self._limited(wanted)), guess

    def guessed(self, mesh, guess):
        """Guess on a mesh: states, the first one exact, and unknowns."""
        Y = self.discretization.unknowns(mesh, guess)
        return self.xp.concat([self.y[:, None], Y[:, -1, :]], axis=1), Y

    def _judge(self, result):
        """Accept the converged steps whose errors meet the tolerance."""
        n_converged, disc = result.n_converged, self.discretization
        K, h, error = self.errors(result)
        self.known_errors = None, None
        mesh, x, wanted = result.mesh, result.x, self.wanted(h, error)
        n = prefix_below(error, 1.0)
        if n > 0 and not self._can_start(mesh[n : n + 1], x[:, n : n + 1]):
            n -= 1  # no step could start there
        if n < n_converged:
            left = mesh[n:]
            guess = disc.interpolant(left, x[:, n:], K[..., n:])
            sizes = h[n:] / smooth(h[n:] / wanted[n:])
            self.trial = self.remesh(left, sizes), guess
        self.h_next = float(wanted[max(n - 1, 0)])
        if n == 0:
            return None
        return self.accept(mesh[: n + 1], x[:, : n + 1], K[..., :n])

    def errors(self, result):
        """Stages, sizes and estimated errors of the steps that have converged."""
        if result is not self.known_errors[0]:
            result.cut(result.n_converged)
            disc, mesh, x = self.discretization, result.mesh, result.x
            steps, K = mesh[1:] - mesh[:-1], disc.stages(result)
            error = disc.error_norm(steps, K, x[:, :-1], x[:, 1:], self.slope)
            return K, self.xp.abs(steps), error
        return self.known_errors[1]

    def _can_start(self, t, y):
        """Whether the right-hand side is finite at one point ahead, (1,) and (n, 1)."""
        xp = self.xp
        return bool(xp.all(xp.isfinite(self.discretization.rhs(t, y))))

    def times(self, values):
        """Make an array of times where the states are."""
        return like(self.y, values, self.xp.float64)

    def confirm(self, result):
        """Compare broadcast values of `fun` with single calls, on the solution."""
        n = result.n_converged or None
        rhs = self.discretization.rhs
        t, y, f = self.discretization.sample(result)
        agreed = rhs.confirmed(t[:n], y[:, :n], f[:, :n])
        if agreed and rhs.check and not self._explained(result):
            rhs.time_vectorized = agreed = False
        if not agreed and self.nsteps > 0:
            self.suspect = True
        return agreed

    def _explained(self, result):
        """Repeat by single calls the steps that leave the guess most abruptly.

        The predictor calls `fun` for one point at a time. Where the steps, which
        call it for many, disagree with it by far more than its tolerance, `fun`
        may have given something else for many: ``np.all(t > 7)``, say.
        """
        _, left, Y, residual, _ = result.guess
        xp, n, disc = self.xp, left.shape[1] - 1, self.discretization
        close = result.deviation < self.abrupt * disc.predictor.rtol
        if close or self.settings.initial_guess is not None or n < 1:
            return True
        scale = disc.scale(left[:, :n], Y[:, -1, :n]) * self._loosening()
        jump = xp.max(xp.abs(residual[..., :n]) / scale[:, None, :], axis=(0, 1))
        jump = xp.where(xp.isfinite(jump), jump, 0.0)
        for _ in range(min(SUSPECTS, n)):
            k = int(xp.argmax(jump))
            if not jump[k] > self.abrupt:
                break
            if not disc.repeats(result.guess, k):
                return False
            jump[k] = 0.0
        return True

    def _loosening(self):
        """How much looser than the tolerances the predictor is."""
        loosening = self.discretization.predictor.loosening(self.settings.rtol)
        return max(self.tightest_predictor, loosening)

    def record(self, result):
        """Count the Newton iterations."""
        self.nit += len(result.residuals)
        self.newton_residuals.append(np.array(result.residuals))

    # -- sizes ---------------------------------------------------------------

    def _newton_tol(self, x, size):
        kappa = self.settings.newton_tol or self.newton_tol
        return kappa * self.discretization.scale(x[:, :-1], x[:, 1:])

    def _slack(self):
        """Return what Newton's method may leave where rounding errors hinder it."""
        return max(
            1.0, LARGEST_NEWTON_TOL / (self.settings.newton_tol or self.newton_tol)
        )

    def wanted(self, h, error):
        """Step sizes that bring every error to `aim`."""
        xp = self.xp
        factor = (error / self.aim) ** self.discretization.error_exponent
        factor = xp.where(factor > SHRINK, factor, SHRINK)  # that for NaN as well
        return self._limited(h * xp.minimum(factor, STRETCH))

    def _limited(self, sizes):
        """No step sizes beyond the greatest that is allowed."""
        if self.settings.max_step == math.inf:
            return sizes
        return self.xp.minimum(sizes, self.settings.max_step)

    def remesh(self, mesh, wanted):
        """Equidistribute; start with steps that grow from the last one's size."""
        most_steps = int(min(self.most_steps, self.settings.window or math.inf))
        mesh = equidistribute(mesh, wanted, most_steps=most_steps)
        graded = grade(mesh, self.h_first, LARGEST_FACTOR)
        self.n_graded = graded.shape[0] - mesh.shape[0]
        return graded[: min(most_steps + 1, graded.shape[0])]

    def _resize(self, share, deviation):
        """Follow the quality of the guess with the size of the window.

        Parameters
        ----------
        share : float
            Share of the steps that has converged.
        deviation : float
            How far off the guess was.
        """
        if self.settings.window is not None:
            self.window = self.settings.window
        elif share < 1:
            self.window = max(SMALLEST_WINDOW, int(max(share, 0.25) * self.window))
        elif deviation < HARD:
            growth = 4 if deviation < EASY else 2
            self.window = min(LARGEST_WINDOW, growth * self.window)

    def _weigh(self, segment, n_iterations):
        """Go over to single steps where windows have not paid."""
        n_steps = 0 if segment is None else segment.t.shape[0] - 1
        # one step is what the predictor came to where nothing is left to be tried
        alone = n_steps == 1 and self.trial is None
        paid = n_steps >= self.iteration_cost() * n_iterations and not alone
        if paid or self.t == self.t_bound:
            self.n_single, self.n_failures = BLOCK // 2, 0
            return
        self.n_failures += 1
        patient = self.trial is not None and self.n_failures < self.patience
        if patient or not (self.settings.window is None or segment is None):
            return
        if not self._without_guess():
            self._give_up()

    def _without_guess(self):
        """Whether a guess of the user's, which has led nowhere, is given up for good.

        That of the predictor is tried before anything else is changed.
        """
        given = self.settings.initial_guess is not None
        if given:
            self.settings = replace(self.settings, initial_guess=None)
            self.trial, self.n_failures = None, 0
        return given

    def _shrink(self):
        """Try a quarter of the window next, in the end single steps."""
        if self._without_guess():
            return
        self.window = min(self.window, self.most_steps) // 4
        if self.window < SMALLEST_WINDOW:
            self._give_up()

    def _give_up(self):
        """Leave the next steps to the sequential method."""
        self.window, self.trial, self.n_failures = 1, None, 0
        self.n_single = min(2 * self.n_single, MOST_SINGLE)
