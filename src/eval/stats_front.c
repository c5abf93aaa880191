/* Metric against l0: interpolation at a matched l0, Pareto fronts, hypervolume. */
#include "eval/stats_check.h"

#include <math.h>

static sl_status check_points(const sl_point *p, int64_t n, sl_err *err)
{
    if (n < 1)
        return sl_fail(err, SL_DATA, "points", "at least 1", "there are none");
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(p[i].l0) || !isfinite(p[i].y))
            return sl_fail(err, SL_NUMERIC, "points", "finite numbers", "point %lld is (%g, %g)", (long long)i, p[i].l0, p[i].y);
    return SL_OK;
}

/* ---- at a matched l0 ---- */

static sl_status check_curve(const sl_point *p, int64_t n, sl_err *err)
{
    SL_TRY(check_points(p, n, err));
    for (int64_t i = 0; i < n; i++) {
        if (!(p[i].l0 > 0))
            return sl_fail(err, SL_DATA, "points", "l0 above 0", "point %lld has l0 %g", (long long)i, p[i].l0);
        for (int64_t j = 0; j < i; j++)
            if (p[i].l0 == p[j].l0)
                return sl_fail(err, SL_DATA, "points", "each l0 once", "points %lld and %lld both have l0 %g", (long long)j, (long long)i, p[i].l0);
    }
    return SL_OK;
}

sl_status sl_interpolate_l0(const sl_point *p, int64_t n, double at_l0, double *y, sl_err *err)
{
    const sl_point *below = NULL, *above = NULL;
    SL_TRY(check_curve(p, n, err));
    for (int64_t i = 0; i < n; i++) {
        if (p[i].l0 <= at_l0 && (!below || p[i].l0 > below->l0))
            below = &p[i];
        if (p[i].l0 >= at_l0 && (!above || p[i].l0 < above->l0))
            above = &p[i];
    }
    if (!below || !above)
        return sl_fail(err, SL_ARG, "l0", "an l0 between those that were measured", "%g lies outside the %lld points", at_l0, (long long)n);
    double span = log(above->l0 / below->l0);
    *y = below == above ? below->y : below->y + log(at_l0 / below->l0) / span * (above->y - below->y);
    return SL_OK;
}

sl_status sl_paired_at_l0(sl_ctx *ctx, const sl_point *a, int64_t n_a, const sl_point *b, int64_t n_b, int64_t n_seeds, double at_l0, uint64_t seed, sl_paired *out, sl_err *err)
{
    if (n_seeds < 2)
        return sl_fail(err, SL_DATA, "seeds", "at least 2", "there are %lld", (long long)n_seeds);
    double *d = sl_alloc(ctx, (size_t)n_seeds * sizeof *d);
    if (!d)
        return sl_fail(err, SL_MEM, "seeds", NULL, "no memory for %lld of them", (long long)n_seeds);
    sl_status st = SL_OK;
    for (int64_t s = 0; s < n_seeds; s++) {
        double ya, yb;
        SL_GO(sl_interpolate_l0(a + s * n_a, n_a, at_l0, &ya, err));
        SL_GO(sl_interpolate_l0(b + s * n_b, n_b, at_l0, &yb, err));
        d[s] = ya - yb;
    }
    st = sl_paired_of(d, n_seeds, .95, seed, out, err);
done:
    sl_free(ctx, d);
    return st;
}

/* ---- fronts ---- */

static bool beats(const sl_point *p, int64_t a, int64_t b)
{
    bool as_good = p[a].l0 <= p[b].l0 && p[a].y <= p[b].y, same = p[a].l0 == p[b].l0 && p[a].y == p[b].y;
    return as_good && (!same || a < b);
}

sl_status sl_pareto(const sl_point *p, int64_t n, int64_t *front, int64_t *n_front, sl_err *err)
{
    int64_t m = 0;
    SL_TRY(check_points(p, n, err));
    for (int64_t i = 0; i < n; i++) {
        bool beaten = false;
        for (int64_t j = 0; j < n; j++)
            beaten = beaten || (j != i && beats(p, j, i));
        if (beaten)
            continue;
        int64_t at = m++;
        for (; at > 0 && p[front[at - 1]].l0 > p[i].l0; at--)
            front[at] = front[at - 1];
        front[at] = i;
    }
    *n_front = m;
    return SL_OK;
}

sl_status sl_hypervolume(sl_ctx *ctx, const sl_point *p, int64_t n, sl_point reference, double *area, sl_err *err)
{
    int64_t m;
    SL_TRY(check_points(p, n, err));
    SL_TRY(check_points(&reference, 1, err));
    int64_t *front = sl_alloc(ctx, (size_t)n * sizeof *front);
    if (!front)
        return sl_fail(err, SL_MEM, "points", NULL, "no memory for %lld of them", (long long)n);
    sl_status st = sl_pareto(p, n, front, &m, err);
    double sum = 0, top = reference.y; /* a front falls: each point adds the strip between its y and the one before */
    for (int64_t i = 0; i < m && st == SL_OK; i++) {
        const sl_point *q = &p[front[i]];
        if (q->l0 >= reference.l0 || q->y >= top)
            continue;
        sum += (reference.l0 - q->l0) * (top - q->y);
        top = q->y;
    }
    *area = sum;
    sl_free(ctx, front);
    return st;
}
