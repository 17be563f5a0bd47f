/* Jobs: their slots, the index of ids, and every list a job can be on. The one place where a job changes state, so that the
 * sums (waiting, resident, held blocks, pending service) follow.
 *
 * 1. A job is waiting (on one level of one flow) or resident (a decode or a prefill of one class); only a resident one holds
 *    blocks and a table slot.
 * 2. due lists hold the realtime and standard jobs without a first token, waiting or resident, in order of deadline.
 * 3. A flow is on its class's heap exactly while it waits and its tenant's contract allows a start (fair.c).
 * Lists are inserted into from the end that is usually right, so submission in order of arrival is O(1).
 * Rejected: one ordered tree for everything; the lists are shorter and each has one meaning. Engine thread. */
#include "scheduler/core.h"

#include "base/check.h"
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

/* ---- the index of ids ---- */

static int32_t index_slot(const struct mr_sched *s, uint64_t id)
{
    int32_t at = (int32_t)(mr_mix64(id) & (uint64_t)s->index_mask);
    while (s->index[at] && s->jobs[s->index[at] - 1].in.id != id)
        at = (at + 1) & s->index_mask;
    return at;
}

int32_t jobs_find(const struct mr_sched *s, uint64_t id) { return s->index[index_slot(s, id)] - 1; }

static void index_remove(struct mr_sched *s, uint64_t id)
{
    int32_t hole = index_slot(s, id), at = hole;
    CHECK(s->index[hole]);
    for (;;) { /* closes the gap, so that no tombstones gather (Knuth 6.4, algorithm R) */
        s->index[hole] = 0;
        int32_t home;
        do {
            at = (at + 1) & s->index_mask;
            if (!s->index[at])
                return;
            home = (int32_t)(mr_mix64(s->jobs[s->index[at] - 1].in.id) & (uint64_t)s->index_mask);
        } while (((at - home) & s->index_mask) < ((at - hole) & s->index_mask));
        s->index[hole] = s->index[at];
        hole = at;
    }
}

/* ---- sums of a flow and its class ---- */

static void flow_count(struct mr_sched *s, const struct job *job, int32_t waiting, int32_t resident)
{
    struct flow *flow = job_flow(s, job);
    struct class *class = &s->classes[job->class];
    bool was = flow->n_waiting + flow->n_resident > 0;
    flow->n_waiting += waiting;
    flow->n_resident += resident;
    class->n_waiting += waiting;
    class->n_resident += resident;
    s->stats.waiting[job->in.tier] += waiting;
    s->stats.resident[job->in.tier] += resident;
    bool is = flow->n_waiting + flow->n_resident > 0;
    class->weight_sum += (is - was) * s->limits.tenants[flow_tenant(s, job->in.tenant)].contract.weight;
    fair_backlog(s, job->class, job->in.tenant);
}

/* ---- waiting ---- */

static void waiting_insert(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    struct flow *flow = job_flow(s, job);
    int32_t *head = &flow->head[job->level], *tail = &flow->tail[job->level], after = *tail;
    while (after >= 0 && job_before(job, &s->jobs[after]))
        after = s->jobs[after].prev;
    int32_t before = after >= 0 ? s->next[after] : *head;
    job->prev = after;
    s->next[j] = before;
    *(after >= 0 ? &s->next[after] : head) = j;
    *(before >= 0 ? &s->jobs[before].prev : tail) = j;
    job->state = JOB_WAITING;
    job->end_ns = job->due_ns != NEVER ? job->due_ns : job->in.deadline_ns ? job->in.deadline_ns : NEVER;
    flow->has_prefixes |= job->n_prefix > 0;
    groups_add(s, j);
    flow_count(s, job, 1, 0);
    fair_inserted(s, j);
    limits_queue(&s->limits, job->in.tenant, job->in.max_tokens);
    s->pressure.queued[job->in.tier] += job->queued_cost;
}

static void waiting_remove(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    struct flow *flow = job_flow(s, job);
    *(job->prev >= 0 ? &s->next[job->prev] : &flow->head[job->level]) = s->next[j];
    *(s->next[j] >= 0 ? &s->jobs[s->next[j]].prev : &flow->tail[job->level]) = job->prev;
    groups_remove(s, j);
    flow->best = -1;
    if (s->classes[job->class].blocked_head == j)
        s->classes[job->class].blocked_head = -1;
    flow_count(s, job, -1, 0);
    limits_queue(&s->limits, job->in.tenant, -(int64_t)job->in.max_tokens);
    s->pressure.queued[job->in.tier] -= job->queued_cost;
}

