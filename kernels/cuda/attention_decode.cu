/* Decode attention in the deterministic mode and of few sequences: one query row a sequence, keys split at absolute multiples of
 * SPLIT_TOKENS. What an even plan cuts is attention_heads.cu's; the merge of parts is here for both.
 *
 * Work item x kv head belongs to one warp; warps share nothing and never wait for each other. The query heads of a group are
 * the rows of one 16-row tile, so K and V are read once for all of them. A warp sees its items as one stream of 16-key tiles:
 * a ring of tiles in shared memory is filled by cp.async across item borders, so the memory never idles between items.
 * S = Q K^T and O += P V run on tensor cores with a running softmax. A sequence of one split is written at once; else each
 * split leaves a partial, and merge_kernel adds them in ascending order. Nothing depends on the grid or on neighbours.
 * Bytes: K and V once; partials 4 (D + 2) a head for every SPLIT_TOKENS keys (3 % at a group of 4).
 * Rejected: a block an item with its four warps merged in shared memory: 68 % of the bandwidth, the fill of each item shows; the last
 * warp of a sequence's splits merging them in the same kernel: a fence a split halves the bandwidth. */
#include "kernels/cuda/attention_tile.cuh"

enum { ROWS = 16, MERGE_WARPS = 8 };

/* Warps of a block and tiles of a ring: as many warps as rings fit the shared memory and state fits the registers; with few
 * sequences, whose items leave warps without work, a whole split in flight instead. */
template <typename KV, int D, bool FEW>
struct ring_shape {
    static constexpr int warps = FEW ? 2 : D > 128 ? 4 : is_byte<KV> ? 12 : 8, stages = FEW ? (D > 128 && !is_byte<KV> ? 6 : 8) : 3;
};

/* A place in the warp's stream of tiles. */
struct cursor {
    int at, kv_head, key, end; /* item x head; the next tile's first key; the split's end */
};

enum { SPLIT_TILES = SPLIT_TOKENS / TILE };

static __device__ __forceinline__ void cursor_open(const attention_args &a, cursor &c, int n_items)
{
    if (c.at >= n_items)
        return;
    const int32_t *work = a.work + PLAN_HEADER_INTS + c.at / a.kv.n_kv_heads * DECODE_ITEM_INTS;
    c.kv_head = c.at % a.kv.n_kv_heads;
    c.key = work[2] * SPLIT_TOKENS;
    c.end = min(c.key + (int)SPLIT_TOKENS, a.seq_length[work[0]]);
}

