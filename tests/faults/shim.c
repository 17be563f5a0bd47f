/* A worker's surroundings as the fault test wants them: preloaded (LD_PRELOAD), it changes what the C library answers, as a page
 * shared with the test says. FAULTS_PAGE names the page's file; without it everything is passed through.
 *
 *     clock_ms     added to the wall clock (never to CLOCK_MONOTONIC), and taken off again where a wait ends at a time of it
 *     no_threads   no thread can be created
 *     cut          nothing comes from or goes to the ports of `port`, and no connection to them can be opened
 *     slow         every call sends to, or takes from, these ports so many bytes at most (0: as many as it likes)
 *     stall        the first thread, which is the worker's log thread, does not come back from poll() */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

enum { PORTS = 4 };

struct page { /* surroundings.py writes it: struct "<qiiiii4i" */
    _Atomic int64_t clock_ms;
    _Atomic int32_t no_threads, cut, slow, stall, reserved, port[PORTS];
};

static struct page calm;
static struct page *page = &calm;

__attribute__((constructor)) static void page_open(void)
{
    const char *path = getenv("FAULTS_PAGE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *memory = fd >= 0 ? mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (memory != MAP_FAILED)
        page = memory;
    if (fd >= 0)
        close(fd);
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* --- the wall clock --- */

static void shift(struct timespec *t, int64_t ms)
{
    int64_t ns = (int64_t)t->tv_nsec + ms % 1000 * 1000000;
    t->tv_sec += ms / 1000 + (ns >= 1000000000) - (ns < 0);
    t->tv_nsec = ns + (ns < 0 ? 1000000000 : 0) - (ns >= 1000000000 ? 1000000000 : 0);
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    REAL(clock_gettime);
    int code = real(id, t);
    if (code == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        shift(t, page->clock_ms);
    return code;
}

int timespec_get(struct timespec *t, int base) { return clock_gettime(CLOCK_REALTIME, t) == 0 ? base : 0; }

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    *t = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *out)
{
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict lock, const struct timespec *restrict until)
{
    typedef int wait_function(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    wait_function *real = (wait_function *)dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    struct timespec end = *until;
    if (end.tv_sec > 1000000000) /* of the wall clock: the kernel knows only the true one */
        shift(&end, -page->clock_ms);
    return real(cond, lock, &end);
}

int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict lock, const struct timespec *restrict until)
{
    REAL(cnd_timedwait);
    struct timespec end = *until;
    shift(&end, -page->clock_ms);
    return real(cond, lock, &end);
}

/* --- threads --- */

int thrd_create(thrd_t *thread, thrd_start_t body, void *argument)
{
    REAL(thrd_create);
    return page->no_threads ? thrd_error : real(thread, body, argument);
}

int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict how, void *(*body)(void *), void *restrict argument)
{
    REAL(pthread_create);
    return page->no_threads ? EAGAIN : real(thread, how, body, argument);
}

/* --- the network --- */

static int cut_off(const struct sockaddr *address)
{
    int port = 0;
    if (address->sa_family == AF_INET)
        port = ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
    for (int i = 0; i < PORTS; i++)
        if (port && page->port[i] == port)
            return 1;
    return 0;
}

static int faulty_peer(int fd)
{
    struct sockaddr_storage address;
    socklen_t n = sizeof address;
    return (page->cut || page->slow) && getpeername(fd, (struct sockaddr *)&address, &n) == 0 && cut_off((struct sockaddr *)&address);
}

static int cut_socket(int fd)
{
    if (!page->cut || !faulty_peer(fd))
        return 0;
    errno = ETIMEDOUT;
    return 1;
}

/* How many of n bytes a call may move. */
static size_t allowed(int fd, size_t n)
{
    size_t most = page->slow > 0 && faulty_peer(fd) ? (size_t)page->slow : n;
    return n < most ? n : most;
}

/* The message's first bytes only, when they must be few; `one` keeps them. */
static const struct msghdr *shortened(int fd, const struct msghdr *message, struct msghdr *copy, struct iovec *one)
{
    if (!page->slow || !faulty_peer(fd))
        return message;
    for (size_t i = 0; i < message->msg_iovlen; i++) {
        *one = message->msg_iov[i];
        if (one->iov_len == 0)
            continue;
        one->iov_len = allowed(fd, one->iov_len);
        *copy = *message;
        copy->msg_iov = one;
        copy->msg_iovlen = 1;
        return copy;
    }
    return message;
}

int connect(int fd, const struct sockaddr *address, socklen_t n)
{
    REAL(connect);
    if (page->cut && cut_off(address)) {
        errno = ENETUNREACH;
        return -1;
    }
    return real(fd, address, n);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    REAL(sendmsg);
    struct msghdr copy;
    struct iovec one;
    return cut_socket(fd) ? -1 : real(fd, shortened(fd, message, &copy, &one), flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    REAL(recvmsg);
    struct msghdr copy;
    struct iovec one;
    return cut_socket(fd) ? -1 : real(fd, (struct msghdr *)(uintptr_t)shortened(fd, message, &copy, &one), flags);
}

ssize_t send(int fd, const void *data, size_t n, int flags)
{
    REAL(send);
    return cut_socket(fd) ? -1 : real(fd, data, allowed(fd, n), flags);
}

ssize_t recv(int fd, void *data, size_t n, int flags)
{
    REAL(recv);
    return cut_socket(fd) ? -1 : real(fd, data, allowed(fd, n), flags);
}

/* --- the log thread --- */

int poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    REAL(poll);
    while (page->stall && gettid() == getpid()) {
        const struct timespec pause = {.tv_nsec = 50000000};
        nanosleep(&pause, NULL);
    }
    return real(fds, n, timeout_ms);
}
