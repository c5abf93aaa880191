/* Matching one set of directions with another: exact assignment, chance floors, agreement between seeds. */
#ifndef SAELAB_MATCH_H
#define SAELAB_MATCH_H

#include <saelab/measure.h>

/* The assignment of rows to columns of score [n, m] (finite) with the greatest sum: min(n, m) pairs, each row and column at most once.
 * match [n]: the row's column, -1 for rows that get none. Exact: shortest augmenting paths with float64 potentials (Jonker, Volgenant 1987;
 * Crouse 2016 for rectangular ones), O(min^2 max) at worst. The same result every time. SL_DATA: n or m < 1; SL_MEM. */
sl_status sl_assign(sl_ctx *ctx, const float *score, int64_t n, int64_t m, int32_t *match, double *total, sl_err *err) SL_USE_RESULT;

/* cos [n, m] between the rows of a [n, d] and b [m, d]; 0 for a row of zeros. SL_NUMERIC: a value that is not finite; SL_MEM. */
sl_status sl_cosines(sl_ctx *ctx, const float *a, int64_t n, const float *b, int64_t m, int64_t d, float *cos, sl_err *err) SL_USE_RESULT;

/* Mean over the min(n, m) pairs of the best one-to-one matching by cosine (O'Neill et al. 2024, arXiv 2411.13117: |cos|; Song et al. 2025,
 * arXiv 2505.20254: cos). match [n] or NULL. Errors as sl_cosines; SL_DATA: nothing to match. */
sl_status sl_mcc_dec(sl_ctx *ctx, const float *a, int64_t n, const float *b, int64_t m, int64_t d, bool absolute, int32_t *match, double *mcc, sl_err *err) SL_USE_RESULT;

/* What random directions give: mean and standard error of sl_mcc_dec over pairs of independent Gaussian dictionaries (science.md K4: 20 of
 * them, 3 where min(n, m) > 4096; here fewer, at least 3, once the standard error is below 5e-4). Kept by ctx under (n, m, d, absolute). */
typedef struct sl_floor { double mean, se; int64_t n_dicts; } sl_floor;
sl_status sl_mcc_floor(sl_ctx *ctx, int64_t n, int64_t m, int64_t d, bool absolute, sl_floor *out, sl_err *err) SL_USE_RESULT;

/* ---- agreement between seeds ---- */

typedef struct sl_dictionary {  /* borrowed */
    const float *W_dec, *W_enc; /* [d_sae, d_in]; W_enc may be NULL */
    const uint8_t *alive;       /* [d_sae] 1: takes part; NULL: all */
    int64_t d_sae;
} sl_dictionary;

typedef struct sl_pwmcc {
    double pwmcc, floor;        /* mean signed matching cosine over pairs of SAEs; of random dictionaries of their sizes */
    double share_07, share_09;  /* matched pairs with cos >= .7 and >= .9 */
    double mmcs;                /* mean over both directions of mean_i max_j cos */
    double same_partner;        /* latents whose partner by W_enc is the one by W_dec (Paulo, Belrose 2025, arXiv 2501.16615); NaN without W_enc */
    int64_t n_pairs, n_alive;   /* pairs of SAEs; latents that took part, in all SAEs */
} sl_pwmcc;
/* All pairs of n_saes >= 2 dictionaries, dead latents left out. reproducible: NULL, or n_saes arrays [d_sae] that get pi_j, the share of the
 * other SAEs whose match has cos >= .7 (science.md B8; NaN for dead latents). SL_DATA: fewer than two, or one without a live latent. */
sl_status sl_pwmcc_of(sl_ctx *ctx, const sl_dictionary *sae, int n_saes, int64_t d_in, double *const *reproducible, sl_pwmcc *out, sl_err *err) SL_USE_RESULT;
/* The same at every checkpoint of a training: sae [n_times, n_saes], out [n_times]. Entry 0 of untrained SAEs should be near the floor. */
sl_status sl_pwmcc_trajectory(sl_ctx *ctx, const sl_dictionary *sae, int n_times, int n_saes, int64_t d_in, sl_pwmcc *out, sl_err *err) SL_USE_RESULT;

#endif
