/* The three formats are read by scanning for their keys: the files are what others published, in one fixed spelling each.
 *
 * 1. A line that does not have its keys is an error with its number, never skipped. 2. Times are from the first request on, in
 * order. Owns what it returns. Rejected: a JSON parser, which this room may not include and these files do not need. */
#include "scheduler/sim/trace.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sim_trace_free(struct sim_trace *trace)
{
    free(trace->jobs);
    free(trace->blocks);
    *trace = (struct sim_trace){0};
}

static struct sim_trace_job *job_add(struct sim_trace *trace)
{
    if (trace->n == trace->capacity) {
        int32_t capacity = trace->capacity ? 2 * trace->capacity : 1024;
        void *grown = realloc(trace->jobs, (size_t)capacity * sizeof *trace->jobs);
        if (!grown)
            return NULL;
        trace->jobs = grown;
        trace->capacity = capacity;
    }
    trace->jobs[trace->n] = (struct sim_trace_job){.first_block = trace->n_blocks};
    return &trace->jobs[trace->n++];
}

static bool block_add(struct sim_trace *trace, uint32_t block)
{
    if (trace->n_blocks == trace->blocks_capacity) {
        int32_t capacity = trace->blocks_capacity ? 2 * trace->blocks_capacity : 4096;
        void *grown = realloc(trace->blocks, (size_t)capacity * sizeof *trace->blocks);
        if (!grown)
            return false;
        trace->blocks = grown;
        trace->blocks_capacity = capacity;
    }
    trace->blocks[trace->n_blocks++] = block;
    return true;
}

/* The number behind "key": before end; false: not there. */
static bool number_of(const char *from, const char *end, const char *key, double *out)
{
    const char *at = strstr(from, key);
    if (!at || at >= end)
        return false;
    *out = strtod(at + strlen(key), NULL);
    return true;
}

static int64_t azure_ns(const char *line)
{
    int day = 0, hour = 0, minute = 0;
    double second = 0;
    if (sscanf(line, "%*d-%*d-%d %d:%d:%lf", &day, &hour, &minute, &second) != 4)
        return -1;
    return (((int64_t)day * 24 + hour) * 60 + minute) * INT64_C(60000000000) + (int64_t)(second * 1e9);
}

static enum mr_status azure_line(struct sim_trace *trace, const char *line, int number, struct mr_err *err)
{
    const char *comma = strchr(line, ',');
    int prompt = 0, output = 0;
    int64_t at = azure_ns(line);
    if (at < 0 || !comma || sscanf(comma, ",%d,%d", &prompt, &output) != 2)
        return mr_err_set(err, MR_ERR_INVALID, "trace line %d: not time,context,generated", number);
    struct sim_trace_job *job = job_add(trace);
    if (!job)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the trace");
    *job = (struct sim_trace_job){.at_ns = at, .prompt = prompt, .output = output};
    return MR_OK;
}

static enum mr_status mooncake_line(struct sim_trace *trace, const char *line, const char *end, int number, struct mr_err *err)
{
    double at, prompt, output;
    const char *ids = strstr(line, "\"hash_ids\": [");
    if (!number_of(line, end, "\"timestamp\": ", &at) || !number_of(line, end, "\"input_length\": ", &prompt) ||
        !number_of(line, end, "\"output_length\": ", &output) || !ids || ids >= end)
        return mr_err_set(err, MR_ERR_INVALID, "trace line %d: a key of the Mooncake format is missing", number);
    struct sim_trace_job *job = job_add(trace);
    if (!job)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the trace");
    job->at_ns = (int64_t)(at * 1e6);
    job->prompt = (int32_t)prompt;
    job->output = (int32_t)output;
    for (const char *p = ids + 13;; p++) {
        char *stop;
        unsigned long id = strtoul(p, &stop, 10);
        if (stop == p)
            return MR_OK;
        if (!block_add(trace, (uint32_t)id))
            return mr_err_set(err, MR_ERR_NOMEM, "no memory for the trace");
        job->n_blocks++;
        p = stop;
        if (*p != ',')
            return MR_OK;
    }
}

