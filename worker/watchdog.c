#include "worker/watchdog.h"

#include "base/check.h"
#include "base/log.h"

void mr_watchdog_init(struct mr_watchdog *watchdog, int64_t hung_ns, struct mr_wake *log_wake, int64_t now_ns)
{
    *watchdog = (struct mr_watchdog){.hung_ns = hung_ns, .log_wake = log_wake, .looked_ns = now_ns, .wake = {-1}};
    atomic_store(&watchdog->stalled, MR_WATCHED_NONE);
    atomic_store(&watchdog->hung, MR_WATCHED_NONE);
}

const char *mr_watched_name(enum mr_watched who)
{
    static const char *const names[] = {"the log thread", "the engine", "admission", "nobody"};
    return names[who];
}

enum mr_watched mr_watchdog_stalled(const struct mr_watchdog *watchdog) { return (enum mr_watched)atomic_load(&watchdog->stalled); }
enum mr_watched mr_watchdog_hung(const struct mr_watchdog *watchdog) { return (enum mr_watched)atomic_load(&watchdog->hung); }

static enum mr_watched find_still(const struct mr_watchdog *watchdog, int64_t limit_ns)
{
    for (int who = 0; who < MR_WATCHED_COUNT; who++)
        if (watchdog->still_ns[who] >= limit_ns + (who == MR_WATCHED_LOG ? MR_WATCHDOG_BROKER_NS : 0))
            return (enum mr_watched)who;
    return MR_WATCHED_NONE;
}

bool mr_watchdog_look(struct mr_watchdog *watchdog, int64_t now_ns)
{
    int64_t passed_ns = now_ns - watchdog->looked_ns;
    if (passed_ns > 2 * MR_WATCHDOG_LOOK_NS)
        passed_ns = 2 * MR_WATCHDOG_LOOK_NS; /* the process itself stood still */
    watchdog->looked_ns = now_ns;
    for (int who = 0; who < MR_WATCHED_COUNT; who++) {
        uint64_t beats = atomic_load(&watchdog->beats[who]);
        watchdog->still_ns[who] = beats == watchdog->seen[who] ? watchdog->still_ns[who] + passed_ns : 0;
        watchdog->seen[who] = beats;
    }
    enum mr_watched stalled = find_still(watchdog, watchdog->hung_ns / 3), hung = find_still(watchdog, watchdog->hung_ns);
    if (stalled != mr_watchdog_stalled(watchdog))
        mr_log(MR_LOG_WARN, "watchdog.stalled", "who=\"%s\"", mr_watched_name(stalled));
    atomic_store(&watchdog->stalled, stalled);
    if (hung == MR_WATCHED_LOG)
        return false;
    if (mr_watchdog_hung(watchdog) != MR_WATCHED_NONE) { /* once said, it stays: the log thread is leaving */
        watchdog->leaving_ns += passed_ns;
        return watchdog->leaving_ns < MR_WATCHDOG_LEAVE_NS;
    }
    if (hung != MR_WATCHED_NONE) {
        atomic_store(&watchdog->hung, hung);
        mr_log(MR_LOG_ERROR, "watchdog.hung", "who=\"%s\"", mr_watched_name(hung));
        mr_wake_signal(watchdog->log_wake);
    }
    return true;
}

static void *watchdog_main(void *self)
{
    struct mr_watchdog *watchdog = self;
    struct mr_clock clock = mr_clock_system();
    while (!atomic_load(&watchdog->stop)) {
        CHECK(mr_watchdog_look(watchdog, mr_clock_ns(&clock))); /* the log thread hangs: nobody is left who could leave in order */
        mr_wake_wait(&watchdog->wake, MR_WATCHDOG_LOOK_NS);
    }
    return NULL;
}

enum mr_status mr_watchdog_start(struct mr_watchdog *watchdog, struct mr_err *err)
{
    watchdog->runs = mr_wake_open(&watchdog->wake) && pthread_create(&watchdog->thread, NULL, watchdog_main, watchdog) == 0;
    return watchdog->runs ? MR_OK : mr_err_set(err, MR_ERR_LIMIT, "no thread or descriptor is left for the watchdog");
}

void mr_watchdog_stop(struct mr_watchdog *watchdog)
{
    if (watchdog->runs) {
        atomic_store(&watchdog->stop, true);
        mr_wake_signal(&watchdog->wake);
        pthread_join(watchdog->thread, NULL);
        watchdog->runs = false;
    }
    mr_wake_close(&watchdog->wake);
}
