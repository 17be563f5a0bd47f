#include "tests/test.h"

#include "worker/option_table.h"

TEST(names_are_distinct_and_groups_stand_together)
{
    size_t n;
    const struct mr_option *table = mr_option_table(&n);
    for (size_t i = 0; i < n; i++) {
        EXPECT(mr_option_find(mr_str_from(table[i].name)) == &table[i]);
        EXPECT(table[i].text[0] && table[i].text[strlen(table[i].text) - 1] == '.');
        EXPECT(!mr_option_is_group(mr_str_from(table[i].name)));
        const char *dot = strrchr(table[i].name, '.');
        size_t group = dot ? (size_t)(dot - table[i].name) + 1 : 0;
        if (!group || i == 0 || strncmp(table[i].name, table[i - 1].name, group) == 0)
            continue;
        for (size_t k = 0; k + 1 < i; k++)
            EXPECT(strncmp(table[i].name, table[k].name, group) != 0);
    }
}

/* Every byte of the struct between the first field and the last is some option's, padding and counts aside. */
TEST(rows_cover_the_struct)
{
    static unsigned char covered[sizeof(struct mr_options)];
    size_t n, holes = 0;
    const struct mr_option *table = mr_option_table(&n);
    for (size_t i = 0; i < n; i++) {
        size_t bytes = table[i].type == MR_OPTION_BOOL ? sizeof(bool) : table[i].type == MR_OPTION_LIST ? sizeof(struct mr_option_list) : 8;
        for (size_t k = 0; k < bytes; k++) {
            EXPECT(!covered[table[i].offset + k]);
            covered[table[i].offset + k] = 1;
        }
    }
    for (size_t i = offsetof(struct mr_options, model); i + 8 <= sizeof covered; i += 8)
        if (!covered[i] && i != offsetof(struct mr_options, n_routes))
            holes++;
    EXPECT_EQ(holes, 0);
}

TEST(sizes)
{
    static const struct {
        const char *text;
        int64_t bytes; /* -1: refused */
    } cases[] = {{"0", 0}, {"0B", 0}, {"1B", 1}, {"1KiB", 1024}, {"1kB", 1000}, {"64MiB", 64 << 20}, {"2 GiB", INT64_C(2) << 30}, {"1TiB", INT64_C(1) << 40},
                 {"900kB", 900000}, {"8388607TiB", INT64_C(8388607) << 40}, {"8388608TiB", -1}, {"1", -1}, {"", -1}, {"-1B", -1}, {"1.5GiB", -1},
                 {"1KB", -1}, {"1kib", -1}, {"B", -1}, {"1B ", -1}, {"9223372036854775808B", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t bytes = -1;
        bool good = mr_bytes_parse(mr_str_from(cases[i].text), &bytes);
        EXPECT_EQ(good, cases[i].bytes >= 0);
        if (good)
            EXPECT_EQ(bytes, cases[i].bytes);
    }
}

static void formatted(void (*format)(int64_t, struct mr_buf *), int64_t value, const char *wanted)
{
    struct mr_buf out = {0};
    format(value, &out);
    mr_buf_add_char(&out, 0);
    EXPECT_STR(out.p, wanted);
    mr_buf_fini(&out);
}

TEST(times_and_formats)
{
    int64_t ms;
    EXPECT(mr_time_parse(MR_STR("100ms"), &ms) && ms == 100);
    EXPECT(mr_time_parse(MR_STR("5s"), &ms) && ms == 5000);
    EXPECT(mr_time_parse(MR_STR("2m"), &ms) && ms == 120000);
    EXPECT(mr_time_parse(MR_STR("2min"), &ms) && ms == 120000);
    EXPECT(mr_time_parse(MR_STR("7d"), &ms) && ms == 604800000);
    EXPECT(!mr_time_parse(MR_STR("5"), &ms));
    EXPECT(!mr_time_parse(MR_STR("5sec"), &ms));
    formatted(mr_time_format, 0, "0");
    formatted(mr_time_format, 604800000, "7d");
    formatted(mr_time_format, 90000, "90s");
    formatted(mr_time_format, 1500, "1500ms");
    formatted(mr_bytes_format, 0, "0");
    formatted(mr_bytes_format, 1 << 20, "1MiB");
    formatted(mr_bytes_format, 900000, "900kB");
    formatted(mr_bytes_format, 1025, "1025B");
}

TEST(nearest_is_near)
{
    EXPECT_STR(mr_option_nearest(MR_STR("kafka.broker"))->name, "kafka.brokers");
    EXPECT_STR(mr_option_nearest(MR_STR("engine.percision"))->name, "engine.precision");
    EXPECT(mr_option_nearest(MR_STR("something.else.entirely")) == NULL);
}

TEST(secrets_by_name)
{
    EXPECT(mr_option_secret(MR_STR("sasl.password=x")));
    EXPECT(mr_option_secret(MR_STR("ssl.key.password=x")));
    EXPECT(mr_option_secret(MR_STR("sasl.oauthbearer.client.secret=x")));
    EXPECT(!mr_option_secret(MR_STR("sasl.username=password")));
}

TEST_MAIN(TEST_CASE(names_are_distinct_and_groups_stand_together), TEST_CASE(rows_cover_the_struct), TEST_CASE(sizes), TEST_CASE(times_and_formats),
          TEST_CASE(nearest_is_near), TEST_CASE(secrets_by_name))
