"""Linear problems, ``f(t, y) = A(t) y + b(t)``: no sequential pass at all.

The equations of all steps are linear as well then, so that Newton's method solves
them from any guess in one iteration. Solutions on coarse meshes, each as a whole,
take the place of the predictor.
"""

import math

import numpy as np

from ._array_namespace import (
    array_namespace,
    errstate,
    first_true,
    is_complex,
    like,
)
from ._mesh import grade, smooth
from ._newton import NewtonResult, finite_prefix, scaled_norms, sizes, states
from ._structure import BandedJacobians

__all__ = ["guess_coarsely", "solve_affine"]

# The first mesh has so many equal steps, behind some that grow by this factor
# (`python -m benchmarks.work_precision --stiff`).
FIRST_STEPS, GROWTH = 12, 2.5
# The coarse solution has this relative tolerance, and the mesh made from it is denser
# by this factor. If it takes more meshes, or steps, than these the predictor is faster.
COARSE_RTOL, DENSER = 1e-3, 1.1
MOST_COARSE, MOST_COARSE_STEPS = 4, 256
# Looser tolerances need fewer steps than the first mesh has.
LOOSEST = 1e-2
# Second differences of the right-hand side may be so many rounding errors.
ROUNDING = 100
# Multiples of squares by an irrational number are spread evenly, modulo 1 (Weyl).
GOLDEN, PERIOD = (math.sqrt(5.0) - 1.0) / 2.0, 8191
EPS, TINY = float(np.finfo(np.float64).eps), float(np.finfo(np.float64).tiny)
# Numbers of times at which sharp features in time are looked for, and of numbers there.
LEAST_TIMES, MOST_TIMES, MOST_NUMBERS = 64, 1024, 2**16
# Second differences that show them, relative to the change over all times, and what
# counts as rounding.
SHARP, SAME = 0.05, 1e-9
# Numbers in the middles of lines along which differences are taken.
MOST_MIDDLES = 2**11
MOST_UPDATES = 4
# Residuals are worth an update above so many times what that may leave. They are
# local errors, of 3 % of the tolerance then, and rounding errors that stiffness has
# amplified, as a rule, and damps again.
SETTLED = 30.0
# Growth of solutions within a step, as an exponent, and the largest systems whose
# eigenvalues are found to bound it.
MOST_GROWTH, LARGEST_EIGEN = 1.0, 20
# Updates that contract by less than this have come down to rounding errors.
STAGNANT = 0.3


def first_mesh(loop):
    """Mesh from here to the end, coarse but for its start; None if that is too far."""
    distance, max_step = abs(loop.t_bound - loop.t), loop.settings.max_step
    n = max(FIRST_STEPS, distance / max_step)
    if not (math.isfinite(distance) and n <= MOST_COARSE_STEPS):
        return None
    mesh = np.linspace(loop.t, loop.t_bound, math.ceil(n) + 1)
    return loop.times(grade(mesh, min(loop.h_first, loop.h_next), GROWTH))


