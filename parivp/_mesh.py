"""Meshes: how they follow from error estimates."""

import math

from ._array_namespace import (
    array_namespace,
    first_true,
    interp,
    like,
    new_arange,
    running_sum,
    spacing,
)

__all__ = ["equidistribute", "grade", "prefix_below", "smooth", "split"]

# Of the lengths of two steps, far from overflow.
LARGEST_RATIO = 1e300
# In so many parts of a step the step sizes that are wanted are constant; in none of
# them smaller than that of the step by more than this factor.
PARTS, STEEPEST = 4, 3.0


def equidistribute(mesh, wanted, *, most_steps=math.inf):
    """Points between the ends of `mesh` whose steps have the `wanted` sizes.

    The integral of ``1 / wanted`` over a step is the fraction of a new step it
    holds; the new points share the total equally (de Boor's
    equidistribution). From the middle of a step to that of the next the wanted
    sizes are interpolated: errors do not jump from step to step.

    Parameters
    ----------
    mesh : array, shape (N + 1,)
    wanted : array, shape (N,)
        Wanted step sizes, positive, one for each step of `mesh`; never taken
        for shorter than what still moves the time.
    most_steps : float
        The new mesh ends earlier if it would have more steps than this.

    Returns
    -------
    array, shape (M + 1,)
        The first point is that of `mesh`, the last as well unless cut short.
    """
    xp = array_namespace(mesh)
    start, end = float(mesh[0]), float(mesh[-1])
    least = 10 * spacing(xp, max(abs(start), abs(end)))
    wanted = xp.where(wanted > least, wanted, least)  # not NaN
    mesh, wanted = _interpolated(xp, mesh, wanted, 1.0 if end > start else -1.0)
    steps = running_sum(xp, xp.abs(mesh[1:] - mesh[:-1]) / wanted)
    total = float(steps[-1])
    n = max(1, math.ceil(total))
    kept = int(min(n, most_steps))
    points = interp(xp, new_arange(mesh, kept + 1) * (total / n), steps, mesh)
    points[0] = start
    if kept == n:
        points[-1] = end
    return points


def _interpolated(xp, mesh, wanted, sign):
    """Divide steps and let wanted sizes vary linearly between their middles."""
    if wanted.shape[0] == 1:
        return mesh, wanted
    h = mesh[1:] - mesh[:-1]
    parts = new_arange(mesh, PARTS) / PARTS
    fine = xp.reshape(mesh[:-1, None] + h[:, None] * parts, (-1,))
    middles = xp.reshape(mesh[:-1, None] + h[:, None] * (parts + 0.5 / PARTS), (-1,))
    sizes = interp(xp, sign * middles, sign * (mesh[:-1] + h / 2), wanted)
    least = xp.repeat(wanted / STEEPEST, PARTS)
    return xp.concat([fine, mesh[-1:]]), xp.maximum(sizes, least)


def prefix_below(values, bound):
    """Count the leading `values` that are at most `bound`."""
    return first_true(array_namespace(values), ~(values <= bound))


def grade(mesh, first, factor):
    """Divide the first step of `mesh` into steps of geometrically growing size.

    The first has the length `first`, the others are `factor` times as long as
    the one before, as sequential solvers let their steps grow: no step is
    trusted to be long before a shorter one was seen.
    """
    start, end = float(mesh[0]), float(mesh[1])
    length = abs(end - start)
    first = max(first, 10 * math.ulp(abs(start)))  # still moves the time
    if not first < length < math.inf:
        return mesh
    total = min(1 + (factor - 1) * length / first, LARGEST_RATIO)
    n = math.ceil(math.log(total, factor)) - 1
    points = [first * (factor**k - 1) / (factor - 1) for k in range(1, n + 1)]
    sign = 1.0 if end > start else -1.0
    points = like(mesh, [start + sign * p for p in points if p < length], mesh.dtype)
    return array_namespace(mesh).concat([mesh[:1], points, mesh[1:]])


def smooth(density):
    """Take the largest of every value and its neighbours.

    Error coefficients that vary within a step act with their largest value,
    while equidistribution averages a root of them.
    """
    xp = array_namespace(density)
    padded = xp.concat([density[:1], density, density[-1:]])
    return xp.maximum(xp.maximum(padded[:-2], padded[2:]), density)


def split(mesh, pieces):
    """Divide every step of `mesh` into a number of equal `pieces`.

    Parameters
    ----------
    mesh : array, shape (N + 1,)
    pieces : int or array, shape (N,)
        Whole numbers.
    """
    xp = array_namespace(mesh)
    pieces = pieces + xp.zeros_like(mesh[1:])
    if bool(xp.all(pieces == 1)):
        return mesh
    ends = running_sum(xp, pieces)
    return interp(xp, new_arange(mesh, int(ends[-1]) + 1), ends, mesh)
