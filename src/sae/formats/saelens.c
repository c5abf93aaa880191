/* sae_weights.safetensors of SAELens: W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_out], b_dec [d_out] and what the variant adds,
 * under SAELens's names. In memory W_enc is feature-major, so it is transposed on the way. */
#include "sae/formats/saelens.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* y [cols, rows] = x [rows, cols] transposed, in blocks that fit the cache */
static void transpose(const float *x, int64_t rows, int64_t cols, float *y)
{
    const int64_t step = 32;
    for (int64_t r0 = 0; r0 < rows; r0 += step)
        for (int64_t c0 = 0; c0 < cols; c0 += step)
            for (int64_t r = r0; r < rows && r < r0 + step; r++)
                for (int64_t c = c0; c < cols && c < c0 + step; c++)
                    y[c * rows + r] = x[r * cols + c];
}

/* ---- saving ---- */

static const char *their_name(const sl_sae *s, const sl_param *p)
{
    for (const sl_sae_rename *r = s->ops->names; r && r->ours; r++)
        if (strcmp(r->ours, p->name) == 0)
            return r->theirs;
    return p->name;
}

/* extra: memory for W_enc transposed, then for thresholds */
static sl_status write_weights(sl_sae *s, const char *path, float *extra, sl_err *err)
{
    const char *names[SL_SAE_EXTRA + 5];
    sl_tensor tensors[SL_SAE_EXTRA + 5];
    int n = 0;
    for (int i = 0; i < sl_params_count(s->params); i++) {
        const sl_param *p = sl_params_at(s->params, i);
        names[n] = their_name(s, p);
        tensors[n++] = p == s->W_enc ? sl_tensor_of(SL_F32, extra, 2, s->d_in, s->d_sae) : p->value;
    }
    if (s->ops->threshold) {
        float *theta = extra + s->d_sae * s->d_in;
        for (int64_t f = 0; f < s->d_sae; f++)
            theta[f] = (float)s->ops->threshold(s);
        names[n] = "threshold";
        tensors[n++] = sl_tensor_of(SL_F32, theta, 1, s->d_sae);
    }
    if (s->W_enc)
        transpose(s->W_enc->value.data, s->d_sae, s->d_in, extra);
    return sl_safetensors_write(s->ctx, path, n, names, tensors, NULL, err);
}

static sl_status save_weights(sl_sae *s, const char *path, sl_err *err)
{
    float *extra = sl_alloc(s->ctx, (size_t)(s->d_sae * (s->d_in + 1)) * sizeof *extra);
    if (!extra)
        return sl_fail(err, SL_MEM, path, NULL, "no memory to transpose W_enc");
    sl_status st = write_weights(s, path, extra, err);
    sl_free(s->ctx, extra);
    return st;
}

sl_status sl_sae_save(sl_sae *s, const char *dir, sl_err *err)
{
    char path[1024];
    SL_TRY(sl_sae_usable(s, err));
    SL_TRY(sl_dir_make(dir, err));
    SL_TRY(sl_path_join(path, sizeof path, dir, "sae_weights.safetensors", err));
    SL_TRY(save_weights(s, path, err));
    SL_TRY(sl_path_join(path, sizeof path, dir, "cfg.json", err));
    json_t *cfg = sl_saelens_cfg_make(s);
    sl_status st = cfg ? sl_json_save(s->ctx, path, cfg, err) : sl_fail(err, SL_MEM, path, NULL, "the configuration could not be put together");
    json_decref(cfg);
    return st;
}

/* ---- loading ---- */

