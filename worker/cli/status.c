/* `millrace status JOB`: where a job is, from the state store, or, where that knows nothing, from the streams. One thread. */
#include "worker/cli/client.h"
#include "worker/cli/job_verb.h"
#include "worker/cli/outcome.h"
#include "worker/cli/place.h"

#include <stdio.h>

#define STATUS_POLL_NS (MR_NS_PER_S / 10)

static void status_print(struct mr_cli *cli, const struct mr_value *map)
{
    if (cli->json) {
        mr_outcome_print_json(map);
        return;
    }
    for (size_t i = 0; i < map->as.map.n; i++) {
        const struct mr_pair *pair = &map->as.map.items[i];
        printf("%-14.*s ", (int)pair->key.n, pair->key.p);
        if (pair->value.kind == MR_STRING)
            mr_outcome_print_text(pair->value.as.string);
        else if (pair->value.kind == MR_INT)
            printf("%lld", (long long)pair->value.as.integer);
        else
            printf("%g", pair->value.as.real);
        putchar('\n');
    }
}

/* What the scheduler told of the job's wait: its last line. */
static int status_why(struct mr_cli *cli, struct mr_str name)
{
    struct mr_str *fields;
    size_t n = 0;
    if (!mr_place_state(cli->outside, mr_cli_options(cli), name, &cli->arena, &fields, &n))
        n = 0;
    for (size_t i = 0; i + 1 < n; i += 2) {
        if (!mr_str_is(fields[i], "why"))
            continue;
        struct mr_value map = mr_value_map(&cli->arena, 2);
        mr_value_set(&map, "job", mr_value_string(name));
        mr_value_set(&map, "why", mr_value_string(fields[i + 1]));
        status_print(cli, &map);
        return MR_EXIT_DONE;
    }
    return mr_cli_fail("the state store does not say what %.*s waited for: it has not reached an engine, or redis.address is not set", (int)name.n,
                       name.p);
}

/* What the store holds, as it holds it. */
static bool status_from_store(struct mr_cli *cli, struct mr_str name)
{
    struct mr_str *fields;
    size_t n;
    if (!mr_place_state(cli->outside, mr_cli_options(cli), name, &cli->arena, &fields, &n))
        return false;
    struct mr_value map = mr_value_map(&cli->arena, n / 2 + 2);
    mr_value_set(&map, "job", mr_value_string(name));
    mr_value_set(&map, "from", mr_value_string(MR_STR("store")));
    for (size_t i = 0; i + 1 < n; i += 2) {
        struct mr_str key = mr_arena_str(&cli->arena, fields[i]);
        mr_value_set(&map, mr_str_is(key, "state") ? "status" : key.p, mr_value_string(fields[i + 1]));
    }
    status_print(cli, &map);
    return true;
}

/* Reads every stream that may hold the job up to its present end. Of several runs the last that is no duplicate speaks. */
static int status_from_streams(struct mr_cli *cli, struct mr_str name)
{
    struct mr_client client;
    struct mr_follow follow;
    int code = mr_client_open(&client, cli);
    if (code != MR_EXIT_DONE)
        return code;
    mr_follow_init(&follow, mr_job_verb_wants, &name);
    int32_t catching_up = mr_place_follow(&client, name, &cli->arena);
    bool any = catching_up > 0;
    while (catching_up > 0 && !client.broken) {
        struct mr_log_event event;
        struct mr_follow_run *run;
        struct mr_stream_record record;
        if (!mr_client_next(&client, STATUS_POLL_NS, &event))
            continue;
        if (event.kind == MR_LOG_FOLLOWED)
            mr_follow_add(&follow, &event.record, &run, &record);
        else if (event.kind == MR_LOG_CAUGHT_UP)
            catching_up--;
    }
    const struct mr_follow_run *shown = follow.newest;
    for (const struct mr_follow_run *run = shown; run && shown->fold.closed && shown->fold.end == MR_FOLD_DUPLICATE; run = run->older)
        shown = run;
    if (shown) {
        struct mr_value value = mr_outcome_value(shown, cli->json, &cli->arena);
        status_print(cli, &value);
    } else {
        code = any ? mr_cli_fail("nothing is known of %.*s: it waits, or was never sent", (int)name.n, name.p) : MR_EXIT_FAILED;
    }
    mr_follow_fini(&follow);
    mr_client_close(&client);
    return code;
}

int mr_verb_status(struct mr_cli *cli, int argc, char **argv)
{
    const char *tenant = NULL;
    bool streams = false, why = false;
    struct mr_str name;
    int code;
    const struct mr_flag flags[] = {
        MR_JOB_VERB_TENANT(tenant),
        {"why", NULL, "what the job waited for, in milliseconds by cause", MR_FLAG_BOOL, &why, NULL},
        {"streams", NULL, "do not ask the state store, read the streams", MR_FLAG_BOOL, &streams, NULL},
    };
    const struct mr_flags_usage usage = {
        .synopsis = "status JOB",
        .about = "Says where a job is: from the state store (a mirror, which may be late), else from the streams (the truth).\n"
                 "JOB: tenant/id, or an id. Exit code 1: nothing is known of it.",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
    };
    if (!mr_job_verb_begin(cli, &usage, argc, argv, &name, &code))
        return code;
    if (!mr_cli_options(cli))
        return MR_EXIT_USAGE;
    if (why)
        return status_why(cli, name);
    if (!streams && status_from_store(cli, name))
        return MR_EXIT_DONE;
    return status_from_streams(cli, name);
}
