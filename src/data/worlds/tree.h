/* Many features, some in trees of exclusive children, firing together a little: the family of SynthSAEBench (arXiv 2602.14687; SAELens
 * synthetic/). synth16k, synth1k and synth_hier are three sets of its options.
 *
 *   p_i     p_min + (p_max - p_min) (r^-a - n^-a) / (1 - n^-a), r = i + 1
 *   trees   breadth first over features in order: `roots` roots, `branching` children each, `depth` levels below; the rest is free
 *   firing  y = L e + sqrt(1 - |L_i|^2) u, e ~ N(0, I_rank), L = correlation N(0, 1) (scaled so that the largest |L_i|^2 <= .99);
 *           i fires where y_i > Phi^-1(1 - p~_i)
 *   value   max(0, mean_i + std_i N), mean linear over i, std_i = |N(std_mean, std_std^2)|; or uniform
 *   tree    a child is off unless its parent is on (scale_children_by_parent: its value times parent's / parent's mean), then one
 *           active sibling, drawn uniformly, stays
 *   p~_i    p_i / p_parent (1 + (sum of siblings' p) / p_parent), at most 1 - 1e-6: makes up, in part, for what the tree takes away */
#ifndef SL_WORLD_TREE_H
#define SL_WORLD_TREE_H

#include "data/worlds/world.h"

enum { SL_MAGNITUDE_NORMAL, SL_MAGNITUDE_UNIFORM };
extern const char *const sl_tree_magnitudes[];

typedef struct sl_tree_options {
    int64_t n, d, roots, branching, depth, rank, ortho_steps;
    double p_max, p_min, exponent, correlation;
    int magnitude;
    double mean_first, mean_last, std_mean, std_std; /* normal */
    double low, high;                                /* uniform */
    double bias;
    bool compensate, scale_children_by_parent;
} sl_tree_options;

/* The option table with the defaults of one world. */
#define SL_TREE_OPTS(n_, d_, roots_, branching_, depth_, p_max_, p_min_, exponent_, rank_, magnitude_, bias_, ortho_)                        \
    SL_OPT_INT(sl_tree_options, n, n_, 2, 1 << 20, "features", "features"),                                                                   \
    SL_OPT_INT(sl_tree_options, d, d_, 1, 1 << 16, "columns", "width of a row"),                                                              \
    SL_OPT_INT(sl_tree_options, roots, roots_, 0, 1 << 20, "features", "trees; 0: no hierarchy"),                                             \
    SL_OPT_INT(sl_tree_options, branching, branching_, 1, 64, "features", "children of a node, at most one of them on"),                      \
    SL_OPT_INT(sl_tree_options, depth, depth_, 0, 16, "levels", "levels below the roots"),                                                    \
    SL_OPT_FLOAT(sl_tree_options, p_max, p_max_, 1e-9, .999, "", "firing probability of the most frequent feature"),                          \
    SL_OPT_FLOAT(sl_tree_options, p_min, p_min_, 1e-9, .999, "", "firing probability of the rarest feature"),                                 \
    SL_OPT_FLOAT(sl_tree_options, exponent, exponent_, .01, 10, "", "of the power law between them"),                                         \
    SL_OPT_INT(sl_tree_options, rank, rank_, 0, 256, "", "rank of the correlations between features; 0: independent"),                        \
    SL_OPT_FLOAT(sl_tree_options, correlation, .1, 0, 10, "", "scale of the correlations' factor"),                                           \
    SL_OPT_CHOICE(sl_tree_options, magnitude, magnitude_, sl_tree_magnitudes, "how values are drawn"),                                        \
    SL_OPT_FLOAT(sl_tree_options, mean_first, 5, 1e-3, 1e6, "", "normal: mean value of the first feature"),                                   \
    SL_OPT_FLOAT(sl_tree_options, mean_last, 4, 1e-3, 1e6, "", "normal: mean value of the last feature"),                                     \
    SL_OPT_FLOAT(sl_tree_options, std_mean, .5, 0, 1e6, "", "normal: a feature's std is |N(std_mean, std_std)|"),                             \
    SL_OPT_FLOAT(sl_tree_options, std_std, .5, 0, 1e6, "", "normal: see std_mean"),                                                           \
    SL_OPT_FLOAT(sl_tree_options, low, .5, 0, 1e6, "", "uniform: smallest value"),                                                            \
    SL_OPT_FLOAT(sl_tree_options, high, 1.5, 1e-6, 1e6, "", "uniform: largest value"),                                                        \
    SL_OPT_FLOAT(sl_tree_options, bias, bias_, 0, 1e6, "", "norm of the bias"),                                                               \
    SL_OPT_INT(sl_tree_options, ortho_steps, ortho_, 0, 1e6, "steps", "Adam steps that spread the dictionary"),                               \
    SL_OPT_BOOL(sl_tree_options, compensate, 1, "raise children's probabilities for what the tree takes away"),                               \
    SL_OPT_BOOL(sl_tree_options, scale_children_by_parent, 0, "a child's value follows its parent's"),                                        \
    SL_OPT_END

sl_status sl_tree_build(sl_world *w, sl_err *err) SL_USE_RESULT;
void sl_tree_row(const sl_world *w, sl_world_row *r);

#endif
