/* Semi-NMF (Ding, Li and Jordan 2010, section 2.2): min |x~ - H W|^2 with H [n, m] >= 0 and W [m, d] free.
 *   W = (H^T H)^+ H^T x~      H <- H sqrt( ((x~ W^T)+ + H (W W^T)-) / ((x~ W^T)- + H (W W^T)+) )
 * with A+ = max(A, 0), A- = max(-A, 0). Rows of W are scaled to norm 1 at the end. Codes of new rows: the same problem in H alone, which
 * is convex, by coordinate descent; the k largest are kept and refitted. */
#include "eval/baselines/baseline.h"

#include "kern/linalg.h"

#include <saelab/rng.h>
#include <math.h>

const sl_opt sl_semi_nmf_opts[] = {
    SL_OPT_INT(sl_factor_options, k, 32, 0, 65536, "latents", "directions kept a row; 0: all that are positive"),
    SL_OPT_INT(sl_factor_options, d_sae, 256, 1, 4096, "latents", "rank"),
    SL_OPT_INT(sl_factor_options, iterations, 200, 1, 1e6, "", "at most"),
    SL_OPT_INT(sl_factor_options, sweeps, 50, 1, 1e6, "", "passes over the codes of new rows"),
    SL_OPT_FLOAT(sl_factor_options, tol, 1e-4, 0, 1, "", "converged when an iteration lowers the objective by less than this share"),
    SL_OPT_BOOL(sl_factor_options, center, 1, "subtract the mean of the rows first"),
    SL_OPT_END
};

typedef struct semi {
    sl_tensor xc, R;        /* [n, d] */
    sl_tensor H, b, hg;     /* [n, m]: codes, x~ W^T, H times one part of W W^T */
    sl_tensor low;          /* [n, m]: the denominator */
    sl_tensor g, part;      /* [m, m] */
    sl_tensor hx;           /* [m, d]: H^T x~ */
    double *e, *w;          /* [m, m], [m]: eigenvectors of H^T H */
} semi;

static int64_t k_of(const void *o)
{
    return ((const sl_factor_options *)o)->k;
}

static int64_t n_latents(const void *o, const sl_baseline_data *d)
{
    (void)d;
    return ((const sl_factor_options *)o)->d_sae;
}

static sl_status check(const void *o, const sl_baseline_data *d, sl_err *err)
{
    return sl_base_rows_enough(d, ((const sl_factor_options *)o)->d_sae, err);
}

static sl_status allocate(sl_baseline *b, int64_t n, semi *f, sl_err *err)
{
    int64_t m = b->d_sae;
    SL_TRY(sl_base_matrix(b, "semi_nmf", n, b->d_in, &f->R, err));
    SL_TRY(sl_base_matrix(b, "semi_nmf", n, m, &f->H, err));
    SL_TRY(sl_base_matrix(b, "semi_nmf", n, m, &f->b, err));
    SL_TRY(sl_base_matrix(b, "semi_nmf", n, m, &f->hg, err));
    SL_TRY(sl_base_matrix(b, "semi_nmf", n, m, &f->low, err));
    SL_TRY(sl_base_matrix(b, "semi_nmf", m, m, &f->g, err));
    SL_TRY(sl_base_matrix(b, "semi_nmf", m, m, &f->part, err));
    SL_TRY(sl_base_matrix(b, "semi_nmf", m, b->d_in, &f->hx, err));
    f->e = sl_alloc(b->ctx, (size_t)(m * m) * sizeof *f->e);
    f->w = sl_alloc(b->ctx, (size_t)m * sizeof *f->w);
    return f->e && f->w ? SL_OK : sl_fail(err, SL_MEM, "semi_nmf", NULL, "no memory for rank %lld", (long long)m);
}

static void release(sl_baseline *b, semi *f)
{
    sl_tensor *owned[] = { &f->xc, &f->R, &f->H, &f->b, &f->hg, &f->low, &f->g, &f->part, &f->hx };
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        sl_free(b->ctx, owned[i]->data);
    sl_free(b->ctx, f->e);
    sl_free(b->ctx, f->w);
}

/* W_dec = (H^T H)^+ H^T x~, the pseudo-inverse through its eigenvectors: a code that nothing uses makes it singular. */
static sl_status solve_w(sl_baseline *b, semi *f, sl_err *err)
{
    int64_t m = b->d_sae;
    float *part = f->part.data;
    sl_base_gemm(b->kern, 1, &f->H, true, &f->H, false, 0, &f->g);
    sl_base_gemm(b->kern, 1, &f->H, true, &f->xc, false, 0, &f->hx);
    for (int64_t i = 0; i < m * m; i++)
        f->e[i] = (double)((const float *)f->g.data)[i];
    SL_TRY(sl_eigh(f->e, m, f->w, err));
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = 0;
            for (int64_t l = 0; l < m && f->w[l] > 1e-6 * f->w[0]; l++)
                sum += f->e[l * m + i] * f->e[l * m + j] / f->w[l];
            part[i * m + j] = part[j * m + i] = (float)sum;
        }
    sl_base_gemm(b->kern, 1, &f->part, false, &f->hx, false, 0, &b->W_dec);
    return SL_OK;
}

