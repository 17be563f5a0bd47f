/* Claims: what a set of scenarios is to show, one a line of a text, and the table of what it did show.
 *
 *     WHAT | SCENARIO POLICY METRIC [/ SCENARIO POLICY METRIC] | [>= or <= NUMBER [open]] | remark
 *
 * A ratio is of two runs of the same call. The text names runs only once each, however often a claim needs them. A bound that is
 * open is an aim that is known to be missed: the table says so, and it is no failure. Metrics: see sim_metric. One thread. */
#ifndef MR_SCHEDULER_SIM_CLAIMS_H
#define MR_SCHEDULER_SIM_CLAIMS_H

#include "base/buf.h"
#include "scheduler/sim/sim.h"

enum { SIM_CLAIMS_MAX = 64, SIM_CLAIM_RUNS_MAX = 96, SIM_NAME_BYTES = 48 };

struct sim_claim_run {
    char scenario[SIM_NAME_BYTES], policy[SIM_NAME_BYTES];
    struct sim_result result;         /* the caller's to fill */
};

struct sim_claim {
    char what[160], remark[160];
    int32_t run, over;                /* of runs; over -1: no ratio */
    char metric[SIM_NAME_BYTES], over_metric[SIM_NAME_BYTES];
    int8_t sense;                     /* 1: at least, -1: at most, 0: a figure only */
    double bound;
    bool open;
};

struct sim_claims {
    struct sim_claim claims[SIM_CLAIMS_MAX];
    int32_t n;
    struct sim_claim_run runs[SIM_CLAIM_RUNS_MAX];
    int32_t n_runs;
};

/* Empty lines and those that begin with # say nothing; what cannot be read is refused with its line. */
enum mr_status sim_claims_parse(struct sim_claims *claims, const char *text, struct mr_err *err);
/* Names like out_tok_s, jain, drift_share, or with a tier before: realtime.ttft_ms_p99. false: no such metric. */
bool sim_metric(const struct sim_result *result, const char *name, double *out);
/* NaN: 0 / 0; infinity: something over nothing. */
double sim_claim_value(const struct sim_claims *claims, const struct sim_claim *claim);
bool sim_claim_fails(const struct sim_claims *claims, const struct sim_claim *claim); /* does not hold, and is not open */
bool sim_claim_holds(const struct sim_claims *claims, const struct sim_claim *claim);
void sim_claims_table(const struct sim_claims *claims, struct mr_buf *out); /* Markdown */
void sim_claims_json(const struct sim_claims *claims, struct mr_buf *out);  /* a line a claim */

#endif
