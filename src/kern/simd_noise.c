/* Noise of rows: Philox on VW blocks at once and, for normal numbers, Box and Muller's pairs on vectors. The random bits are those of ref. */
#include "kern/simd_philox.h"
#include "kern/simd_sparse.h"

/* ln a for normal a > 0, within 2 ulp but near a = 1, where the error is below 1e-8: a = m 2^e with m in [sqrt(1/2), sqrt 2),
 * ln m = 2 artanh s, s = (m - 1) / (m + 1), |s| < .172, five terms of the series (the sixth is below 3e-9 s). */
static inline vf log_of(vf a)
{
    vi e = VI(sub_epi32)(VI(srli_epi32)((vi)a, 23), vi_set(127));
    vf m = (vf)vi_or(vi_and((vi)a, vi_set(0x7fffff)), vi_set(0x3f800000));
    vf large = vf_lt(vf_set(1.41421356f), m, vf_set(1), vf_set(0));
    m = vf_nfma(large * vf_set(.5f), m, m);
    vf s = (m - vf_set(1)) / (m + vf_set(1)), u = s * s;
    vf p = vf_fma(u, vf_set(1 / 9.f), vf_set(1 / 7.f));
    p = vf_fma(p, u, vf_set(1 / 5.f));
    p = vf_fma(p, u, vf_set(1 / 3.f));
    p = vf_fma(p * u, s, s);
    return vf_fma(vf_of_vi(e) + large, vf_set(.693147181f), vf_set(2) * p);
}

/* cos and sin of 2 pi b, 0 <= b < 1: b = n / 4 + r, |r| <= 1/8; the series' next terms are below 3e-8. */
static inline void turn(vf b, vf *c, vf *s)
{
    vf n = vf_round(vf_set(4) * b), t = vf_nfma(n, vf_set(.25f), b) * vf_set(6.28318531f), u = t * t;
    vf sn = vf_fma(u, vf_set(1 / 362880.f), vf_set(-1 / 5040.f)), cs = vf_fma(u, vf_set(1 / 40320.f), vf_set(-1 / 720.f));
    sn = vf_fma(sn, u, vf_set(1 / 120.f));
    sn = vf_fma(sn, u, vf_set(-1 / 6.f));
    sn = vf_fma(sn * u, t, t);
    cs = vf_fma(cs, u, vf_set(1 / 24.f));
    cs = vf_fma(cs, u, vf_set(-1 / 2.f));
    cs = vf_fma(cs, u, vf_set(1));
    vf odd = vf_abs(vf_nfma(vf_round(n * vf_set(.5f)), vf_set(2), n)), half = vf_set(.5f); /* n mod 2 */
    vf x = vf_lt(odd, half, cs, sn), y = vf_lt(odd, half, sn, cs);
    vf left = vf_lt(vf_abs(n - vf_set(1.5f)), vf_set(1), vf_set(-1), vf_set(1)); /* n 1, 2: cos changes its sign; 2, 3: sin */
    vf below = vf_lt(vf_abs(n - vf_set(2.5f)), vf_set(1), vf_set(-1), vf_set(1));
    *c = x * left;
    *s = y * below;
}

/* 24 bits of a word, as a number below 1. */
static inline vf part(vi word) { return vf_of_vi(VI(srli_epi32)(word, 8)) * vf_set(0x1p-24f); }

static inline void pair(bool uniform, vi first, vi second, vf *y0, vf *y1)
{
    vf a = part(first), b = part(second), c, s;
    if (uniform) {
        *y0 = vf_set(2) * a - vf_set(1);
        *y1 = vf_set(2) * b - vf_set(1);
        return;
    }
    vf length = vf_sqrt(vf_set(-2) * log_of(a + vf_set(0x1p-25f)));
    turn(b, &c, &s);
    *y0 = length * c;
    *y1 = length * s;
}

/* Numbers 4 block .. of a stream: four a block. out: [4 VW] */
static void numbers(const sl_rng *g, uint32_t block, bool uniform, float *out)
{
    vi c[4] = { VI(add_epi32)(vi_set((int32_t)block), vi_count()), vi_set((int32_t)g->ctr[1]), vi_set((int32_t)g->ctr[2]), vi_set((int32_t)g->ctr[3]) };
    vf y[4];
    float lanes[4][VW];
    philox_rounds(c, g->key[0], g->key[1]);
    pair(uniform, c[0], c[1], &y[0], &y[1]);
    pair(uniform, c[2], c[3], &y[2], &y[3]);
    for (int i = 0; i < 4; i++)
        vf_store(lanes[i], y[i]);
    for (int l = 0; l < VW; l++)
        for (int i = 0; i < 4; i++)
            out[4 * l + i] = lanes[i][l];
}

void SL_V(sl_simd_noise_rows)(const sl_kern *k, uint64_t seed, uint64_t step, int64_t first, int view, bool uniform, sl_tensor *y)
{
    int64_t B = sl_rows(y), d = sl_cols(y);
    float *o = y->data;
    #pragma omp parallel for num_threads(sl_team(k, B * d)) schedule(static)
    for (int64_t r = 0; r < B; r++) {
        sl_rng g = sl_rng_at(seed, SL_RNG_NOISE, step, (uint64_t)(first + r) * 256 + (uint64_t)view);
        float some[4 * VW];
        for (int64_t j = 0; j < d; j += 4 * VW) {
            numbers(&g, (uint32_t)(j / 4), uniform, some);
            memcpy(o + r * d + j, some, (size_t)sl_min64(4 * VW, d - j) * sizeof *some);
        }
    }
}
