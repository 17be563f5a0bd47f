/* What topics the routes need and what they must keep.
 *
 * The rules in words: an input record must not outlive the stream that says it is finished (retention of jobs at most a day less
 * than the stream's), nor die before its longest deadline; a stream is never compacted; clocks are the broker's; segments are
 * short, so that retention acts within a day; a dead letter holds any job with its history; a cancel lives as long as a stream. */
#include "worker/topic_plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define DAY_MS INT64_C(86400000)
#define STREAM_MS (8 * DAY_MS)
#define RESULTS_MS (7 * DAY_MS)
#define DEAD_MS (30 * DAY_MS)
#define HEADROOM_BYTES INT64_C(65536) /* headers and history around a value */
#define BROKER_BYTES INT64_C(1048588) /* Kafka's default limit of a message */

const char *mr_topic_role_name(enum mr_topic_role role)
{
    static const char *const names[] = {"jobs", "stream", "results", "dead", "control", "audit"};
    return names[role];
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* How long a stream is kept: a day longer than jobs, whose longest deadline fits in. */
static int64_t stream_ms(const struct mr_options *options) { return larger(STREAM_MS, options->limits.deadline_ms + DAY_MS); }

static int64_t message_bytes(const struct mr_options *options, enum mr_topic_role role)
{
    int64_t record = options->limits.record_bytes + HEADROOM_BYTES, result = options->result.max_bytes + HEADROOM_BYTES;
    return larger(BROKER_BYTES, role == MR_TOPIC_JOBS ? record : role == MR_TOPIC_DEAD ? record + HEADROOM_BYTES : result);
}

static void set(struct mr_topic *topic, const char *key, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void set(struct mr_topic *topic, const char *key, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    snprintf(topic->setting[topic->n_settings].key, sizeof topic->setting[0].key, "%s", key);
    vsnprintf(topic->setting[topic->n_settings].value, sizeof topic->setting[0].value, format, args);
    va_end(args);
    topic->n_settings++;
}

static void fill(const struct mr_options *options, struct mr_topic_need *need)
{
    struct mr_topic *topic = &need->topic;
    int64_t retention[] = {[MR_TOPIC_JOBS] = stream_ms(options) - DAY_MS, [MR_TOPIC_STREAM] = stream_ms(options), [MR_TOPIC_RESULTS] = RESULTS_MS,
                           [MR_TOPIC_DEAD] = DEAD_MS, [MR_TOPIC_CONTROL] = stream_ms(options), [MR_TOPIC_AUDIT] = DEAD_MS};
    topic->partitions = need->role == MR_TOPIC_CONTROL ? 1 : (int32_t)options->kafka.partitions;
    topic->replication = (int32_t)options->kafka.replication;
    set(topic, "cleanup.policy", need->role == MR_TOPIC_RESULTS ? "compact,delete" : "delete");
    set(topic, "retention.ms", "%lld", (long long)retention[need->role]);
    set(topic, "max.message.bytes", "%lld", (long long)message_bytes(options, need->role));
    if (need->role == MR_TOPIC_JOBS || need->role == MR_TOPIC_STREAM) {
        set(topic, "segment.ms", "%lld", (long long)DAY_MS);
        set(topic, "message.timestamp.type", "LogAppendTime");
    }
    if (topic->replication >= 3)
        set(topic, "min.insync.replicas", "2");
}

static void add(const struct mr_options *options, struct mr_topic_need *needs, size_t *n, const char *name, enum mr_topic_role role)
{
    for (size_t i = 0; i < *n; i++)
        if (strcmp(needs[i].topic.name, name) == 0)
            return;
    if (name[0] == '\0')
        return;
    struct mr_topic_need *need = &needs[(*n)++];
    need->role = role;
    snprintf(need->topic.name, sizeof need->topic.name, "%s", name);
    fill(options, need);
}

struct mr_topic_need *mr_topic_plan(const struct mr_options *options, struct mr_arena *arena, size_t *n)
{
    struct mr_topic_need *needs = mr_arena_array(arena, MR_TOPIC_NEEDS_MAX, sizeof *needs);
    *n = 0;
    for (int32_t i = 0; needs && i < options->n_routes; i++) {
        const struct mr_route *route = &options->routes[i];
        add(options, needs, n, route->stream, MR_TOPIC_STREAM); /* streams first: a stream has at least its input's partitions at any time */
        add(options, needs, n, route->stream_parked, MR_TOPIC_STREAM);
        add(options, needs, n, route->results, MR_TOPIC_RESULTS);
        add(options, needs, n, route->dead, MR_TOPIC_DEAD);
        add(options, needs, n, route->control, MR_TOPIC_CONTROL);
        add(options, needs, n, route->jobs, MR_TOPIC_JOBS);
        add(options, needs, n, route->parked, MR_TOPIC_JOBS);
    }
    char audit[MR_TOPIC_BYTES_MAX + 1] = "";
    if (options->kafka.audit[0])
        snprintf(audit, sizeof audit, "%s%s", options->kafka.prefix, options->kafka.audit);
    if (needs)
        add(options, needs, n, audit, MR_TOPIC_AUDIT);
    return needs;
}

/* ---- judging ---- */

struct judge {
    const struct mr_topic *is;
    struct mr_topic_faults *faults;
};

static void fault(struct judge *judge, const char *setting, const char *is, const char *format, ...) __attribute__((format(printf, 4, 5)));
static void fault(struct judge *judge, const char *setting, const char *is, const char *format, ...)
{
    if (judge->faults->n == MR_TOPIC_FAULTS_MAX)
        return;
    struct mr_topic_fault *f = &judge->faults->list[judge->faults->n++];
    va_list args;
    va_start(args, format);
    snprintf(f->topic, sizeof f->topic, "%s", judge->is->name);
    snprintf(f->setting, sizeof f->setting, "%s", setting);
    snprintf(f->is, sizeof f->is, "%s", is);
    vsnprintf(f->wanted, sizeof f->wanted, format, args);
    va_end(args);
}

static const char *setting_of(const struct mr_topic *topic, const char *key)
{
    for (int32_t i = 0; i < topic->n_settings; i++)
        if (strcmp(topic->setting[i].key, key) == 0)
            return topic->setting[i].value;
    return NULL;
}

/* The number under key lies in [least, most]; -1 in the log's settings is "without end". */
static void judge_number(struct judge *judge, const char *key, int64_t least, int64_t most)
{
    const char *text = setting_of(judge->is, key);
    if (!text)
        return;
    int64_t value = strtoll(text, NULL, 10);
    if (value < 0)
        value = INT64_MAX;
    if (value < least)
        fault(judge, key, text, "at least %lld", (long long)least);
    else if (value > most)
        fault(judge, key, text, "at most %lld", (long long)most);
}

static void judge_word(struct judge *judge, const char *key, const char *word, bool must)
{
    const char *text = setting_of(judge->is, key);
    if (text && (strstr(text, word) != NULL) != must)
        fault(judge, key, text, must ? "%s" : "not %s", word);
}

void mr_topic_judge(const struct mr_options *options, const struct mr_topic_need *need, const struct mr_topic *is, bool only_partitions,
                    struct mr_topic_faults *faults)
{
    struct judge judge = {is, faults};
    char count[16];
    if (is->partitions < 0) {
        fault(&judge, "topic", "missing", "`millrace topics create` makes it");
        return;
    }
    snprintf(count, sizeof count, "%d", is->partitions);
    if (need->role == MR_TOPIC_CONTROL && is->partitions != 1)
        fault(&judge, "partitions", count, "1");
    if (only_partitions)
        return;
    int64_t longest = options->limits.deadline_ms, stream = stream_ms(options);
    judge_number(&judge, "max.message.bytes", message_bytes(options, need->role), INT64_MAX);
    if (need->role != MR_TOPIC_RESULTS)
        judge_word(&judge, "cleanup.policy", "compact", false);
    if (is->replication >= 3)
        judge_number(&judge, "min.insync.replicas", 2, INT64_MAX);
    if (need->role == MR_TOPIC_STREAM || need->role == MR_TOPIC_CONTROL)
        judge_number(&judge, "retention.ms", stream, INT64_MAX);
    if (need->role == MR_TOPIC_JOBS)
        judge_number(&judge, "retention.ms", longest, stream - DAY_MS);
    if (need->role == MR_TOPIC_JOBS || need->role == MR_TOPIC_STREAM) {
        judge_number(&judge, "segment.ms", 0, DAY_MS);
        judge_number(&judge, "retention.bytes", INT64_MAX, INT64_MAX);
        judge_word(&judge, "message.timestamp.type", "LogAppendTime", true);
    }
}

static void judge_pair(const char *input, int32_t n_input, const char *stream, int32_t n_stream, struct mr_topic_faults *faults)
{
    struct mr_topic topic = {0};
    struct judge judge = {&topic, faults};
    char is[16];
    if (n_input < 0 || n_stream < 0 || n_stream >= n_input)
        return;
    snprintf(topic.name, sizeof topic.name, "%s", stream);
    snprintf(is, sizeof is, "%d", n_stream);
    fault(&judge, "partitions", is, "at least %d, as many as %s has", n_input, input);
}

void mr_topic_judge_counts(const struct mr_route *route, const struct mr_topic_counts *counts, struct mr_topic_faults *faults)
{
    judge_pair(route->jobs, counts->jobs, route->stream, counts->stream, faults);
    if (route->parked[0] == '\0')
        return;
    judge_pair(route->parked, counts->parked, route->stream_parked, counts->stream_parked, faults);
    if (counts->jobs >= 0 && counts->parked >= 0 && counts->parked < counts->jobs)
        judge_pair(route->jobs, counts->jobs, route->parked, counts->parked, faults); /* a job is parked under its own partition's number */
}
