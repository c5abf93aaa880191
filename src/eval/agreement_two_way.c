/* Mean scores of groups of items and their differences, with both raters and items resampled. */
#include "eval/stats_check.h"

#include <saelab/agreement.h>
#include <saelab/rng.h>
#include <math.h>
#include <string.h>

enum { TRIES = 1000 }; /* resamples in a row without a value before giving up */

typedef struct design {
    const sl_scored *s; int64_t n;
    const int32_t *group;
    int32_t n_raters, n_items, n_groups, n_scored_raters;
    int32_t *raters;        /* [n_scored_raters] those who scored anything */
    int32_t *items, *first; /* scored items, group by group: those of g at first[g] .. first[g+1]-1 */
    double *w_rater, *w_item; /* [n_raters], [n_items] how often each came */
    double *sum, *weight;   /* [n_items] */
} design;

double sl_min_detectable(double sd, int64_t n, double rho, double alpha, double power)
{
    return (sl_z_quantile(1 - alpha / 2) + sl_z_quantile(power)) * sd * sqrt(2 * (1 - rho) / (double)n);
}

/* ---- checks and lists ---- */

static sl_status check(const design *d, const sl_boot_opts *o, sl_err *err)
{
    SL_TRY(sl_stats_level(o->level, err));
    if (o->draws < 2)
        return sl_fail(err, SL_ARG, "draws", "at least 2", "%lld resamples", (long long)o->draws);
    if (d->n_groups < 1 || d->n_groups > SL_MAX_GROUPS)
        return sl_fail(err, SL_ARG, "groups", "1 to 16", "%d", d->n_groups);
    for (int32_t i = 0; i < d->n_items; i++)
        if (d->group[i] < 0 || d->group[i] >= d->n_groups)
            return sl_fail(err, SL_ARG, "groups", "a group for every item", "item %d is in group %d of %d", i, d->group[i], d->n_groups);
    for (int64_t i = 0; i < d->n; i++) {
        if (d->s[i].rater < 0 || d->s[i].rater >= d->n_raters || d->s[i].item < 0 || d->s[i].item >= d->n_items)
            return sl_fail(err, SL_ARG, "scores", "a rater and an item", "score %lld is of rater %d, item %d", (long long)i, d->s[i].rater, d->s[i].item);
        if (!isfinite(d->s[i].score))
            return sl_fail(err, SL_NUMERIC, "scores", "finite numbers", "score %lld is not finite", (long long)i);
    }
    return SL_OK;
}

static sl_status make(sl_ctx *ctx, design *d, sl_err *err)
{
    d->raters = sl_alloc(ctx, (size_t)d->n_raters * sizeof *d->raters);
    d->items = sl_alloc(ctx, (size_t)d->n_items * sizeof *d->items);
    d->first = sl_alloc(ctx, (size_t)(d->n_groups + 1) * sizeof *d->first);
    d->w_rater = sl_alloc(ctx, (size_t)d->n_raters * sizeof *d->w_rater);
    d->w_item = sl_alloc(ctx, (size_t)d->n_items * sizeof *d->w_item);
    d->sum = sl_alloc(ctx, (size_t)d->n_items * sizeof *d->sum);
    d->weight = sl_alloc(ctx, (size_t)d->n_items * sizeof *d->weight);
    if (!d->raters || !d->items || !d->first || !d->w_rater || !d->w_item || !d->sum || !d->weight)
        return sl_fail(err, SL_MEM, "bootstrap", NULL, "no memory for %d items", d->n_items);
    for (int64_t i = 0; i < d->n; i++) {
        d->w_rater[d->s[i].rater] = 1;
        d->w_item[d->s[i].item] = 1;
    }
    for (int32_t r = 0; r < d->n_raters; r++)
        if (d->w_rater[r] > 0)
            d->raters[d->n_scored_raters++] = r;
    for (int32_t g = 0, k = 0; g < d->n_groups; g++) {
        for (int32_t i = 0; i < d->n_items; i++)
            if (d->group[i] == g && d->w_item[i] > 0)
                d->items[k++] = i;
        d->first[g + 1] = k;
        if (k == d->first[g])
            return sl_fail(err, SL_DATA, "groups", "a score in every group", "group %d has none", g);
    }
    return SL_OK;
}

static void release(sl_ctx *ctx, design *d)
{
    sl_free(ctx, d->raters);
    sl_free(ctx, d->items);
    sl_free(ctx, d->first);
    sl_free(ctx, d->w_rater);
    sl_free(ctx, d->w_item);
    sl_free(ctx, d->sum);
    sl_free(ctx, d->weight);
}

/* ---- one resample ---- */

/* Draws anew how often each rater and item comes. */
static void draw(design *d, sl_rng *r)
{
    memset(d->w_rater, 0, (size_t)d->n_raters * sizeof *d->w_rater);
    memset(d->w_item, 0, (size_t)d->n_items * sizeof *d->w_item);
    for (int32_t i = 0; i < d->n_scored_raters; i++)
        d->w_rater[d->raters[sl_rng_below(r, (uint64_t)d->n_scored_raters)]] += 1;
    for (int32_t g = 0; g < d->n_groups; g++) {
        int32_t from = d->first[g], n = d->first[g + 1] - from;
        for (int32_t i = 0; i < n; i++)
            d->w_item[d->items[from + (int32_t)sl_rng_below(r, (uint64_t)n)]] += 1;
    }
}

