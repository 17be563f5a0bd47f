/* `millrace replay RESULT`: runs a result's job again, with the same admission and engine as `run` and the worker, and compares.
 *
 * Owns the model, the record of the job, and one answer at a time.
 * 1 The result names what it was made with: the model's and the tokenizer's digest, the kernel path, the seed. Another digest or path is
 *   refused by name: it could only differ. Another version of the program is told and run.
 * 2 The job is the input record at the result's src, or a line of --job; its body_hash must be the result's.
 * 3 A deadline does not end a replay; a run that was cut short (cancelled, expired) is run as far as it came.
 * Thread: one. Rejected: replaying on another path within a tolerance (bench quality compares paths). */
#include "base/check.h"
#include "worker/cli/answer.h"
#include "worker/cli/client.h"
#include "worker/cli/lines.h"
#include "worker/cli/outcome.h"
#include "worker/cli/record_copy.h"
#include "worker/cli/replay_result.h"
#include "worker/job_decode.h"

#include <stdio.h>
#include <stdlib.h>

static const struct mr_route replay_route = {
    .name = "run", .jobs = "run", .parked = "", .stream = "", .stream_parked = "", .results = "", .dead = "", .control = "",
    .tier = MR_TIER_STANDARD, .tenant_from_field = true, .tenant = "default",
};

struct replay {
    struct mr_cli *cli;
    const struct mr_options *options;
    struct mr_client client;       /* opened when a topic is needed */
    struct mr_serving serving;
    struct mr_clock clock;
    struct mr_arena arena;         /* of one result */
    const char *job_file, *build, *path;
    char build_text[128];
    bool stored;
    int64_t n_same, n_other;
};

/* ---- the job ---- */

static enum mr_status open_client(struct replay *r, struct mr_err *err)
{
    if (r->client.opened || mr_client_open(&r->client, r->cli) == MR_EXIT_DONE)
        return MR_OK;
    return mr_err_set(err, MR_ERR_IO, "the log cannot be opened");
}

/* A record to a job. *job NULL: it is none. */
static enum mr_status decode_job(struct replay *r, const struct mr_record *record, const struct mr_route *route, struct mr_job **job,
                                 struct mr_err *err)
{
    struct mr_job_source source = {.record = record, .route = route, .lenient = true, .max_record_bytes = (size_t)r->options->limits.record_bytes,
                                   .max_deadline_ms = INT64_MAX};
    struct mr_refusal refusal;
    if (mr_job_decode(&source, job, &refusal) == MR_REASON_NONE)
        return MR_OK;
    mr_job_free(*job);
    *job = NULL;
    return mr_err_set(err, MR_ERR_INVALID, "its job cannot be read: %s", refusal.message);
}

/* The input record at the result's src: of the route's jobs, or, for one that was moved, of its parked topic. */
static enum mr_status job_of_topic(struct replay *r, const struct mr_replay_result *result, struct mr_job **job, struct mr_err *err)
{
    const struct mr_route *route = NULL;
    struct mr_record record;
    if (!result->route.n)
        return mr_err_set(err, MR_ERR_NOT_FOUND, "it names no input record: give its job with --job");
    for (int32_t i = 0; i < r->options->n_routes; i++)
        if (mr_str_is(result->route, r->options->routes[i].name))
            route = &r->options->routes[i];
    if (!route)
        return mr_err_set(err, MR_ERR_NOT_FOUND, "the configuration has no route \"%.*s\"", (int)result->route.n, result->route.p);
    enum mr_status status = open_client(r, err);
    if (status != MR_OK)
        return status;
    const char *topics[] = {route->jobs, route->parked};
    for (int i = 0; i < 2; i++)
        if (topics[i][0] && mr_client_record(&r->client, topics[i], result->partition, result->src.offset, &r->arena, &record) == MR_OK &&
            record.timestamp_ms == result->src.timestamp_ms)
            return decode_job(r, &record, route, job, err);
    return mr_err_set(err, MR_ERR_NOT_FOUND, "its input record %s/%d/%lld is gone: give its job with --job", route->jobs, result->partition,
                      (long long)result->src.offset);
}

