/* A human study without its server: questions, who gets which, answering, what is refused. */
#include "raters_material.h"

#include <stdlib.h>

static sl_err err;

/* ---- questions ---- */

static int64_t count_levels(const json_t *context)
{
    size_t i;
    json_t *v;
    int64_t n = 0;
    json_array_foreach(json_object_get(context, "a"), i, v)
        n += json_integer_value(v) > 0;
    return n;
}

static const char *focus_word(const json_t *context)
{
    return json_string_value(json_array_get(json_object_get(context, "t"), MATERIAL_FOCUS));
}

/* The right answers, recomputed from what is shown: the material's words tell. */
static void check_item(const sl__rater_item *it, const char *word)
{
    const json_t *contexts = json_object_get(it->payload, "contexts"), *on = json_object_get(json_object_get(it->payload, "card"), "on");
    size_t i;
    json_t *c;
    if (it->task == RATE_INTRUDER) {
        assert_int_equal(json_array_size(contexts), 5);
        json_array_foreach(contexts, i, c) {
            bool odd = strcmp(focus_word(c), word) != 0;
            assert_true(odd == ((json_int_t)i == json_integer_value(it->right)));
            assert_int_equal(count_levels(c), 1); /* the intruder has as many marks as the others */
            assert_null(json_object_get(c, "f"));
        }
    } else if (it->task == RATE_DETECTION) {
        int n_on = 0;
        assert_int_equal(json_array_size(contexts), 10);
        json_array_foreach(contexts, i, c) {
            bool right = json_integer_value(json_array_get(it->right, i)) != 0;
            n_on += right;
            assert_null(json_object_get(c, "a")); /* nothing gives it away */
            if (right)
                assert_string_equal(focus_word(c), word);
        }
        assert_int_equal(n_on, 5);
    }
    if (it->task == RATE_RATING || it->task == RATE_DETECTION) {
        json_int_t last = 11;
        assert_int_equal(json_array_size(on), 10);
        json_array_foreach(on, i, c) { /* one of each tenth, so two of each fifth, from the strongest down */
            json_int_t level = json_integer_value(json_array_get(json_object_get(c, "a"), MATERIAL_FOCUS));
            assert_true(level == last - 1);
            last = level;
        }
        assert_int_equal(json_array_size(json_object_get(json_object_get(it->payload, "card"), "off")), 5);
    }
}

static void questions(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl__rater_material m;
    sl__rater_items items = { 0 };
    int n[RATE_N_TASKS] = { 0 }, catches = 0, at[5] = { 0 };
    material_make(ctx, 3, 4, 2, &m);
    sl_assert_ok(sl__items_make(ctx, &m, 6, "secret", 3, &items, &err));
    for (int64_t i = 0; i < items.n; i++) {
        const sl__rater_item *it = &items.v[i];
        char word[32], *shown = json_dumps(it->payload, 0);
        catches += it->feature < 0;
        n[it->task] += it->feature >= 0;
        if (it->task == RATE_INTRUDER)
            at[json_integer_value(it->right)]++;
        assert_true(!strstr(shown, "topk") && !strstr(shown, "proposed") && !strstr(shown, "random") && !strstr(shown, "100")); /* neither method nor number */
        free(shown);
        snprintf(word, sizeof word, " word%lld", (long long)it->feature);
        if (it->feature >= 0 && it->feature < m.n_features)
            check_item(it, word);
        for (int64_t k = 0; k < i; k++)
            assert_string_not_equal(it->id, items.v[k].id);
    }
    assert_int_equal(catches, 6);
    assert_true(n[RATE_INTRUDER] == 48 && n[RATE_DETECTION] == 12 && n[RATE_RATING] == 12 && n[RATE_COMPOSITION] == 2);
    for (int i = 0; i < 5; i++)
        assert_in_range(at[i], 3, 22); /* 54 of them over five places: 4 standard deviations */
    sl__items_release(ctx, &items);
    /* the same material gives the same questions; the secret names them otherwise */
    sl__material_release(ctx, &m);
    material_make(ctx, 3, 4, 2, &m);
    json_array_clear(m.feature[5].silent);
    sl_assert_fails(sl__items_make(ctx, &m, 0, "secret", 3, &items, &err), SL_DATA, "feature 1005 has too few contexts");
    sl__items_release(ctx, &items);
    sl__material_release(ctx, &m);
    sl_ctx_free(ctx);
}

