/* The training loop. A step: batch, normalise, encode, decode, loss, backward, optimizer, dead latents. What is mathematics is in the
 * variants; what is files is in train_state.c. */
#include "io/io.h"
#include "sae/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { CURVE_POINTS = 200 };

const sl_opt sl_sae_train_opts[] = {
    SL_OPT_STR(sl_sae_train_config, variant, "topk", "kind of SAE: see `saelab sae variants`"),
    SL_OPT_INT(sl_sae_train_config, d_sae, 0, 0, 1 << 24, "latents", "width; 0: expansion * d_in"),
    SL_OPT_INT(sl_sae_train_config, expansion, 8, 1, 1024, "", "width in units of d_in"),
    SL_OPT_INT(sl_sae_train_config, steps, 10000, 1, 1000000000, "steps", "length of the run"),
    SL_OPT_INT(sl_sae_train_config, batch, 1024, 1, 1 << 20, "rows", "rows a step"),
    SL_OPT_INT(sl_sae_train_config, seed, 0, 0, 1e15, "", "of the first weights"),
    SL_OPT_INT(sl_sae_train_config, warmup, 500, 0, 1000000000, "steps", "linear rise of the learning rate; at most a tenth of the run"),
    SL_OPT_FLOAT(sl_sae_train_config, lr, 1e-3, 0, 10, "", "peak learning rate of Adam"),
    SL_OPT_FLOAT(sl_sae_train_config, decay_fraction, .2, 0, 1, "of the steps", "linear decay of the learning rate to 0 at the end"),
    SL_OPT_FLOAT(sl_sae_train_config, beta1, .9, 0, .99999, "", "Adam"),
    SL_OPT_FLOAT(sl_sae_train_config, beta2, .999, 0, .9999999, "", "Adam"),
    SL_OPT_FLOAT(sl_sae_train_config, clip, 1, 0, 1e9, "", "largest norm of the whole gradient; 0: no limit"),
    SL_OPT_INT(sl_sae_train_config, dead_window, 0, 0, 1e15, "rows", "without firing, then dead; 0: a tenth of the run, at most 1e7"),
    SL_OPT_BOOL(sl_sae_train_config, normalize, true, "subtract the mean, scale to mean square norm d_in (folded into the weights at the end)"),
    SL_OPT_INT(sl_sae_train_config, checkpoint_seconds, 60, 0, 1000000, "s", "between checkpoints; 0: only when stopped"),
    SL_OPT_END
};

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

static sl_status check(const sl_sae *s, const sl_act_source *acts, const sl_sae_train_config *c, sl_err *err)
{
    if (s->state == SL_SAE_READY)
        return sl_fail(err, SL_ARG, "sae", "a new one", "it was trained or loaded before");
    if (!s->W_enc->m.data)
        return sl_fail(err, SL_ARG, "sae", "one from sl_sae_new", "it was made without room for training");
    SL_TRY(sl_sae_check_options(sl_sae_train_opts, c, err));
    if (acts->info.d_in != s->d_in)
        return sl_fail(err, SL_SHAPE, "activations", "rows as wide as the SAE's d_in", "rows of %lld for an SAE of d_in %lld",
                       (long long)acts->info.d_in, (long long)s->d_in);
    if (acts->info.n_rows >= 0 && acts->info.n_rows < 2)
        return sl_fail(err, SL_DATA, "activations", "at least 2 rows", "there are %lld", (long long)acts->info.n_rows);
    return SL_OK;
}

static sl_status allocate(sl_sae_trainer *t, sl_err *err)
{
    size_t f = (size_t)t->s->d_sae;
    t->x = sl_alloc(t->ctx, (size_t)(t->batch * t->s->d_in) * sizeof *t->x);
    t->since = sl_alloc(t->ctx, f * sizeof *t->since);
    t->fired = sl_alloc(t->ctx, f);
    t->alive = sl_alloc(t->ctx, f);
    t->curve = sl_alloc(t->ctx, (size_t)(t->c->steps / t->log_every + 2) * sizeof *t->curve);
    if (!t->x || !t->since || !t->fired || !t->alive || !t->curve)
        return sl_fail(err, SL_MEM, "sae train", NULL, "no memory for batches of %lld rows", (long long)t->batch);
    return sl_tape_new(t->ctx, SL_F32, &t->tape, err);
}

