#include "tests/test.h"

#include "worker/record.h"

#include <stdlib.h>

static const int32_t ids[] = {5, 70000, 0};
static const struct mr_token_logprob tops[] = {{5, -0.25f, {"a", 1}}, {9, -1.5f, {"\xe2\x82", 2}}};
static const struct mr_logprob logprobs[] = {{{5, -0.25f, {"a", 1}}, tops, 2}, {{70000, -0.1f, {"\xff", 1}}, tops, 1}, {{0, -INFINITY, {"", 0}}, NULL, 0}};
static const struct mr_logprob prompt_logprobs[] = {{{-1, 0, {NULL, 0}}, NULL, 0}, {{5, -2.0f, {"a", 1}}, tops, 2}};
static const struct mr_str finish[] = {{"stop", 4}};

static struct mr_stream_record sample(enum mr_fold_kind kind)
{
    struct mr_stream_record r = {.kind = kind, .job = MR_STR("acme/j1"), .src = {12, 1700000000123}, .epoch = (INT64_C(1) << 53) - 1, .writer = 0xfedcba9876543210};
    if (kind == MR_FOLD_START) {
        r.cause = MR_CAUSE_REBALANCE, r.attempt = 3, r.process = 1, r.alone = true, r.worker = MR_STR("w"), r.model_digest = MR_STR("m");
        r.tokenizer_digest = MR_STR("t"), r.build = MR_STR("b"), r.seed = UINT64_MAX, r.body_hash = MR_STR("h"), r.from = 7;
    } else if (kind == MR_FOLD_TOK) {
        r.seq = 4, r.choice = 1, r.ids = ids, r.n_ids = 3, r.text = MR_STR("h\xc3\xa9\n"), r.logprobs = logprobs, r.ctx = 0x00000000000000ab;
    } else if (mr_fold_is_terminal(kind)) {
        r.n = 9, r.ctx = 1;
        if (kind == MR_FOLD_DUPLICATE)
            r.first.topic = MR_STR("jobs"), r.first.partition = 2, r.first.offset = 77;
        else if (kind == MR_FOLD_MOVED)
            r.to_topic = MR_STR("parked");
        else
            r.text = MR_STR("!"), r.finish = finish, r.n_finish = 1, r.has_usage = true, r.usage = (struct mr_usage){10, 9, 4},
            r.timings = (struct mr_timings){1.5, 20.25, -1}, r.prompt_logprobs = prompt_logprobs, r.n_prompt_logprobs = 2;
        if (kind == MR_FOLD_FAILED || kind == MR_FOLD_EXPIRED)
            r.reason = MR_REASON_DEADLINE_PASSED, r.message = MR_STR("late"), r.field = MR_STR("deadline_ms");
    }
    return r;
}

static enum mr_status decode(struct mr_buf *bytes, struct mr_arena *arena, struct mr_stream_record *out, struct mr_err *err)
{
    struct mr_record in = {.value = mr_buf_view(bytes)};
    mr_arena_init(arena, 0);
    return mr_stream_record_decode(&in, arena, out, err);
}

/* Every kind, in both encodings: encode, decode, encode again gives the same bytes, and so do the two encodings' contents. */
TEST(every_kind_round_trips)
{
    for (int encoding = MR_ENCODING_JSON; encoding <= MR_ENCODING_MSGPACK; encoding++)
        for (int kind = 0; kind < MR_FOLD_KINDS; kind++) {
            struct mr_stream_record r = sample((enum mr_fold_kind)kind), back;
            struct mr_buf first = {0}, second = {0};
            struct mr_arena arena;
            struct mr_err err = {0};
            EXPECT(mr_stream_record_encode(&r, (enum mr_encoding)encoding, &first));
            EXPECT_EQ(decode(&first, &arena, &back, &err), MR_OK);
            EXPECT_STR(err.text, "");
            EXPECT(mr_stream_record_encode(&back, (enum mr_encoding)encoding, &second));
            EXPECT(mr_str_equal(mr_buf_view(&first), mr_buf_view(&second)));
            EXPECT_EQ(back.kind, kind);
            EXPECT(mr_str_equal(back.job, r.job) && back.src.offset == 12 && back.src.timestamp_ms == 1700000000123);
            EXPECT(back.epoch == r.epoch && back.writer == r.writer && back.ctx == r.ctx && back.seq == r.seq && back.n == r.n && back.seed == r.seed);
            EXPECT(mr_str_equal(back.text, r.text) && back.reason == r.reason && mr_str_equal(back.first.topic, r.first.topic));
            mr_buf_fini(&first);
            mr_buf_fini(&second);
            mr_arena_fini(&arena);
        }
}

