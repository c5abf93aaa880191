/* The stability loss on the tape (science.md B4); formulas in <saelab/perturb.h>. */
#include "sae/perturb.h"

sl_code sl_perturb_code(sl_tape *t, sl_latents z)
{
    return z.dense.id ? sl_code_of(t, z.dense) : z.sparse;
}

/* `got`, with a' at the entries of `wanted` that it lacks. A variant without a linear encoder has no a': what it lost is not seen. */
static sl_code with_lost(sl_tape *t, const sl_sae *s, sl_var x, sl_code got, sl_code wanted)
{
    if (!s->W_enc)
        return got;
    sl_code lost = sl_code_minus(t, wanted, got);
    return sl_code_add(t, got, sl_encode_at(t, sl_sae_center(t, s, x), sl_param_var(t, s->W_enc), sl_param_var(t, s->b_enc), lost));
}

static sl_code target_of(sl_tape *t, sl_code z, const sl_perturb_view *v)
{
    if (v->add.n_rows)
        z = sl_code_add(t, z, sl_code_const(t, &v->add));
    if (v->drop.n_rows)
        z = sl_code_minus(t, z, sl_code_const(t, &v->drop));
    return z;
}

/* x + delta through the encoder, as the perturbed pass has it. */
static sl_sae_pass perturbed(sl_tape *t, const sl_sae *s, const sl_perturb_view *v, const sl_sae_batch *batch, const sl_sae_pass *clean)
{
    sl_sae_batch b = *batch;
    sl_move move = v->move;
    move.clean = clean->z.sparse;
    b.perturbed = true;
    b.keep = false;
    b.k_limit = v->limit;
    b.move = clean->z.sparse.v.id ? &move : NULL;
    sl_sae_pass p = { .x = sl_const(t, &v->x), .y = clean->y };
    p.z = s->ops->encode(t, s, p.x, &b);
    return p;
}

static sl_var rho_term(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b, double rho)
{
    sl_var xhat = s->ops->decode ? s->ops->decode(t, s, p->x, p->z) : sl_sae_reconstruct(t, s, p->z);
    return sl_scale(t, sl_sq_dist(t, p->y, xhat), rho * sl_sae_reconstruction_factor(t, s, p, b));
}

static sl_var plus(sl_tape *t, sl_var a, sl_var b) { return a.id ? sl_add(t, a, b) : b; }

/* (eps^2 / d) |x|^2 / (|z|^2 + kappa) / B a row; weights as in L_stab, all rows valid. */
static sl_var contractive(sl_tape *t, const sl_sae *s, const sl_perturb_config *c, const sl_sae_pass *clean, const sl_sae_batch *b)
{
    const sl_kern *k = sl_tape_kern(t);
    sl_code z = sl_code_freeze(t, sl_perturb_code(t, clean->z));
    uint8_t *all = sl_tape_scratch(t, (size_t)b->n);
    sl_tensor ratio = sl_tensor_of(k->dtype, sl_tape_scratch(t, (size_t)b->n * sl_dtype_size(k->dtype)), 1, b->n);
    if (!all || !ratio.data)
        return (sl_var){ 0 };
    for (int64_t r = 0; r < b->n; r++)
        all[r] = 1;
    sl_tensor keep = sl_tensor_of(SL_U8, all, 1, b->n);
    k->row_norms(k, sl_value(t, clean->x), &ratio);
    k->mul(k, &ratio, &ratio, 0, &ratio);
    double eps = sl_perturb_eps(c);
    k->axpby(k, eps * eps / (double)s->d_in, &ratio, 0, &ratio);
    sl_var w = sl_mul(t, sl_row_weights(t, z, z, &keep), sl_const(t, &ratio));
    sl_var norm = sl_row_norm(t, sl_param_var(t, s->W_enc));
    return sl_sum(t, sl_mul(t, sl_mul(t, norm, norm), sl_col_weights(t, z, w)));
}

/* One view against the clean code, or against the other view where that is given. */
static sl_var view_loss(sl_tape *t, const sl_sae *s, const sl_perturb_config *c, const sl_sae_pass *clean, const sl_perturb_view *v,
                        const sl_sae_pass *here, const sl_sae_pass *other, sl_perturb_terms *out)
{
    sl_code live = sl_perturb_code(t, clean->z), z = sl_code_freeze(t, live);
    sl_code got = sl_perturb_code(t, here->z);
    sl_tensor keep = sl_tensor_of(SL_U8, v->valid, 1, sl_code_csr(t, z) ? sl_code_csr(t, z)->n_rows : 0);
    out->target = target_of(t, z, v);
    out->got = got;
    sl_var w = sl_row_weights(t, out->target, z, &keep);
    if (other) {
        sl_code theirs = sl_perturb_code(t, other->z);
        return sl_stability(t, with_lost(t, s, here->x, got, theirs), with_lost(t, s, other->x, theirs, got), w);
    }
    sl_code wanted = c->mode == SL_STABILITY_SYMMETRIC ? target_of(t, live, v) : out->target;
    return sl_stability(t, with_lost(t, s, here->x, got, out->target), wanted, w);
}

sl_perturb_terms sl_perturb_loss(sl_tape *t, const sl_sae *s, const sl_perturb_config *c, const sl_sae_pass *clean, const sl_sae_batch *batch,
                                 double gamma, const sl_perturb_view *views, int n_views)
{
    sl_perturb_terms out = { 0 };
    if (c->mode == SL_STABILITY_CONTRACTIVE)
        out.stability = contractive(t, s, c, clean, batch);
    if (c->mode == SL_STABILITY_ENC_L2) {
        sl_var W = sl_param_var(t, s->W_enc);
        out.stability = sl_sum(t, sl_mul(t, W, W));
    }
    sl_var rho = { 0 };
    bool pairs = c->mode == SL_STABILITY_TWO_VIEW;
    for (int i = 0; i < n_views; i += pairs ? 2 : 1) {
        sl_sae_pass here = perturbed(t, s, &views[i], batch, clean), other = { 0 };
        if (pairs)
            other = perturbed(t, s, &views[i + 1], batch, clean);
        sl_var l = view_loss(t, s, c, clean, &views[i], &here, pairs ? &other : NULL, &out);
        out.stability = plus(t, out.stability, sl_scale(t, l, (pairs ? 2. : 1.) / n_views));
        if (c->rho > 0)
            rho = plus(t, rho, sl_scale(t, rho_term(t, s, &here, batch, c->rho), (pairs ? 2. : 1.) / n_views));
    }
    if (out.stability.id)
        out.loss = sl_scale(t, out.stability, gamma);
    if (rho.id)
        out.loss = plus(t, out.loss, rho);
    return out;
}
