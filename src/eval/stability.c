/* Scores of a code against the code of a perturbed row (science.md B7).
 *   fss        1 - sum |z' - z*| / sum (z' + z*), pooled over rows and latents (Bray and Curtis 1957); macro: mean over alive latents of theirs
 *   fss_adj    (fss - fss_perm) / (1 - fss_perm), fss_perm of z' paired with z* of another row
 *   pct_change 100 sum |z' - z*| / sum z*
 *   sci        mean over alive latents of Pearson(z_j, z'_j); 0 for one that no longer varies
 *   jaccard, overlap   mean over rows of |S n S'| / |S u S'| and of |S n S'| / |S|
 * Alive: fires in SL_STABILITY_ALIVE clean rows. Intervals: bootstrap over documents for pooled scores, jackknife over groups of documents for means
 * over latents. */
#include "eval/stability.h"

#include <math.h>

/* ---- checks ---- */

static sl_status check_one(const char *name, const sl_sparse *s, int64_t n_rows, int64_t n_cols, sl_err *err)
{
    if (!s->row_ptr || s->n_rows != n_rows || s->n_cols != n_cols)
        return sl_fail(err, SL_SHAPE, name, "codes of the same shape", "%lld x %lld beside %lld x %lld", (long long)s->n_rows, (long long)s->n_cols, (long long)n_rows, (long long)n_cols);
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t e = s->row_ptr[r]; e < s->row_ptr[r + 1]; e++)
            if (!isfinite(s->val[e]) || s->val[e] < 0)
                return sl_fail(err, SL_NUMERIC, name, "finite numbers, none below 0", "row %lld, column %d is %g", (long long)r, (int)s->idx[e], (double)s->val[e]);
    return SL_OK;
}

static sl_status check(const sl_stability_codes *c, sl_err *err)
{
    int64_t n = c->clean.n_rows, m = c->clean.n_cols;
    if (n < 1 || m < 1)
        return sl_fail(err, SL_DATA, "stability", "at least 1 row of 1 latent", "%lld rows of %lld", (long long)n, (long long)m);
    SL_TRY(check_one("clean codes", &c->clean, n, m, err));
    SL_TRY(check_one("target codes", &c->target, n, m, err));
    return check_one("perturbed codes", &c->perturbed, n, m, err);
}

/* ---- sums ---- */

static void see_entry(sl_tally *t, sl_latent_sums *s, int64_t j, double z, double target, double p)
{
    s[j].diff += fabs(p - target);
    s[j].total += p + target;
    s[j].z += z;
    s[j].zz += z * z;
    s[j].p += p;
    s[j].pp += p * p;
    s[j].zp += z * p;
    t->fired[j] += z > 0;
    t->fired_perturbed[j] += p > 0;
}

/* Walks the three rows side by side: columns ascend in each. */
static void see_row(sl_tally *t, int64_t r)
{
    const sl_sparse *all[3] = { &t->c->clean, &t->c->target, &t->c->perturbed };
    sl_cluster_sums *part = &t->part[t->cluster[r]];
    sl_latent_sums *latent = t->latent + t->cluster[r] % SL_TALLY_GROUPS * all[0]->n_cols;
    int64_t at[3], end[3], both = 0, either = 0, clean = 0;
    for (int i = 0; i < 3; i++) {
        at[i] = all[i]->row_ptr[r];
        end[i] = all[i]->row_ptr[r + 1];
    }
    for (;;) {
        double v[3] = { 0 };
        int32_t j = INT32_MAX;
        for (int i = 0; i < 3; i++)
            j = at[i] < end[i] && all[i]->idx[at[i]] < j ? all[i]->idx[at[i]] : j;
        if (j == INT32_MAX)
            break;
        for (int i = 0; i < 3; i++)
            if (at[i] < end[i] && all[i]->idx[at[i]] == j)
                v[i] = (double)all[i]->val[at[i]++];
        see_entry(t, latent, j, v[0], v[1], v[2]);
        part->diff += fabs(v[2] - v[1]);
        part->total += v[2] + v[1];
        part->target += v[1];
        both += v[0] > 0 && v[2] > 0;
        either += v[0] > 0 || v[2] > 0;
        clean += v[0] > 0;
    }
    part->n_jaccard += either > 0;
    part->jaccard += either > 0 ? (double)both / (double)either : 0;
    part->n_overlap += clean > 0;
    part->overlap += clean > 0 ? (double)both / (double)clean : 0;
}

