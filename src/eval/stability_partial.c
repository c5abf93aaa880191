/* Are robust latents the reproducible ones? Frequent latents are both, so that the rate is held constant (science.md B8):
 *   rho_ab.c = (rho_ab - rho_ac rho_bc) / sqrt((1 - rho_ac^2) (1 - rho_bc^2)), rho: Spearman, c: log10 rate. */
#include "eval/stability.h"

#include <math.h>

static sl_status partial(double ab, double ac, double bc, int64_t n, sl_partial *out, sl_err *err)
{
    if (isnan(ab) || isnan(ac) || isnan(bc) || !((1 - ac * ac) * (1 - bc * bc) > 1e-12))
        return sl_fail(err, SL_DATA, "partial correlation", "values that vary beyond the rate", "one of the %lld does not", (long long)n);
    double rho = (ab - ac * bc) / sqrt((1 - ac * ac) * (1 - bc * bc));
    rho = fmax(-1, fmin(1, rho));
    double left = 1 - rho * rho, df = (double)(n - 3);
    *out = (sl_partial){ rho, ab, left > 0 ? fmin(1, 2 * sl_t_tail(fabs(rho) * sqrt(df / left), df)) : 0, n };
    return SL_OK;
}

sl_status sl_partial_spearman(sl_ctx *ctx, const double *a, const double *b, const double *rate, int64_t n, sl_partial *out, sl_err *err)
{
    size_t bytes = (size_t)n * sizeof(double);
    double *v[3] = { sl_alloc(ctx, bytes), sl_alloc(ctx, bytes), sl_alloc(ctx, bytes) }, *rank[3] = { sl_alloc(ctx, bytes), sl_alloc(ctx, bytes), sl_alloc(ctx, bytes) };
    sl_ranked *room = sl_alloc(ctx, (size_t)n * sizeof *room);
    int64_t used = 0;
    sl_status st;
    SL_GO(sl_have("partial correlation", 7, (const void *const[]){ v[0], v[1], v[2], rank[0], rank[1], rank[2], room }, err));
    for (int64_t i = 0; i < n; i++) {
        if (isnan(a[i]) || isnan(b[i]) || !(rate[i] > 0))
            continue;
        v[0][used] = a[i];
        v[1][used] = b[i];
        v[2][used++] = log10(rate[i]);
    }
    if (used < 4)
        SL_GO(sl_fail(err, SL_DATA, "partial correlation", "at least 4 latents", "%lld have all three values", (long long)used));
    for (int k = 0; k < 3; k++)
        sl_ranks(v[k], used, rank[k], room);
    double ab = sl_pearson_of(rank[0], rank[1], used), ac = sl_pearson_of(rank[0], rank[2], used), bc = sl_pearson_of(rank[1], rank[2], used);
    bool flat = isnan(sl_pearson_of(rank[1], rank[1], used)) || isnan(sl_pearson_of(rank[2], rank[2], used));
    SL_GO(partial(flat ? NAN : ab, ac, bc, used, out, err));
done:
    for (int k = 0; k < 3; k++) {
        sl_free(ctx, v[k]);
        sl_free(ctx, rank[k]);
    }
    sl_free(ctx, room);
    return st;
}
