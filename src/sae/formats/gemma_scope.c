/* Gemma Scope's params.npz (Lieberum et al. 2024, arXiv 2408.05147; read by SAELens in sae_lens/loading/pretrained_sae_loaders.py, gemma_2):
 * W_enc [d_in, d_sae] (or w_enc), W_dec [d_sae, d_in], b_enc, b_dec, threshold [d_sae]; a JumpReLU whose encoder sees x whole. */
#include "sae/formats/format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const sl_sae_names names[] = {
    { "W_enc", "W_enc", true, false }, { "W_enc", "w_enc", true, false }, { "W_dec", "W_dec", false, false }, { "W_dec", "w_dec", false, false },
    { "b_enc", "b_enc", false, false }, { "b_dec", "b_dec", false, false }, { "threshold", "threshold", false, false }, { 0 },
};

static sl_status read_folder(sl_ctx *ctx, const char *dir, const char *weights, sl_sae_file *f, sl_dict *d, sl_err *err)
{
    const sl_tensor *W;
    SL_TRY(sl_npz_read(ctx, weights, d, err));
    SL_TRY(sl_dict_need(d, weights, sl_dict_get(d, "w_enc") ? "w_enc" : "W_enc", 2, (const int64_t[]){ -1, -1 }, &W, err));
    f->d_in = W->dim[0];
    f->d_sae = W->dim[1];
    f->names = names;
    f->center_input = false;
    f->decoder_scale = "scaling_factor";
    if (f->d_sae < f->d_in)
        sl_file_note(f, "transpose: d_sae %lld is less than d_in %lld; is W_enc [d_in, d_sae]?", (long long)f->d_sae, (long long)f->d_in);
    if (strstr(dir, "embedding"))
        sl_file_note(f, "norm: SAEs of embeddings take rows divided by sqrt(d_in); SAELens folds that in, here it is not");
    return sl_file_variant(ctx, weights, "jumprelu", f, err);
}

/* ---- writing ---- */

/* b_enc - W_enc b_dec: the same encoder without b_dec in its input */
static void folded_bias(const sl_sae *s, float *out)
{
    const float *W = s->W_enc->value.data, *b = s->b_enc->value.data, *b_dec = s->b_dec->value.data;
    for (int64_t f = 0; f < s->d_sae; f++) {
        double sum = (double)b[f];
        for (int64_t j = 0; s->center_input && j < s->d_in; j++)
            sum -= (double)W[f * s->d_in + j] * (double)b_dec[j];
        out[f] = (float)sum;
    }
}

static bool is_jumprelu(const sl_sae *s, const sl_param *theta)
{
    bool relu = s->ops->saelens && strcmp(s->ops->saelens, "standard") == 0;
    return s->W_enc && !s->ops->decode && !s->ops->d_out && !s->row_norm && (relu || theta || s->ops->threshold);
}

static sl_status write_folder(sl_sae *s, const char *dir, sl_err *err)
{
    char path[1024];
    static const char *const list[] = { "W_dec", "W_enc", "b_dec", "b_enc", "threshold" };
    const sl_param *theta = sl_params_find(s->params, "threshold");
    if (!is_jumprelu(s, theta))
        return sl_fail(err, SL_UNAVAILABLE, dir, "standard, jumprelu, batchtopk or matryoshka", "params.npz holds a JumpReLU, which '%s' is not", s->ops->info.name);
    SL_TRY(sl_path_join(path, sizeof path, dir, "params.npz", err));
    float *extra = sl_alloc(s->ctx, (size_t)(s->d_sae * (s->d_in + 2)) * sizeof *extra);
    if (!extra)
        return sl_fail(err, SL_MEM, path, NULL, "no memory to transpose W_enc");
    float *bias = extra + s->d_sae * s->d_in, *threshold = bias + s->d_sae;
    sl_transpose(s->W_enc->value.data, s->d_sae, s->d_in, extra);
    folded_bias(s, bias);
    for (int64_t f = 0; f < s->d_sae; f++)
        threshold[f] = theta ? ((const float *)theta->value.data)[f] : s->ops->threshold ? (float)s->ops->threshold(s) : 0;
    const sl_tensor t[] = { s->W_dec->value, sl_tensor_of(SL_F32, extra, 2, s->d_in, s->d_sae), s->b_dec->value, sl_tensor_of(SL_F32, bias, 1, s->d_sae),
                            sl_tensor_of(SL_F32, threshold, 1, s->d_sae) };
    sl_status st = sl_npz_write(s->ctx, path, 5, list, t, err);
    sl_free(s->ctx, extra);
    return st;
}

const sl_sae_format sl_format_gemma_scope = { "npz", "params.npz", read_folder, write_folder };
