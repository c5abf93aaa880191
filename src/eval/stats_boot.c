/* Cluster bootstrap of pooled ratios: documents within a seed, and seeds with documents within them. */
#include "eval/stats_check.h"

#include "base/sorted.h"

#include <saelab/rng.h>
#include <math.h>
#include <stdlib.h>

typedef struct pool { const double *num, *den; int64_t n; } pool; /* documents of one seed */

enum { TRIES = 1000 }; /* resamples in a row without a denominator before giving up */

static double pooled(const pool *p)
{
    double num = 0, den = 0;
    for (int64_t i = 0; i < p->n; i++) {
        num += p->num[i];
        den += p->den[i];
    }
    return num / den;
}

/* The pooled ratio of n documents drawn with replacement; NaN when no resample has a denominator. */
static double resampled(const pool *p, sl_rng *r)
{
    for (int t = 0; t < TRIES; t++) {
        double num = 0, den = 0;
        for (int64_t i = 0; i < p->n; i++) {
            uint64_t k = sl_rng_below(r, (uint64_t)p->n);
            num += p->num[k];
            den += p->den[k];
        }
        if (den != 0)
            return num / den;
    }
    return NAN;
}

/* ---- checks ---- */

static sl_status check_options(const sl_boot_opts *o, sl_err *err)
{
    SL_TRY(sl_stats_level(o->level, err));
    if (o->draws < 2)
        return sl_fail(err, SL_ARG, "draws", "at least 2", "%lld resamples", (long long)o->draws);
    return SL_OK;
}

static sl_status check_pool(const pool *p, sl_err *err)
{
    SL_TRY(sl_stats_finite("numerators", p->num, p->n, 2, err));
    SL_TRY(sl_stats_finite("denominators", p->den, p->n, 2, err));
    if (!isfinite(pooled(p)))
        return sl_fail(err, SL_DATA, "denominators", "a sum other than 0", "those of %lld documents add up to 0", (long long)p->n);
    return SL_OK;
}

/* ---- intervals ---- */

static void moments(const double *v, int64_t n, double *sd, double *skew)
{
    double mean = 0, m2 = 0, m3 = 0;
    for (int64_t i = 0; i < n; i++)
        mean += v[i] / (double)n;
    for (int64_t i = 0; i < n; i++) {
        double e = v[i] - mean;
        m2 += e * e / (double)n;
        m3 += e * e * e / (double)n;
    }
    *sd = sqrt(m2 * (double)n / (double)(n - 1));
    *skew = m2 > 0 ? m3 / (m2 * sqrt(m2)) : 0;
}

/* Efron 1987, eq. 6.6: acceleration from the values without each document in turn, v [n]; 0 when one has no value. */
static double acceleration(const double *v, int64_t n)
{
    double mean = 0, m2 = 0, m3 = 0;
    for (int64_t i = 0; i < n; i++)
        mean += v[i] / (double)n;
    for (int64_t i = 0; i < n; i++) {
        double e = mean - v[i];
        m2 += e * e;
        m3 += e * e * e;
    }
    double a = m3 / (6 * m2 * sqrt(m2));
    return isfinite(a) ? a : 0;
}

static void pooled_without(const pool *p, double *v)
{
    double num = 0, den = 0;
    for (int64_t i = 0; i < p->n; i++) {
        num += p->num[i];
        den += p->den[i];
    }
    for (int64_t i = 0; i < p->n; i++)
        v[i] = (num - p->num[i]) / (den - p->den[i]);
}

/* Efron 1987, section 2: level p of the resamples, moved by the bias z0 and the acceleration a. */
static double bca_level(double z0, double a, double p)
{
    double z = z0 + sl_z_quantile(p);
    return sl_z_cdf(z0 + z / (1 - a * z));
}

void sl_boot_interval(double *v, const sl_boot_opts *o, const double *without, sl_boot *out)
{
    double lo = (1 - o->level) / 2, hi = 1 - lo, below = 0;
    qsort(v, (size_t)o->draws, sizeof *v, sl_rising);
    moments(v, o->draws, &out->se, &out->skew);
    for (int64_t i = 0; i < o->draws; i++)
        below += v[i] < out->value ? 1 : v[i] == out->value ? .5 : 0;
    below /= (double)o->draws;
    out->bca = without && fabs(out->skew) > .5 && below > 0 && below < 1;
    if (out->bca) {
        double z0 = sl_z_quantile(below), a = acceleration(without, out->n_docs);
        lo = bca_level(z0, a, lo);
        hi = bca_level(z0, a, hi);
    }
    out->lo = sl_quantile(v, o->draws, lo);
    out->hi = sl_quantile(v, o->draws, hi);
    out->draws = o->draws;
}

/* ---- the two designs ---- */

static sl_status no_values(sl_err *err)
{
    return sl_fail(err, SL_DATA, "denominators", "documents that count", "nearly every resample adds up to 0");
}

