/* Interactions found afterwards in any SAE (science.md D4): does z_i z_j predict latent l beyond 1, z_i and z_j? Partial R^2 over five folds of
 * documents, 1 - SSE(1, z_i, z_j, z_i z_j) / SSE(1, z_i, z_j) on held-out rows. Everything comes from moments a fold, so that no row is read twice a pair. */
#include "eval/compose.h"

#include <math.h>
#include <string.h>

enum { FOLDS = 5, TERMS = 4, MOST_LATENTS = 2048 };

typedef struct hit { double score; int32_t i, j, l; } hit;

typedef struct search {
    const sl_eval_data *d;
    sl_columns z;
    uint8_t *fold;          /* [n_rows] */
    double rows[FOLDS];
    double *sum;            /* [FOLDS, m] */
    double *gram;           /* [FOLDS, m, m] sum z_i z_l */
    double *with;           /* [FOLDS, m] sum z_i z_j z_l of the pair at hand */
    int32_t *seen, *near;   /* [m] rows of the pair in which l fires; those l */
    int64_t n_near, min_rows, top, n_hits;
    hit *best;              /* [top] by falling score */
} search;

static void moments(search *k)
{
    const sl_sparse *z = &k->d->z;
    int64_t m = k->d->d_sae;
    for (int64_t r = 0; r < z->n_rows; r++) {
        int64_t f = k->fold[r];
        k->rows[f]++;
        for (int64_t a = z->row_ptr[r]; a < z->row_ptr[r + 1]; a++) {
            k->sum[f * m + z->idx[a]] += (double)z->val[a];
            for (int64_t b = z->row_ptr[r]; b < z->row_ptr[r + 1]; b++)
                k->gram[(f * m + z->idx[a]) * m + z->idx[b]] += (double)z->val[a] * (double)z->val[b];
        }
    }
}

/* Moments [FOLDS][TERMS][TERMS] of 1, z_i, z_j, z_i z_j; fills with, seen and near from the rows of the pair. */
static void pair_moments(search *k, const sl_pair *p, double g[FOLDS][TERMS][TERMS])
{
    int64_t m = k->d->d_sae, a = k->z.ptr[p->i], b = k->z.ptr[p->j];
    memset(g, 0, FOLDS * sizeof g[0]);
    k->n_near = 0;
    while (a < k->z.ptr[p->i + 1] && b < k->z.ptr[p->j + 1]) {
        int32_t ra = k->z.row[a], rb = k->z.row[b];
        if (ra == rb) {
            double x = (double)k->z.val[a], y = (double)k->z.val[b];
            int64_t f = k->fold[ra];
            g[f][1][3] += x * x * y;
            g[f][2][3] += x * y * y;
            g[f][3][3] += x * y * x * y;
            for (int64_t e = k->d->z.row_ptr[ra]; e < k->d->z.row_ptr[ra + 1]; e++) {
                int32_t l = k->d->z.idx[e];
                if (k->seen[l]++ == 0)
                    k->near[k->n_near++] = l;
                k->with[f * m + l] += x * y * (double)k->d->z.val[e];
            }
        }
        a += ra <= rb;
        b += rb <= ra;
    }
    for (int64_t f = 0; f < FOLDS; f++) {
        const double *row = k->gram + (f * m + p->i) * m;
        g[f][0][0] = k->rows[f];
        g[f][0][1] = k->sum[f * m + p->i];
        g[f][0][2] = k->sum[f * m + p->j];
        g[f][0][3] = g[f][1][2] = row[p->j];
        g[f][1][1] = row[p->i];
        g[f][2][2] = k->gram[(f * m + p->j) * m + p->j];
        for (int s = 0; s < TERMS; s++)
            for (int t = 0; t < s; t++)
                g[f][s][t] = g[f][t][s];
    }
}

/* Cholesky of all folds but f. Its leading 3 x 3 is that of the model without the product. */
static void factor(double g[FOLDS][TERMS][TERMS], int f, double L[TERMS][TERMS])
{
    for (int s = 0; s < TERMS; s++)
        for (int t = 0; t <= s; t++) {
            double v = 0;
            for (int o = 0; o < FOLDS; o++)
                v += o != f ? g[o][s][t] : 0;
            if (s == t)
                v = v * (1 + 1e-9) + 1e-30;
            for (int u = 0; u < t; u++)
                v -= L[s][u] * L[t][u];
            L[s][t] = s == t ? sqrt(fmax(v, 1e-30)) : v / L[t][t];
        }
}

/* Squared error on fold f of the model of the first n terms: c those terms with z_l over the other folds, own over fold f. */
static double held_out(double L[TERMS][TERMS], double g[TERMS][TERMS], const double *c, const double *own, double square, int n)
{
    double y[TERMS], w[TERMS], left = square;
    for (int s = 0; s < n; s++) {
        y[s] = c[s];
        for (int t = 0; t < s; t++)
            y[s] -= L[s][t] * y[t];
        y[s] /= L[s][s];
    }
    for (int s = n - 1; s >= 0; s--) {
        w[s] = y[s];
        for (int t = s + 1; t < n; t++)
            w[s] -= L[t][s] * w[t];
        w[s] /= L[s][s];
    }
    for (int s = 0; s < n; s++) {
        left -= 2 * w[s] * own[s];
        for (int t = 0; t < n; t++)
            left += w[s] * w[t] * g[s][t];
    }
    return left;
}

