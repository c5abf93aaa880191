/* What is kept of weights while they train: the random start that a control holds W_dec to, and their running mean. */
#include "sae/train.h"

#include <math.h>
#include <string.h>

/* ---- soft-frozen decoder: cos(d_j, its start) >= .8 (science.md H; arXiv 2602.14111) ---- */

static const double LEAST_COS = .8;

/* d [n] becomes |d| (.8 u + .6 v), u the start's direction and v that of what is left of d, when its cosine with u is below .8. */
static void hold_row(float *d, const float *start, int64_t n)
{
    double dot = 0, start_sq = 0, sq = 0;
    for (int64_t j = 0; j < n; j++) {
        dot += (double)d[j] * (double)start[j];
        start_sq += (double)start[j] * (double)start[j];
        sq += (double)d[j] * (double)d[j];
    }
    if (!(start_sq > 0) || dot >= LEAST_COS * sqrt(start_sq * sq))
        return;
    double along = dot / start_sq, rest = sqrt(fmax(0, sq - along * dot)), norm = sqrt(sq);
    for (int64_t j = 0; j < n; j++) {
        double u = (double)start[j] / sqrt(start_sq), v = rest > 0 ? ((double)d[j] - along * (double)start[j]) / rest : 0;
        d[j] = (float)(norm * (LEAST_COS * u + sqrt(1 - LEAST_COS * LEAST_COS) * v));
    }
}

static void hold_decoder(sl_sae_trainer *t)
{
    const sl_tensor *W = &t->s->W_dec->value;
    for (int64_t f = 0; f < W->dim[0]; f++)
        hold_row((float *)W->data + f * W->dim[1], t->start_dec + f * W->dim[1], W->dim[1]);
    sl_param_touch(t->s->W_dec);
}

/* ---- running mean: e = ema e + (1 - ema) w, from w of the first step ---- */

sl_tensor sl_sae_trainer_ema_of(const sl_sae_trainer *t, int i)
{
    float *at = t->ema;
    for (int j = 0; j < i; j++)
        at += sl_numel(&sl_params_at(t->s->params, j)->value);
    sl_tensor e = sl_params_at(t->s->params, i)->value;
    e.data = at;
    return e;
}

static void follow(sl_sae_trainer *t)
{
    double keep = t->step == 0 ? 0 : t->c->ema;
    for (int i = 0; i < sl_params_count(t->s->params); i++) {
        sl_tensor e = sl_sae_trainer_ema_of(t, i);
        t->k->axpby(t->k, 1 - keep, &sl_params_at(t->s->params, i)->value, keep, &e);
    }
}

void sl_sae_trainer_use_ema(sl_sae_trainer *t)
{
    for (int i = 0; t->ema && i < sl_params_count(t->s->params); i++) {
        sl_param *p = sl_params_at(t->s->params, i);
        sl_tensor e = sl_sae_trainer_ema_of(t, i);
        t->k->copy(t->k, &e, &p->value);
        if (p->flags & SL_PARAM_UNIT_ROWS) /* a mean of unit rows is shorter */
            t->k->row_normalize(t->k, &p->value);
        sl_param_touch(p);
    }
}

/* ---- both ---- */

sl_status sl_sae_trainer_keep(sl_sae_trainer *t, sl_err *err)
{
    const sl_tensor *W = &t->s->W_dec->value;
    if (t->c->control == SL_SAE_SOFT_FROZEN_DECODER)
        t->start_dec = sl_alloc(t->ctx, sl_nbytes(W));
    if (t->c->ema > 0)
        t->ema = sl_alloc(t->ctx, (size_t)sl_params_numel(t->s->params) * sizeof *t->ema);
    if ((t->c->control == SL_SAE_SOFT_FROZEN_DECODER && !t->start_dec) || (t->c->ema > 0 && !t->ema))
        return sl_fail(err, SL_MEM, "sae train", NULL, "no memory to keep the first or the mean weights");
    if (t->start_dec)
        memcpy(t->start_dec, W->data, sl_nbytes(W));
    return SL_OK;
}

void sl_sae_trainer_after_step(sl_sae_trainer *t)
{
    if (t->start_dec)
        hold_decoder(t);
    if (t->ema)
        follow(t);
}
