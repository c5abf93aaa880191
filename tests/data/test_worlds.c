/* What every superposition world promises. */
#include "worlds.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sl_err err;

/* Every superposition world, small enough for a test. */
static const struct { const char *name, *set; } small[] = {
    { "toy_song", "" },     { "toy_sharkey", "n=64,d=32" }, { "toy_sharkey", "n=64,d=32,variant=correlated,batch=16" }, { "toy_elhage", "steps=20,batch=32" },
    { "toy_composed", "" }, { "comp_ood", "" },             { "toy_128", "" },  { "synth1k", "ortho_steps=2" },  { "synth_hier", "" },
    { "synth16k", "n=2048,d=64,ortho_steps=1" },            { "synth_comp", "sigma=0.1" },
};
enum { N_SMALL = sizeof small / sizeof *small };

/* ---- what every world promises ---- */

static void test_registry(void **state)
{
    (void)state;
    int n = 0;
    while (sl_world_at(n)) {
        assert_ptr_equal(sl_world_find(sl_world_at(n)->name), sl_world_at(n));
        assert_true(sl_world_at(n)->opts_size <= SL_WORLD_OPTS);
        n++;
    }
    assert_int_equal(n, 14);
    assert_null(sl_world_at(-1));
    assert_null(sl_world_at(n));
    assert_ptr_equal(sl_world_find("comp-ood"), sl_world_find("comp_ood"));
    assert_null(sl_world_find("nonesuch"));
    assert_null(sl_world_find(NULL));
}

static void test_codes_make_rows(void **state)
{
    enum { N = 50 };
    (void)state;
    for (int k = 0; k < N_SMALL; k++) {
        bool linear = strcmp(small[k].name, "synth_comp") != 0;
        open_world o = begin_world(2, small[k].name, linear ? small[k].set : "beta=0", 7, SL_WORLD_TRAIN);
        sl_act_batch b = world_rows(&o, N);
        assert_int_equal(o.src->info.d_in, o.t->d);
        for (int64_t f = 0; f < o.t->n; f++) {
            double sq = 0;
            for (int64_t j = 0; j < o.t->d; j++)
                sq += (double)o.t->dir[f * o.t->d + j] * (double)o.t->dir[f * o.t->d + j];
            ASSERT_NEAR(sq, 1, 1e-5);
        }
        for (int64_t r = 0; r < N; r++)
            for (int64_t j = 0; j < o.t->d; j++) {
                double x = o.t->bias ? (double)o.t->bias[j] : 0;
                for (int64_t i = b.truth->row_ptr[r]; i < b.truth->row_ptr[r + 1]; i++) {
                    assert_true(i == b.truth->row_ptr[r] || b.truth->idx[i] > b.truth->idx[i - 1]);
                    assert_true(b.truth->val[i] > 0);
                    x += (double)b.truth->val[i] * (double)o.t->dir[b.truth->idx[i] * o.t->d + j];
                }
                ASSERT_NEAR((double)b.x[r * o.t->d + j], x, 1e-4 * (1 + fabs(x)));
            }
        end_world(&o);
    }
}

typedef struct copy { float x[70 * 256]; int64_t ptr[71]; int32_t idx[70 * 600]; float val[70 * 600]; int64_t d; } copy;

static void keep(copy *c, const sl_act_batch *b, int64_t at, int64_t d)
{
    int64_t n = b->truth->row_ptr[b->n], base = c->ptr[at];
    memcpy(c->x + at * d, b->x, (size_t)(b->n * d) * sizeof *c->x);
    memcpy(c->idx + base, b->truth->idx, (size_t)n * sizeof *c->idx);
    memcpy(c->val + base, b->truth->val, (size_t)n * sizeof *c->val);
    for (int64_t i = 0; i <= b->n; i++)
        c->ptr[at + i] = base + b->truth->row_ptr[i];
    c->d = d;
}

static void assert_same(const char *what, const copy *a, const copy *b, int64_t from)
{
    sl_assert_same_bits(what, a->x + from * a->d, b->x + from * a->d, (size_t)((70 - from) * a->d) * sizeof *a->x);
    sl_assert_same_bits(what, a->idx + a->ptr[from], b->idx + b->ptr[from], (size_t)(a->ptr[70] - a->ptr[from]) * sizeof *a->idx);
    sl_assert_same_bits(what, a->val + a->ptr[from], b->val + b->ptr[from], (size_t)(a->ptr[70] - a->ptr[from]) * sizeof *a->val);
}

