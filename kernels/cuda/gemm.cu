/* Matrix products through cuBLASLt: out[rows][n] = in[rows][k] weight[n][k]^T (+ bias), bf16 in, f32 sums, bf16 or f32 out.
 *
 * cuBLASLt counts columns first, so the product is written as out^T = weight in^T: A = weight (transposed), B = in.
 * One algorithm a (n, k, rows, out) is chosen by the library's heuristic, timed among CANDIDATES when `tune` runs before serving,
 * and kept in a small table; a lookup miss while serving takes the heuristic's first. Thread: the engine's.
 *
 * Deterministic mode: only algorithms that do not split k. Each of them, whatever its tile, adds an output's products as one chain of
 * 16 (bf16) in ascending k, so a row's bits are the same for every number of rows: measured for cuBLASLt 13 on Hopper over all its
 * candidates and shown by gpu_kernels_test (matmul_same_bits) and gpu_model_test (same_bits) on the machine at hand. */
#include "kernels/cuda/device.cuh"

#include <stdlib.h>
#include <string.h>

enum { CACHE_MAX = 4096, CANDIDATES = 8, WORKSPACE_BYTES = 64 << 20 };

/* Our own kernels for few rows. */
typedef enum mr_status own_kernel(struct mr_device *device, const struct mr_matmul_params *params);
static own_kernel *const own_kernels[] = {cuda_gemv, cuda_skinny};

struct gemm_choice {
    int64_t n, k;
    int32_t rows;            /* the row count it was chosen at: see rows_key */
    bool out_f32, bias;
    enum mr_dtype dtype;     /* of the weight; with MR_E4M3 the input rows are quantised first */
    own_kernel *own;         /* gemv.cu or skinny.cu was faster; NULL: the library's algorithm */
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algorithm;
};

struct cuda_gemm_cache {
    int n;
    struct gemm_choice choice[CACHE_MAX];
};

/* Row counts that share a choice: ragged prefill steps must not ask the library again for every new size. */
static int32_t rows_key(int32_t rows)
{
    int32_t step = rows <= 8 ? 1 : rows <= 64 ? 8 : rows <= 512 ? 32 : 256;
    return (rows + step - 1) / step * step;
}

enum mr_status cuda_gemm_open(struct mr_device *device, struct mr_err *err)
{
    device->gemms = (struct cuda_gemm_cache *)calloc(1, sizeof *device->gemms);
    if (!device->gemms)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the table of matrix products");
    if (cublasLtCreate(&device->lt) != CUBLAS_STATUS_SUCCESS)
        return mr_err_set(err, MR_ERR_IO, "cublasLtCreate failed");
    device->lt_workspace_bytes = WORKSPACE_BYTES;
    CUDA_TRY(cudaMalloc(&device->lt_workspace, device->lt_workspace_bytes));
    return MR_OK;
}

static void choice_close(struct gemm_choice *c)
{
    cublasLtMatmulDescDestroy(c->op);
    cublasLtMatrixLayoutDestroy(c->a);
    cublasLtMatrixLayoutDestroy(c->b);
    cublasLtMatrixLayoutDestroy(c->c);
}

void cuda_gemm_close(struct mr_device *device)
{
    for (int i = 0; device->gemms && i < device->gemms->n; i++)
        choice_close(&device->gemms->choice[i]);
    free(device->gemms);
    cudaFree(device->lt_workspace);
    if (device->lt)
        cublasLtDestroy(device->lt);
}

/* A scale an output channel and one a token, and sums kept in the tensor core's own precision (fast accumulation). */
static bool describe_fp8(const struct mr_device *device, const struct mr_weight *weight, cublasLtMatmulDesc_t op)
{
    const float *scale = weight->scale, *act_scale = device->act8_scale; /* the heuristic wants to see them; run sets them again */
    cublasLtMatmulMatrixScale_t mode = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    int8_t fast = 1;
    cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &scale, sizeof scale);
    cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &act_scale, sizeof act_scale);
    return cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &mode, sizeof mode) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, &mode, sizeof mode) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast, sizeof fast) == CUBLAS_STATUS_SUCCESS;
}

