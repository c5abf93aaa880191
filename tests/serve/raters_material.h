/* Material of a study from words, for tests: a feature of method m fires on its own word. */
#ifndef SL_TEST_RATERS_MATERIAL_H
#define SL_TEST_RATERS_MATERIAL_H

#include "support.h"

#include "serve/raters.h"

#include <stdio.h>
#include <string.h>

enum { MATERIAL_WORDS = 9, MATERIAL_FOCUS = 4 };

/* Nine words, the fifth being `word`, at level `level` (0: silent). n makes contexts differ. */
static inline json_t *material_context(const char *word, int level, int n)
{
    static const char *const filler[] = { " the", " old", " king", " of", " rain", " and", " a", " boat", " sang", " low", " near", "\n" };
    json_t *t = json_array(), *a = json_array();
    for (int i = 0; i < MATERIAL_WORDS; i++) {
        json_array_append_new(t, json_string(i == MATERIAL_FOCUS ? word : filler[(n * 5 + i * (1 + n % 3)) % 12]));
        json_array_append_new(a, json_integer(i == MATERIAL_FOCUS ? level : 0));
    }
    return json_pack("{s:o, s:o, s:i}", "t", t, "a", a, "f", MATERIAL_FOCUS);
}

static inline void material_feature(sl__rater_feature *f, int32_t method, int64_t id)
{
    char word[32];
    snprintf(word, sizeof word, " word%lld", (long long)id);
    *f = (sl__rater_feature){ .method = method, .stratum = (int32_t)(id % 3), .id = 1000 + id, .density = .01, .hard = json_array(), .silent = json_array() };
    for (int d = 0; d < RATERS_DECILES; d++) {
        f->decile[d] = json_array();
        for (int i = 0; i < 6; i++)
            json_array_append_new(f->decile[d], material_context(word, d + 1, d * 6 + i));
    }
    for (int i = 0; i < 6; i++)
        json_array_append_new(f->hard, material_context(word, 0, 100 + i));
    for (int i = 0; i < 14; i++)
        json_array_append_new(f->silent, material_context(i % 2 ? " stone" : " tree", 0, 200 + i));
}

static inline json_t *material_list(const char *word, int level, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, material_context(word, level, i));
    return list;
}

/* n features of each of n_methods methods; n_pairs compositions of the last one. */
static inline void material_make(sl_ctx *ctx, int n_methods, int64_t n, int64_t n_pairs, sl__rater_material *m)
{
    static const char *const name[] = { "topk", "proposed", "random", "fourth" };
    *m = (sl__rater_material){ .n_methods = n_methods, .n_features = n_methods * n, .n_pairs = n_pairs };
    m->feature = sl_alloc(ctx, (size_t)m->n_features * sizeof *m->feature);
    m->pair = sl_alloc(ctx, (size_t)(n_pairs + 1) * sizeof *m->pair);
    for (int i = 0; i < n_methods; i++) {
        m->method[i] = name[i];
        for (int64_t k = 0; k < n; k++)
            material_feature(&m->feature[i * n + k], i, i * n + k);
    }
    for (int64_t k = 0; k < n_pairs; k++)
        m->pair[k] = (sl__rater_pair){ .method = n_methods - 1, .id = k, .atom = { 2 * k, 2 * k + 1 }, .card = { material_list(" sun", 8, 5), material_list(" moon", 6, 5) },
                                       .shows = material_list(" dawn", 9, 2), .others = material_list(" noon", 0, 6) };
}

/* A study of it in a fresh folder; free with sl_raters_close. */
static inline sl_raters *material_study(sl_ctx *ctx, const char *dir, int n_methods, int64_t n, int64_t n_pairs, const sl_raters_opts *o)
{
    sl__rater_material m;
    sl_raters_made made = { 0 };
    sl_raters *r = NULL;
    sl_err err;
    material_make(ctx, n_methods, n, n_pairs, &m);
    sl_assert_ok(sl__raters_make(ctx, dir, &m, o, &made, &err));
    sl__material_release(ctx, &m);
    sl_assert_ok(sl_raters_open(ctx, dir, &r, &err));
    return r;
}

/* The secrets of the links, from raters.txt: token [n]. */
static inline void material_tokens(const char *dir, char token[][RATERS_TOKEN + 1], int n)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/raters.txt", dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    for (int i = 0; i < n; i++) {
        int number;
        assert_int_equal(fscanf(f, "%d %32s", &number, token[i]), 2);
        assert_int_equal(number, i + 1);
    }
    fclose(f);
}

/* Some valid answer to an item as the server gives it; k varies it. */
static inline json_t *material_answer(const json_t *item, int k)
{
    const char *task = json_string_value(json_object_get(item, "task"));
    if (strcmp(task, "rating") == 0)
        return json_pack("{s:i, s:s}", "score", 1 + k % 5, "label", "=words, \"quoted\"");
    if (strcmp(task, "detection") == 0) {
        json_t *list = json_array();
        for (int i = 0; i < RATERS_DETECT; i++)
            json_array_append_new(list, json_integer((i + k) % 2));
        return json_pack("{s:o}", "active", list);
    }
    return json_pack("{s:i}", "choice", k % 4);
}

/* Small sessions, two catch trials in each. */
static inline sl_raters_opts material_options(int64_t raters)
{
    sl_raters_opts o;
    sl_opts_default(sl_raters_init_opts, &o);
    o.raters = raters;
    o.session = 4;
    o.catches = 2;
    o.seed = 5;
    return o;
}

/* Every rater answers everything. */
static inline void material_answer_all(sl_raters *r, int64_t raters)
{
    sl_err err;
    for (int64_t q = 1; q <= raters; q++)
        for (int k = 0;; k++) {
            json_t *next;
            sl_assert_ok(sl__rater_next(r, q, &next, &err));
            const json_t *item = json_object_get(next, "item");
            bool done = json_is_null(item);
            if (!done) {
                json_t *given = material_answer(item, k);
                sl_assert_ok(sl__rater_answer(r, q, json_string_value(json_object_get(item, "id")), given, 100, "t", &err));
                json_decref(given);
            }
            json_decref(next);
            if (done)
                break;
        }
}

#endif
