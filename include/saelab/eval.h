/* Evaluation over held-out rows and text. Names and formulas: docs/METRICS.md. Every value is finite or null with a reason. */
#ifndef SAELAB_EVAL_H
#define SAELAB_EVAL_H

#include <saelab/lm.h>
#include <saelab/sae.h>

typedef struct sl_metric { char name[64]; double value; bool is_null; char reason[160]; double floor; bool has_floor; int64_t n; } sl_metric;
typedef struct sl_metrics { sl_metric *v; int n, cap; } sl_metrics; /* release with sl_metrics_release */
void sl_metrics_release(sl_ctx *ctx, sl_metrics *m);
sl_status sl_metrics_put(sl_ctx *ctx, sl_metrics *m, const char *name, double value, int64_t n, sl_err *err) SL_USE_RESULT; /* non-finite becomes null "not finite" */
sl_status sl_metrics_null(sl_ctx *ctx, sl_metrics *m, const char *name, const char *reason, sl_err *err) SL_USE_RESULT;
const sl_metric *sl_metrics_get(const sl_metrics *m, const char *name);

/* One pass over held-out rows: l0, density, fvu, ev, dead, dense_gt10pct, reconstruction_error, autoencoder_loss, neuron_sparsity, latent_sparsity,
 * activation_entropy, latent_entropy; firing rates [d_sae] into `rates` when not NULL. */
sl_status sl_eval_rows(sl_ctx *ctx, sl_sae *s, sl_act_source *rows, int64_t max_rows, sl_metrics *out, float *rates, sl_err *err) SL_USE_RESULT;
/* Splicing: original, spliced and zero-ablated loss over documents, ce_loss_score, downstream_loss_*; identity: sae NULL. */
sl_status sl_eval_splice(sl_ctx *ctx, sl_lm *lm, sl_sae *s, const char *hook, const sl_corpus *c, int64_t first_doc, int64_t end_doc, int64_t max_tokens, sl_metrics *out, sl_err *err) SL_USE_RESULT;

#endif