TEST(the_wire_by_example)
{
    struct mr_buf out = {0};
    struct mr_stream_record r = sample(MR_FOLD_TOK);
    r.logprobs = NULL;
    EXPECT(mr_stream_record_encode(&r, MR_ENCODING_JSON, &out));
    mr_buf_add_char(&out, 0);
    EXPECT_STR(out.p, "{\"v\":1,\"kind\":\"tok\",\"job\":\"acme/j1\",\"src\":\"12.1700000000123\",\"epoch\":9007199254740991,\"writer\":\"fedcba9876543210\","
                      "\"seq\":4,\"choice\":1,\"ids\":[5,70000,0],\"text\":\"h\xc3\xa9\\n\",\"ctx\":\"00000000000000ab\"}");
    mr_buf_clear(&out);
    r = sample(MR_FOLD_DONE);
    r.prompt_logprobs = NULL;
    EXPECT(mr_stream_record_encode(&r, MR_ENCODING_JSON, &out));
    mr_buf_add_char(&out, 0);
    EXPECT_STR(out.p, "{\"v\":1,\"kind\":\"done\",\"job\":\"acme/j1\",\"src\":\"12.1700000000123\",\"epoch\":9007199254740991,\"writer\":\"fedcba9876543210\","
                      "\"n\":9,\"ctx\":\"0000000000000001\",\"text\":\"!\",\"finish_reason\":[\"stop\"],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":9,"
                      "\"cached_tokens\":{\"device\":4}},\"timings\":{\"queue_ms\":1.5,\"ttft_ms\":20.25}}");
    mr_buf_fini(&out);
}

TEST(logprobs_keep_bytes_and_digits)
{
    struct mr_buf out = {0};
    struct mr_arena arena;
    struct mr_stream_record r = sample(MR_FOLD_TOK), back;
    EXPECT(mr_stream_record_encode(&r, MR_ENCODING_JSON, &out));
    mr_buf_add_char(&out, 0);
    EXPECT(strstr(out.p, "{\"id\":70000,\"token\":\"\xef\xbf\xbd\",\"logprob\":-0.1,\"bytes\":[255],") != NULL);
    EXPECT(strstr(out.p, "-9999.0") != NULL);
    out.n--;
    REQUIRE(decode(&out, &arena, &back, NULL) == MR_OK);
    EXPECT(back.logprobs[1].chosen.logprob == -0.1f);
    EXPECT(mr_str_equal(back.logprobs[1].chosen.bytes, (struct mr_str){"\xff", 1}));
    EXPECT(mr_str_equal(back.logprobs[0].top[1].bytes, (struct mr_str){"\xe2\x82", 2}));
    EXPECT_EQ(back.logprobs[0].n_top, 2);
    mr_buf_fini(&out);
    mr_arena_fini(&arena);
}

static void refused(const char *json, const char *field)
{
    struct mr_buf bytes = {0};
    struct mr_arena arena;
    struct mr_stream_record r;
    struct mr_err err = {0};
    mr_buf_add_str(&bytes, mr_str_from(json));
    EXPECT_EQ(decode(&bytes, &arena, &r, &err), MR_ERR_INVALID);
    if (!strstr(err.text, field))
        EXPECT_STR(err.text, field);
    mr_buf_fini(&bytes);
    mr_arena_fini(&arena);
}

TEST(what_the_fold_needs_is_demanded)
{
#define HEAD "\"job\":\"a/b\",\"src\":\"1.2\",\"epoch\":1,\"writer\":\"0000000000000001\""
    refused("{}", "kind");
    refused("{", "JSON");
    refused("{" HEAD "}", "kind");
    refused("{\"kind\":\"start\"," HEAD "}", "process");
    refused("{\"kind\":\"stop\"," HEAD "}", "kind");
    refused("{\"kind\":\"yield\",\"src\":\"1.2\",\"epoch\":1,\"writer\":\"0000000000000001\"}", "job");
    refused("{\"kind\":\"yield\",\"job\":\"a/b\",\"src\":\"12\",\"epoch\":1,\"writer\":\"0000000000000001\"}", "src");
    refused("{\"kind\":\"yield\",\"job\":\"a/b\",\"src\":\"1.x\",\"epoch\":1,\"writer\":\"0000000000000001\"}", "src");
    refused("{\"kind\":\"yield\",\"job\":\"a/b\",\"src\":\"1.2\",\"epoch\":9007199254740992,\"writer\":\"0000000000000001\"}", "epoch");
    refused("{\"kind\":\"yield\",\"job\":\"a/b\",\"src\":\"1.2\",\"epoch\":-1,\"writer\":\"0000000000000001\"}", "epoch");
    refused("{\"kind\":\"yield\",\"job\":\"a/b\",\"src\":\"1.2\",\"epoch\":1,\"writer\":\"000000000000001\"}", "writer");
    refused("{\"kind\":\"yield\",\"job\":\"a/b\",\"src\":\"1.2\",\"epoch\":1,\"writer\":\"000000000000000G\"}", "writer");
    refused("{\"kind\":\"tok\"," HEAD ",\"seq\":0,\"choice\":0,\"ids\":[],\"ctx\":\"0000000000000001\"}", "ids");
    refused("{\"kind\":\"tok\"," HEAD ",\"seq\":0,\"choice\":0,\"ids\":[-1],\"ctx\":\"0000000000000001\"}", "ids");
    refused("{\"kind\":\"tok\"," HEAD ",\"seq\":-1,\"choice\":0,\"ids\":[1],\"ctx\":\"0000000000000001\"}", "seq");
    refused("{\"kind\":\"tok\"," HEAD ",\"seq\":0,\"choice\":128,\"ids\":[1],\"ctx\":\"0000000000000001\"}", "choice");
    refused("{\"kind\":\"tok\"," HEAD ",\"seq\":0,\"choice\":0,\"ids\":[1]}", "ctx");
    refused("{\"kind\":\"tok\"," HEAD ",\"seq\":0,\"choice\":0,\"ids\":[1],\"ctx\":\"0000000000000001\",\"logprobs\":[]}", "logprobs");
    refused("{\"kind\":\"done\"," HEAD ",\"ctx\":\"0000000000000001\"}", "whose n ");
}

