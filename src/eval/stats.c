/* Distributions of Student's t and the normal; mean, standard error and t interval of a few values (one a seed). */
#include "eval/stats_check.h"

#include <math.h>
#include <stdio.h>

/* Continued fraction of the incomplete beta function, DLMF 8.17.22, evaluated by the modified Lentz method. */
static double beta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1), f;
    d = 1 / (fabs(d) < tiny ? tiny : d);
    f = d;
    for (int m = 1; m < 10000; m++) {
        double num[2] = { m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)), -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)) };
        double before = f;
        for (int i = 0; i < 2; i++) {
            d = 1 + num[i] * d;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = 1 + num[i] / c;
            c = fabs(c) < tiny ? tiny : c;
            f *= c * d;
        }
        if (fabs(f - before) <= 1e-16 * fabs(f))
            break;
    }
    return f;
}

/* Regularised incomplete beta function I_x(a, b). */
static double beta_share(double a, double b, double x)
{
    if (x <= 0)
        return 0;
    if (x >= 1)
        return 1;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    if (x < (a + 1) / (a + b + 2)) /* where the fraction converges fast */
        return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double sl_t_tail(double t, double df)
{
    double upper = .5 * beta_share(df / 2, .5, df / (df + t * t));
    return t < 0 ? 1 - upper : upper;
}

double sl_t_quantile(double p, double df)
{
    if (p < .5)
        return -sl_t_quantile(1 - p, df);
    double lo = 0, hi = 1, tail = 1 - p;
    while (sl_t_tail(hi, df) > tail && hi < 1e300)
        hi *= 2;
    for (int i = 0; i < 200 && hi - lo > 1e-15 * hi; i++) {
        double mid = .5 * (lo + hi);
        if (sl_t_tail(mid, df) > tail)
            lo = mid;
        else
            hi = mid;
    }
    return .5 * (lo + hi);
}

double sl_z_cdf(double z)
{
    return .5 * erfc(-z * M_SQRT1_2);
}

double sl_z_quantile(double p)
{
    double lo = -40, hi = 40;
    for (int i = 0; i < 200 && hi - lo > 1e-15; i++) {
        double mid = .5 * (lo + hi);
        if (sl_z_cdf(mid) < p)
            lo = mid;
        else
            hi = mid;
    }
    return .5 * (lo + hi);
}

sl_stat sl_stat_of(const double *v, int64_t n)
{
    sl_stat s = { .n = n };
    double sum = 0, sq = 0;
    for (int64_t i = 0; i < n; i++)
        sum += v[i];
    s.mean = sum / (double)n;
    s.lo = s.hi = s.mean;
    if (n < 2)
        return s;
    for (int64_t i = 0; i < n; i++)
        sq += (v[i] - s.mean) * (v[i] - s.mean);
    s.has_se = true;
    s.se = sqrt(sq / (double)(n - 1) / (double)n);
    double half = sl_t_quantile(.975, (double)(n - 1)) * s.se;
    s.lo = s.mean - half;
    s.hi = s.mean + half;
    return s;
}

/* ---- what every statistic asks of its arguments ---- */

sl_status sl_stats_finite(const char *what, const double *v, int64_t n, int64_t least, sl_err *err)
{
    if (n < least) {
        char expected[48];
        snprintf(expected, sizeof expected, "at least %lld", (long long)least);
        return sl_fail(err, SL_DATA, what, expected, "there %s %lld", n == 1 ? "is" : "are", (long long)n);
    }
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return sl_fail(err, SL_NUMERIC, what, "finite numbers", "value %lld is %g", (long long)i, v[i]);
    return SL_OK;
}

sl_status sl_stats_level(double level, sl_err *err)
{
    if (!(level > 0 && level < 1))
        return sl_fail(err, SL_ARG, "level", "between 0 and 1", "%g", level);
    return SL_OK;
}
