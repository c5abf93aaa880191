/* Statistics for honest comparisons (protocol and formulas: docs/STATISTICS.md). A replicate is a seed; arms are compared by paired differences
 * of the same seeds; documents are the clusters within a seed.
 * Errors of everything here: SL_NUMERIC, a value is not finite (its index is named); SL_DATA, too few values, or values that do not vary where
 * a spread is needed; SL_ARG, an argument out of range; SL_MEM. Nothing depends on the number of threads. */
#ifndef SAELAB_STATS_H
#define SAELAB_STATS_H

#include <saelab/ctx.h>

/* ---- Student's t ---- */

typedef struct sl_stat {
    int64_t n;
    double mean;
    bool has_se;            /* n >= 2 */
    double se;              /* sd / sqrt(n), sd with n - 1 */
    double lo, hi;          /* 95% t interval of the mean; where has_se */
} sl_stat;
/* v [n], n >= 1, finite. */
sl_stat sl_stat_of(const double *v, int64_t n);
double sl_t_quantile(double p, double df); /* of Student's t: t with P(T <= t) = p; 0 < p < 1, df > 0 */
double sl_t_tail(double t, double df);     /* P(T > t), any finite t */
double sl_z_quantile(double p);            /* of the standard normal; 0 < p < 1 */
double sl_z_cdf(double z);                 /* P(Z <= z) */

/* ---- paired designs by seed ---- */

/* Sign-flip (Fisher's randomisation) test of mean difference 0, two-sided: the share of the 2^n sign patterns whose |sum| is at least the
 * one observed. All patterns up to n = 20 (the smallest p is then 2 / 2^n); beyond, p = (1 + hits) / (1 + draws) over random patterns
 * (Phipson and Smyth 2010, eq. 2). All differences 0: p = 1. */
typedef struct sl_flip { double p; bool exact; int64_t patterns; } sl_flip;
enum { SL_FLIP_EXACT_MAX = 20 };
/* d [n], n >= 1; draws >= 1 is read when n > 20. */
sl_status sl_sign_flip(const double *d, int64_t n, int64_t draws, uint64_t seed, sl_flip *out, sl_err *err) SL_USE_RESULT;

/* Treatment minus control, seed by seed: effect and its t interval decide, p values are reported (science.md F2). */
typedef struct sl_paired {
    int64_t n;
    double effect, se, lo, hi; /* mean difference, its standard error, and the interval at `level` */
    double p_t;             /* two-sided, of the paired t test; 0 or 1 when the differences are all the same */
    sl_flip flip;
} sl_paired;
/* treatment, control [n], value i of both from the same seed; n >= 2; 0 < level < 1 (.95). */
sl_status sl_paired_test(sl_ctx *ctx, const double *treatment, const double *control, int64_t n, double level, uint64_t seed, sl_paired *out, sl_err *err) SL_USE_RESULT;

/* Equivalence by two one-sided t tests (Schuirmann 1987): is the mean of d within (-margin, margin)? p is the larger of the two; equivalent
 * when p < alpha, which is when the interval of level 1 - 2 alpha lies inside the margins. */
typedef struct sl_tost { int64_t n; double mean, lo, hi; /* of level 1 - 2 alpha */ double p_lower, p_upper, p; bool equivalent; } sl_tost;
/* d [n], n >= 2, not all the same; margin > 0; 0 < alpha < .5. */
sl_status sl_tost_test(const double *d, int64_t n, double margin, double alpha, sl_tost *out, sl_err *err) SL_USE_RESULT;

/* ---- several tests at once: adjusted p values, in the order of p [n] ---- */

/* Holm 1979 (family-wise error): sorted ascending, p_(i) (n - i + 1), cumulative maximum, at most 1. adjusted may be p. SL_ARG: p outside 0..1. */
sl_status sl_holm(sl_ctx *ctx, const double *p, int64_t n, double *adjusted, sl_err *err) SL_USE_RESULT;
/* Benjamini and Hochberg 1995 (false discovery rate): p_(i) n / i, cumulative minimum from the largest, at most 1. */
sl_status sl_bh(sl_ctx *ctx, const double *p, int64_t n, double *adjusted, sl_err *err) SL_USE_RESULT;

/* ---- cluster bootstrap ---- */

/* A pooled metric is sum of numerators / sum of denominators over documents, kept a document, so that a resample costs a sum. Intervals are
 * percentile; where the resamples are skewed (|skewness| > .5) and there is one seed, BCa (Efron 1987), with acceleration from the jackknife over documents. */
