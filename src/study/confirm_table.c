/* The table of a confirmation and paired differences of it. */
#include "study/confirm.h"

#include <math.h>
#include <string.h>

static int index_of(const char *const *names, int n, const char *name)
{
    for (int i = 0; name && i < n; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

int sl_table_arm(const sl_table *t, const char *arm) { return index_of(t->arm, t->n_arms, arm); }

double *sl_table_at(const sl_table *t, const char *metric, const char *world, const char *arm)
{
    int m = index_of(t->metric, t->n_metrics, metric), w = index_of(t->world, t->n_worlds, world), a = sl_table_arm(t, arm);
    return m < 0 || w < 0 || a < 0 ? NULL : t->v + (((int64_t)m * t->n_worlds + w) * t->n_arms + a) * t->n_seeds;
}

sl_diff sl_diff_of(sl_ctx *ctx, const double *a, const double *b, int64_t n)
{
    sl_diff d = { .effect = NAN, .lo = -INFINITY, .hi = INFINITY, .p = NAN };
    double *x = sl_alloc(ctx, (size_t)(2 * n + 1) * sizeof *x), *y = x ? x + n : NULL;
    for (int64_t i = 0; x && i < n; i++)
        if (isfinite(a[i]) && isfinite(b[i])) {
            x[d.n] = a[i];
            y[d.n++] = b[i];
        }
    sl_paired p;
    if (d.n >= 2 && sl_paired_test(ctx, x, y, d.n, .95, 0, &p, NULL) == SL_OK)
        d = (sl_diff){ d.n, p.effect, p.lo, p.hi, p.flip.p };
    else if (d.n == 1)
        d.effect = x[0] - y[0];
    sl_free(ctx, x);
    return d;
}

sl_diff sl_table_diff(sl_ctx *ctx, const sl_table *t, const char *metric, const char *world, const char *a, const char *b)
{
    const double *x = sl_table_at(t, metric, world, a), *y = sl_table_at(t, metric, world, b);
    return x && y ? sl_diff_of(ctx, x, y, t->n_seeds) : sl_diff_of(ctx, NULL, NULL, 0);
}

int64_t sl_table_missing(const sl_table *t, const char *metric, const char *world, const char *arm)
{
    const double *v = sl_table_at(t, metric, world, arm);
    int64_t n = v ? 0 : t->n_seeds;
    for (int64_t i = 0; v && i < t->n_seeds; i++)
        n += !isfinite(v[i]);
    return n;
}

double sl_table_mean(const sl_table *t, const char *metric, const char *world, const char *arm)
{
    const double *v = sl_table_at(t, metric, world, arm);
    double sum = 0, n = 0;
    for (int64_t i = 0; v && i < t->n_seeds; i++)
        if (isfinite(v[i])) {
            sum += v[i];
            n++;
        }
    return n > 0 ? sum / n : NAN;
}
