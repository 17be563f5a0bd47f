/* Sampling on the CPU: the oracle of kernels/sampling.h. Engine thread, or any threads on disjoint rows. */
#ifndef MR_KERNELS_CPU_SAMPLE_H
#define MR_KERNELS_CPU_SAMPLE_H

#include "kernels/ops.h"
#include "kernels/sampling.h"

/* One row of logits to one token. scratch: [vocabulary] floats, needed (and overwritten) only when mr_sample_row_edits(row). */
void mr_cpu_sample_row(const float *logits, int32_t vocabulary, const struct mr_sample_row *row, float *scratch, struct mr_sampled *out);
/* Whether the row's logits are changed before the draw: bias, penalties or a mask. */
bool mr_sample_row_edits(const struct mr_sample_row *row);

/* ---- between sample.c and sample_avx2.c ---- */

/* A row being drawn from: ids with z >= floor are in (floor is finite, so banned ids and NaN are out). */
struct mr_sample_field {
    const float *z; /* [n] edited logits */
    int32_t n;
    float largest, temperature, floor;
};

/* The best id so far. */
struct mr_sample_best {
    float score;
    int32_t id;
};

#define MR_SAMPLE_GUMBEL_MAX (0.69315f * 33) /* no draw is larger */

/* The weight that top_p asks for, of total. */
static inline uint64_t mr_sample_target(uint64_t total, double share) { return (uint64_t)(share * (double)total); }

/* Holds one id, with its random word, against the best. */
static inline void mr_sample_try(float scaled, uint32_t r, int32_t id, struct mr_sample_best *best)
{
    if (scaled + mr_sample_gumbel_bound(r) < best->score)
        return;
    float score = scaled + mr_sample_gumbel(r);
    if (score > best->score || (score == best->score && id < best->id))
        *best = (struct mr_sample_best){score, id};
}

/* Ids [first, end), first a multiple of 4. */
void mr_sample_draw_range(const struct mr_sample_field *field, const struct mr_sample_row *row, int32_t first, int32_t end,
                          struct mr_sample_best *best);

/* The long loops over the vocabulary of a path. */
struct mr_sample_loops {
    int32_t (*largest)(const float *z, int32_t n); /* the lowest id of the largest; -1: none is above -inf */
    /* The weight of all that is in, and in *start the highest of a few values above which lies enough for the share (or the floor). */
    uint64_t (*total)(const struct mr_sample_field *field, double share, float *start);
    /* *start as above, for k ids instead of a share. */
    void (*start)(const struct mr_sample_field *field, int32_t k, float *start);
    /* Copies the values >= start, in order, into few[capacity] and returns their number; -1: there are too many. */
    int32_t (*collect)(const struct mr_sample_field *field, float start, float *few, int32_t capacity);
    void (*draw)(const struct mr_sample_field *field, const struct mr_sample_row *row, struct mr_sample_best *best);
};

extern const struct mr_sample_loops mr_sample_loops_avx2;

/* Every row of params, split over the device's threads (NULL: the caller's alone). MR_ERR_UNSUPPORTED: a row edits its logits and
 * params->scratch is NULL. */
enum mr_status mr_cpu_sample(struct mr_device *device, const struct mr_sample_params *params);

#endif
