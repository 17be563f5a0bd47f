#include "kernels/cpu/weight.h"

#include "base/check.h"
#include "kernels/quant.h"

#include <stdlib.h>

enum mr_status mr_cpu_weight_open(struct mr_device *device, const struct mr_weight_part *parts, int n_parts, int64_t k,
                                  struct mr_weight **out, struct mr_err *err)
{
    (void)device;
    if (n_parts < 1 || n_parts > MR_CPU_PARTS_MAX)
        return mr_err_set(err, MR_ERR_LIMIT, "a matrix of %d parts: at most %d are stacked", n_parts, MR_CPU_PARTS_MAX);
    struct mr_weight *weight = calloc(1, sizeof *weight);
    if (!weight)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for a weight");
    weight->k = k;
    weight->n_parts = n_parts;
    for (int i = 0; i < n_parts; i++) {
        if (parts[i].dtype == MR_E4M3 || k < 1 || parts[i].rows < 1 || mr_dtype_row_bytes(parts[i].dtype, k) < 0) {
            free(weight);
            return mr_err_set(err, MR_ERR_UNSUPPORTED, "the CPU takes no %s matrix of %lld rows of %lld", mr_dtype_name(parts[i].dtype),
                              (long long)parts[i].rows, (long long)k);
        }
        weight->parts[i] = parts[i];
        weight->n += parts[i].rows;
    }
    *out = weight;
    return MR_OK;
}

void mr_cpu_weight_close(struct mr_device *device, struct mr_weight *weight)
{
    (void)device;
    free(weight);
}

size_t mr_cpu_weight_bytes(const struct mr_weight *weight)
{
    (void)weight;
    return 0;
}

void mr_cpu_weight_row(const struct mr_weight *weight, int64_t row, float *out)
{
    for (int i = 0; i < weight->n_parts; i++) {
        const struct mr_weight_part *part = &weight->parts[i];
        if (row < part->rows) {
            mr_quant_row(part->dtype, (const char *)part->data + row * mr_dtype_row_bytes(part->dtype, weight->k), out, weight->k);
            return;
        }
        row -= part->rows;
    }
    CHECK(!"a row of the matrix");
}