static void plan(sl_sae_trainer *t)
{
    const sl_sae_train_config *c = t->c;
    int64_t n_rows = t->src->info.n_rows, tenth = c->steps / 10;
    t->batch = n_rows > 0 && n_rows < c->batch ? n_rows : c->batch;
    t->log_every = c->steps > CURVE_POINTS ? c->steps / CURVE_POINTS : 1;
    double run = (double)c->steps * (double)t->batch;
    t->window = c->dead_window > 0 ? c->dead_window : (int64_t)ceil(fmin(1e7, run / 10));
    t->optim = (sl_optim){ .kind = SL_OPTIM_ADAMW, .beta1 = c->beta1, .beta2 = c->beta2, .eps = 1e-8, .clip = c->clip };
    t->sched = (sl_schedule){ .kind = SL_SCHED_LINEAR_DECAY, .lr = c->lr, .warmup = c->warmup < tenth ? c->warmup : tenth, .steps = c->steps };
    t->sched.decay_start = c->steps - (int64_t)(c->decay_fraction * (double)c->steps);
}

static void take_names(sl_sae *s, const sl_act_info *i)
{
    snprintf(s->hook, sizeof s->hook, "%s", i->hook);
    snprintf(s->model, sizeof s->model, "%s", i->model);
    snprintf(s->dataset, sizeof s->dataset, "%s", i->dataset);
}

static sl_status start(sl_sae_trainer *t, sl_err *err)
{
    t->start = sl_clock();
    SL_TRY(sl_kern_get(t->ctx, SL_F32, &t->k, err));
    plan(t);
    SL_TRY(allocate(t, err));
    sl_sae_trainer_make_key(t);
    take_names(t->s, &t->src->info);
    t->s->state = SL_SAE_TRAINING;
    if (t->dir)
        SL_TRY(sl_dir_make(t->dir, err));
    SL_TRY(sl_sae_init(t->s, err));
    SL_TRY(sl_sae_trainer_prepare_data(t, err));
    return sl_sae_trainer_resume(t, err);
}

/* ---- a step ---- */

static void mark_fired(void *user, int64_t first_row, const sl_csr *part)
{
    sl_sae_trainer *t = user;
    (void)first_row;
    int64_t n = part->row_ptr[part->n_rows];
    for (int64_t i = 0; i < n; i++)
        t->fired[part->idx[i]] = 1;
    t->nnz += n;
}

static void count_dead(sl_sae_trainer *t)
{
    t->n_dead = 0;
    for (int64_t f = 0; f < t->s->d_sae; f++) {
        t->alive[f] = t->since[f] < t->window;
        t->n_dead += !t->alive[f];
    }
}

static void age_latents(sl_sae_trainer *t, int64_t n)
{
    for (int64_t f = 0; f < t->s->d_sae; f++)
        t->since[f] = t->fired[f] ? 0 : t->since[f] + n;
}

static bool is_logged(const sl_sae_trainer *t, int64_t step)
{
    return (step - 1) % t->log_every == 0 || step == t->c->steps;
}

static sl_status log_step(sl_sae_trainer *t, sl_var x, sl_var xhat, int64_t n, double loss, double lr, sl_err *err)
{
    double spread = sl_sae_spread(t->tape, x), rec = t->k->sq_dist(t->k, sl_value(t->tape, x), sl_value(t->tape, xhat));
    sl_sae_step row = { t->step + 1, t->samples + n, loss, spread > 0 ? rec / spread : NAN, (double)t->nnz / (double)n,
                        (double)t->n_dead / (double)t->s->d_sae, lr, sl_sae_trainer_seconds(t) };
    return sl_sae_trainer_log(t, &row, err);
}

static sl_status offended(sl_sae_trainer *t, const sl_act_batch *b, sl_status st)
{
    if (st == SL_NUMERIC)
        sl_sae_trainer_save_offender(t, b);
    return st;
}

