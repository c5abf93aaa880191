/* The browser's routes over a tiny model with two SAEs: lists, search, features, marks, comparison, texts, steering, and what they refuse. */
#include "client.h"
#include "fixture.h"

#include "io/io.h"
#include "serve/browse.h"

#include <math.h>

static sl_err err;

typedef struct rig { sl_ctx *ctx; const char *dir; sl_server *s; int port; } rig;

static int set_up(void **state)
{
    static rig r;
    static char dir[600];
    r = (rig){ .ctx = sl_test_ctx(2) };
    snprintf(dir, sizeof dir, "%s", sl_test_dir("browse"));
    r.dir = dir;
    sl_assert_ok(fixture_make(r.ctx, dir, &err));
    const char *path = r.dir;
    sl_assert_ok(sl_serve_open(r.ctx, 1, &path, &(sl_serve_config){ .port = 0 }, &r.s, &err));
    r.port = sl_serve_port(r.s);
    *state = &r;
    return 0;
}

static int tear_down(void **state)
{
    rig *r = *state;
    sl_serve_close(r->s);
    sl_ctx_free(r->ctx);
    return 0;
}

static json_t *get(rig *r, const char *path) { return client_json(r->port, "GET", path, NULL, 200); }
static int64_t whole(const json_t *j, const char *key) { return json_integer_value(json_object_get(j, key)); }

static void pages(void **state)
{
    rig *r = *state;
    static const char *const files[] = { "/", "/browse.css", "/browse.js", "/views.js", "/?set=x&view=text" };
    size_t js = 0;
    for (int i = 0; i < 5; i++) {
        answer a = client_ask(r->port, "GET", files[i], NULL);
        assert_int_equal(a.status, 200);
        assert_true(a.n > 500);
        js += strstr(files[i], ".js") ? a.n : 0;
        assert_null(strstr(a.body, "=\"/")); /* relative addresses only */
        assert_null(strstr(a.body, "fetch(\"/"));

        free(a.all);
    }
    assert_true(js <= 60 << 10);
}

static void sets(void **state)
{
    rig *r = *state;
    json_t *j = get(r, "/api/sets"), *list = json_object_get(j, "sets"), *a = json_array_get(list, 0);
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(json_string_value(json_object_get(a, "name")), "sae-a");
    assert_int_equal(whole(a, "features"), FIXTURE_FEATURES);
    assert_true(json_is_true(json_object_get(a, "lm")));
    assert_string_equal(json_string_value(json_object_get(a, "kind")), "tokens");
    json_decref(j);
}

/* ids of the answer as text, "3,1,2" */
static const char *ids_of(const json_t *j, char out[2048])
{
    size_t i, n = 0;
    json_t *row;
    out[0] = 0;
    json_array_foreach(json_object_get(j, "rows"), i, row) {
        n += (size_t)snprintf(out + n, 2048 - n, "%s%d", i ? "," : "", (int)json_integer_value(json_array_get(row, 0)));
    }
    return out;
}

