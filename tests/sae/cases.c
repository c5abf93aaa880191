/* The cases. Widths are those of the tests, 16 latents or more: k at most 4. */
#include "cases.h"

const variant_case variant_cases[] = {
    { .variant = "standard", .label = "unit", .opts = &(sl_standard_options){ .l1 = .2, .l1_warmup = .5, .decoder = 0 }, .fvu = .7 },
    { .variant = "standard", .label = "free", .opts = &(sl_standard_options){ .l1 = .2, .l1_warmup = 0, .decoder = 1 }, .fvu = .7 },
    { .variant = "topk", .label = "", .opts = &(sl_topk_options){ .k = 3, .k_aux = 5, .aux_alpha = .1 }, .k = 3, .uses_dead = true, .fvu = .7 },
    { .variant = "batchtopk", .label = "", .opts = &(sl_batchtopk_options){ .k = 3, .k_aux = 5, .aux_alpha = .1 }, .k = 3, .per_batch = true, .uses_dead = true, .fvu = .7 },
    { .variant = "matryoshka", .label = "", .opts = &(sl_matryoshka_options){ .k = 3, .prefixes = "0.25,0.5,1", .k_aux = 5, .aux_alpha = .1 }, .k = 3, .per_batch = true,
      .ordered = true, .uses_dead = true, .fvu = .8 },
    { .variant = "matryoshka_topk", .label = "", .opts = &(sl_matryoshka_options){ .k = 3, .prefixes = "0.25,0.5,1", .k_aux = 5, .aux_alpha = .1 }, .k = 3, .ordered = true,
      .uses_dead = true, .fvu = .8 },
    { .variant = "matching_pursuit", .label = "", .opts = &(sl_matching_pursuit_options){ .max_iterations = 4 }, .fvu = .7 },
    { .variant = "standard", .label = "tuned", .opts = &(sl_standard_options){ .l1 = .2, .l1_warmup = 0, .target_l0 = 3 }, .fvu = .7 },
    { .variant = "jumprelu", .label = "target", .opts = &(sl_jumprelu_options){ .penalty = 0, .weight = .05, .target_l0 = 4, .bandwidth = .5, .threshold = .1, .tanh_scale = 1 }, .fvu = .7 },
    { .variant = "jumprelu", .label = "l0", .opts = &(sl_jumprelu_options){ .penalty = 1, .weight = .01, .l0_warmup = .5, .target_l0 = 4, .bandwidth = .5, .threshold = 1.5, .space = 1, .tanh_scale = 1, .pre_act = .1 },
      .uses_dead = true, .fvu = .7 },
    { .variant = "jumprelu", .label = "tanh", .opts = &(sl_jumprelu_options){ .penalty = 2, .weight = .01, .bandwidth = .5, .threshold = .1, .tanh_scale = 4 }, .fvu = .7 },
    { .variant = "gated", .label = "", .opts = &(sl_gated_options){ .l1 = .1, .l1_warmup = .1 }, .fvu = .7 },
    { .variant = "p_anneal", .label = "", .opts = &(sl_p_anneal_options){ .l1 = .1, .p_end = .4, .anneal_start = 0, .anneal_end = .5, .updates = 4, .target_l0 = 4 }, .fvu = .7 },
    { .variant = "transcoder", .label = "relu", .opts = &(sl_transcoder_options){ .activation = 0, .d_out = 9, .l1 = .1, .target_l0 = 4, .k = 1 }, .fvu = .7 },
    { .variant = "transcoder", .label = "topk", .opts = &(sl_transcoder_options){ .activation = 1, .k = 3, .k_aux = 5, .aux_alpha = .1 }, .k = 3, .uses_dead = true, .fvu = .7 },
    { .variant = "skip_transcoder", .label = "", .opts = &(sl_transcoder_options){ .activation = 0, .d_out = 9, .l1 = .1, .k = 1 }, .fvu = .7 },
    { .variant = "mlp_decoder", .label = "", .opts = &(sl_mlp_decoder_options){ .k = 3, .hidden = 5, .k_aux = 5, .aux_alpha = .1 }, .k = 3, .own_decoder = true, .uses_dead = true, .fvu = .7 },
    { .variant = "polysae", .label = "", .opts = &(sl_polysae_options){ .k = 3, .k_aux = 5, .aux_alpha = .1, .rank = 5, .cubic = true, .lambda_2 = -.5, .lambda_3 = .5 },
      .k = 3, .own_decoder = true, .uses_dead = true, .fvu = .8 },
    { .variant = "compositional", .label = "", .opts = &(sl_compositional_options){ .k = 3, .k_aux = 5, .aux_alpha = .1, .d_c = 8, .n_head = 2, .m_c = 12, .k_c = 3, .depth = 1, .order = 4,
      .curriculum = 1, .self_subtraction = true, .residual = true, .gate = true, .k_aux_c = 2, .aux_c_alpha = .1 }, .k = 3, .own_decoder = true, .uses_dead = true, .fvu = .7 },
    { .variant = "compositional", .label = "depth 2, products", .opts = &(sl_compositional_options){ .k = 3, .k_aux = 5, .aux_alpha = .1, .d_c = 8, .n_head = 2, .m_c = 12, .k_c = 3,
      .depth = 2, .value = 1, .residual = true, .gate = true, .k_aux_c = 2, .diversity = .1, .entropy = .1, .h_l2 = .1 }, .k = 3, .own_decoder = true, .uses_dead = true, .fvu = .7 },
    { .variant = "compositional", .label = "stage A", .opts = &(sl_compositional_options){ .k = 3, .k_aux = 5, .aux_alpha = .1, .d_c = 8, .n_head = 1, .m_c = 12, .k_c = 3, .depth = 1,
      .stage_a = .9, .self_subtraction = true, .residual = true, .k_aux_c = 2 }, .k = 3, .own_decoder = true, .uses_dead = true, .fvu = .7 },
    { 0 }
};
