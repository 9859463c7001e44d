"""The fixed-step mode: a recursion solved by Newton's method, step for step."""

import math

import numpy as np
import pytest
import scipy.integrate
from conftest import FIXED_STEP_OPTIONS, method_for
from numpy.testing import assert_allclose, assert_array_equal

import parivp

# Orders from the literature the tableaus come from.
ORDERS = {
    "Euler": 1,
    "RK4": 4,
    "RK23": 3,
    "RK45": 5,
    "DOP853": 8,
    "BackwardEuler": 1,
    "ImplicitMidpoint": 2,
    "Trapezoid": 2,
    **{f"RadauIIA{order}": order for order in (3, 5, 7, 9, 11, 13)},
    **{f"GaussLegendre{order}": order for order in (4, 6, 8, 10, 12)},
}

EXPLICIT = [name for name in ORDERS if parivp.TABLEAUS[name].kind == "explicit"]

RK4 = (
    [[], [0.5], [0, 0.5], [0, 0, 1]],
    [1 / 6, 1 / 3, 1 / 3, 1 / 6],
    [0, 0.5, 0.5, 1],
)
EULER = ([[]], [1.0], [0.0])


def coefficients(tableau):
    """Rows of A, weights and nodes: textbook ones, or those of SciPy's classes."""
    if tableau in ("RK4", "Euler"):
        return {"RK4": RK4, "Euler": EULER}[tableau]
    cls = getattr(scipy.integrate, tableau)
    rows = [cls.A[i, :i].tolist() for i in range(cls.n_stages)]
    return rows, cls.B.tolist(), cls.C[: cls.n_stages].tolist()


def recursion(fun, mesh, y0, tableau):
    """Plain sequential steps, in Python numbers: `fun(t, y)` takes tuples."""
    rows, weights, nodes = coefficients(tableau)
    y = tuple(map(float, y0))
    out = [y]
    for t, t_new in zip(mesh[:-1].tolist(), mesh[1:].tolist(), strict=True):
        h = t_new - t
        stages = []
        for row, c in zip(rows, nodes, strict=True):
            moved = [
                yi + h * math.fsum(a * k[i] for a, k in zip(row, stages, strict=True))
                for i, yi in enumerate(y)
            ]
            stages.append(fun(t + c * h, moved))
        y = tuple(
            yi + h * math.fsum(b * k[i] for b, k in zip(weights, stages, strict=True))
            for i, yi in enumerate(y)
        )
        out.append(y)
    return np.array(out).T


# The three explicit problems of Iacob, Razavi and Särkkä, Section 4.1: arrays for
# the solver, tuples of numbers for the recursion.


def logistic(t, y):
    return [y[0] * (1 - y[0])]


def van_der_pol(t, y):
    return [y[1], (1 - y[0] ** 2) * y[1] - y[0]]


def cart_pole_with(sin, cos):
    g, length, m_cart, m_pole = 9.81, 0.5, 10.0, 1.0

    def fun(t, y):
        _, theta, v, w = y
        s, c = sin(theta), cos(theta)
        q = m_cart + m_pole * s**2
        torque = m_pole * length * w**2 * c * s + (m_cart + m_pole) * g * s
        return [v, w, m_pole * s * (length * w**2 + g * c) / q, -torque / (length * q)]

    return fun


def logistic_jac(t, y):
    return [[1 - 2 * y[0]]]


def van_der_pol_jac(t, y):
    zero, one = np.zeros_like(y[0]), np.ones_like(y[0])
    return np.array([[zero, one], [-2 * y[0] * y[1] - 1, 1 - y[0] ** 2]])


cart_pole = cart_pole_with(np.sin, np.cos)


def cart_pole_jac(t, y):
    """Derivatives by complex steps, which are exact to rounding."""
    step = 1e-30
    columns = []
    for j in range(4):
        moved = np.array(y, dtype=complex)
        moved[j] += 1j * step
        columns.append(np.stack([np.imag(f) / step for f in cart_pole(t, moved)]))
    return np.stack(columns, axis=1)


