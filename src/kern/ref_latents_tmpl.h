/* ref: dense latents of the variants that a penalty keeps sparse. Formulas in kern.h; a, z, pi [B, F], everything else [F]. */
#include "kern/ref_common_tmpl.h"

/* Runs over column tiles, each with one owner, and adds what `term` sums over the rows of a column to out. */
#define COLUMN_SUMS(k, rows, F, out, term)                                                       \
    do {                                                                                         \
        _Pragma("omp parallel for num_threads(sl_team(k, (rows) * (F))) schedule(static)")       \
        for (int64_t j0 = 0; j0 < (F); j0 += TILE) {                                             \
            double acc[TILE] = { 0 };                                                            \
            int64_t n = at_most(TILE, (F) - j0);                                                 \
            for (int64_t r = 0; r < (rows); r++)                                                 \
                for (int64_t j = j0; j < j0 + n; j++)                                            \
                    acc[j - j0] += term(r * (F) + j, j);                                         \
            for (int64_t j = 0; j < n; j++)                                                      \
                (out)[j0 + j] += (REAL)acc[j];                                                   \
        }                                                                                        \
    } while (0)

/* ---- JumpReLU ---- */

static bool above(REAL a, REAL theta) { return a > theta && a > 0; }

/* K((a - theta) / eps) / eps */
static double rect(double eps, REAL a, REAL theta) { return fabs((double)a - (double)theta) < eps / 2 ? 1 / eps : 0; }

static void jump(const sl_kern *k, const sl_tensor *a, const sl_tensor *theta, sl_tensor *z)
{
    const REAL *in = real(a), *th = real(theta);
    REAL *out = real(z);
    int64_t rows = sl_rows(a), F = sl_cols(a);
    assert(sl_numel(theta) == F && sl_numel(z) == rows * F);
    #pragma omp parallel for num_threads(sl_team(k, rows * F)) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < F; j++)
            out[r * F + j] = above(in[r * F + j], th[j]) ? in[r * F + j] : 0;
}

static void jump_back(const sl_kern *k, double eps, const sl_tensor *a, const sl_tensor *theta, const sl_tensor *dz, double beta, sl_tensor *da, sl_tensor *dtheta)
{
    const REAL *in = real(a), *th = real(theta), *g = real(dz);
    int64_t rows = sl_rows(a), F = sl_cols(a);
    assert(sl_numel(theta) == F && sl_numel(dz) == rows * F && eps > 0);
    if (dtheta) {
        REAL *o = real(dtheta);
        #define TERM(i, j) (-(double)th[j] * rect(eps, in[i], th[j]) * (double)g[i])
        COLUMN_SUMS(k, rows, F, o, TERM);
        #undef TERM
    }
    REAL *o = da ? real(da) : NULL;
    #pragma omp parallel for num_threads(sl_team(k, rows * F)) schedule(static)
    for (int64_t r = 0; r < (o ? rows : 0); r++)
        for (int64_t j = 0, i = r * F; j < F; j++, i++)
            o[i] = plus(above(in[i], th[j]) ? g[i] : 0, beta, o + i);
}

static void jump_near(const sl_kern *k, double eps, const sl_tensor *a0, const sl_tensor *theta0, const sl_tensor *a, const sl_tensor *theta, sl_tensor *z)
{
    const REAL *at = real(a0), *th0 = real(theta0), *in = real(a), *th = real(theta);
    REAL *out = real(z);
    int64_t rows = sl_rows(a), F = sl_cols(a);
    assert(sl_numel(a0) == rows * F && sl_numel(theta0) == F && sl_numel(theta) == F && sl_numel(z) == rows * F);
    #pragma omp parallel for num_threads(sl_team(k, rows * F)) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0, i = r * F; j < F; j++, i++) {
            double lo = (double)at[i] - eps / 2, hi = (double)at[i] + eps / 2;
            double from = fmin(fmax((double)th0[j], lo), hi), to = fmin(fmax((double)th[j], lo), hi);
            out[i] = (REAL)((above(at[i], th0[j]) ? (double)in[i] : 0) - (to * to - from * from) / (2 * eps));
        }
}

