/* The tape: values and gradients by hand, sharing of gradients, sticky failure, memory, random streams. */
#include "support.h"

#include "tape/node.h"
#include "tiny.h"

#include <math.h>
#include <string.h>

typedef struct fixture { sl_ctx *ctx; sl_tape *t; } fixture;

static void open_tape(fixture *f, sl_dtype dtype)
{
    sl_err err;
    f->ctx = sl_test_ctx(1);
    sl_assert_ok(sl_tape_new(f->ctx, dtype, &f->t, &err));
}

static void close_tape(fixture *f)
{
    sl_tape_free(f->t);
    sl_ctx_free(f->ctx);
}

static sl_tensor vec(double *x, int64_t n) { return sl_tensor_of(SL_F64, x, 1, n); }
static sl_tensor mat(double *x, int64_t rows, int64_t cols) { return sl_tensor_of(SL_F64, x, 2, rows, cols); }

/* ---- gradients by hand ---- */

/* loss = sum (a + b) a - 3 sum b:  da = 2 a + b,  db = a - 3 */
static void gradients_by_hand(void **state)
{
    (void)state;
    fixture f;
    sl_err err;
    open_tape(&f, SL_F64);
    double a[] = { 1, -2, .5 }, b[] = { 4, 3, -1 }, da[] = { 6, -1, 0 }, db[] = { -2, -5, -2.5 };
    sl_tensor ta = vec(a, 3), tb = vec(b, 3);
    for (int round = 0; round < 2; round++) {
        sl_tape_reset(f.t);
        sl_var va = sl_leaf(f.t, &ta), vb = sl_leaf(f.t, &tb);
        sl_var loss = sl_sub(f.t, sl_sum(f.t, sl_mul(f.t, sl_add(f.t, va, vb), va)), sl_scale(f.t, sl_sum(f.t, vb), 3));
        assert_true(sl_scalar(f.t, loss) == 5 - 2 - .25 - 18);
        sl_assert_ok(sl_tape_backward(f.t, loss, &err));
        sl_assert_close_f64("da", sl_grad(f.t, va)->data, da, 3, 1e-15, 0);
        sl_assert_close_f64("db", sl_grad(f.t, vb)->data, db, 3, 1e-15, 0);
    }
    close_tape(&f);
}

/* y = x + x;  z = y + x;  loss = sum z x = 3 sum x^2: the same gradient buffer reaches x three times, and y is passed on */
static void a_variable_used_several_times(void **state)
{
    (void)state;
    fixture f;
    sl_err err;
    open_tape(&f, SL_F64);
    double x[] = { 1, 2, -4 }, dx[] = { 6, 12, -24 }, d2[] = { 18, 36, -72 };
    sl_tensor tx = vec(x, 3);
    sl_var v = sl_leaf(f.t, &tx), y = sl_add(f.t, v, v), z = sl_add(f.t, y, v);
    sl_var loss = sl_sum(f.t, sl_mul(f.t, z, v));
    sl_assert_ok(sl_tape_backward(f.t, loss, &err));
    sl_assert_close_f64("dx", sl_grad(f.t, v)->data, dx, 3, 1e-15, 0);
    /* a second backward adds to leaves; the scale multiplies */
    sl_assert_ok(sl_tape_backward_scaled(f.t, loss, 2, &err));
    sl_assert_close_f64("3 dx", sl_grad(f.t, v)->data, d2, 3, 1e-15, 0);
    close_tape(&f);
}

/* Two leaves that received one shared buffer, then a further gradient for only one of them. */
static void a_shared_gradient_is_copied_before_a_write(void **state)
{
    (void)state;
    fixture f;
    sl_err err;
    open_tape(&f, SL_F64);
    double a[] = { 1, 2 }, b[] = { 3, 4 }, da[] = { 3, 5 }, db[] = { 1, 1 };
    sl_tensor ta = vec(a, 2), tb = vec(b, 2);
    sl_var va = sl_leaf(f.t, &ta), vb = sl_leaf(f.t, &tb);
    sl_var sq = sl_sum(f.t, sl_mul(f.t, va, va)); /* older than the sum: its gradient arrives later */
    sl_var loss = sl_add(f.t, sq, sl_sum(f.t, sl_add(f.t, va, vb)));
    sl_assert_ok(sl_tape_backward(f.t, loss, &err));
    sl_assert_close_f64("da", sl_grad(f.t, va)->data, da, 2, 1e-15, 0);
    sl_assert_close_f64("db", sl_grad(f.t, vb)->data, db, 2, 1e-15, 0);
    close_tape(&f);
}

