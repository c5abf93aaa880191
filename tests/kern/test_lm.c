/* The language model's slots against values worked out by hand, properties and central differences. */
#include "f64.h"

#include <math.h>
#include <string.h>

static void embeddings(void **state)
{
    const sl_kern *k = *state;
    double table[] = { 1, 2, 3, 4, 5, 6 }, y[] = { 10, 10, 10, 10, 10, 10 }, dtable[6] = { 0 };
    int32_t id[] = { 2, 0, 2 };
    sl_tensor T = t2(table, 3, 2), Y = t2(y, 3, 2), dT = t2(dtable, 3, 2), I = sl_tensor_of(SL_I32, id, 1, (int64_t)3);
    k->embed(k, &I, &T, 1, &Y);
    sl_assert_close_f64("embed", y, (double[]){ 15, 16, 11, 12, 15, 16 }, 6, 0, 0);
    k->embed_back(k, &I, &Y, &dT);
    sl_assert_close_f64("embed_back", dtable, (double[]){ 11, 12, 0, 0, 30, 32 }, 6, 0, 0);
}

/* One head of four, position 3, base 100: angles 3 and 0.3. */
static void rotary_by_hand(void **state)
{
    const sl_kern *k = *state;
    double x[12] = { 1, 0, 0, 2, 0, 0, 1, 0, 5, 6, 7, 8 }, y[12], back[12];
    double c = -0.9899924966004454, s = 0.1411200080598672, c2 = 0.955336489125606, s2 = 0.2955202066613396;
    sl_tensor X = t3(x, 1, 1, 12), Y = t3(y, 1, 1, 12), Back = t3(back, 1, 1, 12);
    k->rotary(k, &X, 1, 3, 100, 1, 0, &Y);
    sl_assert_close_f64("rotary", y, (double[]){ c, -2 * s2, s, 2 * c2, -s, 0, c, 0, 5, 6, 7, 8 }, 12, 1e-15, 1e-13);
    k->rotary(k, &Y, 1, 3, 100, -1, 0, &Back);
    sl_assert_close_f64("inverse", back, x, 12, 1e-15, 1e-14);
}

/* q_i . k_j depends on i - j alone. */
static void rotary_is_relative(void **state)
{
    const sl_kern *k = *state;
    enum { C = 8, T = 4, W = 3 * C };
    double x[T * W], y[T * W];
    f64_random(x, W, 1);
    for (int t = 1; t < T; t++)
        memcpy(x + t * W, x, W * sizeof *x);
    sl_tensor X = t3(x, 1, T, W), Y = t3(y, 1, T, W);
    k->rotary(k, &X, 1, 11, 1e4, 1, 0, &Y);
    for (int t = 1; t < T; t++) {
        double first = 0, later = 0;
        for (int c = 0; c < C; c++) {
            first += y[W + c] * y[C + c];
            later += y[t * W + c] * y[(t - 1) * W + C + c];
        }
        sl_assert_close_f64("q . k", &later, &first, 1, 0, 1e-12);
        double alone[W];
        sl_tensor Alone = t3(alone, 1, 1, W); /* row t is a row 0 at position 11 + t */
        k->rotary(k, &(sl_tensor){ .data = x, .dim = { 1, 1, W, 1 }, .n_dim = 3, .dtype = SL_F64 }, 1, 11 + t, 1e4, 1, 0, &Alone);
        sl_assert_same_bits("position", y + t * W, alone, sizeof alone);
    }
}

static void attention_by_hand(void **state)
{
    const sl_kern *k = *state;
    double qkv[] = { 1, 0, .2, .4, 1, 2, .5, -1, -.3, .6, 3, -1 }, y[4], lse[2];
    sl_tensor X = t3(qkv, 1, 2, 6), Y = t3(y, 1, 2, 2), L = t3(lse, 1, 1, 2);
    k->attention(k, &(sl_attn){ .B = 1, .T = 2, .C = 2, .n_head = 1 }, &X, &Y, &L);
    sl_assert_close_f64("y", y, (double[]){ 1, 2, 1.8422299183240667, 0.7366551225138996 }, 4, 0, 1e-13);
    sl_assert_close_f64("lse", lse, (double[]){ 0.1414213562373095, 0.33451933454192917 }, 2, 0, 1e-13);
}

enum { B = 2, T = 5, H = 2, C = 6, QKV = B * T * 3 * C, OUT = B * T * C };

