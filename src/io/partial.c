/* Files that are filled over several starts of the program: downloads. */
#include "io/internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct sl_partial {
    sl_ctx *ctx;
    int fd;
    char path[SL_PATH], part[SL_PATH + 8];
};

sl_status sl_partial_open(sl_ctx *ctx, const char *path, sl_partial **out, int64_t *have, sl_err *err)
{
    struct stat s;
    *out = NULL;
    *have = 0;
    if (strlen(path) >= SL_PATH)
        return sl_fail(err, SL_ARG, path, NULL, "the path is too long");
    sl_partial *f = sl_alloc(ctx, sizeof *f);
    if (!f)
        return sl_fail(err, SL_MEM, path, NULL, "no memory for a file's record");
    f->ctx = ctx;
    memcpy(f->path, path, strlen(path) + 1);
    snprintf(f->part, sizeof f->part, "%s.part", path);
    f->fd = sl__create(f->part, O_WRONLY | O_APPEND);
    if (f->fd < 0 || fstat(f->fd, &s) != 0) {
        sl_status st = sl__fail_errno(err, f->part, "create");
        sl_partial_close(f);
        return st;
    }
    *have = (int64_t)s.st_size;
    *out = f;
    return SL_OK;
}

sl_status sl_partial_write(sl_partial *f, const void *data, size_t n, sl_err *err)
{
    return sl__write_all(f->fd, data, n) == 0 ? SL_OK : sl__fail_errno(err, f->part, "write");
}

sl_status sl_partial_restart(sl_partial *f, sl_err *err)
{
    return ftruncate(f->fd, 0) == 0 ? SL_OK : sl__fail_errno(err, f->part, "empty");
}

const char *sl_partial_path(const sl_partial *f) { return f->part; }

sl_status sl_partial_finish(sl_partial *f, sl_err *err)
{
    sl_status st = sl__fsync(f->fd) == 0 ? SL_OK : sl__fail_errno(err, f->part, "flush to disk");
    if (st == SL_OK)
        st = sl_path_rename(f->part, f->path, err);
    sl_partial_close(f);
    return st;
}

void sl_partial_close(sl_partial *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    sl_free(f->ctx, f);
}
