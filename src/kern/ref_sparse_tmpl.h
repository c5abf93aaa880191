/* ref: sparse codes. Layout of sl_csr in kern.h; W is feature-major [F, d]. */
#include "kern/ref_common_tmpl.h"

enum { ENCODE_ROWS = 8 }; /* rows that share one reading of W */

/* ---- selection: the largest positive values of a row, value descending, index ascending ---- */

/* true when a comes after b in the order of selection */
static bool later(const REAL *v, int32_t a, int32_t b) { return v[a] < v[b] || (v[a] == v[b] && a > b); }

/* heap[0..n-1] keeps the latest of its members on top; moves member i down to its place */
static void sift_down(const REAL *v, int32_t *heap, int64_t n, int64_t i)
{
    for (;;) {
        int64_t child = 2 * i + 1;
        if (child >= n)
            return;
        if (child + 1 < n && later(v, heap[child + 1], heap[child]))
            child++;
        if (!later(v, heap[child], heap[i]))
            return;
        int32_t t = heap[i];
        heap[i] = heap[child];
        heap[child] = t;
        i = child;
    }
}

/* Writes the selected of v [F] to idx and val, indices ascending; returns how many. idx holds `limit` entries. */
static int64_t select_row(const REAL *v, int64_t F, const uint8_t *skip, int64_t limit, int32_t *idx, REAL *val)
{
    int64_t n = 0;
    if (limit == 0)
        return 0;
    for (int32_t f = 0; f < F; f++) {
        if (!(v[f] > 0) || (skip && skip[f]))
            continue;
        if (n < limit) {
            idx[n++] = f;
            for (int64_t i = n / 2 - 1; n == limit && i >= 0; i--)
                sift_down(v, idx, n, i);
        } else if (later(v, idx[0], f)) {
            idx[0] = f;
            sift_down(v, idx, n, 0);
        }
    }
    if (n == limit) { /* a heap: everything up to its top, read again in order of index */
        int32_t last = idx[0];
        n = 0;
        for (int32_t f = 0; f < F; f++)
            if (v[f] > 0 && !(skip && skip[f]) && !later(v, f, last))
                idx[n++] = f;
    }
    for (int64_t i = 0; i < n; i++)
        val[i] = v[idx[i]];
    return n;
}

/* Pre-activations of rows r0 .. r0 + n - 1 into v [n, F]. */
static void encode_rows(const REAL *x, const REAL *w, const REAL *b, int64_t r0, int64_t n, int64_t F, int64_t d, REAL *v)
{
    for (int64_t f = 0; f < F; f++)
        for (int64_t r = 0; r < n; r++)
            v[r * F + f] = DOT(x + (r0 + r) * d, w + f * d, d) + b[f];
}

/* Closes the gaps between rows from .. from + rows that were written `limit` entries apart; row_ptr[r + 1] holds the count of row r. */
static void compact(sl_csr *z, int64_t from, int64_t rows, int64_t limit)
{
    REAL *val = z->val;
    int64_t start = z->row_ptr[from];
    for (int64_t r = from; r < from + rows; r++) {
        int64_t n = z->row_ptr[r + 1], to = z->row_ptr[r], at = start + (r - from) * limit;
        memmove(z->idx + to, z->idx + at, (size_t)n * sizeof *z->idx);
        memmove(val + to, val + at, (size_t)n * sizeof *val);
        z->row_ptr[r + 1] = to + n;
    }
}

