/* `millrace sim --all FOLDER`: the runs that the folder's `claims` name, once each, and the table of what they show. A claim whose
 * bound is missed, and not marked open, makes the exit code 1. */
#include "scheduler/sim/claims.h"
#include "worker/cli/sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct all {
    struct mr_cli *cli;
    const struct sim_flags *flags;
    struct sim_claims *claims;
    struct sim_scenario *scenario;
    double simulated_s;
};

static bool run_all(struct all *all, struct mr_err *err)
{
    struct sim_options options = {.trace_folder = all->flags->traces ? all->flags->traces : all->flags->all};
    for (int32_t i = 0; i < all->claims->n_runs; i++) {
        struct sim_claim_run *run = &all->claims->runs[i];
        char path[4096], *text;
        if (snprintf(path, sizeof path, "%s/%s.scn", all->flags->all, run->scenario) >= (int)sizeof path || !sim_file_read(all->cli, path, &text))
            return mr_err_set(err, MR_ERR_IO, "%s: %s", path, strerror(errno)) == MR_OK;
        if (sim_scenario_parse(all->scenario, text, err) != MR_OK || !sim_run_policy(all->scenario, run->policy, &options, &run->result, err)) {
            struct mr_err why = *err;
            mr_err_set(err, MR_ERR_INVALID, "%s, %s: %s", run->scenario, run->policy, why.text);
            return false;
        }
        all->simulated_s += run->result.seconds + (all->scenario->drain ? 0 : all->scenario->warmup_s);
    }
    return true;
}

static int print_all(const struct all *all, double cpu_s)
{
    struct mr_buf out = {0};
    int32_t missed = 0, failed = 0, bounds = 0;
    for (int32_t i = 0; i < all->claims->n; i++) {
        missed += !sim_claim_holds(all->claims, &all->claims->claims[i]);
        failed += sim_claim_fails(all->claims, &all->claims->claims[i]);
        bounds += all->claims->claims[i].sense != 0;
    }
    if (all->cli->json)
        sim_claims_json(all->claims, &out);
    else
        sim_claims_table(all->claims, &out);
    fwrite(out.p, 1, out.n, stdout);
    if (!all->cli->json)
        printf("\n%d runs, %.0f simulated seconds in %.1f of processor time (%.0f times real time); %d of %d bounds missed\n",
               all->claims->n_runs, all->simulated_s, cpu_s, cpu_s > 0 ? all->simulated_s / cpu_s : 0, missed, bounds);
    bool ok = !out.failed && failed == 0;
    mr_buf_fini(&out);
    return ok ? MR_EXIT_DONE : MR_EXIT_FAILED;
}

int sim_all_answer(struct mr_cli *cli, const struct sim_flags *flags)
{
    struct all all = {.cli = cli, .flags = flags, .claims = calloc(1, sizeof *all.claims), .scenario = calloc(1, sizeof *all.scenario)};
    struct mr_err err;
    struct timespec from, to;
    char path[4096], *text;
    int code;
    snprintf(path, sizeof path, "%s/claims", flags->all);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    if (!all.claims || !all.scenario)
        code = mr_cli_fail("no memory for the simulation");
    else if (!sim_file_read(cli, path, &text))
        code = mr_cli_fail("%s: %s", path, strerror(errno));
    else if (sim_claims_parse(all.claims, text, &err) != MR_OK)
        code = mr_cli_misuse("%s: %s", path, err.text);
    else if (!run_all(&all, &err))
        code = mr_cli_fail("%s", err.text);
    else {
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
        code = print_all(&all, (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
    }
    free(all.claims);
    free(all.scenario);
    return code;
}
