"""Choice of windows and degree, so that a flow map meets its tolerance."""

import math
from dataclasses import dataclass

import numpy as np

from ._array_namespace import array_namespace, like, true_indices
from ._chebyshev import POINTS_PER_COEFFICIENT, TotalDegreeBasis
from ._flow_evaluation import WindowMaps
from ._flow_fit import Comparison, Fitter

__all__ = ["Fitted", "adapt"]

# Degrees are first such that the polynomials have about this many coefficients, and
# raised up to these limits before there are more legs.
FIRST_SIZE, MAX_SIZE = 100, 1000
MAX_DEGREE_OF_ONE, MAX_DEGREE = 60, 24
# Misfits have to fall by this factor from degree to degree for that.
SLOWEST = 0.85
# Numbers that may be held: values at all points of all windows.
MAX_ENTRIES = 2**24
# Evaluations of `fun` after which one gives up, and how many iterations are expected.
MAX_POINTS, ITERATIONS = 10**8, 15
MAX_ROUNDS = 15
# Errors found at the sample are to be this part of the tolerance, since elsewhere in
# the box they may be somewhat larger.
AIM = 0.5
# The first windows have this many of the integrator's steps each.
STEPS_PER_WINDOW = 8
ADVICE = (
    "Where trajectories from the box separate fast, or `fun` is stiff or not smooth, "
    "shrink the box, shorten `t_span` or loosen the tolerances."
)
# States on the faces of the box that must not get out of the local boxes of legs.
N_BOUNDARY = 1000
# Whether legs begin in a window: none, one at its start, one with every piece of it.
NONE, ONE, ALL = 0, 1, 2
# Rounds after which one gives up, if errors have not shrunk by this factor.
PATIENCE, PROGRESS = 2, 0.7


@dataclass(frozen=True)
class Fitted:
    """Maps that meet the tolerance, and the errors found, an array of shape (n,)."""

    maps: WindowMaps
    errors: object


def first_degree(n):
    """Degree to begin with for `n` states."""
    degree = 2
    while TotalDegreeBasis(n, degree + 1).size <= FIRST_SIZE and degree < 12:
        degree += 1
    return min(degree, default_degree(n))


def default_degree(n):
    """Largest degree for `n` states."""
    degree = MAX_DEGREE if n > 1 else MAX_DEGREE_OF_ONE
    while degree > 1 and TotalDegreeBasis(n, degree).size > MAX_SIZE:
        degree -= 1
    return degree


def n_nodes_for(digits):
    """Chebyshev points in time for so many digits."""
    return min(max(math.ceil(5 + 1.25 * digits), 8), 22)


def adapt(rhs, trajectories, radius, max_degree, max_windows):
    """Fit, compare, and refine until the tolerance is met.

    Parameters
    ----------
    rhs : Rhs
    trajectories : Trajectories
    radius : array, shape (n,)
    max_degree : int or None
        Largest total degree in the state; None lets it be chosen.
    max_windows : int

    Returns
    -------
    Fitted

    Raises
    ------
    RuntimeError
        If the tolerance cannot be met.
    """
    n = radius.shape[0]
    max_degree = max_degree or default_degree(n)
    fitter = Fitter(
        rhs,
        trajectories,
        radius,
        min(first_degree(n), max_degree),
        n_nodes_for(trajectories.digits),
    )
    edges, firsts = first_edges(trajectories.steps, max_windows), np.array([0])
    best, waited = math.inf, 0
    for _ in range(MAX_ROUNDS):
        check_size(fitter, len(edges) - 1)
        trial = Trial(fitter, edges, firsts)
        if trial.error <= AIM:
            extent = trial.maps.extent(boundary_sample(trajectories.y0[:, 0], radius))
            if extent <= 1 + 1e-9:
                return trial.trimmed()
            fitter.margin *= extent
            best = math.inf
            continue
        progress = trial.total < PROGRESS * best or trial.total == math.inf
        waited = 0 if progress else waited + 1
        best = min(best, trial.total)
        edges, firsts, degree = trial.refined(max_degree)
        if waited > PATIENCE or len(edges) - 1 > max_windows:
            break
        fitter = fitter.of_degree(degree)
    raise RuntimeError(why(trial, max_windows))


