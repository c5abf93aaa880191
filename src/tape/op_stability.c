/* Codes of rows and of perturbed rows beside each other (science.md B4). Selections and structures have no gradient; in gradient checks they
 * are frozen, as in op_sparse.c.
 *   code_of      z = the positive elements of a dense code                dx += dz at them
 *   encode_at    z = x W_enc^T + b_enc at the entries of a code           gradients as encode_topk's; none for the code
 *   code_minus   y = entries of a that b has none beside                  da += dy there
 *   code_keep    y = the limit_r largest of row r                         dz += dy there
 *   row_weights  w_b = keep_b / ((|z_b|^2 + kappa) sum keep)              no gradient
 *   col_weights  c_j = sum of w_b over rows with the feature              no gradient
 *   stability    y = sum_b w_b sum over p's entries of (p - z)^2          dp += 2 w u, dz -= 2 w u where z has the entry; u = p - z */
#include "tape/node.h"

static sl_node *input(const sl_tape *t, const sl_node *n, int i) { return sl_node_at(t, n->in[i]); }

static sl_status need_codes(sl_tape *t, sl_node *n, int a, int b)
{
    const sl_csr *x = input(t, n, a)->csr, *y = input(t, n, b)->csr;
    if (!x || !y)
        return sl_node_fail(t, n, SL_ARG, "sparse codes", "input %d is no sparse code", (x ? b : a) + 1);
    if (x->n_rows != y->n_rows || x->n_cols != y->n_cols)
        return sl_node_fail(t, n, SL_SHAPE, "codes of the same rows and features", "%lld x %lld and %lld x %lld", (long long)x->n_rows,
                            (long long)x->n_cols, (long long)y->n_rows, (long long)y->n_cols);
    return SL_OK;
}

static sl_status new_code(sl_tape *t, sl_node *n, int64_t n_rows, int64_t n_cols, int64_t capacity)
{
    n->csr = sl_tape_csr(t, n_rows, n_cols, capacity);
    n->out.n_dim = 1;
    n->out.dim[0] = capacity;
    return n->csr ? SL_OK : t->status;
}

/* In a check: the structure of the same node of the base tape, with the values that `from` has there. */
static void picked(sl_tape *t, sl_node *n, const sl_csr *from)
{
    const sl_csr *chosen = sl_node_at(t->frozen, n->id)->csr;
    sl_tensor val = sl_tensor_of(t->dtype, from->val, 1, from->capacity);
    n->csr->row_ptr = chosen->row_ptr;
    n->csr->idx = chosen->idx;
    t->kern->fill(t->kern, 0, &n->out);
    t->kern->csr_pick(t->kern, from, &val, n->csr, &n->out);
}

static void pass_to_first(sl_tape *t, sl_node *n)
{
    sl_tensor *dz = sl_din_add(t, n, 0);
    if (dz)
        t->kern->csr_pick(t->kern, n->csr, &n->grad, input(t, n, 0)->csr, dz);
}

static sl_code example_code(sl_tape *t, sl_example *e, int64_t k)
{
    sl_var x = sl_example_in(t, e, 4, 6, 0), W = sl_example_in(t, e, 9, 6, 0);
    return sl_encode_topk(t, x, W, sl_example_in(t, e, 9, 0, 0), k);
}

/* The same of numbers that are not checked. */
static sl_code example_still(sl_tape *t, sl_example *e, int64_t k)
{
    sl_var x = sl_example_const(t, e, 4, 6, 0), W = sl_example_const(t, e, 9, 6, 0);
    return sl_code_freeze(t, sl_encode_topk(t, x, W, sl_example_const(t, e, 9, 0, 0), k));
}

/* ---- constants ---- */

sl_code sl_code_const(sl_tape *t, const sl_csr *z)
{
    sl_tensor val = sl_tensor_of(t->dtype, z->val, 1, z->capacity);
    sl_var v = sl_const(t, &val);
    sl_csr *own = v.id ? sl_tape_bytes(t, sizeof *own) : NULL;
    if (!own)
        return (sl_code){ { 0 } };
    *own = *z;
    sl_node_at(t, v.id)->csr = own;
    return (sl_code){ v };
}

sl_code sl_code_freeze(sl_tape *t, sl_code z) { return (sl_code){ sl_freeze(t, z.v) }; }

/* ---- code_of ---- */

