// The affine recursion u_k = A_k u_{k-1} + b_k for all k, in one pass.
//
// Compiled for one number type and dimension at a time; the launch plan
// (launch_plan.py) defines
//
//   REAL        float or double
//   DIM         d, the dimension of the states
//   PART        threads that share one chunk of steps, a power of two
//   CHUNKS      chunks in a tile, a power of two
//   CHUNK       steps in a chunk
//   LOG_GROUP   log2 of the tiles in a group
//   STEPS_LAST  whether steps run along the last axis of A, b and u, or the first
//   MIN_BLOCKS  blocks meant to be resident on a multiprocessor
//
// and SHARED_BYTES, the shared memory of a block, which has to be what is computed
// here.
//
// Words. A *map* is a pair (A, b) that takes u to A u + b. Maps are composed by
// combine(earlier, later) = (A2 A1, A2 b1 + b2), in this order throughout. One
// block computes one *tile* of CHUNKS * CHUNK steps, which it holds in shared
// memory; PART neighbouring threads, a *part*, compose the steps of one chunk,
// each of them ROWS rows of the product. GROUP tiles are a *group*.
//
// Nodes. Partial products are those of a Fenwick tree. Where t has l trailing
// ones in binary, node t is the map of the 2^l chunks (or tiles of a group) that
// end with t, and it is made of chunk t itself and the nodes t - 1, t - 2, t - 4,
// ..., t - 2^(l-1). With four chunks of maps a, b, c, d (later ones applied
// later), written like products:
//
//   chunk      0     1      2      3
//   node       a     ba     c      dcba = (dc)(ba)
//   state      u     a u    ba u   c (ba u)      before the chunk
//
// Each state follows from an earlier one by a single node: the state before chunk
// t + 1 is node t applied to the state before chunk t + 1 - 2^l. Which maps meet,
// and in which order, depends on their numbers alone, so results are the same bit
// by bit however blocks and threads are scheduled.
//
// Trajectories. Step k starts a trajectory where k is a multiple of `period`:
// its state is b_k, or A_k u0 + b_k, whatever came before. A map that holds such
// a step is constant; its A is neither used nor looked at, so that numbers that
// are not finite never pass from one trajectory to the next.

#ifndef SHARED_MEMORY
#define SHARED_MEMORY(type, name) extern __shared__ __align__(16) type name[]
#endif

typedef long long step_t;

constexpr int THREADS = CHUNKS * PART;
constexpr int ROWS = (DIM + PART - 1) / PART;
constexpr int TILE = CHUNKS * CHUNK;
constexpr int GROUP = 1 << LOG_GROUP;
constexpr int SQUARE = DIM * DIM;

static_assert(PART <= DIM && PART <= 32 && (PART & (PART - 1)) == 0, "PART");
static_assert(CHUNKS >= 2 && (CHUNKS & (CHUNKS - 1)) == 0, "CHUNKS");
static_assert(DIM <= THREADS && LOG_GROUP < 31, "LOG_GROUP");

// The tile in shared memory has the order of the arrays. Where its steps come first,
// the stride between the chunks that a warp reads at the same time is an odd number of
// words, or of 16 bytes where rows can be read 16 bytes at a time; where they come
// last, chunks and entries have odd strides. All banks take part either way.
constexpr int WORDS_16 = 16 / (int)sizeof(REAL);
__device__ constexpr int padded(int words)
{
    return DIM % 2 ? words | 1 : ((words + WORDS_16 - 1) / WORDS_16 | 1) * WORDS_16;
}

// Strides of chunks, of steps in a chunk, and of entries of a matrix or vector.
constexpr int CHUNK_A = STEPS_LAST ? CHUNK | 1 : padded(CHUNK * SQUARE);
constexpr int CHUNK_B = STEPS_LAST ? CHUNK | 1 : padded(CHUNK * DIM);
constexpr int STEP_A = STEPS_LAST ? 1 : SQUARE;
constexpr int STEP_B = STEPS_LAST ? 1 : DIM;
constexpr int ENTRY = STEPS_LAST ? CHUNKS * CHUNK_A | 1 : 1;

constexpr int MAP_WORDS = SQUARE + DIM;
constexpr int MAP = (MAP_WORDS + WORDS_16 - 1) / WORDS_16 * WORDS_16;
constexpr int EXCHANGED = CHUNKS / 2 > LOG_GROUP ? CHUNKS / 2 : LOG_GROUP;

