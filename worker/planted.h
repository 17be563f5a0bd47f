/* Faults that a test plants in a worker, through the environment variable MILLRACE_PLANTED: a list, separated by commas, of
 *
 *     abort:NAME   the engine thread aborts when it takes a job whose tenant/id starts with NAME (a poison job)
 *     hang:NAME    it never returns from taking such a job
 *     step:MS      every step of the engine takes MS milliseconds more (a model larger than the test's)
 *
 * Without the variable nothing here does anything. Read once at start; the list lives as long as the process. */
#ifndef MR_WORKER_PLANTED_H
#define MR_WORKER_PLANTED_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define MR_PLANTED_VARIABLE "MILLRACE_PLANTED"

struct mr_planted {
    const char *list; /* NULL: nothing is planted */
    int64_t step_ms;
};

/* false: the list has an entry that is none of the above. list NULL is fine. */
bool mr_planted_parse(const char *list, struct mr_planted *out);
/* Whether the list has KIND ("abort", "hang") for a job of this name. */
bool mr_planted_for(const struct mr_planted *planted, const char *kind, struct mr_str name);
/* The engine takes a job: returns, aborts or hangs. */
void mr_planted_meet(const struct mr_planted *planted, struct mr_str name);
/* The engine has made a step. */
void mr_planted_step(const struct mr_planted *planted);

#endif
