/* Capture: the rows of the store are the model's activations, with their tokens, documents and places. */
#include "fixture.h"

#include <stdio.h>
#include <string.h>

enum { T = 8, C = 16, DOC = 21, N = 60 }; /* documents of 21, 21 and 18 tokens: windows of 8, 8, 5 | 8, 8, 5 | 8, 8, 2 */

static sl_var read_fn(void *user, sl_tape *t, sl_var x)
{
    memcpy(user, sl_value(t, x)->data, sl_nbytes(sl_value(t, x)));
    return x;
}

/* The activation of token `at` of document d, by a pass over its window alone. */
static void activation(sl_lm *m, const sl_corpus *c, int64_t d, int64_t at, sl_hook_id hook, float *out)
{
    int64_t start = c->doc[d] + at / T * T, len = c->doc[d + 1] - start < T ? c->doc[d + 1] - start : T;
    float seen[T * C];
    sl_gpt_hook h = { hook, read_fn, seen };
    sl_free(m->ctx, logits_of(m, c->ids + start, 1, len, &h));
    memcpy(out, seen + at % T * C, C * sizeof *out);
}

static void check_store(sl_lm *m, const sl_corpus *c, const char *name, const sl_capture_config *cc, int64_t want_rows)
{
    sl_ctx *ctx = m->ctx;
    sl_err err;
    sl_hook_id hook;
    sl_act_source *s;
    sl_act_batch b;
    char dir[1024];
    snprintf(dir, sizeof dir, "%s/acts", sl_test_dir("lm_capture"));
    sl_assert_ok(sl_hook_parse(name, &m->c, &hook, &err));
    sl_assert_ok(sl_lm_capture(m, "tiny", c, 0, c->n_docs, name, cc, dir, &err));
    sl_assert_ok(sl_acts_open(ctx, dir, true, &s, &err));
    assert_int_equal(s->info.n_rows, want_rows);
    assert_int_equal(s->info.d_in, C);
    assert_string_equal(s->info.hook, name);
    assert_string_equal(s->info.dataset, "tiny");
    sl_assert_ok(s->next(s, want_rows, &b, &err));
    assert_int_equal(b.n, want_rows);
    bool seen[N] = { false };
    for (int64_t i = 0; i < b.n; i++) {
        float want[C];
        int64_t at = c->doc[b.doc[i]] + b.pos[i];
        assert_true(at < c->doc[b.doc[i] + 1] && !seen[at]); /* every token once */
        seen[at] = true;
        assert_int_equal(b.token[i], c->ids[at]);
        assert_false(cc->drop_first && b.pos[i] % T == 0);
        activation(m, c, b.doc[i], b.pos[i], hook, want);
        sl_assert_close_f32("activation", b.x + i * C, want, C, 1e-6, 1e-5); /* another number of rows in the products */
    }
    sl_act_source_free(s);
}

static void rows_are_the_models(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(2);
    sl_lm_config c = tiny_config(true, false);
    sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
    shake(m, 4, .2);
    sl_corpus text = tiny_corpus(ctx, N, 11, DOC);
    assert_int_equal(text.n_docs, 3);
    sl_capture_config cc = { .store = { .dtype = SL_F32, .shuffle = true, .seed = 2 } };
    check_store(m, &text, "blocks.1.hook_resid_pre", &cc, N);
    check_store(m, &text, "blocks.0.hook_mlp_out", &cc, N);
    cc.drop_first = true;
    cc.batch = 2;
    check_store(m, &text, "blocks.1.hook_resid_post", &cc, N - 9); /* nine windows */
    cc.n_tokens = 10;
    check_store(m, &text, "blocks.1.hook_resid_post", &cc, 10);
    tiny_corpus_free(ctx, &text);
    sl_lm_free(m);
    sl_ctx_free(ctx);
}

