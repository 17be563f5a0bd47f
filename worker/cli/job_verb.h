/* What the verbs about one job (cancel, status, tail) have in common: JOB as the one argument, --tenant, and whose records they
 * listen to. One thread. */
#ifndef MR_WORKER_CLI_JOB_VERB_H
#define MR_WORKER_CLI_JOB_VERB_H

#include "base/str.h"
#include "worker/cli/cli.h"

/* The first row of such a verb's flags; tenant is a const char *. */
#define MR_JOB_VERB_TENANT(tenant) {"tenant", "T", "whose job it is, where JOB is an id alone", MR_FLAG_TEXT, &(tenant), NULL}

/* Parses the flags and names the job ("tenant/id", in the cli's arena). usage: its numbers of arguments are set here. false: leave
 * with *code, explained. */
bool mr_job_verb_begin(struct mr_cli *cli, const struct mr_flags_usage *usage, int argc, char **argv, struct mr_str *name, int *code);
/* For mr_follow_init: wants the one job that self (struct mr_str *) names. */
bool mr_job_verb_wants(void *self, struct mr_str name);

#endif
