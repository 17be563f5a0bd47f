/* What the files of kernels/cuda share: the device, its copy of the step's batch, and a matrix. Not seen outside this folder.
 *
 * Numbers: activations are bf16, every sum and every function is computed in float32 and rounded to bf16 once, where a kernel
 * stores its result. All launchers enqueue on device->stream; a CUDA error after start is sticky and comes out of `finish`. */
#ifndef MR_KERNELS_CUDA_DEVICE_CUH
#define MR_KERNELS_CUDA_DEVICE_CUH

#include "kernels/ops.h"

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

typedef __nv_bfloat16 bf16;

/* The step's batch in device memory, at addresses that never change (a captured graph reads them). */
struct cuda_batch {
    int32_t *ids, *positions, *slots; /* [max_tokens] */
    int32_t *seq_start;               /* [max_seqs + 1] */
    int32_t *seq_length;              /* [max_seqs] */
    int32_t *logit_rows;              /* [max_tokens] */
    int32_t *block_table;             /* [max_seqs][max_blocks] */
    int32_t *work;                    /* attention's plan: see attention_plan.cuh */
};

/* Host memory of one step's way to the card and back, pinned. There are two: while one step runs, the next is packed. */
struct cuda_side {
    int32_t *staging;           /* [staging_ints] the packed batch */
    void *sample_rows;          /* [sample_bytes] the rows' parameters */
    struct mr_sampled *sampled; /* [max_tokens] */
    struct mr_sampled *out;     /* where the results are wanted; NULL: nothing asked */
    int32_t n_out;
    cudaEvent_t done;           /* the step that was left has ended */
};

enum { FP8_ROWS = 16 }; /* an FP8 product's rows are padded to a multiple: buffers of max_tokens rows have room for it */

struct cuda_gemm_cache; /* gemm.cu: one chosen algorithm a shape */

struct mr_device {
    struct mr_device_options options;
    char path[48];
    cudaStream_t stream;
    int n_sm;
    cublasLtHandle_t lt;
    void *lt_workspace;
    size_t lt_workspace_bytes;
    struct cuda_gemm_cache *gemms;
    bool tuning;                        /* before serving: time the candidates of each new product */

    struct weight_loader *loader;       /* weight.cu: pinned chunks and threads, from the first weight to `warm` */
    unsigned char *act8;                /* [max_tokens][max_row_elements] a product's rows as e4m3; NULL without FP8 weights */
    float *act8_scale;                  /* [max_tokens] */

    struct cuda_graphs *graphs;         /* graph.cu */
    bool replaying;                     /* this step is one recorded graph: its ops have nothing to do */
    bool recording;                     /* this step's ops are being captured: launches must not depend on its batch */

    struct cuda_batch batch;
    int32_t n_tokens, n_seqs, n_logits; /* of the step in flight */
    int32_t plan_decode_items, plan_prefill_items; /* attention work of the step */
    int32_t plan_longest;               /* tokens of its longest sequence */
    bool plan_even;                     /* decode attention is cut evenly, not by splits: see attention_plan.cuh */
    struct cuda_side side[2];
    int turn, n_left;                   /* side of the step that is issued now; steps that were left and not collected, 0 to 2 */
    int32_t *staging_device;            /* one packed batch */
    size_t staging_ints;

    struct tensor_maps *maps;           /* tensor_map.cu */
    float *attention_partial;           /* split-KV results: see attention_decode.cu */
    size_t attention_partial_floats;

    struct mr_sampled *sampled;         /* [max_tokens] what the last step chose: the next one's ids are taken from here */
    void *sample_rows;                  /* the rows' parameters */
    size_t sample_bytes;
};

struct mr_weight {
    enum mr_dtype dtype; /* MR_BF16 or MR_E4M3 */
    void *data;          /* [rows][k] */
    float *scale;        /* [rows] of an MR_E4M3 weight: value = scale * element; else NULL */
    int64_t rows, k;
};

