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
from scipy.linalg import get_lapack_funcs

from ._array_namespace import (
    add_to_diagonal,
    array_namespace,
    contiguous,
    is_complex,
    like,
    matrix_inverse,
    new_empty,
    new_zeros,
)
from ._scan import affine_scan
from ._structure import BandedJacobians

__all__ = [
    "CondensedStages",
    "FactorizedStages",
    "TransformedStages",
    "apply",
    "before",
    "invert",
    "solve",
]


class CondensedStages:
    """Stages eliminated with the Jacobian of each of them: Newton's own method.

    Parameters
    ----------
    tableau : CollocationTableau
    h : ndarray, shape (N,)
    jacobians : ndarray, shape (n, n, s, N)
    """

    of_all_stages = True

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
        self.inverses = None

    def first(self, n):
        """Keep the first `n` steps."""
        kept = TransformedStages(self.tableau, self.h[:n], self.jacobians[..., :n])
        if self.inverses is not None:
            kept.inverses = [inverse[:n, ...] for inverse in self.inverses]
        return kept

    def solve(self, residual):
        """Solve for the update, shape (n, p, N)."""
        xp, (n, p, _) = array_namespace(residual), residual.shape
        s, tableau = self.tableau.n_stages, self.tableau
        modes = _modes(tableau, not is_complex(residual))
        if self.inverses is None:
            self.inverses = self._invert(modes)
        R = xp.permute_dims(residual[:, :s, :], (2, 1, 0))  # (N, s, n)
        own = [
            apply(inverse, xp.tensordot(R, row, axes=((1,), (0,))))
            for inverse, row in zip(self.inverses, modes.to_modes, strict=True)
        ]
        r = modes.combine(modes.end, own)
        weights = [end * one for end, one in zip(modes.end, modes.ones, strict=True)]
        D = modes.combine(weights, self.inverses)
        if p > s:
            D = D + tableau.start_weight * like(D, np.eye(n))
            r = r + residual[:, s, :].T
        u = affine_scan(D, r)
        left = before(u)
        own = [
            w + one * apply(inverse, left)
            for w, one, inverse in zip(own, modes.ones, self.inverses, strict=True)
        ]
        update = new_empty(residual, residual.shape)
        for i in range(s):
            update[:, i, :] = modes.combine(modes.from_modes[i], own).T
        update[:, -1, :] = u.T
        return update

    def _invert(self, modes):
        """Inverses of ``I - h lambda J``, one (N, n, n) for each eigenvalue."""
        xp = array_namespace(self.h)
        hJ = contiguous(xp.permute_dims(self.h * self.jacobians, (2, 0, 1)))
        identity = like(hJ, np.eye(hJ.shape[1]))
        return [invert(identity - value * hJ) for value in modes.values]


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
        modes = _modes(tableau, not is_complex(residual))
        if self.solvers is None:
            self.solvers = self._factorize(modes)
        order = getattr(self.given, "order", np.arange(n))
        residual = np.ascontiguousarray(residual[order].transpose(1, 2, 0))
        own = modes.joined(modes.to_parts @ residual[:s].reshape(s, -1))
        own = own.reshape(-1, n_steps, n)
        ends = residual[s] if p > s else np.zeros_like(residual[0])
        u, end = np.zeros(n, dtype=residual.dtype), np.empty(n, dtype=own.dtype)
        for k in range(n_steps):
            W = own[:, k]
            W += modes.ones_column * u
            for solve, w in zip(self.solvers[k], W, strict=True):
                solve(w)
            if p > s:
                ends[k] += tableau.start_weight * u
            ends[k] += _real_if(modes.real, np.matmul(modes.end_row, W, out=end))
            u = ends[k]
        parts = modes.separated(own.reshape(len(own), -1))
        stages = (modes.from_parts @ parts).reshape(s, n_steps, n)
        update = np.empty((n, p, n_steps), dtype=residual.dtype)
        update[order, :s] = stages.transpose(2, 0, 1)
        update[order, -1] = ends.T
        return update

    def _factorize(self, modes):
        """Solvers with the matrices of every step, one for each eigenvalue."""
        if isinstance(self.given, BandedJacobians):
            return _band_solvers(self.given, self.h, modes.values)
        scaled = np.moveaxis(self.h * self.given, -1, 0)
        if not modes.real:
            scaled = scaled + 0j
        return [[_dense_solver(-v * hJ) for v in modes.values] for hJ in scaled]


