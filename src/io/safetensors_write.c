/* Writing safetensors, at once or in parts. */
#include "io/internal.h"

#include <string.h>

static json_t *entry(const sl_tensor *t, int64_t begin, int64_t end)
{
    json_t *shape = json_array();
    for (int i = 0; i < t->n_dim; i++)
        json_array_append_new(shape, json_integer(t->dim[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", sl_dtype_name(t->dtype), "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)end);
}

static sl_status check_meta(const char *path, const json_t *meta, sl_err *err)
{
    const char *key;
    json_t *v;
    if (!json_is_object(meta))
        return sl_fail(err, SL_ARG, path, "an object of texts", "bad metadata");
    json_object_foreach((json_t *)(uintptr_t)meta, key, v)
        if (!json_is_string(v))
            return sl_fail(err, SL_ARG, path, "an object of texts", "the metadata '%.100s' is no text", key);
    return SL_OK;
}

static sl_status header_json(const char *path, int n, const char *const *names, const sl_tensor *tensors, const json_t *meta,
                             json_t *j, int64_t *at, sl_err *err)
{
    if (meta) {
        SL_TRY(check_meta(path, meta, err));
        if (json_object_set(j, "__metadata__", (json_t *)(uintptr_t)meta) != 0)
            return sl_fail(err, SL_MEM, path, NULL, "no memory for the header");
    }
    at[0] = 0;
    for (int i = 0; i < n; i++) {
        if (json_object_get(j, names[i]))
            return sl_fail(err, SL_ARG, path, NULL, "there are two tensors named '%.100s'", names[i]);
        at[i + 1] = at[i] + (int64_t)sl_nbytes(&tensors[i]);
        if (json_object_set_new(j, names[i], entry(&tensors[i], at[i], at[i + 1])) != 0)
            return sl_fail(err, SL_ARG, path, "UTF-8", "the tensor name '%.100s' cannot be written", names[i]);
    }
    return SL_OK;
}

sl_status sl_safetensors_plan(sl_ctx *ctx, const char *path, int n, const char *const *names, const sl_tensor *tensors,
                              const json_t *meta, char **header, int64_t *at, sl_err *err)
{
    json_t *j = json_object();
    sl_status st = j ? header_json(path, n, names, tensors, meta, j, at, err) : sl_fail(err, SL_MEM, path, NULL, "no memory for the header");
    *header = NULL;
    size_t len = st == SL_OK ? json_dumpb(j, NULL, 0, JSON_COMPACT) : 0;
    size_t total = (8 + len + 63) / 64 * 64; /* data at a multiple of 64, the JSON padded with spaces */
    if (st == SL_OK && len > 0)
        *header = sl_alloc(ctx, total);
    if (st == SL_OK && !*header)
        st = sl_fail(err, SL_MEM, path, NULL, "no memory for the header");
    if (st == SL_OK) {
        memset(*header, ' ', total);
        json_dumpb(j, *header + 8, len, JSON_COMPACT);
        for (int i = 0; i < 8; i++)
            (*header)[i] = (char)((uint64_t)(total - 8) >> (8 * i) & 0xff);
        for (int i = 0; i <= n; i++)
            at[i] += (int64_t)total;
    }
    json_decref(j);
    return st;
}

sl_status sl_safetensors_write(sl_ctx *ctx, const char *path, int n, const char *const *names, const sl_tensor *tensors,
                               const json_t *meta, sl_err *err)
{
    char *header = NULL;
    sl_atomic *f = NULL;
    sl_status st;
    int64_t *at = sl_alloc(ctx, ((size_t)n + 1) * sizeof *at);
    if (!at)
        return sl_fail(err, SL_MEM, path, NULL, "no memory for the list of tensors");
    SL_GO(sl_safetensors_plan(ctx, path, n, names, tensors, meta, &header, at, err));
    SL_GO(sl_atomic_open(ctx, path, &f, err));
    SL_GO(sl_atomic_write(f, header, (size_t)at[0], err));
    for (int i = 0; i < n; i++)
        SL_GO(sl_atomic_write(f, tensors[i].data, sl_nbytes(&tensors[i]), err));
    st = sl_atomic_commit(f, err);
    f = NULL;
done:
    sl_atomic_abort(f);
    sl_free(ctx, header);
    sl_free(ctx, at);
    return st;
}
