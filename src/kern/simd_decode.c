/* One token at a time: what sampling spends its time in. gemv is bound by the memory that W passes through; a row is one owner's, so
 * its bits do not depend on the threads. */
#include "kern/simd.h"
#include "kern/simd_math.h"

#include <assert.h>
#include <math.h>
#include <omp.h>

static inline vf load_bf16(const uint16_t *p)
{
#ifdef __AVX512F__
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p)), 16);
#else
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)), 16);
#endif
}

/* Bytes of W asked for ahead of their use: a row is short, and the hardware's own prefetch starts anew in every page. */
enum { AHEAD = 4096, LINE = 64 };

/* Four chains of fused multiply-adds, then a fixed tree. ahead > 0: w goes on beyond n, in the order of memory. */
#define DOT(name, type, load, scalar)                                                        \
    static inline float name(const type *w, const float *x, int64_t n, int ahead)            \
    {                                                                                        \
        vf s[4] = { vf_set(0), vf_set(0), vf_set(0), vf_set(0) };                            \
        int64_t i = 0;                                                                       \
        for (; i + 4 * VW <= n; i += 4 * VW) {                                               \
            for (int j = 0; ahead && j < 4 * VW; j += LINE / (int)sizeof *w)                 \
                __builtin_prefetch((const char *)(w + i + j) + ahead);                       \
            for (int j = 0; j < 4; j++)                                                      \
                s[j] = vf_fma(load(w + i + j * VW), vf_load(x + i + j * VW), s[j]);          \
        }                                                                                    \
        for (; i + VW <= n; i += VW)                                                         \
            s[0] = vf_fma(load(w + i), vf_load(x + i), s[0]);                                \
        float sum = vf_sum((s[0] + s[1]) + (s[2] + s[3]));                                   \
        for (; i < n; i++)                                                                   \
            sum += scalar(w[i]) * x[i];                                                      \
        return sum;                                                                          \
    }
#define SAME(v) (v)
DOT(dot_f32, float, vf_load, SAME)
DOT(dot_bf16, uint16_t, load_bf16, sl_bf16_to_f32)

void SL_V(sl_simd_gemv)(const sl_kern *k, const sl_tensor *W, const sl_tensor *x, const sl_tensor *bias, sl_act act, double beta, sl_tensor *y)
{
    const float *in = x->data, *b = bias ? bias->data : NULL;
    float *out = y->data;
    int64_t n = sl_rows(W), d = sl_cols(W);
    bool half = W->dtype == SL_BF16;
    assert(sl_numel(x) == d && sl_numel(y) == n && (!bias || sl_numel(bias) == n) && (half || W->dtype == SL_F32));
    #pragma omp parallel for num_threads(sl_team(k, n * d)) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        float s = half ? dot_bf16((const uint16_t *)W->data + i * d, in, d, AHEAD) : dot_f32((const float *)W->data + i * d, in, d, AHEAD);
        if (b)
            s += b[i];
        if (act != SL_ACT_NONE) {
            float lanes[VW];
            vf_store(lanes, vf_act(act, vf_set(s)));
            s = lanes[0];
        }
        out[i] = beta == 0 ? s : s + (float)beta * out[i];
    }
}

/* p[j] = exp(s_j - max), returns the sum; p has room for whole vectors. */
static float exponentials(float *p, int64_t n)
{
    float top = p[0];
    for (int64_t j = 1; j < n; j++)
        top = p[j] > top ? p[j] : top;
    float sum = 0;
    for (int64_t j = 0; j < n; j += VW) {
        int64_t some = sl_min64(VW, n - j);
        vf e = vf_exp(vf_load_n(p + j, some) - vf_set(top));
        vf_store_n(p + j, e, some);
        for (int64_t i = 0; i < some; i++)
            sum += p[j + i];
    }
    return sum;
}

/* y [hd] of one head: q, k and v at the head's first column, rows ld apart, T of them; q is the last row. */
static void attend_head(const float *q, const float *key, const float *value, int64_t ld, int64_t T, int64_t hd, float *p, float *y)
{
    float scale = (float)(1 / sqrt((double)hd));
    for (int64_t j = 0; j < T; j++)
        p[j] = scale * dot_f32(key + j * ld, q, hd, 0);
    float inv = 1 / exponentials(p, T);
    int64_t c = 0;
    for (; c + VW <= hd; c += VW) {
        vf s = vf_set(0);
        for (int64_t j = 0; j < T; j++)
            s = vf_fma(vf_set(p[j]), vf_load(value + j * ld + c), s);
        vf_store(y + c, s * vf_set(inv));
    }
    for (; c < hd; c++) {
        float s = 0;
        for (int64_t j = 0; j < T; j++)
            s += p[j] * value[j * ld + c];
        y[c] = s * inv;
    }
}

void SL_V(sl_simd_attend)(const sl_kern *k, const sl_attn *a, const sl_tensor *qkv, sl_tensor *y)
{
    int64_t C = a->C, hd = C / a->n_head, ld = 3 * C;
    const float *rows = qkv->data;
    assert(a->B == 1 && a->drop.p == 0 && hd * a->n_head == C && sl_cols(qkv) == ld && sl_rows(qkv) >= a->T && sl_numel(y) == C);
    float *scratch = sl_kern_scratch(k, SL_SIMD_ROWS, (size_t)(k->n_threads * a->T) * sizeof *scratch);
    if (!scratch)
        return;
    #pragma omp parallel for num_threads(sl_team(k, a->T * C)) schedule(static)
    for (int64_t h = 0; h < a->n_head; h++) {
        const float *q = rows + (a->T - 1) * ld + h * hd;
        attend_head(q, rows + C + h * hd, rows + 2 * C + h * hd, ld, a->T, hd, scratch + omp_get_thread_num() * a->T, (float *)y->data + h * hd);
    }
}
