/* What the machine gives: instruction peak, memory, and the process's own size. */
#include "bench.h"

#include <immintrin.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* n rounds of 12 independent chains of fused multiply-adds of `width` floats. */
#define CHAINS(name, isa, vector, width, set, fma)                                                \
    __attribute__((target(isa))) static float name(int64_t n)                                     \
    {                                                                                             \
        vector a[12], half = set(.5f), one = set(1);                                              \
        float lanes[width], sum = 0;                                                              \
        for (int i = 0; i < 12; i++)                                                              \
            a[i] = one;                                                                           \
        for (int64_t r = 0; r < n; r++) {                                                         \
            _Pragma("GCC unroll 12") for (int i = 0; i < 12; i++) a[i] = fma(a[i], half, one);    \
        }                                                                                         \
        for (int i = 0; i < 12; i++) {                                                            \
            memcpy(lanes, &a[i], sizeof lanes);                                                   \
            sum += lanes[0];                                                                      \
        }                                                                                         \
        return sum;                                                                               \
    }
CHAINS(chains8, "avx2,fma", __m256, 8, _mm256_set1_ps, _mm256_fmadd_ps)
CHAINS(chains16, "avx512f", __m512, 16, _mm512_set1_ps, _mm512_fmadd_ps)

double fma_gflops(int threads)
{
    const int64_t n = 4000000;
    bool wide = __builtin_cpu_supports("avx512f");
    float sink = 0;
    double best = 0;
    for (int rep = 0; rep < 5; rep++) {
        double t = now();
        #pragma omp parallel num_threads(threads) reduction(+ : sink)
        sink += wide ? chains16(n) : chains8(n);
        best = fmax(best, 24e-9 * (wide ? 16 : 8) * (double)n * threads / (now() - t));
    }
    return sink > 0 ? best : 0;
}

double copy_gbytes(int threads)
{
    const int64_t n = 1 << 25; /* floats: 128 MiB each way */
    float *a = room(n), *b = room(n);
    double best = 0;
    memset(a, 1, (size_t)n * sizeof *a);
    memset(b, 1, (size_t)n * sizeof *b);
    for (int rep = 0; rep < 5; rep++) {
        double t = now();
        #pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t i = 0; i < n; i += 4096)
            memcpy(b + i, a + i, 4096 * sizeof *a);
        double rate = 8e-9 * (double)n / (now() - t);
        best = rate > best ? rate : best;
    }
    free(a);
    free(b);
    return best;
}

double peak_rss(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return 1024 * (double)u.ru_maxrss;
}
