/* `millrace run`: job lines in, result lines out, over the same admission, engine and records as the worker.
 *
 * Owns: the lines, the answers being gathered (slots of one array; a slot's index is its run's handle), the output buffer.
 *
 * Invariants
 * 1 Every line that is not blank gives exactly one result line, in the order in which jobs end; a bad one its error line.
 * 2 At most limits.jobs lines are decoded and unfinished; input is read no further ahead.
 * 3 Only result lines (and, with --stream, stream records) go to stdout.
 * 4 A name that an earlier good line used with another body is id_conflict, as on a topic; with the same body the job runs again
 *   and says the same.
 *
 * One thread. Rejected: a reading thread (poll on the input between steps does it). */
#include "base/check.h"
#include "worker/cli/answer.h"
#include "worker/cli/cli.h"
#include "worker/cli/lines.h"
#include "worker/job_decode.h"
#include "worker/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RUN_PROGRESS_NS (MR_NS_PER_S / 2)

static const struct mr_route run_route = {
    .name = "run", .jobs = "run", .parked = "", .stream = "", .stream_parked = "", .results = "", .dead = "", .control = "",
    .tier = MR_TIER_STANDARD, .tenant_from_field = true, .tenant = "default",
};

struct run {
    const struct mr_options *options;
    struct mr_serving serving;
    struct mr_lines lines;
    struct mr_names names;     /* of good lines; offset: the line's, from 0 */
    struct mr_clock clock;
    int64_t started_ms, started_ns, progress_ns;
    char build[128];
    bool stream, input_ended, progress, out_of_memory;
    struct mr_answer *answers; /* [n_slots]; job NULL: free */
    int32_t *free_slots, n_free, n_slots;
    int64_t n_done, n_failed;
    struct mr_buf out;
};

static void run_write_line(struct run *r)
{
    mr_buf_add_char(&r->out, '\n');
    r->out_of_memory |= r->out.failed;
    fwrite(r->out.p, 1, r->out.n, stdout);
    fflush(stdout);
    mr_buf_clear(&r->out);
}

static void run_refuse(struct run *r, const struct mr_job *job, const struct mr_refusal *refusal)
{
    r->n_failed++;
    if (mr_result_encode_refusal(job, refusal, r->started_ms, &r->out))
        run_write_line(r);
    else
        r->out_of_memory = true;
}

static void run_show(struct run *r, const struct mr_stream_record *record)
{
    if (!r->stream)
        return;
    if (mr_stream_record_encode(record, MR_ENCODING_JSON, &r->out))
        run_write_line(r);
    else
        r->out_of_memory = true;
}

/* Takes job: submits it, or writes why not. */
static void run_submit(struct run *r, struct mr_job *job, struct mr_src src)
{
    int32_t slot = r->free_slots[--r->n_free];
    struct mr_answer *answer = &r->answers[slot];
    int64_t now_ns = mr_clock_ns(&r->clock);
    if (mr_answer_open(answer, job, src, &r->serving, r->build, now_ns) != MR_OK) {
        r->free_slots[r->n_free++] = slot;
        r->out_of_memory = true;
        return;
    }
    struct mr_engine_run run = {.run = (uint64_t)slot, .job = job, .arrival_ns = now_ns};
    if (job->deadline_ms > 0)
        run.deadline_ns = now_ns + job->deadline_ms * MR_NS_PER_MS;
    struct mr_err err;
    enum mr_status status = mr_engine_submit(r->serving.engine, &run, now_ns, &err);
    CHECK(status != MR_ERR_LIMIT); /* invariant 2 */
    if (status == MR_OK) {
        run_show(r, &answer->start);
        return;
    }
    struct mr_refusal refusal;
    mr_refuse(&refusal, MR_REASON_INTERNAL, "", "%s", err.text);
    run_refuse(r, job, &refusal);
    mr_answer_close(answer);
    r->free_slots[r->n_free++] = slot;
}

