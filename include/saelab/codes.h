/* Sparse codes: the rows that a sparse autoencoder, a world with known features, or a baseline gives. */
#ifndef SAELAB_CODES_H
#define SAELAB_CODES_H

#include <saelab/ctx.h>

/* CSR: row r owns entries row_ptr[r] .. row_ptr[r+1]-1, indices ascend, values are positive. */
typedef struct sl_codes {
    int64_t n_rows, capacity;   /* n_rows: rows that it has room for */
    int64_t *row_ptr;           /* [n_rows + 1] */
    int32_t *idx;               /* [capacity] */
    float *val;                 /* [capacity] */
} sl_codes;
/* Room for n_rows rows of max_active entries each. SL_ARG: a negative size; SL_MEM. */
sl_status sl_codes_new(sl_ctx *ctx, int64_t n_rows, int64_t max_active, sl_codes *out, sl_err *err) SL_USE_RESULT;
void sl_codes_release(sl_ctx *ctx, sl_codes *z);

#endif
