#include "kernels/ceiling.h"

#include "kernels/cpu/ceiling_avx2.h"
#include "kernels/cpu/device.h"
#include "kernels/threads.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { READ_RUNS = 6, COMPUTE_RUNS = 48, FMA_ROUNDS = 1 << 17, INT8_ROUNDS = 1 << 14 }; /* compute in 3 ms runs: one of them is undisturbed */
#define READ_BYTES ((size_t)256 << 20) /* of all threads: past every cache */

struct probe {
    uint8_t *memory;
    size_t bytes_a_thread;
    int sink[MR_THREADS_MAX];
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void read_item(void *context, int32_t item, int thread)
{
    struct probe *probe = context;
    probe->sink[thread] ^= mr_ceiling_read_avx2(probe->memory + (size_t)item * probe->bytes_a_thread, probe->bytes_a_thread);
}

static void fma_item(void *context, int32_t item, int thread)
{
    struct probe *probe = context;
    (void)item;
    probe->sink[thread] ^= (int)mr_ceiling_fma_avx2(FMA_ROUNDS);
}

static void int8_item(void *context, int32_t item, int thread)
{
    struct probe *probe = context;
    (void)item;
    probe->sink[thread] ^= mr_ceiling_int8_avx2(INT8_ROUNDS);
}

/* work: of one item; an item for each thread. The best of `runs`, in 10^9 a second. */
static double best_rate(struct mr_threads *threads, struct probe *probe, mr_threads_fn *fn, double work, int runs)
{
    double best = 0;
    for (int i = 0; i < runs; i++) {
        double start = now_s();
        mr_threads_run(threads, mr_threads_count(threads), fn, probe);
        double rate = work * mr_threads_count(threads) / (now_s() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

double mr_ceiling_read_gbs(int threads)
{
    struct mr_threads *pool;
    if (mr_threads_open(threads, false, &pool, NULL) != MR_OK)
        return 0;
    struct probe probe = {.bytes_a_thread = READ_BYTES / (size_t)mr_threads_count(pool) / 256 * 256};
    probe.memory = aligned_alloc(64, READ_BYTES);
    double rate = 0;
    if (probe.memory) {
        memset(probe.memory, 1, READ_BYTES); /* pages of its own, not the zero page */
        rate = best_rate(pool, &probe, read_item, (double)probe.bytes_a_thread, READ_RUNS);
    }
    free(probe.memory);
    mr_threads_close(pool);
    return rate;
}

static double rate_of(int threads, mr_threads_fn *fn, double work)
{
    struct mr_threads *pool;
    struct probe probe = {.memory = NULL};
    if (mr_threads_open(threads, false, &pool, NULL) != MR_OK)
        return 0;
    double rate = best_rate(pool, &probe, fn, work, COMPUTE_RUNS);
    mr_threads_close(pool);
    return rate;
}

double mr_ceiling_fma_gflops(int threads)
{
    return mr_cpu_isa_best() == MR_CPU_PLAIN ? 0 : rate_of(threads, fma_item, 160.0 * FMA_ROUNDS);
}

double mr_ceiling_int8_gops(int threads)
{
    return mr_cpu_isa_best() == MR_CPU_PLAIN ? 0 : rate_of(threads, int8_item, 6.0 * 8 * 64 * INT8_ROUNDS);
}
