/* The event loop. Owns: the workers (a scheduler and a step in flight each) and the clock.
 *
 * 1. Time moves to the earliest of: a step's end, an arrival, a fetch from the log, a cancel, a fault, an exchange of counters or
 *    its answer, and, for a worker that has jobs and could plan nothing, a poll 10 ms later. 2. At one moment: steps end first,
 *    then jobs arrive, are fetched and cancelled, then idle workers plan: as the engine thread does it. 3. The true time of a step
 *    comes from the scenario's cost model with its bias, error and stalls; the scheduler believes the model without them, and sees
 *    its worker's own clock. Copies between device and host are not modelled: the scheduler has no host tier. */
#include "scheduler/sim/sim.h"

#include "scheduler/cost.h"
#include "scheduler/lengths.h"
#include "scheduler/sim/feed.h"
#include "scheduler/sim/loads.h"
#include "scheduler/sim/measure.h"
#include "scheduler/sim/oracle.h"

#include <stdlib.h>
#include <string.h>

#define POLL_NS INT64_C(10000000)
#define FOREVER INT64_MAX
enum { TAIL_S = 60 }; /* after the measured time, with the backlog kept up, for what arrived in it to end */

struct worker {
    struct mr_sched *sched;
    struct mr_sched_plan plan;
    struct mr_sched_result *results; /* [max_seqs] */
    int64_t free_ns;                 /* in flight: the step's end; idle with jobs: the next poll; FOREVER: nothing to do */
    bool in_flight, dead;
    int32_t *live;                   /* [max_jobs] */
    int32_t n_live;
    int64_t external[MR_SCHED_CLASSES][SIM_TENANTS_MAX]; /* what Redis told, on its way here */
    bool answer;                     /* external is to be taken over */
};

struct world {
    const struct sim_scenario *scenario;
    const struct sim_options *options;
    struct sim_result *result;
    struct sim_loads loads;
    struct sim_random random;
    struct worker workers[SIM_WORKERS_MAX];
    struct sim_oracle *oracle;
    struct sim_measure measure;
    int32_t *in_system;              /* [loads][SIM_TENANTS_MAX] of the loads that keep a backlog */
    int32_t *cancels, n_cancels;     /* jobs with a cancel to come */
    int32_t next_arrival;
    struct sim_feed feed;
    int64_t now, sync_at, answer_at; /* FOREVER: no answer is on its way */
    int64_t totals[MR_SCHED_CLASSES][SIM_TENANTS_MAX];   /* in Redis */
    int64_t mine[SIM_WORKERS_MAX][MR_SCHED_CLASSES][SIM_TENANTS_MAX]; /* of totals, a worker's own */
    bool fault_done[SIM_FAULTS_MAX];
    int32_t n_queued, n_open;        /* jobs that have not ended; of these, those of loads that keep no backlog */
};

/* What the worker's clock shows. */
static int64_t clock_of(const struct world *w, int32_t i) { return w->now + w->scenario->skew_ns[i]; }

static struct sim_view view_of(struct world *w, int32_t i)
{
    struct worker *worker = &w->workers[i];
    return (struct sim_view){w->scenario, &w->loads, worker->sched, i, worker->live, worker->n_live, clock_of(w, i)};
}

static void live_remove(struct worker *worker, int32_t j)
{
    for (int32_t i = 0; i < worker->n_live; i++)
        if (worker->live[i] == j) {
            worker->live[i] = worker->live[--worker->n_live];
            return;
        }
}

static void job_end(struct world *w, int32_t j, enum sim_state state)
{
    struct sim_job *job = &w->loads.jobs[j];
    if (job->worker >= 0)
        live_remove(&w->workers[job->worker], j);
    job->state = state;
    w->n_queued--;
    if (w->scenario->loads[job->load].source == SIM_BACKLOG)
        w->in_system[job->load * SIM_TENANTS_MAX + (int32_t)job->tenant]--;
    else
        w->n_open--;
    sim_measure_end(&w->measure, &w->loads, job, w->now);
    free(job->names);
    job->names = NULL;
    job->n_names = 0;
}

