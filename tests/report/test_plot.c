/* Plots: ticks, quoting, data, pictures, and what happens without gnuplot. */
#include "support.h"

#include "data/spawn.h"
#include "io/io.h"
#include "report/axis.h"
#include "report/text.h"

#include <saelab/report.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static sl_ctx *ctx;
static sl_err err;
static char real_path[4096], dir[512];
static bool has_gnuplot;

static int fresh(void **s)
{
    (void)s;
    setenv("PATH", real_path, 1);
    snprintf(dir, sizeof dir, "%s", sl_test_dir("plot"));
    return 0;
}

static int back(void **s)
{
    (void)s;
    return setenv("PATH", real_path, 1);
}

/* A program called gnuplot, the only one in PATH but for those of /bin. */
static void fake_gnuplot(const char *script)
{
    char path[600], env[700];
    sl_status st;
    snprintf(path, sizeof path, "%s/bin", dir);
    sl_assert_ok(sl_dir_make(path, &err));
    snprintf(env, sizeof env, "%s:/bin", path);
    strncat(path, "/gnuplot", sizeof path - strlen(path) - 1);
    st = sl_file_write(ctx, path, script, strlen(script), &err);
    assert_int_equal(st, SL_OK);
    assert_int_equal(chmod(path, 0755), 0);
    setenv("PATH", env, 1);
}

static void read_text(const char *name, char **text)
{
    char path[600];
    size_t n;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    sl_assert_ok(sl_file_read(ctx, path, text, &n, &err));
}

static bool there(const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return sl_path_exists(path);
}

static bool file_holds(const char *name, const char *what)
{
    char *text;
    read_text(name, &text);
    bool found = strstr(text, what) != NULL;
    sl_free(ctx, text);
    return found;
}

/* ---- text and axes ---- */

static void quoting(void **s)
{
    (void)s;
    char out[64];
    assert_string_equal(sl_one_line("a\nb\tc\x7F \xC3\xA9 \xFF!", out, sizeof out), "a b c  \xC3\xA9 ?!");
    assert_string_equal(sl_one_line(NULL, out, sizeof out), "");
    assert_string_equal(sl_one_line("ab\xC3\xA9", out, 4), "ab"); /* never half a character */
    assert_string_equal(sl_gnuplot_quoted("it's", out, sizeof out), "'it\xE2\x80\x99s'");
    assert_string_equal(sl_gnuplot_quoted("x\\n`id` \"$(id)\"\n", out, sizeof out), "'x\\n\xE2\x80\x98id\xE2\x80\x98 \"$(id)\" '");
    assert_string_equal(sl_gnuplot_quoted("ab'", out, 7), "'ab'"); /* room for four bytes, not for five */
}

static sl_axis axis(bool log, double lo, double hi)
{
    sl_axis a = { .log = log };
    sl_axis_see(&a, lo);
    sl_axis_see(&a, hi);
    sl_axis_see(&a, NAN);
    sl_axis_see(&a, INFINITY);
    if (log) {
        sl_axis_see(&a, 0);
        sl_axis_see(&a, -1);
    }
    return a;
}

static void ranges(void **s)
{
    (void)s;
    sl_axis a = axis(false, 2, 12);
    sl_axis_pad(&a, .1, false);
    sl_assert_close_f64("linear", (double[]){ a.lo, a.hi }, (double[]){ 1, 13 }, 2, 1e-12, 0);
    a = axis(false, 2, 12);
    sl_axis_pad(&a, .1, true);
    sl_assert_close_f64("from zero", (double[]){ a.lo, a.hi }, (double[]){ 0, 13 }, 2, 1e-12, 0);
    a = axis(false, -2, 8);
    sl_axis_pad(&a, .1, true);
    sl_assert_close_f64("negative", (double[]){ a.lo, a.hi }, (double[]){ -3, 9 }, 2, 1e-12, 0);
    a = axis(false, 32, 32);
    sl_axis_pad(&a, .05, false);
    assert_true(a.lo < 32 && a.hi > 32);
    a = axis(false, 0, 0);
    sl_axis_pad(&a, 0, false);
    assert_true(a.lo < 0 && a.hi > 0);
    a = axis(true, 1, 10000);
    sl_axis_pad(&a, .25, false);
    sl_assert_close_f64("logarithmic", (double[]){ a.lo, a.hi }, (double[]){ .1, 1e5 }, 2, 0, 1e-9);
    a = axis(true, 5, 5);
    sl_axis_pad(&a, 0, false);
    assert_true(a.lo < 5 && a.hi > 5);
    a = (sl_axis){ .log = true };
    sl_axis_pad(&a, .1, false);
    assert_true(a.lo > 0 && a.hi > a.lo);
}

