/* Sparse autoencoders: variants through one registry, the trainer, files.
 *   z = encode(x) >= 0        x^ = W_dec^T z + b_dec        (transcoders: of the target y [d_out] that belongs to the row)
 * In memory W_enc [d_sae, d_in] and W_dec [d_sae, d_out] are feature-major; on disk they are as SAELens has them (W_enc [d_in, d_sae]).
 * d_out is d_in for everything but transcoders.
 * Training runs in the normalised space (x - mean) * scale; at its end mean and scale are folded into the weights once, so that
 * everything here takes and gives RAW activations, and saving and loading change no bit of a code. */
#ifndef SAELAB_SAE_H
#define SAELAB_SAE_H

#include <saelab/codes.h>
#include <saelab/data.h>
#include <saelab/sae_variants.h>

typedef struct sl_sae sl_sae;

/* ---- variants: one row a kind of SAE, for help, listings and configuration ---- */

typedef struct sl_variant_info {
    const char *name, *what, *paper;
    const sl_opt *opts;     /* the variant's own options (sae.<variant>.<option>) */
    size_t opts_size;       /* bytes of the struct that they fill: sl_opts_default(opts, buffer of opts_size) */
} sl_variant_info;
const sl_variant_info *sl_variant_at(int i);              /* i from 0; NULL past the end */
const sl_variant_info *sl_variant_find(const char *name); /* NULL when there is none */
/* The i-th figure that only this variant has, and that its training logs as sl_sae_step.own[i] ("attention_entropy"); NULL past the end, or
 * when there is no such variant. */
const char *sl_variant_watched(const char *variant, int i);

/* ---- life ---- */

/* A random SAE: decoder rows of norm 1, W_enc = W_dec, biases 0; a variant's further weights as its file says. vopts: the variant's own
 * option struct (<saelab/sae_variants.h>), NULL for its defaults.
 * SL_ARG: unknown variant, an option out of range (k > d_sae), a dimension < 1. */
sl_status sl_sae_new(sl_ctx *ctx, const char *variant, int64_t d_in, int64_t d_sae, const void *vopts, uint64_t seed, sl_sae **out, sl_err *err) SL_USE_RESULT;
void sl_sae_free(sl_sae *s); /* NULL is legal */

/* How many numbers an SAE trains (weights that stay as they are made do not count), and the d_sae of a topk SAE that trains as many, for
 * comparisons at equal size: d_sae (2 d_in + 1) + d_in = n (science.md C4), rounded to the nearest, at least 1. Errors as sl_sae_new's; SL_MEM: an
 * SAE of that size does not fit. */
sl_status sl_sae_count_weights(sl_ctx *ctx, const char *variant, int64_t d_in, int64_t d_sae, const void *vopts, int64_t *n, sl_err *err) SL_USE_RESULT;
int64_t sl_sae_topk_width(int64_t n, int64_t d_in);

typedef struct sl_sae_info {
    char variant[48], hook[96], hook_out[96], model[128], dataset[64]; /* hook_out: where a transcoder's targets come from; "" when it is not known */
    int64_t d_in, d_out, d_sae;
    bool has_target;        /* it predicts a target y, not x: a transcoder */
    const char *format;     /* of the file that it was loaded from: "saelens", "sparsify", "dictionary_learning", "npz"; "" when made here */
    const char *row_norm;   /* SAELens's normalize_activations: "none", "constant_norm_rescale" or "layer_norm"; each row by itself */
    bool center_input;      /* the encoder sees x - b_dec (SAELens: apply_b_dec_to_input) */
    double scale;           /* of the training normalisation; 1 when there was none */
    bool has_mean;          /* the training normalisation subtracted a mean */
    int64_t max_active;     /* most latents that one row can have: for sl_codes_new */
    double l1;              /* weight of the L1 penalty in the loss; 0 for variants without one */
} sl_sae_info;
sl_sae_info sl_sae_about(const sl_sae *s);
const void *sl_sae_options(const sl_sae *s); /* the variant's option struct, borrowed */
/* A weight, borrowed until the SAE changes: "W_enc" [d_sae, d_in], "W_dec" [d_sae, d_out], "b_enc" [d_sae], "b_dec" [d_out] and what
 * the variant adds, f32. SL_MISSING: it has none of that name. */
sl_status sl_sae_weight(const sl_sae *s, const char *name, sl_tensor *out, sl_err *err) SL_USE_RESULT;

