/* Standard SAE: ReLU and L1 (Bricken et al. 2023, "Towards Monosemanticity"; the weight |d_j| as in Anthropic's April 2024 update).
 *   z = ReLU(W_enc (x - b_dec) + b_enc)      x^ = W_dec^T z + b_dec
 *   L = |x - x^|^2 / (B d_bar) + l1(t) sum_j z_j |d_j| / (B sqrt(d_bar))
 * l1(t) rises linearly over the first l1_warmup of the steps. decoder=unit keeps |d_j| = 1, so that shrinking z and growing d is no way
 * out; decoder=free leaves the norms to the penalty. target_l0 > 0: the autotuner moves l1 (autotune.h).
 * Differs from the sources: both terms in units of d_bar = mean |x|^2 (recipe saelab). */
#include "sae/autotune.h"

enum { DECODER_UNIT, DECODER_FREE };
static const char *const decoders[] = { "unit", "free", NULL };

static const sl_opt options[] = {
    SL_OPT_FLOAT(sl_standard_options, l1, .2, 0, 1e6, "", "weight of the L1 penalty"),
    SL_OPT_FLOAT(sl_standard_options, l1_warmup, .05, 0, 1, "of the steps", "share of the run over which the penalty rises from 0"),
    SL_OPT_CHOICE(sl_standard_options, decoder, DECODER_UNIT, decoders, "decoder rows of norm 1, or free and weighing the penalty"),
    SL_OPT_FLOAT(sl_standard_options, target_l0, 0, 0, 1e6, "latents", "active latents a row that the weight is tuned to; 0: it stays"),
    SL_OPT_END
};

static const sl_sae_scalar state[] = { SL_AUTOTUNE_STATE, { 0 } };

static bool unit_decoder(const void *opts)
{
    return ((const sl_standard_options *)opts)->decoder == DECODER_UNIT;
}

static double l1(const sl_sae *s)
{
    return ((const sl_standard_options *)s->opts)->l1 * sl_autotune_factor(s);
}

static sl_latents encode(sl_tape *t, const sl_sae *s, sl_var x, const sl_sae_batch *b)
{
    (void)b;
    return (sl_latents){ .dense = sl_sae_dense(t, s, x, SL_ACT_RELU) };
}

static sl_var loss(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b)
{
    const sl_standard_options *o = s->opts;
    double weight = l1(s) * sl_sae_ramp(s, b, o->l1_warmup) * sl_sae_penalty_factor(s, b);
    sl_var penalty = sl_penalize(t, p->z.dense, sl_sae_penalty_norms(t, s), (sl_penalty){ .kind = SL_PENALTY_L1 });
    return sl_add(t, sl_sae_reconstruction_loss(t, s, p, b), sl_scale(t, penalty, weight));
}

static void after_step(sl_tape *t, sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b, const sl_sae_seen *seen)
{
    const sl_standard_options *o = s->opts;
    (void)t;
    (void)p;
    sl_autotune_step(s, o->target_l0, o->l1_warmup, b, seen);
}

const sl_sae_ops sl_sae_standard = {
    .info = { "standard", "ReLU with an L1 penalty", "Bricken et al. 2023, transformer-circuits.pub/2023/monosemantic-features",
              options, sizeof(sl_standard_options) },
    .saelens = "standard", .state = state,
    .unit_decoder = unit_decoder, .max_active = sl_sae_all_active, .l1 = l1,
    .encode = encode, .loss = loss, .after_step = after_step,
};
