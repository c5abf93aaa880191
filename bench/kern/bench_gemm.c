/* Matrix products of a language model's step: GFLOP/s of the kernel table, of dnnl_sgemm and of cblas_sgemm (OpenBLAS), taken in
 * turns, beside the FMA peak measured in the same turns. The last line is one JSON object. */
#include "figures.h"
#include "kern/kern.h"

#include <math.h>
#include <oneapi/dnnl/dnnl.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef SL_BENCH_OPENBLAS
/* cblas.h is an alternative that several packages provide; these are its standard prototypes. */
void cblas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb, float beta,
                 float *c, int ldc);
void openblas_set_num_threads(int n);
#endif

typedef struct shape { const char *name; int64_t M, N, K; bool ta, tb; } shape;

static const shape shapes[] = {
    { "qkv", 16384, 1152, 384, false, true },      { "mlp up", 16384, 1536, 384, false, true },
    { "mlp down", 16384, 384, 1536, false, true }, { "head", 16384, 65, 384, false, true },
    { "mlp down dx", 16384, 1536, 384, false, false }, { "mlp up dx", 16384, 384, 1536, false, false },
    { "mlp up dw", 1536, 384, 16384, true, false },    { "mlp down dw", 384, 1536, 16384, true, false },
    { "small mlp up", 768, 512, 128, false, true },    { "small dw", 512, 128, 768, true, false },
};
enum { N_SHAPE = sizeof shapes / sizeof *shapes, MAX_REPS = 101 };
enum { OURS, DNNL, BLAS, PEAK, N_WAY };
static const char *const ways[] = { "saelab", "dnnl_sgemm", "openblas", "fma_peak" };

typedef struct bench { const sl_kern *k; int threads; const shape *s; sl_tensor a, b, c, ref; } bench;

/* n rounds of 12 independent chains of 8 lanes: 192 n floating-point operations. */
static float fma_chains(int64_t n)
{
    typedef float v8 __attribute__((vector_size(32)));
    v8 a[12], x = { .5f, .5f, .5f, .5f, .5f, .5f, .5f, .5f }, one = x + x;
    #pragma GCC unroll 12
    for (int i = 0; i < 12; i++)
        a[i] = one * (float)i; /* equal chains would be computed once */
    for (int64_t r = 0; r < n; r++) {
        #pragma GCC unroll 12
        for (int i = 0; i < 12; i++)
            a[i] = (v8)__builtin_ia32_vfmaddps256(a[i], x, one);
    }
    float s = 0;
    #pragma GCC unroll 12
    for (int i = 0; i < 12; i++)
        s += a[i][0];
    return s;
}

static double peak_seconds(const bench *b, double flop)
{
    int64_t n = (int64_t)(flop / (192.0 * b->threads)) + 1;
    float sink = 0;
    double t = now();
    #pragma omp parallel num_threads(b->threads) reduction(+ : sink)
    sink += fma_chains(n);
    t = now() - t;
    return sink > 0 ? t * flop / (192.0 * b->threads * (double)n) : 0;
}

static double seconds(const bench *b, int way)
{
    const shape *s = b->s;
    int64_t lda = s->ta ? s->M : s->K, ldb = s->tb ? s->K : s->N;
    sl_tensor c = b->c, ref = b->ref;
    if (way == PEAK)
        return peak_seconds(b, 2e9);
    double t = now();
    if (way == OURS)
        b->k->gemm(b->k, &(sl_gemm){ .a = &b->a, .b = &b->b, .ta = s->ta, .tb = s->tb, .c = &c, .alpha = 1 });
    if (way == DNNL) {
        omp_set_num_threads(b->threads);
        dnnl_sgemm(s->ta ? 'T' : 'N', s->tb ? 'T' : 'N', s->M, s->N, s->K, 1, b->a.data, lda, b->b.data, ldb, 0, ref.data, s->N);
        omp_set_num_threads(1);
    }
#ifdef SL_BENCH_OPENBLAS
    if (way == BLAS) {
        openblas_set_num_threads(b->threads);
        cblas_sgemm(101, s->ta ? 112 : 111, s->tb ? 112 : 111, (int)s->M, (int)s->N, (int)s->K, 1, b->a.data, (int)lda, b->b.data, (int)ldb,
                    0, ref.data, (int)s->N);
    }
#endif
    return now() - t;
}

