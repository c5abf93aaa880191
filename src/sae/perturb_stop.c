/* Early stopping on stability with the fidelity guard, and the weights that are kept on the way (science.md B6; the rules: <saelab/perturb.h>). */
#include "sae/train.h"

#include <math.h>
#include <string.h>

enum { FIXED_STEP = -1, HELD_OUT_ROWS = 2048 };       /* the noise of checks is that of a step of its own */
enum { STEP, FSS, FVU, DEAD };                        /* numbers of a check */
static const double LAST_DECAY = .2;                  /* share of the budget that the final decay takes after an early stop */
static const double FVU_WITHIN = 1.05, MOST_DEAD = .02, EARLIEST = .3;

void sl_perturb_result_release(sl_ctx *ctx, sl_perturb_result *r)
{
    sl_free(ctx, r->curve);
    sl_free(ctx, r->checks);
    r->curve = NULL;
    r->checks = NULL;
    r->n_curve = r->n_checks = 0;
}

static int64_t every(const sl_sae_trainer *t)
{
    int64_t fortieth = t->c->steps / 40;
    return t->pc->check_every > 0 ? t->pc->check_every : fortieth > 0 ? fortieth : 1;
}

/* ---- setting up ---- */

sl_status sl_sae_trainer_stop_new(sl_sae_trainer *t, sl_err *err)
{
    if (!t->pc->early_stop)
        return SL_OK;
    if (!t->held_out)
        return sl_fail(err, SL_ARG, "early_stop", "a source of held-out rows", "there are no rows that are not trained on");
    if (t->held_out->info.d_in != t->s->d_in)
        return sl_fail(err, SL_SHAPE, "early_stop", NULL, "held-out rows of %lld for a d_in of %lld", (long long)t->held_out->info.d_in, (long long)t->s->d_in);
    if (t->c->ema > 0)
        return sl_fail(err, SL_ARG, "early_stop", "ema 0", "which weights would be kept, those of a step or their running mean?");
    sl_sae_stop *s = t->stop = sl_alloc(t->ctx, sizeof *s);
    if (!s)
        return sl_fail(err, SL_MEM, "early_stop", NULL, "no memory");
    *s = (sl_sae_stop){ .n_weights = sl_params_numel(t->s->params), .n_state = sl_sae_n_state(t->s->ops), .room = t->c->steps / every(t) + 2 };
    s->n_rows = (HELD_OUT_ROWS + t->batch - 1) / t->batch * t->batch;
    s->rows = sl_alloc(t->ctx, (size_t)(s->n_rows * t->s->d_in) * sizeof *s->rows);
    s->check = sl_alloc(t->ctx, (size_t)(s->room * SL_STOP_NUMBERS) * sizeof *s->check);
    s->kept = sl_alloc(t->ctx, (size_t)(SL_STOP_KEEP * SL_STOP_NUMBERS) * sizeof *s->kept);
    s->weights = sl_alloc(t->ctx, (size_t)(SL_STOP_KEEP * s->n_weights) * sizeof *s->weights);
    s->state = sl_alloc(t->ctx, (size_t)(SL_STOP_KEEP * s->n_state + 1) * sizeof *s->state);
    t->perturb->v[PT_BEST_FVU] = INFINITY;
    return s->rows && s->check && s->kept && s->weights && s->state ? SL_OK
                                                                    : sl_fail(err, SL_MEM, "early_stop", NULL, "no memory for %d copies of the weights", SL_STOP_KEEP);
}

void sl_sae_trainer_stop_free(sl_sae_trainer *t)
{
    if (!t->stop)
        return;
    void *all[] = { t->stop->rows, t->stop->check, t->stop->kept, t->stop->weights, t->stop->state, t->stop };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sl_free(t->ctx, all[i]);
    t->stop = NULL;
}

sl_status sl_sae_trainer_stop_data(sl_sae_trainer *t, sl_err *err)
{
    int64_t d = t->s->d_in, have = 0;
    if (!t->stop)
        return SL_OK;
    while (have < t->stop->n_rows) { /* a smaller source comes round again */
        sl_act_batch b;
        sl_tensor x, y;
        int64_t left = t->stop->n_rows - have;
        SL_TRY(t->held_out->next(t->held_out, left < t->batch ? left : t->batch, &b, err));
        for (int64_t i = 0; i < b.n * d; i++)
            if (!isfinite(b.x[i]))
                return sl_fail(err, SL_NUMERIC, "early_stop", "finite activations", "held-out row %lld, column %lld is %g", (long long)(have + i / d),
                               (long long)(i % d), (double)b.x[i]);
        t->rows_at = -1; /* these are not the rows of a step */
        sl_sae_trainer_normalize(t, &b, &x, &y);
        t->rows_at = -1;
        memcpy(t->stop->rows + have * d, x.data, (size_t)(b.n * d) * sizeof *t->stop->rows);
        have += b.n;
    }
    return SL_OK;
}

