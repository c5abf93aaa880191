/* The toy data of Sharkey et al. 2022 ("Taking features out of superposition with sparse autoencoders"; RandomDatasetGenerator and
 * SparseMixDataset of the sparse_coding code): 512 features in 256 dimensions, values U(0, 1) U(0, 1), unit Gaussian directions.
 *   uncorrelated  p_i = (l0 / n) decay^i. Note that the sum of these is about 0.97, so that rows have 1 feature on average, not the nominal 5
 *   correlated    c = Phi(g) decay^i, g ~ N(0, C), then scaled so that the mean of c is l0 / n; a row without a feature gets one at random,
 *                 with value 1 U(0, 1). As in the original code g is drawn ONCE A BATCH, not once a row: features correlate across
 *                 batches, while within a batch they are independent. C: symmetric, elements (U + U') / 2, its diagonal raised by 1.001 times the
 *                 size of the smallest eigenvalue (here the edge of the semicircle law, 2 sqrt(n / 24), and more where that is not enough). */
#include "data/worlds/world.h"

#include <math.h>
#include <string.h>

enum { UNCORRELATED, CORRELATED };
static const char *const variants[] = { "uncorrelated", "correlated", NULL };
typedef struct options { int64_t n, d, batch; int variant; double l0, decay; } options;

static const sl_opt opts[] = {
    SL_OPT_CHOICE(options, variant, UNCORRELATED, variants, "do features fire together"),
    SL_OPT_INT(options, n, 512, 2, 4096, "features", "features"),
    SL_OPT_INT(options, d, 256, 1, 1 << 16, "columns", "width of a row"),
    SL_OPT_FLOAT(options, l0, 5, 1e-3, 1000, "features", "nominal number of features of a row"),
    SL_OPT_FLOAT(options, decay, .99, .01, 1, "", "ratio of the probabilities of neighbours"),
    SL_OPT_INT(options, batch, 256, 1, 1e9, "rows", "correlated: rows that share one draw"),
    SL_OPT_END
};

typedef struct state { double *chol; } state; /* [n, n] lower */

/* C = chol chol^T in place of the lower triangle; false: not positive definite. */
static bool cholesky(double *c, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        for (int64_t i = j; i < n; i++) {
            double s = c[i * n + j];
            for (int64_t k = 0; k < j; k++)
                s -= c[i * n + k] * c[j * n + k];
            if (i == j && !(s > 0))
                return false;
            c[i * n + j] = i == j ? sqrt(s) : s / c[j * n + j];
        }
    }
    return true;
}

static bool build_correlation(sl_world *w, const options *o)
{
    int64_t n = o->n;
    state *s = sl_world_alloc(w, sizeof *s);
    double *c = sl_world_alloc(w, (size_t)(n * n) * sizeof *c);
    if (!s || !c)
        return false;
    s->chol = c;
    w->state = s;
    for (double raise = 1.001 * 2 * sqrt((double)n / 24);; raise *= 1.02) {
        for (int64_t i = 0; i < n; i++) {
            sl_rng r = sl_world_rng(w, SL_USE_TRUTH, 1, (uint64_t)i);
            for (int64_t j = 0; j <= i; j++) {
                double a = sl_rng_uniform(&r), b = sl_rng_uniform(&r);
                c[i * n + j] = i == j ? a + raise : .5 * (a + b);
            }
        }
        if (cholesky(c, n))
            return true;
    }
}

static sl_status build(sl_world *w, sl_err *err)
{
    const options *o = (const void *)w->opts;
    double *p = sl_world_alloc(w, (size_t)o->n * sizeof *p), sum = 0;
    for (int64_t i = 0; i < o->n; i++)
        sum += pow(o->decay, (double)i);
    for (int64_t i = 0; p && i < o->n; i++) { /* correlated: about, because Phi(g) averages to one half and its scale varies little */
        double each = o->variant == CORRELATED ? o->l0 / sum : o->l0 / (double)o->n;
        p[i] = fmin(1, each * pow(o->decay, (double)i));
    }
    w->truth.n = o->n;
    w->truth.d = o->d;
    w->truth.p = p;
    w->truth.dir = sl_world_directions(w, o->n, o->d, 0);
    bool good = p && w->truth.dir && sl_world_plain_features(w, o->n);
    if (good && o->variant == CORRELATED)
        good = build_correlation(w, o);
    return good ? SL_OK : sl_world_no_memory(w, err);
}

/* The probabilities of the last batch that this thread met. */
typedef struct shared { int64_t batch_plus_1; sl_world_split split; double p[]; } shared;

static size_t scratch(const sl_world *w)
{
    const options *o = (const void *)w->opts;
    return sizeof(shared) + 2 * (size_t)o->n * sizeof(double);
}

static const double *batch_probabilities(const sl_world *w, const sl_world_row *r)
{
    const options *o = (const void *)w->opts;
    const state *s = w->state;
    shared *h = r->scratch;
    int64_t n = o->n, batch = r->row / o->batch;
    if (h->batch_plus_1 == batch + 1 && h->split == r->split)
        return h->p;
    sl_rng rng = sl_world_rng(w, SL_USE_BATCH, r->split, (uint64_t)batch);
    double *u = h->p + n, mean = 0, decay = 1;
    for (int64_t i = 0; i < n; i++)
        u[i] = sl_rng_normal(&rng);
    for (int64_t i = 0; i < n; i++, decay *= o->decay) {
        double g = 0;
        for (int64_t k = 0; k <= i; k++)
            g += s->chol[i * n + k] * u[k];
        h->p[i] = .5 * erfc(-g * M_SQRT1_2) * decay;
        mean += h->p[i] / (double)n;
    }
    for (int64_t i = 0; i < n; i++)
        h->p[i] *= o->l0 / (double)n / mean;
    h->batch_plus_1 = batch + 1;
    h->split = r->split;
    return h->p;
}

static void row(const sl_world *w, sl_world_row *r)
{
    const options *o = (const void *)w->opts;
    const double *p = o->variant == CORRELATED ? batch_probabilities(w, r) : w->truth.p;
    for (int64_t i = 0; i < o->n; i++)
        if (sl_rng_uniform(&r->rng) < p[i])
            sl_world_put(r, (int32_t)i, sl_rng_uniform(&r->rng) * sl_rng_uniform(&r->rng));
    if (o->variant == CORRELATED && r->n == 0) {
        int32_t i = (int32_t)sl_rng_below(&r->rng, (uint64_t)o->n);
        sl_world_put(r, i, 1 - sl_rng_uniform(&r->rng));
    }
}

const sl_world_ops sl_world_toy_sharkey = {
    .info = { .name = "toy_sharkey", .what = "512 features in 256 dimensions, probabilities decaying by .99, values U U; --variant correlated", .source = "Sharkey et al. 2022",
              .opts = opts, .opts_size = sizeof(options) },
    .build = build, .row = row, .scratch = scratch,
};
