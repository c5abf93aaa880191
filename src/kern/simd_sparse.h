/* Inside the simd layer: what the files of sparse codes and of rows share, and their part of the table. */
#ifndef SL_SIMD_SPARSE_H
#define SL_SIMD_SPARSE_H

#include "kern/dot.h"
#include "kern/simd.h"

/* sl_dot_f32 of kern/dot.h bit for bit: its 32 partial sums in vectors, products rounded before they are added. A tail's missing
 * products are 0, which changes no partial sum: one that starts at +0 is never -0. */
static inline float vf_exact_dot(const float *a, const float *b, int64_t n)
{
    enum { PARTS = SL_DOT_LANES / VW };
    vf s[PARTS];
    int64_t i = 0;
    for (int p = 0; p < PARTS; p++)
        s[p] = vf_set(0);
    for (; i + SL_DOT_LANES <= n; i += SL_DOT_LANES)
        for (int p = 0; p < PARTS; p++)
            s[p] += vf_load(a + i + p * VW) * vf_load(b + i + p * VW);
    for (int p = 0; i < n; p++, i += VW)
        s[p] += vf_get(a + i, n - i) * vf_get(b + i, n - i);
    for (int half = PARTS / 2; half > 0; half /= 2)
        for (int p = 0; p < half; p++)
            s[p] += s[p + half];
    return vf_sum(s[0]);
}

/* y += s x */
static inline void vf_add_to(float *y, float s, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += VW)
        vf_put(y + i, vf_fma(vf_set(s), vf_get(x + i, n - i), vf_get(y + i, n - i)), n - i);
}

/* The lines of a row of n floats are asked for before they are needed. */
static inline void fetch_row(const float *row, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16)
        __builtin_prefetch(row + i);
}

void SL_V(sl_simd_encode_topk)(const sl_kern *k, const sl_tensor *x, const sl_tensor *W, const sl_tensor *b, const sl_tensor *skip,
                               int64_t n_active, sl_csr *z);
void SL_V(sl_simd_encode_topk_keep)(const sl_kern *k, const sl_tensor *x, const sl_tensor *W, const sl_tensor *b, int64_t n_active, sl_bounds *keep, sl_csr *z);
void SL_V(sl_simd_encode_moved)(const sl_kern *k, const sl_moved *m, const sl_tensor *x2, const sl_tensor *W, const sl_tensor *b, int64_t n_active, sl_csr *z);
void SL_V(sl_simd_csr_topk)(const sl_kern *k, const sl_tensor *dense, int64_t most, int64_t row0, sl_csr *z);
void SL_V(sl_simd_encode_at)(const sl_kern *k, const sl_tensor *x, const sl_tensor *W, const sl_tensor *b, sl_csr *z);
void SL_V(sl_simd_csr_from_dense)(const sl_kern *k, const sl_tensor *dense, sl_csr *z);
void SL_V(sl_simd_sparse_decode)(const sl_kern *k, const sl_csr *z, const sl_tensor *W, const sl_tensor *bias, sl_tensor *y);
void SL_V(sl_simd_sparse_dval)(const sl_kern *k, const sl_csr *z, const sl_tensor *W, const sl_tensor *dy, double beta, sl_tensor *dval);
/* Rows to be added up, with their coefficients; list_places adds those of a feature, and out [d] takes what the list has no room for. */
typedef struct listed { const float *row[256]; float c[256]; int64_t n; } listed;
void SL_V(sl_simd_list_places)(listed *l, const sl_csc *z, int64_t f, const float *coef, const float *rows, int64_t d, float *out);
void SL_V(sl_simd_add_listed)(listed *l, int64_t d, float *out); /* out += all, in order; empties the list */
void SL_V(sl_simd_add_places)(const sl_csc *z, int64_t f, const float *coef, const float *rows, int64_t d, float *g);
void SL_V(sl_simd_dict_grad)(const sl_kern *k, const sl_csc *z, const sl_tensor *coef, const sl_tensor *rows, sl_tensor *dW, sl_tensor *db);

void SL_V(sl_simd_mix_rows)(const sl_kern *k, double s, const sl_tensor *c, const sl_tensor *W, sl_tensor *y);
double SL_V(sl_simd_sweep_sq)(const sl_kern *k, const sl_sweep *s);
void SL_V(sl_simd_sweep_adam)(const sl_kern *k, const sl_sweep *s, const sl_adam *a);

void SL_V(sl_simd_noise_rows)(const sl_kern *k, uint64_t seed, uint64_t step, int64_t first, int view, bool uniform, sl_tensor *y);

double SL_V(sl_simd_sum)(const sl_kern *k, const sl_tensor *x);
double SL_V(sl_simd_sum_sq)(const sl_kern *k, const sl_tensor *x);
double SL_V(sl_simd_dot)(const sl_kern *k, const sl_tensor *a, const sl_tensor *b);
double SL_V(sl_simd_sq_dist)(const sl_kern *k, const sl_tensor *a, const sl_tensor *b);
int64_t SL_V(sl_simd_not_finite)(const sl_kern *k, const sl_tensor *x);
void SL_V(sl_simd_row_norms)(const sl_kern *k, const sl_tensor *W, sl_tensor *norms);
void SL_V(sl_simd_row_norms_back)(const sl_kern *k, const sl_tensor *W, const sl_tensor *norms, const sl_tensor *dnorm, sl_tensor *dW);
void SL_V(sl_simd_row_normalize)(const sl_kern *k, sl_tensor *W);
void SL_V(sl_simd_row_project)(const sl_kern *k, const sl_tensor *W, sl_tensor *dW);

#endif
