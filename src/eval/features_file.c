/* The file of a feature index: a safetensors file whose arrays are listed once, for writing and reading. */
#include "eval/features.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FORMAT "saelab-features"
#define VERSION "1"

/* One array: how the file calls it and where its pointer is. */
typedef struct part { const char *name; sl_dtype dtype; size_t offset; sl_fdim dim[2]; bool required; } part;

#define PART(name_, dtype_, field, d0, d1, required_) { name_, dtype_, offsetof(sl_findex, field), { d0, d1 }, required_ }
#define REAL_COLUMN(field, required_) PART(#field, SL_F32, field, FD_FEATURES, FD_ONE, required_)
#define INT_COLUMN(field, required_) PART(#field, SL_I32, field, FD_FEATURES, FD_ONE, required_)

/* Wide numbers first, bytes last: then all are aligned in the file, and read where they are mapped. */
static const part parts[] = {
    PART("string_ptr", SL_I64, string_ptr, FD_STRINGS_1, FD_ONE, true),
    PART("row_string", SL_I32, row_string, FD_ROWS, FD_ONE, true),
    PART("passage", SL_I32, passage, FD_PASSAGES_1, FD_ONE, true),
    PART("passage_doc", SL_I32, passage_doc, FD_PASSAGES, FD_ONE, true),
    PART("passage_pos", SL_I32, passage_pos, FD_PASSAGES, FD_ONE, true),
    INT_COLUMN(fired, true),
    REAL_COLUMN(density, true),
    REAL_COLUMN(max, true),
    REAL_COLUMN(mean, true),
    REAL_COLUMN(norm, true),
    REAL_COLUMN(max_cosine, true),
    INT_COLUMN(top_token, true),
    REAL_COLUMN(top_share, true),
    PART("hist", SL_I32, hist, FD_FEATURES, FD_BINS, true),
    PART("token", SL_I32, token, FD_FEATURES, FD_TOKENS, true),
    PART("token_share", SL_F32, token_share, FD_FEATURES, FD_TOKENS, true),
    PART("cosine_id", SL_I32, cosine_id, FD_FEATURES, FD_NEAR, true),
    PART("cosine", SL_F32, cosine, FD_FEATURES, FD_NEAR, true),
    PART("cofire_id", SL_I32, cofire_id, FD_FEATURES, FD_NEAR, true),
    PART("cofire", SL_F32, cofire, FD_FEATURES, FD_NEAR, true),
    PART("up", SL_I32, up, FD_FEATURES, FD_LENS, false),
    PART("down", SL_I32, down, FD_FEATURES, FD_LENS, false),
    PART("up_logit", SL_F32, up_logit, FD_FEATURES, FD_LENS, false),
    PART("down_logit", SL_F32, down_logit, FD_FEATURES, FD_LENS, false),
    PART("logit_hist", SL_I32, logit_hist, FD_FEATURES, FD_BINS, false),
    REAL_COLUMN(logit_min, false),
    REAL_COLUMN(logit_max, false),
    REAL_COLUMN(fss, false),
    REAL_COLUMN(sci, false),
    REAL_COLUMN(reproducibility, false),
    REAL_COLUMN(f1, false),
    INT_COLUMN(truth, false),
    INT_COLUMN(compositions, false),
    PART("link_ptr", SL_I32, link_ptr, FD_FEATURES_1, FD_ONE, false),
    PART("link", SL_I32, link, FD_LINKS, FD_ONE, false),
    PART("link_share", SL_F32, link_share, FD_LINKS, FD_ONE, false),
    PART("context_ptr", SL_I32, context_ptr, FD_FEATURES_1, FD_ONE, true),
    PART("context_at", SL_I32, context_at, FD_CONTEXTS, FD_ONE, true),
    PART("context_value", SL_F32, context_value, FD_CONTEXTS, FD_ONE, true),
    PART("context_kind", SL_U8, context_kind, FD_CONTEXTS, FD_ONE, true),
    PART("context_same", SL_U8, context_same, FD_CONTEXTS, FD_ONE, true),
    PART("context_level", SL_U8, context_level, FD_CONTEXTS, FD_WINDOW, true),
    PART("string_bytes", SL_U8, string_bytes, FD_BYTES, FD_ONE, true),
    { .name = NULL },
};

