/* Whole files: atomic writing, scattered writing, appending, reading, mapping. */
#include "io/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- atomic files: a buffer, a temporary name beside the target, fsync, rename ---- */

enum { BUFFER = 1 << 16 };

struct sl_atomic {
    sl_ctx *ctx;
    int fd;
    size_t n_buf;
    char path[SL_PATH], tmp[SL_PATH + 64];
    char buf[BUFFER];
};

static int open_tmp(sl_atomic *f)
{
    int fd = -1;
    for (int i = 0; i < 100; i++) { /* a name may be taken by another thread, or left by a killed process of the same id */
        snprintf(f->tmp, sizeof f->tmp, "%s.tmp-%ld-%d", f->path, (long)getpid(), i);
        fd = sl__create(f->tmp, O_WRONLY | O_EXCL);
        if (fd >= 0 || errno != EEXIST)
            break;
    }
    return fd;
}

sl_status sl_atomic_open(sl_ctx *ctx, const char *path, sl_atomic **out, sl_err *err)
{
    *out = NULL;
    if (strlen(path) >= SL_PATH)
        return sl_fail(err, SL_ARG, path, NULL, "the path is too long");
    if (sl_path_is_dir(path))
        return sl_fail(err, SL_EXISTS, path, "a file", "is a folder");
    sl_atomic *f = sl_alloc(ctx, sizeof *f);
    if (!f)
        return sl_fail(err, SL_MEM, path, NULL, "no memory for the file's buffer");
    f->ctx = ctx;
    memcpy(f->path, path, strlen(path) + 1);
    f->fd = open_tmp(f);
    if (f->fd < 0) {
        sl_free(ctx, f);
        return sl__fail_errno(err, path, "create");
    }
    *out = f;
    return SL_OK;
}

static sl_status flush_buf(sl_atomic *f, sl_err *err)
{
    if (f->n_buf > 0 && sl__write_all(f->fd, f->buf, f->n_buf) != 0)
        return sl__fail_errno(err, f->path, "write");
    f->n_buf = 0;
    return SL_OK;
}

sl_status sl_atomic_write(sl_atomic *f, const void *data, size_t n, sl_err *err)
{
    if (n > BUFFER - f->n_buf)
        SL_TRY(flush_buf(f, err));
    if (n > BUFFER)
        return sl__write_all(f->fd, data, n) == 0 ? SL_OK : sl__fail_errno(err, f->path, "write");
    if (n > 0)
        memcpy(f->buf + f->n_buf, data, n);
    f->n_buf += n;
    return SL_OK;
}

sl_status sl_atomic_skip(sl_atomic *f, int64_t n, sl_err *err)
{
    SL_TRY(flush_buf(f, err));
    off_t end = lseek(f->fd, (off_t)n, SEEK_CUR);
    return end >= 0 && ftruncate(f->fd, end) == 0 ? SL_OK : sl__fail_errno(err, f->path, "extend");
}

sl_status sl_atomic_patch(sl_atomic *f, const void *data, size_t n, int64_t at, sl_err *err)
{
    SL_TRY(flush_buf(f, err));
    off_t end = lseek(f->fd, 0, SEEK_CUR);
    if (at < 0 || at > (int64_t)end || n > (size_t)((int64_t)end - at))
        return sl_fail(err, SL_ARG, f->path, NULL, "a patch of %zu bytes at %lld is behind the end, %lld", n, (long long)at, (long long)end);
    return sl__pwrite_all(f->fd, data, n, at) == 0 ? SL_OK : sl__fail_errno(err, f->path, "write");
}

