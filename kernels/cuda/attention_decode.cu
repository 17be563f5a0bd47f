/* Decode attention: one query row a sequence, keys split at absolute multiples of SPLIT_TOKENS.
 *
 * Work item x kv head belongs to one warp; warps share nothing and never wait for each other. The query heads of a group are
 * the rows of one 16-row tile, so K and V are read once for all of them. A warp sees its items as one stream of 16-key tiles:
 * a ring of STAGES tiles in shared memory is filled by cp.async across item borders, so the memory never idles between items.
 * S = Q K^T and O += P V run on tensor cores with a running softmax. A sequence of one split is written at once; else each
 * split leaves a partial, and merge_kernel adds them in ascending order. Nothing depends on the grid or on neighbours.
 * Bytes: K and V once; partials 4 (D + 2) a head for every SPLIT_TOKENS keys (3 % at a group of 4).
 * Rejected: a block an item with its four warps merged in shared memory: 68 % of the bandwidth, the fill of each item shows. */
#include "kernels/cuda/attention.cuh"

enum { TILE = 16, STAGES = 3, ROWS = 16, MERGE_THREADS = 256, SPLITS_MAX = 4096 };

/* Warps of a block: as many rings as fit the shared memory. */
template <int D>
static constexpr int warps_of = D <= 128 ? 8 : 4;

/* A place in the warp's stream of tiles. */
struct cursor {
    const int32_t *table;
    int at, kv_head, key, end; /* item x head; the next tile's first key; the split's end */
};

static __device__ __forceinline__ void cursor_open(const attention_args &a, cursor &c, int n_items)
{
    if (c.at >= n_items)
        return;
    const int32_t *work = a.work + PLAN_HEADER_INTS + c.at / a.kv.n_kv_heads * DECODE_ITEM_INTS;
    c.kv_head = c.at % a.kv.n_kv_heads;
    c.table = a.block_table + (int64_t)work[0] * a.table_stride;
    c.key = work[2] * SPLIT_TOKENS;
    c.end = min(c.key + (int)SPLIT_TOKENS, a.seq_length[work[0]]);
}

/* One tile: scores, running softmax, weighted values. Fragment rows of a lane: lane / 4 and lane / 4 + 8. */
template <typename T, int D>
static __device__ __forceinline__ void tile_attend(const attention_args &a, const uint32_t qf[D / 16][4], uint32_t k_at, uint32_t v_at,
                                                   float o[D / 8][4], float m[2], float l[2], int key0, int first, int end, int lane)
{
    float s[2][4] = {};
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        uint32_t kf[4];
        load_matrix4(kf, k_at + tile_offset<D>((lane / 16) * 8 + lane % 8, 2 * k + (lane / 8) % 2));
        multiply<T>(s[0], qf[k], kf[0], kf[1]);
        multiply<T>(s[1], qf[k], kf[2], kf[3]);
    }
    float top[2] = {m[0], m[1]};
#pragma unroll
    for (int n = 0; n < 2; n++)
        for (int i = 0; i < 4; i++) {
            int key = key0 + n * 8 + (lane % 4) * 2 + i % 2;
            s[n][i] = key >= first && key < end ? score_log2(s[n][i], a) : -INFINITY;
            top[i / 2] = fmaxf(top[i / 2], s[n][i]);
        }
    float shrink[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        top[r] = fmaxf(top[r], __shfl_xor_sync(0xffffffffu, top[r], 1));
        top[r] = fmaxf(top[r], __shfl_xor_sync(0xffffffffu, top[r], 2));
        shrink[r] = power2(m[r] - finite(top[r]));
        l[r] *= shrink[r];
        m[r] = top[r];
    }
#pragma unroll
    for (int n = 0; n < 2; n++)
        for (int i = 0; i < 4; i++) {
            s[n][i] = power2(s[n][i] - finite(m[i / 2]));
            l[i / 2] += s[n][i];
        }
    uint32_t pf[4] = {pack2<T>(s[0][0], s[0][1]), pack2<T>(s[0][2], s[0][3]), pack2<T>(s[1][0], s[1][1]), pack2<T>(s[1][2], s[1][3])};
