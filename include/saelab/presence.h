/* The presence filter: which true features of a task are in a model's activations at all. Only those can be asked of an SAE. */
#ifndef SAELAB_PRESENCE_H
#define SAELAB_PRESENCE_H

#include <saelab/data.h>

#define SL_PRESENT_AUC .9

typedef struct sl_presence {
    double auc;             /* of a logistic probe on x, on held-out documents; NaN where there is none */
    bool present;           /* auc >= SL_PRESENT_AUC */
    int64_t n, n_on;        /* held-out rows where the feature is determined, and of those the ones where it is on */
    const char *reason;     /* why auc is NaN, else NULL */
} sl_presence;

/* Reads n_rows from a source whose batches carry truth (and unknown, or NULL), fits a probe a feature on the rows of even documents and scores it
 * on those of odd ones (without documents: rows). out [n_features]. SL_DATA: the source knows no truth, or a feature beyond n_features;
 * SL_ARG: no rows; SL_CANCELLED; SL_MEM; what the source says. Definition: science.md D3. */
sl_status sl_presence_filter(sl_ctx *ctx, sl_act_source *rows, int64_t n_rows, int64_t n_features, sl_presence *out, sl_err *err) SL_USE_RESULT;

#endif
