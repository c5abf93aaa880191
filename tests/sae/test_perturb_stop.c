/* Early stopping (science.md B6): held-out rows, the same noise at every check, the trigger and its guards, the weights that are chosen. */
#include "rows.h"
#include "support.h"

#include "sae/perturb.h"

#include <saelab/codes.h>
#include <saelab/sweep.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D = 16, F = 32, K = 3, ROWS = 600 };

typedef struct scene { sl_ctx *ctx; sl_sae *s; rows train, held; sl_sae_train_config c; sl_perturb_config p; sl_sweep_run run; } scene;

static void open_scene(scene *z, int threads)
{
    sl_err err;
    *z = (scene){ .ctx = sl_test_ctx(threads) };
    sl_opts_default(sl_sae_train_opts, &z->c);
    sl_opts_default(sl_perturb_opts, &z->p);
    z->c.steps = 100;
    z->c.batch = 48;
    z->c.checkpoint_seconds = 0;
    z->c.normalize = false;
    z->c.dead_window = 1000000;
    z->p.type = SL_PERTURB_GAUSS;
    z->p.early_stop = true;
    z->p.check_every = 2;
    rows_planted(&z->train, ROWS, D, 24, 3, 5, NULL);
    rows_planted(&z->held, ROWS, D, 24, 3, 5, NULL); /* the same dictionary ... */
    for (int64_t i = 0; i < ROWS / 2 * D; i++) {     /* ... and its rows in another order */
        float x = z->held.x[i];
        z->held.x[i] = z->held.x[ROWS / 2 * D + i];
        z->held.x[ROWS / 2 * D + i] = x;
    }
    sl_assert_ok(sl_sae_new(z->ctx, "topk", D, F, &(sl_topk_options){ .k = K, .aux_alpha = 1 / 32. }, 1, &z->s, &err));
    z->run = (sl_sweep_run){ .sae = z->s, .acts = &z->train.src, .train = &z->c, .perturb = &z->p, .held_out = &z->held.src };
}

static void close_scene(scene *z)
{
    sl_perturb_result_release(z->ctx, &z->run.perturbed);
    sl_free(z->ctx, z->run.result.curve);
    rows_release(&z->train);
    rows_release(&z->held);
    sl_sae_free(z->s);
    sl_ctx_free(z->ctx);
}

/* A run that stands still from the start (lr 0) begins its decay at 30 % and ends 20 % later; every check has the same bits. */
static void it_shortens(void **state)
{
    (void)state;
    sl_err err;
    scene z;
    open_scene(&z, 1);
    z.c.lr = 0;
    sl_assert_ok(sl_sae_train_many(&z.run, 1, &err));
    const sl_perturb_result *r = &z.run.perturbed;
    assert_int_equal(r->stopped_at, 30);
    assert_int_equal(r->steps, 50);
    assert_int_equal(r->n_checks, 25);
    assert_int_equal(r->chosen_step, 50);
    for (int i = 0; i < 25; i++) {
        assert_true(r->checks[i].step == 2 * i + 2 && r->checks[i].dead == 0);
        assert_true(r->checks[i].fss == r->checks[0].fss && r->checks[i].fvu == r->checks[0].fvu);
    }
    assert_true(r->checks[0].fss > .3 && r->checks[0].fss < 1);
    close_scene(&z);
}

/* An SAE whose latents are dead is as stable as can be: that stops nothing, and none of its weights are kept. */
static void stability_alone_stops_nothing(void **state)
{
    (void)state;
    sl_err err;
    scene z;
    open_scene(&z, 1);
    z.c.lr = 0;
    z.c.dead_window = 96;
    for (int64_t i = 2; i < ROWS; i++) /* rows of two kinds wake few latents */
        memcpy(z.train.x + i * D, z.train.x + i % 2 * D, D * sizeof(float));
    sl_assert_ok(sl_sae_train_many(&z.run, 1, &err));
    assert_int_equal(z.run.perturbed.stopped_at, 0);
    assert_int_equal(z.run.perturbed.steps, 100);
    assert_int_equal(z.run.perturbed.chosen_step, 0);
    assert_true(z.run.perturbed.checks[49].dead > .5);
    close_scene(&z);
}

/* FSS of the finished SAE on the rows and the noise of the checks. */
static double fss_of(const scene *z, int64_t n)
{
    sl_err err;
    sl_codes a, b;
    sl_perturber *p;
    float *x = malloc((size_t)(n * D) * sizeof *x), *y = malloc((size_t)(n * D) * sizeof *y);
    uint8_t *valid = malloc((size_t)n);
    double num = 0, den = 0;
    for (int64_t i = 0; i < n; i++)
        memcpy(x + i * D, z->held.x + i % ROWS * D, D * sizeof *x);
    sl_assert_ok(sl_perturber_new(z->s, &z->p, NULL, 0, &p, &err));
    sl_assert_ok(sl_perturber_apply(p, x, n, 0, -1, 0, -1, &(sl_perturbed){ .x = y, .valid = valid }, &err));
    sl_assert_ok(sl_codes_new(z->ctx, n, F, &a, &err));
    sl_assert_ok(sl_codes_new(z->ctx, n, F, &b, &err));
    sl_assert_ok(sl_sae_encode(z->s, x, n, &a, NULL, &err));
    sl_assert_ok(sl_sae_encode(z->s, y, n, &b, NULL, &err));
    for (int64_t r = 0; r < n; r++) {
        double u[F] = { 0 }, v[F] = { 0 };
        for (int64_t e = a.row_ptr[r]; e < a.row_ptr[r + 1]; e++)
            u[a.idx[e]] = (double)a.val[e];
        for (int64_t e = b.row_ptr[r]; e < b.row_ptr[r + 1]; e++)
            v[b.idx[e]] = (double)b.val[e];
        for (int f = 0; f < F; f++) {
            num += fabs(u[f] - v[f]);
            den += u[f] + v[f];
        }
    }
    sl_codes_release(z->ctx, &a);
    sl_codes_release(z->ctx, &b);
    sl_perturber_free(p);
    free(x);
    free(y);
    free(valid);
    return 1 - num / den;
}

