#include "worker/cli/bench.h"

#include <stdio.h>
#include <string.h>

int mr_verb_bench(struct mr_cli *cli, int argc, char **argv)
{
    static const struct {
        const char *name, *argv0, *help;
        int (*run)(struct mr_cli *cli, int argc, char **argv);
    } kinds[] = {
        {"engine", "bench engine", "prefill and decode, tokens a second, latencies", mr_bench_engine},
        {"kernels", "bench kernels", "each matrix product of a model, and attention", mr_bench_kernels},
        {"calibrate", "bench calibrate", "what a step costs: for the scheduler and the simulator", mr_bench_calibrate},
        {"quality", "bench quality", "perplexity of a text", mr_bench_quality},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (argc > 1 && kinds[i].run && strcmp(argv[1], kinds[i].name) == 0) {
            argv[1] = (char *)kinds[i].argv0;
            return kinds[i].run(cli, argc - 1, argv + 1);
        }
    bool help = argc > 1 && strcmp(argv[1], "--help") == 0;
    FILE *out = help ? stdout : stderr;
    fprintf(out, "usage: millrace bench KIND [flags]      (millrace bench KIND --help explains one)\n\n");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].run)
            fprintf(out, "  %-10s %s\n", kinds[i].name, kinds[i].help);
    return help ? MR_EXIT_DONE : MR_EXIT_USAGE;
}
