/* YAML: the tree, every refusal with its line and column, tables read and dumped, and noise. */
#include "support.h"

#include <saelab/opt.h>
#include <saelab/rng.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct config { int64_t k; double lr; bool on; const char *name; int norm; sl_strs hook; } config;
static const char *const NORMS[] = { "layernorm", "rmsnorm", NULL };
static const sl_opt TABLE[] = {
    SL_OPT_INT(config, k, 32, 1, 64, "latents", "active latents"),
    SL_OPT_FLOAT(config, lr, 3e-4, 0, 1, "", "learning rate"),
    SL_OPT_BOOL(config, on, 0, "a switch"),
    SL_OPT_STR(config, name, NULL, "a word"),
    SL_OPT_CHOICE(config, norm, 0, NORMS, "which norm"),
    SL_OPT_STRS(config, hook, "hook points"),
    SL_OPT_END
};

static sl_status parse(sl_ctx *ctx, const char *text, sl_yaml **y, sl_err *err)
{
    return sl_yaml_parse(ctx, "e.yaml", text, strlen(text), y, err);
}

static void tree_is_walked(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_yaml *y;
    char where[256];
    sl_assert_ok(parse(ctx, "# plan\nrun_0:\n  seeds: [1, 2, 3]\n  lm: {n_layer: 4}\nempty:\nquoted: \"null\"\n", &y, &err));
    sl_ynode root = sl_yaml_root(y), run = sl_ynode_get(root, "run-0"), seeds = sl_ynode_get(run, "seeds");
    assert_int_equal(sl_ynode_kind(root), SL_Y_MAP);
    assert_int_equal(sl_ynode_len(root), 3);
    assert_string_equal(sl_ynode_text(sl_ynode_key(root, 0)), "run_0");
    assert_int_equal(sl_ynode_kind(seeds), SL_Y_LIST);
    assert_int_equal(sl_ynode_len(seeds), 3);
    assert_string_equal(sl_ynode_text(sl_ynode_at(seeds, 2)), "3");
    assert_string_equal(sl_ynode_text(sl_ynode_get(sl_ynode_get(run, "lm"), "n_layer")), "4");
    sl_ynode_where(sl_ynode_at(seeds, 2), where);
    assert_string_equal(where, "e.yaml:3:17");
    sl_ynode none = sl_ynode_get(root, "nothing");
    assert_int_equal(sl_ynode_kind(none), SL_Y_NONE);
    assert_null(sl_ynode_text(none));
    assert_int_equal(sl_ynode_len(none), 0);
    assert_int_equal(sl_ynode_kind(sl_ynode_at(seeds, 3)), SL_Y_NONE);
    assert_int_equal(sl_ynode_kind(sl_ynode_at(seeds, -1)), SL_Y_NONE);
    assert_int_equal(sl_ynode_kind(sl_ynode_get(seeds, "x")), SL_Y_NONE);
    sl_ynode_where(none, where);
    assert_string_equal(where, "e.yaml");
    assert_true(sl_ynode_is_null(sl_ynode_get(root, "empty")));
    assert_false(sl_ynode_is_null(sl_ynode_get(root, "quoted")));
    sl_yaml_free(y);
    sl_assert_ok(parse(ctx, "", &y, &err));
    assert_int_equal(sl_ynode_kind(sl_yaml_root(y)), SL_Y_NONE);
    sl_yaml_free(y);
    sl_yaml_free(NULL);
    sl_ctx_free(ctx);
}

