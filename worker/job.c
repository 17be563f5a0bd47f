#include "worker/job.h"

#include <stdlib.h>

void mr_job_free(struct mr_job *job)
{
    if (!job)
        return;
    mr_arena_fini(&job->arena);
    free(job);
}
