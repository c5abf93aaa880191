/* What every test needs. cmocka programs: main is `return cmocka_run_group_tests_name(...)`. */
#ifndef SL_TEST_SUPPORT_H
#define SL_TEST_SUPPORT_H

#include <saelab/tensor.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

/* A context with n threads (0: default) whose warnings go to stderr. */
sl_ctx *sl_test_ctx(int n_threads);

/* Path of a file of the test data ("tinyshakespeare/input.txt"), looked for in SAELAB_DATA, then ../shared/data beside the
 * checkout. The only finder of test data: NULL when missing, after printing "SKIP: missing test data NAME". A whole program
 * that cannot run without it returns SL_TEST_SKIP (77), one test calls skip(). */
const char *sl_test_data(const char *name);
enum { SL_TEST_SKIP = 77 };

/* A fresh empty folder below the build's temporary folder, removed and made anew. */
const char *sl_test_dir(const char *name);

/* |got - ref| <= atol + rtol |ref| for each element; prints the first offender with its index and both values. */
void sl_assert_close_f32(const char *what, const float *got, const float *ref, int64_t n, double atol, double rtol);
void sl_assert_close_f64(const char *what, const double *got, const double *ref, int64_t n, double atol, double rtol);
void sl_assert_same_bits(const char *what, const void *got, const void *ref, size_t bytes);

/* call == SL_OK, else fails with the error's line */
#define sl_assert_ok(call)                                                                  \
    do {                                                                                    \
        err.msg[0] = 0;                                                                     \
        sl_status st_ok_ = (call);                                                          \
        if (st_ok_ != SL_OK)                                                                \
            fail_msg("%s: %s: %s", #call, sl_status_name(st_ok_), err.msg);                 \
    } while (0)

/* call fails with `code`, and its line contains `text` */
#define sl_assert_fails(call, code_, text)                                                  \
    do {                                                                                    \
        sl_status st_bad_ = (call);                                                         \
        if (st_bad_ != (code_) || !strstr(err.msg, (text)))                                 \
            fail_msg("%s: got %s: '%s', expected %s: '...%s...'", #call,                    \
                     sl_status_name(st_bad_), err.msg, sl_status_name(code_), (text));      \
    } while (0)

#endif
