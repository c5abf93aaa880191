/* Baselines: what each is known to give on data made for it, the same bits for any number of threads, files, and every refusal. */
#include "support.h"

#include "eval/baselines/baseline.h"

#include <saelab/rng.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N = 400, D = 12, TRUE = 20 };

typedef struct world { float x[N * D], dict[TRUE * D], code[N * TRUE]; } world;

/* Rows are sums of two or three of TRUE random directions. */
static void make(world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    for (int j = 0; j < TRUE; j++) {
        sl_rng r = sl_rng_at(seed, SL_RNG_TEST, 0, (uint64_t)j);
        double sq = 0;
        for (int i = 0; i < D; i++) {
            w->dict[j * D + i] = (float)sl_rng_normal(&r);
            sq += (double)w->dict[j * D + i] * (double)w->dict[j * D + i];
        }
        for (int i = 0; i < D; i++)
            w->dict[j * D + i] /= (float)sqrt(sq);
    }
    for (int n = 0; n < N; n++) {
        sl_rng r = sl_rng_at(seed, SL_RNG_TEST, 1, (uint64_t)n);
        for (int t = 0; t < 2 + n % 2; t++)
            w->code[n * TRUE + (int)sl_rng_below(&r, TRUE)] = (float)(.5 + sl_rng_uniform(&r));
        for (int j = 0; j < TRUE; j++)
            for (int i = 0; i < D; i++)
                w->x[n * D + i] += w->code[n * TRUE + j] * w->dict[j * D + i];
    }
}

/* ---- the cases: every method with small options ---- */

typedef union options { sl_pca_options pca; sl_ica_options ica; sl_factor_options factor; sl_kmeans_options kmeans; sl_fista_options fista; sl_random_options random; } options;

static options small(const sl_baseline_info *m)
{
    options o;
    memset(&o, 0, sizeof o);
    sl_opts_default(m->opts, &o);
    *(int64_t *)(void *)&o = 3; /* k comes first in each */
    if (strcmp(m->name, "nmf") == 0 || strcmp(m->name, "semi_nmf") == 0)
        o.factor.d_sae = 16;
    if (strcmp(m->name, "kmeans") == 0)
        o.kmeans = (sl_kmeans_options){ 3, 16, 50, 2 };
    if (strcmp(m->name, "fista") == 0) {
        o.fista.d_sae = 24;
        o.fista.epochs = 3;
        o.fista.batch = 64;
    }
    if (strcmp(m->name, "random") == 0)
        o.random.d_sae = 24;
    return o;
}

static sl_baseline_data data_of(const sl_baseline_info *m, const world *w)
{
    return (sl_baseline_data){ .x = w->x, .n = N, .d_in = D, .dictionary = m->needs_dictionary ? w->dict : NULL, .n_dictionary = m->needs_dictionary ? TRUE : 0, .hook = "h" };
}

static sl_baseline *fitted(sl_ctx *ctx, const char *name, const world *w, const options *given)
{
    sl_err err;
    sl_baseline *b;
    const sl_baseline_info *m = sl_baseline_find(name);
    options o = given ? *given : small(m);
    sl_baseline_data d = data_of(m, w);
    sl_assert_ok(sl_baseline_fit(ctx, name, &d, &o, 5, &b, &err));
    return b;
}

typedef struct coded { sl_codes z; float *xhat; double error; } coded; /* error: sum |x - x^|^2 */

static coded encoded(sl_ctx *ctx, sl_baseline *b, const float *x, int64_t n)
{
    sl_err err;
    coded c = { 0 };
    sl_baseline_about a = sl_baseline_tell(b);
    sl_assert_ok(sl_codes_new(ctx, n, a.max_active, &c.z, &err));
    c.xhat = sl_alloc(ctx, (size_t)(n * a.d_in) * sizeof *c.xhat);
    sl_assert_ok(sl_baseline_encode(b, x, n, &c.z, c.xhat, &err));
    for (int64_t i = 0; i < n * a.d_in; i++)
        c.error += ((double)x[i] - (double)c.xhat[i]) * ((double)x[i] - (double)c.xhat[i]);
    return c;
}

static void drop(sl_ctx *ctx, coded *c)
{
    sl_codes_release(ctx, &c->z);
    sl_free(ctx, c->xhat);
}

