/* Features that compose (science.md D1): x = sum_i z_i f_i + beta sum_T form(z_T) v_T + sigma N(0, I), z ~ U(.5, 1.5), 128 features in 64
 * dimensions, f and v unit Gaussian directions, p_i ~ i^-1/2 with mean l0 5. T runs over 64 pairs drawn from those with p_i p_j >= 1e-3, and over
 * 16 triples and 8 quads that are planted: with probability `plant` each, all its members are on (independent firing would give a quad once
 * in 10^6 rows). A fifth of the pairs is withheld: rows of train and test never hold one whole (a row that does is drawn again), every row of
 * ood holds at least one. beta = 0 is the null: whatever a method gains there is capacity, not composition. With a curriculum, the first third of
 * the training rows holds no composition of more than two features, the second none of more than three (science.md C5). */
#include "data/worlds/world.h"

#include <math.h>
#include <stdlib.h>

static const char *const forms[] = { "product", "min", "indicator", NULL };
enum { MAX_N = 4096, T_DIR = 0, T_SET_DIR = 1, T_PAIRS = 2 };

typedef struct options {
    int64_t n, d, pairs, triples, quads, curriculum;
    int form;
    double beta, sigma, l0, plant, withhold;
} options;

static const sl_opt opts[] = {
    SL_OPT_FLOAT(options, beta, 1, 0, 100, "", "weight of the compositions (0, .3 and 1 in the studies)"),
    SL_OPT_CHOICE(options, form, SL_FORM_PRODUCT, forms, "of a composition, from its members' values"),
    SL_OPT_INT(options, n, 128, 8, MAX_N, "features", "features"),
    SL_OPT_INT(options, d, 64, 1, 1 << 16, "columns", "width of a row"),
    SL_OPT_FLOAT(options, l0, 5, 1e-3, 1000, "features", "mean number of features of a row, without the planted ones"),
    SL_OPT_INT(options, pairs, 64, 0, 4096, "", "compositions of two features"),
    SL_OPT_INT(options, triples, 16, 0, 4096, "", "planted compositions of three"),
    SL_OPT_INT(options, quads, 8, 0, 4096, "", "planted compositions of four"),
    SL_OPT_FLOAT(options, plant, 2e-3, 0, .1, "", "probability that a planted composition is made whole"),
    SL_OPT_FLOAT(options, withhold, .2, 0, .9, "", "share of the pairs that training never shows"),
    SL_OPT_INT(options, curriculum, 0, -1e12, 1e12, "rows", "of training over which the order of compositions rises from 2 to 4; negative: falls; 0: all orders from the start"),
    SL_OPT_FLOAT(options, sigma, 0, 0, 100, "", "noise a column"),
    SL_OPT_END
};
#define PAIR_P 1e-3 /* least p_i p_j of a pair */

typedef struct state {
    int64_t n_pairs, n_withheld; /* sets 0 .. n_pairs - 1 are pairs, the first n_withheld of them withheld */
    double *p;                   /* [n] */
} state;

/* ---- building ---- */

static bool build_probabilities(sl_world *w, const options *o)
{
    state *s = w->state;
    double sum = 0;
    s->p = sl_world_alloc(w, (size_t)o->n * sizeof *s->p);
    for (int64_t i = 1; i <= o->n; i++)
        sum += 1 / sqrt((double)i);
    for (int64_t i = 0; s->p && i < o->n; i++)
        s->p[i] = fmin(.95, o->l0 / sum / sqrt((double)(i + 1)));
    w->truth.p = s->p;
    return s->p != NULL;
}

static bool has_pair(const sl_world_set *set, int64_t n_pairs, const int32_t *f, int n)
{
    for (int64_t t = 0; t < n_pairs; t++)
        for (int a = 0; a < n; a++)
            for (int b = 0; b < n; b++)
                if (f[a] == set[t].feature[0] && f[b] == set[t].feature[1])
                    return true;
    return false;
}

static void sort(int32_t *f, int n)
{
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && f[j - 1] > f[j]; j--) {
            int32_t t = f[j];
            f[j] = f[j - 1];
            f[j - 1] = t;
        }
}

/* Draws a set of `order` features until it fits: pairs that fire often enough and differ from the others, larger sets without a pair of
 * the world, so that no planted set holds a withheld pair. False after too many attempts. */
static bool draw_set(const sl_world *w, sl_rng *r, sl_world_set *set, int64_t at, int order)
{
    const options *o = (const void *)w->opts;
    const state *s = w->state;
    enum { ATTEMPTS = 100000 };
    for (int a = 0; a < ATTEMPTS; a++) {
        int32_t f[4];
        sl_world_choose(r, o->n, order, f);
        sort(f, order);
        bool rare = order == 2 && s->p[f[0]] * s->p[f[1]] < PAIR_P;
        if (rare || has_pair(set, order == 2 ? at : s->n_pairs, f, order))
            continue;
        double p = order == 2 ? s->p[f[0]] * s->p[f[1]] : o->plant;
        set[at] = (sl_world_set){ .order = order, .withheld = order == 2 && at < s->n_withheld, .p = p };
        for (int i = 0; i < order; i++)
            set[at].feature[i] = f[i];
        return true;
    }
    return false;
}

