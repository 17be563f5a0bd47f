/* Recorded runs for the tests of the client verbs: input records, the stream records that owners would have appended, results and
 * dead letters, made with the worker's own encoders, in the order in which they would stand in the topics. */
#ifndef MR_TESTS_CLI_RECORDED_H
#define MR_TESTS_CLI_RECORDED_H

#include "base/check.h"
#include "worker/job_decode.h"
#include "worker/options.h"
#include "worker/origin.h"
#include "worker/record.h"
#include "worker/result.h"

#include <stdio.h>

enum { RECORDED_MAX = 256 };

struct recorded {
    struct mr_arena arena;
    const struct mr_options *options;
    struct mr_record records[RECORDED_MAX];
    size_t n;
    int64_t clock_ms, tick_ms;      /* of the next record; added after each */
};

/* What happens to a job. */
struct recorded_plan {
    int route;                      /* index in the options */
    int32_t partition;
    int64_t offset;                 /* of the input record */
    const char *body;
    const char *batch;              /* header batch-id; NULL: none */
    int n_tokens, takeover_after;   /* a second owner from this token on; 0: none */
    bool zombie;                    /* the first owner's next token still lands behind the second's START */
    bool yield;                     /* the first owner yields before the second's START */
    enum mr_fold_kind end;          /* MR_FOLD_START: none, it still runs */
    enum mr_reason reason;          /* FAILED */
    int64_t first_offset;           /* DUPLICATE: in the same partition */
};

static inline struct mr_str recorded_str(struct recorded *r, struct mr_buf *buf)
{
    struct mr_str copy = mr_arena_str(&r->arena, mr_buf_view(buf));
    CHECK(copy.p && !buf->failed);
    mr_buf_fini(buf);
    return copy;
}

static inline struct mr_record *recorded_add(struct recorded *r, const char *topic, int32_t partition, int64_t offset, struct mr_str key,
                                             struct mr_str value)
{
    CHECK(r->n < RECORDED_MAX);
    struct mr_record *record = &r->records[r->n++];
    *record = (struct mr_record){.topic = mr_str_from(topic), .partition = partition, .offset = offset, .timestamp_ms = r->clock_ms, .key = key,
                                 .value = value};
    r->clock_ms += r->tick_ms;
    return record;
}

static inline void recorded_headers(struct recorded *r, struct mr_record *record, const struct mr_stream_record *stream)
{
    struct mr_stream_headers headers;
    mr_stream_record_headers(stream, MR_ENCODING_JSON, NULL, 0, &headers);
    struct mr_header *list = mr_arena_array(&r->arena, (size_t)headers.n, sizeof *list);
    for (int32_t i = 0; i < headers.n; i++)
        list[i] = (struct mr_header){mr_arena_str(&r->arena, headers.list[i].key), mr_arena_str(&r->arena, headers.list[i].value)};
    record->headers = list;
    record->n_headers = headers.n;
}

/* The offset of the next record of a stream partition. */
static inline int64_t recorded_end_of(const struct recorded *r, const char *topic, int32_t partition)
{
    int64_t n = 0;
    for (size_t i = 0; i < r->n; i++)
        n += r->records[i].partition == partition && mr_str_is(r->records[i].topic, topic);
    return n;
}

/* Appends a stream record with its headers. */
static inline void recorded_stream(struct recorded *r, const char *topic, int32_t partition, const struct mr_stream_record *stream)
{
    struct mr_buf value = {0};
    CHECK(mr_stream_record_encode(stream, MR_ENCODING_JSON, &value));
    struct mr_record *record = recorded_add(r, topic, partition, recorded_end_of(r, topic, partition), stream->job, recorded_str(r, &value));
    recorded_headers(r, record, stream);
}

struct recorded_run {
    const struct recorded_plan *plan;
    const struct mr_route *route;
    const char *stream, *input;
    struct mr_job *job;
    struct mr_src src;
    int64_t created_ms;
    int64_t epoch, seq, starts;
    uint64_t writer, ctx;
    struct mr_buf text;
    int32_t ids[64];
    struct mr_logprob logprobs[64]; /* where the job asks for them */
    struct mr_token_logprob top[64][2];
    struct mr_stream_record start;  /* in force */
};

