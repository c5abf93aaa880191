/* Axes: the range that is shown and, for logarithmic ones, where the ticks are. */
#ifndef SL_REPORT_AXIS_H
#define SL_REPORT_AXIS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct sl_axis {
    bool log;
    bool any;        /* a value was seen */
    double lo, hi;   /* of the values; after sl_axis_pad of what is shown */
} sl_axis;

void sl_axis_see(sl_axis *a, double v);
/* Room around the values. `from_zero`: a linear axis of values >= 0 begins at 0. An axis without values becomes 0..1 (1..10). */
void sl_axis_pad(sl_axis *a, double share, bool from_zero);
/* gnuplot's list of ticks of a logarithmic axis, "('1' 1, '2' 2)": decades, with 2 and 5 or all digits between where there are few, and
 * evenly spaced numbers within less than half a decade. */
void sl_axis_log_ticks(const sl_axis *a, char *out, size_t size);

#endif
