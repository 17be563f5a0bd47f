/* Attention in AVX2, for the order of sums of attention.h.
 *
 * 1. A score is eight lanes over the head's elements (i mod 8 ascending), then one tree: it depends on its query and key alone.
 * 2. l is eight lanes over positions (t mod 8), then the same tree; masked lanes add exact zero. a is one chain a query and element.
 * 3. Keys past the sequence's end are never read: a group of four that crosses it reads a written key twice, and the score is masked.
 *    Values outside a query's own range are never multiplied.
 * Thread: any, on disjoint blocks. Rejected: transposing keys into lanes (dearer than the tree at three heads a group), scores of the
 * whole context at once (no bound on memory). */
#include "kernels/cpu/attention.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include "kernels/cpu/vector_avx2.h"

#include <string.h>

enum {
    TILE = MR_ATTENTION_TILE,
    QUERIES = MR_ATTENTION_QUERIES,
    STRIP = 32, /* keys whose rows stay in the first cache while all queries pass */
    Q_STEP = 3,
    KEY_STEP = 4,
    V_STEP = 4,
};

/* One query's keys in the tile, counted from the tile's start: first .. end - 1. */
struct range {
    int32_t first, end;
};

/* A block at work. */
struct state {
    const struct mr_attention_params *params;
    int32_t n, d;                       /* queries, head_dim */
    const float *q[QUERIES];
    int32_t position[QUERIES];
    int64_t cell[2 * TILE];             /* where the keys of the tile and the next one lie in the cache, in elements */
    int32_t n_cells;
    bool fresh;                         /* nobody has asked for this tile's keys yet */
    struct range range[QUERIES];
    float tile_max[QUERIES], tile_sum[QUERIES], max[QUERIES], sum[QUERIES];
    float *score, *tile_out, *out;      /* [n][TILE], [n][d], [n][d] */
};

MR_INLINE __m256 load_cell(enum mr_dtype dtype, const void *cache, int64_t at)
{
    if (dtype == MR_F32)
        return _mm256_loadu_ps((const float *)cache + at);
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)((const uint16_t *)cache + at)));
}

/* score[q + i][t + 0..3] for i < n. */
MR_INLINE void score_step(int n, enum mr_dtype dtype, const struct state *s, int32_t q, int32_t t, const int64_t cell[KEY_STEP])
{
    const void *k = s->params->kv->k;
    __m256 acc[Q_STEP][KEY_STEP];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < KEY_STEP; j++)
            acc[i][j] = _mm256_setzero_ps();
    const float *q0 = s->q[q], *q1 = s->q[q + (n > 1 ? 1 : 0)], *q2 = s->q[q + (n > 2 ? 2 : 0)];
    for (int32_t x = 0; x < s->d; x += 8) {
        __m256 qx[Q_STEP] = {_mm256_loadu_ps(q0 + x), _mm256_loadu_ps(q1 + x), _mm256_loadu_ps(q2 + x)};
        for (int j = 0; j < KEY_STEP; j++) {
            __m256 key = load_cell(dtype, k, cell[j] + x);
            for (int i = 0; i < n; i++)
                acc[i][j] = _mm256_fmadd_ps(qx[i], key, acc[i][j]);
        }
    }
    for (int i = 0; i < n; i++)
        _mm_store_ps(s->score + (q + i) * TILE + t, mr_sum_lanes_of_4(acc[i][0], acc[i][1], acc[i][2], acc[i][3]));
}

/* Asks for n cells from t on. A few at a time, between the products: a burst of requests would hold them up. */
MR_INLINE void prefetch_cells(const struct state *s, const void *cache, enum mr_dtype dtype, int32_t t, int32_t n)
{
    const int64_t size = dtype == MR_F32 ? 4 : 2, bytes = s->d * size;
    int32_t first = t > s->range[0].first ? t : s->range[0].first, end = t + n < s->n_cells ? t + n : s->n_cells;
    for (int32_t i = first; i < end; i++) { /* cells before a window are not set */
        const char *cell = (const char *)cache + s->cell[i] * size;
        for (int64_t at = 0; at < bytes; at += 64)
            _mm_prefetch(cell + at, _MM_HINT_T1);
    }
}

