/* Perturbation training ("feature purification", science.md B): a FeaturePerturbationLayer around any variant, in training and, for
 * measurements, of a finished SAE.
 *   x' = x + delta, z' = encode(x'), z* the target code
 *   L += gamma(t) L_stab + rho |y - decode(z')|^2 / (B d_bar)
 *   L_stab = 1/B' sum_b 1/(|z*_b|^2 + kappa) sum_{j in S*_b or S'_b} u_bj^2,     kappa = 1e-3 mean |z|^2
 *   u_bj = z'_bj - z*_bj where j is active in x', else a'_bj - z*_bj: the pre-activation stands in for a latent that was lost, since a
 *   selection gives it no gradient (science.md B4). B' rows that are valid; L_stab is the mean over views; gamma rises from 0 over the first
 *   gamma_warmup of the steps.
 * S* is the support of the target: of the clean code for noise; with the injected latents for inject; without the dropped ones for featdrop.
 * The magnitude is relative: |delta| = eps |x - mean|, exactly, for gauss, uniform, shaped, direct, fgsm and pgd; the others have sizes of their
 * own (alpha, q, bits, p = eps^2). A row of norm below 1e-6, a masked row that lost nothing, and, for types that move along active
 * latents, one without any is not valid: it counts in `skipped` and in no loss. */
#ifndef SAELAB_PERTURB_H
#define SAELAB_PERTURB_H

#include <saelab/sae.h>

/* Values of the choices, in the order of their names in the option table. */
typedef enum sl_perturb_type {
    SL_PERTURB_NONE,
    SL_PERTURB_GAUSS,           /* N(0, I), of rank `rank` where that is set */
    SL_PERTURB_UNIFORM,         /* U(-1, 1) in each coordinate */
    SL_PERTURB_SHAPED,          /* L g, with the data's covariance L L^T: its `components` largest principal components */
    SL_PERTURB_MASK,            /* coordinates set to 0 with probability eps^2 */
    SL_PERTURB_MASK_ROTATED,    /* the same in a fixed random basis */
    SL_PERTURB_FEATDROP,        /* - sum z_j d_j over q active latents; target: z without them */
    SL_PERTURB_INJECT,          /* sum alpha_j d_j over q inactive latents, alpha_j = alpha (mean active z_j) U(.5, 1.5); target: see `target` */
    SL_PERTURB_DIRECT,          /* the same directions with random signs and weights, of norm eps |x|; target z: the twin of inject */
    SL_PERTURB_FGSM,            /* argmax |z' - z|^2 on the sphere, one step */
    SL_PERTURB_PGD,             /* the same, attack_steps steps, the best of `restarts` starts */
    SL_PERTURB_QUANT,           /* the row rounded to `quant` */
    SL_PERTURB_LATENT           /* z max(0, 1 + eps n) on active latents, then re-encoded */
} sl_perturb_type;
typedef enum sl_perturb_site { SL_PERTURB_SITE_BY_TYPE, SL_PERTURB_SITE_INPUT, SL_PERTURB_SITE_LATENT, SL_PERTURB_SITE_TOKEN } sl_perturb_site;
typedef enum sl_perturb_select { SL_SELECT_NN, SL_SELECT_COFIRE, SL_SELECT_LEAK, SL_SELECT_FRAGILE, SL_SELECT_MARGIN, SL_SELECT_UNIFORM } sl_perturb_select;
typedef enum sl_perturb_target { SL_TARGET_EQUIVARIANT, SL_TARGET_INVARIANT } sl_perturb_target;
typedef enum sl_perturb_quant { SL_QUANT_INT8, SL_QUANT_INT6, SL_QUANT_INT4, SL_QUANT_INT3, SL_QUANT_BF16, SL_QUANT_FP16 } sl_perturb_quant;
typedef enum sl_stability_mode {
    SL_STABILITY_STOPGRAD,      /* z* is a constant */
    SL_STABILITY_SYMMETRIC,     /* gradient into the clean code too */
    SL_STABILITY_TWO_VIEW,      /* x + delta_1 against x + delta_2 */
    SL_STABILITY_DENOISE,       /* no L_stab: the loss of the variant, reading x + delta (a denoising autoencoder) */
    SL_STABILITY_CONTRACTIVE,   /* L_stab = 1/B sum_b (eps^2 / d) |x|^2 sum_{j in S} |w_j|^2 / (|z|^2 + kappa): Rifai et al. 2011; nothing is encoded twice */
    SL_STABILITY_ENC_L2         /* L_stab = |W_enc|_F^2 */
} sl_stability_mode;
typedef enum sl_attack_goal { SL_ATTACK_UNTARGETED, SL_ATTACK_SUPPRESS, SL_ATTACK_ACTIVATE } sl_attack_goal;

