// Run a CUDA kernel on the CPU, for tests: enough of CUDA C for a plain kernel.
//
// Threads are fibers, of which one runs at a time until it comes to a barrier, waits
// for memory (__nanosleep) or ends. Several blocks are resident at once; blocks start,
// and threads run, in an order drawn from a seed. A launch gives an error where
//   - threads of a block wait at different barriers, or some wait and others ended,
//   - all that is resident waits for memory that nobody will write,
//   - a block writes outside its shared memory.
// Shared memory is NaN at first. Not shown: missing fences, since memory is coherent
// here, and races that no order of whole fibers shows.

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define __global__
#define __device__
#define __launch_bounds__(...)
#define SHARED_MEMORY(type, name) type *name = (type *)(shim::block->shared + shim::GUARD)

struct Index {
    unsigned x, y, z;
};

namespace shim {

enum State { READY, AT_BARRIER, AT_WARP_BARRIER, ASLEEP, ENDED };

const int GUARD = 4096, WARP = 32;
const size_t STACK = 64 * 1024;

struct Fiber {
    ucontext_t context; // to begin with
    jmp_buf place;      // to go on from, in a twentieth of the time
    bool begun;
    char *stack;
    Index thread;
    State state;
    int line;
};

struct Block {
    Fiber *fibers;
    unsigned char *shared;
    Index index;
    bool used;
};

static Index block_dim, grid_dim;
static Block *block;
static Fiber *fiber;
static jmp_buf scheduler;
static void (*body)(void *);
static void *body_data;
static uint64_t random_state;
static char message[200];

static unsigned draw(unsigned below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((random_state >> 33) % below);
}

// Numbers 0 ... n - 1: in order for seed 0, reversed for 1, else shuffled.
static void order(unsigned *numbers, unsigned n, unsigned seed)
{
    for (unsigned i = 0; i < n; ++i)
        numbers[i] = seed == 1 ? n - 1 - i : i;
    for (unsigned i = n; seed > 1 && i > 1; --i) {
        const unsigned j = draw(i), kept = numbers[i - 1];
        numbers[i - 1] = numbers[j];
        numbers[j] = kept;
    }
}

static void leave(State state, int line)
{
    fiber->state = state;
    fiber->line = line;
    if (_setjmp(fiber->place) == 0)
        _longjmp(scheduler, 1);
}

static void run_fiber()
{
    body(body_data);
    fiber->state = ENDED;
    _longjmp(scheduler, 1);
}

// Let a thread run until it leaves.
static __attribute__((noinline)) void run(Block *its_block, Fiber *its_fiber)
{
    block = its_block;
    fiber = its_fiber;
    if (_setjmp(scheduler) == 0) {
        if (fiber->begun)
            _longjmp(fiber->place, 1);
        fiber->begun = true;
        setcontext(&fiber->context);
    }
}

static void start_block(Block &slot, unsigned number, int shared_bytes)
{
    slot.used = true;
    slot.index = {number, 0, 0};
    memset(slot.shared, 0xff, shared_bytes + 2 * GUARD);
    for (unsigned i = 0; i < block_dim.x; ++i) {
        Fiber &f = slot.fibers[i];
        f.thread = {i, 0, 0};
        f.state = READY;
        f.begun = false;
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack;
        f.context.uc_stack.ss_size = STACK;
        f.context.uc_link = 0;
        makecontext(&f.context, run_fiber, 0);
    }
}

// Let threads go on that have all come to their barrier.
static bool release(Block &slot, unsigned first, unsigned past, State barrier)
{
    unsigned waiting = 0, ended = 0;
    for (unsigned i = first; i < past; ++i) {
        waiting += slot.fibers[i].state == barrier;
        ended += slot.fibers[i].state == ENDED;
    }
    if (waiting == 0 || waiting + ended < past - first)
        return false;
    for (unsigned i = first; i < past; ++i) {
        if (ended || slot.fibers[i].line != slot.fibers[first].line)
            snprintf(message, sizeof message, "divergence at the barrier of line %d",
                     slot.fibers[i].line);
        slot.fibers[i].state = READY;
    }
    return true;
}

// Let threads of the block run once, all of them for the seeds 0 and 1 and most of
// them for others; true if anything but waiting happened.
static bool run_block(Block &slot, unsigned seed, unsigned *numbers)
{
    bool progress = false;
    order(numbers, block_dim.x, seed);
    for (unsigned i = 0; i < block_dim.x; ++i) {
        Fiber &f = slot.fibers[numbers[i]];
        if (f.state != READY && f.state != ASLEEP)
            continue;
        if (seed > 1 && draw(4) == 0) {
            progress = true;
            continue;
        }
        run(&slot, &f);
        progress |= f.state != ASLEEP;
    }
    for (unsigned first = 0; first < block_dim.x; first += WARP) {
        const unsigned past = first + WARP < block_dim.x ? first + WARP : block_dim.x;
        progress |= release(slot, first, past, AT_WARP_BARRIER);
    }
    progress |= release(slot, 0, block_dim.x, AT_BARRIER);
    return progress;
}

static bool ended(const Block &slot)
{
    for (unsigned i = 0; i < block_dim.x; ++i)
        if (slot.fibers[i].state != ENDED)
            return false;
    return true;
}

static void check_guards(const Block &slot, int shared_bytes)
{
    for (int i = 0; i < GUARD; ++i)
        if (slot.shared[i] != 0xff || slot.shared[GUARD + shared_bytes + i] != 0xff)
            snprintf(message, sizeof message, "block %u wrote outside its shared memory",
                     slot.index.x);
}

static void run_grid(Block *slots, unsigned resident, int shared_bytes, unsigned seed)
{
    unsigned *blocks = (unsigned *)malloc(grid_dim.x * sizeof *blocks);
    unsigned *numbers = (unsigned *)malloc(block_dim.x * sizeof *numbers);
    unsigned started = 0, finished = 0, idle = 0;
    order(blocks, grid_dim.x, seed);
    while (finished < grid_dim.x && !message[0]) {
        bool progress = false;
        for (unsigned s = 0; s < resident && !message[0]; ++s) {
            Block &slot = slots[s];
            if (!slot.used && started < grid_dim.x)
                start_block(slot, blocks[started++], shared_bytes);
            if (!slot.used)
                continue;
            progress |= run_block(slot, seed, numbers);
            if (ended(slot)) {
                check_guards(slot, shared_bytes);
                slot.used = false;
                ++finished;
            }
        }
        // each thread looks at memory between one sleep and the next
        idle = progress ? 0 : idle + 1;
        if (idle == 3)
            snprintf(message, sizeof message, "deadlock: %u of %u blocks ended", finished,
                     grid_dim.x);
    }
    free(blocks);
    free(numbers);
}

// Run `kernel()` in every thread; an error message, empty where there is no error.
template <class Kernel>
const char *launch(unsigned grid, unsigned threads, int shared_bytes, unsigned resident,
                   unsigned seed, Kernel kernel)
{
    message[0] = 0;
    random_state = seed;
    grid_dim = {grid, 1, 1};
    block_dim = {threads, 1, 1};
    body = [](void *data) { (*(Kernel *)data)(); };
    body_data = &kernel;
    resident = resident < grid ? resident : grid;
    Block *slots = (Block *)calloc(resident, sizeof *slots);
    for (unsigned s = 0; s < resident; ++s) {
        slots[s].fibers = (Fiber *)calloc(threads, sizeof *slots[s].fibers);
        slots[s].shared = (unsigned char *)aligned_alloc(
            GUARD, (shared_bytes + 3 * GUARD - 1) / GUARD * GUARD);
        for (unsigned i = 0; i < threads; ++i)
            slots[s].fibers[i].stack = (char *)malloc(STACK);
    }
    run_grid(slots, resident, shared_bytes, seed);
    for (unsigned s = 0; s < resident; ++s) {
        for (unsigned i = 0; i < threads; ++i)
            free(slots[s].fibers[i].stack);
        free(slots[s].fibers);
        free(slots[s].shared);
    }
    free(slots);
    return message;
}

} // namespace shim

#define threadIdx (shim::fiber->thread)
#define blockIdx (shim::block->index)
#define blockDim (shim::block_dim)
#define gridDim (shim::grid_dim)
#define __syncthreads() shim::leave(shim::AT_BARRIER, __LINE__)
#define __syncwarp() shim::leave(shim::AT_WARP_BARRIER, __LINE__)
#define __nanosleep(ns) shim::leave(shim::ASLEEP, __LINE__)
#define __threadfence() ((void)0)

template <class T> T atomicAdd(T *address, T value)
{
    const T old = *address;
    *address += value;
    return old;
}
