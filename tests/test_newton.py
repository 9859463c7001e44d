"""When Newton's method takes itself for converged: updates that are prescribed."""

import numpy as np
import pytest
from array_libraries import LIBRARIES, find_library
from numpy.testing import assert_allclose, assert_array_equal

from parivp._array_namespace import array_namespace, running_max
from parivp._newton import newton

RTOL = 1e-10


class Prescribed:
    """A discretization and its linearizations, whose updates are known beforehand.

    Parameters
    ----------
    updates : list of array, shape (n, N)
    """

    determined, of_all_stages = True, False

    def __init__(self, updates):
        self.updates = iter([update[:, None, :] for update in updates])
        self.jacobians = updates[0]

    def linearize(self, mesh, left, Y):
        return *self.residual(mesh, left, Y), self

    def residual(self, mesh, left, Y):
        return next(self.updates), Y

    def reach(self, x, Y, residual):
        return array_namespace(x).max(abs(x), axis=1, keepdims=True)

    def solve(self, residual):
        return residual

    def first(self, n):
        return self


@pytest.fixture(params=["numpy", *LIBRARIES])
def put(request):
    """Function that makes an array of the library."""
    return np.asarray if request.param == "numpy" else find_library(request.param).put


def run(put, states, updates, **options):
    """Run as many iterations as there are updates; the initial state is zero."""
    states = np.array(states)
    return newton(
        Prescribed([put(update) for update in updates]),
        put(np.arange(states.shape[1] + 1.0)),
        put(np.zeros(states.shape[0])),
        put(states[:, None, :]),
        tol=lambda x, size: RTOL * size,
        max_iter=len(updates),
        **options,
    )


def test_states_that_hardly_leave_zero_do_not_pass_for_contraction(put):
    """The first step meets its update at once, others contract by a hundredth.

    The first update of the first step is the largest in units of the tolerance, which
    is relative to a tiny state; beside it that of the others would have contracted by
    1e-6, so that what is above the tolerance a thousandfold would seem to be done.
    """
    states = [[1e-12, 1.0, 1.0]]
    updates = [[[1e-13, 1e-5, 1e-5]], [[0.0, 1e-7, 1e-7]], [[0.0, 1e-9, 1e-9]]]
    result = run(put, states, updates[:2])
    assert result.n_converged == 1
    result = run(put, states, updates)
    assert result.n_converged == 3
    assert len(result.residuals) == 3


@pytest.mark.parametrize("shorten", [True, False])
def test_converged_head(put, shorten):
    """Leading steps that contract well are done, if steps may be given up."""
    states = [[1.0] * 6]
    first, second = [1e-6] * 3 + [1e-3] * 3, [1e-12] * 3 + [9e-4] * 3
    result = run(put, states, [[first], [second]], shorten=shorten)
    assert result.n_converged == (3 if shorten else 0)


def test_steps_that_were_cut_off_do_not_pass_for_contraction(put):
    """Only updates of the steps that are left are compared."""
    states = [[1.0, 1.0, 1.0]]
    updates = [[[1e-7, 1e-7, 0.3]], [[0.9e-7, 0.9e-7, 0.6]]]
    result = run(put, states, updates)
    assert result.Y.shape[-1] == 2
    assert result.n_converged == 0


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 32, 256, 257, 2000])
def test_running_max(put, n):
    values = np.random.default_rng(n).standard_cauchy((2, 3, n))
    x = put(values)
    found = running_max(array_namespace(x), x)
    assert_array_equal(found.shape, values.shape)
    exact = put(np.maximum.accumulate(values, axis=-1))
    assert bool(array_namespace(x).all(found == exact))


def test_series_of_updates(put):
    """What is left is a geometric series of the contraction that was observed."""
    result = run(put, [[1.0, 1.0]], [[[1e-6, 0.0]], [[1e-7, 0.0]]])
    assert_allclose(result.kept[1], 0.1 / 0.9, rtol=1e-12)
