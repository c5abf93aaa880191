/* Option tables: what each type takes and refuses, the words of the errors, and text that reads back to the same value. */
#include "base/utf8.h"
#include "support.h"

#include <saelab/opt.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct config {
    int64_t k, big;
    double lr, coef;
    bool on;
    const char *name;
    int norm;
    sl_strs hook;
} config;

static const char *const NORMS[] = { "layernorm", "rmsnorm", "no_norm", NULL };

static const sl_opt TABLE[] = {
    SL_OPT_INT(config, k, 32, 1, 64, "latents", "active latents"),
    SL_OPT_INT(config, big, 0, -9223372036854775807.0, 9223372036854775807.0, "", "any number"),
    SL_OPT_FLOAT(config, lr, 3e-4, 0, 1, "1/step", "learning rate"),
    SL_OPT_FLOAT(config, coef, 1 / 3., -HUGE_VAL, HUGE_VAL, "", "any number"),
    SL_OPT_BOOL(config, on, 1, "a switch"),
    SL_OPT_STR(config, name, "plain", "a word"),
    SL_OPT_CHOICE(config, norm, 1, NORMS, "which norm"),
    SL_OPT_STRS(config, hook, "hook points"),
    SL_OPT_END
};

static config defaults(void)
{
    config c;
    memset(&c, 0x5a, sizeof c);
    sl_opts_default(TABLE, &c);
    return c;
}

static void defaults_are_the_tables(void **state)
{
    (void)state;
    config c = defaults();
    assert_int_equal(c.k, 32);
    assert_true(c.lr == 3e-4 && c.on);
    assert_string_equal(c.name, "plain");
    assert_int_equal(c.norm, 1);
    assert_int_equal(c.hook.n, 0);
    assert_null(c.hook.v);
}

