/* The family of SynthSAEBench: see tree.h for the definition. How a row is drawn, exactly in distribution, without one draw a feature:
 *
 *   given the row's e, features fire independently: i with q_i = Phi(-(a_i - l_i.e)), a_i = Phi^-1(1 - p~_i) / sqrt(1 - |L_i|^2),
 *   l_i = L_i / sqrt(1 - |L_i|^2). Roots are drawn one by one. A child is looked at only when its parent is on. The free features, the
 *   rarest, go in blocks of 64: l_i.e for the block, the largest q of it, geometric skips with that q, and each candidate is kept with
 *   q_i / q (thinning, Lewis and Shedler 1979). */
#include "data/worlds/tree.h"

#include <math.h>
#include <string.h>

const char *const sl_tree_magnitudes[] = { "normal", "uniform", NULL };

enum { BLOCK = 64, MAX_RANK = 256, T_DIR = 0, T_BIAS = 1, T_FACTOR = 2, T_STD = 3 };
#define P_CAP (1 - 1e-6)

typedef struct tree {
    sl_tree_options o;
    int64_t n_in_tree, n_inner;  /* features of trees; those of them with children */
    int32_t *child;              /* [n_inner] first of `branching` children (the last node may have fewer) */
    double *a;                   /* [n] */
    float *l;                    /* [n, rank] */
    int64_t n_block;             /* of free features */
    float *block_a;              /* [n_block, BLOCK], padded with what never fires */
    float *block_l;              /* [n_block, rank, BLOCK] */
    double *mean, *std;          /* [n]; NULL: uniform */
} tree;

/* z with P(N(0,1) <= z) = p, 0 < p < 1. */
static double normal_quantile(double p)
{
    double lo = -40, hi = 40; /* Phi is monotone and only its inverse at build time is wanted: bisection to the last bit */
    for (int i = 0; i < 200 && lo < hi; i++) {
        double mid = .5 * (lo + hi);
        if (mid == lo || mid == hi)
            break;
        if (.5 * erfc(-mid * M_SQRT1_2) < p)
            lo = mid;
        else
            hi = mid;
    }
    return .5 * (lo + hi);
}

/* Phi(-s) */
static inline double upper_tail(double s) { return .5 * erfc(s * M_SQRT1_2); }

/* ---- building ---- */

/* Breadth first: features 0 .. roots-1 are roots; children follow in the order of their parents. */
static bool build_hierarchy(sl_world *w, tree *t)
{
    const sl_tree_options *o = &t->o;
    int32_t *parent = sl_world_alloc(w, (size_t)o->n * sizeof *parent);
    t->child = sl_world_alloc(w, (size_t)o->n * sizeof *t->child);
    if (!parent || !t->child)
        return false;
    for (int64_t i = 0; i < o->n; i++)
        parent[i] = -1;
    int64_t level = 0, end = o->roots < o->n ? o->roots : o->n, at = end;
    for (int64_t depth = 0; depth < o->depth; depth++) {
        int64_t level_end = at;
        for (int64_t p = level; p < level_end && at < o->n; p++) {
            t->child[p] = (int32_t)at;
            t->n_inner = p + 1;
            for (int64_t c = 0; c < o->branching && at < o->n; c++)
                parent[at++] = (int32_t)p;
        }
        level = level_end;
    }
    t->n_in_tree = at;
    w->truth.parent = at > 0 ? parent : NULL;
    w->truth.n_in_tree = at;
    return true;
}

static int64_t n_children(const tree *t, int64_t p)
{
    if (p >= t->n_inner)
        return 0;
    int64_t end = p + 1 < t->n_inner ? t->child[p + 1] : t->n_in_tree;
    return end - t->child[p];
}

static bool build_probabilities(sl_world *w, tree *t)
{
    const sl_tree_options *o = &t->o;
    double *p = sl_world_alloc(w, (size_t)o->n * sizeof *p), last = pow((double)o->n, -o->exponent);
    if (!p || !(t->a = sl_world_alloc(w, (size_t)o->n * sizeof *t->a)))
        return false;
    for (int64_t i = 0; i < o->n; i++) {
        p[i] = o->p_min + (o->p_max - o->p_min) * (pow((double)(i + 1), -o->exponent) - last) / (1 - last);
        t->a[i] = p[i];
    }
    for (int64_t q = 0; q < t->n_inner && o->compensate; q++) {
        int64_t c0 = t->child[q], n = n_children(t, q);
        double sum = 0;
        for (int64_t c = c0; c < c0 + n; c++)
            sum += p[c];
        for (int64_t c = c0; c < c0 + n; c++)
            t->a[c] = p[c] / p[q] * (1 + (n > 1 ? (sum - p[c]) / p[q] : 0));
    }
    for (int64_t i = 0; i < o->n; i++)
        t->a[i] = normal_quantile(1 - (t->a[i] < P_CAP ? t->a[i] : P_CAP));
    w->truth.p = p;
    return true;
}

