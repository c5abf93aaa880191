/* The activation store: what comes out is what went in, shuffled, whatever the way in. */
#include "acts_support.h"

#include <math.h>

static sl_err err;
static sl_ctx *ctx;
static const sl_acts_opts PLAIN = { .dtype = SL_F32 }, SHUFFLED = { .dtype = SL_F32, .shuffle = true, .seed = 42, .shard_rows = 30 };

/* ---- the permutation ---- */

static void permutation_is_one(void **state)
{
    (void)state;
    static const uint64_t sizes[] = { 1, 2, 3, 5, 16, 17, 64, 65, 1000, 4096, 20011 };
    static uint8_t seen[20011];
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        for (uint64_t seed = 0; seed < 3; seed++) {
            sl__perm p = sl__perm_of(sizes[k], seed, true);
            memset(seen, 0, sizeof seen);
            for (uint64_t i = 0; i < p.n; i++) {
                uint64_t to = sl__perm_to(&p, i);
                assert_true(to < p.n && !seen[to]);
                seen[to] = 1;
                assert_true(sl__perm_from(&p, to) == i);
            }
        }
    sl__perm big = sl__perm_of((uint64_t)1 << 40, 9, true), none = sl__perm_of(1000, 9, false);
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t to = sl__perm_to(&big, i << 30);
        assert_true(to < big.n && sl__perm_from(&big, to) == i << 30);
        assert_true(sl__perm_to(&none, i) == i && sl__perm_from(&none, i) == i);
    }
}

/* Where row 0 of 10 goes over 4000 seeds: chi-square with 9 degrees of freedom, 99.9 % point 27.9; and neighbours part: the mean
 * distance of two random places is n / 3. */
static void permutation_is_random(void **state)
{
    (void)state;
    int count[10] = { 0 };
    for (uint64_t seed = 0; seed < 4000; seed++) {
        sl__perm p = sl__perm_of(10, seed, true);
        count[sl__perm_to(&p, 0)]++;
    }
    double chi = 0, apart = 0, n = 20000;
    for (int i = 0; i < 10; i++)
        chi += (count[i] - 400.0) * (count[i] - 400.0) / 400.0;
    assert_true(chi < 27.9);
    sl__perm p = sl__perm_of(20000, 3, true);
    for (uint64_t i = 0; i + 1 < p.n; i++)
        apart += fabs((double)sl__perm_to(&p, i) - (double)sl__perm_to(&p, i + 1)) / n;
    assert_true(fabs(apart / n - 1.0 / 3) < 0.01);
}

/* ---- reading back ---- */

static void assert_row(const sl_act_batch *b, int64_t i, int input, bool side)
{
    const rows *r = make_rows();
    sl_assert_same_bits("row", b->x + i * D, r->x + input * D, D * sizeof(float));
    assert_int_equal(b->token != NULL, side);
    if (!side)
        return;
    assert_int_equal(b->token[i], 7 * input);
    assert_int_equal(b->doc[i], input / 4);
    assert_int_equal(b->pos[i], input % 4);
}

static void in_order(void **state)
{
    (void)state;
    const char *dir = path_in(sl_test_dir("acts_order"), "store");
    sl_act_source *s;
    sl_act_batch b;
    sl_acts_opts o = PLAIN;
    o.shard_rows = 30;
    sl_assert_ok(make_store(ctx, dir, 100, 7, &o, true, &err));
    assert_int_equal(count_entries(dir), 4 + 2); /* shards of 30, 30, 30, 10 */
    sl_assert_ok(sl_acts_open(ctx, dir, true, &s, &err));
    assert_int_equal(s->info.n_rows, 100);
    assert_int_equal(s->info.d_in, D);
    assert_string_equal(s->info.hook, "blocks.1.hook_resid_pre");
    assert_string_equal(s->info.model, "tiny");
    assert_string_equal(s->info.dataset, "numbers");
    assert_int_equal(strlen(s->info.data_hash), 64);
    assert_true(s->info.has_tokens && !s->info.labels);
    int at = 0;
    for (int round = 0; round < 20; round++) { /* batches over shards and over the end of the epoch */
        sl_assert_ok(s->next(s, 37, &b, &err));
        assert_int_equal(b.n, 37);
        for (int i = 0; i < 37; i++, at++) {
            assert_int_equal(b.row[i], at % 100);
            assert_row(&b, i, at % 100, true);
        }
    }
    sl_assert_ok(s->next(s, 250, &b, &err)); /* more than an epoch */
    for (int i = 0; i < 250; i++, at++)
        assert_row(&b, i, at % 100, true);
    sl_assert_ok(s->seek(s, 1234, &err));
    sl_assert_ok(s->next(s, 3, &b, &err));
    assert_int_equal(b.row[0], 34);
    sl_assert_fails(s->seek(s, -1, &err), SL_ARG, "seek to row -1");
    sl_assert_fails(s->next(s, 0, &b, &err), SL_ARG, "0 rows");
    sl_act_source_free(s);
    sl_act_source_free(NULL);
}

