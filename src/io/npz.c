/* Reading npz: a zip of npy files (libzip, which checks their CRC). */
#include "io/internal.h"
#include "io/zipped.h"

#include <string.h>

static sl_status read_header(sl_ctx *ctx, const char *where, zip_file_t *f, uint64_t size, sl__npy *h, sl_err *err)
{
    uint8_t start[SL_NPY_START], *bytes = NULL;
    size_t n;
    sl_status st;
    if (size < SL_NPY_START)
        return sl_fail(err, SL_DATA, where, NULL, "is no npy file: %llu bytes", (unsigned long long)size);
    SL_TRY(sl__zip_bytes(where, f, start, sizeof start, err));
    SL_TRY(sl__npy_header_size(where, start, sizeof start, &n, err));
    if (n > size)
        return sl_fail(err, SL_DATA, where, NULL, "byte 8: the npy header is longer than the entry");
    bytes = sl_alloc(ctx, n);
    if (!bytes)
        return sl_fail(err, SL_MEM, where, NULL, "no memory for the header");
    memcpy(bytes, start, sizeof start);
    SL_GO(sl__zip_bytes(where, f, bytes + sizeof start, n - sizeof start, err));
    SL_GO(sl__npy_parse(where, bytes, n, h, err));
    if (sl_nbytes(&h->t) != size - n)
        SL_GO(sl_fail(err, SL_DATA, where, NULL, "byte %zu: %llu bytes of data, the shape needs %zu", n,
                      (unsigned long long)(size - n), sl_nbytes(&h->t)));
done:
    sl_free(ctx, bytes);
    return st;
}

static sl_status to_c_order(sl_ctx *ctx, const char *where, sl_tensor *t, sl_err *err)
{
    void *c = sl_alloc(ctx, sl_nbytes(t));
    if (!c)
        return sl_fail(err, SL_MEM, where, NULL, "no memory for %zu bytes", sl_nbytes(t));
    sl__npy_from_fortran(t, t->data, c);
    sl_free(ctx, t->data);
    t->data = c;
    return SL_OK;
}

static sl_status read_entry(sl_ctx *ctx, const char *where, zip_file_t *f, uint64_t size, sl_tensor *out, sl_err *err)
{
    sl__npy h;
    sl_status st;
    SL_TRY(read_header(ctx, where, f, size, &h, err));
    sl_tensor t = h.t;
    t.data = sl_alloc(ctx, sl_nbytes(&t));
    if (!t.data)
        return sl_fail(err, SL_MEM, where, NULL, "no memory for %zu bytes", sl_nbytes(&t));
    SL_GO(sl__zip_bytes(where, f, t.data, sl_nbytes(&t), err));
    SL_GO(sl__zip_end(where, f, err));
    if (h.fortran)
        SL_GO(to_c_order(ctx, where, &t, err));
    *out = t;
    return SL_OK;
done:
    sl_free(ctx, t.data);
    return st;
}

static sl_status add_entry(const char *path, zip_t *z, zip_uint64_t i, sl_dict *out, sl_err *err)
{
    zip_stat_t s;
    char where[512], name[256];
    if (zip_stat_index(z, i, 0, &s) != 0 || !(s.valid & ZIP_STAT_NAME))
        return sl__zip_fail(err, path, "an npz file", zip_error_code_zip(zip_get_error(z)));
    snprintf(where, sizeof where, "%.300s: %.150s", path, s.name);
    size_t n = strlen(s.name);
    if (n < 4 || n >= sizeof name || strcmp(s.name + n - 4, ".npy") != 0)
        return sl_fail(err, SL_DATA, where, "names that end in .npy", "the zip entry is no array");
    SL_TRY(sl__zip_check(where, &s, err));
    memcpy(name, s.name, n - 4);
    name[n - 4] = 0;
    zip_file_t *f = zip_fopen_index(z, i, 0);
    if (!f)
        return sl__zip_fail(err, where, "an npz file", zip_error_code_zip(zip_get_error(z)));
    sl_tensor t;
    sl_status st = read_entry(out->ctx, where, f, s.size, &t, err);
    zip_fclose(f);
    SL_TRY(st);
    st = sl_dict_add(out, name, t, err);
    return st == SL_EXISTS ? sl_fail(err, SL_DATA, where, NULL, "there are two arrays of this name") : st;
}

sl_status sl_npz_read(sl_ctx *ctx, const char *path, sl_dict *out, sl_err *err)
{
    zip_t *z;
    sl_dict_init(ctx, out);
    SL_TRY(sl__zip_open(path, "an npz file", &z, err));
    sl_status st = SL_OK;
    zip_int64_t n = zip_get_num_entries(z, 0);
    for (zip_int64_t i = 0; st == SL_OK && i < n; i++)
        st = add_entry(path, z, (zip_uint64_t)i, out, err);
    zip_discard(z);
    if (st != SL_OK)
        sl_dict_release(out);
    return st;
}
