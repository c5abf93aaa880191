/* Recipes: the numbers and flags in which saelab and its peers differ when they train the same variant. Formulas take these as
 * coefficients and never ask who the peer is. Facts: the peers' own files, named in recipe.c. */
#ifndef SL_SAE_RECIPE_H
#define SL_SAE_RECIPE_H

#include <stdbool.h>

typedef enum sl_loss_unit {
    SL_UNIT_D_BAR,      /* 1 / (B d_bar): mean over rows of |e|^2 in units of the data's variance */
    SL_UNIT_ROW,        /* 1 / B */
    SL_UNIT_VARIANCE,   /* 1 / sum |y - mean y|^2 of the batch: the loss is the batch's FVU */
} sl_loss_unit;
typedef enum sl_aux_unit {
    SL_AUX_RESIDUAL,    /* 1 / sum |e - mean e|^2 of the batch */
    SL_AUX_ROW,         /* 1 / B */
    SL_AUX_TARGET,      /* 1 / sum |y - mean y|^2 of the batch */
} sl_aux_unit;
typedef enum sl_bias_init { SL_BIAS_ZERO, SL_BIAS_MEAN, SL_BIAS_MEDIAN /* geometric median */ } sl_bias_init;

typedef struct sl_recipe {
    const char *name;
    sl_loss_unit rec_unit;
    bool penalty_by_d_bar;      /* penalties in z are divided by sqrt(d_bar) */
    double ramp_first;          /* warm-up over w steps is (step + ramp_first) / w */
    sl_aux_unit aux_unit;
    bool aux_ramp;              /* AuxK times min(1, dead / k_aux) */
    double threshold_keep;      /* BatchTopK's threshold moves by 1 - threshold_keep of the way a step, by 1 - threshold_first the first time */
    double threshold_first;
    long threshold_from;        /* from this step on */
    double prefix_mean;         /* Matryoshka: the weight of each of G prefixes is G^-prefix_mean */
    bool step_on_code;          /* JumpReLU: the step of the L0 penalty looks at z, not at the pre-activation */
    bool gated_detach;          /* Gated: the auxiliary term's decoder takes no gradient */
    double decoder_norm;        /* of the rows of W_dec at the start */
    bool uniform_init;          /* rows of W_dec from a uniform, not a normal distribution */
    bool raw_encoder;           /* W_enc is U(-1, 1) / sqrt(d_in), W_dec its rows of norm decoder_norm; else W_enc is W_dec */
    sl_bias_init b_dec;
    bool unit_decoder, project; /* rows renormalised after a step; the gradient's part along a row removed before */
} sl_recipe;

const sl_recipe *sl_recipe_at(int i); /* NULL past the end; 0 is saelab */
const sl_recipe *sl_recipe_find(const char *name); /* NULL when there is none, and for NULL */
extern const char *const sl_recipe_names[]; /* in the same order, NULL-terminated */

#endif
