/* The trainer's options: each reaches the run; recipes' first weights, controls, constraints, schedules, resampling, mean weights. */
#include "rows.h"
#include "support.h"

#include "sae/variant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D = 12, F = 40, N = 300, BATCH = 64, STEPS = 30, K = 3 };

static const sl_topk_options TOPK = { .k = K, .k_aux = 5, .aux_alpha = .1 };

/* Nothing that follows from the length of the run; raw rows, so that nothing is folded. */
static sl_sae_train_config plain(void)
{
    sl_sae_train_config c;
    sl_opts_default(sl_sae_train_opts, &c);
    c.steps = STEPS;
    c.batch = BATCH;
    c.lr = 5e-3;
    c.warmup = 0;
    c.schedule = SL_SAE_CONSTANT;
    c.normalize = false;
    c.checkpoint_seconds = 0;
    c.dead_window = 1;
    return c;
}

typedef struct trained { sl_ctx *ctx; sl_sae *s; rows r; sl_sae_result res; } trained;

static void finish(trained *t)
{
    sl_free(t->ctx, t->res.curve);
    rows_release(&t->r);
    sl_sae_free(t->s);
    sl_ctx_free(t->ctx);
}

static void start(trained *t)
{
    sl_err err;
    *t = (trained){ .ctx = sl_test_ctx(1) };
    sl_assert_ok(sl_sae_new(t->ctx, "topk", D, F, &TOPK, 8, &t->s, &err));
    rows_planted(&t->r, N, D, 20, 3, 6, NULL);
}

static void train(trained *t, const sl_sae_train_config *c, const char *dir)
{
    sl_err err;
    start(t);
    sl_assert_ok(sl_sae_train(t->s, &t->r.src, c, dir, &t->res, &err));
}

static const float *data(const sl_param *p) { return p->value.data; }

static void every_option_matters(void **state)
{
    (void)state;
    static const struct { const char *name, *text; } change[] = {
        { "recipe", "saelens" }, { "recipe", "dictionary_learning" }, { "recipe", "sparsify" }, { "schedule", "linear" }, { "schedule", "cosine" }, { "k_start", "9" },
        { "decoder", "free" }, { "project", "off" }, { "encoder", "random" }, { "b_dec", "zero" }, { "b_dec", "median" }, { "control", "frozen_decoder" },
        { "control", "soft_frozen_decoder" }, { "control", "random_encoder" }, { "resample_every", "4" }, { "ema", "0.9" }, { "weight_decay", "1" },
    };
    sl_sae_train_config c = plain();
    c.lr = .1; /* so that rows leave the cone of the soft-frozen decoder */
    trained base, other;
    train(&base, &c, NULL);
    for (size_t i = 0; i < sizeof change / sizeof *change; i++) {
        sl_err err;
        c = plain();
        c.lr = .1;
        start(&other);
        sl_assert_ok(sl_opts_set(other.ctx, sl_sae_train_opts, &c, change[i].name, change[i].text, "test", SL_ARG, &err));
        sl_assert_ok(sl_sae_train(other.s, &other.r.src, &c, NULL, &other.res, &err));
        if (memcmp(data(other.s->W_dec), data(base.s->W_dec), sl_nbytes(&base.s->W_dec->value)) == 0)
            fail_msg("%s %s changes nothing", change[i].name, change[i].text);
        assert_true(isfinite(other.res.last.loss));
        finish(&other);
    }
    c = plain();
    c.lr = .1;
    c.schedule = SL_SAE_COSINE;
    c.lr_end = .5;
    c.k_start = 9;
    c.k_anneal = .5;
    train(&other, &c, NULL);
    assert_true(fabs(other.res.curve[STEPS - 1].lr - .1 * (.5 + .25 * (1 + cos(3.14159265358979 * (STEPS - 1) / STEPS)))) < 1e-9);
    assert_true(other.res.curve[0].l0 > 2 * K && other.res.curve[7].l0 < other.res.curve[0].l0 && other.res.curve[STEPS / 2].l0 <= K);
    finish(&other);
    finish(&base);
}