constexpr int OFFSET_B = STEPS_LAST ? SQUARE * ENTRY : CHUNKS * CHUNK_A;
constexpr int PAST_B = OFFSET_B + (STEPS_LAST ? DIM * ENTRY : CHUNKS * CHUNK_B);
constexpr int OFFSET_MAPS = (PAST_B + WORDS_16 - 1) / WORDS_16 * WORDS_16;
constexpr int OFFSET_STATES = OFFSET_MAPS + EXCHANGED * MAP;
constexpr int SHARED_WORDS = OFFSET_STATES + CHUNKS * DIM;

static_assert(SHARED_WORDS * sizeof(REAL) == SHARED_BYTES, "SHARED_BYTES");

// Rows of a map that one thread holds: lane, lane + PART, lane + 2 PART, ...
struct Rows {
    REAL A[ROWS][DIM];
    REAL b[ROWS];
};

// What a thread knows of its place.
struct Place {
    int thread, chunk, lane;
    unsigned tile;      // number of the tile
    step_t first;       // its first step
    step_t chunk_first; // first step of the thread's chunk
    step_t begin;       // first step of the trajectory that the chunk ends in
};

__device__ inline step_t trajectory_begin(step_t step, step_t period)
{
    return step - step % period;
}

__device__ inline int trailing_ones(unsigned number)
{
    int count = 0;
    while (number >> count & 1)
        ++count;
    return count;
}

// Tiles are numbered in the order in which blocks start to run, so that a block
// waits only for blocks that already run.
__device__ inline Place find_place(unsigned *ticket, unsigned *drawn, step_t period)
{
    Place at;
    at.thread = threadIdx.x;
    at.chunk = at.thread / PART;
    at.lane = at.thread % PART;
    if (at.thread == 0)
        *drawn = atomicAdd(ticket, 1u) + 1u; // the first takes it from all ones to zero
    __syncthreads();
    at.tile = *drawn;
    at.first = (step_t)at.tile * TILE;
    at.chunk_first = at.first + at.chunk * CHUNK;
    at.begin = trajectory_begin(at.chunk_first + CHUNK - 1, period);
    return at;
}

// ---- between global and shared memory --------------------------------------

// One word, without waiting for it.
__device__ inline void copy_async(REAL *to, const REAL *from)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(
                     (unsigned)__cvta_generic_to_shared(to)),
                 "l"(from), "n"(sizeof(REAL))
                 : "memory");
#else
    *to = *from;
#endif
}

__device__ inline void wait_for_copies()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// Where word i of a tile, in the order of the arrays, lies in shared and in global
// memory, and whether it belongs to one of the first `there` steps. Each step has
// ENTRIES words. Unsigned, since that takes fewer instructions to divide.
template <unsigned ENTRIES, unsigned CHUNK_STRIDE> struct Spread {
    unsigned i, entry;

    __device__ explicit Spread(unsigned word)
        : i(STEPS_LAST ? word % TILE : word), entry(STEPS_LAST ? word / TILE : 0)
    {
    }
    __device__ unsigned shared() const
    {
        const unsigned words = STEPS_LAST ? CHUNK : CHUNK * ENTRIES;
        return i / words * CHUNK_STRIDE + i % words + entry * ENTRY;
    }
    __device__ step_t global(step_t stride) const { return i + entry * stride; }
    __device__ bool among(unsigned there) const
    {
        return i < there * (STEPS_LAST ? 1 : ENTRIES);
    }
    __device__ bool diagonal() const
    {
        return (STEPS_LAST ? entry : i % ENTRIES) % (DIM + 1) == 0;
    }
};

__device__ inline unsigned steps_there(const Place &at, step_t n_steps)
{
    return n_steps - at.first < TILE ? (unsigned)(n_steps - at.first) : TILE;
}

// Bring the tile to shared memory, neighbouring words by neighbouring threads.
// Steps past the end become identities.
__device__ inline void load_tile(const Place &at, const REAL *A, const REAL *b,
                                 step_t n_steps, step_t stride_A, step_t stride_b,
                                 REAL *tile_A, REAL *tile_b)
{
    const unsigned there = steps_there(at, n_steps);
    A += at.first * STEP_A;
    b += at.first * STEP_B;
#pragma unroll 4
    for (unsigned i = at.thread; i < TILE * SQUARE; i += THREADS) {
        const Spread<SQUARE, CHUNK_A> word(i);
        if (word.among(there))
            copy_async(tile_A + word.shared(), A + word.global(stride_A));
        else
            tile_A[word.shared()] = word.diagonal();
    }
#pragma unroll 4
    for (unsigned i = at.thread; i < TILE * DIM; i += THREADS) {
        const Spread<DIM, CHUNK_B> word(i);
        if (word.among(there))
            copy_async(tile_b + word.shared(), b + word.global(stride_b));
        else
            tile_b[word.shared()] = 0;
    }
    wait_for_copies();
    __syncthreads();
}

