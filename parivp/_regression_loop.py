"""ParODE as in its paper: one regression, all times at once.

sample      random points of a box about the initial state
regress     F(y, t) from the normal equations
solve       F(y, t) = y at all times of the mesh, by damped Newton steps
judge       accept the leading times that converged and whose error is small

Whatever the regression gives, the last of these says how far it can be relied on.
"""

import math
import numbers
from dataclasses import dataclass, field

import numpy as np

from ._array_namespace import (
    array_namespace,
    copied,
    errstate,
    first_true,
    is_complex,
    like,
    new_full,
    new_zeros,
    true_indices,
)
from ._dense_output import PiecewisePolynomial
from ._mesh import prefix_below
from ._options import as_choice, as_mesh, as_pair, as_whole
from ._regression import (
    BASES,
    FORMULATIONS,
    ProductBasis,
    SingularEquations,
    fixed_points,
    regress,
    sample_box,
)
from ._result import IntegrationFailed, Segment
from ._trajectory_error import trajectory_errors

__all__ = ["FixedPointMethod", "RegressionLoop", "RegressionSettings"]

N_STEPS = 200
MAX_NEWTON, NEWTON_TOL = 200, 1e-10
# Points at which the values of `fun` for many points are compared with single
# calls: among the samples, and at most along the solution.
COMPARED_SAMPLES, COMPARED_STEPS = 32, 256
ADVICE = (
    "Use another `n_basis`, `reg_lambda` or `radius`, a looser tolerance, "
    'or formulation="flow".'
)


@dataclass(frozen=True)
class RegressionSettings:
    """The options of the regression; see `parivp.ParODE` for their meaning.

    Defaults are those of the paper's program.

    Raises
    ------
    ValueError
        If an option is out of its range.
    TypeError
        If an option is not of the kind expected.
    """

    formulation: str = "residual"
    basis: str = "monomial"
    n_basis: tuple[int, int] = (10, 10)
    n_samples: int = 200_000
    radius: float = 0.8
    ic_weight: float = 1e3
    reg_lambda: float = 1e-8
    damping: float = 0.8
    seed: int = 0

    def __post_init__(self):
        checked = {
            "formulation": as_choice("formulation", self.formulation, FORMULATIONS),
            "basis": as_choice("basis", self.basis, BASES),
            "n_basis": as_pair("n_basis", self.n_basis),
            "n_samples": as_whole("n_samples", self.n_samples),
            "radius": _as_finite("radius", self.radius),
            "ic_weight": _as_finite("ic_weight", self.ic_weight),
            "reg_lambda": _as_finite("reg_lambda", self.reg_lambda, or_zero=True),
            "damping": _as_finite("damping", self.damping),
            "seed": _as_seed(self.seed),
        }
        if checked["damping"] > 1:
            raise ValueError(
                "`damping` is expected to be at most 1, "
                f"but actually is {self.damping!r}."
            )
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def check_problem(self, y0, t_bound):
        """Check that the problem is one that these formulations are for."""
        needed = f'`formulation`="{self.formulation}" is for'
        if y0.shape != (1,):
            raise ValueError(
                f"{needed} one equation: `y0` is expected to have shape (1,), "
                f'but actually has {y0.shape}. Use formulation="flow".'
            )
        if is_complex(y0):
            raise ValueError(
                f'{needed} real problems, but `y0` is complex. Use formulation="flow".'
            )
        if not math.isfinite(t_bound):
            raise ValueError(
                f"{needed} finite intervals, but `t_span` ends at {t_bound}."
            )


class FixedPointMethod:
    """What the classes of the methods ask for: counters and dense output.

    Parameters
    ----------
    rhs : Rhs
    """

    advice = ADVICE
    njev = 0

    def __init__(self, rhs):
        self.rhs = rhs
        self.nlu = 0

    def interpolant(self, t, y, K):
        """Cubics with the slopes `K`, shape (2, n, N), at both ends of N steps."""
        xp = array_namespace(t)
        h, change = xp.diff(t), xp.diff(y, axis=1)
        left, right = h * K[0, ...], h * K[1, ...]
        bubble = xp.stack([(left - right) / 2, change - (left + right) / 2])
        return PiecewisePolynomial(t, y, bubble)


