/* From named tensors to the weights of an SAE: names, transposes, foldings, checks. */
#include "sae/formats/format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void sl_transpose(const float *x, int64_t rows, int64_t cols, float *y)
{
    const int64_t step = 32; /* blocks that fit the cache */
    for (int64_t r0 = 0; r0 < rows; r0 += step)
        for (int64_t c0 = 0; c0 < cols; c0 += step)
            for (int64_t r = r0; r < rows && r < r0 + step; r++)
                for (int64_t c = c0; c < cols && c < c0 + step; c++)
                    y[c * rows + r] = x[r * cols + c];
}

const char *sl_saelens_name(const sl_sae *s, const sl_param *p)
{
    for (const sl_sae_rename *r = s->ops->names; r && r->ours; r++)
        if (strcmp(r->ours, p->name) == 0)
            return r->theirs;
    return p->name;
}

/* The row of the table for this weight whose tensor is there; else the first one, for the error line. */
static sl_sae_names find_name(const sl_sae *s, const sl_sae_file *f, const sl_dict *d, const sl_param *p)
{
    const sl_sae_names *first = NULL;
    for (const sl_sae_names *n = f->names; n && n->ours; n++) {
        if (strcmp(n->ours, p->name) != 0)
            continue;
        if (sl_dict_get(d, n->theirs))
            return *n;
        first = first ? first : n;
    }
    return first ? *first : (sl_sae_names){ p->name, sl_saelens_name(s, p), p == s->W_enc, false };
}

static sl_status check_finite(const char *file, const char *name, const sl_param *p, sl_err *err)
{
    const float *w = p->value.data;
    int64_t n = sl_numel(&p->value), cols = p->value.n_dim > 1 ? p->value.dim[1] : 1;
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(w[i])) {
            char where[1200];
            snprintf(where, sizeof where, "%s: %s", file, name);
            return sl_fail(err, SL_NUMERIC, where, "finite weights", "latent %lld has a weight of %g", (long long)(i / cols), (double)w[i]);
        }
    return SL_OK;
}

static sl_status take_weight(sl_sae *s, const sl_sae_file *f, const sl_dict *d, const char *file, sl_param *p, sl_err *err)
{
    const sl_tensor *t;
    sl_sae_names name = find_name(s, f, d, p);
    if (name.optional && !sl_dict_get(d, name.theirs))
        return SL_OK; /* weights of a new SAE that is not trainable are 0 */
    int64_t dim[2] = { p->value.dim[name.transposed ? 1 : 0], p->value.dim[name.transposed ? 0 : 1] };
    SL_TRY(sl_dict_need(d, file, name.theirs, p->value.n_dim, dim, &t, err));
    int64_t n = sl_numel(t);
    float *w = p->value.data, *buffer = name.transposed ? sl_alloc(s->ctx, (size_t)n * sizeof *buffer) : w;
    if (!buffer)
        return sl_fail(err, SL_MEM, file, NULL, "no memory to transpose %s", name.theirs);
    sl_to_f32(t->data, t->dtype, buffer, n);
    if (name.transposed) {
        sl_transpose(buffer, dim[0], dim[1], w);
        sl_free(s->ctx, buffer);
    }
    sl_param_touch(p);
    return check_finite(file, name.theirs, p, err);
}

/* ---- foldings ---- */

static void scale_row(float *w, int64_t n, double by)
{
    for (int64_t j = 0; j < n; j++)
        w[j] = (float)((double)w[j] * by);
}

/* Codes of a |d_j| decoded by d_j / |d_j|: the same as unit decoder rows. */
static void fold_decoder_norm(sl_sae *s)
{
    float *W_enc = s->W_enc->value.data, *b_enc = s->b_enc->value.data, *W_dec = s->W_dec->value.data;
    for (int64_t f = 0; f < s->d_sae; f++) {
        double sq = 0;
        for (int64_t j = 0; j < s->d_out; j++)
            sq += (double)W_dec[f * s->d_out + j] * (double)W_dec[f * s->d_out + j];
        double norm = sqrt(sq);
        scale_row(b_enc + f, 1, norm);
        scale_row(W_enc + f * s->d_in, s->d_in, norm);
        if (norm > 0)
            scale_row(W_dec + f * s->d_out, s->d_out, 1 / norm);
    }
}

