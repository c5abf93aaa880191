/* Two stores read as rows with targets. */
#include "acts_support.h"
#include "support.h"

enum { N = 90, D_Y = 2 };

/* Targets (3 i, -i) of the rows of make_store; the row that `odd` names belongs to another token. */
static void make_targets(sl_ctx *ctx, const char *dir, int n, const sl_acts_opts *o, int odd)
{
    sl_err err;
    sl_acts_writer *w;
    sl_act_info info = { .d_in = D_Y, .hook = "blocks.1.hook_mlp_out", .model = "tiny", .dataset = "numbers" };
    rows *r = make_rows();
    float y[200 * D_Y];
    for (int i = 0; i < n; i++) {
        y[i * D_Y] = 3 * (float)i;
        y[i * D_Y + 1] = (float)-i;
    }
    int32_t kept = r->token[0];
    if (odd >= 0)
        r->token[odd] = 5;
    sl_assert_ok(sl_acts_create(ctx, dir, &info, n, o, &w, &err));
    sl_assert_ok(sl_acts_append(w, y, n, r->token, r->doc, r->pos, &err));
    sl_assert_ok(sl_acts_finish(w, &err));
    if (odd >= 0)
        r->token[odd] = odd == 0 ? kept : 7 * odd;
}

static sl_act_source *opened(sl_ctx *ctx, const char *dir)
{
    sl_err err;
    sl_act_source *s;
    sl_assert_ok(sl_acts_open(ctx, dir, true, &s, &err));
    return s;
}

static const sl_acts_opts shuffled = { .dtype = SL_F32, .shuffle = true, .seed = 4, .shard_rows = 32 };

static void rows_come_with_their_targets(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    const char *dir = sl_test_dir("pair");
    const char *x = path_in(dir, "x"), *y = path_in(dir, "y");
    sl_assert_ok(make_store(ctx, x, N, 17, &shuffled, true, &err));
    make_targets(ctx, y, N, &shuffled, -1);
    sl_act_source *s, *a = opened(ctx, x), *b = opened(ctx, y);
    char hash[65];
    memcpy(hash, a->info.data_hash, sizeof hash);
    sl_assert_ok(sl_acts_pair(ctx, a, b, &s, &err));
    assert_int_equal(s->info.d_in, D);
    assert_int_equal(s->info.d_out, D_Y);
    assert_int_equal(s->info.n_rows, N);
    assert_string_equal(s->info.hook, "blocks.1.hook_resid_pre");
    assert_string_not_equal(s->info.data_hash, hash);
    assert_true(s->info.mean_y[1] == -44.5f && s->info.scale_y == b->info.scale);
    bool moved = false;
    for (int pass = 0, got = 0; pass < 4; pass++) { /* 40, 40, 40 and 40 rows: over the end */
        sl_act_batch batch;
        sl_assert_ok(s->next(s, 40, &batch, &err));
        for (int i = 0; i < 40; i++, got++) {
            float id = batch.x[i * D];
            assert_true(batch.y[i * D_Y] == 3 * id && batch.y[i * D_Y + 1] == -id && batch.token[i] == 7 * (int)id);
            moved = moved || (int)id != got % N;
        }
    }
    assert_true(moved); /* they were shuffled, and alike */
    sl_assert_ok(s->seek(s, 7, &err));
    sl_act_batch batch;
    sl_assert_ok(s->next(s, 1, &batch, &err));
    assert_true(batch.row[0] == 7 && batch.y[0] == 3 * batch.x[0]);
    sl_assert_fails(s->seek(s, -1, &err), SL_ARG, "seek to row -1");
    sl_act_source_free(s);
    sl_ctx_free(ctx);
}

static void what_does_not_belong_together(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    const char *dir = sl_test_dir("pair_bad");
    const char *x = path_in(dir, "x"), *few = path_in(dir, "few"), *other = path_in(dir, "other"), *order = path_in(dir, "order");
    const sl_acts_opts plain = { .dtype = SL_F32 };
    sl_assert_ok(make_store(ctx, x, N, N, &shuffled, true, &err));
    make_targets(ctx, few, N - 1, &shuffled, -1);
    make_targets(ctx, other, N, &shuffled, 3);
    make_targets(ctx, order, N, &plain, -1);
    sl_act_source *s = NULL, *again;
    sl_act_batch batch;
    sl_assert_fails(sl_acts_pair(ctx, opened(ctx, x), opened(ctx, few), &s, &err), SL_SHAPE, "89 targets for 90 rows");
    assert_null(s);
    sl_assert_ok(sl_acts_pair(ctx, opened(ctx, x), opened(ctx, other), &s, &err));
    sl_assert_fails(s->next(s, N, &batch, &err), SL_DATA, "of its target 5");
    sl_assert_fails(sl_acts_pair(ctx, s, opened(ctx, x), &again, &err), SL_ARG, "has targets already");
    sl_assert_ok(sl_acts_pair(ctx, opened(ctx, x), opened(ctx, order), &s, &err));
    sl_assert_fails(s->next(s, N, &batch, &err), SL_DATA, "the token of row 0");
    sl_act_source_free(s);
    sl_ctx_free(ctx);
}

/* A source that gives the rows it is told to. */
typedef struct fixed { sl_act_source src; float x[4]; int64_t row[4]; int64_t n; } fixed;

static sl_status fixed_next(sl_act_source *s, int64_t n, sl_act_batch *out, sl_err *err)
{
    fixed *f = s->impl;
    (void)n;
    (void)err;
    *out = (sl_act_batch){ .x = f->x, .n = f->n, .row = f->row };
    return SL_OK;
}

static void fixed_close(sl_act_source *s) { (void)s; }

static void other_rows_or_fewer(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_err err;
    fixed a = { .row = { 0, 1, 2, 3 }, .n = 4 }, b = { .row = { 0, 1, 3, 2 }, .n = 4 };
    a.src = (sl_act_source){ .info = { .n_rows = 4, .d_in = 1 }, .impl = &a, .next = fixed_next, .close = fixed_close };
    b.src = (sl_act_source){ .info = { .n_rows = 4, .d_in = 1 }, .impl = &b, .next = fixed_next, .close = fixed_close };
    sl_act_source *s;
    sl_act_batch batch;
    sl_assert_ok(sl_acts_pair(ctx, &a.src, &b.src, &s, &err));
    sl_assert_fails(s->next(s, 4, &batch, &err), SL_DATA, "row 2 comes with the target of row 3");
    b.n = 3;
    sl_assert_fails(s->next(s, 4, &batch, &err), SL_DATA, "3 targets for 4 rows");
    sl_act_source_free(s);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_with_their_targets), cmocka_unit_test(what_does_not_belong_together), cmocka_unit_test(other_rows_or_fewer),
    };
    return cmocka_run_group_tests_name("data_acts_pair", tests, NULL, NULL);
}
