"""A regression of ``F(y, t)``, and the trajectory as its fixed points.

For a scalar problem ``dy/dt = f(t, y)`` a function ``F(y, t)`` is fitted to
random points of a box; the trajectory is where ``F(y, t) = y``. Equation
numbers are those of Veselsky's paper.
"""

import math
from dataclasses import dataclass

import numpy as np

from ._array_namespace import array_namespace, device_of
from ._chebyshev import chebyshev_derivative_rows, chebyshev_rows

__all__ = [
    "BASES",
    "FORMULATIONS",
    "FittedFunction",
    "ProductBasis",
    "SingularEquations",
    "collocation_rows",
    "fixed_points",
    "normal_equations",
    "regress",
    "sample_box",
]

# Formulations by name: whether the rows have the term `f dF/dy`.
FORMULATIONS = {"simple": False, "residual": True}
# Numbers in a block of rows; smaller ones are no faster.
BLOCK = 2**20
# Newton's denominators are kept this far from zero.
SMALLEST_SLOPE = 1e-12


class SingularEquations(Exception):
    """The normal equations have no unique solution."""


def _monomials(n, x):
    """Values and derivatives of 1, x, ..., x**(n - 1), shapes (n, k)."""
    xp = array_namespace(x)
    values, slopes = [xp.ones_like(x)], [xp.zeros_like(x)]
    for m in range(1, n):
        slopes.append(m * values[-1])
        values.append(x * values[-1])
    return xp.stack(values), xp.stack(slopes)


def _chebyshev_polynomials(n, x):
    """Values and derivatives of T_0, ..., T_{n-1}, shapes (n, k)."""
    xp = array_namespace(x)
    values = chebyshev_rows(xp, x, n - 1)
    slopes = chebyshev_derivative_rows(xp, x, n - 1)
    return xp.stack(values), xp.stack(slopes)


# Families of polynomials by name, and whether they are meant for [-1, 1].
BASES = {"monomial": (_monomials, False), "chebyshev": (_chebyshev_polynomials, True)}


@dataclass(frozen=True)
class ProductBasis:
    """Products of polynomials in y with polynomials in t, eq. (2).

    Parameters
    ----------
    name : {"monomial", "chebyshev"}
        The family. Monomials are those of y and t themselves; Chebyshev
        polynomials those of the box, scaled to the square [-1, 1]**2.
    n_basis : tuple of int
        Numbers (M, N) of polynomials in y and in t.
    y_range, t_range : tuple of float
        Middle and half width of the box.
    """

    name: str
    n_basis: tuple[int, int]
    y_range: tuple[float, float]
    t_range: tuple[float, float]

    def in_y(self, y):
        """Values and derivatives of the M polynomials in y, shapes (M, k)."""
        return self._factor(self.n_basis[0], y, *self.y_range)

    def in_t(self, t):
        """Values and derivatives of the N polynomials in t, shapes (N, k)."""
        return self._factor(self.n_basis[1], t, *self.t_range)

    def _factor(self, n, x, middle, half_width):
        polynomials, scaled = BASES[self.name]
        if not scaled:
            return polynomials(n, x)
        values, slopes = polynomials(n, (x - middle) / half_width)
        return values, slopes / half_width


@dataclass(frozen=True)
class FittedFunction:
    """The function F(y, t) of eq. (2).

    Parameters
    ----------
    basis : ProductBasis
    coefficients : array, shape (M, N)
    """

    basis: ProductBasis
    coefficients: object

    def __call__(self, t, y):
        """Values of F and dF/dy at k points, shapes (k,)."""
        return self.along(t)(y)

    def along(self, t):
        """Return F and dF/dy at the times `t` (k,) as a function of y (k,)."""
        xp = array_namespace(t)
        in_time = self.coefficients @ self.basis.in_t(t)[0]  # (M, k)

        def evaluate(y):
            values, slopes = self.basis.in_y(y)
            return xp.sum(values * in_time, axis=0), xp.sum(slopes * in_time, axis=0)

        return evaluate


def sample_box(rng, n_samples, y0, radius, t0, tf):
    """Draw points uniformly from (y0 - radius, y0 + radius) x (t0, tf).

    Parameters
    ----------
    rng : numpy.random.Generator
    n_samples : int
    y0, radius, t0, tf : float

    Returns
    -------
    t, y : ndarray, shape (n_samples,)
    """
    y = y0 - radius + 2 * radius * rng.random(n_samples)
    t = t0 + (tf - t0) * rng.random(n_samples)
    return t, y