/* Rows that a product computes. */
static uint64_t rows_padded(int32_t rows, enum mr_dtype dtype)
{
    return (uint64_t)(dtype == MR_E4M3 ? (rows + FP8_ROWS - 1) / FP8_ROWS * FP8_ROWS : rows);
}

static bool describe(const struct mr_device *device, const struct mr_weight *weight, struct gemm_choice *c)
{
    cublasOperation_t transposed = CUBLAS_OP_T;
    cudaDataType_t out = c->out_f32 ? CUDA_R_32F : CUDA_R_16BF;
    bool ok = cublasLtMatmulDescCreate(&c->op, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS;
    ok = ok && cublasLtMatmulDescSetAttribute(c->op, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed) == CUBLAS_STATUS_SUCCESS;
    if (c->bias) {
        cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
        cudaDataType_t bias = CUDA_R_32F;
        ok = ok && cublasLtMatmulDescSetAttribute(c->op, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue) == CUBLAS_STATUS_SUCCESS;
        ok = ok && cublasLtMatmulDescSetAttribute(c->op, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias, sizeof bias) == CUBLAS_STATUS_SUCCESS;
    }
    ok = ok && (c->dtype != MR_E4M3 || describe_fp8(device, weight, c->op));
    cudaDataType_t in = c->dtype == MR_E4M3 ? CUDA_R_8F_E4M3 : CUDA_R_16BF;
    ok = ok && cublasLtMatrixLayoutCreate(&c->a, in, (uint64_t)c->k, (uint64_t)c->n, c->k) == CUBLAS_STATUS_SUCCESS;
    ok = ok && cublasLtMatrixLayoutCreate(&c->b, in, (uint64_t)c->k, rows_padded(c->rows, c->dtype), c->k) == CUBLAS_STATUS_SUCCESS;
    return ok && cublasLtMatrixLayoutCreate(&c->c, out, (uint64_t)c->n, rows_padded(c->rows, c->dtype), c->n) == CUBLAS_STATUS_SUCCESS;
}

static int candidates(struct mr_device *device, const struct gemm_choice *c, cublasLtMatmulHeuristicResult_t *results, int most)
{
    cublasLtMatmulPreference_t preference;
    int n = 0;
    if (cublasLtMatmulPreferenceCreate(&preference) != CUBLAS_STATUS_SUCCESS)
        return 0;
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &device->lt_workspace_bytes,
                                         sizeof device->lt_workspace_bytes);
    if (device->options.precision == MR_EXACT) {
        const uint32_t whole = CUBLASLT_REDUCTION_SCHEME_NONE; /* k is not split */
        cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &whole, sizeof whole);
    }
    if (cublasLtMatmulAlgoGetHeuristic(device->lt, c->op, c->a, c->b, c->c, c->c, preference, most, results, &n) != CUBLAS_STATUS_SUCCESS)
        n = 0;
    cublasLtMatmulPreferenceDestroy(preference);
    return n;
}

static bool run(struct mr_device *device, const struct gemm_choice *c, const cublasLtMatmulAlgo_t *algorithm, const struct mr_matmul_params *p)
{
    const float one = 1, zero = 0;
    bool small = c->dtype == MR_E4M3;
    const uint64_t rows = rows_padded(p->rows, c->dtype);
    const void *in = small ? device->act8 : p->in;
    if (small) {
        const float *weight_scale = p->weight->scale, *in_scale = device->act8_scale;
        cublasLtMatmulDescSetAttribute(c->op, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &weight_scale, sizeof weight_scale);
        cublasLtMatmulDescSetAttribute(c->op, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &in_scale, sizeof in_scale);
        if (cuda_fp8_quantise(device, (const bf16 *)p->in, device->act8, device->act8_scale, p->rows, c->k) != MR_OK)
            return false;
    }
    cublasLtMatrixLayoutSetAttribute(c->b, CUBLASLT_MATRIX_LAYOUT_COLS, &rows, sizeof rows);
    cublasLtMatrixLayoutSetAttribute(c->c, CUBLASLT_MATRIX_LAYOUT_COLS, &rows, sizeof rows);
    if (c->bias)
        cublasLtMatmulDescSetAttribute(c->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p->bias, sizeof p->bias);
    return cublasLtMatmul(device->lt, c->op, &one, p->weight->data, c->a, in, c->b, &zero, p->out, c->c, p->out, c->c, algorithm,
                          device->lt_workspace, device->lt_workspace_bytes, device->stream) == CUBLAS_STATUS_SUCCESS;
}

