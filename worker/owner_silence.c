/* Whether the log is silent, and the engine's rest while it is.
 *
 * A worker that is cut off learns that others have its jobs only when its session is over, or when the link is back. What it makes
 * until then is made twice. So it keeps an eye on its own records: where one that it appended MR_OWNER_SILENCE_NS ago has not come
 * back in the tail, and none younger has either, nobody is there who listens, and the engine makes no more steps until one comes.
 * What it has made stays, and so does its KV: where the log was only slow, nothing is made again.
 *
 * 1. Where no broker can be reached (TROUBLE), everything on its way is old at once: a cut that shows itself costs no wait.
 * 2. Silence is of the whole worker: while one partition's records come back the engine works for all of them, also for those whose
 *    leader is away, because a worker that is heard loses no partition.
 * 3. It ends by itself: a record that is on its way is shown, or its run begins anew (a delivery error), is parked or gone.
 * 4. An assignment, and whatever a tail shows before it has caught up, is as good as a record of its own.
 *
 * Rejected: counting unseen tokens (a bound on them is a bound on speed by the broker's round trip); dropping the runs from the engine
 * (a broker's restart would then cost every prefill again). */
#include "worker/owner_state.h"

#include "base/log.h"

void owner_silence_shown(struct mr_owner *owner, int64_t sent_ns)
{
    if (sent_ns > owner->shown_ns)
        owner->shown_ns = sent_ns;
}

void owner_silence_doubt(struct mr_owner *owner) { owner->doubt_ns = owner->now_ns; }

/* When the oldest record that the tail must still show was appended; INT64_MAX: there is none. Behind a terminal the engine has nothing to
 * make. Before its barrier a run waits for its START; where it has none in force (a head start, a question, a back-off), for the log. */
static int64_t oldest_ns(const struct mr_run *run)
{
    enum mr_partition_state partition = run->partition->state;
    if (partition != MR_PARTITION_OPEN && partition != MR_PARTITION_TAILING)
        return INT64_MAX;
    if (run->state == MR_RUN_RUNNING)
        return run->chunks && run->chunks->seq < run->sent_seq ? run->chunks->sent_ns : INT64_MAX;
    bool works = run->engine == MR_RUN_ENGINE_LIVE && run->state <= MR_RUN_ASKING;
    return works || run->state == MR_RUN_STARTING ? run->start_ns : INT64_MAX;
}

void owner_silence_tick(struct mr_owner *owner)
{
    int64_t oldest = INT64_MAX, limit_ns = owner->now_ns - MR_OWNER_SILENCE_NS;
    if (limit_ns < owner->doubt_ns)
        limit_ns = owner->doubt_ns;
    for (int32_t i = 0; i < owner->n_slots; i++) {
        int64_t sent_ns = owner->slots[i].run ? oldest_ns(owner->slots[i].run) : INT64_MAX;
        oldest = sent_ns < oldest ? sent_ns : oldest;
    }
    bool silent = oldest <= limit_ns && owner->shown_ns <= limit_ns;
    if (silent == owner->silent)
        return;
    owner->silent = silent;
    owner->stats.silences += silent;
    owner_act(owner, MR_OWNER_DO_REST)->on = silent;
    mr_log(MR_LOG_INFO, "log.silent", "on=%d", silent);
}
