/* Logistic regression by L-BFGS (liblbfgs) on standardised columns, and the scores of a probe. */
#include "eval/measured.h"

#include <saelab/probe.h>

#include <lbfgs.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- rows of a design ---- */

/* sum_c v_c x_c over the columns of a row */
static double row_dot(const sl_design *X, int64_t row, const double *v)
{
    double f = 0;
    if (X->x)
        for (int64_t c = 0; c < X->n_cols; c++)
            f += v[c] * (double)X->x[row * X->n_cols + c];
    else
        for (int64_t e = X->z->row_ptr[row]; e < X->z->row_ptr[row + 1]; e++)
            f += v[X->z->idx[e]] * (double)X->z->val[e];
    return f;
}

static void row_add(const sl_design *X, int64_t row, double s, double *v)
{
    if (X->x)
        for (int64_t c = 0; c < X->n_cols; c++)
            v[c] += s * (double)X->x[row * X->n_cols + c];
    else
        for (int64_t e = X->z->row_ptr[row]; e < X->z->row_ptr[row + 1]; e++)
            v[X->z->idx[e]] += s * (double)X->z->val[e];
}

double sl_logistic_score(const sl_design *X, int64_t row, const double *w)
{
    return row_dot(X, row, w) + w[X->n_cols];
}

/* ---- the fit ---- */

typedef struct fit {
    const sl_design *X;
    const int32_t *rows;
    const uint8_t *y;
    int64_t n;
    double weight[2];       /* C s_i of each class */
    double *mean, *inverse; /* [n_cols] standardisation; inverse 0: the column does not vary */
    double *raw, *grad;     /* [n_cols] weights and gradient in raw columns */
} fit;

/* u are the weights of standardised columns: f = sum u_c (x_c - mean_c) inverse_c + bias. */
static double to_raw(const fit *p, const double *u, double *raw)
{
    double bias = u[p->X->n_cols];
    for (int64_t c = 0; c < p->X->n_cols; c++) {
        raw[c] = u[c] * p->inverse[c];
        bias -= raw[c] * p->mean[c];
    }
    return bias;
}

static double evaluate(void *user, const double *u, double *g, const int n, const double step)
{
    const fit *p = user;
    (void)n;
    (void)step;
    double loss = 0, g_bias = 0, bias = to_raw(p, u, p->raw);
    memset(p->grad, 0, (size_t)p->X->n_cols * sizeof *p->grad);
    for (int64_t i = 0; i < p->n; i++) {
        double f = row_dot(p->X, p->rows[i], p->raw) + bias, side = p->y[i] ? f : -f, w = p->weight[p->y[i]];
        loss += w * (side > 0 ? log1p(exp(-side)) : log1p(exp(side)) - side);
        double d = w / (1 + exp(side)) * (p->y[i] ? -1 : 1);
        g_bias += d;
        row_add(p->X, p->rows[i], d, p->grad);
    }
    for (int64_t c = 0; c < p->X->n_cols; c++) {
        loss += .5 * u[c] * u[c];
        g[c] = u[c] + (p->grad[c] - p->mean[c] * g_bias) * p->inverse[c];
    }
    g[p->X->n_cols] = g_bias;
    return loss;
}

static void standardise(fit *p)
{
    int64_t d = p->X->n_cols;
    double n = (double)p->n, *sq = p->grad;
    memset(sq, 0, (size_t)d * sizeof *sq);
    for (int64_t i = 0; i < p->n; i++) {
        int64_t row = p->rows[i];
        if (p->X->x) {
            for (int64_t c = 0; c < d; c++)
                p->mean[c] += (double)p->X->x[row * d + c] / n;
            continue;
        }
        for (int64_t e = p->X->z->row_ptr[row]; e < p->X->z->row_ptr[row + 1]; e++)
            sq[p->X->z->idx[e]] += (double)p->X->z->val[e] * (double)p->X->z->val[e] / n;
    }
    for (int64_t i = 0; p->X->x && i < p->n; i++)
        for (int64_t c = 0; c < d; c++) {
            double v = (double)p->X->x[p->rows[i] * d + c] - p->mean[c];
            sq[c] += v * v / n;
        }
    for (int64_t c = 0; c < d; c++)
        p->inverse[c] = sq[c] > 1e-12 * p->mean[c] * p->mean[c] && sq[c] > 0 ? 1 / sqrt(sq[c]) : 0;
}

