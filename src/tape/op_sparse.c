/* Sparse codes (CSR, positive values only) of a dictionary; W_enc, W_dec feature-major [F, d_in].
 *   encode_topk    z = the k largest of x W_enc^T + b_enc that are positive     (Gao et al. 2024, arXiv 2406.04093, eq. 2)
 *                  dx_r += sum_i dz_i W_enc[idx_i]    dW_enc[f] += sum dz_i x_r    db_enc[f] += sum dz_i
 *   sparse_decode  y_r = b_dec + sum_i z_i W_dec[idx_i]
 *                  dz_i += dy_r . W_dec[idx_i]        dW_dec[f] += sum z_i dy_r    db_dec += sum_r dy_r
 * The variable of a code is the array of its values, [capacity]; entries beyond the last row are 0. The selection itself has
 * no gradient; in gradient checks it is frozen: taken from the same node of another tape. */
#include "tape/node.h"
#include "tape/params.h"

/* ---- encode_topk, encode_topk_among: args.i = k, args.data = features that are no candidates, args.flag: bounds are kept ---- */

sl_csr *sl_tape_csr(sl_tape *t, int64_t n_rows, int64_t n_cols, int64_t capacity)
{
    sl_csr *z = sl_tape_bytes(t, sizeof *z);
    if (!z)
        return NULL;
    *z = (sl_csr){ .n_rows = n_rows, .n_cols = n_cols, .capacity = capacity };
    z->row_ptr = sl_tape_bytes(t, (size_t)(n_rows + 1) * sizeof *z->row_ptr);
    z->idx = sl_tape_bytes(t, (size_t)capacity * sizeof *z->idx);
    return z->row_ptr && z->idx ? z : NULL;
}

sl_status sl_encode_shape(sl_tape *t, sl_node *n)
{
    const sl_tensor *x = sl_in(t, n, 0), *W = sl_in(t, n, 1), *b = sl_in(t, n, 2), *skip = &n->args.data;
    int64_t k = n->args.i;
    if (x->n_dim < 1 || W->n_dim != 2 || W->dim[1] != sl_cols(x))
        return sl_shape_mismatch(t, n, "x", x, "W_enc", W, "x [.., d_in] and W_enc [F, d_in]");
    if (b->n_dim != 1 || b->dim[0] != W->dim[0])
        return sl_shape_mismatch(t, n, "W_enc", W, "b_enc", b, "W_enc [F, d_in] and b_enc [F]");
    if (skip->data && (skip->dtype != SL_U8 || sl_numel(skip) != W->dim[0]))
        return sl_shape_mismatch(t, n, "W_enc", W, "skip", skip, "skip [F] of U8");
    if (k < 1 || k > W->dim[0])
        return sl_node_fail(t, n, SL_ARG, "1 <= k <= F", "k is %lld with %lld features", (long long)k, (long long)W->dim[0]);
    n->csr = sl_tape_csr(t, sl_rows(x), W->dim[0], sl_rows(x) * k);
    n->out.n_dim = 1;
    n->out.dim[0] = sl_rows(x) * k;
    return n->csr ? SL_OK : t->status;
}

void sl_code_clear_tail(sl_tape *t, sl_node *n)
{
    if (sl_kern_failed(t->kern))
        return; /* row_ptr is undefined then */
    int64_t used = n->csr->row_ptr[n->csr->n_rows];
    char *tail = (char *)n->out.data + (size_t)used * sl_dtype_size(t->dtype);
    sl_tensor rest = sl_tensor_of(t->dtype, tail, 1, n->csr->capacity - used);
    t->kern->fill(t->kern, 0, &rest);
}

void sl_code_frozen(sl_tape *t, sl_node *n)
{
    const sl_csr *chosen = sl_node_at(t->frozen, n->id)->csr;
    n->csr->row_ptr = chosen->row_ptr;
    n->csr->idx = chosen->idx;
    t->kern->encode_at(t->kern, sl_in(t, n, 0), sl_in(t, n, 1), sl_in(t, n, 2), n->csr);
}

static sl_bounds *new_bounds(sl_tape *t, int64_t rows, int64_t F)
{
    sl_bounds *b = sl_tape_bytes(t, sizeof *b);
    if (b)
        *b = (sl_bounds){ .top = sl_tape_bytes(t, (size_t)(rows * F)), .unit = sl_tape_bytes(t, (size_t)rows * sizeof *b->unit) };
    return b && b->top && b->unit ? b : NULL;
}

static void encode_forward(sl_tape *t, sl_node *n)
{
    const sl_kern *k = t->kern;
    n->csr->val = n->out.data;
    if (n->args.flag && !t->frozen && !(n->bounds = new_bounds(t, n->csr->n_rows, n->csr->n_cols)))
        return;
    if (t->frozen)
        sl_code_frozen(t, n);
    else if (n->bounds)
        k->encode_topk_keep(k, sl_in(t, n, 0), sl_in(t, n, 1), sl_in(t, n, 2), n->args.i, n->bounds, n->csr);
    else
        k->encode_topk(k, sl_in(t, n, 0), sl_in(t, n, 1), sl_in(t, n, 2), n->args.data.data ? &n->args.data : NULL, n->args.i, n->csr);
    sl_code_clear_tail(t, n);
}