# name: fun, the same on numbers, its Jacobian, end, y0, guess of the paper
PAPER = {
    "logistic": (logistic, logistic, logistic_jac, 10.0, [0.1], 1.0),
    "van der Pol": (van_der_pol, van_der_pol, van_der_pol_jac, 10.0, [0.0, 1.0], 1.0),
    "cart-pole": (
        cart_pole,
        cart_pole_with(math.sin, math.cos),
        cart_pole_jac,
        4.0,
        [0.0, math.pi / 2, 0.0, 0.0],
        0.0,
    ),
}


def assert_reproduces(result, expected):
    """Relative to the size of each component, since they pass through zero."""
    size = np.max(np.abs(expected), axis=1, keepdims=True)
    assert_allclose(result.y / size, expected / size, rtol=0, atol=1e-11)


@pytest.mark.parametrize("problem", PAPER)
@pytest.mark.parametrize("tableau", EXPLICIT)
@pytest.mark.parametrize("window", [None, np.inf])
def test_reproduces_the_recursion(problem, tableau, window):
    fun, scalar_fun, _, tf, y0, guess = PAPER[problem]
    n_steps = 2000
    result = parivp.solve_ivp(
        fun,
        (0, tf),
        y0,
        tableau=tableau,
        n_steps=n_steps,
        window=window,
        initial_guess=None if window is None else guess,
    )
    assert result.status == 0
    assert result.nsteps == n_steps
    assert result.t.size == n_steps + 1
    assert_allclose(result.t, np.linspace(0, tf, n_steps + 1), rtol=1e-14)
    assert_reproduces(result, recursion(scalar_fun, result.t, y0, tableau))


@pytest.mark.parametrize("problem", PAPER)
@pytest.mark.parametrize("n_steps", [1_000, 10_000])
@pytest.mark.parametrize("with_jac", [False, True])
def test_reproduces_rk4_at_the_step_sizes_of_the_paper(problem, n_steps, with_jac):
    fun, scalar_fun, jac, tf, y0, _ = PAPER[problem]
    result = parivp.solve_ivp(
        fun,
        (0, tf),
        y0,
        tableau="RK4",
        n_steps=n_steps,
        jac=jac if with_jac else None,
    )
    assert_reproduces(result, recursion(scalar_fun, result.t, y0, "RK4"))


@pytest.mark.slow
@pytest.mark.parametrize("problem", PAPER)
@pytest.mark.parametrize("n_steps", [100_000, 1_000_000])
def test_reproduces_rk4_over_many_steps(problem, n_steps):
    fun, scalar_fun, _, tf, y0, _ = PAPER[problem]
    result = parivp.solve_ivp(fun, (0, tf), y0, tableau="RK4", n_steps=n_steps)
    assert_reproduces(result, recursion(scalar_fun, result.t, y0, "RK4"))


@pytest.mark.parametrize("tableau", EXPLICIT)
@pytest.mark.parametrize("direction", [1, -1])
def test_mesh_is_taken_as_it_is(tableau, direction):
    """Uneven steps, in both directions, with a right-hand side that uses t."""
    rng = np.random.default_rng(0)
    mesh = direction * np.concatenate([[0], np.cumsum(rng.uniform(0.001, 0.03, 200))])

    def fun(t, y):
        return [y[1] * np.cos(t), -y[0] - 0.1 * y[1] * y[0]]

    def scalar_fun(t, y):
        return [y[1] * math.cos(t), -y[0] - 0.1 * y[1] * y[0]]

    result = parivp.solve_ivp(
        fun, (mesh[0], mesh[-1]), [1.0, 0.5], tableau=tableau, mesh=mesh
    )
    assert_array_equal(result.t, mesh)
    assert_reproduces(result, recursion(scalar_fun, mesh, [1.0, 0.5], tableau))


def test_one_step():
    result = parivp.solve_ivp(logistic, (0, 0.5), [0.1], tableau="RK4", n_steps=1)
    expected = recursion(logistic, np.array([0, 0.5]), [0.1], "RK4")
    assert_array_equal(result.t, [0, 0.5])
    assert_allclose(result.y, expected, rtol=1e-14)


def test_stiff_recursion_blows_up_as_it_should():
    """Euler with h lambda = -3 doubles with alternating sign, exactly."""
    result = parivp.solve_ivp(
        lambda t, y: -3 * y, (0, 20), [1.0], tableau="Euler", n_steps=20
    )
    assert_allclose(result.y[0], (-2.0) ** np.arange(21), rtol=1e-11)


