/* The seam between the forward pass and a device: one table of operations, filled by cpu/ and by cuda/.
 *
 * worker/model/forward.c is written against this table alone. Rules:
 * - Activations are opaque device buffers in the device's own element type (`act_dtype`: f32 on the CPU, bf16 on CUDA),
 *   row-major [rows][columns], allocated once by `alloc`. Logits are always f32.
 * - Every launcher takes one params struct, returns a status only for a shape or dtype it does not take (checked before any
 *   work), and never allocates. On CUDA it enqueues on the device's stream; on the CPU it is done when it returns.
 * - The step's ragged batch is handed over once by `begin`; ops after it read the device's copy, so a host array may be
 *   reused after `begin` returns (CPU: must stay until the step's last op).
 * - Same bits (architecture): each output element is summed in one fixed order that depends on neither the number of rows
 *   nor the cut into chunks. `path` names that order; it goes into every result.
 * One thread (the engine's) calls everything here. The header is common to C17 and C++. */
#ifndef MR_KERNELS_OPS_H
#define MR_KERNELS_OPS_H

#include "base/status.h"
#include "kernels/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mr_device; /* opaque: the CPU's threads or one GPU's stream, with its workspace */
struct mr_weight; /* opaque: a matrix as the device wants it (repacked, dequantised, on the GPU) */

enum mr_precision {
    MR_EXACT, /* f32 activations, f32 KV on the CPU; CUDA: deterministic mode */
    MR_FAST,  /* int8 activations, f16 KV on the CPU; CUDA: whatever is fastest */
    MR_PRECISION_AUTO, /* for options: exact on the CPU, fast on CUDA; a device is opened with one of the others */
};

struct mr_device_options {
    int threads;                 /* CPU: threads incl. the caller; 0: one a core */
    bool pin;                    /* CPU: pin helper threads to cores */
    enum mr_precision precision;
    enum mr_dtype weight_dtype;  /* CUDA: MR_BF16, MR_F16 or MR_E4M3 for the linear layers; ignored on the CPU */
    int32_t max_tokens;          /* rows a step may have: sizes the workspace */
    int32_t max_seqs;
    int32_t max_blocks;          /* block table length of the longest sequence */
    size_t max_row_elements;     /* widest activation row (of any op), for workspace */
};

/* One step's ragged batch, host arrays. M tokens of S sequences; sequence s owns rows seq_start[s] .. seq_start[s+1]-1. */
struct mr_batch {
    int32_t n_tokens;            /* M, 1 .. max_tokens */
    int32_t n_seqs;              /* S, 1 .. max_seqs */
    int32_t n_logits;            /* R, rows whose logits are wanted, 0 .. M */
    int32_t block_table_stride;  /* int32 between two sequences' tables */
    int32_t block_table_width;   /* columns that any sequence of this step uses; 0: all of the stride */
    const int32_t *ids;          /* [M] token ids; -1 - r: what row r of the step before, left under way by `leave`, has chosen */
    const int32_t *positions;    /* [M] absolute position in the sequence */
    const int32_t *slots;        /* [M] KV slot this token writes: block * block_tokens + position % block_tokens; -1: none (`warm`) */
    const int32_t *seq_start;    /* [S + 1] */
    const int32_t *seq_length;   /* [S] tokens in the cache once this step has written its own */
    const int32_t *block_table;  /* [S][block_table_stride] physical block of each logical block */
    const int32_t *logit_rows;   /* [R] ascending token rows */
};

/* The paged KV cache of one layer. Element (block, head, token, i) is at block * block_stride + head * head_stride +
 * token * token_stride + i, in elements of its dtype, in k and in v alike. */
struct mr_kv_view {
    void *k, *v;
    enum mr_dtype k_dtype, v_dtype;
    int32_t n_blocks, block_tokens, n_kv_heads, head_dim;
    int64_t block_stride, head_stride, token_stride;
    float k_scale, v_scale;      /* of an MR_E4M3 cache; else 1 */
};

/* Made-up values of a Q8_0 part: block b has this scale and, as its 32 int8, mix64 (base/hash.h) of seed + 4 b + i, i < 4. */
struct mr_random {
    uint64_t seed;
    uint16_t scale;              /* f16 bits */
};

/* What a device can give, measured now, for shares in benchmarks; 0: not measured. */
struct mr_ceilings {
    double read_gbs;             /* memory beyond the caches, read once, 10^9 bytes a second */
    double multiply_gflops;      /* products in the precision of the linear layers, two operations each, 10^9 a second */
};

