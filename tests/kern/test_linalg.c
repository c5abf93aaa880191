/* Eigenvectors against small problems solved by hand. */
#include "support.h"

#include "kern/linalg.h"

#include <math.h>
#include <string.h>

static void two_by_two(void **state)
{
    (void)state;
    sl_err err;
    double a[4] = { 2, 1, 1, 2 }, w[2], s = sqrt(.5);
    sl_assert_ok(sl_eigh(a, 2, w, &err));
    sl_assert_close_f64("values", w, (double[]){ 3, 1 }, 2, 1e-14, 0);
    sl_assert_close_f64("of 3", a, (double[]){ s, s }, 2, 1e-14, 0);
    assert_true(fabs(fabs(a[2]) - s) < 1e-14 && fabs(a[2] + a[3]) < 1e-14); /* (1, -1): equal sizes, either may be the positive one */
}

/* Path graph Laplacian of 3 nodes: 3, 1, 0 with (1 -2 1), (1 0 -1), (1 1 1). */
static void three_by_three(void **state)
{
    (void)state;
    sl_err err;
    double a[9] = { 1, -1, 0, -1, 2, -1, 0, -1, 1 }, w[3], m[9], r[9] = { 0 };
    for (int i = 0; i < 9; i++)
        m[i] = a[i];
    sl_assert_ok(sl_eigh(a, 3, w, &err));
    sl_assert_close_f64("values", w, (double[]){ 3, 1, 0 }, 3, 1e-14, 0);
    sl_assert_close_f64("of 3", a, (double[]){ -1 / sqrt(6), 2 / sqrt(6), -1 / sqrt(6) }, 3, 1e-14, 0);
    sl_assert_close_f64("of 0", a + 6, (double[]){ sqrt(1. / 3), sqrt(1. / 3), sqrt(1. / 3) }, 3, 1e-14, 0);
    for (int e = 0; e < 3; e++)
        for (int i = 0; i < 9; i++)
            r[i] += w[e] * a[3 * e + i / 3] * a[3 * e + i % 3];
    sl_assert_close_f64("V w V'", r, m, 9, 1e-14, 0);
}

static void errors(void **state)
{
    (void)state;
    sl_err err;
    double a[4] = { 1, 0, NAN, 1 }, w[2];
    sl_assert_fails(sl_eigh(a, 2, w, &err), SL_NUMERIC, "[1, 0]");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(two_by_two), cmocka_unit_test(three_by_three), cmocka_unit_test(errors) };
    return cmocka_run_group_tests_name("kern_linalg", tests, NULL, NULL);
}
