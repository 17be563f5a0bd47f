/* Claims about scenarios. Owns nothing but what it is given.
 *
 * 1. A run stands once in the list, so that both sides of a ratio, and every claim about it, are of one run. 2. A metric's name
 * is looked up when the text is read: a table never has a hole. Rejected: bounds inside the scenario files, which must stand
 * before any policy has run on them. */
#include "scheduler/sim/claims.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double share(int64_t part, int64_t of) { return of ? (double)part / (double)of : 1; }

static bool tier_metric(const struct sim_tier_result *tier, const char *name, double *out)
{
    const struct {
        const char *name;
        double value;
    } known[] = {
        {"on_time", share(tier->on_time, tier->arrived)}, {"finished", share(tier->finished, tier->arrived)}, {"tok_s", tier->tok_s},
        {"out_tok_s", tier->out_tok_s}, {"ttft_ms_p50", tier->ttft_ms[0]}, {"ttft_ms_p99", tier->ttft_ms[1]}, {"ttft_ms_p999", tier->ttft_ms[2]},
        {"tpot_ms_p50", tier->tpot_ms[0]}, {"tpot_ms_p99", tier->tpot_ms[1]}, {"tbt_ms_p50", tier->tbt_ms[0]}, {"tbt_ms_p99", tier->tbt_ms[1]},
        {"tbt_ms_p999", tier->tbt_ms[2]}, {"queue_ms_p99", tier->queue_ms[1]},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].name) == 0) {
            *out = known[i].value;
            return true;
        }
    return false;
}

bool sim_metric(const struct sim_result *r, const char *name, double *out)
{
    static const char *const tiers[] = {"realtime.", "standard.", "bulk."};
    for (int i = 0; i < MR_TIER_COUNT; i++)
        if (strncmp(name, tiers[i], strlen(tiers[i])) == 0)
            return tier_metric(&r->tier[i], name + strlen(tiers[i]), out);
    const struct sim_tier_result *realtime = &r->tier[MR_TIER_REALTIME];
    const struct {
        const char *name;
        double value;
    } known[] = {
        {"out_tok_s", r->out_tok_s}, {"tok_s", r->tok_s}, {"jain", r->jain}, {"max_drift", r->max_drift}, {"bound", r->bound},
        {"drift_share", r->bound > 0 ? r->max_drift / r->bound : 0}, {"on_time", share(realtime->on_time, realtime->arrived)},
        {"optimum_on_time", r->optimum_on_time}, {"hit", r->hit}, {"recompute_share", r->recompute_share}, {"preemptions", (double)r->preemptions},
        {"pool_share", r->pool_share}, {"quiet_queue_ms", r->quiet_queue_ms}, {"finish_s", r->finish_s}, {"refetched", (double)r->refetched},
        {"share_of_tenant_1", r->tenant[0].service + r->tenant[1].service > 0 ?
                r->tenant[1].service / (r->tenant[0].service + r->tenant[1].service) : 0},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].name) == 0) {
            *out = known[i].value;
            return true;
        }
    return false;
}

/* ---- the text ---- */

struct side {
    char scenario[SIM_NAME_BYTES], policy[SIM_NAME_BYTES], metric[SIM_NAME_BYTES];
};

static int32_t run_of(struct sim_claims *claims, const struct side *side)
{
    for (int32_t i = 0; i < claims->n_runs; i++)
        if (strcmp(claims->runs[i].scenario, side->scenario) == 0 && strcmp(claims->runs[i].policy, side->policy) == 0)
            return i;
    if (claims->n_runs == SIM_CLAIM_RUNS_MAX)
        return -1;
    struct sim_claim_run *run = &claims->runs[claims->n_runs];
    memcpy(run->scenario, side->scenario, SIM_NAME_BYTES);
    memcpy(run->policy, side->policy, SIM_NAME_BYTES);
    return claims->n_runs++;
}

static char *field_next(char **line)
{
    char *field = *line + strspn(*line, " \t"), *end = strchr(field, '|');
    *line = end ? end + 1 : field + strlen(field);
    if (!end)
        end = field + strlen(field);
    while (end > field && strchr(" \t\r", end[-1]))
        end--;
    *end = 0;
    return field;
}

static const char *claim_parse(struct sim_claims *claims, char *line)
{
    static const struct sim_result nothing;
    struct sim_claim *claim = &claims->claims[claims->n];
    struct side of = {0}, over = {0};
    char sense[3] = "", state[5] = "", *what = field_next(&line), *value = field_next(&line), *bound = field_next(&line), *remark = field_next(&line);
    double unused;
    if (claims->n == SIM_CLAIMS_MAX)
        return "too many claims";
    if (snprintf(claim->what, sizeof claim->what, "%s", what) >= (int)sizeof claim->what ||
            snprintf(claim->remark, sizeof claim->remark, "%s", remark) >= (int)sizeof claim->remark)
        return "too long";
    int n = sscanf(value, "%47s %47s %47s / %47s %47s %47s", of.scenario, of.policy, of.metric, over.scenario, over.policy, over.metric);
    if (n != 3 && n != 6)
        return "not SCENARIO POLICY METRIC, with another behind a / or without";
    if (!sim_metric(&nothing, of.metric, &unused) || (n == 6 && !sim_metric(&nothing, over.metric, &unused)))
        return "no such metric";
    int given = *bound ? sscanf(bound, "%2s %lf %4s", sense, &claim->bound, state) : 0;
    if (*bound && (given < 2 || (strcmp(sense, ">=") != 0 && strcmp(sense, "<=") != 0) || (given == 3 && strcmp(state, "open") != 0)))
        return "a bound is >= or <= and a number, and open or nothing";
    claim->open = given == 3;
    claim->sense = !*bound ? 0 : *sense == '>' ? 1 : -1;
    claim->run = run_of(claims, &of);
    claim->over = n == 6 ? run_of(claims, &over) : -1;
    if (claim->run < 0 || (n == 6 && claim->over < 0))
        return "too many runs";
    memcpy(claim->metric, of.metric, SIM_NAME_BYTES);
    memcpy(claim->over_metric, over.metric, SIM_NAME_BYTES);
    claims->n++;
    return NULL;
}