/* Tenant and prefix group, as the senders' partitioner has it. */
static uint64_t key_of(const struct world *w, int32_t j)
{
    const struct sim_job *job = &w->loads.jobs[j];
    return job->prefix >= 0 ? mr_mix64((uint64_t)job->tenant << 32 | (uint32_t)job->prefix) : (uint64_t)j;
}

static int32_t worker_for(const struct world *w, int32_t j)
{
    uint64_t key = key_of(w, j);
    for (int32_t i = 0; i < w->scenario->workers; i++) {
        int32_t worker = (int32_t)((key + (uint64_t)i) % (uint64_t)w->scenario->workers);
        if (!w->workers[worker].dead)
            return worker;
    }
    return -1;
}

static void job_submit(struct world *w, int32_t j, int32_t to)
{
    struct sim_job *job = &w->loads.jobs[j];
    struct mr_err err;
    job->worker = to;
    if (job->worker < 0 || (!job->names && !sim_job_names(&w->loads, job, w->scenario->config.block_tokens, !w->options->unsalted))) {
        job_end(w, j, SIM_REFUSED);
        return;
    }
    struct worker *worker = &w->workers[job->worker];
    int32_t room = w->scenario->config.n_blocks * w->scenario->config.block_tokens - job->prompt;
    job->max_output = job->max_output < room ? job->max_output : room;
    job->output = job->output < job->max_output ? job->output : job->max_output;
    bool told = w->scenario->clairvoyant; /* its length, by a template of its own and as the most it may have */
    int32_t most = told ? job->output : job->max_output;
    uint32_t template = told ? 1000 + (uint32_t)length_bucket(job->output) : (uint32_t)job->load;
    struct mr_sched_job in = {.id = (uint64_t)j + 1, .tenant = job->tenant, .tier = job->tier, .priority = w->scenario->loads[job->load].priority,
                              .known_tokens = job->prompt + job->produced, .max_tokens = job->prompt + most,
                              .charged_prompt = job->produced ? job->prompt : 0, .charged_output = job->produced,
                              .arrival_ns = job->arrival_ns, .deadline_ns = job->deadline_ns, .template_id = template,
                              .prefix = job->names, .n_prefix = job->n_names};
    for (int32_t i = 0; i < worker->n_live && w->options->check; i++) {
        const struct sim_job *other = &w->loads.jobs[worker->live[i]];
        job->ahead += other->tenant == job->tenant && other->tier == job->tier && other->produced == 0;
    }
    if (job->output < 1 || mr_sched_submit(worker->sched, &in, clock_of(w, to), &err) != MR_OK) {
        job->worker = -1;
        job_end(w, j, SIM_REFUSED);
        return;
    }
    struct mr_sched_job_info info;
    w->result->infeasible += mr_sched_job_info(worker->sched, in.id, &info) && info.infeasible;
    job->at = -1;
    worker->live[worker->n_live++] = j;
    if (!worker->in_flight)
        worker->free_ns = w->now;
}

static void job_new(struct world *w, int32_t j)
{
    w->n_queued++;
    w->loads.jobs[j].worker = -1;
    if (w->scenario->loads[w->loads.jobs[j].load].source == SIM_BACKLOG)
        w->in_system[w->loads.jobs[j].load * SIM_TENANTS_MAX + (int32_t)w->loads.jobs[j].tenant]++;
    else
        w->n_open++;
    sim_measure_arrival(&w->measure, &w->loads.jobs[j]);
    if (w->loads.jobs[j].cancel_ns)
        w->cancels[w->n_cancels++] = j;
    if (!w->scenario->prefetch)
        job_submit(w, j, worker_for(w, j));
    else if (!sim_feed_put(&w->feed, w->loads.jobs[j].tier, key_of(w, j), j, w->now))
        job_end(w, j, SIM_REFUSED);
}

