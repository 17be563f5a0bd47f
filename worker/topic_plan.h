/* The topics that a configuration needs, and what must be true of them so that the promise holds (wire.md, Routes).
 * `topics plan|create|check` and the embedded broker use the plan; a worker judges its topics before it starts. Pure; any thread. */
#ifndef MR_WORKER_TOPIC_PLAN_H
#define MR_WORKER_TOPIC_PLAN_H

#include "worker/options.h"
#include "worker/outside.h"

enum mr_topic_role { MR_TOPIC_JOBS, MR_TOPIC_STREAM, MR_TOPIC_RESULTS, MR_TOPIC_DEAD, MR_TOPIC_CONTROL, MR_TOPIC_AUDIT };

/* A topic to be made, with the settings it should have. */
struct mr_topic_need {
    enum mr_topic_role role; /* parked topics are JOBS */
    struct mr_topic topic;
};

/* What one topic breaks. */
struct mr_topic_fault {
    char topic[250], setting[64], is[80], wanted[120];
};

enum { MR_TOPIC_NEEDS_MAX = 7 * MR_ROUTES_MAX + 1, MR_TOPIC_FAULTS_MAX = 256 };

struct mr_topic_faults {
    struct mr_topic_fault list[MR_TOPIC_FAULTS_MAX]; /* past it they are not told */
    size_t n;
};

const char *mr_topic_role_name(enum mr_topic_role role); /* "jobs", ... */

/* Every topic of the routes once, in arena; NULL: no memory. */
struct mr_topic_need *mr_topic_plan(const struct mr_options *options, struct mr_arena *arena, size_t *n);

/* Judges is (as the broker describes it; partitions -1: it is not there) for need, and appends what it breaks to faults.
 * only_partitions: the embedded broker, which has no settings. A setting that the broker does not tell is not judged. */
void mr_topic_judge(const struct mr_options *options, const struct mr_topic_need *need, const struct mr_topic *is, bool only_partitions,
                    struct mr_topic_faults *faults);
/* Judges the numbers of partitions of one route's topics against each other; a count of -1 is a topic that is not there. */
struct mr_topic_counts {
    int32_t jobs, parked, stream, stream_parked;
};
void mr_topic_judge_counts(const struct mr_route *route, const struct mr_topic_counts *counts, struct mr_topic_faults *faults);

#endif
