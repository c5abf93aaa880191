/* The feature browser's inside: what is open, and the parts that answer. One file a part. */
#ifndef SL_SERVE_BROWSE_H
#define SL_SERVE_BROWSE_H

#include "serve/http.h"

#include <saelab/features.h>
#include <saelab/marks.h>
#include <saelab/serve.h>
#include <saelab/steer.h>

#include <pthread.h>

enum { SL_BROWSE_SETS = 64, SL_BROWSE_TERMS = 16 };

/* One index of features. What lies behind `models` belongs to the thread that computes. */
typedef struct sl__set {
    sl_ctx *ctx;
    char name[64];              /* in addresses: unique, of letters, digits, '.', '_' and '-' */
    char sae_path[1024], lm_path[1024]; /* "" where they are not at hand */
    sl_features *f;
    const sl_features_info *about;
    sl_marks *marks;
    sl_sae *sae;                /* loaded when first asked for */
    json_t *compositions;       /* compositions.json beside the index, checked; NULL: none */
    json_t *stability;          /* stability.json that a run left in the SAE's folder; NULL: none */
    pthread_rwlock_t lock;      /* label, tags, star: what tables show and search of the marks */
    char **label, **tags;       /* [n_features], NULL: none */
    uint8_t *star;              /* [n_features] */
} sl__set;

/* The language model that is loaded, one at a time, with its steering buffers. */
typedef struct sl__model {
    char path[1024];
    sl_lm *lm;
    sl_tok *tok;
    const sl__set *of;          /* steer belongs to this set */
    sl_steer *steer;
} sl__model;

typedef struct sl__browse {
    sl_ctx *ctx;
    sl__set set[SL_BROWSE_SETS];
    int n_sets;
    sl__model model;            /* the computing thread's */
} sl__browse;

/* ---- browse_open.c ---- */

sl_status sl__browse_open(sl_ctx *ctx, int n_paths, const char *const *paths, sl__browse **out, sl_err *err) SL_USE_RESULT;
void sl__browse_free(sl__browse *b);
/* The set that part[0] of the path names: SL_MISSING. */
sl_status sl__browse_set(sl__browse *b, const sl_http_req *q, sl__set **out, sl_err *err) SL_USE_RESULT;
/* Keeps what a mark of feature id is now, for tables. */
sl_status sl__set_mark(sl__set *s, int64_t id, bool star, const char *tags, const char *label, sl_err *err) SL_USE_RESULT;
/* For the computing thread: the set's SAE, and its language model with steering. SL_UNAVAILABLE says what is missing. */
sl_status sl__set_sae(sl__browse *b, sl__set *s, sl_err *err) SL_USE_RESULT;
sl_status sl__set_model(sl__browse *b, sl__set *s, sl_err *err) SL_USE_RESULT;

/* ---- browse_search.c: the search box ---- */

typedef enum sl__term_kind { SL__TERM_ID, SL__TERM_WORD, SL__TERM_RANGE, SL__TERM_STAR, SL__TERM_TAG, SL__TERM_LABELLED } sl__term_kind;
typedef struct sl__term {
    sl__term_kind kind;
    bool not;                           /* "-word" */
    int64_t id, id_end;                 /* #123, #100-199: both inclusive */
    char word[128];                     /* lower case; of a tag, the tag */
    const sl_features_column *column;
    double lo, hi;                      /* a value fits when lo <= v <= hi, without the ends where they are open */
    bool lo_open, hi_open;
} sl__term;
typedef struct sl__query { sl__term term[SL_BROWSE_TERMS]; int n; } sl__query;

/* Terms joined by spaces, all of which have to hold: #123 or #100-199, starred, labelled, tag:NAME, COLUMN:<1e-3, COLUMN:>=2, COLUMN:1..5, COLUMN:3, and words ("two words"),
 * which a label or one of the most frequent tokens contains; -TERM is its opposite. SL_ARG: names the term. */
sl_status sl__query_parse(const sl_features *f, const char *text, sl__query *out, sl_err *err) SL_USE_RESULT;
/* Ids that fit, ascending, into ids [n_features]; their number. */
int64_t sl__query_run(sl__set *s, const sl__query *q, int32_t *ids);
/* Sorts by a column (NULL: by id; "label" and "star" are columns of the marks); features without a value come last either way. */
sl_status sl__query_sort(sl__set *s, const char *column, bool down, int32_t *ids, int64_t n, sl_err *err) SL_USE_RESULT;

/* ---- browse_left.c: what lies beside an index: its compositions, and the robustness curves of its run ---- */

/* Reads both into s; a file that is damaged is said in the log and left out. */
void sl__set_read_left(sl__set *s);

/* ---- what routes answer: JSON of parts ---- */

json_t *sl__json_string(const sl_features *f, int32_t id);     /* text of a string; bytes that are no character as "\xNN" */
json_t *sl__json_bytes(const char *s, size_t n);
json_t *sl__json_number(double v);                             /* null: not finite */
json_t *sl__json_features(sl__set *s, int n, const int32_t *id, const float *value); /* [[id, value, label, top token], ...] */

sl_status sl__get_sets(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err);
sl_status sl__get_rows(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err);
sl_status sl__get_density(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err);
sl_status sl__get_feature(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err);
sl_status sl__get_around(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err);
sl_status sl__get_compositions(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err);
sl_status sl__get_composition(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err);
sl_status sl__get_stability(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err);
sl_status sl__get_compare(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err);
sl_status sl__post_mark(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err);
sl_status sl__post_text(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err);
sl_status sl__post_steer(void *user, const sl_http_req *q, sl_http_reply *r, sl_err *err);

#endif
