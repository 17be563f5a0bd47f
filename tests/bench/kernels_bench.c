/* Times every CPU op on the shapes of SmolLM2-135M and shows each against the ceiling measured in the same run.
 * Usage: kernels_bench [threads [exact|fast]]. */
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
            struct mr_matmul_params params = {.weight = weights[i], .in = in, .out = out, .rows = rows, .out_f32 = true};
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
        struct mr_weight_part part = {dtype, data, shapes[s].n};
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

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 0;
    bool fast = argc > 2 && strcmp(argv[2], "fast") == 0;
    if (threads == 1)
        clock_used = CLOCK_THREAD_CPUTIME_ID;
    ceilings.read_gbs = mr_ceiling_read_gbs(threads);
    ceilings.fma_gflops = mr_ceiling_fma_gflops(threads);
    ceilings.int8_gops = mr_ceiling_int8_gops(threads);
    struct mr_device *device = case_device(MR_CPU_AVX2, threads, fast ? MR_FAST : MR_EXACT, 512);
    printf("%s, ceilings: read %.1f GB/s, float32 FMA %.0f GFLOP/s, int8 %.0f Gop/s\n", mr_ops_cpu()->path(device), ceilings.read_gbs,
           ceilings.fma_gflops, ceilings.int8_gops);
    bench_matmul(device, MR_Q4_1, fast);
    bench_matmul(device, MR_Q8_0, fast);
    mr_ops_cpu()->close(device);
    return 0;
}