static void no_allocation_while_reading(void **state)
{
    (void)state;
    const char *dir = path_in(sl_test_dir("acts_steady"), "store");
    sl_act_source *s;
    sl_act_batch b;
    sl_assert_ok(make_store(ctx, dir, 100, 100, &SHUFFLED, true, &err));
    sl_assert_ok(sl_acts_open(ctx, dir, false, &s, &err));
    sl_assert_ok(s->next(s, 16, &b, &err));
    int64_t before = sl_alloc_count(ctx);
    for (int i = 0; i < 50; i++)
        sl_assert_ok(s->next(s, 16, &b, &err));
    assert_int_equal(sl_alloc_count(ctx), before);
    sl_act_source_free(s);
}

static void shuffled_holds_the_same_rows(void **state)
{
    (void)state;
    const char *dir = path_in(sl_test_dir("acts_shuffled"), "store");
    sl_act_source *s;
    sl_act_batch b;
    uint8_t seen[100] = { 0 };
    int moved = 0;
    sl_assert_ok(make_store(ctx, dir, 100, 9, &SHUFFLED, true, &err));
    sl_assert_ok(sl_acts_open(ctx, dir, true, &s, &err));
    sl_assert_ok(s->next(s, 100, &b, &err));
    sl__perm p = sl__perm_of(100, 42, true);
    for (int i = 0; i < 100; i++) {
        int input = (int)b.x[i * D];
        assert_true(input >= 0 && input < 100 && !seen[input]);
        seen[input] = 1;
        assert_row(&b, i, input, true);
        assert_int_equal(sl__perm_to(&p, (uint64_t)input), i);
        moved += input != i;
    }
    assert_true(moved > 80);
    sl_act_source_free(s);
}

static void assert_same_stores(const char *a, const char *b, int n_files, const char *const *names)
{
    for (int i = 0; i < n_files; i++) {
        char *x, *y;
        size_t n, k;
        sl_assert_ok(sl_file_read(ctx, path_in(a, names[i]), &x, &n, &err));
        sl_assert_ok(sl_file_read(ctx, path_in(b, names[i]), &y, &k, &err));
        assert_int_equal(n, k);
        sl_assert_same_bits(names[i], x, y, n);
        sl_free(ctx, x);
        sl_free(ctx, y);
    }
}

static void same_seed_same_bits(void **state)
{
    (void)state;
    char base[512];
    snprintf(base, sizeof base, "%s", sl_test_dir("acts_seed"));
    static const char *const files[] = { "manifest.json", "mean.safetensors", "acts-00000.safetensors", "acts-00001.safetensors",
                                         "acts-00002.safetensors", "acts-00003.safetensors" };
    sl_acts_opts other = SHUFFLED;
    other.seed = 43;
    sl_assert_ok(make_store(ctx, path_in(base, "a"), 100, 100, &SHUFFLED, true, &err));
    sl_assert_ok(make_store(ctx, path_in(base, "b"), 100, 1, &SHUFFLED, true, &err));
    sl_assert_ok(make_store(ctx, path_in(base, "c"), 100, 1, &other, true, &err));
    assert_int_equal(count_entries(path_in(base, "a")), 6);
    assert_same_stores(path_in(base, "a"), path_in(base, "b"), 6, files);
    sl_act_source *a, *c;
    sl_assert_ok(sl_acts_open(ctx, path_in(base, "a"), false, &a, &err));
    sl_assert_ok(sl_acts_open(ctx, path_in(base, "c"), false, &c, &err));
    assert_string_not_equal(a->info.data_hash, c->info.data_hash);
    sl_act_source_free(a);
    sl_act_source_free(c);
}

