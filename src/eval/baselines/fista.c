/* Sparse coding by FISTA (Beck and Teboulle 2009, section 4; restarts of O'Donoghue and Candes 2015, section 3.2) on directions D of norm 1:
 *   min_{z >= 0} |x~ - z D|^2 / 2 + penalty sum z       y = z + (t - 1) / t+ (z - z_before),  z+ = max(0, y - (y G - x~ D^T + penalty) / L)
 * penalty = lambda times the mean |x~| of the fitted rows. What the penalty took from the k largest is given back by refitting them.
 *   fista          D is learned (dictionary.c)         fista_oracle   D is given: the ceiling where the truth is known */
#include "eval/baselines/baseline.h"
#include "eval/baselines/dictionary.h"

#include "kern/linalg.h"

#include <math.h>
#include <string.h>

#define SHARED_OPTS                                                                                                                            \
    SL_OPT_INT(sl_fista_options, k, 32, 0, 65536, "latents", "directions kept a row; 0: all that are positive, without refitting"),           \
    SL_OPT_FLOAT(sl_fista_options, lambda, .02, 0, 10, "", "weight of the sum of codes, in units of the rows' mean norm"),                     \
    SL_OPT_INT(sl_fista_options, iterations, 500, 1, 1e6, "", "at most, for each row"),                                                        \
    SL_OPT_FLOAT(sl_fista_options, tol, 1e-5, 0, 1, "", "a row is done when nothing moves by more than this share of its largest code")

const sl_opt sl_fista_opts[] = {
    SHARED_OPTS,
    SL_OPT_INT(sl_fista_options, d_sae, 256, 1, 4096, "latents", "directions to learn"),
    SL_OPT_INT(sl_fista_options, epochs, 20, 1, 1e6, "epochs", "passes over the rows while learning"),
    SL_OPT_INT(sl_fista_options, batch, 256, 2, 1 << 20, "rows", "rows a step of learning"),
    SL_OPT_INT(sl_fista_options, learn_iterations, 60, 1, 1e6, "", "at most, for each row while learning"),
    SL_OPT_BOOL(sl_fista_options, center, 1, "subtract the mean of the rows first"),
    SL_OPT_END
};
const sl_opt sl_fista_oracle_opts[] = { SHARED_OPTS, SL_OPT_END };

static int64_t k_of(const void *o)
{
    return ((const sl_fista_options *)o)->k;
}

/* ---- the solver ---- */

typedef struct momentum { float t; bool done; } momentum;

/* One step of one row: z, its predecessor's extrapolation y, gradient of the smooth part grad; all [m]. */
static void step_row(float *z, float *y, const float *grad, int64_t m, float penalty, float step, float tol, momentum *s)
{
    float next_t = .5f * (1 + sqrtf(1 + 4 * s->t * s->t)), pull = (s->t - 1) / next_t, moved = 0, top = 0, against = 0;
    for (int64_t j = 0; j < m; j++) {
        float v = y[j] - step * (grad[j] + penalty), delta;
        v = v > 0 ? v : 0;
        delta = v - z[j];
        against += (y[j] - v) * delta;
        moved = fabsf(delta) > moved ? fabsf(delta) : moved;
        top = v > top ? v : top;
        y[j] = v + pull * delta;
        z[j] = v;
    }
    s->t = next_t;
    if (against > 0) { /* the momentum points uphill: start it again */
        memcpy(y, z, (size_t)m * sizeof *y);
        s->t = 1;
    }
    s->done = moved <= tol * top;
}

/* All rows of a batch that are not done; are they all now? */
static bool step_rows(sl_baseline *b, sl_tensor *Z, sl_tensor *Y, const sl_tensor *grad, double penalty, double step, double tol, momentum *s)
{
    int64_t n = sl_rows(Z), m = sl_cols(Z), left = 0;
    float *z = Z->data, *y = Y->data;
    const float *g = grad->data;
    #pragma omp parallel for num_threads(b->kern->n_threads) schedule(static)
    for (int64_t r = 0; r < n; r++)
        if (!s[r].done)
            step_row(z + r * m, y + r * m, g + r * m, m, (float)penalty, (float)step, (float)tol, &s[r]);
    for (int64_t r = 0; r < n; r++)
        left += !s[r].done;
    return left == 0;
}