static double row_norm(const float *w, int64_t d)
{
    double sq = 0;
    for (int64_t j = 0; j < d; j++)
        sq += (double)w[j] * (double)w[j];
    return sqrt(sq);
}

static void untrained(trained *t, int recipe)
{
    sl_sae_train_config c = plain();
    c.steps = 1;
    c.lr = 0;
    c.recipe = recipe;
    c.decoder = 2; /* free: no rounding by renormalisation */
    train(t, &c, NULL);
}

/* First weights: norms, ties and biases as the recipes have them. */
static void recipes_begin_differently(void **state)
{
    (void)state;
    static const struct { double norm; bool tied, zero_bias; } expected[] = { { 1, true, false }, { .1, true, true }, { 1, true, false }, { 1, false, false } };
    for (int i = 0; sl_recipe_at(i); i++) {
        trained t;
        untrained(&t, i);
        assert_string_equal(sl_recipe_names[i], sl_recipe_at(i)->name);
        assert_ptr_equal(t.s->recipe, sl_recipe_at(i));
        bool tied = memcmp(data(t.s->W_enc), data(t.s->W_dec), sl_nbytes(&t.s->W_dec->value)) == 0;
        assert_int_equal(tied, expected[i].tied);
        for (int f = 0; f < F; f++) {
            const float *w = data(t.s->W_enc) + f * D, *d = data(t.s->W_dec) + f * D;
            assert_true(fabs(row_norm(d, D) - expected[i].norm) < 1e-6);
            for (int j = 0; j < D; j++) /* the same direction, whatever the norm */
                assert_true(fabs((double)w[j] / row_norm(w, D) - (double)d[j] / row_norm(d, D)) < 1e-5);
        }
        assert_int_equal(row_norm(data(t.s->b_dec), D) == 0, expected[i].zero_bias);
        sl_err err;
        sl_sae *back;
        const char *dir = sl_test_dir("recipe");
        sl_assert_ok(sl_sae_save(t.s, dir, &err));
        sl_assert_ok(sl_sae_load(t.ctx, dir, &back, &err));
        assert_ptr_equal(back->recipe, t.s->recipe);
        sl_sae_free(back);
        finish(&t);
    }
    assert_ptr_equal(sl_recipe_find("sparsify"), sl_recipe_at(3));
    assert_true(!sl_recipe_find("none") && !sl_recipe_find(NULL));
    assert_null(sl_recipe_at(4));
    assert_null(sl_recipe_names[4]);
}

/* Five numbers: mean 22, geometric median 3, as in one dimension it is the median. */
static void median_of_rows(void **state)
{
    (void)state;
    static const float x[] = { 1, 2, 3, 4, 100 };
    for (int b_dec = 1; b_dec <= 3; b_dec++) {
        sl_ctx *ctx = sl_test_ctx(1);
        sl_err err;
        sl_sae *s;
        rows r;
        sl_sae_result res;
        sl_assert_ok(sl_sae_new(ctx, "topk", 1, 4, &(sl_topk_options){ .k = 1 }, 1, &s, &err));
        rows_normal(&r, 5, 1, 0, 1);
        memcpy(r.x, x, sizeof x);
        sl_sae_train_config c = plain();
        c.steps = 1;
        c.lr = 0;
        c.b_dec = b_dec;
        sl_assert_ok(sl_sae_train(s, &r.src, &c, NULL, &res, &err));
        double got = (double)*data(s->b_dec), expected = (double[]){ 0, 22, 3 }[b_dec - 1];
        sl_assert_close_f64("b_dec", &got, &expected, 1, 2e-3, 0);
        sl_free(ctx, res.curve);
        rows_release(&r);
        sl_sae_free(s);
        sl_ctx_free(ctx);
    }
}

static double least_cosine(const sl_sae *s, const sl_sae *first)
{
    double least = 1;
    for (int f = 0; f < F; f++) {
        const float *a = data(s->W_dec) + f * D, *b = data(first->W_dec) + f * D;
        double dot = 0;
        for (int j = 0; j < D; j++)
            dot += (double)a[j] * (double)b[j];
        least = fmin(least, dot / (row_norm(a, D) * row_norm(b, D)));
    }
    return least;
}

