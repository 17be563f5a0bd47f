/* What a fallible call returns, and the message that goes with it.
 *
 * A function that can fail for reasons outside the program returns `enum mr_status` and takes a `struct mr_err *` last.
 * The err pointer may be NULL; when it is not, it is written only on failure. A bug is not a status: see check.h. */
#ifndef MR_BASE_STATUS_H
#define MR_BASE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

enum mr_status {
    MR_OK = 0,
    MR_ERR_INVALID,     /* the input breaks its format or its contract */
    MR_ERR_UNSUPPORTED, /* well formed, but not something this build does */
    MR_ERR_NOT_FOUND,
    MR_ERR_LIMIT,       /* a stated maximum was passed */
    MR_ERR_NOMEM,
    MR_ERR_IO,          /* a file, socket, broker or device failed */
    MR_ERR_TIMEOUT,
    MR_ERR_CLOSED,      /* the other side is gone for good */
    MR_ERR_BUSY,        /* not now: the same call may succeed later */
};

enum { MR_ERR_TEXT_BYTES = 320 };

struct mr_err {
    enum mr_status code;
    char text[MR_ERR_TEXT_BYTES]; /* one sentence, no trailing newline, always terminated */
};

/* Stores code and the formatted sentence in *err (if not NULL) and returns code, so that a caller can `return mr_err_set(...)`. */
enum mr_status mr_err_set(struct mr_err *err, enum mr_status code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* "ok", "invalid", ... */
const char *mr_status_name(enum mr_status status);

#ifdef __cplusplus
}
#endif
#endif