static int free_buffers(const sl_tape *t)
{
    int n = 0;
    for (const sl_gbuf *b = t->free_bufs; b; b = b->next)
        n++;
    return n;
}

/* A residual chain of 40 blocks: gradients of inner variables come from few buffers, whatever the depth. */
static void inner_gradients_are_recycled(void **state)
{
    (void)state;
    fixture f;
    sl_err err;
    open_tape(&f, SL_F64);
    double x[64], w[64];
    for (int i = 0; i < 64; i++)
        x[i] = w[i] = .01 * i;
    sl_tensor tx = mat(x, 8, 8), tw = mat(w, 8, 8), tr = vec(w, 8);
    sl_var h = sl_leaf(f.t, &tx), W = sl_const(f.t, &tw), r = sl_leaf(f.t, &tr);
    for (int i = 0; i < 40; i++)
        h = sl_add(f.t, h, sl_mul_row(f.t, sl_linear(f.t, h, W, (sl_var){ 0 }, SL_ACT_GELU), r));
    sl_var loss = sl_add(f.t, sl_sum(f.t, h), sl_mean(f.t, h));
    sl_assert_ok(sl_tape_backward(f.t, loss, &err));
    assert_in_range(free_buffers(f.t), 1, 8); /* scalars have theirs too */
    assert_null(sl_grad(f.t, h)); /* only leaves keep theirs */
    int64_t before = sl_alloc_count(f.ctx); /* every buffer came back: further passes need no memory */
    for (int i = 0; i < 500; i++)
        sl_assert_ok(sl_tape_backward(f.t, loss, &err));
    assert_int_equal(sl_alloc_count(f.ctx), before);
    close_tape(&f);
}

/* ---- passing, stopping, freezing ---- */

static void stop_replace_freeze(void **state)
{
    (void)state;
    fixture f;
    sl_err err;
    sl_params *ps;
    open_tape(&f, SL_F64);
    sl_assert_ok(sl_params_new(f.ctx, SL_F64, &ps, &err));
    sl_param *w = sl_params_add(ps, 0, "w", 1, (int64_t)2), *c = sl_params_add(ps, SL_PARAM_FROZEN, "c", 1, (int64_t)2);
    sl_assert_ok(sl_params_build(ps, false, &err));
    sl_param_normal(ps, w, 1, 1);
    sl_param_normal(ps, c, 1, 1);

    double x[] = { 5, 6 }, one[] = { 1, 1 }, none[] = { 0, 0 };
    sl_tensor tx = vec(x, 2);
    sl_var vx = sl_leaf(f.t, &tx), vw = sl_param_var(f.t, w), vc = sl_param_var(f.t, c);
    assert_int_equal(sl_param_var(f.t, w).id, vw.id);
    sl_var y = sl_replace(f.t, vx, vw);
    assert_ptr_equal(sl_value(f.t, y)->data, w->value.data);
    sl_var loss = sl_sum(f.t, sl_add(f.t, sl_add(f.t, y, vc), sl_stop_grad(f.t, vx)));
    sl_assert_ok(sl_tape_backward(f.t, loss, &err));
    assert_null(sl_grad(f.t, vx));
    sl_assert_close_f64("dw", w->grad.data, one, 2, 0, 0);
    sl_assert_close_f64("dc", c->grad.data, none, 2, 0, 0);
    assert_ptr_equal(sl_grad(f.t, vw), &w->grad);
    double expected = sl_scalar(f.t, loss); /* scalars are passed on with their f64 value */
    assert_true(sl_scalar(f.t, sl_stop_grad(f.t, loss)) == expected && sl_scalar(f.t, sl_replace(f.t, sl_sum(f.t, vx), loss)) == expected);
    sl_params_free(ps);
    close_tape(&f);
}