static void encode_topk(const sl_kern *k, const sl_tensor *x, const sl_tensor *W, const sl_tensor *b, const sl_tensor *skip,
                        int64_t n_active, sl_csr *z)
{
    const REAL *in = real(x), *w = real(W), *bias = real(b);
    const uint8_t *no = skip ? skip->data : NULL;
    REAL *val = z->val;
    int64_t B = sl_rows(x), F = sl_rows(W), d = sl_cols(W), limit = at_most(n_active, F), share = ENCODE_ROWS * F;
    assert(sl_cols(x) == d && sl_numel(b) == F && z->n_rows == B && z->n_cols == F && z->capacity >= B * limit);
    assert(!skip || (skip->dtype == SL_U8 && sl_numel(skip) == F));
    REAL *scratch = sl_kern_scratch(k, SL_SCRATCH_ROWS, (size_t)(k->n_threads * share) * sizeof(REAL));
    if (!scratch) {
        memset(z->row_ptr, 0, (size_t)(B + 1) * sizeof *z->row_ptr);
        return;
    }
    #pragma omp parallel for num_threads(sl_team(k, B * F * d)) schedule(static)
    for (int64_t t = 0; t < (B + ENCODE_ROWS - 1) / ENCODE_ROWS; t++) {
        REAL *v = scratch + omp_get_thread_num() * share;
        int64_t r0 = t * ENCODE_ROWS, n = at_most(ENCODE_ROWS, B - r0);
        encode_rows(in, w, bias, r0, n, F, d, v);
        for (int64_t r = r0; r < r0 + n; r++)
            z->row_ptr[r + 1] = select_row(v + (r - r0) * F, F, no, limit, z->idx + r * limit, val + r * limit);
    }
    z->row_ptr[0] = 0;
    compact(z, 0, B, limit);
}

/* Knows nothing, so that whoever encodes beside these rows starts anew. */
static void encode_topk_keep(const sl_kern *k, const sl_tensor *x, const sl_tensor *W, const sl_tensor *b, int64_t n_active, sl_bounds *keep, sl_csr *z)
{
    memset(keep->top, 255, (size_t)(sl_rows(x) * sl_rows(W)));
    memset(keep->unit, 0, (size_t)sl_rows(x) * sizeof *keep->unit);
    keep->w_norm = keep->b_max = INFINITY;
    encode_topk(k, x, W, b, NULL, n_active, z);
}

static void encode_moved(const sl_kern *k, const sl_moved *m, const sl_tensor *x2, const sl_tensor *W, const sl_tensor *b, int64_t n_active, sl_csr *z)
{
    (void)m;
    encode_topk(k, x2, W, b, NULL, n_active, z);
}

static void csr_topk(const sl_kern *k, const sl_tensor *dense, int64_t most, int64_t row0, sl_csr *z)
{
    const REAL *v = real(dense);
    REAL *val = z->val;
    int64_t rows = sl_rows(dense), F = sl_cols(dense), limit = at_most(most, F), start = row0 ? z->row_ptr[row0] : 0;
    assert(row0 + rows <= z->n_rows && z->n_cols == F && z->capacity >= start + rows * limit);
    #pragma omp parallel for num_threads(sl_team(k, rows * F)) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        z->row_ptr[row0 + r + 1] = select_row(v + r * F, F, NULL, limit, z->idx + start + r * limit, val + start + r * limit);
    z->row_ptr[row0] = start;
    compact(z, row0, rows, limit);
}

static void csc_of_mask(const sl_kern *k, const sl_tensor *skip, sl_csc *t, sl_tensor *ids)
{
    const uint8_t *no = skip->data;
    int32_t *id = ids->data, n = 0;
    (void)k;
    assert(t->n_cols == sl_numel(skip) && sl_numel(ids) == t->n_cols);
    t->ptr[0] = 0;
    for (int64_t f = 0; f < t->n_cols; f++) {
        if (!no[f]) {
            t->entry[n] = t->row[n] = n;
            id[n++] = (int32_t)f;
        }
        t->ptr[f + 1] = n;
    }
}

static void encode_at(const sl_kern *k, const sl_tensor *x, const sl_tensor *W, const sl_tensor *b, sl_csr *z)
{
    const REAL *in = real(x), *w = real(W), *bias = real(b);
    REAL *val = z->val;
    int64_t d = sl_cols(W);
    assert(sl_cols(x) == d && sl_rows(x) == z->n_rows && sl_rows(W) == z->n_cols);
    #pragma omp parallel for num_threads(sl_team(k, z->row_ptr[z->n_rows] * d)) schedule(static)
    for (int64_t r = 0; r < z->n_rows; r++)
        for (int64_t e = z->row_ptr[r]; e < z->row_ptr[r + 1]; e++)
            val[e] = DOT(in + r * d, w + z->idx[e] * d, d) + bias[z->idx[e]];
}

