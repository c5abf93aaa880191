/* encode_topk_keep and encode_moved of every way against ref: bounds that hold, and the codes of moved rows bit for bit, however the rows lie
 * beside the clean ones. */
#include "support.h"

#include "kern/kern.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_DIRS = 5, Q = 2, B = 61, MAX_F = 1283, MAX_D = 301, MAX_K = 40 };
typedef struct shape { int64_t F, d, k; } shape;
static const shape shapes[] = { { 1283, 301, 32 }, { 299, 64, 8 }, { 40, 7, 40 } };

/* How rows are moved: along all directions, along some each, and in ways that the directions do not say. */
typedef enum move { MOVE_ALL, MOVE_SOME, MOVE_OFF, MOVE_ANYWHERE, N_MOVE } move;

typedef struct data {
    shape s;
    float x[B * MAX_D], x2[B * MAX_D], w[MAX_F * MAX_D], b[MAX_F], dirs[N_DIRS * MAX_D], lead[MAX_F * N_DIRS], coef[B * N_DIRS];
    int32_t at[B * Q], latent[N_DIRS];
} data;

static void fill(float *p, int64_t n, uint64_t stream, double scale)
{
    sl_rng r = sl_rng_at(7, SL_RNG_TEST, 1, stream);
    for (int64_t i = 0; i < n; i++)
        p[i] = (float)(scale * (2 * sl_rng_uniform(&r) - 1));
}

static void set_rows(data *t, move how)
{
    int64_t d = t->s.d;
    for (int64_t r = 0; r < B; r++)
        for (int64_t i = 0; i < d; i++) {
            float v = t->x[r * d + i];
            for (int q = 0; q < (how == MOVE_SOME ? Q : N_DIRS); q++) {
                int at = how == MOVE_SOME ? t->at[r * Q + q] : q;
                if (at < 0)
                    break;
                v += t->coef[how == MOVE_SOME ? r * Q + q : r * N_DIRS + q] * t->dirs[at * d + i];
            }
            t->x2[r * d + i] = how == MOVE_OFF ? .5f * v + .3f : v;
        }
}

static data *data_new(shape s, move how)
{
    data *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->s = s;
    fill(t->x, B * s.d, 1, 1);
    fill(t->w, s.F * s.d, 2, 1);
    fill(t->b, s.F, 3, .5);
    fill(t->coef, B * N_DIRS, 4, .4);
    for (int64_t i = 0; i < N_DIRS; i++) {
        t->latent[i] = (int32_t)(7 * i % s.F);
        memcpy(t->dirs + i * s.d, t->w + t->latent[i] * s.d, (size_t)s.d * sizeof *t->w);
    }
    for (int64_t f = 0; f < s.F; f++)
        for (int64_t i = 0; i < N_DIRS; i++)
            for (int64_t j = 0; j < s.d; j++)
                t->lead[f * N_DIRS + i] += t->dirs[i * s.d + j] * t->w[f * s.d + j];
    for (int64_t r = 0; r < B; r++) {
        t->at[r * Q] = r % 7 == 3 ? -1 : (int32_t)(r % N_DIRS);
        t->at[r * Q + 1] = r % 3 == 0 ? -1 : (int32_t)((r + 2) % N_DIRS);
    }
    memset(t->x + 2 * s.d, 0, (size_t)s.d * sizeof *t->x);
    set_rows(t, how);
    return t;
}

typedef struct code { sl_csr z; int64_t ptr[B + 1]; int32_t idx[B * MAX_K]; float val[B * MAX_K]; } code;

static code *code_new(const shape *s)
{
    code *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->z = (sl_csr){ B, s->F, B * s->k, c->ptr, c->idx, c->val };
    return c;
}

static void same_code(const char *what, const code *got, const code *want)
{
    for (int64_t r = 0; r <= B; r++)
        if (got->ptr[r] != want->ptr[r])
            fail_msg("%s: row_ptr[%lld] is %lld, not %lld", what, (long long)r, (long long)got->ptr[r], (long long)want->ptr[r]);
    assert_memory_equal(got->idx, want->idx, (size_t)want->ptr[B] * sizeof *got->idx);
    assert_memory_equal(got->val, want->val, (size_t)want->ptr[B] * sizeof *got->val);
}

