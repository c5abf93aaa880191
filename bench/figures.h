/* What every benchmark needs: a clock, medians, and figures out of the JSON line of a child. */
#ifndef SL_BENCH_FIGURES_H
#define SL_BENCH_FIGURES_H

double now(void);                /* s, of a clock that never goes back */
double cpu_now(void);            /* CPU seconds of the process, all threads: on a busy machine steadier than the clock on the wall */
double median(double *v, int n); /* v is sorted; NaN without values */
double figure(const char *line, const char *key); /* the number after "key": in a line of JSON; NaN when there is none */

#endif
