"""Runge-Kutta recursions as one nonlinear system: residuals, linearizations.

Inside the solver states are (n, N), stage derivatives (stages, n, N) and step
Jacobians (n, n, N): the steps run along the last, contiguous axis.
"""

import functools
import operator

import numpy as np
from scipy.integrate import LSODA, RK45

from ._array_namespace import (
    advanced,
    array_namespace,
    block_size,
    copied,
    fused,
    is_complex,
    like,
    new_empty,
    squares,
)
from ._dense_output import PiecewisePolynomial
from ._jacobian import UserJacobian, increments
from ._predictor import Predictor
from ._scan import affine_scan

__all__ = ["Discretization", "ExplicitRungeKutta"]

TINY = float(np.finfo(np.float64).tiny)
# Numbers that the stages of one block of perturbed steps fill: a level-2 cache.
CACHED = 2**17


class StepJacobians:
    """The linearization of an explicit recursion.

    Parameters
    ----------
    D : array, shape (n, n, N), or (2n, 2n, N)
        Jacobians of the steps; in the second form with respect to real and
        imaginary parts, stacked.
    """

    def __init__(self, D):
        self.jacobians = D

    def first(self, n):
        """Keep the first `n` steps."""
        return StepJacobians(self.jacobians[..., :n])

    def solve(self, residual):
        """Solve ``u_k = D_k u_{k-1} + r_k``, shapes (n, 1, N)."""
        xp, D, r = array_namespace(residual), self.jacobians, residual[:, 0, :]
        n = r.shape[0]
        apart = D.shape[0] == 2 * n
        if apart:
            r = xp.concat([xp.real(r), xp.imag(r)])
        # the steps run along the contiguous axis again
        u = new_empty(r, r.shape)
        u[...] = affine_scan(xp.moveaxis(D, -1, 0), r.T).T
        return (u[:n, :] + 1j * u[n:, :] if apart else u)[:, None, :]


class Discretization:
    """What all discretizations have in common.

    Parameters
    ----------
    tableau : ButcherTableau
    rhs : Rhs
        The right-hand side at many points.
    jac : callable or None
        ``jac(t, y)`` of shape (n, n, m); None takes differences.
    rtol, atol : float or array, shape (n,)
        Tolerances that scale the error estimate.
    """

    nlu = 0  # number of factorized matrices
    determined = True  # whether the state before a step determines the next
    # what to say where no step succeeds, and what to try instead
    stuck = (
        "The right-hand side is not finite at t = {t:.15g} or just behind. The "
        "solution may have a singularity there, or leave the domain of `fun`."
    )
    failed = (
        "The step from t = {t:.15g} to {t_new:.15g} is not finite: the solution may "
        "have a singularity before, or the steps may be too long for this tableau."
    )
    advice = "If the problem is stiff, use 'ScanNewtonImplicit'."

    def __init__(self, tableau, rhs, jac, rtol, atol):
        self.tableau = tableau.on(rhs.example)
        self.rhs = rhs
        self.jac = jac
        self.xp = rhs.xp
        self.rtol = like(rhs.example, np.reshape(rtol, (-1, 1)))
        self.atol = like(rhs.example, np.reshape(atol, (-1, 1)))
        self.error_exponent = -1.0 / (tableau.error_order + 1)

    @property
    def njev(self):
        """Number of points at which the Jacobian was evaluated."""
        return self.jac.njev if self.jac is not None else 0

    def check_jacobian(self, t, y):
        """Call the user's Jacobian once, so that what it raises arrives."""
        if isinstance(self.jac, UserJacobian):
            self.jac.single(t, y)

    def end_slope(self, h, K):
        """Return the derivative at the end of the last step, if estimates use it."""
        return None

    def scale(self, x, x_new):
        """``atol + rtol max(|x|, |x_new|)``, shape (n, N)."""
        return _scale(self.xp, self.atol, self.rtol, x, x_new)


@fused
def _scale(xp, atol, rtol, x, x_new):
    return atol + rtol * xp.maximum(xp.abs(x), xp.abs(x_new))


