/* Quantiles of sorted numbers, against values by hand. */
#include "support.h"

#include "base/sorted.h"

#include <math.h>
#include <stdlib.h>

static void quantiles_by_hand(void **state)
{
    (void)state;
    double v[] = { 7, -INFINITY, 1, 3, 3 };
    qsort(v, 5, sizeof *v, sl_rising);
    for (int i = 0; i < 4; i++)
        assert_true(v[i] <= v[i + 1]);
    assert_true(sl_quantile(v + 1, 4, 0) == 1 && sl_quantile(v + 1, 4, 1) == 7);
    assert_true(sl_quantile(v + 1, 4, .5) == 3);                   /* 1 3 3 7: between equals */
    assert_true(fabs(sl_quantile(v + 1, 4, .25) - 2.5) < 1e-15);   /* at 3/4 of the way from 1 to 3 */
    assert_true(fabs(sl_quantile(v + 1, 4, .9) - 5.8) < 1e-12);    /* 2.7: 3 + .7 * 4 */
    assert_true(sl_quantile(v, 1, .3) == -INFINITY);
}

static void infinite_values_may_be_equal(void **state)
{
    (void)state;
    const double v[] = { 2, INFINITY, INFINITY };
    assert_true(sl_quantile(v, 3, .75) == INFINITY);
    assert_true(sl_quantile(v, 3, 0) == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_by_hand),
        cmocka_unit_test(infinite_values_may_be_equal),
    };
    return cmocka_run_group_tests_name("base_sorted", tests, NULL, NULL);
}