enum { N_PARTS = sizeof parts / sizeof *parts - 1 };

static void **at_of(const sl_findex *x, const part *p) { return (void **)(uintptr_t)((const char *)x + p->offset); }
static int64_t count_of(const sl_findex *x, const part *p) { return x->size[p->dim[0]] * x->size[p->dim[1]]; }

static sl_tensor tensor_of(const sl_findex *x, const part *p)
{
    void *data = *at_of(x, p);
    return p->dim[1] == FD_ONE ? sl_tensor_of(p->dtype, data, 1, x->size[p->dim[0]])
                               : sl_tensor_of(p->dtype, data, 2, x->size[p->dim[0]], x->size[p->dim[1]]);
}

/* ---- arrays in memory ---- */

sl_status sl_findex_make(sl_ctx *ctx, sl_findex *x, void *at, sl_err *err)
{
    for (const part *p = parts; p->name; p++)
        if ((void *)at_of(x, p) == at) {
            void *v = sl_alloc(ctx, (size_t)count_of(x, p) * sl_dtype_size(p->dtype));
            *at_of(x, p) = v;
            return v ? SL_OK : sl_fail(err, SL_MEM, "feature index", "fewer features or contexts", "no memory for %s", p->name);
        }
    return sl_fail(err, SL_ARG, "feature index", NULL, "there is no such array");
}

void sl_findex_release(sl_ctx *ctx, sl_findex *x)
{
    for (const part *p = parts; p->name; p++)
        sl_free(ctx, *at_of(x, p));
    *x = (sl_findex){ 0 };
}

/* ---- checksum: names and contents ---- */

typedef struct sums { uint64_t part[2 * N_PARTS]; int n; } sums;

static void add_sum(sums *s, const char *name, const void *data, size_t n)
{
    s->part[s->n++] = sl_xxh64(name, strlen(name));
    s->part[s->n++] = sl_xxh64(data, n);
}

static void sum_text(const sums *s, char out[17]) { snprintf(out, 17, "%016" PRIx64, sl_xxh64(s->part, (size_t)s->n * sizeof *s->part)); }

/* ---- writing ---- */

sl_status sl_findex_write(sl_ctx *ctx, const char *path, const sl_findex *x, const json_t *meta, int64_t *bytes, sl_err *err)
{
    const char *names[N_PARTS];
    sl_tensor t[N_PARTS];
    sums s = { .n = 0 };
    char sum[17], *header = NULL;
    int n = 0;
    int64_t at[N_PARTS + 1];
    for (const part *p = parts; p->name; p++)
        if (*at_of(x, p)) {
            names[n] = p->name;
            t[n] = tensor_of(x, p);
            add_sum(&s, p->name, t[n].data, sl_nbytes(&t[n]));
            n++;
        }
    sum_text(&s, sum);
    json_t *all = json_copy((json_t *)(uintptr_t)meta);
    if (!all || json_object_set_new(all, "format", json_string(FORMAT)) || json_object_set_new(all, "version", json_string(VERSION))
        || json_object_set_new(all, "checksum", json_string(sum))) {
        json_decref(all);
        return sl_fail(err, SL_MEM, path, NULL, "no memory for the header");
    }
    sl_status st = sl_safetensors_plan(ctx, path, n, names, t, all, &header, at, err);
    if (st == SL_OK)
        st = sl_safetensors_write(ctx, path, n, names, t, all, err);
    *bytes = st == SL_OK ? at[n] : 0;
    sl_free(ctx, header);
    json_decref(all);
    return st;
}

/* ---- reading ---- */

static sl_status bad(const char *path, const char *name, int64_t i, const char *expected, int64_t v, sl_err *err)
{
    char where[256];
    snprintf(where, sizeof where, "%.180s: %s[%" PRId64 "]", path, name, i);
    return sl_fail(err, SL_DATA, where, expected, "%" PRId64 " is no place in the index: a damaged file", v);
}

