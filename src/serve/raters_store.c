/* The store of a study: one SQLite file in WAL mode. What was answered is never changed: triggers refuse it. */
#include "serve/raters.h"

#include <nettle/sha2.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

static const char SCHEMA[] =
    "CREATE TABLE setting(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE item(id TEXT PRIMARY KEY, task TEXT NOT NULL, payload TEXT NOT NULL, key_hash TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE rater(id INTEGER PRIMARY KEY, token_hash TEXT NOT NULL UNIQUE);"
    "CREATE TABLE turn(rater INTEGER NOT NULL REFERENCES rater, position INTEGER NOT NULL, session INTEGER NOT NULL, item TEXT NOT NULL REFERENCES item,"
    " PRIMARY KEY(rater, position), UNIQUE(rater, item)) WITHOUT ROWID;"
    "CREATE TABLE answer(rater INTEGER NOT NULL, item TEXT NOT NULL, answer TEXT NOT NULL, ms INTEGER NOT NULL, ts TEXT NOT NULL, client_version TEXT NOT NULL,"
    " PRIMARY KEY(rater, item), FOREIGN KEY(rater, item) REFERENCES turn(rater, item)) WITHOUT ROWID;"
    "CREATE TABLE event(n INTEGER PRIMARY KEY AUTOINCREMENT, ts TEXT NOT NULL, what TEXT NOT NULL, more TEXT NOT NULL);"
    "CREATE TRIGGER answer_kept BEFORE UPDATE ON answer BEGIN SELECT RAISE(ABORT, 'answers are never changed'); END;"
    "CREATE TRIGGER answer_stays BEFORE DELETE ON answer BEGIN SELECT RAISE(ABORT, 'answers are never removed'); END;"
    "CREATE TRIGGER answer_late BEFORE INSERT ON answer WHEN EXISTS (SELECT 1 FROM event WHERE what = 'frozen')"
    " BEGIN SELECT RAISE(ABORT, 'the study is frozen'); END;"
    "CREATE TRIGGER event_kept BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;"
    "CREATE TRIGGER event_stays BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'events are never removed'); END;"
    "CREATE TRIGGER item_kept BEFORE UPDATE ON item BEGIN SELECT RAISE(ABORT, 'questions are never changed'); END;"
    "CREATE TRIGGER item_stays BEFORE DELETE ON item BEGIN SELECT RAISE(ABORT, 'questions are never removed'); END;";

static sl_status failed(const sl_raters *r, sl_err *err)
{
    int code = sqlite3_errcode(r->db);
    return sl_fail(err, code == SQLITE_NOMEM ? SL_MEM : code == SQLITE_BUSY ? SL_BUSY : SL_IO, r->dir, NULL, "study.db: %s", sqlite3_errmsg(r->db));
}

/* ---- statements ---- */

static sl_status bind(sl_raters *r, sqlite3_stmt *q, const char *kinds, va_list ap, sl_err *err)
{
    for (int i = 1; *kinds; kinds++, i++) {
        int rc = *kinds == 'i' ? sqlite3_bind_int64(q, i, va_arg(ap, int64_t)) : sqlite3_bind_text(q, i, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
        if (rc != SQLITE_OK)
            return failed(r, err);
    }
    return SL_OK;
}

static sl_status prepare(sl_raters *r, sqlite3_stmt **out, sl_err *err, const char *sql, const char *kinds, va_list ap)
{
    *out = NULL;
    if (sqlite3_prepare_v2(r->db, sql, -1, out, NULL) != SQLITE_OK)
        return failed(r, err);
    return bind(r, *out, kinds, ap, err);
}

sl_status sl__sql(sl_raters *r, sqlite3_stmt **out, sl_err *err, const char *sql, const char *kinds, ...)
{
    va_list ap;
    va_start(ap, kinds);
    sl_status st = prepare(r, out, err, sql, kinds, ap);
    va_end(ap);
    return st;
}

sl_status sl__sql_row(sl_raters *r, sqlite3_stmt *q, bool *more, sl_err *err)
{
    int rc = sqlite3_step(q);
    *more = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SL_OK : failed(r, err);
}

sl_status sl__sql_do(sl_raters *r, sl_err *err, const char *sql, const char *kinds, ...)
{
    sqlite3_stmt *q;
    bool more;
    va_list ap;
    va_start(ap, kinds);
    sl_status st = prepare(r, &q, err, sql, kinds, ap);
    va_end(ap);
    if (st == SL_OK)
        st = sl__sql_row(r, q, &more, err);
    sqlite3_finalize(q);
    return st;
}

sl_status sl__sql_int(sl_raters *r, int64_t *out, sl_err *err, const char *sql, const char *kinds, ...)
{
    sqlite3_stmt *q;
    bool more = false;
    va_list ap;
    va_start(ap, kinds);
    sl_status st = prepare(r, &q, err, sql, kinds, ap);
    va_end(ap);
    if (st == SL_OK)
        st = sl__sql_row(r, q, &more, err);
    if (st == SL_OK && !more)
        st = sl_fail(err, SL_MISSING, r->dir, NULL, "study.db has no such row");
    if (st == SL_OK)
        *out = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return st;
}

/* ---- small parts ---- */

void sl__raters_now(char out[32])
{
    struct timespec t;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &utc);
    size_t n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + n, 32 - n, ".%03dZ", (int)(t.tv_nsec / 1000000));
}

