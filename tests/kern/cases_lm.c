/* Cases: the language model's slots. */
#include "cases.h"

static void run_embed(krun *r)
{
    sl_tensor table = kt_random(r, r->s.k, r->s.n, 0), ids = kt_ids(r, r->s.m, 0, r->s.k, false);
    sl_tensor y = kt_nan(r, r->s.m, r->s.n, 0), z = kt_random(r, r->s.m, r->s.n, 0);
    r->k->embed(r->k, &ids, &table, 0, &y);
    r->k->embed(r->k, &ids, &table, 1, &z);
    kt_record(r, &y);
    kt_record(r, &z);
}

static void run_embed_back(krun *r)
{
    sl_tensor ids = kt_ids(r, r->s.m, 0, r->s.k, false), dy = kt_random(r, r->s.m, r->s.n, 0), table = kt_random(r, r->s.k, r->s.n, 0);
    r->k->embed_back(r->k, &ids, &dy, &table);
    kt_record(r, &table);
}

static void run_rotary(krun *r)
{
    int64_t C = r->s.hd * r->s.H;
    sl_tensor x = kt_random(r, r->s.B, r->s.T, 3 * C), y = kt_nan(r, r->s.B, r->s.T, 3 * C);
    r->k->rotary(r->k, &x, r->s.H, 5, 1e4, 1, 0, &y);
    kt_record(r, &y);
    r->k->rotary(r->k, &x, r->s.H, 0, 1e4, -1, 1, &y);
    kt_record(r, &y);
    r->k->rotary(r->k, &y, r->s.H, 1, 1e4, 1, 0, &y);
    kt_record(r, &y);
}

static void attention_case(krun *r, double p, bool backward)
{
    int64_t B = r->s.B, T = r->s.T, C = r->s.hd * r->s.H;
    sl_attn a = { .B = B, .T = T, .C = C, .n_head = r->s.H, .drop = { .seed = 77, .stream = 1ull << 40, .p = p } };
    sl_tensor qkv = kt_random(r, B, T, 3 * C), y = kt_nan(r, B, T, C), lse = kt_nan(r, B, r->s.H, T);
    r->k->attention(r->k, &a, &qkv, &y, &lse);
    if (!backward) {
        kt_record(r, &y);
        kt_record(r, &lse);
        return;
    }
    sl_tensor dy = kt_random(r, B, T, C), dqkv = kt_random(r, B, T, 3 * C);
    r->k->attention_back(r->k, &a, &qkv, &y, &lse, &dy, &dqkv);
    kt_record(r, &dqkv);
}

static void run_attention(krun *r) { attention_case(r, 0, false), attention_case(r, .25, false); }
static void run_attention_back(krun *r) { attention_case(r, 0, true), attention_case(r, .25, true); }

static void run_gemv(krun *r)
{
    int64_t n = r->s.m, d = r->s.n;
    sl_tensor W = kt_random(r, n, d, 0), x = kt_random(r, d, 0, 0), b = kt_random(r, n, 0, 0), y = kt_nan(r, n, 0, 0), z = kt_random(r, n, 0, 0);
    r->k->gemv(r->k, &W, &x, NULL, SL_ACT_NONE, 0, &y);
    r->k->gemv(r->k, &W, &x, &b, SL_ACT_GELU, 1, &z);
    kt_record(r, &y);
    kt_record(r, &z);
    uint16_t half[130 * 129]; /* the largest shape */
    for (int64_t i = 0; i < n * d; i++)
        half[i] = sl_f32_to_bf16((float)sl_rng_normal(&r->rng));
    sl_tensor bf16 = sl_tensor_of(SL_BF16, half, 2, n, d);
    r->k->gemv(r->k, &bf16, &x, NULL, SL_ACT_NONE, 0, &y);
    kt_record(r, &y);
}

static void run_attend(krun *r)
{
    int64_t T = r->s.T, C = r->s.hd * r->s.H;
    sl_tensor qkv = kt_random(r, T + 2, 3 * C, 0), y = kt_nan(r, C, 0, 0);
    r->k->attend(r->k, &(sl_attn){ .B = 1, .T = T, .C = C, .n_head = r->s.H }, &qkv, &y);
    kt_record(r, &y);
}

static void run_softmax_xent(krun *r)
{
    for (int grad = 0; grad < 2; grad++) {
        sl_tensor x = kt_random(r, r->s.m, r->s.n, 0), target = kt_ids(r, r->s.m, 0, r->s.n, true), each = kt_nan(r, r->s.m, 0, 0);
        kt_number(r, r->k->softmax_xent(r->k, &x, &target, grad, grad ? &each : NULL));
        kt_record(r, &x);
        if (grad)
            kt_record(r, &each);
    }
}

static void run_count_targets(krun *r)
{
    sl_tensor target = kt_ids(r, r->s.m, r->s.n, 9, true);
    kt_number(r, (double)r->k->count_targets(r->k, &target));
}

const kcase kcases_lm[] = {
    KCASE(embed, run_embed, 0, 0),
    KCASE(embed_back, run_embed_back, 1e-5, 1e-6),
    KCASE(rotary, run_rotary, 2e-6, 2e-6),
    KCASE(attention, run_attention, 1e-5, 1e-5),
    KCASE(attention_back, run_attention_back, 3e-5, 3e-5),
    KCASE(gemv, run_gemv, 2e-5, 1e-5),
    KCASE(attend, run_attend, 1e-5, 1e-5),
    KCASE(softmax_xent, run_softmax_xent, 2e-6, 5e-6),
    KCASE(count_targets, run_count_targets, 0, 0),
    { NULL, 0, NULL, 0, 0 },
};
