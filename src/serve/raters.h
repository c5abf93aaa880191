/* Inside of a human study: what the files of it share. */
#ifndef SL_SERVE_RATERS_H
#define SL_SERVE_RATERS_H

#include "io/io.h"

#include <saelab/raters.h>
#include <jansson.h>
#include <pthread.h>
#include <sqlite3.h>

enum {
    RATERS_VERSION = 1,
    RATERS_DECILES = 10, RATERS_TRIALS = 4,         /* intruder trials a feature */
    RATERS_INTRUDERS = 5, RATERS_DETECT = 10, RATERS_COMPOSE = 4, /* contexts of a question */
    RATERS_TOKEN = 32,                              /* hexadecimal digits of a rater's secret */
    RATERS_PATH = 1024
};
#define RATERS_CATCH_SHARE .8 /* of catch trials right, or the rater is left out: fixed before anybody answers */

typedef enum sl__rater_task { RATE_INTRUDER, RATE_DETECTION, RATE_RATING, RATE_COMPOSITION, RATE_N_TASKS } sl__rater_task;
extern const char *const sl__rater_task_name[RATE_N_TASKS];
extern const double sl__rater_chance[RATE_N_TASKS]; /* score of a guess; the rating's 3 is its middle */
int sl__rater_task_of(const char *name); /* -1: none of these */

struct sl_raters {
    sl_ctx *ctx;
    sqlite3 *db;
    pthread_mutex_t lock;   /* of db */
    char dir[RATERS_PATH];
    bool simulated;
};

/* ---- raters_store.c: SQLite ---- */

/* `kinds`: a letter for each value that follows, t text (const char *), i int64_t. Finalize *out in every case. */
sl_status sl__sql(sl_raters *r, sqlite3_stmt **out, sl_err *err, const char *sql, const char *kinds, ...);
/* The next row: *more false at the end. */
sl_status sl__sql_row(sl_raters *r, sqlite3_stmt *q, bool *more, sl_err *err) SL_USE_RESULT;
/* A statement without rows. */
sl_status sl__sql_do(sl_raters *r, sl_err *err, const char *sql, const char *kinds, ...);
/* The first column of its one row; SL_MISSING when there is none. */
sl_status sl__sql_int(sl_raters *r, int64_t *out, sl_err *err, const char *sql, const char *kinds, ...);
sl_status sl__raters_create(sl_ctx *ctx, const char *dir, sl_raters **out, sl_err *err) SL_USE_RESULT; /* an empty store in the folder dir */
sl_status sl__raters_note(sl_raters *r, const char *what, const char *more, sl_err *err) SL_USE_RESULT; /* an event, with the time */
sl_status sl__raters_noted(sl_raters *r, const char *what, bool *out, sl_err *err) SL_USE_RESULT;
sl_status sl__raters_setting(sl_raters *r, const char *key, char *out, size_t size, sl_err *err) SL_USE_RESULT; /* SL_MISSING */
sl_status sl__raters_set(sl_raters *r, const char *key, const char *value, sl_err *err) SL_USE_RESULT;
sl_status sl__raters_tell(sl_raters *r, sl_raters_state *out, sl_err *err) SL_USE_RESULT; /* without the lock */
/* SHA-256 over all answers in order of rater and item. */
sl_status sl__raters_hash(sl_raters *r, char hex[65], sl_err *err) SL_USE_RESULT;
void sl__raters_now(char out[32]); /* "2026-01-31T12:00:00.123Z" */
sl_status sl__raters_file(const sl_raters *r, const char *name, char out[RATERS_PATH], sl_err *err) SL_USE_RESULT;

/* ---- raters_seal.c: secrets ---- */

sl_status sl__random_hex(char *out, size_t digits, sl_err *err) SL_USE_RESULT; /* from the system; digits + 1 bytes */
void sl__hmac_hex(const char *secret, const char *label, const char *text, char hex[65]); /* HMAC-SHA256 of label and text */
/* Encrypts key into dir/key.sealed (ChaCha20-Poly1305) under a new random key in dir/seal.key, which only the owner may read. */
sl_status sl__seal(sl_ctx *ctx, const char *dir, const json_t *key, sl_err *err) SL_USE_RESULT;
/* The key of this study, opened with the seal (NULL: dir/seal.key), every item's record checked against what the store kept of it. The opening is noted.
 * SL_MISSING: no such file; SL_DATA: the seal opens another key, or key.sealed was changed. */
sl_status sl__key_open(sl_raters *r, const char *seal, json_t **key, sl_err *err) SL_USE_RESULT;
sl_status sl__file_private(const char *path, const char *text, sl_err *err) SL_USE_RESULT; /* a new file of the owner alone */

/* ---- material: what questions are made of. A context is {"t": [token texts], "a": [levels 0..10], "f": index of the token in question} ---- */

typedef struct sl__rater_feature {
    int32_t method, stratum;
    int64_t id;
    double density;
    json_t *decile[RATERS_DECILES]; /* arrays of contexts where it fires, the weakest tenth first */
    json_t *hard, *silent;          /* arrays of contexts where it does not: the same token; any */
} sl__rater_feature;

typedef struct sl__rater_pair { /* a composition of two features */
    int32_t method;
    int64_t id, atom[2];
    json_t *card[2];        /* arrays of contexts of the atoms */
    json_t *shows, *others; /* arrays of contexts with and without the composition */
} sl__rater_pair;

typedef struct sl__rater_material {
    int n_methods;
    const char *method[SL_MAX_GROUPS];
    sl__rater_feature *feature; int64_t n_features;
    sl__rater_pair *pair; int64_t n_pairs;
} sl__rater_material;
void sl__material_release(sl_ctx *ctx, sl__rater_material *m);