/* ---- dense <-> sparse ---- */

static void csr_from_dense(const sl_kern *k, const sl_tensor *dense, sl_csr *z)
{
    const REAL *x = real(dense);
    REAL *val = z->val;
    int64_t rows = sl_rows(dense), F = sl_cols(dense);
    assert(z->n_rows == rows && z->n_cols == F);
    z->row_ptr[0] = 0;
    #pragma omp parallel for num_threads(sl_team(k, rows * F)) schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        int64_t n = 0;
        for (int64_t f = 0; f < F; f++)
            n += x[r * F + f] > 0;
        z->row_ptr[r + 1] = n;
    }
    for (int64_t r = 0; r < rows; r++)
        z->row_ptr[r + 1] += z->row_ptr[r];
    assert(z->row_ptr[rows] <= z->capacity);
    #pragma omp parallel for num_threads(sl_team(k, rows * F)) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t f = 0, e = z->row_ptr[r]; f < F; f++)
            if (x[r * F + f] > 0) {
                z->idx[e] = (int32_t)f;
                val[e++] = x[r * F + f];
            }
}

static void csr_to_dense(const sl_kern *k, const sl_csr *z, sl_tensor *dense)
{
    REAL *x = real(dense);
    const REAL *val = z->val;
    int64_t F = sl_cols(dense);
    assert(z->n_rows == sl_rows(dense) && z->n_cols == F);
    #pragma omp parallel for num_threads(sl_team(k, z->n_rows * F)) schedule(static)
    for (int64_t r = 0; r < z->n_rows; r++) {
        for (int64_t f = 0; f < F; f++)
            x[r * F + f] = 0;
        for (int64_t e = z->row_ptr[r]; e < z->row_ptr[r + 1]; e++)
            x[r * F + z->idx[e]] = val[e];
    }
}

/* ---- decoding and gradients ---- */

static void sparse_decode(const sl_kern *k, const sl_csr *z, const sl_tensor *W, const sl_tensor *bias, sl_tensor *y)
{
    const REAL *w = real(W), *b = bias ? real(bias) : NULL, *val = z->val;
    REAL *o = real(y);
    int64_t d = sl_cols(W);
    assert(sl_rows(W) == z->n_cols && sl_numel(y) == z->n_rows * d && (!bias || sl_numel(bias) == d));
    #pragma omp parallel for num_threads(sl_team(k, (z->row_ptr[z->n_rows] + z->n_rows) * d)) schedule(static)
    for (int64_t r = 0; r < z->n_rows; r++)
        for (int64_t j0 = 0; j0 < d; j0 += TILE) {
            double acc[TILE] = { 0 };
            int64_t n = at_most(TILE, d - j0);
            for (int64_t e = z->row_ptr[r]; e < z->row_ptr[r + 1]; e++)
                for (int64_t j = 0; j < n; j++)
                    acc[j] += (double)val[e] * (double)w[z->idx[e] * d + j0 + j];
            for (int64_t j = 0; j < n; j++)
                o[r * d + j0 + j] = (REAL)(acc[j] + (b ? (double)b[j0 + j] : 0));
        }
}

static void sparse_dval(const sl_kern *k, const sl_csr *z, const sl_tensor *W, const sl_tensor *dy, double beta, sl_tensor *dval)
{
    const REAL *w = real(W), *g = real(dy);
    REAL *o = real(dval);
    int64_t d = sl_cols(W);
    assert(sl_rows(dy) == z->n_rows && sl_cols(dy) == d && sl_numel(dval) >= z->row_ptr[z->n_rows]);
    #pragma omp parallel for num_threads(sl_team(k, z->row_ptr[z->n_rows] * d)) schedule(static)
    for (int64_t r = 0; r < z->n_rows; r++)
        for (int64_t e = z->row_ptr[r]; e < z->row_ptr[r + 1]; e++) {
            double s = 0;
            for (int64_t j = 0; j < d; j++)
                s += (double)g[r * d + j] * (double)w[z->idx[e] * d + j];
            o[e] = plus((REAL)s, beta, o + e);
        }
}

