/* ref: matrix product. Sums run over k in ascending order in double. */
#include "kern/ref_common_tmpl.h"

enum { GEMM_M = 32, GEMM_N = 32, GEMM_K = 128 };

/* out[r][c] of a GEMM_K-wide panel = element (r0 + r, c0 + c) of op(t), where op(t) is the transpose when `trans`; 0 outside
 * the n_r x n_c part that exists. */
static void gemm_pack(const sl_tensor *t, bool trans, int64_t r0, int64_t n_r, int64_t c0, int64_t n_c, double *out, int64_t ld)
{
    const REAL *p = real(t);
    int64_t cols = sl_cols(t);
    for (int64_t r = 0; r < n_r; r++)
        for (int64_t c = 0; c < n_c; c++)
            out[r * ld + c] = (double)(trans ? p[(c0 + c) * cols + r0 + r] : p[(r0 + r) * cols + c0 + c]);
}

static double act_value(sl_act act, double x)
{
    switch (act) {
    case SL_ACT_RELU: return x < 0 ? 0 : x; /* NaN stays */
    case SL_ACT_GELU: return 0.5 * x * (1 + erf(x * M_SQRT1_2));
    case SL_ACT_RELU2: return x < 0 ? 0 : x * x;
    case SL_ACT_EXP: return exp(x);
    default: return x;
    }
}

static void gemm_store(const sl_gemm *g, int64_t i, int64_t j0, int64_t n, const double *sum)
{
    int64_t N = sl_cols(g->c);
    REAL *c = real(g->c) + i * N + j0, *pre = g->pre ? real(g->pre) + i * N + j0 : NULL;
    const REAL *bias = g->bias ? real(g->bias) + j0 : NULL;
    for (int64_t j = 0; j < n; j++) {
        double v = g->alpha * sum[j] + (bias ? (double)bias[j] : 0);
        if (pre)
            pre[j] = (REAL)v;
        c[j] = plus((REAL)act_value(g->act, v), g->beta, c + j);
    }
}

/* One tile of GEMM_M x GEMM_N outputs. */
static void gemm_tile(const sl_gemm *g, int64_t i0, int64_t j0, int64_t M, int64_t N, int64_t K)
{
    double a[GEMM_M * GEMM_K], b[GEMM_K * GEMM_N], sum[GEMM_M][GEMM_N] = { { 0 } };
    int64_t m = at_most(GEMM_M, M - i0), n = at_most(GEMM_N, N - j0);
    memset(b, 0, sizeof b);
    for (int64_t k0 = 0; k0 < K; k0 += GEMM_K) {
        int64_t kk = at_most(GEMM_K, K - k0);
        gemm_pack(g->a, g->ta, i0, m, k0, kk, a, GEMM_K);
        gemm_pack(g->b, g->tb, k0, kk, j0, n, b, GEMM_N);
        for (int64_t i = 0; i < m; i++)
            for (int64_t k = 0; k < kk; k++) {
                double x = a[i * GEMM_K + k];
                for (int64_t j = 0; j < GEMM_N; j++)
                    sum[i][j] += x * b[k * GEMM_N + j];
            }
    }
    for (int64_t i = 0; i < m; i++)
        gemm_store(g, i0 + i, j0, n, sum[i]);
}

static void gemm(const sl_kern *k, const sl_gemm *g)
{
    int64_t M = sl_rows(g->c), N = sl_cols(g->c), K = g->ta ? sl_rows(g->a) : sl_cols(g->a);
    assert((g->ta ? sl_cols(g->a) : sl_rows(g->a)) == M);
    assert((g->tb ? sl_rows(g->b) : sl_cols(g->b)) == N && (g->tb ? sl_cols(g->b) : sl_rows(g->b)) == K);
    assert(!g->bias || sl_numel(g->bias) == N);
    assert(!g->pre || sl_numel(g->pre) == M * N);
    int64_t tiles_m = (M + GEMM_M - 1) / GEMM_M, tiles_n = (N + GEMM_N - 1) / GEMM_N;
    #pragma omp parallel for num_threads(sl_team(k, M * N * K)) schedule(static)
    for (int64_t t = 0; t < tiles_m * tiles_n; t++)
        gemm_tile(g, t / tiles_n * GEMM_M, t % tiles_n * GEMM_N, M, N, K);
}