/* L, then l and a: both divided by sqrt(1 - |L_i|^2). */
static bool build_correlations(sl_world *w, tree *t)
{
    const sl_tree_options *o = &t->o;
    double worst = 0, scale = o->correlation;
    t->l = sl_world_alloc(w, (size_t)(o->n * o->rank) * sizeof *t->l);
    if (!t->l)
        return false;
    for (int64_t i = 0; i < o->n; i++) {
        sl_rng r = sl_world_rng(w, SL_USE_TRUTH, T_FACTOR, (uint64_t)i);
        double sq = 0;
        for (int64_t j = 0; j < o->rank; j++) {
            double v = sl_rng_normal(&r);
            t->l[i * o->rank + j] = (float)v;
            sq += v * v;
        }
        worst = sq > worst ? sq : worst;
    }
    if (worst * scale * scale >= 1)
        scale = sqrt(.99 / worst);
    for (int64_t i = 0; i < o->n; i++) {
        float *l = t->l + i * o->rank;
        double sq = 0;
        for (int64_t j = 0; j < o->rank; j++)
            sq += scale * scale * (double)l[j] * (double)l[j];
        double own = sqrt(1 - sq);
        for (int64_t j = 0; j < o->rank; j++)
            l[j] = (float)(scale * (double)l[j] / own);
        t->a[i] /= own;
    }
    return true;
}

static bool build_blocks(sl_world *w, tree *t)
{
    int64_t n_free = t->o.n - t->n_in_tree, rank = t->o.rank;
    t->n_block = (n_free + BLOCK - 1) / BLOCK;
    t->block_a = sl_world_alloc(w, (size_t)(t->n_block * BLOCK) * sizeof *t->block_a);
    t->block_l = sl_world_alloc(w, (size_t)(t->n_block * BLOCK * rank) * sizeof *t->block_l);
    if (!t->block_a || !t->block_l)
        return false;
    for (int64_t i = 0; i < t->n_block * BLOCK; i++) {
        int64_t f = t->n_in_tree + i, b = i / BLOCK, j = i % BLOCK;
        t->block_a[i] = f < t->o.n ? (float)t->a[f] : 1e30f;
        for (int64_t k = 0; k < rank && f < t->o.n; k++)
            t->block_l[(b * rank + k) * BLOCK + j] = t->l[f * rank + k];
    }
    return true;
}

static bool build_magnitudes(sl_world *w, tree *t)
{
    const sl_tree_options *o = &t->o;
    if (o->magnitude == SL_MAGNITUDE_UNIFORM)
        return true;
    t->mean = sl_world_alloc(w, (size_t)o->n * sizeof *t->mean);
    t->std = sl_world_alloc(w, (size_t)o->n * sizeof *t->std);
    if (!t->mean || !t->std)
        return false;
    for (int64_t i = 0; i < o->n; i++) {
        sl_rng r = sl_world_rng(w, SL_USE_TRUTH, T_STD, (uint64_t)i);
        t->mean[i] = o->mean_first + (o->mean_last - o->mean_first) * (double)i / (double)(o->n - 1);
        t->std[i] = fabs(o->std_mean + o->std_std * sl_rng_normal(&r));
    }
    w->truth.mean = t->mean;
    w->truth.std = t->std;
    return true;
}

static bool build_bias(sl_world *w, const tree *t)
{
    if (!(t->o.bias > 0))
        return true;
    float *bias = sl_world_directions(w, 1, t->o.d, T_BIAS);
    for (int64_t j = 0; bias && j < t->o.d; j++)
        bias[j] = (float)(t->o.bias * (double)bias[j]);
    w->truth.bias = bias;
    return bias != NULL;
}

static sl_status check(const sl_world *w, const sl_tree_options *o, sl_err *err)
{
    const char *name = w->ops->info.name;
    if (o->p_min > o->p_max)
        return sl_fail(err, SL_ARG, "p_min", "at most p_max", "%s: %g and p_max %g", name, o->p_min, o->p_max);
    if (o->roots > o->n)
        return sl_fail(err, SL_ARG, "roots", "at most n", "%s: %lld roots of %lld features", name, (long long)o->roots, (long long)o->n);
    if (o->low > o->high)
        return sl_fail(err, SL_ARG, "low", "at most high", "%s: %g and high %g", name, o->low, o->high);
    return SL_OK;
}