/* ---- due ---- */

static void due_insert(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    struct class *class = &s->classes[job->class];
    int32_t after = class->due_tail;
    while (after >= 0 && job->due_ns < s->jobs[after].due_ns)
        after = s->jobs[after].due_prev;
    int32_t before = after >= 0 ? s->jobs[after].due_next : class->due_head;
    job->due_prev = after;
    job->due_next = before;
    *(after >= 0 ? &s->jobs[after].due_next : &class->due_head) = j;
    *(before >= 0 ? &s->jobs[before].due_prev : &class->due_tail) = j;
    job->in_due = true;
}

void jobs_due_remove(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    struct class *class = &s->classes[job->class];
    if (!job->in_due)
        return;
    *(job->due_prev >= 0 ? &s->jobs[job->due_prev].due_next : &class->due_head) = job->due_next;
    *(job->due_next >= 0 ? &s->jobs[job->due_next].due_prev : &class->due_tail) = job->due_prev;
    job->in_due = false;
}

/* ---- resident ---- */

static bool prefill_before(const struct job *a, const struct job *b)
{
    int64_t a_end = a->in.deadline_ns ? a->in.deadline_ns : NEVER, b_end = b->in.deadline_ns ? b->in.deadline_ns : NEVER;
    if (a->due_ns != b->due_ns)
        return a->due_ns < b->due_ns;
    return a_end != b_end ? a_end < b_end : job_before(a, b);
}

static void resident_list(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    struct class *class = &s->classes[job->class];
    if (job_left(job) == 1) {
        int32_t at = job->place = class->n_decodes++;
        class->decodes[at] = (struct mr_sched_item){.id = job->in.id, .start = job->computed, .n = 1, .samples = true,
                                                    .blocks = job->table.blocks, .n_blocks = job->table.n_blocks};
        class->decode_jobs[at] = j;
        class->decode_due[at] = job->due_ns;
        class->decode_take[at] = job->take > 0;
        class->decode_tenure[at] = job_tenure(s, job);
        class->n_taken += job->take > 0;
        class->decode_context += job->computed + 1;
        return;
    }
    job->place = -1;
    int32_t after = class->prefill_tail;
    while (after >= 0 && prefill_before(job, &s->jobs[after]))
        after = s->jobs[after].prev;
    int32_t before = after >= 0 ? s->next[after] : class->prefill_head;
    job->prev = after;
    s->next[j] = before;
    *(after >= 0 ? &s->next[after] : &class->prefill_head) = j;
    *(before >= 0 ? &s->jobs[before].prev : &class->prefill_tail) = j;
}

static void resident_unlist(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    struct class *class = &s->classes[job->class];
    if (job->place >= 0) {
        int32_t at = job->place, last = --class->n_decodes;
        job->take = class->decode_take[at];
        class->n_taken -= job->take;
        class->decode_context -= class->decodes[at].start + 1;
        class->decodes[at] = class->decodes[last];
        class->decode_jobs[at] = class->decode_jobs[last];
        class->decode_due[at] = class->decode_due[last];
        class->decode_take[at] = class->decode_take[last];
        class->decode_tenure[at] = class->decode_tenure[last];
        s->jobs[class->decode_jobs[at]].place = at;
        job->place = -1;
        return;
    }
    *(job->prev >= 0 ? &s->next[job->prev] : &class->prefill_head) = s->next[j];
    *(s->next[j] >= 0 ? &s->jobs[s->next[j]].prev : &class->prefill_tail) = job->prev;
}

void jobs_progress(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    struct class *class = &s->classes[job->class];
    if (job_decodes(job) && job_left(job) == 1) { /* a decode that goes on decoding, the common case */
        class->decode_context += job->computed - class->decodes[job->place].start;
        class->decodes[job->place].start = job->computed;
        class->decode_due[job->place] = job->due_ns;
    } else {
        resident_unlist(s, j);
        resident_list(s, j);
    }
    admission_count(s, job);
}

void jobs_predict(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    job->predicted = admission_predict(s, job);
    if (job_decodes(job))
        s->classes[job->class].decode_tenure[job->place].predicted = job->predicted;
}

void jobs_untake(struct mr_sched *s, struct job *job)
{
    struct class *class = &s->classes[job->class];
    if (job_decodes(job)) {
        class->n_taken -= class->decode_take[job->place];
        class->decode_take[job->place] = 0;
    }
    job->take = 0;
}