/* raters_cards.c: from indexes of features; raters_pick.c: which */
sl_status sl__pick_features(sl_ctx *ctx, const sl_raters_method *methods, int n, const sl_raters_opts *o, sl__rater_material *m, sl_raters_made *made, sl_err *err) SL_USE_RESULT;
/* Fills the lists of f from the index; *enough false, and nothing filled, where it has too few contexts for all questions. */
sl_status sl__card_of(const sl_features *index, int64_t id, sl__rater_feature *f, bool *enough, sl_err *err) SL_USE_RESULT;
sl_status sl__pair_of(const sl_raters_method *m, int64_t id, sl__rater_pair *p, bool *enough, sl_err *err) SL_USE_RESULT;

/* ---- raters_items.c, raters_plan.c, raters_init.c ---- */

typedef struct sl__rater_item {
    char id[33];
    sl__rater_task task;
    int64_t feature;        /* of the material; -1: a catch trial; n_features + i: pair i */
    json_t *payload;        /* what a rater sees */
    json_t *right;          /* the answer: an index, or a list of 0 and 1; null for ratings */
    json_t *key;            /* record for the key */
} sl__rater_item;
typedef struct sl__rater_items { sl__rater_item *v; int64_t n, cap; } sl__rater_items;
/* Every question of the material, and n_catches catch trials; secret: of the HMAC that names them. */
sl_status sl__items_make(sl_ctx *ctx, const sl__rater_material *m, int64_t n_catches, const char *secret, uint64_t seed, sl__rater_items *out, sl_err *err) SL_USE_RESULT;
void sl__items_release(sl_ctx *ctx, sl__rater_items *items);

/* Who judges what: judge [n_features, raters] 1 or 0. Every feature has per_feature raters; within each method the raters' loads differ by at most one,
 * and pairs of raters meet about equally often. */
sl_status sl__plan_judges(sl_ctx *ctx, const int32_t *method, int64_t n_features, int n_methods, int64_t raters, int64_t per_feature, uint64_t seed, uint8_t *judge, sl_err *err) SL_USE_RESULT;
typedef struct sl__rater_turn { int64_t item, session; } sl__rater_turn;
/* The order of one rater's questions, sessions of o->session features: first its intruders, compositions and catch trials mixed, then feature by feature
 * detection and rating, so that no card is seen before its intruders. turns [items->n]; *n_catches: how many catch trials there have to be. */
sl_status sl__plan_turns(sl_ctx *ctx, const sl__rater_items *items, const uint8_t *mine, int64_t n_features, const sl_raters_opts *o, int64_t rater, sl__rater_turn *turns, int64_t *n, sl_err *err) SL_USE_RESULT;

/* A study from material. */
sl_status sl__raters_make(sl_ctx *ctx, const char *dir, const sl__rater_material *m, const sl_raters_opts *o, sl_raters_made *out, sl_err *err) SL_USE_RESULT;
/* What a simulated rater says: knows with probability skill, else guesses. */
json_t *sl__simulated_answer(const sl__rater_item *item, double skill, uint64_t seed, int64_t rater, int64_t n);

/* ---- raters_answer.c: what raters may do ---- */

/* The rater of a link's secret: SL_MISSING when there is none. */
sl_status sl__rater_of(sl_raters *r, const char *token, int64_t *rater, sl_err *err) SL_USE_RESULT;
/* {"total", "done", "session", "sessions", "session_done", "session_total", "simulated", "frozen", "item": {"id", "task", ...} or null} */
sl_status sl__rater_next(sl_raters *r, int64_t rater, json_t **out, sl_err *err) SL_USE_RESULT;
/* Keeps the answer to the question that is up. The same answer once more is fine and kept once. SL_EXISTS: another answer is there; SL_ARG: not an
 * answer to that question, or it is not up; SL_MISSING: no such question of this rater; SL_UNAVAILABLE: the study is frozen. */
sl_status sl__rater_answer(sl_raters *r, int64_t rater, const char *item, const json_t *answer, int64_t ms, const char *version, sl_err *err) SL_USE_RESULT;
/* The same without lock and transaction, which are the caller's. */
sl_status sl__rater_keep(sl_raters *r, int64_t rater, const char *item, const json_t *answer, int64_t ms, const char *version, sl_err *err) SL_USE_RESULT;
sl_status sl__answer_check(sl__rater_task task, const json_t *answer, sl_err *err) SL_USE_RESULT;

/* ---- raters_http.c ---- */

struct sl_http;
/* Pages and answers until sl_http_close. */
sl_status sl__raters_listen(sl_raters *r, const sl_serve_config *c, struct sl_http **out, sl_err *err) SL_USE_RESULT;

/* ---- raters_score.c: answers with the key ---- */

typedef struct sl__rater_scored { /* one answer */
    int64_t rater;
    const json_t *key;      /* record of its item */
    json_t *answer;
    int64_t ms;
    double score;           /* 0..1, ratings 1..5 */
} sl__rater_scored;
typedef struct sl__rater_catches { int64_t right, n; bool dropped; } sl__rater_catches;
typedef struct sl__rater_scores {
    json_t *key;
    sl__rater_scored *v; int64_t n;
    sl__rater_catches *rater; int64_t n_raters; /* raters are numbered from 1: rater[i - 1] */
} sl__rater_scores;
sl_status sl__scores_read(sl_raters *r, const char *seal, sl__rater_scores *out, sl_err *err) SL_USE_RESULT;
void sl__scores_release(sl_ctx *ctx, sl__rater_scores *s);

#endif
