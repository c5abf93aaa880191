/* A text as an activation source, for tests: rows with token, document and position, handed out in a given order. */
#ifndef SL_TEST_TEXT_ROWS_H
#define SL_TEST_TEXT_ROWS_H

#include <saelab/sae.h>

typedef struct text_rows {
    sl_act_source src;      /* &t.src is what is passed on */
    int64_t n, d, at;
    float *x;               /* [n, d] */
    int32_t *token, *doc, *pos; /* [n]; set to NULL by a test that wants none */
    int64_t *row;           /* [n] */
    void *own[5];
} text_rows;

/* n rows of zeros of one document, token 0. Release with text_rows_release. */
void text_rows_new(text_rows *t, int64_t n, int64_t d);
void text_rows_shuffle(text_rows *t, uint64_t seed); /* hands the same rows out in another order */
void text_rows_release(text_rows *t);

/* A standard SAE with z = ReLU(x): W_enc is the unit matrix [d, d]; W_dec [d, d] or NULL for the unit matrix too. */
sl_sae *identity_sae(sl_ctx *ctx, int64_t d, const float *W_dec);

#endif
