/* What an f16 product reads, made from what the copy engine brought: tiles of an e4m3 cache (exactly) and rows of bf16, by THREADS
 * threads. Addresses are of shared memory. Ordinary writes: the caller fences them. */
#ifndef MR_KERNELS_CUDA_ATTENTION_WIDEN_CUH
#define MR_KERNELS_CUDA_ATTENTION_WIDEN_CUH

#include "kernels/cuda/attention_tile.cuh"

enum { WIDEN_BATCH = 4 }; /* loads of a thread in flight */

static __device__ __forceinline__ uint4 shared_load16(uint32_t from)
{
    uint4 x;
    asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "r"(from) : "memory");
    return x;
}
static __device__ __forceinline__ void shared_store16(uint32_t to, uint4 x)
{
    asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(to), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w) : "memory");
}

static __device__ __forceinline__ uint4 e4m3_eight(uint32_t low, uint32_t high)
{
    return make_uint4(e4m3_pair(low), e4m3_pair(low >> 16), e4m3_pair(high), e4m3_pair(high >> 16));
}

/* A tile of rows of D bytes to f16 in the swizzle of hopper.cuh; rows at or past n become zeros. Sixteen elements a thread and load:
 * eight threads take half of a row and, of the row after it, the other half, so that neither their loads nor their stores meet in a
 * bank. A thread's next sixteen lie STEP rows further, at the same place in the swizzle. */
template <int ROWS, int D, int THREADS>
static __device__ __forceinline__ void tile_widen(uint32_t from, uint32_t to, int n, uint32_t thread)
{
    constexpr int STEP = THREADS * 16 / D;
    static_assert((D == 64 || D == 128) && STEP % 8 == 0 && ROWS % (STEP * WIDEN_BATCH) == 0, "whole batches, one swizzle");
    uint32_t odd = thread / 4 % 2, row = thread / (D / 8) * 2 + odd, half = D == 128 ? thread / 8 % 2 ^ odd : 0;
    from += row * D + half * 64 + thread % 4 * 16;
    to += (half * ROWS + row) * 128 + (thread % 4 * 2 ^ row % 8) * 16;
#pragma unroll
    for (int first = 0; first < ROWS; first += STEP * WIDEN_BATCH) {
        uint4 bytes[WIDEN_BATCH];
#pragma unroll
        for (int i = 0; i < WIDEN_BATCH; i++) {
            int down = first + i * STEP;
            bytes[i] = make_uint4(0, 0, 0, 0);
            if (down + (int)row < n)
                bytes[i] = shared_load16(from + down * D);
        }
#pragma unroll
        for (int i = 0; i < WIDEN_BATCH; i++) {
            uint32_t place = to + (first + i * STEP) * 128;
            shared_store16(place, e4m3_eight(bytes[i].x, bytes[i].y));
            shared_store16(place ^ 16, e4m3_eight(bytes[i].z, bytes[i].w));
        }
    }
}

/* N elements from bf16 to f16 where they lie: a swizzle moves whole chunks. */
template <int N, int THREADS>
static __device__ __forceinline__ void halves_widen(uint32_t place, uint32_t thread)
{
    static_assert(N % (8 * THREADS * WIDEN_BATCH) == 0, "whole batches");
    place += thread * 16;
#pragma unroll 1
    for (int first = 0; first < N / 8; first += THREADS * WIDEN_BATCH, place += THREADS * WIDEN_BATCH * 16) {
        uint4 chunk[WIDEN_BATCH];
#pragma unroll
        for (int i = 0; i < WIDEN_BATCH; i++)
            chunk[i] = shared_load16(place + i * THREADS * 16);
#pragma unroll
        for (int i = 0; i < WIDEN_BATCH; i++) {
            uint32_t *two = (uint32_t *)&chunk[i];
            for (int j = 0; j < 4; j++) {
                float2 f = __bfloat1622float2(*(const __nv_bfloat162 *)&two[j]);
                two[j] = pack2<__half>(f.x, f.y);
            }
            shared_store16(place + i * THREADS * 16, chunk[i]);
        }
    }
}

#endif
