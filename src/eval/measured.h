/* What the metric families share: columns of sparse codes, which pairs fire together, splits by document. */
#ifndef SL_EVAL_MEASURED_H
#define SL_EVAL_MEASURED_H

#include <saelab/match.h>
#include <saelab/measure.h>

/* Streams of SL_RNG_EVAL in use, so that no two metrics share one. */
enum { SL_DRAW_SHUFFLE = 1 << 20, SL_DRAW_SPLIT, SL_DRAW_PICK, SL_DRAW_INTRUDER };

/* A sparse matrix by columns: column j owns entries ptr[j] .. ptr[j+1]-1, rows ascend. */
typedef struct sl_columns {
    int64_t n_rows, n_cols, *ptr; /* [n_cols + 1] */
    int32_t *row;
    float *val;
} sl_columns;
sl_status sl_columns_new(sl_ctx *ctx, const sl_sparse *s, sl_columns *out, sl_err *err) SL_USE_RESULT;
void sl_columns_release(sl_ctx *ctx, sl_columns *c);
static inline int64_t sl_fired(const sl_columns *c, int64_t j) { return c->ptr[j + 1] - c->ptr[j]; }
double sl_column_sum(const sl_columns *c, int64_t j, double *sum_sq);
int64_t sl_alive(const sl_columns *c); /* columns that fire at all */

/* For each latent j in order: what happens in the rows in which it fires. Only features with co > 0 are in `feature`. */
typedef struct sl_cross_row {
    int64_t latent, n;
    const int32_t *feature;  /* [n] not sorted */
    const int64_t *co;       /* [n_truth] rows in which both fire */
    const double *prod;      /* [n_truth] sum of z_j g */
} sl_cross_row;
/* perm [n_rows] or NULL: row r of z goes with row perm[r] of g. */
sl_status sl_cross(sl_ctx *ctx, const sl_columns *z, const sl_sparse *g, const int32_t *perm, void (*see)(void *, const sl_cross_row *), void *user, sl_err *err) SL_USE_RESULT;

/* Latents against true features by the cosine of their directions. */
typedef struct sl_matching {
    float *cos;             /* [d_sae, n_truth] signed */
    int32_t *match;         /* [d_sae] one-to-one by |cos|, -1: none */
    int32_t *best;          /* [d_sae] argmax |cos| */
    int32_t *of_truth;      /* [n_truth] the latent matched to a feature, -1: none */
    double total;           /* sum of |cos| over the matched pairs */
} sl_matching;
#define SL_MATCHED_COS .5   /* a feature counts as found where |cos| is at least this (science.md D2, K7) */
sl_status sl_matching_new(sl_ctx *ctx, const sl_eval_data *d, sl_matching *out, sl_err *err) SL_USE_RESULT;
void sl_matching_release(sl_ctx *ctx, sl_matching *m);

/* A random order of the rows: the shuffled control. sl_free. */
sl_status sl_shuffled_rows(sl_ctx *ctx, uint64_t seed, int64_t n, int32_t **perm, sl_err *err) SL_USE_RESULT;

/* part [n_rows], sl_free: a number below n_parts for every row, the same for all rows of a document; parts are of about equal many documents.
 * Fewer than SL_EVAL_BLOCKS documents are cut into about so many blocks of neighbouring positions. */
sl_status sl_split_rows(sl_ctx *ctx, const sl_eval_data *d, int n_parts, uint8_t **part, sl_err *err) SL_USE_RESULT;

/* Puts the same reason under each name (NULL-terminated). */
sl_status sl_put_nulls(sl_ctx *ctx, sl_metrics *out, const char *const *names, const char *reason, sl_err *err) SL_USE_RESULT;
/* Puts a value with its floor. */
sl_status sl_put_floored(sl_ctx *ctx, sl_metrics *out, const char *name, double value, int64_t n, double floor, sl_err *err) SL_USE_RESULT;
/* SL_MEM unless all n pointers are there. */
sl_status sl_have(const char *what, int n, const void *const *p, sl_err *err) SL_USE_RESULT;

/* Two binary variables over n rows: fired in a, in b, in both. 0 where a denominator is 0. */
typedef struct sl_overlap { int64_t n, a, b, both; } sl_overlap;
double sl_f1(sl_overlap o);         /* 2 both / (a + b) */
double sl_precision(sl_overlap o);  /* both / a */
double sl_recall(sl_overlap o);     /* both / b */
double sl_phi(sl_overlap o);        /* Matthews' correlation */

#endif
