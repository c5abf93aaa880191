/* Entries of a zip file through libzip, with sizes checked before memory is asked for. */
#include "io/zipped.h"
#include "io/internal.h"

sl_status sl__zip_fail(sl_err *err, const char *where, const char *expected, int code)
{
    zip_error_t e;
    zip_error_init_with_code(&e, code);
    sl_fail(err, SL_DATA, where, expected, "%s", zip_error_strerror(&e));
    zip_error_fini(&e);
    return code == ZIP_ER_MEMORY ? sl_fail(err, SL_MEM, where, NULL, "no memory to read the zip") : SL_DATA;
}

/* Deflate cannot shrink by more than 1032: a larger size is a lie, found before memory is asked for. */
sl_status sl__zip_check(const char *where, const zip_stat_t *s, sl_err *err)
{
    zip_uint64_t need = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if ((s->valid & need) != need || s->encryption_method != ZIP_EM_NONE ||
        (s->comp_method != ZIP_CM_STORE && s->comp_method != ZIP_CM_DEFLATE))
        return sl_fail(err, SL_DATA, where, "stored or deflated, not encrypted", "the zip entry cannot be read");
    if (s->size / 1040 > s->comp_size + 1)
        return sl_fail(err, SL_DATA, where, NULL, "%llu bytes cannot come from %llu compressed ones", (unsigned long long)s->size,
                       (unsigned long long)s->comp_size);
    return SL_OK;
}

sl_status sl__zip_bytes(const char *where, zip_file_t *f, void *out, size_t n, sl_err *err)
{
    char *p = out;
    while (n > 0) {
        zip_int64_t k = zip_fread(f, p, n);
        if (k < 0)
            return sl_fail(err, SL_DATA, where, NULL, "%s", zip_file_strerror(f));
        if (k == 0)
            return sl_fail(err, SL_DATA, where, NULL, "the zip entry is truncated: %zu bytes are missing", n);
        p += k;
        n -= (size_t)k;
    }
    return SL_OK;
}

/* Reading past the end makes libzip compare the CRC. */
sl_status sl__zip_end(const char *where, zip_file_t *f, sl_err *err)
{
    char more;
    zip_int64_t k = zip_fread(f, &more, 1);
    if (k < 0)
        return sl_fail(err, SL_DATA, where, NULL, "%s", zip_file_strerror(f));
    return k == 0 ? SL_OK : sl_fail(err, SL_DATA, where, NULL, "the zip entry is longer than the shape needs");
}

sl_status sl__zip_open(const char *path, const char *expected, zip_t **out, sl_err *err)
{
    int code = 0;
    sl_mmap probe; /* opened first for the plain errors of a missing file or a folder */
    SL_TRY(sl_mmap_open(path, &probe, err));
    sl_mmap_close(&probe);
    *out = zip_open(path, ZIP_RDONLY, &code);
    return *out ? SL_OK : sl__zip_fail(err, path, expected, code);
}
