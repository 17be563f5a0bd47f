/* Owns what a process serves with, opened in this order: bundle, admission to it, the cost of a step, the profile that follows from the
 * cost, engine.
 *
 * 1. A cost comes from one place: option scheduler.cost, else a file that an earlier start left (calibration_cache.h), else timed steps,
 * which must come before the engine: they write the cache at will. 2. What could not be measured or kept is told and is no failure.
 * Rejected: a calibration beside the first jobs; their tokens would wait for it. Before any thread. */
#include "worker/serving.h"

#include "base/clock.h"
#include "base/log.h"
#include "worker/calibration.h"
#include "worker/calibration_cache.h"
#include "worker/contract.h"
#include "worker/policy.h"

#include <sys/random.h>

enum { SERVING_CHUNK_TOKENS = 16 };

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
        .kv_fp8 = options->kv.type == 1,
        .max_step_tokens = (int32_t)options->engine.max_step_tokens,
        .max_seqs = (int32_t)options->engine.max_seqs,
        .max_logits = (int32_t)options->engine.max_logits,
        .max_context = (int32_t)options->engine.max_context,
        .seed = (uint64_t)options->engine.seed,
    };
    return mr_bundle_open(&bundle, &out->bundle, err);
}

static bool serving_key(const struct mr_options *options, const struct mr_bundle *bundle, char key[MR_CALIBRATION_KEY_BYTES])
{
    struct mr_calibration_identity identity = {
        .model = mr_model_digest(bundle->model), .path = bundle->ops->path(bundle->device), .weights = options->engine.weights,
        .threads = options->engine.threads, .block_tokens = options->kv.block_tokens, .kv_type = options->kv.type,
        .max_seqs = options->engine.max_seqs, .max_step_tokens = options->engine.max_step_tokens, .max_logits = options->engine.max_logits};
    return mr_calibration_key(&identity, key);
}

/* false: the device is too slow for the time there is, or *status is an error. */
static bool serving_measure(const struct mr_options *options, struct mr_serving *out, enum mr_status *status, struct mr_err *err)
{
    struct mr_step_sample samples[MR_CALIBRATION_SAMPLES_MAX];
    struct mr_sched_config *sched = &out->engine_options.sched;
    const struct mr_calibration_options limits = {sched->max_seqs, sched->max_step_tokens, out->engine_options.max_logits,
                                                  options->scheduler.calibrate_ms * MR_NS_PER_MS};
    char text[MR_STEP_COST_TEXT_BYTES];
    int32_t n;
    *status = mr_calibration_grid(out->bundle, &limits, samples, &n, err);
    if (*status != MR_OK)
        return false;
    if (!mr_step_cost_fit(samples, n, &sched->cost)) {
        mr_log(MR_LOG_WARN, "scheduler.uncalibrated", "steps=%d note=\"too slow for scheduler.calibrate: service levels shape no step\"", n);
        return false;
    }
    mr_step_cost_print(&sched->cost, text);
    mr_log(MR_LOG_INFO, "scheduler.calibrated", "steps=%d error=%.3f cost=\"%s\"", n, mr_step_cost_error(&sched->cost, samples, n, 0.5), text);
    return true;
}

/* The cost of a step: given, kept from an earlier start, measured now, or none. */
static enum mr_status serving_cost(const struct mr_options *options, struct mr_serving *out, struct mr_err *err)
{
    struct mr_sched_cost *cost = &out->engine_options.sched.cost;
    const char *folder = options->scheduler.calibration;
    char key[MR_CALIBRATION_KEY_BYTES], text[MR_STEP_COST_TEXT_BYTES];
    enum mr_status status;
    if (options->scheduler.cost[0]) {
        mr_step_cost_parse(options->scheduler.cost, cost);
        return MR_OK;
    }
    if (options->scheduler.calibrate_ms == 0)
        return MR_OK;
    const struct mr_clock clock = mr_clock_system();
    int64_t now_s = mr_clock_wall_ms(&clock) / 1000;
    bool keyed = folder[0] && serving_key(options, out->bundle, key);
    if (keyed && mr_calibration_cache_load(folder, key, now_s, cost)) {
        mr_step_cost_print(cost, text);
        mr_log(MR_LOG_INFO, "scheduler.calibrated", "steps=0 from=\"%s\" cost=\"%s\"", folder, text);
        return MR_OK;
    }
    if (serving_measure(options, out, &status, err) && keyed && !mr_calibration_cache_store(folder, key, now_s, cost))
        mr_log(MR_LOG_WARN, "scheduler.calibration_unkept", "folder=\"%s\"", folder);
    return status;
}

