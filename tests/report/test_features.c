/* A feature index in the files of others: Neuronpedia's keys and types against a real file, the page, the table. */
#include "../eval/text_rows.h"

#include "io/io.h"
#include "support.h"

#include <math.h>
#include <saelab/feature_export.h>
#include <saelab/rng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { D = 8, FEATURES = 60, ROWS = 20000, VOCAB = 12 };

/* A TopK SAE over a random text of twelve characters, with the logits of a random model. */
typedef struct scene { sl_ctx *ctx; sl_sae *sae; sl_features *f; } scene;

static scene open_scene(void)
{
    scene c = { .ctx = sl_test_ctx(2) };
    sl_err err;
    text_rows t;
    sl_tok *tok;
    sl_lm *lm;
    sl_lm_config config;
    sl_features_opts o;
    sl_features_built b;
    const char *dir = sl_test_dir("features_export");
    sl_opts_default(sl_lm_opts, &config);
    config.n_layer = config.n_head = 1;
    config.n_embd = D;
    config.block_size = 8;
    config.vocab_size = VOCAB;
    sl_assert_ok(sl_lm_new(c.ctx, &config, 1, &lm, &err));
    sl_assert_ok(sl_tok_new(c.ctx, SL_TOK_CHAR, "abcdefgh<\n\" ", VOCAB, &tok, &err));
    sl_assert_ok(sl_sae_new(c.ctx, "topk", D, FEATURES, &(sl_topk_options){ .k = 4 }, 3, &c.sae, &err));
    text_rows_new(&t, ROWS, D);
    sl_rng r = sl_rng_at(5, SL_RNG_TEST, 0, 0);
    for (int i = 0; i < ROWS * D; i++)
        t.x[i] = (float)sl_rng_normal(&r);
    for (int i = 0; i < ROWS; i++)
        t.token[i] = (int32_t)sl_rng_below(&r, VOCAB);
    sl_opts_default(sl_features_options, &o);
    sl_assert_ok(sl_features_build(c.ctx, &(sl_features_input){ .sae = c.sae, .rows = &t.src, .tok = tok, .lm = lm, .name = "small <set>" }, &o, dir, &b, &err));
    sl_assert_ok(sl_features_open(c.ctx, dir, true, &c.f, &err));
    text_rows_release(&t);
    sl_lm_free(lm);
    sl_tok_free(tok);
    return c;
}

static void close_scene(scene *c)
{
    sl_features_close(c->f);
    sl_sae_free(c->sae);
    sl_ctx_free(c->ctx);
}

static const char *label(void *user, int64_t id)
{
    (void)user;
    return id == 1 ? "says \"x\", <b>twice</b>" : NULL;
}

static char *read_text(sl_ctx *ctx, const char *path, size_t *n)
{
    sl_err err;
    char *text;
    sl_assert_ok(sl_file_read(ctx, path, &text, n, &err));
    return text;
}

/* ---- neuronpedia ---- */

static const char *kind(const json_t *j)
{
    static const char *const names[] = { "object", "array", "string", "integer", "real", "true", "false", "null" };
    return names[json_typeof(j)];
}

/* The same keys, and values of the same types; lists by their first items, where both have one. */
static void same_shape(const char *where, const json_t *theirs, const json_t *ours)
{
    const char *key;
    json_t *v;
    char path[300];
    if (json_typeof(theirs) != json_typeof(ours))
        fail_msg("%s: theirs is %s, ours %s", where, kind(theirs), kind(ours));
    if (json_is_object(theirs)) {
        json_object_foreach((json_t *)(uintptr_t)theirs, key, v) {
            snprintf(path, sizeof path, "%s.%s", where, key);
            if (!json_object_get(ours, key))
                fail_msg("%s is missing", path);
            same_shape(path, v, json_object_get(ours, key));
        }
        assert_int_equal(json_object_size(theirs), json_object_size(ours));
    }
    if (json_is_array(theirs) && json_array_size(theirs) > 0 && json_array_size(ours) > 0) {
        snprintf(path, sizeof path, "%s[0]", where);
        same_shape(path, json_array_get(theirs, 0), json_array_get(ours, 0));
    }
}

