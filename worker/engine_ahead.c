/* Steps issued behind the one under way: invariants 5 and 6 of engine.c. */
#include "worker/engine_state.h"

#include "base/check.h"

/* The tokens of the step under way, if one is, as events. */
enum mr_status engine_land(struct mr_engine *e, const struct mr_clock *clock)
{
    const struct mr_forward_port *port = &e->options.forward;
    struct engine_flight *flight = &e->flights[e->turn];
    if (!flight->under_way)
        return MR_OK;
    flight->under_way = false;
    int64_t start_ns = mr_clock_ns(clock);
    enum mr_status status = port->collect(port->self);
    int64_t now_ns = mr_clock_ns(clock), since_ns = flight->issued_ns > e->landed_ns ? flight->issued_ns : e->landed_ns;
    e->device_ns += now_ns - start_ns;
    e->landed_ns = now_ns;
    for (int32_t i = 0; i < flight->n; i++) {
        const struct engine_ticket *ticket = &flight->tickets[i];
        struct engine_slot *slot = &e->slots[ticket->slot];
        struct mr_sequence *s = slot->sequence;
        if (slot->life != ticket->life || slot->state == SLOT_ENDED)
            continue;
        s->n_coming -= ticket->row >= 0;
        if (status != MR_OK)
            s->finish = MR_FINISH_FAILED, s->reason = MR_REASON_DEVICE_FAILED;
        else if (ticket->row >= 0)
            engine_tell_token(e, s, &flight->chosen[ticket->row], now_ns);
        if (s->finish == MR_FINISH_NONE)
            continue;
        if (slot->state == SLOT_LIVE)
            CHECK(mr_sched_end(e->sched, (uint64_t)ticket->slot, s->n_coming, now_ns));
        engine_end(e, ticket->slot);
    }
    e->stats.steps++;
    e->stats.last_batch_tokens = flight->n_tokens;
    e->stats.last_batch_seqs = flight->n;
    e->stats.last_predicted_ns = flight->predicted_ns;
    e->stats.last_step_ns = now_ns - since_ns;
    if (e->options.track_cost && status == MR_OK)
        engine_track(e, flight->load, now_ns - since_ns);
    return status;
}

/* Issues the plan's step; its samples go to the flight. */
static enum mr_status engine_issue(struct mr_engine *e, const struct mr_sched_plan *plan, struct engine_flight *flight)
{
    const struct mr_forward_port *port = &e->options.forward;
    int32_t n_top;
    mr_batch_rewind(&e->batch);
    CHECK(mr_batch_next(&e->batch, e->sources, plan->n_items) && e->batch.source == plan->n_items);
    bool samples = engine_fill_rows(e, plan, &n_top);
    CHECK(n_top < 0); /* what is scored binds */
    enum mr_status status = port->step(port->self, &e->batch.batch);
    if (status == MR_OK && samples)
        status = port->sample(port->self, e->batch.batch.n_logits, e->rows, flight->chosen);
    return status == MR_OK ? port->leave(port->self) : status;
}

/* What is known of the step already goes to the scheduler: one token of each run that samples, and the ends by length. Not issued:
 * all its runs are over. */
static void engine_commit_issued(struct mr_engine *e, const struct mr_sched_plan *plan, struct engine_flight *flight, bool issued, int64_t now_ns)
{
    int32_t row = 0;
    for (int32_t i = 0; i < plan->n_items; i++) {
        const struct mr_sched_item *item = &plan->items[i];
        struct engine_slot *slot = &e->slots[item->id];
        struct mr_sequence *s = slot->sequence;
        bool samples = item->samples && issued;
        flight->tickets[i] = (struct engine_ticket){(int32_t)item->id, samples ? row : -1, slot->life};
        if (samples) {
            s->n_coming++;
            s->coming_row = row++;
        }
        bool over = !issued || (samples && s->n_tokens + s->n_coming == s->max_tokens);
        e->results[i] = (struct mr_sched_result){.new_tokens = samples, .finished = over};
        if (over)
            slot->state = SLOT_LAST;
    }
    flight->n = plan->n_items;
    mr_sched_commit(e->sched, e->results, plan->n_items, now_ns);
}

/* The plan's step is issued and committed; then the tokens of the one before it are told, while it runs. */
enum mr_status engine_run_ahead(struct mr_engine *e, const struct mr_sched_plan *plan, const struct mr_clock *clock, int64_t now_ns)
{
    struct engine_flight *next = &e->flights[!e->turn];
    engine_fill_sources(e, plan, now_ns);
    next->load = engine_load(plan);
    next->n_tokens = plan->n_tokens;
    next->predicted_ns = plan->predicted_ns;
    next->issued_ns = now_ns;
    enum mr_status issued = engine_issue(e, plan, next);
    engine_commit_issued(e, plan, next, issued == MR_OK, mr_clock_ns(clock));
    next->under_way = issued == MR_OK;
    enum mr_status landed = engine_land(e, clock);
    e->turn = !e->turn;
    if (landed != MR_OK && issued == MR_OK) /* nothing stays under way on a device that fails */
        engine_land(e, clock);
    if (issued == MR_OK)
        return landed;
    e->options.forward.finish(e->options.forward.self);
    for (int32_t i = 0; i < next->n; i++) {
        struct engine_slot *slot = &e->slots[next->tickets[i].slot];
        if (slot->life != next->tickets[i].life || slot->state != SLOT_LAST)
            continue;
        slot->sequence->finish = MR_FINISH_FAILED;
        slot->sequence->reason = MR_REASON_DEVICE_FAILED;
        engine_end(e, next->tickets[i].slot);
    }
    return issued;
}
