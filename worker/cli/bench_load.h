/* `millrace bench engine --offline`, `--arrivals` and `--steps`: whole loads over the engine, as published figures are taken. One thread. */
#ifndef MR_WORKER_CLI_BENCH_LOAD_H
#define MR_WORKER_CLI_BENCH_LOAD_H

#include "worker/cli/cli.h"

#include <stdint.h>

struct mr_bench_load {
    int64_t jobs, prompt_tokens, output_tokens;
    double arrivals;   /* jobs a second, at random (Poisson); 0: all at once */
    bool steps;        /* all jobs decode side by side: consecutive steps beside replays of the recorded step, and the host's cost of one */
    double parts_s;    /* seconds between two looks at what a step is made of; 0: none */
};

/* Opens the engine as the options say, with room for the load, runs it, prints it. The exit code. */
int mr_bench_load(struct mr_cli *cli, const struct mr_bench_load *load);

#endif
