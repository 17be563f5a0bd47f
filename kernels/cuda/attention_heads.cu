/* Decode attention of many sequences in the fast mode: one query row a sequence, the work cut evenly over the card's warps.
 *
 * All tiles of 16 keys of all sequences stand in one row (attention_plan.cuh), which is cut into slots: one large slot a warp of a kv head,
 * the most of its share, and small ones of what is left, which warps take as they get free (an integer counter, set back by merge_kernel),
 * since they do not run equally fast. Neighbouring warps begin with the heads of the same tokens, which lie side by side in memory. Where
 * a cut goes through a sequence each side leaves a partial result, and merge_kernel (attention_decode.cu) adds them: at most two a slot. A
 * warp sees its slots as one stream of steps of TILES tiles: a ring in shared memory is filled by cp.async across the borders of
 * sequences. But for the counter, warps share nothing and never wait for each other.
 *
 * The step, on mma.sync: keys are the product's 16 rows and the group's query heads its 8 columns, S^T = K Q^T, then O^T += V^T P^T: a
 * group of up to 8 heads costs half the products, conversions and powers that it costs as rows of a 16-row tile. The weights change
 * sides between the products by one transposing move of 8 x 8. A lane holds columns (heads) 2 (lane % 4) and the next, and of O^T the
 * rows (head columns) lane / 4 and lane / 4 + 8; with a byte cache these are columns 2 (lane / 4) and the next of 16: see heads_each.
 *
 * 1. The order of sums depends on the batch and on the card: the deterministic mode takes attention_decode.cu's own kernel.
 * 2. No slot that is not cached is multiplied: the rest of a tile is zeros in shared memory, its scores -inf.
 * Bytes: K and V once. Rejected: splits at absolute multiples of 128 keys (partials are an eighth of an FP8 cache's bytes, and the last
 * round of items leaves a twentieth of the warps idle); a block an item, merged in shared memory (the fill of each item shows). */
#include "kernels/cuda/attention_tile.cuh"

enum { RING_BYTES = 192 << 10 };

/* Tiles of a step, warps of a block, steps of a warp's ring. */
template <typename KV, int D>
struct heads_shape {
    static constexpr int tile_bytes = TILE * D * kv_type<KV>::bytes; /* of K, and as many of V */
    static constexpr int tiles = tile_bytes > 2048 ? 1 : tile_bytes > 1024 ? 2 : 4;
    static constexpr int warps = tile_bytes > 4096 ? 4 : 8;
    static constexpr int stages = RING_BYTES / (warps * tiles * 2 * tile_bytes);
};

/* G: groups of 8 heads. m is in units of the products; l is the lane's own part until heads_sum. */
template <int D, int G>
struct heads_state {
    float o[D / 16][G][4], m[G][2], l[G][2];
};

template <int D, int G>
static __device__ __forceinline__ void heads_clear(heads_state<D, G> &s)
{
#pragma unroll
    for (int g = 0; g < G; g++) {
        s.m[g][0] = s.m[g][1] = -INFINITY;
        s.l[g][0] = s.l[g][1] = 0;
#pragma unroll
        for (int t = 0; t < D / 16; t++)
            s.o[t][g][0] = s.o[t][g][1] = s.o[t][g][2] = s.o[t][g][3] = 0;
    }
}

/* Over the eight lanes that share columns. */
static __device__ __forceinline__ float heads_sum(float x)
{
    x += __shfl_xor_sync(0xffffffffu, x, 4);
    x += __shfl_xor_sync(0xffffffffu, x, 8);
    return x + __shfl_xor_sync(0xffffffffu, x, 16);
}
static __device__ __forceinline__ float heads_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 4));
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 8));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 16));
}

/* The group's first `group` heads, at q, as the column operand; the others are zero. */
template <typename KV, int D, int G>
static __device__ __forceinline__ void heads_query(uint32_t qf[D / 16][G][2], const bf16 *q, int group, int lane)
{
#pragma unroll
    for (int g = 0; g < G; g++) {
        int head = lane / 4 + 8 * g;
#pragma unroll
        for (int k = 0; k < D / 16; k++)
            for (int i = 0; i < 2; i++) {
                int at = is_byte<KV> ? k * 16 + lane % 4 * 4 + i * 2 : k * 16 + lane % 4 * 2 + i * 8;
                float2 two = head < group ? __bfloat1622float2(*(const __nv_bfloat162 *)(q + head * D + at)) : make_float2(0, 0);
                qf[k][g][i] = pack2<typename kv_type<KV>::factor>(two.x, two.y);
            }
    }
}

