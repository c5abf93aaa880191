/* SynthSAEBench-16k (Chanin et al. 2026, arXiv 2602.14687; experiments/create_synth_bench_16k_model.py of the authors): 16,384 features in 768
 * dimensions, 128 trees of 85 features (10,880 in all), rank-25 correlations. Paper and script say scale_children_by_parent = true; the
 * model that the authors released, on which the published scores were measured, has false, and so has the default here. */
#include "data/worlds/tree.h"

static const sl_opt opts[] = { SL_TREE_OPTS(16384, 768, 128, 4, 3, .4, 5e-4, .5, 25, SL_MAGNITUDE_NORMAL, .5, 100) };

const sl_world_ops sl_world_synth16k = {
    .info = { .name = "synth16k", .what = "SynthSAEBench-16k: 16,384 features in 768 dimensions, 128 trees, rank-25 correlations", .source = "arXiv 2602.14687",
              .opts = opts, .opts_size = sizeof(sl_tree_options) },
    .build = sl_tree_build, .row = sl_tree_row,
};
