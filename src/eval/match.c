/* Family "directions": learned directions against the true ones (science.md sections 0 and K4). Weights alone: no sampling error, so no
 * interval; uncertainty is over seeds.
 *   mcc_dec_abs, mcc_dec_signed   mean cosine over the min(n, m) pairs of the best one-to-one matching
 *   mcc_floor                     mcc_dec_abs of random dictionaries; mcc_adj = (mcc - floor) / (1 - floor)
 *   uniq                          distinct features among argmax_g |cos(d_j, f_g)| / latents
 *   mmcs, mmcs_back               mean over latents (features) of the largest |cos| */
#include "eval/families.h"
#include "eval/measured.h"

#include <math.h>

/* ---- shared with other families ---- */

sl_status sl_matching_new(sl_ctx *ctx, const sl_eval_data *d, sl_matching *out, sl_err *err)
{
    int64_t m = d->d_sae, n = d->n_truth;
    *out = (sl_matching){ 0 };
    float *size = sl_alloc(ctx, (size_t)(m * n) * sizeof *size);
    out->cos = sl_alloc(ctx, (size_t)(m * n) * sizeof *out->cos);
    out->match = sl_alloc(ctx, (size_t)m * sizeof *out->match);
    out->best = sl_alloc(ctx, (size_t)m * sizeof *out->best);
    out->of_truth = sl_alloc(ctx, (size_t)n * sizeof *out->of_truth);
    sl_status st;
    SL_GO(sl_have("matching", 5, (const void *const[]){ size, out->cos, out->match, out->best, out->of_truth }, err));
    SL_GO(sl_cosines(ctx, d->W_dec, m, d->truth, n, d->d_in, out->cos, err));
    for (int64_t i = 0; i < m * n; i++)
        size[i] = fabsf(out->cos[i]);
    SL_GO(sl_assign(ctx, size, m, n, out->match, &out->total, err));
    for (int64_t g = 0; g < n; g++)
        out->of_truth[g] = -1;
    for (int64_t j = 0; j < m; j++) {
        if (out->match[j] >= 0)
            out->of_truth[out->match[j]] = (int32_t)j;
        for (int64_t g = 1; g < n; g++)
            if (size[j * n + g] > size[j * n + out->best[j]])
                out->best[j] = (int32_t)g;
    }
done:
    sl_free(ctx, size);
    return st;
}

void sl_matching_release(sl_ctx *ctx, sl_matching *m)
{
    sl_free(ctx, m->cos);
    sl_free(ctx, m->match);
    sl_free(ctx, m->best);
    sl_free(ctx, m->of_truth);
    *m = (sl_matching){ 0 };
}

/* ---- the family ---- */

static const char *const names[] = { "mcc_dec_abs", "mcc_dec_signed", "mcc_floor", "mcc_adj", "mcc_adj_signed", "uniq", "mmcs", "mmcs_back", NULL };

static bool all_zero(const float *w, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (w[i] != 0)
            return false;
    return true;
}

static double uniqueness(sl_ctx *ctx, const sl_matching *k, int64_t m, int64_t n)
{
    bool *seen = sl_alloc(ctx, (size_t)n * sizeof *seen);
    int64_t distinct = 0;
    for (int64_t j = 0; seen && j < m; j++) {
        distinct += !seen[k->best[j]];
        seen[k->best[j]] = true;
    }
    double share = seen ? (double)distinct / (double)m : NAN;
    sl_free(ctx, seen);
    return share;
}

/* mean over latents of the largest |cos|, and over features */
static void mean_max(const sl_matching *k, int64_t m, int64_t n, double mmcs[2])
{
    mmcs[0] = mmcs[1] = 0;
    for (int64_t j = 0; j < m; j++)
        mmcs[0] += fabs((double)k->cos[j * n + k->best[j]]) / (double)m;
    for (int64_t g = 0; g < n; g++) {
        float most = 0;
        for (int64_t j = 0; j < m; j++)
            most = fmaxf(most, fabsf(k->cos[j * n + g]));
        mmcs[1] += (double)most / (double)n;
    }
}

static double adjusted(double mcc, double floor)
{
    return floor < 1 ? (mcc - floor) / (1 - floor) : NAN; /* NaN: one direction in one dimension */
}

static sl_status put(sl_ctx *ctx, const sl_eval_data *d, const sl_matching *k, double signed_mcc, sl_metrics *out, sl_err *err)
{
    int64_t m = d->d_sae, n = d->n_truth, pairs = m < n ? m : n;
    sl_floor abs_floor, signed_floor;
    double mmcs[2], mcc = k->total / (double)pairs;
    SL_TRY(sl_mcc_floor(ctx, m, n, d->d_in, true, &abs_floor, err));
    SL_TRY(sl_mcc_floor(ctx, m, n, d->d_in, false, &signed_floor, err));
    mean_max(k, m, n, mmcs);
    SL_TRY(sl_put_floored(ctx, out, "mcc_dec_abs", mcc, pairs, abs_floor.mean, err));
    SL_TRY(sl_put_floored(ctx, out, "mcc_dec_signed", signed_mcc / (double)pairs, pairs, signed_floor.mean, err));
    SL_TRY(sl_metrics_put(ctx, out, "mcc_floor", abs_floor.mean, abs_floor.n_dicts, err));
    SL_TRY(sl_put_floored(ctx, out, "mcc_adj", adjusted(mcc, abs_floor.mean), pairs, 0, err));
    SL_TRY(sl_put_floored(ctx, out, "mcc_adj_signed", adjusted(signed_mcc / (double)pairs, signed_floor.mean), pairs, 0, err));
    /* m draws with replacement from n features: the share that is distinct */
    double chance = (double)n / (double)m * -expm1((double)m * log1p(-1 / (double)n));
    SL_TRY(sl_put_floored(ctx, out, "uniq", uniqueness(ctx, k, m, n), m, n > 1 ? chance : 1 / (double)m, err));
    SL_TRY(sl_metrics_put(ctx, out, "mmcs", mmcs[0], m, err));
    return sl_metrics_put(ctx, out, "mmcs_back", mmcs[1], n, err);
}

static sl_status run(sl_ctx *ctx, const sl_eval_data *d, sl_metrics *out, sl_err *err)
{
    sl_matching k = { 0 };
    int32_t *match = NULL;
    double signed_mcc;
    sl_status st;
    if (all_zero(d->W_dec, d->d_sae * d->d_in) || all_zero(d->truth, d->n_truth * d->d_in))
        return sl_put_nulls(ctx, out, names, "every direction is zero", err);
    SL_GO(sl_matching_new(ctx, d, &k, err));
    match = sl_alloc(ctx, (size_t)d->d_sae * sizeof *match);
    SL_GO(sl_have("matching", 1, (const void *const[]){ match }, err));
    SL_GO(sl_assign(ctx, k.cos, d->d_sae, d->n_truth, match, &signed_mcc, err));
    SL_GO(put(ctx, d, &k, signed_mcc, out, err));
done:
    sl_free(ctx, match);
    sl_matching_release(ctx, &k);
    return st;
}

const sl_family sl_family_directions = {
    "directions", "learned against true directions", SL_NEED_DIRECTIONS | SL_NEED_TRUTH, names, run
};