/* Two sums a score, of the even and the odd sixteens of k, so that products wait half as long for each other. */
template <typename KV, int D, int G>
static __device__ __forceinline__ void heads_scores(float s[G][4], const uint32_t qf[D / 16][G][2], uint32_t k_at, int lane)
{
    typedef typename kv_type<KV>::factor T;
    constexpr int ROW = D * kv_type<KV>::bytes;
    float odd[G][4] = {};
#pragma unroll
    for (int k = 0; k < D / 16; k += 2) {
        uint32_t kf[2][4], byte[4];
        if constexpr (is_byte<KV>) {
            load_matrix4(byte, k_at + tile_offset<ROW>(lane % 16, k + lane / 16));
#pragma unroll
            for (int i = 0; i < 4; i++) {
                kf[i / 2][i % 2] = e4m3_pair(byte[i]);
                kf[i / 2][i % 2 + 2] = e4m3_pair(byte[i] >> 16);
            }
        } else {
            load_matrix4(kf[0], k_at + tile_offset<ROW>(lane % 16, 2 * k + lane / 16));
            load_matrix4(kf[1], k_at + tile_offset<ROW>(lane % 16, 2 * k + 2 + lane / 16));
        }
#pragma unroll
        for (int g = 0; g < G; g++) {
            multiply<T>(s[g], kf[0], qf[k][g][0], qf[k][g][1]);
            multiply<T>(odd[g], kf[1], qf[k + 1][g][0], qf[k + 1][g][1]);
        }
    }
#pragma unroll
    for (int g = 0; g < G; g++)
        for (int i = 0; i < 4; i++)
            s[g][i] += odd[g][i];
}

template <typename KV, int D, int G>
static __device__ __forceinline__ void heads_values(float o[D / 16][G][4], const uint32_t pf[G][2], uint32_t v_at, int lane)
{
    typedef typename kv_type<KV>::factor T;
    constexpr int ROW = D * kv_type<KV>::bytes;
    uint32_t vf[4];
    if constexpr (is_byte<KV>) {
#pragma unroll
        for (int c = 0; c < D / 16; c += 2) {
            load_matrix4_transposed(vf, v_at + tile_offset<ROW>(lane % 16, c + lane / 16));
#pragma unroll
            for (int i = 0; i < 2; i++) { /* bytes of two keys x two columns: to pairs of keys */
                uint32_t low = __byte_perm(vf[2 * i], 0, 0x3120), high = __byte_perm(vf[2 * i + 1], 0, 0x3120);
                uint32_t a[4] = {e4m3_pair(low), e4m3_pair(low >> 16), e4m3_pair(high), e4m3_pair(high >> 16)};
#pragma unroll
                for (int g = 0; g < G; g++)
                    multiply<T>(o[c + i][g], a, pf[g][0], pf[g][1]);
            }
        }
    } else {
#pragma unroll
        for (int t = 0; t < D / 16; t++) {
            load_matrix4_transposed(vf, v_at + tile_offset<ROW>(lane % 8 + lane / 16 * 8, 2 * t + lane / 8 % 2));
#pragma unroll
            for (int g = 0; g < G; g++)
                multiply<T>(o[t][g], vf, pf[g][0], pf[g][1]);
        }
    }
}

/* What the products are multiplied by to be powers of two; capped scores are in that unit already. */
static __device__ __forceinline__ float heads_unit(const attention_args &a) { return a.softcap == 0.0f ? a.scale_log2 : 1.0f; }

