/* Rows and dictionaries to measure with. */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const rows_names[N_ROWS_KIND] = { "sparse sums", "gaussian", "outlier dims", "real activations", "made to defeat" };

float *room(int64_t n)
{
    float *p = malloc((size_t)n * sizeof *p);
    if (!p) {
        fputs("bench_sae: no memory\n", stderr);
        exit(1);
    }
    return p;
}

/* A plain xorshift: the data need not be good, only quickly made. */
static uint64_t next(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    return *s ^= *s << 17;
}

static float uniform(uint64_t *s) { return (float)(next(s) >> 40) / 16777216; }

/* Sum of twelve uniform numbers in four draws: mean 0, variance 1. */
static float normal(uint64_t *s)
{
    int sum = 0;
    for (int i = 0; i < 4; i++) {
        uint64_t v = next(s);
        sum += (int)(v & 0xffff) + (int)(v >> 16 & 0xffff) + (int)(v >> 32 & 0xffff);
    }
    return ((float)sum - 6 * 65535.f) / 65536;
}

void make_dictionary(float *W, int64_t F, int64_t d, rows_kind kind)
{
    uint64_t s = 88172645463325252ull;
    float scale = 1 / sqrtf((float)d);
    for (int64_t i = 0; i < F * d; i++)
        W[i] = kind == ROWS_HARD && i >= d ? W[i % d] + 1e-4f * scale * normal(&s) : scale * normal(&s);
}

void make_rows(float *x, int64_t n, const float *W, int64_t F, int64_t d, rows_kind kind, uint64_t seed)
{
    uint64_t s = 0x9e3779b97f4a7c15ull * (seed + 1);
    bool sums = kind == ROWS_SUMS || kind == ROWS_OUTLIERS;
    for (int64_t r = 0; r < n; r++, x += d) {
        for (int64_t i = 0; i < d; i++)
            x[i] = (sums ? .05f : 1) * normal(&s);
        for (int t = 0; sums && t < 40; t++) {
            const float *w = W + (int64_t)(next(&s) % (uint64_t)F) * d;
            float c = .3f + uniform(&s);
            for (int64_t i = 0; i < d; i++)
                x[i] += c * w[i];
        }
        for (int64_t i = 0; kind == ROWS_HARD && i < d; i++)
            x[i] = W[i] + .1f * x[i] / sqrtf((float)d);
        if (kind == ROWS_OUTLIERS) {
            x[d / 100] += 1;
            x[d / 3] -= 1.5f;
        }
    }
}
