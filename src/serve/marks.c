/* Marks in SQLite (WAL). One connection, whose calls a mutex puts one after another. */
#include "io/io.h"

#include <saelab/marks.h>

#include <math.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

struct sl_marks {
    sl_ctx *ctx;
    char path[1100];
    sqlite3 *db;            /* NULL: the file is not there yet */
    pthread_mutex_t lock;
};

static const char SCHEMA[] =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
    "CREATE TABLE IF NOT EXISTS mark (feature INTEGER PRIMARY KEY, star INTEGER NOT NULL DEFAULT 0, tags TEXT NOT NULL DEFAULT '', note TEXT NOT NULL DEFAULT '') STRICT;"
    "CREATE TABLE IF NOT EXISTS label (feature INTEGER NOT NULL, source TEXT NOT NULL, text TEXT NOT NULL, score REAL, PRIMARY KEY (feature, source)) STRICT;";

/* People's own first, then the best score. */
#define ORDER "feature, source != 'me', score IS NULL, score DESC, source"

static sl_status failed(sl_marks *m, sl_err *err)
{
    int code = m->db ? sqlite3_errcode(m->db) : SQLITE_CANTOPEN;
    sl_status st = code == SQLITE_BUSY || code == SQLITE_LOCKED ? SL_BUSY : code == SQLITE_NOMEM ? SL_MEM : SL_IO;
    return sl_fail(err, st, m->path, NULL, "%s", m->db ? sqlite3_errmsg(m->db) : "cannot be opened");
}

/* Opens the file; make: also when it is not there. m->db stays NULL when it is not. */
static sl_status need(sl_marks *m, bool make, sl_err *err)
{
    if (m->db || (!make && !sl_path_exists(m->path)))
        return SL_OK;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_CREATE;
    sl_status st = SL_OK;
    if (sqlite3_open_v2(m->path, &m->db, flags, NULL) != SQLITE_OK || sqlite3_busy_timeout(m->db, 5000) != SQLITE_OK ||
        sqlite3_exec(m->db, SCHEMA, NULL, NULL, NULL) != SQLITE_OK) {
        st = failed(m, err);
        sqlite3_close(m->db);
        m->db = NULL;
    }
    return st;
}

sl_status sl_marks_open(sl_ctx *ctx, const char *dir, sl_marks **out, sl_err *err)
{
    *out = NULL;
    sl_marks *m = sl_alloc(ctx, sizeof *m);
    if (!m)
        return sl_fail(err, SL_MEM, dir, NULL, "no memory for marks");
    m->ctx = ctx;
    pthread_mutex_init(&m->lock, NULL);
    sl_status st = sl_path_join(m->path, sizeof m->path, dir, "marks.sqlite", err);
    if (st == SL_OK)
        st = need(m, false, err);
    if (st == SL_OK)
        *out = m;
    else
        sl_marks_close(m);
    return st;
}

void sl_marks_close(sl_marks *m)
{
    if (!m)
        return;
    sqlite3_close(m->db);
    pthread_mutex_destroy(&m->lock);
    sl_free(m->ctx, m);
}

/* ---- writing ---- */

typedef struct value { enum { INT, REAL, TEXT } type; int64_t i; double r; const char *t; } value;

/* One statement with its values, without rows. */
static sl_status run(sl_marks *m, const char *sql, const value *v, int n, sl_err *err)
{
    sqlite3_stmt *q = NULL;
    pthread_mutex_lock(&m->lock);
    sl_status st = need(m, true, err);
    bool good = st == SL_OK && sqlite3_prepare_v2(m->db, sql, -1, &q, NULL) == SQLITE_OK;
    for (int i = 0; good && i < n; i++)
        good = (v[i].type == INT ? sqlite3_bind_int64(q, i + 1, v[i].i)
                : v[i].type == TEXT ? sqlite3_bind_text(q, i + 1, v[i].t, -1, SQLITE_STATIC)
                : isnan(v[i].r) ? sqlite3_bind_null(q, i + 1) : sqlite3_bind_double(q, i + 1, v[i].r)) == SQLITE_OK;
    good = good && sqlite3_step(q) == SQLITE_DONE;
    if (!good && st == SL_OK)
        st = failed(m, err);
    sqlite3_finalize(q);
    pthread_mutex_unlock(&m->lock);
    return st;
}

sl_status sl_marks_begin(sl_marks *m, sl_err *err) { return run(m, "BEGIN IMMEDIATE", NULL, 0, err); }
sl_status sl_marks_end(sl_marks *m, bool keep, sl_err *err) { return run(m, keep ? "COMMIT" : "ROLLBACK", NULL, 0, err); }

static sl_status short_text(const char *what, const char *text, size_t size, sl_err *err)
{
    return strlen(text) < size ? SL_OK : sl_fail(err, SL_ARG, what, NULL, "is longer than %zu bytes", size - 1);
}

sl_status sl_marks_star(sl_marks *m, int64_t id, bool star, sl_err *err)
{
    value v[] = { { .type = INT, .i = id }, { .type = INT, .i = star } };
    return run(m, "INSERT INTO mark (feature, star) VALUES (?1, ?2) ON CONFLICT (feature) DO UPDATE SET star = ?2", v, 2, err);
}

sl_status sl_marks_tags(sl_marks *m, int64_t id, const char *tags, sl_err *err)
{
    value v[] = { { .type = INT, .i = id }, { .type = TEXT, .t = tags } };
    SL_TRY(short_text("tags", tags, SL_MARK_TAGS, err));
    return run(m, "INSERT INTO mark (feature, tags) VALUES (?1, ?2) ON CONFLICT (feature) DO UPDATE SET tags = ?2", v, 2, err);
}

