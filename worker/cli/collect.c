/* `millrace collect FILE`: the results of a submitted file, one line a job, in the file's order, as the results topic holds them
 * (for an OpenAI Batch file: its output format). One thread.
 *
 * Owns the file's jobs, an index of them by name, and one result line a job.
 * 1 A result belongs to a line by its key, tenant/id: both are made of the file's bytes alone, so collect needs no memory of submit.
 * 2 The first result of a name counts; what comes later is a repeat of a forgotten id.
 * 3 Every line of the file gives one line: a missing result an error object, never a gap.
 * Rejected: following the streams (a result holds all that is wanted, in the form that is wanted). */
#include "adapters/codec/codec.h"
#include "worker/cli/client.h"
#include "worker/cli/input_file.h"
#include "worker/cli/outcome.h"
#include "worker/encoding.h"

#include <stdio.h>
#include <stdlib.h>

#define COLLECT_POLL_NS (MR_NS_PER_S / 10)

struct collect {
    struct mr_cli *cli;
    const char *file_name, *batch, *tier;
    bool wait;
    double timeout_s;
    struct mr_client client;
    struct mr_input_file file;
    size_t *by_name;           /* [file.n] indices of jobs, by name */
    struct mr_str *results;    /* [file.n] lines of JSON in arena; n 0: none yet */
    struct mr_arena arena;
    size_t n_found;
    int32_t catching_up;
    int64_t news_ns;
};

static const struct mr_input_job *collect_sorting; /* qsort has no argument for it */