/* Milliseconds of REPEATS runs of the library's algorithm, or of an own kernel, after one untimed. Negative: it does not run. */
static float timed(struct mr_device *device, const struct gemm_choice *c, const cublasLtMatmulAlgo_t *algorithm, own_kernel *own,
                   const struct mr_matmul_params *p)
{
    enum { REPEATS = 4 };
    float ms = 0;
    cudaEvent_t start, stop;
    cudaEventCreate(&start);
    cudaEventCreate(&stop);
    bool ok = true;
    for (int i = 0; i <= REPEATS && ok; i++) {
        if (i == 1)
            cudaEventRecord(start, device->stream);
        ok = own ? own(device, p) == MR_OK : run(device, c, algorithm, p);
    }
    cudaEventRecord(stop, device->stream);
    ok = ok && cudaEventSynchronize(stop) == cudaSuccess && cudaEventElapsedTime(&ms, start, stop) == cudaSuccess;
    cudaEventDestroy(start);
    cudaEventDestroy(stop);
    return ok ? ms : -1;
}

/* Sets the fastest of the library's candidates and of our own kernels. */
static void tune(struct mr_device *device, struct gemm_choice *c, const cublasLtMatmulHeuristicResult_t *results, int n,
                 const struct mr_matmul_params *p)
{
    float best = -1;
    for (int i = 0; i < n; i++) {
        float ms = timed(device, c, &results[i].algo, NULL, p);
        if (ms >= 0 && (best < 0 || ms < best))
            best = ms, c->algorithm = results[i].algo;
    }
    for (size_t i = 0; i < sizeof own_kernels / sizeof *own_kernels; i++) {
        float ms = timed(device, c, NULL, own_kernels[i], p);
        if (ms >= 0 && (best < 0 || ms < best))
            best = ms, c->own = own_kernels[i];
    }
}

static struct gemm_choice *choose(struct mr_device *device, const struct mr_matmul_params *p)
{
    struct cuda_gemm_cache *cache = device->gemms;
    for (int i = 0; i < cache->n; i++) {
        struct gemm_choice *c = &cache->choice[i];
        if (c->rows == rows_key(p->rows) && c->n == p->weight->rows && c->k == p->weight->k && c->out_f32 == p->out_f32 &&
            c->bias == (p->bias != NULL) && c->dtype == p->weight->dtype)
            return c;
    }
    if (cache->n == CACHE_MAX) { /* ragged prefill sizes: forget, the heuristic is cheap */
        for (int i = 0; i < cache->n; i++)
            choice_close(&cache->choice[i]);
        cache->n = 0;
    }
    struct gemm_choice *c = &cache->choice[cache->n];
    memset(c, 0, sizeof *c);
    c->n = p->weight->rows, c->k = p->weight->k, c->rows = rows_key(p->rows), c->out_f32 = p->out_f32, c->bias = p->bias != NULL;
    c->dtype = p->weight->dtype;
    cublasLtMatmulHeuristicResult_t results[CANDIDATES];
    int n = describe(device, p->weight, c) ? candidates(device, c, results, device->tuning ? CANDIDATES : 1) : 0;
    if (n == 0) {
        choice_close(c);
        return NULL;
    }
    c->algorithm = results[0].algo;
    c->own = p->rows == 1 && c->dtype == MR_BF16 ? cuda_gemv : cuda_skinny;
    if (device->tuning)
        tune(device, c, results, n, p);
    cache->n++;
    return c;
}

enum mr_status cuda_matmul(struct mr_device *device, const struct mr_matmul_params *p)
{
    if (device->replaying)
        return MR_OK;
    if (p->rows == 0)
        return MR_OK;
    if (p->weight->dtype == MR_E4M3 && (size_t)p->weight->k > device->options.max_row_elements)
        return MR_ERR_UNSUPPORTED;
    struct gemm_choice *c = choose(device, p);
    if (!c)
        return MR_ERR_UNSUPPORTED;
    if (c->own && c->own(device, p) == MR_OK)
        return MR_OK;
    return run(device, c, &c->algorithm, p) ? MR_OK : MR_ERR_IO;
}
