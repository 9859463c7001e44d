"""The solution between the steps: all steps evaluated at once."""

from functools import cached_property

import numpy as np
from scipy.integrate import DenseOutput
from scipy.integrate import OdeSolution as _SciPyOdeSolution

__all__ = ["OdeSolution", "PiecewisePolynomial", "StepInterpolant"]


class PiecewisePolynomial:
    """Polynomials on adjacent steps, exact at both ends of each.

    On a step from ``t_k`` to ``t_{k+1}``, with ``theta`` running from 0 to 1,
    ``y = (1 - theta) y_k + theta y_{k+1} + theta (1 - theta) sum_m bubble_m
    (2 theta - 1)**m``. Outside the first and last polynomials go on.

    Parameters
    ----------
    t : ndarray, shape (N + 1,)
        Strictly monotonic, but for a single step of length zero.
    y : ndarray, shape (n, N + 1)
    bubble : ndarray, shape (q, n, N)
    """

    def __init__(self, t, y, bubble):
        self.t = t
        self.y = y
        self.bubble = bubble
        self.ascending = t[-1] >= t[0]

    def __call__(self, t):
        """States at times `t` (m,), in any order, shape (n, m)."""
        nodes = self.t if self.ascending else -self.t
        k = np.searchsorted(nodes, t if self.ascending else -t, side="right") - 1
        k = np.minimum(np.maximum(k, 0), len(nodes) - 2)
        left = self.t[k]
        h = self.t[k + 1] - left
        s = np.divide(t - left, h, out=np.zeros(len(k)), where=h != 0)
        inner = np.zeros((len(self.y), len(k)), dtype=self.y.dtype)
        xi = 2 * s - 1
        for coefficient in self.bubble[::-1]:
            inner *= xi
            inner += coefficient[:, k]
        # the product vanishes at both ends, which makes the ends exact
        return (1 - s) * self.y[:, k] + s * self.y[:, k + 1] + s * (1 - s) * inner

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
        return self(np.array([t], dtype=float))[:, 0]


def join(pieces):
    """One `PiecewisePolynomial` from those of adjacent segments."""
    if len(pieces) == 1:
        return pieces[0]
    return PiecewisePolynomial(
        np.concatenate([pieces[0].t, *(p.t[1:] for p in pieces[1:])]),
        np.concatenate([pieces[0].y, *(p.y[:, 1:] for p in pieces[1:])], axis=1),
        np.concatenate([p.bubble for p in pieces], axis=2),
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

    def _call_impl(self, t):
        values = self._polynomial(np.atleast_1d(t))
        return values[:, 0] if t.ndim == 0 else values


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
    ts : ndarray, shape (n_segments + 1,)
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
        ts = polynomial.t.copy()
        if t_end is not None:
            ts[-1] = t_end
        self.ts = ts
        self.n_segments = len(ts) - 1
        self.ascending = bool(ts[-1] >= ts[0])
        self.t_min, self.t_max = min(ts[0], ts[-1]), max(ts[0], ts[-1])

    @cached_property
    def interpolants(self):
        """One `DenseOutput` for each step."""
        p = self._polynomial
        return [
            StepInterpolant(self.ts[k], self.ts[k + 1], p.cut(k))
            for k in range(self.n_segments)
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
        ndarray, shape (n,) or (n, m)
        """
        t = np.asarray(t, dtype=float)
        if t.ndim > 1:
            raise ValueError("`t` must be a float or a 1-D array.")
        return self._polynomial(t) if t.ndim else self._polynomial.at(float(t))
