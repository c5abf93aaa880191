/* The reader of a feature index. All numbers were checked when it was opened. */
#include "eval/features.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Every column that there may be: name, title, help, type, where its array is. */
typedef struct column_def { const char *name, *title, *help; sl_column_type type; size_t offset; } column_def;
#define COLUMN(name_, title_, type_, field, help_) { name_, title_, help_, type_, offsetof(sl_findex, field) }
static const column_def COLUMNS[] = {
    COLUMN("density", "density", SL_COLUMN_REAL, density, "share of rows in which it is active"),
    COLUMN("fired", "fired", SL_COLUMN_INT, fired, "rows in which it is active"),
    COLUMN("max", "max", SL_COLUMN_REAL, max, "largest activation"),
    COLUMN("mean", "mean", SL_COLUMN_REAL, mean, "mean of its active values"),
    COLUMN("top_token", "top token", SL_COLUMN_STRING, top_token, "token that holds most of its activation"),
    COLUMN("top_token_share", "top token's share", SL_COLUMN_REAL, top_share, "share of its activation on that token"),
    COLUMN("max_cosine", "nearest cosine", SL_COLUMN_REAL, max_cosine, "cosine with the most similar other feature"),
    COLUMN("norm", "norm", SL_COLUMN_REAL, norm, "norm of its decoder row"),
    COLUMN("logit_max", "largest logit", SL_COLUMN_REAL, logit_max, "what it adds to the logit that it raises most, a unit of activation"),
    COLUMN("fss", "FSS", SL_COLUMN_REAL, fss, "feature stability score under noise"),
    COLUMN("sci", "SCI", SL_COLUMN_REAL, sci, "semantic consistency index"),
    COLUMN("reproducibility", "reproducibility", SL_COLUMN_REAL, reproducibility, "share of other seeds that have it, cosine at least .7"),
    COLUMN("f1", "F1 to ground truth", SL_COLUMN_REAL, f1, "F1 of firing with the true feature that it fits best"),
    COLUMN("truth", "true feature", SL_COLUMN_STRING, truth, "the true feature that it fits best"),
    COLUMN("compositions", "compositions", SL_COLUMN_INT, compositions, "compositions that it takes part in"),
};
enum { N_COLUMNS = sizeof COLUMNS / sizeof *COLUMNS };

struct sl_features {
    sl_ctx *ctx;
    sl_dict file;
    sl_findex x;
    sl_features_info info;
    char dir[1024];
    sl_features_column column[N_COLUMNS];
    int n_columns;
};

/* ---- opening ---- */

/* The index itself, DIR/index.safetensors or DIR/features/index.safetensors. */
static sl_status find_file(const char *path, char file[1024], sl_err *err)
{
    static const char *const inside[] = { "index.safetensors", "features/index.safetensors" };
    if (!sl_path_exists(path))
        return sl_fail(err, SL_MISSING, path, NULL, "there is no such file or folder");
    if (!sl_path_is_dir(path)) {
        int n = snprintf(file, 1024, "%s", path);
        return n < 1024 ? SL_OK : sl_fail(err, SL_ARG, path, NULL, "the path is too long");
    }
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        SL_TRY(sl_path_join(file, 1024, path, inside[i], err));
        if (sl_path_exists(file))
            return SL_OK;
    }
    return sl_fail(err, SL_MISSING, path, "`saelab features build` makes it", "there is no feature index in it");
}

static const char *meta(const sl_features *f, const char *key)
{
    const char *s = json_string_value(json_object_get(f->file.meta, key));
    return s ? s : "";
}

/* A whole number of the metadata, 0 .. max. */
static sl_status meta_number(const sl_features *f, const char *file, const char *key, int64_t max, int64_t *out, sl_err *err)
{
    if (!sl_parse_int(meta(f, key), out) || *out < 0 || *out > max)
        return sl_fail(err, SL_DATA, file, NULL, "the metadata '%s' is '%.40s': a damaged file", key, meta(f, key));
    return SL_OK;
}

