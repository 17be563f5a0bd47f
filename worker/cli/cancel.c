/* `millrace cancel JOB`: a record on the control topic; every worker reads it. One thread. */
#include "adapters/codec/codec.h"
#include "worker/cli/client.h"
#include "worker/cli/job_verb.h"
#include "worker/cli/outcome.h"
#include "worker/cli/place.h"

#include <stdio.h>
#include <unistd.h>

#define CANCEL_POLL_NS (MR_NS_PER_S / 10)

struct cancel {
    struct mr_cli *cli;
    struct mr_client client;
    struct mr_str name;
    const char *reason;
    bool wait;
};

/* Appends the cancel to one control topic. */
static int cancel_send(struct cancel *c, const char *topic)
{
    static const struct mr_header json = {MR_STR("content-type"), MR_STR("application/json")};
    char by[80] = "cli";
    gethostname(by, sizeof by - 1);
    struct mr_value body = mr_value_map(&c->cli->arena, 5);
    struct mr_buf value = {0};
    struct mr_log_event event;
    mr_value_set(&body, "v", mr_value_int(1));
    mr_value_set(&body, "kind", mr_value_string(MR_STR("cancel")));
    mr_value_set(&body, "job", mr_value_string(c->name));
    mr_value_set(&body, "by", mr_value_string(mr_str_from(by)));
    mr_value_set(&body, "reason", mr_value_string(mr_str_from(c->reason)));
    mr_codec_json.encode(&body, &value);
    struct mr_record record = {.topic = mr_str_from(topic), .key = c->name, .value = mr_buf_view(&value), .headers = &json, .n_headers = 1};
    enum mr_status status = mr_client_produce(&c->client, &record, 1);
    mr_buf_fini(&value);
    if (status != MR_OK)
        return mr_cli_fail("the control topic %s: %s", topic, mr_status_name(status));
    if (!mr_client_delivered(&c->client, 1, &event) || event.status != MR_OK)
        return mr_cli_fail("the control topic %s does not take the cancel", topic);
    return MR_EXIT_DONE;
}

/* Every control topic of the configuration, once: which route a job took is not in its name. */
static int cancel_send_all(struct cancel *c, const char *route_name)
{
    const struct mr_options *options = c->client.options;
    const struct mr_route *only = route_name ? mr_client_route(options, route_name) : NULL;
    int code = route_name && !only ? MR_EXIT_USAGE : MR_EXIT_DONE;
    for (int32_t i = 0; i < options->n_routes && code == MR_EXIT_DONE; i++) {
        bool seen = only && only != &options->routes[i];
        for (int32_t k = 0; k < i && !only; k++)
            seen |= strcmp(options->routes[k].control, options->routes[i].control) == 0;
        if (!seen)
            code = cancel_send(c, options->routes[i].control);
    }
    return code;
}

/* Until the job's run is closed, by the cancel or by what was faster. */
static int cancel_wait(struct cancel *c)
{
    struct mr_follow follow;
    struct mr_follow_run *run = NULL;
    mr_follow_init(&follow, mr_job_verb_wants, &c->name);
    int code = mr_place_follow(&c->client, c->name, &c->cli->arena) ? MR_EXIT_DONE : MR_EXIT_FAILED;
    while (code == MR_EXIT_DONE && !c->client.broken && !(run && run->fold.closed && run->fold.end != MR_FOLD_MOVED)) {
        struct mr_log_event event;
        struct mr_stream_record record;
        if (mr_client_next(&c->client, CANCEL_POLL_NS, &event) && event.kind == MR_LOG_FOLLOWED)
            mr_follow_add(&follow, &event.record, &run, &record);
    }
    if (code == MR_EXIT_DONE && run && run->fold.closed) {
        struct mr_value value = mr_outcome_value(run, c->cli->json, &c->cli->arena);
        if (c->cli->json)
            mr_outcome_print_json(&value);
        else
            mr_outcome_say(run);
        code = run->fold.end == MR_FOLD_CANCELLED ? MR_EXIT_DONE : MR_EXIT_FAILED;
    }
    mr_follow_fini(&follow);
    return c->client.broken ? MR_EXIT_FAILED : code;
}

static void cancel_print_sent(struct cancel *c)
{
    struct mr_value value = mr_value_map(&c->cli->arena, 2);
    mr_value_set(&value, "job", mr_value_string(c->name));
    mr_value_set(&value, "cancel", mr_value_string(MR_STR("sent")));
    mr_outcome_print_json(&value);
}

int mr_verb_cancel(struct mr_cli *cli, int argc, char **argv)
{
    struct cancel c = {.cli = cli, .reason = "asked for on the command line"};
    const char *tenant = NULL, *route = NULL;
    int code;
    const struct mr_flag flags[] = {
        MR_JOB_VERB_TENANT(tenant),
        {"route", "R", "the route (or tier) whose control topic it goes to (default: every one)", MR_FLAG_TEXT, &route, NULL},
        {"reason", "TEXT", "why", MR_FLAG_TEXT, &c.reason, NULL},
        {"wait", NULL, "wait until the job has ended; exit code 1: not by the cancel", MR_FLAG_BOOL, &c.wait, NULL},
    };
    const struct mr_flags_usage usage = {
        .synopsis = "cancel JOB",
        .about = "Stops a job, queued or running, at the next step of whoever has it. JOB: tenant/id, or an id.",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
    };
    if (!mr_job_verb_begin(cli, &usage, argc, argv, &c.name, &code) || (code = mr_client_open(&c.client, cli)) != MR_EXIT_DONE)
        return code;
    code = cancel_send_all(&c, route);
    if (code == MR_EXIT_DONE && c.wait)
        code = cancel_wait(&c);
    else if (code == MR_EXIT_DONE && cli->json)
        cancel_print_sent(&c);
    mr_client_close(&c.client);
    return code;
}
