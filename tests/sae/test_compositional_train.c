/* Schedules of the compositional variant (science.md C5), each as a function of the step: k from 4k to k over the first half, stage A without
 * the branch, orders 2, 3, 4 over the thirds after it, and compositions that are dead. */
#include "composed.h"
#include "rows.h"
#include "support.h"

#include <math.h>
#include <string.h>

enum { STEPS = 300, SB = 20 };

/* One training pass of `s` at `step` of STEPS; the network that encode and decode left. */
static sl_comp pass_at(sl_tape *t, sl_sae *s, const sl_sae_batch *b, sl_sae_pass *p)
{
    sl_err err;
    static float x[SB * CD];
    static sl_tensor xt;
    sl_rng g = sl_rng_at(5, SL_RNG_TEST, 73, 0);
    for (int i = 0; i < SB * CD; i++)
        x[i] = (float)sl_rng_normal(&g);
    xt = sl_tensor_of(SL_F32, x, 2, (int64_t)SB, (int64_t)CD);
    sl_tape_reset(t);
    *p = sl_sae_forward(t, s, sl_const(t, &xt), (sl_var){ 0 }, b);
    sl_assert_ok(sl_tape_status(t, &err));
    return *(const sl_comp *)p->z.own;
}

static sl_sae_batch batch_at(int64_t step) { return (sl_sae_batch){ .step = step, .steps = STEPS, .n = SB, .d_bar = CD }; }

static arm arm_of(double stage_a, int curriculum, int64_t order)
{
    arm a = arms[0];
    a.o.stage_a = stage_a;
    a.o.curriculum = curriculum;
    a.o.order = order;
    return a;
}

static void fire_all(sl_sae *s)
{
    for (int f = 0; f < CF; f++)
        ((float *)s->b_enc->value.data)[f] = 20;
    sl_param_touch(s->b_enc);
}

/* ---- graduated sparsity ---- */

static void k_falls_linearly(void **state)
{
    (void)state;
    sl_sae_batch b = { .steps = STEPS, .k_start = 32, .k_steps = STEPS / 2 };
    const struct { int64_t step, k; } at[] = { { 0, 32 }, { 25, 28 }, { 75, 20 }, { 149, 8 }, { 150, 8 }, { 299, 8 } };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        b.step = at[i].step;
        assert_int_equal(sl_sae_k_now(&b, 8, 64), at[i].k);
    }
    b.step = 0;
    assert_int_equal(sl_sae_k_now(&b, 8, 30), 30); /* never more than there are */
    assert_int_equal(sl_sae_k_now(NULL, 8, 64), 8);
    for (int64_t s = 1; s < STEPS; s++) { /* and it never rises */
        b.step = s;
        int64_t now = sl_sae_k_now(&b, 8, 64);
        b.step--;
        assert_true(now <= sl_sae_k_now(&b, 8, 64));
    }
}