def first_edges(steps, max_windows):
    """Windows of some of the integrator's steps each."""
    n_windows = np.clip(len(steps) // STEPS_PER_WINDOW, 1, max_windows)
    at = np.linspace(0, len(steps) - 1, n_windows + 1)
    return np.interp(at, np.arange(len(steps)), steps)


class Trial:
    """Maps on some windows and legs, and how good they are.

    Attributes
    ----------
    error : float
        Largest error found, in tolerances; infinite where there are no maps.
    total : float
        Sum of the errors of all legs, each by itself.
    """

    def __init__(self, fitter, edges, firsts):
        self.fitter = fitter
        self.edges = edges
        self.firsts = firsts
        self.maps = None
        self.error = self.total = math.inf
        self.frames = fitter.frames(edges[firsts])
        values, self.converged = fitter.values(edges, firsts, self.frames)
        self.xp = xp = array_namespace(self.converged)
        if bool(xp.all(self.converged)):
            self.comparison = Comparison(fitter.trajectories, edges, firsts)
            self.at_ends = self.comparison.allowed[:, 0, :, -1]
            self.series = values @ fitter.to_series.T
            self.maps, self.misfit, self.error, self.errors = self._fit(fitter.basis)
            local = xp.maximum(self.misfit, self.comparison.local(self.maps))
            self.local = xp.where(xp.isfinite(local), local, math.inf)
            worst = [xp.max(self.local[leg[0] : leg[-1] + 1]) for leg in self._legs()]
            self.total = float(xp.sum(xp.stack(worst)))

    def _fit(self, basis):
        """Fit and compare."""
        maps, misfit = self.fitter.maps(
            self.edges, self.firsts, self.frames, self.series, basis
        )
        misfit = self.xp.max(misfit / self.at_ends, axis=0)
        error, errors = self.comparison.composed(maps)
        error = max(error, float(self.xp.max(misfit)))
        return maps, misfit, error if math.isfinite(error) else math.inf, errors

    def trimmed(self):
        """Return maps of the smallest degree that meet the tolerance as well."""
        found = Fitted(self.maps, self.errors)
        for degree in range(self.fitter.basis.degree - 1, 0, -1):
            basis = TotalDegreeBasis(self.fitter.basis.n, degree)
            maps, _, error, errors = self._fit(basis)
            if not error <= AIM:
                break
            found = Fitted(maps, errors)
        return found

    def refined(self, max_degree):
        """Propose what promises to be better.

        Returns
        -------
        edges : ndarray
        firsts : ndarray of int
        degree : int
        """
        degree = self.fitter.basis.degree
        if self.maps is None:
            pieces, begins = self._where_not_converged()
        else:
            pieces, begins, degree = self._where_wrong(max_degree)
        begins[self.firsts] = np.maximum(begins[self.firsts], ONE)
        starts = np.cumsum(pieces) - pieces
        is_first = np.repeat(begins == ALL, pieces)
        is_first[starts[begins != NONE]] = True
        return split(self.edges, pieces), np.flatnonzero(is_first), degree

    def _where_not_converged(self):
        failed = where_true(self.xp, ~self.converged)
        pieces = np.where(failed, 2, 1)
        begins = np.full(len(pieces), NONE)
        for windows in self._legs():
            reached = int(np.sum(~failed[windows]))
            if 0 < reached < len(windows):
                begins[windows[reached]] = ONE
        return pieces, begins

    def _where_wrong(self, max_degree):
        """Split windows by the last terms of their series, legs by their misfit.

        Where the misfit falls fast with the degree, a higher degree takes the place
        of more legs.
        """
        n_legs, degree = len(self.firsts), self.fitter.basis.degree
        growth, xp = 1.0, self.xp
        if 0 < self.total < math.inf and self.error < math.inf:
            growth = max(self.error / self.total, 1 / n_legs)
        allowed = AIM / (8 * growth * n_legs)
        last = xp.max(xp.sum(xp.abs(self.series[..., -2:]), axis=3), axis=2)
        tail = xp.max(last / self.at_ends, axis=0)
        needed = (tail / allowed) ** (1 / self.fitter.n_nodes)
        # rounded up, but at most four
        pieces = 1 + sum(where_true(xp, needed > k).astype(int) for k in (1, 2, 3))
        begins = np.full(len(pieces), NONE)
        by_degree = xp.where(tail > allowed, self.misfit, self.local)
        is_wrong = where_true(xp, by_degree > allowed)
        if is_wrong.any():
            raised = self._raised(allowed / float(xp.max(by_degree)), max_degree)
            if raised > degree:
                degree = raised
            else:
                self._cut(is_wrong, pieces, begins)
        return pieces, begins, degree

    def _raised(self, factor, max_degree):
        """Degree at which errors may be smaller by that factor; else the present one.

        Errors fall like misfits, those fall by about the same factor from degree to
        degree.
        """
        degree, n = self.fitter.basis.degree, self.fitter.basis.n
        below = max(degree - 2, 1)
        rate = SLOWEST
        if below < degree:
            before = float(self.xp.max(self._fit(TotalDegreeBasis(n, below))[1]))
            ratio = float(self.xp.max(self.misfit)) / before if before else math.inf
            rate = ratio ** (1 / (degree - below))
        if not (0 < rate <= SLOWEST and factor > 0):
            return degree
        needed = degree + 1 + max(math.ceil(math.log(factor) / math.log(rate)), 0)
        return min(needed, max_degree)

    def _cut(self, is_wrong, pieces, begins):
        """Make legs as long as what was right of each."""
        for windows in self._legs():
            wrong = np.flatnonzero(is_wrong[windows])
            if wrong.size == 0:
                continue
            n_right = max(int(wrong[0]), 1)
            begins[windows[n_right::n_right]] = ONE
            if wrong[0] == 0:
                begins[windows[0]] = ALL
                pieces[windows[0]] = max(pieces[windows[0]], 2)

    def _legs(self):
        """Windows of every leg."""
        return np.split(np.arange(len(self.edges) - 1), self.firsts[1:])


def where_true(xp, condition):
    """Where it is True, as an array of NumPy's: that steers what comes next."""
    found = np.zeros(condition.shape[0], dtype=bool)
    found[true_indices(xp, condition)] = True
    return found


def split(edges, pieces):
    """Split windows into equal parts."""
    parts = [
        np.linspace(left, right, k, endpoint=False)
        for left, right, k in zip(edges[:-1], edges[1:], pieces, strict=True)
    ]
    return np.concatenate([*parts, edges[-1:]])


def boundary_sample(centre, radius):
    """States on the faces of the box, shape (n, N_BOUNDARY)."""
    n = radius.shape[0]
    rng = np.random.default_rng(2)
    xi = rng.uniform(-1, 1, size=(n, N_BOUNDARY))
    face = rng.integers(n, size=N_BOUNDARY)
    xi[face, np.arange(N_BOUNDARY)] = rng.choice((-1.0, 1.0), size=N_BOUNDARY)
    return centre[:, None] + radius[:, None] * like(centre, xi)


def check_size(fitter, n_windows):
    """Raise RuntimeError before memory or patience runs out."""
    n = fitter.basis.n
    values = POINTS_PER_COEFFICIENT * fitter.basis.size * fitter.n_nodes * n_windows
    if n * values > MAX_ENTRIES:
        unknowns = n * fitter.basis.size * fitter.n_nodes
        raise RuntimeError(
            f"A flow map of {n} states with degree {fitter.basis.degree} has "
            f"{unknowns} unknowns in each window, and {n_windows} windows of them "
            f"were needed, which is too many. {ADVICE}"
        )
    if fitter.rhs.nfev + ITERATIONS * values > MAX_POINTS:
        raise RuntimeError(
            f"The flow map would need more than {MAX_POINTS:.0e} evaluations of `fun`. "
            f"{ADVICE}"
        )


def why(trial, max_windows):
    """Say why the tolerance was not met, and what to try."""
    n_windows = len(trial.edges) - 1
    if trial.maps is None:
        return (
            f"The equation could not be solved over windows as short as {n_windows} of "
            f"them in `t_span` (`max_windows` is {max_windows}): the problem is stiff, "
            "or trajectories near those of the box cease to exist. Shrink the box or "
            "shorten `t_span`; a stiff problem "
            "has no flow map by this method, see `solve_ivp` with "
            'method="ScanNewtonImplicit".'
        )
    return (
        f"The flow map does not meet its tolerance: with {n_windows} windows "
        f"(`max_windows` is {max_windows}) of degree {trial.maps.basis.degree}, errors "
        f"reach {trial.error:.2g} times `atol + rtol * abs(y)`. {ADVICE}"
    )