/* The first context of a group: of the strongest (bin_min -1), or of the others. */
static const json_t *first_of_group(const json_t *feature, bool strongest)
{
    const json_t *list = json_object_get(feature, "activations");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_is_integer(json_object_get(json_array_get(list, i), "bin_min")) == strongest)
            return json_array_get(list, i);
    fail_msg("no such context");
    return NULL;
}

static json_t *load(scene *c, const char *path)
{
    sl_err err;
    json_t *j;
    sl_assert_ok(sl_json_load_file(c->ctx, path, &j, &err));
    return j;
}

static double number(const json_t *o, const char *list, size_t i) { return json_number_value(json_array_get(json_object_get(o, list), i)); }

/* What our file says against the index and the SAE. */
static void check_values(scene *c, const json_t *file)
{
    sl_err err;
    sl_feature j;
    sl_tensor W;
    sl_assert_ok(sl_features_get(c->f, 0, &j, &err));
    sl_assert_ok(sl_sae_weight(c->sae, "W_dec", &W, &err));
    const json_t *o = json_array_get(json_object_get(file, "features"), 0);
    const float *w = W.data;
    int largest = 0;
    for (int i = 1; i < D; i++)
        largest = fabsf(w[i]) > fabsf(w[largest]) ? i : largest;
    assert_int_equal((int)number(o, "neuron_alignment_indices", 0), largest);
    assert_float_equal(number(o, "neuron_alignment_values", 0), (double)w[largest], 6e-4);
    assert_float_equal(json_number_value(json_object_get(o, "frac_nonzero")), j.density, 1e-6);
    assert_int_equal(json_array_size(json_object_get(o, "freq_hist_data_bar_heights")), 50);
    assert_int_equal((int)number(o, "freq_hist_data_bar_heights", 7), j.hist[7]);
    assert_float_equal(number(o, "freq_hist_data_bar_values", 0), (double)j.max / 100, 6e-4);
    assert_float_equal(number(o, "pos_values", 0), (double)j.up_logit[0], 6e-4);
    double all = 0;
    for (size_t i = 0; i < 50; i++)
        all += number(o, "logits_hist_data_bar_heights", i);
    assert_float_equal(all, VOCAB, 0);
    const json_t *top = first_of_group(o, true);
    int focus = (int)json_integer_value(json_object_get(top, "qualifying_token_index"));
    assert_float_equal(number(top, "values", (size_t)focus), (double)j.max, 6e-4);
    assert_int_equal(json_integer_value(json_object_get(file, "layer")), 1);
}

static void test_neuronpedia(void **state)
{
    (void)state;
    sl_err err;
    char path[1200];
    int64_t n;
    const char *dir = sl_test_dir("features_np"), *real = sl_test_data("neuronpedia/neuronpedia_gpt2-small_res-jb_batch-0.json");
    scene c = open_scene();
    sl_feature_list all = { .n = 0 };
    sl_neuronpedia_opts o = { .model_id = "tiny", .sae_set = "test", .layer = -1, .per_file = 25 };
    sl_assert_ok(sl_features_neuronpedia(c.ctx, c.f, c.sae, &all, &o, dir, &n, &err));
    assert_int_equal(n, 3);
    snprintf(path, sizeof path, "%s/batch-2.json", dir);
    json_t *last = load(&c, path);
    assert_int_equal(json_array_size(json_object_get(last, "features")), FEATURES - 50);
    json_decref(last);
    snprintf(path, sizeof path, "%s/batch-0.json", dir);
    json_t *ours = load(&c, path);
    check_values(&c, ours);
    sl_sae *other = identity_sae(c.ctx, 3, NULL);
    sl_assert_fails(sl_features_neuronpedia(c.ctx, c.f, other, &all, &o, dir, &n, &err), SL_SHAPE, "has 3 features, and the index 60");
    sl_sae_free(other);
    if (real) {
        json_t *theirs = load(&c, real);
        same_shape("file", theirs, ours);
        const json_t *a = json_array_get(json_object_get(theirs, "features"), 0), *b = json_array_get(json_object_get(ours, "features"), 0);
        same_shape("strongest", first_of_group(a, true), first_of_group(b, true));
        same_shape("others", first_of_group(a, false), first_of_group(b, false));
        json_decref(theirs);
    }
    json_decref(ours);
    close_scene(&c);
    if (!real)
        skip();
}

