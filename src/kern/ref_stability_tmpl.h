/* ref: codes of rows and of perturbed rows beside each other, and the noise. */
#include "kern/ref_common_tmpl.h"

static void csr_minus(const sl_kern *k, const sl_csr *a, const sl_csr *b, sl_csr *out)
{
    const REAL *va = a->val;
    REAL *o = out->val;
    int64_t n = 0;
    (void)k;
    assert(a->n_rows == b->n_rows && out->n_rows == a->n_rows);
    out->row_ptr[0] = 0;
    for (int64_t r = 0; r < a->n_rows; r++) {
        for (int64_t e = a->row_ptr[r], q = b->row_ptr[r]; e < a->row_ptr[r + 1]; e++) {
            while (q < b->row_ptr[r + 1] && b->idx[q] < a->idx[e])
                q++;
            if (q < b->row_ptr[r + 1] && b->idx[q] == a->idx[e])
                continue;
            out->idx[n] = a->idx[e];
            o[n++] = va[e];
        }
        out->row_ptr[r + 1] = n;
    }
    assert(n <= out->capacity);
}

/* Is entry e among the `limit` largest of its row from .. to? */
static bool among_largest(const REAL *v, int64_t from, int64_t to, int64_t e, int64_t limit)
{
    int64_t before = 0;
    for (int64_t i = from; i < to; i++)
        before += v[i] > v[e] || (v[i] == v[e] && i < e);
    return before < limit;
}

static void csr_keep_rows(const sl_kern *k, const sl_csr *in, const sl_tensor *limit, sl_csr *out)
{
    const REAL *v = in->val;
    const int32_t *most = ids_of(limit);
    REAL *o = out->val;
    int64_t n = 0;
    (void)k;
    assert(out->n_rows == in->n_rows && sl_numel(limit) == in->n_rows);
    out->row_ptr[0] = 0;
    for (int64_t r = 0; r < in->n_rows; r++) {
        int64_t from = in->row_ptr[r], to = in->row_ptr[r + 1];
        for (int64_t e = from; e < to; e++)
            if (to - from <= most[r] || among_largest(v, from, to, e, most[r])) {
                out->idx[n] = in->idx[e];
                o[n++] = v[e];
            }
        out->row_ptr[r + 1] = n;
    }
    assert(n <= out->capacity);
}

static double row_sq(const sl_csr *z, int64_t r)
{
    const REAL *v = z->val;
    double sq = 0;
    for (int64_t e = z->row_ptr[r]; e < z->row_ptr[r + 1]; e++)
        sq += (double)v[e] * (double)v[e];
    return sq;
}

static void csr_row_weights(const sl_kern *k, const sl_csr *z, const sl_csr *clean, const sl_tensor *keep, sl_tensor *w)
{
    const uint8_t *on = keep->data;
    REAL *o = real(w);
    double mean = 0, kept = 0;
    (void)k;
    assert(keep->dtype == SL_U8 && sl_numel(keep) == z->n_rows && sl_numel(w) == z->n_rows && clean->n_rows == z->n_rows);
    for (int64_t r = 0; r < z->n_rows; r++) {
        mean += row_sq(clean, r) / (double)z->n_rows;
        kept += on[r];
    }
    for (int64_t r = 0; r < z->n_rows; r++) {
        double unit = (row_sq(z, r) + 1e-3 * mean) * kept;
        o[r] = (REAL)(on[r] && unit > 0 ? 1 / unit : 0);
    }
}

static double csr_residual(const sl_kern *k, const sl_csr *p, const sl_csr *z, const sl_tensor *w, sl_tensor *u)
{
    const REAL *vp = p->val, *vz = z->val, *weight = real(w);
    REAL *o = real(u);
    double sum = 0;
    (void)k;
    assert(p->n_rows == z->n_rows && sl_numel(w) == p->n_rows && sl_numel(u) >= p->row_ptr[p->n_rows]);
    for (int64_t r = 0; r < p->n_rows; r++)
        for (int64_t e = p->row_ptr[r], q = z->row_ptr[r]; e < p->row_ptr[r + 1]; e++) {
            while (q < z->row_ptr[r + 1] && z->idx[q] < p->idx[e])
                q++;
            bool both = q < z->row_ptr[r + 1] && z->idx[q] == p->idx[e];
            double v = (double)vp[e] - (both ? (double)vz[q] : 0);
            o[e] = (REAL)((double)weight[r] * v);
            sum += (double)weight[r] * v * v;
        }
    return sum;
}

static void csr_col_weights(const sl_kern *k, const sl_csr *z, const sl_tensor *w, sl_tensor *c)
{
    const REAL *weight = real(w);
    REAL *o = real(c);
    (void)k;
    assert(sl_numel(w) == z->n_rows && sl_numel(c) == z->n_cols);
    memset(o, 0, (size_t)z->n_cols * sizeof *o);
    for (int64_t r = 0; r < z->n_rows; r++)
        for (int64_t e = z->row_ptr[r]; e < z->row_ptr[r + 1]; e++)
            o[z->idx[e]] += weight[r];
}

/* Pairs of Box and Muller, both kept; 24 bits a uniform number, the first one never 0. */
static void noise_row(sl_rng *g, bool uniform, int64_t d, REAL *y)
{
    for (int64_t j = 0; j < d; j += 2) {
        float a = (float)(sl_rng_u32(g) >> 8) * 0x1p-24f, b = (float)(sl_rng_u32(g) >> 8) * 0x1p-24f;
        float length = uniform ? 0 : sqrtf(-2 * logf(a + 0x1p-25f)), turn = 6.2831853f * b;
        y[j] = (REAL)(uniform ? 2 * a - 1 : length * cosf(turn));
        if (j + 1 < d)
            y[j + 1] = (REAL)(uniform ? 2 * b - 1 : length * sinf(turn));
    }
}

static void noise_rows(const sl_kern *k, uint64_t seed, uint64_t step, int64_t first, int view, bool uniform, sl_tensor *y)
{
    int64_t B = sl_rows(y), d = sl_cols(y);
    REAL *o = real(y);
    #pragma omp parallel for num_threads(sl_team(k, B * d * 16)) schedule(static)
    for (int64_t r = 0; r < B; r++) {
        sl_rng g = sl_rng_at(seed, SL_RNG_NOISE, step, (uint64_t)(first + r) * 256 + (uint64_t)view);
        noise_row(&g, uniform, d, o + r * d);
    }
}
