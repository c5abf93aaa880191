/* Transcoder (Dunefsky et al. 2024, arXiv 2406.11944, eq. 4-6): a sparse stand-in for a part of the model, from its input x to its output y.
 *   z = ReLU(W_enc x + b_enc)                          y^ = W_dec^T z + b_dec
 *   L = |y - y^|^2 / (B d_bar) + l1(t) sum_j z_j / (B sqrt(d_bar)),      d_bar of y
 * activation=topk: z = TopK_k(W_enc x + b_enc) and AuxK in place of the penalty (sparsify; Paulo et al. 2025, arXiv 2501.18823). Rows of W_dec
 * have norm 1; W_enc starts from directions of its own, since inputs and outputs live in different spaces. It is trained on rows with
 * targets. target_l0 > 0 with relu: the autotuner moves l1 (autotune.h). SAELens's architecture transcoder is a ReLU: it reads those of
 * activation=relu, and cannot say topk (sparsify's format can).
 * Differs from the paper: unit decoder rows, so that the penalty cannot be evaded, and the units of the terms (recipe saelab). */
#include "sae/transcoder.h"

enum { ACT_RELU, ACT_TOPK };
static const char *const activations[] = { "relu", "topk", NULL };

const sl_opt sl_transcoder_opts[] = {
    SL_OPT_CHOICE(sl_transcoder_options, activation, ACT_RELU, activations, "ReLU with an L1 penalty, or the k largest"),
    SL_OPT_INT(sl_transcoder_options, d_out, 0, 0, 1 << 24, "", "width of the target; 0: that of the input"),
    SL_OPT_FLOAT(sl_transcoder_options, l1, .2, 0, 1e6, "", "relu: weight of the L1 penalty"),
    SL_OPT_FLOAT(sl_transcoder_options, l1_warmup, .05, 0, 1, "of the steps", "relu: share of the run over which the penalty rises from 0"),
    SL_OPT_FLOAT(sl_transcoder_options, target_l0, 0, 0, 1e6, "latents", "relu: active latents a row that the weight is tuned to; 0: it stays"),
    SL_OPT_INT(sl_transcoder_options, k, 32, 1, 65536, "latents", "topk: active latents a row"),
    SL_OPT_INT(sl_transcoder_options, k_aux, 0, 0, 1 << 20, "latents", "topk: dead latents in AuxK; 0: half of d_in"),
    SL_OPT_FLOAT(sl_transcoder_options, aux_alpha, 1 / 32., 0, 1e3, "", "topk: weight of AuxK; 0: off"),
    SL_OPT_END
};

const sl_sae_scalar sl_transcoder_state[] = { SL_AUTOTUNE_STATE, { 0 } };

sl_status sl_transcoder_check(const void *opts, int64_t d_in, int64_t d_sae, sl_err *err)
{
    const sl_transcoder_options *o = opts;
    (void)d_in;
    if (o->activation == ACT_TOPK && o->k > d_sae)
        return sl_fail(err, SL_ARG, "k", "at most d_sae", "%lld active latents of %lld", (long long)o->k, (long long)d_sae);
    return SL_OK;
}

int64_t sl_transcoder_max_active(const void *opts, int64_t d_sae)
{
    const sl_transcoder_options *o = opts;
    return o->activation == ACT_TOPK ? o->k : d_sae;
}

double sl_transcoder_l1(const sl_sae *s)
{
    const sl_transcoder_options *o = s->opts;
    return o->activation == ACT_TOPK ? 0 : o->l1 * sl_autotune_factor(s);
}

int64_t sl_transcoder_d_out(const void *opts, int64_t d_in)
{
    const sl_transcoder_options *o = opts;
    return o->d_out > 0 ? o->d_out : d_in;
}

void sl_transcoder_declare(sl_sae *s)
{
    s->center_input = false;
}

void sl_transcoder_init(sl_sae *s, const sl_kern *k)
{
    sl_param_normal(s->params, s->W_enc, s->seed, 1);
    k->row_normalize(k, &s->W_enc->value);
}

sl_latents sl_transcoder_encode(sl_tape *t, const sl_sae *s, sl_var x, const sl_sae_batch *b)
{
    const sl_transcoder_options *o = s->opts;
    if (o->activation == ACT_RELU)
        return (sl_latents){ .dense = sl_sae_dense(t, s, x, SL_ACT_RELU) };
    return (sl_latents){ .sparse = sl_sae_encode_topk(t, s, x, o->k, b) };
}

sl_var sl_transcoder_loss(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b)
{
    const sl_transcoder_options *o = s->opts;
    sl_var l = sl_sae_reconstruction_loss(t, s, p, b);
    if (o->activation == ACT_TOPK)
        return b->n_dead > 0 && o->aux_alpha > 0 ? sl_add(t, l, sl_sae_auxk(t, s, p, o->k_aux, o->aux_alpha, b)) : l;
    sl_var penalty = sl_penalize(t, p->z.dense, sl_sae_penalty_norms(t, s), (sl_penalty){ .kind = SL_PENALTY_L1 });
    return sl_add(t, l, sl_scale(t, penalty, sl_transcoder_l1(s) * sl_sae_ramp(s, b, o->l1_warmup) * sl_sae_penalty_factor(s, b)));
}

void sl_transcoder_after_step(sl_tape *t, sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b, const sl_sae_seen *seen)
{
    const sl_transcoder_options *o = s->opts;
    (void)t;
    (void)p;
    sl_autotune_step(s, o->activation == ACT_TOPK ? 0 : o->target_l0, o->l1_warmup, b, seen);
}

const sl_sae_ops sl_sae_transcoder = {
    .info = { "transcoder", "latents of x that decode to a target y", "arXiv 2406.11944", sl_transcoder_opts, sizeof(sl_transcoder_options) },
    .saelens = "transcoder", .state = sl_transcoder_state,
    .check = sl_transcoder_check, .unit_decoder = sl_sae_always_unit, .max_active = sl_transcoder_max_active, .l1 = sl_transcoder_l1,
    .d_out = sl_transcoder_d_out, .declare = sl_transcoder_declare, .init = sl_transcoder_init,
    .encode = sl_transcoder_encode, .loss = sl_transcoder_loss, .after_step = sl_transcoder_after_step,
};
