/* Gradients of every variant's loss, every tensor, in f64 against central differences; AuxK with some latents dead. */
#include "loss.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { B = 6, D = 7, F = 16 };

typedef struct problem {
    sl_sae *s;
    double x[B * D], residual[B * D];
    uint8_t alive[F];
    sl_tensor xt, alive_t, residual_t;
    sl_sae_batch batch;
    bool flip;
} problem;

static void fill(double *v, int n, uint64_t row)
{
    sl_rng g = sl_rng_at(5, SL_RNG_TEST, 7, row);
    for (int i = 0; i < n; i++)
        v[i] = sl_rng_normal(&g);
}

static void start(problem *p, sl_ctx *ctx, const char *variant, const void *opts)
{
    sl_err err;
    memset(p, 0, sizeof *p);
    sl_assert_ok(sl_sae_make(ctx, variant, D, F, opts, 3, SL_F64, true, &p->s, &err));
    fill(p->s->W_enc->value.data, F * D, 1); /* not tied, decoder rows not of norm 1: nothing cancels by luck */
    fill(p->s->W_dec->value.data, F * D, 2);
    fill(p->s->b_enc->value.data, F, 3);
    fill(p->s->b_dec->value.data, D, 4);
    fill(p->x, B * D, 5);
    p->xt = sl_tensor_of(SL_F64, p->x, 2, (int64_t)B, (int64_t)D);
    p->batch = (sl_sae_batch){ .step = 3, .steps = 100, .n = B, .d_bar = 5.5 };
}

/* Every third latent alive, and a residual of its own, as AuxK's target takes no gradient. */
static void some_dead(problem *p)
{
    for (int f = 0; f < F; f++) {
        p->alive[f] = f % 3 == 0;
        p->batch.n_dead += !p->alive[f];
    }
    fill(p->residual, B * D, 6);
    p->alive_t = sl_tensor_of(SL_U8, p->alive, 1, (int64_t)F);
    p->residual_t = sl_tensor_of(SL_F64, p->residual, 2, (int64_t)B, (int64_t)D);
    p->batch.alive = &p->alive_t;
    p->batch.residual = &p->residual_t;
}

static sl_var build(sl_tape *t, void *user)
{
    problem *p = user;
    return loss_to_check(t, p->s, &p->xt, &p->xt, &p->batch, p->flip);
}

static sl_gradcheck run(sl_ctx *ctx, problem *p)
{
    sl_err err;
    sl_gradcheck out = { 0 };
    sl_assert_ok(sl_params_check(ctx, p->s->params, build, p, 1, &out, &err));
    assert_int_equal(out.n_checked, 2 * F * D + F + D);
    return out;
}

static void check(const char *variant, const void *opts, bool dead)
{
    sl_ctx *ctx = sl_test_ctx(1);
    problem p;
    start(&p, ctx, variant, opts);
    if (dead)
        some_dead(&p);
    sl_gradcheck g = run(ctx, &p);
    if (!(g.max_rel_err < 1e-6))
        fail_msg("%s: relative error %g: %s", variant, g.max_rel_err, g.worst);
    p.flip = true;
    assert_true(run(ctx, &p).max_rel_err > .5);
    sl_sae_free(p.s);
    sl_ctx_free(ctx);
}

static void standard_unit(void **state)
{
    (void)state;
    check("standard", &(sl_standard_options){ .l1 = .7, .l1_warmup = .5, .decoder = 0 }, false);
}

static void standard_free(void **state)
{
    (void)state;
    check("standard", &(sl_standard_options){ .l1 = .7, .l1_warmup = 0, .decoder = 1 }, false);
}

static void topk(void **state)
{
    (void)state;
    check("topk", &(sl_topk_options){ .k = 4, .k_aux = 3, .aux_alpha = .5 }, false);
}

static void topk_with_auxk(void **state)
{
    (void)state;
    check("topk", &(sl_topk_options){ .k = 4, .k_aux = 3, .aux_alpha = .5 }, true);
}

/* The loss itself, by hand: D = 1, F = 2, x = 3, W_enc = (1, -1), W_dec = (2, 1), b_dec = 1, b_enc = 0: z = (2, 0), x^ = 5,
 * L = (3 - 5)^2 / d_bar + l1 min(1, (step + 1) / (warmup steps)) z |d| / sqrt(d_bar), with |d| = 2 when the decoder is free. */
