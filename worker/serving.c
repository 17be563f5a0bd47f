#include "worker/serving.h"

static enum mr_status serving_open_bundle(const struct mr_options *options, struct mr_serving *out, struct mr_err *err)
{
    if (options->model[0] == '\0')
        return mr_err_set(err, MR_ERR_INVALID, "no model is given: option `model` is a GGUF file or synthetic:SHAPE");
    struct mr_bundle_options bundle = {
        .source = options->model,
        .name = options->model_name[0] ? options->model_name : NULL,
        .threads = (int)options->engine.threads,
        .pin = options->engine.pin,
        .device = options->engine.device,
        .weights = options->engine.weights,
        .precision = (enum mr_precision)options->engine.precision,
        .block_tokens = (int32_t)options->kv.block_tokens,
        .kv_bytes = (size_t)options->kv.memory_bytes,
        .max_step_tokens = (int32_t)options->engine.max_step_tokens,
        .max_seqs = (int32_t)options->engine.max_seqs,
        .max_logits = (int32_t)options->engine.max_logits,
        .max_context = (int32_t)options->engine.max_context,
        .seed = (uint64_t)options->engine.seed,
    };
    return mr_bundle_open(&bundle, &out->bundle, err);
}

enum mr_status mr_serving_open(const struct mr_options *options, struct mr_serving *out, struct mr_err *err)
{
    *out = (struct mr_serving){0};
    enum mr_status status = serving_open_bundle(options, out, err);
    if (status != MR_OK)
        return status;
    const struct mr_kv_store_options *store = &out->bundle->store->options;
    out->engine_options = (struct mr_engine_options){
        .sched = {
            .n_blocks = store->n_blocks,
            .block_tokens = store->block_tokens,
            .max_seqs = (int32_t)options->engine.max_seqs,
            .max_step_tokens = (int32_t)options->engine.max_step_tokens,
            .max_jobs = (int32_t)options->limits.jobs,
            .max_tenants = (int32_t)options->limits.tenants,
            .max_context = out->bundle->context,
            .chunk_quantum = (int32_t)options->engine.chunk_tokens,
        },
        .forward = mr_bundle_forward(out->bundle),
        .bundle = out->bundle,
        .max_logits = (int32_t)options->engine.max_logits,
        .prefix_cache = options->kv.prefix_cache,
    };
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        out->engine_options.sched.tier[tier] = (struct mr_sched_tier_config){
            .ttft_ns = options->tier[tier].ttft_ms * MR_NS_PER_MS,
            .tpot_ns = options->tier[tier].tpot_ms * MR_NS_PER_MS,
            .floor_permille = (int32_t)options->tier[tier].floor_permille,
        };
    struct mr_admit_options admit = {
        .prompt_tokens = options->limits.prompt_tokens,
        .output_tokens = options->limits.output_tokens,
        .result_bytes = options->result.max_bytes,
        .cache_tokens = (int64_t)store->n_blocks * store->block_tokens,
    };
    mr_admit_open(&out->admit, out->bundle, &admit);
    status = mr_engine_open(&out->engine_options, &out->engine, err);
    if (status != MR_OK)
        mr_serving_close(out);
    return status;
}

void mr_serving_close(struct mr_serving *serving)
{
    mr_engine_close(serving->engine);
    if (serving->bundle)
        mr_bundle_close(serving->bundle);
    *serving = (struct mr_serving){0};
}
