#include "worker/tenants.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

bool mr_tenants_open(struct mr_tenants *t, int32_t max)
{
    CHECK(max >= MR_TENANTS_MIN && max <= MR_TENANTS_MAX);
    *t = (struct mr_tenants){.places = calloc((size_t)max, sizeof *t->places), .max = max};
    return t->places != NULL;
}

void mr_tenants_close(struct mr_tenants *t)
{
    free(t->places);
    t->places = NULL;
}

/* Where a name that has no place goes: a fresh one, else the one idle longest, else the shared one. */
static int32_t place_for(struct mr_tenants *t)
{
    int32_t best = t->max - 1;
    if (t->n < t->max - 1)
        return t->n++;
    for (int32_t i = 0; i < t->n; i++)
        if (t->places[i].live == 0 && (best == t->max - 1 || t->places[i].idle_ns < t->places[best].idle_ns))
            best = i;
    return best;
}

uint32_t mr_tenants_join(struct mr_tenants *t, struct mr_str name)
{
    int32_t at = 0;
    CHECK(name.n <= MR_TENANT_BYTES_MAX);
    while (at < t->n && !mr_str_equal(mr_str_from(t->places[at].name), name))
        at++;
    if (at == t->n && (at = place_for(t)) != t->max - 1) {
        memcpy(t->places[at].name, name.p, name.n);
        t->places[at].name[name.n] = '\0';
    }
    t->places[at].live++;
    return (uint32_t)at;
}

void mr_tenants_leave(struct mr_tenants *t, uint32_t index, int64_t now_ns)
{
    struct mr_tenant_place *place = &t->places[index];
    CHECK(index < (uint32_t)t->max && place->live > 0);
    if (--place->live == 0)
        place->idle_ns = now_ns;
}
