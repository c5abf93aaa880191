/* The slots of one instruction set. */
#include "kern/simd_compose.h"
#include "kern/simd_table.h"
#include "kern/simd_sparse.h"

void SL_V(sl_simd_fill)(sl_kern *k)
{
    k->gemm = SL_V(sl_simd_gemm);
    k->act = SL_V(sl_simd_act), k->act_back = SL_V(sl_simd_act_back), k->dropout = SL_V(sl_simd_dropout);
    k->col_sum = SL_V(sl_simd_col_sum);
    k->layernorm = SL_V(sl_simd_layernorm), k->layernorm_back = SL_V(sl_simd_layernorm_back);
    k->rmsnorm = SL_V(sl_simd_rmsnorm), k->rmsnorm_back = SL_V(sl_simd_rmsnorm_back);
    k->attention = SL_V(sl_simd_attention), k->attention_back = SL_V(sl_simd_attention_back);
    k->softmax_xent = SL_V(sl_simd_softmax_xent), k->adam = SL_V(sl_simd_adam);
    k->encode_topk = SL_V(sl_simd_encode_topk), k->encode_topk_keep = SL_V(sl_simd_encode_topk_keep), k->encode_moved = SL_V(sl_simd_encode_moved), k->encode_at = SL_V(sl_simd_encode_at), k->csr_topk = SL_V(sl_simd_csr_topk), k->csr_from_dense = SL_V(sl_simd_csr_from_dense);
    k->sparse_decode = SL_V(sl_simd_sparse_decode), k->sparse_dval = SL_V(sl_simd_sparse_dval), k->dict_grad = SL_V(sl_simd_dict_grad);
    k->noise_rows = SL_V(sl_simd_noise_rows), k->mix_rows = SL_V(sl_simd_mix_rows), k->sweep_sq = SL_V(sl_simd_sweep_sq), k->sweep_adam = SL_V(sl_simd_sweep_adam);
    k->sum = SL_V(sl_simd_sum), k->sum_sq = SL_V(sl_simd_sum_sq), k->dot = SL_V(sl_simd_dot), k->sq_dist = SL_V(sl_simd_sq_dist);
    k->not_finite = SL_V(sl_simd_not_finite);
    k->row_norms = SL_V(sl_simd_row_norms), k->row_norms_back = SL_V(sl_simd_row_norms_back);
    k->row_normalize = SL_V(sl_simd_row_normalize), k->row_project = SL_V(sl_simd_row_project);
    k->gemv = SL_V(sl_simd_gemv), k->attend = SL_V(sl_simd_attend);
    k->tokens_attend = SL_V(sl_simd_tokens_attend), k->tokens_attend_back = SL_V(sl_simd_tokens_attend_back);
    k->tokens_mix = SL_V(sl_simd_tokens_mix), k->tokens_mix_back = SL_V(sl_simd_tokens_mix_back);
}
