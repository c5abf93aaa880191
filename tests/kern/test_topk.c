/* encode_topk of every layer against ref, bit for bit, where a fast one can go wrong: features over several packed parts, passes over
 * d, ties, values that only rounding tells apart, ranges where squares over- and underflow, and numbers that are not finite. */
#include "support.h"

#include "kern/kern.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape { int64_t B, F, d, k; } shape;

typedef struct data {
    shape s;
    float *x, *w, *b; /* [B, d], [F, d], [F] */
    uint8_t *skip;    /* [F] */
} data;

static float *room(int64_t n)
{
    float *p = malloc((size_t)n * sizeof *p);
    assert_non_null(p);
    return p;
}

static void fill(float *p, int64_t n, uint64_t stream)
{
    sl_rng r = sl_rng_at(7, SL_RNG_TEST, 0, stream);
    for (int64_t i = 0; i < n; i++)
        p[i] = (float)(2 * sl_rng_uniform(&r) - 1);
}

static data data_new(shape s)
{
    data t = { s, room(s.B * s.d), room(s.F * s.d), room(s.F), malloc((size_t)s.F) };
    assert_non_null(t.skip);
    fill(t.x, s.B * s.d, 1);
    fill(t.w, s.F * s.d, 2);
    fill(t.b, s.F, 3);
    for (int64_t f = 0; f < s.F; f++)
        t.skip[f] = f % 7 == 3;
    return t;
}

static void data_free(data *t)
{
    free(t->x);
    free(t->w);
    free(t->b);
    free(t->skip);
}

static sl_csr code_new(shape s)
{
    sl_csr z = { .n_rows = s.B, .n_cols = s.F, .capacity = s.B * s.k };
    z.row_ptr = malloc((size_t)(s.B + 1) * sizeof *z.row_ptr);
    z.idx = malloc((size_t)z.capacity * sizeof *z.idx);
    z.val = malloc((size_t)z.capacity * sizeof(float));
    assert_true(z.row_ptr && z.idx && z.val);
    return z;
}

static void code_free(sl_csr *z)
{
    free(z->row_ptr);
    free(z->idx);
    free(z->val);
}

static void encode(const sl_kern *k, const data *t, bool with_skip, sl_csr *z)
{
    sl_tensor x = sl_tensor_of(SL_F32, t->x, 2, t->s.B, t->s.d), W = sl_tensor_of(SL_F32, t->w, 2, t->s.F, t->s.d);
    sl_tensor b = sl_tensor_of(SL_F32, t->b, 1, t->s.F), skip = sl_tensor_of(SL_U8, t->skip, 1, t->s.F);
    k->encode_topk(k, &x, &W, &b, with_skip ? &skip : NULL, t->s.k, z);
    assert_false(sl_kern_failed(k));
}

static void same_code(const char *what, const sl_csr *got, const sl_csr *want)
{
    for (int64_t r = 0; r <= want->n_rows; r++)
        if (got->row_ptr[r] != want->row_ptr[r])
            fail_msg("%s: row_ptr[%lld] is %lld, not %lld", what, (long long)r, (long long)got->row_ptr[r], (long long)want->row_ptr[r]);
    for (int64_t e = 0; e < want->row_ptr[want->n_rows]; e++)
        if (got->idx[e] != want->idx[e])
            fail_msg("%s: idx[%lld] is %d, not %d", what, (long long)e, (int)got->idx[e], (int)want->idx[e]);
    assert_memory_equal(got->val, want->val, (size_t)want->row_ptr[want->n_rows] * sizeof(float));
}

/* A table and how it finds candidates. */
typedef struct way { const char *layers; sl_screen screen; } way;
static way ways[] = { { "ref+simd", SL_SCREEN_OFF }, { "ref+simd", SL_SCREEN_SIMD }, { "ref+simd+onednn", SL_SCREEN_ONEDNN }, { "ref+simd+onednn", SL_SCREEN_AUTO } };

/* Which of them a run tests. */
typedef struct some { size_t from, to; } some;

/* NULL: a CPU without what it takes */
static const sl_kern *open_way(sl_ctx *ctx, const way *w)
{
    const sl_kern *k;
    sl_err err;
    sl_assert_ok(sl_kern_named(ctx, w->layers, &k, &err));
    return sl_kern_set_screen(k, w->screen) ? k : NULL;
}

/* The ways with 1 and 3 threads against ref, without and with skipped features; returns the entries without. */
static int64_t compare(const char *what, const some *tested, const data *t)
{
    const sl_kern *ref;
    sl_err err;
    sl_ctx *ctx[] = { sl_test_ctx(1), sl_test_ctx(3) };
    sl_csr want = code_new(t->s), got = code_new(t->s);
    sl_assert_ok(sl_kern_named(ctx[1], "ref", &ref, &err));
    for (int with_skip = 1; with_skip >= 0; with_skip--) {
        encode(ref, t, with_skip, &want);
        for (size_t w = tested->from; w < tested->to; w++)
            for (int threads = 0; threads < 2; threads++) {
                const sl_kern *k = open_way(ctx[threads], &ways[w]);
                char name[128];
                snprintf(name, sizeof name, "%s, way %zu", what, w);
                if (!k)
                    continue;
                encode(k, t, with_skip, &got);
                same_code(name, &got, &want);
            }
    }
    int64_t entries = want.row_ptr[t->s.B];
    sl_ctx_free(ctx[0]);
    sl_ctx_free(ctx[1]);
    code_free(&want);
    code_free(&got);
    return entries;
}

