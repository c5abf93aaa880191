/* What compositional SAEs need beside their tokens.
 *   scale_by     y = s x, s [1]                        dx += s dy    ds += dy . x
 *   softplus     y = ln(1 + e^x)                       dx += dy / (1 + e^-x)
 *   decorrelate  y = mean over p != q of corr(x_p, x_q)^2 over the columns of x [B, D] (science.md A3 K5); a constant column correlates with nothing
 *                u = columns centred, of norm 1, G = u^T u:  y = (|G|^2 - |u|^2) / (D (D - 1)),  du = 4 u G dy / (D (D - 1)), as diag G is constant */
#include "tape/node.h"

/* ---- scale_by ---- */

static sl_status by_shape(sl_tape *t, sl_node *n)
{
    if (sl_numel(sl_in(t, n, 1)) != 1)
        return sl_shape_bad(t, n, "s", sl_in(t, n, 1), "[1]");
    sl_shape_like(n, sl_in(t, n, 0));
    return SL_OK;
}

static double factor(const sl_tape *t, const sl_node *n) { return t->kern->sum(t->kern, sl_in(t, n, 1)); }

static void by_forward(sl_tape *t, sl_node *n) { t->kern->axpby(t->kern, factor(t, n), sl_in(t, n, 0), 0, &n->out); }

static void by_backward(sl_tape *t, sl_node *n)
{
    double beta;
    if (sl_wants(t, n, 1))
        sl_din_fill(t, n, 1, t->kern->dot(t->kern, sl_in(t, n, 0), &n->grad));
    sl_tensor *dx = sl_din(t, n, 0, &beta);
    if (dx)
        t->kern->axpby(t->kern, factor(t, n), &n->grad, beta, dx);
}

static sl_var by_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    sl_var x = sl_example_in(t, e, 3, 4, 0);
    return sl_scale_by(t, x, sl_example_in(t, e, 1, 0, 0));
}

const sl_op sl_op_scale_by = { "scale_by", 2, 2, by_shape, by_forward, by_backward, 1, by_example };

sl_var sl_scale_by(sl_tape *t, sl_var x, sl_var s) { return sl_apply(t, &sl_op_scale_by, (sl_var[]){ x, s }, NULL); }

/* ---- softplus ---- */

static sl_status softplus_shape(sl_tape *t, sl_node *n)
{
    sl_shape_like(n, sl_in(t, n, 0));
    return SL_OK;
}

static void softplus_forward(sl_tape *t, sl_node *n) { t->kern->softplus(t->kern, sl_in(t, n, 0), &n->out); }

static void softplus_backward(sl_tape *t, sl_node *n)
{
    sl_tensor *dx = sl_din_add(t, n, 0);
    if (dx)
        t->kern->softplus_back(t->kern, sl_in(t, n, 0), &n->grad, dx);
}

static sl_var softplus_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    return sl_softplus(t, sl_scale(t, sl_example_in(t, e, 9, 0, 0), 4));
}

const sl_op sl_op_softplus = { "softplus", 1, 1, softplus_shape, softplus_forward, softplus_backward, 1, softplus_example };

sl_var sl_softplus(sl_tape *t, sl_var x) { return sl_apply(t, &sl_op_softplus, &x, NULL); }

/* ---- decorrelate ---- */

enum { UNIT, GRAM };

static sl_status decorrelate_shape(sl_tape *t, sl_node *n)
{
    const sl_tensor *x = sl_in(t, n, 0);
    if (x->n_dim != 2 || x->dim[1] < 2)
        return sl_shape_bad(t, n, "x", x, "[B, D], D of 2 or more");
    return SL_OK;
}

static double share(const sl_tensor *x) { return 1 / ((double)x->dim[1] * (double)(x->dim[1] - 1)); }

static void decorrelate_forward(sl_tape *t, sl_node *n)
{
    const sl_kern *k = t->kern;
    const sl_tensor *x = sl_in(t, n, 0);
    sl_tensor *u = sl_node_keep(t, n, UNIT, 2, x->dim), *G = sl_node_keep(t, n, GRAM, 2, (const int64_t[]){ x->dim[1], x->dim[1] });
    if (!u || !G)
        return;
    k->col_standardize(k, x, u);
    k->gemm(k, &(sl_gemm){ .a = u, .ta = true, .b = u, .c = G, .alpha = 1 });
    sl_set_scalar(t, n, (k->sum_sq(k, G) - k->sum_sq(k, u)) * share(x));
}

static void decorrelate_backward(sl_tape *t, sl_node *n)
{
    const sl_kern *k = t->kern;
    const sl_tensor *x = sl_in(t, n, 0);
    sl_temp du;
    sl_tensor *dx = sl_din_add(t, n, 0);
    if (!dx || !sl_temp_get(t, dx, &du))
        return;
    k->gemm(k, &(sl_gemm){ .a = &n->kept[UNIT], .b = &n->kept[GRAM], .c = &du.x, .alpha = 4 * share(x) * sl_dscalar(t, n) });
    k->col_standardize_back(k, x, &n->kept[UNIT], &du.x, dx);
    sl_temp_done(t, &du);
}

static sl_var decorrelate_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    return sl_decorrelate(t, sl_example_in(t, e, 7, 4, 0));
}

const sl_op sl_op_decorrelate = { "decorrelate", 1, 1, decorrelate_shape, decorrelate_forward, decorrelate_backward, 1, decorrelate_example };

sl_var sl_decorrelate(sl_tape *t, sl_var x) { return sl_apply(t, &sl_op_decorrelate, &x, NULL); }
