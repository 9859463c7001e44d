"""Windows shrink where memory ends; where no step fits, a status says so."""

import numpy as np
import pytest
from conftest import FIXED_STEP_OPTIONS
from numpy.testing import assert_allclose

from parivp import solve_ivp


def limited(most_points, counts=None):
    """Van der Pol's equation in a memory of so many points."""

    def fun(t, y):
        if np.ndim(t) and t.shape[0] > most_points:
            raise MemoryError(f"{t.shape[0]} points")
        if counts is not None:
            counts.append(np.size(t))
        return [y[1], (1 - y[0] ** 2) * y[1] - y[0]]

    return fun


@pytest.mark.parametrize("most_points", [40, 400, 4000])
def test_windows_get_shorter(method, most_points):
    options = {"method": method, "rtol": 1e-8, "atol": 1e-10}
    counts = []
    found = solve_ivp(limited(most_points, counts), (0, 60), [2.0, 0.0], **options)
    assert found.success
    known = solve_ivp(limited(1e9), (0, 60), [2.0, 0.0], rtol=1e-11, atol=1e-13)
    assert_allclose(found.y[:, -1], known.y[:, -1], atol=1e-5)
    # still many at once, if there is room for a few steps with all their copies
    assert most_points < 400 or max(counts) > 36


@pytest.mark.parametrize("most_points", [100, 3000])
def test_windows_on_a_mesh_get_shorter(method, most_points):
    options = FIXED_STEP_OPTIONS[method] | {"method": method, "n_steps": 5000}
    found = solve_ivp(limited(most_points), (0, 20), [2.0, 0.0], **options)
    assert found.success
    known = solve_ivp(limited(1e9), (0, 20), [2.0, 0.0], **options)
    assert_allclose(found.y, known.y, atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"n_steps": 400}])
def test_no_room_for_a_step(method, options):
    def fun(t, y):
        if np.any(t > 1.5):
            raise MemoryError("no bytes left")
        return -y

    options = options | ({} if not options else FIXED_STEP_OPTIONS[method])
    found = solve_ivp(fun, (0, 3), [1.0], method, **options)
    assert found.status == -1
    assert not found.success
    assert "memory" in found.message
    assert "no bytes left" in found.message
    assert 1.0 <= found.t[-1] <= 1.5
    assert_allclose(found.y[0], np.exp(-found.t), rtol=2e-3)


def test_single_window_without_room():
    found = solve_ivp(
        limited(100),
        (0, 1),
        [2.0, 0.0],
        tableau="RK4",
        n_steps=1000,
        window=np.inf,
        initial_guess=1.0,
    )
    assert found.status == -1
    assert "memory" in found.message
