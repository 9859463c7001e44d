"""Collocation methods, built from their nodes.

A collocation polynomial ``u`` of degree ``s`` meets the differential equation at
``s`` nodes of the step; as a Runge-Kutta method it has
``a_ij = int_0^{c_i} l_j`` and ``b_j = int_0^1 l_j`` with the Lagrange
polynomials ``l_j`` of the nodes ([1]_, II.7). Here they are computed through
Legendre polynomials, which keeps the integrals accurate for many stages.

References
----------
.. [1] E. Hairer, S. P. Norsett, G. Wanner, "Solving Ordinary Differential
       Equations I: Nonstiff Problems", 2nd ed., Springer, 1993.
"""

import re
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.polynomial import legendre
from scipy.special import roots_jacobi, roots_legendre

from ._butcher import ButcherTableau

__all__ = ["CollocationTableau", "collocation_tableau"]

# Beyond this the eigenvectors of `a` cost too many digits.
MOST_STAGES = 9


@dataclass(frozen=True, eq=False)
class CollocationTableau(ButcherTableau):
    """Coefficients of a collocation method.

    Parameters
    ----------
    name, order, a, b, c
        As for `ButcherTableau`.
    """

    def _checks(self):
        k = np.arange(1, self.n_stages + 1)
        powers = self.c[:, None] ** (k - 1)
        return super()._checks() | {
            "a must integrate polynomials of degree s - 1 exactly": np.allclose(
                self.a @ powers, self.c[:, None] ** k / k, rtol=0, atol=1e-13
            ),
            "nodes must be ascending, in [0, 1]": (
                self.c[0] >= 0 and self.c[-1] <= 1 and np.all(np.diff(self.c) > 0)
            ),
        }

    @property
    def adaptive(self):
        """Whether the tableau has an error estimate."""
        return self.n_stages > 1 and self.invertible

    @property
    def invertible(self):
        """Whether the stage derivatives follow from the stages."""
        return self.c[0] > 0

    @property
    def stiffly_accurate(self):
        """Whether the last stage is the end of the step."""
        return self.c[-1] == 1

    @property
    def error_order(self):
        """The estimate of a step behaves as ``h**(error_order + 1)``."""
        return self.n_stages

    @cached_property
    def inverse(self):
        """Inverse of `a`, which gives ``h f`` at the stages from ``X - x``."""
        return np.linalg.inv(self.a)

    @cached_property
    def end_weights(self):
        """Weights ``d = b a^-1``: the end is ``x + sum_i d_i (X_i - x)``."""
        if self.stiffly_accurate:
            return np.eye(self.n_stages)[-1]
        return self.b @ self.inverse

    @cached_property
    def start_weight(self):
        """Weight of the state before the step in that after it."""
        return float(1 - self.end_weights.sum())

    @cached_property
    def modes(self):
        """Legendre coefficients of a polynomial from its values at the nodes."""
        return np.linalg.inv(_legendre_values(self.c, self.n_stages))

    @cached_property
    def bubble(self):
        """Weights of the dense output in the form of `PiecewisePolynomial`.

        With ``h u' = sum_j m_j P_j(xi)``, ``xi = 2 theta - 1``, integration
        gives ``u = (1 - theta) x_0 + theta x_1 + theta (1 - theta)
        sum_{j > 0} m_j B_j(xi)`` with ``B_j = -2 P_j'(xi) / (j (j + 1))``, by
        Legendre's differential equation.
        """
        s = self.n_stages
        weights = np.zeros((s - 1, s))
        for j in range(1, s):
            slope = legendre.leg2poly(legendre.legder(np.eye(s)[j]))
            weights[: len(slope), j] = -2.0 / (j * (j + 1)) * slope
        return weights @ self.modes

    @cached_property
    def eigen(self):
        """Eigenvalues of `a`, eigenvectors, their inverse, and what they end in."""
        values, vectors = np.linalg.eig(self.a)
        return values, vectors, np.linalg.inv(vectors), self.end_weights @ vectors


def _legendre_values(c, s):
    """Values of the first `s` Legendre polynomials of [0, 1] at `c`."""
    return legendre.legvander(2 * c - 1, s - 1)


def _collocation(name, order, c):
    """Build the collocation method with the nodes `c`."""
    s = len(c)
    values = legendre.legvander(2 * c - 1, s)
    # integrals from 0 to c of the Legendre polynomials: (P_{j+1} - P_{j-1}) over
    # 2 (2j + 1), and c for the first
    integrals = np.empty((s, s))
    integrals[:, 0] = c
    for j in range(1, s):
        integrals[:, j] = (values[:, j + 1] - values[:, j - 1]) / (2 * (2 * j + 1))
    modes = np.linalg.inv(_legendre_values(c, s))
    return CollocationTableau(name, order, integrals @ modes, modes[0].copy(), c)


def _gauss_legendre(s):
    return (roots_legendre(s)[0] + 1) / 2


def _radau_iia(s):
    """Right Radau nodes: the zeros of ``P_{s-1}^{(1,0)}``, and 1."""
    inner = roots_jacobi(s - 1, 1, 0)[0] if s > 1 else np.empty(0)
    return np.append((inner + 1) / 2, 1.0)


# Families by name: nodes of s stages, and the order that they give.
FAMILIES = {
    "RadauIIA": (_radau_iia, lambda s: 2 * s - 1),
    "GaussLegendre": (_gauss_legendre, lambda s: 2 * s),
}
SPECIAL = {
    "BackwardEuler": (1, np.array([1.0])),
    "ImplicitMidpoint": (2, np.array([0.5])),
    "Trapezoid": (2, np.array([0.0, 1.0])),
}


@cache
def collocation_tableau(name):
    """Build the collocation method of a name, such as ``"RadauIIA9"``.

    Returns
    -------
    CollocationTableau or None
        None if there is no method of that name.
    """
    if name in SPECIAL:
        return _collocation(name, *SPECIAL[name])
    found = re.fullmatch(r"([A-Za-z]+)(\d+)", name)
    if found is None or found[1] not in FAMILIES:
        return None
    nodes, order_of = FAMILIES[found[1]]
    for s in range(1, MOST_STAGES + 1):
        if order_of(s) == int(found[2]):
            return _collocation(name, order_of(s), nodes(s))
    return None
