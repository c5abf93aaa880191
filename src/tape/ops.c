/* The operator table: what the gradient checker and the documentation walk. */
#include "tape/node.h"

const sl_op *const sl_op_table[] = {
    &sl_op_add, &sl_op_sub, &sl_op_mul, &sl_op_scale,
    &sl_op_add_row, &sl_op_sub_row, &sl_op_mul_row, &sl_op_row_norm,
    &sl_op_matmul, &sl_op_linear,
    &sl_op_activation, &sl_op_dropout,
    &sl_op_layernorm, &sl_op_rmsnorm,
    &sl_op_embed, &sl_op_rotary, &sl_op_attention,
    &sl_op_xent, &sl_op_head_xent,
    &sl_op_sum, &sl_op_mean, &sl_op_sq_dist,
    &sl_op_stop_grad, &sl_op_freeze, &sl_op_replace,
    &sl_op_encode_topk, &sl_op_encode_topk_among, &sl_op_sparse_decode, &sl_op_decode_among,
    &sl_op_encode_batch, &sl_op_code_slice, &sl_op_code_add,
    &sl_op_jumprelu, &sl_op_l0_step, &sl_op_hinge, &sl_op_gate, &sl_op_penalty,
    &sl_op_encode_moved, &sl_op_encode_at, &sl_op_code_of, &sl_op_code_minus, &sl_op_code_keep, &sl_op_row_weights, &sl_op_col_weights, &sl_op_stability,
    &sl_op_attend, &sl_op_mix, &sl_op_pairs_entropy, &sl_op_code_rows, &sl_op_scale_by, &sl_op_softplus, &sl_op_decorrelate,
    NULL
};

const char *sl_op_name(const sl_op *op) { return op->name; }