/* What the log has for the workers, but for tiers that are pressed and workers that are full. */
static void fetches(struct world *w)
{
    for (int32_t i = 0; w->scenario->prefetch && i < w->scenario->workers; i++)
        for (int tier = 0; tier < MR_TIER_COUNT && !w->workers[i].dead; tier++)
            while (w->workers[i].n_live < w->scenario->config.max_jobs) {
                int32_t j = sim_feed_take(&w->feed, i, tier, mr_sched_paused(w->workers[i].sched, tier), w->now);
                if (j < 0)
                    break;
                if (w->loads.jobs[j].state == SIM_QUEUED) /* not cancelled on its way */
                    job_submit(w, j, i);
            }
}

static bool arrivals(struct world *w)
{
    while (w->next_arrival < w->loads.n_arrivals && w->loads.jobs[w->loads.arrivals[w->next_arrival]].arrival_ns <= w->now)
        job_new(w, w->loads.arrivals[w->next_arrival++]);
    if (w->scenario->drain && (double)w->now / 1e9 >= w->scenario->seconds)
        return true;
    for (int32_t l = 0; l < w->scenario->n_loads; l++) {
        const struct sim_load *load = &w->scenario->loads[l];
        if (load->source != SIM_BACKLOG || !sim_load_active(load, (double)w->now / 1e9))
            continue;
        for (int32_t t = load->first_tenant; t <= load->last_tenant; t++)
            for (int32_t guard = 0; w->in_system[l * SIM_TENANTS_MAX + t] < load->backlog && guard < load->backlog; guard++) {
                int32_t j = sim_loads_more(&w->loads, l, (uint32_t)t, w->now);
                if (j < 0)
                    return false;
                job_new(w, j);
            }
    }
    return true;
}

static void cancels(struct world *w)
{
    for (int32_t i = 0; i < w->n_cancels; i++) {
        int32_t j = w->cancels[i];
        struct sim_job *job = &w->loads.jobs[j];
        if (job->state == SIM_QUEUED && job->cancel_ns > w->now)
            continue;
        w->cancels[i--] = w->cancels[--w->n_cancels];
        if (job->state != SIM_QUEUED)
            continue;
        if (job->worker >= 0)
            mr_sched_cancel(w->workers[job->worker].sched, (uint64_t)j + 1);
        job_end(w, j, SIM_CANCELLED);
    }
}

/* ---- steps ---- */

static void step_end(struct world *w, int32_t i)
{
    struct worker *worker = &w->workers[i];
    worker->in_flight = false;
    worker->free_ns = w->now;
    for (int32_t k = 0; k < worker->plan.n_items; k++) {
        const struct mr_sched_item *item = &worker->plan.items[k];
        struct sim_job *job = &w->loads.jobs[item->id - 1];
        worker->results[k] = (struct mr_sched_result){0};
        if (!item->samples)
            continue;
        worker->results[k].new_tokens = 1;
        if (job->state != SIM_QUEUED) { /* cancelled meanwhile: the token is nobody's */
            worker->results[k].finished = true;
            continue;
        }
        job->produced++;
        sim_measure_gap(&w->measure, job, w->now);
        job->first_ns = job->first_ns ? job->first_ns : w->now;
        job->last_ns = w->now;
        worker->results[k].finished = job->produced == job->output;
    }
    mr_sched_commit(worker->sched, worker->results, worker->plan.n_items, clock_of(w, i));
    struct sim_view view = view_of(w, i);
    for (int32_t k = 0; k < worker->plan.n_items; k++)
        if (worker->results[k].finished && w->loads.jobs[worker->plan.items[k].id - 1].state == SIM_QUEUED)
            live_remove(worker, (int32_t)worker->plan.items[k].id - 1);
    view.n_live = worker->n_live;
    if (w->oracle)
        sim_oracle_after_commit(w->oracle, &view, &worker->plan);
    for (int32_t k = 0; k < worker->plan.n_items; k++) {
        int32_t j = (int32_t)worker->plan.items[k].id - 1;
        sim_measure_item(&w->measure, &w->loads.jobs[j], &worker->plan.items[k], w->now);
        if (worker->results[k].finished && w->loads.jobs[j].state == SIM_QUEUED)
            job_end(w, j, SIM_DONE);
    }
}

