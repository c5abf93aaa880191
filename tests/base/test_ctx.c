/* Context, arena, error lines, random streams. */
#include "support.h"

#include <saelab/rng.h>
#include <string.h>

static void error_line(void **state)
{
    (void)state;
    sl_err err;
    assert_int_equal(sl_fail(&err, SL_CONFIG, "a.yaml:3:7", "a number from 0 to 1", "lr is '%s'", "x\ny"), SL_CONFIG);
    assert_string_equal(err.msg, "a.yaml:3:7: lr is 'x?y' (expected a number from 0 to 1)");
    assert_int_equal(sl_fail(NULL, SL_IO, NULL, NULL, "x"), SL_IO);
}

static void arena_is_kept(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_arena *a = sl_arena_new(ctx, 1);
    for (int round = 0; round < 3; round++) {
        int64_t before = sl_alloc_count(ctx);
        for (int i = 0; i < 100; i++) {
            char *p = sl_arena_alloc(a, (size_t)(1 + i * 37));
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 64, 0);
            memset(p, i, (size_t)(1 + i * 37));
        }
        if (round > 0)
            assert_int_equal(sl_alloc_count(ctx), before);
        sl_arena_reset(a);
    }
    sl_arena_free(a);
    sl_ctx_free(ctx);
}

static void allocation_fails_when_asked(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .fail_alloc_at = 2 });
    void *a = sl_alloc(ctx, 10), *b = sl_alloc(ctx, 10), *c = sl_alloc(ctx, 10);
    assert_non_null(a);
    assert_null(b);
    assert_non_null(c);
    sl_free(ctx, a);
    sl_free(ctx, c);
    sl_ctx_free(ctx);
}

/* Known answers of Philox4x32-10 from Random123's kat_vectors. */
static void philox_known_answers(void **state)
{
    (void)state;
    static const uint32_t kat[2][10] = {
        { 0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 },
        { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd },
    };
    for (int i = 0; i < 2; i++) {
        uint32_t out[4];
        sl_philox4x32(kat[i], kat[i] + 4, out);
        assert_memory_equal(out, kat[i] + 6, sizeof out);
    }
}

static void streams_are_streams(void **state)
{
    (void)state;
    sl_rng a = sl_rng_at(7, SL_RNG_TEST, 3, 5), b = sl_rng_at(7, SL_RNG_TEST, 3, 5), c = sl_rng_at(7, SL_RNG_TEST, 3, 6);
    double mean = 0, sq = 0;
    int differ = 0;
    for (int i = 0; i < 20000; i++) {
        double x = sl_rng_normal(&a);
        assert_true(x == sl_rng_normal(&b));
        differ += x != sl_rng_normal(&c);
        mean += x / 20000;
        sq += x * x / 20000;
    }
    assert_true(mean > -.03 && mean < .03 && sq > .95 && sq < 1.05); /* 4 standard errors */
    assert_true(differ > 19990);
    int64_t idx[100], seen[100] = { 0 };
    sl_rng_perm(&a, idx, 100);
    for (int i = 0; i < 100; i++)
        seen[idx[i]]++;
    for (int i = 0; i < 100; i++)
        assert_int_equal(seen[i], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_line), cmocka_unit_test(arena_is_kept), cmocka_unit_test(allocation_fails_when_asked),
        cmocka_unit_test(philox_known_answers), cmocka_unit_test(streams_are_streams),
    };
    return cmocka_run_group_tests_name("base_ctx", tests, NULL, NULL);
}
