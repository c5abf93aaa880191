/* Family "splitting" (science.md K7).
 *   split        mean over the true features that at least one alive latent points at (g = argmax |cos|, |cos| >= .5) of (such latents - 1)
 *   split_share  share of those features with two or more
 *   hedge        mean over pairs (g, h) of features that fire together (phi >= .2), g matched by j with |cos| >= .5, of
 *                s cos(d_j, f_h) - f_g . f_h, s the sign of cos(d_j, f_g): how much of h was mixed into the latent of g.
 *                Floor: h replaced by a feature drawn at random
 *   poly         mean over alive latents of #{g: P(z_j > 0 | g alone) >= .5}, over features that are alone in at least 5 rows */
#include "eval/families.h"
#include "eval/measured.h"

#include <saelab/rng.h>

#include <math.h>

enum { LEAST = 5 };
#define TOGETHER .2
static const char *const names[] = { "split", "split_share", "hedge", "poly", NULL };

typedef struct parts {
    const sl_eval_data *d;
    sl_columns z, g;
    sl_matching match;
    int64_t *count;             /* [max(d_sae, n_truth)] */
    double hedge, chance;       /* sums over pairs */
    int64_t pairs;
    sl_rng rng;
} parts;

static double true_cos(const sl_eval_data *d, int64_t g, int64_t h)
{
    double dot = 0, a = 0, b = 0;
    for (int64_t c = 0; c < d->d_in; c++) {
        double x = (double)d->truth[g * d->d_in + c], y = (double)d->truth[h * d->d_in + c];
        dot += x * y;
        a += x * x;
        b += y * y;
    }
    return a > 0 && b > 0 ? dot / sqrt(a * b) : 0;
}

/* ---- splitting ---- */

static sl_status put_split(sl_ctx *ctx, parts *p, sl_metrics *out, sl_err *err)
{
    int64_t n = p->d->n_truth, found = 0, more = 0, extra = 0;
    for (int64_t g = 0; g < n; g++)
        p->count[g] = 0;
    for (int64_t j = 0; j < p->d->d_sae; j++) {
        int32_t g = p->match.best[j];
        p->count[g] += sl_fired(&p->z, j) > 0 && fabs((double)p->match.cos[j * n + g]) >= SL_MATCHED_COS;
    }
    for (int64_t g = 0; g < n; g++) {
        found += p->count[g] > 0;
        more += p->count[g] > 1;
        extra += p->count[g] > 1 ? p->count[g] - 1 : 0;
    }
    if (found == 0)
        return sl_put_nulls(ctx, out, (const char *const[]){ "split", "split_share", NULL }, "no alive latent has |cos| >= .5 with a true feature", err);
    SL_TRY(sl_metrics_put(ctx, out, "split", (double)extra / (double)found, found, err));
    return sl_metrics_put(ctx, out, "split_share", (double)more / (double)found, found, err);
}

/* ---- hedging ---- */

static double mixed_in(const parts *p, int64_t g, int64_t h)
{
    const float *cos = p->match.cos + p->match.of_truth[g] * p->d->n_truth;
    return (cos[g] < 0 ? -1 : 1) * (double)cos[h] - true_cos(p->d, g, h);
}

/* c->latent is a true feature here: features against features. */
static void see_pairs(void *user, const sl_cross_row *c)
{
    parts *p = user;
    int64_t g = c->latent, n = p->d->n_truth;
    int32_t j = p->match.of_truth[g];
    if (j < 0 || n < 2 || fabs((double)p->match.cos[j * n + g]) < SL_MATCHED_COS)
        return;
    for (int64_t i = 0; i < c->n; i++) {
        int64_t h = c->feature[i];
        if (h == g || sl_phi((sl_overlap){ p->d->n_rows, sl_fired(&p->g, g), sl_fired(&p->g, h), c->co[h] }) < TOGETHER)
            continue;
        int64_t other = (int64_t)sl_rng_below(&p->rng, (uint64_t)n - 1);
        p->pairs++;
        p->hedge += mixed_in(p, g, h);
        p->chance += mixed_in(p, g, other + (other >= g));
    }
}

static sl_status put_hedge(sl_ctx *ctx, parts *p, sl_metrics *out, sl_err *err)
{
    p->rng = sl_rng_at(p->d->seed, SL_RNG_EVAL, SL_DRAW_PICK, 0);
    SL_TRY(sl_cross(ctx, &p->g, &p->d->g, NULL, see_pairs, p, err));
    if (p->pairs == 0)
        return sl_metrics_null(ctx, out, "hedge", "no matched feature fires together with another (phi >= .2)", err);
    return sl_put_floored(ctx, out, "hedge", p->hedge / (double)p->pairs, p->pairs, p->chance / (double)p->pairs, err);
}

/* ---- polysemanticity ---- */

static sl_status put_poly(sl_ctx *ctx, parts *p, sl_metrics *out, sl_err *err)
{
    const sl_sparse *g = &p->d->g, *z = &p->d->z;
    int64_t many = 0, features = 0;
    for (int64_t f = 0; f < p->d->n_truth; f++) {
        int64_t alone = 0;
        for (int64_t j = 0; j < p->d->d_sae; j++)
            p->count[j] = 0;
        for (int64_t e = p->g.ptr[f]; e < p->g.ptr[f + 1]; e++) {
            int64_t row = p->g.row[e];
            if (g->row_ptr[row + 1] - g->row_ptr[row] != 1)
                continue;
            alone++;
            for (int64_t i = z->row_ptr[row]; i < z->row_ptr[row + 1]; i++)
                p->count[z->idx[i]]++;
        }
        if (alone < LEAST)
            continue;
        features++;
        for (int64_t j = 0; j < p->d->d_sae; j++)
            many += 2 * p->count[j] >= alone;
    }
    if (features == 0)
        return sl_metrics_null(ctx, out, "poly", "no true feature is alone in 5 rows", err);
    return sl_metrics_put(ctx, out, "poly", (double)many / (double)sl_alive(&p->z), features, err);
}

/* ---- */

static sl_status run(sl_ctx *ctx, const sl_eval_data *d, sl_metrics *out, sl_err *err)
{
    parts p = { .d = d };
    sl_status st;
    SL_GO(sl_columns_new(ctx, &d->z, &p.z, err));
    SL_GO(sl_columns_new(ctx, &d->g, &p.g, err));
    if (sl_alive(&p.z) == 0) {
        st = sl_put_nulls(ctx, out, names, "no latent fires", err);
        goto done;
    }
    SL_GO(sl_matching_new(ctx, d, &p.match, err));
    p.count = sl_alloc(ctx, (size_t)(d->d_sae > d->n_truth ? d->d_sae : d->n_truth) * sizeof *p.count);
    SL_GO(sl_have("splitting", 1, (const void *const[]){ p.count }, err));
    SL_GO(put_split(ctx, &p, out, err));
    SL_GO(put_hedge(ctx, &p, out, err));
    SL_GO(put_poly(ctx, &p, out, err));
done:
    sl_free(ctx, p.count);
    sl_matching_release(ctx, &p.match);
    sl_columns_release(ctx, &p.g);
    sl_columns_release(ctx, &p.z);
    return st;
}

const sl_family sl_family_splitting = {
    "splitting", "features split, hedged and mixed", SL_NEED_DIRECTIONS | SL_NEED_TRUTH | SL_NEED_CODES | SL_NEED_TRUE_CODES, names, run
};
