/* Baselines: classical decompositions fitted to activations, which give what an SAE gives: sparse codes and directions.
 *   x^ = b_dec + sum_j z_j W_dec_j,  z >= 0
 * so that every metric takes them. A signed component (PCA, ICA) is two latents, v and -v (science.md K3). Every method keeps at most k
 * latents a row, so that it stands beside an SAE of the same l0.
 * The same rows, options and seed give the same bits for any number of threads. */
#ifndef SAELAB_BASELINE_H
#define SAELAB_BASELINE_H

#include <saelab/eval.h>

/* ---- the methods: one row each, for help, listings and configuration ---- */

typedef struct sl_baseline_info {
    const char *name, *what, *source;
    const sl_opt *opts;
    size_t opts_size;           /* bytes of the struct that they fill: sl_opts_default(opts, buffer of opts_size) */
    bool linear;                /* its encoder is linear + TopK: sl_baseline_to_sae says the same as an SAE */
    bool needs_dictionary;      /* directions are given, not fitted */
} sl_baseline_info;
enum { SL_BASELINE_OPTS = 128 }; /* no method's opts_size is larger */
const sl_baseline_info *sl_baseline_at(int i);              /* i from 0; NULL past the end */
const sl_baseline_info *sl_baseline_find(const char *name); /* '-' equals '_'; NULL when there is none */

typedef struct sl_pca_options { int64_t k; } sl_pca_options;            /* pca, topk_pca */
typedef struct sl_ica_options { int64_t k, components, iterations; double tol; } sl_ica_options;
typedef struct sl_factor_options { int64_t k, d_sae, iterations, sweeps; double tol; bool center; } sl_factor_options; /* nmf, semi_nmf */
typedef struct sl_kmeans_options { int64_t k, d_sae, iterations, restarts; } sl_kmeans_options;
typedef struct sl_fista_options { int64_t k, d_sae, iterations, epochs, batch; double lambda, tol; bool center; int64_t learn_iterations; } sl_fista_options; /* fista, fista_oracle */
typedef struct sl_random_options { int64_t k, d_sae; int from; bool center; } sl_random_options; /* from: gauss|rows */

extern const sl_opt sl_pca_opts[], sl_topk_pca_opts[], sl_ica_opts[], sl_nmf_opts[], sl_semi_nmf_opts[], sl_kmeans_opts[], sl_fista_opts[],
    sl_fista_oracle_opts[], sl_random_opts[]; /* the tables of the rows above */

/* ---- life ---- */

typedef struct sl_baseline sl_baseline;
typedef struct sl_baseline_data {
    const float *x;             /* [n, d_in] rows to fit on, raw */
    int64_t n, d_in;
    const float *dictionary;    /* [n_dictionary, d_in] for methods that need one, else NULL */
    int64_t n_dictionary;
    const float *bias;          /* [d_in] that goes with the dictionary; NULL: 0 */
    const char *hook, *model, *dataset; /* where the rows are from, kept as sl_sae_info has them; NULL: "" */
} sl_baseline_data;

/* opts: the method's own option struct, NULL for its defaults. Progress is reported under "fit METHOD".
 * SL_ARG: no such method, an option out of range, more latents than the rows or d_in allow, a dictionary missing or not wanted; SL_NUMERIC: a
 * number that is not finite, named by row and column; SL_DATA: fewer than two rows, or rows that are all the same; SL_CANCELLED; SL_MEM. */
sl_status sl_baseline_fit(sl_ctx *ctx, const char *method, const sl_baseline_data *data, const void *opts, uint64_t seed, sl_baseline **out, sl_err *err) SL_USE_RESULT;
void sl_baseline_free(sl_baseline *b); /* NULL is legal */

typedef struct sl_baseline_about {
    const sl_baseline_info *method;
    const char *hook, *model, *dataset; /* borrowed */
    int64_t d_in, d_sae, max_active;
    const float *W_dec, *b_dec; /* [d_sae, d_in], [d_in], borrowed */
    const char *objective;      /* what the method minimises, or maximises: "|Y - HW|^2" */
    const double *curve;        /* [n_curve] its value after each iteration, borrowed; n_curve 0: closed form */
    int64_t n_curve;
    bool converged;             /* the tolerance was reached before the last iteration */
} sl_baseline_about;
sl_baseline_about sl_baseline_tell(const sl_baseline *b);
const void *sl_baseline_options(const sl_baseline *b); /* the method's option struct, borrowed */

/* Codes and reconstructions of raw rows x [n, d_in]. z: at least n rows (row_ptr[0..n] is written); xhat [n, d_in] or NULL. Errors as
 * sl_sae_encode. Not for two threads at once on one baseline. */
sl_status sl_baseline_encode(sl_baseline *b, const float *x, int64_t n, sl_codes *z, float *xhat, sl_err *err) SL_USE_RESULT;

sl_coder sl_baseline_coder(sl_baseline *b); /* for the evaluators; borrows b */

/* ---- files: a folder with baseline.json and baseline.safetensors ---- */

sl_status sl_baseline_save(const sl_baseline *b, const char *dir, sl_err *err) SL_USE_RESULT;
/* SL_MISSING: not a baseline's folder; SL_DATA, SL_SHAPE, SL_NUMERIC: damaged, naming file and tensor. */
sl_status sl_baseline_load(sl_ctx *ctx, const char *dir, sl_baseline **out, sl_err *err) SL_USE_RESULT;
bool sl_baseline_is_dir(const char *dir);
/* A linear baseline as an SAE of variant topk with the same codes, for whatever takes only those (splicing into a model, feature pages, other
 * tools). SL_UNAVAILABLE: its encoder is no linear map. */
sl_status sl_baseline_to_sae(const sl_baseline *b, sl_sae **out, sl_err *err) SL_USE_RESULT;

#endif
