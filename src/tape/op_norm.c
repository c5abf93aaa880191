/* Normalisation of the last dimension.
 *   layernorm  y = (x - mean) / sqrt(var + 1e-5) gain + bias    Ba, Kiros, Hinton 2016, arXiv 1607.06450; eps as nanoGPT's
 *   rmsnorm    y = x / sqrt(mean x^2 + 1e-6) gain               Zhang, Sennrich 2019, arXiv 1910.07467
 * Kept: mean and 1/std (or 1/rms) of each row. */
#include "tape/node.h"

#define LAYERNORM_EPS 1e-5
#define RMSNORM_EPS 1e-6

enum { STAT = 0 };

static sl_status norm_shape(sl_tape *t, sl_node *n)
{
    static const char *const name[] = { "x", "gain", "bias" };
    const sl_tensor *x = sl_in(t, n, 0);
    if (x->n_dim < 1)
        return sl_shape_bad(t, n, "x", x, "[.., D]");
    for (int i = 1; i < n->op->n_in; i++) {
        const sl_tensor *r = sl_in(t, n, i);
        if (r && (r->n_dim != 1 || r->dim[0] != sl_cols(x)))
            return sl_shape_mismatch(t, n, "x", x, name[i], r, "x [.., D], gain and bias [D]");
    }
    sl_shape_like(n, x);
    return SL_OK;
}

static sl_tensor *keep_stat(sl_tape *t, sl_node *n)
{
    return sl_node_keep(t, n, STAT, 2, (const int64_t[]){ sl_rows(&n->out), 2 });
}

/* ---- layernorm ---- */

static void layernorm_forward(sl_tape *t, sl_node *n)
{
    sl_tensor *stat = keep_stat(t, n);
    if (stat)
        t->kern->layernorm(t->kern, sl_in(t, n, 0), sl_in(t, n, 1), sl_in(t, n, 2), LAYERNORM_EPS, &n->out, stat);
}

static void layernorm_backward(sl_tape *t, sl_node *n)
{
    sl_tensor *dx = sl_din_add(t, n, 0), *dgain = sl_din_add(t, n, 1), *dbias = sl_din_add(t, n, 2);
    if (t->status == SL_OK)
        t->kern->layernorm_back(t->kern, sl_in(t, n, 0), sl_in(t, n, 1), &n->kept[STAT], &n->grad, dx, dgain, dbias);
}

static sl_var layernorm_example(sl_tape *t, sl_example *e, int which)
{
    sl_var x = sl_example_in(t, e, 2, 3, 6), gain = sl_example_in(t, e, 6, 0, 0);
    return sl_layernorm(t, x, gain, which == 0 ? sl_example_in(t, e, 6, 0, 0) : (sl_var){ 0 });
}

const sl_op sl_op_layernorm = { "layernorm", 3, 2, norm_shape, layernorm_forward, layernorm_backward, 2, layernorm_example };

sl_var sl_layernorm(sl_tape *t, sl_var x, sl_var gain, sl_var bias)
{
    return sl_apply(t, &sl_op_layernorm, (sl_var[]){ x, gain, bias }, NULL);
}

/* ---- rmsnorm ---- */

static void rmsnorm_forward(sl_tape *t, sl_node *n)
{
    sl_tensor *stat = keep_stat(t, n);
    if (stat)
        t->kern->rmsnorm(t->kern, sl_in(t, n, 0), sl_in(t, n, 1), RMSNORM_EPS, &n->out, stat);
}

static void rmsnorm_backward(sl_tape *t, sl_node *n)
{
    sl_tensor *dx = sl_din_add(t, n, 0), *dgain = sl_din_add(t, n, 1);
    if (t->status == SL_OK)
        t->kern->rmsnorm_back(t->kern, sl_in(t, n, 0), sl_in(t, n, 1), &n->kept[STAT], &n->grad, dx, dgain);
}

static sl_var rmsnorm_example(sl_tape *t, sl_example *e, int which)
{
    sl_var x = sl_example_in(t, e, 4, 6, 0);
    return sl_rmsnorm(t, x, which == 0 ? sl_example_in(t, e, 6, 0, 0) : (sl_var){ 0 });
}

const sl_op sl_op_rmsnorm = { "rmsnorm", 2, 1, norm_shape, rmsnorm_forward, rmsnorm_backward, 2, rmsnorm_example };

sl_var sl_rmsnorm(sl_tape *t, sl_var x, sl_var gain)
{
    return sl_apply(t, &sl_op_rmsnorm, (sl_var[]){ x, gain }, NULL);
}
