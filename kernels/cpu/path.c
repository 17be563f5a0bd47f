#include "kernels/cpu/path.h"

#include "base/check.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/exact.h"
#include "kernels/cpu/int8.h"
#include "kernels/cpu/sample.h"

#define AVX2_ROWS \
    .exact_row = mr_exact_row_avx2, .int8_row = mr_int8_row_avx2, .norm_row = mr_norm_row_avx2, \
    .glu_row = mr_glu_row_avx2, .rotate_halves = mr_rotate_halves_avx2, \
    .rotate_pairs = mr_rotate_pairs_avx2, .to_f16 = mr_to_f16_avx2, .attention_takes = mr_attention_avx2_takes, .attention = mr_attention_avx2, \
    .attention_merge = mr_attention_merge_avx2, .sample = &mr_sample_loops_avx2

static const struct mr_cpu_path paths[MR_CPU_ISAS] = {
    [MR_CPU_PLAIN] = {.isa = "plain", .exact = "cpu-exact-plain-2", .fast = "cpu-fast-plain-3"},
#if defined(__x86_64__)
    [MR_CPU_AVX2] = {.isa = "avx2", .exact = "cpu-exact-avx2-2", .fast = "cpu-fast-avx2-3", .multiply_exact = mr_exact_multiply_avx2,
                     .multiply_int8 = mr_int8_multiply_avx2, AVX2_ROWS},
    [MR_CPU_AVX2_SUBNORMAL] = {.isa = "avx2", .exact = "cpu-exact-avx2-2", .fast = "cpu-fast-avx2-3",
                               .multiply_exact = mr_exact_multiply_avx2_subnormal, .multiply_int8 = mr_int8_multiply_avx2, AVX2_ROWS},
    [MR_CPU_AVX512] = {.isa = "avx512", .exact = "cpu-exact-avx512-2", .fast = "cpu-fast-avx512-3", .multiply_exact = mr_exact_multiply_avx512,
                       .multiply_int8 = mr_int8_multiply_avx512, AVX2_ROWS},
#endif
};

static enum mr_cpu_isa isa_limit = MR_CPU_ISAS - 1;

/* The builtin asks CPUID and XCR0. Every processor with AVX2 has F16C, which clang 14 cannot ask for. */
enum mr_cpu_isa mr_cpu_isa_best(void)
{
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return MR_CPU_PLAIN;
    bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512dq");
    if (wide && __builtin_cpu_supports("avx512vnni"))
        return MR_CPU_AVX512;
    return __builtin_cpu_is("amd") ? MR_CPU_AVX2_SUBNORMAL : MR_CPU_AVX2; /* others take some hundred cycles for each */
#endif
    return MR_CPU_PLAIN;
}

void mr_cpu_isa_limit(enum mr_cpu_isa limit)
{
    isa_limit = limit;
}

enum mr_cpu_isa mr_cpu_isa_chosen(void)
{
    enum mr_cpu_isa best = mr_cpu_isa_best();
    return best < isa_limit ? best : isa_limit;
}

const struct mr_cpu_path *mr_cpu_path(enum mr_cpu_isa isa)
{
    CHECK(isa <= mr_cpu_isa_best());
    return &paths[isa];
}
