/* What an SAE (or a baseline) learned, measured on plain arrays. A caller fills sl_eval_data with what there is; every family of metrics
 * whose needs are met puts its values, each finite with the chance floor beside it, or null with a reason. Formulas: docs/METRICS.md.
 *
 *   sl_measure(ctx, &data, &control, names, &metrics, err)     control: the same rows through a random decoder (science.md, 2602.14111) */
#ifndef SAELAB_MEASURE_H
#define SAELAB_MEASURE_H

#include <saelab/eval.h>

/* Borrowed sparse rows: row r owns entries row_ptr[r] .. row_ptr[r+1]-1, columns ascend. An entry "fires" when it is > 0 (signed codes are
 * split into two non-negative halves first, science.md K3). row_ptr NULL: there are none. */
typedef struct sl_sparse {
    int64_t n_rows, n_cols;
    const int64_t *row_ptr; /* [n_rows + 1] */
    const int32_t *idx;
    const float *val;
} sl_sparse;
sl_sparse sl_sparse_of(const sl_codes *z, int64_t n_rows, int64_t n_cols);

/* One property of every row, for probes: y[r] is its class, -1 where the property does not apply. */
typedef struct sl_label_set {
    char name[32];          /* "first_letter" */
    int32_t n_classes;
    int32_t *y;             /* [n_rows] */
} sl_label_set;

typedef struct sl_eval_data { /* borrowed; 0 and NULL: not there */
    uint64_t seed;          /* of shuffles, splits and random dictionaries */
    int64_t d_in, d_sae, n_rows;
    const float *W_dec;     /* [d_sae, d_in] directions, of any norm */
    const float *x;         /* [n_rows, d_in] raw activations */
    sl_sparse z;            /* [n_rows, d_sae] codes */
    const int32_t *doc;     /* [n_rows] documents: train and test parts of splits share none. NULL: SL_EVAL_BLOCKS blocks of rows */
    int64_t n_truth;
    const float *truth;     /* [n_truth, d_in] true directions */
    sl_sparse g;            /* [n_rows, n_truth] true codes */
    sl_sparse unknown;      /* [n_rows, n_truth] entries where a row does not determine the feature: `selected` and probes leave them out */
    const int32_t *parent;  /* [n_truth] of the hierarchy, -1: a root */
    const sl_corpus *corpus; /* text behind the rows: token corpus->doc[doc] + pos */
    const int32_t *pos;     /* [n_rows] */
    const sl_label_set *labels; /* [n_labels] */
    int n_labels;
} sl_eval_data;
enum { SL_EVAL_BLOCKS = 50 };

typedef struct sl_family {
    const char *name, *what;
    unsigned needs;             /* SL_NEED_* */
    const char *const *metrics; /* the names that it puts, NULL-terminated; "*" at the end of one stands for label sets or numbers */
    sl_status (*run)(sl_ctx *ctx, const sl_eval_data *d, sl_metrics *out, sl_err *err);
} sl_family;
enum {
    SL_NEED_DIRECTIONS = 1, SL_NEED_X = 2, SL_NEED_CODES = 4, SL_NEED_TRUTH = 8 /* directions */, SL_NEED_TRUE_CODES = 16, SL_NEED_PARENTS = 32,
    SL_NEED_TEXT = 64, SL_NEED_LABELS = 128
};
extern const sl_family *const sl_families[]; /* NULL ends it */

/* Runs the families named (NULL-terminated; NULL: all), skipping those whose needs are not met. control NULL: none; else its values go
 * beside those of d. Metrics that are never computed (scr, tpp, ravel) are null, "NOT RUN: ...".
 * SL_ARG: no such family; SL_SHAPE: sizes that contradict; SL_DATA: no rows, columns out of range, NaN; SL_NUMERIC: names the array and the
 * place of the first value that is not finite; SL_CANCELLED. */
sl_status sl_measure(sl_ctx *ctx, const sl_eval_data *d, const sl_eval_data *control, const char *const *names, sl_metrics *out, sl_err *err) SL_USE_RESULT;
/* Absorption of children into each parent (science.md G3), for comparisons over the parents that are matched in every arm: score [n_truth],
 * NaN for features without children and for parents that cannot be scored; matched [n_truth] 1 for parents with a latent of |cos| >= .5.
 * Needs codes, directions, both truths and parents: SL_ARG without one of them. */
sl_status sl_absorption_by_parent(sl_ctx *ctx, const sl_eval_data *d, double *score, uint8_t *matched, sl_err *err) SL_USE_RESULT;
/* The check that sl_measure begins with. */
sl_status sl_eval_data_check(const sl_eval_data *d, sl_err *err) SL_USE_RESULT;

/* ---- from a coder and a source to the arrays ---- */

typedef struct sl_gathered { /* owns what `data` points to, but for W_dec */
    sl_eval_data data;
    int64_t *row;           /* [n_rows] row ids of the source */
    int32_t *token;         /* [n_rows], or NULL */
    bool shares;            /* all but the codes belong to another one */
} sl_gathered;
/* Rows 0 .. of the source (at most max_rows where that is > 0), with their codes, documents, positions and, where its batches carry them, true
 * codes over n_truth features. The caller adds directions of truth, parents, text and labels to out->data. Release it even after a failure.
 * SL_SHAPE: d_in differs; SL_ARG: an endless source without max_rows; SL_DATA: no rows; SL_MEM; what source and coder say. */
sl_status sl_gather(sl_ctx *ctx, const sl_coder *c, sl_act_source *rows, int64_t max_rows, int64_t n_truth, sl_gathered *out, sl_err *err) SL_USE_RESULT;
/* The same rows by another coder of the same d_in; `of` must outlive *out. */
sl_status sl_gather_again(sl_ctx *ctx, const sl_coder *c, const sl_gathered *of, sl_gathered *out, sl_err *err) SL_USE_RESULT;
void sl_gathered_release(sl_ctx *ctx, sl_gathered *g);

/* ---- distributions, for pictures and comparisons ---- */

/* fired [n_cols]: rows in which each latent fires. magnitude [n_cols, SL_RATE_BINS]: its active values, bin b holds 2^(MIN + b) <= z <
 * 2^(MIN + b + 1), the ends take what lies beyond. */
enum { SL_RATE_BINS = 20, SL_RATE_MAG_MIN = -12 };
void sl_rate_histograms(const sl_sparse *z, int64_t *fired, int64_t *magnitude);
/* Kolmogorov-Smirnov distance max |F_a - F_b| of two samples; no p value (samples are huge). SL_DATA: an empty one; SL_NUMERIC; SL_MEM. */
sl_status sl_ks(sl_ctx *ctx, const double *a, int64_t n_a, const double *b, int64_t n_b, double *distance, sl_err *err) SL_USE_RESULT;

#endif
