/* Philox4x32-10: random numbers as a pure function of a key and a counter, so that a draw does not depend on who drew before.
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Common to C17, C++ and CUDA. */
#ifndef MR_KERNELS_PHILOX_H
#define MR_KERNELS_PHILOX_H

#include <stdint.h>

#ifdef __CUDACC__
#define MR_HOST_DEVICE __host__ __device__
#else
#define MR_HOST_DEVICE
#endif

struct mr_philox {
    uint32_t word[4];
};

/* Ten rounds over counter under key (low word first). */
static inline MR_HOST_DEVICE struct mr_philox mr_philox4x32(uint64_t key, struct mr_philox counter)
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * counter.word[0], b = (uint64_t)0xCD9E8D57u * counter.word[2];
        struct mr_philox next;
        next.word[0] = (uint32_t)(b >> 32) ^ counter.word[1] ^ k0;
        next.word[1] = (uint32_t)b;
        next.word[2] = (uint32_t)(a >> 32) ^ counter.word[3] ^ k1;
        next.word[3] = (uint32_t)a;
        counter = next;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return counter;
}

#endif
