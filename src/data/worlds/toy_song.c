/* The synthetic data of Song et al. 2025 (arXiv 2505.20254, synthetic/generate_data.py of the authors): exactly k of n features, coefficients
 * |N(0, 1)|, directions of unit Gaussian rows; 50,000 rows. */
#include "data/worlds/world.h"

#include <math.h>

typedef struct options { int64_t n, d, k, rows; } options;

static const sl_opt opts[] = {
    SL_OPT_INT(options, n, 32, 1, 1 << 20, "features", "features"),
    SL_OPT_INT(options, d, 16, 1, 1 << 16, "columns", "width of a row"),
    SL_OPT_INT(options, k, 3, 1, 64, "features", "features of a row, exactly"),
    SL_OPT_INT(options, rows, 50000, 0, 1e15, "rows", "size of the data set; 0: endless"),
    SL_OPT_END
};

static sl_status build(sl_world *w, sl_err *err)
{
    const options *o = (const void *)w->opts;
    if (o->k > o->n)
        return sl_fail(err, SL_ARG, "k", "at most n", "toy_song: %lld of %lld features", (long long)o->k, (long long)o->n);
    double *p = sl_world_alloc(w, (size_t)o->n * sizeof *p);
    for (int64_t i = 0; p && i < o->n; i++)
        p[i] = (double)o->k / (double)o->n;
    w->truth.n = o->n;
    w->truth.d = o->d;
    w->truth.p = p;
    w->truth.dir = sl_world_directions(w, o->n, o->d, 0);
    return p && w->truth.dir && sl_world_plain_features(w, o->n) ? SL_OK : sl_world_no_memory(w, err);
}

static void row(const sl_world *w, sl_world_row *r)
{
    const options *o = (const void *)w->opts;
    int32_t on[64];
    sl_world_choose(&r->rng, o->n, (int)o->k, on);
    for (int64_t i = 0; i < o->k; i++)
        sl_world_put(r, on[i], fabs(sl_rng_normal(&r->rng)));
}

static int64_t n_rows(const sl_world *w, sl_world_split split)
{
    const options *o = (const void *)w->opts;
    (void)split;
    return o->rows > 0 ? o->rows : -1;
}

const sl_world_ops sl_world_toy_song = {
    .info = { .name = "toy_song", .what = "32 features in 16 dimensions, exactly 3 on, values |N(0, 1)|", .source = "arXiv 2505.20254", .opts = opts,
              .opts_size = sizeof(options) },
    .build = build, .row = row, .n_rows = n_rows,
};
