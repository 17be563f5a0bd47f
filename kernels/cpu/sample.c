/* Owns nothing: a row of logits goes in, a token comes out. The formula and its order stand in kernels/sampling.h.
 * Invariants:
 * 1. No full sort and no allocation: a cut is found by three passes of a histogram over the bits of the ordered value.
 * 2. Cuts compare integers (ordered values, fixed-point weights), so no result depends on the order of a sum.
 * 3. The edited logits z live in the caller's scratch; a row without edits is read where it lies.
 * 4. A token is only worth its logarithms when a bound says that it could still win: most ids cost one comparison.
 * 5. sample_avx2.c does the long loops over the vocabulary with the same integers and the same logarithms: the same token.
 * Thread: any, rows are independent. Rejected: sorting (twice the time at 49,152 ids and not stable on ties across devices);
 * inverse-CDF sampling (its running sum depends on the order). */
#include "kernels/cpu/sample.h"

#include "kernels/cpu/device.h"
#include "kernels/cpu/score.h"
#include "kernels/sampling.h"

#include "base/check.h"

#include <float.h>

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, FEW = 16384 };

/* How much must be kept: a number of ids, or an amount of weight. */
struct demand {
    bool weighted;
    uint64_t target;
};

/* Whether z is still in; banned ids (-inf) and NaN never are. */
static bool field_has(const struct mr_sample_field *f, float z) { return z >= f->floor; }

