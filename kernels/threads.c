/* Fork and join. This file owns the helper threads and the one job they share.
 *
 * 1. Every thread has a share of a run's items, in order: one word holds the run's number, and the first and the end of the units that
 *    nobody has claimed (a unit is one item, or several where they are very many). Its owner takes from the front, so that what it reads
 *    goes on where it was; a thread whose share is empty takes from the back of another's. A claim is one compare-and-swap (acquire),
 *    which fails when the run is another: whoever holds a claim may read the job's fields, of which each share has a copy beside its word.
 * 2. The word is published (release) after the copy. The caller returns from run only when `done` counts every unit, so no copy is written
 *    while a claim is held. It waits for units that are being worked on, never for a helper that has none: one that has lost its core
 *    costs nothing.
 * 3. `resting` is changed by the caller alone. A helper sleeps only if it is set and no new run is there, both seen under the lock, and
 *    run() wakes under the lock when resting was set: no wake-up is lost.
 * Thread: run, rest, close from one thread. Rejected: one counter that all claim from (two transfers of its line an item: 5 % of a step of one
 * job), futex by hand (a condition variable is as fast once asleep), OpenMP (its threads spin or sleep by a global setting, not by our step). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* affinity */
#endif
#include "kernels/threads.h"

#include "base/check.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { UNITS_MAX = UINT16_MAX };

struct job {
    mr_threads_fn *fn;
    void *context;
    int32_t n_items, unit; /* items a unit has */
};

struct mr_threads {
    _Alignas(64) atomic_bool resting; /* written by the caller, read by helpers */
    atomic_bool closing;
    _Alignas(64) atomic_int done;     /* units of the run that are finished */
    _Alignas(64) pthread_mutex_t lock;
    pthread_cond_t wake;
    int n_threads, n_started;
    unsigned run; /* the caller's */
    struct share {
        _Alignas(64) atomic_ullong units; /* run << 32 | end << 16 | first */
        struct job job;
        struct mr_threads *threads;
        pthread_t id;
        int index;
    } shares[];
};

static inline void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline unsigned run_of(unsigned long long units) { return (unsigned)(units >> 32); }
static inline int32_t first_of(unsigned long long units) { return units & 0xffff; }
static inline int32_t end_of(unsigned long long units) { return units >> 16 & 0xffff; }

/* Takes the first unit of the caller's own share, or a quarter of what another's still has, from its back. The number of units: 0 when none is
 * left of this run. */
static int32_t claim(struct share *share, unsigned run, bool own, int32_t *first)
{
    unsigned long long units = atomic_load_explicit(&share->units, memory_order_acquire);
    while (run_of(units) == run && first_of(units) < end_of(units)) {
        int32_t n = own ? 1 : (end_of(units) - first_of(units) + 3) / 4;
        unsigned long long left = own ? units + 1 : units - ((unsigned long long)n << 16);
        if (!atomic_compare_exchange_weak_explicit(&share->units, &units, left, memory_order_acquire, memory_order_acquire))
            continue;
        *first = own ? first_of(units) : end_of(units) - n;
        return n;
    }
    return 0;
}

static void do_units(const struct job *job, int32_t first, int32_t n, int thread)
{
    int64_t end = (int64_t)(first + n) * job->unit;
    for (int64_t item = (int64_t)first * job->unit; item < end && item < job->n_items; item++)
        job->fn(job->context, (int32_t)item, thread);
}

/* Claims and does units of the run, if it is still `run`: its own, then what others have left. */
static void work(struct mr_threads *threads, int thread, unsigned run)
{
    int32_t done = 0, first, n;
    for (int i = 0; i < threads->n_threads; i++) {
        struct share *share = &threads->shares[(thread + i) % threads->n_threads];
        while ((n = claim(share, run, i == 0, &first)) > 0) {
            do_units(&threads->shares[thread].job, first, n, thread);
            done += n;
        }
    }
    if (done)
        atomic_fetch_add_explicit(&threads->done, done, memory_order_release);
}

/* Returns the number of the next run, or `seen` when the pool closes. */
static unsigned wait_for_run(struct mr_threads *threads, const struct share *own, unsigned seen)
{
    int64_t spin_until_ns = now_ns() + MR_THREADS_SPIN_US * 1000;
    for (;;) {
        for (int i = 0; i < 128; i++) {
            unsigned run = run_of(atomic_load_explicit(&own->units, memory_order_acquire));
            if (run != seen)
                return run;
            pause_briefly();
        }
        if (now_ns() < spin_until_ns)
            continue;
        if (!atomic_load_explicit(&threads->resting, memory_order_relaxed)) {
            sched_yield();
            continue;
        }
        pthread_mutex_lock(&threads->lock);
        while (run_of(atomic_load(&own->units)) == seen && atomic_load(&threads->resting) && !atomic_load(&threads->closing))
            pthread_cond_wait(&threads->wake, &threads->lock);
        pthread_mutex_unlock(&threads->lock);
        if (atomic_load(&threads->closing))
            return seen;
        spin_until_ns = now_ns() + MR_THREADS_SPIN_US * 1000;
    }
}

