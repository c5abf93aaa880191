/* Certified support radius (science.md B3): how far a row can move, in any direction, before a latent starts or stops to fire. Exact for encoders
 * that are linear up to their selection, and needs no sampling.
 *   TopK, |S| = k:  r = min_{j in S} min(a_j / |w_j|, min_{l not in S} (a_j - a_l) / |w_j - w_l|)
 *   TopK, |S| < k:  r = min(min_{j in S} a_j / |w_j|, min_{l not in S} -a_l / |w_l|)
 *   thresholds:     r = min_j |a_j - theta_j| / |w_j|
 * Every quotient is the distance to the hyperplane on which that event happens. Pairs are looked at only where the bound
 * |w_j - w_l| <= |w_j| + |w_l| leaves them a chance, so that no Gram matrix of the encoder is needed. */
#include "eval/measured.h"
#include "sae/variant.h"

#include <saelab/stability.h>

#include <math.h>
#include <string.h>

#define LEAST_NORM 1e-6 /* rows nearer to the mean than this have no relative radius */

/* ---- the encoder ---- */

static double dot(const double *a, const double *b, int64_t n)
{
    double s[4] = { 0 };
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int q = 0; q < 4; q++)
            s[q] += a[i + q] * b[i + q];
    for (; i < n; i++)
        s[0] += a[i] * b[i];
    return s[0] + s[1] + (s[2] + s[3]);
}

enum { RELU, TOPK, ONE_THRESHOLD, THRESHOLDS, GATED };
static const struct { const char *variant; int kind; } KINDS[] = {
    { "standard", RELU }, { "p_anneal", RELU }, { "topk", TOPK }, { "mlp_decoder", TOPK }, { "polysae", TOPK },
    { "batchtopk", ONE_THRESHOLD }, { "matryoshka", ONE_THRESHOLD }, { "jumprelu", THRESHOLDS }, { "gated", GATED },
};

static int kind_of(const sl_sae *s)
{
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
        if (strcmp(s->ops->info.name, KINDS[i].variant) == 0)
            return KINDS[i].kind;
    return -1;
}

/* A gated latent fires when pi_j > 0 and e^r_j pi_j + b_mag_j - e^r_j b_gate_j > 0 (gated.c): when pi_j exceeds a threshold. */
static void gated_thresholds(const sl_sae *s, const float *r_mag, const float *b_mag, double *theta)
{
    const float *b_gate = s->b_enc->value.data;
    for (int64_t j = 0; j < s->d_sae; j++)
        theta[j] = fmax(0, (double)b_gate[j] - (double)b_mag[j] / exp((double)r_mag[j]));
}

static sl_status set_thresholds(const sl_sae *s, int kind, sl_linear_encoder *e, sl_err *err)
{
    sl_tensor t, u;
    if (kind == TOPK)
        e->k = *(const int64_t *)(const void *)((const char *)s->opts + sl_opts_find(s->ops->info.opts, "k")->offset);
    else if (kind == ONE_THRESHOLD)
        for (int64_t j = 0; j < s->d_sae; j++)
            e->theta[j] = s->ops->threshold(s);
    else if (kind == THRESHOLDS) {
        SL_TRY(sl_sae_weight(s, "threshold", &t, err));
        for (int64_t j = 0; j < s->d_sae; j++)
            e->theta[j] = fmax(0, (double)((const float *)t.data)[j]);
    } else if (kind == GATED) {
        SL_TRY(sl_sae_weight(s, "r_mag", &t, err));
        SL_TRY(sl_sae_weight(s, "b_mag", &u, err));
        gated_thresholds(s, t.data, u.data, e->theta);
    }
    return SL_OK;
}

static void set_weights(const sl_sae *s, sl_linear_encoder *e)
{
    const float *W = s->W_enc->value.data, *b = s->b_enc->value.data, *b_dec = s->b_dec->value.data;
    for (int64_t j = 0; j < s->d_sae; j++) {
        double *w = e->W + j * s->d_in;
        e->b[j] = (double)b[j];
        for (int64_t i = 0; i < s->d_in; i++) {
            w[i] = (double)W[j * s->d_in + i];
            e->b[j] -= s->center_input ? w[i] * (double)b_dec[i] : 0;
        }
        e->norm[j] = sqrt(dot(w, w, s->d_in));
    }
}

sl_status sl_linear_encoder_of(const sl_sae *s, sl_linear_encoder *out, sl_err *err)
{
    int kind = kind_of(s);
    *out = (sl_linear_encoder){ .d_in = s->d_in, .d_sae = s->d_sae };
    if (kind < 0 || s->row_norm != SL_ROWS_AS_THEY_ARE)
        return sl_fail(err, SL_UNAVAILABLE, s->ops->info.name, "an encoder that is linear in the row", kind < 0 ? "it is not known as one" : "each row is normalised by itself");
    SL_TRY(sl_sae_usable(s, err));
    size_t m = (size_t)s->d_sae * sizeof(double);
    out->W = sl_alloc(s->ctx, (size_t)s->d_in * m);
    out->b = sl_alloc(s->ctx, m);
    out->theta = sl_alloc(s->ctx, m);
    out->norm = sl_alloc(s->ctx, m);
    SL_TRY(sl_have("the encoder", 4, (const void *const[]){ out->W, out->b, out->theta, out->norm }, err));
    set_weights(s, out);
    return set_thresholds(s, kind, out, err);
}

void sl_linear_encoder_release(sl_ctx *ctx, sl_linear_encoder *e)
{
    sl_free(ctx, e->W);
    sl_free(ctx, e->b);
    sl_free(ctx, e->theta);
    sl_free(ctx, e->norm);
    *e = (sl_linear_encoder){ 0 };
}

