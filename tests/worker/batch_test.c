#include "tests/test.h"
#include "worker/batch.h"

static int32_t tokens[64];
static const int32_t blocks_a[] = {7, 2, 5}, blocks_b[] = {1};

static struct mr_batch_builder open_builder(int32_t max_logits)
{
    struct mr_batch_builder b;
    struct mr_batch_limits limits = {.max_tokens = 16, .max_seqs = 4, .max_logits = max_logits, .max_blocks = 8, .block_tokens = 4};
    for (int i = 0; i < 64; i++)
        tokens[i] = 100 + i;
    EXPECT_EQ(mr_batch_open(&b, &limits, NULL), MR_OK);
    return b;
}

/* A chunk over a block's edge and a decode, in one batch. */
TEST(arrays)
{
    struct mr_batch_builder b = open_builder(8);
    struct mr_batch_source sources[] = {
        {.tokens = tokens, .blocks = blocks_a, .n_blocks = 3, .start = 6, .n = 4},
        {.tokens = tokens, .blocks = blocks_b, .n_blocks = 1, .start = 3, .n = 1, .samples = true},
    };
    mr_batch_rewind(&b);
    REQUIRE(mr_batch_next(&b, sources, 2));
    const struct mr_batch *batch = &b.batch;
    EXPECT_EQ(batch->n_tokens, 5);
    EXPECT_EQ(batch->n_seqs, 2);
    EXPECT_EQ(batch->n_logits, 1);
    static const int32_t ids[] = {106, 107, 108, 109, 103}, positions[] = {6, 7, 8, 9, 3}, slots[] = {10, 11, 20, 21, 7};
    for (int i = 0; i < 5; i++) {
        EXPECT_EQ(batch->ids[i], ids[i]);
        EXPECT_EQ(batch->positions[i], positions[i]);
        EXPECT_EQ(batch->slots[i], slots[i]);
    }
    EXPECT_EQ(batch->seq_start[0], 0);
    EXPECT_EQ(batch->seq_start[1], 4);
    EXPECT_EQ(batch->seq_start[2], 5);
    EXPECT_EQ(batch->seq_length[0], 10);
    EXPECT_EQ(batch->seq_length[1], 4);
    EXPECT_EQ(batch->block_table[1], 2);
    EXPECT_EQ(batch->block_table[batch->block_table_stride], 1);
    EXPECT_EQ(batch->block_table_width, 3);
    EXPECT_EQ(batch->logit_rows[0], 4);
    EXPECT_EQ(b.rows[0].source, 1);
    EXPECT(b.rows[0].samples && !b.rows[0].scores);
    EXPECT(!mr_batch_next(&b, sources, 2));
    mr_batch_close(&b);
}

/* Rows of logits bound a batch; a sequence is cut and goes on in the next with its whole length. */
TEST(cut_by_logits)
{
    for (int32_t most = 1; most <= 9; most++) {
        struct mr_batch_builder b = open_builder(most);
        struct mr_batch_source sources[] = {
            {.tokens = tokens, .blocks = blocks_a, .n_blocks = 3, .start = 0, .n = 9, .score_from = 2, .score_to = 8, .samples = true},
            {.tokens = tokens, .blocks = blocks_b, .n_blocks = 1, .start = 2, .n = 1, .samples = true},
        };
        int32_t next = 0, rows = 0, decodes = 0;
        mr_batch_rewind(&b);
        while (mr_batch_next(&b, sources, 2)) {
            EXPECT(b.batch.n_logits <= most);
            for (int32_t t = 0; t < b.batch.seq_start[b.batch.n_seqs]; t++) {
                bool decode = b.batch.slots[t] == 1 * 4 + 2;
                EXPECT_EQ(b.batch.positions[t], decode ? 2 : next);
                decodes += decode;
                next += !decode;
            }
            EXPECT_EQ(b.batch.seq_length[b.batch.n_seqs - 1], b.batch.positions[b.batch.n_tokens - 1] + 1);
            for (int32_t r = 0; r < b.batch.n_logits; r++, rows++) {
                EXPECT_EQ(b.batch.positions[b.batch.logit_rows[r]], b.rows[r].position);
                EXPECT_EQ(b.rows[r].scores, b.rows[r].source == 0 && b.rows[r].position < 8);
            }
        }
        EXPECT_EQ(next, 9);
        EXPECT_EQ(decodes, 1);
        EXPECT_EQ(rows, 6 + 1 + 1);
        mr_batch_close(&b);
    }
}

TEST_MAIN(TEST_CASE(arrays), TEST_CASE(cut_by_logits))
