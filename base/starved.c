#include "base/starved.h"

#include <stdatomic.h>

static _Atomic uint64_t refused;

uint64_t mr_starved_count(void) { return atomic_load(&refused); }
void mr_starved_add(void) { atomic_fetch_add(&refused, 1); }
