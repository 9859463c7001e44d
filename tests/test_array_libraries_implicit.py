"""Parts of the implicit methods on another array library, beside NumPy's.

The linear systems are also compared with the equations that they solve.
"""

import numpy as np
import pytest
from array_libraries import rows
from numpy.testing import assert_allclose
from scipy.linalg import expm
from scipy.sparse import csr_array

from parivp import _array_namespace as array_namespace_module
from parivp import solve_ivp
from parivp._collocation import Collocation
from parivp._dense_output import PiecewisePolynomial
from parivp._fitted_maps import FittedMaps, MapSystem
from parivp._jacobian import (
    ConstantJacobian,
    DifferencedJacobian,
    UserJacobian,
    wrap_jacobian,
)
from parivp._newton import NewtonResult
from parivp._problems import PROBLEMS
from parivp._rhs import Rhs
from parivp._stage_systems import (
    CondensedStages,
    FactorizedStages,
    TransformedStages,
    invert,
    solve,
)
from parivp._tableaus import find_tableau

TABLEAUS = ["RadauIIA5", "RadauIIA9", "GaussLegendre6", "BackwardEuler", "Trapezoid"]
MAP_TABLEAUS = ["RadauIIA5", "RadauIIA9", "RadauIIA17"]
SIZES = [1, 2, 5]
KINDS = ["real", "complex"]
N_STEPS = 7

for_all = pytest.mark.parametrize("tableau", TABLEAUS)
for_sizes = pytest.mark.parametrize("n", SIZES)
for_kinds = pytest.mark.parametrize("kind", KINDS)