bool jobs_grow(struct mr_sched *s, int32_t j, int32_t tokens)
{
    struct job *job = &s->jobs[j];
    int32_t before = job->table.n_blocks;
    if (!mr_block_table_reserve(&job->table, &s->pool, tokens, s->config.block_tokens))
        return false;
    job_flow(s, job)->held_blocks += job->table.n_blocks - before;
    if (job_decodes(job))
        s->classes[job->class].decodes[job->place].n_blocks = job->table.n_blocks;
    admission_count(s, job);
    return true;
}

void jobs_admit(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    waiting_remove(s, j);
    job->state = JOB_RESIDENT;
    job->slot = s->slots[--s->n_slots];
    job->admitted = ++s->admissions;
    job->since_resume = 0;
    job->table = (struct mr_block_table){.blocks = s->table_storage + (size_t)job->slot * (size_t)s->table_blocks, .capacity = s->table_blocks};
    for (int32_t b = 0; b < job->match; b++) {
        int32_t block = mr_block_pool_find(&s->pool, job->prefix[b]);
        mr_block_pool_share(&s->pool, block);
        job->table.blocks[job->table.n_blocks++] = block;
    }
    job->shared = job->named = job->match;
    job->computed = job->match * s->config.block_tokens;
    job->hit_position = job->computed;
    resident_list(s, j);
    flow_count(s, job, 0, 1);
}

/* Off the resident lists, blocks given back. */
static void resident_leave(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    resident_unlist(s, j);
    admission_forget(s, job);
    job_flow(s, job)->held_blocks -= job->table.n_blocks - job->shared;
    if (MUTANT(MUTANT_LEAK_BLOCK) && job->table.n_blocks > 1)
        job->table.n_blocks--;
    mr_block_table_trim(&job->table, &s->pool, 0, s->config.block_tokens);
    s->slots[s->n_slots++] = job->slot;
    fair_pending(s, job, 0);
    limits_end(&s->limits, job->in.tenant);
    flow_count(s, job, 0, -1);
    fair_limits(s, job->in.tenant);
    job->computed = job->shared = job->take = 0;
}

void jobs_preempt(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    resident_leave(s, j);
    job->preempted_step = s->step;
    job->preempt_asked = false;
    job->level = LEVEL_PREEMPTED;
    job->match = 0;
    match_forget(job);
    if (MUTANT(MUTANT_LOST_JOB) && job->preemptions == 2)
        return;
    waiting_insert(s, j);
}

void jobs_reclass(struct mr_sched *s, int32_t j, int class)
{
    struct job *job = &s->jobs[j];
    int64_t pending = job->pending;
    jobs_due_remove(s, j);
    job->due_ns = MUTANT(MUTANT_RELEGATED_SLACK) ? job->due_ns : NEVER;
    if (job->state == JOB_WAITING) {
        waiting_remove(s, j);
        job->class = (int8_t)class;
        waiting_insert(s, j);
        return;
    }
    resident_unlist(s, j);
    admission_forget(s, job);
    fair_pending(s, job, 0);
    job_flow(s, job)->held_blocks -= job->table.n_blocks - job->shared;
    flow_count(s, job, 0, -1);
    job->class = (int8_t)class;
    job_flow(s, job)->held_blocks += job->table.n_blocks - job->shared;
    resident_list(s, j);
    admission_count(s, job);
    flow_count(s, job, 0, 1);
    fair_pending(s, job, pending);
}

int32_t jobs_add(struct mr_sched *s, const struct mr_sched_job *in)
{
    int32_t j = s->free_jobs;
    if (j < 0)
        return -1;
    struct job *job = &s->jobs[j];
    s->free_jobs = s->next[j];
    *job = (struct job){.in = *in, .known = in->known_tokens, .order = s->order++, .admitted_ns = NEVER, .due_ns = NEVER, .place = -1,
                        .bucket = -1, .level = (int8_t)in->priority, .charged_position = in->charged_prompt + in->charged_output,
                        .output = in->charged_output, .prefix = in->n_prefix ? in->prefix : NULL, .n_prefix = in->prefix ? in->n_prefix : 0,
                        .first_ns = NEVER};
    match_forget(job);
    job->class = (int8_t)(part_on(s, MR_PART_TIERS) ? in->tier : MR_TIER_STANDARD);
    s->index[index_slot(s, in->id)] = j + 1;
    s->n_live++;
    job->predicted = admission_predict(s, job);
    job->queued_cost = ((int64_t)in->known_tokens * s->config.input_permille + (int64_t)(job->predicted - job->output) * s->config.output_permille) *
                       MR_SCHED_SERVICE_UNIT / 1000;
    job->due_ns = feasibility_due(s, job);
    waiting_insert(s, j);
    if (job->due_ns != NEVER)
        due_insert(s, j);
    return j;
}