static void no_grad_keeps_nothing(void **state)
{
    (void)state;
    fixture f;
    sl_err err;
    open_tape(&f, SL_F64);
    double x[] = { 1, 2, 3, 4 };
    sl_tensor tx = mat(x, 2, 2);
    sl_tape_no_grad(f.t, true);
    sl_var v = sl_leaf(f.t, &tx), y = sl_linear(f.t, v, v, (sl_var){ 0 }, SL_ACT_GELU), loss = sl_sum(f.t, y);
    assert_null(sl_node_at(f.t, y.id)->kept[0].data);
    sl_assert_fails(sl_tape_backward(f.t, loss, &err), SL_ARG, "backward: the loss depends on nothing that has a gradient");
    sl_tape_no_grad(f.t, false);
    sl_var u = sl_leaf(f.t, &tx), loss2 = sl_sum(f.t, sl_linear(f.t, u, v, (sl_var){ 0 }, SL_ACT_GELU));
    sl_assert_ok(sl_tape_backward(f.t, loss2, &err));
    assert_non_null(sl_grad(f.t, u));
    assert_null(sl_grad(f.t, v));
    close_tape(&f);
}

/* Scalars are kept in f64: an f32 tape adds 2^-30 to 1 without losing it. */
static void scalars_are_f64(void **state)
{
    (void)state;
    fixture f;
    open_tape(&f, SL_F32);
    float one[] = { 1, 0 }, tiny_value[] = { 0x1p-30f };
    sl_tensor ta = sl_tensor_of(SL_F32, one, 1, (int64_t)2), tb = sl_tensor_of(SL_F32, tiny_value, 0);
    sl_var a = sl_sum(f.t, sl_const(f.t, &ta)), b = sl_const(f.t, &tb);
    assert_true(sl_scalar(f.t, sl_add(f.t, a, b)) == 1 + 0x1p-30);
    assert_true(sl_scalar(f.t, sl_scale(f.t, sl_mul(f.t, b, b), 4)) == 0x1p-58);
    assert_true(isnan(sl_scalar(f.t, sl_const(f.t, &ta)))); /* not a scalar */
    assert_true(isnan(sl_scalar(f.t, (sl_var){ 0 })));
    assert_null(sl_value(f.t, (sl_var){ 0 }));
    assert_null(sl_grad(f.t, (sl_var){ 0 }));
    assert_null(sl_code_csr(f.t, (sl_code){ { 0 } }));
    close_tape(&f);
}

/* ---- random streams ---- */

static void draw(sl_tape *t, uint64_t seed, uint64_t step, const sl_tensor *x, double out[2][64])
{
    sl_tape_reset(t);
    sl_tape_random(t, seed, step);
    sl_var v = sl_const(t, x);
    for (int i = 0; i < 2; i++)
        memcpy(out[i], sl_value(t, sl_dropout(t, v, .5))->data, 64 * sizeof(double));
}

static void dropout_streams(void **state)
{
    (void)state;
    fixture f;
    open_tape(&f, SL_F64);
    double x[64], a[2][64], b[2][64];
    int kept = 0;
    for (int i = 0; i < 64; i++)
        x[i] = 1;
    sl_tensor tx = vec(x, 64);
    sl_var v = sl_const(f.t, &tx);
    assert_int_equal(sl_dropout(f.t, v, 0).id, v.id);
    draw(f.t, 7, 1, &tx, a);
    draw(f.t, 7, 1, &tx, b);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a[0], a[1], sizeof a[0]); /* call sites differ */
    for (int i = 0; i < 64; i++) {
        assert_true(a[0][i] == 0 || a[0][i] == 2);
        kept += a[0][i] == 2;
    }
    assert_in_range(kept, 16, 48); /* four standard errors */
    draw(f.t, 7, 2, &tx, b);
    assert_memory_not_equal(a[0], b[0], sizeof a[0]);
    draw(f.t, 8, 1, &tx, b);
    assert_memory_not_equal(a[0], b[0], sizeof a[0]);
    close_tape(&f);
}

/* ---- failure ---- */

typedef struct bad { sl_tape *t; sl_var s, v3, v4, m34, m45, qkv; sl_tensor *ids3, *ids4, *mask; } bad;

