/* The perturbation layer in the trainer: what a step adds to its loss, and tied weights. Early stopping: perturb_stop.c. */
#include "sae/train.h"

#include <math.h>
#include <string.h>

enum { FIT_ROWS = 4096 }; /* rows of the covariance */

/* ---- setting up ---- */

static void tie(sl_sae_trainer *t)
{
    t->own_enc = t->s->W_enc;
    t->own_enc->flags |= SL_PARAM_FROZEN;
    t->s->W_enc = t->s->W_dec;
}

void sl_sae_trainer_untie(sl_sae_trainer *t)
{
    if (!t->own_enc)
        return;
    t->k->copy(t->k, &t->s->W_dec->value, &t->own_enc->value);
    sl_param_touch(t->own_enc);
    t->own_enc->flags &= ~(unsigned)SL_PARAM_FROZEN;
    t->s->W_enc = t->own_enc;
    t->own_enc = NULL;
}

sl_status sl_sae_trainer_perturb_new(sl_sae_trainer *t, sl_err *err)
{
    SL_TRY(sl_perturb_new(t->s, t->pc, t->batch, &t->perturb, err));
    t->perturb->clock = sl_clock;
    if (sl_perturb_selects(t->pc) && !sl_perturb_use_pool(t->perturb))
        return sl_fail(err, SL_MEM, "perturb", NULL, "no memory for a pool of latents");
    if (t->pc->tied_weights)
        tie(t);
    t->trace = sl_alloc(t->ctx, (size_t)(t->c->steps / t->log_every + 2) * sizeof *t->trace);
    if (!t->trace)
        return sl_fail(err, SL_MEM, "perturb", NULL, "no memory for its curve");
    return sl_sae_trainer_stop_new(t, err);
}

/* Normalised rows from the first on: [n, d_in] into out. */
static sl_status first_rows(sl_sae_trainer *t, int64_t n, float *out, sl_err *err)
{
    for (int64_t at = 0; at < n;) {
        sl_act_batch b;
        sl_tensor x, y;
        SL_TRY(sl_sae_trainer_next(t, n - at < t->batch ? n - at : t->batch, &b, err));
        t->rows_at = -1; /* these are not the rows of the next step */
        sl_sae_trainer_normalize(t, &b, &x, &y);
        t->rows_at = -1;
        memcpy(out + at * t->s->d_in, x.data, (size_t)(b.n * t->s->d_in) * sizeof *out);
        at += b.n;
    }
    return t->src->seek(t->src, 0, err);
}

sl_status sl_sae_trainer_perturb_data(sl_sae_trainer *t, sl_err *err)
{
    SL_TRY(sl_sae_trainer_stop_data(t, err));
    if (t->pc->type != SL_PERTURB_SHAPED)
        return SL_OK;
    int64_t have = t->src->info.n_rows, n = have > 0 && have < FIT_ROWS ? have : FIT_ROWS;
    float *rows = sl_alloc(t->ctx, (size_t)(n * t->s->d_in) * sizeof *rows);
    sl_status st = rows ? first_rows(t, n, rows, err) : sl_fail(err, SL_MEM, "perturb", NULL, "no memory for %lld rows", (long long)n);
    if (st == SL_OK)
        st = sl_perturb_fit(t->perturb, rows, n, err);
    sl_free(t->ctx, rows);
    return st;
}

/* ---- a step ---- */

/* gamma min(1, t / (warmup T)) (science.md K1). */
static double gamma_now(const sl_sae_trainer *t)
{
    double rise = t->pc->gamma_warmup * (double)t->c->steps;
    return sl_perturb_gamma(t->pc) * (rise > 0 ? fmin(1, (double)t->step / rise) : 1);
}

static bool needs_code(const sl_perturb_config *c)
{
    return sl_perturb_selects(c) || c->type == SL_PERTURB_FEATDROP || c->type == SL_PERTURB_LATENT || c->type == SL_PERTURB_FGSM || c->type == SL_PERTURB_PGD;
}

static sl_status make_views(sl_sae_trainer *t, const sl_tensor *rows, const sl_csr *z, int n, sl_err *err)
{
    sl_perturb *p = t->perturb;
    double eps = sl_perturb_eps_now(p);
    if (sl_perturb_selects(t->pc) && z && (t->step % t->pc->refresh == 0 || p->v[PT_NEAR_MADE] == 0)) {
        sl_perturb_refresh(p);
        p->v[PT_NEAR_MADE] = 1;
    }
    t->point.achieved = 0;
    for (int i = 0; i < n; i++) {
        SL_TRY(sl_perturb_make(p, rows->data, NULL, z, sl_rows(rows), (sl_perturb_key){ t->step, 0, i }, eps, i, err));
        t->point.achieved += p->view[i].achieved / n;
    }
    for (int i = 0; i + 1 < n && t->pc->mode == SL_STABILITY_TWO_VIEW; i += 2)
        for (int64_t r = 0; r < sl_rows(rows); r++)
            p->view[i].valid[r] = p->view[i].valid[r] && p->view[i + 1].valid[r];
    return SL_OK;
}