/* The same bits for any number of threads, any cut into batches, and from any row on. */
static void test_rows_depend_on_nothing_else(void **state)
{
    static copy whole, cut, late;
    (void)state;
    for (int k = 0; k < N_SMALL; k++) {
        open_world a = begin_world(1, small[k].name, small[k].set, 3, SL_WORLD_TRAIN), b = begin_world(3, small[k].name, small[k].set, 3, SL_WORLD_TRAIN);
        sl_act_batch r = world_rows(&a, 70);
        whole.ptr[0] = cut.ptr[0] = late.ptr[0] = 0;
        keep(&whole, &r, 0, a.t->d);
        for (int64_t at = 0, n = 1; at < 70; at += n, n = at < 30 ? 7 : at < 60 ? 30 : 70 - at) {
            n = n < 70 - at ? n : 70 - at;
            r = world_rows(&b, n);
            keep(&cut, &r, at, b.t->d);
        }
        assert_same(small[k].name, &whole, &cut, 0);
        sl_assert_ok(b.src->seek(b.src, 40, &err));
        late.ptr[40] = whole.ptr[40];
        r = world_rows(&b, 30);
        keep(&late, &r, 40, b.t->d);
        assert_int_equal(r.row[0], 40);
        assert_same(small[k].name, &whole, &late, 40);
        sl_assert_same_bits("hash", a.src->info.data_hash, b.src->info.data_hash, sizeof a.src->info.data_hash);
        end_world(&a);
        end_world(&b);
    }
}

static void test_seeds_and_splits(void **state)
{
    (void)state;
    for (int k = 0; k < N_SMALL; k++) {
        open_world a = begin_world(2, small[k].name, small[k].set, 3, SL_WORLD_TRAIN), b = begin_world(2, small[k].name, small[k].set, 4, SL_WORLD_TRAIN);
        open_world c = begin_world(2, small[k].name, small[k].set, 3, SL_WORLD_TEST);
        sl_act_batch x = world_rows(&a, 20), y = world_rows(&b, 20), z = world_rows(&c, 20);
        size_t bytes = (size_t)(20 * a.t->d) * sizeof *x.x;
        assert_true(memcmp(x.x, y.x, bytes) != 0);
        assert_true(memcmp(x.x, z.x, bytes) != 0);
        assert_true(memcmp(a.t->dir, b.t->dir, (size_t)(a.t->n * a.t->d) * sizeof(float)) != 0);
        assert_memory_equal(a.t->dir, c.t->dir, (size_t)(a.t->n * a.t->d) * sizeof(float));
        assert_string_not_equal(a.src->info.data_hash, b.src->info.data_hash);
        assert_string_not_equal(a.src->info.data_hash, c.src->info.data_hash);
        end_world(&a);
        end_world(&b);
        end_world(&c);
    }
}

static void test_errors(void **state)
{
    (void)state;
    sl_act_source *src;
    sl_act_batch b;
    sl_world *w;
    open_world o = begin_world(1, "toy_128", "", 1, SL_WORLD_TRAIN);
    sl_assert_fails(o.src->next(o.src, 0, &b, &err), SL_ARG, "at least one row");
    sl_assert_fails(o.src->seek(o.src, -1, &err), SL_ARG, "from 0");
    sl_assert_fails(sl_world_open(o.w, SL_WORLD_OOD, &src, &err), SL_ARG, "nothing is withheld");
    assert_null(src);
    sl_assert_fails(sl_world_new(o.ctx, "toy_129", NULL, 1, &w, &err), SL_ARG, "toy_128");
    assert_null(w);
    sl_assert_fails(sl_world_new(o.ctx, "zzzzzzzz", NULL, 1, &w, &err), SL_ARG, "world list");
    sl_assert_ok(sl_world_new(o.ctx, "arithmetic", NULL, 1, &w, &err));
    sl_assert_fails(sl_world_open(w, SL_WORLD_TRAIN, &src, &err), SL_ARG, "a task has activations only in a model");
    sl_world_free(w);
    sl_world_free(NULL);
    end_world(&o);
}

