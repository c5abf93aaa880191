/* Small cases for the metric families: sparse rows written by hand. */
#ifndef SL_TEST_WORKED_H
#define SL_TEST_WORKED_H

#include "support.h"

#include <saelab/measure.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Dense rows [n, m] as sparse ones; entries that are 0 are left out. Release with worked_release. */
static inline sl_sparse worked_sparse(const float *dense, int64_t n, int64_t m)
{
    int64_t *ptr = calloc((size_t)n + 1, sizeof *ptr), nnz = 0;
    int32_t *idx = malloc((size_t)(n * m + 1) * sizeof *idx);
    float *val = malloc((size_t)(n * m + 1) * sizeof *val);
    for (int64_t r = 0; r < n; r++) {
        for (int64_t c = 0; c < m; c++)
            if (dense[r * m + c] != 0) {
                idx[nnz] = (int32_t)c;
                val[nnz++] = dense[r * m + c];
            }
        ptr[r + 1] = nnz;
    }
    return (sl_sparse){ n, m, ptr, idx, val };
}

static inline void worked_release(sl_sparse *s)
{
    free((void *)(uintptr_t)s->row_ptr);
    free((void *)(uintptr_t)s->idx);
    free((void *)(uintptr_t)s->val);
    *s = (sl_sparse){ 0 };
}

/* `times` copies of the rows below each other. */
static inline float *worked_repeat(const float *dense, int64_t n, int64_t m, int64_t times)
{
    float *all = malloc((size_t)(n * m * times) * sizeof *all);
    for (int64_t t = 0; t < times; t++)
        memcpy(all + t * n * m, dense, (size_t)(n * m) * sizeof *all);
    return all;
}

static inline double worked_value(const sl_metrics *m, const char *name)
{
    const sl_metric *v = sl_metrics_get(m, name);
    if (!v || v->is_null)
        fail_msg("%s is %s", name, v ? v->reason : "missing");
    return v->value;
}

static inline void worked_is(const sl_metrics *m, const char *name, double expected)
{
    double got = worked_value(m, name);
    sl_assert_close_f64(name, &got, &expected, 1, 1e-6, 1e-6);
}

static inline void worked_null(const sl_metrics *m, const char *name, const char *reason)
{
    const sl_metric *v = sl_metrics_get(m, name);
    if (!v || !v->is_null || !strstr(v->reason, reason))
        fail_msg("%s is %s", name, !v ? "missing" : v->is_null ? v->reason : "a number");
}

#endif
