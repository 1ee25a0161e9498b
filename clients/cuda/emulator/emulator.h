// What CUDA gives a kernel, on an ordinary CPU: enough of it for the kernels of crates/kernels/cuda, and stricter.
//
// A thread is a fibre with a stack of its own; the blocks of a grid run one after the other. A warp runs until all its lanes
// are at a barrier, in an order that the caller chooses: where two orders give different numbers, a barrier is missing. Shared memory is full of NaN when a block begins. What would hang or be undefined on a card (a barrier that not
// all threads come to, a shuffle with lanes that have left) ends the process with a word.
#pragma once

#include <cmath>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <ucontext.h>

#define SCUMBLE_EMULATED
#define __global__
#define __device__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
// in a section of their own, so that all of it can be found
#define __shared__ static __attribute__((section("shared_memory")))

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct Three {
    unsigned x, y, z;
};

extern "C" char __start_shared_memory[] __attribute__((weak)), __stop_shared_memory[] __attribute__((weak));

namespace emulator {

enum class State { Runs, AtBarrier, AtShuffle, Left };

struct Fibre {
    jmp_buf at;
    ucontext_t start;
    bool started = false;
    State state = State::Left;
    Three thread;
    // of a shuffle: what this lane gives and gets, and whose it asks for
    float value;
    bool down;
    int step;
};

static std::vector<Fibre> fibres;
static Fibre *now;
static jmp_buf scheduler;
static Three block_index, block_size, grid_size;
static void (*body)();

[[noreturn]] static void fail(const char *why) {
    fprintf(stderr, "emulator: %s (block %u %u %u)\n", why, block_index.x, block_index.y, block_index.z);
    fflush(stderr);
    abort();
}

static void pause(State state) {
    now->state = state;
    if (_setjmp(now->at) == 0) _longjmp(scheduler, 1);
}

static void resume(Fibre &fibre) {
    now = &fibre;
    if (_setjmp(scheduler) != 0) return;
    if (fibre.started) _longjmp(fibre.at, 1);
    fibre.started = true;
    setcontext(&fibre.start);
}

static void live() {
    for (;;) {
        body();
        pause(State::Left);
    }
}

static float shuffle(float value, bool down, int step) {
    now->value = value, now->down = down, now->step = step;
    pause(State::AtShuffle);
    return now->value;
}

// Lets the lanes of a warp that all came to the same shuffle go on. Whether there was one.
static bool exchange(Fibre *warp) {
    int waiting = 0;
    for (int i = 0; i < 32; i++) waiting += warp[i].state == State::AtShuffle;
    if (waiting == 0) return false;
    if (waiting != 32) fail("a shuffle that not all lanes of its warp come to");
    float given[32];
    for (int i = 0; i < 32; i++) {
        given[i] = warp[i].value;
        if (warp[i].down != warp[0].down || warp[i].step != warp[0].step) fail("lanes at different shuffles");
    }
    for (int i = 0; i < 32; i++) {
        const int from = warp[i].down ? i + warp[i].step : i ^ warp[i].step;
        warp[i].value = given[from < 32 ? from : i];
        warp[i].state = State::Runs;
    }
    return true;
}

// Runs the lanes of a warp that can run; whether there was one.
static bool advance(Fibre *warp) {
    bool ran = false;
    for (int i = 0; i < 32; i++) {
        if (warp[i].state == State::Runs) resume(warp[i]), ran = true;
    }
    return exchange(warp) || ran;
}

// `order`: 0 the first warp runs as far as it can, then the next one; 1 from the last one on; others by chance.
static void run_block(int order, unsigned &random) {
    if (__start_shared_memory) memset(__start_shared_memory, 0xff, __stop_shared_memory - __start_shared_memory);
    for (Fibre &fibre : fibres) fibre.state = State::Runs;
    const int warps = (int)fibres.size() / 32;
    std::vector<int> turns(warps);
    for (;;) {
        for (int i = 0; i < warps; i++) turns[i] = order == 1 ? warps - 1 - i : i;
        while (!turns.empty()) {
            int turn = 0;
            if (order > 1) {
                random = random * 1664525u + 1013904223u;
                turn = (int)((random >> 8) % turns.size());
            }
            if (!advance(&fibres[turns[turn] * 32])) turns.erase(turns.begin() + turn);
        }
        turns.resize(warps);
        int left = 0;
        for (const Fibre &fibre : fibres) left += fibre.state == State::Left;
        if (left == (int)fibres.size()) return;
        if (left != 0) fail("a barrier that not all threads come to");
        for (Fibre &fibre : fibres) fibre.state = State::Runs;
    }
}

// All blocks of the grid, or that one alone which `only` names.
static void run(const unsigned *grid, const unsigned *block, const unsigned *only, int order, void (*kernel)()) {
    static constexpr size_t stack = 1 << 16;
    grid_size = {grid[0], grid[1], grid[2]}, block_size = {block[0], block[1], block[2]};
    const unsigned count = block[0] * block[1] * block[2];
    if (count == 0 || count > 1024 || count % 32 != 0) fail("a block is not made of whole warps, or too large");
    if (grid[0] > 0x7fffffffu || grid[1] > 65535 || grid[2] > 65535) fail("a grid that no card takes");
    char *stacks = (char *)mmap(nullptr, count * stack, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) fail("no memory for stacks");
    body = kernel;
    fibres = std::vector<Fibre>(count);
    for (unsigned i = 0; i < count; i++) {
        Fibre &fibre = fibres[i];
        fibre.thread = {i % block[0], i / block[0] % block[1], i / block[0] / block[1]};
        getcontext(&fibre.start);
        fibre.start.uc_stack.ss_sp = stacks + i * stack;
        fibre.start.uc_stack.ss_size = stack;
        makecontext(&fibre.start, live, 0);
    }
    unsigned random = (unsigned)order;
    if (only) {
        block_index = {only[0], only[1], only[2]};
        run_block(order, random);
    }
    for (unsigned z = 0; !only && z < grid[2]; z++) {
        for (unsigned y = 0; y < grid[1]; y++) {
            for (unsigned x = 0; x < grid[0]; x++) {
                block_index = {x, y, z};
                run_block(order, random);
            }
        }
    }
    munmap(stacks, count * stack);
}

// The arguments as cuLaunchKernel takes them: a pointer to each.
template <auto Kernel> struct Launch;
template <class... A, void (*Kernel)(A...)> struct Launch<Kernel> {
    static inline std::tuple<A...> values;

    static void call() { std::apply(Kernel, values); }

    static void go(const unsigned *grid, const unsigned *block, const unsigned *only, int order, void **arguments) {
        fill(arguments, std::index_sequence_for<A...>());
        run(grid, block, only, order, call);
    }

    template <size_t... I> static void fill(void **arguments, std::index_sequence<I...>) {
        values = std::tuple<A...>(*(A *)arguments[I]...);
    }
};

} // namespace emulator

#define EMULATE(kernel)                                                                                                    \
    extern "C" void launch_##kernel(const unsigned *grid, const unsigned *block, const unsigned *only, int order,          \
                                    void **arguments) {                                                                    \
        emulator::Launch<kernel>::go(grid, block, only, order, arguments);                                                 \
    }

#define threadIdx (emulator::now->thread)
#define blockIdx emulator::block_index
#define blockDim emulator::block_size
#define gridDim emulator::grid_size

static inline void __syncthreads() { emulator::pause(emulator::State::AtBarrier); }
static inline float __shfl_xor_sync(unsigned mask, float x, int step) {
    if (mask != 0xffffffffu) emulator::fail("a shuffle of some lanes");
    return emulator::shuffle(x, false, step);
}
static inline float __shfl_down_sync(unsigned mask, float x, int step) {
    if (mask != 0xffffffffu) emulator::fail("a shuffle of some lanes");
    return emulator::shuffle(x, true, step);
}
static inline float __uint_as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

// cvt.rn.bf16.f32: to the nearest, ties to even; any NaN becomes the one that cards write.
static inline unsigned short rounded(float x) {
    unsigned bits;
    memcpy(&bits, &x, 4);
    if (x != x) return 0x7fff;
    return (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}
