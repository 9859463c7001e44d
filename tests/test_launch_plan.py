"""The launch plan of the CUDA affine scan: limits of devices and of integers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parivp._scan.launch_plan import MAX_DIM, MAX_GRID, LaunchPlan, plan_launch

KIB = 1024
INSTANCES = [(d, itemsize) for d in range(1, MAX_DIM + 1) for itemsize in (4, 8)]
# shared memory a block may have: compute capability 7.5, 8.6, 8.0, 9.0
LIMITS = (64 * KIB, 99 * KIB, 163 * KIB, 227 * KIB)


@pytest.mark.parametrize("steps_last", [False, True])
@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize(("d", "itemsize"), INSTANCES)
def test_blocks_fit_a_device(d, itemsize, limit, steps_last):
    plan = plan_launch(d, itemsize, limit, steps_last=steps_last)
    assert plan.shared_bytes <= limit
    assert plan.resident_blocks * (plan.shared_bytes + KIB) <= 228 * KIB
    assert plan.resident_blocks == 3
    assert plan.threads % 32 == 0
    assert plan.resident_blocks * plan.threads <= 2048
    assert plan.part <= d


@pytest.mark.parametrize("steps_last", [False, True])
@pytest.mark.parametrize(("d", "itemsize"), INSTANCES)
def test_tile_fills_shared_memory(d, itemsize, steps_last):
    """Most of it holds steps: what is exchanged between threads is the rest."""
    plan = plan_launch(d, itemsize, steps_last=steps_last)
    steps_bytes = plan.tile * (d * d + d) * itemsize
    assert steps_bytes <= plan.shared_bytes
    assert steps_bytes >= 0.6 * plan.shared_bytes


@pytest.mark.parametrize(("d", "itemsize"), INSTANCES)
@pytest.mark.parametrize("steps_last", [False, True])
def test_little_memory_beside_the_arrays(d, itemsize, steps_last):
    plan = plan_launch(d, itemsize, steps_last=steps_last)
    n_steps = 10**8
    arrays = n_steps * (d * d + 2 * d) * itemsize
    assert plan.scratch_bytes(n_steps) <= 0.05 * arrays


@given(
    instance=st.sampled_from(INSTANCES),
    n_steps=st.integers(1, 10**10),
)
def test_tiles_cover_the_steps(instance, n_steps):
    plan = plan_launch(*instance)
    tiles = plan.tiles(n_steps)
    assert (tiles - 1) * plan.tile < n_steps <= tiles * plan.tile
    assert tiles <= MAX_GRID
    nodes = tiles * (plan.d**2 + plan.d)
    states = math.ceil(tiles / 2**plan.log_group) * plan.d
    assert plan.scratch_bytes(n_steps) == 16 + (nodes + states) * plan.itemsize


def test_too_many_steps_for_a_grid():
    plan = LaunchPlan(1, 8, part=1, chunks=32, chunk=1)
    assert plan.tiles(MAX_GRID * 32) == MAX_GRID
    with pytest.raises(ValueError, match="steps.*expected.*actually"):
        plan.tiles(MAX_GRID * 32 + 1)


@pytest.mark.parametrize("d", [0, MAX_DIM + 1])
def test_no_kernel_for_other_dimensions(d):
    with pytest.raises(ValueError, match="`d` is expected.*actually is"):
        plan_launch(d, 8)


def test_too_little_shared_memory():
    with pytest.raises(ValueError, match="shared memory.*actually has 1024"):
        plan_launch(16, 8, 1024)
