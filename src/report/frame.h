/* What lies around the frame of a plot. */
#ifndef SL_REPORT_FRAME_H
#define SL_REPORT_FRAME_H

#include "io/io.h"

#include <saelab/report.h>

enum { SL_PLOT_WIDTH = 760, SL_PLOT_HEIGHT = 470, SL_PLOT_LINE = 1024 };

/* Cuts a text into lines of about `width` characters, at spaces; returns how many, at most `most`. What does not fit is dropped. */
int sl_plot_wrap(const char *text, int width, int most, char lines[][SL_PLOT_LINE]);
/* Title above the frame and caption lines below it. */
sl_status sl_plot_texts(sl_atomic *f, const char *title, int n_lines, char lines[][SL_PLOT_LINE], sl_err *err) SL_USE_RESULT;

/* cells.c: kind SL_PLOT_CELLS. */
sl_status sl_plot_cells(sl_ctx *ctx, const char *dir, const sl_plot *p, sl_err *err) SL_USE_RESULT;

#endif