def test_complex_recursion():
    """y' = i y by Euler: powers of 1 + i h."""
    result = parivp.solve_ivp(
        lambda t, y: 1j * y, (0, 3), [1 + 0j], tableau="Euler", n_steps=300
    )
    assert_allclose(result.y[0], (1 + 0.01j) ** np.arange(301), rtol=1e-11)


def test_dense_output_t_eval_and_events():
    """On the mesh the dense output is the recursion; between, of its order."""
    n_steps = 500

    def ascending(t, y):
        return y[0] - 0.5

    result = parivp.solve_ivp(
        logistic,
        (0, 10),
        [0.1],
        tableau="RK4",
        n_steps=n_steps,
        dense_output=True,
        events=ascending,
    )
    exact = 1 / (1 + 9 * np.exp(-result.t))
    assert_allclose(result.sol(result.t), result.y, rtol=1e-15, atol=1e-15)
    assert_allclose(result.y[0], exact, rtol=1e-7)
    assert_allclose(result.t_events[0], [np.log(9)], rtol=1e-7)
    t = np.linspace(0, 10, 77)
    sampled = parivp.solve_ivp(
        logistic, (0, 10), [0.1], tableau="RK4", n_steps=n_steps, t_eval=t
    )
    assert_array_equal(sampled.t, t)
    assert_allclose(sampled.y, result.sol(t), rtol=1e-13)
    assert sampled.nsteps == n_steps


def test_terminal_event_ends_the_recursion():
    def half(t, y):
        return y[0] - 0.5

    half.terminal = True
    result = parivp.solve_ivp(
        logistic, (0, 10), [0.1], tableau="RK4", n_steps=500, events=half
    )
    assert result.status == 1
    assert_allclose(result.t[-1], np.log(9), rtol=1e-7)


# -- Newton's iteration -------------------------------------------------------------

# Largest residual by iteration, beginning with that of the guess, at dt = 0.01, from
# the paper's guesses, as printed (Iacob, Razavi and Särkkä, Figure 2, in figures).
HISTORIES = {
    "logistic": {
        0: ".9",
        1: "8e-3",
        2: "1e-3",
        3: "3e-4",
        4: "2e-5",
        5: "2.6e-8",
        6: "5e-14",
    },
    "van der Pol": {7: "5.8e-7", 8: "5.6e-13"},
    "cart-pole": {7: "1.2e-6", 8: "1.3e-14"},
}
# From here on the residual is rounding only; the size of the state bounds it.
ROUNDING = {"logistic": (7, 1e-16), "van der Pol": (9, 4e-16), "cart-pole": (9, 8e-16)}


def half_a_unit(printed):
    """Half a unit in the last place of a number as printed."""
    mantissa, _, exponent = printed.partition("e")
    places = len(mantissa.partition(".")[2])
    return 0.5 * 10.0 ** (int(exponent or 0) - places)


def history(problem, jac):
    fun, _, analytic, tf, y0, guess = PAPER[problem]
    result = parivp.solve_ivp(
        fun,
        (0, tf),
        y0,
        tableau="RK4",
        n_steps=round(tf / 1e-2),
        window=np.inf,
        initial_guess=guess,
        jac=analytic if jac else None,
        newton_tol=1e-15,
        max_newton=12,
    )
    assert len(result.newton_residuals) == 1
    return result.newton_residuals[0]


@pytest.mark.parametrize("problem", HISTORIES)
def test_residual_history_of_the_paper(problem):
    residuals = history(problem, jac=True)
    rounding = 4 * np.finfo(float).eps
    for k, printed in HISTORIES[problem].items():
        assert abs(residuals[k] - float(printed)) <= half_a_unit(printed) + rounding
    last, printed = ROUNDING[problem]
    assert np.all(residuals[last:] <= 2 * printed)