static int64_t step_time(struct world *w, const struct mr_sched_plan *plan)
{
    struct cost_load load = {0};
    for (int32_t k = 0; k < plan->n_items; k++) {
        const struct mr_sched_item *item = &plan->items[k];
        load = cost_load_sum(load, item->n == 1 && item->samples ? cost_load_decode(item->start) : cost_load_chunk(item->start, item->n));
    }
    int64_t ns = cost_step_ps(&w->scenario->config.cost, load) / 1000, error = w->scenario->error_permille;
    ns += ns * w->scenario->bias_permille / 1000;
    if (error)
        ns += ns * (sim_random_below(&w->random, 2 * error + 1) - error) / 1000;
    if (w->scenario->stall_permille && sim_random_below(&w->random, 1000) < w->scenario->stall_permille)
        ns *= 10;
    return ns > 1 ? ns : 1;
}

static void digest(struct world *w, const struct mr_sched_plan *plan)
{
    for (int32_t k = 0; k < plan->n_items; k++) {
        struct {
            uint64_t id;
            int64_t start, n;
        } item = {plan->items[k].id, plan->items[k].start, plan->items[k].n};
        w->result->digest = mr_fnv1a64(w->result->digest, &item, sizeof item);
    }
    w->result->digest = mr_fnv1a64(w->result->digest, plan->preempted, (size_t)plan->n_preempted * sizeof *plan->preempted);
}

static void step_begin(struct world *w, int32_t i)
{
    struct worker *worker = &w->workers[i];
    struct sim_view view = view_of(w, i);
    if (w->oracle)
        sim_oracle_before_plan(w->oracle, &view);
    int64_t before = w->options->plan_clock_ns ? w->options->plan_clock_ns() : 0;
    mr_sched_plan(worker->sched, clock_of(w, i), &worker->plan);
    if (w->options->plan_clock_ns)
        sim_measure_plan(&w->measure, w->options->plan_clock_ns() - before);
    const struct mr_sched_plan *plan = &worker->plan;
    digest(w, plan);
    for (int32_t k = 0; k < plan->n_expired; k++)
        job_end(w, (int32_t)plan->expired[k] - 1, SIM_EXPIRED);
    for (int32_t k = 0; k < plan->n_preempted; k++) {
        w->loads.jobs[plan->preempted[k] - 1].at = -1;
        w->loads.jobs[plan->preempted[k] - 1].preemptions++;
    }
    view.n_live = worker->n_live;
    if (w->oracle)
        sim_oracle_after_plan(w->oracle, &view, plan);
    for (int32_t k = 0; k < plan->n_items; k++)
        if (!w->loads.jobs[plan->items[k].id - 1].first_planned_ns)
            w->loads.jobs[plan->items[k].id - 1].first_planned_ns = w->now;
    worker->in_flight = plan->n_items > 0;
    if (worker->in_flight) {
        int64_t ns = step_time(w, plan);
        sim_measure_step(&w->measure, worker->sched, ns);
        worker->free_ns = w->now + ns;
    } else {
        worker->free_ns = worker->n_live ? w->now + POLL_NS : FOREVER;
    }
}

/* ---- faults and counters ---- */

static void rebalance(struct world *w)
{
    bool alive[SIM_WORKERS_MAX] = {false};
    for (int32_t i = 0; i < w->scenario->workers; i++)
        alive[i] = !w->workers[i].dead;
    sim_feed_rebalance(&w->feed, alive, w->now);
}

struct moved {
    int64_t arrival_ns;
    int32_t j;
};

static int latest_first(const void *a, const void *b)
{
    const struct moved *x = a, *y = b;
    return x->arrival_ns != y->arrival_ns ? (x->arrival_ns < y->arrival_ns) - (x->arrival_ns > y->arrival_ns) : y->j - x->j;
}