def _band_solvers(jacobians, h, values):
    """Factorize ``I - h lambda J`` for all steps and `values` of lambda.

    Complex factorizations take no longer than real ones where the band is narrow.

    Returns
    -------
    list of list of callable
        They solve in place with a contiguous complex vector.
    """
    lower, upper, band = jacobians.lower, jacobians.upper, jacobians.band
    width, n, n_steps = band.shape
    # every step's matrix in the order of LAPACK's, behind room for what pivoting adds
    matrices = np.zeros((len(values), n_steps, n, lower + width), dtype=complex)
    scaled = (h * band).transpose(2, 1, 0)
    for i, value in enumerate(values):
        np.multiply(scaled, -value, out=matrices[i, ..., lower:])
    matrices[..., lower + upper] += 1
    gbtrf, gbtrs = get_lapack_funcs(("gbtrf", "gbtrs"), (matrices,))

    def solver(matrix):
        lu, pivots, info = gbtrf(matrix, lower, upper, overwrite_ab=True)
        if info != 0:
            return _spoil
        return lambda b: gbtrs(lu, lower, upper, b, pivots, overwrite_b=True)

    return [[solver(one[k].T) for one in matrices] for k in range(n_steps)]


def _dense_solver(matrix):
    """Factorize the identity plus a matrix; return a function that solves in place.

    The right sides are complex; for a real matrix only their real parts count.
    """
    matrix = np.asfortranarray(matrix)
    matrix[np.diag_indices(len(matrix))] += 1
    getrf, getrs = get_lapack_funcs(("getrf", "getrs"), (matrix,))
    lu, pivots, info = getrf(matrix, overwrite_a=True)
    if info != 0:
        return _spoil
    if is_complex(lu):
        return lambda b: getrs(lu, pivots, b, overwrite_b=True)

    def solve(b):
        b[:] = getrs(lu, pivots, b.real)[0]

    return solve


def _spoil(b):
    """Solve with a singular matrix."""
    b[:] = math.nan


class _Modes:
    """The eigenvalues of ``A`` that are needed, and the way there and back.

    For real problems one of each complex pair serves for both.
    """

    def __init__(self, tableau, real):
        values, vectors, inverse, end = tableau.eigen
        keep = values.imag >= 0 if real else np.full(len(values), True)
        values, vectors = values[keep], vectors[:, keep]
        # rows and columns that belong to real eigenvalues are real
        single = [bool(value.imag == 0) and real for value in values]
        self.real = real
        self.weights = [1.0 if one or not real else 2.0 for one in single]
        self.values = [v.item() if v.imag else v.real.item() for v in values]
        rows = [
            _real_if(one, row) for one, row in zip(single, inverse[keep], strict=True)
        ]
        self.to_modes = [like(tableau.a, row) for row in rows]
        self.ones = [row.sum().item() for row in rows]
        self.from_modes = [_as_numbers(single, row) for row in vectors]
        self.end = _as_numbers(single, end[keep])
        self.ones_column = np.array(self.ones)[:, None]
        self.end_row = np.multiply(self.weights, self.end)
        # the same maps for real and imaginary parts, which save half of the products
        to_modes = inverse[keep]
        from_modes = np.multiply(self.from_modes, self.weights)
        if real:
            to_modes = np.concatenate([to_modes.real, to_modes.imag])
            from_modes = np.hstack([from_modes.real, -from_modes.imag])
        self.to_parts, self.from_parts = to_modes, np.ascontiguousarray(from_modes)

    def joined(self, parts):
        """Values of all modes, one after the other, from their parts."""
        if not self.real:
            return parts
        real, imag = np.split(parts, 2)
        modes = np.empty(real.shape, dtype=complex)
        modes.real, modes.imag = real, imag
        return modes

    def separated(self, modes):
        """Parts of all modes."""
        return np.concatenate([modes.real, modes.imag]) if self.real else modes

    def combine(self, coefficients, arrays):
        """Weighted sum over the modes, real for real problems."""
        total = 0.0
        for c, weight, array in zip(coefficients, self.weights, arrays, strict=True):
            term = weight * c * array
            if self.real and is_complex(term):
                term = array_namespace(term).real(term)
            total = total + term
        return total


def _real_if(condition, values):
    return values.real if condition else values


def _as_numbers(single, row):
    """Python's numbers of a row, real ones for the real eigenvalues."""
    return [_real_if(one, c).item() for one, c in zip(single, row, strict=True)]


def _modes(tableau, real):
    """Find the modes once for a tableau and a kind of number.

    They are kept with the tableau, so that memory of a device goes with it.
    """
    known = vars(tableau).setdefault("_known_modes", {})
    if real not in known:
        known[real] = _Modes(tableau, real)
    return known[real]


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