@pytest.mark.parametrize("problem", HISTORIES)
def test_residual_history_with_difference_quotients(problem):
    """Their error, sqrt(eps), shows in the last iterations only."""
    residuals = history(problem, jac=False)
    for k, printed in HISTORIES[problem].items():
        if float(printed) > 1e-7:
            assert abs(residuals[k] - float(printed)) <= half_a_unit(printed)
    assert residuals[-1] < 1e-13


@pytest.mark.parametrize("problem", PAPER)
@pytest.mark.parametrize("with_jac", [False, True])
def test_newton_converges_quadratically(problem, with_jac):
    """One iteration squares the distance of the guess from the solution.

    Theorem 3.1 of the paper, measured: the residual after one iteration from
    guesses at decreasing distances, by regression.
    """
    fun, scalar_fun, jac, tf, y0, _ = PAPER[problem]
    mesh = np.linspace(0, tf, 201)
    solution = recursion(scalar_fun, mesh, y0, "RK4")
    distances = 10.0 ** -np.arange(2.5, 4.01, 0.25)
    residuals = []
    for distance in distances:
        result = parivp.solve_ivp(
            fun,
            (0, tf),
            y0,
            tableau="RK4",
            mesh=mesh,
            window=np.inf,
            initial_guess=solution + distance * np.sin(3 * mesh),
            jac=jac if with_jac else None,
            newton_tol=1e-14,
        )
        residuals.append(result.newton_residuals[0][:2])
    first, second = np.log(residuals).T
    assert abs(np.polyfit(np.log(distances), first, 1)[0] - 1) < 0.1
    assert abs(np.polyfit(np.log(distances), second, 1)[0] - 2) < 0.1


def test_linear_problem_takes_one_iteration():
    """Newton's method is exact on it, whatever the guess."""
    result = parivp.solve_ivp(
        lambda t, y: [y[1], -y[0]],
        (0, 5),
        [1.0, 0.0],
        tableau="RK4",
        n_steps=500,
        window=np.inf,
        initial_guess=3.0,
        jac=np.array([[0.0, 1.0], [-1.0, 0.0]]),
        newton_tol=1e-13,
    )
    residuals = result.newton_residuals[0]
    assert residuals[0] > 1
    assert residuals[1] < 1e-13


def test_linear_complex_problem_takes_few_iterations():
    """y' = i conj(y) is linear over the reals: difference quotients are enough."""
    result = parivp.solve_ivp(
        lambda t, y: 1j * np.conj(y),
        (0, 2),
        [1 - 0.5j],
        tableau="RK4",
        n_steps=200,
        window=np.inf,
        initial_guess=3.0,
        newton_tol=1e-13,
    )
    residuals = result.newton_residuals[0]
    assert residuals[0] > 1
    assert residuals[1] < 1e-6  # the difference quotients' error, sqrt(eps)
    assert residuals[2] < 1e-12


def test_initial_guess_that_is_the_solution_leaves_nothing_to_do():
    first = parivp.solve_ivp(logistic, (0, 10), [0.1], tableau="RK4", n_steps=400)
    again = parivp.solve_ivp(
        logistic,
        (0, 10),
        [0.1],
        tableau="RK4",
        n_steps=400,
        window=np.inf,
        initial_guess=first.y,
    )
    assert again.newton_residuals[0][0] < 1e-14
    assert again.nit <= 1
    assert_allclose(again.y, first.y, rtol=1e-13)


@pytest.mark.parametrize("guess", [0.0, 1.0, 1e8, lambda t: [np.nan, 0 * t]])
def test_a_bad_guess_costs_one_window(guess):
    """It is not asked for again where most of its window is lost."""
    options = {"tableau": "RK4", "n_steps": 20_000}
    known = parivp.solve_ivp(van_der_pol, (0, 10), [0.0, 1.0], **options)
    options["initial_guess"] = guess
    found = parivp.solve_ivp(van_der_pol, (0, 10), [0.0, 1.0], **options)
    assert found.success
    assert known.nit <= found.nit <= known.nit + 4
    assert found.nfev <= 2 * known.nfev
    assert_allclose(found.y, known.y, rtol=0, atol=1e-10)