/* The line of the job file that has the result's id or custom_id, or its only line. */
static enum mr_status job_of_file(struct replay *r, const struct mr_replay_result *result, struct mr_job **job, struct mr_err *err)
{
    struct mr_lines lines;
    struct mr_str line;
    struct mr_job *only = NULL;
    int64_t n = 0;
    enum mr_status status = mr_lines_open(&lines, r->job_file, (size_t)r->options->limits.record_bytes, err);
    if (status != MR_OK)
        return status;
    while (!*job && mr_lines_next(&lines, -1, &line) == MR_LINES_LINE) {
        static const struct mr_header json = {MR_STR("content-type"), MR_STR("application/json")};
        struct mr_record record = {.topic = MR_STR("run"), .offset = lines.number - 1, .value = line, .headers = &json, .n_headers = 1};
        struct mr_job *found = NULL;
        if (line.n == 0 || decode_job(r, &record, &replay_route, &found, err) != MR_OK)
            continue;
        n++;
        bool it = mr_str_equal(found->id, result->id) || (result->custom_id.n && mr_str_equal(found->custom_id, result->custom_id));
        mr_job_free(only);
        only = it ? NULL : found;
        *job = it ? found : NULL;
    }
    mr_lines_close(&lines);
    if (!*job && n == 1) {
        *job = only;
        only = NULL;
    }
    mr_job_free(only);
    return *job ? MR_OK : mr_err_set(err, MR_ERR_NOT_FOUND, "%s holds no job of that id", r->job_file);
}

/* ---- whether, and how ---- */

static enum mr_status refuse_other(const char *what, struct mr_str was, const char *is, struct mr_err *err)
{
    if (mr_str_is(was, is))
        return MR_OK;
    return mr_err_set(err, MR_ERR_UNSUPPORTED, "it was made by %s %.*s, here is %s", what, was.n > 80 ? 80 : (int)was.n, was.p, is);
}

static enum mr_status check_made_by(const struct replay *r, const struct mr_replay_result *result, struct mr_err *err)
{
    const struct mr_bundle *bundle = r->serving.bundle;
    enum mr_status status = refuse_other("model", result->model_digest, mr_model_digest(bundle->model), err);
    if (status == MR_OK)
        status = refuse_other("tokenizer", result->tokenizer_digest, mr_tokenizer_digest(bundle->tokenizer), err);
    return status == MR_OK ? refuse_other("kernel path", result->path, r->path, err) : status;
}

/* The job as it ran: its own seed, no deadline, any model name, as far as it came. */
static enum mr_status prepare(struct replay *r, const struct mr_replay_result *result, struct mr_job *job, struct mr_err *err)
{
    struct mr_refusal refusal;
    if (result->body_hash.n && !mr_str_is(result->body_hash, job->body_hash))
        return mr_err_set(err, MR_ERR_INVALID, "its job was another one: body_hash %.*s, not %s", (int)result->body_hash.n, result->body_hash.p,
                          job->body_hash);
    job->model = (struct mr_str){0};
    if (mr_admit_job(&r->serving.admit, NULL, job, &refusal) != MR_REASON_NONE)
        return mr_err_set(err, MR_ERR_INVALID, "its job is not admitted here: %s", refusal.message);
    job->sampling.seed = result->seed;
    if (!mr_str_is(result->status, "done"))
        job->sampling.max_tokens = result->n;
    return MR_OK;
}

