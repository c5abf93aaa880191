/* Training, as nanoGPT's train.py does it: random windows, micro-batches whose gradients are added up, clipping, AdamW (or Muon), cosine
 * schedule; the weights with the smallest validation loss are the result. Iteration i draws its windows and dropout masks from streams keyed by
 * i, and its evaluations from others, so that neither evaluations nor checkpoints nor threads change the path. */
#include "io/io.h"
#include "lm/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- set-up ---- */

static sl_status check_corpus(const sl_trainer *r, sl_err *err)
{
    int64_t T = r->m->c.block_size, n_train = r->c->train_end, n_val = r->c->val_end - r->c->train_end;
    if (n_train < T + 1 || n_val < T + 1)
        return sl_fail(err, SL_DATA, r->c->name, "more tokens than block_size in both splits", "%lld training and %lld validation tokens, block_size %lld",
                       (long long)n_train, (long long)n_val, (long long)T);
    return sl_lm_check_ids(r->m, r->c->ids, r->c->val_end, err);
}

static sl_status allocate(sl_trainer *r, sl_err *err)
{
    sl_ctx *ctx = r->m->ctx;
    int n = sl_params_count(r->m->ps);
    int64_t T = r->m->c.block_size, cells = r->micro_rows * T;
    int32_t *ids = sl_alloc(ctx, 2 * (size_t)cells * sizeof *ids);
    r->best = sl_alloc(ctx, (size_t)n * sizeof *r->best);
    float *best = sl_alloc(ctx, (size_t)sl_params_numel(r->m->ps) * sizeof *best);
    if (!ids || !r->best || !best) {
        sl_free(ctx, ids);
        sl_free(ctx, best);
        return sl_fail(err, SL_MEM, "training", NULL, "out of memory");
    }
    r->x = sl_tensor_of(SL_I32, ids, 2, r->micro_rows, T);
    r->y = sl_tensor_of(SL_I32, ids + cells, 2, r->micro_rows, T);
    for (int i = 0; i < n; i++) {
        r->best[i] = sl_params_at(r->m->ps, i)->value;
        r->best[i].data = best;
        best += sl_numel(&r->best[i]);
    }
    return SL_OK;
}

static void release(sl_trainer *r)
{
    sl_ctx *ctx = r->m->ctx;
    sl_free(ctx, r->x.data);
    if (r->best)
        sl_free(ctx, r->best[0].data);
    sl_free(ctx, r->best);
    sl_free(ctx, r->curve);
}

static void configure(sl_trainer *r)
{
    const sl_lm_train_config *t = r->t;
    r->micro_rows = sl_lm_micro_rows(t->batch_size, r->m->c.block_size, t->micro_tokens);
    r->opt = (sl_optim){ .kind = t->optimizer == SL_LM_MUON ? SL_OPTIM_MUON : SL_OPTIM_ADAMW, .beta1 = t->beta1, .beta2 = t->beta2,
                         .eps = 1e-8, .weight_decay = t->weight_decay, .clip = t->grad_clip, .muon_momentum = 0.95 };
    r->schedule = (sl_schedule){ .kind = t->schedule == SL_LM_LINEAR ? SL_SCHED_LINEAR_DECAY : SL_SCHED_COSINE, .lr = t->learning_rate,
                                 .min_lr = t->min_lr, .warmup = t->warmup_iters, .decay_start = t->decay_start, .steps = t->lr_decay_iters };
    r->best_val = INFINITY;
}

/* ---- evaluation: nanoGPT's estimate_loss ---- */

/* Mean loss of eval_iters random batches of ids[0, n); split keys the stream. */
static sl_status split_loss(sl_trainer *r, const int32_t *ids, int64_t n, int split, double *mean, sl_err *err)
{
    sl_tape *t = r->m->tape;
    sl_windows w = { ids, n, (uint64_t)r->t->seed, SL_RNG_EVAL };
    int64_t passes = r->t->eval_iters * (r->t->batch_size / r->micro_rows);
    double sum = 0;
    for (int64_t i = 0; i < passes; i++) {
        sl_lm_windows(&w, (uint64_t)(2 * r->iter + split), i * r->micro_rows, &r->x, &r->y);
        sl_tape_reset(t);
        sum += sl_scalar(t, sl_gpt_loss(t, r->m, &r->x, &r->y, NULL));
        SL_TRY(sl_tape_status(t, err));
        if (sl_cancelled(r->m->ctx))
            return SL_OK; /* the caller asks again, and throws this evaluation away */
    }
    *mean = sum / (double)passes;
    return SL_OK;
}

