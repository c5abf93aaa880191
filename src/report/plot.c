/* A plot: NAME.dat (the numbers), NAME.gp (the script, which `gnuplot NAME.gp` runs again), NAME.svg and NAME.png. */
#include "io/io.h"
#include "report/axis.h"
#include "report/frame.h"
#include "report/picture.h"
#include "report/text.h"
#include "report/thin.h"

#include <saelab/report.h>

#include <math.h>
#include <string.h>

enum { WIDTH = SL_PLOT_WIDTH, HEIGHT = SL_PLOT_HEIGHT, FEW_POINTS = 25, LINE = SL_PLOT_LINE, TICKS = 2048, CAPTION_ROW = 15 };

/* Okabe and Ito's colours, told apart with any kind of colour vision (jfly.uni-koeln.de/color), without their yellow, which is too pale on
 * white. From the fifth series on lines are dashed as well. */
static const char *const COLOURS[] = { "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555", "#000000" };
static const int POINTS[] = { 7, 5, 9 }; /* discs, squares, triangles: one shape for each round of the colours */
enum { N_COLOURS = sizeof COLOURS / sizeof COLOURS[0], SOLID = 4 };

typedef struct sketch {
    const sl_plot *p;
    sl_axis x, y;
    int64_t binned;                   /* points that were put together (thin.h) */
    int64_t not_finite, not_positive; /* points left out */
    int n_drawn;                      /* series with a point; they are the data file's blocks, in order */
    double bar_step;                  /* BARS: smallest distance of two x */
    char caption[LINE];
} sketch;

static bool is_steps(const sl_plot *p) { return p->kind == SL_PLOT_STEPS; }
static bool has_range(const sl_series *s) { return s->lo && s->hi; }

/* An empty bin of a histogram is a fact, not a lost point; on a logarithmic axis it is a gap. */
static bool empty_bin(const sl_plot *p, double y) { return is_steps(p) && p->log_y && y == 0; }

static bool drawn(const sl_plot *p, const sl_series *s, int64_t i)
{
    double x = s->x[i], y = s->y[i];
    if (!isfinite(x) || !isfinite(y))
        return false;
    return !(p->log_x && x <= 0) && !(p->log_y && y <= 0 && !empty_bin(p, y));
}

static int64_t count_drawn(const sl_plot *p, const sl_series *s)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->n; i++)
        n += drawn(p, s, i);
    return n;
}

/* Right edge of the bin that begins at s->x[i]: the next one's left edge, or as wide as the one before. */
static double right_edge(const sl_plot *p, const sl_series *s, int64_t i)
{
    if (i + 1 < s->n)
        return s->x[i + 1];
    if (i == 0)
        return p->log_x ? 2 * s->x[0] : s->x[0] + 1;
    return p->log_x ? s->x[i] * (s->x[i] / s->x[i - 1]) : 2 * s->x[i] - s->x[i - 1];
}

/* ---- what the axes must hold ---- */

static void see_point(sketch *k, const sl_series *s, int64_t i)
{
    sl_axis_see(&k->y, s->y[i]);
    if (has_range(s)) {
        sl_axis_see(&k->y, s->lo[i]);
        sl_axis_see(&k->y, s->hi[i]);
    }
    if (is_steps(k->p) && s->y[i] == 0)
        return; /* empty bins at both ends are not shown */
    sl_axis_see(&k->x, s->x[i]);
    if (is_steps(k->p))
        sl_axis_see(&k->x, right_edge(k->p, s, i));
}

