/* Rows of training kept in memory: made once, read by every fit of the same data set and seed. A row is the same whether it comes from here or
 * from its source, so that figures do not change. */
#ifndef SL_STUDY_BANK_H
#define SL_STUDY_BANK_H

#include <saelab/data.h>

typedef struct sl_bank {
    sl_ctx *ctx;
    int64_t d, room, n;       /* n of room rows are there */
    float *x;                 /* [room, d] */
    int64_t *row;             /* [room] row ids of the source */
} sl_bank;

enum { SL_BANK_BYTES = 1 << 29 }; /* at most so many a bank; rows beyond come from the source every time */

/* Room for up to `rows` rows of width d. SL_MEM. */
sl_status sl_bank_new(sl_ctx *ctx, int64_t rows, int64_t d, sl_bank **out, sl_err *err) SL_USE_RESULT;
void sl_bank_free(sl_bank *b); /* NULL is legal; after its sources */
/* A source of the rows of `of` from its row `from` on, through the bank, which has to be of the same rows each time. Takes `of`, on failure too.
 * Batches carry x and row ids. One reader at a time. */
sl_status sl_bank_open(sl_bank *b, sl_act_source *of, int64_t from, sl_act_source **out, sl_err *err) SL_USE_RESULT;

#endif