sl_status sl_sae_trainer_noisy(sl_sae_trainer *t, const sl_tensor *rows, sl_var *x, sl_err *err)
{
    sl_perturb *p = t->perturb;
    t->point = (sl_perturb_point){ .step = (double)(t->step + 1), .fss = NAN, .eps = sl_perturb_eps_now(p), .gamma = gamma_now(t) };
    if (t->pc->mode != SL_STABILITY_DENOISE || !sl_perturb_has_delta(t->pc))
        return SL_OK;
    const sl_csr *z = NULL;
    if (needs_code(t->pc)) {
        sl_code code = sl_code_freeze(t->tape, sl_perturb_code(t->tape, t->s->ops->encode(t->tape, t->s, *x, NULL)));
        SL_TRY(sl_tape_status(t->tape, err));
        z = sl_code_csr(t->tape, code);
    }
    SL_TRY(make_views(t, rows, z, 1, err));
    if (z)
        sl_perturb_see(p, z);
    *x = sl_const(t->tape, &p->view[0].x);
    return SL_OK;
}

sl_perturb_seen sl_perturb_compare(sl_perturb *p, const sl_csr *got, const sl_csr *want, const uint8_t *valid, bool keep)
{
    const float *a = got->val, *b = want->val;
    sl_perturb_seen s = { 0 };
    int64_t rows = 0;
    for (int64_t r = 0; r < got->n_rows; r++) {
        double sq = 0, all = 0;
        int64_t i = got->row_ptr[r], j = want->row_ptr[r], ni = got->row_ptr[r + 1], nj = want->row_ptr[r + 1];
        while (valid[r] && (i < ni || j < nj)) {
            bool left = i < ni && (j == nj || got->idx[i] <= want->idx[j]), right = j < nj && (i == ni || want->idx[j] <= got->idx[i]);
            int32_t f = left ? got->idx[i] : want->idx[j];
            double u = left ? (double)a[i++] : 0, v = right ? (double)b[j++] : 0;
            p->fss_num[f] += keep ? fabs(u - v) : 0;
            p->fss_den[f] += keep ? u + v : 0;
            s.num += fabs(u - v);
            s.den += u + v;
            sq += (u - v) * (u - v);
            all += v * v;
        }
        rows += valid[r] && all > 0;
        s.change += valid[r] && all > 0 ? sq / all : 0;
    }
    s.change /= rows > 0 ? (double)rows : 1;
    return s;
}

static void look(sl_sae_trainer *t, const sl_perturb_terms *terms, int view)
{
    t->point.stability = terms->stability.id ? sl_scalar(t->tape, terms->stability) : 0;
    if (!terms->got.v.id)
        return;
    sl_perturb_seen s = sl_perturb_compare(t->perturb, sl_code_csr(t->tape, terms->got), sl_code_csr(t->tape, terms->target), t->perturb->view[view].valid, true);
    t->point.change = s.change;
    t->point.fss = s.den > 0 ? 1 - s.num / s.den : NAN;
    sl_perturb_steer(t->perturb, s.num, s.den);
}

sl_status sl_sae_trainer_perturb(sl_sae_trainer *t, const sl_sae_pass *pass, const sl_sae_batch *b, sl_var *loss, sl_err *err)
{
    const sl_perturb_config *c = t->pc;
    sl_perturb *p = t->perturb;
    double gamma = gamma_now(t);
    if (c->mode == SL_STABILITY_DENOISE)
        return SL_OK;
    bool on = gamma > 0 || (c->rho > 0 && sl_perturb_has_delta(c));
    int n = on && sl_perturb_has_delta(c) ? (int)c->views : 0;
    double begin = p->clock(), made;
    const sl_csr *z = NULL;
    if (sl_perturb_has_delta(c)) {
        z = sl_code_csr(t->tape, sl_perturb_code(t->tape, pass->z));
        SL_TRY(sl_tape_status(t->tape, err));
        SL_TRY(make_views(t, sl_value(t->tape, pass->x), z, n, err));
        sl_perturb_see(p, z);
    }
    made = p->clock();
    p->generating += made - begin;
    if (!on)
        return SL_OK;
    sl_perturb_terms terms = sl_perturb_loss(t->tape, t->s, c, pass, b, gamma, p->view, n);
    SL_TRY(sl_tape_status(t->tape, err));
    look(t, &terms, n > 1 && c->mode == SL_STABILITY_TWO_VIEW ? n - 2 : n > 0 ? n - 1 : 0);
    if (terms.loss.id)
        *loss = sl_add(t->tape, *loss, terms.loss);
    p->forward += p->clock() - made;
    return SL_OK;
}