@dataclass
class RegressionLoop:
    """Solve a scalar problem on `mesh` by the paper's method.

    Parameters
    ----------
    discretization : FixedPointMethod
    t : float
    y : array, shape (1,)
    t_bound : float
    settings : Settings
    regression : RegressionSettings
    mesh : array, shape (N + 1,), optional
        By default 200 equal steps.
    """

    discretization: FixedPointMethod
    t: float
    y: object
    t_bound: float
    settings: object
    regression: RegressionSettings
    mesh: object = None
    nit: int = 0
    nsteps: int = 0
    newton_residuals: list = field(default_factory=list)
    suspect: bool = False  # nothing is accepted before `fun` was found out

    def __post_init__(self):
        self.xp = array_namespace(self.y)

    def start(self):
        """Call `fun` at the initial point, where what it raises arrives."""
        self.discretization.rhs.first(self.t, self.y)

    def segments(self):
        """Yield the accepted steps.

        Raises
        ------
        IntegrationFailed
            If not all steps can be accepted.
        """
        xp = self.xp
        if self.t == self.t_bound:
            t, K = like(self.y, [self.t, self.t_bound]), new_zeros(self.y, (2, 1, 1))
            yield self._accept(t, xp.stack([self.y, self.y], axis=1), K)
            return
        mesh = self.mesh
        if mesh is None:
            mesh = as_mesh(N_STEPS, None, self.t, self.t_bound, self.y)
        with errstate():
            y, n_converged, slopes = self._trajectory(mesh)
            n_finite = first_true(xp, ~xp.isfinite(slopes[0, 1:]))
            n = min(n_converged, n_finite)
            K = xp.stack([slopes[:, :n], slopes[:, 1 : n + 1]])
            errors = self._errors(mesh[: n + 1], y[:, : n + 1], K)
        n_accurate = prefix_below(errors, 1.0)
        n_accepted = int(min(n_accurate, self.settings.max_steps or math.inf))
        if n_accepted > 0:
            end = n_accepted + 1
            yield self._accept(mesh[:end], y[:, :end], K[..., :n_accepted])
        if n_accepted == mesh.shape[0] - 1:
            return
        if n_accepted < n_accurate:
            raise IntegrationFailed(_too_many_steps(n_accepted, self.t))
        if n_accurate < n:
            t, largest = float(mesh[n_accurate + 1]), float(xp.max(errors))
            raise IntegrationFailed(_inaccurate(t, largest))
        t = float(mesh[n + 1])
        if n_converged == n:
            n_iterations = len(self.newton_residuals[-1])
            raise IntegrationFailed(_not_converged(t, n_iterations))
        raise IntegrationFailed(_not_finite("fixed point", t, float(y[0, n + 1])))

    def _accept(self, t, y, K):
        """Take over the steps and hand them out."""
        self.t, self.y = float(t[-1]), copied(y[:, -1])
        self.nsteps += t.shape[0] - 1
        return Segment(t, y, K)

    # -- the regression and its fixed points -------------------------------

    def _trajectory(self, mesh):
        """Return states, the number of steps that converged, and slopes."""
        y, n_converged = self._solve(mesh)
        slopes, agreed = self._slopes(mesh, y)
        if not agreed:
            y, n_converged = self._solve(mesh)
            slopes, _ = self._slopes(mesh, y)
        return y, n_converged, slopes

    def _solve(self, mesh):
        """Return states on `mesh`, and the number of steps that converged."""
        fitted = self._fit()
        settings, y0 = self.settings, float(self.y[0])
        if settings.initial_guess is None:
            start = new_full(mesh, mesh.shape, y0)
        else:
            start = settings.initial_guess(mesh)[0, :]
        y, change, residuals = fixed_points(
            fitted,
            mesh,
            start,
            damping=self.regression.damping,
            tol=self._newton_tol,
            max_iter=self._max_newton,
            check=self.discretization.rhs.check_deadline,
        )
        self.nit += len(residuals)
        self.newton_residuals.append(np.array(residuals))
        y[0] = y0  # it is known
        n_converged = first_true(self.xp, ~(change[1:] < self._newton_tol))
        return y[None, :], n_converged

    def _fit(self):
        """Fit F to random points of the box."""
        options, t0, y0 = self.regression, self.t, float(self.y[0])
        t_range = (t0 + self.t_bound) / 2, abs(self.t_bound - t0) / 2
        basis = ProductBasis(
            options.basis, options.n_basis, (y0, options.radius), t_range
        )
        points = sample_box(
            np.random.default_rng(options.seed),
            options.n_samples,
            y0,
            options.radius,
            t0,
            self.t_bound,
        )
        self.discretization.nlu += 1
        try:
            return regress(
                self._sampled_values,
                basis,
                options.formulation,
                tuple(like(self.y, values) for values in points),
                (like(self.y, [t0]), self.y),
                ic_weight=options.ic_weight,
                reg_lambda=options.reg_lambda,
            )
        except SingularEquations:
            raise IntegrationFailed(
                "The normal equations of the regression are singular. "
                "Use a larger `reg_lambda` or more samples."
            ) from None

    def _sampled_values(self, t, y):
        """Values of `fun` at samples, which must be finite."""
        rhs, xp, y = self.discretization.rhs, self.xp, y[None, :]
        values = rhs(t, y)
        if rhs.check and rhs.time_vectorized:
            # the samples are random, so the first ones are as good as any
            rhs.time_vectorized = rhs.agrees(
                t, y, values, list(range(min(t.shape[0], COMPARED_SAMPLES)))
            )
            if not rhs.time_vectorized:
                values = rhs(t, y)
        k = first_true(xp, ~xp.isfinite(values[0, :]))
        if k < t.shape[0]:
            raise IntegrationFailed(_not_finite("sample", float(t[k]), float(y[0, k])))
        return values[0, :]

    def _slopes(self, mesh, y):
        """Values of `fun` on the solution, and whether single calls agree."""
        rhs = self.discretization.rhs
        slopes = rhs(mesh, y)
        if not (rhs.check and rhs.time_vectorized):
            return slopes, True
        n_points, xp = mesh.shape[0], self.xp
        columns = np.linspace(0, n_points - 1, min(n_points, COMPARED_STEPS))
        columns = np.unique(columns.astype(int)).tolist()
        finite = xp.isfinite(xp.take(slopes[0, :], like(mesh, columns)))
        columns = [columns[k] for k in true_indices(xp, finite)]
        rhs.time_vectorized = rhs.agrees(mesh, y, slopes, columns)
        return slopes, rhs.time_vectorized

    def _errors(self, t, y, K):
        """Estimated errors of the steps, in units of the tolerance."""
        if t.shape[0] == 1:
            return t[1:]
        trajectory = self.discretization.interpolant(t, y, K)
        settings = self.settings
        rtol, atol = (float(np.max(x)) for x in (settings.rtol, settings.atol))
        return trajectory_errors(self.discretization.rhs, trajectory, rtol, atol)

    @property
    def _newton_tol(self):
        return self.settings.newton_tol or NEWTON_TOL

    @property
    def _max_newton(self):
        return self.settings.max_newton or MAX_NEWTON


