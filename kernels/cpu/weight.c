#include "kernels/cpu/weight.h"

#include "base/check.h"
#include "kernels/cpu/device.h"
#include "kernels/quant.h"

#include <stdlib.h>

/* pages: where it is packed; NULL: it is not. */
static enum mr_status add_part(struct mr_weight *weight, const struct mr_weight_part *part, struct mr_pages *pages, struct mr_err *err)
{
    if (part->dtype == MR_E4M3 || weight->k < 1 || part->rows < 1 || mr_dtype_row_bytes(part->dtype, weight->k) < 0)
        return mr_err_set(err, MR_ERR_UNSUPPORTED, "the CPU takes no %s matrix of %lld rows of %lld", mr_dtype_name(part->dtype),
                          (long long)part->rows, (long long)weight->k);
    enum mr_status status = pages ? mr_pack_open(pages, part, weight->k, &weight->packs[weight->n_parts], err) : MR_OK;
    if (status == MR_OK) {
        weight->parts[weight->n_parts++] = *part;
        weight->n += part->rows;
    }
    return status;
}

enum mr_status mr_cpu_weight_open(struct mr_device *device, const struct mr_weight_part *parts, int n_parts, int64_t k,
                                  struct mr_weight **out, struct mr_err *err)
{
    if (n_parts < 1 || n_parts > MR_CPU_PARTS_MAX)
        return mr_err_set(err, MR_ERR_LIMIT, "a matrix of %d parts: at most %d are stacked", n_parts, MR_CPU_PARTS_MAX);
    struct mr_weight *weight = calloc(1, sizeof *weight);
    if (!weight)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for a weight");
    weight->k = k;
    for (int i = 0; i < n_parts; i++) {
        enum mr_status status = add_part(weight, &parts[i], device->path->multiply_exact ? &device->weights : NULL, err);
        if (status != MR_OK) {
            mr_cpu_weight_close(device, weight);
            return status;
        }
    }
    *out = weight;
    return MR_OK;
}

void mr_cpu_weight_close(struct mr_device *device, struct mr_weight *weight)
{
    if (!weight)
        return;
    for (int i = 0; i < weight->n_parts; i++)
        mr_pack_close(&device->weights, &weight->packs[i]);
    free(weight);
}

size_t mr_cpu_weight_bytes(const struct mr_weight *weight)
{
    size_t bytes = 0;
    for (int i = 0; i < weight->n_parts; i++)
        bytes += weight->packs[i].data ? mr_pack_bytes(&weight->packs[i]) : 0;
    return bytes;
}

const struct mr_weight_part *mr_cpu_weight_find(const struct mr_weight *weight, int64_t row, const void **data)
{
    const struct mr_weight_part *part = weight->parts;
    for (; row >= part->rows; part++)
        row -= part->rows;
    CHECK(row >= 0 && part < weight->parts + weight->n_parts);
    *data = (const char *)part->data + row * mr_dtype_row_bytes(part->dtype, weight->k);
    return part;
}

void mr_cpu_weight_row(const struct mr_weight *weight, int64_t row, float *out)
{
    const void *data;
    const struct mr_weight_part *part = mr_cpu_weight_find(weight, row, &data);
    mr_quant_row(part->dtype, data, out, weight->k);
}