/* Four of a catch trial's marked words are the same, the fifth is not. */
static void catch_trials(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl__rater_material m;
    sl__rater_items items = { 0 };
    material_make(ctx, 2, 2, 0, &m);
    sl_assert_ok(sl__items_make(ctx, &m, 20, "secret", 3, &items, &err));
    for (int64_t i = 0; i < 20; i++) {
        const char *word[5] = { NULL };
        size_t c, t;
        json_t *context, *level;
        json_array_foreach(json_object_get(items.v[i].payload, "contexts"), c, context)
            json_array_foreach(json_object_get(context, "a"), t, level)
                if (json_integer_value(level) > 0) {
                    assert_null(word[c]);
                    word[c] = json_string_value(json_array_get(json_object_get(context, "t"), t));
                }
        json_int_t odd = json_integer_value(items.v[i].right);
        for (json_int_t k = 0; k < 5; k++)
            assert_true((strcmp(word[k], word[(odd + 1) % 5]) == 0) == (k != odd));
        assert_true(json_is_true(json_object_get(items.v[i].key, "catch")));
    }
    sl__items_release(ctx, &items);
    sl__material_release(ctx, &m);
    sl_ctx_free(ctx);
}

/* ---- who gets what ---- */

static void judges_are_balanced(void **state)
{
    (void)state;
    enum { N = 60, RATERS = 7, EACH = 3, METHODS = 3 };
    sl_ctx *ctx = sl_test_ctx(1);
    int32_t method[N];
    uint8_t judge[N * RATERS];
    int64_t load[METHODS][RATERS] = { { 0 } }, met[RATERS][RATERS] = { { 0 } }, low = N, high = 0;
    for (int i = 0; i < N; i++)
        method[i] = i / 20;
    sl_assert_ok(sl__plan_judges(ctx, method, N, METHODS, RATERS, EACH, 9, judge, &err));
    for (int i = 0; i < N; i++) {
        int n = 0;
        for (int a = 0; a < RATERS; a++) {
            n += judge[i * RATERS + a];
            load[method[i]][a] += judge[i * RATERS + a];
            for (int b = 0; b < a; b++)
                met[a][b] += judge[i * RATERS + a] && judge[i * RATERS + b];
        }
        assert_int_equal(n, EACH);
    }
    for (int k = 0; k < METHODS; k++)
        for (int a = 0; a < RATERS; a++)
            assert_in_range(load[k][a], 8, 9); /* 20 x 3 / 7 = 8.57 */
    for (int a = 0; a < RATERS; a++)
        for (int b = 0; b < a; b++) {
            low = met[a][b] < low ? met[a][b] : low;
            high = met[a][b] > high ? met[a][b] : high;
        }
    assert_in_range(high - low, 0, 5); /* on average 60 x 3 / 21 = 8.57 */
    sl_ctx_free(ctx);
}

static void orders(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    sl__rater_material m;
    sl__rater_items items = { 0 };
    sl_raters_opts o = material_options(2);
    sl__rater_turn turn[2][200];
    int64_t n[2];
    uint8_t mine[12];
    material_make(ctx, 3, 4, 0, &m);
    memset(mine, 1, sizeof mine);
    mine[7] = 0;
    sl_assert_ok(sl__items_make(ctx, &m, 6, "secret", 3, &items, &err));
    for (int r = 0; r < 2; r++) {
        bool seen[200] = { false }, carded[12] = { false };
        sl_assert_ok(sl__plan_turns(ctx, &items, mine, 12, &o, r, turn[r], &n[r], &err));
        assert_int_equal(n[r], 11 * 6 + 6); /* 3 sessions of 2 catches */
        for (int64_t i = 0; i < n[r]; i++) {
            const sl__rater_item *it = &items.v[turn[r][i].item];
            assert_false(seen[turn[r][i].item]);
            seen[turn[r][i].item] = true;
            assert_true(it->feature != 7 && (i == 0 || turn[r][i].session >= turn[r][i - 1].session) && turn[r][i].session < 3);
            if (it->feature >= 0 && it->task == RATE_INTRUDER)
                assert_false(carded[it->feature]); /* no card before its intruders */
            if (it->task == RATE_RATING) {
                carded[it->feature] = true;
                assert_true(items.v[turn[r][i - 1].item].feature == it->feature); /* right after its detection */
            }
        }
    }
    assert_true(memcmp(turn[0], turn[1], sizeof turn[0][0] * 20) != 0);
    sl__items_release(ctx, &items);
    sl__material_release(ctx, &m);
    sl_ctx_free(ctx);
}

