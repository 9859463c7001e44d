"""Implicit steps one after another: what a window of one step amounts to."""

import copy
import math

from ._array_namespace import new_full
from ._jacobian import DifferencedJacobian
from ._newton import newton
from ._predictor import predict

__all__ = ["SingleSteps"]

MAX_NEWTON = 10
# Where the Jacobians are kept the first two updates may differ by more than later
# ones do: the first has errors of the guess in it that one iteration removes.
LEAST_RATE = 0.02
# The polynomial of a step serves as guess for steps up to so many times longer: farther
# off it would lead to spurious solutions.
FARTHEST_GUESS = 3.0


class SingleSteps:
    """The steps of a collocation method, where `fun` is called as by SciPy.

    What `fun` raises arrives. First one Jacobian serves for all stages, and for
    further steps while Newton's method is fast, as in sequential solvers; where
    that fails every stage gets its own.

    Parameters
    ----------
    whole : Collocation
    """

    def __init__(self, whole):
        self.whole = whole
        self.exact = copy.copy(whole)
        self.exact.rhs = _Strict(whole.rhs)
        differences = DifferencedJacobian(self.exact.rhs, whole.atol, whole.structure)
        self.exact.jacobian = _strict(whole.jac) if whole.jac else differences
        self.chord = copy.copy(self.exact)
        self.chord.linearize = self._linearize
        self.kept = self.last = None

    def step(self, mesh, y, tol, slack=1.0, max_newton=None, patient=False):
        """Take one step, see `Collocation.single_step`."""
        for disc, guess in self._attempts(mesh, y, patient):
            determined = patient and disc is self.exact
            result = newton(
                disc,
                mesh,
                y,
                disc.unknowns(mesh, guess),
                tol=tol,
                max_iter=max_newton if determined else MAX_NEWTON,
                trusted=False,
                shorten=False,
                slack=slack,
                least_rate=LEAST_RATE if disc is self.chord else 0.0,
            )
            if result.n_converged == 1:
                if len(result.residuals) > MAX_NEWTON // 2:
                    self.kept = None
                K = self.exact.stages(result)
                self.last = self.exact.interpolant(mesh, result.x, K)
                return result.x[:, 1:], K
        self.kept = self.last = None
        K = new_full(y, (y.size, self.exact.tableau.n_stages, 1), math.nan)
        return K[:, 0, :], K

    def _attempts(self, mesh, y, patient):
        """Yield ways to solve the step: discretizations and guesses."""
        guess = self._extrapolate(mesh, y)
        if self.kept is not None:
            yield self.chord, guess
            self.kept = None
        yield self.chord, guess
        yield self.exact, guess
        if patient:
            # a long step is closer to the solution than to its beginning
            xp, rtol = self.whole.xp, self.whole.predictor.rtol
            size = float(xp.max(xp.abs(y)))
            guess = predict(
                self.whole.predictor,
                self.whole.rhs,
                float(mesh[0]),
                y,
                float(mesh[1]),
                math.inf,
                rtol=rtol,
                atol=rtol * 1e-3 * max(size, 1e-3),
                max_step=math.inf,
            )
            if guess is not None and guess.t[-1] == mesh[1]:
                yield self.exact, guess

    def _linearize(self, mesh, left, Y):
        residual, F = self.exact.residual(mesh, left, Y)
        if self.kept is None:
            self.kept = self.exact.jacobian(mesh[:1], left)
        return residual, F, self.whole.frozen(mesh[1:] - mesh[:-1], self.kept)

    def _extrapolate(self, mesh, y):
        """Guess by the polynomial of the step before, if this one follows."""
        xp, last = self.whole.xp, self.last
        if last is not None and bool(last.t[-1] == mesh[0]):
            length, before = float(mesh[1] - mesh[0]), float(last.t[-1] - last.t[0])
            near = abs(length) <= FARTHEST_GUESS * abs(before)
            if near and bool(xp.all(last.y[:, -1] == y)):
                return last
        return lambda t: xp.repeat(y[:, None], t.shape[0], axis=1)


def _strict(jac):
    """Return the user's Jacobian at many points; what it raises arrives."""
    return lambda t, y, f=None: jac.strict(t, y)


class _Strict:
    """The right-hand side at many points; what it raises arrives."""

    def __init__(self, rhs):
        self.rhs = rhs

    def __call__(self, t, y):
        return self.rhs.strict(t, y)
