/* Kernels against the card's limits, both taken in this run: a table of time, rate and share. Random data, working sets larger
 * than L2, medians of repeated launches. kernels_bench [WORD] runs the rows whose name holds WORD. */
#include "tests/gpu/compare.h"

#include "kernels/ops.h"

#include <cuda_runtime_api.h>
#include <time.h>

static const struct mr_ops *ops;
static struct mr_device *device;
static const char *only;
static double read_tbs, gemm_tflops;

enum { MAX_TOKENS = 8192, MAX_SEQS = 256, MAX_BLOCKS = 8192, REPEATS = 20 };

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

typedef void (*body)(void *self);

/* Mean microseconds of a launch on a device, over enough launches that the host's cost is hidden by the queue. Best of three rounds. */
static double time_us(struct mr_device *on, body run, void *self)
{
    double best = 1e30;
    run(self);
    ops->finish(on);
    for (int round = 0; round < 3; round++) {
        double start = now_us();
        for (int i = 0; i < REPEATS; i++)
            run(self);
        ops->finish(on);
        best = fmin(best, (now_us() - start) / REPEATS);
    }
    return best;
}

static void row(const char *name, double us, double bytes, double flops)
{
    double tbs = bytes / us / 1e6, tflops = flops / us / 1e6;
    printf("%-44s %10.1f us  %6.2f TB/s  %5.1f %%   %7.1f TFLOP/s  %5.1f %%\n", name, us, tbs, 100 * tbs / read_tbs, tflops,
           gemm_tflops ? 100 * tflops / gemm_tflops : 0);
}

/* Elements of bf16 or e4m3, none of them NaN: products of NaN take less power and run faster. */
static void *card_random_as(size_t n, enum mr_dtype dtype)
{
    size_t chunk = 1 << 20, element = dtype == MR_E4M3 ? 1 : 2;
    char *bits = malloc(chunk * element), *card = ops->alloc(device, n * element);
    if (!card) {
        printf("no memory for %zu elements\n", n);
        exit(1);
    }
    for (size_t i = 0; i < chunk; i++)
        element_put(dtype, bits, i, random_normal());
    for (size_t at = 0; at < n; at += chunk)
        cudaMemcpy(card + at * element, bits, (n - at < chunk ? n - at : chunk) * element, cudaMemcpyHostToDevice);
    free(bits);
    return card;
}

static void *card_random(size_t n) { return card_random_as(n, MR_BF16); }

struct product {
    struct mr_weight **weights;
    int n_weights, at;
    struct mr_matmul_params params;
};

static void product_run(void *self)
{
    struct product *p = self;
    p->params.weight = p->weights[p->at++ % p->n_weights];
    ops->matmul(device, &p->params);
}

static void products(int64_t n, int64_t k, const int32_t *rows, int n_rows, bool small)
{
    double element = small ? 1 : 2;
    int count = (int)(300e6 / ((double)(n * k) * element)) + 1;
    struct product p = {calloc((size_t)count, sizeof(struct mr_weight *)), count, 0, {0}};
    float *host = malloc((size_t)(n * k) * sizeof(float));
    for (int64_t i = 0; i < n * k; i++)
        host[i] = i < 1 << 20 ? random_normal() : host[i - (1 << 20)];
    for (int i = 0; i < count; i++)
        ops->weight_open(device, &(struct mr_weight_part){.dtype = MR_F32, .data = host, .rows = n}, 1, k, &p.weights[i], NULL);
    p.params.in = card_random((size_t)(MAX_TOKENS * k));
    p.params.out = card_random((size_t)(MAX_TOKENS * n));
    for (int i = 0; i < n_rows; i++) {
        char name[64];
        p.params.rows = rows[i];
        double us = time_us(device, product_run, &p), bytes = element * (double)(n * k) + 2.0 * (double)(rows[i] * (n + k)),
               flops = 2.0 * rows[i] * (double)(n * k);
        snprintf(name, sizeof name, "matmul %s n %lld k %lld rows %d", small ? "fp8" : "bf16", (long long)n, (long long)k, rows[i]);
        row(name, us, bytes, flops);
    }
    for (int i = 0; i < count; i++)
        ops->weight_close(device, p.weights[i]);
    ops->release(device, (void *)p.params.in);
    ops->release(device, p.params.out);
    free(host);
    free(p.weights);
}

static struct mr_device *attending; /* device, or one in the deterministic mode */

static void attention_run(void *self) { ops->attention(attending, self); }

