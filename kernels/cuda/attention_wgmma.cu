/* Prefill attention on Hopper's tensor cores: wgmma products fed by the bulk tensor copy engine, for head sizes 64 and 128.
 *
 * A block of three warpgroups takes an item (128 rows of one sequence, one query head): one warp of warpgroup 0 keeps two
 * tiles of 128 keys of K and of V in flight; warpgroups 1 and 2 own 64 rows each. A consumer starts S(j+1) = Q K(j+1)^T, then
 * O += P(j) V(j), and does the softmax of S(j+1) while the second product runs (Shah et al. 2024, arXiv 2407.08608).
 * A tile of keys is copied block by block through the page table: one box of `block_tokens` rows x 64 columns.
 *
 * Invariants
 * 1. k_full/v_full[stage]: completed by the copy's bytes; k_empty/v_empty[stage]: by the eight consumer warps, each after its own
 *    wgmma wait. A stage's phase is (tile count / STAGES) & 1, counted over the whole life of the block.
 * 2. Keys at or past the chunk's end are never multiplied: their scores are -inf and their rows of V are zeroed in shared memory by
 *    the consumers before the product (the slots may be unwritten, or the stage may hold older bytes).
 * 3. Tiles lie at absolute multiples of KEYS, so a row's sums do not depend on the cut into chunks.
 * Rejected: masking V by a second product; zeroing the cache at allocation (a freed block holds another job's values). */
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/hopper.cuh"

/* tests/gpu/races.cu builds this file again with delays in every role, poisoned shared memory, and one wait, or a fence and its barrier, left out. */
#ifndef RACE_DELAY
#define RACE_DELAY()
#define RACE_POISON(shared, bytes)
#define RACE_KEYS_WAIT(barrier, phase) barrier_wait(barrier, phase)
#define RACE_TAIL_FENCE() proxy_fence()
#define RACE_TAIL_SYNC() named_sync(1, 256)
#endif

enum { KEYS = 128, STAGES = 2, ROWS = PREFILL_TILE, THREADS = 384, CONSUMER_WARPS = 8 };
static_assert(ROWS == 128, "two consumer warpgroups of 64 rows");

template <typename T, int D>
struct wgmma_shared {
    alignas(1024) T q[ROWS * D];
    alignas(1024) T k[STAGES][KEYS * D];
    alignas(1024) T v[STAGES][KEYS * D];
    uint64_t q_full, q_empty, k_full[STAGES], k_empty[STAGES], v_full[STAGES], v_empty[STAGES];
};

struct maps {
    CUtensorMap q, k, v;
};

/* What an item is, worked out alike by producer and consumers. */
struct item {
    const int32_t *table;
    int head, kv_head, row0, n, position0, begin, end;
};

static __device__ __forceinline__ item item_at(const attention_args &a, const int32_t *work, int at)
{
    item it;
    int seq = work[at / a.n_heads * 2], first = work[at / a.n_heads * 2 + 1];
    it.head = at % a.n_heads;
    it.kv_head = it.head / a.group;
    it.row0 = a.seq_start[seq] + first;
    it.n = min((int)ROWS, a.seq_start[seq + 1] - it.row0);
    it.position0 = a.positions[it.row0];
    it.end = it.position0 + it.n;
    it.begin = a.window ? max(0, it.position0 - a.window + 1) / KEYS * KEYS : 0;
    it.table = a.block_table + (int64_t)seq * a.table_stride;
    return it;
}

/* One tile of K or V by one warp, a block a lane; blocks past the end are not copied. */
template <typename T, int D>
static __device__ __forceinline__ void tile_load(const attention_args &a, const item &it, const CUtensorMap *map, const T *tile, int key0,
                                                 uint64_t *full, int lane)
{
    int tokens = a.kv.block_tokens, n_blocks = (min(it.end - key0, (int)KEYS) + tokens - 1) / tokens;
    if (lane == 0)
        barrier_expect(full, n_blocks * tokens * D * 2);
    if (lane < n_blocks) {
        int row = (it.table[key0 / tokens + lane] * a.kv.n_kv_heads + it.kv_head) * tokens;
#pragma unroll
        for (int half = 0; half < D / 64; half++)
            tensor_load(shared_address(tile) + (half * KEYS + lane * tokens) * 128, map, half * 64, row, full);
    }
    __syncwarp();
}

