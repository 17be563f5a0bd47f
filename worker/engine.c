/* Owns: the runs (slots of one array), the scheduler, the arrays of a step, and the events of the last one.
 *
 *            submit                    step: END given                next step
 *     FREE ---------> LIVE ------------------------------> CLOSING -----------> FREE
 *              \        | cancel                            ^   ^ drop
 *               \       v                                   |
 *                `--> ENDED --------------------------------'
 *      (replay found the end)
 *
 * Invariants
 * 1 A slot is known to the scheduler (under its index) exactly while it is LIVE. LAST: the scheduler is done with it, its last token is
 *   under way.
 * 2 A run gives at most one PROMPT, before its first TOKENS, and exactly one END, last; a dropped one gives nothing more.
 * 3 What a run gives depends on its job and its accepted tokens alone: not on its company, its chunks or its preemptions
 *   (each row's logits are the same bits, and everything else is invariant 1 of sequence.c).
 * 4 Event views point into sequences and buffers that stay until the next step: a slot's memory is freed at its start.
 * 5 Over a port with `leave` a step is issued behind the one under way, so that the device never waits for the host. It is committed at
 *   once, as if each token that it chooses lets its run go on: only the length, which is known, ends a run there. A run that ends
 *   otherwise is found one step later: mr_sched_end takes it from the scheduler, what the step behind chose for it is dropped, and
 *   its blocks are free for the steps after that one, which the device runs later. So at most two steps hold a run's tokens.
 * 6 A run whose next step needs the tokens themselves (penalties, scores of its prompt) binds the engine to one step at a time.
 *
 * Thread: the engine's. Rejected: steps ahead without the commit (the scheduler would plan with a job's blocks and length unknown);
 * a map from run to slot (cancel and drop are rare; a scan of 32-byte slots is microseconds). */
#include "worker/engine_state.h"

#include "base/check.h"
#include "kv/block_table.h"
#include "worker/bundle.h"

#include <stdlib.h>

enum {
    ENGINE_TEXT_BYTES = 1 << 16, /* room for a step's text before the buffer must grow */
    ENGINE_TICK_STEPS = 32,      /* between two looks of the scheduler at the tracked cost */
    ENGINE_NAMES_MORE = 1 << 16, /* beginnings that are remembered beside those of twice the cache: of runs that wait */
};

/* ---- open and close ---- */

static enum mr_status engine_find_ends(struct mr_engine *e, const struct mr_tokenizer *tokenizer)
{
    size_t n = 0, size = mr_tokenizer_size(tokenizer);
    for (size_t id = 0; id < size; id++)
        n += mr_tokenizer_is_end(tokenizer, (int32_t)id);
    e->end_ids = malloc((n + 1) * sizeof *e->end_ids);
    if (!e->end_ids)
        return MR_ERR_NOMEM;
    e->context = (struct mr_sequence_context){.tokenizer = tokenizer, .end_ids = e->end_ids,
                                              .names = e->options.prefix_cache ? &e->names : NULL};
    for (size_t id = 0; id < size; id++)
        if (mr_tokenizer_is_end(tokenizer, (int32_t)id))
            e->end_ids[e->context.n_end_ids++] = (int32_t)id;
    return MR_OK;
}

static bool engine_allocate(struct mr_engine *e)
{
    size_t seqs = (size_t)e->options.sched.max_seqs, logits = (size_t)e->options.max_logits;
    e->n_slots = 2 * e->options.sched.max_jobs;
    e->max_events = 4 * e->options.sched.max_seqs + 3 * e->n_slots + ENGINE_WAITS_A_LOOK;
    e->slots = calloc((size_t)e->n_slots, sizeof *e->slots);
    e->ended = calloc((size_t)e->n_slots, sizeof *e->ended);
    e->closing = calloc((size_t)e->n_slots, sizeof *e->closing);
    e->late = calloc((size_t)e->n_slots, sizeof *e->late);
    e->sources = calloc(seqs, sizeof *e->sources);
    e->results = calloc(seqs, sizeof *e->results);
    e->chosen = calloc(seqs, sizeof *e->chosen);
    e->rows = calloc(logits, sizeof *e->rows);
    e->sampled = calloc(logits, sizeof *e->sampled);
    e->scored = calloc(logits, sizeof *e->scored);
    e->score_ids = calloc(logits, sizeof *e->score_ids);
    e->events = calloc((size_t)e->max_events, sizeof *e->events);
    e->text_start = calloc((size_t)e->max_events, sizeof *e->text_start);
    e->tenants = calloc((size_t)e->options.sched.max_tenants, sizeof *e->tenants);
    e->waits = calloc(seqs + ENGINE_WAITS_A_LOOK, sizeof *e->waits);
    bool flights = true;
    for (int i = 0; i < 2 && flights; i++) {
        e->flights[i].tickets = calloc(seqs, sizeof *e->flights[i].tickets);
        e->flights[i].chosen = calloc(logits, sizeof *e->flights[i].chosen);
        flights = e->flights[i].tickets && e->flights[i].chosen;
    }
    return flights && e->slots && e->ended && e->closing && e->late && e->sources && e->results && e->chosen && e->rows && e->sampled && e->scored &&
           e->score_ids && e->events && e->text_start && e->tenants && e->waits && mr_buf_reserve(&e->text, ENGINE_TEXT_BYTES);
}

