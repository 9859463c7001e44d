"""How the CUDA affine scan is cut into blocks and threads: plain arithmetic.

A *tile* of steps is what one block holds in shared memory. Its size is a balance:
large tiles mean few partial results between blocks, small ones several blocks on
a multiprocessor, of which one computes while another waits for memory.
"""

import dataclasses

__all__ = ["MAX_DIM", "LaunchPlan", "plan_launch"]

MAX_DIM = 16

# Shared memory of a multiprocessor of compute capability 9.0, of which each block
# takes 1 KiB more than it asks for. CUDA C++ Programming Guide, "Compute
# Capabilities".
SHARED_PER_MULTIPROCESSOR = 228 * 1024
RESERVED_PER_BLOCK = 1024
RESIDENT_BLOCKS = 3

# Tiles whose nodes form a tree; its last one hands the state to the next group. A
# group should take longer to read than a state takes from one block to another
# (between one and two microseconds, in which an H100 reads about 5 MB).
LOG_GROUP = 7

MAX_GRID = 2**31 - 1

# By dimension: threads that share a chunk of steps, and, by bytes of a number, too,
# chunks in a tile. A thread holds whole maps in registers up to d = 3, beyond it
# about two rows of one. As many chunks as registers for three blocks allow.
PARTS = (0, 1, 1, 1, 2, 4, 4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8)
CHUNKS = {
    4: (0, 512, 256, 256, 128, 64, 64, 64, 64, 16, 16, 16, 16, 16, 16, 16, 16),
    8: (0, 256, 256, 128, 64, 32, 32, 32, 32, 16, 16, 16, 16, 8, 8, 8, 8),
}


@dataclasses.dataclass(frozen=True)
class LaunchPlan:
    """A way to cut a scan of one dimension and number type into tiles.

    Attributes
    ----------
    d : int
        Dimension of the states.
    itemsize : int
        Bytes of a number, 4 or 8.
    part : int
        Threads that share a chunk.
    chunks : int
        Chunks in a tile.
    chunk : int
        Steps in a chunk.
    log_group : int
        Binary logarithm of the number of tiles in a group.
    steps_last : bool
        Whether steps run along the last axis of the arrays in memory.
    """

    d: int
    itemsize: int
    part: int
    chunks: int
    chunk: int
    log_group: int = LOG_GROUP
    steps_last: bool = False

    @property
    def threads(self):
        """Threads in a block."""
        return self.part * self.chunks

    @property
    def tile(self):
        """Steps in a tile."""
        return self.chunks * self.chunk

    @property
    def shared_bytes(self):
        """Dynamic shared memory of a block: the tile, maps in exchange, states."""
        d = self.d
        if self.steps_last:
            words = (d * d + d) * (self.chunks * (self.chunk | 1) | 1)
        else:
            words = self.chunks * self._padded(self.chunk * d * d)
            words += self.chunks * self._padded(self.chunk * d)
        words = _round_up(words, 16 // self.itemsize)
        map_words = _round_up(d * d + d, 16 // self.itemsize)
        words += max(self.chunks // 2, self.log_group) * map_words
        return (words + self.chunks * d) * self.itemsize

    @property
    def macros(self):
        """Names and values that the source is compiled with."""
        return {
            "REAL": {4: "float", 8: "double"}[self.itemsize],
            "DIM": self.d,
            "PART": self.part,
            "CHUNKS": self.chunks,
            "CHUNK": self.chunk,
            "LOG_GROUP": self.log_group,
            "STEPS_LAST": int(self.steps_last),
            "MIN_BLOCKS": self.resident_blocks,
            "SHARED_BYTES": self.shared_bytes,
        }

    @property
    def resident_blocks(self):
        """Blocks that a multiprocessor of compute capability 9.0 has room for."""
        fitting = SHARED_PER_MULTIPROCESSOR // (self.shared_bytes + RESERVED_PER_BLOCK)
        return max(1, min(RESIDENT_BLOCKS, fitting))

    def tiles(self, n_steps):
        """Blocks that `n_steps` steps take."""
        tiles = -(-n_steps // self.tile)
        if tiles > MAX_GRID:
            raise ValueError(
                "The number of steps is expected to be at most "
                f"{MAX_GRID * self.tile}, but actually is {n_steps}."
            )
        return tiles

    def scratch_bytes(self, n_steps):
        """Global memory for a ticket, the tiles' nodes and the groups' states."""
        d, tiles = self.d, self.tiles(n_steps)
        groups = -(-tiles >> self.log_group)
        return 16 + (tiles * (d * d + d) + groups * d) * self.itemsize

    def _padded(self, words):
        """Stride between chunks where steps come first; as in the kernel's source."""
        if self.d % 2:
            return words | 1
        words_16 = 16 // self.itemsize
        return (-(-words // words_16) | 1) * words_16


def plan_launch(
    d,
    itemsize,
    shared_limit=None,
    resident_blocks=RESIDENT_BLOCKS,
    log_group=LOG_GROUP,
    steps_last=False,
):
    """Plan a scan for a dimension and a number type.

    Parameters
    ----------
    d : int
        Dimension of the states, 1 to 16.
    itemsize : int
        Bytes of a number, 4 or 8.
    shared_limit : int, optional
        Shared memory that a block may have at most, in bytes.
    resident_blocks : int, optional
        Blocks for which a multiprocessor is to have room.
    log_group : int, optional
        Binary logarithm of the number of tiles in a group.
    steps_last : bool, optional
        Whether steps run along the last axis of the arrays in memory.

    Returns
    -------
    plan : LaunchPlan
        The plan with the longest chunks that leave room for so many blocks.

    Raises
    ------
    ValueError
        If there is no kernel for `d`, or not even chunks of one step fit.
    """
    if not 1 <= d <= MAX_DIM:
        raise ValueError(
            f"`d` is expected to be in 1, ..., {MAX_DIM}, but actually is {d}."
        )
    budget = SHARED_PER_MULTIPROCESSOR // resident_blocks - RESERVED_PER_BLOCK
    if shared_limit is not None:
        budget = min(budget, shared_limit)
    plan = LaunchPlan(
        d, itemsize, PARTS[d], CHUNKS[itemsize][d], 1, log_group, steps_last
    )
    if plan.shared_bytes > budget:
        raise ValueError(
            f"A block is expected to have at least {plan.shared_bytes} bytes of shared "
            f"memory for d = {d}, but actually has {budget}."
        )
    while True:
        longer = dataclasses.replace(plan, chunk=plan.chunk + 1)
        if longer.shared_bytes > budget:
            return plan
        plan = longer


def _round_up(n, multiple):
    return -(-n // multiple) * multiple