static sl_status build_sets(sl_world *w, const options *o, sl_err *err)
{
    const state *s = w->state;
    double accepted = 1; /* about the share of rows without a withheld pair */
    int64_t n = o->pairs + o->triples + o->quads;
    sl_world_set *set = sl_world_alloc(w, (size_t)n * sizeof *set);
    float *v = sl_world_directions(w, n, o->d, T_SET_DIR);
    sl_rng r = sl_world_rng(w, SL_USE_TRUTH, T_PAIRS, 0);
    if (!set || !v)
        return sl_world_no_memory(w, err);
    for (int64_t t = 0; t < n; t++) {
        if (!draw_set(w, &r, set, t, t < o->pairs ? 2 : t < o->pairs + o->triples ? 3 : 4))
            return sl_fail(err, SL_ARG, "pairs", "fewer, or a larger l0", "synth_comp: no room for composition %lld of %lld", (long long)t + 1, (long long)n);
        set[t].dir = v + t * o->d;
        accepted *= t < s->n_withheld ? 1 - set[t].p : 1;
    }
    if (accepted < 1e-3)
        return sl_fail(err, SL_ARG, "withhold", "less, or a smaller l0", "synth_comp: nearly every row would hold a withheld pair");
    w->truth.set = set;
    w->truth.n_sets = n;
    w->truth.beta = o->beta;
    w->truth.form = (sl_world_form)o->form;
    return SL_OK;
}

static sl_status build(sl_world *w, sl_err *err)
{
    const options *o = (const void *)w->opts;
    state *s = sl_world_alloc(w, sizeof *s);
    if (!s)
        return sl_world_no_memory(w, err);
    w->state = s;
    s->n_pairs = o->pairs;
    s->n_withheld = (int64_t)floor(o->withhold * (double)o->pairs + .5);
    w->truth.n = o->n;
    w->truth.d = o->d;
    w->truth.dir = sl_world_directions(w, o->n, o->d, T_DIR);
    if (!w->truth.dir || !build_probabilities(w, o) || !sl_world_plain_features(w, o->n))
        return sl_world_no_memory(w, err);
    return build_sets(w, o, err);
}

/* ---- a row ---- */

static bool complete(const sl_world_set *t, const bool *on)
{
    for (int32_t i = 0; i < t->order; i++)
        if (!on[t->feature[i]])
            return false;
    return true;
}

/* The largest order of a composition that the row may hold. */
static int32_t most_order(const sl_world *w, const sl_world_row *r)
{
    const options *o = (const void *)w->opts;
    int64_t rows = llabs(o->curriculum), third = r->row < rows ? 3 * r->row / rows : 2;
    if (rows == 0 || r->split != SL_WORLD_TRAIN)
        return 4;
    return (int32_t)(o->curriculum > 0 ? 2 + third : 4 - third);
}

static void draw_support(const sl_world *w, sl_world_row *r, bool *on)
{
    const options *o = (const void *)w->opts;
    const state *s = w->state;
    int32_t most = most_order(w, r);
    for (int64_t i = 0; i < o->n; i++)
        on[i] = sl_rng_uniform(&r->rng) < s->p[i];
    for (int64_t t = o->pairs; t < w->truth.n_sets; t++)
        if (sl_rng_uniform(&r->rng) < o->plant && w->truth.set[t].order <= most)
            for (int32_t i = 0; i < w->truth.set[t].order; i++)
                on[w->truth.set[t].feature[i]] = true;
    if (r->split == SL_WORLD_OOD) {
        const sl_world_set *t = &w->truth.set[sl_rng_below(&r->rng, (uint64_t)s->n_withheld)];
        on[t->feature[0]] = on[t->feature[1]] = true;
    }
}

static bool allowed(const sl_world *w, const sl_world_row *r, const bool *on)
{
    const state *s = w->state;
    int32_t most = most_order(w, r);
    if (r->split == SL_WORLD_ALL || r->split == SL_WORLD_OOD)
        return true;
    for (int64_t t = 0; t < s->n_withheld; t++)
        if (complete(&w->truth.set[t], on))
            return false;
    for (int64_t t = s->n_pairs; t < w->truth.n_sets; t++)
        if (w->truth.set[t].order > most && complete(&w->truth.set[t], on))
            return false;
    return true;
}

static void row(const sl_world *w, sl_world_row *r)
{
    const options *o = (const void *)w->opts;
    bool on[MAX_N];
    do
        draw_support(w, r, on);
    while (!allowed(w, r, on));
    for (int64_t i = 0; i < o->n; i++)
        if (on[i])
            sl_world_put(r, (int32_t)i, .5 + sl_rng_uniform(&r->rng));
}

/* The values of a set's members in a finished row; false when one is off. */
static bool values(const sl_world_set *t, const sl_world_row *r, float *value)
{
    int64_t at = 0;
    for (int32_t i = 0; i < t->order; i++) {
        while (at < r->n && r->idx[at] < t->feature[i])
            at++;
        if (at == r->n || r->idx[at] != t->feature[i])
            return false;
        value[i] = r->val[at];
    }
    return true;
}

static void finish(const sl_world *w, const sl_world_row *r, float *x)
{
    const options *o = (const void *)w->opts;
    float value[4];
    for (int64_t t = 0; t < w->truth.n_sets && o->beta > 0; t++) {
        const sl_world_set *set = &w->truth.set[t];
        if (!values(set, r, value))
            continue;
        float c = (float)(o->beta * sl_world_form_value(w->truth.form, value, set->order));
        for (int64_t j = 0; j < o->d; j++)
            x[j] += c * set->dir[j];
    }
    sl_rng noise = sl_world_rng(w, SL_USE_NOISE, r->split, (uint64_t)r->row);
    for (int64_t j = 0; j < o->d && o->sigma > 0; j++)
        x[j] += (float)(o->sigma * sl_rng_normal(&noise));
}

const sl_world_ops sl_world_synth_comp = {
    .info = { .name = "synth_comp", .what = "128 features in 64 dimensions; 64 pairs, 16 triples and 8 quads add directions of their own (beta)", .source = "this project",
              .has_ood = true, .opts = opts, .opts_size = sizeof(options) },
    .build = build, .row = row, .finish = finish,
};