/* ---- the page ---- */

static int times(const char *text, const char *word)
{
    int n = 0;
    while ((text = strstr(text, word))) {
        text++;
        n++;
    }
    return n;
}

static void test_page(void **state)
{
    (void)state;
    sl_err err;
    char path[1200];
    int64_t id[50];
    size_t n;
    scene c = open_scene();
    for (int i = 0; i < 50; i++)
        id[i] = i;
    snprintf(path, sizeof path, "%s/some.html", sl_test_dir("features_html"));
    sl_feature_list some = { id, 50, label, NULL };
    sl_assert_ok(sl_features_html(c.ctx, c.f, &some, path, &err));
    char *text = read_text(c.ctx, path, &n);
    assert_in_range(n, 100000, 5 << 20);
    assert_int_equal(times(text, "<section id="), 50);
    assert_int_equal(times(text, "</section>"), 50);
    assert_int_equal(times(text, "<table"), times(text, "</table>"));
    assert_int_equal(times(text, "<u "), times(text, "</u>"));
    assert_int_equal(times(text, "<details>"), times(text, "</details>"));
    assert_int_equal(times(text, "src="), 0); /* nothing from elsewhere, nothing that runs */
    assert_int_equal(times(text, "http"), 0);
    assert_int_equal(times(text, "<script"), 0);
    assert_non_null(strstr(text, "prefers-color-scheme:dark"));
    assert_non_null(strstr(text, "small &lt;set&gt;"));
    assert_non_null(strstr(text, "says &quot;x&quot;, &lt;b&gt;twice&lt;/b&gt;"));
    assert_non_null(strstr(text, "\xe2\x8f\x8e")); /* a line end that one can see */
    sl_free(c.ctx, text);
    id[7] = FEATURES;
    snprintf(path, sizeof path, "%s/none.html", sl_test_dir("features_html"));
    sl_assert_fails(sl_features_html(c.ctx, c.f, &some, path, &err), SL_ARG, "there is no feature 60");
    assert_false(sl_path_exists(path));
    close_scene(&c);
}

/* ---- the table ---- */

static void test_csv(void **state)
{
    (void)state;
    static const int64_t id[] = { 1, 0 };
    sl_err err;
    char path[1200], line[400];
    size_t n;
    scene c = open_scene();
    snprintf(path, sizeof path, "%s/f.csv", sl_test_dir("features_csv"));
    sl_feature_list two = { id, 2, label, NULL };
    sl_assert_ok(sl_features_csv(c.ctx, c.f, &two, path, &err));
    char *text = read_text(c.ctx, path, &n);
    const char *head = "feature,label,density,fired,max,mean,top_token,top_token_share,max_cosine,norm,logit_max\r\n1,\"says \"\"x\"\", <b>twice</b>\",";
    if (strncmp(text, head, strlen(head)) != 0)
        fail_msg("the table begins '%.200s'", text);
    const sl_features_column *density = sl_features_column_find(c.f, "density"), *fired = sl_features_column_find(c.f, "fired");
    snprintf(line, sizeof line, "\r\n0,,%.9g,%.9g,", sl_features_value(density, 0), sl_features_value(fired, 0));
    assert_non_null(strstr(text, line));
    assert_int_equal(text[n - 1], '\n');
    sl_free(c.ctx, text);
    close_scene(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_neuronpedia), cmocka_unit_test(test_page), cmocka_unit_test(test_csv) };
    return cmocka_run_group_tests_name("features of a report", tests, NULL, NULL);
}
