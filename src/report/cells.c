/* A table in colours: a coloured cell with its number for every row (a series) and column (a category). */
#include "report/frame.h"
#include "report/picture.h"
#include "report/text.h"

#include <math.h>
#include <string.h>

enum { CAPTION_LINES = 4, CAPTION_WIDTH = 88 };

typedef struct cells {
    const sl_plot *p;
    double most, least;     /* of the colours */
    bool both;              /* some are negative: 0 is white, in the middle */
    int64_t n;              /* cells with a value */
    int digits;
} cells;

static void see(cells *h)
{
    h->least = INFINITY;
    h->most = -INFINITY;
    for (int r = 0; r < h->p->n_series; r++)
        for (int64_t c = 0; c < h->p->series[r].n; c++) {
            double v = h->p->series[r].y[c];
            if (!isfinite(v))
                continue;
            h->least = fmin(h->least, v);
            h->most = fmax(h->most, v);
            h->n++;
        }
    if (h->n == 0)
        h->least = h->most = 0;
    h->both = h->least < 0;
    double size = fmax(fabs(h->least), fabs(h->most));
    h->digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
    if (h->both) {
        h->most = size;
        h->least = -size;
    } else {
        h->least = 0;
        h->most = h->most > 0 ? h->most : 1;
    }
}

/* column row value text colour-of-the-text; the first row is on top */
static sl_status put_data(sl_atomic *f, const void *what, sl_err *err)
{
    const cells *h = what;
    SL_TRY(sl_atomic_printf(f, err, "# column row value text colour\n"));
    for (int r = 0; r < h->p->n_series; r++)
        for (int64_t c = 0; c < h->p->series[r].n; c++) {
            double v = h->p->series[r].y[c], far = fabs(v) / h->most;
            if (isfinite(v))
                SL_TRY(sl_atomic_printf(f, err, "%lld %d %.9g %.*f %d\n", (long long)c, r, v, h->digits, v, far > .6 ? 0xFFFFFF : 0x222222));
        }
    return h->n ? SL_OK : sl_atomic_printf(f, err, "# no data\n");
}

static sl_status put_names(sl_atomic *f, char axis, int n, const char *(*name)(const sl_plot *p, int i), const sl_plot *p, const char *after, sl_err *err)
{
    char quoted[SL_PLOT_LINE];
    for (int i = 0; i < n; i++)
        SL_TRY(sl_atomic_printf(f, err, "%s%s %d", i ? ", " : axis == 'x' ? "set xtics nomirror (" : "set ytics nomirror (", sl_gnuplot_quoted(name(p, i), quoted, sizeof quoted), i));
    return n > 0 ? sl_atomic_printf(f, err, ") noenhanced scale 0%s\n", after) : SL_OK;
}

static const char *row_name(const sl_plot *p, int i) { return p->series[i].name; }
static const char *column_name(const sl_plot *p, int i) { return p->categories[i]; }

static sl_status put_frame(sl_atomic *f, const cells *h, sl_err *err)
{
    const sl_plot *p = h->p;
    char caption[SL_PLOT_LINE], lines[CAPTION_LINES][SL_PLOT_LINE], x[SL_PLOT_LINE], cb[SL_PLOT_LINE];
    size_t longest = 1, letters = 0;
    for (int r = 0; r < p->n_series; r++)
        longest = strlen(p->series[r].name) > longest ? strlen(p->series[r].name) : longest;
    for (int c = 0; c < p->n_categories; c++)
        letters += strlen(p->categories[c]) + 2;
    bool slanted = letters > 60;
    int width = CAPTION_WIDTH - (int)longest * 4 / 3, n = sl_plot_wrap(sl_one_line(p->caption, caption, sizeof caption), width > 40 ? width : 40, CAPTION_LINES, lines);
    SL_TRY(sl_plot_texts(f, p->title, n, lines, err));
    SL_TRY(sl_atomic_printf(f, err, "set tmargin at screen %.4f\nset bmargin at screen %.4f\nset lmargin %d\nset rmargin 13\n", 1 - 48. / SL_PLOT_HEIGHT,
                            ((n ? 74. : 62.) + 15 * n + (slanted ? 26 : 0)) / SL_PLOT_HEIGHT, (int)longest + 3));
    SL_TRY(sl_atomic_printf(f, err, "unset key\nunset grid\nset border 0\nset tics scale 0\nset xrange [-.5:%d.5]\nset yrange [%d.5:-.5]\nset xlabel %s noenhanced\nset cblabel %s noenhanced\nset cbrange [%.9g:%.9g]\n",
                            p->n_categories - 1, p->n_series - 1, sl_gnuplot_quoted(p->x_label, x, sizeof x), sl_gnuplot_quoted(p->y_label, cb, sizeof cb), h->least, h->most));
    SL_TRY(put_names(f, 'x', p->n_categories, column_name, p, slanted ? " rotate by -25 left" : "", err));
    return put_names(f, 'y', p->n_series, row_name, p, "", err);
}

/* Okabe and Ito's vermillion and blue, darkened, with white at 0; white to blue where there is one sign. */
static sl_status put_script(sl_atomic *f, const void *what, sl_err *err)
{
    const cells *h = what;
    const char *name = h->p->name;
    char title[SL_PLOT_LINE];
    SL_TRY(sl_atomic_printf(f, err, "# %s\n# gnuplot %s.gp, in this folder, draws %s.svg and %s.png again from %s.dat.\nset encoding utf8\n", sl_one_line(h->p->title, title, sizeof title), name, name, name, name));
    SL_TRY(sl_atomic_printf(f, err, "%s", h->both ? "set palette defined (-1 '#B24400', 0 '#FFFFFF', 1 '#0060A0')\n" : "set palette defined (0 '#F4F8FB', 1 '#0060A0')\n"));
    SL_TRY(put_frame(f, h, err));
    SL_TRY(sl_atomic_printf(f, err, "set terminal svg size %d,%d font 'DejaVu Sans,13' fontscale 1.25 enhanced background '#FFFFFF' rounded\nset output '%s.svg'\n",
                            (int)SL_PLOT_WIDTH, (int)SL_PLOT_HEIGHT, name));
    if (h->n == 0)
        SL_TRY(sl_atomic_printf(f, err, "unset tics\nset label 9 'no data' at graph 0.5, graph 0.5 center font ',20' textcolor rgb '#888888'\nplot NaN notitle\n"));
    else
        SL_TRY(sl_atomic_printf(f, err, "plot '%s.dat' using 1:2:($1-.49):($1+.49):($2-.48):($2+.48):3 with boxxyerror fs solid noborder lc palette notitle, \\\n"
                                        "     '%s.dat' using 1:2:4:5 with labels font ',9' noenhanced textcolor rgb variable notitle\n", name, name));
    return sl_atomic_printf(f, err, "set terminal pngcairo size %d,%d font 'DejaVu Sans,13' fontscale 2 linewidth 2 pointscale 2 enhanced background '#FFFFFF' rounded\n"
                                    "set output '%s.png'\nreplot\nset output\n", 2 * SL_PLOT_WIDTH, 2 * SL_PLOT_HEIGHT, name);
}

sl_status sl_plot_cells(sl_ctx *ctx, const char *dir, const sl_plot *p, sl_err *err)
{
    cells h = { .p = p };
    see(&h);
    SL_TRY(sl_picture_file(ctx, dir, p->name, "dat", put_data, &h, err));
    SL_TRY(sl_picture_file(ctx, dir, p->name, "gp", put_script, &h, err));
    return sl_gnuplot_run(ctx, dir, p->name, err);
}
