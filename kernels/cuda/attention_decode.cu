/* Decode attention: one query row a sequence, keys split at absolute multiples of SPLIT_TOKENS.
 *
 * Work item x kv head belongs to one warp; warps share nothing and never wait for each other. The query heads of a group are
 * the rows of one 16-row tile, so K and V are read once for all of them. A warp sees its items as one stream of 16-key tiles:
 * a ring of STAGES tiles in shared memory is filled by cp.async across item borders, so the memory never idles between items.
 * S = Q K^T and O += P V run on tensor cores with a running softmax. A sequence of one split is written at once; else each
 * split leaves a partial, and merge_kernel adds them in ascending order. Nothing depends on the grid or on neighbours.
 * Bytes: K and V once; partials 4 (D + 2) a head for every SPLIT_TOKENS keys (3 % at a group of 4).
 * Rejected: a block an item with its four warps merged in shared memory: 68 % of the bandwidth, the fill of each item shows. */
#include "kernels/cuda/attention_tile.cuh"

enum { STAGES = 3, ROWS = 16, MERGE_THREADS = 256, SPLITS_MAX = 4096 };

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

template <typename KV, int D>
static __device__ __forceinline__ void item_finish(const attention_args &a, const rows_state<D> &s, const int32_t *work, int item, int kv_head,
                                                   int lane)
{
    bool whole = work[3] == 1;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float l = row_sum(s.l[r]);
        int in_group = lane / 4 + 8 * r, head = kv_head * a.group + in_group;
        if (in_group >= a.group)
            continue;
        if (whole) {
            bf16 *to = a.out + ((int64_t)work[1] * a.n_heads + head) * D;
            float inverse = a.kv.v_scale / l;
            row_pairs<KV, D>(s.o, r, lane, [&](int column, float x, float y) {
                *(__nv_bfloat162 *)(to + column) = __floats2bfloat162_rn(x * inverse, y * inverse);
            });
        } else {
            float *to = a.partial + ((int64_t)item * a.n_heads + head) * (D + 2);
            row_pairs<KV, D>(s.o, r, lane, [&](int column, float x, float y) { *(float2 *)(to + column) = make_float2(x, y); });
            if (lane % 4 == 0)
                *(float2 *)(to + D) = make_float2(s.m[r], l);
        }
    }
}

