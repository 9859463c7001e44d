"""ParODE with its flow maps: the maps, their fixed point, errors, hard problems."""

import time

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
from numpy.testing import assert_allclose
from scipy.sparse import diags_array

import parivp
from parivp._fitted_maps import MOST_CONTRACTION, MapSystem
from parivp._problems import PROBLEMS
from parivp._tableaus import find_tableau

NAMES = ("logistic", "van_der_pol", "lotka_volterra", "cart_pole", "lorenz")
SMALL_STIFF = [
    name
    for name, problem in PROBLEMS.items()
    if "stiff" in problem.tags and "large" not in problem.tags
]


def pendulum(t, y):
    return np.stack([y[1], -np.sin(y[0]) - 0.1 * y[1] + 0.3 * np.cos(t)])


# -- the maps ------------------------------------------------------------------


@pytest.mark.parametrize("order", [5, 9, 13, 17])
def test_fitted_map_of_a_linear_system_is_the_exponential(order):
    """With J constant the map from theta to the end is exp((1 - theta) h J)."""
    rng = np.random.default_rng(0)
    tableau, h = find_tableau(f"RadauIIA{order}"), np.array([0.1, -0.2])
    J = rng.standard_normal((3, 3))
    jacobians = np.broadcast_to(J[:, :, None, None], (3, 3, tableau.n_stages, 2))
    slopes, inverses, whole = MapSystem(tableau, h, jacobians)._fit(np)
    error = {5: 1e-3, 9: 1e-7, 13: 1e-11, 17: 1e-13}[order]
    for k, length in enumerate(h):
        assert_allclose(whole[k], scipy.linalg.expm(length * J), rtol=0, atol=error)
        for i, c in enumerate(tableau.c):
            exact = scipy.linalg.expm((1 - c) * length * J)
            assert_allclose(inverses[k, i] @ exact, np.eye(3), rtol=0, atol=error)
            slope = length * exact @ J
            assert_allclose(slopes[k, i], slope, rtol=0, atol=error)


def test_update_leaves_little_of_a_rough_residual():
    """What one update leaves of the collocation equations of y' = J y + g(t), where
    the residual jumps from node to node. Fitted about the iterate itself, not its
    Picard iterate, the maps would leave a hundred times as much.
    """
    rng = np.random.default_rng(1)
    tableau, h, J = find_tableau("RadauIIA17"), np.full(4, 0.1), np.diag([-1.0, 0.5])
    n, s, n_steps = 2, tableau.n_stages, len(h)
    jacobians = np.broadcast_to(J[:, :, None, None], (n, n, s, n_steps))
    residual = rng.standard_normal((n, s, n_steps))

    def remainder(U):
        before = np.concatenate([np.zeros((n, 1)), U[:, -1, :-1]], axis=1)
        F = np.einsum("ab,bjk->ajk", J, U)
        left = U - before[:, None] - h * np.einsum("ij,ajk->aik", tableau.a, F)
        return np.max(np.abs(left - residual)) / np.max(np.abs(residual))

    system = MapSystem(tableau, h, jacobians)
    found = remainder(system.solve(residual))
    assert found <= 1e-3
    # the maps about the iterate, by its defect h f - c' at the nodes
    _, inverses, whole = system.maps
    defect = np.einsum("ij,ajk->kia", tableau.inverse, residual)
    A = np.linalg.inv(inverses)
    moved = tableau.a @ np.einsum("kiab,kib->kia", A, defect)
    u = parivp.affine_scan(whole, moved[:, -1])
    before = np.concatenate([np.zeros((1, n)), u[:-1]])
    moved += np.einsum("kab,kb->ka", whole, before)[:, None]
    rough = np.einsum("kiab,kib->aik", inverses, moved)
    assert remainder(rough) > 100 * found


@pytest.mark.parametrize("n_times", [4, 6, 8, 10])
@pytest.mark.parametrize("n_steps", [1, 7, 60])
def test_fixed_point_is_the_collocation_solution(n_times, n_steps):
    """Whatever the maps' errors: where nothing moves, f is met at the nodes."""
    args = (pendulum, (0, 3), [1.0, 0.2])
    found = parivp.solve_ivp(*args, "ParODE", n_basis=(2, n_times), n_steps=n_steps)
    expected = parivp.solve_ivp(
        *args,
        "ScanNewtonImplicit",
        tableau=f"RadauIIA{2 * n_times - 3}",
        n_steps=n_steps,
    )
    assert found.success
    assert found.nlu >= n_steps
    assert_allclose(found.y, expected.y, rtol=0, atol=1e-11)


@pytest.mark.parametrize("n_steps", [4, 8, 16])
def test_passes_contract(n_steps):
    """At least a hundredfold each, from the predictor's guess to rounding errors."""
    result = parivp.solve_ivp(
        pendulum, (0, 2), [1.0, 0.2], "ParODE", n_steps=n_steps, newton_tol=1e-11
    )
    (residuals,) = result.newton_residuals
    assert len(residuals) > 1
    assert np.all(residuals[1:] < np.maximum(1e-2 * residuals[:-1], 1e-11))