sl_status sl_tree_build(sl_world *w, sl_err *err)
{
    tree *t = sl_world_alloc(w, sizeof *t);
    if (!t)
        return sl_world_no_memory(w, err);
    memcpy(&t->o, w->opts, sizeof t->o);
    SL_TRY(check(w, &t->o, err));
    w->state = t;
    float *dir = sl_world_directions(w, t->o.n, t->o.d, T_DIR);
    if (!dir || !build_hierarchy(w, t) || !build_probabilities(w, t) || !build_correlations(w, t) || !build_blocks(w, t) ||
        !build_magnitudes(w, t) || !build_bias(w, t) || !sl_world_plain_features(w, t->o.n))
        return sl_world_no_memory(w, err);
    w->truth.n = t->o.n;
    w->truth.d = t->o.d;
    w->truth.dir = dir;
    return sl_world_orthogonalize(w, dir, t->o.n, t->o.d, t->o.ortho_steps, 3e-4, err);
}

/* ---- a row ---- */

typedef struct draw {
    const tree *t;
    sl_world_row *r;
    float e[MAX_RANK];
} draw;

static bool fires(draw *d, int64_t i)
{
    const float *l = d->t->l + i * d->t->o.rank;
    double s = d->t->a[i];
    for (int64_t k = 0; k < d->t->o.rank; k++)
        s -= (double)l[k] * (double)d->e[k];
    return sl_rng_uniform(&d->r->rng) < upper_tail(s);
}

static double magnitude(draw *d, int64_t i)
{
    const tree *t = d->t;
    if (!t->mean)
        return t->o.low + (t->o.high - t->o.low) * sl_rng_uniform(&d->r->rng);
    return t->mean[i] + t->std[i] * sl_rng_normal(&d->r->rng); /* <= 0: not on */
}

static double mean_magnitude(const tree *t, int64_t i) { return t->mean ? t->mean[i] : .5 * (t->o.low + t->o.high); }

/* Feature i is on with value v; then the one of its children that stays, and so on down. */
static void descend(draw *d, int64_t i, double v)
{
    const tree *t = d->t;
    for (int64_t n = n_children(t, i); n > 0; n = n_children(t, i)) {
        double scale = t->o.scale_children_by_parent ? v / mean_magnitude(t, i) : 1;
        int64_t active = 0, chosen = -1;
        double value = 0;
        for (int64_t c = t->child[i]; c < t->child[i] + n; c++) {
            double m = fires(d, c) ? magnitude(d, c) : 0;
            if (m > 0 && sl_rng_below(&d->r->rng, (uint64_t)++active) == 0) { /* uniform among the active ones seen so far */
                chosen = c;
                value = m * scale;
            }
        }
        if (chosen < 0)
            return;
        sl_world_put(d->r, (int32_t)chosen, value);
        i = chosen;
        v = value;
    }
}

/* log of a uniform number in (0, 1] */
static double log_uniform(sl_rng *r) { return log(1 - sl_rng_uniform(r)); }

static void draw_block(draw *d, int64_t b)
{
    const tree *t = d->t;
    float s[BLOCK], least = 1e30f;
    memcpy(s, t->block_a + b * BLOCK, sizeof s);
    for (int64_t k = 0; k < t->o.rank; k++) {
        const float *l = t->block_l + (b * t->o.rank + k) * BLOCK;
        float e = d->e[k];
        for (int j = 0; j < BLOCK; j++)
            s[j] -= l[j] * e;
    }
    for (int j = 0; j < BLOCK; j++)
        least = s[j] < least ? s[j] : least;
    double q = upper_tail((double)least), skip = log1p(-q);
    if (!(q > 0))
        return;
    for (double at = floor(log_uniform(&d->r->rng) / skip); at < BLOCK; at += 1 + floor(log_uniform(&d->r->rng) / skip)) {
        int j = (int)at;
        int64_t i = t->n_in_tree + b * BLOCK + j;
        if (sl_rng_uniform(&d->r->rng) * q < upper_tail((double)s[j]))
            sl_world_put(d->r, (int32_t)i, magnitude(d, i));
    }
}

void sl_tree_row(const sl_world *w, sl_world_row *r)
{
    const tree *t = w->state;
    draw d = { .t = t, .r = r };
    for (int64_t k = 0; k < t->o.rank; k++)
        d.e[k] = (float)sl_rng_normal(&r->rng);
    int64_t roots = t->o.roots < t->n_in_tree ? t->o.roots : t->n_in_tree;
    for (int64_t i = 0; i < roots; i++)
        if (fires(&d, i)) {
            double v = magnitude(&d, i);
            sl_world_put(r, (int32_t)i, v);
            if (v > 0)
                descend(&d, i, v);
        }
    for (int64_t b = 0; b < t->n_block; b++)
        draw_block(&d, b);
}