sl_csc *sl_tape_csc(sl_tape *t, const sl_csr *z)
{
    sl_csc *c = sl_tape_bytes(t, sizeof *c);
    size_t places = (size_t)z->row_ptr[z->n_rows] * sizeof(int32_t);
    if (!c)
        return NULL;
    *c = (sl_csc){ z->n_cols, sl_tape_bytes(t, (size_t)(z->n_cols + 1) * sizeof *c->ptr), sl_tape_bytes(t, places), sl_tape_bytes(t, places) };
    if (!c->ptr || !c->entry || !c->row)
        return NULL;
    t->kern->csr_transpose(t->kern, z, c);
    return c;
}

/* The code of node n in feature-major order; NULL after making the tape fail. */
static const sl_csc *feature_major(sl_tape *t, sl_node *n)
{
    if (!n->csc)
        n->csc = sl_tape_csc(t, n->csr);
    return n->csc;
}

/* Adds the gradient of the dictionary that is input i of n. A parameter may keep it as a term: then n's own gradient, which is coef or
 * rows, stays until reset. */
static void add_dict_grad(sl_tape *t, sl_node *n, int i, const sl_csc *at, const sl_tensor *coef, const sl_tensor *rows)
{
    if (!sl_wants(t, n, i))
        return;
    sl_param *p = sl_node_at(t, n->in[i])->param;
    if (p && sl_param_add_term(p, at, coef, rows)) {
        n->gbuf->refs++;
        return;
    }
    sl_tensor *dW = sl_din_add(t, n, i);
    if (dW)
        t->kern->dict_grad(t->kern, at, coef, rows, dW, NULL);
}

/* Where x is x0 + s r, r [d_in], and only r has a gradient, no row of dx is needed: dr += s sum_rows dx = s sum_f (sum of f's dz) W_f. */
bool sl_is_shifted(const sl_tape *t, const sl_node *x)
{
    return (x->op == &sl_op_sub_row || x->op == &sl_op_add_row) && !sl_wants(t, x, 0) && sl_wants(t, x, 1);
}

static void shift_backward(sl_tape *t, sl_node *n, const sl_csc *at, sl_node *x)
{
    const sl_kern *k = t->kern;
    sl_temp sums;
    sl_tensor *dr = sl_din_add(t, x, 1);
    if (!dr || !sl_temp_get(t, sl_in(t, n, 2), &sums))
        return;
    k->fill(k, 0, &sums.x);
    k->dict_grad(k, at, &n->grad, sl_in(t, n, 0), NULL, &sums.x);
    k->mix_rows(k, x->args.f, &sums.x, sl_in(t, n, 1), dr);
    sl_temp_done(t, &sums);
}

void sl_encode_backward(sl_tape *t, sl_node *n)
{
    const sl_kern *k = t->kern;
    const sl_tensor *W = sl_in(t, n, 1);
    const sl_csc *at = feature_major(t, n);
    sl_csr dz = *n->csr; /* the same entries with the gradients as values */
    double beta;
    sl_temp tmp;
    if (!at)
        return;
    dz.val = n->grad.data;
    add_dict_grad(t, n, 1, at, &n->grad, sl_in(t, n, 0));
    sl_tensor *db = sl_din_add(t, n, 2);
    if (db)
        k->dict_grad(k, at, &n->grad, sl_in(t, n, 0), NULL, db);
    sl_node *x = sl_node_at(t, n->in[0]);
    if (sl_is_shifted(t, x)) {
        shift_backward(t, n, at, x);
        return;
    }
    sl_tensor *dx = sl_din(t, n, 0, &beta);
    if (dx && beta == 0) {
        k->sparse_decode(k, &dz, W, NULL, dx);
    } else if (dx && sl_temp_get(t, dx, &tmp)) {
        k->sparse_decode(k, &dz, W, NULL, &tmp.x);
        k->axpby(k, 1, &tmp.x, 1, dx);
        sl_temp_done(t, &tmp);
    }
}

/* 0: all inputs; 1: W_enc has no gradient, b_enc has; 2: x has a gradient before the encoder adds to it; 3, 4: x is shifted by a row */
static sl_var encode_example(sl_tape *t, sl_example *e, int which)
{
    sl_var x = which >= 3 ? sl_example_const(t, e, 4, 6, 0) : sl_example_in(t, e, 4, 6, 0);
    sl_var W = which == 1 ? sl_example_const(t, e, 9, 6, 0) : sl_example_in(t, e, 9, 6, 0), b = sl_example_in(t, e, 9, 0, 0);
    if (which >= 3)
        x = which == 3 ? sl_sub_row(t, x, sl_example_in(t, e, 6, 0, 0)) : sl_add_row(t, x, sl_example_in(t, e, 6, 0, 0));
    sl_var z = sl_encode_topk(t, x, W, b, 3).v;
    return which == 2 ? sl_add(t, sl_sum(t, z), sl_sum(t, sl_mul(t, x, x))) : z;
}

