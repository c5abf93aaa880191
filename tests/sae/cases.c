/* The cases. Widths are those of the tests, 16 latents or more: k at most 4. */
#include "cases.h"

const variant_case variant_cases[] = {
    { .variant = "standard", .label = "unit", .opts = &(sl_standard_options){ .l1 = .2, .l1_warmup = .5, .decoder = 0 }, .fvu = .7 },
    { .variant = "standard", .label = "free", .opts = &(sl_standard_options){ .l1 = .2, .l1_warmup = 0, .decoder = 1 }, .fvu = .7 },
    { .variant = "topk", .label = "", .opts = &(sl_topk_options){ .k = 3, .k_aux = 5, .aux_alpha = .1 }, .k = 3, .uses_dead = true, .fvu = .7 },
    { 0 }
};
