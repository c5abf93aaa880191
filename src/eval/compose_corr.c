/* Correlations of short lists, and the Gini index. */
#include "eval/compose.h"

#include "base/sorted.h"

#include <math.h>
#include <stdlib.h>

void sl_pearson(const double *a, const double *b, int64_t n, double *r)
{
    double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0, qa = 0, qb = 0;
    for (int64_t i = 0; i < n; i++) {
        ma += a[i] / (double)n;
        mb += b[i] / (double)n;
    }
    for (int64_t i = 0; i < n; i++) {
        aa += (a[i] - ma) * (a[i] - ma);
        bb += (b[i] - mb) * (b[i] - mb);
        ab += (a[i] - ma) * (b[i] - mb);
        qa += a[i] * a[i];
        qb += b[i] * b[i];
    }
    bool varies = n >= 3 && aa > 1e-20 * qa && bb > 1e-20 * qb; /* beyond what rounding makes of a constant */
    *r = varies ? ab / sqrt(aa) / sqrt(bb) : (double)NAN;
}

typedef struct ranked { double v; int64_t at; } ranked;

static int by_value(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return x->v != y->v ? (x->v < y->v ? -1 : 1) : (x->at > y->at) - (x->at < y->at);
}

/* Mid-ranks: values that tie share the mean of their places. */
static void rank(const double *v, int64_t n, ranked *order, double *out)
{
    for (int64_t i = 0; i < n; i++)
        order[i] = (ranked){ v[i], i };
    qsort(order, (size_t)n, sizeof *order, by_value);
    for (int64_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && order[end].v == order[i].v;)
            end++;
        for (int64_t k = i; k < end; k++)
            out[order[k].at] = (double)(i + end - 1) / 2;
    }
}

sl_status sl_spearman(sl_ctx *ctx, const double *a, const double *b, int64_t n, double *r, sl_err *err)
{
    ranked *order = sl_alloc(ctx, (size_t)n * sizeof *order);
    double *ra = sl_alloc(ctx, (size_t)n * sizeof *ra), *rb = sl_alloc(ctx, (size_t)n * sizeof *rb);
    sl_status st;
    SL_GO(sl_have("ranks", 3, (const void *const[]){ order, ra, rb }, err));
    rank(a, n, order, ra);
    rank(b, n, order, rb);
    sl_pearson(ra, rb, n, r);
done:
    sl_free(ctx, rb);
    sl_free(ctx, ra);
    sl_free(ctx, order);
    return st;
}

sl_status sl_put_r(sl_ctx *ctx, sl_metrics *out, const char *name, double r, int64_t n, sl_err *err)
{
    if (isfinite(r))
        return sl_metrics_put(ctx, out, name, r, n, err);
    return sl_metrics_null(ctx, out, name, n < 3 ? "fewer than 3 to correlate" : "one of the two does not vary", err);
}

double sl_gini(double *v, int64_t n)
{
    double sum = 0, weighted = 0;
    qsort(v, (size_t)n, sizeof *v, sl_rising);
    for (int64_t i = 0; i < n; i++) {
        sum += v[i];
        weighted += (double)(i + 1) * v[i];
    }
    return 2 * weighted / ((double)n * sum) - (double)(n + 1) / (double)n;
}
