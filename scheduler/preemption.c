/* Who makes room (scheduling.md 3.8). Need: blocks or a slot of a strictly higher tier; the next block of a resident; or a
 * tenant's share that another of its class holds.
 *
 * 1. All or nothing: nobody is preempted for a need that is not met by it.
 * 2. Victims: relegated, then the lowest tier, then the largest counter, then the least recomputation per freed block, the
 *    latest admitted first. Inside the needing class only those admitted later than the needing sequence.
 * 3. Excluded: preempted three times; fewer than LATE_VICTIM_TOKENS since a resume; so near their end; freeing nothing. For
 *    the next block of a resident the end and the resume yield, in this order; three preemptions never.
 * 4. Minimal: in order of choice every victim without whom the need is still met is let go.
 * Rejected: swapping to the host, until there is a host tier to swap to. */
#include "scheduler/core.h"

#include "base/check.h"

static int rank_of(int class) { return class; } /* relegated is the last class and the first victim */

static int32_t freed_by(const struct mr_sched *s, const struct job *job)
{
    int32_t n = 0;
    for (int32_t b = 0; b < job->table.n_blocks; b++)
        n += s->pool.references[job->table.blocks[b]] == 1;
    return n;
}

/* excused: 0 all exclusions hold, 1 the near end yields, 2 the fresh resume too. */
static bool excluded(const struct job *job, int excused)
{
    if (job->preemptions >= MR_SCHED_PREEMPTIONS_MAX && !MUTANT(MUTANT_FOURTH_PREEMPTION))
        return true;
    if (excused < 1 && job->output > 0 && job->predicted - job->output <= LATE_VICTIM_TOKENS && job->predicted > LATE_VICTIM_TOKENS)
        return true;
    return excused < 2 && job->preemptions > 0 && job->since_resume < LATE_VICTIM_TOKENS;
}

static bool may_yield(const struct mr_sched *s, const struct job *job, const struct need *need, int excused)
{
    if (excluded(job, excused))
        return false;
    if (need->cap)
        return fair_over_cap(s, job->class, job->in.tenant, 0);
    if (MUTANT(MUTANT_BULK_KEEPS_BLOCKS) && need->class == MR_TIER_REALTIME && need->self < 0)
        return false;
    if (need->self < 0 || job->class != need->class)
        return true;
    return !MUTANT(MUTANT_NO_SAME_TIER) && job->admitted > s->jobs[need->self].admitted;
}

/* Can anybody of the class yield to the need? Where not, its residents are not looked at. */
static bool class_may_yield(const struct need *need, int c)
{
    if (MUTANT(MUTANT_EQUAL_TIER_SLOT) && need->slot && c == need->class)
        return true;
    if (need->cap)
        return c == need->class;
    if (need->self < 0)
        return need->class < MR_TIER_BULK && rank_of(c) > rank_of(need->class);
    return rank_of(c) >= rank_of(need->class);
}

static int64_t cost_per_block(const struct mr_sched *s, const struct job *job)
{
    int32_t own = job->table.n_blocks - job->shared;
    return cost_prefill_ps(&s->config.cost, 0, job->computed) / (own > 0 ? own : 1);
}

/* Scratch entries carry the cost in scratch_keys[slot]. */
static bool yields_before(const struct mr_sched *s, int32_t a, int32_t b, const struct need *need)
{
    const struct job *x = &s->jobs[a], *y = &s->jobs[b];
    if (!part_on(s, MR_PART_VICTIMS))
        return x->admitted > y->admitted;
    if (x->class != y->class)
        return rank_of(x->class) > rank_of(y->class);
    if (x->class == need->class && !need->cap)
        return x->admitted > y->admitted;
    int64_t x_counter = job_flow(s, x)->counter, y_counter = job_flow(s, y)->counter;
    if (x_counter != y_counter)
        return x_counter > y_counter;
    if (s->scratch_keys[x->slot] != s->scratch_keys[y->slot])
        return s->scratch_keys[x->slot] < s->scratch_keys[y->slot];
    return x->admitted > y->admitted;
}

