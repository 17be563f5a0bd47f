/* Fairness among the tenants of one class: weighted service counters with a window (scheduling.md 3.5; Virtual Token Counter,
 * arXiv 2401.00588; deficit window after DLPM, arXiv 2501.14312).
 *
 * 1. A counter never falls. It moves when service is committed, by service / weight; what is admitted and not yet computed
 *    (pending) counts for the choice only, so that a cancel gives nothing back.
 * 2. The heap of a class holds its backlogged flows that their contract allows, by counter + pending.
 * 3. A flow that becomes backlogged is lifted to the class's virtual time, the highest least counter ever seen: idling earns
 *    nothing, also when all idled.
 * 4. Eligible are the flows within Q of the least; of their best jobs the longest match in the cache goes. Nobody is bypassed for
 *    ever: a flow waits until the others are Q ahead, a job 16 picks of its flow for every place of the queue it joined.
 * A pick costs O(64): at most FLOWS_LOOKED_AT flows with a remembered best job each, of which at most REFRESHES_PER_PICK are
 * looked for anew among their first `visible` jobs. A step that admits many compares fewer for each of the later ones: what it
 * looks at is bounded by LOOKS_PER_STEP and 8 a pick, and who goes is then nearer to the least counter than to the longest match.
 * Rejected: refunds; deficit round robin, whose bound is a round. */
#include "scheduler/core.h"

#include "base/check.h"

enum { FETCHED_AHEAD = 6 };

static int64_t key_of(const struct flow *flow) { return flow->counter + flow->pending * FAIR_SCALE / flow->weight; }

static void rekey(struct mr_sched *s, int class, uint32_t tenant)
{
    uint32_t f = flow_tenant(s, tenant);
    if (heap_has(&s->classes[class].flows, (int32_t)f))
        heap_set(&s->classes[class].flows, (int32_t)f, key_of(flow_of(s, class, tenant)));
}

int64_t fair_least(const struct mr_sched *s, int c)
{
    const struct class *class = &s->classes[c];
    return class->flows.n ? flow_of(s, c, (uint32_t)class->flows.items[0])->counter : NEVER;
}

void fair_virtual_time(struct mr_sched *s, int c)
{
    struct class *class = &s->classes[c];
    int64_t least = fair_least(s, c);
    least = class->others_least < least ? class->others_least : least;
    if (least != NEVER && (least > class->virtual_time || MUTANT(MUTANT_LIFT_TO_LEAST)))
        class->virtual_time = least;
}

void fair_backlog(struct mr_sched *s, int c, uint32_t tenant)
{
    struct flow *flow = flow_of(s, c, tenant);
    struct class *class = &s->classes[c];
    enum mr_sched_wait wait;
    bool allowed = !part_on(s, MR_PART_FAIR) || limits_allow(&s->limits, tenant, &wait), was = flow->backlogged;
    flow->backlogged = flow->n_waiting > 0 && allowed;
    class->n_backlogged += flow->backlogged - was;
    if (!flow->backlogged) {
        heap_remove(&class->flows, (int32_t)flow_tenant(s, tenant));
        if (MUTANT(MUTANT_LIFT_TO_LEAST) && class->flows.n == 0)
            class->virtual_time = 0;
        return;
    }
    if (was)
        return;
    if (flow->counter < class->virtual_time && part_on(s, MR_PART_LIFT) && !MUTANT(MUTANT_NO_LIFT))
        flow->counter = class->virtual_time;
    heap_set(&class->flows, (int32_t)flow_tenant(s, tenant), key_of(flow));
}

void fair_weight(struct mr_sched *s, int class, uint32_t tenant, int32_t weight)
{
    s->flows[(size_t)class * (size_t)s->config.max_tenants + tenant].weight = weight;
    fair_backlog(s, class, tenant);
    rekey(s, class, tenant);
}

void fair_limits(struct mr_sched *s, uint32_t tenant)
{
    const struct mr_sched_tenant *contract = &s->limits.tenants[tenant].contract;
    enum mr_sched_wait wait = MR_WAIT_TURN;
    if (!contract->rate_tokens && !contract->concurrency)
        return;
    limits_allow(&s->limits, tenant, &wait);
    decisions_tenant(&s->decisions, tenant, wait, s->clock_ns);
    for (int c = 0; c < CLASSES; c++)
        fair_backlog(s, c, tenant);
}

void fair_pending(struct mr_sched *s, struct job *job, int64_t pending)
{
    if (pending == job->pending)
        return;
    job_flow(s, job)->pending += pending - job->pending;
    job->pending = pending;
    rekey(s, job->class, job->in.tenant);
}

