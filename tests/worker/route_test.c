#include "tests/test.h"

#include "adapters/codec/codec.h"
#include "worker/route.h"

static enum mr_status read_routes(const char *json, struct mr_route *routes, int *n, struct mr_arena *arena, struct mr_err *err)
{
    struct mr_value list;
    const struct mr_value *bad;
    *n = 0;
    if (mr_codec_json.decode(mr_str_from(json), NULL, arena, &list, NULL))
        return MR_ERR_IO;
    enum mr_status status = MR_OK;
    for (size_t i = 0; i < list.as.array.n && !status; i++)
        status = mr_route_read(&list.as.array.items[i], "p.", arena, &routes[(*n)++], &bad, err);
    return status ? status : mr_routes_check(routes, *n, err);
}

TEST(what_is_not_given_is_derived)
{
    struct mr_arena arena;
    struct mr_route r[4];
    int n;
    mr_arena_init(&arena, 0);
    REQUIRE(read_routes("[{\"name\":\"vip\",\"tier\":\"realtime\",\"tenant\":\"acme\",\"dead\":\"graves\",\"reply_topics\":[\"a\",\"b\"]},{\"name\":\"bulk\"}]", r,
                        &n, &arena, NULL) == MR_OK);
    EXPECT_EQ(r[0].tier, MR_TIER_REALTIME);
    EXPECT_STR(r[0].jobs, "p.jobs.vip");
    EXPECT_STR(r[0].stream_parked, "p.stream.parked.vip");
    EXPECT_STR(r[0].dead, "graves");
    EXPECT_STR(r[0].results, "p.results.acme"); /* a tenant's own */
    EXPECT_STR(r[0].control, "p.control.acme");
    EXPECT_STR(r[1].results, "p.results");
    EXPECT(!r[0].restart_on_model_change);
    EXPECT_STR(r[0].tenant, "acme");
    EXPECT(!r[0].tenant_from_field && r[1].tenant_from_field);
    EXPECT_EQ(r[0].n_reply_topics, 2);
    EXPECT_EQ(r[1].tier, MR_TIER_BULK);
    EXPECT_STR(r[1].tenant, "default");
    bool parked;
    EXPECT(mr_route_of_topic(r, 2, MR_STR("p.jobs.bulk"), &parked) == &r[1] && !parked);
    EXPECT(mr_route_of_topic(r, 2, MR_STR("p.parked.vip"), &parked) == &r[0] && parked);
    EXPECT(mr_route_of_topic(r, 2, MR_STR("p.stream.vip"), &parked) == NULL);
    mr_arena_fini(&arena);
}

