/* The stability of one SAE on one set of rows: what the parts of sl_eval_stability share. */
#ifndef SL_EVAL_ROBUST_H
#define SL_EVAL_ROBUST_H

#include "eval/stability.h"

typedef struct sl_subject {
    sl_ctx *ctx;
    sl_sae *s;
    const sl_stability_options *o;
    sl_gathered g;              /* rows, clean codes, documents, true codes */
    const float *mean;          /* [d_in] that |x - mean| refers to, or NULL */
    sl_sparse classes;          /* for sci_sem; row_ptr NULL: none */
    int64_t *class_ptr;         /* owned, where classes are tokens */
    float *class_one;
    double spread;              /* sum |x - mean of the rows|^2 / rows: the unit of fvu */
    bool has_truth;
    sl_matching match;          /* where has_truth */
} sl_subject;

/* One perturbation of all rows. */
typedef struct sl_noised {
    sl_codes target, perturbed; /* grown as rows come; perturbed.row_ptr NULL: no noise, z' = z* = z */
    uint8_t *valid;             /* [n_rows] */
    float *x;                   /* [n_rows, d_in] perturbed rows; NULL: not kept */
    double achieved, sq_err;    /* mean |delta| / |x - mean|, and sum |x - x^(x')|^2, over valid rows */
    int64_t n_valid;
} sl_noised;

/* Perturbs and encodes the first n rows. c NULL: no noise. keep_x: level.x too. Release it after a failure too. */
sl_status sl_noised_run(const sl_subject *u, const sl_perturb_config *c, int64_t n, bool keep_x, sl_noised *out, sl_err *err) SL_USE_RESULT;
void sl_noised_release(sl_ctx *ctx, sl_noised *l);
sl_perturb_config sl_noise_config(const sl_subject *u, int type, double eps);

/* A point of a curve: all scores of a level. part [SL_TALLY_CLUSTERS] or NULL gets the sums of the clusters; report or NULL the values by latent. */
sl_status sl_noised_score(const sl_subject *u, const sl_noised *l, sl_stability_point *p, sl_cluster_sums *part, sl_stability_report *report, sl_err *err) SL_USE_RESULT;
/* f1 and f1_h of the codes of a level (science.md: "noisy F1"). */
sl_status sl_put_noisy_f1(const sl_subject *u, const sl_sparse *perturbed, const uint8_t *valid, sl_metrics *out, sl_err *err) SL_USE_RESULT;

/* The curve of one kind of noise. */
sl_status sl_curve_run(const sl_subject *u, int type, sl_stability_curve *out, sl_err *err) SL_USE_RESULT;
void sl_curve_release(sl_ctx *ctx, sl_stability_curve *c);

/* Without noise: csr_q*, cos_ed, noise_gain, leak_rms; by noise of their own: sel, sel_eps, inj_resp. */
sl_status sl_put_weights(const sl_subject *u, sl_metrics *out, sl_err *err) SL_USE_RESULT;
sl_status sl_put_responses(const sl_subject *u, sl_metrics *out, sl_err *err) SL_USE_RESULT;
/* So many rows that n d_in d_sae double products stay within a few seconds; at least 256, at most all. */
int64_t sl_few_rows(const sl_subject *u);
double sl_subject_norm(const sl_subject *u, int64_t r); /* |x_r - mean| */

#endif