/* A matrix as it lies in a file: `parts` stacked by rows (such as q, k, v), each [rows][k] in its own dtype. */
struct mr_weight_part {
    enum mr_dtype dtype;
    const void *data;            /* host; borrowed for the call (CPU: until release, when used in place); NULL: see random */
    int64_t rows;
    bool plain;                  /* keep it in 16 bits or more, whatever weight_dtype says (embedding, head); one part says it for all */
    struct mr_random random;     /* what the device makes when there is no data (ops with makes_random alone) */
};

enum mr_activation { MR_SILU, MR_GELU, MR_GELU_TANH, MR_RELU };

struct mr_embed_params {
    const struct mr_weight *table; /* [vocabulary][hidden] */
    void *out;                     /* [M][hidden] */
    float scale;                   /* 1 unless the family scales embeddings */
};

/* residual += delta (unless NULL); out = residual / rms(residual) * (gain + gain_offset). out may be NULL (add only). */
struct mr_norm_params {
    void *residual;        /* [rows][n], updated */
    const void *delta;     /* [rows][n] or NULL */
    void *out;             /* [rows][n] or NULL */
    const float *gain;     /* [n], device memory (see upload_f32) */
    float gain_offset, epsilon;
    int32_t rows, n;
};

struct mr_matmul_params {
    const struct mr_weight *weight; /* [n][k] */
    const void *in;                 /* [rows][k] */
    void *out;                      /* [rows][n] */
    const float *bias;              /* [n] device memory, or NULL */
    int32_t rows;
    bool out_f32;                   /* the head: out is float logits whatever act_dtype is */
};

enum mr_rope_kind { MR_ROPE_NONE, MR_ROPE_HALF /* pairs (i, i + d/2): NeoX */, MR_ROPE_PAIRS /* pairs (2i, 2i + 1): GGUF llama */ };

/* One pass over the M rows of qkv: bias, per-head QK norm, RoPE on q and k, write of k and v to their slots. q stays in place. */
struct mr_qkv_params {
    void *qkv;                   /* [M][(n_heads + 2 n_kv_heads) head_dim] */
    const struct mr_kv_view *kv;
    const float *bias;           /* [(n_heads + 2 n_kv_heads) head_dim] or NULL */
    const float *q_gain, *k_gain;/* [head_dim] or NULL */
    const float *rope_frequency; /* [rope_dim / 2] radians a position, device memory; factors and scaling are in it */
    float rope_magnitude;        /* multiplies cos and sin (YaRN), else 1 */
    float norm_epsilon;
    enum mr_rope_kind rope;
    int32_t n_heads, rope_dim;
};

/* Causal attention of this step's M rows over the paged cache, which already holds their own k and v. */
struct mr_attention_params {
    const void *qkv;             /* [max_tokens][(n_heads + 2 n_kv_heads) head_dim]; only the q part of the first M rows is used */
    const struct mr_kv_view *kv;
    void *out;                   /* [M][n_heads head_dim] */
    float scale;                 /* of q.k, usually 1 / sqrt(head_dim) */
    float softcap;               /* 0: none */
    int32_t window;              /* tokens a row sees, itself included; 0: all */
    int32_t n_heads;
};

/* out = act(gate) * up, in: [rows][2 n], gate in the first n columns. */
struct mr_glu_params {
    const void *in;
    void *out; /* [rows][n] */
    int32_t rows, n;
    enum mr_activation activation;
};

/* out[r] = in[batch.logit_rows[r]], r < R */
struct mr_gather_params {
    const void *in;
    void *out;
    int32_t n; /* columns */
};

enum { MR_LOGPROBS_MAX = 20 };

/* One row of logits to one token (architecture, Sampling). */
struct mr_sample_row {
    float temperature;           /* 0: greedy */
    float top_p, min_p;          /* 1 and 0: off */
    int32_t top_k;               /* 0: off */
    float repetition_penalty;    /* 1: off; over prompt and output */
    float frequency_penalty, presence_penalty; /* 0: off; over output */
    uint64_t seed;
    uint32_t choice, position;   /* of the token being chosen, for the random function */
    int32_t n_logprobs;          /* -1: none, 0: of the chosen token, K <= 20: and of the K likeliest */
    int32_t n_bias;              /* logit_bias and bans (min_tokens): added to the logits, -INFINITY bans */
    const int32_t *bias_ids;     /* [n_bias] */
    const float *bias_values;
    const uint32_t *mask;        /* bit id of word id / 32 set: allowed; [vocabulary / 32 + 1]; NULL: all */
    int32_t n_history;           /* token counts for penalties: distinct ids of prompt and output; 0 when penalties are off */
    const int32_t *history_ids;    /* [n_history] distinct */
    const int32_t *history_counts; /* [n_history] times in the output; 0: only in the prompt */
};

struct mr_sampled {
    int32_t id;                  /* -1: the mask and bans left nothing */
    float logprob;               /* natural log of softmax over all raw logits (temperature 1, no penalty, no mask) */
    int32_t n_top;
    int32_t top_ids[MR_LOGPROBS_MAX];   /* descending, lowest id first on ties */
    float top_logprobs[MR_LOGPROBS_MAX];
};