/* ---- files ---- */

/* A SAELens folder, cfg.json + sae_weights.safetensors. Variant, options, state, mean and scale are kept beside under metadata.saelab, so
 * that a reload gives the same variant and, bit for bit, the same codes. SL_ARG when its training has not finished. Each file is
 * replaced atomically. */
sl_status sl_sae_save(sl_sae *s, const char *dir, sl_err *err) SL_USE_RESULT;
/* Reads a folder (or the weights in it, or an hf: reference, see sl_ref_path) of SAELens (6.x and before), sparsify (cfg.json +
 * sae.safetensors), dictionary_learning (ae.pt, config.json) or Gemma Scope (params.npz); docs/FORMATS.md says what of each. What is
 * ambiguous in a file is warned of through the log and kept: sl_sae_note. SL_MISSING: no such file; SL_DATA: not JSON, a truncated
 * file, a key of the wrong kind; SL_SHAPE: names the tensor; SL_NUMERIC: a weight that is not finite; SL_UNAVAILABLE: another architecture. */
sl_status sl_sae_load(sl_ctx *ctx, const char *path, sl_sae **out, sl_err *err) SL_USE_RESULT;
/* Writes it as "saelens" (as sl_sae_save), "sparsify" or "npz" (Gemma Scope's params.npz: a JumpReLU without b_dec in the encoder, into
 * whose b_enc it is folded). SL_UNAVAILABLE: the format cannot say what this variant does; SL_ARG: no such format. */
sl_status sl_sae_convert(sl_sae *s, const char *format, const char *dir, sl_err *err) SL_USE_RESULT;
/* What had more than one meaning in its file, i from 0; NULL past the end. */
const char *sl_sae_note(const sl_sae *s, int i);

/* What it makes of the fixed probe x_j = sqrt(2) sin(j + 1), j = 0 .. d_in - 1: the same SAE in another file or another program gives the same
 * to rounding. dot = sum_i x^_i sqrt(2) sin(i + 1). */
typedef struct sl_sae_print { int64_t l0; double norm, dot; char text[96]; /* "l0 31, |x^| 12.3457, x.x^ 8.76543" */ } sl_sae_print;
sl_status sl_sae_fingerprint(sl_sae *s, sl_sae_print *out, sl_err *err) SL_USE_RESULT;

/* Codes of all rows of a store (n_rows known), from its first, as CSR in a safetensors file: indptr I64 [n + 1], idx I32 [nnz], val F32
 * [nnz], and metadata (n_rows, d_sae, variant, model, hook, data_hash, fingerprint). Streamed and atomic: memory does not grow with
 * rows. Progress: task "encode", rows. SL_SHAPE: d_in differs; SL_NUMERIC names the row; SL_CANCELLED: nothing is left. */
typedef struct sl_sae_encoded { int64_t rows, nnz, bytes; double seconds; } sl_sae_encoded;
sl_status sl_sae_encode_store(sl_sae *s, sl_act_source *acts, const char *path, sl_sae_encoded *out, sl_err *err) SL_USE_RESULT;

/* ---- training ---- */

/* Values of the choices of sl_sae_train_config; 0 of decoder, project, encoder and b_dec: as the recipe has it. */
enum { SL_SAE_LINEAR, SL_SAE_COSINE, SL_SAE_CONSTANT };
enum { SL_SAE_TIED = 1, SL_SAE_RANDOM };
enum { SL_SAE_NO_CONTROL, SL_SAE_FROZEN_DECODER, SL_SAE_SOFT_FROZEN_DECODER, SL_SAE_RANDOM_ENCODER };

