/* What the stability metrics share: sums over pairs of codes, ranks, intervals. */
#ifndef SL_EVAL_STABILITY_H
#define SL_EVAL_STABILITY_H

#include "eval/measured.h"

#include <saelab/stability.h>

enum { SL_TALLY_CLUSTERS = 200, SL_TALLY_GROUPS = 20 }; /* of rows: documents are dealt to clusters, cluster mod groups are the jackknife's */

/* Of one latent over the valid rows of one group: z clean, p perturbed. */
typedef struct sl_latent_sums { double diff, total, z, zz, p, pp, zp; } sl_latent_sums;
/* Of one cluster: sum |z' - z*|, sum z' + z*, sum z*; rows with S u S' and S not empty, and the sums of jaccard and overlap over them. */
typedef struct sl_cluster_sums { double diff, total, target, jaccard, n_jaccard, overlap, n_overlap; } sl_cluster_sums;

typedef struct sl_tally {
    const sl_stability_codes *c;
    int64_t n_valid;
    uint8_t *cluster;           /* [n_rows] */
    double rows[SL_TALLY_GROUPS];
    sl_latent_sums *latent;     /* [SL_TALLY_GROUPS, n_cols] */
    sl_cluster_sums part[SL_TALLY_CLUSTERS];
    int64_t *fired, *fired_perturbed; /* [n_cols] valid rows */
    double *fss, *sci;          /* [n_cols] NaN: not alive, or no score */
} sl_tally;
sl_status sl_tally_new(sl_ctx *ctx, const sl_stability_codes *c, sl_tally *out, sl_err *err) SL_USE_RESULT; /* release after a failure too */
void sl_tally_release(sl_ctx *ctx, sl_tally *t);
sl_status sl_tally_put(sl_ctx *ctx, const sl_tally *t, sl_metrics *out, sl_err *err) SL_USE_RESULT; /* what sl_stability_scores puts */
static inline bool sl_row_counts(const sl_stability_codes *c, int64_t r) { return !c->valid || c->valid[r]; }
static inline bool sl_latent_alive(const sl_tally *t, int64_t j) { return t->fired[j] >= SL_STABILITY_ALIVE; }

/* Pearson from sums over n rows; NaN where z does not vary, 0 where only p does not. Exactly 1 for equal sums. */
double sl_latent_pearson(double n, const sl_latent_sums *s);

/* sci_sem and sci_rsa. */
sl_status sl_put_semantic(sl_ctx *ctx, const sl_tally *t, sl_metrics *out, sl_err *err) SL_USE_RESULT;
sl_status sl_put_rsa(sl_ctx *ctx, const sl_tally *t, sl_metrics *out, sl_err *err) SL_USE_RESULT;
/* ks_magnitude and ks_rate. */
sl_status sl_put_distances(sl_ctx *ctx, const sl_tally *t, sl_metrics *out, sl_err *err) SL_USE_RESULT;

/* Ranks from 1, equals share their mean. room [n]. */
typedef struct sl_ranked { double v; int64_t i; } sl_ranked;
void sl_ranks(const double *v, int64_t n, double *rank, sl_ranked *room);
/* Pearson of two vectors; NaN where a does not vary, 0 where only b does not. */
double sl_pearson_of(const double *a, const double *b, int64_t n);

#endif
