/* Any bytes as a JSON job: decoded or refused, never a crash; and what was decoded twice is the same. */
#include "tests/fuzz/job_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) { return fuzz_job(bytes, n, MR_ENCODING_JSON); }
