/* Does a code survive perturbation of its input? (science.md B3, B7, B8; names, formulas and edge cases: docs/METRICS.md "Stability".)
 * How a study calls it, for a finished SAE and held-out rows:
 *
 *   sl_stability_options o;  sl_opts_default(sl_stability_opts, &o);      // then o.noise = "gauss,inject", or "all", ...
 *   sl_stability_report r;   sl_metrics m = { 0 };
 *   sl_eval_stability(ctx, sae, rows, &o, truth_or_NULL, &m, &r, &err);   // m: the numbers of final_info.json and results.jsonl
 *   for each r.curve[i] (one kind of noise), each point p of it:          // y of a plot: sl_metrics_get(&p->m, "fss") with its interval,
 *       x of the plot is p->achieved, p->strength labels it               //   null with a reason where there is none
 *   sl_stability_report_release(ctx, &r);
 *
 * z clean code, z' of the perturbed row, z* the code that z' should be (z for noise; see saelab/perturb.h), S and S' the supports of z and z'. */
#ifndef SAELAB_STABILITY_H
#define SAELAB_STABILITY_H

#include <saelab/measure.h>
#include <saelab/perturb.h>
#include <saelab/world.h>

/* ---- the whole, for an SAE ---- */

typedef struct sl_stability_options { /* option table sl_stability_opts */
    int64_t rows;           /* held-out rows, at most */
    double eps;             /* magnitude of the gauss noise behind the plain metrics fss, sci ...; science.md B7 has .2 */
    const char *noise;      /* curves to draw: names of perturbation types, commas between them; "all"; "": none */
    int64_t draws;          /* bootstrap resamples; 0: no intervals */
    int64_t seed;           /* of noise, pairings and resamples */
} sl_stability_options;
extern const sl_opt sl_stability_opts[];

typedef struct sl_stability_point {
    double strength;        /* on the curve's axis */
    double achieved;        /* mean |delta| / |x - mean| over valid rows: what curves are drawn against */
    int64_t valid, skipped; /* rows */
    sl_metrics m;           /* fss, fss_macro, fss_adj, pct_change, sci, sci_sem, sci_rsa, jaccard, overlap, fvu, ks_magnitude, ks_rate; f1 and f1_h with a truth */
} sl_stability_point;
typedef struct sl_stability_curve {
    char noise[16], axis[8]; /* "gauss", "eps"; "inject", "alpha"; "featdrop", "q"; "quant", "bits" */
    sl_stability_point *point; /* [n], weakest first; the first one is no noise at all, with every score exactly 1 */
    int n;
    sl_metrics m;           /* auc and eps_50 of FSS over achieved; auc_sci, auc_overlap */
} sl_stability_curve;
typedef struct sl_stability_report {
    sl_stability_curve *curve; /* [n_curves] in the order of options.noise */
    int n_curves;
    /* At gauss noise of magnitude options.eps: */
    int64_t d_sae;
    double *fss_j, *sci_j;  /* [d_sae] NaN for latents that fire in fewer than SL_STABILITY_ALIVE rows */
    double *rate, *rate_perturbed; /* [d_sae] share of rows in which a latent fires */
    int64_t magnitude[SL_RATE_BINS], magnitude_perturbed[SL_RATE_BINS]; /* active values, bins as sl_rate_histograms */
} sl_stability_report;
enum { SL_STABILITY_ALIVE = 20 };

/* Puts, at gauss noise of magnitude o->eps: fss (floor: fss_perm), fss_macro, fss_adj, pct_change, sci, sci_sem, sci_rsa, jaccard, overlap,
 * ks_magnitude, ks_rate, noisy_f1 and noisy_f1_h; without noise: csr_q05, _q25, _q50, _q75, _q95 (csr_q = the median), cos_ed, noise_gain, leak_rms,
 * sel (and sel_eps), inj_resp; and auc_NOISE, eps_50_NOISE for each curve (auc: that of gauss). report may be NULL, then no curve is kept.
 * truth NULL: none; else of the world that the rows come from. Rows are read from the source's first one.
 * SL_UNAVAILABLE: s predicts a target; SL_ARG: no such noise (site token is none); SL_SHAPE, SL_DATA, SL_NUMERIC: as sl_gather;
 * SL_CANCELLED; SL_MEM. On failure *report is empty. Progress: task "stability". */
