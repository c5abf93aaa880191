/* The gradient checker: every operator agrees with finite differences, and a flipped sign is seen for every operator. */
#include "support.h"

#include "tape/tape.h"

#include <math.h>
#include <string.h>

#define TOLERANCE 1e-6

static void every_operator_agrees(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    for (int i = 0; sl_op_table[i]; i++)
        for (uint64_t seed = 1; seed <= 3; seed++) {
            sl_gradcheck g;
            sl_assert_ok(sl_op_check(ctx, sl_op_table[i], seed, false, &g, &err));
            assert_true(g.n_checked > 0);
            if (!(g.max_rel_err < TOLERANCE))
                fail_msg("%s: relative error %.3g (%s)", sl_op_name(sl_op_table[i]), g.max_rel_err, g.worst);
        }
    sl_ctx_free(ctx);
}

static void a_flipped_sign_is_seen(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    for (int i = 0; sl_op_table[i]; i++) {
        sl_gradcheck g;
        sl_assert_ok(sl_op_check(ctx, sl_op_table[i], 1, true, &g, &err));
        if (!(g.max_rel_err > 1e-2))
            fail_msg("%s: a flipped gradient passed with relative error %.3g", sl_op_name(sl_op_table[i]), g.max_rel_err);
    }
    sl_ctx_free(ctx);
}

static void names_are_distinct(void **state)
{
    (void)state;
    int n = 0;
    while (sl_op_table[n])
        n++;
    assert_int_equal(n, 52);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(sl_op_name(sl_op_table[i]), sl_op_name(sl_op_table[j]));
}

/* ---- a whole model: two layers, a norm, a sparse code, a weight that is used twice ---- */

typedef struct model { sl_param *W1, *b1, *gain, *W_enc, *b_enc, *W_dec, *frozen; sl_tensor x; } model;

static sl_var model_loss(sl_tape *t, void *user)
{
    model *m = user;
    sl_var x = sl_const(t, &m->x), W1 = sl_param_var(t, m->W1);
    sl_var h = sl_linear(t, x, W1, sl_param_var(t, m->b1), SL_ACT_GELU);
    h = sl_rmsnorm(t, sl_add(t, x, sl_matmul(t, h, W1, false)), sl_param_var(t, m->gain));
    sl_code z = sl_encode_topk(t, sl_add_row(t, h, sl_param_var(t, m->frozen)), sl_param_var(t, m->W_enc), sl_param_var(t, m->b_enc), 3);
    sl_var y = sl_sparse_decode(t, z, sl_param_var(t, m->W_dec), (sl_var){ 0 });
    return sl_scale(t, sl_sq_dist(t, y, sl_stop_grad(t, x)), 1 / 6.);
}

static void a_whole_model_agrees(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_params *ps;
    sl_gradcheck g;
    double x[30];
    model m = { .x = sl_tensor_of(SL_F64, x, 2, (int64_t)6, (int64_t)5) };
    sl_rng r = sl_rng_at(3, SL_RNG_TEST, 0, 0);
    for (int i = 0; i < 30; i++)
        x[i] = sl_rng_normal(&r);
    sl_assert_ok(sl_params_new(ctx, SL_F64, &ps, &err));
    m.W1 = sl_params_add(ps, 0, "W1", 2, (int64_t)7, (int64_t)5);
    m.b1 = sl_params_add(ps, 0, "b1", 1, (int64_t)7);
    m.gain = sl_params_add(ps, 0, "gain", 1, (int64_t)5);
    m.W_enc = sl_params_add(ps, 0, "W_enc", 2, (int64_t)12, (int64_t)5);
    m.b_enc = sl_params_add(ps, 0, "b_enc", 1, (int64_t)12);
    m.W_dec = sl_params_add(ps, 0, "W_dec", 2, (int64_t)12, (int64_t)5);
    m.frozen = sl_params_add(ps, SL_PARAM_FROZEN, "frozen", 1, (int64_t)5);
    sl_assert_ok(sl_params_build(ps, false, &err));
    for (int i = 0; i < sl_params_count(ps); i++)
        sl_param_normal(ps, sl_params_at(ps, i), 5, .5);
    sl_assert_ok(sl_params_check(ctx, ps, model_loss, &m, 1, &g, &err));
    assert_int_equal(g.n_checked, 35 + 7 + 5 + 60 + 12 + 60);
    if (!(g.max_rel_err < TOLERANCE))
        fail_msg("relative error %.3g (%s)", g.max_rel_err, g.worst);
    sl_assert_ok(sl_params_check(ctx, ps, model_loss, &m, 10, &g, &err));
    assert_int_equal(g.n_checked, 4 + 1 + 1 + 6 + 2 + 6);
    sl_params_free(ps);
    sl_ctx_free(ctx);
}

