/* The feature index by hand: statistics, contexts, histograms, neighbours; the same bytes for any number of threads; what is refused. */
#include "index.h"
#include "text_rows.h"

#include "io/io.h"

#include <math.h>
#include <saelab/rng.h>
#include <stdio.h>
#include <stdlib.h>

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
    for (int32_t row = 0; row < 9; row++)
        assert_int_equal(sl_features_find(f, row < 6 ? 0 : 1, row < 6 ? row : row - 6), row);
    static const int32_t NOWHERE[][2] = { { 0, 6 }, { 0, -1 }, { 1, 3 }, { 2, 0 }, { -1, 0 } };
    for (int k = 0; k < 5; k++)
        assert_int_equal(sl_features_find(f, NOWHERE[k][0], NOWHERE[k][1]), -1);
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

/* Four passages alike in their last 16 tokens: the strongest stands for all. */
static void test_duplicates(void **state)
{
    (void)state;
    enum { PASSAGES = 4, LENGTH = 60 };
    sl_ctx *ctx = sl_test_ctx(1);
    text_rows t;
    sl_features_opts o = defaults();
    sl_features_built b;
    text_rows_new(&t, PASSAGES * LENGTH, 1);
    for (int i = 0; i < PASSAGES * LENGTH; i++) {
        t.doc[i] = i / LENGTH;
        t.pos[i] = i % LENGTH;
        t.token[i] = i % LENGTH < 20 ? i : i % LENGTH; /* they begin differently */
    }
    for (int p = 0; p < PASSAGES; p++)
        t.x[p * LENGTH + 40] = (float)(p + 1);
    o.quantiles = 0;
    sl_sae *s = identity_sae(ctx, 1, NULL);
    sl_features *f = built(ctx, &(sl_features_input){ .sae = s, .rows = &t.src }, &o, "features_alike", &b);
    sl_feature j = feature(f, 0);
    assert_int_equal(count(f, &j, SL_CONTEXT_TOP), 1);
    sl_context x = context(f, &j, 0);
    assert_float_equal(x.value, PASSAGES, 0);
    assert_int_equal(x.same, PASSAGES - 1);
    sl_features_close(f);
    t.token[2 * LENGTH + 30] = 1000; /* within the last 16 of the third */
    f = built(ctx, &(sl_features_input){ .sae = s, .rows = &t.src }, &o, "features_alike", &b);
    j = feature(f, 0);
    assert_int_equal(count(f, &j, SL_CONTEXT_TOP), 2);
    assert_int_equal(context(f, &j, 0).same, 2);
    sl_features_close(f);
    sl_sae_free(s);
    text_rows_release(&t);
    sl_ctx_free(ctx);
}

/* A document with positions 0 .. 9 and 20 .. 29: two passages, and no context reaches over the gap. */
static void test_gap(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    text_rows t;
    sl_features_opts o = defaults();
    sl_features_built b;
    text_rows_new(&t, 20, 1);
    for (int i = 10; i < 20; i++)
        t.pos[i] = i + 10;
    t.x[9] = 1;
    t.x[10] = 2;
    sl_sae *s = identity_sae(ctx, 1, NULL);
    sl_features *f = built(ctx, &(sl_features_input){ .sae = s, .rows = &t.src }, &o, "features_gap", &b);
    sl_feature j = feature(f, 0);
    sl_context x = context(f, &j, 0);
    assert_int_equal(x.pos, 20);
    assert_int_equal(x.focus, 0);
    assert_int_equal(x.n, 10);
    assert_int_equal(x.level[0], 255);
    sl_features_close(f);
    sl_sae_free(s);
    text_rows_release(&t);
    sl_ctx_free(ctx);
}

/* ---- threads, vectors ---- */

enum { TEXT = 6000, D = 16, FEATURES = 96 };

/* Sums of a few random directions with a text beside them. */
static void random_text(text_rows *t)
{
    text_rows_new(t, TEXT, D);
    sl_rng r = sl_rng_at(5, SL_RNG_TEST, 0, 0);
    for (int i = 0; i < TEXT; i++) {
        t->token[i] = (int32_t)sl_rng_below(&r, 40);
        t->doc[i] = i / 500;
        t->pos[i] = i % 500;
        for (int k = 0; k < D; k++)
            t->x[i * D + k] = (float)sl_rng_normal(&r);
    }
    text_rows_shuffle(t, 9);
}

