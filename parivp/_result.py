"""What an integration hands out."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import OptimizeResult

__all__ = ["MESSAGES", "IntegrationFailed", "OdeResult", "Segment"]

MESSAGES = {
    0: "The solver successfully reached the end of the integration interval.",
    1: "A termination event occurred.",
}


class OdeResult(OptimizeResult):
    """Result of `solve_ivp`: a dictionary with attribute access.

    Attributes
    ----------
    t : ndarray, shape (m,)
        Time points.
    y : ndarray, shape (n, m)
        States at `t`.
    sol : OdeSolution or None
        Continuous solution, if `dense_output` was asked for.
    t_events : list of ndarray or None
        For each event, the times at which it was found.
    y_events : list of ndarray or None
        For each event, the states at those times, shape (k, n).
    nfev : int
        Number of points (t, y) at which the right-hand side was evaluated.
    njev : int
        Number of points at which the Jacobian was evaluated.
    nlu : int
        Number of factorizations; 0 for explicit methods.
    nit : int
        Number of Newton iterations, over all windows.
    nsteps : int
        Number of accepted steps.
    newton_residuals : list of ndarray
        For each window tried, the largest residual at every iterate.
    backend : str
        Array library that did the work, such as ``"numpy"``.
    status : int
        0: the end was reached; 1: a terminal event occurred; -1: the
        integration stopped before the end, and the results go as far as it.
    message : str
        What happened.
    success : bool
        ``status >= 0``.
    """


@dataclass
class Segment:
    """Accepted steps.

    Attributes
    ----------
    t : ndarray, shape (m + 1,)
    y : ndarray, shape (n, m + 1)
        The first point is the last one of the segment before.
    K : ndarray, shape (..., m), or None
        Stages, where the dense output needs them.
    """

    t: np.ndarray
    y: np.ndarray
    K: np.ndarray | None = None


class IntegrationFailed(Exception):
    """The integration cannot go on; the message says why and what to try."""
