// What CUDA gives a kernel, for kernels that were written by others and for any card.
//
// The emulator beside this one holds kernels to more than a card does; here they are taken as they are: blocks need not be
// whole warps, and lanes may leave before others shuffle. Where a source has no barriers, a thread is a call; elsewhere each is
// a fibre, which all launches share.
#pragma once

#include <cassert>
#include <climits>
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <utility>

#include <math.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "kernels.h"

#define __global__
#define __device__ inline
#define __host__
#define __forceinline__
#define __launch_bounds__(...)
#define __shared__ static
#define __CUDA_ARCH__ 800
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
static inline float2 make_float2(float x, float y) { return {x, y}; }

namespace fibres {

struct Three {
    unsigned x, y, z;
};

enum class State { Runs, AtBarrier, AtShuffle, Left };

struct Fibre {
    jmp_buf at;
    ucontext_t start;
    bool started = false;
    State state = State::Left;
    Three thread;
    unsigned char value[16];
    int mask;
};

inline constexpr unsigned MOST = 1024;
inline constexpr size_t STACK = 1 << 16;
inline Fibre all[MOST];
inline unsigned count;
inline Fibre *now;
inline jmp_buf scheduler;
inline Three thread_index, block_index, block_size, grid_size;
inline void (*body)();

[[noreturn]] inline void fail(const char *why) {
    fprintf(stderr, "driver: %s (block %u %u %u)\n", why, block_index.x, block_index.y, block_index.z);
    abort();
}

[[noreturn]] inline void go_on(Fibre &fibre) {
    now = &fibre, thread_index = fibre.thread;
    if (fibre.started) _longjmp(fibre.at, 1);
    fibre.started = true;
    setcontext(&fibre.start);
    fail("a thread that does not begin");
}

// Straight to the next lane of the warp that can run; to the scheduler where there is none.
inline void pause(State state) {
    now->state = state;
    if (_setjmp(now->at) != 0) return;
    const unsigned me = (unsigned)(now - all), end = (me | 31) < count ? (me | 31) + 1 : count;
    for (unsigned i = me + 1; i < end; i++) {
        if (all[i].state == State::Runs) go_on(all[i]);
    }
    _longjmp(scheduler, 1);
}

inline void live() {
    for (;;) {
        body();
        pause(State::Left);
    }
}

// Runs lanes from this one on, until none of the warp is left that can run.
inline void resume(Fibre &fibre) {
    if (_setjmp(scheduler) == 0) go_on(fibre);
}

inline void prepare() {
    static bool done = false;
    if (done) return;
    char *stacks = (char *)mmap(nullptr, MOST * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) fail("no memory for stacks");
    for (unsigned i = 0; i < MOST; i++) {
        getcontext(&all[i].start);
        all[i].start.uc_stack.ss_sp = stacks + i * STACK;
        all[i].start.uc_stack.ss_size = STACK;
        makecontext(&all[i].start, live, 0);
    }
    done = true;
}

// The value of the lane whose number differs by these bits; this lane's own where there is none.
template <class T> T exchanged(T value, int mask) {
    static_assert(sizeof(T) <= 16);
    memcpy(now->value, &value, sizeof value);
    now->mask = mask;
    pause(State::AtShuffle);
    memcpy(&value, now->value, sizeof value);
    return value;
}

inline void exchange(Fibre *warp, unsigned lanes) {
    unsigned char given[32][16];
    for (unsigned i = 0; i < lanes; i++) memcpy(given[i], warp[i].value, 16);
    for (unsigned i = 0; i < lanes; i++) {
        if (warp[i].state != State::AtShuffle) continue;
        const unsigned from = i ^ (unsigned)warp[i].mask;
        if (from < lanes && warp[from].state != State::Left) memcpy(warp[i].value, given[from], 16);
    }
    for (unsigned i = 0; i < lanes; i++) {
        if (warp[i].state == State::AtShuffle) warp[i].state = State::Runs;
    }
}

inline void run_block() {
    for (unsigned i = 0; i < count; i++) all[i].state = State::Runs;
    for (;;) {
        unsigned waiting = 0;
        for (unsigned first = 0; first < count; first += 32) {
            Fibre *warp = all + first;
            const unsigned lanes = count - first < 32 ? count - first : 32;
            for (;;) {
                for (unsigned i = 0; i < lanes; i++) {
                    if (warp[i].state == State::Runs) resume(warp[i]);
                }
                unsigned shuffling = 0, barred = 0;
                for (unsigned i = 0; i < lanes; i++) {
                    shuffling += warp[i].state == State::AtShuffle, barred += warp[i].state == State::AtBarrier;
                }
                if (shuffling == 0) {
                    waiting += barred;
                    break;
                }
                if (barred != 0) fail("a shuffle while others wait at a barrier");
                exchange(warp, lanes);
            }
        }
        if (waiting == 0) return;
        for (unsigned i = 0; i < count; i++) {
            if (all[i].state == State::AtBarrier) all[i].state = State::Runs;
        }
    }
}

inline void run_plainly() {
    for (unsigned z = 0; z < block_size.z; z++) {
        for (unsigned y = 0; y < block_size.y; y++) {
            for (unsigned x = 0; x < block_size.x; x++) thread_index = {x, y, z}, body();
        }
    }
}

inline void run(const unsigned *grid, const unsigned *block, bool has_barriers, void (*kernel)()) {
    grid_size = {grid[0], grid[1], grid[2]}, block_size = {block[0], block[1], block[2]};
    count = block[0] * block[1] * block[2], body = kernel;
    if (has_barriers) {
        prepare();
        for (unsigned i = 0; i < count; i++) all[i].thread = {i % block[0], i / block[0] % block[1], i / block[0] / block[1]};
    }
    for (unsigned z = 0; z < grid[2]; z++) {
        for (unsigned y = 0; y < grid[1]; y++) {
            for (unsigned x = 0; x < grid[0]; x++) {
                block_index = {x, y, z};
                if (has_barriers) run_block();
                else run_plainly();
            }
        }
    }
}

template <auto Kernel> struct Launch;
template <class... A, void (*Kernel)(A...)> struct Launch<Kernel> {
    static inline std::tuple<A...> values;

    static void call() { std::apply(Kernel, values); }

    static void go(const unsigned *grid, const unsigned *block, void **arguments) {
        fill(arguments, std::index_sequence_for<A...>());
        run(grid, block, HAS_BARRIERS, call);
    }

    template <size_t... I> static void fill(void **arguments, std::index_sequence<I...>) {
        values = std::tuple<A...>(*(A *)arguments[I]...);
    }
};

} // namespace fibres

