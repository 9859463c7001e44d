"""Meshes: how they follow from error estimates."""

import numpy as np

__all__ = ["equidistribute", "prefix_below"]


def equidistribute(mesh, wanted, *, most_steps=np.inf):
    """Points between the ends of `mesh` whose steps have the `wanted` sizes.

    The integral of ``1 / wanted`` over a step is the fraction of a new step it
    holds; the new points share the total equally (de Boor's
    equidistribution).

    Parameters
    ----------
    mesh : ndarray, shape (N + 1,)
    wanted : ndarray, shape (N,)
        Wanted step sizes, positive, one for each step of `mesh`.
    most_steps : float
        The new mesh ends earlier if it would have more steps than this.

    Returns
    -------
    ndarray, shape (M + 1,)
        The first point is that of `mesh`, the last as well unless cut short.
    """
    steps = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(mesh)) / wanted)])
    n = max(1, int(np.ceil(steps[-1] * (1 - 1e-12))))
    kept = int(min(n, most_steps))
    points = np.interp(np.arange(kept + 1) * (steps[-1] / n), steps, mesh)
    points[0] = mesh[0]
    if kept == n:
        points[-1] = mesh[-1]
    return points


def prefix_below(values, bound):
    """Number of leading `values` that are at most `bound`."""
    above = ~(values <= bound)
    return int(np.argmax(above)) if above.any() else len(values)
