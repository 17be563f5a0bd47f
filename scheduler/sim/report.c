/* Results as text. Owns nothing.
 *
 * 1. A figure stands under the same name in JSON and CSV. 2. The picture is plain SVG, of lines and rectangles, and shows the first
 * tier that has jobs. Rejected: gnuplot, one more thing to install. */
#include "scheduler/sim/report.h"

#include <math.h>

static const char *const tiers[] = {"realtime", "standard", "bulk"};

static double share(int64_t part, int64_t of) { return of ? (double)part / (double)of : 1; }

static double drift_share(const struct sim_result *r) { return r->bound > 0 ? r->max_drift / r->bound : 0; }

static void three_print(const char *name, const double value[3], struct mr_buf *out)
{
    mr_buf_addf(out, ",\"%s_p50\":%.3f,\"%s_p99\":%.3f,\"%s_p999\":%.3f", name, value[0], name, value[1], name, value[2]);
}

static void tiers_json(const struct sim_result *r, struct mr_buf *out)
{
    mr_buf_addf(out, ",\"tiers\":{");
    for (int i = 0, n = 0; i < MR_TIER_COUNT; i++) {
        const struct sim_tier_result *tier = &r->tier[i];
        if (!tier->arrived && !tier->finished)
            continue;
        mr_buf_addf(out,
                "%s\"%s\":{\"arrived\":%lld,\"finished\":%lld,\"cancelled\":%lld,\"on_time\":%.5f,\"on_time_of_finished\":%.5f,\"tok_s\":%.1f,"
                    "\"out_tok_s\":%.1f", n++ ? "," : "", tiers[i], (long long)tier->arrived, (long long)tier->finished, (long long)tier->cancelled,
                    share(tier->on_time, tier->arrived), share(tier->on_time, tier->finished), tier->tok_s, tier->out_tok_s);
        three_print("ttft_ms", tier->ttft_ms, out);
        three_print("tpot_ms", tier->tpot_ms, out);
        three_print("tbt_ms", tier->tbt_ms, out);
        three_print("queue_ms", tier->queue_ms, out);
        mr_buf_addf(out, "}");
    }
    mr_buf_addf(out, "},\"tenants\":[");
    for (int32_t t = 0; t < r->n_tenants; t++)
        mr_buf_addf(out, "%s{\"service\":%.0f,\"finished\":%lld,\"queue_ms_p50\":%.3f,\"queue_ms_p99\":%.3f,\"ttft_ms_p50\":%.3f}", t ? "," : "",
                    r->tenant[t].service, (long long)r->tenant[t].finished, r->tenant[t].queue_ms_p50, r->tenant[t].queue_ms_p99,
                            r->tenant[t].ttft_ms_p50);
    mr_buf_addf(out, "]");
}

void sim_report_json(const struct sim_run_report *run, struct mr_buf *out)
{
    const struct sim_result *r = run->result;
    const struct sim_tier_result *realtime = &r->tier[MR_TIER_REALTIME];
    mr_buf_addf(out, "{\"scenario\":\"%s\",\"policy\":\"%s\",\"seconds\":%.3f,\"out_tok_s\":%.1f,\"tok_s\":%.1f,\"jain\":%.5f,\"max_drift\":%.0f,"
                "\"bound\":%.0f,\"on_time\":%.5f,\"optimum_on_time\":%.5f,\"hit\":%.5f,\"preemptions\":%lld,\"recompute_share\":%.5f",
                run->scenario, run->policy, r->seconds, r->out_tok_s, r->tok_s, r->jain, r->max_drift, r->bound,
                share(realtime->on_time, realtime->arrived), r->optimum_on_time, r->hit, (long long)r->preemptions, r->recompute_share);
    mr_buf_addf(out, ",\"drift_share\":%.5f,\"quiet_queue_ms\":%.3f,\"finish_s\":%.3f,\"pauses\":%lld,\"refetched\":%lld,\"log_longest\":%lld",
                drift_share(r), r->quiet_queue_ms, r->finish_s, (long long)r->pauses, (long long)r->refetched, (long long)r->log_longest);
    mr_buf_addf(out, ",\"relegated\":%lld,\"infeasible\":%lld,\"steps\":%lld,\"step_ms_mean\":%.3f,\"pool_share\":%.4f,\"plan_us_p50\":%.2f,"
                "\"plan_us_p99\":%.2f,\"digest\":\"%016llx\"", (long long)realtime->relegated, (long long)r->infeasible, (long long)r->steps,
                r->step_ms_mean, r->pool_share, r->plan_us_p50, r->plan_us_p99, (unsigned long long)r->digest);
    tiers_json(r, out);
    mr_buf_addf(out, "}");
}

