/* The training loop: one SAE or many, step by step over shared batches. A group is the SAEs of one source: it reads a batch, and each of its
 * SAEs whose turn it is makes its step of it. The place in the data is a function of the step alone, so that SAEs which a kill left at different
 * steps meet again: the loop begins at the earliest, and those ahead wait. */
#include "sae/train.h"

#include <saelab/sweep.h>

#include <string.h>

typedef struct sweep {
    sl_ctx *ctx;
    sl_sweep_run *runs;
    sl_sae_trainer *t;      /* [n] */
    int n;
    int64_t step, steps;    /* steps done; of the longest training */
} sweep;

static bool goes_on(const sweep *w, int i) { return w->runs[i].status == SL_OK && w->t[i].step < w->t[i].steps; }
static bool is_due(const sweep *w, int i) { return goes_on(w, i) && w->t[i].step == w->step; }

/* ---- the start ---- */

static sl_status check(const sl_sweep_run *runs, int n, sl_err *err)
{
    if (n < 1)
        return sl_fail(err, SL_ARG, "sweep", "at least one SAE", "there is none to train");
    for (int i = 1; i < n; i++) {
        if (runs[i].sae->ctx != runs[0].sae->ctx)
            return sl_fail(err, SL_ARG, "sweep", "SAEs of one context", "SAE %d is of another context", i);
        for (int j = 0; j < i; j++)
            if (runs[i].acts == runs[j].acts && runs[i].train->batch != runs[j].train->batch)
                return sl_fail(err, SL_ARG, "batch", "one size for all SAEs of a source", "batches of %lld and of %lld rows", (long long)runs[j].train->batch,
                               (long long)runs[i].train->batch);
    }
    return SL_OK;
}

static bool same_norm(const sl_sae_norm *a, const sl_sae_norm *b)
{
    if (a->d != b->d || a->scale < b->scale || a->scale > b->scale || !a->mean != !b->mean)
        return false;
    return !a->mean || memcmp(a->mean, b->mean, (size_t)a->d * sizeof *a->mean) == 0;
}

/* Training i uses the buffers of the first before it that normalises the same rows alike. */
static void share_buffers(sweep *w, int i)
{
    sl_sae_trainer *t = &w->t[i];
    for (int j = 0; j < i && !t->like; j++) {
        sl_sae_trainer *o = &w->t[j];
        if (w->runs[j].status != SL_OK || o->like || o->src != t->src || o->has_target != t->has_target || !same_norm(&o->in, &t->in))
            continue;
        if (!t->has_target || same_norm(&o->target, &t->target))
            t->like = o;
    }
    if (!t->like)
        return;
    sl_free(w->ctx, t->in.buffer);
    sl_free(w->ctx, t->target.buffer);
    t->in.buffer = t->target.buffer = NULL;
}

static sl_status open_all(sweep *w, sl_err *err)
{
    w->step = INT64_MAX;
    for (int i = 0; i < w->n; i++) {
        sl_sae_trainer *t = &w->t[i];
        *t = (sl_sae_trainer){ .ctx = w->ctx, .s = w->runs[i].sae, .src = w->runs[i].acts, .c = w->runs[i].train, .dir = w->runs[i].dir,
                                .held_out = w->runs[i].held_out, .rows_at = -1 };
        t->pc = w->runs[i].perturb && sl_perturb_wanted(w->runs[i].perturb) ? w->runs[i].perturb : NULL;
        SL_TRY(sl_sae_trainer_open(t, err));
        share_buffers(w, i);
        w->steps = t->steps > w->steps ? t->steps : w->steps;
        if (goes_on(w, i) && t->step < w->step)
            w->step = t->step;
    }
    return SL_OK;
}

/* Every source to the rows that the next step wants. Opening left it where its last SAE stands. */
static sl_status seek_all(sweep *w, sl_err *err)
{
    for (int i = 0; i < w->n; i++)
        if (is_due(w, i))
            SL_TRY(w->t[i].src->seek(w->t[i].src, w->t[i].samples, err));
    return SL_OK;
}

/* ---- the loop ---- */

static void stop_one(sweep *w, int i, sl_status st, const sl_err *why)
{
    w->runs[i].status = st;
    w->runs[i].err = *why;
    if (w->n > 1 && st != SL_CANCELLED)
        sl_log(w->ctx, SL_LOG_WARN, "%s: stopped: %s", w->runs[i].dir ? w->runs[i].dir : w->t[i].s->ops->info.name, why->msg);
}

/* A step of SAE i and of those after it that read the same source. */
static sl_status group_step(sweep *w, int first, bool *done, sl_err *err)
{
    sl_sae_trainer *t = &w->t[first];
    sl_act_batch b;
    double waited = t->wait;
    SL_TRY(sl_sae_trainer_next(t, t->batch, &b, err));
    waited = t->wait - waited;
    for (int i = first; i < w->n; i++) {
        sl_err why;
        if (w->runs[i].acts != w->runs[first].acts || !is_due(w, i))
            continue;
        if (i > first)
            w->t[i].wait += waited;
        sl_status st = sl_sae_trainer_step(&w->t[i], &b, &why);
        done[i] = true;
        if (st != SL_OK)
            stop_one(w, i, st, &why);
    }
    return SL_OK;
}

static sl_status step_all(sweep *w, bool *done, sl_err *err)
{
    memset(done, 0, (size_t)w->n * sizeof *done);
    for (int i = 0; i < w->n; i++)
        if (!done[i] && is_due(w, i))
            SL_TRY(group_step(w, i, done, err));
    w->step++;
    return SL_OK;
}

static sl_status save_all(sweep *w, sl_err *err)
{
    for (int i = 0; i < w->n; i++)
        if (w->runs[i].status == SL_OK && w->t[i].step == w->step)
            SL_TRY(sl_sae_trainer_save(&w->t[i], err));
    return SL_OK;
}