/* sum |x - mean|^2 */
static double spread(const float *x, int64_t n, int64_t d)
{
    double total = 0;
    for (int64_t j = 0; j < d; j++) {
        double sum = 0, sq = 0;
        for (int64_t r = 0; r < n; r++) {
            sum += (double)x[r * d + j];
            sq += (double)x[r * d + j] * (double)x[r * d + j];
        }
        total += sq - sum * sum / (double)n;
    }
    return total;
}

/* ---- every method ---- */

/* Codes are CSR with at most k positive entries a row at rising indices, and x^ is their decoding. */
static void codes_and_directions(void **state)
{
    (void)state;
    static world w;
    make(&w, 1);
    sl_ctx *ctx = sl_test_ctx(2);
    for (int i = 0; sl_baseline_at(i); i++) {
        sl_baseline *b = fitted(ctx, sl_baseline_at(i)->name, &w, NULL);
        sl_baseline_about a = sl_baseline_tell(b);
        coded c = encoded(ctx, b, w.x, N);
        float want[N * D];
        assert_true(a.d_in == D && a.max_active == 3 && strcmp(a.hook, "h") == 0 && a.method == sl_baseline_at(i));
        for (int64_t r = 0; r < N; r++) {
            memcpy(want + r * D, a.b_dec, D * sizeof *want);
            assert_true(c.z.row_ptr[r + 1] - c.z.row_ptr[r] <= 3 && c.z.row_ptr[r + 1] >= c.z.row_ptr[r]);
            for (int64_t e = c.z.row_ptr[r]; e < c.z.row_ptr[r + 1]; e++) {
                assert_true(c.z.val[e] > 0 && c.z.idx[e] >= 0 && c.z.idx[e] < a.d_sae && (e == c.z.row_ptr[r] || c.z.idx[e] > c.z.idx[e - 1]));
                for (int j = 0; j < D; j++)
                    want[r * D + j] += c.z.val[e] * a.W_dec[c.z.idx[e] * D + j];
            }
        }
        sl_assert_close_f32(a.method->name, c.xhat, want, N * D, 2e-5, 1e-5);
        double fvu = c.error / spread(w.x, N, D);
        if (!(fvu < .9) || !(c.z.row_ptr[N] > N))
            fail_msg("%s: fvu %g, l0 %g", a.method->name, fvu, (double)c.z.row_ptr[N] / N);
        drop(ctx, &c);
        sl_baseline_free(b);
    }
    sl_ctx_free(ctx);
}

static void same_bits_for_any_threads(void **state)
{
    (void)state;
    static world w;
    make(&w, 2);
    for (int i = 0; sl_baseline_at(i); i++) {
        coded first = { 0 };
        sl_ctx *ctx[3];
        for (int t = 0; t < 3; t++) {
            ctx[t] = sl_test_ctx(t + 1);
            sl_baseline *b = fitted(ctx[t], sl_baseline_at(i)->name, &w, NULL);
            coded c = encoded(ctx[t], b, w.x, N);
            if (t > 0) {
                assert_true(c.z.row_ptr[N] == first.z.row_ptr[N]);
                sl_assert_same_bits(sl_baseline_at(i)->name, c.z.idx, first.z.idx, (size_t)c.z.row_ptr[N] * sizeof *c.z.idx);
                sl_assert_same_bits(sl_baseline_at(i)->name, c.z.val, first.z.val, (size_t)c.z.row_ptr[N] * sizeof *c.z.val);
                drop(ctx[t], &c);
            } else
                first = c;
            sl_baseline_free(b);
        }
        drop(ctx[0], &first);
        for (int t = 0; t < 3; t++)
            sl_ctx_free(ctx[t]);
    }
}

