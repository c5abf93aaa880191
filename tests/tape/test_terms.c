/* Gradients of dictionaries that stay terms until the optimizer's sweep, against the same model whose gradients are whole arrays. */
#include "support.h"

#include "tape/tape.h"

#include <math.h>
#include <string.h>

enum { B = 24, D = 37, F = 50, K = 5, STEPS = 4 };

typedef struct model {
    sl_ctx *ctx;
    sl_params *ps;
    sl_tape *t;
    sl_param *W_enc, *b_enc, *W_dec, *b_dec;
    sl_optim o;
    float x[B * D];
    uint8_t alive[F];
    int uses; /* codes made and decoded a step, each of the next rows */
    bool penalty; /* a use of W_dec that needs its gradient whole */
} model;

static void open_model(model *m, int threads, bool terms)
{
    sl_err err;
    memset(m, 0, sizeof *m);
    m->ctx = sl_test_ctx(threads);
    unsigned flag = terms ? SL_PARAM_TERMS : 0;
    sl_assert_ok(sl_params_new(m->ctx, SL_F32, &m->ps, &err));
    m->W_enc = sl_params_add(m->ps, flag, "W_enc", 2, (int64_t)F, (int64_t)D);
    m->b_enc = sl_params_add(m->ps, 0, "b_enc", 1, (int64_t)F);
    m->W_dec = sl_params_add(m->ps, flag | SL_PARAM_UNIT_ROWS, "W_dec", 2, (int64_t)F, (int64_t)D);
    m->b_dec = sl_params_add(m->ps, 0, "b_dec", 1, (int64_t)D);
    sl_assert_ok(sl_params_build(m->ps, true, &err));
    assert_true(terms == !m->W_enc->grad.data);
    for (int i = 0; i < 4; i++)
        sl_param_normal(m->ps, sl_params_at(m->ps, i), 3, .4);
    sl_assert_ok(sl_tape_new(m->ctx, SL_F32, &m->t, &err));
    m->o = (sl_optim){ .kind = SL_OPTIM_ADAMW, .lr = .01, .beta1 = .9, .beta2 = .99, .eps = 1e-8, .clip = .5 };
    sl_rng r = sl_rng_at(1, SL_RNG_TEST, 0, 0);
    for (int i = 0; i < B * D; i++)
        m->x[i] = (float)sl_rng_normal(&r);
    for (int f = 0; f < F; f++)
        m->alive[f] = f % 3 != 0;
    m->uses = 1;
}

static void close_model(model *m)
{
    sl_tape_free(m->t);
    sl_params_free(m->ps);
    sl_ctx_free(m->ctx);
}

static sl_var loss_of(model *m)
{
    sl_tape *t = m->t;
    sl_tensor rows = sl_tensor_of(SL_F32, m->x, 2, (int64_t)B, (int64_t)D), alive = sl_tensor_of(SL_U8, m->alive, 1, (int64_t)F);
    sl_var x = sl_const(t, &rows), loss = { 0 };
    for (int i = 0; i < m->uses; i++) {
        sl_var in = sl_sub_row(t, x, sl_param_var(t, m->b_dec)), W = sl_param_var(t, m->W_enc), b = sl_param_var(t, m->b_enc);
        sl_code z = i ? sl_encode_topk_among(t, in, W, b, K + i, &alive) : sl_encode_topk(t, in, W, b, K);
        sl_var l = sl_sq_dist(t, x, sl_sparse_decode(t, z, sl_param_var(t, m->W_dec), i ? (sl_var){ 0 } : sl_param_var(t, m->b_dec)));
        loss = i ? sl_add(t, loss, l) : l;
    }
    return m->penalty ? sl_add(t, loss, sl_sum(t, sl_row_norm(t, sl_param_var(t, m->W_dec)))) : loss;
}

static void backward(model *m)
{
    sl_err err;
    sl_tape_reset(m->t);
    sl_params_zero_grad(m->ps);
    sl_assert_ok(sl_tape_backward(m->t, loss_of(m), &err));
}

static double step(model *m)
{
    sl_err err;
    double norm;
    backward(m);
    sl_assert_ok(sl_optim_step(&m->o, m->ps, &norm, &err));
    return norm;
}

