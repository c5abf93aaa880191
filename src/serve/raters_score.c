/* Answers together with the key: what each is worth, and who is left out. */
#include "serve/raters.h"

#include <stdlib.h>
#include <string.h>

/* Share of contexts judged rightly, those that fire and those that do not weighing the same. */
static double balanced(const json_t *active, const json_t *right)
{
    double good[2] = { 0 }, n[2] = { 0 };
    for (size_t i = 0; i < json_array_size(right); i++) {
        int r = json_integer_value(json_array_get(right, i)) != 0;
        n[r]++;
        good[r] += (json_integer_value(json_array_get(active, i)) != 0) == r;
    }
    return (good[0] / n[0] + good[1] / n[1]) / 2;
}

static double score_of(sl__rater_task task, const json_t *answer, const json_t *right)
{
    switch (task) {
    case RATE_DETECTION: return balanced(json_object_get(answer, "active"), right);
    case RATE_RATING: return (double)json_integer_value(json_object_get(answer, "score"));
    default: return json_integer_value(json_object_get(answer, "choice")) == json_integer_value(right);
    }
}

/* Records by item. */
static sl_status index_key(const json_t *key, json_t **by_item, sl_err *err)
{
    size_t i;
    json_t *record;
    *by_item = json_object();
    json_array_foreach(json_object_get(key, "items"), i, record)
        if (json_object_set(*by_item, json_string_value(json_object_get(record, "item")), record) != 0)
            return sl_fail(err, SL_MEM, "key", NULL, "no memory");
    return SL_OK;
}

static sl_status read_answers(sl_raters *r, const json_t *by_item, sl__rater_scores *s, sl_err *err)
{
    sqlite3_stmt *q;
    bool more = true;
    sl_status st = sl__sql(r, &q, err, "SELECT rater, item, answer, ms FROM answer ORDER BY rater, item", "");
    while (st == SL_OK) {
        st = sl__sql_row(r, q, &more, err);
        if (st != SL_OK || !more)
            break;
        const char *item = (const char *)sqlite3_column_text(q, 1);
        sl__rater_scored *a = &s->v[s->n++];
        *a = (sl__rater_scored){ .rater = sqlite3_column_int64(q, 0), .ms = sqlite3_column_int64(q, 3), .key = json_object_get(by_item, item),
                                 .answer = json_loads((const char *)sqlite3_column_text(q, 2), 0, NULL) };
        int task = sl__rater_task_of(json_string_value(json_object_get(a->key, "task")));
        if (task < 0 || !a->answer || sl__answer_check((sl__rater_task)task, a->answer, NULL) != SL_OK)
            st = sl_fail(err, SL_DATA, r->dir, NULL, "study.db: rater %lld's answer to item %s is none", (long long)a->rater, item);
        else
            a->score = score_of((sl__rater_task)task, a->answer, json_object_get(a->key, "right"));
    }
    sqlite3_finalize(q);
    return st;
}

/* The rule of before the study: fewer than 80 % of the catch trials right, or none answered where there are some. */
static void exclude(sl__rater_scores *s)
{
    bool any = false;
    size_t i;
    json_t *record;
    json_array_foreach(json_object_get(s->key, "items"), i, record)
        any = any || json_is_true(json_object_get(record, "catch"));
    for (int64_t a = 0; a < s->n; a++)
        if (json_is_true(json_object_get(s->v[a].key, "catch"))) {
            s->rater[s->v[a].rater - 1].n++;
            s->rater[s->v[a].rater - 1].right += s->v[a].score > 0;
        }
    for (int64_t k = 0; k < s->n_raters; k++)
        s->rater[k].dropped = any && (s->rater[k].n == 0 || (double)s->rater[k].right < RATERS_CATCH_SHARE * (double)s->rater[k].n - 1e-9);
}

sl_status sl__scores_read(sl_raters *r, const char *seal, sl__rater_scores *out, sl_err *err)
{
    json_t *by_item = NULL;
    int64_t n = 0;
    sl_status st;
    *out = (sl__rater_scores){ 0 };
    SL_GO(sl__key_open(r, seal, &out->key, err));
    SL_GO(index_key(out->key, &by_item, err));
    SL_GO(sl__sql_int(r, &n, err, "SELECT count(*) FROM answer", ""));
    SL_GO(sl__sql_int(r, &out->n_raters, err, "SELECT count(*) FROM rater", ""));
    out->v = sl_alloc(r->ctx, (size_t)n * sizeof *out->v);
    out->rater = sl_alloc(r->ctx, (size_t)out->n_raters * sizeof *out->rater);
    if (!out->v || !out->rater)
        SL_GO(sl_fail(err, SL_MEM, "answers", NULL, "no memory for %lld", (long long)n));
    SL_GO(read_answers(r, by_item, out, err));
    exclude(out);
done:
    json_decref(by_item);
    return st;
}

void sl__scores_release(sl_ctx *ctx, sl__rater_scores *s)
{
    for (int64_t i = 0; i < s->n; i++)
        json_decref(s->v[i].answer);
    sl_free(ctx, s->v);
    sl_free(ctx, s->rater);
    json_decref(s->key);
    *s = (sl__rater_scores){ 0 };
}
