/* The service: owner, admission, engine, log and state store on their threads.
 *
 *     log thread (the caller of mr_worker_loop)   owner; polls the log, performs the owner's actions
 *     admission thread                            record -> job: decode, validate, template, tokenize
 *     engine thread                               steps; tokens and ends as messages to the log thread
 *
 * Messages are small structs over bounded rings: to admission and engine at most what the owner's limits allow, so that a push
 * never fails; to the log thread from the engine, who waits when it is full. Nothing else is shared but counters. */
#ifndef MR_WORKER_WORKER_H
#define MR_WORKER_WORKER_H

#include "worker/options.h"
#include "worker/outside.h"

#define MR_WORKER_LEAVE_NS (2 * MR_NS_PER_S) /* a worker with a hung thread polls so long for its leaving of the group */
enum { MR_WORKER_NOTES_MAX = 8192, MR_WORKER_OUTBOX_MAX = 65536 };

struct mr_worker; /* opaque */

/* Loads the model, opens log, state store (address "" : none) and http (listen "": none). Both stay borrowed. */
enum mr_status mr_worker_open(const struct mr_options *options, const struct mr_outside *outside, const char *version, struct mr_worker **out,
                              struct mr_err *err);
/* Runs until drained. MR_ERR_TIMEOUT: a thread hung (do not close: leave the process); MR_ERR_IO: the log failed for good. */
enum mr_status mr_worker_loop(struct mr_worker *worker, struct mr_err *err);
/* From a signal handler or any thread: the first drains, the second leaves at once. */
void mr_worker_signal(struct mr_worker *worker);
void mr_worker_close(struct mr_worker *worker);

#endif
