/* BatchTopK SAE (Bussmann, Leask, Nanda 2024, arXiv 2412.06410).
 *   training   z = the B k largest positive entries of W_enc (x - b_dec) + b_enc over the whole batch of B rows
 *   encoding   z_j = a_j 1[a_j > theta], theta the average of the smallest value kept: rows do not see each other
 *   L = |x - x^|^2 / (B d_bar) + aux_alpha AuxK      x^ = W_dec^T z + b_dec
 * theta is an exponential mean with .999, copied from the first step (science.md H). Differs from the paper: that average, where the paper
 * takes the mean over data after training; d_bar (recipe saelab). Saved for SAELens as jumprelu with theta for every latent, as SAELens does. */
#include "sae/batchtopk.h"

#include <math.h>

static const sl_opt options[] = {
    SL_OPT_INT(sl_batchtopk_options, k, 32, 1, 65536, "latents", "active latents a row, on average over a batch"),
    SL_OPT_INT(sl_batchtopk_options, k_aux, 0, 0, 1 << 20, "latents", "dead latents in AuxK; 0: half of d_in"),
    SL_OPT_FLOAT(sl_batchtopk_options, aux_alpha, 1 / 32., 0, 1e3, "", "weight of AuxK; 0: off"),
    SL_OPT_END
};

static const sl_sae_scalar state[] = { SL_BATCHTOPK_STATE, { 0 } };

/* ---- shared with matryoshka.c ---- */

sl_status sl_batchtopk_check(int64_t k, int64_t d_sae, sl_err *err)
{
    if (k > d_sae)
        return sl_fail(err, SL_ARG, "k", "at most d_sae", "%lld active latents of %lld", (long long)k, (long long)d_sae);
    return SL_OK;
}

double sl_batchtopk_threshold(const sl_sae *s)
{
    return fmax(0, s->state[0]);
}

sl_latents sl_batchtopk_encode(sl_tape *t, const sl_sae *s, sl_var x, int64_t k, const sl_sae_batch *b)
{
    sl_var in = sl_sae_center(t, s, x), W = sl_param_var(t, s->W_enc), c = sl_param_var(t, s->b_enc);
    if (b && !(b->perturbed && s->state[0] >= 0))
        return (sl_latents){ .sparse = sl_encode_batch(t, in, W, c, b->n * sl_sae_k_now(b, k, s->d_sae)) };
    const sl_kern *kern = sl_tape_kern(t);
    sl_tensor theta = sl_tensor_of(kern->dtype, sl_tape_scratch(t, (size_t)s->d_sae * sl_dtype_size(kern->dtype)), 1, s->d_sae);
    if (!theta.data)
        return (sl_latents){ .dense = { 0 } };
    kern->fill(kern, sl_batchtopk_threshold(s), &theta);
    return (sl_latents){ .dense = sl_jumprelu(t, sl_linear(t, in, W, c, SL_ACT_NONE), sl_const(t, &theta), 1) };
}

void sl_batchtopk_after_step(sl_tape *t, sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b, const sl_sae_seen *seen)
{
    (void)t;
    (void)p;
    if (seen->nnz == 0 || b->step < s->recipe->threshold_from)
        return;
    double keep = s->state[0] >= 0 ? s->recipe->threshold_keep : s->recipe->threshold_first;
    s->state[0] = keep * sl_batchtopk_threshold(s) + (1 - keep) * seen->min_active;
}

/* ---- the variant ---- */

static sl_status check(const void *opts, int64_t d_in, int64_t d_sae, sl_err *err)
{
    (void)d_in;
    return sl_batchtopk_check(((const sl_batchtopk_options *)opts)->k, d_sae, err);
}

static sl_latents encode(sl_tape *t, const sl_sae *s, sl_var x, const sl_sae_batch *b)
{
    return sl_batchtopk_encode(t, s, x, ((const sl_batchtopk_options *)s->opts)->k, b);
}

static sl_var loss(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b)
{
    const sl_batchtopk_options *o = s->opts;
    sl_var l = sl_sae_reconstruction_loss(t, s, p, b);
    if (b->n_dead > 0 && o->aux_alpha > 0)
        l = sl_add(t, l, sl_sae_auxk(t, s, p, o->k_aux, o->aux_alpha, b));
    return l;
}

const sl_sae_ops sl_sae_batchtopk = {
    .info = { "batchtopk", "the B k largest pre-activations of a batch of B rows", "arXiv 2412.06410", options, sizeof(sl_batchtopk_options) },
    .saelens = "jumprelu", .state = state, .threshold = sl_batchtopk_threshold,
    .check = check, .unit_decoder = sl_sae_always_unit, .max_active = sl_sae_all_active,
    .encode = encode, .loss = loss, .after_step = sl_batchtopk_after_step,
};