static void show(const sweep *w)
{
    const sl_sae_trainer *t = w->t;
    double least = 0, most = 0;
    int running = 0;
    for (int i = 0; i < w->n; i++) {
        double fvu = t[i].n_curve ? t[i].curve[t[i].n_curve - 1].fvu : 0;
        if (w->runs[i].status != SL_OK || !t[i].n_curve)
            continue;
        least = running == 0 || fvu < least ? fvu : least;
        most = running == 0 || fvu > most ? fvu : most;
        running++;
    }
    if (running == 0)
        return;
    const sl_sae_step *last = &t->curve[t->n_curve - 1];
    if (w->n == 1)
        sl_progress(w->ctx, "train sae", (double)w->step, (double)w->steps, "steps", "loss %.4g  fvu %.3f  l0 %.1f  dead %.1f%%", last->loss, last->fvu,
                    last->l0, 100 * last->dead);
    else
        sl_progress(w->ctx, "train sweep", (double)w->step, (double)w->steps, "steps", "%d SAEs  fvu %.3f to %.3f", running, least, most);
}

static bool any_left(const sweep *w)
{
    for (int i = 0; i < w->n; i++)
        if (goes_on(w, i))
            return true;
    return false;
}

static sl_status run_all(sweep *w, bool *done, sl_err *err)
{
    double saved = sl_clock(), every = (double)w->runs[0].train->checkpoint_seconds;
    SL_TRY(seek_all(w, err));
    while (any_left(w)) {
        int sig = sl_cancelled(w->ctx);
        if (sig) {
            SL_TRY(save_all(w, err));
            return sl_fail(err, SL_CANCELLED, w->n == 1 ? "sae train" : "sweep", NULL, "stopped by signal %d after step %lld of %lld", sig, (long long)w->step,
                           (long long)w->steps);
        }
        SL_TRY(step_all(w, done, err));
        show(w);
        for (int i = 0; i < w->n; i++) /* so that the same call again returns at once */
            if (w->runs[i].status == SL_OK && w->t[i].step == w->step && w->t[i].step == w->t[i].steps)
                SL_TRY(sl_sae_trainer_save(&w->t[i], err));
        if (every > 0 && sl_clock() - saved >= every && any_left(w)) {
            SL_TRY(save_all(w, err));
            saved = sl_clock();
        }
    }
    return SL_OK;
}

/* ---- the end ---- */

/* Folding takes what SAEs that share buffers share, so it waits for all of them. */
static void finish_all(sweep *w)
{
    for (int i = 0; i < w->n; i++) {
        sl_err why;
        if (w->runs[i].status != SL_OK)
            continue;
        sl_status st = sl_sae_trainer_finish(&w->t[i], &why);
        if (st != SL_OK)
            stop_one(w, i, st, &why);
        else {
            st = w->t[i].perturb ? sl_sae_trainer_report(&w->t[i], &w->runs[i].perturbed) : SL_OK;
            sl_sae_trainer_result(&w->t[i], &w->runs[i].result);
            if (st != SL_OK)
                stop_one(w, i, st, &(sl_err){ .msg = "no memory for the report of early stopping" });
        }
    }
}

static void fail_all(sweep *w, sl_status st, const sl_err *err)
{
    for (int i = 0; i < w->n; i++)
        if (w->runs[i].status == SL_OK) {
            w->runs[i].status = st;
            w->runs[i].err = *err;
        }
}

sl_status sl_sae_train_many(sl_sweep_run *runs, int n, sl_err *err)
{
    sl_err why = { .msg = "" };
    SL_TRY(check(runs, n, err));
    sweep w = { .ctx = runs[0].sae->ctx, .runs = runs, .n = n };
    for (int i = 0; i < n; i++) {
        runs[i].status = SL_OK;
        runs[i].result = (sl_sae_result){ 0 };
        runs[i].perturbed = (sl_perturb_result){ 0 };
    }
    w.t = sl_alloc(w.ctx, (size_t)n * sizeof *w.t);
    bool *done = sl_alloc(w.ctx, (size_t)n * sizeof *done);
    sl_status st = w.t && done ? open_all(&w, &why) : sl_fail(&why, SL_MEM, "sweep", NULL, "no memory for %d SAEs", n);
    if (st == SL_OK)
        st = run_all(&w, done, &why);
    if (st == SL_OK)
        finish_all(&w);
    else
        fail_all(&w, st, &why);
    for (int i = 0; w.t && i < n; i++)
        sl_sae_trainer_close(&w.t[i]);
    sl_free(w.ctx, done);
    sl_free(w.ctx, w.t);
    if (n == 1 && st == SL_OK && runs[0].status != SL_OK) {
        st = runs[0].status;
        why = runs[0].err;
    }
    if (st != SL_OK && err)
        *err = why;
    return st;
}

sl_status sl_sae_train(sl_sae *s, sl_act_source *acts, const sl_sae_train_config *c, const char *dir, sl_sae_result *out, sl_err *err)
{
    return sl_sae_train_perturbed(s, acts, c, NULL, dir, out, NULL, err);
}

sl_status sl_sae_train_perturbed(sl_sae *s, sl_act_source *acts, const sl_sae_train_config *c, const sl_perturb_config *p, const char *dir,
                                 sl_sae_result *out, sl_perturb_result *report, sl_err *err)
{
    sl_sweep_run one = { .sae = s, .acts = acts, .train = c, .dir = dir, .perturb = p };
    sl_status st = sl_sae_train_many(&one, 1, err);
    *out = one.result;
    if (report)
        *report = one.perturbed;
    else
        sl_perturb_result_release(s->ctx, &one.perturbed);
    return st;
}
