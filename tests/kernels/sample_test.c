#include "kernels/cpu/sample.h"

#include "base/hash.h"
#include "kernels/sampling.h"
#include "tests/test.h"

#include <stdlib.h>

static struct mr_sample_row plain_row(void)
{
    return (struct mr_sample_row){.temperature = 1, .top_p = 1, .repetition_penalty = 1, .seed = 7, .n_logprobs = -1};
}

static int32_t pick(const float *logits, int32_t n, struct mr_sample_row row)
{
    static float scratch[70000];
    struct mr_sampled out;
    struct mr_sample_params params = {.logits = logits, .rows = 1, .vocabulary = n, .row = &row, .out = &out, .scratch = scratch};
    EXPECT_EQ(mr_cpu_sample(NULL, &params), MR_OK);
    return out.id;
}

/* Draws count[id] over many positions; every position is another draw. */
static void draw_many(const float *logits, int32_t n, struct mr_sample_row row, int draws, int *count)
{
    memset(count, 0, (size_t)n * sizeof *count);
    for (int i = 0; i < draws; i++) {
        row.position = (uint32_t)i;
        int32_t id = pick(logits, n, row);
        if (id >= 0 && id < n)
            count[id]++;
        else
            test_failures++;
    }
}

/* Chi-square of counts against softmax(z / T) over the ids with kept[id]; ids outside must never be drawn. */
static double chi_square(const int *count, const float *z, const bool *kept, int32_t n, float temperature, int draws)
{
    double total = 0, chi = 0;
    for (int32_t i = 0; i < n; i++)
        total += kept[i] ? exp((double)z[i] / (double)temperature) : 0;
    for (int32_t i = 0; i < n; i++) {
        double wanted = kept[i] ? draws * exp((double)z[i] / (double)temperature) / total : 0;
        if (kept[i])
            chi += (count[i] - wanted) * (count[i] - wanted) / wanted;
        else
            EXPECT_EQ(count[i], 0);
    }
    return chi;
}

static const float eight[8] = {1.0f, 0.5f, 2.0f, -1.0f, 0.0f, 1.5f, -0.5f, 0.25f};

TEST(greedy_takes_the_lowest_id_of_the_largest)
{
    float logits[] = {0, 3, 1, 3, NAN, -INFINITY};
    struct mr_sample_row row = plain_row();
    row.temperature = 0;
    EXPECT_EQ(pick(logits, 6, row), 1);
    logits[5] = INFINITY;
    EXPECT_EQ(pick(logits, 6, row), 5);
}

/* 7 degrees of freedom: 24.3 is passed once in 1,000 seeds; the seeds here are fixed. */
TEST(draws_follow_softmax)
{
    enum { DRAWS = 20000 };
    bool all[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    int count[8];
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct mr_sample_row row = plain_row();
        row.seed = seed * UINT64_C(0x123456789abcdef);
        row.temperature = seed & 1 ? 1.0f : 0.6f;
        row.choice = (uint32_t)seed;
        draw_many(eight, 8, row, DRAWS, count);
        EXPECT(chi_square(count, eight, all, 8, row.temperature, DRAWS) < 24.3);
    }
}

TEST(cuts_follow_softmax_of_what_is_kept)
{
    enum { DRAWS = 20000 };
    int count[8];
    struct mr_sample_row row = plain_row();
    bool top3[8] = {1, 0, 1, 0, 0, 1, 0, 0};
    row.top_k = 3;
    draw_many(eight, 8, row, DRAWS, count);
    EXPECT(chi_square(count, eight, top3, 8, 1, DRAWS) < 13.8); /* 2 degrees of freedom */
    row = plain_row();
    row.min_p = 0.3f; /* e^-1 = 0.37 stays, e^-1.5 = 0.22 does not */
    draw_many(eight, 8, row, DRAWS, count);
    EXPECT(chi_square(count, eight, top3, 8, 1, DRAWS) < 13.8);
    row = plain_row();
    row.top_p = 0.7f; /* shares descending: 0.385, 0.234, 0.142, ...: 0.619 is too little, 0.761 enough */
    draw_many(eight, 8, row, DRAWS, count);
    EXPECT(chi_square(count, eight, top3, 8, 1, DRAWS) < 13.8);
}

