/* The pilot's generator (science.md G0, G3): 16 parents that fire with p = .12, each with 3 exclusive children, one of which fires with
 * probability .75 where the parent does; 64 free features with p_i ~ i^-1/2, scaled so that the mean l0 is 5.6; values U(.5, 1.5); 128 unit
 * Gaussian directions in 64 dimensions; no bias. Features: 0-15 parents, 16-63 children (3 a parent), 64-127 free. */
#include "data/worlds/world.h"

#include <math.h>

enum { PARENTS = 16, CHILDREN = 3, FREE = 64, FIRST_FREE = PARENTS * (1 + CHILDREN), N = FIRST_FREE + FREE };

typedef struct options { int64_t d; double p_parent, p_child, l0; } options;

static const sl_opt opts[] = {
    SL_OPT_INT(options, d, 64, 1, 1 << 16, "columns", "width of a row"),
    SL_OPT_FLOAT(options, p_parent, .12, 0, 1, "", "probability of a parent"),
    SL_OPT_FLOAT(options, p_child, .75, 0, 1, "", "probability that one of a parent's children is on when the parent is"),
    SL_OPT_FLOAT(options, l0, 5.6, 0, 60, "features", "mean number of features of a row"),
    SL_OPT_END
};

static sl_status probabilities(sl_world *w, sl_err *err)
{
    const options *o = (const void *)w->opts;
    double *p = sl_world_alloc(w, N * sizeof *p), sum = 0, free_l0 = o->l0 - PARENTS * o->p_parent * (1 + o->p_child);
    int32_t *parent = sl_world_alloc(w, N * sizeof *parent);
    if (!p || !parent)
        return sl_world_no_memory(w, err);
    for (int i = 0; i < FREE; i++)
        sum += 1 / sqrt(i + 1);
    if (free_l0 < 0 || free_l0 / sum > 1)
        return sl_fail(err, SL_ARG, "l0", "what the free features can make up", "toy_128: %g, of which parents and children make %g", o->l0, o->l0 - free_l0);
    for (int i = 0; i < N; i++) {
        bool child = i >= PARENTS && i < FIRST_FREE;
        p[i] = i < PARENTS ? o->p_parent : child ? o->p_parent * o->p_child / CHILDREN : free_l0 / sum / sqrt(i - FIRST_FREE + 1);
        parent[i] = child ? (i - PARENTS) / CHILDREN : -1;
    }
    w->truth.p = p;
    w->truth.parent = parent;
    w->truth.n_in_tree = FIRST_FREE;
    return SL_OK;
}

static sl_status build(sl_world *w, sl_err *err)
{
    const options *o = (const void *)w->opts;
    SL_TRY(probabilities(w, err));
    w->truth.n = N;
    w->truth.d = o->d;
    w->truth.dir = sl_world_directions(w, N, o->d, 0);
    return w->truth.dir && sl_world_plain_features(w, N) ? SL_OK : sl_world_no_memory(w, err);
}

static double value(sl_world_row *r) { return .5 + sl_rng_uniform(&r->rng); }

static void row(const sl_world *w, sl_world_row *r)
{
    const options *o = (const void *)w->opts;
    for (int i = 0; i < PARENTS; i++) {
        if (!(sl_rng_uniform(&r->rng) < o->p_parent))
            continue;
        sl_world_put(r, i, value(r));
        if (sl_rng_uniform(&r->rng) < o->p_child) {
            int c = (int)sl_rng_below(&r->rng, CHILDREN);
            sl_world_put(r, PARENTS + CHILDREN * i + c, value(r));
        }
    }
    for (int i = FIRST_FREE; i < N; i++)
        if (sl_rng_uniform(&r->rng) < w->truth.p[i])
            sl_world_put(r, i, value(r));
}

const sl_world_ops sl_world_toy_128 = {
    .info = { .name = "toy_128", .what = "16 parents with 3 exclusive children each and 64 free features in 64 dimensions, l0 5.6", .source = "this project's pilot",
              .opts = opts, .opts_size = sizeof(options) },
    .build = build, .row = row,
};
