"""Linear systems of the stages of all steps, and of the steps themselves.

Newton's update of step ``k`` solves

    (I - h A (x) J) dX = R + 1 (x) du_{k-1},        du_k = rho du_{k-1} + d dX + r

with the residuals ``R`` of the stages and ``r`` of the end. Condensed to the
ends of the steps that is an affine recursion for ``du``.

Updates and residuals are arrays (n, p, N): components, the stages and after them
the end of the step unless that is the last stage, steps.
"""

import math
from dataclasses import replace
from functools import partial

import numpy as np

from ._array_namespace import (
    add_to_diagonal,
    array_namespace,
    contiguous,
    like,
    matrix_inverse,
    new_empty,
    new_zeros,
)
from ._factorizations import band_solvers, dense_solvers
from ._modes import find_modes
from ._scan import affine_scan
from ._structure import BandedJacobians

__all__ = [
    "CondensedStages",
    "FactorizedStages",
    "StageJacobians",
    "TransformedStages",
    "apply",
    "before",
    "invert",
    "solve",
]


class StageJacobians:
    """A linear system with Jacobians ``(n, n, s, N)``, one for each stage."""

    of_all_stages = True

    def scaled(self):
        """``h J`` in the middle of every step, (N, n, n)."""
        xp, k = array_namespace(self.h), self.jacobians.shape[2] // 2
        return xp.permute_dims(self.h * self.jacobians[:, :, k, :], (2, 0, 1))


class CondensedStages(StageJacobians):
    """Stages eliminated with the Jacobian of each of them: Newton's own method.

    Parameters
    ----------
    tableau : CollocationTableau
    h : ndarray, shape (N,)
    jacobians : ndarray, shape (n, n, s, N)
    """

    def __init__(self, tableau, h, jacobians):
        self.tableau = tableau
        self.h = h
        self.jacobians = jacobians
        self.matrices = self.response = None

    def first(self, n):
        """Keep the first `n` steps."""
        kept = CondensedStages(self.tableau, self.h[:n], self.jacobians[..., :n])
        if self.matrices is not None:
            kept.matrices = self.matrices[:n, ...]
            kept.response = self.response[:n, ...]
        return kept

    def solve(self, residual):
        """Solve for the update, shape (n, p, N)."""
        xp, (n, p, n_steps) = array_namespace(residual), residual.shape
        s = self.tableau.n_stages
        R = xp.reshape(residual[:, :s, :], (n * s, n_steps)).T
        if self.matrices is None:
            self.matrices = self._assemble()
            columns = new_empty(residual, (n_steps, n * s, n + 1))
            columns[:, :, :n] = like(residual, np.repeat(np.eye(n), s, axis=0))
            columns[:, :, n] = R
            solved = solve(self.matrices, columns)
            self.response, own = solved[:, :, :n], solved[:, :, n]
        else:
            own = solve(self.matrices, R[:, :, None])[:, :, 0]
        D = self._end(xp.reshape(self.response, (n_steps, n, s, n)))
        r = self._end(xp.reshape(own, (n_steps, n, s, 1)))[:, :, 0]
        if p > s:
            D = D + self.tableau.start_weight * like(D, np.eye(n))
            r = r + residual[:, s, :].T
        u = affine_scan(D, r)
        own = own + apply(self.response, before(u))
        update = new_empty(residual, residual.shape)
        update[:, :s, :] = xp.reshape(own.T, (n, s, n_steps))
        update[:, -1, :] = u.T
        return update

    def _assemble(self):
        """Matrices ``I - h A (x) J``, shape (N, n s, n s), components outside."""
        xp, (n, _, s, n_steps) = array_namespace(self.h), self.jacobians.shape
        hJ = contiguous(xp.permute_dims(self.h * self.jacobians, (3, 0, 1, 2)))
        M = hJ[:, :, None, :, :] * -self.tableau.a[:, None, :]
        M = xp.reshape(M, (n_steps, n * s, n * s))
        add_to_diagonal(xp, M, 1.0)
        return M

    def _end(self, stages):
        """Combine stages (N, n, s, m) to the end of the step (N, n, m)."""
        if self.tableau.stiffly_accurate:
            return stages[:, :, -1, :]
        return self.tableau.end_weights @ stages