/* Runs the job of answer to its end; its terminal in *end. */
static enum mr_status run_job(struct replay *r, struct mr_answer *answer, int32_t *text_end, struct mr_stream_record *end, struct mr_err *err)
{
    struct mr_engine_run run = {.run = 1, .job = answer->job, .arrival_ns = answer->arrival_ns};
    enum mr_status status = mr_engine_submit(r->serving.engine, &run, answer->arrival_ns, err);
    bool failed = false, ended = false;
    while (status == MR_OK && !ended && !failed) {
        const struct mr_engine_event *events;
        int32_t n_events;
        enum mr_status step = MR_OK;
        mr_engine_step(r->serving.engine, &r->clock, &events, &n_events, &step);
        for (int32_t i = 0; i < n_events && !failed; i++) {
            int32_t first = answer->n_ids;
            mr_answer_take(answer, &events[i], r->serving.bundle->tokenizer, end, &failed);
            for (int32_t k = first; k < answer->n_ids && !failed; k++)
                text_end[k] = (int32_t)answer->text.n;
            ended |= events[i].kind == MR_ENGINE_END;
        }
        if (step != MR_OK)
            return mr_err_set(err, step, "a step failed: %s", mr_status_name(step));
    }
    if (failed)
        return mr_err_set(err, MR_ERR_NOMEM, "out of memory");
    return status == MR_OK && end->kind != MR_FOLD_DONE ? mr_err_set(err, MR_ERR_IO, "it did not run to its end") : status;
}

/* ---- what comes of it ---- */

static void set_side(struct mr_value *map, const char *key, const struct mr_replay_difference *d, bool was, struct mr_arena *arena)
{
    struct mr_value side = mr_value_map(arena, 3);
    if (d->what == MR_REPLAY_TOKEN)
        mr_value_set(&side, "id", (was ? d->was_id : d->is_id) < 0 ? mr_value_null() : mr_value_int(was ? d->was_id : d->is_id));
    if (d->what == MR_REPLAY_LOGPROB)
        mr_value_set(&side, "logprob", mr_value_float(was ? d->was : d->is));
    struct mr_str text = was ? d->was_text : d->is_text;
    if (d->what == MR_REPLAY_FINISH || (d->what == MR_REPLAY_TEXT && mr_codec_utf8_valid(text)))
        mr_value_set(&side, d->what == MR_REPLAY_FINISH ? "finish_reason" : "text", mr_value_string(text));
    mr_value_set(map, key, side);
}

static void say_difference(const struct mr_replay_result *result, const struct mr_replay_difference *d, int32_t n)
{
    const char *what = mr_replay_what_name(d->what);
    mr_outcome_print_text(result->id);
    if (d->what == MR_REPLAY_SAME)
        printf(": same, %d tokens\n", n);
    else if (d->what == MR_REPLAY_PROMPT)
        printf(": differs in the prompt's tokens\n");
    else if (d->what == MR_REPLAY_TOKEN)
        printf(": differs at token %d: id %d, was %d\n", d->token, d->is_id, d->was_id);
    else if (d->what == MR_REPLAY_LOGPROB)
        printf(": differs at token %d: logprob %.9g, was %.9g\n", d->token, d->is, d->was);
    else
        printf(": differs at token %d: %s\n", d->token, what);
}

static void tell(struct replay *r, const struct mr_replay_result *result, const struct mr_replay_difference *d, int32_t n)
{
    *(d->what == MR_REPLAY_SAME ? &r->n_same : &r->n_other) += 1;
    if (!r->cli->json) {
        say_difference(result, d, n);
        return;
    }
    struct mr_value map = mr_value_map(&r->arena, 8);
    mr_value_set(&map, "job", mr_value_string(result->id));
    mr_value_set(&map, "verdict", mr_value_string(d->what == MR_REPLAY_SAME ? MR_STR("same") : MR_STR("differs")));
    mr_value_set(&map, "tokens", mr_value_int(n));
    mr_value_set(&map, "build", mr_value_string(mr_str_from(r->build)));
    if (d->what != MR_REPLAY_SAME) {
        mr_value_set(&map, "what", mr_value_string(mr_str_from(mr_replay_what_name(d->what))));
        mr_value_set(&map, "token", d->what == MR_REPLAY_PROMPT ? mr_value_null() : mr_value_int(d->token));
        set_side(&map, "was", d, true, &r->arena);
        set_side(&map, "is", d, false, &r->arena);
    }
    mr_outcome_print_json(&map);
}

