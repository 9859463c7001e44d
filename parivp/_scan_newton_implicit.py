"""ScanNewtonImplicit: implicit collocation methods, parallel in time."""

from ._collocation import Collocation
from ._implicit_loop import ImplicitLoop
from ._jacobian import wrap_jacobian
from ._ode_solver import WindowSolver
from ._structure import find_structure

__all__ = ["ScanNewtonImplicit"]


class ScanNewtonImplicit(WindowSolver):
    r"""Implicit collocation method, all stages of a window solved at once."""

    discretization_class = Collocation
    loop_class = ImplicitLoop
    default_tableau = "RadauIIA9"

    def __init__(self, fun, t0, y0, t_bound, *args, jac_sparsity=None, **options):
        self._sparsity = jac_sparsity
        super().__init__(fun, t0, y0, t_bound, *args, **options)

    def _discretize(self, jac, t0, rtol, atol, time_vectorized):
        structure = find_structure(jac, self._sparsity, t0, self.y)
        jac = wrap_jacobian(
            jac, t0, self.y, time_vectorized=time_vectorized, structure=structure
        )
        return Collocation(self.tableau, self._rhs, jac, rtol, atol, structure)
