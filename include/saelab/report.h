/* Pictures and pages from result files. gnuplot draws; data and script stay beside each picture. */
#ifndef SAELAB_REPORT_H
#define SAELAB_REPORT_H

#include <saelab/ctx.h>

typedef struct sl_series { const char *name; const double *x, *y, *lo, *hi; int64_t n; } sl_series; /* lo, hi: band or error bars, may be NULL */
typedef enum sl_plot_kind { SL_PLOT_LINES, SL_PLOT_POINTS, SL_PLOT_BARS, SL_PLOT_STEPS /* histograms: x left edges */ } sl_plot_kind;
typedef struct sl_plot {
    const char *name;            /* file stem: plots/NAME.svg, .png, .dat, .gp */
    const char *title, *x_label, *y_label, *caption;
    sl_plot_kind kind;
    bool log_x, log_y;
    const sl_series *series; int n_series;
} sl_plot;
/* SL_UNAVAILABLE when gnuplot is missing (data and script are written all the same). */
sl_status sl_plot_write(sl_ctx *ctx, const char *dir, const sl_plot *p, sl_err *err) SL_USE_RESULT;
/* run_dir/report.html from the result files and plots of a finished run: self-contained. */
sl_status sl_report_run(sl_ctx *ctx, const char *run_dir, sl_err *err) SL_USE_RESULT;

#endif
