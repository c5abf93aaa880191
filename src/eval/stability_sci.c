/* Semantic consistency beyond single latents, and distances between distributions (science.md B7).
 *   sci_sem  mean over alive latents of Spearman between their mean activation by class (token; true feature that is on), clean and perturbed;
 *            classes with LEAST rows
 *   sci_rsa  Pearson between the upper triangles of the matrices of correlations among latents, clean and perturbed; of the MOST latents that
 *            fire most often
 *   ks_magnitude, ks_rate   Kolmogorov-Smirnov distance of the active values, and of the alive latents' firing rates; no p value: samples are huge */
#include "eval/stability.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST = 5, MOST = 1024 };

/* ---- ranks ---- */

static int rising(const void *a, const void *b)
{
    const sl_ranked *x = a, *y = b;
    return x->v != y->v ? (x->v > y->v) - (x->v < y->v) : (x->i > y->i) - (x->i < y->i);
}

void sl_ranks(const double *v, int64_t n, double *rank, sl_ranked *room)
{
    for (int64_t i = 0; i < n; i++)
        room[i] = (sl_ranked){ v[i], i };
    qsort(room, (size_t)n, sizeof *room, rising);
    for (int64_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && room[end].v == room[i].v; end++)
            ;
        for (int64_t k = i; k < end; k++)
            rank[room[k].i] = (double)(i + 1 + end) / 2;
    }
}

double sl_pearson_of(const double *a, const double *b, int64_t n)
{
    sl_latent_sums s = { 0 };
    double mean_a = 0, mean_b = 0;
    for (int64_t i = 0; i < n; i++) {
        mean_a += a[i];
        mean_b += b[i];
    }
    mean_a /= (double)n;
    mean_b /= (double)n;
    for (int64_t i = 0; i < n; i++) {
        double x = a[i] - mean_a, y = b[i] - mean_b;
        s.zz += x * x;
        s.pp += y * y;
        s.zp += x * y;
    }
    if (!(s.zz > 1e-18 * (double)n * mean_a * mean_a))
        return NAN;
    return s.pp > 1e-18 * (double)n * mean_b * mean_b ? s.zp / sqrt(s.zz * s.pp) : 0;
}

/* ---- by class ---- */

typedef struct by_class {
    const sl_tally *t;
    int64_t n, used;            /* classes; those with LEAST valid rows */
    int64_t *rows;              /* [n] valid rows of each */
    int32_t *slot;              /* [n] place of a class among the used ones, -1 */
    double *mean[2], *rank[2];  /* [used] */
    sl_ranked *room;
} by_class;

static sl_status by_class_new(sl_ctx *ctx, const sl_tally *t, by_class *k, sl_err *err)
{
    const sl_sparse *of = &t->c->classes;
    *k = (by_class){ .t = t, .n = of->n_cols };
    k->rows = sl_alloc(ctx, (size_t)k->n * sizeof *k->rows);
    k->slot = sl_alloc(ctx, (size_t)k->n * sizeof *k->slot);
    SL_TRY(sl_have("classes", 2, (const void *const[]){ k->rows, k->slot }, err));
    for (int64_t r = 0; r < of->n_rows; r++)
        for (int64_t e = of->row_ptr[r]; sl_row_counts(t->c, r) && e < of->row_ptr[r + 1]; e++)
            k->rows[of->idx[e]]++;
    for (int64_t i = 0; i < k->n; i++)
        k->slot[i] = k->rows[i] >= LEAST ? (int32_t)k->used++ : -1;
    for (int64_t i = 0; i < k->n; i++)
        if (k->slot[i] >= 0)
            k->rows[k->slot[i]] = k->rows[i]; /* slot[i] <= i */
    size_t bytes = (size_t)k->used * sizeof(double);
    for (int s = 0; s < 2; s++) {
        k->mean[s] = sl_alloc(ctx, bytes);
        k->rank[s] = sl_alloc(ctx, bytes);
    }
    k->room = sl_alloc(ctx, (size_t)k->used * sizeof *k->room);
    return sl_have("classes", 5, (const void *const[]){ k->mean[0], k->mean[1], k->rank[0], k->rank[1], k->room }, err);
}

static void by_class_release(sl_ctx *ctx, by_class *k)
{
    for (int s = 0; s < 2; s++) {
        sl_free(ctx, k->mean[s]);
        sl_free(ctx, k->rank[s]);
    }
    sl_free(ctx, k->rows);
    sl_free(ctx, k->slot);
    sl_free(ctx, k->room);
}

