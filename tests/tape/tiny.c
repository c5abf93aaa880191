/* See tiny.h. */
#include "tiny.h"

#include <string.h>

static sl_status add_params(tiny *m, sl_dtype dtype, sl_err *err)
{
    const int64_t C = TINY_C, F = TINY_F;
    SL_TRY(sl_params_new(m->ctx, dtype, &m->ps, err));
    m->wte = sl_params_add(m->ps, SL_PARAM_DECAY, "wte", 2, (int64_t)TINY_V, C);
    m->ln_w = sl_params_add(m->ps, 0, "ln.weight", 1, C);
    m->ln_b = sl_params_add(m->ps, 0, "ln.bias", 1, C);
    m->qkv = sl_params_add(m->ps, SL_PARAM_DECAY | SL_PARAM_MATRIX, "qkv", 2, 3 * C, C);
    m->proj = sl_params_add(m->ps, SL_PARAM_DECAY | SL_PARAM_MATRIX, "proj", 2, C, C);
    m->fc = sl_params_add(m->ps, SL_PARAM_DECAY | SL_PARAM_MATRIX, "fc", 2, 2 * C, C);
    m->fc_b = sl_params_add(m->ps, 0, "fc.bias", 1, 2 * C);
    m->out = sl_params_add(m->ps, SL_PARAM_DECAY | SL_PARAM_MATRIX, "out", 2, C, 2 * C);
    m->norm = sl_params_add(m->ps, 0, "norm", 1, C);
    m->W_enc = sl_params_add(m->ps, 0, "W_enc", 2, F, C);
    m->b_enc = sl_params_add(m->ps, 0, "b_enc", 1, F);
    m->W_dec = sl_params_add(m->ps, SL_PARAM_UNIT_ROWS, "W_dec", 2, F, C);
    m->b_dec = sl_params_add(m->ps, 0, "b_dec", 1, C);
    SL_TRY(sl_params_build(m->ps, true, err));
    for (int i = 0; i < sl_params_count(m->ps); i++)
        sl_param_normal(m->ps, sl_params_at(m->ps, i), 11, .3);
    return SL_OK;
}

sl_status tiny_new(sl_ctx *ctx, sl_dtype dtype, tiny *m, sl_err *err)
{
    memset(m, 0, sizeof *m);
    m->ctx = ctx;
    sl_rng r = sl_rng_at(5, SL_RNG_TEST, 0, 0);
    for (int i = 0; i < TINY_B * TINY_T; i++) {
        m->ids[i] = (int32_t)sl_rng_below(&r, TINY_V);
        m->targets[i] = (int32_t)sl_rng_below(&r, TINY_V);
    }
    sl_status st = add_params(m, dtype, err);
    if (st == SL_OK)
        st = sl_tape_new(ctx, dtype, &m->t, err);
    if (st != SL_OK)
        tiny_free(m);
    return st;
}

void tiny_free(tiny *m)
{
    sl_tape_free(m->t);
    sl_params_free(m->ps);
    m->t = NULL;
    m->ps = NULL;
}

static sl_var transformer(tiny *m, const sl_tensor *ids, double p)
{
    sl_tape *t = m->t;
    sl_var none = { 0 }, x = sl_dropout(t, sl_embed(t, ids, sl_param_var(t, m->wte)), p);
    sl_var h = sl_layernorm(t, x, sl_param_var(t, m->ln_w), sl_param_var(t, m->ln_b));
    sl_var qkv = sl_rotary(t, sl_linear(t, h, sl_param_var(t, m->qkv), none, SL_ACT_NONE), 2, 10000);
    sl_var a = sl_linear(t, sl_attention(t, qkv, 2, p), sl_param_var(t, m->proj), none, SL_ACT_NONE);
    x = sl_add(t, x, sl_dropout(t, a, p));
    h = sl_linear(t, sl_rmsnorm(t, x, sl_param_var(t, m->norm)), sl_param_var(t, m->fc), sl_param_var(t, m->fc_b), SL_ACT_GELU);
    return sl_add(t, x, sl_linear(t, h, sl_param_var(t, m->out), none, SL_ACT_NONE));
}

sl_var tiny_loss(tiny *m, int first, int batch, double dropout)
{
    sl_tape *t = m->t;
    sl_tensor ids = sl_tensor_of(SL_I32, m->ids + first * TINY_T, 2, (int64_t)batch, (int64_t)TINY_T), targets = ids;
    targets.data = m->targets + first * TINY_T;
    sl_var x = transformer(m, &ids, dropout), b_dec = sl_param_var(t, m->b_dec);
    sl_var loss = sl_head_xent(t, x, sl_param_var(t, m->wte), &targets);
    sl_code z = sl_encode_topk(t, sl_sub_row(t, x, b_dec), sl_param_var(t, m->W_enc), sl_param_var(t, m->b_enc), TINY_K);
    sl_var xhat = sl_sparse_decode(t, z, sl_param_var(t, m->W_dec), b_dec);
    sl_var rec = sl_scale(t, sl_sum(t, sl_mul(t, xhat, xhat)), .01 / batch);
    return sl_add(t, loss, rec);
}

sl_status tiny_step(tiny *m, sl_optim *o, double dropout, sl_err *err)
{
    sl_tape_reset(m->t);
    sl_tape_random(m->t, 3, (uint64_t)o->step);
    sl_params_zero_grad(m->ps);
    SL_TRY(sl_tape_backward(m->t, tiny_loss(m, 0, TINY_B, dropout), err));
    return sl_optim_step(o, m->ps, NULL, err);
}
