/* The sealed key of a human study, its analysis with raters of known skill, and its export. */
#include "raters_material.h"

#include <stdlib.h>
#include <sys/stat.h>

static sl_err err;

/* Adds the lines of the analysis up. */
typedef struct lines { char text[20000]; size_t n; int count; bool marked; } lines;

static void keep(void *user, const char *line)
{
    lines *l = user;
    if (strncmp(line, "SIMULATED", 9) != 0)
        l->marked = false;
    l->count++;
    l->n += (size_t)snprintf(l->text + l->n, sizeof l->text - l->n, "%s\n", line);
}

static json_t *analysed(sl_raters *r, lines *l)
{
    sl_raters_analysis_opts o = { NULL, 500, 1 };
    char path[RATERS_PATH];
    json_t *j;
    *l = (lines){ .marked = true };
    sl_assert_ok(sl_raters_analyse(r, &o, keep, l, &err));
    sl_assert_ok(sl__raters_file(r, "analysis.json", path, &err));
    sl_assert_ok(sl_json_load_file(r->ctx, path, &j, &err));
    return j;
}

/* ---- the key ---- */

static void flip_byte(const char *dir, const char *name, long at)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, at, SEEK_SET);
    int c = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(c ^ 1, f);
    fclose(f);
}

static bool holds(const char *bytes, size_t n, const char *word)
{
    size_t k = strlen(word);
    for (size_t i = 0; i + k <= n; i++)
        if (memcmp(bytes + i, word, k) == 0)
            return true;
    return false;
}

static void the_key_is_sealed(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    char dir[600], other[600], seal[700], path[700], *text;
    size_t n;
    lines l = { 0 };
    struct stat file;
    sl_raters_opts o = material_options(2);
    sl_raters_analysis_opts a = { NULL, 200, 1 };
    const char *tmp = sl_test_dir("key");
    snprintf(dir, sizeof dir, "%s/study", tmp);
    snprintf(other, sizeof other, "%s/other", tmp);
    snprintf(seal, sizeof seal, "%s/other/seal.key", tmp);
    sl_raters *r = material_study(ctx, dir, 2, 2, 0, &o);
    sl_raters_close(material_study(ctx, other, 2, 2, 0, &o));
    for (int i = 0; i < 2; i++) { /* only the owner reads the seal and the links */
        snprintf(path, sizeof path, "%s/%s", dir, i ? "raters.txt" : "seal.key");
        assert_int_equal(stat(path, &file), 0);
        assert_int_equal(file.st_mode & 0777, 0600);
    }
    snprintf(path, sizeof path, "%s/key.sealed", dir);
    sl_assert_ok(sl_file_read(ctx, path, &text, &n, &err));
    assert_true(n > 1000 && !holds(text, n, "topk") && !holds(text, n, "intruder"));
    sl_free(ctx, text);
    material_answer_all(r, 2);
    sl_assert_fails(sl_raters_analyse(r, &a, keep, &l, &err), SL_ARG, "raters may still answer");
    sl_assert_ok(sl_raters_freeze(r, &err));
    a.seal = seal;
    sl_assert_fails(sl_raters_analyse(r, &a, keep, &l, &err), SL_DATA, "sealed with another key");
    a.seal = "/nonexistent";
    sl_assert_fails(sl_raters_analyse(r, &a, keep, &l, &err), SL_MISSING, "/nonexistent");
    a.seal = NULL;
    flip_byte(dir, "key.sealed", 300);
    sl_assert_fails(sl_raters_analyse(r, &a, keep, &l, &err), SL_DATA, "it was changed");
    flip_byte(dir, "key.sealed", 300);
    sl_assert_ok(sl_raters_analyse(r, &a, keep, &l, &err));
    /* answers changed behind its back */
    assert_int_equal(sqlite3_exec(r->db, "DROP TRIGGER answer_kept; UPDATE answer SET answer = '{\"choice\":0}' WHERE answer = '{\"choice\":1}'", NULL, NULL, NULL), SQLITE_OK);
    sl_assert_fails(sl_raters_analyse(r, &a, keep, &l, &err), SL_DATA, "not those that were frozen");
    sl_raters_close(r);
    sl_ctx_free(ctx);
}

static void opened_too_early(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    char dir[600];
    lines l = { 0 };
    sl_raters_opts o = material_options(2);
    sl_raters_analysis_opts a = { NULL, 200, 1 };
    snprintf(dir, sizeof dir, "%s/study", sl_test_dir("early"));
    sl_raters *r = material_study(ctx, dir, 2, 2, 0, &o);
    material_answer_all(r, 1);
    sl_assert_ok(sl_raters_export(r, false, NULL, &err)); /* this does not open it */
    sl_raters_state s;
    sl_assert_ok(sl_raters_tell(r, &s, &err));
    assert_false(s.opened);
    sl_assert_ok(sl_raters_export(r, true, NULL, &err));
    sl_assert_ok(sl_raters_freeze(r, &err));
    sl_assert_fails(sl_raters_analyse(r, &a, keep, &l, &err), SL_DATA, "opened before the freeze");
    sl_raters_close(r);
    sl_ctx_free(ctx);
}

