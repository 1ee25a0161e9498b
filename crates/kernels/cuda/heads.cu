// What happens to the heads of queries and keys before attention: an RMS norm for each, then rotation by position.
//
// One warp a head of a token. A lane has the pairs lane, lane + 32, ..., so that a warp reads neighbouring numbers. Pairs
// are read whole where all pointers lie at multiples of four bytes and the strides are even, else number by number.
#include "numbers.cuh"
#include "sums.cuh"

namespace {

template <bool Whole> __device__ __forceinline__ void load_pair(const Bf16 *p, float &a, float &b) {
    if constexpr (Whole) {
        float v[2];
        load<2>(p, v);
        a = v[0], b = v[1];
    } else {
        a = wide(p[0]), b = wide(p[1]);
    }
}

// P pairs a lane: enough for heads of up to 64 * P numbers.
template <int P, bool Whole>
__device__ void head(const Bf16 *x, const Bf16 *gain, float eps, const float *cos, const float *sin, Bf16 *y, int width) {
    const int lane = threadIdx.x % 32, pairs = width / 2;
    float a[P], b[P], squares = 0.f;
#pragma unroll
    for (int k = 0; k < P; k++) {
        const int i = lane + 32 * k;
        a[k] = b[k] = 0.f;
        if (i < pairs) load_pair<Whole>(x + 2 * i, a[k], b[k]);
        squares += a[k] * a[k] + b[k] * b[k];
    }
    if (gain) {
        const float scale = 1.f / sqrtf(warp_sum(squares) / (float)width + eps);
#pragma unroll
        for (int k = 0; k < P; k++) {
            const int i = lane + 32 * k;
            float ga = 0.f, gb = 0.f;
            if (i < pairs) load_pair<Whole>(gain + 2 * i, ga, gb);
            // rounded between the two steps, as where the norm is an operation of its own
            const unsigned both = pair(a[k] * scale * ga, b[k] * scale * gb);
            a[k] = low(both), b[k] = high(both);
        }
    }
#pragma unroll
    for (int k = 0; k < P; k++) {
        const int i = lane + 32 * k;
        if (i >= pairs) continue;
        float v[2] = {a[k], b[k]};
        if (cos) {
            const float c = cos[i], s = sin[i];
            v[0] = a[k] * c - b[k] * s, v[1] = b[k] * c + a[k] * s;
        }
        if constexpr (Whole) {
            store<2>(y + 2 * i, v);
        } else {
            narrow(v[0], y[2 * i]), narrow(v[1], y[2 * i + 1]);
        }
    }
}

template <bool Whole>
__device__ void any_width(const Bf16 *x, const Bf16 *gain, float eps, const float *cos, const float *sin, Bf16 *y,
                          int width) {
    if (width <= 64) {
        head<1, Whole>(x, gain, eps, cos, sin, y, width);
    } else if (width <= 128) {
        head<2, Whole>(x, gain, eps, cos, sin, y, width);
    } else {
        head<4, Whole>(x, gain, eps, cos, sin, y, width);
    }
}

} // namespace

// y = rotate(norm(x)): x / sqrt(mean of squares + eps) * gain where there is a gain, rounded to bfloat16; then, where
// there are angles, each pair (a, b) becomes (a cos - b sin, b cos + a sin), rounded.
//
// x [batch, tokens, heads, width]: entries batch_stride numbers apart, tokens token_stride, heads width. gain [width] or
// null. cos, sin [tokens, width / 2] in float32, or both null. y [batch, tokens, heads, width], dense; it may be x where
// that is dense. width is even and at most 256.
//
// grid: x = tokens * heads divided by the warps of a block, rounded up; y = batch (65535 at most). Block: whole warps.
extern "C" __global__ void __launch_bounds__(256)
norm_rotate_bf16(const Bf16 *x, const Bf16 *gain, float eps, const float *cos, const float *sin, Bf16 *y,
                 long long tokens, int heads, int width, long long token_stride, long long batch_stride) {
    const long long item = (long long)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    const bool whole = lie_well<2>(x, y, gain) && (token_stride | batch_stride) % 2 == 0;
    // whole warps leave
    if (item >= tokens * heads) return;
    const long long token = item / heads, number = item % heads, entry = blockIdx.y;
    x += entry * batch_stride + token * token_stride + number * width;
    y += (entry * tokens * heads + item) * width;
    if (cos) cos += token * (width / 2), sin += token * (width / 2);
    if (whole) {
        any_width<true>(x, gain, eps, cos, sin, y, width);
    } else {
        any_width<false>(x, gain, eps, cos, sin, y, width);
    }
}
