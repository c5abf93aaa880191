/* The compositional SAE by the book (science.md C2), token by token in doubles: no tables of features, no lists, no kernels. */
#ifndef SL_TEST_COMPOSED_H
#define SL_TEST_COMPOSED_H

#include "sae/compositional.h"

enum { CD = 6, CF = 16, CK = 4, CC = 8, CH = 2, CM = 12, CKC = 3, CROWS = 40 }; /* d_in, d_sae, k, d_c, heads, m_c, k_c, rows */

typedef struct arm { const char *label; sl_compositional_options o; } arm;
extern const arm arms[]; /* every kind of composition; ended by label NULL */

/* One row's tokens and what they make. */
typedef struct composed {
    int n;
    double P[CH][CK][CK], gate[CK], drive[CM], c[CM], branch[CD], xhat[CD];
} composed;

/* An SAE of an arm with weights in general position, sigma 1.5; rho .8. F32 or F64. Rows have 0 to CK tokens. */
sl_sae *composed_sae(sl_ctx *ctx, const arm *a, sl_dtype dtype);

/* Row `row` of n_rows rows of codes; x: the row itself, for comp_in x. */
void compose_by_the_book(const sl_sae *s, const sl_codes *z, int64_t row, const float *x, composed *out);

#endif