/* Changing token 3 of sequence 0 leaves what comes before, and the other sequence, alone. */
static void attention_is_causal(void **state)
{
    const sl_kern *k = *state;
    double qkv[QKV], y[OUT], y2[OUT], lse[B * H * T];
    sl_attn a = { .B = B, .T = T, .C = C, .n_head = H, .drop = { .seed = 3, .stream = 4, .p = .2 } };
    f64_random(qkv, QKV, 5);
    sl_tensor X = t3(qkv, B, T, 3 * C), Y = t3(y, B, T, C), Y2 = t3(y2, B, T, C), L = t3(lse, B, H, T);
    k->attention(k, &a, &X, &Y, &L);
    for (int c = 0; c < 3 * C; c++)
        qkv[3 * 3 * C + c] += 1;
    k->attention(k, &a, &X, &Y2, &L);
    sl_assert_same_bits("before", y2, y, 3 * C * sizeof *y);
    sl_assert_same_bits("other sequence", y2 + T * C, y + T * C, T * C * sizeof *y);
    assert_memory_not_equal(y2 + 3 * C, y + 3 * C, C * sizeof *y);
}

/* With q = 0 the weights are 1 / (i + 1): the mask's elements can be read off the output of one-hot values. */
static void attention_mask_elements(void **state)
{
    const sl_kern *k = *state;
    enum { HEADS = 3, TT = 5, HD = 6, CC = HEADS * HD };
    double qkv[TT * 3 * CC] = { 0 }, y[TT * CC], lse[HEADS * TT];
    sl_attn a = { .B = 1, .T = TT, .C = CC, .n_head = HEADS, .drop = { .seed = 8, .stream = 9, .p = .5 } };
    for (int t = 0; t < TT; t++)
        for (int h = 0; h < HEADS; h++)
            qkv[t * 3 * CC + 2 * CC + h * HD + t] = 1;
    sl_tensor X = t3(qkv, 1, TT, 3 * CC), Y = t3(y, 1, TT, CC), L = t3(lse, 1, HEADS, TT);
    k->attention(k, &a, &X, &Y, &L);
    int kept = 0;
    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < TT; i++)
            for (int j = 0; j < TT; j++) {
                uint32_t e = (uint32_t)((h * TT + i) * TT + j), word[4];
                sl_philox4x32((uint32_t[]){ e / 8, 0, 9, 0 }, (uint32_t[]){ 8, 0 }, word);
                bool keep = j <= i && (word[e % 8 / 2] >> (e % 2 * 16) & 0xffff) >= 32768;
                double want = keep ? 2.0 / (i + 1) : 0;
                kept += keep;
                sl_assert_close_f64("weight", y + i * CC + h * HD + j, &want, 1, 0, 1e-15);
            }
    assert_in_range(kept, 10, 35); /* of 45 */
}

typedef struct attn_problem { sl_attn a; double qkv[QKV], weight[OUT]; } attn_problem;

static double attn_loss(const sl_kern *k, const void *user)
{
    attn_problem p = *(const attn_problem *)user;
    double y[OUT], lse[B * H * T];
    sl_tensor X = t3(p.qkv, B, T, 3 * C), Y = t3(y, B, T, C), L = t3(lse, B, H, T), W = t3(p.weight, B, T, C);
    k->attention(k, &p.a, &X, &Y, &L);
    return k->dot(k, &Y, &W);
}

static void attention_gradient(void **state)
{
    const sl_kern *k = *state;
    for (int dropped = 0; dropped < 2; dropped++) {
        attn_problem p = { .a = { .B = B, .T = T, .C = C, .n_head = H, .drop = { .seed = 1, .stream = 2, .p = dropped * .3 } } };
        double y[OUT], lse[B * H * T], dqkv[QKV] = { 0 };
        f64_random(p.qkv, QKV, 6), f64_random(p.weight, OUT, 7);
        sl_tensor X = t3(p.qkv, B, T, 3 * C), Y = t3(y, B, T, C), L = t3(lse, B, H, T), dY = t3(p.weight, B, T, C), dX = t3(dqkv, B, T, 3 * C);
        k->attention(k, &p.a, &X, &Y, &L);
        k->attention_back(k, &p.a, &X, &Y, &L, &dY, &dX);
        f64_check_grad("dqkv", k, attn_loss, &p, p.qkv, dqkv, QKV);
    }
}

