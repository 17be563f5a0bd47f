/* Prefill attention on Hopper's tensor cores: wgmma products fed by the bulk tensor copy engine, for head sizes 64 and 128.
 *
 * A block of three warpgroups takes an item (128 rows of one sequence, one query head): one warp of warpgroup 0 keeps two
 * tiles of 128 keys of K and of V in flight; warpgroups 1 and 2 own 64 rows each. A consumer starts S(j+1) = Q K(j+1)^T, then
 * O += P(j) V(j), and does the softmax of S(j+1) while the second product runs (Shah et al. 2024, arXiv 2407.08608).
 * A tile of keys is copied block by block through the page table: one box of `block_tokens` rows x 64 columns.
 *
 * An e4m3 cache is copied as it lies into a ring of its own; a fourth warpgroup, before the consumers, widens it to f16 (exactly) into
 * the ring that the products read, and q from bf16 to f16. Per tile the widening moves 128 KB through shared memory beside the 160 KB
 * that the products read.
 *
 * Invariants
 * 1. A buffer's gate: full is completed by the copy's bytes or by the four widening warps, each after its proxy fence; empty by those
 *    who read it, the eight consumer warps (each after its own wgmma wait) or the four widening ones. A stage's phase is
 *    (tile count / STAGES) & 1, counted over the whole life of the block.
 * 2. Keys at or past the chunk's end are never multiplied: their scores are -inf and their rows of V are zeroed in shared memory, by
 *    the consumers before the product or by the widening warps (the slots may be unwritten, or the stage may hold older bytes).
 * 3. Tiles lie at absolute multiples of KEYS, so a row's sums do not depend on the cut into chunks.
 * Rejected: masking V by a second product; zeroing the cache at allocation (a freed block holds another job's values); products of
 * e4m3 by e4m3 (q and the weights would lose four bits); widening by the three idle warps of warpgroup 0 (a tenth slower); e4m3 to f16 by
 * shifts and masks (slower than the conversion instruction). */
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/attention_widen.cuh"
#include "kernels/cuda/hopper.cuh"

/* tests/gpu/races.cu builds this file again with delays in every role, poisoned shared memory, and one wait, or a fence and its barrier, left out. */
#ifndef RACE_DELAY
#define RACE_DELAY()
#define RACE_POISON(shared, bytes)
#define RACE_KEYS_WAIT(barrier, phase) barrier_wait(barrier, phase)
#define RACE_TAIL_FENCE() proxy_fence()
#define RACE_TAIL_SYNC() named_sync(1, 256)
#define RACE_WIDEN_FENCE() proxy_fence()
#endif

enum { KEYS = 128, STAGES = 2, ROWS = PREFILL_TILE, CONSUMER_WARPS = 8, WIDEN_WARPS = 4 };
static_assert(ROWS == 128, "two consumer warpgroups of 64 rows");

/* Warpgroups by number: the producer's, the widening one of a byte cache, two of consumers. */
template <typename KV>
static constexpr int first_consumer = is_byte<KV> ? 256 : 128;

template <typename T, int D>
struct ring {
    alignas(1024) T k[STAGES][KEYS * D];
    alignas(1024) T v[STAGES][KEYS * D];
};

struct gate {
    uint64_t full, empty;
};
struct ring_gates {
    gate k[STAGES], v[STAGES];
};

