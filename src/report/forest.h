/* Forest plots: effects with their intervals. */
#ifndef SL_REPORT_FOREST_H
#define SL_REPORT_FOREST_H

#include "report/effects.h"
#include "report/html.h"

/* Effects as one picture: each seed, the mean, its interval and its mark, in groups by data set; a metric of NULL: the data set alone heads its group.
 * id: of the picture in the page, once; nothing when n is 0. Then what its marks mean. */
void sl_forest_of(sl_html *h, const sl_arm_effect *row, int n, const char *id, const char *title);
void sl_forest_key(sl_html *h);
/* The first screen of a run: all of its effects. Nothing when no data set has two arms. Leaves f at its first data set. */
sl_status sl_forest(sl_html *h, sl_facts *f, sl_err *err) SL_USE_RESULT;

#endif
