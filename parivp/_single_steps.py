"""Implicit steps one after another: what a window of one step amounts to."""

import copy

import numpy as np

from ._jacobian import DifferencedJacobian
from ._newton import newton

__all__ = ["SingleSteps"]

MAX_NEWTON = 10


class SingleSteps:
    """The steps of a collocation method, where `fun` is called as by SciPy.

    What `fun` raises arrives. The Jacobian serves further steps while Newton's
    method is fast, as in sequential solvers.

    Parameters
    ----------
    whole : Collocation
    """

    def __init__(self, whole):
        self.whole = whole
        self.discretization = copy.copy(whole)
        self.discretization.rhs = _Strict(whole.rhs)
        self.discretization.linearize = self._linearize
        differences = DifferencedJacobian(self.discretization.rhs, whole.structure)
        self.jacobian = whole.jac.strict if whole.jac else differences
        self.kept = self.last = None

    def step(self, mesh, y, tol):
        """Take one step, see `Collocation.single_step`."""
        disc = self.discretization
        Y = disc.unknowns(mesh, self._extrapolate(mesh, y))
        for kept in [None] if self.kept is None else [self.kept, None]:
            self.kept = kept
            result = newton(
                disc,
                mesh,
                y,
                Y,
                tol=tol,
                max_iter=MAX_NEWTON,
                trusted=False,
                shorten=False,
            )
            if result.n_converged == 1:
                if len(result.residuals) > MAX_NEWTON // 2:
                    self.kept = None
                K = disc.stages(result)
                self.last = disc.interpolant(mesh, result.x, K)
                return result.x[:, 1:], K
        self.kept = self.last = None
        failed = np.full((*Y.shape[:2], 1), np.nan, dtype=Y.dtype)
        return failed[:, 0], failed[:, : disc.tableau.n_stages]

    def _linearize(self, mesh, left, Y):
        residual, F = self.discretization.residual(mesh, left, Y)
        if self.kept is None:
            self.kept = self.jacobian(mesh[:1], left)
            if not self.whole.jac:
                self.whole.jacobian.njev += 1
        return residual, F, self.whole.frozen(np.diff(mesh), self.kept)

    def _extrapolate(self, mesh, y):
        """Guess by the polynomial of the step before, if this one follows."""
        last = self.last
        if (
            last is None
            or last.t[-1] != mesh[0]
            or not np.array_equal(last.y[:, -1], y)
        ):
            return lambda t: np.repeat(y[:, None], len(t), axis=1)
        return last


class _Strict:
    """The right-hand side at many points; what it raises arrives."""

    def __init__(self, rhs):
        self.rhs = rhs

    def __call__(self, t, y):
        return self.rhs.strict(t, y)
