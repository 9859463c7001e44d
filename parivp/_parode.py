"""ParODE: maps regressed at many points, and the trajectory read off them."""

import inspect

import numpy as np

from ._array_namespace import copied
from ._fitted_maps import FittedMaps
from ._implicit_solver import ImplicitSolver
from ._options import as_choice, as_pair, warn_extraneous
from ._regression import FORMULATIONS as PAPER_FORMULATIONS
from ._regression_loop import FixedPointMethod, RegressionLoop, RegressionSettings
from ._tableaus import find_tableau

__all__ = ["ParODE"]

FORMULATIONS = ("flow", *PAPER_FORMULATIONS)
# Options of the paper's formulations only; the defaults are in `RegressionSettings`.
REGRESSION_OPTIONS = (
    "basis",
    "n_samples",
    "radius",
    "ic_weight",
    "reg_lambda",
    "damping",
    "seed",
)
# Basis functions in time: at loose tolerances any number from 6 on costs the same,
# at tight ones more take fewer windows (benchmarks/parode.py --degrees).
LOOSE, LOOSE_TIMES = 1e-8, 8
MOST_TIMES = 10

_PARAMETERS = [
    parameter
    for name, parameter in inspect.signature(ImplicitSolver).parameters.items()
    if name != "tableau"
]
_PARAMETERS[-1:-1] = [
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
    for name, default in (
        ("n_basis", None),
        ("formulation", "flow"),
        *((name, None) for name in REGRESSION_OPTIONS),
    )
]


