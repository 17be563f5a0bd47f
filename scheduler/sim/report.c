#include "scheduler/sim/report.h"

static const char *const tiers[] = {"realtime", "standard", "bulk"};

static double share(int64_t part, int64_t of) { return of ? (double)part / (double)of : 1; }

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
    mr_buf_addf(out, ",\"relegated\":%lld,\"infeasible\":%lld,\"steps\":%lld,\"step_ms_mean\":%.3f,\"pool_share\":%.4f,\"plan_us_p50\":%.2f,"
                "\"plan_us_p99\":%.2f,\"digest\":\"%016llx\"", (long long)realtime->relegated, (long long)r->infeasible, (long long)r->steps,
                r->step_ms_mean, r->pool_share, r->plan_us_p50, r->plan_us_p99, (unsigned long long)r->digest);
    tiers_json(r, out);
    mr_buf_addf(out, "}");
}

void sim_report_table(const struct sim_run_report *runs, int32_t n, struct mr_buf *out)
{
    mr_buf_addf(out, "%-20s %9s %9s %7s %9s %8s %9s %9s %6s %8s %7s\n", "policy", "out tok/s", "tok/s", "Jain", "drift", "on time", "TTFT p99",
            "TPOT p99",
                "hit", "preempt.", "recomp.");
    for (int32_t i = 0; i < n; i++) {
        const struct sim_result *r = runs[i].result;
        int tier = r->tier[0].arrived ? MR_TIER_REALTIME : r->tier[1].arrived ? MR_TIER_STANDARD : MR_TIER_BULK;
        mr_buf_addf(out, "%-20s %9.0f %9.0f %7.4f %9.0f %8.4f %9.1f %9.2f %6.3f %8lld %7.4f\n", runs[i].policy, r->out_tok_s, r->tok_s, r->jain,
                    r->max_drift, share(r->tier[tier].on_time, r->tier[tier].arrived), r->tier[tier].ttft_ms[1], r->tier[tier].tpot_ms[1], r->hit,
                    (long long)r->preemptions, r->recompute_share);
    }
}

void sim_report_csv(const struct sim_run_report *runs, int32_t n, struct mr_buf *out)
{
    mr_buf_addf(out, "scenario,policy,out_tok_s,tok_s,jain,max_drift,bound,on_time,hit,preemptions,recompute_share,ttft_ms_p99,tpot_ms_p99\n");
    for (int32_t i = 0; i < n; i++) {
        const struct sim_result *r = runs[i].result;
        mr_buf_addf(out, "%s,%s,%.1f,%.1f,%.5f,%.0f,%.0f,%.5f,%.5f,%lld,%.5f,%.3f,%.3f\n", runs[i].scenario, runs[i].policy, r->out_tok_s, r->tok_s,
                    r->jain, r->max_drift, r->bound, share(r->tier[0].on_time, r->tier[0].arrived), r->hit, (long long)r->preemptions,
                    r->recompute_share, r->tier[0].ttft_ms[1], r->tier[0].tpot_ms[1]);
    }
}

/* Two bars a policy: tokens a second, as a share of the most, and the share on time. */
void sim_report_svg(const struct sim_run_report *runs, int32_t n, struct mr_buf *out)
{
    enum { ROW = 44, LEFT = 170, WIDTH = 420 };
    double most = 1;
    for (int32_t i = 0; i < n; i++)
        most = runs[i].result->tok_s > most ? runs[i].result->tok_s : most;
    mr_buf_addf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"13\">\n",
                LEFT + WIDTH + 130, 40 + ROW * n);
    mr_buf_addf(out, "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/><text x=\"8\" y=\"20\" font-weight=\"bold\">%s</text>\n",
            n ? runs[0].scenario : "");
    for (int32_t i = 0; i < n; i++) {
        const struct sim_result *r = runs[i].result;
        double rate = r->tok_s / most, on_time = share(r->tier[0].on_time, r->tier[0].arrived);
        int y = 34 + ROW * i;
        mr_buf_addf(out, "<text x=\"8\" y=\"%d\">%s</text>\n", y + 20, runs[i].policy);
        mr_buf_addf(out, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"15\" fill=\"#3b6ea5\"/><text x=\"%.1f\" y=\"%d\">%.0f tok/s</text>\n",
                LEFT, y,
                    rate * WIDTH, LEFT + rate * WIDTH + 6, y + 12, r->tok_s);
        if (r->tier[0].arrived)
            mr_buf_addf(out,
                    "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"15\" fill=\"#d08a2e\"/><text x=\"%.1f\" y=\"%d\">%.1f %% on time</text>\n",
                        LEFT, y + 17, on_time * WIDTH, LEFT + on_time * WIDTH + 6, y + 29, 100 * on_time);
    }
    mr_buf_addf(out, "</svg>\n");
}