/* ---- answering ---- */

/* What is no answer to the question `id` is refused; one that is goes in once. */
static void answer_one(sl_raters *r, int64_t rater, const char *id, const json_t *answer, int ms)
{
    json_t *wrong = json_pack("{s:i}", "choice", 7);
    sl_assert_fails(sl__rater_answer(r, rater, id, wrong, 10, "t", &err), SL_ARG, "no answer to the question");
    sl_assert_fails(sl__rater_answer(r, rater, id, NULL, 10, "t", &err), SL_ARG, "no answer to the question");
    sl_assert_fails(sl__rater_answer(r, rater, id, answer, -1, "t", &err), SL_ARG, "a week");
    sl_assert_fails(sl__rater_answer(r, rater, "no such item", answer, 10, "t", &err), SL_MISSING, "no such question");
    sl_assert_ok(sl__rater_answer(r, rater, id, answer, ms, "t", &err));
    sl_assert_ok(sl__rater_answer(r, rater, id, answer, 999, "t", &err)); /* sent again: kept once */
    sl_assert_fails(sl__rater_answer(r, rater, id, wrong, 10, "t", &err), SL_EXISTS, "otherwise already");
    json_decref(wrong);
}

static void answers_one_by_one(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    char dir[600], token[2][RATERS_TOKEN + 1], first[64] = "";
    sl_raters_opts o = material_options(2);
    json_t *next, *other, *answer;
    int64_t rater, total = 0;
    snprintf(dir, sizeof dir, "%s/study", sl_test_dir("answers"));
    sl_raters *r = material_study(ctx, dir, 2, 2, 1, &o);
    material_tokens(dir, token, 2);
    sl_assert_fails(sl__rater_of(r, "0123", &rater, &err), SL_MISSING, "no rater");
    sl_assert_fails(sl__rater_of(r, "00000000000000000000000000000000", &rater, &err), SL_MISSING, "no rater");
    sl_assert_fails(sl__rater_of(r, NULL, &rater, &err), SL_MISSING, "no rater");
    sl_assert_ok(sl__rater_of(r, token[1], &rater, &err));
    assert_int_equal(rater, 2);
    for (int k = 0;; k++) {
        sl_assert_ok(sl__rater_next(r, rater, &next, &err));
        assert_int_equal(json_integer_value(json_object_get(next, "done")), k);
        total = json_integer_value(json_object_get(next, "total"));
        const json_t *item = json_object_get(next, "item");
        if (json_is_null(item)) {
            json_decref(next);
            break;
        }
        const char *id = json_string_value(json_object_get(item, "id"));
        answer = material_answer(item, k);
        answer_one(r, rater, id, answer, 10 + k);
        if (k == 0) { /* the other rater has another question up */
            snprintf(first, sizeof first, "%s", id);
            sl_assert_ok(sl__rater_next(r, 1, &other, &err));
            assert_int_equal(json_integer_value(json_object_get(other, "done")), 0);
            if (strcmp(json_string_value(json_object_get(json_object_get(other, "item"), "id")), id) != 0)
                sl_assert_fails(sl__rater_answer(r, 1, id, answer, 10, "t", &err), SL_ARG, "not up");
            json_decref(other);
        }
        if (k == 5) { /* a server that starts again goes on where it stopped */
            sl_raters_close(r);
            sl_assert_ok(sl_raters_open(ctx, dir, &r, &err));
        }
        json_decref(answer);
        json_decref(next);
    }
    sl_raters_state s;
    sl_assert_ok(sl_raters_tell(r, &s, &err));
    assert_true(s.n_answers == total && s.n_turns == 2 * total && s.n_raters == 2 && s.n_raters_begun == 1 && !s.frozen && !s.opened && !s.simulated);
    static const char *const changes[] = { "UPDATE answer SET ms = 0", "DELETE FROM answer", "UPDATE item SET payload = ''", "DELETE FROM event" };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) /* append-only, whoever asks */
        assert_int_equal(sqlite3_exec(r->db, changes[i], NULL, NULL, NULL), SQLITE_CONSTRAINT);
    sl_assert_ok(sl_raters_freeze(r, &err));
    sl_assert_fails(sl_raters_freeze(r, &err), SL_EXISTS, "frozen already");
    answer = json_pack("{s:i}", "choice", 1);
    sl_assert_fails(sl__rater_answer(r, 1, first, answer, 1, "t", &err), SL_UNAVAILABLE, "closed");
    json_decref(answer);
    sl_assert_ok(sl__rater_next(r, 1, &next, &err));
    assert_true(json_is_null(json_object_get(next, "item")) && json_is_true(json_object_get(next, "frozen")));
    json_decref(next);
    sl_raters_close(r);
    sl_ctx_free(ctx);
}

