/* What a baseline is: a row of slots, tensors of its own, and shared parts. A new method is its file, its line in registry.c and in
 * CMakeLists.txt, its option struct in <saelab/baseline.h>, and its row in the tests' list.
 * Notation: x~ = x - b_dec [B, d_in]; W_dec [d_sae, d_in]; codes h >= 0 [B, d_sae]. */
#ifndef SL_EVAL_BASELINE_H
#define SL_EVAL_BASELINE_H

#include "kern/kern.h"

#include <saelab/baseline.h>

typedef struct sl_baseline_ops {
    sl_baseline_info info;
    const char *objective;
    int enc_width;                          /* W_enc is [d_sae, enc_width d_in]; 0: the encoder has none of its own */
    bool has_b_enc;
    int64_t (*k)(const void *opts);         /* most latents of a row; 0: all that are positive */
    int64_t (*n_latents)(const void *opts, const sl_baseline_data *d);
    sl_status (*check)(const void *opts, const sl_baseline_data *d, sl_err *err); /* OPTIONAL: what the option table cannot say */
    sl_status (*fit)(sl_baseline *b, const sl_baseline_data *d, sl_err *err); /* W_dec, b_dec are there, zeroed; makes the others */
    sl_status (*encode)(sl_baseline *b, const sl_tensor *xc, sl_csr *z, sl_err *err); /* xc: x~ */
} sl_baseline_ops;

extern const sl_baseline_ops sl_base_pca, sl_base_topk_pca, sl_base_ica, sl_base_nmf, sl_base_semi_nmf, sl_base_kmeans, sl_base_fista,
    sl_base_fista_oracle, sl_base_random;
const sl_baseline_ops *sl_baseline_ops_find(const char *name); /* NULL when there is none */

struct sl_baseline {
    sl_ctx *ctx;
    const sl_kern *kern;
    const sl_baseline_ops *ops;
    _Alignas(max_align_t) unsigned char opts[SL_BASELINE_OPTS];
    int64_t d_in, d_sae, k;
    uint64_t seed;
    char hook[96], model[128], dataset[64];
    sl_tensor W_dec, b_dec;     /* [d_sae, d_in], [d_in] */
    sl_tensor W_enc, b_enc;     /* the encoder's own: [d_sae, d_in or 2 d_in], [d_sae]; data NULL where it has none */
    double *curve;              /* the objective after each iteration */
    int64_t n_curve, cap_curve;
    bool converged;
    sl_tensor gram;             /* of the encoder's dictionary, made by sl_base_gram when first needed */
    sl_tensor refit_gram;       /* W_dec W_dec^T, likewise */
    double step;                /* FISTA's 1 / L, 0 until it is known */
};

/* ---- shared parts ---- */

/* Memory for `n` floats as a tensor of two dimensions; SL_MEM names `what`. sl_free(data). */
sl_status sl_base_matrix(sl_baseline *b, const char *what, int64_t rows, int64_t cols, sl_tensor *out, sl_err *err) SL_USE_RESULT;
sl_status sl_base_own(sl_baseline *b, int64_t enc_cols, sl_err *err) SL_USE_RESULT; /* makes W_enc [d_sae, enc_cols] and b_enc, zeroed */
/* One more value of the objective, and progress of iteration `done` of `total`. SL_NUMERIC when it is not finite; SL_CANCELLED. */
sl_status sl_base_report(sl_baseline *b, double value, int64_t done, int64_t total, sl_err *err) SL_USE_RESULT;
bool sl_base_settled(const sl_baseline *b, double tol); /* did the last step change the objective by less than tol, relatively? */
/* c = alpha op(a) op(b) + beta c on the kernel table. */
void sl_base_gemm(const sl_kern *k, double alpha, const sl_tensor *a, bool ta, const sl_tensor *b, bool tb, double beta, sl_tensor *c);
/* b_dec = mean of the rows (in double), xc [n, d_in] = x - b_dec, freed by the caller. center false: b_dec stays as it is. */
sl_status sl_base_center(sl_baseline *b, const sl_baseline_data *d, bool center, sl_tensor *xc, sl_err *err) SL_USE_RESULT;
/* cov [d, d] = xc^T xc / n in double, from products of at most 1,024 rows. */
sl_status sl_base_covariance(sl_baseline *b, const sl_tensor *xc, double *cov, sl_err *err) SL_USE_RESULT;
/* Latents j and j + n of a signed direction: W_enc = +-enc_j |dec_j|, W_dec = +-dec_j / |dec_j|, j < n = d_sae / 2. */
void sl_base_signed_pair(sl_baseline *b, int64_t j, const double *enc, const double *dec);
/* Encoder of the linear methods: the k largest positive of W_enc x~ + b_enc. */
sl_status sl_base_encode_topk(sl_baseline *b, const sl_tensor *xc, sl_csr *z, sl_err *err) SL_USE_RESULT;
/* out [m, d] = m different rows of xc, drawn by the seed; m is at most the number of rows. */
sl_status sl_base_random_rows(sl_baseline *b, const sl_tensor *xc, sl_tensor *out, sl_err *err) SL_USE_RESULT;
sl_status sl_base_rows_enough(const sl_baseline_data *d, int64_t latents, sl_err *err) SL_USE_RESULT; /* SL_ARG: more latents than rows */

/* ---- non-negative coefficients (nonneg.c) ---- */

/* Coordinate descent for min_H>=0 sum_rows h G h^T / 2 - h . B_row, in place: each pass goes once over the coordinates of every row
 * (HALS for H: Cichocki and Phan 2009, eq. 4). g [m, m] symmetric, B and H [n, m]. */
sl_status sl_nonneg_sweeps(sl_baseline *b, const sl_tensor *g, const sl_tensor *B, sl_tensor *H, int64_t sweeps, sl_err *err) SL_USE_RESULT;
/* Keeps the k largest of each row of H [n, d_sae] (ties: the lower index) and refits them by non-negative least squares to x~ (science.md
 * K3). k 0: takes H as it is. */
sl_status sl_nonneg_keep(sl_baseline *b, const sl_tensor *xc, const sl_tensor *H, sl_csr *z, sl_err *err) SL_USE_RESULT;
sl_status sl_base_gram(sl_baseline *b, const sl_tensor *W, sl_tensor *gram, sl_err *err) SL_USE_RESULT; /* gram = W W^T, unless it is there */

/* ---- FISTA (fista.c) ---- */

/* min_Z>=0 |x - Z D|^2 / 2 + penalty sum Z for each row. Z [n, m] holds the start and the result. Rows stop by themselves, once no element moves by
 * more than tol times the row's largest. step: 1 / (largest eigenvalue of D D^T). */
sl_status sl_fista(sl_baseline *b, const sl_tensor *gram, const sl_tensor *B, double penalty, double step, int64_t iterations, double tol, sl_tensor *Z, sl_err *err) SL_USE_RESULT;
sl_status sl_fista_step(sl_baseline *b, const sl_tensor *D, double *step, sl_err *err) SL_USE_RESULT;

#endif
