/* A forward port that is a model and a paged cache of its own: logits are a function of the tokens that the block table leads
 * to, so that a wrong table, slot, position or a missing recompute changes what comes out. */
#ifndef MR_TESTS_WORKER_FAKE_FORWARD_H
#define MR_TESTS_WORKER_FAKE_FORWARD_H

#include "base/hash.h"
#include "kernels/cpu/sample.h"
#include "kernels/cpu/score.h"
#include "worker/engine.h"

#include <stdlib.h>

enum { FAKE_VOCABULARY = 300, FAKE_LOGITS_MAX = 64, FAKE_SLOTS_MAX = 1 << 16 };

struct fake_forward {
    int32_t block_tokens;
    int32_t cache[FAKE_SLOTS_MAX]; /* token that each slot holds; -1: never written */
    float logits[FAKE_LOGITS_MAX][FAKE_VOCABULARY];
    int32_t n_logits;
    int end_id;                    /* gets a share of the choices; -1: none */
    int fail_in;                   /* steps until one fails; 0: never */
    int64_t steps, most_tokens, most_logits;
    bool open_step;                /* step was called, finish not yet */
    /* a device that is ahead: results stay here until collect, ids of the step before are taken from here */
    struct mr_sampled left[2][FAKE_LOGITS_MAX], *out[2];
    int32_t n_left_rows[2], n_left; /* steps left, 0 to 2 */
    int turn, collect_fail_in;
};

/* Letters a to f, the two bytes of "é" and the end token are likely; everything else is not. */
static void fake_logits(const struct fake_forward *f, uint64_t prefix, float *out)
{
    for (int id = 0; id < FAKE_VOCABULARY; id++) {
        double u = (double)(mr_mix64(prefix + (uint64_t)id * 0x9e3779b97f4a7c15u) >> 11) * 0x1p-53;
        bool likely = (id >= 'a' && id <= 'f') || id == 0xc3 || id == 0xa9;
        out[id] = (float)(4 * u + (likely ? 12 : id == f->end_id ? 11.3 : 0));
    }
}

static enum mr_status fake_step(void *self, const struct mr_batch *b)
{
    struct fake_forward *f = self;
    int32_t row = 0;
    if (f->open_step || (f->fail_in && --f->fail_in == 0))
        return MR_ERR_IO;
    f->open_step = true;
    f->steps++;
    f->most_tokens = b->n_tokens > f->most_tokens ? b->n_tokens : f->most_tokens;
    f->most_logits = b->n_logits > f->most_logits ? b->n_logits : f->most_logits;
    for (int32_t t = 0; t < b->n_tokens; t++) {
        int32_t row = -1 - b->ids[t];
        if (row >= f->n_left_rows[!f->turn] && row >= 0)
            return MR_ERR_INVALID;
        f->cache[b->slots[t]] = row < 0 ? b->ids[t] : f->left[!f->turn][row].id;
    }
    for (int32_t s = 0; s < b->n_seqs; s++) {
        const int32_t *table = b->block_table + (size_t)s * (size_t)b->block_table_stride;
        if (b->positions[b->seq_start[s + 1] - 1] + 1 != b->seq_length[s])
            return MR_ERR_INVALID;
        for (int32_t t = b->seq_start[s]; t < b->seq_start[s + 1]; t++) {
            if (row == b->n_logits || b->logit_rows[row] != t)
                continue;
            uint64_t prefix = MR_FNV1A64_START;
            for (int32_t p = 0; p <= b->positions[t]; p++) {
                int32_t id = f->cache[table[p / f->block_tokens] * f->block_tokens + p % f->block_tokens];
                prefix = mr_fnv1a64(prefix, &id, sizeof id);
            }
            fake_logits(f, prefix, f->logits[row++]);
        }
    }
    f->n_logits = row;
    return row == b->n_logits ? MR_OK : MR_ERR_INVALID;
}

static enum mr_status fake_sample(void *self, int32_t rows, const struct mr_sample_row *row, struct mr_sampled *out)
{
    struct fake_forward *f = self;
    float scratch[FAKE_VOCABULARY];
    if (rows != f->n_logits)
        return MR_ERR_INVALID;
    for (int32_t i = 0; i < rows; i++)
        mr_cpu_sample_row(f->logits[i], FAKE_VOCABULARY, &row[i], scratch, &out[i]);
    return MR_OK;
}

static enum mr_status fake_score(void *self, int32_t rows, int32_t n_top, const int32_t *ids, struct mr_sampled *out)
{
    struct fake_forward *f = self;
    if (rows != f->n_logits)
        return MR_ERR_INVALID;
    for (int32_t i = 0; i < rows; i++) {
        out[i] = (struct mr_sampled){.id = ids[i]};
        if (ids[i] >= 0)
            mr_cpu_score_row(f->logits[i], FAKE_VOCABULARY, n_top, &out[i]);
    }
    return MR_OK;
}

static enum mr_status fake_finish(void *self)
{
    ((struct fake_forward *)self)->open_step = false;
    return MR_OK;
}

/* As a device that gives results when asked: `out` is spoilt until then, and the step before may be left, no more. */
static enum mr_status fake_sample_later(void *self, int32_t rows, const struct mr_sample_row *row, struct mr_sampled *out)
{
    struct fake_forward *f = self;
    f->out[f->turn] = out;
    f->n_left_rows[f->turn] = rows;
    for (int32_t i = 0; i < rows; i++)
        out[i].id = INT32_MAX;
    return fake_sample(self, rows, row, f->left[f->turn]);
}

static enum mr_status fake_give(struct fake_forward *f, int turn)
{
    if (f->out[turn])
        memcpy(f->out[turn], f->left[turn], (size_t)f->n_left_rows[turn] * sizeof *f->left[turn]);
    f->out[turn] = NULL;
    return f->collect_fail_in && --f->collect_fail_in == 0 ? MR_ERR_IO : MR_OK;
}

static enum mr_status fake_finish_now(void *self)
{
    struct fake_forward *f = self;
    f->open_step = false;
    return fake_give(f, f->turn);
}

static enum mr_status fake_leave(void *self)
{
    struct fake_forward *f = self;
    if (!f->open_step || f->n_left == 2)
        return MR_ERR_INVALID;
    f->open_step = false;
    if (!f->out[f->turn])
        f->n_left_rows[f->turn] = 0;
    f->turn = !f->turn;
    f->n_left++;
    return MR_OK;
}

static enum mr_status fake_collect(void *self)
{
    struct fake_forward *f = self;
    if (f->n_left == 0)
        return MR_ERR_INVALID;
    return fake_give(f, f->n_left-- == 2 ? f->turn : !f->turn);
}

static struct fake_forward *fake_forward_open(int32_t block_tokens, int end_id)
{
    struct fake_forward *f = calloc(1, sizeof *f);
    memset(f->cache, 0xff, sizeof f->cache);
    f->block_tokens = block_tokens;
    f->end_id = end_id;
    return f;
}

/* ahead: a device that gives a step's results when they are collected */
static struct mr_forward_port fake_forward_port(struct fake_forward *f, bool ahead)
{
    if (!ahead)
        return (struct mr_forward_port){.step = fake_step, .sample = fake_sample, .score = fake_score, .finish = fake_finish, .self = f};
    return (struct mr_forward_port){.step = fake_step, .sample = fake_sample_later, .score = fake_score, .finish = fake_finish_now, .self = f,
                                    .leave = fake_leave, .collect = fake_collect};
}

#endif
