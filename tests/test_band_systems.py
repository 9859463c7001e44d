"""Linear systems of the stages of all steps, where the Jacobians have a band."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array, diags_array

import parivp
from parivp import _factorizations
from parivp._stage_systems import FactorizedStages
from parivp._structure import Structure
from parivp._tableaus import find_tableau

N, N_STEPS = 40, 7
BANDS = [(1, 1), (2, 2), (3, 1), (1, 2), (2, 1), (0, 1), (1, 0), (0, 0)]


@pytest.fixture(name="rng")
def _rng():
    return np.random.default_rng(7)


def band_of_ones(lower, upper, n=N):
    return sum(np.eye(n, k=k) for k in range(-lower, upper + 1))


def random(rng, shape, kind="real"):
    real = rng.normal(size=shape)
    return real if kind == "real" else real + 1j * rng.normal(size=shape)


def both_forms(pattern, J):
    """The Jacobians (n, n, N) in band form, and their structure."""
    structure = Structure(csr_array(pattern))
    return structure, structure.from_entries(J[structure.rows, structure.columns])


def counted(monkeypatch, name):
    """Count the calls of one of LAPACK's routines."""
    calls, routine = [], getattr(_factorizations, name)

    def counting(*args, **options):
        calls.append(name)
        return routine(*args, **options)

    monkeypatch.setattr(_factorizations, name, counting)
    return calls


@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize("tableau", ["BackwardEuler", "RadauIIA9", "GaussLegendre6"])
@pytest.mark.parametrize("exchanges", [False, True])
@pytest.mark.parametrize("band", BANDS)
def test_as_with_full_matrices(rng, monkeypatch, band, exchanges, tableau, kind):
    """Whether elimination exchanges rows, as it must here, or not."""
    tableau, h = find_tableau(tableau), rng.uniform(0.5, 1.0, N_STEPS)
    pattern = band_of_ones(*band)
    J = pattern[:, :, None] * random(rng, (N, N, N_STEPS), kind)
    # beside the diagonal either little or most; growth is bounded all the same
    J = J + 1j * np.eye(N)[:, :, None] if kind == "complex" else J
    J = 0.05 * J if not exchanges else J * np.where(np.eye(N), 1e-3, 3.0)[:, :, None]
    if exchanges and 0 in band:
        J = np.tanh(np.abs(J)) * 0.3  # without rows to exchange nothing bounds growth
    _, banded = both_forms(pattern, J)
    p = tableau.n_stages + (not tableau.stiffly_accurate)
    R = random(rng, (N, p, N_STEPS), kind)
    exchanged = counted(monkeypatch, "zgbtrs")
    found = FactorizedStages(tableau, h, banded)
    full = FactorizedStages(tableau, h, J)
    for _ in range(2):
        expected = full.solve(R)
        size = np.max(np.abs(expected))
        assert_allclose(found.solve(R), expected, rtol=0, atol=1e-10 * size)
    short, expected = found.first(3).solve(R[..., :3]), full.first(3).solve(R[..., :3])
    assert_allclose(short, expected, rtol=0, atol=1e-10 * size)
    if band != (1, 1):
        assert bool(exchanged) == (exchanges and 0 not in band)


@pytest.mark.parametrize("band", [(1, 1), (2, 2)])
def test_components_in_any_order(rng, band):
    """A band that is hidden is found; one that is there stays as it is."""
    tableau, h = find_tableau("RadauIIA5"), np.full(N_STEPS, 0.1)
    pattern, R = band_of_ones(*band), random(rng, (N, 3, N_STEPS))
    J = pattern[:, :, None] * random(rng, (N, N, N_STEPS))
    structure, banded = both_forms(pattern, J)
    assert structure.order == structure.place == slice(None)
    assert (structure.lower, structure.upper) == band
    expected = FactorizedStages(tableau, h, banded).solve(R)
    mixed = rng.permutation(N)
    rows_and_columns = np.ix_(mixed, mixed)
    structure, banded = both_forms(pattern[rows_and_columns], J[rows_and_columns])
    assert_array_equal(structure.order[structure.place], np.arange(N))
    assert structure.lower + structure.upper <= 2 * sum(band)
    found = FactorizedStages(tableau, h, banded).solve(R[mixed])
    assert_allclose(found, expected[mixed], rtol=0, atol=1e-12 * np.max(abs(expected)))


