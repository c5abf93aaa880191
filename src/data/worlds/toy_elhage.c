/* Toy models of superposition (Elhage et al. 2022, transformer-circuits.pub/2022/toy_model): x in [0, 1]^n, x_i = U(0, 1) with probability
 * 1 - sparsity, else 0; x' = ReLU(W^T W x + b); loss sum_i I_i (x_i - x'_i)^2, I_i = importance^i. W [d, n] is trained when the world is
 * made (Adam), and a row of this world is the hidden layer h = W x. The direction of feature i is W_i / |W_i|, its code x_i |W_i|, so that
 * h = sum_i code_i dir_i: features that the model does not represent (|W_i| near 0) have codes near 0. */
#include "data/worlds/world.h"
#include "tape/tape.h"

#include <math.h>

typedef struct options { int64_t n, d, steps, batch; double sparsity, importance, lr; } options;

static const sl_opt opts[] = {
    SL_OPT_INT(options, n, 5, 1, 4096, "features", "features"),
    SL_OPT_INT(options, d, 2, 1, 4096, "columns", "width of the hidden layer"),
    SL_OPT_FLOAT(options, sparsity, .9, 0, .9999, "", "probability that a feature is 0"),
    SL_OPT_FLOAT(options, importance, .9, 1e-3, 1, "", "ratio of the importances of neighbours (.7 for 20 features in 5)"),
    SL_OPT_INT(options, steps, 10000, 0, 1e7, "steps", "of training W"),
    SL_OPT_INT(options, batch, 1024, 1, 1 << 20, "rows", "of training W"),
    SL_OPT_FLOAT(options, lr, 1e-3, 1e-9, 1, "", "learning rate of Adam"),
    SL_OPT_END
};

typedef struct state { float *norm; } state; /* [n] |W_i| */

typedef struct trainer {
    const options *o;
    sl_params *ps;
    sl_tape *tape;
    sl_param *W, *b;        /* [n, d], [n] */
    sl_tensor x, weight;    /* [batch, n]; [n] sqrt(I_i) */
} trainer;

static void draw_batch(const sl_world *w, trainer *t, int64_t step)
{
    float *x = t->x.data;
    int64_t n = t->o->n;
    sl_rng r = sl_world_rng(w, SL_USE_BATCH, 0, (uint64_t)step);
    for (int64_t i = 0; i < t->o->batch * n; i++) {
        bool on = sl_rng_uniform(&r) >= t->o->sparsity;
        x[i] = on ? (float)sl_rng_uniform(&r) : 0;
    }
}

static sl_status train_step(const sl_world *w, trainer *t, sl_optim *opt, int64_t step, sl_err *err)
{
    draw_batch(w, t, step);
    sl_tape_reset(t->tape);
    sl_params_zero_grad(t->ps);
    sl_var x = sl_const(t->tape, &t->x), W = sl_param_var(t->tape, t->W), root_I = sl_const(t->tape, &t->weight);
    sl_var h = sl_matmul(t->tape, x, W, false);
    sl_var out = sl_linear(t->tape, h, W, sl_param_var(t->tape, t->b), SL_ACT_RELU);
    sl_var loss = sl_sq_dist(t->tape, sl_mul_row(t->tape, x, root_I), sl_mul_row(t->tape, out, root_I));
    SL_TRY(sl_tape_backward_scaled(t->tape, loss, 1. / (double)t->o->batch, err));
    return sl_optim_step(opt, t->ps, NULL, err);
}

static sl_status train(sl_world *w, trainer *t, sl_err *err)
{
    const options *o = t->o;
    sl_optim opt = { .kind = SL_OPTIM_ADAMW, .lr = o->lr, .beta1 = .9, .beta2 = .999, .eps = 1e-8 };
    SL_TRY(sl_params_new(w->ctx, SL_F32, &t->ps, err));
    t->W = sl_params_add(t->ps, 0, "W", 2, o->n, o->d);
    t->b = sl_params_add(t->ps, 0, "b", 1, o->n);
    SL_TRY(sl_params_build(t->ps, true, err));
    SL_TRY(sl_tape_new(w->ctx, SL_F32, &t->tape, err));
    sl_param_normal(t->ps, t->W, w->seed, 1 / sqrt((double)o->d)); /* rows of norm about 1, as xavier_normal_ at n near d */
    float *x = sl_world_alloc(w, (size_t)(o->batch * o->n) * sizeof *x), *root = sl_world_alloc(w, (size_t)o->n * sizeof *root);
    if (!x || !root)
        return sl_world_no_memory(w, err);
    for (int64_t i = 0; i < o->n; i++)
        root[i] = (float)sqrt(pow(o->importance, (double)i));
    t->x = sl_tensor_of(SL_F32, x, 2, o->batch, o->n);
    t->weight = sl_tensor_of(SL_F32, root, 1, o->n);
    for (int64_t s = 0; s < o->steps; s++) {
        if (sl_cancelled(w->ctx))
            return sl_fail(err, SL_CANCELLED, w->ops->info.name, NULL, "stopped by a signal while its model was trained");
        SL_TRY(train_step(w, t, &opt, s, err));
        if (s % 100 == 99 || s + 1 == o->steps)
            sl_progress(w->ctx, "train toy model", (double)(s + 1), (double)o->steps, "steps", NULL);
    }
    return SL_OK;
}

/* Directions and norms of the rows of W. */
static bool take(sl_world *w, const trainer *t)
{
    int64_t n = t->o->n, d = t->o->d;
    state *s = sl_world_alloc(w, sizeof *s);
    float *dir = sl_world_alloc(w, (size_t)(n * d) * sizeof *dir), *norm = sl_world_alloc(w, (size_t)n * sizeof *norm);
    double *p = sl_world_alloc(w, (size_t)n * sizeof *p);
    if (!s || !dir || !norm || !p)
        return false;
    const float *W = t->W->value.data;
    for (int64_t i = 0; i < n; i++) {
        double sq = 0;
        for (int64_t j = 0; j < d; j++)
            sq += (double)W[i * d + j] * (double)W[i * d + j];
        norm[i] = (float)sqrt(sq);
        for (int64_t j = 0; j < d && sq > 0; j++)
            dir[i * d + j] = (float)((double)W[i * d + j] / sqrt(sq));
        p[i] = 1 - t->o->sparsity;
    }
    s->norm = norm;
    w->state = s;
    w->truth.n = n;
    w->truth.d = d;
    w->truth.dir = dir;
    w->truth.p = p;
    return sl_world_plain_features(w, n);
}

static sl_status build(sl_world *w, sl_err *err)
{
    trainer t = { .o = (const void *)w->opts };
    sl_status st = train(w, &t, err);
    if (st == SL_OK && !take(w, &t))
        st = sl_world_no_memory(w, err);
    sl_tape_free(t.tape);
    sl_params_free(t.ps);
    return st;
}

static void row(const sl_world *w, sl_world_row *r)
{
    const options *o = (const void *)w->opts;
    const state *s = w->state;
    for (int64_t i = 0; i < o->n; i++)
        if (sl_rng_uniform(&r->rng) >= o->sparsity)
            sl_world_put(r, (int32_t)i, sl_rng_uniform(&r->rng) * (double)s->norm[i]);
}

const sl_world_ops sl_world_toy_elhage = {
    .info = { .name = "toy_elhage", .what = "hidden layer of a trained toy model of superposition: 5 features of falling importance in 2 dimensions",
              .source = "Elhage et al. 2022", .opts = opts, .opts_size = sizeof(options) },
    .build = build, .row = row,
};