/* A record of the key that is not the one of the beginning: the store's hash tells. */
static void another_key(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    char dir[600], path[700];
    sl_raters_opts o = material_options(2);
    json_t *key;
    snprintf(dir, sizeof dir, "%s/study", sl_test_dir("another"));
    sl_raters *r = material_study(ctx, dir, 2, 2, 0, &o);
    sl_assert_ok(sl__key_open(r, NULL, &key, &err));
    json_t *record = json_array_get(json_object_get(key, "items"), 9);
    json_object_set_new(record, "method", json_string("proposed, or was it"));
    snprintf(path, sizeof path, "%s/seal.key", dir);
    assert_int_equal(remove(path), 0);
    sl_assert_ok(sl__seal(ctx, dir, key, &err));
    json_decref(key);
    sl_assert_fails(sl__key_open(r, NULL, &key, &err), SL_DATA, "not the one of the beginning");
    sl_raters_close(r);
    sl_ctx_free(ctx);
}

/* ---- analysis ---- */

static void not_run(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    char dir[600];
    lines l;
    sl_raters_opts o = material_options(3);
    snprintf(dir, sizeof dir, "%s/study", sl_test_dir("nobody"));
    sl_raters *r = material_study(ctx, dir, 3, 2, 0, &o);
    json_t *j = analysed(r, &l); /* before the freeze */
    assert_string_equal(json_string_value(json_object_get(j, "status")), "NOT RUN");
    assert_null(json_object_get(j, "tasks"));
    assert_string_equal(l.text, "NOT RUN: nobody has answered\n");
    json_decref(j);
    sl_assert_ok(sl_raters_freeze(r, &err));
    j = analysed(r, &l);
    assert_string_equal(json_string_value(json_object_get(j, "status")), "NOT RUN");
    json_decref(j);
    sl_raters_state s;
    sl_assert_ok(sl_raters_tell(r, &s, &err));
    assert_false(s.opened); /* the key stays sealed */
    sl_raters_close(r);
    sl_ctx_free(ctx);
}

static double number(const json_t *j, const char *key) { return json_number_value(json_object_get(j, key)); }

static void inside(const json_t *j, double truth, const char *what)
{
    const json_t *i = json_object_get(j, "interval");
    double lo = json_number_value(json_array_get(i, 0)), hi = json_number_value(json_array_get(i, 1));
    if (!(lo <= truth && truth <= hi) || !(hi - lo < 1.5))
        fail_msg("%s: %.3f is outside of %.3f .. %.3f", what, truth, lo, hi);
}

/* Skills .9, .5 and .1, five raters who know and one who guesses everything: every score within its interval, the guesser left out. */
static void known_skill(void **state)
{
    (void)state;
    static const double skill[3] = { .9, .5, .1 };
    sl_ctx *ctx = sl_test_ctx(1);
    char dir[600];
    lines l;
    sl_raters_opts o = material_options(6);
    const char *texts[] = { "0.9", "0.5", "0.1" };
    o.simulated = true;
    o.skill = (sl_strs){ texts, 3 };
    o.careless = 1;
    o.per_feature = 6;
    snprintf(dir, sizeof dir, "%s/study", sl_test_dir("skill"));
    sl_raters *r = material_study(ctx, dir, 3, 20, 20, &o);
    assert_true(r->simulated);
    sl_assert_ok(sl_raters_freeze(r, &err));
    json_t *j = analysed(r, &l), *tasks = json_object_get(j, "tasks");
    assert_string_equal(json_string_value(json_object_get(j, "status")), "SIMULATED");
    assert_true(json_is_true(json_object_get(j, "simulated")) && l.marked); /* every line of it */
    assert_true(json_is_true(json_object_get(json_array_get(json_object_get(j, "raters"), 0), "left_out")));
    for (size_t i = 1; i < 6; i++)
        assert_true(json_is_false(json_object_get(json_array_get(json_object_get(j, "raters"), i), "left_out")));
    const json_t *intruder = json_object_get(tasks, "intruder"), *detection = json_object_get(tasks, "detection"), *rating = json_object_get(tasks, "rating");
    assert_int_equal(number(intruder, "answers"), 5 * 3 * 20 * 4); /* without catch trials and the one left out */
    for (size_t g = 0; g < 3; g++) {
        inside(json_array_get(json_object_get(intruder, "methods"), g), skill[g] + (1 - skill[g]) / 5, "intruder");
        inside(json_array_get(json_object_get(detection, "methods"), g), skill[g] + (1 - skill[g]) / 2, "detection");
        inside(json_array_get(json_object_get(rating, "methods"), g), 5 * skill[g] + 3 * (1 - skill[g]), "rating");
    }
    const json_t *composition = json_object_get(tasks, "composition"); /* of the third method alone */
    assert_int_equal(json_array_size(json_object_get(composition, "methods")), 1);
    inside(json_array_get(json_object_get(composition, "methods"), 0), .1 + .9 / 4, "composition");
    const json_t *c = json_object_get(intruder, "contrasts");
    assert_int_equal(json_array_size(c), 3);
    for (size_t i = 0; i < 3; i++) {
        static const double truth[3] = { .32, .64, .32 };
        inside(json_array_get(c, i), truth[i], "contrast");
        assert_true(number(json_array_get(c, i), "p_holm") < .05 && number(json_array_get(c, i), "p_holm") >= number(json_array_get(c, i), "p"));
        assert_true(number(json_array_get(c, i), "minimum_detectable") > 0);
    }
    assert_true(number(json_object_get(detection, "alpha"), "value") > .1); /* all know the same truth, half of the time */
    assert_true(json_is_true(json_object_get(json_object_get(rating, "alpha"), "descriptive_only")));
    assert_non_null(strstr(l.text, "left out: rater 1"));
    assert_non_null(strstr(l.text, "below .667"));
    json_decref(j);
    sl_raters_close(r);
    sl_ctx_free(ctx);
}