static sl_status of_shape(sl_tape *t, sl_node *n)
{
    const sl_tensor *x = sl_in(t, n, 0);
    if (x->n_dim < 2)
        return sl_shape_bad(t, n, "z", x, "[.., F]");
    return new_code(t, n, sl_rows(x), sl_cols(x), sl_numel(x));
}

static void of_forward(sl_tape *t, sl_node *n)
{
    n->csr->val = n->out.data;
    if (t->frozen) {
        const sl_csr *chosen = sl_node_at(t->frozen, n->id)->csr;
        sl_csr *all = sl_tape_csr(t, n->csr->n_rows, n->csr->n_cols, n->csr->capacity);
        if (!all)
            return;
        all->val = sl_tape_bytes(t, (size_t)all->capacity * sl_dtype_size(t->dtype));
        n->csr->row_ptr = chosen->row_ptr;
        n->csr->idx = chosen->idx;
        if (!all->val)
            return;
        t->kern->csr_from_dense(t->kern, sl_in(t, n, 0), all);
        sl_tensor val = sl_tensor_of(t->dtype, all->val, 1, all->capacity);
        t->kern->fill(t->kern, 0, &n->out);
        t->kern->csr_pick(t->kern, all, &val, n->csr, &n->out);
        return;
    }
    t->kern->csr_from_dense(t->kern, sl_in(t, n, 0), n->csr);
    sl_code_clear_tail(t, n);
}

static void of_backward(sl_tape *t, sl_node *n)
{
    double beta;
    sl_temp tmp;
    sl_csr dz = *n->csr;
    dz.val = n->grad.data;
    sl_tensor *dx = sl_din(t, n, 0, &beta);
    if (dx && beta == 0) {
        t->kern->csr_to_dense(t->kern, &dz, dx);
    } else if (dx && sl_temp_get(t, dx, &tmp)) {
        t->kern->csr_to_dense(t->kern, &dz, &tmp.x);
        t->kern->axpby(t->kern, 1, &tmp.x, 1, dx);
        sl_temp_done(t, &tmp);
    }
}

static sl_var of_example(sl_tape *t, sl_example *e, int which)
{
    sl_var x = sl_example_in(t, e, 4, 6, 0);
    sl_var z = sl_code_of(t, x).v;
    return which == 0 ? z : sl_add(t, sl_sum(t, sl_mul(t, x, x)), sl_sum(t, z));
}

const sl_op sl_op_code_of = { "code_of", 1, 1, of_shape, of_forward, of_backward, 2, of_example };

sl_code sl_code_of(sl_tape *t, sl_var dense) { return (sl_code){ sl_apply(t, &sl_op_code_of, &dense, NULL) }; }

/* ---- encode_at: the code is input 3 ---- */

static sl_status at_shape(sl_tape *t, sl_node *n)
{
    const sl_tensor *x = sl_in(t, n, 0), *W = sl_in(t, n, 1), *b = sl_in(t, n, 2);
    const sl_csr *where = input(t, n, 3)->csr;
    if (!where)
        return sl_node_fail(t, n, SL_ARG, "a sparse code", "input 4 is no sparse code");
    if (x->n_dim < 1 || W->n_dim != 2 || W->dim[1] != sl_cols(x))
        return sl_shape_mismatch(t, n, "x", x, "W_enc", W, "x [.., d_in] and W_enc [F, d_in]");
    if (b->n_dim != 1 || b->dim[0] != W->dim[0] || where->n_rows != sl_rows(x) || where->n_cols != W->dim[0])
        return sl_shape_mismatch(t, n, "W_enc", W, "b_enc", b, "W_enc [F, d_in], b_enc [F] and a code of the same rows and features");
    n->csr = sl_tape_bytes(t, sizeof *n->csr);
    n->out.n_dim = 1;
    n->out.dim[0] = where->capacity;
    if (!n->csr)
        return t->status;
    *n->csr = *where;
    return SL_OK;
}

static void at_forward(sl_tape *t, sl_node *n)
{
    const sl_csr *where = t->frozen ? sl_node_at(t->frozen, n->id)->csr : input(t, n, 3)->csr;
    n->csr->row_ptr = where->row_ptr;
    n->csr->idx = where->idx;
    n->csr->val = n->out.data;
    t->kern->encode_at(t->kern, sl_in(t, n, 0), sl_in(t, n, 1), sl_in(t, n, 2), n->csr);
    sl_code_clear_tail(t, n);
}

