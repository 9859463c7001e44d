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
MANY_COEFFICIENTS = 250
MAX_DEGREE = 12
# Largest number of coefficients for which degree 2 is still tried.
MAX_QUADRATIC = 2000
# Numbers that may be held: values at all points of all windows.
MAX_ENTRIES = 2**25
MAX_ROUNDS = 25
# Errors found at the sample are to be this part of the tolerance, since elsewhere in
# the box they may be somewhat larger.
AIM = 0.5
# The first windows have this many of the integrator's steps each.
STEPS_PER_WINDOW = 40
# How far out of its local box a state may get, and the sample that is tried.
MAX_EXTENT, N_BOUNDARY = 1.1, 1000
# Rounds without progress after which one gives up.
PATIENCE = 3


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
    """Fit, compare, and split windows until the tolerance is met.

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
    n_first = np.clip(len(trajectories.steps) // STEPS_PER_WINDOW, 1, max_windows)
    at = np.linspace(0, len(trajectories.steps) - 1, n_first + 1)
    edges = np.interp(at, np.arange(len(trajectories.steps)), trajectories.steps)
    best, waited = np.inf, 0
    for _ in range(MAX_ROUNDS):
        check_size(fitter, len(edges) - 1)
        trial = Trial(fitter, edges)
        if trial.error <= AIM:
            extent = trial.maps.extent(boundary)
            if extent <= MAX_EXTENT:
                return trial.trimmed()
            fitter.margin *= extent
            continue
        progress = trial.error < best / 2 or not np.isfinite(trial.error)
        waited = 0 if progress else waited + 1
        best = min(best, trial.error)
        edges = split(edges, trial.pieces())
        if waited > PATIENCE or len(edges) - 1 > max_windows:
            break
    raise RuntimeError(why(trial, best, max_windows))


class Trial:
    """Maps on some windows, and how good they are.

    Attributes
    ----------
    error : float
        Largest error found, in tolerances; infinite where there are no maps.
    """

    def __init__(self, fitter, edges):
        self.fitter = fitter
        self.edges = edges
        self.maps = self.errors = self.local = None
        self.error = np.inf
        self.frames = fitter.frames(edges)
        self.values, self.converged = fitter.values(edges, self.frames)
        if np.all(self.converged):
            self.comparison = Comparison(fitter.trajectories, edges)
            self.maps, self.local, self.error, self.errors = self._fit(fitter.basis)

    def _fit(self, basis):
        """Fit and compare."""
        maps, residual = self.fitter.maps(self.edges, self.frames, self.values, basis)
        with errstate(np):
            local = np.maximum(residual, self.comparison.local(maps))
            error, errors = self.comparison.composed(maps)
        error = max(error, np.max(residual))
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

    def pieces(self):
        """Number of windows that each one is to be split into."""
        if self.local is None:
            return np.where(self.converged, 1, 2)
        local = np.where(np.isfinite(self.local), self.local, np.inf)
        total = np.sum(local)
        growth = 1.0
        if np.isfinite(self.error) and 0 < total < np.inf:
            growth = self.error / total
        allowed = AIM / (2 * growth * len(local))
        order = self.fitter.basis.degree + 1
        pieces = np.ceil(np.minimum(local / allowed, 4.0**order) ** (1 / order))
        pieces[local >= np.max(local)] = np.maximum(pieces, 2)[local >= np.max(local)]
        return np.where(local > allowed, np.clip(pieces, 2, 4), pieces).astype(int)


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


def why(trial, best, max_windows):
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
        f"reach {best:.2g} times `atol + rtol * abs(y)`. Where trajectories from the "
        "box separate fast, or `fun` is not smooth, shrink the box, shorten `t_span` "
        "or loosen the tolerances."
    )