static double partial_r2(const search *k, const sl_pair *p, int32_t l, double g[FOLDS][TERMS][TERMS], double L[FOLDS][TERMS][TERMS])
{
    int64_t m = k->d->d_sae;
    double own[FOLDS][TERMS], all[TERMS] = { 0 }, without = 0, with = 0;
    for (int64_t f = 0; f < FOLDS; f++) {
        const double *row = k->gram + (f * m + l) * m;
        double of_fold[TERMS] = { k->sum[f * m + l], row[p->i], row[p->j], k->with[f * m + l] };
        for (int t = 0; t < TERMS; t++) {
            own[f][t] = of_fold[t];
            all[t] += of_fold[t];
        }
    }
    for (int64_t f = 0; f < FOLDS; f++) {
        double c[TERMS], square = k->gram[(f * m + l) * m + l];
        for (int t = 0; t < TERMS; t++)
            c[t] = all[t] - own[f][t];
        without += held_out(L[f], g[f], c, own[f], square, TERMS - 1);
        with += held_out(L[f], g[f], c, own[f], square, TERMS);
    }
    return without > 0 ? 1 - with / without : 0;
}

static void keep(search *k, hit h)
{
    if (!(h.score > 0) || (k->n_hits == k->top && h.score <= k->best[k->n_hits - 1].score))
        return;
    int64_t at = k->n_hits < k->top ? k->n_hits++ : k->n_hits - 1;
    for (; at > 0 && k->best[at - 1].score < h.score; at--)
        k->best[at] = k->best[at - 1];
    k->best[at] = h;
}

static void try_pair(search *k, const sl_pair *p)
{
    double g[FOLDS][TERMS][TERMS], L[FOLDS][TERMS][TERMS];
    int64_t m = k->d->d_sae;
    pair_moments(k, p, g);
    for (int f = 0; f < FOLDS; f++)
        factor(g, f, L[f]);
    for (int64_t e = 0; e < k->n_near; e++) {
        int32_t l = k->near[e];
        if (l != p->i && l != p->j && k->seen[l] >= k->min_rows)
            keep(k, (hit){ partial_r2(k, p, l, g, L), p->i, p->j, l });
        k->seen[l] = 0;
        for (int64_t f = 0; f < FOLDS; f++)
            k->with[f * m + l] = 0;
    }
}

/* Latents as units, whose participants are the pairs that predict them. */
static sl_status units_of(sl_ctx *ctx, const search *k, sl_units *out, sl_err *err)
{
    const sl_sparse *z = &k->d->z;
    int64_t m = k->d->d_sae, nnz = z->row_ptr[z->n_rows];
    int64_t *ptr = sl_alloc(ctx, (size_t)(z->n_rows + 1) * sizeof *ptr);
    int32_t *idx = sl_alloc(ctx, (size_t)nnz * sizeof *idx);
    float *val = sl_alloc(ctx, (size_t)nnz * sizeof *val);
    double *share = sl_alloc(ctx, (size_t)(m * m) * sizeof *share);
    *out = (sl_units){ m, m, { z->n_rows, m, ptr, idx, val }, share };
    SL_TRY(sl_have("post-hoc pairs", 4, (const void *const[]){ ptr, idx, val, share }, err));
    memcpy(ptr, z->row_ptr, (size_t)(z->n_rows + 1) * sizeof *ptr);
    memcpy(idx, z->idx, (size_t)nnz * sizeof *idx);
    memcpy(val, z->val, (size_t)nnz * sizeof *val);
    for (int64_t h = 0; h < k->n_hits; h++) {
        share[k->best[h].l * m + k->best[h].i] += k->best[h].score;
        share[k->best[h].l * m + k->best[h].j] += k->best[h].score;
    }
    for (int64_t l = 0; l < m; l++) {
        double all = 0;
        for (int64_t i = 0; i < m; i++)
            all += share[l * m + i];
        for (int64_t i = 0; all > 0 && i < m; i++)
            share[l * m + i] /= all;
    }
    return SL_OK;
}

sl_status sl_posthoc_units(sl_ctx *ctx, const sl_eval_data *d, int64_t min_rows, int64_t top, sl_units *out, sl_err *err)
{
    search k = { .d = d, .min_rows = min_rows, .top = top };
    size_t m = (size_t)d->d_sae;
    sl_pair *pair = NULL;
    int64_t n = 0;
    *out = (sl_units){ 0 };
    if (d->d_sae > MOST_LATENTS)
        return sl_fail(err, SL_UNAVAILABLE, "post-hoc pairs", NULL, "more than %d latents: no room for their moments", (int)MOST_LATENTS);
    sl_status st;
    SL_GO(sl_columns_new(ctx, &d->z, &k.z, err));
    SL_GO(sl_split_rows(ctx, d, FOLDS, &k.fold, err));
    SL_GO(sl_pairs_of(ctx, &d->z, min_rows, &pair, &n, err));
    k.sum = sl_alloc(ctx, FOLDS * m * sizeof *k.sum);
    k.gram = sl_alloc(ctx, FOLDS * m * m * sizeof *k.gram);
    k.with = sl_alloc(ctx, FOLDS * m * sizeof *k.with);
    k.seen = sl_alloc(ctx, m * sizeof *k.seen);
    k.near = sl_alloc(ctx, m * sizeof *k.near);
    k.best = sl_alloc(ctx, (size_t)top * sizeof *k.best);
    SL_GO(sl_have("post-hoc pairs", 6, (const void *const[]){ k.sum, k.gram, k.with, k.seen, k.near, k.best }, err));
    moments(&k);
    for (int64_t p = 0; p < n; p++)
        try_pair(&k, &pair[p]);
    SL_GO(units_of(ctx, &k, out, err));
done:
    if (st != SL_OK)
        sl_units_release(ctx, out);
    void *const owned[] = { k.best, k.near, k.seen, k.with, k.gram, k.sum, pair, k.fold };
    for (int i = 0; i < 8; i++)
        sl_free(ctx, owned[i]);
    if (k.z.ptr)
        sl_columns_release(ctx, &k.z);
    return st;
}