/* ---- what can go wrong ---- */

static void large_shapes(void **state)
{
    /* several packed parts; several passes over d; k beyond the positive ones; more proposals than are held at once */
    static const shape shapes[] = { { 37, 5003, 301, 32 }, { 13, 1031, 1000, 8 }, { 101, 259, 385, 200 }, { 850, 5003, 1, 600 }, { 3, 70001, 3, 1 } };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        data t = data_new(shapes[i]);
        char what[64];
        snprintf(what, sizeof what, "shape %zu", i);
        assert_true(compare(what, *state, &t) >= t.s.B);
        data_free(&t);
    }
}

/* Small integers: exact in every order of summation, and most values occur many times. */
static void ties(void **state)
{
    data t = data_new((shape){ 50, 2003, 12, 40 });
    for (int64_t i = 0; i < t.s.B * t.s.d; i++)
        t.x[i] = roundf(t.x[i]);
    for (int64_t i = 0; i < t.s.F * t.s.d; i++)
        t.w[i] = roundf(t.w[i]);
    for (int64_t f = 0; f < t.s.F; f++)
        t.b[f] = roundf(t.b[f]);
    assert_int_equal(compare("ties", *state, &t), t.s.B * t.s.k);
    data_free(&t);
}

/* x is 1 and features are rotations of one vector: the same sum, 81, in another order, so that only rounding tells them apart, and a
 * product that rounds otherwise ranks them otherwise. every: of which features; bias 2^24, whose neighbours are 2 apart, turns what
 * happens to be above or below 81 into a difference of 2. */
static void rounding(void **state)
{
    static const struct { int64_t every; float bias; } cases[] = { { 1, 0 }, { 49, 0 }, { 49, 16777216 } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        data t = data_new((shape){ 9, 4001, 800, 10 });
        double sum = 0;
        for (int64_t i = 0; i < t.s.B * t.s.d; i++)
            t.x[i] = 1;
        for (int64_t f = 0; f < t.s.F; f++)
            t.b[f] = cases[c].bias;
        for (int64_t i = 1; i < t.s.d; i++) {
            t.w[i] += .1f;
            sum += (double)t.w[i];
        }
        t.w[0] = (float)(81 - sum);
        for (int64_t f = cases[c].every; f < t.s.F; f += cases[c].every)
            for (int64_t i = 0; i < t.s.d; i++)
                t.w[f * t.s.d + i] = t.w[(i + f) % t.s.d];
        assert_int_equal(compare("rounding", *state, &t), t.s.B * t.s.k);
        data_free(&t);
    }
}

static void scale(float *p, int64_t n, float by)
{
    for (int64_t i = 0; i < n; i++)
        p[i] *= by;
}

/* Squares that underflow, products that do, sums that overflow, and single rows far from the others. */
static void ranges(void **state)
{
    static const float by[][2] = { { 1e-25f, 1e25f }, { 1e-25f, 1e-15f }, { 1e25f, 1e12f }, { 1e20f, 1e20f }, { 1, 0 }, { 0, 1 } };
    for (size_t i = 0; i < sizeof by / sizeof *by; i++) {
        data t = data_new((shape){ 21, 700, 90, 10 });
        char what[64];
        snprintf(what, sizeof what, "x by %g, W by %g", (double)by[i][0], (double)by[i][1]);
        scale(t.x, t.s.B * t.s.d, by[i][0]);
        scale(t.w, t.s.F * t.s.d, by[i][1]);
        if (i != 4)
            scale(t.b, t.s.F, 0);
        compare(what, *state, &t);
        data_free(&t);
    }
    data t = data_new((shape){ 21, 700, 90, 10 });
    scale(t.w + 333 * t.s.d, t.s.d, 1e6f);
    memset(t.x + 4 * t.s.d, 0, (size_t)t.s.d * sizeof *t.x);
    scale(t.x + 5 * t.s.d, t.s.d, 1e7f);
    t.b[17] = 1e9f;
    compare("rows far from the others", *state, &t);
    data_free(&t);
}

static void not_finite(void **state)
{
    data t = data_new((shape){ 21, 700, 90, 10 });
    t.x[3 * t.s.d + 5] = NAN;
    t.x[4 * t.s.d + 5] = INFINITY;
    compare("x", *state, &t);
    t.w[0] = NAN;
    t.w[699 * t.s.d + 89] = -INFINITY;
    compare("W", *state, &t);
    data_free(&t);
    t = data_new((shape){ 21, 700, 90, 10 });
    t.b[6] = NAN;
    t.b[7] = INFINITY;
    t.b[8] = -INFINITY;
    compare("b", *state, &t);
    data_free(&t);
}

