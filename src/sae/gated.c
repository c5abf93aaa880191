/* Gated SAE (Rajamanoharan et al. 2024, arXiv 2404.16014, eq. 4-8).
 *   pi = W_enc (x - b_dec) + b_gate      m_j = e^(r_mag_j) w_j . (x - b_dec) + b_mag_j      z_j = 1[pi_j > 0] ReLU(m_j)      x^ = W_dec^T z + b_dec
 *   L = |x - x^|^2 / (B d_bar) + l1(t) sum_j ReLU(pi_j) |d_j| / (B sqrt(d_bar)) + |x - sg(W_dec)^T ReLU(pi) - sg(b_dec)|^2 / (B d_bar)
 * sg: no gradient; without it the penalty is evaded by rescaling (SAELens #539), so only recipe saelens goes without. The gate's step has
 * no gradient: W_enc learns to open and shut through the last two terms. |d_j| is 1 where rows are kept at norm 1.
 * Computed as m = g pi + c with g = e^r_mag, c = b_mag - g b_gate: one product, and no third array of latents (this is the folded form: z is
 * also the JumpReLU of m with threshold max(c, 0)). b_gate is "b_enc" in memory.
 * target_l0 > 0: the autotuner moves l1 (autotune.h). Differs from the paper: the units of the terms (recipe saelab). */
#include "sae/autotune.h"

static const sl_opt options[] = {
    SL_OPT_FLOAT(sl_gated_options, l1, .2, 0, 1e6, "", "weight of the L1 penalty on the gates"),
    SL_OPT_FLOAT(sl_gated_options, l1_warmup, .05, 0, 1, "of the steps", "share of the run over which the penalty rises from 0"),
    SL_OPT_FLOAT(sl_gated_options, target_l0, 0, 0, 1e6, "latents", "active latents a row that the weight is tuned to; 0: it stays"),
    SL_OPT_END
};

enum { R_MAG, B_MAG }; /* s->extra */
static const sl_sae_scalar state[] = { SL_AUTOTUNE_STATE, { 0 } };
static const sl_sae_rename names[] = { { "b_enc", "b_gate" }, { 0 } };

static double l1(const sl_sae *s)
{
    return ((const sl_gated_options *)s->opts)->l1 * sl_autotune_factor(s);
}

static void declare(sl_sae *s)
{
    s->extra[R_MAG] = sl_params_add(s->params, 0, "r_mag", 1, s->d_sae);
    s->extra[B_MAG] = sl_params_add(s->params, 0, "b_mag", 1, s->d_sae);
}

static sl_latents encode(sl_tape *t, const sl_sae *s, sl_var x, const sl_sae_batch *b)
{
    (void)b;
    sl_var b_gate = sl_param_var(t, s->b_enc), gain = sl_activation(t, sl_param_var(t, s->extra[R_MAG]), SL_ACT_EXP);
    sl_var pi = sl_sae_dense(t, s, x, SL_ACT_NONE);
    sl_var shift = sl_sub(t, sl_param_var(t, s->extra[B_MAG]), sl_mul(t, gain, b_gate));
    return (sl_latents){ .dense = sl_gate(t, pi, gain, shift), .pre = pi };
}

static sl_var loss(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b)
{
    const sl_gated_options *o = s->opts;
    sl_var open = sl_activation(t, p->z.pre, SL_ACT_RELU), W = sl_param_var(t, s->W_dec), c = sl_param_var(t, s->b_dec);
    sl_var penalty = sl_penalize(t, open, sl_sae_penalty_norms(t, s), (sl_penalty){ .kind = SL_PENALTY_L1 });
    if (s->recipe->gated_detach) {
        W = sl_freeze(t, W);
        c = sl_freeze(t, c);
    }
    sl_var aux = sl_sq_dist(t, p->y, sl_add_row(t, sl_matmul(t, open, W, false), c));
    sl_var l = sl_add(t, sl_sq_dist(t, p->y, p->xhat), aux);
    l = sl_scale(t, l, sl_sae_reconstruction_factor(t, s, p, b));
    return sl_add(t, l, sl_scale(t, penalty, l1(s) * sl_sae_ramp(s, b, o->l1_warmup) * sl_sae_penalty_factor(s, b)));
}

static void after_step(sl_tape *t, sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b, const sl_sae_seen *seen)
{
    const sl_gated_options *o = s->opts;
    (void)t;
    (void)p;
    sl_autotune_step(s, o->target_l0, o->l1_warmup, b, seen);
}

const sl_sae_ops sl_sae_gated = {
    .info = { "gated", "ReLU behind a gate that shares its directions", "arXiv 2404.16014", options, sizeof(sl_gated_options) },
    .saelens = "gated", .names = names, .state = state,
    .unit_decoder = sl_sae_always_unit, .max_active = sl_sae_all_active, .l1 = l1,
    .declare = declare, .encode = encode, .loss = loss, .after_step = after_step,
};