/* TILES tiles from key0 on, of which [first, end) are seen: scores, running softmax, weighted values. */
template <typename KV, int D, int G, int TILES>
static __device__ __forceinline__ void heads_attend(const attention_args &a, const uint32_t qf[D / 16][G][2], uint32_t k_at, uint32_t v_at,
                                                    heads_state<D, G> &state, int key0, int first, int end, int lane)
{
    typedef typename kv_type<KV>::factor T;
    constexpr int TILE_BYTES = TILE * D * kv_type<KV>::bytes;
    float s[TILES][G][4] = {}, shrink[G][2], origin[G][2], unit = heads_unit(a);
#pragma unroll
    for (int n = 0; n < TILES; n++)
        heads_scores<KV, D, G>(s[n], qf, k_at + n * TILE_BYTES, lane);
    if (a.softcap != 0.0f) {
#pragma unroll
        for (int i = 0; i < TILES * G * 4; i++)
            s[i / 4 / G][i / 4 % G][i % 4] = score_log2(s[i / 4 / G][i / 4 % G][i % 4], a);
    }
    if (key0 < first || key0 + TILES * TILE > end) {
#pragma unroll
        for (int i = 0; i < TILES * G * 4; i++) {
            int key = key0 + i / 4 / G * TILE + lane / 4 + i % 4 / 2 * 8;
            if (key < first || key >= end)
                s[i / 4 / G][i / 4 % G][i % 4] = -INFINITY;
        }
    }
    bool changed = false;
#pragma unroll
    for (int g = 0; g < G; g++)
        for (int i = 0; i < 2; i++) {
            float top = fmaxf(s[0][g][i], s[0][g][i + 2]);
#pragma unroll
            for (int n = 1; n < TILES; n++)
                top = fmaxf(top, fmaxf(s[n][g][i], s[n][g][i + 2]));
            top = fmaxf(state.m[g][i], heads_max(top));
            origin[g][i] = finite(top) * unit;
            shrink[g][i] = power2(fmaf(state.m[g][i], unit, -origin[g][i]));
            changed |= top != state.m[g][i];
            state.m[g][i] = top;
            state.l[g][i] *= shrink[g][i];
        }
    uint32_t pf[TILES][G][2];
#pragma unroll
    for (int n = 0; n < TILES; n++)
        for (int g = 0; g < G; g++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                s[n][g][i] = power2(fmaf(s[n][g][i], unit, -origin[g][i % 2]));
                state.l[g][i % 2] += s[n][g][i];
            }
            pf[n][g][0] = transposed(pack2<T>(s[n][g][0], s[n][g][1]));
            pf[n][g][1] = transposed(pack2<T>(s[n][g][2], s[n][g][3]));
        }
    if (__any_sync(0xffffffffu, changed)) { /* rare once the maxima have been seen */
#pragma unroll
        for (int t = 0; t < D / 16; t++)
            for (int g = 0; g < G; g++)
                for (int i = 0; i < 4; i++)
                    state.o[t][g][i] *= shrink[g][i % 2];
    }
#pragma unroll
    for (int n = 0; n < TILES; n++)
        heads_values<KV, D, G>(state.o, pf[n], v_at + n * TILE_BYTES, lane);
}

/* Gives take(g, i, head, column, x, y) the lane's sums of the group's heads: of `column` and of column + 1 (a byte cache) or + 8. */
template <typename KV, int D, int G, typename TAKE>
static __device__ __forceinline__ void heads_each(const heads_state<D, G> &s, int group, int lane, TAKE take)
{
#pragma unroll
    for (int g = 0; g < G; g++)
        for (int i = 0; i < 2; i++) {
            int head = 8 * g + lane % 4 * 2 + i;
            if (head < group)
#pragma unroll
                for (int t = 0; t < D / 16; t++)
                    take(g, i, head, t * 16 + lane / 4 * (is_byte<KV> ? 2 : 1), s.o[t][g][i], s.o[t][g][i + 2]);
        }
}

/* What a step of the ring is, written by who fetches it for who attends it. Eight ints. */
struct alignas(16) step {
    int row, kv_head, part;
    int key, first, end; /* first key; those that are seen */
    int begins, ends;    /* the sequence's part begins here; ends here: PART, or WHOLE: it is the whole sequence */
};
enum { PART = 1, WHOLE = 2 };

/* The next tile that is fetched: of which slot, sequence item and head. */
struct cursor {
    int4 item;            /* first tile, sequence, row, length */
    int slot, kv_head, at;
    int tile, end, slot_end; /* next tile; ends of the sequence's part and of the slot */
    int begin, base;      /* where the part begins; tile whose place lane 0 holds */
    bool begins;          /* nothing of the part has been fetched */
    int64_t place;        /* a lane's tile's in the cache */
};

static __device__ __forceinline__ const int4 *plan_items(const attention_args &a) { return (const int4 *)(a.work + PLAN_HEADER_INTS); }
static __device__ __forceinline__ int item_end(const int4 &item) { return item.x + (item.w + TILE - 1) / TILE; }

/* The places of the next 32 tiles, a lane each: the page table is asked once for all of them. */
static __device__ __forceinline__ void places_load(const attention_args &a, cursor &c, int lane)
{
    c.base = c.tile;
    int tile = c.tile + lane;
    c.place = tile < c.end
                  ? tile_place(a, a.block_table + (int64_t)c.item.y * a.table_stride, c.kv_head, (tile - c.item.x) * TILE) : 0;
}

