/* Matching pursuit SAE (Costa et al. 2025, arXiv 2506.03093; Mallat, Zhang 1993).
 *   r_0 = x - b_dec;   for i = 1 .. max_iterations:  j = argmax_j d_j . r_{i-1},  c = max(0, d_j . r_{i-1}),  z_j += c,  r_i = r_{i-1} - c d_j
 *   x^ = W_dec^T z + b_dec = x - r      L = |r|^2 / (B d_bar)
 * There is no encoder: the decoder's rows, of norm 1, are what is looked for. The gradient goes through all iterations; the choice of j has
 * none. A row ends when no projection is positive; a latent chosen twice adds up. Differs from the paper: max_iterations latents at most,
 * no threshold of the residual's norm; d_bar (recipe saelab). After training codes are in raw units: c / scale, with the same d_j.
 * SAELens 6.49's architecture of this name, with residual_threshold 0. */
#include "sae/variant.h"

static const sl_opt options[] = {
    SL_OPT_INT(sl_matching_pursuit_options, max_iterations, 32, 1, 4096, "latents", "greedy choices a row"),
    SL_OPT_END
};

static int64_t max_active(const void *opts, int64_t d_sae)
{
    int64_t n = ((const sl_matching_pursuit_options *)opts)->max_iterations;
    return n < d_sae ? n : d_sae;
}

static sl_latents encode(sl_tape *t, const sl_sae *s, sl_var x, const sl_sae_batch *b)
{
    const sl_matching_pursuit_options *o = s->opts;
    const sl_kern *k = sl_tape_kern(t);
    sl_tensor zero = sl_tensor_of(k->dtype, sl_tape_scratch(t, (size_t)s->d_sae * sl_dtype_size(k->dtype)), 1, s->d_sae);
    if (!zero.data)
        return (sl_latents){ .sparse = { { 0 } } };
    sl_var W = sl_param_var(t, s->W_dec), no_bias = sl_const(t, &zero), r = sl_sae_center(t, s, x);
    sl_code z = { { 0 } };
    for (int64_t i = 0, n = sl_sae_k_now(b, o->max_iterations, s->d_sae); i < n; i++) {
        sl_code next = sl_encode_topk(t, r, W, no_bias, 1);
        z = i ? sl_code_add(t, z, next) : next;
        r = sl_sub(t, r, sl_sparse_decode(t, next, W, (sl_var){ 0 }));
    }
    return (sl_latents){ .sparse = z };
}

static sl_var loss(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b)
{
    return sl_sae_reconstruction_loss(t, s, p, b);
}

/* d_j . (x_n - b) = c d_j . (x - (b / c + mu)) with x_n = c (x - mu): the rows stay, codes are divided by c. */
static bool fold(const sl_kern *k, sl_sae *s, const sl_sae_fold *f)
{
    k->axpby(k, 1 / f->scale, &s->b_dec->value, 0, &s->b_dec->value);
    if (f->mean)
        k->axpby(k, 1, f->mean, 1, &s->b_dec->value);
    return true;
}

static const char *const cfg_keys[] = { "max_iterations", NULL };

const sl_sae_ops sl_sae_matching_pursuit = {
    .info = { "matching_pursuit", "greedy choices on the residual, decoder and encoder tied", "arXiv 2506.03093", options,
              sizeof(sl_matching_pursuit_options) },
    .saelens = "matching_pursuit", .cfg_keys = cfg_keys, .no_encoder = true,
    .unit_decoder = sl_sae_always_unit, .max_active = max_active,
    .encode = encode, .loss = loss, .fold = fold,
};
