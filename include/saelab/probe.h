/* Probes: is a property of the text, or a true feature, to be read off codes? Logistic regression, labels of text, explanations. */
#ifndef SAELAB_PROBE_H
#define SAELAB_PROBE_H

#include <saelab/measure.h>

/* ---- logistic regression ---- */

/* Columns of a design: dense x [n_rows, n_cols], or sparse z. Rows are picked by number. */
typedef struct sl_design { int64_t n_cols; const float *x; const sl_sparse *z; } sl_design;

typedef struct sl_logistic_opts {
    double C;               /* minimises |w|^2 / 2 + C sum_i s_i log(1 + exp(-y_i f_i)) over standardised columns; the bias is free. 1 */
    bool balanced;          /* s_i = n / (2 n of the class of i), else 1 */
    int max_iterations;     /* of L-BFGS (liblbfgs); 100 */
} sl_logistic_opts;
/* w [n_cols + 1], the bias last, for the columns as they are: f = w . x + bias. rows [n] of the design, y [n] 0 or 1. Dense columns are centred and
 * divided by their standard deviation while fitting, sparse ones divided by their root mean square; columns that do not vary get weight 0.
 * SL_DATA: a class is missing; SL_NUMERIC: a value is not finite; SL_MEM. */
sl_status sl_logistic(sl_ctx *ctx, const sl_design *X, const int32_t *rows, const uint8_t *y, int64_t n, const sl_logistic_opts *o, double *w, sl_err *err) SL_USE_RESULT;
double sl_logistic_score(const sl_design *X, int64_t row, const double *w); /* f of one row */

typedef struct sl_probe_score { double accuracy /* balanced */, f1, auc; int64_t n_pos, n_neg; } sl_probe_score;
/* Of scores f [n] against y: predicted where f > 0; auc by ranks, ties half. SL_DATA: a class is missing; SL_NUMERIC; SL_MEM. */
sl_status sl_probe_score_of(sl_ctx *ctx, const double *f, const uint8_t *y, int64_t n, sl_probe_score *out, sl_err *err) SL_USE_RESULT;

/* ---- properties read off the text ---- */

/* Label sets of the tokens corpus.doc[doc] + pos: first_letter (26; of the ASCII word that the token's first letter is in), capital, digit, quoted
 * (inside "..." or curly quotes of the same paragraph), language (of the document, by its function words: sl_languages). A token of white space
 * alone has no label. Free with sl_labels_free. */
sl_status sl_labels_of_text(sl_ctx *ctx, const sl_corpus *c, const int32_t *doc, const int32_t *pos, int64_t n_rows, sl_label_set **out, int *n_sets, sl_err *err) SL_USE_RESULT;
void sl_labels_free(sl_ctx *ctx, sl_label_set *sets, int n_sets); /* NULL is legal */
extern const char *const sl_languages[]; /* "en", ...; NULL ends it */
/* "source": one class a distinct text of info->labels (in the order of row ids) for rows [n]; *out is one set. SL_DATA: no labels. */
sl_status sl_labels_of_source(sl_ctx *ctx, const sl_act_info *info, const int64_t *rows, int64_t n_rows, sl_label_set **out, sl_err *err) SL_USE_RESULT;

#endif