/* The part of item c.at that the slot has. */
static __device__ __forceinline__ void part_open(const attention_args &a, cursor &c, int lane)
{
    c.item = plan_items(a)[c.at];
    c.end = min(item_end(c.item), c.slot_end);
    c.begin = c.tile;
    c.begins = true;
    if (a.window) /* without what the window has left behind, but not without all of it: a part must leave a result */
        c.tile = min(max(c.tile, c.item.x + (c.item.w - a.window) / TILE), c.end - 1);
    places_load(a, c, lane);
}

/* The sequence whose tiles hold `tile`: lanes try 32 places at a time. */
static __device__ __forceinline__ int item_find(const int4 *items, int n, int tile, int lane)
{
    int low = 0;
    while (n > 1) {
        int step = (n + 31) / 32, at = lane * step;
        int below = __popc(__ballot_sync(0xffffffffu, at < n && items[low + at].x <= tile)) - 1;
        low += below * step;
        n = min(step, n - below * step);
    }
    return low;
}

/* A warp's own slot, then small ones as they are left. False: there is none. */
static __device__ __forceinline__ bool slot_open(const attention_args &a, const plan_cut &cut, cursor &c, int unit, int lane)
{
    c.slot = unit / a.kv.n_kv_heads;
    c.kv_head = unit % a.kv.n_kv_heads;
    if (c.slot >= cut.slots || cut.tiles == 0)
        return false;
    c.tile = cut.begin(c.slot);
    c.slot_end = cut.begin(c.slot + 1);
    c.at = item_find(plan_items(a), a.work[0], c.tile, lane);
    part_open(a, c, lane);
    return true;
}
static __device__ __forceinline__ bool slot_next(const attention_args &a, const plan_cut &cut, cursor &c, int lane)
{
    int taken = lane == 0 ? atomicAdd(a.work + PLAN_TAKEN, 1) : 0;
    return slot_open(a, cut, c, cut.first * a.kv.n_kv_heads + __shfl_sync(0xffffffffu, taken, 0), lane);
}

/* Starts the copy of the cursor's next step, says in `what` what it is, and moves on. */
template <typename KV, int D, int TILES>
static __device__ __forceinline__ void step_fetch(const attention_args &a, cursor &c, uint32_t to, step *what, int lane)
{
    constexpr int TILE_BYTES = TILE * D * kv_type<KV>::bytes;
#pragma unroll
    for (int i = 0; i < TILES; i++) {
        int64_t place = __shfl_sync(0xffffffffu, c.place, c.tile - c.base + i);
        int n = c.tile + i < c.end ? c.item.w - (c.tile + i - c.item.x) * TILE : 0;
        tile_fetch<KV, D>(a, to + i * TILE_BYTES, to + (TILES + i) * TILE_BYTES, place, 0, n, lane);
    }
    if (lane == 0) {
        bool ends = c.tile + TILES >= c.end, whole = c.begin == c.item.x && c.end == item_end(c.item);
        int first = a.window ? c.item.w - a.window : 0, end = min(c.item.w, (c.end - c.item.x) * TILE);
        *what = {c.item.z, c.kv_head, c.slot + c.at, (c.tile - c.item.x) * TILE, first, end, c.begins, ends ? whole ? WHOLE : PART : 0};
    }
    c.begins = false;
    c.tile = min(c.tile + TILES, c.end);
}

template <typename KV, int D, int G>
static __device__ __forceinline__ void part_finish(const attention_args &a, const heads_state<D, G> &s, const step &now, int lane)
{
    constexpr int APART = is_byte<KV> ? 1 : 8;
    float l[G][2], unit = heads_unit(a);
#pragma unroll
    for (int g = 0; g < G; g++)
        for (int i = 0; i < 2; i++)
            l[g][i] = heads_sum(s.l[g][i]);
    if (now.ends == WHOLE) {
        bf16 *to = a.out + ((int64_t)now.row * a.n_heads + now.kv_head * a.group) * D;
        heads_each<KV, D, G>(s, a.group, lane, [&](int g, int i, int head, int column, float x, float y) {
            float inverse = a.kv.v_scale / l[g][i];
            to[head * D + column] = __float2bfloat16_rn(x * inverse);
            to[head * D + column + APART] = __float2bfloat16_rn(y * inverse);
        });
        return;
    }
    float *to = a.partial + ((int64_t)now.part * a.n_heads + now.kv_head * a.group) * (D + 2);
    heads_each<KV, D, G>(s, a.group, lane, [&](int g, int i, int head, int column, float x, float y) {
        to[head * (D + 2) + column] = x;
        to[head * (D + 2) + column + APART] = y;
        if (column == 0)
            *(float2 *)(to + head * (D + 2) + D) = make_float2(s.m[g][i] * unit, l[g][i]);
    });
}