sl_status sl_atomic_printf(sl_atomic *f, sl_err *err, const char *fmt, ...)
{
    char small[512], *text = small;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n < 0)
        return sl_fail(err, SL_ARG, f->path, NULL, "a text cannot be formatted");
    if ((size_t)n >= sizeof small) {
        text = sl_alloc(f->ctx, (size_t)n + 1);
        if (!text)
            return sl_fail(err, SL_MEM, f->path, NULL, "no memory for %d characters", n);
        va_start(ap, fmt);
        vsnprintf(text, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    sl_status st = sl_atomic_write(f, text, (size_t)n, err);
    if (text != small)
        sl_free(f->ctx, text);
    return st;
}

sl_status sl_atomic_commit(sl_atomic *f, sl_err *err)
{
    sl_status st = flush_buf(f, err);
    if (st == SL_OK && sl__fsync(f->fd) != 0)
        st = sl__fail_errno(err, f->path, "flush to disk");
    int closed = close(f->fd);
    f->fd = -1;
    if (st == SL_OK && closed != 0)
        st = sl__fail_errno(err, f->path, "close");
    if (st == SL_OK && sl__rename(f->tmp, f->path) != 0)
        st = sl__fail_errno(err, f->path, "rename the finished file to this name");
    if (st != SL_OK) {
        sl_atomic_abort(f);
        return st;
    }
    sl__sync_parent(f->path);
    sl_free(f->ctx, f);
    return SL_OK;
}

void sl_atomic_abort(sl_atomic *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    unlink(f->tmp);
    sl_free(f->ctx, f);
}

sl_status sl_file_write(sl_ctx *ctx, const char *path, const void *data, size_t n, sl_err *err)
{
    sl_atomic *f;
    SL_TRY(sl_atomic_open(ctx, path, &f, err));
    sl_status st = sl_atomic_write(f, data, n, err);
    if (st == SL_OK)
        return sl_atomic_commit(f, err);
    sl_atomic_abort(f);
    return st;
}

/* ---- scattered files ---- */

struct sl_scatter {
    sl_ctx *ctx;
    int fd;
    int64_t size;
    char path[SL_PATH];
};

sl_status sl_scatter_open(sl_ctx *ctx, const char *path, int64_t size, sl_scatter **out, sl_err *err)
{
    *out = NULL;
    if (strlen(path) >= SL_PATH)
        return sl_fail(err, SL_ARG, path, NULL, "the path is too long");
    sl_scatter *f = sl_alloc(ctx, sizeof *f);
    if (!f)
        return sl_fail(err, SL_MEM, path, NULL, "no memory for a file's record");
    f->ctx = ctx;
    f->size = size;
    memcpy(f->path, path, strlen(path) + 1);
    f->fd = sl__create(path, O_WRONLY | O_TRUNC);
    if (f->fd < 0 || ftruncate(f->fd, (off_t)size) != 0) {
        sl_status st = sl__fail_errno(err, path, "create");
        sl_scatter_abort(f);
        return st;
    }
    *out = f;
    return SL_OK;
}

sl_status sl_scatter_write(sl_scatter *f, const void *data, size_t n, int64_t at, sl_err *err)
{
    if (at < 0 || n > (size_t)f->size || at > f->size - (int64_t)n)
        return sl_fail(err, SL_ARG, f->path, NULL, "a write of %zu bytes at %lld is outside the file's %lld bytes", n,
                       (long long)at, (long long)f->size);
    return sl__pwrite_all(f->fd, data, n, at) == 0 ? SL_OK : sl__fail_errno(err, f->path, "write");
}

sl_status sl_scatter_close(sl_scatter *f, sl_err *err)
{
    sl_status st = sl__fsync(f->fd) == 0 ? SL_OK : sl__fail_errno(err, f->path, "flush to disk");
    sl_scatter_abort(f);
    return st;
}

void sl_scatter_abort(sl_scatter *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    sl_free(f->ctx, f);
}

/* ---- logs ---- */

sl_status sl_file_append(sl_ctx *ctx, const char *path, const char *line, sl_err *err)
{
    size_t n = strlen(line);
    char *text = sl_alloc(ctx, n + 1);
    if (!text)
        return sl_fail(err, SL_MEM, path, NULL, "no memory for a line");
    memcpy(text, line, n);
    if (n == 0 || text[n - 1] != '\n')
        text[n++] = '\n';
    sl_status st = SL_OK;
    struct stat s;
    int fd = sl__create(path, O_WRONLY | O_APPEND);
    if (fd < 0 || fstat(fd, &s) != 0)
        st = sl__fail_errno(err, path, "open for appending");
    else if (sl__write_all(fd, text, n) != 0) {
        st = sl__fail_errno(err, path, "append");
        if (ftruncate(fd, s.st_size) != 0) /* half a line must not stay */
            sl_log(ctx, SL_LOG_WARN, "%s: may end in half a line", path);
    }
    if (fd >= 0)
        close(fd);
    sl_free(ctx, text);
    return st;
}

/* ---- reading ---- */

static sl_status open_regular(const char *path, int *fd, size_t *n, sl_err *err)
{
    struct stat s;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return sl__fail_errno(err, path, "open");
    if (fstat(*fd, &s) == 0 && S_ISREG(s.st_mode)) {
        *n = (size_t)s.st_size;
        return SL_OK;
    }
    close(*fd);
    return sl_fail(err, SL_IO, path, "a regular file", "cannot be read: it is a folder or a special file");
}

sl_status sl_file_read(sl_ctx *ctx, const char *path, char **data, size_t *n, sl_err *err)
{
    int fd;
    size_t size = 0, got = 0;
    *data = NULL;
    SL_TRY(open_regular(path, &fd, &size, err));
    char *p = sl_alloc(ctx, size + 1);
    sl_status st = p ? SL_OK : sl_fail(err, SL_MEM, path, NULL, "no memory for its %zu bytes", size);
    while (st == SL_OK && got < size) {
        ssize_t k = read(fd, p + got, size - got);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            st = sl__fail_errno(err, path, "read");
        else if (k == 0)
            st = sl_fail(err, SL_IO, path, NULL, "became shorter while it was read (%zu of %zu bytes)", got, size);
        else
            got += (size_t)k;
    }
    close(fd);
    if (st != SL_OK) {
        sl_free(ctx, p);
        return st;
    }
    *data = p;
    *n = size;
    return SL_OK;
}

sl_status sl_mmap_open(const char *path, sl_mmap *out, sl_err *err)
{
    int fd;
    *out = (sl_mmap){ NULL, 0 };
    SL_TRY(open_regular(path, &fd, &out->n, err));
    if (out->n > 0) {
        void *p = mmap(NULL, out->n, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            sl_status st = sl__fail_errno(err, path, "map");
            close(fd);
            *out = (sl_mmap){ NULL, 0 };
            return st;
        }
        out->data = p;
    }
    close(fd);
    return SL_OK;
}

void sl_mmap_will_need(const sl_mmap *m, const void *from, size_t n)
{
    const uint8_t *p = from;
    if (n == 0 || p < m->data || n > m->n || p > m->data + (m->n - n))
        return;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), into = (uintptr_t)p % page;
    (void)madvise((void *)((uintptr_t)p - into), n + into, MADV_WILLNEED); /* a hint */
}

void sl_mmap_close(sl_mmap *m)
{
    if (m->data)
        munmap((void *)(uintptr_t)m->data, m->n);
    *m = (sl_mmap){ NULL, 0 };
}
