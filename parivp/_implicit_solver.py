"""What solvers share that use the Jacobian: its sparsity."""

import inspect

from ._implicit_loop import ImplicitLoop
from ._jacobian import wrap_jacobian
from ._ode_solver import WindowSolver
from ._structure import find_structure

__all__ = ["ImplicitSolver"]

_PARAMETERS = list(inspect.signature(WindowSolver).parameters.values())
_PARAMETERS.insert(
    -1, inspect.Parameter("jac_sparsity", inspect.Parameter.KEYWORD_ONLY, default=None)
)


class ImplicitSolver(WindowSolver):
    """Base of the methods that use the Jacobian, with the option `jac_sparsity`."""

    __signature__ = inspect.Signature(_PARAMETERS)  # `jac_sparsity` among the rest

    loop_class = ImplicitLoop

    def __init__(self, fun, t0, y0, t_bound, *args, jac_sparsity=None, **options):
        self._sparsity = jac_sparsity
        super().__init__(fun, t0, y0, t_bound, *args, **options)

    def _discretize(self, jac, t0, rtol, atol, time_vectorized):
        structure = find_structure(jac, self._sparsity, t0, self.y)
        jac = wrap_jacobian(
            jac, t0, self.y, time_vectorized=time_vectorized, structure=structure
        )
        return self.discretization_class(
            self.tableau, self._rhs, jac, rtol, atol, structure
        )