class ExplicitRungeKutta(Discretization):
    """The recursion ``x_k = phi_k(x_{k-1})`` of an explicit Runge-Kutta method.

    Parameters
    ----------
    tableau : ExplicitTableau
    rhs, jac, rtol, atol
        As for `Discretization`; the differences are those of the step.
    """

    tableau_kind = "explicit"

    def __init__(self, tableau, rhs, jac, rtol, atol):
        super().__init__(tableau, rhs, jac, rtol, atol)
        self.predictor = Predictor((LSODA, RK45), 1e-4).on(rhs.example)
        self._last_grid = None, None, None
        # the coefficients where the states are
        c, weights = np.append(tableau.c, 1.0), tableau.error_weights
        weights = weights if tableau.error_uses_end else weights[:, :-1]
        self._c, self._at_end = like(rhs.example, c[:, None]), np.flatnonzero(c == 1.0)
        self._a = [self.tableau.a[i, :i] for i in range(tableau.n_stages)]
        self._b, self._extra_c = self.tableau.b, tableau.extra_c.tolist()
        self._rows = [tableau.a[i, :i] for i in range(tableau.n_stages)] + [tableau.b]
        self._error_weights = like(rhs.example, weights)

    def step_storage(self, y):
        """Numbers that one step of a window takes, perturbed copies and all."""
        copies = 1 + y.size * (2 if is_complex(y) else 1)
        return (self.tableau.n_stages + 1) * y.size * copies

    # -- the system of all steps -----------------------------------------

    def unknowns(self, mesh, guess):
        """Guess for the end states of all steps, shape (n, 1, N)."""
        return guess(mesh[1:])[:, None, :]

    def residual(self, mesh, left, Y):
        """Residual ``phi_k(x_{k-1}) - x_k``, shape (n, 1, N), and stages."""
        phi, K = self.step(mesh, left)
        return phi[:, None, :] - Y, K

    def linearize(self, mesh, left, Y):
        """Residual, stages, and the `StepJacobians`."""
        phi, K, D = self.differentiate(mesh, left)
        return phi[:, None, :] - Y, K, StepJacobians(D)

    def reach(self, x, Y, residual):
        """How far every component goes in the guess and after its steps, (n, 1).

        Only the guess is asked, as an iterate may blow up.
        """
        xp = self.xp
        reach = xp.max(xp.abs(x), axis=1, keepdims=True)
        led_to = xp.max(xp.abs(Y + residual)[:, 0, :], axis=1, keepdims=True)
        return xp.maximum(reach, led_to) + TINY

    def sample(self, result):
        """Return times, states and values of `fun`, of the last iterate but one."""
        return result.mesh[:-1], result.at[0], result.F[0, ...]

    def stages(self, result):
        """Stage derivatives of a solved window, shape (stages, n, N)."""
        return result.F

    def repeats(self, guess, k):
        """Whether single calls of `fun` lead step `k` of the guess to the same."""
        xp, (mesh, left, Y, residual, _) = self.xp, guess
        again, _ = self.single_step(mesh[k : k + 2], left[:, k])
        phi = Y[:, 0, k] + residual[:, 0, k]
        difference = xp.abs(again[:, 0] - phi)
        return bool(xp.all(difference <= 1e-6 * xp.max(xp.abs(phi))))

    def single_step(self, mesh, y, *newton_options, **more):
        """Take one step; what `fun` raises arrives.

        Options of Newton's method are for implicit methods.

        Returns
        -------
        phi : array, shape (n, 1)
        K : array, shape (s or s + 1, n, 1)
        """

        def evaluate(t, y, out):
            out[:, 0] = self.rhs.single(float(t[0]), y[:, 0])

        return self.step(mesh, y[:, None], evaluate)

    # -- the step map and its derivative ---------------------------------

    def step(self, mesh, x, evaluate=None):
        """All steps at once, each from its own left state.

        Parameters
        ----------
        mesh : array, shape (N + 1,)
        x : array, shape (n, N)
            States at the left ends.
        evaluate : callable, optional
            Stands in for the right-hand side.

        Returns
        -------
        phi : array, shape (n, N)
            States at the right ends.
        K : array, shape (s or s + 1, n, N)
            Stage derivatives; the one at the right end is there only if the
            error estimate needs it.
        """
        return self._stages(evaluate or self.rhs, *self._grid(mesh), x)

    def differentiate(self, mesh, x, steps=slice(None)):
        """All steps and their Jacobians ``D_k = d phi_k / d x_{k-1}``.

        Parameters
        ----------
        mesh : array, shape (N + 1,)
        x : array, shape (n, N)
        steps : slice or array of int, optional
            Selects some of the steps.

        Returns
        -------
        phi, K : array
            As `step`.
        D : array, shape (n, n, N), or (2n, 2n, N) for complex `x`
            Complex problems are linearized with respect to the real and
            imaginary parts, stacked, since `fun` need not be analytic; with a
            user's Jacobian, which says that it is, D is complex (n, n, N).
        """
        times, h = self._grid(mesh)
        if not isinstance(steps, slice):
            times, h, x = (self.xp.take(part, steps, axis=-1) for part in (times, h, x))
        else:
            times, h, x = times[:, steps], h[steps], x[:, steps]
        if self._jacobian_pays(times[0, :], x):
            return self._linearize_by_jacobian(times, h, x)
        return self._linearize_by_differences(times, h, x)

    def _jacobian_pays(self, t, x):
        """Whether to use the user's Jacobian rather than differences.

        One that has to be called point by point costs more than differences of
        a function that broadcasts.
        """
        if self.jac is None:
            return False
        if self.jac.time_vectorized is None:
            self.jac(t[:3], x[:, :3])
        return self.jac.time_vectorized or not self.rhs.time_vectorized

    def _grid(self, mesh):
        """Return times of stages and ends (s + 1, N), none beyond, and steps (N,)."""
        if mesh is not self._last_grid[0]:
            h = mesh[1:] - mesh[:-1]
            times = mesh[:-1] + self._c * h
            for i in self._at_end:
                times[i, :] = mesh[1:]
            self._last_grid = mesh, times, h
        return self._last_grid[1:]

    def _stages(self, evaluate, times, h, x):
        xp, tab = self.xp, self.tableau
        s = tab.n_stages
        K = new_empty(x, (s + tab.error_uses_end, *x.shape))
        evaluate(times[0, :], x, K[0, ...])
        for i in range(1, s):
            y = advanced(xp, x, h, self._rows[i], K[:i, ...])
            evaluate(times[i, :], y, K[i, ...])
        phi = advanced(xp, x, h, self._rows[s], K[:s, ...])
        if tab.error_uses_end:
            evaluate(times[s, :], phi, K[s, ...])
        return phi, K

    def _linearize_by_differences(self, times, h, x):
        """Differences of the step map, in blocks that stay in the cache."""
        n, n_steps = x.shape
        copies = 1 + n * (2 if is_complex(x) else 1)
        numbers = self.tableau.n_stages * n * copies
        block = max(16, block_size(self.xp, CACHED) // numbers)
        if n_steps <= 1.5 * block:
            return self._difference_block(times, h, x)
        ends = [*range(block, n_steps, block), n_steps]
        blocks = [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]
        parts = [self._difference_block(times[:, b], h[b], x[:, b]) for b in blocks]
        return tuple(self.xp.concat(part, axis=-1) for part in zip(*parts, strict=True))

    def _difference_block(self, times, h, x):
        """Step every state along with copies perturbed in each direction."""
        xp, (n, n_steps) = self.xp, x.shape
        eps = increments(x)
        directions = [1.0, 1.0j] if is_complex(x) else [1.0]
        n_copies = 1 + len(directions) * n
        copies, used = xp.repeat(x[:, None, :], n_copies, axis=1), []
        for d, direction in enumerate(directions):
            moved = x + direction * eps if d else x + eps
            used.append(xp.abs(moved - x))
            for j in range(n):
                copies[j, 1 + d * n + j, :] = moved[j, :]
        used = used[0] if len(used) == 1 else xp.concat(used)
        phi, K = self._stages(
            self.rhs,
            xp.concat([times] * n_copies, axis=1),
            xp.concat([h] * n_copies),
            xp.reshape(copies, (n, -1)),
        )
        phi = xp.reshape(phi, (n, n_copies, n_steps))
        K = xp.reshape(K, (K.shape[0], n, n_copies, n_steps))[:, :, 0, :]
        D = phi[:, 1:, :] - phi[:, :1, :]
        D /= used
        phi = copied(phi[:, 0, :])
        if len(directions) == 2:
            D = xp.concat([xp.real(D), xp.imag(D)])
        return phi, K, D

    def _linearize_by_jacobian(self, times, h, x):
        """Propagate the Jacobian through the stages by the chain rule."""
        xp, s, (n, n_steps) = self.xp, self.tableau.n_stages, x.shape
        phi, K = self._stages(self.rhs, times, h, x)
        identity = like(x, np.eye(n)[:, :, None])
        flat = new_empty(x, (s, n * n * n_steps))
        for i in range(s):
            y = x
            if i > 0:
                y = advanced(xp, x, h, self._rows[i], K[:i, ...])
            DK = self.jac(times[i, :], y)
            if i > 0:
                DY = xp.reshape(self._a[i] @ flat[:i, :], (n, n, n_steps))
                DK = multiply(DK, identity + h * DY)
            flat[i, :] = xp.reshape(DK, (-1,))
        D = identity + h * xp.reshape(self._b @ flat, (n, n, n_steps))
        return phi, K, D

    # -- error estimate and dense output ----------------------------------

    def error_norm(self, h, K, x, x_new, slope=None):
        """Scaled norm of the local error estimate of every step, shape (N,).

        One estimate is measured in the root mean square norm, as in SciPy;
        those of DOP853 by Hairer's ``err5^2 / sqrt(err5^2 + 0.01 err3^2)``,
        with ``err5`` at least the norm of its guards.
        """
        xp, (n, n_steps) = self.xp, x.shape
        errors = self._error_weights @ xp.reshape(K, (K.shape[0], -1))
        errors = xp.reshape(errors, (-1, n, n_steps))
        errors *= h / self.scale(x, x_new)
        sums = xp.sum(squares(xp, errors), axis=1)
        if sums.shape[0] == 1:
            return xp.sqrt(sums[0, :] / n)
        fifth = xp.maximum(sums[0, :], xp.sum(sums[1:-1, :], axis=0))
        denominator = fifth + 0.01 * sums[-1, :]
        denominator = xp.where(denominator == 0, 1.0, denominator)
        return fifth / xp.sqrt(denominator * n)

    def interpolant(self, mesh, x, K=None):
        """Dense output of steps through the given states.

        Parameters
        ----------
        mesh : array, shape (N + 1,)
        x : array, shape (n, N + 1)
        K : None
            The stages are computed again.

        Returns
        -------
        PiecewisePolynomial
        """
        xp, tab = self.xp, self.tableau
        s, e = tab.n_stages, len(self._extra_c)
        h, left = mesh[1:] - mesh[:-1], x[:, :-1]
        flat = new_empty(x, (s + 1 + e, left.size))
        K = xp.reshape(flat, (-1, *left.shape))
        K[:s, ...] = self.step(mesh, left)[1][:s, ...]
        self.rhs(mesh[1:], x[:, 1:], K[s, ...])
        if not self.rhs.confirmed(mesh[1:], x[:, 1:], K[s, ...]):
            return self.interpolant(mesh, x)
        for i in range(s + 1, s + 1 + e):
            row = tab.extra_a[i - s - 1, :i]
            increment = xp.reshape(row @ flat[:i, :], left.shape)
            t = mesh[:-1] + self._extra_c[i - s - 1] * h
            self.rhs(t, left + h * increment, K[i, ...])
        bubble = xp.reshape(tab.bubble @ flat, (-1, *left.shape))
        return PiecewisePolynomial(mesh, x, h * bubble)


def multiply(J, D):
    """Matrix products ``J_k D_k`` for matrices along the last axis."""
    xp = array_namespace(J, D)
    if J.shape[0] > 8:
        # one BLAS call a matrix beats n strided sums from about this size
        product = xp.moveaxis(J, -1, 0) @ xp.moveaxis(D, -1, 0)
        return xp.moveaxis(product, 0, -1)
    terms = (J[:, j, None, :] * D[None, j, :, :] for j in range(J.shape[0]))
    return functools.reduce(operator.add, terms)