static sl_status non_finite(sl_trainer *r, const char *what, double value, sl_err *err)
{
    const sl_param *bad = sl_gpt_bad_param(r->m);
    char where[256];
    snprintf(where, sizeof where, "iteration %lld: %s", (long long)r->iter, bad ? bad->name : "every weight is finite");
    sl_trainer_save_bad_batch(r);
    return sl_fail(err, SL_NUMERIC, where, "finite numbers", "%s is %g", what, value);
}

static void copy_params(sl_trainer *r, bool to_best)
{
    const sl_kern *k = sl_tape_kern(r->m->tape);
    for (int i = 0; i < sl_params_count(r->m->ps); i++) {
        sl_param *p = sl_params_at(r->m->ps, i);
        k->copy(k, to_best ? &p->value : &r->best[i], to_best ? &r->best[i] : &p->value);
        if (!to_best)
            sl_param_touch(p);
    }
}

static sl_status evaluate(sl_trainer *r, sl_err *err)
{
    const sl_corpus *c = r->c;
    sl_lm_curve row = { .iter = r->iter, .lr = sl_schedule_at(&r->schedule, r->iter) };
    sl_tape_no_grad(r->m->tape, true);
    sl_status st = split_loss(r, c->ids, c->train_end, 0, &row.train_loss, err);
    if (st == SL_OK)
        st = split_loss(r, c->ids + c->train_end, c->val_end - c->train_end, 1, &row.val_loss, err);
    sl_tape_no_grad(r->m->tape, false);
    if (st != SL_OK || sl_cancelled(r->m->ctx))
        return st;
    if (!isfinite(row.train_loss + row.val_loss))
        return non_finite(r, "the evaluation's loss", row.train_loss + row.val_loss, err);
    if (row.val_loss < r->best_val) {
        r->best_val = row.val_loss;
        copy_params(r, true);
    }
    row.seconds = sl_trainer_seconds(r);
    sl_log(r->m->ctx, SL_LOG_INFO, "iteration %lld: train loss %.4f, val loss %.4f", (long long)r->iter, row.train_loss, row.val_loss);
    return sl_trainer_log(r, &row, err);
}

/* ---- one update ---- */

static sl_status accumulate(sl_trainer *r, int64_t passes, double *loss, sl_err *err)
{
    sl_tape *t = r->m->tape;
    sl_windows w = { r->c->ids, r->c->train_end, (uint64_t)r->t->seed, SL_RNG_BATCH };
    *loss = 0;
    for (int64_t i = 0; i < passes; i++) {
        sl_lm_windows(&w, (uint64_t)r->iter, i * r->micro_rows, &r->x, &r->y);
        sl_tape_reset(t);
        sl_tape_random(t, (uint64_t)r->t->seed, (uint64_t)(r->iter * passes + i));
        sl_var v = sl_gpt_train_loss(t, r->m, &r->x, &r->y);
        SL_TRY(sl_tape_status(t, err));
        if (!isfinite(sl_scalar(t, v)))
            return non_finite(r, "the loss", sl_scalar(t, v), err);
        *loss += sl_scalar(t, v) / (double)passes;
        SL_TRY(sl_tape_backward_scaled(t, v, 1. / (double)passes, err));
    }
    return SL_OK;
}

static sl_status update(sl_trainer *r, double *loss, sl_err *err)
{
    const sl_lm_train_config *t = r->t;
    sl_params_zero_grad(r->m->ps);
    SL_TRY(accumulate(r, t->gradient_accumulation_steps * (t->batch_size / r->micro_rows), loss, err));
    r->opt.lr = sl_schedule_at(&r->schedule, r->iter);
    r->opt.muon_lr = t->learning_rate > 0 ? t->muon_lr * r->opt.lr / t->learning_rate : 0;
    sl_status st = sl_optim_step(&r->opt, r->m->ps, NULL, err);
    if (st == SL_NUMERIC)
        sl_trainer_save_bad_batch(r);
    SL_TRY(st);
    r->iter++;
    return SL_OK;
}