static struct mr_sched_config serving_sched(const struct mr_options *options, const struct mr_bundle *bundle)
{
    struct mr_sched_config sched = {
        .n_blocks = bundle->store->options.n_blocks,
        .block_tokens = bundle->store->options.block_tokens,
        .max_seqs = (int32_t)options->engine.max_seqs,
        .max_step_tokens = (int32_t)options->engine.max_step_tokens,
        .max_jobs = (int32_t)options->limits.jobs,
        .max_tenants = (int32_t)options->limits.tenants,
        .max_context = bundle->context,
        .chunk_quantum = (int32_t)options->engine.chunk_tokens,
        .floor_tokens = (int32_t)options->scheduler.floor_tokens,
        .forced_chunk = (int32_t)options->scheduler.forced_chunk,
        .window_tokens = (int32_t)options->scheduler.window_tokens,
        .backfill_keep_permille = (int32_t)options->scheduler.backfill_keep_permille,
        .pace_permille = (int32_t)options->scheduler.pace_permille,
        .input_permille = (int32_t)options->scheduler.input_permille,
        .cached_permille = (int32_t)options->scheduler.cached_permille,
        .output_permille = (int32_t)options->scheduler.output_permille,
    };
    for (int tier = 0; tier < MR_TIER_COUNT; tier++)
        sched.tier[tier] = (struct mr_sched_tier_config){
            .ttft_ns = options->tier[tier].ttft_ms * MR_NS_PER_MS,
            .tpot_ns = options->tier[tier].tpot_ms * MR_NS_PER_MS,
            .floor_permille = (int32_t)options->tier[tier].floor_permille,
        };
    mr_policy_apply(options->scheduler.policy, &sched);
    if (options->scheduler.window_tokens == 0)
        sched.off |= MR_PART_WINDOW;
    return sched;
}

/* What one job alone can have here, and what the steps are cut to. */
static void serving_profile(const struct mr_options *options, struct mr_sched_config *sched)
{
    if (!sched->cost.floor_ps && !sched->chunk_quantum)
        sched->chunk_quantum = SERVING_CHUNK_TOKENS; /* nothing is known of the device */
    mr_sched_config_profile(sched);
    if (!options->scheduler.cost[0] && !options->scheduler.calibrate_ms)
        return;
    mr_log(MR_LOG_INFO, "scheduler.profile", "chunk=%d floor=%d forced=%d realtime_ttft_ms=%lld realtime_tpot_ms=%lld standard_ttft_ms=%lld "
           "standard_tpot_ms=%lld", sched->chunk_quantum, sched->floor_tokens, sched->forced_chunk,
           (long long)(sched->tier[MR_TIER_REALTIME].ttft_ns / MR_NS_PER_MS), (long long)(sched->tier[MR_TIER_REALTIME].tpot_ns / MR_NS_PER_MS),
           (long long)(sched->tier[MR_TIER_STANDARD].ttft_ns / MR_NS_PER_MS), (long long)(sched->tier[MR_TIER_STANDARD].tpot_ns / MR_NS_PER_MS));
}

static struct mr_sched_tenant serving_contract(void *options, struct mr_str tenant) { return mr_contract_of(options, tenant); }

/* No randomness at hand is no reason not to start: it only keeps others from choosing buckets. */
static uint64_t secret(void)
{
    uint64_t random = 0;
    ssize_t n = getrandom(&random, sizeof random, 0);
    return n == sizeof random ? random : 0;
}

enum mr_status mr_serving_open(const struct mr_options *options, struct mr_serving *out, struct mr_err *err)
{
    *out = (struct mr_serving){0};
    enum mr_status status = serving_open_bundle(options, out, err);
    if (status != MR_OK)
        return status;
    const struct mr_kv_store_options *store = &out->bundle->store->options;
    const struct mr_bundle_memory *memory = &out->bundle->memory;
    if (memory->total)
        mr_log(MR_LOG_INFO, "memory.plan", "total_mb=%zu others_mb=%zu model_mb=%zu cache_mb=%zu cache_tokens=%lld warm_mb=%zu left_mb=%zu",
               memory->total >> 20, memory->others >> 20, memory->model >> 20, memory->cache >> 20, (long long)store->n_blocks * store->block_tokens,
               memory->warm >> 20, memory->left >> 20);
    out->engine_options = (struct mr_engine_options){
        .sched = serving_sched(options, out->bundle),
        .forward = mr_bundle_forward(out->bundle),
        .bundle = out->bundle,
        .max_logits = (int32_t)options->engine.max_logits,
        .prefix_cache = options->kv.prefix_cache,
        .names_seed = secret(),
        .track_cost = options->scheduler.track,
        .contract = serving_contract,
        .contract_self = (void *)(uintptr_t)options,
    };
    struct mr_admit_options admit = {
        .prompt_tokens = options->limits.prompt_tokens,
        .output_tokens = options->limits.output_tokens,
        .result_bytes = options->result.max_bytes,
        .cache_tokens = (int64_t)store->n_blocks * store->block_tokens,
    };
    mr_admit_open(&out->admit, out->bundle, &admit);
    status = serving_cost(options, out, err);
    serving_profile(options, &out->engine_options.sched);
    if (status == MR_OK)
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
