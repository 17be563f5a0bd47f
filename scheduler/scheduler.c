/* The step planner, in strict tier order: realtime, standard, bulk; first come first served inside a tier, and inside one
 * tenant the higher priority first.
 *
 * Owns: the jobs (slots of one array), the order of the waiting and the resident, the pool and every block table.
 * 1. A job is waiting or resident; only a resident one holds blocks, and exactly one entry of resident[] names it.
 * 2. resident[] is sorted by (tier, admission). A sequence that needs a block takes it from the last entry, perhaps itself:
 *    so nobody planned already is a victim, and two sequences in a full pool never wait for each other.
 * 3. Blocks are reserved before an item is planned: a step never runs out. Those of a step in flight return at commit.
 * 4. Admission reserves the whole known prefix. Its victims are of lower tiers only, and are taken only if they suffice.
 * One thread, no allocation after open. */
#include "scheduler/scheduler.h"

#include "base/check.h"
#include "base/hash.h"
#include "kv/block_pool.h"
#include "kv/block_table.h"

#include <stdlib.h>
#include <string.h>

enum job_state { JOB_FREE, JOB_WAITING, JOB_RESIDENT };

struct job {
    struct mr_sched_job in;
    enum job_state state;
    int32_t known, computed;
    int32_t next, prev;          /* waiting: the tier's list; free: next */
    uint64_t order;              /* submission; orders equal arrivals */
    uint64_t admitted;           /* resident: number of the admission */
    uint64_t preempted_step;     /* not admitted again in the step that preempted it */
    bool in_flight, cancelled, preempt_asked; /* what came while its step ran is done at commit */
    struct mr_block_table table;
    int32_t slot;                /* resident: index of its block table storage */
};

struct list {
    int32_t head, tail, n;
};

struct mr_sched {
    struct mr_sched_config config;
    struct mr_block_pool pool;
    struct job *jobs;            /* [max_jobs] */
    int32_t *index;              /* [index_size] open addressing: job + 1, 0 empty */
    int32_t index_mask;
    int32_t free_jobs;
    struct list waiting[MR_TIER_COUNT];
    int32_t *resident;           /* [max_seqs] */
    int32_t n_resident;
    int32_t *slots;              /* [max_seqs] free table storage */
    int32_t n_slots;
    int32_t *table_storage;      /* [max_seqs][table_blocks] */
    int32_t table_blocks;
    struct mr_sched_item *items; /* [max_seqs] of the plan; decodes grow from the front, chunks are appended after */
    struct mr_sched_item *chunks;
    int32_t *item_job;           /* [max_seqs] job of items[i] */
    int32_t *chunk_job;
    int32_t n_items, n_chunks;
    bool planned;                /* a plan with items awaits its commit */
    uint64_t *preempted, *expired;
    int32_t n_preempted, n_expired;
    uint64_t order, admissions, step;
    int64_t n_preemptions, n_expirations;
};

/* ---- the index of ids ---- */

static int32_t index_slot(const struct mr_sched *s, uint64_t id)
{
    int32_t at = (int32_t)(mr_mix64(id) & (uint64_t)s->index_mask);
    while (s->index[at] && s->jobs[s->index[at] - 1].in.id != id)
        at = (at + 1) & s->index_mask;
    return at;
}

