// What follows a product: bias, activation, a factor, a gated residual, in one visit to its sums.
//
// The plain form rounds to bfloat16 after each of these steps; here a number is rounded once, at the end, so the two
// differ by some roundings and this one is the nearer to the definition.
#include "numbers.cuh"

namespace {

enum Activation { None = 0, Silu = 1, QuickGelu = 2, GeluTanh = 3, Gelu = 4 };

// By the accurate functions, and in forms in which no term cancels another.
template <int A> __device__ __forceinline__ float activate(float x) {
    if constexpr (A == Silu) return x / (1.f + expf(-x));
    if constexpr (A == QuickGelu) return x / (1.f + expf(-1.702f * x));
    // (1 + tanh u) / 2 is the sigmoid of 2u
    if constexpr (A == GeluTanh) return x / (1.f + expf(-1.5957691216057308f * (x + 0.044715f * x * x * x)));
    // (1 + erf u) / 2 is erfc(-u) / 2
    if constexpr (A == Gelu) return 0.5f * x * erfcf(-0.70710678118654752f * x);
    return x;
}

// `sums` and `y` may be the same memory.
template <int A, int N>
__device__ void each(const Bf16 *sums, const Bf16 *bias, const Bf16 *times, const Bf16 *onto, const Bf16 *gate, Bf16 *y,
                     long long rows, long long width, long long rows_per_gate) {
    const long long across = width / N, step = (long long)gridDim.x * blockDim.x;
    const long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    // the place moves on without a division for each step
    const long long rows_on = step / across, columns_on = step % across;
    long long row = first / across, column = first % across;
    while (row < rows) {
        const long long i = column * N, at = row * width + i;
        float v[N], more[N];
        load<N>(sums + at, v);
        if (bias) {
            load<N>(bias + i, more);
#pragma unroll
            for (int j = 0; j < N; j++) v[j] += more[j];
        }
#pragma unroll
        for (int j = 0; j < N; j++) v[j] = activate<A>(v[j]);
        if (times) {
            load<N>(times + at, more);
#pragma unroll
            for (int j = 0; j < N; j++) v[j] *= more[j];
        }
        if (gate) {
            load<N>(gate + row / rows_per_gate * width + i, more);
#pragma unroll
            for (int j = 0; j < N; j++) v[j] *= more[j];
        }
        if (onto) {
            load<N>(onto + at, more);
#pragma unroll
            for (int j = 0; j < N; j++) v[j] += more[j];
        }
        store<N>(y + at, v);
        row += rows_on, column += columns_on;
        if (column >= across) row++, column -= across;
    }
}

template <int A>
__device__ void any_width(const Bf16 *sums, const Bf16 *bias, const Bf16 *times, const Bf16 *onto, const Bf16 *gate,
                          Bf16 *y, long long rows, long long width, long long rows_per_gate) {
    const bool well = width % 8 == 0 && lie_well<8>(sums, bias, times, onto, gate, y);
    if (well) {
        each<A, 8>(sums, bias, times, onto, gate, y, rows, width, rows_per_gate);
    } else {
        each<A, 1>(sums, bias, times, onto, gate, y, rows, width, rows_per_gate);
    }
}

} // namespace

// y = onto + gate * (act(sums + bias) * times), in float32, rounded once.
//
// sums, times, onto, y [rows, width]; bias [width]; gate [rows / rows_per_gate, width]; all but sums and y may be null.
// activation: 0 none, 1 SiLU, 2 QuickGelu, 3 GeluTanh, 4 Gelu (with erf). y may be the memory of sums, times or onto.
//
// Any grid of one dimension: threads walk on until all is done.
extern "C" __global__ void __launch_bounds__(256)
finish_bf16(const Bf16 *sums, const Bf16 *bias, int activation, const Bf16 *times, const Bf16 *onto, const Bf16 *gate,
            Bf16 *y, long long rows, long long width, long long rows_per_gate) {
    switch (activation) {
    case Silu: return any_width<Silu>(sums, bias, times, onto, gate, y, rows, width, rows_per_gate);
    case QuickGelu: return any_width<QuickGelu>(sums, bias, times, onto, gate, y, rows, width, rows_per_gate);
    case GeluTanh: return any_width<GeluTanh>(sums, bias, times, onto, gate, y, rows, width, rows_per_gate);
    case Gelu: return any_width<Gelu>(sums, bias, times, onto, gate, y, rows, width, rows_per_gate);
    default: return any_width<None>(sums, bias, times, onto, gate, y, rows, width, rows_per_gate);
    }
}
