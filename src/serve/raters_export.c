/* A study as files: what was asked and answered (science.md E1: items.jsonl, answers.jsonl), and with the key what it was worth. */
#include "serve/raters.h"

#include <stdlib.h>
#include <string.h>

/* ---- lines ---- */

/* Takes line. A simulated study marks every one. */
static sl_status put_line(const sl_raters *r, sl_atomic *f, json_t *line, sl_err *err)
{
    if (line && r->simulated)
        json_object_set_new(line, "simulated", json_true());
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    sl_status st = text ? sl_atomic_printf(f, err, "%s\n", text) : sl_fail(err, SL_MEM, "export", NULL, "no memory for a line");
    free(text);
    json_decref(line);
    return st;
}

static json_t *parsed(sqlite3_stmt *q, int column)
{
    return json_loadb((const char *)sqlite3_column_text(q, column), (size_t)sqlite3_column_bytes(q, column), 0, NULL);
}

static const char *text(sqlite3_stmt *q, int column) { return (const char *)sqlite3_column_text(q, column); }

static sl_status item_line(sl_raters *r, sl_atomic *f, sqlite3_stmt *q, sl_err *err)
{
    return put_line(r, f, json_pack("{s:s, s:s, s:o, s:s}", "item_id", text(q, 0), "task", text(q, 1), "payload", parsed(q, 2), "key_hash", text(q, 3)), err);
}

static sl_status answer_line(sl_raters *r, sl_atomic *f, sqlite3_stmt *q, sl_err *err)
{
    return put_line(r, f, json_pack("{s:I, s:s, s:o, s:I, s:s, s:s}", "rater", (json_int_t)sqlite3_column_int64(q, 0), "item_id", text(q, 1), "answer", parsed(q, 3), "ms",
                                    (json_int_t)sqlite3_column_int64(q, 4), "ts", text(q, 5), "client_version", text(q, 6)), err);
}

/* A field of CSV: quoted, quotes doubled; a leading =, +, - or @ of a text gets an apostrophe, or a spreadsheet would run it. */
static sl_status put_field(sl_atomic *f, const char *s, sl_err *err)
{
    SL_TRY(sl_atomic_printf(f, err, "\"%s", *s && strchr("=+-@", *s) ? "'" : ""));
    for (; *s; s++)
        SL_TRY(sl_atomic_write(f, *s == '"' ? "\"\"" : s, *s == '"' ? 2 : 1, err));
    return sl_atomic_write(f, "\"", 1, err);
}

static sl_status answer_row(sl_raters *r, sl_atomic *f, sqlite3_stmt *q, sl_err *err)
{
    SL_TRY(sl_atomic_printf(f, err, "%lld,%s,%s,", (long long)sqlite3_column_int64(q, 0), text(q, 1), text(q, 2)));
    SL_TRY(put_field(f, text(q, 3), err));
    SL_TRY(sl_atomic_printf(f, err, ",%lld,%s,", (long long)sqlite3_column_int64(q, 4), text(q, 5)));
    SL_TRY(put_field(f, text(q, 6), err));
    return sl_atomic_printf(f, err, ",%s\n", r->simulated ? "SIMULATED" : "no");
}

/* ---- files ---- */

typedef sl_status (*row_fn)(sl_raters *, sl_atomic *, sqlite3_stmt *, sl_err *);

static sl_status open_file(sl_raters *r, const char *name, sl_atomic **f, sl_err *err)
{
    char dir[RATERS_PATH], path[RATERS_PATH];
    *f = NULL;
    SL_TRY(sl__raters_file(r, "export", dir, err));
    SL_TRY(sl_dir_make(dir, err));
    SL_TRY(sl_path_join(path, sizeof path, dir, name, err));
    return sl_atomic_open(r->ctx, path, f, err);
}

static sl_status close_file(sl_atomic *f, sl_status st, sl_err *err)
{
    if (st == SL_OK)
        return sl_atomic_commit(f, err);
    sl_atomic_abort(f);
    return st;
}