enum mr_status mr_engine_open(const struct mr_engine_options *options, struct mr_engine **out, struct mr_err *err)
{
    const struct mr_sched_config *sched = &options->sched;
    *out = NULL;
    if (options->max_logits < 1 || sched->max_jobs < 1 || sched->max_jobs > INT32_MAX / 8)
        return mr_err_set(err, MR_ERR_INVALID, "max_logits and max_jobs must be at least 1");
    struct mr_engine *e = calloc(1, sizeof *e);
    if (!e)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the engine");
    e->options = *options;
    struct mr_batch_limits limits = {
        .max_tokens = sched->max_step_tokens,
        .max_seqs = sched->max_seqs,
        .max_logits = options->max_logits,
        .max_blocks = mr_blocks_for(sched->max_context, sched->block_tokens),
        .block_tokens = sched->block_tokens,
    };
    enum mr_status status = mr_sched_open(sched, &e->sched, err);
    if (status == MR_OK)
        status = mr_block_names_open(&e->names, 2 * sched->n_blocks + ENGINE_NAMES_MORE, sched->block_tokens, options->names_seed, err);
    if (status == MR_OK)
        status = mr_batch_open(&e->batch, &limits, err);
    if (status == MR_OK && (!engine_allocate(e) || engine_find_ends(e, options->bundle->tokenizer) != MR_OK))
        status = mr_err_set(err, MR_ERR_NOMEM, "no memory for the engine's arrays");
    if (status != MR_OK) {
        mr_engine_close(e);
        return status;
    }
    e->ahead = options->forward.leave && options->max_logits >= sched->max_seqs; /* else a step may be cut into batches */
    mr_step_track_open(&e->track, &sched->cost);
    e->stats.cost = sched->cost;
    for (int32_t i = 0; i < e->n_slots; i++)
        e->slots[i].next = i + 1 < e->n_slots ? i + 1 : -1;
    *out = e;
    return MR_OK;
}

static void engine_free_sequence(struct engine_slot *slot)
{
    if (slot->sequence)
        mr_sequence_close(slot->sequence);
    free(slot->sequence);
    slot->sequence = NULL;
}

void mr_engine_close(struct mr_engine *e)
{
    if (!e)
        return;
    if (e->flights[e->turn].under_way)
        e->options.forward.collect(e->options.forward.self);
    for (int32_t i = 0; e->slots && i < e->n_slots; i++)
        engine_free_sequence(&e->slots[i]);
    for (int32_t i = 0; e->tenants && i < e->options.sched.max_tenants; i++)
        free((char *)(uintptr_t)e->tenants[i].p);
    mr_sched_close(e->sched);
    mr_block_names_close(&e->names);
    mr_batch_close(&e->batch);
    mr_buf_fini(&e->text);
    void *owned[] = {e->end_ids, e->slots, e->ended, e->closing, e->late, e->sources, e->results, e->chosen, e->rows,
                     e->sampled, e->scored, e->score_ids, e->events, e->text_start, e->tenants, e->waits, e->flights[0].tickets, e->flights[0].chosen,
                     e->flights[1].tickets, e->flights[1].chosen};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free(owned[i]);
    free(e);
}

/* ---- runs come and go ---- */

