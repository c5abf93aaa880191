/* ref: every slot of the table. */
static void fill_table(sl_kern *k)
{
    snprintf(k->id, sizeof k->id, "ref");
    k->dtype = REAL_DTYPE;
    k->gemm = gemm;
    k->fill = fill, k->copy = copy, k->axpby = axpby, k->add = add, k->mul = mul;
    k->add_row = add_row, k->mul_row = mul_row, k->col_sum = col_sum;
    k->act = act, k->act_back = act_back, k->dropout = dropout;
    k->sum = sum, k->sum_sq = sum_sq, k->dot = dot, k->sq_dist = sq_dist, k->not_finite = not_finite;
    k->layernorm = layernorm, k->layernorm_back = layernorm_back;
    k->rmsnorm = rmsnorm, k->rmsnorm_back = rmsnorm_back;
    k->embed = embed, k->embed_back = embed_back, k->rotary = rotary;
    k->attention = attention, k->attention_back = attention_back, k->softmax_xent = softmax_xent, k->count_targets = count_targets;
    k->gemv = gemv, k->attend = attend;
    k->encode_topk = encode_topk, k->encode_topk_keep = encode_topk_keep, k->encode_moved = encode_moved, k->encode_at = encode_at;
    k->csr_topk = csr_topk, k->csc_of_mask = csc_of_mask;
    k->csr_from_dense = csr_from_dense, k->csr_to_dense = csr_to_dense;
    k->csr_keep_largest = csr_keep_largest, k->csr_slice = csr_slice, k->csr_add = csr_add, k->csr_pick = csr_pick;
    k->csr_minus = csr_minus, k->csr_keep_rows = csr_keep_rows, k->csr_row_weights = csr_row_weights, k->csr_residual = csr_residual;
    k->csr_col_weights = csr_col_weights, k->noise_rows = noise_rows;
    k->sparse_decode = sparse_decode, k->sparse_dval = sparse_dval, k->dict_grad = dict_grad;
    k->csr_transpose = csr_transpose, k->mix_rows = mix_rows, k->sweep_sq = sweep_sq, k->sweep_adam = sweep_adam;
    k->jump = jump, k->jump_back = jump_back, k->jump_near = jump_near, k->count = count, k->count_back = count_back, k->count_near = count_near;
    k->hinge = hinge, k->hinge_back = hinge_back, k->gate = gate, k->gate_back = gate_back, k->penalty = penalty, k->penalty_back = penalty_back;
    k->tokens_attend = tokens_attend, k->tokens_attend_back = tokens_attend_back, k->tokens_mix = tokens_mix, k->tokens_mix_back = tokens_mix_back;
    k->tokens_entropy = tokens_entropy, k->tokens_entropy_back = tokens_entropy_back, k->softplus = softplus, k->softplus_back = softplus_back;
    k->col_standardize = col_standardize, k->col_standardize_back = col_standardize_back;
    k->adam = adam, k->row_norms = row_norms, k->row_norms_back = row_norms_back;
    k->row_normalize = row_normalize, k->row_project = row_project;
}