typedef struct way { const char *layers; sl_screen screen; } way;
static const way ways[] = { { "ref", SL_SCREEN_AUTO }, { "ref+simd", SL_SCREEN_OFF }, { "ref+simd", SL_SCREEN_SIMD }, { "ref+simd+onednn", SL_SCREEN_ONEDNN } };

static const sl_kern *open_way(sl_ctx *ctx, const way *w) /* NULL: a CPU without what it takes */
{
    const sl_kern *k;
    sl_err err;
    sl_assert_ok(sl_kern_named(ctx, w->layers, &k, &err));
    return sl_kern_set_screen(k, w->screen) ? k : NULL;
}

typedef struct tensors { sl_tensor x, x2, W, b, dirs, lead, coef, at, latent; } tensors;

static tensors tensors_of(data *t, move how)
{
    const shape *s = &t->s;
    int64_t q = how == MOVE_SOME ? Q : N_DIRS;
    return (tensors){ sl_tensor_of(SL_F32, t->x, 2, (int64_t)B, s->d), sl_tensor_of(SL_F32, t->x2, 2, (int64_t)B, s->d), sl_tensor_of(SL_F32, t->w, 2, s->F, s->d),
                      sl_tensor_of(SL_F32, t->b, 1, s->F), sl_tensor_of(SL_F32, t->dirs, 2, (int64_t)N_DIRS, s->d), sl_tensor_of(SL_F32, t->lead, 2, s->F, (int64_t)N_DIRS),
                      sl_tensor_of(SL_F32, t->coef, 2, (int64_t)B, q), sl_tensor_of(SL_I32, t->at, 2, (int64_t)B, q), sl_tensor_of(SL_I32, t->latent, 1, (int64_t)N_DIRS) };
}

/* Every pre-activation is at most what its byte says; returns how many bytes say nothing. */
static int64_t check_bounds(const char *what, const data *t, const sl_kern *ref, const sl_bounds *b)
{
    const shape *s = &t->s;
    int64_t unknown = 0, all[2] = { 0, 1 };
    sl_csr one = { .n_rows = 1, .n_cols = s->F, .capacity = 1, .row_ptr = all };
    int32_t idx;
    float v;
    one.idx = &idx;
    one.val = &v;
    for (int64_t r = 0; r < B; r++)
        for (int64_t f = 0; f < s->F; f++) {
            sl_tensor x = sl_tensor_of(SL_F32, (void *)(uintptr_t)(t->x + r * s->d), 2, (int64_t)1, s->d), W = sl_tensor_of(SL_F32, (void *)(uintptr_t)t->w, 2, s->F, s->d);
            sl_tensor bias = sl_tensor_of(SL_F32, (void *)(uintptr_t)t->b, 1, s->F);
            uint8_t byte = b->top[r * s->F + f];
            unknown += byte == 255;
            if (byte == 255)
                continue;
            idx = (int32_t)f;
            ref->encode_at(ref, &x, &W, &bias, &one);
            if ((double)v > (double)b->unit[r] * byte * (1 + 1e-6) + 1e-6)
                fail_msg("%s: row %lld, feature %lld: %g, bound %g", what, (long long)r, (long long)f, (double)v, (double)b->unit[r] * byte);
        }
    return unknown;
}

