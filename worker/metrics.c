/* Owns nothing but the struct. Every label value comes from a closed list or is bounded (tenants), so that the number of series is:
 * at most 3 tiers x 65 tenants x 6 outcomes and 4 histograms of 20 lines a tier. Rejected: atomics a counter (a page would then
 * show a step in one histogram and not in the next). */
#include "worker/metrics.h"

#include <stdio.h>

static const double first_bucket_s = 0.00025;

void mr_metrics_init(struct mr_metrics *m)
{
    memset(m, 0, sizeof *m);
    pthread_mutex_init(&m->lock, NULL);
    strcpy(m->tenant[MR_METRICS_TENANTS_MAX], "other");
}

void mr_metrics_fini(struct mr_metrics *m) { pthread_mutex_destroy(&m->lock); }

static void histogram_add(struct mr_histogram *h, double seconds)
{
    int i = 0;
    for (double edge = first_bucket_s; i < MR_METRICS_BUCKETS - 1 && seconds > edge; edge *= 2)
        i++;
    h->bucket[i]++;
    h->count++;
    h->sum_s += seconds;
}

static int32_t tenant_index(struct mr_metrics *m, struct mr_str tenant)
{
    for (int32_t i = 0; i < m->n_tenants; i++) {
        if (mr_str_is(tenant, m->tenant[i]))
            return i;
    }
    if (m->n_tenants == MR_METRICS_TENANTS_MAX || tenant.n > MR_TENANT_BYTES_MAX)
        return MR_METRICS_TENANTS_MAX;
    memcpy(m->tenant[m->n_tenants], tenant.p, tenant.n);
    return m->n_tenants++;
}

void mr_metrics_count(struct mr_metrics *m, const struct mr_owner_outcome *outcome)
{
    pthread_mutex_lock(&m->lock);
    m->jobs[outcome->tier][tenant_index(m, outcome->tenant)][outcome->kind]++;
    if (outcome->kind == MR_FOLD_FAILED)
        m->failures[outcome->reason]++;
    if (outcome->timings.queue_ms >= 0)
        histogram_add(&m->queue[outcome->tier], outcome->timings.queue_ms / 1e3);
    if (outcome->timings.ttft_ms >= 0)
        histogram_add(&m->ttft[outcome->tier], outcome->timings.ttft_ms / 1e3);
    if (outcome->timings.tpot_ms >= 0)
        histogram_add(&m->tpot[outcome->tier], outcome->timings.tpot_ms / 1e3);
    pthread_mutex_unlock(&m->lock);
}

void mr_metrics_step(struct mr_metrics *m, const struct mr_engine_stats *stats)
{
    pthread_mutex_lock(&m->lock);
    if (stats->steps > m->gauges.engine.steps)
        histogram_add(&m->step, (double)stats->last_step_ns / 1e9);
    m->gauges.engine = *stats;
    pthread_mutex_unlock(&m->lock);
}

void mr_metrics_owner(struct mr_metrics *m, const struct mr_owner_stats *stats)
{
    pthread_mutex_lock(&m->lock);
    m->gauges.owner = *stats;
    pthread_mutex_unlock(&m->lock);
}

void mr_metrics_tenants(struct mr_metrics *m, const struct mr_tenant_view *views, int32_t n)
{
    pthread_mutex_lock(&m->lock);
    m->n_views = n < MR_METRICS_TENANTS_MAX ? n : MR_METRICS_TENANTS_MAX;
    memcpy(m->view, views, (size_t)m->n_views * sizeof *views);
    pthread_mutex_unlock(&m->lock);
}

void mr_metrics_breaker(struct mr_metrics *m, bool open)
{
    pthread_mutex_lock(&m->lock);
    m->gauges.breaker_open = open;
    pthread_mutex_unlock(&m->lock);
}

void mr_metrics_trouble(struct mr_metrics *m)
{
    pthread_mutex_lock(&m->lock);
    m->gauges.log_troubles++;
    pthread_mutex_unlock(&m->lock);
}