def collocation_rows(basis, formulation, t, y, f):
    """Equations of the coefficients at k points, transposed: shape (M N, k).

    With ``formulation="simple"`` they are the values of ``dF/dt``, eq. (4), with
    ``"residual"`` those of ``dF/dt + f dF/dy``, of every product of the basis;
    the right-hand sides are the values of `f` in both.
    """
    xp = array_namespace(t, y, f)
    (P, dP), (Q, dQ) = basis.in_y(y), basis.in_t(t)
    rows = P[:, None, :] * dQ[None, :, :]
    if FORMULATIONS[formulation]:
        rows += (f * dP)[:, None, :] * Q[None, :, :]
    return xp.reshape(rows, (-1, t.shape[0]))


def normal_equations(rhs, basis, formulation, t, y):
    """Sum ``B^T B`` and ``B^T f`` over the points, a block at a time.

    Parameters
    ----------
    rhs : callable
        ``rhs(t, y)`` gives the values of f at points of shape (k,).
    basis : ProductBasis
    formulation : {"simple", "residual"}
    t, y : array, shape (K,)

    Returns
    -------
    matrix : array, shape (M N, M N)
    vector : array, shape (M N,)
    """
    size = math.prod(basis.n_basis)
    step, n_samples = max(1, BLOCK // size), t.shape[0]
    matrix = vector = 0.0
    for start in range(0, n_samples, step):
        block = slice(start, min(start + step, n_samples))
        f = rhs(t[block], y[block])
        rows = collocation_rows(basis, formulation, t[block], y[block], f)
        matrix = matrix + rows @ rows.T
        vector = vector + rows @ f
    return matrix, vector


def regress(rhs, basis, formulation, points, initial, *, ic_weight, reg_lambda):
    """Fit F by least squares, eqs. (5)-(7).

    Parameters
    ----------
    rhs : callable
        ``rhs(t, y)`` gives the values of f at points of shape (k,).
    basis : ProductBasis
    formulation : {"simple", "residual"}
    points : tuple of array, shape (K,)
        Times and states of the collocation points.
    initial : tuple of array, shape (1,)
        Initial time and state.
    ic_weight : float
        Weight of the initial condition ``F(y0, t0) = y0``, eq. (6).
    reg_lambda : float
        Tikhonov's parameter.

    Returns
    -------
    FittedFunction

    Raises
    ------
    SingularEquations
        If the normal equations have no unique solution.
    """
    t0, y0 = initial
    xp = array_namespace(t0, y0)
    matrix, vector = normal_equations(rhs, basis, formulation, *points)
    P, Q = basis.in_y(y0)[0], basis.in_t(t0)[0]
    phi = xp.reshape(P @ Q.T, (-1,))
    matrix = matrix + ic_weight * phi[:, None] * phi[None, :]
    one = xp.eye(phi.shape[0], dtype=phi.dtype, device=device_of(phi))
    matrix = matrix + reg_lambda * one
    try:
        a = xp.linalg.solve(matrix, vector + ic_weight * phi * y0)
    except np.linalg.LinAlgError:
        raise SingularEquations from None
    if not bool(xp.all(xp.isfinite(a))):  # what CuPy says
        raise SingularEquations
    return FittedFunction(basis, xp.reshape(a, basis.n_basis))


def fixed_points(fitted, t, y, *, damping, tol, max_iter, check=None):
    """Solve ``F(y, t) = y`` at all times by damped Newton steps, eqs. (8)-(9).

    Parameters
    ----------
    fitted : FittedFunction
    t, y : array, shape (k,)
        Times and where to start.
    damping : float
        The factor alpha of the steps.
    tol : float
        The iteration ends when no state changes by more.
    max_iter : int
        Largest number of iterations.
    check : callable, optional
        Called before every iteration.

    Returns
    -------
    y : array, shape (k,)
    change : array, shape (k,)
        Size of the last step at every time.
    residuals : list of float
        Largest residual ``|F - y|`` before every step.
    """
    xp = array_namespace(t, y)
    evaluate = fitted.along(t)
    change, residuals = xp.full_like(y, math.inf), []
    for _ in range(max_iter):
        if check is not None:
            check()
        F, slope = evaluate(y)
        residual, slope = F - y, slope - 1
        # the appendix' own guard turns slopes just below zero into zero
        guard = xp.copysign(xp.full_like(slope, SMALLEST_SLOPE), slope)
        slope = xp.where(xp.abs(slope) < SMALLEST_SLOPE, guard, slope)
        y_new = y - damping * residual / slope
        change = xp.abs(y_new - y)
        residuals.append(float(xp.max(xp.abs(residual))))
        y = y_new
        if not bool(xp.any(change >= tol)):  # NaN stays
            break
    return y, change, residuals