static void ticks(void **s)
{
    (void)s;
    static const struct { double lo, hi; const char *want; } CASES[] = {
        { .9, 1100, "('1' 1, '10' 10, '100' 100, '1000' 1000)" },
        { .04, 1.2, "('0.05' 0.05, '0.1' 0.1, '0.2' 0.2, '0.5' 0.5, '1' 1)" },
        { 28, 72, "('30' 30, '40' 40, '50' 50, '60' 60, '70' 70)" },
        { 28, 99, "('30' 30, '40' 40, '50' 50, '60' 60, '70' 70, '80' 80, '90' 90)" },
        { .052, .058, "('0.052' 0.052, '0.054' 0.054, '0.056' 0.056, '0.058' 0.058)" },
        { 1e-6, 1, "('10^{-6}' 1e-06, '10^{-5}' 1e-05, '10^{-4}' 0.0001, '10^{-3}' 0.001, '10^{-2}' 0.01, '0.1' 0.1, '1' 1)" },
        { 1e-5, 3e-5, "('10^{-5}' 1e-05, '1.5·10^{-5}' 1.5e-05, '2·10^{-5}' 2e-05, '2.5·10^{-5}' 2.5e-05, '3·10^{-5}' 3e-05)" },
        { 1e-30, 1, "('10^{-30}' 1e-30, '10^{-26}' 1e-26, '10^{-22}' 1e-22, '10^{-18}' 1e-18, '10^{-14}' 1e-14, '10^{-10}' 1e-10, '10^{-6}' 1e-06, '10^{-2}' 0.01)" },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char out[2048];
        sl_axis a = { .log = true, .any = true, .lo = CASES[i].lo, .hi = CASES[i].hi };
        sl_axis_log_ticks(&a, out, sizeof out);
        assert_string_equal(out, CASES[i].want);
    }
}

/* ---- files ---- */

static const double X[] = { 1, 2, 3, 4 }, Y[] = { 4, 3, 2.5, 2 }, LO[] = { 3.5, -1, 2.4, 1 }, HI[] = { 4.5, 3.5, 2.6, 3 };

static sl_plot simple(const sl_series *series, int n)
{
    return (sl_plot){ .name = "plot", .title = "A title", .x_label = "step", .y_label = "loss (nats)", .caption = "A caption.", .series = series, .n_series = n };
}

static void data_file(void **s)
{
    (void)s;
    sl_series one = { "first", X, Y, LO, HI, 4 }, two = { "second\nline", X, Y, NULL, NULL, 2 };
    sl_series both[] = { one, { "nothing", X, (const double[]){ NAN, NAN }, NULL, NULL, 2 }, two };
    sl_plot p = simple(both, 3);
    fake_gnuplot("#!/bin/sh\necho x > plot.svg\necho x > plot.png\n");
    sl_assert_ok(sl_plot_write(ctx, dir, &p, &err));
    char *text;
    read_text("plot.dat", &text);
    assert_string_equal(text, "# first\n# x y lo hi\n1 4 3.5 4.5\n2 3 -1 3.5\n3 2.5 2.4 2.6\n4 2 1 3\n\n\n"
                              "# second line\n# x y lo hi\n1 4 4 4\n2 3 3 3\n\n\n");
    sl_free(ctx, text);
    assert_true(file_holds("plot.gp", "A caption. 2 points not finite, left out."));
    assert_false(file_holds("plot.gp", "nothing"));
    /* logarithmic: the range that goes below 0 ends at the frame, which is positive */
    p.log_y = true;
    sl_assert_ok(sl_plot_write(ctx, dir, &p, &err));
    read_text("plot.dat", &text);
    double x, y, lo, hi;
    const char *row = strstr(text, "\n2 3 ");
    assert_non_null(row);
    assert_int_equal(sscanf(row, "%lf %lf %lf %lf", &x, &y, &lo, &hi), 4);
    assert_true(lo > 0 && lo <= 1 && hi == 3.5);
    sl_free(ctx, text);
    /* a point below 0 is left out, and counted apart */
    both[2].y = (const double[]){ -4, 0 };
    sl_assert_ok(sl_plot_write(ctx, dir, &p, &err));
    assert_true(file_holds("plot.gp", "2 points not finite, left out. 2 points not positive, left out (logarithmic") && file_holds("plot.gp", "axis)."));
}

