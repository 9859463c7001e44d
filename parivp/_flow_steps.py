"""DOP853 for many trajectories that take the same steps, on any array library.

As SciPy's solver does, whose coefficients it uses, step by step; only numbers that
control the steps come back from the device that the states are on.

Source: E. Hairer, S. P. Norsett, G. Wanner, "Solving Ordinary Differential Equations
I: Nonstiff Problems", 2nd ed., Springer, 1993, Sections II.4-6 and II.10.
"""

import math

import numpy as np
from scipy.integrate import DOP853

from ._array_namespace import (
    array_namespace,
    block_size,
    like,
    new_empty,
)

__all__ = ["DenseTrajectories", "SharedSteps"]

SAFETY, SMALLEST_FACTOR, LARGEST_FACTOR = 0.9, 0.2, 10.0
EXPONENT = -1 / (DOP853.error_estimator_order + 1)
# Numbers that are interpolated at a time, so that they stay in the cache.
BLOCK_ENTRIES = 2**15


class SharedSteps:
    """Advance states (n, S) under one control of errors, that of all together.

    Parameters
    ----------
    fun : callable
        ``fun(t, y)`` with ``t`` a float and ``y`` of shape (n, S).
    t0 : float
    y0 : array, shape (n, S)
    t_bound : float
    rtol : float
    atol : array, shape (n, 1)

    Attributes
    ----------
    t : float
    y, f : array, shape (n, S)
        State and derivative there.
    failed : bool
        Whether the last step could not be made.
    """

    def __init__(self, fun, t0, y0, t_bound, rtol, atol):
        self.xp = array_namespace(y0)
        self.fun = fun
        self.t, self.y, self.f = t0, y0, fun(t0, y0)
        self.t_bound = t_bound
        self.direction = math.copysign(1.0, t_bound - t0)
        self.rtol, self.atol = rtol, atol
        self.failed = False
        s = DOP853.n_stages
        self.n_stages = s
        self._slopes = new_empty(y0, (DOP853.A_EXTRA.shape[1], y0.size))
        a, extra = like(y0, DOP853.A), like(y0, DOP853.A_EXTRA)
        self._rows = [(k, float(DOP853.C[k]), a[k, :k]) for k in range(1, s)]
        self._extra_rows = [
            (k, float(c), extra[k - s - 1, :k])
            for k, c in enumerate(DOP853.C_EXTRA, start=s + 1)
        ]
        self._b, self._d = like(y0, DOP853.B), like(y0, DOP853.D)
        self._error_weights = like(y0, np.stack([DOP853.E5, DOP853.E3]))
        self._h_next = None

    def _first_step(self):
        """Choose the first step size, II.4."""
        xp, interval = self.xp, abs(self.t_bound - self.t)
        scale = self.atol + xp.abs(self.y) * self.rtol

        def norm(v):
            return math.sqrt(float(xp.sum((v / scale) ** 2)) / v.size)

        d0, d1 = norm(self.y), norm(self.f)
        h0 = 1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01 * d0 / d1
        h0 = h0 or 1e-6
        step = min(h0, interval) * self.direction
        d2 = norm(self.fun(self.t + step, self.y + step * self.f) - self.f) / abs(step)
        if d1 <= 1e-15 and d2 <= 1e-15:
            h1 = max(1e-6, h0 * 1e-3)
        else:
            h1 = (0.01 / max(d1, d2)) ** -EXPONENT
        return min(100 * abs(step), h1, interval)

    def step(self):
        """Make one step, unless it would have to be too short."""
        t, y, xp = self.t, self.y, self.xp
        if self._h_next is None:
            self._h_next = self._first_step()
        smallest = 10 * abs(math.nextafter(t, self.direction * math.inf) - t)
        h_abs, largest_factor = max(self._h_next, smallest), LARGEST_FACTOR
        while True:
            if not h_abs >= smallest:
                self.failed = True
                return
            t_new = t + h_abs * self.direction
            if self.direction * (t_new - self.t_bound) > 0:
                t_new = self.t_bound
            h = t_new - t
            y_new, f_new = self._advance(h)
            scale = self.atol + xp.maximum(xp.abs(y), xp.abs(y_new)) * self.rtol
            error = self._error_norm(h, scale)
            h_abs = abs(h)
            if error < 1:
                factor = SAFETY * error**EXPONENT if error else LARGEST_FACTOR
                self._h_next = h_abs * min(largest_factor, factor)
                break
            largest_factor = 1.0
            shrink = SAFETY * error**EXPONENT if error < math.inf else 0.0
            h_abs *= max(SMALLEST_FACTOR, shrink)
        self._before = t, h, y
        self.t, self.y, self.f = t_new, y_new, f_new

    def _advance(self, h):
        """Return state and derivative at the end of a step."""
        self._slopes[0, :] = self.xp.reshape(self.f, (-1,))
        self._stages(self._rows, self.t, self.y, h)
        y_new = self._moved(self.y, h, self._b, self.n_stages)
        f_new = self.fun(self.t + h, y_new)
        self._store(self.n_stages, f_new)
        return y_new, f_new

    def _stages(self, rows, t, y, h):
        for k, c, row in rows:
            self._store(k, self.fun(t + c * h, self._moved(y, h, row, k)))

    def _moved(self, y, h, row, n_slopes):
        change = row @ self._slopes[:n_slopes, :]
        return y + h * self.xp.reshape(change, y.shape)

    def _store(self, k, f):
        self._slopes[k, :] = self.xp.reshape(f, (-1,))

    def _error_norm(self, h, scale):
        """Error in tolerances, ``err5^2 / sqrt(err5^2 + 0.01 err3^2)``."""
        xp = self.xp
        errors = self._error_weights @ self._slopes[: self.n_stages + 1, :]
        squares = xp.sum((errors / xp.reshape(scale, (-1,))) ** 2, axis=1)
        fifth, third = float(squares[0]), float(squares[1])
        size = math.sqrt((fifth + 0.01 * third) * scale.size)
        return abs(h) * fifth / size if size else 0.0

    def interpolant(self):
        """Coefficients of the dense output of the last step, shape (7, n, S)."""
        t, h, y = self._before
        self._stages(self._extra_rows, t, y, h)
        first = self.xp.reshape(self._slopes[0, :], y.shape)
        change = self.y - y
        found = new_empty(y, (3 + self._d.shape[0], *y.shape))
        found[0, ...] = change
        found[1, ...] = h * first - change
        found[2, ...] = 2 * change - h * (self.f + first)
        rest = h * (self._d @ self._slopes)
        found[3:, ...] = self.xp.reshape(rest, (-1, *y.shape))
        return found


