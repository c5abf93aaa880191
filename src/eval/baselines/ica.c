/* FastICA (Hyvarinen and Oja 2000; Hyvarinen 1999), symmetric, contrast log cosh, on whitened data: s = W K x~, cov(s) = 1.
 *   K = diag(w)^-1/2 V^T from the covariance       w_i+ = E[u g(w_i . u)] - E[g'(w_i . u)] w_i,  g = tanh       W = (W+ W+^T)^-1/2 W+
 * until max_i |1 - |w_i+ . w_i|| < tol. A source is two latents: the columns of the mixing matrix, scaled to norm 1, with both signs, so that
 * TopK keeps the k sources that contribute most to a row. */
#include "eval/baselines/baseline.h"

#include "kern/linalg.h"

#include <saelab/rng.h>
#include <math.h>
#include <string.h>

const sl_opt sl_ica_opts[] = {
    SL_OPT_INT(sl_ica_options, k, 32, 1, 65536, "latents", "sources kept a row"),
    SL_OPT_INT(sl_ica_options, components, 0, 0, 65536, "sources", "sources, after reduction by PCA; 0: d_in"),
    SL_OPT_INT(sl_ica_options, iterations, 200, 1, 1e6, "", "at most"),
    SL_OPT_FLOAT(sl_ica_options, tol, 1e-4, 0, 1, "", "converged when no source turns by more than this (1 - |cos|)"),
    SL_OPT_END
};

typedef struct ica {
    sl_baseline *b;
    int64_t n, d, c;            /* rows, columns, sources */
    sl_tensor u, s, w, next;    /* whitened rows [n, c], sources [n, c], W and W+ [c, c] */
    double *values, *vectors;   /* of the covariance [d], [d, d] */
    double *W, *g, *gv, *slope; /* W [c, c], W+ W+^T [c, c] and its eigenvalues [c]; mean of g' [c] */
} ica;

static int64_t sources(const void *o, const sl_baseline_data *d)
{
    int64_t c = ((const sl_ica_options *)o)->components;
    return c > 0 ? c : d->d_in;
}

static int64_t k_of(const void *o)
{
    return ((const sl_ica_options *)o)->k;
}

static int64_t n_latents(const void *o, const sl_baseline_data *d)
{
    return 2 * sources(o, d);
}

static sl_status check(const void *o, const sl_baseline_data *d, sl_err *err)
{
    int64_t c = sources(o, d);
    if (c > d->d_in)
        return sl_fail(err, SL_ARG, "components", "at most d_in", "%lld sources of %lld columns", (long long)c, (long long)d->d_in);
    if (k_of(o) > c)
        return sl_fail(err, SL_ARG, "k", "at most the number of sources", "%lld of %lld sources", (long long)k_of(o), (long long)c);
    return SL_OK;
}

static sl_status allocate(ica *a, sl_err *err)
{
    sl_ctx *ctx = a->b->ctx;
    size_t d = (size_t)a->d, c = (size_t)a->c;
    a->values = sl_alloc(ctx, d * sizeof(double));
    a->vectors = sl_alloc(ctx, d * d * sizeof(double));
    a->W = sl_alloc(ctx, c * c * sizeof(double));
    a->g = sl_alloc(ctx, c * c * sizeof(double));
    a->gv = sl_alloc(ctx, c * sizeof(double));
    a->slope = sl_alloc(ctx, c * sizeof(double));
    if (!a->values || !a->vectors || !a->W || !a->g || !a->gv || !a->slope)
        return sl_fail(err, SL_MEM, "ica", NULL, "no memory for %zu sources", c);
    SL_TRY(sl_base_matrix(a->b, "ica", a->n, a->c, &a->u, err));
    SL_TRY(sl_base_matrix(a->b, "ica", a->n, a->c, &a->s, err));
    SL_TRY(sl_base_matrix(a->b, "ica", a->c, a->c, &a->w, err));
    return sl_base_matrix(a->b, "ica", a->c, a->c, &a->next, err);
}

