"""SciPy's `OdeSolver` interface on top of the window loop."""

import math

import numpy as np
from scipy.integrate import OdeSolver

from ._array_namespace import (
    array_namespace,
    backend_name,
    copied,
    errstate,
    has_own_place,
    is_complex,
    new_empty,
)
from ._dense_output import PiecewisePolynomial, StepInterpolant
from ._fixed_mesh import FixedMeshLoop
from ._jacobian import wrap_jacobian
from ._options import (
    as_deadline,
    as_first_step,
    as_flag,
    as_guess,
    as_mesh,
    as_positive,
    as_state,
    as_tolerances,
    as_whole,
    warn_extraneous,
)
from ._result import IntegrationFailed
from ._rhs import DeadlineExceeded, Rhs
from ._solver import Settings
from ._tableaus import TABLEAUS, find_tableau

__all__ = ["WindowSolver"]


# Tableaus that are built when they are asked for.
FAMILIES_HINT = {"explicit": "", "implicit": " or another order of these families"}


class WindowSolver(OdeSolver):
    """Base of the methods: options, SciPy's step interface, counters.

    It computes a window at a time and hands the steps out one by one;
    `parivp.solve_ivp` takes the windows whole, by `next_segment`. A subclass
    states its discretization and its default tableau.
    """

    discretization_class: type
    loop_class: type
    default_tableau: str

    def __init__(
        self,
        fun,
        t0,
        y0,
        t_bound,
        first_step=None,
        max_step=np.inf,
        rtol=1e-3,
        atol=1e-6,
        vectorized=False,
        *,
        jac=None,
        time_vectorized=None,
        tableau=None,
        n_steps=None,
        mesh=None,
        initial_guess=None,
        window=None,
        newton_tol=None,
        max_newton=None,
        max_steps=None,
        timeout=None,
        device=None,
        **extraneous,
    ):
        end = as_deadline(timeout)
        warn_extraneous(extraneous)
        y0 = as_state(y0, device)
        known = y0
        if has_own_place(y0):  # SciPy's class reads states of NumPy's
            known = np.zeros(y0.shape, complex if is_complex(y0) else float)
        super().__init__(fun, t0, known, t_bound, vectorized, support_complex=True)
        self.y = self.y if known is y0 else y0
        if not callable(fun):
            raise TypeError(
                f"`fun` is expected to be callable, but actually is {fun!r}."
            )
        time_vectorized = as_flag("time_vectorized", time_vectorized)
        max_step = math.inf if max_step is None else max_step
        window = as_whole("window", window, or_inf=True)
        if window == math.inf and not math.isfinite(t_bound):
            raise ValueError("`window` = inf needs a finite `t_span`.")
        mesh = as_mesh(n_steps, mesh, t0, t_bound, self.y)
        rtol, atol = as_tolerances(rtol, atol, self.n)
        self.tableau = self._find_tableau(tableau, mesh, rtol)
        settings = Settings(
            rtol=rtol,
            atol=atol,
            first_step=as_first_step(first_step, t0, t_bound),
            max_step=as_positive("max_step", max_step),
            initial_guess=as_guess(initial_guess, self.y, mesh),
            window=window,
            newton_tol=as_positive("newton_tol", newton_tol),
            max_newton=as_whole("max_newton", max_newton),
            max_steps=as_whole("max_steps", max_steps, or_inf=True),
        )
        self._rhs = Rhs(
            fun,
            self.y,
            vectorized=vectorized,
            time_vectorized=time_vectorized,
        )
        self.loop = self._make_loop(jac, settings, mesh, time_vectorized)
        self.backend = backend_name(array_namespace(self.y))
        self.loop.start()
        self._rhs.deadline = end  # from here on, where a status can say so
        self._stream = self._segments()
        self._segment, self._position, self._polynomial = None, 0, None
        self._count()

    def next_segment(self):
        """Return the next accepted steps, or None at the end.

        Raises
        ------
        IntegrationFailed
            If the integration cannot go on.
        """
        try:
            return next(self._stream, None)
        except RuntimeError as error:
            if isinstance(error.__cause__, StopIteration):
                raise error.__cause__ from None  # raised by `fun`
            raise

    def _segments(self):
        try:
            for segment in self.loop.segments():
                self._count()
                yield segment
        except DeadlineExceeded:
            raise IntegrationFailed(
                f"The time allowed by `timeout` was over at t = {self.loop.t:.15g}. "
                "Allow more, or loosen the tolerances. "
                f"{self.loop.discretization.advice}".strip()
            ) from None
        except MemoryError as error:
            raise IntegrationFailed(
                f"There is not enough memory for the steps at t = {self.loop.t:.15g}: "
                f"{error}"
            ) from error
        finally:
            self._count()

    @property
    def t_reached(self):
        """Time up to which steps have been accepted."""
        return self.loop.t

    def interpolant(self, segment):
        """Dense output of a segment, a `PiecewisePolynomial`."""
        if self.n == 0 or segment.t[0] == segment.t[-1]:
            bubble = new_empty(self.y, (0, self.n, segment.t.shape[0] - 1))
            return PiecewisePolynomial(segment.t, segment.y, bubble)
        deadline, self._rhs.deadline = self._rhs.deadline, None
        broadcast = self._rhs.time_vectorized
        try:
            with errstate():
                return self.loop.discretization.interpolant(
                    segment.t, segment.y, segment.K
                )
        finally:
            self._rhs.deadline = deadline
            if broadcast and not self._rhs.time_vectorized and self.loop.nit > 0:
                self.loop.suspect = True

    def _make_loop(self, jac, settings, mesh, time_vectorized):
        """Make the loop that accepts steps."""
        rtol, atol = settings.rtol, settings.atol
        discretization = self._discretize(jac, self.t, rtol, atol, time_vectorized)
        start = (float(self.t), copied(self.y), float(self.t_bound))
        if mesh is None:
            return self.loop_class(discretization, *start, settings)
        return FixedMeshLoop(discretization, *start, settings, mesh=mesh)

    def _discretize(self, jac, t0, rtol, atol, time_vectorized):
        """Make the discretization."""
        jac = wrap_jacobian(jac, t0, self.y, time_vectorized=time_vectorized)
        return self.discretization_class(self.tableau, self._rhs, jac, rtol, atol)

    def _find_tableau(self, name, mesh, rtol):
        """Find the tableau of that name, if it can do what is asked."""
        name = name or self.default_tableau
        kind = self.discretization_class.tableau_kind
        tableau = find_tableau(name)
        if tableau is None or tableau.kind != kind:
            names = [key for key, value in TABLEAUS.items() if value.kind == kind]
            raise ValueError(
                f"`tableau` is expected to be one of {names}"
                f"{FAMILIES_HINT[kind]}, but actually is {name!r}."
            )
        if mesh is None and not tableau.adaptive:
            raise ValueError(
                f"`tableau` {name!r} has no error estimate: give `n_steps` or `mesh`, "
                "or choose one that has."
            )
        return tableau

    def _count(self):
        """Bring SciPy's counters up to date."""
        self.nfev = self._rhs.nfev
        self.njev = self.loop.discretization.njev
        self.nlu = self.loop.discretization.nlu

    # -- SciPy's protocol -------------------------------------------------

    def _step_impl(self):
        if self._segment is None or self._position == self._segment.t.shape[0] - 1:
            try:
                self._segment = self.next_segment()
            except IntegrationFailed as failure:
                return False, str(failure)
            if self._segment is None:
                return False, "The integration was stopped by an exception before."
            self._position, self._polynomial = 0, None
        if self.loop.suspect:
            return False, (
                "`fun` was found to give something else for many points than for one, "
                "after steps had been handed out. Use `time_vectorized=False`."
            )
        self._position += 1
        self.t = float(self._segment.t[self._position])
        self.y = self._segment.y[:, self._position]
        return True, None

    def _dense_output_impl(self):
        if self._polynomial is None:
            self._polynomial = self.interpolant(self._segment)
        return StepInterpolant(
            self.t_old, self.t, self._polynomial.cut(self._position - 1)
        )