static void tiers_table(const struct sim_run_report *runs, int32_t n, struct mr_buf *out)
{
    mr_buf_addf(out, "\n%-18s %-8s %8s %8s %9s   %-27s %-21s %s\n", "policy", "tier", "arrived", "on time", "tok/s", "TTFT ms p50 p99 p99.9",
                "TPOT p50 p99 p99.9", "TBT p50 p99 p99.9");
    for (int32_t i = 0; i < n; i++)
        for (int tier = 0; tier < MR_TIER_COUNT; tier++) {
            const struct sim_tier_result *t = &runs[i].result->tier[tier];
            if (!t->arrived && !t->finished)
                continue;
            mr_buf_addf(out, "%-18s %-8s %8lld %8.4f %9.0f %9.1f %9.1f %9.1f %7.2f %6.2f %6.2f %7.2f %6.2f %6.2f\n", runs[i].policy, tiers[tier],
                        (long long)t->arrived, share(t->on_time, t->arrived), t->tok_s, t->ttft_ms[0], t->ttft_ms[1], t->ttft_ms[2], t->tpot_ms[0],
                        t->tpot_ms[1], t->tpot_ms[2], t->tbt_ms[0], t->tbt_ms[1], t->tbt_ms[2]);
        }
}

void sim_report_table(const struct sim_run_report *runs, int32_t n, struct mr_buf *out)
{
    mr_buf_addf(out, "%-18s %9s %8s %8s %7s %11s %6s %8s %7s %5s  %s\n", "policy", "out tok/s", "tok/s", "bulk", "Jain", "drift/bound", "hit",
                "preempt.", "recomp.", "pool", "plans");
    for (int32_t i = 0; i < n; i++) {
        const struct sim_result *r = runs[i].result;
        mr_buf_addf(out, "%-18s %9.0f %8.0f %8.0f %7.4f %11.3f %6.3f %8lld %7.4f %5.2f  %016llx\n", runs[i].policy, r->out_tok_s, r->tok_s,
                    r->tier[MR_TIER_BULK].tok_s, r->jain, drift_share(r), r->hit, (long long)r->preemptions, r->recompute_share, r->pool_share,
                    (unsigned long long)r->digest);
    }
    tiers_table(runs, n, out);
}

void sim_report_csv(const struct sim_run_report *runs, int32_t n, struct mr_buf *out)
{
    mr_buf_addf(out, "scenario,policy,tier,arrived,finished,on_time,tier_tok_s,ttft_ms_p50,ttft_ms_p99,ttft_ms_p999,tpot_ms_p50,tpot_ms_p99,"
                "tpot_ms_p999,tbt_ms_p50,tbt_ms_p99,tbt_ms_p999,out_tok_s,tok_s,jain,max_drift,bound,hit,preemptions,recompute_share,pool_share,"
                "digest\n");
    for (int32_t i = 0; i < n; i++)
        for (int tier = 0; tier < MR_TIER_COUNT; tier++) {
            const struct sim_result *r = runs[i].result;
            const struct sim_tier_result *t = &r->tier[tier];
            if (!t->arrived && !t->finished)
                continue;
            mr_buf_addf(out, "%s,%s,%s,%lld,%lld,%.5f,%.1f,", runs[i].scenario, runs[i].policy, tiers[tier], (long long)t->arrived,
                        (long long)t->finished, share(t->on_time, t->arrived), t->tok_s);
            mr_buf_addf(out, "%.3f,%.3f,%.3f,%.3f,%.3f,%.3f,%.3f,%.3f,%.3f,", t->ttft_ms[0], t->ttft_ms[1], t->ttft_ms[2], t->tpot_ms[0],
                        t->tpot_ms[1], t->tpot_ms[2], t->tbt_ms[0], t->tbt_ms[1], t->tbt_ms[2]);
            mr_buf_addf(out, "%.1f,%.1f,%.5f,%.0f,%.0f,%.5f,%lld,%.5f,%.4f,%016llx\n", r->out_tok_s, r->tok_s, r->jain,
                        r->max_drift, r->bound, r->hit, (long long)r->preemptions, r->recompute_share, r->pool_share, (unsigned long long)r->digest);
        }
}

/* ---- the picture ---- */

enum { ROW = 44, LEFT = 170, WIDTH = 420, CURVE = 260, AXIS = 60 };

