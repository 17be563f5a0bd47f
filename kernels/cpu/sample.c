/* Owns nothing: a row of logits goes in, a token comes out. The formula and its order stand in kernels/sampling.h.
 * Invariants:
 * 1. No full sort and no allocation: a cut is found by three passes of a histogram over the bits of the ordered value.
 * 2. Cuts compare integers (ordered values, fixed-point weights), so no result depends on the order of a sum.
 * 3. The edited logits z live in the caller's scratch; a row without edits is read where it lies.
 * 4. A token is only worth its logarithms when a bound says that it could still win: most ids cost one comparison.
 * Thread: any, rows are independent. Rejected: sorting (twice the time at 49,152 ids and not stable on ties across devices);
 * inverse-CDF sampling (its running sum depends on the order). */
#include "kernels/cpu/sample.h"

#include "kernels/cpu/device.h"
#include "kernels/cpu/score.h"
#include "kernels/sampling.h"

#include "base/check.h"

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS };

/* What is still in: ids whose ordered z is at least floor. */
struct field {
    const float *z;
    int32_t n;
    float largest, temperature;
    uint32_t floor;
};

/* How much must be kept: a number of ids, or a share of the weight. */
struct demand {
    bool weighted;
    uint64_t count;
    double share;
};

static bool field_has(const struct field *f, int32_t id, uint32_t *key)
{
    float z = f->z[id];
    if (!(z > -INFINITY)) /* banned or NaN */
        return false;
    *key = mr_order_key(z);
    return *key >= f->floor;
}

/* The largest ordered value v for which the ids with z >= v meet the demand; floor when all together do not. */
static uint32_t field_cut(const struct field *f, struct demand demand)
{
    static const int shifts[] = {32 - DIGIT_BITS, 32 - 2 * DIGIT_BITS, 0};
    uint64_t histogram[DIGITS], target = demand.count;
    uint32_t prefix = 0;
    for (int pass = 0, above = 32; pass < 3; above = shifts[pass++]) {
        int shift = shifts[pass], bits = above - shift;
        uint64_t total = 0;
        memset(histogram, 0, sizeof histogram);
        for (int32_t id = 0; id < f->n; id++) {
            uint32_t key;
            if (!field_has(f, id, &key) || (above < 32 && key >> above != prefix))
                continue;
            uint64_t weight = demand.weighted ? mr_sample_weight((f->z[id] - f->largest) / f->temperature) : 1;
            histogram[key >> shift & ((1u << bits) - 1)] += weight;
            total += weight;
        }
        if (pass == 0 && demand.weighted)
            target = (uint64_t)(demand.share * (double)total);
        target = target ? target : 1;
        if (target > total) /* only in the first pass: fewer ids than asked for */
            return f->floor;
        uint32_t digit = (1u << bits) - 1;
        for (; histogram[digit] < target; digit--)
            target -= histogram[digit];
        prefix = prefix << bits | digit;
    }
    return prefix;
}

static void field_narrow(struct field *f, const struct mr_sample_row *row)
{
    if (row->min_p > 0) {
        uint32_t key = mr_order_key(mr_sample_min_p_cut(f->largest, row->temperature, row->min_p)), top = mr_order_key(f->largest);
        f->floor = key < top ? key : top; /* min_p 1 keeps the largest, whatever the rounding */
    }
    if (row->top_k > 0 && row->top_k < f->n)
        f->floor = field_cut(f, (struct demand){.count = (uint64_t)row->top_k});
    if (row->top_p < 1)
        f->floor = field_cut(f, (struct demand){.weighted = true, .share = row->top_p});
}

/* Starts from the likeliest id's score, so that the bounds shut out most others from the first. */
static int32_t field_draw(const struct field *f, const struct mr_sample_row *row, int32_t likeliest)
{
    int32_t best_id = likeliest;
    struct mr_philox first = mr_sample_random(row->seed, row->choice, row->position, (uint32_t)likeliest / 4);
    float best = f->z[likeliest] / f->temperature + mr_sample_gumbel(first.word[likeliest & 3]);
    for (int32_t id4 = 0; id4 * 4 < f->n; id4++) {
        struct mr_philox random;
        bool drawn = false;
        for (int32_t id = id4 * 4; id < id4 * 4 + 4 && id < f->n; id++) {
            uint32_t key;
            if (!field_has(f, id, &key))
                continue;
            float scaled = f->z[id] / f->temperature;
            if (scaled + 0.69315f * 33 < best) /* no draw is larger than that */
                continue;
            if (!drawn)
                random = mr_sample_random(row->seed, row->choice, row->position, (uint32_t)id4), drawn = true;
            uint32_t r = random.word[id & 3];
            if (scaled + mr_sample_gumbel_bound(r) < best)
                continue;
            float score = scaled + mr_sample_gumbel(r);
            if (score > best || (score == best && id < best_id))
                best = score, best_id = id;
        }
    }
    return best_id;
}

