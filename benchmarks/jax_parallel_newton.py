"""The algorithms of the paper on parallel-in-time Newton's method, written with JAX.

Parallel Newton, explicit and implicit, the sequential recursions and Parareal, on
equal steps and with everything compiled, as `benchmarks.gpu` compares parivp with.
JAX is no dependency of parivp; ``pip install jax`` or, with a GPU,
``pip install "jax[cuda13]"`` (or ``"jax[cuda12]"``) installs it.

The problems are autonomous; ``f(x)`` maps a state, shape (d,), to its derivative.
Trajectories are ``x_1, ..., x_N``, shape (N, d).

What the paper leaves open: its iterations are counted beforehand, here they may also
end by the size of an update; its sequential implicit steps are solved by a library's
Newton method, here by one written out.

References
----------
C. Iacob, H. Razavi, S. Sarkka, A parallel-in-time Newton's method-based ODE solver:
equations are cited by their numbers there; Parareal is in its appendix A.
"""

import os
from math import isqrt

# Read when JAX starts: it would take most of a GPU's memory at once.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp

from parivp._problems import PROBLEMS

jax.config.update("jax_enable_x64", True)

# An update this small, relative to the solution, leaves about its square.
NEWTON_TOL = 1e-8
# Parareal's states are those before its last correction.
PARAREAL_TOL = 1e-10
MAX_ITERATIONS = 100
# A step of the sequential implicit recursion.
STEP_TOL, MAX_STEP_ITERATIONS = 1e-10, 20
# Section 4: iterations of parallel Newton; Parareal's are those of explicit problems.
PAPER_ITERATIONS = {
    **dict.fromkeys(("logistic", "van_der_pol", "cart_pole"), 11),
    "dahlquist": 5,
    "robertson": 21,
}


def _cart_pole(x, g=9.81, length=0.5, m_cart=10.0, m_pole=1.0):
    # with the angular rate squared, as in parivp's own problem
    _, angle, velocity, rate = x
    s, c = jnp.sin(angle), jnp.cos(angle)
    mass = m_cart + m_pole * s**2
    pull = m_pole * length * rate**2
    return jnp.stack(
        [
            velocity,
            rate,
            s * (pull + m_pole * g * c) / mass,
            -s * (pull * c + (m_cart + m_pole) * g) / (length * mass),
        ]
    )


def right_hand_side(name):
    """Return ``f(x)`` of one of parivp's problems."""
    if name == "cart_pole":  # that of parivp calls NumPy
        return _cart_pole
    return lambda x: jnp.stack(list(PROBLEMS[name].fun(0.0, x)))


def rk4_step(f, h):
    """Return the step ``x -> x + g(x)`` of the classical Runge-Kutta method, (3)."""

    def step(x):
        k1 = f(x)
        k2 = f(x + h / 2 * k1)
        k3 = f(x + h / 2 * k2)
        k4 = f(x + h * k3)
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    return step


def backward_euler_residual(f, h):
    """Return the residual ``h_k(x_{k-1}, x_k)`` of the implicit Euler method, (5)."""
    return lambda before, after: after - before - h * f(after)


def compose(earlier, later):
    """Compose affine maps, (14): products of matrices by ``@``."""
    (A1, b1), (A2, b2) = earlier, later
    return A2 @ A1, (A2 @ b1[..., None])[..., 0] + b2


def compose_unrolled(earlier, later):
    """Compose affine maps: sums of products, which XLA can fuse."""
    (A1, b1), (A2, b2) = earlier, later
    A = (A2[..., :, :, None] * A1[..., None, :, :]).sum(axis=-2)
    return A, (A2 * b1[..., None, :]).sum(axis=-1) + b2


def affine_scan(A, b, composition):
    """Solve ``u_k = A_k u_{k-1} + b_k`` from ``u_0 = 0``, (15)-(17)."""
    A = A.at[0].set(0.0)
    return jax.lax.associative_scan(composition, (A, b))[1]


def relative_size(update, x):
    """Largest entry of an update, relative to the largest of its component."""
    scale = jnp.max(jnp.abs(x), axis=0)
    return jnp.max(jnp.max(jnp.abs(update), axis=0) / jnp.where(scale > 0, scale, 1.0))


def newton(linearize, guess, max_iterations, tol, composition=compose):
    """Newton's method on all steps, (21)-(22).

    Parameters
    ----------
    linearize : callable
        Maps states, shape (N, d), to `A`, (N, d, d), and `b`, (N, d), of the
        recursion of the update.
    guess : array, shape (N, d)
    max_iterations : int
    tol : float
        Iterations end after a relative update of this size, or one that is no
        number; below zero they never end before `max_iterations` but for the latter.
    composition : callable

    Returns
    -------
    states : array, shape (N, d)
    iterations : int
    """

    def unfinished(loop):
        _, size, k = loop
        return (k < max_iterations) & (size > tol)  # False for NaN

    def iterate(loop):
        x, _, k = loop
        u = affine_scan(*linearize(x), composition)
        return x + u, relative_size(u, x + u), k + 1

    x, _, k = jax.lax.while_loop(unfinished, iterate, (guess, jnp.inf, 0))
    return x, k


def explicit_linearization(step, x0):
    """Return the recursion (24) of the update of ``x_k = step(x_{k-1})``."""

    def linearize(x):
        before = jnp.concatenate([x0[None], x[:-1]])
        return jax.vmap(jax.jacfwd(step))(before), jax.vmap(step)(before) - x

    return linearize


