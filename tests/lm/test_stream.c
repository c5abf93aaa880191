/* Rows straight from a model: those of a capture, each once a pass, in an order that is a function of place; alone and read ahead by a thread. */
#include "fixture.h"

#include <stdio.h>
#include <string.h>

enum { T = 8, C = 16, DOC = 21, N = 600, D = 2 * N };
static const char HOOK[] = "blocks.1.hook_resid_pre";

typedef struct bed { sl_ctx *ctx; sl_corpus c; char lm[600], acts[600]; int64_t n_rows; } bed;

/* A model in a folder, and the capture of the text by it, unshuffled: row `place` of a corpus without gaps is the token there. */
static void lay(bed *b)
{
    sl_err err;
    sl_lm_config c = tiny_config(true, false);
    b->ctx = sl_test_ctx(2);
    b->c = tiny_corpus(b->ctx, N, 11, DOC);
    snprintf(b->lm, sizeof b->lm, "%s/m", sl_test_dir("lm_stream"));
    snprintf(b->acts, sizeof b->acts, "%.590s/acts", b->lm);
    sl_lm *m = tiny_model(b->ctx, &c, SL_F32, 3);
    shake(m, 5, .3);
    sl_tok *tok;
    sl_assert_ok(sl_tok_new(b->ctx, SL_TOK_CHAR, "abcdefghijk", 11, &tok, &err));
    sl_assert_ok(sl_lm_save(m, tok, b->lm, &err));
    sl_capture_config cc = { .store = { .dtype = SL_F32 } };
    sl_assert_ok(sl_lm_capture(m, "tiny", &b->c, 0, b->c.n_docs, HOOK, &cc, b->acts, &err));
    sl_tok_free(tok);
    sl_lm_free(m);
}

static void lift(bed *b)
{
    tiny_corpus_free(b->ctx, &b->c);
    sl_ctx_free(b->ctx);
}

static sl_act_source *open_stream(bed *b, int64_t n_tokens, bool drop, bool ahead)
{
    sl_err err;
    sl_act_source *s;
    sl_stream_config sc = { .n_tokens = n_tokens, .drop_first = drop, .shuffle_rows = 100, .seed = 4 };
    sl_assert_ok(sl_lm_stream(b->ctx, b->lm, &b->c, 0, b->c.n_docs, HOOK, &sc, &s, &err));
    if (ahead)
        sl_assert_ok(sl_acts_prefetch(b->ctx, s, &s, &err));
    return s;
}

/* Rows from..from+n, in batches of `batch`, into x and row. */
static void read_rows(sl_act_source *s, int64_t n, int64_t batch, float *x, int64_t *row)
{
    sl_err err;
    for (int64_t got = 0; got < n;) {
        sl_act_batch b;
        sl_assert_ok(s->next(s, n - got < batch ? n - got : batch, &b, &err));
        memcpy(x + got * C, b.x, (size_t)(b.n * C) * sizeof *x);
        memcpy(row + got, b.row, (size_t)b.n * sizeof *row);
        got += b.n;
    }
}

static void rows_of_a_capture(void **state)
{
    (void)state;
    bed b;
    sl_err err;
    sl_act_source *store;
    sl_act_batch all;
    float x[D * C];
    int64_t row[D];
    lay(&b);
    sl_assert_ok(sl_acts_open(b.ctx, b.acts, true, &store, &err));
    sl_assert_ok(store->next(store, N, &all, &err));
    sl_act_source *s = open_stream(&b, 0, false, false);
    assert_int_equal(s->info.n_rows, N);
    assert_int_equal(s->info.d_in, C);
    assert_string_equal(s->info.hook, HOOK);
    read_rows(s, D, 50, x, row);
    for (int pass = 0; pass < 2; pass++) {
        bool seen[N] = { false };
        int in_place = 0;
        for (int64_t i = pass * N; i < (pass + 1) * N; i++) {
            assert_true(row[i] >= 0 && row[i] < N && !seen[row[i]]); /* every token once a pass */
            seen[row[i]] = true;
            in_place += row[i] == i - pass * N;
            sl_assert_close_f32("row", x + i * C, all.x + row[i] * C, C, 1e-6, 1e-5);
        }
        assert_true(in_place < N / 10);
    }
    assert_true(memcmp(row, row + N, sizeof row / 2) != 0); /* another order in the second pass */
    sl_act_source_free(s);
    sl_act_source_free(store);
    lift(&b);
}

static void place_decides(void **state)
{
    (void)state;
    bed b;
    sl_err err;
    static const int64_t from[] = { 0, 1, 99, 104, 380, N - 1, N, N + 333, 7 };
    float x[D * C], y[D * C];
    int64_t row[D], again[D];
    lay(&b);
    for (int ahead = 0; ahead < 2; ahead++) {
        sl_act_source *s = open_stream(&b, 0, false, ahead);
        read_rows(s, D, 64, x, row);
        for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
            int64_t n = D - from[i] < 150 ? D - from[i] : 150;
            sl_assert_ok(s->seek(s, from[i], &err));
            read_rows(s, n, i % 2 ? 17 : 150, y, again);
            sl_assert_same_bits("rows", y, x + from[i] * C, (size_t)(n * C) * sizeof *y);
            sl_assert_same_bits("places", again, row + from[i], (size_t)n * sizeof *again);
        }
        sl_act_source_free(s);
    }
    lift(&b);
}

