/* What a variant of a sparse autoencoder is: mathematics on the tape, an option table, and one const row of slots.
 * x [B, d_in]; W_enc [d_sae, d_in], W_dec [d_sae, d_out] feature-major; latents z [B, d_sae], sparse (CSR) or dense; x^ [B, d_out].
 * A variant has no status checks (the tape is sticky), no backward pass, and knows neither the trainer nor the metrics. A new one is
 * its file, its line in registry.c and in CMakeLists.txt, its option struct in <saelab/sae_variants.h>, and its row in tests/sae/cases.c. */
#ifndef SL_SAE_VARIANT_H
#define SL_SAE_VARIANT_H

#include "sae/recipe.h"
#include "tape/tape.h"
#include <saelab/sae.h>

/* Latents of one batch: exactly one of sparse and dense is set. */
typedef struct sl_latents {
    sl_code sparse;
    sl_var dense;
    sl_var pre;                 /* OPTIONAL: what z was made from, where the variant's loss wants it */
    void *own;                  /* OPTIONAL: what encode in training leaves to decode, loss and after_step, in the tape's scratch; NULL: not training */
} sl_latents;

/* What a training step tells encode, loss and after_step besides the rows. Schedules are pure functions of step: see the helpers below. */
typedef struct sl_sae_batch {
    int64_t step, steps;        /* step from 0, of steps in all */
    int64_t n;                  /* rows B */
    double d_bar;               /* mean |y|^2 of the centred training targets: the unit of the loss (science.md B4) */
    int64_t k_start, k_steps;   /* k falls (or rises) linearly from k_start over the first k_steps steps; k_start 0: constant */
    int64_t n_dead;
    const sl_tensor *alive;     /* U8 [d_sae], 1 where not dead; NULL when n_dead is 0 */
    bool perturbed;             /* rows are x + delta beside their clean pass: whatever is chosen over a batch uses the threshold of now */
    const int32_t *k_limit;     /* [n] or NULL. perturbed: latents that a TopK keeps of each row, in place of k */
    bool keep;                  /* rows are about to be encoded again, perturbed: what is learnt on the way is kept */
    const sl_move *move;        /* perturbed, or NULL: how rows lie beside the clean ones */
    const sl_tensor *residual;  /* NULL: AuxK explains the step's own x - x^. Gradient checks freeze it here, as it takes no gradient */
} sl_sae_batch;

/* One pass through the SAE. y is what x^ shall be: x itself but for transcoders. */
typedef struct sl_sae_pass {
    sl_var x, y;
    sl_latents z;
    sl_var xhat;
} sl_sae_pass;

/* What the trainer counted in the latents of the step. */
typedef struct sl_sae_seen {
    int64_t n, nnz;             /* rows; active latents */
    double l0;                  /* nnz / n */
    double min_active;          /* smallest active value; INFINITY when nothing was active */
} sl_sae_seen;

/* The normalisation of training, x_n = (x - mean) * scale and the same for targets; means NULL: 0. */
typedef struct sl_sae_fold {
    const sl_tensor *mean, *mean_out;
    double scale, scale_out;
} sl_sae_fold;

typedef struct sl_sae_scalar { const char *name; double first; } sl_sae_scalar;  /* one number of state and its first value */
typedef struct sl_sae_rename { const char *ours, *theirs; } sl_sae_rename;       /* a tensor that SAELens's file calls by another name */

