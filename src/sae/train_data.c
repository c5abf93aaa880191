/* What the trainer does with rows: normalisation x -> (x - mean) * scale, the first b_dec, folding, and rows that are not finite. */
#include "io/io.h"
#include "sae/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_ROWS = 8192 }; /* rows that the mean (where the source brings none), d_bar and b_dec are taken from */

void sl_sae_trainer_save_offender(sl_sae_trainer *t, const sl_act_batch *b)
{
    char name[64], path[1024];
    if (!t->dir)
        return;
    snprintf(name, sizeof name, "nonfinite-step-%lld.npy", (long long)t->step);
    sl_tensor x = sl_tensor_of(SL_F32, (void *)(uintptr_t)b->x, 2, b->n, t->s->d_in);
    sl_err why;
    if (sl_path_join(path, sizeof path, t->dir, name, &why) == SL_OK && sl_npy_write(t->ctx, path, &x, &why) == SL_OK)
        sl_log(t->ctx, SL_LOG_WARN, "the offending batch is in %s", path);
    else
        sl_log(t->ctx, SL_LOG_WARN, "the offending batch could not be saved: %s", why.msg);
}

sl_status sl_sae_trainer_next(sl_sae_trainer *t, int64_t n, sl_act_batch *out, sl_err *err)
{
    double begin = sl_clock();
    SL_TRY(t->src->next(t->src, n, out, err));
    t->wait += sl_clock() - begin;
    if (out->n < 1 || out->n > n)
        return sl_fail(err, SL_SHAPE, "activations", "1 row to as many as asked for", "%lld rows where %lld were asked for", (long long)out->n, (long long)n);
    sl_tensor x = sl_tensor_of(SL_F32, (void *)(uintptr_t)out->x, 2, out->n, t->s->d_in);
    int64_t bad = t->k->not_finite(t->k, &x);
    if (bad < 0)
        return SL_OK;
    sl_sae_trainer_save_offender(t, out);
    int64_t r = bad / t->s->d_in;
    return sl_fail(err, SL_NUMERIC, "activations", "finite numbers", "step %lld: row %lld of the batch (row %lld of the data), column %lld is %g",
                   (long long)t->step, (long long)r, out->row ? (long long)out->row[r] : -1LL, (long long)(bad % t->s->d_in), (double)out->x[bad]);
}

void sl_sae_trainer_normalize(sl_sae_trainer *t, const sl_act_batch *b, sl_tensor *x)
{
    sl_tensor raw = sl_tensor_of(SL_F32, (void *)(uintptr_t)b->x, 2, b->n, t->s->d_in);
    *x = sl_tensor_of(SL_F32, t->x, 2, b->n, t->s->d_in);
    if (t->mean) {
        sl_tensor mean = sl_tensor_of(SL_F32, t->mean, 1, t->s->d_in);
        t->k->add_row(t->k, &raw, -1, &mean, x);
        t->k->axpby(t->k, t->scale, x, 0, x);
    } else
        t->k->axpby(t->k, t->scale, &raw, 0, x);
}

/* Mean [d_in] and mean |x - mean|^2 of the first rows. sum, sq [d_in]; sums are of x - shift, so that a large mean costs no digits. */
static sl_status first_moments(sl_sae_trainer *t, float *shift, double *sum, double *var, sl_err *err)
{
    int64_t d = t->s->d_in, want = t->src->info.n_rows > 0 && t->src->info.n_rows < FIRST_ROWS ? t->src->info.n_rows : FIRST_ROWS, n = 0;
    double sq = 0;
    while (n < want) {
        sl_act_batch b;
        SL_TRY(sl_sae_trainer_next(t, want - n < t->batch ? want - n : t->batch, &b, err));
        if (n == 0)
            memcpy(shift, b.x, (size_t)d * sizeof *shift);
        for (int64_t i = 0; i < b.n * d; i++) {
            double v = (double)b.x[i] - (double)shift[i % d];
            sum[i % d] += v;
            sq += v * v;
        }
        n += b.n;
    }
    double off = 0;
    for (int64_t j = 0; j < d; j++) {
        sum[j] /= (double)n;
        off += sum[j] * sum[j];
        sum[j] += (double)shift[j];
    }
    *var = sq / (double)n - off;
    return SL_OK;
}