static void see_all(sketch *k)
{
    const sl_plot *p = k->p;
    k->x.log = p->log_x;
    k->y.log = p->log_y;
    for (int j = 0; j < p->n_series; j++) {
        const sl_series *s = &p->series[j];
        double last = NAN;
        for (int64_t i = 0; i < s->n; i++) {
            if (!drawn(p, s, i)) {
                bool finite = isfinite(s->x[i]) && isfinite(s->y[i]);
                k->not_finite += !finite;
                k->not_positive += finite;
                continue;
            }
            see_point(k, s, i);
            if (fabs(s->x[i] - last) > 0 && !(fabs(s->x[i] - last) >= k->bar_step))
                k->bar_step = fabs(s->x[i] - last);
            last = s->x[i];
        }
        k->n_drawn += count_drawn(p, s) > 0;
    }
    bool heights = p->kind == SL_PLOT_BARS || is_steps(p);
    if (isnan(k->bar_step) || k->bar_step <= 0)
        k->bar_step = 1;
    if (p->kind == SL_PLOT_BARS && k->x.any) {
        k->x.lo -= .6 * k->bar_step;
        k->x.hi += .6 * k->bar_step;
    }
    if (p->n_categories > 0 && k->x.any) { /* every name has its room, also where it has no point */
        sl_axis_see(&k->x, -.5);
        sl_axis_see(&k->x, p->n_categories - .5);
    }
    sl_axis_pad(&k->x, heights ? 0 : .02, false);
    sl_axis_pad(&k->y, .06, heights);
}

static void make_caption(sketch *k)
{
    sl_one_line(k->p->caption, k->caption, sizeof k->caption - 200);
    size_t n = strlen(k->caption);
    if (k->binned)
        n += (size_t)snprintf(k->caption + n, sizeof k->caption - n, "%s%lld points, binned.", n ? " " : "", (long long)k->binned);
    if (k->not_finite)
        n += (size_t)snprintf(k->caption + n, sizeof k->caption - n, "%s%lld point%s not finite, left out.", n ? " " : "",
                              (long long)k->not_finite, k->not_finite == 1 ? "" : "s");
    if (k->not_positive)
        snprintf(k->caption + n, sizeof k->caption - n, "%s%lld point%s not positive, left out (logarithmic axis).", n ? " " : "",
                 (long long)k->not_positive, k->not_positive == 1 ? "" : "s");
}

/* ---- the data file ---- */

static sl_status put_number(sl_atomic *f, double v, const char *after, sl_err *err)
{
    return isfinite(v) ? sl_atomic_printf(f, err, "%.9g%s", v, after) : sl_atomic_printf(f, err, "NaN%s", after);
}

/* x y lo hi; without a range lo = hi = y. A range that leaves a logarithmic axis ends at the frame. */
static sl_status put_point(sl_atomic *f, const sketch *k, double x, double y, double lo, double hi, sl_err *err)
{
    if (k->y.log && !(lo > 0))
        lo = fmin(k->y.lo, y);
    SL_TRY(put_number(f, x, " ", err));
    SL_TRY(put_number(f, y, " ", err));
    SL_TRY(put_number(f, isfinite(lo) ? lo : y, " ", err));
    return put_number(f, isfinite(hi) ? hi : y, "\n", err);
}

static sl_status put_series(sl_atomic *f, const sketch *k, const sl_series *s, sl_err *err)
{
    char name[LINE];
    int64_t last = -1;
    SL_TRY(sl_atomic_printf(f, err, "# %s\n# x y lo hi\n", sl_one_line(s->name, name, sizeof name)));
    for (int64_t i = 0; i < s->n; i++) {
        if (!drawn(k->p, s, i))
            continue;
        double y = s->y[i];
        SL_TRY(put_point(f, k, s->x[i], y, has_range(s) ? s->lo[i] : y, has_range(s) ? s->hi[i] : y, err));
        last = i;
    }
    if (is_steps(k->p)) /* the last bin's right edge */
        SL_TRY(put_point(f, k, right_edge(k->p, s, last), 0, 0, 0, err));
    return sl_atomic_printf(f, err, "\n\n");
}

static sl_status put_data(sl_atomic *f, const void *what, sl_err *err)
{
    const sketch *k = what;
    for (int j = 0; j < k->p->n_series; j++)
        if (count_drawn(k->p, &k->p->series[j]) > 0)
            SL_TRY(put_series(f, k, &k->p->series[j], err));
    return k->n_drawn ? SL_OK : sl_atomic_printf(f, err, "# no data\n");
}

/* ---- the script ---- */

