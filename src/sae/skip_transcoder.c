/* Skip transcoder (Paulo et al. 2025, arXiv 2501.18823, eq. 3): a transcoder with an affine path around the latents.
 *   z as in transcoder.c      y^ = W_dec^T z + W_skip x + b_dec      W_skip [d_out, d_in], 0 at first
 * Loss and options are those of transcoder.c. Decoding codes alone leaves W_skip x out. Differs from the paper: as transcoder.c. */
#include "sae/transcoder.h"

enum { W_SKIP }; /* s->extra */

static void declare(sl_sae *s)
{
    sl_transcoder_declare(s);
    s->extra[W_SKIP] = sl_params_add(s->params, 0, "W_skip", 2, s->d_out, s->d_in);
}

static sl_var decode(sl_tape *t, const sl_sae *s, sl_var x, sl_latents z)
{
    sl_var y = sl_sae_reconstruct(t, s, z);
    return x.id ? sl_add(t, y, sl_matmul(t, x, sl_param_var(t, s->extra[W_SKIP]), true)) : y;
}

/* W_skip (c (x - mu)) / c_y: W_skip becomes (c / c_y) W_skip, and b_dec loses that times mu. */
static bool fold(const sl_kern *k, sl_sae *s, const sl_sae_fold *f)
{
    sl_tensor *W = &s->extra[W_SKIP]->value, *b = &s->b_dec->value;
    sl_sae_fold_linear(k, s, f);
    k->axpby(k, f->scale / f->scale_out, W, 0, W);
    if (f->mean) {
        k->axpby(k, -1, b, 0, b);
        k->gemv(k, W, f->mean, NULL, SL_ACT_NONE, 1, b);
        k->axpby(k, -1, b, 0, b);
    }
    return true;
}

const sl_sae_ops sl_sae_skip_transcoder = {
    .info = { "skip_transcoder", "a transcoder with an affine path beside it", "arXiv 2501.18823", sl_transcoder_opts, sizeof(sl_transcoder_options) },
    .saelens = "skip_transcoder", .state = sl_transcoder_state,
    .check = sl_transcoder_check, .unit_decoder = sl_sae_always_unit, .max_active = sl_transcoder_max_active, .l1 = sl_transcoder_l1,
    .d_out = sl_transcoder_d_out, .declare = declare, .init = sl_transcoder_init,
    .encode = sl_transcoder_encode, .decode = decode, .loss = sl_transcoder_loss, .after_step = sl_transcoder_after_step, .fold = fold,
};
