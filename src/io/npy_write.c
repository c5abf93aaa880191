/* Writing npy 1.0, plain tensors and pickled dictionaries.
 * The pickle (protocol 2) is the call numpy.array(DICT): it makes the array of no dimensions that numpy.save would have
 * pickled, and needs no name from inside numpy. */
#include "io/internal.h"

#include <string.h>

/* *n bytes, data at a multiple of 64, the last byte before it a newline. */
static void header(char head[SL_NPY_HEAD], const char *descr, const char *shape, size_t *size)
{
    memset(head, 0, SL_NPY_HEAD);
    memcpy(head, "\x93NUMPY\x01", 7);
    int n = snprintf(head + 10, SL_NPY_HEAD - 10, "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape);
    int total = (10 + n + 1 + 63) / 64 * 64;
    memset(head + 10 + n, ' ', (size_t)(total - 10 - n));
    head[total - 1] = '\n';
    head[8] = (char)((total - 10) & 0xff);
    head[9] = (char)((total - 10) >> 8);
    *size = (size_t)total;
}

sl_status sl__npy_head(const char *path, const sl_tensor *t, char head[SL_NPY_HEAD], size_t *n, sl_err *err)
{
    const char *descr = sl__npy_descr(t->dtype);
    char shape[100] = "";
    if (!descr)
        return sl_fail(err, SL_ARG, path, "F32 or F16", "npy has no dtype for %s", sl_dtype_name(t->dtype));
    for (int i = 0, at = 0; i < t->n_dim; i++)
        at += snprintf(shape + at, sizeof shape - (size_t)at, "%lld%s", (long long)t->dim[i],
                       i + 1 < t->n_dim ? ", " : t->n_dim == 1 ? "," : "");
    header(head, descr, shape, n);
    return SL_OK;
}

sl_status sl_npy_write(sl_ctx *ctx, const char *path, const sl_tensor *t, sl_err *err)
{
    char head[SL_NPY_HEAD];
    size_t n;
    SL_TRY(sl__npy_head(path, t, head, &n, err));
    sl_atomic *f;
    SL_TRY(sl_atomic_open(ctx, path, &f, err));
    sl_status st;
    SL_GO(sl_atomic_write(f, head, n, err));
    SL_GO(sl_atomic_write(f, t->data, sl_nbytes(t), err));
    return sl_atomic_commit(f, err);
done:
    sl_atomic_abort(f);
    return st;
}

/* ---- pickle ---- */

static void little(uint8_t *out, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = (uint8_t)(v >> (8 * i));
}

static sl_status put_op(sl_atomic *f, const char *op, sl_err *err) { return sl_atomic_write(f, op, strlen(op), err); }

static sl_status put_text(sl_atomic *f, const char *s, size_t n, sl_err *err)
{
    uint8_t head[5] = { 'X' }; /* BINUNICODE */
    little(head + 1, n, 4);
    if (n > UINT32_MAX)
        return sl_fail(err, SL_ARG, NULL, NULL, "a text of %zu bytes cannot be pickled", n);
    SL_TRY(sl_atomic_write(f, head, 5, err));
    return sl_atomic_write(f, s, n, err);
}

static sl_status put_int(sl_atomic *f, int64_t v, sl_err *err)
{
    uint8_t b[10] = { 'J' }; /* BININT: 4 bytes */
    if (v >= INT32_MIN && v <= INT32_MAX) {
        little(b + 1, (uint64_t)v, 4);
        return sl_atomic_write(f, b, 5, err);
    }
    b[0] = 0x8a; /* LONG1: length, little-endian two's complement */
    b[1] = 8;
    little(b + 2, (uint64_t)v, 8);
    return sl_atomic_write(f, b, 10, err);
}

static sl_status put_real(sl_atomic *f, double v, sl_err *err)
{
    uint8_t b[9] = { 'G' }; /* BINFLOAT: big-endian */
    uint64_t bits;
    memcpy(&bits, &v, 8);
    for (int i = 0; i < 8; i++)
        b[1 + i] = (uint8_t)(bits >> (56 - 8 * i));
    return sl_atomic_write(f, b, 9, err);
}

static sl_status put_value(sl_atomic *f, const json_t *v, sl_err *err);

static sl_status put_object(sl_atomic *f, const json_t *v, sl_err *err)
{
    const char *key;
    json_t *e;
    SL_TRY(put_op(f, "}(", err)); /* EMPTY_DICT MARK */
    json_object_foreach((json_t *)(uintptr_t)v, key, e) {
        SL_TRY(put_text(f, key, strlen(key), err));
        SL_TRY(put_value(f, e, err));
    }
    return put_op(f, "u", err); /* SETITEMS */
}

static sl_status put_array(sl_atomic *f, const json_t *v, sl_err *err)
{
    SL_TRY(put_op(f, "](", err)); /* EMPTY_LIST MARK */
    for (size_t i = 0; i < json_array_size(v); i++)
        SL_TRY(put_value(f, json_array_get(v, i), err));
    return put_op(f, "e", err); /* APPENDS */
}

static sl_status put_value(sl_atomic *f, const json_t *v, sl_err *err)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return put_object(f, v, err);
    case JSON_ARRAY: return put_array(f, v, err);
    case JSON_STRING: return put_text(f, json_string_value(v), json_string_length(v), err);
    case JSON_INTEGER: return put_int(f, json_integer_value(v), err);
    case JSON_REAL: return put_real(f, json_real_value(v), err);
    case JSON_TRUE: return put_op(f, "\x88", err);
    case JSON_FALSE: return put_op(f, "\x89", err);
    default: return put_op(f, "N", err); /* None */
    }
}

sl_status sl_npy_write_pickled(sl_ctx *ctx, const char *path, const json_t *value, sl_err *err)
{
    sl_atomic *f;
    char head[SL_NPY_HEAD];
    size_t n;
    if (!json_is_object(value))
        return sl_fail(err, SL_ARG, path, "a JSON object", "this value cannot be written as a dictionary");
    SL_TRY(sl_atomic_open(ctx, path, &f, err));
    sl_status st;
    header(head, "|O", "", &n);
    SL_GO(sl_atomic_write(f, head, n, err));
    SL_GO(put_op(f, "\x80\x02" "cnumpy\narray\n", err)); /* PROTO 2, GLOBAL */
    SL_GO(put_value(f, value, err));
    SL_GO(put_op(f, "\x85R.", err)); /* TUPLE1 REDUCE STOP */
    return sl_atomic_commit(f, err);
done:
    sl_atomic_abort(f);
    return st;
}
