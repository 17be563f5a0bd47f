/* What the engine tells beside tokens: who its tenants are, who waits and for what, whose deadline cannot be kept. */
#include "worker/engine_state.h"

#include <stdlib.h>

#define LOOK_NS (250 * MR_NS_PER_MS) /* between two looks at who waits */

/* The first run of a tenant brings its name, and with it its contract; an index that another had is made new for it. The last index is
 * shared and has a name of its own. */
enum mr_status engine_meet(struct mr_engine *e, uint32_t tenant, struct mr_str name, struct mr_err *err)
{
    bool shared = tenant + 1 == (uint32_t)e->options.sched.max_tenants;
    if (tenant >= (uint32_t)e->options.sched.max_tenants)
        return MR_OK;
    struct mr_str *at = &e->tenants[tenant];
    name = shared ? MR_STR(MR_ENGINE_OTHERS) : name;
    if (at->p && mr_str_equal(*at, name))
        return MR_OK;
    char *copy = malloc(name.n + 1);
    if (!copy)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for a tenant");
    if (at->p && !mr_sched_tenant_renew(e->sched, tenant)) {
        free(copy);
        return mr_err_set(err, MR_ERR_LIMIT, "a tenant whose jobs are live keeps its index");
    }
    if (name.n)
        memcpy(copy, name.p, name.n);
    free((char *)(uintptr_t)at->p);
    *at = (struct mr_str){copy, name.n};
    if (!e->options.contract)
        return MR_OK;
    struct mr_sched_tenant contract = e->options.contract(e->options.contract_self, name);
    return mr_sched_tenant_set(e->sched, tenant, &contract, err);
}

void engine_tell_wait(struct mr_engine *e, int32_t slot, int64_t now_ns)
{
    const struct mr_sequence *s = e->slots[slot].sequence;
    if (!e->tell_waits || e->n_waits == e->options.sched.max_seqs + ENGINE_WAITS_A_LOOK)
        return;
    int64_t *waited_ns = e->waits[e->n_waits++];
    if (!mr_sched_why(e->sched, (uint64_t)slot, now_ns, waited_ns))
        return;
    struct mr_engine_event *event = engine_event(e, MR_ENGINE_WAIT, s);
    struct mr_sched_job_info info;
    event->relegated = mr_sched_job_info(e->sched, (uint64_t)slot, &info) && info.relegated;
    event->on = s->planned;
    event->waited_ns = waited_ns;
    event->job = s->job;
}

static void engine_tell_held(struct mr_engine *e, int32_t slot)
{
    struct engine_slot *at = &e->slots[slot];
    const struct mr_sequence *s = at->sequence;
    struct mr_sched_tenant_stats stats;
    mr_sched_tenant_stats(e->sched, s->job->tier, s->tenant, &stats);
    bool held = stats.over_limit && !s->planned;
    if (held == at->held)
        return;
    at->held = held;
    engine_event(e, MR_ENGINE_HELD, s)->on = held;
}

/* Whose deadline cannot be kept, once, at the step behind its submission. */
static void engine_tell_late(struct mr_engine *e)
{
    for (int32_t i = 0; i < e->n_late; i++) {
        const struct engine_slot *slot = &e->slots[e->late[i]];
        if (slot->state == SLOT_LIVE)
            engine_event(e, MR_ENGINE_LATE, slot->sequence)->job = slot->sequence->job;
    }
    e->n_late = 0;
}

/* A few times a second: every waiting run's HELD, and some runs' WAIT, in turns. */
void engine_look(struct mr_engine *e, int64_t now_ns)
{
    engine_tell_late(e);
    if (!e->tell_waits || now_ns < e->look_ns)
        return;
    e->look_ns = now_ns + LOOK_NS;
    int32_t told = 0, at = e->look_at;
    for (int32_t i = 0; i < e->n_slots; i++, at = at + 1 < e->n_slots ? at + 1 : 0) {
        if (e->slots[at].state != SLOT_LIVE || (e->slots[at].sequence->planned && !e->slots[at].held))
            continue;
        engine_tell_held(e, at);
        if (!e->slots[at].sequence->planned && told < ENGINE_WAITS_A_LOOK) {
            engine_tell_wait(e, at, now_ns);
            told++;
            e->look_at = at + 1 < e->n_slots ? at + 1 : 0;
        }
    }
}

void mr_engine_tell_waits(struct mr_engine *e) { e->tell_waits = true; }
struct mr_sched *mr_engine_sched(struct mr_engine *e) { return e->sched; }

struct mr_str mr_engine_tenant(const struct mr_engine *e, uint32_t tenant)
{
    return tenant < (uint32_t)e->options.sched.max_tenants ? e->tenants[tenant] : (struct mr_str){0};
}