class TransformedStages:
    """Stages decoupled by the eigenvectors of ``A``: one Jacobian for a step.

    With ``A = T Lambda T^-1`` the system falls apart into one of size ``n`` for
    every eigenvalue, of complex pairs one of them ([1]_, IV.8). The matrices
    ``(I - h lambda_i J)^-1`` also give the Jacobian of the step, which is the
    stability function of ``h J`` in partial fractions.

    Parameters
    ----------
    tableau : CollocationTableau
    h : ndarray, shape (N,)
    jacobians : ndarray, shape (n, n, N)

    References
    ----------
    .. [1] E. Hairer, G. Wanner, "Solving Ordinary Differential Equations II:
           Stiff and Differential-Algebraic Problems", 2nd ed., Springer, 1996.
    """

    of_all_stages = False

    def __init__(self, tableau, h, jacobians):
        self.tableau = tableau
        self.h = h
        self.jacobians = jacobians
        self.inverses = self.steps = None

    def first(self, n):
        """Keep the first `n` steps."""
        kept = TransformedStages(self.tableau, self.h[:n], self.jacobians[..., :n])
        if self.inverses is not None:
            kept.inverses = [inverses[:, :n, ...] for inverses in self.inverses]
            kept.steps = self.steps[:n, ...]
        return kept

    def solve(self, residual):
        """Solve for the update, shape (n, p, N)."""
        xp, (n, p, n_steps) = array_namespace(residual), residual.shape
        s, modes = self.tableau.n_stages, find_modes(self.tableau, residual)
        if self.inverses is None:
            self._invert(modes)
        groups = list(zip(modes.groups, self.inverses, strict=True))
        R = xp.reshape(xp.permute_dims(residual[:, :s, :], (1, 2, 0)), (s, -1))
        own = [
            apply(inverses, xp.reshape(group.to_modes @ R, (-1, n_steps, n)))
            for group, inverses in groups
        ]
        r = modes.sum(
            group.end_row @ xp.reshape(W, (-1, n_steps * n))
            for (group, _), W in zip(groups, own, strict=True)
        )
        r = xp.reshape(r, (n_steps, n))
        if p > s:
            r = r + residual[:, s, :].T
        u = affine_scan(self.steps, r)
        left, stages = before(u), []
        for (group, inverses), W in zip(groups, own, strict=True):
            W += group.ones * apply(inverses, xp.astype(left, W.dtype))
            stages.append(group.from_modes @ xp.reshape(W, (-1, n_steps * n)))
        stages = xp.reshape(modes.sum(stages), (s, n_steps, n))
        update = new_empty(residual, residual.shape)
        update[:, :s, :] = xp.permute_dims(stages, (2, 0, 1))
        update[:, -1, :] = u.T
        return update

    def scaled(self):
        """``h J`` of every step, (N, n, n)."""
        xp = array_namespace(self.h)
        return contiguous(xp.permute_dims(self.h * self.jacobians, (2, 0, 1)))

    def _invert(self, modes):
        """Invert ``I - h lambda J``, (m, N, n, n) for each group of eigenvalues."""
        xp, hJ = array_namespace(self.h), self.scaled()
        identity, shape = like(hJ, np.eye(hJ.shape[1])), hJ.shape
        self.inverses = [
            xp.reshape(
                invert(xp.reshape(identity - group.values * hJ, (-1, *shape[1:]))),
                (-1, *shape),
            )
            for group in modes.groups
        ]
        steps = modes.sum(
            (group.end_row * group.ones[None, :, 0, 0])
            @ xp.reshape(inverses, (-1, hJ.size))
            for group, inverses in zip(modes.groups, self.inverses, strict=True)
        )
        self.steps = xp.reshape(steps, shape)
        if not self.tableau.stiffly_accurate:
            self.steps = self.steps + self.tableau.start_weight * identity


