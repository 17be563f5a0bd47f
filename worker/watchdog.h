/* The watchdog: sees a thread that hangs, so that its jobs go on elsewhere instead of waiting for it.
 *
 *     each thread   mr_watchdog_beat in every round, and while it waits for room
 *     watchdog      looks ten times a second: no beat for a third of hung_ns: stalled, /healthz says no; for hung_ns: hung
 *     log thread    sees that another thread is hung, leaves the group (without a YIELD: the job may be to blame) and returns
 *
 * Where the log thread is the one that hangs, or has not left MR_WATCHDOG_LEAVE_NS later, the process aborts. It has more time: inside
 * a rebalance it waits for brokers, and a broker that is away is no reason to end. Time in which the
 * whole process stood still (stopped, frozen) counts for nobody: a look adds at most twice its period. */
#ifndef MR_WORKER_WATCHDOG_H
#define MR_WORKER_WATCHDOG_H

#include "base/clock.h"
#include "base/ring.h"
#include "base/status.h"

#include <pthread.h>
#include <stdatomic.h>

#define MR_WATCHDOG_LOOK_NS (100 * MR_NS_PER_MS)
#define MR_WATCHDOG_LEAVE_NS (10 * MR_NS_PER_S)
#define MR_WATCHDOG_BROKER_NS (120 * MR_NS_PER_S) /* what the log thread has on top of everybody's limit */

enum mr_watched { MR_WATCHED_LOG, MR_WATCHED_ENGINE, MR_WATCHED_ADMISSION, MR_WATCHED_COUNT, MR_WATCHED_NONE = MR_WATCHED_COUNT };

struct mr_watchdog {
    _Atomic uint64_t beats[MR_WATCHED_COUNT];
    _Atomic int stalled, hung;        /* enum mr_watched, MR_WATCHED_NONE: nobody */
    int64_t hung_ns;
    struct mr_wake *log_wake;         /* of the thread that must leave; borrowed */
    /* the watchdog's */
    uint64_t seen[MR_WATCHED_COUNT];
    int64_t still_ns[MR_WATCHED_COUNT];
    int64_t looked_ns, leaving_ns;    /* of the last look; since somebody is hung */
    struct mr_wake wake;
    pthread_t thread;
    bool runs;
    atomic_bool stop;
};

/* hung_ns counts from now. */
void mr_watchdog_init(struct mr_watchdog *watchdog, int64_t hung_ns, struct mr_wake *log_wake, int64_t now_ns);
/* MR_ERR_LIMIT: no thread or descriptor is left. */
enum mr_status mr_watchdog_start(struct mr_watchdog *watchdog, struct mr_err *err);
void mr_watchdog_stop(struct mr_watchdog *watchdog); /* fine when it was never started */

static inline void mr_watchdog_beat(struct mr_watchdog *watchdog, enum mr_watched who)
{
    atomic_fetch_add_explicit(&watchdog->beats[who], 1, memory_order_relaxed);
}

const char *mr_watched_name(enum mr_watched who);
enum mr_watched mr_watchdog_stalled(const struct mr_watchdog *watchdog); /* any thread */
enum mr_watched mr_watchdog_hung(const struct mr_watchdog *watchdog);
/* One round of the watchdog's thread. false: the process cannot be left in order any more. */
bool mr_watchdog_look(struct mr_watchdog *watchdog, int64_t now_ns);

#endif