/* v [n]: starts with 0, never falls, ends with `last`. */
static sl_status check_ptr(const char *path, const char *name, const int32_t *v, int64_t n, int64_t last, sl_err *err)
{
    for (int64_t i = 0; i < n; i++)
        if (v[i] < (i > 0 ? v[i - 1] : 0) || (i == 0 && v[i] != 0) || (i == n - 1 && v[i] != last))
            return bad(path, name, i, "rising from 0 to the number of items", v[i], err);
    return SL_OK;
}

static sl_status check_ids(const char *path, const char *name, const int32_t *v, int64_t n, int64_t min, int64_t end, sl_err *err)
{
    for (int64_t i = 0; v && i < n; i++)
        if (v[i] < min || v[i] >= end)
            return bad(path, name, i, "a number below the size of what it counts", v[i], err);
    return SL_OK;
}

static sl_status check_strings(const char *path, const sl_findex *x, sl_err *err)
{
    int64_t n = x->size[FD_STRINGS_1];
    for (int64_t i = 0; i < n; i++)
        if (x->string_ptr[i] < (i > 0 ? x->string_ptr[i - 1] : 0) || (i == 0 && x->string_ptr[i] != 0)
            || (i == n - 1 && x->string_ptr[i] != x->size[FD_BYTES]))
            return bad(path, "string_ptr", i, "rising from 0 to the number of bytes", x->string_ptr[i], err);
    return SL_OK;
}

static sl_status check_kinds(const char *path, const sl_findex *x, sl_err *err)
{
    for (int64_t i = 0; i < x->size[FD_CONTEXTS]; i++) {
        int k = x->context_kind[i];
        if (k != SL_CONTEXT_TOP && k != SL_CONTEXT_NEAR && k != SL_CONTEXT_SILENT && (k < SL_FQUANTILE || k >= SL_FQUANTILE + SL_FQUANTILES))
            return bad(path, "context_kind", i, "a kind of context", k, err);
    }
    return SL_OK;
}

/* Everything that a reader follows without looking. */
static sl_status check_numbers(const char *path, const sl_findex *x, sl_err *err)
{
    const int64_t *size = x->size;
    int64_t F = size[FD_FEATURES], strings = size[FD_STRINGS_1] - 1, near = F * size[FD_NEAR], lens = F * size[FD_LENS];
    SL_TRY(check_strings(path, x, err));
    SL_TRY(check_ids(path, "row_string", x->row_string, size[FD_ROWS], -1, strings, err));
    SL_TRY(check_ptr(path, "passage", x->passage, size[FD_PASSAGES_1], size[FD_ROWS], err));
    SL_TRY(check_ids(path, "top_token", x->top_token, F, -1, strings, err));
    SL_TRY(check_ids(path, "token", x->token, F * size[FD_TOKENS], -1, strings, err));
    SL_TRY(check_ids(path, "truth", x->truth, F, -1, strings, err));
    SL_TRY(check_ids(path, "cosine_id", x->cosine_id, near, -1, F, err));
    SL_TRY(check_ids(path, "cofire_id", x->cofire_id, near, -1, F, err));
    SL_TRY(check_ids(path, "up", x->up, lens, -1, strings, err));
    SL_TRY(check_ids(path, "down", x->down, lens, -1, strings, err));
    if (x->link_ptr)
        SL_TRY(check_ptr(path, "link_ptr", x->link_ptr, F + 1, size[FD_LINKS], err));
    SL_TRY(check_ids(path, "link", x->link, size[FD_LINKS], 0, INT32_MAX, err));
    SL_TRY(check_ptr(path, "context_ptr", x->context_ptr, F + 1, size[FD_CONTEXTS], err));
    SL_TRY(check_ids(path, "context_at", x->context_at, size[FD_CONTEXTS], 0, size[FD_ROWS], err));
    return check_kinds(path, x, err);
}

/* Takes a size, or compares it with what another array said. */
static sl_status take_size(const char *path, const part *p, int d, const sl_tensor *t, sl_findex *x, sl_err *err)
{
    char where[256];
    snprintf(where, sizeof where, "%.200s: %s", path, p->name);
    int64_t *size = &x->size[p->dim[d]];
    if (*size < 0)
        *size = t->dim[d];
    return *size == t->dim[d] ? SL_OK
                              : sl_fail(err, SL_DATA, where, NULL, "%" PRId64 " items, and other arrays have %" PRId64, t->dim[d], *size);
}

