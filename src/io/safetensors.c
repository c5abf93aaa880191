/* Reading safetensors: u64 length of the header, JSON header, data.
 * Nothing of the header is believed before it is checked against the file's size. */
#include "io/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEADER 100000000 /* as the reference implementation */

typedef struct range { int64_t begin, end; const char *name; } range;

typedef struct reader {
    const char *path;
    int64_t data_at, n_data; /* bytes */
    sl_dict *d;
    range *ranges;
} reader;

static sl_status parse_header(const char *path, const sl_mmap *m, json_t **out, int64_t *data_at, sl_err *err)
{
    uint64_t n = 0;
    if (m->n < 8)
        return sl_fail(err, SL_DATA, path, "at least 8 bytes", "is no safetensors file: %zu bytes", m->n);
    for (int i = 0; i < 8; i++)
        n |= (uint64_t)m->data[i] << (8 * i);
    if (n > MAX_HEADER)
        return sl_fail(err, SL_DATA, path, "at most 100000000", "byte 0: a header of %" PRIu64 " bytes; this is no safetensors file", n);
    if (n > m->n - 8)
        return sl_fail(err, SL_DATA, path, NULL, "byte 0: the header should have %" PRIu64 " bytes, the file ends after %zu of them: it is truncated",
                       n, m->n - 8);
    json_error_t je;
    *out = json_loadb((const char *)m->data + 8, (size_t)n, JSON_REJECT_DUPLICATES, &je);
    if (!*out)
        return sl_fail(err, SL_DATA, path, NULL, "byte %d: bad header: %s", 8 + je.position, je.text);
    *data_at = 8 + (int64_t)n;
    if (!json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        return sl_fail(err, SL_DATA, path, "a JSON object", "byte 8: bad header");
    }
    return SL_OK;
}

static sl_status bad(const reader *r, const char *name, const char *expected, sl_err *err, const char *what)
{
    return sl_fail(err, SL_DATA, r->path, expected, "tensor '%.100s' in the header at byte 8: %s", name, what);
}

static sl_status read_dtype(const reader *r, const char *name, const json_t *v, sl_dtype *out, sl_err *err)
{
    const char *text = json_string_value(json_object_get(v, "dtype"));
    if (!text)
        return bad(r, name, "a text", err, "no 'dtype'");
    for (int i = 0; i < SL_N_DTYPE; i++)
        if (strcmp(text, sl_dtype_name((sl_dtype)i)) == 0) {
            *out = (sl_dtype)i;
            return SL_OK;
        }
    return sl_fail(err, SL_DATA, r->path, "F32, F64, F16, BF16, I8, U8, U16, I32, I64 or BOOL",
                   "tensor '%.100s' in the header at byte 8: dtype '%.20s' is not supported", name, text);
}

/* Shape and the bytes that it needs. */
static sl_status read_shape(const reader *r, const char *name, const json_t *v, sl_tensor *t, int64_t *bytes, sl_err *err)
{
    const json_t *shape = json_object_get(v, "shape");
    if (!json_is_array(shape))
        return bad(r, name, "a list of whole numbers", err, "no 'shape'");
    if (json_array_size(shape) > SL_MAX_DIM)
        return bad(r, name, "at most 4", err, "too many dimensions");
    t->n_dim = (int)json_array_size(shape);
    *bytes = (int64_t)sl_dtype_size(t->dtype);
    for (int i = 0; i < SL_MAX_DIM; i++)
        t->dim[i] = 1;
    for (int i = 0; i < t->n_dim; i++) {
        const json_t *e = json_array_get(shape, (size_t)i);
        if (!json_is_integer(e) || json_integer_value(e) < 0)
            return bad(r, name, "whole numbers from 0", err, "a wrong dimension");
        t->dim[i] = json_integer_value(e);
    }
    for (int i = 0; i < t->n_dim; i++)
        if (!sl__mul(*bytes, t->dim[i], bytes))
            return bad(r, name, NULL, err, "the shape overflows");
    return SL_OK;
}

static sl_status read_range(const reader *r, const char *name, const json_t *v, int64_t bytes, range *out, sl_err *err)
{
    const json_t *o = json_object_get(v, "data_offsets");
    const json_t *b = json_array_get(o, 0), *e = json_array_get(o, 1);
    if (!json_is_array(o) || json_array_size(o) != 2 || !json_is_integer(b) || !json_is_integer(e))
        return bad(r, name, "two whole numbers", err, "no 'data_offsets'");
    *out = (range){ json_integer_value(b), json_integer_value(e), name };
    long long at = (long long)out->begin, end = (long long)out->end;
    if (out->begin < 0 || out->end < out->begin)
        return bad(r, name, "0 <= begin <= end", err, "wrong 'data_offsets'");
    if (out->end > r->n_data)
        return sl_fail(err, SL_DATA, r->path, NULL, "tensor '%.100s': its data [%lld, %lld) from byte %lld ends beyond the file: it is truncated",
                       name, at, end, (long long)r->data_at);
    if (out->end - out->begin != bytes)
        return sl_fail(err, SL_DATA, r->path, NULL, "tensor '%.100s': %lld bytes at byte %lld, but its shape and dtype need %lld", name,
                       end - at, (long long)r->data_at + at, (long long)bytes);
    return SL_OK;
}

