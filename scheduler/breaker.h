/* A circuit breaker: one for each model and each reply topic. While what lies behind it keeps failing, jobs for it are not
 * started: they wait or are told so, instead of each finding out by a timeout. Pure; the owner's clock and the owner's thread.
 *
 * Closed: calls pass; MR_BREAKER_FAILURES failures within MR_BREAKER_WINDOW_NS open it. Open: nothing passes for a time that
 * begins with MR_BREAKER_OPEN_NS and doubles with every reopening up to MR_BREAKER_OPEN_MOST_NS. Half open: one call at a
 * time passes; MR_BREAKER_PROBES successes close it, one failure opens it again. */
#ifndef MR_SCHEDULER_BREAKER_H
#define MR_SCHEDULER_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

enum { MR_BREAKER_FAILURES = 5, MR_BREAKER_PROBES = 2 };
#define MR_BREAKER_WINDOW_NS INT64_C(10000000000)
#define MR_BREAKER_OPEN_NS INT64_C(1000000000)
#define MR_BREAKER_OPEN_MOST_NS INT64_C(60000000000)
#define MR_BREAKER_PROBE_NS INT64_C(30000000000) /* a probe that is not heard of again for so long is taken for failed */

enum mr_breaker_state { MR_BREAKER_CLOSED, MR_BREAKER_OPEN, MR_BREAKER_HALF_OPEN };

/* All zero is closed. */
struct mr_breaker {
    enum mr_breaker_state state;
    int32_t failures;      /* in the window that began with the first of them */
    int32_t successes;     /* of probes */
    int32_t reopenings;    /* since it was last closed */
    bool probing;          /* half open: a call is out */
    int64_t since_ns;      /* closed: begin of the window; half open: the probe's start */
    int64_t until_ns;      /* open: when it is half open */
};

/* May a call be made now? true while half open counts as the probe: its outcome must be told. */
bool mr_breaker_allow(struct mr_breaker *breaker, int64_t now_ns);
void mr_breaker_succeeded(struct mr_breaker *breaker);
void mr_breaker_failed(struct mr_breaker *breaker, int64_t now_ns);
/* For a retry_after: 0 when a call may be made now. */
int64_t mr_breaker_wait_ns(const struct mr_breaker *breaker, int64_t now_ns);
const char *mr_breaker_name(enum mr_breaker_state state); /* "closed", "open", "half-open" */

#endif
