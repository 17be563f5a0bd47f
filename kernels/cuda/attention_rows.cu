/* Prefill attention over chunks with cached past, row by row in decode's own order of sums (attention_tile.cuh): the prefill of the
 * deterministic mode, and of every head size, layout and cache type that attention_wgmma.cu does not take.
 *
 * Half a work item x query head is one block of four warps: 64 query rows of one head against all keys that they may see. Each warp
 * owns 16 rows. Keys come in double-buffered groups of KEYS at absolute multiples, shared by the warps; each is attended in tiles of
 * 16, and at the end of each split of 128 the split's sums are added to the row's. Tiles past a warp's last row are skipped.
 * Persistent blocks. Operations: 4 D a (query, key) pair that is seen. Limit: mma.sync, about half of what wgmma gives. */
#include "kernels/cuda/attention_tile.cuh"

enum { WARPS = 4, ROWS = 64, TILES = PREFILL_TILE / ROWS };

/* Keys of a group: two groups of K and of V in shared memory, two blocks an SM up to D = 128. */
template <int D>
static constexpr int keys_of = D <= 128 ? 64 : 32;

struct rows_item {
    const int32_t *table;
    int kv_head, begin, end;
};

template <typename KV, int D>
static __device__ __forceinline__ void group_fetch(const attention_args &a, const rows_item &it, uint32_t to, int key0)
{
    constexpr int KEYS = keys_of<D>, GROUP_BYTES = KEYS * D * kv_type<KV>::bytes;
    for (int row = threadIdx.x / 32 * TILE; row < KEYS && key0 + row < it.end; row += WARPS * TILE)
        tile_fetch<KV, D>(a, to, to + GROUP_BYTES, tile_place(a, it.table, it.kv_head, key0 + row), row, it.end - key0 - row, threadIdx.x % 32);
    copy_commit();
}

/* The finished split joins what the rows have; the split starts again. */
template <int D>
static __device__ __forceinline__ void split_close(rows_state<D> &total, rows_state<D> &split)
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float keep, add;
        total.m[r] = split_maximum(total.m[r], split.m[r], &keep, &add);
        total.l[r] = split_add(total.l[r], row_sum(split.l[r]), keep, add);
#pragma unroll
        for (int n = 0; n < D / 8; n++)
            for (int i = 0; i < 2; i++)
                total.o[n][2 * r + i] = split_add(total.o[n][2 * r + i], split.o[n][2 * r + i], keep, add);
    }
    rows_clear<D>(split);
}

template <typename KV, int D>
static __global__ void __launch_bounds__(32 * WARPS) rows_kernel(attention_args a)
{
    extern __shared__ __align__(128) unsigned char raw[];
    constexpr int KEYS = keys_of<D>, ROW = D * kv_type<KV>::bytes, GROUP_BYTES = KEYS * ROW;
    next_start();
    previous_wait();
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_items = a.work[1] * TILES * a.n_heads;
    const int32_t *work = a.work + PLAN_HEADER_INTS + a.work[0] * DECODE_ITEM_INTS;
    for (int at = blockIdx.x; at < n_items; at += gridDim.x) {
        int head = at % a.n_heads, tile = at / a.n_heads, seq = work[tile / TILES * 2];
        int first_row = work[tile / TILES * 2 + 1] + tile % TILES * ROWS;
        if (first_row >= a.seq_start[seq + 1] - a.seq_start[seq])
            continue;
        int row0 = a.seq_start[seq] + first_row, n = min((int)ROWS, a.seq_start[seq + 1] - row0), position0 = a.positions[row0];
        int mine = warp * 16 + lane / 4, last = position0 + warp * 16 + 15; /* this lane's first row; the warp's last position */
        rows_item it = {a.block_table + (int64_t)seq * a.table_stride, head / a.group, a.window ? max(0, position0 - a.window + 1) / KEYS * KEYS : 0,
                        position0 + n};
        const bf16 *q = a.qkv + (int64_t)row0 * a.qkv_stride + head * D;
        uint32_t qf[D / 16][4];
        query_load<KV, D>(qf, [&](int half) { int row = mine + 8 * half; return row < n ? q + (int64_t)row * a.qkv_stride : NULL; }, lane);
        int end[2] = {min(position0 + mine + 1, it.end), min(position0 + mine + 9, it.end)};
        int first[2] = {a.window ? end[0] - a.window : 0, a.window ? end[1] - a.window : 0};
        rows_state<D> total, split;
        rows_clear<D>(total);
        rows_clear<D>(split);
        __syncthreads(); /* the last item's keys have been read */
        group_fetch<KV, D>(a, it, shared_address(raw), it.begin);
        for (int key0 = it.begin, turn = 0; key0 < it.end; key0 += KEYS, turn++) {
            group_fetch<KV, D>(a, it, shared_address(raw) + (turn + 1) % 2 * 2 * GROUP_BYTES, key0 + KEYS);
            copy_wait<1>();
            __syncthreads();
            uint32_t from = shared_address(raw) + turn % 2 * 2 * GROUP_BYTES;
            for (int i = 0; i < KEYS && key0 + i <= last && key0 + i < it.end; i += TILE)
                tile_attend<KV, D>(a, qf, from + i * ROW, from + GROUP_BYTES + i * ROW, split, key0 + i, first, end, lane);
            if ((key0 + KEYS) % SPLIT_TOKENS == 0 || key0 + KEYS >= it.end)
                split_close<D>(total, split);
            __syncthreads();
        }
        copy_wait<0>();
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float inverse = a.kv.v_scale / total.l[r];
            bf16 *to = a.out + ((int64_t)(row0 + mine + 8 * r) * a.n_heads + head) * D;
            if (mine + 8 * r < n)
                row_pairs<KV, D>(total.o, r, lane, [&](int column, float x, float y) {
                    *(__nv_bfloat162 *)(to + column) = __floats2bfloat162_rn(x * inverse, y * inverse);
                });
        }
    }
}

template <typename KV, int D>
static enum mr_status launch(struct mr_device *device, const attention_args &a)
{
    int bytes = 4 * keys_of<D> * D * kv_type<KV>::bytes;
    static bool ready;
    if (!ready) {
        cudaFuncSetAttribute(rows_kernel<KV, D>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        ready = true;
    }
    return cuda_launch(device, {dim3(2 * device->n_sm), 32 * WARPS, bytes}, rows_kernel<KV, D>, a);
}

enum mr_status attention_rows(struct mr_device *device, const attention_args &args)
{
    return dispatch(args.kv,
                    [&](auto type, auto dim) { return launch<typename decltype(type)::type, decltype(dim)::value>(device, args); });
}
