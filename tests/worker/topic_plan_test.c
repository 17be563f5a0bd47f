#include "tests/test.h"

#include "worker/topic_plan.h"

#include <stdio.h>

static struct mr_options options;
static struct mr_arena arena;

static const struct mr_topic_need *need_of(const struct mr_topic_need *needs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(needs[i].topic.name, name) == 0)
            return &needs[i];
    return NULL;
}

static const char *setting_of(const struct mr_topic *topic, const char *key)
{
    for (int32_t i = 0; i < topic->n_settings; i++)
        if (strcmp(topic->setting[i].key, key) == 0)
            return topic->setting[i].value;
    return "";
}

static void set(struct mr_topic *topic, const char *key, const char *value)
{
    int32_t i = 0;
    while (i < topic->n_settings && strcmp(topic->setting[i].key, key) != 0)
        i++;
    topic->n_settings += i == topic->n_settings;
    snprintf(topic->setting[i].key, sizeof topic->setting[i].key, "%s", key);
    snprintf(topic->setting[i].value, sizeof topic->setting[i].value, "%s", value);
}

TEST(the_plan_names_every_topic_once)
{
    size_t n;
    const struct mr_topic_need *needs = mr_topic_plan(&options, &arena, &n);
    REQUIRE(needs);
    EXPECT_EQ(n, 16); /* 3 tiers x (jobs, parked, stream, stream.parked), results, dead, control, audit */
    for (size_t i = 0; i < n; i++)
        EXPECT(need_of(needs, n, needs[i].topic.name) == &needs[i]);
    const struct mr_topic_need *stream = need_of(needs, n, "millrace.stream.bulk"), *results = need_of(needs, n, "millrace.results"),
                               *control = need_of(needs, n, "millrace.control");
    REQUIRE(stream && results && control);
    EXPECT_STR(setting_of(&stream->topic, "cleanup.policy"), "delete");
    EXPECT_STR(setting_of(&stream->topic, "message.timestamp.type"), "LogAppendTime");
    EXPECT_STR(setting_of(&results->topic, "cleanup.policy"), "compact,delete");
    EXPECT_EQ(control->topic.partitions, 1);
    EXPECT_EQ(stream->topic.partitions, options.kafka.partitions);
    EXPECT(stream < need_of(needs, n, "millrace.jobs.bulk")); /* a stream is never behind its input */
    mr_arena_fini(&arena);
}

/* What the plan makes, the judge finds good; each setting turned bad is named. */
TEST(each_setting_is_judged)
{
    static const struct {
        const char *topic, *setting, *bad;
    } rows[] = {
        {"millrace.stream.bulk", "cleanup.policy", "compact,delete"}, {"millrace.stream.bulk", "retention.ms", "691199999"},
        {"millrace.stream.bulk", "segment.ms", "86400001"}, {"millrace.stream.bulk", "message.timestamp.type", "CreateTime"},
        {"millrace.stream.bulk", "retention.bytes", "1000000"}, {"millrace.jobs.bulk", "retention.ms", "604799999"},
        {"millrace.jobs.bulk", "retention.ms", "604800001"}, {"millrace.jobs.bulk", "retention.ms", "-1"},
        {"millrace.jobs.bulk", "max.message.bytes", "1048588"}, {"millrace.dead", "max.message.bytes", "1114112"},
        {"millrace.control", "retention.ms", "604800000"}, {"millrace.parked.bulk", "cleanup.policy", "compact"},
    };
    static struct mr_topic_faults faults;
    size_t n;
    const struct mr_topic_need *needs = mr_topic_plan(&options, &arena, &n);
    faults.n = 0;
    for (size_t i = 0; i < n; i++) {
        struct mr_topic is = needs[i].topic;
        set(&is, "retention.bytes", "-1");
        mr_topic_judge(&options, &needs[i], &is, false, &faults);
    }
    EXPECT_EQ(faults.n, 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct mr_topic_need *need = need_of(needs, n, rows[i].topic);
        struct mr_topic is = need->topic;
        set(&is, rows[i].setting, rows[i].bad);
        faults.n = 0;
        mr_topic_judge(&options, need, &is, false, &faults);
        if (faults.n != 1 || strcmp(faults.list[0].setting, rows[i].setting) != 0)
            printf("%s %s=%s: %zu faults\n", rows[i].topic, rows[i].setting, rows[i].bad, faults.n);
        EXPECT(faults.n == 1 && strcmp(faults.list[0].setting, rows[i].setting) == 0);
        faults.n = 0;
        mr_topic_judge(&options, need, &is, true, &faults); /* the embedded broker has no settings */
        EXPECT_EQ(faults.n, 0);
    }
    struct mr_topic replicated = need_of(needs, n, "millrace.results")->topic;
    replicated.replication = 3;
    set(&replicated, "min.insync.replicas", "1");
    mr_topic_judge(&options, need_of(needs, n, "millrace.results"), &replicated, false, &faults);
    EXPECT_EQ(faults.n, 1);
    mr_arena_fini(&arena);
}

TEST(partitions_are_judged)
{
    static struct mr_topic_faults faults;
    const struct mr_route *route = &options.routes[0];
    size_t n;
    const struct mr_topic_need *needs = mr_topic_plan(&options, &arena, &n);
    faults.n = 0;
    mr_topic_judge_counts(route, &(struct mr_topic_counts){8, 8, 8, 9}, &faults);
    EXPECT_EQ(faults.n, 0);
    mr_topic_judge_counts(route, &(struct mr_topic_counts){8, 8, 7, 8}, &faults);
    EXPECT_EQ(faults.n, 1);
    EXPECT_STR(faults.list[0].topic, route->stream);
    mr_topic_judge_counts(route, &(struct mr_topic_counts){8, 6, 8, 5}, &faults);
    EXPECT_EQ(faults.n, 3); /* the parked stream below its topic, the parked topic below jobs */
    faults.n = 0;
    mr_topic_judge_counts(route, &(struct mr_topic_counts){8, -1, -1, -1}, &faults);
    EXPECT_EQ(faults.n, 0); /* what is missing is told elsewhere */
    const struct mr_topic_need *control = need_of(needs, n, "millrace.control");
    struct mr_topic is = control->topic;
    is.partitions = 2;
    mr_topic_judge(&options, control, &is, true, &faults);
    EXPECT_EQ(faults.n, 1);
    is.partitions = -1;
    mr_topic_judge(&options, control, &is, true, &faults);
    EXPECT_EQ(faults.n, 2);
    EXPECT_STR(faults.list[1].is, "missing");
    for (int i = 0; i < MR_TOPIC_FAULTS_MAX; i++)
        mr_topic_judge(&options, control, &is, true, &faults);
    EXPECT_EQ(faults.n, MR_TOPIC_FAULTS_MAX);
    EXPECT_STR(mr_topic_role_name(control->role), "control");
    mr_arena_fini(&arena);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {TEST_CASE(the_plan_names_every_topic_once), TEST_CASE(each_setting_is_judged), TEST_CASE(partitions_are_judged)};
    struct mr_err err;
    if (mr_options_open(&options, NULL, NULL, 0, &err) != MR_OK)
        return 1;
    int code = test_run(cases, sizeof cases / sizeof *cases, argc, argv);
    mr_options_fini(&options);
    return code;
}
