/* The register tile of all matrix products, and the packing of their right-hand sides. */
#include "kern/simd.h"

#include <string.h>

/* Inlined with constant strides below: then four steps share their address arithmetic, which leaves the front end room. */
static inline __attribute__((always_inline)) void sums(int64_t kc, const float *a, int64_t rs, int64_t cs, const float *b, float *tile, int64_t ld)
{
    vf acc[MR][2];
    const float *half = a + MR / 2 * rs;
    #pragma GCC unroll 16
    for (int i = 0; i < MR; i++)
        acc[i][0] = acc[i][1] = vf_set(0);
    #pragma GCC unroll 4
    for (int64_t k = 0; k < kc; k++) {
        vf b0 = vf_load(b), b1 = vf_load(b + VW);
        #pragma GCC unroll 16
        for (int i = 0; i < MR / 2; i++) {
            vf x = vf_set(a[i * rs]), y = vf_set(half[i * rs]);
            acc[i][0] = vf_fma(x, b0, acc[i][0]);
            acc[i][1] = vf_fma(x, b1, acc[i][1]);
            acc[MR / 2 + i][0] = vf_fma(y, b0, acc[MR / 2 + i][0]);
            acc[MR / 2 + i][1] = vf_fma(y, b1, acc[MR / 2 + i][1]);
        }
        a += cs;
        half += cs;
        b += NR;
    }
    #pragma GCC unroll 16
    for (int i = 0; i < MR; i++) {
        vf_store(tile + i * ld, acc[i][0]);
        vf_store(tile + i * ld + VW, acc[i][1]);
    }
}

void SL_V(sl_simd_micro)(int64_t kc, const float *a, int64_t rs, int64_t cs, const float *b, float *tile, int64_t ld)
{
    if (rs == 1 && cs == MR)
        sums(kc, a, 1, MR, b, tile, ld);
    else if (cs == 1)
        sums(kc, a, rs, 1, b, tile, ld);
    else
        sums(kc, a, 1, cs, b, tile, ld);
}

/* Eight rows of src become eight columns of out: full cache lines are read, and written in short runs. */
static void transpose8(const float *src, int64_t ld, int64_t kc, float *out)
{
    for (int64_t k = 0; k < kc; k++)
        for (int j = 0; j < 8; j++)
            out[k * NR + j] = src[j * ld + k];
}

static void pack_panel(const float *src, int64_t ld, bool trans, int64_t kc, int64_t n, float *out)
{
    if (n < NR)
        memset(out, 0, (size_t)(kc * NR) * sizeof *out);
    if (!trans) {
        for (int64_t k = 0; k < kc; k++)
            for (int64_t j = 0; j < n; j++)
                out[k * NR + j] = src[k * ld + j];
        return;
    }
    int64_t j = 0;
    for (; j + 8 <= n; j += 8)
        transpose8(src + j * ld, ld, kc, out + j);
    for (; j < n; j++)
        for (int64_t k = 0; k < kc; k++)
            out[k * NR + j] = src[j * ld + k];
}

void SL_V(sl_simd_pack)(const float *src, int64_t ld, bool trans, int64_t kc, int64_t n, float *out)
{
    for (int64_t j = 0; j < n; j += NR)
        pack_panel(src + (trans ? j * ld : j), ld, trans, kc, sl_min64(n - j, NR), out + j * kc);
}