static sl_status read_tensor(reader *r, const char *name, const json_t *v, sl_err *err)
{
    sl_tensor t = { 0 };
    int64_t bytes;
    range *g = &r->ranges[r->d->n];
    if (!json_is_object(v) || json_object_size(v) != 3)
        return bad(r, name, "an object of dtype, shape and data_offsets", err, "wrong entry");
    SL_TRY(read_dtype(r, name, v, &t.dtype, err));
    SL_TRY(read_shape(r, name, v, &t, &bytes, err));
    SL_TRY(read_range(r, name, v, bytes, g, err));
    const uint8_t *p = r->d->map.data + r->data_at + g->begin;
    if (bytes > 0 && (uintptr_t)p % sl_dtype_size(t.dtype) == 0) {
        t.data = (void *)(uintptr_t)p;
    } else {
        t.data = sl_alloc(r->d->ctx, (size_t)bytes);
        if (!t.data)
            return sl_fail(err, SL_MEM, r->path, NULL, "no memory for tensor '%.100s' of %lld bytes", name, (long long)bytes);
        memcpy(t.data, p, (size_t)bytes);
    }
    return sl__dict_push(r->d, name, t, err);
}

static int by_begin(const void *a, const void *b)
{
    const range *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* The data must be covered without overlap and without holes, as the format demands. */
static sl_status check_cover(reader *r, sl_err *err)
{
    int64_t at = 0;
    qsort(r->ranges, (size_t)r->d->n, sizeof *r->ranges, by_begin);
    for (int i = 0; i < r->d->n; i++) {
        const range *g = &r->ranges[i];
        if (g->begin < at)
            return sl_fail(err, SL_DATA, r->path, NULL, "tensors '%.100s' and '%.100s' overlap at byte %lld", r->ranges[i - 1].name,
                           g->name, (long long)(r->data_at + g->begin));
        if (g->begin > at)
            return sl_fail(err, SL_DATA, r->path, NULL, "a hole before tensor '%.100s' at byte %lld", g->name, (long long)(r->data_at + at));
        at = g->end;
    }
    if (at != r->n_data)
        return sl_fail(err, SL_DATA, r->path, NULL, "byte %lld: %lld bytes belong to no tensor", (long long)(r->data_at + at),
                       (long long)(r->n_data - at));
    return SL_OK;
}

static sl_status read_meta(reader *r, json_t *meta, sl_err *err)
{
    const char *key;
    json_t *v;
    bool good = json_is_object(meta);
    if (good)
        json_object_foreach(meta, key, v)
            good = good && json_is_string(v);
    if (!good)
        return sl_fail(err, SL_DATA, r->path, "an object of texts", "byte 8: bad __metadata__ in the header");
    r->d->meta = json_incref(meta);
    return SL_OK;
}

static sl_status read_all(reader *r, json_t *header, sl_err *err)
{
    const char *name;
    json_t *v;
    r->n_data = (int64_t)r->d->map.n - r->data_at;
    r->ranges = sl_alloc(r->d->ctx, (json_object_size(header) + 1) * sizeof *r->ranges);
    if (!r->ranges)
        return sl_fail(err, SL_MEM, r->path, NULL, "no memory for the list of tensors");
    json_object_foreach(header, name, v) {
        if (strcmp(name, "__metadata__") == 0)
            SL_TRY(read_meta(r, v, err));
        else
            SL_TRY(read_tensor(r, name, v, err));
    }
    return check_cover(r, err);
}

sl_status sl_safetensors_read(sl_ctx *ctx, const char *path, sl_dict *out, sl_err *err)
{
    reader r = { .path = path, .d = out };
    json_t *header = NULL;
    sl_status st;
    sl_dict_init(ctx, out);
    SL_TRY(sl_mmap_open(path, &out->map, err));
    SL_GO(parse_header(path, &out->map, &header, &r.data_at, err));
    SL_GO(read_all(&r, header, err));
done:
    sl_free(ctx, r.ranges);
    json_decref(header);
    if (st != SL_OK)
        sl_dict_release(out);
    return st;
}
