/* Products of 8-bit integers for the screening of dictionaries (see simd_topk_int8.c): tiles of x W^T, exact in 32-bit sums. Two
 * ways to make them: the simd layer's own, which any AVX2 does, and oneDNN's where the CPU has instructions for it (VNNI, AMX). */
#ifndef SL_KERN_INT8_H
#define SL_KERN_INT8_H

#include "kern/kern.h"

enum { SL_INT8_STEP = 64, SL_INT8_ALIGN = 64 }; /* rows of x and W are padded to a multiple of STEP values; panels lie at ALIGN */

typedef struct sl_int8 sl_int8;
struct sl_int8 {
    int64_t rows, cols;    /* of a tile: at most, exactly */
    int x_max, w_max;      /* largest absolute value of an element of x and W */
    int64_t least_share, least_d, most_d; /* worth while where at most one in so many is chosen, of rows this long: measured */
    int x_zero;            /* x is stored as the bytes q + x_zero */
    void *state;
    /* Makes ready for rows of d values (a multiple of STEP), outside parallel regions; bytes of one packed panel, 0: cannot. */
    size_t (*prepare)(const sl_int8 *g, const sl_kern *k, int64_t d);
    /* Panel of W: w [cols, d]. Inside parallel regions, as is the product. False: it failed. */
    bool (*pack)(const sl_int8 *g, const int8_t *w, int64_t d, void *panel);
    /* c [m, cols] = q of x [m, d] times the panel. x and c have room for `rows` rows, what lies beyond m may be read and written. */
    bool (*multiply)(const sl_int8 *g, const int8_t *x, int64_t m, int64_t d, const void *panel, int32_t *c);
    void (*free_fn)(sl_ctx *ctx, void *state);
};

void sl_simd_int8_avx2(sl_int8 *g);
void sl_simd_int8_avx512(sl_int8 *g);
/* SL_UNAVAILABLE: this oneDNN makes no such product. *fast: the CPU has instructions that make it worth while. */
sl_status sl_onednn_int8(sl_ctx *ctx, sl_int8 *g, bool *fast, sl_err *err) SL_USE_RESULT;

/* The product that encode_topk screens with, NULL: none. Its self-test has passed. */
const sl_int8 *sl_kern_int8(const sl_kern *k);

#endif
