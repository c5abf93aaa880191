/* Pieces of mathematics that several variants share. */
#include "sae/variant.h"

#include <math.h>

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

sl_sae_pass sl_sae_forward(sl_tape *t, const sl_sae *s, sl_var x, sl_var y, const sl_sae_batch *b)
{
    sl_sae_pass p = { .x = x, .y = y.id ? y : x, .z = s->ops->encode(t, s, x, b) };
    p.xhat = s->ops->decode ? s->ops->decode(t, s, x, p.z) : sl_sae_reconstruct(t, s, p.z);
    return p;
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

static double over(double a, double b)
{
    return b > 0 ? a / b : 0;
}

double sl_sae_reconstruction_factor(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b)
{
    if (s->recipe->rec_unit == SL_UNIT_VARIANCE)
        return over(1, sl_sae_spread(t, p->y));
    return 1 / ((double)b->n * (s->recipe->rec_unit == SL_UNIT_D_BAR ? b->d_bar : 1));
}

sl_var sl_sae_reconstruction_loss(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b)
{
    return sl_scale(t, sl_sq_dist(t, p->y, p->xhat), sl_sae_reconstruction_factor(t, s, p, b));
}

double sl_sae_penalty_factor(const sl_sae *s, const sl_sae_batch *b)
{
    return 1 / ((double)b->n * (s->recipe->penalty_by_d_bar ? sqrt(b->d_bar) : 1));
}

static double auxk_factor(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, sl_var e, int64_t most, const sl_sae_batch *b)
{
    double ramp = s->recipe->aux_ramp ? fmin(1, (double)b->n_dead / (double)most) : 1;
    switch (s->recipe->aux_unit) {
    case SL_AUX_ROW: return ramp / (double)b->n;
    case SL_AUX_TARGET: return over(ramp, sl_sae_spread(t, p->y));
    default: return over(ramp, sl_sae_spread(t, e));
    }
}

sl_var sl_sae_auxk(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, int64_t k_aux, double alpha, const sl_sae_batch *b)
{
    int64_t most = k_aux > 0 ? k_aux : s->d_in / 2 > 0 ? s->d_in / 2 : 1;
    sl_var e = b->residual ? sl_const(t, b->residual) : sl_stop_grad(t, sl_sub(t, p->y, p->xhat));
    sl_var W_enc = sl_param_var(t, s->W_enc), b_enc = sl_param_var(t, s->b_enc), W_dec = sl_param_var(t, s->W_dec);
    int64_t k = most < b->n_dead ? most : b->n_dead;
    sl_var e_hat = sl_decode_among(t, sl_sae_center(t, s, p->x), W_enc, b_enc, W_dec, k, b->alive);
    return sl_scale(t, sl_sq_dist(t, e, e_hat), alpha * auxk_factor(t, s, p, e, most, b));
}

sl_var sl_sae_topk_loss(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, int64_t k_aux, double alpha, const sl_sae_batch *b)
{
    sl_var l = sl_sae_reconstruction_loss(t, s, p, b);
    return b->n_dead > 0 && alpha > 0 ? sl_add(t, l, sl_sae_auxk(t, s, p, k_aux, alpha, b)) : l;
}

/* With x_n = c (x - mu), y_n = c_y (y - mu_y):
 *   centred encoder (y is x)   W_enc (x_n - b) + b_enc = c W_enc (x - (b / c + mu)) + b_enc
 *   one that takes x whole     W_enc x_n + b_enc = c W_enc x + (b_enc - c W_enc mu)
 *   decoder                    y^ = (W_dec^T z + b) / c_y + mu_y */
bool sl_sae_fold_linear(const sl_kern *k, sl_sae *s, const sl_sae_fold *f)
{
    if (s->W_enc) {
        k->axpby(k, f->scale, &s->W_enc->value, 0, &s->W_enc->value);
        if (!s->center_input && f->mean) {
            sl_tensor *b = &s->b_enc->value;
            k->axpby(k, -1, b, 0, b);
            k->gemv(k, &s->W_enc->value, f->mean, NULL, SL_ACT_NONE, 1, b);
            k->axpby(k, -1, b, 0, b);
        }
    }
    k->axpby(k, 1 / f->scale_out, &s->W_dec->value, 0, &s->W_dec->value);
    k->axpby(k, 1 / f->scale_out, &s->b_dec->value, 0, &s->b_dec->value);
    if (f->mean_out)
        k->axpby(k, 1, f->mean_out, 1, &s->b_dec->value);
    return true;
}

bool sl_sae_always_unit(const void *opts)
{
    (void)opts;
    return true;
}

int64_t sl_sae_all_active(const void *opts, int64_t d_sae)
{
    (void)opts;
    return d_sae;
}

/* ---- schedules ---- */

double sl_sae_ramp(const sl_sae *s, const sl_sae_batch *b, double share)
{
    double rise = share * (double)b->steps;
    return rise > 0 ? fmin(1, ((double)b->step + s->recipe->ramp_first) / rise) : 1;
}

double sl_sae_anneal(const sl_sae_batch *b, double first, double last, double begin, double end)
{
    double at = b->steps > 0 ? (double)b->step / (double)b->steps : 1;
    double part = end > begin ? (at - begin) / (end - begin) : at >= end;
    return first + fmin(1, fmax(0, part)) * (last - first);
}

int64_t sl_sae_k_now(const sl_sae_batch *b, int64_t k, int64_t d_sae)
{
    if (!b || b->k_start <= 0 || b->step >= b->k_steps)
        return k;
    double part = (double)b->step / (double)b->k_steps;
    int64_t now = (int64_t)floor((double)b->k_start + part * (double)(k - b->k_start) + .5);
    return now < 1 ? 1 : now > d_sae ? d_sae : now;
}

sl_code sl_sae_encode_topk(sl_tape *t, const sl_sae *s, sl_var x, int64_t k, const sl_sae_batch *b)
{
    sl_var W = sl_param_var(t, s->W_enc), c = sl_param_var(t, s->b_enc), in = sl_sae_center(t, s, x);
    int64_t most = sl_sae_k_now(b, k, s->d_sae), least = s->d_sae;
    if (b && b->keep)
        return sl_encode_topk_keep(t, in, W, c, most);
    if (!b || !b->k_limit)
        return b && b->move ? sl_encode_moved(t, in, W, c, most, b->move) : sl_encode_topk(t, in, W, c, most);
    most = 1;
    for (int64_t r = 0; r < b->n; r++) {
        most = b->k_limit[r] > most ? b->k_limit[r] : most;
        least = b->k_limit[r] < least ? b->k_limit[r] : least;
    }
    most = most < s->d_sae ? most : s->d_sae;
    sl_code z = b->move ? sl_encode_moved(t, in, W, c, most, b->move) : sl_encode_topk(t, in, W, c, most);
    sl_tensor limit = sl_tensor_of(SL_I32, (void *)(uintptr_t)b->k_limit, 1, b->n);
    return least < most ? sl_code_keep(t, z, &limit) : z;
}
