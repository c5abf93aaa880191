/* Sorted numbers. */
#include "base/sorted.h"

int sl_rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double sl_quantile(const double *v, int64_t n, double p)
{
    double at = p * (double)(n - 1);
    int64_t i = (int64_t)at;
    if (i >= n - 1)
        return v[n - 1];
    if (at == (double)i || v[i] == v[i + 1]) /* the next one may be infinite: no arithmetic with it */
        return v[i];
    return v[i] + (at - (double)i) * (v[i + 1] - v[i]);
}