static void same(const model *a, const model *b)
{
    for (int i = 0; i < 4; i++) {
        const sl_param *p = sl_params_at(a->ps, i), *q = sl_params_at(b->ps, i);
        sl_assert_same_bits(p->name, p->value.data, q->value.data, sl_nbytes(&p->value));
        sl_assert_same_bits("m", p->m.data, q->m.data, sl_nbytes(&p->value));
        sl_assert_same_bits("v", p->v.data, q->v.data, sl_nbytes(&p->value));
    }
}

/* One use, two (AuxK), more than terms are kept, and with a whole part besides. */
static void as_whole_gradients(void **state)
{
    static const int uses[] = { 1, 2, SL_PARAM_MAX_TERMS + 2, 2 };
    (void)state;
    for (int i = 0; i < 4; i++) {
        model a, b;
        open_model(&a, 1, true);
        open_model(&b, 1, false);
        a.uses = b.uses = uses[i];
        a.penalty = b.penalty = i == 3;
        for (int s = 0; s < STEPS; s++) {
            double na = step(&a), nb = step(&b);
            assert_true(fabs(na - nb) <= 1e-6 * nb && nb > a.o.clip);
        }
        if (i < 2)
            same(&a, &b);
        else /* terms that come after the whole part are added after it */
            for (int p = 0; p < 4; p++)
                sl_assert_close_f32("weights", sl_params_at(a.ps, p)->value.data, sl_params_at(b.ps, p)->value.data, sl_numel(&sl_params_at(a.ps, p)->value), 2e-4, 1e-4);
        assert_true((i < 2) == !a.W_dec->grad.data);
        close_model(&a);
        close_model(&b);
    }
}

static void any_number_of_threads(void **state)
{
    (void)state;
    model a, b;
    open_model(&a, 1, true);
    a.uses = 2;
    for (int s = 0; s < STEPS; s++)
        step(&a);
    for (int threads = 2; threads <= 4; threads += 2) {
        open_model(&b, threads, true);
        b.uses = 2;
        for (int s = 0; s < STEPS; s++)
            step(&b);
        same(&a, &b);
        close_model(&b);
    }
    close_model(&a);
}

static void dense_on_demand(void **state)
{
    (void)state;
    model a, b;
    sl_err err;
    open_model(&a, 1, true);
    open_model(&b, 1, false);
    backward(&a);
    backward(&b);
    assert_int_equal(a.W_dec->n_terms, 1);
    sl_assert_ok(sl_params_dense(a.ps, &err));
    for (int i = 0; i < 4; i++)
        sl_assert_same_bits("gradient", sl_params_at(a.ps, i)->grad.data, sl_params_at(b.ps, i)->grad.data, sl_nbytes(&sl_params_at(b.ps, i)->grad));
    sl_assert_ok(sl_params_dense(a.ps, &err)); /* a second time adds nothing */
    sl_assert_same_bits("gradient", a.W_dec->grad.data, b.W_dec->grad.data, sl_nbytes(&b.W_dec->grad));
    close_model(&a);
    close_model(&b);
}

/* Clipped by the norm of the whole gradient, not of what the projection leaves: Adam is told a smaller factor. */
static void clip_first(void **state)
{
    (void)state;
    model a, b;
    open_model(&a, 1, true);
    open_model(&b, 1, true);
    b.o.clip_first = true;
    double projected = step(&a), whole = step(&b), along = 0;
    assert_true(whole > projected * 1.0001);
    const float *m = a.W_dec->m.data, *n = b.W_dec->m.data;
    for (int i = 0; i < F * D; i++)
        along = fmax(along, fabs((double)m[i] * projected - (double)n[i] * whole));
    assert_true(along < 1e-5); /* the first moment is .1 factor g, and factor = clip / norm */
    close_model(&a);
    close_model(&b);
}

static void not_finite(void **state)
{
    (void)state;
    model a;
    sl_err err;
    open_model(&a, 1, true);
    a.x[3 * D + 7] = 1e30f;
    backward(&a);
    float before = ((float *)a.W_dec->value.data)[0];
    assert_true(sl_optim_step(&a.o, a.ps, NULL, &err) == SL_NUMERIC && strncmp(err.msg, "step 0: ", 8) == 0 && strstr(err.msg, "not finite"));
    assert_true(((float *)a.W_dec->value.data)[0] == before && a.o.step == 0);
    close_model(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_whole_gradients), cmocka_unit_test(any_number_of_threads), cmocka_unit_test(dense_on_demand),
        cmocka_unit_test(clip_first), cmocka_unit_test(not_finite),
    };
    return cmocka_run_group_tests_name("tape_terms", tests, NULL, NULL);
}