/* What a model would say of the token at seq: the bytes of one are a part of a character. */
static inline const struct mr_logprob *recorded_logprob(struct recorded_run *run, int64_t seq, int32_t id)
{
    struct mr_token_logprob *top = run->top[seq];
    top[0] = (struct mr_token_logprob){id, -0.5f - (float)seq, MR_STR(" t")};
    top[1] = (struct mr_token_logprob){7, -2.5f, {"\xe2\x82", 2}};
    run->logprobs[seq] = (struct mr_logprob){top[0], top, 2};
    return &run->logprobs[seq];
}


static inline struct mr_stream_record recorded_of(const struct recorded_run *run, enum mr_fold_kind kind)
{
    return (struct mr_stream_record){.kind = kind, .job = run->job->name, .src = run->src, .epoch = run->epoch, .writer = run->writer, .timings = {-1, -1, -1}};
}

static inline void recorded_start(struct recorded *r, struct recorded_run *run)
{
    run->epoch += 1 << 20;
    run->writer = 0x1234567890abcdef + (uint64_t)run->epoch;
    run->starts++;
    struct mr_stream_record start = recorded_of(run, MR_FOLD_START);
    start.cause = run->starts == 1 ? MR_CAUSE_NEW : MR_CAUSE_TAKEOVER;
    start.attempt = run->starts;
    start.process = (uint64_t)run->starts;
    start.worker = run->starts == 1 ? MR_STR("w1") : MR_STR("w2");
    start.model = MR_STR("m");
    start.model_digest = MR_STR("00000000000000000000000000000000000000000000000000000000000000aa");
    start.tokenizer_digest = MR_STR("00000000000000000000000000000000000000000000000000000000000000bb");
    start.build = MR_STR("test");
    start.seed = run->job->sampling.seed;
    start.body_hash = mr_str_from(run->job->body_hash);
    start.from = run->seq;
    recorded_stream(r, run->stream, run->plan->partition, &start);
    run->start = start;
}

static inline struct mr_stream_record recorded_token(struct recorded_run *run, char text[8])
{
    struct mr_stream_record tok = recorded_of(run, MR_FOLD_TOK);
    snprintf(text, 8, " t%d", (int)run->seq);
    run->ids[run->seq] = (int32_t)(100 + run->seq);
    tok.seq = run->seq;
    tok.ids = &run->ids[run->seq];
    tok.n_ids = 1;
    tok.text = mr_str_from(text);
    tok.ctx = mr_fold_ctx(run->ctx, 0, tok.ids, 1);
    tok.logprobs = run->job->sampling.n_logprobs >= 0 ? recorded_logprob(run, run->seq, tok.ids[0]) : NULL;
    return tok;
}

static inline void recorded_result(struct recorded *r, const struct recorded_run *run, const struct mr_stream_record *end)
{
    struct mr_buf text = {0}, value = {0};
    mr_buf_add_str(&text, mr_buf_view(&run->text));
    mr_buf_add_str(&text, end->text);
    struct mr_result_choice choice = {.ids = run->ids, .n = (int32_t)run->seq, .text = mr_buf_view(&text),
                                      .logprobs = run->job->sampling.n_logprobs >= 0 ? run->logprobs : NULL};
    if (end->n_finish)
        choice.finish = end->finish[0];
    struct mr_result result = {.job = run->job, .route = run->route, .partition = run->plan->partition, .src = run->src, .created_ms = run->created_ms, .start = &run->start, .terminal = end,
                               .takeovers = run->starts, .choices = &choice, .n_choices = 1, .prompt_text = run->job->prompt};
    CHECK(mr_result_encode(&result, MR_ENCODING_JSON, &value));
    struct mr_record *record = recorded_add(r, run->route->results, 0, (int64_t)r->n, run->job->name, recorded_str(r, &value));
    recorded_headers(r, record, end);
    mr_buf_fini(&text);
}

