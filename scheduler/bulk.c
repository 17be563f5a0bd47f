#include "scheduler/bulk.h"

#include "scheduler/mutant.h"

#include <stdlib.h>

#define MINUTE_NS INT64_C(60000000000)
#define RATE_WINDOW_NS INT64_C(1000000000)

bool bulk_open(struct bulk *bulk)
{
    *bulk = (struct bulk){.due = calloc(BULK_SLOTS, sizeof *bulk->due)};
    return bulk->due;
}

void bulk_close(struct bulk *bulk) { free(bulk->due); }

/* Moves the window to now; what was due before is due now. */
static void advance(struct bulk *bulk, int64_t now_ns)
{
    int64_t minute = now_ns / MINUTE_NS;
    if (bulk->minute == 0 || minute - bulk->minute >= BULK_SLOTS) {
        int64_t left = 0;
        for (int i = 0; i < BULK_SLOTS; i++) {
            left += bulk->due[i];
            bulk->due[i] = 0;
        }
        bulk->minute = minute;
        bulk->due[minute % BULK_SLOTS] = left;
    }
    while (bulk->minute < minute) {
        int64_t left = bulk->due[bulk->minute % BULK_SLOTS];
        bulk->due[bulk->minute % BULK_SLOTS] = 0;
        bulk->due[++bulk->minute % BULK_SLOTS] += left;
    }
}

static int64_t slot_minute(const struct bulk *bulk, int64_t deadline_ns)
{
    int64_t minute = deadline_ns / MINUTE_NS;
    if (minute < bulk->minute)
        return bulk->minute;
    return minute < bulk->minute + BULK_SLOTS ? minute : bulk->minute + BULK_SLOTS - 1;
}

bool bulk_add(struct bulk *bulk, int64_t service, int64_t deadline_ns, int64_t now_ns)
{
    advance(bulk, now_ns);
    int64_t mine = slot_minute(bulk, deadline_ns), sum = 0;
    bulk->due[mine % BULK_SLOTS] += service;
    if (bulk->rate == 0)
        return deadline_ns > now_ns;
    int64_t usable = bulk->rate / 1000 * (1000 - BULK_EPS_PERMILLE) / 1000; /* service units a millisecond */
    for (int64_t m = bulk->minute; m < bulk->minute + BULK_SLOTS; m++) {
        int64_t due = bulk->due[m % BULK_SLOTS];
        sum += due;
        int64_t by_ns = m == mine && deadline_ns > m * MINUTE_NS ? deadline_ns : m * MINUTE_NS;
        if (m >= mine && due && sum > usable * ((by_ns - now_ns) / 1000000) && !MUTANT(MUTANT_DEADLINE_UNTOLD))
            return false;
    }
    return true;
}

void bulk_done(struct bulk *bulk, int64_t service, int64_t deadline_ns)
{
    int64_t *due = &bulk->due[slot_minute(bulk, deadline_ns) % BULK_SLOTS];
    *due = *due > service ? *due - service : 0;
}

void bulk_measure(struct bulk *bulk, int64_t service, int64_t elapsed_ns)
{
    bulk->window_service += service;
    bulk->window_ns += elapsed_ns;
    if (bulk->window_ns < RATE_WINDOW_NS)
        return;
    int64_t rate = (int64_t)((__int128)bulk->window_service * 1000000000 / bulk->window_ns);
    bulk->rate = bulk->rate ? bulk->rate + (rate - bulk->rate) / 8 : rate;
    bulk->window_ns = bulk->window_service = 0;
}
