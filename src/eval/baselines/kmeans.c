/* k-means (Lloyd 1982) from k-means++ starts (Arthur and Vassilvitskii 2007), the best of `restarts`. On x~ = x - mean, centroid c_j is the
 * direction c_j / |c_j| with value |c_j|: the nearest centroid, argmax_j c_j . x~ - |c_j|^2 / 2, is the first latent and reconstructs the row as
 * itself. With k > 1 the next latents are chosen on what is left, as matching pursuit does among the centroids' directions. */
#include "eval/baselines/baseline.h"

#include <saelab/rng.h>
#include <math.h>
#include <string.h>

const sl_opt sl_kmeans_opts[] = {
    SL_OPT_INT(sl_kmeans_options, k, 1, 1, 65536, "latents", "centroids a row: the nearest, then those that explain what is left"),
    SL_OPT_INT(sl_kmeans_options, d_sae, 256, 1, 1 << 20, "latents", "centroids"),
    SL_OPT_INT(sl_kmeans_options, iterations, 300, 1, 1e6, "", "at most, of each start"),
    SL_OPT_INT(sl_kmeans_options, restarts, 4, 1, 1000, "", "starts, of which the best counts"),
    SL_OPT_END
};

enum { CHUNK = 1024 };

typedef struct kmeans {
    sl_baseline *b;
    sl_tensor xc, c, half;  /* rows [n, d]; centroids [m, d], -|c|^2 / 2 [m] */
    sl_tensor score;        /* [CHUNK, m] */
    int64_t n, d, m;
    int32_t *owner;         /* [n] */
    double *far;            /* [n] squared distance to the centroid */
    double *sum;            /* [m, d] */
    int64_t *count;         /* [m] */
} kmeans;

static int64_t k_of(const void *o)
{
    return ((const sl_kmeans_options *)o)->k;
}

static int64_t n_latents(const void *o, const sl_baseline_data *d)
{
    (void)d;
    return ((const sl_kmeans_options *)o)->d_sae;
}

static sl_status check(const void *o, const sl_baseline_data *d, sl_err *err)
{
    return sl_base_rows_enough(d, ((const sl_kmeans_options *)o)->d_sae, err);
}

static double distance(const float *a, const float *b, int64_t d)
{
    double sq = 0;
    for (int64_t i = 0; i < d; i++)
        sq += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sq;
}

static void halves(const sl_tensor *c, sl_tensor *half)
{
    int64_t d = sl_cols(c);
    for (int64_t j = 0; j < sl_rows(c); j++) {
        double sq = 0;
        for (int64_t i = 0; i < d; i++)
            sq += (double)((const float *)c->data)[j * d + i] * (double)((const float *)c->data)[j * d + i];
        ((float *)half->data)[j] = (float)(-.5 * sq);
    }
}

/* owner[r] = argmax_j c_j . x_r - |c_j|^2 / 2, the first of equals. */
static void nearest(const sl_kern *k, const sl_tensor *rows, const sl_tensor *c, const sl_tensor *half, sl_tensor score, int32_t *owner)
{
    int64_t n = sl_rows(rows), m = sl_rows(c), d = sl_cols(c);
    for (int64_t r0 = 0; r0 < n; r0 += CHUNK) {
        int64_t part = n - r0 < CHUNK ? n - r0 : CHUNK;
        sl_tensor x = sl_tensor_of(SL_F32, (float *)rows->data + r0 * d, 2, part, d), s = sl_tensor_of(SL_F32, score.data, 2, part, m);
        sl_gemm g = { .a = &x, .b = c, .tb = true, .c = &s, .alpha = 1, .bias = half };
        k->gemm(k, &g);
        for (int64_t r = 0; r < part; r++) {
            const float *v = (const float *)s.data + r * m;
            int64_t best = 0;
            for (int64_t j = 1; j < m; j++)
                best = v[j] > v[best] ? j : best;
            owner[r0 + r] = (int32_t)best;
        }
    }
}

/* Assigns all rows; the sum of squared distances. */
static double assign(kmeans *a)
{
    const float *x = a->xc.data, *c = a->c.data;
    double total = 0;
    halves(&a->c, &a->half);
    nearest(a->b->kern, &a->xc, &a->c, &a->half, a->score, a->owner);
    for (int64_t r = 0; r < a->n; r++)
        total += a->far[r] = distance(x + r * a->d, c + a->owner[r] * a->d, a->d);
    return total;
}