/* part = max(sign g, 0) */
static void signed_part(const sl_tensor *g, float sign, sl_tensor *part)
{
    const float *from = g->data;
    float *to = part->data;
    for (int64_t i = 0; i < sl_numel(g); i++)
        to[i] = sign * from[i] > 0 ? sign * from[i] : 0;
}

static void update_h(sl_baseline *b, semi *f)
{
    const float tiny = 1e-20f;
    const float *target = f->b.data, *up = f->hg.data, *down = f->low.data;
    float *h = f->H.data;
    sl_base_gemm(b->kern, 1, &b->W_dec, false, &b->W_dec, true, 0, &f->g);
    sl_base_gemm(b->kern, 1, &f->xc, false, &b->W_dec, true, 0, &f->b);
    signed_part(&f->g, -1, &f->part);
    sl_base_gemm(b->kern, 1, &f->H, false, &f->part, false, 0, &f->hg);
    signed_part(&f->g, 1, &f->part);
    sl_base_gemm(b->kern, 1, &f->H, false, &f->part, false, 0, &f->low);
    for (int64_t i = 0; i < sl_numel(&f->H); i++) {
        float above = (target[i] > 0 ? target[i] : 0) + up[i], below = (target[i] < 0 ? -target[i] : 0) + down[i];
        h[i] *= sqrtf(above / (below > tiny ? below : tiny));
    }
}

/* After H changed, W is solved for again: *objective is that of the pair. */
static sl_status iterate(sl_baseline *b, semi *f, double *objective, sl_err *err)
{
    update_h(b, f);
    SL_TRY(solve_w(b, f, err));
    b->kern->copy(b->kern, &f->xc, &f->R);
    sl_base_gemm(b->kern, -1, &f->H, false, &b->W_dec, false, 1, &f->R);
    *objective = b->kern->sum_sq(b->kern, &f->R);
    return SL_OK;
}

static sl_status fit(sl_baseline *b, const sl_baseline_data *d, sl_err *err)
{
    const sl_factor_options *o = (const void *)b->opts;
    semi f = { 0 };
    double objective;
    sl_status st;
    SL_GO(allocate(b, d->n, &f, err));
    SL_GO(sl_base_center(b, d, o->center, &f.xc, err));
    for (int64_t r = 0; r < d->n; r++) {
        sl_rng rng = sl_rng_at(b->seed, SL_RNG_INIT, 0, (uint64_t)r);
        for (int64_t j = 0; j < b->d_sae; j++)
            ((float *)f.H.data)[r * b->d_sae + j] = (float)fabs(sl_rng_normal(&rng));
    }
    SL_GO(solve_w(b, &f, err));
    for (int64_t i = 0; i < o->iterations && !b->converged; i++) {
        SL_GO(iterate(b, &f, &objective, err));
        SL_GO(sl_base_report(b, objective, i + 1, o->iterations, err));
        b->converged = sl_base_settled(b, o->tol);
    }
    b->kern->row_normalize(b->kern, &b->W_dec);
done:
    release(b, &f);
    return st;
}

static sl_status encode(sl_baseline *b, const sl_tensor *xc, sl_csr *z, sl_err *err)
{
    const sl_factor_options *o = (const void *)b->opts;
    sl_tensor B = { 0 }, H = { 0 };
    sl_status st;
    SL_GO(sl_base_matrix(b, "semi_nmf", sl_rows(xc), b->d_sae, &B, err));
    SL_GO(sl_base_matrix(b, "semi_nmf", sl_rows(xc), b->d_sae, &H, err));
    SL_GO(sl_base_gram(b, &b->W_dec, &b->gram, err));
    sl_base_gemm(b->kern, 1, xc, false, &b->W_dec, true, 0, &B);
    SL_GO(sl_nonneg_sweeps(b, &b->gram, &B, &H, o->sweeps, err));
    st = sl_nonneg_keep(b, xc, &H, z, err);
done:
    sl_free(b->ctx, B.data);
    sl_free(b->ctx, H.data);
    return st;
}

const sl_baseline_ops sl_base_semi_nmf = {
    .info = { .name = "semi_nmf", .what = "non-negative codes of free directions", .source = "Ding, Li and Jordan 2010", .opts = sl_semi_nmf_opts,
              .opts_size = sizeof(sl_factor_options) },
    .objective = "|x~ - H W|^2", .k = k_of, .n_latents = n_latents, .check = check, .fit = fit, .encode = encode,
};