static void histogram_file(void **s)
{
    (void)s;
    sl_series h = { "h", (const double[]){ .001, .01, .1, 1 }, (const double[]){ 0, .5, 0, .25 }, NULL, NULL, 4 };
    sl_plot p = simple(&h, 1);
    p.kind = SL_PLOT_STEPS;
    p.log_x = p.log_y = true;
    fake_gnuplot("#!/bin/sh\necho x > plot.svg\necho x > plot.png\n");
    sl_assert_ok(sl_plot_write(ctx, dir, &p, &err));
    char *text, *gp;
    read_text("plot.dat", &text);
    read_text("plot.gp", &gp);
    assert_non_null(strstr(text, "\n1 0.25 "));
    assert_non_null(strstr(text, "\n10 0 ")); /* the last bin is as wide as the one before: a decade */
    assert_null(strstr(gp, "left out"));     /* empty bins are no lost points */
    assert_non_null(strstr(gp, "set xrange [0.01:10]"));
    sl_free(ctx, text);
    sl_free(ctx, gp);
}

/* The first n pictures NAME0, NAME1 ...: SVG is XML, PNG has its size. */
static void check_pictures(const char *name, int n)
{
    enum { MOST = 8 };
    char svg[MOST][600], path[600], *png, *out;
    const char *argv[MOST + 3] = { "python3", "tests/report/check_page.py" };
    size_t size;
    for (int i = 0; i < n && i < MOST; i++) {
        snprintf(svg[i], sizeof svg[i], "%s/%s%d.svg", dir, name, i);
        argv[2 + i] = svg[i];
        snprintf(path, sizeof path, "%s/%s%d.png", dir, name, i);
        sl_assert_ok(sl_file_read(ctx, path, &png, &size, &err));
        assert_true(size > 1000);
        assert_memory_equal(png, "\x89PNG\r\n\x1A\n", 8);
        assert_memory_equal(png + 16, "\0\0\x05\xF0\0\0\x03\xAC", 8); /* 1520 x 940 pixels */
        sl_free(ctx, png);
    }
    sl_status st = sl_spawn(ctx, argv, &(sl_spawn_opts){ .limit_s = 60, .merge_stderr = true }, &out, &size, &err);
    if (st != SL_OK)
        fail_msg("%s", out ? out : err.msg);
    sl_free(ctx, out);
}

static void pictures(void **s)
{
    (void)s;
    if (!has_gnuplot)
        skip();
    static const struct { sl_plot_kind kind; bool log_x, log_y, band; int n; } CASES[] = {
        { SL_PLOT_LINES, false, false, true, 2 },  { SL_PLOT_LINES, true, true, true, 1 }, { SL_PLOT_POINTS, false, true, true, 2 },
        { SL_PLOT_BARS, false, false, true, 2 },   { SL_PLOT_BARS, false, true, false, 1 }, { SL_PLOT_STEPS, true, false, false, 2 },
        { SL_PLOT_STEPS, false, true, false, 1 },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        sl_series both[] = { { "first", X, Y, CASES[i].band ? LO : NULL, CASES[i].band ? HI : NULL, 4 }, { "second", X, HI, NULL, NULL, 4 } };
        sl_plot p = simple(both, CASES[i].n);
        char name[16], file[24];
        snprintf(name, sizeof name, "plot%zu", i);
        snprintf(file, sizeof file, "%s.svg", name);
        p.name = name;
        p.kind = CASES[i].kind;
        p.log_x = CASES[i].log_x;
        p.log_y = CASES[i].log_y;
        sl_assert_ok(sl_plot_write(ctx, dir, &p, &err));
        assert_true(file_holds(file, "A title") && file_holds(file, "loss (nats)") && file_holds(file, "A caption."));
        assert_int_equal(file_holds(file, "second"), CASES[i].n == 2); /* a lone series has no legend */
    }
    check_pictures("plot", sizeof CASES / sizeof CASES[0]);
}

