/* Life of a baseline: checks, fitting, encoding. */
#include "eval/baselines/baseline.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CHUNK_ROWS = 1024, CHUNK_CODES = 1 << 22 }; /* rows, and dense codes, that are encoded at once */

/* ---- checks ---- */

static sl_status check_option(const sl_opt *o, const void *opts, sl_err *err)
{
    const char *field = (const char *)opts + o->offset;
    double v = o->def;
    if (o->type == SL_T_INT)
        v = (double)*(const int64_t *)field;
    else if (o->type == SL_T_FLOAT)
        v = *(const double *)field;
    else if (o->type != SL_T_CHOICE)
        return SL_OK;
    double lo = o->min, hi = o->max;
    if (o->type == SL_T_CHOICE) {
        v = *(const int *)field;
        for (lo = 0, hi = -1; o->choices[(int)hi + 1]; hi++) {}
    }
    if (v >= lo && v <= hi)
        return SL_OK;
    char expected[64];
    snprintf(expected, sizeof expected, "%g to %g", lo, hi);
    return sl_fail(err, SL_ARG, o->name, expected, "%g is out of range", v);
}

static sl_status check_finite(const char *what, const float *x, int64_t rows, int64_t cols, sl_err *err)
{
    for (int64_t i = 0; i < rows * cols; i++)
        if (!isfinite(x[i]))
            return sl_fail(err, SL_NUMERIC, what, "finite numbers", "row %lld, column %lld is %g", (long long)(i / cols), (long long)(i % cols), (double)x[i]);
    return SL_OK;
}

static sl_status check_data(const sl_baseline_data *d, sl_err *err)
{
    if (d->n < 2 || d->d_in < 1)
        return sl_fail(err, SL_DATA, "rows", "at least 2", "%lld rows of %lld columns to fit on", (long long)d->n, (long long)d->d_in);
    SL_TRY(check_finite("rows", d->x, d->n, d->d_in, err));
    for (int64_t r = 1; r < d->n; r++)
        if (memcmp(d->x, d->x + r * d->d_in, (size_t)d->d_in * sizeof *d->x) != 0)
            return SL_OK;
    return sl_fail(err, SL_DATA, "rows", "rows that differ", "all %lld rows are the same", (long long)d->n);
}

static sl_status check_dictionary(const sl_baseline_ops *ops, const sl_baseline_data *d, sl_err *err)
{
    if (ops->info.needs_dictionary != (d->dictionary != NULL))
        return sl_fail(err, SL_ARG, "dictionary", d->dictionary ? "none" : "known directions", "%s %s", ops->info.name,
                       d->dictionary ? "finds its own directions" : "works with directions that are given");
    if (!d->dictionary)
        return SL_OK;
    if (d->n_dictionary < 1)
        return sl_fail(err, SL_ARG, "dictionary", "at least 1 direction", "there are none");
    SL_TRY(check_finite("dictionary", d->dictionary, d->n_dictionary, d->d_in, err));
    return d->bias ? check_finite("bias", d->bias, 1, d->d_in, err) : SL_OK;
}

static sl_status set_options(sl_baseline *b, const void *opts, sl_err *err)
{
    const sl_baseline_info *info = &b->ops->info;
    if (opts)
        memcpy(b->opts, opts, info->opts_size);
    else
        sl_opts_default(info->opts, b->opts);
    for (const sl_opt *o = info->opts; o->type != SL_T_END; o++)
        SL_TRY(check_option(o, b->opts, err));
    return SL_OK;
}

/* ---- life ---- */

static sl_status fit(sl_baseline *b, const sl_baseline_data *d, sl_err *err)
{
    SL_TRY(check_data(d, err));
    SL_TRY(check_dictionary(b->ops, d, err));
    if (b->ops->check)
        SL_TRY(b->ops->check(b->opts, d, err));
    b->d_sae = b->ops->n_latents(b->opts, d);
    b->k = b->ops->k(b->opts);
    if (b->k > b->d_sae)
        return sl_fail(err, SL_ARG, "k", "at most the number of latents", "%lld of %lld latents", (long long)b->k, (long long)b->d_sae);
    SL_TRY(sl_base_matrix(b, "W_dec", b->d_sae, b->d_in, &b->W_dec, err));
    SL_TRY(sl_base_matrix(b, "b_dec", 1, b->d_in, &b->b_dec, err));
    SL_TRY(b->ops->fit(b, d, err));
    return sl_kern_failed(b->kern) ? sl_fail(err, SL_MEM, b->ops->info.name, NULL, "no memory for the kernels") : SL_OK;
}

sl_status sl_baseline_fit(sl_ctx *ctx, const char *method, const sl_baseline_data *data, const void *opts, uint64_t seed, sl_baseline **out, sl_err *err)
{
    *out = NULL;
    const sl_baseline_ops *ops = sl_baseline_ops_find(method);
    if (!ops)
        return sl_fail(err, SL_ARG, "method", "a baseline of `saelab baseline`", "there is no method '%s'", method);
    sl_baseline *b = sl_alloc(ctx, sizeof *b);
    if (!b)
        return sl_fail(err, SL_MEM, method, NULL, "no memory");
    *b = (sl_baseline){ .ctx = ctx, .ops = ops, .d_in = data->d_in, .seed = seed };
    snprintf(b->hook, sizeof b->hook, "%s", data->hook ? data->hook : "");
    snprintf(b->model, sizeof b->model, "%s", data->model ? data->model : "");
    snprintf(b->dataset, sizeof b->dataset, "%s", data->dataset ? data->dataset : "");
    sl_status st;
    SL_GO(sl_kern_get(ctx, SL_F32, &b->kern, err));
    SL_GO(set_options(b, opts, err));
    SL_GO(fit(b, data, err));
    *out = b;
    return SL_OK;
done:
    sl_baseline_free(b);
    return st;
}

