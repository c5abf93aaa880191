/* Fields of colour: NAME.dat (the numbers, a block a panel), NAME.gp, NAME.svg and NAME.png. */
#include "report/picture.h"
#include "report/text.h"

#include <saelab/report.h>

#include <math.h>
#include <string.h>

enum { WIDTH = 1100, PANEL = 250, HEAD = 46, FOOT = 40, COLUMNS = 4, MOST_NAMES = 14, LINE = 1024 };
/* From white, as viridis is not: empty cells and 0 look alike, which is what they mean here. About 0: blue and orange (Okabe and Ito). */
static const char *const UP = "0 '#FFFFFF', 0.15 '#D9E8F3', 0.5 '#56B4E9', 0.8 '#0072B2', 1 '#00263D'";
static const char *const ABOUT = "0 '#003E63', 0.25 '#56B4E9', 0.5 '#FFFFFF', 0.75 '#E69F00', 1 '#8A3C00'";

static double largest(const sl_heat_panel *p)
{
    double most = 0;
    for (int i = 0; i < p->n * p->n; i++)
        if (isfinite(p->v[i]))
            most = fmax(most, fabs(p->v[i]));
    return most;
}

static int columns_of(const sl_heat *h) { return h->n_panels < COLUMNS ? h->n_panels : COLUMNS; }
static int rows_of(const sl_heat *h) { return (h->n_panels + COLUMNS - 1) / COLUMNS; }
static int height_of(const sl_heat *h) { return h->n_panels ? HEAD + FOOT + rows_of(h) * PANEL : 200; }

static sl_status put_data(sl_atomic *f, const void *what, sl_err *err)
{
    const sl_heat *h = what;
    char line[LINE];
    for (int k = 0; k < h->n_panels; k++) {
        const sl_heat_panel *p = &h->panel[k];
        SL_TRY(sl_atomic_printf(f, err, "# %s\n# column row value\n", sl_one_line(p->title, line, sizeof line)));
        for (int i = 0; i < p->n; i++)
            for (int j = 0; j < p->n; j++) {
                double v = p->v[i * p->n + j];
                if (isfinite(v))
                    SL_TRY(sl_atomic_printf(f, err, "%d %d %.6g\n", j, i, v));
                else
                    SL_TRY(sl_atomic_printf(f, err, "%d %d NaN\n", j, i));
            }
        SL_TRY(sl_atomic_printf(f, err, "\n\n"));
    }
    return h->n_panels ? SL_OK : sl_atomic_printf(f, err, "# no data\n");
}

static sl_status put_names(sl_atomic *f, const sl_heat_panel *p, const char *axis, sl_err *err)
{
    char quoted[LINE];
    if (!p->names || p->n > MOST_NAMES)
        return sl_atomic_printf(f, err, "unset %stics\n", axis);
    SL_TRY(sl_atomic_printf(f, err, "set %stics scale 0 noenhanced font ',7' textcolor rgb '#222222'%s (", axis, *axis == 'x' ? " rotate by 45 right" : ""));
    for (int i = 0; i < p->n; i++)
        SL_TRY(sl_atomic_printf(f, err, "%s%s %d", i ? ", " : "", sl_gnuplot_quoted(p->names[i], quoted, sizeof quoted), i));
    return sl_atomic_printf(f, err, ")\n");
}

static sl_status put_panel(sl_atomic *f, const sl_heat *h, int k, double scale, sl_err *err)
{
    const sl_heat_panel *p = &h->panel[k];
    char quoted[LINE];
    double limit = h->diverging ? largest(p) : scale, cell = 1. / columns_of(h), row = (double)PANEL / height_of(h);
    double left = (k % COLUMNS) * cell, top = 1 - (double)HEAD / height_of(h) - (k / COLUMNS) * row;
    bool named = p->names && p->n <= MOST_NAMES;
    limit = limit > 0 ? limit : 1;
    SL_TRY(sl_atomic_printf(f, err, "set lmargin at screen %.4f\nset rmargin at screen %.4f\nset tmargin at screen %.4f\nset bmargin at screen %.4f\n",
                            left + (named ? .34 : .08) * cell, left + .81 * cell, top - 26. / height_of(h), top - row + (named ? 66. : 34.) / height_of(h)));
    SL_TRY(sl_atomic_printf(f, err, "set title %s noenhanced font ',8' offset 0,-0.6\n", sl_gnuplot_quoted(p->title, quoted, sizeof quoted)));
    SL_TRY(put_names(f, p, "x", err));
    SL_TRY(put_names(f, p, "y", err));
    SL_TRY(sl_atomic_printf(f, err, "set xrange [-0.5:%d.5]\nset yrange [%d.5:-0.5]\nset cbrange [%.6g:%.6g]\n", p->n - 1, p->n - 1, h->diverging ? -limit : 0., limit));
    return sl_atomic_printf(f, err, "plot '%s.dat' index %d using 1:2:3 with image pixels notitle\n", h->name, k);
}

