/* Matrix products; x [.., K] counts as [rows, K].
 *   matmul  y = a b (args.flag: a b^T)     da += dy b^T        db += a^T dy
 *   linear  y = act(x W^T + b)             dp = act'(p) dy;  dx += dp W   dW += dp^T x   db += sum_rows dp
 *           y = act((x - c) W^T + b)       dW += dp^T (x - c)             dc -= (sum_rows dp) W: one row in place of all of dp
 * linear runs bias and activation in the product's epilogue. The value before the activation is kept only where the
 * derivative needs it: not for none, nor for relu (its derivative can be read off y). */
#include "tape/node.h"

/* ---- matmul ---- */

static sl_status matmul_shape(sl_tape *t, sl_node *n)
{
    const sl_tensor *a = sl_in(t, n, 0), *b = sl_in(t, n, 1);
    bool tb = n->args.flag;
    if (a->n_dim < 1 || b->n_dim != 2 || b->dim[tb ? 1 : 0] != sl_cols(a))
        return sl_shape_mismatch(t, n, "a", a, "b", b, tb ? "a [.., K] and b [N, K]" : "a [.., K] and b [K, N]");
    sl_shape_last(n, a, b->dim[tb ? 0 : 1]);
    return SL_OK;
}

static void matmul_forward(sl_tape *t, sl_node *n)
{
    sl_gemm g = { .a = sl_in(t, n, 0), .b = sl_in(t, n, 1), .tb = n->args.flag, .c = &n->out, .alpha = 1 };
    t->kern->gemm(t->kern, &g);
}

static void matmul_backward(sl_tape *t, sl_node *n)
{
    const sl_kern *k = t->kern;
    const sl_tensor *a = sl_in(t, n, 0), *b = sl_in(t, n, 1), *dy = &n->grad;
    bool tb = n->args.flag;
    double beta;
    sl_tensor *da = sl_din(t, n, 0, &beta);
    if (da)
        k->gemm(k, &(sl_gemm){ .a = dy, .b = b, .tb = !tb, .c = da, .alpha = 1, .beta = beta });
    sl_tensor *db = sl_din(t, n, 1, &beta);
    if (db)
        k->gemm(k, &(sl_gemm){ .a = tb ? dy : a, .ta = true, .b = tb ? a : dy, .c = db, .alpha = 1, .beta = beta });
}

static sl_var matmul_example(sl_tape *t, sl_example *e, int which)
{
    sl_var a = sl_example_in(t, e, 2, 3, 4);
    sl_var b = which ? sl_example_in(t, e, 5, 4, 0) : sl_example_in(t, e, 4, 5, 0);
    return sl_matmul(t, a, b, which);
}

const sl_op sl_op_matmul = { "matmul", 2, 2, matmul_shape, matmul_forward, matmul_backward, 2, matmul_example };

sl_var sl_matmul(sl_tape *t, sl_var a, sl_var b, bool tb)
{
    return sl_apply(t, &sl_op_matmul, (sl_var[]){ a, b }, &(sl_args){ .flag = tb });
}

/* ---- linear: args.act; inputs x, W, b, c ---- */

enum { PRE = 0, CENTRED = 1 };

static sl_status linear_shape(sl_tape *t, sl_node *n)
{
    const sl_tensor *x = sl_in(t, n, 0), *W = sl_in(t, n, 1), *b = sl_in(t, n, 2), *c = sl_in(t, n, 3);
    if (x->n_dim < 1 || W->n_dim != 2 || W->dim[1] != sl_cols(x))
        return sl_shape_mismatch(t, n, "x", x, "W", W, "x [.., K] and W [N, K]");
    if (b && (b->n_dim != 1 || b->dim[0] != W->dim[0]))
        return sl_shape_mismatch(t, n, "W", W, "b", b, "W [N, K] and b [N]");
    if (c && (c->n_dim != 1 || c->dim[0] != sl_cols(x)))
        return sl_shape_mismatch(t, n, "x", x, "c", c, "x [.., K] and c [K]");
    sl_shape_last(n, x, W->dim[0]);
    return SL_OK;
}

/* x, or x - c, which is kept. NULL: the tape has failed. */
static const sl_tensor *centred(sl_tape *t, sl_node *n)
{
    const sl_tensor *x = sl_in(t, n, 0), *c = sl_in(t, n, 3);
    sl_tensor *kept = c ? sl_node_keep(t, n, CENTRED, x->n_dim, x->dim) : NULL;
    if (kept)
        t->kern->add_row(t->kern, x, -1, c, kept);
    return c ? kept : x;
}

