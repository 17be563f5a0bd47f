/* What became of a job, for people and for scripts: the last word of submit, tail and status. One thread. */
#ifndef MR_WORKER_CLI_OUTCOME_H
#define MR_WORKER_CLI_OUTCOME_H

#include "base/value.h"
#include "worker/cli/follow.h"

/* A map of what the run's stream tells; strings are views of run. with_text: the whole text too. MR_NULL: no memory. */
struct mr_value mr_outcome_value(const struct mr_follow_run *run, bool with_text, struct mr_arena *arena);
/* One JSON line on stdout. */
void mr_outcome_print_json(const struct mr_value *value);
/* "acme/j1: failed: prompt_too_long: ...", "acme/j1: done: stop, 12 tokens, ..." on stderr. */
void mr_outcome_say(const struct mr_follow_run *run);
/* Control bytes but newline and tab, which could steer a terminal, as U+FFFD where stdout is one; other text as it is. */
void mr_outcome_print_text(struct mr_str text);

#endif