template <typename T, int D>
static __device__ __forceinline__ void produce(const attention_args &a, const maps &m, wgmma_shared<T, D> &sh, const int32_t *work, int n_items,
                                               int lane)
{
    uint32_t tile = 0, turn = 0;
    for (int at = blockIdx.x; at < n_items; at += gridDim.x, turn++) {
        item it = item_at(a, work, at);
        barrier_wait(&sh.q_empty, (turn & 1) ^ 1);
        RACE_DELAY();
        if (lane == 0) {
            barrier_expect(&sh.q_full, ROWS * D * 2);
            for (int half = 0; half < D / 64; half++)
                tensor_load(shared_address(sh.q) + half * ROWS * 128, &m.q, it.head * D + half * 64, it.row0, &sh.q_full);
        }
        for (int key0 = it.begin; key0 < it.end; key0 += KEYS, tile++) {
            int stage = tile % STAGES;
            uint32_t phase = tile / STAGES & 1;
            barrier_wait(&sh.k_empty[stage], phase ^ 1);
            RACE_DELAY();
            tile_load<T, D>(a, it, &m.k, sh.k[stage], key0, &sh.k_full[stage], lane);
            barrier_wait(&sh.v_empty[stage], phase ^ 1);
            RACE_DELAY();
            tile_load<T, D>(a, it, &m.v, sh.v[stage], key0, &sh.v_full[stage], lane);
        }
    }
}

template <typename T, int D>
static __device__ __forceinline__ void scores_start(float (&s)[64], uint32_t q_at, uint32_t k_at)
{
    product_hold(s);
    product_begin();
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        uint32_t half = k / 4, column = k % 4 * 32;
        product_64x128<T>(s, tile_descriptor(q_at + half * ROWS * 128 + column, 16, 1024),
                          tile_descriptor(k_at + half * KEYS * 128 + column, 16, 1024), k > 0);
    }
    product_commit();
}

template <typename T, int D>
static __device__ __forceinline__ void values_start(float (&o)[D / 2], const uint32_t (&p)[KEYS / 16][4], uint32_t v_at)
{
    product_hold(o);
    product_begin();
#pragma unroll
    for (int k = 0; k < KEYS / 16; k++)
        product_registers<T>(o, p[k], tile_descriptor(v_at + k * 16 * 128, KEYS * 128, 1024));
    product_commit();
}

/* Scores to weights in place; m and l go on, shrink is what older sums must be multiplied by. */
static __device__ __forceinline__ void softmax(const attention_args &a, float (&s)[64], float m[2], float l[2], float shrink[2], int key0,
                                               const int position[2], bool edge, int lane)
{
    float top[2] = {m[0], m[1]};
    if (a.softcap != 0.0f) {
#pragma unroll
        for (int i = 0; i < 64; i++)
            s[i] = score_log2(s[i], a) / a.scale_log2;
    }
    if (edge) {
#pragma unroll
        for (int i = 0; i < 64; i++) {
            int key = key0 + i / 4 * 8 + lane % 4 * 2 + i % 2, at = position[i / 2 % 2];
            if (key > at || (a.window && key <= at - a.window))
                s[i] = -INFINITY;
        }
    }
#pragma unroll
    for (int i = 0; i < 64; i++)
        top[i / 2 % 2] = fmaxf(top[i / 2 % 2], s[i]);
    float origin[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        top[r] = fmaxf(top[r], __shfl_xor_sync(0xffffffffu, top[r], 1));
        top[r] = fmaxf(top[r], __shfl_xor_sync(0xffffffffu, top[r], 2));
        origin[r] = finite(top[r]) * a.scale_log2;
        shrink[r] = power2(m[r] * a.scale_log2 - origin[r]);
        m[r] = top[r];
        l[r] *= shrink[r];
    }
#pragma unroll
    for (int i = 0; i < 64; i++) {
        s[i] = power2(fmaf(s[i], a.scale_log2, -origin[i / 2 % 2]));
        l[i / 2 % 2] += s[i];
    }
}

