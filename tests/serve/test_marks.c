/* Stars, tags, notes and labels: kept, ordered, shared by connections, and refused where they do not fit. */
#include "files.h"
#include "support.h"

#include <saelab/marks.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

static sl_err err;

static void kept(void **state)
{
    sl_ctx *ctx = sl_test_ctx(1);
    const char *dir = sl_test_dir("marks_kept");
    sl_marks *m, *other;
    sl_mark k;
    (void)state;
    sl_assert_ok(sl_marks_open(ctx, dir, &m, &err));
    sl_assert_ok(sl_marks_get(m, 3, &k, &err));
    assert_false(k.star);
    assert_int_equal(k.n_labels, 0);
    assert_int_equal(count_entries(dir), 0); /* looking makes no file */
    sl_assert_ok(sl_marks_star(m, 3, true, &err));
    sl_assert_ok(sl_marks_tags(m, 3, "river water", &err));
    sl_assert_ok(sl_marks_note(m, 3, "it's \"odd\"; DROP TABLE mark", &err));
    sl_assert_ok(sl_marks_label(m, 3, "rivers", "", NAN, &err));
    sl_assert_ok(sl_marks_open(ctx, dir, &other, &err));
    sl_assert_ok(sl_marks_get(other, 3, &k, &err));
    assert_true(k.star);
    assert_string_equal(k.tags, "river water");
    assert_string_equal(k.note, "it's \"odd\"; DROP TABLE mark");
    assert_int_equal(k.n_labels, 1);
    assert_string_equal(k.label[0].source, "me");
    assert_false(k.label[0].has_score);
    sl_assert_ok(sl_marks_star(other, 3, false, &err));
    sl_assert_ok(sl_marks_get(m, 3, &k, &err));
    assert_false(k.star);
    assert_string_equal(k.tags, "river water");
    sl_marks_close(other);
    sl_marks_close(m);
    sl_ctx_free(ctx);
}

static void labels_in_order(void **state)
{
    sl_ctx *ctx = sl_test_ctx(1);
    sl_marks *m;
    sl_mark k;
    (void)state;
    sl_assert_ok(sl_marks_open(ctx, sl_test_dir("marks_labels"), &m, &err));
    sl_assert_ok(sl_marks_label(m, 1, "by a model", "model-a", .4, &err));
    sl_assert_ok(sl_marks_label(m, 1, "by a better one", "model-b", .9, &err));
    sl_assert_ok(sl_marks_label(m, 1, "unsure", "a-third", NAN, &err));
    sl_assert_ok(sl_marks_label(m, 1, "mine", "me", NAN, &err));
    sl_assert_ok(sl_marks_label(m, 1, "again", "model-a", .95, &err));
    sl_assert_ok(sl_marks_get(m, 1, &k, &err));
    static const char *const expected[] = { "mine", "again", "by a better one", "unsure" };
    assert_int_equal(k.n_labels, 4);
    for (int i = 0; i < 4; i++)
        assert_string_equal(k.label[i].text, expected[i]);
    assert_float_equal(k.label[1].score, .95, 0);
    sl_assert_ok(sl_marks_label(m, 1, "", "me", NAN, &err));
    sl_assert_ok(sl_marks_get(m, 1, &k, &err));
    assert_int_equal(k.n_labels, 3);
    assert_string_equal(k.label[0].text, "again");
    sl_marks_close(m);
    sl_ctx_free(ctx);
}

typedef struct seen { char text[256]; } seen;

static void each_mark(void *user, int64_t id, bool star, const char *tags, const char *best)
{
    seen *s = user;
    size_t n = strlen(s->text);
    snprintf(s->text + n, sizeof s->text - n, "%d%s[%s]%s;", (int)id, star ? "*" : "", tags, best);
}

static void each_label(void *user, int64_t id, const sl_label *l)
{
    seen *s = user;
    size_t n = strlen(s->text);
    snprintf(s->text + n, sizeof s->text - n, "%d:%s/%s/%g;", (int)id, l->text, l->source, l->has_score ? l->score : -1);
}

static void walks(void **state)
{
    sl_ctx *ctx = sl_test_ctx(1);
    sl_marks *m;
    seen s = { "" };
    (void)state;
    sl_assert_ok(sl_marks_open(ctx, sl_test_dir("marks_walks"), &m, &err));
    sl_assert_ok(sl_marks_each(m, each_mark, &s, &err));
    assert_string_equal(s.text, "");
    sl_assert_ok(sl_marks_begin(m, &err));
    sl_assert_ok(sl_marks_label(m, 9, "nine", "x", .5, &err));
    sl_assert_ok(sl_marks_end(m, true, &err));
    sl_assert_ok(sl_marks_begin(m, &err));
    sl_assert_ok(sl_marks_label(m, 10, "ten", "x", .5, &err));
    sl_assert_ok(sl_marks_end(m, false, &err));
    sl_assert_ok(sl_marks_star(m, 2, true, &err));
    sl_assert_ok(sl_marks_tags(m, 9, "a b", &err));
    sl_assert_ok(sl_marks_label(m, 9, "neun", "me", NAN, &err));
    sl_assert_ok(sl_marks_each(m, each_mark, &s, &err));
    assert_string_equal(s.text, "2*[];9[a b]neun;");
    s.text[0] = 0;
    sl_assert_ok(sl_marks_labels(m, each_label, &s, &err));
    assert_string_equal(s.text, "9:neun/me/-1;9:nine/x/0.5;");
    sl_marks_close(m);
    sl_ctx_free(ctx);
}

static void refusals(void **state)
{
    sl_ctx *ctx = sl_test_ctx(1);
    sl_marks *m;
    char large[SL_MARK_NOTE + 2], path[600];
    const char *dir = sl_test_dir("marks_refused");
    (void)state;
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = 0;
    sl_assert_ok(sl_marks_open(ctx, dir, &m, &err));
    sl_assert_fails(sl_marks_note(m, 1, large, &err), SL_ARG, "note");
    sl_assert_fails(sl_marks_tags(m, 1, large, &err), SL_ARG, "tags");
    sl_assert_fails(sl_marks_label(m, 1, large, "me", 0, &err), SL_ARG, "label");
    sl_assert_fails(sl_marks_label(m, 1, "a", large, 0, &err), SL_ARG, "source");
    sl_marks_close(m);
    snprintf(path, sizeof path, "%s/marks.sqlite", dir);
    put_file(path, "this is no database, however long it may be, and never was one before", 68);
    sl_assert_fails(sl_marks_open(ctx, dir, &m, &err), SL_IO, "marks.sqlite");
    assert_null(m);
    sl_assert_ok(sl_marks_open(ctx, "/nowhere/at/all", &m, &err));
    sl_assert_fails(sl_marks_star(m, 1, true, &err), SL_IO, "/nowhere/at/all/marks.sqlite");
    sl_marks_close(m);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(kept), cmocka_unit_test(labels_in_order), cmocka_unit_test(walks), cmocka_unit_test(refusals) };
    return cmocka_run_group_tests_name("marks", tests, NULL, NULL);
}
