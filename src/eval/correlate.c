/* Family "codes": latents against true codes by correlation over rows.
 *   mcc_code   mean |Pearson(z_j, g)| over the pairs of the best one-to-one matching (2603.28744), over min(latents, true features that vary)
 *   purity     mean over alive latents of max_g r^2 / sum_g r^2, the sum over features with |r| >= .1; 0 for a latent that none explains
 * Floors: the same with the rows of z shuffled. */
#include "eval/families.h"
#include "eval/measured.h"

#include <math.h>

#define EXPLAINS .1

typedef struct correlations {
    int64_t n_rows, n;
    const sl_columns *z;
    const double *g_sum, *g_spread; /* [n] sum, and sum (g - mean)^2 */
    float *r;                       /* [m, n] |Pearson| */
} correlations;

static void see(void *user, const sl_cross_row *c)
{
    correlations *a = user;
    double sq, sum = sl_column_sum(a->z, c->latent, &sq), rows = (double)a->n_rows, spread = sq - sum * sum / rows;
    float *r = a->r + c->latent * a->n;
    bool flat = !(spread > 1e-9 * sq);
    for (int64_t g = 0; g < a->n; g++)
        r[g] = flat || !(a->g_spread[g] > 0) ? 0 : (float)fabs((c->prod[g] - sum * a->g_sum[g] / rows) / sqrt(spread * a->g_spread[g]));
}

typedef struct result { double mcc, purity; } result;

static double purity_of(const float *r, int64_t n)
{
    double top = 0, all = 0;
    for (int64_t g = 0; g < n; g++) {
        double sq = (double)r[g] * (double)r[g];
        top = sq > top ? sq : top;
        all += r[g] >= (float)EXPLAINS ? sq : 0;
    }
    return all > 0 ? top / all : 0;
}

static sl_status score(sl_ctx *ctx, correlations *a, const sl_sparse *g, const int32_t *perm, int32_t *match, int64_t pairs, result *out, sl_err *err)
{
    double total;
    SL_TRY(sl_cross(ctx, a->z, g, perm, see, a, err));
    SL_TRY(sl_assign(ctx, a->r, a->z->n_cols, a->n, match, &total, err));
    *out = (result){ .mcc = total / (double)pairs };
    for (int64_t j = 0; j < a->z->n_cols; j++)
        if (sl_fired(a->z, j))
            out->purity += purity_of(a->r + j * a->n, a->n);
    out->purity /= (double)sl_alive(a->z);
    return SL_OK;
}

/* How many columns vary; sum and spread of each. */
static int64_t spreads(const sl_columns *c, double *sum, double *spread)
{
    int64_t n = 0;
    for (int64_t j = 0; j < c->n_cols; j++) {
        double sq, s = sl_column_sum(c, j, &sq), v = sq - s * s / (double)c->n_rows;
        sum[j] = s;
        spread[j] = v > 1e-9 * sq ? v : 0;
        n += spread[j] > 0;
    }
    return n;
}

static const char *const names[] = { "mcc_code", "purity", NULL };

static sl_status put(sl_ctx *ctx, const sl_eval_data *d, correlations *a, int32_t *match, int64_t varying, sl_metrics *out, sl_err *err)
{
    int64_t pairs = varying < d->d_sae ? varying : d->d_sae;
    int32_t *perm;
    result got, chance;
    SL_TRY(score(ctx, a, &d->g, NULL, match, pairs, &got, err));
    SL_TRY(sl_shuffled_rows(ctx, d->seed, d->n_rows, &perm, err));
    sl_status st = score(ctx, a, &d->g, perm, match, pairs, &chance, err);
    sl_free(ctx, perm);
    if (st != SL_OK)
        return st;
    SL_TRY(sl_put_floored(ctx, out, "mcc_code", got.mcc, pairs, chance.mcc, err));
    return sl_put_floored(ctx, out, "purity", got.purity, sl_alive(a->z), chance.purity, err);
}

static sl_status run(sl_ctx *ctx, const sl_eval_data *d, sl_metrics *out, sl_err *err)
{
    sl_columns z = { 0 }, g = { 0 };
    int64_t m = d->d_sae, n = d->n_truth, most = m > n ? m : n;
    double *sum = sl_alloc(ctx, (size_t)most * sizeof *sum), *spread = sl_alloc(ctx, (size_t)most * sizeof *spread);
    float *r = sl_alloc(ctx, (size_t)(m * n) * sizeof *r);
    int32_t *match = sl_alloc(ctx, (size_t)m * sizeof *match);
    sl_status st;
    SL_GO(sl_have("correlations", 4, (const void *const[]){ sum, spread, r, match }, err));
    SL_GO(sl_columns_new(ctx, &d->z, &z, err));
    SL_GO(sl_columns_new(ctx, &d->g, &g, err));
    bool flat = spreads(&z, sum, spread) == 0;
    int64_t varying = spreads(&g, sum, spread);
    correlations a = { d->n_rows, n, &z, sum, spread, r };
    if (flat || varying == 0)
        st = sl_put_nulls(ctx, out, names, flat ? "no latent varies over the rows" : "no true feature varies over the rows", err);
    else
        st = put(ctx, d, &a, match, varying, out, err);
done:
    sl_columns_release(ctx, &z);
    sl_columns_release(ctx, &g);
    sl_free(ctx, match);
    sl_free(ctx, r);
    sl_free(ctx, spread);
    sl_free(ctx, sum);
    return st;
}

const sl_family sl_family_codes = { "codes", "codes against true codes", SL_NEED_CODES | SL_NEED_TRUE_CODES, names, run };
