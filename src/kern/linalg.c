/* LAPACK behind two prototypes. */
#include "kern/linalg.h"

#include <lapacke.h>
#include <math.h>

/* OpenBLAS's own; its header is one of several alternatives of cblas.h. */
void openblas_set_num_threads(int n);
int openblas_get_num_threads(void);

static void swap_rows(double *a, int64_t n, int64_t i, int64_t j)
{
    for (int64_t k = 0; k < n; k++) {
        double t = a[i * n + k];
        a[i * n + k] = a[j * n + k];
        a[j * n + k] = t;
    }
}

/* An eigenvector's sign is free: fixed here, so that every build gives the same one. */
static void fix_sign(double *v, int64_t n)
{
    int64_t top = 0;
    for (int64_t k = 1; k < n; k++)
        if (fabs(v[k]) > fabs(v[top]))
            top = k;
    for (int64_t k = 0; v[top] < 0 && k < n; k++)
        if (k != top)
            v[k] = -v[k];
    v[top] = fabs(v[top]);
}

sl_status sl_eigh(double *a, int64_t n, double *w, sl_err *err)
{
    for (int64_t i = 0; i < n * n; i++)
        if (!isfinite(a[i]))
            return sl_fail(err, SL_NUMERIC, "symmetric matrix", "finite numbers", "element [%lld, %lld] is %g", (long long)(i / n), (long long)(i % n), a[i]);
    int threads = openblas_get_num_threads();
    openblas_set_num_threads(1);
    lapack_int info = LAPACKE_dsyevd(LAPACK_COL_MAJOR, 'V', 'U', (lapack_int)n, a, (lapack_int)n, w); /* columns there are rows here */
    openblas_set_num_threads(threads);
    if (info == LAPACK_WORK_MEMORY_ERROR)
        return sl_fail(err, SL_MEM, "symmetric matrix", NULL, "no memory for the eigenvectors of %lld x %lld", (long long)n, (long long)n);
    if (info != 0)
        return sl_fail(err, SL_DATA, "symmetric matrix", NULL, "its eigenvalues were not found (dsyevd: %d)", (int)info);
    for (int64_t i = 0, j = n - 1; i < j; i++, j--) { /* LAPACK's rise */
        double t = w[i];
        w[i] = w[j];
        w[j] = t;
        swap_rows(a, n, i, j);
    }
    for (int64_t i = 0; i < n; i++)
        fix_sign(a + i * n, n);
    return SL_OK;
}

sl_status sl_solve_spd(double *a, int64_t n, double *b, int64_t m, sl_err *err)
{
    for (int64_t i = 0; i < n * n; i++)
        if (!isfinite(a[i]))
            return sl_fail(err, SL_NUMERIC, "linear equations", "finite numbers", "element [%lld, %lld] is %g", (long long)(i / n), (long long)(i % n), a[i]);
    int threads = openblas_get_num_threads();
    openblas_set_num_threads(1);
    lapack_int info = LAPACKE_dposv(LAPACK_ROW_MAJOR, 'U', (lapack_int)n, (lapack_int)m, a, (lapack_int)n, b, (lapack_int)m);
    openblas_set_num_threads(threads);
    if (info == LAPACK_WORK_MEMORY_ERROR || info == LAPACK_TRANSPOSE_MEMORY_ERROR)
        return sl_fail(err, SL_MEM, "linear equations", NULL, "no memory for %lld unknowns", (long long)n);
    if (info != 0)
        return sl_fail(err, info < 0 ? SL_NUMERIC : SL_DATA, "linear equations", "a positive definite matrix", "no solution (dposv: %d)", (int)info);
    return SL_OK;
}
