// The numbers of these kernels: bfloat16 or float32 in memory, float32 in registers.
//
// NVIDIA's own headers are not needed: so NVRTC compiles without any, and an ordinary compiler takes the same text with
// the emulator of clients/cuda.
#pragma once

// A float32 without its lower half.
struct Bf16 {
    unsigned short bits;
};

#ifndef SCUMBLE_EMULATED
// Rounds to the nearest, ties to even, as candle's own casts do.
__device__ __forceinline__ unsigned short rounded(float x) {
    unsigned short bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}
#endif

__device__ __forceinline__ float wide(Bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }
__device__ __forceinline__ float wide(float x) { return x; }

__device__ __forceinline__ void narrow(float x, Bf16 &to) { to.bits = rounded(x); }
__device__ __forceinline__ void narrow(float x, float &to) { to = x; }

__device__ __forceinline__ unsigned pair(float low, float high) { return rounded(low) | (unsigned)rounded(high) << 16; }
__device__ __forceinline__ float low(unsigned pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high(unsigned pair) { return __uint_as_float(pair & 0xffff0000u); }

// Whether these pointers lie so that N numbers can be read at once. Null does: nothing is read there.
template <int N, class... T> __device__ __forceinline__ bool lie_well(const T *...p) {
    return ((reinterpret_cast<unsigned long long>(p) % (N * sizeof(T)) == 0) && ...);
}

// N numbers to float32 in one access; where N is not 1, `p` lies well.
template <int N> __device__ __forceinline__ void load(const Bf16 *p, float (&v)[N]) {
    if constexpr (N == 8) {
        const uint4 raw = *reinterpret_cast<const uint4 *>(p);
        v[0] = low(raw.x), v[1] = high(raw.x), v[2] = low(raw.y), v[3] = high(raw.y);
        v[4] = low(raw.z), v[5] = high(raw.z), v[6] = low(raw.w), v[7] = high(raw.w);
    } else if constexpr (N == 4) {
        const uint2 raw = *reinterpret_cast<const uint2 *>(p);
        v[0] = low(raw.x), v[1] = high(raw.x), v[2] = low(raw.y), v[3] = high(raw.y);
    } else if constexpr (N == 2) {
        const unsigned raw = *reinterpret_cast<const unsigned *>(p);
        v[0] = low(raw), v[1] = high(raw);
    } else {
        static_assert(N == 1);
        v[0] = wide(*p);
    }
}

template <int N> __device__ __forceinline__ void load(const float *p, float (&v)[N]) {
    if constexpr (N == 4) {
        const float4 raw = *reinterpret_cast<const float4 *>(p);
        v[0] = raw.x, v[1] = raw.y, v[2] = raw.z, v[3] = raw.w;
    } else {
        static_assert(N == 1);
        v[0] = *p;
    }
}

// The same to memory, each number rounded once.
template <int N> __device__ __forceinline__ void store(Bf16 *p, const float (&v)[N]) {
    if constexpr (N == 8) {
        const uint4 raw = {pair(v[0], v[1]), pair(v[2], v[3]), pair(v[4], v[5]), pair(v[6], v[7])};
        *reinterpret_cast<uint4 *>(p) = raw;
    } else if constexpr (N == 4) {
        const uint2 raw = {pair(v[0], v[1]), pair(v[2], v[3])};
        *reinterpret_cast<uint2 *>(p) = raw;
    } else if constexpr (N == 2) {
        *reinterpret_cast<unsigned *>(p) = pair(v[0], v[1]);
    } else {
        static_assert(N == 1);
        p->bits = rounded(v[0]);
    }
}

template <int N> __device__ __forceinline__ void store(float *p, const float (&v)[N]) {
    if constexpr (N == 4) {
        const float4 raw = {v[0], v[1], v[2], v[3]};
        *reinterpret_cast<float4 *>(p) = raw;
    } else {
        static_assert(N == 1);
        *p = v[0];
    }
}
