/* What every statistic asks of its arguments. */
#ifndef SL_EVAL_STATS_CHECK_H
#define SL_EVAL_STATS_CHECK_H

#include <saelab/stats.h>

/* v [n]: at least `least` values, all finite. SL_DATA, SL_NUMERIC. */
sl_status sl_stats_finite(const char *what, const double *v, int64_t n, int64_t least, sl_err *err) SL_USE_RESULT;
sl_status sl_stats_level(double level, sl_err *err) SL_USE_RESULT; /* SL_ARG unless 0 < level < 1 */
/* sl_paired_test on the differences themselves. */
sl_status sl_paired_of(const double *d, int64_t n, double level, uint64_t seed, sl_paired *out, sl_err *err) SL_USE_RESULT;
/* se, skew and interval of out (whose value and n_docs are set) from resamples v [o->draws], which it sorts. without [n_docs]: the values without each
 * document of a single seed, which may be given a BCa interval; NULL: percentile */
void sl_boot_interval(double *v, const sl_boot_opts *o, const double *without, sl_boot *out);

#endif
