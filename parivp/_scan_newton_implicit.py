"""ScanNewtonImplicit: implicit collocation methods, parallel in time."""

from ._collocation import Collocation
from ._ode_solver import WindowSolver

__all__ = ["ScanNewtonImplicit"]


class ScanNewtonImplicit(WindowSolver):
    r"""Implicit collocation method, all stages of a window solved at once."""

    discretization_class = Collocation
    default_tableau = "RadauIIA9"