static sl_status forward(sl_sae_trainer *t, const sl_act_batch *b, sl_tensor *rows, sl_var *loss, sl_err *err)
{
    sl_sae *s = t->s;
    sl_tensor alive = sl_tensor_of(SL_U8, t->alive, 1, s->d_sae);
    sl_sae_batch info = { .step = t->step, .steps = t->c->steps, .n = b->n, .d_bar = t->d_bar, .n_dead = t->n_dead, .alive = t->n_dead ? &alive : NULL };
    sl_tape_reset(t->tape);
    sl_var x = sl_const(t->tape, rows);
    sl_latents z = s->ops->encode(t->tape, s, x);
    sl_var xhat = sl_sae_reconstruct(t->tape, s, z);
    *loss = s->ops->loss(t->tape, s, x, z, xhat, &info);
    memset(t->fired, 0, (size_t)s->d_sae);
    t->nnz = 0;
    sl_latents_visit(t->tape, z, mark_fired, t);
    SL_TRY(sl_tape_status(t->tape, err));
    double value = sl_scalar(t->tape, *loss);
    if (!isfinite(value))
        return sl_fail(err, SL_NUMERIC, "loss", "a finite number", "step %lld: it is %g", (long long)t->step, value);
    if (is_logged(t, t->step + 1))
        return log_step(t, x, xhat, b->n, value, sl_schedule_at(&t->sched, t->step), err);
    return SL_OK;
}

static sl_status one_step(sl_sae_trainer *t, sl_err *err)
{
    sl_act_batch b;
    sl_tensor rows;
    sl_var loss;
    SL_TRY(sl_sae_trainer_next(t, t->batch, &b, err));
    sl_sae_trainer_normalize(t, &b, &rows);
    count_dead(t);
    SL_TRY(offended(t, &b, forward(t, &b, &rows, &loss, err)));
    sl_params_zero_grad(t->s->params);
    SL_TRY(offended(t, &b, sl_tape_backward(t->tape, loss, err)));
    t->optim.lr = sl_schedule_at(&t->sched, t->step);
    SL_TRY(offended(t, &b, sl_optim_step(&t->optim, t->s->params, NULL, err)));
    age_latents(t, b.n);
    t->step++;
    t->samples += b.n;
    return SL_OK;
}

static sl_status run(sl_sae_trainer *t, sl_err *err)
{
    double saved = sl_clock();
    while (t->step < t->c->steps) {
        int sig = sl_cancelled(t->ctx);
        if (sig) {
            SL_TRY(sl_sae_trainer_save(t, err));
            return sl_fail(err, SL_CANCELLED, "sae train", NULL, "stopped by signal %d after step %lld of %lld", sig, (long long)t->step, (long long)t->c->steps);
        }
        SL_TRY(one_step(t, err));
        const sl_sae_step *last = &t->curve[t->n_curve - 1];
        sl_progress(t->ctx, "train sae", (double)t->step, (double)t->c->steps, "steps", "loss %.4g  fvu %.3f  l0 %.1f  dead %.1f%%",
                    last->loss, last->fvu, last->l0, 100 * last->dead);
        if (t->c->checkpoint_seconds > 0 && sl_clock() - saved >= (double)t->c->checkpoint_seconds && t->step < t->c->steps) {
            SL_TRY(sl_sae_trainer_save(t, err));
            saved = sl_clock();
        }
    }
    SL_TRY(sl_sae_trainer_save(t, err)); /* so that the same call again returns at once */
    return sl_sae_trainer_fold(t, err);
}

static void finish(sl_sae_trainer *t, sl_sae_result *out)
{
    double seconds = sl_sae_trainer_seconds(t);
    *out = (sl_sae_result){ .last = t->curve[t->n_curve - 1], .seconds = seconds, .wait_share = seconds > 0 ? t->wait / seconds : 0,
                            .curve = t->curve, .n_curve = t->n_curve };
    t->curve = NULL;
}

sl_status sl_sae_train(sl_sae *s, sl_act_source *acts, const sl_sae_train_config *c, const char *dir, sl_sae_result *out, sl_err *err)
{
    *out = (sl_sae_result){ 0 };
    SL_TRY(check(s, acts, c, err));
    sl_sae_trainer t = { .ctx = s->ctx, .s = s, .src = acts, .c = c, .dir = dir };
    sl_status st = start(&t, err);
    if (st == SL_OK)
        st = run(&t, err);
    if (st == SL_OK)
        finish(&t, out);
    sl_tape_free(t.tape);
    sl_free(t.ctx, t.x);
    sl_free(t.ctx, t.mean);
    sl_free(t.ctx, t.since);
    sl_free(t.ctx, t.fired);
    sl_free(t.ctx, t.alive);
    sl_free(t.ctx, t.curve);
    return st;
}