static void controls_hold_what_they_say(void **state)
{
    (void)state;
    trained first, t;
    start(&first);
    size_t bytes = sl_nbytes(&first.s->W_dec->value);
    for (int control = SL_SAE_NO_CONTROL; control <= SL_SAE_RANDOM_ENCODER; control++) {
        sl_sae_train_config c = plain();
        c.lr = .1;
        c.control = control;
        train(&t, &c, NULL);
        bool dec = memcmp(data(t.s->W_dec), data(first.s->W_dec), bytes) == 0, enc = memcmp(data(t.s->W_enc), data(first.s->W_enc), bytes) == 0;
        assert_int_equal(dec, control == SL_SAE_FROZEN_DECODER);
        assert_int_equal(enc, control == SL_SAE_RANDOM_ENCODER);
        assert_int_equal(row_norm(data(t.s->b_enc), F) == 0, control == SL_SAE_RANDOM_ENCODER);
        double cosine = least_cosine(t.s, first.s);
        if (control == SL_SAE_NO_CONTROL || control == SL_SAE_RANDOM_ENCODER)
            assert_true(cosine < .6); /* so the limit below binds */
        if (control == SL_SAE_SOFT_FROZEN_DECODER)
            assert_true(cosine > .8 - 1e-5 && cosine < .8 + 1e-3);
        for (int f = 0; f < F; f++)
            assert_true(fabs(row_norm(data(t.s->W_dec) + f * D, D) - 1) < 1e-5);
        finish(&t);
    }
    finish(&first);
}

static void decoder_free_or_unit(void **state)
{
    (void)state;
    trained t;
    sl_sae_train_config c = plain();
    c.decoder = 2;
    train(&t, &c, NULL);
    double off = 0;
    for (int f = 0; f < F; f++)
        off = fmax(off, fabs(row_norm(data(t.s->W_dec) + f * D, D) - 1));
    assert_true(off > 1e-3);
    finish(&t);
    c.recipe = 1; /* SAELens leaves it free; unit asks for it all the same */
    c.decoder = 1;
    train(&t, &c, NULL);
    for (int f = 0; f < F; f++)
        assert_true(fabs(row_norm(data(t.s->W_dec) + f * D, D) - 1) < 1e-5);
    finish(&t);
}

/* Without a gradient to speak of, lr wd of the encoder's norm goes each step; unit rows of the decoder stay. */
static void weight_decay_shrinks_the_encoder(void **state)
{
    (void)state;
    trained t[2];
    double norm[2] = { 0 };
    for (int i = 0; i < 2; i++) {
        sl_sae_train_config c = plain();
        c.lr = 1e-4;
        c.schedule = SL_SAE_CONSTANT;
        c.warmup = 0;
        c.weight_decay = i ? 100 : 0;
        c.normalize = false;
        train(&t[i], &c, NULL);
        for (int f = 0; f < F; f++)
            norm[i] += row_norm(data(t[i].s->W_enc) + f * D, D) / F;
        for (int f = 0; f < F; f++)
            assert_true(fabs(row_norm(data(t[i].s->W_dec) + f * D, D) - 1) < 1e-5);
        finish(&t[i]);
    }
    assert_true(fabs(norm[1] / norm[0] - pow(1 - 1e-2, STEPS)) < 5e-3);
}

