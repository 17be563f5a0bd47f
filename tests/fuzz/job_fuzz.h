/* The body of the two job fuzzers. */
#ifndef MR_TESTS_JOB_FUZZ_H
#define MR_TESTS_JOB_FUZZ_H

#include "base/check.h"
#include "worker/job_decode.h"
#include "worker/result.h"

/* The value alone, through the codec and back: encoding what was decoded gives a tree that encodes the same. */
static void fuzz_codec(struct mr_str value, enum mr_encoding encoding)
{
    const struct mr_codec *codec = mr_encoding_codec(encoding);
    struct mr_arena arena;
    struct mr_value tree, again;
    struct mr_buf first = {0}, second = {0};
    mr_arena_init(&arena, 64 << 20);
    if (codec->decode(value, NULL, &arena, &tree, NULL) == MR_CODEC_OK) {
        codec->encode(&tree, &first);
        CHECK(codec->decode(mr_buf_view(&first), NULL, &arena, &again, NULL) == MR_CODEC_OK);
        codec->encode(&again, &second);
        CHECK(mr_str_equal(mr_buf_view(&first), mr_buf_view(&second)));
    }
    mr_buf_fini(&first);
    mr_buf_fini(&second);
    mr_arena_fini(&arena);
}

static int fuzz_job(const uint8_t *bytes, size_t n, enum mr_encoding encoding)
{
    static const char *const replies[] = {"r"};
    struct mr_route route = {.name = "r", .jobs = "jobs", .tier = MR_TIER_BULK, .tenant_from_field = true, .tenant = "default", .reply_topics = replies, .n_reply_topics = 1};
    struct mr_header header = {MR_STR("content-type"), mr_str_from(mr_encoding_codec(encoding)->content_type)};
    struct mr_record record = {.topic = MR_STR("jobs"), .value = {n ? (const char *)bytes : "", n}, .headers = &header, .n_headers = 1};
    struct mr_job_source source = {&record, &route, false, 1 << 20, 1000};
    struct mr_job *job, *again;
    struct mr_refusal refusal, refusal_again;
    struct mr_buf out = {0};
    fuzz_codec(record.value, encoding);
    enum mr_reason reason = mr_job_decode(&source, &job, &refusal);
    CHECK(mr_job_decode(&source, &again, &refusal_again) == reason && job && again);
    CHECK(strcmp(job->body_hash, again->body_hash) == 0 && mr_str_equal(job->name, again->name) && job->sampling.seed == again->sampling.seed);
    CHECK(mr_tenant_valid(job->tenant) && job->id.n > 0);
    CHECK(reason == MR_REASON_NONE || refusal.message[0]);
    if (reason) { /* what a refusal becomes is JSON, whatever stood in the job */
        struct mr_arena arena;
        struct mr_value tree;
        CHECK(mr_result_encode_refusal(job, &refusal, 0, &out));
        mr_arena_init(&arena, 0);
        CHECK(mr_encoding_codec(job->encoding)->decode(mr_buf_view(&out), NULL, &arena, &tree, NULL) == MR_CODEC_OK);
        mr_arena_fini(&arena);
    }
    mr_buf_fini(&out);
    mr_job_free(job);
    mr_job_free(again);
    return 0;
}

#endif