sl_status sl_boot_docs(sl_ctx *ctx, const double *num, const double *den, int64_t n_docs, const sl_boot_opts *o, sl_boot *out, sl_err *err)
{
    pool p = { num, den, n_docs };
    SL_TRY(check_options(o, err));
    SL_TRY(check_pool(&p, err));
    double *v = sl_alloc(ctx, (size_t)(o->draws + n_docs) * sizeof *v), *without = v + o->draws;
    if (!v)
        return sl_fail(err, SL_MEM, "bootstrap", NULL, "no memory for %lld resamples", (long long)o->draws);
    sl_status st = SL_OK;
    for (int64_t i = 0; i < o->draws && st == SL_OK; i++) {
        sl_rng r = sl_rng_at(o->seed, SL_RNG_BOOT, 1, (uint64_t)i);
        v[i] = resampled(&p, &r);
        if (isnan(v[i]))
            st = no_values(err);
    }
    if (st == SL_OK) {
        *out = (sl_boot){ .value = pooled(&p), .n_seeds = 1, .n_docs = n_docs };
        pooled_without(&p, without);
        sl_boot_interval(v, o, without, out);
    }
    sl_free(ctx, v);
    return st;
}

/* The value of n documents drawn with replacement; NaN when no resample has one. */
static double resampled_of(sl_boot_fn of, void *user, int32_t *pick, int64_t n, sl_rng *r)
{
    for (int t = 0; t < TRIES; t++) {
        for (int64_t k = 0; k < n; k++)
            pick[k] = (int32_t)sl_rng_below(r, (uint64_t)n);
        double v = of(user, pick, n);
        if (!isnan(v))
            return v;
    }
    return NAN;
}

/* Of all documents, and without each in turn. */
static double whole(sl_boot_fn of, void *user, int32_t *pick, int64_t n, double *without)
{
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < n - 1; k++)
            pick[k] = (int32_t)(k < i ? k : k + 1);
        without[i] = of(user, pick, n - 1);
    }
    for (int64_t k = 0; k < n; k++)
        pick[k] = (int32_t)k;
    return of(user, pick, n);
}

sl_status sl_boot_of(sl_ctx *ctx, sl_boot_fn of, void *user, int64_t n_docs, const sl_boot_opts *o, sl_boot *out, sl_err *err)
{
    SL_TRY(check_options(o, err));
    if (n_docs < 2 || n_docs > INT32_MAX)
        return sl_fail(err, SL_DATA, "documents", "2 to 2^31 - 1", "there %s %lld", n_docs == 1 ? "is" : "are", (long long)n_docs);
    double *v = sl_alloc(ctx, (size_t)(o->draws + n_docs) * sizeof *v), *without = v + o->draws;
    int32_t *pick = sl_alloc(ctx, (size_t)n_docs * sizeof *pick);
    sl_status st = v && pick ? SL_OK : sl_fail(err, SL_MEM, "bootstrap", NULL, "no memory for %lld resamples", (long long)o->draws);
    if (st == SL_OK) {
        *out = (sl_boot){ .value = whole(of, user, pick, n_docs, without), .n_seeds = 1, .n_docs = n_docs };
        st = isfinite(out->value) ? SL_OK : sl_fail(err, SL_DATA, "documents", "a value of all of them", "there is none");
    }
    for (int64_t i = 0; st == SL_OK && i < o->draws; i++) {
        sl_rng r = sl_rng_at(o->seed, SL_RNG_BOOT, 1, (uint64_t)i);
        v[i] = resampled_of(of, user, pick, n_docs, &r);
        if (isnan(v[i]))
            st = no_values(err);
    }
    if (st == SL_OK)
        sl_boot_interval(v, o, without, out);
    sl_free(ctx, pick);
    sl_free(ctx, v);
    return st;
}

static pool pool_of(const double *num, const double *den, const int64_t *first, int64_t s)
{
    return (pool){ num + first[s], den + first[s], first[s + 1] - first[s] };
}

/* Mean over n_seeds seeds drawn with replacement, each with its documents drawn anew. */
static double resampled_seeds(const double *num, const double *den, const int64_t *first, int64_t n_seeds, sl_rng *r)
{
    double sum = 0;
    for (int64_t i = 0; i < n_seeds; i++) {
        pool p = pool_of(num, den, first, (int64_t)sl_rng_below(r, (uint64_t)n_seeds));
        sum += resampled(&p, r);
    }
    return sum / (double)n_seeds;
}

sl_status sl_boot_nested(sl_ctx *ctx, const double *num, const double *den, const int64_t *first, int64_t n_seeds, const sl_boot_opts *o, sl_boot *out, sl_err *err)
{
    double value = 0;
    SL_TRY(check_options(o, err));
    if (n_seeds < 2)
        return sl_fail(err, SL_DATA, "seeds", "at least 2", "there is %lld", (long long)n_seeds);
    for (int64_t s = 0; s < n_seeds; s++) {
        pool p = pool_of(num, den, first, s);
        SL_TRY(check_pool(&p, err));
        value += pooled(&p) / (double)n_seeds;
    }
    double *v = sl_alloc(ctx, (size_t)o->draws * sizeof *v);
    if (!v)
        return sl_fail(err, SL_MEM, "bootstrap", NULL, "no memory for %lld resamples", (long long)o->draws);
    sl_status st = SL_OK;
    for (int64_t i = 0; i < o->draws && st == SL_OK; i++) {
        sl_rng r = sl_rng_at(o->seed, SL_RNG_BOOT, 2, (uint64_t)i);
        v[i] = resampled_seeds(num, den, first, n_seeds, &r);
        if (isnan(v[i]))
            st = no_values(err);
    }
    if (st == SL_OK) {
        *out = (sl_boot){ .value = value, .n_seeds = n_seeds, .n_docs = first[n_seeds] - first[0] };
        sl_boot_interval(v, o, NULL, out);
    }
    sl_free(ctx, v);
    return st;
}