static sl_var among_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    sl_var x = sl_example_in(t, e, 4, 6, 0), W = sl_example_in(t, e, 9, 6, 0), b = sl_example_in(t, e, 9, 0, 0);
    return sl_encode_topk_among(t, x, W, b, 2, sl_example_mask(t, e, 9)).v;
}

const sl_op sl_op_encode_topk = { "encode_topk", 3, 3, sl_encode_shape, encode_forward, sl_encode_backward, 5, encode_example };
const sl_op sl_op_encode_topk_among = { "encode_topk_among", 3, 3, sl_encode_shape, encode_forward, sl_encode_backward, 1,
                                        among_example };

sl_code sl_encode_topk(sl_tape *t, sl_var x, sl_var W_enc, sl_var b_enc, int64_t k)
{
    return (sl_code){ sl_apply(t, &sl_op_encode_topk, (sl_var[]){ x, W_enc, b_enc }, &(sl_args){ .i = k }) };
}

sl_code sl_encode_topk_keep(sl_tape *t, sl_var x, sl_var W_enc, sl_var b_enc, int64_t k)
{
    return (sl_code){ sl_apply(t, &sl_op_encode_topk, (sl_var[]){ x, W_enc, b_enc }, &(sl_args){ .i = k, .flag = true }) };
}

sl_code sl_encode_topk_among(sl_tape *t, sl_var x, sl_var W_enc, sl_var b_enc, int64_t k, const sl_tensor *skip)
{
    sl_args args = { .i = k, .data = *skip };
    return (sl_code){ sl_apply(t, &sl_op_encode_topk_among, (sl_var[]){ x, W_enc, b_enc }, &args) };
}

/* ---- sparse_decode ---- */

static const sl_csr *code_of(const sl_tape *t, const sl_node *n) { return sl_node_at(t, n->in[0])->csr; }

static sl_status decode_shape(sl_tape *t, sl_node *n)
{
    const sl_csr *z = code_of(t, n);
    const sl_tensor *W = sl_in(t, n, 1), *b = sl_in(t, n, 2);
    if (!z)
        return sl_node_fail(t, n, SL_ARG, "the result of an encoder", "input 1 is no sparse code");
    if (W->n_dim != 2 || W->dim[0] != z->n_cols) {
        char text[64];
        sl_shape_text(W, text);
        return sl_node_fail(t, n, SL_SHAPE, "W_dec [F, d_in]", "W_dec is %s for a code of %lld features", text, (long long)z->n_cols);
    }
    if (b && (b->n_dim != 1 || b->dim[0] != W->dim[1]))
        return sl_shape_mismatch(t, n, "W_dec", W, "b_dec", b, "W_dec [F, d_in] and b_dec [d_in]");
    n->out.n_dim = 2;
    n->out.dim[0] = z->n_rows;
    n->out.dim[1] = W->dim[1];
    return SL_OK;
}

static void decode_forward(sl_tape *t, sl_node *n)
{
    t->kern->sparse_decode(t->kern, code_of(t, n), sl_in(t, n, 1), sl_in(t, n, 2), &n->out);
}

static void decode_backward(sl_tape *t, sl_node *n)
{
    const sl_kern *k = t->kern;
    const sl_csr *z = code_of(t, n);
    sl_tensor *db = sl_din_add(t, n, 2);
    if (db)
        k->col_sum(k, 1, &n->grad, db);
    const sl_csc *at = sl_wants(t, n, 1) ? feature_major(t, sl_node_at(t, n->in[0])) : NULL;
    if (at)
        add_dict_grad(t, n, 1, at, sl_in(t, n, 0), &n->grad);
    sl_tensor *dz = sl_din_add(t, n, 0);
    if (dz)
        k->sparse_dval(k, z, sl_in(t, n, 1), &n->grad, 1, dz);
}

static sl_var decode_example(sl_tape *t, sl_example *e, int which)
{
    sl_var x = sl_example_in(t, e, 4, 6, 0), W_enc = sl_example_in(t, e, 9, 6, 0), b_enc = sl_example_in(t, e, 9, 0, 0);
    sl_var W_dec = sl_example_in(t, e, 9, 5, 0);
    sl_code z = sl_encode_topk(t, x, W_enc, b_enc, 3);
    return sl_sparse_decode(t, z, W_dec, which == 0 ? sl_example_in(t, e, 5, 0, 0) : (sl_var){ 0 });
}

const sl_op sl_op_sparse_decode = { "sparse_decode", 3, 2, decode_shape, decode_forward, decode_backward, 2, decode_example };

sl_var sl_sparse_decode(sl_tape *t, sl_code z, sl_var W_dec, sl_var b_dec)
{
    return sl_apply(t, &sl_op_sparse_decode, (sl_var[]){ z.v, W_dec, b_dec }, NULL);
}
