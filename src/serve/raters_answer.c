/* What raters may do: see the question that is up, and answer it. Questions come in their order; none can be looked at before or after. */
#include "serve/raters.h"

#include <stdlib.h>
#include <string.h>

enum { LABEL_BYTES = 400, WEEK_MS = 7 * 86400 * 1000 };

sl_status sl__rater_of(sl_raters *r, const char *token, int64_t *rater, sl_err *err)
{
    char hash[65];
    if (!token || strlen(token) != RATERS_TOKEN)
        return sl_fail(err, SL_MISSING, "link", "the whole link that you were given", "it belongs to no rater of this study");
    sl_sha256_hex(token, RATERS_TOKEN, hash);
    pthread_mutex_lock(&r->lock);
    sl_status st = sl__sql_int(r, rater, err, "SELECT id FROM rater WHERE token_hash = ?", "t", hash);
    pthread_mutex_unlock(&r->lock);
    return st == SL_MISSING ? sl_fail(err, SL_MISSING, "link", "the whole link that you were given", "it belongs to no rater of this study") : st;
}

/* ---- the question that is up ---- */

/* Questions are answered in order, so that as many as there are answers are done. */
static sl_status position(sl_raters *r, int64_t rater, int64_t *done, int64_t *total, sl_err *err)
{
    SL_TRY(sl__sql_int(r, done, err, "SELECT count(*) FROM answer WHERE rater = ?", "i", rater));
    return sl__sql_int(r, total, err, "SELECT count(*) FROM turn WHERE rater = ?", "i", rater);
}

static sl_status session_of(sl_raters *r, int64_t rater, int64_t done, json_t *out, sl_err *err)
{
    static const char LAST[] = "SELECT session, (SELECT max(session) + 1 FROM turn WHERE rater = ?1), (SELECT count(*) FROM turn b WHERE b.rater = ?1 AND b.session = a.session),"
                               " (SELECT count(*) FROM turn b WHERE b.rater = ?1 AND b.session = a.session AND b.position < ?2) FROM turn a WHERE rater = ?1 AND position = ?2";
    static const char *const name[] = { "session", "sessions", "session_total", "session_done" };
    sqlite3_stmt *q;
    bool more = false;
    sl_status st = sl__sql(r, &q, err, LAST, "ii", rater, done);
    if (st == SL_OK)
        st = sl__sql_row(r, q, &more, err);
    for (int i = 0; st == SL_OK && more && i < 4; i++)
        json_object_set_new(out, name[i], json_integer(sqlite3_column_int64(q, i) + (i == 0)));
    sqlite3_finalize(q);
    return st;
}

static sl_status item_of(sl_raters *r, int64_t rater, int64_t at, json_t **out, sl_err *err)
{
    sqlite3_stmt *q;
    bool more = false;
    *out = NULL;
    sl_status st = sl__sql(r, &q, err, "SELECT id, task, payload FROM turn JOIN item ON id = item WHERE rater = ? AND position = ?", "ii", rater, at);
    if (st == SL_OK)
        st = sl__sql_row(r, q, &more, err);
    if (st == SL_OK && more) {
        *out = json_loadb((const char *)sqlite3_column_text(q, 2), (size_t)sqlite3_column_bytes(q, 2), 0, NULL);
        if (!*out)
            st = sl_fail(err, SL_DATA, r->dir, NULL, "study.db: a question that is no JSON");
        else {
            json_object_set_new(*out, "id", json_string((const char *)sqlite3_column_text(q, 0)));
            json_object_set_new(*out, "task", json_string((const char *)sqlite3_column_text(q, 1)));
        }
    }
    sqlite3_finalize(q);
    return st;
}

static sl_status next(sl_raters *r, int64_t rater, json_t **out, sl_err *err)
{
    int64_t done, total;
    bool frozen;
    json_t *item = NULL;
    SL_TRY(position(r, rater, &done, &total, err));
    SL_TRY(sl__raters_noted(r, "frozen", &frozen, err));
    *out = json_pack("{s:I, s:I, s:b, s:b}", "done", (json_int_t)done, "total", (json_int_t)total, "simulated", r->simulated, "frozen", frozen);
    if (!frozen && done < total) {
        SL_TRY(session_of(r, rater, done, *out, err));
        SL_TRY(item_of(r, rater, done, &item, err));
    }
    json_object_set_new(*out, "item", item ? item : json_null());
    return *out ? SL_OK : sl_fail(err, SL_MEM, NULL, NULL, "no memory for the question");
}