/* What the copy engine fills is what the products read, */
template <typename KV, int D>
struct wgmma_shared {
    alignas(1024) KV q[ROWS * D];
    ring<KV, D> tiles;
    gate q_gate;
    ring_gates gates;
    __device__ ring<KV, D> &copied_tiles() { return tiles; }
    __device__ ring_gates &copied_gates() { return gates; }
    __device__ gate &copied_q_gate() { return q_gate; }
};
/* or, of a byte cache, what the widening warps read. */
template <int D>
struct wgmma_shared<__nv_fp8_e4m3, D> {
    alignas(1024) __half q[ROWS * D]; /* copied as bf16, made f16 in place */
    ring<__half, D> tiles;
    ring<__nv_fp8_e4m3, D> bytes;
    gate q_gate, q_copied;
    ring_gates gates, byte_gates;
    __device__ ring<__nv_fp8_e4m3, D> &copied_tiles() { return bytes; }
    __device__ ring_gates &copied_gates() { return byte_gates; }
    __device__ gate &copied_q_gate() { return q_copied; }
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
template <typename KV, int D>
static __device__ __forceinline__ void tile_load(const attention_args &a, const item &it, const CUtensorMap *map, const KV *tile, int key0,
                                                 uint64_t *full, int lane)
{
    constexpr int BYTES = kv_type<KV>::bytes, BOX = is_byte<KV> ? D : 64; /* columns of a box */
    int tokens = a.kv.block_tokens, n_blocks = (min(it.end - key0, (int)KEYS) + tokens - 1) / tokens;
    if (lane == 0)
        barrier_expect(full, n_blocks * tokens * D * BYTES);
    if (lane < n_blocks) {
        int row = (it.table[key0 / tokens + lane] * a.kv.n_kv_heads + it.kv_head) * tokens;
#pragma unroll
        for (int box = 0; box < D / BOX; box++)
            tensor_load(shared_address(tile) + (box * KEYS + lane * tokens) * BOX * BYTES, map, box * BOX, row, full);
    }
    __syncwarp();
}

/* The first tile of K comes before q: q's buffer is in use until the item before has its last scores. */
template <typename KV, int D>
static __device__ __forceinline__ void produce(const attention_args &a, const maps &m, wgmma_shared<KV, D> &sh, const int32_t *work, int n_items,
                                               int lane)
{
    ring<KV, D> &to = sh.copied_tiles();
    ring_gates &gates = sh.copied_gates();
    uint32_t tile = 0, turn = 0;
    for (int at = blockIdx.x; at < n_items; at += gridDim.x, turn++) {
        item it = item_at(a, work, at);
        for (int key0 = it.begin; key0 < it.end; key0 += KEYS, tile++) {
            int stage = tile % STAGES;
            uint32_t phase = tile / STAGES & 1;
            barrier_wait(&gates.k[stage].empty, phase ^ 1);
            RACE_DELAY();
            tile_load<KV, D>(a, it, &m.k, to.k[stage], key0, &gates.k[stage].full, lane);
            if (key0 == it.begin) {
                barrier_wait(&sh.q_gate.empty, (turn & 1) ^ 1);
                RACE_DELAY();
                uint64_t *full = &sh.copied_q_gate().full;
                if (lane == 0) {
                    barrier_expect(full, ROWS * D * 2);
                    for (int half = 0; half < D / 64; half++)
                        tensor_load(shared_address(sh.q) + half * ROWS * 128, &m.q, it.head * D + half * 64, it.row0, full);
                }
            }
            barrier_wait(&gates.v[stage].empty, phase ^ 1);
            RACE_DELAY();
            tile_load<KV, D>(a, it, &m.v, to.v[stage], key0, &gates.v[stage].full, lane);
        }
    }
}

/* This warp's writes are done: for the products to read, and the buffer they came from (NULL: the same) may be filled again. */
static __device__ __forceinline__ void widened(uint64_t *full, uint64_t *empty)
{
    RACE_WIDEN_FENCE();
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
        barrier_arrive(full);
        if (empty)
            barrier_arrive(empty);
    }
}

