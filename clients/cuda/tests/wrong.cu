// Kernels that are wrong, each in one way, and one that is right: what test_emulator.py shows to the emulator.

extern "C" __global__ void __launch_bounds__(64) turned(const float *x, float *y, int count) {
    __shared__ float all[64];
    all[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = all[63 - threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(64) lacks_a_barrier(const float *x, float *y, int count) {
    __shared__ float all[64];
    all[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = all[63 - threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(64) trusts_shared_memory(const float *x, float *y, int count) {
    __shared__ float all[64];
    y[threadIdx.x] = all[threadIdx.x] + x[threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(64) reads_beyond(const float *x, float *y, int count) {
    y[threadIdx.x] = x[threadIdx.x + 1];
}

extern "C" __global__ void __launch_bounds__(64) reads_before(const float *x, float *y, int count) {
    y[threadIdx.x] = x[(int)threadIdx.x - 1];
}

extern "C" __global__ void __launch_bounds__(64) writes_beyond(const float *x, float *y, int count) {
    y[threadIdx.x + 1] = x[threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(64) writes_its_input(const float *x, float *y, int count) {
    const_cast<float *>(x)[threadIdx.x] = y[threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(64) divides_by_nought(const float *x, float *y, int count) {
    y[threadIdx.x] = x[0] + (float)(count / (count - 64));
}

extern "C" __global__ void __launch_bounds__(64) overflows(const float *x, float *y, int count) {
    y[threadIdx.x] = x[0] + (float)(count * 0x40000000);
}

extern "C" __global__ void __launch_bounds__(64) reads_four(const float *x, float *y, int count) {
    if (threadIdx.x < 16) y[threadIdx.x] = reinterpret_cast<const float4 *>(x)[threadIdx.x].x;
}

extern "C" __global__ void __launch_bounds__(64) leaves_before_a_barrier(const float *x, float *y, int count) {
    if (threadIdx.x == 5) return;
    __syncthreads();
    y[threadIdx.x] = x[threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(64) leaves_before_a_shuffle(const float *x, float *y, int count) {
    if (threadIdx.x == 5) return;
    y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, x[threadIdx.x], 1);
}

extern "C" __global__ void __launch_bounds__(64) shuffles_apart(const float *x, float *y, int count) {
    y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, x[threadIdx.x], threadIdx.x == 5 ? 2 : 1);
}