void jobs_forget(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    jobs_due_remove(s, j);
    if (job->state == JOB_RESIDENT)
        resident_leave(s, j);
    else
        waiting_remove(s, j);
    heap_remove(&s->timers, j);
    index_remove(s, job->in.id);
    job->state = JOB_FREE;
    s->next[j] = s->free_jobs;
    s->free_jobs = j;
    s->n_live--;
}

/* ---- open, close, check ---- */

bool jobs_open(struct mr_sched *s)
{
    const struct mr_sched_config *c = &s->config;
    size_t seqs = (size_t)c->max_seqs;
    int32_t index_size = 16;
    while (index_size < 2 * c->max_jobs)
        index_size *= 2;
    s->index_mask = index_size - 1;
    s->table_blocks = mr_blocks_for(c->max_context, c->block_tokens);
    s->jobs = aligned_alloc(_Alignof(struct job), (size_t)c->max_jobs * sizeof *s->jobs);
    if (s->jobs)
        memset(s->jobs, 0, (size_t)c->max_jobs * sizeof *s->jobs);
    s->index = calloc((size_t)index_size, sizeof *s->index);
    s->slots = calloc(seqs, sizeof *s->slots);
    s->lives = calloc((size_t)c->max_tenants, sizeof *s->lives);
    s->next = calloc((size_t)c->max_jobs, sizeof *s->next);
    s->pinned = calloc((size_t)s->table_blocks, sizeof *s->pinned);
    s->table_storage = calloc(seqs * (size_t)s->table_blocks, sizeof *s->table_storage);
    s->flows = aligned_alloc(_Alignof(struct flow), (size_t)c->max_tenants * CLASSES * sizeof *s->flows);
    if (s->flows)
        memset(s->flows, 0, (size_t)c->max_tenants * CLASSES * sizeof *s->flows);
    if (!s->jobs || !s->next || !s->index || !s->pinned || !s->slots || !s->table_storage || !s->flows || !s->lives ||
            !heap_open(&s->timers, c->max_jobs))
        return false;
    for (int32_t j = 0; j < c->max_jobs; j++)
        s->next[j] = j + 1 < c->max_jobs ? j + 1 : -1;
    for (int32_t i = 0; i < c->max_seqs; i++)
        s->slots[s->n_slots++] = c->max_seqs - 1 - i;
    for (size_t f = 0; f < (size_t)c->max_tenants * CLASSES; f++) {
        s->flows[f].best = s->flows[f].group = -1;
        s->flows[f].weight = 1;
        for (int size = 0; size < GROUP_SIZES; size++)
            s->flows[f].sized[size] = -1;
        for (int level = 0; level < LEVELS; level++)
            s->flows[f].head[level] = s->flows[f].tail[level] = -1;
    }
    for (int i = 0; i < CLASSES; i++) {
        struct class *class = &s->classes[i];
        class->prefill_head = class->prefill_tail = class->due_head = class->due_tail = class->blocked_head = -1;
        class->others_least = NEVER;
        class->decodes = calloc(seqs, sizeof *class->decodes);
        class->decode_jobs = calloc(seqs, sizeof *class->decode_jobs);
        class->decode_due = calloc(seqs, sizeof *class->decode_due);
        class->decode_take = calloc(seqs, sizeof *class->decode_take);
        class->decode_tenure = calloc(seqs, sizeof *class->decode_tenure);
        if (!class->decodes || !class->decode_jobs || !class->decode_due || !class->decode_take || !class->decode_tenure ||
                !heap_open(&class->flows, c->max_tenants))
            return false;
    }
    return true;
}

void jobs_close(struct mr_sched *s)
{
    free(s->jobs);
    free(s->next);
    free(s->index);
    free(s->slots);
    free(s->pinned);
    free(s->table_storage);
    free(s->flows);
    free(s->lives);
    heap_close(&s->timers);
    for (int i = 0; i < CLASSES; i++) {
        free(s->classes[i].decodes);
        free(s->classes[i].decode_jobs);
        free(s->classes[i].decode_due);
        free(s->classes[i].decode_take);
        free(s->classes[i].decode_tenure);
        heap_close(&s->classes[i].flows);
    }
}