template <typename KV, int D>
static __global__ void __launch_bounds__(32 * warps_of<D>) decode_kernel(attention_args a)
{
    extern __shared__ __align__(128) unsigned char raw[];
    constexpr int WARPS = warps_of<D>, TILE_BYTES = TILE * D * kv_type<KV>::bytes;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_items = a.work[0] * a.kv.n_kv_heads, stride = gridDim.x * WARPS;
    uint32_t ring = shared_address(raw) + warp * STAGES * 2 * TILE_BYTES;
    cursor fetch = {NULL, (int)(warp * gridDim.x + blockIdx.x), 0, 0, 0}, now;
    cursor_open(a, fetch, n_items);
    now = fetch;
    uint32_t fetched = 0, attended = 0, qf[D / 16][4];
    rows_state<D> state;
    int first[2] = {0, 0};
    bool fresh = true;
    while (now.at < n_items) {
        while (fetched < attended + STAGES - 1) { /* once a turn, but at the start */
            if (fetch.at < n_items) {
                uint32_t to = ring + fetched % STAGES * 2 * TILE_BYTES;
                tile_fetch<KV, D>(a, to, to + TILE_BYTES, fetch.table, fetch.kv_head, 0, fetch.key, fetch.end, lane);
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
        if (fresh) { /* the group's query heads are the tile's rows */
            const bf16 *q = a.qkv + (int64_t)work[1] * a.qkv_stride + (int64_t)now.kv_head * a.group * D;
            query_load<KV, D>(qf, [&](int half) { int head = lane / 4 + 8 * half; return head < a.group ? q + head * D : NULL; }, lane);
            first[0] = first[1] = a.window ? max(a.seq_length[work[0]] - a.window, 0) : 0;
            rows_clear<D>(state);
        }
        copy_wait<STAGES - 2>();
        __syncwarp();
        uint32_t at = ring + attended % STAGES * 2 * TILE_BYTES;
        const int end[2] = {now.end, now.end};
        tile_attend<KV, D>(a, qf, at, at + TILE_BYTES, state, now.key, first, end, lane);
        __syncwarp();
        attended++;
        now.key += TILE;
        fresh = now.key >= now.end;
        if (fresh) {
            item_finish<KV, D>(a, state, work, now.at / a.kv.n_kv_heads, now.kv_head, lane);
            now.at += stride;
            cursor_open(a, now, n_items);
        }
    }
    copy_wait<0>();
}

/* What split_maximum gives for each split in ascending order, by all threads: a running maximum needs no order, so a block of
 * splits is scanned at once. maxima: [splits], `stride` floats apart. */
static __device__ __forceinline__ void prefix_maxima(const float *maxima, int64_t stride, int splits, float *keep, float *add)
{
    __shared__ float warp_top[MERGE_THREADS / 32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float before = -INFINITY; /* of the splits of earlier turns */
    for (int i0 = 0; i0 < splits; i0 += MERGE_THREADS) {
        int i = i0 + threadIdx.x;
        float own = i < splits ? maxima[i * stride] : -INFINITY, top = own;
#pragma unroll
        for (int step = 1; step < 32; step *= 2) {
            float lower = __shfl_up_sync(0xffffffffu, top, step);
            top = lane >= step ? fmaxf(top, lower) : top;
        }
        if (lane == 31)
            warp_top[warp] = top;
        float earlier = __shfl_up_sync(0xffffffffu, top, 1);
        __syncthreads();
        float so_far = lane ? fmaxf(before, earlier) : before;
        for (int w = 0; w < warp; w++)
            so_far = fmaxf(so_far, warp_top[w]);
        if (i < splits)
            split_maximum(so_far, own, &keep[i], &add[i]);
        for (int w = 0; w < MERGE_THREADS / 32; w++)
            before = fmaxf(before, warp_top[w]);
        __syncthreads();
    }
}

/* Adds the splits of a (sequence, head) in ascending order. One block a pair; items that are not a first split have none. */
template <int D>
static __global__ void __launch_bounds__(MERGE_THREADS) merge_kernel(attention_args a)
{
    __shared__ float keep[SPLITS_MAX], add[SPLITS_MAX];
    int n_items = a.work[0];
    for (int at = blockIdx.x; at < n_items * a.n_heads; at += gridDim.x) {
        int item = at / a.n_heads, head = at % a.n_heads;
        const int32_t *work = a.work + PLAN_HEADER_INTS + item * DECODE_ITEM_INTS;
        int splits = work[3];
        if (work[2] != 0 || splits == 1)
            continue;
        int64_t stride = (int64_t)a.n_heads * (D + 2);
        const float *from = a.partial + item * stride + head * (D + 2);
        prefix_maxima(from + D, stride, splits, keep, add);
        if (threadIdx.x < D) {
            float l = 0, o = 0;
#pragma unroll 8
            for (int i = 0; i < splits; i++) {
                l = split_add(l, from[i * stride + D + 1], keep[i], add[i]);
                o = split_add(o, from[i * stride + threadIdx.x], keep[i], add[i]);
            }
            float inverse = a.kv.v_scale / l;
            a.out[((int64_t)work[1] * a.n_heads + head) * D + threadIdx.x] = __float2bfloat16_rn(o * inverse);
        }
        __syncthreads();
    }
}

template <typename KV, int D>
static enum mr_status launch(struct mr_device *device, const attention_args &a)
{
    constexpr int WARPS = warps_of<D>;
    int bytes = WARPS * STAGES * 2 * TILE * D * kv_type<KV>::bytes;
    static bool ready;
    if (!ready) {
        cudaFuncSetAttribute(decode_kernel<KV, D>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        ready = true;
    }
    decode_kernel<KV, D><<<device->n_sm, 32 * WARPS, bytes, device->stream>>>(a);
    if (device->longest > SPLIT_TOKENS || device->recording)
        merge_kernel<D><<<8 * device->n_sm, MERGE_THREADS, 0, device->stream>>>(a);
    return cuda_launched();
}

enum mr_status attention_decode(struct mr_device *device, const attention_args &args)
{
    if (args.group > ROWS || device->longest > SPLITS_MAX * SPLIT_TOKENS)
        return MR_ERR_UNSUPPORTED;
    return dispatch(args.kv,
                    [&](auto type, auto dim) { return launch<typename decltype(type)::type, decltype(dim)::value>(device, args); });
}