template <typename KV, int D, int G, typename SHAPE>
static __global__ void __launch_bounds__(32 * SHAPE::warps) heads_kernel(attention_args a)
{
    extern __shared__ __align__(128) unsigned char raw[];
    __shared__ step steps[SHAPE::warps][SHAPE::stages];
    constexpr int STAGES = SHAPE::stages, TILES = SHAPE::tiles, HALF_BYTES = TILES * SHAPE::tile_bytes;
    next_start();
    previous_wait();
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, worker = blockIdx.x * SHAPE::warps + warp;
    uint32_t ring = shared_address(raw) + warp * STAGES * 2 * HALF_BYTES;
    plan_cut cut(a.work, a.workers, a.kv.n_kv_heads);
    cursor fetch = {};
    bool more = worker < cut.first * a.kv.n_kv_heads ? slot_open(a, cut, fetch, worker, lane) : slot_next(a, cut, fetch, lane);
    uint32_t qf[D / 16][G][2];
    heads_state<D, G> state;
    int stage = 0, fetch_stage = 0, ahead = 0, empty = 0; /* steps under way that are whole, and behind them such as hold nothing */
    while (more || ahead > 0) {
        while (ahead + empty < STAGES) { /* once a turn, but at the start */
            if (more) {
                step_fetch<KV, D, TILES>(a, fetch, ring + fetch_stage * 2 * HALF_BYTES, &steps[warp][fetch_stage], lane);
                ahead++;
                if (fetch.tile == fetch.slot_end)
                    more = slot_next(a, cut, fetch, lane);
                else if (fetch.tile == fetch.end)
                    fetch.at++, part_open(a, fetch, lane);
                else if (fetch.tile - fetch.base == 32)
                    places_load(a, fetch, lane);
            } else {
                empty++;
            }
            copy_commit();
            fetch_stage = fetch_stage + 1 == STAGES ? 0 : fetch_stage + 1;
        }
        copy_wait<STAGES - 1>();
        __syncwarp();
        const step now = steps[warp][stage];
        uint32_t at = ring + stage * 2 * HALF_BYTES;
        if (now.begins) {
            heads_query<KV, D, G>(qf, a.qkv + (int64_t)now.row * a.qkv_stride + (int64_t)now.kv_head * a.group * D, a.group, lane);
            heads_clear<D, G>(state);
        }
        heads_attend<KV, D, G, TILES>(a, qf, at, at + HALF_BYTES, state, now.key, now.first, now.end, lane);
        if (now.ends)
            part_finish<KV, D, G>(a, state, now, lane);
        __syncwarp();
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        ahead--;
    }
    copy_wait<0>();
}

template <typename KV, int D, int G, typename SHAPE>
static enum mr_status launch(struct mr_device *device, attention_args &a)
{
    int bytes = SHAPE::warps * SHAPE::stages * SHAPE::tiles * 2 * SHAPE::tile_bytes;
    static bool ready;
    if (!ready) {
        cudaFuncSetAttribute(heads_kernel<KV, D, G, SHAPE>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        ready = true;
    }
    a.workers = device->n_sm * SHAPE::warps;
    int64_t parts = (int64_t)PLAN_CUTS * a.workers / a.kv.n_kv_heads + PLAN_CUTS + device->plan_decode_items;
    if ((size_t)(parts * a.n_heads * (D + 2)) > device->attention_partial_floats)
        return MR_ERR_LIMIT;
    return cuda_launch(device, {dim3(device->n_sm), 32 * SHAPE::warps, bytes}, heads_kernel<KV, D, G, SHAPE>, a);
}

enum mr_status attention_heads(struct mr_device *device, attention_args &args)
{
    return dispatch(args.kv, [&](auto type, auto dim) {
        typedef typename decltype(type)::type KV;
        constexpr int D = decltype(dim)::value;
        return args.group <= 8 ? launch<KV, D, 1, heads_shape<KV, D>>(device, args) : launch<KV, D, 2, heads_shape<KV, D>>(device, args);
    });
}