sl_status sl__raters_note(sl_raters *r, const char *what, const char *more, sl_err *err)
{
    char now[32];
    sl__raters_now(now);
    return sl__sql_do(r, err, "INSERT INTO event(ts, what, more) VALUES(?, ?, ?)", "ttt", now, what, more);
}

sl_status sl__raters_noted(sl_raters *r, const char *what, bool *out, sl_err *err)
{
    int64_t n = 0;
    SL_TRY(sl__sql_int(r, &n, err, "SELECT count(*) FROM event WHERE what = ?", "t", what));
    *out = n > 0;
    return SL_OK;
}

sl_status sl__raters_set(sl_raters *r, const char *key, const char *value, sl_err *err)
{
    return sl__sql_do(r, err, "INSERT INTO setting(key, value) VALUES(?, ?)", "tt", key, value);
}

sl_status sl__raters_setting(sl_raters *r, const char *key, char *out, size_t size, sl_err *err)
{
    sqlite3_stmt *q;
    bool more = false;
    sl_status st = sl__sql(r, &q, err, "SELECT value FROM setting WHERE key = ?", "t", key);
    if (st == SL_OK)
        st = sl__sql_row(r, q, &more, err);
    if (st == SL_OK && !more)
        st = sl_fail(err, SL_MISSING, r->dir, NULL, "study.db has no setting %s", key);
    if (st == SL_OK)
        snprintf(out, size, "%s", (const char *)sqlite3_column_text(q, 0));
    sqlite3_finalize(q);
    return st;
}

sl_status sl__raters_file(const sl_raters *r, const char *name, char out[RATERS_PATH], sl_err *err)
{
    return sl_path_join(out, RATERS_PATH, r->dir, name, err);
}