#pragma unroll
    for (int n = 0; n < D / 16; n++) {
        uint32_t vf[4];
        load_matrix4_transposed(vf, v_at + tile_offset<D>(lane % 16, 2 * n + lane / 16));
        for (int i = 0; i < 4; i++) {
            o[2 * n][i] *= shrink[i / 2];
            o[2 * n + 1][i] *= shrink[i / 2];
        }
        multiply<T>(o[2 * n], pf, vf[0], vf[1]);
        multiply<T>(o[2 * n + 1], pf, vf[2], vf[3]);
    }
}

/* The group's query heads as fragments; rows past the group are zero. */
template <typename T, int D>
static __device__ __forceinline__ void query_load(const attention_args &a, uint32_t qf[D / 16][4], int row, int kv_head, int lane)
{
    const bf16 *q = a.qkv + (int64_t)row * a.qkv_stride + (int64_t)kv_head * a.group * D + lane % 4 * 2;
#pragma unroll
    for (int k = 0; k < D / 16; k++)
        for (int i = 0; i < 4; i++) {
            int head = lane / 4 + i % 2 * 8;
            float2 two = make_float2(0, 0);
            if (head < a.group)
                two = __bfloat1622float2(*(const __nv_bfloat162 *)(q + head * D + k * 16 + i / 2 * 8));
            qf[k][i] = pack2<T>(two.x, two.y);
        }
}

template <int D>
static __device__ __forceinline__ void item_finish(const attention_args &a, const float o[D / 8][4], const float m[2], float l[2],
                                                   const int32_t *work, int item, int kv_head, int lane)
{
    bool whole = work[3] == 1;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        l[r] += __shfl_xor_sync(0xffffffffu, l[r], 1);
        l[r] += __shfl_xor_sync(0xffffffffu, l[r], 2);
        int in_group = lane / 4 + 8 * r, head = kv_head * a.group + in_group;
        if (in_group >= a.group)
            continue;
        if (whole) {
            bf16 *to = a.out + ((int64_t)work[1] * a.n_heads + head) * D + lane % 4 * 2;
            float inverse = 1 / l[r];
#pragma unroll
            for (int n = 0; n < D / 8; n++)
                *(__nv_bfloat162 *)(to + n * 8) = __floats2bfloat162_rn(o[n][2 * r] * inverse, o[n][2 * r + 1] * inverse);
        } else {
            float *to = a.partial + ((int64_t)item * a.n_heads + head) * (D + 2);
#pragma unroll
            for (int n = 0; n < D / 8; n++)
                *(float2 *)(to + n * 8 + lane % 4 * 2) = make_float2(o[n][2 * r], o[n][2 * r + 1]);
            if (lane % 4 == 0)
                *(float2 *)(to + D) = make_float2(m[r], l[r]);
        }
    }
}

template <typename T, int D>
static __global__ void __launch_bounds__(32 * warps_of<D>) decode_kernel(attention_args a)
{
    extern __shared__ __align__(128) unsigned char raw[];
    constexpr int WARPS = warps_of<D>, TILE_BYTES = TILE * D * 2;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_items = a.work[0] * a.kv.n_kv_heads, stride = gridDim.x * WARPS;
    uint32_t ring = shared_address(raw) + warp * STAGES * 2 * TILE_BYTES;
    cursor fetch = {NULL, (int)(warp * gridDim.x + blockIdx.x), 0, 0, 0}, now;
    cursor_open(a, fetch, n_items);
    now = fetch;
    uint32_t fetched = 0, attended = 0, qf[D / 16][4];
    float o[D / 8][4], m[2], l[2];
    int first = 0;
    bool fresh = true;
    while (now.at < n_items) {
        while (fetched < attended + STAGES - 1) { /* once a turn, but at the start */
            if (fetch.at < n_items) {
                uint32_t to = ring + fetched % STAGES * 2 * TILE_BYTES;
                warp_fetch16<T, D>(a, to, to + TILE_BYTES, fetch.table, fetch.kv_head, 0, fetch.key, fetch.end, lane);
                fetch.key += TILE;
                if (fetch.key >= fetch.end) {
                    fetch.at += stride;
                    cursor_open(a, fetch, n_items);
                }
            }
            copy_commit();
            fetched++;
        }
        const int32_t *work = a.work + PLAN_HEADER_INTS + now.at / a.kv.n_kv_heads * DECODE_ITEM_INTS;
        if (fresh) {
            query_load<T, D>(a, qf, work[1], now.kv_head, lane);
            first = a.window ? max(a.seq_length[work[0]] - a.window, 0) : 0;
            m[0] = m[1] = -INFINITY, l[0] = l[1] = 0;
#pragma unroll
            for (int i = 0; i < D / 8; i++)
                o[i][0] = o[i][1] = o[i][2] = o[i][3] = 0;
        }
        copy_wait<STAGES - 2>();
        __syncwarp();
        uint32_t at = ring + attended % STAGES * 2 * TILE_BYTES;
        tile_attend<T, D>(a, qf, at, at + TILE_BYTES, o, m, l, now.key, first, now.end, lane);
        __syncwarp();
        attended++;
        now.key += TILE;
        fresh = now.key >= now.end;
        if (fresh) {
            item_finish<D>(a, o, m, l, work, now.at / a.kv.n_kv_heads, now.kv_head, lane);
            now.at += stride;
            cursor_open(a, now, n_items);
        }
    }
    copy_wait<0>();
}

