// Convolutions of kernel 3 as products: each place of the result becomes a row of the nine places that it is made of.
//
// One warp a place, its lanes over the nine taps' channels, 16 bytes a lane where the channels allow it.
#include "numbers.cuh"

namespace {

// Same keeps the size. Halve has stride 2 and is padded at the bottom and the right only. Double is Same over the picture
// with every pixel repeated in both directions.
enum Kind { Same = 0, Halve = 1, Double = 2 };

__device__ __forceinline__ long long side(int kind, long long input) {
    return kind == Halve ? input / 2 : kind == Double ? input * 2 : input;
}

// The place that tap 0, 1 or 2 of an output place reads along one side, or -1 where that is padding.
__device__ __forceinline__ long long place(int kind, long long input, long long output, int tap) {
    if (kind == Halve) return output * 2 + tap < input ? output * 2 + tap : -1;
    const long long at = output + tap - 1;
    if (at < 0 || at >= side(kind, input)) return -1;
    return kind == Double ? at / 2 : at;
}

// U: what is copied at once, `units` of them for the channels of a place.
template <class U>
__device__ void copy(const U *x, U *y, long long height, long long width, int units, int kind, long long first,
                     long long count) {
    const long long rows = side(kind, height), columns = side(kind, width), warps = blockDim.x / 32;
    const int lane = threadIdx.x % 32;
    for (long long item = blockIdx.x * warps + threadIdx.x / 32; item < count * columns; item += gridDim.x * warps) {
        const long long row = first + item / columns, column = item % columns, entry = row / rows;
        U *to = y + item * 9 * units;
        for (int i = lane; i < 9 * units; i += 32) {
            const int tap = i / units, unit = i % units;
            const long long down = place(kind, height, row % rows, tap / 3), right = place(kind, width, column, tap % 3);
            U value = {};
            if (down >= 0 && right >= 0) value = x[((entry * height + down) * width + right) * units + unit];
            to[i] = value;
        }
    }
}

template <class T>
__device__ __forceinline__ void patches(const T *x, T *y, long long height, long long width, int channels, int kind,
                                        long long first, long long count) {
    constexpr int many = 16 / sizeof(T);
    if (channels % many == 0 && lie_well<many>(x, y)) {
        copy(reinterpret_cast<const uint4 *>(x), reinterpret_cast<uint4 *>(y), height, width, channels / many, kind, first,
             count);
    } else {
        copy(x, y, height, width, channels, kind, first, count);
    }
}

} // namespace

// x [batch, height, width, channels] to y [count * out_width, 9 * channels], ordered row of the kernel, its column,
// channel: the output rows first to first + count - 1, counted through all entries of the batch (entry * out_height + row).
//
// kind: 0 Same, 1 Halve (out = in / 2, rounded down), 2 Double. Any grid of one dimension: warps walk on until all is
// done. Block: whole warps. x and y are different memory.
extern "C" __global__ void __launch_bounds__(256)
patches_bf16(const Bf16 *x, Bf16 *y, long long height, long long width, int channels, int kind, long long first,
             long long count) {
    patches(x, y, height, width, channels, kind, first, count);
}

extern "C" __global__ void __launch_bounds__(256)
patches_f32(const float *x, float *y, long long height, long long width, int channels, int kind, long long first,
            long long count) {
    patches(x, y, height, width, channels, kind, first, count);
}