/* Scores of queries q .. q + n - 1 for keys first .. end - 1; a key read past an end is one that is within. */
MR_INLINE void score_group(int n, enum mr_dtype dtype, const struct state *s, int32_t q, struct range keys)
{
    for (int32_t t = keys.first / KEY_STEP * KEY_STEP; t < keys.end; t += KEY_STEP) {
        int64_t cell[KEY_STEP];
        bool whole = t >= keys.first && t + KEY_STEP <= keys.end;
        for (int j = 0; !whole && j < KEY_STEP; j++) {
            int32_t key = t + j < keys.first ? keys.first : t + j;
            cell[j] = s->cell[key < keys.end ? key : keys.end - 1];
        }
        if (q == 0)
            prefetch_cells(s, s->params->kv->v, s->params->kv->v_dtype, t, KEY_STEP);
        if (q == 0 && s->fresh)
            prefetch_cells(s, s->params->kv->k, dtype, t + STRIP, KEY_STEP);
        score_step(n, dtype, s, q, t, whole ? s->cell + t : cell);
    }
}

/* Every score that some query needs. Queries are in ascending order of position. */
MR_INLINE void score_tile(enum mr_dtype dtype, const struct state *s)
{
    int32_t first = s->range[0].first, end = s->range[s->n - 1].end;
    for (int32_t t = first / STRIP * STRIP; t < end; t += STRIP) {
        struct range keys = {t > first ? t : first, t + STRIP < end ? t + STRIP : end};
        int32_t q = 0;
        while (s->range[q].end <= t)
            q++;
        for (; q + Q_STEP <= s->n; q += Q_STEP) {
            int32_t last = s->range[q + Q_STEP - 1].end;
            score_group(Q_STEP, dtype, s, q, (struct range){keys.first, keys.end < last ? keys.end : last});
        }
        if (s->n - q == 2)
            score_group(2, dtype, s, q, keys);
        else if (s->n - q == 1)
            score_group(1, dtype, s, q, keys);
    }
}

MR_INLINE __m256 cap_scores(__m256 x, float cap)
{
    const __m256 one = _mm256_set1_ps(1.0f); /* cap tanh(x / cap) = cap (1 - 2 / (1 + e^(2x / cap))) */
    __m256 e = mr_exp_avx2(_mm256_div_ps(_mm256_add_ps(x, x), _mm256_set1_ps(cap)));
    return _mm256_mul_ps(_mm256_set1_ps(cap), _mm256_sub_ps(one, _mm256_div_ps(_mm256_set1_ps(2.0f), _mm256_add_ps(one, e))));
}

/* Scores of one query to weights: exp(score - m), 0 outside its range. */
static void weigh_query(struct state *s, int32_t q)
{
    float *row = s->score + q * TILE;
    struct range range = s->range[q];
    const __m256 scale = _mm256_set1_ps(s->params->scale), nothing = _mm256_set1_ps(-INFINITY);
    int32_t from = range.first / 8 * 8;
    __m256 largest = nothing;
    for (int32_t t = from; t < range.end; t += 8) {
        __m256i inside = _mm256_andnot_si256(mr_mask_first(range.first - t), mr_mask_first(range.end - t));
        __m256 x = _mm256_mul_ps(_mm256_load_ps(row + t), scale);
        if (s->params->softcap > 0)
            x = cap_scores(x, s->params->softcap);
        x = _mm256_blendv_ps(nothing, x, _mm256_castsi256_ps(inside));
        _mm256_store_ps(row + t, x);
        largest = _mm256_max_ps(largest, x);
    }
    s->tile_max[q] = mr_max_lanes(largest);
    __m256 m = _mm256_set1_ps(s->tile_max[q]), sum = _mm256_setzero_ps();
    for (int32_t t = from; t < range.end; t += 8) {
        __m256 weight = mr_exp_avx2(_mm256_sub_ps(_mm256_load_ps(row + t), m));
        _mm256_store_ps(row + t, weight);
        sum = _mm256_add_ps(sum, weight);
    }
    s->tile_sum[q] = mr_sum_lanes(sum);
}