static void everybody_left_out(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    char dir[600];
    lines l;
    sl_raters_opts o = material_options(2);
    o.catches = 8;
    snprintf(dir, sizeof dir, "%s/study", sl_test_dir("careless"));
    sl_raters *r = material_study(ctx, dir, 2, 2, 0, &o);
    material_answer_all(r, 2); /* without a look at the questions */
    sl_assert_ok(sl_raters_freeze(r, &err));
    json_t *j = analysed(r, &l);
    assert_string_equal(json_string_value(json_object_get(j, "status")), "NOT RUN");
    assert_string_equal(json_string_value(json_object_get(j, "reason")), "every rater is left out");
    json_decref(j);
    sl_raters_close(r);
    sl_ctx_free(ctx);
}

/* ---- export ---- */

static int64_t lines_of(sl_raters *r, const char *name, const char *each, bool *all)
{
    char path[RATERS_PATH], *text, *save, *line;
    size_t n;
    int64_t count = 0;
    sl_assert_ok(sl__raters_file(r, name, path, &err));
    sl_assert_ok(sl_file_read(r->ctx, path, &text, &n, &err));
    *all = true;
    for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save), count++)
        *all = *all && strstr(line, each);
    sl_free(r->ctx, text);
    return count;
}

static void exported(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    const char *tmp = sl_test_dir("export"), *half[] = { ".5" };
    char dir[600], path[RATERS_PATH], *text;
    size_t n;
    bool all;
    sl_raters_state s;
    sl_raters_opts o = material_options(2);
    snprintf(dir, sizeof dir, "%s/people", tmp);
    sl_raters *r = material_study(ctx, dir, 2, 2, 0, &o);
    material_answer_all(r, 2);
    sl_assert_ok(sl_raters_freeze(r, &err));
    sl_assert_ok(sl_raters_export(r, true, NULL, &err));
    sl_assert_ok(sl_raters_tell(r, &s, &err));
    assert_int_equal(lines_of(r, "export/items.jsonl", "\"key_hash\":", &all), s.n_items);
    assert_true(all);
    assert_int_equal(lines_of(r, "export/answers.jsonl", "\"client_version\":\"t\"", &all), s.n_answers);
    assert_true(all);
    assert_int_equal(lines_of(r, "export/answers.csv", ",", &all), s.n_answers + 1);
    assert_int_equal(lines_of(r, "export/scores.csv", ",no", &all), s.n_answers + 1);
    sl_assert_ok(sl__raters_file(r, "export/scores.csv", path, &err));
    sl_assert_ok(sl_file_read(ctx, path, &text, &n, &err));
    assert_non_null(strstr(text, ",\"'=words, \"\"quoted\"\"\",no\n")); /* no formula for a spreadsheet, quotes doubled */
    assert_non_null(strstr(text, ",\"topk\",1000,"));
    sl_free(ctx, text);
    sl_raters_close(r);
    o.simulated = true;
    o.skill = (sl_strs){ half, 1 };
    snprintf(dir, sizeof dir, "%s/simulated", tmp);
    r = material_study(ctx, dir, 2, 2, 0, &o);
    sl_assert_ok(sl_raters_export(r, true, NULL, &err));
    lines_of(r, "export/items.jsonl", "\"simulated\":true", &all);
    assert_true(all);
    lines_of(r, "export/answers.jsonl", "\"simulated\":true", &all);
    assert_true(all);
    lines_of(r, "export/answers.csv", "SIMULATED", &all);
    assert_false(all); /* but its heading, which says `simulated` */
    sl_raters_close(r);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_key_is_sealed), cmocka_unit_test(opened_too_early), cmocka_unit_test(another_key), cmocka_unit_test(not_run),
        cmocka_unit_test(known_skill), cmocka_unit_test(everybody_left_out), cmocka_unit_test(exported),
    };
    return cmocka_run_group_tests_name("raters analysis", tests, NULL, NULL);
}
