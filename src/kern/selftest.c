/* The start-up check of the fast layers: a few slots where a miscompiled or miscounted kernel would hurt, on odd shapes, against
 * ref. The whole comparison is tests/kern/test_layers.c; this one is for `saelab doctor` on a user's machine. */
#include "kern/kern.h"

#include <saelab/kern_info.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { M = 33, N = 37, K = 65, T = 11, HEADS = 3, C = 24, ACTIVE = 5, ROOM = 8192 };

typedef struct lab {
    float x[ROOM], y[ROOM], w[ROOM]; /* inputs, N(0, 1), the same for both tables */
    float out[ROOM], aux[ROOM];      /* a probe's result, and what it needs besides */
    float ref[ROOM];
    int64_t row_ptr[M + 1];
    int32_t idx[M * N], entry[M * N], row[M * N];
    int64_t ptr[N + 1];
} lab;

static sl_tensor f32(float *p, int64_t a, int64_t b) { return sl_tensor_of(SL_F32, p, 2, a, b); }
static sl_tensor vec(float *p, int64_t a) { return sl_tensor_of(SL_F32, p, 1, a); }

/* Each probe fills the first elements of l->out and returns how many. */
static int64_t probe_gemm(const sl_kern *k, lab *l)
{
    for (int i = 0; i < 4; i++) {
        bool ta = i & 1, tb = i & 2;
        sl_tensor a = ta ? f32(l->x, K, M) : f32(l->x, M, K), b = tb ? f32(l->y, N, K) : f32(l->y, K, N);
        sl_tensor c = f32(l->out + i * M * N, M, N), bias = vec(l->w, N);
        k->gemm(k, &(sl_gemm){ .a = &a, .b = &b, .ta = ta, .tb = tb, .c = &c, .alpha = .5, .bias = &bias, .act = i ? SL_ACT_NONE : SL_ACT_GELU });
    }
    return 4 * M * N;
}

static int64_t probe_norm(const sl_kern *k, lab *l)
{
    sl_tensor x = f32(l->x, M, N), gain = vec(l->w, N), y = f32(l->out, M, N), stat = f32(l->aux, M, 2), dy = f32(l->y, M, N);
    sl_tensor dx = f32(l->out + M * N, M, N), dgain = vec(l->out + 2 * M * N, N);
    memset(l->out, 0, sizeof l->out);
    k->layernorm(k, &x, &gain, NULL, 1e-5, &y, &stat);
    k->layernorm_back(k, &x, &gain, &stat, &dy, &dx, &dgain, NULL);
    return 2 * M * N + N;
}

static int64_t probe_attention(const sl_kern *k, lab *l)
{
    sl_attn a = { .B = 2, .T = T, .C = C, .n_head = HEADS, .drop = { .seed = 1, .stream = 2, .p = .25 } };
    sl_tensor qkv = f32(l->x, 2 * T, 3 * C), y = f32(l->out, 2 * T, C), lse = vec(l->aux, 2 * HEADS * T), dy = f32(l->y, 2 * T, C);
    sl_tensor dqkv = f32(l->out + 2 * T * C, 2 * T, 3 * C);
    memset(l->out, 0, sizeof l->out);
    k->attention(k, &a, &qkv, &y, &lse);
    k->attention_back(k, &a, &qkv, &y, &lse, &dy, &dqkv);
    return 2 * T * 4 * C;
}

static int64_t probe_xent(const sl_kern *k, lab *l)
{
    int32_t target[M];
    for (int i = 0; i < M; i++)
        target[i] = i % (N + 1) - 1;
    sl_tensor logits = f32(l->out, M, N), targets = sl_tensor_of(SL_I32, target, 1, (int64_t)M);
    memcpy(l->out, l->x, sizeof l->out);
    l->out[M * N] = (float)k->softmax_xent(k, &logits, &targets, true, NULL);
    return M * N + 1;
}