/* Rows along what 6-bit integers leave out of a feature, where Cauchy's and Schwarz's bound is an equality; every so many features are nearly the
 * same, so that a bound which is too low loses those of later parts of W. */
static void along_errors(data *t)
{
    enum { COPIES = 70, MOST = 63 };
    int64_t d = t->s.d, groups = t->s.F / COPIES;
    for (int64_t f = groups; f < t->s.F; f++)
        for (int64_t i = 0; i < d; i++)
            t->w[f * d + i] = t->w[f % groups * d + i] + 1e-4f * t->w[f * d + i];
    for (int64_t r = 0; r < t->s.B; r++) {
        const float *w = t->w + r % groups * d;
        float top = 0;
        for (int64_t i = 0; i < d; i++)
            top = fmaxf(top, fabsf(w[i]));
        for (int64_t i = 0; i < d; i++) /* half of a step at most; integers, of which nothing is left out */
            t->x[r * d + i] = rintf(2 * MOST * MOST / top * (w[i] - top / MOST * rintf(w[i] * MOST / top)));
        t->x[r * d] = MOST;
    }
}

/* Rows as sums of features; gaussian; with two dimensions that dominate; features that are nearly one and the same; and along_errors. */
static data kind_of_rows(int kind, shape s)
{
    data t = data_new(s);
    for (int64_t e = s.d; kind == 3 && e < s.F * s.d; e++)
        t.w[e] = t.w[e % s.d] + 1e-4f * t.w[e];
    for (int64_t f = 0; f < s.F; f++)
        t.b[f] *= .01f;
    if (kind == 4)
        along_errors(&t);
    for (int64_t r = 0; r < s.B && kind < 4; r++)
        for (int64_t j = 0; j < s.d; j++) {
            float *x = t.x + r * s.d + j;
            *x = kind == 3 ? t.w[j] + .1f * *x : kind == 1 ? *x : .05f * *x;
            for (int64_t a = 0; a < 20 && (kind == 0 || kind == 2); a++)
                *x += t.w[(r * 31 + a * 97) % s.F * s.d + j] * (float)(a + 5) / 20;
            if (kind == 2 && (j == 3 || j == 40))
                *x += j == 3 ? 60 : -40;
        }
    return t;
}

/* What trained dictionaries see, and what defeats bounds: thousands of rows in every way, and several parts of W, which is where a block of
 * rows may go over to f32. */
static void kinds_of_rows(void **state)
{
    static const shape shapes[] = { { 1000, 700, 64, 8 }, { 200, 9000, 256, 16 }, { 16, 2100, 1500, 16 }, { 40, 1400, 768, 32 } };
    const sl_kern *ref, *k;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(2);
    (void)state;
    sl_assert_ok(sl_kern_named(ctx, "ref", &ref, &err));
    for (int kind = 0; kind < 5; kind++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            data t = kind_of_rows(kind, shapes[i]);
            sl_csr want = code_new(t.s), got = code_new(t.s);
            encode(ref, &t, false, &want);
            for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
                char what[64];
                snprintf(what, sizeof what, "kind %d, shape %zu, way %zu", kind, i, w);
                sl_assert_ok(sl_kern_named(ctx, ways[w].layers, &k, &err));
                if (!sl_kern_set_screen(k, ways[w].screen))
                    continue;
                encode(k, &t, false, &got);
                same_code(what, &got, &want);
            }
            code_free(&want);
            code_free(&got);
            data_free(&t);
        }
    sl_ctx_free(ctx);
}

/* Fewer positive ones than k, and none. */
static void few_positive(void **state)
{
    data t = data_new((shape){ 40, 900, 20, 64 });
    for (int64_t f = 0; f < t.s.F; f++)
        t.b[f] = f % 100 == 5 ? 100 : -100;
    assert_int_equal(compare("nine positive", *state, &t), t.s.B * 9);
    for (int64_t f = 0; f < t.s.F; f++)
        t.b[f] = -100;
    assert_int_equal(compare("none positive", *state, &t), 0);
    memset(t.skip, 1, (size_t)t.s.F);
    compare("all skipped", *state, &t);
    data_free(&t);
}

/* An argument leaves only the products of oneDNN: "onednn". */
int main(int argc, char **argv)
{
    some tested = { argc > 1 && strcmp(argv[1], "onednn") == 0 ? 2 : 0, 3 };
#define OF_WAYS(test) { #test, test, NULL, NULL, &tested }
    const struct CMUnitTest tests[] = {
        OF_WAYS(large_shapes), OF_WAYS(ties), OF_WAYS(rounding), OF_WAYS(ranges), OF_WAYS(not_finite), OF_WAYS(few_positive), cmocka_unit_test(kinds_of_rows),
    };
    return cmocka_run_group_tests_name("kern_topk", tests, NULL, NULL);
}
