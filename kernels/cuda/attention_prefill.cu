/* Prefill attention over chunks with cached past on mma.sync: for the head sizes and layouts that attention_wgmma.cu does not take.
 *
 * Half a work item x query head is one block of four warps: 64 query rows of one head against all keys that they may see, in tiles of
 * KEYS keys at absolute multiples, double buffered by cp.async. Each warp owns 16 rows and their running softmax. Tiles that
 * lie whole before the window are skipped; masked scores are -inf and masked weights exact zeros. Persistent blocks.
 * Operations: 4 D a (query, key) pair that is seen. */
#include "kernels/cuda/attention.cuh"

enum { WARPS = 4, ROWS = 64, TILES = PREFILL_TILE / ROWS };

template <typename T, int D, int KEYS>
struct prefill_shared {
    alignas(128) T q[ROWS * D];
    alignas(128) T k[2][KEYS * D];
    alignas(128) T v[2][KEYS * D];
};

template <typename T, int D, int KEYS>
static __device__ __forceinline__ void keys_fetch(const attention_args &a, T *k_tile, T *v_tile, const int32_t *table, int kv_head, int key0, int end)
{
    for (int row = threadIdx.x / 32 * 16; row < KEYS; row += WARPS * 16)
        warp_fetch16<T, D>(a, shared_address(k_tile), shared_address(v_tile), table, kv_head, row, key0 + row, end, threadIdx.x % 32);
}

template <typename T, int D>
static __device__ __forceinline__ void rows_load(const attention_args &a, T *q, int row0, int n, int head)
{
    for (int i = threadIdx.x; i < ROWS * D / 8; i += 32 * WARPS) {
        int r = i / (D / 8), chunk = i % (D / 8);
        float x[8] = {};
        if (r < n)
            unpack8(*(const bf16x8 *)(a.qkv + (int64_t)(row0 + r) * a.qkv_stride + head * D + chunk * 8), x);
        uint32_t *to = (uint32_t *)((char *)q + tile_offset<D>(r, chunk));
        for (int j = 0; j < 4; j++)
            to[j] = pack2<T>(x[2 * j], x[2 * j + 1]);
    }
}

struct row_state {
    float m[2], l[2];
};

/* One tile of keys against the warp's 16 rows at absolute positions position[0], position[1]. */
template <typename T, int D, int KEYS>
static __device__ __forceinline__ void keys_attend(const attention_args &a, const uint32_t qf[D / 16][4], const T *k_tile, const T *v_tile,
                                                   float o[D / 8][4], row_state &state, int key0, const int position[2], bool edge, int lane)
{
    uint32_t k_at = shared_address(k_tile), v_at = shared_address(v_tile);
    float s[KEYS / 8][4] = {};
#pragma unroll
    for (int k = 0; k < D / 16; k++)
#pragma unroll
        for (int n = 0; n < KEYS / 16; n++) {
            uint32_t kf[4];
            load_matrix4(kf, k_at + tile_offset<D>(n * 16 + (lane / 16) * 8 + lane % 8, 2 * k + (lane / 8) % 2));
            multiply<T>(s[2 * n], qf[k], kf[0], kf[1]);
            multiply<T>(s[2 * n + 1], qf[k], kf[2], kf[3]);
        }
    float top[2] = {state.m[0], state.m[1]};
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
        for (int i = 0; i < 4; i++) {
            float x = score_log2(s[n][i], a);
            if (edge) {
                int key = key0 + n * 8 + (lane % 4) * 2 + i % 2, at = position[i / 2];
                if (key > at || (a.window && key <= at - a.window))
                    x = -INFINITY;
            }
            s[n][i] = x;
            top[i / 2] = fmaxf(top[i / 2], x);
        }
    float shrink[2], sum[2] = {};
#pragma unroll
    for (int r = 0; r < 2; r++) {
        top[r] = fmaxf(top[r], __shfl_xor_sync(0xffffffffu, top[r], 1));
        top[r] = fmaxf(top[r], __shfl_xor_sync(0xffffffffu, top[r], 2));
        shrink[r] = power2(state.m[r] - finite(top[r]));
        state.m[r] = top[r];
        top[r] = finite(top[r]);
    }
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
        for (int i = 0; i < 4; i++) {
            s[n][i] = power2(s[n][i] - top[i / 2]);
            sum[i / 2] += s[n][i];
        }
    for (int r = 0; r < 2; r++)
        state.l[r] = state.l[r] * shrink[r] + sum[r];
#pragma unroll
    for (int n = 0; n < D / 8; n++)
        for (int i = 0; i < 4; i++)
            o[n][i] *= shrink[i / 2];
#pragma unroll
    for (int k = 0; k < KEYS / 16; k++) {
        uint32_t pf[4] = {pack2<T>(s[2 * k][0], s[2 * k][1]), pack2<T>(s[2 * k][2], s[2 * k][3]), pack2<T>(s[2 * k + 1][0], s[2 * k + 1][1]),
                          pack2<T>(s[2 * k + 1][2], s[2 * k + 1][3])};
#pragma unroll
        for (int n = 0; n < D / 16; n++) {
            uint32_t vf[4];
            load_matrix4_transposed(vf, v_at + tile_offset<D>(k * 16 + lane % 16, 2 * n + lane / 16));
            multiply<T>(o[2 * n], pf, vf[0], vf[1]);
            multiply<T>(o[2 * n + 1], pf, vf[2], vf[3]);
        }
    }
}

