#include "scheduler/cost.h"
#include "scheduler/sim/measure.h"

#include <stdlib.h>

/* Realtime jobs in order of deadline; each is work that can start at its arrival and is due at arrival + TTFT, at the marginal
 * price of its prompt and, at full batch, of its decodes' tokens and context. Preemptive earliest-deadline-first with Moore
 * and Hodgson's removal of the largest unfinished work, run event by event: since all TTFTs are equal, deadline order is
 * arrival order. Overheads and bulk cost nothing here, so no policy can keep more. */
struct work {
    double left, due;
};

static void drop_largest(struct work *queue, int32_t *n)
{
    int32_t largest = 0;
    for (int32_t i = 1; i < *n; i++)
        if (queue[i].left > queue[largest].left)
            largest = i;
    for (int32_t i = largest; i + 1 < *n; i++)
        queue[i] = queue[i + 1];
    (*n)--;
}

static int64_t serve(struct work *queue, int32_t *n, double seconds)
{
    int64_t kept = 0;
    int32_t done = 0;
    while (done < *n && queue[done].left <= seconds) {
        seconds -= queue[done++].left;
        kept++;
    }
    if (done < *n)
        queue[done].left -= seconds;
    for (int32_t i = done; i < *n; i++)
        queue[i - done] = queue[i];
    *n -= done;
    return kept;
}

double sim_optimum(const struct sim_scenario *scenario, const struct sim_loads *loads)
{
    const struct mr_sched_cost *cost = &scenario->config.cost;
    double ttft = (double)scenario->config.tier[MR_TIER_REALTIME].ttft_ns / 1e9, last = 0;
    struct work *queue = calloc((size_t)loads->n_arrivals + 1, sizeof *queue);
    int64_t kept = 0, arrived = 0;
    int32_t n = 0;
    for (int32_t i = 0; queue && ttft > 0 && i < loads->n_arrivals; i++) {
        const struct sim_job *job = &loads->jobs[loads->arrivals[i]];
        double at = (double)job->arrival_ns / 1e9;
        if (job->tier != MR_TIER_REALTIME)
            continue;
        kept += serve(queue, &n, (at - last) * scenario->workers);
        last = at;
        arrived++;
        double prompt = (double)cost_prefill_ps(cost, 0, job->prompt) / 1e12;
        double decode = (double)cost->token_ps / 1e12 * job->output + (double)cost->context_ps / 1e12 * job->output * (job->prompt +
                job->output / 2.0);
        queue[n++] = (struct work){prompt + decode, at + ttft + decode};
        double sum = 0;
        for (int32_t k = 0; k < n; k++) {
            sum += queue[k].left;
            if (at + sum / scenario->workers > queue[k].due) {
                drop_largest(queue, &n);
                break;
            }
        }
    }
    kept += n;
    free(queue);
    return arrived ? (double)kept / (double)arrived : 1;
}