/* As many tokens as k says, also where the branch is on. */
static void tokens_follow_k(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    arm a = arm_of(.2, SL_COMP_RISING, 4);
    a.o.k = 2;
    sl_sae *s = composed_sae(ctx, &a, SL_F32);
    sl_tape *t;
    sl_sae_pass p;
    fire_all(s);
    sl_assert_ok(sl_tape_new(ctx, SL_F32, &t, &err));
    const struct { int64_t step, k; } at[] = { { 0, 8 }, { 75, 5 }, { 150, 2 }, { 299, 2 } };
    for (int i = 0; i < 4; i++) {
        sl_sae_batch b = batch_at(at[i].step);
        b.k_start = 8;
        b.k_steps = STEPS / 2;
        sl_comp c = pass_at(t, s, &b, &p);
        assert_int_equal(sl_code_csr(t, p.z.sparse)->row_ptr[SB], SB * at[i].k);
        assert_int_equal(c.on, at[i].step >= 60);
    }
    sl_tape_free(t);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

/* ---- stage A ---- */

static void copy_weights(const sl_sae *from, sl_sae *to)
{
    const sl_param *a[] = { from->W_enc, from->b_enc, from->W_dec, from->b_dec };
    sl_param *b[] = { to->W_enc, to->b_enc, to->W_dec, to->b_dec };
    for (int i = 0; i < 4; i++) {
        assert_int_equal(sl_numel(&a[i]->value), sl_numel(&b[i]->value));
        memcpy(b[i]->value.data, a[i]->value.data, sl_nbytes(&a[i]->value));
        sl_param_touch(b[i]);
    }
}

static void trained(sl_ctx *ctx, sl_sae *s)
{
    sl_err err;
    rows r;
    sl_sae_result res;
    sl_sae_train_config c;
    sl_opts_default(sl_sae_train_opts, &c);
    c.steps = 40;
    c.batch = 32;
    c.checkpoint_seconds = 0;
    c.k_start = 4 * 2;
    c.k_anneal = .5;
    rows_planted(&r, 400, CD, 12, 2, 6, NULL);
    sl_assert_ok(sl_sae_train(s, &r.src, &c, NULL, &res, &err));
    sl_free(ctx, res.curve);
    rows_release(&r);
}

/* A run that ends before stage B is a TopK SAE's, bit for bit; one with a stage B is not. */
static void stage_a_is_topk(void **state)
{
    (void)state;
    for (int composing = 0; composing < 2; composing++) {
        sl_ctx *ctx = sl_test_ctx(1);
        sl_err err;
        arm a = arm_of(composing ? .2 : 1, SL_COMP_RISING, 4);
        sl_sae *s, *topk, *last;
        a.o.k = 2;
        sl_assert_ok(sl_sae_new(ctx, "compositional", CD, CF, &a.o, 7, &s, &err));
        sl_assert_ok(sl_sae_new(ctx, "topk", CD, CF, &(sl_topk_options){ .k = 2, .k_aux = 3, .aux_alpha = .5 }, 7, &topk, &err));
        sl_assert_ok(sl_sae_new(ctx, "topk", CD, CF, &(sl_topk_options){ .k = 2 }, 7, &last, &err));
        trained(ctx, s);
        trained(ctx, topk);
        copy_weights(s, last);
        bool same = memcmp(last->W_dec->value.data, topk->W_dec->value.data, sl_nbytes(&topk->W_dec->value)) == 0
                    && memcmp(last->W_enc->value.data, topk->W_enc->value.data, sl_nbytes(&topk->W_enc->value)) == 0;
        double rho = (double)*(const float *)s->extra[SL_COMP_RHO]->value.data;
        assert_int_equal(same, !composing);
        assert_int_equal(rho == 0, !composing);
        sl_sae_free(s);
        sl_sae_free(topk);
        sl_sae_free(last);
        sl_ctx_free(ctx);
    }
}

/* Equal gates would make sum_i g (mean V - V_i) = 0: where P is uniform the branch has to start from gates that differ. */
static void every_attention_composes(void **state)
{
    (void)state;
    static const int kinds[] = { SL_COMP_LEARNED, SL_COMP_UNIFORM, SL_COMP_FROZEN_QK, SL_COMP_DEEP_SETS };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        sl_ctx *ctx = sl_test_ctx(1);
        sl_err err;
        arm a = arm_of(.2, SL_COMP_NONE, 4);
        sl_sae *s;
        a.o.k = 2;
        a.o.attention = kinds[i];
        sl_assert_ok(sl_sae_new(ctx, "compositional", CD, CF, &a.o, 7, &s, &err));
        trained(ctx, s);
        assert_true(*(const float *)s->extra[SL_COMP_RHO]->value.data != 0);
        sl_sae_free(s);
        sl_ctx_free(ctx);
    }
}

/* ---- the curriculum ---- */

/* The order at `step`, 0: the branch is off; it is also the longest list that attention has. */
static int64_t order_of(sl_ctx *ctx, const arm *a, int64_t step)
{
    sl_err err;
    sl_tape *t;
    sl_sae_pass p;
    sl_sae *s = composed_sae(ctx, a, SL_F32);
    sl_sae_batch b = batch_at(step);
    fire_all(s); /* rows of CK tokens */
    sl_assert_ok(sl_tape_new(ctx, SL_F32, &t, &err));
    sl_comp c = pass_at(t, s, &b, &p);
    int64_t order = c.on ? c.order : 0;
    if (c.on && order)
        assert_int_equal(sl_value(t, c.block[0].P.v)->dim[2], order < CK ? order : CK);
    sl_tape_free(t);
    sl_sae_free(s);
    return order;
}

static void curriculum(void **state)
{
    (void)state;
    const struct { double stage_a; int kind; int64_t order, step[6], expected[6], settled; } all[] = {
        /* stage A is 60 steps of 300; thirds of the other 240 begin at 60, 140, 220 */
        { .2, SL_COMP_RISING, 4, { 59, 60, 139, 141, 221, 299 }, { 0, 2, 2, 3, 4, 4 }, 4 },
        { .2, SL_COMP_FALLING, 4, { 59, 60, 139, 141, 221, 299 }, { 0, 4, 4, 3, 2, 2 }, 2 },
        { .2, SL_COMP_NONE, 4, { 59, 60, 139, 141, 221, 299 }, { 0, 4, 4, 4, 4, 4 }, 4 },
        { .2, SL_COMP_RISING, 3, { 59, 60, 139, 141, 221, 299 }, { 0, 2, 2, 2, 3, 3 }, 3 },
        { 0, SL_COMP_RISING, 4, { 0, 99, 101, 199, 201, 299 }, { 2, 2, 3, 3, 4, 4 }, 4 },
    };
    sl_ctx *ctx = sl_test_ctx(1);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        arm a = arm_of(all[i].stage_a, all[i].kind, all[i].order);
        for (int j = 0; j < 6; j++)
            assert_int_equal(order_of(ctx, &a, all[i].step[j]), all[i].expected[j]);
        sl_sae *s = composed_sae(ctx, &a, SL_F32);
        assert_int_equal(sl_comp_settled(s).order, all[i].settled); /* outside of training: as it was trained last */
        sl_sae_free(s);
    }
    sl_ctx_free(ctx);
}

