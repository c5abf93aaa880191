/* Plots of very many points. */
#ifndef SL_REPORT_THIN_H
#define SL_REPORT_THIN_H

#include <saelab/report.h>

enum { SL_MOST_POINTS = 2000 };

typedef struct sl_thin {
    sl_plot plot;       /* as given, but series of over SL_MOST_POINTS points are binned */
    sl_series *series;  /* [plot.n_series], owned, as are the arrays in `own` */
    double **own;       /* [plot.n_series] x, y, lo, hi of a binned series behind each other; NULL: as given */
    int64_t binned;     /* points that went into bins */
} sl_thin;

/* Lines: the means of up to 1,000 runs of neighbours, with a band from the lowest to the highest value of each. Points: the mean of those
 * in each cell of a grid of 60 x 40 over their range (of logarithms on a logarithmic axis). Bars and histograms stay as they are. Points
 * that cannot be drawn stay, so that they are counted. SL_MEM. */
sl_status sl_thin_plot(sl_ctx *ctx, const sl_plot *p, sl_thin *out, sl_err *err) SL_USE_RESULT;
void sl_thin_free(sl_ctx *ctx, sl_thin *t);

#endif
