/* NMF of Y = [max(x~, 0); max(-x~, 0)] by HALS (Cichocki and Phan 2009), science.md K3:
 *   min |Y - H W|^2, H [n, m] >= 0, W [m, 2d] >= 0, rows of W of norm 1.
 * A direction is W_j[:d] - W_j[d:]. Codes of new rows: H alone, by `sweeps` passes, of which the k largest are kept and refitted. */
#include "eval/baselines/baseline.h"

#include <saelab/rng.h>
#include <math.h>

const sl_opt sl_nmf_opts[] = {
    SL_OPT_INT(sl_factor_options, k, 32, 0, 65536, "latents", "directions kept a row; 0: all that are positive"),
    SL_OPT_INT(sl_factor_options, d_sae, 256, 1, 65536, "latents", "rank"),
    SL_OPT_INT(sl_factor_options, iterations, 200, 1, 1e6, "", "at most"),
    SL_OPT_INT(sl_factor_options, sweeps, 50, 1, 1e6, "", "passes over the codes of new rows"),
    SL_OPT_FLOAT(sl_factor_options, tol, 1e-4, 0, 1, "", "converged when an iteration lowers the objective by less than this share"),
    SL_OPT_BOOL(sl_factor_options, center, 1, "subtract the mean of the rows first"),
    SL_OPT_END
};

typedef struct nmf {
    sl_tensor Y, R;         /* [n, 2d]; R: Y - H W */
    sl_tensor H, Wt;        /* [n, m], [2d, m] */
    sl_tensor g, b, bt;     /* [m, m], [n, m], [2d, m] */
} nmf;

static int64_t k_of(const void *o)
{
    return ((const sl_factor_options *)o)->k;
}

static int64_t n_latents(const void *o, const sl_baseline_data *d)
{
    (void)d;
    return ((const sl_factor_options *)o)->d_sae;
}

/* Y [n, 2d] of xc [n, d] */
static void split_signs(const sl_tensor *xc, sl_tensor *Y)
{
    int64_t n = sl_rows(xc), d = sl_cols(xc);
    const float *x = xc->data;
    float *y = Y->data;
    for (int64_t r = 0; r < n; r++)
        for (int64_t j = 0; j < d; j++) {
            float v = x[r * d + j];
            y[2 * r * d + j] = v > 0 ? v : 0;
            y[(2 * r + 1) * d + j] = v < 0 ? -v : 0;
        }
}

static sl_status allocate(sl_baseline *b, int64_t n, nmf *f, sl_err *err)
{
    int64_t m = b->d_sae, wide = 2 * b->d_in;
    SL_TRY(sl_base_matrix(b, "nmf", n, wide, &f->Y, err));
    SL_TRY(sl_base_matrix(b, "nmf", n, wide, &f->R, err));
    SL_TRY(sl_base_matrix(b, "nmf", n, m, &f->H, err));
    SL_TRY(sl_base_matrix(b, "nmf", wide, m, &f->Wt, err));
    SL_TRY(sl_base_matrix(b, "nmf", m, m, &f->g, err));
    SL_TRY(sl_base_matrix(b, "nmf", n, m, &f->b, err));
    return sl_base_matrix(b, "nmf", wide, m, &f->bt, err);
}

static void release(sl_baseline *b, nmf *f)
{
    sl_tensor *owned[] = { &f->Y, &f->R, &f->H, &f->Wt, &f->g, &f->b, &f->bt };
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        sl_free(b->ctx, owned[i]->data);
}

/* |N(0, 1)| sqrt(mean Y / m), the scale at which H W is as large as Y. */
static void start(sl_baseline *b, nmf *f)
{
    sl_tensor *both[] = { &f->H, &f->Wt };
    double scale = sqrt(b->kern->sum(b->kern, &f->Y) / (double)sl_numel(&f->Y) / (double)b->d_sae);
    int64_t m = b->d_sae;
    for (int i = 0; i < 2; i++)
        for (int64_t r = 0; r < sl_rows(both[i]); r++) {
            sl_rng rng = sl_rng_at(b->seed, SL_RNG_INIT, (uint64_t)i, (uint64_t)r);
            for (int64_t j = 0; j < m; j++)
                ((float *)both[i]->data)[r * m + j] = (float)(scale * fabs(sl_rng_normal(&rng)));
        }
}

