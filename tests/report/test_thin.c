/* Binning of plots of very many points, by hand. */
#include "support.h"

#include "report/thin.h"

#include <math.h>
#include <stdlib.h>

enum { N = 4000 };

static sl_ctx *ctx;
static sl_err err;
static double x[N + 2], y[N + 2];

static sl_plot plot_of(sl_plot_kind kind, const sl_series *s, bool log_y)
{
    return (sl_plot){ .name = "p", .kind = kind, .log_y = log_y, .series = s, .n_series = 1 };
}

/* Runs of four neighbours: mean 4 i + 1.5, band from the least to the most. */
static void lines(void **state)
{
    (void)state;
    for (int i = 0; i < N; i++) {
        x[i] = i;
        y[i] = 2 * i;
    }
    sl_series s = { "a", x, y, NULL, NULL, N };
    sl_plot p = plot_of(SL_PLOT_LINES, &s, false);
    sl_thin t;
    sl_assert_ok(sl_thin_plot(ctx, &p, &t, &err));
    const sl_series *got = &t.plot.series[0];
    assert_int_equal(got->n, 1000);
    assert_int_equal(t.binned, N);
    for (int i = 0; i < 1000; i++) {
        assert_true(fabs(got->x[i] - (4 * i + 1.5)) < 1e-9 && fabs(got->y[i] - (8 * i + 3)) < 1e-9);
        assert_true(fabs(got->lo[i] - 8 * i) < 1e-9 && fabs(got->hi[i] - (8 * i + 6)) < 1e-9);
    }
    sl_thin_free(ctx, &t);
}

/* Two clusters become two points; what cannot be drawn stays to be counted. */
static void points(void **state)
{
    (void)state;
    for (int i = 0; i < N; i++) {
        x[i] = i % 2 ? 10 : 1;
        y[i] = i % 2 ? 100 : 1;
    }
    x[N] = NAN;
    y[N] = 1;
    x[N + 1] = 1;
    y[N + 1] = -1; /* not on a logarithmic axis */
    sl_series s = { "a", x, y, NULL, NULL, N + 2 };
    sl_plot p = plot_of(SL_PLOT_POINTS, &s, true);
    sl_thin t;
    sl_assert_ok(sl_thin_plot(ctx, &p, &t, &err));
    const sl_series *got = &t.plot.series[0];
    assert_int_equal(got->n, 4);
    assert_int_equal(t.binned, N);
    assert_null(got->lo);
    assert_true(fabs(got->x[0] - 1) < 1e-9 && fabs(got->y[0] - 1) < 1e-9 && fabs(got->x[1] - 10) < 1e-9 && fabs(got->y[1] - 100) < 1e-9);
    assert_true(isnan(got->x[2]) || isnan(got->x[3]));
    sl_thin_free(ctx, &t);
}

/* Few points, bars and histograms stay as they are. */
static void left_alone(void **state)
{
    (void)state;
    static const struct { sl_plot_kind kind; int64_t n; } CASES[] = { { SL_PLOT_LINES, SL_MOST_POINTS }, { SL_PLOT_BARS, N }, { SL_PLOT_STEPS, N } };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        sl_series s = { "a", x, y, NULL, NULL, CASES[i].n };
        sl_plot p = plot_of(CASES[i].kind, &s, false);
        sl_thin t;
        sl_assert_ok(sl_thin_plot(ctx, &p, &t, &err));
        assert_true(t.plot.series[0].x == x && t.plot.series[0].n == CASES[i].n && t.binned == 0);
        sl_thin_free(ctx, &t);
    }
}

static void without_memory(void **state)
{
    (void)state;
    sl_series s = { "a", x, y, NULL, NULL, N };
    sl_plot p = plot_of(SL_PLOT_LINES, &s, false);
    for (int at = 1; at <= 4; at++) {
        sl_ctx *poor = sl_ctx_new(&(sl_ctx_opts){ .fail_alloc_at = at });
        sl_thin t;
        if (poor) {
            assert_int_equal(sl_thin_plot(poor, &p, &t, &err), SL_MEM);
            sl_ctx_free(poor);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(lines), cmocka_unit_test(points), cmocka_unit_test(left_alone), cmocka_unit_test(without_memory) };
    ctx = sl_test_ctx(1);
    int failed = cmocka_run_group_tests_name("report_thin", tests, NULL, NULL);
    sl_ctx_free(ctx);
    return failed;
}