def assert_round_off(library, found, expected, factor=1e-12):
    """Compare with NumPy's array, relative to its largest entry."""
    found, expected = library.get(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    size = np.max(np.abs(expected), initial=0.0)
    assert_allclose(found, expected, rtol=0, atol=factor * size)


class Problem:
    """A nonlinear system of `n` components and points to evaluate it at."""

    def __init__(self, n, kind):
        self.n = n
        self.rng = np.random.default_rng(n)
        self.kind = kind
        matrix = self.random(n, n) - 2 * np.eye(n)
        self.matrix = matrix.tolist()
        h = self.rng.uniform(0.05, 0.3, N_STEPS)
        self.mesh = 0.4 + np.append(0.0, np.cumsum(h))
        self.x0 = 1 + 0.3 * self.random(n)

    def random(self, *shape):
        values = self.rng.normal(size=shape)
        if self.kind == "complex":
            values = values + 1j * self.rng.normal(size=shape)
        return values

    def fun(self, t, y):
        y = rows(y)
        return [
            sum(a * x for a, x in zip(row, y, strict=True)) - 0.1 * y[i] ** 3 + 0.2 * t
            for i, row in enumerate(self.matrix)
        ]

    def jac(self, t, y):
        """Entries that depend on the state are arrays, the others numbers."""
        J = [list(row) for row in self.matrix]
        for i, x in enumerate(rows(y)):
            J[i][i] = J[i][i] - 0.3 * x**2
        return J

    def window(self, tableau):
        """States before the steps (n, N), and unknowns (n, p, N)."""
        p = tableau.n_stages + (not tableau.stiffly_accurate)
        Y = self.x0[:, None, None] + 0.2 * self.random(self.n, p, N_STEPS)
        left = np.concatenate([self.x0[:, None], Y[:, -1, :-1]], axis=1)
        return left, Y

    def discretization(self, y0, tableau, cls=Collocation, *, differences=False):
        """Make the discretization for states like `y0`."""
        jac = None if differences else wrap_jacobian(self.jac, 0.4, y0)
        rhs = Rhs(self.fun, y0)
        return cls(find_tableau(tableau), rhs, jac, 1e-6, 1e-8)


def both(library, tableau, n, kind, cls=Collocation, **options):
    """Make a discretization with NumPy's arrays and one of the library's."""
    problem = Problem(n, kind)
    there = problem.discretization(library.put(problem.x0), tableau, cls, **options)
    return problem, problem.discretization(problem.x0, tableau, cls, **options), there


def newton_update(tableau, h, J, R):
    """Solve Newton's equations of all steps, one after another.

    Parameters
    ----------
    tableau : CollocationTableau
    h : ndarray, shape (N,)
    J : ndarray, shape (n, n, s, N)
    R : ndarray, shape (n, p, N)
    """
    n, p, n_steps = R.shape
    s = tableau.n_stages
    update, u = np.empty(R.shape, R.dtype), np.zeros(n, R.dtype)
    for k in range(n_steps):
        coupling = np.einsum("ij,abj->iajb", tableau.a, J[..., k])  # stages outside
        M = np.eye(n * s) - h[k] * coupling.reshape(n * s, n * s)
        b = R[:, :s, k].T + u
        X = np.linalg.solve(M, b.reshape(-1)).reshape(s, n)
        update[:, :s, k] = X.T
        if p > s:
            rho = 1 - np.sum(tableau.end_weights)
            u = rho * u + tableau.end_weights @ X + R[:, s, k]
        else:
            u = X[-1]
        update[:, -1, k] = u
    return update


# -- the system of all steps --------------------------------------------------


@for_kinds
@for_sizes
@for_all
def test_residual(library, tableau, n, kind):
    problem, disc, there = both(library, tableau, n, kind)
    left, Y = problem.window(disc.tableau)
    found = there.residual(*map(library.put, (problem.mesh, left, Y)))
    for values, known in zip(found, disc.residual(problem.mesh, left, Y), strict=True):
        assert_round_off(library, values, known)


@for_kinds
@for_sizes
@for_all
def test_linearize(library, tableau, n, kind):
    problem, disc, there = both(library, tableau, n, kind)
    left, Y = problem.window(disc.tableau)
    residual, F, system = disc.linearize(problem.mesh, left, Y)
    found = there.linearize(*map(library.put, (problem.mesh, left, Y)))
    assert_round_off(library, found[0], residual)
    assert_round_off(library, found[1], F)
    assert type(found[2]) is type(system) is CondensedStages
    h = np.diff(problem.mesh)
    expected = newton_update(disc.tableau, h, system.jacobians, residual)
    another = problem.random(*residual.shape)
    for _ in range(2):  # with the matrices kept the second time
        assert_round_off(library, found[2].solve(found[0]), expected)
        assert_allclose(system.solve(residual), expected, rtol=0, atol=1e-11)
    short = found[2].first(4).solve(library.put(another[..., :4]))
    J = system.jacobians[..., :4]
    expected = newton_update(disc.tableau, h[:4], J, another[..., :4])
    assert_round_off(library, short, expected)


@for_kinds
@for_sizes
@for_all
def test_one_jacobian_for_a_step(library, tableau, n, kind):
    problem, disc, there = both(library, tableau, n, kind)
    h, J = np.diff(problem.mesh), problem.random(n, n, N_STEPS)
    _, Y = problem.window(disc.tableau)
    R = problem.random(*Y.shape)
    stages = np.repeat(J[:, :, None], disc.tableau.n_stages, axis=2)
    expected = newton_update(disc.tableau, h, stages, R)
    systems = [cls(disc.tableau, h, J) for cls in (TransformedStages, FactorizedStages)]
    found = there.frozen(library.put(h), library.put(J))
    assert isinstance(found, TransformedStages)
    for _ in range(2):
        for system in systems:
            size = np.max(np.abs(expected))
            assert_allclose(system.solve(R), expected, rtol=0, atol=1e-11 * size)
        assert_round_off(library, found.solve(library.put(R)), expected, 1e-11)
    short = found.first(3).solve(library.put(R[..., :3]))
    assert_round_off(library, short, expected[..., :3], 1e-11)


@pytest.mark.parametrize("tableau", ["RadauIIA9", "GaussLegendre6"])
def test_real_jacobians_of_complex_states(tableau):
    problem, tableau = Problem(5, "complex"), find_tableau(tableau)
    h, J = np.diff(problem.mesh), problem.random(5, 5, N_STEPS).real
    stages = tableau.n_stages + (not tableau.stiffly_accurate)
    R = problem.random(5, stages, N_STEPS)
    found = FactorizedStages(tableau, h, J).solve(R)
    assert_allclose(found, TransformedStages(tableau, h, J).solve(R), atol=1e-11)


@for_kinds
@for_sizes
@pytest.mark.parametrize("tableau", MAP_TABLEAUS)
def test_maps(library, tableau, n, kind):
    problem, disc, there = both(library, tableau, n, kind, FittedMaps)
    left, Y = problem.window(disc.tableau)
    residual, _, system = disc.linearize(problem.mesh, left, Y)
    found = there.linearize(*map(library.put, (problem.mesh, left, Y)))
    assert type(found[2]) is type(system) is MapSystem
    for _ in range(2):
        expected = system.solve(residual)
        assert_round_off(library, found[2].solve(found[0]), expected)
    short, known = found[2].first(3), system.first(3)
    R = problem.random(n, disc.tableau.n_stages, 3)
    assert_round_off(library, short.solve(library.put(R)), known.solve(R))


@pytest.mark.parametrize(
    ("n", "expected"), [(20, CondensedStages), (21, TransformedStages)]
)
def test_larger_systems(library, n, expected):
    """Further than NumPy's the stages keep their Jacobians, in one batch."""
    problem, disc, there = both(library, "RadauIIA9", n, "real")
    left, Y = problem.window(disc.tableau)
    residual, _, system = there.linearize(*map(library.put, (problem.mesh, left, Y)))
    assert type(system) is expected
    assert type(disc.linearize(problem.mesh, left, Y)[2]) is not CondensedStages
    if expected is CondensedStages:
        h, J = np.diff(problem.mesh), library.get(system.jacobians)
        known = newton_update(disc.tableau, h, J, library.get(residual))
        assert_round_off(library, system.solve(residual), known, 1e-10)
        assert there.step_storage(problem.x0) > disc.step_storage(problem.x0)


def test_stiff_windows_and_single_steps_have_no_maps(library):
    problem, disc, there = both(library, "RadauIIA9", 2, "real", FittedMaps)
    left, Y = problem.window(disc.tableau)
    mesh = 100 * problem.mesh
    found = there.linearize(*map(library.put, (mesh, left, Y)))
    assert isinstance(found[2], CondensedStages)
    window = mesh[:2], left[:, :1], Y[..., :1]
    assert isinstance(there.linearize(*map(library.put, window))[2], CondensedStages)


def test_systems_read_nothing(library, reads):
    """Neither residuals nor updates wait for a number from the device."""
    problem, disc, there = both(library, "RadauIIA9", 2, "complex")
    left, Y = problem.window(disc.tableau)
    arrays = [library.put(values) for values in (problem.mesh, left, Y)]
    there.rhs.time_vectorized = there.jac.time_vectorized = True
    there.residual(*arrays)
    residual, _, system = there.linearize(*arrays)
    h, J = np.diff(problem.mesh), problem.random(2, 2, N_STEPS)
    h, J = library.put(h), library.put(J)
    tableau = there.tableau
    stages = library.xp.repeat(J[:, :, None, :], tableau.n_stages, axis=2)
    for one in (system, there.frozen(h, J), MapSystem(tableau, h, stages)):
        one.solve(residual)
    assert reads == []


def test_singular_matrices(library):
    matrices = np.stack([np.eye(2), np.ones((2, 2)), 2 * np.eye(2)])
    columns = np.arange(6.0).reshape(3, 2, 1)
    inverses = library.get(invert(library.put(matrices)))
    solutions = library.get(solve(library.put(matrices), library.put(columns)))
    for values in (inverses, solutions):
        assert not np.isfinite(values[1]).any()
    assert_allclose(inverses[[0, 2]], [np.eye(2), np.eye(2) / 2])
    assert_allclose(solutions[[0, 2], :, 0], [[0, 1], [2, 2.5]])


@for_kinds
@pytest.mark.parametrize("shape", [(6, 3, 3), (4, 2, 3, 3)])
def test_inverses_made_as_for_cupy(library, kind, shape, monkeypatch):
    """CuPy's own are left as memory was where a matrix is singular."""
    monkeypatch.setattr(array_namespace_module, "is_cupy_namespace", lambda xp: True)
    matrices = Problem(2, kind).random(*shape) + 3 * np.eye(3)
    found = invert(library.put(matrices))
    assert_round_off(library, found, np.linalg.inv(matrices))


# -- guesses, error estimates, dense output -----------------------------------


@for_kinds
@for_all
def test_unknowns(library, tableau, kind):
    problem, disc, there = both(library, tableau, 2, kind)
    y, bubble = problem.random(2, N_STEPS + 1), problem.random(3, 2, N_STEPS)
    parts = problem.mesh, y, bubble
    expected = disc.unknowns(problem.mesh, PiecewisePolynomial(*parts))
    mesh, *parts = map(library.put, parts)
    found = there.unknowns(mesh, PiecewisePolynomial(mesh, *parts))
    assert_round_off(library, found, expected)
    assert_round_off(library, found[:, -1, :], y[:, 1:])


@for_kinds
@for_sizes
@for_all
@pytest.mark.parametrize("with_slope", [False, True])
def test_estimates_and_dense_output(library, tableau, n, kind, with_slope):
    problem, disc, there = both(library, tableau, n, kind)
    x = problem.random(n, N_STEPS + 1)
    K = problem.random(n, disc.tableau.n_stages, N_STEPS)
    slope = problem.random(n) if with_slope else None
    h = np.diff(problem.mesh)
    mesh, x_there, K_there = map(library.put, (problem.mesh, x, K))
    if disc.tableau.n_stages > 1:
        given = None if slope is None else library.put(slope)
        found = there.error_norm(
            library.put(h), K_there, x_there[:, :-1], x_there[:, 1:], given
        )
        expected = disc.error_norm(h, K, x[:, :-1], x[:, 1:], slope)
        assert_round_off(library, found, expected)
    found = there.end_slope(library.put(h[-1]), K_there)
    assert_round_off(library, found, disc.end_slope(h[-1], K))
    times = np.linspace(problem.mesh[0], problem.mesh[-1], 23)
    found = there.interpolant(mesh, x_there, K_there)
    expected = disc.interpolant(problem.mesh, x, K)
    assert_round_off(library, found(library.put(times)), expected(times))


@for_kinds
@for_all
def test_what_is_read_off_a_window(library, tableau, kind):
    problem, disc, there = both(library, tableau, 2, kind)
    left, Y = problem.window(disc.tableau)
    x = np.concatenate([left, Y[:, -1, -1:]], axis=1)

    def window(disc, put):
        mesh, left_there, Y_there = put(problem.mesh), put(left), put(Y)
        residual, F = disc.residual(mesh, left_there, Y_there)
        result = NewtonResult(mesh, put(x), Y_there, F, (left_there, Y_there))
        return result, (mesh, left_there, Y_there, residual, F)

    (result, guess), (known, known_guess) = (
        window(there, library.put),
        window(disc, np.asarray),
    )
    assert_round_off(library, there.stages(result), disc.stages(known))
    for values, expected in zip(there.sample(result), disc.sample(known), strict=True):
        assert_round_off(library, values, expected)
    found = there.reach(result.x, result.Y, guess[3])
    assert_round_off(library, found, disc.reach(known.x, known.Y, known_guess[3]))
    assert there.repeats(guess, 2)
    F = known_guess[4] + 1e-3
    assert not there.repeats((*guess[:4], library.put(F)), 2)


@for_kinds
@for_sizes
@for_all
def test_single_step(library, tableau, n, kind):
    problem, disc, there = both(library, tableau, n, kind)
    mesh = problem.mesh[:2]
    y, K = disc.single_step(mesh, problem.x0, lambda x, size: np.array([[1e-10]]))
    assert np.isfinite(y).all()
    put = library.put([[1e-10]])
    found = there.single_step(
        library.put(mesh), library.put(problem.x0), lambda x, size: put
    )
    assert_round_off(library, found[0], y)
    assert_round_off(library, found[1], K)


def test_single_step_that_fails(library):
    y0 = library.put([1.0, 2.0])
    rhs = Rhs(lambda t, y: y * float("nan"), y0)
    disc = Collocation(find_tableau("RadauIIA5"), rhs, None, 1e-6, 1e-8)
    mesh, tol = library.put([0.0, 1.0]), library.put([[1e-10]])
    y, K = disc.single_step(mesh, y0, lambda x, size: tol, max_newton=5, patient=True)
    assert np.isnan(library.get(y)).all()
    assert library.get(K).shape == (2, 3, 1)


# -- Jacobians -----------------------------------------------------------------


@for_kinds
@for_sizes
@pytest.mark.parametrize("block", [None, 1])
def test_differences(library, n, kind, block, monkeypatch):
    if block:  # so many points that they fill several blocks
        monkeypatch.setattr(array_namespace_module, "LARGE_BLOCK", block)
    problem, m = Problem(n, kind), 50
    t, y = np.linspace(0, 1, m), 1 + problem.random(n, m)
    t_there, y_there = library.put(t), library.put(y)
    rhs = Rhs(problem.fun, library.put(problem.x0))
    jacobian = DifferencedJacobian(rhs, library.put([[1e-8]]))
    found = jacobian(t_there, y_there)
    exact = UserJacobian(problem.jac, problem.x0)(t, y)
    size = np.max(np.abs(exact))
    assert_allclose(library.get(found), exact, rtol=0, atol=1e-6 * size)
    assert jacobian.njev == m
    known = DifferencedJacobian(Rhs(problem.fun, problem.x0), np.array([[1e-8]]))
    # rounding errors divided by increments of half the digits
    assert_allclose(library.get(found), known(t, y), rtol=0, atol=1e-7 * size)
    repeated = jacobian(t_there, y_there, rhs(t_there, y_there))
    assert_allclose(library.get(repeated), library.get(found), rtol=0, atol=1e-12)


def test_differences_at_the_edge_of_the_domain(library):
    """A point so close to it that forward differences leave it."""

    def fun(t, y):
        a, b = rows(y)
        return [(1.0 - a) ** 1.5 * b, b**2 + a]

    y = np.array([[0.5, 1 - 1e-9, 0.2], [1.0, 2.0, 3.0]])
    exact = np.zeros((2, 2, 3))
    exact[0, 0] = -1.5 * (1 - y[0]) ** 0.5 * y[1]
    exact[0, 1] = (1 - y[0]) ** 1.5
    exact[1, 0], exact[1, 1] = 1.0, 2 * y[1]
    rhs = Rhs(fun, library.put(y[:, 0]), time_vectorized=True)
    with np.errstate(invalid="ignore"):
        found = DifferencedJacobian(rhs, library.put([[1e-8]]))(
            library.put([0.0, 0.5, 1.0]), library.put(y)
        )
    assert_allclose(library.get(found), exact, rtol=0, atol=2e-3)


def test_increments_of_zeros(library):
    """Components that stay zero are measured by the others."""
    y = np.array([[0.0, 0.0], [1.0, 2.0]])
    rhs = Rhs(lambda t, y: y**2 + 3.0 * y, library.put(y[:, 0]), time_vectorized=True)
    jacobian = DifferencedJacobian(rhs, library.put([[0.0]]))
    found = library.get(jacobian(library.put([0.0, 1.0]), library.put(y)))
    assert_allclose(found[0, 0], 3.0, atol=1e-6)
    assert_allclose(found[1, 1], 2 * y[1] + 3, atol=1e-6)


@for_kinds
@pytest.mark.parametrize("form", ["lists", "array", "one time"])
def test_jacobians_of_the_user(library, kind, form):
    problem, m = Problem(2, kind), 6
    t, y = np.linspace(0, 1, m), problem.random(2, m)
    exact = UserJacobian(problem.jac, problem.x0)(t, y)

    def jac(t, y):
        J = problem.jac(t, y)
        if form == "lists":
            return J
        if form == "one time":
            return (
                [[complex(x) for x in row] for row in J]
                if kind == "complex"
                else [[float(x) for x in row] for row in J]
            )
        zero = 0.0 * y[0, ...]
        return library.xp.stack([library.xp.stack([x + zero for x in r]) for r in J])

    wrapped = wrap_jacobian(jac, 0.0, library.put(problem.x0))
    assert isinstance(wrapped, UserJacobian)
    t, y = library.put(t), library.put(y)
    assert_round_off(library, wrapped(t, y), exact)
    assert wrapped.time_vectorized is (form != "one time")
    assert_round_off(library, wrapped.strict(t, y), exact)


@for_kinds
def test_constant_jacobians(library, kind):
    problem = Problem(3, kind)
    matrix, y0 = np.array(problem.matrix), library.put(problem.x0)
    times = library.put(np.zeros(4))
    for given in (library.put(matrix), matrix, problem.matrix):
        jacobian = wrap_jacobian(given, 0.0, y0)
        assert isinstance(jacobian, ConstantJacobian)
        found = jacobian(times, None)
        assert_round_off(library, found, np.repeat(matrix[..., None], 4, axis=2), 0)


def test_constant_jacobians_of_the_wrong_kind(library):
    y0 = library.put([1.0, 2.0])
    with pytest.raises(TypeError, match="`jac` is complex"):
        wrap_jacobian(library.put(1j * np.eye(2)), 0.0, y0)
    with pytest.raises(ValueError, match=r"`jac`.*\(2, 2\)"):
        wrap_jacobian(library.put(np.eye(3)), 0.0, y0)


@pytest.mark.parametrize("method", ["ScanNewtonImplicit", "ParODE"])
def test_sparse_matrices_are_refused(library, method):
    eye = csr_array(np.eye(40))
    options = {"jac_sparsity": eye}, {"jac": eye}, {"jac_sparsity": np.eye(40)}
    for option in options:
        with pytest.raises(ValueError, match=f"`{next(iter(option))}`.*NumPy"):
            solve_ivp(
                lambda t, y: -y, (0, 1), library.put(np.ones(40)), method, **option
            )


# -- whole solutions -----------------------------------------------------------


@pytest.mark.parametrize("method", ["ScanNewtonImplicit", "ParODE"])
@pytest.mark.parametrize("rtol", [1e-4, 1e-7])
def test_eight_stiff_components(library, method, rtol):
    """HIRES, which takes many single steps with one Jacobian for a step."""
    hires = PROBLEMS["hires"]

    def fun(t, y):
        return hires.fun(t, rows(y))

    options = {"method": method, "rtol": rtol, "atol": 1e-3 * rtol}
    found = solve_ivp(fun, hires.t_span, library.put(hires.y0), **options)
    known = solve_ivp(fun, hires.t_span, hires.y0, **options)
    assert found.success
    assert found.nsteps <= 2 * known.nsteps
    assert found.nit <= 3 * known.nit
    y, expected = library.get(found.y)[:, -1], np.array(hires.reference)
    assert_allclose(y, expected, rtol=50 * rtol)


@for_kinds
@pytest.mark.parametrize("method", ["ScanNewtonImplicit", "ParODE"])
@pytest.mark.parametrize("n", [12, 25])
def test_many_components(library, kind, method, n):
    """Stiff linear systems against the exponential of the matrix."""
    problem = Problem(n, kind)
    # a chain of components with rates from 1 to 1000
    A = np.diag(-np.geomspace(1, 1e3, n)) + np.diag(np.ones(n - 1), -1)
    A = A * (1 + 0.2j) if kind == "complex" else A
    there = library.put(A)
    found = solve_ivp(
        lambda t, y: there @ y,
        (0.0, 1.0),
        library.put(problem.x0),
        method,
        rtol=1e-7,
        atol=1e-9,
    )
    assert found.success
    expected = expm(A) @ problem.x0
    size = np.max(np.abs(expected))
    assert_allclose(library.get(found.y)[:, -1], expected, rtol=0, atol=1e-6 * size)


@for_kinds
@pytest.mark.parametrize("n", [2, 25])
@pytest.mark.parametrize(
    "tableau",
    ["BackwardEuler", "ImplicitMidpoint", "Trapezoid", "GaussLegendre12", "RadauIIA13"],
)
def test_fixed_steps_of_all_kinds(library, tableau, n, kind):
    problem = Problem(n, kind)
    y0 = problem.x0 / n
    options = {"method": "ScanNewtonImplicit", "tableau": tableau, "n_steps": 40}
    found = solve_ivp(problem.fun, (0.0, 0.3), library.put(y0), **options)
    known = solve_ivp(problem.fun, (0.0, 0.3), y0, **options)
    assert found.success
    assert known.success
    assert_round_off(library, found.y, known.y, 1e-11)


@pytest.mark.parametrize("method", ["ScanNewtonImplicit", "ParODE"])
def test_steps_one_by_one(library, method):
    """The decisions are the same, and results to round-off."""
    problem = Problem(2, "real")
    options = {"method": method, "window": 1, "rtol": 1e-6, "atol": 1e-9}
    found = solve_ivp(problem.fun, (0.0, 3.0), library.put(problem.x0), **options)
    known = solve_ivp(problem.fun, (0.0, 3.0), problem.x0, **options)
    counts = [(r.nsteps, r.nit, r.nfev, r.njev, r.nlu) for r in (found, known)]
    assert counts[0] == counts[1]
    assert_round_off(library, found.t, known.t, 1e-9)
    assert_round_off(library, found.y, known.y, 1e-9)
