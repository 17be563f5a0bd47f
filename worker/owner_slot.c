/* Slots: a run's place towards admission, engine and log. */
#include "worker/owner_state.h"

#include <stdlib.h>

bool owner_slots_open(struct mr_owner *owner)
{
    int32_t n = owner->config.max_jobs * 2; /* as many again may be on their way out of the engine */
    owner->slots = calloc((size_t)n, sizeof *owner->slots);
    if (!owner->slots || !mr_tenants_open(&owner->tenants, owner->config.max_tenants))
        return false;
    owner->n_slots = n;
    for (int32_t i = 0; i < n; i++)
        owner->slots[i].next_free = i + 1 < n ? i + 1 : -1;
    return true;
}

void owner_slots_close(struct mr_owner *owner)
{
    for (int32_t i = 0; i < owner->n_slots; i++)
        mr_job_free(owner->slots[i].job);
    mr_tenants_close(&owner->tenants);
    free(owner->slots);
}

bool owner_slot_take(struct mr_owner *owner, struct mr_run *run)
{
    if (owner->free_slot < 0)
        return false;
    struct owner_slot *slot = &owner->slots[owner->free_slot];
    run->handle = (++owner->serial & 0x3ffffffff) << 20 | (uint64_t)owner->free_slot;
    owner->free_slot = slot->next_free;
    slot->handle = run->handle;
    slot->run = run;
    owner->live++;
    run->partition->n_live++;
    return true;
}

void owner_slot_free(struct mr_owner *owner, struct owner_slot *slot)
{
    mr_job_free(slot->job);
    *slot = (struct owner_slot){.next_free = owner->free_slot};
    owner->free_slot = (int32_t)(slot - owner->slots);
}

void owner_slot_leave(struct mr_owner *owner, struct mr_run *run)
{
    struct owner_slot *slot = owner_slot_of(owner, run->handle);
    if (!slot)
        return;
    owner->live--;
    run->partition->n_live--;
    run->handle = 0;
    slot->run = NULL;
    if (run->engine == MR_RUN_ENGINE_NONE) {
        owner_slot_free(owner, slot);
        return;
    }
    slot->job = run->job;
    run->job = NULL;
    if (run->engine == MR_RUN_ENGINE_LIVE)
        owner_act(owner, MR_OWNER_DO_DROP)->handle = slot->handle;
}

struct owner_slot *owner_slot_of(struct mr_owner *owner, uint64_t handle)
{
    int32_t i = (int32_t)(handle & (MR_OWNER_JOBS_MAX - 1));
    return handle && i < owner->n_slots && owner->slots[i].handle == handle ? &owner->slots[i] : NULL;
}

struct mr_run *owner_slot_run(struct mr_owner *owner, uint64_t handle)
{
    struct owner_slot *slot = owner_slot_of(owner, handle);
    return slot ? slot->run : NULL;
}
