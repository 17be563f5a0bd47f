/* Owns the file's bytes and what each line is called.
 *
 * 1 A job's name is what the worker will decode: mr_job_decode is asked, with the headers that the record will have.
 * 2 The same bytes give the same names: the batch's id is the content's digest unless it is given, a line's its number.
 * Rejected: an id of random numbers a line (a file sent again after a failure would run everything twice). */
#include "worker/cli/input_file.h"

#include "adapters/codec/codec.h"
#include "base/buf.h"
#include "base/sha256.h"
#include "worker/batch_line.h"
#include "worker/job_decode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static enum mr_status read_all(struct mr_input_file *file, const char *path, struct mr_err *err)
{
    struct mr_buf buf = {0};
    bool standard = strcmp(path, "-") == 0;
    FILE *in = standard ? stdin : fopen(path, "rb");
    if (!in)
        return mr_err_set(err, MR_ERR_IO, "%s cannot be opened: %s", path, strerror(errno));
    while (!feof(in) && !ferror(in) && buf.n <= MR_INPUT_BYTES_MAX && mr_buf_reserve(&buf, 1 << 16))
        buf.n += fread(buf.p + buf.n, 1, 1 << 16, in);
    bool failed = ferror(in);
    if (!standard)
        fclose(in);
    file->bytes = buf.p;
    file->n_bytes = buf.n;
    if (failed)
        return mr_err_set(err, MR_ERR_IO, "%s cannot be read", path);
    if (buf.failed)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for %s", path);
    if (buf.n > MR_INPUT_BYTES_MAX)
        return mr_err_set(err, MR_ERR_LIMIT, "%s is larger than %d bytes", path, MR_INPUT_BYTES_MAX);
    return MR_OK;
}

static enum mr_status name_batch(struct mr_input_file *file, const char *batch, struct mr_err *err)
{
    unsigned char digest[32];
    struct mr_sha256 sha;
    if (!batch) {
        mr_sha256_init(&sha);
        mr_sha256_add(&sha, file->bytes, file->n_bytes);
        mr_sha256_finish(&sha, digest);
        mr_hex(digest, 8, file->batch);
        return MR_OK;
    }
    size_t n = strlen(batch);
    if (n == 0 || n > MR_BATCH_ID_BYTES_MAX || !mr_job_id_valid(mr_str_from(batch), false))
        return mr_err_set(err, MR_ERR_INVALID, "a batch id has 1 to %d characters of [A-Za-z0-9._:~-]", MR_BATCH_ID_BYTES_MAX);
    memcpy(file->batch, batch, n + 1);
    return MR_OK;
}

static void add_header(struct mr_input_job *job, const char *key, struct mr_str value)
{
    job->headers[job->n_headers++] = (struct mr_header){mr_str_from(key), value};
}

/* What identifies the job besides its bytes. */
static enum mr_status add_headers(struct mr_input_file *file, struct mr_input_job *job)
{
    struct mr_arena scratch;
    struct mr_value value;
    mr_arena_init(&scratch, 0);
    bool decoded = mr_codec_json.decode(job->line, NULL, &scratch, &value, NULL) == MR_CODEC_OK;
    job->batch_line = decoded && mr_batch_line_is(&value);
    add_header(job, "content-type", MR_STR("application/json"));
    if (job->batch_line) {
        add_header(job, "batch-id", mr_str_from(file->batch));
    } else if (!decoded || !mr_value_get(&value, "id")) {
        char key[MR_BATCH_ID_BYTES_MAX + 32];
        int n = snprintf(key, sizeof key, "%s.%lld", file->batch, (long long)job->number);
        add_header(job, "idempotency-key", mr_arena_str(&file->arena, (struct mr_str){key, (size_t)n}));
    }
    mr_arena_fini(&scratch);
    return job->headers[job->n_headers - 1].value.p ? MR_OK : MR_ERR_NOMEM;
}

/* The name that the worker will give it. A name that holds the position of the record is not known here. */
static enum mr_status name_job(struct mr_input_file *file, struct mr_input_job *job, const struct mr_options *options, const struct mr_route *route)
{
    struct mr_record record = {.topic = mr_str_from(route->jobs), .partition = -1, .offset = -1, .value = job->line, .headers = job->headers,
                               .n_headers = job->n_headers};
    struct mr_job_source source = {.record = &record, .route = route, .lenient = true, .max_record_bytes = (size_t)options->limits.record_bytes,
                                   .max_deadline_ms = options->limits.deadline_ms};
    struct mr_refusal refusal;
    struct mr_job *decoded = NULL;
    char nowhere[MR_TOPIC_BYTES_MAX + 16];
    mr_job_decode(&source, &decoded, &refusal);
    if (!decoded)
        return MR_ERR_NOMEM;
    snprintf(nowhere, sizeof nowhere, "%s.-1.-1", route->jobs);
    if (!mr_str_is(decoded->id, nowhere))
        job->name = mr_arena_str(&file->arena, decoded->name);
    job->custom_id = mr_arena_str(&file->arena, decoded->custom_id);
    mr_job_free(decoded);
    return MR_OK;
}

static enum mr_status cut_lines(struct mr_input_file *file, struct mr_err *err)
{
    size_t capacity = 0;
    int64_t number = 0;
    for (size_t at = 0; at < file->n_bytes;) {
        const char *start = file->bytes + at, *end = memchr(start, '\n', file->n_bytes - at);
        size_t n = end ? (size_t)(end - start) : file->n_bytes - at;
        at += n + 1;
        number++;
        while (n && (start[n - 1] == '\r' || start[n - 1] == ' '))
            n--;
        if (n == 0)
            continue;
        if (file->n == MR_INPUT_JOBS_MAX)
            return mr_err_set(err, MR_ERR_LIMIT, "the file has more than %d jobs", MR_INPUT_JOBS_MAX);
        if (file->n == capacity) {
            capacity = capacity ? 2 * capacity : 64;
            struct mr_input_job *jobs = reallocarray(file->jobs, capacity, sizeof *jobs);
            if (!jobs)
                return mr_err_set(err, MR_ERR_NOMEM, "no memory for %zu jobs", capacity);
            file->jobs = jobs;
        }
        file->jobs[file->n++] = (struct mr_input_job){.line = {start, n}, .number = number};
    }
    return MR_OK;
}

enum mr_status mr_input_file_open(struct mr_input_file *file, const char *path, const char *batch, const struct mr_options *options,
                                  const struct mr_route *route, struct mr_err *err)
{
    *file = (struct mr_input_file){0};
    mr_arena_init(&file->arena, 0);
    enum mr_status status = read_all(file, path, err);
    if (status == MR_OK)
        status = name_batch(file, batch, err);
    if (status == MR_OK)
        status = cut_lines(file, err);
    for (size_t i = 0; i < file->n && status == MR_OK; i++) {
        status = add_headers(file, &file->jobs[i]);
        if (status == MR_OK)
            status = name_job(file, &file->jobs[i], options, route);
        if (status != MR_OK)
            mr_err_set(err, status, "no memory for the jobs of %s", path);
    }
    if (status != MR_OK)
        mr_input_file_close(file);
    return status;
}

void mr_input_file_close(struct mr_input_file *file)
{
    mr_arena_fini(&file->arena);
    free(file->jobs);
    free(file->bytes);
    *file = (struct mr_input_file){0};
}