static sl_tensor matrix(sl_ctx *ctx, int64_t rows, int64_t cols)
{
    float *p = sl_alloc(ctx, (size_t)(rows * cols) * sizeof *p);
    if (!p) {
        fputs("no memory\n", stderr);
        exit(1);
    }
    for (int64_t i = 0; i < rows * cols; i++)
        p[i] = (float)((uint64_t)i * 2654435761u >> 8 & 1023) / 1024 - .5f;
    return sl_tensor_of(SL_F32, p, 2, rows, cols);
}

/* Largest difference from dnnl_sgemm, in units of sqrt(K) eps times the size of the factors. */
static double error(const bench *b)
{
    const float *x = b->c.data, *y = b->ref.data;
    double worst = 0;
    for (int64_t i = 0; i < sl_numel(&b->c); i++)
        worst = fmax(worst, fabs((double)x[i] - (double)y[i]));
    return worst / (sqrt((double)b->s->K) * 1.2e-7);
}

/* One shape: a line for people, and its part of the JSON object into `out`. */
static bool run(bench *b, sl_ctx *ctx, int reps, char *out, size_t room)
{
    const shape *s = b->s;
    double t[N_WAY][MAX_REPS], flop = 2.0 * (double)s->M * (double)s->N * (double)s->K, rate[N_WAY] = { 0 };
    b->a = s->ta ? matrix(ctx, s->K, s->M) : matrix(ctx, s->M, s->K);
    b->b = s->tb ? matrix(ctx, s->N, s->K) : matrix(ctx, s->K, s->N);
    b->c = matrix(ctx, s->M, s->N);
    b->ref = matrix(ctx, s->M, s->N);
    (void)seconds(b, OURS);
    (void)seconds(b, DNNL);
    bool right = error(b) < 100;
    for (int r = 0; r < reps; r++)
        for (int w = 0; w < N_WAY; w++)
            t[w][r] = seconds(b, w);
    printf("%-14s %6lld x %4lld x %5lld %c%c", s->name, (long long)s->M, (long long)s->N, (long long)s->K, s->ta ? 'T' : 'N', s->tb ? 'T' : 'N');
    size_t n = (size_t)snprintf(out, room, "%s{\"name\": \"%s\", \"right\": %s", s == shapes ? "" : ", ", s->name, right ? "true" : "false");
    for (int w = 0; w < N_WAY; w++) {
        double mid = median(t[w], reps), work = w == PEAK ? 2 : flop * 1e-9, low = t[w][reps * 3 / 4], high = t[w][reps / 4];
        rate[w] = mid > 1e-9 ? work / mid : 0;
        if (w == BLAS && mid < 1e-6)
            rate[w] = 0; /* built without OpenBLAS */
        printf("  %s %.1f (%.1f-%.1f)", ways[w], rate[w], work / low, work / high);
        n += (size_t)snprintf(out + n, room - n, ", \"%s\": %.2f", ways[w], rate[w]);
    }
    printf("  %s\n", right ? "ok" : "WRONG");
    snprintf(out + n, room - n, "}");
    sl_tensor *all[] = { &b->a, &b->b, &b->c, &b->ref };
    for (int i = 0; i < 4; i++)
        sl_free(ctx, all[i]->data);
    return right;
}

int main(int argc, char **argv)
{
    int reps = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 11;
    if (reps < 1 || reps > MAX_REPS) {
        fprintf(stderr, "usage: bench_gemm [turns 1..%d]\n", MAX_REPS);
        return 2;
    }
    sl_ctx *ctx = sl_ctx_new(NULL);
    bench b = { .threads = ctx ? sl_ctx_threads(ctx) : 0 };
    sl_err err;
    if (!ctx || sl_kern_get(ctx, SL_F32, &b.k, &err)) {
        fputs(ctx ? err.msg : "no memory", stderr);
        return 1;
    }
    printf("%s, %d threads, GFLOP/s: median of %d turns (quartiles)\n", b.k->id, b.threads, reps);
    char json[N_SHAPE * 256], *at = json;
    bool right = true;
    for (int i = 0; i < N_SHAPE; i++, at += strlen(at)) {
        b.s = &shapes[i];
        right = run(&b, ctx, reps, at, 256) && right;
        fflush(stdout);
    }
    printf("{\"bench\": \"gemm\", \"unit\": \"GFLOP/s\", \"kernels\": \"%s\", \"threads\": %d, \"turns\": %d, \"shapes\": [%s]}\n", b.k->id,
           b.threads, reps, json);
    sl_ctx_free(ctx);
    return right ? 0 : 1;
}
