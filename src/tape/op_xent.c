/* Mean cross-entropy against integer targets; rows whose target is negative do not count.
 *   xent       logits [.., V]               dlogits += d (softmax - onehot) / n
 *   head_xent  logits = x W^T, x [.., C], W [V, C], in chunks of rows, so that they are never there as a whole: each chunk's
 *              gradient is turned into dx and dW at once, for a loss of gradient 1, and scaled in the backward. */
#include "tape/node.h"

static sl_status targets_shape(sl_tape *t, sl_node *n, const sl_tensor *x)
{
    const sl_tensor *targets = &n->args.data;
    if (targets->dtype != SL_I32 || x->n_dim < 1 || sl_numel(targets) != sl_rows(x))
        return sl_shape_mismatch(t, n, "x", x, "targets", targets, "a target (I32) for each row");
    return SL_OK;
}

/* ---- xent: args.data = targets ---- */

enum { DLOGITS = 0 };

static sl_status xent_shape(sl_tape *t, sl_node *n) { return targets_shape(t, n, sl_in(t, n, 0)); }

static void xent_forward(sl_tape *t, sl_node *n)
{
    const sl_kern *k = t->kern;
    const sl_tensor *logits = sl_in(t, n, 0);
    sl_tensor *work = sl_node_keep(t, n, DLOGITS, logits->n_dim, logits->dim);
    if (!work)
        return;
    k->copy(k, logits, work);
    sl_set_scalar(t, n, k->softmax_xent(k, work, &n->args.data, n->needs_grad, NULL));
}

static void xent_backward(sl_tape *t, sl_node *n)
{
    double beta;
    sl_tensor *dx = sl_din(t, n, 0, &beta);
    if (dx)
        t->kern->axpby(t->kern, sl_dscalar(t, n), &n->kept[DLOGITS], beta, dx);
}

static sl_var xent_example(sl_tape *t, sl_example *e, int which)
{
    return sl_xent(t, sl_example_in(t, e, 6, 5, 0), sl_example_ids(t, e, 6, which ? -1 : 0, 5));
}

const sl_op sl_op_xent = { "xent", 1, 1, xent_shape, xent_forward, xent_backward, 2, xent_example };

sl_var sl_xent(sl_tape *t, sl_var logits, const sl_tensor *targets)
{
    return sl_apply(t, &sl_op_xent, &logits, &(sl_args){ .data = *targets });
}

/* ---- head_xent: args.data = targets ---- */

enum { DX = 0, DW = 1 };

/* About 4 MB of f32 logits, but no fewer rows than make the products worth their reading of W. */
enum { CHUNK_LOGITS = 1 << 20, CHUNK_ROWS = 256 };

static int64_t chunk_rows(int64_t rows, int64_t V)
{
    int64_t chunk = CHUNK_LOGITS / V;
    chunk = chunk > CHUNK_ROWS ? chunk : CHUNK_ROWS;
    return chunk < rows ? chunk : rows;
}

static sl_status head_xent_shape(sl_tape *t, sl_node *n)
{
    const sl_tensor *x = sl_in(t, n, 0), *W = sl_in(t, n, 1);
    if (x->n_dim < 1 || W->n_dim != 2 || W->dim[1] != sl_cols(x))
        return sl_shape_mismatch(t, n, "x", x, "W", W, "x [.., C] and W [V, C]");
    return targets_shape(t, n, x);
}

/* Rows r0 .. r0 + n - 1 of x as a matrix over the same memory. */
static sl_tensor rows_of(const sl_tensor *x, int64_t cols, int64_t r0, int64_t n)
{
    char *data = (char *)x->data + (size_t)(r0 * cols) * sl_dtype_size(x->dtype);
    return sl_tensor_of(x->dtype, data, 2, n, cols);
}

/* Loss of a chunk as its share of the mean over all n_counted rows; its gradients with respect to x and W when kept. */
static double head_chunk(sl_tape *t, sl_node *n, int64_t r0, int64_t rows, double n_counted, sl_tensor *logits)
{
    const sl_kern *k = t->kern;
    const sl_tensor *W = sl_in(t, n, 1);
    sl_tensor x = rows_of(sl_in(t, n, 0), W->dim[1], r0, rows), targets = rows_of(&n->args.data, 1, r0, rows);
    targets.n_dim = 1;
    logits->dim[0] = rows;
    k->gemm(k, &(sl_gemm){ .a = &x, .b = W, .tb = true, .c = logits, .alpha = 1 });
    double loss = k->softmax_xent(k, logits, &targets, n->needs_grad, NULL);
    double share = n_counted > 0 ? (double)k->count_targets(k, &targets) / n_counted : 0;
    if (n->kept[DX].data) {
        sl_tensor dx = rows_of(&n->kept[DX], W->dim[1], r0, rows);
        k->gemm(k, &(sl_gemm){ .a = logits, .b = W, .c = &dx, .alpha = share });
    }
    if (n->kept[DW].data)
        k->gemm(k, &(sl_gemm){ .a = logits, .ta = true, .b = &x, .c = &n->kept[DW], .alpha = share, .beta = r0 > 0 });
    return share * loss;
}

static void head_xent_forward(sl_tape *t, sl_node *n)
{
    const sl_kern *k = t->kern;
    const sl_tensor *x = sl_in(t, n, 0), *W = sl_in(t, n, 1);
    int64_t rows = sl_rows(x), V = W->dim[0], chunk = chunk_rows(rows, V);
    sl_tensor logits = sl_tensor_of(t->dtype, NULL, 2, chunk, V);
    sl_temp tmp;
    double loss = 0, n_counted = (double)k->count_targets(k, &n->args.data);
    if (sl_wants(t, n, 0) && !sl_node_keep(t, n, DX, x->n_dim, x->dim))
        return;
    if (sl_wants(t, n, 1) && !sl_node_keep(t, n, DW, 2, W->dim))
        return;
    if (!sl_temp_get(t, &logits, &tmp))
        return;
    for (int64_t r0 = 0; r0 < rows; r0 += chunk)
        loss += head_chunk(t, n, r0, chunk < rows - r0 ? chunk : rows - r0, n_counted, &tmp.x);
    sl_temp_done(t, &tmp);
    sl_set_scalar(t, n, loss);
}

static void head_xent_backward(sl_tape *t, sl_node *n)
{
    double d = sl_dscalar(t, n);
    for (int i = 0; i < 2; i++) {
        double beta;
        sl_tensor *din = sl_din(t, n, i, &beta);
        if (din)
            t->kern->axpby(t->kern, d, &n->kept[i == 0 ? DX : DW], beta, din);
    }
}

static sl_var head_xent_example(sl_tape *t, sl_example *e, int which)
{
    sl_var x = sl_example_in(t, e, 2, 3, 4), W = sl_example_in(t, e, 5, 4, 0);
    return sl_head_xent(t, x, W, sl_example_ids(t, e, 6, which ? -1 : 0, 5));
}

const sl_op sl_op_head_xent = { "head_xent", 2, 2, head_xent_shape, head_xent_forward, head_xent_backward, 2, head_xent_example };

sl_var sl_head_xent(sl_tape *t, sl_var x, sl_var W, const sl_tensor *targets)
{
    return sl_apply(t, &sl_op_head_xent, (sl_var[]){ x, W }, &(sl_args){ .data = *targets });
}