static int32_t largest_find(const float *z, int32_t n)
{
    float best = -INFINITY;
    int32_t best_id = -1;
    for (int32_t id = 0; id < n; id++)
        if (z[id] > best)
            best = z[id], best_id = id;
    return best_id;
}

static bool has_penalties(const struct mr_sample_row *row)
{
    return row->n_history > 0 && (row->repetition_penalty != 1 || row->frequency_penalty != 0 || row->presence_penalty != 0);
}

bool mr_sample_row_edits(const struct mr_sample_row *row) { return row->n_bias > 0 || row->mask || has_penalties(row); }

static void row_edit(const float *logits, int32_t vocabulary, const struct mr_sample_row *row, float *z)
{
    memcpy(z, logits, (size_t)vocabulary * sizeof *z);
    for (int32_t i = 0; i < row->n_bias; i++)
        if (row->bias_ids[i] >= 0 && row->bias_ids[i] < vocabulary)
            z[row->bias_ids[i]] += row->bias_values[i];
    for (int32_t i = 0; has_penalties(row) && i < row->n_history; i++) {
        int32_t id = row->history_ids[i], count = row->history_counts[i];
        if (id < 0 || id >= vocabulary)
            continue;
        z[id] = z[id] > 0 ? z[id] / row->repetition_penalty : z[id] * row->repetition_penalty;
        z[id] -= row->frequency_penalty * (float)count;
        z[id] -= count > 0 ? row->presence_penalty : 0;
    }
    for (int32_t id = 0; row->mask && id < vocabulary; id++)
        if (!(row->mask[id / 32] >> (id % 32) & 1))
            z[id] = -INFINITY;
}

void mr_cpu_sample_row(const float *logits, int32_t vocabulary, const struct mr_sample_row *row, float *scratch, struct mr_sampled *out)
{
    const float *z = logits;
    if (mr_sample_row_edits(row)) {
        CHECK(scratch);
        row_edit(logits, vocabulary, row, scratch);
        z = scratch;
    }
    *out = (struct mr_sampled){.id = largest_find(z, vocabulary)};
    if (row->temperature >= MR_SAMPLE_GREEDY_BELOW && out->id >= 0) {
        struct field field = {.z = z, .n = vocabulary, .largest = z[out->id], .temperature = row->temperature};
        field_narrow(&field, row);
        out->id = field_draw(&field, row, out->id);
    }
    if (row->n_logprobs >= 0 && out->id >= 0)
        mr_cpu_score_row(logits, vocabulary, row->n_logprobs, out);
}

static void sample_item(void *context, int32_t r, int thread)
{
    const struct mr_sample_params *params = context;
    int64_t at = (int64_t)r * params->vocabulary;
    (void)thread;
    mr_cpu_sample_row(params->logits + at, params->vocabulary, &params->row[r], params->scratch ? params->scratch + at : NULL, &params->out[r]);
}

enum mr_status mr_cpu_sample(struct mr_device *device, const struct mr_sample_params *params)
{
    struct mr_sample_params p = *params;
    if (p.rows < 0 || p.vocabulary < 1)
        return MR_ERR_UNSUPPORTED;
    for (int32_t r = 0; r < p.rows; r++)
        if (p.row[r].n_logprobs > MR_LOGPROBS_MAX || (!p.scratch && mr_sample_row_edits(&p.row[r])))
            return MR_ERR_UNSUPPORTED;
    if (device)
        mr_threads_run(device->threads, p.rows, sample_item, &p);
    for (int32_t r = 0; !device && r < p.rows; r++)
        sample_item(&p, r, 0);
    return MR_OK;
}
