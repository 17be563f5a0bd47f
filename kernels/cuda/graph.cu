/* Decode steps as CUDA graphs: every kernel of the forward pass in one launch.
 *
 * A step in which each sequence has one row and each row wants logits is padded to the next bucket of rows and replayed. The
 * ops still walk the layers on the host, and return at once (`replaying`): what they would launch is in the graph already.
 * Invariants
 * 1. A graph reads the batch, the work plan and the logit rows at fixed addresses; only their content changes.
 * 2. Padded rows write no KV slot (-1), have no attention item, and their logits are never read.
 * 3. All graphs are recorded by `warm`, before serving; after it nothing is captured and nothing is allocated.
 * 4. While recording, no launch depends on the batch at hand (grids are fixed or by rows; split merges are always in). */
#include "kernels/cuda/device.cuh"

#include <stdlib.h>

static const int32_t buckets[] = {1, 2, 4, 8, 12, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512,
                                  640, 768, 896, 1024};
enum { N_BUCKETS = sizeof buckets / sizeof *buckets };

struct cuda_graphs {
    cudaGraphExec_t graph[N_BUCKETS]; /* NULL: not recorded */
    bool may_record;
    int at; /* bucket of the step in flight; -1: none */
};

enum mr_status cuda_graphs_open(struct mr_device *device, struct mr_err *err)
{
    device->graphs = (struct cuda_graphs *)calloc(1, sizeof *device->graphs);
    if (!device->graphs)
        return mr_err_set(err, MR_ERR_NOMEM, "no memory for the table of graphs");
    device->graphs->at = -1;
    return MR_OK;
}

void cuda_graphs_close(struct mr_device *device)
{
    for (int i = 0; device->graphs && i < N_BUCKETS; i++)
        if (device->graphs->graph[i])
            cudaGraphExecDestroy(device->graphs->graph[i]);
    free(device->graphs);
}

int32_t cuda_graphs_plan(struct mr_device *device, const struct mr_batch *batch)
{
    struct cuda_graphs *g = device->graphs;
    g->at = -1;
    device->replaying = device->recording = false;
    if (batch->n_tokens != batch->n_seqs || batch->n_logits != batch->n_seqs)
        return batch->n_tokens;
    int i = 0;
    while (i < N_BUCKETS && buckets[i] < batch->n_tokens)
        i++;
    if (i == N_BUCKETS || buckets[i] > device->options.max_seqs || buckets[i] > device->options.max_tokens)
        return batch->n_tokens;
    device->replaying = g->graph[i] != NULL;
    device->recording = !g->graph[i] && g->may_record && buckets[i] == batch->n_tokens;
    if (!device->replaying && !device->recording)
        return batch->n_tokens;
    g->at = i;
    return buckets[i];
}

enum mr_status cuda_graphs_begin(struct mr_device *device)
{
    if (!device->recording)
        return MR_OK;
    return cudaStreamBeginCapture(device->stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess ? MR_OK : MR_ERR_IO;
}

static enum mr_status record(struct mr_device *device)
{
    cudaGraph_t graph = NULL;
    bool ok = cudaStreamEndCapture(device->stream, &graph) == cudaSuccess;
    ok = ok && cudaGraphInstantiate(&device->graphs->graph[device->graphs->at], graph, 0) == cudaSuccess;
    if (graph)
        cudaGraphDestroy(graph);
    device->recording = false;
    return ok ? MR_OK : MR_ERR_IO;
}

enum mr_status cuda_graphs_end(struct mr_device *device)
{
    if (device->recording && record(device) != MR_OK)
        return MR_ERR_IO;
    if (device->graphs->at < 0)
        return MR_OK;
    device->replaying = false; /* sampling is launched again */
    return cudaGraphLaunch(device->graphs->graph[device->graphs->at], device->stream) == cudaSuccess ? MR_OK : MR_ERR_IO;
}

int64_t cuda_graphs_replay(struct mr_device *device, int n)
{
    float ms = 0;
    cudaEvent_t start, stop;
    if (device->graphs->at < 0 || cudaStreamSynchronize(device->stream) != cudaSuccess)
        return 0;
    cudaEventCreate(&start);
    cudaEventCreate(&stop);
    cudaEventRecord(start, device->stream);
    for (int i = 0; i < n; i++)
        cudaGraphLaunch(device->graphs->graph[device->graphs->at], device->stream);
    cudaEventRecord(stop, device->stream);
    bool ok = cudaEventSynchronize(stop) == cudaSuccess && cudaEventElapsedTime(&ms, start, stop) == cudaSuccess;
    cudaEventDestroy(start);
    cudaEventDestroy(stop);
    return ok ? (int64_t)((double)ms * 1e6) : 0;
}

static enum mr_status warm_once(struct mr_device *device, enum mr_status (*run)(void *self, int32_t rows), void *self, int32_t rows,
                                struct mr_err *err)
{
    enum mr_status status = run(self, rows);
    cudaError_t error = cudaStreamSynchronize(device->stream);
    if (status == MR_OK && error == cudaSuccess)
        return MR_OK;
    return mr_err_set(err, MR_ERR_IO, "an idle step of %d rows failed: %s, %s", rows, mr_status_name(status), cudaGetErrorString(error));
}

enum mr_status cuda_graphs_warm(struct mr_device *device, enum mr_status (*run)(void *self, int32_t rows), void *self, struct mr_err *err)
{
    enum mr_status status = MR_OK;
    int32_t most = device->options.max_seqs < device->options.max_tokens ? device->options.max_seqs : device->options.max_tokens;
    cuda_weight_loader_close(device);
    device->tuning = true;
    for (int i = 0; i < N_BUCKETS && buckets[i] <= most && status == MR_OK; i++)
        status = warm_once(device, run, self, buckets[i], err);
    device->tuning = false;
    device->graphs->may_record = true;
    for (int i = 0; i < N_BUCKETS && buckets[i] <= most && status == MR_OK; i++)
        status = warm_once(device, run, self, buckets[i], err);
    device->graphs->may_record = false;
    return status;
}
