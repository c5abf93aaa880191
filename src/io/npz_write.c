/* Writing npz: a zip of npy files, stored as numpy.savez stores them, always with the same bytes. */
#include "io/internal.h"
#include "io/zipped.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const time_t FIRST_DAY = 315532800; /* 1 January 1980, the earliest that a zip can say */

/* One array as npy in memory that libzip frees with free(). */
static sl_status add_array(zip_t *z, const char *path, const char *name, const sl_tensor *t, sl_err *err)
{
    char head[SL_NPY_HEAD], entry[300];
    size_t n_head, n = sl_nbytes(t);
    SL_TRY(sl__npy_head(path, t, head, &n_head, err));
    char *bytes = malloc(n_head + n);
    if (!bytes)
        return sl_fail(err, SL_MEM, path, NULL, "no memory for array '%.100s' of %zu bytes", name, n);
    memcpy(bytes, head, n_head);
    if (n > 0)
        memcpy(bytes + n_head, t->data, n);
    zip_source_t *src = zip_source_buffer(z, bytes, n_head + n, 1);
    if (!src) {
        free(bytes);
        return sl_fail(err, SL_MEM, path, NULL, "no memory for array '%.100s'", name);
    }
    snprintf(entry, sizeof entry, "%.250s.npy", name);
    zip_int64_t at = zip_file_add(z, entry, src, ZIP_FL_ENC_UTF_8);
    if (at < 0)
        zip_source_free(src);
    if (at < 0 || zip_set_file_compression(z, (zip_uint64_t)at, ZIP_CM_STORE, 0) != 0 || zip_file_set_mtime(z, (zip_uint64_t)at, FIRST_DAY, 0) != 0)
        return sl_fail(err, SL_ARG, path, "names that differ", "array '%.100s': %s", name, zip_strerror(z));
    return SL_OK;
}

static sl_status write_zip(const char *path, const char *tmp, int n, const char *const *names, const sl_tensor *t, sl_err *err)
{
    int code = 0;
    zip_t *z = zip_open(tmp, ZIP_CREATE | ZIP_TRUNCATE, &code);
    sl_status st = z ? SL_OK : sl__zip_fail(err, path, "a path that can be written", code);
    for (int i = 0; st == SL_OK && i < n; i++)
        st = add_array(z, path, names[i], &t[i], err);
    if (st == SL_OK && zip_close(z) != 0) {
        st = sl_fail(err, SL_IO, path, NULL, "cannot be written: %s", zip_strerror(z));
        zip_discard(z);
    } else if (st != SL_OK && z)
        zip_discard(z);
    return st;
}

sl_status sl_npz_write(sl_ctx *ctx, const char *path, int n, const char *const *names, const sl_tensor *tensors, sl_err *err)
{
    char tmp[SL_PATH + 64];
    (void)ctx;
    if (strlen(path) >= SL_PATH)
        return sl_fail(err, SL_ARG, path, NULL, "the path is too long");
    snprintf(tmp, sizeof tmp, "%s.tmp-%ld-0", path, (long)getpid());
    SL_TRY(write_zip(path, tmp, n, names, tensors, err));
    sl_status st = sl_path_rename(tmp, path, err);
    if (st != SL_OK)
        unlink(tmp);
    return st;
}