static float key_value(uint32_t key)
{
    uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint64_t field_weight(const struct mr_sample_field *f, const struct demand *demand, float z)
{
    return demand->weighted ? mr_sample_weight((z - f->largest) / f->temperature) : 1;
}

/* The largest value v for which the ids with z >= v meet the demand; floor when all together do not. */
static float field_cut(const struct mr_sample_field *f, struct demand demand)
{
    static const int shifts[] = {32 - DIGIT_BITS, 32 - 2 * DIGIT_BITS, 0};
    uint64_t histogram[DIGITS], target = demand.target ? demand.target : 1;
    uint32_t prefix = 0;
    for (int pass = 0, above = 32; pass < 3; above = shifts[pass++]) {
        int shift = shifts[pass], bits = above - shift;
        uint64_t total = 0;
        memset(histogram, 0, sizeof histogram);
        for (int32_t id = 0; id < f->n; id++) {
            if (!field_has(f, f->z[id]))
                continue;
            uint32_t key = mr_order_key(f->z[id]);
            if (above < 32 && key >> above != prefix)
                continue;
            uint64_t weight = field_weight(f, &demand, f->z[id]);
            histogram[key >> shift & ((1u << bits) - 1)] += weight;
            total += weight;
        }
        if (target > total) /* only in the first pass: fewer ids than asked for */
            return f->floor;
        uint32_t digit = (1u << bits) - 1;
        for (; histogram[digit] < target; digit--)
            target -= histogram[digit];
        prefix = prefix << bits | digit;
    }
    return key_value(prefix);
}

/* The weight of all that is in; *start: a value that the cut cannot lie below (plain: the floor). */
static uint64_t field_total(const struct mr_sample_field *f, double share, const struct mr_sample_loops *loops, float *start)
{
    uint64_t total = 0;
    *start = f->floor;
    if (loops)
        return loops->total(f, share, start);
    for (int32_t id = 0; id < f->n; id++)
        if (field_has(f, f->z[id]))
            total += mr_sample_weight((f->z[id] - f->largest) / f->temperature);
    return total;
}

/* The cut, known to be at start or above: of a long row only what lies there is looked at three times. */
static float field_cut_from(const struct mr_sample_field *f, struct demand demand, float start, const struct mr_sample_loops *loops)
{
    float few[FEW];
    struct mr_sample_field upper = *f;
    int32_t n = loops ? loops->collect(f, start, few, FEW) : -1;
    upper.floor = start;
    if (n >= 0)
        upper.z = few, upper.n = n;
    return field_cut(&upper, demand);
}

static void field_narrow(struct mr_sample_field *f, const struct mr_sample_row *row, const struct mr_sample_loops *loops)
{
    float start;
    if (row->min_p > 0) {
        float cut = mr_sample_min_p_cut(f->largest, row->temperature, row->min_p);
        f->floor = fmaxf(f->floor, fminf(cut, f->largest)); /* min_p 1 keeps the largest, whatever the rounding */
    }
    if (row->top_k > 0 && row->top_k < f->n) {
        start = f->floor;
        if (loops)
            loops->start(f, row->top_k, &start);
        f->floor = field_cut_from(f, (struct demand){.target = (uint64_t)row->top_k}, start, loops);
    }
    if (row->top_p < 1) {
        uint64_t total = field_total(f, (double)row->top_p, loops, &start);
        struct demand demand = {.weighted = true, .target = mr_sample_target(total, (double)row->top_p)};
        f->floor = field_cut_from(f, demand, start, loops);
    }
}

void mr_sample_draw_range(const struct mr_sample_field *f, const struct mr_sample_row *row, int32_t first, int32_t end,
                          struct mr_sample_best *best)
{
    for (int32_t id4 = first / 4; id4 * 4 < end; id4++) {
        struct mr_philox random;
        bool drawn = false;
        for (int32_t id = id4 * 4; id < id4 * 4 + 4 && id < end; id++) {
            float scaled = f->z[id] / f->temperature;
            if (!field_has(f, f->z[id]) || scaled + MR_SAMPLE_GUMBEL_MAX < best->score)
                continue;
            if (!drawn)
                random = mr_sample_random(row->seed, row->choice, row->position, (uint32_t)id4), drawn = true;
            mr_sample_try(scaled, random.word[id & 3], id, best);
        }
    }
}

/* Starts from the likeliest id's score, so that the bounds shut out most others from the first. */
static int32_t field_draw(const struct mr_sample_field *f, const struct mr_sample_row *row, int32_t likeliest, const struct mr_sample_loops *loops)
{
    struct mr_philox first = mr_sample_random(row->seed, row->choice, row->position, (uint32_t)likeliest / 4);
    struct mr_sample_best best = {f->z[likeliest] / f->temperature + mr_sample_gumbel(first.word[likeliest & 3]), likeliest};
    if (loops)
        loops->draw(f, row, &best);
    else
        mr_sample_draw_range(f, row, 0, f->n, &best);
    return best.id;
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

/* loops: NULL for the plain code. */
static void row_sample(const float *logits, int32_t vocabulary, const struct mr_sample_row *row, float *scratch,
                       const struct mr_sample_loops *loops, struct mr_sampled *out)
{
    const float *z = logits;
    if (mr_sample_row_edits(row)) {
        CHECK(scratch);
        row_edit(logits, vocabulary, row, scratch);
        z = scratch;
    }
    *out = (struct mr_sampled){.id = loops ? loops->largest(z, vocabulary) : largest_find(z, vocabulary)};
    if (row->temperature >= MR_SAMPLE_GREEDY_BELOW && out->id >= 0) {
        struct mr_sample_field field = {.z = z, .n = vocabulary, .largest = z[out->id], .temperature = row->temperature, .floor = -FLT_MAX};
        field_narrow(&field, row, loops);
        out->id = field_draw(&field, row, out->id, loops);
    }
    if (row->n_logprobs >= 0 && out->id >= 0)
        mr_cpu_score_row(logits, vocabulary, row->n_logprobs, out);
}

void mr_cpu_sample_row(const float *logits, int32_t vocabulary, const struct mr_sample_row *row, float *scratch, struct mr_sampled *out)
{
    row_sample(logits, vocabulary, row, scratch, NULL, out);
}

struct sample_context {
    const struct mr_sample_params *params;
    const struct mr_sample_loops *loops; /* NULL: plain */
};

static void sample_item(void *context, int32_t r, int thread)
{
    const struct sample_context *c = context;
    const struct mr_sample_params *p = c->params;
    int64_t at = (int64_t)r * p->vocabulary;
    (void)thread;
    row_sample(p->logits + at, p->vocabulary, &p->row[r], p->scratch ? p->scratch + at : NULL, c->loops, &p->out[r]);
}

enum mr_status mr_cpu_sample(struct mr_device *device, const struct mr_sample_params *params)
{
    const struct mr_sample_params *p = params;
    struct sample_context context = {p, device ? device->path->sample : NULL};
    if (p->rows < 0 || p->vocabulary < 1)
        return MR_ERR_UNSUPPORTED;
    for (int32_t r = 0; r < p->rows; r++)
        if (p->row[r].n_logprobs > MR_LOGPROBS_MAX || (!p->scratch && mr_sample_row_edits(&p->row[r])))
            return MR_ERR_UNSUPPORTED;
    if (device)
        mr_threads_run(device->threads, p->rows, sample_item, &context);
    for (int32_t r = 0; !device && r < p->rows; r++)
        sample_item(&context, r, 0);
    return MR_OK;
}
