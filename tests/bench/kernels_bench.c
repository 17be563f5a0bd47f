/* Times every CPU op on the shapes of SmolLM2-135M and shows each against the ceiling measured in the same run.
 * Usage: kernels_bench [threads [exact|fast [small]]]; small: without the matrix products. */
#include "tests/kernels/kernel_case.h"

#include "kernels/ceiling.h"

#include <stdio.h>
#include <time.h>

enum { HIDDEN = 576, HEADS = 9, KV_HEADS = 3, HEAD_DIM = 64, FFN = 1536, VOCABULARY = 49152, LAYERS = 30, RUNS = 9 };

static struct {
    double read_gbs, fma_gflops, int8_gops;
} ceilings;

static clockid_t clock_used = CLOCK_MONOTONIC; /* one thread: its own processor time, which neighbours disturb less */

static double now_s(void)
{
    struct timespec t;
    clock_gettime(clock_used, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Best of several runs over `copies` weights (past the caches, as layers are). */
static double time_matmul(struct mr_device *device, struct mr_weight **weights, int copies, const float *in, float *out, int32_t rows)
{
    double best = 1e9;
    for (int run = 0; run < RUNS; run++) {
        double start = now_s();
        for (int i = 0; i < copies; i++) {
            struct mr_matmul_params params = {.weight = weights[i], .in = in, .out = out, .rows = rows, .out_f32 = copies == 1};
            if (mr_ops_cpu()->matmul(device, &params) != MR_OK)
                abort();
        }
        double s = (now_s() - start) / copies;
        best = s < best ? s : best;
    }
    return best;
}

static void bench_matmul(struct mr_device *device, enum mr_dtype dtype, bool fast)
{
    static const struct {
        const char *name;
        int64_t n, k;
        int copies;
    } shapes[] = {{"qkv", 960, HIDDEN, LAYERS}, {"o", HIDDEN, HIDDEN, LAYERS}, {"gate+up", 2 * FFN, HIDDEN, LAYERS}, {"down", HIDDEN, FFN, LAYERS},
                  {"head", VOCABULARY, HIDDEN, 1}};
    static const int32_t rows[] = {1, 4, 16, 64, 512};
    double total[5] = {0};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        struct mr_weight *weights[LAYERS];
        uint8_t *data = case_weights(dtype, shapes[s].n, shapes[s].k);
        struct mr_weight_part part = {.dtype = dtype, .data = data, .rows = shapes[s].n};
        for (int i = 0; i < shapes[s].copies; i++)
            mr_ops_cpu()->weight_open(device, &part, 1, shapes[s].k, &weights[i], NULL);
        float *in = case_floats((size_t)(512 * shapes[s].k), -1, 1), *out = case_poison((size_t)(512 * shapes[s].n));
        for (int r = 0; r < 5; r++) {
            int32_t m = shapes[s].copies == 1 && rows[r] > 64 ? 1 : rows[r]; /* a prompt chunk wants one row of logits */
            double t = time_matmul(device, weights, shapes[s].copies, in, out, m), work = 2.0 * m * (double)(shapes[s].n * shapes[s].k);
            double bytes = (double)mr_ops_cpu()->weight_bytes(weights[0]);
            total[r] += t * shapes[s].copies;
            printf("matmul %-5s %-8s rows %3d: %9.1f us  %6.2f GB/s (%3.0f %%)  %7.1f Gop/s (%3.0f %%)\n", mr_dtype_name(dtype), shapes[s].name, m, t * 1e6,
                   bytes / t * 1e-9, 100 * bytes / t * 1e-9 / ceilings.read_gbs, work / t * 1e-9,
                   100 * work / t * 1e-9 / (fast ? ceilings.int8_gops : ceilings.fma_gflops));
        }
        for (int i = 0; i < shapes[s].copies; i++)
            mr_ops_cpu()->weight_close(device, weights[i]);
        free(data), free(in), free(out);
    }
    for (int r = 0; r < 5; r++)
        printf("matmul %-5s all layers and the head, rows %3d: %8.2f ms = %6.0f tok/s\n", mr_dtype_name(dtype), rows[r], total[r] * 1e3,
               rows[r] / total[r]);
}

struct attention_case {
    const char *name;
    int32_t n_seqs, rows; /* rows: of each sequence, the last of its context */
    int32_t context;
};

/* One layer's attention; several layers' caches are walked, so that keys come from memory as in a step. */
static void bench_attention(struct mr_device *device, const struct attention_case *a, bool fast)
{
    enum { COPIES = 4, BLOCK = 16, SEQS_MAX = 64, CONTEXT_MAX = 2048, STRIDE = CONTEXT_MAX / BLOCK };
    static int32_t table[SEQS_MAX * STRIDE], positions[CONTEXT_MAX], start[SEQS_MAX + 1], lengths[SEQS_MAX];
    int32_t m = a->n_seqs * a->rows, blocks = a->n_seqs * (a->context / BLOCK);
    size_t cells = (size_t)blocks * BLOCK * KV_HEADS * HEAD_DIM, size = fast ? 2 : 4;
    struct mr_kv_view kv[COPIES];
    for (int i = 0; i < COPIES; i++) {
        kv[i] = (struct mr_kv_view){.k = mr_ops_cpu()->alloc(device, cells * size), .v = mr_ops_cpu()->alloc(device, cells * size), .k_dtype = fast ? MR_F16 : MR_F32, .v_dtype = fast ? MR_F16 : MR_F32,
                                    .n_blocks = blocks, .block_tokens = BLOCK, .n_kv_heads = KV_HEADS, .head_dim = HEAD_DIM, .token_stride = HEAD_DIM,
                                    .head_stride = BLOCK * HEAD_DIM, .block_stride = BLOCK * HEAD_DIM * KV_HEADS};
        memset(kv[i].k, 1, cells * size);
        memset(kv[i].v, 1, cells * size);
    }
    for (int32_t s = 0; s < a->n_seqs; s++) {
        start[s + 1] = start[s] + a->rows;
        lengths[s] = a->context;
        for (int32_t b = 0; b < a->context / BLOCK; b++)
            table[s * STRIDE + b] = s * (a->context / BLOCK) + b;
        for (int32_t r = 0; r < a->rows; r++)
            positions[s * a->rows + r] = a->context - a->rows + r;
    }
    float *qkv = case_floats((size_t)m * (HEADS + 2 * KV_HEADS) * HEAD_DIM, -1, 1), *out = case_poison((size_t)m * HIDDEN);
    struct mr_batch batch = {.n_tokens = m, .n_seqs = a->n_seqs, .block_table_stride = STRIDE, .positions = positions, .seq_start = start,
                             .seq_length = lengths, .block_table = table};
    double best = 1e9;
    for (int run = 0; run < RUNS; run++) {
        double begin = now_s();
        for (int i = 0; i < COPIES; i++) {
            struct mr_attention_params params = {.qkv = qkv, .kv = &kv[i], .out = out, .scale = 0.125f, .n_heads = HEADS};
            if (mr_ops_cpu()->begin(device, &batch) != MR_OK || mr_ops_cpu()->attention(device, &params) != MR_OK)
                abort();
        }
        double s = (now_s() - begin) / COPIES;
        best = s < best ? s : best;
    }
    double seen = a->n_seqs * (double)a->rows * (a->context - (a->rows - 1) * 0.5), bytes = 2.0 * (double)(cells * size);
    printf("attention %-20s %9.1f us  %6.2f GB/s (%3.0f %%)  %7.1f GFLOP/s (%3.0f %%)  all layers %7.2f ms\n", a->name, best * 1e6, bytes / best * 1e-9,
           100 * bytes / best * 1e-9 / ceilings.read_gbs, 4 * HIDDEN * seen / best * 1e-9, 100 * 4 * HIDDEN * seen / best * 1e-9 / ceilings.fma_gflops,
           best * 1e3 * LAYERS);
    for (int i = 0; i < COPIES; i++)
        mr_ops_cpu()->release(device, kv[i].k), mr_ops_cpu()->release(device, kv[i].v);
    free(qkv), free(out);
}

static void bench_rows(struct mr_device *device, int32_t rows)
{
    float *in = case_floats((size_t)rows * 2 * FFN, -1, 1), *out = case_poison((size_t)rows * FFN), *gain = case_floats(HIDDEN, 0, 1);
    double glu = 1e9, norm = 1e9;
    for (int run = 0; run < 4 * RUNS; run++) {
        struct mr_glu_params glu_params = {.in = in, .out = out, .rows = rows, .n = FFN, .activation = MR_SILU};
        struct mr_norm_params norm_params = {.residual = in, .delta = out, .out = out, .gain = gain, .epsilon = 1e-5f, .rows = rows, .n = HIDDEN};
        double begin = now_s();
        mr_ops_cpu()->glu(device, &glu_params);
        double middle = now_s();
        mr_ops_cpu()->norm(device, &norm_params);
        double end = now_s();
        glu = middle - begin < glu ? middle - begin : glu;
        norm = end - middle < norm ? end - middle : norm;
    }
    printf("glu   rows %3d: %8.1f us, all layers %6.2f ms;  norm: %8.1f us, all layers %6.2f ms\n", rows, glu * 1e6, glu * 1e3 * LAYERS, norm * 1e6,
           norm * 2e3 * LAYERS);
    free(in), free(out), free(gain);
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 0;
    bool fast = argc > 2 && strcmp(argv[2], "fast") == 0;
    if (threads == 1)
        clock_used = CLOCK_THREAD_CPUTIME_ID;
    ceilings.read_gbs = mr_ceiling_read_gbs(threads);
    ceilings.fma_gflops = mr_ceiling_fma_gflops(threads);
    ceilings.int8_gops = mr_ceiling_int8_gops(threads);
    struct mr_device *device = case_device(MR_CPU_ISAS - 1, threads, fast ? MR_FAST : MR_EXACT, 512);
    printf("%s, ceilings: read %.1f GB/s, float32 FMA %.0f GFLOP/s, int8 %.0f Gop/s\n", mr_ops_cpu()->path(device), ceilings.read_gbs,
           ceilings.fma_gflops, ceilings.int8_gops);
    static const struct attention_case cases[] = {{"1 x prompt of 512", 1, 512, 512}, {"1 job at 512", 1, 1, 512}, {"16 jobs at 512", 16, 1, 512},
                                                  {"64 jobs at 512", 64, 1, 512}, {"1 job at 2048", 1, 1, 2048}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        bench_attention(device, &cases[i], fast);
    bench_rows(device, 1);
    bench_rows(device, 16);
    bench_rows(device, 512);
    if (argc > 3)
        return 0;
    bench_matmul(device, MR_Q4_1, fast);
    bench_matmul(device, MR_Q8_0, fast);
    mr_ops_cpu()->close(device);
    return 0;
}
