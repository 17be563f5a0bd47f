/* The program: the one place that knows both the worker and the adapters. */
#include "worker/cli/cli.h"

int main(int argc, char **argv)
{
    static const struct mr_outside outside = {0};
    return mr_cli_main(&outside, argc, argv);
}