static inline void recorded_dead(struct recorded *r, const struct recorded_run *run, struct mr_str value, const struct mr_stream_record *end)
{
    struct mr_header *headers = mr_arena_array(&r->arena, 6, sizeof *headers);
    struct mr_buf src = {0}, position = {0};
    mr_buf_addf(&src, "%lld.%lld", (long long)run->src.offset, (long long)run->src.timestamp_ms);
    mr_buf_addf(&position, "%s/%d/%lld", run->input, run->plan->partition, (long long)run->src.offset);
    headers[0] = (struct mr_header){MR_STR("mr-dead-reason"), mr_str_from(mr_reason_name(end->reason))};
    headers[1] = (struct mr_header){MR_STR("mr-dead-field"), end->field};
    headers[2] = (struct mr_header){MR_STR("mr-dead-message"), end->message};
    headers[3] = (struct mr_header){MR_STR("mr-dead-job"), run->job->name};
    headers[4] = (struct mr_header){MR_STR("mr-dead-src"), recorded_str(r, &src)};
    headers[5] = (struct mr_header){MR_STR("mr-dead-position"), recorded_str(r, &position)};
    struct mr_record *record = recorded_add(r, run->route->dead, 0, (int64_t)r->n, run->job->name, value);
    record->headers = headers;
    record->n_headers = 6;
}

/* What a run that produced something ends with. */
static inline void recorded_remains(struct recorded_run *run, struct mr_stream_record *end)
{
    static const int32_t prompt_ids[] = {1, 2, 3};
    static const struct mr_str finish[] = {[MR_FOLD_DONE] = MR_STR("length"), [MR_FOLD_CANCELLED] = MR_STR("cancelled"), [MR_FOLD_EXPIRED] = MR_STR("expired"),
                                           [MR_FOLD_MOVED] = MR_STR("")};
    end->text = MR_STR(" end");
    end->has_usage = true;
    end->usage = (struct mr_usage){3, (int32_t)run->seq, 0};
    end->timings = (struct mr_timings){1.5, 20.25, 3.125};
    if (!run->job->prompt_ids) {
        run->job->prompt_ids = prompt_ids;
        run->job->n_prompt = 3;
    }
    if (end->kind == MR_FOLD_FAILED)
        return;
    end->finish = &finish[end->kind];
    end->n_finish = 1;
    if (end->kind == MR_FOLD_DONE && run->job->sampling.n_prompt_logprobs >= 0) {
        end->prompt_logprobs = recorded_logprob(run, 63, 9);
        end->n_prompt_logprobs = 1;
    }
}

static inline void recorded_end(struct recorded *r, struct recorded_run *run)
{
    struct mr_stream_record end = recorded_of(run, run->plan->end);
    end.n = run->seq;
    end.ctx = run->ctx;
    bool ran = end.kind == MR_FOLD_DONE || end.kind == MR_FOLD_CANCELLED || end.kind == MR_FOLD_EXPIRED;
    if (ran || run->seq)
        recorded_remains(run, &end);
    if (end.kind == MR_FOLD_FAILED || end.kind == MR_FOLD_EXPIRED) {
        end.reason = end.kind == MR_FOLD_FAILED ? run->plan->reason : MR_REASON_DEADLINE_PASSED;
        end.message = MR_STR("because");
        end.field = MR_STR("prompt");
    }
    if (end.kind == MR_FOLD_DUPLICATE) {
        end.first.topic = mr_str_from(run->input);
        end.first.partition = run->plan->partition;
        end.first.offset = run->plan->first_offset;
    }
    if (end.kind == MR_FOLD_MOVED)
        end.to_topic = mr_str_from(run->route->parked);
    recorded_stream(r, run->stream, run->plan->partition, &end);
    if (ran || (end.kind == MR_FOLD_FAILED && end.reason != MR_REASON_ID_CONFLICT))
        recorded_result(r, run, &end);
    if (end.kind == MR_FOLD_FAILED)
        recorded_dead(r, run, mr_str_from(run->plan->body ? run->plan->body : ""), &end);
}

/* One owner ends, the next begins. */
static inline void recorded_takeover(struct recorded *r, struct recorded_run *run, const struct mr_stream_record *late)
{
    struct mr_stream_record yield = recorded_of(run, MR_FOLD_YIELD);
    if (run->plan->yield)
        recorded_stream(r, run->stream, run->plan->partition, &yield);
    recorded_start(r, run);
    if (run->plan->zombie)
        recorded_stream(r, run->stream, run->plan->partition, late);
}