#define CUDA_TRY(call) \
    do { \
        cudaError_t error_ = (call); \
        if (error_ != cudaSuccess) \
            return cuda_failed(err, #call, error_); \
    } while (0)

enum mr_status cuda_failed(struct mr_err *err, const char *what, cudaError_t error);

/* Status of a launch: shape errors are the caller's, everything else is sticky and seen by finish. */
static inline enum mr_status cuda_launched(void) { return cudaPeekAtLastError() == cudaSuccess ? MR_OK : MR_ERR_IO; }

enum mr_status cuda_weight_open(struct mr_device *device, const struct mr_weight_part *parts, int n_parts, int64_t k, struct mr_weight **out,
                                struct mr_err *err);
void cuda_weight_close(struct mr_device *device, struct mr_weight *weight);
size_t cuda_weight_bytes(const struct mr_weight *weight);
void cuda_weight_loader_close(struct mr_device *device);
/* n bf16 at `to`, n % 8 == 0. */
enum mr_status cuda_random_bf16(struct mr_device *device, void *to, int64_t n, const struct mr_random *random);

void cuda_ceilings(struct mr_device *device, struct mr_ceilings *out);

/* FP8 (e4m3) with one scale a row: absmax / 448, as in Micikevicius et al. 2022 (arXiv 2209.05433). rows x k, k % 8 == 0. */
enum mr_status cuda_fp8_quantise(struct mr_device *device, const bf16 *from, unsigned char *to, float *scale, int64_t rows, int64_t k);

enum mr_status cuda_batch_open(struct mr_device *device, struct mr_err *err);
void cuda_batch_close(struct mr_device *device);
enum mr_status cuda_begin(struct mr_device *device, const struct mr_batch *batch);

/* Decode steps as recorded graphs, one a bucket of rows. */
enum mr_status cuda_graphs_open(struct mr_device *device, struct mr_err *err);
void cuda_graphs_close(struct mr_device *device);
/* Called by begin once the batch is known: rows to pad it to when a graph will be replayed or recorded, else n_tokens. */
int32_t cuda_graphs_plan(struct mr_device *device, const struct mr_batch *batch);
enum mr_status cuda_graphs_begin(struct mr_device *device); /* the batch is on its way: capture starts here, if it does */
enum mr_status cuda_graphs_end(struct mr_device *device);
int64_t cuda_graphs_replay(struct mr_device *device, int n);
enum mr_status cuda_graphs_warm(struct mr_device *device, enum mr_status (*run)(void *self, int32_t rows), void *self, struct mr_err *err);

enum mr_status cuda_gemm_open(struct mr_device *device, struct mr_err *err);
void cuda_gemm_close(struct mr_device *device);
enum mr_status cuda_gemv(struct mr_device *device, const struct mr_matmul_params *params);
enum mr_status cuda_skinny(struct mr_device *device, const struct mr_matmul_params *params);

enum mr_status cuda_embed(struct mr_device *device, const struct mr_embed_params *params);
enum mr_status cuda_norm(struct mr_device *device, const struct mr_norm_params *params);
enum mr_status cuda_matmul(struct mr_device *device, const struct mr_matmul_params *params);
enum mr_status cuda_qkv(struct mr_device *device, const struct mr_qkv_params *params);
enum mr_status cuda_attention(struct mr_device *device, const struct mr_attention_params *params);
enum mr_status cuda_glu(struct mr_device *device, const struct mr_glu_params *params);
enum mr_status cuda_gather(struct mr_device *device, const struct mr_gather_params *params);

enum mr_status cuda_sample_open(struct mr_device *device, struct mr_err *err);
void cuda_sample_close(struct mr_device *device);
enum mr_status cuda_sample(struct mr_device *device, const struct mr_sample_params *params);
enum mr_status cuda_score(struct mr_device *device, const struct mr_score_params *params);
/* Waits for the stream and copies sampled tokens to where the last sample or score wanted them. */
enum mr_status cuda_sample_finish(struct mr_device *device);
enum mr_status cuda_sample_leave(struct mr_device *device);
enum mr_status cuda_sample_collect(struct mr_device *device);

/* ---- small device functions ---- */

#ifdef __CUDACC__

/* Every kernel of the forward pass is launched so that it may become resident while the one before it ends (programmatic dependent
 * launch, CUDA programming guide): it starts with next_start, may then read weights, and touches nothing else before previous_wait. */
static __device__ __forceinline__ void next_start(void) { asm volatile("griddepcontrol.launch_dependents;"); }
static __device__ __forceinline__ void previous_wait(void) { asm volatile("griddepcontrol.wait;" ::: "memory"); }

struct launch_shape {
    dim3 grid;
    int threads, shared_bytes;
};

template <typename... PARAMETERS, typename... ARGUMENTS>
static enum mr_status cuda_launch(const struct mr_device *device, const launch_shape &shape, void (*kernel)(PARAMETERS...), ARGUMENTS... arguments)
{
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = shape.grid;
    config.blockDim = dim3(shape.threads);
    config.dynamicSmemBytes = (size_t)shape.shared_bytes;
    config.stream = device->stream;
    config.attrs = &early;
    config.numAttrs = 1;
    return cudaLaunchKernelEx(&config, kernel, PARAMETERS(arguments)...) == cudaSuccess ? MR_OK : MR_ERR_IO;
}

/* Eight bf16 as one 16-byte access. */
struct alignas(16) bf16x8 {
    __nv_bfloat162 pair[4];
};

__device__ __forceinline__ void unpack8(const bf16x8 &packed, float out[8])
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float2 two = __bfloat1622float2(packed.pair[i]);
        out[2 * i] = two.x;
        out[2 * i + 1] = two.y;
    }
}

__device__ __forceinline__ bf16x8 pack8(const float in[8])
{
    bf16x8 packed;
#pragma unroll
    for (int i = 0; i < 4; i++)
        packed.pair[i] = __floats2bfloat162_rn(in[2 * i], in[2 * i + 1]);
    return packed;
}

__device__ __forceinline__ float warp_sum(float x)
{
#pragma unroll
    for (int step = 16; step > 0; step /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

__device__ __forceinline__ float warp_max(float x)
{
#pragma unroll
    for (int step = 16; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

/* Sum over a block of 32 n threads, the same value for all; `shared` holds 32 floats and may be reused after the next sync. */
__device__ __forceinline__ float block_sum(float x, float *shared)
{
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_warps = blockDim.x / 32;
    x = warp_sum(x);
    if (lane == 0)
        shared[warp] = x;
    __syncthreads();
    return warp_sum(lane < n_warps ? shared[lane] : 0.0f);
}

#endif
#endif
