/* Element-wise arithmetic on equal shapes. Scalars are also computed in f64.
 *   add  y = a + b    da += dy      db += dy
 *   sub  y = a - b    da += dy      db -= dy
 *   mul  y = a b      da += b dy    db += a dy
 *   scale y = s a     da += s dy                       args.f = s */
#include "tape/node.h"

static sl_status same_shape(sl_tape *t, sl_node *n)
{
    const sl_tensor *a = sl_in(t, n, 0), *b = sl_in(t, n, 1);
    if (!sl_same_shape(a, b))
        return sl_shape_mismatch(t, n, "a", a, "b", b, "equal shapes");
    sl_shape_like(n, a);
    return SL_OK;
}

static bool is_scalar(const sl_node *n) { return n->out.n_dim == 0; }

/* ---- add ---- */

static void add_forward(sl_tape *t, sl_node *n)
{
    if (is_scalar(n))
        sl_set_scalar(t, n, sl_in_scalar(t, n, 0) + sl_in_scalar(t, n, 1));
    else
        t->kern->add(t->kern, sl_in(t, n, 0), sl_in(t, n, 1), &n->out);
}

static void add_backward(sl_tape *t, sl_node *n)
{
    sl_din_pass(t, n, 0);
    sl_din_pass(t, n, 1);
}

static sl_var add_example(sl_tape *t, sl_example *e, int which)
{
    sl_var a = sl_example_in(t, e, 3, 5, 0);
    return sl_add(t, a, which == 0 ? sl_example_in(t, e, 3, 5, 0) : a);
}

const sl_op sl_op_add = { "add", 2, 2, same_shape, add_forward, add_backward, 2, add_example };

sl_var sl_add(sl_tape *t, sl_var a, sl_var b) { return sl_apply(t, &sl_op_add, (sl_var[]){ a, b }, NULL); }

/* ---- sub ---- */

static void sub_forward(sl_tape *t, sl_node *n)
{
    const sl_kern *k = t->kern;
    if (is_scalar(n)) {
        sl_set_scalar(t, n, sl_in_scalar(t, n, 0) - sl_in_scalar(t, n, 1));
        return;
    }
    k->copy(k, sl_in(t, n, 0), &n->out);
    k->axpby(k, -1, sl_in(t, n, 1), 1, &n->out);
}

static void sub_backward(sl_tape *t, sl_node *n)
{
    double beta;
    sl_din_pass(t, n, 0);
    sl_tensor *db = sl_din(t, n, 1, &beta);
    if (db)
        t->kern->axpby(t->kern, -1, &n->grad, beta, db);
}

static sl_var sub_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    return sl_sub(t, sl_example_in(t, e, 2, 3, 4), sl_example_in(t, e, 2, 3, 4));
}

const sl_op sl_op_sub = { "sub", 2, 2, same_shape, sub_forward, sub_backward, 1, sub_example };

sl_var sl_sub(sl_tape *t, sl_var a, sl_var b) { return sl_apply(t, &sl_op_sub, (sl_var[]){ a, b }, NULL); }

/* ---- mul ---- */

static void mul_forward(sl_tape *t, sl_node *n)
{
    if (is_scalar(n))
        sl_set_scalar(t, n, sl_in_scalar(t, n, 0) * sl_in_scalar(t, n, 1));
    else
        t->kern->mul(t->kern, sl_in(t, n, 0), sl_in(t, n, 1), 0, &n->out);
}

static void mul_backward(sl_tape *t, sl_node *n)
{
    for (int i = 0; i < 2; i++) {
        double beta;
        sl_tensor *dx = sl_din(t, n, i, &beta);
        if (dx)
            t->kern->mul(t->kern, sl_in(t, n, 1 - i), &n->grad, beta, dx);
    }
}

static sl_var mul_example(sl_tape *t, sl_example *e, int which)
{
    sl_var a = sl_example_in(t, e, 4, 3, 0);
    return sl_mul(t, a, which == 0 ? sl_example_in(t, e, 4, 3, 0) : a);
}

const sl_op sl_op_mul = { "mul", 2, 2, same_shape, mul_forward, mul_backward, 2, mul_example };

sl_var sl_mul(sl_tape *t, sl_var a, sl_var b) { return sl_apply(t, &sl_op_mul, (sl_var[]){ a, b }, NULL); }

/* ---- scale ---- */

static sl_status scale_shape(sl_tape *t, sl_node *n)
{
    sl_shape_like(n, sl_in(t, n, 0));
    return SL_OK;
}

static void scale_forward(sl_tape *t, sl_node *n)
{
    if (is_scalar(n))
        sl_set_scalar(t, n, n->args.f * sl_in_scalar(t, n, 0));
    else
        t->kern->axpby(t->kern, n->args.f, sl_in(t, n, 0), 0, &n->out);
}

static void scale_backward(sl_tape *t, sl_node *n)
{
    double beta;
    sl_tensor *dx = sl_din(t, n, 0, &beta);
    if (dx)
        t->kern->axpby(t->kern, n->args.f, &n->grad, beta, dx);
}

static sl_var scale_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    return sl_scale(t, sl_example_in(t, e, 7, 0, 0), -1.75);
}

const sl_op sl_op_scale = { "scale", 1, 1, scale_shape, scale_forward, scale_backward, 1, scale_example };

sl_var sl_scale(sl_tape *t, sl_var a, double s) { return sl_apply(t, &sl_op_scale, &a, &(sl_args){ .f = s }); }
