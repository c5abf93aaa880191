/* Building a feature index: the order of things. */
#include "eval/features.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const sl_opt sl_features_options[] = {
    SL_OPT_INT(sl_features_opts, tokens, 1e6, 0, 2e9, "rows", "rows at most; 0: all that there are"),
    SL_OPT_INT(sl_features_opts, top, 5, 0, 255, "contexts", "strongest contexts a feature"),
    SL_OPT_INT(sl_features_opts, quantiles, 10, 0, SL_FQUANTILES, "parts", "equal parts of a feature's active rows, by activation"),
    SL_OPT_INT(sl_features_opts, per_quantile, 2, 0, 100, "contexts", "at random from each part"),
    SL_OPT_INT(sl_features_opts, near_misses, 10, 0, 255, "contexts", "of tokens that it fires on, where it is silent"),
    SL_OPT_INT(sl_features_opts, silent, 5, 0, 255, "contexts", "at random where it is silent"),
    SL_OPT_INT(sl_features_opts, before, 39, 0, 4096, "tokens", "of a context before the one in question"),
    SL_OPT_INT(sl_features_opts, after, 24, 0, 4096, "tokens", "of a context after it"),
    SL_OPT_INT(sl_features_opts, neighbours, 10, 0, 1000, "features", "by cosine of decoder rows, and as many by co-firing"),
    SL_OPT_FLOAT(sl_features_opts, share, .01, 1e-9, 1, "of the rows", "--vectors: rows in which a direction counts as active"),
    SL_OPT_INT(sl_features_opts, seed, 0, 0, 9e15, "", "of contexts that are chosen at random"),
    SL_OPT_END
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int64_t sl_fbuild_width(const sl_fbuild *b) { return b->coder.d_out ? b->coder.d_out : b->coder.d_in; }

/* ---- before ---- */

static sl_status check(const sl_features_input *in, const sl_features_opts *o, sl_err *err)
{
    const sl_act_info *i = &in->rows->info;
    if (!in->sae == !in->vectors)
        return sl_fail(err, SL_ARG, "feature index", "an SAE or vectors", "%s", in->sae ? "both are there" : "neither is there");
    int64_t d_in = in->sae ? sl_sae_about(in->sae).d_in : i->d_in;
    if (i->d_in != d_in)
        return sl_fail(err, SL_SHAPE, "activations", NULL, "rows of %lld, and the SAE takes %lld", (long long)i->d_in, (long long)d_in);
    if (i->n_rows < 0 && o->tokens == 0)
        return sl_fail(err, SL_ARG, "--tokens", "how many rows", "the rows never end");
    for (int64_t k = 0; in->edge && k < in->n_edges; k++)
        if (in->edge[k].feature < 0 || in->edge[k].q < 0 || (in->sae && in->edge[k].feature >= sl_sae_about(in->sae).d_sae))
            return sl_fail(err, SL_ARG, "edge", NULL, "latent %d of composition %d is not there", (int)in->edge[k].feature, (int)in->edge[k].q);
    if (i->n_rows == 0)
        return sl_fail(err, SL_DATA, "activations", NULL, "there are no rows");
    return SL_OK;
}

/* Sizes of all arrays but those that the rows decide. */
static sl_status set_sizes(sl_fbuild *b, sl_err *err)
{
    const sl_features_opts *o = b->o;
    int64_t have = b->in->rows->info.n_rows, *size = b->x.size;
    b->n = o->tokens > 0 && (have < 0 || o->tokens < have) ? o->tokens : have;
    b->contexts = o->top + o->quantiles * o->per_quantile + o->near_misses + o->silent;
    size[FD_ONE] = 1;
    size[FD_FEATURES] = b->coder.d_sae;
    size[FD_FEATURES_1] = b->coder.d_sae + 1;
    size[FD_CONTEXTS] = b->coder.d_sae * b->contexts;
    size[FD_WINDOW] = o->before + 1 + o->after;
    size[FD_BINS] = SL_FEATURE_BINS;
    size[FD_TOKENS] = SL_FEATURE_TOKENS;
    size[FD_NEAR] = o->neighbours < b->coder.d_sae - 1 ? o->neighbours : b->coder.d_sae - 1;
    if (b->n > INT32_MAX || size[FD_CONTEXTS] > INT32_MAX)
        return sl_fail(err, SL_UNAVAILABLE, "feature index", "fewer tokens or contexts", "%lld rows and up to %lld contexts", (long long)b->n,
                       (long long)size[FD_CONTEXTS]);
    return SL_OK;
}