/* ---- a check ---- */

/* Sums over the held-out rows: |z' - z*| and z' + z*; error and spread. */
typedef struct sums { double num, den, error, spread; } sums;

static sl_status measure_batch(sl_sae_trainer *t, int64_t at, sums *out, sl_err *err)
{
    sl_perturb *p = t->perturb;
    sl_tape *tape = t->tape;
    float *data = t->stop->rows + at * t->s->d_in;
    sl_tensor rows = sl_tensor_of(SL_F32, data, 2, t->batch, t->s->d_in);
    sl_tape_reset(tape);
    sl_var x = sl_const(tape, &rows);
    sl_sae_pass clean = sl_sae_forward(tape, t->s, x, x, NULL);
    sl_code z = sl_perturb_code(tape, clean.z);
    SL_TRY(sl_tape_status(tape, err));
    SL_TRY(sl_perturb_make(p, data, NULL, sl_code_csr(tape, z), t->batch, (sl_perturb_key){ FIXED_STEP, at, 0 }, sl_perturb_eps(t->pc), 0, err));
    const sl_perturb_view *v = &p->view[0];
    sl_sae_batch limited = { .step = t->c->steps, .steps = t->c->steps, .n = t->batch, .perturbed = true, .k_limit = v->limit };
    sl_code got = sl_perturb_code(tape, t->s->ops->encode(tape, t->s, sl_const(tape, &v->x), v->limit ? &limited : NULL));
    sl_code want = v->add.n_rows ? sl_code_add(tape, z, sl_code_const(tape, &v->add)) : v->drop.n_rows ? sl_code_minus(tape, z, sl_code_const(tape, &v->drop)) : z;
    SL_TRY(sl_tape_status(tape, err));
    sl_perturb_seen s = sl_perturb_compare(p, sl_code_csr(tape, got), sl_code_csr(tape, want), v->valid, false);
    out->num += s.num;
    out->den += s.den;
    out->spread += sl_sae_spread(tape, x);
    out->error += t->k->sq_dist(t->k, &rows, sl_value(tape, clean.xhat));
    return SL_OK;
}

static sl_status measure(sl_sae_trainer *t, double now[SL_STOP_NUMBERS], sl_err *err)
{
    double *v = t->perturb->v;
    const double counted[] = { v[PT_ROWS], v[PT_SKIPPED] };
    sums s = { 0 };
    for (int64_t at = 0; at < t->stop->n_rows; at += t->batch)
        SL_TRY(measure_batch(t, at, &s, err));
    v[PT_ROWS] = counted[0];
    v[PT_SKIPPED] = counted[1];
    now[STEP] = (double)t->step;
    now[FSS] = s.den > 0 ? 1 - s.num / s.den : 0;
    now[FVU] = s.spread > 0 ? s.error / s.spread : 1;
    now[DEAD] = (double)t->n_dead / (double)t->s->d_sae;
    return SL_OK;
}

/* ---- candidates ---- */

static bool may_be_kept(const sl_sae_trainer *t, const double *c)
{
    return c[STEP] > 0 && c[FVU] <= FVU_WITHIN * t->perturb->v[PT_BEST_FVU] && c[DEAD] <= MOST_DEAD;
}

static double *kept_at(const sl_sae_trainer *t, int i) { return t->stop->kept + i * SL_STOP_NUMBERS; }

/* A place for these weights: free, of one that no longer qualifies or is no better in either score, or else of the largest FVU. -1: they are not
 * better than one that is there. */
static int place_for(sl_sae_trainer *t, const double *now)
{
    int to = -1, worst = 0;
    for (int i = 0; i < SL_STOP_KEEP; i++) {
        double *c = kept_at(t, i);
        if (!may_be_kept(t, c) || (now[FSS] >= c[FSS] && now[FVU] <= c[FVU])) {
            c[STEP] = 0;
            to = i;
        } else if (c[FSS] >= now[FSS] && c[FVU] <= now[FVU])
            return -1;
        worst = c[FVU] > kept_at(t, worst)[FVU] ? i : worst;
    }
    return to >= 0 ? to : worst;
}