struct mr_sample_params {
    const float *logits;         /* [rows][vocabulary], from the head's matmul */
    int32_t rows, vocabulary;
    const struct mr_sample_row *row; /* host, [rows] */
    struct mr_sampled *out;          /* host, [rows]; on CUDA valid after `finish` */
    float *scratch;                  /* device memory, [rows][vocabulary]: the edited logits; NULL: no row has bias, penalty or mask */
};

/* log softmax of given ids: out[r] of ids[r] in row r (prompt_logprobs), with the row's likeliest as in mr_sampled. */
struct mr_score_params {
    const float *logits;
    int32_t rows, vocabulary, n_top;
    const int32_t *ids;          /* host, [rows]; -1: the row is not looked at */
    struct mr_sampled *out;      /* host, [rows]: id as given, its logprob, top */
};

struct mr_ops {
    const char *device_name;     /* "cpu", "cuda" */
    enum mr_dtype act_dtype;
    bool makes_random;           /* weight_open takes parts without data */

    enum mr_status (*open)(const struct mr_device_options *options, struct mr_device **out, struct mr_err *err);
    void (*close)(struct mr_device *device);
    const char *(*path)(const struct mr_device *device); /* kernel path: "cpu-exact-1", "cpu-fast-avx2-1", ... */

    void *(*alloc)(struct mr_device *device, size_t bytes); /* NULL: none left; at start only */
    void (*memory)(struct mr_device *device, size_t *left, size_t *total); /* bytes; NULL where that is not the device's to say (a CPU) */
    void (*release)(struct mr_device *device, void *memory);
    float *(*upload_f32)(struct mr_device *device, const float *host, size_t n); /* small constant vectors; at start only */
    enum mr_status (*download)(struct mr_device *device, void *host, const void *memory, size_t bytes); /* after `finish`; for tests */
    enum mr_status (*weight_open)(struct mr_device *device, const struct mr_weight_part *parts, int n_parts, int64_t k,
                                  struct mr_weight **out, struct mr_err *err);
    void (*weight_close)(struct mr_device *device, struct mr_weight *weight);
    size_t (*weight_bytes)(const struct mr_weight *weight); /* resident bytes beyond the file's own pages */

    enum mr_status (*begin)(struct mr_device *device, const struct mr_batch *batch);
    enum mr_status (*embed)(struct mr_device *device, const struct mr_embed_params *params);
    enum mr_status (*norm)(struct mr_device *device, const struct mr_norm_params *params);
    enum mr_status (*matmul)(struct mr_device *device, const struct mr_matmul_params *params);
    enum mr_status (*qkv)(struct mr_device *device, const struct mr_qkv_params *params);
    enum mr_status (*attention)(struct mr_device *device, const struct mr_attention_params *params);
    enum mr_status (*glu)(struct mr_device *device, const struct mr_glu_params *params);
    enum mr_status (*gather)(struct mr_device *device, const struct mr_gather_params *params);
    enum mr_status (*sample)(struct mr_device *device, const struct mr_sample_params *params);
    enum mr_status (*score)(struct mr_device *device, const struct mr_score_params *params);
    void (*ceilings)(struct mr_device *device, struct mr_ceilings *out); /* takes seconds; needs some 3 GB free on a card */
    enum mr_status (*finish)(struct mr_device *device); /* the step is done; helpers sleep (CPU), results are on the host */

    /* Both NULL where a step is done once it is issued. leave, in place of finish: the step's results stay under way, and the next step may
     * be issued behind it. collect: waits for the oldest step left; its results are on the host. One may be left while another is issued. */
    enum mr_status (*leave)(struct mr_device *device);
    enum mr_status (*collect)(struct mr_device *device);

    /* All NULL where a device has nothing to record. replay: the last step's record, if it was one, n times back to back and alone; the
     * nanoseconds that took, 0: it was none. end: the forward pass from begin to the logits has been issued. warm: before
     * serving, calls run(self, rows) for each row count that the device wants to time, then record; run issues one forward pass
     * over `rows` idle rows (each its own sequence of length 0, slots -1: nothing is read from or written to the cache). */
    enum mr_status (*end)(struct mr_device *device);
    int64_t (*replay)(struct mr_device *device, int n);
    enum mr_status (*warm)(struct mr_device *device, enum mr_status (*run)(void *self, int32_t rows), void *self, struct mr_err *err);
};

const struct mr_ops *mr_ops_cpu(void);
/* NULL when this build has no CUDA or no usable card is there (the reason in err). */
const struct mr_ops *mr_ops_cuda(struct mr_err *err);

#ifdef __cplusplus
}
#endif
#endif
