/* Owns: the table of verbs, the program's own help and manual, and one struct mr_cli a call.
 *
 * Invariants
 * 1 A verb whose file is not linked is NULL in the table (weak), and is neither listed nor callable.
 * 2 Options are read once a verb, at its first call of mr_cli_options, and freed behind it.
 * 3 Nothing here calls exit; a result that could not be written is a failure.
 *
 * Thread: the main one. Rejected: verbs that register themselves (order and presence would hang on the linker). */
#include "worker/cli/cli.h"

#include "worker/manual.h"
#include "worker/options.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define VERB(suffix, name, help) __attribute__((weak)) int mr_verb_##suffix(struct mr_cli *cli, int argc, char **argv);
#include "worker/cli/verbs.h"
#undef VERB

struct cli_verb {
    const char *name, *help;
    int (*run)(struct mr_cli *cli, int argc, char **argv);
};

static const struct cli_verb verbs[] = {
#define VERB(suffix, name, help) {name, help, mr_verb_##suffix},
#include "worker/cli/verbs.h"
#undef VERB
};
enum { N_VERBS = sizeof verbs / sizeof *verbs };

static void cli_help(FILE *out)
{
    fprintf(out, "usage: millrace VERB [flags]      (millrace VERB --help explains one)\n\n");
    for (int i = 0; i < N_VERBS; i++)
        if (verbs[i].run)
            fprintf(out, "  %-12s %s\n", verbs[i].name, verbs[i].help);
    fprintf(out, "\n  --version    --manual [options|jobs] (groff source of millrace.1, millrace.conf.5, millrace-jobs.7)\n");
    fprintf(out, "\nexit code: 0 done, 1 something failed (said why), 2 wrong usage\n");
}

/* millrace.1: the verbs and what each says of itself. */
static int cli_manual(const struct mr_outside *outside)
{
    printf(".TH MILLRACE 1 \"\" \"millrace " MILLRACE_VERSION "\"\n.SH NAME\nmillrace \\- LLM inference jobs from a message queue\n"
           ".SH SYNOPSIS\n.B millrace\n.I VERB\n[flags]\n.SH DESCRIPTION\nPrompt jobs come in from Kafka, run under continuous batching over a paged "
           "KV cache, and go out as token streams and results. Options of the configuration are in\n.BR millrace.conf (5).\n.SH VERBS\n");
    for (int i = 0; i < N_VERBS; i++) {
        if (!verbs[i].run)
            continue;
        struct mr_cli cli = {.outside = outside};
        printf(".SS %s\n%s.\n.PP\n.nf\n", verbs[i].name, verbs[i].help);
        verbs[i].run(&cli, 2, (char *[]){(char *)verbs[i].name, "--help", NULL});
        printf(".fi\n");
        mr_cli_close(&cli);
    }
    printf(".SH EXIT STATUS\n.TP\n.B %d\ndone.\n.TP\n.B %d\nsomething failed; standard error says what. A verb's own text says what counts: "
           "a bad line, a job that did not end done, a fault that was found.\n.TP\n.B %d\nwrong usage, or a configuration that is not valid.\n"
           ".PP\nWith\n.B \\-\\-json\nstandard output has one JSON object, or one a line, and nothing else; its keys are stable.\n"
           ".SH SEE ALSO\n.BR millrace.conf (5),\n.BR millrace\\-jobs (7)\n", MR_EXIT_DONE, MR_EXIT_FAILED, MR_EXIT_USAGE);
    return MR_EXIT_DONE;
}

/* The pages that come from tables alone. */
static int cli_manual_page(const char *name)
{
    struct mr_buf page = {0};
    if (strcmp(name, "options") == 0)
        mr_manual_options(&page);
    else if (strcmp(name, "jobs") == 0)
        mr_manual_jobs(&page);
    else
        return mr_cli_misuse("no manual page \"%s\": options or jobs", name);
    bool written = !page.failed && fwrite(page.p, 1, page.n, stdout) == page.n && fflush(stdout) == 0;
    mr_buf_fini(&page);
    return written ? MR_EXIT_DONE : mr_cli_fail("standard output could not be written");
}

static void cli_say(const char *format, va_list args)
{
    fflush(stdout);
    fputs("millrace: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

int mr_cli_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    cli_say(format, args);
    va_end(args);
    return MR_EXIT_FAILED;
}

int mr_cli_misuse(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    cli_say(format, args);
    va_end(args);
    return MR_EXIT_USAGE;
}

bool mr_cli_has(const void *entry, const char *what)
{
    if (!entry)
        mr_cli_fail("this build has no %s (it was made with MILLRACE_ADAPTERS=OFF)", what);
    return entry != NULL;
}

bool mr_cli_set(struct mr_cli *cli, const char *option, const char *value)
{
    if (cli->n_sets == MR_CLI_SETS_MAX)
        return false;
    size_t bytes = strlen(option) + strlen(value) + 2;
    char *text = mr_arena_alloc(&cli->arena, bytes);
    if (!text)
        return false;
    snprintf(text, bytes, "%s=%s", option, value);
    cli->sets[cli->n_sets++] = text;
    return true;
}

const struct mr_options *mr_cli_options(struct mr_cli *cli)
{
    if (cli->options)
        return cli->options;
    struct mr_err err;
    struct mr_options *options = mr_arena_alloc(&cli->arena, sizeof *options);
    if (!options) {
        mr_cli_misuse("no memory");
        return NULL;
    }
    if (mr_options_open(options, cli->config_file, cli->sets, cli->n_sets, &err) != MR_OK) {
        mr_cli_misuse("%s", err.text);
        return NULL;
    }
    return cli->options = options;
}

void mr_cli_close(struct mr_cli *cli)
{
    if (cli->options)
        mr_options_fini(cli->options);
    mr_arena_fini(&cli->arena);
    *cli = (struct mr_cli){.outside = cli->outside};
}

int mr_cli_main(const struct mr_outside *outside, int argc, char **argv)
{
    if (argc < 2) {
        cli_help(stderr);
        return MR_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        cli_help(stdout);
        return MR_EXIT_DONE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("millrace " MILLRACE_VERSION "\n");
        return MR_EXIT_DONE;
    }
    if (strcmp(argv[1], "--manual") == 0)
        return argc > 2 ? cli_manual_page(argv[2]) : cli_manual(outside);
    for (int i = 0; i < N_VERBS; i++) {
        if (!verbs[i].run || strcmp(argv[1], verbs[i].name) != 0)
            continue;
        struct mr_cli cli = {.outside = outside};
        int code = verbs[i].run(&cli, argc - 1, argv + 1);
        mr_cli_close(&cli);
        if (fflush(stdout) != 0 && code == MR_EXIT_DONE)
            code = mr_cli_fail("standard output could not be written");
        return code;
    }
    return mr_cli_misuse("unknown verb \"%s\"; see millrace --help", argv[1]);
}
