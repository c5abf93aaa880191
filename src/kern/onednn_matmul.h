/* Products by oneDNN's matmul, for inputs that dnnl_sgemm does not take: bf16 with f32 sums. */
#ifndef SL_ONEDNN_MATMUL_H
#define SL_ONEDNN_MATMUL_H

#include "kern/gemm.h"

typedef struct sl_matmul sl_matmul;

/* bf16: operands are rounded to bf16 (to nearest, ties to even) before they are multiplied; else they stay f32, which is for tests.
 * SL_UNAVAILABLE: no such products here; SL_MEM. */
sl_status sl_matmul_new(sl_ctx *ctx, bool bf16, sl_matmul **out, sl_err *err) SL_USE_RESULT;
void sl_matmul_free(sl_ctx *ctx, void *m); /* NULL is legal */
/* to [M, N] = op(a) op(b) + beta to; of g only a, b, ta and tb are looked at. False without memory. The same bits for any number of threads. */
bool sl_matmul_run(sl_matmul *m, const sl_kern *k, const sl_gemm *g, const sl_gemm_dims *d, float *to, float beta);

#endif
