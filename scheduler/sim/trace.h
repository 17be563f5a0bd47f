/* Request traces of others, read into one list: Azure 2023 (CSV: TIMESTAMP,ContextTokens,GeneratedTokens), Mooncake (JSON
 * lines: timestamp in ms, input_length, output_length, hash_ids of 512-token blocks), VTC (JSON with adapter_dir as the
 * client, prompt_len, output_len, req_time). The format is told by the content. */
#ifndef MR_SCHEDULER_SIM_TRACE_H
#define MR_SCHEDULER_SIM_TRACE_H

#include "base/status.h"

#include <stdint.h>

enum { SIM_TRACE_BLOCK = 512 }; /* tokens of a Mooncake block id */

struct sim_trace_job {
    int64_t at_ns;               /* from the start of the trace */
    int32_t prompt, output;
    int32_t client;              /* dense; 0 where the trace names none */
    int32_t first_block, n_blocks; /* in blocks */
};

struct sim_trace {
    struct sim_trace_job *jobs;  /* [n] in order of time */
    int32_t n, capacity;
    uint32_t *blocks;            /* [n_blocks] */
    int32_t n_blocks, blocks_capacity;
    int32_t n_clients;
};

enum mr_status sim_trace_read(const char *path, struct sim_trace *out, struct mr_err *err);
/* The same from memory; text ends with NUL. */
enum mr_status sim_trace_parse(const char *text, struct sim_trace *out, struct mr_err *err);
void sim_trace_free(struct sim_trace *trace);

#endif
