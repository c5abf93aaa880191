/* A row vector against each row of x [.., D], r [D].
 *   add_row  y = x + r    dx += dy      dr += sum_rows dy          (sub_row: y = x - r; args.f = -1)
 *   mul_row  y = x r      dx += r dy    dr += sum_rows x dy
 *   row_norm y_f = |W_f|  dW_f += dy_f W_f / |W_f|                 W [F, D] -> [F]; a zero row has gradient 0 */
#include "tape/node.h"

static sl_status row_shape(sl_tape *t, sl_node *n)
{
    const sl_tensor *x = sl_in(t, n, 0), *r = sl_in(t, n, 1);
    if (x->n_dim < 1 || r->n_dim != 1 || r->dim[0] != sl_cols(x))
        return sl_shape_mismatch(t, n, "x", x, "r", r, "x [.., D] and r [D]");
    sl_shape_like(n, x);
    return SL_OK;
}

/* ---- add_row, sub_row ---- */

static void add_row_forward(sl_tape *t, sl_node *n)
{
    t->kern->add_row(t->kern, sl_in(t, n, 0), n->args.f, sl_in(t, n, 1), &n->out);
}

static void add_row_backward(sl_tape *t, sl_node *n)
{
    sl_din_pass(t, n, 0);
    sl_tensor *dr = sl_din_add(t, n, 1);
    if (dr)
        t->kern->col_sum(t->kern, n->args.f, &n->grad, dr);
}

static sl_var add_row_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    return sl_add_row(t, sl_example_in(t, e, 2, 3, 5), sl_example_in(t, e, 5, 0, 0));
}

static sl_var sub_row_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    return sl_sub_row(t, sl_example_in(t, e, 4, 3, 0), sl_example_in(t, e, 3, 0, 0));
}

const sl_op sl_op_add_row = { "add_row", 2, 2, row_shape, add_row_forward, add_row_backward, 1, add_row_example };
const sl_op sl_op_sub_row = { "sub_row", 2, 2, row_shape, add_row_forward, add_row_backward, 1, sub_row_example };

sl_var sl_add_row(sl_tape *t, sl_var x, sl_var r)
{
    return sl_apply(t, &sl_op_add_row, (sl_var[]){ x, r }, &(sl_args){ .f = 1 });
}

sl_var sl_sub_row(sl_tape *t, sl_var x, sl_var r)
{
    return sl_apply(t, &sl_op_sub_row, (sl_var[]){ x, r }, &(sl_args){ .f = -1 });
}

/* ---- mul_row ---- */

static void mul_row_forward(sl_tape *t, sl_node *n)
{
    t->kern->mul_row(t->kern, sl_in(t, n, 0), sl_in(t, n, 1), 0, &n->out);
}

static void mul_row_backward(sl_tape *t, sl_node *n)
{
    const sl_kern *k = t->kern;
    double beta;
    sl_temp x_dy;
    sl_tensor *dx = sl_din(t, n, 0, &beta);
    if (dx)
        k->mul_row(k, &n->grad, sl_in(t, n, 1), beta, dx);
    sl_tensor *dr = sl_din_add(t, n, 1);
    if (!dr || !sl_temp_of_dout(t, n, &x_dy))
        return;
    k->mul(k, sl_in(t, n, 0), &n->grad, 0, &x_dy.x);
    k->col_sum(k, 1, &x_dy.x, dr);
    sl_temp_done(t, &x_dy);
}

static sl_var mul_row_example(sl_tape *t, sl_example *e, int which)
{
    sl_var x = sl_example_in(t, e, 4, 3, 0), y = sl_mul_row(t, x, sl_example_in(t, e, 3, 0, 0));
    return which == 0 ? y : sl_add(t, x, y); /* a residual: dy is shared, and may not be overwritten */
}

const sl_op sl_op_mul_row = { "mul_row", 2, 2, row_shape, mul_row_forward, mul_row_backward, 2, mul_row_example };

sl_var sl_mul_row(sl_tape *t, sl_var x, sl_var r) { return sl_apply(t, &sl_op_mul_row, (sl_var[]){ x, r }, NULL); }

/* ---- row_norm ---- */

static sl_status row_norm_shape(sl_tape *t, sl_node *n)
{
    const sl_tensor *W = sl_in(t, n, 0);
    if (W->n_dim != 2)
        return sl_shape_bad(t, n, "W", W, "[F, D]");
    n->out.n_dim = 1;
    n->out.dim[0] = W->dim[0];
    return SL_OK;
}

static void row_norm_forward(sl_tape *t, sl_node *n) { t->kern->row_norms(t->kern, sl_in(t, n, 0), &n->out); }

static void row_norm_backward(sl_tape *t, sl_node *n)
{
    sl_tensor *dW = sl_din_add(t, n, 0);
    if (dW)
        t->kern->row_norms_back(t->kern, sl_in(t, n, 0), &n->out, &n->grad, dW);
}

static sl_var row_norm_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    return sl_row_norm(t, sl_example_in(t, e, 4, 6, 0));
}

const sl_op sl_op_row_norm = { "row_norm", 1, 1, row_norm_shape, row_norm_forward, row_norm_backward, 1, row_norm_example };

sl_var sl_row_norm(sl_tape *t, sl_var W) { return sl_apply(t, &sl_op_row_norm, &W, NULL); }