static sl_status put_frame(sl_atomic *f, const sl_heat *h, sl_err *err)
{
    char quoted[LINE], line[LINE], text[2 * LINE];
    snprintf(text, sizeof text, "rows: %s; columns: %s. %s", h->y_label, h->x_label, h->caption ? h->caption : "");
    SL_TRY(sl_atomic_printf(f, err, "set label 1 %s at screen 0.02, screen %.4f left noenhanced font ',13' textcolor rgb '#111111'\n",
                            sl_gnuplot_quoted(h->title, quoted, sizeof quoted), 1 - 20. / height_of(h)));
    return sl_atomic_printf(f, err, "set label 2 %s at screen 0.02, screen %.4f left noenhanced font ',8' textcolor rgb '#666666'\n",
                            sl_gnuplot_quoted(sl_one_line(text, line, sizeof line), quoted, sizeof quoted), 14. / height_of(h));
}

static sl_status put_panels(sl_atomic *f, const sl_heat *h, sl_err *err)
{
    double scale = 0;
    if (h->n_panels == 0)
        return sl_atomic_printf(f, err, "unset tics\nunset border\nset label 9 'no data' at screen 0.5, screen 0.5 center font ',20' textcolor rgb '#888888'\n"
                                        "set xrange [0:1]\nset yrange [0:1]\nplot NaN notitle\n");
    for (int k = 0; k < h->n_panels; k++)
        scale = fmax(scale, largest(&h->panel[k]));
    SL_TRY(sl_atomic_printf(f, err, "set multiplot\n"));
    for (int k = 0; k < h->n_panels; k++) {
        SL_TRY(put_panel(f, h, k, scale, err));
        if (k == 0)
            SL_TRY(sl_atomic_printf(f, err, "unset label\n"));
    }
    return sl_atomic_printf(f, err, "unset multiplot\n");
}

static sl_status put_script(sl_atomic *f, const void *what, sl_err *err)
{
    const sl_heat *h = what;
    static const char *const TERMINALS[][2] = { { "svg", "svg size %d,%d font 'DejaVu Sans,13' enhanced background '#FFFFFF' rounded" },
                                                { "png", "pngcairo size %d,%d font 'DejaVu Sans,13' fontscale 2 linewidth 2 enhanced background '#FFFFFF' rounded" } };
    char title[LINE], terminal[256];
    SL_TRY(sl_atomic_printf(f, err, "# %s\n# gnuplot %s.gp, in this folder, draws %s.svg and %s.png again from %s.dat.\nset encoding utf8\n",
                            sl_one_line(h->title, title, sizeof title), h->name, h->name, h->name, h->name));
    SL_TRY(sl_atomic_printf(f, err, "set border 15 lc rgb '#BBBBBB'\nset palette defined (%s)\nset colorbox vertical\nset cbtics scale 0.4 font ',7' textcolor rgb '#222222'\n", h->diverging ? ABOUT : UP));
    for (int t = 0; t < 2; t++) {
        snprintf(terminal, sizeof terminal, TERMINALS[t][1], (t + 1) * WIDTH, (t + 1) * height_of(h));
        SL_TRY(sl_atomic_printf(f, err, "set terminal %s\nset output '%s.%s'\n", terminal, h->name, TERMINALS[t][0]));
        SL_TRY(put_frame(f, h, err));
        SL_TRY(put_panels(f, h, err));
        SL_TRY(sl_atomic_printf(f, err, "set output\n"));
    }
    return SL_OK;
}

sl_status sl_heat_write(sl_ctx *ctx, const char *dir, const sl_heat *h, sl_err *err)
{
    SL_TRY(sl_picture_name(h->name, err));
    SL_TRY(sl_dir_make(dir, err));
    SL_TRY(sl_picture_file(ctx, dir, h->name, "dat", put_data, h, err));
    SL_TRY(sl_picture_file(ctx, dir, h->name, "gp", put_script, h, err));
    return sl_gnuplot_run(ctx, dir, h->name, err);
}