static sl_status put_axis(sl_atomic *f, const char *which, const sl_axis *a, const char *label, sl_err *err)
{
    char quoted[LINE], ticks[TICKS];
    SL_TRY(sl_atomic_printf(f, err, "set %slabel %s noenhanced\nset %srange [%.9g:%.9g]\n", which, sl_gnuplot_quoted(label, quoted, sizeof quoted),
                            which, a->lo, a->hi));
    if (!a->log)
        return SL_OK;
    sl_axis_log_ticks(a, ticks, sizeof ticks);
    return sl_atomic_printf(f, err, "set logscale %s\nset %stics %s\n", which, which, ticks);
}

/* More names than fit below the axis side by side. */
static bool crowded(const sl_plot *p)
{
    size_t letters = 0;
    for (int i = 0; i < p->n_categories; i++)
        letters += strlen(p->categories[i]) + 2;
    return letters > 60;
}

/* Names instead of numbers below the bars; slanted where they would run into each other. */
static sl_status put_categories(sl_atomic *f, const sl_plot *p, sl_err *err)
{
    char quoted[LINE];
    for (int i = 0; i < p->n_categories; i++)
        SL_TRY(sl_atomic_printf(f, err, "%s%s %d", i ? ", " : "set xtics (", sl_gnuplot_quoted(p->categories[i], quoted, sizeof quoted), i));
    return p->n_categories > 0 ? sl_atomic_printf(f, err, ") noenhanced%s\n", crowded(p) ? " rotate by -25 left" : "") : SL_OK;
}

int sl_plot_wrap(const char *text, int width, int most, char lines[][LINE])
{
    int n = 0;
    while (*text && n < most) {
        size_t len = strlen(text), cut = len;
        if (len > (size_t)width)
            for (cut = (size_t)width; cut > 0 && text[cut] != ' '; cut--)
                ;
        if (cut == 0)
            cut = strcspn(text, " ");
        snprintf(lines[n++], LINE, "%.*s", (int)cut, text);
        text += cut + strspn(text + cut, " ");
    }
    return n;
}

enum { ROW = 19, SMALL_ROW = 13, MANY = 8 /* series from which on the legend is small */ };

/* Rows of the legend above the frame; gnuplot gives every entry the room of the longest. */
static int legend_rows(const sketch *k, int *columns)
{
    int longest = 1;
    for (int i = 0; i < k->p->n_series; i++)
        if (k->p->series[i].name && (int)strlen(k->p->series[i].name) > longest)
            longest = (int)strlen(k->p->series[i].name);
    *columns = (WIDTH - 120) / (k->n_drawn >= MANY ? longest * 6 + 50 : longest * 9 + 70);
    *columns = *columns < 1 ? 1 : *columns > k->n_drawn ? k->n_drawn : *columns;
    return k->n_drawn > 1 ? (k->n_drawn + *columns - 1) / *columns : 0;
}

sl_status sl_plot_texts(sl_atomic *f, const char *title, int n_lines, char lines[][LINE], sl_err *err)
{
    char quoted[LINE];
    size_t len = title ? strlen(title) : 0;
    SL_TRY(sl_atomic_printf(f, err, "set label 1 %s at graph 0, screen %.4f left noenhanced font ',%d' textcolor rgb '#111111'\n",
                            sl_gnuplot_quoted(title, quoted, sizeof quoted), 1 - 22.0 / HEIGHT, len < 60 ? 16 : len < 80 ? 13 : 10));
    for (int i = 0; i < n_lines; i++)
        SL_TRY(sl_atomic_printf(f, err, "set label %d %s at graph 0, screen %.4f left noenhanced font ',10' textcolor rgb '#666666'\n", i + 2,
                                sl_gnuplot_quoted(lines[i], quoted, sizeof quoted), (12.0 + CAPTION_ROW * (n_lines - 1 - i)) / HEIGHT));
    return SL_OK;
}