static void csr_transpose(const sl_kern *k, const sl_csr *z, sl_csc *t)
{
    (void)k;
    assert(z->n_cols == t->n_cols && z->row_ptr[z->n_rows] <= INT32_MAX);
    memset(t->ptr, 0, (size_t)(z->n_cols + 1) * sizeof *t->ptr);
    for (int64_t e = 0; e < z->row_ptr[z->n_rows]; e++)
        t->ptr[z->idx[e] + 1]++;
    for (int64_t f = 0; f < z->n_cols; f++)
        t->ptr[f + 1] += t->ptr[f];
    for (int64_t r = 0; r < z->n_rows; r++)
        for (int64_t e = z->row_ptr[r]; e < z->row_ptr[r + 1]; e++) {
            int64_t place = t->ptr[z->idx[e]]++;
            t->entry[place] = (int32_t)e;
            t->row[place] = (int32_t)r;
        }
    for (int64_t f = z->n_cols; f > 0; f--) /* filling moved each start to its end */
        t->ptr[f] = t->ptr[f - 1];
    t->ptr[0] = 0;
}

static void dict_grad_row(const sl_csc *t, int64_t f, const REAL *coef, const REAL *rows, int64_t d, REAL *g)
{
    for (int64_t j0 = 0; j0 < d; j0 += TILE) {
        double acc[TILE] = { 0 };
        int64_t n = at_most(TILE, d - j0);
        for (int64_t p = t->ptr[f]; p < t->ptr[f + 1]; p++)
            for (int64_t j = 0; j < n; j++)
                acc[j] += (double)coef[t->entry[p]] * (double)rows[t->row[p] * d + j0 + j];
        for (int64_t j = 0; j < n; j++)
            g[j0 + j] += (REAL)acc[j];
    }
}

static void dict_grad(const sl_kern *k, const sl_csc *z, const sl_tensor *coef, const sl_tensor *rows, sl_tensor *dW, sl_tensor *db)
{
    const REAL *c = real(coef), *x = real(rows);
    REAL *g = dW ? real(dW) : NULL, *gb = db ? real(db) : NULL;
    int64_t d = sl_cols(rows);
    assert(!dW || (sl_rows(dW) == z->n_cols && sl_cols(dW) == d));
    assert(sl_numel(coef) >= z->ptr[z->n_cols]);
    /* features fire unequally often; each has one owner, whoever it is */
    #pragma omp parallel for num_threads(sl_team(k, z->ptr[z->n_cols] * d)) schedule(dynamic, 16)
    for (int64_t f = 0; f < z->n_cols; f++) {
        double s = 0;
        if (z->ptr[f] == z->ptr[f + 1])
            continue;
        if (g)
            dict_grad_row(z, f, c, x, d, g + f * d);
        for (int64_t p = z->ptr[f]; p < z->ptr[f + 1]; p++)
            s += (double)c[z->entry[p]];
        if (gb)
            gb[f] += (REAL)s;
    }
}

static void mix_rows(const sl_kern *k, double s, const sl_tensor *c, const sl_tensor *W, sl_tensor *y)
{
    const REAL *coef = real(c), *w = real(W);
    REAL *o = real(y);
    int64_t F = sl_rows(W), d = sl_cols(W);
    assert(sl_numel(c) == F && sl_numel(y) == d);
    #pragma omp parallel for num_threads(sl_team(k, F * d)) schedule(static)
    for (int64_t j = 0; j < d; j++) {
        double sum = 0;
        for (int64_t f = 0; f < F; f++)
            sum += (double)coef[f] * (double)w[f * d + j];
        o[j] += (REAL)(s * sum);
    }
}