# -- what is said where the integration stops -----------------------------------


def _too_many_steps(n_steps, t):
    return (
        f"The number of steps reached `max_steps` = {n_steps} at "
        f"t = {t:.15g}. Allow more."
    )


def _not_finite(point, t, y):
    return (
        f"`fun` raised or is not finite at a {point}, t = {t:.6g}, y = {y:.6g}. "
        'Use a smaller `radius`, or formulation="flow".'
    )


def _not_converged(t, n_iterations):
    return (
        "The iteration for the fixed points did not converge within "
        f"{n_iterations} iterations, first at t = {t:.15g}. {ADVICE}"
    )


def _inaccurate(t, largest):
    """Say that the step that ends at `t` is the first whose error is too large."""
    estimate = "not finite" if not math.isfinite(largest) else f"{largest:.2g}"
    return (
        "The fixed points do not satisfy the differential equation to the tolerance: "
        f"their estimated error exceeds it from t = {t:.15g} on, and its "
        f"largest ratio to it is {estimate}. {ADVICE}"
    )


# -- options ----------------------------------------------------------------------


def _as_finite(name, value, *, or_zero=False):
    """Check a finite number that is positive, or zero where it makes sense."""
    if or_zero and not isinstance(value, bool) and value == 0:
        return 0.0
    least = "finite and 0 or more" if or_zero else "finite and positive"
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(
            f"`{name}` is expected to be a number, but actually is {value!r}."
        )
    if not 0 < value < math.inf:
        raise ValueError(
            f"`{name}` is expected to be {least}, but actually is {value!r}."
        )
    return float(value)


def _as_seed(seed):
    if isinstance(seed, int | np.integer) and not isinstance(seed, bool) and seed >= 0:
        return int(seed)
    raise ValueError(
        "`seed` is expected to be a whole number that is not negative, "
        f"but actually is {seed!r}."
    )
