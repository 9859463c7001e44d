"""The paper's formulations of ParODE on other array libraries, as NumPy's results."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from parivp import solve_ivp

# Options that solve the example on [0, 2] at the default tolerance.
OPTIONS = {
    "method": "ParODE",
    "formulation": "residual",
    "n_basis": (12, 12),
    "basis": "chebyshev",
    "n_samples": 5000,
    "reg_lambda": 1e-6,
    "dense_output": True,
}


def toy_of(sin):
    """The example of the paper, with the sine of a library."""

    def toy(t, y):
        return -(y**3) + (math.sin(t) if isinstance(t, float) else sin(t))

    return toy


def solve_both(library, t_span=(0, 2), y0=0.5, **options):
    """Solve there, and by NumPy."""
    options = OPTIONS | options
    found = solve_ivp(toy_of(library.xp.sin), t_span, library.put([y0]), **options)
    return found, solve_ivp(toy_of(np.sin), t_span, [y0], **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_steps": 50},
        {"mesh": np.linspace(0, 2, 31)},
        {"initial_guess": 0.4},
        {"basis": "monomial", "t_span": (0, 0.5), "n_basis": (8, 8), "rtol": 1e-2},
        {"t_span": (2, 1.5)},
        {"max_steps": 17},
    ],
)
def test_meets_numpy(library, options):
    found, expected = solve_both(library, **options)
    assert (found.success, found.message) == (expected.success, expected.message)
    assert expected.success == ("max_steps" not in options)
    assert found.backend == library.name
    assert (found.nfev, found.nlu) == (expected.nfev, expected.nlu)
    assert_allclose(library.get(found.t), expected.t, rtol=1e-14, atol=1e-14)
    # the normal equations are ill-conditioned, as their regularization allows
    assert_allclose(library.get(found.y), expected.y, rtol=0, atol=1e-8)
    t = np.linspace(expected.t[0], expected.t[-1], 9)
    assert_allclose(library.get(found.sol(t)), expected.sol(t), rtol=0, atol=1e-8)
    for history, known in zip(
        found.newton_residuals, expected.newton_residuals, strict=True
    ):
        assert_allclose(history, known, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        # how far more iterations come depends on rounding errors
        ({"formulation": "simple", "max_newton": 20}, "did not converge"),
        ({"rtol": 1e-10, "atol": 1e-13}, "do not satisfy the differential equation"),
    ],
)
def test_no_solution_is_said_so(library, options, reason):
    found, expected = solve_both(library, **options)
    assert found.status == expected.status == -1
    assert reason in found.message
    assert reason in expected.message
    assert library.get(found.y)[0, 0] == 0.5


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_not_finite(library):
    found = solve_ivp(lambda t, y: y**0.5, (0, 1), library.put([0.5]), **OPTIONS)
    assert found.status == -1
    assert "not finite" in found.message


def test_nothing_to_do(library):
    found = solve_ivp(lambda t, y: -y, (1.0, 1.0), library.put([0.5]), **OPTIONS)
    assert found.success
    assert_array_equal(library.get(found.y), [[0.5, 0.5]])


def test_problems_that_it_is_not_for(library):
    for y0 in ([1.0, 2.0], [1j]):
        with pytest.raises(ValueError, match="is for"):
            solve_ivp(lambda t, y: -y, (0, 1), library.put(y0), **OPTIONS)


def test_reads_do_not_grow_with_samples_and_steps(library, reads):
    numbers = []
    for n in (1, 2, 4):
        options = {"n_samples": 2000 * n, "n_steps": 50 * n, "time_vectorized": True}
        reads.clear()
        fun = toy_of(library.xp.sin)
        found = solve_ivp(fun, (0, 2), library.put([0.5]), **OPTIONS | options)
        assert found.success
        numbers.append(len(reads))
    assert 0 < max(numbers) <= min(numbers) + 20
    assert set(reads) == {()}
