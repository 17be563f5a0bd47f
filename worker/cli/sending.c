/* Owns the way of submitted jobs.
 *
 * Invariants
 * 1 Before the first append every partition of the route's stream topics is followed from its end, so that no record of a job is
 *   missed, and none older is read.
 * 2 A job is recognised by where its record lies (partition, offset, timestamp): another job of the same name is not it. Only
 *   after MOVED it is recognised by its name, on the parked topic's stream.
 * 3 At most as many records are under way as the log takes (MR_ERR_BUSY): then reports are taken first.
 *
 * Rejected: waiting on the results topic (a duplicate, a conflict and an expired log have no result). */
#include "worker/cli/sending.h"

#include "worker/cli/outcome.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SENDING_SHOW_NS (MR_NS_PER_S / 5)
#define SENDING_POLL_NS (MR_NS_PER_S / 10)

static int64_t clock_ns(void)
{
    struct mr_clock clock = mr_clock_system();
    return mr_clock_ns(&clock);
}

static int compare_str(struct mr_str a, struct mr_str b)
{
    int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

static int compare_jobs(const void *a, const void *b)
{
    return compare_str((*(struct mr_sending_job *const *)a)->name, (*(struct mr_sending_job *const *)b)->name);
}

/* The first of the jobs of that name in by_name; n_named: none. */
static size_t first_named(const struct mr_sending *s, struct mr_str name)
{
    size_t low = 0, high = s->n_named;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_str(s->by_name[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->n_named && mr_str_equal(s->by_name[low]->name, name) ? low : s->n_named;
}

/* Names that hold a position begin, behind the tenant, with the topic's. */
static bool wants(void *self, struct mr_str name)
{
    const struct mr_sending *s = self;
    const char *slash = name.n ? memchr(name.p, '/', name.n) : NULL;
    size_t n = strlen(s->route->jobs), behind = slash ? (size_t)(slash - name.p) + 1 : name.n;
    return first_named(s, name) < s->n_named || (name.n > behind + n && memcmp(name.p + behind, s->route->jobs, n) == 0);
}

static struct mr_sending_job *job_of(struct mr_sending *s, const struct mr_follow_run *run)
{
    bool parked = mr_str_is(run->topic, s->route->stream_parked);
    for (size_t i = first_named(s, run->name); i < s->n_named && mr_str_equal(s->by_name[i]->name, run->name); i++) {
        struct mr_sending_job *job = s->by_name[i];
        if (parked ? job->state == MR_SENDING_MOVED
                   : job->state == MR_SENDING_APPENDED && job->partition == run->partition && job->src.offset == run->src.offset)
            return job;
    }
    for (size_t i = 0; i < s->n && !parked; i++) /* the few without a name */
        if (!s->jobs[i].name.n && s->jobs[i].state == MR_SENDING_APPENDED && s->jobs[i].partition == run->partition &&
            s->jobs[i].src.offset == run->src.offset)
            return &s->jobs[i];
    return NULL;
}

static void show_progress(struct mr_sending *s, bool last)
{
    enum { WIDTH = 30 };
    int64_t now_ns = clock_ns();
    if (!s->progress || (!last && now_ns - s->shown_ns < SENDING_SHOW_NS))
        return;
    s->shown_ns = now_ns;
    size_t done = s->wait ? s->n_ended : s->n_reported;
    int filled = (int)(WIDTH * done / s->n);
    fprintf(stderr, "\r\033[K[%.*s%*s] %zu of %zu %s, %zu failed%s", filled, "##############################", WIDTH - filled, "", done, s->n,
            s->wait ? "ended" : "sent", s->n_failed, last ? "\n" : "");
}

static void end_job(struct mr_sending *s, struct mr_sending_job *job, struct mr_follow_run *run)
{
    if (run->fold.end == MR_FOLD_MOVED) {
        job->state = MR_SENDING_MOVED;
        return;
    }
    job->state = MR_SENDING_ENDED;
    s->n_ended++;
    s->n_failed += run->fold.end != MR_FOLD_DONE;
    if (s->cli->json && !s->stream) {
        struct mr_value value = mr_outcome_value(run, true, &s->cli->arena);
        mr_outcome_print_json(&value);
    } else if (!s->cli->json && s->n == 1) {
        if (!s->stream)
            mr_outcome_print_text(mr_buf_view(&run->text));
        putchar('\n');
        fflush(stdout);
        mr_outcome_say(run);
    } else if (!s->cli->json && run->fold.end != MR_FOLD_DONE) {
        mr_outcome_say(run);
    }
    mr_buf_fini(&run->text);
}

static void take_stream(struct mr_sending *s, const struct mr_record *record)
{
    struct mr_follow_run *run;
    struct mr_stream_record decoded;
    if (mr_follow_add(&s->follow, record, &run, &decoded) != MR_FOLLOW_ACCEPTED)
        return;
    s->news_ns = clock_ns();
    struct mr_sending_job *job = job_of(s, run);
    if (s->stream && s->cli->json) {
        struct mr_buf line = {0};
        if (mr_stream_record_encode(&decoded, MR_ENCODING_JSON, &line))
            printf("%.*s\n", (int)line.n, line.p);
        fflush(stdout);
        mr_buf_fini(&line);
    } else if (s->stream && job) {
        mr_outcome_print_text(decoded.text);
    }
    if (run->fold.closed && job)
        end_job(s, job, run);
}

static void take_report(struct mr_sending *s, const struct mr_log_event *event)
{
    struct mr_sending_job *job = &s->jobs[event->tag - 1];
    s->n_reported++;
    s->news_ns = clock_ns();
    if (event->status != MR_OK) {
        job->state = MR_SENDING_LOST;
        s->n_failed++;
        s->n_ended++;
        mr_cli_fail("job %llu of %zu was not appended: %.*s", (unsigned long long)event->tag, s->n, (int)event->text.n, event->text.p);
        return;
    }
    job->state = MR_SENDING_APPENDED;
    job->partition = event->record.partition;
    job->src = (struct mr_src){event->offset, event->timestamp_ms};
    if (!s->wait && s->cli->json)
        printf("{\"job\":\"%.*s\",\"topic\":\"%s\",\"partition\":%d,\"offset\":%lld,\"timestamp_ms\":%lld}\n", (int)job->name.n, job->name.p,
               s->route->jobs, job->partition, (long long)job->src.offset, (long long)job->src.timestamp_ms);
    else if (!s->wait && s->n == 1)
        printf("%.*s\n", (int)job->name.n, job->name.p);
    struct mr_src lies = {job->src.offset, -1}; /* the embedded broker reports another time than it keeps */
    struct mr_follow_run *run = mr_follow_find(&s->follow, mr_str_from(s->route->stream), job->partition, lies);
    if (run && s->stream && !s->cli->json)
        mr_outcome_print_text(mr_buf_view(&run->text)); /* what came before the report was nobody's yet */
    if (run && run->fold.closed)
        end_job(s, job, run);
}

static void take_event(struct mr_sending *s, const struct mr_log_event *event)
{
    if (event->kind == MR_LOG_FOLLOWED)
        take_stream(s, &event->record);
    else if (event->kind == MR_LOG_CAUGHT_UP)
        s->catching_up--;
    else if (event->kind == MR_LOG_DELIVERED)
        take_report(s, event);
}

/* Appends until the log is busy or all is appended. */
static enum mr_status produce(struct mr_sending *s)
{
    enum mr_status status = MR_OK;
    while (s->n_next < s->n && status == MR_OK) {
        const struct mr_sending_job *job = &s->jobs[s->n_next];
        struct mr_record record = {.topic = mr_str_from(s->route->jobs), .partition = -1, .key = job->key.n ? job->key : job->name,
                                   .value = job->value, .headers = job->headers, .n_headers = job->n_headers};
        status = mr_client_produce(&s->client, &record, s->n_next + 1);
        s->n_next += status == MR_OK;
    }
    return status == MR_ERR_BUSY ? MR_OK : status;
}

static bool timed_out(const struct mr_sending *s)
{
    return s->timeout_s > 0 && clock_ns() - s->news_ns > (int64_t)(s->timeout_s * 1e9);
}

static int send_all(struct mr_sending *s)
{
    s->news_ns = clock_ns();
    while (s->n_reported < s->n || (s->wait && s->n_ended < s->n)) {
        struct mr_log_event event;
        if (s->catching_up == 0) {
            enum mr_status status = produce(s);
            if (status != MR_OK)
                return mr_cli_fail(status == MR_ERR_NOT_FOUND ? "there is no topic %s that this user may see" : "%s: the job cannot be appended",
                                   s->route->jobs);
        }
        if (mr_client_next(&s->client, SENDING_POLL_NS, &event))
            take_event(s, &event);
        if (s->client.broken)
            return MR_EXIT_FAILED;
        if (timed_out(s))
            return mr_cli_fail("%zu of %zu jobs have not ended, and nothing was heard for %g s", s->n - s->n_ended, s->n, s->timeout_s);
        if (s->follow.out_of_memory)
            return mr_cli_fail("out of memory");
        show_progress(s, false);
    }
    return s->n_failed ? MR_EXIT_FAILED : MR_EXIT_DONE;
}

int mr_sending_run(struct mr_sending *s)
{
    s->by_name = calloc(s->n ? s->n : 1, sizeof *s->by_name);
    if (!s->by_name)
        return mr_cli_fail("out of memory");
    for (size_t i = 0; i < s->n; i++)
        if (s->jobs[i].name.n)
            s->by_name[s->n_named++] = &s->jobs[i];
    qsort(s->by_name, s->n_named, sizeof *s->by_name, compare_jobs);
    mr_follow_init(&s->follow, wants, s);
    s->progress = s->n > 1 && isatty(STDERR_FILENO) == 1;
    int code = MR_EXIT_DONE;
    if (s->wait) {
        s->catching_up = mr_client_follow(&s->client, s->route->stream, -1, MR_LOG_FROM_END);
        if (s->catching_up == 0)
            code = mr_cli_fail("there is no topic %s that this user may see", s->route->stream);
        else if (s->route->stream_parked[0])
            s->catching_up += mr_client_follow(&s->client, s->route->stream_parked, -1, MR_LOG_FROM_END);
    }
    if (code == MR_EXIT_DONE)
        code = send_all(s);
    if (s->n_ended || s->n_reported)
        show_progress(s, true);
    mr_follow_fini(&s->follow);
    free(s->by_name);
    return code;
}
