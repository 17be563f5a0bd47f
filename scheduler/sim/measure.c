/* What is measured. Owns the samples.
 *
 * 1. Only jobs that arrived in [warmup, seconds] count for times and shares, and only work done in it for rates and service.
 * 2. Drift and Jain's index are among the tenants that have work without end all through it. 3. A job that has not ended when
 * the simulation does is not on time. */
#include "scheduler/sim/measure.h"

#include "scheduler/cost.h"

#include <stdlib.h>
#include <string.h>

void sim_samples_add(struct sim_samples *samples, double value)
{
    if (samples->n == samples->capacity) {
        int32_t capacity = samples->capacity ? 2 * samples->capacity : 1024;
        void *grown = realloc(samples->values, (size_t)capacity * sizeof *samples->values);
        if (!grown) {
            samples->failed = true;
            return;
        }
        samples->values = grown;
        samples->capacity = capacity;
    }
    samples->values[samples->n++] = value;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double sim_samples_quantile(struct sim_samples *samples, double q)
{
    if (samples->n == 0)
        return 0;
    qsort(samples->values, (size_t)samples->n, sizeof *samples->values, compare);
    int32_t at = (int32_t)(q * samples->n);
    return samples->values[at < samples->n ? at : samples->n - 1];
}

static int32_t gap_bucket(double us) { return us < 1 ? 0 : us > 6e8 ? SIM_GAPS - 1 : (int32_t)(log(us) / log(1.02)); }

static double gap_quantile(const struct sim_gaps *gaps, double q)
{
    int64_t seen = 0, wanted = (int64_t)(q * (double)gaps->n);
    for (int32_t b = 0; b < SIM_GAPS && gaps->n; b++)
        if ((seen += gaps->counts[b]) > wanted)
            return exp((b + 0.5) * log(1.02)) / 1e3;
    return 0;
}

void sim_measure_open(struct sim_measure *m, const struct sim_scenario *scenario)
{
    *m = (struct sim_measure){.scenario = scenario};
    for (int32_t l = 0; l < scenario->n_loads; l++) {
        const struct sim_load *load = &scenario->loads[l];
        bool endless = load->source == SIM_BACKLOG && load->from_s <= scenario->warmup_s && load->to_s >= scenario->seconds && load->off_s <= 0;
        for (int32_t t = load->first_tenant; endless && t <= load->last_tenant; t++)
            m->endless[t] = true;
    }
}

void sim_measure_close(struct sim_measure *m)
{
    for (int i = 0; i < MR_TIER_COUNT; i++) {
        free(m->ttft[i].values);
        free(m->tpot[i].values);
        free(m->queue[i].values);
    }
    for (int i = 0; i < SIM_TENANTS_MAX; i++) {
        free(m->tenant_queue[i].values);
        free(m->tenant_ttft[i].values);
    }
    free(m->plans.values);
}

static bool in_window(const struct sim_measure *m, int64_t now_ns)
{
    return (double)now_ns / 1e9 >= m->scenario->warmup_s && (double)now_ns / 1e9 <= m->scenario->seconds;
}

void sim_measure_arrival(struct sim_measure *m, const struct sim_job *job)
{
    if (!in_window(m, job->arrival_ns))
        return;
    m->arrived[job->tier]++;
    m->asked[job->tenant] += job->prompt + 2.0 * job->output;
}

void sim_measure_gap(struct sim_measure *m, const struct sim_job *job, int64_t now_ns)
{
    if (!job->first_ns || !in_window(m, now_ns))
        return;
    m->gaps[job->tier].counts[gap_bucket((double)(now_ns - job->last_ns) / 1e3)]++;
    m->gaps[job->tier].n++;
}

static int32_t weight_of(const struct sim_measure *m, int t)
{
    return m->scenario->contract[t].weight ? m->scenario->contract[t].weight : 1;
}

static void drift_note(struct sim_measure *m)
{
    double low = INFINITY, high = -INFINITY;
    for (int t = 0; t < SIM_TENANTS_MAX; t++)
        if (m->endless[t]) {
            double mine = m->service[t] / weight_of(m, t);
            low = mine < low ? mine : low;
            high = mine > high ? mine : high;
        }
    if (high > low && high - low > m->drift)
        m->drift = high - low;
}

void sim_measure_item(struct sim_measure *m, struct sim_job *job, const struct mr_sched_item *item, int64_t now_ns)
{
    const struct mr_sched_config *config = &m->scenario->config;
    int32_t end = item->start + item->n, from = item->start > job->high ? item->start : job->high,
            prompt = (end < job->prompt ? end : job->prompt) - from;
    prompt = prompt > 0 ? prompt : 0; /* computed for the first time */
    job->high = end > job->high ? end : job->high;
    if (!in_window(m, now_ns))
        return;
    double weight_in = config->input_permille ? config->input_permille / 1e3 : 1,
            weight_out = config->output_permille ? config->output_permille / 1e3 : 2;
    m->service[job->tenant] += prompt * weight_in + item->samples * weight_out;
    m->tokens[job->tier] += prompt + item->samples;
    m->outputs[job->tier] += item->samples;
}

void sim_measure_end(struct sim_measure *m, const struct sim_loads *loads, const struct sim_job *job, int64_t now_ns)
{
    (void)loads;
    m->last_end_ns = now_ns > m->last_end_ns ? now_ns : m->last_end_ns;
    if (!in_window(m, job->arrival_ns))
        return;
    m->cancelled[job->tier] += job->state == SIM_CANCELLED;
    m->longest[job->tenant] = job->prompt > m->longest[job->tenant] ? job->prompt : m->longest[job->tenant];
    if (job->state != SIM_DONE)
        return;
    const struct mr_sched_tier_config *slo = &m->scenario->config.tier[job->tier];
    double ttft = (double)(job->first_ns - job->arrival_ns) / 1e6, queue = (double)(job->first_planned_ns - job->arrival_ns) / 1e6;
    double tpot = job->output > 1 ? (double)(job->last_ns - job->first_ns) / 1e6 / (job->output - 1) : 0;
    m->finished[job->tier]++;
    m->tenant_finished[job->tenant]++;
    m->on_time[job->tier] += slo->ttft_ns && ttft <= (double)slo->ttft_ns / 1e6 && tpot <= (double)slo->tpot_ns / 1e6;
    sim_samples_add(&m->ttft[job->tier], ttft);
    sim_samples_add(&m->tpot[job->tier], tpot);
    sim_samples_add(&m->queue[job->tier], queue);
    sim_samples_add(&m->tenant_queue[job->tenant], queue);
    sim_samples_add(&m->tenant_ttft[job->tenant], ttft);
}

static void held_note(struct sim_measure *m, const struct mr_sched *sched, uint32_t tenant)
{
    int64_t blocks = 0;
    for (int c = 0; c < MR_SCHED_CLASSES; c++) {
        struct mr_sched_tenant_stats stats;
        mr_sched_tenant_stats(sched, c, tenant, &stats);
        blocks += stats.held_blocks;
    }
    blocks *= m->scenario->config.block_tokens;
    m->held[tenant] = blocks > m->held[tenant] ? blocks : m->held[tenant];
}

void sim_measure_step(struct sim_measure *m, const struct mr_sched *sched, int64_t ns)
{
    struct mr_sched_stats stats;
    m->steps++;
    m->step_ns += ns;
    mr_sched_stats(sched, &stats);
    m->blocks += stats.blocks_used;
    for (uint32_t t = 0; t < SIM_TENANTS_MAX; t++)
        if (m->endless[t])
            held_note(m, sched, t);
    if (m->steps % 16 == 0)
        drift_note(m);
}

void sim_measure_plan(struct sim_measure *m, int64_t ns) { sim_samples_add(&m->plans, (double)ns / 1e3); }

void sim_measure_worker(struct sim_measure *m, const struct mr_sched *sched)
{
    struct mr_sched_stats stats;
    mr_sched_stats(sched, &stats);
    m->preemptions += stats.preemptions;
    m->relegations += stats.relegations;
    m->recomputed += stats.recomputed_tokens;
    m->computed += stats.computed_tokens;
    m->cached += stats.cached_tokens;
}

static double jain(const struct sim_measure *m)
{
    double sum = 0, squares = 0;
    int n = 0;
    for (int t = 0; t < SIM_TENANTS_MAX; t++)
        if (m->endless[t]) {
            double mine = m->service[t] / weight_of(m, t);
            sum += mine;
            squares += mine * mine;
            n++;
        }
    return n && squares > 0 ? sum * sum / (n * squares) : 1;
}

/* B2 and, for several workers, B6: 2 (Q + N U + (N - 1) R Delta) with U from the longest prompt and the most KV that a tenant
 * held, and R what the whole machine served in that time, which no tenant can draw more than. */
static double bound(const struct sim_measure *m, double seconds)
{
    int32_t window = m->scenario->config.window_tokens ? m->scenario->config.window_tokens : 8192, workers = m->scenario->workers;
    double most = 0, all = 0;
    for (int t = 0; t < SIM_TENANTS_MAX; t++) {
        double mine = (m->longest[t] + 2.0 * (double)m->held[t]) / weight_of(m, t);
        most = m->endless[t] && mine > most ? mine : most;
        all += m->service[t];
    }
    return 2 * (window + workers * most + (workers - 1) * all / seconds / workers * (double)m->scenario->sync_ns / 1e9);
}

static double quiet_queue(const struct sim_measure *m)
{
    struct sim_samples all = {0};
    double asked = 0;
    int n = 0;
    for (int t = 0; t < SIM_TENANTS_MAX; t++) {
        asked += m->asked[t];
        n += m->asked[t] > 0;
    }
    for (int t = 0; t < SIM_TENANTS_MAX; t++)
        for (int32_t i = 0; m->asked[t] * n < asked && i < m->tenant_queue[t].n; i++)
            sim_samples_add(&all, m->tenant_queue[t].values[i]);
    double p99 = sim_samples_quantile(&all, 0.99);
    free(all.values);
    return p99;
}

static void tier_result(struct sim_measure *m, int tier, double seconds, struct sim_tier_result *out)
{
    static const double q[3] = {0.5, 0.99, 0.999};
    *out = (struct sim_tier_result){.arrived = m->arrived[tier], .finished = m->finished[tier], .on_time = m->on_time[tier],
                                    .cancelled = m->cancelled[tier], .tok_s = m->tokens[tier] / seconds, .out_tok_s = m->outputs[tier] / seconds};
    for (int i = 0; i < 3; i++) {
        out->ttft_ms[i] = sim_samples_quantile(&m->ttft[tier], q[i]);
        out->tpot_ms[i] = sim_samples_quantile(&m->tpot[tier], q[i]);
        out->queue_ms[i] = sim_samples_quantile(&m->queue[tier], q[i]);
        out->tbt_ms[i] = gap_quantile(&m->gaps[tier], q[i]);
    }
    for (int i = 0; i < SIM_CURVE; i++)
        out->curve_ms[i] = m->ttft[tier].n ? m->ttft[tier].values[(int64_t)(m->ttft[tier].n - 1) * i / (SIM_CURVE - 1)] : 0;
    out->stretch_ms = sim_samples_quantile(&m->ttft[tier], 1);
}

void sim_measure_result(struct sim_measure *m, const struct sim_loads *loads, int64_t now_ns, struct sim_result *out)
{
    double end = (double)now_ns / 1e9 < m->scenario->seconds ? (double)now_ns / 1e9 : m->scenario->seconds;
    double seconds = end - m->scenario->warmup_s > 1e-9 ? end - m->scenario->warmup_s : 1e-9;
    for (int tier = 0; tier < MR_TIER_COUNT; tier++) {
        tier_result(m, tier, seconds, &out->tier[tier]);
        out->tok_s += out->tier[tier].tok_s;
        out->out_tok_s += out->tier[tier].out_tok_s;
        out->finished += m->finished[tier];
    }
    for (int t = 0; t < SIM_TENANTS_MAX; t++) {
        if (m->tenant_finished[t] || m->service[t] > 0)
            out->n_tenants = t + 1;
        out->tenant[t] = (struct sim_tenant_result){.service = m->service[t], .finished = m->tenant_finished[t],
                                                    .queue_ms_p50 = sim_samples_quantile(&m->tenant_queue[t], 0.5),
                                                    .queue_ms_p99 = sim_samples_quantile(&m->tenant_queue[t], 0.99),
                                                    .ttft_ms_p50 = sim_samples_quantile(&m->tenant_ttft[t], 0.5)};
    }
    out->tier[MR_TIER_REALTIME].relegated = m->relegations;
    out->seconds = seconds;
    out->jain = jain(m);
    out->max_drift = m->drift;
    out->bound = bound(m, seconds);
    out->quiet_queue_ms = quiet_queue(m);
    out->finish_s = (double)m->last_end_ns / 1e9;
    out->hit = m->computed + m->cached ? (double)m->cached / (double)(m->computed + m->cached) : 0;
    out->recompute_share = m->computed ? (double)m->recomputed / (double)m->computed : 0;
    out->steps = m->steps;
    out->preemptions = m->preemptions;
    out->plan_us_p50 = sim_samples_quantile(&m->plans, 0.5);
    out->plan_us_p99 = sim_samples_quantile(&m->plans, 0.99);
    out->step_ms_mean = m->steps ? (double)m->step_ns / 1e6 / (double)m->steps : 0;
    out->pool_share = m->steps ? (double)m->blocks / (double)m->steps / m->scenario->config.n_blocks : 0;
    out->optimum_on_time = sim_optimum(m->scenario, loads);
}
