/* Losses of the penalty variants, transcoders and the nonlinear decoder by hand, and what their formulas promise beyond gradients. */
#include "support.h"

#include "sae/autotune.h"

#include <math.h>
#include <string.h>

typedef struct weight { const char *name; double v[6]; int n; } weight;

static sl_sae *made(sl_ctx *ctx, const char *variant, int64_t d_in, int64_t d_sae, const void *opts, const weight *w)
{
    sl_err err;
    sl_sae *s;
    sl_assert_ok(sl_sae_make(ctx, variant, d_in, d_sae, opts, 0, SL_F64, true, &s, &err));
    for (; w->name; w++) {
        sl_param *p = sl_params_find(s->params, w->name);
        assert_non_null(p);
        assert_int_equal(sl_numel(&p->value), w->n);
        memcpy(p->value.data, w->v, (size_t)w->n * sizeof(double));
    }
    return s;
}

/* Loss of one row x (with target y, or NULL) of one number; z and x^ may be NULL. */
static double loss_of(sl_sae *s, double x, const double *y, const sl_sae_batch *b, double *z, double *xhat)
{
    sl_err err;
    sl_tape *t;
    sl_tensor xt = sl_tensor_of(SL_F64, &x, 2, (int64_t)1, (int64_t)1), yt = sl_tensor_of(SL_F64, (void *)(uintptr_t)y, 2, (int64_t)1, (int64_t)1);
    sl_assert_ok(sl_tape_new(s->ctx, SL_F64, &t, &err));
    sl_var v = sl_const(t, &xt);
    sl_sae_pass p = sl_sae_forward(t, s, v, y ? sl_const(t, &yt) : v, b);
    double l = sl_scalar(t, s->ops->loss(t, s, &p, b));
    sl_assert_ok(sl_tape_status(t, &err));
    if (z)
        memcpy(z, sl_value(t, p.z.dense)->data, (size_t)s->d_sae * sizeof *z);
    if (xhat)
        *xhat = *(const double *)sl_value(t, p.xhat)->data;
    sl_tape_free(t);
    return l;
}

static void assert_is(const char *what, double got, double expected)
{
    sl_assert_close_f64(what, &got, &expected, 1, 1e-12, 1e-12);
}

/* x = 3, b_dec = 1: a = (2, 1, -2), theta = (.5, 1.5, .5): z = (2, 0, 0), x^ = 1 + 2 * .5 = 2, |x - x^|^2 / d_bar = 1/4. */
static const weight three[] = {
    { "W_enc", { 1, .5, -1 }, 3 }, { "W_dec", { .5, 1, 1 }, 3 }, { "b_dec", { 1 }, 1 }, { "threshold", { .5, 1.5, .5 }, 3 }, { NULL, { 0 }, 0 }
};

