/* synth16k at the scale of a CPU: 1,024 features in 128 dimensions, 16 trees of 21 features (336 in all), rank-8 correlations. The exponent
 * is the one at which rows have 8 features on average (measured: 7.97). */
#include "data/worlds/tree.h"

static const sl_opt opts[] = { SL_TREE_OPTS(1024, 128, 16, 4, 2, .3, 2e-3, .55, 8, SL_MAGNITUDE_NORMAL, .5, 100) };

const sl_world_ops sl_world_synth1k = {
    .info = { .name = "synth1k", .what = "1,024 features in 128 dimensions, 16 trees, rank-8 correlations, l0 8", .source = "arXiv 2602.14687, smaller",
              .opts = opts, .opts_size = sizeof(sl_tree_options) },
    .build = sl_tree_build, .row = sl_tree_row,
};