static void half_precision(void **state)
{
    (void)state;
    char base[512];
    snprintf(base, sizeof base, "%s", sl_test_dir("acts_half"));
    const float x[4] = { 1.0f / 3, -2.7182818f, 1e-5f, 300.123f };
    for (int k = 0; k < 2; k++) {
        sl_acts_opts o = { .dtype = k ? SL_BF16 : SL_F16 };
        sl_act_info info = { .d_in = 2 };
        sl_acts_writer *w;
        sl_act_source *s;
        sl_act_batch b;
        const char *dir = path_in(base, k ? "bf16" : "f16");
        sl_assert_ok(sl_acts_create(ctx, dir, &info, 2, &o, &w, &err));
        sl_assert_ok(sl_acts_append(w, x, 2, NULL, NULL, NULL, &err));
        sl_assert_ok(sl_acts_finish(w, &err));
        sl_assert_ok(sl_acts_open(ctx, dir, true, &s, &err));
        assert_false(s->info.has_tokens);
        sl_assert_ok(s->next(s, 2, &b, &err));
        for (int i = 0; i < 4; i++)
            assert_true(b.x[i] == (k ? sl_bf16_to_f32(sl_f32_to_bf16(x[i])) : sl_f16_to_f32(sl_f32_to_f16(x[i]))));
        assert_null(b.token);
        assert_null(b.doc);
        assert_null(b.pos);
        sl_act_source_free(s);
    }
}

/* Rows (0, 0) and (2, 4): mean (1, 2), mean |x - mean|^2 = 5, scale sqrt(2 / 5). Far from zero the same deviations give the same scale. */
static void mean_and_scale(void **state)
{
    (void)state;
    char base[512];
    snprintf(base, sizeof base, "%s", sl_test_dir("acts_scale"));
    for (int k = 0; k < 2; k++) {
        const float shift = k ? 65536 : 0, x[4] = { 0 + shift, 0 + shift, 2 + shift, 4 + shift };
        sl_act_info info = { .d_in = 2 };
        sl_acts_writer *w;
        sl_act_source *s;
        const char *dir = path_in(base, k ? "far" : "near");
        sl_assert_ok(sl_acts_create(ctx, dir, &info, 2, &PLAIN, &w, &err));
        sl_assert_ok(sl_acts_append(w, x, 2, NULL, NULL, NULL, &err));
        sl_assert_ok(sl_acts_finish(w, &err));
        sl_assert_ok(sl_acts_open(ctx, dir, false, &s, &err));
        assert_true(s->info.mean[0] == 1 + shift && s->info.mean[1] == 2 + shift);
        sl_assert_close_f64("scale", &s->info.scale, (double[]){ 0.63245553203367587 }, 1, 0, 1e-15);
        sl_act_source_free(s);
    }
}

static void labels_follow_their_rows(void **state)
{
    (void)state;
    const char *dir = path_in(sl_test_dir("acts_labels"), "store");
    const rows *r = make_rows();
    sl_act_info info = make_info();
    char text[100][24];
    const char *labels[100];
    for (int i = 0; i < 100; i++) {
        snprintf(text[i], sizeof text[i], "word%d", i);
        labels[i] = text[i];
    }
    labels[5] = "";
    info.labels = labels;
    info.n_labels = 100;
    sl_acts_writer *w;
    sl_act_source *s;
    sl_act_batch b;
    sl_assert_ok(sl_acts_create(ctx, dir, &info, 100, &SHUFFLED, &w, &err));
    sl_assert_ok(sl_acts_append(w, r->x, 100, NULL, NULL, NULL, &err));
    sl_assert_ok(sl_acts_finish(w, &err));
    sl_assert_ok(sl_acts_open(ctx, dir, true, &s, &err));
    assert_int_equal(s->info.n_labels, 100);
    sl_assert_ok(s->next(s, 100, &b, &err));
    for (int i = 0; i < 100; i++)
        assert_string_equal(s->info.labels[b.row[i]], labels[(int)b.x[i * D]]);
    sl_act_source_free(s);
}