sl_status sl_fista(sl_baseline *b, const sl_tensor *gram, const sl_tensor *B, double penalty, double step, int64_t iterations, double tol, sl_tensor *Z, sl_err *err)
{
    int64_t n = sl_rows(Z), m = sl_cols(Z);
    sl_tensor Y = { 0 }, grad = { 0 };
    momentum *s = sl_alloc(b->ctx, (size_t)n * sizeof *s);
    sl_status st = s ? SL_OK : sl_fail(err, SL_MEM, "fista", NULL, "no memory for %lld rows", (long long)n);
    if (st != SL_OK)
        goto done;
    SL_GO(sl_base_matrix(b, "fista", n, m, &Y, err));
    SL_GO(sl_base_matrix(b, "fista", n, m, &grad, err));
    b->kern->copy(b->kern, Z, &Y);
    for (int64_t r = 0; r < n; r++)
        s[r].t = 1;
    bool all = false;
    for (int64_t i = 0; i < iterations && !all; i++) {
        b->kern->copy(b->kern, B, &grad);
        sl_base_gemm(b->kern, 1, &Y, false, gram, false, -1, &grad);
        all = step_rows(b, Z, &Y, &grad, penalty, step, tol, s);
    }
done:
    sl_free(b->ctx, s);
    sl_free(b->ctx, Y.data);
    sl_free(b->ctx, grad.data);
    return st;
}

/* The largest eigenvalue of D D^T is that of D^T D: the smaller of the two is taken. */
sl_status sl_fista_step(sl_baseline *b, const sl_tensor *D, double *step, sl_err *err)
{
    int64_t m = sl_rows(D), d = sl_cols(D), n = m < d ? m : d;
    sl_tensor G = { 0 };
    double *a = sl_alloc(b->ctx, (size_t)(n * n) * sizeof *a), *w = sl_alloc(b->ctx, (size_t)n * sizeof *w);
    sl_status st = a && w ? SL_OK : sl_fail(err, SL_MEM, "fista", NULL, "no memory for %lld x %lld", (long long)n, (long long)n);
    if (st != SL_OK)
        goto done;
    SL_GO(sl_base_matrix(b, "fista", n, n, &G, err));
    sl_base_gemm(b->kern, 1, D, n == d, D, n != d, 0, &G);
    for (int64_t i = 0; i < n * n; i++)
        a[i] = (double)((const float *)G.data)[i];
    SL_GO(sl_eigh(a, n, w, err));
    *step = w[0] > 0 ? .999 / w[0] : 1; /* a little less: G is rounded */
done:
    sl_free(b->ctx, a);
    sl_free(b->ctx, w);
    sl_free(b->ctx, G.data);
    return st;
}

/* ---- fitting ---- */

static double penalty_of(const sl_tensor *xc, double lambda)
{
    int64_t n = sl_rows(xc), d = sl_cols(xc);
    const float *x = xc->data;
    double total = 0;
    for (int64_t r = 0; r < n; r++) {
        double sq = 0;
        for (int64_t i = 0; i < d; i++)
            sq += (double)x[r * d + i] * (double)x[r * d + i];
        total += sqrt(sq);
    }
    return lambda * total / (double)n;
}

/* b_enc holds - penalty: the encoder's linear term is x~ D^T + b_enc. */
static sl_status keep_penalty(sl_baseline *b, double penalty, sl_err *err)
{
    SL_TRY(sl_base_matrix(b, "b_enc", 1, b->d_sae, &b->b_enc, err));
    b->kern->fill(b->kern, -penalty, &b->b_enc);
    return SL_OK;
}