/* Columns of Wt to norm 1, their norms into those of H. A column of zeros stays: its H is 0 as well, as nothing is gained by it. */
static void renormalise(nmf *f)
{
    int64_t m = sl_cols(&f->H), n = sl_rows(&f->H), wide = sl_rows(&f->Wt);
    float *w = f->Wt.data, *h = f->H.data;
    for (int64_t j = 0; j < m; j++) {
        double sq = 0;
        for (int64_t i = 0; i < wide; i++)
            sq += (double)w[i * m + j] * (double)w[i * m + j];
        double norm = sqrt(sq);
        for (int64_t i = 0; i < wide && norm > 0; i++)
            w[i * m + j] = (float)((double)w[i * m + j] / norm);
        for (int64_t r = 0; r < n; r++)
            h[r * m + j] = (float)((double)h[r * m + j] * norm);
    }
}

/* One pass over H, one over W; *objective: |Y - H W|^2. */
static sl_status iterate(sl_baseline *b, nmf *f, double *objective, sl_err *err)
{
    const sl_kern *k = b->kern;
    sl_base_gemm(k, 1, &f->Wt, true, &f->Wt, false, 0, &f->g);
    sl_base_gemm(k, 1, &f->Y, false, &f->Wt, false, 0, &f->b);
    SL_TRY(sl_nonneg_sweeps(b, &f->g, &f->b, &f->H, 1, err));
    sl_base_gemm(k, 1, &f->H, true, &f->H, false, 0, &f->g);
    sl_base_gemm(k, 1, &f->Y, true, &f->H, false, 0, &f->bt);
    SL_TRY(sl_nonneg_sweeps(b, &f->g, &f->bt, &f->Wt, 1, err));
    renormalise(f);
    k->copy(k, &f->Y, &f->R);
    sl_base_gemm(k, -1, &f->H, false, &f->Wt, true, 1, &f->R);
    *objective = k->sum_sq(k, &f->R);
    return SL_OK;
}

static void directions(sl_baseline *b, const nmf *f)
{
    int64_t m = b->d_sae, d = b->d_in;
    const float *w = f->Wt.data;
    float *enc = b->W_enc.data, *dec = b->W_dec.data;
    for (int64_t j = 0; j < m; j++)
        for (int64_t i = 0; i < d; i++) {
            enc[2 * j * d + i] = w[i * m + j];
            enc[(2 * j + 1) * d + i] = w[(i + d) * m + j];
            dec[j * d + i] = w[i * m + j] - w[(i + d) * m + j];
        }
}

static sl_status fit(sl_baseline *b, const sl_baseline_data *d, sl_err *err)
{
    const sl_factor_options *o = (const void *)b->opts;
    nmf f = { 0 };
    sl_tensor xc = { 0 };
    double objective;
    sl_status st;
    SL_GO(allocate(b, d->n, &f, err));
    SL_GO(sl_base_own(b, 2 * b->d_in, err));
    SL_GO(sl_base_center(b, d, o->center, &xc, err));
    split_signs(&xc, &f.Y);
    start(b, &f);
    for (int64_t i = 0; i < o->iterations && !b->converged; i++) {
        SL_GO(iterate(b, &f, &objective, err));
        SL_GO(sl_base_report(b, objective, i + 1, o->iterations, err));
        b->converged = sl_base_settled(b, o->tol);
    }
    directions(b, &f);
done:
    sl_free(b->ctx, xc.data);
    release(b, &f);
    return st;
}

static sl_status encode(sl_baseline *b, const sl_tensor *xc, sl_csr *z, sl_err *err)
{
    const sl_factor_options *o = (const void *)b->opts;
    int64_t n = sl_rows(xc);
    sl_tensor Y = { 0 }, B = { 0 }, H = { 0 };
    sl_status st;
    SL_GO(sl_base_matrix(b, "nmf", n, 2 * b->d_in, &Y, err));
    SL_GO(sl_base_matrix(b, "nmf", n, b->d_sae, &B, err));
    SL_GO(sl_base_matrix(b, "nmf", n, b->d_sae, &H, err));
    SL_GO(sl_base_gram(b, &b->W_enc, &b->gram, err));
    split_signs(xc, &Y);
    sl_base_gemm(b->kern, 1, &Y, false, &b->W_enc, true, 0, &B);
    SL_GO(sl_nonneg_sweeps(b, &b->gram, &B, &H, o->sweeps, err));
    st = sl_nonneg_keep(b, xc, &H, z, err);
done:
    sl_free(b->ctx, Y.data);
    sl_free(b->ctx, B.data);
    sl_free(b->ctx, H.data);
    return st;
}

const sl_baseline_ops sl_base_nmf = {
    .info = { .name = "nmf", .what = "non-negative factors of the positive and negative parts", .source = "Cichocki and Phan 2009", .opts = sl_nmf_opts,
              .opts_size = sizeof(sl_factor_options) },
    .objective = "|Y - H W|^2, Y = [x+; x-]", .enc_width = 2, .has_b_enc = true, .k = k_of, .n_latents = n_latents, .fit = fit, .encode = encode,
};
