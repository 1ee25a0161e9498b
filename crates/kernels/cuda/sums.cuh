// Sums over the threads of a warp and of a block, always in the same order: a card repeats its numbers bit for bit.
#pragma once

// Every lane of the warp calls it and gets the sum.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int step = 16; step; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

// Every thread of the block calls it and gets the sum. A block is one-dimensional and made of whole warps.
__device__ __forceinline__ float block_sum(float x) {
    __shared__ float parts[32];
    const int warps = blockDim.x / 32;
    x = warp_sum(x);
    if (warps == 1) return x;
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0.f;
    for (int i = 0; i < warps; i++) sum += parts[i];
    // nobody writes the parts of a next sum before all have read these
    __syncthreads();
    return sum;
}