@pytest.mark.parametrize("spoilt", ["singular", "NaN", "infinite"])
@pytest.mark.parametrize("band", [(1, 1), (2, 2), (2, 1)])
def test_steps_before_a_matrix_that_cannot_be_solved_with_are_kept(rng, band, spoilt):
    tableau, h = find_tableau("BackwardEuler"), np.ones(N_STEPS)
    pattern, R = band_of_ones(*band), random(rng, (N, 1, N_STEPS))
    J = 0.1 * pattern[:, :, None] * random(rng, (N, N, N_STEPS))
    expected = FactorizedStages(tableau, h, both_forms(pattern, J)[1]).solve(R)
    if spoilt == "singular":
        J[:, :, 4] = np.eye(N)  # I - h J = 0
    else:
        J[:, :, 4] = np.where(pattern, {"NaN": np.nan, "infinite": np.inf}[spoilt], 0)
    with np.errstate(all="ignore"):
        found = FactorizedStages(tableau, h, both_forms(pattern, J)[1]).solve(R)
    assert_array_equal(found[..., :4], expected[..., :4])
    assert not np.any(np.isfinite(found[..., 4:]).all(axis=0))


def test_right_sides_stay_as_they_are(rng):
    tableau, J = find_tableau("GaussLegendre6"), random(rng, (N, N, N_STEPS))
    system = FactorizedStages(tableau, np.ones(N_STEPS), J)
    for order in "CF":
        R = np.array(random(rng, (N, 4, N_STEPS)), order=order)
        before = R.copy()
        system.solve(R)
        assert_array_equal(R, before)


def test_pattern_that_changes_its_order_later():
    """SciPy's products are not sorted, and sorted in place where it is needed."""
    L = diags_array([1.0, -2.0, 1.0], offsets=[-1, 0, 1], shape=(N, N)).tocsr()
    pattern = csr_array(L @ L)
    assert not pattern.has_sorted_indices

    def solve(fun):
        y0 = np.sin(np.arange(N))
        return parivp.solve_ivp(
            fun, (0, 1), y0, "ScanNewtonImplicit", jac_sparsity=pattern
        )

    def f(t, y):
        return -50 * (matrix @ y) - y**3

    def sorting(t, y):
        pattern.sort_indices()
        return f(t, y)

    matrix = pattern.toarray()
    expected = solve(f)
    found = solve(sorting)
    assert found.nfev == expected.nfev
    assert_array_equal(found.y, expected.y)


def test_function_that_uses_its_state_as_scratch():
    """From some time on only, where it is not looked for."""
    B = -200 * np.eye(N) + 100 * (np.eye(N, k=1) + np.eye(N, k=-1)) + 3 * np.eye(N, k=2)

    def f(t, y):
        return B @ y - y**3

    def careless(t, y):
        value = f(t, y)
        if np.all(t > 0.05):
            y[:] = 1e3
        return value

    def solve(fun):
        y0 = np.sin(np.arange(N))
        return parivp.solve_ivp(
            fun, (0, 0.3), y0, "ScanNewtonImplicit", jac_sparsity=B != 0
        )

    found, expected = solve(careless), solve(f)
    assert found.success
    assert_allclose(found.y[:, -1], expected.y[:, -1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("order", ["natural", "mixed"])
def test_advection_with_strong_coupling_backwards(rng, order):
    """A Jacobian whose band has its largest entries beside the diagonal.

    u' = -c (u_i - u_{i-1}) is solved by Poisson's distribution.
    """
    n, c = 60, 30.0
    place = np.arange(n) if order == "natural" else rng.permutation(n)
    y0 = np.zeros(n)
    y0[0] = 1.0

    def fun(t, y):
        u = np.empty_like(y)
        u[:] = y[place]
        out = -c * u
        out[1:] += c * u[:-1]
        result = np.empty_like(y)
        result[place] = out
        return result

    pattern = band_of_ones(1, 0, n)[np.ix_(np.argsort(place), np.argsort(place))]
    start = np.empty(n)
    start[place] = y0
    result = parivp.solve_ivp(
        fun,
        (0, 1),
        start,
        "ScanNewtonImplicit",
        rtol=1e-8,
        atol=1e-11,
        jac_sparsity=pattern,
    )
    assert result.success
    weights = np.cumsum(np.append(-c, np.log(c / np.arange(1, n))))
    assert_allclose(result.y[place, -1], np.exp(weights), rtol=0, atol=1e-8)