/* A saved one is the same; a linear one is the same as its SAE; rows may come one by one. */
static void files(void **state)
{
    (void)state;
    static world w;
    make(&w, 3);
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(2);
    for (int i = 0; sl_baseline_at(i); i++) {
        const char *dir = sl_test_dir("baseline");
        sl_baseline *b = fitted(ctx, sl_baseline_at(i)->name, &w, NULL), *again;
        coded c = encoded(ctx, b, w.x, N), one;
        sl_assert_ok(sl_baseline_save(b, dir, &err));
        assert_true(sl_baseline_is_dir(dir));
        sl_assert_ok(sl_baseline_load(ctx, dir, &again, &err));
        assert_memory_equal(sl_baseline_options(again), sl_baseline_options(b), sl_baseline_at(i)->opts_size);
        assert_string_equal(sl_baseline_tell(again).hook, "h");
        one = encoded(ctx, again, w.x, N);
        sl_assert_same_bits("loaded", one.z.val, c.z.val, (size_t)c.z.row_ptr[N] * sizeof *c.z.val);
        sl_assert_same_bits("loaded", one.xhat, c.xhat, sizeof w.x);
        drop(ctx, &one);
        one = encoded(ctx, again, w.x + 7 * D, 1);
        sl_assert_close_f32("one row", one.xhat, c.xhat + 7 * D, D, 1e-4, 1e-4);
        drop(ctx, &one);
        sl_sae *s;
        if (sl_baseline_at(i)->linear) {
            sl_codes z;
            sl_assert_ok(sl_baseline_to_sae(b, &s, &err));
            sl_assert_ok(sl_codes_new(ctx, N, 3, &z, &err));
            sl_assert_ok(sl_sae_encode(s, w.x, N, &z, NULL, &err));
            assert_true(z.row_ptr[N] == c.z.row_ptr[N]);
            sl_assert_same_bits("sae", z.val, c.z.val, (size_t)z.row_ptr[N] * sizeof *z.val);
            sl_codes_release(ctx, &z);
            sl_sae_free(s);
        } else
            sl_assert_fails(sl_baseline_to_sae(b, &s, &err), SL_UNAVAILABLE, "no linear map");
        drop(ctx, &c);
        sl_baseline_free(again);
        sl_baseline_free(b);
    }
    sl_ctx_free(ctx);
}

static void damaged_files(void **state)
{
    (void)state;
    static world w;
    make(&w, 3);
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    char path[600];
    const char *dir = sl_test_dir("baseline_damaged");
    sl_baseline *b = fitted(ctx, "nmf", &w, NULL), *again;
    sl_assert_fails(sl_baseline_load(ctx, dir, &again, &err), SL_MISSING, "baseline.json");
    assert_false(sl_baseline_is_dir(dir));
    sl_assert_ok(sl_baseline_save(b, dir, &err));
    snprintf(path, sizeof path, "%s/baseline.json", dir);
    const char *texts[][2] = {
        { "{}", "format" },
        { "{\"format\":\"saelab_baseline\",\"version\":9}", "version" },
        { "{\"format\":\"saelab_baseline\",\"version\":1,\"method\":\"x\",\"hook\":\"\",\"model\":\"\",\"dataset\":\"\",\"d_in\":12,\"d_sae\":16,\"seed\":5,"
          "\"converged\":true}", "'x' is unknown" },
        { "{\"format\":\"saelab_baseline\",\"version\":1,\"method\":\"nmf\",\"hook\":\"\",\"model\":\"\",\"dataset\":\"\",\"d_in\":12,\"d_sae\":16,\"seed\":5,"
          "\"converged\":true,\"options\":{\"k\":\"17\"}}", "k is 17" },
        { "{\"format\":\"saelab_baseline\",\"version\":1,\"method\":\"nmf\",\"hook\":\"\",\"model\":\"\",\"dataset\":\"\",\"d_in\":13,\"d_sae\":16,\"seed\":5,"
          "\"converged\":true,\"options\":{\"k\":\"3\"}}", "W_dec" },
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs(texts[i][0], f);
        fclose(f);
        sl_assert_fails(sl_baseline_load(ctx, dir, &again, &err), i == 4 ? SL_SHAPE : SL_DATA, texts[i][1]);
    }
    ((float *)b->W_dec.data)[5] = NAN;
    sl_assert_ok(sl_baseline_save(b, dir, &err));
    sl_assert_fails(sl_baseline_load(ctx, dir, &again, &err), SL_NUMERIC, "W_dec: element 5");
    sl_baseline_free(b);
    sl_ctx_free(ctx);
}

