#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

void mr_check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "millrace: bug at %s:%d: %s\n", file, line, what);
    abort();
}