static const char *const colours[] = {"#3b6ea5", "#d08a2e", "#4d9a5b", "#b5495b", "#7b5ea7", "#6b6b6b", "#2aa3a3", "#a07a4f"};
enum { N_COLOURS = sizeof colours / sizeof *colours };

/* The tier whose waits are drawn: the first that has any jobs. */
static int tier_drawn(const struct sim_result *r)
{
    int tier = MR_TIER_REALTIME;
    while (tier < MR_TIER_BULK && !r->tier[tier].finished)
        tier++;
    return tier;
}

static double decades(double ms) { return log10(ms < 1 ? 1 : ms); }

/* Time to first token against the share of jobs that had it by then, a line a policy, time by its logarithm from 1 ms on. */
static void curves_svg(const struct sim_run_report *runs, int32_t n, int top, struct mr_buf *out)
{
    double most = 1;
    for (int32_t i = 0; i < n; i++)
        most = fmax(most, ceil(decades(runs[i].result->tier[tier_drawn(runs[i].result)].curve_ms[SIM_CURVE - 1])));
    for (int d = 0; d <= (int)most; d++) {
        double x = AXIS + d / most * (LEFT + WIDTH - AXIS);
        mr_buf_addf(out, "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"#ddd\"/><text x=\"%.1f\" y=\"%d\">%g ms</text>\n", x, top, x,
                    top + CURVE, x - 12, top + CURVE + 16, pow(10, d));
    }
    for (int q = 0; q <= 4; q++)
        mr_buf_addf(out, "<text x=\"8\" y=\"%d\">%d %%</text>\n", top + CURVE - q * CURVE / 4 + 4, 25 * q);
    for (int32_t i = 0; i < n; i++) {
        const struct sim_tier_result *tier = &runs[i].result->tier[tier_drawn(runs[i].result)];
        double arrived = tier->arrived > tier->finished ? (double)tier->finished / (double)tier->arrived : 1;
        mr_buf_addf(out, "<polyline fill=\"none\" stroke-width=\"1.6\" stroke=\"%s\" points=\"", colours[i % N_COLOURS]);
        for (int k = 0; k < SIM_CURVE; k++)
            mr_buf_addf(out, "%.1f,%.1f ", AXIS + decades(tier->curve_ms[k]) / most * (LEFT + WIDTH - AXIS),
                        top + CURVE - arrived * k / (SIM_CURVE - 1.0) * CURVE);
        mr_buf_addf(out, "\"/>\n");
    }
    mr_buf_addf(out, "<text x=\"%d\" y=\"%d\">time to first token: share of the jobs that arrived</text>\n", AXIS, top - 6);
}

/* Two bars a policy: tokens a second, as a share of the most, and the share on time. Below, the waits. */
void sim_report_svg(const struct sim_run_report *runs, int32_t n, struct mr_buf *out)
{
    int bottom = 34 + ROW * n + 24;
    double most = 1;
    for (int32_t i = 0; i < n; i++)
        most = fmax(most, runs[i].result->tok_s);
    mr_buf_addf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"13\">\n",
                LEFT + WIDTH + 130, bottom + CURVE + 30);
    mr_buf_addf(out, "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/><text x=\"8\" y=\"20\" font-weight=\"bold\">%s</text>\n",
                n ? runs[0].scenario : "");
    for (int32_t i = 0; i < n; i++) {
        const struct sim_result *r = runs[i].result;
        const struct sim_tier_result *tier = &r->tier[tier_drawn(r)];
        double rate = r->tok_s / most * WIDTH, on_time = share(tier->on_time, tier->arrived);
        int y = 34 + ROW * i;
        mr_buf_addf(out, "<text x=\"8\" y=\"%d\">%s</text><rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"15\" fill=\"%s\"/>", y + 20,
                    runs[i].policy, LEFT, y, rate, colours[i % N_COLOURS]);
        mr_buf_addf(out, "<text x=\"%.1f\" y=\"%d\">%.0f tok/s</text>\n", LEFT + rate + 6, y + 12, r->tok_s);
        if (tier_drawn(r) < MR_TIER_BULK)
            mr_buf_addf(out, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"15\" fill=\"#c9c9c9\"/><text x=\"%.1f\" y=\"%d\">"
                        "%.1f %% on time</text>\n", LEFT, y + 17, on_time * WIDTH, LEFT + on_time * WIDTH + 6, y + 29, 100 * on_time);
    }
    curves_svg(runs, n, bottom, out);
    mr_buf_addf(out, "</svg>\n");
}