static void release(ica *a)
{
    void *owned[] = { a->values, a->vectors, a->W, a->g, a->gv, a->slope, a->u.data, a->s.data, a->w.data, a->next.data };
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        sl_free(a->b->ctx, owned[i]);
}

/* u = x~ K^T. SL_DATA where the rows span fewer than c dimensions. */
static sl_status whiten(ica *a, const sl_tensor *xc, sl_err *err)
{
    sl_tensor K;
    SL_TRY(sl_base_covariance(a->b, xc, a->vectors, err));
    SL_TRY(sl_eigh(a->vectors, a->d, a->values, err));
    if (!(a->values[a->c - 1] > 1e-7 * a->values[0]))
        return sl_fail(err, SL_DATA, "rows", "as many dimensions as sources, or fewer --components", "they span fewer than %lld dimensions", (long long)a->c);
    SL_TRY(sl_base_matrix(a->b, "ica", a->c, a->d, &K, err));
    for (int64_t i = 0; i < a->c * a->d; i++)
        ((float *)K.data)[i] = (float)(a->vectors[i] / sqrt(a->values[i / a->d]));
    sl_base_gemm(a->b->kern, 1, xc, false, &K, true, 0, &a->u);
    sl_free(a->b->ctx, K.data);
    return SL_OK;
}

/* W = (M M^T)^-1/2 M in double; M is W's new contents. */
static sl_status decorrelate(ica *a, const double *M, sl_err *err)
{
    int64_t c = a->c;
    for (int64_t i = 0; i < c; i++)
        for (int64_t j = 0; j <= i; j++) {
            double dot = 0;
            for (int64_t l = 0; l < c; l++)
                dot += M[i * c + l] * M[j * c + l];
            a->g[i * c + j] = a->g[j * c + i] = dot;
        }
    SL_TRY(sl_eigh(a->g, c, a->gv, err));
    if (!(a->gv[c - 1] > 0))
        return sl_fail(err, SL_DATA, "ica", NULL, "two sources became the same");
    memset(a->W, 0, (size_t)(c * c) * sizeof(double));
    for (int64_t e = 0; e < c; e++) { /* sum_e v_e (v_e . M) / sqrt(value_e) */
        const double *v = a->g + e * c;
        for (int64_t l = 0; l < c; l++) {
            double dot = 0;
            for (int64_t i = 0; i < c; i++)
                dot += v[i] * M[i * c + l];
            dot /= sqrt(a->gv[e]);
            for (int64_t i = 0; i < c; i++)
                a->W[i * c + l] += v[i] * dot;
        }
    }
    return SL_OK;
}

/* s := tanh s; slope_i = E[1 - s_i^2]; the mean contrast E[log cosh], over all sources. */
static double contrast(ica *a)
{
    int64_t c = a->c, n = a->n;
    float *s = a->s.data;
    double *slope = a->slope, sum = 0;
    #pragma omp parallel for num_threads(a->b->kern->n_threads) schedule(static)
    for (int64_t i = 0; i < c; i++) { /* one owner a source; its contrast takes the place of its slope's second term */
        double flat = 0, logs = 0;
        for (int64_t r = 0; r < n; r++) {
            double x = (double)s[r * c + i], t = tanh(x);
            logs += fabs(x) + log1p(exp(-2 * fabs(x))) - M_LN2;
            flat += 1 - t * t;
            s[r * c + i] = (float)t;
        }
        slope[i] = flat / (double)n;
        a->gv[i] = logs / (double)n;
    }
    for (int64_t i = 0; i < c; i++)
        sum += a->gv[i];
    return sum / (double)c;
}

