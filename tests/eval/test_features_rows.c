/* Indexes of rows without a text (labels, worlds, nothing at all) and of directions in place of an SAE. */
#include "index.h"
#include "text_rows.h"

#include "io/io.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- rows without a text ---- */

static void test_labels(void **state)
{
    (void)state;
    static const char *const labels[] = { "cat", "dog", "cat", "bird", "dog" };
    sl_ctx *ctx = sl_test_ctx(1);
    text_rows t;
    sl_features_opts o = defaults();
    sl_features_built b;
    text_rows_new(&t, 5, 1);
    t.token = t.doc = t.pos = NULL;
    t.src.info.has_tokens = false;
    t.src.info.labels = labels;
    t.src.info.n_labels = 5;
    t.x[0] = 3;
    t.x[2] = 5;
    t.x[3] = 1;
    sl_sae *s = identity_sae(ctx, 1, NULL);
    sl_features *f = built(ctx, &(sl_features_input){ .sae = s, .rows = &t.src }, &o, "features_labels", &b);
    assert_int_equal(sl_features_about(f)->kind, SL_ROWS_LABELS);
    sl_feature j = feature(f, 0);
    is_string(f, j.token[0], "cat");
    assert_float_equal(j.token_share[0], 8. / 9, 1e-6);
    assert_int_equal(count(f, &j, SL_CONTEXT_TOP), 3); /* two rows of one label are two contexts */
    sl_context x = context(f, &j, 0);
    assert_int_equal(x.n, 1);
    assert_int_equal(x.source_row, 2);
    assert_int_equal(x.doc, -1);
    is_string(f, x.string[0], "cat");
    assert_int_equal(count(f, &j, SL_CONTEXT_NEAR), 0);
    sl_features_close(f);
    sl_sae_free(s);
    text_rows_release(&t);
    sl_ctx_free(ctx);
}

static void test_plain(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    text_rows t;
    sl_features_opts o = defaults();
    sl_features_built b;
    text_rows_new(&t, 5, 1);
    t.token = t.doc = t.pos = NULL;
    t.x[4] = 3;
    sl_sae *s = identity_sae(ctx, 1, NULL);
    sl_features *f = built(ctx, &(sl_features_input){ .sae = s, .rows = &t.src }, &o, "features_plain", &b);
    assert_int_equal(sl_features_about(f)->kind, SL_ROWS_PLAIN);
    sl_feature j = feature(f, 0);
    assert_int_equal(j.n_tokens, 0);
    assert_int_equal(context(f, &j, 0).source_row, 4);
    assert_int_equal(context(f, &j, 0).string[0], -1);
    sl_features_close(f);
    sl_sae_free(s);
    text_rows_release(&t);
    sl_ctx_free(ctx);
}

/* A world's rows through its own directions: every feature finds its true one, and rows show their names. */
static void test_world(void **state)
{
    (void)state;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(2);
    sl_world *w;
    sl_act_source *rows;
    sl_features_opts o = defaults();
    sl_features_built b;
    sl_assert_ok(sl_world_new(ctx, "toy_128", NULL, 42, &w, &err));
    sl_assert_ok(sl_world_open(w, SL_WORLD_TEST, &rows, &err));
    const sl_world_truth *truth = sl_world_truth_of(w);
    o.tokens = 4000;
    o.share = .02;
    double *score = malloc((size_t)truth->n * sizeof *score);
    for (int64_t i = 0; i < truth->n; i++)
        score[i] = i == 3 ? NAN : (double)i;
    sl_features_input in = { .vectors = truth->dir, .n_vectors = truth->n, .rows = rows, .truth = truth, .fss = score };
    sl_features *f = built(ctx, &in, &o, "features_world", &b);
    const sl_features_info *i = sl_features_about(f);
    assert_int_equal(i->kind, SL_ROWS_WORLD);
    assert_true(i->vectors && i->has_truth);
    assert_float_equal(column(f, "fss", 5), 5, 0);
    assert_true(isnan(column(f, "fss", 3)));
    int right = 0;
    for (int64_t j = 0; j < truth->n; j++) {
        double name = column(f, "truth", j);
        size_t n;
        if (name != name)
            continue;
        const char *s = sl_features_string(f, (int32_t)name, &n);
        right += n == strlen(truth->feature[j].name) && memcmp(s, truth->feature[j].name, n) == 0;
        assert_in_range((int)(100 * column(f, "density", j)), 0, 4);
    }
    assert_in_range(right, truth->n * 3 / 4, truth->n);
    sl_feature j = feature(f, 0);
    sl_context x = context(f, &j, 0);
    size_t n;
    sl_features_string(f, x.string[0], &n);
    assert_in_range(n, 2, 400);
    sl_features_close(f);
    free(score);
    sl_act_source_free(rows);
    sl_world_free(w);
    sl_ctx_free(ctx);
}