/* Adds the splits of a (sequence, head) in ascending order. One block a pair; items that are not a first split have none. */
template <int D>
static __global__ void __launch_bounds__(MERGE_THREADS) merge_kernel(attention_args a)
{
    __shared__ float weight[SPLITS_MAX], shared[32];
    int n_items = a.work[0];
    for (int at = blockIdx.x; at < n_items * a.n_heads; at += gridDim.x) {
        int item = at / a.n_heads, head = at % a.n_heads;
        const int32_t *work = a.work + PLAN_HEADER_INTS + item * DECODE_ITEM_INTS;
        int splits = work[3];
        if (work[2] != 0 || splits == 1)
            continue;
        int64_t stride = (int64_t)a.n_heads * (D + 2);
        const float *from = a.partial + item * stride + head * (D + 2);
        float m = -INFINITY, l = 0, o = 0;
        for (int i = threadIdx.x; i < splits; i += MERGE_THREADS)
            m = fmaxf(m, from[i * stride + D]);
        m = warp_max(m);
        if (threadIdx.x % 32 == 0)
            shared[threadIdx.x / 32] = m;
        __syncthreads();
        for (int i = 0; i < MERGE_THREADS / 32; i++)
            m = fmaxf(m, shared[i]);
        for (int i = threadIdx.x; i < splits; i += MERGE_THREADS)
            weight[i] = power2(from[i * stride + D] - finite(m));
        __syncthreads();
        for (int i = 0; i < splits; i++)
            l += from[i * stride + D + 1] * weight[i];
        if (threadIdx.x < D) {
#pragma unroll 8
            for (int i = 0; i < splits; i++)
                o += from[i * stride + threadIdx.x] * weight[i];
            a.out[((int64_t)work[1] * a.n_heads + head) * D + threadIdx.x] = __float2bfloat16_rn(o / l);
        }
        __syncthreads();
    }
}

template <typename T, int D>
static enum mr_status launch(struct mr_device *device, const attention_args &a)
{
    constexpr int WARPS = warps_of<D>;
    int bytes = WARPS * STAGES * 2 * TILE * D * 2;
    static bool ready;
    if (!ready) {
        cudaFuncSetAttribute(decode_kernel<T, D>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        ready = true;
    }
    decode_kernel<T, D><<<device->n_sm, 32 * WARPS, bytes, device->stream>>>(a);
    if (device->longest > SPLIT_TOKENS || device->recording)
        merge_kernel<D><<<8 * device->n_sm, MERGE_THREADS, 0, device->stream>>>(a);
    return cuda_launched();
}

template <typename T>
static enum mr_status launch_dim(struct mr_device *device, const attention_args &a)
{
    switch (a.kv.head_dim) {
    case 64: return launch<T, 64>(device, a);
    case 96: return launch<T, 96>(device, a);
    case 128: return launch<T, 128>(device, a);
    case 192: return launch<T, 192>(device, a);
    case 256: return launch<T, 256>(device, a);
    default: return MR_ERR_UNSUPPORTED;
    }
}

enum mr_status attention_decode(struct mr_device *device, const attention_args &args)
{
    if (args.group > ROWS || device->longest > SPLITS_MAX * SPLIT_TOKENS)
        return MR_ERR_UNSUPPORTED;
    switch (args.kv.k_dtype) {
    case MR_BF16: return launch_dim<bf16>(device, args);
    case MR_F16: return launch_dim<__half>(device, args);
    default: return MR_ERR_UNSUPPORTED;
    }
}
