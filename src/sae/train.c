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
    if (s->stage == SL_SAE_READY)
        return sl_fail(err, SL_ARG, "sae", "a new one", "it was trained or loaded before");
    if (!s->W_dec->m.data)
        return sl_fail(err, SL_ARG, "sae", "one from sl_sae_new", "it was made without room for training");
    SL_TRY(sl_sae_check_options(sl_sae_train_opts, c, err));
    if (acts->info.d_in != s->d_in)
        return sl_fail(err, SL_SHAPE, "activations", "rows as wide as the SAE's d_in", "rows of %lld for an SAE of d_in %lld",
                       (long long)acts->info.d_in, (long long)s->d_in);
    int64_t d_out = s->ops->d_out ? acts->info.d_out : s->d_out;
    if (d_out != s->d_out)
        return sl_fail(err, SL_SHAPE, "activations", "rows with targets as wide as the SAE's d_out", "targets of %lld for a d_out of %lld",
                       (long long)d_out, (long long)s->d_out);
    if (acts->info.n_rows >= 0 && acts->info.n_rows < 2)
        return sl_fail(err, SL_DATA, "activations", "at least 2 rows", "there are %lld", (long long)acts->info.n_rows);
    return SL_OK;
}

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
    t->s->stage = SL_SAE_TRAINING;
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
    const float *val = part->val;
    for (int64_t i = 0; i < n; i++)
        t->seen.min_active = (double)val[i] < t->seen.min_active ? (double)val[i] : t->seen.min_active;
    t->seen.nnz += n;
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

static sl_status log_step(sl_sae_trainer *t, const sl_sae_pass *p, double loss, double lr, sl_err *err)
{
    double spread = sl_sae_spread(t->tape, p->y), rec = t->k->sq_dist(t->k, sl_value(t->tape, p->y), sl_value(t->tape, p->xhat));
    sl_sae_step row = { t->step + 1, t->samples + t->seen.n, loss, spread > 0 ? rec / spread : NAN, t->seen.l0,
                        (double)t->n_dead / (double)t->s->d_sae, lr, sl_sae_trainer_seconds(t) };
    return sl_sae_trainer_log(t, &row, err);
}

static sl_status offended(sl_sae_trainer *t, const sl_act_batch *b, sl_status st)
{
    if (st == SL_NUMERIC)
        sl_sae_trainer_save_offender(t, b);
    return st;
}

/* One step's passing things. */
typedef struct step {
    sl_tensor rows, targets, alive;
    sl_sae_batch batch;
    sl_sae_pass pass;
    sl_var loss;
} step;

static void prepare_step(sl_sae_trainer *t, const sl_act_batch *b, step *p)
{
    *p = (step){ .alive = sl_tensor_of(SL_U8, t->alive, 1, t->s->d_sae) };
    sl_sae_trainer_normalize(t, b, &p->rows, &p->targets);
    count_dead(t);
    p->batch = (sl_sae_batch){ .step = t->step, .steps = t->c->steps, .n = b->n, .d_bar = t->d_bar, .n_dead = t->n_dead, .alive = t->n_dead ? &p->alive : NULL };
}

static sl_status forward(sl_sae_trainer *t, step *p, sl_err *err)
{
    sl_sae *s = t->s;
    sl_tape_reset(t->tape);
    sl_var x = sl_const(t->tape, &p->rows);
    p->pass = sl_sae_forward(t->tape, s, x, t->has_target ? sl_const(t->tape, &p->targets) : x, &p->batch);
    p->loss = s->ops->loss(t->tape, s, &p->pass, &p->batch);
    memset(t->fired, 0, (size_t)s->d_sae);
    t->seen = (sl_sae_seen){ .n = p->batch.n, .min_active = INFINITY };
    sl_latents_visit(t->tape, p->pass.z, mark_fired, t);
    t->seen.l0 = (double)t->seen.nnz / (double)t->seen.n;
    SL_TRY(sl_tape_status(t->tape, err));
    double value = sl_scalar(t->tape, p->loss);
    if (!isfinite(value))
        return sl_fail(err, SL_NUMERIC, "loss", "a finite number", "step %lld: it is %g", (long long)t->step, value);
    if (is_logged(t, t->step + 1))
        return log_step(t, &p->pass, value, sl_schedule_at(&t->sched, t->step), err);
    return SL_OK;
}

static sl_status one_step(sl_sae_trainer *t, sl_err *err)
{
    sl_act_batch b;
    step p;
    SL_TRY(sl_sae_trainer_next(t, t->batch, &b, err));
    prepare_step(t, &b, &p);
    SL_TRY(offended(t, &b, forward(t, &p, err)));
    sl_params_zero_grad(t->s->params);
    SL_TRY(offended(t, &b, sl_tape_backward(t->tape, p.loss, err)));
    t->optim.lr = sl_schedule_at(&t->sched, t->step);
    SL_TRY(offended(t, &b, sl_optim_step(&t->optim, t->s->params, NULL, err)));
    if (t->s->ops->after_step) {
        t->s->ops->after_step(t->tape, t->s, &p.pass, &p.batch, &t->seen);
        SL_TRY(sl_tape_status(t->tape, err));
    }
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
    sl_free(t.ctx, t.in.buffer);
    sl_free(t.ctx, t.in.mean);
    sl_free(t.ctx, t.target.buffer);
    sl_free(t.ctx, t.target.mean);
    sl_free(t.ctx, t.since);
    sl_free(t.ctx, t.fired);
    sl_free(t.ctx, t.alive);
    sl_free(t.ctx, t.curve);
    return st;
}
