/* Sparse autoencoders: variants through one registry, the trainer, files. In memory W_enc and W_dec are feature-major [d_sae, d_in]. */
#ifndef SAELAB_SAE_H
#define SAELAB_SAE_H

#include <saelab/data.h>

typedef struct sl_sae sl_sae;

typedef struct sl_sae_train_config { /* option table sl_sae_train_opts */
    const char *variant;
    int64_t d_sae;              /* 0: expansion * d_in */
    int64_t expansion;
    int64_t steps, batch, seed, warmup;
    double lr, decay_fraction;  /* linear decay over the last fraction of the steps */
    double beta1, beta2, clip;
    int64_t dead_window;        /* rows without firing after which a latent counts as dead; 0: min(1e7, a tenth of the run) */
    bool normalize;             /* (x - mean) * scale */
    int64_t checkpoint_seconds;
} sl_sae_train_config;
extern const sl_opt sl_sae_train_opts[];

/* The registry, for help and listings. */
typedef struct sl_variant_info { const char *name, *what, *paper; const sl_opt *opts; } sl_variant_info;
int sl_variants(const sl_variant_info **out);

/* vopts: the variant's own option struct (sl_variant_info.opts), NULL for its defaults. */
sl_status sl_sae_new(sl_ctx *ctx, const char *variant, int64_t d_in, int64_t d_sae, const void *vopts, uint64_t seed, sl_sae **out, sl_err *err) SL_USE_RESULT;
void sl_sae_free(sl_sae *s);
/* SAELens folder: cfg.json + sae_weights.safetensors; mean and scale folded, and kept under metadata.saelab so that a reload gives the same variant and codes. */
sl_status sl_sae_save(sl_sae *s, const char *dir, sl_err *err) SL_USE_RESULT;
sl_status sl_sae_load(sl_ctx *ctx, const char *dir, sl_sae **out, sl_err *err) SL_USE_RESULT;

typedef struct sl_sae_info { char variant[48], hook[96], model[128], dataset[64]; int64_t d_in, d_sae; double scale; bool has_mean; int64_t max_active; } sl_sae_info;
sl_sae_info sl_sae_about(const sl_sae *s);

typedef struct sl_sae_step { int64_t step, samples; double loss, fvu, l0, dead, lr, seconds; } sl_sae_step;
typedef struct sl_sae_result { sl_sae_step last; double seconds, wait_share; sl_sae_step *curve; int64_t n_curve; /* sl_free */ } sl_sae_result;
/* dir: metrics.csv and checkpoints; resumes bit for bit. */
sl_status sl_sae_train(sl_sae *s, sl_act_source *acts, const sl_sae_train_config *t, const char *dir, sl_sae_result *out, sl_err *err) SL_USE_RESULT;

/* Codes and reconstructions of raw rows x [n, d_in]. z: CSR from sl_csr_new; xhat [n, d_in] or NULL (un-normalised: same space as x). */
typedef struct sl_codes { int64_t n_rows, capacity; int64_t *row_ptr; int32_t *idx; float *val; } sl_codes;
sl_status sl_codes_new(sl_ctx *ctx, int64_t n_rows, int64_t max_active, sl_codes *out, sl_err *err) SL_USE_RESULT;
void sl_codes_release(sl_ctx *ctx, sl_codes *z);
sl_status sl_sae_encode(sl_sae *s, const float *x, int64_t n, sl_codes *z, float *xhat, sl_err *err) SL_USE_RESULT;

#endif