static double column_at(const json_t *j, size_t row, size_t column)
{
    const json_t *v = json_array_get(json_array_get(json_object_get(j, "rows"), row), column);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static void rows(void **state)
{
    rig *r = *state;
    char text[2048];
    json_t *j = get(r, "/api/set/sae-a/rows?sort=id&n=5&from=10");
    assert_string_equal(ids_of(j, text), "10,11,12,13,14");
    assert_int_equal(whole(j, "total"), FIXTURE_FEATURES);
    json_decref(j);
    j = get(r, "/api/set/sae-a/rows?sort=density&down=1&n=200&columns=density,top_token&find=17");
    for (size_t i = 1; i < FIXTURE_FEATURES; i++)
        assert_false(column_at(j, i, 3) > column_at(j, i - 1, 3));
    size_t place = (size_t)whole(j, "place");
    assert_int_equal(json_integer_value(json_array_get(json_array_get(json_object_get(j, "rows"), place), 0)), 17);
    json_decref(j);
    j = get(r, "/api/set/sae-a/rows?sort=top_token&n=200&columns=top_token");
    json_decref(j);
    j = get(r, "/api/set/sae-a/rows?q=%233-5&sort=id&down=1");
    assert_string_equal(ids_of(j, text), "5,4,3");
    json_decref(j);
    static const char *const wrong[] = { "sort=nothing", "n=201", "n=x", "columns=what", "q=density:%3Cx", "q=%23x1&sort=", "q=what:3", "q=density:" };
    static const int status[] = { 400, 400, 400, 400, 400, 400, 400, 200 };
    for (size_t i = 0; i < sizeof status / sizeof *status; i++) {
        snprintf(text, sizeof text, "/api/set/sae-a/rows?%s", wrong[i]);
        json_decref(client_json(r->port, "GET", text, NULL, status[i]));
    }
    json_decref(client_json(r->port, "GET", "/api/set/nobody/rows", NULL, 404));
}

static void densities(void **state)
{
    rig *r = *state;
    json_t *j = get(r, "/api/set/sae-a/density?q=density:%3E0.05"), *v;
    size_t i;
    int64_t all = json_integer_value(json_array_get(json_object_get(j, "dead"), 0)), fit = json_integer_value(json_array_get(json_object_get(j, "dead"), 1));
    json_array_foreach(json_object_get(j, "all"), i, v) all += json_integer_value(v);
    json_array_foreach(json_object_get(j, "fit"), i, v) fit += json_integer_value(v);
    assert_int_equal(all, FIXTURE_FEATURES);
    assert_int_equal(fit, whole(j, "total"));
    assert_true(fit > 0 && fit < all);
    json_decref(j);
}

static void features(void **state)
{
    rig *r = *state;
    json_t *list = get(r, "/api/set/sae-a/rows?sort=density&down=1&n=1");
    char path[128];
    snprintf(path, sizeof path, "/api/set/sae-a/feature/%d", (int)column_at(list, 0, 0));
    json_decref(list);
    json_t *j = get(r, path), *contexts = json_object_get(j, "contexts"), *c = json_array_get(contexts, 0);
    assert_true(json_array_size(contexts) > 5);
    assert_string_equal(json_string_value(json_object_get(c, "kind")), "top");
    assert_int_equal(json_array_size(json_object_get(c, "text")), json_array_size(json_object_get(c, "level")));
    double value = json_number_value(json_object_get(c, "value")), max = json_number_value(json_object_get(j, "max"));
    assert_float_equal(value, max, 1e-5 * max);
    assert_float_equal(json_number_value(json_array_get(json_object_get(c, "level"), (size_t)whole(c, "focus"))), max, 1e-5 * max);
    assert_int_equal(json_array_size(json_object_get(j, "hist")), SL_FEATURE_BINS);
    assert_non_null(json_object_get(j, "lens"));
    snprintf(path, sizeof path, "/api/set/sae-a/around/%d", (int)whole(c, "at"));
    json_t *around = get(r, path);
    assert_string_equal(json_string_value(json_array_get(json_object_get(around, "text"), (size_t)whole(around, "focus"))),
                        json_string_value(json_array_get(json_object_get(c, "text"), (size_t)whole(c, "focus"))));
    assert_true(json_array_size(json_object_get(around, "text")) > json_array_size(json_object_get(c, "text")));
    json_decref(around);
    json_decref(j);
    json_decref(client_json(r->port, "GET", "/api/set/sae-a/feature/96", NULL, 404));
    json_decref(client_json(r->port, "GET", "/api/set/sae-a/feature/x", NULL, 404));
    json_decref(client_json(r->port, "GET", "/api/set/sae-a/around/999999999", NULL, 404));
}

/* What was left beside the index of sae-a, and that nothing was left beside sae-b. */
static void compositions(void **state)
{
    rig *r = *state;
    json_t *j = get(r, "/api/set/sae-a/compositions"), *list = json_object_get(j, "list"), *u = json_array_get(list, 2);
    assert_int_equal(whole(j, "rows"), 100);
    assert_int_equal(json_array_size(list), 4);
    assert_int_equal(whole(json_array_get(list, 1), "fired"), 0); /* dead: it is there, without members */
    assert_int_equal(json_array_size(json_object_get(json_array_get(list, 1), "members")), 0);
    assert_true(whole(u, "q") == 2 && whole(u, "fired") == 10 && json_number_value(json_object_get(u, "energy")) == .2);
    assert_int_equal(json_integer_value(json_array_get(json_array_get(json_object_get(u, "members"), 1), 0)), 9);
    json_decref(j);
    j = get(r, "/api/set/sae-a/composition/0");
    json_t *heat = json_object_get(j, "heat"), *pair = json_array_get(json_object_get(j, "pairs"), 0), *contexts = json_object_get(j, "contexts"), *c = json_array_get(contexts, 0);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(heat, "latents"), 1)), 5);
    assert_float_equal(json_number_value(json_array_get(json_array_get(json_object_get(heat, "pi"), 1), 0)), -.25, 0);
    assert_float_equal(json_number_value(json_array_get(pair, 3)), .125, 0);
    assert_int_equal(json_array_size(contexts), 2);
    assert_float_equal(json_number_value(json_object_get(c, "value")), 2.5, 0);
    json_t *around;
    char path[128];
    snprintf(path, sizeof path, "/api/set/sae-a/around/%d", (int)whole(c, "at"));
    around = get(r, path); /* document 0, token 9: nine tokens are before it */
    assert_int_equal(whole(around, "focus"), 9);
    assert_int_equal(whole(c, "focus"), 9);
    json_decref(around);
    json_decref(j);
    j = get(r, "/api/set/sae-a/composition/2"); /* no row with both, no place */
    assert_true(json_is_null(json_array_get(json_array_get(json_object_get(j, "pairs"), 0), 3)));
    assert_int_equal(json_array_size(json_object_get(j, "contexts")), 0);
    json_decref(j);
    j = get(r, "/api/set/sae-a/composition/3");
    assert_int_equal(whole(j, "fired"), 0);
    json_decref(j);
    j = get(r, "/api/set/sae-a/feature/3");
    list = json_object_get(j, "compositions");
    assert_int_equal(json_array_size(list), 2);
    assert_float_equal(json_number_value(json_array_get(json_array_get(list, 0), 1)), .75, 1e-6);
    json_decref(j);
    json_decref(client_json(r->port, "GET", "/api/set/sae-a/composition/4", NULL, 404));
    json_decref(client_json(r->port, "GET", "/api/set/sae-b/compositions", NULL, 404));
    json_decref(client_json(r->port, "GET", "/api/set/sae-b/composition/0", NULL, 404));
    j = get(r, "/api/sets");
    assert_true(json_is_true(json_object_get(json_array_get(json_object_get(j, "sets"), 0), "compositions")));
    assert_true(json_is_false(json_object_get(json_array_get(json_object_get(j, "sets"), 1), "compositions")));
    json_decref(j);
}

