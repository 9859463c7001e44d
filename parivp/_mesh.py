"""Meshes: how they follow from error estimates."""

import math

import numpy as np

__all__ = ["equidistribute", "grade", "prefix_below", "smooth", "split"]

# Of the lengths of two steps, far from overflow.
LARGEST_RATIO = 1e300


def equidistribute(mesh, wanted, *, most_steps=np.inf):
    """Points between the ends of `mesh` whose steps have the `wanted` sizes.

    The integral of ``1 / wanted`` over a step is the fraction of a new step it
    holds; the new points share the total equally (de Boor's
    equidistribution).

    Parameters
    ----------
    mesh : ndarray, shape (N + 1,)
    wanted : ndarray, shape (N,)
        Wanted step sizes, positive, one for each step of `mesh`; never taken
        for shorter than what still moves the time.
    most_steps : float
        The new mesh ends earlier if it would have more steps than this.

    Returns
    -------
    ndarray, shape (M + 1,)
        The first point is that of `mesh`, the last as well unless cut short.
    """
    farthest = max(abs(mesh[0]), abs(mesh[-1]))
    wanted = np.fmax(wanted, 10 * np.spacing(farthest))  # not NaN
    steps = np.zeros(len(mesh))
    np.cumsum(np.abs(mesh[1:] - mesh[:-1]) / wanted, out=steps[1:])
    n = max(1, math.ceil(steps[-1]))
    kept = int(min(n, most_steps))
    points = np.interp(np.arange(kept + 1) * (steps[-1] / n), steps, mesh)
    points[0] = mesh[0]
    if kept == n:
        points[-1] = mesh[-1]
    return points


def prefix_below(values, bound):
    """Count the leading `values` that are at most `bound`."""
    above = ~(values <= bound)
    return int(np.argmax(above)) if above.any() else len(values)


def grade(mesh, first, factor):
    """Divide the first step of `mesh` into steps of geometrically growing size.

    The first has the length `first`, the others are `factor` times as long as
    the one before, as sequential solvers let their steps grow: no step is
    trusted to be long before a shorter one was seen.
    """
    length = abs(mesh[1] - mesh[0])
    first = max(first, 10 * np.spacing(abs(mesh[0])))  # still moves the time
    if not first < length < math.inf:
        return mesh
    total = min(1 + (factor - 1) * float(length) / float(first), LARGEST_RATIO)
    n = math.ceil(math.log(total, factor)) - 1
    points = first * (factor ** np.arange(1.0, n + 1) - 1) / (factor - 1)
    points = points[points < length]
    sign = 1.0 if mesh[1] > mesh[0] else -1.0
    return np.concatenate([mesh[:1], mesh[0] + sign * points, mesh[1:]])


def smooth(density):
    """Take the largest of every value and its neighbours.

    Error coefficients that vary within a step act with their largest value,
    while equidistribution averages a root of them.
    """
    padded = np.concatenate([density[:1], density, density[-1:]])
    return np.maximum(np.maximum(padded[:-2], padded[2:]), density)


def split(mesh, pieces):
    """Divide every step of `mesh` into a number of equal `pieces`."""
    pieces = np.asarray(pieces, dtype=int)
    if np.all(pieces == 1):
        return mesh
    ends = np.concatenate([[0], np.cumsum(pieces)])
    return np.interp(np.arange(ends[-1] + 1), ends, mesh)