/* Sums over the rows of one chunk, then over chunks in order. */
#define ROW_SUMS(k, rows, F, result, term)                                                       \
    do {                                                                                         \
        double *partial = sl_kern_impl_of(k)->partial;                                           \
        int64_t chunk = sl_chunk_of(rows, 1), chunks = ((rows) + chunk - 1) / chunk;             \
        _Pragma("omp parallel for num_threads(sl_team(k, (rows) * (F))) schedule(static)")       \
        for (int64_t c = 0; c < chunks; c++) {                                                   \
            double part = 0;                                                                     \
            for (int64_t r = c * chunk; r < at_most(rows, (c + 1) * chunk); r++)                 \
                for (int64_t j = 0; j < (F); j++)                                                \
                    part += term(r * (F) + j, j);                                                \
            partial[c] = part;                                                                   \
        }                                                                                        \
        (result) = 0;                                                                            \
        for (int64_t c = 0; c < chunks; c++)                                                     \
            (result) += partial[c];                                                              \
    } while (0)

static double count(const sl_kern *k, const sl_tensor *a, const sl_tensor *theta)
{
    const REAL *in = real(a), *th = real(theta);
    int64_t rows = sl_rows(a), F = sl_cols(a);
    double n;
    assert(sl_numel(theta) == F);
    #define TERM(i, j) above(in[i], th[j])
    ROW_SUMS(k, rows, F, n, TERM);
    #undef TERM
    return n;
}

static void count_back(const sl_kern *k, double eps, const sl_tensor *a, const sl_tensor *theta, double dy, sl_tensor *dtheta)
{
    const REAL *in = real(a), *th = real(theta);
    REAL *o = real(dtheta);
    int64_t rows = sl_rows(a), F = sl_cols(a);
    assert(sl_numel(theta) == F && sl_numel(dtheta) == F && eps > 0);
    #define TERM(i, j) (-dy * rect(eps, in[i], th[j]))
    COLUMN_SUMS(k, rows, F, o, TERM);
    #undef TERM
}

/* How much of the window of width eps about a lies above theta. */
static double share_above(double eps, REAL a, REAL theta)
{
    return fmin(fmax(((double)a - (double)theta) / eps + .5, 0), 1);
}

static double count_near(const sl_kern *k, double eps, const sl_tensor *a0, const sl_tensor *theta0, const sl_tensor *theta)
{
    const REAL *at = real(a0), *th0 = real(theta0), *th = real(theta);
    int64_t rows = sl_rows(a0), F = sl_cols(a0);
    double n;
    assert(sl_numel(theta0) == F && sl_numel(theta) == F);
    #define TERM(i, j) (above(at[i], th0[j]) + share_above(eps, at[i], th[j]) - share_above(eps, at[i], th0[j]))
    ROW_SUMS(k, rows, F, n, TERM);
    #undef TERM
    return n;
}

/* ---- hinge ---- */

static double hinge(const sl_kern *k, const sl_tensor *a, const sl_tensor *theta, const sl_tensor *skip)
{
    const REAL *in = real(a), *th = real(theta);
    const uint8_t *no = skip->data;
    int64_t rows = sl_rows(a), F = sl_cols(a);
    double s;
    assert(sl_numel(theta) == F && skip->dtype == SL_U8 && sl_numel(skip) == F);
    #define TERM(i, j) (no[j] ? 0 : fmax((double)th[j] - (double)in[i], 0))
    ROW_SUMS(k, rows, F, s, TERM);
    #undef TERM
    return s;
}

static void hinge_back(const sl_kern *k, const sl_tensor *a, const sl_tensor *theta, const sl_tensor *skip, double dy, double beta, sl_tensor *da, sl_tensor *dtheta)
{
    const REAL *in = real(a), *th = real(theta);
    const uint8_t *no = skip->data;
    int64_t rows = sl_rows(a), F = sl_cols(a);
    assert(sl_numel(theta) == F && skip->dtype == SL_U8 && sl_numel(skip) == F);
    if (dtheta) {
        REAL *o = real(dtheta);
        #define TERM(i, j) (!no[j] && in[i] < th[j] ? dy : 0)
        COLUMN_SUMS(k, rows, F, o, TERM);
        #undef TERM
    }
    REAL *o = da ? real(da) : NULL;
    #pragma omp parallel for num_threads(sl_team(k, rows * F)) schedule(static)
    for (int64_t r = 0; r < (o ? rows : 0); r++)
        for (int64_t j = 0, i = r * F; j < F; j++, i++)
            o[i] = plus((REAL)(!no[j] && in[i] < th[j] ? -dy : 0), beta, o + i);
}

/* ---- gate ---- */

/* The magnitude behind an open gate, 0 behind a closed one. */
static REAL gated(REAL pi, REAL gain, REAL shift)
{
    REAL m = gain * pi + shift;
    return pi > 0 && m > 0 ? m : 0;
}

