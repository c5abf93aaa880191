/* Krippendorff's alpha from coincidence matrices, one a cluster, so that a resample of clusters costs a sum. */
#include "eval/stats_check.h"

#include <saelab/agreement.h>
#include <math.h>

enum { MAX_CATEGORIES = 64 };

typedef struct clusters {
    double *o;              /* [n, C, C] coincidences of each */
    int64_t n;
    int32_t C;
    sl_scale scale;
} clusters;

static sl_status check(const sl_judged *j, sl_err *err)
{
    if (j->n_units < 1 || j->n_raters < 2)
        return sl_fail(err, SL_DATA, "agreement", "units and at least 2 raters", "%lld units, %d raters", (long long)j->n_units, j->n_raters);
    if (j->n_categories < 2 || j->n_categories > MAX_CATEGORIES)
        return sl_fail(err, SL_ARG, "agreement", "2 to 64 categories", "%d", j->n_categories);
    for (int64_t i = 0; i < j->n_units * j->n_raters; i++)
        if (j->value[i] < -1 || j->value[i] >= j->n_categories)
            return sl_fail(err, SL_ARG, "agreement", "a category, or -1 for none", "unit %lld has value %d", (long long)(i / j->n_raters), j->value[i]);
    for (int64_t u = 0; j->cluster && u < j->n_units; u++)
        if (j->cluster[u] < 0)
            return sl_fail(err, SL_ARG, "agreement", "clusters from 0", "unit %lld is in cluster %d", (long long)u, j->cluster[u]);
    return SL_OK;
}

/* Adds the coincidences of one unit with m >= 2 values; returns m, or 0. */
static int64_t add_unit(const sl_judged *j, int64_t u, double *o)
{
    const int32_t *v = j->value + u * j->n_raters, C = j->n_categories;
    int64_t m = 0;
    for (int32_t r = 0; r < j->n_raters; r++)
        m += v[r] >= 0;
    if (m < 2)
        return 0;
    for (int32_t a = 0; a < j->n_raters; a++)
        for (int32_t b = 0; b < j->n_raters; b++)
            if (a != b && v[a] >= 0 && v[b] >= 0)
                o[v[a] * C + v[b]] += 1 / (double)(m - 1);
    return m;
}

/* delta^2 from the totals n_g of the values that were paired. */
static double delta2(sl_scale scale, const double *total, int32_t c, int32_t k)
{
    if (scale == SL_SCALE_NOMINAL)
        return c != k;
    double sum = -(total[c] + total[k]) / 2;
    for (int32_t g = c; g <= k; g++)
        sum += total[g];
    return sum * sum;
}

/* sl_boot_fn: alpha of the picked clusters; NaN when their values are all the same. */
static double alpha_of(void *user, const int32_t *pick, int64_t n_pick)
{
    const clusters *s = user;
    int32_t C = s->C;
    double o[MAX_CATEGORIES * MAX_CATEGORIES] = { 0 }, total[MAX_CATEGORIES] = { 0 }, n = 0, observed = 0, expected = 0;
    for (int64_t i = 0; i < n_pick; i++)
        for (int32_t e = 0; e < C * C; e++)
            o[e] += s->o[(int64_t)pick[i] * C * C + e];
    for (int32_t e = 0; e < C * C; e++) {
        total[e / C] += o[e];
        n += o[e];
    }
    for (int32_t c = 0; c < C; c++)
        for (int32_t k = c + 1; k < C; k++) {
            double d2 = delta2(s->scale, total, c, k);
            observed += o[c * C + k] * d2;
            expected += total[c] * total[k] * d2;
        }
    return expected > 0 ? 1 - (n - 1) * observed / expected : NAN;
}

/* Numbers the clusters that have a unit with two values from 0: place [largest + 1], -1 for the others. */
static int64_t number_clusters(const sl_judged *j, int32_t *place, double *o)
{
    int32_t C = j->n_categories;
    int64_t n = 0;
    for (int64_t u = 0; u < j->n_units; u++) {
        int64_t c = j->cluster ? j->cluster[u] : u;
        bool is_new = place[c] < 0;
        if (is_new)
            place[c] = (int32_t)n;
        n += add_unit(j, u, o + (int64_t)place[c] * C * C) > 0 && is_new;
        if (is_new && n == place[c])
            place[c] = -1; /* nothing of it counted yet */
    }
    return n;
}

static void count(const sl_judged *j, sl_alpha *out)
{
    for (int64_t u = 0; u < j->n_units; u++) {
        int64_t m = 0;
        for (int32_t r = 0; r < j->n_raters; r++)
            m += j->value[u * j->n_raters + r] >= 0;
        out->n_units += m >= 2;
        out->n_values += m >= 2 ? m : 0;
    }
}

static sl_status measure(sl_ctx *ctx, clusters *s, const sl_boot_opts *boot, sl_alpha *out, sl_err *err)
{
    int32_t *all = sl_alloc(ctx, (size_t)s->n * sizeof *all);
    if (!all)
        return sl_fail(err, SL_MEM, "agreement", NULL, "no memory for %lld clusters", (long long)s->n);
    for (int64_t i = 0; i < s->n; i++)
        all[i] = (int32_t)i;
    out->value = alpha_of(s, all, s->n);
    sl_free(ctx, all);
    if (isnan(out->value))
        return sl_fail(err, SL_DATA, "agreement", "values that vary", "all raters gave one and the same value, which says nothing of agreement");
    if (!boot || s->n < 2)
        return SL_OK;
    sl_boot b;
    sl_status st = sl_boot_of(ctx, alpha_of, s, s->n, boot, &b, err);
    *out = (sl_alpha){ out->value, st == SL_OK, b.lo, b.hi, out->n_units, out->n_values };
    return st;
}

sl_status sl_krippendorff(sl_ctx *ctx, const sl_judged *j, sl_scale scale, const sl_boot_opts *boot, sl_alpha *out, sl_err *err)
{
    *out = (sl_alpha){ 0 };
    SL_TRY(check(j, err));
    int64_t most = j->n_units;
    for (int64_t u = 0; j->cluster && u < j->n_units; u++)
        most = j->cluster[u] + 1 > most ? j->cluster[u] + 1 : most;
    int32_t C = j->n_categories, *place = sl_alloc(ctx, (size_t)most * sizeof *place);
    clusters s = { .C = C, .scale = scale, .o = sl_alloc(ctx, (size_t)(j->n_units * C * C) * sizeof(double)) };
    sl_status st = place && s.o ? SL_OK : sl_fail(err, SL_MEM, "agreement", NULL, "no memory for %lld units", (long long)j->n_units);
    for (int64_t c = 0; st == SL_OK && c < most; c++)
        place[c] = -1;
    if (st == SL_OK) {
        s.n = number_clusters(j, place, s.o);
        count(j, out);
        st = s.n > 0 ? measure(ctx, &s, boot, out, err) : sl_fail(err, SL_DATA, "agreement", "a unit that two raters judged", "there is none");
    }
    sl_free(ctx, place);
    sl_free(ctx, s.o);
    return st;
}
