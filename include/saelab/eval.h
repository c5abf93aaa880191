/* Evaluation over held-out rows and text. Names, formulas, units and edge cases: docs/METRICS.md. Every value is finite, or null with a
 * reason; never a 0 that stands for "unknown". */
#ifndef SAELAB_EVAL_H
#define SAELAB_EVAL_H

#include <saelab/lm.h>
#include <saelab/sae.h>
#include <saelab/stats.h>

/* ---- lists of metrics ---- */

typedef struct sl_metric {
    char name[64];
    double value;           /* 0 when is_null */
    bool is_null;
    char reason[160];       /* why, when is_null */
    double floor;           /* what chance gives, where has_floor */
    bool has_floor;
    double lo, hi;          /* 95% interval, where has_interval */
    bool has_interval;
    double control;         /* the same metric of the control (a random decoder), where has_control */
    bool has_control;
    int64_t n;              /* rows, tokens or latents behind the value; 0 when is_null */
} sl_metric;
typedef struct sl_metrics { sl_metric *v; int n, cap; } sl_metrics; /* start from { 0 }; in the order of the first put */
void sl_metrics_release(sl_ctx *ctx, sl_metrics *m);
/* Adds, or replaces the metric of that name. A non-finite value becomes null "not finite". SL_MEM. */
sl_status sl_metrics_put(sl_ctx *ctx, sl_metrics *m, const char *name, double value, int64_t n, sl_err *err) SL_USE_RESULT;
sl_status sl_metrics_null(sl_ctx *ctx, sl_metrics *m, const char *name, const char *reason, sl_err *err) SL_USE_RESULT;
const sl_metric *sl_metrics_get(const sl_metrics *m, const char *name); /* NULL when there is none */
/* What stands beside a value that was put. Nothing happens when there is no such metric, it is null, or a number is not finite. */
void sl_metrics_floor(sl_metrics *m, const char *name, double floor);
void sl_metrics_interval(sl_metrics *m, const char *name, double lo, double hi);
void sl_metrics_control(sl_metrics *m, const char *name, double control);

/* ---- what is evaluated: an SAE, or a baseline (sl_baseline_coder) ---- */

typedef struct sl_coder {
    int64_t d_in, d_sae, max_active; /* max_active: most latents of one row */
    double l1;              /* weight of the L1 penalty in its loss; 0 where there is none */
    const float *W_dec;     /* [d_sae, d_in], borrowed */
    void *self;
    sl_status (*encode)(void *self, const float *x, int64_t n, sl_codes *z, float *xhat, sl_err *err); /* as sl_sae_encode */
    int64_t d_out;          /* width of x^ where it is that of a target y (transcoders), and of W_dec; 0: x^ is of x */
} sl_coder;
sl_coder sl_coder_of(sl_sae *s); /* borrows s */

/* ---- on held-out rows ---- */

/* One pass over rows 0 .. of the source (at most max_rows where that is > 0): l0, density, fvu, ev, dead, dense_gt10pct,
 * reconstruction_error, autoencoder_loss, neuron_sparsity, latent_sparsity, activation_entropy, latent_entropy, cosine, l2_ratio, recon_bias; with
 * bootstrap intervals over documents (without them over blocks of rows) where a value is a mean over rows. rates [d_sae]: firing rates,
 * or NULL. SL_SHAPE: another d_in; SL_DATA: no rows; SL_ARG: an endless source without max_rows; SL_NUMERIC: a row that is not finite.
 * A transcoder is measured against the rows' targets, of which then every one of these is a metric; SL_SHAPE: the rows have none, or of another width. */
sl_status sl_eval_rows(sl_ctx *ctx, sl_sae *s, sl_act_source *rows, int64_t max_rows, sl_metrics *out, float *rates, sl_err *err) SL_USE_RESULT;
sl_status sl_eval_coder_rows(sl_ctx *ctx, const sl_coder *c, sl_act_source *rows, int64_t max_rows, sl_metrics *out, float *rates, sl_err *err) SL_USE_RESULT;

/* Histograms for pictures, with fixed bins whose ends take what lies beyond. latent: active latents z in half octaves, bin b holds
 * 2^(MIN + b/2) <= z < 2^(MIN + (b+1)/2). input: elements of the rows, normalised by the source's mean and scale, bin b starts at
 * MIN + b STEP. Errors as sl_eval_rows. */
enum { SL_DIST_LATENT = 40, SL_DIST_LATENT_MIN = -12, SL_DIST_INPUT = 80, SL_DIST_INPUT_MIN = -10 };
#define SL_DIST_INPUT_STEP .25
typedef struct sl_eval_dist {
    int64_t latent[SL_DIST_LATENT], input[SL_DIST_INPUT];
    int64_t n_latents, n_inputs;
} sl_eval_dist;
sl_status sl_eval_distributions(sl_ctx *ctx, sl_sae *s, sl_act_source *rows, int64_t max_rows, sl_eval_dist *out, sl_err *err) SL_USE_RESULT;

/* ---- inside the language model ---- */

/* Loss of the model over documents [first_doc, end_doc) with the stream at `hook` left alone, replaced by the SAE's reconstruction, and
 * replaced by zeros, at every position: ce_orig, ce_sae, ce_zero, ce_delta, ce_loss_score, kl_sae, kl_zero, kl_score, transformer_loss, transformer_perplexity,
 * downstream_loss_original, _reconstructed, _delta_absolute, _delta_percent. s NULL: the stream is replaced by itself, so that ce_delta is 0.
 * max_tokens > 0: stop after the batch that reaches it. SL_SHAPE: the SAE does not fit the hook; SL_DATA: nothing to score. */
sl_status sl_eval_splice(sl_ctx *ctx, sl_lm *lm, sl_sae *s, const char *hook, const sl_corpus *c, int64_t first_doc, int64_t end_doc, int64_t max_tokens, sl_metrics *out, sl_err *err) SL_USE_RESULT;
/* c NULL: the stream is replaced by itself. */
sl_status sl_eval_coder_splice(sl_ctx *ctx, sl_lm *lm, const sl_coder *c, const char *hook, const sl_corpus *text, int64_t first_doc, int64_t end_doc, int64_t max_tokens, sl_metrics *out, sl_err *err) SL_USE_RESULT;

#endif