// At the start of a trajectory, b_k becomes A_k u0 + b_k.
__device__ inline void absorb_initial(const Place &at, const REAL *u0, step_t n_steps,
                                      step_t period, const REAL *tile_A, REAL *tile_b)
{
    const step_t past = at.first + steps_there(at, n_steps);
    const step_t trajectory = (at.first + period - 1) / period;
    const step_t until = (past + period - 1) / period;
    for (step_t i = at.thread; i < (until - trajectory) * DIM; i += THREADS) {
        const int row = i % DIM;
        const step_t number = trajectory + i / DIM;
        const int step = (int)(number * period - at.first);
        const REAL *A = tile_A + step / CHUNK * CHUNK_A + step % CHUNK * STEP_A;
        REAL *b = tile_b + step / CHUNK * CHUNK_B + step % CHUNK * STEP_B;
        REAL sum = 0;
        for (int j = 0; j < DIM; ++j)
            sum += A[(row * DIM + j) * ENTRY] * u0[number * DIM + j];
        b[row * ENTRY] += sum;
    }
    __syncthreads();
}

__device__ inline void store_tile(const Place &at, const REAL *tile_b, step_t n_steps,
                                  step_t stride_u, REAL *u)
{
    __syncthreads();
    const unsigned there = steps_there(at, n_steps);
    u += at.first * STEP_B;
#pragma unroll 4
    for (unsigned i = at.thread; i < TILE * DIM; i += THREADS) {
        const Spread<DIM, CHUNK_B> word(i);
        if (word.among(there))
            u[word.global(stride_u)] = tile_b[word.shared()];
    }
}

// ---- composing maps ---------------------------------------------------------

// combine(earlier, later), of which the thread holds rows of the later map:
// (A2 A1, A2 b1 + b2), row by row.
template <int STRIDE>
__device__ inline void combine(const REAL *earlier_A, const REAL *earlier_b, Rows &later)
{
    REAL A[ROWS][DIM];
#pragma unroll
    for (int i = 0; i < DIM; ++i) {
        const REAL b_i = earlier_b[i * STRIDE];
#pragma unroll
        for (int q = 0; q < ROWS; ++q)
            later.b[q] += later.A[q][i] * b_i;
#pragma unroll
        for (int j = 0; j < DIM; ++j) {
            const REAL a_ij = earlier_A[(i * DIM + j) * STRIDE];
#pragma unroll
            for (int q = 0; q < ROWS; ++q)
                A[q][j] = i == 0 ? later.A[q][i] * a_ij : A[q][j] + later.A[q][i] * a_ij;
        }
    }
#pragma unroll
    for (int q = 0; q < ROWS; ++q)
#pragma unroll
        for (int j = 0; j < DIM; ++j)
            later.A[q][j] = A[q][j];
}

// The map of the thread's chunk, from its last step to its first, or to the first
// of the trajectory that it ends in.
__device__ inline Rows compose_chunk(const Place &at, const REAL *A, const REAL *b)
{
    Rows rows;
    const step_t since = at.begin - at.chunk_first;
    const int stop = since < 0 ? 0 : (int)since;
    A += (CHUNK - 1) * STEP_A;
    b += (CHUNK - 1) * STEP_B;
#pragma unroll
    for (int q = 0; q < ROWS; ++q) {
        const int row = at.lane + q * PART;
#pragma unroll
        for (int j = 0; j < DIM; ++j)
            rows.A[q][j] = row < DIM ? A[(row * DIM + j) * ENTRY] : 0;
        rows.b[q] = row < DIM ? b[row * ENTRY] : 0;
    }
#pragma unroll 1
    for (int k = CHUNK - 2; k >= stop; --k) {
        A -= STEP_A;
        b -= STEP_B;
        combine<ENTRY>(A, b, rows);
    }
    return rows;
}

