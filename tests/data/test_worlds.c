/* Superposition worlds against their definitions. */
#include "support.h"

#include <saelab/world.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sl_err err;

typedef struct open_world { sl_ctx *ctx; sl_world *w; sl_act_source *src; const sl_world_truth *t; } open_world;

/* The world `name` with options "key=value,key=value", and a source of `split`. */
static open_world begin(int threads, const char *name, const char *set, uint64_t seed, sl_world_split split)
{
    _Alignas(max_align_t) char opts[SL_WORLD_OPTS];
    open_world o = { .ctx = sl_test_ctx(threads) };
    const sl_world_info *info = sl_world_find(name);
    assert_non_null(info);
    sl_opts_default(info->opts, opts);
    char text[256], *item, *rest = text;
    snprintf(text, sizeof text, "%s", set);
    while ((item = strtok_r(rest, ",", &rest)) != NULL) {
        char *value = strchr(item, '=');
        *value = 0;
        sl_assert_ok(sl_opts_set(o.ctx, info->opts, opts, item, value + 1, "test", SL_ARG, &err));
    }
    sl_assert_ok(sl_world_new(o.ctx, name, opts, seed, &o.w, &err));
    sl_assert_ok(sl_world_open(o.w, split, &o.src, &err));
    o.t = sl_world_truth_of(o.w);
    return o;
}

static void end(open_world *o)
{
    sl_act_source_free(o->src);
    sl_world_free(o->w);
    sl_ctx_free(o->ctx);
}

static sl_act_batch rows(open_world *o, int64_t n)
{
    sl_act_batch b;
    sl_assert_ok(o->src->next(o->src, n, &b, &err));
    assert_int_equal(b.n, n);
    return b;
}

/* Value of feature f in row r, 0 when off. */
static double value(const sl_act_batch *b, int64_t r, int32_t f)
{
    for (int64_t i = b->truth->row_ptr[r]; i < b->truth->row_ptr[r + 1]; i++)
        if (b->truth->idx[i] == f)
            return (double)b->truth->val[i];
    return 0;
}

/* How often each feature is on, in n rows. */
static int64_t *counts(open_world *o, int64_t n, double *l0)
{
    int64_t *c = calloc((size_t)o->t->n, sizeof *c);
    sl_act_batch b = rows(o, n);
    for (int64_t i = 0; i < b.truth->row_ptr[n]; i++)
        c[b.truth->idx[i]]++;
    *l0 = (double)b.truth->row_ptr[n] / (double)n;
    return c;
}

/* Features [from, to) fire with probability p: each within 5 standard errors, their chi-square within 6 of its own. */
static void assert_rates(const int64_t *c, const double *p, int64_t from, int64_t to, int64_t n)
{
    double chi = 0;
    for (int64_t f = from; f < to; f++) {
        double want = p[f] * (double)n, sd = sqrt(want * (1 - p[f]));
        if (fabs((double)c[f] - want) > 5 * sd + 1)
            fail_msg("feature %lld fired %lld times, expected %.1f +- %.1f", (long long)f, (long long)c[f], want, sd);
        chi += ((double)c[f] - want) * ((double)c[f] - want) / (sd * sd);
    }
    double k = (double)(to - from);
    if (chi > k + 6 * sqrt(2 * k))
        fail_msg("chi-square %.1f of %.0f features", chi, k);
}

