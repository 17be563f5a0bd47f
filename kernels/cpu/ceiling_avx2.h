/* The loops of kernels/ceiling.c in AVX2. Each returns a value that depends on all it did. */
#ifndef MR_KERNELS_CPU_CEILING_AVX2_H
#define MR_KERNELS_CPU_CEILING_AVX2_H

#include <stddef.h>
#include <stdint.h>

/* Reads bytes (a multiple of 256) at p, 32-byte aligned. */
int mr_ceiling_read_avx2(const uint8_t *p, size_t bytes);
/* rounds x 10 chains of 8 fused multiply-adds: 160 operations a round. */
float mr_ceiling_fma_avx2(int64_t rounds);
/* rounds x 6 chains of 8 maddubs of 32 products: 6 x 8 x 64 operations a round. */
int mr_ceiling_int8_avx2(int64_t rounds);

#endif
