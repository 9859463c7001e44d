"""Chebyshev polynomials: products of limited total degree, and series in time.

Source: L. N. Trefethen, "Approximation Theory and Approximation Practice", SIAM,
2013, chapters 2-4 and 6.
"""

import math
from functools import cached_property

import numpy as np

from ._array_namespace import device_of, like

__all__ = [
    "POINTS_PER_COEFFICIENT",
    "TotalDegreeBasis",
    "box_points",
    "chebyshev_derivative_rows",
    "chebyshev_rows",
    "coefficients_from_values",
    "integration_matrix",
    "lobatto_points",
]

POINTS_PER_COEFFICIENT = 2.5


def chebyshev_rows(xp, x, degree):
    """Values ``T_0(x), ..., T_degree(x)``, a list of arrays of the shape of `x`."""
    rows = [xp.ones_like(x), x]
    for _ in range(degree - 1):
        rows.append(2 * x * rows[-1] - rows[-2])
    return rows[: degree + 1]


def chebyshev_derivative_rows(xp, x, degree):
    """Slopes ``T'_0(x), ..., T'_degree(x)``, by ``T'_k = k U_{k-1}``."""
    second_kind = [xp.zeros_like(x), xp.ones_like(x)]
    for _ in range(degree - 1):
        second_kind.append(2 * x * second_kind[-1] - second_kind[-2])
    return [k * second_kind[k] for k in range(degree + 1)]


def lobatto_points(n_points):
    """Extrema of ``T_{n_points - 1}`` on [-1, 1], ascending, ends included."""
    k = np.arange(n_points)
    return np.sin(np.pi / 2 * (2 * k / (n_points - 1) - 1))


def coefficients_from_values(n_points):
    """Matrix from values at `lobatto_points` to Chebyshev coefficients."""
    return np.linalg.inv(np.polynomial.chebyshev.chebvander(*_square(n_points)))


def integration_matrix(n_points):
    """Matrix from values at `lobatto_points` to integrals from -1 to those points.

    Exact for polynomials of degree below `n_points`. The first row is zero.
    """
    points = lobatto_points(n_points)
    integrals = np.stack(
        [
            np.polynomial.chebyshev.chebval(
                points, np.polynomial.chebyshev.chebint(unit, lbnd=-1)
            )
            for unit in np.eye(n_points)
        ],
        axis=1,
    )
    matrix = integrals @ coefficients_from_values(n_points)
    matrix[0] = 0
    return matrix


def _square(n_points):
    return lobatto_points(n_points), n_points - 1


def box_points(basis):
    """Points of the unit box at which a polynomial of `basis` is well determined.

    A grid of Chebyshev points for one or two variables; for more, a Halton
    sequence mapped to the same density.

    Parameters
    ----------
    basis : TotalDegreeBasis

    Returns
    -------
    ndarray, shape (n, K)
        At most about `POINTS_PER_COEFFICIENT` times as many points as the basis has
        functions.
    """
    n, per_axis = basis.n, basis.degree + (2 if basis.n > 1 else 4)
    if n < 3:
        axis = np.cos(np.pi * (np.arange(per_axis) + 0.5) / per_axis)
        return np.stack(np.meshgrid(*[axis] * n)).reshape(n, -1)
    from scipy.stats import qmc  # only here: its import takes long

    n_points = int(POINTS_PER_COEFFICIENT * basis.size) + 2 * n
    uniform = qmc.Halton(n, rng=0).random(n_points)
    return np.sin(np.pi * (uniform.T - 0.5))


class TotalDegreeBasis:
    """Products of Chebyshev polynomials in `n` variables, of total degree limited.

    Parameters
    ----------
    n : int
        Number of variables, at least 1.
    degree : int
        Largest sum of the degrees of the factors, at least 1.

    Attributes
    ----------
    size : int
        Number of basis functions, ``(n + degree)! / (n! degree!)``.
    exponents : ndarray of int, shape (size, n)
        Degrees of the factors.
    """

    def __init__(self, n, degree):
        self.n = n
        self.degree = degree
        self.size = math.comb(n + degree, degree)

    @cached_property
    def exponents(self):
        """Degrees of the factors of every basis function."""
        return self._plan[1]

    @cached_property
    def totals(self):
        """Total degree of every basis function."""
        return self.exponents.sum(axis=1)

    @cached_property
    def _plan(self):
        """Orders by total degree of the bases in fewer variables; exponents.

        The functions of k variables are, for every degree i of the last factor,
        those of k - 1 variables of total degree up to ``degree - i``: the first
        ones, once they are sorted by total degree.
        """
        p = self.degree
        exponents, orders = np.arange(p + 1)[:, None], [None]
        for k in range(1, self.n):
            order = np.argsort(exponents.sum(axis=1), kind="stable")
            orders.append(order)
            exponents = exponents[order]
            blocks = []
            for i in range(p + 1):
                block = exponents[: math.comb(k + p - i, k)]
                blocks.append(np.insert(block, k, i, axis=1))
            exponents = np.concatenate(blocks)
        return orders, exponents

    @cached_property
    def _placed_orders(self):
        """Orders of `_plan` where they have been used before, by library and device."""
        return {}

    def _order(self, k, x):
        """Order of the basis in k variables, where `x` is."""
        order = self._plan[0][k]
        if type(x) is np.ndarray:
            return order
        place = k, type(x), str(device_of(x))  # CuPy's devices have no hash
        if place not in self._placed_orders:
            self._placed_orders[place] = like(x, order)
        return self._placed_orders[place]

    def _products(self, xp, factors):
        """Products of the rows of ``factors[j]``, each of shape (degree + 1, m)."""
        p = self.degree
        values = factors[0]
        for k in range(1, self.n):
            if k > 1:  # those of one variable are in order
                values = xp.take(values, self._order(k, values), axis=0)
            blocks = [
                factors[k][i : i + 1, :] * values[: math.comb(k + p - i, k), :]
                for i in range(p + 1)
            ]
            values = xp.concat(blocks, axis=0)
        return values

    def values(self, xp, x):
        """Values at points `x` (n, m), shape (size, m)."""
        rows = xp.stack(chebyshev_rows(xp, x, self.degree))
        return self._products(xp, [rows[:, j, :] for j in range(self.n)])

    def gradients(self, xp, x):
        """Gradients at points `x` (n, m), shape (n, size, m)."""
        rows = xp.stack(chebyshev_rows(xp, x, self.degree))
        slopes = xp.stack(chebyshev_derivative_rows(xp, x, self.degree))
        factors = [rows[:, j, :] for j in range(self.n)]
        return xp.stack(
            [
                self._products(xp, [*factors[:j], slopes[:, j, :], *factors[j + 1 :]])
                for j in range(self.n)
            ]
        )