static void gate(const sl_kern *k, const sl_tensor *pi, const sl_tensor *gain, const sl_tensor *shift, sl_tensor *z)
{
    const REAL *in = real(pi), *g = real(gain), *c = real(shift);
    REAL *out = real(z);
    int64_t rows = sl_rows(pi), F = sl_cols(pi);
    assert(sl_numel(gain) == F && sl_numel(shift) == F && sl_numel(z) == rows * F);
    #pragma omp parallel for num_threads(sl_team(k, rows * F)) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < F; j++)
            out[r * F + j] = gated(in[r * F + j], g[j], c[j]);
}

static void gate_back(const sl_kern *k, const sl_tensor *pi, const sl_tensor *gain, const sl_tensor *z, const sl_tensor *dz, double beta, sl_tensor *dpi, sl_tensor *dgain, sl_tensor *dshift)
{
    const REAL *in = real(pi), *g = real(gain), *out = real(z), *d = real(dz);
    int64_t rows = sl_rows(pi), F = sl_cols(pi);
    assert(sl_numel(gain) == F && sl_numel(z) == rows * F && sl_numel(dz) == rows * F);
    if (dgain) {
        REAL *o = real(dgain);
        #define TERM(i, j) (out[i] > 0 ? (double)in[i] * (double)d[i] : 0)
        COLUMN_SUMS(k, rows, F, o, TERM);
        #undef TERM
    }
    if (dshift) {
        REAL *o = real(dshift);
        #define TERM(i, j) (out[i] > 0 ? (double)d[i] : 0)
        COLUMN_SUMS(k, rows, F, o, TERM);
        #undef TERM
    }
    REAL *o = dpi ? real(dpi) : NULL;
    #pragma omp parallel for num_threads(sl_team(k, rows * F)) schedule(static)
    for (int64_t r = 0; r < (o ? rows : 0); r++)
        for (int64_t j = 0, i = r * F; j < F; j++, i++)
            o[i] = plus(out[i] > 0 ? g[j] * d[i] : 0, beta, o + i);
}

/* ---- penalties ---- */

static double penalty_value(const sl_penalty *p, double u)
{
    switch (p->kind) {
    case SL_PENALTY_TANH: return tanh(p->c * u);
    case SL_PENALTY_POWER: return u > 0 ? pow(u + SL_POWER_OFFSET, p->c) - pow(SL_POWER_OFFSET, p->c) : 0;
    default: return u;
    }
}

static double penalty_slope(const sl_penalty *p, double u)
{
    double t;
    switch (p->kind) {
    case SL_PENALTY_TANH:
        t = tanh(p->c * u);
        return p->c * (1 - t * t);
    case SL_PENALTY_POWER: return u > 0 ? p->c * pow(u + SL_POWER_OFFSET, p->c - 1) : 0;
    default: return 1;
    }
}

static double penalty(const sl_kern *k, const sl_penalty *p, const sl_tensor *z, const sl_tensor *w)
{
    const REAL *in = real(z), *weight = w ? real(w) : NULL;
    int64_t rows = sl_rows(z), F = sl_cols(z);
    double s;
    assert(!w || sl_numel(w) == F);
    #define TERM(i, j) penalty_value(p, (weight ? (double)weight[j] : 1) * (double)in[i])
    ROW_SUMS(k, rows, F, s, TERM);
    #undef TERM
    return s;
}

static void penalty_back(const sl_kern *k, const sl_penalty *p, const sl_tensor *z, const sl_tensor *w, double dy, double beta, sl_tensor *dz, sl_tensor *dw)
{
    const REAL *in = real(z), *weight = w ? real(w) : NULL;
    int64_t rows = sl_rows(z), F = sl_cols(z);
    assert((!w || sl_numel(w) == F) && (w || !dw));
    if (dw) {
        REAL *o = real(dw);
        #define TERM(i, j) (dy * (double)in[i] * penalty_slope(p, (double)weight[j] * (double)in[i]))
        COLUMN_SUMS(k, rows, F, o, TERM);
        #undef TERM
    }
    REAL *o = dz ? real(dz) : NULL;
    #pragma omp parallel for num_threads(sl_team(k, rows * F)) schedule(static)
    for (int64_t r = 0; r < (o ? rows : 0); r++)
        for (int64_t j = 0, i = r * F; j < F; j++, i++) {
            double by = weight ? (double)weight[j] : 1;
            o[i] = plus((REAL)(dy * by * penalty_slope(p, by * (double)in[i])), beta, o + i);
        }
}
