/* Weights to the device: read from the file's pages in pinned chunks, turned into bf16 there by one kernel a format.
 *
 * Some chunks are in flight, also from one weight to the next, so that the host's copy into pinned memory, the link and the kernel
 * overlap. One thread copies 5 to 10 GB/s out of the page cache, the link takes 54: several copy a chunk, a slice each. The block formats
 * are GGUF's (kernels/quant.h); a value is computed in f32 and rounded to bf16 once. f16 and bf16 take the same way.
 * Rejected: pinning the file's own pages (locking 4 million of them takes as long as copying them). */
#include "kernels/cuda/device.cuh"

#include "kernels/threads.h"

#include <cuda_fp16.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 16 << 20, CHUNKS = 4, SLICE_BYTES = 1 << 20 };

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

/* Elements of a made-up Q8_0 tensor (struct mr_random). */
static __global__ void random_kernel(bf16 *to, int64_t n, uint64_t seed, float scale)
{
    for (int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * 8; i < n; i += (int64_t)gridDim.x * blockDim.x * 8) {
        uint64_t x = seed + (uint64_t)(i / 8);
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
        x ^= x >> 31;
        float values[8];
#pragma unroll
        for (int j = 0; j < 8; j++)
            values[j] = scale * (signed char)(x >> 8 * j);
        *(bf16x8 *)(to + i) = pack8(values);
    }
}

