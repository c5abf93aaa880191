/* Counted system calls (the place where tests inject a full disk) and errno as an error line. */
#include "io/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* The one mutable global: injection has to reach calls that take no context. 0: off. */
static atomic_llong fail_after;

void sl_io_fail_at(int64_t n) { atomic_store(&fail_after, n); }

static pthread_once_t asked = PTHREAD_ONCE_INIT;

/* Tests of whole programs inject through the environment. */
static void ask_environment(void)
{
    const char *n = getenv("SAELAB_FAIL_IO");
    if (n && atomic_load(&fail_after) == 0)
        sl_io_fail_at(strtoll(n, NULL, 10));
}

static bool injected(void)
{
    pthread_once(&asked, ask_environment);
    if (atomic_load(&fail_after) <= 0 || atomic_fetch_sub(&fail_after, 1) != 1)
        return false;
    errno = ENOSPC;
    return true;
}

int sl__create(const char *path, int flags)
{
    return injected() ? -1 : open(path, flags | O_CREAT | O_CLOEXEC, 0666);
}

int sl__pwrite_all(int fd, const void *data, size_t n, int64_t at)
{
    if (injected())
        return -1;
    const char *p = data;
    while (n > 0) {
        ssize_t k = at < 0 ? write(fd, p, n) : pwrite(fd, p, n, (off_t)at);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return -1;
        p += k;
        n -= (size_t)k;
        at += at < 0 ? 0 : k;
    }
    return 0;
}

int sl__write_all(int fd, const void *data, size_t n) { return sl__pwrite_all(fd, data, n, -1); }
int sl__fsync(int fd) { return injected() ? -1 : fsync(fd); }
int sl__rename(const char *from, const char *to) { return injected() ? -1 : rename(from, to); }
int sl__mkdir(const char *path) { return injected() ? -1 : mkdir(path, 0777); }

sl_status sl__fail_errno(sl_err *err, const char *path, const char *verb)
{
    int e = errno;
    char text[128] = "";
    if (strerror_r(e, text, sizeof text) != 0)
        snprintf(text, sizeof text, "error %d", e);
    sl_status code = e == ENOENT ? SL_MISSING : e == ENOMEM ? SL_MEM : SL_IO;
    return sl_fail(err, code, path, NULL, "cannot %s: %s", verb, text);
}

void sl__sync_parent(const char *path)
{
    char dir[SL_PATH];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (n >= sizeof dir)
        return;
    snprintf(dir, sizeof dir, "%.*s", (int)n, path);
    int fd = open(n ? dir : slash ? "/" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd);
    close(fd);
}

bool sl__mul(int64_t a, int64_t b, int64_t *out)
{
    if (a != 0 && b > INT64_MAX / a)
        return false;
    *out = a * b;
    return true;
}
