/* Sixteen query rows against sixteen keys, on mma.sync: the step of which decode and row-wise prefill are made.
 *
 * Both sum in one order, which makes a row's attention the same bits by either (architecture, Same bits): tiles of TILE keys at
 * absolute multiples under a running softmax, from scratch in every split of SPLIT_TOKENS keys, and the splits added in ascending
 * order by split_add. A tile whose keys are all masked for a row changes nothing in it, bit for bit, so it may be skipped or not.
 * Products that the compiler could contract one way here and another there are written as intrinsics.
 * Online softmax: Milakov and Gimelshein 2018 (arXiv 1805.02867); tiling: Dao 2023 (arXiv 2307.08691). */
#ifndef MR_KERNELS_CUDA_ATTENTION_TILE_CUH
#define MR_KERNELS_CUDA_ATTENTION_TILE_CUH

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/mma.cuh"

#include <cuda_fp8.h>

enum { TILE = KV_TILE_TOKENS };
static_assert(SPLIT_TOKENS % TILE == 0, "a tile lies in one split");

/* How a cache element is multiplied: e4m3 becomes f16 (exactly) in registers. */
template <typename KV>
struct kv_type {
    typedef KV factor;
    static constexpr int bytes = 2;
};
template <>
struct kv_type<__nv_fp8_e4m3> {
    typedef __half factor;
    static constexpr int bytes = 1;
};
template <typename KV>
static constexpr bool is_byte = kv_type<KV>::bytes == 1;

/* Sixteen rows' state in one lane: fragment rows lane / 4 and lane / 4 + 8. The sum l is the lane's own part until row_sum. */
template <int D>
struct rows_state {
    float o[D / 8][4], m[2], l[2];
};

template <int D>
static __device__ __forceinline__ void rows_clear(rows_state<D> &s)
{
    s.m[0] = s.m[1] = -INFINITY;
    s.l[0] = s.l[1] = 0;
#pragma unroll
    for (int i = 0; i < D / 8; i++)
        s.o[i][0] = s.o[i][1] = s.o[i][2] = s.o[i][3] = 0;
}

/* The score in units of log2: scaled, capped. */
static __device__ __forceinline__ float score_log2(float dot, const attention_args &a)
{
    if (a.softcap == 0.0f)
        return __fmul_rn(dot, a.scale_log2);
    return __fmul_rn(__fmul_rn(a.softcap, tanhf(__fmul_rn(dot, a.scale_log2) * 0.69314718f / a.softcap)), 1.44269504f);
}

/* 2^x by the special function unit: relative error 2^-22, results below 2^-126 become zero. */
static __device__ __forceinline__ float power2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Maximum that subtraction may use: a row with nothing seen yet has -inf, and -inf - -inf is no number. */
static __device__ __forceinline__ float finite(float maximum) { return maximum == -INFINITY ? 0.0f : maximum; }

static __device__ __forceinline__ float row_sum(float l)
{
    l += __shfl_xor_sync(0xffffffffu, l, 1);
    return l + __shfl_xor_sync(0xffffffffu, l, 2);
}

/* One split after those before it: keep and add are what the sums so far and the split's are multiplied by. */
static __device__ __forceinline__ float split_maximum(float so_far, float split, float *keep, float *add)
{
    float m = fmaxf(so_far, split);
    *keep = power2(so_far - finite(m));
    *add = power2(split - finite(m));
    return m;
}
static __device__ __forceinline__ float split_add(float so_far, float split, float keep, float add)
{
    return __fmaf_rn(split, add, __fmul_rn(so_far, keep));
}

/* Where the tile that starts at a key lies in K and in V, in elements: whole in one block. */
static __device__ __forceinline__ int64_t tile_place(const attention_args &a, const int32_t *table, int kv_head, int key)
{
    return table[key / a.kv.block_tokens] * a.kv.block_stride + kv_head * a.kv.head_stride + key % a.kv.block_tokens * a.kv.token_stride;
}

/* Starts one warp's copy of the first n rows of the tile at `place`; the others become zeros: no unwritten slot is ever multiplied.
 * It goes to rows row0 and on. */
