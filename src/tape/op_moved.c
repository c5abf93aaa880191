/* Codes of rows beside rows that are encoded already (science.md B5).
 *   encode_moved  z = encode_topk of x2, its candidates from what the encoder of x kept      gradients as encode_topk's
 * x2 is about x + coef dirs; what that leaves out costs time only. In gradient checks the selection is frozen, as in op_sparse.c. */
#include "tape/node.h"

static sl_status moved_shape(sl_tape *t, sl_node *n)
{
    const sl_move *how = n->args.own;
    const sl_node *clean = how->clean.v.id ? sl_node_at(t, how->clean.v.id) : NULL;
    int64_t B = sl_rows(sl_in(t, n, 0)), q = sl_cols(&how->coef);
    SL_TRY(sl_encode_shape(t, n));
    if (!clean || !clean->csr || clean->op != &sl_op_encode_topk || sl_rows(sl_in(t, clean, 0)) != B || clean->in[1] != n->in[1])
        return sl_node_fail(t, n, SL_ARG, "the code of as many rows by the same weights", "`clean` is none");
    if (!how->dirs.data)
        return SL_OK;
    if (sl_cols(&how->dirs) != sl_cols(sl_in(t, n, 0)) || sl_rows(&how->coef) != B || (!how->at.data && q != sl_rows(&how->dirs)))
        return sl_shape_mismatch(t, n, "dirs", &how->dirs, "coef", &how->coef, "dirs [n, d_in] and coef [rows, n]");
    if (how->at.data && (how->at.dtype != SL_I32 || sl_rows(&how->at) != B || sl_cols(&how->at) != q))
        return sl_shape_mismatch(t, n, "coef", &how->coef, "at", &how->at, "equal shapes, `at` of I32");
    return SL_OK;
}

/* W dirs^T; data NULL after making the tape fail. */
static sl_tensor lead_of(sl_tape *t, const sl_tensor *dirs, const sl_tensor *W)
{
    int64_t n = sl_rows(dirs), F = sl_rows(W);
    sl_tensor lead = sl_tensor_of(t->dtype, sl_tape_bytes(t, (size_t)(n * F) * sl_dtype_size(t->dtype)), 2, F, n);
    if (lead.data)
        t->kern->gemm(t->kern, &(sl_gemm){ .a = W, .b = dirs, .tb = true, .c = &lead, .alpha = 1 });
    return lead;
}

static void moved_forward(sl_tape *t, sl_node *n)
{
    const sl_move *how = n->args.own;
    const sl_node *clean = sl_node_at(t, how->clean.v.id);
    n->csr->val = n->out.data;
    if (t->frozen) {
        sl_code_frozen(t, n);
        sl_code_clear_tail(t, n);
        return;
    }
    sl_tensor lead = { 0 };
    sl_moved m = { .x = sl_in(t, clean, 0), .z = clean->csr, .bounds = clean->bounds };
    if (how->dirs.data && clean->bounds) {
        lead = lead_of(t, &how->dirs, sl_in(t, n, 1));
        if (!lead.data)
            return;
        m.dirs = &how->dirs, m.lead = &lead, m.coef = &how->coef;
        m.at = how->at.data ? &how->at : NULL;
        m.latent = how->latent.data ? &how->latent : NULL;
    }
    t->kern->encode_moved(t->kern, &m, sl_in(t, n, 0), sl_in(t, n, 1), sl_in(t, n, 2), n->args.i, n->csr);
    sl_code_clear_tail(t, n);
}

/* 0: anywhere; 1: along two directions */
static sl_var moved_example(sl_tape *t, sl_example *e, int which)
{
    sl_var x = sl_example_const(t, e, 4, 6, 0), W = sl_example_in(t, e, 9, 6, 0), b = sl_example_in(t, e, 9, 0, 0);
    sl_move how = { .clean = sl_encode_topk_keep(t, x, W, b, 3) };
    sl_var dirs = sl_example_const(t, e, 2, 6, 0), coef = sl_example_const(t, e, 4, 2, 0), x2 = sl_example_in(t, e, 4, 6, 0);
    if (which == 1 && sl_tape_status(t, NULL) == SL_OK) {
        how.dirs = *sl_value(t, dirs);
        how.coef = *sl_value(t, coef);
    }
    return sl_encode_moved(t, x2, W, b, 4, &how).v;
}

const sl_op sl_op_encode_moved = { "encode_moved", 3, 3, moved_shape, moved_forward, sl_encode_backward, 2, moved_example };

sl_code sl_encode_moved(sl_tape *t, sl_var x2, sl_var W_enc, sl_var b_enc, int64_t k, const sl_move *how)
{
    sl_move *own = sl_tape_scratch(t, sizeof *own);
    if (!own)
        return (sl_code){ { 0 } };
    *own = *how;
    return (sl_code){ sl_apply(t, &sl_op_encode_moved, (sl_var[]){ x2, W_enc, b_enc }, &(sl_args){ .i = k, .own = own }) };
}