/* Only positions: what an import without tokens gives. */
static void columns_are_independent(void **state)
{
    (void)state;
    const char *dir = path_in(sl_test_dir("acts_columns"), "store");
    const rows *r = make_rows();
    sl_act_info info = make_info();
    sl_acts_writer *w;
    sl_act_source *s;
    sl_act_batch b;
    sl_assert_ok(sl_acts_create(ctx, dir, &info, 10, &SHUFFLED, &w, &err));
    sl_assert_ok(sl_acts_append(w, r->x, 10, NULL, NULL, r->pos, &err));
    sl_assert_ok(sl_acts_finish(w, &err));
    sl_assert_ok(sl_acts_open(ctx, dir, true, &s, &err));
    sl_assert_ok(s->next(s, 10, &b, &err));
    assert_false(s->info.has_tokens);
    assert_null(b.token);
    assert_null(b.doc);
    for (int i = 0; i < 10; i++)
        assert_int_equal(b.pos[i], (int)b.x[i * D] % 4);
    sl_act_source_free(s);
}

/* A shard far larger than one page, read in an odd batch size. */
static void larger_store(void **state)
{
    (void)state;
    const char *dir = path_in(sl_test_dir("acts_large"), "store");
    enum { N = 20000, W = 24 };
    sl_act_info info = { .d_in = W };
    sl_acts_opts o = { .dtype = SL_F32, .shuffle = true, .seed = 5, .shard_rows = 6000 };
    sl_acts_writer *w;
    sl_act_source *s;
    sl_act_batch b;
    float *x = sl_alloc(ctx, N * W * sizeof *x);
    uint8_t *seen = sl_alloc(ctx, N);
    for (int i = 0; i < N * W; i++)
        x[i] = (float)(i / W) + 0.25f * (float)(i % W);
    sl_assert_ok(sl_acts_create(ctx, dir, &info, N, &o, &w, &err));
    sl_assert_ok(sl_acts_append(w, x, N, NULL, NULL, NULL, &err));
    sl_assert_ok(sl_acts_finish(w, &err));
    sl_assert_ok(sl_acts_open(ctx, dir, true, &s, &err));
    int64_t got = 0;
    for (; got + 777 <= N; got += 777) {
        sl_assert_ok(s->next(s, 777, &b, &err));
        for (int i = 0; i < 777; i++) {
            int input = (int)b.x[i * W];
            assert_false(seen[input]);
            seen[input] = 1;
            sl_assert_same_bits("row", b.x + i * W, x + input * W, W * sizeof *x);
        }
    }
    assert_int_equal(got, 777 * 25);
    sl_act_source_free(s);
    sl_free(ctx, x);
    sl_free(ctx, seen);
}

static int start(void **state) { (void)state; ctx = sl_test_ctx(1); return 0; }
static int stop(void **state) { (void)state; sl_ctx_free(ctx); return 0; }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(permutation_is_one), cmocka_unit_test(permutation_is_random), cmocka_unit_test(in_order),
        cmocka_unit_test(no_allocation_while_reading), cmocka_unit_test(shuffled_holds_the_same_rows), cmocka_unit_test(same_seed_same_bits),
        cmocka_unit_test(half_precision), cmocka_unit_test(mean_and_scale), cmocka_unit_test(labels_follow_their_rows),
        cmocka_unit_test(columns_are_independent), cmocka_unit_test(larger_store),
    };
    return cmocka_run_group_tests_name("data_acts", tests, start, stop);
}
