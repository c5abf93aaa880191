/* Binning of plots of very many points. */
#include "report/thin.h"

#include <math.h>
#include <stdlib.h>

enum { RUNS = 1000, ACROSS = 60, UP = 40 };

typedef struct point { double x, y, lo, hi; int64_t cell; } point;

/* How a value lies on its axis; not finite: it cannot be drawn. */
static double on_axis(double v, bool log) { return !log ? v : v > 0 ? log10(v) : NAN; }

static bool can_be_drawn(const sl_plot *p, double x, double y) { return isfinite(on_axis(x, p->log_x)) && isfinite(on_axis(y, p->log_y)); }

static int by_cell(const void *a, const void *b)
{
    const point *p = a, *q = b;
    return p->cell != q->cell ? (p->cell > q->cell) - (p->cell < q->cell) : (p->x > q->x) - (p->x < q->x);
}

/* Cells of a grid over the points' range. */
static void grid(const sl_plot *p, point *all, int64_t n)
{
    double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        x0 = fmin(x0, on_axis(all[i].x, p->log_x));
        x1 = fmax(x1, on_axis(all[i].x, p->log_x));
        y0 = fmin(y0, on_axis(all[i].y, p->log_y));
        y1 = fmax(y1, on_axis(all[i].y, p->log_y));
    }
    for (int64_t i = 0; i < n; i++) {
        double u = x1 > x0 ? (on_axis(all[i].x, p->log_x) - x0) / (x1 - x0) : 0, v = y1 > y0 ? (on_axis(all[i].y, p->log_y) - y0) / (y1 - y0) : 0;
        int64_t a = (int64_t)(u * ACROSS), b = (int64_t)(v * UP);
        all[i].cell = (a < ACROSS ? a : ACROSS - 1) * UP + (b < UP ? b : UP - 1);
    }
    qsort(all, (size_t)n, sizeof *all, by_cell);
}

/* Points of one cell become one, in place; returns how many there are then. */
static int64_t merge(point *all, int64_t n)
{
    int64_t m = 0;
    for (int64_t i = 0, k; i < n; i += k) {
        point sum = { .cell = all[i].cell, .lo = INFINITY, .hi = -INFINITY };
        for (k = 0; i + k < n && all[i + k].cell == sum.cell; k++) {
            const point *p = &all[i + k];
            sum.x += p->x;
            sum.y += p->y;
            sum.lo = fmin(sum.lo, isfinite(p->lo) ? p->lo : p->y);
            sum.hi = fmax(sum.hi, isfinite(p->hi) ? p->hi : p->y);
        }
        sum.x /= (double)k;
        sum.y /= (double)k;
        all[m++] = sum;
    }
    return m;
}

static void give(sl_thin *t, int at, const sl_plot *p, const point *all, int64_t n, double *to)
{
    const sl_series *from = &p->series[at];
    bool band = p->kind == SL_PLOT_LINES || (from->lo && from->hi);
    for (int64_t i = 0; i < n; i++) {
        to[i] = all[i].x;
        to[n + i] = all[i].y;
        to[2 * n + i] = all[i].lo;
        to[3 * n + i] = all[i].hi;
    }
    t->own[at] = to;
    t->series[at] = (sl_series){ from->name, to, to + n, band ? to + 2 * n : NULL, band ? to + 3 * n : NULL, n };
}

static sl_status thin(sl_ctx *ctx, const sl_plot *p, int at, sl_thin *t, sl_err *err)
{
    const sl_series *s = &p->series[at];
    int64_t n = 0, undrawn = s->n;
    point *all = sl_alloc(ctx, (size_t)s->n * sizeof *all);
    if (!all)
        return sl_fail(err, SL_MEM, p->name, NULL, "no memory for %lld points", (long long)s->n);
    for (int64_t i = 0; i < s->n; i++) { /* the others go to the end */
        bool band = s->lo && s->hi;
        point here = { s->x[i], s->y[i], band ? s->lo[i] : s->y[i], band ? s->hi[i] : s->y[i], 0 };
        all[can_be_drawn(p, here.x, here.y) ? n++ : --undrawn] = here;
    }
    t->binned += n;
    if (p->kind == SL_PLOT_POINTS)
        grid(p, all, n);
    for (int64_t i = 0; i < n && p->kind == SL_PLOT_LINES; i++)
        all[i].cell = i * RUNS / n;
    int64_t m = merge(all, n);
    for (int64_t i = undrawn; i < s->n; i++)
        all[m++] = all[i];
    double *to = sl_alloc(ctx, (size_t)(4 * m) * sizeof *to);
    if (to)
        give(t, at, p, all, m, to);
    sl_free(ctx, all);
    return to ? SL_OK : sl_fail(err, SL_MEM, p->name, NULL, "no memory for %lld points", (long long)m);
}

sl_status sl_thin_plot(sl_ctx *ctx, const sl_plot *p, sl_thin *out, sl_err *err)
{
    size_t n = (size_t)(p->n_series > 0 ? p->n_series : 1);
    *out = (sl_thin){ .plot = *p, .series = sl_alloc(ctx, n * sizeof *out->series), .own = sl_alloc(ctx, n * sizeof *out->own) };
    if (!out->series || !out->own) {
        sl_thin_free(ctx, out);
        return sl_fail(err, SL_MEM, p->name, NULL, "no memory for a plot");
    }
    out->plot.series = out->series;
    for (int i = 0; i < p->n_series; i++) {
        out->series[i] = p->series[i];
        if (p->series[i].n <= SL_MOST_POINTS || (p->kind != SL_PLOT_LINES && p->kind != SL_PLOT_POINTS))
            continue;
        sl_status st = thin(ctx, p, i, out, err);
        if (st != SL_OK) {
            sl_thin_free(ctx, out);
            return st;
        }
    }
    return SL_OK;
}

void sl_thin_free(sl_ctx *ctx, sl_thin *t)
{
    for (int i = 0; t->own && i < t->plot.n_series; i++)
        sl_free(ctx, t->own[i]);
    sl_free(ctx, t->own);
    sl_free(ctx, t->series);
}
