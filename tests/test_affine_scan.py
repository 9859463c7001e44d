"""Every backend of `affine_scan` against a plain loop."""

import numpy as np
import pytest

import parivp
from parivp._scan import SCAN_BACKENDS

BACKENDS = sorted(set(SCAN_BACKENDS) - {"cuda"})
LENGTHS = (0, 1, 2, 31, 32, 33, 1000, 4097)
DTYPES = (np.float32, np.float64, np.complex128)


def loop(A, b, u0=None):
    """The definition, in extended precision where there is one."""
    wide = np.clongdouble if np.iscomplexobj(A) else np.longdouble
    u = np.zeros(b.shape, dtype=wide)
    previous = np.zeros(b.shape[1:], dtype=wide) if u0 is None else u0.astype(wide)
    for k in range(len(b)):
        previous = A[k].astype(wide) @ previous + b[k]
        u[k] = previous
    return u


def bound(A, b, u0=None):
    """Rounding errors of a scan are at most eps times this.

    The recursion of the absolute values, ``|A_k| v_{k-1} + |b_k|``, bounds every
    intermediate result, and each operation on d-vectors adds at most ``d + 1``
    roundings relative to it.  Composing maps pairwise does so on each of
    ``2 log2(N) + 2`` levels; in a loop the errors of earlier steps decay with
    the norm 0.9 of the matrices of `problem`, which sums to 10 of them.
    """
    v = loop(np.abs(A), np.abs(b), None if u0 is None else np.abs(u0))
    n_steps, d = b.shape
    return (d + 1) * (2 * np.log2(max(n_steps, 1)) + 12) * np.max(v, initial=0)