static sl_var bad_add(bad *b) { return sl_add(b->t, b->v3, b->v4); }
static sl_var bad_mul(bad *b) { return sl_mul(b->t, b->m34, b->m45); }
static sl_var bad_add_row(bad *b) { return sl_add_row(b->t, b->m34, b->v3); }
static sl_var bad_row(bad *b) { return sl_add_row(b->t, b->m34, b->m45); }
static sl_var bad_mul_row(bad *b) { return sl_mul_row(b->t, b->s, b->v3); }
static sl_var bad_matmul(bad *b) { return sl_matmul(b->t, b->m34, b->m45, true); }
static sl_var bad_linear(bad *b) { return sl_linear(b->t, b->m34, b->m45, (sl_var){ 0 }, SL_ACT_NONE); }
static sl_var bad_bias(bad *b) { return sl_linear(b->t, b->m34, b->m34, b->v4, SL_ACT_NONE); }
static sl_var bad_missing(bad *b) { return sl_add(b->t, b->v3, (sl_var){ 0 }); }
static sl_var bad_act(bad *b) { return sl_activation(b->t, b->s, SL_ACT_RELU); }
static sl_var bad_matmul_vector(bad *b) { return sl_matmul(b->t, b->m34, b->v4, true); }
static sl_var bad_matmul_scalar(bad *b) { return sl_matmul(b->t, b->s, b->m34, true); }
static sl_var bad_linear_vector(bad *b) { return sl_linear(b->t, b->m34, b->v4, (sl_var){ 0 }, SL_ACT_NONE); }
static sl_var bad_attention_flat(bad *b) { return sl_attention(b->t, b->m34, 1, 0); }
static sl_var bad_heads(bad *b) { return sl_rotary(b->t, b->qkv, 0, 1e4); }
static sl_var bad_attention_all(bad *b) { return sl_attention(b->t, b->qkv, 1, 1); }
static sl_var bad_dropout(bad *b) { return sl_dropout(b->t, b->v3, 1); }
static sl_var bad_norm(bad *b) { return sl_layernorm(b->t, b->m34, b->v3, (sl_var){ 0 }); }
static sl_var bad_rms(bad *b) { return sl_rmsnorm(b->t, b->s, (sl_var){ 0 }); }
static sl_var bad_embed(bad *b) { return sl_embed(b->t, b->mask, b->m34); }
static sl_var bad_table(bad *b) { return sl_embed(b->t, b->ids3, b->v3); }
static sl_var bad_rotary(bad *b) { return sl_rotary(b->t, b->qkv, 2, 1e4); }
static sl_var bad_attention(bad *b) { return sl_attention(b->t, b->qkv, 4, 0); }
static sl_var bad_attention_p(bad *b) { return sl_attention(b->t, b->qkv, 1, -.5); }
static sl_var bad_xent(bad *b) { return sl_xent(b->t, b->m34, b->ids4); }
static sl_var bad_head(bad *b) { return sl_head_xent(b->t, b->m34, b->m45, b->ids3); }
static sl_var bad_head_targets(bad *b) { return sl_head_xent(b->t, b->m34, b->m34, b->ids4); }
static sl_var bad_dist(bad *b) { return sl_sq_dist(b->t, b->m34, b->v3); }
static sl_var bad_replace(bad *b) { return sl_replace(b->t, b->m34, b->m45); }
static sl_var bad_row_norm(bad *b) { return sl_row_norm(b->t, b->v3); }
static sl_var bad_encode(bad *b) { return sl_encode_topk(b->t, b->m45, b->m34, b->v3, 1).v; }
static sl_var bad_b_enc(bad *b) { return sl_encode_topk(b->t, b->m34, b->m34, b->v4, 1).v; }
static sl_var bad_k(bad *b) { return sl_encode_topk(b->t, b->m34, b->m34, b->v3, 4).v; }
static sl_var bad_skip(bad *b) { return sl_encode_topk_among(b->t, b->m34, b->m34, b->v3, 1, b->mask).v; }
static sl_var bad_code(bad *b) { return sl_sparse_decode(b->t, (sl_code){ b->v3 }, b->m34, (sl_var){ 0 }); }
static sl_var bad_decode(bad *b)
{
    return sl_sparse_decode(b->t, sl_encode_topk(b->t, b->m34, b->m34, b->v3, 1), b->m45, (sl_var){ 0 });
}
static sl_var bad_b_dec(bad *b)
{
    return sl_sparse_decode(b->t, sl_encode_topk(b->t, b->m34, b->m34, b->v3, 1), b->m34, b->v3);
}

