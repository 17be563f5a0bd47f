/* Fork and join. This file owns the helper threads and the one job they share.
 *
 * 1. `ticket` holds the run's number (high half) and the items of it that nobody has claimed (low half). It is published (release)
 *    after fn, context and n_items are written. An item is claimed by lowering the ticket in one compare-and-swap (acquire), which
 *    fails when the run is another: whoever holds a claim may read the job's fields.
 * 2. The caller returns from run only when `done` counts every item, so the fields are never written while a claim is held. It
 *    waits for items that are being worked on, never for a helper that has none: one that has lost its core costs nothing.
 * 3. `sleepers` is changed and read under the lock; a helper sleeps only if `resting` is set and no new run is there, both seen under
 *    the lock, and run() wakes under the lock when resting was set: no wake-up is lost.
 * Thread: run, rest, close from one thread. Rejected: futex by hand (a condition variable is as fast once asleep),
 * OpenMP (its threads spin or sleep by a global setting, not by our step). */
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

struct mr_threads {
    /* written by the caller, read by helpers; apart from what helpers write */
    _Alignas(64) atomic_bool resting;
    atomic_bool closing;
    mr_threads_fn *fn;
    void *context;
    int32_t n_items;
    _Alignas(64) atomic_ullong ticket; /* run << 32 | unclaimed items */
    _Alignas(64) atomic_int done;      /* items of the run that are finished */
    _Alignas(64) pthread_mutex_t lock;
    pthread_cond_t wake;
    int n_threads, n_started;
    struct helper {
        struct mr_threads *threads;
        pthread_t id;
        int index;
    } helpers[];
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

static inline unsigned run_of(unsigned long long ticket) { return (unsigned)(ticket >> 32); }

/* Claims and does items of the run that stands in the ticket until none is left, if it is still `run`. */
static void work(struct mr_threads *threads, int thread, unsigned run)
{
    unsigned long long ticket = atomic_load_explicit(&threads->ticket, memory_order_acquire);
    while (run_of(ticket) == run && (uint32_t)ticket > 0) {
        if (!atomic_compare_exchange_weak_explicit(&threads->ticket, &ticket, ticket - 1, memory_order_acquire, memory_order_acquire))
            continue;
        threads->fn(threads->context, threads->n_items - (int32_t)(uint32_t)ticket, thread);
        atomic_fetch_add_explicit(&threads->done, 1, memory_order_release);
        ticket--;
    }
}

/* Returns the number of the next run, or `seen` when the pool closes. */
static unsigned wait_for_run(struct mr_threads *threads, unsigned seen)
{
    int64_t spin_until_ns = now_ns() + MR_THREADS_SPIN_US * 1000;
    for (;;) {
        for (int i = 0; i < 128; i++) {
            unsigned run = run_of(atomic_load_explicit(&threads->ticket, memory_order_acquire));
            if (run != seen)
                return run;
            pause_briefly();
        }
        if (atomic_load_explicit(&threads->resting, memory_order_relaxed)) {
            pthread_mutex_lock(&threads->lock);
            while (run_of(atomic_load(&threads->ticket)) == seen && atomic_load(&threads->resting) && !atomic_load(&threads->closing))
                pthread_cond_wait(&threads->wake, &threads->lock);
            pthread_mutex_unlock(&threads->lock);
            if (atomic_load(&threads->closing))
                return seen;
            spin_until_ns = now_ns() + MR_THREADS_SPIN_US * 1000;
        } else if (now_ns() > spin_until_ns) {
            sched_yield();
        }
    }
}

static void *helper_main(void *argument)
{
    struct helper *helper = argument;
    struct mr_threads *threads = helper->threads;
    unsigned seen = 0;
    for (;;) {
        unsigned run = wait_for_run(threads, seen);
        if (run == seen)
            return NULL;
        seen = run;
        work(threads, helper->index, run);
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
    size_t bytes = sizeof(struct mr_threads) + (size_t)n_threads * sizeof(struct helper);
    struct mr_threads *threads = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!threads)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for %d threads", n_threads);
    memset(threads, 0, bytes);
    threads->n_threads = n_threads;
    threads->resting = true;
    pthread_mutex_init(&threads->lock, NULL);
    pthread_cond_init(&threads->wake, NULL);
    for (int i = 1; i < n_threads; i++) {
        threads->helpers[i] = (struct helper){.threads = threads, .index = i};
        int code = pthread_create(&threads->helpers[i].id, NULL, helper_main, &threads->helpers[i]);
        if (code != 0) {
            mr_threads_close(threads);
            return mr_err_set(err, MR_ERR_IO, "cannot start thread %d of %d: %s", i, n_threads, strerror(code));
        }
        threads->n_started++;
        if (pin)
            pin_to_nth_core(threads->helpers[i].id, i);
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
        pthread_join(threads->helpers[i].id, NULL);
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
    threads->fn = fn;
    threads->context = context;
    threads->n_items = n_items;
    atomic_store_explicit(&threads->done, 0, memory_order_relaxed);
    unsigned run = run_of(atomic_load_explicit(&threads->ticket, memory_order_relaxed)) + 1;
    atomic_store_explicit(&threads->ticket, (unsigned long long)run << 32 | (uint32_t)n_items, memory_order_release);
    if (atomic_load_explicit(&threads->resting, memory_order_relaxed))
        wake_helpers(threads);
    work(threads, 0, run);
    int64_t spin_until_ns = 0;
    for (int spins = 1; atomic_load_explicit(&threads->done, memory_order_acquire) != n_items; spins++) {
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