template <typename KV, int D>
static __device__ __forceinline__ void tile_fetch(const attention_args &a, uint32_t k_to, uint32_t v_to, int64_t place, int row0, int n, int lane)
{
    constexpr int ROW = D * kv_type<KV>::bytes, CHUNKS = ROW / 16, ELEMENTS = 16 / kv_type<KV>::bytes;
    const KV *k = (const KV *)a.kv.k + place, *v = (const KV *)a.kv.v + place;
    if (n >= TILE && a.kv.token_stride == D) { /* the usual tile: every place is known when this is compiled */
        k += lane * ELEMENTS;
        v += lane * ELEMENTS;
#pragma unroll
        for (int i = 0; i < TILE * CHUNKS / 32; i++) {
            uint32_t to = tile_offset<ROW>(row0 + (i * 32 + lane) / CHUNKS, (i * 32 + lane) % CHUNKS);
            copy16(k_to + to, k + i * 32 * ELEMENTS);
            copy16(v_to + to, v + i * 32 * ELEMENTS);
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < TILE * CHUNKS / 32; i++) {
        int at = i * 32 + lane, row = at / CHUNKS, chunk = at % CHUNKS;
        int64_t from = row < n ? row * a.kv.token_stride + chunk * ELEMENTS : 0;
        uint32_t to = tile_offset<ROW>(row0 + row, chunk);
        copy16(k_to + to, k + from, row < n);
        copy16(v_to + to, v + from, row < n);
    }
}

/* Two rows' query elements as a fragment: row(half) is the place of row lane / 4 + 8 half, NULL for a row of zeros. With a byte cache
 * a lane's four elements of k are neighbours, as they come out of a 16-bit ldmatrix of bytes. */
template <typename KV, int D, typename ROW>
static __device__ __forceinline__ void query_load(uint32_t qf[D / 16][4], ROW row, int lane)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const bf16 *q = row(half);
#pragma unroll
        for (int k = 0; k < D / 16; k++)
            for (int i = 0; i < 2; i++) {
                int at = is_byte<KV> ? k * 16 + lane % 4 * 4 + i * 2 : k * 16 + lane % 4 * 2 + i * 8;
                float2 two = q ? __bfloat1622float2(*(const __nv_bfloat162 *)(q + at)) : make_float2(0, 0);
                qf[k][2 * i + half] = pack2<typename kv_type<KV>::factor>(two.x, two.y);
            }
    }
}

static __device__ __forceinline__ uint32_t e4m3_pair(uint32_t two_bytes)
{
    uint32_t pair;
    asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(pair) : "h"((unsigned short)two_bytes));
    return pair;
}