def problem(n_steps, d, dtype, seed=0):
    """Random maps that do not commute; |A_k| has the row sums 0.9."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((n_steps, d, d))
    b = rng.standard_normal((n_steps, d))
    u0 = rng.standard_normal(d)
    if np.issubdtype(dtype, np.complexfloating):
        A = A + 1j * rng.standard_normal((n_steps, d, d))
        b = b + 1j * rng.standard_normal((n_steps, d))
        u0 = u0 + 1j * rng.standard_normal(d)
    A *= 0.9 / np.abs(A).sum(axis=-1, keepdims=True)
    return A.astype(dtype), b.astype(dtype), u0.astype(dtype)


def assert_meets_loop(u, A, b, u0=None):
    assert u.shape == b.shape
    assert u.dtype == b.dtype
    eps = np.finfo(b.dtype).eps
    expected = loop(A, b, u0)
    assert np.all(np.abs(u - expected) <= eps * bound(A, b, u0))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_steps", LENGTHS)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_awkward_lengths(backend, dtype, n_steps, d):
    A, b, _ = problem(n_steps, d, dtype)
    assert_meets_loop(parivp.affine_scan(A, b, backend=backend), A, b)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("d", range(1, 17))
def test_dimensions(backend, d):
    A, b, u0 = problem(33, d, np.float64, seed=d)
    assert_meets_loop(parivp.affine_scan(A, b, backend=backend), A, b)
    assert_meets_loop(parivp.affine_scan(A, b, u0, backend=backend), A, b, u0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_steps", [0, 1, 2, 1000])
def test_initial_state(backend, dtype, n_steps):
    A, b, u0 = problem(n_steps, 4, dtype)
    u = parivp.affine_scan(A, b, u0, backend=backend)
    assert_meets_loop(u, A, b, u0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_operand_order(backend):
    """Shears and a rotation: every product depends on the order, exactly."""
    shear = np.array([[1.0, 2.0], [0.0, 1.0]])
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    A = np.stack([shear, turn, shear, turn, turn, shear])
    b = np.array([[1.0, 0], [0, 1], [0, 0], [1, 1], [0, 0], [2, 0]])
    # by hand: u_k = A_k u_{k-1} + b_k
    by_hand = [[1, 0], [0, 2], [4, 2], [-1, 5], [-5, -1], [-5, -1]]
    np.testing.assert_array_equal(parivp.affine_scan(A, b, backend=backend), by_hand)


@pytest.mark.parametrize("backend", BACKENDS)
def test_first_matrix_acts_on_the_initial_state_only(backend):
    A, b, u0 = problem(5, 2, np.float64)
    other = A.copy()
    other[0] = 1e3
    u = parivp.affine_scan(A, b, backend=backend)
    np.testing.assert_array_equal(parivp.affine_scan(other, b, backend=backend), u)
    v = parivp.affine_scan(A, b, u0, backend=backend)
    w = parivp.affine_scan(other, b, u0, backend=backend)
    assert not np.allclose(v, w)


@pytest.mark.parametrize("backend", BACKENDS)
def test_growth_over_many_magnitudes(backend):
    """Doubling is exact in binary, up to 2**1000."""
    A = np.full((1000, 1, 1), 2.0)
    b = np.zeros((1000, 1))
    u = parivp.affine_scan(A, b, np.ones(1), backend=backend)
    np.testing.assert_array_equal(u[:, 0], 2.0 ** np.arange(1, 1001))


@pytest.mark.parametrize("backend", BACKENDS)
def test_arguments_are_not_changed(backend):
    A, b, u0 = problem(33, 3, np.float64)
    copies = A.copy(), b.copy(), u0.copy()
    parivp.affine_scan(A, b, u0, backend=backend)
    for array, copy in zip((A, b, u0), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("backend", BACKENDS)
def test_non_contiguous_arguments(backend):
    A, b, _ = problem(66, 3, np.float64)
    A, b = np.asfortranarray(A)[::2], b[::-2]
    assert_meets_loop(parivp.affine_scan(A, b, backend=backend), A, b)


@pytest.mark.parametrize("backend", BACKENDS)
def test_mixed_types_are_promoted(backend):
    A, b, _ = problem(33, 2, np.float64)
    u0 = np.array([1j, 2.0])
    u = parivp.affine_scan(A, b, u0, backend=backend)
    assert u.dtype == np.complex128
    assert_meets_loop(u, A.astype(complex), b.astype(complex), u0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_stays_behind_its_step(backend):
    """States before the first NaN are not touched by it."""
    A, b, _ = problem(40, 2, np.float64)
    clean = parivp.affine_scan(A, b, backend=backend)
    b[20, 0] = np.nan
    u = parivp.affine_scan(A, b, backend=backend)
    np.testing.assert_array_equal(u[:20], clean[:20])
    assert np.isnan(u[20:]).any(axis=1).all()


@pytest.mark.parametrize("backend", [None, *BACKENDS])
@pytest.mark.parametrize("n_steps", [0, 1, 2, 33, 1000])
@pytest.mark.parametrize("n_trajectories", [0, 1, 3])
@pytest.mark.parametrize("with_u0", [False, True])
def test_batches(backend, n_steps, n_trajectories, with_u0):
    """The leading axis holds independent trajectories."""
    alone = [problem(n_steps, 3, np.float64, seed) for seed in range(n_trajectories)]
    shapes = (n_steps, 3, 3), (n_steps, 3), (3,)
    A, b, u0 = (
        np.array([one[i] for one in alone]).reshape(n_trajectories, *shape)
        for i, shape in enumerate(shapes)
    )
    u0 = u0 if with_u0 else None
    u = parivp.affine_scan(A, b, u0, backend=backend)
    assert u.shape == b.shape
    for i, (A_i, b_i, u0_i) in enumerate(alone):
        assert_meets_loop(u[i], A_i, b_i, u0_i if with_u0 else None)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_stays_in_its_trajectory(backend):
    A, b, u0 = (np.stack([x] * 3) for x in problem(40, 2, np.float64))
    clean = parivp.affine_scan(A, b, u0, backend=backend)
    A[1, 20], b[1, 20] = np.nan, np.nan
    u = parivp.affine_scan(A, b, u0, backend=backend)
    np.testing.assert_array_equal(u[[0, 2]], clean[[0, 2]])
    np.testing.assert_array_equal(u[1, :20], clean[1, :20])
    assert np.isnan(u[1, 20:]).any(axis=1).all()


def test_default_backend_meets_loop():
    A, b, u0 = problem(1000, 4, np.float64)
    assert_meets_loop(parivp.affine_scan(A, b, u0), A, b, u0)


WRONG_SHAPES = {
    "A not 3-D": ((5, 2), (5, 2), None),
    "b not 2-D": ((5, 2, 2), (5,), None),
    "A not square": ((5, 2, 3), (5, 2), None),
    "b of another length": ((5, 2, 2), (4, 2), None),
    "b of another dimension": ((5, 2, 2), (5, 3), None),
    "u0 of another dimension": ((5, 2, 2), (5, 2), (3,)),
    "u0 not 1-D": ((5, 2, 2), (5, 2), (1, 2)),
    "u0 a scalar": ((5, 2, 2), (5, 2), ()),
    "two leading axes": ((2, 2, 5, 2, 2), (2, 2, 5, 2), None),
    "A without the leading axis": ((5, 2, 2), (3, 5, 2), None),
    "u0 without the leading axis": ((3, 5, 2, 2), (3, 5, 2), (2,)),
}


@pytest.mark.parametrize("backend", [None, *BACKENDS])
@pytest.mark.parametrize("shapes", WRONG_SHAPES.values(), ids=WRONG_SHAPES.keys())
def test_wrong_shapes(backend, shapes):
    A, b, u0 = (None if shape is None else np.ones(shape) for shape in shapes)
    name = "`b`" if u0 is None else "`u0`"
    with pytest.raises(ValueError, match=f"{name}.*expected.*actually"):
        parivp.affine_scan(A, b, u0, backend=backend)


def test_unknown_backend():
    A, b, _ = problem(3, 2, np.float64)
    with pytest.raises(ValueError, match=r"`backend`.*'fastest'"):
        parivp.affine_scan(A, b, backend="fastest")


@pytest.mark.parametrize("n_steps", [0, 1, 2, 31, 32, 33])
@pytest.mark.parametrize("backend", [None, "associative"])
@pytest.mark.parametrize("with_u0", [False, True])
def test_associative_in_strict_array_api(n_steps, backend, with_u0):
    """Only what the array API standard has is used."""
    xp = pytest.importorskip("array_api_strict")
    A, b, u0 = problem(n_steps, 3, np.float64)
    u0 = u0 if with_u0 else None
    strict_u0 = None if u0 is None else xp.asarray(u0)
    u = parivp.affine_scan(xp.asarray(A), xp.asarray(b), strict_u0, backend=backend)
    assert_meets_loop(np.asarray(u), A, b, u0)


def test_banded_takes_numpy_only():
    xp = pytest.importorskip("array_api_strict")
    A, b, _ = problem(3, 2, np.float64)
    with pytest.raises(ValueError, match="`backend`.*numpy.*array_api_strict"):
        parivp.affine_scan(xp.asarray(A), xp.asarray(b), backend="banded")


def test_arrays_of_two_libraries():
    xp = pytest.importorskip("array_api_strict")
    A, b, u0 = problem(3, 2, np.float64)
    for arrays in (
        (xp.asarray(A), b, u0),
        (A, xp.asarray(b), u0),
        (A, b, xp.asarray(u0)),
    ):
        with pytest.raises(TypeError, match="arrays of one library"):
            parivp.affine_scan(*arrays)


def test_cuda_takes_cupy_only():
    A, b, _ = problem(3, 2, np.float64)
    with pytest.raises(ValueError, match="`backend`.*cupy.*numpy"):
        parivp.affine_scan(A, b, backend="cuda")