/* Its jobs go on with their accepted tokens where they are sent to: at once, or by their partitions' next owner. */
static bool worker_kill(struct world *w, int32_t i)
{
    struct worker *worker = &w->workers[i];
    if (worker->dead || i >= w->scenario->workers)
        return true;
    struct moved *moved = calloc((size_t)worker->n_live + 1, sizeof *moved);
    if (!moved)
        return false;
    int32_t n = 0;
    worker->dead = true;
    worker->in_flight = false;
    worker->free_ns = FOREVER;
    while (worker->n_live > 0) {
        moved[n].j = worker->live[--worker->n_live];
        w->loads.jobs[moved[n].j].worker = -1;
        moved[n].arrival_ns = w->loads.jobs[moved[n].j].arrival_ns;
        n++;
    }
    bool ok = true;
    if (w->scenario->prefetch)
        qsort(moved, (size_t)n, sizeof *moved, latest_first);
    for (int32_t k = 0; k < n; k++)
        if (!w->scenario->prefetch)
            job_submit(w, moved[k].j, worker_for(w, moved[k].j));
        else
            ok = ok && sim_feed_return(&w->feed, w->loads.jobs[moved[k].j].tier, key_of(w, moved[k].j), moved[k].j);
    free(moved);
    mr_sched_close(worker->sched);
    worker->sched = NULL;
    rebalance(w);
    return ok;
}

static enum mr_status worker_open(struct world *w, int32_t i, struct mr_err *err)
{
    const struct sim_scenario *scenario = w->scenario;
    struct worker *worker = &w->workers[i];
    enum mr_status status = mr_sched_open(&scenario->config, &worker->sched, err);
    for (uint32_t t = 0; t < (uint32_t)scenario->config.max_tenants && status == MR_OK; t++)
        if (scenario->has_contract[t])
            status = mr_sched_tenant_set(worker->sched, t, &scenario->contract[t], err);
    worker->dead = status != MR_OK;
    return status;
}

static bool worker_join(struct world *w, int32_t i)
{
    struct mr_err err;
    if (i >= w->scenario->workers || !w->workers[i].dead)
        return true;
    bool ok = worker_open(w, i, &err) == MR_OK;
    rebalance(w);
    return ok;
}

static bool redis_away(const struct world *w)
{
    for (int32_t f = 0; f < w->scenario->n_faults; f++)
        if (w->scenario->faults[f].kind == SIM_REDIS && (double)w->now / 1e9 >= w->scenario->faults[f].from_s &&
            (double)w->now / 1e9 < w->scenario->faults[f].to_s)
            return true;
    return false;
}

/* Deltas in, the others' totals out, which arrive a while later. While Redis is away, or when the exchange is lost, the deltas
 * stay where they are. */
static void counters_exchange(struct world *w)
{
    for (int32_t i = 0; i < w->scenario->workers; i++) {
        bool lost = w->scenario->store_loss_permille && sim_random_below(&w->random, 1000) < w->scenario->store_loss_permille;
        w->workers[i].answer = !w->workers[i].dead && !redis_away(w) && !lost;
        for (int c = 0; c < MR_SCHED_CLASSES && w->workers[i].answer; c++)
            for (uint32_t t = 0; t < (uint32_t)w->scenario->config.max_tenants; t++) {
                int64_t delta = mr_sched_delta_take(w->workers[i].sched, c, t);
                w->totals[c][t] += delta;
                w->mine[i][c][t] += delta;
            }
    }
    for (int32_t i = 0; i < w->scenario->workers; i++)
        for (int c = 0; c < MR_SCHED_CLASSES && w->workers[i].answer; c++)
            for (int32_t t = 0; t < w->scenario->config.max_tenants; t++)
                w->workers[i].external[c][t] = w->totals[c][t] - w->mine[i][c][t];
}

static void counters_answer(struct world *w)
{
    for (int32_t i = 0; i < w->scenario->workers; i++) {
        for (int c = 0; c < MR_SCHED_CLASSES && w->workers[i].answer && !w->workers[i].dead; c++)
            for (uint32_t t = 0; t < (uint32_t)w->scenario->config.max_tenants; t++)
                mr_sched_external_set(w->workers[i].sched, c, t, w->workers[i].external[c][t]);
        w->workers[i].answer = false;
    }
}