static void tell_refusal(struct replay *r, const struct mr_replay_result *result, const struct mr_err *err)
{
    r->n_other++;
    if (!r->cli->json) {
        mr_cli_fail("not replayed: %s", err->text);
        return;
    }
    struct mr_value map = mr_value_map(&r->arena, 3);
    mr_value_set(&map, "job", mr_value_string(result->id));
    mr_value_set(&map, "verdict", mr_value_string(MR_STR("refused")));
    mr_value_set(&map, "reason", mr_value_string(mr_str_from(err->text)));
    mr_outcome_print_json(&map);
}

/* Takes job. The job's answer as a result again, and the comparison. */
static enum mr_status replay_job(struct replay *r, const struct mr_replay_result *result, struct mr_job *job, struct mr_err *err)
{
    struct mr_answer answer;
    struct mr_stream_record end;
    struct mr_replay_result made;
    struct mr_buf bytes = {0};
    int32_t *text_end = mr_arena_array(&r->arena, (size_t)job->sampling.max_tokens, sizeof *text_end);
    enum mr_status status = mr_answer_open(&answer, job, result->src, &r->serving, r->build, mr_clock_ns(&r->clock));
    if (status != MR_OK)
        return mr_err_set(err, status, "out of memory");
    status = text_end ? MR_OK : mr_err_set(err, MR_ERR_NOMEM, "out of memory");
    if (status == MR_OK)
        status = run_job(r, &answer, text_end, &end, err);
    if (status == MR_OK && !mr_answer_result(&answer, &end, r->serving.bundle->tokenizer, &bytes))
        status = mr_err_set(err, MR_ERR_NOMEM, "out of memory");
    if (status == MR_OK)
        status = mr_replay_result_read(mr_buf_view(&bytes), &r->arena, &made, err);
    if (status == MR_OK) {
        struct mr_replay_made is = {&made, answer.ids, text_end, answer.n_ids};
        struct mr_replay_difference difference = mr_replay_compare(result, &is, mr_str_is(result->status, "done"));
        tell(r, result, &difference, answer.n_ids);
    }
    mr_buf_fini(&bytes);
    mr_answer_close(&answer);
    return status;
}

/* One result, from its bytes. */
static void replay_one(struct replay *r, struct mr_str bytes)
{
    struct mr_replay_result result;
    struct mr_job *job = NULL;
    struct mr_err err = {0};
    enum mr_status status = mr_replay_result_read(bytes, &r->arena, &result, &err);
    if (status == MR_OK)
        status = check_made_by(r, &result, &err);
    if (status == MR_OK)
        status = r->job_file ? job_of_file(r, &result, &job, &err) : job_of_topic(r, &result, &job, &err);
    if (status == MR_OK)
        status = prepare(r, &result, job, &err);
    if (status == MR_OK && !mr_str_is(result.version, MILLRACE_VERSION))
        fprintf(stderr, "millrace: made by version %.*s, this is " MILLRACE_VERSION "\n", (int)result.version.n, result.version.p);
    if (status == MR_OK && result.n == 0 && !mr_str_is(result.status, "done")) {
        tell(r, &result, &(struct mr_replay_difference){0}, 0); /* it never came to a token */
    } else if (status == MR_OK) {
        status = replay_job(r, &result, job, &err);
        job = NULL;
    }
    mr_job_free(job);
    if (status != MR_OK)
        tell_refusal(r, &result, &err);
    mr_arena_fini(&r->arena);
}

/* ---- where results come from ---- */

static int replay_file(struct replay *r, const char *path)
{
    struct mr_lines lines;
    struct mr_str line;
    struct mr_err err;
    enum mr_lines_next next;
    if (mr_lines_open(&lines, path, MR_CODEC_BYTES_MAX, &err) != MR_OK)
        return mr_cli_fail("%s", err.text);
    while ((next = mr_lines_next(&lines, -1, &line)) == MR_LINES_LINE)
        if (line.n)
            replay_one(r, line);
    mr_lines_close(&lines);
    return next == MR_LINES_FAILED ? mr_cli_fail("%s cannot be read", path) : MR_EXIT_DONE;
}