/* Title, legend and caption lie outside the frame, below each other, all beginning where the frame does. Heights in pixels of the SVG. */
static sl_status put_frame(sl_atomic *f, const sketch *k, sl_err *err)
{
    enum { SLANTED = 26, MAX_LINES = 4, CAPTION_WIDTH = 88 };
    char lines[MAX_LINES][LINE];
    int columns, rows = legend_rows(k, &columns);
    int n = sl_plot_wrap(k->caption, CAPTION_WIDTH, MAX_LINES, lines);
    SL_TRY(sl_atomic_printf(f, err, "set tmargin at screen %.4f\nset bmargin at screen %.4f\n", 1 - (48.0 + (k->n_drawn >= MANY ? SMALL_ROW : ROW) * rows) / HEIGHT, ((n ? 74.0 : 62.0) + CAPTION_ROW * n + (crowded(k->p) ? SLANTED : 0)) / HEIGHT));
    SL_TRY(sl_plot_texts(f, k->p->title, n, lines, err));
    if (rows == 0)
        return sl_atomic_printf(f, err, "unset key\n");
    return sl_atomic_printf(f, err, "set key at graph 0, screen %.4f left top horizontal Left reverse noenhanced samplen 2 spacing 1 maxcols %d%s\n",
                            1 - 38.0 / HEIGHT, columns, k->n_drawn >= MANY ? " font ',8'" : "");
}

static sl_status put_style(sl_atomic *f, const sketch *k, sl_err *err)
{
    const sl_plot *p = k->p;
    char title[LINE];
    SL_TRY(sl_atomic_printf(f, err,
                            "# %s\n# gnuplot %s.gp, in this folder, draws %s.svg and %s.png again from %s.dat.\n"
                            "set encoding utf8\n"
                            "set border 3 lc rgb '#444444' lw 1\n"
                            "set tics nomirror scale 0.6 textcolor rgb '#222222'\n"
                            "set grid %s ytics lt 1 lc rgb '#E6E6E6' lw 0.7\n"
                            "set lmargin 12\nset rmargin 4\n",
                            sl_one_line(p->title, title, sizeof title), p->name, p->name, p->name, p->name, p->kind == SL_PLOT_BARS ? "noxtics" : "xtics"));
    SL_TRY(put_axis(f, "x", &k->x, p->x_label, err));
    SL_TRY(put_axis(f, "y", &k->y, p->y_label, err));
    SL_TRY(put_categories(f, p, err));
    return put_frame(f, k, err);
}

static sl_status put_curve(sl_atomic *f, const sketch *k, const sl_series *s, int j, const char *title, sl_err *err)
{
    const char *c = COLOURS[j % N_COLOURS], *name = k->p->name;
    const char *dash = j % N_COLOURS >= SOLID ? "dt (8,4)" : "dt solid";
    int beside = k->p->in_front ? 1 : k->n_drawn;
    double width = .8 * k->bar_step / beside, shift = k->p->in_front ? 0 : (j - (beside - 1) / 2.0) * width;
    switch (k->p->kind) {
    case SL_PLOT_LINES:
        if (has_range(s))
            SL_TRY(sl_atomic_printf(f, err, "'%s.dat' index %d using 1:3:4 with filledcurves fs transparent solid 0.18 noborder lc rgb '%s' notitle, \\\n     ", name, j, c));
        if (count_drawn(k->p, s) <= FEW_POINTS)
            return sl_atomic_printf(f, err, "'%s.dat' index %d using 1:2 with linespoints lw 2 %s pt 7 ps 0.5 lc rgb '%s' title %s", name, j, dash, c, title);
        return sl_atomic_printf(f, err, "'%s.dat' index %d using 1:2 with lines lw 2 %s lc rgb '%s' title %s", name, j, dash, c, title);
    case SL_PLOT_POINTS:
        if (has_range(s))
            SL_TRY(sl_atomic_printf(f, err, "'%s.dat' index %d using 1:3:(0):($4-$3) with vectors heads size screen 0.004,90 lw 1.2 lc rgb '%s' notitle, \\\n     ", name, j, c));
        return sl_atomic_printf(f, err, "'%s.dat' index %d using 1:2 with points pt %d ps 0.8 lc rgb '%s' title %s", name, j, POINTS[j / N_COLOURS % 3], c, title);
    case SL_PLOT_BARS:
        SL_TRY(sl_atomic_printf(f, err, "'%s.dat' index %d using ($1+%.9g):2:(%.9g) with boxes fs solid %s noborder lc rgb '%s' title %s", name, j, shift, .92 * width, k->p->in_front ? "1" : "0.85", c, title));
        if (has_range(s))
            SL_TRY(sl_atomic_printf(f, err, ", \\\n     '%s.dat' index %d using ($1+%.9g):3:(0):($4-$3) with vectors heads size screen 0.006,90 lw 1.4 lc rgb '#222222' notitle", name, j, shift));
        return SL_OK;
    case SL_PLOT_STEPS: /* empty bins end at the frame, also where 0 has no place on a logarithmic axis */
        SL_TRY(sl_atomic_printf(f, err, "'%s.dat' index %d using 1:($2>%.9g?$2:%.9g) with fillsteps fs transparent solid 0.15 noborder lc rgb '%s' notitle, \\\n     ",
                                name, j, k->y.lo, k->y.lo, c));
        return sl_atomic_printf(f, err, "'%s.dat' index %d using 1:($2>%.9g?$2:%.9g) with steps lw 2 %s lc rgb '%s' title %s", name, j, k->y.lo, k->y.lo, dash, c, title);
    case SL_PLOT_CELLS: break; /* cells.c */
    }
    return SL_OK;
}

