/* Everything one model file gives: weights and graph, tokenizer, chat template, and the KV store sized for it.
 * Opened before any thread; model and store then belong to the engine thread, the rest may be read by any. */
#ifndef MR_WORKER_BUNDLE_H
#define MR_WORKER_BUNDLE_H

#include "kv/kv_store.h"
#include "worker/engine.h"
#include "worker/model/model.h"
#include "worker/text/chat.h"
#include "worker/text/tokenizer.h"

struct mr_bundle_options {
    const char *source;           /* path or synthetic:SHAPE */
    const char *weights;          /* "file"; "fp8": the linear layers in e4m3 (cuda); NULL: file */
    const char *name;             /* what jobs call it; NULL: the file's name */
    int threads;                  /* 0: one a core */
    bool pin;
    enum mr_precision precision;
    const char *device;           /* "cpu", "cuda", "auto" (cuda where it can be had); NULL: cpu */
    int32_t block_tokens;
    size_t kv_bytes;              /* memory for the cache; 0: MR_BUNDLE_KV_BYTES, on a device that says what it has left that but a part in
                                     MR_BUNDLE_SPARE_PART, for recorded steps and others */
    bool kv_fp8;                  /* its elements in e4m3 (cuda) */
    int32_t max_step_tokens, max_seqs, max_logits;
    int32_t max_context;          /* 0: the model's own */
    uint64_t seed;
};

#define MR_BUNDLE_KV_BYTES ((size_t)1 << 30)
enum { MR_BUNDLE_SPARE_PART = 32 };

/* What a device's memory went to, bytes; all 0 where the device does not say. */
struct mr_bundle_memory {
    size_t total, others;         /* others: taken before the model was opened */
    size_t model;                 /* weights, activations, logits */
    size_t cache;
    size_t warm;                  /* recorded steps, and what the choice of kernels keeps */
    size_t left;
};

struct mr_bundle {
    const struct mr_ops *ops;
    struct mr_device *device;
    struct mr_model *model;
    struct mr_kv_store *store;
    struct mr_tokenizer *tokenizer;
    struct mr_chat *chat;         /* NULL: the model has no template, or one not understood (chat_error says which) */
    char chat_error[MR_ERR_TEXT_BYTES];
    char name[128];
    int32_t context;              /* longest prompt + output */
    struct mr_bundle_memory memory;
    int64_t model_ns, open_ns;    /* what opening took: the model's part; all */
};

/* Prints nothing. context is max_context, or the model's own; the cache gets as many blocks as fit its memory (at least one).
 * MR_ERR_INVALID, MR_ERR_LIMIT: an option does not fit the model, or the file is wrong; err says which and how. */
enum mr_status mr_bundle_open(const struct mr_bundle_options *options, struct mr_bundle **out, struct mr_err *err);
void mr_bundle_close(struct mr_bundle *bundle);
/* The tokenizer alone, without weights or device; the caller closes it. */
enum mr_status mr_bundle_open_tokenizer(const char *source, struct mr_tokenizer **out, struct mr_err *err);
/* The real forward port over this bundle's model and store. */
struct mr_forward_port mr_bundle_forward(struct mr_bundle *bundle);

#endif
