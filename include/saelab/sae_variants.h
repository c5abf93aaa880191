/* Options of the variants, one struct each: what sl_sae_new takes as vopts. Their tables (defaults, ranges, help) are
 * sl_variant_find(name)->opts; a struct filled by sl_opts_default is valid. */
#ifndef SAELAB_SAE_VARIANTS_H
#define SAELAB_SAE_VARIANTS_H

#include <stdint.h>

typedef struct sl_standard_options { /* variant "standard" */
    double l1;              /* lambda: weight of sum z |d| / sqrt(mean |x|^2) */
    double l1_warmup;       /* share of the steps over which lambda rises from 0 */
    int decoder;            /* unit|free: rows of W_dec kept at norm 1, or free (the penalty weights z by |d| either way) */
} sl_standard_options;

typedef struct sl_topk_options { /* variant "topk" */
    int64_t k;              /* active latents a row */
    int64_t k_aux;          /* dead latents in AuxK; 0: d_in / 2 */
    double aux_alpha;       /* weight of AuxK; 0: off */
} sl_topk_options;

typedef struct sl_batchtopk_options { /* variant "batchtopk" */
    int64_t k;              /* active latents a row, on average over a training batch */
    int64_t k_aux;          /* as of "topk" */
    double aux_alpha;
} sl_batchtopk_options;

typedef struct sl_matryoshka_options { /* variant "matryoshka" */
    int64_t k;              /* as of "batchtopk" */
    const char *prefixes;   /* "0.25,0.5,1": shares of the latents at which the nested prefixes end */
    int64_t k_aux;          /* as of "topk" */
    double aux_alpha;
} sl_matryoshka_options;

typedef struct sl_matching_pursuit_options { /* variant "matching_pursuit" */
    int64_t max_iterations; /* greedy choices a row */
} sl_matching_pursuit_options;

#endif
