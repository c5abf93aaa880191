/* Values passed on: the result is the memory of an input.
 *   stop_grad  y = x       no gradient
 *   freeze     y = x       no gradient, and where a gradient check moves x, y stays: for terms that a loss is defined to hold constant
 *   replace    y = with    dwith += dy; x only gives the shape and gets no gradient (a splice) */
#include "tape/node.h"

static void share(const sl_tape *t, sl_node *n, int i)
{
    n->out = *sl_in(t, n, i);
    n->scalar = sl_in_scalar(t, n, i);
}

static sl_status stop_grad_shape(sl_tape *t, sl_node *n)
{
    share(t, n, 0);
    n->csr = sl_node_at(t, n->in[0])->csr;
    return SL_OK;
}

static sl_var stop_grad_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    sl_var stopped = sl_stop_grad(t, sl_example_const(t, e, 3, 4, 0));
    return sl_mul(t, sl_example_in(t, e, 3, 4, 0), stopped);
}

const sl_op sl_op_stop_grad = { "stop_grad", 1, 1, stop_grad_shape, NULL, NULL, 1, stop_grad_example };

sl_var sl_stop_grad(sl_tape *t, sl_var x) { return sl_apply(t, &sl_op_stop_grad, &x, NULL); }

/* A code that stands still has an index structure of its own, whose values are the frozen ones. */
static void freeze_code(sl_tape *t, sl_node *n)
{
    sl_csr *z = sl_tape_bytes(t, sizeof *z);
    if (!z)
        return;
    *z = *n->csr;
    z->val = n->out.data;
    n->csr = z;
}

static void freeze_forward(sl_tape *t, sl_node *n)
{
    if (t->frozen) {
        const sl_node *base = sl_node_at(t->frozen, n->id);
        n->out.data = base->kept[0].data;
        n->scalar = base->scalar;
        if (n->csr)
            freeze_code(t, n);
    } else if (t->checked) { /* its inputs will be moved in place */
        sl_tensor *kept = sl_node_keep(t, n, 0, n->out.n_dim, n->out.dim);
        if (kept)
            t->kern->copy(t->kern, &n->out, kept);
    }
}

static sl_var freeze_example(sl_tape *t, sl_example *e, int which)
{
    sl_var x = sl_example_in(t, e, 3, 4, 0);
    return which == 0 ? sl_mul(t, x, sl_freeze(t, x)) : sl_mul(t, sl_sum(t, x), sl_freeze(t, sl_sum(t, x)));
}

const sl_op sl_op_freeze = { "freeze", 1, 1, stop_grad_shape, freeze_forward, NULL, 2, freeze_example };

sl_var sl_freeze(sl_tape *t, sl_var x) { return sl_apply(t, &sl_op_freeze, &x, NULL); }

static sl_status replace_shape(sl_tape *t, sl_node *n)
{
    const sl_tensor *x = sl_in(t, n, 0), *with = sl_in(t, n, 1);
    if (!sl_same_shape(x, with))
        return sl_shape_mismatch(t, n, "x", x, "its replacement", with, "equal shapes");
    share(t, n, 1);
    return SL_OK;
}

static void replace_backward(sl_tape *t, sl_node *n) { sl_din_pass(t, n, 1); }

static sl_var replace_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    sl_var with = sl_example_in(t, e, 3, 4, 0), x = sl_example_in(t, e, 3, 4, 0);
    return sl_replace(t, x, with);
}

const sl_op sl_op_replace = { "replace", 2, 2, replace_shape, NULL, replace_backward, 1, replace_example };

sl_var sl_replace(sl_tape *t, sl_var x, sl_var with) { return sl_apply(t, &sl_op_replace, (sl_var[]){ x, with }, NULL); }