static double loss_of(sl_ctx *ctx, const char *variant, const void *opts, const sl_sae_batch *b)
{
    sl_err err;
    sl_sae *s;
    sl_assert_ok(sl_sae_make(ctx, variant, 1, 2, opts, 0, SL_F64, true, &s, &err));
    memcpy(s->W_enc->value.data, (double[]){ 1, -1 }, 16);
    memcpy(s->W_dec->value.data, (double[]){ 2, 1 }, 16);
    memcpy(s->b_dec->value.data, (double[]){ 1 }, 8);
    double x = 3;
    sl_tensor xt = sl_tensor_of(SL_F64, &x, 2, (int64_t)1, (int64_t)1);
    sl_tape *t;
    sl_assert_ok(sl_tape_new(ctx, SL_F64, &t, &err));
    sl_var v = sl_const(t, &xt);
    sl_sae_pass p = sl_sae_forward(t, s, v, v, b);
    double l = sl_scalar(t, s->ops->loss(t, s, &p, b));
    sl_assert_ok(sl_tape_status(t, &err));
    sl_tape_free(t);
    sl_sae_free(s);
    return l;
}

static void losses_by_hand(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_sae_batch b = { .step = 3, .steps = 10, .n = 1, .d_bar = 4 };
    double unit = loss_of(ctx, "standard", &(sl_standard_options){ .l1 = .3, .l1_warmup = 0, .decoder = 0 }, &b);
    double norm = loss_of(ctx, "standard", &(sl_standard_options){ .l1 = .3, .l1_warmup = 0, .decoder = 1 }, &b);
    double warm = loss_of(ctx, "standard", &(sl_standard_options){ .l1 = .3, .l1_warmup = .8, .decoder = 0 }, &b);
    double top = loss_of(ctx, "topk", &(sl_topk_options){ .k = 1, .aux_alpha = 1 }, &b);
    sl_assert_close_f64("unit", &unit, &(double){ 1 + .3 * 2 / 2 }, 1, 1e-12, 0);
    sl_assert_close_f64("free", &norm, &(double){ 1 + .3 * 4 / 2 }, 1, 1e-12, 0);
    sl_assert_close_f64("warm-up", &warm, &(double){ 1 + .3 * .5 * 2 / 2 }, 1, 1e-12, 0);
    sl_assert_close_f64("topk", &top, &(double){ 1 }, 1, 1e-12, 0);
    sl_ctx_free(ctx);
}

/* AuxK by hand: two rows x = (1, 3), D = 1. W_enc = (1, 2), W_dec = (1, 1), k = 1: latent 0 is alive, so that z uses latent 1 (the larger
 * pre-activation): x^ = 2x, e = (-1, -3), mean -2, spread 2. Latent 0 is made the dead one: e^ = x, |e - e^|^2 = 4 + 36. */