TEST(unknown_keys_are_ignored)
{
    struct mr_buf bytes = {0};
    struct mr_arena arena;
    struct mr_stream_record r;
    mr_buf_add_str(&bytes, MR_STR("{\"kind\":\"yield\",\"new\":{\"x\":[1]}," HEAD "}"));
    EXPECT_EQ(decode(&bytes, &arena, &r, NULL), MR_OK);
    EXPECT_EQ(r.kind, MR_FOLD_YIELD);
    mr_buf_fini(&bytes);
    mr_arena_fini(&arena);
}

TEST(ids_end_at_their_number)
{
    for (int n = MR_STREAM_IDS_MAX; n <= MR_STREAM_IDS_MAX + 1; n++) {
        int32_t *many = calloc((size_t)n, sizeof *many);
        struct mr_stream_record r = sample(MR_FOLD_TOK), back;
        struct mr_buf bytes = {0};
        struct mr_arena arena;
        r.ids = many, r.n_ids = n, r.logprobs = NULL;
        EXPECT(mr_stream_record_encode(&r, MR_ENCODING_MSGPACK, &bytes));
        EXPECT_EQ(decode(&bytes, &arena, &back, NULL), n <= MR_STREAM_IDS_MAX ? MR_OK : MR_ERR_INVALID);
        mr_buf_fini(&bytes);
        mr_arena_fini(&arena);
        free(many);
    }
}

TEST(choices_end_at_their_number)
{
    struct mr_stream_record r = sample(MR_FOLD_TOK), back;
    for (r.choice = MR_STREAM_CHOICES_MAX - 1; r.choice <= MR_STREAM_CHOICES_MAX; r.choice++) {
        struct mr_buf bytes = {0};
        struct mr_arena arena;
        EXPECT(mr_stream_record_encode(&r, MR_ENCODING_JSON, &bytes));
        EXPECT_EQ(decode(&bytes, &arena, &back, NULL), r.choice < MR_STREAM_CHOICES_MAX ? MR_OK : MR_ERR_INVALID);
        mr_buf_fini(&bytes);
        mr_arena_fini(&arena);
    }
}

TEST(headers)
{
    struct mr_stream_headers h;
    struct mr_header echoed[] = {{MR_STR("traceparent"), MR_STR("00-x")}};
    struct mr_stream_record r = sample(MR_FOLD_TOK);
    mr_stream_record_headers(&r, MR_ENCODING_MSGPACK, echoed, 1, &h);
    static const char *const wanted[][2] = {{"content-type", "application/msgpack"}, {"mr-job", "acme/j1"}, {"mr-kind", "tok"},
                                            {"mr-src", "12.1700000000123"}, {"mr-epoch", "9007199254740991"}, {"mr-writer", "fedcba9876543210"},
                                            {"mr-seq", "4"}, {"mr-ctx", "00000000000000ab"}, {"traceparent", "00-x"}};
    REQUIRE(h.n == 9);
    for (int i = 0; i < 9; i++)
        EXPECT(mr_str_is(h.list[i].key, wanted[i][0]) && mr_str_is(h.list[i].value, wanted[i][1]));
    r = sample(MR_FOLD_DONE);
    mr_stream_record_headers(&r, MR_ENCODING_JSON, NULL, 0, &h);
    EXPECT(h.n == 8 && mr_str_is(h.list[6].key, "mr-n") && mr_str_is(h.list[6].value, "9"));
    r = sample(MR_FOLD_START);
    mr_stream_record_headers(&r, MR_ENCODING_JSON, NULL, 0, &h);
    EXPECT_EQ(h.n, 6);
}

TEST(the_folds_view)
{
    struct mr_stream_record r = sample(MR_FOLD_TOK);
    struct mr_fold_record f = mr_stream_record_fold(&r);
    EXPECT(f.kind == MR_FOLD_TOK && f.seq == 4 && f.n_ids == 3 && f.choice == 1 && f.ctx == 0xab);
    r = sample(MR_FOLD_DONE);
    EXPECT_EQ(mr_stream_record_fold(&r).seq, 9);
}

TEST_MAIN(TEST_CASE(every_kind_round_trips), TEST_CASE(the_wire_by_example), TEST_CASE(logprobs_keep_bytes_and_digits),
          TEST_CASE(what_the_fold_needs_is_demanded), TEST_CASE(unknown_keys_are_ignored), TEST_CASE(ids_end_at_their_number), TEST_CASE(choices_end_at_their_number), TEST_CASE(headers),
          TEST_CASE(the_folds_view))