static void check_resident(const struct mr_sched *s, const struct job *job, int class)
{
    CHECK(job->state == JOB_RESIDENT && job->class == class && &s->jobs[jobs_find(s, job->in.id)] == job);
    CHECK(job->computed >= 0 && job->computed < job->known && job->known <= job->in.max_tokens);
    CHECK(job->computed <= job->table.n_blocks * s->config.block_tokens);
    CHECK(job->preemptions < MR_SCHED_PREEMPTIONS_MAX || job->reserved);
    for (int32_t b = 0; b < job->table.n_blocks; b++)
        CHECK(s->pool.references[job->table.blocks[b]] > 0);
}

static void check_class(const struct mr_sched *s, int c, int32_t *live, int64_t *references)
{
    const struct class *class = &s->classes[c];
    int32_t resident = 0, waiting = 0, prev = -1;
    int64_t context = 0;
    int32_t taken = 0;
    for (int32_t i = 0; i < class->n_decodes; i++, resident++) {
        const struct job *job = &s->jobs[class->decode_jobs[i]];
        const struct mr_sched_item *item = &class->decodes[i];
        check_resident(s, job, c);
        CHECK(job->place == i && job_left(job) == 1 && class->decode_due[i] == job->due_ns);
        CHECK(item->id == job->in.id && item->start == job->computed && item->n_blocks == job->table.n_blocks);
        const struct tenure tenure = job_tenure(s, job);
        CHECK(memcmp(&class->decode_tenure[i], &tenure, sizeof tenure) == 0);
        context += job->computed + 1;
        taken += class->decode_take[i];
        *references += job->table.n_blocks;
    }
    CHECK(context == class->decode_context && taken == class->n_taken);
    for (int32_t j = class->prefill_head; j >= 0; prev = j, j = s->next[j], resident++) {
        check_resident(s, &s->jobs[j], c);
        CHECK(s->jobs[j].place < 0 && s->jobs[j].prev == prev && (prev < 0 || !prefill_before(&s->jobs[j], &s->jobs[prev])));
        *references += s->jobs[j].table.n_blocks;
    }
    CHECK(prev == class->prefill_tail && resident == class->n_resident);
    int32_t due_prev = -1;
    for (int32_t j = class->due_head; j >= 0; due_prev = j, j = s->jobs[j].due_next)
        CHECK(s->jobs[j].in_due && s->jobs[j].class == c && s->jobs[j].due_prev == due_prev &&
              (due_prev < 0 || s->jobs[due_prev].due_ns <= s->jobs[j].due_ns));
    for (int32_t t = 0; t < s->config.max_tenants; t++) {
        const struct flow *flow = &s->flows[(size_t)c * (size_t)s->config.max_tenants + (size_t)t];
        int32_t n = 0;
        for (int level = 0; level < LEVELS; level++)
            for (int32_t j = flow->head[level], before = -1; j >= 0; before = j, j = s->next[j], n++) {
                const struct job *job = &s->jobs[j];
                CHECK(job->state == JOB_WAITING && job->class == c && job->level == level && job->prev == before);
                CHECK(job_flow(s, job) == flow && jobs_find(s, job->in.id) == j && (before < 0 || !job_before(job, &s->jobs[before])));
            }
        CHECK(n == flow->n_waiting);
        waiting += n;
    }
    CHECK(waiting == class->n_waiting);
    *live += waiting + resident;
}

void jobs_check(const struct mr_sched *s)
{
    int32_t live = 0, n_free = 0, n_resident = 0;
    int64_t references = 0, counted = 0;
    mr_block_pool_check(&s->pool);
    for (int c = 0; c < CLASSES; c++) {
        check_class(s, c, &live, &references);
        n_resident += s->classes[c].n_resident;
    }
    for (int32_t b = 0; b < s->pool.n_blocks; b++)
        counted += s->pool.references[b];
    CHECK(counted == references); /* no block leaks, none is held twice by mistake */
    for (int32_t j = s->free_jobs; j >= 0; j = s->next[j], n_free++)
        CHECK(s->jobs[j].state == JOB_FREE);
    CHECK(live == s->n_live && live + n_free == s->config.max_jobs);
    CHECK(n_resident + s->n_slots == s->config.max_seqs);
    heap_check(&s->timers);
}
