/* Sparse codes: decoding, gradients, and CSR from dense. All of it is gathering rows of d floats, so it is bound by memory: four
 * rows are read side by side, and the next four are asked for meanwhile. An output row has one owner and one order of summation. */
#include "kern/simd_sparse.h"

#include <assert.h>
#include <string.h>

/* Rows of `base` [.., d] listed in row[], with coefficients c[]: entries e .. end are one sum; entries up to `all` come next. */
typedef struct gather {
    const float *base, *c;
    const int32_t *row;
    int64_t d, all;
} gather;

static inline const float *row_at(const gather *g, int64_t e) { return g->base + g->row[e] * g->d; }
static inline const float *soon(const gather *g, int64_t e) { return row_at(g, sl_min64(e, g->all - 1)); }

/* out [d] += four rows */
static void add_four(const gather *g, int64_t e, float *out)
{
    const float *r0 = row_at(g, e), *r1 = row_at(g, e + 1), *r2 = row_at(g, e + 2), *r3 = row_at(g, e + 3);
    const float *n0 = soon(g, e + 4), *n1 = soon(g, e + 5), *n2 = soon(g, e + 6), *n3 = soon(g, e + 7);
    vf c0 = vf_set(g->c[e]), c1 = vf_set(g->c[e + 1]), c2 = vf_set(g->c[e + 2]), c3 = vf_set(g->c[e + 3]);
    int64_t i = 0;
    for (; i + 16 <= g->d; i += 16) { /* a cache line of each */
        __builtin_prefetch(n0 + i);
        __builtin_prefetch(n1 + i);
        __builtin_prefetch(n2 + i);
        __builtin_prefetch(n3 + i);
        for (int64_t l = i; l < i + 16; l += VW) {
            vf s = vf_fma(c0, vf_load(r0 + l), vf_load(out + l));
            s = vf_fma(c1, vf_load(r1 + l), s);
            s = vf_fma(c2, vf_load(r2 + l), s);
            vf_store(out + l, vf_fma(c3, vf_load(r3 + l), s));
        }
    }
    for (; i < g->d; i += VW) {
        int64_t n = g->d - i;
        vf s = vf_fma(c0, vf_get(r0 + i, n), vf_get(out + i, n));
        s = vf_fma(c1, vf_get(r1 + i, n), s);
        s = vf_fma(c2, vf_get(r2 + i, n), s);
        vf_put(out + i, vf_fma(c3, vf_get(r3 + i, n), s), n);
    }
}

static void add_one(const gather *g, int64_t e, float *out)
{
    const float *r = row_at(g, e);
    vf c = vf_set(g->c[e]);
    for (int64_t i = 0; i < g->d; i += VW)
        vf_put(out + i, vf_fma(c, vf_get(r + i, g->d - i), vf_get(out + i, g->d - i)), g->d - i);
}

static void add_rows(const gather *g, int64_t e, int64_t end, float *out)
{
    for (; e + 4 <= end; e += 4)
        add_four(g, e, out);
    for (; e < end; e++) {
        fetch_row(soon(g, e + 4), g->d);
        add_one(g, e, out);
    }
}

void SL_V(sl_simd_sparse_decode)(const sl_kern *k, const sl_csr *z, const sl_tensor *W, const sl_tensor *bias, sl_tensor *y)
{
    int64_t d = sl_cols(W);
    gather g = { W->data, z->val, z->idx, d, z->row_ptr[z->n_rows] };
    float *out = y->data;
    assert(sl_rows(W) == z->n_cols && sl_numel(y) == z->n_rows * d && (!bias || sl_numel(bias) == d));
    #pragma omp parallel for num_threads(sl_team(k, (g.all + z->n_rows) * d)) schedule(static)
    for (int64_t r = 0; r < z->n_rows; r++) {
        float *to = out + r * d;
        if (bias)
            memcpy(to, bias->data, (size_t)d * sizeof *to);
        else
            memset(to, 0, (size_t)d * sizeof *to);
        add_rows(&g, z->row_ptr[r], z->row_ptr[r + 1], to);
    }
}

/* ---- gradients ---- */

static inline float product(const float *a, const float *b, int64_t n)
{
    vf s0 = vf_set(0), s1 = vf_set(0), s2 = vf_set(0), s3 = vf_set(0);
    int64_t i = 0;
    for (; i + 4 * VW <= n; i += 4 * VW) {
        s0 = vf_fma(vf_load(a + i), vf_load(b + i), s0);
        s1 = vf_fma(vf_load(a + i + VW), vf_load(b + i + VW), s1);
        s2 = vf_fma(vf_load(a + i + 2 * VW), vf_load(b + i + 2 * VW), s2);
        s3 = vf_fma(vf_load(a + i + 3 * VW), vf_load(b + i + 3 * VW), s3);
    }
    for (; i < n; i += VW)
        s0 = vf_fma(vf_get(a + i, n - i), vf_get(b + i, n - i), s0);
    return vf_sum((s0 + s1) + (s2 + s3));
}

void SL_V(sl_simd_sparse_dval)(const sl_kern *k, const sl_csr *z, const sl_tensor *W, const sl_tensor *dy, double beta, sl_tensor *dval)
{
    int64_t d = sl_cols(W);
    gather g = { W->data, NULL, z->idx, d, z->row_ptr[z->n_rows] };
    const float *dout = dy->data;
    float *out = dval->data, b = (float)beta;
    assert(sl_rows(dy) == z->n_rows && sl_cols(dy) == d && sl_numel(dval) >= g.all);
    #pragma omp parallel for num_threads(sl_team(k, g.all * d)) schedule(static)
    for (int64_t r = 0; r < z->n_rows; r++)
        for (int64_t e = z->row_ptr[r]; e < z->row_ptr[r + 1]; e++) {
            fetch_row(soon(&g, e + 2), d);
            float s = product(dout + r * d, row_at(&g, e), d);
            out[e] = b == 0 ? s : s + b * out[e];
        }
}

