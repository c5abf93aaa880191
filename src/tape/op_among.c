/* AuxK's reconstruction by some features only, with more of them a row than the k of a plain code.
 *   decode_among   y_r = sum_i z_i W_dec[idx_i],  z = the k largest of x W_enc^T + b_enc that are positive, among features without skip
 *                  (Gao et al. 2024, arXiv 2406.04093, A.2); gradients as those of encode_topk and sparse_decode in turn
 * The rows of these n features are gathered once. Pre-activations are a dense product in blocks of rows that stay in cache; the codes, of n
 * features, decode from the gathered rows, and gradients are made for these alone, once. */
#include "tape/node.h"
#include "tape/params.h"

/* Of a node: kept[0] the features' numbers (I32 [n]), kept[1] ones [n], csc their places, csr the codes of n features. */

enum { BLOCK = 1 << 20, LEAST_ROWS = 256 }; /* elements of a block; rows of it */

static int64_t n_among(const sl_node *n) { return n->csc->ptr[n->csc->n_cols]; }

/* Rows from .. of x, `most` or what is left. */
static sl_tensor rows_of(const sl_tensor *x, int64_t from, int64_t most)
{
    int64_t d = sl_cols(x), left = sl_rows(x) - from;
    return sl_tensor_of(x->dtype, (char *)x->data + (size_t)(from * d) * sl_dtype_size(x->dtype), 2, left < most ? left : most, d);
}

static sl_status among_shape(sl_tape *t, sl_node *n)
{
    const sl_tensor *x = sl_in(t, n, 0), *W = sl_in(t, n, 1), *b = sl_in(t, n, 2), *D = sl_in(t, n, 3), *skip = &n->args.data;
    if (x->n_dim < 1 || W->n_dim != 2 || W->dim[1] != sl_cols(x))
        return sl_shape_mismatch(t, n, "x", x, "W_enc", W, "x [.., d_in] and W_enc [F, d_in]");
    if (b->n_dim != 1 || b->dim[0] != W->dim[0])
        return sl_shape_mismatch(t, n, "W_enc", W, "b_enc", b, "W_enc [F, d_in] and b_enc [F]");
    if (D->n_dim != 2 || D->dim[0] != W->dim[0])
        return sl_shape_mismatch(t, n, "W_enc", W, "W_dec", D, "W_enc [F, d_in] and W_dec [F, d_out]");
    if (skip->dtype != SL_U8 || sl_numel(skip) != W->dim[0])
        return sl_shape_mismatch(t, n, "W_enc", W, "skip", skip, "skip [F] of U8");
    if (n->args.i < 1 || n->args.i > W->dim[0])
        return sl_node_fail(t, n, SL_ARG, "1 <= k <= F", "k is %lld with %lld features", (long long)n->args.i, (long long)W->dim[0]);
    n->out.n_dim = 2;
    n->out.dim[0] = sl_rows(x);
    n->out.dim[1] = D->dim[1];
    return SL_OK;
}

/* ---- forward ---- */

/* Which features these are. */
static bool list_features(sl_tape *t, sl_node *n)
{
    int64_t F = sl_in(t, n, 1)->dim[0];
    size_t places = (size_t)F * sizeof(int32_t);
    sl_csc *at = sl_tape_bytes(t, sizeof *at);
    if (!at)
        return false;
    *at = (sl_csc){ F, sl_tape_bytes(t, (size_t)(F + 1) * sizeof *at->ptr), sl_tape_bytes(t, places), sl_tape_bytes(t, places) };
    n->kept[0] = sl_tensor_of(SL_I32, sl_tape_bytes(t, places), 1, F);
    n->kept[1] = sl_tensor_of(t->dtype, sl_tape_bytes(t, (size_t)F * sl_dtype_size(t->dtype)), 1, F);
    if (t->status != SL_OK)
        return false;
    t->kern->csc_of_mask(t->kern, &n->args.data, at, &n->kept[0]);
    n->csc = at;
    n->kept[0].dim[0] = n->kept[1].dim[0] = n_among(n);
    t->kern->fill(t->kern, 1, &n->kept[1]);
    return true;
}