/* Means of the groups under the weights; false when a group has no weight. sum / weight of an item is its own mean. */
static bool means(design *d, double *mean)
{
    memset(d->sum, 0, (size_t)d->n_items * sizeof *d->sum);
    memset(d->weight, 0, (size_t)d->n_items * sizeof *d->weight);
    for (int64_t i = 0; i < d->n; i++) {
        d->sum[d->s[i].item] += d->w_rater[d->s[i].rater] * d->s[i].score;
        d->weight[d->s[i].item] += d->w_rater[d->s[i].rater];
    }
    for (int32_t g = 0; g < d->n_groups; g++) {
        double sum = 0, weight = 0;
        for (int32_t k = d->first[g]; k < d->first[g + 1]; k++) {
            int32_t i = d->items[k];
            if (d->weight[i] > 0) {
                sum += d->w_item[i] * d->sum[i] / d->weight[i];
                weight += d->w_item[i];
            }
        }
        if (!(weight > 0))
            return false;
        mean[g] = sum / weight;
    }
    return true;
}

static sl_status resample(design *d, const sl_boot_opts *o, double *v /* [n_groups, draws] */, sl_err *err)
{
    double mean[SL_MAX_GROUPS];
    for (int64_t i = 0; i < o->draws; i++) {
        sl_rng r = sl_rng_at(o->seed, SL_RNG_BOOT, 3, (uint64_t)i);
        bool good = false;
        for (int t = 0; t < TRIES && !good; t++) {
            draw(d, &r);
            good = means(d, mean);
        }
        if (!good)
            return sl_fail(err, SL_DATA, "bootstrap", "more items or raters", "nearly every resample leaves a group without a score");
        for (int32_t g = 0; g < d->n_groups; g++)
            v[g * o->draws + i] = mean[g];
    }
    return SL_OK;
}

/* ---- what it gives ---- */

static double between_items(const design *d, int32_t g, double mean)
{
    double m2 = 0;
    int32_t n = d->first[g + 1] - d->first[g];
    for (int32_t k = d->first[g]; k < d->first[g + 1]; k++) {
        double e = d->sum[d->items[k]] / d->weight[d->items[k]] - mean;
        m2 += e * e;
    }
    return n > 1 ? sqrt(m2 / (n - 1)) : 0;
}

static void contrast(const double *a, const double *b, double *diff, const sl_boot_opts *o, sl_contrast *c)
{
    int64_t below = 0, above = 0;
    sl_boot w = { .value = c->effect };
    for (int64_t i = 0; i < o->draws; i++) {
        diff[i] = a[i] - b[i];
        below += diff[i] <= 0;
        above += diff[i] >= 0;
    }
    sl_boot_interval(diff, o, NULL, &w);
    int64_t least = below < above ? below : above;
    c->lo = w.lo;
    c->hi = w.hi;
    c->se = w.se;
    c->p = fmin(1, 2 * (double)(1 + least) / (double)(1 + o->draws));
    c->mde = (sl_z_quantile(1 - (1 - o->level) / 2) + sl_z_quantile(.8)) * c->se;
}

static sl_status contrasts(sl_ctx *ctx, const double *v, double *diff, const sl_boot_opts *o, sl_two_way *out, sl_err *err)
{
    double p[SL_MAX_GROUPS * (SL_MAX_GROUPS - 1) / 2];
    int32_t n = 0;
    for (int32_t a = 0; a < out->n_groups; a++)
        for (int32_t b = a + 1; b < out->n_groups; b++, n++) {
            out->contrast[n] = (sl_contrast){ .a = a, .b = b, .effect = out->group[a].value - out->group[b].value };
            contrast(v + a * o->draws, v + b * o->draws, diff, o, &out->contrast[n]);
            p[n] = out->contrast[n].p;
        }
    out->n_contrasts = n;
    if (n == 0)
        return SL_OK;
    SL_TRY(sl_holm(ctx, p, n, p, err));
    for (int32_t i = 0; i < n; i++)
        out->contrast[i].p_holm = p[i];
    return SL_OK;
}

sl_status sl_two_way_boot(sl_ctx *ctx, const sl_scored *s, int64_t n, int32_t n_raters, int32_t n_items, const int32_t *group, int32_t n_groups, const sl_boot_opts *o, sl_two_way *out, sl_err *err)
{
    design d = { .s = s, .n = n, .group = group, .n_raters = n_raters, .n_items = n_items, .n_groups = n_groups };
    double mean[SL_MAX_GROUPS], *v = NULL, *diff;
    sl_status st;
    *out = (sl_two_way){ .n_groups = n_groups };
    SL_TRY(check(&d, o, err));
    SL_GO(make(ctx, &d, err));
    v = sl_alloc(ctx, (size_t)((n_groups + 1) * o->draws) * sizeof *v);
    if (!v)
        SL_GO(sl_fail(err, SL_MEM, "bootstrap", NULL, "no memory for %lld resamples", (long long)o->draws));
    diff = v + n_groups * o->draws;
    means(&d, mean);
    for (int32_t g = 0; g < n_groups; g++)
        out->group[g] = (sl_group_score){ .value = mean[g], .sd = between_items(&d, g, mean[g]), .n_items = d.first[g + 1] - d.first[g] };
    SL_GO(resample(&d, o, v, err));
    SL_GO(contrasts(ctx, v, diff, o, out, err));
    for (int32_t g = 0; g < n_groups; g++) { /* last: it sorts the resamples */
        sl_boot w = { .value = mean[g] };
        sl_boot_interval(v + g * o->draws, o, NULL, &w);
        out->group[g].lo = w.lo;
        out->group[g].hi = w.hi;
        out->group[g].se = w.se;
    }
done:
    release(ctx, &d);
    sl_free(ctx, v);
    return st;
}
