/* Copies of artifacts into a run's folder. */
#include "study/copy.h"

#include "study/cache.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

sl_status sl_copy_file(sl_ctx *ctx, const char *from_dir, const char *to_dir, const char *name, sl_err *err)
{
    char from[SL_PATH], to[SL_PATH];
    SL_TRY(sl_path_join(from, sizeof from, from_dir, name, err));
    SL_TRY(sl_path_join(to, sizeof to, to_dir, name, err));
    sl_mmap m;
    SL_TRY(sl_mmap_open(from, &m, err));
    sl_status st = sl_file_write(ctx, to, m.data, m.n, err);
    sl_mmap_close(&m);
    return st;
}

sl_status sl_copy_dir(sl_ctx *ctx, const char *from, const char *to, sl_err *err)
{
    SL_TRY(sl_dir_make(to, err));
    DIR *d = opendir(from);
    if (!d)
        return sl_fail(err, SL_IO, from, "a folder that can be read", "%s", strerror(errno));
    sl_status st = SL_OK;
    for (struct dirent *e; st == SL_OK && (e = readdir(d));) {
        char path[SL_PATH + 300];
        struct stat s;
        snprintf(path, sizeof path, "%s/%s", from, e->d_name);
        if (stat(path, &s) == 0 && S_ISREG(s.st_mode))
            st = sl_copy_file(ctx, from, to, e->d_name, err);
    }
    closedir(d);
    return st;
}