static sl_status make_arrays(sl_fbuild *b, sl_err *err)
{
    sl_findex *x = &b->x;
    void *all[] = { &x->fired, &x->density, &x->max, &x->mean, &x->norm, &x->max_cosine, &x->top_token, &x->top_share, &x->hist, &x->token, &x->token_share,
                    &x->cosine_id, &x->cosine, &x->cofire_id, &x->cofire, &x->context_ptr, &x->context_at, &x->context_value, &x->context_kind,
                    &x->context_same, &x->context_level };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        SL_TRY(sl_findex_make(b->ctx, x, all[i], err));
    return SL_OK;
}

/* ---- columns that are given or follow from the counts ---- */

static sl_status copy_column(sl_fbuild *b, const double *from, float **to, sl_err *err)
{
    if (!from)
        return SL_OK;
    SL_TRY(sl_findex_make(b->ctx, &b->x, to, err));
    for (int64_t j = 0; j < b->x.size[FD_FEATURES]; j++)
        (*to)[j] = isfinite(from[j]) ? (float)from[j] : NAN;
    return SL_OK;
}

/* F1 = 2 TP / (fired + truly on) of each feature with its best true one. */
static sl_status truth_columns(sl_fbuild *b, sl_err *err)
{
    if (!b->in->truth)
        return SL_OK;
    int64_t F = b->x.size[FD_FEATURES], T = b->in->truth->n;
    SL_TRY(sl_findex_make(b->ctx, &b->x, &b->x.f1, err));
    SL_TRY(sl_findex_make(b->ctx, &b->x, &b->x.truth, err));
    for (int64_t j = 0; j < F; j++) {
        b->x.f1[j] = b->x.fired[j] ? 0 : NAN;
        b->x.truth[j] = -1;
        for (int64_t t = 0; t < T; t++) {
            int32_t both = b->both[j * T + t];
            float f1 = both ? (float)(2. * both / ((double)b->x.fired[j] + b->truth_fired[t])) : 0;
            if (f1 > b->x.f1[j]) {
                b->x.f1[j] = f1;
                b->x.truth[j] = (int32_t)(b->truth_string + t);
            }
        }
    }
    return SL_OK;
}

/* By feature, the largest share first. */
static int by_feature(const void *a, const void *b)
{
    const sl_composition_edge *x = a, *y = b;
    if (x->feature != y->feature)
        return x->feature < y->feature ? -1 : 1;
    if (x->share != y->share)
        return x->share > y->share ? -1 : 1;
    return x->q < y->q ? -1 : x->q > y->q;
}

static sl_status links(sl_fbuild *b, sl_err *err)
{
    int64_t n = b->in->n_edges, F = b->x.size[FD_FEATURES];
    if (!b->in->edge)
        return SL_OK;
    b->x.size[FD_LINKS] = n;
    SL_TRY(sl_findex_make(b->ctx, &b->x, &b->x.compositions, err));
    SL_TRY(sl_findex_make(b->ctx, &b->x, &b->x.link_ptr, err));
    SL_TRY(sl_findex_make(b->ctx, &b->x, &b->x.link, err));
    SL_TRY(sl_findex_make(b->ctx, &b->x, &b->x.link_share, err));
    sl_composition_edge *e = sl_alloc(b->ctx, (size_t)n * sizeof *e);
    if (!e)
        return sl_fail(err, SL_MEM, "feature index", NULL, "no memory for the compositions");
    memcpy(e, b->in->edge, (size_t)n * sizeof *e);
    qsort(e, (size_t)n, sizeof *e, by_feature);
    for (int64_t i = 0; i < n; i++) {
        b->x.compositions[e[i].feature]++;
        b->x.link[i] = e[i].q;
        b->x.link_share[i] = (float)e[i].share;
    }
    for (int64_t j = 0; j < F; j++)
        b->x.link_ptr[j + 1] = b->x.link_ptr[j] + b->x.compositions[j];
    sl_free(b->ctx, e);
    return SL_OK;
}

static sl_status given_columns(sl_fbuild *b, sl_err *err)
{
    SL_TRY(links(b, err));
    SL_TRY(copy_column(b, b->in->fss, &b->x.fss, err));
    SL_TRY(copy_column(b, b->in->sci, &b->x.sci, err));
    SL_TRY(copy_column(b, b->in->reproducibility, &b->x.reproducibility, err));
    return truth_columns(b, err);
}