void fair_charge(struct mr_sched *s, struct job *job, int64_t service)
{
    struct flow *flow = job_flow(s, job);
    s->flows[(size_t)job->class * (size_t)s->config.max_tenants + job->in.tenant].charged += service;
    flow->counter += service * FAIR_SCALE / flow->weight;
    rekey(s, job->class, job->in.tenant);
    fair_virtual_time(s, job->class);
}

void fair_external(struct mr_sched *s, int class, uint32_t tenant, int64_t total)
{
    struct flow *flow = flow_of(s, class, tenant);
    if (total <= flow->external && !MUTANT(MUTANT_TOTAL_BELIEVED)) /* a store that was flushed or restored: never taken over */
        return;
    flow->counter += (total - flow->external) * FAIR_SCALE / flow->weight;
    flow->external = total;
    rekey(s, class, tenant);
    fair_virtual_time(s, class);
}

/* K_f = 1.5 x pool x weight / sum of weights, when two or more want the pool; one job is always allowed. */
bool fair_over_cap(const struct mr_sched *s, int class, uint32_t tenant, int32_t more_blocks)
{
    const struct flow *flow = flow_of(s, class, tenant);
    const struct class *in = &s->classes[class];
    if (!part_on(s, MR_PART_CAP) || !part_on(s, MR_PART_FAIR) || in->n_backlogged - flow->backlogged < 1 || flow->n_resident == 0)
        return false;
    int64_t held = flow->held_blocks + more_blocks; /* held > cap, without the division */
    return held * 2 * in->weight_sum > (int64_t)s->pool.n_blocks * 3 * flow->weight && !MUTANT(MUTANT_NO_CAP);
}

/* ---- the best job of a flow ---- */

/* How many wait that begin alike: when no beginning is in the cache, the one that serves most is computed first. */
static int32_t alike(const struct mr_sched *s, const struct job *job) { return job->group >= 0 ? s->groups.all[job->group].n : 0; }

static bool memory_bound(const struct mr_sched *s) { return cost_memory_bound(&s->config.cost, s->now.load); }

/* Inside one tenant: priority first, then the longest match, the earlier deadline, the beginning that most of the visible jobs
 * share, in bulk what the step has room for (3.6, blend), the smaller remainder, arrival. */
static bool better(const struct mr_sched *s, const struct job *a, const struct job *b)
{
    if (a->level != b->level)
        return a->level > b->level;
    if (!part_on(s, MR_PART_PREFIX))
        return job_before(a, b);
    if (a->match != b->match)
        return a->match > b->match;
    if (!part_on(s, MR_PART_FAIR))
        return job_before(a, b);
    if (a->end_ns != b->end_ns)
        return a->end_ns < b->end_ns;
    if (alike(s, a) != alike(s, b))
        return alike(s, a) > alike(s, b);
    int64_t a_rest = a->predicted - a->output, b_rest = b->predicted - b->output;
    if (a->class == MR_TIER_BULK && part_on(s, MR_PART_BLEND) && a->known * b_rest != b->known * a_rest)
        return (a->known * b_rest > b->known * a_rest) == (memory_bound(s) != MUTANT(MUTANT_BLEND_REVERSED)); /* the prefill-heavy one */
    return a_rest != b_rest ? a_rest < b_rest : job_before(a, b);
}

/* Jobs of a list are fetched some places before they are looked at: their order in memory is nobody's. */
static int32_t fetch_next(const struct mr_sched *s, int32_t ahead)
{
    if (ahead < 0)
        return -1;
    __builtin_prefetch(&s->jobs[ahead]);
    return s->next[ahead];
}

static int32_t fetch_first(const struct mr_sched *s, int32_t head)
{
    for (int i = 0; i < FETCHED_AHEAD; i++)
        head = fetch_next(s, head);
    return head;
}

static int32_t flow_oldest(const struct mr_sched *s, const struct flow *flow)
{
    int32_t oldest = -1;
    for (int level = 0; level < LEVELS; level++) {
        int32_t j = flow->head[level];
        while (j >= 0 && s->jobs[j].preempted_step == s->step)
            j = s->next[j];
        if (j >= 0 && (oldest < 0 || job_before(&s->jobs[j], &s->jobs[oldest])))
            oldest = j;
    }
    return oldest;
}

/* The job that must go now for its age; -1: none. Each may be bypassed GUARD_PICKS times for every place of the queue it joined,
 * and goes while there are still picks for all that wait; and, while some wait out of sight or behind another priority, the
 * oldest goes every GUARD_PICKS. */