/* Weights and state of the SAE to or from place i. */
static void copy_weights(sl_sae_trainer *t, int i, bool back)
{
    float *at = t->stop->weights + i * t->stop->n_weights;
    double *state = t->stop->state + i * t->stop->n_state;
    for (int j = 0; j < sl_params_count(t->s->params); j++) {
        sl_param *p = sl_params_at(t->s->params, j);
        size_t bytes = sl_nbytes(&p->value);
        memcpy(back ? p->value.data : (void *)at, back ? (void *)at : p->value.data, bytes);
        at += sl_numel(&p->value);
        if (back)
            sl_param_touch(p);
    }
    memcpy(back ? t->s->state : state, back ? state : t->s->state, (size_t)t->stop->n_state * sizeof *state);
}

void sl_sae_trainer_stop_choose(sl_sae_trainer *t)
{
    int best = -1;
    for (int i = 0; t->stop && i < SL_STOP_KEEP; i++)
        if (may_be_kept(t, kept_at(t, i)) && (best < 0 || kept_at(t, i)[FSS] > kept_at(t, best)[FSS]))
            best = i;
    if (best >= 0) {
        copy_weights(t, best, true);
        t->stop->chosen = (int64_t)kept_at(t, best)[STEP];
    } else if (t->stop)
        sl_log(t->ctx, SL_LOG_WARN, "early_stop: no weights had an FVU near the best and at most 2%% dead latents; the last ones stay");
}

sl_status sl_sae_trainer_stop_report(sl_sae_trainer *t, sl_perturb_result *out)
{
    if (!t->stop)
        return SL_OK;
    out->chosen_step = t->stop->chosen;
    out->n_checks = (int64_t)t->perturb->v[PT_CHECKS];
    out->checks = sl_alloc(t->ctx, (size_t)(out->n_checks + 1) * sizeof *out->checks);
    if (!out->checks)
        return SL_MEM;
    for (int64_t i = 0; i < out->n_checks; i++) {
        const double *c = t->stop->check + i * SL_STOP_NUMBERS;
        out->checks[i] = (sl_stop_check){ c[STEP], c[FSS], c[FVU], c[DEAD] };
    }
    return SL_OK;
}

/* ---- stopping ---- */

void sl_sae_trainer_decay_from(sl_sae_trainer *t, int64_t step)
{
    int64_t left = (int64_t)(LAST_DECAY * (double)t->c->steps);
    t->steps = step + (left > 0 ? left : 1);
    t->sched.kind = SL_SCHED_LINEAR_DECAY;
    t->sched.decay_start = step;
    t->sched.steps = t->steps;
}

sl_status sl_sae_trainer_stop_check(sl_sae_trainer *t, sl_err *err)
{
    double now[SL_STOP_NUMBERS], *v = t->perturb->v, share = (double)t->step / (double)t->c->steps;
    if (t->step % every(t) != 0 && t->step != t->steps)
        return SL_OK;
    SL_TRY(measure(t, now, err));
    v[PT_BEST_FVU] = fmin(v[PT_BEST_FVU], now[FVU]);
    if ((int64_t)v[PT_CHECKS] < t->stop->room) {
        memcpy(t->stop->check + (int64_t)v[PT_CHECKS] * SL_STOP_NUMBERS, now, sizeof now);
        v[PT_CHECKS] += 1;
    }
    bool counted = t->samples - t->batch >= t->window || share >= EARLIEST; /* before that no latent counts as dead */
    int to = counted && may_be_kept(t, now) ? place_for(t, now) : -1;
    if (to >= 0) {
        memcpy(kept_at(t, to), now, sizeof now);
        copy_weights(t, to, false);
    }
    bool settled = sl_perturb_settled(t->perturb, now[FSS], now[FVU], share);
    if (settled && may_be_kept(t, now) && v[PT_DECAY_FROM] <= 0 && share + LAST_DECAY < 1) {
        v[PT_DECAY_FROM] = (double)t->step;
        sl_sae_trainer_decay_from(t, t->step);
        sl_log(t->ctx, SL_LOG_INFO, "stability %.3f and fvu %.4f stand still after step %lld: the final decay begins", now[FSS], now[FVU], (long long)t->step);
    }
    return SL_OK;
}
