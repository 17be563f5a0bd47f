/* One instruction each, with its name: asynchronous copies to shared memory, matrix fragments, 16x8x16 products.
 * PTX ISA 8.0, sections "mma.m16n8k16", "ldmatrix", "cp.async". */
#ifndef MR_KERNELS_CUDA_MMA_CUH
#define MR_KERNELS_CUDA_MMA_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

static __device__ __forceinline__ uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

/* 16 bytes, or 16 zero bytes when !valid (the source is then not read). */
static __device__ __forceinline__ void copy16(uint32_t to, const void *from, bool valid)
{
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
static __device__ __forceinline__ void copy16(uint32_t to, const void *from)
{
    asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
static __device__ __forceinline__ void copy_commit(void) { asm volatile("cp.async.commit_group;" ::: "memory"); }
/* Waits until at most N groups of this thread are in flight. */
template <int N>
static __device__ __forceinline__ void copy_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

static __device__ __forceinline__ void load_matrix4(uint32_t r[4], uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}
static __device__ __forceinline__ void load_matrix4_transposed(uint32_t r[4], uint32_t address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

/* c[16][8] += a[16][16] b[16][8], f32 accumulators. */
template <typename T>
static __device__ __forceinline__ void multiply(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1);
template <>
__device__ __forceinline__ void multiply<__nv_bfloat16>(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void multiply<__half>(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* An 8 x 8 matrix of 16-bit elements, a row's pair a lane, to its transposed. */
static __device__ __forceinline__ uint32_t transposed(uint32_t pair)
{
    uint32_t out;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(pair));
    return out;
}

template <typename T>
static __device__ __forceinline__ uint32_t pack2(float low, float high);
template <>
__device__ __forceinline__ uint32_t pack2<__nv_bfloat16>(float low, float high)
{
    __nv_bfloat162 two = __floats2bfloat162_rn(low, high);
    return *(uint32_t *)&two;
}
template <>
__device__ __forceinline__ uint32_t pack2<__half>(float low, float high)
{
    __half2 two = __floats2half2_rn(low, high);
    return *(uint32_t *)&two;
}

/* Shared tiles are rows of BYTES bytes, in chunks of 16 bytes, permuted so that the eight rows of one ldmatrix hit different
 * banks: rows that start in the same bank differ in the bits that are XORed into the chunk. Rows of an odd multiple of 64 bytes
 * alternate between two halves already, so two bits are enough there; other rows stay as they are. Byte offset of (row, chunk): */
template <int BYTES>
static __device__ __forceinline__ uint32_t tile_offset(int row, int chunk)
{
    int twist = BYTES % 128 == 0 ? row & 7 : BYTES % 64 == 0 ? (row >> 1) & 3 : 0;
    return (uint32_t)(row * BYTES + (chunk ^ twist) * 16);
}

#endif
