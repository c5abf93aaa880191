/* Held-out combinations (arXiv 2603.28744; src/data.py of the authors): k of n features, values U(0, 1), d = ceil(2 k ln(n / k)) by default.
 *   train, test   half the rows: feature 0 and k-1 partners of the first half (1 .. n - n/2 - 1); half: any k but feature 0
 *   ood           feature 0 and k-1 partners of the second half: pairs that training never showed
 *   all           any k of n
 * 2,500 rows a split, as the authors divide their 5,000 samples. */
#include "data/worlds/world.h"

#include <math.h>

typedef struct options { int64_t n, d, k, rows; } options;

static const sl_opt opts[] = {
    SL_OPT_INT(options, n, 100, 4, 1 << 20, "features", "features"),
    SL_OPT_INT(options, d, 0, 0, 1 << 16, "columns", "width of a row; 0: ceil(2 k ln(n / k))"),
    SL_OPT_INT(options, k, 10, 2, 64, "features", "features of a row, exactly"),
    SL_OPT_INT(options, rows, 2500, 0, 1e15, "rows", "size of each split; 0: endless"),
    SL_OPT_END
};

static double firing(const options *o, int64_t i) /* in train */
{
    double n = (double)o->n, k = (double)o->k, any = k / (n - 1), first = (k - 1) / (n - (double)(o->n / 2) - 1);
    return i == 0 ? .5 : .5 * any + (i < o->n - o->n / 2 ? .5 * first : 0);
}

static bool build_truth(sl_world *w, const options *o)
{
    int64_t half = o->n / 2;
    double *p = sl_world_alloc(w, (size_t)o->n * sizeof *p), n = (double)o->n, k = (double)o->k;
    sl_world_set *s = sl_world_alloc(w, (size_t)half * sizeof *s);
    for (int64_t i = 0; p && i < o->n; i++)
        p[i] = firing(o, i);
    for (int64_t i = 0; s && i < half; i++)
        s[i] = (sl_world_set){ .order = 2, .feature = { 0, (int32_t)(o->n - half + i) }, .withheld = true, .p = k * (k - 1) / (n * (n - 1)) };
    w->truth.p = p;
    w->truth.set = s;
    w->truth.n_sets = half;
    w->truth.dir = sl_world_directions(w, w->truth.n, w->truth.d, 0);
    return p && s && w->truth.dir && sl_world_plain_features(w, o->n);
}

static sl_status build(sl_world *w, sl_err *err)
{
    const options *o = (const void *)w->opts;
    if (o->k > o->n / 2)
        return sl_fail(err, SL_ARG, "k", "at most n / 2", "comp_ood: %lld of %lld features", (long long)o->k, (long long)o->n);
    w->truth.n = o->n;
    w->truth.d = o->d > 0 ? o->d : (int64_t)ceil(2 * (double)o->k * log((double)o->n / (double)o->k));
    return build_truth(w, o) ? SL_OK : sl_world_no_memory(w, err);
}

static void put_any(sl_world_row *r, int64_t first, int64_t n, int k)
{
    int32_t on[64];
    sl_world_choose(&r->rng, n, k, on);
    for (int i = 0; i < k; i++)
        sl_world_put(r, (int32_t)first + on[i], 1 - sl_rng_uniform(&r->rng)); /* (0, 1] */
}

static void row(const sl_world *w, sl_world_row *r)
{
    const options *o = (const void *)w->opts;
    int64_t half = o->n / 2;
    int k = (int)o->k;
    if (r->split == SL_WORLD_ALL) {
        put_any(r, 0, o->n, k);
        return;
    }
    if (r->split != SL_WORLD_OOD && sl_rng_below(&r->rng, 2) == 0) {
        put_any(r, 1, o->n - 1, k);
        return;
    }
    put_any(r, 0, 1, 1);
    if (r->split == SL_WORLD_OOD)
        put_any(r, o->n - half, half, k - 1);
    else
        put_any(r, 1, o->n - half - 1, k - 1);
}

static int64_t n_rows(const sl_world *w, sl_world_split split)
{
    const options *o = (const void *)w->opts;
    (void)split;
    return o->rows > 0 ? o->rows : -1;
}

const sl_world_ops sl_world_comp_ood = {
    .info = { .name = "comp_ood", .what = "100 features in 47 dimensions, 10 on; feature 0 never with the second half in training", .source = "arXiv 2603.28744",
              .has_ood = true, .opts = opts, .opts_size = sizeof(options) },
    .build = build, .row = row, .n_rows = n_rows,
};
