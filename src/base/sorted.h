/* Sorted numbers. */
#ifndef SL_BASE_SORTED_H
#define SL_BASE_SORTED_H

#include <stdint.h>

/* For qsort over doubles, none of them NaN: rising. */
int sl_rising(const void *a, const void *b);
/* Quantile p in [0, 1] of v [n], n >= 1, rising, by linear interpolation (type 7 of Hyndman and Fan 1996). Infinite values may be among them. */
double sl_quantile(const double *v, int64_t n, double p);

#endif