typedef struct sl_sae_ops {
    sl_variant_info info;
    const char *saelens;        /* its architecture in cfg.json; NULL: SAELens has none, then it is info.name */
    const char *const *cfg_keys; /* OPTIONAL: options that SAELens has under the same name at the top of cfg.json, NULL-terminated */
    const sl_sae_rename *names; /* OPTIONAL, ended by {NULL}. Tensors of names that are not here are written under their own */
    const sl_sae_scalar *state; /* OPTIONAL, ended by {NULL}: numbers that are not trained but belong to it (an EMA, an integral): s->state[i],
                                   f64; checkpointed, and saved under metadata.saelab.state, bit for bit */
    bool no_encoder;            /* has neither W_enc nor b_enc (NULL then): the decoder encodes */

    sl_status (*check)(const void *opts, int64_t d_in, int64_t d_sae, sl_err *err); /* OPTIONAL: what the option table cannot say */
    bool (*unit_decoder)(const void *opts);                      /* are the rows of W_dec kept at norm 1? (a recipe may say no) */
    int64_t (*max_active)(const void *opts, int64_t d_sae);      /* most latents of one row, when encoding outside of training */
    double (*l1)(const sl_sae *s);                               /* OPTIONAL: weight of the penalty in the unit of z, as tuned; NULL: 0 */
    int64_t (*d_out)(const void *opts, int64_t d_in);            /* OPTIONAL: width of the target; a variant that has this is trained on rows with
                                                                    targets (sl_act_batch.y). NULL: the target is x */
    void (*declare)(sl_sae *s);                                  /* OPTIONAL: further weights: s->extra[i] = sl_params_add(s->params, flags, name, ...);
                                                                    may set s->center_input */
    void (*init)(sl_sae *s, const sl_kern *k);                   /* OPTIONAL: after the four weights are made (the further ones are 0 then) and the
                                                                    state is at its first values; f32 and f64. Random numbers: sl_param_normal */
    sl_latents (*encode)(sl_tape *t, const sl_sae *s, sl_var x, const sl_sae_batch *b); /* b NULL: not training, rows must not see each other */
    sl_var (*decode)(sl_tape *t, const sl_sae *s, sl_var x, sl_latents z); /* OPTIONAL; NULL: sl_sae_reconstruct. x.id 0: only codes are there */
    sl_var (*loss)(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b); /* scalar */
    /* OPTIONAL, both or none: names, NULL-terminated, at most SL_SAE_OWN, and the figures of a logged step, which change nothing. A figure that is
     * not there yet is left as it is (NaN). */
    const char *const *watched;
    void (*watch)(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, double own[SL_SAE_OWN]);
    /* OPTIONAL: after the optimizer, with the step's tape still standing: moves s->state (and weights, then sl_param_touch). */
    void (*after_step)(sl_tape *t, sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b, const sl_sae_seen *seen);
    /* OPTIONAL: makes the weights take and give raw activations; NULL: sl_sae_fold_linear. False: no memory. */
    bool (*fold)(const sl_kern *k, sl_sae *s, const sl_sae_fold *f);
    double (*threshold)(const sl_sae *s);                        /* OPTIONAL: saved as a tensor "threshold" [d_sae] of this value, which architecture jumprelu needs */
} sl_sae_ops;

extern const sl_sae_ops sl_sae_jumprelu, sl_sae_gated, sl_sae_p_anneal, sl_sae_transcoder, sl_sae_skip_transcoder, sl_sae_mlp_decoder, sl_sae_polysae, sl_sae_compositional;
extern const sl_sae_ops sl_sae_standard, sl_sae_topk, sl_sae_batchtopk, sl_sae_matryoshka, sl_sae_matryoshka_topk, sl_sae_matching_pursuit;
const sl_sae_ops *sl_sae_ops_find(const char *name); /* NULL when there is none */

/* NEW and READY hold weights for raw activations (those of NEW are random); an interrupted training leaves TRAINING. */
typedef enum sl_sae_state { SL_SAE_NEW, SL_SAE_TRAINING, SL_SAE_READY } sl_sae_state;
enum { SL_SAE_EXTRA = 24, SL_SAE_SCALARS = 32, SL_SAE_NOTES = 6 };

/* What SAELens does to each row before encoding it, and undoes on its reconstruction (sae_lens/saes/sae.py, normalize_activations). */
typedef enum sl_rows_norm { SL_ROWS_AS_THEY_ARE, SL_ROWS_RESCALED /* x sqrt(d_in) / |x| */, SL_ROWS_STANDARD /* (x - mean x) / (std x + 1e-5) */ } sl_rows_norm;
typedef struct sl_sae_notes { int n; char text[SL_SAE_NOTES][200]; } sl_sae_notes; /* what has more than one meaning in the file that it was loaded from */

struct sl_sae {
    sl_ctx *ctx;
    const sl_sae_ops *ops;
    const sl_recipe *recipe;    /* saelab's until a training chooses another */
    void *opts;                 /* ops->info.opts_size bytes */
    int64_t d_in, d_out, d_sae;
    uint64_t seed;
    sl_sae_state stage;
    bool center_input;          /* the encoder sees x - b_dec (SAELens: apply_b_dec_to_input) */
    sl_params *params;
    sl_param *W_enc, *b_enc, *W_dec, *b_dec;
    sl_param *extra[SL_SAE_EXTRA]; /* the variant's own, in an order that it knows */
    double state[SL_SAE_SCALARS]; /* in the order of ops->state */
    sl_tape *tape;              /* of sl_sae_encode, without gradients; made when first needed */
    char hook[96], hook_out[96], model[128], dataset[64]; /* hook_out: of a transcoder's targets; "" without */
    float *mean;                /* [d_in] of the training normalisation, or NULL */
    double scale;
    sl_rows_norm row_norm;
    const char *format;         /* of the file that it was loaded from; NULL: made here */
    sl_sae_notes notes;
};

/* As sl_sae_new, also in f64 (for the gradient checker); not trainable: weights 0, to be filled, and no room for moments. */
sl_status sl_sae_make(sl_ctx *ctx, const char *variant, int64_t d_in, int64_t d_sae, const void *vopts, uint64_t seed, sl_dtype dtype,
                      bool trainable, sl_sae **out, sl_err *err) SL_USE_RESULT;