static sl_status fill_info(sl_features *f, const char *file, sl_err *err)
{
    int64_t kind, before, quantiles, vectors;
    SL_TRY(meta_number(f, file, "kind", SL_ROWS_PLAIN, &kind, err));
    SL_TRY(meta_number(f, file, "before", f->x.size[FD_WINDOW] - 1, &before, err));
    SL_TRY(meta_number(f, file, "quantiles", SL_FQUANTILES, &quantiles, err));
    SL_TRY(meta_number(f, file, "vectors", 1, &vectors, err));
    snprintf(f->dir, sizeof f->dir, "%s", file);
    char *slash = strrchr(f->dir, '/');
    snprintf(slash ? slash : f->dir, 2, "%s", slash ? "" : ".");
    f->info = (sl_features_info){
        .n_features = f->x.size[FD_FEATURES], .n_rows = f->x.size[FD_ROWS], .n_contexts = f->x.size[FD_CONTEXTS], .n_strings = f->x.size[FD_STRINGS_1] - 1,
        .kind = (sl_rows_kind)kind, .dir = f->dir, .name = meta(f, "name"), .sae_path = meta(f, "sae_path"), .lm_path = meta(f, "lm_path"),
        .variant = meta(f, "variant"), .hook = meta(f, "hook"), .model = meta(f, "model"), .dataset = meta(f, "dataset"),
        .fingerprint = meta(f, "fingerprint"), .data_hash = meta(f, "data_hash"), .before = (int32_t)before,
        .after = (int32_t)(f->x.size[FD_WINDOW] - 1 - before), .quantiles = (int32_t)quantiles, .has_lens = f->x.up != NULL, .has_truth = f->x.truth != NULL,
        .vectors = vectors == 1,
    };
    return SL_OK;
}

static void list_columns(sl_features *f)
{
    for (int i = 0; i < N_COLUMNS; i++) {
        const column_def *d = &COLUMNS[i];
        const void *v = *(void *const *)(const void *)((const char *)&f->x + d->offset);
        if (v)
            f->column[f->n_columns++] = (sl_features_column){ d->name, d->title, d->help, d->type, v };
    }
}

sl_status sl_features_open(sl_ctx *ctx, const char *path, bool verify, sl_features **out, sl_err *err)
{
    char file[1024];
    *out = NULL;
    SL_TRY(find_file(path, file, err));
    sl_features *f = sl_alloc(ctx, sizeof *f);
    if (!f)
        return sl_fail(err, SL_MEM, path, NULL, "no memory for the index");
    f->ctx = ctx;
    sl_dict_init(ctx, &f->file);
    sl_status st = sl_findex_read(ctx, file, verify, &f->file, &f->x, err);
    if (st == SL_OK)
        st = fill_info(f, file, err);
    if (st != SL_OK) {
        sl_features_close(f);
        return st;
    }
    list_columns(f);
    *out = f;
    return SL_OK;
}

void sl_features_close(sl_features *f)
{
    if (!f)
        return;
    sl_dict_release(&f->file);
    sl_free(f->ctx, f);
}

const sl_features_info *sl_features_about(const sl_features *f) { return &f->info; }

const char *sl_features_string(const sl_features *f, int32_t id, size_t *n)
{
    const int64_t *ptr = f->x.string_ptr;
    if (id < 0 || id >= f->info.n_strings) {
        *n = 0;
        return "";
    }
    *n = (size_t)(ptr[id + 1] - ptr[id]);
    return (const char *)f->x.string_bytes + ptr[id];
}

/* ---- columns ---- */

const sl_features_column *sl_features_columns(const sl_features *f, int *n)
{
    *n = f->n_columns;
    return f->column;
}

const sl_features_column *sl_features_column_find(const sl_features *f, const char *name)
{
    for (int i = 0; i < f->n_columns; i++)
        if (strcmp(f->column[i].name, name) == 0)
            return &f->column[i];
    return NULL;
}

double sl_features_value(const sl_features_column *c, int64_t id)
{
    if (c->type == SL_COLUMN_REAL)
        return ((const float *)c->v)[id];
    int32_t v = ((const int32_t *)c->v)[id];
    return v < 0 ? NAN : v;
}

/* ---- one feature ---- */

static int ids_there(const int32_t *id, int64_t n)
{
    int k = 0;
    while (k < n && id[k] >= 0)
        k++;
    return k;
}