static void errors(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_lm_config c = tiny_config(true, false);
    sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
    sl_corpus text = tiny_corpus(ctx, N, 11, DOC);
    sl_capture_config cc = { .store = { .dtype = SL_F32 } };
    const char *hook = "blocks.0.hook_resid_pre";
    char dir[1024];
    snprintf(dir, sizeof dir, "%s/acts", sl_test_dir("lm_capture_errors"));
    sl_assert_fails(sl_lm_capture(m, "t", &text, 0, 3, "blocks.2.hook_resid_pre", &cc, dir, &err), SL_ARG, "no such layer");
    sl_assert_fails(sl_lm_capture(m, "t", &text, 0, 4, hook, &cc, dir, &err), SL_ARG, "documents 0 to 4 of 3");
    sl_assert_fails(sl_lm_capture(m, "t", &text, 2, 2, hook, &cc, dir, &err), SL_ARG, "documents 2 to 2 of 3");
    text.doc[1] = 1; /* a document of one token, which drop_first leaves out */
    cc.drop_first = true;
    sl_assert_fails(sl_lm_capture(m, "t", &text, 0, 1, hook, &cc, dir, &err), SL_DATA, "give no rows");
    text.ids[30] = 11;
    sl_assert_fails(sl_lm_capture(m, "t", &text, 0, 3, hook, &cc, dir, &err), SL_DATA, "id 11 of 11");
    text.ids[30] = 1;
    sl_cancel(ctx, 15);
    sl_assert_fails(sl_lm_capture(m, "t", &text, 0, 3, hook, &cc, dir, &err), SL_CANCELLED, "stopped by a signal");
    sl_act_source *none;
    sl_assert_fails(sl_acts_open(ctx, dir, true, &none, &err), SL_MISSING, "acts"); /* nothing that looks like a store stays */
    tiny_corpus_free(ctx, &text);
    sl_lm_free(m);
    sl_ctx_free(ctx);
}

/* p 1 to one token: the rows are those of a text of that token alone, under the ids of the real one. p .3: about so many rows of hook_embed's place
 * differ, always the same ones, none at p 0. */
static void changed_tokens(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    sl_lm_config c = tiny_config(true, false);
    sl_lm *m = tiny_model(ctx, &c, SL_F32, 3);
    sl_corpus text = tiny_corpus(ctx, N, 11, DOC);
    const char *hook = "blocks.0.hook_resid_pre"; /* embedding of the token and its place, nothing else */
    sl_act_batch b[4];
    sl_act_source *s[4];
    const sl_token_noise noise[4] = { { 0 }, { 1, 4, 7 }, { .3, -1, 7 }, { .3, -1, 7 } };
    for (int i = 0; i < 4; i++) {
        char dir[1024], name[32];
        snprintf(name, sizeof name, "lm_capture_changed%d", i);
        snprintf(dir, sizeof dir, "%s/acts", sl_test_dir(name));
        sl_capture_config cc = { .store = { .dtype = SL_F32 }, .noise = noise[i] };
        sl_assert_ok(sl_lm_capture(m, "tiny", &text, 0, 3, hook, &cc, dir, &err));
        sl_assert_ok(sl_acts_open(ctx, dir, true, &s[i], &err));
        sl_assert_ok(s[i]->next(s[i], N, &b[i], &err));
        for (int64_t r = 0; r < N; r++)
            assert_int_equal(b[i].token[r], text.ids[text.doc[b[i].doc[r]] + b[i].pos[r]]);
    }
    int changed = 0, fours = 0;
    for (int64_t r = 0; r < N; r++) {
        bool same = memcmp(b[0].x + r * C, b[2].x + r * C, C * sizeof(float)) == 0;
        changed += !same;
        fours += b[0].token[r] == 4;
        assert_true(b[0].token[r] != 4 || memcmp(b[0].x + r * C, b[1].x + r * C, C * sizeof(float)) == 0);
        assert_true(b[0].token[r] == 4 || memcmp(b[0].x + r * C, b[1].x + r * C, C * sizeof(float)) != 0);
    }
    assert_true(changed >= 8 && changed <= 30 && fours > 0);
    sl_assert_same_bits("the same noise", b[2].x, b[3].x, N * C * sizeof(float));
    for (int i = 0; i < 4; i++)
        sl_act_source_free(s[i]);
    sl_capture_config cc = { .store = { .dtype = SL_F32 }, .noise = { 1.5, -1, 0 } };
    const char *dir = sl_test_dir("lm_capture_changed_bad");
    sl_assert_fails(sl_lm_capture(m, "tiny", &text, 0, 3, hook, &cc, dir, &err), SL_ARG, "1.5");
    cc.noise = (sl_token_noise){ .1, 11, 0 };
    sl_assert_fails(sl_lm_capture(m, "tiny", &text, 0, 3, hook, &cc, dir, &err), SL_ARG, "the vocabulary has 11");
    tiny_corpus_free(ctx, &text);
    sl_lm_free(m);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(rows_are_the_models), cmocka_unit_test(changed_tokens), cmocka_unit_test(errors) };
    return cmocka_run_group_tests_name("lm_capture", tests, NULL, NULL);
}
