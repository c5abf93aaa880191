/* Small dense algebra in double precision, by LAPACK (OpenBLAS). One thread whatever the context has, so that the bits do not depend on it. */
#ifndef SL_KERN_LINALG_H
#define SL_KERN_LINALG_H

#include <saelab/status.h>
#include <stdint.h>

/* Eigenvalues of the symmetric a [n, n] in w [n], largest first; row i of a becomes the eigenvector of w[i], norm 1, its largest component
 * positive. LAPACK dsyevd. SL_NUMERIC: a number is not finite; SL_MEM; SL_DATA: it did not converge. */
sl_status sl_eigh(double *a, int64_t n, double *w, sl_err *err) SL_USE_RESULT;

/* Solves a x = b for the symmetric positive definite a [n, n] (destroyed) and b [n, m], which becomes x. LAPACK dposv. SL_NUMERIC: a number is
 * not finite; SL_MEM; SL_DATA: a is not positive definite. */
sl_status sl_solve_spd(double *a, int64_t n, double *b, int64_t m, sl_err *err) SL_USE_RESULT;

#endif