static void index_remove(struct mr_sched *s, uint64_t id)
{
    int32_t hole = index_slot(s, id), at = hole;
    CHECK(s->index[hole]);
    for (;;) { /* closes the gap, so that no tombstones gather */
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

/* ---- waiting lists, in order of arrival ---- */

static bool job_before(const struct job *a, const struct job *b)
{
    return a->in.arrival_ns != b->in.arrival_ns ? a->in.arrival_ns < b->in.arrival_ns : a->order < b->order;
}

static void waiting_insert(struct mr_sched *s, int32_t j)
{
    struct list *list = &s->waiting[s->jobs[j].in.tier];
    int32_t after = list->tail;
    while (after >= 0 && job_before(&s->jobs[j], &s->jobs[after]))
        after = s->jobs[after].prev;
    int32_t before = after >= 0 ? s->jobs[after].next : list->head;
    s->jobs[j].prev = after;
    s->jobs[j].next = before;
    *(after >= 0 ? &s->jobs[after].next : &list->head) = j;
    *(before >= 0 ? &s->jobs[before].prev : &list->tail) = j;
    s->jobs[j].state = JOB_WAITING;
    list->n++;
}

static void waiting_remove(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    struct list *list = &s->waiting[job->in.tier];
    *(job->prev >= 0 ? &s->jobs[job->prev].next : &list->head) = job->next;
    *(job->next >= 0 ? &s->jobs[job->next].prev : &list->tail) = job->prev;
    list->n--;
}

/* First come; inside the first comer's tenant, the highest priority. Jobs preempted in this step sit it out. */
static int32_t waiting_choose(const struct mr_sched *s, int tier)
{
    int32_t best = -1;
    for (int32_t j = s->waiting[tier].head; j >= 0; j = s->jobs[j].next) {
        const struct job *job = &s->jobs[j];
        if (job->preempted_step == s->step)
            continue;
        if (best < 0 || (job->in.tenant == s->jobs[best].in.tenant && job->in.priority > s->jobs[best].in.priority))
            best = j;
    }
    return best;
}

/* ---- residents ---- */

static void resident_insert(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    int32_t at = s->n_resident++;
    for (; at > 0 && s->jobs[s->resident[at - 1]].in.tier > job->in.tier; at--)
        s->resident[at] = s->resident[at - 1];
    s->resident[at] = j;
    job->state = JOB_RESIDENT;
    job->admitted = ++s->admissions;
    job->slot = s->slots[--s->n_slots];
    job->table = (struct mr_block_table){.blocks = s->table_storage + (size_t)job->slot * s->table_blocks, .capacity = s->table_blocks};
    job->computed = 0;
}

static void resident_remove(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    int32_t at = 0;
    while (s->resident[at] != j)
        at++;
    memmove(&s->resident[at], &s->resident[at + 1], (size_t)(--s->n_resident - at) * sizeof *s->resident);
    mr_block_table_trim(&job->table, &s->pool, 0, s->config.block_tokens);
    s->slots[s->n_slots++] = job->slot;
    job->computed = 0;
}

static void job_forget(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    if (job->state == JOB_RESIDENT)
        resident_remove(s, j);
    else
        waiting_remove(s, j);
    index_remove(s, job->in.id);
    job->state = JOB_FREE;
    job->next = s->free_jobs;
    s->free_jobs = j;
}

static void job_preempt(struct mr_sched *s, int32_t j)
{
    resident_remove(s, j);
    s->jobs[j].preempted_step = s->step;
    s->jobs[j].preempt_asked = false;
    waiting_insert(s, j);
    s->n_preemptions++;
}

/* ---- planning ---- */

static void plan_preempt(struct mr_sched *s, int32_t j)
{
    s->preempted[s->n_preempted++] = s->jobs[j].in.id;
    job_preempt(s, j);
}

/* Blocks for `tokens` of resident j, from the end of the order if the pool is empty; false: j gave itself up. */
static bool plan_reserve(struct mr_sched *s, int32_t j, int32_t tokens)
{
    while (!mr_block_table_reserve(&s->jobs[j].table, &s->pool, tokens, s->config.block_tokens)) {
        int32_t victim = s->resident[s->n_resident - 1];
        plan_preempt(s, victim);
        if (victim == j)
            return false;
    }
    return true;
}

static void plan_expire(struct mr_sched *s, int64_t start_ns)
{
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        for (int32_t j = s->waiting[tier].head, next; j >= 0; j = next) {
            next = s->jobs[j].next;
            if (s->jobs[j].in.deadline_ns && s->jobs[j].in.deadline_ns <= start_ns) {
                s->expired[s->n_expired++] = s->jobs[j].in.id;
                job_forget(s, j);
            }
        }
    for (int32_t i = s->n_resident - 1; i >= 0; i--) {
        int32_t j = s->resident[i];
        if (s->jobs[j].in.deadline_ns && s->jobs[j].in.deadline_ns <= start_ns) {
            s->expired[s->n_expired++] = s->jobs[j].in.id;
            job_forget(s, j);
        }
    }
    s->n_expirations += s->n_expired;
}

static void plan_add(struct mr_sched *s, int32_t j, int32_t n)
{
    struct job *job = &s->jobs[j];
    bool decode = job->known - job->computed == 1;
    struct mr_sched_item item = {.id = job->in.id, .start = job->computed, .n = n, .samples = job->computed + n == job->known,
                                 .blocks = job->table.blocks, .n_blocks = job->table.n_blocks};
    job->in_flight = true;
    if (decode) {
        s->item_job[s->n_items] = j;
        s->items[s->n_items++] = item;
    } else {
        s->chunk_job[s->n_chunks] = j;
        s->chunks[s->n_chunks++] = item;
    }
}

static int32_t chunk_size(const struct mr_sched *s, const struct job *job, int32_t budget, bool forced)
{
    int32_t n = job->known - job->computed;
    if (n <= budget)
        return n;
    int32_t rounded = budget - budget % s->config.chunk_quantum;
    return rounded > 0 || !forced ? rounded : budget;
}

static int32_t decodes_behind(const struct mr_sched *s, int32_t at)
{
    int32_t n = 0;
    for (int32_t i = at + 1; i < s->n_resident; i++)
        n += s->jobs[s->resident[i]].known - s->jobs[s->resident[i]].computed == 1;
    return n;
}

/* Plans resident[at]; returns the tokens it took. Prefill leaves a token for each decode behind it. */
static int32_t plan_resident(struct mr_sched *s, int32_t at, int32_t budget)
{
    int32_t j = s->resident[at];
    struct job *job = &s->jobs[j];
    int32_t left = job->known - job->computed;
    if (left > 1) {
        int32_t spare = budget - decodes_behind(s, at);
        left = chunk_size(s, job, spare > 0 ? spare : 0, s->n_items + s->n_chunks == 0);
    }
    if (left < 1 || budget < 1 || !plan_reserve(s, j, job->computed + left))
        return 0;
    plan_add(s, j, left);
    return left;
}

/* Makes room for a waiting job: free blocks and a slot, by preemption of lower tiers if that is enough. */
static bool plan_admit(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    int32_t need = mr_blocks_for(job->known, s->config.block_tokens), have = mr_block_pool_available(&s->pool), slots = s->n_slots;
    for (int32_t i = s->n_resident - 1; i >= 0 && s->jobs[s->resident[i]].in.tier > job->in.tier; i--) {
        have += s->jobs[s->resident[i]].table.n_blocks;
        slots++;
    }
    if (have < need || slots == 0)
        return false;
    while (mr_block_pool_available(&s->pool) < need || s->n_slots == 0)
        plan_preempt(s, s->resident[s->n_resident - 1]);
    waiting_remove(s, j);
    resident_insert(s, j);
    CHECK(mr_block_table_reserve(&job->table, &s->pool, job->known, s->config.block_tokens));
    return true;
}

void mr_sched_plan(struct mr_sched *s, int64_t start_ns, struct mr_sched_plan *plan)
{
    CHECK(!s->planned);
    s->step++;
    s->n_items = s->n_chunks = s->n_preempted = s->n_expired = 0;
    plan_expire(s, start_ns);
    int32_t budget = s->config.max_step_tokens, at = 0;
    bool blocked = false;
    for (int tier = 0; tier < MR_TIER_COUNT; tier++) {
        for (; at < s->n_resident && s->jobs[s->resident[at]].in.tier == tier;) {
            int32_t j = s->resident[at];
            budget -= plan_resident(s, at, budget);
            at += at < s->n_resident && s->resident[at] == j;
        }
        for (int32_t j; !blocked && budget > 0 && (j = waiting_choose(s, tier)) >= 0;) {
            blocked = !plan_admit(s, j);
            if (!blocked)
                budget -= plan_resident(s, at, budget), at += at < s->n_resident && s->resident[at] == j;
        }
    }
    memcpy(s->items + s->n_items, s->chunks, (size_t)s->n_chunks * sizeof *s->chunks);
    memcpy(s->item_job + s->n_items, s->chunk_job, (size_t)s->n_chunks * sizeof *s->chunk_job);
    s->n_items += s->n_chunks;
    s->planned = s->n_items > 0;
    const struct mr_sched_cost *c = &s->config.cost;
    int64_t tokens = 0, context = 0, pairs = 0;
    for (int32_t i = 0; i < s->n_items; i++) {
        const struct mr_sched_item *item = &s->items[i];
        tokens += item->n;
        if (item->n == 1)
            context += item->start + 1;
        else
            pairs += (int64_t)item->n * (item->start + item->n / 2);
    }
    int64_t dense = c->base_ps + c->token_ps * tokens;
    int64_t ps = (dense > c->floor_ps ? dense : c->floor_ps) + c->context_ps * context + c->pair_ps * pairs + c->overhead_ps;
    *plan = (struct mr_sched_plan){.items = s->items, .n_items = s->n_items, .n_tokens = (int32_t)tokens, .preempted = s->preempted,
                                   .n_preempted = s->n_preempted, .expired = s->expired, .n_expired = s->n_expired,
                                   .predicted_ns = s->n_items ? ps / 1000 : 0};
}

void mr_sched_commit(struct mr_sched *s, const struct mr_sched_result *results, int32_t n, int64_t now_ns)
{
    (void)now_ns;
    CHECK(n == s->n_items && (s->planned || n == 0));
    s->planned = false;
    for (int32_t i = 0; i < n; i++) {
        int32_t j = s->item_job[i];
        struct job *job = &s->jobs[j];
        const struct mr_sched_result *result = &results[i];
        job->in_flight = false;
        job->computed += s->items[i].n;
        CHECK(result->new_tokens >= 0 && (s->items[i].samples || result->new_tokens == 0));
        job->known += result->new_tokens;
        CHECK(job->known <= job->in.max_tokens);
        if (result->finished || job->cancelled)
            job_forget(s, j);
        else if (job->preempt_asked)
            job_preempt(s, j);
        else
            CHECK(job->computed < job->known); /* a job that goes on has a token to compute */
    }
    s->n_items = 0;
}

/* ---- the rest of the interface ---- */

enum mr_status mr_sched_submit(struct mr_sched *s, const struct mr_sched_job *in, int64_t now_ns, struct mr_err *err)
{
    (void)now_ns;
    const struct mr_sched_config *config = &s->config;
    if (in->tier < 0 || in->tier >= MR_TIER_COUNT || in->tenant >= (uint32_t)config->max_tenants || in->priority < 0 || in->priority > 9)
        return mr_err_set(err, MR_ERR_INVALID, "tier %d, tenant %u or priority %d is out of range", in->tier, in->tenant, in->priority);
    if (in->known_tokens < 1 || in->max_tokens < in->known_tokens || in->max_tokens > config->max_context)
        return mr_err_set(err, MR_ERR_INVALID, "%d known of at most %d tokens in a context of %d", in->known_tokens, in->max_tokens,
                          config->max_context);
    if (mr_blocks_for(in->max_tokens, config->block_tokens) > config->n_blocks)
        return mr_err_set(err, MR_ERR_LIMIT, "%d tokens need more than the %d blocks there are", in->max_tokens, config->n_blocks);
    int32_t at = index_slot(s, in->id);
    if (s->index[at])
        return mr_err_set(err, MR_ERR_INVALID, "job %llu is live already", (unsigned long long)in->id);
    int32_t j = s->free_jobs;
    if (j < 0)
        return mr_err_set(err, MR_ERR_LIMIT, "%d jobs are waiting or running, which is the limit", config->max_jobs);
    s->free_jobs = s->jobs[j].next;
    s->index[at] = j + 1;
    s->jobs[j] = (struct job){.in = *in, .known = in->known_tokens, .order = s->order++};
    waiting_insert(s, j);
    return MR_OK;
}

bool mr_sched_cancel(struct mr_sched *s, uint64_t id)
{
    int32_t j = s->index[index_slot(s, id)] - 1;
    if (j < 0 || s->jobs[j].cancelled)
        return false;
    if (s->jobs[j].in_flight)
        s->jobs[j].cancelled = true;
    else
        job_forget(s, j);
    return true;
}

bool mr_sched_preempt(struct mr_sched *s, uint64_t id)
{
    int32_t j = s->index[index_slot(s, id)] - 1;
    if (j < 0 || s->jobs[j].state != JOB_RESIDENT || s->jobs[j].cancelled)
        return false;
    if (s->jobs[j].in_flight)
        s->jobs[j].preempt_asked = true;
    else
        job_preempt(s, j);
    return true;
}

void mr_sched_stats(const struct mr_sched *s, struct mr_sched_stats *out)
{
    *out = (struct mr_sched_stats){.blocks_total = s->pool.n_blocks, .blocks_used = s->pool.n_blocks - s->pool.n_free,
                                   .preemptions = s->n_preemptions, .expired = s->n_expirations};
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        out->waiting[tier] = s->waiting[tier].n;
    for (int32_t i = 0; i < s->n_resident; i++)
        out->resident[s->jobs[s->resident[i]].in.tier]++;
}

static void check_waiting(const struct mr_sched *s, int tier)
{
    int32_t n = 0, prev = -1;
    for (int32_t j = s->waiting[tier].head; j >= 0; prev = j, j = s->jobs[j].next, n++) {
        const struct job *job = &s->jobs[j];
        CHECK(job->state == JOB_WAITING && job->in.tier == tier && job->prev == prev && !job->in_flight);
        CHECK(prev < 0 || job_before(&s->jobs[prev], job));
        CHECK(s->index[index_slot(s, job->in.id)] == j + 1);
    }
    CHECK(n == s->waiting[tier].n && prev == s->waiting[tier].tail);
}

void mr_sched_check(const struct mr_sched *s)
{
    int32_t held = 0, live = s->n_resident;
    mr_block_pool_check(&s->pool);
    for (int32_t i = 0; i < s->n_resident; i++) {
        const struct job *job = &s->jobs[s->resident[i]];
        CHECK(job->state == JOB_RESIDENT && s->index[index_slot(s, job->in.id)] == s->resident[i] + 1);
        CHECK(job->computed >= 0 && job->computed < job->known && job->known <= job->in.max_tokens);
        CHECK(job->computed <= job->table.n_blocks * s->config.block_tokens);
        held += job->table.n_blocks;
        const struct job *before = i ? &s->jobs[s->resident[i - 1]] : NULL;
        CHECK(!before || before->in.tier < job->in.tier || (before->in.tier == job->in.tier && before->admitted < job->admitted));
    }
    CHECK(held + s->pool.n_free == s->pool.n_blocks);
    CHECK(s->n_resident + s->n_slots == s->config.max_seqs);
    for (int tier = 0; tier < MR_TIER_COUNT; tier++) {
        check_waiting(s, tier);
        live += s->waiting[tier].n;
    }
    for (int32_t j = s->free_jobs; j >= 0; j = s->jobs[j].next, live++)
        CHECK(s->jobs[j].state == JOB_FREE);
    CHECK(live == s->config.max_jobs);
}

static bool sched_allocate(struct mr_sched *s)
{
    const struct mr_sched_config *c = &s->config;
    size_t seqs = (size_t)c->max_seqs, jobs = (size_t)c->max_jobs;
    int32_t index_size = 16;
    while (index_size < 2 * c->max_jobs)
        index_size *= 2;
    s->index_mask = index_size - 1;
    s->table_blocks = mr_blocks_for(c->max_context, c->block_tokens);
    s->jobs = calloc(jobs, sizeof *s->jobs);
    s->index = calloc((size_t)index_size, sizeof *s->index);
    s->resident = calloc(seqs, sizeof *s->resident);
    s->slots = calloc(seqs, sizeof *s->slots);
    s->table_storage = calloc(seqs * (size_t)s->table_blocks, sizeof *s->table_storage);
    s->items = calloc(seqs, sizeof *s->items);
    s->chunks = calloc(seqs, sizeof *s->chunks);
    s->item_job = calloc(seqs, sizeof *s->item_job);
    s->chunk_job = calloc(seqs, sizeof *s->chunk_job);
    s->preempted = calloc(jobs, sizeof *s->preempted);
    s->expired = calloc(jobs, sizeof *s->expired);
    return s->jobs && s->index && s->resident && s->slots && s->table_storage && s->items && s->chunks && s->item_job && s->chunk_job &&
           s->preempted && s->expired;
}

enum mr_status mr_sched_open(const struct mr_sched_config *c, struct mr_sched **out, struct mr_err *err)
{
    if (c->n_blocks < 1 || c->block_tokens < 1 || c->max_seqs < 1 || c->max_step_tokens < 1 || c->max_jobs < 1 || c->max_jobs > 1 << 28 ||
        c->max_tenants < 1 || c->max_context < 1 || c->chunk_quantum < 1)
        return mr_err_set(err, MR_ERR_INVALID, "every size of the scheduler must be at least 1");
    struct mr_sched *s = calloc(1, sizeof *s);
    if (!s)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the scheduler");
    s->config = *c;
    if (!sched_allocate(s) || mr_block_pool_open(&s->pool, c->n_blocks, err) != MR_OK) {
        mr_sched_close(s);
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for a scheduler of %d jobs and %d sequences", c->max_jobs, c->max_seqs);
    }
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        s->waiting[tier] = (struct list){.head = -1, .tail = -1};
    for (int32_t i = 0; i < c->max_jobs; i++)
        s->jobs[i].next = i + 1 < c->max_jobs ? i + 1 : -1;
    for (int32_t i = 0; i < c->max_seqs; i++)
        s->slots[s->n_slots++] = c->max_seqs - 1 - i;
    *out = s;
    return MR_OK;
}

void mr_sched_close(struct mr_sched *s)
{
    if (!s)
        return;
    mr_block_pool_close(&s->pool);
    void *owned[] = {s->jobs, s->index, s->resident, s->slots, s->table_storage, s->items, s->chunks, s->item_job, s->chunk_job,
                     s->preempted, s->expired};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free(owned[i]);
    free(s);
}