static bool faults(struct world *w)
{
    bool ok = true;
    for (int32_t f = 0; f < w->scenario->n_faults; f++) {
        const struct sim_fault *fault = &w->scenario->faults[f];
        if (fault->kind == SIM_REDIS || w->fault_done[f] || (double)w->now / 1e9 < fault->from_s)
            continue;
        w->fault_done[f] = true;
        ok = ok && (fault->kind == SIM_KILL ? worker_kill(w, fault->worker) : worker_join(w, fault->worker));
    }
    if (w->now >= w->answer_at) {
        counters_answer(w);
        w->answer_at = FOREVER;
    }
    if (w->scenario->workers > 1 && w->now >= w->sync_at) {
        counters_exchange(w);
        w->sync_at = w->now + w->scenario->sync_ns;
        w->answer_at = w->now + w->scenario->store_ns;
        if (w->scenario->store_ns == 0) {
            counters_answer(w);
            w->answer_at = FOREVER;
        }
    }
    return ok;
}

/* ---- the loop ---- */

static int64_t next_moment(const struct world *w)
{
    int64_t next = FOREVER;
    for (int32_t i = 0; i < w->scenario->workers; i++)
        next = !w->workers[i].dead && w->workers[i].free_ns < next ? w->workers[i].free_ns : next;
    if (w->next_arrival < w->loads.n_arrivals && w->loads.jobs[w->loads.arrivals[w->next_arrival]].arrival_ns < next)
        next = w->loads.jobs[w->loads.arrivals[w->next_arrival]].arrival_ns;
    for (int32_t i = 0; i < w->scenario->workers && w->scenario->prefetch; i++) {
        int64_t fetch = w->workers[i].dead ? FOREVER : sim_feed_moment(&w->feed, i, w->now);
        next = fetch < next ? fetch : next;
    }
    for (int32_t f = 0; f < w->scenario->n_faults; f++) { /* who comes back finds work though nobody runs any */
        int64_t at = (int64_t)(w->scenario->faults[f].from_s * 1e9) + 1;
        if (w->scenario->faults[f].kind == SIM_JOIN && !w->fault_done[f] && at < next)
            next = at;
    }
    for (int32_t i = 0; i < w->n_cancels; i++)
        next = w->loads.jobs[w->cancels[i]].cancel_ns < next ? w->loads.jobs[w->cancels[i]].cancel_ns : next;
    for (int32_t l = 0; l < w->scenario->n_loads; l++) { /* a backlog that begins later */
        const struct sim_load *load = &w->scenario->loads[l];
        if (load->source == SIM_BACKLOG && load->from_s * 1e9 > (double)w->now && load->from_s < w->scenario->seconds &&
                (double)next > load->from_s * 1e9)
            next = (int64_t)(load->from_s * 1e9) + 1;
    }
    return next;
}

static bool over(const struct world *w)
{
    bool late = (double)w->now / 1e9 >= w->scenario->seconds;
    bool all = w->next_arrival == w->loads.n_arrivals && w->n_queued == 0;
    for (int32_t i = 0; i < w->scenario->workers; i++)
        all = all && !w->workers[i].in_flight;
    if (w->scenario->drain)
        return w->result->violation[0] || (late && all);
    return w->result->violation[0] || (late && (w->n_open == 0 || (double)w->now / 1e9 >= w->scenario->seconds + TAIL_S));
}

static enum mr_status loop(struct world *w, struct mr_err *err)
{
    int64_t stuck = 0;
    for (int64_t last = -1; !over(w);) {
        if (!faults(w))
            return mr_err_set(err, MR_ERR_NOMEM, "no memory for a change of workers");
        for (int32_t i = 0; i < w->scenario->workers; i++)
            if (w->workers[i].in_flight && w->workers[i].free_ns <= w->now)
                step_end(w, i);
        if (!arrivals(w))
            return mr_err_set(err, MR_ERR_NOMEM, "no memory for more jobs");
        fetches(w);
        cancels(w);
        for (int32_t i = 0; i < w->scenario->workers; i++)
            if (!w->workers[i].dead && !w->workers[i].in_flight && w->workers[i].free_ns <= w->now)
                step_begin(w, i);
        int64_t next = next_moment(w);
        if (next == FOREVER)
            return MR_OK;
        stuck = next == last ? stuck + 1 : 0;
        if (stuck > 100000)
            return mr_err_set(err, MR_ERR_TIMEOUT, "the simulation stands still at %.3f s", (double)w->now / 1e9);
        last = w->now = next;
    }
    return MR_OK;
}

