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
static bool excluded(const struct tenure *job, int32_t output, int excused)
{
    if (job->preemptions >= MR_SCHED_PREEMPTIONS_MAX && !MUTANT(MUTANT_FOURTH_PREEMPTION))
        return true;
    if (excused < 1 && output > 0 && job->predicted - output <= LATE_VICTIM_TOKENS && job->predicted > LATE_VICTIM_TOKENS)
        return true;
    return excused < 2 && job->preemptions > 0 && output - job->resumed < LATE_VICTIM_TOKENS;
}

static bool may_yield(const struct mr_sched *s, int32_t j, int class, const struct tenure *tenure, const struct need *need)
{
    if (need->cap)
        return fair_over_cap(s, class, (uint32_t)(tenure->flow % s->config.max_tenants), 0);
    if (MUTANT(MUTANT_BULK_KEEPS_BLOCKS) && need->class == MR_TIER_REALTIME && need->self < 0)
        return false;
    if (need->self < 0 || class != need->class)
        return true;
    return !MUTANT(MUTANT_NO_SAME_TIER) && s->jobs[j].admitted > s->jobs[need->self].admitted;
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

static int64_t cost_per_block(const struct mr_sched *s, int32_t computed, int32_t own)
{
    return cost_prefill_ps(&s->config.cost, 0, computed) / (own > 0 ? own : 1);
}

static bool yields_before(const struct mr_sched *s, const struct candidate *x, const struct candidate *y, const struct need *need)
{
    bool own = x->class == need->class && !need->cap;
    if (part_on(s, MR_PART_VICTIMS) && !own) {
        if (x->counter != y->counter)
            return x->counter > y->counter;
        if (x->cost != y->cost)
            return x->cost < y->cost;
    }
    return s->jobs[x->j].admitted > s->jobs[y->j].admitted;
}

static void sift(struct mr_sched *s, int32_t at, int32_t n, const struct need *need)
{
    struct candidate *heap = s->candidates, moved = heap[at];
    for (int32_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && yields_before(s, &heap[child + 1], &heap[child], need))
            child++;
        if (!yields_before(s, &heap[child], &moved, need))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moved;
}

/* A resident, by what it has computed, its blocks and its tenure. */
struct resident {
    int32_t j, class, computed, n_blocks;
    const struct tenure *tenure;
};

static int32_t gather_one(struct mr_sched *s, const struct resident *it, int32_t n, const struct need *need, int excused)
{
    const struct tenure *tenure = it->tenure;
    if (it->j == need->self || excluded(tenure, it->computed - tenure->before, excused) || !may_yield(s, it->j, it->class, tenure, need))
        return n;
    s->candidates[n] = (struct candidate){.j = it->j, .class = it->class, .counter = s->flows[tenure->flow].counter,
                                          .cost = cost_per_block(s, it->computed, it->n_blocks - tenure->shared)};
    return n + 1;
}

/* The candidates of the classes from .. to, as a heap; how many. */
static int32_t gather(struct mr_sched *s, const struct need *need, int excused, int from, int to)
{
    int32_t n = 0;
    for (int c = from; c <= to; c++) {
        const struct class *class = &s->classes[c];
        if (!class_may_yield(need, c))
            continue;
        for (int32_t i = 0; i < class->n_decodes; i++) {
            const struct mr_sched_item *item = &class->decodes[i];
            struct resident it = {class->decode_jobs[i], c, item->start, item->n_blocks, &class->decode_tenure[i]};
            n = gather_one(s, &it, n, need, excused);
        }
        for (int32_t j = class->prefill_head; j >= 0; j = s->next[j]) {
            const struct tenure tenure = job_tenure(s, &s->jobs[j]);
            struct resident it = {j, c, s->jobs[j].computed, s->jobs[j].table.n_blocks, &tenure};
            n = gather_one(s, &it, n, need, excused);
        }
    }
    for (int32_t at = n / 2; at-- > 0;)
        sift(s, at, n, need);
    return n;
}

static void preempt(struct mr_sched *s, int32_t j, const struct need *need, int32_t freed)
{
    struct job *job = &s->jobs[j];
    admission_yielded(s, job);
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

static bool lacks(const struct need *need, int32_t freed, int32_t n_chosen) { return freed < need->blocks || (need->slot && n_chosen == 0); }

/* Takes victims of the classes from .. to, in order, until the need is met or none is left. What a victim gives alone counts:
 * blocks that it shares with another count for neither. */
static int32_t take_victims(struct mr_sched *s, const struct need *need, int32_t n, int32_t n_chosen, int32_t *freed)
{
    while (n > 0 && lacks(need, *freed, n_chosen)) {
        struct candidate top = s->candidates[0];
        s->candidates[0] = s->candidates[--n];
        sift(s, 0, n, need);
        top.freed = freed_by(s, &s->jobs[top.j]);
        *freed += top.freed;
        if (top.freed > 0 || need->slot) /* who only shares is no victim */
            s->chosen[n_chosen++] = top;
    }
    return n_chosen;
}

static bool choose(struct mr_sched *s, const struct need *need, int excused)
{
    bool by_class = part_on(s, MR_PART_VICTIMS); /* the classes behind first: the others are not looked at when those are enough */
    int32_t n_chosen = 0, freed = 0;
    for (int c = CLASSES - 1; c >= 0 && lacks(need, freed, n_chosen); c = by_class ? c - 1 : -1)
        n_chosen = take_victims(s, need, gather(s, need, excused, by_class ? c : 0, c), n_chosen, &freed);
    if (lacks(need, freed, n_chosen))
        return false;
    int32_t left = n_chosen;
    for (int32_t i = 0; i < n_chosen; i++)
        if (freed - s->chosen[i].freed >= need->blocks && (!need->slot || left > 1) && !MUTANT(MUTANT_GREEDY_VICTIMS)) {
            freed -= s->chosen[i].freed;
            left--;
            s->chosen[i].j = -1;
        }
    for (int32_t i = 0; i < n_chosen; i++)
        if (s->chosen[i].j >= 0)
            preempt(s, s->chosen[i].j, need, s->chosen[i].freed);
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