enum mr_status cuda_random_bf16(struct mr_device *device, void *to, int64_t n, const struct mr_random *random)
{
    unsigned short bits = random->scale;
    random_kernel<<<8 * device->n_sm, 256, 0, device->stream>>>((bf16 *)to, n, random->seed, __half2float(*(__half *)&bits));
    return cuda_launched();
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

/* Pinned chunks and their device twins, and the bf16 form of a weight that will be kept as e4m3. */
struct weight_loader {
    unsigned char *host[CHUNKS], *card[CHUNKS];
    cudaEvent_t done[CHUNKS];
    int turn;                   /* the chunk that is filled next */
    struct mr_threads *threads; /* that copy */
    bf16 *plain;
    size_t plain_elements;
};

static enum mr_status loader_open(struct mr_device *device, struct mr_err *err)
{
    if (device->loader)
        return MR_OK;
    struct weight_loader *loader = device->loader = (struct weight_loader *)calloc(1, sizeof *loader);
    if (!loader)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory to load weights");
    enum mr_status status = mr_threads_open(0, false, &loader->threads, err);
    if (status != MR_OK)
        return status;
    for (int i = 0; i < CHUNKS; i++) {
        CUDA_TRY(cudaMallocHost(&loader->host[i], CHUNK_BYTES));
        CUDA_TRY(cudaMalloc(&loader->card[i], CHUNK_BYTES));
        CUDA_TRY(cudaEventCreateWithFlags(&loader->done[i], cudaEventDisableTiming));
    }
    return MR_OK;
}

void cuda_weight_loader_close(struct mr_device *device)
{
    struct weight_loader *loader = device->loader;
    for (int i = 0; loader && i < CHUNKS; i++) {
        cudaFreeHost(loader->host[i]);
        cudaFree(loader->card[i]);
        if (loader->done[i])
            cudaEventDestroy(loader->done[i]);
    }
    if (loader) {
        cudaFree(loader->plain);
        mr_threads_close(loader->threads);
    }
    free(loader);
    device->loader = NULL;
}

/* Where a weight that will be quantised lies in bf16 meanwhile. */
static enum mr_status plain_reserve(struct weight_loader *loader, size_t elements, struct mr_err *err)
{
    if (elements <= loader->plain_elements)
        return MR_OK;
    cudaFree(loader->plain);
    loader->plain = NULL;
    loader->plain_elements = 0;
    CUDA_TRY(cudaMalloc(&loader->plain, elements * sizeof(bf16)));
    loader->plain_elements = elements;
    return MR_OK;
}

struct copy {
    unsigned char *to;
    const unsigned char *from;
    size_t n;
};

static void copy_slice(void *context, int32_t item, int thread)
{
    const struct copy *copy = (const struct copy *)context;
    size_t at = (size_t)item * SLICE_BYTES, n = copy->n - at < SLICE_BYTES ? copy->n - at : SLICE_BYTES;
    (void)thread;
    memcpy(copy->to + at, copy->from + at, n);
}

static enum mr_status part_load(struct mr_device *device, struct weight_loader *loader, const struct mr_weight_part *part, int64_t k, bf16 *to,
                                struct mr_err *err)
{
    int64_t elements = part->rows * k, block = mr_dtype_block_elements(part->dtype), bytes = mr_dtype_block_bytes(part->dtype);
    int64_t step = CHUNK_BYTES / bytes * block;
    if (!part->data)
        return part->dtype == MR_Q8_0 ? cuda_random_bf16(device, to, elements, &part->random) : MR_ERR_UNSUPPORTED;
    for (int64_t at = 0; at < elements; at += step) {
        int64_t n = elements - at < step ? elements - at : step;
        int chunk = loader->turn;
        struct copy copy = {loader->host[chunk], (const unsigned char *)part->data + at / block * bytes, (size_t)(n / block * bytes)};
        loader->turn = (chunk + 1) % CHUNKS;
        CUDA_TRY(cudaEventSynchronize(loader->done[chunk]));
        mr_threads_run(loader->threads, (int32_t)((copy.n + SLICE_BYTES - 1) / SLICE_BYTES), copy_slice, &copy);
        CUDA_TRY(cudaMemcpyAsync(loader->card[chunk], loader->host[chunk], copy.n, cudaMemcpyHostToDevice, device->stream));
        if (!convert(part->dtype, loader->card[chunk], to + at, n, device->stream))
            return mr_err_set(err, MR_ERR_UNSUPPORTED, "weights in format %s are not taken by the CUDA device", mr_dtype_name(part->dtype));
        CUDA_TRY(cudaEventRecord(loader->done[chunk], device->stream));
    }
    mr_threads_rest(loader->threads);
    return MR_OK;
}

static enum mr_status weight_fill(struct mr_device *device, struct mr_weight *weight, const struct mr_weight_part *parts, int n_parts,
                                  struct mr_err *err)
{
    size_t elements = (size_t)(weight->rows * weight->k);
    bool small = weight->dtype == MR_E4M3;
    enum mr_status status = loader_open(device, err);
    if (status == MR_OK && small)
        status = plain_reserve(device->loader, elements, err);
    if (status != MR_OK)
        return status;
    CUDA_TRY(cudaMalloc(&weight->data, elements * (small ? 1 : sizeof(bf16))));
    if (small)
        CUDA_TRY(cudaMalloc(&weight->scale, (size_t)weight->rows * sizeof(float)));
    bf16 *plain = small ? device->loader->plain : (bf16 *)weight->data, *to = plain;
    for (int i = 0; i < n_parts && status == MR_OK; i++) {
        status = part_load(device, device->loader, &parts[i], weight->k, to, err);
        to += parts[i].rows * weight->k;
    }
    if (status == MR_OK && small)
        status = cuda_fp8_quantise(device, plain, (unsigned char *)weight->data, weight->scale, weight->rows, weight->k);
    if (status == MR_OK && cudaPeekAtLastError() != cudaSuccess)
        status = mr_err_set(err, MR_ERR_IO, "a weight could not be copied to the card");
    return status;
}

enum mr_status cuda_weight_open(struct mr_device *device, const struct mr_weight_part *parts, int n_parts, int64_t k, struct mr_weight **out,
                                struct mr_err *err)
{
    *out = NULL;
    struct mr_weight *weight = (struct mr_weight *)calloc(1, sizeof *weight);
    if (!weight)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for a weight");
    weight->k = k;
    for (int i = 0; i < n_parts; i++)
        weight->rows += parts[i].rows;
    weight->dtype = device->options.weight_dtype == MR_E4M3 && !parts[0].plain && k % 16 == 0 && weight->rows % 16 == 0 ? MR_E4M3 : MR_BF16;
    enum mr_status status = weight_fill(device, weight, parts, n_parts, err);
    if (status == MR_OK)
        *out = weight;
    else
        cuda_weight_close(device, weight);
    return status;
}

void cuda_weight_close(struct mr_device *device, struct mr_weight *weight)
{
    (void)device;
    if (weight) {
        cudaFree(weight->data);
        cudaFree(weight->scale);
    }
    free(weight);
}

size_t cuda_weight_bytes(const struct mr_weight *weight)
{
    size_t elements = (size_t)(weight->rows * weight->k);
    return weight->dtype == MR_E4M3 ? elements + (size_t)weight->rows * sizeof(float) : elements * sizeof(bf16);
}
