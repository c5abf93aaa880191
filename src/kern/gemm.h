/* The shape of a product and its epilogue, shared by the fast layers. */
#ifndef SL_GEMM_H
#define SL_GEMM_H

#include "kern/kern.h"

typedef struct sl_gemm_dims { int64_t M, N, K, lda, ldb; } sl_gemm_dims; /* lda, ldb: columns of a and b as stored */

sl_gemm_dims sl_gemm_dims_of(const sl_gemm *g); /* asserts that the shapes agree */

#endif
