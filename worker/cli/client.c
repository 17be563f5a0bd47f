#include "worker/cli/client.h"

#include "worker/cli/record_copy.h"

#include <stdio.h>

#define CLIENT_REPORT_NS (30 * MR_NS_PER_S)
#define CLIENT_POLL_NS (MR_NS_PER_S / 10)

int mr_client_open(struct mr_client *client, struct mr_cli *cli)
{
    struct mr_err err;
    *client = (struct mr_client){.outside = cli->outside, .options = mr_cli_options(cli)};
    if (!client->options)
        return MR_EXIT_USAGE;
    if (!mr_cli_has(cli->outside->log_open, "Kafka"))
        return MR_EXIT_FAILED;
    if (!mr_wake_open(&client->wake))
        return mr_cli_fail("no file descriptor is left");
    if (cli->outside->log_open(client->options, MR_LOG_CLIENT, &client->wake, &client->log, &err) != MR_OK) {
        mr_wake_close(&client->wake);
        return mr_cli_fail("%s", err.text);
    }
    client->opened = true;
    return MR_EXIT_DONE;
}

void mr_client_close(struct mr_client *client)
{
    if (!client->opened)
        return;
    client->outside->log_close(&client->log);
    mr_wake_close(&client->wake);
    client->opened = false;
}

int32_t mr_client_follow(struct mr_client *client, const char *topic, int32_t partition, int64_t offset)
{
    struct mr_log_action action = {.kind = MR_LOG_FOLLOW, .record = {.topic = mr_str_from(topic)}, .offset = offset};
    int32_t n = client->log.partitions(client->log.self, action.record.topic), followed = 0;
    int32_t first = partition < 0 ? 0 : partition, last = partition < 0 ? n : partition + 1;
    for (action.record.partition = first; action.record.partition < last && action.record.partition < n; action.record.partition++)
        followed += client->log.act(client->log.self, &action) == MR_OK;
    return followed;
}

bool mr_client_next(struct mr_client *client, int64_t timeout_ns, struct mr_log_event *event)
{
    while (!client->broken && client->log.poll(client->log.self, timeout_ns, event)) {
        if (event->kind != MR_LOG_TROUBLE)
            return true;
        mr_cli_fail("%.*s", (int)event->text.n, event->text.p);
        client->broken = event->fatal;
    }
    return false;
}

enum mr_status mr_client_produce(struct mr_client *client, const struct mr_record *record, uint64_t tag)
{
    struct mr_log_action action = {.kind = MR_LOG_PRODUCE, .record = *record, .tag = tag};
    return client->log.act(client->log.self, &action);
}

bool mr_client_delivered(struct mr_client *client, uint64_t tag, struct mr_log_event *event)
{
    struct mr_clock clock = mr_clock_system();
    int64_t until_ns = mr_clock_ns(&clock) + CLIENT_REPORT_NS;
    for (int64_t left_ns; (left_ns = until_ns - mr_clock_ns(&clock)) > 0 && !client->broken;)
        if (mr_client_next(client, left_ns, event) && event->kind == MR_LOG_DELIVERED && event->tag == tag)
            return true;
    return false;
}

int mr_client_read(struct mr_client *client, const struct mr_client_topics *topics, bool (*take)(void *self, const struct mr_record *record),
                   void *self)
{
    int32_t catching_up = 0;
    for (size_t i = 0; i < topics->n; i++) {
        bool seen = topics->names[i][0] == '\0';
        for (size_t k = 0; k < i; k++)
            seen |= strcmp(topics->names[k], topics->names[i]) == 0;
        catching_up += seen ? 0 : mr_client_follow(client, topics->names[i], -1, -1);
    }
    if (!catching_up)
        return mr_cli_fail("no %s of the configuration exists", topics->what);
    while (catching_up > 0 && !client->broken) {
        struct mr_log_event event;
        if (!mr_client_next(client, CLIENT_POLL_NS, &event))
            continue;
        if (event.kind == MR_LOG_FOLLOWED && !take(self, &event.record))
            return mr_cli_fail("out of memory");
        catching_up -= event.kind == MR_LOG_CAUGHT_UP;
    }
    return client->broken ? MR_EXIT_FAILED : MR_EXIT_DONE;
}

enum mr_status mr_client_record(struct mr_client *client, const char *topic, int32_t partition, int64_t offset, struct mr_arena *arena,
                                struct mr_record *out)
{
    struct mr_clock clock = mr_clock_system();
    struct mr_log_action unfollow = {.kind = MR_LOG_UNFOLLOW, .record = {.topic = mr_str_from(topic), .partition = partition}};
    int64_t until_ns = mr_clock_ns(&clock) + CLIENT_REPORT_NS;
    enum mr_status status = MR_ERR_IO;
    if (partition < 0 || offset < 0 || !mr_client_follow(client, topic, partition, offset))
        return MR_ERR_NOT_FOUND;
    for (int64_t left_ns; status == MR_ERR_IO && (left_ns = until_ns - mr_clock_ns(&clock)) > 0 && !client->broken;) {
        struct mr_log_event event;
        if (!mr_client_next(client, left_ns, &event) || event.record.partition != partition || !mr_str_is(event.record.topic, topic))
            continue;
        if (event.kind == MR_LOG_FOLLOWED && event.record.offset == offset)
            status = mr_record_copy(arena, &event.record, out) ? MR_OK : MR_ERR_NOMEM;
        else if (event.kind == MR_LOG_FOLLOWED || event.kind == MR_LOG_CAUGHT_UP || event.kind == MR_LOG_OUT_OF_RANGE)
            status = MR_ERR_NOT_FOUND;
    }
    client->log.act(client->log.self, &unfollow);
    return status;
}

const struct mr_route *mr_client_route(const struct mr_options *options, const char *name)
{
    enum mr_tier tier = MR_TIER_STANDARD;
    for (int32_t i = 0; name && i < options->n_routes; i++)
        if (strcmp(options->routes[i].name, name) == 0)
            return &options->routes[i];
    if (name && !mr_tier_from_name(mr_str_from(name), &tier)) {
        mr_cli_misuse("no route or tier is called \"%s\"", name);
        return NULL;
    }
    for (int32_t i = 0; i < options->n_routes; i++)
        if (options->routes[i].tier == tier)
            return &options->routes[i];
    if (!name)
        return &options->routes[0];
    mr_cli_misuse("no route has the tier \"%s\"", name);
    return NULL;
}

struct mr_str mr_client_job_name(struct mr_arena *arena, const char *job, const char *tenant)
{
    char name[MR_TENANT_BYTES_MAX + 256];
    const char *slash = strchr(job, '/');
    struct mr_str owner = slash ? (struct mr_str){job, (size_t)(slash - job)} : mr_str_from(tenant ? tenant : "default");
    const char *id = slash ? slash + 1 : job;
    int n = snprintf(name, sizeof name, "%.*s/%s", (int)owner.n, owner.p, id);
    if (!mr_tenant_valid(owner) || id[0] == '\0' || n < 0 || (size_t)n >= sizeof name) {
        mr_cli_misuse("\"%s\" is no job: tenant/id, or an id", job);
        return (struct mr_str){0};
    }
    return mr_arena_str(arena, (struct mr_str){name, (size_t)n});
}