static void part_of_a_text(void **state)
{
    (void)state;
    bed b;
    sl_act_batch r;
    sl_err err;
    lay(&b);
    sl_act_source *s = open_stream(&b, 40, true, true);
    assert_int_equal(s->info.n_rows, 7 + 7 + 4 + 7 + 7 + 4 + 7); /* windows of 8, 8, 5 without their first rows, until there are 40 */
    sl_assert_ok(s->next(s, 43, &r, &err));
    for (int64_t i = 0; i < 43; i++) {
        assert_true(r.pos[i] % T != 0);
        assert_int_equal(r.row[i], b.c.doc[r.doc[i]] + r.pos[i]);
        assert_int_equal(r.token[i], b.c.ids[r.row[i]]);
    }
    sl_act_source_free(s);
    lift(&b);
}

static void refused(void **state)
{
    (void)state;
    bed b;
    sl_err err;
    sl_act_source *s;
    sl_act_batch r;
    lay(&b);
    sl_stream_config sc = { .shuffle_rows = 100 };
    sl_assert_fails(sl_lm_stream(b.ctx, "nowhere", &b.c, 0, 1, HOOK, &sc, &s, &err), SL_MISSING, "nowhere");
    sl_assert_fails(sl_lm_stream(b.ctx, b.lm, &b.c, 0, 1, "blocks.9.hook_resid_pre", &sc, &s, &err), SL_ARG, "blocks.9");
    sl_assert_fails(sl_lm_stream(b.ctx, b.lm, &b.c, 0, b.c.n_docs + 1, HOOK, &sc, &s, &err), SL_ARG, "documents 0 to");
    sc.shuffle_rows = 0;
    sl_assert_fails(sl_lm_stream(b.ctx, b.lm, &b.c, 0, 1, HOOK, &sc, &s, &err), SL_ARG, "shuffle_rows");
    b.c.ids[3] = 11;
    sc.shuffle_rows = 100;
    sl_assert_fails(sl_lm_stream(b.ctx, b.lm, &b.c, 0, 1, HOOK, &sc, &s, &err), SL_DATA, "11");
    b.c.ids[3] = 0;
    for (int ahead = 0; ahead < 2; ahead++) {
        s = open_stream(&b, 0, false, ahead);
        sl_assert_fails(s->next(s, 0, &r, &err), SL_ARG, "a batch of 0 rows");
        sl_assert_fails(s->seek(s, -1, &err), SL_ARG, "seek to row -1");
        sl_assert_ok(s->next(s, 5, &r, &err)); /* both are harmless */
        sl_act_source_free(s);
    }
    lift(&b);
}

/* Other tokens in front of the model: other rows under the same ids, in every pass other ones. */
static void changed_tokens(void **state)
{
    (void)state;
    bed b;
    sl_err err;
    sl_act_source *plain, *s;
    float x[N * C], y[2][N * C];
    int64_t row[N], row2[N];
    lay(&b);
    sl_stream_config sc = { .shuffle_rows = N, .seed = 4, .noise = { .p = .2, .to = -1, .seed = 1 } };
    plain = open_stream(&b, 0, false, false);
    sl_assert_ok(sl_lm_stream(b.ctx, b.lm, &b.c, 0, b.c.n_docs, HOOK, &sc, &s, &err));
    assert_string_not_equal(plain->info.data_hash, s->info.data_hash);
    read_rows(plain, N, 50, x, row);
    for (int pass = 0; pass < 2; pass++) {
        float got[N * C];
        read_rows(s, N, 50, got, row2);
        for (int64_t i = 0; i < N; i++)
            memcpy(y[pass] + row2[i] * C, got + i * C, C * sizeof *got);
    }
    int changed = 0;
    for (int64_t i = 0; i < N; i++)
        changed += memcmp(y[0] + row[i] * C, x + i * C, C * sizeof *x) != 0;
    assert_true(changed > N / 10);
    assert_memory_not_equal(y[0], y[1], sizeof y[0]);
    sl_act_source_free(plain);
    sl_act_source_free(s);
    sc.noise.p = -1;
    sl_assert_fails(sl_lm_stream(b.ctx, b.lm, &b.c, 0, b.c.n_docs, HOOK, &sc, &s, &err), SL_ARG, "p_tok");
    lift(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_a_capture), cmocka_unit_test(place_decides), cmocka_unit_test(part_of_a_text), cmocka_unit_test(changed_tokens),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests_name("lm_stream", tests, NULL, NULL);
}
