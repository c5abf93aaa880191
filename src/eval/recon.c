/* Reconstruction row by row (peers.md 4.1) and bootstrap intervals over documents (science.md K6).
 *   cosine      mean of x . x^ / (|x| |x^|) over rows where both are longer than 0
 *   l2_ratio    mean of |x^| / |x| over rows with |x| > 0: below 1 is shrinkage
 *   recon_bias  sum |x^|^2 / sum x . x^: 1 for an unbiased reconstruction */
#include "eval/recon.h"

#include "eval/measured.h"

#include <math.h>

sl_status sl_recon_new(sl_ctx *ctx, int64_t d_in, const double *shift, sl_recon *out, sl_err *err)
{
    *out = (sl_recon){ .ctx = ctx, .d_in = d_in, .shift = shift };
    out->c = sl_alloc(ctx, SL_CLUSTERS * sizeof *out->c);
    out->offset = sl_alloc(ctx, (size_t)(SL_CLUSTERS * d_in) * sizeof *out->offset);
    return sl_have("evaluation", 2, (const void *const[]){ out->c, out->offset }, err);
}

void sl_recon_release(sl_recon *r)
{
    sl_free(r->ctx, r->c);
    sl_free(r->ctx, r->offset);
}

static void see_row(sl_recon *r, int64_t cluster, const float *x, const float *xhat, int64_t nnz)
{
    sl_cluster *c = &r->c[cluster];
    double *offset = r->offset + cluster * r->d_in, in = 0, out = 0, cross = 0;
    for (int64_t j = 0; j < r->d_in; j++) {
        double v = (double)x[j], w = (double)xhat[j], off = v - r->shift[j];
        offset[j] += off;
        c->sq += off * off;
        c->err += (v - w) * (v - w);
        in += v * v;
        out += w * w;
        cross += v * w;
    }
    c->n++;
    c->nnz += (double)nnz;
    if (in > 0) {
        c->ratio += sqrt(out / in);
        c->with_ratio++;
    }
    if (in > 0 && out > 0) {
        c->cosine += cross / sqrt(in * out);
        c->with_cosine++;
    }
    r->out_sq += out;
    r->cross += cross;
}

void sl_recon_see(sl_recon *r, const sl_pass_chunk *c)
{
    for (int64_t i = 0; i < c->n; i++, r->n++) {
        int64_t cluster = c->doc ? c->doc[i] % SL_CLUSTERS : r->n * SL_BLOCKS / r->want;
        see_row(r, cluster, c->x + i * r->d_in, c->xhat + i * r->d_in, c->z->row_ptr[i + 1] - c->z->row_ptr[i]);
    }
}

/* ---- intervals ---- */

/* Of the pooled ratio; none where there are fewer than two clusters or it does not vary. */
static sl_status put_interval(sl_recon *r, const char *name, const double *num, const double *den, int64_t n, bool from_one, sl_metrics *out, sl_err *err)
{
    sl_boot b;
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += den[i];
    if (n < 2 || !(sum > 0))
        return SL_OK;
    SL_TRY(sl_boot_docs(r->ctx, num, den, n, &(sl_boot_opts){ 1000, .95, 0 }, &b, err));
    sl_metrics_interval(out, name, from_one ? 1 - b.hi : b.lo, from_one ? 1 - b.lo : b.hi);
    return SL_OK;
}

/* sum |x - mean|^2 of a cluster; mean is relative to shift */
static double spread(const sl_recon *r, int64_t k, const double *mean)
{
    double v = r->c[k].sq;
    for (int64_t j = 0; j < r->d_in; j++)
        v += mean[j] * (r->c[k].n * mean[j] - 2 * r->offset[k * r->d_in + j]);
    return v > 0 ? v : 0;
}

static sl_status put_intervals(sl_recon *r, const double *mean, sl_metrics *out, sl_err *err)
{
    double v[8][SL_CLUSTERS];
    enum { N, NNZ, ERR, VAR, COS, WITH_COS, RATIO, WITH_RATIO };
    int64_t n = 0;
    for (int64_t k = 0; k < SL_CLUSTERS; k++) {
        const sl_cluster *c = &r->c[k];
        if (!(c->n > 0))
            continue;
        const double row[] = { c->n, c->nnz, c->err, spread(r, k, mean), c->cosine, (double)c->with_cosine, c->ratio, (double)c->with_ratio };
        for (int i = 0; i < 8; i++)
            v[i][n] = row[i];
        n++;
    }
    static const struct { const char *name; int num, den; bool from_one; } of[] = {
        { "l0", NNZ, N, false }, { "reconstruction_error", ERR, N, false }, { "fvu", ERR, VAR, false }, { "ev", ERR, VAR, true },
        { "cosine", COS, WITH_COS, false }, { "l2_ratio", RATIO, WITH_RATIO, false },
    };
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        SL_TRY(put_interval(r, of[i].name, v[of[i].num], v[of[i].den], n, of[i].from_one, out, err));
    return SL_OK;
}

sl_status sl_recon_put(sl_recon *r, const double *mean, sl_metrics *out, sl_err *err)
{
    double cosine = 0, ratio = 0;
    int64_t with_cosine = 0, with_ratio = 0;
    for (int k = 0; k < SL_CLUSTERS; k++) {
        cosine += r->c[k].cosine;
        ratio += r->c[k].ratio;
        with_cosine += r->c[k].with_cosine;
        with_ratio += r->c[k].with_ratio;
    }
    SL_TRY(with_cosine ? sl_metrics_put(r->ctx, out, "cosine", cosine / (double)with_cosine, with_cosine, err)
                       : sl_metrics_null(r->ctx, out, "cosine", "no row and reconstruction are both longer than 0", err));
    SL_TRY(with_ratio ? sl_metrics_put(r->ctx, out, "l2_ratio", ratio / (double)with_ratio, with_ratio, err)
                      : sl_metrics_null(r->ctx, out, "l2_ratio", "every row is zero", err));
    SL_TRY(r->cross > 0 ? sl_metrics_put(r->ctx, out, "recon_bias", r->out_sq / r->cross, r->n, err)
                        : sl_metrics_null(r->ctx, out, "recon_bias", "reconstructions do not point along the rows", err));
    return put_intervals(r, mean, out, err);
}