struct stored {
    struct mr_str name;
    struct mr_arena arena;
    struct mr_record record; /* value p NULL: none yet */
};

/* The first result of a name counts, as for collect. */
static bool stored_take(void *self, const struct mr_record *record)
{
    struct stored *stored = self;
    bool first = !stored->record.value.p && record->value.p && mr_str_equal(record->key, stored->name);
    return !first || mr_record_copy(&stored->arena, record, &stored->record);
}

static int replay_stored(struct replay *r, const char *job)
{
    struct mr_err err;
    struct stored stored = {.name = mr_client_job_name(&r->cli->arena, job, NULL)};
    const char *names[MR_ROUTES_MAX];
    struct mr_client_topics topics = {.names = names, .n = (size_t)r->options->n_routes, .what = "results topic"};
    for (int32_t i = 0; i < r->options->n_routes; i++)
        names[i] = r->options->routes[i].results;
    if (!stored.name.n)
        return MR_EXIT_USAGE;
    if (open_client(r, &err) != MR_OK)
        return mr_cli_fail("%s", err.text);
    int code = mr_client_read(&r->client, &topics, stored_take, &stored);
    if (code == MR_EXIT_DONE && !stored.record.value.p)
        code = mr_cli_fail("no result of %.*s", (int)stored.name.n, stored.name.p);
    else if (code == MR_EXIT_DONE)
        replay_one(r, stored.record.value);
    mr_arena_fini(&stored.arena);
    return code;
}

static int replay_open(struct replay *r)
{
    struct mr_err err;
    r->options = mr_cli_options(r->cli);
    if (!r->options)
        return MR_EXIT_USAGE;
    if (mr_serving_open(r->options, &r->serving, &err) != MR_OK)
        return mr_cli_fail("%s", err.text);
    r->path = r->serving.bundle->ops->path(r->serving.bundle->device);
    snprintf(r->build_text, sizeof r->build_text, "%s %s", MILLRACE_VERSION, r->path);
    r->build = r->build_text;
    return MR_EXIT_DONE;
}

int mr_verb_replay(struct mr_cli *cli, int argc, char **argv)
{
    struct replay r = {.cli = cli, .clock = mr_clock_system()};
    const struct mr_flag flags[] = {
        MR_FLAG_ROW_MODEL,
        {"job", "FILE", "the job (a line as for run; of several the one with the result's id), instead of the input record", MR_FLAG_TEXT,
         &r.job_file, NULL},
        {"stored", NULL, "RESULT is tenant/id: take it from the results topic", MR_FLAG_BOOL, &r.stored, NULL},
        MR_FLAG_ROW_DEVICE,
        MR_FLAG_ROW_THREADS,
        MR_FLAG_ROW_PRECISION,
        MR_FLAG_ROW_CONTEXT,
        MR_FLAG_ROW_KV_MEMORY,
        MR_FLAG_ROW_BLOCK_TOKENS,
    };
    const struct mr_flags_usage usage = {
        .synopsis = "replay --model M RESULT",
        .about = "Runs a result's job again and says \"same\", or the first token, log probability or ending in which it differs. RESULT: a file of\n"
                 "result lines (-: standard input), or with --stored a job's name. The job is read from its input topic, or from --job.\n"
                 "Another model, tokenizer or kernel path than the result names is refused. Exit code 1: one differs, or was refused.",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
        .min_args = 1,
        .max_args = 1,
    };
    struct mr_args args;
    if (!mr_flags_parse(cli, &usage, argc, argv, &args))
        return args.exit_code;
    int code = replay_open(&r);
    if (code == MR_EXIT_DONE)
        code = r.stored ? replay_stored(&r, args.items[0]) : replay_file(&r, args.items[0]);
    mr_serving_close(&r.serving);
    mr_client_close(&r.client);
    return code != MR_EXIT_DONE ? code : r.n_other ? MR_EXIT_FAILED : MR_EXIT_DONE;
}
