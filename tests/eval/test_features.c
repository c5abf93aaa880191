/* The feature index: contexts, histograms and neighbours by hand; the same bytes for any number of threads; rows without a text. */
#include "text_rows.h"

#include "io/io.h"
#include "support.h"

#include <math.h>
#include <saelab/features.h>
#include <saelab/rng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sl_features_opts defaults(void)
{
    sl_features_opts o;
    sl_opts_default(sl_features_options, &o);
    return o;
}

/* Builds into a fresh folder and opens it, checked. */
static sl_features *built(sl_ctx *ctx, const sl_features_input *in, const sl_features_opts *o, const char *name, sl_features_built *b)
{
    sl_err err;
    sl_features *f;
    const char *dir = sl_test_dir(name);
    sl_assert_ok(sl_features_build(ctx, in, o, dir, b, &err));
    sl_assert_ok(sl_features_open(ctx, dir, true, &f, &err));
    return f;
}

static double column(const sl_features *f, const char *name, int64_t id)
{
    const sl_features_column *c = sl_features_column_find(f, name);
    if (!c)
        fail_msg("no column %s", name);
    return sl_features_value(c, id);
}

static sl_feature feature(const sl_features *f, int64_t id)
{
    sl_err err;
    sl_feature j;
    sl_assert_ok(sl_features_get(f, id, &j, &err));
    return j;
}

static sl_context context(const sl_features *f, const sl_feature *j, int i)
{
    sl_context x;
    sl_features_context(f, j->first_context + i, &x);
    assert_int_equal(x.feature, j->id);
    return x;
}

static int count(const sl_features *f, const sl_feature *j, sl_context_kind kind)
{
    int n = 0;
    for (int i = 0; i < j->n_contexts; i++)
        n += context(f, j, i).kind == kind;
    return n;
}

static void is_string(const sl_features *f, int32_t id, const char *text)
{
    size_t n;
    const char *s = sl_features_string(f, id, &n);
    if (n != strlen(text) || memcmp(s, text, n) != 0)
        fail_msg("string %d is '%.*s', not '%s'", (int)id, (int)n, s, text);
}

/* ---- a text of nine tokens ---- */

/* Document 0: b c b d b c, document 1: c b d. Feature 0 fires 1 . 2 . . . and . 4 .; feature 1 at document 0's d (.5) and with feature 0 (1). */
static const int32_t TOKEN[] = { 1, 2, 1, 3, 1, 2, 2, 1, 3 };
static const float W_DEC[] = { 3, 0, 0, 3, 4, 0, 0, 0, 2 };

static void nine(text_rows *t)
{
    text_rows_new(t, 9, 3);
    for (int i = 0; i < 9; i++) {
        t->token[i] = TOKEN[i];
        t->doc[i] = i < 6 ? 0 : 1;
        t->pos[i] = i < 6 ? i : i - 6;
    }
    t->x[0] = 1;
    t->x[2 * 3] = 2;
    t->x[7 * 3] = 4;
    t->x[3 * 3 + 1] = .5f;
    t->x[7 * 3 + 1] = 1;
}

static void check_numbers(const sl_features *f)
{
    sl_feature j = feature(f, 0);
    assert_int_equal(j.fired, 3);
    assert_float_equal(j.density, 1. / 3, 1e-12);
    assert_float_equal(j.max, 4, 0);
    assert_float_equal(j.mean, 7. / 3, 1e-6);
    for (int b = 0; b < SL_FEATURE_BINS; b++)
        assert_int_equal(j.hist[b], b == 12 || b == 25 || b == 49);
    assert_int_equal(j.n_tokens, 1);
    is_string(f, j.token[0], "b");
    assert_float_equal(j.token_share[0], 1, 0);
    sl_feature k = feature(f, 1);
    assert_int_equal(k.n_tokens, 2);
    is_string(f, k.token[0], "b");
    is_string(f, k.token[1], "d");
    assert_float_equal(k.token_share[0], 2. / 3, 1e-6);
    assert_float_equal(column(f, "top_token_share", 1), 2. / 3, 1e-6);
    assert_float_equal(column(f, "density", 1), 2. / 9, 1e-7);
    assert_float_equal(column(f, "fired", 1), 2, 0);
}

static void check_neighbours(const sl_features *f)
{
    sl_feature j = feature(f, 0);
    assert_int_equal(j.n_cosine, 2);
    assert_int_equal(j.cosine_id[0], 1);
    assert_float_equal(j.cosine[0], .6, 1e-6);
    assert_float_equal(column(f, "max_cosine", 0), .6, 1e-6);
    assert_float_equal(column(f, "norm", 1), 5, 1e-6);
    assert_int_equal(j.n_cofire, 1);
    assert_int_equal(j.cofire_id[0], 1);
    /* (1/9 - 3/9 2/9) / sqrt(3/9 6/9 2/9 7/9) */
    assert_float_equal(j.cofire[0], 3. / 81 / sqrt(3. / 9 * 6 / 9 * 2 / 9 * 7 / 9), 1e-6);
}