static void one_way(const char *what, const sl_kern *k, const sl_kern *ref, data *t, move how, bool bounds)
{
    const shape *s = &t->s;
    tensors v = tensors_of(t, how);
    code *want = code_new(s), *clean = code_new(s), *got = code_new(s);
    sl_bounds keep = { .top = malloc((size_t)(B * s->F)), .unit = malloc(B * sizeof(float)) };
    assert_true(keep.top && keep.unit);
    ref->encode_topk(ref, &v.x, &v.W, &v.b, NULL, s->k, &want->z);
    k->encode_topk_keep(k, &v.x, &v.W, &v.b, s->k, &keep, &clean->z);
    same_code(what, clean, want);
    if (bounds) {
        int64_t unknown = check_bounds(what, t, ref, &keep);
        if (strcmp(k->id, "ref") != 0 && s->F > 100)
            assert_true(unknown < B * s->F / 4); /* or they would be of no use */
    }
    sl_moved m = { .x = &v.x, .z = &clean->z, .bounds = &keep, .dirs = how == MOVE_ANYWHERE ? NULL : &v.dirs, .lead = &v.lead, .coef = &v.coef,
                   .at = how == MOVE_SOME ? &v.at : NULL, .latent = how == MOVE_SOME ? &v.latent : NULL };
    for (int64_t extra = 0; extra < 2; extra++) { /* as many as before, and fewer */
        int64_t n = extra ? s->k / 2 + 1 : s->k;
        ref->encode_topk(ref, &v.x2, &v.W, &v.b, NULL, n, &want->z);
        k->encode_moved(k, &m, &v.x2, &v.W, &v.b, n, &got->z);
        same_code(what, got, want);
    }
    assert_false(sl_kern_failed(k));
    free(keep.top);
    free(keep.unit);
    free(want);
    free(clean);
    free(got);
}

static void every_way(data *t, move how, bool bounds, int n_ctx)
{
    sl_ctx *ctx[] = { sl_test_ctx(1), sl_test_ctx(3) };
    const sl_kern *ref;
    sl_err err;
    sl_assert_ok(sl_kern_named(ctx[0], "ref", &ref, &err));
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++)
        for (int threads = 0; threads < n_ctx; threads++) {
            char what[128];
            const sl_kern *k = open_way(ctx[threads], &ways[w]);
            snprintf(what, sizeof what, "F %lld, move %d, way %zu, %d threads", (long long)t->s.F, (int)how, w, threads ? 3 : 1);
            if (k)
                one_way(what, k, ref, t, how, bounds && threads == 0);
        }
    sl_ctx_free(ctx[0]);
    sl_ctx_free(ctx[1]);
}

static void moved_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int how = 0; how < N_MOVE; how++) {
            data *t = data_new(shapes[i], (move)how);
            every_way(t, (move)how, how == 0, 2);
            free(t);
        }
}

/* Numbers that are not finite, rows and features of any size: what is known of them is void, and the codes are right. */
static void odd_numbers(void **state)
{
    (void)state;
    static const float odd[] = { NAN, INFINITY, 1e30f, 1e-30f };
    for (int kind = 0; kind < 4; kind++)
        for (int how = 0; how < N_MOVE; how++) {
            data *t = data_new(shapes[1], (move)how);
            for (int64_t i = 0; i < t->s.d && kind >= 2; i++) /* whole rows */
                t->x[5 * t->s.d + i] *= odd[kind];
            if (kind < 2)
                t->x[5 * t->s.d + 3] = odd[kind];
            set_rows(t, (move)how);
            if (kind >= 2)
                t->w[9 * t->s.d] = odd[kind];
            every_way(t, (move)how, false, 1);
            free(t);
        }
}

/* A clean code with fewer features than are wanted, and rows whose values are equal: ties go to the lower index. */
static void few_and_equal(void **state)
{
    (void)state;
    for (int how = 0; how < N_MOVE; how++) {
        data *t = data_new(shapes[1], (move)how);
        for (int64_t f = 0; f < t->s.F; f++) {
            t->b[f] = f % 5 ? -8 : t->b[f];
            memcpy(t->w + f * t->s.d, t->w + f % 11 * t->s.d, (size_t)t->s.d * sizeof *t->w);
        }
        for (int64_t f = 0; f < t->s.F; f++)
            memcpy(t->lead + f * N_DIRS, t->lead + f % 11 * N_DIRS, N_DIRS * sizeof *t->lead);
        every_way(t, (move)how, how == 0, 1);
        free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(moved_rows), cmocka_unit_test(odd_numbers), cmocka_unit_test(few_and_equal) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
