"""Error estimates of collocation steps, and the meshes that are made of estimates."""

import numpy as np
import pytest

import parivp
from parivp._collocation import Collocation
from parivp._mesh import equidistribute
from parivp._problems import PROBLEMS
from parivp._rhs import Rhs
from parivp._tableaus import find_tableau

METHOD = "ScanNewtonImplicit"
SLOPES = {
    "sine": np.sin,
    "two sines": lambda t: np.sin(t) + 0.3 * np.sin(3.1 * t + 1),
    "front": lambda t: 1 / np.cosh(t - 10) ** 2,
    "pole nearby": lambda t: 1 / (1 + (t - 10) ** 2),
    "exponential": lambda t: np.exp(-t),
}


def estimates_and_errors(slope, tableau, h, starts):
    """Estimates for steps of ``y' = slope(t)``, and the true errors within them."""
    tableau = find_tableau(tableau)
    rhs = Rhs(lambda t, y: slope(t), np.zeros(1))
    disc = Collocation(tableau, rhs, None, 0.0, 1.0)
    theta, weights = np.polynomial.legendre.leggauss(20)
    theta, weights = (1 + theta) / 2, weights / 2
    found, true = [], []
    for t in starts:
        K = h * slope(t + h * tableau.c)[None, :, None]
        start = np.array([slope(t)])
        x = np.zeros((1, 1))
        found.append(disc.error_norm(np.array([h]), K, x, x, start)[0])
        # the polynomial through the stages, integrated beside the slope itself
        p = np.polynomial.Polynomial.fit(tableau.c, K[0, :, 0], len(tableau.c) - 1)
        parts = np.linspace(0, 1, 41)[:-1, None] + theta / 40
        defects = p(parts) - h * slope(t + h * parts)
        true.append(np.max(np.abs(np.cumsum(defects @ weights / 40))))
    return np.array(found), np.array(true)


@pytest.mark.parametrize("h", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("tableau", ["RadauIIA7", "RadauIIA9", "GaussLegendre10"])
@pytest.mark.parametrize("name", SLOPES)
def test_estimates_are_of_the_size_of_the_errors(name, tableau, h):
    """Wherever the step lies: coefficients of one parity may be zero by accident."""
    starts = np.linspace(7, 13, 301)
    found, true = estimates_and_errors(SLOPES[name], tableau, h, starts)
    measured = true > 1e-13  # not rounding errors
    assert np.any(measured)
    ratio = found[measured] / true[measured]
    assert np.all(ratio >= 0.25)
    assert np.median(ratio) <= 15
    assert np.max(ratio) <= 1000


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("growth", [1.0, 1.5, 2.5])
def test_sizes_do_not_jump_from_step_to_step(growth, direction):
    """A mesh that grows geometrically, refined, grows as fast in every place."""
    mesh = direction * np.cumsum(growth ** np.arange(12.0))
    fine = equidistribute(mesh, np.abs(np.diff(mesh)) / 8)
    h = np.abs(np.diff(fine))
    assert fine[0] == mesh[0]
    assert fine[-1] == mesh[-1]
    assert 0.9 <= len(h) / (8 * 11) <= 1.1
    assert np.all(h[1:] / h[:-1] <= 1 + 1.5 * (growth - 1) / 8 + 0.15)
    assert np.all(h[1:] / h[:-1] >= 0.85)


def test_short_steps_wanted_nearby_do_not_fill_a_long_step():
    mesh = np.array([0.0, 1e-8, 1.0, 2.0])
    fine = equidistribute(mesh, np.array([1e-9, 0.1, 0.1]))
    assert len(fine) <= 1 + 10 + 15 + 10
    assert len(fine) >= 1 + 10 + 10 + 10


@pytest.mark.parametrize("rtol", [1e-5, 1e-7, 1e-8])
@pytest.mark.parametrize("name", ["prothero_robinson", "heat", "brusselator_pde"])
def test_the_mesh_made_of_estimates_meets_the_tolerance(name, rtol):
    """A rough solution, whose estimates place the points, and the one proper."""
    problem = PROBLEMS[name]
    options = {"rtol": rtol, "atol": 1e-3 * rtol, "jac_sparsity": problem.jac_sparsity}
    result = parivp.solve_ivp(
        problem.fun, problem.t_span, problem.y0, METHOD, **options
    )
    assert result.success
    assert len(result.newton_residuals) == 2


@pytest.mark.parametrize("place", [0.02, 0.3, 0.97, 0.99])
@pytest.mark.parametrize("kind", ["jump", "kink"])
@pytest.mark.parametrize("tableau", ["RadauIIA9", "GaussLegendre6", "GaussLegendre12"])
def test_nothing_is_overlooked_between_the_nodes_of_two_steps(tableau, kind, place):
    """Wherever in the first step the slope jumps or has a kink, estimates show it."""
    tableau = find_tableau(tableau)

    def slope(t):
        return np.where(t > place, 1.0 if kind == "jump" else t - place, 0.0)

    rhs = Rhs(lambda t, y: slope(t), np.zeros(1))
    disc = Collocation(tableau, rhs, None, 0.0, 1.0)
    h, x = np.array([1.0, 0.1]), np.zeros((1, 2))
    times = np.array([0.0, 1.0]) + np.multiply.outer(tableau.c, h)
    K = (h * slope(times))[None]
    estimates = disc.error_norm(h, K, x, x, np.zeros(1))
    exact = 1 - place if kind == "jump" else (1 - place) ** 2 / 2
    error = abs(K[0, :, 0] @ tableau.b - exact)
    assert np.max(estimates) >= error / 10
