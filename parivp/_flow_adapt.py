"""Choice of windows and degree, so that a flow map meets its tolerance."""

from dataclasses import dataclass

import numpy as np

from ._array_namespace import errstate
from ._chebyshev import TotalDegreeBasis
from ._flow_evaluation import WindowMaps
from ._flow_fit import Comparison, Fitter

__all__ = ["Fitted", "adapt", "default_degree"]

# Coefficients per component and time beyond which a higher degree costs more than
# shorter windows save.
MANY_COEFFICIENTS = 500
MAX_DEGREE = 14
# Largest number of coefficients for which degree 2 is still tried.
MAX_QUADRATIC = 2000
# Numbers that may be held: values at all points of all windows.
MAX_ENTRIES = 2**25
MAX_ROUNDS = 25
# Errors found at the sample are to be this part of the tolerance, since elsewhere in
# the box they may be somewhat larger.
AIM = 0.5
# The first windows have this many of the integrator's steps each.
STEPS_PER_WINDOW = 8
# How far out of its local box a state may get, and the sample that is tried.
MAX_EXTENT, N_BOUNDARY = 1.1, 1000
# Rounds without progress after which one gives up.
PATIENCE = 2


@dataclass(frozen=True)
class Fitted:
    """Maps that meet the tolerance, and the errors found, shape (n,)."""

    maps: WindowMaps
    errors: np.ndarray


def default_degree(n):
    """Highest degree that is worth its cost for `n` states."""
    degree = MAX_DEGREE
    while degree > 1 and TotalDegreeBasis(n, degree).size > MANY_COEFFICIENTS:
        degree -= 1
    if degree == 1 and TotalDegreeBasis(n, 2).size <= MAX_QUADRATIC:
        return 2
    return degree


def n_nodes_for(rtol):
    """Chebyshev points in time: about one and a half more for every digit."""
    digits = -np.log10(np.min(np.maximum(rtol, 1e-14)))
    return int(np.clip(np.ceil(5 + 1.25 * digits), 8, 22))


def adapt(rhs, trajectories, radius, degree, max_windows):
    """Fit, compare, and split windows and legs until the tolerance is met.

    Parameters
    ----------
    rhs : Rhs
    trajectories : Trajectories
    radius : ndarray, shape (n,)
    degree : int
        Largest total degree in the state.
    max_windows : int

    Returns
    -------
    Fitted

    Raises
    ------
    RuntimeError
        If the tolerance cannot be met.
    """
    fitter = Fitter(rhs, trajectories, radius, degree, n_nodes_for(trajectories.rtol))
    boundary = boundary_sample(trajectories.y0[:, 0], radius)
    edges, firsts = first_edges(trajectories.steps, max_windows), np.array([0])
    best, waited = np.inf, 0
    for _ in range(MAX_ROUNDS):
        check_size(fitter, len(edges) - 1)
        trial = Trial(fitter, edges, firsts)
        if trial.error <= AIM:
            extent = trial.maps.extent(boundary)
            if extent <= MAX_EXTENT:
                return trial.trimmed()
            fitter.margin *= extent
            continue
        waited = 0 if trial.total < best / 2 or trial.total == np.inf else waited + 1
        best = min(best, trial.total)
        edges, firsts = trial.refined()
        if waited > PATIENCE or len(edges) - 1 > max_windows:
            break
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
        self.error = self.total = np.inf
        self.frames = fitter.frames(edges[firsts])
        values, self.converged = fitter.values(edges, firsts, self.frames)
        if np.all(self.converged):
            self.comparison = Comparison(fitter.trajectories, edges, firsts)
            self.series = values @ fitter.to_series.T
            self.maps, self.local, self.error, self.errors = self._fit(fitter.basis)
            by_leg = np.maximum.reduceat(self.local, firsts)
            self.total = float(np.sum(by_leg))

    def _fit(self, basis):
        """Fit and compare."""
        maps, misfit = self.fitter.maps(
            self.edges, self.firsts, self.frames, self.series, basis
        )
        misfit = np.max(misfit / self.comparison.allowed[:, 0, :, -1], axis=0)
        local = np.maximum(misfit, self.comparison.local(maps))
        error, errors = self.comparison.composed(maps)
        error = max(error, np.max(misfit))
        local = np.where(np.isfinite(local), local, np.inf)
        return maps, local, error if np.isfinite(error) else np.inf, errors

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

    def refined(self):
        """Return edges of windows and beginnings of legs that promise to be better."""
        if self.maps is None:
            pieces, is_first = self._where_not_converged()
        else:
            pieces, is_first = self._where_wrong()
        is_first[self.firsts] = True
        ends = np.cumsum(pieces)
        return split(self.edges, pieces), (ends - pieces)[is_first]

    def _where_not_converged(self):
        pieces = np.where(self.converged, 1, 2)
        is_first = np.zeros(len(pieces), dtype=bool)
        for windows in self._legs():
            reached = int(np.sum(self.converged[windows]))
            if 0 < reached < len(windows):
                is_first[windows[reached]] = True
        return pieces, is_first

    def _where_wrong(self):
        """Split windows by the last terms of their series, legs by their errors."""
        growth = 1.0
        if 0 < self.total < np.inf and self.error < np.inf:
            growth = max(self.error / self.total, 1 / len(self.firsts))
        allowed = AIM / (8 * growth * len(self.firsts))
        last = np.abs(self.series[..., -2:]).sum(axis=3).max(axis=2)
        tail = np.max(last / self.comparison.allowed[:, 0, :, -1], axis=0)
        pieces = np.where(tail > allowed, 2, 1)
        is_first = np.zeros(len(pieces), dtype=bool)
        for windows in self._legs():
            wrong = np.flatnonzero(self.local[windows] > allowed)
            if wrong.size == 0:
                continue
            # legs as long as what was right of this one
            n_right = max(int(wrong[0]), 1)
            is_first[windows[n_right::n_right]] = True
            if wrong[0] == 0:
                pieces[windows[0]] = 2
        return pieces, is_first

    def _legs(self):
        """Windows of every leg."""
        return np.split(np.arange(len(self.edges) - 1), self.firsts[1:])