/* A loss whose value and gradient disagree: stop_grad hides half of d(x^2). */
static sl_var wrong_loss(sl_tape *t, void *user)
{
    sl_var x = sl_param_var(t, user);
    return sl_sum(t, sl_mul(t, x, sl_stop_grad(t, x)));
}

static void a_wrong_model_is_seen(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_params *ps;
    sl_gradcheck g;
    sl_assert_ok(sl_params_new(ctx, SL_F64, &ps, &err));
    sl_param *w = sl_params_add(ps, 0, "w", 1, (int64_t)4);
    sl_assert_ok(sl_params_build(ps, false, &err));
    sl_param_uniform(ps, w, 1, 1);
    sl_assert_ok(sl_params_check(ctx, ps, wrong_loss, w, 1, &g, &err));
    assert_true(fabs(g.max_rel_err - .5) < 1e-6); /* x against 2 x */
    assert_non_null(strstr(g.worst, "w element "));
    sl_params_free(ps);

    sl_assert_ok(sl_params_new(ctx, SL_F32, &ps, &err));
    w = sl_params_add(ps, 0, "w", 1, (int64_t)4);
    sl_assert_ok(sl_params_build(ps, false, &err));
    sl_assert_fails(sl_params_check(ctx, ps, wrong_loss, w, 1, &g, &err), SL_SHAPE, "w: it is F32 (expected F64)");
    sl_params_free(ps);
    sl_ctx_free(ctx);
}

static const sl_op *op_named(const char *name)
{
    for (int i = 0; sl_op_table[i]; i++)
        if (strcmp(sl_op_name(sl_op_table[i]), name) == 0)
            return sl_op_table[i];
    fail_msg("no operator %s", name);
    return NULL;
}

/* The n-th allocation fails, for every n: SL_MEM and no leak. One operator of each kind of example input. */
static void out_of_memory_is_reported(void **state)
{
    (void)state;
    static const char *const names[] = { "stop_grad", "xent", "encode_topk_among" };
    for (int i = 0; i < 3; i++)
        for (int64_t n = 1;; n++) {
            sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .fail_alloc_at = n });
            sl_gradcheck g;
            sl_err err = { 0 };
            sl_status st = sl_op_check(ctx, op_named(names[i]), 1, true, &g, &err);
            bool reached = sl_alloc_count(ctx) >= n;
            sl_ctx_free(ctx);
            if (st != (reached ? SL_MEM : SL_OK))
                fail_msg("%s, allocation %d: %s (%s)", names[i], (int)n, sl_status_name(st), err.msg);
            if (!reached)
                break;
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operator_agrees), cmocka_unit_test(a_flipped_sign_is_seen), cmocka_unit_test(names_are_distinct),
        cmocka_unit_test(a_whole_model_agrees), cmocka_unit_test(a_wrong_model_is_seen),
        cmocka_unit_test(out_of_memory_is_reported),
    };
    return cmocka_run_group_tests_name("tape_check", tests, NULL, NULL);
}
