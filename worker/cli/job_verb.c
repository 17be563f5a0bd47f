#include "worker/cli/job_verb.h"

#include "worker/cli/client.h"

bool mr_job_verb_begin(struct mr_cli *cli, const struct mr_flags_usage *usage, int argc, char **argv, struct mr_str *name, int *code)
{
    struct mr_flags_usage one = *usage;
    struct mr_args args;
    one.min_args = one.max_args = 1;
    bool parsed = mr_flags_parse(cli, &one, argc, argv, &args);
    *code = args.exit_code;
    if (!parsed)
        return false;
    *name = mr_client_job_name(&cli->arena, args.items[0], *(const char **)usage->flags[0].target);
    return name->n > 0;
}

bool mr_job_verb_wants(void *self, struct mr_str name) { return mr_str_equal(*(const struct mr_str *)self, name); }
