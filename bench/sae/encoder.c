/* The encoder alone: first that no row is ever wrong, then how fast it is, with screening as the program chooses it and without. */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct code { sl_csr z; } code;

static code code_new(int64_t rows, int64_t F, int64_t k)
{
    code c = { { .n_rows = rows, .n_cols = F, .capacity = rows * k } };
    c.z.val = room(rows * k);
    c.z.idx = malloc((size_t)(rows * k) * sizeof *c.z.idx);
    c.z.row_ptr = malloc((size_t)(rows + 1) * sizeof *c.z.row_ptr);
    if (!c.z.idx || !c.z.row_ptr)
        exit(1);
    return c;
}

static void code_free(code *c)
{
    free(c->z.val);
    free(c->z.idx);
    free(c->z.row_ptr);
}

static const sl_kern *table(sl_ctx *ctx, const char *layers)
{
    const sl_kern *k;
    sl_err err;
    if ((layers ? sl_kern_named(ctx, layers, &k, &err) : sl_kern_get(ctx, SL_F32, &k, &err)) != SL_OK) {
        fprintf(stderr, "bench_sae: %s\n", err.msg);
        exit(1);
    }
    return k;
}

static void encode(const sl_kern *k, const float *x, const float *W, const float *b, const size *s, code *c)
{
    sl_tensor X = sl_tensor_of(SL_F32, (void *)(uintptr_t)x, 2, s->B, s->d), Wt = sl_tensor_of(SL_F32, (void *)(uintptr_t)W, 2, s->F, s->d);
    sl_tensor B = sl_tensor_of(SL_F32, (void *)(uintptr_t)b, 1, s->F);
    k->encode_topk(k, &X, &Wt, &B, NULL, s->k, &c->z);
    if (sl_kern_failed(k))
        exit(1);
}

/* Rows whose indices or values are not the same bits. */
static int64_t wrong_rows(const code *got, const code *want)
{
    int64_t wrong = 0;
    for (int64_t r = 0; r < want->z.n_rows; r++) {
        int64_t a = got->z.row_ptr[r], b = want->z.row_ptr[r], n = want->z.row_ptr[r + 1] - b;
        wrong += got->z.row_ptr[r + 1] - a != n || memcmp(got->z.idx + a, want->z.idx + b, (size_t)n * sizeof(int32_t))
              || memcmp((const float *)got->z.val + a, (const float *)want->z.val + b, (size_t)n * sizeof(float));
    }
    return wrong;
}

int64_t check_rows(sl_ctx *ctx, int64_t n_rows)
{
    static const sl_screen ways[] = { SL_SCREEN_OFF, SL_SCREEN_SIMD, SL_SCREEN_ONEDNN };
    static const char *const names[] = { "f32 product", "simd int8", "onednn int8" };
    static const rows_kind kinds[] = { ROWS_SUMS, ROWS_GAUSSIAN, ROWS_OUTLIERS, ROWS_HARD };
    const sl_kern *ref = table(ctx, "ref"), *k = table(ctx, NULL);
    size s = { 256, 512, 8, 4096 };
    int64_t all = 0, wrong[3] = { 0 };
    bool there[3] = { false };
    float *W = room(s.F * s.d), *x = room(s.B * s.d), *b = room(s.F);
    code want = code_new(s.B, s.F, s.k), got = code_new(s.B, s.F, s.k);
    for (uint64_t seed = 1; all < n_rows; seed++)
        for (int i = 0; i < 4; i++, all += s.B) {
            make_dictionary(W, s.F, s.d, kinds[i]);
            make_rows(x, s.B, W, s.F, s.d, kinds[i], seed * 16 + (uint64_t)i);
            for (int64_t f = 0; f < s.F; f++)
                b[f] = i == 1 ? .02f * (float)(f % 7) : 0;
            encode(ref, x, W, b, &s, &want);
            for (int w = 0; w < 3; w++)
                if ((there[w] = sl_kern_set_screen(k, ways[w]))) {
                    encode(k, x, W, b, &s, &got);
                    wrong[w] += wrong_rows(&got, &want);
                }
        }
    sl_kern_set_screen(k, SL_SCREEN_AUTO);
    for (int w = 0; w < 3; w++)
        printf("  %-12s %s%lld wrong of %lld rows (d %lld, F %lld, k %lld; sums, gaussian, outliers, made to defeat)\n", names[w], there[w] ? "" : "NOT RUN: ",
               (long long)wrong[w], (long long)(there[w] ? all : 0), (long long)s.d, (long long)s.F, (long long)s.k);
    code_free(&want);
    code_free(&got);
    free(W);
    free(x);
    free(b);
    return wrong[0] + wrong[1] + wrong[2];
}