static void documents_are_refused(void **state)
{
    (void)state;
    static const struct { const char *text, *line; } cases[] = {
        { "a: 1\na: 2\n", "e.yaml:2:1: the key 'a' is there twice" },
        { "x:\n  d-sae: 1\n  d_sae: 2\n", "e.yaml:3:3: the key 'd_sae' is there twice" },
        { "a: 1\n---\nb: 2\n", "e.yaml:2:1: a second document starts here (expected one)" },
        { "a: &x 1\nb: *x\n", "e.yaml:2:4: an alias (*)" },
        { "a: &x [*x]\n", "e.yaml:1:8: an alias (*)" },
        { "a: *x\n", "e.yaml:1:4: " },
        { "[1, 2]: 3\n", "e.yaml:1:1: a key that is not one word" },
        { "? {a: 1}\n: 3\n", "a key that is not one word" },
        { "a: [1, 2\nb: 3\n", "e.yaml:2:" },
        { "a:\n\t- 1\n", "e.yaml:2:1: " },
        { "a: \"x\\0y\"\n", "e.yaml:1:4: text with a zero byte" },
        { "a: \xff\xfe\n", "e.yaml: byte 3: " },
        { "a: \"unfinished\n", "e.yaml:" },
        { "%YAML 9.9\n---\na: 1\n", "e.yaml:1:1: " },
    };
    sl_ctx *ctx = sl_test_ctx(1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_err err;
        sl_yaml *y;
        sl_assert_fails(parse(ctx, cases[i].text, &y, &err), SL_CONFIG, cases[i].line);
        assert_null(y);
    }
    sl_ctx_free(ctx);
}

