/* Products with one to eight rows on tensor cores: the weight is the 16-row operand of mma.m16n8k16, the input's rows are its
 * columns, so that a weight of bf16 or e4m3 is streamed once for all of them, with no multiplication outside the tensor core.
 *
 * A block owns 16 outputs; its warps share k in contiguous parts and are added in warp order. A lane loads 16 bytes of each of two
 * weight rows, UNROLL deep. The order of k inside a product is ours to choose, as long as both operands agree: a lane's 16 bytes
 * are taken as they come, instead of the layout of the instruction's table. e4m3 becomes bf16 by moving its bits and one exact
 * multiplication by 2^120 (the difference of the exponents' biases), subnormals included.
 * Sum order: fixed by k alone, the same for any number of rows and any row. Limit: bytes of the weight over the bandwidth. */
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/mma.cuh"

enum { WARPS = 8, OUTPUTS = 16, ROWS_MAX = 8, UNROLL = 4 };

struct skinny_args {
    const unsigned char *weight; /* [n][k] */
    const bf16 *in;              /* [rows][k] */
    void *out;
    const float *bias, *scale;
    int n, k, rows;
};

/* Four e4m3 of one word as two pairs of bf16. */
static __device__ __forceinline__ void e4m3_pairs(uint32_t word, uint32_t pair[2])
{
    const __nv_bfloat162 power = __halves2bfloat162(__ushort_as_bfloat16(0x7b80), __ushort_as_bfloat16(0x7b80)); /* 2^120 */
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint32_t high = __byte_perm(word, 0, i ? 0x3424 : 0x1404); /* each byte to the top of its half */
        uint32_t bits = (high & 0x80008000u) | (high >> 4 & 0x07f007f0u);
        __nv_bfloat162 scaled = __hmul2(*(__nv_bfloat162 *)&bits, power);
        pair[i] = *(uint32_t *)&scaled;
    }
}

/* One 64-byte piece of the 16 rows against the same piece of the inputs. */
template <bool SMALL>
static __device__ __forceinline__ void piece(float sum[4], const uint4 &top, const uint4 &bottom, const uint32_t *x)
{
    const uint32_t *w0 = (const uint32_t *)&top, *w1 = (const uint32_t *)&bottom;
    if (SMALL) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t low[2], high[2];
            e4m3_pairs(w0[i], low);
            e4m3_pairs(w1[i], high);
            uint32_t a[4] = {low[0], high[0], low[1], high[1]};
            multiply<bf16>(sum, a, x[2 * i], x[2 * i + 1]);
        }
    } else {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            uint32_t a[4] = {w0[2 * i], w1[2 * i], w0[2 * i + 1], w1[2 * i + 1]};
            multiply<bf16>(sum, a, x[2 * i], x[2 * i + 1]);
        }
    }
}

template <bool SMALL, typename OUT>
static __global__ void __launch_bounds__(32 * WARPS) skinny_kernel(skinny_args a)
{
    constexpr int ELEMENTS = SMALL ? 16 : 8, WORDS = ELEMENTS / 2, STEP = 4 * ELEMENTS; /* of a lane, its input's words, of a piece */
    __shared__ float sums[WARPS][OUTPUTS][ROWS_MAX];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, quarter = lane % 4, first = blockIdx.x * OUTPUTS;
    int64_t bytes = (int64_t)a.k * (SMALL ? 1 : 2);
    const unsigned char *top = a.weight + (int64_t)min(first + row, a.n - 1) * bytes,
                        *bottom = a.weight + (int64_t)min(first + row + 8, a.n - 1) * bytes;
    const uint32_t *x = (const uint32_t *)(a.in + (int64_t)min(row, a.rows - 1) * a.k);
    int pieces = (a.k + STEP - 1) / STEP, share = (pieces + WARPS - 1) / WARPS, end = min(pieces, (warp + 1) * share);
    float sum[4] = {};
    next_start();
    if (warp * share >= end)
        previous_wait();
    for (int p = warp * share; p < end; p += UNROLL) {
        uint4 w0[UNROLL], w1[UNROLL];
        uint32_t xs[UNROLL][WORDS];
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            int at = (p + u) * STEP + quarter * ELEMENTS;
            bool valid = p + u < end && at < a.k;
            w0[u] = valid ? __ldcs((const uint4 *)(top + at * (SMALL ? 1 : 2))) : make_uint4(0, 0, 0, 0);
            w1[u] = valid ? __ldcs((const uint4 *)(bottom + at * (SMALL ? 1 : 2))) : make_uint4(0, 0, 0, 0);
        }
        if (p == warp * share)
            previous_wait(); /* the first weights are on their way */
#pragma unroll
        for (int u = 0; u < UNROLL; u++) {
            int at = (p + u) * STEP + quarter * ELEMENTS;
            bool valid = p + u < end && at < a.k;
#pragma unroll
            for (int i = 0; i < WORDS; i += 4)
                *(uint4 *)&xs[u][i] = valid && row < a.rows ? *(const uint4 *)(x + at / 2 + i) : make_uint4(0, 0, 0, 0);
        }
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            piece<SMALL>(sum, w0[u], w1[u], xs[u]);
    }
    sums[warp][row][quarter * 2] = sum[0];
    sums[warp][row][quarter * 2 + 1] = sum[1];
    sums[warp][row + 8][quarter * 2] = sum[2];
    sums[warp][row + 8][quarter * 2 + 1] = sum[3];
    __syncthreads();
    for (int i = threadIdx.x; i < OUTPUTS * a.rows; i += 32 * WARPS) {
        int output = i % OUTPUTS, r = i / OUTPUTS;
        float total = 0;
        for (int w = 0; w < WARPS; w++)
            total += sums[w][output][r];
        if (first + output < a.n)
            ((OUT *)a.out)[(int64_t)r * a.n + first + output] =
                (OUT)(total * (a.scale ? a.scale[first + output] : 1.0f) + (a.bias ? a.bias[first + output] : 0.0f));
    }
}

template <bool SMALL>
static enum mr_status launch(struct mr_device *device, const struct mr_matmul_params *p)
{
    skinny_args args = {(const unsigned char *)p->weight->data, (const bf16 *)p->in, p->out, p->bias, p->weight->scale, (int)p->weight->rows,
                        (int)p->weight->k, p->rows};
    int blocks = (args.n + OUTPUTS - 1) / OUTPUTS;
    return cuda_launch(device, {dim3(blocks), 32 * WARPS, 0}, p->out_f32 ? skinny_kernel<SMALL, float> : skinny_kernel<SMALL, bf16>, args);
}

/* MR_ERR_UNSUPPORTED: more rows, or a k that lanes cannot load in 16 bytes. */
enum mr_status cuda_skinny(struct mr_device *device, const struct mr_matmul_params *p)
{
    bool small = p->weight->dtype == MR_E4M3;
    if (p->rows > ROWS_MAX || p->weight->k % (small ? 16 : 8) || device->options.precision == MR_EXACT)
        return MR_ERR_UNSUPPORTED;
    return small ? launch<true>(device, p) : launch<false>(device, p);
}