/* tile_out[q + i][x .. x + 8 width - 1] += weights times values of keys first .. end - 1, for i < n. */
MR_INLINE void value_step(int n, int width, enum mr_dtype dtype, const struct state *s, int32_t q, int32_t x, struct range keys)
{
    const void *v = s->params->kv->v;
    __m256 acc[Q_STEP][V_STEP];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < width; j++)
            acc[i][j] = _mm256_load_ps(s->tile_out + (q + i) * s->d + x + 8 * j);
    const float *weights = s->score + q * TILE;
    for (int32_t t = keys.first; t < keys.end; t++) {
        __m256 weight[Q_STEP];
        for (int i = 0; i < n; i++)
            weight[i] = _mm256_broadcast_ss(weights + i * TILE + t);
        if (q == 0 && x == 0)
            prefetch_cells(s, s->params->kv->k, s->params->kv->k_dtype, t + TILE, 1);
        for (int j = 0; j < width; j++) { /* twelve sums, three weights and one value: all registers */
            __m256 value = load_cell(dtype, v, s->cell[t] + x + 8 * j);
            for (int i = 0; i < n; i++)
                acc[i][j] = _mm256_fmadd_ps(weight[i], value, acc[i][j]);
        }
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < width; j++)
            _mm256_store_ps(s->tile_out + (q + i) * s->d + x + 8 * j, acc[i][j]);
}

MR_INLINE void value_queries(int n, enum mr_dtype dtype, const struct state *s, int32_t q, struct range keys)
{
    int32_t x = 0;
    for (; x + 8 * V_STEP <= s->d; x += 8 * V_STEP)
        value_step(n, V_STEP, dtype, s, q, x, keys);
    for (; x < s->d; x += 8)
        value_step(n, 1, dtype, s, q, x, keys);
}

static struct range within(struct range a, struct range b)
{
    return (struct range){a.first > b.first ? a.first : b.first, a.end < b.end ? a.end : b.end};
}

/* Queries q .. q + n - 1 in a strip: what all share goes together, what only some see before and after it, one by one: keys stay
 * ascending. */
MR_INLINE void value_group(int n, enum mr_dtype dtype, const struct state *s, int32_t q, struct range strip)
{
    struct range shared = strip;
    for (int i = 0; i < n; i++)
        shared = within(shared, s->range[q + i]);
    bool any = shared.first < shared.end;
    for (int i = 0; i < n; i++) {
        struct range before = within(strip, s->range[q + i]);
        before.end = any ? shared.first : before.end;
        if (before.first < before.end)
            value_queries(1, dtype, s, q + i, before);
    }
    if (!any)
        return;
    value_queries(n, dtype, s, q, shared);
    for (int i = 0; i < n; i++) {
        struct range after = within(strip, s->range[q + i]);
        after.first = shared.end;
        if (after.first < after.end)
            value_queries(1, dtype, s, q + i, after);
    }
}

MR_INLINE void value_tile(enum mr_dtype dtype, const struct state *s)
{
    int32_t first = s->range[0].first, end = s->range[s->n - 1].end;
    for (int32_t t = first / STRIP * STRIP; t < end; t += STRIP) {
        struct range strip = {t, t + STRIP};
        int32_t q = 0;
        while (s->range[q].end <= t)
            q++;
        for (; q + Q_STEP <= s->n; q += Q_STEP)
            value_group(Q_STEP, dtype, s, q, strip);
        if (s->n - q == 2)
            value_group(2, dtype, s, q, strip);
        else if (s->n - q == 1)
            value_group(1, dtype, s, q, strip);
    }
}