static sl_status put_curves(sl_atomic *f, const sketch *k, sl_err *err)
{
    char title[LINE];
    int j = 0;
    if (k->n_drawn == 0)
        return sl_atomic_printf(f, err, "unset tics\nset label 9 'no data' at graph 0.5, graph 0.5 center font ',20' textcolor rgb '#888888'\nplot NaN notitle\n");
    SL_TRY(sl_atomic_printf(f, err, "plot "));
    for (int i = 0; i < k->p->n_series; i++) {
        const sl_series *s = &k->p->series[i];
        if (count_drawn(k->p, s) == 0)
            continue;
        if (j)
            SL_TRY(sl_atomic_printf(f, err, ", \\\n     "));
        SL_TRY(put_curve(f, k, s, j++, sl_gnuplot_quoted(s->name, title, sizeof title), err));
    }
    return sl_atomic_printf(f, err, "\n");
}

static sl_status put_script(sl_atomic *f, const void *what, sl_err *err)
{
    const sketch *k = what;
    const char *name = k->p->name;
    SL_TRY(put_style(f, k, err));
    SL_TRY(sl_atomic_printf(f, err, "set terminal svg size %d,%d font 'DejaVu Sans,13' fontscale 1.25 enhanced background '#FFFFFF' rounded\nset output '%s.svg'\n",
                            WIDTH, HEIGHT, name));
    SL_TRY(put_curves(f, k, err));
    return sl_atomic_printf(f, err, "set terminal pngcairo size %d,%d font 'DejaVu Sans,13' fontscale 2 linewidth 2 pointscale 2 enhanced background '#FFFFFF' rounded\n"
                                    "set output '%s.png'\nreplot\nset output\n", 2 * WIDTH, 2 * HEIGHT, name);
}

/* ---- all of it ---- */

sl_status sl_plot_write(sl_ctx *ctx, const char *dir, const sl_plot *p, sl_err *err)
{
    sl_thin t;
    SL_TRY(sl_picture_name(p->name, err));
    SL_TRY(sl_dir_make(dir, err));
    if (p->kind == SL_PLOT_CELLS)
        return sl_plot_cells(ctx, dir, p, err);
    SL_TRY(sl_thin_plot(ctx, p, &t, err));
    sketch k = { .p = &t.plot, .bar_step = NAN, .binned = t.binned };
    see_all(&k);
    make_caption(&k);
    sl_status st = sl_picture_file(ctx, dir, p->name, "dat", put_data, &k, err);
    if (st == SL_OK)
        st = sl_picture_file(ctx, dir, p->name, "gp", put_script, &k, err);
    sl_thin_free(ctx, &t);
    return st == SL_OK ? sl_gnuplot_run(ctx, dir, p->name, err) : st;
}