enum mr_status sim_claims_parse(struct sim_claims *claims, const char *text, struct mr_err *err)
{
    char *copy = strdup(text);
    const char *wrong = copy ? NULL : "no memory";
    int number = 0;
    claims->n = claims->n_runs = 0;
    for (char *line = copy, *next; !wrong && line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        number++;
        line += strspn(line, " \t\r");
        if (*line && *line != '#')
            wrong = claim_parse(claims, line);
    }
    free(copy);
    return wrong ? mr_err_set(err, MR_ERR_INVALID, "line %d: %s", number, wrong) : MR_OK;
}

/* ---- the table ---- */

double sim_claim_value(const struct sim_claims *claims, const struct sim_claim *claim)
{
    double value = 0, over = 1;
    sim_metric(&claims->runs[claim->run].result, claim->metric, &value);
    if (claim->over >= 0)
        sim_metric(&claims->runs[claim->over].result, claim->over_metric, &over);
    return over != 0 ? value / over : value != 0 ? INFINITY : NAN;
}

bool sim_claim_holds(const struct sim_claims *claims, const struct sim_claim *claim)
{
    double value = sim_claim_value(claims, claim);
    return claim->sense == 0 || (claim->sense > 0 ? value >= claim->bound : value <= claim->bound);
}

bool sim_claim_fails(const struct sim_claims *claims, const struct sim_claim *claim)
{
    return !claim->open && !sim_claim_holds(claims, claim);
}

static void value_print(double value, struct mr_buf *out)
{
    if (isnan(value))
        mr_buf_addf(out, "0 of 0");
    else if (isinf(value))
        mr_buf_addf(out, "all (there: none)");
    else if (value >= 1000)
        mr_buf_addf(out, "%.0f", value);
    else
        mr_buf_addf(out, value >= 10 ? "%.1f" : value >= 1.005 || value == 0 ? "%.2f" : "%.4f", value);
}

static void side_print(const struct sim_claim_run *run, struct mr_buf *out) { mr_buf_addf(out, "%s %s", run->scenario, run->policy); }

void sim_claims_table(const struct sim_claims *claims, struct mr_buf *out)
{
    mr_buf_addf(out, "| what | measured | wanted | scenario and policy | remark |\n|---|---|---|---|---|\n");
    for (int32_t i = 0; i < claims->n; i++) {
        const struct sim_claim *claim = &claims->claims[i];
        mr_buf_addf(out, "| %s | ", claim->what);
        value_print(sim_claim_value(claims, claim), out);
        if (claim->sense)
            mr_buf_addf(out, " | %s %g%s | ", claim->sense > 0 ? ">=" : "<=", claim->bound, sim_claim_holds(claims, claim) ? "" : " (not met)");
        else
            mr_buf_addf(out, " | | ");
        side_print(&claims->runs[claim->run], out);
        if (claim->over >= 0 && claim->over != claim->run) {
            mr_buf_addf(out, " / ");
            side_print(&claims->runs[claim->over], out);
        }
        mr_buf_addf(out, " | %s |\n", claim->remark);
    }
}

void sim_claims_json(const struct sim_claims *claims, struct mr_buf *out)
{
    for (int32_t i = 0; i < claims->n; i++) {
        const struct sim_claim *claim = &claims->claims[i];
        double value = sim_claim_value(claims, claim);
        mr_buf_addf(out, "{\"what\":\"%s\",\"scenario\":\"%s\",\"policy\":\"%s\",\"metric\":\"%s\",", claim->what, claims->runs[claim->run].scenario,
                    claims->runs[claim->run].policy, claim->metric);
        if (claim->over >= 0)
            mr_buf_addf(out, "\"over_scenario\":\"%s\",\"over_policy\":\"%s\",\"over_metric\":\"%s\",", claims->runs[claim->over].scenario,
                        claims->runs[claim->over].policy, claim->over_metric);
        if (claim->sense)
            mr_buf_addf(out, "\"%s\":%g,", claim->sense > 0 ? "at_least" : "at_most", claim->bound);
        if (isfinite(value))
            mr_buf_addf(out, "\"value\":%.6g,", value);
        else
            mr_buf_addf(out, "\"value\":null,");
        mr_buf_addf(out, "\"met\":%s}\n", sim_claim_holds(claims, claim) ? "true" : "false");
    }
}