static void refusals(void **state)
{
    (void)state;
    static world w;
    sl_err err;
    sl_baseline *b;
    sl_ctx *ctx = sl_test_ctx(1);
    for (int i = 0; sl_baseline_at(i); i++) {
        const sl_baseline_info *m = sl_baseline_at(i);
        make(&w, 4);
        options o = small(m);
        sl_baseline_data d = data_of(m, &w);
        w.x[3 * D + 2] = NAN;
        sl_assert_fails(sl_baseline_fit(ctx, m->name, &d, &o, 1, &b, &err), SL_NUMERIC, "row 3, column 2");
        assert_null(b);
        w.x[3 * D + 2] = INFINITY;
        sl_assert_fails(sl_baseline_fit(ctx, m->name, &d, &o, 1, &b, &err), SL_NUMERIC, "row 3, column 2");
        for (int j = 0; j < N * D; j++)
            w.x[j] = (float)(j % D);
        sl_assert_fails(sl_baseline_fit(ctx, m->name, &d, &o, 1, &b, &err), SL_DATA, "all 400 rows are the same");
        d.n = 1;
        sl_assert_fails(sl_baseline_fit(ctx, m->name, &d, &o, 1, &b, &err), SL_DATA, "at least 2");
        d.n = 0;
        sl_assert_fails(sl_baseline_fit(ctx, m->name, &d, &o, 1, &b, &err), SL_DATA, "at least 2");
        make(&w, 4);
        d.n = N;
        *(int64_t *)(void *)&o = 1000;
        sl_assert_fails(sl_baseline_fit(ctx, m->name, &d, &o, 1, &b, &err), SL_ARG, "k");
        *(int64_t *)(void *)&o = -1;
        sl_assert_fails(sl_baseline_fit(ctx, m->name, &d, &o, 1, &b, &err), SL_ARG, "out of range");
        o = small(m);
        d.dictionary = m->needs_dictionary ? NULL : w.dict;
        sl_assert_fails(sl_baseline_fit(ctx, m->name, &d, &o, 1, &b, &err), SL_ARG, "dictionary");
    }
    sl_baseline_data d = { .x = w.x, .n = N, .d_in = D };
    sl_assert_fails(sl_baseline_fit(ctx, "lda", &d, NULL, 1, &b, &err), SL_ARG, "'lda'");
    sl_kmeans_options many = { 1, N + 1, 10, 1 };
    sl_assert_fails(sl_baseline_fit(ctx, "kmeans", &d, &many, 1, &b, &err), SL_ARG, "number of rows");
    for (int r = 0; r < N; r++) /* two columns the same: 11 dimensions */
        w.x[r * D] = w.x[r * D + 1];
    sl_ica_options ica = { 3, 0, 50, 1e-4 };
    sl_assert_fails(sl_baseline_fit(ctx, "ica", &d, &ica, 1, &b, &err), SL_DATA, "fewer --components");
    ica.components = 13;
    sl_assert_fails(sl_baseline_fit(ctx, "ica", &d, &ica, 1, &b, &err), SL_ARG, "components");
    sl_cancel(ctx, 2);
    sl_assert_fails(sl_baseline_fit(ctx, "nmf", &d, &(sl_factor_options){ 3, 8, 50, 5, 0, true }, 1, &b, &err), SL_CANCELLED, "stopped");
    sl_ctx_free(ctx);
}

static void encoding_refusals(void **state)
{
    (void)state;
    static world w;
    make(&w, 4);
    sl_err err;
    sl_codes z;
    sl_ctx *ctx = sl_test_ctx(1);
    sl_baseline *b = fitted(ctx, "topk_pca", &w, NULL);
    sl_assert_ok(sl_codes_new(ctx, 4, 3, &z, &err));
    sl_assert_fails(sl_baseline_encode(b, w.x, 5, &z, NULL, &err), SL_SHAPE, "5 rows");
    z.capacity = 6;
    sl_assert_fails(sl_baseline_encode(b, w.x, 4, &z, NULL, &err), SL_SHAPE, "entries");
    z.capacity = 12;
    w.x[D + 1] = NAN;
    sl_assert_fails(sl_baseline_encode(b, w.x, 4, &z, NULL, &err), SL_NUMERIC, "row 1, column 1");
    sl_assert_ok(sl_baseline_encode(b, w.x, 0, &z, NULL, &err));
    assert_true(z.row_ptr[0] == 0);
    sl_codes_release(ctx, &z);
    sl_baseline_free(b);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_and_directions), cmocka_unit_test(same_bits_for_any_threads), cmocka_unit_test(files), cmocka_unit_test(damaged_files),
        cmocka_unit_test(refusals), cmocka_unit_test(encoding_refusals),
    };
    return cmocka_run_group_tests_name("eval_baselines", tests, NULL, NULL);
}