static int64_t learned(const void *o, const sl_baseline_data *d)
{
    (void)d;
    return ((const sl_fista_options *)o)->d_sae;
}

static sl_status check_learned(const void *o, const sl_baseline_data *d, sl_err *err)
{
    return sl_base_rows_enough(d, ((const sl_fista_options *)o)->d_sae, err);
}

static sl_status fit_learned(sl_baseline *b, const sl_baseline_data *d, sl_err *err)
{
    const sl_fista_options *o = (const void *)b->opts;
    sl_tensor xc = { 0 };
    sl_status st;
    SL_GO(sl_base_center(b, d, o->center, &xc, err));
    double penalty = penalty_of(&xc, o->lambda);
    SL_GO(sl_dictionary_learn(b, &xc, penalty, err));
    st = keep_penalty(b, penalty, err);
done:
    sl_free(b->ctx, xc.data);
    return st;
}

static int64_t given(const void *o, const sl_baseline_data *d)
{
    (void)o;
    return d->n_dictionary;
}

static sl_status fit_given(sl_baseline *b, const sl_baseline_data *d, sl_err *err)
{
    const sl_fista_options *o = (const void *)b->opts;
    sl_tensor xc = { 0 };
    memcpy(b->W_dec.data, d->dictionary, (size_t)(b->d_sae * b->d_in) * sizeof(float));
    b->kern->row_normalize(b->kern, &b->W_dec);
    if (d->bias)
        memcpy(b->b_dec.data, d->bias, (size_t)b->d_in * sizeof(float));
    SL_TRY(sl_base_center(b, d, false, &xc, err));
    b->converged = true;
    sl_status st = keep_penalty(b, penalty_of(&xc, o->lambda), err);
    sl_free(b->ctx, xc.data);
    return st;
}

static sl_status encode(sl_baseline *b, const sl_tensor *xc, sl_csr *z, sl_err *err)
{
    const sl_fista_options *o = (const void *)b->opts;
    sl_tensor B = { 0 }, Z = { 0 };
    sl_status st;
    SL_GO(sl_base_matrix(b, "fista", sl_rows(xc), b->d_sae, &B, err));
    SL_GO(sl_base_matrix(b, "fista", sl_rows(xc), b->d_sae, &Z, err));
    SL_GO(sl_base_gram(b, &b->W_dec, &b->gram, err));
    if (!(b->step > 0))
        SL_GO(sl_fista_step(b, &b->W_dec, &b->step, err));
    sl_base_gemm(b->kern, 1, xc, false, &b->W_dec, true, 0, &B);
    SL_GO(sl_fista(b, &b->gram, &B, -(double)((const float *)b->b_enc.data)[0], b->step, o->iterations, o->tol, &Z, err));
    st = sl_nonneg_keep(b, xc, &Z, z, err);
done:
    sl_free(b->ctx, B.data);
    sl_free(b->ctx, Z.data);
    return st;
}

const sl_baseline_ops sl_base_fista = {
    .info = { .name = "fista", .what = "sparse coding with a dictionary learned online", .source = "Mairal et al. 2009", .opts = sl_fista_opts,
              .opts_size = sizeof(sl_fista_options) },
    .objective = "|x~ - z D|^2 / 2 + penalty |z|, a row", .has_b_enc = true, .k = k_of, .n_latents = learned, .check = check_learned, .fit = fit_learned, .encode = encode,
};

const sl_baseline_ops sl_base_fista_oracle = {
    .info = { .name = "fista_oracle", .what = "sparse coding with directions that are given", .source = "Beck and Teboulle 2009", .opts = sl_fista_oracle_opts,
              .opts_size = sizeof(sl_fista_options), .needs_dictionary = true },
    .objective = "|x~ - z D|^2 / 2 + penalty |z|, a row", .has_b_enc = true, .k = k_of, .n_latents = given, .fit = fit_given, .encode = encode,
};
