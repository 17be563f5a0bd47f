/* The command line's frame: one program, one verb first. main.c builds a struct mr_cli and calls mr_cli_main.
 *
 * A verb is a function
 *
 *     int mr_verb_NAME(struct mr_cli *cli, int argc, char **argv);    argv[0] is the verb's name
 *
 * in worker/cli/NAME.c (dashes become underscores), declared by its line in verbs.h. It parses its flags with mr_flags_parse,
 * takes its configuration from mr_cli_options, reaches the outside through cli->outside (an entry may be NULL: say so with
 * mr_cli_fail), prints results on stdout (JSON when cli->json) and all else on stderr, and returns MR_EXIT_*. */
#ifndef MR_WORKER_CLI_CLI_H
#define MR_WORKER_CLI_CLI_H

#include "base/arena.h"
#include "base/status.h"
#include "worker/cli/flags.h"
#include "worker/outside.h"

#include <stdbool.h>

enum { MR_CLI_SETS_MAX = 64 }; /* --set and setting flags of one command line; one more is wrong usage */

struct mr_cli {
    const struct mr_outside *outside;
    bool json;
    const char *config_file;            /* -c; NULL: defaults */
    struct mr_arena arena;              /* what lives as long as the verb */
    const char *sets[MR_CLI_SETS_MAX];  /* "a.b=c", in order; in arena */
    int n_sets;
    struct mr_options *options;         /* see mr_cli_options */
};

int mr_cli_main(const struct mr_outside *outside, int argc, char **argv);
/* Frees what the frame keeps for one verb; cli may be used again. */
void mr_cli_close(struct mr_cli *cli);

/* The options of -c and --set over the defaults: read at the first call, the frame frees them. NULL: it was explained on
 * stderr, return MR_EXIT_USAGE. */
const struct mr_options *mr_cli_options(struct mr_cli *cli);
/* Adds "option=value" as --set would; false: too many. */
bool mr_cli_set(struct mr_cli *cli, const char *option, const char *value);

/* Prints "millrace: <sentence>" on stderr and returns MR_EXIT_FAILED. */
int mr_cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same with MR_EXIT_USAGE. */
int mr_cli_misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* false, and a sentence on stderr, when this build lacks what the verb needs. */
bool mr_cli_has(const void *entry, const char *what);

#endif
