/* Pieces of mathematics that several variants share. */
#include "sae/variant.h"

sl_var sl_sae_center(sl_tape *t, const sl_sae *s, sl_var x)
{
    return s->center_input ? sl_sub_row(t, x, sl_param_var(t, s->b_dec)) : x;
}

sl_var sl_sae_reconstruct(sl_tape *t, const sl_sae *s, sl_latents z)
{
    sl_var W = sl_param_var(t, s->W_dec), b = sl_param_var(t, s->b_dec);
    if (z.dense.id)
        return sl_add_row(t, sl_matmul(t, z.dense, W, false), b);
    return sl_sparse_decode(t, z.sparse, W, b);
}

sl_var sl_sae_reconstruction_loss(sl_tape *t, sl_var x, sl_var xhat, const sl_sae_batch *b)
{
    return sl_scale(t, sl_sq_dist(t, x, xhat), 1 / ((double)b->n * b->d_bar));
}

/* As sum |x_b|^2 - B |mean x|^2. */
double sl_sae_spread(sl_tape *t, sl_var x)
{
    const sl_tensor *v = sl_value(t, x);
    int64_t d = v ? sl_cols(v) : 0, n = v ? sl_rows(v) : 0;
    sl_tensor mean = sl_tensor_of(v ? v->dtype : SL_F32, v ? sl_tape_scratch(t, (size_t)d * sl_dtype_size(v->dtype)) : NULL, 1, d);
    if (!mean.data)
        return 0;
    const sl_kern *k = sl_tape_kern(t);
    k->col_sum(k, 1 / (double)n, v, &mean);
    return k->sum_sq(k, v) - (double)n * k->sum_sq(k, &mean);
}

sl_var sl_sae_auxk(sl_tape *t, const sl_sae *s, sl_var x, sl_var xhat, int64_t k_aux, double alpha, const sl_sae_batch *b)
{
    int64_t most = k_aux > 0 ? k_aux : s->d_in / 2 > 0 ? s->d_in / 2 : 1;
    sl_var e = b->residual ? sl_const(t, b->residual) : sl_stop_grad(t, sl_sub(t, x, xhat));
    sl_var W_enc = sl_param_var(t, s->W_enc), b_enc = sl_param_var(t, s->b_enc), W_dec = sl_param_var(t, s->W_dec);
    sl_code z = sl_encode_topk_among(t, sl_sae_center(t, s, x), W_enc, b_enc, most < b->n_dead ? most : b->n_dead, b->alive);
    double norm = sl_sae_spread(t, e);
    return sl_scale(t, sl_sq_dist(t, e, sl_sparse_decode(t, z, W_dec, (sl_var){ 0 })), norm > 0 ? alpha / norm : 0);
}