void mr_metrics_state_store(struct mr_metrics *m, bool up, bool dropped)
{
    pthread_mutex_lock(&m->lock);
    m->gauges.state_store = true;
    m->gauges.state_store_up = up;
    m->gauges.state_dropped += dropped;
    pthread_mutex_unlock(&m->lock);
}

/* ---- rendering ---- */

static void head(struct mr_buf *out, const char *name, const char *type, const char *help)
{
    mr_buf_addf(out, "# HELP millrace_%s %s\n# TYPE millrace_%s %s\n", name, help, name, type);
}

static void one(struct mr_buf *out, const char *name, const char *type, const char *help, double value)
{
    head(out, name, type, help);
    mr_buf_addf(out, "millrace_%s %.15g\n", name, value);
}

static void histogram(struct mr_buf *out, const char *name, const char *label, const struct mr_histogram *h)
{
    int64_t below = 0;
    double edge = first_bucket_s;
    const char *comma = label[0] ? "," : "";
    for (int i = 0; i < MR_METRICS_BUCKETS - 1; i++, edge *= 2) {
        below += h->bucket[i];
        mr_buf_addf(out, "millrace_%s_bucket{%s%sle=\"%g\"} %lld\n", name, label, comma, edge, (long long)below);
    }
    mr_buf_addf(out, "millrace_%s_bucket{%s%sle=\"+Inf\"} %lld\n", name, label, comma, (long long)h->count);
    const char *open = label[0] ? "{" : "", *close = label[0] ? "}" : "";
    mr_buf_addf(out, "millrace_%s_sum%s%s%s %.9g\nmillrace_%s_count%s%s%s %lld\n", name, open, label, close, h->sum_s, name, open, label, close,
                (long long)h->count);
}

static void tier_histogram(struct mr_buf *out, const char *name, const char *help, const struct mr_histogram *tiers)
{
    head(out, name, "histogram", help);
    for (int t = 0; t < MR_TIER_COUNT; t++) {
        char label[32];
        snprintf(label, sizeof label, "tier=\"%s\"", mr_tier_name((enum mr_tier)t));
        histogram(out, name, label, &tiers[t]);
    }
}

static void render_jobs(const struct mr_metrics *m, struct mr_buf *out)
{
    head(out, "jobs_total", "counter", "Runs finished by this worker.");
    for (int t = 0; t < MR_TIER_COUNT; t++) {
        for (int32_t i = 0; i <= MR_METRICS_TENANTS_MAX; i++) {
            for (int k = MR_FOLD_DONE; k < MR_FOLD_KINDS; k++) {
                if (m->jobs[t][i][k])
                    mr_buf_addf(out, "millrace_jobs_total{tier=\"%s\",tenant=\"%s\",outcome=\"%s\"} %lld\n", mr_tier_name((enum mr_tier)t),
                        m->tenant[i],
                                mr_fold_kind_name((enum mr_fold_kind)k), (long long)m->jobs[t][i][k]);
            }
        }
    }
    head(out, "failures_total", "counter", "Failed runs by reason.");
    for (int r = 0; r < MR_REASON_COUNT; r++) {
        if (m->failures[r])
            mr_buf_addf(out, "millrace_failures_total{reason=\"%s\"} %lld\n", mr_reason_name((enum mr_reason)r), (long long)m->failures[r]);
    }
}

