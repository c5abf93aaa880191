/* The recipes. Sources: science.md sections B4 and H (saelab); SAELens 6 sae_lens/saes/{sae,topk_sae,jumprelu_sae,gated_sae,
 * matryoshka_batchtopk_sae}.py; dictionary_learning 0.1 trainers/{top_k,batch_top_k,matryoshka_batch_top_k,jumprelu,gdm,standard}.py;
 * sparsify 1.3 sparsify/{sparse_coder,trainer}.py. */
#include "sae/recipe.h"

#include <stddef.h>
#include <string.h>

const char *const sl_recipe_names[] = { "saelab", "saelens", "dictionary_learning", "sparsify", NULL };

static const sl_recipe recipes[] = {
    { .name = "saelab", .rec_unit = SL_UNIT_D_BAR, .penalty_by_d_bar = true, .ramp_first = 1, .aux_unit = SL_AUX_RESIDUAL, .threshold_keep = .999,
      .prefix_mean = 1, .gated_detach = true, .decoder_norm = 1, .b_dec = SL_BIAS_MEAN, .unit_decoder = true, .project = true },
    { .name = "saelens", .rec_unit = SL_UNIT_ROW, .aux_unit = SL_AUX_ROW, .aux_ramp = true, .threshold_keep = .99, .threshold_first = .99,
      .decoder_norm = .1, .uniform_init = true, .b_dec = SL_BIAS_ZERO },
    { .name = "dictionary_learning", .rec_unit = SL_UNIT_ROW, .aux_unit = SL_AUX_RESIDUAL, .threshold_keep = .999, .threshold_from = 1001,
      .prefix_mean = 2, .step_on_code = true,
      .gated_detach = true, .decoder_norm = 1, .uniform_init = true, .b_dec = SL_BIAS_MEDIAN, .unit_decoder = true, .project = true },
    { .name = "sparsify", .rec_unit = SL_UNIT_VARIANCE, .aux_unit = SL_AUX_TARGET, .aux_ramp = true, .threshold_keep = .999, .prefix_mean = 1,
      .decoder_norm = 1, .uniform_init = true, .raw_encoder = true, .b_dec = SL_BIAS_MEAN, .unit_decoder = true, .project = true },
};

const sl_recipe *sl_recipe_at(int i)
{
    return i >= 0 && i < (int)(sizeof recipes / sizeof *recipes) ? &recipes[i] : NULL;
}

const sl_recipe *sl_recipe_find(const char *name)
{
    for (int i = 0; name && sl_recipe_at(i); i++)
        if (strcmp(recipes[i].name, name) == 0)
            return &recipes[i];
    return NULL;
}
