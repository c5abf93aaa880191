/* What a decoder adds to its linear part, row by row: rho sum_q c_q e_q of compositional SAEs; of others x^ - b_dec - W_dec^T z, so that
 * nonlinear decoders (polysae, mlp_decoder) are measured by the same yardstick. */
#include "eval/compose.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 512 };

typedef struct pass {
    sl_ctx *ctx;
    sl_sae *s;
    sl_compose *r;
    const sl_eval_data *d;
    const float *b_dec;
    sl_codes z;
    float *xhat;            /* [CHUNK, d_in] */
    double error;           /* sum |x - x^|^2 */
} pass;

/* y = x^ - b_dec - W_dec^T z of one row. */
static void subtract_linear(const pass *p, const float *xhat, int64_t row, float *y)
{
    int64_t d = p->d->d_in;
    for (int64_t k = 0; k < d; k++)
        y[k] = xhat[k] - p->b_dec[k];
    for (int64_t e = p->z.row_ptr[row]; e < p->z.row_ptr[row + 1]; e++) {
        const float *w = p->d->W_dec + p->z.idx[e] * d;
        for (int64_t k = 0; k < d; k++)
            y[k] -= p->z.val[e] * w[k];
    }
}

static void take_codes(const sl_codes *from, int64_t n, int64_t first, sl_codes *to)
{
    int64_t at = to->row_ptr[first], nnz = from->row_ptr[n];
    memcpy(to->idx + at, from->idx, (size_t)nnz * sizeof *to->idx);
    memcpy(to->val + at, from->val, (size_t)nnz * sizeof *to->val);
    for (int64_t r = 1; r <= n; r++)
        to->row_ptr[first + r] = at + from->row_ptr[r];
}

static sl_status chunk(pass *p, int64_t first, int64_t n, sl_branch *out, sl_err *err)
{
    int64_t d = p->d->d_in;
    const float *x = p->d->x + first * d;
    SL_TRY(sl_sae_encode(p->s, x, n, &p->z, p->xhat, err));
    for (int64_t i = 0; i < n * d; i++)
        p->error += ((double)x[i] - (double)p->xhat[i]) * ((double)x[i] - (double)p->xhat[i]);
    if (!p->r) {
        for (int64_t r = 0; r < n; r++)
            subtract_linear(p, p->xhat + r * d, r, out->y + (first + r) * d);
        return SL_OK;
    }
    sl_compose_view v;
    SL_TRY(sl_compose_rows(p->r, x, n, &v, err));
    memcpy(out->y + first * d, v.branch, (size_t)(n * d) * sizeof *out->y);
    take_codes(&v.c, n, first, &out->c);
    return SL_OK;
}

/* sum |x - mean|^2 */
static sl_status spread_of(sl_ctx *ctx, const sl_eval_data *d, double *spread, sl_err *err)
{
    double *mean = sl_alloc(ctx, (size_t)d->d_in * sizeof *mean), sum = 0, sq = 0;
    SL_TRY(sl_have("branch", 1, (const void *const[]){ mean }, err));
    for (int64_t i = 0; i < d->n_rows * d->d_in; i++)
        mean[i % d->d_in] += (double)d->x[i] / (double)d->n_rows;
    for (int64_t i = 0; i < d->n_rows * d->d_in; i++) {
        double c = (double)d->x[i] - mean[i % d->d_in];
        sum += c * c;
        sq += (double)d->x[i] * (double)d->x[i];
    }
    *spread = sum > 1e-12 * sq ? sum : 0;
    sl_free(ctx, mean);
    return SL_OK;
}

static sl_status run(pass *p, sl_branch *out, sl_err *err)
{
    const sl_eval_data *d = p->d;
    double spread, energy = 0;
    for (int64_t first = 0; first < d->n_rows; first += CHUNK) {
        if (sl_cancelled(p->ctx))
            return sl_fail(err, SL_CANCELLED, "composition", NULL, "stopped");
        SL_TRY(chunk(p, first, d->n_rows - first < CHUNK ? d->n_rows - first : CHUNK, out, err));
    }
    SL_TRY(spread_of(p->ctx, d, &spread, err));
    for (int64_t i = 0; i < d->n_rows * d->d_in; i++)
        energy += (double)out->y[i] * (double)out->y[i];
    out->energy = spread > 0 ? energy / spread : (double)NAN;
    out->fvu = spread > 0 ? p->error / spread : (double)NAN;
    return SL_OK;
}

sl_status sl_branch_new(sl_ctx *ctx, sl_sae *s, sl_compose *r, const sl_eval_data *d, sl_branch *out, sl_err *err)
{
    sl_sae_info i = sl_sae_about(s);
    pass p = { .ctx = ctx, .s = s, .r = r, .d = d };
    sl_tensor b;
    *out = (sl_branch){ 0 };
    if (i.has_target || (i.row_norm[0] && strcmp(i.row_norm, "none") != 0))
        return sl_fail(err, SL_UNAVAILABLE, i.variant, NULL, i.has_target ? "it predicts a target, not x" : "its rows are normalised one by one");
    SL_TRY(sl_sae_weight(s, "b_dec", &b, err));
    p.b_dec = b.data;
    sl_status st;
    SL_GO(sl_codes_new(ctx, CHUNK, i.max_active, &p.z, err));
    p.xhat = sl_alloc(ctx, (size_t)(CHUNK * d->d_in) * sizeof *p.xhat);
    out->y = sl_alloc(ctx, (size_t)(d->n_rows * d->d_in) * sizeof *out->y);
    SL_GO(sl_have("branch", 2, (const void *const[]){ p.xhat, out->y }, err));
    out->m_c = r ? sl_compose_about(r).m_c : 0;
    if (r)
        SL_GO(sl_codes_new(ctx, d->n_rows, sl_compose_about(r).k_c, &out->c, err));
    SL_GO(run(&p, out, err));
done:
    sl_codes_release(ctx, &p.z);
    sl_free(ctx, p.xhat);
    if (st != SL_OK)
        sl_branch_release(ctx, out);
    return st;
}

void sl_branch_release(sl_ctx *ctx, sl_branch *b)
{
    sl_free(ctx, b->y);
    if (b->c.row_ptr)
        sl_codes_release(ctx, &b->c);
    *b = (sl_branch){ 0 };
}