static enum mr_status engine_schedule(struct mr_engine *e, int32_t slot, const struct mr_engine_run *run, int64_t now_ns, struct mr_err *err)
{
    const struct mr_sequence *s = e->slots[slot].sequence;
    struct mr_sched_job job = {
        .id = (uint64_t)slot,
        .tenant = run->tenant,
        .tier = run->job->tier,
        .priority = run->job->priority,
        .known_tokens = s->n_tokens,
        .max_tokens = s->max_tokens,
        .arrival_ns = run->arrival_ns,
        .charged_prompt = run->n_accepted ? s->n_prompt : 0,
        .charged_output = run->n_accepted,
        .deadline_ns = run->deadline_ns,
        .prefix = s->n_prefix ? s->prefix : NULL,
        .n_prefix = s->n_prefix,
    };
    return mr_sched_submit(e->sched, &job, now_ns, err);
}

static void engine_bind(struct mr_engine *e, int32_t slot, bool binds)
{
    e->n_bound += binds - e->slots[slot].binds;
    e->slots[slot].binds = binds;
}

enum mr_status mr_engine_submit(struct mr_engine *e, const struct mr_engine_run *run, int64_t now_ns, struct mr_err *err)
{
    const struct mr_sched_config *sched = &e->options.sched;
    int64_t tokens = (int64_t)run->job->n_prompt + run->job->sampling.max_tokens;
    if (tokens > sched->max_context || (tokens + sched->block_tokens - 1) / sched->block_tokens > sched->n_blocks)
        return mr_err_set(err, MR_ERR_INVALID, "prompt and output of %lld tokens never fit: the context is %d, the cache %lld tokens",
                          (long long)tokens, sched->max_context, (long long)sched->n_blocks * sched->block_tokens);
    int32_t slot = e->free_slot;
    if (slot < 0)
        return mr_err_set(err, MR_ERR_LIMIT, "%d runs are live, which is the limit", sched->max_jobs);
    enum mr_status status = engine_meet(e, run->tenant, run->job->tenant, err);
    if (status != MR_OK)
        return status;
    struct mr_sequence *s = calloc(1, sizeof *s);
    if (!s)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for a run");
    status = mr_sequence_open(s, run, &e->context, err);
    if (status != MR_OK) {
        free(s);
        return status;
    }
    e->slots[slot].sequence = s;
    e->slots[slot].run = run->run;
    bool over = s->finish != MR_FINISH_NONE && !s->prompt_scores; /* a prompt to score needs its steps all the same */
    if (!over && (status = engine_schedule(e, slot, run, now_ns, err)) != MR_OK) {
        engine_free_sequence(&e->slots[slot]);
        return status;
    }
    e->free_slot = e->slots[slot].next;
    e->slots[slot].held = false;
    e->slots[slot].state = over ? SLOT_ENDED : SLOT_LIVE;
    engine_bind(e, slot, !over && s->prompt_scores);
    struct mr_sched_job_info info;
    if (over)
        e->ended[e->n_ended++] = slot;
    else if (e->tell_waits && mr_sched_job_info(e->sched, (uint64_t)slot, &info) && info.infeasible)
        e->late[e->n_late++] = slot;
    return MR_OK;
}

static int32_t engine_find(const struct mr_engine *e, uint64_t run)
{
    for (int32_t i = 0; i < e->n_slots; i++)
        if (e->slots[i].state != SLOT_FREE && e->slots[i].state != SLOT_CLOSING && e->slots[i].run == run)
            return i;
    return -1;
}

bool mr_engine_cancel(struct mr_engine *e, uint64_t run)
{
    int32_t slot = engine_find(e, run);
    if (slot < 0 || e->slots[slot].state == SLOT_ENDED)
        return slot >= 0;
    if (e->slots[slot].state == SLOT_LIVE)
        CHECK(mr_sched_cancel(e->sched, (uint64_t)slot));
    e->slots[slot].sequence->finish = MR_FINISH_CANCELLED;
    e->slots[slot].state = SLOT_ENDED;
    e->ended[e->n_ended++] = slot;
    return true;
}

static void engine_retire(struct mr_engine *e, int32_t slot)
{
    e->slots[slot].state = SLOT_CLOSING;
    e->slots[slot].life++;
    engine_bind(e, slot, false);
    e->closing[e->n_closing++] = slot;
}

bool mr_engine_drop(struct mr_engine *e, uint64_t run)
{
    int32_t slot = engine_find(e, run);
    if (slot < 0)
        return false;
    if (e->slots[slot].state == SLOT_LIVE)
        CHECK(mr_sched_cancel(e->sched, (uint64_t)slot));
    for (int32_t i = 0; i < e->n_ended; i++)
        if (e->ended[i] == slot)
            e->ended[i--] = e->ended[--e->n_ended];
    engine_retire(e, slot);
    return true;
}