static sl_status dump(sl_raters *r, const char *name, const char *head, const char *sql, row_fn row, sl_err *err)
{
    sl_atomic *f;
    sqlite3_stmt *q = NULL;
    bool more = true;
    SL_TRY(open_file(r, name, &f, err));
    sl_status st = sl_atomic_printf(f, err, "%s", head);
    if (st == SL_OK)
        st = sl__sql(r, &q, err, sql, "");
    while (st == SL_OK) {
        st = sl__sql_row(r, q, &more, err);
        if (st != SL_OK || !more)
            break;
        st = row(r, f, q, err);
    }
    sqlite3_finalize(q);
    return close_file(f, st, err);
}

/* ---- with the key ---- */

static sl_status score_row(const sl_raters *r, sl_atomic *f, const sl__rater_scores *s, const sl__rater_scored *v, sl_err *err)
{
    const json_t *k = v->key, *label = json_object_get(v->answer, "label");
    bool is_catch = json_is_true(json_object_get(k, "catch"));
    SL_TRY(sl_atomic_printf(f, err, "%lld,%s,%s,", (long long)v->rater, json_string_value(json_object_get(k, "item")), json_string_value(json_object_get(k, "task"))));
    SL_TRY(put_field(f, is_catch ? "" : json_string_value(json_object_get(k, "method")), err));
    SL_TRY(sl_atomic_printf(f, err, ",%lld,%lld,%lld,%lld,%s,%s,%.6g,%lld,", (long long)json_integer_value(json_object_get(k, "feature")),
                            (long long)json_integer_value(json_object_get(k, "stratum")), (long long)json_integer_value(json_object_get(k, "trial")),
                            (long long)json_integer_value(json_object_get(k, "decile")), is_catch ? "yes" : "no", s->rater[v->rater - 1].dropped ? "yes" : "no", v->score,
                            (long long)v->ms));
    SL_TRY(put_field(f, label ? json_string_value(label) : "", err));
    return sl_atomic_printf(f, err, ",%s\n", r->simulated ? "SIMULATED" : "no");
}

static sl_status with_key(sl_raters *r, const char *seal, sl_err *err)
{
    sl__rater_scores s = { 0 };
    char dir[RATERS_PATH], path[RATERS_PATH];
    sl_atomic *f;
    sl_status st;
    SL_GO(sl__scores_read(r, seal, &s, err));
    SL_GO(sl__raters_file(r, "export", dir, err));
    SL_GO(sl_path_join(path, sizeof path, dir, "key.json", err));
    SL_GO(sl_json_save(r->ctx, path, s.key, err));
    SL_GO(open_file(r, "scores.csv", &f, err));
    st = sl_atomic_printf(f, err, "rater,item_id,task,method,feature,stratum,trial,decile,catch,left_out,score,ms,label,simulated\n");
    for (int64_t i = 0; i < s.n && st == SL_OK; i++)
        st = score_row(r, f, &s, &s.v[i], err);
    st = close_file(f, st, err);
done:
    sl__scores_release(r->ctx, &s);
    return st;
}

static sl_status export_all(sl_raters *r, bool open_key, const char *seal, sl_err *err)
{
    static const char ANSWERS[] = "SELECT rater, item, task, answer, ms, ts, client_version FROM answer JOIN item ON id = item ORDER BY rater, ts, item";
    SL_TRY(dump(r, "items.jsonl", "", "SELECT id, task, payload, key_hash FROM item ORDER BY id", item_line, err));
    SL_TRY(dump(r, "answers.jsonl", "", ANSWERS, answer_line, err));
    SL_TRY(dump(r, "answers.csv", "rater,item_id,task,answer,ms,ts,client_version,simulated\n", ANSWERS, answer_row, err));
    return open_key ? with_key(r, seal, err) : SL_OK;
}

sl_status sl_raters_export(sl_raters *r, bool open_key, const char *seal, sl_err *err)
{
    pthread_mutex_lock(&r->lock);
    sl_status st = export_all(r, open_key, seal, err);
    pthread_mutex_unlock(&r->lock);
    return st;
}
