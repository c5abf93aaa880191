/* oneDNN's matmul on tiles of C, each by one thread of ours: a primitive for every shape of tile, made for one thread, kept while there is room,
 * and run with the thread's own scratchpad. Both operands are rounded once a call. */
#include "kern/onednn_matmul.h"
#include "kern/onednn_any.h"
#include "kern/scratch.h"

#include <omp.h>
#include <string.h>

enum { TILE_M = 256, TILE_N = 512, KEPT = 48, ROUND = 1 << 14 };
enum { SCRATCH_A = SL_SCRATCH_ONEDNN + 1, SCRATCH_B, SCRATCH_PAD }; /* 0 is the caller's */

typedef struct key { int64_t m, n, K, lda, ldb, ldc; bool ta, tb; float beta; } key;
typedef struct kept {
    key key;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t run;
    onednn_shape a, b, c;
    size_t pad;
} kept;

struct sl_matmul {
    dnnl_engine_t engine;
    dnnl_data_type_t type;
    kept kept[KEPT];
    int n_made; /* over all; the place is n_made % KEPT */
};

/* ---- primitives ---- */

static void forget(kept *p)
{
    if (p->run)
        dnnl_primitive_destroy(p->run);
    if (p->pd)
        dnnl_primitive_desc_destroy(p->pd);
    onednn_shape_free(&p->a);
    onednn_shape_free(&p->b);
    onednn_shape_free(&p->c);
    memset(p, 0, sizeof *p);
}

static bool make(sl_matmul *m, kept *p, const key *q, dnnl_primitive_attr_t attr)
{
    dnnl_post_ops_t ops = NULL;
    bool good = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) == dnnl_success;
    if (good && q->beta != 0) {
        good = dnnl_post_ops_create(&ops) == dnnl_success && onednn_add_to(ops, q->beta) == dnnl_success
            && dnnl_primitive_attr_set_post_ops(attr, ops) == dnnl_success;
        if (ops)
            dnnl_post_ops_destroy(ops);
    }
    return good && onednn_shape_strided(&p->a, q->m, q->K, m->type, q->ta ? 1 : q->lda, q->ta ? q->lda : 1) == dnnl_success
        && onednn_shape_strided(&p->b, q->K, q->n, m->type, q->tb ? 1 : q->ldb, q->tb ? q->ldb : 1) == dnnl_success
        && onednn_shape_strided(&p->c, q->m, q->n, dnnl_f32, q->ldc, 1) == dnnl_success
        && onednn_matmul(&p->pd, m->engine, &p->a, &p->b, &p->c, attr) == dnnl_success && dnnl_primitive_create(&p->run, p->pd) == dnnl_success;
}

/* The primitive of a shape, NULL when oneDNN makes none. */
static kept *find(sl_matmul *m, const key *q)
{
    for (int i = 0; i < KEPT; i++) {
        const key *o = &m->kept[i].key;
        if (m->kept[i].run && o->m == q->m && o->n == q->n && o->K == q->K && o->lda == q->lda && o->ldb == q->ldb && o->ldc == q->ldc && o->ta == q->ta
            && o->tb == q->tb && o->beta == q->beta)
            return &m->kept[i];
    }
    kept *p = &m->kept[m->n_made++ % KEPT];
    dnnl_primitive_attr_t attr = NULL;
    int threads = omp_get_max_threads();
    forget(p);
    omp_set_num_threads(1); /* a primitive is cut for as many threads as there may be when it is made */
    bool good = dnnl_primitive_attr_create(&attr) == dnnl_success && make(m, p, q, attr);
    omp_set_num_threads(threads);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    if (!good) {
        forget(p);
        return NULL;
    }
    p->key = *q;
    p->pad = dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(p->pd, dnnl_query_scratchpad_md, 0));
    return p;
}

static bool execute(const sl_matmul *m, const kept *p, const void *a, const void *b, float *c, void *pad)
{
    dnnl_memory_t x = NULL, y = NULL, z = NULL, s = NULL;
    dnnl_stream_t stream = NULL;
    bool good = dnnl_stream_create(&stream, m->engine, dnnl_stream_default_flags) == dnnl_success
        && dnnl_memory_create(&x, onednn_shape_of(&p->a), m->engine, (void *)(uintptr_t)a) == dnnl_success
        && dnnl_memory_create(&y, onednn_shape_of(&p->b), m->engine, (void *)(uintptr_t)b) == dnnl_success
        && dnnl_memory_create(&z, onednn_shape_of(&p->c), m->engine, c) == dnnl_success
        && dnnl_memory_create(&s, dnnl_primitive_desc_query_md(p->pd, dnnl_query_scratchpad_md, 0), m->engine, pad) == dnnl_success;
    if (good) {
        const dnnl_exec_arg_t args[] = { { DNNL_ARG_SRC, x }, { DNNL_ARG_WEIGHTS, y }, { DNNL_ARG_DST, z }, { DNNL_ARG_SCRATCHPAD, s } };
        good = dnnl_primitive_execute(p->run, stream, 4, args) == dnnl_success && dnnl_stream_wait(stream) == dnnl_success;
    }
    dnnl_memory_t all[] = { x, y, z, s };
    for (int i = 0; i < 4; i++)
        if (all[i])
            dnnl_memory_destroy(all[i]);
    if (stream)
        dnnl_stream_destroy(stream);
    return good;
}

