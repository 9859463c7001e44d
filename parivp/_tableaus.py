"""The Runge-Kutta methods by name.

A method file is little more than its coefficients.  Those of the embedded
pairs are read off SciPy's public solver classes, which keep them; those of the
collocation methods follow from their nodes.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.integrate import DOP853, RK23, RK45

from ._butcher import ButcherTableau, elementary_weights
from ._collocation_tableaus import collocation_tableau

__all__ = ["TABLEAUS", "ExplicitTableau", "find_tableau"]


@dataclass(frozen=True, eq=False)
class ExplicitTableau(ButcherTableau):
    r"""Coefficients of an explicit Runge-Kutta method.

    One derivative more than the stages', at the end of the step, is numbered
    ``s``; error weights and dense output may use it.

    Parameters
    ----------
    name, order, a, b, c
        As for `ButcherTableau`, with `a` strictly lower triangular.
    error_weights : ndarray, shape (q, s + 1)
        Weights of the embedded error estimates: none, one, or those of DOP853,
        which are combined as in [1]_, Section II.10. Of these the fifth-order
        estimate comes first and the third-order one last; those between guard
        the first against vanishing by accident.
    error_order : int
        The estimate of a step behaves as ``h**(error_order + 1)``.
    extra_a, extra_c : ndarray, shape (e, s + 1 + e) and (e,)
        Stages that only the dense output needs.
    interpolation : ndarray, shape (s + 1 + e, p)
        Dense output
        ``x(t + theta h) = x + h sum_ij k_i interpolation_ij theta**(j + 1)``
        with the stage derivatives ``k_i``. By default the cubic Hermite
        polynomial through both ends.

    References
    ----------
    .. [1] E. Hairer, S. P. Norsett, G. Wanner, "Solving Ordinary Differential
           Equations I: Nonstiff Problems", 2nd ed., Springer, 1993.
    """

    error_weights: np.ndarray | None = None
    error_order: int = 0
    extra_a: np.ndarray | None = None
    extra_c: np.ndarray = field(default_factory=lambda: np.empty(0))
    interpolation: np.ndarray | None = None

    def __post_init__(self):
        s = self.n_stages
        if self.error_weights is None:
            object.__setattr__(self, "error_weights", np.empty((0, s + 1)))
        if self.extra_a is None:
            object.__setattr__(self, "extra_a", np.empty((0, s + 1)))
        if self.interpolation is None:
            object.__setattr__(self, "interpolation", _hermite(self.b))
        super().__post_init__()

    def _checks(self):
        s, e = self.n_stages, len(self.extra_c)
        return super()._checks() | {
            "a must be strictly lower triangular": not np.triu(self.a).any(),
            "error weights must have s + 1 columns and rows that sum to 0": (
                self.error_weights.shape[1] == s + 1
                and np.allclose(self.error_weights.sum(1), 0, atol=1e-14)
            ),
            "rows of extra_a must sum to extra_c": (
                len(self.extra_a) == e
                and np.allclose(self.extra_a.sum(1), self.extra_c, atol=1e-13)
            ),
            "interpolation must reach the step's end": np.allclose(
                self.interpolation.sum(1),
                np.pad(self.b, (0, 1 + e)),
                atol=1e-12,
            ),
        }

    @property
    def adaptive(self):
        """Whether the tableau has an error estimate."""
        return len(self.error_weights) > 0

    @cached_property
    def error_uses_end(self):
        """Whether the estimate needs the derivative at the step's end."""
        return bool(self.error_weights[:, -1].any())

    @cached_property
    def bubble(self):
        """Weights of the dense output in a form exact at both ends.

        With ``p_i(theta)`` the polynomials of `interpolation`,
        ``p_i(theta) - b_i theta = theta (1 - theta) sum_m bubble_mi xi**m``,
        ``xi = 2 theta - 1``, so that ``x(theta) = (1 - theta) x_0 + theta x_1 +
        theta (1 - theta) h sum_mi bubble_mi k_i xi**m`` returns both ends
        without rounding.
        """
        q = self.interpolation.copy()
        q[:, 0] -= np.pad(self.b, (0, len(q) - self.n_stages))
        q = np.cumsum(q, axis=1)[:, :-1]  # divided by theta (1 - theta)
        power, weights = np.ones(1), np.zeros((q.shape[1], len(q)))
        for m in range(q.shape[1]):
            weights[: m + 1] += np.outer(power, q[:, m])
            power = np.convolve(power, [0.5, 0.5])  # theta = (1 + xi) / 2
        return weights


