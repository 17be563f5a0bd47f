/* Hopper's own instructions, one a function: barriers in shared memory, the bulk tensor copy engine (TMA), warpgroup products
 * (wgmma). PTX ISA 8.x: "mbarrier", "cp.async.bulk.tensor", "wgmma.mma_async"; sm_90a only.
 *
 * Shared tiles are [D / 64][rows][64] elements of 2 bytes in the 128-byte swizzle that TMA writes and wgmma reads: rows of 128
 * bytes, 16-byte chunk c of row r at c ^ (r % 8), tiles aligned to 1,024 bytes. */
#ifndef MR_KERNELS_CUDA_HOPPER_CUH
#define MR_KERNELS_CUDA_HOPPER_CUH

#include "kernels/cuda/mma.cuh"
#include "kernels/dtype.h"

#include <cuda.h>

static __device__ __forceinline__ void barrier_init(uint64_t *barrier, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
/* Makes initialised barriers visible to the copy engine. */
static __device__ __forceinline__ void barrier_init_done(void) { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
static __device__ __forceinline__ void barrier_arrive(uint64_t *barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
static __device__ __forceinline__ void barrier_expect(uint64_t *barrier, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}
static __device__ __forceinline__ void barrier_wait(uint64_t *barrier, uint32_t phase)
{
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra again;\n"
                 "}" ::"r"(shared_address(barrier)),
                 "r"(phase)
                 : "memory");
}

/* A box of the map at (column, row) into shared memory; its bytes count towards the barrier. One thread. */
static __device__ __forceinline__ void tensor_load(uint32_t to, const CUtensorMap *map, int column, int row, uint64_t *barrier)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(to), "l"(map),
                 "r"(column), "r"(row), "r"(shared_address(barrier))
                 : "memory");
}

/* Ordinary writes to shared memory become visible to TMA and wgmma. */
static __device__ __forceinline__ void proxy_fence(void) { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

/* Named barrier `id` over `threads` threads of the block. */
static __device__ __forceinline__ void named_sync(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }

template <int REGISTERS>
static __device__ __forceinline__ void registers_grow(void)
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
template <int REGISTERS>
static __device__ __forceinline__ void registers_shrink(void)
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

static __device__ __forceinline__ void product_begin(void) { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
static __device__ __forceinline__ void product_commit(void) { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N>
static __device__ __forceinline__ void product_wait(void)
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
/* Keeps the compiler from moving accumulators across an asynchronous product. */
template <int N>
static __device__ __forceinline__ void product_hold(float (&c)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+f"(c[i])::"memory");
}

/* Matrix descriptor of a swizzled tile: start address, leading and stride offsets in 16-byte units, 128-byte swizzle. */
static __device__ __forceinline__ uint64_t tile_descriptor(uint32_t address, int leading_bytes, int stride_bytes)
{
    return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)(leading_bytes >> 4) << 16 | (uint64_t)(stride_bytes >> 4) << 32 | (uint64_t)1 << 62;
}

#define ACC8(c, i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), "+f"(c[i + 6]), "+f"(c[i + 7])
#define ACC32(c, i) ACC8(c, i), ACC8(c, i + 8), ACC8(c, i + 16), ACC8(c, i + 24)
#define REGS32 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define REGS64 \
    REGS32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"

/* c[64][128] = a[64][16] b[128][16]^T (+ c when `add`), both tiles k-major in shared memory. */
template <typename T>
static __device__ __forceinline__ void product_64x128(float (&c)[64], uint64_t a, uint64_t b, int add)
{
    if constexpr (__is_same(T, __half))
        asm volatile("{.reg .pred p; setp.ne.b32 p, %66, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" REGS64
                     "}, %64, %65, p, 1, 1, 0, 0;}"
                     : ACC32(c, 0), ACC32(c, 32)
                     : "l"(a), "l"(b), "r"(add));
    else
        asm volatile("{.reg .pred p; setp.ne.b32 p, %66, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" REGS64
                     "}, %64, %65, p, 1, 1, 0, 0;}"
                     : ACC32(c, 0), ACC32(c, 32)
                     : "l"(a), "l"(b), "r"(add));
}

/* c[64][N] += a[64][16] b[16][N]: a in registers, b n-major in shared memory. */
template <typename T>
static __device__ __forceinline__ void product_registers(float (&c)[64], const uint32_t a[4], uint64_t b)
{
    if constexpr (__is_same(T, __half))
        asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" REGS64 "}, {%64,%65,%66,%67}, %68, 1, 1, 1, 1;"
                     : ACC32(c, 0), ACC32(c, 32)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
    else
        asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" REGS64 "}, {%64,%65,%66,%67}, %68, 1, 1, 1, 1;"
                     : ACC32(c, 0), ACC32(c, 32)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
template <typename T>
static __device__ __forceinline__ void product_registers(float (&c)[32], const uint32_t a[4], uint64_t b)
{
    if constexpr (__is_same(T, __half))
        asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" REGS32 "}, {%32,%33,%34,%35}, %36, 1, 1, 1, 1;"
                     : ACC32(c, 0)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
    else
        asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" REGS32 "}, {%32,%33,%34,%35}, %36, 1, 1, 1, 1;"
                     : ACC32(c, 0)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

#undef ACC8
#undef ACC32
#undef REGS32
#undef REGS64

/* Rows of `columns` elements: of bf16 as boxes of box_rows x 64 in the 128-byte swizzle, of e4m3 as boxes of box_rows whole rows as they
 * lie. NULL: the driver refuses it. The map is the device's and stays valid until MAPS_MAX others have been asked for; a launch copies it. */
struct mr_device;
const CUtensorMap *cuda_tensor_map(struct mr_device *device, const void *base, enum mr_dtype dtype, int64_t columns, int64_t rows, int box_rows);

#endif
