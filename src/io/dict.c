/* Dictionaries of named tensors. A tensor whose data lies in the dictionary's map is borrowed, any other is owned. */
#include "io/internal.h"

#include <string.h>

void sl_dict_init(sl_ctx *ctx, sl_dict *d) { *d = (sl_dict){ .ctx = ctx }; }

static void free_data(sl_dict *d, void *data)
{
    const uint8_t *p = data;
    bool borrowed = d->map.data && p >= d->map.data && p < d->map.data + d->map.n;
    if (!borrowed)
        sl_free(d->ctx, data);
}

void sl_dict_release(sl_dict *d)
{
    for (int i = 0; i < d->n; i++) {
        free_data(d, d->v[i].t.data);
        sl_free(d->ctx, d->v[i].name);
    }
    sl_free(d->ctx, d->v);
    json_decref(d->meta);
    sl_mmap_close(&d->map);
    *d = (sl_dict){ .ctx = d->ctx };
}

static bool grow(sl_dict *d)
{
    int cap = d->cap ? 2 * d->cap : 16;
    sl_named *v = sl_alloc(d->ctx, (size_t)cap * sizeof *v);
    if (!v)
        return false;
    if (d->n > 0)
        memcpy(v, d->v, (size_t)d->n * sizeof *v);
    sl_free(d->ctx, d->v);
    d->v = v;
    d->cap = cap;
    return true;
}

sl_status sl__dict_push(sl_dict *d, const char *name, sl_tensor t, sl_err *err)
{
    char *copy = NULL;
    if (d->n < d->cap || grow(d))
        copy = sl_strdup(d->ctx, name);
    if (!copy) {
        free_data(d, t.data);
        return sl_fail(err, SL_MEM, name, NULL, "no memory for a tensor's name");
    }
    d->v[d->n++] = (sl_named){ copy, t };
    return SL_OK;
}

sl_status sl_dict_add(sl_dict *d, const char *name, sl_tensor t, sl_err *err)
{
    if (sl_dict_get(d, name)) {
        free_data(d, t.data);
        return sl_fail(err, SL_EXISTS, name, NULL, "there are two tensors of this name");
    }
    return sl__dict_push(d, name, t, err);
}

const sl_tensor *sl_dict_get(const sl_dict *d, const char *name)
{
    for (int i = 0; i < d->n; i++)
        if (strcmp(d->v[i].name, name) == 0)
            return &d->v[i].t;
    return NULL;
}

static void expected_shape(int n_dim, const int64_t *dim, char *out, size_t size)
{
    size_t at = (size_t)snprintf(out, size, "shape [");
    for (int i = 0; i < n_dim && at < size; i++) {
        if (dim[i] < 0)
            at += (size_t)snprintf(out + at, size - at, "%s*", i ? ", " : "");
        else
            at += (size_t)snprintf(out + at, size - at, "%s%lld", i ? ", " : "", (long long)dim[i]);
    }
    if (at < size)
        snprintf(out + at, size - at, "]");
}

static sl_status need(const sl_dict *d, const char *file, const char *name, int n_dim, const int64_t *dim,
                      const sl_tensor **out, sl_err *err)
{
    *out = NULL;
    const sl_tensor *t = sl_dict_get(d, name);
    if (!t)
        return sl_fail(err, SL_MISSING, file, NULL, "has no tensor '%.100s'", name);
    bool same = t->n_dim == n_dim;
    for (int i = 0; same && i < n_dim; i++)
        same = dim[i] < 0 || dim[i] == t->dim[i];
    if (!same) {
        char got[64], expected[128];
        sl_shape_text(t, got);
        expected_shape(n_dim, dim, expected, sizeof expected);
        return sl_fail(err, SL_SHAPE, file, expected, "the tensor '%.100s' has shape %s", name, got);
    }
    *out = t;
    return SL_OK;
}

static sl_status wrong_dtype(const char *file, const char *name, const char *expected, const sl_tensor **t, sl_err *err)
{
    const char *got = sl_dtype_name((*t)->dtype);
    *t = NULL;
    return sl_fail(err, SL_SHAPE, file, expected, "the tensor '%.100s' has dtype %s", name, got);
}

bool sl_dtype_floating(sl_dtype d) { return d == SL_F32 || d == SL_F64 || d == SL_F16 || d == SL_BF16; }

sl_status sl_dict_need(const sl_dict *d, const char *file, const char *name, int n_dim, const int64_t *dim,
                       const sl_tensor **out, sl_err *err)
{
    SL_TRY(need(d, file, name, n_dim, dim, out, err));
    return sl_dtype_floating((*out)->dtype) ? SL_OK : wrong_dtype(file, name, "F32, F64, F16 or BF16", out, err);
}

sl_status sl_dict_need_as(const sl_dict *d, const char *file, const char *name, sl_dtype dtype, int n_dim, const int64_t *dim,
                          const sl_tensor **out, sl_err *err)
{
    SL_TRY(need(d, file, name, n_dim, dim, out, err));
    return (*out)->dtype == dtype ? SL_OK : wrong_dtype(file, name, sl_dtype_name(dtype), out, err);
}
