"""Newton's method on all steps of a window at once.

Unknowns are the states ``x_1, ..., x_N`` of a window that starts at the known
``x_0``; the residual is ``h_k = phi_k(x_{k-1}) - x_k``. Its Jacobian is block
lower bidiagonal, so that the update solves the affine recursion
``u_k = D_k u_{k-1} + h_k`` (Iacob, Razavi, Särkkä, Section 3.2).
"""

import math
from dataclasses import dataclass, field

import numpy as np

from ._array_namespace import array_namespace, errstate
from ._scan import affine_scan

__all__ = ["NewtonResult", "newton"]

# Jacobians are kept after the first update where the guess was this good.
GOOD_GUESS = 0.02

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
    K : array, shape (stages, n, N)
        Stage derivatives of the last iterate but one.
    left : array, shape (n, N)
        The left states that `K` belongs to.
    n_converged : int
        Number of leading steps that have converged.
    residuals : list of float
        Largest residual of every iterate that was evaluated.
    guess : tuple of array
        The whole mesh asked for, the left states of the guess on it, and where
        its steps lead, both (n, N).
    deviation : float
        Largest first update, relative to the size of the solution: how far
        off the guess was.
    """

    mesh: np.ndarray
    x: np.ndarray
    K: np.ndarray | None = None
    left: np.ndarray | None = None
    n_converged: int = 0
    residuals: list[float] = field(default_factory=list)
    guess: tuple | None = None
    deviation: float = math.inf

    def cut(self, n):
        """Keep the first `n` steps only."""
        self.mesh = self.mesh[: n + 1]
        self.x = self.x[:, : n + 1]
        self.K = self.K[:, :, :n]
        self.left = self.left[:, :n]


def newton(
    discretization,
    mesh,
    x,
    *,
    tol,
    max_iter,
    linearization=None,
    trusted=True,
    exact=False,
    shorten=True,
):
    """Solve ``x_k = phi_k(x_{k-1})``, ``k = 1, ..., N``, from a guess.

    Parameters
    ----------
    discretization : ExplicitRungeKutta
    mesh : array, shape (N + 1,)
    x : array, shape (n, N + 1)
        The initial state and the guess for the others.
    tol : callable
        ``tol(x, size)``, shape (n, N) or broadcastable, from the states and the
        size of every component: updates that are expected to add up to less
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

    Returns
    -------
    NewtonResult
    """
    xp = array_namespace(x)
    state = NewtonResult(mesh, x)
    D, size, reach, previous, n_growing = None, None, None, None, 0
    with errstate(xp):
        for iteration in range(max_iter):
            fresh = D is None
            residual, D = _evaluate(discretization, state, D, linearization)
            linearization = None
            n = _finite_prefix(xp, residual, D if fresh else None)
            if n < residual.shape[1]:
                if n == 0 or not shorten:
                    break
                residual, D = residual[:, :n], D[:, :, :n]
                state.cut(n)
            state.residuals.append(float(xp.max(xp.abs(residual))))
            if fresh:
                size = _size(xp, state.x)
            if iteration == 0:
                reach = _reach(xp, state.x, residual)
            u, D = _update(xp, state, D, residual, reach, shorten)
            size = size[:, : u.shape[1]]
            norms = _norms(xp, u, tol(state.x, size), size)
            norm = float(xp.max(norms))
            if iteration == 0:
                rate, left = state.deviation, _after_first(state.deviation, trusted)
                left = 1.0 if exact else left
            else:
                rate = norm / max(float(xp.max(previous[: u.shape[1]])), TINY)
                left = 1.0 if exact else _series(rate)
            state.n_converged = _first(xp, ~((norms == 0) | (left * norms <= 1.0)))
            n_growing += rate > 1
            if state.n_converged == norms.shape[0] or (shorten and n_growing > 1):
                break
            if exact or rate > (GOOD_GUESS if iteration == 0 else _keep_rate(u)):
                D = None
            previous = norms
    return state


def _evaluate(discretization, state, D, linearization):
    """Residual of the iterate, and its Jacobians unless `D` is still good."""
    state.left = state.x[:, :-1]
    if D is not None:
        phi, state.K = discretization.step(state.mesh, state.left)
    else:
        if linearization is None:
            linearization = discretization.linearize(state.mesh, state.left)
        phi, state.K, D = linearization
    if state.guess is None:
        state.guess = state.mesh, state.left, phi
    return phi - state.x[:, 1:], D


def _update(xp, state, D, residual, reach, shorten):
    """Add the Newton update to the states; drop the steps not to be trusted."""
    u = _solve_affine(xp, D, residual)
    state.x = xp.concat([state.x[:, :1], state.x[:, 1:] + u], axis=1)
    deviation = float(xp.max(xp.max(xp.abs(u), axis=1) / reach[:, 0]))
    if len(state.residuals) == 1:
        state.deviation = deviation
    if shorten and not deviation < TRUST:
        trusted = xp.max(xp.abs(u) / reach, axis=0) < TRUST
        n = max(_first(xp, ~trusted), 1)
        u, D = u[:, :n], D[:, :, :n]
        state.cut(n)
    return u, D


def _keep_rate(u):
    """Contraction that is good enough to keep the Jacobians.

    A new linearization costs ``n + 1`` evaluations of the steps, so that with
    more unknowns slower contraction still pays.
    """
    return min(0.5, 0.1 ** (8 / (8 + u.shape[0])))


def _after_first(deviation, trusted):
    """Bound what is left after the first update, in units of it.

    With exact Jacobians it is of the order of the deviation from the guess.
    Ten times that leaves room for curvature, and the lower bound keeps updates
    of more than twice the tolerance from passing unverified.
    """
    return min(max(10 * deviation, 0.05), 1.0) if trusted else math.inf


def _series(rate):
    """Sum up the updates to come, in units of the last one.

    They are taken for a geometric series with the rate observed (Hairer &
    Wanner, "Solving Ordinary Differential Equations II", IV.8).
    """
    return rate / (1.0 - rate) if rate < 0.5 else math.inf


def _reach(xp, x, residual):
    """How far every component goes in the guess and after its steps, (n, 1).

    Only the guess is asked, as an iterate may blow up.
    """
    reach = xp.max(xp.abs(x), axis=1, keepdims=True)
    led_to = xp.max(xp.abs(x[:, 1:] + residual), axis=1, keepdims=True)
    return xp.maximum(xp.maximum(reach, led_to), xp.asarray(TINY, dtype=reach.dtype))


def _size(xp, x):
    """Size of the states at a step and the few before it, (n, N), nowhere zero.

    It looks back only, and not far: a step that blows up must not hide the
    updates of those before it, nor large states of long ago those of now.
    """
    states = xp.abs(x)
    size = xp.maximum(states[:, 1:], states[:, :-1])
    for shift in (1, 2):
        if size.shape[1] > shift:
            back = xp.maximum(size[:, shift:], states[:, : -1 - shift])
            size = xp.concat([size[:, :shift], back], axis=1)
    return xp.maximum(size, xp.asarray(TINY, dtype=size.dtype))


def _norms(xp, u, tol, size):
    """Return the root mean square of ``u / tol`` for every step, shape (N,).

    Rounding errors of N steps add up to about ``eps sqrt(N)`` of the size:
    nothing below that is asked for.
    """
    n, n_steps = u.shape
    rounding = 4 * EPS * math.sqrt(n_steps) * size
    scaled = u / xp.maximum(tol, rounding)
    squares = scaled * scaled if not _is_complex(xp, u) else xp.abs(scaled) ** 2
    return xp.sqrt(xp.sum(squares, axis=0) / n)


def _solve_affine(xp, D, residual):
    """Solve for the update, in real and imaginary parts where `D` has them apart."""
    n = residual.shape[0]
    apart = D.shape[0] == 2 * n
    if apart:
        residual = xp.concat([xp.real(residual), xp.imag(residual)])
    # the steps run along the contiguous axis again
    u = xp.empty(residual.shape, dtype=residual.dtype)
    u[...] = affine_scan(xp.moveaxis(D, -1, 0), residual.T).T
    return u[:n, :] + 1j * u[n:, :] if apart else u


def _is_complex(xp, x):
    return xp.isdtype(x.dtype, "complex floating")


def _finite_prefix(xp, residual, D):
    """Count the leading steps with finite residual and, if given, Jacobian."""
    total = xp.sum(residual) if D is None else xp.sum(residual) + xp.sum(D)
    if bool(xp.isfinite(total)):
        return residual.shape[1]
    bad = ~xp.all(xp.isfinite(residual), axis=0)
    return _first(xp, bad if D is None else bad | ~xp.all(xp.isfinite(D), axis=(0, 1)))


def _first(xp, condition):
    """Return the index of the first True, the length where there is none."""
    n = condition.shape[0]
    if n == 0 or not bool(xp.any(condition)):
        return n
    return int(xp.argmax(xp.astype(condition, xp.int8)))
