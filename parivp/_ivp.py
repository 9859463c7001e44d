"""`solve_ivp`: validate, choose the method, assemble the result."""

import inspect
import math

import scipy.integrate

from ._array_namespace import array_namespace, backend_name, has_own_place
from ._events import EventSearch
from ._ode_solver import WindowSolver
from ._options import as_args, with_args
from ._parode import ParODE
from ._progress import Monitor
from ._recorder import Recorder
from ._result import MESSAGES, IntegrationFailed, OdeResult
from ._scan_newton import ScanNewton
from ._scan_newton_implicit import ScanNewtonImplicit

__all__ = ["METHODS", "solve_ivp"]

METHODS = {cls.__name__: cls for cls in (ScanNewton, ScanNewtonImplicit, ParODE)}
SCIPY_METHODS = ("RK23", "RK45", "DOP853", "Radau", "BDF", "LSODA")


def solve_ivp(
    fun,
    t_span,
    y0,
    method="ScanNewton",
    t_eval=None,
    dense_output=False,
    events=None,
    vectorized=False,
    args=None,
    **options,
):
    """Solve an initial value problem for a system of ODEs, parallel in time.

    A drop-in for `scipy.integrate.solve_ivp`: the same arguments, the same
    result, and a few of both on top. The problem is ``dy/dt = f(t, y)``,
    ``y(t0) = y0``.

    Parameters
    ----------
    fun : callable
        Right-hand side ``fun(t, y)`` with scalar ``t`` and ``y`` of shape
        (n,), returning an array_like of shape (n,). If it broadcasts, ``t`` of
        shape (m,) and ``y`` of shape (n, m), it is evaluated at many points at
        once.
    t_span : 2-member sequence
        Interval of integration (t0, tf); tf may be smaller than t0, or
        infinite.
    y0 : array_like, shape (n,)
        Initial state, real or complex. For a CuPy array everything is computed
        with CuPy and on its device, and the result holds CuPy arrays.
    method : str or OdeSolver, optional
        "ScanNewton" (default), explicit, see `ScanNewton`;
        "ScanNewtonImplicit", for stiff problems, see `ScanNewtonImplicit`;
        "ParODE", regression of flow maps, see `ParODE`; or one of SciPy's
        methods or any `scipy.integrate.OdeSolver` class, which pass through to
        SciPy.
    t_eval : array_like or None, optional
        Times at which to return the solution, sorted in the direction of
        integration. By default those of the solver's steps.
    dense_output : bool, optional
        Whether to return a continuous solution. Default is False.
    events : callable, or list of callables, optional
        Functions ``event(t, y) -> float`` whose zeros are to be found, with
        attributes `terminal` and `direction` as in SciPy.
    vectorized : bool, optional
        Whether `fun` takes ``y`` of shape (n, k) at one time.
    args : tuple, optional
        Handed to `fun`, `jac` and every event after ``t`` and ``y``.
    **options
        Options of the method, see `ScanNewton`, `ScanNewtonImplicit`, `ParODE`:
        ``rtol``, ``atol``, ``first_step``, ``max_step``, ``jac``,
        ``time_vectorized``, ``tableau``, ``n_steps``, ``mesh``,
        ``initial_guess``, ``window``, ``newton_tol``, ``max_newton``,
        ``max_steps``, ``timeout``, ``device``, and those that only one of them has;
        and two of this function. ``callback(state)`` is called after each accepted
        window or block of single steps; ``state`` has the attributes ``t``,
        ``y``, ``nsteps``, ``nit`` and ``window`` (number of steps just
        accepted), and raising StopIteration ends the integration.
        ``progress=True`` shows a progress bar, with tqdm.

    Returns
    -------
    OdeResult
        With the fields of SciPy's and ``nit``, ``nsteps``,
        ``newton_residuals``, ``backend``. Where the integration stops before
        its end, ``status`` is -1 and ``message`` says why.

    Raises
    ------
    ValueError
        If an argument is out of its range or has the wrong shape.
    TypeError
        If an argument is not of the kind expected.
    ImportError
        If `progress` is asked for without tqdm, or ``device="cuda"`` without CuPy.
    RuntimeError
        If ``device="cuda"`` is asked for without a device.

    Notes
    -----
    What `fun` raises arrives unchanged where a sequential solver would have
    met it; at points computed ahead it is caught.

    References
    ----------
    .. [1] C. Iacob, H. Razavi, S. Särkkä, "A parallel-in-time Newton's
           method-based ODE solver", arXiv:2511.01465, 2025.

    Examples
    --------
    >>> from parivp import solve_ivp
    >>> sol = solve_ivp(lambda t, y: -0.5 * y, (0, 10), [2, 4, 8])
    >>> sol.message
    'The solver successfully reached the end of the integration interval.'

    A stiff problem:

    >>> sol = solve_ivp(lambda t, y: -1e6 * (y - t), (0, 1), [1],
    ...                 method="ScanNewtonImplicit")
    >>> sol.success
    True
    """
    t0, tf = _interval(t_span)
    if not _is_own(method):
        if has_own_place(y0):
            raise TypeError(
                f"`method` {method!r} is SciPy's, so that `y0` is expected to be an "
                "array of numpy, but actually is one of "
                f"{backend_name(array_namespace(y0))}."
            )
        return scipy.integrate.solve_ivp(
            fun,
            t_span,
            y0,
            method,
            t_eval,
            dense_output,
            events,
            vectorized,
            args,
            **options,
        )
    method = METHODS[method] if isinstance(method, str) else method
    problem = (fun, (t0, tf), y0, t_eval, dense_output, events, vectorized)
    args = as_args(args)
    result = _run(method, problem, args, options)
    if result is None:
        # `fun` turned out not to broadcast when steps had been accepted already
        result = _run(method, problem, args, options | {"time_vectorized": False})
    return result


