// Group norm of pictures whose channels lie together, [batch, area, channels], with SiLU after it where asked for.
//
// Three steps. `group_norm_sums_*`: the area is cut into slices, and for each slice and group the mean and the sum of the
// squared distances from it are found. `group_norm_join`: those of all slices become one mean and one scale for each group.
// `group_norm_apply_*`: each number is normed. Means and squares are joined as Chan, Golub and LeVeque do (1979), so a
// million places lose no digits, whatever the mean is; and always in the same order, without atomics.
#include "numbers.cuh"

namespace {

// So many numbers, their mean, and the sum of their squared distances from it.
struct Moments {
    float count, mean, squares;
};

__device__ __forceinline__ Moments join(Moments a, Moments b) {
    const float count = a.count + b.count;
    if (count == 0.f) return a;
    const float apart = b.mean - a.mean, share = b.count / count;
    return {count, a.mean + apart * share, a.squares + b.squares + apart * apart * a.count * share};
}

// Where the rows of a slice begin; that of slice + 1 is where they end.
__device__ __forceinline__ long long beginning(long long slice, long long slices, long long area) {
    const long long rows = (area + slices - 1) / slices, at = slice * rows;
    return at < area ? at : area;
}

// U neighbouring channels of one group are read at once. `parts` is shared, one for each thread.
template <int U, class T>
__device__ void sums(const T *x, float *workspace, long long area, int channels, int groups, Moments *parts) {
    // rows at once: enough to wait for memory together, few enough for the registers
    constexpr int R = U == 1 ? 8 : 2;
    const int threads = blockDim.x, slice = blockIdx.x, slices = gridDim.x;
    const int size = channels / groups, units = size / U;
    // so many groups that each thread has a unit, or one group of which each thread has several
    const int most = units < threads ? threads / units : 1;
    const long long begin = beginning(slice, slices, area), end = beginning(slice + 1, slices, area);
    x += blockIdx.z * area * channels;
    for (int group = blockIdx.y * most; group < groups; group += gridDim.y * most) {
        const int here = group + most < groups ? most : groups - group;
        const int across = here * units < threads ? here * units : threads, lanes = threads / across;
        const int column = threadIdx.x % across, lane = threadIdx.x / across;
        Moments all = {0.f, 0.f, 0.f};
        for (int unit = column; unit < here * units && lane < lanes; unit += across) {
            const T *from = x + (long long)group * size + unit * U;
            for (long long row = begin + lane; row < end; row += (long long)lanes * R) {
                float v[R][U], sum = 0.f, squares = 0.f;
                int rows = 0;
#pragma unroll
                for (int r = 0; r < R; r++) {
                    if (row + (long long)r * lanes >= end) continue;
                    load<U>(from + (row + (long long)r * lanes) * channels, v[r]);
                    rows++;
                }
#pragma unroll
                for (int r = 0; r < R; r++) {
#pragma unroll
                    for (int u = 0; u < U; u++) sum += r < rows ? v[r][u] : 0.f;
                }
                const float count = (float)(rows * U), mean = sum / count;
#pragma unroll
                for (int r = 0; r < R; r++) {
#pragma unroll
                    for (int u = 0; u < U; u++) squares += r < rows ? (v[r][u] - mean) * (v[r][u] - mean) : 0.f;
                }
                all = join(all, {count, mean, squares});
            }
        }
        parts[threadIdx.x] = all;
        __syncthreads();
        if ((int)threadIdx.x < here) {
            // the threads whose columns are those of one group; beyond a block's width there is but one group
            const int first = threadIdx.x * units, last = units < threads ? first + units : across;
            Moments joined = {0.f, 0.f, 0.f};
            for (int l = 0; l < lanes; l++) {
                for (int c = first; c < last; c++) joined = join(joined, parts[l * across + c]);
            }
            const long long at = (((long long)blockIdx.z * groups + group + threadIdx.x) * slices + slice) * 2;
            workspace[at] = joined.mean, workspace[at + 1] = joined.squares;
        }
        __syncthreads();
    }
}

template <int U, class T>
__device__ void apply(const T *x, const T *gain, const T *offset, const float *statistics, T *y, long long area,
                      int channels, int groups, bool silu) {
    const int threads = blockDim.x, size = channels / groups, units = channels / U;
    const int across = units < threads ? units : threads, lanes = threads / across;
    const int lane = threadIdx.x / across;
    if (lane >= lanes) return;
    x += blockIdx.y * area * channels, y += blockIdx.y * area * channels;
    statistics += (long long)blockIdx.y * groups * 2;
    for (int unit = threadIdx.x % across; unit < units; unit += across) {
        const int channel = unit * U, group = channel / size;
        const float mean = statistics[group * 2], scale = statistics[group * 2 + 1];
        float factor[U], shift[U], v[U];
#pragma unroll
        for (int u = 0; u < U; u++) factor[u] = 1.f, shift[u] = 0.f;
        if (gain) load<U>(gain + channel, factor);
        if (offset) load<U>(offset + channel, shift);
        for (long long row = (long long)blockIdx.x * lanes + lane; row < area; row += (long long)gridDim.x * lanes) {
            load<U>(x + row * channels + channel, v);
#pragma unroll
            for (int u = 0; u < U; u++) {
                v[u] = (v[u] - mean) * scale * factor[u] + shift[u];
                if (silu) v[u] /= 1.f + expf(-v[u]);
            }
            store<U>(y + row * channels + channel, v);
        }
    }
}

} // namespace