double sl_latent_pearson(double n, const sl_latent_sums *s)
{
    double vz = s->zz - s->z * s->z / n, vp = s->pp - s->p * s->p / n;
    if (!(vz > 1e-9 * s->zz))
        return NAN;
    return vp > 1e-9 * s->pp ? (s->zp - s->z * s->p / n) / sqrt(vz * vp) : 0;
}

/* Sums of latent j over all groups but one (-1: all); returns their rows. */
static double pool(const sl_tally *t, int64_t j, int without, sl_latent_sums *s)
{
    double rows = 0;
    *s = (sl_latent_sums){ 0 };
    for (int q = 0; q < SL_TALLY_GROUPS; q++) {
        const sl_latent_sums *g = &t->latent[q * t->c->clean.n_cols + j];
        if (q == without)
            continue;
        rows += t->rows[q];
        s->diff += g->diff;
        s->total += g->total;
        s->z += g->z;
        s->zz += g->zz;
        s->p += g->p;
        s->pp += g->pp;
        s->zp += g->zp;
    }
    return rows;
}

static void score_latents(sl_tally *t)
{
    for (int64_t j = 0; j < t->c->clean.n_cols; j++) {
        sl_latent_sums s;
        double rows = pool(t, j, -1, &s);
        bool alive = sl_latent_alive(t, j);
        t->fss[j] = alive && s.total > 0 ? 1 - s.diff / s.total : NAN;
        t->sci[j] = alive ? sl_latent_pearson(rows, &s) : NAN;
    }
}

sl_status sl_tally_new(sl_ctx *ctx, const sl_stability_codes *c, sl_tally *out, sl_err *err)
{
    *out = (sl_tally){ .c = c };
    SL_TRY(check(c, err));
    size_t m = (size_t)c->clean.n_cols;
    out->latent = sl_alloc(ctx, SL_TALLY_GROUPS * m * sizeof *out->latent);
    out->fired = sl_alloc(ctx, m * sizeof *out->fired);
    out->fired_perturbed = sl_alloc(ctx, m * sizeof *out->fired_perturbed);
    out->fss = sl_alloc(ctx, m * sizeof *out->fss);
    out->sci = sl_alloc(ctx, m * sizeof *out->sci);
    SL_TRY(sl_have("stability", 5, (const void *const[]){ out->latent, out->fired, out->fired_perturbed, out->fss, out->sci }, err));
    sl_eval_data d = { .seed = c->seed, .n_rows = c->clean.n_rows, .doc = c->doc, .pos = c->pos };
    SL_TRY(sl_split_rows(ctx, &d, SL_TALLY_CLUSTERS, &out->cluster, err));
    for (int64_t r = 0; r < c->clean.n_rows; r++) {
        if (!sl_row_counts(c, r))
            continue;
        see_row(out, r);
        out->rows[out->cluster[r] % SL_TALLY_GROUPS]++;
        out->n_valid++;
    }
    score_latents(out);
    return SL_OK;
}

void sl_tally_release(sl_ctx *ctx, sl_tally *t)
{
    sl_free(ctx, t->cluster);
    sl_free(ctx, t->latent);
    sl_free(ctx, t->fired);
    sl_free(ctx, t->fired_perturbed);
    sl_free(ctx, t->fss);
    sl_free(ctx, t->sci);
    *t = (sl_tally){ 0 };
}

/* ---- pooled scores ---- */

/* The interval of sum num / sum den beside the metric; from_one: it is 1 - that. num, den: a field of part[0], or laid out like it. None where fewer
 * than two clusters count, or without draws. */
static sl_status put_pooled_interval(sl_ctx *ctx, const sl_tally *t, const char *name, const double *num, const double *den, bool from_one, sl_metrics *out, sl_err *err)
{
    double n[SL_TALLY_CLUSTERS], d[SL_TALLY_CLUSTERS];
    size_t stride = sizeof(sl_cluster_sums) / sizeof(double);
    int64_t used = 0;
    sl_boot b;
    for (size_t k = 0; k < SL_TALLY_CLUSTERS; k++)
        if (den[k * stride] > 0) {
            n[used] = num[k * stride];
            d[used++] = den[k * stride];
        }
    if (used < 2 || t->c->draws < 2)
        return SL_OK;
    SL_TRY(sl_boot_docs(ctx, n, d, used, &(sl_boot_opts){ t->c->draws, .95, t->c->seed }, &b, err));
    sl_metrics_interval(out, name, from_one ? 1 - b.hi : b.lo, from_one ? 1 - b.lo : b.hi);
    return SL_OK;
}