/* ---- a product ---- */

static const void *rounded(const sl_matmul *m, const sl_kern *k, const sl_tensor *t, int which)
{
    const float *from = t->data;
    int64_t n = sl_numel(t), parts = (n + ROUND - 1) / ROUND;
    if (m->type == dnnl_f32)
        return from;
    uint16_t *to = sl_kern_scratch(k, which, (size_t)n * sizeof *to);
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static) if (to)
    for (int64_t p = 0; p < (to ? parts : 0); p++)
        sl_from_f32(from + p * ROUND, SL_BF16, to + p * ROUND, n - p * ROUND < ROUND ? n - p * ROUND : ROUND);
    return to;
}

bool sl_matmul_run(sl_matmul *m, const sl_kern *k, const sl_gemm *g, const sl_gemm_dims *d, float *to, float beta)
{
    int64_t across = (d->N + TILE_N - 1) / TILE_N, tiles = (d->M + TILE_M - 1) / TILE_M * across;
    size_t size = m->type == dnnl_f32 ? sizeof(float) : sizeof(uint16_t), pad = 1;
    int64_t M[] = { TILE_M, d->M % TILE_M }, N[] = { TILE_N, d->N % TILE_N };
    kept *of[2][2] = { { NULL } }; /* [last row of tiles][last column] */
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            bool there = M[i] > 0 && N[j] > 0 && M[i] <= d->M && N[j] <= d->N;
            of[i][j] = there ? find(m, &(key){ M[i], N[j], d->K, d->lda, d->ldb, d->N, g->ta, g->tb, beta }) : NULL;
            if (there && !of[i][j])
                return false;
            pad = there && of[i][j]->pad > pad ? of[i][j]->pad : pad;
        }
    pad = (pad + 63) / 64 * 64;
    char *pads = sl_kern_scratch(k, SCRATCH_PAD, pad * (size_t)k->n_threads);
    const char *a = rounded(m, k, g->a, SCRATCH_A), *b = rounded(m, k, g->b, SCRATCH_B);
    bool failed = !pads || !a || !b;
    #pragma omp parallel for num_threads(sl_team(k, d->M * d->N * d->K)) schedule(dynamic) reduction(|| : failed)
    for (int64_t t = 0; t < (failed ? 0 : tiles); t++) {
        int64_t i = t / across * TILE_M, j = t % across * TILE_N;
        const kept *p = of[d->M - i < TILE_M][d->N - j < TILE_N];
        failed = !execute(m, p, a + size * (size_t)(g->ta ? i : i * d->lda), b + size * (size_t)(g->tb ? j * d->ldb : j), to + i * d->N + j,
                          pads + pad * (size_t)omp_get_thread_num()) || failed;
    }
    return !failed;
}

/* ---- making ---- */

void sl_matmul_free(sl_ctx *ctx, void *p)
{
    sl_matmul *m = p;
    for (int i = 0; m && i < KEPT; i++)
        forget(&m->kept[i]);
    if (m && m->engine)
        dnnl_engine_destroy(m->engine);
    sl_free(ctx, m);
}

sl_status sl_matmul_new(sl_ctx *ctx, bool bf16, sl_matmul **out, sl_err *err)
{
    sl_matmul *m = sl_alloc(ctx, sizeof *m);
    *out = NULL;
    if (!m)
        return sl_fail(err, SL_MEM, "kernels", NULL, "no memory for oneDNN's products");
    m->type = bf16 ? dnnl_bf16 : dnnl_f32;
    if (dnnl_engine_create(&m->engine, dnnl_cpu, 0) != dnnl_success || !find(m, &(key){ TILE_M, TILE_N, 64, 64, 64, TILE_N, false, true, 0 })) {
        sl_matmul_free(ctx, m);
        return sl_fail(err, SL_UNAVAILABLE, "kernels", "a CPU with bf16 products", "oneDNN has none here");
    }
    *out = m;
    return SL_OK;
}
