#include "tests/test.h"

#include "worker/option_table.h"
#include "worker/options.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[] = "/tmp/mr_options_XXXXXX";

static const char *put(const char *text)
{
    static bool made;
    if (!made)
        close(mkstemp(path));
    made = true;
    FILE *file = fopen(path, "w");
    fputs(text, file);
    fclose(file);
    return path;
}

static enum mr_status open_text(struct mr_options *options, const char *text, struct mr_err *err)
{
    return mr_options_open(options, put(text), NULL, 0, err);
}

static enum mr_status open_set(struct mr_options *options, const char *set, struct mr_err *err)
{
    return mr_options_open(options, NULL, &set, 1, err);
}

TEST(defaults)
{
    struct mr_options o;
    REQUIRE(mr_options_open(&o, NULL, NULL, 0, NULL) == MR_OK);
    EXPECT_STR(o.model, "");
    EXPECT_STR(o.kafka.brokers, "localhost:9092");
    EXPECT_EQ(o.kv.memory_bytes, 0);
    EXPECT_EQ(o.result.max_bytes, 900000);
    EXPECT_EQ(o.engine.precision, MR_PRECISION_AUTO);
    EXPECT_EQ(o.log.level, MR_LOG_INFO);
    EXPECT(o.kv.prefix_cache);
    EXPECT_EQ(o.tier[MR_TIER_STANDARD].batch_tokens, 8);
    EXPECT_EQ(o.tier[MR_TIER_STANDARD].batch_ms, 100);
    EXPECT_EQ(o.tier[MR_TIER_BULK].batch_tokens, 64);
    EXPECT_EQ(o.tier[MR_TIER_BULK].batch_ms, 1000);
    REQUIRE(o.n_routes == 3);
    EXPECT_STR(o.routes[1].jobs, "millrace.jobs.standard");
    EXPECT_STR(o.routes[2].stream_parked, "millrace.stream.parked.bulk");
    EXPECT_STR(o.routes[0].results, "millrace.results");
    mr_options_fini(&o);
}

TEST(file_then_assignments)
{
    const char *sets[] = {"kafka.prefix=q.", "engine.threads=3", "kafka.options=a=1", "kv.prefix_cache=false", "worker.grace=2min"};
    struct mr_options o;
    struct mr_err err = {0};
    enum mr_status status = mr_options_open(
        &o, put("model = \"m.gguf\";\nkafka : { prefix = \"p.\"; options = (\"b=2\", \"c=3\"); };\nengine = { threads = 2; precision = \"fast\"; };\n"
                "kv : { memory = \"8GiB\"; };\ntier : { bulk : { batch_wait = 0; }; };\nlimits : { deadline = \"36h\"; };"),
        sets, 5, &err);
    EXPECT_STR(err.text, "");
    REQUIRE(status == MR_OK);
    EXPECT_STR(o.model, "m.gguf");
    EXPECT_STR(o.routes[0].jobs, "q.jobs.realtime");
    EXPECT_EQ(o.engine.threads, 3);
    EXPECT_EQ(o.engine.precision, MR_FAST);
    EXPECT_EQ(o.kv.memory_bytes, INT64_C(8) << 30);
    EXPECT(!o.kv.prefix_cache);
    EXPECT_EQ(o.worker.grace_ms, 120000);
    EXPECT_EQ(o.limits.deadline_ms, 129600000);
    EXPECT_EQ(o.tier[MR_TIER_BULK].batch_ms, 0);
    REQUIRE(o.kafka.options.n == 3);
    EXPECT_STR(o.kafka.options.items[0], "b=2");
    EXPECT_STR(o.kafka.options.items[2], "a=1");
    mr_options_fini(&o);
}

static void refused(const char *text, const char *line, const char *part)
{
    struct mr_options o;
    struct mr_err err = {0};
    char place[64];
    snprintf(place, sizeof place, "%s:%s: ", path, line);
    EXPECT(open_text(&o, text, &err) != MR_OK);
    if (strncmp(err.text, place, strlen(place)) != 0 || !strstr(err.text, part)) {
        printf("for %.60s wanted \"%s... %s\":\n", text, place, part);
        EXPECT_STR(err.text, part);
    }
}