typedef struct sl_boot {
    double value;           /* of the data themselves */
    double lo, hi, se;      /* se: standard deviation of the resamples */
    double skew;            /* skewness of the resamples */
    bool bca;
    int64_t n_seeds, n_docs, draws; /* n_docs: over all seeds */
} sl_boot;
typedef struct sl_boot_opts { int64_t draws; double level; uint64_t seed; } sl_boot_opts; /* science.md: 1000 draws within a seed, 2000 nested; .95 */
/* One seed: documents are resampled with replacement. num, den [n_docs], n_docs >= 2, sum of den not 0; resamples whose denominator is 0 are
 * drawn again. */
sl_status sl_boot_docs(sl_ctx *ctx, const double *num, const double *den, int64_t n_docs, const sl_boot_opts *o, sl_boot *out, sl_err *err) SL_USE_RESULT;
/* Any statistic of documents in place of a ratio, by the same resamples. of(user, pick, n): its value for documents pick [n], of which some may come
 * more than once; NaN: it has none, then they are drawn again. SL_DATA: fewer than 2 documents, or no value of all of them. */
typedef double (*sl_boot_fn)(void *user, const int32_t *pick, int64_t n);
sl_status sl_boot_of(sl_ctx *ctx, sl_boot_fn of, void *user, int64_t n_docs, const sl_boot_opts *o, sl_boot *out, sl_err *err) SL_USE_RESULT;
/* Several seeds: seeds are resampled, then within each the documents; the value is the mean over seeds of each one's pooled metric. Seed s owns
 * documents first[s] .. first[s+1]-1 of num and den; n_seeds >= 2. Percentile bootstrap over few seeds is too narrow (science.md F2): for
 * claims the t interval over seeds decides. */
sl_status sl_boot_nested(sl_ctx *ctx, const double *num, const double *den, const int64_t *first, int64_t n_seeds, const sl_boot_opts *o, sl_boot *out, sl_err *err) SL_USE_RESULT;

/* ---- fronts: metric against l0 ---- */

typedef struct sl_point { double l0, y; } sl_point;
/* Metric at a given l0 by linear interpolation over ln l0 between the two nearest points. p [n], any order, l0 > 0, no l0 twice. SL_ARG: at_l0
 * lies outside the points, since nothing is extrapolated. */
sl_status sl_interpolate_l0(const sl_point *p, int64_t n, double at_l0, double *y, sl_err *err) SL_USE_RESULT;
/* Mean difference a - b at matched l0, paired by seed: curves a[s], b[s] of n_a and n_b points; the t interval is the band. */
sl_status sl_paired_at_l0(sl_ctx *ctx, const sl_point *a, int64_t n_a, const sl_point *b, int64_t n_b, int64_t n_seeds, double at_l0, uint64_t seed, sl_paired *out, sl_err *err) SL_USE_RESULT;
/* Points that no other beats: none with l0 and y at most as large and one of them smaller. front [n] gets the indices by rising l0; points that
 * coincide: the first. y is better when smaller: give 1 - F1 for F1. */
sl_status sl_pareto(const sl_point *p, int64_t n, int64_t *front, int64_t *n_front, sl_err *err) SL_USE_RESULT;
/* Area that the points dominate below the reference (2 k, fvu = 1 in science.md F5); points beyond the reference add nothing. */
sl_status sl_hypervolume(sl_ctx *ctx, const sl_point *p, int64_t n, sl_point reference, double *area, sl_err *err) SL_USE_RESULT;

/* ---- tables of results ---- */

typedef enum sl_matched { SL_MATCHED_UNKNOWN, SL_MATCHED_NO, SL_MATCHED_YES } sl_matched;
/* One comparison as it is printed and recorded: effect and interval first, then what tempers it. */
typedef struct sl_effect {
    char metric[64], treatment[64], control[64];
    bool is_null; char reason[160]; /* not measured, and why */
    double effect, lo, hi, level;
    int64_t n;              /* seeds, or clusters */
    double p; bool has_p;   /* sign-flip, or adjusted: the caller says in the heading */
    double floor; bool has_floor; /* of the metric, not of the difference */
    sl_matched l0, compute;
} sl_effect;
sl_effect sl_effect_of(const char *metric, const char *treatment, const char *control, const sl_paired *p, double level);
sl_effect sl_effect_null(const char *metric, const char *treatment, const char *control, const char *reason);
/* Are the realised l0 of two arms within 2 % (science.md F5)? UNKNOWN where one is not finite or not positive. */
sl_matched sl_l0_matched(double l0_a, double l0_b);
enum { SL_EFFECT_COLS = 9, SL_EFFECT_CELL = 192 };
extern const char *const sl_effect_head[SL_EFFECT_COLS]; /* METRIC, COMPARED, EFFECT, INTERVAL, P, N, FLOOR, L0, COMPUTE */
/* A row of the table; null: "-" and the reason in the place of the interval. */
void sl_effect_cells(const sl_effect *e, char cells[SL_EFFECT_COLS][SL_EFFECT_CELL]);

#endif