#define EMULATED(NAME) static driver::Added added_##NAME(driver::described(#NAME, NAME, fibres::Launch<NAME>::go));

#define threadIdx fibres::thread_index
#define blockIdx fibres::block_index
#define blockDim fibres::block_size
#define gridDim fibres::grid_size

static inline void __syncthreads() { fibres::pause(fibres::State::AtBarrier); }
template <class T> T __shfl_xor_sync(unsigned, T x, int mask, int = 32) { return fibres::exchanged(x, mask); }

// What CUDA has without a header.
template <class A, class B> constexpr std::common_type_t<A, B> min(A a, B b) {
    using C = std::common_type_t<A, B>;
    return (C)b < (C)a ? (C)b : (C)a;
}
template <class A, class B> constexpr std::common_type_t<A, B> max(A a, B b) {
    using C = std::common_type_t<A, B>;
    return (C)a < (C)b ? (C)b : (C)a;
}
static inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
static inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678118654752f); }
static inline double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752440); }

template <class To, class From> static inline To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline unsigned __float_as_uint(float x) { return same_bits<unsigned>(x); }
static inline float __uint_as_float(unsigned x) { return same_bits<float>(x); }
static inline int __float_as_int(float x) { return same_bits<int>(x); }
static inline float __int_as_float(int x) { return same_bits<float>(x); }
static inline long long __double_as_longlong(double x) { return same_bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return same_bits<double>(x); }

// One thread runs at a time.
template <class T, class V> T atomicAdd(T *at, V x) {
    T before = *at;
    *at = before + (T)x;
    return before;
}
template <class T, class V> T atomicMin(T *at, V x) {
    T before = *at;
    if ((T)x < before) *at = (T)x;
    return before;
}
template <class T, class V> T atomicMax(T *at, V x) {
    T before = *at;
    if (before < (T)x) *at = (T)x;
    return before;
}
template <class T> T atomicCAS(T *at, T was, T is) {
    T before = *at;
    if (before == was) *at = is;
    return before;
}
