/* A feature index in the files of others: Neuronpedia's JSON, one page of HTML, a table. */
#ifndef SAELAB_FEATURE_EXPORT_H
#define SAELAB_FEATURE_EXPORT_H

#include <saelab/features.h>

typedef struct sl_feature_list { /* borrowed */
    const int64_t *id;      /* [n], or NULL: all features */
    int64_t n;
    const char *(*label)(void *user, int64_t id); /* what a feature is called, or NULL; the function may be NULL too */
    void *user;
} sl_feature_list;
/* All of these: SL_ARG names an id that is not there; SL_IO; SL_MEM; SL_CANCELLED. Each file is whole or not there. */

/* path: one row a feature, the columns of the index (strings as text) after id and label. RFC 4180, UTF-8, empty where there is no value. */
sl_status sl_features_csv(sl_ctx *ctx, const sl_features *f, const sl_feature_list *which, const char *path, sl_err *err) SL_USE_RESULT;

/* dir/batch-0.json, batch-1.json ... as SAEDashboard writes them for Neuronpedia, `per_file` features each (0: 128).
 *   frac_nonzero, freq_hist, logits_hist, pos_str, neg_str, activations   from the index; its contexts TOP (bin_min -1) and QUANTILE, these by fifths of the range
 *                                                                          of values, bin_contains: the share of active rows in that fifth
 *   neuron_alignment       the three largest |w| of the decoder row, l1: share of its sum of |w|: needs sae
 *   correlated_features    by correlation of firing, l1: cosine of the decoder rows, 0 where it is not among the nearest
 *   correlated_neurons, decoder_weights_dist, dfa_values   empty: not measured
 * Strings that are no UTF-8 have U+FFFD in place of their bytes. sae NULL: without neuron_alignment; SL_SHAPE: it has other features. n_files may be NULL. */
typedef struct sl_neuronpedia_opts { const char *model_id, *sae_set; int64_t layer /* -1: that of the hook */, per_file; } sl_neuronpedia_opts;
sl_status sl_features_neuronpedia(sl_ctx *ctx, const sl_features *f, const sl_sae *sae, const sl_feature_list *which, const sl_neuronpedia_opts *o, const char *dir,
                                  int64_t *n_files, sl_err *err) SL_USE_RESULT;

/* path: one page that needs nothing else, readable without JavaScript, in light and dark; about 60 KB a feature. */
sl_status sl_features_html(sl_ctx *ctx, const sl_features *f, const sl_feature_list *which, const char *path, sl_err *err) SL_USE_RESULT;

#endif