static sl_status minimise(fit *p, const sl_logistic_opts *o, double *u, sl_err *err)
{
    lbfgs_parameter_t how;
    double loss;
    lbfgs_parameter_init(&how);
    how.max_iterations = o->max_iterations;
    how.epsilon = 1e-5;
    how.past = 5;
    how.delta = 1e-6;
    int code = lbfgs((int)(p->X->n_cols + 1), u, &loss, evaluate, NULL, p, &how);
    if (code == LBFGSERR_OUTOFMEMORY)
        return sl_fail(err, SL_MEM, "logistic regression", NULL, "out of memory");
    if (!isfinite(loss))
        return sl_fail(err, SL_NUMERIC, "logistic regression", "finite values", "the loss is not finite");
    return SL_OK; /* a line search that finds nothing better, or the last iteration, is an end too */
}

sl_status sl_logistic(sl_ctx *ctx, const sl_design *X, const int32_t *rows, const uint8_t *y, int64_t n, const sl_logistic_opts *o, double *w, sl_err *err)
{
    int64_t d = X->n_cols, pos = 0;
    for (int64_t i = 0; i < n; i++)
        pos += y[i] != 0;
    if (pos == 0 || pos == n)
        return sl_fail(err, SL_DATA, "logistic regression", "rows of both classes", "%lld of %lld rows are positive", (long long)pos, (long long)n);
    fit p = { .X = X, .rows = rows, .y = y, .n = n };
    p.weight[0] = o->balanced ? o->C * (double)n / (2 * (double)(n - pos)) : o->C;
    p.weight[1] = o->balanced ? o->C * (double)n / (2 * (double)pos) : o->C;
    size_t room = ((size_t)d + 1 + 15) / 16 * 16 * sizeof(double); /* liblbfgs works on whole vectors */
    double *u = sl_alloc(ctx, room);
    p.mean = sl_alloc(ctx, room);
    p.inverse = sl_alloc(ctx, room);
    p.raw = sl_alloc(ctx, room);
    p.grad = sl_alloc(ctx, room);
    sl_status st;
    SL_GO(sl_have("logistic regression", 5, (const void *const[]){ u, p.mean, p.inverse, p.raw, p.grad }, err));
    standardise(&p);
    SL_GO(minimise(&p, o, u, err));
    w[d] = to_raw(&p, u, w);
done:
    sl_free(ctx, p.grad);
    sl_free(ctx, p.raw);
    sl_free(ctx, p.inverse);
    sl_free(ctx, p.mean);
    sl_free(ctx, u);
    return st;
}

/* ---- scores ---- */

typedef struct ranked { double f; uint8_t y; } ranked;

static int rising(const void *a, const void *b)
{
    double x = ((const ranked *)a)->f, y = ((const ranked *)b)->f;
    return (x > y) - (x < y);
}

/* Mann-Whitney: share of (positive, negative) pairs in the right order, ties half */
static double area(ranked *r, int64_t n, double pos, double neg)
{
    double below = 0, wins = 0; /* negatives below the tie in hand */
    qsort(r, (size_t)n, sizeof *r, rising);
    for (int64_t i = 0; i < n;) {
        double tie[2] = { 0 };
        double at = r[i].f;
        for (; i < n && r[i].f == at; i++)
            tie[r[i].y]++;
        wins += tie[1] * (below + .5 * tie[0]);
        below += tie[0];
    }
    return wins / (pos * neg);
}

sl_status sl_probe_score_of(sl_ctx *ctx, const double *f, const uint8_t *y, int64_t n, sl_probe_score *out, sl_err *err)
{
    *out = (sl_probe_score){ 0 };
    double hit = 0, wrong = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(f[i]))
            return sl_fail(err, SL_NUMERIC, "probe", "finite scores", "score %lld is %g", (long long)i, f[i]);
        out->n_pos += y[i] != 0;
        hit += y[i] && f[i] > 0;
        wrong += !y[i] && f[i] > 0;
    }
    out->n_neg = n - out->n_pos;
    if (!out->n_pos || !out->n_neg)
        return sl_fail(err, SL_DATA, "probe", "rows of both classes", "%lld of %lld rows are positive", (long long)out->n_pos, (long long)n);
    double pos = (double)out->n_pos, neg = (double)out->n_neg;
    out->accuracy = .5 * (hit / pos + (neg - wrong) / neg);
    out->f1 = hit > 0 ? 2 * hit / (hit + wrong + pos) : 0;
    ranked *r = sl_alloc(ctx, (size_t)n * sizeof *r);
    SL_TRY(sl_have("probe", 1, (const void *const[]){ r }, err));
    for (int64_t i = 0; i < n; i++)
        r[i] = (ranked){ f[i], y[i] != 0 };
    out->auc = area(r, n, pos, neg);
    sl_free(ctx, r);
    return SL_OK;
}