/* Rows and columns named, a number in every cell that has one; white in the middle where values have both signs. */
static void cells(void **s)
{
    (void)s;
    if (!has_gnuplot)
        skip();
    static const double rows[2][3] = { { .5, -.25, NAN }, { 0, 1, .125 } };
    static const char *const columns[] = { "weak, .3", "weak, 3", "strong, .3" };
    sl_series two[] = { { "gauss", X, rows[0], NULL, NULL, 3 }, { "inject invariant", X, rows[1], NULL, NULL, 3 } };
    sl_plot p = simple(two, 2);
    p.name = "plot0";
    p.kind = SL_PLOT_CELLS;
    p.categories = columns;
    p.n_categories = 3;
    sl_assert_ok(sl_plot_write(ctx, dir, &p, &err));
    assert_true(file_holds("plot0.dat", "0 0 0.5 0.50 ") && file_holds("plot0.dat", "1 1 1 1.00 16777215"));
    assert_false(file_holds("plot0.dat", "2 0 "));
    assert_true(file_holds("plot0.gp", "set cbrange [-1:1]"));
    assert_true(file_holds("plot0.svg", "inject invariant") && file_holds("plot0.svg", "strong, .3") && file_holds("plot0.svg", "-0.25"));
    for (int i = 0; i < 2; i++)
        two[i].n = 0;
    p.name = "plot1";
    sl_assert_ok(sl_plot_write(ctx, dir, &p, &err));
    assert_true(file_holds("plot1.svg", "no data"));
    check_pictures("plot", 2);
}

static void no_data(void **s)
{
    (void)s;
    if (!has_gnuplot)
        skip();
    sl_plot p = simple(NULL, 0);
    p.name = "plot0";
    sl_assert_ok(sl_plot_write(ctx, dir, &p, &err));
    check_pictures("plot", 1);
    assert_true(file_holds("plot0.svg", "no data"));
    assert_true(file_holds("plot0.dat", "# no data"));
    sl_series empty = { "empty", X, Y, NULL, NULL, 0 }, nan = { "nan", X, (const double[]){ NAN, INFINITY, -INFINITY }, NULL, NULL, 3 };
    sl_series both[] = { empty, nan };
    for (int kind = SL_PLOT_LINES; kind <= SL_PLOT_STEPS; kind++) {
        p = simple(both, 2);
        p.kind = (sl_plot_kind)kind;
        p.log_x = p.log_y = true;
        sl_assert_ok(sl_plot_write(ctx, dir, &p, &err));
        assert_true(file_holds("plot.svg", "no data"));
        assert_true(file_holds("plot.svg", "3 points not finite, left out."));
    }
}

/* Nothing in a label may act: neither on gnuplot, nor on a shell, nor on the SVG. */
static void hostile_labels(void **s)
{
    (void)s;
    if (!has_gnuplot)
        skip();
    static const char EVIL[] = "'; system('touch evil'); x='`touch evil` \"$(touch evil)\" \\\n!touch evil\nset output 'evil'\n<script>&_^{a}@b \xFF";
    const char *const categories[] = { EVIL, "b", "c", "d" };
    sl_series one[] = { { EVIL, X, Y, NULL, NULL, 4 }, { "second", X, HI, NULL, NULL, 4 } };
    sl_plot p = { .name = "plot0", .title = EVIL, .x_label = EVIL, .y_label = EVIL, .caption = EVIL, .kind = SL_PLOT_BARS, .series = one, .n_series = 2,
                  .categories = categories, .n_categories = 4 };
    sl_assert_ok(sl_plot_write(ctx, dir, &p, &err));
    check_pictures("plot", 1);
    assert_false(there("evil"));
    assert_false(file_holds("plot0.svg", "<script"));
    assert_true(file_holds("plot0.svg", "system(\xE2\x80\x99touch evil"));
}

/* ---- failures ---- */

static void without_gnuplot(void **s)
{
    (void)s;
    sl_series one = { "first", X, Y, NULL, NULL, 4 };
    sl_plot p = simple(&one, 1);
    char path[600];
    snprintf(path, sizeof path, "%s/plot.svg", dir);
    sl_assert_ok(sl_file_write(ctx, path, "old", 3, &err));
    setenv("PATH", dir, 1);
    sl_assert_fails(sl_plot_write(ctx, dir, &p, &err), SL_UNAVAILABLE, "gnuplot: not installed");
    assert_non_null(strstr(err.expected, "gnuplot-nox"));
    assert_true(there("plot.dat") && there("plot.gp"));
    assert_false(there("plot.svg")); /* an old picture of other numbers */
}

