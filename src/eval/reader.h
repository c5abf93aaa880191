/* Documents of a corpus as bytes, one at a time. */
#ifndef SL_EVAL_READER_H
#define SL_EVAL_READER_H

#include "eval/measured.h"

typedef struct sl_reader {
    sl_ctx *ctx;
    const sl_corpus *c;
    char *bytes;            /* [n] of the open document */
    uint8_t *in_quotes;     /* [n] 1: within quotation marks, which are themselves outside */
    uint8_t *depth;         /* [n] of round, square and curly brackets, at most 255 */
    int64_t *start;         /* [tokens + 1] first byte of each token */
    int64_t n;
} sl_reader;
/* Room for the longest document. Release it even after a failure. */
sl_status sl_reader_new(sl_ctx *ctx, const sl_corpus *c, sl_reader *out, sl_err *err) SL_USE_RESULT;
void sl_reader_open(sl_reader *r, int32_t doc);
void sl_reader_release(sl_reader *r);

#endif