static void check_contexts(const sl_features *f)
{
    sl_feature j = feature(f, 0);
    assert_int_equal(count(f, &j, SL_CONTEXT_TOP), 2); /* 1 and 2 are two tokens apart: one passage */
    sl_context a = context(f, &j, 0), b = context(f, &j, 1);
    assert_float_equal(a.value, 4, 0);
    assert_int_equal(a.doc, 1);
    assert_int_equal(a.pos, 1);
    assert_int_equal(a.n, 3);
    assert_int_equal(a.focus, 1);
    assert_int_equal(a.source_row, -1);
    is_string(f, a.string[0], "c");
    is_string(f, a.string[2], "d");
    const uint8_t level_a[] = { 0, 255, 0 }, level_b[] = { 64, 0, 128, 0, 0, 0 };
    sl_assert_same_bits("levels of document 1", a.level, level_a, sizeof level_a);
    assert_float_equal(b.value, 2, 0);
    assert_int_equal(b.n, 6);
    assert_int_equal(b.focus, 2);
    sl_assert_same_bits("levels of document 0", b.level, level_b, sizeof level_b);
    assert_float_equal(b.unit * 128, 2, .01);
    assert_int_equal(count(f, &j, SL_CONTEXT_NEAR), 1); /* the only b where it is silent */
    sl_context near = context(f, &j, 2);
    assert_int_equal(near.doc, 0);
    assert_int_equal(near.pos, 4);
    assert_float_equal(near.value, 0, 0);
    assert_int_equal(near.level[near.focus], 0);
    assert_int_equal(count(f, &j, SL_CONTEXT_SILENT), 1); /* one in the other document */
    assert_int_equal(context(f, &j, 3).doc, 1);
}

static void check_silent_feature(const sl_features *f)
{
    sl_feature j = feature(f, 2);
    assert_int_equal(j.fired, 0);
    assert_int_equal(j.n_contexts, 0);
    assert_int_equal(j.n_tokens, 0);
    assert_int_equal(j.n_cofire, 0);
    assert_float_equal(j.max, 0, 0);
    assert_true(isnan(column(f, "top_token", 2)));
}

static void test_by_hand(void **state)
{
    (void)state;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(2);
    sl_tok *tok;
    text_rows t;
    sl_features_opts o = defaults();
    sl_features_built b;
    nine(&t);
    text_rows_shuffle(&t, 3);
    sl_assert_ok(sl_tok_new(ctx, SL_TOK_CHAR, "abcd", 4, &tok, &err));
    sl_sae *s = identity_sae(ctx, 3, W_DEC);
    o.per_quantile = 0;
    sl_features *f = built(ctx, &(sl_features_input){ .sae = s, .rows = &t.src, .tok = tok, .name = "nine" }, &o, "features_nine", &b);
    assert_int_equal(b.n_active, 5);
    assert_int_equal(b.n_rows, 9);
    const sl_features_info *i = sl_features_about(f);
    assert_int_equal(i->n_features, 3);
    assert_int_equal(i->kind, SL_ROWS_TOKENS);
    assert_string_equal(i->name, "nine");
    assert_string_equal(i->hook, "blocks.1.hook_resid_pre");
    assert_string_equal(i->variant, "standard");
    check_numbers(f);
    check_neighbours(f);
    check_contexts(f);
    check_silent_feature(f);
    assert_null(sl_features_column_find(f, "fss"));
    int n, focus;
    const int32_t *around = sl_features_around(f, 2, 1, 1000, &n, &focus);
    assert_int_equal(n, 5);
    assert_int_equal(focus, 1);
    is_string(f, around[0], "c");
    sl_feature none;
    sl_assert_fails(sl_features_get(f, 3, &none, &err), SL_ARG, "there is no feature 3: they are 0 to 2");
    sl_features_close(f);
    sl_sae_free(s);
    sl_tok_free(tok);
    text_rows_release(&t);
    sl_ctx_free(ctx);
}

/* ---- quantiles, duplicates, gaps ---- */

enum { LONG = 8000, EVERY = 40, FIRES = LONG / EVERY };

/* Feature 0 fires at 20, 60, 100 ... with 1, 2, 3 ..., and no two stretches of text are alike. */
static void ladder(text_rows *t)
{
    text_rows_new(t, LONG, 2);
    for (int i = 0; i < LONG; i++)
        t->token[i] = (i * i / 7 + i) % 50;
    for (int i = 0; i < FIRES; i++)
        t->x[(i * EVERY + 20) * 2] = (float)(i + 1);
}

static void test_quantiles(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(2);
    text_rows t;
    sl_features_opts o = defaults();
    sl_features_built b;
    ladder(&t);
    sl_sae *s = identity_sae(ctx, 2, NULL);
    sl_features *f = built(ctx, &(sl_features_input){ .sae = s, .rows = &t.src }, &o, "features_ladder", &b);
    sl_feature j = feature(f, 0);
    assert_int_equal(j.n_contexts, 5 + 10 * 2 + 10 + 5);
    for (int i = 0; i < 5; i++)
        assert_float_equal(context(f, &j, i).value, FIRES - i, 0);
    for (int i = 5; i < 25; i++) {
        sl_context x = context(f, &j, i);
        int q = 9 - (i - 5) / 2, rank = (int)x.value - 1;
        assert_int_equal(x.kind, SL_CONTEXT_QUANTILE);
        assert_int_equal(x.quantile, q);
        assert_in_range(rank, q * FIRES / 10, (q + 1) * FIRES / 10 - 1);
        assert_int_equal(x.pos, rank * EVERY + 20);
    }
    sl_features_close(f);
    sl_sae_free(s);
    text_rows_release(&t);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_quantiles),
    };
    return cmocka_run_group_tests_name("features", tests, NULL, NULL);
}
