/* Statistics of people who rate things: do they agree (Krippendorff's alpha), and do the things of one group score higher than those of another, when
 * both the things and the people are a sample (two-way bootstrap). Protocol: science.md E1, docs/RATERS.md.
 * Errors of everything here: SL_DATA, too few values, or none that vary; SL_NUMERIC, a value is not finite; SL_ARG, an argument out of range; SL_MEM.
 * Nothing depends on the number of threads. */
#ifndef SAELAB_AGREEMENT_H
#define SAELAB_AGREEMENT_H

#include <saelab/stats.h>

/* ---- agreement ---- */

typedef enum sl_scale { SL_SCALE_NOMINAL, SL_SCALE_ORDINAL } sl_scale; /* delta^2(c, k): 1 for c != k; (sum of n_g, g = c..k, - (n_c + n_k) / 2)^2 */

typedef struct sl_judged { /* values of units x raters */
    const int32_t *value;   /* [n_units, n_raters], 0 .. n_categories - 1; -1: not judged */
    int64_t n_units;
    int32_t n_raters, n_categories; /* categories 2..64 */
    const int32_t *cluster; /* [n_units]: units of a cluster are resampled together (the contexts of a feature); NULL: each its own. >= 0 */
} sl_judged;

typedef struct sl_alpha {
    double value;           /* 1 - D_o / D_e: 1 full agreement, 0 as by chance, below that systematic disagreement */
    bool has_interval;      /* two clusters at least */
    double lo, hi;          /* bootstrap over clusters */
    int64_t n_units, n_values; /* of units that two raters at least judged; others say nothing of agreement */
} sl_alpha;

/* Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", from the coincidence matrix o_ck = sum over units of (pairs c, k) / (m_u - 1).
 * boot NULL: no interval. SL_DATA: no unit with two values, or all of them the same value (alpha is 0 / 0). */
sl_status sl_krippendorff(sl_ctx *ctx, const sl_judged *j, sl_scale scale, const sl_boot_opts *boot, sl_alpha *out, sl_err *err) SL_USE_RESULT;

/* ---- groups of items that raters scored ---- */

typedef struct sl_scored { int32_t rater, item; double score; } sl_scored; /* a pair may come several times: trials */

typedef struct sl_group_score {
    double value;           /* mean over items of (mean over raters and trials) */
    double lo, hi, se;      /* of the resamples, percentile */
    double sd;              /* between items; 0 with one item */
    int64_t n_items;        /* that were scored */
} sl_group_score;

typedef struct sl_contrast {
    int32_t a, b;           /* groups; effect is a - b */
    double effect, lo, hi, se;
    double p, p_holm;       /* two-sided, 2 (1 + resamples beyond 0) / (1 + draws), at most 1; Holm over all contrasts */
    double mde;             /* (z_{1 - alpha/2} + z_{.8}) se: what would have been found with power .8 */
} sl_contrast;

enum { SL_MAX_GROUPS = 16 };
typedef struct sl_two_way {
    int32_t n_groups, n_contrasts;
    sl_group_score group[SL_MAX_GROUPS];
    sl_contrast contrast[SL_MAX_GROUPS * (SL_MAX_GROUPS - 1) / 2];
} sl_two_way;

/* s [n]; group [n_items] in 0 .. n_groups - 1. Each resample draws raters, and within each group items, with replacement, and weighs a score by how often
 * its rater and its item came (Owen 2007, "The pigeonhole bootstrap"); an item none of whose raters came counts for nothing in it. One rater alone is not resampled.
 * SL_DATA: a group without a score. */
sl_status sl_two_way_boot(sl_ctx *ctx, const sl_scored *s, int64_t n, int32_t n_raters, int32_t n_items, const int32_t *group, int32_t n_groups, const sl_boot_opts *o, sl_two_way *out, sl_err *err) SL_USE_RESULT;

/* Smallest difference of two means of n items each that a two-sided test at alpha finds with that power: (z_{1 - alpha/2} + z_power) sd sqrt(2 (1 - rho) / n),
 * rho the correlation of matched items (0: none). n >= 1, sd >= 0. */
double sl_min_detectable(double sd, int64_t n, double rho, double alpha, double power);

#endif
