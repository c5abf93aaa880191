/* Reading npy: magic, version, length of the header, a Python dictionary as text, data. */
#include "io/internal.h"

#include <string.h>

enum { MAX_HEADER = 1 << 20 }; /* numpy writes some 128 bytes; its own reader stops at 10,000 */

static const struct { const char *text; sl_dtype dtype; } DTYPES[] = {
    { "<f4", SL_F32 }, { "<f8", SL_F64 }, { "<f2", SL_F16 }, { "|i1", SL_I8 }, { "|u1", SL_U8 }, { "<u2", SL_U16 },
    { "<i4", SL_I32 }, { "<i8", SL_I64 }, { "|b1", SL_BOOL }, { "<i1", SL_I8 }, { "<u1", SL_U8 }, { "<b1", SL_BOOL },
};

const char *sl__npy_descr(sl_dtype dtype)
{
    for (size_t i = 0; i < sizeof DTYPES / sizeof *DTYPES; i++)
        if (DTYPES[i].dtype == dtype)
            return DTYPES[i].text;
    return NULL;
}

sl_status sl__npy_header_size(const char *file, const uint8_t *start, size_t n, size_t *size, sl_err *err)
{
    if (n < SL_NPY_START || memcmp(start, "\x93NUMPY", 6) != 0)
        return sl_fail(err, SL_DATA, file, NULL, "byte 0: is no npy file");
    if (start[6] < 1 || start[6] > 3)
        return sl_fail(err, SL_DATA, file, "1, 2 or 3", "byte 6: npy version %d", start[6]);
    size_t len = (size_t)start[8] | (size_t)start[9] << 8;
    if (start[6] > 1)
        len |= (size_t)start[10] << 16 | (size_t)start[11] << 24;
    *size = (start[6] == 1 ? 10 : 12) + len;
    if (len > MAX_HEADER)
        return sl_fail(err, SL_DATA, file, "at most 1048576", "byte 8: an npy header of %zu bytes", len);
    return *size < SL_NPY_START ? sl_fail(err, SL_DATA, file, NULL, "byte 8: an npy header of %zu bytes", len) : SL_OK;
}

/* ---- the dictionary {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } in any order ---- */

typedef struct text { const char *file, *begin, *p, *end; } text;

static sl_status bad(const text *t, const char *expected, sl_err *err)
{
    return sl_fail(err, SL_DATA, t->file, expected, "byte %lld: bad npy header", (long long)(t->p - t->begin));
}

static bool take(text *t, const char *word)
{
    while (t->p < t->end && (*t->p == ' ' || *t->p == '\n' || *t->p == '\t'))
        t->p++;
    size_t n = strlen(word);
    if ((size_t)(t->end - t->p) < n || memcmp(t->p, word, n) != 0)
        return false;
    t->p += n;
    return true;
}

static sl_status quoted(text *t, char *out, size_t size, sl_err *err)
{
    char q = take(t, "'") ? '\'' : take(t, "\"") ? '"' : 0;
    size_t n = 0;
    if (!q)
        return bad(t, "a quoted text", err);
    for (; t->p < t->end && *t->p != q; t->p++) {
        if (n + 1 == size)
            return bad(t, "a short text", err);
        out[n++] = *t->p;
    }
    out[n] = 0;
    return take(t, q == '"' ? "\"" : "'") ? SL_OK : bad(t, "the end of a text", err);
}

static sl_status number(text *t, int64_t *out, sl_err *err)
{
    take(t, "");
    int64_t v = 0;
    const char *start = t->p;
    for (; t->p < t->end && *t->p >= '0' && *t->p <= '9'; t->p++) {
        int digit = *t->p - '0';
        if (v > (INT64_MAX - digit) / 10)
            return bad(t, "a dimension below 2^63", err);
        v = v * 10 + digit;
    }
    if (t->p == start)
        return bad(t, "a dimension", err);
    take(t, "L"); /* Python 2 wrote 3L */
    *out = v;
    return SL_OK;
}

static sl_status shape(text *t, sl_tensor *x, sl_err *err)
{
    if (!take(t, "("))
        return bad(t, "the shape in parentheses", err);
    x->n_dim = 0;
    while (!take(t, ")")) {
        if (x->n_dim == SL_MAX_DIM)
            return bad(t, "at most 4 dimensions", err);
        SL_TRY(number(t, &x->dim[x->n_dim++], err));
        if (!take(t, ",") && (t->p == t->end || *t->p != ')'))
            return bad(t, "',' or ')'", err);
    }
    return SL_OK;
}

static sl_status descr(text *t, sl_tensor *x, sl_err *err)
{
    char d[32];
    if (take(t, "["))
        return bad(t, "a plain dtype, not a record", err);
    SL_TRY(quoted(t, d, sizeof d, err));
    for (size_t i = 0; i < sizeof DTYPES / sizeof *DTYPES; i++)
        if (strcmp(d, DTYPES[i].text) == 0) {
            x->dtype = DTYPES[i].dtype;
            return SL_OK;
        }
    const char *why = d[0] == '>' ? "big-endian dtype" : strcmp(d, "|O") == 0 ? "dtype of Python objects" : "dtype";
    return sl_fail(err, SL_DATA, t->file, "<f2 <f4 <f8 |i1 |u1 <u2 <i4 <i8 or |b1", "byte %lld: %s '%s' is not supported",
                   (long long)(t->p - t->begin), why, d);
}

enum { DESCR = 1, FORTRAN = 2, SHAPE = 4, ALL = 7 };