class DenseTrajectories:
    """States between the steps.

    Parameters
    ----------
    t : ndarray, shape (N + 1,)
    y : list of array, shape (n, S)
        At the beginnings of the steps, of which there are N.
    pieces : list of array, shape (7, n, S)
        What `SharedSteps.interpolant` gives.
    """

    def __init__(self, t, y, pieces):
        xp = array_namespace(y[0])
        self.t = t
        self.y = xp.stack(y)
        self.pieces = xp.stack(pieces, axis=1)

    def __call__(self, t, n_trajectories=None):
        """States of the first trajectories, or all, shape (n, S, m).

        Parameters
        ----------
        t : ndarray, shape (m,)
            Times within the steps, in any order.
        n_trajectories : int, optional
        """
        pieces = self.pieces[:, :, :, :n_trajectories]
        y, xp = self.y[:, :, :n_trajectories], array_namespace(self.y)
        sign = 1.0 if self.t[-1] > self.t[0] else -1.0
        step = np.searchsorted(sign * self.t, sign * t, side="left") - 1
        step = np.clip(step, 0, len(self.t) - 2)
        theta = (t - self.t[step]) / (self.t[step + 1] - self.t[step])
        step, theta = like(y, step), like(y, theta)[:, None, None]
        n_times, (n, s) = len(t), y.shape[1:]
        out = new_empty(y, (n, s, n_times))
        width = max(block_size(xp, BLOCK_ENTRIES) // (n * s), 1)
        for i in range(0, n_times, width):
            part = slice(i, min(i + width, n_times))
            found = _interpolated(xp, pieces, y, step[part], theta[part, ...])
            out[:, :, part] = xp.permute_dims(found, (1, 2, 0))
        return out


def _interpolated(xp, pieces, y, step, theta):
    """States at parts `theta` (m, 1, 1) of some steps (m,), shape (m, n, S).

    The factors of the published form alternate between theta and 1 - theta.
    """
    factors, last = (theta, 1 - theta), pieces.shape[0] - 1
    found = xp.take(pieces[last, ...], step, axis=0)
    found *= factors[last % 2]
    for k in range(last - 1, -1, -1):
        found += xp.take(pieces[k, ...], step, axis=0)
        found *= factors[k % 2]
    found += xp.take(y, step, axis=0)
    return found