static float exp_one(float x)
{
    return _mm256_cvtss_f32(mr_exp_avx2(_mm256_set1_ps(x)));
}

/* (max, sum, out) of one query goes on with a tile's (m, l, a). */
static void merge_query(float *max, float *sum, float *out, float m, float l, const float *a, int32_t d)
{
    float largest = m > *max ? m : *max, keep = exp_one(*max - largest), add = exp_one(m - largest);
    *max = largest;
    *sum = *sum * keep + l * add;
    const __m256 keep_all = _mm256_set1_ps(keep), add_all = _mm256_set1_ps(add);
    for (int32_t x = 0; x < d; x += 8) {
        __m256 kept = _mm256_mul_ps(_mm256_loadu_ps(out + x), keep_all);
        _mm256_storeu_ps(out + x, _mm256_fmadd_ps(_mm256_loadu_ps(a + x), add_all, kept));
    }
}

static void start(struct state *s, const struct mr_attention_block *block)
{
    const struct mr_attention_params *p = block->params;
    int32_t group = p->n_heads / p->kv->n_kv_heads, d = p->kv->head_dim;
    int64_t row_stride = (int64_t)(p->n_heads + 2 * p->kv->n_kv_heads) * d;
    s->params = p;
    s->n = block->rows.rows * group;
    s->d = d;
    s->score = block->scratch;
    s->tile_out = s->score + QUERIES * TILE;
    s->out = s->tile_out + QUERIES * MR_CPU_HEAD_DIM_MAX;
    for (int32_t i = 0; i < s->n; i++) {
        int32_t row = block->rows.row + i / group;
        s->q[i] = (const float *)p->qkv + row * row_stride + (block->kv_head * group + i % group) * d;
        s->position[i] = block->batch->positions[row];
        s->max[i] = -INFINITY;
        s->sum[i] = 0;
    }
    memset(s->out, 0, (size_t)(s->n * d) * sizeof(float));
}

/* Where the tile's keys from `first` on lie, and those of the block's next one, as far as they are written. */
static void find_cells(struct state *s, const struct mr_attention_block *block, int32_t tile_start, int32_t first)
{
    const struct mr_kv_view *kv = s->params->kv;
    const int32_t *table = block->batch->block_table + (int64_t)block->rows.sequence * block->batch->block_table_stride;
    int64_t head = block->kv_head * kv->head_stride;
    int32_t written = s->position[s->n - 1] + 1 - tile_start, logical = (tile_start + first) / kv->block_tokens;
    int32_t in_block = (tile_start + first) % kv->block_tokens;
    int32_t most = block->end_tile * TILE - tile_start < 2 * TILE ? TILE : 2 * TILE;
    s->n_cells = written < most ? written : most;
    for (int32_t t = first; t < s->n_cells; logical++, in_block = 0) {
        int64_t cell = table[logical] * kv->block_stride + head + in_block * kv->token_stride;
        for (; in_block < kv->block_tokens && t < s->n_cells; in_block++, cell += kv->token_stride)
            s->cell[t++] = cell;
    }
}

/* Sets every query's range in the tile; false: no query sees it. */
static bool enter_tile(struct state *s, const struct mr_attention_block *block, int32_t tile)
{
    int32_t start = tile * TILE, window = s->params->window;
    bool seen = false;
    for (int32_t i = 0; i < s->n; i++) {
        int32_t first = window > 0 && s->position[i] >= window ? s->position[i] - window + 1 : 0, end = s->position[i] + 1;
        first = first > start ? first - start : 0;
        end = end < start + TILE ? end - start : TILE;
        s->range[i] = first < end ? (struct range){first, end} : (struct range){first < TILE ? first : TILE, end > 0 ? end : 0};
        seen |= first < end;
    }
    if (seen)
        find_cells(s, block, start, s->range[0].first);
    return seen;
}

