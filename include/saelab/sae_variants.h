/* Options of the variants, one struct each: what sl_sae_new takes as vopts. Their tables (defaults, ranges, help) are
 * sl_variant_find(name)->opts; a struct filled by sl_opts_default is valid. */
#ifndef SAELAB_SAE_VARIANTS_H
#define SAELAB_SAE_VARIANTS_H

#include <stdbool.h>
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

typedef struct sl_matryoshka_options { /* variants "matryoshka" and "matryoshka_topk" */
    int64_t k;              /* as of "batchtopk"; matryoshka_topk: as of "topk" */
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

typedef struct sl_polysae_options { /* variant "polysae" */
    int64_t k, k_aux;       /* as of "topk" */
    double aux_alpha;
    int64_t rank;           /* columns of U, of which squares and cubes are taken; 0: 64, or as many as fit */
    bool cubic;             /* cubes too */
    double lambda_2, lambda_3; /* first weights of the squares and of the cubes */
} sl_polysae_options;

typedef struct sl_compositional_options { /* variant "compositional" (science.md C2) */
    int64_t k, k_aux;       /* as of "topk"; k at most 128 */
    double aux_alpha;
    int64_t d_c, n_head;    /* width of tokens, in all heads together; heads */
    int64_t m_c, k_c;       /* compositions; active ones a row */
    int64_t depth;          /* blocks of attention: 1 or 2 */
    int64_t order;          /* entries of a token's row of attention: itself and its order - 1 largest others; 0: all */
    int curriculum;         /* none|rising|falling: the order over the three thirds after stage A: order - 2, order - 1, order (2 at least), or back */
    double stage_a;         /* share of the steps in which only the linear SAE is trained */
    int value;              /* linear|hadamard: V_j - V_i, or V_j * V'_i, j other than i */
    int attention;          /* learned|uniform|frozen_qk|deep_sets|length_one: P learned; 1/n; of random W_Q, W_K that stay; no pairs but
                               U_i = MLP(T_i); each token to itself alone (the brief's literal one, which learns nothing from Q and K) */
    int comp_in;            /* z|x: compositions of the code, or of x - b_dec itself (then L0 is k + k_c) */
    bool self_subtraction;  /* V_j - V_i, else V_j */
    bool residual;          /* x^ has sum z d; else compositions alone, from the first step */
    bool gate;              /* g_i learned, else 1 */
    bool partner_shuffle;   /* V_j, j other than i, from the tokens of another row of the batch: a control */
    int64_t k_aux_c;        /* dead compositions that explain the residual, a row */
    double aux_c_alpha;     /* weight of that; 0: off */
    int64_t dead_window_c;  /* rows without firing after which a composition counts as dead; 0: a tenth of the run */
    double diversity;       /* weight of the mean squared correlation of compositions before TopK (science.md A3 K5) */
    double entropy;         /* weight of the mean entropy of rows of attention, in nats */
    double h_l2;            /* weight of mean |h|^2 */
} sl_compositional_options;

#endif
