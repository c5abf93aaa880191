/* The one scalar product that decides pre-activations of sparse codes: 32 partial sums (element i goes to sum i % 32, product
 * rounded, then added), then a halving tree. No fused multiply-add. Every layer that computes such a value by other means
 * computes it like this, so that codes are the same bits in every layer. */
#ifndef SL_KERN_DOT_H
#define SL_KERN_DOT_H

#include <stdint.h>

enum { SL_DOT_LANES = 32 };

static inline float sl_dot_f32(const float *a, const float *b, int64_t n)
{
    float s[SL_DOT_LANES] = { 0 };
    int64_t i = 0;
    for (; i + SL_DOT_LANES <= n; i += SL_DOT_LANES)
        for (int j = 0; j < SL_DOT_LANES; j++)
            s[j] += a[i + j] * b[i + j];
    for (int j = 0; i + j < n; j++)
        s[j] += a[i + j] * b[i + j];
    for (int half = SL_DOT_LANES / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            s[j] += s[j + half];
    return s[0];
}

static inline double sl_dot_f64(const double *a, const double *b, int64_t n)
{
    double s[SL_DOT_LANES] = { 0 };
    int64_t i = 0;
    for (; i + SL_DOT_LANES <= n; i += SL_DOT_LANES)
        for (int j = 0; j < SL_DOT_LANES; j++)
            s[j] += a[i + j] * b[i + j];
    for (int j = 0; i + j < n; j++)
        s[j] += a[i + j] * b[i + j];
    for (int half = SL_DOT_LANES / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            s[j] += s[j + half];
    return s[0];
}

#endif
