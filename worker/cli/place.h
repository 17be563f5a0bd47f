/* Where a job's stream is: asked of the state store, else every stream topic of every route. One thread. */
#ifndef MR_WORKER_CLI_PLACE_H
#define MR_WORKER_CLI_PLACE_H

#include "worker/cli/client.h"

/* Follows from its start whatever may hold the stream of job (tenant/id): one partition when the state store knows which,
 * and the parked streams beside it, else all. Returns the partitions followed; 0: none (explained). */
int32_t mr_place_follow(struct mr_client *client, struct mr_str job, struct mr_arena *arena);
/* The job's state hash, alternating names and values, in arena. false: there is none, or no store. */
bool mr_place_state(const struct mr_outside *outside, const struct mr_options *options, struct mr_str job, struct mr_arena *arena,
                    struct mr_str **fields, size_t *n_fields);

#endif
