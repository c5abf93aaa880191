/* Vectors of f32 for the simd kernels, whose sources are compiled once for AVX2 + FMA (8 lanes) and once for AVX-512 (16
 * lanes), see CMakeLists.txt. Arithmetic is written with the compiler's operators; only what has none is a function. */
#ifndef SL_SIMD_VEC_H
#define SL_SIMD_VEC_H

#include <immintrin.h>
#include <stdint.h>

#define SL_PASTE2(a, b) a##_##b
#define SL_PASTE(a, b) SL_PASTE2(a, b)
#define SL_V(name) SL_PASTE(name, SL_ISA) /* sl_simd_gemm -> sl_simd_gemm_avx2 */

/* MR x NR: the tile of C that the registers hold: 12 (of 16) or 24 (of 32) accumulators, two vectors of B, one of A. */
#ifdef __AVX512F__
enum { VW = 16, MR = 12, NR = 2 * VW };
typedef __m512 vf;
typedef __m512i vi;
static inline vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void vf_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
static inline vf vf_set(float a) { return _mm512_set1_ps(a); }
static inline vi vi_set(int32_t a) { return _mm512_set1_epi32(a); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }  /* a b + c */
static inline vf vf_nfma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); } /* c - a b */
static inline vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }             /* b when either is NaN */
static inline vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
static inline vf vf_sqrt(vf a) { return _mm512_sqrt_ps(a); }
static inline vf vf_abs(vf a) { return (vf)_mm512_and_epi32((vi)a, vi_set(0x7fffffff)); }
static inline vf vf_lt(vf a, vf b, vf yes, vf no) /* a < b ? yes : no; NaN: no */
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
static inline uint32_t vf_not_below(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); } /* bit a lane: not a < b */
static inline vi vf_to_vi(vf a) { return _mm512_cvtps_epi32(a); } /* to nearest */
static inline vf vf_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline vf vf_pow2(vi n) { return (vf)_mm512_slli_epi32(_mm512_add_epi32(n, vi_set(127)), 23); } /* -126 <= n <= 127 */
static inline vf vf_of_vi(vi a) { return _mm512_cvtepi32_ps(a); }
static inline vf vf_of_bytes(const uint8_t *p) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p))); }
static inline void vi_put_bytes(uint8_t *p, vi q) /* clamped to 0 .. 255 */
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtusepi32_epi8(_mm512_max_epi32(q, _mm512_setzero_si512())));
}
static inline vf vf_sign(vf mag, vf of) /* |mag| with the sign of `of` */
{
    return (vf)_mm512_or_epi32((vi)vf_abs(mag), _mm512_andnot_epi32(vi_set(0x7fffffff), (vi)of));
}
#else
enum { VW = 8, MR = 6, NR = 2 * VW };
typedef __m256 vf;
typedef __m256i vi;
static inline vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void vf_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
static inline vf vf_set(float a) { return _mm256_set1_ps(a); }
static inline vi vi_set(int32_t a) { return _mm256_set1_epi32(a); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }  /* a b + c */
static inline vf vf_nfma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); } /* c - a b */
static inline vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }             /* b when either is NaN */
static inline vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
static inline vf vf_sqrt(vf a) { return _mm256_sqrt_ps(a); }
static inline vf vf_abs(vf a) { return _mm256_and_ps(a, (vf)vi_set(0x7fffffff)); }
static inline vf vf_lt(vf a, vf b, vf yes, vf no) /* a < b ? yes : no; NaN: no */
{
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
static inline uint32_t vf_not_below(vf a, vf b) { return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NLT_UQ)); } /* bit a lane: not a < b */
static inline vi vf_to_vi(vf a) { return _mm256_cvtps_epi32(a); } /* to nearest */
static inline vf vf_round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline vf vf_pow2(vi n) { return (vf)_mm256_slli_epi32(_mm256_add_epi32(n, vi_set(127)), 23); } /* -126 <= n <= 127 */
static inline vf vf_of_vi(vi a) { return _mm256_cvtepi32_ps(a); }
static inline vf vf_of_bytes(const uint8_t *p) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p))); }
static inline void vi_put_bytes(uint8_t *p, vi q) /* clamped to 0 .. 255 */
{
    __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packus_epi16(h, h));
}
static inline vf vf_sign(vf mag, vf of) /* |mag| with the sign of `of` */
{
    return _mm256_or_ps(vf_abs(mag), _mm256_andnot_ps((vf)vi_set(0x7fffffff), of));
}
#endif

/* The largest lane. */
static inline float vf_top(vf a)
{
#ifdef __AVX512F__
    return _mm512_reduce_max_ps(a);
#else
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
#endif
}

/* Sum of the lanes by halving. */
static inline float vf_sum(vf a)
{
    float s[VW];
    vf_store(s, a);
    for (int half = VW / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            s[j] += s[j + half];
    return s[0];
}

/* n < VW values, zeros after them; and back. For the tails of rows. */
static inline vf vf_load_n(const float *p, int64_t n)
{
    float t[VW] = { 0 };
    for (int64_t i = 0; i < n; i++)
        t[i] = p[i];
    return vf_load(t);
}

static inline void vf_store_n(float *p, vf a, int64_t n)
{
    float t[VW];
    vf_store(t, a);
    for (int64_t i = 0; i < n; i++)
        p[i] = t[i];
}

/* A vector of which n values exist. */
static inline vf vf_get(const float *p, int64_t n) { return n >= VW ? vf_load(p) : vf_load_n(p, n); }

static inline void vf_put(float *p, vf a, int64_t n)
{
    if (n >= VW)
        vf_store(p, a);
    else
        vf_store_n(p, a, n);
}

static inline int64_t sl_min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t sl_round_up(int64_t a, int64_t to) { return (a + to - 1) / to * to; }

#endif