sl_status sl_marks_note(sl_marks *m, int64_t id, const char *note, sl_err *err)
{
    value v[] = { { .type = INT, .i = id }, { .type = TEXT, .t = note } };
    SL_TRY(short_text("note", note, SL_MARK_NOTE, err));
    return run(m, "INSERT INTO mark (feature, note) VALUES (?1, ?2) ON CONFLICT (feature) DO UPDATE SET note = ?2", v, 2, err);
}

sl_status sl_marks_label(sl_marks *m, int64_t id, const char *text, const char *source, double score, sl_err *err)
{
    value v[] = { { .type = INT, .i = id }, { .type = TEXT, .t = *source ? source : "me" }, { .type = TEXT, .t = text }, { .type = REAL, .r = score } };
    SL_TRY(short_text("label", text, sizeof((sl_label *)0)->text, err));
    SL_TRY(short_text("source", source, sizeof((sl_label *)0)->source, err));
    if (!*text)
        return run(m, "DELETE FROM label WHERE feature = ?1 AND source = ?2", v, 2, err);
    return run(m, "INSERT INTO label (feature, source, text, score) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (feature, source) DO UPDATE SET text = ?3, score = ?4", v, 4, err);
}

/* ---- reading ---- */

static void copy_text(sqlite3_stmt *q, int column, char *out, size_t size)
{
    const unsigned char *t = sqlite3_column_text(q, column);
    snprintf(out, size, "%s", t ? (const char *)t : "");
}

static void read_label(sqlite3_stmt *q, sl_label *l)
{
    copy_text(q, 1, l->source, sizeof l->source);
    copy_text(q, 2, l->text, sizeof l->text);
    l->has_score = sqlite3_column_type(q, 3) == SQLITE_FLOAT;
    l->score = sqlite3_column_double(q, 3);
}

/* Calls row for each row of `sql`, whose ?1 is id. */
static sl_status each_row(sl_marks *m, const char *sql, int64_t id, void (*row)(void *, sqlite3_stmt *), void *user, sl_err *err)
{
    sqlite3_stmt *q = NULL;
    pthread_mutex_lock(&m->lock);
    sl_status st = need(m, false, err);
    if (st == SL_OK && m->db) {
        int code = sqlite3_prepare_v2(m->db, sql, -1, &q, NULL);
        if (code == SQLITE_OK && sqlite3_bind_parameter_count(q) > 0)
            code = sqlite3_bind_int64(q, 1, id);
        while (code == SQLITE_OK || code == SQLITE_ROW)
            if ((code = sqlite3_step(q)) == SQLITE_ROW)
                row(user, q);
        if (code != SQLITE_DONE)
            st = failed(m, err);
        sqlite3_finalize(q);
    }
    pthread_mutex_unlock(&m->lock);
    return st;
}

static void mark_row(void *user, sqlite3_stmt *q)
{
    sl_mark *out = user;
    out->star = sqlite3_column_int(q, 0) != 0;
    copy_text(q, 1, out->tags, sizeof out->tags);
    copy_text(q, 2, out->note, sizeof out->note);
}

static void mark_label(void *user, sqlite3_stmt *q)
{
    sl_mark *out = user;
    if (out->n_labels < SL_MARK_LABELS)
        read_label(q, &out->label[out->n_labels++]);
}

sl_status sl_marks_get(sl_marks *m, int64_t id, sl_mark *out, sl_err *err)
{
    *out = (sl_mark){ 0 };
    SL_TRY(each_row(m, "SELECT star, tags, note FROM mark WHERE feature = ?1", id, mark_row, out, err));
    return each_row(m, "SELECT feature, source, text, score FROM label WHERE feature = ?1 ORDER BY " ORDER, id, mark_label, out, err);
}

typedef struct walk {
    void (*each)(void *, int64_t, bool, const char *, const char *);
    void (*label)(void *, int64_t, const sl_label *);
    void *user;
} walk;

static void walk_mark(void *user, sqlite3_stmt *q)
{
    const walk *w = user;
    const char *tags = (const char *)sqlite3_column_text(q, 2), *best = (const char *)sqlite3_column_text(q, 3);
    w->each(w->user, sqlite3_column_int64(q, 0), sqlite3_column_int(q, 1) != 0, tags ? tags : "", best ? best : "");
}

static void walk_label(void *user, sqlite3_stmt *q)
{
    const walk *w = user;
    sl_label l = { .has_score = false };
    read_label(q, &l);
    w->label(w->user, sqlite3_column_int64(q, 0), &l);
}

sl_status sl_marks_each(sl_marks *m, void (*each)(void *user, int64_t id, bool star, const char *tags, const char *best), void *user, sl_err *err)
{
    walk w = { .each = each, .user = user };
    return each_row(m,
                    "WITH best AS (SELECT feature, text, row_number() OVER (PARTITION BY feature ORDER BY " ORDER ") AS place FROM label), "
                    "ids AS (SELECT feature FROM mark UNION SELECT feature FROM label) "
                    "SELECT ids.feature, mark.star, mark.tags, best.text FROM ids LEFT JOIN mark ON mark.feature = ids.feature "
                    "LEFT JOIN best ON best.feature = ids.feature AND best.place = 1 ORDER BY ids.feature",
                    0, walk_mark, &w, err);
}

sl_status sl_marks_labels(sl_marks *m, void (*each)(void *user, int64_t id, const sl_label *label), void *user, sl_err *err)
{
    walk w = { .label = each, .user = user };
    return each_row(m, "SELECT feature, source, text, score FROM label ORDER BY " ORDER, 0, walk_label, &w, err);
}
