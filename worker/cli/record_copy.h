/* A record that outlives the poll that brought it. */
#ifndef MR_WORKER_CLI_RECORD_COPY_H
#define MR_WORKER_CLI_RECORD_COPY_H

#include "base/arena.h"
#include "worker/port.h"

/* A deep copy in arena. false: no memory. */
bool mr_record_copy(struct mr_arena *arena, const struct mr_record *from, struct mr_record *to);

#endif
