/* The cases. Widths are those of the tests, 16 latents or more: k at most 4. */
#include "cases.h"

const variant_case variant_cases[] = {
    { .variant = "standard", .label = "unit", .opts = &(sl_standard_options){ .l1 = .2, .l1_warmup = .5, .decoder = 0 }, .fvu = .7 },
    { .variant = "standard", .label = "free", .opts = &(sl_standard_options){ .l1 = .2, .l1_warmup = 0, .decoder = 1 }, .fvu = .7 },
    { .variant = "topk", .label = "", .opts = &(sl_topk_options){ .k = 3, .k_aux = 5, .aux_alpha = .1 }, .k = 3, .uses_dead = true, .fvu = .7 },
    { .variant = "batchtopk", .label = "", .opts = &(sl_batchtopk_options){ .k = 3, .k_aux = 5, .aux_alpha = .1 }, .k = 3, .per_batch = true, .uses_dead = true, .fvu = .7 },
    { .variant = "matryoshka", .label = "", .opts = &(sl_matryoshka_options){ .k = 3, .prefixes = "0.25,0.5,1", .k_aux = 5, .aux_alpha = .1 }, .k = 3, .per_batch = true,
      .ordered = true, .uses_dead = true, .fvu = .8 },
    { .variant = "matching_pursuit", .label = "", .opts = &(sl_matching_pursuit_options){ .max_iterations = 4 }, .fvu = .7 },
    { 0 }
};
