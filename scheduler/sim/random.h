/* The simulator's random numbers: splitmix64, so that a seed means the same on every platform. */
#ifndef MR_SCHEDULER_SIM_RANDOM_H
#define MR_SCHEDULER_SIM_RANDOM_H

#include "base/hash.h"

#include <math.h>
#include <stdint.h>

struct sim_random {
    uint64_t state;
};

static inline uint64_t sim_random_u64(struct sim_random *r) { return mr_mix64(r->state += UINT64_C(0x9e3779b97f4a7c15)); }
static inline int64_t sim_random_below(struct sim_random *r, int64_t n) { return n > 0 ? (int64_t)(sim_random_u64(r) % (uint64_t)n) : 0; }
/* In (0, 1]. */
static inline double sim_random_unit(struct sim_random *r) { return (double)((sim_random_u64(r) >> 11) + 1) * 0x1p-53; }
static inline double sim_random_exponential(struct sim_random *r) { return -log(sim_random_unit(r)); }

/* Gamma with mean 1 and the given coefficient of variation (Marsaglia and Tsang 2000); cv 1 is exponential. */
static inline double sim_random_gamma(struct sim_random *r, double cv)
{
    double shape = 1 / (cv * cv), boost = 1;
    if (shape < 1) {
        boost = pow(sim_random_unit(r), 1 / shape);
        shape += 1;
    }
    double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double x = sqrt(2 * sim_random_exponential(r)) * cos(6.283185307179586 * sim_random_unit(r));
        double v = (1 + c * x) * (1 + c * x) * (1 + c * x);
        if (v > 0 && log(sim_random_unit(r)) < x * x / 2 + d - d * v + d * log(v))
            return boost * d * v * cv * cv;
    }
}

#endif
