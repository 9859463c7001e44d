"""Newton's method on all steps of a window at once.

Unknowns are the states ``x_1, ..., x_N`` of a window that starts at the known
``x_0``, and before each of them the stages of an implicit method; what the
discretization makes of them is the residual. For an explicit method that is
``h_k = phi_k(x_{k-1}) - x_k``. Its Jacobian is block lower bidiagonal, so that
the update solves the affine recursion ``u_k = D_k u_{k-1} + h_k`` (Iacob,
Razavi, Särkkä, Section 3.2); the linearization sees to that.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from ._array_namespace import (
    array_namespace,
    errstate,
    first_true,
    fused,
    running_max,
    squares,
)

__all__ = [
    "NewtonResult",
    "finite_prefix",
    "newton",
    "scaled_norms",
    "sizes",
    "states",
]

# Jacobians are kept after the first update where the guess was this good.
GOOD_GUESS = 0.02

# Those of a rougher solution serve where no more than this is left by them, unless
# they are of all stages: with new ones Newton's method squares its error.
GOOD_REST = 0.1

# Updates that contract by less than this from one iteration to the next, after
# two, have come down to rounding errors or do not converge.
STAGNANT = 0.3

EPS, TINY = float(np.finfo(np.float64).eps), float(np.finfo(np.float64).tiny)

# Steps whose update exceeds this fraction of the solution's size lie outside
# the region of convergence as a rule, and are left to the next window.
TRUST = 0.5


@dataclass
class NewtonResult:
    """Outcome of `newton`.

    Attributes
    ----------
    mesh : array, shape (N + 1,)
        Points of the steps that were kept.
    x : array, shape (n, N + 1)
        States, the initial one first.
    Y : array, shape (n, p, N)
        The unknowns of every step, its end state last.
    F : array, shape (..., N)
        Values of the right-hand side that the last residual was made of.
    at : tuple of array
        The left states (n, N) and unknowns that `F` belongs to.
    n_converged : int
        Number of leading steps that have converged.
    residuals : list of float
        Largest residual of every iterate that was evaluated.
    guess : tuple of array
        The whole mesh asked for, the left states (n, N) and unknowns of the
        guess on it, its residual, and the values it was made of.
    deviation : float
        Largest first update, relative to the size of the solution: how far
        off the guess was.
    kept : tuple or None
        The linearization of the last update, and a bound on all further updates
        that it would lead to, in units of the last.
    """

    mesh: np.ndarray
    x: np.ndarray
    Y: np.ndarray
    F: np.ndarray | None = None
    at: tuple | None = None
    n_converged: int = 0
    residuals: list[float] = field(default_factory=list)
    guess: tuple | None = None
    deviation: float = math.inf
    kept: tuple | None = None

    def cut(self, n):
        """Keep the first `n` steps only."""
        self.mesh = self.mesh[: n + 1]
        self.x = self.x[:, : n + 1]
        self.Y = self.Y[..., :n]
        self.F = self.F[..., :n]
        self.at = tuple(part[..., :n] for part in self.at)


def newton(
    discretization,
    mesh,
    x0,
    Y,
    *,
    tol,
    max_iter,
    linearization=None,
    trusted=True,
    exact=False,
    shorten=True,
    slack=1.0,
    least_rate=0.0,
    kept=None,
):
    """Solve all steps of a window, from a guess.

    Parameters
    ----------
    discretization : ExplicitRungeKutta or Collocation
    mesh : array, shape (N + 1,)
    x0 : array, shape (n,)
        The initial state.
    Y : array, shape (n, p, N)
        Guess for the unknowns of every step, its end state last.
    tol : callable
        ``tol(x, size)``, of two axes that broadcast to (n, N), from the states and
        the size of every component: updates that are expected to add up to less
        count as converged.
    max_iter : int
        Largest number of iterations.
    linearization : tuple of array, optional
        What ``discretization.linearize`` gives at the guess, if it is there.
    trusted : bool
        Whether the Jacobians are good enough to stop after one small update.
    exact : bool
        Take new Jacobians in every iteration, and stop only when an update
        itself is below `tol`: the iteration of the paper. Otherwise Jacobians
        are kept while the iteration contracts well.
    shorten : bool
        Give up the steps behind one that cannot be trusted.
    slack : float
        Updates that do not get smaller any more may be so many times `tol`.
    least_rate : float
        Updates are not taken to contract by more than this, whatever the last two
        of them say.
    kept : tuple, optional
        That of a rougher solution on this mesh, which is the guess.

    Returns
    -------
    NewtonResult
    """
    xp = array_namespace(Y)
    state = NewtonResult(mesh, states(xp, x0, Y), Y)
    L, size, reach, update, n_growing = None, None, None, None, 0
    if kept is not None and kept[1] <= GOOD_REST and not kept[0].of_all_stages:
        L = kept[0].first(Y.shape[-1])
    with errstate():
        for iteration in range(max_iter):
            fresh = L is None
            residual, L = _evaluate(discretization, state, L, linearization)
            linearization = None
            largest = float(_largest(xp, residual))
            n = finite_prefix(xp, residual, largest, L if fresh else None)
            if n < residual.shape[-1]:
                if n == 0 or not shorten:
                    break
                residual, L = residual[..., :n], L.first(n)
                state.cut(n)
                largest = float(_largest(xp, residual))
            state.residuals.append(largest)
            if fresh or size is None:
                size = sizes(xp, state.x)
            if iteration == 0:
                reach = discretization.reach(state.x, state.Y, residual)
            fewest = None if not shorten else int(discretization.determined)
            U, L = _update(xp, state, L, residual, reach, fewest)
            n = U.shape[-1]
            if n == 0:
                break
            if n < size.shape[1]:  # otherwise what `tol` found out of it still holds
                size = size[:, :n]
            last = update
            update = _Update.of(xp, U, tol(state.x, size), size, reach)
            if iteration == 0:
                rate, left = state.deviation, _after_first(state.deviation, trusted)
                left = 1.0 if exact else left if fresh else kept[1]
            else:
                last = last.first(xp, n)
                rate, moves_rate = _contraction(last, update)
                left = 1.0 if exact else _series(max(rate, moves_rate, least_rate))
            state.n_converged = _leading(xp, last if shorten else None, update, left)
            if iteration > 1 and fresh and rate > STAGNANT:
                # rounding errors, amplified by the stiffness, leave no more
                small = first_true(xp, ~(update.norms <= slack))
                state.n_converged = max(state.n_converged, small)
            state.kept = L, left
            n_growing += iteration > 0 and rate > 1
            if state.n_converged == n or (shorten and n_growing > 1):
                break
            if exact or rate > (GOOD_GUESS if iteration == 0 else _keep_rate(U)):
                L = None
    return state


def states(xp, x0, Y):
    """All states of the window, the initial one first, shape (n, N + 1)."""
    return xp.concat([x0[:, None], Y[:, -1, :]], axis=1)


def _evaluate(discretization, state, L, linearization):
    """Residual of the iterate, and its linearization unless `L` is still good."""
    left = state.x[:, :-1]
    state.at = left, state.Y
    if L is not None:
        residual, state.F = discretization.residual(state.mesh, *state.at)
    else:
        if linearization is None:
            linearization = discretization.linearize(state.mesh, *state.at)
        residual, state.F, L = linearization
    if state.guess is None:
        state.guess = state.mesh, *state.at, residual, state.F
    return residual, L


def _update(xp, state, L, residual, reach, fewest):
    """Add the Newton update to the unknowns; drop the steps not to be trusted.

    At least `fewest` steps are kept, all of them if that is None.
    """
    U = L.solve(residual)
    state.Y = state.Y + U
    state.x = states(xp, state.x[:, 0], state.Y)
    moved = _largest_part(xp, U[:, -1, :], reach)
    deviation = float(xp.max(moved))
    if len(state.residuals) == 1:
        state.deviation = deviation
    if fewest is not None and not deviation < TRUST:
        n = max(first_true(xp, ~(moved < TRUST)), fewest)
        U = U[..., :n]
        if n > 0:
            L = L.first(n)
            state.cut(n)
    return U, L


def _keep_rate(U):
    """Contraction that is good enough to keep the Jacobians.

    A new linearization costs ``n + 1`` evaluations of the steps, so that with
    more unknowns slower contraction still pays.
    """
    return min(0.5, 0.1 ** (8 / (8 + U.shape[0])))


def _after_first(deviation, trusted):
    """Bound what is left after the first update, in units of it.

    With exact Jacobians it is of the order of the deviation from the guess.
    Ten times that leaves room for curvature, and the lower bound keeps updates
    of more than twice the tolerance from passing unverified.
    """
    return min(max(10 * deviation, 0.05), 1.0) if trusted else math.inf


@dataclass
class _Update:
    """How large an update is, of every step and at most.

    Attributes
    ----------
    norms : array, shape (N,)
        In units of the tolerance, which follows the states' size along the window.
    moves : array, shape (N,)
        Relative to how far the states reach in the window, of components that move by
        more than the tolerance.
    norm, moved : float
        The largest of them.
    """

    norms: np.ndarray
    moves: np.ndarray
    norm: float
    moved: float

    @classmethod
    def of(cls, xp, U, tol, size, reach):
        """Measure the update `U`."""
        norms, rounding = scaled_norms(xp, U, tol, size), _rounding(U.shape[-1])
        moves = _moves(xp, U[:, -1, :], reach, tol, size, rounding)
        return cls(norms, moves, float(xp.max(norms)), float(xp.max(moves)))

    def first(self, xp, n):
        """Return that of the first `n` steps."""
        if n == self.norms.shape[0]:
            return self
        norms, moves = self.norms[:n], self.moves[:n]
        return _Update(norms, moves, float(xp.max(norms)), float(xp.max(moves)))


def _contraction(last, update):
    """By how much updates contract: their norms, and what they move.

    Norms alone deceive where the largest ones are of states that hardly reach any size,
    such as those that start at zero: they fall by far more than the others.
    """
    # a norm may overflow where the iterate before was zero
    rate = update.norm / max(last.norm, TINY) if last.norm < math.inf else math.inf
    return rate, update.moved / max(last.moved, TINY)


def _rounding(n_steps):
    """Return what rounding errors of the steps add up to, relative to their size."""
    return 4 * EPS * math.sqrt(n_steps)


def _leading(xp, last, update, left):
    """Count the leading steps that have converged.

    `left` is what is to come, in units of the present update. With the `last` one
    given, steps that converge well by themselves count as well: updates act forward
    only, so that what later steps do does not matter.
    """
    n = first_true(xp, _remaining(xp, update.norms, left))
    if last is None or n == update.norms.shape[0]:
        return n
    values = xp.stack([update.norms, last.norms, update.moves, last.moves])
    largest = running_max(xp, values)
    left = _left(xp, *(largest[i, :] for i in range(4)))
    return max(n, first_true(xp, _remaining(xp, update.norms, left)))


@fused
def _left(xp, norm, before, moved, moved_before):
    rate = xp.maximum(norm / (before + TINY), moved / (moved_before + TINY))
    good = (rate < 0.5) & (before < math.inf)
    return xp.where(good, rate / (1.0 - rate), math.inf)


def _series(rate):
    """Sum up the updates to come, in units of the last one.

    They are taken for a geometric series with the rate observed (Hairer &
    Wanner, "Solving Ordinary Differential Equations II", IV.8).
    """
    return rate / (1.0 - rate) if rate < 0.5 else math.inf


def sizes(xp, x):
    """Size of the states at a step and the few before it, (n, N), nowhere zero.

    It looks back only, and not far: a step that blows up must not hide the
    updates of those before it, nor large states of long ago those of now.
    """
    states = xp.abs(x)
    size = xp.maximum(states[:, 1:], states[:, :-1])
    for shift in (1, 2):
        if size.shape[1] > shift:
            back = xp.maximum(size[:, shift:], states[:, : -1 - shift])
            size[:, shift:] = back
    return size + TINY


def scaled_norms(xp, U, tol, size):
    """Return the root mean square of ``U / tol`` for every step, shape (N,).

    Of the unknowns of a step the largest counts. Nothing below rounding errors is asked
    for.
    """
    n, p, n_steps = U.shape
    scales = tol[:, None, :], size[:, None, :], _rounding(n_steps)
    sums = _sum_of_squares(xp, U, *scales)
    return xp.sqrt((xp.max(sums, axis=0) if p > 1 else sums[0, :]) / n)


@fused
def _sum_of_squares(xp, U, tol, size, rounding):
    scaled = U / xp.maximum(tol, rounding * size)
    return xp.sum(squares(xp, scaled), axis=0)


@fused
def _largest(xp, values):
    return xp.max(xp.abs(values))


@fused
def _largest_part(xp, values, whole):
    return xp.max(xp.abs(values) / whole, axis=0)


@fused
def _moves(xp, values, reach, tol, size, rounding):
    moved = xp.abs(values)
    counts = moved > xp.maximum(tol, rounding * size)
    return xp.max(xp.where(counts, moved / reach, 0.0), axis=0)


@fused
def _remaining(xp, norms, left):
    return ~((norms == 0) | (left * norms <= 1.0))


def finite_prefix(xp, residual, largest, L):
    """Count the leading steps with finite residual and, if given, Jacobian."""
    if math.isfinite(largest) and (L is None or bool(xp.isfinite(xp.sum(L.jacobians)))):
        return residual.shape[-1]
    bad = ~_finite_steps(xp, residual)
    return first_true(xp, bad if L is None else bad | ~_finite_steps(xp, L.jacobians))


def _finite_steps(xp, values):
    """Which steps, along the last axis, are finite."""
    return xp.all(xp.isfinite(values), axis=tuple(range(values.ndim - 1)))
