/* Metrics over held-out rows: sparsity, reconstruction, dead and dense latents, and the template's keys. Definitions: docs/METRICS.md. */
#include "eval/recon.h"

#include <math.h>
#include <string.h>

typedef struct sums {
    int64_t d_in, d_sae, n, nnz;
    int64_t *fired;         /* [d_sae] rows in which a latent is active */
    int64_t *positive;      /* [d_in] rows in which x_j > 0 */
    double *mean;           /* [d_in] sum of x - shift */
    double *shift;          /* [d_in] the first row: a large mean then costs no digits */
    double *norm;           /* [d_sae] |d_j| */
    double sq, err;         /* sum |x - shift|^2, sum |x - x^|^2 */
    double penalty;         /* sum z_j |d_j| */
    sl_recon recon;
} sums;

/* ---- gathering ---- */

static void see_inputs(sums *a, const sl_pass_chunk *c)
{
    if (a->n == 0)
        for (int64_t j = 0; j < a->d_in; j++)
            a->shift[j] = (double)c->x[j];
    for (int64_t r = 0; r < c->n; r++)
        for (int64_t j = 0; j < a->d_in; j++) {
            double x = (double)c->x[r * a->d_in + j], e = x - (double)c->xhat[r * a->d_in + j], v = x - a->shift[j];
            a->mean[j] += v;
            a->sq += v * v;
            a->err += e * e;
            a->positive[j] += x > 0;
        }
}

static void see(void *user, const sl_pass_chunk *c)
{
    sums *a = user;
    see_inputs(a, c);
    a->recon.want = c->want;
    sl_recon_see(&a->recon, c);
    int64_t nnz = c->z->row_ptr[c->n];
    for (int64_t i = 0; i < nnz; i++) {
        int32_t f = c->z->idx[i];
        a->fired[f]++;
        a->penalty += (double)c->z->val[i] * a->norm[f];
    }
    a->nnz += nnz;
    a->n += c->n;
}

/* ---- what is made of it ---- */

/* sum |x - mean|^2 */
static double spread(const sums *a)
{
    double off = 0;
    for (int64_t j = 0; j < a->d_in; j++)
        off += a->mean[j] * a->mean[j];
    double v = a->sq - off / (double)a->n;
    return v > 0 ? v : 0;
}

static sl_status put_reconstruction(sl_ctx *ctx, const sums *a, double l1, sl_metrics *out, sl_err *err)
{
    static const char none[] = "the rows do not vary";
    double var = spread(a), n = (double)a->n;
    SL_TRY(sl_metrics_put(ctx, out, "reconstruction_error", a->err / n, a->n, err));
    if (!(var > 0)) {
        SL_TRY(sl_metrics_null(ctx, out, "fvu", none, err));
        SL_TRY(sl_metrics_null(ctx, out, "ev", none, err));
        return sl_metrics_null(ctx, out, "autoencoder_loss", none, err);
    }
    SL_TRY(sl_metrics_put(ctx, out, "fvu", a->err / var, a->n, err));
    SL_TRY(sl_metrics_put(ctx, out, "ev", 1 - a->err / var, a->n, err));
    return sl_metrics_put(ctx, out, "autoencoder_loss", a->err / var + l1 * a->penalty / n / sqrt(var / n), a->n, err);
}

static sl_status put_sparsity(sl_ctx *ctx, const sums *a, sl_metrics *out, sl_err *err)
{
    double n = (double)a->n, m = (double)a->d_sae, l0 = (double)a->nnz / n;
    int64_t dead = 0, dense = 0, positive = 0;
    for (int64_t f = 0; f < a->d_sae; f++) {
        dead += a->fired[f] == 0;
        dense += 10 * a->fired[f] > a->n;
    }
    for (int64_t j = 0; j < a->d_in; j++)
        positive += a->positive[j];
    SL_TRY(sl_metrics_put(ctx, out, "l0", l0, a->n, err));
    SL_TRY(sl_metrics_put(ctx, out, "density", l0 / m, a->n, err));
    SL_TRY(sl_metrics_put(ctx, out, "dead", (double)dead / m, a->d_sae, err));
    SL_TRY(sl_metrics_put(ctx, out, "dense_gt10pct", (double)dense / m, a->d_sae, err));
    SL_TRY(sl_metrics_put(ctx, out, "neuron_sparsity", (double)positive / (n * (double)a->d_in), a->n, err));
    return sl_metrics_put(ctx, out, "latent_sparsity", l0 / m, a->n, err);
}