def _run(method, problem, args, options):
    """Solve once; None if what was accepted cannot be relied on."""
    fun, (t0, tf), y0, t_eval, dense_output, events, vectorized = problem
    options = dict(options)
    callback, progress = options.pop("callback", None), options.pop("progress", False)
    fun = with_args(fun, args)
    if callable(options.get("jac")):
        options["jac"] = with_args(options["jac"], args)
    recorder = Recorder(t0, tf, t_eval, dense_output)
    monitor = Monitor(t0, tf, callback, progress)
    solver = method(fun, t0, y0, tf, vectorized=vectorized, **options)
    search = None if events is None else EventSearch(events, args, t0, solver.y)
    with monitor:
        status, message = _integrate(solver, recorder, search, monitor)
    if solver.loop.suspect:
        return None
    return _assemble(solver, recorder, search, status, message)


def _integrate(solver, recorder, search, monitor):
    """Take segment after segment until the end, an event, or a failure."""
    recorder.start(solver.t, solver.y)
    try:
        while (segment := solver.next_segment()) is not None:
            polynomial = _Lazy(solver, segment)
            stop = search.search(segment, polynomial) if search else None
            if solver.loop.suspect:
                break
            recorder.add(segment, polynomial, stop)
            if stop is not None:
                return 1, MESSAGES[1]
            monitor.update(solver, segment)
    except IntegrationFailed as failure:
        return -1, str(failure)
    except monitor.Stopped:
        return -1, f"The `callback` stopped the integration at t = {solver.t_reached}."
    return 0, MESSAGES[0]


def _assemble(solver, recorder, search, status, message):
    t, y, sol = recorder.result()
    return OdeResult(
        t=t,
        y=y,
        sol=sol,
        t_events=search.times() if search else None,
        y_events=search.states() if search else None,
        nfev=solver.nfev,
        njev=solver.njev,
        nlu=solver.nlu,
        nit=solver.loop.nit,
        nsteps=solver.loop.nsteps,
        newton_residuals=solver.loop.newton_residuals,
        backend=solver.backend,
        status=status,
        message=message,
        success=status >= 0,
    )


class _Lazy:
    """The dense output of a segment, made when it is first asked for."""

    def __init__(self, solver, segment):
        self._make = lambda: solver.interpolant(segment)
        self._made = None

    def __call__(self):
        if self._made is None:
            self._made = self._make()
        return self._made


def _interval(t_span):
    """Return the two ends as floats."""
    t0, tf = map(float, t_span)
    if math.isnan(t0) or math.isnan(tf) or math.isinf(t0):
        raise ValueError(
            "`t_span` is expected to hold a finite start and an end that is not "
            f"NaN, but actually is {(t0, tf)}."
        )
    return t0, tf


def _is_own(method):
    """Whether the method is one of this package."""
    if isinstance(method, str) and method in (*METHODS, *SCIPY_METHODS):
        return method in METHODS
    if not (inspect.isclass(method) and issubclass(method, scipy.integrate.OdeSolver)):
        names = [*METHODS, *SCIPY_METHODS]
        raise ValueError(
            f"`method` must be one of {names} or OdeSolver class, "
            f"but actually is {method!r}."
        )
    return issubclass(method, WindowSolver)