TEST(ties_at_a_cut_are_kept)
{
    float logits[] = {2, 1, 1, 1, 0};
    int count[5];
    struct mr_sample_row row = plain_row();
    row.top_k = 2;
    draw_many(logits, 5, row, 2000, count);
    EXPECT(count[1] > 100 && count[2] > 100 && count[3] > 100);
    EXPECT_EQ(count[4], 0);
    row = plain_row();
    row.top_p = 0.6f; /* 0.43 + one of the three ties at 0.16 */
    draw_many(logits, 5, row, 2000, count);
    EXPECT(count[1] > 100 && count[2] > 100 && count[3] > 100);
    EXPECT_EQ(count[4], 0);
}

TEST(thresholds_at_their_ends)
{
    struct mr_sample_row row = plain_row();
    for (uint32_t position = 0; position < 200; position++) {
        row = plain_row();
        row.position = position;
        row.top_k = 1;
        EXPECT_EQ(pick(eight, 8, row), 2);
        row = plain_row();
        row.position = position;
        row.top_p = 1e-9f;
        EXPECT_EQ(pick(eight, 8, row), 2);
        row = plain_row();
        row.position = position;
        row.min_p = 1;
        EXPECT_EQ(pick(eight, 8, row), 2);
        row = plain_row();
        row.position = position;
        int32_t free_pick = pick(eight, 8, row);
        row.top_k = 8; /* a cut that cuts nothing changes nothing */
        row.min_p = 1e-30f;
        EXPECT_EQ(pick(eight, 8, row), free_pick);
    }
}

/* Against a slow restatement: sort, add up, compare. Random rows with many ties. */
static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static int32_t slow_pick(const float *z, int32_t n, const struct mr_sample_row *row)
{
    float sorted[512], cut = -INFINITY, best = -INFINITY;
    memcpy(sorted, z, (size_t)n * sizeof *z);
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    if (row->min_p > 0)
        cut = mr_sample_min_p_cut(sorted[0], row->temperature, row->min_p);
    if (row->top_k > 0 && row->top_k < n && sorted[row->top_k - 1] > cut)
        cut = sorted[row->top_k - 1];
    if (row->top_p < 1) {
        uint64_t total = 0, run = 0;
        int32_t i = 0;
        for (; i < n && sorted[i] >= cut; i++)
            total += mr_sample_weight((sorted[i] - sorted[0]) / row->temperature);
        uint64_t target = (uint64_t)((double)row->top_p * (double)total);
        for (i = 0; run < target || i == 0; i++)
            run += mr_sample_weight((sorted[i] - sorted[0]) / row->temperature);
        cut = sorted[i - 1];
    }
    int32_t id = -1;
    for (int32_t i = 0; i < n; i++) {
        struct mr_philox random = mr_sample_random(row->seed, row->choice, row->position, (uint32_t)i / 4);
        float score = z[i] / row->temperature + mr_sample_gumbel(random.word[i % 4]);
        if (z[i] >= cut && score > best)
            best = score, id = i;
    }
    return id;
}

TEST(equals_the_sorting_restatement)
{
    float z[512];
    uint64_t state = 99;
    for (int round = 0; round < 3000; round++) {
        int32_t n = 1 + (int32_t)(mr_mix64(state++) % 512);
        bool coarse = round % 3 == 0;
        for (int32_t i = 0; i < n; i++) {
            float x = (float)(mr_mix64(state++) >> 40) / 16777216.0f * 24 - 12;
            z[i] = coarse ? floorf(x) : x;
        }
        struct mr_sample_row row = plain_row();
        row.seed = mr_mix64(state++);
        row.temperature = 0.2f + (float)(round % 17) / 8;
        row.top_k = round % 2 ? (int32_t)(mr_mix64(state++) % 600) : 0;
        row.top_p = round % 5 < 3 ? (float)(mr_mix64(state++) % 1000) / 1000 : 1;
        row.min_p = round % 7 == 0 ? (float)(mr_mix64(state++) % 100) / 100 : 0;
        EXPECT_EQ(pick(z, n, row), slow_pick(z, n, &row));
    }
}