def _hermite(b):
    """Cubic Hermite interpolation through both ends of a step."""
    p = np.zeros((len(b) + 1, 3))
    p[:-1] = np.outer(b, [0, 3, -2])
    p[0] += [1, -2, 1]
    p[-1] += [0, -1, 1]
    return p


def _guards(a, weights, order):
    """Further error estimates of the same order as `weights`.

    Where the right-hand side jumps within a step, one estimate can vanish by
    accident, and the step pass with an error a thousand times the tolerance.
    The other weights that annihilate all trees up to the order hardly vanish
    with it. On smooth solutions their norm is about 10 times the estimate
    (``python -m benchmarks.error_estimates``); scaled accordingly, they change
    little there.
    """
    s = len(a)
    conditions = np.array([phi for phi, _ in elementary_weights(a, order)])
    _, values, rows = np.linalg.svd(conditions)
    rank = int(np.sum(values > 1e-10 * values[0]))
    scale = 0.1 * np.linalg.norm(weights)
    return np.pad(scale * rows[rank:], ((0, 0), (0, len(weights) - s)))


def _from_scipy(name, cls, **dense):
    s = cls.n_stages
    a = np.pad(cls.A, ((0, 0), (0, s - cls.A.shape[1])))
    if cls is DOP853:
        error_weights = np.vstack([cls.E5, _guards(a, cls.E5, 5), cls.E3])
    else:
        error_weights = np.atleast_2d(cls.E)
    return ExplicitTableau(
        name,
        cls.order,
        a,
        np.asarray(cls.B, dtype=float),
        np.asarray(cls.C[:s], dtype=float),
        error_weights,
        cls.error_estimator_order,
        **dense,
    )


def _dop853_interpolation():
    """Dense output of DOP853 in powers of theta ([1]_ of `ExplicitTableau`, II.6).

    The published form alternates the factors theta and (1 - theta):
    ``F_0 theta + F_1 theta (1-theta) + F_2 theta^2 (1-theta) + ...``, where the
    ``F_i`` are combinations of the stages.
    """
    s, n_all = DOP853.n_stages, DOP853.A_EXTRA.shape[1]
    unit = np.eye(n_all)
    increment = np.pad(DOP853.B, (0, n_all - s))
    f = np.vstack(
        [
            increment,
            unit[0] - increment,
            2 * increment - unit[0] - unit[s],
            DOP853.D,
        ]
    )
    p = np.zeros((n_all, len(f) + 1))
    factor = np.array([1.0])
    for i, row in enumerate(f):
        factor = np.convolve(factor, [0.0, 1.0] if i % 2 == 0 else [1.0, -1.0])
        p[:, : len(factor)] += np.outer(row, factor)
    return p[:, 1:]


_EXPLICIT = (
    ExplicitTableau("Euler", 1, np.zeros((1, 1)), np.ones(1), np.zeros(1)),
    ExplicitTableau(
        "RK4",
        4,
        np.diag([0.5, 0.5, 1.0], -1),
        np.array([1, 2, 2, 1]) / 6,
        np.array([0, 0.5, 0.5, 1]),
    ),
    _from_scipy("RK23", RK23, interpolation=RK23.P),
    _from_scipy("RK45", RK45, interpolation=RK45.P),
    _from_scipy(
        "DOP853",
        DOP853,
        extra_a=DOP853.A_EXTRA,
        extra_c=DOP853.C_EXTRA,
        interpolation=_dop853_interpolation(),
    ),
)

# Members of the families that are listed; others are built when asked for.
_COLLOCATION = (
    "BackwardEuler",
    "ImplicitMidpoint",
    "Trapezoid",
    *(f"RadauIIA{order}" for order in (3, 5, 7, 9, 11, 13)),
    *(f"GaussLegendre{order}" for order in (4, 6, 8, 10, 12)),
)


TABLEAUS = {tableau.name: tableau for tableau in _EXPLICIT}
TABLEAUS |= {name: collocation_tableau(name) for name in _COLLOCATION}


def find_tableau(name):
    """Return the tableau of that name, listed or of a family, or None."""
    if not isinstance(name, str):
        return None
    return TABLEAUS.get(name) or collocation_tableau(name)
