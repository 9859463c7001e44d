"""Collocation methods as one nonlinear system for all stages of all steps.

The unknowns of a step are its stages and its end, (n, p, N): components, stages
(and the end of the step, unless that is the last stage), steps.
"""

import numpy as np
from scipy.integrate import LSODA, Radau

from ._array_namespace import (
    contiguous,
    copied,
    is_complex,
    is_numpy_namespace,
    like,
    new_empty,
    squares,
)
from ._dense_output import PiecewisePolynomial
from ._discretization import TINY, Discretization
from ._jacobian import DifferencedJacobian
from ._predictor import Predictor
from ._rosenbrock import RODAS3
from ._single_steps import SingleSteps
from ._stage_systems import CondensedStages, FactorizedStages, TransformedStages

__all__ = ["Collocation"]

# Up to this many unknowns in a step its stages keep their own Jacobians. Outside
# NumPy, where one batch takes all matrices, what counts is how many iterations follow
# each other: with one Jacobian for a step they are up to five times as many.
LARGEST_CONDENSED, LARGEST_BATCHED = 30, 100
# From so many components on factorizations cost less than inverses and products.
LARGEST_TRANSFORMED = 20
# Least ratio of neighbouring Legendre coefficients that is believed. That of the coming
# ones is smaller: in an exponential the ratio for degree j goes like 1 / (2 j - 1), and
# so falls to 0.43 of the mean of two earlier ones if there are five. To be on the safe
# side a part of that is counted on.
SMALLEST_DECAY, FASTER = 1e-3, 0.55


