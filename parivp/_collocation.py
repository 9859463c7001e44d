"""Collocation methods as one nonlinear system for all stages of all steps.

The unknowns of a step are its stages and its end, (n, p, N): components, stages
(and the end of the step, unless that is the last stage), steps.
"""

import numpy as np
from scipy.integrate import LSODA, Radau

from ._array_namespace import is_complex
from ._dense_output import PiecewisePolynomial
from ._discretization import TINY, Discretization
from ._jacobian import DifferencedJacobian
from ._predictor import Predictor
from ._single_steps import SingleSteps
from ._stage_systems import CondensedStages, FactorizedStages, TransformedStages

__all__ = ["Collocation"]

# Up to this many unknowns in a step its stages keep their own Jacobians.
LARGEST_CONDENSED = 30
# From so many components on factorizations cost less than inverses and products.
LARGEST_TRANSFORMED = 20
# Least ratio of neighbouring Legendre coefficients that is believed.
SMALLEST_DECAY = 1e-3


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
        self.predictor = Predictor(classes, 1e-4, slopes=False, structure=structure)
        self.jacobian = jac or DifferencedJacobian(rhs, self.atol, structure)
        self._alone = None
        self._last_grid = None, None, None
        self._signs = (-1.0) ** np.arange(tableau.n_stages)  # Legendre's at the start
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
            return n * (s * (width + 4) + 2 * self.structure.groups.max())
        if n * s <= LARGEST_CONDENSED:
            return (s * n) ** 2 + 4 * s * n * (n + 1)
        return 2 * (s + 1) * n**2

    # -- the system of all steps -----------------------------------------

    def unknowns(self, mesh, guess):
        """Guess for the unknowns of all steps, shape (n, p, N)."""
        times, _ = self._grid(mesh)
        if not self.tableau.stiffly_accurate:
            times = np.concatenate([times, mesh[None, 1:]])
        p, n_steps = times.shape
        Y = guess(times.T.ravel()).reshape(-1, n_steps, p)  # in the order of time
        return np.ascontiguousarray(Y.transpose(0, 2, 1))

    def residual(self, mesh, left, Y):
        """Residual (n, p, N), and ``f`` at the stages (n, s, N)."""
        tab = self.tableau
        s, X = tab.n_stages, Y[:, : tab.n_stages]
        times, h = self._grid(mesh)
        F = self._values(times, X)
        residual = np.empty_like(Y)
        np.matmul(tab.a, F, out=residual[:, :s])
        residual[:, :s] *= h
        residual[:, :s] += left[:, None]
        residual[:, :s] -= X
        if Y.shape[1] > s:
            residual[:, s] = left - Y[:, s]
            residual[:, s] += np.tensordot(tab.end_weights, X - left[:, None], (0, 1))
        return residual, F

    def linearize(self, mesh, left, Y):
        """Residual, ``f`` at the stages, and the linear system of all stages."""
        residual, F = self.residual(mesh, left, Y)
        n, s = len(Y), self.tableau.n_stages
        (times, h), X = self._grid(mesh), Y[:, :s]
        if n * s <= LARGEST_CONDENSED:
            self.nlu += len(h)
            J = self.jacobian(times.ravel(), X.reshape(n, -1), F.reshape(n, -1))
            J = J.reshape(n, n, s, -1)
            return residual, F, CondensedStages(self.tableau, h, J)
        k = s // 2
        J = self.jacobian(times[k], X[:, k], F[:, k])
        return residual, F, self.frozen(h, J)

    def frozen(self, h, J):
        """Make the linear system with one Jacobian for each step."""
        self.nlu += len(h)
        large = self.structure is not None or len(J) > LARGEST_TRANSFORMED
        system = FactorizedStages if large else TransformedStages
        return system(self.tableau, h, J)

    def reach(self, x, Y, residual):
        """How far every component goes in the guess, (n, 1), nowhere zero."""
        reach = np.max(np.abs(x), axis=1)
        reach = np.maximum(reach, np.max(np.abs(Y), axis=(1, 2)))
        return np.maximum(reach, max(1e-3 * np.max(reach), TINY))[:, None]

    def sample(self, result):
        """Return times, states and values of `fun`, of the last iterate but one."""
        k = self.tableau.n_stages - 1
        times, _ = self._grid(result.mesh)
        return times[k], result.at[1][:, k], result.F[:, k]

    def repeats(self, guess, k):
        """Whether single calls of `fun` give the values at the stages of step `k`."""
        mesh, _, Y, _, F = guess
        times = self._grid(mesh)[0][:, k]
        values = [
            self.rhs.single(float(t), Y[:, i, k].copy()) for i, t in enumerate(times)
        ]
        difference = np.abs(np.stack(values, axis=1) - F[:, :, k])
        return bool(np.all(difference <= 1e-6 * np.max(np.abs(F[:, :, k]))))

    def stages(self, result):
        """``h f`` at the stages of a solved window, shape (n, s, N)."""
        s, left = self.tableau.n_stages, result.x[:, :-1]
        if not self.tableau.invertible:
            return self._grid(result.mesh)[1] * result.F
        # not from f, which amplifies what Newton's method has left by h J
        return np.matmul(self.tableau.inverse, result.Y[:, :s] - left[:, None])

    def _grid(self, mesh):
        """Return times of the stages (s, N), none beyond the end, and steps (N,)."""
        if mesh is not self._last_grid[0]:
            c, h = self.tableau.c, mesh[1:] - mesh[:-1]
            times = mesh[:-1] + c[:, None] * h
            times[c == 1.0] = mesh[1:]
            self._last_grid = mesh, times, h
        return self._last_grid[1:]

    def _values(self, times, X):
        """Values of `fun` at the stages, shape (n, s, N)."""
        n = len(X)
        return self.rhs(times.ravel(), X.reshape(n, -1)).reshape(X.shape)

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
        of ``h u'``: the first one that is missing is taken to be smaller than
        the last one there is by as much as that is smaller than the one before
        (or that than the one before, for odd and even solutions).

        No node may see a jump of the right-hand side that lies before the first
        one. There ``u'`` differs from what it was at the end of the step before,
        `slope` (n,) for the first step; on smooth solutions by about twice the
        first missing coefficient.
        """
        s = self.tableau.n_stages
        scale = self.scale(x, x_new)
        modes = np.matmul(self.tableau.modes, K)
        last = modes[:, max(0, s - 3) :] / scale[:, None]
        norms = _rms(last) + TINY
        decay = (norms[1:] / norms[:-1]).max(axis=0)
        decay = np.minimum(np.maximum(decay, SMALLEST_DECAY), 1.0)
        error = norms[-1] * decay / (2 * s)
        before = np.empty_like(x)
        before[:, 1:] = modes[:, :, :-1].sum(axis=1) / h[:-1]
        start = np.matmul(self._signs, modes)
        before[:, 0] = start[:, 0] / h[0] if slope is None else slope
        kink = _rms((start - h * before) / scale) / (8 * s)
        return np.maximum(error, kink)

    def end_slope(self, h, K):
        """Return the derivative at the end of the last step, shape (n,)."""
        return np.sum(self.tableau.modes @ K[:, :, -1].T, axis=0) / h

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
        bubble = np.matmul(self.tableau.bubble, K).transpose(1, 0, 2)
        return PiecewisePolynomial(mesh, x, np.ascontiguousarray(bubble))


def _rms(values):
    """Root mean square over the components, the first axis."""
    return np.sqrt((np.abs(values) ** 2).sum(axis=0) / len(values))