TEST(every_error_has_its_line)
{
    put("");
    refused("\nkafka : {\n  borkers = \"x\";\n};", "3", "did you mean kafka.brokers?");
    refused("zzzzzzzzzzzz = 1;", "1", "unknown option zzzzzzzzzzzz");
    refused("kafka = \"x\";", "1", "is a group");
    refused("kafka : { a : { b = 1; }; };", "1", "unknown option kafka.a");
    refused("engine : { threads = \"2\"; };", "1", "whole number");
    refused("engine : { threads = 2.0; };", "1", "whole number");
    refused("engine : {\n threads = 1025;\n};", "2", "engine.threads must be 0 to 1024");
    refused("engine : {\n threads = -1;\n};", "2", "must be 0 to 1024");
    refused("engine : { pin = 1; };", "1", "true or false");
    refused("engine : { precision = \"slow\"; };", "1", "must be one of exact, fast");
    refused("kv : { memory = 8589934592; };", "1", "suffix L");
    refused("kv : { memory = 8589934592L; };", "1", "in quotes with its unit");
    refused("kv : { memory = \"8\"; };", "1", "with its unit");
    refused("kv : { memory = \"8GiBs\"; };", "1", "with its unit");
    refused("kv : { memory = \"99999999999TiB\"; };", "1", "with its unit");
    refused("kv : { memory = \"2048TiB\"; };", "1", "to 1024TiB");
    refused("result : { max_bytes = \"1B\"; };", "1", "must be 1KiB to 64MiB");
    refused("worker : { grace = 30; };", "1", "in quotes with its unit");
    refused("worker : { grace = \"2d\"; };", "1", "must be 0 to 1d");
    refused("kafka : { options = \"a=b\"; };", "1", "list of strings");
    refused("kafka : { options = (\"a=b\",\n 3); };", "2", "list of strings");
    refused("kafka : { options = (\"a\"); };", "1", "name=value");
    refused("http : { listen = \"x\"; };", "1", "host:port");
    refused("http : { listen = \"x:65536\"; };", "1", "host:port");
    refused("kafka : { prefix = \"a b\"; };", "1", "start of a topic name");
    refused("model = 5;", "1", "string in quotes");
    refused("routes = \"x\";", "1", "list of groups");
    refused("routes = (\n { name = \"a\"; tier = \"fast\"; });", "2", "realtime, standard or bulk");
    refused("routes = ({ name = \"a\"; tier = \"bulk\";\n nonsense = 1; });", "2", "nonsense is no setting of a route");
    refused("routes = ({ name = \"a\"; tier = \"bulk\"; stream = \"s\"; },\n{ name = \"b\"; tier = \"bulk\"; stream = \"s\"; });", "1", "topic s is used twice");
}