static void *helper_main(void *argument)
{
    struct share *own = argument;
    unsigned seen = 0;
    for (;;) {
        unsigned run = wait_for_run(own->threads, own, seen);
        if (run == seen)
            return NULL;
        seen = run;
        work(own->threads, own->index, run);
    }
}

static void pin_to_nth_core(pthread_t id, int n)
{
    cpu_set_t usable, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof usable, &usable) != 0)
        return;
    int count = CPU_COUNT(&usable);
    for (int core = 0, left = count ? n % count : 0; core < CPU_SETSIZE; core++) {
        if (CPU_ISSET(core, &usable) && left-- == 0) {
            CPU_SET(core, &one);
            pthread_setaffinity_np(id, sizeof one, &one); /* a refusal leaves the thread where it is */
            return;
        }
    }
}

static int usable_cores(void)
{
    cpu_set_t usable;
    int count = sched_getaffinity(0, sizeof usable, &usable) == 0 ? CPU_COUNT(&usable) : 1;
    return count < MR_THREADS_MAX ? count : MR_THREADS_MAX;
}

enum mr_status mr_threads_open(int n_threads, bool pin, struct mr_threads **out, struct mr_err *err)
{
    if (n_threads < 0 || n_threads > MR_THREADS_MAX)
        return mr_err_set(err, MR_ERR_LIMIT, "%d threads: from 1 to %d are possible (0: one a core)", n_threads, MR_THREADS_MAX);
    if (n_threads == 0)
        n_threads = usable_cores();
    size_t bytes = sizeof(struct mr_threads) + (size_t)n_threads * sizeof(struct share);
    struct mr_threads *threads = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!threads)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for %d threads", n_threads);
    memset(threads, 0, bytes);
    threads->n_threads = n_threads;
    threads->resting = true;
    pthread_mutex_init(&threads->lock, NULL);
    pthread_cond_init(&threads->wake, NULL);
    for (int i = 1; i < n_threads; i++) {
        threads->shares[i].threads = threads;
        threads->shares[i].index = i;
        int code = pthread_create(&threads->shares[i].id, NULL, helper_main, &threads->shares[i]);
        if (code != 0) {
            mr_threads_close(threads);
            return mr_err_set(err, MR_ERR_IO, "cannot start thread %d of %d: %s", i, n_threads, strerror(code));
        }
        threads->n_started++;
        if (pin)
            pin_to_nth_core(threads->shares[i].id, i);
    }
    *out = threads;
    return MR_OK;
}

void mr_threads_close(struct mr_threads *threads)
{
    if (!threads)
        return;
    pthread_mutex_lock(&threads->lock);
    atomic_store(&threads->closing, true);
    atomic_store(&threads->resting, true);
    pthread_cond_broadcast(&threads->wake);
    pthread_mutex_unlock(&threads->lock);
    for (int i = 1; i <= threads->n_started; i++)
        pthread_join(threads->shares[i].id, NULL);
    pthread_cond_destroy(&threads->wake);
    pthread_mutex_destroy(&threads->lock);
    free(threads);
}

int mr_threads_count(const struct mr_threads *threads)
{
    return threads->n_threads;
}

static void wake_helpers(struct mr_threads *threads)
{
    pthread_mutex_lock(&threads->lock);
    atomic_store(&threads->resting, false);
    pthread_cond_broadcast(&threads->wake);
    pthread_mutex_unlock(&threads->lock);
}

void mr_threads_run(struct mr_threads *threads, int32_t n_items, mr_threads_fn *fn, void *context)
{
    if (threads->n_threads == 1 || n_items <= 1) {
        for (int32_t i = 0; i < n_items; i++)
            fn(context, i, 0);
        return;
    }
    int32_t unit = (n_items - 1) / UNITS_MAX + 1, n_units = (n_items - 1) / unit + 1;
    unsigned run = ++threads->run;
    atomic_store_explicit(&threads->done, 0, memory_order_relaxed);
    for (int t = threads->n_threads; t-- > 0;) {
        int32_t first = (int32_t)((int64_t)n_units * t / threads->n_threads), end = (int32_t)((int64_t)n_units * (t + 1) / threads->n_threads);
        threads->shares[t].job = (struct job){fn, context, n_items, unit};
        atomic_store_explicit(&threads->shares[t].units, (unsigned long long)run << 32 | (unsigned)end << 16 | (unsigned)first, memory_order_release);
    }
    if (atomic_load_explicit(&threads->resting, memory_order_relaxed))
        wake_helpers(threads);
    work(threads, 0, run);
    int64_t spin_until_ns = 0;
    for (int spins = 1; atomic_load_explicit(&threads->done, memory_order_acquire) != n_units; spins++) {
        pause_briefly();
        if (spins % 1024 == 0) { /* a helper has lost its core in the middle of an item: give it ours */
            int64_t now = now_ns();
            if (spin_until_ns == 0)
                spin_until_ns = now + MR_THREADS_SPIN_US * 1000;
            else if (now > spin_until_ns)
                sched_yield();
        }
    }
}

void mr_threads_rest(struct mr_threads *threads)
{
    atomic_store_explicit(&threads->resting, true, memory_order_relaxed);
}
