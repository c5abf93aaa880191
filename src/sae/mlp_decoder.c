/* TopK SAE with a nonlinear decoder: what compositional SAEs are compared with (science.md C4), as any gain of theirs that this has too
 * is decoder capacity, not composition.
 *   z = TopK_k(W_enc (x - b_dec) + b_enc)      x^ = b_dec + W_dec^T z + W_2 ReLU(W_1^T z + b_1)
 *   L = |x - x^|^2 / (B d_bar) + aux_alpha AuxK
 * W_1 [d_sae, hidden] feature-major, b_1 [hidden], W_2 [d_in, hidden]. W_2 is 0 at first, so that it starts as a TopK SAE; W_1 is
 * N(0, 1/d_in). AuxK explains the residual with the linear decoder alone. Decoder columns are then no feature's whole effect: steering
 * and attribution by columns do not hold for it. */
#include "sae/variant.h"

#include <math.h>

static const sl_opt options[] = {
    SL_OPT_INT(sl_mlp_decoder_options, k, 32, 1, 65536, "latents", "active latents a row"),
    SL_OPT_INT(sl_mlp_decoder_options, hidden, 0, 0, 1 << 20, "", "hidden units of the decoder; 0: d_in"),
    SL_OPT_INT(sl_mlp_decoder_options, k_aux, 0, 0, 1 << 20, "latents", "dead latents in AuxK; 0: half of d_in"),
    SL_OPT_FLOAT(sl_mlp_decoder_options, aux_alpha, 1 / 32., 0, 1e3, "", "weight of AuxK; 0: off"),
    SL_OPT_END
};

enum { W_1, B_1, W_2 }; /* s->extra */

static sl_status check(const void *opts, int64_t d_in, int64_t d_sae, sl_err *err)
{
    const sl_mlp_decoder_options *o = opts;
    (void)d_in;
    if (o->k > d_sae)
        return sl_fail(err, SL_ARG, "k", "at most d_sae", "%lld active latents of %lld", (long long)o->k, (long long)d_sae);
    return SL_OK;
}

static int64_t max_active(const void *opts, int64_t d_sae)
{
    (void)d_sae;
    return ((const sl_mlp_decoder_options *)opts)->k;
}

static void declare(sl_sae *s)
{
    const sl_mlp_decoder_options *o = s->opts;
    int64_t hidden = o->hidden > 0 ? o->hidden : s->d_in;
    s->extra[W_1] = sl_params_add(s->params, 0, "W_mlp_in", 2, s->d_sae, hidden);
    s->extra[B_1] = sl_params_add(s->params, 0, "b_mlp_in", 1, hidden);
    s->extra[W_2] = sl_params_add(s->params, 0, "W_mlp_out", 2, s->d_out, hidden);
}

static void init(sl_sae *s, const sl_kern *k)
{
    (void)k;
    sl_param_normal(s->params, s->extra[W_1], s->seed, 1 / sqrt((double)s->d_in));
}

static sl_latents encode(sl_tape *t, const sl_sae *s, sl_var x, const sl_sae_batch *b)
{
    const sl_mlp_decoder_options *o = s->opts;
    return (sl_latents){ .sparse = sl_sae_encode_topk(t, s, x, o->k, b) };
}

static sl_var decode(sl_tape *t, const sl_sae *s, sl_var x, sl_latents z)
{
    (void)x;
    sl_var W = sl_param_var(t, s->extra[W_1]), c = sl_param_var(t, s->extra[B_1]);
    sl_var hidden = z.dense.id ? sl_add_row(t, sl_matmul(t, z.dense, W, false), c) : sl_sparse_decode(t, z.sparse, W, c);
    sl_var beside = sl_matmul(t, sl_activation(t, hidden, SL_ACT_RELU), sl_param_var(t, s->extra[W_2]), true);
    return sl_add(t, sl_sae_reconstruct(t, s, z), beside);
}

static sl_var loss(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b)
{
    const sl_mlp_decoder_options *o = s->opts;
    return sl_sae_topk_loss(t, s, p, o->k_aux, o->aux_alpha, b);
}

/* Latents are the same numbers before and after, so only what leaves the hidden units changes its unit. */
static bool fold(const sl_kern *k, sl_sae *s, const sl_sae_fold *f)
{
    sl_tensor *W = &s->extra[W_2]->value;
    k->axpby(k, 1 / f->scale_out, W, 0, W);
    return sl_sae_fold_linear(k, s, f);
}

const sl_sae_ops sl_sae_mlp_decoder = {
    .info = { "mlp_decoder", "TopK latents with a nonlinear decoder (a control)", "science.md C4", options, sizeof(sl_mlp_decoder_options) },
    .check = check, .unit_decoder = sl_sae_always_unit, .max_active = max_active,
    .declare = declare, .init = init, .encode = encode, .decode = decode, .loss = loss, .fold = fold,
};
