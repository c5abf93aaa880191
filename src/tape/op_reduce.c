/* Reductions to a scalar.
 *   sum      y = sum x            dx += dy
 *   mean     y = sum x / n        dx += dy / n
 *   sq_dist  y = sum (a - b)^2    da += 2 (a - b) dy    db -= 2 (a - b) dy    (a - b is kept: exact where a is near b) */
#include "tape/node.h"

static sl_status to_scalar(sl_tape *t, sl_node *n)
{
    (void)t;
    (void)n; /* a result is a scalar unless the shape rule says otherwise */
    return SL_OK;
}

/* ---- sum, mean ---- */

static void sum_forward(sl_tape *t, sl_node *n) { sl_set_scalar(t, n, t->kern->sum(t->kern, sl_in(t, n, 0))); }
static void sum_backward(sl_tape *t, sl_node *n) { sl_din_fill(t, n, 0, sl_dscalar(t, n)); }

static sl_var sum_example(sl_tape *t, sl_example *e, int which)
{
    sl_var x = sl_example_in(t, e, 3, 4, 0);
    return which == 0 ? sl_sum(t, x) : sl_add(t, sl_sum(t, x), sl_sum(t, sl_mul(t, x, x)));
}

const sl_op sl_op_sum = { "sum", 1, 1, to_scalar, sum_forward, sum_backward, 2, sum_example };

sl_var sl_sum(sl_tape *t, sl_var x) { return sl_apply(t, &sl_op_sum, &x, NULL); }

static double count(const sl_tape *t, const sl_node *n) { return (double)sl_numel(sl_in(t, n, 0)); }

static void mean_forward(sl_tape *t, sl_node *n)
{
    sl_set_scalar(t, n, t->kern->sum(t->kern, sl_in(t, n, 0)) / count(t, n));
}

static void mean_backward(sl_tape *t, sl_node *n) { sl_din_fill(t, n, 0, sl_dscalar(t, n) / count(t, n)); }

static sl_var mean_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    return sl_mean(t, sl_example_in(t, e, 2, 3, 4));
}

const sl_op sl_op_mean = { "mean", 1, 1, to_scalar, mean_forward, mean_backward, 1, mean_example };

sl_var sl_mean(sl_tape *t, sl_var x) { return sl_apply(t, &sl_op_mean, &x, NULL); }

/* ---- sq_dist ---- */

enum { DIFF = 0 };

static sl_status sq_dist_shape(sl_tape *t, sl_node *n)
{
    const sl_tensor *a = sl_in(t, n, 0), *b = sl_in(t, n, 1);
    if (!sl_same_shape(a, b))
        return sl_shape_mismatch(t, n, "a", a, "b", b, "equal shapes");
    return SL_OK;
}

static void sq_dist_forward(sl_tape *t, sl_node *n)
{
    const sl_kern *k = t->kern;
    const sl_tensor *a = sl_in(t, n, 0), *b = sl_in(t, n, 1);
    if (n->needs_grad) {
        sl_tensor *diff = sl_node_keep(t, n, DIFF, a->n_dim, a->dim);
        if (!diff)
            return;
        k->copy(k, a, diff);
        k->axpby(k, -1, b, 1, diff);
    }
    sl_set_scalar(t, n, k->sq_dist(k, a, b));
}

static void sq_dist_backward(sl_tape *t, sl_node *n)
{
    double d = 2 * sl_dscalar(t, n);
    for (int i = 0; i < 2; i++) {
        double beta;
        sl_tensor *dx = sl_din(t, n, i, &beta);
        if (dx)
            t->kern->axpby(t->kern, i == 0 ? d : -d, &n->kept[DIFF], beta, dx);
    }
}

static sl_var sq_dist_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    return sl_sq_dist(t, sl_example_in(t, e, 5, 7, 0), sl_example_in(t, e, 5, 7, 0));
}

const sl_op sl_op_sq_dist = { "sq_dist", 2, 2, sq_dist_shape, sq_dist_forward, sq_dist_backward, 1, sq_dist_example };

sl_var sl_sq_dist(sl_tape *t, sl_var a, sl_var b) { return sl_apply(t, &sl_op_sq_dist, (sl_var[]){ a, b }, NULL); }
