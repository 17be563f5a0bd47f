/* The CUDA device: one card, one stream, everything allocated before the first step; and its ops table.
 *
 * 1. After `open` only weight_open, alloc and upload_f32 allocate, all before `warm`; a step allocates nothing.
 * 2. `path` names the order of sums: exact keeps one for every number of rows (Same bits), fast takes whatever is fastest.
 * wgmma and TMA code is built for sm_90a alone, so another card is refused by name here and the caller takes the CPU.
 * Thread: the engine's. Rejected: several streams (the step is one chain; what overlaps does so by dependent launches). */
#include "kernels/cuda/device.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTIAL_BYTES = 512 << 20 }; /* splits of 4 M tokens of context at 32 heads of 128 */

enum mr_status cuda_failed(struct mr_err *err, const char *what, cudaError_t error)
{
    return mr_err_set(err, error == cudaErrorMemoryAllocation ? MR_ERR_NOMEM : MR_ERR_IO, "CUDA: %s: %s", what, cudaGetErrorString(error));
}

static enum mr_status device_prepare(struct mr_device *device, struct mr_err *err)
{
    CUDA_TRY(cudaDeviceGetAttribute(&device->n_sm, cudaDevAttrMultiProcessorCount, 0));
    CUDA_TRY(cudaStreamCreateWithFlags(&device->stream, cudaStreamNonBlocking));
    device->attention_partial_floats = PARTIAL_BYTES / sizeof(float);
    CUDA_TRY(cudaMalloc(&device->attention_partial, PARTIAL_BYTES));
    if (device->options.weight_dtype == MR_E4M3) {
        CUDA_TRY(cudaMalloc(&device->act8, (size_t)device->options.max_tokens * device->options.max_row_elements));
        CUDA_TRY(cudaMalloc(&device->act8_scale, (size_t)device->options.max_tokens * sizeof(float)));
        CUDA_TRY(cudaMemset(device->act8, 0, (size_t)device->options.max_tokens * device->options.max_row_elements));
    }
    enum mr_status status = cuda_batch_open(device, err);
    if (status == MR_OK)
        status = cuda_gemm_open(device, err);
    if (status == MR_OK)
        status = cuda_graphs_open(device, err);
    return status == MR_OK ? cuda_sample_open(device, err) : status;
}

static void device_close(struct mr_device *device)
{
    if (!device)
        return;
    cudaStreamSynchronize(device->stream);
    cuda_sample_close(device);
    cuda_graphs_close(device);
    cuda_gemm_close(device);
    cuda_batch_close(device);
    cuda_weight_loader_close(device);
    cudaFree(device->act8);
    cudaFree(device->act8_scale);
    free(device->maps);
    cudaFree(device->attention_partial);
    if (device->stream)
        cudaStreamDestroy(device->stream);
    free(device);
}

static enum mr_status device_open(const struct mr_device_options *options, struct mr_device **out, struct mr_err *err)
{
    *out = NULL;
    if (options->max_tokens < 1 || options->max_seqs < 1 || options->max_blocks < 1)
        return mr_err_set(err, MR_ERR_INVALID, "a device needs max_tokens, max_seqs and max_blocks of at least 1");
    if (options->weight_dtype == MR_E4M3 && options->max_tokens % FP8_ROWS)
        return mr_err_set(err, MR_ERR_INVALID, "with FP8 weights a step's tokens are a multiple of %d, not %d", FP8_ROWS, options->max_tokens);
    struct mr_device *device = (struct mr_device *)calloc(1, sizeof *device);
    if (!device)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the device");
    device->options = *options;
    snprintf(device->path, sizeof device->path, "cuda-%s-sm90a-%s-1", options->precision == MR_EXACT ? "exact" : "fast",
             options->weight_dtype == MR_E4M3 ? "fp8" : "bf16");
    enum mr_status status = device_prepare(device, err);
    if (status == MR_OK)
        *out = device;
    else
        device_close(device);
    return status;
}

static const char *device_path(const struct mr_device *device) { return device->path; }

static void *device_alloc(struct mr_device *device, size_t bytes)
{
    (void)device;
    void *memory = NULL;
    return cudaMalloc(&memory, bytes) == cudaSuccess ? memory : NULL;
}

static void device_memory(struct mr_device *device, size_t *left, size_t *total)
{
    (void)device;
    if (cudaMemGetInfo(left, total) != cudaSuccess)
        *left = *total = 0;
}

static void device_release(struct mr_device *device, void *memory)
{
    (void)device;
    cudaFree(memory);
}

static float *device_upload_f32(struct mr_device *device, const float *host, size_t n)
{
    float *memory = (float *)device_alloc(device, n * sizeof *memory);
    if (memory && cudaMemcpy(memory, host, n * sizeof *memory, cudaMemcpyHostToDevice) != cudaSuccess) {
        cudaFree(memory);
        memory = NULL;
    }
    return memory;
}

static enum mr_status device_download(struct mr_device *device, void *host, const void *memory, size_t bytes)
{
    bool ok = cudaMemcpyAsync(host, memory, bytes, cudaMemcpyDeviceToHost, device->stream) == cudaSuccess;
    return ok && cudaStreamSynchronize(device->stream) == cudaSuccess ? MR_OK : MR_ERR_IO;
}

static const struct mr_ops ops = {
    .device_name = "cuda",
    .act_dtype = MR_BF16,
    .makes_random = true,
    .open = device_open,
    .close = device_close,
    .path = device_path,
    .alloc = device_alloc,
    .memory = device_memory,
    .release = device_release,
    .upload_f32 = device_upload_f32,
    .download = device_download,
    .weight_open = cuda_weight_open,
    .weight_close = cuda_weight_close,
    .weight_bytes = cuda_weight_bytes,
    .begin = cuda_begin,
    .embed = cuda_embed,
    .norm = cuda_norm,
    .matmul = cuda_matmul,
    .qkv = cuda_qkv,
    .attention = cuda_attention,
    .glu = cuda_glu,
    .gather = cuda_gather,
    .sample = cuda_sample,
    .score = cuda_score,
    .ceilings = cuda_ceilings,
    .finish = cuda_sample_finish,
    .leave = cuda_sample_leave,
    .collect = cuda_sample_collect,
    .end = cuda_graphs_end,
    .replay = cuda_graphs_replay,
    .warm = cuda_graphs_warm,
};

const struct mr_ops *mr_ops_cuda(struct mr_err *err)
{
    int n = 0, major = 0, minor = 0;
    cudaError_t error = cudaGetDeviceCount(&n);
    if (error != cudaSuccess || n == 0) {
        mr_err_set(err, MR_ERR_NOT_FOUND, "no CUDA card: %s", error == cudaSuccess ? "none found" : cudaGetErrorString(error));
        return NULL;
    }
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
    if (major != 9 || minor != 0) {
        mr_err_set(err, MR_ERR_UNSUPPORTED, "the CUDA kernels are built for compute capability 9.0, this card has %d.%d", major, minor);
        return NULL;
    }
    return &ops;
}