static void test_bad_options(void **state)
{
    static const struct { const char *world, *key, *text, *says; } bad[] = {
        { "toy_song", "k", "33", "at most n" },       { "comp_ood", "k", "60", "at most n / 2" }, { "toy_128", "l0", "1", "free features" },
        { "synth1k", "p_min", ".9", "at most p_max" }, { "synth1k", "roots", "2000", "at most n" }, { "synth_hier", "low", "2", "at most high" },
        { "synth_comp", "l0", "1e-3", "no room" },     { "dyck2", "length", "31", "even" },
    };
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        _Alignas(max_align_t) char opts[SL_WORLD_OPTS];
        const sl_world_info *info = sl_world_find(bad[i].world);
        sl_world *w;
        sl_opts_default(info->opts, opts);
        sl_assert_ok(sl_opts_set(ctx, info->opts, opts, bad[i].key, bad[i].text, "test", SL_ARG, &err));
        sl_assert_fails(sl_world_new(ctx, bad[i].world, opts, 1, &w, &err), SL_ARG, bad[i].says);
        assert_null(w);
    }
    _Alignas(max_align_t) char opts[SL_WORLD_OPTS];
    const sl_world_info *info = sl_world_find("toy_song");
    sl_world *w;
    sl_opts_default(info->opts, opts);
    memcpy(opts + sl_opts_find(info->opts, "n")->offset, &(int64_t){ -5 }, sizeof(int64_t)); /* a program's struct, past no parser */
    sl_assert_fails(sl_world_new(ctx, "toy_song", opts, 1, &w, &err), SL_ARG, "n: toy_song: -5");
    sl_ctx_free(ctx);
}

static void test_without_memory(void **state)
{
    static const char *const names[] = { "toy_song", "toy_elhage", "toy_128", "synth_hier", "synth_comp", "comp_ood", "arithmetic", "grammar" };
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (int64_t at = 1;; at++) {
            sl_ctx *ctx = sl_ctx_new(&(sl_ctx_opts){ .n_threads = 1, .fail_alloc_at = at });
            _Alignas(max_align_t) char opts[SL_WORLD_OPTS];
            const sl_world_info *info = sl_world_find(names[i]);
            sl_world *w = NULL;
            sl_act_source *src = NULL;
            sl_act_batch b;
            if (!ctx)
                continue;
            sl_opts_default(info->opts, opts);
            if (i == 1)
                memcpy(opts + sl_opts_find(info->opts, "steps")->offset, &(int64_t){ 2 }, sizeof(int64_t));
            sl_status st = sl_world_new(ctx, names[i], opts, 1, &w, &err);
            if (st == SL_OK && info->kind == SL_WORLD_SUPERPOSITION)
                st = sl_world_open(w, SL_WORLD_TRAIN, &src, &err);
            if (st == SL_OK && src)
                st = src->next(src, 300, &b, &err);
            sl_act_source_free(src);
            sl_world_free(w);
            sl_ctx_free(ctx);
            if (st == SL_OK)
                break;
            assert_int_equal(st, SL_MEM);
            assert_true(at < 1000);
        }
}

static void test_forms(void **state)
{
    (void)state;
    const float v[] = { 2, .5f, 3 };
    ASSERT_NEAR(sl_world_form_value(SL_FORM_PRODUCT, v, 3), 3, 1e-12);
    ASSERT_NEAR(sl_world_form_value(SL_FORM_MIN, v, 3), .5, 1e-12);
    ASSERT_NEAR(sl_world_form_value(SL_FORM_INDICATOR, v, 3), 1, 0);
    ASSERT_NEAR(sl_world_form_value(SL_FORM_PRODUCT, v, 2), 1, 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registry), cmocka_unit_test(test_codes_make_rows), cmocka_unit_test(test_rows_depend_on_nothing_else),
        cmocka_unit_test(test_seeds_and_splits), cmocka_unit_test(test_errors), cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_without_memory), cmocka_unit_test(test_forms),
    };
    return cmocka_run_group_tests_name("worlds", tests, NULL, NULL);
}
