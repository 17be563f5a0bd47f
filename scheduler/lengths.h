/* How long outputs get: histograms per tenant x template, and one pooled prior a tier. Quantiles are conditional on what a
 * job has produced already (Past-Future, arXiv 2507.10150). Old lengths fade: a full histogram is halved. */
#ifndef MR_SCHEDULER_LENGTHS_H
#define MR_SCHEDULER_LENGTHS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    LENGTH_BUCKETS = 84,  /* 0 .. 15 exactly, then four a doubling, to 2^21 */
    LENGTH_SLOTS = 1024,  /* histograms; tenants x templates share them by hash */
    LENGTH_FULL = 1024,   /* entries at which a histogram is halved */
    LENGTH_ENOUGH = 16,   /* entries from which a histogram is believed */
};

/* The bucket of a length, and the largest length of a bucket. */
int32_t length_bucket(int32_t length);
int32_t length_bucket_top(int32_t bucket);

struct lengths {
    uint16_t (*counts)[LENGTH_BUCKETS]; /* [LENGTH_SLOTS + tiers] the pooled ones last */
    uint16_t *total;
    int32_t n_tiers;
};

bool lengths_open(struct lengths *lengths, int32_t n_tiers); /* false: no memory */
void lengths_close(struct lengths *lengths);
void lengths_add(struct lengths *lengths, uint32_t tenant, uint32_t template_id, int32_t tier, int32_t length);
/* The length that a job which has produced `produced` reaches with probability permille / 1000; most at most, and most when
 * nothing is known. */
struct lengths_query {
    uint32_t tenant, template_id;
    int32_t tier, produced, most, permille;
};
int32_t lengths_quantile(const struct lengths *lengths, const struct lengths_query *query);

#endif