static void do_tile(struct state *s)
{
    const struct mr_kv_view *kv = s->params->kv;
    if (kv->k_dtype == MR_F32)
        score_tile(MR_F32, s);
    else
        score_tile(MR_F16, s);
    for (int32_t q = 0; q < s->n; q++) {
        s->tile_max[q] = -INFINITY;
        s->tile_sum[q] = 0;
        if (s->range[q].first < s->range[q].end)
            weigh_query(s, q);
    }
    memset(s->tile_out, 0, (size_t)(s->n * s->d) * sizeof(float));
    if (kv->v_dtype == MR_F32)
        value_tile(MR_F32, s);
    else
        value_tile(MR_F16, s);
}

static float *output_of(const struct mr_attention_block *block, int32_t query)
{
    const struct mr_attention_params *p = block->params;
    int32_t group = p->n_heads / p->kv->n_kv_heads;
    int64_t row = block->rows.row + query / group, head = block->kv_head * group + query % group;
    return (float *)p->out + (row * p->n_heads + head) * p->kv->head_dim;
}

static void write_output(const struct mr_attention_block *block, int32_t query, const float *out, float sum)
{
    float *to = output_of(block, query);
    const __m256 total = _mm256_set1_ps(sum);
    for (int32_t x = 0; x < block->params->kv->head_dim; x += 8)
        _mm256_storeu_ps(to + x, _mm256_div_ps(_mm256_loadu_ps(out + x), total));
}

static void save_tile(const struct state *s, float *partial)
{
    for (int32_t q = 0; q < s->n; q++, partial += 2 + s->d) {
        partial[0] = s->tile_max[q];
        partial[1] = s->tile_sum[q];
        memcpy(partial + 2, s->tile_out + q * s->d, (size_t)s->d * sizeof(float));
    }
}

bool mr_attention_avx2_takes(const struct mr_attention_params *params)
{
    return params->kv->head_dim % 8 == 0 && params->n_heads / params->kv->n_kv_heads <= MR_ATTENTION_GROUP_MAX;
}

void mr_attention_avx2(const struct mr_attention_block *block)
{
    struct state s;
    start(&s, block);
    for (int32_t tile = block->first_tile; tile < block->end_tile; tile++) {
        bool seen = enter_tile(&s, block, tile);
        s.fresh = tile == block->first_tile;
        if (seen)
            do_tile(&s);
        if (block->partial) {
            for (int32_t q = 0; !seen && q < s.n; q++)
                s.tile_max[q] = -INFINITY;
            save_tile(&s, block->partial);
            return;
        }
        for (int32_t q = 0; seen && q < s.n; q++) {
            if (s.range[q].first < s.range[q].end)
                merge_query(&s.max[q], &s.sum[q], s.out + q * s.d, s.tile_max[q], s.tile_sum[q], s.tile_out + q * s.d, s.d);
        }
    }
    for (int32_t q = 0; q < s.n; q++)
        write_output(block, q, s.out + q * s.d, s.sum[q]);
}

void mr_attention_merge_avx2(const struct mr_attention_block *block, const float *partials, int64_t stride, int32_t n_tiles)
{
    int32_t d = block->params->kv->head_dim, n = block->rows.rows * (block->params->n_heads / block->params->kv->n_kv_heads);
    for (int32_t q = 0; q < n; q++) {
        float max = -INFINITY, sum = 0, out[MR_CPU_HEAD_DIM_MAX] = {0};
        for (int32_t tile = 0; tile < n_tiles; tile++) {
            const float *partial = partials + tile * stride + q * (2 + d);
            if (partial[0] > -INFINITY)
                merge_query(&max, &sum, out, partial[0], partial[1], partial + 2, d);
        }
        write_output(block, q, out, sum);
    }
}

#endif
