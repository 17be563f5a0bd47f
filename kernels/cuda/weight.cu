/* Weights to the device: read from the file's pages in pinned chunks, turned into bf16 there by one kernel a format.
 *
 * Two chunks are in flight, so that the host's copy into pinned memory, the link and the kernel overlap. The block formats are
 * GGUF's (kernels/quant.h); a value is computed in f32 and rounded to bf16 once. f16 and bf16 take the same way. */
#include "kernels/cuda/device.cuh"

#include <cuda_fp16.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 32 << 20 };

static __device__ __forceinline__ float half_at(const unsigned char *p)
{
    unsigned short bits = (unsigned short)(p[0] | p[1] << 8);
    return __half2float(__ushort_as_half(bits));
}

/* Scale and minimum j of a K-quant super-block: twelve bytes of six-bit numbers. */
static __device__ __forceinline__ void k_scale(const unsigned char *s, int j, int *scale, int *minimum)
{
    if (j < 4) {
        *scale = s[j] & 63;
        *minimum = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *minimum = s[j + 4] >> 4 | (s[j] >> 6) << 4;
    }
}

/* Element i of the block at p. */
template <int DTYPE>
static __device__ __forceinline__ float element(const unsigned char *p, int i)
{
    if (DTYPE == MR_F32)
        return *(const float *)p;
    if (DTYPE == MR_F16)
        return half_at(p);
    if (DTYPE == MR_BF16)
        return __uint_as_float((unsigned)(p[0] | p[1] << 8) << 16);
    if (DTYPE == MR_Q8_0)
        return half_at(p) * (signed char)p[2 + i];
    if (DTYPE == MR_Q4_0 || DTYPE == MR_Q4_1) {
        const unsigned char *q = p + (DTYPE == MR_Q4_0 ? 2 : 4);
        int code = i < 16 ? q[i] & 15 : q[i - 16] >> 4;
        return DTYPE == MR_Q4_0 ? half_at(p) * (code - 8) : fmaf(half_at(p), code, half_at(p + 2));
    }
    if (DTYPE == MR_Q5_0 || DTYPE == MR_Q5_1) {
        const unsigned char *h = p + (DTYPE == MR_Q5_0 ? 2 : 4), *q = h + 4;
        int code = (i < 16 ? q[i] & 15 : q[i - 16] >> 4) | (h[i / 8] >> (i % 8) & 1) << 4;
        return DTYPE == MR_Q5_0 ? half_at(p) * (code - 16) : fmaf(half_at(p), code, half_at(p + 2));
    }
    if (DTYPE == MR_Q4_K || DTYPE == MR_Q5_K) {
        int j = i / 32, scale, minimum;
        k_scale(p + 4, j, &scale, &minimum);
        const unsigned char *q = p + (DTYPE == MR_Q4_K ? 16 : 48) + j / 2 * 32;
        int code = j % 2 ? q[i % 32] >> 4 : q[i % 32] & 15;
        if (DTYPE == MR_Q5_K)
            code |= (p[16 + i % 32] >> j & 1) << 4;
        return fmaf(half_at(p) * scale, code, -(half_at(p + 2) * minimum));
    }
    if (DTYPE == MR_Q6_K) {
        int part = i / 128, in_part = i % 128, quarter = in_part / 32, l = in_part % 32;
        const unsigned char *low = p + part * 64 + (quarter % 2) * 32, *high = p + 128 + part * 32;
        int code = (quarter < 2 ? low[l] & 15 : low[l] >> 4) | (high[l] >> (2 * quarter) & 3) << 4;
        int scale = (signed char)p[192 + part * 8 + quarter * 2 + l / 16];
        return half_at(p + 208) * scale * (code - 32);
    }
    return 0;
}

template <int DTYPE>
static __global__ void convert_kernel(const unsigned char *from, bf16 *to, int64_t n, int block_elements, int block_bytes)
{
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x)
        to[i] = __float2bfloat16_rn(element<DTYPE>(from + i / block_elements * block_bytes, (int)(i % block_elements)));
}

static bool convert(enum mr_dtype dtype, const void *from, bf16 *to, int64_t n, cudaStream_t stream)
{
    const unsigned char *p = (const unsigned char *)from;
    int elements = mr_dtype_block_elements(dtype), bytes = mr_dtype_block_bytes(dtype),
        grid = (int)((n + 1023) / 1024 < 4096 ? (n + 1023) / 1024 : 4096);
#define CONVERT(D) \
    case D: convert_kernel<D><<<grid, 256, 0, stream>>>(p, to, n, elements, bytes); return true;
    switch (dtype) {
        CONVERT(MR_F32) CONVERT(MR_F16) CONVERT(MR_BF16) CONVERT(MR_Q4_0) CONVERT(MR_Q4_1) CONVERT(MR_Q5_0) CONVERT(MR_Q5_1) CONVERT(MR_Q8_0)
        CONVERT(MR_Q4_K) CONVERT(MR_Q5_K) CONVERT(MR_Q6_K)
    default: return false;
    }
#undef CONVERT
}