static int32_t flow_aged(const struct mr_sched *s, struct flow *flow)
{
    int64_t horizon = flow->picks + flow->n_waiting, least = flow->allowance;
    int32_t levels = 0, aged = -1;
    for (int level = 0; level < LEVELS; level++)
        levels += flow->head[level] >= 0;
    if ((flow->n_waiting > s->config.visible || levels > 1) && flow->bypasses >= GUARD_PICKS - 1)
        return flow_oldest(s, flow);
    if (flow->allowance > horizon) /* perhaps of one that has gone: never too large */
        return -1;
    flow->allowance = NEVER;
    for (int level = 0; level < LEVELS; level++)
        for (int32_t j = flow->head[level], ahead = fetch_first(s, j), seen = 0; j >= 0 && seen < s->config.visible;
                j = s->next[j], ahead = fetch_next(s, ahead), seen++)
            if (s->jobs[j].allowance < flow->allowance && (level < LEVEL_PREEMPTED || s->jobs[j].preempted_step != s->step)) {
                flow->allowance = s->jobs[j].allowance;
                aged = j;
                if (flow->allowance == least)
                    return aged; /* there is none below it */
            }
    return flow->allowance <= horizon ? aged : -1;
}

/* Has the flow's group in flight a waiting job? Its place may have gone to another group meanwhile. */
static bool group_lives(const struct mr_sched *s, const struct flow *flow)
{
    const struct group *group = flow->group >= 0 ? &s->groups.all[flow->group] : NULL;
    return group && group->n > 0 && group->name == flow->group_name && &s->flows[group->flow] == flow;
}

/* The next of the group in flight, until it is drained. */
static int32_t group_next(const struct mr_sched *s, const struct flow *flow, int level)
{
    if (level == LEVEL_PREEMPTED || !group_lives(s, flow))
        return -1;
    int32_t j = s->groups.all[flow->group].head;
    bool fit = s->jobs[j].level == level && s->jobs[j].preempted_step != s->step && groups_ready(s, flow->group);
    return fit ? j : -1;
}

/* Of a flow with more jobs than are in sight: the next of its best group, wherever it stands. */
static int32_t group_any(struct mr_sched *s, const struct flow *flow, int level)
{
    int32_t j = level == LEVEL_PREEMPTED ? -1 : groups_best(s, (int32_t)(flow - s->flows));
    return j >= 0 && s->jobs[j].level == level && s->jobs[j].preempted_step != s->step ? j : -1;
}

/* The best of the first `visible` of one level; jobs of a group that is warming wait for it. */
static int32_t level_best(struct mr_sched *s, struct flow *flow, int level)
{
    int32_t best = !part_on(s, MR_PART_PREFIX) ? -1 : flow->n_waiting > s->config.visible ? group_any(s, flow, level) : group_next(s, flow, level);
    int32_t seen = 0;
    if (best >= 0) {
        match_refresh(s, &s->jobs[best]);
        return best;
    }
    for (int32_t j = flow->head[level], ahead = fetch_first(s, j); j >= 0 && seen < s->config.visible;
            j = s->next[j], ahead = fetch_next(s, ahead)) {
        struct job *job = &s->jobs[j];
        if (level == LEVEL_PREEMPTED && job->preempted_step == s->step)
            continue;
        if (!part_on(s, MR_PART_PREFIX))
            return j; /* arrival alone decides: the head */
        seen++;
        if (job->prefix) {
            flow->has_prefixes = true;
            match_refresh(s, job);
        }
        if (groups_ready(s, job->group) && (best < 0 || better(s, job, &s->jobs[best])))
            best = j;
    }
    return best;
}

static void best_set(const struct mr_sched *s, struct flow *flow, int32_t j)
{
    flow->best = j;
    flow->best_match = j >= 0 ? s->jobs[j].match : 0;
    flow->best_end = j >= 0 ? s->jobs[j].end_ns : NEVER;
}

static void flow_best(struct mr_sched *s, struct flow *flow)
{
    int32_t best = -1;
    flow->best_step = s->step;
    flow->best_memory = memory_bound(s);
    if (part_on(s, MR_PART_GUARD) && !MUTANT(MUTANT_NO_GUARD))
        best = flow_aged(s, flow);
    flow->aged = best >= 0;
    if (flow->aged) {
        best_set(s, flow, best);
        return;
    }
    flow->has_prefixes = false;
    for (int level = LEVELS - 1; level >= 0 && best < 0; level--)
        if (flow->head[level] >= 0)
            best = level_best(s, flow, level);
    best_set(s, flow, best);
}

