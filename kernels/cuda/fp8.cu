/* Rows to e4m3 with one scale a row: for weights once at load (a scale an output channel), for activations before each product (a
 * scale a token). One block a row; the row is read twice, the second time from cache. */
#include "kernels/cuda/device.cuh"

#include <cuda_fp8.h>

enum { THREADS = 256 };
#define E4M3_LARGEST 448.0f

static __global__ void __launch_bounds__(THREADS) quantise_kernel(const bf16 *from, unsigned char *to, float *scale, int64_t k)
{
    __shared__ float shared[32];
    next_start();
    previous_wait();
    const bf16 *row = from + (int64_t)blockIdx.x * k;
    float largest = 0, x[8];
    for (int64_t i = threadIdx.x * 8; i < k; i += THREADS * 8) {
        unpack8(*(const bf16x8 *)(row + i), x);
        for (int j = 0; j < 8; j++)
            largest = fmaxf(largest, fabsf(x[j]));
    }
    largest = warp_max(largest);
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = largest;
    __syncthreads();
    for (int i = 0; i < THREADS / 32; i++)
        largest = fmaxf(largest, shared[i]);
    float unit = largest > 0 ? largest / E4M3_LARGEST : 1.0f, inverse = 1 / unit;
    if (threadIdx.x == 0)
        scale[blockIdx.x] = unit;
    for (int64_t i = threadIdx.x * 8; i < k; i += THREADS * 8) {
        __nv_fp8x4_e4m3 packed[2];
        unpack8(*(const bf16x8 *)(row + i), x);
        for (int j = 0; j < 2; j++)
            packed[j] = __nv_fp8x4_e4m3(make_float4(x[4 * j] * inverse, x[4 * j + 1] * inverse, x[4 * j + 2] * inverse, x[4 * j + 3] * inverse));
        *(uint2 *)(to + (int64_t)blockIdx.x * k + i) = *(const uint2 *)packed;
    }
}

enum mr_status cuda_fp8_quantise(struct mr_device *device, const bf16 *from, unsigned char *to, float *scale, int64_t rows, int64_t k)
{
    return cuda_launch(device, {dim3((unsigned)rows), THREADS, 0}, quantise_kernel, from, to, scale, k);
}