TEST(assignments_are_judged_too)
{
    static const char *const wrong[][2] = {
        {"engine.thread=1", "did you mean engine.threads?"}, {"engine.threads=x", "whole number"}, {"engine.threads=", "whole number"},
        {"engine.threads=1x", "whole number"}, {"engine.threads=99999999999999999999", "whole number"}, {"engine.threads", "NAME=VALUE"},
        {"kv.memory=8", "unit"}, {"engine.pin=yes", "true or false"}, {"routes=x", "configuration file"}, {"kafka.options=x", "name=value"},
        {"kafka.options=sasl.password=hunter2", "command line"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct mr_options o;
        struct mr_err err = {0};
        EXPECT(open_set(&o, wrong[i][0], &err) != MR_OK);
        if (!strstr(err.text, wrong[i][1]))
            EXPECT_STR(err.text, wrong[i][1]);
        EXPECT(!strstr(err.text, "hunter2"));
    }
}

/* Every number at its ends and one past them, for every option of the table. */
TEST(ranges_end_at_their_numbers)
{
    size_t n;
    const struct mr_option *table = mr_option_table(&n);
    for (size_t i = 0; i < n; i++) {
        if (table[i].type != MR_OPTION_INT && table[i].type != MR_OPTION_BYTES && table[i].type != MR_OPTION_TIME)
            continue;
        const char *unit = table[i].type == MR_OPTION_BYTES ? "B" : table[i].type == MR_OPTION_TIME ? "ms" : "";
        const struct {
            int64_t number;
            bool good;
        } cases[] = {{table[i].least, true}, {table[i].most, true}, {table[i].least - 1, false}, {table[i].most == INT64_MAX ? -1 : table[i].most + 1, false}};
        for (int k = 0; k < 4; k++) {
            char set[128];
            struct mr_options o;
            snprintf(set, sizeof set, "%s=%lld%s", table[i].name, (long long)cases[k].number, unit);
            bool good = open_set(&o, set, NULL) == MR_OK;
            if (good != cases[k].good)
                printf("for %s:\n", set);
            EXPECT_EQ(good, cases[k].good);
            if (good)
                EXPECT_EQ(*(int64_t *)mr_option_field(&o, &table[i]), cases[k].number);
            if (good)
                mr_options_fini(&o);
        }
    }
}

TEST(print_reads_back)
{
    const char *sets[] = {"model=a\"b\\c", "kv.memory=1536KiB", "worker.grace=1500ms", "engine.seed=9999999999", "log.format=json"};
    struct mr_options o, again;
    struct mr_buf first = {0}, second = {0};
    struct mr_err err = {0};
    REQUIRE(mr_options_open(&o, put("kafka : { options = (\"a=b\", \"c=d\"); };\nroutes = ({ name = \"x\"; tier = \"bulk\"; tenant = \"acme\"; models = (\"m\"); parked = \"\"; });"),
                            sets, 5, &err) == MR_OK);
    mr_options_print(&o, &first);
    mr_buf_add_char(&first, 0);
    if (open_text(&again, first.p, &err) != MR_OK)
        EXPECT_STR(err.text, first.p);
    else {
        mr_options_print(&again, &second);
        mr_buf_add_char(&second, 0);
        EXPECT_STR(second.p, first.p);
        EXPECT_STR(again.routes[0].tenant, "acme");
        EXPECT(!again.routes[0].tenant_from_field);
        EXPECT_EQ(again.engine.seed, 9999999999);
        EXPECT_STR(again.model, "a\"b\\c");
        mr_options_fini(&again);
    }
    mr_options_fini(&o);
    mr_buf_fini(&first);
    mr_buf_fini(&second);
}

TEST(secrets_stay_inside)
{
    char text[256], file[] = "/tmp/mr_secret_XXXXXX";
    struct mr_options o;
    struct mr_err err = {0};
    struct mr_buf out = {0};
    int fd = mkstemp(file);
    REQUIRE(fd >= 0 && write(fd, "canary\n", 7) == 7);
    close(fd);
    snprintf(text, sizeof text, "kafka : { options = (\"sasl.username=u\", \"sasl.password=file:%s\"); };", file);
    EXPECT_EQ(open_text(&o, text, &err), MR_OK);
    EXPECT_STR(o.kafka.options.items[1], "sasl.password=canary");
    mr_options_print(&o, &out);
    mr_options_print_json(&o, &out);
    mr_buf_add_char(&out, 0);
    EXPECT(strstr(out.p, "canary") == NULL);
    EXPECT(strstr(out.p, "sasl.password=***") != NULL);
    EXPECT(strstr(out.p, "sasl.username=u") != NULL);
    mr_buf_fini(&out);
    mr_options_fini(&o);
    EXPECT_EQ(truncate(file, 100), 0); /* zeros behind it */
    EXPECT_EQ(open_text(&o, text, &err), MR_ERR_INVALID);
    for (int n = 65536; n <= 65537; n++) {
        FILE *long_one = fopen(file, "w");
        for (int i = 0; i < n; i++)
            fputc('x', long_one);
        fclose(long_one);
        EXPECT_EQ(open_text(&o, text, &err), n == 65536 ? MR_OK : MR_ERR_IO);
        mr_options_fini(&o);
    }
    chmod(file, 0640);
    EXPECT_EQ(open_text(&o, text, &err), MR_ERR_INVALID);
    EXPECT(strstr(err.text, "0600") != NULL);
    unlink(file);
    EXPECT_EQ(open_text(&o, text, &err), MR_ERR_IO);
}

TEST(list_ends_at_its_number)
{
    struct mr_options o;
    const char *sets[MR_OPTION_LIST_MAX + 1];
    for (int i = 0; i <= MR_OPTION_LIST_MAX; i++)
        sets[i] = "kafka.options=a=b";
    EXPECT_EQ(mr_options_open(&o, NULL, sets, MR_OPTION_LIST_MAX, NULL), MR_OK);
    mr_options_fini(&o);
    EXPECT_EQ(mr_options_open(&o, NULL, sets, MR_OPTION_LIST_MAX + 1, NULL), MR_ERR_INVALID);
}

TEST(cleanup)
{
    EXPECT_EQ(unlink(path), 0);
}

TEST_MAIN(TEST_CASE(defaults), TEST_CASE(file_then_assignments), TEST_CASE(every_error_has_its_line), TEST_CASE(assignments_are_judged_too),
          TEST_CASE(ranges_end_at_their_numbers), TEST_CASE(print_reads_back), TEST_CASE(secrets_stay_inside), TEST_CASE(list_ends_at_its_number),
          TEST_CASE(cleanup))
