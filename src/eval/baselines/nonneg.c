/* Non-negative coefficients of given directions: coordinate descent over all of them, and over the k that are kept. */
#include "eval/baselines/baseline.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum { BLOCK = 16 }; /* rows that one thread takes through a pass side by side: one vector of sums */

/* ---- passes over every coordinate ---- */

/* One pass over n_rows <= BLOCK rows: h_j = max(0, h_j + (b_j - h . g_j) / g_jj), j ascending. ht [m][BLOCK]: the rows, transposed. */
static void pass(const float *g, int64_t m, int64_t n_rows, const float *B, float *ht)
{
    for (int64_t j = 0; j < m; j++) {
        float dot[BLOCK] = { 0 };
        const float *gj = g + j * m;
        if (!(gj[j] > 0))
            continue; /* a direction of zeros explains nothing */
        for (int64_t l = 0; l < m; l++)
            for (int r = 0; r < BLOCK; r++)
                dot[r] += gj[l] * ht[l * BLOCK + r];
        for (int64_t r = 0; r < n_rows; r++) {
            float h = ht[j * BLOCK + r] + (B[r * m + j] - dot[r]) / gj[j];
            ht[j * BLOCK + r] = h > 0 ? h : 0;
        }
    }
}

static void turn(float *rows, int64_t n_rows, int64_t m, float *ht, bool back)
{
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t j = 0; j < m; j++)
            if (back)
                rows[r * m + j] = ht[j * BLOCK + r];
            else
                ht[j * BLOCK + r] = rows[r * m + j];
}

sl_status sl_nonneg_sweeps(sl_baseline *b, const sl_tensor *g, const sl_tensor *B, sl_tensor *H, int64_t sweeps, sl_err *err)
{
    int64_t n = sl_rows(H), m = sl_cols(H), blocks = (n + BLOCK - 1) / BLOCK;
    int threads = b->kern->n_threads;
    sl_tensor room; /* each thread's rows, transposed */
    SL_TRY(sl_base_matrix(b, "rows", threads * m, BLOCK, &room, err));
    float *h = H->data, *all = room.data;
    const float *targets = B->data;
    #pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < blocks; i++) {
        int64_t r = i * BLOCK, n_rows = n - r < BLOCK ? n - r : BLOCK;
        float *ht = all + omp_get_thread_num() * m * BLOCK;
        memset(ht, 0, (size_t)(m * BLOCK) * sizeof *ht);
        turn(h + r * m, n_rows, m, ht, false);
        for (int64_t s = 0; s < sweeps; s++)
            pass(g->data, m, n_rows, targets + r * m, ht);
        turn(h + r * m, n_rows, m, ht, true);
    }
    sl_free(b->ctx, room.data);
    return SL_OK;
}

/* ---- the k largest, refitted ---- */

/* Ascending indices of the k largest positive of h [m]; how many there are. */
static int64_t largest(const float *h, int64_t m, int64_t k, int32_t *idx)
{
    int64_t n = 0;
    for (int64_t j = 0; j < m; j++) {
        if (!(h[j] > 0) || (n == k && !(h[j] > h[idx[n - 1]])))
            continue;
        int64_t at = n < k ? n++ : n - 1;
        for (; at > 0 && h[j] > h[idx[at - 1]]; at--)
            idx[at] = idx[at - 1];
        idx[at] = (int32_t)j;
    }
    for (int64_t i = 1; i < n; i++) { /* from falling values to rising indices */
        int32_t v = idx[i];
        int64_t at = i;
        for (; at > 0 && idx[at - 1] > v; at--)
            idx[at] = idx[at - 1];
        idx[at] = v;
    }
    return n;
}

/* Coordinate descent on the kept ones until none moves by more than 1e-6 of the largest. */
static void refit(const float *g, int64_t m, const float *target, const int32_t *idx, int64_t n, float *v)
{
    enum { PASSES = 1000 };
    for (int s = 0; s < PASSES; s++) {
        double moved = 0, top = 0;
        for (int64_t i = 0; i < n; i++) {
            const float *gi = g + (int64_t)idx[i] * m;
            double dot = 0;
            for (int64_t l = 0; l < n; l++)
                dot += (double)gi[idx[l]] * (double)v[l];
            double h = gi[idx[i]] > 0 ? (double)v[i] + ((double)target[idx[i]] - dot) / (double)gi[idx[i]] : 0;
            h = h > 0 ? h : 0;
            moved = fmax(moved, fabs(h - (double)v[i]));
            top = fmax(top, h);
            v[i] = (float)h;
        }
        if (moved <= 1e-6 * top)
            return;
    }
}

/* Rows as they are, without their zeros. */
static void take_all(const sl_tensor *H, sl_csr *z)
{
    int64_t n = sl_rows(H), m = sl_cols(H), at = 0;
    const float *h = H->data;
    float *val = z->val;
    z->row_ptr[0] = 0;
    for (int64_t r = 0; r < n; r++) {
        for (int64_t j = 0; j < m; j++)
            if (h[r * m + j] > 0) {
                z->idx[at] = (int32_t)j;
                val[at++] = h[r * m + j];
            }
        z->row_ptr[r + 1] = at;
    }
}

/* Each row's part of z is k long; what refitting made 0 is squeezed out afterwards. */
static void squeeze(const int64_t *count, int64_t n, int64_t k, sl_csr *z)
{
    int64_t at = 0;
    float *val = z->val;
    z->row_ptr[0] = 0;
    for (int64_t r = 0; r < n; r++) {
        for (int64_t e = r * k; e < r * k + count[r]; e++)
            if (val[e] > 0) {
                z->idx[at] = z->idx[e];
                val[at++] = val[e];
            }
        z->row_ptr[r + 1] = at;
    }
}

sl_status sl_nonneg_keep(sl_baseline *b, const sl_tensor *xc, const sl_tensor *H, sl_csr *z, sl_err *err)
{
    int64_t n = sl_rows(H), m = sl_cols(H), k = b->k;
    sl_tensor B = { 0 };
    if (k == 0) {
        take_all(H, z);
        return SL_OK;
    }
    int64_t *count = sl_alloc(b->ctx, (size_t)n * sizeof *count);
    if (!count)
        return sl_fail(err, SL_MEM, "codes", NULL, "no memory for %lld rows", (long long)n);
    sl_status st;
    SL_GO(sl_base_gram(b, &b->W_dec, &b->refit_gram, err));
    SL_GO(sl_base_matrix(b, "rows", n, m, &B, err));
    sl_base_gemm(b->kern, 1, xc, false, &b->W_dec, true, 0, &B);
    const float *h = H->data, *target = B.data;
    float *val = z->val;
    #pragma omp parallel for num_threads(b->kern->n_threads) schedule(static)
    for (int64_t r = 0; r < n; r++) {
        count[r] = largest(h + r * m, m, k, z->idx + r * k);
        for (int64_t i = 0; i < count[r]; i++)
            val[r * k + i] = h[r * m + z->idx[r * k + i]];
        refit(b->refit_gram.data, m, target + r * m, z->idx + r * k, count[r], val + r * k);
    }
    squeeze(count, n, k, z);
done:
    sl_free(b->ctx, count);
    sl_free(b->ctx, B.data);
    return st;
}

sl_status sl_base_gram(sl_baseline *b, const sl_tensor *W, sl_tensor *gram, sl_err *err)
{
    if (gram->data)
        return SL_OK;
    int64_t m = sl_rows(W);
    SL_TRY(sl_base_matrix(b, "products of directions", m, m, gram, err));
    sl_base_gemm(b->kern, 1, W, false, W, true, 0, gram);
    return SL_OK;
}