// Show each number of the rows, and its place in the map, to a function.
template <class Function>
__device__ inline void for_rows(const Rows &rows, int lane, Function function)
{
#pragma unroll
    for (int q = 0; q < ROWS; ++q) {
        const int row = lane + q * PART;
        if (row < DIM) {
#pragma unroll
            for (int j = 0; j < DIM; ++j)
                function(row * DIM + j, rows.A[q][j]);
            function(SQUARE + row, rows.b[q]);
        }
    }
}

// From the maps of the chunks to the nodes of the tree over them. At level l the
// chunks that end in 0 and l ones hand their node over, those that end in l + 1
// ones take it in. With four chunks: level 0 makes ba and dc, level 1 dcba.
__device__ inline void sweep_up(const Place &at, Rows &rows, REAL *maps)
{
#pragma unroll 1
    for (int half = 1; half < CHUNKS; half *= 2) {
        const int end = at.chunk & (2 * half - 1);
        REAL *map = maps + at.chunk / (2 * half) * MAP;
        if (end == half - 1)
            for_rows(rows, at.lane, [=](int i, REAL number) { map[i] = number; });
        __syncthreads();
        const step_t node_first = at.chunk_first - (step_t)(half - 1) * CHUNK;
        if (end == 2 * half - 1 && at.begin < node_first)
            combine<1>(map, map + SQUARE, rows);
        __syncthreads();
    }
}

// A u + b, for the rows that the thread holds.
__device__ inline void apply_rows(const Rows &rows, bool constant, const REAL *before,
                                  REAL (&after)[ROWS])
{
#pragma unroll
    for (int q = 0; q < ROWS; ++q) {
        after[q] = rows.b[q];
        if (!constant)
#pragma unroll
            for (int j = 0; j < DIM; ++j)
                after[q] += rows.A[q][j] * before[j];
    }
}

// A row of A times u. Threads of a part take the columns in turn, each beginning
// with another one, since whole rows may begin in the same bank.
template <int ROW_STRIDE, int STRIDE>
__device__ inline REAL row_times(const REAL *row, const REAL *u, int turn)
{
    REAL sum = 0;
#pragma unroll
    for (int i = 0; i < DIM; ++i) {
        int j = i + (PART > 1 ? turn : 0);
        if (PART > 1 && j >= DIM)
            j -= DIM;
        sum += row[j * ROW_STRIDE] * u[j * STRIDE];
    }
    return sum;
}

// From the state before the tile to the states before all of its chunks, those far
// apart first. With four chunks: level 1 gives the state before chunk 2 by
// node ba, level 0 those before chunks 1 and 3 by the nodes a and c.
__device__ inline void sweep_down(const Place &at, const Rows &rows, REAL *states)
{
#pragma unroll 1
    for (int half = CHUNKS / 2; half > 0; half /= 2) {
        if ((at.chunk & (2 * half - 1)) == half - 1) {
            const step_t node_first = at.chunk_first - (step_t)(half - 1) * CHUNK;
            const REAL *before = states + (at.chunk + 1 - half) * DIM;
            REAL after[ROWS];
            apply_rows(rows, at.begin >= node_first, before, after);
#pragma unroll
            for (int q = 0; q < ROWS; ++q)
                if (at.lane + q * PART < DIM)
                    states[(at.chunk + 1) * DIM + at.lane + q * PART] = after[q];
        }
        __syncthreads();
    }
}

// One step from a state, entries of which are STRIDE words apart: b_k gives way to u_k.
template <int STRIDE>
__device__ inline void replay_step(const Place &at, const REAL *before, const REAL *A,
                                   REAL *b, bool restart)
{
    REAL sums[ROWS];
#pragma unroll
    for (int q = 0; q < ROWS; ++q) {
        const int row = at.lane + q * PART;
        sums[q] = 0;
        if (row < DIM && !restart)
            sums[q] = b[row * ENTRY] +
                      row_times<ENTRY, STRIDE>(A + row * DIM * ENTRY, before, at.lane);
    }
#pragma unroll
    for (int q = 0; q < ROWS; ++q)
        if (at.lane + q * PART < DIM && !restart)
            b[(at.lane + q * PART) * ENTRY] = sums[q];
    if (PART > 1)
        __syncwarp();
}

// With the state before the chunk known, its steps one by one. This takes d^2
// operations a step where composing takes d^3.
__device__ inline void replay_chunk(const Place &at, const REAL *before, const REAL *A,
                                    REAL *b, step_t period)
{
    step_t phase = at.chunk_first % period;
    replay_step<1>(at, before, A, b, phase == 0);
#pragma unroll 1
    for (int k = 1; k < CHUNK; ++k) {
        phase = phase + 1 == period ? 0 : phase + 1;
        A += STEP_A;
        b += STEP_B;
        replay_step<ENTRY>(at, b - STEP_B, A, b, phase == 0);
    }
}