/* Two sums a score, of the even and the odd sixteens of k, so that products wait half as long for each other. */
template <typename KV, int D>
static __device__ __forceinline__ void scores(float s[2][4], const uint32_t qf[D / 16][4], uint32_t k_at, int lane)
{
    typedef typename kv_type<KV>::factor T;
    constexpr int ROW = D * kv_type<KV>::bytes;
    int row = lane / 16 * 8 + lane % 8;
    float odd[2][4] = {};
#pragma unroll
    for (int k = 0; k < D / 16; k += 2) {
        uint32_t kf[4];
        if constexpr (is_byte<KV>) {
            load_matrix4(kf, k_at + tile_offset<ROW>(row, k + lane / 8 % 2));
            for (int i = 0; i < 4; i++)
                multiply<T>(i % 2 ? odd[i / 2] : s[i / 2], qf[k + i % 2], e4m3_pair(kf[i]), e4m3_pair(kf[i] >> 16));
        } else {
            for (int i = 0; i < 2; i++) {
                load_matrix4(kf, k_at + tile_offset<ROW>(row, 2 * (k + i) + lane / 8 % 2));
                multiply<T>(i ? odd[0] : s[0], qf[k + i], kf[0], kf[1]);
                multiply<T>(i ? odd[1] : s[1], qf[k + i], kf[2], kf[3]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        s[0][i] += odd[0][i];
        s[1][i] += odd[1][i];
    }
}

/* o += p v. With a byte cache the columns of o[2 g] and o[2 g + 1] are the even and the odd ones of 16: see row_pairs. */
template <typename KV, int D>
static __device__ __forceinline__ void values(float o[D / 8][4], const uint32_t pf[4], uint32_t v_at, int lane)
{
    typedef typename kv_type<KV>::factor T;
    constexpr int ROW = D * kv_type<KV>::bytes;
    uint32_t vf[4];
#pragma unroll
    for (int c = 0; c < ROW / 16; c += 2) {
        load_matrix4_transposed(vf, v_at + tile_offset<ROW>(lane % 16, c + lane / 16));
        for (int i = 0; i < 2; i++) {
            if constexpr (is_byte<KV>) {
                uint32_t even = __byte_perm(vf[2 * i], vf[2 * i + 1], 0x6420), odd = __byte_perm(vf[2 * i], vf[2 * i + 1], 0x7531);
                multiply<T>(o[2 * (c + i)], pf, e4m3_pair(even), e4m3_pair(even >> 16));
                multiply<T>(o[2 * (c + i) + 1], pf, e4m3_pair(odd), e4m3_pair(odd >> 16));
            } else {
                multiply<T>(o[c + i], pf, vf[2 * i], vf[2 * i + 1]);
            }
        }
    }
}

/* Gives each pair of neighbouring columns of fragment row r that this lane holds to take(column, x, y). */
template <typename KV, int D, typename TAKE>
static __device__ __forceinline__ void row_pairs(const float o[D / 8][4], int r, int lane, TAKE take)
{
#pragma unroll
    for (int n = 0; n < D / 8; n++) {
        if (is_byte<KV>)
            take(n / 2 * 16 + lane % 4 * 4 + n % 2 * 2, o[n / 2 * 2][2 * r + n % 2], o[n / 2 * 2 + 1][2 * r + n % 2]);
        else
            take(n * 8 + lane % 4 * 2, o[n][2 * r], o[n][2 * r + 1]);
    }
}

/* The keys key0 .. key0 + 15 of which row r sees [first[r], end[r]): scores, running softmax, weighted values. */
template <typename KV, int D>
static __device__ __forceinline__ void tile_attend(const attention_args &a, const uint32_t qf[D / 16][4], uint32_t k_at, uint32_t v_at,
                                                   rows_state<D> &state, int key0, const int first[2], const int end[2], int lane)
{
    float s[2][4] = {}, shrink[2], top[2] = {state.m[0], state.m[1]};
    scores<KV, D>(s, qf, k_at, lane);
#pragma unroll
    for (int n = 0; n < 2; n++)
        for (int i = 0; i < 4; i++) {
            int key = key0 + n * 8 + (lane % 4) * 2 + i % 2, r = i / 2;
            s[n][i] = key >= first[r] && key < end[r] ? score_log2(s[n][i], a) : -INFINITY;
            top[r] = fmaxf(top[r], s[n][i]);
        }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        top[r] = fmaxf(top[r], __shfl_xor_sync(0xffffffffu, top[r], 1));
        top[r] = fmaxf(top[r], __shfl_xor_sync(0xffffffffu, top[r], 2));
        shrink[r] = power2(state.m[r] - finite(top[r]));
        state.m[r] = top[r];
    }
    float sum[2];
#pragma unroll
    for (int n = 0; n < 2; n++)
        for (int i = 0; i < 4; i++)
            s[n][i] = power2(s[n][i] - finite(state.m[i / 2]));
#pragma unroll
    for (int r = 0; r < 2; r++) {
        sum[r] = s[0][2 * r] + s[0][2 * r + 1] + s[1][2 * r] + s[1][2 * r + 1];
        state.l[r] = __fmaf_rn(state.l[r], shrink[r], sum[r]);
    }
    typedef typename kv_type<KV>::factor T;
    uint32_t pf[4] = {pack2<T>(s[0][0], s[0][1]), pack2<T>(s[0][2], s[0][3]), pack2<T>(s[1][0], s[1][1]), pack2<T>(s[1][2], s[1][3])};
    if (__any_sync(0xffffffffu, shrink[0] != 1.0f || shrink[1] != 1.0f)) { /* rare once the maxima have been seen */
#pragma unroll
        for (int n = 0; n < D / 8; n++)
            for (int i = 0; i < 4; i++)
                state.o[n][i] *= shrink[i / 2];
    }
    values<KV, D>(state.o, pf, v_at, lane);
}

template <int D>
struct dim_tag {
    static constexpr int value = D;
};
template <typename KV>
struct type_tag {
    typedef KV type;
};

template <typename KV, typename RUN>
static enum mr_status dispatch_dim(int head_dim, RUN run)
{
    switch (head_dim) {
    case 64: return run(type_tag<KV>(), dim_tag<64>());
    case 96: return run(type_tag<KV>(), dim_tag<96>());
    case 128: return run(type_tag<KV>(), dim_tag<128>());
    case 192: return run(type_tag<KV>(), dim_tag<192>());
    case 256: return run(type_tag<KV>(), dim_tag<256>());
    default: return MR_ERR_UNSUPPORTED;
    }
}

/* Calls run(type_tag<KV>, dim_tag<D>) for the cache's element type and head size. */
template <typename RUN>
static enum mr_status dispatch(const struct mr_kv_view &kv, RUN run)
{
    switch (kv.k_dtype) {
    case MR_BF16: return dispatch_dim<bf16>(kv.head_dim, run);
    case MR_F16: return dispatch_dim<__half>(kv.head_dim, run);
    case MR_E4M3: return dispatch_dim<__nv_fp8_e4m3>(kv.head_dim, run);
    default: return MR_ERR_UNSUPPORTED;
    }
}

#endif