static void sift(struct mr_sched *s, int32_t at, int32_t n, const struct need *need)
{
    int32_t j = s->scratch[at];
    for (int32_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && yields_before(s, s->scratch[child + 1], s->scratch[child], need))
            child++;
        if (!yields_before(s, s->scratch[child], j, need))
            break;
        s->scratch[at] = s->scratch[child];
    }
    s->scratch[at] = j;
}

static int32_t gather(struct mr_sched *s, const struct need *need, int excused)
{
    int32_t n = 0;
    for (int c = 0; c < CLASSES; c++) {
        const struct class *class = &s->classes[c];
        if (!class_may_yield(need, c))
            continue;
        int32_t i = 0, j = class->n_decodes ? class->decode_jobs[0] : class->prefill_head;
        while (j >= 0) {
            struct job *job = &s->jobs[j];
            if (j != need->self && may_yield(s, job, need, excused)) {
                s->scratch_keys[job->slot] = cost_per_block(s, job);
                s->scratch[n++] = j;
            }
            if (i < class->n_decodes)
                j = ++i < class->n_decodes ? class->decode_jobs[i] : class->prefill_head;
            else
                j = job->next;
        }
    }
    for (int32_t at = n / 2; at-- > 0;)
        sift(s, at, n, need);
    return n;
}

static void preempt(struct mr_sched *s, int32_t j, const struct need *need, int32_t freed)
{
    struct job *job = &s->jobs[j];
    step_take(s, job, 0);
    job->preemptions++;
    s->preempted[s->n_preempted] = job->in.id;
    s->victims[s->n_preempted++] = (struct mr_sched_victim){.id = job->in.id, .need = s->n_needs, .wanted = need->blocks, .freed = freed,
                                                            .slot = need->slot};
    s->stats.preemptions++;
    s->flows[(size_t)job->in.tier * (size_t)s->config.max_tenants + job->in.tenant].preemptions++;
    jobs_preempt(s, j);
}

void preemption_give_up(struct mr_sched *s, int32_t j)
{
    struct need need = {.class = s->jobs[j].class, .blocks = 1, .self = j};
    preempt(s, j, &need, freed_by(s, &s->jobs[j]));
    s->n_needs++;
}

/* The chosen stand at the end of scratch, first choice last, as a heap sort leaves them. */
static bool choose(struct mr_sched *s, const struct need *need, int excused)
{
    int32_t n = gather(s, need, excused), end = n, freed = 0;
    while (n > 0 && (freed < need->blocks || (need->slot && n == end))) {
        int32_t top = s->scratch[0], mine = freed_by(s, &s->jobs[top]);
        s->scratch[0] = s->scratch[--n];
        sift(s, 0, n, need);
        s->scratch[n] = top;
        s->scratch_keys[s->jobs[top].slot] = mine; /* what it gives alone: blocks it shares with another victim count for neither */
        freed += mine;
        if (mine == 0 && !need->slot) { /* only shared blocks: no victim; the hole is closed from the other end */
            for (int32_t i = n; i + 1 < end; i++)
                s->scratch[i] = s->scratch[i + 1];
            end--;
        }
    }
    if (freed < need->blocks || (need->slot && n == end))
        return false;
    int32_t left = end - n;
    for (int32_t i = end - 1; i >= n; i--) {
        int32_t mine = (int32_t)s->scratch_keys[s->jobs[s->scratch[i]].slot];
        if (freed - mine >= need->blocks && (!need->slot || left > 1) && !MUTANT(MUTANT_GREEDY_VICTIMS)) {
            freed -= mine;
            left--;
            s->scratch[i] = -1;
        }
    }
    for (int32_t i = end - 1; i >= n; i--)
        if (s->scratch[i] >= 0)
            preempt(s, s->scratch[i], need, (int32_t)s->scratch_keys[s->jobs[s->scratch[i]].slot]);
    s->n_needs++;
    return true;
}

bool preemption_make_room(struct mr_sched *s, const struct need *need)
{
    int last = need->self >= 0 ? 2 : 0;
    for (int excused = 0; excused <= last; excused++)
        if (choose(s, need, excused))
            return true;
    return false;
}