// ---- between tiles ----------------------------------------------------------
//
// What one block hands to another passes through global memory word by word. Words
// are all ones before they are written, which stands for "not yet": a NaN that is
// never handed over as such. So there are no flags, and nothing depends on the
// order in which writes become visible.

template <int BYTES> struct Bits;
template <> struct Bits<4> {
    typedef unsigned type;
};
template <> struct Bits<8> {
    typedef unsigned long long type;
};
typedef Bits<sizeof(REAL)>::type bits_t;
constexpr bits_t NOT_YET = ~(bits_t)0;

union Word {
    REAL number;
    bits_t bits;
};

__device__ inline void hand_over(volatile bits_t *to, REAL number)
{
    Word word;
    word.number = number;
    *to = word.bits == NOT_YET ? NOT_YET - 1 : word.bits;
}

// The word that has been looked at, or what it is once it has been handed over.
__device__ inline REAL wait_for(volatile const bits_t *from, bits_t seen)
{
    while (seen == NOT_YET) {
        __nanosleep(20);
        seen = *from;
    }
    Word word;
    word.bits = seen;
    return word.number;
}

// The tile whose node covers the tiles that bit `level` of `tile` stands for.
__device__ inline unsigned node_of_bit(unsigned tile, int level)
{
    return (tile >> level << level) - 1;
}

// Bring the nodes of the bits in `wanted` to shared memory. A look at global memory
// takes most of a microsecond, so each thread looks at several words at once.
__device__ inline void gather_nodes(const Place &at, unsigned wanted,
                                    volatile const bits_t *nodes, REAL *maps)
{
    constexpr int WORDS = LOG_GROUP * MAP_WORDS;
    constexpr int SHARE = (WORDS + THREADS - 1) / THREADS;
    constexpr int AT_ONCE = SHARE < 8 ? SHARE : 8;
    if (wanted == 0)
        return;
    for (int start = at.thread; start < WORDS; start += AT_ONCE * THREADS) {
        volatile const bits_t *from[AT_ONCE];
        bits_t seen[AT_ONCE];
#pragma unroll
        for (int q = 0; q < AT_ONCE; ++q) {
            const int level = (start + q * THREADS) / MAP_WORDS;
            const int i = (start + q * THREADS) % MAP_WORDS;
            from[q] = 0;
            if (level < LOG_GROUP && wanted >> level & 1) {
                from[q] = nodes + (step_t)node_of_bit(at.tile, level) * MAP_WORDS + i;
                seen[q] = *from[q];
            }
        }
#pragma unroll
        for (int q = 0; q < AT_ONCE; ++q) {
            const int level = (start + q * THREADS) / MAP_WORDS;
            const int i = (start + q * THREADS) % MAP_WORDS;
            if (from[q])
                maps[level * MAP + i] = wait_for(from[q], seen[q]);
        }
    }
    __syncthreads();
}

// Complete the tile's node and hand it to the tiles that follow. The last part
// holds the map of the whole tile.
__device__ inline void hand_over_node(const Place &at, Rows &rows, bits_t *nodes,
                                      REAL *maps)
{
    const int levels = trailing_ones(at.tile % GROUP);
    gather_nodes(at, (1u << levels) - 1, nodes, maps);
    if (at.chunk == CHUNKS - 1) {
#pragma unroll 1
        for (int l = 0; l < levels; ++l) {
            const step_t node_first = at.first - (step_t)((1 << l) - 1) * TILE;
            if (at.begin < node_first)
                combine<1>(maps + l * MAP, maps + l * MAP + SQUARE, rows);
        }
        bits_t *node = nodes + (step_t)at.tile * MAP_WORDS;
        for_rows(rows, at.lane, [=](int i, REAL number) { hand_over(node + i, number); });
    }
}