/* Codes, decoded and their gradient. The choice itself must be the same, which a wrong one shows as a large difference. */
static int64_t probe_sparse(const sl_kern *k, lab *l)
{
    sl_csr z = { .n_rows = M, .n_cols = N, .capacity = M * ACTIVE, .row_ptr = l->row_ptr, .idx = l->idx, .val = l->aux };
    sl_tensor x = f32(l->x, M, K), W = f32(l->w, N, K), b = vec(l->y, N), y = f32(l->out, M, K), dW = f32(l->out + M * K, N, K);
    memset(l->out, 0, sizeof l->out);
    k->encode_topk(k, &x, &W, &b, NULL, ACTIVE, &z);
    sl_tensor val = vec(l->aux, z.row_ptr[M]);
    k->sparse_decode(k, &z, &W, NULL, &y);
    sl_csc t = { N, l->ptr, l->entry, l->row };
    k->csr_transpose(k, &z, &t);
    k->dict_grad(k, &t, &val, &x, &dW, NULL);
    return (M + N) * K;
}

static int64_t probe_adam(const sl_kern *k, lab *l)
{
    sl_tensor w = vec(l->out, M * N), g = vec(l->y, M * N), m = vec(l->out + M * N, M * N), v = vec(l->out + 2 * M * N, M * N);
    memcpy(l->out, l->x, sizeof l->out);
    for (int i = 2 * M * N; i < 3 * M * N; i++)
        l->out[i] *= l->out[i]; /* a second moment is not negative */
    k->adam(k, &(sl_adam){ .lr = 1e-2, .beta1 = .9, .beta2 = .99, .eps = 1e-8, .decay = .1, .grad_scale = 1, .step = 2 }, &w, &g, &m, &v);
    return 3 * M * N;
}

/* tol: |fast - ref| <= tol (1 + |ref|); f32 rounding of sums of about 65 terms stays below a tenth of it */
static const struct { const char *slots; int64_t (*run)(const sl_kern *k, lab *l); double tol; } probes[] = {
    { "gemm", probe_gemm, 1e-4 },
    { "layernorm, layernorm_back", probe_norm, 1e-3 },
    { "attention, attention_back", probe_attention, 1e-4 },
    { "softmax_xent", probe_xent, 1e-5 },
    { "encode_topk, sparse_decode, dict_grad", probe_sparse, 1e-3 },
    { "adam", probe_adam, 1e-4 },
};

static sl_status compare(const sl_kern *fast, const sl_kern *ref, lab *l, sl_err *err)
{
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++) {
        int64_t n = probes[i].run(ref, l);
        memcpy(l->ref, l->out, sizeof l->ref);
        probes[i].run(fast, l);
        if (sl_kern_failed(fast) || sl_kern_failed(ref))
            return sl_fail(err, SL_MEM, probes[i].slots, NULL, "no memory for the self-test");
        for (int64_t j = 0; j < n; j++)
            if (!(fabs((double)l->out[j] - (double)l->ref[j]) <= probes[i].tol * (1 + fabs((double)l->ref[j]))))
                return sl_fail(err, SL_NUMERIC, probes[i].slots, "the plain kernels' value; SL_KERN=ref avoids the fast ones",
                               "kernels '%s' give %.7g instead of %.7g", fast->id, (double)l->out[j], (double)l->ref[j]);
    }
    return SL_OK;
}

sl_status sl_kern_selftest(sl_ctx *ctx, sl_err *err)
{
    const sl_kern *fast, *ref;
    SL_TRY(sl_kern_get(ctx, SL_F32, &fast, err));
    SL_TRY(sl_kern_named(ctx, "ref", &ref, err));
    lab *l = sl_alloc(ctx, sizeof *l);
    if (!l)
        return sl_fail(err, SL_MEM, "kernels", NULL, "no memory for the self-test");
    sl_rng r = sl_rng_at(1, SL_RNG_TEST, 0, 0);
    for (int i = 0; i < ROOM; i++) {
        l->x[i] = (float)sl_rng_normal(&r);
        l->y[i] = (float)sl_rng_normal(&r);
        l->w[i] = (float)sl_rng_normal(&r);
    }
    sl_status st = compare(fast, ref, l, err);
    sl_free(ctx, l);
    return st;
}