#define ASSERT_NEAR(got, want, within)                                                                                \
    do {                                                                                                              \
        double got_ = (got), want_ = (want);                                                                          \
        if (!(fabs(got_ - want_) <= (within)))                                                                        \
            fail_msg("%s is %.6g, expected %.6g +- %.2g", #got, got_, want_, (double)(within));                       \
    } while (0)

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
        open_world o = begin(2, small[k].name, linear ? small[k].set : "beta=0", 7, SL_WORLD_TRAIN);
        sl_act_batch b = rows(&o, N);
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
        end(&o);
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
        open_world a = begin(1, small[k].name, small[k].set, 3, SL_WORLD_TRAIN), b = begin(3, small[k].name, small[k].set, 3, SL_WORLD_TRAIN);
        sl_act_batch r = rows(&a, 70);
        whole.ptr[0] = cut.ptr[0] = late.ptr[0] = 0;
        keep(&whole, &r, 0, a.t->d);
        for (int64_t at = 0, n = 1; at < 70; at += n, n = at < 30 ? 7 : at < 60 ? 30 : 70 - at) {
            n = n < 70 - at ? n : 70 - at;
            r = rows(&b, n);
            keep(&cut, &r, at, b.t->d);
        }
        assert_same(small[k].name, &whole, &cut, 0);
        sl_assert_ok(b.src->seek(b.src, 40, &err));
        late.ptr[40] = whole.ptr[40];
        r = rows(&b, 30);
        keep(&late, &r, 40, b.t->d);
        assert_int_equal(r.row[0], 40);
        assert_same(small[k].name, &whole, &late, 40);
        sl_assert_same_bits("hash", a.src->info.data_hash, b.src->info.data_hash, sizeof a.src->info.data_hash);
        end(&a);
        end(&b);
    }
}

static void test_seeds_and_splits(void **state)
{
    (void)state;
    for (int k = 0; k < N_SMALL; k++) {
        open_world a = begin(2, small[k].name, small[k].set, 3, SL_WORLD_TRAIN), b = begin(2, small[k].name, small[k].set, 4, SL_WORLD_TRAIN);
        open_world c = begin(2, small[k].name, small[k].set, 3, SL_WORLD_TEST);
        sl_act_batch x = rows(&a, 20), y = rows(&b, 20), z = rows(&c, 20);
        size_t bytes = (size_t)(20 * a.t->d) * sizeof *x.x;
        assert_true(memcmp(x.x, y.x, bytes) != 0);
        assert_true(memcmp(x.x, z.x, bytes) != 0);
        assert_true(memcmp(a.t->dir, b.t->dir, (size_t)(a.t->n * a.t->d) * sizeof(float)) != 0);
        assert_memory_equal(a.t->dir, c.t->dir, (size_t)(a.t->n * a.t->d) * sizeof(float));
        assert_string_not_equal(a.src->info.data_hash, b.src->info.data_hash);
        assert_string_not_equal(a.src->info.data_hash, c.src->info.data_hash);
        end(&a);
        end(&b);
        end(&c);
    }
}

