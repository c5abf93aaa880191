/* Cases: sparse codes. Rows m, features n, d_in k. */
#include "cases.h"

#include <string.h>

static void run_encode_topk(krun *r)
{
    int64_t m = r->s.m, F = r->s.n, d = r->s.k;
    sl_tensor x = kt_random(r, m, d, 0), W = kt_random(r, F, d, 0), b = kt_random(r, F, 0, 0);
    memcpy((char *)W.data + (size_t)((F - 1) * d) * sl_dtype_size(W.dtype), W.data, (size_t)d * sl_dtype_size(W.dtype)); /* a tie */
    memcpy((char *)b.data + (size_t)(F - 1) * sl_dtype_size(b.dtype), b.data, sl_dtype_size(b.dtype));
    const int64_t n_active[] = { 1, 5, F + 3 };
    uint8_t dead[4096] = { 0 };
    for (int64_t f = 0; f < F; f++)
        dead[f] = f % 3 == 1;
    sl_tensor skip = sl_tensor_of(SL_U8, dead, 1, F);
    for (int i = 0; i < 3; i++)
        for (int with_skip = 0; with_skip < 2; with_skip++) {
            int64_t limit = n_active[i] < F ? n_active[i] : F;
            sl_csr z = kt_csr(r, m, F, m * limit);
            r->k->encode_topk(r->k, &x, &W, &b, with_skip ? &skip : NULL, n_active[i], &z);
            kt_record_csr(r, &z);
        }
}

static void run_encode_at(krun *r)
{
    sl_tensor x = kt_random(r, r->s.m, r->s.k, 0), W = kt_random(r, r->s.n, r->s.k, 0), b = kt_random(r, r->s.n, 0, 0);
    sl_csr z = kt_csr_random(r, r->s.m, r->s.n);
    r->k->encode_at(r->k, &x, &W, &b, &z);
    kt_record_csr(r, &z);
}

static void run_csr_from_dense(krun *r)
{
    sl_tensor x = kt_random(r, r->s.m, r->s.n, 0);
    sl_csr z = kt_csr(r, r->s.m, r->s.n, r->s.m * r->s.n);
    r->k->csr_from_dense(r->k, &x, &z);
    kt_record_csr(r, &z);
}

static void run_csr_to_dense(krun *r)
{
    sl_csr z = kt_csr_random(r, r->s.m, r->s.n);
    sl_tensor x = kt_nan(r, r->s.m, r->s.n, 0);
    r->k->csr_to_dense(r->k, &z, &x);
    kt_record(r, &x);
}

static void run_sparse_decode(krun *r)
{
    sl_csr z = kt_csr_random(r, r->s.m, r->s.n);
    sl_tensor W = kt_random(r, r->s.n, r->s.k, 0), b = kt_random(r, r->s.k, 0, 0), y = kt_nan(r, r->s.m, r->s.k, 0);
    r->k->sparse_decode(r->k, &z, &W, NULL, &y);
    kt_record(r, &y);
    r->k->sparse_decode(r->k, &z, &W, &b, &y);
    kt_record(r, &y);
}

static void run_sparse_dval(krun *r)
{
    sl_csr z = kt_csr_random(r, r->s.m, r->s.n);
    int64_t n = z.row_ptr[z.n_rows];
    sl_tensor W = kt_random(r, r->s.n, r->s.k, 0), dy = kt_random(r, r->s.m, r->s.k, 0);
    sl_tensor g = kt_nan(r, n ? n : 1, 0, 0), h = kt_random(r, n ? n : 1, 0, 0);
    r->k->sparse_dval(r->k, &z, &W, &dy, 0, &g);
    r->k->sparse_dval(r->k, &z, &W, &dy, 1, &h);
    g.dim[0] = h.dim[0] = n;
    kt_record(r, &g);
    kt_record(r, &h);
}

/* A code in feature-major order, its memory that of the run's I32 tensors. */
static sl_csc csc_of(krun *r, const sl_csr *z)
{
    int64_t n = z->row_ptr[z->n_rows] + 1;
    sl_csc t = { z->n_cols, kt_ids(r, 2 * (z->n_cols + 1), 0, 2, false).data, kt_ids(r, n, 0, 2, false).data, kt_ids(r, n, 0, 2, false).data };
    r->k->csr_transpose(r->k, z, &t);
    return t;
}

