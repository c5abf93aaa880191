/* Stability read off the weights (science.md B3, B4), without noise.
 *   csr_q*      quantiles over rows of the certified support radius r(x) / |x - mean|
 *   cos_ed      mean over alive latents of cos(w_j, d_j)
 *   noise_gain  mean over alive latents with w_j . d_j > 0 of |w_j| |d_j| / (w_j . d_j): the noise that the encoder lets through, 1 at best
 *   leak_rms    sqrt of the mean over alive i, j other than i, of (M_ij / M_ii)^2, M = W_enc W_dec^T: what injecting j adds to i */
#include "eval/robust.h"

#include "base/sorted.h"
#include "kern/kern.h"
#include "sae/variant.h"

#include <math.h>
#include <stdlib.h>

#define WORK 2e9 /* products that the certified radii may cost */

int64_t sl_few_rows(const sl_subject *u)
{
    const sl_eval_data *d = &u->g.data;
    double n = WORK / ((double)d->d_in * (double)d->d_sae);
    n = n < 256 ? 256 : n;
    return n < (double)d->n_rows ? (int64_t)n : d->n_rows;
}

double sl_subject_norm(const sl_subject *u, int64_t r)
{
    const sl_eval_data *d = &u->g.data;
    double sq = 0;
    for (int64_t i = 0; i < d->d_in; i++) {
        double v = (double)d->x[r * d->d_in + i] - (u->mean ? (double)u->mean[i] : 0);
        sq += v * v;
    }
    return sqrt(sq);
}

/* ---- certified radius ---- */

static sl_status put_quantiles(const sl_subject *u, double *v, int64_t n, sl_metrics *out, sl_err *err)
{
    static const struct { const char *name; double p; } of[] = { { "csr_q05", .05 }, { "csr_q25", .25 }, { "csr_q50", .5 }, { "csr_q75", .75 }, { "csr_q95", .95 }, { "csr_q", .5 } };
    int64_t used = 0;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(v[i]))
            v[used++] = v[i];
    qsort(v, (size_t)used, sizeof *v, sl_rising);
    for (size_t k = 0; k < sizeof of / sizeof *of; k++)
        SL_TRY(used ? sl_metrics_put(u->ctx, out, of[k].name, sl_quantile(v, used, of[k].p), used, err)
                    : sl_metrics_null(u->ctx, out, of[k].name, "every row is the mean", err));
    return SL_OK;
}

static sl_status put_radii(const sl_subject *u, sl_metrics *out, sl_err *err)
{
    static const char *const names[] = { "csr_q05", "csr_q25", "csr_q50", "csr_q75", "csr_q95", "csr_q", NULL };
    int64_t n = sl_few_rows(u);
    double *csr = sl_alloc(u->ctx, (size_t)n * sizeof *csr);
    SL_TRY(sl_have("certified radius", 1, (const void *const[]){ csr }, err));
    sl_status st = sl_certified_radii(u->ctx, u->s, u->g.data.x, n, u->mean, csr, err);
    if (st == SL_UNAVAILABLE)
        st = sl_put_nulls(u->ctx, out, names, "the encoder is not linear", err);
    else if (st == SL_OK)
        st = put_quantiles(u, csr, n, out, err);
    sl_free(u->ctx, csr);
    return st;
}

/* ---- encoder against decoder ---- */

typedef struct sums { double cos, gain, leak; int64_t n_cos, n_gain, n_leak; } sums;

/* sum over j of M_ij^2 is w_i^T (W_dec^T W_dec) w_i: no m x m matrix. gram [d, d]. */
static void add_latent(const float *w, const float *v, const float *gram, int64_t d, int64_t m, sums *s)
{
    double ww = 0, vv = 0, wv = 0, all = 0;
    for (int64_t i = 0; i < d; i++) {
        double row = 0;
        for (int64_t k = 0; k < d; k++)
            row += (double)gram[i * d + k] * (double)w[k];
        all += (double)w[i] * row;
        ww += (double)w[i] * (double)w[i];
        vv += (double)v[i] * (double)v[i];
        wv += (double)w[i] * (double)v[i];
    }
    if (ww > 0 && vv > 0) {
        s->cos += wv / sqrt(ww * vv);
        s->n_cos++;
    }
    if (!(wv > 0))
        return;
    s->gain += sqrt(ww * vv) / wv;
    s->n_gain++;
    s->leak += m > 1 ? fmax(0, all - wv * wv) / (wv * wv) : 0;
    s->n_leak += m - 1;
}

static sl_status gram_of(const sl_subject *u, const sl_tensor *W, float *gram, sl_err *err)
{
    const sl_kern *k;
    int64_t d = u->g.data.d_in;
    sl_tensor c = sl_tensor_of(SL_F32, gram, 2, d, d);
    SL_TRY(sl_kern_get(u->ctx, SL_F32, &k, err));
    k->gemm(k, &(sl_gemm){ .a = W, .b = W, .ta = true, .c = &c, .alpha = 1 });
    return SL_OK;
}

static sl_status put_sums(const sl_subject *u, const sums *s, sl_metrics *out, sl_err *err)
{
    static const char none[] = "no latent fires often enough", against[] = "no alive latent is read along its decoder direction";
    SL_TRY(s->n_cos ? sl_metrics_put(u->ctx, out, "cos_ed", s->cos / (double)s->n_cos, s->n_cos, err) : sl_metrics_null(u->ctx, out, "cos_ed", none, err));
    SL_TRY(s->n_gain ? sl_metrics_put(u->ctx, out, "noise_gain", s->gain / (double)s->n_gain, s->n_gain, err) : sl_metrics_null(u->ctx, out, "noise_gain", s->n_cos ? against : none, err));
    return s->n_leak ? sl_metrics_put(u->ctx, out, "leak_rms", sqrt(s->leak / (double)s->n_leak), s->n_gain, err) : sl_metrics_null(u->ctx, out, "leak_rms", s->n_cos ? against : none, err);
}

static sl_status put_geometry(const sl_subject *u, sl_metrics *out, sl_err *err)
{
    static const char *const names[] = { "cos_ed", "noise_gain", "leak_rms", NULL };
    const sl_eval_data *data = &u->g.data;
    int64_t d = data->d_in, m = data->d_sae;
    sums s = { 0 };
    sl_tensor enc, dec;
    if (!u->s->W_enc)
        return sl_put_nulls(u->ctx, out, names, "it has no encoder", err);
    SL_TRY(sl_sae_weight(u->s, "W_enc", &enc, err));
    SL_TRY(sl_sae_weight(u->s, "W_dec", &dec, err));
    float *gram = sl_alloc(u->ctx, (size_t)(d * d) * sizeof *gram);
    int64_t *fired = sl_alloc(u->ctx, (size_t)m * sizeof *fired);
    sl_status st;
    SL_GO(sl_have("encoder and decoder", 2, (const void *const[]){ gram, fired }, err));
    SL_GO(gram_of(u, &dec, gram, err));
    for (int64_t e = 0; e < data->z.row_ptr[data->n_rows]; e++)
        fired[data->z.idx[e]]++;
    for (int64_t j = 0; j < m; j++)
        if (fired[j] >= SL_STABILITY_ALIVE)
            add_latent((const float *)enc.data + j * d, (const float *)dec.data + j * d, gram, d, m, &s);
    SL_GO(put_sums(u, &s, out, err));
done:
    sl_free(u->ctx, gram);
    sl_free(u->ctx, fired);
    return st;
}

sl_status sl_put_weights(const sl_subject *u, sl_metrics *out, sl_err *err)
{
    SL_TRY(put_radii(u, out, err));
    return put_geometry(u, out, err);
}