/* Without learning, only resampling changes a weight: a latent that did not fire in the first batch becomes the direction of a row. */
static void dead_latents_start_anew(void **state)
{
    (void)state;
    trained first, t;
    sl_sae_train_config c = plain();
    c.steps = 2;
    c.lr = 0;
    c.b_dec = 1; /* zero */
    c.resample_every = 2;
    start(&first);
    train(&t, &c, NULL);
    int anew = 0;
    double living = 0;
    for (int f = 0; f < F; f++) {
        const float *d = data(t.s->W_dec) + f * D, *w = data(t.s->W_enc) + f * D;
        double best = -1, dot;
        if (memcmp(w, data(first.s->W_enc) + f * D, D * sizeof *w) == 0) {
            living += row_norm(w, D);
            continue;
        }
        anew++;
        for (int r = BATCH; r < 2 * BATCH; r++, best = fmax(best, dot)) { /* of the second batch */
            const float *x = t.r.x + r * D;
            dot = 0;
            for (int j = 0; j < D; j++)
                dot += (double)x[j] * (double)d[j] / row_norm(x, D);
        }
        assert_true(best > 1 - 1e-5 && fabs(row_norm(w, D) - .2) < 1e-5); /* all living rows have norm 1 */
        for (int j = 0; j < D; j++)
            assert_true(fabs((double)w[j] - .2 * (double)d[j]) < 1e-6);
        assert_true(data(t.s->b_enc)[f] == 0);
        const sl_param *moved[] = { t.s->W_enc, t.s->W_dec };
        for (int i = 0; i < 2; i++) /* AuxK's gradients are forgotten */
            assert_true(row_norm((float *)moved[i]->m.data + f * D, D) == 0 && row_norm((float *)moved[i]->v.data + f * D, D) == 0);
    }
    assert_true(row_norm(t.s->W_dec->m.data, F * D) > 0);
    assert_true(anew > 0 && anew == (int)(t.res.last.dead * F + .5) && living > 1);
    finish(&t);
    finish(&first);
}

/* e_1 = w_1, e_i = .75 e_{i-1} + .25 w_i, w_i being what a run of i steps ends with. */
static void mean_weights(void **state)
{
    (void)state;
    double e[F] = { 0 };
    trained t;
    sl_sae_train_config c = plain();
    for (int i = 1; i <= 4; i++) {
        c.steps = i;
        train(&t, &c, NULL);
        for (int f = 0; f < F; f++)
            e[f] = i == 1 ? (double)data(t.s->b_enc)[f] : .75 * e[f] + .25 * (double)data(t.s->b_enc)[f];
        finish(&t);
    }
    c.ema = .75;
    train(&t, &c, NULL);
    double moved = 0;
    for (int f = 0; f < F; f++) {
        assert_true(fabs((double)data(t.s->b_enc)[f] - e[f]) < 1e-7);
        moved = fmax(moved, fabs(e[f]));
        assert_true(fabs(row_norm(data(t.s->W_dec) + f * D, D) - 1) < 1e-5); /* of norm 1 again */
    }
    assert_true(moved > 1e-3);
    finish(&t);
}

/* Everything at once that keeps something between steps. */
static void resume_with_everything(void **state)
{
    (void)state;
    const char *dir = sl_test_dir("everything");
    sl_sae_train_config c = plain();
    c.lr = .05;
    c.ema = .9;
    c.control = SL_SAE_SOFT_FROZEN_DECODER;
    c.resample_every = 5;
    c.k_start = 9;
    c.b_dec = 3;
    c.recipe = 2;
    trained whole, part;
    sl_err err;
    train(&whole, &c, NULL);
    start(&part);
    part.r.cancel = part.ctx;
    part.r.cancel_at = 13 * BATCH + 7;
    sl_assert_fails(sl_sae_train(part.s, &part.r.src, &c, dir, &part.res, &err), SL_CANCELLED, "of 30");
    finish(&part);
    train(&part, &c, dir);
    for (int i = 0; i < sl_params_count(whole.s->params); i++) {
        const sl_param *a = sl_params_at(whole.s->params, i), *b = sl_params_at(part.s->params, i);
        sl_assert_same_bits(a->name, b->value.data, a->value.data, sl_nbytes(&a->value));
    }
    finish(&part);
    finish(&whole);
}