sl_status sl_features_get(const sl_features *f, int64_t id, sl_feature *out, sl_err *err)
{
    const sl_findex *x = &f->x;
    int64_t near = x->size[FD_NEAR], lens = x->size[FD_LENS];
    if (id < 0 || id >= f->info.n_features)
        return sl_fail(err, SL_ARG, "feature", NULL, "there is no feature %lld: they are 0 to %lld", (long long)id, (long long)f->info.n_features - 1);
    *out = (sl_feature){
        .id = id, .fired = x->fired[id], .density = (double)x->fired[id] / (double)f->info.n_rows, .max = x->max[id], .mean = x->mean[id],
        .hist = x->hist + id * SL_FEATURE_BINS, .token = x->token + id * SL_FEATURE_TOKENS, .token_share = x->token_share + id * SL_FEATURE_TOKENS,
        .cosine_id = x->cosine_id + id * near, .cosine = x->cosine + id * near, .cofire_id = x->cofire_id + id * near, .cofire = x->cofire + id * near,
        .first_context = x->context_ptr[id], .n_contexts = x->context_ptr[id + 1] - x->context_ptr[id],
    };
    out->n_tokens = ids_there(out->token, SL_FEATURE_TOKENS);
    out->n_cosine = ids_there(out->cosine_id, near);
    out->n_cofire = ids_there(out->cofire_id, near);
    if (x->up) {
        out->n_lens = (int)lens;
        out->up = x->up + id * lens;
        out->down = x->down + id * lens;
        out->up_logit = x->up_logit + id * lens;
        out->down_logit = x->down_logit + id * lens;
        out->logit_hist = x->logit_hist + id * SL_FEATURE_BINS;
        out->logit_min = x->logit_min[id];
        out->logit_max = x->logit_max[id];
    }
    if (x->link_ptr) {
        out->n_linked = x->link_ptr[id + 1] - x->link_ptr[id];
        out->linked = x->link + x->link_ptr[id];
        out->linked_share = x->link_share + x->link_ptr[id];
    }
    return SL_OK;
}

/* ---- contexts ---- */

/* The last of n rising numbers that is not above v. */
static int64_t last_not_above(const int32_t *v, int64_t n, int64_t x)
{
    int64_t lo = 0, hi = n;
    while (hi - lo > 1) {
        int64_t mid = lo + (hi - lo) / 2;
        *(v[mid] <= x ? &lo : &hi) = mid;
    }
    return lo;
}

void sl_features_context(const sl_features *f, int64_t i, sl_context *out)
{
    const sl_findex *x = &f->x;
    int64_t at = x->context_at[i], feature = last_not_above(x->context_ptr, x->size[FD_FEATURES], i);
    int64_t k = last_not_above(x->passage, x->size[FD_PASSAGES], at);
    int64_t from = at - f->info.before, end = at + f->info.after + 1, first = x->passage[k], last = x->passage[k + 1];
    int kind = x->context_kind[i];
    from = from > first ? from : first;
    end = end < last ? end : last;
    *out = (sl_context){
        .kind = kind >= SL_FQUANTILE ? SL_CONTEXT_QUANTILE : (sl_context_kind)kind, .quantile = kind >= SL_FQUANTILE ? kind - SL_FQUANTILE : -1,
        .feature = feature, .at = at, .source_row = x->passage_doc[k] < 0 ? at : -1, .doc = x->passage_doc[k],
        .pos = x->passage_doc[k] < 0 ? -1 : x->passage_pos[k] + (int32_t)(at - first), .value = x->context_value[i], .same = x->context_same[i],
        .n = (int)(end - from), .focus = (int)(at - from), .string = x->row_string + from,
        .level = x->context_level + i * x->size[FD_WINDOW] + (from - (at - f->info.before)), .unit = x->max[feature] / 255,
    };
}

const int32_t *sl_features_around(const sl_features *f, int64_t at, int64_t before, int64_t after, int *n, int *focus)
{
    const sl_findex *x = &f->x;
    int64_t k = last_not_above(x->passage, x->size[FD_PASSAGES], at);
    int64_t from = at - before > x->passage[k] ? at - before : x->passage[k], end = at + after + 1 < x->passage[k + 1] ? at + after + 1 : x->passage[k + 1];
    *n = (int)(end - from);
    *focus = (int)(at - from);
    return x->row_string + from;
}

int64_t sl_features_find(const sl_features *f, int32_t doc, int32_t pos)
{
    const sl_findex *x = &f->x;
    int64_t lo = 0, hi = x->size[FD_PASSAGES]; /* the last passage that begins at or before the place; they are in the order of the text */
    while (hi - lo > 1) {
        int64_t k = (lo + hi) / 2;
        if (x->passage_doc[k] < doc || (x->passage_doc[k] == doc && x->passage_pos[k] <= pos))
            lo = k;
        else
            hi = k;
    }
    int64_t at = x->passage[lo] + (int64_t)pos - x->passage_pos[lo];
    return doc >= 0 && x->passage_doc[lo] == doc && at >= x->passage[lo] && at < x->passage[lo + 1] ? at : -1;
}
