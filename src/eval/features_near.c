/* Neighbours by cosine of decoder rows: a product of the dictionary with itself, in tiles. */
#include "eval/features.h"
#include "kern/kern.h"

#include <math.h>
#include <string.h>

/* Rows of norm 1 (0 stays 0), and their norms as a column. */
static float *unit_rows(sl_fbuild *b)
{
    int64_t F = b->x.size[FD_FEATURES], d = sl_fbuild_width(b);
    float *W = sl_alloc(b->ctx, (size_t)(F * d) * sizeof *W);
    for (int64_t j = 0; W && j < F; j++) {
        const float *w = b->coder.W_dec + j * d;
        double sq = 0;
        for (int64_t i = 0; i < d; i++)
            sq += (double)w[i] * w[i];
        b->x.norm[j] = (float)sqrt(sq);
        for (int64_t i = 0; i < d; i++)
            W[j * d + i] = sq > 0 ? (float)(w[i] / sqrt(sq)) : 0;
    }
    return W;
}

static void keep_nearest(sl_fbuild *b, int64_t first, int64_t n, const float *cos)
{
    int64_t F = b->x.size[FD_FEATURES], near = b->x.size[FD_NEAR];
#pragma omp parallel for num_threads(sl_ctx_threads(b->ctx)) schedule(static)
    for (int64_t r = 0; r < n; r++) {
        int64_t j = first + r;
        sl_fbest best = { .room = (int)near, .id = b->x.cosine_id + j * near, .value = b->x.cosine + j * near };
        for (int64_t i = 0; near > 0 && i < F; i++)
            if (i != j && (best.n < near || cos[r * F + i] > best.value[best.n - 1]))
                sl_fbest_add(&best, (int32_t)i, cos[r * F + i]);
        for (int64_t i = best.n; i < near; i++)
            best.id[i] = -1;
        b->x.max_cosine[j] = best.n ? best.value[0] : NAN;
    }
}

sl_status sl_fbuild_cosines(sl_fbuild *b, sl_err *err)
{
    int64_t F = b->x.size[FD_FEATURES], d = sl_fbuild_width(b), tile = sl_fproduct_rows(F, F);
    const sl_kern *k;
    SL_TRY(sl_kern_get(b->ctx, SL_F32, &k, err));
    float *W = unit_rows(b), *cos = sl_alloc(b->ctx, (size_t)(tile * F) * sizeof *cos);
    sl_status st = W && cos ? SL_OK : sl_fail(err, SL_MEM, "feature index", NULL, "no memory for the cosines of %lld features", (long long)F);
    for (int64_t first = 0; st == SL_OK && first < F; first += tile) {
        int64_t n = F - first < tile ? F - first : tile;
        sl_tensor a = sl_tensor_of(SL_F32, W + first * d, 2, n, d), all = sl_tensor_of(SL_F32, W, 2, F, d), c = sl_tensor_of(SL_F32, cos, 2, n, F);
        k->gemm(k, &(sl_gemm){ .a = &a, .b = &all, .tb = true, .c = &c, .alpha = 1 });
        keep_nearest(b, first, n, cos);
        sl_progress(b->ctx, "neighbours", (double)(first + n), (double)F, "features", NULL);
        if (sl_kern_failed(k))
            st = sl_fail(err, SL_MEM, "feature index", NULL, "no memory for the product of the features");
        else if (sl_cancelled(b->ctx))
            st = sl_fail(err, SL_CANCELLED, "feature index", NULL, "stopped");
    }
    sl_free(b->ctx, W);
    sl_free(b->ctx, cos);
    return st;
}
