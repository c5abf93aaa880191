/* Gradients of tokens in batches so large that the backward pass takes them in parts: those of the whole are the sum of those of its halves. */
#include "support.h"

#include "tape/tape.h"

#include <string.h>

enum { ROWS = 300, D = 6, F = 40, K = 20, C = 8, HEADS = 2 };
enum { ENC, QK, V, GATE, W, N_PARAM };

typedef struct net { sl_ctx *ctx; sl_params *ps; sl_param *p[N_PARAM]; double x[ROWS * D]; } net;

static void start(net *n)
{
    sl_err err;
    sl_rng g = sl_rng_at(5, SL_RNG_TEST, 74, 0);
    n->ctx = sl_test_ctx(2);
    sl_assert_ok(sl_params_new(n->ctx, SL_F64, &n->ps, &err));
    n->p[ENC] = sl_params_add(n->ps, 0, "W_enc", 2, (int64_t)F, (int64_t)D);
    n->p[QK] = sl_params_add(n->ps, 0, "QK", 2, (int64_t)F, (int64_t)2 * C);
    n->p[V] = sl_params_add(n->ps, 0, "V", 2, (int64_t)F, (int64_t)C);
    n->p[GATE] = sl_params_add(n->ps, 0, "gate", 2, (int64_t)F, (int64_t)1);
    n->p[W] = sl_params_add(n->ps, 0, "w", 2, (int64_t)C, (int64_t)1);
    sl_assert_ok(sl_params_build(n->ps, false, &err));
    for (int i = 0; i < N_PARAM; i++)
        for (int64_t e = 0; e < sl_numel(&n->p[i]->value); e++)
            ((double *)n->p[i]->value.data)[e] = sl_rng_normal(&g);
    for (int i = 0; i < ROWS * D; i++)
        n->x[i] = sl_rng_normal(&g);
}

static void stop(net *n)
{
    sl_params_free(n->ps);
    sl_ctx_free(n->ctx);
}

/* Adds the gradients of sum y^2 + sum P^2 over rows from .. from + rows; the entries of the code. */
static int64_t learn(net *n, int64_t from, int64_t rows, bool each)
{
    sl_err err;
    sl_tape *t;
    sl_tensor x = sl_tensor_of(SL_F64, n->x + from * D, 2, rows, (int64_t)D);
    sl_assert_ok(sl_tape_new(n->ctx, SL_F64, &t, &err));
    double zero[F] = { 0 };
    sl_tensor bias = sl_tensor_of(SL_F64, zero, 1, (int64_t)F);
    sl_code z = sl_encode_topk(t, sl_const(t, &x), sl_param_var(t, n->p[ENC]), sl_const(t, &bias), K);
    sl_pairs P = sl_attend(t, z, sl_param_var(t, n->p[QK]), HEADS, 3, false);
    sl_mix m = { .V = sl_param_var(t, n->p[V]), .gate = sl_param_var(t, n->p[GATE]), .w = sl_param_var(t, n->p[W]), .unit = .7, .subtract = true, .each = each };
    sl_var y = sl_mix_tokens(t, P, z, m);
    sl_assert_ok(sl_tape_backward(t, sl_add(t, sl_sum(t, sl_mul(t, y, y)), sl_sum(t, sl_mul(t, P.v, P.v))), &err));
    int64_t used = sl_code_csr(t, z)->row_ptr[rows];
    sl_tape_free(t);
    return used;
}

static void parts_add_up(void **state)
{
    (void)state;
    for (int each = 0; each < 2; each++) {
        static net whole, halves;
        start(&whole);
        start(&halves);
        sl_err err;
        int64_t all = learn(&whole, 0, ROWS, each), first = learn(&halves, 0, ROWS / 2, each), second = learn(&halves, ROWS / 2, ROWS - ROWS / 2, each);
        assert_int_equal(all, first + second);
        assert_true(all > 4096 && first < 4096 && second < 4096);
        sl_assert_ok(sl_params_dense(whole.ps, &err));
        sl_assert_ok(sl_params_dense(halves.ps, &err));
        for (int i = 0; i < N_PARAM; i++)
            sl_assert_close_f64(whole.p[i]->name, whole.p[i]->grad.data, halves.p[i]->grad.data, sl_numel(&whole.p[i]->grad), 1e-9, 1e-9);
        stop(&whole);
        stop(&halves);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(parts_add_up) };
    return cmocka_run_group_tests_name("tape_tokens", tests, NULL, NULL);
}