static const struct { sl_var (*call)(bad *); sl_status code; const char *line; } BAD[] = {
    { bad_add, SL_SHAPE, "add: a is [3], b is [4] (expected equal shapes)" },
    { bad_mul, SL_SHAPE, "mul: a is [3, 4], b is [4, 5] (expected equal shapes)" },
    { bad_add_row, SL_SHAPE, "add_row: x is [3, 4], r is [3] (expected x [.., D] and r [D])" },
    { bad_row, SL_SHAPE, "add_row: x is [3, 4], r is [4, 5] (expected x [.., D] and r [D])" },
    { bad_mul_row, SL_SHAPE, "mul_row: x is [], r is [3]" },
    { bad_matmul, SL_SHAPE, "matmul: a is [3, 4], b is [4, 5] (expected a [.., K] and b [N, K])" },
    { bad_linear, SL_SHAPE, "linear: x is [3, 4], W is [4, 5] (expected x [.., K] and W [N, K])" },
    { bad_bias, SL_SHAPE, "linear: W is [3, 4], b is [4] (expected W [N, K] and b [N])" },
    { bad_missing, SL_ARG, "add: input 2 is missing" },
    { bad_act, SL_SHAPE, "activation: x is [] (expected at least one dimension)" },
    { bad_matmul_vector, SL_SHAPE, "matmul: a is [3, 4], b is [4] (expected a [.., K] and b [N, K])" },
    { bad_matmul_scalar, SL_SHAPE, "matmul: a is [], b is [3, 4]" },
    { bad_linear_vector, SL_SHAPE, "linear: x is [3, 4], W is [4]" },
    { bad_attention_flat, SL_SHAPE, "attention: qkv is [3, 4] with n_head 1" },
    { bad_heads, SL_SHAPE, "rotary: qkv is [1, 2, 9] with n_head 0 (expected [B, T, 3C], C a multiple of 2 n_head)" },
    { bad_attention_all, SL_ARG, "attention: dropout p is 1 (expected 0 <= p < 1)" },
    { bad_dropout, SL_ARG, "dropout: p is 1 (expected 0 <= p < 1)" },
    { bad_norm, SL_SHAPE, "layernorm: x is [3, 4], gain is [3] (expected x [.., D], gain and bias [D])" },
    { bad_rms, SL_SHAPE, "rmsnorm: x is [] (expected [.., D])" },
    { bad_embed, SL_SHAPE, "embed: ids is [4] (expected I32 of one to three dimensions)" },
    { bad_table, SL_SHAPE, "embed: table is [3] (expected [V, C])" },
    { bad_rotary, SL_SHAPE, "rotary: qkv is [1, 2, 9] with n_head 2" },
    { bad_attention, SL_SHAPE, "attention: qkv is [1, 2, 9] with n_head 4 (expected [B, T, 3C], C a multiple of n_head)" },
    { bad_attention_p, SL_ARG, "attention: dropout p is -0.5 (expected 0 <= p < 1)" },
    { bad_xent, SL_SHAPE, "xent: x is [3, 4], targets is [4] (expected a target (I32) for each row)" },
    { bad_head, SL_SHAPE, "head_xent: x is [3, 4], W is [4, 5] (expected x [.., C] and W [V, C])" },
    { bad_head_targets, SL_SHAPE, "head_xent: x is [3, 4], targets is [4]" },
    { bad_dist, SL_SHAPE, "sq_dist: a is [3, 4], b is [3] (expected equal shapes)" },
    { bad_replace, SL_SHAPE, "replace: x is [3, 4], its replacement is [4, 5]" },
    { bad_row_norm, SL_SHAPE, "row_norm: W is [3] (expected [F, D])" },
    { bad_encode, SL_SHAPE, "encode_topk: x is [4, 5], W_enc is [3, 4] (expected x [.., d_in] and W_enc [F, d_in])" },
    { bad_b_enc, SL_SHAPE, "encode_topk: W_enc is [3, 4], b_enc is [4]" },
    { bad_k, SL_ARG, "encode_topk: k is 4 with 3 features (expected 1 <= k <= F)" },
    { bad_skip, SL_SHAPE, "encode_topk_among: W_enc is [3, 4], skip is [4]" },
    { bad_code, SL_ARG, "sparse_decode: input 1 is no sparse code (expected the result of an encoder)" },
    { bad_decode, SL_SHAPE, "sparse_decode: W_dec is [4, 5] for a code of 3 features (expected W_dec [F, d_in])" },
    { bad_b_dec, SL_SHAPE, "sparse_decode: W_dec is [3, 4], b_dec is [3]" },
};

