/* One training: its start, a step, its end. A step: normalise, encode, decode, loss, backward, optimizer, dead latents. The loop over steps is
 * in sweep.c; what is mathematics is in the variants; what is files is in train_state.c. */
#include "io/io.h"
#include "sae/train.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

double sl_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double sl_sae_trainer_seconds(const sl_sae_trainer *t)
{
    return t->before + sl_clock() - t->start;
}

/* ---- setting up ---- */

static sl_status allocate(sl_sae_trainer *t, sl_err *err)
{
    size_t f = (size_t)t->s->d_sae;
    t->has_target = t->s->ops->d_out != NULL;
    t->in = (sl_sae_norm){ .d = t->s->d_in, .scale = 1, .buffer = sl_alloc(t->ctx, (size_t)(t->batch * t->s->d_in) * sizeof(float)) };
    t->target = (sl_sae_norm){ .d = t->s->d_out, .scale = 1 };
    if (t->has_target)
        t->target.buffer = sl_alloc(t->ctx, (size_t)(t->batch * t->s->d_out) * sizeof(float));
    t->since = sl_alloc(t->ctx, f * sizeof *t->since);
    t->fired = sl_alloc(t->ctx, f);
    t->alive = sl_alloc(t->ctx, f);
    t->curve = sl_alloc(t->ctx, (size_t)(t->c->steps / t->log_every + 2) * sizeof *t->curve);
    if (!t->in.buffer || (t->has_target && !t->target.buffer) || !t->since || !t->fired || !t->alive || !t->curve)
        return sl_fail(err, SL_MEM, "sae train", NULL, "no memory for batches of %lld rows", (long long)t->batch);
    return sl_tape_new(t->ctx, SL_F32, &t->tape, err);
}

static void take_names(sl_sae *s, const sl_act_info *i)
{
    snprintf(s->hook, sizeof s->hook, "%s", i->hook);
    snprintf(s->hook_out, sizeof s->hook_out, "%s", s->ops->d_out ? i->hook_y : "");
    snprintf(s->model, sizeof s->model, "%s", i->model);
    snprintf(s->dataset, sizeof s->dataset, "%s", i->dataset);
}

sl_status sl_sae_trainer_open(sl_sae_trainer *t, sl_err *err)
{
    SL_TRY(sl_sae_trainer_check(t->s, t->src, t->c, err));
    if (t->pc)
        SL_TRY(sl_perturb_check(t->s, t->pc, err));
    t->ctx = t->s->ctx;
    t->start = sl_clock();
    SL_TRY(sl_kern_get(t->ctx, SL_F32, &t->k, err));
    sl_sae_trainer_plan(t);
    SL_TRY(allocate(t, err));
    sl_sae_trainer_make_key(t);
    take_names(t->s, &t->src->info);
    t->s->stage = SL_SAE_TRAINING;
    t->steps = t->c->steps;
    if (t->dir)
        SL_TRY(sl_dir_make(t->dir, err));
    SL_TRY(sl_sae_trainer_first_weights(t, err));
    if (t->pc)
        SL_TRY(sl_sae_trainer_perturb_new(t, err));
    SL_TRY(sl_sae_trainer_keep(t, err));
    SL_TRY(sl_sae_trainer_prepare_data(t, err));
    if (t->perturb)
        SL_TRY(sl_sae_trainer_perturb_data(t, err));
    return sl_sae_trainer_resume(t, err);
}

/* ---- a step ---- */

static bool is_logged(const sl_sae_trainer *t, int64_t step)
{
    return (step - 1) % t->log_every == 0 || step == t->steps;
}

/* One step's passing things. */
typedef struct step {
    sl_tensor rows, targets, alive;
    sl_sae_batch batch;
    sl_sae_pass pass;
    sl_var loss;
} step;

/* own: the variant's loss, of which `loss` may be more than all. */
static sl_status log_step(sl_sae_trainer *t, const step *s, double own, double loss, sl_err *err)
{
    const sl_sae_pass *p = &s->pass;
    double spread = sl_sae_spread(t->tape, p->y), rec = t->k->sq_dist(t->k, sl_value(t->tape, p->y), sl_value(t->tape, p->xhat));
    double recon = rec * sl_sae_reconstruction_factor(t->tape, t->s, p, &s->batch);
    sl_sae_step row = { .step = t->step + 1, .samples = t->samples + t->seen.n, .loss = loss, .fvu = spread > 0 ? rec / spread : NAN, .l0 = t->seen.l0,
                        .recon = recon, .penalty = own - recon, .dead = (double)t->n_dead / (double)t->s->d_sae, .lr = sl_schedule_at(&t->sched, t->step),
                        .own = { NAN, NAN, NAN }, .seconds = sl_sae_trainer_seconds(t) };
    if (t->s->ops->watch) {
        t->s->ops->watch(t->tape, t->s, p, row.own);
        SL_TRY(sl_tape_status(t->tape, err));
    }
    return sl_sae_trainer_log(t, &row, err);
}

static sl_status offended(sl_sae_trainer *t, const sl_act_batch *b, sl_status st)
{
    if (st == SL_NUMERIC)
        sl_sae_trainer_save_offender(t, b);
    return st;
}

