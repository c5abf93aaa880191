/* Parameters, optimizers and schedules against hand-computed values. */
#include "support.h"

#include "tape/tape.h"

#include <math.h>
#include <string.h>

typedef struct set { sl_ctx *ctx; sl_params *ps; } set;

static void open_set(set *s)
{
    sl_err err;
    s->ctx = sl_test_ctx(1);
    sl_assert_ok(sl_params_new(s->ctx, SL_F64, &s->ps, &err));
}

static void close_set(set *s)
{
    sl_params_free(s->ps);
    sl_ctx_free(s->ctx);
}

static double *value(sl_param *p) { return p->value.data; }
static double *grad(sl_param *p) { return p->grad.data; }

/* ---- parameters ---- */

static void parameters(void **state)
{
    (void)state;
    set s;
    sl_err err;
    open_set(&s);
    sl_param *a = sl_params_add(s.ps, SL_PARAM_DECAY, "a", 2, (int64_t)3, (int64_t)5), *b = sl_params_add(s.ps, 0, "b", 0);
    sl_assert_ok(sl_params_build(s.ps, true, &err));
    assert_int_equal(sl_params_count(s.ps), 2);
    assert_int_equal(sl_params_numel(s.ps), 16);
    assert_ptr_equal(sl_params_at(s.ps, 1), b);
    assert_ptr_equal(sl_params_find(s.ps, "b"), b);
    assert_null(sl_params_find(s.ps, "c"));
    assert_true(a->lr_scale == 1 && a->flags == SL_PARAM_DECAY && a->value.n_dim == 2 && a->m.dim[1] == 5);
    for (int i = 0; i < 15; i++)
        assert_true(value(a)[i] == 0 && grad(a)[i] == 0 && ((double *)a->m.data)[i] == 0 && ((double *)a->v.data)[i] == 0);
    assert_int_equal((uintptr_t)b->value.data % 64, 0);
    grad(a)[7] = grad(b)[0] = 3;
    sl_params_zero_grad(s.ps);
    assert_true(grad(a)[7] == 0 && grad(b)[0] == 0);
    uint64_t before = a->version;
    sl_param_touch(a);
    assert_true(a->version > before);
    sl_params *none;
    sl_assert_fails(sl_params_new(s.ctx, SL_I32, &none, &err), SL_ARG, "parameters: parameters of I32 (expected F32 or F64)");
    close_set(&s);
}

static void initial_values(void **state)
{
    (void)state;
    set s;
    sl_err err;
    enum { N = 20000 };
    open_set(&s);
    sl_param *a = sl_params_add(s.ps, 0, "a", 1, (int64_t)N), *b = sl_params_add(s.ps, 0, "b", 1, (int64_t)N);
    sl_assert_ok(sl_params_build(s.ps, false, &err));
    assert_null(a->m.data);
    sl_param_normal(s.ps, a, 9, .02);
    sl_param_normal(s.ps, b, 9, .02);
    assert_true(a->version == 1 && value(a)[0] != value(b)[0]); /* a stream for each parameter */
    double mean = 0, sq = 0, most = 0, least = 0;
    for (int i = 0; i < N; i++) {
        mean += value(a)[i] / N;
        sq += value(a)[i] * value(a)[i] / N;
    }
    assert_true(fabs(mean) < .02 * 4 / sqrt(N) && fabs(sqrt(sq) - .02) < .02 * 4 / sqrt(2. * N));
    sl_param_uniform(s.ps, b, 9, .5);
    for (int i = 0; i < N; i++) {
        most = fmax(most, value(b)[i]);
        least = fmin(least, value(b)[i]);
    }
    assert_true(most < .5 && most > .499 && least >= -.5 && least < -.499);
    double again = value(a)[123];
    sl_param_normal(s.ps, a, 9, .02);
    assert_true(value(a)[123] == again);
    close_set(&s);
}

/* ---- AdamW ---- */