/* Among the checks whose FVU is within 5 % of the least, the one of the largest FSS; and the SAE has its weights. */
static void the_best_weights_are_kept(void **state)
{
    (void)state;
    sl_err err;
    scene z;
    open_scene(&z, 1);
    z.p.check_every = 10;
    z.c.lr = 3e-3;
    sl_assert_ok(sl_sae_train_many(&z.run, 1, &err));
    const sl_perturb_result *r = &z.run.perturbed;
    double least = INFINITY, most = -1, fss = NAN;
    int64_t want = 0;
    for (int64_t i = 0; i < r->n_checks; i++)
        least = fmin(least, r->checks[i].fvu);
    for (int64_t i = 0; i < r->n_checks; i++)
        if (r->checks[i].fvu <= 1.05 * least && r->checks[i].fss > most) {
            most = r->checks[i].fss;
            want = (int64_t)r->checks[i].step;
        }
    assert_int_equal(r->chosen_step, want);
    fss = fss_of(&z, 2064); /* 43 batches of 48 */
    if (!(fabs(fss - most) < 1e-4))
        fail_msg("fss %.9g of the SAE, %.9g of its check", fss, most);
    close_scene(&z);
}

/* Stopped between two checks and again: the same weights, checks and choice. */
static void resumed_is_the_same(void **state)
{
    (void)state;
    sl_err err;
    scene whole, again;
    const char *dir = sl_test_dir("perturb_stop_resume");
    open_scene(&whole, 1);
    sl_assert_ok(sl_sae_train_many(&whole.run, 1, &err));
    open_scene(&again, 2);
    again.run.dir = dir;
    again.train.cancel = again.ctx;
    again.train.cancel_at = 48 * 61 + 5;
    assert_int_equal(sl_sae_train_many(&again.run, 1, &err), SL_CANCELLED);
    close_scene(&again);
    open_scene(&again, 2);
    again.run.dir = dir;
    sl_assert_ok(sl_sae_train_many(&again.run, 1, &err));
    sl_tensor a, b;
    sl_assert_ok(sl_sae_weight(whole.s, "W_enc", &a, &err));
    sl_assert_ok(sl_sae_weight(again.s, "W_enc", &b, &err));
    sl_assert_same_bits("W_enc", a.data, b.data, sl_nbytes(&a));
    const sl_perturb_result *p = &whole.run.perturbed, *q = &again.run.perturbed;
    assert_true(p->n_checks == q->n_checks && p->chosen_step == q->chosen_step && p->steps == q->steps && p->n_checks > 0);
    sl_assert_same_bits("checks", p->checks, q->checks, (size_t)p->n_checks * sizeof *p->checks);
    close_scene(&whole);
    close_scene(&again);
}

static void what_does_not_fit(void **state)
{
    (void)state;
    sl_err err;
    scene z;
    rows narrow;
    open_scene(&z, 1);
    z.run.held_out = NULL;
    sl_assert_fails(sl_sae_train_many(&z.run, 1, &err), SL_ARG, "held-out");
    rows_normal(&narrow, 50, D - 1, 0, 1);
    z.run.held_out = &narrow.src;
    sl_assert_fails(sl_sae_train_many(&z.run, 1, &err), SL_SHAPE, "rows of 15");
    z.run.held_out = &z.held.src;
    z.c.ema = .9;
    sl_assert_fails(sl_sae_train_many(&z.run, 1, &err), SL_ARG, "running mean");
    z.c.ema = 0;
    z.p.type = SL_PERTURB_NONE;
    sl_assert_fails(sl_sae_train_many(&z.run, 1, &err), SL_ARG, "no noise");
    z.p.type = SL_PERTURB_GAUSS;
    z.held.x[7 * D + 2] = NAN;
    sl_assert_fails(sl_sae_train_many(&z.run, 1, &err), SL_NUMERIC, "row 7, column 2");
    rows_release(&narrow);
    close_scene(&z);
}

/* Every type of noise can be looked at; inject and featdrop against their own targets. */
static void every_type(void **state)
{
    (void)state;
    sl_err err;
    for (int type = SL_PERTURB_GAUSS; type <= SL_PERTURB_LATENT; type++) {
        scene z;
        open_scene(&z, 1);
        z.c.steps = 30;
        z.p.type = type;
        z.p.check_every = 5;
        z.p.components = 8;
        sl_assert_ok(sl_sae_train_many(&z.run, 1, &err));
        const sl_perturb_result *r = &z.run.perturbed;
        assert_int_equal(r->n_checks, 6);
        if (!(r->checks[5].fss > 0 && r->checks[5].fss < 1))
            fail_msg("type %d: fss %g", type, r->checks[5].fss);
        close_scene(&z);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_shortens), cmocka_unit_test(stability_alone_stops_nothing), cmocka_unit_test(the_best_weights_are_kept),
        cmocka_unit_test(resumed_is_the_same), cmocka_unit_test(what_does_not_fit), cmocka_unit_test(every_type),
    };
    return cmocka_run_group_tests_name("sae_perturb_stop", tests, NULL, NULL);
}