template <typename T>
static __device__ __forceinline__ void weights_pack(const float (&s)[64], uint32_t (&p)[KEYS / 16][4])
{
#pragma unroll
    for (int k = 0; k < KEYS / 16; k++)
        for (int i = 0; i < 4; i++)
            p[k][i] = pack2<T>(s[k * 8 + 2 * i], s[k * 8 + 2 * i + 1]);
}

/* Zeroes the rows of V at or past `end` (invariant 2). All consumers call it for the same tiles. */
template <typename T, int D>
static __device__ __forceinline__ void tail_clear(const T *tile, int first)
{
    uint32_t at = shared_address(tile);
    for (int i = (int)threadIdx.x - 128; i < (KEYS - first) * (D / 8); i += 256) {
        int row = first + i / (D / 8), chunk = i % (D / 8);
        asm volatile("st.shared.v4.b32 [%0], {%1,%1,%1,%1};" ::"r"(at + (chunk / 8 * KEYS + row) * 128 + chunk % 8 * 16), "r"(0) : "memory");
    }
    RACE_TAIL_FENCE();
    RACE_TAIL_SYNC();
}

template <typename T, int D>
static __device__ __forceinline__ void rows_store(const attention_args &a, const item &it, const float (&o)[D / 2], const float l_part[2], int row,
                                                  int lane)
{
    for (int r = 0; r < 2; r++) {
        float l = l_part[r];
        l += __shfl_xor_sync(0xffffffffu, l, 1);
        l += __shfl_xor_sync(0xffffffffu, l, 2);
        float inverse = 1 / l;
        if (row + 8 * r < it.n) {
            bf16 *to = a.out + ((int64_t)(it.row0 + row + 8 * r) * a.n_heads + it.head) * D + lane % 4 * 2;
#pragma unroll
            for (int c = 0; c < D / 8; c++)
                *(__nv_bfloat162 *)(to + c * 8) = __floats2bfloat162_rn(o[c * 4 + 2 * r] * inverse, o[c * 4 + 2 * r + 1] * inverse);
        }
    }
}

template <typename T, int D>
static __device__ __forceinline__ void consume(const attention_args &a, wgmma_shared<T, D> &sh, const int32_t *work, int n_items)
{
    int group = threadIdx.x / 128 - 1, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, row = group * 64 + warp * 16 + lane / 4;
    uint32_t tile = 0, turn = 0, q_at = shared_address(sh.q) + group * 64 * 128;
    for (int at = blockIdx.x; at < n_items; at += gridDim.x, turn++) {
        item it = item_at(a, work, at);
        float s[64], o[D / 2], m[2] = {-INFINITY, -INFINITY}, l[2] = {}, shrink[2];
        uint32_t p[KEYS / 16][4];
        int position[2] = {it.position0 + row, it.position0 + row + 8};
#pragma unroll
        for (int i = 0; i < D / 2; i++)
            o[i] = 0;
        barrier_wait(&sh.q_full, turn & 1);
        for (int key0 = it.begin; key0 < it.end; key0 += KEYS, tile++) {
            int stage = tile % STAGES, before = (tile + STAGES - 1) % STAGES;
            RACE_KEYS_WAIT(&sh.k_full[stage], tile / STAGES & 1);
            RACE_DELAY();
            scores_start<T, D>(s, q_at, shared_address(sh.k[stage]));
            if (key0 != it.begin) {
                barrier_wait(&sh.v_full[before], (tile - 1) / STAGES & 1);
                RACE_DELAY();
                values_start<T, D>(o, p, shared_address(sh.v[before]));
                product_wait<1>();
            } else {
                product_wait<0>();
            }
            product_hold(s);
            RACE_DELAY();
            if (lane == 0)
                barrier_arrive(&sh.k_empty[stage]);
            bool edge = key0 + KEYS > it.position0 + 1 || (a.window && key0 <= it.end - 1 - a.window);
            softmax(a, s, m, l, shrink, key0, position, edge, lane);
            if (key0 != it.begin) {
                product_wait<0>();
                product_hold(o);
                if (lane == 0)
                    barrier_arrive(&sh.v_empty[before]);
#pragma unroll
                for (int i = 0; i < D / 2; i++)
                    o[i] *= shrink[i / 2 % 2];
            }
            weights_pack<T>(s, p);
        }
        int last = (tile + STAGES - 1) % STAGES, filled = (it.end - 1) % KEYS + 1;
        barrier_wait(&sh.v_full[last], (tile - 1) / STAGES & 1);
        if (lane == 0)
            barrier_arrive(&sh.q_empty);
        RACE_DELAY();
        if (filled < KEYS)
            tail_clear<T, D>(sh.v[last], filled);
        values_start<T, D>(o, p, shared_address(sh.v[last]));
        product_wait<0>();
        product_hold(o);
        if (lane == 0)
            barrier_arrive(&sh.v_empty[last]);
        rows_store<T, D>(a, it, o, l, row, lane);
    }
}