static int compare_jobs(const void *a, const void *b)
{
    const struct sim_trace_job *x = a, *y = b;
    return x->at_ns < y->at_ns ? -1 : x->at_ns > y->at_ns;
}

static enum mr_status vtc_parse(struct sim_trace *trace, const char *text, struct mr_err *err)
{
    const char *key = "\"adapter_dir\": \"", *at = text;
    for (int number = 1; (at = strstr(at, key)); number++) {
        const char *name = at + strlen(key), *quote = strchr(name, '"'), *end = quote ? strchr(quote, '}') : NULL;
        double prompt, output, when;
        if (!end || !number_of(quote, end, "\"prompt_len\": ", &prompt) || !number_of(quote, end, "\"output_len\": ", &output) ||
            !number_of(quote, end, "\"req_time\": ", &when))
            return mr_err_set(err, MR_ERR_INVALID, "trace request %d: a key of the VTC format is missing", number);
        const char *dash = quote;
        while (dash > name && dash[-1] >= '0' && dash[-1] <= '9')
            dash--;
        struct sim_trace_job *job = job_add(trace);
        if (!job)
            return mr_err_set(err, MR_ERR_NOMEM, "no memory for the trace");
        *job = (struct sim_trace_job){.at_ns = (int64_t)(when * 1e9), .prompt = (int32_t)prompt, .output = (int32_t)output, .client = atoi(dash)};
        trace->n_clients = job->client >= trace->n_clients ? job->client + 1 : trace->n_clients;
        at = end;
    }
    return MR_OK;
}

enum mr_status sim_trace_parse(const char *text, struct sim_trace *out, struct mr_err *err)
{
    enum mr_status status = MR_OK;
    *out = (struct sim_trace){.n_clients = 1};
    if (strstr(text, "\"adapter_dir\"")) {
        status = vtc_parse(out, text, err);
    } else {
        bool azure = strncmp(text, "TIMESTAMP,", 10) == 0;
        int number = 0;
        for (const char *line = text, *end; status == MR_OK && *line; line = *end ? end + 1 : end) {
            end = line + strcspn(line, "\n");
            if ((++number == 1 && azure) || end - line < 2)
                continue;
            status = azure ? azure_line(out, line, number, err) : mooncake_line(out, line, end, number, err);
        }
    }
    if (status == MR_OK && out->n == 0)
        status = mr_err_set(err, MR_ERR_INVALID, "the trace has no request");
    for (int32_t i = out->n; i-- > 0;) /* from the start of the trace */
        out->jobs[i].at_ns -= out->jobs[0].at_ns;
    for (int32_t i = 0; i < out->n; i++) { /* a request of nothing still costs a token each way */
        out->jobs[i].prompt += out->jobs[i].prompt < 1;
        out->jobs[i].output += out->jobs[i].output < 1;
    }
    if (status == MR_OK)
        qsort(out->jobs, (size_t)out->n, sizeof *out->jobs, compare_jobs);
    else
        sim_trace_free(out);
    return status;
}

enum mr_status sim_trace_read(const char *path, struct sim_trace *out, struct mr_err *err)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return mr_err_set(err, MR_ERR_IO, "%s: %s", path, strerror(errno));
    char *text = NULL;
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    enum mr_status status = MR_ERR_IO;
    if (size < 0 || fseek(file, 0, SEEK_SET) != 0)
        mr_err_set(err, MR_ERR_IO, "%s cannot be read whole", path);
    else if (!(text = malloc((size_t)size + 1)))
        status = mr_err_set(err, MR_ERR_NOMEM, "no memory for %s", path);
    else if (fread(text, 1, (size_t)size, file) != (size_t)size)
        mr_err_set(err, MR_ERR_IO, "%s ends early", path);
    else {
        text[size] = 0;
        status = sim_trace_parse(text, out, err);
    }
    free(text);
    fclose(file);
    return status;
}