class ParODE(ImplicitSolver):
    r"""Flow maps fitted by regression, the trajectory from them at all times.

    ``Psi(y, t)`` says where the state ``y`` at time ``t`` will be at the end of
    its window of time. It satisfies ``dPsi/dt + f dPsi/dy = 0``, which is linear
    in ``Psi``, so that polynomials are fitted to it at many points at once, in all
    windows at once. The solution through ``y0`` is where ``Psi(y(t), t)`` keeps
    the value ``Psi(y0, t0)``, found at all times by Newton's method, the ends of
    the windows by an affine scan. The maps, of degree one in the state, are
    centred on that solution and fitted again, until it stays where it is. A loose
    sequential solution supplies the first centre. Errors are estimated from how
    the coefficients in time decay, and from kinks between windows; windows follow
    from that.

    This is the method of [1]_ with the equation that its map satisfies, with the
    gauge that the paper leaves to regularization, for systems, and at a tolerance.
    It converges to a solution that `ScanNewtonImplicit` computes as well; for
    thousands of initial values see `fit_flow_map`.

    Parameters
    ----------
    fun : callable
        Right-hand side ``fun(t, y)``, ``y`` of shape (n,), returning (n,).
        Written with array arithmetic it also takes ``t`` of shape (m,) and
        ``y`` of shape (n, m), and is then evaluated at many points at once;
        whether it does is found out by comparing with single calls.
    t0 : float
        Initial time.
    y0 : array_like, shape (n,)
        Initial state, real or complex; for a CuPy array everything is computed
        with CuPy and on its device. A complex `fun` is taken to be
        analytic.
    t_bound : float
        Time at which the integration ends; may be infinite.
    first_step : float or None, optional
        Length of the first window. By default chosen by the solver.
    max_step : float, optional
        Greatest length of a window. Default is infinity.
    rtol, atol : float or array_like, shape (n,), optional
        Local error estimates are kept below ``atol + rtol * abs(y)``, in the
        root mean square norm. Defaults are 1e-3 and 1e-6.
    vectorized : bool, optional
        Whether `fun` takes ``y`` of shape (n, k) at one time, as in SciPy.
    jac : array_like, sparse matrix, callable or None, optional
        Jacobian of `fun` with respect to ``y``, shape (n, n), or
        ``jac(t, y)``. By default the slopes of `fun` about the centre are
        found from its values at points beside it.
    time_vectorized : bool or None, optional
        Whether `fun` (and `jac`) broadcast over time. None finds out.
    n_steps : int, optional
        Take this number of equal windows, without error control.
    mesh : array_like, shape (N + 1,), optional
        Take the windows between these points, without error control.
    initial_guess : float, array_like or callable, optional
        The first centre, in place of the predictor: a constant, a state of
        shape (n,), the states at all points of the fixed mesh (n, N + 1), or a
        function of time. Where it leads nowhere, the predictor takes over
        (``formulation="flow"``).
    window : int or inf, optional
        Number of maps fitted at once. By default adaptive.
    newton_tol : float, optional
        The centre stays where it is when its updates are expected to add up to
        less than this, in units of the tolerance (default 1e-3), or relative to
        the solution on a fixed mesh (default 1e-13).
    max_newton : int, optional
        Largest number of passes for a mesh. Default is 10, and 50 on a fixed
        mesh.
    max_steps : int, optional
        Largest number of windows. Default is 10 million, none on a fixed mesh.
    timeout : float, optional
        Time allowed, in seconds; the clock is read before calls of `fun`.
    device : {"cpu", "cuda"} or None, optional
        "cuda" moves `y0` to a GPU, with CuPy, and solves there. None (default)
        solves where `y0` is.
    jac_sparsity : array_like, sparse matrix or None, optional
        Pattern of the Jacobian, shape (n, n), as for `ScanNewtonImplicit`.
    n_basis : (int, int), optional
        Number of basis functions in the state and in time. The former is 2; the
        latter, from 3 to 10, by default follows `rtol`. With a `formulation` of
        [1]_ any two numbers, (10, 10) by default.
    formulation : {"flow", "residual", "simple"}, optional
        "flow" (default) is the method above. The other two are those of [1]_, for
        one real equation on a finite interval: F(y, t) is fitted to random
        points by normal equations, and ``F(y, t) = y`` solved at all times, of
        `n_steps` (200 by default) or `mesh`. "residual" fits
        ``dF/dt + f dF/dy = f``, the equation of the paper's program; "simple"
        fits ``dF/dt = f``, equation (4) of its text, whose fixed points are
        not the solution. Times are accepted as far as they converged and an
        estimate of the error, made afterwards, is within the tolerance;
        the lengths of steps, windows and Jacobians have no effect. The options
        below are of these two only.
    basis : {"monomial", "chebyshev"}, optional
        Powers of y and t, as in [1]_, or Chebyshev polynomials of the box.
    n_samples : int, optional
        Number of random points. Default is 200,000.
    radius : float, optional
        They are drawn within this distance of ``y0``. Default is 0.8.
    ic_weight : float, optional
        Weight of the initial condition in the normal equations. Default is 1e3.
    reg_lambda : float, optional
        Tikhonov's regularization parameter. Default is 1e-8.
    damping : float, optional
        Factor of the Newton steps, at most 1. Default is 0.8. They end where
        no state changes by more than `newton_tol`, here absolute and 1e-10 by
        default, or after `max_newton`, 200 by default.
    seed : int, optional
        Of the random points. Default is 0.
    **extraneous
        Options of other methods; a warning names them.

    Attributes
    ----------
    t, y, t_old, t_bound, direction, step_size, status, n, nfev, njev, nlu
        As in `scipy.integrate.OdeSolver`, a step being the window of one map;
        `nfev` and `njev` count points (t, y), `nlu` the maps fitted.

    Raises
    ------
    ValueError
        If an argument is out of its range or has the wrong shape.
    TypeError
        If an argument is not of the kind expected.

    See Also
    --------
    ScanNewton : Explicit methods, for non-stiff problems.
    ScanNewtonImplicit : Implicit methods, for stiff problems.

    References
    ----------
    .. [1] M. Veselský, "A Parallel Regression Approach to ODE Integration",
           2025, Sections II and V.

    Examples
    --------
    The example of [1]_:

    >>> import numpy as np
    >>> from parivp import solve_ivp
    >>> res = solve_ivp(lambda t, y: -y**3 + np.sin(t), (0, 2), [0.5],
    ...                 method="ParODE", rtol=1e-9, atol=1e-12)
    >>> res.success
    True
    """

    __signature__ = inspect.Signature(_PARAMETERS)

    discretization_class = FittedMaps

    def __init__(
        self,
        fun,
        t0,
        y0,
        t_bound,
        *args,
        formulation="flow",
        n_basis=None,
        tableau=None,
        **options,
    ):
        as_choice("formulation", formulation, FORMULATIONS)
        without_effect = {"tableau": tableau}
        regression = {name: options.pop(name, None) for name in REGRESSION_OPTIONS}
        if formulation == "flow":
            self._n_times, self._regression = _as_basis(n_basis), None
            without_effect |= regression
        else:
            regression |= {"formulation": formulation, "n_basis": n_basis}
            self._n_times = None
            self._regression = RegressionSettings(**_given(regression))
            for name in ("jac", "jac_sparsity", "window"):
                without_effect[name] = options.pop(name, None)
        warn_extraneous(_given(without_effect))
        super().__init__(fun, t0, y0, t_bound, *args, **options)

    def _make_loop(self, jac, settings, mesh, time_vectorized):
        """Make the loop of the formulation."""
        if self._regression is None:
            return super()._make_loop(jac, settings, mesh, time_vectorized)
        self._regression.check_problem(self.y, self.t_bound)
        return RegressionLoop(
            FixedPointMethod(self._rhs),
            float(self.t),
            copied(self.y),
            float(self.t_bound),
            settings,
            self._regression,
            mesh,
        )

    def _find_tableau(self, name, mesh, rtol):
        """Take as many nodes in time as there are basis functions, but the constant."""
        n_times = LOOSE_TIMES if np.min(rtol, initial=1.0) >= LOOSE else MOST_TIMES
        return find_tableau(f"RadauIIA{2 * (self._n_times or n_times) - 3}")


def _given(options):
    """Those options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def _as_basis(n_basis):
    """Check `n_basis` of the flow formulation; return the number in time, or None."""
    if n_basis is None:
        return None
    n_state, n_times = as_pair("n_basis", n_basis)
    if n_state != 2 or not 3 <= n_times <= MOST_TIMES:
        raise ValueError(
            "`n_basis` of the flow formulation is expected to be 2 in the state and "
            f"3 to {MOST_TIMES} in time, but actually is {n_basis!r}. Maps of higher "
            "degree in the state are what `fit_flow_map` is for."
        )
    return n_times