/* Mean value of a latent in each used class. */
static void class_means(const by_class *k, const sl_columns *z, int64_t j, double *mean)
{
    const sl_sparse *of = &k->t->c->classes;
    memset(mean, 0, (size_t)k->used * sizeof *mean);
    for (int64_t i = z->ptr[j]; i < z->ptr[j + 1]; i++) {
        int64_t r = z->row[i];
        for (int64_t e = of->row_ptr[r]; sl_row_counts(k->t->c, r) && e < of->row_ptr[r + 1]; e++)
            if (k->slot[of->idx[e]] >= 0)
                mean[k->slot[of->idx[e]]] += (double)z->val[i];
    }
    for (int64_t c = 0; c < k->used; c++)
        mean[c] /= (double)k->rows[c];
}

static sl_status sum_semantic(sl_ctx *ctx, by_class *k, double *sum, int64_t *n, sl_err *err)
{
    sl_columns z = { 0 }, p = { 0 };
    sl_status st;
    *sum = 0;
    *n = 0;
    SL_GO(sl_columns_new(ctx, &k->t->c->clean, &z, err));
    SL_GO(sl_columns_new(ctx, &k->t->c->perturbed, &p, err));
    for (int64_t j = 0; j < z.n_cols; j++) {
        if (!sl_latent_alive(k->t, j))
            continue;
        class_means(k, &z, j, k->mean[0]);
        class_means(k, &p, j, k->mean[1]);
        for (int s = 0; s < 2; s++)
            sl_ranks(k->mean[s], k->used, k->rank[s], k->room);
        double rho = sl_pearson_of(k->rank[0], k->rank[1], k->used);
        *sum += isnan(rho) ? 0 : rho;
        *n += !isnan(rho);
    }
done:
    sl_columns_release(ctx, &z);
    sl_columns_release(ctx, &p);
    return st;
}

sl_status sl_put_semantic(sl_ctx *ctx, const sl_tally *t, sl_metrics *out, sl_err *err)
{
    by_class k;
    double sum;
    int64_t n;
    sl_status st;
    if (!t->c->classes.row_ptr)
        return sl_metrics_null(ctx, out, "sci_sem", "rows have neither tokens nor true features", err);
    SL_GO(by_class_new(ctx, t, &k, err));
    SL_GO(sum_semantic(ctx, &k, &sum, &n, err));
    SL_GO(k.used >= 3 && n > 0 ? sl_metrics_put(ctx, out, "sci_sem", sum / (double)n, n, err)
                               : sl_metrics_null(ctx, out, "sci_sem", "too few classes have enough rows, or no latent tells them apart", err));
done:
    by_class_release(ctx, &k);
    return st;
}

/* ---- geometry ---- */

typedef struct geometry {
    const sl_tally *t;
    int64_t n;                  /* latents compared */
    int32_t *slot;              /* [n_cols] place of a latent among them, -1 */
    int32_t *latent;            /* [n] */
    double *prod[2];            /* [n, n] upper triangles: sum z_i z_j, clean and perturbed */
    double *sum[2];             /* [n] */
} geometry;

/* The alive latents that fire most: ties by index. */
static sl_status choose(sl_ctx *ctx, geometry *g, sl_err *err)
{
    int64_t m = g->t->c->clean.n_cols;
    sl_ranked *all = sl_alloc(ctx, (size_t)m * sizeof *all);
    g->slot = sl_alloc(ctx, (size_t)m * sizeof *g->slot);
    g->latent = sl_alloc(ctx, MOST * sizeof *g->latent);
    sl_status st = sl_have("geometry", 3, (const void *const[]){ all, g->slot, g->latent }, err);
    for (int64_t j = 0; st == SL_OK && j < m; j++) {
        all[j] = (sl_ranked){ -(double)g->t->fired[j], j };
        g->slot[j] = -1;
    }
    if (st == SL_OK)
        qsort(all, (size_t)m, sizeof *all, rising);
    for (int64_t i = 0; st == SL_OK && i < m && i < MOST && sl_latent_alive(g->t, all[i].i); i++) {
        g->slot[all[i].i] = (int32_t)g->n;
        g->latent[g->n++] = (int32_t)all[i].i;
    }
    sl_free(ctx, all);
    return st;
}

static void add_products(const geometry *g, const sl_sparse *z, double *prod, double *sum)
{
    for (int64_t r = 0; r < z->n_rows; r++) {
        if (!sl_row_counts(g->t->c, r))
            continue;
        for (int64_t a = z->row_ptr[r]; a < z->row_ptr[r + 1]; a++) {
            int64_t i = g->slot[z->idx[a]];
            if (i < 0)
                continue;
            sum[i] += (double)z->val[a];
            for (int64_t b = z->row_ptr[r]; b < z->row_ptr[r + 1]; b++)
                if (g->slot[z->idx[b]] >= i)
                    prod[i * g->n + g->slot[z->idx[b]]] += (double)z->val[a] * (double)z->val[b];
        }
    }
}