sl_status sl__rater_next(sl_raters *r, int64_t rater, json_t **out, sl_err *err)
{
    *out = NULL;
    pthread_mutex_lock(&r->lock);
    sl_status st = next(r, rater, out, err);
    pthread_mutex_unlock(&r->lock);
    if (st != SL_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return st;
}

/* ---- answers ---- */

static bool whole(const json_t *j, json_int_t min, json_int_t max)
{
    return json_is_integer(j) && json_integer_value(j) >= min && json_integer_value(j) <= max;
}

sl_status sl__answer_check(sl__rater_task task, const json_t *answer, sl_err *err)
{
    const json_t *active = json_object_get(answer, "active"), *label = json_object_get(answer, "label");
    bool good = json_is_object(answer);
    const char *expected = "";
    switch (task) {
    case RATE_DETECTION:
        expected = "{\"active\": [ten of 0 and 1]}";
        good = good && json_object_size(answer) == 1 && json_array_size(active) == RATERS_DETECT;
        for (size_t i = 0; good && i < RATERS_DETECT; i++)
            good = whole(json_array_get(active, i), 0, 1);
        break;
    case RATE_RATING:
        expected = "{\"score\": 1 to 5, \"label\": a text of at most 400 bytes}";
        good = good && json_object_size(answer) == 2 && whole(json_object_get(answer, "score"), 1, 5) && json_is_string(label) && json_string_length(label) <= LABEL_BYTES;
        break;
    default:
        expected = task == RATE_INTRUDER ? "{\"choice\": 0 to 4}" : "{\"choice\": 0 to 3}";
        good = good && json_object_size(answer) == 1 && whole(json_object_get(answer, "choice"), 0, (task == RATE_INTRUDER ? RATERS_INTRUDERS : RATERS_COMPOSE) - 1);
    }
    return good ? SL_OK : sl_fail(err, SL_ARG, "answer", expected, "this is no answer to the question");
}

/* Already answered: the same answer (a request that was sent again) is fine. *known: there is an answer. */
static sl_status known_answer(sl_raters *r, int64_t rater, const char *item, const char *text, bool *known, sl_err *err)
{
    sqlite3_stmt *q;
    sl_status st = sl__sql(r, &q, err, "SELECT answer FROM answer WHERE rater = ? AND item = ?", "it", rater, item);
    *known = false;
    if (st == SL_OK)
        st = sl__sql_row(r, q, known, err);
    if (st == SL_OK && *known && strcmp((const char *)sqlite3_column_text(q, 0), text) != 0)
        st = sl_fail(err, SL_EXISTS, "answer", NULL, "this question has been answered otherwise already");
    sqlite3_finalize(q);
    return st;
}

/* The task of the question at hand: SL_MISSING when the rater has no such question, SL_ARG when it is not up. */
static sl_status task_up(sl_raters *r, int64_t rater, const char *item, sl__rater_task *task, sl_err *err)
{
    int64_t done, total, at, n;
    sl_status st = sl__sql_int(r, &at, err, "SELECT position FROM turn WHERE rater = ? AND item = ?", "it", rater, item);
    if (st == SL_MISSING)
        return sl_fail(err, SL_MISSING, "item", NULL, "you have no such question");
    SL_TRY(st);
    SL_TRY(position(r, rater, &done, &total, err));
    if (at != done)
        return sl_fail(err, SL_ARG, "item", NULL, "this question is not up");
    for (int t = 0; t < RATE_N_TASKS; t++) {
        SL_TRY(sl__sql_int(r, &n, err, "SELECT count(*) FROM item WHERE id = ? AND task = ?", "tt", item, sl__rater_task_name[t]));
        if (n)
            *task = (sl__rater_task)t;
    }
    return SL_OK;
}

sl_status sl__rater_keep(sl_raters *r, int64_t rater, const char *item, const json_t *answer, int64_t ms, const char *version, sl_err *err)
{
    sl__rater_task task = RATE_INTRUDER;
    char now[32], *text = json_dumps(answer, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    bool frozen, known = false;
    sl_status st;
    if (!text)
        return sl_fail(err, SL_ARG, "answer", NULL, "this is no answer to the question");
    SL_GO(sl__raters_noted(r, "frozen", &frozen, err));
    if (frozen)
        SL_GO(sl_fail(err, SL_UNAVAILABLE, "answer", NULL, "the study is closed"));
    SL_GO(known_answer(r, rater, item, text, &known, err));
    if (known)
        goto done;
    SL_GO(task_up(r, rater, item, &task, err));
    SL_GO(sl__answer_check(task, answer, err));
    if (ms < 0 || ms > WEEK_MS || strlen(version) > 64)
        SL_GO(sl_fail(err, SL_ARG, "ms", "milliseconds of at most a week", "%lld", (long long)ms));
    sl__raters_now(now);
    st = sl__sql_do(r, err, "INSERT INTO answer(rater, item, answer, ms, ts, client_version) VALUES(?, ?, ?, ?, ?, ?)", "ittitt", rater, item, text, ms, now, version);
done:
    free(text);
    return st;
}

sl_status sl__rater_answer(sl_raters *r, int64_t rater, const char *item, const json_t *answer, int64_t ms, const char *version, sl_err *err)
{
    pthread_mutex_lock(&r->lock);
    sl_status st = sl__sql_do(r, err, "BEGIN IMMEDIATE", "");
    if (st == SL_OK) {
        st = sl__rater_keep(r, rater, item, answer, ms, version, err);
        if (st == SL_OK)
            st = sl__sql_do(r, err, "COMMIT", "");
        if (st != SL_OK)
            sqlite3_exec(r->db, "ROLLBACK", NULL, NULL, NULL);
    }
    pthread_mutex_unlock(&r->lock);
    return st;
}
