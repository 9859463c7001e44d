"""One step after another: what a window of one step amounts to.

It serves functions that do not broadcast over time, places where a window
fails, and the first step where its length is given.
"""

import math

from ._array_namespace import errstate, squares
from ._result import IntegrationFailed
from ._rhs import DeadlineExceeded

__all__ = ["initial_step", "smallest_step", "steps_one_by_one", "steps_on_mesh"]

# Steps that are handed on together.
BLOCK = 32
# Step size control as in SciPy and Hairer, Norsett & Wanner I, II.4.
SAFETY, SMALLEST_FACTOR, LARGEST_FACTOR = 0.9, 0.2, 10.0
LONGEST_STEP = 1e300  # an infinite one could not be made shorter

TOO_SMALL = (
    "Required step size is less than spacing between numbers. The solution may have a "
    "singularity near t = {t:.15g}: integrate up to a point before. {advice}"
)


def smallest_step(t):
    """Return the shortest step that still moves `t`, with some room."""
    return 10 * math.ulp(abs(t))


def initial_step(loop, f0):
    """Choose the first step size (Hairer, Norsett & Wanner I, II.4)."""
    disc, t, y, xp = loop.discretization, loop.t, loop.y, loop.xp
    interval = abs(loop.t_bound - t)
    scale = disc.scale(y[:, None], y[:, None])[:, 0]

    def norm(v):
        return math.sqrt(float(xp.sum(squares(xp, v / scale))) / v.size)

    with errstate():
        d0, d1 = norm(y), norm(f0)
        h0 = 0.01 * d0 / d1 if d0 >= 1e-5 and d1 >= 1e-5 else 1e-6
        h0 = max(min(h0, interval), smallest_step(t))
        step = h0 * loop.direction
        f1 = disc.rhs.single(t + step, y + step * f0)
        d2 = norm(f1 - f0) / h0
        largest = max(d1, d2)
        if largest <= 1e-15:
            h1 = max(1e-6, h0 * 1e-3)
        else:
            h1 = (0.01 / largest) ** -disc.error_exponent
    h = min(100 * h0, h1, interval, loop.settings.max_step)
    return h if 0 < h < math.inf else h0


def steps_one_by_one(loop, n_steps=BLOCK):
    """Take `n_steps` steps under error control and yield them together.

    What the right-hand side raises, or a step that fails, comes after the
    steps before it have been handed on: they may hold a terminal event.
    """
    if loop.h_next is None:
        f0 = loop.discretization.rhs.single(loop.t, loop.y)
        loop.h_next = initial_step(loop, f0)
    ts, ys, Ks, problem = [loop.t], [loop.y], [], None
    h, slope = loop.h_next, loop.slope
    while len(ts) <= n_steps and ts[-1] != loop.t_bound:
        try:
            with errstate():
                t, y, K, h = _step(loop, ts[-1], ys[-1], h, slope, first=len(ts) == 1)
                slope = loop.discretization.end_slope(t - ts[-1], K)
        except (Exception, DeadlineExceeded) as raised:
            problem = raised
            break
        ts.append(t)
        ys.append(y)
        Ks.append(K)
    loop.h_next = h
    if len(ts) > 1:
        xp = loop.xp
        K, y = xp.concat(Ks, axis=-1), xp.stack(ys, axis=1)
        yield loop.accept(loop.times(ts), y, K)
    if problem is not None:
        raise problem


def _step(loop, t, y, h, slope, first):
    """Take one step; return time, state, stages and the next step size."""
    disc, max_step = loop.discretization, loop.settings.max_step
    smallest = smallest_step(t)
    h = min(h, max_step, LONGEST_STEP)
    if first:
        h = max(h, smallest)
    largest_factor, error = LARGEST_FACTOR, 0.0
    while True:
        if not h >= smallest:
            reason = TOO_SMALL if math.isfinite(error) else disc.stuck
            raise IntegrationFailed(reason.format(t=t, advice=disc.advice).strip())
        t_new = t + loop.direction * h
        if loop.direction * (t_new - loop.t_bound) > 0:
            t_new = loop.t_bound
        mesh = loop.times([t, t_new])
        h = abs(t_new - t)
        phi, K = disc.single_step(mesh, y, loop._newton_tol, loop._slack())
        error = float(
            disc.error_norm(mesh[1:] - mesh[:-1], K, y[:, None], phi, slope)[0]
        )
        if error <= 1.0 and not _finite(loop.xp, disc.rhs.single(t_new, phi[:, 0])):
            error = math.inf  # no step could start there
        if error <= 1.0:
            grow = SAFETY * error**disc.error_exponent if error else largest_factor
            return t_new, phi[:, 0], K, h * min(largest_factor, grow)
        largest_factor = 1.0
        shrink = SAFETY * error**disc.error_exponent
        h *= max(SMALLEST_FACTOR, shrink) if math.isfinite(error) else SMALLEST_FACTOR


def steps_on_mesh(loop, mesh):
    """Yield the recursion on the given `mesh`, in blocks, without error control."""
    disc = loop.discretization
    xp, n_points = loop.xp, mesh.shape[0]
    for start in range(0, n_points - 1, BLOCK):
        loop.check_limits()
        ts = mesh[start : min(start + BLOCK + 1, n_points)]
        ys, Ks, problem = [loop.y], [], None
        for k in range(ts.shape[0] - 1):
            try:
                with errstate():
                    phi, K = disc.single_step(
                        ts[k : k + 2],
                        ys[-1],
                        loop._newton_tol,
                        max_newton=loop.max_newton,
                        patient=True,
                    )
            except (Exception, DeadlineExceeded) as raised:
                problem = raised
                break
            if not _finite(xp, phi):
                message = disc.failed.format(t=float(ts[k]), t_new=float(ts[k + 1]))
                problem = IntegrationFailed(message)
                break
            ys.append(phi[:, 0])
            Ks.append(K)
        if len(ys) > 1:
            K, y = xp.concat(Ks, axis=-1), xp.stack(ys, axis=1)
            yield loop.accept(ts[: len(ys)], y, K)
        if problem is not None:
            raise problem


def _finite(xp, values):
    """Whether all values are finite."""
    return bool(xp.all(xp.isfinite(values)))
