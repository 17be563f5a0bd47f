/* The manual pages that follow from tables: groff man source. Pure; any thread. */
#ifndef MR_WORKER_MANUAL_H
#define MR_WORKER_MANUAL_H

#include "base/buf.h"

/* millrace.conf.5: every option with type, range, default. */
void mr_manual_options(struct mr_buf *out);
/* millrace-jobs.7: every field of a job, and every reason that a job may be refused with. */
void mr_manual_jobs(struct mr_buf *out);

#endif
