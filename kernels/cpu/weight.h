/* A weight matrix on the CPU: its parts as they lie in the file, and what the SIMD path made of them. */
#ifndef MR_KERNELS_CPU_WEIGHT_H
#define MR_KERNELS_CPU_WEIGHT_H

#include "kernels/cpu/pack.h"

enum { MR_CPU_PARTS_MAX = 8 };

struct mr_weight {
    int64_t n, k;
    int n_parts;
    struct mr_weight_part parts[MR_CPU_PARTS_MAX]; /* data borrowed from the file for the weight's life */
    struct mr_pack packs[MR_CPU_PARTS_MAX];        /* the same, repacked; data NULL on the plain path */
};

enum mr_status mr_cpu_weight_open(struct mr_device *device, const struct mr_weight_part *parts, int n_parts, int64_t k,
                                  struct mr_weight **out, struct mr_err *err);
void mr_cpu_weight_close(struct mr_device *device, struct mr_weight *weight);
size_t mr_cpu_weight_bytes(const struct mr_weight *weight);
/* The part that holds row `row` (0 .. n - 1), and where the row's bytes are. */
const struct mr_weight_part *mr_cpu_weight_find(const struct mr_weight *weight, int64_t row, const void **data);
/* Row `row` (0 .. n - 1) as float32 into out[k]. */
void mr_cpu_weight_row(const struct mr_weight *weight, int64_t row, float *out);

#endif
