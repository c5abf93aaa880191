/* Pictures and pages from result files. gnuplot draws; data and script stay beside each picture. */
#ifndef SAELAB_REPORT_H
#define SAELAB_REPORT_H

#include <saelab/ctx.h>

typedef struct sl_series {
    const char *name;            /* in the legend */
    const double *x, *y;         /* [n], in the order of x */
    const double *lo, *hi;       /* [n] ends of a band (LINES) or of error bars; NULL: none */
    int64_t n;
} sl_series;
typedef enum sl_plot_kind {
    SL_PLOT_LINES, SL_PLOT_POINTS, SL_PLOT_BARS,
    SL_PLOT_STEPS,               /* histograms: x left edges */
    SL_PLOT_CELLS                 /* a coloured cell with its number: series are rows, categories columns, y [n_categories] values (NaN: no cell), x is not read */
} sl_plot_kind;
typedef struct sl_plot {
    const char *name;            /* file stem: NAME.svg, .png, .dat, .gp; letters, digits, _ and - */
    const char *title, *x_label, *y_label, *caption; /* any text, units included in the labels; caption may be NULL. CELLS: y_label is the colours' */
    sl_plot_kind kind;
    bool log_x, log_y;
    bool in_front;               /* BARS: those of later series in front of earlier ones, not beside them: sums, the whole first, make stacks */
    const sl_series *series; int n_series;
    const char *const *categories; int n_categories; /* names of x = 0, 1, 2 ... in place of numbers, or NULL */
} sl_plot;
/* Draws p into folder dir (made when missing): the numbers, the script, and the pictures that gnuplot makes of them. Points that are not
 * finite, or not positive on a logarithmic axis, are left out, lines and points of over 2,000 are binned (src/report/thin.h), and the caption says how many; without any point the picture says "no data".
 * Returns SL_ARG (name), SL_IO (dir cannot be written; gnuplot failed or took over 20 s), SL_UNAVAILABLE (gnuplot or its terminals are
 * missing: data and script are written all the same), SL_CANCELLED, SL_MEM. */
sl_status sl_plot_write(sl_ctx *ctx, const char *dir, const sl_plot *p, sl_err *err) SL_USE_RESULT;

/* Square matrices as fields of colour, side by side. */
typedef struct sl_heat_panel {
    const char *title;
    const char *const *names;    /* [n] of rows and columns; NULL, or more than 14: not written */
    const double *v; int n;      /* [n, n] row-major, row 0 on top; NaN: left white */
} sl_heat_panel;
typedef struct sl_heat {
    const char *name;            /* as of sl_plot */
    const char *title, *x_label, *y_label, *caption; /* caption may be NULL */
    bool diverging;              /* colours about 0, each panel to its own largest |v|; else one scale from 0 to the largest of all */
    const sl_heat_panel *panel; int n_panels;
} sl_heat;
/* As sl_plot_write. */
sl_status sl_heat_write(sl_ctx *ctx, const char *dir, const sl_heat *h, sl_err *err) SL_USE_RESULT;

/* A graph in Graphviz's dot language as dir/NAME.dot, .svg and .png. Errors as of sl_plot_write, of Graphviz. */
sl_status sl_graph_write(sl_ctx *ctx, const char *dir, const char *name, const char *title, const char *dot, sl_err *err) SL_USE_RESULT;

/* run_dir/report.html from the result files and plots of a finished run: self-contained. SL_MISSING: no such folder; SL_ARG: the path is too long; SL_IO; SL_MEM. */
sl_status sl_report_run(sl_ctx *ctx, const char *run_dir, sl_err *err) SL_USE_RESULT;

/* A study as its page shows it; borrowed. */
typedef struct sl_page_run { const char *name, *what, *dir; } sl_page_run; /* as in the plan; dir NULL: the run is not there */
typedef struct sl_study_page {
    const char *study, *question;
    const sl_page_run *run; int n_runs;
    const char *plan;            /* path of experiment.yaml, shown folded; NULL: none */
    const char *confirm;         /* folder with the confirm.json of a confirmation; NULL: none, and the page says NOT RUN */
} sl_study_page;
/* One page over the runs of a study at `path`: decision, warnings of all runs, a row and a forest plot a run, every arm with effect, interval, chance and seeds.
 * Reads result files only; what is missing or damaged is said in the page. Links are relative to `path`. SL_MISSING: a run's folder is not there; SL_IO; SL_MEM. */
sl_status sl_report_study(sl_ctx *ctx, const sl_study_page *p, const char *path, sl_err *err) SL_USE_RESULT;

#endif