template <int D>
static __device__ __forceinline__ void widen(const attention_args &a, wgmma_shared<__nv_fp8_e4m3, D> &sh, const int32_t *work, int n_items,
                                             uint32_t thread)
{
    uint32_t tile = 0, turn = 0;
    for (int at = blockIdx.x; at < n_items; at += gridDim.x, turn++) {
        item it = item_at(a, work, at);
        for (int key0 = it.begin; key0 < it.end; key0 += KEYS, tile++) {
            int stage = tile % STAGES, n = it.end - key0;
            uint32_t phase = tile / STAGES & 1;
            barrier_wait(&sh.gates.k[stage].empty, phase ^ 1);
            RACE_KEYS_WAIT(&sh.byte_gates.k[stage].full, phase);
            RACE_DELAY();
            tile_widen<KEYS, D, 32 * WIDEN_WARPS>(shared_address(sh.bytes.k[stage]), shared_address(sh.tiles.k[stage]), n, thread);
            widened(&sh.gates.k[stage].full, &sh.byte_gates.k[stage].empty);
            if (key0 == it.begin) {
                barrier_wait(&sh.q_copied.full, turn & 1);
                RACE_DELAY();
                halves_widen<ROWS * D, 32 * WIDEN_WARPS>(shared_address(sh.q), thread);
                widened(&sh.q_gate.full, NULL);
            }
            barrier_wait(&sh.gates.v[stage].empty, phase ^ 1);
            barrier_wait(&sh.byte_gates.v[stage].full, phase);
            RACE_DELAY();
            tile_widen<KEYS, D, 32 * WIDEN_WARPS>(shared_address(sh.bytes.v[stage]), shared_address(sh.tiles.v[stage]), n, thread);
            widened(&sh.gates.v[stage].full, &sh.byte_gates.v[stage].empty);
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
    for (int i = (int)threadIdx.x - first_consumer<T>; i < (KEYS - first) * (D / 8); i += 256) {
        int row = first + i / (D / 8), chunk = i % (D / 8);
        asm volatile("st.shared.v4.b32 [%0], {%1,%1,%1,%1};" ::"r"(at + (chunk / 8 * KEYS + row) * 128 + chunk % 8 * 16), "r"(0) : "memory");
    }
    RACE_TAIL_FENCE();
    RACE_TAIL_SYNC();
}

template <int D>
static __device__ __forceinline__ void rows_store(const attention_args &a, const item &it, const float (&o)[D / 2], const float l_part[2], int row,
                                                  int lane)
{
    for (int r = 0; r < 2; r++) {
        float l = l_part[r];
        l += __shfl_xor_sync(0xffffffffu, l, 1);
        l += __shfl_xor_sync(0xffffffffu, l, 2);
        float inverse = a.kv.v_scale / l;
        if (row + 8 * r < it.n) {
            bf16 *to = a.out + ((int64_t)(it.row0 + row + 8 * r) * a.n_heads + it.head) * D + lane % 4 * 2;
#pragma unroll
            for (int c = 0; c < D / 8; c++)
                *(__nv_bfloat162 *)(to + c * 8) = __floats2bfloat162_rn(o[c * 4 + 2 * r] * inverse, o[c * 4 + 2 * r + 1] * inverse);
        }
    }
}

template <typename KV, int D>
static __device__ __forceinline__ void consume(const attention_args &a, wgmma_shared<KV, D> &sh, const int32_t *work, int n_items)
{
    typedef typename kv_type<KV>::factor T;
    ring_gates &gates = sh.gates;
    int group = ((int)threadIdx.x - first_consumer<KV>) / 128, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
    int row = group * 64 + warp * 16 + lane / 4;
    uint32_t tile = 0, turn = 0, q_at = shared_address(sh.q) + group * 64 * 128;
    for (int at = blockIdx.x; at < n_items; at += gridDim.x, turn++) {
        item it = item_at(a, work, at);
        float s[64], o[D / 2], m[2] = {-INFINITY, -INFINITY}, l[2] = {}, shrink[2];
        uint32_t p[KEYS / 16][4];
        int position[2] = {it.position0 + row, it.position0 + row + 8};
#pragma unroll
        for (int i = 0; i < D / 2; i++)
            o[i] = 0;
        barrier_wait(&sh.q_gate.full, turn & 1);
        for (int key0 = it.begin; key0 < it.end; key0 += KEYS, tile++) {
            int stage = tile % STAGES, before = (tile + STAGES - 1) % STAGES;
            RACE_KEYS_WAIT(&gates.k[stage].full, tile / STAGES & 1);
            RACE_DELAY();
            scores_start<T, D>(s, q_at, shared_address(sh.tiles.k[stage]));
            if (key0 != it.begin) {
                barrier_wait(&gates.v[before].full, (tile - 1) / STAGES & 1);
                RACE_DELAY();
                values_start<T, D>(o, p, shared_address(sh.tiles.v[before]));
                product_wait<1>();
            } else {
                product_wait<0>();
            }
            product_hold(s);
            RACE_DELAY();
            if (lane == 0)
                barrier_arrive(&gates.k[stage].empty);
            bool edge = key0 + KEYS > it.position0 + 1 || (a.window && key0 <= it.end - 1 - a.window);
            softmax(a, s, m, l, shrink, key0, position, edge, lane);
            if (key0 != it.begin) {
                product_wait<0>();
                product_hold(o);
                if (lane == 0)
                    barrier_arrive(&gates.v[before].empty);
#pragma unroll
                for (int i = 0; i < D / 2; i++)
                    o[i] *= shrink[i / 2 % 2];
            }
            weights_pack<T>(s, p);
        }
        int last = (tile + STAGES - 1) % STAGES, filled = (it.end - 1) % KEYS + 1;
        barrier_wait(&gates.v[last].full, (tile - 1) / STAGES & 1);
        if (lane == 0)
            barrier_arrive(&sh.q_gate.empty);
        RACE_DELAY();
        if (filled < KEYS && !is_byte<KV>)
            tail_clear<T, D>(sh.tiles.v[last], filled);
        values_start<T, D>(o, p, shared_address(sh.tiles.v[last]));
        product_wait<0>();
        product_hold(o);
        if (lane == 0)
            barrier_arrive(&gates.v[last].empty);
        rows_store<D>(a, it, o, l, row, lane);
    }
}

static __device__ __forceinline__ void ring_init(ring_gates &gates, int fillers, int readers)
{
    for (int i = 0; i < STAGES; i++) {
        barrier_init(&gates.k[i].full, fillers);
        barrier_init(&gates.v[i].full, fillers);
        barrier_init(&gates.k[i].empty, readers);
        barrier_init(&gates.v[i].empty, readers);
    }
}

template <typename KV, int D>
static __device__ __forceinline__ void gates_init(wgmma_shared<KV, D> &sh)
{
    int fillers = is_byte<KV> ? WIDEN_WARPS : 1;
    barrier_init(&sh.q_gate.full, fillers);
    barrier_init(&sh.q_gate.empty, CONSUMER_WARPS);
    ring_init(sh.gates, fillers, CONSUMER_WARPS);
    if constexpr (is_byte<KV>) {
        barrier_init(&sh.q_copied.full, 1);
        ring_init(sh.byte_gates, 1, WIDEN_WARPS);
    }
    barrier_init_done();
}

template <typename KV, int D>
static __global__ void __launch_bounds__(first_consumer<KV> + 256, 1) wgmma_kernel(attention_args a, const __grid_constant__ maps m)
{
    extern __shared__ unsigned char raw[];
    wgmma_shared<KV, D> &sh = *(wgmma_shared<KV, D> *)(((uintptr_t)raw + 1023) & ~(uintptr_t)1023);
    RACE_POISON(raw, sizeof(wgmma_shared<KV, D>) + 1024);
    if (threadIdx.x == 0)
        gates_init<KV, D>(sh);
    __syncthreads();
    next_start();
    previous_wait();
    const int32_t *work = a.work + PLAN_HEADER_INTS + a.work[0] * DECODE_ITEM_INTS;
    int n_items = a.work[1] * a.n_heads;
    if (threadIdx.x < 128) {
        registers_shrink<24>();
        if (threadIdx.x < 32)
            produce<KV, D>(a, m, sh, work, n_items, threadIdx.x);
    } else if (threadIdx.x < first_consumer<KV>) {
        if constexpr (is_byte<KV>) {
            registers_shrink<72>();
            widen<D>(a, sh, work, n_items, threadIdx.x - 128);
        }
    } else {
        registers_grow<is_byte<KV> ? 208 : 240>();
        consume<KV, D>(a, sh, work, n_items);
    }
}

template <typename KV, int D>
static enum mr_status launch(struct mr_device *device, const attention_args &a)
{
    int64_t rows = (int64_t)a.kv.n_blocks * a.kv.n_kv_heads * a.kv.block_tokens;
    const CUtensorMap *k = cuda_tensor_map(device, a.kv.k, a.kv.k_dtype, D, rows, a.kv.block_tokens),
                      *v = cuda_tensor_map(device, a.kv.v, a.kv.k_dtype, D, rows, a.kv.block_tokens);
    const CUtensorMap *q = cuda_tensor_map(device, a.qkv, MR_BF16, a.qkv_stride, device->options.max_tokens, ROWS);
    if (!k || !v || !q)
        return MR_ERR_UNSUPPORTED;
    maps m = {*q, *k, *v};
    int bytes = (int)sizeof(wgmma_shared<KV, D>) + 1024;
    static_assert(sizeof(wgmma_shared<KV, D>) + 1024 <= 227 * 1024, "shared memory of a block");
    static bool ready;
    if (!ready) {
        cudaFuncSetAttribute(wgmma_kernel<KV, D>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        ready = true;
    }
    return cuda_launch(device, {dim3(device->n_sm), first_consumer<KV> + 256, bytes}, wgmma_kernel<KV, D>, a, m);
}

template <typename KV>
static enum mr_status launch_dim(struct mr_device *device, const attention_args &a)
{
    switch (a.kv.head_dim) {
    case 64: return launch<KV, 64>(device, a);
    case 128: return launch<KV, 128>(device, a);
    default: return MR_ERR_UNSUPPORTED;
    }
}

/* MR_ERR_UNSUPPORTED: shapes, layouts or types that attention_rows takes instead. */
enum mr_status attention_wgmma(struct mr_device *device, const attention_args &a)
{
    const struct mr_kv_view *kv = &a.kv;
    bool packed = kv->token_stride == kv->head_dim && kv->head_stride == (int64_t)kv->block_tokens * kv->head_dim &&
                  kv->block_stride == kv->n_kv_heads * kv->head_stride;
    if (!packed || kv->block_tokens % 8 || KEYS % kv->block_tokens)
        return MR_ERR_UNSUPPORTED;
    switch (kv->k_dtype) {
    case MR_BF16: return launch_dim<bf16>(device, a);
    case MR_E4M3: return launch_dim<__nv_fp8_e4m3>(device, a);
    default: return MR_ERR_UNSUPPORTED;
    }
}