static void robustness(void **state)
{
    rig *r = *state;
    json_t *j = get(r, "/api/set/sae-a/stability"), *curve = json_array_get(json_object_get(j, "curves"), 0), *points = json_object_get(curve, "points");
    assert_string_equal(json_string_value(json_object_get(curve, "noise")), "gauss");
    assert_int_equal(json_array_size(points), 3); /* one had no value */
    assert_float_equal(json_number_value(json_array_get(json_array_get(points, 1), 2)), .7, 0);
    assert_float_equal(json_number_value(json_array_get(json_array_get(points, 2), 2)), .25, 0); /* no interval: the value itself */
    json_decref(j);
    j = get(r, "/api/set/sae-b/stability");
    assert_int_equal(json_array_size(json_object_get(j, "curves")), 0);
    json_decref(j);
    json_decref(client_json(r->port, "GET", "/api/set/nobody/stability", NULL, 404));
}

/* The mean of a column is over the features that have a value. */
static void means(void **state)
{
    rig *r = *state;
    json_t *sets_ = get(r, "/api/sets"), *columns = json_object_get(json_array_get(json_object_get(sets_, "sets"), 0), "columns"), *c;
    json_t *rows_ = get(r, "/api/set/sae-a/rows?n=200&columns=density");
    double sum = 0;
    size_t i;
    for (i = 0; i < FIXTURE_FEATURES; i++)
        sum += column_at(rows_, i, 3);
    json_array_foreach(columns, i, c) {
        const char *name = json_string_value(json_object_get(c, "name"));
        if (strcmp(name, "density") == 0)
            assert_float_equal(json_number_value(json_object_get(c, "mean")), sum / FIXTURE_FEATURES, 1e-9);
        if (strcmp(name, "top_token") == 0)
            assert_true(json_is_null(json_object_get(c, "mean")));
    }
    json_decref(rows_);
    json_decref(sets_);
}