template <typename T, int D>
static __global__ void __launch_bounds__(THREADS, 1) wgmma_kernel(attention_args a, const __grid_constant__ maps m)
{
    extern __shared__ unsigned char raw[];
    wgmma_shared<T, D> &sh = *(wgmma_shared<T, D> *)(((uintptr_t)raw + 1023) & ~(uintptr_t)1023);
    RACE_POISON(raw, sizeof(wgmma_shared<T, D>) + 1024);
    if (threadIdx.x == 0) {
        barrier_init(&sh.q_full, 1);
        barrier_init(&sh.q_empty, CONSUMER_WARPS);
        for (int i = 0; i < STAGES; i++) {
            barrier_init(&sh.k_full[i], 1);
            barrier_init(&sh.v_full[i], 1);
            barrier_init(&sh.k_empty[i], CONSUMER_WARPS);
            barrier_init(&sh.v_empty[i], CONSUMER_WARPS);
        }
        barrier_init_done();
    }
    __syncthreads();
    next_start();
    previous_wait();
    const int32_t *work = a.work + PLAN_HEADER_INTS + a.work[0] * DECODE_ITEM_INTS;
    int n_items = a.work[1] * a.n_heads;
    if (threadIdx.x < 128) {
        registers_shrink<24>();
        if (threadIdx.x < 32)
            produce<T, D>(a, m, sh, work, n_items, threadIdx.x);
    } else {
        registers_grow<240>();
        consume<T, D>(a, sh, work, n_items);
    }
}

template <typename T, int D>
static enum mr_status launch(struct mr_device *device, const attention_args &a)
{
    bool half = a.kv.k_dtype == MR_F16;
    int64_t rows = (int64_t)a.kv.n_blocks * a.kv.n_kv_heads * a.kv.block_tokens;
    const CUtensorMap *k = cuda_tensor_map(device, a.kv.k, half, D, rows, a.kv.block_tokens),
                      *v = cuda_tensor_map(device, a.kv.v, half, D, rows, a.kv.block_tokens);
    const CUtensorMap *q = cuda_tensor_map(device, a.qkv, half, a.qkv_stride, device->options.max_tokens, ROWS);
    if (!k || !v || !q)
        return MR_ERR_UNSUPPORTED;
    maps m = {*q, *k, *v};
    int bytes = (int)sizeof(wgmma_shared<T, D>) + 1024;
    static bool ready;
    if (!ready) {
        cudaFuncSetAttribute(wgmma_kernel<T, D>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        ready = true;
    }
    return cuda_launch(device, {dim3(device->n_sm), THREADS, bytes}, wgmma_kernel<T, D>, a, m);
}

/* MR_ERR_UNSUPPORTED: shapes, layouts or types that attention_rows takes instead. */
enum mr_status attention_wgmma(struct mr_device *device, const attention_args &a)
{
    const struct mr_kv_view *kv = &a.kv;
    bool packed = kv->token_stride == kv->head_dim && kv->head_stride == (int64_t)kv->block_tokens * kv->head_dim &&
                  kv->block_stride == kv->n_kv_heads * kv->head_stride;
    if (!packed || kv->block_tokens % 8 || KEYS % kv->block_tokens || kv->k_dtype != MR_BF16)
        return MR_ERR_UNSUPPORTED;
    if (kv->head_dim == 128)
        return launch<bf16, 128>(device, a);
    if (kv->head_dim == 64)
        return launch<bf16, 64>(device, a);
    return MR_ERR_UNSUPPORTED;
}
