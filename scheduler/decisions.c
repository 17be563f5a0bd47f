#include "scheduler/decisions.h"

#include <stdlib.h>

bool decisions_open(struct decisions *decisions, int32_t tenants)
{
    *decisions = (struct decisions){.ring = calloc(DECISIONS, sizeof *decisions->ring),
                                    .tenant_now = calloc((size_t)tenants, sizeof *decisions->tenant_now)};
    return decisions->ring && decisions->tenant_now; /* MR_WAIT_TURN is 0 */
}

void decisions_close(struct decisions *decisions)
{
    free(decisions->ring);
    free(decisions->tenant_now);
}

void decisions_class(struct decisions *decisions, int class, enum mr_sched_wait wait, int64_t now_ns)
{
    if (decisions->class_now[class] == (int8_t)wait)
        return;
    decisions->class_now[class] = (int8_t)wait;
    decisions->ring[decisions->n++ % DECISIONS] = (struct decision){now_ns, -1, (int8_t)class, (int8_t)wait};
}

void decisions_tenant(struct decisions *decisions, uint32_t tenant, enum mr_sched_wait wait, int64_t now_ns)
{
    if (decisions->tenant_now[tenant] == (int8_t)wait)
        return;
    decisions->tenant_now[tenant] = (int8_t)wait;
    decisions->ring[decisions->n++ % DECISIONS] = (struct decision){now_ns, (int32_t)tenant, -1, (int8_t)wait};
}

/* Walks back from the newest entry: the state before an entry is what an older entry set, or unknown. */
void decisions_sum(const struct decisions *decisions, int class, uint32_t tenant, int64_t from_ns, int64_t to_ns,
                   int64_t waited_ns[MR_WAIT_COUNT])
{
    int class_wait = MR_WAIT_TURN, tenant_wait = MR_WAIT_TURN;
    uint64_t first = decisions->n > DECISIONS ? decisions->n - DECISIONS : 0;
    int64_t at = from_ns;
    for (int i = 0; i < MR_WAIT_COUNT; i++)
        waited_ns[i] = 0;
    if (to_ns <= from_ns)
        return;
    if (first > 0 && decisions->ring[first % DECISIONS].at_ns > at) {
        int64_t known = decisions->ring[first % DECISIONS].at_ns;
        waited_ns[MR_WAIT_FORGOTTEN] = (known < to_ns ? known : to_ns) - at;
        at = known;
    }
    for (uint64_t i = first; i < decisions->n; i++) {
        const struct decision *d = &decisions->ring[i % DECISIONS];
        bool mine = d->tenant >= 0 ? (uint32_t)d->tenant == tenant : d->class == class;
        if (!mine || d->at_ns >= to_ns)
            continue;
        if (d->at_ns > at) {
            waited_ns[tenant_wait != MR_WAIT_TURN ? tenant_wait : class_wait] += d->at_ns - at;
            at = d->at_ns;
        }
        *(d->tenant >= 0 ? &tenant_wait : &class_wait) = d->wait;
    }
    if (to_ns > at)
        waited_ns[tenant_wait != MR_WAIT_TURN ? tenant_wait : class_wait] += to_ns - at;
}

const char *mr_sched_wait_name(enum mr_sched_wait wait)
{
    static const char *const names[] = {"turn", "budget", "blocks", "slots", "reserved", "cap",
                                        "rate", "concurrency", "share", "group", "forgotten"};
    _Static_assert(sizeof names / sizeof *names == MR_WAIT_COUNT, "one name a wait");
    return names[wait];
}
