#include "kernels/dtype.h"

#include "base/check.h"

#include <stddef.h>

static const struct {
    const char *name;
    int elements, bytes;
} dtypes[MR_DTYPE_COUNT] = {
    [MR_F32] = {"f32", 1, 4},      [MR_F16] = {"f16", 1, 2},      [MR_BF16] = {"bf16", 1, 2},   [MR_Q4_0] = {"q4_0", 32, 18},
    [MR_Q4_1] = {"q4_1", 32, 20},  [MR_Q5_0] = {"q5_0", 32, 22},  [MR_Q5_1] = {"q5_1", 32, 24}, [MR_Q8_0] = {"q8_0", 32, 34},
    [MR_Q4_K] = {"q4_k", 256, 144}, [MR_Q5_K] = {"q5_k", 256, 176}, [MR_Q6_K] = {"q6_k", 256, 210}, [MR_E4M3] = {"e4m3", 1, 1},
};

const char *mr_dtype_name(enum mr_dtype dtype)
{
    return (unsigned)dtype < MR_DTYPE_COUNT ? dtypes[dtype].name : "unknown";
}

int mr_dtype_block_elements(enum mr_dtype dtype)
{
    CHECK((unsigned)dtype < MR_DTYPE_COUNT);
    return dtypes[dtype].elements;
}

int mr_dtype_block_bytes(enum mr_dtype dtype)
{
    CHECK((unsigned)dtype < MR_DTYPE_COUNT);
    return dtypes[dtype].bytes;
}

int64_t mr_dtype_row_bytes(enum mr_dtype dtype, int64_t k)
{
    int elements = mr_dtype_block_elements(dtype);
    int64_t bytes;
    if (k < 0 || k % elements != 0 || __builtin_mul_overflow(k / elements, (int64_t)dtypes[dtype].bytes, &bytes))
        return -1;
    return bytes;
}
