"""The predictor: a loose sequential pass over the window to come.

It supplies the guess Newton's method starts from, and a first mesh.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.integrate import LSODA, RK45

__all__ = ["Trajectory", "predict"]

# LSODA costs about two evaluations and a few microseconds a step, a fraction
# of what the Runge-Kutta classes cost, and switches to its stiff formulas by
# itself; RK45 stands in where it cannot run (inside a function that LSODA
# itself is integrating).
PREDICTORS = (LSODA, RK45)


@dataclass
class Trajectory:
    """States and derivatives at points, with cubic Hermite interpolation.

    Attributes
    ----------
    t : ndarray, shape (m + 1,)
    y, f : ndarray, shape (n, m + 1)
    """

    t: np.ndarray
    y: np.ndarray
    f: np.ndarray

    def __call__(self, t):
        """States at times `t` (M,) within the trajectory, shape (n, M)."""
        forward = self.t[-1] >= self.t[0]
        nodes = self.t if forward else -self.t
        k = np.searchsorted(nodes, t if forward else -t, side="right") - 1
        k = np.clip(k, 0, len(self.t) - 2)
        h = self.t[k + 1] - self.t[k]
        s = (t - self.t[k]) / h
        y0, y1 = self.y[:, k], self.y[:, k + 1]
        f0, f1 = self.f[:, k], self.f[:, k + 1]
        inner = (1 - 2 * s) * (y1 - y0) + h * ((s - 1) * f0 + s * f1)
        return (1 - s) * y0 + s * y1 + s * (s - 1) * inner


def predict(rhs, t, y, t_bound, n_steps, *, rtol, atol, max_step):
    """Integrate loosely from (t, y) for `n_steps` steps or to `t_bound`.

    Returns
    -------
    Trajectory or None
        None if no step could be made. What `rhs` raises ends the trajectory,
        as do states that are not finite: they were computed ahead.
    """
    for predictor in PREDICTORS:
        ts, ys = _run(predictor, rhs, t, y, t_bound, n_steps, rtol, atol, max_step)
        if len(ts) > 1:
            break
    else:
        return None
    ts, ys = np.array(ts), np.array(ys).T
    if np.iscomplexobj(y):
        ys = np.ascontiguousarray(ys[::2] + 1j * ys[1::2])
    moved = np.abs(np.diff(ts)) > 10 * np.spacing(np.abs(ts[1:]))
    f = rhs(ts, ys)
    good = np.isfinite(f).all(axis=0) & np.isfinite(ys).all(axis=0)
    good[1:] &= moved
    m = len(ts) if good.all() else int(np.argmin(good))
    return Trajectory(ts[:m], ys[:, :m], f[:, :m]) if m > 1 else None


def _run(predictor, rhs, t, y, t_bound, n_steps, rtol, atol, max_step):
    """Times and states of a sequential solver's steps, in real arithmetic."""
    fun = rhs.single if rhs.vectorized else rhs.fun
    if np.iscomplexobj(y):
        y = y.view(float)
        rtol = np.repeat(rtol, 2) if np.ndim(rtol) else rtol
        atol = np.repeat(atol, 2) if np.ndim(atol) else atol

        def fun(t, y):
            return rhs.single(t, y.view(complex)).view(float)

    ts, ys = [t], [y]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            solver = predictor(
                fun, t, y, t_bound, rtol=rtol, atol=atol, max_step=max_step
            )
            while solver.status == "running" and len(ts) <= n_steps:
                rhs.check_deadline()
                solver.step()
                if solver.status == "failed":
                    break
                ts.append(solver.t)
                ys.append(solver.y)
            rhs.n_points += solver.nfev if fun is rhs.fun else 0
        except Exception:  # noqa: BLE001 - the function's own, met ahead of time
            pass
    return ts, ys