/* Invariant 4. */
static enum mr_reason run_check_name(struct run *r, const struct mr_job *job, struct mr_refusal *refusal)
{
    const struct mr_names_entry *first = mr_names_find(&r->names, job->name);
    if (first && strcmp(first->body_hash, job->body_hash) != 0)
        return mr_refuse(refusal, MR_REASON_ID_CONFLICT, "id", "line %lld has this id and another body", (long long)first->offset + 1);
    mr_names_add(&r->names, job->name, r->lines.number - 1, job->body_hash);
    return MR_REASON_NONE;
}

static void run_take_line(struct run *r, struct mr_str line)
{
    if (line.n == 0)
        return;
    static const struct mr_header json = {MR_STR("content-type"), MR_STR("application/json")};
    struct mr_record record = {.topic = mr_str_from(run_route.jobs), .offset = r->lines.number - 1, .timestamp_ms = r->started_ms,
                               .value = line, .headers = &json, .n_headers = 1};
    struct mr_job_source source = {.record = &record, .route = &run_route, .lenient = r->options->worker.lenient,
                                   .max_record_bytes = (size_t)r->options->limits.record_bytes,
                                   .max_deadline_ms = r->options->limits.deadline_ms};
    struct mr_job *job = NULL;
    struct mr_refusal refusal;
    enum mr_reason reason = mr_job_decode(&source, &job, &refusal);
    if (reason == MR_REASON_NONE)
        reason = mr_admit_job(&r->serving.admit, NULL, job, &refusal);
    if (reason == MR_REASON_NONE)
        reason = run_check_name(r, job, &refusal);
    if (reason == MR_REASON_NONE) {
        run_submit(r, job, (struct mr_src){record.offset, record.timestamp_ms});
        return;
    }
    if (job)
        run_refuse(r, job, &refusal);
    else
        r->out_of_memory = true;
    mr_job_free(job);
}

/* Reads lines while slots are free; waits for one only when nothing runs. */
static bool run_read(struct run *r)
{
    while (!r->input_ended && r->n_free > 0 && !r->out_of_memory) {
        struct mr_str line;
        switch (mr_lines_next(&r->lines, r->n_free == r->n_slots ? -1 : 0, &line)) {
        case MR_LINES_LINE:
            run_take_line(r, line);
            break;
        case MR_LINES_LATER:
            return true;
        case MR_LINES_END:
            r->input_ended = true;
            break;
        case MR_LINES_FAILED:
            mr_cli_fail("the input cannot be read");
            return false;
        }
    }
    return true;
}

static void run_take_event(struct run *r, const struct mr_engine_event *event)
{
    struct mr_answer *answer = &r->answers[event->run];
    const struct mr_tokenizer *tokenizer = r->serving.bundle->tokenizer;
    struct mr_stream_record record;
    bool failed;
    if (mr_answer_take(answer, event, tokenizer, &record, &failed))
        run_show(r, &record);
    r->out_of_memory |= failed;
    if (event->kind != MR_ENGINE_END)
        return;
    if (!failed && mr_answer_result(answer, &record, tokenizer, &r->out))
        run_write_line(r);
    else
        r->out_of_memory = true;
    *(event->finish == MR_FINISH_STOP || event->finish == MR_FINISH_LENGTH ? &r->n_done : &r->n_failed) += 1;
    mr_answer_close(answer);
    r->free_slots[r->n_free++] = (int32_t)event->run;
}

static void run_report(struct run *r, bool last)
{
    int64_t now_ns = mr_clock_ns(&r->clock);
    struct mr_engine_stats stats;
    if (!last && (!r->progress || now_ns - r->progress_ns < RUN_PROGRESS_NS))
        return;
    r->progress_ns = now_ns;
    mr_engine_stats(r->serving.engine, &stats);
    double seconds = (double)(now_ns - r->started_ns) / 1e9;
    fprintf(stderr, "%smillrace: %lld done, %lld failed, %d running; %lld prompt and %lld output tokens in %.1f s%s",
            r->progress ? "\r\033[K" : "", (long long)r->n_done, (long long)r->n_failed, r->n_slots - r->n_free,
            (long long)stats.prompt_tokens, (long long)stats.output_tokens, seconds, last ? "\n" : "");
}

