/* Inside the simd layer: what its files share. Each file is compiled for AVX2 and for AVX-512; SL_V puts the name of the
 * instruction set behind a function's. */
#ifndef SL_SIMD_H
#define SL_SIMD_H

#include "kern/scratch.h"
#include "kern/simd_vec.h"

/* Buffers of this layer */
enum {
    SL_SIMD_B = SL_SCRATCH_SIMD, /* packed B of a product */
    SL_SIMD_A,                   /* per thread: packed A */
    SL_SIMD_ACC,                 /* partial sums of a product whose output cannot hold them */
    SL_SIMD_ATTN,                /* per thread: one head of an attention */
    SL_SIMD_PART,                /* per chunk: partial column sums */
    SL_SIMD_ROWS,                /* per thread: rows of pre-activations */
    SL_SIMD_W8,                  /* a dictionary in 8 bits, packed, */
    SL_SIMD_X8                   /* and rows */
};

/* tile [MR, NR], rows ld apart, = sum over k < kc of a[i rs + k cs] b[k NR + j]: the only inner loop of all products. Every element is one
 * chain of fused multiply-adds in ascending k, so its bits do not depend on how rows and columns are cut into tiles. rs or cs is 1. */
void SL_V(sl_simd_micro)(int64_t kc, const float *a, int64_t rs, int64_t cs, const float *b, float *tile, int64_t ld);

/* Panels of NR columns: out[p][k][j] = element (k, p NR + j) of B, which is src[k ld + col] or, trans, src[col ld + k]; zeros
 * past the n columns. */
void SL_V(sl_simd_pack)(const float *src, int64_t ld, bool trans, int64_t kc, int64_t n, float *out);

/* slots */
void SL_V(sl_simd_gemm)(const sl_kern *k, const sl_gemm *g);
void SL_V(sl_simd_gemv)(const sl_kern *k, const sl_tensor *W, const sl_tensor *x, const sl_tensor *bias, sl_act act, double beta, sl_tensor *y);
void SL_V(sl_simd_act)(const sl_kern *k, sl_act act, const sl_tensor *x, sl_tensor *y);
void SL_V(sl_simd_act_back)(const sl_kern *k, sl_act act, const sl_tensor *x, const sl_tensor *dy, double beta, sl_tensor *dx);
void SL_V(sl_simd_dropout)(const sl_kern *k, const sl_mask_key *key, const sl_tensor *x, double beta, sl_tensor *y);
void SL_V(sl_simd_col_sum)(const sl_kern *k, double s, const sl_tensor *x, sl_tensor *y);
void SL_V(sl_simd_layernorm)(const sl_kern *k, const sl_tensor *x, const sl_tensor *gain, const sl_tensor *bias, double eps,
                             sl_tensor *y, sl_tensor *stat);
void SL_V(sl_simd_layernorm_back)(const sl_kern *k, const sl_tensor *x, const sl_tensor *gain, const sl_tensor *stat,
                                  const sl_tensor *dy, sl_tensor *dx, sl_tensor *dgain, sl_tensor *dbias);
void SL_V(sl_simd_rmsnorm)(const sl_kern *k, const sl_tensor *x, const sl_tensor *gain, double eps, sl_tensor *y, sl_tensor *stat);
void SL_V(sl_simd_rmsnorm_back)(const sl_kern *k, const sl_tensor *x, const sl_tensor *gain, const sl_tensor *stat,
                                const sl_tensor *dy, sl_tensor *dx, sl_tensor *dgain);
void SL_V(sl_simd_attention)(const sl_kern *k, const sl_attn *a, const sl_tensor *qkv, sl_tensor *y, sl_tensor *lse);
void SL_V(sl_simd_attention_back)(const sl_kern *k, const sl_attn *a, const sl_tensor *qkv, const sl_tensor *y, const sl_tensor *lse,
                                  const sl_tensor *dy, sl_tensor *dqkv);
double SL_V(sl_simd_softmax_xent)(const sl_kern *k, sl_tensor *logits, const sl_tensor *targets, bool grad, sl_tensor *row_loss);
void SL_V(sl_simd_adam)(const sl_kern *k, const sl_adam *a, sl_tensor *w, const sl_tensor *g, sl_tensor *m, sl_tensor *v);
void SL_V(sl_simd_attend)(const sl_kern *k, const sl_attn *a, const sl_tensor *qkv, sl_tensor *y);

#endif