def split(edges, pieces):
    """Split windows into equal parts."""
    parts = [
        np.linspace(left, right, k, endpoint=False)
        for left, right, k in zip(edges[:-1], edges[1:], pieces, strict=True)
    ]
    return np.concatenate([*parts, edges[-1:]])


def boundary_sample(centre, radius):
    """States on the faces of the box, shape (n, N_BOUNDARY)."""
    n = len(radius)
    rng = np.random.default_rng(2)
    xi = rng.uniform(-1, 1, size=(n, N_BOUNDARY))
    face = rng.integers(n, size=N_BOUNDARY)
    xi[face, np.arange(N_BOUNDARY)] = rng.choice((-1.0, 1.0), size=N_BOUNDARY)
    return centre[:, None] + radius[:, None] * xi


def check_size(fitter, n_windows):
    """Raise RuntimeError before memory runs out."""
    n, n_points = fitter.points.shape
    unknowns = n * fitter.basis.size * len(fitter.nodes)
    held = n * n_points * len(fitter.nodes) * n_windows
    if held > MAX_ENTRIES:
        raise RuntimeError(
            f"A flow map of {n} states with degree {fitter.basis.degree} has "
            f"{unknowns} unknowns in each window, and {n_windows} windows of them are "
            "too many. Lower `degree`, shrink the box or shorten `t_span`."
        )


def why(trial, max_windows):
    """Say why the tolerance was not met, and what to try."""
    n_windows = len(trial.edges) - 1
    if trial.maps is None:
        return (
            f"The equation could not be solved over windows as short as those of "
            f"{n_windows} in `t_span`: the problem is stiff, or trajectories near the "
            "box cease to exist. Shrink the box or shorten `t_span`; a stiff problem "
            'has no flow map by this method, see `solve_ivp` with '
            'method="ScanNewtonImplicit".'
        )
    return (
        f"The flow map does not meet its tolerance: with {n_windows} windows "
        f"(`max_windows` is {max_windows}) of degree {trial.maps.basis.degree}, errors "
        f"reach {trial.error:.2g} times `atol + rtol * abs(y)`. Where trajectories from the "
        "box separate fast, or `fun` is not smooth, shrink the box, shorten `t_span` "
        "or loosen the tolerances."
    )