static void test_errors(void **state)
{
    (void)state;
    sl_act_source *src;
    sl_act_batch b;
    sl_world *w;
    open_world o = begin(1, "toy_128", "", 1, SL_WORLD_TRAIN);
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
    end(&o);
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

/* ---- one by one ---- */

static void test_toy_song(void **state)
{
    enum { N = 20000 };
    (void)state;
    open_world o = begin(2, "toy_song", "", 42, SL_WORLD_TRAIN);
    double l0, sum = 0;
    assert_int_equal(o.src->info.n_rows, 50000);
    int64_t *c = counts(&o, N, &l0);
    ASSERT_NEAR(l0, 3, 0);
    assert_rates(c, o.t->p, 0, 32, N);
    sl_act_batch b = rows(&o, N);
    for (int64_t i = 0; i < 3 * N; i++)
        sum += (double)b.truth->val[i];
    ASSERT_NEAR(sum / (3 * N), sqrt(2 / 3.14159265358979), 5 * .603 / sqrt(3. * N)); /* |N(0, 1)| has sd .603 */
    sl_assert_ok(o.src->seek(o.src, 49999, &err));
    b = rows(&o, 2); /* the data set begins anew */
    assert_int_equal(b.row[0], 49999);
    assert_int_equal(b.row[1], 0);
    free(c);
    end(&o);
}

static void test_toy_128(void **state)
{
    enum { N = 40000 };
    (void)state;
    open_world o = begin(2, "toy_128", "", 42, SL_WORLD_TRAIN);
    double l0, sum = 0;
    for (int f = 0; f < 128; f++)
        sum += o.t->p[f];
    ASSERT_NEAR(sum, 5.6, 1e-9);
    int64_t *c = counts(&o, N, &l0);
    ASSERT_NEAR(l0, 5.6, .06);
    assert_rates(c, o.t->p, 0, 128, N);
    assert_int_equal(o.t->n_in_tree, 64);
    sl_act_batch b = rows(&o, 5000);
    for (int64_t r = 0; r < 5000; r++)
        for (int32_t p = 0; p < 16; p++) {
            int on = 0;
            for (int32_t k = 0; k < 3; k++) {
                int32_t child = 16 + 3 * p + k;
                assert_int_equal(o.t->parent[child], p);
                on += value(&b, r, child) > 0;
            }
            assert_true(on == 0 || (on == 1 && value(&b, r, p) > 0));
        }
    for (int64_t i = 0; i < b.truth->row_ptr[5000]; i++)
        assert_true(b.truth->val[i] >= .5f && b.truth->val[i] <= 1.5f);
    free(c);
    end(&o);
}

/* Variance over mean of the firings of a feature in `batch` rows, averaged over features: 1 for independent rows. */
static double dispersion(const sl_act_batch *b, int64_t batch, int64_t n)
{
    int64_t n_batch = b->n / batch, used = 0;
    double *c = calloc((size_t)(n * n_batch), sizeof *c), sum = 0;
    for (int64_t r = 0; r < b->n; r++)
        for (int64_t i = b->truth->row_ptr[r]; i < b->truth->row_ptr[r + 1]; i++)
            c[b->truth->idx[i] * n_batch + r / batch]++;
    for (int64_t f = 0; f < n; f++) {
        double mean = 0, sq = 0;
        for (int64_t k = 0; k < n_batch; k++) {
            mean += c[f * n_batch + k] / (double)n_batch;
            sq += c[f * n_batch + k] * c[f * n_batch + k] / (double)n_batch;
        }
        if (mean < .25) /* too rare to tell */
            continue;
        sum += (sq - mean * mean) / mean;
        used++;
    }
    free(c);
    return sum / (double)used;
}

static void test_toy_sharkey(void **state)
{
    enum { N = 20000 };
    (void)state;
    open_world o = begin(2, "toy_sharkey", "", 42, SL_WORLD_TRAIN);
    double l0;
    int64_t *c = counts(&o, N, &l0);
    ASSERT_NEAR(l0, .971, .03); /* not the nominal 5 */
    ASSERT_NEAR(o.t->p[0], 5. / 512, 1e-12);
    assert_rates(c, o.t->p, 0, 512, N);
    sl_act_batch b = rows(&o, 128 * 128);
    ASSERT_NEAR(dispersion(&b, 128, 512), 1, .1);
    free(c);
    end(&o);

    o = begin(2, "toy_sharkey", "n=64,d=16,l0=3,batch=128,variant=correlated", 42, SL_WORLD_TRAIN);
    c = counts(&o, 128 * 128, &l0);
    ASSERT_NEAR(l0, 3, .15); /* 3, and the features that empty rows get */
    sl_assert_ok(o.src->seek(o.src, 0, &err));
    b = rows(&o, 128 * 128);
    for (int64_t r = 0; r < b.n; r++)
        assert_true(b.truth->row_ptr[r + 1] > b.truth->row_ptr[r]);
    double shared = dispersion(&b, 128, 64); /* one draw a batch: what fires in it fires often */
    if (shared < 2)
        fail_msg("dispersion over batches %.2f", shared);
    free(c);
    end(&o);
}

static void test_toy_composed(void **state)
{
    enum { N = 4000 };
    (void)state;
    open_world o = begin(2, "toy_composed", "", 42, SL_WORLD_TRAIN);
    sl_act_batch b = rows(&o, N);
    int pair[4] = { 0 };
    for (int64_t r = 0; r < N; r++) {
        int64_t at = b.truth->row_ptr[r];
        assert_int_equal(b.truth->row_ptr[r + 1] - at, 2);
        assert_true(b.truth->idx[at] < 2 && b.truth->idx[at + 1] >= 2);
        assert_true(b.truth->val[at] == b.truth->val[at + 1]);
        pair[2 * b.truth->idx[at] + b.truth->idx[at + 1] - 2]++;
    }
    for (int k = 0; k < 4; k++)
        ASSERT_NEAR(pair[k], N / 4, 5 * sqrt(N * 3 / 16.));
    assert_int_equal(o.t->n_sets, 4);
    end(&o);

    o = begin(2, "toy_composed", "amplitude=independent,one_hot=.75", 42, SL_WORLD_TRAIN);
    b = rows(&o, N);
    int single = 0, equal = 0;
    for (int64_t r = 0; r < N; r++) {
        int64_t at = b.truth->row_ptr[r], n = b.truth->row_ptr[r + 1] - at;
        single += n == 1;
        equal += n == 2 && b.truth->val[at] == b.truth->val[at + 1];
    }
    ASSERT_NEAR(single, .75 * N, 5 * sqrt(N * .1875));
    assert_int_equal(equal, 0);
    end(&o);
}

static void test_comp_ood(void **state)
{
    enum { N = 2500 };
    (void)state;
    const sl_world_split splits[] = { SL_WORLD_TRAIN, SL_WORLD_TEST, SL_WORLD_OOD, SL_WORLD_ALL };
    for (int s = 0; s < 4; s++) {
        open_world o = begin(2, "comp_ood", "", 5, splits[s]);
        sl_act_batch b = rows(&o, N);
        int with_0 = 0, withheld = 0;
        assert_int_equal(o.t->d, 47);
        assert_int_equal(o.src->info.n_rows, N);
        for (int64_t r = 0; r < N; r++) {
            int second = 0;
            assert_int_equal(b.truth->row_ptr[r + 1] - b.truth->row_ptr[r], 10);
            for (int32_t f = 50; f < 100; f++)
                second += value(&b, r, f) > 0;
            bool zero = value(&b, r, 0) > 0;
            with_0 += zero;
            withheld += zero && second > 0;
            if (splits[s] == SL_WORLD_OOD)
                assert_int_equal(second, 9);
        }
        if (splits[s] == SL_WORLD_TRAIN || splits[s] == SL_WORLD_TEST) {
            assert_int_equal(withheld, 0);
            ASSERT_NEAR(with_0, N / 2, 5 * sqrt(N) / 2);
        } else
            assert_int_equal(withheld > N / 20, 1);
        end(&o);
    }
    open_world o = begin(2, "comp_ood", "rows=0", 5, SL_WORLD_TRAIN);
    double l0;
    int64_t *c = counts(&o, 30000, &l0);
    assert_rates(c, o.t->p, 0, 100, 30000);
    assert_int_equal(o.t->n_sets, 50);
    assert_true(o.t->set[0].withheld && o.t->set[0].feature[0] == 0 && o.t->set[0].feature[1] == 50);
    free(c);
    end(&o);
}

static bool complete(const sl_act_batch *b, int64_t r, const sl_world_set *s)
{
    for (int32_t k = 0; k < s->order; k++)
        if (!(value(b, r, s->feature[k]) > 0))
            return false;
    return true;
}

static void test_synth_comp(void **state)
{
    enum { N = 6000 };
    (void)state;
    for (sl_world_split s = SL_WORLD_TRAIN; s <= SL_WORLD_ALL; s++) {
        open_world o = begin(2, "synth_comp", "", 5, s);
        sl_act_batch b = rows(&o, N);
        int64_t orders[5] = { 0 }, withheld = 0, planted = 0;
        assert_int_equal(o.t->n_sets, 88);
        for (int64_t t = 0; t < 88; t++) {
            orders[o.t->set[t].order]++;
            withheld += o.t->set[t].withheld;
            if (o.t->set[t].order == 2)
                assert_true(o.t->p[o.t->set[t].feature[0]] * o.t->p[o.t->set[t].feature[1]] >= 1e-3);
        }
        assert_true(orders[2] == 64 && orders[3] == 16 && orders[4] == 8 && withheld == 13);
        for (int64_t r = 0; r < N; r++) {
            int hidden = 0;
            for (int64_t t = 0; t < 88; t++) {
                bool all = complete(&b, r, &o.t->set[t]);
                hidden += all && o.t->set[t].withheld;
                planted += all && o.t->set[t].order == 4;
            }
            assert_true(s == SL_WORLD_ALL || (hidden > 0) == (s == SL_WORLD_OOD));
        }
        ASSERT_NEAR((double)planted, 8 * 2e-3 * N, 5 * sqrt(8 * 2e-3 * N) + 2); /* one in 10^6 rows without planting */
        end(&o);
    }
}

static void test_compositions_add(void **state)
{
    (void)state;
    open_world zero = begin(2, "synth_comp", "beta=0", 5, SL_WORLD_ALL), one = begin(2, "synth_comp", "beta=.3,form=min", 5, SL_WORLD_ALL);
    sl_act_batch a = rows(&zero, 2000), b = rows(&one, 2000);
    int64_t d = one.t->d, with = 0;
    for (int64_t r = 0; r < 2000; r++)
        for (int64_t j = 0; j < d; j++) {
            double want = (double)a.x[r * d + j];
            for (int64_t t = 0; t < one.t->n_sets; t++) {
                const sl_world_set *s = &one.t->set[t];
                double least = INFINITY;
                for (int32_t k = 0; k < s->order; k++)
                    least = fmin(least, value(&b, r, s->feature[k]));
                want += least > 0 ? .3 * least * (double)s->dir[j] : 0;
                with += least > 0;
            }
            ASSERT_NEAR((double)b.x[r * d + j], want, 1e-4);
        }
    assert_true(with / d > 300);
    end(&zero);
    end(&one);
}

static void test_trees(void **state)
{
    enum { N = 20000 };
    (void)state;
    open_world o = begin(2, "synth_hier", "", 42, SL_WORLD_TRAIN);
    double l0;
    int64_t *c = counts(&o, N, &l0);
    ASSERT_NEAR(l0, 8, .15);
    assert_int_equal(o.t->n_in_tree, 672);
    assert_rates(c, o.t->p, 0, 32, N);    /* roots */
    assert_rates(c, o.t->p, 672, 768, N); /* free */
    free(c);
    sl_act_batch b = rows(&o, 3000);
    for (int64_t r = 0; r < b.n; r++) {
        int32_t children[768] = { 0 };
        for (int64_t i = b.truth->row_ptr[r]; i < b.truth->row_ptr[r + 1]; i++) {
            int32_t p = o.t->parent[b.truth->idx[i]];
            assert_true(b.truth->val[i] >= .5f && b.truth->val[i] <= 1.5f);
            if (p >= 0) {
                assert_true(value(&b, r, p) > 0);
                assert_int_equal(++children[p], 1);
            }
        }
    }
    end(&o);

    o = begin(2, "synth1k", "ortho_steps=0", 42, SL_WORLD_TRAIN);
    c = counts(&o, N, &l0);
    ASSERT_NEAR(l0, 8, .25);
    assert_int_equal(o.t->n_in_tree, 336);
    double p[1024]; /* correlated through e, but each fires with its own p; a value below 0, which is off, is rare but not impossible */
    for (int f = 0; f < 1024; f++)
        p[f] = o.t->p[f] * .5 * erfc(-o.t->mean[f] / o.t->std[f] / sqrt(2));
    assert_rates(c, p, 0, 16, N);
    assert_rates(c, p, 336, 1024, N);
    free(c);
    end(&o);
}

/* Pairs of free features fire together as a pair of correlated normals does: a rank of one, so large that it shows. */
static void test_correlations(void **state)
{
    enum { N = 40000, F = 40 };
    (void)state;
    open_world o = begin(2, "synth1k", "n=40,d=8,roots=0,rank=1,correlation=10,p_min=.2,p_max=.21,std_mean=0,std_std=0,ortho_steps=0", 42, SL_WORLD_TRAIN);
    sl_act_batch b = rows(&o, N);
    int64_t both[F][F] = { { 0 } };
    for (int64_t r = 0; r < N; r++)
        for (int64_t i = b.truth->row_ptr[r]; i < b.truth->row_ptr[r + 1]; i++)
            for (int64_t j = i + 1; j < b.truth->row_ptr[r + 1]; j++)
                both[b.truth->idx[i]][b.truth->idx[j]]++;
    double least = 1, most = 0;
    for (int i = 0; i < F; i++)
        for (int j = i + 1; j < F; j++) {
            double share = (double)both[i][j] / N;
            least = fmin(least, share);
            most = fmax(most, share);
        }
    /* the factor is scaled so that the largest |L| is sqrt(.99): pairs from nearly opposed (0) over independent (.04) to nearly equal (.2) */
    if (!(least < .025 && most > .1 && most <= .21))
        fail_msg("pairs fire together with probability %.4f to %.4f", least, most);
    end(&o);
}

static void test_synth16k(void **state)
{
    enum { N = 3000, SAMPLE = 20 };
    (void)state;
    open_world o = begin(2, "synth16k", "ortho_steps=0", 42, SL_WORLD_TRAIN);
    double l0, sum = 0, bias = 0;
    assert_int_equal(o.t->n, 16384);
    assert_int_equal(o.t->d, 768);
    assert_int_equal(o.t->n_in_tree, 10880);
    ASSERT_NEAR(o.t->p[0], .4, 1e-12);
    ASSERT_NEAR(o.t->p[16383], 5e-4, 1e-12);
    for (int j = 0; j < 768; j++)
        bias += (double)o.t->bias[j] * (double)o.t->bias[j];
    ASSERT_NEAR(sqrt(bias), .5, 1e-5);
    int64_t *c = counts(&o, N, &l0), top = 0;
    ASSERT_NEAR(l0, 34.3, 1);
    for (int f = 0; f < 4096; f++)
        top += c[f];
    ASSERT_NEAR((double)top / N, 25, 1);
    ASSERT_NEAR((double)c[0] / N, .4, 5 * sqrt(.24 / N));
    for (int i = 0; i < SAMPLE; i++) { /* mean over a sample of features of the largest |cos| with any other */
        const float *f = o.t->dir + (int64_t)i * 800 * 768;
        double best = 0;
        for (int64_t g = 0; g < 16384; g++) {
            float dot = 0;
            for (int j = 0; j < 768; j++)
                dot += f[j] * o.t->dir[g * 768 + j];
            if (g != (int64_t)i * 800)
                best = fmax(best, fabs((double)dot));
        }
        sum += best;
    }
    ASSERT_NEAR(sum / SAMPLE, .15, .01);
    free(c);
    end(&o);
}

/* The same draws with and without scaling: a child's value is multiplied by its parent's over the parent's mean. */
static void test_scaled_children(void **state)
{
    (void)state;
    open_world a = begin(2, "synth1k", "ortho_steps=0", 9, SL_WORLD_TRAIN), b = begin(2, "synth1k", "ortho_steps=0,scale_children_by_parent=true", 9, SL_WORLD_TRAIN);
    sl_act_batch x = rows(&a, 2000), y = rows(&b, 2000);
    int64_t nnz = x.truth->row_ptr[2000], scaled = 0;
    assert_int_equal(nnz, y.truth->row_ptr[2000]);
    for (int64_t r = 0; r < 2000; r++)
        for (int64_t i = x.truth->row_ptr[r]; i < x.truth->row_ptr[r + 1]; i++) {
            int32_t f = x.truth->idx[i], p = a.t->parent[f];
            assert_int_equal(f, y.truth->idx[i]);
            double factor = p >= 0 ? value(&y, r, p) / a.t->mean[p] : 1;
            ASSERT_NEAR((double)y.truth->val[i], (double)x.truth->val[i] * factor, 1e-4 * (double)x.truth->val[i] * factor + 1e-6);
            scaled += p >= 0 && fabs(factor - 1) > .01;
        }
    assert_true(scaled > 100);
    end(&a);
    end(&b);
}

/* sum_{i != j} cos^2 of a dictionary. */
static double overlap(const sl_world_truth *t)
{
    double sum = 0;
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t j = 0; j < i; j++) {
            double dot = 0;
            for (int64_t k = 0; k < t->d; k++)
                dot += (double)t->dir[i * t->d + k] * (double)t->dir[j * t->d + k];
            sum += 2 * dot * dot;
        }
    return sum;
}

