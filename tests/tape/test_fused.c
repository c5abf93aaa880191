/* Fused operators against their unfused composition, in f32: value and every gradient.
 * Tolerance: sums of up to 4,096 products of numbers about 1 in f32, relative to the largest element: 1e-5. */
#include "support.h"

#include "tape/tape.h"

#include <math.h>
#include <string.h>

#define RTOL 1e-5

typedef struct pair { /* the same inputs on two tapes: fused and unfused */
    sl_ctx *ctx;
    sl_tape *t[2];
    float *data[4];
    sl_tensor x[4];
    sl_var in[2][4];
    int n;
} pair;

static void open_pair(pair *p)
{
    sl_err err;
    memset(p, 0, sizeof *p);
    p->ctx = sl_test_ctx(1);
    for (int i = 0; i < 2; i++)
        sl_assert_ok(sl_tape_new(p->ctx, SL_F32, &p->t[i], &err));
}

static void close_pair(pair *p)
{
    for (int i = 0; i < p->n; i++)
        sl_free(p->ctx, p->data[i]);
    for (int i = 0; i < 2; i++)
        sl_tape_free(p->t[i]);
    sl_ctx_free(p->ctx);
}

/* A leaf of N(0, 1), [rows, cols] or, rows 0, [cols]; its number. */
static int input(pair *p, int64_t rows, int64_t cols)
{
    int i = p->n++;
    int64_t n = (rows ? rows : 1) * cols;
    sl_rng r = sl_rng_at(1, SL_RNG_TEST, 7, (uint64_t)i);
    p->data[i] = sl_alloc(p->ctx, (size_t)n * sizeof(float));
    for (int64_t j = 0; j < n; j++)
        p->data[i][j] = (float)sl_rng_normal(&r);
    p->x[i] = rows ? sl_tensor_of(SL_F32, p->data[i], 2, rows, cols) : sl_tensor_of(SL_F32, p->data[i], 1, cols);
    for (int j = 0; j < 2; j++)
        p->in[j][i] = sl_leaf(p->t[j], &p->x[i]);
    return i;
}

static void assert_near(const char *what, const sl_tensor *got, const sl_tensor *ref)
{
    double most = 0;
    assert_non_null(got);
    assert_non_null(ref);
    assert_true(sl_same_shape(got, ref));
    for (int64_t i = 0; i < sl_numel(ref); i++)
        most = fmax(most, fabs((double)((const float *)ref->data)[i]));
    assert_true(most > 0);
    sl_assert_close_f32(what, got->data, ref->data, sl_numel(ref), RTOL * most, 0);
}

/* Backward of both losses, then every gradient. */
static void compare(pair *p, sl_var fused, sl_var plain)
{
    sl_err err;
    double got = sl_scalar(p->t[0], fused), ref = sl_scalar(p->t[1], plain);
    assert_true(fabs(got - ref) <= RTOL * fabs(ref));
    sl_assert_ok(sl_tape_backward_scaled(p->t[0], fused, .7, &err));
    sl_assert_ok(sl_tape_backward_scaled(p->t[1], plain, .7, &err));
    for (int i = 0; i < p->n; i++)
        assert_near("gradient", sl_grad(p->t[0], p->in[0][i]), sl_grad(p->t[1], p->in[1][i]));
}

static void linear_is_product_bias_activation(void **state)
{
    (void)state;
    static const sl_act acts[] = { SL_ACT_NONE, SL_ACT_RELU, SL_ACT_GELU, SL_ACT_RELU2 };
    for (int a = 0; a < 4; a++)
        for (int bias = 0; bias < 2; bias++) {
            pair p;
            open_pair(&p);
            int x = input(&p, 33, 40), W = input(&p, 65, 40), b = bias ? input(&p, 0, 65) : -1;
            sl_tape *t = p.t[1];
            sl_var y0 = sl_linear(p.t[0], p.in[0][x], p.in[0][W], bias ? p.in[0][b] : (sl_var){ 0 }, acts[a]);
            sl_var y1 = sl_matmul(t, p.in[1][x], p.in[1][W], true);
            y1 = sl_activation(t, bias ? sl_add_row(t, y1, p.in[1][b]) : y1, acts[a]);
            assert_near("linear", sl_value(p.t[0], y0), sl_value(t, y1));
            compare(&p, sl_sum(p.t[0], sl_mul(p.t[0], y0, y0)), sl_sum(t, sl_mul(t, y1, y1)));
            close_pair(&p);
        }
}