template <typename T, int D, int KEYS>
static __global__ void __launch_bounds__(32 * WARPS) prefill_kernel(attention_args a)
{
    extern __shared__ __align__(128) unsigned char raw[];
    prefill_shared<T, D, KEYS> &sh = *(prefill_shared<T, D, KEYS> *)raw;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_decode = a.work[0], n_items = a.work[1] * TILES * a.n_heads;
    const int32_t *work = a.work + PLAN_HEADER_INTS + n_decode * DECODE_ITEM_INTS;
    for (int at = blockIdx.x; at < n_items; at += gridDim.x) {
        int head = at % a.n_heads, kv_head = head / a.group, tile = at / a.n_heads, seq = work[tile / TILES * 2];
        int first_row = work[tile / TILES * 2 + 1] + tile % TILES * ROWS;
        if (first_row >= a.seq_start[seq + 1] - a.seq_start[seq])
            continue;
        int row0 = a.seq_start[seq] + first_row, n = min(ROWS, a.seq_start[seq + 1] - row0);
        int position0 = a.positions[row0], end = position0 + n, begin = a.window ? max(0, position0 - a.window + 1) / KEYS * KEYS : 0;
        const int32_t *table = a.block_table + (int64_t)seq * a.table_stride;
        int position[2] = {position0 + warp * 16 + lane / 4, position0 + warp * 16 + lane / 4 + 8};
        __syncthreads(); /* the last item's tiles have been read */
        keys_fetch<T, D, KEYS>(a, sh.k[0], sh.v[0], table, kv_head, begin, end);
        copy_commit();
        rows_load<T, D>(a, sh.q, row0, n, head);
        __syncthreads();
        uint32_t qf[D / 16][4];
#pragma unroll
        for (int k = 0; k < D / 16; k++)
            load_matrix4(qf[k], shared_address(sh.q) + tile_offset<D>(warp * 16 + lane % 16, 2 * k + lane / 16));
        float o[D / 8][4] = {};
        row_state state = {{-INFINITY, -INFINITY}, {}};
        for (int key0 = begin, i = 0; key0 < end; key0 += KEYS, i++) {
            if (key0 + KEYS < end)
                keys_fetch<T, D, KEYS>(a, sh.k[(i + 1) % 2], sh.v[(i + 1) % 2], table, kv_head, key0 + KEYS, end);
            copy_commit();
            copy_wait<1>();
            __syncthreads();
            bool edge = key0 + KEYS > position0 + 1 || (a.window && key0 <= position0 + n - 1 - a.window);
            keys_attend<T, D, KEYS>(a, qf, sh.k[i % 2], sh.v[i % 2], o, state, key0, position, edge, lane);
            __syncthreads();
        }
        for (int r = 0; r < 2; r++) {
            float l = state.l[r];
            l += __shfl_xor_sync(0xffffffffu, l, 1);
            l += __shfl_xor_sync(0xffffffffu, l, 2);
            int row = warp * 16 + lane / 4 + 8 * r;
            if (row < n) {
                bf16 *to = a.out + ((int64_t)(row0 + row) * a.n_heads + head) * D + (lane % 4) * 2;
                for (int c = 0; c < D / 8; c++)
                    *(__nv_bfloat162 *)(to + c * 8) = __floats2bfloat162_rn(o[c][2 * r] / l, o[c][2 * r + 1] / l);
            }
        }
    }
}

template <typename T, int D, int KEYS>
static enum mr_status launch(struct mr_device *device, const attention_args &a)
{
    int bytes = (int)sizeof(prefill_shared<T, D, KEYS>);
    static bool ready;
    if (!ready) {
        cudaFuncSetAttribute(prefill_kernel<T, D, KEYS>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        ready = true;
    }
    prefill_kernel<T, D, KEYS><<<2 * device->n_sm, 32 * WARPS, bytes, device->stream>>>(a);
    return cuda_launched();
}

template <typename T>
static enum mr_status launch_dim(struct mr_device *device, const attention_args &a)
{
    switch (a.kv.head_dim) {
    case 64: return launch<T, 64, 64>(device, a);
    case 96: return launch<T, 96, 64>(device, a);
    case 128: return launch<T, 128, 64>(device, a);
    case 192: return launch<T, 192, 32>(device, a);
    case 256: return launch<T, 256, 32>(device, a);
    default: return MR_ERR_UNSUPPORTED;
    }
}

enum mr_status attention_prefill(struct mr_device *device, const attention_args &args)
{
    switch (args.kv.k_dtype) {
    case MR_BF16: return launch_dim<bf16>(device, args);
    case MR_F16: return launch_dim<__half>(device, args);
    default: return MR_ERR_UNSUPPORTED;
    }
}
