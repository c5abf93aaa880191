/* The L0 autotuner: every variant that has it reaches the target from either side, what it does in a step, and what it says at the end. */
#include "rows.h"
#include "support.h"

#include "sae/autotune.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { D = 12, F = 40, STEPS = 2000 };

/* ---- training to a target ---- */

/* Mean l0 of the last tenth of the run. */
static double trained_l0(const char *variant, const void *opts)
{
    sl_ctx *ctx = sl_test_ctx(2);
    sl_err err;
    sl_sae *s;
    rows r;
    sl_sae_result res;
    sl_sae_train_config c;
    double sum = 0;
    sl_opts_default(sl_sae_train_opts, &c);
    c.steps = STEPS;
    c.batch = 64;
    c.lr = 4e-3;
    c.checkpoint_seconds = 0;
    rows_planted(&r, 4000, D, 30, 3, 6, NULL);
    sl_assert_ok(sl_sae_new(ctx, variant, D, F, opts, 8, &s, &err));
    sl_assert_ok(sl_sae_train(s, &r.src, &c, NULL, &res, &err));
    int64_t n = res.n_curve / 10;
    for (int64_t i = res.n_curve - n; i < res.n_curve; i++)
        sum += res.curve[i].l0 / (double)n;
    print_message("%s: l0 %.2f, weight times %.3g, fvu %.3f\n", variant, sum, sl_autotune_factor(s), res.last.fvu);
    assert_true(res.last.fvu < 1);
    sl_free(ctx, res.curve);
    rows_release(&r);
    sl_sae_free(s);
    sl_ctx_free(ctx);
    return sum;
}

static const struct { const char *variant; const void *opts; } tuned[] = {
    { "standard", &(sl_standard_options){ .l1 = .2, .l1_warmup = .05, .target_l0 = 4 } },
    { "standard", &(sl_standard_options){ .l1 = 2, .l1_warmup = .05, .decoder = 1, .target_l0 = 4 } },
    { "gated", &(sl_gated_options){ .l1 = .05, .l1_warmup = .05, .target_l0 = 4 } },
    { "p_anneal", &(sl_p_anneal_options){ .l1 = .5, .l1_warmup = .05, .p_end = .3, .anneal_start = .2, .anneal_end = .7, .updates = 10, .target_l0 = 4 } },
    { "jumprelu", &(sl_jumprelu_options){ .penalty = 1, .weight = .1, .l0_warmup = .1, .target_l0 = 4, .bandwidth = .05, .threshold = .01, .tanh_scale = 4 } },
    { "jumprelu", &(sl_jumprelu_options){ .penalty = 2, .weight = .01, .l0_warmup = .1, .target_l0 = 4, .bandwidth = .05, .threshold = .01, .tanh_scale = 4 } },
    { "jumprelu", &(sl_jumprelu_options){ .penalty = 0, .weight = 10, .l0_warmup = .1, .target_l0 = 4, .bandwidth = .05, .threshold = .01, .tanh_scale = 4 } },
};

static void targets_are_reached(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof tuned / sizeof *tuned; i++) {
        double l0 = trained_l0(tuned[i].variant, tuned[i].opts);
        if (!(fabs(l0 / 4 - 1) <= .05))
            fail_msg("%s (case %zu): l0 %g of target 4", tuned[i].variant, i, l0);
    }
}

/* ---- a step ---- */

typedef struct told { sl_level level; char text[256]; int n; } told;

static void listen(void *user, const sl_event *e)
{
    told *t = user;
    if (e->kind != SL_EVENT_LOG)
        return;
    t->level = e->level;
    t->n++;
    snprintf(t->text, sizeof t->text, "%s", e->text);
}

static sl_sae *standard(sl_ctx *ctx)
{
    sl_err err;
    sl_sae *s;
    sl_assert_ok(sl_sae_new(ctx, "standard", 2, 3, NULL, 1, &s, &err));
    return s;
}

static void at(sl_sae *s, int64_t step, int64_t steps, double l0, double target)
{
    sl_sae_batch b = { .step = step, .steps = steps, .n = 1 };
    sl_autotune_step(s, target, .1, &b, &(sl_sae_seen){ .n = 1, .l0 = l0 });
}

/* 200 steps: keeps 1 - 100 / 200 of the mean. The first 20 steps are held. */
static void a_step_by_hand(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1 });
    sl_sae *s = standard(ctx);
    assert_true(sl_autotune_factor(s) == 1);
    at(s, 0, 200, 8, 0); /* no target: nothing */
    assert_true(s->state[SL_TUNE_L0] == -1);
    at(s, 18, 200, 12, 4);
    assert_true(s->state[SL_TUNE_L0] == 12 && s->state[SL_TUNE_LOG] == 0);
    at(s, 19, 200, 8, 4); /* the 20th: still held */
    assert_true(s->state[SL_TUNE_L0] == 10 && s->state[SL_TUNE_LOG] == 0);
    at(s, 20, 200, 6, 4);
    double expected = .02 * log(2) + 2 * (log(2) - log(2.5));
    sl_assert_close_f64("above", &s->state[SL_TUNE_LOG], &expected, 1, 1e-12, 0);
    at(s, 21, 200, 0, 4); /* mean 4: the error is 0, the change counts */
    expected -= 2 * log(2);
    sl_assert_close_f64("at the target", &s->state[SL_TUNE_LOG], &expected, 1, 1e-12, 0);
    for (int i = 0; i < 10; i++)
        at(s, 22, 200, 0, 4); /* nothing is active any more: the error is clipped at -1.5 */
    double before = s->state[SL_TUNE_LOG];
    at(s, 23, 200, 0, 4);
    expected = before - .02 * 1.5;
    sl_assert_close_f64("clipped", &s->state[SL_TUNE_LOG], &expected, 1, 1e-12, 0);
    for (int i = 0; i < 2000; i++)
        at(s, 23, 200, 0, 4);
    assert_true(fabs(sl_autotune_factor(s) - 1e-6) < 1e-9); /* the limit */
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

static void the_end_is_reported(void **state)
{
    (void)state;
    told t = { 0 };
    sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .on_event = listen, .event_user = &t });
    sl_sae *s = standard(ctx);
    at(s, 0, 2, 4.1, 4);
    assert_int_equal(t.n, 0);
    at(s, 1, 2, 4.1, 4);
    assert_int_equal(t.n, 1);
    assert_int_equal(t.level, SL_LOG_INFO);
    assert_non_null(strstr(t.text, "l0 4.1 of target 4"));
    at(s, 1, 2, 5, 4);
    assert_int_equal(t.level, SL_LOG_WARN);
    assert_null(strstr(t.text, "limit"));
    s->state[SL_TUNE_LOG] = 100;
    at(s, 1, 2, 4, 4);
    assert_int_equal(t.level, SL_LOG_WARN);
    assert_non_null(strstr(t.text, "multiplied by 1e+06, its limit"));
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_are_reached), cmocka_unit_test(a_step_by_hand), cmocka_unit_test(the_end_is_reported),
    };
    return cmocka_run_group_tests_name("sae_autotune", tests, NULL, NULL);
}
