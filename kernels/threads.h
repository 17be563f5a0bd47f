/* Helper threads of the CPU device: fork and join round one operation, spinning while a step is in flight.
 *
 * One thread (the engine's) calls run and rest; it takes part in the work itself. Helpers spin between two runs of a step
 * (a fork and join is 0.5 us spun, 86 us slept), give the core away after 200 us without work, and sleep then
 * once `rest` was called: the next step, a few microseconds of the host's work later, finds them awake. */
#ifndef MR_KERNELS_THREADS_H
#define MR_KERNELS_THREADS_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mr_threads;

enum { MR_THREADS_MAX = 256, MR_THREADS_SPIN_US = 200 };

/* item: 0 .. n_items - 1, each exactly once, in any order; thread: 0 .. n_threads - 1, for scratch. */
typedef void mr_threads_fn(void *context, int32_t item, int thread);

/* n_threads: the caller's included, 1 .. MR_THREADS_MAX; 0: one a usable core. pin: helper i goes to the i-th usable core. */
enum mr_status mr_threads_open(int n_threads, bool pin, struct mr_threads **out, struct mr_err *err);
void mr_threads_close(struct mr_threads *threads); /* NULL is allowed */
int mr_threads_count(const struct mr_threads *threads);
/* Runs fn for every item on all threads and returns when all are done. A thread begins with its part of the items, in order, and takes from
 * another's end when it has none left: a claim is some 20 ns, so an item may be a microsecond's work. */
void mr_threads_run(struct mr_threads *threads, int32_t n_items, mr_threads_fn *fn, void *context);
/* The step is over: helpers sleep, when they have spun for a while, until the next run. */
void mr_threads_rest(struct mr_threads *threads);

#ifdef __cplusplus
}
#endif

#endif
