/* The kinds of `millrace bench`: each is a verb of its own behind the word bench (argv[0] is "bench KIND"). */
#ifndef MR_WORKER_CLI_BENCH_H
#define MR_WORKER_CLI_BENCH_H

#include "worker/cli/cli.h"

int mr_bench_calibrate(struct mr_cli *cli, int argc, char **argv);
int mr_bench_engine(struct mr_cli *cli, int argc, char **argv);
int mr_bench_kernels(struct mr_cli *cli, int argc, char **argv);
int mr_bench_quality(struct mr_cli *cli, int argc, char **argv);

#endif
