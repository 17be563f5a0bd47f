/* What the attention kernels share: their arguments. */
#ifndef MR_KERNELS_CUDA_ATTENTION_CUH
#define MR_KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/attention_plan.cuh"
#include "kernels/cuda/device.cuh"

struct attention_args {
    struct mr_kv_view kv;
    const bf16 *qkv;
    bf16 *out;
    int32_t *work; /* the plan */
    const int32_t *positions, *seq_start, *seq_length, *block_table;
    float *partial;         /* decode: [item][n_heads][head_dim + 2]: sums, then maximum and denominator */
    float scale_log2;       /* scale * k_scale * log2(e): scores are kept in powers of two */
    float softcap;          /* of the scaled score, in natural units; 0: none */
    int32_t window, n_heads, group, qkv_stride, table_stride;
    int32_t workers;        /* warps that an even plan is cut for; 0: it is cut by splits */
};

attention_args attention_arguments(const struct mr_device *device, const struct mr_attention_params *params);
enum mr_status attention_decode(struct mr_device *device, const attention_args &args);
enum mr_status attention_heads(struct mr_device *device, attention_args &args); /* an even plan's; sets args.workers for the merge */
enum mr_status attention_rows(struct mr_device *device, const attention_args &args);
enum mr_status attention_wgmma(struct mr_device *device, const attention_args &args);

#endif