static void broken_gnuplot(void **s)
{
    (void)s;
    sl_series one = { "first", X, Y, NULL, NULL, 4 };
    sl_plot p = simple(&one, 1);
    fake_gnuplot("#!/bin/sh\necho 'line 3: no such thing' >&2\nexit 1\n");
    sl_assert_fails(sl_plot_write(ctx, dir, &p, &err), SL_IO, "plot.gp: gnuplot: ended with code 1 line 3: no such thing");
    fake_gnuplot("#!/bin/sh\necho 'unknown terminal' >&2\necho x > plot.svg\n");
    sl_assert_fails(sl_plot_write(ctx, dir, &p, &err), SL_UNAVAILABLE, "plot.png: gnuplot made no picture: unknown terminal");
}

static void bad_arguments(void **s)
{
    (void)s;
    static const char *const NAMES[] = { "", "a/b", "../x", "a b", "a'b", "\xC3\xA9", NULL };
    sl_plot p = simple(NULL, 0);
    for (int i = 0; i < 7; i++) {
        p.name = NAMES[i];
        sl_assert_fails(sl_plot_write(ctx, dir, &p, &err), SL_ARG, "names no file");
    }
    char path[600];
    p.name = "plot";
    snprintf(path, sizeof path, "%s/file", dir);
    sl_assert_ok(sl_file_write(ctx, path, "x", 1, &err));
    assert_int_not_equal(sl_plot_write(ctx, path, &p, &err), SL_OK); /* the folder is a file */
    sl_io_fail_at(1);
    sl_assert_fails(sl_plot_write(ctx, dir, &p, &err), SL_IO, "plot.dat");
    sl_io_fail_at(0);
    assert_false(there("plot.dat"));
}

/* ---- fields of colour, graphs ---- */

static void heat(void **s)
{
    (void)s;
    static const double V[] = { 0, .5, NAN, -2 };
    static const char *const NAMES[] = { "f1", "it's" };
    const sl_heat_panel panels[] = { { "first", NAMES, V, 2 }, { "second", NULL, V, 1 } };
    sl_heat h = { .name = "heat", .title = "Who attends", .x_label = "to", .y_label = "from", .diverging = true, .panel = panels, .n_panels = 2 };
    char *text;
    fake_gnuplot("#!/bin/sh\necho x > heat.svg\necho x > heat.png\n");
    sl_assert_ok(sl_heat_write(ctx, dir, &h, &err));
    read_text("heat.dat", &text);
    assert_string_equal(text, "# first\n# column row value\n0 0 0\n1 0 0.5\n0 1 NaN\n1 1 -2\n\n\n# second\n# column row value\n0 0 0\n\n\n");
    sl_free(ctx, text);
    read_text("heat.gp", &text);
    assert_int_equal(strncmp(text, "# Who attends\n", 14), 0);
    assert_non_null(strstr(text, "set cbrange [-2:2]"));  /* of the first panel alone */
    assert_non_null(strstr(text, "set cbrange [-1:1]"));  /* a panel of zeros has a scale too */
    assert_non_null(strstr(text, "'it\xE2\x80\x99s' 1")); /* quotes are made safe */
    sl_free(ctx, text);
    h.diverging = false;
    sl_assert_ok(sl_heat_write(ctx, dir, &h, &err));
    read_text("heat.gp", &text);
    assert_non_null(strstr(text, "set cbrange [0:2]"));
    assert_null(strstr(text, "set cbrange [0:1]"));       /* one scale for both */
    sl_free(ctx, text);
    h.n_panels = 0;
    sl_assert_ok(sl_heat_write(ctx, dir, &h, &err));
    read_text("heat.gp", &text);
    assert_non_null(strstr(text, "no data"));
    sl_free(ctx, text);
    h.name = "a/b";
    sl_assert_fails(sl_heat_write(ctx, dir, &h, &err), SL_ARG, "names no file");
}