static sl_var at_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    sl_code where = example_still(t, e, 3);
    sl_var x = sl_example_in(t, e, 4, 6, 0), W = sl_example_in(t, e, 9, 6, 0);
    return sl_encode_at(t, x, W, sl_example_in(t, e, 9, 0, 0), where).v;
}

const sl_op sl_op_encode_at = { "encode_at", 4, 4, at_shape, at_forward, sl_encode_backward, 1, at_example };

sl_code sl_encode_at(sl_tape *t, sl_var x, sl_var W_enc, sl_var b_enc, sl_code where)
{
    return (sl_code){ sl_apply(t, &sl_op_encode_at, (sl_var[]){ x, W_enc, b_enc, where.v }, NULL) };
}

/* ---- code_minus ---- */

static sl_status minus_shape(sl_tape *t, sl_node *n)
{
    sl_status st = need_codes(t, n, 0, 1);
    const sl_csr *a = input(t, n, 0)->csr;
    return st != SL_OK ? st : new_code(t, n, a->n_rows, a->n_cols, a->capacity);
}

static void minus_forward(sl_tape *t, sl_node *n)
{
    n->csr->val = n->out.data;
    if (t->frozen) {
        picked(t, n, input(t, n, 0)->csr);
        return;
    }
    t->kern->csr_minus(t->kern, input(t, n, 0)->csr, input(t, n, 1)->csr, n->csr);
    sl_code_clear_tail(t, n);
}

static sl_var minus_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    sl_code b = example_still(t, e, 2);
    return sl_code_minus(t, example_code(t, e, 4), b).v;
}

const sl_op sl_op_code_minus = { "code_minus", 2, 2, minus_shape, minus_forward, pass_to_first, 1, minus_example };

sl_code sl_code_minus(sl_tape *t, sl_code a, sl_code b)
{
    return (sl_code){ sl_apply(t, &sl_op_code_minus, (sl_var[]){ a.v, b.v }, NULL) };
}

/* ---- code_keep: args.data = limits ---- */

static sl_status keep_shape(sl_tape *t, sl_node *n)
{
    const sl_csr *z = input(t, n, 0)->csr;
    if (!z || n->args.data.dtype != SL_I32 || sl_numel(&n->args.data) != z->n_rows)
        return sl_node_fail(t, n, SL_ARG, "a sparse code and an I32 limit a row", "they are not");
    return new_code(t, n, z->n_rows, z->n_cols, z->capacity);
}

static void keep_forward(sl_tape *t, sl_node *n)
{
    n->csr->val = n->out.data;
    if (t->frozen) {
        picked(t, n, input(t, n, 0)->csr);
        return;
    }
    t->kern->csr_keep_rows(t->kern, input(t, n, 0)->csr, &n->args.data, n->csr);
    sl_code_clear_tail(t, n);
}

static sl_var keep_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    sl_code z = example_code(t, e, 4);
    return sl_code_keep(t, z, sl_example_ids(t, e, 4, 1, 4)).v;
}

const sl_op sl_op_code_keep = { "code_keep", 1, 1, keep_shape, keep_forward, pass_to_first, 1, keep_example };

sl_code sl_code_keep(sl_tape *t, sl_code z, const sl_tensor *limit)
{
    return (sl_code){ sl_apply(t, &sl_op_code_keep, &z.v, &(sl_args){ .data = *limit }) };
}

/* ---- row_weights: args.data = keep ---- */

static sl_status rw_shape(sl_tape *t, sl_node *n)
{
    sl_status st = need_codes(t, n, 0, 1);
    const sl_csr *z = input(t, n, 0)->csr;
    if (st == SL_OK && (n->args.data.dtype != SL_U8 || sl_numel(&n->args.data) != z->n_rows))
        return sl_node_fail(t, n, SL_ARG, "a U8 a row", "the rows to keep are not");
    n->out.n_dim = 1;
    n->out.dim[0] = st == SL_OK ? z->n_rows : 0;
    return st;
}

static void rw_forward(sl_tape *t, sl_node *n)
{
    t->kern->csr_row_weights(t->kern, input(t, n, 0)->csr, input(t, n, 1)->csr, &n->args.data, &n->out);
}