/* The correlation of latents i < j of one side; 0 where one of them does not vary. */
static double correlation(const geometry *g, int side, int64_t i, int64_t j)
{
    const double *p = g->prod[side], *s = g->sum[side], n = (double)g->t->n_valid;
    double vi = p[i * g->n + i] - s[i] * s[i] / n, vj = p[j * g->n + j] - s[j] * s[j] / n;
    if (!(vi > 1e-9 * p[i * g->n + i]) || !(vj > 1e-9 * p[j * g->n + j]))
        return 0;
    return (p[i * g->n + j] - s[i] * s[j] / n) / sqrt(vi * vj);
}

sl_status sl_put_rsa(sl_ctx *ctx, const sl_tally *t, sl_metrics *out, sl_err *err)
{
    geometry g = { .t = t };
    const sl_sparse *side[2] = { &t->c->clean, &t->c->perturbed };
    sl_latent_sums s = { 0 };
    sl_status st;
    SL_GO(choose(ctx, &g, err));
    for (int k = 0; k < 2; k++) {
        g.prod[k] = sl_alloc(ctx, (size_t)(g.n * g.n) * sizeof(double));
        g.sum[k] = sl_alloc(ctx, (size_t)g.n * sizeof(double));
        SL_GO(sl_have("geometry", 2, (const void *const[]){ g.prod[k], g.sum[k] }, err));
        add_products(&g, side[k], g.prod[k], g.sum[k]);
    }
    for (int64_t i = 0; i < g.n; i++)
        for (int64_t j = i + 1; j < g.n; j++) {
            double z = correlation(&g, 0, i, j), p = correlation(&g, 1, i, j);
            s.z += z;
            s.zz += z * z;
            s.p += p;
            s.pp += p * p;
            s.zp += z * p;
        }
    int64_t pairs = g.n * (g.n - 1) / 2;
    double r = pairs >= 3 ? sl_latent_pearson((double)pairs, &s) : NAN;
    SL_GO(isnan(r) ? sl_metrics_null(ctx, out, "sci_rsa", "fewer than three latents fire often enough, or they are all alike", err)
                   : sl_metrics_put(ctx, out, "sci_rsa", r, pairs, err));
done:
    for (int k = 0; k < 2; k++) {
        sl_free(ctx, g.prod[k]);
        sl_free(ctx, g.sum[k]);
    }
    sl_free(ctx, g.slot);
    sl_free(ctx, g.latent);
    return st;
}

/* ---- distributions ---- */

/* The active values of the valid rows. */
static int64_t values_of(const sl_tally *t, const sl_sparse *z, double *v)
{
    int64_t n = 0;
    for (int64_t r = 0; r < z->n_rows; r++)
        for (int64_t e = z->row_ptr[r]; sl_row_counts(t->c, r) && e < z->row_ptr[r + 1]; e++)
            if (z->val[e] > 0)
                v[n++] = (double)z->val[e];
    return n;
}

static int64_t rates_of(const sl_tally *t, const int64_t *fired, double *v)
{
    int64_t n = 0;
    for (int64_t j = 0; j < t->c->clean.n_cols; j++)
        if (sl_latent_alive(t, j))
            v[n++] = (double)fired[j] / (double)t->n_valid;
    return n;
}

static sl_status put_ks(sl_ctx *ctx, const char *name, const double *a, int64_t n_a, const double *b, int64_t n_b, const char *none, sl_metrics *out, sl_err *err)
{
    double d;
    if (n_a < 1 || n_b < 1)
        return sl_metrics_null(ctx, out, name, none, err);
    SL_TRY(sl_ks(ctx, a, n_a, b, n_b, &d, err));
    return sl_metrics_put(ctx, out, name, d, n_a, err);
}

sl_status sl_put_distances(sl_ctx *ctx, const sl_tally *t, sl_metrics *out, sl_err *err)
{
    const sl_sparse *z = &t->c->clean, *p = &t->c->perturbed;
    int64_t m = z->n_cols, most_z = z->row_ptr[z->n_rows], most_p = p->row_ptr[p->n_rows];
    double *a = sl_alloc(ctx, (size_t)(most_z > m ? most_z : m) * sizeof *a), *b = sl_alloc(ctx, (size_t)(most_p > m ? most_p : m) * sizeof *b);
    sl_status st;
    SL_GO(sl_have("distributions", 2, (const void *const[]){ a, b }, err));
    int64_t n_a = values_of(t, z, a), n_b = values_of(t, p, b);
    SL_GO(put_ks(ctx, "ks_magnitude", a, n_a, b, n_b, "nothing was active", out, err));
    n_a = rates_of(t, t->fired, a);
    n_b = rates_of(t, t->fired_perturbed, b);
    SL_GO(put_ks(ctx, "ks_rate", a, n_a, b, n_b, "no latent fires often enough", out, err));
done:
    sl_free(ctx, a);
    sl_free(ctx, b);
    return st;
}
