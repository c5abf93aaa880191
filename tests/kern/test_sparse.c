/* Sparse codes against values worked out by hand and dense algebra. */
#include "f64.h"

#include <math.h>
#include <string.h>

/* a code with room for 64 entries and 8 rows */
typedef struct code { sl_csr z; int64_t row_ptr[9]; int32_t idx[64]; double val[64]; } code;

static sl_csr *code_init(code *c, int64_t rows, int64_t cols)
{
    memset(c, 0, sizeof *c);
    c->z = (sl_csr){ .n_rows = rows, .n_cols = cols, .capacity = 64, .row_ptr = c->row_ptr, .idx = c->idx, .val = c->val };
    return &c->z;
}

static void assert_code(const code *c, const int64_t *row_ptr, const int32_t *idx, const double *val)
{
    for (int64_t r = 0; r <= c->z.n_rows; r++)
        assert_int_equal(c->row_ptr[r], row_ptr[r]);
    for (int64_t e = 0; e < row_ptr[c->z.n_rows]; e++)
        assert_int_equal(c->idx[e], idx[e]);
    sl_assert_close_f64("val", c->val, val, row_ptr[c->z.n_rows], 0, 0);
}

/* d_in 1 and x = 1: the pre-activations are the weights. Row 1 is -1 times row 0. */
static void topk_order(void **state)
{
    const sl_kern *k = *state;
    double x[] = { 1, -1 }, w[] = { 2, 5, -3, 2, 0, 5, 1, -4 }, b[8] = { 0 };
    sl_tensor X = t2(x, 2, 1), W = t2(w, 8, 1), Bias = t1(b, 8);
    code c;
    sl_csr *z = code_init(&c, 2, 8);
    k->encode_topk(k, &X, &W, &Bias, NULL, 1, z); /* ties go to the lower index */
    assert_code(&c, (int64_t[]){ 0, 1, 2 }, (int32_t[]){ 1, 7 }, (double[]){ 5, 4 });
    k->encode_topk(k, &X, &W, &Bias, NULL, 3, z);
    assert_code(&c, (int64_t[]){ 0, 3, 5 }, (int32_t[]){ 0, 1, 5, 2, 7 }, (double[]){ 2, 5, 5, 3, 4 });
    k->encode_topk(k, &X, &W, &Bias, NULL, 8, z); /* only positive values */
    assert_code(&c, (int64_t[]){ 0, 5, 7 }, (int32_t[]){ 0, 1, 3, 5, 6, 2, 7 }, (double[]){ 2, 5, 2, 5, 1, 3, 4 });
    k->encode_topk(k, &X, &W, &Bias, NULL, 0, z);
    assert_code(&c, (int64_t[]){ 0, 0, 0 }, NULL, NULL);
    uint8_t skip[] = { 0, 1, 0, 0, 0, 0, 0, 1 };
    sl_tensor S = sl_tensor_of(SL_U8, skip, 1, (int64_t)8);
    k->encode_topk(k, &X, &W, &Bias, &S, 2, z);
    assert_code(&c, (int64_t[]){ 0, 2, 3 }, (int32_t[]){ 0, 5, 2 }, (double[]){ 2, 5, 3 });
}

static void topk_leaves_nan_out(void **state)
{
    const sl_kern *k = *state;
    double x[] = { 1 }, w[] = { NAN, 1, NAN, 3, 1 }, b[] = { 0, .5, 0, -1, 2 };
    sl_tensor X = t2(x, 1, 1), W = t2(w, 5, 1), Bias = t1(b, 5);
    code c;
    sl_csr *z = code_init(&c, 1, 5);
    k->encode_topk(k, &X, &W, &Bias, NULL, 4, z);
    assert_code(&c, (int64_t[]){ 0, 3 }, (int32_t[]){ 1, 3, 4 }, (double[]){ 1.5, 2, 3 });
    k->encode_topk(k, &X, &W, &Bias, NULL, 2, z);
    assert_code(&c, (int64_t[]){ 0, 2 }, (int32_t[]){ 3, 4 }, (double[]){ 2, 3 });
}

/* Against sorting all of a row: selected values are those that fewer than k others beat. */
static void topk_is_the_top(void **state)
{
    const sl_kern *k = *state;
    enum { ROWS = 8, F = 40, D = 37, K = 7 };
    double x[ROWS * D], w[F * D], b[F], pre[ROWS * F];
    f64_random(x, ROWS * D, 1), f64_random(w, F * D, 2), f64_random(b, F, 3);
    sl_tensor X = t2(x, ROWS, D), W = t2(w, F, D), Bias = t1(b, F), P = t2(pre, ROWS, F);
    code c;
    sl_csr *z = code_init(&c, ROWS, F);
    k->gemm(k, &(sl_gemm){ .a = &X, .b = &W, .tb = true, .c = &P, .alpha = 1, .bias = &Bias });
    k->encode_topk(k, &X, &W, &Bias, NULL, K, z);
    for (int r = 0; r < ROWS; r++) {
        int64_t e = c.row_ptr[r];
        for (int f = 0; f < F; f++) {
            int better = 0;
            for (int g = 0; g < F; g++)
                better += pre[r * F + g] > pre[r * F + f];
            if (better >= K || pre[r * F + f] <= 0)
                continue;
            assert_int_equal(c.idx[e], f);
            sl_assert_close_f64("value", &c.val[e], &pre[r * F + f], 1, 1e-13, 1e-13);
            e++;
        }
        assert_int_equal(e, c.row_ptr[r + 1]);
    }
    double once[64];
    memcpy(once, c.val, sizeof once);
    memset(c.val, 0, sizeof c.val);
    k->encode_at(k, &X, &W, &Bias, z);
    sl_assert_same_bits("encode_at", c.val, once, (size_t)c.row_ptr[ROWS] * sizeof *once);
}