typedef struct sl_perturb_config { /* option table sl_perturb_opts: the map `perturb` of an arm, --perturb-... of `saelab sae train` */
    int type;                   /* none|gauss|uniform|shaped|mask|mask_rotated|featdrop|inject|direct|fgsm|pgd|quant|latent */
    int site;                   /* by_type|input|latent_reencode|token; token: the rows are those of a model that read changed tokens; whoever captures
                                 * them (a study's plan, `saelab sae train --lm`) does it, and the trainer refuses */
    double p_tok;               /* site token: share of the tokens that are changed */
    int64_t token_to;           /* site token: to this token; -1: to any other */
    double eps;                 /* relative magnitude */
    double noise_std;           /* the brief's name of eps: where it is not negative, it is eps */
    double gamma;               /* weight of L_stab (lambda of contractive and enc_l2) */
    double stability_coefficient; /* the brief's name of gamma: where it is not negative, it is gamma */
    double gamma_warmup;        /* share of the steps over which gamma rises from 0 */
    double rho;                 /* weight of |y - decode(z')|^2 / (B d_bar) */
    int mode;                   /* stopgrad_clean|symmetric|two_view|denoise|contractive|enc_l2 */
    bool tied_weights;          /* one buffer for encoder and decoder while training, gradients summed */
    int64_t views;              /* perturbed copies of a row, averaged */
    bool antithetic;            /* views come in pairs delta, -delta: gauss, uniform, shaped and direct */
    int64_t rank;               /* gauss: directions of a batch, drawn anew each step; 0: all of d_in */
    int64_t q;                  /* latents a row of inject, direct and featdrop */
    double alpha;               /* inject: strength in units of the latent's mean active value */
    double with_gauss;          /* inject: Gaussian noise of this relative magnitude on top; the target does not see it */
    int select;                 /* nn|cofire|leak|fragile|margin|uniform: how inject and direct choose latents */
    double beta;                /* sharpness of the choice, exp(beta times z-score), mixed with a tenth of uniform */
    int64_t refresh;            /* steps between new neighbour lists */
    int target;                 /* inject: equivariant|invariant */
    int64_t components;         /* shaped */
    int quant;                  /* int8|int6|int4|int3|bf16|fp16 */
    int64_t attack_steps, restarts; /* pgd */
    int goal;                   /* untargeted|suppress|activate; the latent is `attack_latent` */
    int64_t attack_latent;
    bool adaptive;              /* eps is steered so that the training FSS stays at target_fss (science.md B6) */
    double target_fss, eps_min, eps_max;
    bool early_stop;            /* stop on stability with the fidelity guard, and keep the best of the weights on the way: see sl_perturb_result */
    int64_t check_every;        /* steps between the checks; 0: a fortieth of the run */
    int64_t patience;           /* checks in a row without change */
    int64_t seed;               /* of the noise */
} sl_perturb_config;
extern const sl_opt sl_perturb_opts[];

/* eps and gamma as configured, the brief's names considered. */
double sl_perturb_eps(const sl_perturb_config *c);
double sl_perturb_gamma(const sl_perturb_config *c);
/* True when training with c differs from training without it. */
bool sl_perturb_wanted(const sl_perturb_config *c);

/* ---- training ---- */

typedef struct sl_perturb_point {
    double step;                /* steps done */
    double stability;           /* L_stab of the batch, mean over views; 0 where no row was valid */
    double change;              /* mean over valid rows of |z' - z*|^2 / (|z*|^2 + kappa): what the surrogate stands in for */
    double fss;                 /* 1 - sum |z' - z*| / sum (z' + z*) of the batch; NaN when nothing was active */
    double eps, gamma;          /* in force */
    double achieved;            /* mean |delta| / |x| over valid rows */
} sl_perturb_point;
/* Early stopping (science.md B6). Every check_every steps the codes of 2,048 held-out rows are compared with those of the same rows under the same
 * noise, of `type` and `eps`. The final decay of the learning rate, a fifth of the budget, begins once `patience` checks in a row changed FSS by
 * less than .002 and FVU by less than .5 %, not before 30 % of the budget, and only at weights that could be kept: stability alone stops nothing.
 * Weights that could be kept have an FVU of at most 1.05 times the least of all checks and at most 2 % dead latents (a dead window, or 30 % of the budget,
 * must have passed); of these the SAE gets those of the largest FSS. Four are held at a time, none worse than another in both scores; a fifth takes the place of the one with the largest FVU. */
