/* Cases: sparse codes. Rows m, features n, d_in k. */
#include "cases.h"

#include <stdlib.h>
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

static void run_encode_moved(krun *r)
{
    int64_t m = r->s.m, F = r->s.n, d = r->s.k, limit = F < 5 ? F : 5;
    sl_tensor x = kt_random(r, m, d, 0), W = kt_random(r, F, d, 0), b = kt_random(r, F, 0, 0), x2 = kt_random(r, m, d, 0);
    sl_tensor dirs = kt_random(r, 2, d, 0), lead = kt_nan(r, F, 2, 0), coef = kt_random(r, m, 2, 0);
    sl_csr z = kt_csr(r, m, F, m * limit), z2 = kt_csr(r, m, F, m * limit);
    sl_bounds keep = { .top = malloc((size_t)(m * F)), .unit = malloc((size_t)m * sizeof(float)) };
    assert_true(keep.top && keep.unit);
    r->k->gemm(r->k, &(sl_gemm){ .a = &W, .b = &dirs, .tb = true, .c = &lead, .alpha = 1 });
    r->k->encode_topk_keep(r->k, &x, &W, &b, 5, &keep, &z);
    sl_moved how = { .x = &x, .z = &z, .bounds = &keep, .dirs = &dirs, .lead = &lead, .coef = &coef };
    r->k->encode_moved(r->k, &how, &x2, &W, &b, 5, &z2);
    kt_record_csr(r, &z);
    kt_record_csr(r, &z2);
    free(keep.top);
    free(keep.unit);
}

static void run_csr_topk(krun *r)
{
    sl_tensor v = kt_random(r, r->s.m, r->s.n, 0);
    size_t one = sl_dtype_size(v.dtype);
    memcpy((char *)v.data + (size_t)(r->s.n - 1) * one, v.data, one); /* a tie, beside the zeros */
    const int64_t most[] = { 1, 3, r->s.n / 4 + 1, r->s.n + 2 };
    for (int i = 0; i < 4; i++) {
        sl_csr z = kt_csr(r, r->s.m, r->s.n, r->s.m * (most[i] < r->s.n ? most[i] : r->s.n));
        sl_tensor first = v, rest = v; /* in two parts */
        first.dim[0] = r->s.m / 2;
        rest.dim[0] = r->s.m - r->s.m / 2;
        rest.data = (char *)v.data + (size_t)(r->s.m / 2 * r->s.n) * one;
        r->k->csr_topk(r->k, &first, most[i], 0, &z);
        r->k->csr_topk(r->k, &rest, most[i], r->s.m / 2, &z);
        kt_record_csr(r, &z);
    }
}

static void run_csc_of_mask(krun *r)
{
    uint8_t no[4096];
    int64_t F = r->s.n, ptr[4097];
    assert_true(F <= 4096);
    sl_tensor skip = sl_tensor_of(SL_U8, no, 1, F), ids = kt_ids(r, F, 0, 2, false);
    sl_csc t = { F, ptr, kt_ids(r, F, 0, 2, false).data, kt_ids(r, F, 0, 2, false).data };
    for (int64_t f = 0; f < F; f++)
        no[f] = f % 3 == 1 ? 2 : 0;
    r->k->csc_of_mask(r->k, &skip, &t, &ids);
    for (int64_t f = 0, n = 0; f < F; f++) {
        assert_int_equal(t.ptr[f], n);
        assert_int_equal(t.ptr[f + 1], n + !no[f]);
        if (no[f])
            continue;
        assert_int_equal(t.entry[n], n);
        assert_int_equal(t.row[n], n);
        assert_int_equal(((const int32_t *)ids.data)[n++], f);
    }
    kt_number(r, (double)t.ptr[F]);
}

/* Ties, cuts within and beyond the entries, rows that keep all they have. */
static void run_csr_keep_largest(krun *r)
{
    sl_csr z = kt_csr_random(r, r->s.m, r->s.n);
    sl_tensor val = kt_val(r, &z);
    int64_t n = z.row_ptr[z.n_rows];
    r->k->mul(r->k, &val, &val, 0, &val);
    sl_tensor one = kt_nan(r, n ? n : 1, 0, 0);
    one.dim[0] = n;
    r->k->fill(r->k, .125, &one);
    r->k->axpby(r->k, 1, &one, 1, &val); /* zeros become equals */
    const int64_t total[] = { 1, n / 2 + 1, n + 3 };
    for (int i = 0; i < 3; i++) {
        sl_csr out = kt_csr(r, r->s.m, r->s.n, total[i] < n ? total[i] : n);
        kt_number(r, r->k->csr_keep_largest(r->k, &z, 1 + r->s.n / 4, total[i], &out));
        kt_record_csr(r, &out);
    }
}

