"""ScanNewton: explicit Runge-Kutta methods, parallel in time."""

from ._discretization import ExplicitRungeKutta
from ._explicit_loop import ExplicitLoop
from ._ode_solver import WindowSolver

__all__ = ["ScanNewton"]


class ScanNewton(WindowSolver):
    r"""Explicit Runge-Kutta method, all steps of a window solved at once.

    The steps ``x_k = phi(x_{k-1}, t_{k-1}, h_k)`` of an explicit Runge-Kutta
    method over a window of time are one system of equations, solved by
    Newton's method; every Newton step is the affine recursion
    ``u_k = D_k u_{k-1} + r_k`` with the step Jacobians ``D_k`` and the
    residuals ``r_k`` (minus those of the paper), solved by an affine scan
    [1]_. A loose sequential solution supplies the guess. Windows adapt to how
    well that works; a window of one step is the sequential method.

    For non-stiff problems of up to 32 components whose right-hand side
    broadcasts over time. Others are solved as well, one step after another,
    which shows as ``nit == 0``.

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
        with CuPy and on its device.
    t_bound : float
        Time at which the integration ends; may be infinite.
    first_step : float or None, optional
        Length of the first step. By default chosen by the solver.
    max_step : float, optional
        Greatest length of a step. Default is infinity.
    rtol, atol : float or array_like, shape (n,), optional
        Local error estimates are kept below ``atol + rtol * abs(y)``, in the
        root mean square norm. Defaults are 1e-3 and 1e-6. The estimates of
        "DOP853" are guarded against vanishing by accident where `fun` jumps.
    vectorized : bool, optional
        Whether `fun` takes ``y`` of shape (n, k) at one time, as in SciPy.
    jac : array_like, sparse matrix, callable or None, optional
        Jacobian of `fun` with respect to ``y``, shape (n, n), or
        ``jac(t, y)``. Newton's method uses it if it is constant or broadcasts
        over time, returning (n, n, m); otherwise, and by default, the steps
        are differenced.
    time_vectorized : bool or None, optional
        Whether `fun` (and `jac`) broadcast over time. None finds out.
    tableau : {"DOP853", "RK45", "RK23", "RK4", "Euler"}, optional
        The Runge-Kutta method. "RK4" and "Euler" have no error estimate and
        need `n_steps` or `mesh`.
    n_steps : int, optional
        Take this number of equal steps, without error control.
    mesh : array_like, shape (N + 1,), optional
        Take the steps between these points, without error control.
    initial_guess : float, array_like or callable, optional
        Guess for the states, in place of the predictor: a constant, a state of
        shape (n,), the states at all points of the fixed mesh (n, N + 1), or a
        function of time. Where it leads nowhere, the predictor takes over.
    window : int or inf, optional
        Number of steps solved at once: at most so many on a fixed mesh, about
        so many under error control. By default adaptive; ``inf`` is the single
        window of [1]_.
    newton_tol : float, optional
        Newton's method stops when what its updates leave is expected to stay
        below this, in units of the tolerance (default 0.1), or relative to the
        solution on a fixed mesh (default 1e-13).
    max_newton : int, optional
        Largest number of Newton iterations in a window. Default is 10, and 50
        on a fixed mesh.
    max_steps : int, optional
        Largest number of steps. Default is 10 million, none on a fixed mesh.
    timeout : float, optional
        Time allowed, in seconds; the clock is read before calls of `fun`.
    device : {"cpu", "cuda"} or None, optional
        "cuda" moves `y0` to a GPU, with CuPy, and solves there. None (default)
        solves where `y0` is.
    **extraneous
        Options of other methods; a warning names them.

    Attributes
    ----------
    t, y, t_old, t_bound, direction, step_size, status, n, nfev, njev, nlu
        As in `scipy.integrate.OdeSolver`; `nfev` counts points (t, y).

    Raises
    ------
    ValueError
        If an argument is out of its range or has the wrong shape.
    TypeError
        If an argument is not of the kind expected.

    See Also
    --------
    ScanNewtonImplicit : Implicit methods, for stiff problems.

    References
    ----------
    .. [1] C. Iacob, H. Razavi, S. Särkkä, "A parallel-in-time Newton's
           method-based ODE solver", Section 3.2, eqs. (18)-(24).

    Examples
    --------
    >>> from scipy.integrate import solve_ivp
    >>> from parivp import ScanNewton
    >>> res = solve_ivp(lambda t, y: -y, (0, 1), [1.0], method=ScanNewton)
    >>> res.success
    True
    """

    discretization_class = ExplicitRungeKutta
    loop_class = ExplicitLoop
    default_tableau = "DOP853"
