/* One pass over the held-out rows of a source, chunk by chunk, encoded: what the row metrics are made of. */
#ifndef SL_EVAL_PASS_H
#define SL_EVAL_PASS_H

#include <saelab/eval.h>

typedef struct sl_pass_chunk {
    const float *x, *xhat;  /* [n, d_in]; of a transcoder [n, d_out], x being the target */
    const sl_codes *z;      /* n rows */
    const int32_t *doc;     /* [n] or NULL */
    int64_t n, want;        /* want: rows of the whole pass */
} sl_pass_chunk;

/* Calls see for each chunk, in order. *n_rows: rows seen. Errors as sl_eval_rows. */
sl_status sl_eval_pass(sl_ctx *ctx, const sl_coder *c, sl_act_source *rows, int64_t max_rows, void (*see)(void *, const sl_pass_chunk *), void *user,
                       int64_t *n_rows, sl_err *err) SL_USE_RESULT;

#endif