/* Two codes of the same shape, entries partly beside each other. */
static void run_csr_pairs(krun *r)
{
    int64_t m = r->s.m, F = r->s.n;
    sl_csr a = kt_csr_random(r, m, F), b = kt_csr_random(r, m, F), slice = kt_csr(r, m, F, a.row_ptr[m]), both = kt_csr(r, m, F, a.row_ptr[m] + b.row_ptr[m]);
    sl_csr rest = kt_csr(r, m, F, a.row_ptr[m]);
    sl_tensor val = kt_val(r, &a), picked = kt_random(r, b.row_ptr[m] ? b.row_ptr[m] : 1, 0, 0);
    r->k->csr_slice(r->k, &a, F / 3, F - F / 4, &slice);
    r->k->csr_add(r->k, &a, &b, &both);
    r->k->csr_minus(r->k, &a, &b, &rest);
    r->k->csr_pick(r->k, &a, &val, &b, &picked);
    kt_record_csr(r, &slice);
    kt_record_csr(r, &both);
    kt_record_csr(r, &rest);
    kt_record(r, &picked);
}

static void run_csr_keep_rows(krun *r)
{
    sl_csr z = kt_csr_random(r, r->s.m, r->s.n), out = kt_csr(r, r->s.m, r->s.n, z.row_ptr[r->s.m]);
    sl_tensor limit = kt_ids(r, r->s.m, 0, r->s.n, false);
    r->k->csr_keep_rows(r->k, &z, &limit, &out);
    kt_record_csr(r, &out);
}

/* Weights of rows, what remains beside another code, and sums of weights by feature. */
static void run_csr_weights(krun *r)
{
    int64_t m = r->s.m;
    uint8_t on[4096];
    for (int64_t i = 0; i < m; i++)
        on[i] = i % 4 != 2;
    sl_csr z = kt_csr_random(r, m, r->s.n), p = kt_csr_random(r, m, r->s.n);
    sl_tensor keep = sl_tensor_of(SL_U8, on, 1, m), w = kt_nan(r, m, 0, 0), c = kt_nan(r, r->s.n, 0, 0), u = kt_nan(r, p.row_ptr[m] ? p.row_ptr[m] : 1, 0, 0);
    r->k->csr_row_weights(r->k, &z, &p, &keep, &w);
    kt_record(r, &w);
    kt_number(r, r->k->csr_residual(r->k, &p, &z, &w, &u));
    u.dim[0] = p.row_ptr[m];
    kt_record(r, &u);
    r->k->csr_col_weights(r->k, &z, &w, &c);
    kt_record(r, &c);
}

static void run_noise_rows(krun *r)
{
    sl_tensor y = kt_nan(r, r->s.m, r->s.k, 0);
    for (int uniform = 0; uniform < 2; uniform++) {
        r->k->noise_rows(r->k, 7, 3, 11, 2, uniform, &y);
        kt_record(r, &y);
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
    sl_csc t = { z->n_cols, kt_csr(r, z->n_cols, 1, 1).row_ptr, kt_ids(r, n, 0, 2, false).data, kt_ids(r, n, 0, 2, false).data };
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
    sl_tensor least = kt_nan(r, r->s.n, r->s.k, 0);
    r->k->fill(r->k, .01, &least);
    r->k->mul(r->k, &v, &v, 0, &v); /* a second moment is not negative; nor 0, where steps magnify every rounding */
    r->k->axpby(r->k, 1, &least, 1, &v);
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
    KCASE(csr_topk, run_csr_topk, 0, 0),
    KCASE(csc_of_mask, run_csc_of_mask, 0, 0),
    KCASE(csr_keep_largest, run_csr_keep_largest, 0, 0),
    KCASE(csr_slice, run_csr_pairs, 0, 0),
    KCASE(csr_add, run_csr_pairs, 0, 0),
    KCASE(csr_minus, run_csr_pairs, 0, 0),
    KCASE(csr_pick, run_csr_pairs, 0, 0),
    KCASE(csr_keep_rows, run_csr_keep_rows, 0, 0),
    KCASE(csr_row_weights, run_csr_weights, 1e-6, 1e-5),
    KCASE(csr_residual, run_csr_weights, 1e-6, 1e-5),
    KCASE(csr_col_weights, run_csr_weights, 1e-6, 1e-5),
    KCASE(noise_rows, run_noise_rows, 4e-6, 1e-6), /* ref rounds the angle, up to 2 pi, before it takes the cosine */
    KCASE(encode_topk_keep, run_encode_moved, 0, 0),
    KCASE(encode_moved, run_encode_moved, 0, 0),
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
