/* Activations, dropout and Adam. Work is cut into chunks of whole vectors, so that only the end of a tensor has a tail, and that
 * goes through the same arithmetic. */
#include "kern/simd.h"
#include "kern/simd_adam.h"
#include "kern/simd_math.h"
#include "kern/simd_philox.h"

#include <assert.h>

enum { CHUNK = 4096 };

/* v + beta old; the old value is not read when beta is 0 */
static inline vf plus(vf v, float beta, const float *old, int64_t n)
{
    if (beta != 0)
        v += vf_set(beta) * vf_get(old, n);
    return v;
}

void SL_V(sl_simd_act)(const sl_kern *k, sl_act act, const sl_tensor *x, sl_tensor *y)
{
    const float *in = x->data;
    float *out = y->data;
    int64_t n = sl_numel(y);
    assert(sl_numel(x) == n);
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static)
    for (int64_t c = 0; c < n; c += CHUNK)
        for (int64_t i = c; i < sl_min64(n, c + CHUNK); i += VW)
            vf_put(out + i, vf_act(act, vf_get(in + i, n - i)), n - i);
}

static inline vf slope(sl_act act, vf x)
{
    vf zero = vf_set(0), one = vf_set(1);
    switch (act) {
    case SL_ACT_RELU: return vf_lt(zero, x, one, zero);
    case SL_ACT_GELU: return vf_gelu_grad(x);
    case SL_ACT_RELU2: return vf_lt(zero, x, x + x, zero);
    case SL_ACT_EXP: return vf_exp(x);
    default: return one;
    }
}

void SL_V(sl_simd_act_back)(const sl_kern *k, sl_act act, const sl_tensor *x, const sl_tensor *dy, double beta, sl_tensor *dx)
{
    const float *in = x->data, *g = dy->data;
    float *out = dx->data;
    int64_t n = sl_numel(dx);
    assert(sl_numel(x) == n && sl_numel(dy) == n);
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static)
    for (int64_t c = 0; c < n; c += CHUNK)
        for (int64_t i = c; i < sl_min64(n, c + CHUNK); i += VW)
            vf_put(out + i, plus(slope(act, vf_get(in + i, n - i)) * vf_get(g + i, n - i), (float)beta, out + i, n - i), n - i);
}

void SL_V(sl_simd_dropout)(const sl_kern *k, const sl_mask_key *key, const sl_tensor *x, double beta, sl_tensor *y)
{
    const float *in = x->data;
    float *out = y->data;
    int64_t n = sl_numel(y);
    vf scale = vf_set((float)(1 / (1 - key->p)));
    vi limit = vi_set(philox_limit(key));
    vf one = vf_set(1);
    assert(sl_numel(x) == n);
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static)
    for (int64_t c = 0; c < n; c += SL_LANES) {
        uint16_t lane[SL_LANES];
        philox_lanes(key, (uint64_t)c / 8, lane);
        for (int64_t i = 0; i < SL_LANES && c + i < n; i += VW) {
            vf kept = vf_lt(vf_set(0), vf_keep(lane + i, limit, one), vf_get(in + c + i, n - c - i) * scale, vf_set(0));
            vf_put(out + c + i, plus(kept, (float)beta, out + c + i, n - c - i), n - c - i);
        }
    }
}

void SL_V(sl_simd_adam)(const sl_kern *k, const sl_adam *a, sl_tensor *w, const sl_tensor *g, sl_tensor *m, sl_tensor *v)
{
    float *pw = w->data, *pm = m->data, *pv = v->data;
    const float *pg = g->data;
    int64_t n = sl_numel(w);
    vf_adam numbers = vf_adam_of(a);
    assert(sl_numel(g) == n && sl_numel(m) == n && sl_numel(v) == n);
    #pragma omp parallel for num_threads(sl_team(k, n)) schedule(static)
    for (int64_t c = 0; c < n; c += CHUNK)
        vf_adam_step(&numbers, sl_min64(CHUNK, n - c), pg + c, pw + c, pm + c, pv + c);
}