/* Away from the start: a worker whose first fault is to join. */
static bool joins_later(const struct sim_scenario *scenario, int32_t i)
{
    const struct sim_fault *first = NULL;
    for (int32_t f = 0; f < scenario->n_faults; f++)
        if (scenario->faults[f].kind != SIM_REDIS && scenario->faults[f].worker == i && (!first || scenario->faults[f].from_s < first->from_s))
            first = &scenario->faults[f];
    return first && first->kind == SIM_JOIN;
}

static bool world_open(struct world *w, struct mr_err *err, enum mr_status *status)
{
    const struct sim_scenario *scenario = w->scenario;
    *status = sim_loads_open(&w->loads, scenario, w->options->trace_folder, err);
    if (*status != MR_OK)
        return false;
    w->random.state = mr_mix64(scenario->seed ^ 0xabcdef);
    *status = mr_err_set(err, MR_ERR_NOMEM, "no memory for the simulation");
    w->in_system = calloc((size_t)SIM_LOADS_MAX * SIM_TENANTS_MAX, sizeof *w->in_system);
    w->cancels = calloc((size_t)w->loads.n_arrivals + (size_t)scenario->config.max_jobs * (size_t)scenario->workers + 1, sizeof *w->cancels);
    if (!w->in_system || !w->cancels || (w->options->check && !(w->oracle = sim_oracle_open(scenario, w->result->violation))))
        return false;
    for (int32_t i = 0; i < scenario->workers; i++) {
        struct worker *worker = &w->workers[i];
        worker->free_ns = FOREVER;
        worker->results = calloc((size_t)scenario->config.max_seqs, sizeof *worker->results);
        worker->live = calloc((size_t)scenario->config.max_jobs + 1, sizeof *worker->live);
        if (!worker->results || !worker->live)
            return false;
        worker->dead = joins_later(scenario, i);
        if (!worker->dead && (*status = worker_open(w, i, err)) != MR_OK)
            return false;
    }
    *status = MR_OK;
    sim_feed_open(&w->feed, scenario);
    rebalance(w);
    w->answer_at = FOREVER;
    return true;
}

static void world_close(struct world *w)
{
    for (int32_t i = 0; i < w->scenario->workers; i++) {
        mr_sched_close(w->workers[i].sched);
        free(w->workers[i].results);
        free(w->workers[i].live);
    }
    sim_oracle_close(w->oracle);
    sim_loads_close(&w->loads);
    sim_feed_close(&w->feed);
    sim_measure_close(&w->measure);
    free(w->in_system);
    free(w->cancels);
    free(w);
}

enum mr_status sim_run(const struct sim_scenario *scenario, const struct sim_options *options, struct sim_result *result, struct mr_err *err)
{
    enum mr_status status;
    struct world *w = calloc(1, sizeof *w);
    *result = (struct sim_result){.digest = MR_FNV1A64_START};
    if (!w)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the simulation");
    w->scenario = scenario;
    w->options = options;
    w->result = result;
    sim_measure_open(&w->measure, scenario);
    if (world_open(w, err, &status)) {
        status = loop(w, err);
        for (int32_t i = 0; i < scenario->workers; i++) {
            struct sim_view view = view_of(w, i);
            if (w->workers[i].sched)
                sim_measure_worker(&w->measure, w->workers[i].sched);
            if (w->oracle && w->workers[i].sched && scenario->drain && status == MR_OK)
                sim_oracle_end(w->oracle, &view);
        }
        sim_measure_result(&w->measure, &w->loads, w->now, result);
        result->pauses = w->feed.pauses;
        result->refetched = w->feed.refetched;
        result->log_longest = w->feed.longest;
    }
    world_close(w);
    return status;
}