/* A file beside the index that is damaged, or of another SAE, is left out; the rest is shown. */
static void damaged_beside(void **state)
{
    rig *r = *state;
#define UNIT(q, members, places, latents, pi) "\"n\": 1, \"rows\": 9, \"units\": [{\"q\": " q ", \"fired\": 1, \"energy\": 1, \"members\": [" members "], \"pairs\": [], \"places\": [" places \
                                              "], \"heat\": {\"latents\": [" latents "], \"pi\": [" pi "]}}]"
    static const struct { const char *body; int status; } cases[] = {
        { UNIT("0", "[95, 1]", "[9, 1]", "1", "[2]"), 200 }, { "\"n\": 4, \"rows\": 1, \"units\": 3", 404 }, { "\"n\": 4, \"rows\": 1, \"units\": [{}]", 404 },
        { UNIT("1", "[95, 1]", "[9, 1]", "1", "[2]"), 404 }, { UNIT("0", "[96, 1]", "[9, 1]", "1", "[2]"), 404 }, { UNIT("0", "[95]", "[9, 1]", "1", "[2]"), 404 },
        { UNIT("0", "[95, 1]", "[99999999, 1]", "1", "[2]"), 404 }, { UNIT("0", "[95, 1]", "[9, 1]", "1", "[2, 3]"), 404 }, { UNIT("0", "[95, 1]", "[9, 1]", "96", "[2]"), 404 },
    };
    char path[700], beside[800], text[1200];
    sl_features *f;
    snprintf(path, sizeof path, "%s/sae-b", r->dir);
    snprintf(beside, sizeof beside, "%s/features/compositions.json", path);
    sl_assert_ok(sl_features_open(r->ctx, path, false, &f, &err));
    const char *paths[] = { path };
    for (size_t i = 0; i < sizeof cases / sizeof *cases + 2; i++) { /* the last two: of another SAE, and no JSON */
        bool named = i < sizeof cases / sizeof *cases, other = i == sizeof cases / sizeof *cases;
        sl_server *s;
        snprintf(text, sizeof text, "{\"fingerprint\": \"%s\", %s%s", other ? "another" : sl_features_about(f)->fingerprint, cases[named ? i : 0].body, named || other ? "}" : "");
        sl_assert_ok(sl_file_write(r->ctx, beside, text, strlen(text), &err));
        sl_assert_ok(sl_serve_open(r->ctx, 1, paths, &(sl_serve_config){ 0 }, &s, &err));
        json_decref(client_json(sl_serve_port(s), "GET", "/api/set/sae-b/compositions", NULL, named ? cases[i].status : 404));
        json_decref(client_json(sl_serve_port(s), "GET", "/api/set/sae-b/feature/0", NULL, 200));
        sl_serve_close(s);
    }
    sl_features_close(f);
    remove(beside);
}