typedef struct sl_stop_check { double step, fss, fvu, dead; } sl_stop_check; /* dead: share of the latents */
typedef struct sl_perturb_result {
    sl_perturb_point *curve;    /* [n_curve] where sl_sae_result.curve has its points */
    int64_t n_curve;
    sl_stop_check *checks;      /* [n_checks] of early stopping; NULL: it was off */
    int64_t n_checks;
    int64_t chosen_step;        /* early_stop: steps after which the SAE had its weights; 0: those of the last step, none could be kept */
    int64_t skipped, rows;      /* rows that were not valid, of rows perturbed, all views */
    double eps;                 /* at the end */
    int64_t saturated;          /* steps that the controller spent at eps_min or eps_max */
    int64_t stopped_at;         /* step at which early stopping began the final decay; 0: it did not */
    int64_t steps;              /* steps that were run */
    double generate_share, forward_share; /* of the time since training began or went on: spent on making views; on their codes and loss */
    bool collapsed;             /* the last step's FVU is 1 or more: the code fell into a trivial optimum; it is also warned of. Rows with
                                 * hardly a code weigh up to 1000 times the mean in L_stab, so a gamma that is at its full height before the
                                 * code is good can turn all latents off: a longer gamma_warmup, k_start above k, or a smaller gamma helps */
} sl_perturb_result;
void sl_perturb_result_release(sl_ctx *ctx, sl_perturb_result *r); /* frees its arrays */

/* sl_sae_train with a perturbation layer; p NULL or not wanted: exactly sl_sae_train. report may be NULL. The curve is in the report alone.
 * Early stopping needs rows of its own: sl_sae_train_many (saelab/sweep.h) takes them, here it is SL_ARG.
 * SL_ARG: options that do not fit each other or the variant (tied_weights without an encoder of W_dec's shape, rank above d_in, antithetic
 * noise of another type, early_stop without a type of noise or with a running mean of the weights ...); SL_UNAVAILABLE: site token (train on
 * activations captured from changed tokens instead). Checkpoints hold all
 * state of the layer: a resumed run equals an uninterrupted one bit for bit. */
sl_status sl_sae_train_perturbed(sl_sae *s, sl_act_source *acts, const sl_sae_train_config *t, const sl_perturb_config *p, const char *dir,
                                 sl_sae_result *out, sl_perturb_result *report, sl_err *err) SL_USE_RESULT;

/* ---- perturbing rows of a finished SAE ---- */

typedef struct sl_perturber sl_perturber;
typedef struct sl_perturbed {   /* the caller's */
    float *x;                   /* [n, d_in] raw rows x + delta */
    uint8_t *valid;             /* [n] 1 where the row was perturbed; the others are copies */
    sl_codes *target;           /* NULL: not wanted. Room for n rows of max_active + q entries: z* of each row (z itself where it is not valid) */
    double achieved;            /* mean |delta| / |x - mean| over valid rows; 0 when there is none */
} sl_perturbed;

/* fit: raw rows [n_fit, d_in] that mean active values, co-firing and the covariance are taken from; NULL where c->type is gauss, uniform,
 * mask, quant, featdrop, fgsm, pgd or latent. s must outlive it and not change. SL_ARG: as sl_sae_train_perturbed, or fit is missing;
 * SL_MEM. */
sl_status sl_perturber_new(sl_sae *s, const sl_perturb_config *c, const float *fit, int64_t n_fit, sl_perturber **out, sl_err *err) SL_USE_RESULT;
void sl_perturber_free(sl_perturber *p); /* NULL is legal */
/* Perturbs raw rows x [n, d_in] at magnitude eps (negative: the configured one). Noise is a function of (c->seed, step, first_row + r, view)
 * and of the row alone, the low-rank directions of (c->seed, step): the same bits for any number of threads and any cutting into batches.
 * SL_NUMERIC names the first row that is not finite. */
sl_status sl_perturber_apply(sl_perturber *p, const float *x, int64_t n, int64_t first_row, int64_t step, int view, double eps, sl_perturbed *out,
                             sl_err *err) SL_USE_RESULT;

#endif