static void render_engine(const struct mr_metrics *m, struct mr_buf *out)
{
    const struct mr_engine_stats *e = &m->gauges.engine;
    head(out, "tokens_total", "counter", "Tokens computed (prompt) and sampled (output).");
    mr_buf_addf(out, "millrace_tokens_total{kind=\"prompt\"} %lld\nmillrace_tokens_total{kind=\"output\"} %lld\n", (long long)e->prompt_tokens,
                (long long)e->output_tokens);
    head(out, "step_seconds", "histogram", "Duration of an engine step.");
    histogram(out, "step_seconds", "", &m->step);
    one(out, "batch_tokens", "gauge", "Tokens of the last step.", e->last_batch_tokens);
    one(out, "batch_sequences", "gauge", "Sequences of the last step.", e->last_batch_seqs);
    one(out, "kv_blocks_used", "gauge", "KV blocks in use.", e->sched.blocks_used);
    one(out, "kv_blocks", "gauge", "KV blocks in all.", e->sched.blocks_total);
    one(out, "preemptions_total", "counter", "Sequences that gave up their KV for others.", (double)e->sched.preemptions);
    one(out, "relegations_total", "counter", "Jobs put behind the others because they could not be on time.", (double)e->sched.relegations);
    one(out, "deadlines_infeasible_total", "counter", "Bulk jobs whose deadline could not be kept at the measured rate, as told when they came.",
        (double)e->sched.infeasible);
    one(out, "step_predicted_seconds", "gauge", "What the cost model said of the last step.", (double)e->last_predicted_ns / 1e9);
    one(out, "step_budget_seconds", "gauge", "What the last step might take. 0: as long as it likes.",
        e->sched.last_budget_ns > 3600 * MR_NS_PER_S ? 0 : (double)e->sched.last_budget_ns / 1e9);
    head(out, "engine_jobs", "gauge", "Jobs in the engine.");
    for (int t = 0; t < MR_TIER_COUNT; t++)
        mr_buf_addf(out, "millrace_engine_jobs{tier=\"%s\",state=\"waiting\"} %d\nmillrace_engine_jobs{tier=\"%s\",state=\"resident\"} %d\n",
                    mr_tier_name((enum mr_tier)t), e->sched.waiting[t], mr_tier_name((enum mr_tier)t), e->sched.resident[t]);
}

/* One family of figures, a line a tenant. */
static void tenants(const struct mr_metrics *m, struct mr_buf *out, const char *name, const char *type, const char *help,
                    double (*value)(const struct mr_tenant_view *view))
{
    head(out, name, type, help);
    for (int32_t i = 0; i < m->n_views; i++)
        mr_buf_addf(out, "millrace_%s{tenant=\"%s\"} %.15g\n", name, m->view[i].name, value(&m->view[i]));
}

static double view_service(const struct mr_tenant_view *v) { return (double)v->service; }
static double view_counter(const struct mr_tenant_view *v) { return (double)v->counter; }
static double view_drift(const struct mr_tenant_view *v) { return (double)v->drift_permille / 1000; }
static double view_waiting(const struct mr_tenant_view *v) { return v->waiting; }
static double view_running(const struct mr_tenant_view *v) { return v->running; }
static double view_finished(const struct mr_tenant_view *v) { return (double)v->finished; }
static double view_on_time(const struct mr_tenant_view *v) { return (double)v->on_time; }
static double view_preemptions(const struct mr_tenant_view *v) { return (double)v->preemptions; }
static double view_relegations(const struct mr_tenant_view *v) { return (double)v->relegations; }
static double view_limited(const struct mr_tenant_view *v) { return v->limited; }

static void render_tenants(const struct mr_metrics *m, struct mr_buf *out)
{
    tenants(m, out, "tenant_service_total", "counter", "Service in tokens: prompt, cached and output ones by their weights.", view_service);
    tenants(m, out, "tenant_counter", "gauge", "Weighted service that fairness compares, of all workers.", view_counter);
    tenants(m, out, "tenant_drift", "gauge", "Lead over the tenant served least, as a part of what the bound allows.", view_drift);
    tenants(m, out, "tenant_waiting", "gauge", "Jobs in the engine that wait.", view_waiting);
    tenants(m, out, "tenant_running", "gauge", "Jobs in the engine that run.", view_running);
    tenants(m, out, "tenant_finished_total", "counter", "Jobs that the engine finished.", view_finished);
    tenants(m, out, "tenant_on_time_total", "counter", "Of them within their service levels or deadline.", view_on_time);
    tenants(m, out, "tenant_preemptions_total", "counter", "Times that a job gave up its KV.", view_preemptions);
    tenants(m, out, "tenant_relegations_total", "counter", "Jobs put behind the others because they could not be on time.", view_relegations);
    tenants(m, out, "tenant_limited", "gauge", "1: its contract holds it back.", view_limited);
}

