/* One step of Adam in vectors: the arithmetic of ref, operation by operation, so the same bits. */
#ifndef SL_SIMD_ADAM_H
#define SL_SIMD_ADAM_H

#include "kern/kern.h"
#include "kern/simd_vec.h"

#include <math.h>

typedef struct vf_adam { vf decay, b1, b2, c1, c2, rate, root, eps, scale; } vf_adam;

static inline vf_adam vf_adam_of(const sl_adam *a)
{
    return (vf_adam){ vf_set((float)(1 - a->lr * a->decay)), vf_set((float)a->beta1), vf_set((float)a->beta2), vf_set((float)(1 - a->beta1)),
                      vf_set((float)(1 - a->beta2)), vf_set((float)(a->lr / (1 - pow(a->beta1, (double)a->step)))),
                      vf_set((float)sqrt(1 - pow(a->beta2, (double)a->step))), vf_set((float)a->eps), vf_set((float)a->grad_scale) };
}

static inline void vf_adam_step(const vf_adam *a, int64_t n, const float *g, float *w, float *m, float *v)
{
    for (int64_t i = 0; i < n; i += VW) {
        vf grad = vf_get(g + i, n - i) * a->scale;
        vf mi = a->b1 * vf_get(m + i, n - i) + a->c1 * grad, sq = a->b2 * vf_get(v + i, n - i) + a->c2 * grad * grad;
        vf_put(m + i, mi, n - i);
        vf_put(v + i, sq, n - i);
        vf_put(w + i, vf_get(w + i, n - i) * a->decay - a->rate * mi / (vf_sqrt(sq) / a->root + a->eps), n - i);
    }
}

#endif