void fair_inserted(struct mr_sched *s, int32_t j)
{
    struct flow *flow = job_flow(s, &s->jobs[j]);
    int32_t ahead = s->next[j] >= 0 ? 0 : flow->n_waiting - 1; /* what comes late and before others has nobody ahead */
    s->jobs[j].allowance = flow->picks + GUARD_PICKS * ((int64_t)ahead + 1);
    flow->allowance = s->jobs[j].allowance < flow->allowance || flow->n_waiting == 1 ? s->jobs[j].allowance : flow->allowance;
    if (flow->best >= 0 && !flow->aged && s->jobs[j].preempted_step != s->step && better(s, &s->jobs[j], &s->jobs[flow->best]))
        best_set(s, flow, j);
}

void fair_admitted(struct mr_sched *s, int32_t j)
{
    struct flow *flow = job_flow(s, &s->jobs[j]);
    flow->bypasses = flow_oldest(s, flow) == j ? 0 : flow->bypasses + 1;
    flow->picks++;
    groups_admitted(s, j);
    if (group_lives(s, flow) && s->groups.all[flow->group].n > (s->jobs[j].group == flow->group))
        return; /* the one in flight is not drained yet */
    flow->group = s->jobs[j].group;
    flow->group_name = flow->group >= 0 ? s->groups.all[flow->group].name : 0;
}

/* ---- the pick ---- */

struct pick {
    struct mr_sched *s;
    int class;
    bool blend;
    int64_t chosen_key;
    int32_t chosen;
    const struct flow *chosen_flow;
    int looked_at, most, refreshed;
    bool capped, unfit;
};

static bool pick_better(const struct pick *pick, const struct flow *flow, int64_t key)
{
    const struct mr_sched *s = pick->s;
    const struct flow *other = pick->chosen_flow;
    bool prefix = part_on(s, MR_PART_PREFIX);
    if (prefix && flow->best_match != other->best_match)
        return flow->best_match > other->best_match;
    if (key != pick->chosen_key)
        return key < pick->chosen_key;
    if (prefix && flow->best_end != other->best_end)
        return flow->best_end < other->best_end;
    return job_before(&s->jobs[flow->best], &s->jobs[other->best]);
}

static void pick_look(struct pick *pick, int32_t f)
{
    struct mr_sched *s = pick->s;
    struct flow *flow = flow_of(s, pick->class, (uint32_t)f);
    int64_t key = s->classes[pick->class].flows.keys[f];
    pick->looked_at++;
    if (flow->skip_step == s->step) {
        *(flow->skip_capped ? &pick->capped : &pick->unfit) = true;
        return;
    }
    if (fair_over_cap(s, pick->class, (uint32_t)f, 0)) {
        pick->capped = true;
        return;
    }
    bool moved = flow->has_prefixes || (pick->blend && flow->best_memory != memory_bound(s));
    bool old = moved && flow->best_step + REFRESH_STEPS <= s->step && pick->refreshed < REFRESHES_PER_PICK;
    if (flow->best >= 0 && flow->aged && old) {
        match_refresh(s, &s->jobs[flow->best]); /* it goes whatever others have found */
        best_set(s, flow, flow->best);
        flow->best_step = s->step;
    } else if (flow->best < 0 || old) {
        pick->refreshed += flow->best >= 0;
        flow_best(s, flow);
    }
    if (flow->best >= 0 && (pick->chosen < 0 || pick_better(pick, flow, key))) {
        pick->chosen = flow->best;
        pick->chosen_flow = flow;
        pick->chosen_key = key;
    }
}

static bool in_window(const struct mr_sched *s, int c, int32_t f, int64_t window)
{
    const struct heap *heap = &s->classes[c].flows;
    return heap_has(heap, f) &&
           (MUTANT(MUTANT_WINDOW_IGNORED) || (heap->keys[f] - heap->keys[heap->items[0]]) * flow_of(s, c, (uint32_t)f)->weight <= window);
}

static int64_t window_of(const struct mr_sched *s)
{
    return part_on(s, MR_PART_WINDOW) ? (int64_t)s->config.window_tokens * MR_SCHED_SERVICE_UNIT * FAIR_SCALE : 0;
}

bool fair_in_window(const struct mr_sched *s, int c, uint32_t tenant) { return in_window(s, c, (int32_t)tenant, window_of(s)); }

/* Visits the heap from the least; children of a flow outside the window are outside too. The window widens to all flows only
 * when all inside it hold more than their cap: not when a head does not fit, or the bound would be gone. */
