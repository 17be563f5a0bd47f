/* Decode attention: one query row a sequence, keys split at absolute multiples of SPLIT_TOKENS.
 *
 * Work item x kv head is one block of four warps. The query heads of a group are the rows of one 16-row tile, so K and V are
 * read once for all of them. A warp owns every fourth 16-key tile of its split: a ring of STAGES tiles in shared memory filled
 * by cp.async, S = Q K^T and O += P V on tensor cores, its own running softmax. The four warps' results are merged in warp
 * order, then written out (one split) or left as a partial for merge_kernel, which adds splits in ascending order.
 * Nothing depends on the grid: the blocks are persistent and read the items from the plan. Bytes: K and V once. */
#include "kernels/cuda/attention.cuh"

enum { WARPS = 4, TILE = 16, STAGES = 3, ROWS = 16 };

template <typename T, int D>
struct decode_shared {
    alignas(128) T q[ROWS * D];
    alignas(128) T ring[WARPS][STAGES][2][TILE * D]; /* K tile, V tile; at the item's end a warp's ring holds its sums */
    float m[WARPS][ROWS], l[WARPS][ROWS];
};

/* [ROWS][D] sums of one warp, over its own ring. */
template <typename T, int D>
static __device__ __forceinline__ float *warp_sums(const decode_shared<T, D> &sh, int warp)
{
    static_assert(sizeof sh.ring[0] >= sizeof(float) * ROWS * D, "a warp's sums fit its ring");
    return (float *)sh.ring[warp];
}

template <typename T, int D>
static __device__ __forceinline__ void tile_fetch(const attention_args &a, T *ring, const int32_t *table, int kv_head, int key0, int end, int lane)
{
    warp_fetch16<T, D>(a, shared_address(ring), shared_address(ring + TILE * D), table, kv_head, 0, key0, end, lane);
}