static sl_cluster_sums all_clusters(const sl_tally *t)
{
    sl_cluster_sums s = { 0 };
    for (int k = 0; k < SL_TALLY_CLUSTERS; k++) {
        s.diff += t->part[k].diff;
        s.total += t->part[k].total;
        s.target += t->part[k].target;
        s.jaccard += t->part[k].jaccard;
        s.n_jaccard += t->part[k].n_jaccard;
        s.overlap += t->part[k].overlap;
        s.n_overlap += t->part[k].n_overlap;
    }
    return s;
}

static sl_status put_support(sl_ctx *ctx, const sl_tally *t, const sl_cluster_sums *s, sl_metrics *out, sl_err *err)
{
    if (s->n_jaccard > 0) {
        SL_TRY(sl_metrics_put(ctx, out, "jaccard", s->jaccard / s->n_jaccard, (int64_t)s->n_jaccard, err));
        SL_TRY(put_pooled_interval(ctx, t, "jaccard", &t->part->jaccard, &t->part->n_jaccard, false, out, err));
    } else
        SL_TRY(sl_metrics_null(ctx, out, "jaccard", "nothing was active", err));
    if (!(s->n_overlap > 0))
        return sl_metrics_null(ctx, out, "overlap", "nothing was active", err);
    SL_TRY(sl_metrics_put(ctx, out, "overlap", s->overlap / s->n_overlap, (int64_t)s->n_overlap, err));
    return put_pooled_interval(ctx, t, "overlap", &t->part->overlap, &t->part->n_overlap, false, out, err);
}

/* sum |z'(r) - z*(q)| over the latents of two rows */
static double row_distance(const sl_sparse *p, int64_t r, const sl_sparse *z, int64_t q)
{
    double sum = 0;
    int64_t a = p->row_ptr[r], a_end = p->row_ptr[r + 1], b = z->row_ptr[q], b_end = z->row_ptr[q + 1];
    while (a < a_end || b < b_end) {
        int32_t i = a < a_end ? p->idx[a] : INT32_MAX, j = b < b_end ? z->idx[b] : INT32_MAX;
        double v = i <= j ? (double)p->val[a++] : 0, w = j <= i ? (double)z->val[b++] : 0;
        sum += fabs(v - w);
    }
    return sum;
}

/* fss of every valid row with the target of another one, by a random order of them. */
static sl_status permuted(sl_ctx *ctx, const sl_tally *t, double total, double *fss, sl_err *err)
{
    int32_t *perm;
    double diff = 0;
    SL_TRY(sl_shuffled_rows(ctx, t->c->seed, t->n_valid, &perm, err));
    int64_t *row = sl_alloc(ctx, (size_t)t->n_valid * sizeof *row), n = 0;
    sl_status st;
    SL_GO(sl_have("stability", 1, (const void *const[]){ row }, err));
    for (int64_t r = 0; r < t->c->clean.n_rows; r++)
        if (sl_row_counts(t->c, r))
            row[n++] = r;
    for (int64_t i = 0; i < n; i++)
        diff += row_distance(&t->c->perturbed, row[i], &t->c->target, row[perm[i]]);
    *fss = 1 - diff / total;
done:
    sl_free(ctx, row);
    sl_free(ctx, perm);
    return st;
}

static sl_status put_fss(sl_ctx *ctx, const sl_tally *t, const sl_cluster_sums *s, sl_metrics *out, sl_err *err)
{
    static const char *const names[] = { "fss", "fss_adj", "pct_change", NULL };
    double fss = 1 - s->diff / s->total, chance;
    if (!(s->total > 0))
        return sl_put_nulls(ctx, out, names, "nothing was active", err);
    SL_TRY(permuted(ctx, t, s->total, &chance, err));
    SL_TRY(sl_put_floored(ctx, out, "fss", fss, t->n_valid, chance, err));
    SL_TRY(put_pooled_interval(ctx, t, "fss", &t->part->diff, &t->part->total, true, out, err));
    SL_TRY(chance > .999 ? sl_metrics_null(ctx, out, "fss_adj", "rows cannot be told apart by their codes", err)
                         : sl_put_floored(ctx, out, "fss_adj", (fss - chance) / (1 - chance), t->n_valid, 0, err));
    if (!(s->target > 0))
        return sl_metrics_null(ctx, out, "pct_change", "no target was active", err);
    SL_TRY(sl_metrics_put(ctx, out, "pct_change", 100 * s->diff / s->target, t->n_valid, err));
    double pct[SL_TALLY_CLUSTERS * sizeof(sl_cluster_sums) / sizeof(double)];
    size_t stride = sizeof(sl_cluster_sums) / sizeof(double);
    for (size_t k = 0; k < SL_TALLY_CLUSTERS; k++)
        pct[k * stride] = 100 * t->part[k].diff;
    return put_pooled_interval(ctx, t, "pct_change", pct, &t->part->target, false, out, err);
}