static void attention(const char *name, int32_t n_seqs, int32_t past, int32_t rows, bool ragged, int32_t block_tokens, enum mr_dtype kv)
{
    enum { HEADS = 32, KV = 8, DIM = 128 };
    char title[64];
    snprintf(title, sizeof title, "%s%s %s", name, attending == device ? "" : " exact", mr_dtype_name(kv));
    int32_t *table = calloc((size_t)n_seqs * MAX_BLOCKS, sizeof *table), n_blocks = 0, n = 0;
    int32_t *positions = calloc((size_t)n_seqs * (size_t)rows, sizeof *positions), *starts = calloc((size_t)n_seqs + 1, sizeof *starts),
            *lengths = calloc((size_t)n_seqs, sizeof *lengths);
    double keys = 0, pairs = 0;
    if (only && !strstr(name, only))
        return;
    for (int32_t s = 0; s < n_seqs; s++) {
        int32_t cached = ragged ? 100 + (int32_t)(random_bits() % 7900) : past;
        lengths[s] = cached + rows;
        keys += lengths[s];
        for (int32_t b = 0; b * block_tokens < lengths[s]; b++)
            table[s * MAX_BLOCKS + b] = n_blocks++;
        starts[s] = n;
        for (int32_t r = 0; r < rows; r++, n++) {
            positions[n] = cached + r;
            pairs += cached + r + 1;
        }
    }
    starts[n_seqs] = n;
    for (int32_t s = 0; s < n_seqs; s++) /* shuffle the blocks */
        for (int32_t b = 0; b * block_tokens < lengths[s]; b++) {
            int32_t t = (int32_t)(random_bits() % (uint32_t)n_seqs);
            int32_t c = (int32_t)(random_bits() % (uint32_t)((lengths[t] + block_tokens - 1) / block_tokens)), *x = &table[s * MAX_BLOCKS + b],
                    *y = &table[t * MAX_BLOCKS + c], swap = *x;
            *x = *y, *y = swap;
        }
    int64_t slab = (int64_t)n_blocks * KV * block_tokens * DIM;
    size_t element = kv == MR_E4M3 ? 1 : 2;
    struct mr_kv_view view = {card_random_as((size_t)slab, kv), card_random_as((size_t)slab, kv), kv, kv, n_blocks, block_tokens, KV, DIM,
                               (int64_t)KV * block_tokens * DIM, (int64_t)block_tokens * DIM, DIM, 1, 1};
    void *qkv = card_random((size_t)MAX_TOKENS * (HEADS + 2 * KV) * DIM), *out = card_random((size_t)n * HEADS * DIM);
    struct mr_batch batch = {.n_tokens = n, .n_seqs = n_seqs, .block_table_stride = MAX_BLOCKS, .ids = positions,
                             .positions = positions, .slots = positions, .seq_start = starts, .seq_length = lengths,
                             .block_table = table, .logit_rows = positions};
    struct mr_attention_params p = {qkv, &view, out, 0.0883883f, 0, 0, HEADS};
    if (ops->begin(attending, &batch) != MR_OK) {
        printf("%-44s does not fit the plan\n", title);
    } else {
        double us = time_us(attending, attention_run, &p);
        row(title, us, keys * KV * DIM * 2 * (double)element, pairs * HEADS * DIM * 4);
    }
    ops->release(device, view.k);
    ops->release(device, view.v);
    ops->release(device, qkv);
    ops->release(device, out);
    free(table), free(positions), free(starts), free(lengths);
}



int main(int argc, char **argv)
{
    static const int32_t few[] = {1, 2, 4, 8, 16, 64, 256, 8192};
    struct mr_err err = {0};
    struct mr_device_options options = {.precision = MR_FAST, .weight_dtype = MR_BF16, .max_tokens = MAX_TOKENS, .max_seqs = MAX_SEQS,
                                        .max_blocks = MAX_BLOCKS, .max_row_elements = 32768};
    setvbuf(stdout, NULL, _IOLBF, 0);
    only = argc > 1 ? argv[1] : NULL;
    ops = mr_ops_cuda(&err);
    if (!ops || ops->open(&options, &device, &err) != MR_OK) {
        printf("%s\n", err.text);
        return 1;
    }
    struct mr_ceilings limits = {0};
    ops->ceilings(device, &limits);
    read_tbs = limits.read_gbs / 1e3;
    gemm_tflops = limits.multiply_gflops / 1e3;
    printf("limits, sustained for a second: read %.2f TB/s, bf16 product %.0f TFLOP/s (the 100 %% of the two columns)\n", read_tbs, gemm_tflops);
    if (!only || strstr("matmul", only)) {
        static const int64_t shapes[][2] = {{28672, 4096}, {4096, 14336}, {6144, 4096}, {4096, 4096}};
        for (int i = 0; i < 4; i++)
            products(shapes[i][0], shapes[i][1], few, sizeof few / sizeof *few, false);
        struct mr_device *plain = device;
        options.weight_dtype = MR_E4M3;
        if (ops->open(&options, &device, &err) != MR_OK) {
            printf("%s\n", err.text);
            return 1;
        }
        for (int i = 0; i < 4; i++)
            products(shapes[i][0], shapes[i][1], few, sizeof few / sizeof *few, true);
        ops->close(device);
        device = plain;
    }
    struct mr_device *exact = NULL;
    options.weight_dtype = MR_BF16, options.precision = MR_EXACT;
    if (ops->open(&options, &exact, &err) != MR_OK) {
        printf("%s\n", err.text);
        return 1;
    }
    attending = device;
    for (int32_t block = 16; block <= 64; block *= 4) {
        printf("block of %d tokens\n", block);
        for (int byte = 0; byte < 2; byte++) {
            enum mr_dtype kv = byte ? MR_E4M3 : MR_BF16;
            attention("decode 1 x 1k", 1, 1023, 1, false, block, kv);
            attention("decode 64 x 4k", 64, 4095, 1, false, block, kv);
            attention("decode 256 x 1k", 256, 1023, 1, false, block, kv);
            attention("decode 128 ragged 100..8k", 128, 0, 1, true, block, kv);
            attention("decode 1 x 128k", 1, 131071 - 16, 1, false, block, kv);
            attention("prefill 8k", 1, 0, 8192, false, block, kv);
            attention("prefill 2k x 4", 4, 0, 2048, false, block, kv);
            attention("prefill 512 rows after 16k", 1, 16384, 512, false, block, kv);
        }
        attending = exact;
        attention("prefill 8k", 1, 0, 8192, false, block, MR_BF16);
        attention("prefill 8k", 1, 0, 8192, false, block, MR_E4M3);
        attending = device;
    }
    ops->close(exact);
    ops->close(device);
    return 0;
}
