"""Nothing of a solve stays on the device behind it."""

import gc

import numpy as np
import pytest
from array_libraries import find_library
from numpy.testing import assert_allclose

from parivp import _chebyshev, solve_ivp
from parivp._array_namespace import as_list
from parivp._butcher import _Placed
from parivp._chebyshev import TotalDegreeBasis
from parivp._rhs import Rhs


def placed_tableaus():
    """Number of tableaus whose coefficients are on a device."""
    gc.collect()
    return sum(isinstance(x, _Placed) for x in gc.get_objects())


@pytest.mark.parametrize("n", [1, 12])
def test_constants_go_with_the_solver(library, method, n):
    """What was brought to the device for a solve, and made of it there."""
    before = placed_tableaus()
    y0 = library.put(np.linspace(0.1, 0.5, n))
    found = solve_ivp(lambda t, y: y * (1.0 - y), (0, 3), y0, method)
    assert found.success
    assert placed_tableaus() == before


@pytest.mark.parametrize("n", [0, 1])
def test_lists_of_no_and_one_component(library, method, n):
    found = solve_ivp(lambda t, y: [1.0] * n, (0, 1), library.put(np.zeros(n)), method)
    assert found.success
    assert library.get(found.y).shape[0] == n
    assert_allclose(library.get(found.y)[:, -1], [1.0] * n, rtol=1e-12)


def test_short_lists_are_read_together():
    """What steers the solver, as Python's numbers of each kind."""
    library = find_library("array_api_strict")
    for values in ([True, False], [3, 0, 2], [0.5, -1.0], []):
        for array in (library.put(values), np.asarray(values)):
            found = as_list(array)
            assert found == values
            assert [type(x) for x in found] == [type(x) for x in values]


def test_devices_need_no_hash(monkeypatch):
    """As those of CuPy have none; from three variables on orders are kept."""
    library = find_library("array_api_strict")
    monkeypatch.setattr(_chebyshev, "device_of", lambda x: [x.device])
    basis, x = TotalDegreeBasis(3, 2), library.put([[0.5], [0.25], [-1.0]])
    for _ in range(2):  # made, and found again
        found = library.get(basis.values(library.xp, x))
        assert_allclose(found, basis.values(np, library.get(x)), rtol=1e-14)


def test_no_memory_for_single_calls_is_no_sign(library):
    """That `fun` does not broadcast is not concluded from where memory ends."""
    full = [False]

    def fun(t, y):
        if full[0] and isinstance(t, float):
            raise MemoryError
        return -y

    rhs = Rhs(fun, library.put([1.0]))
    t, y = library.put([0.0, 1.0, 2.0]), library.put([[1.0, 2.0, 3.0]])
    full[0] = True
    with pytest.raises(MemoryError):
        rhs(t, y)
    full[0] = False
    assert_allclose(library.get(rhs(t, y)), [[-1.0, -2.0, -3.0]])
    assert rhs.time_vectorized
