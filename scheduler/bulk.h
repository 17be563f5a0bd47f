/* Can a bulk deadline be kept? (scheduling.md 3.6) A job is feasible if for every deadline d the bulk service due by d fits
 * into (1 - eps) x measured bulk rate x (d - now). Deadlines are kept by the minute, rounded down, to 48 hours ahead: what is
 * due later counts as due at the end. */
#ifndef MR_SCHEDULER_BULK_H
#define MR_SCHEDULER_BULK_H

#include <stdbool.h>
#include <stdint.h>

enum { BULK_SLOTS = 48 * 60, BULK_EPS_PERMILLE = 100 };

struct bulk {
    int64_t *due;        /* [BULK_SLOTS] service units due in the minute minute % BULK_SLOTS */
    int64_t minute;      /* the minute of now */
    int64_t rate;        /* service units a second, smoothed over the time in which bulk was backlogged; 0: not measured */
    int64_t window_ns, window_service; /* measured since the last update of rate */
};

bool bulk_open(struct bulk *bulk);
void bulk_close(struct bulk *bulk);
/* Adds the service of a job due then. false: the deadline cannot be kept, at the rate that is measured; it is added all the same. */
bool bulk_add(struct bulk *bulk, int64_t service, int64_t deadline_ns, int64_t now_ns);
/* Service of a job with that deadline was done, or its rest has gone. */
void bulk_done(struct bulk *bulk, int64_t service, int64_t deadline_ns);
/* So much bulk service was done in so much time in which bulk was backlogged. */
void bulk_measure(struct bulk *bulk, int64_t service, int64_t elapsed_ns);

#endif