static void bad_inputs(bad *b, double *x, int32_t *ids, sl_tensor *kept)
{
    sl_tensor t[] = { sl_tensor_of(SL_F64, x, 0), vec(x, 3), vec(x, 4), mat(x, 3, 4), mat(x, 4, 5),
                      sl_tensor_of(SL_F64, x, 3, (int64_t)1, (int64_t)2, (int64_t)9) };
    b->s = sl_leaf(b->t, &t[0]);
    b->v3 = sl_leaf(b->t, &t[1]);
    b->v4 = sl_leaf(b->t, &t[2]);
    b->m34 = sl_leaf(b->t, &t[3]);
    b->m45 = sl_leaf(b->t, &t[4]);
    b->qkv = sl_leaf(b->t, &t[5]);
    kept[0] = sl_tensor_of(SL_I32, ids, 1, (int64_t)3);
    kept[1] = sl_tensor_of(SL_I32, ids, 1, (int64_t)4);
    kept[2] = sl_tensor_of(SL_U8, ids, 1, (int64_t)4);
    b->ids3 = &kept[0];
    b->ids4 = &kept[1];
    b->mask = &kept[2];
}

static void failures_are_sticky(void **state)
{
    (void)state;
    fixture f;
    sl_err err;
    open_tape(&f, SL_F64);
    double x[20];
    int32_t ids[4] = { 0, 1, 2, 1 };
    sl_tensor kept[3];
    for (int i = 0; i < 20; i++)
        x[i] = 1 + i;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        bad b = { .t = f.t };
        sl_tape_reset(f.t);
        bad_inputs(&b, x, ids, kept);
        sl_assert_ok(sl_tape_status(f.t, &err));
        assert_int_equal(BAD[i].call(&b).id, 0);
        sl_assert_fails(sl_tape_status(f.t, &err), BAD[i].code, BAD[i].line);
        sl_var after = sl_sum(f.t, b.v3); /* a no-op now, and the first failure stays */
        assert_int_equal(after.id, 0);
        assert_int_equal(sl_leaf(f.t, &kept[0]).id, 0);
        bad_missing(&b);
        assert_null(sl_tape_scratch(f.t, 8));
        sl_assert_fails(sl_tape_backward(f.t, after, &err), BAD[i].code, BAD[i].line);
    }
    sl_tape_reset(f.t);
    sl_assert_ok(sl_tape_status(f.t, &err));
    close_tape(&f);
}

static void other_errors(void **state)
{
    (void)state;
    fixture f;
    sl_err err;
    sl_tape *none;
    open_tape(&f, SL_F64);
    sl_assert_fails(sl_tape_new(f.ctx, SL_BF16, &none, &err), SL_ARG, "tape: a tape of BF16 (expected F32 or F64)");
    assert_null(none);
    float x32[] = { 1 };
    double x[] = { 1, 2 };
    sl_tensor t32 = sl_tensor_of(SL_F32, x32, 1, (int64_t)1), tx = vec(x, 2);
    sl_assert_fails(sl_tape_backward(f.t, sl_leaf(f.t, &tx), &err), SL_SHAPE, "backward: the loss is [2] (expected a scalar)");
    sl_assert_fails(sl_tape_backward(f.t, (sl_var){ 0 }, &err), SL_ARG, "backward: the loss is no variable");
    assert_int_equal(sl_const(f.t, &t32).id, 0);
    sl_assert_fails(sl_tape_status(f.t, &err), SL_SHAPE, "tape input: it is F32 (expected F64)");
    close_tape(&f);
}

/* ---- memory ---- */

