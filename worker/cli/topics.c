/* `millrace topics plan|create|check`: which topics and settings the configuration needs; makes what is missing; judges what is
 * there. One thread.
 *
 * Owns what the broker said of each topic of the plan. create makes only what is missing and changes nothing: a setting that breaks the
 * promise is for its owner to change, who may have reasons. Streams are made first, so that none ever has fewer partitions than its
 * input. Rejected: altering topics; asking for several at once (the port tells which one failed). */
#include "adapters/codec/codec.h"
#include "worker/cli/cli.h"
#include "worker/topic_plan.h"

#include <stdio.h>

#define TOPICS_DEV_BROKER "millrace.dev-broker" /* the embedded broker's mark */

struct topics {
    struct mr_cli *cli;
    const struct mr_options *options;
    struct mr_topic_need *needs; /* [n] */
    size_t n;
    struct mr_topic *found;      /* [n]; partitions -1: not there */
    struct mr_topic_faults faults;
};

static void topics_print_json(const struct mr_value *value)
{
    struct mr_buf out = {0};
    mr_codec_json.encode(value, &out);
    mr_buf_add_char(&out, '\n');
    fwrite(out.p, 1, out.n, stdout);
    mr_buf_fini(&out);
}

static struct mr_value topics_text(const char *text) { return mr_value_string(mr_str_from(text)); }

static int topics_plan(struct topics *t)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct mr_topic *topic = &t->needs[i].topic;
        const char *role = mr_topic_role_name(t->needs[i].role);
        if (t->cli->json) {
            struct mr_value line = mr_value_map(&t->cli->arena, 5), settings = mr_value_map(&t->cli->arena, (size_t)topic->n_settings);
            for (int32_t s = 0; s < topic->n_settings; s++)
                mr_value_set(&settings, topic->setting[s].key, topics_text(topic->setting[s].value));
            mr_value_set(&line, "topic", topics_text(topic->name));
            mr_value_set(&line, "role", topics_text(role));
            mr_value_set(&line, "partitions", mr_value_int(topic->partitions));
            mr_value_set(&line, "replication", mr_value_int(topic->replication));
            mr_value_set(&line, "settings", settings);
            topics_print_json(&line);
            continue;
        }
        printf("%-36s %-8s %3d partitions", topic->name, role, topic->partitions);
        for (int32_t s = 0; s < topic->n_settings; s++)
            printf("  %s=%s", topic->setting[s].key, topic->setting[s].value);
        printf("\n");
    }
    return MR_EXIT_DONE;
}

/* Asks the broker for every topic of the plan. */
static int topics_describe(struct topics *t)
{
    t->found = mr_arena_array(&t->cli->arena, t->n, sizeof *t->found);
    if (!t->found)
        return mr_cli_fail("out of memory");
    for (size_t i = 0; i < t->n; i++) {
        struct mr_err err;
        memcpy(t->found[i].name, t->needs[i].topic.name, sizeof t->found[i].name);
        enum mr_status status = t->cli->outside->topic_describe(t->options, &t->found[i], &err);
        if (status == MR_ERR_NOT_FOUND)
            t->found[i].partitions = -1;
        else if (status != MR_OK)
            return mr_cli_fail("%s", err.text);
    }
    return MR_EXIT_DONE;
}

static int topics_create(struct topics *t)
{
    int made = 0, code = topics_describe(t);
    if (code != MR_EXIT_DONE)
        return code;
    for (size_t i = 0; i < t->n; i++) {
        struct mr_err err;
        if (t->found[i].partitions >= 0)
            continue;
        if (t->cli->outside->topic_create(t->options, &t->needs[i].topic, &err) != MR_OK)
            return mr_cli_fail("%s", err.text);
        made++;
        if (!t->cli->json)
            printf("made %s\n", t->needs[i].topic.name);
    }
    if (t->cli->json)
        printf("{\"made\":%d,\"there\":%zu}\n", made, t->n - (size_t)made);
    else
        printf("%d made, %zu were there\n", made, t->n - (size_t)made);
    return MR_EXIT_DONE;
}

static int32_t topics_partitions(const struct topics *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->found[i].name, name) == 0)
            return t->found[i].partitions;
    return -1;
}

static void topics_print_faults(const struct topics *t)
{
    for (size_t i = 0; i < t->faults.n; i++) {
        const struct mr_topic_fault *f = &t->faults.list[i];
        if (t->cli->json) {
            struct mr_value line = mr_value_map(&t->cli->arena, 4);
            mr_value_set(&line, "topic", topics_text(f->topic));
            mr_value_set(&line, "setting", topics_text(f->setting));
            mr_value_set(&line, "is", topics_text(f->is));
            mr_value_set(&line, "wanted", topics_text(f->wanted));
            topics_print_json(&line);
        } else {
            printf("%s: %s is %s, wanted: %s\n", f->topic, f->setting, f->is, f->wanted);
        }
    }
}

static int topics_check(struct topics *t)
{
    int code = topics_describe(t);
    struct mr_topic marker = {.name = TOPICS_DEV_BROKER};
    bool dev = t->cli->outside->topic_describe(t->options, &marker, NULL) == MR_OK;
    if (code != MR_EXIT_DONE)
        return code;
    for (size_t i = 0; i < t->n; i++)
        mr_topic_judge(t->options, &t->needs[i], &t->found[i], dev, &t->faults);
    for (int32_t i = 0; i < t->options->n_routes; i++) {
        const struct mr_route *route = &t->options->routes[i];
        struct mr_topic_counts counts = {topics_partitions(t, route->jobs), topics_partitions(t, route->parked), topics_partitions(t, route->stream),
                                         topics_partitions(t, route->stream_parked)};
        mr_topic_judge_counts(route, &counts, &t->faults);
    }
    topics_print_faults(t);
    if (!t->cli->json)
        printf("%zu topics, %zu faults%s\n", t->n, t->faults.n, dev ? " (the embedded broker: only partitions are judged, nothing is kept)" : "");
    return t->faults.n ? MR_EXIT_FAILED : MR_EXIT_DONE;
}

int mr_verb_topics(struct mr_cli *cli, int argc, char **argv)
{
    const struct mr_flags_usage usage = {
        .synopsis = "topics plan|create|check",
        .about = "plan prints the topics and settings that the configuration needs; create makes those that are missing; check judges\n"
                 "those that are there (exit code 1: some break the promise, each is named).",
        .min_args = 1,
        .max_args = 1,
    };
    struct mr_args args;
    if (!mr_flags_parse(cli, &usage, argc, argv, &args))
        return args.exit_code;
    struct topics t = {.cli = cli, .options = mr_cli_options(cli)};
    if (!t.options)
        return MR_EXIT_USAGE;
    t.needs = mr_topic_plan(t.options, &cli->arena, &t.n);
    if (!t.needs)
        return mr_cli_fail("out of memory");
    if (strcmp(args.items[0], "plan") == 0)
        return topics_plan(&t);
    bool create = strcmp(args.items[0], "create") == 0;
    if (!create && strcmp(args.items[0], "check") != 0)
        return mr_cli_misuse("topics takes plan, create or check, not \"%s\"", args.items[0]);
    if (!mr_cli_has(cli->outside->topic_create, "Kafka") || !mr_cli_has(cli->outside->topic_describe, "Kafka"))
        return MR_EXIT_FAILED;
    return create ? topics_create(&t) : topics_check(&t);
}