/* out [d] += `count` rows from the i-th on: one chain an element, so the bits do not depend on how rows are taken together. */
static inline __attribute__((always_inline)) void add_some(const listed *l, int64_t i, int count, int64_t d, float *out)
{
    const float *const *row = l->row + i, *const *soon = l->row + sl_min64(i + count, l->n - 1);
    int64_t j = 0, ahead = sl_min64(count, l->n - (i + count));
    vf c[8];
    for (int r = 0; r < count; r++)
        c[r] = vf_set(l->c[i + r]);
    for (; j + VW <= d; j += VW) {
        vf s = vf_load(out + j);
        for (int r = 0; r < count; r++)
            s = vf_fma(c[r], vf_load(row[r] + j), s);
        vf_store(out + j, s);
        for (int64_t r = 0; j % 16 == 0 && r < ahead; r++) /* a cache line of each */
            __builtin_prefetch(soon[r] + j);
    }
    for (int r = 0; j < d && r < count; r++)
        vf_put(out + j, vf_fma(c[r], vf_get(row[r] + j, d - j), vf_get(out + j, d - j)), d - j);
}

void SL_V(sl_simd_add_listed)(listed *l, int64_t d, float *out)
{
    int64_t i = 0;
    for (; i + 8 <= l->n; i += 8)
        add_some(l, i, 8, d, out);
    if (i + 4 <= l->n) {
        add_some(l, i, 4, d, out);
        i += 4;
    }
    if (i + 2 <= l->n) {
        add_some(l, i, 2, d, out);
        i += 2;
    }
    if (i < l->n)
        add_some(l, i, 1, d, out);
    l->n = 0;
}

void SL_V(sl_simd_list_places)(listed *l, const sl_csc *z, int64_t f, const float *coef, const float *rows, int64_t d, float *out)
{
    for (int64_t p = z->ptr[f]; p < z->ptr[f + 1]; p++) {
        if (l->n == (int64_t)(sizeof l->c / sizeof *l->c))
            SL_V(sl_simd_add_listed)(l, d, out);
        l->row[l->n] = rows + z->row[p] * d;
        l->c[l->n++] = coef[z->entry[p]];
    }
}

void SL_V(sl_simd_add_places)(const sl_csc *z, int64_t f, const float *coef, const float *rows, int64_t d, float *g)
{
    listed l;
    l.n = 0;
    SL_V(sl_simd_list_places)(&l, z, f, coef, rows, d, g);
    SL_V(sl_simd_add_listed)(&l, d, g);
}

void SL_V(sl_simd_dict_grad)(const sl_kern *k, const sl_csc *z, const sl_tensor *coef, const sl_tensor *rows, sl_tensor *dW, sl_tensor *db)
{
    const float *c = coef->data;
    float *out = dW ? dW->data : NULL, *bias = db ? db->data : NULL;
    int64_t d = sl_cols(rows), all = z->ptr[z->n_cols];
    assert((!dW || (sl_rows(dW) == z->n_cols && sl_cols(dW) == d)) && sl_numel(coef) >= all);
    /* features fire unequally often; each has one owner, whoever it is */
    #pragma omp parallel for num_threads(sl_team(k, all * d)) schedule(dynamic, 16)
    for (int64_t f = 0; f < z->n_cols; f++) {
        if (z->ptr[f] == z->ptr[f + 1])
            continue;
        if (out)
            SL_V(sl_simd_add_places)(z, f, c, rows->data, d, out + f * d);
        double s = 0;
        for (int64_t p = z->ptr[f]; p < z->ptr[f + 1]; p++)
            s += (double)c[z->entry[p]];
        if (bias)
            bias[f] += (float)s;
    }
}

/* ---- dense to CSR ---- */

/* Bit a lane: x > 0. */
static inline uint32_t positive(const float *x, int64_t n)
{
    const vf zero = vf_set(0), one = vf_set(1);
    return vf_not_below(vf_lt(zero, vf_get(x, n), one, zero), one);
}

void SL_V(sl_simd_csr_from_dense)(const sl_kern *k, const sl_tensor *dense, sl_csr *z)
{
    const float *x = dense->data;
    float *val = z->val;
    int64_t rows = sl_rows(dense), F = sl_cols(dense);
    assert(z->n_rows == rows && z->n_cols == F);
    z->row_ptr[0] = 0;
    #pragma omp parallel for num_threads(sl_team(k, rows * F)) schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        int64_t n = 0;
        for (int64_t f = 0; f < F; f += VW)
            n += __builtin_popcount(positive(x + r * F + f, F - f));
        z->row_ptr[r + 1] = n;
    }
    for (int64_t r = 0; r < rows; r++)
        z->row_ptr[r + 1] += z->row_ptr[r];
    assert(z->row_ptr[rows] <= z->capacity);
    #pragma omp parallel for num_threads(sl_team(k, rows * F)) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t f = 0, e = z->row_ptr[r]; f < F; f += VW)
            for (uint32_t hits = positive(x + r * F + f, F - f); hits; hits &= hits - 1, e++) {
                int64_t at = f + __builtin_ctz(hits);
                z->idx[e] = (int32_t)at;
                val[e] = x[r * F + at];
            }
}
