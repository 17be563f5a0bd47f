/* Which realtime and standard jobs can still have their first token in time (scheduling.md 3.4, step 3). In order of deadline
 * the prompt work adds up at the rate that the decodes leave of each step; when a deadline is passed, the largest job before
 * it is relegated: Moore and Hodgson's rule, which minimises the number of late jobs for the model. It runs before KV is
 * given, so that lost work never fills the pool. One step looks at the first FEASIBILITY_JOBS of a class: those behind are
 * looked at when they come near. */
#include "scheduler/core.h"

struct work {
    int64_t ps;
    int32_t j;
};

/* A max-heap of work on the stack. */
struct pile {
    struct work items[FEASIBILITY_JOBS];
    int32_t n;
};

static bool larger(struct work a, struct work b) { return a.ps != b.ps ? a.ps > b.ps : a.j > b.j; }

static void pile_push(struct pile *pile, struct work work)
{
    int32_t at = pile->n++;
    for (; at > 0 && larger(work, pile->items[(at - 1) / 2]); at = (at - 1) / 2)
        pile->items[at] = pile->items[(at - 1) / 2];
    pile->items[at] = work;
}

static struct work pile_pop(struct pile *pile)
{
    struct work top = pile->items[0], last = pile->items[--pile->n];
    int32_t at = 0;
    for (int32_t child; (child = 2 * at + 1) < pile->n; at = child) {
        if (child + 1 < pile->n && larger(pile->items[child + 1], pile->items[child]))
            child++;
        if (!larger(pile->items[child], last))
            break;
        pile->items[at] = pile->items[child];
    }
    pile->items[at] = last;
    return top;
}

int64_t feasibility_due(const struct mr_sched *s, const struct job *job)
{
    if (job->class > MR_TIER_STANDARD || !s->config.tier[job->class].ttft_ns || job->output > 0)
        return NEVER;
    return job->in.arrival_ns + s->config.tier[job->class].ttft_ns;
}

static void relegate(struct mr_sched *s, int32_t j)
{
    s->now.violating |= s->jobs[j].class == MR_TIER_REALTIME;
    s->stats.relegations++;
    s->flows[(size_t)s->jobs[j].in.tier * (size_t)s->config.max_tenants + s->jobs[j].in.tenant].relegations++;
    jobs_reclass(s, j, MR_SCHED_RELEGATED);
}

/* Time until so much prompt work is done, at the share of each step that the decodes leave. */
static int64_t finish_ns(int64_t work_ps, int64_t budget_ps, int64_t decode_ps)
{
    int64_t usable = budget_ps - decode_ps, least = budget_ps / 64 + 1;
    usable = usable > least ? usable : least;
    return (int64_t)((__int128)work_ps * budget_ps / usable / 1000);
}

static int64_t relegate_class(struct mr_sched *s, int c, int64_t before_ps, int64_t decode_ps)
{
    const struct class *class = &s->classes[c];
    struct pile pile = {.n = 0};
    int64_t sum = before_ps, budget = s->now.budget_ps;
    int32_t seen = 0;
    for (int32_t j = class->due_head, next; j >= 0 && seen < FEASIBILITY_JOBS; j = next, seen++) {
        const struct job *job = &s->jobs[j];
        next = job->due_next;
        int32_t from = job->state == JOB_WAITING ? job->match * s->config.block_tokens : job->computed;
        int64_t work = cost_prefill_ps(&s->config.cost, from, job->known - from), left = job->due_ns - s->now.start_ns;
        if (left <= 0 || finish_ns(work, budget, decode_ps) > left) {
            relegate(s, j); /* not even alone */
            continue;
        }
        pile_push(&pile, (struct work){work, j});
        sum += work;
        if (finish_ns(sum, budget, decode_ps) > left) {
            struct work largest = pile_pop(&pile);
            sum -= largest.ps;
            if (largest.j == next)
                next = s->jobs[next].due_next;
            relegate(s, largest.j);
        }
    }
    return sum;
}

void feasibility_relegate(struct mr_sched *s)
{
    if (!part_on(s, MR_PART_RELEGATION) || s->now.budget_ps == NEVER)
        return;
    int64_t decode_ps = cost_dense_ps(&s->config.cost, s->now.latency);
    int64_t sum = relegate_class(s, MR_TIER_REALTIME, 0, decode_ps);
    relegate_class(s, MR_TIER_STANDARD, sum, decode_ps);
}
