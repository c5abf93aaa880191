/* Family "rates": distributions of firing rates and of active magnitudes, a number each (science.md A1 T7, T8, B7).
 *   rate_q05 .. rate_q95   quantiles of log10(firing rate) over alive latents
 *   rate_gini              Gini coefficient of the rates over all latents: 0 all alike, towards 1 few do all the firing
 *   magnitude_bits         mean over latents that fire at least LEAST times of the entropy, in bits, of the histogram of log2 z (SL_RATE_BINS fixed bins)
 *   hoyer                  mean over rows with a latent of (sqrt m - |z|_1 / |z|_2) / (sqrt m - 1): 1 one latent alone, 0 all m alike
 * Histograms and the Kolmogorov-Smirnov distance of two sets of codes: sl_rate_histograms, sl_ks. */
#include "base/sorted.h"
#include "eval/families.h"
#include "eval/measured.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST = 20 };
static const char *const names[] = { "rate_q05", "rate_q25", "rate_q50", "rate_q75", "rate_q95", "rate_gini", "magnitude_bits", "hoyer", NULL };

static int64_t magnitude_bin(double z)
{
    double b = floor(log2(z)) - SL_RATE_MAG_MIN;
    return b < 0 ? 0 : b >= SL_RATE_BINS ? SL_RATE_BINS - 1 : (int64_t)b;
}

void sl_rate_histograms(const sl_sparse *z, int64_t *fired, int64_t *magnitude)
{
    memset(fired, 0, (size_t)z->n_cols * sizeof *fired);
    memset(magnitude, 0, (size_t)(z->n_cols * SL_RATE_BINS) * sizeof *magnitude);
    for (int64_t e = 0; e < z->row_ptr[z->n_rows]; e++) {
        fired[z->idx[e]]++;
        magnitude[z->idx[e] * SL_RATE_BINS + magnitude_bin((double)z->val[e])]++;
    }
}

sl_status sl_ks(sl_ctx *ctx, const double *a, int64_t n_a, const double *b, int64_t n_b, double *distance, sl_err *err)
{
    if (n_a < 1 || n_b < 1)
        return sl_fail(err, SL_DATA, "distributions", "at least one value each", "%lld and %lld", (long long)n_a, (long long)n_b);
    for (int64_t i = 0; i < n_a + n_b; i++)
        if (!isfinite(i < n_a ? a[i] : b[i - n_a]))
            return sl_fail(err, SL_NUMERIC, "distributions", "finite numbers", "value %lld of the %s one", (long long)(i < n_a ? i : i - n_a), i < n_a ? "first" : "second");
    double *x = sl_alloc(ctx, (size_t)(n_a + n_b) * sizeof *x), *y = x + n_a;
    SL_TRY(sl_have("distributions", 1, (const void *const[]){ x }, err));
    memcpy(x, a, (size_t)n_a * sizeof *x);
    memcpy(y, b, (size_t)n_b * sizeof *y);
    qsort(x, (size_t)n_a, sizeof *x, sl_rising);
    qsort(y, (size_t)n_b, sizeof *y, sl_rising);
    *distance = 0;
    for (int64_t i = 0, j = 0; i < n_a && j < n_b;) {
        double at = x[i] < y[j] ? x[i] : y[j];
        while (i < n_a && x[i] == at)
            i++;
        while (j < n_b && y[j] == at)
            j++;
        *distance = fmax(*distance, fabs((double)i / (double)n_a - (double)j / (double)n_b));
    }
    sl_free(ctx, x);
    return SL_OK;
}

static sl_status put_rates(sl_ctx *ctx, const sl_eval_data *d, const int64_t *fired, double *v, sl_metrics *out, sl_err *err)
{
    static const double p[] = { .05, .25, .5, .75, .95 };
    int64_t alive = 0;
    double sum = 0, weighted = 0;
    for (int64_t j = 0; j < d->d_sae; j++)
        if (fired[j])
            v[alive++] = log10((double)fired[j] / (double)d->n_rows);
    qsort(v, (size_t)alive, sizeof *v, sl_rising);
    for (int i = 0; i < 5; i++)
        SL_TRY(sl_metrics_put(ctx, out, names[i], sl_quantile(v, alive, p[i]), alive, err));
    for (int64_t j = 0; j < d->d_sae; j++)
        v[j] = (double)fired[j];
    qsort(v, (size_t)d->d_sae, sizeof *v, sl_rising);
    for (int64_t j = 0; j < d->d_sae; j++) {
        sum += v[j];
        weighted += (double)(2 * (j + 1) - d->d_sae - 1) * v[j];
    }
    return sl_metrics_put(ctx, out, "rate_gini", weighted / ((double)d->d_sae * sum), d->d_sae, err);
}

static sl_status put_magnitudes(sl_ctx *ctx, const sl_eval_data *d, const int64_t *fired, const int64_t *magnitude, sl_metrics *out, sl_err *err)
{
    double sum = 0;
    int64_t n = 0;
    for (int64_t j = 0; j < d->d_sae; j++) {
        if (fired[j] < LEAST)
            continue;
        n++;
        for (int b = 0; b < SL_RATE_BINS; b++) {
            double share = (double)magnitude[j * SL_RATE_BINS + b] / (double)fired[j];
            sum -= share > 0 ? share * log2(share) : 0;
        }
    }
    return n ? sl_metrics_put(ctx, out, "magnitude_bits", sum / (double)n, n, err)
             : sl_metrics_null(ctx, out, "magnitude_bits", "no latent fires in 20 rows", err);
}

static sl_status put_hoyer(sl_ctx *ctx, const sl_eval_data *d, sl_metrics *out, sl_err *err)
{
    double sum = 0, root = sqrt((double)d->d_sae);
    int64_t n = 0;
    if (d->d_sae < 2)
        return sl_metrics_null(ctx, out, "hoyer", "one latent is neither sparse nor dense", err);
    for (int64_t r = 0; r < d->n_rows; r++) {
        double l1 = 0, sq = 0;
        for (int64_t e = d->z.row_ptr[r]; e < d->z.row_ptr[r + 1]; e++) {
            l1 += (double)d->z.val[e];
            sq += (double)d->z.val[e] * (double)d->z.val[e];
        }
        n += sq > 0;
        sum += sq > 0 ? (root - l1 / sqrt(sq)) / (root - 1) : 0;
    }
    return sl_metrics_put(ctx, out, "hoyer", sum / (double)n, n, err);
}

static sl_status run(sl_ctx *ctx, const sl_eval_data *d, sl_metrics *out, sl_err *err)
{
    if (d->z.row_ptr[d->n_rows] == 0)
        return sl_put_nulls(ctx, out, names, "no latent fires", err);
    int64_t *fired = sl_alloc(ctx, (size_t)d->d_sae * sizeof *fired), *magnitude = sl_alloc(ctx, (size_t)(d->d_sae * SL_RATE_BINS) * sizeof *magnitude);
    double *v = sl_alloc(ctx, (size_t)d->d_sae * sizeof *v);
    sl_status st;
    SL_GO(sl_have("firing rates", 3, (const void *const[]){ fired, magnitude, v }, err));
    sl_rate_histograms(&d->z, fired, magnitude);
    SL_GO(put_rates(ctx, d, fired, v, out, err));
    SL_GO(put_magnitudes(ctx, d, fired, magnitude, out, err));
    SL_GO(put_hoyer(ctx, d, out, err));
done:
    sl_free(ctx, v);
    sl_free(ctx, magnitude);
    sl_free(ctx, fired);
    return st;
}

const sl_family sl_family_rates = { "rates", "firing rates and magnitudes", SL_NEED_CODES, names, run };