/* ---- speed ---- */

/* The first rows of a store; false: there is none, or of another width. Centred, as an SAE would see them. */
static bool store_rows(sl_ctx *ctx, const char *acts, const size *s, float *x)
{
    sl_act_source *src;
    sl_act_batch b;
    sl_err err;
    if (!acts || sl_acts_open(ctx, acts, false, &src, &err) != SL_OK)
        return false;
    bool good = src->info.d_in == s->d && src->next(src, s->B, &b, &err) == SL_OK && b.n == s->B;
    for (int64_t i = 0; good && i < s->d; i++) {
        double mean = 0;
        for (int64_t r = 0; r < s->B; r++)
            mean += (double)b.x[r * s->d + i] / (double)s->B;
        for (int64_t r = 0; r < s->B; r++)
            x[r * s->d + i] = b.x[r * s->d + i] - (float)mean;
    }
    sl_act_source_free(src);
    return good;
}

typedef struct speed { double screened, dense, peak; int64_t wrong; } speed; /* GFLOP/s */

static speed measure(sl_ctx *ctx, const size *s, const float *x, const float *W, int reps)
{
    const sl_kern *k = table(ctx, NULL);
    float *b = room(s->F);
    double t[2][16], peak[16], work = 2e-9 * (double)s->B * (double)s->F * (double)s->d;
    code got = code_new(s->B, s->F, s->k), want = code_new(s->B, s->F, s->k);
    memset(b, 0, (size_t)s->F * sizeof *b);
    for (int r = -1; r < reps; r++) /* the first turn warms up */
        for (int way = 0; way < 2; way++) {
            sl_kern_set_screen(k, way ? SL_SCREEN_OFF : SL_SCREEN_AUTO);
            double start = now();
            encode(k, x, W, b, s, way ? &want : &got);
            t[way][r < 0 ? 0 : r] = now() - start;
            peak[r < 0 ? 0 : r] = fma_gflops(sl_ctx_threads(ctx));
        }
    sl_kern_set_screen(k, SL_SCREEN_AUTO);
    speed out = { work / median(t[0], reps), work / median(t[1], reps), median(peak, reps), wrong_rows(&got, &want) };
    code_free(&got);
    code_free(&want);
    free(b);
    return out;
}

static void print_speed(const char *name, const size *s, const speed *v)
{
    printf("  d %4lld  B %4lld  %-16s  %6.0f GFLOP/s  f32 product %4.0f  (%.2fx)  f32 peak %4.0f  (%.2fx)%s\n", (long long)s->d, (long long)s->B, name, v->screened,
           v->dense, v->screened / v->dense, v->peak, v->screened / v->peak, v->wrong ? "  WRONG" : "");
    fflush(stdout);
}

double encoder_table(sl_ctx *ctx, const char *acts, bool quick, double *hard_ratio)
{
    static const int64_t widths[] = { 256, 768, 2304, 4096 };
    double ratio = NAN;
    for (int i = 0; i < 4; i++) {
        size s = { widths[i], quick ? 8192 : 24576, 32, quick ? 512 : widths[i] > 1000 ? 1024 : 4096 };
        float *W = room(s.F * s.d), *x = room(s.B * s.d);
        for (int kind = 0; kind < N_ROWS_KIND; kind++) {
            if (kind == ROWS_HARD && s.d != 768)
                continue;
            make_dictionary(W, s.F, s.d, (rows_kind)kind);
            if (kind == ROWS_STORE && !store_rows(ctx, acts, &s, x)) {
                printf("  d %4lld  %-24s  NOT RUN (give --acts, a store of this width)\n", (long long)s.d, rows_names[kind]);
                continue;
            }
            if (kind != ROWS_STORE)
                make_rows(x, s.B, W, s.F, s.d, (rows_kind)kind, 7);
            speed v = measure(ctx, &s, x, W, quick ? 2 : 5);
            print_speed(rows_names[kind], &s, &v);
            if (s.d == 768 && kind == ROWS_SUMS)
                ratio = v.screened / v.peak;
            if (kind == ROWS_HARD)
                *hard_ratio = v.dense / v.screened;
        }
        free(W);
        free(x);
    }
    return ratio;
}
