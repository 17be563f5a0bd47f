/* Tenants by dense index, as the scheduler wants them. An index stays with its tenant while a run of it is live, and after that until
 * another tenant needs it: then the one that was idle longest goes. The last index is shared by all tenants beyond: they are one to the
 * scheduler, with the contract of a tenant that has none of its own.
 *
 * One thread. */
#ifndef MR_WORKER_TENANTS_H
#define MR_WORKER_TENANTS_H

#include "base/str.h"
#include "worker/job.h"

#include <stdbool.h>
#include <stdint.h>

enum { MR_TENANTS_MIN = 2, MR_TENANTS_MAX = 4096 };

struct mr_tenants {
    struct mr_tenant_place {
        char name[MR_TENANT_BYTES_MAX + 1];
        int32_t live;     /* runs */
        int64_t idle_ns;  /* live 0: since when */
    } *places;            /* [max] */
    int32_t max, n;       /* indices; of those but the last, ever given */
};

bool mr_tenants_open(struct mr_tenants *tenants, int32_t max); /* max within [MR_TENANTS_MIN, MR_TENANTS_MAX]; false: no memory */
void mr_tenants_close(struct mr_tenants *tenants);
/* One run more of a tenant (at most MR_TENANT_BYTES_MAX bytes): its index. */
uint32_t mr_tenants_join(struct mr_tenants *tenants, struct mr_str name);
/* One less. */
void mr_tenants_leave(struct mr_tenants *tenants, uint32_t index, int64_t now_ns);

#endif
