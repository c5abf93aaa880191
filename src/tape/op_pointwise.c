/* One input, element by element.
 *   activation  y = act(x)              dx += act'(x) dy
 *   dropout     y = mask x / (1 - p)    dx += mask dy / (1 - p)
 * The mask is never stored: it is a function of the key (seed, step and call site within the step). */
#include "tape/node.h"

static sl_status same_as_input(sl_tape *t, sl_node *n)
{
    sl_shape_like(n, sl_in(t, n, 0));
    return SL_OK;
}

/* ---- activation: args.act ---- */

static sl_status activation_shape(sl_tape *t, sl_node *n)
{
    if (sl_in(t, n, 0)->n_dim < 1)
        return sl_shape_bad(t, n, "x", sl_in(t, n, 0), "at least one dimension");
    return same_as_input(t, n);
}

static void activation_forward(sl_tape *t, sl_node *n) { t->kern->act(t->kern, n->args.act, sl_in(t, n, 0), &n->out); }

static void activation_backward(sl_tape *t, sl_node *n)
{
    double beta;
    sl_tensor *dx = sl_din(t, n, 0, &beta);
    if (dx)
        t->kern->act_back(t->kern, n->args.act, sl_in(t, n, 0), &n->grad, beta, dx);
}

static sl_var activation_example(sl_tape *t, sl_example *e, int which)
{
    static const sl_act act[] = { SL_ACT_NONE, SL_ACT_RELU, SL_ACT_GELU, SL_ACT_RELU2, SL_ACT_EXP };
    return sl_activation(t, sl_example_in(t, e, 3, 7, 0), act[which]);
}

const sl_op sl_op_activation = { "activation", 1, 1, activation_shape, activation_forward, activation_backward, 5,
                                 activation_example };

sl_var sl_activation(sl_tape *t, sl_var x, sl_act act)
{
    return sl_apply(t, &sl_op_activation, &x, &(sl_args){ .act = act });
}

/* ---- dropout: args.key ---- */

static sl_status dropout_shape(sl_tape *t, sl_node *n)
{
    double p = n->args.key.p;
    if (!(p >= 0 && p < 1))
        return sl_node_fail(t, n, SL_ARG, "0 <= p < 1", "p is %g", p);
    return activation_shape(t, n);
}

static void dropout_forward(sl_tape *t, sl_node *n)
{
    t->kern->dropout(t->kern, &n->args.key, sl_in(t, n, 0), 0, &n->out);
}

static void dropout_backward(sl_tape *t, sl_node *n)
{
    double beta;
    sl_tensor *dx = sl_din(t, n, 0, &beta);
    if (dx)
        t->kern->dropout(t->kern, &n->args.key, &n->grad, beta, dx);
}

static sl_var dropout_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    return sl_dropout(t, sl_example_in(t, e, 5, 7, 0), .3);
}

const sl_op sl_op_dropout = { "dropout", 1, 1, dropout_shape, dropout_forward, dropout_backward, 1, dropout_example };

sl_var sl_dropout(sl_tape *t, sl_var x, double p)
{
    if (p == 0)
        return x;
    return sl_apply(t, &sl_op_dropout, &x, &(sl_args){ .key = sl_next_key(t, p) });
}