/* Everything that follows from an input record, as the plan says. */
static inline void recorded_answer(struct recorded *r, const struct recorded_plan *plan, struct mr_record *input)
{
    struct recorded_run run = {.plan = plan, .route = &r->options->routes[plan->route], .src = {input->offset, input->timestamp_ms}};
    struct mr_origin origin = {.timestamp_ms = input->timestamp_ms};
    bool parked = mr_origin_read(input, &origin);
    struct mr_record first = *input; /* where a parked one lay before */
    run.stream = parked ? run.route->stream_parked : run.route->stream;
    run.input = parked ? run.route->parked : run.route->jobs;
    run.created_ms = parked ? origin.timestamp_ms : input->timestamp_ms;
    if (parked) {
        first.topic = mr_str_from(origin.topic);
        first.partition = origin.partition;
        first.offset = origin.offset;
    }
    struct mr_job_source source = {.record = &first, .route = run.route, .max_record_bytes = 1 << 20, .max_deadline_ms = INT64_C(1) << 40};
    struct mr_refusal refusal;
    struct mr_fold fold;
    mr_job_decode(&source, &run.job, &refusal);
    CHECK(run.job);
    struct mr_str name = mr_arena_str(&r->arena, run.job->name);
    input->key = name;
    mr_fold_init(&fold, name.p, name.n);
    run.ctx = fold.ctx;
    struct mr_job *job = run.job;
    job->name = name; /* records keep views of it */
    recorded_start(r, &run);
    while (run.seq < plan->n_tokens) {
        char text[8], late_text[8];
        struct mr_stream_record late = recorded_token(&run, late_text);
        if (run.seq && run.seq == plan->takeover_after)
            recorded_takeover(r, &run, &late);
        struct mr_stream_record tok = recorded_token(&run, text);
        recorded_stream(r, run.stream, plan->partition, &tok);
        mr_buf_add_str(&run.text, tok.text);
        run.ctx = tok.ctx;
        run.seq++;
    }
    if (plan->end != MR_FOLD_START)
        recorded_end(r, &run);
    mr_buf_fini(&run.text);
    mr_job_free(job);
}

/* The input record and everything that follows from it. */
static inline void recorded_job(struct recorded *r, const struct recorded_plan *plan)
{
    const char *topic = r->options->routes[plan->route].jobs;
    struct mr_record *input = recorded_add(r, topic, plan->partition, plan->offset, (struct mr_str){0}, mr_str_from(plan->body));
    struct mr_header *batch = mr_arena_array(&r->arena, 1, sizeof *batch);
    if (plan->batch) {
        *batch = (struct mr_header){MR_STR("batch-id"), mr_str_from(plan->batch)};
        input->headers = batch;
        input->n_headers = 1;
    }
    recorded_answer(r, plan, input);
}

/* The job of plan (which ends MOVED) once more, on the parked topic at that offset, ended as end says. */
static inline void recorded_parked(struct recorded *r, const struct recorded_plan *plan, int64_t parked_offset, enum mr_fold_kind end)
{
    const struct mr_route *route = &r->options->routes[plan->route];
    struct recorded_plan again = *plan;
    struct mr_origin origin = {.partition = plan->partition, .offset = plan->offset, .tier = route->tier};
    char text[MR_ORIGIN_TEXT_BYTES];
    for (size_t i = 0; i < r->n; i++)
        if (mr_str_is(r->records[i].topic, route->jobs) && r->records[i].partition == plan->partition && r->records[i].offset == plan->offset) {
            origin.timestamp_ms = r->records[i].timestamp_ms;
            snprintf(origin.job, sizeof origin.job, "%.*s", (int)r->records[i].key.n, r->records[i].key.p);
        }
    snprintf(origin.topic, sizeof origin.topic, "%s", route->jobs);
    struct mr_header *header = mr_arena_array(&r->arena, 1, sizeof *header);
    *header = (struct mr_header){MR_STR(MR_ORIGIN_HEADER), mr_arena_str(&r->arena, (struct mr_str){text, mr_origin_write(&origin, text)})};
    struct mr_record *input = recorded_add(r, route->parked, plan->partition, parked_offset, (struct mr_str){0}, mr_str_from(plan->body));
    input->headers = header;
    input->n_headers = 1;
    again.end = end;
    recorded_answer(r, &again, input);
}

#endif