class FactorizedStages:
    """Stages decoupled as in `TransformedStages`, for large systems.

    The Jacobians of the steps are full where those of the right-hand side have a
    band, and cost more than factorizations where those are full, so that they are
    not formed: the recursion goes from step to step with the factorized matrices
    ``I - h lambda J``. For arrays of NumPy's, by LAPACK.

    Parameters
    ----------
    tableau : CollocationTableau
    h : ndarray, shape (N,)
    jacobians : BandedJacobians or ndarray, shape (n, n, N)
    """

    of_all_stages = False

    def __init__(self, tableau, h, jacobians):
        self.tableau = tableau
        self.h = h
        self.given = jacobians
        self.solvers = None

    @property
    def jacobians(self):
        """The matrices, full or in band form, steps last."""
        banded = isinstance(self.given, BandedJacobians)
        return self.given.band if banded else self.given

    def first(self, n):
        """Keep the first `n` steps."""
        if isinstance(self.given, BandedJacobians):
            given = replace(self.given, band=self.given.band[..., :n])
        else:
            given = self.given[..., :n]
        kept = FactorizedStages(self.tableau, self.h[:n], given)
        kept.solvers = self.solvers
        return kept

    def solve(self, residual):
        """Solve for the update, shape (n, p, N)."""
        n, p, n_steps = residual.shape
        s, tableau = self.tableau.n_stages, self.tableau
        modes = find_modes(tableau, residual)
        if self.solvers is None:
            self.solvers = self._factorize(modes)
        order = getattr(self.given, "order", slice(None))
        residual = np.array(residual[order].transpose(2, 1, 0), order="C")
        own = modes.joined(modes.to_parts @ residual[:, :s])
        if p > s:
            ends = residual[:, s]
        else:
            ends = np.zeros((n_steps, n), dtype=residual.dtype)
        u, end = np.zeros(n, dtype=residual.dtype), np.empty(n, dtype=own.dtype)
        for W, solve, last in zip(own, self.solvers, ends, strict=False):
            W += modes.ones_column * u
            solve(W)
            if p > s:
                last += tableau.start_weight * u
            last += modes.real_part(np.dot(modes.end_row, W, out=end))
            u = last
        stages = modes.from_parts @ modes.separated(own)
        update = np.empty((n, p, n_steps), dtype=residual.dtype)
        update[order, :s] = stages.transpose(2, 1, 0)
        update[order, -1] = ends.T
        return update

    def scaled(self):
        """``h J`` of every step, `BandedJacobians` or (N, n, n)."""
        if isinstance(self.given, BandedJacobians):
            return replace(self.given, band=self.h * self.given.band)
        return np.moveaxis(self.h * self.given, -1, 0)

    def _factorize(self, modes):
        """Make a function for each step that solves with all its matrices."""
        scaled = self.scaled()
        if isinstance(scaled, BandedJacobians):
            return band_solvers(scaled, modes.values)
        if not modes.real:
            scaled = scaled + 0j
        return dense_solvers(scaled, modes.values)


def apply(matrices, vectors):
    """Products of matrices (..., n, n) and vectors (..., n)."""
    return (matrices @ vectors[..., None])[..., 0]


def before(u):
    """States before the steps from those after them, (N, n), zero at the start."""
    return array_namespace(u).concat([new_zeros(u, (1, u.shape[1])), u[:-1, :]])


def solve(matrices, columns):
    """Solve many systems; NaN where a matrix is singular."""
    return _each(array_namespace(matrices).linalg.solve, matrices, columns)


def invert(matrices):
    """Invert many matrices; NaN where one is singular."""
    return _each(partial(matrix_inverse, array_namespace(matrices)), matrices)


def _each(operation, *arrays):
    """Results of an operation on many matrices; NaN where one is singular."""
    try:
        return operation(*arrays)
    except np.linalg.LinAlgError:
        pass
    results = []
    for k in range(arrays[0].shape[0]):
        items = [array[k, ...] for array in arrays]
        try:
            results.append(operation(*items))
        except np.linalg.LinAlgError:
            results.append(items[-1] * math.nan)
    return array_namespace(*arrays).stack(results)