def test_a_guess_that_is_good_for_most_of_a_window_is_asked_for_again():
    asked = []

    def guess(t):
        asked.append(np.size(t))
        y = np.stack([np.cos(t), -np.sin(t)])
        return np.where(np.less(t, 8), y, 1e3)

    found = parivp.solve_ivp(
        lambda t, y: np.stack([y[1], -y[0]]),
        (0, 10),
        [1.0, 0.0],
        tableau="RK4",
        n_steps=1000,
        window=1000,
        initial_guess=guess,
    )
    assert found.success
    # for all, and for what was left; there it leads nowhere
    assert len([n for n in asked if n > 1]) == 2
    assert_allclose(found.y[0], np.cos(found.t), rtol=0, atol=1e-8)


@pytest.mark.parametrize("window", [1, 2, 3, None])
@pytest.mark.parametrize("n_steps", [1, 2, 5])
def test_a_bad_guess_for_few_steps(n_steps, window):
    options = {"tableau": "RK4", "n_steps": n_steps}
    known = parivp.solve_ivp(van_der_pol, (0, 0.5), [0.0, 1.0], **options)
    options |= {"initial_guess": lambda t: [np.nan, 0 * t], "window": window}
    found = parivp.solve_ivp(van_der_pol, (0, 0.5), [0.0, 1.0], **options)
    assert found.success
    assert_allclose(found.y, known.y, rtol=1e-12)


def test_a_good_guess_serves_all_windows():
    """It is asked for again, and again, and nothing else."""
    asked = []

    def guess(t):
        asked.append(np.size(t))
        return np.stack([np.cos(t), -np.sin(t)]) + 1e-3

    found = parivp.solve_ivp(
        lambda t, y: np.stack([y[1], -y[0]]),
        (0, 10),
        [1.0, 0.0],
        tableau="RK4",
        n_steps=5000,
        window=500,
        initial_guess=guess,
    )
    assert found.success
    assert [n for n in asked if n > 1] == [500] * 10
    assert_allclose(found.y[0], np.cos(found.t), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["scalar", "state", "array", "function"])
def test_forms_of_the_initial_guess(kind):
    """All say the same: 0.5 everywhere."""
    guess = {
        "scalar": 0.5,
        "state": [0.5],
        "array": np.full((1, 201), 0.5),
        "function": lambda t: np.array([0.5]),
    }[kind]
    options = {"tableau": "RK4", "n_steps": 200, "window": np.inf}
    result = parivp.solve_ivp(
        logistic, (0, 2), [0.1], initial_guess=guess, newton_tol=1e-14, **options
    )
    h = 2 / 200
    # residuals of the first iterate: one RK4 step from 0.5, but from 0.1 the first
    steps = recursion(logistic, np.array([0, h]), [0.5], "RK4")[0, -1] - 0.5
    first = recursion(logistic, np.array([0, h]), [0.1], "RK4")[0, -1] - 0.5
    expected = max(abs(steps), abs(first))
    assert_allclose(result.newton_residuals[0][0], expected, rtol=1e-12)
    assert_allclose(result.y[0], 1 / (1 + 9 * np.exp(-result.t)), rtol=1e-7)


def test_too_few_newton_iterations_are_reported():
    result = parivp.solve_ivp(
        van_der_pol,
        (0, 10),
        [0.0, 1.0],
        tableau="RK4",
        n_steps=1000,
        window=np.inf,
        initial_guess=1.0,
        max_newton=3,
    )
    assert result.status == -1
    assert "did not converge" in result.message
    assert "3 iterations" in result.message


# -- order -----------------------------------------------------------------------------


def attracted(t, y):
    """Nonlinear, coupled, depends on t; solution (sin, cos) of t squared."""
    u, v = y[0], y[1]
    r = u**2 + v**2 - 1
    return [2 * t * v - u * r, -2 * t * u - v * r]


# tableau: end, and the largest number of steps: in the asymptotic regime, where
# errors are still well above rounding
ORDER_RANGES = {
    "Euler": (2, 4000),
    "RK4": (4, 800),
    "RK23": (4, 800),
    "RK45": (6, 800),
    "DOP853": (6, 240),
    "BackwardEuler": (2, 4000),
    "ImplicitMidpoint": (2, 4000),
    "Trapezoid": (2, 4000),
    "RadauIIA3": (2, 4000),
    "RadauIIA5": (4, 800),
    "RadauIIA7": (4, 200),
    "RadauIIA9": (6, 240),
    "RadauIIA11": (6, 110),
    "RadauIIA13": (12, 230),
    "GaussLegendre4": (4, 800),
    "GaussLegendre6": (4, 800),
    "GaussLegendre8": (6, 400),
    "GaussLegendre10": (6, 120),
    "GaussLegendre12": (12, 260),
}


