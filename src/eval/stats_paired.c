/* Paired designs: sign-flip permutation, paired t, equivalence, adjusted p values. */
#include "eval/stats_check.h"

#include <saelab/rng.h>
#include <math.h>
#include <string.h>

/* ---- sign flips ---- */

/* Sums that differ only by rounding count as equal: a pattern and its mirror image must never disagree. */
static double slack(const double *d, int64_t n)
{
    double total = 0;
    for (int64_t i = 0; i < n; i++)
        total += fabs(d[i]);
    return 1e-12 * total;
}

static double signed_sum(const double *d, int64_t n, uint64_t minus)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += minus >> i & 1 ? -d[i] : d[i];
    return sum;
}

/* A pattern and its mirror have the same |sum|, so the last sign stays +. */
static int64_t hits_of_all(const double *d, int64_t n, double bar)
{
    int64_t hits = 0;
    for (uint64_t minus = 0; minus < (uint64_t)1 << (n - 1); minus++)
        hits += 2 * (fabs(signed_sum(d, n, minus)) >= bar);
    return hits;
}

static int64_t hits_of_random(const double *d, int64_t n, double bar, int64_t draws, uint64_t seed)
{
    int64_t hits = 0;
    for (int64_t i = 0; i < draws; i++) {
        sl_rng r = sl_rng_at(seed, SL_RNG_BOOT, 0, (uint64_t)i);
        double sum = 0;
        for (int64_t j = 0; j < n; j += 64)
            sum += signed_sum(d + j, n - j < 64 ? n - j : 64, sl_rng_u64(&r));
        hits += fabs(sum) >= bar;
    }
    return hits;
}

sl_status sl_sign_flip(const double *d, int64_t n, int64_t draws, uint64_t seed, sl_flip *out, sl_err *err)
{
    SL_TRY(sl_stats_finite("differences", d, n, 1, err));
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += d[i];
    double bar = fabs(sum) - slack(d, n);
    if (n <= SL_FLIP_EXACT_MAX) {
        int64_t all = (int64_t)1 << n;
        *out = (sl_flip){ (double)hits_of_all(d, n, bar) / (double)all, true, all };
        return SL_OK;
    }
    if (draws < 1)
        return sl_fail(err, SL_ARG, "draws", "at least 1", "%lld random patterns of %lld signs", (long long)draws, (long long)n);
    *out = (sl_flip){ (double)(1 + hits_of_random(d, n, bar, draws, seed)) / (double)(1 + draws), false, draws };
    return SL_OK;
}

/* ---- paired t, equivalence ---- */

/* Two-sided p of mean 0. Differences without any spread decide by themselves. */
static double p_of_t(double mean, double se, double df)
{
    if (!(se > 0))
        return mean == 0 ? 1 : 0;
    return 2 * sl_t_tail(fabs(mean / se), df);
}

sl_status sl_paired_of(const double *d, int64_t n, double level, uint64_t seed, sl_paired *out, sl_err *err)
{
    enum { DRAWS = 99999 };
    SL_TRY(sl_stats_finite("differences", d, n, 2, err));
    SL_TRY(sl_stats_level(level, err));
    sl_stat s = sl_stat_of(d, n);
    double half = sl_t_quantile(.5 + level / 2, (double)(n - 1)) * s.se;
    *out = (sl_paired){ .n = n, .effect = s.mean, .se = s.se, .lo = s.mean - half, .hi = s.mean + half, .p_t = p_of_t(s.mean, s.se, (double)(n - 1)) };
    return sl_sign_flip(d, n, DRAWS, seed, &out->flip, err);
}

sl_status sl_paired_test(sl_ctx *ctx, const double *treatment, const double *control, int64_t n, double level, uint64_t seed, sl_paired *out, sl_err *err)
{
    SL_TRY(sl_stats_finite("treatment", treatment, n, 2, err));
    SL_TRY(sl_stats_finite("control", control, n, 2, err));
    double *d = sl_alloc(ctx, (size_t)n * sizeof *d);
    if (!d)
        return sl_fail(err, SL_MEM, "differences", NULL, "no memory for %lld values", (long long)n);
    for (int64_t i = 0; i < n; i++)
        d[i] = treatment[i] - control[i];
    sl_status st = sl_paired_of(d, n, level, seed, out, err);
    sl_free(ctx, d);
    return st;
}

sl_status sl_tost_test(const double *d, int64_t n, double margin, double alpha, sl_tost *out, sl_err *err)
{
    SL_TRY(sl_stats_finite("differences", d, n, 2, err));
    if (!(margin > 0 && isfinite(margin)))
        return sl_fail(err, SL_ARG, "margin", "above 0", "%g", margin);
    if (!(alpha > 0 && alpha < .5))
        return sl_fail(err, SL_ARG, "alpha", "between 0 and .5", "%g", alpha);
    sl_stat s = sl_stat_of(d, n);
    double df = (double)(n - 1);
    if (!(s.se > 0))
        return sl_fail(err, SL_DATA, "differences", "values that differ", "all %lld are %g: there is no spread to test with", (long long)n, d[0]);
    double half = sl_t_quantile(1 - alpha, df) * s.se;
    sl_tost t = { .n = n, .mean = s.mean, .lo = s.mean - half, .hi = s.mean + half };
    t.p_lower = sl_t_tail((s.mean + margin) / s.se, df);
    t.p_upper = sl_t_tail((margin - s.mean) / s.se, df);
    t.p = t.p_lower > t.p_upper ? t.p_lower : t.p_upper;
    t.equivalent = t.p < alpha;
    *out = t;
    return SL_OK;
}

/* ---- several tests at once ---- */

/* Indices of p by rising value, ties in their order: insertion sort, as tables of tests are short. */
static sl_status sorted(sl_ctx *ctx, const double *p, int64_t n, int64_t **order, sl_err *err)
{
    SL_TRY(sl_stats_finite("p values", p, n, 1, err));
    for (int64_t i = 0; i < n; i++)
        if (p[i] < 0 || p[i] > 1)
            return sl_fail(err, SL_ARG, "p values", "0 to 1", "value %lld is %g", (long long)i, p[i]);
    int64_t *o = sl_alloc(ctx, (size_t)n * sizeof *o);
    if (!o)
        return sl_fail(err, SL_MEM, "p values", NULL, "no memory for %lld of them", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = i;
        for (; at > 0 && p[o[at - 1]] > p[i]; at--)
            o[at] = o[at - 1];
        o[at] = i;
    }
    *order = o;
    return SL_OK;
}

static double at_most_1(double v)
{
    return v < 1 ? v : 1;
}

sl_status sl_holm(sl_ctx *ctx, const double *p, int64_t n, double *adjusted, sl_err *err)
{
    int64_t *order;
    double worst = 0;
    SL_TRY(sorted(ctx, p, n, &order, err));
    for (int64_t i = 0; i < n; i++) {
        double v = at_most_1(p[order[i]] * (double)(n - i));
        worst = v > worst ? v : worst;
        adjusted[order[i]] = worst;
    }
    sl_free(ctx, order);
    return SL_OK;
}

sl_status sl_bh(sl_ctx *ctx, const double *p, int64_t n, double *adjusted, sl_err *err)
{
    int64_t *order;
    double best = 1;
    SL_TRY(sorted(ctx, p, n, &order, err));
    for (int64_t i = n - 1; i >= 0; i--) {
        double v = at_most_1(p[order[i]] * (double)n / (double)(i + 1));
        best = v < best ? v : best;
        adjusted[order[i]] = best;
    }
    sl_free(ctx, order);
    return SL_OK;
}