/* Two pinned chunks and their device twins, for the length of one weight. */
struct stream_pair {
    unsigned char *host[2], *card[2];
    cudaEvent_t done[2];
};

static enum mr_status pair_open(struct stream_pair *pair, struct mr_err *err)
{
    memset(pair, 0, sizeof *pair);
    for (int i = 0; i < 2; i++) {
        CUDA_TRY(cudaMallocHost(&pair->host[i], CHUNK_BYTES));
        CUDA_TRY(cudaMalloc(&pair->card[i], CHUNK_BYTES));
        CUDA_TRY(cudaEventCreateWithFlags(&pair->done[i], cudaEventDisableTiming));
    }
    return MR_OK;
}

static void pair_close(struct stream_pair *pair)
{
    for (int i = 0; i < 2; i++) {
        cudaFreeHost(pair->host[i]);
        cudaFree(pair->card[i]);
        if (pair->done[i])
            cudaEventDestroy(pair->done[i]);
    }
}

static enum mr_status part_load(struct mr_device *device, struct stream_pair *pair, const struct mr_weight_part *part, int64_t k, bf16 *to,
                                struct mr_err *err)
{
    int64_t elements = part->rows * k, block = mr_dtype_block_elements(part->dtype), bytes = mr_dtype_block_bytes(part->dtype);
    int64_t step = CHUNK_BYTES / bytes * block;
    for (int64_t at = 0, turn = 0; at < elements; at += step, turn++) {
        int64_t n = elements - at < step ? elements - at : step;
        int half = (int)(turn % 2);
        CUDA_TRY(cudaEventSynchronize(pair->done[half]));
        memcpy(pair->host[half], (const unsigned char *)part->data + at / block * bytes, (size_t)(n / block * bytes));
        CUDA_TRY(cudaMemcpyAsync(pair->card[half], pair->host[half], (size_t)(n / block * bytes), cudaMemcpyHostToDevice, device->stream));
        if (!convert(part->dtype, pair->card[half], to + at, n, device->stream))
            return mr_err_set(err, MR_ERR_UNSUPPORTED, "weights in format %s are not taken by the CUDA device", mr_dtype_name(part->dtype));
        CUDA_TRY(cudaEventRecord(pair->done[half], device->stream));
    }
    return MR_OK;
}

enum mr_status cuda_weight_open(struct mr_device *device, const struct mr_weight_part *parts, int n_parts, int64_t k, struct mr_weight **out,
                                struct mr_err *err)
{
    struct mr_weight *weight = (struct mr_weight *)calloc(1, sizeof *weight);
    struct stream_pair pair;
    enum mr_status status = weight ? pair_open(&pair, err) : mr_err_set(err, MR_ERR_NOMEM, "no memory for a weight");
    *out = NULL;
    for (int i = 0; status == MR_OK && i < n_parts; i++)
        weight->rows += parts[i].rows;
    if (status == MR_OK) {
        weight->k = k;
        cudaError_t error = cudaMalloc(&weight->data, (size_t)(weight->rows * k) * sizeof(bf16));
        if (error != cudaSuccess)
            status = cuda_failed(err, "weight memory", error);
    }
    bf16 *to = status == MR_OK ? weight->data : NULL;
    for (int i = 0; status == MR_OK && i < n_parts; i++, to += parts[i - 1].rows * k)
        status = part_load(device, &pair, &parts[i], k, to, err);
    if (status == MR_OK && cudaStreamSynchronize(device->stream) != cudaSuccess)
        status = mr_err_set(err, MR_ERR_IO, "a weight could not be copied to the card");
    pair_close(&pair);
    if (status == MR_OK)
        *out = weight;
    else
        cuda_weight_close(device, weight);
    return status;
}

void cuda_weight_close(struct mr_device *device, struct mr_weight *weight)
{
    (void)device;
    if (weight)
        cudaFree(weight->data);
    free(weight);
}

size_t cuda_weight_bytes(const struct mr_weight *weight) { return (size_t)(weight->rows * weight->k) * sizeof(bf16); }