static int compare_names(struct mr_str a, struct mr_str b)
{
    int order = memcmp(a.p ? a.p : "", b.p ? b.p : "", a.n < b.n ? a.n : b.n);
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

static int compare_indices(const void *a, const void *b)
{
    return compare_names(collect_sorting[*(const size_t *)a].name, collect_sorting[*(const size_t *)b].name);
}

static size_t collect_first(const struct collect *c, struct mr_str name)
{
    size_t low = 0, high = c->file.n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_names(c->file.jobs[c->by_name[middle]].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The record's value as one line of JSON. */
static struct mr_str collect_line(struct collect *c, const struct mr_record *record)
{
    enum mr_encoding encoding;
    struct mr_value value;
    struct mr_buf line = {0};
    struct mr_arena scratch;
    struct mr_str kept = {0};
    if (!mr_encoding_of(record, &encoding) || encoding == MR_ENCODING_JSON)
        return mr_arena_str(&c->arena, record->value);
    mr_arena_init(&scratch, 0);
    if (mr_codec_msgpack.decode(record->value, NULL, &scratch, &value, NULL) == MR_CODEC_OK) {
        mr_codec_json.encode(&value, &line);
        kept = mr_arena_str(&c->arena, mr_buf_view(&line));
    }
    mr_buf_fini(&line);
    mr_arena_fini(&scratch);
    return kept;
}

/* The first result of a name is the one that counts: a second is a repeat of a forgotten id. */
static void collect_take(struct collect *c, const struct mr_record *record)
{
    struct mr_str line = {0};
    if (!record->value.p)
        return;
    for (size_t i = collect_first(c, record->key); i < c->file.n && mr_str_equal(c->file.jobs[c->by_name[i]].name, record->key); i++) {
        struct mr_str *result = &c->results[c->by_name[i]];
        if (result->n || !record->key.n)
            continue;
        if (!line.n)
            line = collect_line(c, record);
        *result = line;
        c->n_found += line.n > 0;
        struct mr_clock clock = mr_clock_system();
        c->news_ns = mr_clock_ns(&clock);
    }
}

static bool collect_goes_on(const struct collect *c)
{
    struct mr_clock clock = mr_clock_system();
    bool heard = c->timeout_s <= 0 || mr_clock_ns(&clock) - c->news_ns < (int64_t)(c->timeout_s * 1e9);
    return c->n_found < c->file.n && !c->client.broken && (c->catching_up > 0 || (c->wait && heard));
}

static int collect_follow(struct collect *c)
{
    const struct mr_options *options = c->client.options;
    struct mr_clock clock = mr_clock_system();
    c->news_ns = mr_clock_ns(&clock);
    for (int32_t i = 0; i < options->n_routes; i++) {
        bool seen = false;
        for (int32_t k = 0; k < i; k++)
            seen |= strcmp(options->routes[k].results, options->routes[i].results) == 0;
        c->catching_up += seen ? 0 : mr_client_follow(&c->client, options->routes[i].results, -1, -1);
    }
    if (c->catching_up == 0)
        return mr_cli_fail("no results topic of the configuration exists");
    while (collect_goes_on(c)) {
        struct mr_log_event event;
        if (!mr_client_next(&c->client, COLLECT_POLL_NS, &event))
            continue;
        if (event.kind == MR_LOG_FOLLOWED)
            collect_take(c, &event.record);
        c->catching_up -= event.kind == MR_LOG_CAUGHT_UP;
    }
    return c->client.broken ? MR_EXIT_FAILED : MR_EXIT_DONE;
}

/* What stands for a result that is not there, in the form that the line's results have. */
static void collect_print_missing(struct collect *c, const struct mr_input_job *job)
{
    struct mr_value line = mr_value_map(&c->arena, 4), error = mr_value_map(&c->arena, 2);
    mr_value_set(&error, "code", mr_value_string(MR_STR("no_result")));
    mr_value_set(&error, "message", mr_value_string(MR_STR("the results topic holds no result of this job")));
    mr_value_set(&line, "id", job->name.n ? mr_value_string(job->name) : mr_value_null());
    if (job->batch_line) {
        mr_value_set(&line, "custom_id", mr_value_string(job->custom_id));
        mr_value_set(&line, "response", mr_value_null());
    }
    mr_value_set(&line, "error", error);
    mr_outcome_print_json(&line);
}

static int collect_print(struct collect *c)
{
    for (size_t i = 0; i < c->file.n; i++) {
        if (!c->results[i].n) {
            collect_print_missing(c, &c->file.jobs[i]);
            continue;
        }
        fwrite(c->results[i].p, 1, c->results[i].n, stdout);
        putchar('\n');
    }
    fprintf(stderr, "millrace: batch %s: %zu of %zu results\n", c->file.batch, c->n_found, c->file.n);
    return c->n_found == c->file.n ? MR_EXIT_DONE : MR_EXIT_FAILED;
}

static int collect_run(struct collect *c)
{
    struct mr_err err;
    const struct mr_route *route = mr_client_route(c->client.options, c->tier);
    if (!route)
        return MR_EXIT_USAGE;
    if (mr_input_file_open(&c->file, c->file_name, c->batch, c->client.options, route, &err) != MR_OK)
        return mr_cli_fail("%s", err.text);
    c->by_name = calloc(c->file.n + 1, sizeof *c->by_name);
    c->results = calloc(c->file.n + 1, sizeof *c->results);
    if (!c->by_name || !c->results)
        return mr_cli_fail("out of memory");
    for (size_t i = 0; i < c->file.n; i++)
        c->by_name[i] = i;
    collect_sorting = c->file.jobs;
    qsort(c->by_name, c->file.n, sizeof *c->by_name, compare_indices);
    int code = collect_follow(c);
    return code == MR_EXIT_DONE ? collect_print(c) : code;
}

int mr_verb_collect(struct mr_cli *cli, int argc, char **argv)
{
    struct collect c = {.cli = cli};
    const struct mr_flag flags[] = {
        {"batch", "ID", "the batch's name, as submit was given it (default: from the file's content)", MR_FLAG_TEXT, &c.batch, NULL},
        {"tier", "T", "the tier or route that the file was sent to", MR_FLAG_TEXT, &c.tier, NULL},
        {"wait", NULL, "wait for results that are not there yet", MR_FLAG_BOOL, &c.wait, NULL},
        {"timeout", "S", "waiting, give up after so many seconds without a new result", MR_FLAG_NUMBER, &c.timeout_s, NULL},
    };
    const struct mr_flags_usage usage = {
        .synopsis = "collect FILE",
        .about = "Writes the results of a file that `submit --file` sent: a line a job, in the file's order; for an OpenAI Batch file in\n"
                 "the Batch output format. Exit code 1: some are missing (an error line stands in their place).",
        .flags = flags,
        .n_flags = sizeof flags / sizeof *flags,
        .min_args = 1,
        .max_args = 1,
    };
    struct mr_args args;
    if (!mr_flags_parse(cli, &usage, argc, argv, &args))
        return args.exit_code;
    c.file_name = args.items[0];
    int code = mr_client_open(&c.client, cli);
    if (code != MR_EXIT_DONE)
        return code;
    code = collect_run(&c);
    mr_client_close(&c.client);
    mr_input_file_close(&c.file);
    mr_arena_fini(&c.arena);
    free(c.by_name);
    free(c.results);
    return code;
}
