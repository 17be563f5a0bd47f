/* The key that a job's record is appended under, so that jobs of one tenant that begin alike come to one partition, hence to the worker
 * that holds what they share: "TENANT/" and 16 hex digits of the FNV-1a hash (64 bits) of the first MR_ROUTING_BYTES bytes of the
 * prompt, or of the messages' contents one after another; token ids count as 4 bytes each, lowest first. A shorter beginning is no
 * group: such jobs are spread by their names. Any producer may compute it: it is a hint, no promise rests on it. Pure. */
#ifndef MR_WORKER_ROUTING_KEY_H
#define MR_WORKER_ROUTING_KEY_H

#include "base/value.h"

enum { MR_ROUTING_BYTES = 256 };

/* body: a job, or an OpenAI Batch line. false: its beginning is too short, or there is no memory; out stays as it was. */
bool mr_routing_key(const struct mr_value *body, struct mr_str tenant, struct mr_arena *arena, struct mr_str *out);

#endif