static void pick_walk(struct pick *pick, bool whole)
{
    struct mr_sched *s = pick->s;
    const struct heap *heap = &s->classes[pick->class].flows;
    int64_t window = window_of(s);
    int32_t stack[FLOWS_LOOKED_AT + 2], n = 0;
    if (heap->n)
        stack[n++] = 0;
    while (n > 0 && pick->looked_at < pick->most) {
        int32_t place = stack[--n], f = heap->items[place];
        if (!whole && !in_window(s, pick->class, f, window))
            continue;
        pick_look(pick, f);
        for (int32_t child = 2 * place + 2; child > 2 * place; child--)
            if (child < heap->n && n < FLOWS_LOOKED_AT + 2) {
                __builtin_prefetch(flow_of(s, pick->class, (uint32_t)heap->items[child]));
                stack[n++] = child;
            }
    }
}

int32_t fair_pick(struct mr_sched *s, int c)
{
    struct class *class = &s->classes[c];
    if (class->flows.n == 0) {
        class->stop = MR_WAIT_TURN;
        return -1;
    }
    if (class->blocked_head >= 0 && !in_window(s, c, (int32_t)flow_tenant(s, s->jobs[class->blocked_head].in.tenant), window_of(s)))
        class->blocked_head = -1; /* its tenant has had its share meanwhile: another's head is next */
    if (class->blocked_head >= 0 && s->jobs[class->blocked_head].overtaken >= GUARD_PICKS &&
        job_flow(s, &s->jobs[class->blocked_head])->skip_step != s->step)
        return class->blocked_head;
    class->looked = class->looked_step == s->step ? class->looked : 0;
    class->looked_step = s->step;
    struct pick pick = {.s = s, .class = c, .blend = c == MR_TIER_BULK && part_on(s, MR_PART_BLEND), .chosen = -1,
                        .most = class->looked < LOOKS_PER_STEP ? FLOWS_LOOKED_AT : FLOWS_LOOKED_AT_LATE};
    fair_virtual_time(s, c);
    pick_walk(&pick, false);
    if (pick.chosen < 0 && pick.capped && !pick.unfit) {
        pick.looked_at = 0;
        pick_walk(&pick, true);
    }
    class->looked += pick.looked_at;
    class->stop = pick.chosen >= 0 ? MR_WAIT_TURN : pick.capped ? MR_WAIT_CAP : class->stop;
    return pick.chosen;
}

/* Looks at the tenants nearest to the end of their debt: as many as a pick compares. */
int32_t fair_scavenger(const struct mr_sched *s)
{
    const struct heap *debtors = &s->limits.refills;
    for (int32_t i = 0; i < debtors->n && i < FLOWS_LOOKED_AT; i++) {
        uint32_t tenant = (uint32_t)debtors->items[i];
        enum mr_sched_wait wait = MR_WAIT_TURN;
        if (!s->limits.tenants[tenant].contract.scavenge || limits_allow(&s->limits, tenant, &wait) || wait != MR_WAIT_RATE)
            continue;
        for (int c = 0; c < CLASSES; c++) {
            const struct flow *flow = flow_of(s, c, tenant);
            int32_t j = flow->n_waiting > 0 ? flow_oldest(s, flow) : -1;
            if (j >= 0)
                return j;
        }
    }
    return -1;
}

void fair_check(const struct mr_sched *s)
{
    for (int c = 0; c < CLASSES; c++) {
        const struct class *class = &s->classes[c];
        int64_t weights = 0;
        int32_t backlogged = 0;
        heap_check(&class->flows);
        for (int32_t t = 0; t < s->config.max_tenants; t++) {
            const struct flow *flow = &s->flows[(size_t)c * (size_t)s->config.max_tenants + (size_t)t];
            CHECK(flow->counter >= 0 && flow->pending >= 0 && flow->held_blocks >= 0);
            CHECK(flow->backlogged == heap_has(&class->flows, t) && (!flow->backlogged || flow->n_waiting > 0));
            CHECK(flow->best < 0 || (s->jobs[flow->best].state == JOB_WAITING && job_flow(s, &s->jobs[flow->best]) == flow &&
                                     flow->best_match == s->jobs[flow->best].match && flow->best_end == s->jobs[flow->best].end_ns));
            CHECK(flow->weight == s->limits.tenants[t].contract.weight);
            CHECK(!flow->backlogged || class->flows.keys[t] == key_of(flow));
            weights += flow->n_waiting + flow->n_resident > 0 ? s->limits.tenants[t].contract.weight : 0;
            backlogged += flow->backlogged;
        }
        CHECK(weights == class->weight_sum && backlogged == class->n_backlogged);
    }
}
