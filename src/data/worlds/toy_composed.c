/* Composed features (Anders et al. 2024, "Sparse autoencoders find composed features in small toy models"): one of x1, x2 and one of y1, y2, always
 * both; amplitudes equal (both the same U(0, 1)) or independent. An SAE finds the four compositions, not the four atoms: the negative
 * target of compositional SAEs. one_hot: a share of the rows has a single atom. Features: 0 x1, 1 x2, 2 y1, 3 y2. */
#include "data/worlds/world.h"

#include <math.h>
#include <stdio.h>

enum { N = 4, EQUAL = 0, INDEPENDENT = 1 };
static const char *const amplitudes[] = { "equal", "independent", NULL };
typedef struct options { int64_t d; int amplitude; double one_hot; } options;

static const sl_opt opts[] = {
    SL_OPT_INT(options, d, 4, 1, 1 << 16, "columns", "width of a row"),
    SL_OPT_CHOICE(options, amplitude, EQUAL, amplitudes, "of the two atoms of a row"),
    SL_OPT_FLOAT(options, one_hot, 0, 0, 1, "", "share of the rows that have one atom only (.75 in the source)"),
    SL_OPT_END
};

static sl_status build(sl_world *w, sl_err *err)
{
    static const char *const names[N] = { "x1", "x2", "y1", "y2" };
    const options *o = (const void *)w->opts;
    double *p = sl_world_alloc(w, N * sizeof *p);
    sl_world_feature *f = sl_world_alloc(w, N * sizeof *f);
    sl_world_set *s = sl_world_alloc(w, N * sizeof *s);
    w->truth.dir = sl_world_directions(w, N, o->d, 0);
    if (!p || !f || !s || !w->truth.dir)
        return sl_world_no_memory(w, err);
    for (int i = 0; i < N; i++) {
        p[i] = .5 * (1 - o->one_hot) + .25 * o->one_hot;
        f[i] = (sl_world_feature){ .order = 1, .family = i / 2 };
        snprintf(f[i].name, sizeof f[i].name, "%s", names[i]);
        s[i] = (sl_world_set){ .order = 2, .feature = { i / 2, 2 + i % 2 }, .p = .25 * (1 - o->one_hot) };
    }
    w->truth.n = N;
    w->truth.d = o->d;
    w->truth.p = p;
    w->truth.feature = f;
    w->truth.set = s;
    w->truth.n_sets = N;
    return SL_OK;
}

static void row(const sl_world *w, sl_world_row *r)
{
    const options *o = (const void *)w->opts;
    bool one = sl_rng_uniform(&r->rng) < o->one_hot;
    int x = (int)sl_rng_below(&r->rng, 2), y = 2 + (int)sl_rng_below(&r->rng, 2);
    double a = 1 - sl_rng_uniform(&r->rng), b = 1 - sl_rng_uniform(&r->rng); /* (0, 1]: an atom is never off by accident */
    bool second = one && sl_rng_below(&r->rng, 2) == 1;
    if (!second)
        sl_world_put(r, x, a);
    if (!one || second)
        sl_world_put(r, y, o->amplitude == EQUAL ? a : b);
}

const sl_world_ops sl_world_toy_composed = {
    .info = { .name = "toy_composed", .what = "one of x1, x2 and one of y1, y2 in every row: SAEs find the pairs, not the atoms", .source = "Anders et al. 2024",
              .opts = opts, .opts_size = sizeof(options) },
    .build = build, .row = row,
};
