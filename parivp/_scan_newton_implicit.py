"""ScanNewtonImplicit: implicit collocation methods, parallel in time."""

from ._collocation import Collocation
from ._implicit_solver import ImplicitSolver

__all__ = ["ScanNewtonImplicit"]


class ScanNewtonImplicit(ImplicitSolver):
    r"""Implicit collocation method, all stages of a window solved at once.

    A collocation polynomial meets the differential equation at the nodes of
    its step [2]_. The values at the nodes, the stages, of all steps of a
    window of time are one system of equations, solved by Newton's method. In
    every iteration the stages are eliminated step by step, which leaves the
    affine recursion ``u_k = D_k u_{k-1} + r_k`` for the ends of the steps,
    solved by an affine scan [1]_. A loose sequential solution supplies the
    guess. Windows adapt to how well that works; a window of one step is the
    sequential method.

    For stiff problems, and with ``tableau="GaussLegendre12"`` for smooth ones
    whose errors are to stay far below the tolerance. A right-hand side that
    does not broadcast over time is called point by point.

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
        Length of the first step. By default chosen by the solver.
    max_step : float, optional
        Greatest length of a step. Default is infinity.
    rtol, atol : float or array_like, shape (n,), optional
        Local error estimates are kept below ``atol + rtol * abs(y)``, in the
        root mean square norm. Defaults are 1e-3 and 1e-6. They are estimates
        of the error within the step; that at its end is usually smaller.
    vectorized : bool, optional
        Whether `fun` takes ``y`` of shape (n, k) at one time, as in SciPy.
    jac : array_like, sparse matrix, callable or None, optional
        Jacobian of `fun` with respect to ``y``, shape (n, n), or
        ``jac(t, y)``, dense or sparse. A dense one may broadcast over time,
        returning (n, n, m); others are evaluated point by point. By default
        it is found by differences of `fun`.
    time_vectorized : bool or None, optional
        Whether `fun` (and `jac`) broadcast over time. None finds out.
    tableau : str, optional
        The collocation method. "RadauIIA9" (default) and the other members of
        its family, "RadauIIA3" to "RadauIIA17", are L-stable;
        "GaussLegendre4" to "GaussLegendre18" are A-stable. The number is the
        order, ``2 s - 1`` or ``2 s`` with ``s`` stages. "BackwardEuler",
        "ImplicitMidpoint" and "Trapezoid" have no error estimate and need
        `n_steps` or `mesh`.
    n_steps : int, optional
        Take this number of equal steps, without error control.
    mesh : array_like, shape (N + 1,), optional
        Take the steps between these points, without error control.
    initial_guess : float, array_like or callable, optional
        Guess for the states, in place of the predictor: a constant, a state of
        shape (n,), the states at all points of the fixed mesh (n, N + 1), or a
        function of time. Stages are guessed from it as well. Where it leads nowhere,
        the predictor takes over.
    window : int or inf, optional
        Number of steps solved at once: at most so many on a fixed mesh, about
        so many under error control. By default adaptive; ``inf`` is the single
        window of [1]_.
    newton_tol : float, optional
        Newton's method stops when what its updates leave is expected to stay
        below this, in units of the tolerance (default 1e-3), or relative to
        the solution on a fixed mesh (default 1e-13).
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
    jac_sparsity : array_like, sparse matrix or None, optional
        Pattern of the Jacobian, shape (n, n): entries that are zero are zero
        always. For systems of at least 30 unknowns the components are
        reordered so that the entries lie near the diagonal, and where they
        then fill a band of at most a third of the matrix, band matrices are
        used throughout. Differences take few evaluations of `fun` then. Not
        used if `jac` is given: the pattern is then that of a sparse `jac`, of a
        callable that of its values.
    **extraneous
        Options of other methods; a warning names them.

    Attributes
    ----------
    t, y, t_old, t_bound, direction, step_size, status, n, nfev, njev, nlu
        As in `scipy.integrate.OdeSolver`; `nfev` and `njev` count points
        (t, y), `nlu` counts steps whose linear systems were set up.

    Raises
    ------
    ValueError
        If an argument is out of its range or has the wrong shape.
    TypeError
        If an argument is not of the kind expected.

    See Also
    --------
    ScanNewton : Explicit methods, for non-stiff problems.

    References
    ----------
    .. [1] C. Iacob, H. Razavi, S. Särkkä, "A parallel-in-time Newton's
           method-based ODE solver", Section 3.4, eqs. (48)-(54).
    .. [2] E. Hairer, G. Wanner, "Solving Ordinary Differential Equations II:
           Stiff and Differential-Algebraic Problems", 2nd ed., Springer, 1996,
           Sections IV.5 and IV.8.

    Examples
    --------
    Robertson's chemical reaction, whose time scales lie many orders of
    magnitude apart:

    >>> from parivp import solve_ivp
    >>> def robertson(t, y):
    ...     slow, fast, back = 0.04*y[0], 3e7*y[1]**2, 1e4*y[1]*y[2]
    ...     return [back - slow, slow - fast - back, fast]
    >>> res = solve_ivp(robertson, (0, 500), [1, 0, 0], rtol=1e-6, atol=1e-9,
    ...                 method="ScanNewtonImplicit")
    >>> res.success
    True
    >>> bool(abs(res.y[:, -1].sum() - 1) < 1e-9)  # mass is conserved
    True

    The class serves SciPy's `solve_ivp` too:

    >>> import scipy.integrate
    >>> from parivp import ScanNewtonImplicit
    >>> res = scipy.integrate.solve_ivp(robertson, (0, 500), [1, 0, 0],
    ...                                 method=ScanNewtonImplicit)
    >>> res.success
    True
    """

    discretization_class = Collocation
    default_tableau = "RadauIIA9"