@pytest.mark.parametrize("tableau", ORDERS)
def test_order_of_convergence(tableau):
    """Slope of the largest error over the step size, by regression."""
    assert parivp.TABLEAUS[tableau].order == ORDERS[tableau]
    tf, most = ORDER_RANGES[tableau]
    counts = np.round(most * 2.0 ** np.arange(-1.5, 0.25, 0.25)).astype(int)
    errors = []
    for n_steps in counts:
        result = parivp.solve_ivp(
            attracted,
            (0, tf),
            [0.0, 1.0],
            method_for(tableau),
            tableau=tableau,
            n_steps=int(n_steps),
        )
        exact = [np.sin(result.t**2), np.cos(result.t**2)]
        errors.append(np.max(np.linalg.norm(result.y - exact, axis=0)))
    slope = np.polyfit(np.log(tf / counts), np.log(errors), 1)[0]
    assert abs(slope - ORDERS[tableau]) < 0.2


def test_every_tableau_is_tested():
    assert set(parivp.TABLEAUS) == set(ORDERS)


@pytest.mark.parametrize("window", [None, 500, np.inf])
def test_fine_mesh_backward_in_time(method, window):
    """Many steps for one of the predictor, in the direction of falling time."""
    fun, y0, n_steps = (lambda t, y: [y[1], -np.sin(y[0])]), [1.0, 0.0], 4000
    options = FIXED_STEP_OPTIONS[method] | {"n_steps": n_steps}
    back = parivp.solve_ivp(fun, (5, 0), y0, method, window=window, **options)
    mirrored = parivp.solve_ivp(
        lambda t, y: [-y[1], np.sin(y[0])], (0, 5), y0, method, **options
    )
    assert back.status == 0
    assert_allclose(back.y[:, -1], mirrored.y[:, -1], rtol=1e-11)


@pytest.mark.parametrize("time_vectorized", [None, False])
def test_max_steps_ends_a_fixed_mesh(method, time_vectorized):
    result = parivp.solve_ivp(
        lambda t, y: -y,
        (0, 1),
        [1.0],
        method,
        **FIXED_STEP_OPTIONS[method],
        n_steps=100,
        max_steps=40,
        time_vectorized=time_vectorized,
    )
    assert result.status == -1
    assert "max_steps" in result.message
    assert len(result.t) == 41


@pytest.mark.parametrize("kind", ["random", "geometric", "two densities"])
def test_fine_uneven_mesh(kind):
    """Guess and Jacobians are interpolated between points of an uneven mesh."""
    rng = np.random.default_rng(0)
    mesh = {
        "random": np.concatenate([[0], np.cumsum(rng.uniform(1e-4, 3e-3, 5000))]),
        "geometric": np.geomspace(1e-3, 8, 5001),
        "two densities": np.r_[np.linspace(0, 4, 4000), np.linspace(4, 8, 1001)[1:]],
    }[kind]
    result = parivp.solve_ivp(
        van_der_pol, (mesh[0], mesh[-1]), [0.0, 1.0], tableau="RK4", mesh=mesh
    )
    assert result.nit > 0
    assert_reproduces(result, recursion(van_der_pol, mesh, [0.0, 1.0], "RK4"))


def test_calls_of_a_failing_predictor_are_counted():
    """The function raises ahead of time, where `max_steps` keeps the steps from."""
    n_points = 0

    def fun(t, y):
        nonlocal n_points
        n_points += np.size(t)
        if np.any(t > 1.5):
            raise ValueError("far ahead")
        return -y

    result = parivp.solve_ivp(
        fun, (0, 2), [1.0], tableau="RK4", n_steps=3000, max_steps=2000
    )
    assert_allclose(result.y[0], np.exp(-result.t), rtol=1e-12)
    assert len(result.t) == 2001
    assert result.nfev == n_points