static void linear_forward(sl_tape *t, sl_node *n)
{
    sl_act act = n->args.act;
    const sl_tensor *x = centred(t, n);
    if (!x)
        return;
    sl_gemm g = { .a = x, .b = sl_in(t, n, 1), .tb = true, .c = &n->out, .alpha = 1, .bias = sl_in(t, n, 2),
                  .act = act };
    if (n->needs_grad && act != SL_ACT_NONE && act != SL_ACT_RELU) {
        g.pre = sl_node_keep(t, n, PRE, n->out.n_dim, n->out.dim);
        if (!g.pre)
            return;
    }
    t->kern->gemm(t->kern, &g);
}

/* dc -= (sum_rows dp) W */
static void linear_center_grad(sl_tape *t, sl_node *n, const sl_tensor *dp)
{
    const sl_kern *k = t->kern;
    const sl_tensor *W = sl_in(t, n, 1), row = { .dim = { W->dim[0], 1, 1, 1 }, .n_dim = 1, .dtype = t->dtype };
    double beta;
    sl_temp sum;
    sl_tensor *dc = sl_din(t, n, 3, &beta);
    if (!dc || !sl_temp_get(t, &row, &sum))
        return;
    k->fill(k, 0, &sum.x);
    k->col_sum(k, 1, dp, &sum.x);
    k->gemm(k, &(sl_gemm){ .a = &sum.x, .b = W, .c = dc, .alpha = -1, .beta = beta });
    sl_temp_done(t, &sum);
}

static void linear_grads(sl_tape *t, sl_node *n, const sl_tensor *dp)
{
    const sl_kern *k = t->kern;
    const sl_tensor *x = sl_in(t, n, 3) ? &n->kept[CENTRED] : sl_in(t, n, 0);
    double beta;
    linear_center_grad(t, n, dp);
    sl_tensor *dW = sl_din(t, n, 1, &beta);
    if (dW)
        k->gemm(k, &(sl_gemm){ .a = dp, .ta = true, .b = x, .c = dW, .alpha = 1, .beta = beta });
    sl_tensor *db = sl_din_add(t, n, 2);
    if (db)
        k->col_sum(k, 1, dp, db);
    sl_tensor *dx = sl_din(t, n, 0, &beta);
    if (dx)
        k->gemm(k, &(sl_gemm){ .a = dp, .b = sl_in(t, n, 1), .c = dx, .alpha = 1, .beta = beta });
}

static void linear_backward(sl_tape *t, sl_node *n)
{
    sl_act act = n->args.act;
    sl_temp dp;
    if (act == SL_ACT_NONE) {
        linear_grads(t, n, &n->grad);
        return;
    }
    if (!sl_temp_of_dout(t, n, &dp))
        return;
    const sl_tensor *pre = act == SL_ACT_RELU ? &n->out : &n->kept[PRE];
    t->kern->act_back(t->kern, act, pre, &n->grad, 0, &dp.x);
    linear_grads(t, n, &dp.x);
    sl_temp_done(t, &dp);
}

static sl_var linear_example(sl_tape *t, sl_example *e, int which)
{
    static const sl_act act[] = { SL_ACT_NONE, SL_ACT_RELU, SL_ACT_GELU, SL_ACT_RELU2, SL_ACT_GELU, SL_ACT_RELU, SL_ACT_NONE, SL_ACT_GELU };
    sl_var x = sl_example_in(t, e, 2, 3, 5), W = sl_example_in(t, e, which == 5 ? 5 : 4, 5, 0);
    if (which >= 6)
        return sl_linear_from(t, which == 6 ? x : sl_example_const(t, e, 2, 3, 5), sl_example_in(t, e, 5, 0, 0), W, sl_example_in(t, e, 4, 0, 0), act[which]);
    sl_var y = sl_linear(t, x, W, which < 4 ? sl_example_in(t, e, 4, 0, 0) : (sl_var){ 0 }, act[which]);
    return which == 5 ? sl_add(t, x, y) : y; /* a residual: dy is shared, and may not be overwritten */
}

const sl_op sl_op_linear = { "linear", 4, 2, linear_shape, linear_forward, linear_backward, 8, linear_example };

sl_var sl_linear(sl_tape *t, sl_var x, sl_var W, sl_var b, sl_act act)
{
    return sl_apply(t, &sl_op_linear, (sl_var[]){ x, W, b, { 0 } }, &(sl_args){ .act = act });
}

sl_var sl_linear_from(sl_tape *t, sl_var x, sl_var c, sl_var W, sl_var b, sl_act act)
{
    return sl_apply(t, &sl_op_linear, (sl_var[]){ x, W, b, c }, &(sl_args){ .act = act });
}
