/* SAELens's folder: cfg.json and sae_weights.safetensors, W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_out], b_dec [d_out] and what the
 * variant adds, under SAELens's names. In memory W_enc is feature-major, so it is transposed on the way. */
#include "sae/formats/saelens.h"

#include <string.h>

/* ---- saving ---- */

/* extra: memory for W_enc transposed, then for thresholds */
static sl_status write_weights(sl_sae *s, const char *path, float *extra, sl_err *err)
{
    const char *names[SL_SAE_EXTRA + 5];
    sl_tensor tensors[SL_SAE_EXTRA + 5];
    int n = 0;
    for (int i = 0; i < sl_params_count(s->params); i++) {
        const sl_param *p = sl_params_at(s->params, i);
        names[n] = sl_saelens_name(s, p);
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
        sl_transpose(s->W_enc->value.data, s->d_sae, s->d_in, extra);
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

/* A training checkpoint of batchtopk has its threshold beside the weights (batchtopk_sae.py: topk_threshold). */
static sl_status take_threshold(const char *weights, sl_sae_file *f, const sl_dict *d, sl_err *err)
{
    const sl_tensor *t;
    float theta;
    if (!sl_dict_get(d, "topk_threshold"))
        return SL_OK;
    SL_TRY(sl_dict_need(d, weights, "topk_threshold", 0, NULL, &t, err));
    sl_to_f32(t->data, t->dtype, &theta, 1);
    sl_file_state(f, "threshold", (double)theta);
    return SL_OK;
}

static sl_status read_folder(sl_ctx *ctx, const char *dir, const char *weights, sl_sae_file *f, sl_dict *d, sl_err *err)
{
    char cfg[1024];
    const sl_tensor *w;
    SL_TRY(sl_path_join(cfg, sizeof cfg, dir, "cfg.json", err));
    SL_TRY(sl_saelens_cfg_read(ctx, cfg, f, err));
    SL_TRY(sl_safetensors_read(ctx, weights, d, err));
    SL_TRY(take_threshold(weights, f, d, err));
    return sl_dict_need(d, weights, "W_dec", 2, (const int64_t[]){ f->d_sae, -1 }, &w, err); /* before room is made for what cfg.json claims */
}

const sl_sae_format sl_format_saelens = { "saelens", "sae_weights.safetensors", read_folder, sl_sae_save };