/* A vector is active in the rows of the largest projections, with the projection as its value. */
static void test_vectors(void **state)
{
    (void)state;
    static const float v[] = { 0, 2, 0, -3, 0, 0 };
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(2);
    text_rows t;
    sl_features_opts o = defaults();
    sl_features_built b;
    text_rows_new(&t, 1000, 3);
    for (int i = 0; i < 1000; i++) {
        t.x[i * 3] = (float)(i - 10); /* mean 489.5 */
        t.x[i * 3 + 1] = (float)(i * 7 % 1000);
    }
    sl_features *f = built(ctx, &(sl_features_input){ .vectors = v, .n_vectors = 2, .rows = &t.src }, &o, "features_vectors", &b);
    sl_feature j = feature(f, 0), k = feature(f, 1);
    assert_int_equal(j.fired, 10);
    assert_float_equal(j.max, 999 - 499.5, 1e-3);
    assert_int_equal(k.fired, 10);
    assert_float_equal(k.max, 489.5 + 10, 1e-3);
    assert_int_equal(context(f, &k, 0).pos, 0);
    sl_features_close(f);
    const float zero[] = { 0, 0, 0 };
    sl_assert_fails(sl_features_build(ctx, &(sl_features_input){ .vectors = zero, .n_vectors = 1, .rows = &t.src }, &o, sl_test_dir("features_none"), &b, &err),
                    SL_NUMERIC, "vector 0 has norm 0");
    text_rows_release(&t);
    sl_ctx_free(ctx);
}

static void test_vectors_file(void **state)
{
    (void)state;
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    char path[1200];
    float x[6] = { 1, 2, 3, 4, 5, 6 }, *v;
    int64_t n;
    snprintf(path, sizeof path, "%s/v.npy", sl_test_dir("features_npy"));
    sl_tensor t = sl_tensor_of(SL_F32, x, 2, (int64_t)2, (int64_t)3);
    sl_assert_ok(sl_npy_write(ctx, path, &t, &err));
    sl_assert_ok(sl_features_vectors(ctx, path, 3, &v, &n, &err));
    assert_int_equal(n, 2);
    sl_assert_same_bits("vectors", v, x, sizeof x);
    sl_free(ctx, v);
    sl_assert_fails(sl_features_vectors(ctx, path, 4, &v, &n, &err), SL_SHAPE, "[2, 3]");
    sl_ctx_free(ctx);
}

/* Compositions are listed by feature, the largest share first. */
static void test_compositions(void **state)
{
    (void)state;
    static const sl_composition_edge edge[] = { { 4, 1, .2 }, { 2, 0, .9 }, { 7, 1, .5 } }, wrong[] = { { 0, 2, .5 } };
    sl_err err;
    sl_ctx *ctx = sl_test_ctx(1);
    text_rows t;
    sl_features_opts o = defaults();
    sl_features_built b;
    text_rows_new(&t, 5, 2);
    sl_sae *s = identity_sae(ctx, 2, NULL);
    sl_features *f = built(ctx, &(sl_features_input){ .sae = s, .rows = &t.src, .edge = edge, .n_edges = 3 }, &o, "features_composed", &b);
    sl_feature j = feature(f, 0), k = feature(f, 1);
    assert_int_equal(j.n_linked, 1);
    assert_int_equal(j.linked[0], 2);
    assert_int_equal(k.n_linked, 2);
    assert_int_equal(k.linked[0], 7);
    assert_float_equal(k.linked_share[0], .5, 0);
    assert_int_equal(k.linked[1], 4);
    assert_float_equal(column(f, "compositions", 1), 2, 0);
    sl_features_close(f);
    sl_assert_fails(sl_features_build(ctx, &(sl_features_input){ .sae = s, .rows = &t.src, .edge = wrong, .n_edges = 1 }, &o, sl_test_dir("features_none"), &b, &err), SL_ARG,
                    "latent 2 of composition 0");
    sl_sae_free(s);
    text_rows_release(&t);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_world),
        cmocka_unit_test(test_compositions),
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_vectors_file),
    };
    return cmocka_run_group_tests_name("features of rows", tests, NULL, NULL);
}
