/* Philox4x32-10 (Salmon et al. 2011) on VW blocks at once: the same 16-bit lanes as sl_mask_key promises. */
#ifndef SL_SIMD_PHILOX_H
#define SL_SIMD_PHILOX_H

#include "kern/kern.h"
#include "kern/simd_vec.h"

#include <math.h>
#include <string.h>

enum { SL_LANES = 8 * VW }; /* lanes made at once */

#ifdef __AVX512F__
#define VI(op) _mm512_##op
static inline vi vi_xor(vi a, vi b) { return _mm512_xor_epi32(a, b); }
static inline vi vi_and(vi a, vi b) { return _mm512_and_epi32(a, b); }
static inline vi vi_or(vi a, vi b) { return _mm512_or_epi32(a, b); }
static inline vi vi_odd(vi even, vi odd) { return _mm512_mask_blend_epi32(0xAAAA, even, odd); } /* odd lanes of `odd` */
static inline vi vi_count(void) { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
/* scale where lane >= limit, else 0 */
static inline vf vf_keep(const uint16_t *lane, vi limit, vf scale)
{
    vi v = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)lane));
    return _mm512_maskz_mov_ps(_mm512_cmpge_epi32_mask(v, limit), scale);
}
#else
#define VI(op) _mm256_##op
static inline vi vi_xor(vi a, vi b) { return _mm256_xor_si256(a, b); }
static inline vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
static inline vi vi_or(vi a, vi b) { return _mm256_or_si256(a, b); }
static inline vi vi_odd(vi even, vi odd) { return _mm256_blend_epi32(even, odd, 0xAA); } /* odd lanes of `odd` */
static inline vi vi_count(void) { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
/* scale where lane >= limit, else 0 */
static inline vf vf_keep(const uint16_t *lane, vi limit, vf scale)
{
    vi v = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)lane));
    return _mm256_andnot_ps((vf)_mm256_cmpgt_epi32(limit, v), scale);
}
#endif

/* 32 x 32 -> 64 bit products of all lanes, by way of the even and the odd ones. */
static inline void vi_mul(vi a, vi m, vi *hi, vi *lo)
{
    vi even = VI(mul_epu32)(a, m), odd = VI(mul_epu32)(VI(srli_epi64)(a, 32), m);
    *hi = vi_odd(VI(srli_epi64)(even, 32), odd);
    *lo = vi_odd(even, VI(slli_epi64)(odd, 32));
}

/* The ten rounds on VW counters; c holds their four words, and the result. */
static inline void philox_rounds(vi c[4], uint32_t k0, uint32_t k1)
{
    vi m0 = vi_set((int32_t)0xD2511F53u), m1 = vi_set((int32_t)0xCD9E8D57u), h0, l0, h1, l1;
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        vi_mul(c[0], m0, &h0, &l0);
        vi_mul(c[2], m1, &h1, &l1);
        c[0] = vi_xor(vi_xor(h1, c[1]), vi_set((int32_t)k0));
        c[2] = vi_xor(vi_xor(h0, c[3]), vi_set((int32_t)k1));
        c[1] = l1;
        c[3] = l0;
    }
}

/* lane[0 .. SL_LANES): those of blocks `block` .. block + VW - 1, which must not cross a multiple of 2^32. */
static inline void philox_lanes(const sl_mask_key *key, uint64_t block, uint16_t *lane)
{
    vi c[4] = { VI(add_epi32)(vi_set((int32_t)(uint32_t)block), vi_count()), vi_set((int32_t)(uint32_t)(block >> 32)),
                vi_set((int32_t)(uint32_t)key->stream), vi_set((int32_t)(uint32_t)(key->stream >> 32)) };
    philox_rounds(c, (uint32_t)key->seed, (uint32_t)(key->seed >> 32));
    vi t[4] = { VI(unpacklo_epi32)(c[0], c[1]), VI(unpackhi_epi32)(c[0], c[1]), VI(unpacklo_epi32)(c[2], c[3]), VI(unpackhi_epi32)(c[2], c[3]) };
    vi u[4] = { VI(unpacklo_epi64)(t[0], t[2]), VI(unpackhi_epi64)(t[0], t[2]), VI(unpacklo_epi64)(t[1], t[3]), VI(unpackhi_epi64)(t[1], t[3]) };
    for (int q = 0; q < 4; q++) /* u[q] holds blocks q, q + 4, ... */
        for (int p = 0; p < VW / 4; p++)
            memcpy(lane + (4 * p + q) * 8, (const char *)&u[q] + 16 * p, 16);
}

/* Lanes of elements first .. first + n - 1 are at the returned pointer; lane has room for n + 2 SL_LANES. */
static inline const uint16_t *philox_row(const sl_mask_key *key, uint64_t first, int64_t n, uint16_t *lane)
{
    uint64_t block = first / 8 / VW * VW, end = first + (uint64_t)n; /* aligned: VW blocks never cross 2^32 */
    for (uint16_t *to = lane; block * 8 < end; block += VW, to += SL_LANES)
        philox_lanes(key, block, to);
    return lane + first % SL_LANES;
}

static inline int32_t philox_limit(const sl_mask_key *key) { return (int32_t)lround(key->p * 65536); }

#endif
