/* Tenants' contracts as option `tenants` lists them: "NAME key=value ...", NAME * for every tenant without one of its own. */
#ifndef MR_WORKER_CONTRACT_H
#define MR_WORKER_CONTRACT_H

#include "base/str.h"
#include "scheduler/scheduler.h"
#include "worker/options.h"

/* NULL, or what is wrong with an entry. */
const char *mr_contract_complaint(struct mr_str entry);
/* The tenant's own, else that of *, else weight 1 and no limits; where it names no concurrency, limits.jobs_per_tenant. */
struct mr_sched_tenant mr_contract_of(const struct mr_options *options, struct mr_str tenant);

#endif