static void test_orthogonalized(void **state)
{
    (void)state;
    open_world a = begin(2, "synth1k", "n=200,d=50,roots=0,ortho_steps=0", 9, SL_WORLD_TRAIN), b = begin(2, "synth1k", "n=200,d=50,roots=0,ortho_steps=100", 9, SL_WORLD_TRAIN);
    double before = overlap(a.t), after = overlap(b.t), tight = 200. * 200 / 50 - 200; /* no 200 directions in 50 dimensions do better (Welch 1974) */
    if (!(after < tight + .5 * (before - tight) && after >= tight - 1e-6))
        fail_msg("sum of squared cosines %.2f before, %.2f after, bound %.2f", before, after, tight);
    end(&a);
    end(&b);
}

/* As many dimensions as features, all always on: the model learns the identity, up to a rotation. */
static void test_toy_elhage(void **state)
{
    (void)state;
    open_world o = begin(2, "toy_elhage", "n=2,d=2,sparsity=0,importance=1,steps=1500,batch=64,lr=.01", 42, SL_WORLD_TRAIN);
    double dot = (double)o.t->dir[0] * (double)o.t->dir[2] + (double)o.t->dir[1] * (double)o.t->dir[3], most[2] = { 0, 0 };
    ASSERT_NEAR(dot, 0, .1);
    sl_act_batch b = rows(&o, 2000);
    assert_int_equal(b.truth->row_ptr[2000], 4000);
    for (int64_t i = 0; i < 4000; i++)
        most[b.truth->idx[i]] = fmax(most[b.truth->idx[i]], (double)b.truth->val[i]);
    ASSERT_NEAR(most[0], 1, .06); /* |W_i|: the code of x_i = 1 */
    ASSERT_NEAR(most[1], 1, .06);
    end(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registry),      cmocka_unit_test(test_codes_make_rows), cmocka_unit_test(test_rows_depend_on_nothing_else),
        cmocka_unit_test(test_seeds_and_splits), cmocka_unit_test(test_errors),       cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_without_memory), cmocka_unit_test(test_forms),          cmocka_unit_test(test_toy_song),
        cmocka_unit_test(test_toy_128),       cmocka_unit_test(test_toy_sharkey),     cmocka_unit_test(test_toy_composed),
        cmocka_unit_test(test_comp_ood),      cmocka_unit_test(test_synth_comp),      cmocka_unit_test(test_compositions_add),
        cmocka_unit_test(test_trees),         cmocka_unit_test(test_correlations),    cmocka_unit_test(test_synth16k),
        cmocka_unit_test(test_scaled_children), cmocka_unit_test(test_orthogonalized), cmocka_unit_test(test_toy_elhage),
    };
    return cmocka_run_group_tests_name("worlds", tests, NULL, NULL);
}