// workspace [batch, groups, slices, 2] in float32: mean and sum of squared distances of each slice.
//
// x [batch, area, channels]; groups divides channels. grid: x = slices, as many as the caller likes, all known to
// group_norm_join; y = 1 or more; z = batch (65535 at most). Block: whole warps, 256 threads at most. The 2 of the bounds lets
// ptxas use the registers that it needs: for a third block on a multiprocessor it would spill.
extern "C" __global__ void __launch_bounds__(256, 2)
group_norm_sums_bf16(const Bf16 *x, float *workspace, long long area, int channels, int groups) {
    __shared__ Moments parts[256];
    const int size = channels / groups;
    if (size % 8 == 0 && lie_well<8>(x)) {
        sums<8>(x, workspace, area, channels, groups, parts);
    } else if (size % 4 == 0 && lie_well<4>(x)) {
        sums<4>(x, workspace, area, channels, groups, parts);
    } else {
        sums<1>(x, workspace, area, channels, groups, parts);
    }
}

extern "C" __global__ void __launch_bounds__(256, 2)
group_norm_sums_f32(const float *x, float *workspace, long long area, int channels, int groups) {
    __shared__ Moments parts[256];
    if (channels / groups % 4 == 0 && lie_well<4>(x)) {
        sums<4>(x, workspace, area, channels, groups, parts);
    } else {
        sums<1>(x, workspace, area, channels, groups, parts);
    }
}

// statistics [batch, groups, 2] in float32: the mean, and 1 / sqrt(variance + eps).
//
// size is channels / groups; slices is the grid.x of the sums. grid.x = batch * groups; block: 32 threads.
extern "C" __global__ void __launch_bounds__(32)
group_norm_join(const float *workspace, float *statistics, long long area, int size, int slices, float eps) {
    const long long item = blockIdx.x;
    workspace += item * slices * 2;
    Moments all = {0.f, 0.f, 0.f};
    for (int slice = threadIdx.x; slice < slices; slice += 32) {
        const long long rows = beginning(slice + 1ll, slices, area) - beginning(slice, slices, area);
        all = join(all, {(float)(rows * size), workspace[slice * 2ll], workspace[slice * 2ll + 1]});
    }
#pragma unroll
    for (int step = 16; step; step /= 2) {
        const Moments other = {__shfl_down_sync(0xffffffffu, all.count, step),
                               __shfl_down_sync(0xffffffffu, all.mean, step),
                               __shfl_down_sync(0xffffffffu, all.squares, step)};
        all = join(all, other);
    }
    if (threadIdx.x == 0) {
        statistics[item * 2] = all.mean;
        statistics[item * 2 + 1] = 1.f / sqrtf(all.squares / all.count + eps);
    }
}

// y = (x - mean) * scale * gain + offset, then y * sigmoid(y) where silu is not 0, rounded once, at the end.
//
// x, y [batch, area, channels]; gain, offset [channels] or null; y may be x. grid: x = as many blocks as the caller likes;
// y = batch (65535 at most). Block: whole warps, 256 threads at most.
extern "C" __global__ void __launch_bounds__(256)
group_norm_apply_bf16(const Bf16 *x, const Bf16 *gain, const Bf16 *offset, const float *statistics, Bf16 *y,
                      long long area, int channels, int groups, int silu) {
    const int size = channels / groups;
    if (size % 8 == 0 && lie_well<8>(x, gain, offset, y)) {
        apply<8>(x, gain, offset, statistics, y, area, channels, groups, silu != 0);
    } else if (size % 4 == 0 && lie_well<4>(x, gain, offset, y)) {
        apply<4>(x, gain, offset, statistics, y, area, channels, groups, silu != 0);
    } else {
        apply<1>(x, gain, offset, statistics, y, area, channels, groups, silu != 0);
    }
}

extern "C" __global__ void __launch_bounds__(256)
group_norm_apply_f32(const float *x, const float *gain, const float *offset, const float *statistics, float *y,
                     long long area, int channels, int groups, int silu) {
    if (channels / groups % 4 == 0 && lie_well<4>(x, gain, offset, y)) {
        apply<4>(x, gain, offset, statistics, y, area, channels, groups, silu != 0);
    } else {
        apply<1>(x, gain, offset, statistics, y, area, channels, groups, silu != 0);
    }
}