/* ---- what is refused ---- */

static void refused(void **state)
{
    (void)state;
    sl_ctx *ctx = sl_test_ctx(1);
    const char *tmp = sl_test_dir("refused"), *bad[] = { "1.5" }, *two[] = { ".5", ".6", ".7" };
    char dir[600], path[700];
    sl_raters_opts o = material_options(2);
    sl_raters_made made;
    sl__rater_material m;
    sl_raters *r;
    snprintf(dir, sizeof dir, "%s/study", tmp);
    sl_assert_fails(sl_raters_open(ctx, dir, &r, &err), SL_MISSING, "no study there");
    material_make(ctx, 2, 2, 0, &m);
    o.per_feature = 3;
    sl_assert_fails(sl__raters_make(ctx, dir, &m, &o, &made, &err), SL_ARG, "3 raters a feature of 2");
    o.per_feature = 0;
    o.careless = 1;
    sl_assert_fails(sl__raters_make(ctx, dir, &m, &o, &made, &err), SL_ARG, "--careless");
    o.simulated = true;
    sl_assert_fails(sl__raters_make(ctx, dir, &m, &o, &made, &err), SL_ARG, "0 given for 2 methods");
    o.skill = (sl_strs){ two, 3 };
    sl_assert_fails(sl__raters_make(ctx, dir, &m, &o, &made, &err), SL_ARG, "3 given for 2 methods");
    o.skill = (sl_strs){ bad, 1 };
    sl_assert_fails(sl__raters_make(ctx, dir, &m, &o, &made, &err), SL_ARG, "'1.5'");
    o = material_options(2);
    m.method[1] = "topk";
    sl_assert_fails(sl__raters_make(ctx, dir, &m, &o, &made, &err), SL_ARG, "two are called 'topk'");
    m.n_methods = 1;
    sl_assert_fails(sl__raters_make(ctx, dir, &m, &o, &made, &err), SL_ARG, "1 given");
    assert_false(sl_path_exists(dir));
    sl__material_release(ctx, &m);
    sl_raters_close(material_study(ctx, dir, 2, 2, 0, &o));
    material_make(ctx, 2, 2, 0, &m);
    sl_assert_fails(sl__raters_make(ctx, dir, &m, &o, &made, &err), SL_EXISTS, "study");
    snprintf(path, sizeof path, "%s.partial", dir);
    assert_false(sl_path_exists(path)); /* nothing is left of it */
    sl__material_release(ctx, &m);
    snprintf(path, sizeof path, "%s/study.db", dir); /* not a study's database */
    sl_assert_ok(sl_file_write(ctx, path, "this is no database, it is a text of some length", 48, &err));
    assert_true(sl_raters_open(ctx, dir, &r, &err) != SL_OK);
    assert_null(r);
    sl_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions), cmocka_unit_test(catch_trials), cmocka_unit_test(judges_are_balanced), cmocka_unit_test(orders),
        cmocka_unit_test(answers_one_by_one), cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests_name("raters", tests, NULL, NULL);
}