bool mr_engine_preempt(struct mr_engine *e, uint64_t run)
{
    int32_t slot = engine_find(e, run);
    return slot >= 0 && e->slots[slot].state == SLOT_LIVE && mr_sched_preempt(e->sched, (uint64_t)slot);
}

/* ---- events ---- */

struct mr_engine_event *engine_event(struct mr_engine *e, enum mr_engine_event_kind kind, const struct mr_sequence *s)
{
    CHECK(e->n_events < e->max_events);
    e->text_start[e->n_events] = e->text.n;
    struct mr_engine_event *event = &e->events[e->n_events++];
    *event = (struct mr_engine_event){.kind = kind, .run = s->run};
    return event;
}

void engine_end(struct mr_engine *e, int32_t slot)
{
    struct mr_sequence *s = e->slots[slot].sequence;
    struct mr_engine_event *event = engine_event(e, MR_ENGINE_END, s);
    size_t before = e->text.n;
    mr_stream_finish(&s->stream, &e->text);
    event->text.n = e->text.n - before;
    event->finish = s->finish;
    event->reason = s->reason;
    event->n_output = mr_sequence_n_output(s);
    event->n_cached = s->n_cached;
    event->timing = s->timing;
    engine_retire(e, slot);
}

static void engine_tell_prompt(struct mr_engine *e, struct mr_sequence *s)
{
    struct mr_engine_event *event = engine_event(e, MR_ENGINE_PROMPT, s);
    event->logprobs = s->prompt_scores;
    event->n_tokens = s->n_prompt;
    s->prompt_told = true;
}

/* The token that item i chose, as an event. */
void engine_tell_token(struct mr_engine *e, struct mr_sequence *s, const struct mr_sampled *chosen, int64_t now_ns)
{
    if (chosen->id < 0) { /* bans and biases left nothing, or the logits are no numbers */
        s->finish = MR_FINISH_FAILED;
        s->reason = MR_REASON_INTERNAL;
        return;
    }
    struct mr_engine_event *event = engine_event(e, MR_ENGINE_TOKENS, s);
    size_t before = e->text.n;
    event->seq = mr_sequence_n_output(s);
    mr_sequence_take(s, &e->context, chosen->id, &e->text);
    event->text.n = e->text.n - before;
    event->n_tokens = 1;
    event->ids = s->tokens + s->n_tokens - 1;
    event->logprobs = s->job->sampling.n_logprobs >= 0 ? chosen : NULL;
    if (s->timing.first_token_ns == 0)
        s->timing.first_token_ns = now_ns;
    s->timing.last_token_ns = now_ns;
    e->stats.output_tokens++;
}

/* ---- one step ---- */

void engine_fill_sources(struct mr_engine *e, const struct mr_sched_plan *plan, int64_t now_ns)
{
    for (int32_t i = 0; i < plan->n_items; i++) {
        const struct mr_sched_item *item = &plan->items[i];
        struct mr_sequence *s = e->slots[item->id].sequence;
        DCHECK(e->slots[item->id].state == SLOT_LIVE && s->n_coming <= 1 && item->start + item->n <= s->n_tokens + s->n_coming);
        if (!s->planned) {
            s->planned = true;
            s->n_cached = item->start;
            s->timing.first_planned_ns = now_ns;
            engine_bind(e, (int32_t)item->id, e->slots[item->id].binds || s->history.index_size > 0);
            engine_tell_wait(e, (int32_t)item->id, now_ns);
        }
        e->sources[i] = (struct mr_batch_source){
            .tokens = s->tokens,
            .blocks = item->blocks,
            .n_blocks = item->n_blocks,
            .start = item->start,
            .n = item->n,
            .score_from = s->prompt_scores ? s->n_scored - 1 : 0,
            .score_to = s->prompt_scores ? s->n_prompt - 1 : 0,
            .samples = item->samples,
            .coming = item->start + item->n > s->n_tokens,
            .coming_row = s->coming_row,
        };
        if (item->start < s->n_prompt)
            e->stats.prompt_tokens += (item->start + item->n < s->n_prompt ? item->start + item->n : s->n_prompt) - item->start;
    }
}

/* Fills rows and score_ids of the batch; *n_top is -1 when nothing is scored. Every row of logits is sampled if one is, and
 * scored if one is: a port takes all rows of a step; what the others give is not looked at. */
