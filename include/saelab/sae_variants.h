/* Options of the variants, one struct each: what sl_sae_new takes as vopts. Their tables (defaults, ranges, help) are
 * sl_variant_find(name)->opts; a struct filled by sl_opts_default is valid. */
#ifndef SAELAB_SAE_VARIANTS_H
#define SAELAB_SAE_VARIANTS_H

#include <stdint.h>

typedef struct sl_standard_options { /* variant "standard" */
    double l1;              /* lambda: weight of sum z |d| / sqrt(mean |x|^2) */
    double l1_warmup;       /* share of the steps over which lambda rises from 0 */
    int decoder;            /* unit|free: rows of W_dec kept at norm 1, or free (the penalty weights z by |d| either way) */
    double target_l0;       /* active latents a row that the autotuner aims at by moving lambda; 0: it stays */
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

typedef struct sl_jumprelu_options { /* variant "jumprelu" */
    int penalty;            /* target|l0|tanh: (L0 / target_l0 - 1)^2, L0, or sum tanh(tanh_scale z |d|) */
    double weight;          /* of the penalty */
    double l0_warmup;       /* share of the steps over which the weight rises from 0 */
    double target_l0;       /* active latents a row: of penalty target, else of the autotuner; 0: the weight stays */
    double bandwidth;       /* width of the straight-through window, in units of normalised pre-activations */
    double threshold;       /* the first theta */
    int space;              /* direct|log: what is trained */
    double tanh_scale;
    double pre_act;         /* weight of sum max(theta - a, 0) over dead latents; 0: off */
} sl_jumprelu_options;

typedef struct sl_gated_options { /* variant "gated" */
    double l1, l1_warmup;   /* as of "standard", of the open gates ReLU(pi) */
    double target_l0;       /* as of "standard" */
} sl_gated_options;

typedef struct sl_p_anneal_options { /* variant "p_anneal" */
    double l1, l1_warmup;   /* as of "standard", while p is 1 */
    double p_end;           /* the last exponent */
    double anneal_start, anneal_end; /* shares of the steps between which p falls */
    int64_t updates;        /* in so many equal steps */
    double target_l0;       /* as of "standard" */
} sl_p_anneal_options;

typedef struct sl_transcoder_options { /* variants "transcoder" and "skip_transcoder" */
    int activation;         /* relu|topk */
    int64_t d_out;          /* width of the target; 0: d_in */
    double l1, l1_warmup, target_l0; /* relu: as of "standard" */
    int64_t k, k_aux;       /* topk: as of "topk" */
    double aux_alpha;
} sl_transcoder_options;

typedef struct sl_mlp_decoder_options { /* variant "mlp_decoder" */
    int64_t k;              /* active latents a row */
    int64_t hidden;         /* hidden units of the decoder; 0: d_in */
    int64_t k_aux;          /* as of "topk" */
    double aux_alpha;
} sl_mlp_decoder_options;

#endif