/* torch.optim.AdamW written out for one element over three steps. */
static void adamw_by_hand(void **state)
{
    (void)state;
    set s;
    sl_err err;
    open_set(&s);
    sl_param *w = sl_params_add(s.ps, SL_PARAM_DECAY, "w", 1, (int64_t)1), *u = sl_params_add(s.ps, 0, "u", 1, (int64_t)1);
    sl_param *c = sl_params_add(s.ps, SL_PARAM_FROZEN, "c", 1, (int64_t)1);
    sl_assert_ok(sl_params_build(s.ps, true, &err));
    u->lr_scale = .5;
    value(w)[0] = 1;
    value(u)[0] = -2;
    value(c)[0] = 7;
    sl_optim o = { .kind = SL_OPTIM_ADAMW, .lr = .1, .beta1 = .9, .beta2 = .99, .eps = 1e-8, .weight_decay = .1 };
    static const double g[3] = { .5, -.25, 1 };
    double x[2] = { 1, -2 }, m[2] = { 0 }, v[2] = { 0 };
    for (int t = 1; t <= 3; t++) {
        double norm;
        grad(w)[0] = grad(u)[0] = g[t - 1];
        grad(c)[0] = NAN; /* frozen: not even looked at */
        sl_assert_ok(sl_optim_step(&o, s.ps, &norm, &err));
        assert_true(fabs(norm - sqrt(2) * fabs(g[t - 1])) < 1e-15);
        for (int i = 0; i < 2; i++) {
            double lr = i ? .05 : .1;
            x[i] *= 1 - lr * (i ? 0 : .1);
            m[i] = .9 * m[i] + .1 * g[t - 1];
            v[i] = .99 * v[i] + .01 * g[t - 1] * g[t - 1];
            x[i] -= lr * (m[i] / (1 - pow(.9, t))) / (sqrt(v[i] / (1 - pow(.99, t))) + 1e-8);
        }
        assert_true(fabs(value(w)[0] - x[0]) < 1e-14 && fabs(value(u)[0] - x[1]) < 1e-14);
    }
    assert_true(value(c)[0] == 7 && c->version == 0 && w->version == 3 && o.step == 3);
    assert_true(fabs(value(w)[0] - 1) > .1); /* it moved */
    close_set(&s);
}

/* With beta1 = beta2 = 0 a step is lr sign(g): use eps large to see the clipped gradient itself, g / (|g| + eps). */
static void clipping(void **state)
{
    (void)state;
    set s;
    sl_err err;
    open_set(&s);
    sl_param *w = sl_params_add(s.ps, 0, "w", 1, (int64_t)2);
    sl_assert_ok(sl_params_build(s.ps, true, &err));
    const double eps = 1e6;
    for (int clipped = 0; clipped < 2; clipped++) {
        sl_optim o = { .kind = SL_OPTIM_ADAMW, .lr = eps, .eps = eps, .clip = clipped ? 1 : 6 };
        double norm, factor = clipped ? 1 / (5 + 1e-6) : 1;
        value(w)[0] = value(w)[1] = 0;
        grad(w)[0] = 3;
        grad(w)[1] = -4;
        sl_assert_ok(sl_optim_step(&o, s.ps, &norm, &err));
        assert_true(norm == 5);
        assert_true(fabs(value(w)[0] + 3 * factor) < 1e-4 && fabs(value(w)[1] - 4 * factor) < 1e-4);
    }
    close_set(&s);
}

static void unit_rows(void **state)
{
    (void)state;
    set s;
    sl_err err;
    open_set(&s);
    sl_param *w = sl_params_add(s.ps, SL_PARAM_UNIT_ROWS, "W_dec", 2, (int64_t)2, (int64_t)2);
    sl_assert_ok(sl_params_build(s.ps, true, &err));
    double w0[] = { 1, 0, .6, .8 }, g[] = { 5, 2, 3, 4 }; /* the second gradient is parallel to its row: projected to 0 */
    memcpy(value(w), w0, sizeof w0);
    memcpy(grad(w), g, sizeof g);
    sl_optim o = { .kind = SL_OPTIM_ADAMW, .lr = .1, .beta1 = .9, .beta2 = .999, .eps = 1e-8 };
    double norm;
    sl_assert_ok(sl_optim_step(&o, s.ps, &norm, &err));
    assert_true(fabs(norm - 2) < 1e-14); /* after the projection only (0, 2) is left */
    double length = sqrt(1 + .01);
    assert_true(fabs(value(w)[0] - 1 / length) < 1e-8 && fabs(value(w)[1] + .1 / length) < 1e-8);
    assert_true(fabs(value(w)[2] * value(w)[2] + value(w)[3] * value(w)[3] - 1) < 1e-14);
    close_set(&s);
}