bool engine_fill_rows(struct mr_engine *e, const struct mr_sched_plan *plan, int32_t *n_top)
{
    static const struct mr_sample_row unused = {.top_p = 1, .repetition_penalty = 1, .n_logprobs = -1};
    bool samples = false;
    *n_top = -1;
    for (int32_t i = 0; i < e->batch.batch.n_logits; i++) {
        const struct mr_batch_row *row = &e->batch.rows[i];
        const struct mr_sequence *s = e->slots[plan->items[row->source].id].sequence;
        e->rows[i] = unused;
        if (row->samples)
            mr_sequence_row(s, &e->rows[i]);
        samples |= row->samples;
        e->score_ids[i] = row->scores ? s->tokens[row->position + 1] : -1;
        if (row->scores && s->job->sampling.n_prompt_logprobs > *n_top)
            *n_top = s->job->sampling.n_prompt_logprobs;
    }
    return samples;
}

static void engine_keep_rows(struct mr_engine *e, const struct mr_sched_plan *plan)
{
    for (int32_t i = 0; i < e->batch.batch.n_logits; i++) {
        const struct mr_batch_row *row = &e->batch.rows[i];
        struct mr_sequence *s = e->slots[plan->items[row->source].id].sequence;
        if (row->samples)
            e->chosen[row->source] = e->sampled[i];
        if (!row->scores)
            continue;
        struct mr_sampled *score = &s->prompt_scores[row->position + 1];
        *score = e->scored[i];
        if (score->n_top > s->job->sampling.n_prompt_logprobs)
            score->n_top = s->job->sampling.n_prompt_logprobs;
        s->n_scored = row->position + 2;
    }
}

static enum mr_status engine_run_batch(struct mr_engine *e, const struct mr_sched_plan *plan, const struct mr_clock *clock)
{
    const struct mr_forward_port *port = &e->options.forward;
    int32_t n = e->batch.batch.n_logits, n_top;
    bool samples = engine_fill_rows(e, plan, &n_top);
    int64_t start_ns = mr_clock_ns(clock);
    enum mr_status status = port->step(port->self, &e->batch.batch);
    if (status == MR_OK && samples)
        status = port->sample(port->self, n, e->rows, e->sampled);
    if (status == MR_OK && n_top >= 0)
        status = port->score(port->self, n, n_top, e->score_ids, e->scored);
    enum mr_status finished = port->finish(port->self);
    e->device_ns += mr_clock_ns(clock) - start_ns;
    if (status == MR_OK)
        status = finished;
    if (status == MR_OK)
        engine_keep_rows(e, plan);
    return status;
}

/* What the step made of each item: events, and the result that the scheduler commits. */
static void engine_settle(struct mr_engine *e, const struct mr_sched_plan *plan, enum mr_status status, int64_t now_ns)
{
    for (int32_t i = 0; i < plan->n_items; i++) {
        int32_t slot = (int32_t)plan->items[i].id;
        struct mr_sequence *s = e->slots[slot].sequence;
        int32_t before = s->n_tokens;
        bool over = false;
        if (status != MR_OK) {
            s->finish = MR_FINISH_FAILED;
            s->reason = MR_REASON_DEVICE_FAILED;
            over = true;
        } else {
            if (s->prompt_scores && !s->prompt_told && s->n_scored == s->n_prompt)
                engine_tell_prompt(e, s);
            if (plan->items[i].samples && s->finish == MR_FINISH_NONE)
                engine_tell_token(e, s, &e->chosen[i], now_ns);
            over = plan->items[i].samples && s->finish != MR_FINISH_NONE;
        }
        e->results[i] = (struct mr_sched_result){.new_tokens = s->n_tokens - before, .finished = over};
        if (over)
            engine_end(e, slot);
    }
}

static void engine_begin(struct mr_engine *e, int64_t now_ns)
{
    for (int32_t i = 0; i < e->n_closing; i++) {
        struct engine_slot *slot = &e->slots[e->closing[i]];
        engine_free_sequence(slot);
        slot->state = SLOT_FREE;
        slot->next = e->free_slot;
        e->free_slot = e->closing[i];
    }
    e->n_closing = e->n_events = e->n_waits = 0;
    mr_buf_clear(&e->text);
    for (int32_t i = 0; i < e->n_ended; i++)
        engine_end(e, e->ended[i]);
    e->n_ended = 0;
    engine_look(e, now_ns);
}

