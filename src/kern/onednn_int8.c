/* Products of 8-bit integers by oneDNN, for screening (kern/int8.h): one primitive of a fixed tile for each width of rows, made for one
 * thread and called by each thread of ours with its own scratchpad. Without VNNI or AMX the product saturates sums of two at 16 bits unless |W| stays below 64. */
#include "kern/int8.h"
#include "kern/onednn_any.h"
#include "kern/scratch.h"

#include <omp.h>
#include <string.h>

enum { ROWS = 128, COLS = 256 };

typedef struct lane { dnnl_stream_t stream; dnnl_memory_t x, w, c, pad, plain, packed; void *scratch; } lane; /* of one thread */

typedef struct state {
    sl_ctx *ctx;
    dnnl_engine_t engine;
    int64_t d; /* what follows is for: 0 nothing */
    bool no_memory;
    dnnl_primitive_desc_t product_pd, pack_pd;
    dnnl_primitive_t product, pack;
    size_t panel_bytes;
    int n_lane;
    lane *lane;
} state;

/* ---- primitives for one width ---- */

static void lane_free(state *t, lane *l)
{
    dnnl_memory_t all[] = { l->x, l->w, l->c, l->pad, l->plain, l->packed };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i])
            dnnl_memory_destroy(all[i]);
    if (l->stream)
        dnnl_stream_destroy(l->stream);
    sl_free(t->ctx, l->scratch);
}

static void forget(state *t)
{
    for (int i = 0; i < t->n_lane; i++)
        lane_free(t, &t->lane[i]);
    sl_free(t->ctx, t->lane);
    if (t->product)
        dnnl_primitive_destroy(t->product);
    if (t->pack)
        dnnl_primitive_destroy(t->pack);
    if (t->product_pd)
        dnnl_primitive_desc_destroy(t->product_pd);
    if (t->pack_pd)
        dnnl_primitive_desc_destroy(t->pack_pd);
    *t = (state){ .ctx = t->ctx, .engine = t->engine };
}

static bool lane_make(state *t, lane *l, onednn_shape *x, onednn_shape *plain, onednn_shape *c)
{
    onednn_shape_in w = dnnl_primitive_desc_query_md(t->product_pd, dnnl_query_weights_md, 0);
    onednn_shape_in pad = dnnl_primitive_desc_query_md(t->product_pd, dnnl_query_scratchpad_md, 0);
    size_t bytes = dnnl_memory_desc_get_size(pad);
    l->scratch = sl_alloc(t->ctx, bytes + SL_INT8_ALIGN);
    t->no_memory = !l->scratch;
    return l->scratch && dnnl_stream_create(&l->stream, t->engine, dnnl_stream_default_flags) == dnnl_success
        && dnnl_memory_create(&l->x, onednn_shape_of(x), t->engine, DNNL_MEMORY_NONE) == dnnl_success
        && dnnl_memory_create(&l->w, w, t->engine, DNNL_MEMORY_NONE) == dnnl_success
        && dnnl_memory_create(&l->c, onednn_shape_of(c), t->engine, DNNL_MEMORY_NONE) == dnnl_success
        && dnnl_memory_create(&l->pad, pad, t->engine, l->scratch) == dnnl_success
        && dnnl_memory_create(&l->plain, onednn_shape_of(plain), t->engine, DNNL_MEMORY_NONE) == dnnl_success
        && dnnl_memory_create(&l->packed, w, t->engine, DNNL_MEMORY_NONE) == dnnl_success;
}

static bool make(state *t, int64_t d, dnnl_primitive_attr_t attr, onednn_shape s[4])
{
    onednn_shape_in w;
    if (onednn_shape_make(&s[0], ROWS, d, dnnl_s8, dnnl_ab) || onednn_shape_make(&s[1], d, COLS, dnnl_s8, dnnl_format_tag_any)
        || onednn_shape_make(&s[2], ROWS, COLS, dnnl_s32, dnnl_ab) || onednn_shape_make(&s[3], d, COLS, dnnl_s8, dnnl_ba)
        || dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user) || onednn_matmul(&t->product_pd, t->engine, &s[0], &s[1], &s[2], attr))
        return false;
    w = dnnl_primitive_desc_query_md(t->product_pd, dnnl_query_weights_md, 0);
    if (dnnl_primitive_create(&t->product, t->product_pd)
        || dnnl_reorder_primitive_desc_create(&t->pack_pd, onednn_shape_of(&s[3]), t->engine, w, t->engine, NULL)
        || dnnl_primitive_create(&t->pack, t->pack_pd))
        return false;
    t->panel_bytes = dnnl_memory_desc_get_size(w);
    for (int i = 0; i < t->n_lane; i++)
        if (!lane_make(t, &t->lane[i], &s[0], &s[3], &s[2]))
            return false;
    return true;
}

