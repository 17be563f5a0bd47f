/* Same bits (architecture): a token's KV and logits do not depend on who shares the step, on the cut into chunks, or on whether
 * prefill or decode made them. For tests on any device. */
#ifndef MR_TESTS_MODEL_SAME_BITS_RUN_H
#define MR_TESTS_MODEL_SAME_BITS_RUN_H

#include "base/hash.h"
#include "tests/model/driver.h"
#include "tests/test.h"

enum { SEQUENCES = 64, LONGEST = 96 };

struct run {
    struct driver d;
    int32_t length[SEQUENCES];
    int32_t ids[SEQUENCES][LONGEST];
    int32_t rows, wrong;                /* checked, and those of them whose bits differ */
    uint64_t alone[SEQUENCES][LONGEST]; /* hash of the logits' bits at each position, computed alone token by token */
};

static uint64_t bits_of(const float *logits, int32_t n) { return mr_fnv1a64(MR_FNV1A64_START, logits, (size_t)n * sizeof *logits); }

/* Computes [start, start + n) of several sequences and holds every row of logits against the hashes of the run alone. */
static void step_check(struct run *run, const struct driver_piece *pieces, int32_t n_pieces)
{
    int32_t n_logits = 0, vocabulary = mr_model_shape(run->d.model)->vocabulary, row = 0;
    const float *logits = driver_step(&run->d, pieces, n_pieces, &n_logits);
    REQUIRE(logits);
    for (int32_t p = 0; p < n_pieces; p++)
        for (int32_t i = 0; i < pieces[p].n; i++, row++)
            run->wrong += bits_of(logits + (int64_t)row * vocabulary, vocabulary) != run->alone[pieces[p].slot][pieces[p].start + i];
    EXPECT_EQ(row, n_logits);
    run->rows += row;
}

static void alone_run(struct run *run, int32_t sequences)
{
    int32_t n_logits, vocabulary = mr_model_shape(run->d.model)->vocabulary;
    for (int32_t s = 0; s < sequences; s++)
        for (int32_t i = 0; i < run->length[s]; i++) {
            struct driver_piece piece = {.ids = run->ids[s], .slot = s, .start = i, .n = 1};
            const float *logits = driver_step(&run->d, &piece, 1, &n_logits);
            REQUIRE(logits);
            run->alone[s][i] = bits_of(logits, vocabulary);
        }
}

/* All sequences side by side, each advancing by `chunk`, as many in a step as fit; they start staggered, so that decodes and
 * chunks share steps. */
static void together_run(struct run *run, int32_t sequences, int32_t chunk)
{
    int32_t done[SEQUENCES] = {0}, left = sequences;
    for (int32_t round = 0; left > 0; round++) {
        struct driver_piece pieces[SEQUENCES];
        int32_t n = 0, tokens = 0;
        left = 0;
        for (int32_t k = 0; k < sequences; k++) {
            int32_t s = (k + round) % sequences, want = run->length[s] - done[s];
            int32_t take = (s + round) % 5 == 0 ? 1 : chunk; /* now and then a decode among the chunks */
            take = take < want ? take : want;
            left += want > 0;
            if (want == 0 || (s > round * 8) || tokens + take > DRIVER_STEP_TOKENS)
                continue;
            pieces[n++] = (struct driver_piece){.ids = run->ids[s], .slot = s, .start = done[s], .n = take};
            done[s] += take;
            tokens += take;
        }
        if (n)
            step_check(run, pieces, n);
    }
}

/* A sequence that lost its cache in the middle: its blocks are written over by another, then it is computed again in one go. */
static void preempted_run(struct run *run, int32_t sequences)
{
    for (int32_t s = 0; s + 1 < sequences; s += 2) {
        int32_t half = (run->length[s] + 1) / 2;
        struct driver_piece first = {.ids = run->ids[s], .slot = s, .n = half}, other = {.ids = run->ids[s + 1], .slot = s, .n = run->length[s + 1]};
        int32_t n_logits;
        step_check(run, &first, 1);
        REQUIRE(driver_step(&run->d, &other, 1, &n_logits));
        struct driver_piece again = {.ids = run->ids[s], .slot = s, .n = run->length[s]};
        step_check(run, &again, 1);
    }
}

/* Rows of logits, of all that were checked, that are not the bits of the run alone; -1: it does not open. */
static int32_t same_bits_run(const struct driver_kind *kind, const char *source, int32_t sequences, int32_t longest)
{
    static struct run run;
    struct mr_err err = {0};
    memset(&run, 0, sizeof run);
    bool open = driver_open_on(&run.d, kind, source, sequences, LONGEST, DRIVER_STEP_TOKENS, DRIVER_STEP_TOKENS) &&
                mr_model_warm(run.d.model, run.d.store, &err) == MR_OK;
    EXPECT(open);
    if (open) {
        int32_t vocabulary = mr_model_shape(run.d.model)->vocabulary;
        for (int32_t s = 0; s < sequences; s++) {
            run.length[s] = 1 + (int32_t)(mr_mix64((uint64_t)s) % (uint64_t)longest);
            for (int32_t i = 0; i < LONGEST; i++)
                run.ids[s][i] = (int32_t)(mr_mix64((uint64_t)(s * LONGEST + i + 1000)) % (uint64_t)vocabulary);
        }
        alone_run(&run, sequences);
        static const int32_t chunks[] = {1, 7, 64};
        for (size_t c = 0; c < 3; c++)
            together_run(&run, sequences, chunks[c]);
        preempted_run(&run, sequences);
    }
    driver_close(&run.d);
    EXPECT(!open || run.rows > sequences);
    return open ? run.wrong : -1;
}

#endif

