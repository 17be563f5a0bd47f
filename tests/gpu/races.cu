/* The wgmma attention kernel built again for tests/gpu/races_test.c: random delays in producer and consumers and NaN in shared memory, as
 * it is, without one wait, without one fence, without that fence and its barrier. racecheck cannot judge kernels that copy through the async proxy; this stands in. */
#include "tests/gpu/races.h"

#include "kernels/cuda/attention_widen.cuh"
#include "kernels/cuda/hopper.cuh"

#include <stdlib.h>

/* Now and then some hundreds of nanoseconds, the same for a warp. */
static __device__ __forceinline__ void race_delay(void)
{
    unsigned x = __shfl_sync(0xffffffffu, (unsigned)clock64() ^ (threadIdx.x / 32 + 32 * blockIdx.x) * 2654435761u, 0);
    x = (x ^ x >> 15) * 2246822519u;
    if ((x >> 8 & 3) == 0)
        __nanosleep(x >> 20 & 1023);
}

static __device__ __forceinline__ void race_poison(unsigned char *shared, int bytes)
{
    for (int i = threadIdx.x * 4; i < bytes; i += blockDim.x * 4)
        *(unsigned *)(shared + i) = 0xffffffffu;
    proxy_fence();
    __syncthreads();
}

#define RACE_DELAY() race_delay()
#define RACE_POISON(shared, bytes) race_poison(shared, (int)(bytes))
#define RACE_KEYS_WAIT(barrier, phase) barrier_wait(barrier, phase)
#define RACE_TAIL_FENCE() proxy_fence()
#define RACE_TAIL_SYNC() named_sync(1, 256)
#define RACE_WIDEN_FENCE() proxy_fence()
namespace race_right {
#include "kernels/cuda/attention_wgmma.cu"
}

#undef RACE_KEYS_WAIT
#define RACE_KEYS_WAIT(barrier, phase) (void)0
namespace race_no_wait {
#include "kernels/cuda/attention_wgmma.cu"
}

#undef RACE_KEYS_WAIT
#define RACE_KEYS_WAIT(barrier, phase) barrier_wait(barrier, phase)
#undef RACE_TAIL_FENCE
#define RACE_TAIL_FENCE() (void)0
#undef RACE_WIDEN_FENCE
#define RACE_WIDEN_FENCE() (void)0
namespace race_no_fence {
#include "kernels/cuda/attention_wgmma.cu"
}

#undef RACE_TAIL_SYNC
#define RACE_TAIL_SYNC() (void)0
namespace race_no_sync {
#include "kernels/cuda/attention_wgmma.cu"
}

enum mr_status races_attention(struct mr_device *device, const struct mr_attention_params *params, enum races_variant variant)
{
    attention_args args = attention_arguments(device, params);
    switch (variant) {
    case RACES_RIGHT: return race_right::attention_wgmma(device, args);
    case RACES_NO_WAIT: return race_no_wait::attention_wgmma(device, args);
    case RACES_NO_FENCE: return race_no_fence::attention_wgmma(device, args);
    default: return race_no_sync::attention_wgmma(device, args);
    }
}