/* The last row of attention, one token at a time. */
static void attend_is_the_last_row(void **state)
{
    const sl_kern *k = *state;
    double qkv[T * 3 * C], y[T * C], last[C], lse[H * T];
    f64_random(qkv, T * 3 * C, 8);
    sl_tensor X = t3(qkv, 1, T, 3 * C), cache = t2(qkv, T, 3 * C), Y = t3(y, 1, T, C), L = t3(lse, 1, H, T), Last = t1(last, C);
    k->attention(k, &(sl_attn){ .B = 1, .T = T, .C = C, .n_head = H }, &X, &Y, &L);
    for (int t = 1; t <= T; t++) {
        k->attend(k, &(sl_attn){ .B = 1, .T = t, .C = C, .n_head = H }, &cache, &Last);
        sl_assert_close_f64("attend", last, y + (t - 1) * C, C, 1e-15, 1e-13);
    }
}

static void gemv_by_hand(void **state)
{
    const sl_kern *k = *state;
    double w[] = { 1, 2, 3, 4, 5, 6 }, x[] = { 1, 0, -1 }, b[] = { 5, -5 }, y[] = { 100, 100 };
    sl_tensor W = t2(w, 2, 3), X = t1(x, 3), Bias = t1(b, 2), Y = t1(y, 2);
    k->gemv(k, &W, &X, &Bias, SL_ACT_RELU, 1, &Y);
    sl_assert_close_f64("gemv", y, (double[]){ 103, 100 }, 2, 0, 0);
    k->gemv(k, &W, &X, NULL, SL_ACT_NONE, 0, &Y);
    sl_assert_close_f64("gemv", y, (double[]){ -2, -2 }, 2, 0, 0);
}

static void xent_by_hand(void **state)
{
    const sl_kern *k = *state;
    double x[] = { 1, 2, 3, 7, 7, 7, 1001, 1002, 1003 }, keep[9], each[3]; /* the last row overflows a naive exp */
    int32_t target[] = { 2, -1, 0 };
    const double p[] = { 0.09003057317038046, 0.24472847105479767, 0.6652409557748219 };
    memcpy(keep, x, sizeof x);
    sl_tensor X = t2(x, 3, 3), I = sl_tensor_of(SL_I32, target, 1, (int64_t)3), E = t1(each, 3);
    assert_int_equal(k->count_targets(k, &I), 2);
    double loss = k->softmax_xent(k, &X, &I, false, NULL), want = (0.40760596444438013 + 2.40760596444438) / 2;
    sl_assert_close_f64("loss", &loss, &want, 1, 0, 1e-13);
    sl_assert_same_bits("logits are kept", x, keep, sizeof x);
    loss = k->softmax_xent(k, &X, &I, true, &E);
    sl_assert_close_f64("loss", &loss, &want, 1, 0, 1e-13);
    sl_assert_close_f64("rows", each, (double[]){ 0.40760596444438013, 0, 2.40760596444438 }, 3, 0, 1e-12);
    double grad[] = { p[0] / 2, p[1] / 2, (p[2] - 1) / 2, 0, 0, 0, (p[0] - 1) / 2, p[1] / 2, p[2] / 2 };
    sl_assert_close_f64("grad", x, grad, 9, 1e-15, 1e-12);
}

static void xent_without_targets(void **state)
{
    const sl_kern *k = *state;
    double x[] = { 1, 2 };
    int32_t target[] = { -1 };
    sl_tensor X = t2(x, 1, 2), I = sl_tensor_of(SL_I32, target, 1, (int64_t)1);
    assert_true(k->softmax_xent(k, &X, &I, true, NULL) == 0);
    sl_assert_close_f64("grad", x, (double[]){ 0, 0 }, 2, 0, 0);
}

static void xent_keeps_nan(void **state)
{
    const sl_kern *k = *state;
    double x[] = { 1, NAN, 2 };
    int32_t target[] = { 0 };
    sl_tensor X = t2(x, 1, 3), I = sl_tensor_of(SL_I32, target, 1, (int64_t)1);
    assert_true(isnan(k->softmax_xent(k, &X, &I, false, NULL)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embeddings), cmocka_unit_test(rotary_by_hand), cmocka_unit_test(rotary_is_relative),
        cmocka_unit_test(attention_by_hand), cmocka_unit_test(attention_is_causal), cmocka_unit_test(attention_mask_elements),
        cmocka_unit_test(attention_gradient), cmocka_unit_test(attend_is_the_last_row), cmocka_unit_test(gemv_by_hand),
        cmocka_unit_test(xent_by_hand), cmocka_unit_test(xent_without_targets), cmocka_unit_test(xent_keeps_nan),
    };
    return cmocka_run_group_tests_name("kern_lm", tests, f64_setup, f64_teardown);
}
