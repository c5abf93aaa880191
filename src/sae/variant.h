/* What a variant of a sparse autoencoder is: mathematics on the tape, an option table, and one const row of slots.
 * x [B, d_in]; W_enc, W_dec feature-major [d_sae, d_in]; latents z [B, d_sae], sparse (CSR) or dense; x^ [B, d_in].
 * A variant has no status checks (the tape is sticky), no backward pass, and knows neither the trainer nor the metrics. A new one is
 * its file, its line in registry.c and in CMakeLists.txt, its option struct in <saelab/sae.h>, and its row in the tests' list. */
#ifndef SL_SAE_VARIANT_H
#define SL_SAE_VARIANT_H

#include "tape/tape.h"
#include <saelab/sae.h>

/* Latents of one batch: exactly one of the two is set. */
typedef struct sl_latents {
    sl_code sparse;
    sl_var dense;
} sl_latents;

/* What a step tells the loss besides the batch. */
typedef struct sl_sae_batch {
    int64_t step, steps;        /* step from 0; steps 0: not training */
    int64_t n;                  /* rows B */
    double d_bar;               /* mean |x|^2 of the centred training rows: the unit of the loss (science.md B4) */
    int64_t n_dead;
    const sl_tensor *alive;     /* U8 [d_sae], 1 where not dead; NULL when n_dead is 0 */
    const sl_tensor *residual;  /* NULL: AuxK explains the step's own x - x^. Gradient checks freeze it here, as it takes no gradient */
} sl_sae_batch;

typedef struct sl_sae_ops {
    sl_variant_info info;
    const char *saelens;        /* its architecture in cfg.json */
    const char *const *cfg_keys; /* options that SAELens has under the same name at the top of cfg.json, NULL-terminated; or NULL */

    sl_status (*check)(const void *opts, int64_t d_in, int64_t d_sae, sl_err *err); /* OPTIONAL: what the option table cannot say */
    bool (*unit_decoder)(const void *opts);                      /* are the rows of W_dec kept at norm 1? */
    int64_t (*max_active)(const void *opts, int64_t d_sae);      /* most latents of one row */
    double (*l1)(const void *opts);                              /* OPTIONAL: weight of the L1 penalty; NULL: 0 */
    sl_latents (*encode)(sl_tape *t, const sl_sae *s, sl_var x);
    sl_var (*loss)(sl_tape *t, const sl_sae *s, sl_var x, sl_latents z, sl_var xhat, const sl_sae_batch *b); /* scalar */
} sl_sae_ops;

extern const sl_sae_ops sl_sae_standard, sl_sae_topk;
const sl_sae_ops *sl_sae_ops_find(const char *name); /* NULL when there is none */

/* NEW and READY hold weights for raw activations (those of NEW are random); an interrupted training leaves TRAINING. */
typedef enum sl_sae_state { SL_SAE_NEW, SL_SAE_TRAINING, SL_SAE_READY } sl_sae_state;

struct sl_sae {
    sl_ctx *ctx;
    const sl_sae_ops *ops;
    void *opts;                 /* ops->info.opts_size bytes */
    int64_t d_in, d_sae;
    uint64_t seed;
    sl_sae_state state;
    bool center_input;          /* the encoder sees x - b_dec (SAELens: apply_b_dec_to_input) */
    sl_params *params;
    sl_param *W_enc, *b_enc, *W_dec, *b_dec;
    sl_tape *tape;              /* of sl_sae_encode, without gradients; made when first needed */
    char hook[96], model[128], dataset[64];
    float *mean;                /* [d_in] of the training normalisation, or NULL */
    double scale;
};

/* As sl_sae_new, also in f64 (for the gradient checker); not trainable: weights 0, to be filled, and no room for moments. */
sl_status sl_sae_make(sl_ctx *ctx, const char *variant, int64_t d_in, int64_t d_sae, const void *vopts, uint64_t seed, sl_dtype dtype,
                      bool trainable, sl_sae **out, sl_err *err) SL_USE_RESULT;

/* Weights as sl_sae_new makes them from the seed; moments 0. */
sl_status sl_sae_init(sl_sae *s, sl_err *err) SL_USE_RESULT;
sl_status sl_sae_check_options(const sl_opt *table, const void *opts, sl_err *err) SL_USE_RESULT; /* SL_ARG: a field out of its range */
sl_status sl_sae_usable(const sl_sae *s, sl_err *err) SL_USE_RESULT; /* SL_ARG while an interrupted training has left it half done */

/* Hands out the latents of a batch as CSR, in parts of consecutive rows; row_ptr of a part starts at 0. */
typedef void (*sl_latents_fn)(void *user, int64_t first_row, const sl_csr *part);
void sl_latents_visit(sl_tape *t, sl_latents z, sl_latents_fn visit, void *user);

/* ---- shared by variants ---- */

sl_var sl_sae_center(sl_tape *t, const sl_sae *s, sl_var x);            /* x - b_dec, or x where the encoder takes it whole */
sl_var sl_sae_reconstruct(sl_tape *t, const sl_sae *s, sl_latents z);   /* W_dec^T z + b_dec */
double sl_sae_spread(sl_tape *t, sl_var x);                             /* sum_b |x_b - mean x|^2; 0 when the tape has failed */
/* |x - x^|^2 / (B d_bar): the reconstruction term of every variant (recipe saelab, science.md B4). */
sl_var sl_sae_reconstruction_loss(sl_tape *t, sl_var x, sl_var xhat, const sl_sae_batch *b);
/* AuxK (Gao et al. 2024, arXiv 2406.04093, section 2.4): alpha |e - e^|^2 / |e|^2_var, e = x - x^ without gradient, e^ decoded without
 * bias from the k_aux largest dead latents; |e|^2_var = sum over the batch of |e - mean e|^2. Call only while something is dead. */
sl_var sl_sae_auxk(sl_tape *t, const sl_sae *s, sl_var x, sl_var xhat, int64_t k_aux, double alpha, const sl_sae_batch *b);

#endif