class Collocation(Discretization):
    """The recursion of an implicit collocation method.

    Parameters
    ----------
    tableau : CollocationTableau
    rhs, jac, rtol, atol
        As for `Discretization`; the differences are those of `rhs`.
    structure : Structure or None
        That of the Jacobian, if band matrices pay.
    """

    tableau_kind = "implicit"
    stuck = (
        "Newton's method does not converge at t = {t:.15g}, however short the step. "
        "The solution may have a singularity there, or `fun` not be finite or not "
        "continuous just behind; a `jac` that is given may be wrong."
    )
    failed = (
        "Newton's method does not converge on the step from t = {t:.15g} to "
        "{t_new:.15g}: the solution may have a singularity before, or the steps may "
        "be too long for this tableau."
    )
    advice = ""
    determined = False  # there may be several solutions, most of them spurious

    def __init__(self, tableau, rhs, jac, rtol, atol, structure=None):
        super().__init__(tableau, rhs, jac, rtol, atol)
        self.structure = structure
        # LSODA would need twice the band for real and imaginary parts
        complex_band = structure is not None and is_complex(rhs.example)
        classes = (Radau,) if complex_band else (LSODA, Radau)
        # at 1e-3 the guess for relaxation oscillations comes too early or too late,
        # and that for Robertson's problem may turn negative
        self.predictor = Predictor(
            classes, 1e-4, slopes=False, structure=structure, tableau=RODAS3
        ).on(rhs.example)
        self.jacobian = jac or DifferencedJacobian(rhs, self.atol, structure)
        self._alone = None
        self._last_grid = None, None, None
        signs = (-1.0) ** np.arange(tableau.n_stages)  # Legendre's at the start
        self._signs = like(rhs.example, signs)
        self._unseen = 1.0 - float(tableau.c[-1])  # of a step, behind the last node
        numpy = is_numpy_namespace(self.xp)
        self.largest_condensed = LARGEST_CONDENSED if numpy else LARGEST_BATCHED
        self.nlu = 0

    @property
    def njev(self):
        """Number of points at which the Jacobian was evaluated."""
        alone = self._alone.exact.jacobian if self._alone and not self.jac else None
        return self.jacobian.njev + (alone.njev if alone else 0)

    def step_storage(self, y):
        """Numbers that one step of a window takes."""
        n, s = y.size, self.tableau.n_stages
        if self.structure is not None:
            width = 2 * self.structure.lower + self.structure.upper + 1
            numbers = (s + 1) * width + 4 * s + 2 * self.structure.groups.max()
            return n * numbers
        if n * s <= self.largest_condensed:
            return (s * n) ** 2 + 4 * s * n * (n + 1)
        return 2 * (s + 1) * n**2

    # -- the system of all steps -----------------------------------------

    def unknowns(self, mesh, guess):
        """Guess for the unknowns of all steps, shape (n, p, N)."""
        xp, (times, _) = self.xp, self._grid(mesh)
        if not self.tableau.stiffly_accurate:
            times = xp.concat([times, mesh[None, 1:]])
        p, n_steps = times.shape
        Y = guess(xp.reshape(times.T, (-1,)))  # in the order of time
        return contiguous(xp.permute_dims(xp.reshape(Y, (-1, n_steps, p)), (0, 2, 1)))

    def residual(self, mesh, left, Y):
        """Residual (n, p, N), and ``f`` at the stages (n, s, N)."""
        tab, s = self.tableau, self.tableau.n_stages
        X, left = Y[:, :s, :], left[:, None, :]
        times, h = self._grid(mesh)
        F = self._values(times, X)
        residual = tab.a @ F
        residual *= h
        residual += left
        residual -= X
        if Y.shape[1] > s:
            end = left - Y[:, s:, :] + (tab.end_weights @ (X - left))[:, None, :]
            residual = self.xp.concat([residual, end], axis=1)
        return residual, F

    def linearize(self, mesh, left, Y, known=None):
        """Residual, ``f`` at the stages, and the linear system of all stages.

        The first two may be `known`.
        """
        residual, F = known or self.residual(mesh, left, Y)
        n, s = Y.shape[0], self.tableau.n_stages
        times, h = self._grid(mesh)
        if n * s <= self.largest_condensed:
            self.nlu += h.shape[0]
            J = self.stage_jacobians(times, Y[:, :s, :], F)
            return residual, F, CondensedStages(self.tableau, h, J)
        k = s // 2
        J = self.jacobian(times[k, :], Y[:, k, :], F[:, k, :])
        return residual, F, self.frozen(h, J)

    def stage_jacobians(self, times, X, F):
        """Jacobians at all stages, shape (n, n, s, N)."""
        xp, (n, s, n_steps) = self.xp, X.shape
        points = [xp.reshape(values, (n, -1)) for values in (X, F)]
        J = self.jacobian(xp.reshape(times, (-1,)), *points)
        return xp.reshape(J, (n, n, s, n_steps))

    def frozen(self, h, J):
        """Make the linear system with one Jacobian for each step."""
        self.nlu += h.shape[0]
        factorized = self.structure is not None
        if not factorized and is_numpy_namespace(self.xp):  # as only these can be
            factorized = J.shape[0] > LARGEST_TRANSFORMED
        system = FactorizedStages if factorized else TransformedStages
        return system(self.tableau, h, J)

    def reach(self, x, Y, residual):
        """How far every component goes in the guess, (n, 1), nowhere zero."""
        xp = self.xp
        reach = xp.max(xp.abs(x), axis=1)
        reach = xp.maximum(reach, xp.max(xp.abs(Y), axis=(1, 2)))
        return xp.maximum(reach, 1e-3 * xp.max(reach) + TINY)[:, None]

    def sample(self, result, least=0):
        """Return times, states and values of `fun`, of the last iterate but one.

        They are those at the last stage of every step or, if there are fewer steps
        than the `least` number of points, at so many of all stages.
        """
        xp, (times, _) = self.xp, self._grid(result.mesh)
        (s, n_steps), n = times.shape, result.F.shape[0]
        if least <= n_steps:
            k = s - 1
            return times[k, :], result.at[1][:, k, :], result.F[:, k, :]
        points = np.linspace(0, s * n_steps - 1, min(least, s * n_steps)).astype(int)
        chosen = like(result.F, points % s * n_steps + points // s, xp.int64)
        Y, F = result.at[1][:, :s, :], result.F
        return (
            xp.take(xp.reshape(times, (-1,)), chosen),
            xp.take(xp.reshape(Y, (n, -1)), chosen, axis=1),
            xp.take(xp.reshape(F, (n, -1)), chosen, axis=1),
        )

    def repeats(self, guess, k):
        """Whether single calls of `fun` give the values at the stages of step `k`."""
        xp, (mesh, _, Y, _, F) = self.xp, guess
        times, known = self._grid(mesh)[0], F[:, :, k]
        values = [
            self.rhs.single(float(times[i, k]), copied(Y[:, i, k]))
            for i in range(self.tableau.n_stages)
        ]
        difference = xp.abs(xp.stack(values, axis=1) - known)
        return bool(xp.all(difference <= 1e-6 * xp.max(xp.abs(known))))

    def stages(self, result):
        """``h f`` at the stages of a solved window, shape (n, s, N)."""
        s, left = self.tableau.n_stages, result.x[:, :-1]
        if not self.tableau.invertible:
            return self._grid(result.mesh)[1] * result.F
        # not from f, which amplifies what Newton's method has left by h J
        return self.tableau.inverse @ (result.Y[:, :s, :] - left[:, None, :])

    def _grid(self, mesh):
        """Return times of the stages (s, N), none beyond the end, and steps (N,)."""
        if mesh is not self._last_grid[0]:
            c, h = self.tableau.c, mesh[1:] - mesh[:-1]
            times = mesh[:-1] + c[:, None] * h
            if self.tableau.stiffly_accurate:
                times[-1, :] = mesh[1:]
            self._last_grid = mesh, times, h
        return self._last_grid[1:]

    def _values(self, times, X):
        """Values of `fun` at the stages, shape (n, s, N)."""
        xp = self.xp
        points = xp.reshape(X, (X.shape[0], -1))
        return xp.reshape(self.rhs(xp.reshape(times, (-1,)), points), X.shape)

    # -- one step alone -----------------------------------------------------

    def single_step(self, mesh, y, tol, slack=1.0, max_newton=None, patient=False):
        """Take one step; what `fun` raises arrives.

        Parameters
        ----------
        mesh : ndarray, shape (2,)
        y : ndarray, shape (n,)
        tol : callable
            What Newton's method may leave, see `newton`.
        slack : float
            How much more where rounding errors hinder it.
        max_newton : int, optional
            Largest number of iterations.
        patient : bool
            Whether to try everything, since the step cannot be made shorter.

        Returns
        -------
        phi : ndarray, shape (n, 1)
            End state; NaN where Newton's method does not converge.
        K : ndarray, shape (n, s, 1)
            ``h f`` at the stages.
        """
        if self._alone is None:
            self._alone = SingleSteps(self)
        return self._alone.step(mesh, y, tol, slack, max_newton, patient)

    # -- error estimate and dense output ------------------------------------

    def error_norm(self, h, K, x, x_new, slope=None):
        """Scaled norm of the local error estimate of every step, shape (N,).

        The error of the collocation polynomial, from the Legendre coefficients
        of ``h u'``: those that are missing are taken to go on like the last two.

        No node may see a jump of the right-hand side that lies before the first
        one. There ``u'`` differs from what it was at the end of the step before,
        `slope` (n,) for the first step; on smooth solutions by about twice the
        first missing coefficient. Behind the last node, where the method has none
        at the end, a jump shows in the same way in the step that follows.
        """
        xp, s = self.xp, self.tableau.n_stages
        scale = self.scale(x, x_new)
        modes = self.tableau.modes @ K
        last = modes[:, max(0, s - 4) :, :] / scale[:, None, :]
        norms = _rms(xp, last) + TINY
        decay = _decay(xp, norms)
        error = xp.maximum(norms[-1, :] * decay, norms[-2, :] * decay**2) / (2 * s)
        start = self._signs @ modes
        before = new_empty(x, x.shape)
        before[:, 1:] = xp.sum(modes[:, :, :-1], axis=1) / h[:-1]
        before[:, 0] = start[:, 0] / h[0] if slope is None else slope
        jump = start / h - before  # of the slope, at the start of every step
        error = xp.maximum(error, _rms(xp, h * jump / scale) / (8 * s))
        if self._unseen > 0.0 and h.shape[0] > 1:
            late = _rms(xp, h[:-1] * jump[:, 1:] / scale[:, :-1]) * self._unseen / 2
            error = xp.concat([xp.maximum(error[:-1], late), error[-1:]])
        return error

    def end_slope(self, h, K):
        """Return the derivative at the end of the last step, shape (n,)."""
        return self.xp.sum(self.tableau.modes @ K[:, :, -1].T, axis=0) / h

    def interpolant(self, mesh, x, K):
        """Dense output: the collocation polynomials.

        Parameters
        ----------
        mesh : ndarray, shape (N + 1,)
        x : ndarray, shape (n, N + 1)
        K : ndarray, shape (n, s, N)
            ``h f`` at the stages.

        Returns
        -------
        PiecewisePolynomial
        """
        bubble = self.xp.permute_dims(self.tableau.bubble @ K, (1, 0, 2))
        return PiecewisePolynomial(mesh, x, contiguous(bubble))


def _rms(xp, values):
    """Root mean square over the components, the first axis."""
    return xp.sqrt(xp.sum(squares(xp, values), axis=0) / values.shape[0])


def _decay(xp, norms):
    """How fast Legendre coefficients decay from one to the next, (k, N) to (N,).

    From two to the next two, as those of even or odd degree vanish now and then,
    unless the last ones decay more slowly, which shows a kink.
    """
    shift = min(2, norms.shape[0] - 1)
    two = xp.max(norms[shift:, :], axis=0) / xp.max(norms[:-shift, :], axis=0)
    k = norms.shape[0] - shift
    last = norms[k:, :] / norms[k - 1 : -1, :]
    decay = xp.maximum(FASTER * two ** (1 / shift), xp.min(last, axis=0))
    return xp.minimum(xp.maximum(decay, SMALLEST_DECAY), 1.0)
