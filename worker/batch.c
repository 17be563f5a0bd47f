#include "worker/batch.h"

#include "base/check.h"
#include "kv/block_table.h"

#include <stdlib.h>
#include <string.h>

enum mr_status mr_batch_open(struct mr_batch_builder *builder, const struct mr_batch_limits *limits, struct mr_err *err)
{
    size_t tokens = (size_t)limits->max_tokens, seqs = (size_t)limits->max_seqs, logits = (size_t)limits->max_logits;
    size_t table = seqs * (size_t)limits->max_blocks;
    int32_t *memory = malloc((3 * tokens + 2 * seqs + 1 + table + logits) * sizeof *memory + logits * sizeof(struct mr_batch_row));
    if (!memory)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the arrays of a step");
    *builder = (struct mr_batch_builder){.limits = *limits, .memory = memory};
    builder->ids = memory, memory += tokens;
    builder->positions = memory, memory += tokens;
    builder->slots = memory, memory += tokens;
    builder->seq_start = memory, memory += seqs + 1;
    builder->seq_length = memory, memory += seqs;
    builder->block_table = memory, memory += table;
    builder->logit_rows = memory, memory += logits;
    builder->rows = (struct mr_batch_row *)(void *)memory;
    return MR_OK;
}

void mr_batch_close(struct mr_batch_builder *builder) { free(builder->memory); }

/* Adds positions of source from `from` on while logits rows last; returns how many. */
static int32_t batch_add(struct mr_batch_builder *b, const struct mr_batch_source *source, int32_t index, int32_t from)
{
    struct mr_batch *batch = &b->batch;
    int32_t end = source->start + source->n, p = from;
    for (; p < end; p++) {
        bool scores = p >= source->score_from && p < source->score_to, samples = source->samples && p == end - 1;
        if (scores || samples) {
            if (batch->n_logits == b->limits.max_logits)
                break;
            b->rows[batch->n_logits] = (struct mr_batch_row){.source = index, .position = p, .scores = scores, .samples = samples};
            b->logit_rows[batch->n_logits++] = batch->n_tokens;
        }
        int32_t block = p / b->limits.block_tokens;
        DCHECK(block < source->n_blocks);
        b->ids[batch->n_tokens] = source->coming && p == end - 1 ? -1 - source->coming_row : source->tokens[p];
        b->positions[batch->n_tokens] = p;
        b->slots[batch->n_tokens] = source->blocks[block] * b->limits.block_tokens + p % b->limits.block_tokens;
        batch->n_tokens++;
    }
    return p - from;
}

bool mr_batch_next(struct mr_batch_builder *b, const struct mr_batch_source *sources, int32_t n_sources)
{
    struct mr_batch *batch = &b->batch;
    *batch = (struct mr_batch){
        .block_table_stride = b->limits.max_blocks,
        .ids = b->ids,
        .positions = b->positions,
        .slots = b->slots,
        .seq_start = b->seq_start,
        .seq_length = b->seq_length,
        .block_table = b->block_table,
        .logit_rows = b->logit_rows,
    };
    while (b->source < n_sources) {
        const struct mr_batch_source *source = &sources[b->source];
        CHECK(batch->n_seqs < b->limits.max_seqs && batch->n_tokens + source->n - b->offset <= b->limits.max_tokens);
        int32_t from = source->start + b->offset;
        b->seq_start[batch->n_seqs] = batch->n_tokens;
        int32_t added = batch_add(b, source, b->source, from);
        if (added > 0) {
            int32_t length = from + added, width = mr_blocks_for(length, b->limits.block_tokens);
            batch->block_table_width = width > batch->block_table_width ? width : batch->block_table_width;
            b->seq_length[batch->n_seqs] = length;
            CHECK(source->n_blocks <= b->limits.max_blocks);
            memcpy(b->block_table + (size_t)batch->n_seqs * (size_t)b->limits.max_blocks, source->blocks,
                   (size_t)source->n_blocks * sizeof *source->blocks);
            batch->n_seqs++;
        }
        b->offset += added;
        if (b->offset < source->n)
            break;
        b->source++;
        b->offset = 0;
    }
    b->seq_start[batch->n_seqs] = batch->n_tokens;
    return batch->n_tokens > 0;
}