/* One tile: scores, running softmax, weighted values. Fragment rows of a lane: lane / 4 and lane / 4 + 8. */
template <typename T, int D>
static __device__ __forceinline__ void tile_attend(const attention_args &a, const T *q, const T *ring, float o[D / 8][4], float m[2], float l[2], int key0,
                                                   int first, int end, int lane)
{
    uint32_t q_at = shared_address(q), k_at = shared_address(ring), v_at = shared_address(ring + TILE * D);
    float s[2][4] = {};
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        uint32_t qf[4], kf[4];
        load_matrix4(qf, q_at + tile_offset<D>(lane % 16, 2 * k + lane / 16));
        load_matrix4(kf, k_at + tile_offset<D>((lane / 16) * 8 + lane % 8, 2 * k + (lane / 8) % 2));
        multiply<T>(s[0], qf, kf[0], kf[1]);
        multiply<T>(s[1], qf, kf[2], kf[3]);
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

/* The query heads of the group as rows of a tile; rows past the group are zero. */
template <typename T, int D>
static __device__ __forceinline__ void query_load(const attention_args &a, T *q, int row, int kv_head)
{
    for (int i = threadIdx.x; i < ROWS * D; i += blockDim.x) {
        int r = i / D, c = i % D;
        float x = r < a.group ? __bfloat162float(a.qkv[(int64_t)row * a.qkv_stride + (kv_head * a.group + r) * D + c]) : 0.0f;
        *(T *)((char *)q + tile_offset<D>(r, c / 8) + (c % 8) * 2) = (T)x;
    }
}

/* Merges the warps' rows in warp order and writes them out or into the partial of this item. */
template <typename T, int D>
static __device__ __forceinline__ void item_finish(const attention_args &a, const decode_shared<T, D> &sh, int item, int row, int kv_head, bool whole)
{
    for (int i = threadIdx.x; i < a.group * D; i += blockDim.x) {
        int r = i / D, c = i % D, head = kv_head * a.group + r;
        float m = -INFINITY, l = 0, o = 0;
        for (int w = 0; w < WARPS; w++)
            m = fmaxf(m, sh.m[w][r]);
        for (int w = 0; w < WARPS; w++) {
            float weight = power2(sh.m[w][r] - finite(m));
            l += sh.l[w][r] * weight;
            o += warp_sums<T, D>(sh, w)[i] * weight;
        }
        if (whole) {
            a.out[((int64_t)row * a.n_heads + head) * D + c] = __float2bfloat16_rn(o / l);
        } else {
            float *to = a.partial + ((int64_t)item * a.n_heads + head) * (D + 2);
            to[c] = o;
            if (c == 0)
                to[D] = m, to[D + 1] = l;
        }
    }
}

template <typename T, int D>
static __global__ void __launch_bounds__(32 * WARPS) decode_kernel(attention_args a)
{
    extern __shared__ __align__(128) unsigned char raw[];
    decode_shared<T, D> &sh = *(decode_shared<T, D> *)raw;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_items = a.work[0] * a.kv.n_kv_heads;
    for (int at = blockIdx.x; at < n_items; at += gridDim.x) {
        int item = at / a.kv.n_kv_heads, kv_head = at % a.kv.n_kv_heads;
        const int32_t *work = a.work + PLAN_HEADER_INTS + item * DECODE_ITEM_INTS;
        int seq = work[0], row = work[1], split = work[2];
        int length = a.seq_length[seq], begin = split * SPLIT_TOKENS, end = min(begin + SPLIT_TOKENS, length);
        int first = a.window ? max(length - a.window, 0) : 0;
        const int32_t *table = a.block_table + (int64_t)seq * a.table_stride;
        query_load<T, D>(a, sh.q, row, kv_head);
        float o[D / 8][4] = {}, m[2] = {-INFINITY, -INFINITY}, l[2] = {};
        int n_tiles = max(0, (end - begin - warp * TILE + WARPS * TILE - 1) / (WARPS * TILE));
#pragma unroll
        for (int i = 0; i < STAGES - 1; i++) {
            if (i < n_tiles)
                tile_fetch<T, D>(a, sh.ring[warp][i][0], table, kv_head, begin + (i * WARPS + warp) * TILE, end, lane);
            copy_commit();
        }
        __syncthreads();
        for (int i = 0; i < n_tiles; i++) {
            int next = i + STAGES - 1;
            if (next < n_tiles)
                tile_fetch<T, D>(a, sh.ring[warp][next % STAGES][0], table, kv_head, begin + (next * WARPS + warp) * TILE, end, lane);
            copy_commit();
            copy_wait<STAGES - 1>();
            __syncwarp();
            tile_attend<T, D>(a, sh.q, sh.ring[warp][i % STAGES][0], o, m, l, begin + (i * WARPS + warp) * TILE, first, end, lane);
            __syncwarp();
        }
        copy_wait<0>();
        for (int r = 0; r < 2; r++) {
            l[r] += __shfl_xor_sync(0xffffffffu, l[r], 1);
            l[r] += __shfl_xor_sync(0xffffffffu, l[r], 2);
            int tile_row = lane / 4 + 8 * r;
            if (lane % 4 == 0)
                sh.m[warp][tile_row] = m[r], sh.l[warp][tile_row] = l[r];
            for (int n = 0; n < D / 8; n++)
                *(float2 *)&warp_sums<T, D>(sh, warp)[tile_row * D + n * 8 + (lane % 4) * 2] = make_float2(o[n][2 * r], o[n][2 * r + 1]);
        }
        __syncthreads();
        item_finish<T, D>(a, sh, item, row, kv_head, work[3] == 1);
        __syncthreads();
    }
}

/* Adds the splits of each (sequence, head) in ascending order. One block an item that is its sequence's first split. */
template <int D>
static __global__ void merge_kernel(attention_args a)
{
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
        for (int i = 0; i < splits; i++)
            m = fmaxf(m, from[i * stride + D]);
        for (int i = 0; i < splits; i++) {
            float weight = power2(from[i * stride + D] - finite(m));
            l += from[i * stride + D + 1] * weight;
            o += from[i * stride + threadIdx.x] * weight;
        }
        a.out[((int64_t)work[1] * a.n_heads + head) * D + threadIdx.x] = __float2bfloat16_rn(o / l);
    }
}

template <typename T, int D>
static enum mr_status launch(struct mr_device *device, const attention_args &a)
{
    int bytes = (int)sizeof(decode_shared<T, D>);
    static bool ready;
    if (!ready) {
        cudaFuncSetAttribute(decode_kernel<T, D>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        ready = true;
    }
    decode_kernel<T, D><<<2 * device->n_sm, 32 * WARPS, bytes, device->stream>>>(a);
    if (device->longest > SPLIT_TOKENS)
        merge_kernel<D><<<8 * device->n_sm, D, 0, device->stream>>>(a);
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
    if (args.group > ROWS)
        return MR_ERR_UNSUPPORTED;
    switch (args.kv.k_dtype) {
    case MR_BF16: return launch_dim<bf16>(device, args);
    case MR_F16: return launch_dim<__half>(device, args);
    default: return MR_ERR_UNSUPPORTED;
    }
}
