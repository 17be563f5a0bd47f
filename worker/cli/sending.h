/* Jobs on their way from `submit`: appended, and, where somebody waits, followed to their end. One thread. */
#ifndef MR_WORKER_CLI_SENDING_H
#define MR_WORKER_CLI_SENDING_H

#include "worker/cli/client.h"
#include "worker/cli/follow.h"

enum mr_sending_state { MR_SENDING_NEW, MR_SENDING_APPENDED, MR_SENDING_MOVED, MR_SENDING_ENDED, MR_SENDING_LOST };

struct mr_sending_job {
    struct mr_str value;                 /* the record's */
    const struct mr_header *headers;     /* [n_headers] */
    int32_t n_headers;
    struct mr_str key, name;             /* of the record; tenant/id, empty when it depends on the position */
    enum mr_sending_state state;
    int32_t partition;                   /* where it lies, once APPENDED */
    struct mr_src src;
};

struct mr_sending {
    struct mr_cli *cli;
    struct mr_client client;             /* opened */
    const struct mr_route *route;
    struct mr_sending_job *jobs;         /* [n] */
    size_t n;
    bool wait, stream;                   /* wait for their ends; show records (JSON) or text as it comes */
    double timeout_s;                    /* of waiting, since the last news of any job; 0: none */

    /* sending's own */
    struct mr_follow follow;
    struct mr_sending_job **by_name;     /* [n_named] */
    size_t n_named, n_next, n_reported, n_ended, n_failed;
    int64_t catching_up;                 /* partitions that have not told their end yet */
    int64_t news_ns, shown_ns;
    bool progress;
};

/* Appends every job and waits as asked. Returns an exit code: MR_EXIT_FAILED when a job was not appended or, waiting, ended
 * otherwise than done. */
int mr_sending_run(struct mr_sending *sending);

#endif