static void marking(void **state)
{
    rig *r = *state;
    char text[2048];
    json_decref(client_json(r->port, "POST", "/api/set/sae-a/mark/7", "{\"star\": true}", 200));
    json_decref(client_json(r->port, "POST", "/api/set/sae-a/mark/9", "{\"label\": \"Great Rivers\"}", 200));
    json_t *j = client_json(r->port, "POST", "/api/set/sae-a/mark/9", "{\"tags\": \"water odd\"}", 200);
    assert_string_equal(json_string_value(json_object_get(j, "tags")), "water odd");
    json_decref(j);
    json_decref(client_json(r->port, "POST", "/api/set/sae-a/mark/9", "{\"note\": \"n\"}", 200));
    static const char *const searches[][2] = { { "starred", "7" }, { "labelled", "9" }, { "tag:water", "9" }, { "tag:wat", "" }, { "rivers", "9" }, { "%22great%20riv%22", "9" },
                                               { "starred%20labelled", "" }, { "starred%20-labelled", "7" } };
    for (size_t i = 0; i < sizeof searches / sizeof *searches; i++) {
        char path[256];
        snprintf(path, sizeof path, "/api/set/sae-a/rows?sort=id&q=%s", searches[i][0]);
        j = get(r, path);
        assert_string_equal(ids_of(j, text), searches[i][1]);
        json_decref(j);
    }
    j = get(r, "/api/set/sae-a/rows?sort=label&n=2");
    assert_true(strncmp(ids_of(j, text), "9,", 2) == 0);
    json_decref(j);
    j = get(r, "/api/set/sae-a/rows?sort=star&n=1&down=1");
    assert_string_equal(ids_of(j, text), "7");
    json_decref(j);
    j = get(r, "/api/set/sae-b/rows?q=starred");
    assert_int_equal(whole(j, "total"), 0);
    json_decref(j);
    json_decref(client_json(r->port, "POST", "/api/set/sae-a/mark/96", "{\"star\": true}", 404));
    json_decref(client_json(r->port, "POST", "/api/set/sae-a/mark/1", "{\"star\": 1}", 400));
    json_decref(client_json(r->port, "POST", "/api/set/sae-a/mark/1", "{}", 400));
    json_decref(client_json(r->port, "GET", "/api/set/sae-a/mark/1", NULL, 405));
    /* a server that starts again knows them */
    sl_serve_close(r->s);
    const char *path = r->dir;
    sl_assert_ok(sl_serve_open(r->ctx, 1, &path, &(sl_serve_config){ .port = 0 }, &r->s, &err));
    r->port = sl_serve_port(r->s);
    j = get(r, "/api/set/sae-a/rows?q=starred");
    assert_int_equal(whole(j, "total"), 1);
    json_decref(j);
}

static void comparing(void **state)
{
    rig *r = *state;
    json_t *j = get(r, "/api/set/sae-a/compare/sae-a?n=200"), *row, *rows_ = json_object_get(j, "rows");
    size_t i;
    assert_int_equal(whole(j, "matched"), whole(j, "total"));
    json_array_foreach(rows_, i, row) {
        assert_int_equal(whole(json_object_get(row, "a"), "id"), whole(json_object_get(row, "b"), "id"));
        assert_float_equal(json_number_value(json_object_get(row, "cosine")), 1, 1e-5);
    }
    json_decref(j);
    j = get(r, "/api/set/sae-a/compare/sae-b?n=200");
    bool mutual = false;
    double last = -2;
    json_array_foreach(json_object_get(j, "rows"), i, row) {
        bool now = json_is_true(json_object_get(row, "mutual"));
        double c = json_number_value(json_object_get(row, "cosine"));
        assert_true(now || !mutual); /* lonely ones first */
        assert_true(c >= last || now != mutual);
        last = c;
        mutual = now;
    }
    json_decref(j);
    json_decref(client_json(r->port, "GET", "/api/set/sae-a/compare/none", NULL, 404));
}