/* Pure functions of the step, by hand. */
static void schedules(void **state)
{
    (void)state;
    trained t;
    start(&t);
    static const int64_t k[] = { 11, 9, 7, 5, 3, 3 };
    for (int i = 0; i < 6; i++) {
        sl_sae_batch b = { .step = i, .steps = 20, .k_start = 11, .k_steps = 4 };
        assert_int_equal(sl_sae_k_now(&b, 3, F), k[i]);
        assert_int_equal(sl_sae_k_now(&b, 3, 6), k[i] < 6 ? k[i] : 6);
    }
    assert_int_equal(sl_sae_k_now(NULL, 3, F), 3);
    sl_sae_batch b = { .step = 3, .steps = 20 };
    assert_int_equal(sl_sae_k_now(&b, 3, F), 3);
    double got[] = { sl_sae_ramp(t.s, &b, .5), sl_sae_ramp(t.s, &b, .1), sl_sae_ramp(t.s, &b, 0), sl_sae_anneal(&b, 1, .2, 0, .3), sl_sae_anneal(&b, 1, .2, .2, .3),
                     sl_sae_anneal(&b, 1, .2, .05, .1) };
    t.s->recipe = sl_recipe_at(1);
    double peer = sl_sae_ramp(t.s, &b, .5);
    sl_assert_close_f64("schedules", got, (double[]){ .4, 1, 1, .6, 1, .2 }, 6, 1e-12, 0);
    sl_assert_close_f64("from zero", &peer, &(double){ .3 }, 1, 1e-12, 0);
    finish(&t);
}

static void what_does_not_fit(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    rows r;
    sl_sae *pursuit, *coder;
    sl_sae_result res;
    rows_planted(&r, N, D, 20, 3, 6, NULL);
    sl_assert_ok(sl_sae_new(ctx, "matching_pursuit", D, F, &(sl_matching_pursuit_options){ 2 }, 8, &pursuit, &err));
    sl_assert_ok(sl_sae_new(ctx, "transcoder", D, F, NULL, 8, &coder, &err));
    sl_sae_train_config c = plain();
    c.control = SL_SAE_RANDOM_ENCODER;
    sl_assert_fails(sl_sae_train(pursuit, &r.src, &c, NULL, &res, &err), SL_ARG, "matching_pursuit has none");
    c = plain();
    c.resample_every = 3;
    sl_assert_fails(sl_sae_train(pursuit, &r.src, &c, NULL, &res, &err), SL_ARG, "matching_pursuit has none");
    sl_assert_fails(sl_sae_train(coder, &r.src, &c, NULL, &res, &err), SL_ARG, "targets of its own");
    c = plain();
    sl_assert_fails(sl_sae_train(coder, &r.src, &c, NULL, &res, &err), SL_SHAPE, "targets of 0 for a d_out of 12");
    sl_sae_free(pursuit);
    sl_assert_fails(sl_sae_new(ctx, "matryoshka", D, F, &(sl_matryoshka_options){ .k = 3, .prefixes = "0.5,0.4,1" }, 8, &pursuit, &err), SL_ARG, "'0.5,0.4,1'");
    sl_assert_fails(sl_sae_new(ctx, "matryoshka", D, F, &(sl_matryoshka_options){ .k = 3, .prefixes = "0.5" }, 8, &pursuit, &err), SL_ARG, "end with 1");
    sl_assert_fails(sl_sae_new(ctx, "batchtopk", D, F, &(sl_batchtopk_options){ .k = 41 }, 8, &pursuit, &err), SL_ARG, "41 active latents of 40");
    sl_sae_free(coder);
    rows_release(&r);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_option_matters), cmocka_unit_test(recipes_begin_differently), cmocka_unit_test(median_of_rows),
        cmocka_unit_test(controls_hold_what_they_say), cmocka_unit_test(decoder_free_or_unit), cmocka_unit_test(weight_decay_shrinks_the_encoder), cmocka_unit_test(dead_latents_start_anew),
        cmocka_unit_test(mean_weights), cmocka_unit_test(resume_with_everything), cmocka_unit_test(schedules), cmocka_unit_test(what_does_not_fit),
    };
    return cmocka_run_group_tests_name("sae_options", tests, NULL, NULL);
}
