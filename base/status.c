#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

enum mr_status mr_err_set(struct mr_err *err, enum mr_status code, const char *format, ...)
{
    if (err) {
        va_list args;
        err->code = code;
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
    }
    return code;
}

const char *mr_status_name(enum mr_status status)
{
    switch (status) {
    case MR_OK: return "ok";
    case MR_ERR_INVALID: return "invalid";
    case MR_ERR_UNSUPPORTED: return "unsupported";
    case MR_ERR_NOT_FOUND: return "not found";
    case MR_ERR_LIMIT: return "limit";
    case MR_ERR_NOMEM: return "out of memory";
    case MR_ERR_IO: return "i/o";
    case MR_ERR_TIMEOUT: return "timeout";
    case MR_ERR_CLOSED: return "closed";
    case MR_ERR_BUSY: return "busy";
    }
    return "unknown status";
}
