/* The forest plot of a run's first screen. */
#ifndef SL_REPORT_FOREST_H
#define SL_REPORT_FOREST_H

#include "report/facts.h"
#include "report/html.h"

/* Every other arm against the first, on each data set: the difference of the score that matters there (loss recovered for a text, F1_h for a
 * world, else EV), paired by seed, with each seed, the mean, its 95 % t interval (science.md F2) and where chance would be. Nothing when no
 * data set has two arms. Leaves f at its first data set. */
sl_status sl_forest(sl_html *h, sl_facts *f, sl_err *err) SL_USE_RESULT;

#endif