struct cost_load engine_load(const struct mr_sched_plan *plan)
{
    struct cost_load load = {0};
    for (const struct mr_sched_item *item = plan->items; item < plan->items + plan->n_items; item++) {
        bool decode = item->n == 1 && item->samples;
        load = cost_load_sum(load, decode ? cost_load_decode(item->start) : cost_load_chunk(item->start, item->n));
    }
    return load;
}

/* What a step took, for the tracked cost; now and then the scheduler gets it. */
void engine_track(struct mr_engine *e, struct cost_load load, int64_t step_ns)
{
    struct mr_step_sample sample = {.ns = step_ns, .load = load};
    mr_step_track_add(&e->track, &sample);
    if (e->stats.steps % ENGINE_TICK_STEPS != 0)
        return;
    e->stats.cost = mr_step_track_cost(&e->track);
    mr_sched_tick(e->sched, &e->stats.cost);
}

static enum mr_status engine_run_plan(struct mr_engine *e, const struct mr_sched_plan *plan, const struct mr_clock *clock, int64_t now_ns)
{
    enum mr_status status = MR_OK;
    int64_t start_ns = now_ns;
    engine_fill_sources(e, plan, now_ns);
    mr_batch_rewind(&e->batch);
    while (status == MR_OK && mr_batch_next(&e->batch, e->sources, plan->n_items))
        status = engine_run_batch(e, plan, clock);
    now_ns = mr_clock_ns(clock);
    engine_settle(e, plan, status, now_ns);
    mr_sched_commit(e->sched, e->results, plan->n_items, now_ns);
    e->stats.steps++;
    e->stats.last_batch_tokens = plan->n_tokens;
    e->stats.last_batch_seqs = plan->n_items;
    e->stats.last_predicted_ns = plan->predicted_ns;
    if (e->options.track_cost && status == MR_OK)
        engine_track(e, engine_load(plan), now_ns - start_ns);
    return status;
}

static void engine_give(struct mr_engine *e, const struct mr_engine_event **events, int32_t *n_events)
{
    CHECK(!e->text.failed);
    for (int32_t i = 0; i < e->n_events; i++)
        e->events[i].text.p = e->text.p + e->text_start[i];
    *events = e->events;
    *n_events = e->n_events;
}

void mr_engine_rest(struct mr_engine *e, const struct mr_clock *clock, const struct mr_engine_event **events, int32_t *n_events)
{
    engine_begin(e, mr_clock_ns(clock));
    engine_give(e, events, n_events);
}

bool mr_engine_step(struct mr_engine *e, const struct mr_clock *clock, const struct mr_engine_event **events, int32_t *n_events,
                    enum mr_status *status)
{
    int64_t start_ns = mr_clock_ns(clock);
    struct mr_sched_plan plan;
    bool ahead = e->ahead && e->n_bound == 0, landed = e->flights[e->turn].under_way;
    e->device_ns = 0;
    *status = MR_OK;
    engine_begin(e, start_ns);
    if (!ahead)
        *status = engine_land(e, clock); /* the next step needs its tokens */
    int64_t plan_ns = mr_clock_ns(clock);
    mr_sched_plan(e->sched, plan_ns, &plan);
    for (int32_t i = 0; i < plan.n_expired; i++) {
        e->slots[plan.expired[i]].sequence->finish = MR_FINISH_EXPIRED;
        e->slots[plan.expired[i]].sequence->reason = MR_REASON_DEADLINE_PASSED;
        engine_end(e, (int32_t)plan.expired[i]);
    }
    enum mr_status ran = plan.n_items == 0 ? engine_land(e, clock) : ahead ? engine_run_ahead(e, &plan, clock, plan_ns)
                                                                           : engine_run_plan(e, &plan, clock, plan_ns);
    *status = *status == MR_OK ? ran : *status;
    engine_give(e, events, n_events);
    if (plan.n_items > 0 && !ahead)
        e->stats.last_step_ns = mr_clock_ns(clock) - plan_ns;
    if (plan.n_items > 0 || landed)
        e->stats.last_host_ns = mr_clock_ns(clock) - start_ns - e->device_ns;
    return plan.n_items > 0 || plan.n_preempted > 0 || e->n_events > 0 || landed;
}

void mr_engine_stats(const struct mr_engine *e, struct mr_engine_stats *out)
{
    *out = e->stats;
    mr_sched_stats(e->sched, &out->sched);
}