static sl_status normalisation(sl_sae_trainer *t, const double *mean, double var, sl_err *err)
{
    const sl_act_info *info = &t->src->info;
    int64_t d = t->s->d_in;
    if (!(var > 0))
        return sl_fail(err, SL_DATA, "activations", "rows that differ", "the first rows are all the same: zero variance");
    t->scale = 1;
    if (t->c->normalize) {
        t->mean = sl_alloc(t->ctx, (size_t)d * sizeof *t->mean);
        if (!t->mean)
            return sl_fail(err, SL_MEM, "sae train", NULL, "no memory for the mean of %lld columns", (long long)d);
        for (int64_t j = 0; j < d; j++)
            t->mean[j] = info->mean ? info->mean[j] : (float)mean[j];
        t->scale = info->mean ? info->scale : sqrt((double)d / var);
    }
    if (!(t->scale > 0) || !isfinite(t->scale))
        return sl_fail(err, SL_DATA, "activations", "a positive number", "their scale is %g", t->scale);
    t->d_bar = t->scale * t->scale * var;
    float *b_dec = t->s->b_dec->value.data;
    for (int64_t j = 0; j < d; j++)
        b_dec[j] = (float)((mean[j] - (t->mean ? (double)t->mean[j] : 0)) * t->scale);
    sl_param_touch(t->s->b_dec);
    return SL_OK;
}

sl_status sl_sae_trainer_prepare_data(sl_sae_trainer *t, sl_err *err)
{
    size_t d = (size_t)t->s->d_in;
    float *shift = sl_alloc(t->ctx, d * sizeof *shift);
    double *mean = sl_alloc(t->ctx, d * sizeof *mean), var = 0;
    sl_status st = SL_OK;
    if (!shift || !mean)
        st = sl_fail(err, SL_MEM, "sae train", NULL, "no memory for the mean of %zu columns", d);
    if (st == SL_OK)
        st = t->src->seek(t->src, 0, err);
    if (st == SL_OK)
        st = first_moments(t, shift, mean, &var, err);
    if (st == SL_OK)
        st = normalisation(t, mean, var, err);
    if (st == SL_OK)
        st = t->src->seek(t->src, 0, err);
    sl_free(t->ctx, shift);
    sl_free(t->ctx, mean);
    return st;
}

/* With x_n = s (x - mu): W_enc (x_n - b) + b_enc = s W_enc (x - (b / s + mu)) + b_enc, and x^ = (W_dec^T z + b) / s + mu. */
sl_status sl_sae_trainer_fold(sl_sae_trainer *t, sl_err *err)
{
    sl_sae *s = t->s;
    const sl_kern *k = t->k;
    if (t->mean) {
        sl_tensor mean = sl_tensor_of(SL_F32, t->mean, 1, s->d_in);
        k->axpby(k, t->scale, &s->W_enc->value, 0, &s->W_enc->value);
        k->axpby(k, 1 / t->scale, &s->W_dec->value, 0, &s->W_dec->value);
        k->axpby(k, 1, &mean, 1 / t->scale, &s->b_dec->value);
    }
    for (int i = 0; i < sl_params_count(s->params); i++) {
        sl_param *p = sl_params_at(s->params, i);
        sl_param_touch(p);
        if (k->not_finite(k, &p->value) >= 0)
            return sl_fail(err, SL_NUMERIC, p->name, "finite numbers", "a weight is not finite after step %lld", (long long)t->step);
    }
    s->mean = t->mean;
    t->mean = NULL;
    s->scale = t->scale;
    s->state = SL_SAE_READY;
    return SL_OK;
}