/* One iteration; *turn: max_i |1 - |cos||. M [c, c]: room. */
static sl_status iterate(ica *a, double *M, double *value, double *turn, sl_err *err)
{
    int64_t c = a->c;
    for (int64_t i = 0; i < c * c; i++)
        ((float *)a->w.data)[i] = (float)a->W[i];
    sl_base_gemm(a->b->kern, 1, &a->u, false, &a->w, true, 0, &a->s);
    *value = contrast(a);
    sl_base_gemm(a->b->kern, 1 / (double)a->n, &a->s, true, &a->u, false, 0, &a->next);
    for (int64_t i = 0; i < c * c; i++)
        M[i] = (double)((const float *)a->next.data)[i] - a->slope[i / c] * a->W[i];
    SL_TRY(decorrelate(a, M, err));
    *turn = 0;
    for (int64_t i = 0; i < c; i++) {
        double cos = 0;
        for (int64_t l = 0; l < c; l++)
            cos += a->W[i * c + l] * (double)((const float *)a->w.data)[i * c + l];
        *turn = fmax(*turn, fabs(1 - fabs(cos)));
    }
    return SL_OK;
}

static sl_status iterations(ica *a, const sl_ica_options *o, sl_err *err)
{
    int64_t c = a->c;
    double *M = sl_alloc(a->b->ctx, (size_t)(c * c) * sizeof *M), value, turn;
    if (!M)
        return sl_fail(err, SL_MEM, "ica", NULL, "no memory for %lld sources", (long long)c);
    sl_rng r = sl_rng_at(a->b->seed, SL_RNG_INIT, 0, 0);
    for (int64_t i = 0; i < c * c; i++)
        M[i] = sl_rng_normal(&r);
    sl_status st = decorrelate(a, M, err);
    for (int64_t i = 0; i < o->iterations && st == SL_OK && !a->b->converged; i++) {
        SL_GO(iterate(a, M, &value, &turn, err));
        SL_GO(sl_base_report(a->b, value, i + 1, o->iterations, err));
        a->b->converged = turn < o->tol;
    }
done:
    sl_free(a->b->ctx, M);
    return st;
}

/* Unmixing W K, mixing its pseudo-inverse V diag(w)^1/2 W^T. */
static sl_status directions(ica *a, sl_err *err)
{
    double *enc = sl_alloc(a->b->ctx, 2 * (size_t)a->d * sizeof *enc), *dec = enc ? enc + a->d : NULL;
    if (!enc)
        return sl_fail(err, SL_MEM, "ica", NULL, "no memory for a direction");
    for (int64_t j = 0; j < a->c; j++) {
        memset(enc, 0, 2 * (size_t)a->d * sizeof *enc);
        for (int64_t e = 0; e < a->c; e++)
            for (int64_t i = 0; i < a->d; i++) {
                double part = a->W[j * a->c + e] * a->vectors[e * a->d + i], sd = sqrt(a->values[e]);
                enc[i] += part / sd;
                dec[i] += part * sd;
            }
        sl_base_signed_pair(a->b, j, enc, dec);
    }
    sl_free(a->b->ctx, enc);
    return SL_OK;
}

static sl_status fit(sl_baseline *b, const sl_baseline_data *d, sl_err *err)
{
    const sl_ica_options *o = (const void *)b->opts;
    ica a = { .b = b, .n = d->n, .d = d->d_in, .c = sources(o, d) };
    sl_tensor xc = { 0 };
    sl_status st;
    SL_GO(allocate(&a, err));
    SL_GO(sl_base_own(b, b->d_in, err));
    SL_GO(sl_base_center(b, d, true, &xc, err));
    SL_GO(whiten(&a, &xc, err));
    SL_GO(iterations(&a, o, err));
    if (!b->converged)
        sl_log(b->ctx, SL_LOG_WARN, "ica: not converged after %lld iterations", (long long)o->iterations);
    st = directions(&a, err);
done:
    sl_free(b->ctx, xc.data);
    release(&a);
    return st;
}

const sl_baseline_ops sl_base_ica = {
    .info = { .name = "ica", .what = "FastICA, the k sources that contribute most to each row", .source = "Hyvarinen and Oja 2000", .opts = sl_ica_opts,
              .opts_size = sizeof(sl_ica_options), .linear = true },
    .objective = "mean log cosh of the sources", .enc_width = 1, .has_b_enc = true, .k = k_of, .n_latents = n_latents, .check = check, .fit = fit, .encode = sl_base_encode_topk,
};