sl_status sl_eval_stability(sl_ctx *ctx, sl_sae *s, sl_act_source *rows, const sl_stability_options *o, const sl_world_truth *truth, sl_metrics *out,
                            sl_stability_report *report, sl_err *err) SL_USE_RESULT;
void sl_stability_report_release(sl_ctx *ctx, sl_stability_report *r);

/* ---- scores of codes, on plain arrays ---- */

typedef struct sl_stability_codes { /* borrowed; all of n_rows x n_cols, values > 0 */
    sl_sparse clean, target, perturbed; /* z, z*, z' */
    const uint8_t *valid;   /* [n_rows] 1: the row counts; NULL: all do */
    const int32_t *doc, *pos; /* [n_rows] clusters of the intervals, as in sl_eval_data; NULL: SL_EVAL_BLOCKS blocks of rows */
    sl_sparse classes;      /* [n_rows, n] or row_ptr NULL: what a row is of, for sci_sem: its token, or the true features that are on */
    int64_t draws;
    uint64_t seed;
} sl_stability_codes;
/* Puts the metrics of sl_stability_point but fvu, f1 and f1_h. fss_j, sci_j: [n_cols] or NULL. SL_SHAPE: the three differ in shape;
 * SL_DATA: no rows; SL_NUMERIC: names the row of a value that is not finite or below 0; SL_MEM. */
sl_status sl_stability_scores(sl_ctx *ctx, const sl_stability_codes *c, sl_metrics *out, double *fss_j, double *sci_j, sl_err *err) SL_USE_RESULT;

/* ---- certified support radius (science.md B3) ---- */

/* An encoder whose support is decided by pre-activations that are linear in the row: a = W x + b. Active are the `k` largest positive ones, or
 * (k 0) those with a_j > theta_j. In double, so that radii are exact to 1e-12 or so of |W||x|. */
typedef struct sl_linear_encoder {
    int64_t d_in, d_sae, k;
    double *W, *b, *theta;  /* [d_sae, d_in], [d_sae], [d_sae] (0 where k > 0) */
    double *norm;           /* [d_sae] |w_j| */
} sl_linear_encoder;
/* SL_UNAVAILABLE: the encoder is not linear (matching_pursuit, rows normalised one by one), or not one of those known here. Release it also
 * after a failure. */
sl_status sl_linear_encoder_of(const sl_sae *s, sl_linear_encoder *out, sl_err *err) SL_USE_RESULT;
void sl_linear_encoder_release(sl_ctx *ctx, sl_linear_encoder *e);
/* a [d_sae] of x [d_in]; support [d_sae] gets 1 where active (NULL: not wanted; ties: the lower index), returns how many are. */
int64_t sl_linear_support(const sl_linear_encoder *e, const double *x, double *a, uint8_t *support);
/* The radius r(x): no delta with |delta| < r changes the support, and normal [d_in] (NULL: not wanted) is the unit vector along which the
 * support changes just beyond r. a, support: as sl_linear_support left them. INFINITY where nothing can change it. */
double sl_support_radius(const sl_linear_encoder *e, const double *a, const uint8_t *support, double *normal);
/* csr [n] = r(x) / |x - mean| of raw rows x [n, d_in]; mean NULL: 0. NaN for a row with |x - mean| < 1e-6. SL_UNAVAILABLE as above. */
sl_status sl_certified_radii(sl_ctx *ctx, const sl_sae *s, const float *x, int64_t n, const float *mean, double *csr, sl_err *err) SL_USE_RESULT;

/* P(latent j of a threshold encoder is off at x + sigma g), g ~ N(0, I): Phi((theta_j - a_j) / (sigma |w_j|)). k must be 0. */
double sl_off_probability(const sl_linear_encoder *e, const double *a, int64_t j, double sigma);

/* ---- are robust latents the reproducible ones? (science.md B8) ---- */

typedef struct sl_partial { double rho, plain, p; int64_t n; } sl_partial; /* plain: Spearman without the control; p: two-sided, of t with n - 3 df */
/* Spearman of a and b with log10 rate held constant; entries with a NaN in a or b, or rate 0, are left out. [n] each: fss_j of the report, pi_j of
 * sl_pwmcc_of, rate. SL_DATA: fewer than 4 entries, or one of the three does not vary. */
sl_status sl_partial_spearman(sl_ctx *ctx, const double *a, const double *b, const double *rate, int64_t n, sl_partial *out, sl_err *err) SL_USE_RESULT;

#endif
