/* Who may hold KV (scheduling.md 3.7; Past-Future, arXiv 2507.10150). A job is admitted when the peak of what the residents of
 * its class and the classes before it will hold, each at a quantile of its output length, fits the pool less the class's
 * headroom. Residents are kept as sums by foreseen remainder, moved as they grow and produce; a test is one pass over the sums:
 * peak = max over remainders r of (held by those that last r or longer + r x their number). What tests true is then given the
 * blocks of its whole known prefix, from lower tiers if it must.
 *
 * Bulk and relegated jobs do not see who arrives above them, and yield to it. What they lose so is kept free from then on, and given
 * back at TAX_PERMILLE of all tokens computed: over a long time no more than that is computed again, whatever the load.
 *
 * 1. A job is resident with all its blocks or not at all. 2. Every resident stands in exactly one bucket of remainders. 3. A
 * match is looked up anew only when a name in its cells came or went. Engine thread, no malloc. */
#include "scheduler/core.h"

#include "base/check.h"

static const int32_t HEADROOM_PERMILLE[CLASSES] = {0, 20, 80, 80};
static const int32_t QUANTILE_PERMILLE[CLASSES] = {800, 500, 500, 500};
enum { TAX_PERMILLE = 3 };     /* of the computed tokens may be computed again */

/* A match found before may have grown or gone: it is followed from where it stood. */
static uint32_t changes_of(const struct mr_sched *s, const struct job *job)
{
    return s->pool.changes[job->match_cells[0]] + s->pool.changes[job->match_cells[1]];
}

void match_forget(struct job *job)
{
    job->match_cells[0] = job->match_cells[1] = MR_BLOCK_POOL_CELLS;
    job->match_changes = 1; /* that cell stays at 0 */
}

void match_refresh(const struct mr_sched *s, struct job *job)
{
    if (changes_of(s, job) == job->match_changes)
        return;
    int32_t most = (job->known - 1) / s->config.block_tokens; /* the last token is always computed: its logits are wanted */
    most = most < job->n_prefix ? most : job->n_prefix;
    job->match = job->match < most ? job->match : most;
    while (job->match > 0 && mr_block_pool_find(&s->pool, job->prefix[job->match - 1]) < 0)
        job->match--;
    while (job->match < most && mr_block_pool_find(&s->pool, job->prefix[job->match]) >= 0)
        job->match++;
    job->match_cells[0] = (uint16_t)(job->match > 0 ? mr_block_pool_cell(job->prefix[job->match - 1]) : MR_BLOCK_POOL_CELLS);
    job->match_cells[1] = (uint16_t)(job->match < most ? mr_block_pool_cell(job->prefix[job->match]) : MR_BLOCK_POOL_CELLS);
    job->match_changes = changes_of(s, job);
}

int32_t admission_predict(const struct mr_sched *s, const struct job *job)
{
    int32_t prompt = job->in.known_tokens - job->in.charged_output;
    struct lengths_query query = {.tenant = job_history(s, job), .template_id = job->in.template_id, .tier = job->in.tier,
                                  .produced = job->output, .most = job->in.max_tokens - prompt, .permille = QUANTILE_PERMILLE[job->class]};
    return lengths_quantile(&s->lengths, &query);
}

static int32_t remainder_of(const struct job *job)
{
    int32_t rest = job->predicted - job->output;
    return job->reserved ? 0 : rest > 1 ? rest : 1;
}

static void remainder_add(struct mr_sched *s, const struct job *job, int sign)
{
    s->remainders[job->class].n[job->bucket] += sign;
    s->remainders[job->class].held[job->bucket] += sign * job->bucket_held;
    s->remainder_jobs[job->bucket] += sign;
    s->remainder_held += sign * job->bucket_held;
}

void admission_forget(struct mr_sched *s, struct job *job)
{
    if (job->bucket >= 0)
        remainder_add(s, job, -1);
    job->bucket = -1;
}