static void texts(void **state)
{
    rig *r = *state;
    json_t *j = client_json(r->port, "POST", "/api/set/sae-a/text", "{\"text\": \"the old king\", \"feature\": 4}", 200), *tokens = json_object_get(j, "tokens"), *t;
    size_t i;
    assert_int_equal(json_array_size(tokens), 12);
    assert_string_equal(json_string_value(json_object_get(json_array_get(tokens, 4), "text")), "o");
    json_array_foreach(tokens, i, t) {
        json_t *top = json_object_get(t, "top");
        for (size_t k = 1; k < json_array_size(top); k++)
            assert_true(json_number_value(json_array_get(json_array_get(top, k), 1)) <= json_number_value(json_array_get(json_array_get(top, k - 1), 1)));
        assert_int_equal(json_array_size(top), whole(t, "l0"));
        assert_true(json_is_null(json_object_get(t, "loss")) == (i == 0));
    }
    json_t *why = json_object_get(j, "why");
    assert_int_equal(json_array_size(json_object_get(why, "pre")), 12);
    assert_true(json_is_number(json_array_get(json_object_get(why, "need"), 3)));
    json_decref(j);
    j = client_json(r->port, "POST", "/api/set/sae-a/text", "{\"text\": \"the old king went down to the river and waited\"}", 200);
    assert_int_equal(whole(j, "cut"), 46 - FIXTURE_BLOCK);
    json_decref(j);
    json_decref(client_json(r->port, "POST", "/api/set/sae-a/text", "{\"text\": \"\"}", 400));
    json_decref(client_json(r->port, "POST", "/api/set/sae-a/text", "{\"text\": \"Q\"}", 400)); /* not in the vocabulary */
    json_decref(client_json(r->port, "POST", "/api/set/sae-a/text", "{\"text\": \"a\", \"feature\": 96}", 400));
    json_decref(client_json(r->port, "POST", "/api/set/sae-a/text", "{}", 400));
}

