/* The second hierarchical generator of `study confirm`, which no tuning may touch: 32 trees of 21 features (672 of 768) in 96 dimensions, values
 * U(.5, 1.5), independent roots, dictionary not spread, no bias. The exponent is the one at which rows have 8 features on average (measured: 8.0). */
#include "data/worlds/tree.h"

static const sl_opt opts[] = { SL_TREE_OPTS(768, 96, 32, 4, 2, .25, 2e-3, .405, 0, SL_MAGNITUDE_UNIFORM, 0, 0) };

const sl_world_ops sl_world_synth_hier = {
    .info = { .name = "synth_hier", .what = "768 features in 96 dimensions, 32 trees, values U(.5, 1.5), l0 8: the second generator of a confirmation",
              .source = "this project", .opts = opts, .opts_size = sizeof(sl_tree_options) },
    .build = sl_tree_build, .row = sl_tree_row,
};