void admission_count(struct mr_sched *s, struct job *job)
{
    int32_t bucket = length_bucket(remainder_of(job)), held = (job->table.n_blocks - job->shared) * s->config.block_tokens;
    if (job->bucket == bucket && job->bucket_held == held)
        return;
    admission_forget(s, job);
    job->bucket = (int16_t)bucket;
    job->bucket_held = held;
    remainder_add(s, job, 1);
}

/* Does the class count residents of the other? Lower tiers yield, so the tiers above need not count them. */
static bool counts(int class, int other)
{
    return class >= MR_TIER_BULK || other <= class;
}

static int64_t pool_tokens(const struct mr_sched *s) { return (int64_t)s->pool.n_blocks * s->config.block_tokens; }

/* Half of the pool at most, so that bulk is never shut out for what was. */
void admission_yielded(struct mr_sched *s, const struct job *job)
{
    int64_t most = pool_tokens(s) * 1000 / 2, sum = s->kept_free + (int64_t)(job->computed - job->shared * s->config.block_tokens) * 1000;
    if (job->class >= MR_TIER_BULK)
        s->kept_free = sum < most ? sum : most;
}

void admission_computed(struct mr_sched *s, int32_t tokens)
{
    int64_t back = (int64_t)tokens * TAX_PERMILLE;
    s->kept_free = s->kept_free > back ? s->kept_free - back : 0;
}

static bool peak_fits(const struct mr_sched *s, const struct job *job, int32_t own_tokens)
{
    int64_t n = 0, held = 0, peak = 0;
    int32_t bucket = length_bucket(remainder_of(job));
    int64_t limit = pool_tokens(s) * (1000 - HEADROOM_PERMILLE[job->class]) / 1000 - (job->class >= MR_TIER_BULK ? s->kept_free / 1000 : 0);
    for (int b = LENGTH_BUCKETS - 1; b >= 0; b--) {
        if (s->remainder_jobs[b] == 0 && b != bucket)
            continue; /* the sums are those of the bucket above, and what they have left is less */
        for (int c = 0; c < CLASSES; c++) {
            n += counts(job->class, c) ? s->remainders[c].n[b] : 0;
            held += counts(job->class, c) ? s->remainders[c].held[b] : 0;
        }
        n += b == bucket;
        held += b == bucket ? own_tokens : 0;
        int64_t at_end = held + n * length_bucket_top(b);
        peak = at_end > peak ? at_end : peak;
    }
    int64_t used = (int64_t)(s->pool.n_blocks - mr_block_pool_available(&s->pool)) * s->config.block_tokens;
    int64_t shared = used > s->remainder_held ? used - s->remainder_held : 0; /* blocks held in common, counted once */
    return peak + shared <= limit;
}

static bool alone(const struct mr_sched *s, int class)
{
    int32_t n = 0;
    for (int c = 0; c < CLASSES; c++)
        n += counts(class, c) ? s->classes[c].n_resident : 0;
    return n == 0;
}

static bool refuse(struct mr_sched *s, struct job *job, enum mr_sched_wait why)
{
    struct class *class = &s->classes[job->class];
    class->stop = why;
    job_flow(s, job)->skip_step = s->step;
    job_flow(s, job)->skip_capped = why == MR_WAIT_CAP;
    if (class->blocked_head < 0 && why != MR_WAIT_CAP)
        class->blocked_head = (int32_t)(job - s->jobs);
    return false;
}

/* While room is made the blocks that the job shares have one more holder: a victim that holds them too frees nothing by them.
 * Idle ones stay as they are, so that their order of eviction does. */
static void pin(struct mr_sched *s, const struct job *job, bool pinned[])
{
    for (int32_t b = 0; b < job->match; b++) {
        int32_t block = mr_block_pool_find(&s->pool, job->prefix[b]);
        pinned[b] = s->pool.references[block] > 0 && !MUTANT(MUTANT_VICTIM_SHARES);
        if (pinned[b])
            mr_block_pool_share(&s->pool, block);
    }
}

