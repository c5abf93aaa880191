/* TopK SAE (Gao et al. 2024, arXiv 2406.04093, eq. 1-3) with AuxK (their section 2.4).
 *   z = TopK_k(W_enc (x - b_dec) + b_enc), positive values only       x^ = W_dec^T z + b_dec
 *   L = |x - x^|^2 / (B d_bar) + aux_alpha AuxK
 * Exactly min(k, number of positive pre-activations) latents a row. Rows of W_dec have norm 1. Differs from the paper: the
 * reconstruction term is divided by d_bar = mean |x|^2 (recipe saelab), so that aux_alpha means the same for any data. Differs from
 * SAELens 6.54.12 under every recipe: with its default rescale_acts_by_decoder_norm SAELens selects, and multiplies, by a_j |d_j|; here rows
 * of W_dec have norm 1 or are left as they are, and a_j alone decides. Equal to it where the rows have norm 1, or where that option is off. */
#include "sae/variant.h"

static const sl_opt options[] = {
    SL_OPT_INT(sl_topk_options, k, 32, 1, 65536, "latents", "active latents a row"),
    SL_OPT_INT(sl_topk_options, k_aux, 0, 0, 1 << 20, "latents", "dead latents in AuxK; 0: half of d_in"),
    SL_OPT_FLOAT(sl_topk_options, aux_alpha, 1 / 32., 0, 1e3, "", "weight of AuxK; 0: off"),
    SL_OPT_END
};

static sl_status check(const void *opts, int64_t d_in, int64_t d_sae, sl_err *err)
{
    const sl_topk_options *o = opts;
    (void)d_in;
    if (o->k > d_sae)
        return sl_fail(err, SL_ARG, "k", "at most d_sae", "%lld active latents of %lld", (long long)o->k, (long long)d_sae);
    return SL_OK;
}

static int64_t max_active(const void *opts, int64_t d_sae)
{
    (void)d_sae;
    return ((const sl_topk_options *)opts)->k;
}

static sl_latents encode(sl_tape *t, const sl_sae *s, sl_var x, const sl_sae_batch *b)
{
    const sl_topk_options *o = s->opts;
    return (sl_latents){ .sparse = sl_sae_encode_topk(t, s, x, o->k, b) };
}

static sl_var loss(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b)
{
    const sl_topk_options *o = s->opts;
    return sl_sae_topk_loss(t, s, p, o->k_aux, o->aux_alpha, b);
}

static const char *const cfg_keys[] = { "k", NULL };

const sl_sae_ops sl_sae_topk = {
    .info = { "topk", "the k largest pre-activations of each row", "arXiv 2406.04093", options, sizeof(sl_topk_options) },
    .saelens = "topk", .cfg_keys = cfg_keys,
    .check = check, .unit_decoder = sl_sae_always_unit, .max_active = max_active,
    .encode = encode, .loss = loss,
};