void sl_baseline_free(sl_baseline *b)
{
    if (!b)
        return;
    sl_tensor *owned[] = { &b->W_dec, &b->b_dec, &b->W_enc, &b->b_enc, &b->gram, &b->refit_gram };
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        sl_free(b->ctx, owned[i]->data);
    sl_free(b->ctx, b->curve);
    sl_free(b->ctx, b);
}

sl_baseline_about sl_baseline_tell(const sl_baseline *b)
{
    return (sl_baseline_about){
        .method = &b->ops->info, .hook = b->hook, .model = b->model, .dataset = b->dataset, .d_in = b->d_in, .d_sae = b->d_sae, .max_active = b->k > 0 ? b->k : b->d_sae, .W_dec = b->W_dec.data,
        .b_dec = b->b_dec.data, .objective = b->ops->objective, .curve = b->curve, .n_curve = b->n_curve, .converged = b->converged,
    };
}

const void *sl_baseline_options(const sl_baseline *b)
{
    return b->opts;
}

/* ---- encoding ---- */

static sl_status append(const sl_csr *part, int64_t row, sl_codes *z, sl_err *err)
{
    int64_t at = z->row_ptr[row], n = part->row_ptr[part->n_rows];
    if (n > z->capacity - at)
        return sl_fail(err, SL_SHAPE, "codes", "n * max_active entries", "%lld entries do not hold the latents of rows from %lld", (long long)z->capacity, (long long)row);
    memcpy(z->idx + at, part->idx, (size_t)n * sizeof *part->idx);
    memcpy(z->val + at, part->val, (size_t)n * sizeof(float));
    for (int64_t r = 0; r < part->n_rows; r++)
        z->row_ptr[row + r + 1] = at + part->row_ptr[r + 1];
    return SL_OK;
}

/* Rows [row, row + part->n_rows); xc is room for as many. */
static sl_status encode_chunk(sl_baseline *b, const float *x, int64_t row, sl_tensor xc, sl_csr *part, sl_codes *z, float *xhat, sl_err *err)
{
    int64_t n = part->n_rows;
    sl_tensor rows = sl_tensor_of(SL_F32, (void *)(uintptr_t)x, 2, n, b->d_in);
    int64_t bad = b->kern->not_finite(b->kern, &rows);
    if (bad >= 0)
        return sl_fail(err, SL_NUMERIC, "activations", "finite numbers", "row %lld, column %lld is %g", (long long)(row + bad / b->d_in), (long long)(bad % b->d_in), (double)x[bad]);
    xc.dim[0] = n;
    b->kern->add_row(b->kern, &rows, -1, &b->b_dec, &xc);
    SL_TRY(b->ops->encode(b, &xc, part, err));
    SL_TRY(append(part, row, z, err));
    if (xhat) {
        sl_tensor y = sl_tensor_of(SL_F32, xhat, 2, n, b->d_in);
        b->kern->sparse_decode(b->kern, part, &b->W_dec, &b->b_dec, &y);
    }
    return sl_kern_failed(b->kern) ? sl_fail(err, SL_MEM, b->ops->info.name, NULL, "no memory for the kernels") : SL_OK;
}

sl_status sl_baseline_encode(sl_baseline *b, const float *x, int64_t n, sl_codes *z, float *xhat, sl_err *err)
{
    if (n < 0 || n > z->n_rows)
        return sl_fail(err, SL_SHAPE, "codes", "room for every row", "%lld rows into codes of %lld", (long long)n, (long long)z->n_rows);
    int64_t most = b->k > 0 ? b->k : b->d_sae, step = CHUNK_CODES / b->d_sae;
    step = step < 16 ? 16 : step > CHUNK_ROWS ? CHUNK_ROWS : step;
    sl_codes room;
    sl_tensor xc = { 0 };
    SL_TRY(sl_codes_new(b->ctx, step, most, &room, err));
    sl_status st = sl_base_matrix(b, "rows", step, b->d_in, &xc, err);
    z->row_ptr[0] = 0;
    for (int64_t r = 0; r < n && st == SL_OK; r += step) {
        sl_csr part = { n - r < step ? n - r : step, b->d_sae, room.capacity, room.row_ptr, room.idx, room.val };
        st = encode_chunk(b, x + r * b->d_in, r, xc, &part, z, xhat ? xhat + r * b->d_in : NULL, err);
    }
    sl_free(b->ctx, xc.data);
    sl_codes_release(b->ctx, &room);
    return st;
}

static sl_status encode_for(void *self, const float *x, int64_t n, sl_codes *z, float *xhat, sl_err *err)
{
    return sl_baseline_encode(self, x, n, z, xhat, err);
}

sl_coder sl_baseline_coder(sl_baseline *b)
{
    sl_baseline_about a = sl_baseline_tell(b);
    return (sl_coder){ .d_in = a.d_in, .d_sae = a.d_sae, .max_active = a.max_active, .W_dec = a.W_dec, .self = b, .encode = encode_for };
}