/* Rows (elements, of a vector) of a dictionary's features; false when the tape failed. Given back with sl_temp_done. */
static bool gather(sl_tape *t, sl_node *n, const sl_tensor *W, sl_temp *out)
{
    sl_tensor from = *W, like = sl_tensor_of(W->dtype, NULL, 2, n_among(n), W->n_dim == 2 ? W->dim[1] : 1);
    if (!sl_temp_get(t, &like, out))
        return false;
    from.n_dim = 2;
    from.dim[1] = like.dim[1];
    t->kern->embed(t->kern, &n->kept[0], &from, 0, &out->x);
    if (W->n_dim == 1)
        out->x.n_dim = 1;
    return true;
}

static bool make_code(sl_tape *t, sl_node *n)
{
    int64_t B = sl_rows(sl_in(t, n, 0)), k = n->args.i < n_among(n) ? n->args.i : n_among(n);
    n->csr = sl_tape_csr(t, B, n_among(n), B * k);
    if (n->csr)
        n->csr->val = sl_tape_bytes(t, (size_t)(B * k) * sl_dtype_size(t->dtype));
    return t->status == SL_OK;
}

static void choose(sl_tape *t, sl_node *n, const sl_tensor *W, const sl_tensor *bias)
{
    const sl_kern *k = t->kern;
    const sl_tensor *x = sl_in(t, n, 0);
    int64_t B = sl_rows(x), rows = BLOCK / n_among(n) > LEAST_ROWS ? BLOCK / n_among(n) : LEAST_ROWS;
    sl_tensor like = sl_tensor_of(t->dtype, NULL, 2, rows < B ? rows : B, n_among(n));
    sl_temp block;
    if (!sl_temp_get(t, &like, &block))
        return;
    for (int64_t r = 0; r < B && !sl_kern_failed(k); r += rows) {
        sl_tensor some = rows_of(x, r, rows), v = rows_of(&block.x, 0, sl_rows(&some));
        k->gemm(k, &(sl_gemm){ .a = &some, .b = W, .tb = true, .c = &v, .alpha = 1, .bias = bias });
        k->csr_topk(k, &v, n->args.i, r, n->csr);
    }
    sl_temp_done(t, &block);
}

static void frozen_code(sl_tape *t, sl_node *n, const sl_tensor *W, const sl_tensor *bias)
{
    const sl_csr *chosen = sl_node_at(t->frozen, n->id)->csr;
    n->csr->row_ptr = chosen->row_ptr;
    n->csr->idx = chosen->idx;
    t->kern->encode_at(t->kern, sl_in(t, n, 0), W, bias, n->csr);
}

static void among_forward(sl_tape *t, sl_node *n)
{
    sl_temp W, bias, D;
    if (!list_features(t, n) || !make_code(t, n))
        return;
    if (n_among(n) == 0) {
        t->kern->fill(t->kern, 0, &n->out);
        return;
    }
    if (!gather(t, n, sl_in(t, n, 1), &W) || !gather(t, n, sl_in(t, n, 2), &bias) || !gather(t, n, sl_in(t, n, 3), &D))
        return;
    if (t->frozen)
        frozen_code(t, n, &W.x, &bias.x);
    else
        choose(t, n, &W.x, &bias.x);
    if (t->status == SL_OK && !sl_kern_failed(t->kern)) /* else row_ptr is undefined */
        t->kern->sparse_decode(t->kern, n->csr, &D.x, NULL, &n->out);
    sl_temp_done(t, &W);
    sl_temp_done(t, &bias);
    sl_temp_done(t, &D);
}

/* ---- backward ---- */

/* Memory for rows of gradients, zeroed; until reset, as a parameter may keep them. */
static bool zeros(sl_tape *t, const sl_tensor *like, sl_tensor *out)
{
    *out = *like;
    out->data = sl_tape_bytes(t, sl_nbytes(like));
    if (out->data)
        t->kern->fill(t->kern, 0, out);
    return out->data;
}

/* Adds the rows' gradient to the dictionary that is input i. */
static void add_rows(sl_tape *t, sl_node *n, int i, const sl_tensor *rows)
{
    if (!sl_wants(t, n, i))
        return;
    sl_param *p = sl_node_at(t, n->in[i])->param;
    if (p && sl_param_add_term(p, n->csc, &n->kept[1], rows))
        return;
    sl_tensor *dW = sl_din_add(t, n, i);
    if (dW)
        t->kern->dict_grad(t->kern, n->csc, &n->kept[1], rows, dW, NULL);
}

