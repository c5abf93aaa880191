/* The presence filter on rows whose features are there, or not. */
#include "support.h"

#include <saelab/presence.h>
#include <saelab/rng.h>

#include <math.h>
#include <string.h>

static sl_err err;

enum { D = 4, F = 5, ROWS = 64 };

/* Feature 0 is on where x_1 > 0; 1 is a coin; 2 never on; 3 always on; 4 is on where x_2 > 0 but mostly not determined. */
typedef struct fake {
    sl_act_source src;
    int64_t at;
    float x[ROWS * D];
    int64_t row[ROWS], ptr[ROWS + 1];
    int32_t doc[ROWS], idx[ROWS * F];
    float val[ROWS * F];
    uint8_t unknown[ROWS * F];
    sl_codes truth;
    bool no_truth, wide;
} fake;

static void on(fake *f, int64_t r, int32_t feature)
{
    f->idx[f->ptr[r + 1]] = feature;
    f->val[f->ptr[r + 1]++] = 1;
}

static sl_status next(sl_act_source *s, int64_t n, sl_act_batch *out, sl_err *e)
{
    fake *f = s->impl;
    (void)e;
    n = n < ROWS ? n : ROWS;
    for (int64_t r = 0; r < n; r++, f->at++) {
        sl_rng g = sl_rng_at(1, SL_RNG_TEST, 0, (uint64_t)f->at);
        for (int j = 0; j < D; j++)
            f->x[r * D + j] = (float)sl_rng_normal(&g);
        bool coin = sl_rng_below(&g, 2) == 1, hidden = sl_rng_below(&g, 4) > 0;
        f->row[r] = f->at;
        f->doc[r] = (int32_t)(f->at / 3);
        f->ptr[r + 1] = f->ptr[r];
        memset(f->unknown + r * F, 0, F);
        if (f->x[r * D + 1] > 0)
            on(f, r, 0);
        if (coin)
            on(f, r, 1);
        on(f, r, 3);
        f->unknown[r * F + 4] = hidden;
        if (!hidden && f->x[r * D + 2] > 0)
            on(f, r, f->wide ? F : 4);
    }
    f->truth = (sl_codes){ .n_rows = ROWS, .capacity = ROWS * F, .row_ptr = f->ptr, .idx = f->idx, .val = f->val };
    *out = (sl_act_batch){ .x = f->x, .n = n, .row = f->row, .doc = f->doc, .truth = f->no_truth ? NULL : &f->truth, .unknown = f->unknown };
    return SL_OK;
}

static fake *begin(fake *f)
{
    memset(f, 0, sizeof *f);
    f->src = (sl_act_source){ .info = { .d_in = D, .n_rows = -1, .scale = 1, .dataset = "fake" }, .impl = f, .next = next };
    return f;
}

static void test_filter(void **state)
{
    static fake f;
    (void)state;
    sl_ctx *ctx = sl_test_ctx(2);
    sl_presence p[F];
    begin(&f);
    sl_assert_ok(sl_presence_filter(ctx, &f.src, 3000, F, p, &err));
    assert_true(p[0].present && p[0].auc > .99 && !p[0].reason);
    assert_true(!p[1].present && fabs(p[1].auc - .5) < .08);
    assert_true(!p[2].present && isnan(p[2].auc));
    assert_string_equal(p[2].reason, "never on");
    assert_true(!p[3].present && isnan(p[3].auc));
    assert_string_equal(p[3].reason, "always on");
    assert_true(p[4].present && p[4].auc > .98);
    assert_int_equal(p[0].n, 1500);             /* odd documents of three rows each */
    assert_true(p[4].n > 300 && p[4].n < 450);  /* a quarter of them */
    assert_true(p[4].n_on > 130 && p[4].n_on < 250);
    sl_ctx_free(ctx);
}

static void test_errors(void **state)
{
    static fake f;
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_presence p[F];
    sl_assert_fails(sl_presence_filter(ctx, &begin(&f)->src, 0, F, p, &err), SL_ARG, "0 rows");
    begin(&f)->no_truth = true;
    sl_assert_fails(sl_presence_filter(ctx, &f.src, 100, F, p, &err), SL_DATA, "no ground truth");
    begin(&f)->wide = true;
    sl_assert_fails(sl_presence_filter(ctx, &f.src, 100, F, p, &err), SL_DATA, "feature 5 of 5");
    sl_ctx_free(ctx);
    for (int64_t at = 2; at < 14; at++) { /* each of its buffers */
        ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .fail_alloc_at = at });
        assert_int_equal(ctx ? sl_presence_filter(ctx, &begin(&f)->src, 100, F, p, &err) : SL_MEM, SL_MEM);
        sl_ctx_free(ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_filter), cmocka_unit_test(test_errors) };
    return cmocka_run_group_tests_name("presence", tests, NULL, NULL);
}