def is_affine(rhs, t, y):
    """Whether `rhs` looks affine in `y` at the times, of large systems at some.

    Second differences along a line through `y` are to vanish but for rounding
    errors.

    Parameters
    ----------
    rhs : Rhs
        Only one that broadcasts is looked at.
    t : array, shape (m,)
    y : array, shape (n,)
    """
    if not rhs.time_vectorized:
        return False
    xp, n = array_namespace(y), y.shape[0]
    t = t[:: max(1, t.shape[0] * n // MOST_MIDDLES)]
    size, m = xp.abs(y), t.shape[0]
    mean = float(xp.sum(size)) / n
    size = xp.maximum(size, 0.1 * mean if mean > 0 else 1.0)
    # scattered, as terms cancel in smooth directions
    numbers = np.arange(1.0, n * m + 1) % PERIOD
    scattered = np.reshape(numbers**2 * GOLDEN % 1.0, (n, m))
    u = size[:, None] * like(size, 0.5 + scattered)
    middle = xp.repeat(y[:, None], m, axis=1)
    points = xp.concat([middle - u, middle, middle + u], axis=1)
    with errstate():
        f = rhs(xp.concat([t, t, t]), points)
        before, at, after = f[:, :m], f[:, m : 2 * m], f[:, 2 * m :]
        terms = xp.max(xp.abs(before) + xp.abs(after), axis=1)[:, None]
        bound = (ROUNDING + n) * EPS * terms
        return bool(xp.all(xp.abs(before + after - 2 * at) <= bound))


def varies_slowly(rhs, t, t_bound, y):
    """Whether `rhs` is smooth in time, at many times between `t` and `t_bound`.

    Steps of a coarse mesh would miss a pulse, which those of a predictor may meet.
    """
    xp = array_namespace(y)
    m = max(LEAST_TIMES, min(MOST_TIMES, MOST_NUMBERS // y.shape[0]))
    times = like(y, np.linspace(t, t_bound, m), xp.float64)
    with errstate():
        f = rhs(times, xp.repeat(y[:, None], m, axis=1))
        second = xp.abs(f[:, :-2] + f[:, 2:] - 2 * f[:, 1:-1])
        change = xp.max(xp.abs(f - f[:, :1]), axis=1)[:, None]
        bound = SHARP * change + SAME * xp.max(xp.abs(f), axis=1)[:, None]
        return bool(xp.all(second <= bound))


def solve_affine(discretization, mesh, x0, Y, *, tol, slack=1.0):
    """Solve the linear equations of all steps; see `newton`.

    Parameters
    ----------
    discretization : Collocation
    mesh, x0, Y, tol, slack
        As for `newton`.

    Returns
    -------
    NewtonResult
        How far off the guess was does not matter, and counts as nothing. Without a
        step that has converged where solutions may grow fast within a step.
    """
    xp = array_namespace(Y)
    state = NewtonResult(mesh, states(xp, x0, Y), Y, deviation=0.0)
    L, bound, previous = None, SETTLED, math.inf
    for iteration in range(MOST_UPDATES + 1):
        state.at = state.x[:, :-1], state.Y
        residual, state.F = discretization.residual(state.mesh, *state.at)
        largest = float(xp.max(xp.abs(residual)))
        state.residuals.append(largest)
        if iteration == 0:
            state.guess = state.mesh, *state.at, residual, state.F
            n = finite_prefix(xp, residual, largest, None)
            if n == 0:
                break
            state.cut(n)
            residual = residual[..., :n]
        size = sizes(xp, state.x)
        allowed = tol(state.x, size)
        norm = float(xp.max(scaled_norms(xp, residual, allowed, size)))
        # not at first: what is below the tolerance now may have to grow
        if norm <= bound and iteration > 0:
            state.n_converged = residual.shape[-1]
            break
        if L is None:
            known = residual, state.F
            *_, L = discretization.linearize(state.mesh, *state.at, known)
            if not _growth_is_slow(xp, L):
                break
        U = L.solve(residual)
        state.Y = state.Y + U
        state.x = states(xp, x0, state.Y)
        norms = scaled_norms(xp, U, allowed, size)
        update = float(xp.max(norms))
        contracts = update <= STAGNANT * previous
        if iteration > 1 or (iteration == 1 and contracts):
            small = norms <= (1.0 if contracts else slack)
            state.n_converged = first_true(xp, ~small)
            if not contracts or state.n_converged == norms.shape[0]:
                break
        previous, bound = update, SETTLED / max(1.0, update / max(norm, TINY))
    return state


def _growth_is_slow(xp, system):
    """Whether no solution grows by more than a factor e within a step.

    Implicit methods damp what grows faster. While it is small that would pass for a
    solution, as errors below ``atol`` do. The growth is bounded by logarithmic norms
    (Hairer, Norsett & Wanner I, I.10): that of the 1-norm where it suffices, of the
    2-norm in small systems.
    """
    hJ = system.scaled()
    banded = isinstance(hJ, BandedJacobians)
    if banded:
        diagonal, sums = hJ.band[hJ.upper, :, :], xp.sum(xp.abs(hJ.band), axis=0)
    else:
        diagonal, sums = xp.linalg.diagonal(hJ), xp.sum(xp.abs(hJ), axis=1)
    # rounding errors of the sums count as nothing beside the entries
    moduli = xp.abs(diagonal)
    others = sums - moduli
    real = xp.real(diagonal) if is_complex(diagonal) else diagonal
    if bool(xp.all(real + others <= MOST_GROWTH + ROUNDING * EPS * moduli)):
        return True
    if banded or hJ.shape[-1] > LARGEST_EIGEN or not bool(xp.all(xp.isfinite(hJ))):
        return False
    adjoint = xp.matrix_transpose(hJ)
    adjoint = xp.conj(adjoint) if is_complex(hJ) else adjoint
    largest = xp.max(xp.abs(hJ), axis=(1, 2))[:, None]
    growth = xp.linalg.eigvalsh((hJ + adjoint) / 2)
    return bool(xp.all(growth <= MOST_GROWTH + ROUNDING * EPS * largest))


def guess_coarsely(loop):
    """Guess the solution of a linear problem, and choose a mesh for it.

    Parameters
    ----------
    loop : ImplicitLoop
        Learns whether the problem is linear.

    Returns
    -------
    mesh, guess
        The mesh proper, and the last coarse solution as a function, or the
        `NewtonResult` if it is the solution; None twice where the predictor is needed.
    """
    loosest, mesh = float(np.max(loop.settings.rtol)), first_mesh(loop)
    if mesh is None or loosest > LOOSEST:
        return None, None
    try:
        if loop.affine is None:
            rhs, y = loop.discretization.rhs, loop.y
            loop.affine = is_affine(rhs, mesh, y) and varies_slowly(
                rhs, loop.t, loop.t_bound, y
            )
        if loop.affine:
            return _solve_coarsely(loop, mesh, max(1.0, COARSE_RTOL / loosest))
    except MemoryError:
        pass  # in shorter windows there may be room
    return None, None


def _solve_coarsely(loop, mesh, rough):
    """Refine the mesh until errors are `rough` times the tolerance."""
    disc, most_steps = loop.discretization, min(loop.most_steps, MOST_COARSE_STEPS)

    def guess(t):
        return loop.xp.repeat(loop.y[:, None], t.shape[0], axis=1)

    def tol(x, size):
        return rough * loop._newton_tol(x, size)

    previous = math.inf
    for _ in range(MOST_COARSE):
        if mesh.shape[0] > most_steps:
            break
        Y = loop.guessed(mesh, guess)[1]
        result = solve_affine(disc, mesh, loop.y, Y, tol=tol)
        if result.n_converged < mesh.shape[0] - 1:
            loop.record(result)
            break
        K, h, error = errors = loop.errors(result)
        largest = float(loop.xp.max(error))
        if largest <= 1 and rough == 1:
            loop.known_errors = result, errors
            return mesh, result
        loop.record(result)
        guess = disc.interpolant(mesh, result.x, K)
        if largest <= 1:
            return mesh, guess
        if largest <= rough:
            density = smooth(h / loop.wanted(h, error))
            return loop.remesh(mesh, h / (DENSER * density)), guess
        if largest >= previous:
            break  # far from convergence still
        previous = largest
        # what is fine enough may hide behind what is not
        finer = loop.xp.minimum(loop.wanted(h, error / rough), h)
        mesh = loop.remesh(mesh, h / smooth(h / finer))
    return None, None