/* ---- the support of a row ---- */

/* The smallest marked one, of equals the last. */
static int64_t least_marked(const double *a, const uint8_t *support, int64_t n)
{
    int64_t least = -1;
    for (int64_t j = 0; j < n; j++)
        if (support[j] && (least < 0 || a[j] <= a[least]))
            least = j;
    return least;
}

/* Marks the k largest positive ones, of equals the lower index. */
static int64_t mark_largest(const sl_linear_encoder *e, const double *a, uint8_t *support)
{
    int64_t n = 0, least = -1;
    for (int64_t j = 0; j < e->d_sae; j++) {
        if (!(a[j] > 0) || (n == e->k && a[j] <= a[least]))
            continue;
        if (n == e->k)
            support[least] = 0;
        support[j] = 1;
        n += n < e->k;
        if (n == e->k)
            least = least_marked(a, support, j + 1);
    }
    return n;
}

int64_t sl_linear_support(const sl_linear_encoder *e, const double *x, double *a, uint8_t *support)
{
    int64_t n = 0;
    for (int64_t j = 0; j < e->d_sae; j++)
        a[j] = dot(e->W + j * e->d_in, x, e->d_in) + e->b[j];
    memset(support, 0, (size_t)e->d_sae);
    if (e->k > 0)
        return mark_largest(e, a, support);
    for (int64_t j = 0; j < e->d_sae; j++)
        n += support[j] = a[j] > e->theta[j];
    return n;
}

/* ---- the radius ---- */

typedef struct nearest {
    double r;
    int64_t up, down;       /* the latent that starts to fire and the one that stops; -1: none */
} nearest;

static void consider(nearest *at, double r, int64_t up, int64_t down)
{
    if (r < at->r)
        *at = (nearest){ r, up, down };
}

/* Distance to each latent's own hyperplane, of the latents whose support is `which`. */
static void alone(const sl_linear_encoder *e, const double *a, const uint8_t *support, int which, nearest *at)
{
    for (int64_t j = 0; j < e->d_sae; j++)
        if (support[j] == which && e->norm[j] > 0)
            consider(at, fabs(a[j] - e->theta[j]) / e->norm[j], which ? -1 : j, which ? j : -1);
}

/* Latent l overtakes the active latent j. */
static void overtaken(const sl_linear_encoder *e, const double *a, const uint8_t *support, int64_t j, nearest *at)
{
    const double *w = e->W + j * e->d_in;
    for (int64_t l = 0; l < e->d_sae; l++) {
        double gap = a[j] - a[l], sq = 0;
        if (support[l] || gap >= at->r * (e->norm[j] + e->norm[l]))
            continue;
        for (int64_t i = 0; i < e->d_in; i++) {
            double v = w[i] - e->W[l * e->d_in + i];
            sq += v * v;
        }
        if (sq > 0)
            consider(at, gap / sqrt(sq), l, j);
    }
}

static void set_normal(const sl_linear_encoder *e, const nearest *at, double *normal)
{
    double sq = 0;
    for (int64_t i = 0; i < e->d_in; i++) {
        normal[i] = (at->up >= 0 ? e->W[at->up * e->d_in + i] : 0) - (at->down >= 0 ? e->W[at->down * e->d_in + i] : 0);
        sq += normal[i] * normal[i];
    }
    for (int64_t i = 0; i < e->d_in && sq > 0; i++)
        normal[i] /= sqrt(sq);
}

double sl_support_radius(const sl_linear_encoder *e, const double *a, const uint8_t *support, double *normal)
{
    nearest at = { INFINITY, -1, -1 };
    int64_t n = 0;
    for (int64_t j = 0; j < e->d_sae; j++)
        n += support[j];
    alone(e, a, support, 1, &at);
    if (e->k == 0 || n < e->k)
        alone(e, a, support, 0, &at);
    else
        for (int64_t j = 0; j < e->d_sae; j++)
            if (support[j])
                overtaken(e, a, support, j, &at);
    if (normal)
        set_normal(e, &at, normal);
    return at.r;
}

sl_status sl_certified_radii(sl_ctx *ctx, const sl_sae *s, const float *x, int64_t n, const float *mean, double *csr, sl_err *err)
{
    sl_linear_encoder e;
    double *row = sl_alloc(ctx, (size_t)s->d_in * sizeof *row), *a = sl_alloc(ctx, (size_t)s->d_sae * sizeof *a);
    uint8_t *support = sl_alloc(ctx, (size_t)s->d_sae);
    sl_status st;
    SL_GO(sl_linear_encoder_of(s, &e, err));
    SL_GO(sl_have("certified radius", 3, (const void *const[]){ row, a, support }, err));
    for (int64_t r = 0; r < n; r++) {
        double sq = 0;
        for (int64_t i = 0; i < s->d_in; i++) {
            row[i] = (double)x[r * s->d_in + i];
            double off = row[i] - (mean ? (double)mean[i] : 0);
            sq += off * off;
        }
        if (!isfinite(sq))
            SL_GO(sl_fail(err, SL_NUMERIC, "certified radius", "finite numbers", "row %lld is not", (long long)r));
        sl_linear_support(&e, row, a, support);
        csr[r] = sqrt(sq) < LEAST_NORM ? NAN : sl_support_radius(&e, a, support, NULL) / sqrt(sq);
    }
done:
    sl_linear_encoder_release(ctx, &e);
    sl_free(ctx, support);
    sl_free(ctx, a);
    sl_free(ctx, row);
    return st;
}

double sl_off_probability(const sl_linear_encoder *e, const double *a, int64_t j, double sigma)
{
    return sl_z_cdf((e->theta[j] - a[j]) / (sigma * e->norm[j]));
}
