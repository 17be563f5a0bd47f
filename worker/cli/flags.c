#include "worker/cli/flags.h"

#include "worker/cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void flags_help_row(const char *name, const char *value, const char *help)
{
    char left[64];
    snprintf(left, sizeof left, "  --%s%s%s", name, value ? " " : "", value ? value : "");
    printf("%-30s %s\n", left, help);
}

static void flags_help(const struct mr_flags_usage *usage)
{
    printf("usage: millrace %s\n\n%s\n\n", usage->synopsis, usage->about);
    for (int i = 0; i < usage->n_flags; i++)
        flags_help_row(usage->flags[i].name, usage->flags[i].value, usage->flags[i].help);
    flags_help_row("json", NULL, "one JSON object, or one a line, on stdout and nothing else");
    printf("%-30s %s\n", "  -c FILE", "configuration (libconfig)");
    flags_help_row("set", "a.b=c", "one option over the configuration; may be repeated");
    flags_help_row("help", NULL, "this text");
}

static bool flags_store(struct mr_cli *cli, const struct mr_flag *flag, const char *value)
{
    char *end = NULL;
    errno = 0;
    switch (flag->kind) {
    case MR_FLAG_BOOL:
        *(bool *)flag->target = true;
        return true;
    case MR_FLAG_INT:
        *(int64_t *)flag->target = strtoll(value, &end, 10);
        break;
    case MR_FLAG_NUMBER:
        *(double *)flag->target = strtod(value, &end);
        break;
    case MR_FLAG_TEXT:
        *(const char **)flag->target = value;
        return true;
    case MR_FLAG_SETTING:
        return mr_cli_set(cli, flag->option, value);
    }
    return errno == 0 && end != value && *end == '\0';
}

/* The flags every verb takes. false: name is not one of them. *error: it is, and its value is wrong. */
static bool flags_common(struct mr_cli *cli, const char *name, const char *value, bool *error)
{
    if (strcmp(name, "set") == 0) {
        const char *equals = value ? strchr(value, '=') : NULL;
        if (!equals || equals == value) {
            *error = true;
            return true;
        }
        char option[128];
        snprintf(option, sizeof option, "%.*s", (int)(equals - value), value);
        *error = !mr_cli_set(cli, option, equals + 1);
        return true;
    }
    if (strcmp(name, "json") == 0) {
        cli->json = true;
        return true;
    }
    return false;
}

static const struct mr_flag *flags_find(const struct mr_flags_usage *usage, const char *name)
{
    for (int i = 0; i < usage->n_flags; i++)
        if (strcmp(usage->flags[i].name, name) == 0)
            return &usage->flags[i];
    return NULL;
}

/* One flag at argv[*at], which starts with "--"; moves *at past its value. false: wrong usage, explained. */
static bool flags_take(struct mr_cli *cli, const struct mr_flags_usage *usage, int argc, char **argv, int *at)
{
    char name[64];
    const char *text = argv[*at] + 2, *equals = strchr(text, '=');
    snprintf(name, sizeof name, "%.*s", equals ? (int)(equals - text) : (int)strlen(text), text);
    const struct mr_flag *flag = flags_find(usage, name);
    bool wants_value = flag ? flag->kind != MR_FLAG_BOOL : strcmp(name, "set") == 0;
    const char *value = equals ? equals + 1 : NULL;
    if (wants_value && !value) {
        if (*at + 1 >= argc) {
            mr_cli_misuse("--%s needs a value", name);
            return false;
        }
        value = argv[++*at];
    }
    if (!wants_value && value) {
        mr_cli_misuse("--%s takes no value", name);
        return false;
    }
    bool error = false;
    if (flag)
        error = !flags_store(cli, flag, value);
    else if (!flags_common(cli, name, value, &error)) {
        mr_cli_misuse("unknown flag --%s; see millrace %s --help", name, argv[0]);
        return false;
    }
    if (error)
        mr_cli_misuse("--%s: \"%s\" is not a valid value", name, value ? value : "");
    return !error;
}

bool mr_flags_parse(struct mr_cli *cli, const struct mr_flags_usage *usage, int argc, char **argv, struct mr_args *args)
{
    bool only_args = false;
    *args = (struct mr_args){.items = argv + 1, .exit_code = MR_EXIT_USAGE};
    for (int i = 1; i < argc; i++) {
        char *arg = argv[i];
        if (only_args || arg[0] != '-' || arg[1] == '\0') {
            args->items[args->n++] = arg;
        } else if (strcmp(arg, "--") == 0) {
            only_args = true;
        } else if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            flags_help(usage);
            args->exit_code = MR_EXIT_DONE;
            return false;
        } else if (strcmp(arg, "-c") == 0) {
            if (i + 1 >= argc) {
                mr_cli_misuse("-c needs a file");
                return false;
            }
            cli->config_file = argv[++i];
        } else if (arg[1] != '-') {
            mr_cli_misuse("unknown flag %s; see millrace %s --help", arg, argv[0]);
            return false;
        } else if (!flags_take(cli, usage, argc, argv, &i)) {
            return false;
        }
    }
    if (args->n < usage->min_args || (usage->max_args >= 0 && args->n > usage->max_args)) {
        mr_cli_misuse("usage: millrace %s", usage->synopsis);
        return false;
    }
    return true;
}
