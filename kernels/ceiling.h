/* What the machine can give, measured now: the ceilings that timings are shown against. Each call takes about 0.15 s on `threads`
 * threads (0: one a core) and gives the best of several runs; 0 where it cannot be measured. Uses the widest code the CPU device has. */
#ifndef MR_KERNELS_CEILING_H
#define MR_KERNELS_CEILING_H

/* Sequential reads of memory beyond the caches, 10^9 bytes a second. */
double mr_ceiling_read_gbs(int threads);
/* float32 fused multiply-adds from registers, two operations each, 10^9 a second. */
double mr_ceiling_fma_gflops(int threads);
/* 8-bit products summed (maddubs into int16, widened once in 8), two operations each, 10^9 a second. */
double mr_ceiling_int8_gops(int threads);

#endif
