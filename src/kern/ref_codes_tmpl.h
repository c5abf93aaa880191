/* ref: sparse codes made of other sparse codes. Serial: what they touch is small beside the product that made the codes. */
#include "kern/ref_common_tmpl.h"

/* Moves the n-th largest (from 0) of v [len] to v[n], nothing smaller before it, nothing larger after it. */
static void select_nth(REAL *v, int64_t len, int64_t n)
{
    int64_t lo = 0, hi = len - 1;
    while (lo < hi) {
        REAL pivot = v[lo + (hi - lo) / 2];
        int64_t i = lo, j = hi;
        while (i <= j) {
            while (v[i] > pivot)
                i++;
            while (v[j] < pivot)
                j--;
            if (i <= j) {
                REAL swap = v[i];
                v[i++] = v[j];
                v[j--] = swap;
            }
        }
        if (n <= j)
            hi = j;
        else if (n >= i)
            lo = i;
        else
            return;
    }
}

/* Entries above `least` and the first `ties` of those equal to it. Returns whether no row of per_row entries keeps them all. */
static bool keep_from(const sl_csr *in, int64_t per_row, REAL least, int64_t ties, sl_csr *out)
{
    const REAL *v = in->val;
    REAL *to = out->val;
    int64_t n = 0;
    bool whole = true;
    out->row_ptr[0] = 0;
    for (int64_t r = 0; r < in->n_rows; r++) {
        for (int64_t e = in->row_ptr[r]; e < in->row_ptr[r + 1]; e++) {
            if (!(v[e] > least) && !(v[e] == least && ties > 0))
                continue;
            ties -= v[e] == least;
            out->idx[n] = in->idx[e];
            to[n++] = v[e];
        }
        out->row_ptr[r + 1] = n;
        whole = whole && !(n - out->row_ptr[r] == per_row && per_row < in->n_cols);
    }
    return whole;
}

static bool csr_keep_largest(const sl_kern *k, const sl_csr *in, int64_t per_row, int64_t total, sl_csr *out)
{
    int64_t n = in->row_ptr[in->n_rows];
    assert(out->n_rows == in->n_rows && total >= 1 && out->capacity >= (n < total ? n : total));
    if (n <= total)
        return keep_from(in, per_row, 0, 0, out); /* values are positive */
    REAL *v = sl_kern_scratch(k, SL_SCRATCH_ENTRY, (size_t)n * sizeof *v);
    if (!v)
        return true;
    memcpy(v, in->val, (size_t)n * sizeof *v);
    select_nth(v, n, total - 1);
    int64_t ties = 0;
    for (int64_t i = 0; i < total; i++)
        ties += v[i] == v[total - 1];
    return keep_from(in, per_row, v[total - 1], ties, out);
}

static void csr_slice(const sl_kern *k, const sl_csr *in, int64_t from, int64_t to, sl_csr *out)
{
    const REAL *v = in->val;
    REAL *o = out->val;
    int64_t n = 0;
    (void)k;
    assert(out->n_rows == in->n_rows);
    out->row_ptr[0] = 0;
    for (int64_t r = 0; r < in->n_rows; r++) {
        for (int64_t e = in->row_ptr[r]; e < in->row_ptr[r + 1]; e++)
            if (in->idx[e] >= from && in->idx[e] < to) {
                out->idx[n] = in->idx[e];
                o[n++] = v[e];
            }
        out->row_ptr[r + 1] = n;
    }
    assert(n <= out->capacity);
}

static void csr_add(const sl_kern *k, const sl_csr *a, const sl_csr *b, sl_csr *out)
{
    const REAL *va = a->val, *vb = b->val;
    REAL *o = out->val;
    int64_t n = 0, i = 0, j = 0;
    (void)k;
    assert(a->n_rows == b->n_rows && a->n_cols == b->n_cols && out->capacity >= a->row_ptr[a->n_rows] + b->row_ptr[b->n_rows]);
    out->row_ptr[0] = 0;
    for (int64_t r = 0; r < a->n_rows; r++) {
        while (i < a->row_ptr[r + 1] || j < b->row_ptr[r + 1]) {
            bool has_a = i < a->row_ptr[r + 1], has_b = j < b->row_ptr[r + 1];
            bool take_a = has_a && (!has_b || a->idx[i] <= b->idx[j]), take_b = has_b && (!has_a || b->idx[j] <= a->idx[i]);
            out->idx[n] = take_a ? a->idx[i] : b->idx[j];
            o[n] = take_a ? va[i++] : 0;
            o[n++] += take_b ? vb[j++] : 0;
        }
        out->row_ptr[r + 1] = n;
    }
}

static void csr_pick(const sl_kern *k, const sl_csr *from, const sl_tensor *val, const sl_csr *to, sl_tensor *out)
{
    const REAL *v = real(val);
    REAL *o = real(out);
    (void)k;
    assert(from->n_rows == to->n_rows);
    for (int64_t r = 0; r < to->n_rows; r++)
        for (int64_t e = to->row_ptr[r], q = from->row_ptr[r]; e < to->row_ptr[r + 1]; e++) {
            while (q < from->row_ptr[r + 1] && from->idx[q] < to->idx[e])
                q++;
            if (q < from->row_ptr[r + 1] && from->idx[q] == to->idx[e])
                o[e] += v[q];
        }
}
