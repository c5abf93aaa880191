/* What every kind of picture is made with. */
#ifndef SL_REPORT_PICTURE_H
#define SL_REPORT_PICTURE_H

#include "io/io.h"

/* SL_ARG: the name of a picture is not 1 to 100 letters, digits, _ and - alone. */
sl_status sl_picture_name(const char *name, sl_err *err) SL_USE_RESULT;
/* dir/NAME.ENDING, written whole by put(file, what) or not at all. SL_ARG: too long a path; SL_IO. */
sl_status sl_picture_file(sl_ctx *ctx, const char *dir, const char *name, const char *ending, sl_status (*put)(sl_atomic *, const void *, sl_err *), const void *what,
                          sl_err *err) SL_USE_RESULT;
/* gnuplot on dir/NAME.gp, which makes NAME.svg and NAME.png there. SL_UNAVAILABLE: no gnuplot, or one without these terminals; SL_IO: it failed, or
 * took over 20 s. */
sl_status sl_gnuplot_run(sl_ctx *ctx, const char *dir, const char *name, sl_err *err) SL_USE_RESULT;
/* Graphviz's dot on dir/NAME.dot, the same. */
sl_status sl_graphviz_run(sl_ctx *ctx, const char *dir, const char *name, sl_err *err) SL_USE_RESULT;

#endif