static void non_finite_gradients_stop_everything(void **state)
{
    (void)state;
    set s;
    sl_err err;
    open_set(&s);
    sl_param *a = sl_params_add(s.ps, SL_PARAM_UNIT_ROWS, "W_dec", 2, (int64_t)2, (int64_t)3);
    sl_param *b = sl_params_add(s.ps, 0, "W_enc", 2, (int64_t)4, (int64_t)6), *c = sl_params_add(s.ps, 0, "c", 0);
    sl_assert_ok(sl_params_build(s.ps, true, &err));
    sl_param_normal(s.ps, a, 1, 1);
    double before = value(a)[0];
    grad(a)[0] = grad(a)[1] = 1;
    grad(b)[3 * 6 + 5] = NAN;
    sl_optim o = { .kind = SL_OPTIM_ADAMW, .lr = .1, .beta1 = .9, .beta2 = .99, .eps = 1e-8, .step = 17 };
    sl_assert_fails(sl_optim_step(&o, s.ps, NULL, &err), SL_NUMERIC, "step 17: gradient of W_enc[3, 5] is not finite");
    assert_true(value(a)[0] == before && grad(a)[0] == 1 && o.step == 17 && a->version == 1);
    grad(b)[3 * 6 + 5] = 1e200; /* its square overflows: finite, but without a norm */
    sl_assert_fails(sl_optim_step(&o, s.ps, NULL, &err), SL_NUMERIC, "step 17: norm of the gradient of W_enc is not finite");
    grad(b)[3 * 6 + 5] = 0;
    grad(c)[0] = INFINITY;
    sl_assert_fails(sl_optim_step(&o, s.ps, NULL, &err), SL_NUMERIC, "step 17: gradient of c[] is not finite");
    close_set(&s);
}

/* ---- Muon ---- */

/* After one step with lr 1 the change of each block is -scale X with X nearly orthogonal: the Newton-Schulz quintic leaves
 * singular values between about .7 and 1.2 (Jordan 2024), so rows of the short side have norms in that range. */
static void assert_orthogonal(const double *x, int64_t rows, int64_t cols, double scale)
{
    int64_t side = rows < cols ? rows : cols, inner = rows < cols ? cols : rows;
    for (int64_t i = 0; i < side; i++)
        for (int64_t j = 0; j <= i; j++) {
            double dot = 0;
            for (int64_t k = 0; k < inner; k++)
                dot += rows < cols ? x[i * cols + k] * x[j * cols + k] : x[k * cols + i] * x[k * cols + j];
            dot /= scale * scale;
            if (i == j ? !(dot > .45 && dot < 1.5) : !(fabs(dot) < .4))
                fail_msg("[%lld, %lld] x: (%lld, %lld) of the Gram matrix is %g", (long long)rows, (long long)cols, (long long)i,
                         (long long)j, dot);
        }
}

static void muon_orthogonalises(void **state)
{
    (void)state;
    static const struct { int64_t rows, cols, blocks; } cases[] = { { 8, 8, 1 }, { 6, 16, 1 }, { 32, 8, 1 }, { 24, 8, 3 } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        set s;
        sl_err err;
        open_set(&s);
        int64_t rows = cases[c].rows, cols = cases[c].cols, block = rows / cases[c].blocks;
        sl_param *w = sl_params_add(s.ps, SL_PARAM_MATRIX, "w", 2, rows, cols), *b = sl_params_add(s.ps, 0, "b", 1, (int64_t)1);
        sl_assert_ok(sl_params_build(s.ps, true, &err));
        sl_rng r = sl_rng_at(4, SL_RNG_TEST, 0, c);
        for (int64_t i = 0; i < rows * cols; i++)
            grad(w)[i] = 1e-3 * sl_rng_normal(&r);
        grad(b)[0] = 2;
        sl_optim o = { .kind = SL_OPTIM_MUON, .lr = .25, .beta1 = .9, .beta2 = .99, .eps = 1e-12, .muon_lr = 1, .muon_momentum = .95 };
        sl_assert_ok(sl_optim_step(&o, s.ps, NULL, &err));
        for (int64_t i = 0; i < cases[c].blocks; i++)
            assert_orthogonal(value(w) + i * block * cols, block, cols, sqrt(fmax(1, (double)block / (double)cols)));
        double along = 0;
        for (int64_t i = 0; i < rows * cols; i++)
            along += value(w)[i] * grad(w)[i];
        assert_true(along < 0);                           /* against the gradient */
        assert_true(fabs(value(b)[0] + .25) < 1e-10);     /* the rest by Adam */
        close_set(&s);
    }
}