static void dense_and_back(void **state)
{
    const sl_kern *k = *state;
    double x[] = { 0, 2, -1, 0, 0, 0, 3, NAN, 1 }, y[9];
    sl_tensor X = t2(x, 3, 3), Y = t2(y, 3, 3);
    code c;
    sl_csr *z = code_init(&c, 3, 3);
    k->csr_from_dense(k, &X, z);
    assert_code(&c, (int64_t[]){ 0, 1, 1, 3 }, (int32_t[]){ 1, 0, 2 }, (double[]){ 2, 3, 1 });
    k->csr_to_dense(k, z, &Y);
    sl_assert_close_f64("dense", y, (double[]){ 0, 2, 0, 0, 0, 0, 3, 0, 1 }, 9, 0, 0);
}

/* decode, dval and dict_grad are products with the dense code */
static void sparse_equals_dense(void **state)
{
    const sl_kern *k = *state;
    enum { ROWS = 8, F = 9, D = 5 };
    double dense[ROWS * F], w[F * D], b[D], y[ROWS * D], want[ROWS * D], dy[ROWS * D], dval[64], all[ROWS * F];
    double dW[F * D] = { 0 }, want_dW[F * D] = { 0 }, db[F] = { 0 }, want_db[F] = { 0 };
    f64_random(dense, ROWS * F, 1), f64_random(w, F * D, 2), f64_random(b, D, 3), f64_random(dy, ROWS * D, 4);
    for (int f = 0; f < F; f++)
        dense[3 * F + f] = -1; /* an empty row */
    code c;
    sl_csr *z = code_init(&c, ROWS, F);
    sl_tensor Z = t2(dense, ROWS, F), W = t2(w, F, D), Bias = t1(b, D), Y = t2(y, ROWS, D), Want = t2(want, ROWS, D), dY = t2(dy, ROWS, D);
    sl_tensor All = t2(all, ROWS, F), dWt = t2(dW, F, D), wdW = t2(want_dW, F, D), dB = t1(db, F), wdB = t1(want_db, F);
    k->csr_from_dense(k, &Z, z);
    k->csr_to_dense(k, z, &Z);
    k->sparse_decode(k, z, &W, &Bias, &Y);
    k->gemm(k, &(sl_gemm){ .a = &Z, .b = &W, .c = &Want, .alpha = 1, .bias = &Bias });
    sl_assert_close_f64("decode", y, want, ROWS * D, 1e-13, 1e-13);
    int64_t n = c.row_ptr[ROWS];
    sl_tensor dV = t1(dval, n), V = t1(c.val, n);
    k->fill(k, 1, &dV);
    k->sparse_dval(k, z, &W, &dY, 10, &dV);
    k->gemm(k, &(sl_gemm){ .a = &dY, .b = &W, .tb = true, .c = &All, .alpha = 1 });
    for (int r = 0; r < ROWS; r++)
        for (int64_t e = c.row_ptr[r]; e < c.row_ptr[r + 1]; e++) {
            double full = all[r * F + c.idx[e]] + 10;
            sl_assert_close_f64("dval", &dval[e], &full, 1, 1e-13, 1e-13);
        }
    k->fill(k, 2, &dWt), k->fill(k, 2, &wdW), k->fill(k, 3, &dB), k->fill(k, 3, &wdB); /* added to */
    int64_t ptr[F + 1];
    int32_t entry[ROWS * F], row[ROWS * F];
    sl_csc csc = { F, ptr, entry, row };
    k->csr_transpose(k, z, &csc);
    k->dict_grad(k, &csc, &V, &dY, &dWt, &dB);
    k->gemm(k, &(sl_gemm){ .a = &Z, .ta = true, .b = &dY, .c = &wdW, .alpha = 1, .beta = 1 });
    k->col_sum(k, 1, &Z, &wdB);
    sl_assert_close_f64("dW", dW, want_dW, F * D, 1e-13, 1e-13);
    sl_assert_close_f64("db", db, want_db, F, 1e-13, 1e-13);
}

static void nothing_active(void **state)
{
    const sl_kern *k = *state;
    double x[] = { -1, -2, -3, 0 }, w[] = { 1, 2, 3, 4 }, b[] = { 7, 8 }, y[4], dW[] = { 1, 1, 1, 1 };
    sl_tensor X = t2(x, 2, 2), W = t2(w, 2, 2), Bias = t1(b, 2), Y = t2(y, 2, 2), dWt = t2(dW, 2, 2);
    code c;
    sl_csr *z = code_init(&c, 2, 2);
    k->csr_from_dense(k, &X, z);
    assert_int_equal(c.row_ptr[2], 0);
    k->sparse_decode(k, z, &W, &Bias, &Y);
    sl_assert_close_f64("bias alone", y, (double[]){ 7, 8, 7, 8 }, 4, 0, 0);
    sl_tensor V = t1(c.val, 0);
    int64_t ptr[3];
    int32_t none[1];
    sl_csc csc = { 2, ptr, none, none };
    k->csr_transpose(k, z, &csc);
    k->dict_grad(k, &csc, &V, &X, &dWt, NULL);
    sl_assert_close_f64("no gradient", dW, (double[]){ 1, 1, 1, 1 }, 4, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topk_order), cmocka_unit_test(topk_leaves_nan_out), cmocka_unit_test(topk_is_the_top),
        cmocka_unit_test(dense_and_back), cmocka_unit_test(sparse_equals_dense), cmocka_unit_test(nothing_active),
    };
    return cmocka_run_group_tests_name("kern_sparse", tests, f64_setup, f64_teardown);
}