static void head_xent_is_product_and_xent(void **state)
{
    (void)state;
    /* one chunk; two chunks, the second short, with few targets that count */
    static const struct { int64_t rows, V; int counted; } cases[] = { { 50, 65, 45 }, { 260, 4096, 258 } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        pair p;
        open_pair(&p);
        int32_t targets[300];
        for (int i = 0; i < 300; i++)
            targets[i] = i % 7 == 3 || i >= cases[c].counted ? -1 : (int32_t)((i * 31) % cases[c].V);
        sl_tensor tt = sl_tensor_of(SL_I32, targets, 1, cases[c].rows);
        int x = input(&p, cases[c].rows, 16), W = input(&p, cases[c].V, 16);
        sl_var fused = sl_head_xent(p.t[0], p.in[0][x], p.in[0][W], &tt);
        sl_var plain = sl_xent(p.t[1], sl_matmul(p.t[1], p.in[1][x], p.in[1][W], true), &tt);
        compare(&p, fused, plain);
        close_pair(&p);
    }
}

static void no_target_counts(void **state)
{
    (void)state;
    pair p;
    sl_err err;
    open_pair(&p);
    int32_t targets[5] = { -1, -1, -1, -1, -1 };
    sl_tensor tt = sl_tensor_of(SL_I32, targets, 1, (int64_t)5);
    int x = input(&p, 5, 4), W = input(&p, 6, 4);
    float zero[24] = { 0 };
    sl_var loss = sl_head_xent(p.t[0], p.in[0][x], p.in[0][W], &tt);
    assert_true(sl_scalar(p.t[0], loss) == 0);
    sl_assert_ok(sl_tape_backward(p.t[0], loss, &err));
    sl_assert_close_f32("dx", sl_grad(p.t[0], p.in[0][x])->data, zero, 20, 0, 0);
    sl_assert_close_f32("dW", sl_grad(p.t[0], p.in[0][W])->data, zero, 24, 0, 0);
    close_pair(&p);
}

/* A code decoded sparsely equals its dense form times W_dec; its encoder equals relu of the product where it chose. */
static void sparse_is_dense(void **state)
{
    (void)state;
    enum { B = 20, D = 24, F = 64, K = 5 };
    pair p;
    sl_err err;
    open_pair(&p);
    int x = input(&p, B, D), We = input(&p, F, D), be = input(&p, 0, F), Wd = input(&p, F, D);
    sl_code z = sl_encode_topk(p.t[0], p.in[0][x], p.in[0][We], p.in[0][be], K);
    sl_var y0 = sl_sparse_decode(p.t[0], z, p.in[0][Wd], (sl_var){ 0 });

    /* dense: relu(product + bias) times the mask of what was chosen */
    float *chosen = sl_alloc(p.ctx, B * F * sizeof(float));
    const sl_csr *csr = sl_code_csr(p.t[0], z);
    assert_int_equal(csr->n_rows, B);
    assert_int_equal(csr->n_cols, F);
    for (int r = 0; r < B; r++) {
        assert_in_range(csr->row_ptr[r + 1] - csr->row_ptr[r], 1, K);
        for (int64_t i = csr->row_ptr[r]; i < csr->row_ptr[r + 1]; i++)
            chosen[r * F + csr->idx[i]] = 1;
    }
    sl_tensor mask = sl_tensor_of(SL_F32, chosen, 2, (int64_t)B, (int64_t)F);
    sl_tape *t = p.t[1];
    sl_var dense = sl_linear(t, p.in[1][x], p.in[1][We], p.in[1][be], SL_ACT_RELU);
    sl_var y1 = sl_matmul(t, sl_mul(t, dense, sl_const(t, &mask)), p.in[1][Wd], false);
    assert_near("decoded", sl_value(p.t[0], y0), sl_value(t, y1));
    compare(&p, sl_sum(p.t[0], sl_mul(p.t[0], y0, y0)), sl_sum(t, sl_mul(t, y1, y1)));
    sl_assert_ok(sl_tape_status(p.t[0], &err));
    sl_free(p.ctx, chosen);
    close_pair(&p);
}

/* A code behind stop_grad is still a code: the decoder learns, the encoder does not. */
static void a_stopped_code_is_a_code(void **state)
{
    (void)state;
    pair p;
    sl_err err;
    open_pair(&p);
    int x = input(&p, 5, 6), We = input(&p, 8, 6), be = input(&p, 0, 8), Wd = input(&p, 8, 6);
    sl_code z = sl_encode_topk(p.t[0], p.in[0][x], p.in[0][We], p.in[0][be], 3);
    sl_code stopped = { sl_stop_grad(p.t[0], z.v) };
    assert_ptr_equal(sl_code_csr(p.t[0], stopped), sl_code_csr(p.t[0], z));
    sl_assert_ok(sl_tape_backward(p.t[0], sl_sum(p.t[0], sl_sparse_decode(p.t[0], stopped, p.in[0][Wd], (sl_var){ 0 })), &err));
    assert_non_null(sl_grad(p.t[0], p.in[0][Wd]));
    assert_null(sl_grad(p.t[0], p.in[0][We]));
    close_pair(&p);
}