static void real_heat(void **s)
{
    (void)s;
    static double v[20 * 20];
    sl_heat_panel panels[6];
    for (int i = 0; i < 400; i++)
        v[i] = (i % 7) / 7. - .4;
    for (int k = 0; k < 6; k++)
        panels[k] = (sl_heat_panel){ "panel", NULL, v, 20 };
    sl_heat h = { .name = "heat", .title = "t", .x_label = "x", .y_label = "y", .panel = panels, .n_panels = 6 };
    if (!has_gnuplot)
        skip();
    sl_assert_ok(sl_heat_write(ctx, dir, &h, &err));
    assert_true(there("heat.svg") && there("heat.png"));
    char *text;
    read_text("heat.svg", &text);
    assert_null(strstr(text, "<image")); /* a page may not hold one */
    sl_free(ctx, text);
}

static void graph(void **s)
{
    (void)s;
    char *text;
    sl_status st = sl_graph_write(ctx, dir, "net", "A graph", "graph g {\n  a -- b;\n}\n", &err);
    read_text("net.dot", &text);
    assert_string_equal(text, "// A graph\ngraph g {\n  a -- b;\n}\n");
    sl_free(ctx, text);
    if (st != SL_UNAVAILABLE) { /* Graphviz is optional */
        sl_assert_ok(st);
        assert_true(there("net.svg") && there("net.png"));
        sl_assert_fails(sl_graph_write(ctx, dir, "net", "t", "graph { a -- ", &err), SL_IO, "dot");
        assert_false(there("net.svg")); /* the old picture is gone */
    }
    setenv("PATH", dir, 1);
    sl_assert_fails(sl_graph_write(ctx, dir, "net", "t", "graph { }", &err), SL_UNAVAILABLE, "graphviz");
    assert_true(there("net.dot"));
    sl_assert_fails(sl_graph_write(ctx, dir, "a b", "t", "graph { }", &err), SL_ARG, "names no file");
}

static void allocations(void **s)
{
    (void)s;
    sl_series one = { "first", X, Y, NULL, NULL, 4 };
    sl_plot p = simple(&one, 1);
    int failures = 0;
    fake_gnuplot("#!/bin/sh\necho x > plot.svg\necho x > plot.png\n");
    for (int64_t n = 1; n < 40; n++) {
        sl_ctx *c = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .fail_alloc_at = n });
        sl_status st = sl_plot_write(c, dir, &p, &err);
        sl_ctx_free(c);
        if (st == SL_OK)
            break;
        assert_int_equal(st, SL_MEM);
        failures++;
    }
    assert_in_range(failures, 2, 38);
}

int main(void)
{
    char *out;
    size_t n;
    ctx = sl_test_ctx(1);
    snprintf(real_path, sizeof real_path, "%s", getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
    const char *const argv[] = { "gnuplot", "--version", NULL };
    has_gnuplot = sl_spawn(ctx, argv, &(sl_spawn_opts){ .limit_s = 20 }, &out, &n, &err) == SL_OK;
    sl_free(ctx, out);
    if (!has_gnuplot)
        fprintf(stderr, "SKIP: gnuplot is not installed\n");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quoting), cmocka_unit_test(ranges), cmocka_unit_test(ticks),
        cmocka_unit_test_setup_teardown(data_file, fresh, back),       cmocka_unit_test_setup_teardown(histogram_file, fresh, back),
        cmocka_unit_test_setup_teardown(pictures, fresh, back),
        cmocka_unit_test_setup_teardown(cells, fresh, back),
        cmocka_unit_test_setup_teardown(no_data, fresh, back),
        cmocka_unit_test_setup_teardown(hostile_labels, fresh, back),  cmocka_unit_test_setup_teardown(without_gnuplot, fresh, back),
        cmocka_unit_test_setup_teardown(broken_gnuplot, fresh, back),  cmocka_unit_test_setup_teardown(bad_arguments, fresh, back),
        cmocka_unit_test_setup_teardown(allocations, fresh, back),     cmocka_unit_test_setup_teardown(heat, fresh, back),
        cmocka_unit_test_setup_teardown(real_heat, fresh, back),       cmocka_unit_test_setup_teardown(graph, fresh, back),
    };
    int failed = cmocka_run_group_tests_name("report_plot", tests, NULL, NULL);
    sl_ctx_free(ctx);
    return failed;
}