static sl_status pair(text *t, sl__npy *out, int *seen, sl_err *err)
{
    char key[32];
    SL_TRY(quoted(t, key, sizeof key, err));
    if (!take(t, ":"))
        return bad(t, "':'", err);
    int bit = strcmp(key, "descr") == 0 ? DESCR : strcmp(key, "fortran_order") == 0 ? FORTRAN : strcmp(key, "shape") == 0 ? SHAPE : 0;
    if (bit == 0 || (*seen & bit))
        return bad(t, "descr, fortran_order and shape, once each", err);
    *seen |= bit;
    if (bit == DESCR)
        return descr(t, &out->t, err);
    if (bit == SHAPE)
        return shape(t, &out->t, err);
    out->fortran = take(t, "True");
    return out->fortran || take(t, "False") ? SL_OK : bad(t, "True or False", err);
}

sl_status sl__npy_parse(const char *file, const uint8_t *bytes, size_t n, sl__npy *out, sl_err *err)
{
    int seen = 0;
    *out = (sl__npy){ .t = { .dim = { 1, 1, 1, 1 } } };
    SL_TRY(sl__npy_header_size(file, bytes, n, &out->data_at, err));
    if (n < out->data_at)
        return sl_fail(err, SL_DATA, file, NULL, "byte %zu: the file ends within the npy header: it is truncated", n);
    const char *base = (const char *)bytes;
    text t = { file, base, base + (bytes[6] == 1 ? 10 : 12), base + out->data_at };
    if (!take(&t, "{"))
        return bad(&t, "'{'", err);
    while (!take(&t, "}")) {
        SL_TRY(pair(&t, out, &seen, err));
        if (!take(&t, ",") && (t.p == t.end || *t.p != '}'))
            return bad(&t, "',' or '}'", err);
    }
    take(&t, "");
    if (t.p != t.end || seen != ALL)
        return bad(&t, "descr, fortran_order and shape, once each", err);
    int64_t size = (int64_t)sl_dtype_size(out->t.dtype);
    for (int i = 0; i < out->t.n_dim; i++)
        if (!sl__mul(size, out->t.dim[i], &size))
            return sl_fail(err, SL_DATA, file, NULL, "the shape in the npy header overflows");
    return SL_OK;
}

/* ---- data ---- */

void sl__npy_from_fortran(const sl_tensor *x, const void *src, void *dst)
{
    size_t size = sl_dtype_size(x->dtype);
    int64_t i[SL_MAX_DIM], n = sl_numel(x), step[SL_MAX_DIM] = { 1, 0, 0, 0 };
    const char *s = src;
    char *d = dst;
    if (n == 0)
        return;
    for (int k = 1; k < SL_MAX_DIM; k++)
        step[k] = step[k - 1] * x->dim[k - 1];
    for (i[0] = 0; i[0] < x->dim[0]; i[0]++)
        for (i[1] = 0; i[1] < x->dim[1]; i[1]++)
            for (i[2] = 0; i[2] < x->dim[2]; i[2]++)
                for (i[3] = 0; i[3] < x->dim[3]; i[3]++, d += size) {
                    int64_t at = i[0] * step[0] + i[1] * step[1] + i[2] * step[2] + i[3] * step[3];
                    memcpy(d, s + (size_t)at * size, size);
                }
}

static sl_status copy_data(sl_ctx *ctx, const char *path, const sl__npy *h, const uint8_t *src, sl_tensor *t, sl_err *err)
{
    t->data = sl_alloc(ctx, sl_nbytes(t));
    if (!t->data)
        return sl_fail(err, SL_MEM, path, NULL, "no memory for %zu bytes", sl_nbytes(t));
    if (h->fortran)
        sl__npy_from_fortran(t, src, t->data);
    else
        memcpy(t->data, src, sl_nbytes(t));
    return SL_OK;
}

sl_status sl_npy_open(sl_ctx *ctx, const char *path, sl_dict *out, sl_err *err)
{
    sl__npy h;
    sl_status st;
    sl_dict_init(ctx, out);
    SL_TRY(sl_mmap_open(path, &out->map, err));
    SL_GO(sl__npy_parse(path, out->map.data, out->map.n, &h, err));
    sl_tensor t = h.t;
    size_t have = out->map.n - h.data_at, need = sl_nbytes(&t);
    if (have != need)
        SL_GO(sl_fail(err, SL_DATA, path, NULL, "byte %zu: %zu bytes of data, the shape needs %zu%s", h.data_at, have, need,
                      have < need ? ": the file is truncated" : ""));
    const uint8_t *p = out->map.data + h.data_at;
    if (need > 0 && !h.fortran && (uintptr_t)p % sl_dtype_size(t.dtype) == 0)
        t.data = (void *)(uintptr_t)p;
    else
        SL_GO(copy_data(ctx, path, &h, p, &t, err));
    st = sl__dict_push(out, "", t, err);
done:
    if (st != SL_OK)
        sl_dict_release(out);
    return st;
}

sl_status sl_npy_read(sl_ctx *ctx, const char *path, sl_tensor *out, sl_err *err)
{
    sl_dict d;
    *out = (sl_tensor){ 0 };
    SL_TRY(sl_npy_open(ctx, path, &d, err));
    sl_tensor t = d.v[0].t;
    sl__npy plain = { .fortran = false };
    sl_status st = copy_data(ctx, path, &plain, t.data, &t, err);
    if (st == SL_OK)
        *out = t;
    sl_dict_release(&d);
    return st;
}