static void auxk_by_hand(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae *s;
    sl_assert_ok(sl_sae_make(ctx, "topk", 1, 2, &(sl_topk_options){ .k = 1, .aux_alpha = .25 }, 0, SL_F64, true, &s, &err));
    memcpy(s->W_enc->value.data, (double[]){ 1, 2 }, 16);
    memcpy(s->W_dec->value.data, (double[]){ 1, 1 }, 16);
    double x[2] = { 1, 3 };
    uint8_t alive[2] = { 0, 1 };
    sl_tensor xt = sl_tensor_of(SL_F64, x, 2, (int64_t)2, (int64_t)1), at = sl_tensor_of(SL_U8, alive, 1, (int64_t)2);
    sl_sae_batch b = { .step = 0, .steps = 10, .n = 2, .d_bar = 5, .n_dead = 1, .alive = &at };
    sl_tape *t;
    sl_assert_ok(sl_tape_new(ctx, SL_F64, &t, &err));
    sl_var v = sl_const(t, &xt);
    sl_sae_pass p = sl_sae_forward(t, s, v, v, &b);
    double l = sl_scalar(t, s->ops->loss(t, s, &p, &b));
    sl_assert_close_f64("loss", &l, &(double){ (1. + 9) / (2 * 5) + .25 * 40 / 2 }, 1, 1e-12, 0);
    sl_tape_free(t);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

static double value_and_grad(sl_ctx *ctx, problem *p, double grad[F * D])
{
    sl_err err;
    sl_tape *t;
    sl_assert_ok(sl_tape_new(ctx, SL_F64, &t, &err));
    sl_params_zero_grad(p->s->params);
    sl_var loss = build(t, p);
    double value = sl_scalar(t, loss);
    sl_assert_ok(sl_tape_backward(t, loss, &err));
    sl_assert_ok(sl_params_dense(p->s->params, &err));
    memcpy(grad, p->s->W_dec->grad.data, F * D * sizeof *grad);
    sl_tape_free(t);
    return value;
}

/* AuxK in plain loops: the m largest positive pre-activations among the dead, decoded without bias, against e. */
static double plain_auxk(const problem *p, const double *e, int m, double alpha)
{
    const double *We = p->s->W_enc->value.data, *be = p->s->b_enc->value.data, *Wd = p->s->W_dec->value.data, *c = p->s->b_dec->value.data;
    double sum = 0, mean[D] = { 0 }, spread = 0;
    for (int i = 0; i < B * D; i++)
        mean[i % D] += e[i] / B;
    for (int i = 0; i < B * D; i++)
        spread += (e[i] - mean[i % D]) * (e[i] - mean[i % D]);
    for (int r = 0; r < B; r++) {
        double a[F], left[D];
        memcpy(left, e + r * D, sizeof left);
        for (int f = 0; f < F; f++) {
            a[f] = p->alive[f] ? -1 : be[f];
            for (int j = 0; j < D && !p->alive[f]; j++)
                a[f] += We[f * D + j] * (p->x[r * D + j] - c[j]);
        }
        for (int q = 0; q < m; q++) {
            int best = 0;
            for (int f = 1; f < F; f++)
                best = a[f] > a[best] ? f : best;
            for (int j = 0; j < D && a[best] > 0; j++)
                left[j] -= a[best] * Wd[best * D + j];
            a[best] = -1;
        }
        for (int j = 0; j < D; j++)
            sum += left[j] * left[j];
    }
    return alpha * sum / spread;
}

/* With the step's own residual: the value of plain loops for several k_aux, and no gradient through the residual. */
static void auxk_of_the_steps_residual(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    for (int k_aux = 0; k_aux <= 12; k_aux += 3) { /* 0: d_in / 2 = 3; 12: more than the 10 that are dead */
        problem p;
        double own[F * D], frozen[F * D], e[B * D], none[F * D];
        start(&p, ctx, "topk", &(sl_topk_options){ .k = 4, .k_aux = k_aux, .aux_alpha = .5 });
        double without = value_and_grad(ctx, &p, none);
        some_dead(&p);
        p.batch.residual = NULL;
        double with = value_and_grad(ctx, &p, own);
        sl_err err;
        sl_tape *t;
        sl_assert_ok(sl_tape_new(ctx, SL_F64, &t, &err));
        sl_var x = sl_const(t, &p.xt);
        const double *y = sl_value(t, sl_sae_forward(t, p.s, x, x, NULL).xhat)->data;
        for (int i = 0; i < B * D; i++)
            p.residual[i] = e[i] = p.x[i] - y[i];
        sl_tape_free(t);
        double expected = plain_auxk(&p, e, k_aux == 0 ? D / 2 : k_aux, .5), got = with - without;
        sl_assert_close_f64("AuxK", &got, &expected, 1, 1e-10, 1e-10);
        p.batch.residual = &p.residual_t;
        value_and_grad(ctx, &p, frozen);
        sl_assert_close_f64("gradient", own, frozen, F * D, 1e-12, 1e-10);
        assert_memory_not_equal(own, none, sizeof own);
        sl_sae_free(p.s);
    }
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(standard_unit), cmocka_unit_test(standard_free), cmocka_unit_test(topk), cmocka_unit_test(topk_with_auxk),
        cmocka_unit_test(losses_by_hand), cmocka_unit_test(auxk_by_hand),
        cmocka_unit_test(auxk_of_the_steps_residual),
    };
    return cmocka_run_group_tests_name("sae_grad", tests, NULL, NULL);
}
