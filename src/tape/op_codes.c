/* Sparse codes made for a whole batch or of other codes. Selection has no gradient; in gradient checks it is frozen, as in op_sparse.c.
 *   encode_batch  z = the `total` largest of all positive x W_enc^T + b_enc of the batch    (Bussmann et al. 2024, arXiv 2412.06410)
 *                 gradients as encode_topk's
 *   code_slice    y = z where from <= feature < to          dz += dy there
 *   code_add      y = a + b, a feature of both once         da += dy at its entries, db likewise
 * The variable of a code is the array of its values; entries beyond the last row are 0. */
#include "tape/node.h"

static const sl_csr *code_in(const sl_tape *t, const sl_node *n, int i) { return sl_node_at(t, n->in[i])->csr; }

static sl_status make_code(sl_tape *t, sl_node *n, int64_t n_rows, int64_t n_cols, int64_t capacity)
{
    n->csr = sl_tape_csr(t, n_rows, n_cols, capacity);
    n->out.n_dim = 1;
    n->out.dim[0] = capacity;
    return n->csr ? SL_OK : t->status;
}

/* ---- encode_batch: args.i = total ---- */

static sl_status batch_shape(sl_tape *t, sl_node *n)
{
    const sl_tensor *x = sl_in(t, n, 0), *W = sl_in(t, n, 1), *b = sl_in(t, n, 2);
    if (x->n_dim < 1 || W->n_dim != 2 || W->dim[1] != sl_cols(x))
        return sl_shape_mismatch(t, n, "x", x, "W_enc", W, "x [.., d_in] and W_enc [F, d_in]");
    if (b->n_dim != 1 || b->dim[0] != W->dim[0])
        return sl_shape_mismatch(t, n, "W_enc", W, "b_enc", b, "W_enc [F, d_in] and b_enc [F]");
    if (n->args.i < 1 || n->args.i > sl_rows(x) * W->dim[0])
        return sl_node_fail(t, n, SL_ARG, "1 <= total <= rows * F", "total is %lld", (long long)n->args.i);
    return make_code(t, n, sl_rows(x), W->dim[0], n->args.i);
}

/* The largest of every row contain the largest of the batch as long as no row has all of its own among them: then more of each row. */
static void select_batch(sl_tape *t, sl_node *n)
{
    const sl_kern *k = t->kern;
    const sl_tensor *x = sl_in(t, n, 0), *W = sl_in(t, n, 1), *b = sl_in(t, n, 2);
    int64_t B = sl_rows(x), F = W->dim[0], per_row = 4 * (n->args.i / B + 1);
    for (bool whole = false; !whole; per_row *= 2) {
        int64_t most = per_row < F ? per_row : F;
        sl_csr *rows = sl_tape_csr(t, B, F, B * most);
        if (rows)
            rows->val = sl_tape_bytes(t, (size_t)(B * most) * sl_dtype_size(t->dtype));
        if (!rows || !rows->val)
            return;
        k->encode_topk(k, x, W, b, NULL, most, rows);
        whole = sl_kern_failed(k) || k->csr_keep_largest(k, rows, most, n->args.i, n->csr);
    }
}

static void batch_forward(sl_tape *t, sl_node *n)
{
    n->csr->val = n->out.data;
    if (t->frozen)
        sl_code_frozen(t, n);
    else
        select_batch(t, n);
    if (t->status == SL_OK)
        sl_code_clear_tail(t, n);
}

static sl_var batch_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    sl_var x = sl_example_in(t, e, 4, 6, 0), W = sl_example_in(t, e, 9, 6, 0);
    return sl_encode_batch(t, x, W, sl_example_in(t, e, 9, 0, 0), 10).v;
}

const sl_op sl_op_encode_batch = { "encode_batch", 3, 3, batch_shape, batch_forward, sl_encode_backward, 1, batch_example };

sl_code sl_encode_batch(sl_tape *t, sl_var x, sl_var W_enc, sl_var b_enc, int64_t total)
{
    return (sl_code){ sl_apply(t, &sl_op_encode_batch, (sl_var[]){ x, W_enc, b_enc }, &(sl_args){ .i = total }) };
}

/* ---- code_slice: args.i = from, args.f = to ---- */

static sl_status slice_shape(sl_tape *t, sl_node *n)
{
    const sl_csr *z = code_in(t, n, 0);
    if (!z)
        return sl_node_fail(t, n, SL_ARG, "the result of an encoder", "input 1 is no sparse code");
    return make_code(t, n, z->n_rows, z->n_cols, z->capacity);
}

static void slice_forward(sl_tape *t, sl_node *n)
{
    n->csr->val = n->out.data;
    t->kern->csr_slice(t->kern, code_in(t, n, 0), n->args.i, (int64_t)n->args.f, n->csr);
    sl_code_clear_tail(t, n);
}

static void code_backward(sl_tape *t, sl_node *n)
{
    for (int i = 0; i < n->op->n_in; i++) {
        sl_tensor *dz = sl_din_add(t, n, i);
        if (dz)
            t->kern->csr_pick(t->kern, n->csr, &n->grad, code_in(t, n, i), dz);
    }
}

static sl_code example_code(sl_tape *t, sl_example *e)
{
    sl_var x = sl_example_in(t, e, 4, 6, 0), W = sl_example_in(t, e, 9, 6, 0);
    return sl_encode_topk(t, x, W, sl_example_in(t, e, 9, 0, 0), 4);
}

static sl_var slice_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    return sl_code_slice(t, example_code(t, e), 2, 7).v;
}

const sl_op sl_op_code_slice = { "code_slice", 1, 1, slice_shape, slice_forward, code_backward, 1, slice_example };

sl_code sl_code_slice(sl_tape *t, sl_code z, int64_t from, int64_t to)
{
    return (sl_code){ sl_apply(t, &sl_op_code_slice, &z.v, &(sl_args){ .i = from, .f = (double)to }) };
}

/* ---- code_add ---- */

static sl_status add_shape(sl_tape *t, sl_node *n)
{
    const sl_csr *a = code_in(t, n, 0), *b = code_in(t, n, 1);
    if (!a || !b)
        return sl_node_fail(t, n, SL_ARG, "two results of encoders", "input %d is no sparse code", a ? 2 : 1);
    if (a->n_rows != b->n_rows || a->n_cols != b->n_cols)
        return sl_node_fail(t, n, SL_SHAPE, "codes of the same rows and features", "%lld x %lld and %lld x %lld", (long long)a->n_rows,
                            (long long)a->n_cols, (long long)b->n_rows, (long long)b->n_cols);
    return make_code(t, n, a->n_rows, a->n_cols, a->capacity + b->capacity);
}

static void add_forward(sl_tape *t, sl_node *n)
{
    n->csr->val = n->out.data;
    t->kern->csr_add(t->kern, code_in(t, n, 0), code_in(t, n, 1), n->csr);
    sl_code_clear_tail(t, n);
}

static sl_var add_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    sl_code a = example_code(t, e);
    return sl_code_add(t, a, example_code(t, e)).v;
}

const sl_op sl_op_code_add = { "code_add", 2, 2, add_shape, add_forward, code_backward, 1, add_example };

sl_code sl_code_add(sl_tape *t, sl_code a, sl_code b)
{
    return (sl_code){ sl_apply(t, &sl_op_code_add, (sl_var[]){ a.v, b.v }, NULL) };
}
