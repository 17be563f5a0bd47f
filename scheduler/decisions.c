#include "scheduler/decisions.h"

#include <stdlib.h>
#include <string.h>

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

/* The states in [from, to), one after the other. What was before the oldest entry that is still held is forgotten. */
struct walk {
    const struct decisions *decisions;
    const struct decisions_query *query;
    uint64_t next;
    int64_t at_ns;
    int class_wait, tenant_wait;
    bool forgotten;
};

static struct walk walk_begin(const struct decisions *decisions, const struct decisions_query *query)
{
    uint64_t first = decisions->n > DECISIONS ? decisions->n - DECISIONS : 0;
    return (struct walk){decisions, query, first, query->from_ns, MR_WAIT_TURN, MR_WAIT_TURN, first > 0};
}

/* false: over. Spans may be empty and may repeat a state. */
static bool walk_next(struct walk *walk, struct mr_sched_span *span)
{
    const struct decisions_query *query = walk->query;
    if (walk->at_ns >= query->to_ns)
        return false;
    int wait = walk->forgotten ? MR_WAIT_FORGOTTEN : walk->tenant_wait != MR_WAIT_TURN ? walk->tenant_wait : walk->class_wait;
    const struct decision *d = walk->next < walk->decisions->n ? &walk->decisions->ring[walk->next % DECISIONS] : NULL;
    int64_t end = !d || d->at_ns > query->to_ns ? query->to_ns : d->at_ns;
    end = end > walk->at_ns ? end : walk->at_ns;
    *span = (struct mr_sched_span){walk->at_ns, end, (enum mr_sched_wait)wait};
    walk->at_ns = d ? end : query->to_ns;
    walk->next++;
    walk->forgotten = false;
    if (d && d->tenant >= 0 && (uint32_t)d->tenant == query->tenant)
        walk->tenant_wait = d->wait;
    else if (d && d->tenant < 0 && d->class == query->class)
        walk->class_wait = d->wait;
    return true;
}

void decisions_sum(const struct decisions *decisions, const struct decisions_query *query, int64_t waited_ns[MR_WAIT_COUNT])
{
    struct mr_sched_span span;
    memset(waited_ns, 0, MR_WAIT_COUNT * sizeof *waited_ns);
    for (struct walk walk = walk_begin(decisions, query); walk_next(&walk, &span);)
        waited_ns[span.wait] += span.to_ns - span.from_ns;
}

int32_t decisions_spans(const struct decisions *decisions, const struct decisions_query *query, struct mr_sched_span *spans, int32_t most)
{
    struct mr_sched_span span;
    int32_t n = 0;
    for (struct walk walk = walk_begin(decisions, query); walk_next(&walk, &span);) {
        if (span.to_ns == span.from_ns || most < 1)
            continue;
        if (n > 0 && spans[n - 1].wait == span.wait) {
            spans[n - 1].to_ns = span.to_ns;
            continue;
        }
        if (n == most)
            memmove(spans, spans + 1, (size_t)--n * sizeof *spans);
        spans[n++] = span;
    }
    return n;
}

const char *mr_sched_wait_name(enum mr_sched_wait wait)
{
    static const char *const names[] = {"turn", "budget", "blocks", "slots", "reserved", "cap",
                                        "rate", "concurrency", "share", "group", "forgotten"};
    _Static_assert(sizeof names / sizeof *names == MR_WAIT_COUNT, "one name a wait");
    return names[wait];
}
