/* Cosines, matching by them, and what chance gives. */
#include "kern/kern.h"

#include <saelab/match.h>
#include <saelab/rng.h>

#include <math.h>
#include <string.h>

/* ---- cosines ---- */

static sl_status unit_rows(sl_ctx *ctx, const char *what, const float *a, int64_t n, int64_t d, float **out, sl_err *err)
{
    float *u = *out = sl_alloc(ctx, (size_t)(n * d) * sizeof *u);
    if (!u)
        return sl_fail(err, SL_MEM, what, NULL, "no memory for %lld directions", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        double sq = 0;
        for (int64_t c = 0; c < d; c++) {
            if (!isfinite(a[i * d + c]))
                return sl_fail(err, SL_NUMERIC, what, "finite numbers", "row %lld, column %lld is not finite", (long long)i, (long long)c);
            sq += (double)a[i * d + c] * (double)a[i * d + c];
        }
        double inverse = sq > 0 ? 1 / sqrt(sq) : 0;
        for (int64_t c = 0; c < d; c++)
            u[i * d + c] = (float)((double)a[i * d + c] * inverse);
    }
    return SL_OK;
}

sl_status sl_cosines(sl_ctx *ctx, const float *a, int64_t n, const float *b, int64_t m, int64_t d, float *cos, sl_err *err)
{
    const sl_kern *k;
    float *ua = NULL, *ub = NULL;
    sl_status st;
    if (n < 1 || m < 1 || d < 1)
        return sl_fail(err, SL_DATA, "directions", "at least one of one dimension", "%lld and %lld of %lld", (long long)n, (long long)m, (long long)d);
    SL_GO(unit_rows(ctx, "directions", a, n, d, &ua, err));
    SL_GO(unit_rows(ctx, "other directions", b, m, d, &ub, err));
    SL_GO(sl_kern_get(ctx, SL_F32, &k, err));
    sl_tensor ta = sl_tensor_of(SL_F32, ua, 2, n, d), tb = sl_tensor_of(SL_F32, ub, 2, m, d), tc = sl_tensor_of(SL_F32, cos, 2, n, m);
    k->gemm(k, &(sl_gemm){ .a = &ta, .b = &tb, .tb = true, .c = &tc, .alpha = 1 });
    if (sl_kern_failed(k))
        st = sl_fail(err, SL_MEM, "directions", NULL, "no memory for the products");
done:
    sl_free(ctx, ua);
    sl_free(ctx, ub);
    return st;
}

sl_status sl_mcc_dec(sl_ctx *ctx, const float *a, int64_t n, const float *b, int64_t m, int64_t d, bool absolute, int32_t *match, double *mcc, sl_err *err)
{
    float *cos = sl_alloc(ctx, (size_t)(n * m) * sizeof *cos);
    int32_t *own = match ? match : sl_alloc(ctx, (size_t)n * sizeof *own);
    sl_status st = SL_OK;
    if (!cos || !own)
        SL_GO(sl_fail(err, SL_MEM, "matching", NULL, "no memory for %lld x %lld cosines", (long long)n, (long long)m));
    SL_GO(sl_cosines(ctx, a, n, b, m, d, cos, err));
    for (int64_t i = 0; absolute && i < n * m; i++)
        cos[i] = fabsf(cos[i]);
    SL_GO(sl_assign(ctx, cos, n, m, own, mcc, err));
    *mcc /= (double)(n < m ? n : m);
done:
    if (own != match)
        sl_free(ctx, own);
    sl_free(ctx, cos);
    return st;
}

/* ---- chance ---- */

enum { KEPT = 64, MOST_DICTS = 20, FEW_DICTS = 3, MANY_ROWS = 4096 };
#define SE_WANTED 5e-4

typedef struct kept { int64_t n, m, d; bool absolute; sl_floor floor; } kept;
typedef struct floors { kept v[KEPT]; int n; } floors;

static void free_floors(sl_ctx *ctx, void *value) { sl_free(ctx, value); }

static sl_status kept_floors(sl_ctx *ctx, floors **out, sl_err *err)
{
    static const char key;
    *out = sl_ctx_attachment(ctx, &key);
    if (*out)
        return SL_OK;
    *out = sl_alloc(ctx, sizeof **out);
    if (!*out)
        return sl_fail(err, SL_MEM, "chance floor", NULL, "no memory");
    return sl_ctx_attach(ctx, &key, *out, free_floors, err);
}

static void gaussian(float *w, int64_t n, int64_t d, uint64_t seed, uint64_t which)
{
    for (int64_t i = 0; i < n; i++) {
        sl_rng r = sl_rng_at(seed, SL_RNG_EVAL, which, (uint64_t)i);
        for (int64_t c = 0; c < d; c++)
            w[i * d + c] = (float)sl_rng_normal(&r);
    }
}

static sl_status measure_floor(sl_ctx *ctx, int64_t n, int64_t m, int64_t d, bool absolute, sl_floor *f, sl_err *err)
{
    float *a = sl_alloc(ctx, (size_t)(n * d) * sizeof *a), *b = sl_alloc(ctx, (size_t)(m * d) * sizeof *b);
    double v[MOST_DICTS];
    int64_t most = (n < m ? n : m) > MANY_ROWS ? FEW_DICTS : MOST_DICTS;
    sl_status st = SL_OK;
    if (!a || !b)
        SL_GO(sl_fail(err, SL_MEM, "chance floor", NULL, "no memory for %lld x %lld directions", (long long)(n + m), (long long)d));
    *f = (sl_floor){ 0 };
    while (f->n_dicts < most && (f->n_dicts < FEW_DICTS || f->se > SE_WANTED)) {
        gaussian(a, n, d, 0, 2 * (uint64_t)f->n_dicts);
        gaussian(b, m, d, 0, 2 * (uint64_t)f->n_dicts + 1);
        SL_GO(sl_mcc_dec(ctx, a, n, b, m, d, absolute, NULL, &v[f->n_dicts], err));
        f->n_dicts++;
        sl_stat s = sl_stat_of(v, f->n_dicts);
        f->mean = s.mean;
        f->se = s.se;
    }
done:
    sl_free(ctx, b);
    sl_free(ctx, a);
    return st;
}

sl_status sl_mcc_floor(sl_ctx *ctx, int64_t n, int64_t m, int64_t d, bool absolute, sl_floor *out, sl_err *err)
{
    floors *all;
    SL_TRY(kept_floors(ctx, &all, err));
    for (int i = 0; i < all->n; i++) {
        kept *k = &all->v[i];
        if (k->n == n && k->m == m && k->d == d && k->absolute == absolute) {
            *out = k->floor;
            return SL_OK;
        }
    }
    SL_TRY(measure_floor(ctx, n, m, d, absolute, out, err));
    if (all->n < KEPT)
        all->v[all->n++] = (kept){ n, m, d, absolute, *out };
    return SL_OK;
}