static void render_owner(const struct mr_metrics *m, struct mr_buf *out)
{
    const struct mr_owner_stats *o = &m->gauges.owner;
    one(out, "partitions", "gauge", "Input partitions assigned.", o->partitions);
    one(out, "partitions_tailing", "gauge", "Of them still reading their stream.", o->tailing);
    one(out, "partitions_stopped", "gauge", "Of them stopped because their topic was made anew.", o->stopped);
    one(out, "lag", "gauge", "Input offsets seen and not finished.", (double)o->lag);
    one(out, "jobs_waiting", "gauge", "Input records held and not admitted.", o->waiting);
    one(out, "jobs_live", "gauge", "Runs admitted and not finished.", o->live);
    one(out, "records_total", "counter", "Input records read.", (double)o->records);
    one(out, "starts_total", "counter", "STARTs appended.", (double)o->starts);
    one(out, "takeovers_total", "counter", "STARTs of runs that another process had begun.", (double)o->takeovers);
    one(out, "lost_starts_total", "counter", "Runs that another owner's START took away.", (double)o->lost_starts);
    one(out, "rebalances_total", "counter", "Partitions revoked.", (double)o->revoked);
    one(out, "parked_back_total", "counter", "Partitions that came back to this process.", (double)o->parked_back);
    one(out, "producer_errors_total", "counter", "Delivery errors, each with a new producer.", (double)o->producer_errors);
    one(out, "commits_total", "counter", "Commits accepted.", (double)o->commits);
    one(out, "commit_errors_total", "counter", "Commits refused.", (double)o->commit_errors);
    one(out, "stream_ignored_total", "counter", "Stream records that the fold ignored.", (double)o->ignored);
    one(out, "bad_metadata_total", "counter", "Commit metadata that could not be read.", (double)o->bad_metadata);
    one(out, "lost_by_retention_total", "counter", "Times that the input log no longer held the next offset.", (double)o->lost_by_retention);
    one(out, "input_holes_total", "counter", "Input offsets that the log skipped.", (double)o->holes);
    one(out, "poison_total", "counter", "Runs ended as poison.", (double)o->poison);
    one(out, "replies_skipped_total", "counter", "Copies to reply topics left out because the topic keeps failing.", (double)o->replies_skipped);
    one(out, "log_silences_total", "counter", "Times that the engine rested because nothing came back from the log.", (double)o->silences);
    one(out, "breaker_open", "gauge", "1: the model's steps keep failing, and jobs wait.", m->gauges.breaker_open);
    one(out, "dead_letters_total", "counter", "Dead letters written.", (double)o->dead);
    one(out, "kafka_errors_total", "counter", "Errors that the log reported.", (double)m->gauges.log_troubles);
    one(out, "redis_up", "gauge", "The state store answers (0 also when none is configured).", m->gauges.state_store && m->gauges.state_store_up);
    one(out, "redis_dropped_total", "counter", "State updates that were not taken.", (double)m->gauges.state_dropped);
    one(out, "draining", "gauge", "The worker is leaving.", o->draining);
}

void mr_metrics_render(struct mr_metrics *m, struct mr_buf *out)
{
    pthread_mutex_lock(&m->lock);
    render_jobs(m, out);
    tier_histogram(out, "queue_seconds", "From a job's arrival to its first computed token.", m->queue);
    tier_histogram(out, "ttft_seconds", "From a job's arrival to its first token.", m->ttft);
    tier_histogram(out, "tpot_seconds", "Between a job's tokens, on average over the job.", m->tpot);
    render_engine(m, out);
    render_tenants(m, out);
    render_owner(m, out);
    pthread_mutex_unlock(&m->lock);
}