static size_t prepare(const sl_int8 *g, const sl_kern *k, int64_t d)
{
    state *t = g->state;
    if (t->d == d && t->n_lane == k->n_threads)
        return t->panel_bytes;
    forget(t);
    dnnl_primitive_attr_t attr = NULL;
    onednn_shape s[4];
    memset(s, 0, sizeof s);
    int threads = omp_get_max_threads();
    omp_set_num_threads(1); /* a primitive is cut for as many threads as there may be when it is made */
    t->lane = sl_alloc(t->ctx, (size_t)k->n_threads * sizeof *t->lane);
    t->n_lane = t->lane ? k->n_threads : 0;
    bool good = t->lane && dnnl_primitive_attr_create(&attr) == dnnl_success && make(t, d, attr, s);
    omp_set_num_threads(threads);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    for (int i = 0; i < 4; i++)
        onednn_shape_free(&s[i]);
    if (!good) {
        if (!t->lane || t->no_memory)
            sl_kern_impl_of(k)->failed = true;
        forget(t);
        return 0;
    }
    t->d = d;
    return t->panel_bytes;
}

/* ---- the product ---- */

static bool run(lane *l, dnnl_primitive_t p, int n, const dnnl_exec_arg_t *args)
{
    return dnnl_primitive_execute(p, l->stream, n, args) == dnnl_success && dnnl_stream_wait(l->stream) == dnnl_success;
}

static bool pack(const sl_int8 *g, const int8_t *w, int64_t d, void *panel)
{
    state *t = g->state;
    lane *l = &t->lane[omp_get_thread_num()];
    (void)d;
    if (dnnl_memory_set_data_handle(l->plain, (void *)(uintptr_t)w) || dnnl_memory_set_data_handle(l->packed, panel))
        return false;
    return run(l, t->pack, 2, (dnnl_exec_arg_t[]){ { DNNL_ARG_FROM, l->plain }, { DNNL_ARG_TO, l->packed } });
}

static bool multiply(const sl_int8 *g, const int8_t *x, int64_t m, int64_t d, const void *panel, int32_t *c)
{
    state *t = g->state;
    lane *l = &t->lane[omp_get_thread_num()];
    (void)m, (void)d; /* a tile is always whole */
    if (dnnl_memory_set_data_handle(l->x, (void *)(uintptr_t)x) || dnnl_memory_set_data_handle(l->w, (void *)(uintptr_t)panel)
        || dnnl_memory_set_data_handle(l->c, c))
        return false;
    const dnnl_exec_arg_t args[] = { { DNNL_ARG_SRC, l->x }, { DNNL_ARG_WEIGHTS, l->w }, { DNNL_ARG_DST, l->c }, { DNNL_ARG_SCRATCHPAD, l->pad } };
    return run(l, t->product, 4, args);
}

static void free_state(sl_ctx *ctx, void *p)
{
    state *t = p;
    forget(t);
    dnnl_engine_destroy(t->engine);
    sl_free(ctx, t);
}

sl_status sl_onednn_int8(sl_ctx *ctx, sl_int8 *g, bool *fast, sl_err *err)
{
    state *t = sl_alloc(ctx, sizeof *t);
    if (!t)
        return sl_fail(err, SL_MEM, "kernels", NULL, "no memory for oneDNN's integer products");
    t->ctx = ctx;
    if (dnnl_engine_create(&t->engine, dnnl_cpu, 0) != dnnl_success) {
        sl_free(ctx, t);
        return sl_fail(err, SL_UNAVAILABLE, "kernels", "a CPU that oneDNN knows", "oneDNN makes no engine");
    }
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    *fast = isa == dnnl_cpu_isa_avx2_vnni || (isa & dnnl_cpu_isa_avx512_core_vnni) == dnnl_cpu_isa_avx512_core_vnni;
    *g = (sl_int8){ .rows = ROWS, .cols = COLS, .x_max = 127, .least_share = 16, .least_d = SL_INT8_STEP, .most_d = 1 << 16, .w_max = *fast ? 127 : 63, .state = t, .prepare = prepare, .pack = pack,
                    .multiply = multiply, .free_fn = free_state };
    return SL_OK;
}