/* The same of a variant that need not be registered. */
sl_status sl_sae_make_of(sl_ctx *ctx, const sl_sae_ops *ops, int64_t d_in, int64_t d_sae, const void *vopts, uint64_t seed, sl_dtype dtype,
                         bool trainable, sl_sae **out, sl_err *err) SL_USE_RESULT;

/* Weights and state as sl_sae_new makes them from the seed and s->recipe; moments 0. */
sl_status sl_sae_init(sl_sae *s, sl_err *err) SL_USE_RESULT;
sl_status sl_sae_check_options(const sl_opt *table, const void *opts, sl_err *err) SL_USE_RESULT; /* SL_ARG: a field out of its range */
sl_status sl_sae_usable(const sl_sae *s, sl_err *err) SL_USE_RESULT; /* SL_ARG while an interrupted training has left it half done */
int sl_sae_n_state(const sl_sae_ops *ops);

/* Encode and decode: every caller's way through a variant. y.id 0: the target is x; b NULL: not training. */
sl_sae_pass sl_sae_forward(sl_tape *t, const sl_sae *s, sl_var x, sl_var y, const sl_sae_batch *b);

/* Hands out the latents of a batch as CSR, in parts of consecutive rows; row_ptr of a part starts at 0. */
typedef void (*sl_latents_fn)(void *user, int64_t first_row, const sl_csr *part);
void sl_latents_visit(sl_tape *t, sl_latents z, sl_latents_fn visit, void *user);

/* rows->data [n, d] becomes the normalised rows, in scratch of the tape. restore: undoes it on xhat [n, d], from the raw rows x. */
sl_status sl_rows_normalize(sl_tape *t, sl_rows_norm kind, sl_tensor *rows, sl_err *err) SL_USE_RESULT;
void sl_rows_restore(sl_rows_norm kind, const float *x, int64_t n, int64_t d, float *xhat);
const char *sl_row_norm_name(sl_rows_norm kind); /* as SAELens's cfg.json has it */

/* ---- shared by variants ---- */

sl_var sl_sae_center(sl_tape *t, const sl_sae *s, sl_var x);            /* x - b_dec, or x where the encoder takes it whole */
sl_var sl_sae_reconstruct(sl_tape *t, const sl_sae *s, sl_latents z);   /* W_dec^T z + b_dec */
double sl_sae_spread(sl_tape *t, sl_var x);                             /* sum_b |x_b - mean x|^2; 0 when the tape has failed */
/* The factor of a sum over the batch of |y - y^|^2: 1 / (B d_bar) in recipe saelab (science.md B4). */
double sl_sae_reconstruction_factor(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b);
/* That factor times |y - y^|^2: the reconstruction term of every variant. */
sl_var sl_sae_reconstruction_loss(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, const sl_sae_batch *b);
/* The factor of a sum over the batch of penalties in the unit of z: 1 / (B sqrt(d_bar)) in recipe saelab. */
double sl_sae_penalty_factor(const sl_sae *s, const sl_sae_batch *b);
/* AuxK (Gao et al. 2024, arXiv 2406.04093, section 2.4): alpha |e - e^|^2 / |e|^2_var, e = y - y^ without gradient, e^ decoded without
 * bias from the k_aux largest dead latents; |e|^2_var = sum over the batch of |e - mean e|^2 (recipe saelab). Call only while something is dead. */
sl_var sl_sae_auxk(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, int64_t k_aux, double alpha, const sl_sae_batch *b);
/* The whole loss of a TopK SAE: the reconstruction term, and AuxK while something is dead and alpha is not 0. */
sl_var sl_sae_topk_loss(sl_tape *t, const sl_sae *s, const sl_sae_pass *p, int64_t k_aux, double alpha, const sl_sae_batch *b);
bool sl_sae_fold_linear(const sl_kern *k, sl_sae *s, const sl_sae_fold *f); /* W_enc, b_enc, W_dec, b_dec of an affine encoder and decoder */
bool sl_sae_always_unit(const void *opts);                               /* for the slot unit_decoder: true */
int64_t sl_sae_all_active(const void *opts, int64_t d_sae);              /* for the slot max_active: d_sae */

/* ---- schedules: pure functions of the step ---- */

double sl_sae_ramp(const sl_sae *s, const sl_sae_batch *b, double share); /* rises linearly to 1 over this share of the run: warm-ups */
/* first until `begin` (a share of the run), then linearly to last at `end`: temperatures, exponents. */
double sl_sae_anneal(const sl_sae_batch *b, double first, double last, double begin, double end);
int64_t sl_sae_k_now(const sl_sae_batch *b, int64_t k, int64_t d_sae);   /* k, or on its way from k_start; b NULL: k */
/* The k largest of each row, k now, or of each row its own number where b->k_limit says so: TopK's encoder. */
sl_code sl_sae_encode_topk(sl_tape *t, const sl_sae *s, sl_var x, int64_t k, const sl_sae_batch *b);

#endif