static void size_and_depth_are_bounded(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_yaml *y;
    char text[128] = "";
    for (int i = 0; i < 32; i++)
        strncat(text, "[", 2);
    for (int i = 0; i < 32; i++)
        strncat(text, "]", 2);
    sl_assert_ok(parse(ctx, text, &y, &err)); /* 32 levels are fine, 33 are not */
    sl_yaml_free(y);
    snprintf(text, sizeof text, "%.33s%.33s", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
    sl_assert_fails(parse(ctx, text, &y, &err), SL_CONFIG, "e.yaml:1:33: nested too deeply (expected at most 32 levels)");
    size_t n = (4 << 20) + 1;
    char *big = malloc(n);
    assert_non_null(big);
    memset(big, '[', n);
    sl_assert_fails(sl_yaml_parse(ctx, "e.yaml", big, n, &y, &err), SL_CONFIG, "too many for a configuration");
    sl_assert_fails(sl_yaml_parse(ctx, "e.yaml", big, 4 << 20, &y, &err), SL_CONFIG, "e.yaml:1:33: nested too deeply"); /* at once */
    char *p = big;
    for (int i = 0; i < 1025; i++)
        p += sprintf(p, "k%d: 1\n", i);
    sl_assert_fails(sl_yaml_parse(ctx, "e.yaml", big, (size_t)(p - big), &y, &err), SL_CONFIG, "too many keys");
    free(big);
    sl_ctx_free(ctx);
}

static void files_are_read(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_yaml *y;
    const char *dir = sl_test_dir("yaml");
    char path[600];
    snprintf(path, sizeof path, "%s/none.yaml", dir);
    sl_assert_fails(sl_yaml_load(ctx, path, &y, &err), SL_MISSING, "none.yaml: No such file");
    sl_assert_fails(sl_yaml_load(ctx, dir, &y, &err), SL_IO, "Is a directory (expected a YAML file)");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("k: 3\n", f);
    fclose(f);
    sl_assert_ok(sl_yaml_load(ctx, path, &y, &err));
    assert_string_equal(sl_ynode_text(sl_ynode_get(sl_yaml_root(y), "k")), "3");
    sl_yaml_free(y);
    sl_ctx_free(ctx);
}

static sl_status read_table(sl_ctx *ctx, const char *text, config *c, const char *const *skip, sl_err *err)
{
    sl_yaml *y;
    sl_opts_default(TABLE, c);
    SL_TRY(parse(ctx, text, &y, err));
    sl_status st = sl_opts_from_yaml(ctx, TABLE, c, sl_yaml_root(y), skip, err);
    sl_yaml_free(y);
    return st;
}

static void tables_are_read(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    config c;
    static const char *const skip[] = { "runs", NULL };
    sl_assert_ok(read_table(ctx, "k: 1e1\nlr: .5\non: yes\nname: null\nnorm: rmsnorm\nhook: [a, \"b c\"]\nruns: {x: [1]}\n", &c, skip, &err));
    assert_int_equal(c.k, 10);
    assert_true(c.lr == .5 && c.on && c.norm == 1 && !c.name);
    assert_int_equal(c.hook.n, 2);
    assert_string_equal(c.hook.v[1], "b c"); /* strings outlive the document */
    sl_assert_ok(read_table(ctx, "name: \"null\"\nhook: one\n", &c, NULL, &err));
    assert_string_equal(c.name, "null");
    assert_int_equal(c.hook.n, 1);
    sl_assert_ok(read_table(ctx, "hook:\n", &c, NULL, &err));
    assert_int_equal(c.hook.n, 0);
    sl_assert_ok(read_table(ctx, "# nothing\n", &c, NULL, &err));
    assert_int_equal(c.k, 32);
    sl_ctx_free(ctx);
}

static void table_errors_have_a_place(void **state)
{
    (void)state;
    static const struct { const char *text, *line; } cases[] = {
        { "lr: .1\nkk: 3\n", "e.yaml:2:1: unknown option 'kk'; did you mean 'k'?" },
        { "lr: nan\n", "e.yaml:1:5: lr is 'nan' (expected a number from 0 to 1)" },
        { "lr: 1e-3x\n", "e.yaml:1:5: lr is '1e-3x'" },
        { "k: [1, 2]\n", "e.yaml:1:4: k is a list (expected a whole number from 1 to 64)" },
        { "k: {a: 1}\n", "e.yaml:1:4: k is a map" },
        { "k: 2.5\n", "e.yaml:1:4: k is '2.5'" },
        { "k: null\n", "e.yaml:1:4: k is 'null'" },
        { "k:\n", "k is ''" },
        { "on: 2\n", "e.yaml:1:5: on is '2' (expected true or false)" },
        { "norm: batch\n", "(expected one of: layernorm, rmsnorm)" },
        { "hook: {a: 1}\n", "e.yaml:1:7: hook is a map (expected text)" },
        { "hook: [a, [b]]\n", "e.yaml:1:11: an item of hook is a list or a map" },
        { "name: [a]\n", "e.yaml:1:7: name is a list (expected text)" },
        { "- 1\n", "e.yaml:1:1: not a map (expected key: value lines)" },
        { "just words\n", "e.yaml:1:1: not a map" },
    };
    sl_ctx *ctx = sl_test_ctx(1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_err err;
        config c;
        sl_assert_fails(read_table(ctx, cases[i].text, &c, NULL, &err), SL_CONFIG, cases[i].line);
    }
    sl_ctx_free(ctx);
}

static void append(void *user, const char *piece)
{
    char *text = user;
    assert_true(strlen(text) + strlen(piece) < 8192);
    memcpy(text + strlen(text), piece, strlen(piece) + 1);
}

static void dumps_read_back(void **state)
{
    (void)state;
    static const char *const words[] = { "plain", "null", "~", "true", "3", "a: b", "# x", "- y", "two words", "quote \" back \\", "tab\tnew\nline", " lead",
        "trail ", "caf\xc3\xa9", "\xf0\x9f\x98\x80", "\x01\x7f", "\xc2\x85\xe2\x80\xa8\xef\xbb\xbf", "[a]", "*x", "&y", "'", "...", "---", "./a/b-c.d", "!t", "%d", "a,b", "{" };
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    config c, d;
    char text[8192] = "";
    sl_opts_default(TABLE, &c);
    c.lr = 1 / 3.;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        sl_assert_ok(sl_opts_set(ctx, TABLE, &c, "hook", words[i], "", SL_ARG, &err));
    sl_opts_dump(TABLE, &c, 2, append, text);
    assert_memory_equal(text, "  k: 32\n  lr: 0.3333333333333333\n  on: false\n  name: null\n  norm: layernorm\n  hook: [plain, \"null\", ", 100);
    sl_assert_ok(read_table(ctx, text, &d, NULL, &err));
    assert_true(d.lr == c.lr && !d.name);
    assert_int_equal(d.hook.n, c.hook.n);
    for (int i = 0; i < c.hook.n; i++)
        assert_string_equal(d.hook.v[i], c.hook.v[i]);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        text[0] = 0;
        c.name = words[i];
        c.hook.n = 0;
        sl_opts_dump(TABLE, &c, 0, append, text);
        sl_assert_ok(read_table(ctx, text, &d, NULL, &err));
        assert_string_equal(d.name, words[i]);
    }
    sl_ctx_free(ctx);
}

