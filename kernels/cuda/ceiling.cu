/* The card's ceilings as its own kernels can reach them: reading memory, and one large bf16 product through cuBLASLt. */
#include "kernels/cuda/device.cuh"

enum { THREADS = 512, SIDE = 8192, UNROLL = 8 };
static const size_t READ_BYTES = (size_t)2 << 30;

/* Reads all of it; the sum is written so that the reads are not dropped. */
static __global__ void __launch_bounds__(THREADS) read_kernel(const uint4 *from, int64_t n, unsigned *sum)
{
    unsigned x = 0;
    int64_t stride = (int64_t)gridDim.x * THREADS, i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    for (; i + (UNROLL - 1) * stride < n; i += UNROLL * stride) {
        uint4 v[UNROLL];
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            v[u] = __ldcs(from + i + u * stride);
#pragma unroll
        for (int u = 0; u < UNROLL; u++)
            x ^= v[u].x ^ v[u].y ^ v[u].z ^ v[u].w;
    }
    if (x == 0x5eed)
        *sum = x;
}

/* Seconds of one run, the mean of as many as fit a second after one untimed. Negative: a CUDA error. */
template <typename RUN>
static double seconds(cudaStream_t stream, RUN run)
{
    cudaEvent_t start, stop;
    float ms = 0;
    int repeats = 1;
    cudaEventCreate(&start);
    cudaEventCreate(&stop);
    bool ok = run();
    for (int round = 0; round < 2 && ok; round++) { /* the first tells how many a second takes */
        cudaEventRecord(start, stream);
        for (int i = 0; i < repeats && ok; i++)
            ok = run();
        cudaEventRecord(stop, stream);
        ok = ok && cudaEventSynchronize(stop) == cudaSuccess && cudaEventElapsedTime(&ms, start, stop) == cudaSuccess;
        if (round == 0)
            repeats = ms > 0 && ms < 1000 ? (int)(1000 / ms) + 1 : 1;
    }
    cudaEventDestroy(start);
    cudaEventDestroy(stop);
    return ok ? ms / 1e3 / repeats : -1;
}

static double read_measure(struct mr_device *device)
{
    int sms = device->n_sm;
    uint4 *memory = NULL;
    double s = -1;
    if (cudaMalloc(&memory, READ_BYTES + sizeof(unsigned)) == cudaSuccess) {
        int64_t n = (int64_t)(READ_BYTES / sizeof *memory);
        s = seconds(device->stream, [&] {
            read_kernel<<<4 * sms, THREADS, 0, device->stream>>>(memory, n, (unsigned *)(memory + n));
            return cudaPeekAtLastError() == cudaSuccess;
        });
    }
    cudaFree(memory);
    return s > 0 ? (double)READ_BYTES / s / 1e9 : 0;
}

static double product_measure(struct mr_device *device)
{
    struct mr_weight weight = {MR_BF16, NULL, NULL, SIDE, SIDE};
    const struct mr_random values[] = {{1, 0x1c00 /* 2^-8 */}, {2, 0x1c00}};
    void *in = NULL, *out = NULL;
    size_t bytes = (size_t)SIDE * SIDE * 2;
    double s = -1;
    bool tuning = device->tuning;
    /* not zeros: the card slows down under the load of real bits */
    if (cudaMalloc(&weight.data, bytes) == cudaSuccess && cudaMalloc(&in, bytes) == cudaSuccess && cudaMalloc(&out, bytes) == cudaSuccess &&
        cuda_random_bf16(device, weight.data, (int64_t)SIDE * SIDE, &values[0]) == MR_OK &&
        cuda_random_bf16(device, in, (int64_t)SIDE * SIDE, &values[1]) == MR_OK) {
        struct mr_matmul_params p = {};
        p.weight = &weight, p.in = in, p.out = out, p.rows = SIDE;
        device->tuning = true;
        s = seconds(device->stream, [&] { return cuda_matmul(device, &p) == MR_OK; });
        device->tuning = tuning;
    }
    cudaFree(weight.data);
    cudaFree(in);
    cudaFree(out);
    return s > 0 ? 2.0 * SIDE * SIDE * SIDE / s / 1e9 : 0;
}

void cuda_ceilings(struct mr_device *device, struct mr_ceilings *out)
{
    out->read_gbs = read_measure(device);
    out->multiply_gflops = product_measure(device);
    cudaGetLastError(); /* no memory for it is no error of the device's */
}