static void jumprelu(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_sae_batch b = { .step = 3, .steps = 10, .n = 1, .d_bar = 4 };
    sl_jumprelu_options o = { .penalty = 0, .weight = .3, .target_l0 = 4, .bandwidth = .1, .threshold = .1, .tanh_scale = 2 };
    double z[3];
    sl_sae *s = made(ctx, "jumprelu", 1, 3, &o, three);
    assert_is("target", loss_of(s, 3, NULL, &b, z, NULL), .25 + .3 * .75 * .75);
    sl_assert_close_f64("z", z, (double[]){ 2, 0, 0 }, 3, 0, 0);
    sl_sae_free(s);
    o.penalty = 1;
    o.l0_warmup = .8; /* step 4 of 8 */
    s = made(ctx, "jumprelu", 1, 3, &o, three);
    assert_is("l0, half warm", loss_of(s, 3, NULL, &b, NULL, NULL), .25 + .3 * .5 * 1);
    s->state[SL_TUNE_LOG] = log(4);
    assert_is("l0, tuned", loss_of(s, 3, NULL, &b, NULL, NULL), .25 + .3 * .5 * 4 * 1);
    sl_sae_free(s);
    o = (sl_jumprelu_options){ .penalty = 2, .weight = .3, .bandwidth = .1, .threshold = .1, .tanh_scale = 2, .pre_act = .01 };
    s = made(ctx, "jumprelu", 1, 3, &o, three);
    assert_is("tanh", loss_of(s, 3, NULL, &b, NULL, NULL), .25 + .3 * tanh(4));
    s->W_dec->flags &= ~(unsigned)SL_PARAM_UNIT_ROWS; /* a recipe with free rows: z |d| = 1 */
    assert_is("tanh, free rows", loss_of(s, 3, NULL, &b, NULL, NULL), .25 + .3 * tanh(2));
    uint8_t alive[3] = { 1, 0, 0 };
    sl_tensor at = sl_tensor_of(SL_U8, alive, 1, (int64_t)3);
    b.n_dead = 2;
    b.alive = &at;
    assert_is("dead latents", loss_of(s, 3, NULL, &b, NULL, NULL), .25 + .3 * tanh(2) + .01 * (.5 + 2.5));
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

/* dictionary_learning's step on z sees z_1 = 0 where the pre-activation 1 is within the window of theta 1.5: another gradient, the same loss. */
static double theta_grad(sl_ctx *ctx, const sl_recipe *recipe, double grad[3])
{
    sl_err err;
    sl_tape *t;
    sl_jumprelu_options o = { .penalty = 1, .weight = 1, .bandwidth = 2, .threshold = .1, .tanh_scale = 1 };
    sl_sae *s = made(ctx, "jumprelu", 1, 3, &o, three);
    if (recipe)
        s->recipe = recipe;
    sl_sae_batch b = { .step = 3, .steps = 10, .n = 1, .d_bar = 1 };
    double x = 3;
    sl_tensor xt = sl_tensor_of(SL_F64, &x, 2, (int64_t)1, (int64_t)1);
    sl_assert_ok(sl_tape_new(ctx, SL_F64, &t, &err));
    sl_var v = sl_const(t, &xt);
    sl_sae_pass p = sl_sae_forward(t, s, v, v, &b);
    sl_var l = s->ops->loss(t, s, &p, &b);
    double value = sl_scalar(t, l);
    sl_assert_ok(sl_tape_backward(t, l, &err));
    memcpy(grad, s->extra[0]->grad.data, 3 * sizeof *grad);
    sl_tape_free(t);
    sl_sae_free(s);
    return value;
}

/* Window 2: a - theta = (1.5, -.5, -2.5): only latent 1 is in it. dL/dx^ = -2 (x - x^) = -2, so dz = (-1, -2, -2) and
 * dtheta_1 = -(1.5 / 2) dz_1 - 1 / 2 = 1. On z, z - theta = (1.5, -1.5, -.5): the step has latent 2 instead. */
static void step_on_pre_activations_or_on_codes(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    double ours[3], theirs[3];
    int i = 0;
    while (strcmp(sl_recipe_at(i)->name, "dictionary_learning") != 0)
        i++;
    assert_is("value", theta_grad(ctx, NULL, ours), theta_grad(ctx, sl_recipe_at(i), theirs));
    sl_assert_close_f64("saelab", ours, (double[]){ 0, 1, 0 }, 3, 1e-12, 0);
    sl_assert_close_f64("dictionary_learning", theirs, (double[]){ 0, 1.5, -.5 }, 3, 1e-12, 0);
    sl_ctx_free(ctx);
}

/* Two latents, x = 3, b_dec = 1: pi = (2, 1) + (-.5, -2) = (1.5, -1); e^r = (2, 1): m_0 = 2 * 2 - 1 = 3. z = (3, 0), x^ = 2.5.
 * Auxiliary: ReLU(pi) = 1.5 -> x^ = 1.75. */
static void gated(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_sae_batch b = { .step = 3, .steps = 10, .n = 1, .d_bar = 4 };
    sl_gated_options o = { .l1 = .3, .l1_warmup = .8 };
    const weight w[] = { { "W_enc", { 1, .5 }, 2 }, { "b_enc", { -.5, -2 }, 2 }, { "W_dec", { .5, 1 }, 2 }, { "b_dec", { 1 }, 1 },
                         { "r_mag", { log(2), 0 }, 2 }, { "b_mag", { -1, 5 }, 2 }, { NULL, { 0 }, 0 } };
    double z[2], xhat;
    sl_sae *s = made(ctx, "gated", 1, 2, &o, w);
    assert_is("loss", loss_of(s, 3, NULL, &b, z, &xhat), (.5 * .5 + 1.25 * 1.25) / 4 + .3 * .5 * 1.5 / 2);
    sl_assert_close_f64("z", z, (double[]){ 3, 0 }, 2, 1e-12, 0);
    assert_is("x^", xhat, 2.5);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

/* A gated SAE is the JumpReLU of its magnitudes with threshold max(b_mag - e^r b_gate, 0). */
static void gated_is_a_jumprelu(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    const weight w[] = { { "W_enc", { 1, .5, -1 }, 3 }, { "b_enc", { -.5, -2, .3 }, 3 }, { "W_dec", { .5, 1, 1 }, 3 }, { "b_dec", { 1 }, 1 },
                         { "r_mag", { .4, -.3, .1 }, 3 }, { "b_mag", { -.2, .4, 1 }, 3 }, { NULL, { 0 }, 0 } };
    double g[3], c[3];
    for (int f = 0; f < 3; f++) {
        g[f] = exp(w[4].v[f]);
        c[f] = fmax(w[5].v[f] - g[f] * w[1].v[f], 0);
    }
    const weight same[] = { { "W_enc", { g[0], .5 * g[1], -g[2] }, 3 }, { "b_enc", { -.2, .4, 1 }, 3 }, { "W_dec", { .5, 1, 1 }, 3 },
                            { "b_dec", { 1 }, 1 }, { "threshold", { c[0], c[1], c[2] }, 3 }, { NULL, { 0 }, 0 } };
    sl_gated_options go = { .l1 = .3 };
    sl_jumprelu_options jo = { .penalty = 1, .weight = .3, .bandwidth = .1, .threshold = .1, .tanh_scale = 1 };
    sl_sae *s = made(ctx, "gated", 1, 3, &go, w), *j = made(ctx, "jumprelu", 1, 3, &jo, same);
    sl_sae_batch b = { .step = 3, .steps = 10, .n = 1, .d_bar = 4 };
    int active = 0;
    for (double x = -8; x < 8; x += .37) {
        double a[3], z[3];
        loss_of(s, x, NULL, &b, a, NULL);
        loss_of(j, x, NULL, &b, z, NULL);
        sl_assert_close_f64("z", a, z, 3, 1e-12, 1e-12);
        active += (a[0] > 0) + (a[1] > 0) + (a[2] > 0);
    }
    assert_true(active > 20);
    sl_sae_free(s);
    sl_sae_free(j);
    sl_ctx_free(ctx);
}

/* z = (2, 1, 0): penalties sum to 3 under p = 1 and to r = 2^.5 + 1 (each with its offset) under p = .5. */
static void p_anneal(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_p_anneal_options o = { .l1 = .3, .p_end = .5, .anneal_start = .2, .anneal_end = .6, .updates = 1 };
    sl_sae *s = made(ctx, "p_anneal", 1, 3, &o, (const weight[]){ three[0], three[1], three[2], { NULL, { 0 }, 0 } });
    const double r = sqrt(2.000001) + sqrt(1.000001) - 2e-3;
    double x = 3;
    sl_tensor xt = sl_tensor_of(SL_F64, &x, 2, (int64_t)1, (int64_t)1);
    sl_tape *t;
    sl_assert_ok(sl_tape_new(ctx, SL_F64, &t, &err));
    for (int64_t step = 0; step < 100; step++) { /* p moves once, when step 60 begins */
        sl_sae_batch b = { .step = step, .steps = 100, .n = 1, .d_bar = 4 };
        sl_tape_reset(t);
        sl_var v = sl_const(t, &xt);
        sl_sae_pass p = sl_sae_forward(t, s, v, v, &b);
        double l = sl_scalar(t, s->ops->loss(t, s, &p, &b));
        double scale = step < 60 ? 1 : 3 / r, sum = step < 60 ? 3 : r;
        assert_is("loss", l, .3 * scale * sum / 2); /* x^ = 1 + .5 * 2 + 1 = 3: nothing else; 3 * scale stays */
        s->ops->after_step(t, s, &p, &b, &(sl_sae_seen){ .n = 1, .l0 = 2 });
        sl_assert_ok(sl_tape_status(t, &err));
    }
    assert_is("weight", s->ops->l1(s), .3 * 3 / r);
    sl_tape_free(t);
    sl_sae_free(s);
    o.anneal_end = .1;
    sl_assert_fails(sl_sae_make(ctx, "p_anneal", 1, 3, &o, 0, SL_F64, true, &s, &err), SL_ARG, "anneal_end");
    sl_ctx_free(ctx);
}

/* Not centred: z = (3, 1.5, 0), y^ = 1 + 1.5 + 1.5 = 4, with the skip 4 + 2 * 3 = 10; y = 5. */
static void transcoders(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_sae_batch b = { .step = 3, .steps = 10, .n = 1, .d_bar = 4 };
    sl_transcoder_options o = { .activation = 0, .l1 = .3, .k = 1 };
    const weight skip[] = { three[0], three[1], three[2], { "W_skip", { 2 }, 1 }, { NULL, { 0 }, 0 } };
    const weight plain[] = { three[0], three[1], three[2], { NULL, { 0 }, 0 } };
    double y = 5;
    sl_sae *s = made(ctx, "transcoder", 1, 3, &o, plain);
    assert_is("relu", loss_of(s, 3, &y, &b, NULL, NULL), 1 / 4. + .3 * 4.5 / 2);
    sl_sae_free(s);
    s = made(ctx, "skip_transcoder", 1, 3, &o, skip);
    assert_is("skip", loss_of(s, 3, &y, &b, NULL, NULL), 25 / 4. + .3 * 4.5 / 2);
    sl_sae_free(s);
    o.activation = 1; /* the largest alone: y^ = 1 + 1.5 */
    s = made(ctx, "transcoder", 1, 3, &o, plain);
    assert_is("topk", loss_of(s, 3, &y, &b, NULL, NULL), 2.5 * 2.5 / 4);
    assert_is("no penalty", s->ops->l1(s), 0);
    sl_sae_free(s);
    o.k = 4;
    sl_assert_fails(sl_sae_make(ctx, "transcoder", 1, 3, &o, 0, SL_F64, true, &s, &err), SL_ARG, "k");
    sl_assert_fails(sl_sae_make(ctx, "jumprelu", 1, 3, &(sl_jumprelu_options){ .penalty = 0, .bandwidth = .1, .threshold = .1, .tanh_scale = 1 }, 0, SL_F64, true, &s, &err),
                    SL_ARG, "target_l0");
    sl_assert_fails(sl_sae_make(ctx, "mlp_decoder", 1, 3, &(sl_mlp_decoder_options){ .k = 4 }, 0, SL_F64, true, &s, &err), SL_ARG, "k");
    sl_ctx_free(ctx);
}

/* z = 2 in latent 0: hidden = ReLU((1, -1) * 2 + (.5, .5)) = (2.5, 0), x^ = 1 + 1 + 2 * 2.5 = 7. */
static void mlp_decoder(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_sae_batch b = { .step = 3, .steps = 10, .n = 1, .d_bar = 4 };
    sl_mlp_decoder_options o = { .k = 1, .hidden = 2 };
    const weight w[] = { three[0], three[1], three[2], { "W_mlp_in", { 1, -1, 0, 0, 0, 0 }, 6 }, { "b_mlp_in", { .5, .5 }, 2 },
                         { "W_mlp_out", { 2, 9 }, 2 }, { NULL, { 0 }, 0 } };
    double xhat;
    sl_sae *s = made(ctx, "mlp_decoder", 1, 3, &o, w);
    assert_is("loss", loss_of(s, 3, NULL, &b, NULL, &xhat), 16 / 4.);
    assert_is("x^", xhat, 7);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jumprelu), cmocka_unit_test(step_on_pre_activations_or_on_codes), cmocka_unit_test(gated), cmocka_unit_test(gated_is_a_jumprelu),
        cmocka_unit_test(p_anneal), cmocka_unit_test(transcoders), cmocka_unit_test(mlp_decoder),
    };
    return cmocka_run_group_tests_name("sae_penalties", tests, NULL, NULL);
}