static void unpin(struct mr_sched *s, const struct job *job, const bool pinned[])
{
    for (int32_t b = job->match; b-- > 0;)
        if (pinned[b])
            mr_block_pool_release(&s->pool, mr_block_pool_find(&s->pool, job->prefix[b]));
}

/* Blocks or a slot from lower tiers; or, after a wait, from a tenant of its own class that holds more than its cap. */
static bool make_room(struct mr_sched *s, const struct job *job, int32_t lacking)
{
    struct need need = {.class = job->class, .blocks = lacking > 0 ? lacking : 0, .slot = s->n_slots == 0, .self = -1};
    if (preemption_make_room(s, &need))
        return true;
    need.cap = !need.slot && part_on(s, MR_PART_CAP) && s->now.start_ns - job->in.arrival_ns > RECLAIM_WAIT_MS * INT64_C(1000000);
    return need.cap && preemption_make_room(s, &need);
}

static bool make_room_pinned(struct mr_sched *s, const struct job *job, int32_t lacking)
{
    if (lacking <= 0 && s->n_slots > 0)
        return true;
    pin(s, job, s->pinned);
    bool room = make_room(s, job, lacking);
    unpin(s, job, s->pinned);
    return room;
}

/* Of an overtaken head: after GUARD_PICKS of them it holds the pool. */
static void note_admitted(struct mr_sched *s, int32_t j)
{
    struct class *class = &s->classes[s->jobs[j].class];
    if (class->blocked_head >= 0 && class->blocked_head != j)
        s->jobs[class->blocked_head].overtaken++;
}

bool admission_try(struct mr_sched *s, int32_t j)
{
    struct job *job = &s->jobs[j];
    struct class *class = &s->classes[job->class];
    if (class->blocked_head >= 0 && class->blocked_head != j && s->jobs[class->blocked_head].overtaken >= GUARD_PICKS)
        return refuse(s, job, MR_WAIT_RESERVED);
    match_refresh(s, job);
    if (job_flow(s, job)->best == j)
        job_flow(s, job)->best_match = job->match;
    job->reserved = job->preemptions >= MR_SCHED_PREEMPTIONS_MAX;
    int32_t tokens = job->reserved ? job->in.max_tokens : job->known, idle = 0;
    int32_t own = mr_blocks_for(tokens, s->config.block_tokens) - job->match;
    for (int32_t b = 0; b < job->match; b++) /* the idle among its own blocks cannot be taken for others */
        idle += s->pool.references[mr_block_pool_find(&s->pool, job->prefix[b])] == 0;
    if (class->n_resident > 0 && fair_over_cap(s, job->class, job->in.tenant, own))
        return refuse(s, job, MR_WAIT_CAP);
    if (part_on(s, MR_PART_QUANTILES) && !alone(s, job->class) && !peak_fits(s, job, own * s->config.block_tokens))
        return refuse(s, job, MR_WAIT_BLOCKS);
    if (!make_room_pinned(s, job, own + idle - mr_block_pool_available(&s->pool)))
        return refuse(s, job, s->n_slots == 0 ? MR_WAIT_SLOTS : MR_WAIT_BLOCKS);
    fair_admitted(s, j);
    note_admitted(s, j);
    jobs_admit(s, j);
    CHECK(jobs_grow(s, j, tokens));
    if (job->admitted_ns == NEVER) {
        job->admitted_ns = s->now.start_ns;
        job->cached = job->computed;
        limits_start(&s->limits, job->in.tenant, job->scavenged ? 0 : job->queued_cost, s->now.start_ns);
    } else {
        limits_start(&s->limits, job->in.tenant, 0, s->now.start_ns);
    }
    fair_limits(s, job->in.tenant);
    int32_t uncharged = job_prompt(job) - (job->charged_position > job->computed ? job->charged_position : job->computed);
    fair_pending(s, job, uncharged > 0 ? (int64_t)uncharged * s->config.input_permille * MR_SCHED_SERVICE_UNIT / 1000 : 0);
    s->stats.cached_tokens += job->computed;
    return true;
}
