/* The delayed builds of the wgmma attention kernel (races.cu). */
#ifndef MR_TESTS_GPU_RACES_H
#define MR_TESTS_GPU_RACES_H

#include "kernels/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

enum races_variant { RACES_RIGHT, RACES_NO_WAIT, RACES_NO_FENCE, RACES_NO_SYNC };

/* The prefill part of ops->attention, after ops->begin. Head sizes 64 and 128, a cache of bf16 or e4m3. */
enum mr_status races_attention(struct mr_device *device, const struct mr_attention_params *params, enum races_variant variant);

#ifdef __cplusplus
}
#endif
#endif