static void run_csr_transpose(krun *r)
{
    sl_csr z = kt_csr_random(r, r->s.m, r->s.n);
    sl_csc t = csc_of(r, &z);
    for (int64_t f = 0; f <= z.n_cols; f++)
        kt_number(r, (double)t.ptr[f]);
    for (int64_t p = 0; p < t.ptr[z.n_cols]; p++) {
        kt_number(r, t.row[p]);
        kt_number(r, z.idx[t.entry[p]]);
    }
}

static void run_mix_rows(krun *r)
{
    sl_tensor c = kt_random(r, r->s.n, 0, 0), W = kt_random(r, r->s.n, r->s.k, 0), y = kt_random(r, r->s.k, 0, 0);
    r->k->mix_rows(r->k, -.5, &c, &W, &y);
    kt_record(r, &y);
}

/* Two terms, with and without a whole part, with and without the constraint. */
static void run_sweep(krun *r)
{
    sl_csr z = kt_csr_random(r, r->s.m, r->s.n);
    int64_t n = z.row_ptr[z.n_rows];
    sl_tensor W = kt_random(r, r->s.n, r->s.k, 0), m = kt_random(r, r->s.n, r->s.k, 0), v = kt_random(r, r->s.n, r->s.k, 0), g = kt_random(r, r->s.n, r->s.k, 0);
    sl_csc t = csc_of(r, &z);
    sl_term term[] = { { &t, kt_val(r, &z), kt_random(r, r->s.m, r->s.k, 0) }, { &t, kt_random(r, n ? n : 1, 0, 0), kt_random(r, r->s.m, r->s.k, 0) } };
    r->k->mul(r->k, &v, &v, 0, &v); /* a second moment is not negative */
    for (int i = 0; i < 4; i++) {
        sl_sweep s = { .W = &W, .m = &m, .v = &v, .grad = i & 1 ? &g : NULL, .term = term, .n_terms = i < 2 ? 2 : 1, .project = i != 2, .normalize = i != 2 };
        kt_number(r, r->k->sweep_sq(r->k, &s));
        r->k->sweep_adam(r->k, &s, &(sl_adam){ .lr = 1e-2, .beta1 = .9, .beta2 = .95, .eps = 1e-8, .decay = .1, .grad_scale = .5, .step = i + 1 });
        kt_record(r, &W);
        kt_record(r, &m);
        kt_record(r, &v);
    }
}

static void run_dict_grad(krun *r)
{
    sl_csr z = kt_csr_random(r, r->s.m, r->s.n);
    sl_csc t = csc_of(r, &z);
    sl_tensor rows = kt_random(r, r->s.m, r->s.k, 0), dW = kt_random(r, r->s.n, r->s.k, 0), db = kt_random(r, r->s.n, 0, 0);
    sl_tensor val = kt_val(r, &z), coef = kt_random(r, sl_numel(&val) ? sl_numel(&val) : 1, 0, 0);
    r->k->dict_grad(r->k, &t, &coef, &rows, &dW, &db);
    r->k->dict_grad(r->k, &t, &val, &rows, &dW, NULL);
    r->k->dict_grad(r->k, &t, &val, &rows, NULL, &db);
    kt_record(r, &dW);
    kt_record(r, &db);
}

const kcase kcases_sparse[] = {
    KCASE(encode_topk, run_encode_topk, 0, 0), /* the same bits in every layer: kern/dot.h */
    KCASE(encode_at, run_encode_at, 0, 0),
    KCASE(csr_from_dense, run_csr_from_dense, 0, 0),
    KCASE(csr_to_dense, run_csr_to_dense, 0, 0),
    KCASE(sparse_decode, run_sparse_decode, 1e-5, 1e-5),
    KCASE(sparse_dval, run_sparse_dval, 1e-5, 1e-5),
    KCASE(csr_transpose, run_csr_transpose, 0, 0),
    KCASE(dict_grad, run_dict_grad, 2e-5, 1e-5),
    KCASE(mix_rows, run_mix_rows, 2e-5, 1e-5),
    KCASE(sweep_sq, run_sweep, 2e-5, 2e-5),
    KCASE(sweep_adam, run_sweep, 2e-5, 2e-5),
    { NULL, 0, NULL, 0, 0 },
};