static sl_status take_weight(sl_sae *s, const sl_dict *d, const char *file, sl_param *p, bool transposed, sl_err *err)
{
    const sl_tensor *t;
    int64_t dim[2] = { p->value.dim[0], p->value.dim[1] };
    if (transposed) {
        dim[0] = p->value.dim[1];
        dim[1] = p->value.dim[0];
    }
    SL_TRY(sl_dict_need(d, file, their_name(s, p), p->value.n_dim, dim, &t, err));
    int64_t n = sl_numel(t);
    float *w = p->value.data, *buffer = transposed ? sl_alloc(s->ctx, (size_t)n * sizeof *buffer) : w;
    if (!buffer)
        return sl_fail(err, SL_MEM, file, NULL, "no memory to transpose %s", p->name);
    sl_to_f32(t->data, t->dtype, buffer, n);
    if (transposed) {
        transpose(buffer, dim[0], dim[1], w);
        sl_free(s->ctx, buffer);
    }
    sl_param_touch(p);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(w[i])) {
            char where[1200];
            snprintf(where, sizeof where, "%s: %s", file, p->name);
            return sl_fail(err, SL_NUMERIC, where, "finite weights", "latent %lld has a weight of %g", (long long)(i / (p->value.n_dim > 1 ? p->value.dim[1] : 1)), (double)w[i]);
        }
    return SL_OK;
}

/* SAELens's topk scales pre-activations by |d_j| and divides again when decoding: the same as unit decoder rows. */
static void fold_decoder_norm(sl_sae *s)
{
    float *W_enc = s->W_enc->value.data, *b_enc = s->b_enc->value.data, *W_dec = s->W_dec->value.data;
    for (int64_t f = 0; f < s->d_sae; f++) {
        double sq = 0;
        for (int64_t j = 0; j < s->d_in; j++)
            sq += (double)W_dec[f * s->d_in + j] * (double)W_dec[f * s->d_in + j];
        double norm = sqrt(sq);
        b_enc[f] = (float)((double)b_enc[f] * norm);
        for (int64_t j = 0; j < s->d_in; j++) {
            W_enc[f * s->d_in + j] = (float)((double)W_enc[f * s->d_in + j] * norm);
            if (norm > 0)
                W_dec[f * s->d_in + j] = (float)((double)W_dec[f * s->d_in + j] / norm);
        }
    }
}

static sl_status take_weights(sl_sae *s, const sl_dict *d, const char *path, bool rescale, sl_err *err)
{
    for (int i = 0; i < sl_params_count(s->params); i++) {
        sl_param *p = sl_params_at(s->params, i);
        SL_TRY(take_weight(s, d, path, p, p == s->W_enc, err));
    }
    if (rescale)
        fold_decoder_norm(s);
    return SL_OK;
}

static void take_cfg(sl_sae *s, sl_saelens_cfg *c)
{
    s->center_input = c->apply_b_dec_to_input;
    memcpy(s->hook, c->hook, sizeof s->hook);
    memcpy(s->model, c->model, sizeof s->model);
    memcpy(s->dataset, c->dataset, sizeof s->dataset);
    s->mean = c->mean;
    c->mean = NULL;
    s->scale = c->scale;
    memcpy(s->state, c->state, sizeof s->state);
    s->stage = SL_SAE_READY;
}

sl_status sl_sae_load(sl_ctx *ctx, const char *dir, sl_sae **out, sl_err *err)
{
    *out = NULL;
    char cfg_path[1024], path[1024];
    SL_TRY(sl_path_join(cfg_path, sizeof cfg_path, dir, "cfg.json", err));
    SL_TRY(sl_path_join(path, sizeof path, dir, "sae_weights.safetensors", err));
    sl_saelens_cfg c;
    sl_dict d;
    sl_sae *s = NULL;
    const sl_tensor *w;
    sl_status st;
    sl_dict_init(ctx, &d);
    SL_GO(sl_saelens_cfg_read(ctx, cfg_path, &c, err));
    SL_GO(sl_safetensors_read(ctx, path, &d, err));
    SL_GO(sl_dict_need(&d, path, "W_dec", 2, (const int64_t[]){ c.d_sae, -1 }, &w, err)); /* before room is made for what cfg.json claims */
    SL_GO(sl_sae_make(ctx, c.ops->info.name, c.d_in, c.d_sae, c.opts, 0, SL_F32, false, &s, err));
    SL_GO(take_weights(s, &d, path, c.rescale_by_decoder_norm, err));
    take_cfg(s, &c);
    *out = s;
    s = NULL;
done:
    sl_sae_free(s);
    sl_dict_release(&d);
    sl_saelens_cfg_release(ctx, &c);
    return st;
}