static void nothing_is_allocated_after_the_first_step(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        sl_ctx *ctx = sl_test_ctx(1);
        sl_err err;
        tiny m;
        sl_optim o = { .kind = kind ? SL_OPTIM_MUON : SL_OPTIM_ADAMW, .lr = 1e-2, .beta1 = .9, .beta2 = .99, .eps = 1e-8,
                       .clip = 1, .muon_lr = .02, .muon_momentum = .95 };
        sl_assert_ok(tiny_new(ctx, SL_F32, &m, &err));
        sl_assert_ok(tiny_step(&m, &o, .1, &err));
        int64_t before = sl_alloc_count(ctx);
        for (int i = 0; i < 5; i++)
            sl_assert_ok(tiny_step(&m, &o, .1, &err));
        assert_int_equal(sl_alloc_count(ctx), before);
        tiny_free(&m);
        sl_ctx_free(ctx);
    }
}

/* The n-th allocation fails, for every n: SL_MEM, nothing leaks (AddressSanitizer), and a step is repeatable afterwards. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    int failed = 0;
    for (int64_t n = 1;; n++) {
        sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .fail_alloc_at = n });
        sl_err err = { 0 };
        tiny m;
        sl_optim o = { .kind = SL_OPTIM_MUON, .lr = 1e-2, .beta1 = .9, .beta2 = .99, .eps = 1e-8, .muon_lr = .02, .muon_momentum = .95 };
        sl_status st = tiny_new(ctx, SL_F64, &m, &err);
        if (st == SL_OK)
            st = tiny_step(&m, &o, .1, &err);
        bool reached = sl_alloc_count(ctx) >= n;
        if (reached)
            assert_int_equal(st, SL_MEM);
        failed += st == SL_MEM;
        tiny_free(&m);
        sl_ctx_free(ctx);
        if (!reached) {
            assert_int_equal(st, SL_OK);
            break;
        }
    }
    assert_true(failed > 10);
}

/* More parameters than the first table of seen ones holds, and more nodes than one chunk. */
static void many_parameters(void **state)
{
    (void)state;
    fixture f;
    sl_err err;
    sl_params *ps;
    enum { N = 700 };
    open_tape(&f, SL_F64);
    sl_assert_ok(sl_params_new(f.ctx, SL_F64, &ps, &err));
    for (int i = 0; i < N; i++)
        assert_non_null(sl_params_add(ps, 0, "w", 0));
    sl_assert_ok(sl_params_build(ps, false, &err));
    for (int i = 0; i < N; i++)
        ((double *)sl_params_at(ps, i)->value.data)[0] = i;
    sl_var first[N], sum = sl_param_var(f.t, sl_params_at(ps, 0));
    const sl_tensor *value = sl_value(f.t, sum); /* stays valid while nodes are added */
    for (int i = 0; i < N; i++) {
        first[i] = sl_param_var(f.t, sl_params_at(ps, i));
        sum = i ? sl_add(f.t, sum, first[i]) : sum;
    }
    for (int i = 0; i < N; i++)
        assert_int_equal(sl_param_var(f.t, sl_params_at(ps, i)).id, first[i].id);
    assert_ptr_equal(sl_value(f.t, first[0]), value);
    assert_true(sl_scalar(f.t, sum) == N * (N - 1) / 2);
    sl_assert_ok(sl_tape_backward(f.t, sum, &err));
    for (int i = 0; i < N; i++)
        assert_true(((double *)sl_params_at(ps, i)->grad.data)[0] == 1);
    sl_params_free(ps);
    close_tape(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_by_hand), cmocka_unit_test(a_variable_used_several_times),
        cmocka_unit_test(a_shared_gradient_is_copied_before_a_write), cmocka_unit_test(inner_gradients_are_recycled),
        cmocka_unit_test(stop_replace_freeze), cmocka_unit_test(no_grad_keeps_nothing), cmocka_unit_test(scalars_are_f64),
        cmocka_unit_test(dropout_streams), cmocka_unit_test(failures_are_sticky), cmocka_unit_test(other_errors),
        cmocka_unit_test(nothing_is_allocated_after_the_first_step), cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(many_parameters),
    };
    return cmocka_run_group_tests_name("tape", tests, NULL, NULL);
}
