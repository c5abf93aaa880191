/* Directions in place of an SAE's latents: a JumpReLU encoder whose rows are the directions v / |v|, centred on the rows' mean, with a threshold each that
 * the largest `share` of the first rows' projections pass. */
#include "eval/features.h"
#include "kern/kern.h"
#include "sae/variant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 8192, COLUMNS = 256 };

/* Rows of norm 1. */
static sl_status normalise(const float *v, int64_t n, int64_t d, float *out, sl_err *err)
{
    for (int64_t j = 0; j < n; j++) {
        double sq = 0;
        for (int64_t i = 0; i < d; i++)
            sq += (double)v[j * d + i] * v[j * d + i];
        if (!isfinite(sq) || sq == 0)
            return sl_fail(err, SL_NUMERIC, "vectors", "a finite norm above 0", "vector %lld has norm %g", (long long)j, sqrt(sq));
        for (int64_t i = 0; i < d; i++)
            out[j * d + i] = (float)(v[j * d + i] / sqrt(sq));
    }
    return SL_OK;
}

/* Copies the first n rows, takes their mean out of them. */
static sl_status centred_rows(sl_fbuild *b, int64_t n, float *x, float *mean, sl_err *err)
{
    int64_t d = b->in->rows->info.d_in;
    sl_act_batch a;
    double *sum = sl_alloc(b->ctx, (size_t)d * sizeof *sum);
    sl_status st = sum ? b->in->rows->seek(b->in->rows, 0, err) : sl_fail(err, SL_MEM, "vectors", NULL, "no memory for a mean");
    if (st == SL_OK)
        st = b->in->rows->next(b->in->rows, n, &a, err);
    if (st == SL_OK) {
        for (int64_t i = 0; i < n * d; i++)
            sum[i % d] += a.x[i];
        for (int64_t i = 0; i < d; i++)
            mean[i] = (float)(sum[i] / (double)n);
        for (int64_t i = 0; i < n * d; i++)
            x[i] = a.x[i] - mean[i % d];
    }
    sl_free(b->ctx, sum);
    return st;
}

static int falling(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x > y ? -1 : x < y;
}

/* theta_j: the projection that `keep` of the n rows reach; p [n, m] of vectors first .. first + m - 1. */
static void set_thresholds(sl_fbuild *b, const float *p, int64_t n, int64_t first, int64_t m, float *column, float *theta)
{
    int64_t keep = (int64_t)ceil(b->o->share * (double)n);
#pragma omp parallel for num_threads(sl_ctx_threads(b->ctx)) schedule(static)
    for (int64_t j = 0; j < m; j++) {
        float *c = column + j * n;
        for (int64_t r = 0; r < n; r++)
            c[r] = p[r * m + j];
        qsort(c, (size_t)n, sizeof *c, falling);
        float t = keep < n ? c[keep] : 0;
        theta[first + j] = t > 1e-6f ? t : 1e-6f; /* an activation is positive */
    }
}

/* Thresholds from the first rows; mean [d] too. */
static sl_status thresholds(sl_fbuild *b, const float *V, float *mean, float *theta, sl_err *err)
{
    int64_t d = b->in->rows->info.d_in, F = b->in->n_vectors, have = b->in->rows->info.n_rows, n = have >= 0 && have < ROWS ? have : ROWS;
    const sl_kern *k;
    SL_TRY(sl_kern_get(b->ctx, SL_F32, &k, err));
    float *x = sl_alloc(b->ctx, (size_t)(n * d) * sizeof *x), *p = sl_alloc(b->ctx, (size_t)(n * COLUMNS) * sizeof *p);
    float *column = sl_alloc(b->ctx, (size_t)(n * COLUMNS) * sizeof *column);
    sl_status st = x && p && column ? centred_rows(b, n, x, mean, err) : sl_fail(err, SL_MEM, "vectors", NULL, "no memory for projections");
    for (int64_t first = 0; st == SL_OK && first < F; first += COLUMNS) {
        int64_t m = F - first < COLUMNS ? F - first : COLUMNS;
        sl_tensor rows = sl_tensor_of(SL_F32, x, 2, n, d), some = sl_tensor_of(SL_F32, (void *)(uintptr_t)(V + first * d), 2, m, d), c = sl_tensor_of(SL_F32, p, 2, n, m);
        k->gemm(k, &(sl_gemm){ .a = &rows, .b = &some, .tb = true, .c = &c, .alpha = 1 });
        if (sl_kern_failed(k))
            st = sl_fail(err, SL_MEM, "vectors", NULL, "no memory for projections");
        else
            set_thresholds(b, p, n, first, m, column, theta);
    }
    sl_free(b->ctx, x);
    sl_free(b->ctx, p);
    sl_free(b->ctx, column);
    return st;
}

sl_status sl_fbuild_vectors(sl_fbuild *b, sl_err *err)
{
    int64_t d = b->in->rows->info.d_in, F = b->in->n_vectors;
    if (F < 1)
        return sl_fail(err, SL_ARG, "vectors", "at least one", "there are %lld", (long long)F);
    SL_TRY(sl_sae_make(b->ctx, "jumprelu", d, F, NULL, 1, SL_F32, false, &b->made, err));
    sl_sae *s = b->made;
    sl_param *theta = sl_params_find(s->params, "threshold");
    s->center_input = true;
    memset(s->b_enc->value.data, 0, sl_nbytes(&s->b_enc->value));
    SL_TRY(normalise(b->in->vectors, F, d, s->W_enc->value.data, err));
    memcpy(s->W_dec->value.data, s->W_enc->value.data, sl_nbytes(&s->W_dec->value));
    SL_TRY(thresholds(b, s->W_enc->value.data, s->b_dec->value.data, theta->value.data, err));
    sl_param *all[] = { theta, s->W_enc, s->W_dec, s->b_enc, s->b_dec };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sl_param_touch(all[i]);
    b->coder = sl_coder_of(s);
    return SL_OK;
}

sl_status sl_features_vectors(sl_ctx *ctx, const char *path, int64_t d, float **out, int64_t *n, sl_err *err)
{
    sl_dict file;
    char found[64];
    *out = NULL;
    *n = 0;
    SL_TRY(sl_npy_open(ctx, path, &file, err));
    const sl_tensor *t = &file.v[0].t;
    sl_status st = SL_OK;
    sl_shape_text(t, found);
    if (t->n_dim != 2 || !sl_dtype_floating(t->dtype) || t->dim[0] < 1 || (d >= 0 && t->dim[1] != d))
        st = sl_fail(err, SL_SHAPE, path, "[n, d_in] of floats", "the vectors are %s of %s, for rows of %lld", found, sl_dtype_name(t->dtype), (long long)d);
    if (st == SL_OK && !(*out = sl_alloc(ctx, (size_t)sl_numel(t) * sizeof **out)))
        st = sl_fail(err, SL_MEM, path, NULL, "no memory for the vectors");
    if (st == SL_OK) {
        sl_to_f32(t->data, t->dtype, *out, sl_numel(t));
        *n = t->dim[0];
    }
    sl_dict_release(&file);
    return st;
}