TEST(what_cannot_be_is_refused)
{
    static const char *const wrong[][2] = {
        {"[]", "1 to 32 routes"},
        {"[{}]", "with a name"},
        {"[3]", "with a name"},
        {"[{\"name\":\"a b\",\"tier\":\"bulk\"}]", "with a name"},
        {"[{\"name\":\"vip\"}]", "tier is missing"},
        {"[{\"name\":\"vip\",\"tier\":\"fast\"}]", "tier must be"},
        {"[{\"name\":\"bulk\",\"tenant\":\"ACME\"}]", "tenant must be"},
        {"[{\"name\":\"bulk\",\"jobs\":\"\"}]", "jobs is no topic name"},
        {"[{\"name\":\"bulk\",\"jobs\":\"a/b\"}]", "jobs is no topic name"},
        {"[{\"name\":\"bulk\",\"models\":\"m\"}]", "models must be a list"},
        {"[{\"name\":\"bulk\",\"models\":[1]}]", "models must be a list"},
        {"[{\"name\":\"bulk\",\"reply_topics\":[\"..\"]}]", "reply_topics holds"},
        {"[{\"name\":\"bulk\",\"stream_parked\":\"\"}]", "stream_parked is needed"},
        {"[{\"name\":\"bulk\",\"typo\":1}]", "typo is no setting"},
        {"[{\"name\":\"bulk\",\"on_model_change\":\"stay\"}]", "on_model_change must be"},
        {"[{\"name\":\"bulk\"},{\"name\":\"bulk\"}]", "two routes are named bulk"},
        {"[{\"name\":\"bulk\"},{\"name\":\"a\",\"tier\":\"bulk\",\"tenant\":\"acme\",\"results\":\"p.results\"}]", "topic p.results is shared"},
        {"[{\"name\":\"b\",\"tier\":\"bulk\",\"tenant\":\"beta\",\"control\":\"c\"},{\"name\":\"a\",\"tier\":\"bulk\",\"tenant\":\"acme\",\"control\":\"c\"}]",
         "topic c is shared"},
        {"[{\"name\":\"bulk\"},{\"name\":\"b\",\"tier\":\"bulk\",\"jobs\":\"p.jobs.bulk\"}]", "topic p.jobs.bulk is used twice"},
        {"[{\"name\":\"bulk\"},{\"name\":\"b\",\"tier\":\"bulk\",\"stream\":\"p.stream.bulk\"}]", "topic p.stream.bulk is used twice"},
        {"[{\"name\":\"bulk\",\"stream\":\"p.jobs.bulk\"}]", "topic p.jobs.bulk is used twice"},
        {"[{\"name\":\"bulk\",\"results\":\"p.jobs.bulk\"}]", "topic p.jobs.bulk is used twice"},
        {"[{\"name\":\"bulk\",\"stream\":\"s\",\"stream_parked\":\"s\"}]", "topic s is used twice"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct mr_arena arena;
        struct mr_route r[4];
        struct mr_err err = {0};
        int n;
        mr_arena_init(&arena, 0);
        EXPECT_EQ(read_routes(wrong[i][0], r, &n, &arena, &err), MR_ERR_INVALID);
        if (!strstr(err.text, wrong[i][1]))
            EXPECT_STR(err.text, wrong[i][1]);
        mr_arena_fini(&arena);
    }
}

TEST(lists_end_at_their_number)
{
    static char json[8192];
    for (int n = MR_ROUTE_LIST_MAX; n <= MR_ROUTE_LIST_MAX + 1; n++) {
        struct mr_arena arena;
        struct mr_route r[4];
        int routes, at = sprintf(json, "[{\"name\":\"bulk\",\"models\":[");
        for (int i = 0; i < n; i++)
            at += sprintf(json + at, "%s\"m%d\"", i ? "," : "", i);
        strcpy(json + at, "]}]");
        mr_arena_init(&arena, 0);
        EXPECT_EQ(read_routes(json, r, &routes, &arena, NULL), n <= MR_ROUTE_LIST_MAX ? MR_OK : MR_ERR_INVALID);
        mr_arena_fini(&arena);
    }
}

TEST(names_end_at_their_numbers)
{
    char text[256];
    memset(text, 'a', sizeof text);
    EXPECT(mr_tenant_valid((struct mr_str){text, 63}));
    EXPECT(!mr_tenant_valid((struct mr_str){text, 64}));
    EXPECT(!mr_tenant_valid((struct mr_str){text, 0}));
    EXPECT(!mr_tenant_valid(MR_STR("a_b")) && !mr_tenant_valid(MR_STR("A")) && mr_tenant_valid(MR_STR("a-1")));
    EXPECT(mr_topic_valid((struct mr_str){text, 249}));
    EXPECT(!mr_topic_valid((struct mr_str){text, 250}));
    EXPECT(!mr_topic_valid(MR_STR("..")) && !mr_topic_valid(MR_STR("\xc3\xa9")) && mr_topic_valid(MR_STR("A.b_c-9")));
    enum mr_tier tier;
    for (int i = 0; i < MR_TIER_COUNT; i++)
        EXPECT(mr_tier_from_name(mr_str_from(mr_tier_name((enum mr_tier)i)), &tier) && (int)tier == i);
    EXPECT(!mr_tier_from_name(MR_STR("Bulk"), &tier));
    struct mr_route routes[MR_ROUTES_MAX + 1] = {0};
    char names[MR_ROUTES_MAX + 1][7][32];
    for (int i = 0; i <= MR_ROUTES_MAX; i++) {
        for (int k = 0; k < 7; k++)
            snprintf(names[i][k], sizeof names[i][k], "n%d.%d", i, k);
        routes[i] = (struct mr_route){.tenant_from_field = true, .name = names[i][0], .jobs = names[i][0], .parked = names[i][1], .stream = names[i][2], .stream_parked = names[i][3],
                                      .results = names[0][4], .dead = names[0][5], .control = names[0][6]};
    }
    EXPECT_EQ(mr_routes_check(routes, MR_ROUTES_MAX, NULL), MR_OK);
    EXPECT_EQ(mr_routes_check(routes, MR_ROUTES_MAX + 1, NULL), MR_ERR_INVALID);
}

TEST_MAIN(TEST_CASE(what_is_not_given_is_derived), TEST_CASE(what_cannot_be_is_refused), TEST_CASE(lists_end_at_their_number), TEST_CASE(names_end_at_their_numbers))
