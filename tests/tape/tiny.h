/* A small model that uses most operators, for tests of the tape and the optimizers as a whole: one transformer block with
 * dropout, rotary positions and a tied head, whose residual stream also feeds a TopK autoencoder with unit-norm rows. */
#ifndef TINY_H
#define TINY_H

#include "tape/tape.h"

enum { TINY_B = 4, TINY_T = 8, TINY_C = 16, TINY_V = 11, TINY_F = 32, TINY_K = 3 };

typedef struct tiny {
    sl_ctx *ctx;
    sl_params *ps;
    sl_tape *t;
    sl_param *wte, *ln_w, *ln_b, *qkv, *proj, *fc, *fc_b, *out, *norm, *W_enc, *b_enc, *W_dec, *b_dec;
    int32_t ids[TINY_B * TINY_T], targets[TINY_B * TINY_T];
} tiny;

/* false, with everything released, when memory ran out (err filled) */
sl_status tiny_new(sl_ctx *ctx, sl_dtype dtype, tiny *m, sl_err *err);
void tiny_free(tiny *m);
/* Mean loss over `batch` of the TINY_B sequences from `first`. */
sl_var tiny_loss(tiny *m, int first, int batch, double dropout);
/* reset, loss, backward, optimizer step */
sl_status tiny_step(tiny *m, sl_optim *o, double dropout, sl_err *err);

#endif