typedef struct sl_sae_train_config { /* option table sl_sae_train_opts */
    const char *variant;        /* for whoever calls sl_sae_new, as are d_sae, expansion and seed */
    int recipe;                 /* saelab|saelens|dictionary_learning|sparsify: units of the loss, first weights, constraints (src/sae/recipe.c) */
    int64_t d_sae;              /* 0: expansion * d_in */
    int64_t expansion;
    int64_t steps, batch, seed, warmup;
    double lr;
    int schedule;               /* linear|cosine|constant, after the warm-up */
    double decay_fraction;      /* linear: falls over the last fraction of the steps */
    double lr_end;              /* linear, cosine: to this share of lr */
    double beta1, beta2, clip;
    double weight_decay;        /* decoupled, of W_enc and W_dec (arXiv 2603.04198); rows kept at norm 1 do not feel it */
    int64_t k_start;            /* first k of variants that have one; 0: k from the start */
    double k_anneal;            /* share of the steps over which k moves from k_start */
    int decoder;                /* recipe|unit|free rows of W_dec */
    int project;                /* recipe|on|off: gradients of unit rows lose their part along the row */
    int encoder;                /* recipe|tied|random first W_enc */
    int b_dec;                  /* recipe|zero|mean|median: first b_dec, of the first 8192 rows; median: the geometric one */
    /* Controls that a claim about features has to beat (science.md H; arXiv 2602.14111), of any variant: W_dec fixed at its random start;
     * W_dec kept within cos >= .8 of it, row by row; W_enc and b_enc fixed at theirs. none|frozen_decoder|soft_frozen_decoder|random_encoder */
    int control;
    int64_t dead_window;        /* rows without firing after which a latent counts as dead; 0: min(1e7, a tenth of the run) */
    int64_t resample_every;     /* steps; 0: never. Bricken et al. 2023, "Neuron resampling", from the step's own rows */
    double ema;                 /* decay of the running mean of the weights that the SAE ends with; 0: off */
    bool normalize;             /* (x - mean) * scale */
    int64_t checkpoint_seconds; /* 0: only when stopped */
} sl_sae_train_config;
extern const sl_opt sl_sae_train_opts[];

enum { SL_SAE_OWN = 3 };
typedef struct sl_sae_step {
    int64_t step, samples;      /* steps done, rows seen */
    double loss, fvu, l0;       /* of that step's batch, in the normalised space */
    double recon, penalty;      /* parts of the loss: the reconstruction, and what else the variant adds to it (L1 penalty, AuxK ...) */
    double dead;                /* share of latents that did not fire within the window */
    double lr;
    double own[SL_SAE_OWN];     /* the variant's own figures (sl_variant_watched) of that batch; NaN: none yet, or no such figure */
    double seconds;             /* of training so far, over all resumes */
} sl_sae_step;
typedef struct sl_sae_result {
    sl_sae_step last;
    double seconds, wait_share; /* wait_share: of the time, spent waiting for activations */
    sl_sae_step *curve;         /* [n_curve], at most about 200 points; sl_free */
    int64_t n_curve;
} sl_sae_result;
/* Trains a new SAE (SL_ARG when it was trained or loaded, or an option does not fit the variant). dir (NULL: nothing is written): dir/metrics.csv, appended while it trains, and
 * dir/checkpoints, from which an unfinished run of the same configuration goes on bit for bit, and a finished one returns at once
 * (SL_EXISTS: they are another configuration's); the caller removes them once the SAE is saved. The same bits for any number of threads.
 * SL_SHAPE: d_in (d_out of a transcoder) differs from the source's; SL_DATA: fewer than two rows, or rows without variance; SL_NUMERIC: the first non-finite
 * activation, loss or gradient, named with its step (from 0); the batch is saved as dir/nonfinite-step-N.npy, the checkpoints stay as they were;
 * SL_CANCELLED: after a checkpoint. After a failure s can only be freed or trained again. */
sl_status sl_sae_train(sl_sae *s, sl_act_source *acts, const sl_sae_train_config *t, const char *dir, sl_sae_result *out, sl_err *err) SL_USE_RESULT;

/* ---- use ---- */

/* Codes and reconstructions of raw rows x [n, d_in]. z: at least n rows (row_ptr[0..n] is written); xhat [n, d_out] or NULL, in the space of
 * x (of the target). SL_SHAPE: z is too small; SL_NUMERIC: names the first non-finite row and column; SL_ARG: the training of s has not finished.
 * Not for two threads at once on one SAE. */
sl_status sl_sae_encode(sl_sae *s, const float *x, int64_t n, sl_codes *z, float *xhat, sl_err *err) SL_USE_RESULT;
/* x^ [n, d_out] of n rows of codes: W_dec^T z + b_dec, or the variant's own decoder; what a skip connection adds to it from x is not in it.
 * SL_UNAVAILABLE: rows are normalised one by one (row_norm), so that codes alone do not say x^. */
sl_status sl_sae_decode(sl_sae *s, const sl_codes *z, int64_t n, float *xhat, sl_err *err) SL_USE_RESULT;

#endif