/* ---- means over latents ---- */

static double score_without(const sl_tally *t, int64_t j, int without, bool fss)
{
    sl_latent_sums s;
    double rows = pool(t, j, without, &s);
    if (!fss)
        return sl_latent_pearson(rows, &s);
    return s.total > 0 ? 1 - s.diff / s.total : NAN;
}

/* The mean over the latents that have a score with all groups; NaN when none is left. */
static double mean_without(const sl_tally *t, int without, bool fss)
{
    const double *with = fss ? t->fss : t->sci;
    double sum = 0;
    int64_t n = 0;
    for (int64_t j = 0; j < t->c->clean.n_cols; j++) {
        double v = isnan(with[j]) ? NAN : without < 0 ? with[j] : score_without(t, j, without, fss);
        sum += isnan(v) ? 0 : v;
        n += !isnan(v);
    }
    return n > 0 ? sum / (double)n : NAN;
}

/* Jackknife over the groups that have rows: se^2 = (G - 1) / G sum (v_q - mean)^2, t interval with G - 1 degrees of freedom. */
static void put_jackknife(const sl_tally *t, const char *name, double value, bool fss, sl_metrics *out)
{
    double v[SL_TALLY_GROUPS], mean = 0, sq = 0;
    int n = 0;
    for (int q = 0; q < SL_TALLY_GROUPS; q++) {
        double without = t->rows[q] > 0 ? mean_without(t, q, fss) : NAN;
        if (!isnan(without))
            v[n++] = without;
    }
    if (n < 2)
        return;
    for (int q = 0; q < n; q++)
        mean += v[q] / n;
    for (int q = 0; q < n; q++)
        sq += (v[q] - mean) * (v[q] - mean);
    double half = sl_t_quantile(.975, n - 1) * sqrt((n - 1.) / n * sq);
    sl_metrics_interval(out, name, value - half, value + half);
}

static sl_status put_mean(sl_ctx *ctx, const sl_tally *t, const char *name, bool fss, sl_metrics *out, sl_err *err)
{
    const double *of = fss ? t->fss : t->sci;
    double mean = mean_without(t, -1, fss);
    int64_t n = 0;
    for (int64_t j = 0; j < t->c->clean.n_cols; j++)
        n += !isnan(of[j]);
    if (n == 0)
        return sl_metrics_null(ctx, out, name, "no latent fires often enough", err);
    SL_TRY(sl_metrics_put(ctx, out, name, mean, n, err));
    if (t->c->draws >= 2)
        put_jackknife(t, name, mean, fss, out);
    return SL_OK;
}

/* ---- all of them ---- */

sl_status sl_tally_put(sl_ctx *ctx, const sl_tally *t, sl_metrics *out, sl_err *err)
{
    static const char *const names[] = { "fss", "fss_macro", "fss_adj", "pct_change", "sci", "sci_sem", "sci_rsa", "jaccard", "overlap", "ks_magnitude", "ks_rate", NULL };
    sl_cluster_sums s = all_clusters(t);
    if (t->n_valid == 0)
        return sl_put_nulls(ctx, out, names, "no row could be perturbed", err);
    SL_TRY(put_fss(ctx, t, &s, out, err));
    SL_TRY(put_mean(ctx, t, "fss_macro", true, out, err));
    SL_TRY(put_mean(ctx, t, "sci", false, out, err));
    SL_TRY(sl_put_semantic(ctx, t, out, err));
    SL_TRY(sl_put_rsa(ctx, t, out, err));
    SL_TRY(put_support(ctx, t, &s, out, err));
    return sl_put_distances(ctx, t, out, err);
}

sl_status sl_stability_scores(sl_ctx *ctx, const sl_stability_codes *c, sl_metrics *out, double *fss_j, double *sci_j, sl_err *err)
{
    sl_tally t;
    sl_status st;
    SL_GO(sl_tally_new(ctx, c, &t, err));
    for (int64_t j = 0; j < c->clean.n_cols; j++) {
        if (fss_j)
            fss_j[j] = t.fss[j];
        if (sci_j)
            sci_j[j] = t.sci[j];
    }
    SL_GO(sl_tally_put(ctx, &t, out, err));
done:
    sl_tally_release(ctx, &t);
    return st;
}
