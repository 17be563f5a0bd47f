/* CHECK: a condition whose failure is a bug in this program. It aborts in every build. DCHECK: the same in debug builds
 * only, for checks too dear for the step loop. Neither is for input, files, peers or devices: those return a status. */
#ifndef MR_BASE_CHECK_H
#define MR_BASE_CHECK_H

#ifdef __cplusplus
extern "C" {
#endif

__attribute__((noreturn, cold)) void mr_check_failed(const char *file, int line, const char *what);

#ifdef __cplusplus
}
#endif

#define CHECK(condition) ((condition) ? (void)0 : mr_check_failed(__FILE__, __LINE__, #condition))

#ifdef NDEBUG
#define DCHECK(condition) ((void)sizeof(!(condition)))
#else
#define DCHECK(condition) CHECK(condition)
#endif

#endif