/* A diagonal gradient stays diagonal, so a step is scalar arithmetic: five quintics of d_i / |d|, momentum and decay by hand. */
static void muon_by_hand(void **state)
{
    (void)state;
    set s;
    sl_err err;
    open_set(&s);
    sl_param *w = sl_params_add(s.ps, SL_PARAM_MATRIX | SL_PARAM_DECAY, "w", 2, (int64_t)2, (int64_t)2);
    sl_assert_ok(sl_params_build(s.ps, true, &err));
    w->lr_scale = .5;
    double m[2] = { 0 }, x[2] = { 1, 1 };
    value(w)[0] = value(w)[3] = 1;
    sl_optim o = { .kind = SL_OPTIM_MUON, .muon_lr = .2, .muon_momentum = .95, .weight_decay = .1 };
    for (int t = 0; t < 3; t++) {
        double g[2] = { 3 - t, 4 + t * t }, u[2];
        grad(w)[0] = g[0];
        grad(w)[3] = g[1];
        sl_assert_ok(sl_optim_step(&o, s.ps, NULL, &err));
        for (int i = 0; i < 2; i++) {
            m[i] = .95 * m[i] + g[i];
            u[i] = g[i] + .95 * m[i];
        }
        double norm = sqrt(u[0] * u[0] + u[1] * u[1]) + 1e-7;
        for (int i = 0; i < 2; i++) {
            double d = u[i] / norm;
            for (int k = 0; k < 5; k++)
                d = 3.4445 * d - 4.7750 * d * d * d + 2.0315 * d * d * d * d * d;
            x[i] = (1 - .1 * .1) * x[i] - .1 * d;
        }
        double expected[] = { x[0], 0, 0, x[1] };
        sl_assert_close_f64("w", value(w), expected, 4, 1e-13, 0);
    }
    close_set(&s);
}

/* X <- 3.4445 X - 4.7750 (X X^T) X + 2.0315 (X X^T)^2 X, five times from u / |u|, by plain loops; u [rows, cols] in place. */
static void orthogonalise(double *u, int rows, int cols)
{
    double norm = 0, A[16 * 16], next[16 * 16];
    for (int i = 0; i < rows * cols; i++)
        norm += u[i] * u[i];
    for (int i = 0; i < rows * cols; i++)
        u[i] /= sqrt(norm) + 1e-7;
    for (int step = 0; step < 5; step++) {
        for (int i = 0; i < rows * rows; i++) {
            A[i] = 0;
            for (int k = 0; k < cols; k++)
                A[i] += u[i / rows * cols + k] * u[i % rows * cols + k];
        }
        for (int i = 0; i < rows * cols; i++) {
            next[i] = 3.4445 * u[i];
            for (int k = 0; k < rows; k++) {
                double square = 0;
                for (int j = 0; j < rows; j++)
                    square += A[i / cols * rows + j] * A[j * rows + k];
                next[i] += (-4.7750 * A[i / cols * rows + k] + 2.0315 * square) * u[k * cols + i % cols];
            }
        }
        memcpy(u, next, (size_t)(rows * cols) * sizeof *u);
    }
}