/* AuxK: skipped features never fire, and the sum of the values has a gradient although rows are not full. */
static void codes_among_few(void **state)
{
    (void)state;
    enum { B = 6, D = 8, F = 12, K = 10 };
    pair p;
    sl_err err;
    open_pair(&p);
    uint8_t skip[F];
    for (int f = 0; f < F; f++)
        skip[f] = f % 4 != 1;
    sl_tensor ts = sl_tensor_of(SL_U8, skip, 1, (int64_t)F);
    int x = input(&p, B, D), We = input(&p, F, D), be = input(&p, 0, F);
    sl_code z = sl_encode_topk_among(p.t[0], p.in[0][x], p.in[0][We], p.in[0][be], K, &ts);
    sl_var l1 = sl_sum(p.t[0], z.v);
    const sl_csr *csr = sl_code_csr(p.t[0], z);
    double sum = 0, db[F] = { 0 };
    assert_in_range(csr->row_ptr[B], 1, B * 3);
    for (int64_t i = 0; i < csr->row_ptr[B]; i++) {
        assert_int_equal(csr->idx[i] % 4, 1);
        sum += (double)((float *)csr->val)[i];
        db[csr->idx[i]] += 1;
    }
    assert_true(fabs(sl_scalar(p.t[0], l1) - sum) < 1e-5 * sum);
    sl_assert_ok(sl_tape_backward(p.t[0], l1, &err));
    const float *got = sl_grad(p.t[0], p.in[0][be])->data;
    for (int f = 0; f < F; f++)
        assert_true((double)got[f] == db[f]);
    close_pair(&p);
}

/* The same in one operator, in several blocks of rows and in one; a feature that never fires; and nothing to choose from. */
static void decoding_among_few(void **state)
{
    (void)state;
    static const struct { int64_t B, F; int every; } cases[] = { { 6, 12, 4 }, { 600, 4100, 2 } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        uint8_t skip[4100];
        pair p;
        open_pair(&p);
        for (int64_t f = 0; f < cases[c].F; f++)
            skip[f] = f % cases[c].every != 1;
        sl_tensor ts = sl_tensor_of(SL_U8, skip, 1, cases[c].F);
        int x = input(&p, cases[c].B, 8), We = input(&p, cases[c].F, 8), be = input(&p, 0, cases[c].F), Wd = input(&p, cases[c].F, 7);
        p.data[be][1] = -100;
        sl_var y = sl_decode_among(p.t[0], p.in[0][x], p.in[0][We], p.in[0][be], p.in[0][Wd], 2, &ts);
        sl_code z = sl_encode_topk_among(p.t[1], p.in[1][x], p.in[1][We], p.in[1][be], 2, &ts);
        sl_var plain = sl_sparse_decode(p.t[1], z, p.in[1][Wd], (sl_var){ 0 });
        assert_near("decoded", sl_value(p.t[0], y), sl_value(p.t[1], plain));
        compare(&p, sl_sum(p.t[0], sl_mul(p.t[0], y, y)), sl_sum(p.t[1], sl_mul(p.t[1], plain, plain)));
        close_pair(&p);
    }
}

static void decoding_among_none(void **state)
{
    (void)state;
    uint8_t skip[9] = { 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    sl_tensor ts = sl_tensor_of(SL_U8, skip, 1, 9);
    pair p;
    sl_err err;
    open_pair(&p);
    int x = input(&p, 4, 6), We = input(&p, 9, 6), be = input(&p, 0, 9), Wd = input(&p, 9, 5);
    sl_var l = sl_sum(p.t[0], sl_decode_among(p.t[0], p.in[0][x], p.in[0][We], p.in[0][be], p.in[0][Wd], 2, &ts));
    assert_true(sl_scalar(p.t[0], l) == 0);
    sl_assert_ok(sl_tape_backward(p.t[0], l, &err));
    close_pair(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_is_product_bias_activation), cmocka_unit_test(head_xent_is_product_and_xent),
        cmocka_unit_test(no_target_counts), cmocka_unit_test(sparse_is_dense), cmocka_unit_test(codes_among_few),
        cmocka_unit_test(decoding_among_few), cmocka_unit_test(decoding_among_none),
        cmocka_unit_test(a_stopped_code_is_a_code),
    };
    return cmocka_run_group_tests_name("tape_fused", tests, NULL, NULL);
}
