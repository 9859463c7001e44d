"""The solution between the steps: all steps evaluated at once."""

import math
from functools import cached_property

from scipy.integrate import DenseOutput
from scipy.integrate import OdeSolution as _SciPyOdeSolution

from ._array_namespace import array_namespace, copied, like, new_zeros

__all__ = ["OdeSolution", "PiecewisePolynomial", "StepInterpolant"]


class PiecewisePolynomial:
    """Polynomials on adjacent steps, exact at both ends of each.

    On a step from ``t_k`` to ``t_{k+1}``, with ``theta`` running from 0 to 1,
    ``y = (1 - theta) y_k + theta y_{k+1} + theta (1 - theta) sum_m bubble_m
    (2 theta - 1)**m``. Outside the first and last polynomials go on.

    Parameters
    ----------
    t : array, shape (N + 1,)
        Strictly monotonic, but for a single step of length zero.
    y : array, shape (n, N + 1)
    bubble : array, shape (q, n, N)
    """

    def __init__(self, t, y, bubble):
        self.t = t
        self.y = y
        self.bubble = bubble
        self.ascending = bool(t[-1] >= t[0])

    def __call__(self, t):
        """States at times `t` (m,), in any order, shape (n, m)."""
        xp, q = array_namespace(self.t), self.bubble.shape[0]
        nodes = self.t if self.ascending else -self.t
        k = xp.searchsorted(nodes, t if self.ascending else -t, side="right") - 1
        k = xp.minimum(xp.maximum(k, 0), nodes.shape[0] - 2)
        left = xp.take(self.t, k)
        h = xp.take(self.t, k + 1) - left
        s = (t - left) / xp.where(h != 0, h, math.inf)
        inner = new_zeros(self.y, (self.y.shape[0], t.shape[0]))
        xi = 2 * s - 1
        for m in range(q - 1, -1, -1):
            inner *= xi
            inner += xp.take(self.bubble[m, :, :], k, axis=1)
        start, end = xp.take(self.y, k, axis=1), xp.take(self.y, k + 1, axis=1)
        # the product vanishes at both ends, which makes the ends exact
        return (1 - s) * start + s * end + s * (1 - s) * inner

    def first(self, n):
        """Return the first `n` steps."""
        return PiecewisePolynomial(
            self.t[: n + 1], self.y[:, : n + 1], self.bubble[:, :, :n]
        )

    def cut(self, k):
        """Return step `k` alone."""
        return PiecewisePolynomial(
            self.t[k : k + 2], self.y[:, k : k + 2], self.bubble[:, :, k : k + 1]
        )

    def at(self, t):
        """State at one time, shape (n,)."""
        return self(like(self.t, [t], self.t.dtype))[:, 0]


def join(pieces):
    """One `PiecewisePolynomial` from those of adjacent segments."""
    if len(pieces) == 1:
        return pieces[0]
    first, *others = pieces
    xp = array_namespace(first.t)
    return PiecewisePolynomial(
        xp.concat([first.t, *(p.t[1:] for p in others)]),
        xp.concat([first.y, *(p.y[:, 1:] for p in others)], axis=1),
        xp.concat([p.bubble for p in pieces], axis=2),
    )


class StepInterpolant(DenseOutput):
    """Dense output of one step, in SciPy's form.

    Parameters
    ----------
    t_old, t : float
        Ends of the step.
    polynomial : PiecewisePolynomial
        Polynomials among which that of the step is found.
    """

    def __init__(self, t_old, t, polynomial):
        super().__init__(t_old, t)
        self._polynomial = polynomial

    def __call__(self, t):
        """State at a time, shape (n,), or states at times (m,), shape (n, m)."""
        return _evaluate(self._polynomial, t)


class OdeSolution(_SciPyOdeSolution):
    """Continuous solution, evaluated in one vectorized pass.

    Has the attributes and the calling convention of
    `scipy.integrate.OdeSolution`.

    Parameters
    ----------
    polynomial : PiecewisePolynomial
        The solver's steps.
    t_end : float, optional
        Where the integration ended, if that is inside the last step.

    Attributes
    ----------
    ts : array, shape (n_segments + 1,)
        Ends of the steps.
    t_min, t_max : float
        Ends of the interval of integration.
    n_segments : int
        Number of steps.
    ascending : bool
        Whether time runs forward.
    interpolants : list of DenseOutput
        One object for each step, made when asked for.
    """

    def __init__(self, polynomial, t_end=None):
        self._polynomial = polynomial
        ts = copied(polynomial.t)
        if t_end is not None:
            ts[-1] = t_end
        self.ts = ts
        self.n_segments = ts.shape[0] - 1
        ends = float(ts[0]), float(ts[-1])
        self.ascending = bool(ends[1] >= ends[0])
        self.t_min, self.t_max = ends if self.ascending else ends[::-1]

    @cached_property
    def interpolants(self):
        """One `DenseOutput` for each step."""
        p = self._polynomial
        ts = [float(self.ts[k]) for k in range(self.n_segments + 1)]
        return [
            StepInterpolant(ts[k], ts[k + 1], p.cut(k)) for k in range(self.n_segments)
        ]

    def __call__(self, t):
        """Evaluate the solution.

        Parameters
        ----------
        t : float or array_like, shape (m,)
            Times, in any order; outside the interval the first and the last
            polynomial go on.

        Returns
        -------
        array, shape (n,) or (n, m)
        """
        return _evaluate(self._polynomial, t)


def _evaluate(polynomial, t):
    """State at a time, shape (n,), or states at times (m,), shape (n, m)."""
    t = like(polynomial.t, t, polynomial.t.dtype)
    if t.ndim > 1:
        raise ValueError("`t` must be a float or a 1-D array.")
    return polynomial(t) if t.ndim else polynomial(t[None])[:, 0]