/* The places of the split's tiles, a lane each: the page table is asked once an item, not once a tile. */
static __device__ __forceinline__ int64_t split_places(const attention_args &a, const cursor &c, int n_items, int lane)
{
    int key = c.key + lane * TILE;
    if (c.at >= n_items || lane >= SPLIT_TILES || key >= c.end)
        return 0;
    int seq = a.work[PLAN_HEADER_INTS + c.at / a.kv.n_kv_heads * DECODE_ITEM_INTS];
    return tile_place(a, a.block_table + (int64_t)seq * a.table_stride, c.kv_head, key);
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

template <typename KV, int D, bool FEW>
static __global__ void __launch_bounds__(32 * ring_shape<KV, D, FEW>::warps) decode_kernel(attention_args a)
{
    extern __shared__ __align__(128) unsigned char raw[];
    constexpr int WARPS = ring_shape<KV, D, FEW>::warps, STAGES = ring_shape<KV, D, FEW>::stages, TILE_BYTES = TILE * D * kv_type<KV>::bytes;
    next_start();
    previous_wait();
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_items = a.work[0] * a.kv.n_kv_heads, stride = gridDim.x * WARPS;
    uint32_t ring = shared_address(raw) + warp * STAGES * 2 * TILE_BYTES;
    cursor fetch = {(int)(warp * gridDim.x + blockIdx.x), 0, 0, 0}, now;
    cursor_open(a, fetch, n_items);
    int64_t places = split_places(a, fetch, n_items, lane);
    now = fetch;
    uint32_t fetched = 0, attended = 0, qf[D / 16][4];
    rows_state<D> state;
    int first[2] = {0, 0};
    bool fresh = true;
    while (now.at < n_items) {
        while (fetched < attended + STAGES - 1) { /* once a turn, but at the start */
            if (fetch.at < n_items) {
                uint32_t to = ring + fetched % STAGES * 2 * TILE_BYTES;
                int64_t place = __shfl_sync(0xffffffffu, places, fetch.key % SPLIT_TOKENS / TILE);
                tile_fetch<KV, D>(a, to, to + TILE_BYTES, place, 0, fetch.end - fetch.key, lane);
                fetch.key += TILE;
                if (fetch.key >= fetch.end) {
                    fetch.at += stride;
                    cursor_open(a, fetch, n_items);
                    places = split_places(a, fetch, n_items, lane);
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

/* What is merged: parts first .. first + parts - 1 of a row; one part or none: nothing to do. */
struct merge_item {
    int first, row, parts;
};

static __device__ __forceinline__ int merge_items(const attention_args &a) { return a.workers ? a.work[0] : a.work[2]; }

static __device__ __forceinline__ merge_item merge_item_at(const attention_args &a, int i)
{
    if (a.workers) {
        int4 item = ((const int4 *)(a.work + PLAN_HEADER_INTS))[i];
        plan_cut cut(a.work, a.workers, a.kv.n_kv_heads);
        int slot = cut.slot_of(item.x);
        return {slot + i, item.z, cut.slot_of(item.x + (item.w - 1) / TILE) - slot + 1};
    }
    const int32_t *item = a.work + PLAN_HEADER_INTS + a.work[0] * DECODE_ITEM_INTS + a.work[1] * PREFILL_ITEM_INTS + i * MERGE_ITEM_INTS;
    return {item[0], item[1], item[2]};
}

/* Adds the parts of a (sequence, head) in ascending order, a warp a pair. A lane owns D / 32 columns; the factors are found 32 parts
 * at a time, each lane one: a running maximum needs no order. Values are read AHEAD parts before they are added. */
template <int D>
static __global__ void __launch_bounds__(32 * MERGE_WARPS) merge_kernel(attention_args a)
{
    constexpr int COLUMNS = D / 32, AHEAD = 8;
    next_start();
    previous_wait();
    int lane = threadIdx.x % 32, n = merge_items(a) * a.n_heads;
    if (blockIdx.x == 0 && threadIdx.x == 0)
        a.work[PLAN_TAKEN] = 0;
    int64_t stride = (int64_t)a.n_heads * (D + 2);
    for (int at = blockIdx.x * MERGE_WARPS + threadIdx.x / 32; at < n; at += gridDim.x * MERGE_WARPS) {
        merge_item item = merge_item_at(a, at / a.n_heads);
        int splits = item.parts, head = at % a.n_heads;
        if (splits < 2)
            continue;
        const float *from = a.partial + item.first * stride + head * (D + 2);
        float top = -INFINITY, l = 0, o[COLUMNS] = {}, keep = 0, add = 0, part = 0;
        for (int i0 = 0; i0 < splits; i0 += AHEAD) {
            float values[AHEAD][COLUMNS];
#pragma unroll
            for (int j = 0; j < AHEAD; j++)
                for (int c = 0; c < COLUMNS; c++)
                    values[j][c] = from[min(i0 + j, splits - 1) * stride + lane * COLUMNS + c];
            if (i0 % 32 == 0) {
                const float *own = from + min(i0 + lane, splits - 1) * stride + D;
                float m = i0 + lane < splits ? own[0] : -INFINITY, highest = m;
                part = own[1];
#pragma unroll
                for (int step = 1; step < 32; step *= 2) {
                    float lower = __shfl_up_sync(0xffffffffu, highest, step);
                    highest = lane >= step ? fmaxf(highest, lower) : highest;
                }
                float before = __shfl_up_sync(0xffffffffu, highest, 1);
                split_maximum(lane ? fmaxf(top, before) : top, m, &keep, &add);
                top = fmaxf(top, __shfl_sync(0xffffffffu, highest, 31));
            }
#pragma unroll
            for (int j = 0; j < AHEAD; j++) {
                float k = __shfl_sync(0xffffffffu, keep, (i0 + j) % 32), w = __shfl_sync(0xffffffffu, add, (i0 + j) % 32),
                      sum = __shfl_sync(0xffffffffu, part, (i0 + j) % 32);
                if (i0 + j >= splits)
                    break;
                l = split_add(l, sum, k, w);
#pragma unroll
                for (int c = 0; c < COLUMNS; c++)
                    o[c] = split_add(o[c], values[j][c], k, w);
            }
        }
        float inverse = a.kv.v_scale / l;
#pragma unroll
        for (int c = 0; c < COLUMNS; c++)
            a.out[((int64_t)item.row * a.n_heads + head) * D + lane * COLUMNS + c] = __float2bfloat16_rn(o[c] * inverse);
    }
}

template <typename KV, int D, bool FEW>
static enum mr_status launch(struct mr_device *device, const attention_args &a)
{
    typedef ring_shape<KV, D, FEW> ring;
    int bytes = ring::warps * ring::stages * 2 * TILE * D * kv_type<KV>::bytes;
    static bool ready;
    if (!ready) {
        cudaFuncSetAttribute(decode_kernel<KV, D, FEW>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        ready = true;
    }
    return cuda_launch(device, {dim3(device->n_sm), 32 * ring::warps, bytes}, decode_kernel<KV, D, FEW>, a);
}

enum mr_status attention_decode(struct mr_device *device, const attention_args &args)
{
    if (args.group > ROWS)
        return MR_ERR_UNSUPPORTED;
    attention_args all = args;
    enum mr_status status = device->plan_even ? attention_heads(device, all) : dispatch(args.kv, [&](auto type, auto dim) {
        typedef typename decltype(type)::type KV;
        constexpr int D = decltype(dim)::value;
        return device->n_seqs <= FEW_SEQUENCES ? launch<KV, D, true>(device, args) : launch<KV, D, false>(device, args);
    });
    if (status != MR_OK || !(device->plan_even || device->plan_longest > SPLIT_TOKENS || device->recording))
        return status;
    return dispatch_dim<void>(args.kv.head_dim, [&](auto type, auto dim) {
        return cuda_launch(device, {dim3(4 * device->n_sm), 32 * MERGE_WARPS, 0}, merge_kernel<decltype(dim)::value>, all);
    });
}
