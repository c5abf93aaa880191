/* Training steps as a whole: the same bits for any number of threads, gradient accumulation, a resumed optimizer. */
#include "support.h"

#include "tiny.h"

#include <string.h>

enum { N_PARAMS = 13, MOST = 48 * 16 };

static sl_optim optimizer(sl_optim_kind kind)
{
    return (sl_optim){ .kind = kind, .lr = 1e-2, .beta1 = .9, .beta2 = .99, .eps = 1e-8, .weight_decay = .1, .clip = 1,
                       .muon_lr = .02, .muon_momentum = .95 };
}

static void train(int n_threads, sl_optim_kind kind, float out[N_PARAMS][MOST])
{
    sl_ctx *ctx = sl_test_ctx(n_threads);
    sl_err err;
    tiny m;
    sl_optim o = optimizer(kind);
    sl_assert_ok(tiny_new(ctx, SL_F32, &m, &err));
    for (int i = 0; i < 4; i++)
        sl_assert_ok(tiny_step(&m, &o, .2, &err));
    assert_int_equal(sl_params_count(m.ps), N_PARAMS);
    for (int i = 0; i < N_PARAMS; i++)
        memcpy(out[i], sl_params_at(m.ps, i)->value.data, sl_nbytes(&sl_params_at(m.ps, i)->value));
    tiny_free(&m);
    sl_ctx_free(ctx);
}

static void same_bits_for_any_number_of_threads(void **state)
{
    (void)state;
    static float one[N_PARAMS][MOST], more[N_PARAMS][MOST];
    for (int kind = 0; kind < 2; kind++) {
        train(1, (sl_optim_kind)kind, one);
        for (int n = 2; n <= 4; n *= 2) {
            train(n, (sl_optim_kind)kind, more);
            sl_assert_same_bits("parameters", more, one, sizeof one);
        }
    }
}

/* Two micro-batches with d loss = 1/2 each give the gradient of the whole batch (f64, so that order of sums hardly matters). */
static void accumulation_equals_one_batch(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    tiny whole, parts;
    sl_assert_ok(tiny_new(ctx, SL_F64, &whole, &err));
    sl_assert_ok(tiny_new(ctx, SL_F64, &parts, &err));
    sl_assert_ok(sl_tape_backward(whole.t, tiny_loss(&whole, 0, TINY_B, 0), &err));
    for (int i = 0; i < 2; i++) {
        sl_tape_reset(parts.t);
        sl_var loss = tiny_loss(&parts, i * TINY_B / 2, TINY_B / 2, 0);
        sl_assert_ok(sl_tape_backward_scaled(parts.t, loss, .5, &err));
    }
    for (int i = 0; i < N_PARAMS; i++) {
        const sl_param *a = sl_params_at(parts.ps, i), *b = sl_params_at(whole.ps, i);
        assert_true(sl_tape_kern(whole.t)->sum_sq(sl_tape_kern(whole.t), &b->grad) > 0);
        sl_assert_close_f64(a->name, a->grad.data, b->grad.data, sl_numel(&a->grad), 1e-13, 1e-12);
    }
    tiny_free(&whole);
    tiny_free(&parts);
    sl_ctx_free(ctx);
}

/* The state is values, moments and the step: copied after 5 steps into a new model, 5 further steps give the same bits. */
static void resumed_is_uninterrupted(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        sl_ctx *ctx = sl_test_ctx(1);
        sl_err err;
        tiny a, b;
        sl_optim oa = optimizer((sl_optim_kind)kind), ob = oa;
        sl_assert_ok(tiny_new(ctx, SL_F32, &a, &err));
        sl_assert_ok(tiny_new(ctx, SL_F32, &b, &err));
        for (int i = 0; i < 5; i++)
            sl_assert_ok(tiny_step(&a, &oa, .2, &err));
        for (int i = 0; i < N_PARAMS; i++) {
            sl_param *p = sl_params_at(a.ps, i), *q = sl_params_at(b.ps, i);
            memcpy(q->value.data, p->value.data, sl_nbytes(&p->value));
            memcpy(q->m.data, p->m.data, sl_nbytes(&p->m));
            memcpy(q->v.data, p->v.data, sl_nbytes(&p->v));
            sl_param_touch(q);
        }
        ob.step = oa.step;
        for (int i = 0; i < 5; i++) {
            sl_assert_ok(tiny_step(&a, &oa, .2, &err));
            sl_assert_ok(tiny_step(&b, &ob, .2, &err));
        }
        for (int i = 0; i < N_PARAMS; i++)
            sl_assert_same_bits(sl_params_at(a.ps, i)->name, sl_params_at(b.ps, i)->value.data, sl_params_at(a.ps, i)->value.data,
                                sl_nbytes(&sl_params_at(a.ps, i)->value));
        tiny_free(&a);
        tiny_free(&b);
        sl_ctx_free(ctx);
    }
}

/* The loss of a batch that is trained on falls, by both optimizers. */
static void loss_falls(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        sl_ctx *ctx = sl_test_ctx(1);
        sl_err err;
        tiny m;
        sl_optim o = optimizer((sl_optim_kind)kind);
        sl_assert_ok(tiny_new(ctx, SL_F32, &m, &err));
        double first = sl_scalar(m.t, tiny_loss(&m, 0, TINY_B, 0));
        for (int i = 0; i < 30; i++)
            sl_assert_ok(tiny_step(&m, &o, 0, &err));
        sl_tape_reset(m.t);
        double last = sl_scalar(m.t, tiny_loss(&m, 0, TINY_B, 0));
        if (!(last < .8 * first))
            fail_msg("optimizer %d: loss from %g to %g", kind, first, last);
        tiny_free(&m);
        sl_ctx_free(ctx);
    }
}

static sl_var whole_loss(sl_tape *t, void *user)
{
    tiny *m = user;
    sl_tape *own = m->t;
    m->t = t;
    sl_tape_random(t, 3, 0);
    sl_var loss = tiny_loss(m, 0, 2, .2);
    m->t = own;
    return loss;
}

static void the_model_passes_the_gradient_check(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    tiny m;
    sl_gradcheck g;
    sl_assert_ok(tiny_new(ctx, SL_F64, &m, &err));
    sl_assert_ok(sl_params_check(ctx, m.ps, whole_loss, &m, 11, &g, &err));
    assert_true(g.n_checked > 200);
    if (!(g.max_rel_err < 1e-6))
        fail_msg("relative error %.3g (%s)", g.max_rel_err, g.worst);
    tiny_free(&m);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_for_any_number_of_threads), cmocka_unit_test(accumulation_equals_one_batch),
        cmocka_unit_test(resumed_is_uninterrupted), cmocka_unit_test(loss_falls),
        cmocka_unit_test(the_model_passes_the_gradient_check),
    };
    return cmocka_run_group_tests_name("tape_train", tests, NULL, NULL);
}