static int run_loop(struct run *r)
{
    const struct mr_engine_event *events;
    int32_t n_events;
    enum mr_status status;
    while (!(r->input_ended && r->n_free == r->n_slots) && !r->out_of_memory) {
        if (!run_read(r))
            return MR_EXIT_FAILED;
        mr_engine_step(r->serving.engine, &r->clock, &events, &n_events, &status);
        if (status != MR_OK)
            mr_cli_fail("a step failed: %s", mr_status_name(status));
        for (int32_t i = 0; i < n_events; i++)
            run_take_event(r, &events[i]);
        run_report(r, false);
    }
    run_report(r, true);
    if (r->out_of_memory)
        return mr_cli_fail("out of memory");
    return r->n_failed ? MR_EXIT_FAILED : MR_EXIT_DONE;
}

static int run_open(struct run *r, const char *path)
{
    struct mr_err err;
    if (mr_lines_open(&r->lines, path, (size_t)r->options->limits.record_bytes, &err) != MR_OK ||
        mr_serving_open(r->options, &r->serving, &err) != MR_OK)
        return mr_cli_fail("%s", err.text);
    r->n_slots = r->n_free = (int32_t)r->options->limits.jobs;
    r->answers = calloc((size_t)r->n_slots, sizeof *r->answers);
    r->free_slots = calloc((size_t)r->n_slots, sizeof *r->free_slots);
    if (!r->answers || !r->free_slots)
        return mr_cli_fail("no memory for %d jobs", r->n_slots);
    for (int32_t i = 0; i < r->n_slots; i++)
        r->free_slots[i] = r->n_slots - 1 - i;
    snprintf(r->build, sizeof r->build, "%s %s", MILLRACE_VERSION, r->serving.bundle->ops->path(r->serving.bundle->device));
    r->started_ns = mr_clock_ns(&r->clock);
    r->started_ms = mr_clock_wall_ms(&r->clock);
    mr_names_init(&r->names, MR_NAMES_MAX);
    return MR_EXIT_DONE;
}

static void run_close(struct run *r)
{
    mr_serving_close(&r->serving);
    for (int32_t i = 0; r->answers && i < r->n_slots; i++)
        if (r->answers[i].job)
            mr_answer_close(&r->answers[i]);
    free(r->answers);
    free(r->free_slots);
    mr_lines_close(&r->lines);
    mr_names_fini(&r->names);
    mr_buf_fini(&r->out);
}

int mr_verb_run(struct mr_cli *cli, int argc, char **argv)
{
    struct run r = {.clock = mr_clock_system(), .lines = {.fd = -1}, .progress = isatty(STDERR_FILENO) == 1};
    const struct mr_flag flags[] = {
        MR_FLAG_ROW_MODEL,
        {"model-name", "NAME", "what jobs call it", MR_FLAG_SETTING, NULL, "model_name"},
        {"stream", NULL, "stream records too, as they are made", MR_FLAG_BOOL, &r.stream, NULL},
        MR_FLAG_ROW_DEVICE,
        MR_FLAG_ROW_THREADS,
        MR_FLAG_ROW_PRECISION,
        MR_FLAG_ROW_MAX_SEQS,
        MR_FLAG_ROW_MAX_STEP_TOKENS,
        MR_FLAG_ROW_CONTEXT,
        MR_FLAG_ROW_KV_MEMORY,
        MR_FLAG_ROW_BLOCK_TOKENS,
    };
    const struct mr_flags_usage usage = {
        .synopsis = "run --model M [JOBS.jsonl or -]",
        .about = "Runs every job of a file (JSON jobs or OpenAI Batch lines; - or nothing: standard input) and writes one result\n"
                 "line a job to standard output, as each one ends. A bad line gets an error line; exit code 1 says that there were some.",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
        .max_args = 1,
    };
    struct mr_args args;
    if (!mr_flags_parse(cli, &usage, argc, argv, &args))
        return args.exit_code;
    r.options = mr_cli_set(cli, "scheduler.calibrate", "0") ? mr_cli_options(cli) : NULL; /* nobody was promised a latency */
    if (!r.options)
        return MR_EXIT_USAGE;
    int code = run_open(&r, args.n ? args.items[0] : "-");
    if (code == MR_EXIT_DONE)
        code = run_loop(&r);
    run_close(&r);
    return code;
}