/* The device's own loops (AVX2 where the machine has it) against the plain oracle: the same token on every row. */
TEST(every_path_draws_the_same)
{
    enum { MOST = 12000 };
    static float z[MOST + 3], scratch[MOST + 3];
    struct mr_device_options options = {.threads = 2, .max_tokens = 1, .max_seqs = 1, .max_blocks = 1, .max_row_elements = 64};
    struct mr_device *device;
    struct mr_err err = {0};
    uint64_t state = 4242;
    int differ = 0, cut = 0;
    REQUIRE(mr_ops_cpu()->open(&options, &device, &err) == MR_OK);
    for (int round = 0; round < 4000; round++) {
        int32_t n = 1 + (int32_t)(mr_mix64(state++) % MOST);
        uint64_t random = mr_mix64(state++);
        float *row_z = z + random % 3, spread = (float)(1 + random / 3 % 40);
        for (int32_t i = 0; i < n; i++) {
            uint64_t r = mr_mix64(state++);
            row_z[i] = (float)(r >> 40) / 16777216.0f * spread - spread / 2;
            row_z[i] = round % 3 == 0 ? floorf(row_z[i]) : row_z[i];
            row_z[i] = r % 1000 < 3 ? (r % 2 ? NAN : -INFINITY) : row_z[i];
        }
        struct mr_sample_row row = plain_row();
        row.seed = mr_mix64(state++);
        row.position = (uint32_t)round;
        row.temperature = round % 11 == 0 ? 0 : 0.2f + (float)(round % 17) / 8;
        row.top_k = round % 4 == 1 ? (int32_t)(mr_mix64(state++) % 100) : 0;
        row.top_p = round % 5 < 3 ? (float)(mr_mix64(state++) % 1001) / 1000 : 1;
        row.min_p = round % 7 == 0 ? (float)(mr_mix64(state++) % 100) / 100 : 0;
        struct mr_sampled plain, own;
        mr_cpu_sample_row(row_z, n, &row, scratch, &plain);
        struct mr_sample_params params = {.logits = row_z, .rows = 1, .vocabulary = n, .row = &row, .out = &own};
        EXPECT_EQ(mr_cpu_sample(device, &params), MR_OK);
        differ += plain.id != own.id;
        cut += row.top_p < 1;
    }
    EXPECT_EQ(differ, 0);
    EXPECT(cut > 1000);
    mr_ops_cpu()->close(device);
}

TEST(penalties_bias_and_mask)
{
    struct mr_sample_row row = plain_row();
    row.temperature = 0;
    int32_t history[] = {2, 5, 3}, counts[] = {1, 0, 5};
    row.history_ids = history, row.history_counts = counts, row.n_history = 3;
    row.repetition_penalty = 1.5f; /* 2 -> 1.33 and 1.5 -> 1: the prompt counts too; id 0 stays at 1 */
    EXPECT_EQ(pick(eight, 8, row), 2);
    row.repetition_penalty = 2.5f; /* 0.8 and 0.6 */
    EXPECT_EQ(pick(eight, 8, row), 0);
    row.repetition_penalty = 1;
    row.presence_penalty = 0.75f; /* 2 -> 1.25; id 5 was only in the prompt */
    EXPECT_EQ(pick(eight, 8, row), 5);
    row.presence_penalty = 0;
    row.frequency_penalty = -1; /* five times in the output: -1 -> 4 */
    EXPECT_EQ(pick(eight, 8, row), 3);
    row.repetition_penalty = 9; /* a negative logit is multiplied: -9 + 5; 2 / 9 + 1 leads */
    EXPECT_EQ(pick(eight, 8, row), 2);

    row = plain_row();
    row.temperature = 0;
    int32_t bias_ids[] = {2, 7};
    float bias[] = {-INFINITY, 1.0f};
    row.bias_ids = bias_ids, row.bias_values = bias, row.n_bias = 2;
    EXPECT_EQ(pick(eight, 8, row), 5);
    bias[1] = 2.0f;
    EXPECT_EQ(pick(eight, 8, row), 7);
    uint32_t mask[] = {1u << 3 | 1u << 6};
    row.mask = mask;
    EXPECT_EQ(pick(eight, 8, row), 6);
    mask[0] = 1u << 2; /* allowed, but banned by the bias */
    EXPECT_EQ(pick(eight, 8, row), -1);
    row.temperature = 1;
    EXPECT_EQ(pick(eight, 8, row), -1);
}