static void report(const sl_trainer *r, double loss, double since, int64_t from)
{
    double spent = sl_lm_clock() - since, each = spent / (double)(r->iter - from);
    double tokens = (double)(r->t->batch_size * r->t->gradient_accumulation_steps * r->m->c.block_size);
    double left = each * (double)(r->t->max_iters - r->iter);
    if (r->t->max_seconds > 0 && left > r->t->max_seconds - sl_trainer_seconds(r))
        left = r->t->max_seconds - sl_trainer_seconds(r);
    sl_progress(r->m->ctx, "train lm", (double)r->iter, (double)r->t->max_iters, "iterations", "loss %.4f  best val %.4f  %.0f tokens/s  ETA %.0f s",
                loss, r->best_val, tokens / each, left > 0 ? left : 0);
}

/* ---- the loop ---- */

static bool evaluated(const sl_trainer *r) { return r->n_curve > 0 && r->curve[r->n_curve - 1].iter == r->iter; }

static sl_status stop_here(sl_trainer *r, sl_err *err)
{
    if (r->n_curve > 0) /* before the first evaluation there is nothing worth keeping */
        SL_TRY(sl_trainer_save(r, err));
    return sl_fail(err, SL_CANCELLED, r->dir, NULL, "stopped by a signal at iteration %lld of %lld; the same command goes on from there",
                   (long long)r->iter, (long long)r->t->max_iters);
}

static sl_status loop(sl_trainer *r, sl_err *err)
{
    const sl_lm_train_config *t = r->t;
    int64_t from = r->iter;
    double loss = NAN, since = sl_lm_clock();
    for (;;) {
        bool last = r->iter >= t->max_iters || (t->max_seconds > 0 && r->iter > 0 && sl_trainer_seconds(r) >= t->max_seconds);
        if ((last || r->iter % t->eval_interval == 0) && !evaluated(r))
            SL_TRY(evaluate(r, err));
        if (sl_cancelled(r->m->ctx))
            return stop_here(r, err);
        if (last)
            break;
        if (sl_lm_clock() - r->t_saved >= (double)t->checkpoint_seconds)
            SL_TRY(sl_trainer_save(r, err));
        SL_TRY(update(r, &loss, err));
        if (r->iter % t->log_interval == 0 || r->iter == t->max_iters)
            report(r, loss, since, from);
    }
    r->finished = true;
    return sl_trainer_save(r, err);
}

static void result(sl_trainer *r, sl_lm_result *out)
{
    *out = (sl_lm_result){ .final_train_loss = r->curve[r->n_curve - 1].train_loss, .best_val_loss = r->best_val,
                           .total_train_time = r->curve[r->n_curve - 1].seconds, .iters = r->iter, .n_curve = r->n_curve };
    out->tokens = r->iter * r->t->batch_size * r->t->gradient_accumulation_steps * r->m->c.block_size;
    out->curve = r->curve; /* given to the caller */
    r->curve = NULL;
}

sl_status sl_lm_train(sl_lm *m, const sl_corpus *c, const sl_lm_train_config *t, const char *dir, sl_lm_result *out, sl_err *err)
{
    sl_trainer r = { .m = m, .c = c, .t = t, .dir = dir, .t_start = sl_lm_clock(), .t_saved = sl_lm_clock() };
    sl_status st;
    *out = (sl_lm_result){ 0 };
    configure(&r);
    SL_TRY(check_corpus(&r, err));
    SL_GO(allocate(&r, err));
    SL_GO(sl_trainer_key(&r, err));
    SL_GO(sl_dir_make(dir, err));
    SL_GO(sl_trainer_resume(&r, err));
    if (!r.finished)
        SL_GO(loop(&r, err));
    copy_params(&r, false);
    result(&r, out);
done:
    sl_tape_reset(m->tape);
    release(&r);
    return st;
}
