/* Which product of 8-bit integers screens dictionaries, and the test that it must pass before it may. The choice is by instruction set;
 * results do not depend on it. */
#include "kern/scratch.h"

#include <stdlib.h>
#include <string.h>

/* ---- the self-test ---- */

enum { D = 3 * SL_INT8_STEP };

/* Rows of the largest numbers of one sign, of alternating ones, and of any: sums of pairs reach every extreme. */
static void fill(int8_t *q, int64_t rows, int most, int shift)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < D; i++) {
            int64_t v = r % 5 == 0 ? most : r % 5 == 1 ? -most : r % 5 == 2 ? (i & 1 ? most : -most) : r % 5 == 3 ? (i & 2 ? -most : most)
                                                                                   : (r * 31 + i * 17 + shift) % (2 * most + 1) - most;
            q[r * D + i] = (int8_t)v;
        }
}

static bool same(const sl_int8 *g, const int8_t *x, const int8_t *w, const int32_t *c)
{
    for (int64_t r = 0; r < g->rows; r++)
        for (int64_t f = 0; f < g->cols; f++) {
            int32_t sum = 0;
            for (int64_t i = 0; i < D; i++)
                sum += (x[r * D + i] - g->x_zero) * w[f * D + i];
            if (sum != c[r * g->cols + f])
                return false;
        }
    return true;
}

/* Extreme and mixed sums against plain C; false: the product is wrong on this machine, or there was no memory (sl_kern_failed). */
static bool passes(const sl_int8 *g, const sl_kern *k)
{
    size_t panel = g->prepare(g, k, D);
    int8_t *x = sl_alloc(k->ctx, (size_t)(g->rows * D)), *w = sl_alloc(k->ctx, (size_t)(g->cols * D)), *packed = sl_alloc(k->ctx, panel);
    int32_t *c = sl_alloc(k->ctx, (size_t)(g->rows * g->cols) * sizeof *c);
    bool memory = x && w && packed && c, good = panel && memory;
    if (!memory)
        sl_kern_impl_of(k)->failed = true;
    if (good) {
        fill(x, g->rows, g->x_max, 3);
        fill(w, g->cols, g->w_max, 8);
        for (int64_t i = 0; i < g->rows * D; i++)
            x[i] = (int8_t)(x[i] + g->x_zero);
        good = g->pack(g, w, D, packed) && g->multiply(g, x, g->rows, D, packed, c) && same(g, x, w, c);
    }
    sl_free(k->ctx, x);
    sl_free(k->ctx, w);
    sl_free(k->ctx, packed);
    sl_free(k->ctx, c);
    return good;
}

/* ---- the choice ---- */

const sl_int8 *sl_kern_int8(const sl_kern *k)
{
    const sl_kern_impl *impl = sl_kern_impl_of(k);
    bool simd = impl->has_int8[SL_INT8_SIMD], onednn = impl->has_int8[SL_INT8_ONEDNN];
    switch (impl->screen) {
    case SL_SCREEN_SIMD: return simd ? &impl->int8[SL_INT8_SIMD] : NULL;
    case SL_SCREEN_ONEDNN: return onednn ? &impl->int8[SL_INT8_ONEDNN] : NULL;
    case SL_SCREEN_AUTO: return onednn && impl->int8_fast ? &impl->int8[SL_INT8_ONEDNN] : simd ? &impl->int8[SL_INT8_SIMD] : NULL;
    default: return NULL;
    }
}

void sl_kern_add_int8(const sl_kern *k, int which, const sl_int8 *g)
{
    sl_kern_impl *impl = sl_kern_impl_of(k);
    impl->int8[which] = *g;
    impl->has_int8[which] = passes(&impl->int8[which], k);
}

bool sl_kern_set_screen(const sl_kern *k, sl_screen how)
{
    sl_kern_impl *impl = sl_kern_impl_of(k);
    sl_int8 g;
    sl_err err;
    if (how == SL_SCREEN_ONEDNN && !impl->int8[SL_INT8_ONEDNN].prepare && strstr(k->id, "onednn")
        && sl_onednn_int8(k->ctx, &g, &impl->int8_fast, &err) == SL_OK)
        sl_kern_add_int8(k, SL_INT8_ONEDNN, &g);
    if ((how == SL_SCREEN_SIMD && !impl->has_int8[SL_INT8_SIMD]) || (how == SL_SCREEN_ONEDNN && !impl->has_int8[SL_INT8_ONEDNN]))
        return false;
    impl->screen = how;
    return true;
}