/* Noise made of YAML's own signs, and bent copies of a good file: any outcome but a crash, a leak or an error without a line. */
static void noise_is_survived(void **state)
{
    (void)state;
    static const char signs[] = "ab1:-, []{}\n\n  \"'#&*!|>%@?~\\\t\xc3\xa9\0.";
    static const char good[] = "k: 3\nlr: .1\nhook: [a, \"b\"]\nname: |\n  text\n  more\non: yes\n";
    sl_ctx *ctx = sl_ctx_new(NULL);
    sl_rng r = sl_rng_at(11, SL_RNG_TEST, 0, 0);
    int fine = 0;
    for (int round = 0; round < 20000; round++) {
        char text[256];
        size_t n = sl_rng_below(&r, sizeof text);
        bool bent = round % 2;
        if (bent)
            memcpy(text, good, n = sizeof good - 1);
        for (size_t i = 0, m = bent ? 1 + sl_rng_below(&r, 4) : n; i < m; i++)
            text[bent ? sl_rng_below(&r, n) : i] = round % 3 ? signs[sl_rng_below(&r, sizeof signs)] : (char)sl_rng_u32(&r);
        sl_yaml *y;
        sl_err err = { 0 };
        config c;
        sl_opts_default(TABLE, &c);
        sl_status st = sl_yaml_parse(ctx, "noise", text, n, &y, &err);
        if (st == SL_OK) {
            st = sl_opts_from_yaml(ctx, TABLE, &c, sl_yaml_root(y), NULL, &err);
            sl_yaml_free(y);
        }
        fine += st == SL_OK;
        if (st != SL_OK && (st != SL_CONFIG || !err.msg[0] || strchr(err.msg, '\n')))
            fail_msg("round %d: %s '%s'", round, sl_status_name(st), err.msg);
    }
    assert_in_range(fine, 100, 15000); /* both paths were taken */
    sl_ctx_free(ctx);
}

static void memory_can_run_out(void **state)
{
    (void)state;
    int64_t at = 1;
    for (sl_status st = SL_MEM; st != SL_OK; at++) {
        sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .fail_alloc_at = at });
        sl_err err = { 0 };
        config c;
        st = read_table(ctx, "k: 3\nname: x\nhook: [a, b]\n", &c, NULL, &err);
        assert_true(st == SL_OK || st == SL_MEM);
        assert_true(st == SL_OK || strstr(err.msg, "no memory"));
        sl_ctx_free(ctx);
    }
    assert_int_equal(at, 9); /* document, name, 1 + 2 x 2 for the strings, one that nothing reached */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tree_is_walked), cmocka_unit_test(documents_are_refused), cmocka_unit_test(size_and_depth_are_bounded),
        cmocka_unit_test(files_are_read), cmocka_unit_test(tables_are_read), cmocka_unit_test(table_errors_have_a_place),
        cmocka_unit_test(dumps_read_back), cmocka_unit_test(noise_is_survived), cmocka_unit_test(memory_can_run_out),
    };
    return cmocka_run_group_tests_name("base_yaml", tests, NULL, NULL);
}
