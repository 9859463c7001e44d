"""Butcher tableaus: frozen data that checks itself, and its order conditions."""

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, combinations_with_replacement, product

import numpy as np

from ._array_namespace import like

__all__ = ["ButcherTableau", "elementary_weights"]

# There are 37 trees up to this order, and 200 up to order 8.
HIGHEST_CHECKED = 6


@dataclass(frozen=True, eq=False)
class ButcherTableau:
    r"""Coefficients of a Runge-Kutta method.

    A step of length `h` from `x` at time `t` has the stages
    ``X_i = x + h sum_j a_ij f(t + c_j h, X_j)`` and leads to
    ``x + h sum_i b_i f(t + c_i h, X_i)``.

    Parameters
    ----------
    name : str
        Name under which the tableau is listed in `TABLEAUS`.
    order : int
        Order of the method.
    a : ndarray, shape (s, s)
        Stage coefficients.
    b, c : ndarray, shape (s,)
        Weights and nodes.

    Raises
    ------
    ValueError
        If the coefficients contradict each other or the order conditions.
    """

    name: str
    order: int
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray

    def __post_init__(self):
        broken = [what for what, holds in self._checks().items() if not holds]
        if broken:
            raise ValueError(f"Tableau {self.name!r}: {'; '.join(broken)}.")

    def _checks(self):
        """Conditions on the coefficients, and whether they hold."""
        s = self.n_stages
        return {
            "a must have shape (s, s)": self.a.shape == (s, s),
            "rows of a must sum to c": np.allclose(self.a.sum(1), self.c, atol=1e-14),
            "b must sum to 1": np.isclose(self.b.sum(), 1, rtol=1e-14),
            "b must satisfy the order conditions": all(
                np.isclose(self.b @ weight, 1 / density, rtol=1e-12, atol=1e-14)
                for weight, density in elementary_weights(
                    self.a, min(self.order, HIGHEST_CHECKED)
                )
            ),
        }

    @cached_property
    def kind(self):
        """Which discretization takes the tableau: "explicit" or "implicit"."""
        return "implicit" if np.triu(self.a).any() else "explicit"

    @property
    def n_stages(self):
        """Number of stages ``s``."""
        return len(self.b)

    @property
    def adaptive(self):
        """Whether the tableau has an error estimate."""
        return False

    def on(self, example):
        """Return the tableau with its coefficients where the array `example` is."""
        if type(example) is np.ndarray:
            return self
        return _Placed(self, example)


class _Placed:
    """A tableau whose arrays are brought to a device when they are first used."""

    def __init__(self, tableau, example):
        self._tableau = tableau
        self._example = example

    def __getattr__(self, name):
        value = getattr(self._tableau, name)
        if isinstance(value, np.ndarray):
            value = like(self._example, value)
        setattr(self, name, value)
        return value


def elementary_weights(a, order):
    """Elementary weights of the stages, for all rooted trees up to an order.

    Parameters
    ----------
    a : ndarray, shape (s, s)
    order : int

    Returns
    -------
    list of (ndarray, int)
        For each tree the weights ``Phi_i`` of the stages, shape (s,), and its
        density ``gamma``. A method with weights ``b`` has the order if
        ``b @ Phi = 1 / gamma`` for all of them (Hairer, Norsett & Wanner I,
        Theorem II.2.13).
    """
    trees = {1: [(np.ones(len(a)), 1)]}
    for size in range(2, order + 1):
        trees[size] = []
        for sizes in _partitions(size - 1, size - 1):
            groups = [
                combinations_with_replacement(trees[part], count)
                for part, count in Counter(sizes).items()
            ]
            for choice in product(*groups):
                branches = list(chain(*choice))
                weight = math.prod(
                    (a @ phi for phi, _ in branches), start=trees[1][0][0]
                )
                density = size * math.prod(gamma for _, gamma in branches)
                trees[size].append((weight, density))
    return [tree for size in range(1, order + 1) for tree in trees[size]]


def _partitions(total, largest):
    """Yield the ways to write `total` as a sum of parts up to `largest`."""
    if total == 0:
        yield ()
    for part in range(min(total, largest), 0, -1):
        for rest in _partitions(total - part, part):
            yield (part, *rest)