static void prepare_step(sl_sae_trainer *t, const sl_act_batch *b, step *p)
{
    *p = (step){ .alive = sl_tensor_of(SL_U8, t->alive, 1, t->s->d_sae) };
    sl_sae_trainer_normalize(t, b, &p->rows, &p->targets);
    sl_sae_trainer_count_dead(t);
    p->batch = (sl_sae_batch){ .step = t->step, .steps = t->c->steps, .n = b->n, .d_bar = t->d_bar, .k_start = t->c->k_start,
                                 .k_steps = (int64_t)(t->c->k_anneal * (double)t->c->steps), .n_dead = t->n_dead, .alive = t->n_dead ? &p->alive : NULL,
                                 .keep = t->perturb && t->pc->mode != SL_STABILITY_DENOISE && sl_perturb_few(t->pc) && t->s->d_in >= SL_PERTURB_BESIDE };
}

static sl_status forward(sl_sae_trainer *t, step *p, sl_err *err)
{
    sl_sae *s = t->s;
    sl_tape_reset(t->tape);
    sl_var x = sl_const(t->tape, &p->rows), y = t->has_target ? sl_const(t->tape, &p->targets) : x;
    if (t->perturb)
        SL_TRY(sl_sae_trainer_noisy(t, &p->rows, &x, err));
    p->pass = sl_sae_forward(t->tape, s, x, y, &p->batch);
    p->loss = s->ops->loss(t->tape, s, &p->pass, &p->batch);
    sl_var own = p->loss;
    sl_sae_trainer_see(t, p->pass.z, p->batch.n);
    if (t->perturb)
        SL_TRY(sl_sae_trainer_perturb(t, &p->pass, &p->batch, &p->loss, err));
    SL_TRY(sl_tape_status(t->tape, err));
    double value = sl_scalar(t->tape, p->loss);
    if (!isfinite(value))
        return sl_fail(err, SL_NUMERIC, "loss", "a finite number", "step %lld: it is %g", (long long)t->step, value);
    if (is_logged(t, t->step + 1))
        return log_step(t, p, sl_scalar(t->tape, own), value, err);
    return SL_OK;
}

sl_status sl_sae_trainer_step(sl_sae_trainer *t, const sl_act_batch *b, sl_err *err)
{
    step p;
    prepare_step(t, b, &p);
    SL_TRY(offended(t, b, forward(t, &p, err)));
    sl_params_zero_grad(t->s->params);
    SL_TRY(offended(t, b, sl_tape_backward(t->tape, p.loss, err)));
    t->optim.lr = sl_schedule_at(&t->sched, t->step);
    SL_TRY(offended(t, b, sl_optim_step(&t->optim, t->s->params, NULL, err)));
    if (t->s->ops->after_step) {
        t->s->ops->after_step(t->tape, t->s, &p.pass, &p.batch, &t->seen);
        SL_TRY(sl_tape_status(t->tape, err));
    }
    sl_sae_trainer_age(t, b->n);
    if (t->c->resample_every > 0 && (t->step + 1) % t->c->resample_every == 0 && t->n_dead > 0)
        SL_TRY(sl_sae_trainer_resample(t, &p.pass, err));
    sl_sae_trainer_after_step(t);
    t->step++;
    t->samples += b->n;
    return t->stop ? sl_sae_trainer_stop_check(t, err) : SL_OK;
}

/* ---- the end ---- */

sl_status sl_sae_trainer_finish(sl_sae_trainer *t, sl_err *err)
{
    sl_sae_trainer_use_ema(t);
    sl_sae_trainer_stop_choose(t);
    sl_sae_trainer_untie(t);
    return sl_sae_trainer_fold(t, err);
}

void sl_sae_trainer_result(sl_sae_trainer *t, sl_sae_result *out)
{
    double seconds = sl_sae_trainer_seconds(t);
    *out = (sl_sae_result){ .last = t->curve[t->n_curve - 1], .seconds = seconds, .wait_share = seconds > 0 ? t->wait / seconds : 0,
                            .curve = t->curve, .n_curve = t->n_curve };
    t->curve = NULL;
}

sl_status sl_sae_trainer_report(sl_sae_trainer *t, sl_perturb_result *out)
{
    const double *v = t->perturb->v;
    double fvu = t->curve[t->n_curve - 1].fvu, here = fmax(sl_clock() - t->start, 1e-9);
    *out = (sl_perturb_result){ .curve = t->trace, .n_curve = t->n_curve, .skipped = (int64_t)v[PT_SKIPPED], .rows = (int64_t)v[PT_ROWS],
                                .eps = sl_perturb_eps_now(t->perturb), .saturated = (int64_t)v[PT_SATURATED], .stopped_at = (int64_t)v[PT_DECAY_FROM],
                                .steps = t->step, .generate_share = t->perturb->generating / here,
                                .forward_share = t->perturb->forward / here, .collapsed = fvu >= 1 };
    if (out->collapsed)
        sl_log(t->ctx, SL_LOG_WARN, "the code collapsed (fvu %.3g): gamma %g is too strong, or rises too early", fvu, sl_perturb_gamma(t->pc));
    t->trace = NULL;
    return sl_sae_trainer_stop_report(t, out);
}

void sl_sae_trainer_close(sl_sae_trainer *t)
{
    sl_sae_trainer_untie(t);
    sl_perturb_free(t->perturb);
    sl_free(t->ctx, t->trace);
    sl_sae_trainer_stop_free(t);
    sl_tape_free(t->tape);
    sl_free(t->ctx, t->in.buffer);
    sl_free(t->ctx, t->in.mean);
    sl_free(t->ctx, t->target.buffer);
    sl_free(t->ctx, t->target.mean);
    sl_free(t->ctx, t->since);
    sl_free(t->ctx, t->fired);
    sl_free(t->ctx, t->alive);
    sl_free(t->ctx, t->curve);
    sl_free(t->ctx, t->start_dec);
    sl_free(t->ctx, t->ema);
}