/* ---- the file ---- */

static const char *text_or_empty(const char *s) { return s ? s : ""; }

/* What is known of the index, as texts. */
static sl_status describe(sl_fbuild *b, json_t **out, sl_err *err)
{
    const sl_features_input *in = b->in;
    const sl_act_info *i = &in->rows->info;
    sl_sae_info s = in->sae ? sl_sae_about(in->sae) : (sl_sae_info){ 0 };
    sl_sae_print print = { 0 };
    char kind[8], before[16], quantiles[16];
    if (in->sae)
        SL_TRY(sl_sae_fingerprint(in->sae, &print, err));
    snprintf(kind, sizeof kind, "%d", (int)sl_fbuild_kind(b));
    snprintf(before, sizeof before, "%lld", (long long)b->o->before);
    snprintf(quantiles, sizeof quantiles, "%lld", (long long)b->o->quantiles);
    *out = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "kind", kind, "before", before, "quantiles", quantiles, "name",
                     text_or_empty(in->name), "sae_path", text_or_empty(in->sae_path), "lm_path", text_or_empty(in->lm_path), "variant",
                     in->sae ? s.variant : "vectors", "hook", i->hook, "model", i->model, "dataset", i->dataset, "fingerprint", print.text, "data_hash",
                     i->data_hash, "vectors", in->sae ? "0" : "1");
    return *out ? SL_OK : sl_fail(err, SL_DATA, "feature index", "UTF-8", "a name, or no memory for it");
}

static sl_status save(sl_fbuild *b, const char *dir, int64_t *bytes, sl_err *err)
{
    char path[1024];
    json_t *meta = NULL;
    sl_status st = sl_path_join(path, sizeof path, dir, "index.safetensors", err);
    if (st == SL_OK)
        st = describe(b, &meta, err);
    if (st == SL_OK)
        st = sl_findex_write(b->ctx, path, &b->x, meta, bytes, err);
    json_decref(meta);
    return st;
}

/* ---- all ---- */

static sl_status build(sl_fbuild *b, const char *dir, sl_features_built *out, sl_err *err)
{
    SL_TRY(set_sizes(b, err));
    SL_TRY(sl_dir_make(dir, err));
    SL_TRY(sl_path_join(b->codes.path, sizeof b->codes.path, dir, "codes.scratch", err));
    SL_TRY(make_arrays(b, err));
    SL_TRY(sl_fbuild_codes(b, err));
    double t[4] = { now() };
    SL_TRY(sl_fbuild_rows(b, err));
    SL_TRY(sl_fbuild_pick(b, err));
    SL_TRY(sl_fbuild_truth_strings(b, err));
    t[1] = now();
    SL_TRY(sl_fbuild_cosines(b, err));
    t[2] = now();
    SL_TRY(sl_fbuild_lens(b, err));
    t[3] = now();
    SL_TRY(given_columns(b, err));
    SL_TRY(save(b, dir, &out->bytes, err));
    out->n_features = b->x.size[FD_FEATURES];
    out->n_rows = b->n;
    out->n_active = b->codes.ptr[b->n];
    out->n_contexts = b->x.size[FD_CONTEXTS];
    out->encode_seconds = b->encode_seconds;
    out->contexts_seconds = t[1] - t[0];
    out->neighbours_seconds = t[2] - t[1];
    out->lens_seconds = t[3] - t[2];
    return SL_OK;
}

static void release(sl_fbuild *b)
{
    void *all[] = { b->token, b->doc, b->pos, b->arrived, b->both, b->truth_fired, b->string_rows_ptr, b->string_rows };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sl_free(b->ctx, all[i]);
    sl_fcodes_release(b->ctx, &b->codes);
    sl_findex_release(b->ctx, &b->x);
    sl_sae_free(b->made);
}

sl_status sl_features_build(sl_ctx *ctx, const sl_features_input *in, const sl_features_opts *o, const char *dir, sl_features_built *out, sl_err *err)
{
    sl_fbuild b = { .ctx = ctx, .in = in, .o = o };
    double start = now();
    *out = (sl_features_built){ 0 };
    SL_TRY(check(in, o, err));
    sl_status st = SL_OK;
    if (in->sae)
        b.coder = sl_coder_of(in->sae);
    else
        st = sl_fbuild_vectors(&b, err);
    if (st == SL_OK)
        st = build(&b, dir, out, err);
    release(&b);
    out->seconds = now() - start;
    return st;
}