/* Each next centre is a row drawn with probability proportional to its squared distance from those before. */
static void plus_plus(kmeans *a, sl_rng *rng)
{
    const float *x = a->xc.data;
    float *c = a->c.data;
    double total = 0;
    int64_t at = (int64_t)sl_rng_below(rng, (uint64_t)a->n);
    for (int64_t j = 0; j < a->m; j++) {
        memcpy(c + j * a->d, x + at * a->d, (size_t)a->d * sizeof *c);
        total = 0;
        for (int64_t r = 0; r < a->n; r++) {
            double sq = distance(x + r * a->d, c + j * a->d, a->d);
            a->far[r] = j == 0 || sq < a->far[r] ? sq : a->far[r];
            total += a->far[r];
        }
        double u = sl_rng_uniform(rng) * total;
        for (at = 0; at < a->n - 1 && u >= a->far[at]; at++)
            u -= a->far[at];
    }
}

/* Means of what each centroid owns; one that owns nothing moves to the row that is farthest from its own. */
static void move(kmeans *a)
{
    const float *x = a->xc.data;
    float *c = a->c.data;
    memset(a->sum, 0, (size_t)(a->m * a->d) * sizeof *a->sum);
    memset(a->count, 0, (size_t)a->m * sizeof *a->count);
    for (int64_t r = 0; r < a->n; r++) {
        a->count[a->owner[r]]++;
        for (int64_t i = 0; i < a->d; i++)
            a->sum[a->owner[r] * a->d + i] += (double)x[r * a->d + i];
    }
    for (int64_t j = 0; j < a->m; j++) {
        int64_t worst = 0;
        for (int64_t r = 1; a->count[j] == 0 && r < a->n; r++)
            worst = a->far[r] > a->far[worst] ? r : worst;
        for (int64_t i = 0; i < a->d; i++)
            c[j * a->d + i] = a->count[j] ? (float)(a->sum[j * a->d + i] / (double)a->count[j]) : x[worst * a->d + i];
        if (a->count[j] == 0)
            a->far[worst] = 0;
    }
}

/* One start; *value is the lowest sum of squared distances, of the centroids now in a->c. The curve is that of the best start so far. */
static sl_status descend(kmeans *a, int64_t restart, double best, double *value, sl_err *err)
{
    const sl_kmeans_options *o = (const void *)a->b->opts;
    sl_rng rng = sl_rng_at(a->b->seed, SL_RNG_INIT, 0, (uint64_t)restart);
    sl_baseline *b = a->b;
    int64_t kept = b->n_curve;
    bool done = false;
    plus_plus(a, &rng);
    *value = assign(a);
    for (int64_t i = 0; i < o->iterations && !done; i++) {
        move(a);
        double now = assign(a);
        done = !(now < *value * (1 - 1e-7));
        *value = now;
        SL_TRY(sl_base_report(b, now, restart * o->iterations + (done ? o->iterations : i + 1), o->restarts * o->iterations, err));
    }
    if (*value < best) {
        memmove(b->curve, b->curve + kept, (size_t)(b->n_curve - kept) * sizeof *b->curve);
        b->n_curve -= kept;
        b->converged = done;
    } else
        b->n_curve = kept;
    return SL_OK;
}

static sl_status allocate(kmeans *a, sl_err *err)
{
    sl_ctx *ctx = a->b->ctx;
    a->owner = sl_alloc(ctx, (size_t)a->n * sizeof *a->owner);
    a->far = sl_alloc(ctx, (size_t)a->n * sizeof *a->far);
    a->sum = sl_alloc(ctx, (size_t)(a->m * a->d) * sizeof *a->sum);
    a->count = sl_alloc(ctx, (size_t)a->m * sizeof *a->count);
    if (!a->owner || !a->far || !a->sum || !a->count)
        return sl_fail(err, SL_MEM, "kmeans", NULL, "no memory for %lld rows", (long long)a->n);
    SL_TRY(sl_base_matrix(a->b, "kmeans", a->m, a->d, &a->c, err));
    SL_TRY(sl_base_matrix(a->b, "kmeans", 1, a->m, &a->half, err));
    return sl_base_matrix(a->b, "kmeans", CHUNK, a->m, &a->score, err);
}

static void release(kmeans *a)
{
    void *owned[] = { a->owner, a->far, a->sum, a->count, a->xc.data, a->c.data, a->half.data, a->score.data };
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        sl_free(a->b->ctx, owned[i]);
}