static void test_threads(void **state)
{
    (void)state;
    sl_err err;
    char *first = NULL, *bytes;
    size_t n_first = 0, n;
    text_rows t;
    sl_features_opts o = defaults();
    random_text(&t);
    for (int threads = 1; threads <= 4; threads *= 2) {
        sl_ctx *ctx = sl_test_ctx(threads);
        sl_sae *s;
        sl_features_built b;
        char path[1200];
        const char *dir = sl_test_dir("features_threads");
        sl_assert_ok(sl_sae_new(ctx, "topk", D, FEATURES, &(sl_topk_options){ .k = 6 }, 3, &s, &err));
        sl_assert_ok(sl_features_build(ctx, &(sl_features_input){ .sae = s, .rows = &t.src }, &o, dir, &b, &err));
        snprintf(path, sizeof path, "%s/index.safetensors", dir);
        sl_assert_ok(sl_file_read(ctx, path, &bytes, &n, &err));
        assert_int_equal(n, b.bytes);
        if (first) {
            assert_int_equal(n, n_first);
            sl_assert_same_bits("index", bytes, first, n);
        } else {
            first = malloc(n);
            memcpy(first, bytes, n_first = n);
        }
        sl_free(ctx, bytes);
        sl_sae_free(s);
        sl_ctx_free(ctx);
    }
    free(first);
    text_rows_release(&t);
}

/* ---- what is refused ---- */

static void test_refused(void **state)
{
    (void)state;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    text_rows t;
    sl_features_opts o = defaults();
    sl_features_built b;
    sl_tok *tok;
    const char *dir = sl_test_dir("features_refused");
    text_rows_new(&t, 10, 2);
    sl_sae *s = identity_sae(ctx, 2, NULL), *other = identity_sae(ctx, 3, NULL);
    sl_assert_ok(sl_tok_new(ctx, SL_TOK_CHAR, "ab", 2, &tok, &err));
    sl_assert_fails(sl_features_build(ctx, &(sl_features_input){ .rows = &t.src }, &o, dir, &b, &err), SL_ARG, "neither is there");
    sl_assert_fails(sl_features_build(ctx, &(sl_features_input){ .sae = other, .rows = &t.src }, &o, dir, &b, &err), SL_SHAPE, "rows of 2");
    t.token[4] = 2;
    sl_assert_fails(sl_features_build(ctx, &(sl_features_input){ .sae = s, .rows = &t.src, .tok = tok }, &o, dir, &b, &err), SL_DATA, "token 2, and the tokenizer knows 2");
    t.token[4] = 0;
    t.x[5] = NAN;
    sl_assert_fails(sl_features_build(ctx, &(sl_features_input){ .sae = s, .rows = &t.src, .tok = tok }, &o, dir, &b, &err), SL_NUMERIC, "rows from 0");
    t.x[5] = 0;
    t.pos = NULL;
    sl_assert_fails(sl_features_build(ctx, &(sl_features_input){ .sae = s, .rows = &t.src }, &o, dir, &b, &err), SL_DATA, "not both");
    t.src.info.n_rows = -1;
    o.tokens = 0;
    sl_assert_fails(sl_features_build(ctx, &(sl_features_input){ .sae = s, .rows = &t.src }, &o, dir, &b, &err), SL_ARG, "the rows never end");
    t.src.info.n_rows = 0;
    sl_assert_fails(sl_features_build(ctx, &(sl_features_input){ .sae = s, .rows = &t.src }, &o, dir, &b, &err), SL_DATA, "there are no rows");
    char path[1200];
    snprintf(path, sizeof path, "%s/codes.scratch", dir);
    assert_false(sl_path_exists(path));
    snprintf(path, sizeof path, "%s/index.safetensors", dir);
    assert_false(sl_path_exists(path));
    sl_features *f;
    sl_assert_fails(sl_features_open(ctx, dir, false, &f, &err), SL_MISSING, "there is no feature index in it");
    sl_tok_free(tok);
    sl_sae_free(s);
    sl_sae_free(other);
    text_rows_release(&t);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_gap),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests_name("features", tests, NULL, NULL);
}
