/* Reconstruction row by row, and what intervals over documents are made of. */
#ifndef SL_EVAL_RECON_H
#define SL_EVAL_RECON_H

#include "eval/pass.h"

/* Sums of a cluster of rows: documents, CLUSTERS at most (document mod CLUSTERS); without documents, blocks of rows. */
enum { SL_CLUSTERS = 256, SL_BLOCKS = 50 };
typedef struct sl_cluster { double n, nnz, err, sq, cosine, ratio; int64_t with_cosine, with_ratio; } sl_cluster;

typedef struct sl_recon {
    sl_ctx *ctx;
    int64_t d_in, want;         /* want: rows that will come */
    const double *shift;        /* [d_in] near the mean */
    sl_cluster *c;              /* [SL_CLUSTERS] */
    double *offset;             /* [SL_CLUSTERS, d_in] sum of x - shift of each cluster */
    double out_sq, cross;       /* sum |x^|^2, sum x . x^ */
    int64_t n;
} sl_recon;
sl_status sl_recon_new(sl_ctx *ctx, int64_t d_in, const double *shift, sl_recon *out, sl_err *err) SL_USE_RESULT;
void sl_recon_release(sl_recon *r);
void sl_recon_see(sl_recon *r, const sl_pass_chunk *c);
/* Puts cosine, l2_ratio, recon_bias; and intervals beside l0, fvu, ev, reconstruction_error, cosine and l2_ratio (bootstrap over clusters, 1000 draws).
 * mean [d_in] of x - shift. */
sl_status sl_recon_put(sl_recon *r, const double *mean, sl_metrics *out, sl_err *err) SL_USE_RESULT;

#endif
