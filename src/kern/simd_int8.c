/* The simd layer's product of 8-bit integers, for CPUs without dot-product instructions. Pairs of u8 x s8 products saturate at 16 bits
 * (vpmaddubsw), so x is stored as q + 64 in 1..127 and |W| is at most 63: a pair is at most 2 * 127 * 63 = 16002, and two pairs still
 * fit. That leaves five instructions for 64 products of 8 lanes. The 64 too many times the sum of W are taken off beforehand. */
#include "kern/int8.h"
#include "kern/simd.h"

#include <string.h>

enum { ROWS = 96, TILE = 4, GROUP = 4, ZERO = 64 }; /* TILE rows at a time; GROUP values side by side in a panel */

#ifdef __AVX512F__
static inline vi vi_load(const void *p) { return _mm512_loadu_si512(p); }
static inline void vi_store(int32_t *p, vi a) { _mm512_storeu_si512(p, a); }
static inline vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
static inline vi vi_pair_sums(vi u, vi s) { return _mm512_maddubs_epi16(u, s); }
static inline vi vi_add16(vi a, vi b) { return _mm512_add_epi16(a, b); }
static inline vi vi_widen(vi a) { return _mm512_madd_epi16(a, _mm512_set1_epi16(1)); }
#else
static inline vi vi_load(const void *p) { return _mm256_loadu_si256(p); }
static inline void vi_store(int32_t *p, vi a) { _mm256_storeu_si256((__m256i *)(void *)p, a); }
static inline vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
static inline vi vi_pair_sums(vi u, vi s) { return _mm256_maddubs_epi16(u, s); }
static inline vi vi_add16(vi a, vi b) { return _mm256_add_epi16(a, b); }
static inline vi vi_widen(vi a) { return _mm256_madd_epi16(a, _mm256_set1_epi16(1)); }
#endif

static inline vi group_of(const int8_t *x)
{
    int32_t v;
    memcpy(&v, x, sizeof v);
    return vi_set(v);
}

/* A panel: [NR] int32, what the sums start from; then groups [d / GROUP][NR][GROUP]. */
static size_t prepare(const sl_int8 *g, const sl_kern *k, int64_t d)
{
    (void)g, (void)k;
    return (size_t)(NR * (int64_t)sizeof(int32_t) + NR * d);
}

static bool pack(const sl_int8 *g, const int8_t *w, int64_t d, void *panel)
{
    int32_t *start = panel;
    int8_t *to = (int8_t *)panel + NR * sizeof *start;
    (void)g;
    for (int64_t c = 0; c < NR; c++) {
        int32_t sum = 0;
        for (int64_t i = 0; i < d; i++)
            sum += w[c * d + i];
        start[c] = -ZERO * sum;
    }
    for (int64_t i = 0; i < d; i += GROUP)
        for (int64_t c = 0; c < NR; c++, to += GROUP)
            memcpy(to, w + c * d + i, GROUP);
    return true;
}

static void multiply_tile(const int8_t *x, int64_t d, const void *panel, int32_t *out)
{
    const int8_t *w = (const int8_t *)panel + NR * sizeof(int32_t);
    vi acc[TILE][2];
    #pragma GCC unroll 4
    for (int i = 0; i < TILE; i++) {
        acc[i][0] = vi_load(panel);
        acc[i][1] = vi_load((const int32_t *)panel + VW);
    }
    for (int64_t k = 0; k < d; k += 2 * GROUP, w += 2 * NR * GROUP) {
        vi w00 = vi_load(w), w01 = vi_load(w + VW * GROUP), w10 = vi_load(w + NR * GROUP), w11 = vi_load(w + (NR + VW) * GROUP);
        #pragma GCC unroll 4
        for (int i = 0; i < TILE; i++) {
            vi a = group_of(x + i * d + k), b = group_of(x + i * d + k + GROUP);
            acc[i][0] = vi_add(acc[i][0], vi_widen(vi_add16(vi_pair_sums(a, w00), vi_pair_sums(b, w10))));
            acc[i][1] = vi_add(acc[i][1], vi_widen(vi_add16(vi_pair_sums(a, w01), vi_pair_sums(b, w11))));
        }
    }
    #pragma GCC unroll 4
    for (int i = 0; i < TILE; i++) {
        vi_store(out + i * NR, acc[i][0]);
        vi_store(out + i * NR + VW, acc[i][1]);
    }
}

static bool multiply(const sl_int8 *g, const int8_t *x, int64_t m, int64_t d, const void *panel, int32_t *c)
{
    (void)g;
    for (int64_t i = 0; i < m; i += TILE)
        multiply_tile(x + i * d, d, panel, c + i * NR);
    return true;
}

void SL_V(sl_simd_int8)(sl_int8 *g)
{
    *g = (sl_int8){ .rows = ROWS, .cols = NR, .x_max = ZERO - 1, .w_max = 63, .x_zero = ZERO,
                    .least_share = 384, .least_d = 256, .most_d = 1024, .prepare = prepare, .pack = pack, .multiply = multiply };
}