static sl_status fit(sl_baseline *b, const sl_baseline_data *d, sl_err *err)
{
    const sl_kmeans_options *o = (const void *)b->opts;
    kmeans a = { .b = b, .n = d->n, .d = d->d_in, .m = b->d_sae };
    double best = INFINITY, value;
    sl_status st;
    SL_GO(allocate(&a, err));
    SL_GO(sl_base_own(b, b->d_in, err));
    SL_GO(sl_base_center(b, d, true, &a.xc, err));
    for (int64_t i = 0; i < o->restarts; i++) {
        SL_GO(descend(&a, i, best, &value, err));
        if (value < best) {
            best = value;
            b->kern->copy(b->kern, &a.c, &b->W_enc);
        }
    }
    halves(&b->W_enc, &b->b_enc);
    b->kern->copy(b->kern, &b->W_enc, &b->W_dec);
    b->kern->row_normalize(b->kern, &b->W_dec);
done:
    release(&a);
    return st;
}

/* ---- codes ---- */

/* The k - 1 directions that take most from what the nearest centroid leaves. dots [m]: directions times the row, changed to times the rest. */
static void pursue(const sl_baseline *b, int64_t owner, float *dots, float *code)
{
    int64_t m = b->d_sae, taken = owner;
    const float *g = b->refit_gram.data;
    for (int64_t t = 1; t < b->k; t++) {
        int64_t best = -1;
        float amount = code[taken];
        for (int64_t j = 0; j < m; j++) {
            dots[j] -= amount * g[taken * m + j];
            if (code[j] == 0 && j != owner && dots[j] > 0 && (best < 0 || dots[j] > dots[best]))
                best = j;
        }
        if (best < 0)
            return;
        code[best] = dots[best];
        taken = best;
    }
}

/* One row's code into z at `at`; where the next one goes. */
static int64_t put_row(const sl_baseline *b, int32_t owner, float *dots, float *code, sl_csr *z, int64_t at)
{
    memset(code, 0, (size_t)b->d_sae * sizeof *code);
    code[owner] = sqrtf(-2 * ((const float *)b->b_enc.data)[owner]);
    pursue(b, owner, dots, code);
    for (int64_t j = 0; j < b->d_sae; j++)
        if (code[j] > 0) {
            z->idx[at] = (int32_t)j;
            ((float *)z->val)[at++] = code[j];
        }
    return at;
}

static sl_status encode(sl_baseline *b, const sl_tensor *xc, sl_csr *z, sl_err *err)
{
    int64_t n = sl_rows(xc), m = b->d_sae, at = 0;
    sl_tensor score = { 0 }, dots = { 0 };
    int32_t *owner = sl_alloc(b->ctx, (size_t)n * sizeof *owner);
    float *code = sl_alloc(b->ctx, (size_t)m * sizeof *code);
    sl_status st = owner && code ? SL_OK : sl_fail(err, SL_MEM, "kmeans", NULL, "no memory for %lld rows", (long long)n);
    if (st != SL_OK)
        goto done;
    SL_GO(sl_base_matrix(b, "kmeans", CHUNK, m, &score, err));
    SL_GO(sl_base_matrix(b, "kmeans", n, m, &dots, err));
    SL_GO(sl_base_gram(b, &b->W_dec, &b->refit_gram, err));
    nearest(b->kern, xc, &b->W_enc, &b->b_enc, score, owner);
    sl_base_gemm(b->kern, 1, xc, false, &b->W_dec, true, 0, &dots);
    z->row_ptr[0] = 0;
    for (int64_t r = 0; r < n; r++)
        z->row_ptr[r + 1] = at = put_row(b, owner[r], (float *)dots.data + r * m, code, z, at);
done:
    sl_free(b->ctx, owner);
    sl_free(b->ctx, code);
    sl_free(b->ctx, score.data);
    sl_free(b->ctx, dots.data);
    return st;
}

const sl_baseline_ops sl_base_kmeans = {
    .info = { .name = "kmeans", .what = "the nearest of the centroids", .source = "Arthur and Vassilvitskii 2007", .opts = sl_kmeans_opts,
              .opts_size = sizeof(sl_kmeans_options) },
    .objective = "|x - nearest centroid|^2", .enc_width = 1, .has_b_enc = true, .k = k_of, .n_latents = n_latents, .check = check, .fit = fit, .encode = encode,
};
