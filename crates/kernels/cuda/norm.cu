// Norms of rows: layer norm with what modulates it, and RMS norm.
//
// One block a row: grid.x is the number of rows, a block is made of whole warps, at most 1024 threads. The row is read
// again for each pass; after the first it comes from the cache. Rows whose width divides by 8 and whose pointers all lie
// at multiples of 16 bytes are read eight numbers at a time, others one by one.
#include "numbers.cuh"
#include "sums.cuh"

namespace {

template <int N>
__device__ void layer_norm_row(const Bf16 *x, const Bf16 *gain, const Bf16 *offset, Bf16 *y, long long width, float eps,
                               float more) {
    const long long first = (long long)threadIdx.x * N, step = (long long)blockDim.x * N;
    float v[N], sum = 0.f;
    for (long long i = first; i < width; i += step) {
        load<N>(x + i, v);
#pragma unroll
        for (int j = 0; j < N; j++) sum += v[j];
    }
    const float mean = block_sum(sum) / (float)width;
    float squares = 0.f;
    for (long long i = first; i < width; i += step) {
        load<N>(x + i, v);
#pragma unroll
        for (int j = 0; j < N; j++) squares += (v[j] - mean) * (v[j] - mean);
    }
    const float scale = 1.f / sqrtf(block_sum(squares) / (float)width + eps);
    float factor[N], shift[N];
    for (long long i = first; i < width; i += step) {
        load<N>(x + i, v);
        if (gain) load<N>(gain + i, factor);
        if (offset) load<N>(offset + i, shift);
#pragma unroll
        for (int j = 0; j < N; j++) {
            v[j] = (v[j] - mean) * scale;
            if (gain) v[j] *= factor[j] + more;
            if (offset) v[j] += shift[j];
        }
        store<N>(y + i, v);
    }
}

template <int N>
__device__ void rms_norm_row(const Bf16 *x, const Bf16 *gain, Bf16 *y, long long width, float eps) {
    const long long first = (long long)threadIdx.x * N, step = (long long)blockDim.x * N;
    float v[N], squares = 0.f;
    for (long long i = first; i < width; i += step) {
        load<N>(x + i, v);
#pragma unroll
        for (int j = 0; j < N; j++) squares += v[j] * v[j];
    }
    const float scale = 1.f / sqrtf(block_sum(squares) / (float)width + eps);
    float factor[N];
    for (long long i = first; i < width; i += step) {
        load<N>(x + i, v);
        if (gain) load<N>(gain + i, factor);
#pragma unroll
        for (int j = 0; j < N; j++) {
            v[j] *= scale;
            if (gain) v[j] *= factor[j];
        }
        store<N>(y + i, v);
    }
}

} // namespace

// y = (x - mean) / sqrt(variance + eps) * (gain + plus_one) + offset, rounded once, at the end.
//
// x, y [rows, width]; gain, offset [rows / rows_per_gain, width], each for rows_per_gain rows, or null: a factor of 1
// whatever plus_one says, and nothing added. plus_one is 0 or 1: a modulation's scale is told less the 1. y may be x.
extern "C" __global__ void __launch_bounds__(1024)
layer_norm_bf16(const Bf16 *x, const Bf16 *gain, const Bf16 *offset, Bf16 *y, long long width, long long rows_per_gain,
                float eps, int plus_one) {
    const long long row = blockIdx.x;
    const long long entry = gain || offset ? row / rows_per_gain : 0;
    const bool well = width % 8 == 0 && lie_well<8>(x, y, gain, offset);
    x += row * width, y += row * width;
    if (gain) gain += entry * width;
    if (offset) offset += entry * width;
    if (well) {
        layer_norm_row<8>(x, gain, offset, y, width, eps, (float)plus_one);
    } else {
        layer_norm_row<1>(x, gain, offset, y, width, eps, (float)plus_one);
    }
}

// y = x / sqrt(mean of squares + eps) * gain, rounded once, at the end.
//
// x, y [rows, width]; gain [width] or null. y may be x.
extern "C" __global__ void __launch_bounds__(1024)
rms_norm_bf16(const Bf16 *x, const Bf16 *gain, Bf16 *y, long long width, float eps) {
    const long long row = blockIdx.x;
    const bool well = width % 8 == 0 && lie_well<8>(x, y, gain);
    x += row * width, y += row * width;
    if (well) {
        rms_norm_row<8>(x, gain, y, width, eps);
    } else {
        rms_norm_row<1>(x, gain, y, width, eps);
    }
}