static sl_var rw_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    sl_code z = example_still(t, e, 3);
    return sl_mul(t, sl_example_in(t, e, 4, 0, 0), sl_row_weights(t, z, z, sl_example_mask(t, e, 4)));
}

const sl_op sl_op_row_weights = { "row_weights", 2, 2, rw_shape, rw_forward, NULL, 1, rw_example };

sl_var sl_row_weights(sl_tape *t, sl_code z, sl_code clean, const sl_tensor *keep)
{
    return sl_apply(t, &sl_op_row_weights, (sl_var[]){ z.v, clean.v }, &(sl_args){ .data = *keep });
}

/* ---- col_weights ---- */

static sl_status cw_shape(sl_tape *t, sl_node *n)
{
    const sl_csr *z = input(t, n, 0)->csr;
    if (!z || sl_numel(sl_in(t, n, 1)) != z->n_rows)
        return sl_node_fail(t, n, SL_ARG, "a sparse code and a weight a row", "they are not");
    n->out.n_dim = 1;
    n->out.dim[0] = z->n_cols;
    return SL_OK;
}

static void cw_forward(sl_tape *t, sl_node *n) { t->kern->csr_col_weights(t->kern, input(t, n, 0)->csr, sl_in(t, n, 1), &n->out); }

static sl_var cw_example(sl_tape *t, sl_example *e, int which)
{
    (void)which;
    sl_code z = example_still(t, e, 3);
    sl_var w = sl_example_const(t, e, 4, 0, 0);
    return sl_mul(t, sl_example_in(t, e, 9, 0, 0), sl_col_weights(t, z, w));
}

const sl_op sl_op_col_weights = { "col_weights", 2, 2, cw_shape, cw_forward, NULL, 1, cw_example };

sl_var sl_col_weights(sl_tape *t, sl_code z, sl_var w) { return sl_apply(t, &sl_op_col_weights, (sl_var[]){ z.v, w }, NULL); }

/* ---- stability: keeps w u ---- */

static sl_status stability_shape(sl_tape *t, sl_node *n)
{
    sl_status st = need_codes(t, n, 0, 1);
    if (st == SL_OK && sl_numel(sl_in(t, n, 2)) != input(t, n, 0)->csr->n_rows)
        return sl_shape_bad(t, n, "w", sl_in(t, n, 2), "one number a row");
    return st;
}

static void stability_forward(sl_tape *t, sl_node *n)
{
    const sl_tensor *p = sl_in(t, n, 0);
    sl_tensor *u = sl_node_keep(t, n, 0, 1, p->dim);
    if (!u)
        return;
    t->kern->fill(t->kern, 0, u);
    sl_set_scalar(t, n, t->kern->csr_residual(t->kern, input(t, n, 0)->csr, input(t, n, 1)->csr, sl_in(t, n, 2), u));
}

static void stability_backward(sl_tape *t, sl_node *n)
{
    const sl_kern *k = t->kern;
    double beta, dy = sl_dscalar(t, n);
    sl_tensor *u = &n->kept[0], *dz = sl_din_add(t, n, 1), *dp = sl_din(t, n, 0, &beta);
    sl_temp tmp;
    if (dp)
        k->axpby(k, 2 * dy, u, beta, dp);
    if (dz && sl_temp_get(t, u, &tmp)) {
        k->axpby(k, -2 * dy, u, 0, &tmp.x);
        k->csr_pick(k, input(t, n, 0)->csr, &tmp.x, input(t, n, 1)->csr, dz);
        sl_temp_done(t, &tmp);
    }
}

static sl_var stability_example(sl_tape *t, sl_example *e, int which)
{
    sl_code p = example_code(t, e, 4), z = which == 1 ? example_still(t, e, 3) : example_code(t, e, 3);
    sl_var w = sl_row_weights(t, sl_code_freeze(t, z), sl_code_freeze(t, z), sl_example_mask(t, e, 4));
    sl_var y = sl_stability(t, p, z, w);
    return which < 2 ? y : sl_add(t, y, sl_sum(t, p.v));
}

const sl_op sl_op_stability = { "stability", 3, 3, stability_shape, stability_forward, stability_backward, 3, stability_example };

sl_var sl_stability(sl_tape *t, sl_code p, sl_code z, sl_var w) { return sl_apply(t, &sl_op_stability, (sl_var[]){ p.v, z.v, w }, NULL); }