/* y = sum_j z_j s_j d_j + b_dec: s goes into the rows of W_dec. */
static sl_status fold_decoder_scale(sl_sae *s, const char *file, const char *name, const sl_dict *d, bool must_be_one, sl_err *err)
{
    const sl_tensor *t;
    SL_TRY(sl_dict_need(d, file, name, 1, (const int64_t[]){ s->d_sae }, &t, err));
    for (int64_t f = 0; f < s->d_sae; f++) {
        float by;
        sl_to_f32((const char *)t->data + (size_t)f * sl_dtype_size(t->dtype), t->dtype, &by, 1);
        if (must_be_one && !(fabsf(by - 1) <= 1e-5f))
            return sl_fail(err, SL_DATA, file, "ones, or \"finetuning_scaling_factor\": true", "'%s' of latent %lld is %g", name, (long long)f, (double)by);
        if (!must_be_one)
            scale_row((float *)s->W_dec->value.data + f * s->d_out, s->d_out, by);
    }
    return check_finite(file, "W_dec", s->W_dec, err);
}

static sl_status fold(sl_sae *s, const char *file, const sl_sae_file *f, const sl_dict *d, sl_err *err)
{
    if (f->decoder_scale && sl_dict_get(d, f->decoder_scale))
        SL_TRY(fold_decoder_scale(s, file, f->decoder_scale, d, false, err));
    if (f->single_decoder_scale && sl_dict_get(d, f->single_decoder_scale))
        SL_TRY(fold_decoder_scale(s, file, f->single_decoder_scale, d, true, err));
    if (f->rescale_by_decoder_norm && s->W_enc)
        fold_decoder_norm(s);
    return SL_OK;
}

/* ---- the SAE ---- */

static void take_description(sl_sae *s, sl_sae_file *f)
{
    s->center_input = f->center_input;
    s->row_norm = f->row_norm;
    s->format = f->format;
    memcpy(s->hook, f->hook, sizeof s->hook);
    memcpy(s->hook_out, f->hook_out, sizeof s->hook_out);
    memcpy(s->model, f->model, sizeof s->model);
    memcpy(s->dataset, f->dataset, sizeof s->dataset);
    s->mean = f->mean;
    f->mean = NULL;
    s->scale = f->scale;
    s->notes = f->notes;
    memcpy(s->state, f->state, sizeof s->state);
    s->recipe = f->recipe ? f->recipe : s->recipe;
    s->stage = SL_SAE_READY;
}

/* A variant with one threshold for all latents keeps it as state; the file has it for every latent too. */
static void compare_threshold(const sl_sae *s, sl_sae_file *f, const sl_dict *d)
{
    const sl_tensor *t = s->ops->threshold ? sl_dict_get(d, "threshold") : NULL;
    float ours = t ? (float)s->ops->threshold(s) : 0;
    if (!t || !sl_dtype_floating(t->dtype) || sl_numel(t) != s->d_sae)
        return;
    for (int64_t i = 0; i < s->d_sae; i++) {
        float theirs;
        sl_to_f32((const char *)t->data + (size_t)i * sl_dtype_size(t->dtype), t->dtype, &theirs, 1);
        if (theirs != ours) {
            sl_file_note(f, "threshold: latent %lld has %g in the tensors and %g in metadata.saelab, which is used", (long long)i, (double)theirs, (double)ours);
            return;
        }
    }
}

sl_status sl_sae_from_file(sl_ctx *ctx, const char *weights, sl_sae_file *f, const sl_dict *d, sl_sae **out, sl_err *err)
{
    sl_sae *s = NULL;
    sl_status st;
    *out = NULL;
    SL_GO(sl_sae_make(ctx, f->ops->info.name, f->d_in, f->d_sae, f->opts, 0, SL_F32, false, &s, err));
    for (int i = 0; i < sl_params_count(s->params); i++)
        SL_GO(take_weight(s, f, d, weights, sl_params_at(s->params, i), err));
    SL_GO(fold(s, weights, f, d, err));
    memcpy(s->state, f->state, sizeof s->state);
    compare_threshold(s, f, d);
    take_description(s, f);
    *out = s;
    s = NULL;
done:
    sl_sae_free(s);
    return st;
}

double sl_norms_off_one(const sl_tensor *t, bool transposed)
{
    int64_t rows = t->dim[transposed ? 1 : 0], cols = t->dim[transposed ? 0 : 1];
    size_t size = sl_dtype_size(t->dtype);
    double worst = 0;
    for (int64_t r = 0; r < rows; r++) {
        double sq = 0;
        for (int64_t c = 0; c < cols; c++) {
            float v;
            int64_t at = transposed ? c * rows + r : r * cols + c;
            sl_to_f32((const char *)t->data + (size_t)at * size, t->dtype, &v, 1);
            sq += (double)v * (double)v;
        }
        worst = fmax(worst, fabs(sqrt(sq) - 1));
    }
    return worst;
}
