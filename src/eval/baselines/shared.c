/* What several methods need: memory, progress, centring, covariance, signed pairs. */
#include "eval/baselines/baseline.h"

#include <saelab/rng.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

sl_status sl_base_matrix(sl_baseline *b, const char *what, int64_t rows, int64_t cols, sl_tensor *out, sl_err *err)
{
    *out = sl_tensor_of(SL_F32, NULL, 2, rows, cols);
    if (rows == 1)
        *out = sl_tensor_of(SL_F32, NULL, 1, cols);
    if (rows > 0 && cols <= INT64_MAX / 8 / rows)
        out->data = sl_alloc(b->ctx, (size_t)(rows * cols) * sizeof(float));
    return out->data ? SL_OK : sl_fail(err, SL_MEM, what, NULL, "no memory for %lld x %lld numbers", (long long)rows, (long long)cols);
}

sl_status sl_base_own(sl_baseline *b, int64_t enc_cols, sl_err *err)
{
    SL_TRY(sl_base_matrix(b, "W_enc", b->d_sae, enc_cols, &b->W_enc, err));
    return sl_base_matrix(b, "b_enc", 1, b->d_sae, &b->b_enc, err);
}

static sl_status grow_curve(sl_baseline *b, sl_err *err)
{
    int64_t cap = b->cap_curve ? 2 * b->cap_curve : 256;
    double *v = sl_alloc(b->ctx, (size_t)cap * sizeof *v);
    if (!v)
        return sl_fail(err, SL_MEM, b->ops->info.name, NULL, "no memory for its progress");
    if (b->n_curve)
        memcpy(v, b->curve, (size_t)b->n_curve * sizeof *v);
    sl_free(b->ctx, b->curve);
    b->curve = v;
    b->cap_curve = cap;
    return SL_OK;
}

sl_status sl_base_report(sl_baseline *b, double value, int64_t done, int64_t total, sl_err *err)
{
    char task[64];
    snprintf(task, sizeof task, "fit %s", b->ops->info.name);
    if (!isfinite(value))
        return sl_fail(err, SL_NUMERIC, task, "a finite objective", "it is %g after iteration %lld", value, (long long)done);
    if (sl_cancelled(b->ctx))
        return sl_fail(err, SL_CANCELLED, task, NULL, "stopped after iteration %lld of %lld", (long long)done, (long long)total);
    if (b->n_curve == b->cap_curve)
        SL_TRY(grow_curve(b, err));
    b->curve[b->n_curve++] = value;
    sl_progress(b->ctx, task, (double)done, (double)total, "iterations", "objective %.5g", value);
    return SL_OK;
}

bool sl_base_settled(const sl_baseline *b, double tol)
{
    if (b->n_curve < 2)
        return false;
    double now = b->curve[b->n_curve - 1], before = b->curve[b->n_curve - 2];
    return fabs(before - now) <= tol * fabs(before);
}

void sl_base_gemm(const sl_kern *k, double alpha, const sl_tensor *a, bool ta, const sl_tensor *b, bool tb, double beta, sl_tensor *c)
{
    sl_gemm g = { .a = a, .b = b, .ta = ta, .tb = tb, .c = c, .alpha = alpha, .beta = beta };
    k->gemm(k, &g);
}

sl_status sl_base_center(sl_baseline *b, const sl_baseline_data *d, bool center, sl_tensor *xc, sl_err *err)
{
    float *bias = b->b_dec.data;
    for (int64_t j = 0; center && j < d->d_in; j++) {
        double sum = 0;
        for (int64_t r = 0; r < d->n; r++)
            sum += (double)d->x[r * d->d_in + j];
        bias[j] = (float)(sum / (double)d->n);
    }
    SL_TRY(sl_base_matrix(b, "rows", d->n, d->d_in, xc, err));
    sl_tensor x = sl_tensor_of(SL_F32, (void *)(uintptr_t)d->x, 2, d->n, d->d_in);
    b->kern->add_row(b->kern, &x, -1, &b->b_dec, xc);
    return SL_OK;
}

sl_status sl_base_covariance(sl_baseline *b, const sl_tensor *xc, double *cov, sl_err *err)
{
    enum { PART = 1024 };
    int64_t n = sl_rows(xc), d = sl_cols(xc);
    sl_tensor c;
    SL_TRY(sl_base_matrix(b, "covariance", d, d, &c, err));
    memset(cov, 0, (size_t)(d * d) * sizeof *cov);
    for (int64_t r = 0; r < n; r += PART) {
        sl_tensor rows = sl_tensor_of(SL_F32, (float *)xc->data + r * d, 2, n - r < PART ? n - r : (int64_t)PART, d);
        sl_base_gemm(b->kern, 1, &rows, true, &rows, false, 0, &c);
        for (int64_t i = 0; i < d * d; i++)
            cov[i] += (double)((const float *)c.data)[i] / (double)n;
    }
    sl_free(b->ctx, c.data);
    return SL_OK;
}

void sl_base_signed_pair(sl_baseline *b, int64_t j, const double *enc, const double *dec)
{
    int64_t d = b->d_in, n = b->d_sae / 2;
    float *We = b->W_enc.data, *Wd = b->W_dec.data;
    double sq = 0;
    for (int64_t i = 0; i < d; i++)
        sq += dec[i] * dec[i];
    double norm = sqrt(sq), inverse = norm > 0 ? 1 / norm : 0;
    for (int64_t i = 0; i < d; i++) {
        We[j * d + i] = (float)(enc[i] * norm);
        Wd[j * d + i] = (float)(dec[i] * inverse);
        We[(j + n) * d + i] = -We[j * d + i];
        Wd[(j + n) * d + i] = -Wd[j * d + i];
    }
}

sl_status sl_base_encode_topk(sl_baseline *b, const sl_tensor *xc, sl_csr *z, sl_err *err)
{
    (void)err;
    b->kern->encode_topk(b->kern, xc, &b->W_enc, &b->b_enc, NULL, b->k > 0 ? b->k : b->d_sae, z);
    return SL_OK;
}

sl_status sl_base_rows_enough(const sl_baseline_data *d, int64_t latents, sl_err *err)
{
    if (latents > d->n)
        return sl_fail(err, SL_ARG, "d_sae", "at most the number of rows", "%lld latents from %lld rows", (long long)latents, (long long)d->n);
    return SL_OK;
}

sl_status sl_base_random_rows(sl_baseline *b, const sl_tensor *xc, sl_tensor *out, sl_err *err)
{
    int64_t n = sl_rows(xc), d = sl_cols(xc), *order = sl_alloc(b->ctx, (size_t)n * sizeof *order);
    if (!order)
        return sl_fail(err, SL_MEM, "rows", NULL, "no memory for the order of %lld", (long long)n);
    sl_rng r = sl_rng_at(b->seed, SL_RNG_INIT, 0, 0);
    sl_rng_perm(&r, order, n);
    for (int64_t j = 0; j < sl_rows(out); j++)
        memcpy((float *)out->data + j * d, (const float *)xc->data + order[j] * d, (size_t)d * sizeof(float));
    sl_free(b->ctx, order);
    return SL_OK;
}