/* Two steps of a wide, a tall and a stacked q, k, v matrix against plain loops (X X^T whichever side is shorter). */
static void muon_against_plain_loops(void **state)
{
    (void)state;
    static const struct { int rows, cols, blocks; } cases[] = { { 5, 12, 1 }, { 12, 5, 1 }, { 12, 4, 3 } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        set s;
        sl_err err;
        open_set(&s);
        int rows = cases[c].rows / cases[c].blocks, cols = cases[c].cols, n = cases[c].rows * cols;
        sl_param *w = sl_params_add(s.ps, SL_PARAM_MATRIX, "w", 2, (int64_t)cases[c].rows, (int64_t)cols);
        sl_assert_ok(sl_params_build(s.ps, true, &err));
        sl_optim o = { .kind = SL_OPTIM_MUON, .muon_lr = .1, .muon_momentum = .95 };
        double m[64] = { 0 }, u[64], want[64] = { 0 };
        for (int t = 0; t < 2; t++) {
            sl_rng r = sl_rng_at(6, SL_RNG_TEST, c, (uint64_t)t);
            for (int i = 0; i < n; i++) {
                grad(w)[i] = sl_rng_normal(&r);
                m[i] = .95 * m[i] + grad(w)[i];
                u[i] = grad(w)[i] + .95 * m[i];
            }
            sl_assert_ok(sl_optim_step(&o, s.ps, NULL, &err));
            for (int b = 0; b < n; b += rows * cols) {
                orthogonalise(u + b, rows, cols);
                for (int i = b; i < b + rows * cols; i++)
                    want[i] -= .1 * sqrt(fmax(1, (double)rows / cols)) * u[i];
            }
            sl_assert_close_f64("w", value(w), want, n, 1e-12, 0);
        }
        close_set(&s);
    }
}

/* ---- schedules ---- */

static void schedules(void **state)
{
    (void)state;
    /* nanoGPT get_lr with learning_rate 1e-3, min_lr 1e-4, warmup_iters 100, lr_decay_iters 2000 */
    sl_schedule c = { .kind = SL_SCHED_COSINE, .lr = 1e-3, .min_lr = 1e-4, .warmup = 100, .steps = 2000 };
    static const struct { int64_t step; double lr; } at[] = {
        { 0, 1e-3 / 101 }, { 49, 1e-3 * 50 / 101 }, { 99, 1e-3 * 100 / 101 }, { 100, 1e-3 }, { 1050, 5.5e-4 }, { 2000, 1e-4 },
        { 2001, 1e-4 }, { 1000000, 1e-4 },
    };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++)
        assert_true(fabs(sl_schedule_at(&c, at[i].step) - at[i].lr) < 1e-15);
    assert_true(fabs(sl_schedule_at(&c, 575) - (1e-4 + .5 * (1 + sqrt(.5)) * 9e-4)) < 1e-15); /* a quarter of the way */

    sl_schedule l = { .kind = SL_SCHED_LINEAR_DECAY, .lr = 2, .min_lr = 0, .warmup = 3, .decay_start = 10, .steps = 20 };
    static const double want[] = { .5, 1, 1.5, 2, 2 };
    for (int i = 0; i < 5; i++)
        assert_true(fabs(sl_schedule_at(&l, i) - want[i]) < 1e-15);
    assert_true(sl_schedule_at(&l, 10) == 2 && fabs(sl_schedule_at(&l, 15) - 1) < 1e-15 && sl_schedule_at(&l, 20) == 0);
    assert_true(sl_schedule_at(&l, 21) == 0);

    sl_schedule k = { .kind = SL_SCHED_CONSTANT, .lr = 2, .warmup = 1 };
    assert_true(sl_schedule_at(&k, 0) == 1 && sl_schedule_at(&k, 1) == 2 && sl_schedule_at(&k, 1000) == 2);

    sl_schedule bare = { .kind = SL_SCHED_COSINE, .lr = 2, .min_lr = 1 }; /* no steps at all: defined, and no 0/0 */
    assert_true(sl_schedule_at(&bare, 0) == 2 && sl_schedule_at(&bare, 1) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters), cmocka_unit_test(initial_values), cmocka_unit_test(adamw_by_hand), cmocka_unit_test(clipping),
        cmocka_unit_test(unit_rows), cmocka_unit_test(non_finite_gradients_stop_everything),
        cmocka_unit_test(muon_orthogonalises), cmocka_unit_test(muon_by_hand),
        cmocka_unit_test(muon_against_plain_loops), cmocka_unit_test(schedules),
    };
    return cmocka_run_group_tests_name("tape_optim", tests, NULL, NULL);
}