TEST(edits_need_scratch)
{
    struct mr_sampled out;
    struct mr_sample_row row = plain_row();
    uint32_t mask[] = {255};
    struct mr_sample_params params = {.logits = eight, .rows = 1, .vocabulary = 8, .row = &row, .out = &out};
    EXPECT_EQ(mr_cpu_sample(NULL, &params), MR_OK);
    row.mask = mask;
    EXPECT_EQ(mr_cpu_sample(NULL, &params), MR_ERR_UNSUPPORTED);
}

TEST(a_row_does_not_depend_on_its_neighbours)
{
    enum { ROWS = 9, N = 8 };
    float logits[ROWS * N];
    struct mr_sample_row rows[ROWS];
    struct mr_sampled out[ROWS];
    for (int r = 0; r < ROWS; r++) {
        memcpy(logits + r * N, eight, sizeof eight);
        rows[r] = plain_row();
        rows[r].position = (uint32_t)r;
        rows[r].n_logprobs = 2;
    }
    struct mr_sample_params params = {.logits = logits, .rows = ROWS, .vocabulary = N, .row = rows, .out = out};
    EXPECT_EQ(mr_cpu_sample(NULL, &params), MR_OK);
    for (int r = 0; r < ROWS; r++) {
        EXPECT_EQ(out[r].id, pick(eight, N, rows[r]));
        EXPECT_EQ(out[r].n_top, 2);
        EXPECT_EQ(out[r].top_ids[0], 2);
    }
}

TEST(weights_are_exp)
{
    for (float x = 0; x > -27; x -= 0.0137f)
        EXPECT_NEAR((double)mr_sample_weight(x) / 1099511627776.0 / exp((double)x), 1.0, 1e-6 + exp(-(double)x) / 1099511627776.0);
    EXPECT_EQ(mr_sample_weight(0), INT64_C(1) << 40);
    EXPECT_EQ(mr_sample_weight(-1000), 0);
    EXPECT_EQ(mr_sample_weight(-INFINITY), 0);
}

TEST(gumbel_keeps_its_bound)
{
    uint32_t edges[] = {0, 1, 2, 255, 256, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
    for (uint32_t i = 0; i < 300000; i++) {
        uint32_t r = i < 9 ? edges[i] : (uint32_t)mr_mix64(i) >> (i % 32);
        float g = mr_sample_gumbel(r);
        if (!(isfinite(g) && g <= mr_sample_gumbel_bound(r)))
            test_failures++, printf("r %u: %g > %g\n", r, (double)g, (double)mr_sample_gumbel_bound(r));
    }
}

TEST_MAIN(TEST_CASE(greedy_takes_the_lowest_id_of_the_largest), TEST_CASE(draws_follow_softmax), TEST_CASE(cuts_follow_softmax_of_what_is_kept),
          TEST_CASE(ties_at_a_cut_are_kept), TEST_CASE(thresholds_at_their_ends), TEST_CASE(equals_the_sorting_restatement),
          TEST_CASE(every_path_draws_the_same), TEST_CASE(penalties_bias_and_mask), TEST_CASE(edits_need_scratch), TEST_CASE(a_row_does_not_depend_on_its_neighbours),
          TEST_CASE(weights_are_exp), TEST_CASE(gumbel_keeps_its_bound))