def test_number_of_basis_functions_follows_the_tolerance():
    def n_times(rtol, **options):
        solver = parivp.ParODE(pendulum, 0, [1.0, 0.2], 1, rtol=rtol, **options)
        return solver.tableau.n_stages + 1

    assert n_times(1e-3) < n_times(1e-10)
    assert n_times(np.array([1e-3, 1e-10])) == n_times(1e-10)
    assert n_times(1e-3, n_basis=(2, 5)) == 5


# -- accuracy -----------------------------------------------------------------------


@pytest.mark.parametrize("rtol", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("name", NAMES)
def test_error_is_below_a_hundred_tolerances(name, rtol):
    """Lorenz's until t = 10, where errors have grown by about 1e4."""
    problem = PROBLEMS[name]
    t_span = (0, 10) if name == "lorenz" else problem.t_span
    result = parivp.solve_ivp(
        problem.fun, t_span, problem.y0, "ParODE", rtol=rtol, atol=rtol * 1e-3
    )
    assert result.success
    if name == "lorenz":
        reference = scipy.integrate.solve_ivp(
            problem.fun, t_span, problem.y0, "DOP853", rtol=1e-13, atol=1e-15
        ).y[:, -1]
        error = np.max(np.abs(result.y[:, -1] / reference - 1))
    else:
        error = problem.error(result.y[:, -1])
    assert error <= 100 * rtol


def test_example_of_the_paper_to_twelve_digits():
    toy = PROBLEMS["parode_toy"]
    t = np.linspace(0, 2, 201)
    args = (toy.fun, toy.t_span, toy.y0)
    found = parivp.solve_ivp(*args, "ParODE", t, rtol=1e-9, atol=1e-12).y
    exact = scipy.integrate.solve_ivp(*args, "DOP853", t, rtol=3e-14, atol=1e-16).y
    assert np.linalg.norm(found - exact) <= 1e-12 * np.linalg.norm(exact)


# -- problems that are hard for it ------------------------------------------------


@pytest.mark.parametrize("rtol", [1e-3, 1e-6])
@pytest.mark.parametrize("name", SMALL_STIFF)
def test_stiff_problems_come_out_right(name, rtol):
    problem = PROBLEMS[name]
    start = time.monotonic()
    result = parivp.solve_ivp(
        problem.fun,
        problem.t_span,
        problem.y0,
        "ParODE",
        rtol=rtol,
        atol=rtol * 1e-3,
        timeout=60,
    )
    assert time.monotonic() - start < 65
    assert result.success
    assert problem.error(result.y[:, -1]) <= 10 * rtol


def test_stiff_steps_are_solved_without_maps():
    """A map that contracts by exp(-1000) has no inverse that means anything."""
    systems = []
    solver = parivp.ParODE(lambda t, y: -1e3 * (y - np.cos(t)), 0, [0.0], 1)
    disc = solver.loop.discretization
    for n_steps in (10, 1000):
        mesh = np.linspace(0, 1, n_steps + 1)
        Y = disc.unknowns(mesh, lambda t: np.cos(t)[None])
        left = np.cos(mesh[:-1])[None]
        systems.append(type(disc.linearize(mesh, left, Y)[2]))
    assert systems[0] is not MapSystem
    assert systems[1] is MapSystem
    assert 1e3 / 10 > MOST_CONTRACTION > 1e3 / 1000


def test_long_chaotic_horizon_ends():
    """Nobody follows Lorenz's attractor for 60 times; steps stay on it."""
    problem = PROBLEMS["lorenz"]
    result = parivp.solve_ivp(
        problem.fun, (0, 60), problem.y0, "ParODE", rtol=1e-6, timeout=60
    )
    assert result.success or result.status == -1
    assert np.all(np.abs(result.y) < 60)


@pytest.mark.parametrize("n", [20, 60])
def test_large_systems(n):
    """Slopes at one node, and band matrices where the sparsity is given."""
    T = diags_array([1.0, -2.0, 1.0], offsets=[-1, 0, 1], shape=(n, n)).toarray()

    def fun(t, y):
        return T @ y - 0.1 * y**3

    y0 = np.sin(np.linspace(0, 3, n))
    exact = scipy.integrate.solve_ivp(fun, (0, 5), y0, rtol=1e-11, atol=1e-13).y[:, -1]
    for options in ({}, {"jac_sparsity": T != 0}):
        result = parivp.solve_ivp(
            fun, (0, 5), y0, "ParODE", rtol=1e-6, atol=1e-9, **options
        )
        assert result.success
        assert_allclose(result.y[:, -1], exact, rtol=0, atol=1e-5)


# -- options ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "n_basis", [3, (2,), (2, 2), (2, 11), (3, 8), (2, 7.5), "28", (2, None)]
)
def test_wrong_n_basis(n_basis):
    with pytest.raises(ValueError, match="`n_basis`"):
        parivp.solve_ivp(pendulum, (0, 1), [1.0, 0.2], "ParODE", n_basis=n_basis)


@pytest.mark.parametrize("formulation", ["Flow", None, 3])
def test_wrong_formulation(formulation):
    with pytest.raises(ValueError, match="`formulation`"):
        parivp.solve_ivp(
            pendulum, (0, 1), [1.0, 0.2], "ParODE", formulation=formulation
        )


def test_tableau_has_no_effect():
    with pytest.warns(UserWarning, match="`tableau`"):
        parivp.solve_ivp(pendulum, (0, 1), [1.0, 0.2], "ParODE", tableau="RK45")