static void steering(void **state)
{
    rig *r = *state;
    json_t *j = client_json(r->port, "POST", "/api/set/sae-a/steer",
                            "{\"text\": \"the old\", \"clamps\": [{\"feature\": 7, \"value\": 30}], \"tokens\": 20, \"seed\": 3, \"temperature\": 0.5}", 200);
    json_t *plain = json_object_get(j, "plain"), *steered = json_object_get(j, "steered");
    assert_int_equal(json_array_size(plain), 20);
    assert_int_equal(json_array_size(steered), 20);
    assert_false(json_equal(plain, steered));
    json_t *none = client_json(r->port, "POST", "/api/set/sae-a/steer", "{\"text\": \"the old\", \"clamps\": [], \"tokens\": 20, \"seed\": 3, \"temperature\": 0.5}", 200);
    assert_true(json_equal(json_object_get(none, "plain"), plain));
    assert_true(json_equal(json_object_get(none, "steered"), plain));
    json_decref(none);
    json_decref(j);
    static const char *const wrong[] = { "{\"text\": \"a\"}", "{\"text\": \"a\", \"clamps\": [{\"feature\": 96, \"value\": 1}]}", "{\"text\": \"a\", \"clamps\": [{\"feature\": 1, \"value\": -1}]}",
                                         "{\"text\": \"a\", \"clamps\": [3]}", "{\"text\": \"a\", \"clamps\": [], \"tokens\": 201}", "{\"text\": \"a\", \"clamps\": [{\"feature\": -1, \"value\": 1}]}" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        json_decref(client_json(r->port, "POST", "/api/set/sae-a/steer", wrong[i], 400));
}

/* ---- the grammar, without a server ---- */

static void grammar(void **state)
{
    rig *r = *state;
    char path[700];
    sl_features *f;
    sl__query q;
    snprintf(path, sizeof path, "%s/sae-a", r->dir);
    sl_assert_ok(sl_features_open(r->ctx, path, false, &f, &err));
    sl_assert_ok(sl__query_parse(f, "  density:<1e-3 max:>=2 max:1..5 density:=0 -\"x y\" #7 -tag:Odd mean:4", &q, &err));
    assert_int_equal(q.n, 8);
    assert_true(q.term[0].kind == SL__TERM_RANGE && q.term[0].hi == 1e-3 && q.term[0].hi_open && isinf(q.term[0].lo));
    assert_true(q.term[1].lo == 2 && !q.term[1].lo_open && isinf(q.term[1].hi));
    assert_true(q.term[2].lo == 1 && q.term[2].hi == 5);
    assert_true(q.term[3].lo == 0 && q.term[3].hi == 0);
    assert_true(q.term[4].kind == SL__TERM_WORD && q.term[4].not && strcmp(q.term[4].word, "x y") == 0);
    assert_true(q.term[5].kind == SL__TERM_ID && q.term[5].id == 7 && q.term[5].id_end == 7);
    assert_true(q.term[6].kind == SL__TERM_TAG && q.term[6].not && strcmp(q.term[6].word, "odd") == 0);
    assert_true(q.term[7].lo == 4 && q.term[7].hi == 4);
    sl_assert_ok(sl__query_parse(f, "", &q, &err));
    assert_int_equal(q.n, 0);
    sl_assert_ok(sl__query_parse(f, "\"a:b\" Word \"\" -", &q, &err));
    assert_int_equal(q.n, 3);
    assert_true(q.term[0].kind == SL__TERM_WORD && strcmp(q.term[0].word, "a:b") == 0);
    assert_string_equal(q.term[1].word, "word");
    sl_assert_fails(sl__query_parse(f, "#1x", &q, &err), SL_ARG, "#1x");
    sl_assert_fails(sl__query_parse(f, "#1-", &q, &err), SL_ARG, "#1-");
    sl_assert_fails(sl__query_parse(f, "max:1..x", &q, &err), SL_ARG, "no range");
    sl_assert_fails(sl__query_parse(f, "max:<", &q, &err), SL_ARG, "no number");
    sl_assert_fails(sl__query_parse(f, "top_token:3", &q, &err), SL_ARG, "cannot be compared");
    sl_assert_fails(sl__query_parse(f, "a a a a a a a a a a a a a a a a a", &q, &err), SL_ARG, "more than 16");
    sl_features_close(f);
}

static void opening(void **state)
{
    rig *r = *state;
    sl_server *s;
    const char *none = "/nowhere", *empty = sl_test_dir("browse_empty");
    sl_assert_fails(sl_serve_open(r->ctx, 1, &none, &(sl_serve_config){ 0 }, &s, &err), SL_MISSING, "/nowhere");
    sl_assert_fails(sl_serve_open(r->ctx, 1, &empty, &(sl_serve_config){ 0 }, &s, &err), SL_MISSING, "saelab features build");
    char path[700];
    snprintf(path, sizeof path, "%s/sae-b/features", r->dir);
    const char *twice[] = { path, path };
    sl_assert_ok(sl_serve_open(r->ctx, 2, twice, &(sl_serve_config){ 0 }, &s, &err));
    json_t *j = client_json(sl_serve_port(s), "GET", "/api/set/sae-b-2/rows?n=1", NULL, 200);
    json_decref(j);
    sl_serve_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(pages),    cmocka_unit_test(sets),      cmocka_unit_test(rows),     cmocka_unit_test(densities),
                                        cmocka_unit_test(features), cmocka_unit_test(compositions), cmocka_unit_test(robustness), cmocka_unit_test(means), cmocka_unit_test(damaged_beside), cmocka_unit_test(marking),   cmocka_unit_test(comparing), cmocka_unit_test(texts),
                                        cmocka_unit_test(steering), cmocka_unit_test(grammar),   cmocka_unit_test(opening) };
    return cmocka_run_group_tests_name("browse", tests, set_up, tear_down);
}