/* -sum p_j ln p_j / ln m, p_j = count_j / sum count: 1 when all fire equally often, 0 when one alone does. */
static sl_status put_entropy(sl_ctx *ctx, const char *name, const int64_t *count, int64_t m, sl_metrics *out, sl_err *err)
{
    double total = 0, h = 0;
    for (int64_t j = 0; j < m; j++)
        total += (double)count[j];
    if (m < 2)
        return sl_metrics_null(ctx, out, name, "one dimension has no entropy", err);
    if (!(total > 0))
        return sl_metrics_null(ctx, out, name, "nothing was active", err);
    for (int64_t j = 0; j < m; j++)
        if (count[j] > 0)
            h -= (double)count[j] / total * log((double)count[j] / total);
    return sl_metrics_put(ctx, out, name, h / log((double)m), m, err);
}

static sl_status put_all(sl_ctx *ctx, sums *a, double l1, sl_metrics *out, sl_err *err)
{
    SL_TRY(put_sparsity(ctx, a, out, err));
    SL_TRY(put_reconstruction(ctx, a, l1, out, err));
    SL_TRY(put_entropy(ctx, "activation_entropy", a->positive, a->d_in, out, err));
    SL_TRY(put_entropy(ctx, "latent_entropy", a->fired, a->d_sae, out, err));
    for (int64_t j = 0; j < a->d_in; j++)
        a->mean[j] /= (double)a->n;
    return sl_recon_put(&a->recon, a->mean, out, err);
}

/* ---- */

static sl_status allocate(sl_ctx *ctx, sums *a, sl_err *err)
{
    size_t d = (size_t)a->d_in, m = (size_t)a->d_sae;
    a->fired = sl_alloc(ctx, m * sizeof *a->fired);
    a->norm = sl_alloc(ctx, m * sizeof *a->norm);
    a->positive = sl_alloc(ctx, d * sizeof *a->positive);
    a->mean = sl_alloc(ctx, d * sizeof *a->mean);
    a->shift = sl_alloc(ctx, d * sizeof *a->shift);
    if (!a->fired || !a->norm || !a->positive || !a->mean || !a->shift)
        return sl_fail(err, SL_MEM, "evaluation", NULL, "no memory for %zu latents", m);
    return sl_recon_new(ctx, a->d_in, a->shift, &a->recon, err);
}

static void decoder_norms(const float *w, sums *a)
{
    for (int64_t f = 0; f < a->d_sae; f++) {
        double sq = 0;
        for (int64_t j = 0; j < a->d_in; j++)
            sq += (double)w[f * a->d_in + j] * (double)w[f * a->d_in + j];
        a->norm[f] = sqrt(sq);
    }
}

sl_status sl_eval_coder_rows(sl_ctx *ctx, const sl_coder *c, sl_act_source *rows, int64_t max_rows, sl_metrics *out, float *rates, sl_err *err)
{
    sums a = { .d_in = c->d_out > 0 ? c->d_out : c->d_in, .d_sae = c->d_sae, .recon.ctx = ctx };
    int64_t n;
    sl_status st;
    SL_GO(allocate(ctx, &a, err));
    decoder_norms(c->W_dec, &a);
    SL_GO(sl_eval_pass(ctx, c, rows, max_rows, see, &a, &n, err));
    SL_GO(put_all(ctx, &a, c->l1, out, err));
    for (int64_t f = 0; rates && f < a.d_sae; f++)
        rates[f] = (float)((double)a.fired[f] / (double)n);
done:
    sl_recon_release(&a.recon);
    sl_free(ctx, a.fired);
    sl_free(ctx, a.norm);
    sl_free(ctx, a.positive);
    sl_free(ctx, a.mean);
    sl_free(ctx, a.shift);
    return st;
}