sl_status sl__raters_hash(sl_raters *r, char hex[65], sl_err *err)
{
    struct sha256_ctx h;
    uint8_t digest[SHA256_DIGEST_SIZE];
    sqlite3_stmt *q;
    bool more = true;
    sha256_init(&h);
    sl_status st = sl__sql(r, &q, err, "SELECT rater, item, answer, ms, ts, client_version FROM answer ORDER BY rater, item", "");
    while (st == SL_OK) {
        st = sl__sql_row(r, q, &more, err);
        if (st != SL_OK || !more)
            break;
        for (int i = 0; i < 6; i++) /* each with the 0 that ends it */
            sha256_update(&h, (size_t)sqlite3_column_bytes(q, i) + 1, sqlite3_column_text(q, i));
    }
    sqlite3_finalize(q);
    sha256_digest(&h, sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return st;
}

/* ---- open, close ---- */

/* An answer is on the disk before it is acknowledged: synchronous FULL. */
static sl_status open_db(sl_ctx *ctx, const char *dir, bool create, sl_raters **out, sl_err *err)
{
    char path[RATERS_PATH];
    SL_TRY(sl_path_join(path, sizeof path, dir, "study.db", err));
    if (!create && !sl_path_exists(path))
        return sl_fail(err, SL_MISSING, dir, "a folder of `saelab raters init`", "no study there");
    sl_raters *r = sl_alloc(ctx, sizeof *r);
    *out = r;
    if (!r)
        return sl_fail(err, SL_MEM, dir, NULL, "no memory for the study");
    r->ctx = ctx;
    pthread_mutex_init(&r->lock, NULL);
    snprintf(r->dir, sizeof r->dir, "%s", dir);
    if (sqlite3_open_v2(path, &r->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0), NULL) != SQLITE_OK)
        return failed(r, err);
    sqlite3_busy_timeout(r->db, 10000);
    if (sqlite3_exec(r->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF", NULL, NULL, NULL) != SQLITE_OK)
        return failed(r, err);
    return SL_OK;
}

sl_status sl__raters_create(sl_ctx *ctx, const char *dir, sl_raters **out, sl_err *err)
{
    char version[16];
    sl_status st;
    *out = NULL;
    SL_GO(open_db(ctx, dir, true, out, err));
    if (sqlite3_exec((*out)->db, SCHEMA, NULL, NULL, NULL) != SQLITE_OK)
        SL_GO(failed(*out, err));
    snprintf(version, sizeof version, "%d", RATERS_VERSION);
    SL_GO(sl__raters_set(*out, "version", version, err));
done:
    if (st != SL_OK) {
        sl_raters_close(*out);
        *out = NULL;
    }
    return st;
}

sl_status sl_raters_open(sl_ctx *ctx, const char *dir, sl_raters **out, sl_err *err)
{
    char text[16];
    sl_status st;
    *out = NULL;
    SL_GO(open_db(ctx, dir, false, out, err));
    if (sl__raters_setting(*out, "version", text, sizeof text, NULL) != SL_OK || strcmp(text, "1") != 0)
        SL_GO(sl_fail(err, SL_DATA, dir, "a study of this version of saelab", "study.db is none"));
    SL_GO(sl__raters_setting(*out, "simulated", text, sizeof text, err));
    (*out)->simulated = strcmp(text, "no") != 0;
done:
    if (st != SL_OK) {
        sl_raters_close(*out);
        *out = NULL;
    }
    return st;
}

void sl_raters_close(sl_raters *r)
{
    if (!r)
        return;
    sqlite3_close(r->db);
    pthread_mutex_destroy(&r->lock);
    sl_free(r->ctx, r);
}

/* ---- state, freeze ---- */

sl_status sl__raters_tell(sl_raters *r, sl_raters_state *s, sl_err *err)
{
    s->simulated = r->simulated;
    SL_TRY(sl__sql_int(r, &s->n_items, err, "SELECT count(*) FROM item", ""));
    SL_TRY(sl__sql_int(r, &s->n_raters, err, "SELECT count(*) FROM rater", ""));
    SL_TRY(sl__sql_int(r, &s->n_raters_begun, err, "SELECT count(DISTINCT rater) FROM answer", ""));
    SL_TRY(sl__sql_int(r, &s->n_turns, err, "SELECT count(*) FROM turn", ""));
    SL_TRY(sl__sql_int(r, &s->n_answers, err, "SELECT count(*) FROM answer", ""));
    SL_TRY(sl__raters_noted(r, "key opened", &s->opened, err));
    return sl__raters_noted(r, "frozen", &s->frozen, err);
}

sl_status sl_raters_tell(sl_raters *r, sl_raters_state *out, sl_err *err)
{
    *out = (sl_raters_state){ 0 };
    pthread_mutex_lock(&r->lock);
    sl_status st = sl__raters_tell(r, out, err);
    pthread_mutex_unlock(&r->lock);
    return st;
}

/* In one transaction, so that no answer comes between the hash and the freeze. */
static sl_status freeze(sl_raters *r, sl_err *err)
{
    char hex[65];
    bool frozen;
    SL_TRY(sl__sql_do(r, err, "BEGIN IMMEDIATE", ""));
    sl_status st = sl__raters_noted(r, "frozen", &frozen, err);
    if (st == SL_OK && frozen)
        st = sl_fail(err, SL_EXISTS, r->dir, NULL, "it is frozen already");
    if (st == SL_OK)
        st = sl__raters_hash(r, hex, err);
    if (st == SL_OK)
        st = sl__raters_note(r, "frozen", hex, err);
    if (st == SL_OK)
        return sl__sql_do(r, err, "COMMIT", "");
    sqlite3_exec(r->db, "ROLLBACK", NULL, NULL, NULL);
    return st;
}

sl_status sl_raters_freeze(sl_raters *r, sl_err *err)
{
    pthread_mutex_lock(&r->lock);
    sl_status st = freeze(r, err);
    pthread_mutex_unlock(&r->lock);
    return st;
}
