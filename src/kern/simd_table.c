/* The slots of one instruction set. */
#include "kern/simd_table.h"
#include "kern/simd.h"

void SL_V(sl_simd_fill)(sl_kern *k)
{
    k->gemm = SL_V(sl_simd_gemm);
    k->act = SL_V(sl_simd_act), k->act_back = SL_V(sl_simd_act_back), k->dropout = SL_V(sl_simd_dropout);
    k->col_sum = SL_V(sl_simd_col_sum);
    k->layernorm = SL_V(sl_simd_layernorm), k->layernorm_back = SL_V(sl_simd_layernorm_back);
    k->rmsnorm = SL_V(sl_simd_rmsnorm), k->rmsnorm_back = SL_V(sl_simd_rmsnorm_back);
    k->attention = SL_V(sl_simd_attention), k->attention_back = SL_V(sl_simd_attention_back);
    k->softmax_xent = SL_V(sl_simd_softmax_xent), k->adam = SL_V(sl_simd_adam);
    k->gemv = SL_V(sl_simd_gemv), k->attend = SL_V(sl_simd_attend);
}