/* ---- dead compositions ---- */

static void after(sl_tape *t, sl_sae *s, const sl_sae_batch *b, const sl_sae_pass *p)
{
    sl_err err;
    s->ops->after_step(t, s, p, b, &(sl_sae_seen){ .n = SB });
    sl_assert_ok(sl_tape_status(t, &err));
}

/* Rows since each composition fired: 0 for those that do, SB more a step for others, nothing in stage A; sigma_z follows all the time. */
static void idle_rows_are_counted(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    arm a = arm_of(.2, SL_COMP_RISING, 4);
    sl_sae *s = composed_sae(ctx, &a, SL_F32);
    sl_tape *t;
    sl_sae_pass p;
    const float *idle = s->extra[SL_COMP_IDLE]->value.data;
    sl_assert_ok(sl_tape_new(ctx, SL_F32, &t, &err));
    ((float *)s->extra[SL_COMP_THETA]->value.data)[5] = 1000; /* never fires */
    sl_param_touch(s->extra[SL_COMP_THETA]);
    for (int step = 58; step < 63; step++) {
        sl_sae_batch b = batch_at(step);
        double before = s->state[0];
        sl_comp c = pass_at(t, s, &b, &p);
        after(t, s, &b, &p);
        assert_true(s->state[0] != before);
        assert_true(idle[5] == (float)(step < 60 ? 0 : (step - 59) * SB));
        const sl_csr *fired = step < 60 ? NULL : sl_code_csr(t, c.c);
        for (int64_t e = 0; fired && e < fired->row_ptr[SB]; e++)
            assert_true(idle[fired->idx[e]] == 0);
        assert_true(!fired || fired->row_ptr[SB] > 5);
    }
    sl_tape_free(t);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

/* |gradient| of the rows of W_comp_dec of the two compositions 4 and 5, which never fire by themselves, in the first step of which they are dead
 * and in the one before. */
static void the_dead_explain_the_residual(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    arm a = arm_of(0, SL_COMP_NONE, 4);
    a.o.aux_c_alpha = 1;
    sl_sae *s = composed_sae(ctx, &a, SL_F32);
    sl_tape *t;
    sl_assert_ok(sl_tape_new(ctx, SL_F32, &t, &err));
    const int64_t window = STEPS * SB / 10; /* a tenth of the run */
    float *idle = s->extra[SL_COMP_IDLE]->value.data;
    for (int q = 4; q < 6; q++) /* below whatever else fires, but above 0 for some rows */
        memset((float *)s->extra[SL_COMP_IN]->value.data + q * CC, 0, CC * sizeof(float));
    for (int q = 4; q < 6; q++)
        for (int c = 0; c < CC; c++)
            ((float *)s->extra[SL_COMP_IN]->value.data)[q * CC + c] = .02f * (float)(c % 2 ? 1 : -1) * (q == 4 ? 1 : -1);
    for (int q = 4; q < 6; q++)
        ((float *)s->extra[SL_COMP_THETA]->value.data)[q] = -12;
    sl_param_touch(s->extra[SL_COMP_IN]);
    sl_param_touch(s->extra[SL_COMP_THETA]);
    for (int late = 0; late < 2; late++) {
        sl_sae_pass p;
        sl_sae_batch b = batch_at(200);
        idle[4] = idle[5] = (float)(late ? window : window - 1);
        sl_param_touch(s->extra[SL_COMP_IDLE]);
        pass_at(t, s, &b, &p);
        sl_var loss = s->ops->loss(t, s, &p, &b), plain = sl_sae_reconstruction_loss(t, s, &p, &b);
        assert_int_equal(sl_scalar(t, loss) > sl_scalar(t, plain), late);
        sl_params_zero_grad(s->params);
        sl_assert_ok(sl_tape_backward(t, sl_sub(t, loss, plain), &err));
        sl_assert_ok(sl_params_dense(s->params, &err));
        double of[CM] = { 0 };
        for (int i = 0; i < CM * CD; i++)
            of[i / CD] += fabs((double)((const float *)s->extra[SL_COMP_OUT]->grad.data)[i]);
        for (int q = 0; q < CM; q++)
            assert_int_equal(of[q] > 0, late && (q == 4 || q == 5));
    }
    sl_tape_free(t);
    sl_sae_free(s);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(k_falls_linearly), cmocka_unit_test(tokens_follow_k), cmocka_unit_test(stage_a_is_topk), cmocka_unit_test(every_attention_composes),
        cmocka_unit_test(curriculum),
        cmocka_unit_test(idle_rows_are_counted), cmocka_unit_test(the_dead_explain_the_residual),
    };
    return cmocka_run_group_tests_name("sae_compositional_train", tests, NULL, NULL);
}