static sl_status take_part(const char *path, const sl_dict *d, const part *p, sl_findex *x, sl_err *err)
{
    const sl_tensor *t = sl_dict_get(d, p->name);
    if (!t)
        return p->required ? sl_fail(err, SL_DATA, path, NULL, "the array '%s' is missing", p->name) : SL_OK;
    int n_dim = p->dim[1] == FD_ONE ? 1 : 2;
    const int64_t any[] = { -1, -1 };
    sl_status st = sl_dict_need_as(d, path, p->name, p->dtype, n_dim, any, &t, err);
    if (st != SL_OK)
        return SL_DATA;
    for (int i = 0; i < n_dim; i++)
        SL_TRY(take_size(path, p, i, t, x, err));
    *at_of(x, p) = t->data;
    return SL_OK;
}

static const char *meta_text(const sl_dict *d, const char *key)
{
    const char *s = json_string_value(json_object_get(d->meta, key));
    return s ? s : "";
}

static sl_status check_sum(const char *path, const sl_dict *d, const sl_findex *x, sl_err *err)
{
    sums s = { .n = 0 };
    char sum[17];
    for (const part *p = parts; p->name; p++)
        if (*at_of(x, p))
            add_sum(&s, p->name, *at_of(x, p), (size_t)count_of(x, p) * sl_dtype_size(p->dtype));
    sum_text(&s, sum);
    return strcmp(sum, meta_text(d, "checksum")) == 0 ? SL_OK : sl_fail(err, SL_DATA, path, meta_text(d, "checksum"), "the checksum is %s: a damaged file", sum);
}

/* Sizes that must fit one another or this program. */
static sl_status check_sizes(const char *path, const sl_findex *x, sl_err *err)
{
    const int64_t *s = x->size;
    bool ok = s[FD_FEATURES] >= 1 && s[FD_ROWS] >= 1 && s[FD_FEATURES_1] == s[FD_FEATURES] + 1 && s[FD_PASSAGES_1] == s[FD_PASSAGES] + 1
              && s[FD_STRINGS_1] >= 1 && s[FD_WINDOW] >= 1 && s[FD_BINS] == SL_FEATURE_BINS && s[FD_TOKENS] == SL_FEATURE_TOKENS && s[FD_ROWS] <= INT32_MAX;
    bool groups = (!x->up == !x->down) && (!x->up == !x->up_logit) && (!x->up == !x->down_logit) && (!x->up == !x->logit_hist) && (!x->up == !x->logit_min)
                  && (!x->up == !x->logit_max) && (!x->f1 == !x->truth) && (!x->link_ptr == !x->link) && (!x->link_ptr == !x->link_share);
    return ok && groups ? SL_OK : sl_fail(err, SL_DATA, path, NULL, "the arrays do not make up an index: a damaged file");
}

sl_status sl_findex_read(sl_ctx *ctx, const char *path, bool verify, sl_dict *d, sl_findex *x, sl_err *err)
{
    *x = (sl_findex){ 0 };
    for (int i = 0; i < FD_N; i++)
        x->size[i] = -1;
    x->size[FD_ONE] = 1;
    SL_TRY(sl_safetensors_read(ctx, path, d, err));
    if (strcmp(meta_text(d, "format"), FORMAT) != 0)
        return sl_fail(err, SL_DATA, path, "format " FORMAT, "this is no feature index");
    if (strcmp(meta_text(d, "version"), VERSION) != 0)
        return sl_fail(err, SL_DATA, path, "version " VERSION, "an index of version '%s': build it again", meta_text(d, "version"));
    for (const part *p = parts; p->name; p++)
        SL_TRY(take_part(path, d, p, x, err));
    for (int i = 0; i < FD_N; i++)
        x->size[i] = x->size[i] < 0 ? 0 : x->size[i];
    SL_TRY(check_sizes(path, x, err));
    SL_TRY(check_numbers(path, x, err));
    return verify ? check_sum(path, d, x, err) : SL_OK;
}