// The state before the group, to `states`; and from the last tile of the group the
// state after it to the next group. A link of this chain between groups is no more
// than one node applied to one state.
__device__ inline void pass_on_state(const Place &at, const Rows &rows,
                                     bits_t *group_states, REAL *states)
{
    const unsigned group = at.tile / GROUP;
    if (at.thread < DIM) {
        volatile const bits_t *before = group_states + ((step_t)group - 1) * DIM;
        before += at.thread;
        states[at.thread] = group > 0 ? wait_for(before, *before) : 0;
    }
    __syncthreads();
    if (at.tile % GROUP == GROUP - 1 && at.chunk == CHUNKS - 1) {
        const bool constant = at.begin >= (step_t)group * GROUP * TILE;
        bits_t *to = group_states + (step_t)group * DIM + at.lane;
        REAL after[ROWS];
        apply_rows(rows, constant, states, after);
#pragma unroll
        for (int q = 0; q < ROWS; ++q)
            if (at.lane + q * PART < DIM)
                hand_over(to + q * PART, after[q]);
    }
}

// The state before the tile, to `states`: from the state before the group by as
// many nodes as the tile's number has ones, the largest first.
__device__ inline void find_state(const Place &at, const Rows &rows, step_t period,
                                  bits_t *nodes, bits_t *group_states, REAL *maps,
                                  REAL *states)
{
    const unsigned in_group = at.tile % GROUP;
    const unsigned gathered = (1u << trailing_ones(in_group)) - 1;
    gather_nodes(at, in_group & ~gathered, nodes, maps);
    pass_on_state(at, rows, group_states, states);
    for (int l = LOG_GROUP - 1; l >= 0; --l) {
        if (!(in_group >> l & 1))
            continue;
        const step_t past = (step_t)(node_of_bit(at.tile, l) + 1) * TILE;
        const step_t node_first = past - (step_t)TILE * (1 << l);
        const REAL *map = maps + l * MAP;
        REAL state = 0;
        __syncthreads();
        if (at.thread < DIM) {
            state = map[SQUARE + at.thread];
            if (trajectory_begin(past - 1, period) < node_first)
                state += row_times<1, 1>(map + at.thread * DIM, states, at.lane);
        }
        __syncthreads();
        if (at.thread < DIM)
            states[at.thread] = state;
    }
    __syncthreads();
}

// ---- the kernel -------------------------------------------------------------

// A (n_steps, d, d), b and u (n_steps, d), or, if steps come last, (d, d, n_steps) and
// (d, n_steps) with entries `stride_A`, `stride_b` and `stride_u` numbers apart; u0
// (n_steps / period, d) or null.
// `scratch`, all ones before, has 16 bytes for the ticket, then d^2 + d numbers for
// each tile, its node, and d for each group, the state after it.
//
// Example: d = 1, A = 2, b = 1, two chunks of two steps in a tile, two tiles in a
// group, eight steps. Chunks are the maps 4 u + 3, tiles 16 u + 15. Tile 0 starts
// from 0: its chunks start from 0 and 4*0 + 3, it gives 1 3 7 15. Tile 1 takes
// the node of tile 0, 16*0 + 15: its chunks start from 15 and 4*15 + 3, it gives
// 31 63 127 255, and its node, (16 u + 15) after (16 u + 15), gives 255 to the
// next group.
extern "C" __global__ void __launch_bounds__(THREADS, MIN_BLOCKS)
    affine_scan(const REAL *A, const REAL *b, const REAL *u0, REAL *u, step_t n_steps,
                step_t period, step_t stride_A, step_t stride_b, step_t stride_u,
                void *scratch)
{
    SHARED_MEMORY(REAL, memory);
    REAL *tile_A = memory, *tile_b = memory + OFFSET_B;
    REAL *maps = memory + OFFSET_MAPS, *states = memory + OFFSET_STATES;

    unsigned *ticket = (unsigned *)scratch;
    bits_t *nodes = (bits_t *)scratch + WORDS_16;
    bits_t *group_states = nodes + (step_t)gridDim.x * MAP_WORDS;

    const Place at = find_place(ticket, (unsigned *)maps, period);
    REAL *chunk_A = tile_A + at.chunk * CHUNK_A, *chunk_b = tile_b + at.chunk * CHUNK_B;

    load_tile(at, A, b, n_steps, stride_A, stride_b, tile_A, tile_b);
    if (u0)
        absorb_initial(at, u0, n_steps, period, tile_A, tile_b);
    Rows rows = compose_chunk(at, chunk_A, chunk_b);
    sweep_up(at, rows, maps);
    hand_over_node(at, rows, nodes, maps);
    find_state(at, rows, period, nodes, group_states, maps, states);
    sweep_down(at, rows, states);
    replay_chunk(at, states + at.chunk * DIM, chunk_A, chunk_b, period);
    store_tile(at, tile_b, n_steps, stride_u, u);
}