/* dz: the codes with their gradients as values; db [n] their sums */
static void input_back(sl_tape *t, sl_node *n, const sl_csr *dz, const sl_tensor *db)
{
    const sl_kern *k = t->kern;
    sl_node *x = sl_node_at(t, n->in[0]);
    bool shifted = sl_is_shifted(t, x);
    double beta = 1;
    sl_tensor *to = shifted ? sl_din_add(t, x, 1) : sl_din(t, n, 0, &beta);
    sl_temp W, tmp;
    if (!to || !gather(t, n, sl_in(t, n, 1), &W))
        return;
    if (shifted) {
        k->mix_rows(k, x->args.f, db, &W.x, to);
    } else if (beta == 0) {
        k->sparse_decode(k, dz, &W.x, NULL, to);
    } else if (sl_temp_get(t, to, &tmp)) {
        k->sparse_decode(k, dz, &W.x, NULL, &tmp.x);
        k->axpby(k, 1, &tmp.x, 1, to);
        sl_temp_done(t, &tmp);
    }
    sl_temp_done(t, &W);
}

static void among_backward(sl_tape *t, sl_node *n)
{
    const sl_kern *k = t->kern;
    sl_csr dz = *n->csr;
    const sl_csc *at;
    sl_temp D;
    sl_tensor dW, dD, db, val, dval, W = sl_tensor_of(t->dtype, NULL, 2, n_among(n), sl_cols(sl_in(t, n, 1)));
    if (n_among(n) == 0 || !(at = sl_tape_csc(t, &dz)) || !gather(t, n, sl_in(t, n, 3), &D))
        return;
    val = sl_tensor_of(t->dtype, dz.val, 1, dz.row_ptr[dz.n_rows]);
    if (!zeros(t, &W, &dW) || !zeros(t, &D.x, &dD) || !zeros(t, &n->kept[1], &db) || !zeros(t, &val, &dval))
        return;
    k->dict_grad(k, at, &val, &n->grad, &dD, NULL);
    k->sparse_dval(k, &dz, &D.x, &n->grad, 0, &dval);
    sl_temp_done(t, &D);
    k->dict_grad(k, at, &dval, sl_in(t, n, 0), &dW, &db);
    dz.val = dval.data;
    add_rows(t, n, 1, &dW);
    add_rows(t, n, 3, &dD);
    sl_tensor *b = sl_din_add(t, n, 2);
    if (b)
        k->dict_grad(k, n->csc, &db, &dW, NULL, b);
    input_back(t, n, &dz, &db);
}

/* 0: all inputs; 1: x is shifted by a row; 2: more than there are features, and x has a gradient before */
static sl_var among_example(sl_tape *t, sl_example *e, int which)
{
    sl_var x = which == 1 ? sl_example_const(t, e, 4, 6, 0) : sl_example_in(t, e, 4, 6, 0), W = sl_example_in(t, e, 9, 6, 0);
    sl_var b = sl_example_in(t, e, 9, 0, 0), D = sl_example_in(t, e, 9, 5, 0);
    if (which == 1)
        x = sl_sub_row(t, x, sl_example_in(t, e, 6, 0, 0));
    sl_var y = sl_decode_among(t, x, W, b, D, which == 2 ? 9 : 2, sl_example_mask(t, e, 9));
    return which == 2 ? sl_add(t, sl_sum(t, sl_mul(t, y, y)), sl_sum(t, sl_mul(t, x, x))) : y;
}

const sl_op sl_op_decode_among = { "decode_among", 4, 4, among_shape, among_forward, among_backward, 3, among_example };

sl_var sl_decode_among(sl_tape *t, sl_var x, sl_var W_enc, sl_var b_enc, sl_var W_dec, int64_t k, const sl_tensor *skip)
{
    sl_args args = { .i = k, .data = *skip };
    return sl_apply(t, &sl_op_decode_among, (sl_var[]){ x, W_enc, b_enc, W_dec }, &args);
}
