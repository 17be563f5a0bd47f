/* One table of tensors, whatever format they came from: weights.c reads nothing else. */
#ifndef MR_WORKER_MODEL_TENSOR_H
#define MR_WORKER_MODEL_TENSOR_H

#include "base/str.h"
#include "kernels/ops.h"

#include <stddef.h>
#include <stdint.h>

enum { MR_TENSOR_DIMS_MAX = 4 };

struct mr_tensor {
    struct mr_str name;               /* lives with the source, as data does */
    enum mr_dtype dtype;
    int32_t n_dims;                   /* 1 .. MR_TENSOR_DIMS_MAX */
    int64_t dims[MR_TENSOR_DIMS_MAX]; /* dims[0]: elements of a row; 1 .. INT32_MAX each, those past n_dims are 1 */
    const void *data;                 /* [bytes], rows one after another; NULL: a device makes them of `random` */
    struct mr_random random;
    size_t bytes;
};

struct mr_tensor_table {
    const struct mr_tensor *tensors;  /* [n], names distinct; borrowed */
    size_t n;
};

/* NULL: none of that name. */
static inline const struct mr_tensor *mr_tensor_find(const struct mr_tensor_table *table, const char *name)
{
    for (size_t i = 0; i < table->n; i++)
        if (mr_str_is(table->tensors[i].name, name))
            return &table->tensors[i];
    return NULL;
}

#endif
