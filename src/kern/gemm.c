/* What every implementation of the gemm slot asks first. */
#include "kern/gemm.h"

#include <assert.h>

sl_gemm_dims sl_gemm_dims_of(const sl_gemm *g)
{
    sl_gemm_dims d = { .M = sl_rows(g->c), .N = sl_cols(g->c), .K = g->ta ? sl_rows(g->a) : sl_cols(g->a),
                       .lda = sl_cols(g->a), .ldb = sl_cols(g->b) };
    assert((g->ta ? sl_cols(g->a) : sl_rows(g->a)) == d.M);
    assert((g->tb ? sl_rows(g->b) : sl_cols(g->b)) == d.N && (g->tb ? sl_cols(g->b) : sl_rows(g->b)) == d.K);
    assert(!g->bias || sl_numel(g->bias) == d.N);
    assert(!g->pre || sl_numel(g->pre) == d.M * d.N);
    return d;
}
