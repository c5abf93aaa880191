/* Matrix products by oneDNN: tiles of C, one thread each, which it computes at the hardware's limit with AVX-512 and above. With
 * AVX2 it reaches 60 % of the peak, so there the product of the simd layer stays. dnnl_sgemm is the same in oneDNN 2 and 3;
 * inside a parallel region of ours it runs on one thread, so the bits do not depend on how many there are. With --precision bf16, and where the
 * CPU multiplies bf16, products go to onednn_matmul.c instead. */
#include "kern/onednn_any.h"
#include "kern/onednn_matmul.h"
#include "kern/scratch.h"

#include <stdio.h>
#include <string.h>

enum { TILE_M = 256, TILE_N = 512, BF16_LEAST = 1 << 20 }; /* below it, rounding costs more than it saves */

/* Rows i0 .. i0 + m, columns j0 .. j0 + n: to = alpha op(a) op(b) + bias + beta to. False: oneDNN had no memory. */
static bool tile(const sl_gemm *g, const sl_gemm_dims *d, float *to, float beta, int64_t i0, int64_t j0)
{
    int64_t m = d->M - i0 < TILE_M ? d->M - i0 : TILE_M, n = d->N - j0 < TILE_N ? d->N - j0 : TILE_N;
    const float *a = (const float *)g->a->data + (g->ta ? i0 : i0 * d->lda);
    const float *b = (const float *)g->b->data + (g->tb ? j0 * d->ldb : j0);
    float *c = to + i0 * d->N + j0;
    dnnl_status_t st = dnnl_sgemm(g->ta ? 'T' : 'N', g->tb ? 'T' : 'N', m, n, d->K, (float)g->alpha, a, d->lda, b, d->ldb, beta, c, d->N);
    const float *bias = g->bias ? (const float *)g->bias->data + j0 : NULL;
    for (int64_t i = 0; bias && i < m; i++)
        for (int64_t j = 0; j < n; j++)
            c[i * d->N + j] += bias[j];
    return st == dnnl_success;
}

/* Where the value before the activation goes: pre, or c itself when nothing of it is needed afterwards. */
static float *before_act(const sl_kern *k, const sl_gemm *g, const sl_gemm_dims *d)
{
    if (g->pre)
        return g->pre->data;
    if (g->beta == 0 || g->act == SL_ACT_NONE)
        return g->c->data;
    return sl_kern_scratch(k, SL_SCRATCH_ONEDNN, (size_t)(d->M * d->N) * sizeof(float));
}

/* op(a) op(b), on which everything else follows. */
static bool product(const sl_kern *k, const sl_gemm *g, const sl_gemm_dims *d, float *to, float beta)
{
    sl_matmul *bf16 = sl_kern_impl_of(k)->layer[SL_KERN_LAYER_ONEDNN].state;
    if (bf16 && g->alpha == 1 && d->M * d->N * d->K >= BF16_LEAST) {
        bool good = sl_matmul_run(bf16, k, g, d, to, beta);
        #pragma omp parallel for num_threads(sl_team(k, d->M * d->N)) schedule(static) if (g->bias != NULL)
        for (int64_t i = 0; i < (g->bias ? d->M : 0); i++)
            for (int64_t j = 0; j < d->N; j++)
                to[i * d->N + j] += ((const float *)g->bias->data)[j];
        return good;
    }
    int64_t tiles_n = (d->N + TILE_N - 1) / TILE_N, tiles = (d->M + TILE_M - 1) / TILE_M * tiles_n;
    bool failed = false;
    #pragma omp parallel for num_threads(sl_team(k, d->M * d->N * d->K)) schedule(dynamic) reduction(|| : failed)
    for (int64_t t = 0; t < tiles; t++)
        failed = !tile(g, d, to, beta, t / tiles_n * TILE_M, t % tiles_n * TILE_N) || failed;
    return !failed;
}

static void gemm(const sl_kern *k, const sl_gemm *g)
{
    sl_gemm_dims d = sl_gemm_dims_of(g);
    float *to = before_act(k, g, &d);
    if (!to)
        return;
    bool own = to == (float *)g->c->data;
    float beta = own && g->act == SL_ACT_NONE ? (float)g->beta : 0;
    if (!product(k, g, &d, to, beta))
        sl_kern_impl_of(k)->failed = true;
    sl_tensor pre = *g->c;
    pre.data = to;
    if (own || g->beta == 0) {
        if (!own || g->act != SL_ACT_NONE)
            k->act(k, g->act, &pre, g->c);
        return;
    }
    if (g->act == SL_ACT_NONE) { /* pre was asked for, and c is added to */
        k->axpby(k, 1, &pre, g->beta, g->c);
        return;
    }
    sl_tensor value = pre;
    value.data = sl_kern_scratch(k, SL_SCRATCH_ONEDNN, (size_t)(d.M * d.N) * sizeof(float));
    if (!value.data)
        return;
    k->act(k, g->act, &pre, &value);
    k->axpby(k, 1, &value, g->beta, g->c);
}

/* Products of bf16, where they are asked for and the CPU has instructions for them: elsewhere oneDNN has none, or emulates them slowly. */
static sl_status add_bf16(sl_kern *k, sl_err *err)
{
    sl_matmul *m = NULL;
    if (!sl_ctx_options(k->ctx)->bf16)
        return SL_OK;
    bool has = (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
    sl_status st = has ? sl_matmul_new(k->ctx, true, &m, err) : SL_UNAVAILABLE;
    if (st == SL_UNAVAILABLE) {
        sl_log(k->ctx, SL_LOG_WARN, "precision: this CPU has no bf16 products; they are computed in f32");
        return SL_OK;
    }
    SL_TRY(st);
    sl_kern_impl_of(k)->layer[SL_KERN_LAYER_ONEDNN].state = m;
    sl_kern_impl_of(k)->layer[SL_KERN_LAYER_ONEDNN].free_fn = sl_matmul_free;
    k->gemm = gemm;
    snprintf(k->id + strlen(k->id), sizeof k->id - strlen(k->id), " bf16");
    return SL_OK;
}

sl_status sl_kern_onednn(sl_kern *k, sl_err *err)
{
    sl_kern_impl *impl = sl_kern_impl_of(k);
    sl_int8 g;
    if (!strstr(k->id, "simd/avx2"))
        k->gemm = gemm;
    const dnnl_version_t *v = dnnl_version();
    size_t n = strlen(k->id);
    snprintf(k->id + n, sizeof k->id - n, "+onednn %d.%d.%d", v->major, v->minor, v->patch);
    SL_TRY(add_bf16(k, err));
    SL_TRY(sl_onednn_int8(k->ctx, &g, &impl->int8_fast, err));
    if (impl->int8_fast)
        sl_kern_add_int8(k, SL_INT8_ONEDNN, &g);
    else
        g.free_fn(k->ctx, g.state);
    return SL_OK;
}
