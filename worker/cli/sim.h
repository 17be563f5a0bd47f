/* What the ways to ask `millrace sim` share: one file each for policies beside each other (sim.c), the claims of a folder
 * (sim_all.c) and the number of cards (sim_cards.c). One thread. */
#ifndef MR_WORKER_CLI_SIM_H
#define MR_WORKER_CLI_SIM_H

#include "scheduler/sim/report.h"
#include "worker/cli/cli.h"

struct sim_flags {
    const char *scenario, *policy, *traces, *csv, *svg, *all;
    const char *trace, *card, *slo;   /* a scenario without a file */
    double on_time, speed, seconds;
    int64_t cards_max, seed;
    bool check, cards;
};

bool sim_file_read(struct mr_cli *cli, const char *path, char **out); /* NUL at the end; false: errno or too long */
bool sim_file_write(const char *path, const struct mr_buf *buf);
/* One run of `base` under a policy; a broken invariant is an error too. */
bool sim_run_policy(const struct sim_scenario *base, const char *policy, const struct sim_options *options, struct sim_result *result,
                    struct mr_err *err);

int sim_cards_answer(struct mr_cli *cli, struct sim_scenario *base, const struct sim_flags *flags, const struct sim_options *options);
int sim_all_answer(struct mr_cli *cli, const struct sim_flags *flags);

#endif