def implicit_linearization(residual, x0):
    """Return the recursion (54) of the update of ``residual(x_{k-1}, x_k) = 0``."""

    def linearize(x):
        before = jnp.concatenate([x0[None], x[:-1]])
        below, diagonal = jax.vmap(jax.jacfwd(residual, (0, 1)))(before, x)
        right = jnp.concatenate(
            [below, jax.vmap(residual)(before, x)[..., None]], axis=-1
        )
        solution = -jnp.linalg.solve(diagonal, right)
        return solution[..., :-1], solution[..., -1]

    return linearize


def sequential(step, x0, n_steps):
    """Return ``x_k = step(x_{k-1})``, computed one after another."""

    def advance(x, _):
        x = step(x)
        return x, x

    return jax.lax.scan(advance, x0, length=n_steps)[1]


def implicit_step(residual):
    """Return the step that solves ``residual(x_{k-1}, x_k) = 0`` by Newton's method."""

    def step(before):
        def unfinished(loop):
            _, size, k = loop
            return (k < MAX_STEP_ITERATIONS) & (size > STEP_TOL)

        def iterate(loop):
            x, _, k = loop
            u = -jnp.linalg.solve(
                jax.jacfwd(residual, 1)(before, x), residual(before, x)
            )
            x = x + u
            return x, jnp.max(jnp.abs(u) / (jnp.abs(x) + 1e-30)), k + 1

        return jax.lax.while_loop(unfinished, iterate, (before, jnp.inf, 0))[0]

    return step


def number_of_intervals(n_steps):
    """Return the largest divisor of `n_steps` that is at most its square root."""
    return next(m for m in range(isqrt(n_steps), 0, -1) if n_steps % m == 0)


def parareal(f, x0, span, n_steps, max_iterations, tol):
    """Parareal, (66)-(68): coarse and fine steps are of the same Runge-Kutta method.

    Returns
    -------
    states : array, shape (N, d)
        What the fine steps of the last iteration passed through.
    iterations : int
    """
    n_coarse = number_of_intervals(n_steps)
    coarse = rk4_step(f, span / n_coarse)
    fine = rk4_step(f, span / n_steps)

    def fine_states(x):
        return sequential(fine, x, n_steps // n_coarse)

    def correct(x, differences):
        predicted = coarse(x)
        after = predicted + differences[0] - differences[1]
        return after, (after, predicted)

    def unfinished(loop):
        size, k = loop[-2:]
        return (k < max_iterations) & (size > tol)

    def iterate(loop):
        nodes, predicted, _, _, k = loop
        starts = jnp.concatenate([x0[None], nodes[:-1]])
        states = jax.vmap(fine_states)(starts)
        _, (after, predicted) = jax.lax.scan(correct, x0, (states[:, -1], predicted))
        return after, predicted, states, relative_size(after - nodes, after), k + 1

    nodes = sequential(coarse, x0, n_coarse)
    states = jnp.zeros((n_coarse, n_steps // n_coarse, x0.size))
    loop = nodes, nodes, states, jnp.inf, 0
    *_, states, _, k = jax.lax.while_loop(unfinished, iterate, loop)
    return states.reshape(n_steps, x0.size), k


METHODS = (
    "newton",
    "newton_unrolled",
    "newton_paper",
    "parareal",
    "parareal_paper",
    "sequential",
)


def make_solver(method, name, n_steps):
    """Return a compiled function of the initial state, and that state.

    Parameters
    ----------
    method : str
        One of `METHODS`. "..._paper" takes the paper's number of iterations, the
        others end by a tolerance; "newton_unrolled" is "newton" with the products
        of matrices written as sums.
    name : str
        Key of one of the paper's problems in `PROBLEMS`.
    n_steps : int

    Returns
    -------
    solve : callable
        ``solve(x0)`` returns states ``x_1, ..., x_N``, shape (N, d), and the number
        of iterations.
    x0 : array, shape (d,)
    """
    problem = PROBLEMS[name]
    f = right_hand_side(name)
    span = problem.t_span[1] - problem.t_span[0]
    h = span / n_steps
    algorithm, _, variant = method.partition("_")
    if variant == "paper":
        limits = PAPER_ITERATIONS[name], -1.0
    else:
        limits = MAX_ITERATIONS, NEWTON_TOL if algorithm == "newton" else PARAREAL_TOL
    residual = backward_euler_residual(f, h)

    def solve_newton(x0):
        if problem.stiff:
            linearize = implicit_linearization(residual, x0)
        else:
            linearize = explicit_linearization(rk4_step(f, h), x0)
        guess = jnp.full((n_steps, x0.size), problem.initial_guess)
        composition = compose_unrolled if variant == "unrolled" else compose
        return newton(linearize, guess, *limits, composition)

    def solve_sequential(x0):
        step = implicit_step(residual) if problem.stiff else rk4_step(f, h)
        return sequential(step, x0, n_steps), 0

    def solve_parareal(x0):
        return parareal(f, x0, span, n_steps, *limits)

    solvers = {
        "newton": solve_newton,
        "parareal": solve_parareal,
        "sequential": solve_sequential,
    }
    return jax.jit(solvers[algorithm]), jnp.asarray(problem.y0)