static void numbers_are_whole_and_finite(void **state)
{
    (void)state;
    static const struct { const char *text; bool ok; double v; } cases[] = {
        { "0", true, 0 }, { "-0.5", true, -.5 }, { "+2", true, 2 }, { "1e3", true, 1000 }, { "1E-2", true, .01 }, { ".5", true, .5 },
        { "5.", true, 5 }, { "1e-400", true, 0 }, { "", false, 0 }, { "nan", false, 0 }, { "inf", false, 0 }, { "-inf", false, 0 },
        { "infinity", false, 0 }, { "0x10", false, 0 }, { "1_000", false, 0 }, { "1,5", false, 0 }, { "1 ", false, 0 }, { " 1", false, 0 },
        { "1e", false, 0 }, { "e3", false, 0 }, { "1e999", false, 0 }, { "1.2.3", false, 0 }, { "--1", false, 0 }, { ".", false, 0 },
        { "1x", false, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double v = 77;
        if (sl_parse_number(cases[i].text, &v) != cases[i].ok || v != (cases[i].ok ? cases[i].v : 77))
            fail_msg("'%s' gave %g", cases[i].text, v);
    }
}

static void integers_are_exact(void **state)
{
    (void)state;
    static const struct { const char *text; bool ok; int64_t v; } cases[] = {
        { "0", true, 0 }, { "-3", true, -3 }, { "+7", true, 7 }, { "007", true, 7 }, { "2e3", true, 2000 }, { "1.5e1", true, 15 },
        { "2.0", true, 2 }, { "9223372036854775807", true, INT64_MAX }, { "-9223372036854775807", true, -INT64_MAX },
        { "9007199254740993", true, 9007199254740993 }, { "9223372036854775808", false, 0 }, { "99999999999999999999", false, 0 },
        { "1e19", false, 0 }, { "1e16", false, 0 }, { "2.5", false, 0 }, { "1_000", false, 0 }, { "0x1f", false, 0 }, { "", false, 0 },
        { "-", false, 0 }, { "nan", false, 0 }, { "12a", false, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t v = 77;
        if (sl_parse_int(cases[i].text, &v) != cases[i].ok || v != (cases[i].ok ? cases[i].v : 77))
            fail_msg("'%s' gave %lld", cases[i].text, (long long)v);
    }
}

static void set_reads_each_type(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    config c = defaults();
    sl_assert_ok(sl_opts_set(ctx, TABLE, &c, "k", "6.4e1", "--k", SL_ARG, &err));
    assert_int_equal(c.k, 64);
    static const char *const yes[] = { "true", "yes", "on", "1" }, *const no[] = { "false", "no", "off", "0" };
    for (int i = 0; i < 4; i++) {
        sl_assert_ok(sl_opts_set(ctx, TABLE, &c, "on", no[i], "--on", SL_ARG, &err));
        assert_false(c.on);
        sl_assert_ok(sl_opts_set(ctx, TABLE, &c, "on", yes[i], "--on", SL_ARG, &err));
        assert_true(c.on);
    }
    sl_assert_ok(sl_opts_set(ctx, TABLE, &c, "norm", "no-norm", "--norm", SL_ARG, &err));
    assert_int_equal(c.norm, 2);
    sl_assert_ok(sl_opts_set(ctx, TABLE, &c, "name", "", "--name", SL_ARG, &err));
    assert_null(c.name);
    sl_assert_ok(sl_opts_set(ctx, TABLE, &c, "hook", "a", "--hook", SL_ARG, &err));
    config copy = c;
    sl_assert_ok(sl_opts_set(ctx, TABLE, &c, "hook", "b", "--hook", SL_ARG, &err));
    sl_assert_ok(sl_opts_set(ctx, TABLE, &copy, "hook", "c", "--hook", SL_ARG, &err));
    assert_int_equal(c.hook.n, 2);
    assert_string_equal(c.hook.v[1], "b"); /* the copy's list is its own */
    assert_string_equal(copy.hook.v[1], "c");
    sl_ctx_free(ctx);
}

static void errors_name_place_and_expectation(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    config c = defaults(), before = c;
    sl_assert_fails(sl_opts_set(ctx, TABLE, &c, "k", "65", "--k", SL_ARG, &err), SL_ARG, "--k: k is '65' (expected a whole number from 1 to 64)");
    sl_assert_fails(sl_opts_set(ctx, TABLE, &c, "k", "0", "a.yaml:3:4", SL_CONFIG, &err), SL_CONFIG, "a.yaml:3:4: k is '0'");
    sl_assert_fails(sl_opts_set(ctx, TABLE, &c, "lr", "nan", "--lr", SL_ARG, &err), SL_ARG, "(expected a number from 0 to 1)");
    sl_assert_fails(sl_opts_set(ctx, TABLE, &c, "coef", "1e999", "--coef", SL_ARG, &err), SL_ARG, "(expected a number)");
    sl_assert_fails(sl_opts_set(ctx, TABLE, &c, "on", "maybe", "--on", SL_ARG, &err), SL_ARG, "(expected true or false)");
    sl_assert_fails(sl_opts_set(ctx, TABLE, &c, "norm", "batch", "--norm", SL_ARG, &err), SL_ARG, "(expected one of: layernorm, rmsnorm, no_norm)");
    sl_assert_fails(sl_opts_set(ctx, TABLE, &c, "name", "\xff", "--name", SL_ARG, &err), SL_ARG, "UTF-8");
    sl_assert_fails(sl_opts_set(ctx, TABLE, &c, "hok", "x", "--hok", SL_ARG, &err), SL_ARG, "unknown option 'hok'; did you mean 'hook'?");
    sl_assert_fails(sl_opts_set(ctx, TABLE, &c, "zebra", "x", "--zebra", SL_ARG, &err), SL_ARG, "one of: k, big, lr, coef, on, name, norm, hook)");
    assert_null(strstr(err.msg, "did you mean"));
    assert_memory_equal(&c, &before, sizeof c);
    sl_ctx_free(ctx);
}

static void names_fold_and_suggest(void **state)
{
    (void)state;
    assert_true(sl_name_equal("d-sae", "d_sae"));
    assert_false(sl_name_equal("d-sae", "d_sa"));
    assert_int_equal(sl_name_distance("train", "train"), 0);
    assert_int_equal(sl_name_distance("trian", "train"), 1);
    assert_int_equal(sl_name_distance("eval", "evaluate"), 4);
    assert_int_equal(sl_name_distance("", "abc"), 3);
    assert_int_equal(sl_name_distance("d-sae", "d_sea"), 1);
    assert_true(sl_name_close("pruen", "prune"));
    assert_false(sl_name_close("x", "k")); /* replacing everything is no likeness */
    assert_string_equal(sl_opts_closest(TABLE, "nam"), "name");
    assert_null(sl_opts_closest(TABLE, "completely_else"));
    char longer[200];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    assert_int_equal(sl_name_distance(longer, "a"), 199);
    assert_null(sl_opts_closest(TABLE, longer));
}

static void long_lists_are_cut_at_a_name(void **state)
{
    (void)state;
    static char names[40][24];
    static sl_opt table[41];
    for (int i = 0; i < 40; i++) {
        snprintf(names[i], sizeof names[i], "option_%03d", i);
        table[i] = (sl_opt){ .name = names[i], .type = SL_T_STR };
    }
    table[40] = (sl_opt)SL_OPT_END;
    sl_err err;
    const char *field = NULL;
    sl_assert_fails(sl_opts_set(NULL, table, &field, "q", "1", "x", SL_ARG, &err), SL_ARG, "one of: option_000, ");
    const char *end = strstr(err.msg, ", ...)");
    assert_non_null(end);
    assert_memory_equal(end - 10, "option_0", 8);
}

static void text_reads_back(void **state)
{
    (void)state;
    static const double values[] = { 0, -0.0, 1, .1, 1 / 3., 3e-4, 1e300, 5e-324, 1.7976931348623157e308, 0.30000000000000004, 1e15, 123456789012345678. };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    config c = defaults(), d;
    char text[128];
    const sl_opt *coef = sl_opts_find(TABLE, "coef"), *big = sl_opts_find(TABLE, "big");
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        c.coef = values[i];
        int n = sl_opts_text(coef, &c, text, sizeof text);
        assert_int_equal(n, (int)strlen(text));
        sl_assert_ok(sl_opts_set(ctx, TABLE, &d, "coef", text, "", SL_ARG, &err));
        sl_assert_same_bits(text, &d.coef, &c.coef, sizeof c.coef);
    }
    c.coef = .1;
    sl_opts_text(coef, &c, text, sizeof text);
    assert_string_equal(text, "0.1");
    c.big = -INT64_MAX;
    sl_opts_text(big, &c, text, sizeof text);
    sl_assert_ok(sl_opts_set(ctx, TABLE, &d, "big", text, "", SL_ARG, &err));
    assert_true(d.big == -INT64_MAX);
    sl_assert_ok(sl_opts_set(ctx, TABLE, &c, "hook", "a b", "", SL_ARG, &err));
    assert_int_equal(sl_opts_text(sl_opts_find(TABLE, "hook"), &c, text, 4), 7);
    assert_string_equal(text, "[\"a");
    sl_ctx_free(ctx);
}

static void utf8_is_strict(void **state)
{
    (void)state;
    static const struct { const char *s; bool ok; } cases[] = {
        { "abc", true }, { "\xc3\xa9", true }, { "\xe2\x82\xac", true }, { "\xf0\x9f\x98\x80", true }, { "\xf4\x8f\xbf\xbf", true },
        { "\xc0\x80", false }, { "\xe0\x80\x80", false }, { "\xed\xa0\x80", false }, { "\xf4\x90\x80\x80", false }, { "\x80", false },
        { "\xc3", false }, { "\xe2\x82", false }, { "\xff", false }, { "\xf8\x88\x80\x80\x80", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (sl_utf8_valid(cases[i].s, strlen(cases[i].s), NULL) != cases[i].ok)
            fail_msg("case %zu", i);
    uint32_t cp;
    assert_int_equal(sl_utf8_decode("\xe2\x82\xac", 3, &cp), 3);
    assert_int_equal(cp, 0x20ac);
}

static void memory_can_run_out(void **state)
{
    (void)state;
    for (int64_t at = 1; at <= 3; at++) {
        sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .fail_alloc_at = at });
        sl_err err;
        config c = defaults();
        sl_status st = sl_opts_set(ctx, TABLE, &c, "hook", "x", "--hook", SL_ARG, &err);
        assert_int_equal(st, at <= 2 ? SL_MEM : SL_OK);
        assert_int_equal(c.hook.n, at <= 2 ? 0 : 1);
        sl_ctx_free(ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_tables), cmocka_unit_test(numbers_are_whole_and_finite), cmocka_unit_test(integers_are_exact),
        cmocka_unit_test(set_reads_each_type), cmocka_unit_test(errors_name_place_and_expectation), cmocka_unit_test(names_fold_and_suggest),
        cmocka_unit_test(long_lists_are_cut_at_a_name), cmocka_unit_test(text_reads_back), cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(memory_can_run_out),
    };
    return cmocka_run_group_tests_name("base_opt", tests, NULL, NULL);
}
