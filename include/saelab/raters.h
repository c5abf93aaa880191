/* Human evaluation of features: a study that people answer in a browser, blinded, and its analysis. Protocol: science.md E1; how to run one:
 * docs/RATERS.md.
 *
 *   init      features of each method are drawn, their cards and questions made, and the key (which feature of which method, what is right) sealed
 *   serve     people answer; every answer is kept before it is acknowledged, none is ever changed
 *   freeze    no more answers
 *   analyse   the key is opened, raters who failed their catch trials are left out, methods are compared
 *
 * A study is a folder: study.db (SQLite), key.sealed, seal.key (opens it), raters.txt (their links), later analysis.json and exports. */
#ifndef SAELAB_RATERS_H
#define SAELAB_RATERS_H

#include <saelab/agreement.h>
#include <saelab/features.h>
#include <saelab/serve.h>

typedef struct sl_raters_opts { /* option table sl_raters_init_opts */
    int64_t features;       /* of each method, stratified by firing rate */
    int64_t raters;         /* people; each gets a link */
    int64_t per_feature;    /* of them judge each feature; 0: three, or all where there are fewer */
    int64_t session;        /* features of a session, about 110 s each */
    int64_t catches;        /* catch trials of a session */
    int64_t seed;           /* of everything that is drawn; secrets are not */
    bool simulated;         /* answers come from simulated raters: the study is marked for good */
    sl_strs skill;          /* simulated: probability of knowing, a number for each method or one for all */
    int64_t careless;       /* simulated: so many raters guess everything, catch trials too */
} sl_raters_opts;
extern const sl_opt sl_raters_init_opts[];

/* One method to compare: an index with contexts enough for cards, that is built with quantiles 10, per_quantile 6, near_misses 6, silent 14, before and
 * after 16 (sl_features_opts). */
typedef struct sl_raters_method {
    const char *name;
    const sl_features *index;
    const sl_features *compositions; /* index of its compositions, whose participants are features of `index`; NULL: none */
} sl_raters_method;

typedef struct sl_raters_made { int64_t n_items, n_per_rater /* the most of one */, n_eligible[SL_MAX_GROUPS]; double bound[2]; /* of density, between terciles */ int64_t stratum[3]; /* features a method in each */ } sl_raters_made;
/* Makes the folder dir, which must not be there (or empty), whole or not at all. SL_EXISTS: it is; SL_ARG: an option, fewer than 2 methods, skills that do
 * not fit; SL_DATA: a method without enough features that fire often enough (says how many there are); SL_UNAVAILABLE: built without SQLite; SL_IO; SL_MEM. */
sl_status sl_raters_init(sl_ctx *ctx, const char *dir, const sl_raters_method *methods, int n_methods, const sl_raters_opts *o, sl_raters_made *out, sl_err *err) SL_USE_RESULT;

typedef struct sl_raters sl_raters; /* an open study; calls may come from several threads at once */
/* SL_MISSING: no study there; SL_DATA: of another version; SL_IO: what SQLite says. */
sl_status sl_raters_open(sl_ctx *ctx, const char *dir, sl_raters **out, sl_err *err) SL_USE_RESULT;
void sl_raters_close(sl_raters *r); /* NULL is legal */

typedef struct sl_raters_state { int64_t n_items, n_raters, n_raters_begun, n_turns, n_answers; bool simulated, frozen, opened; } sl_raters_state;
sl_status sl_raters_tell(sl_raters *r, sl_raters_state *out, sl_err *err) SL_USE_RESULT;

/* Pages for the raters until sl_cancel; `ready` gets lines to show: the address, the tunnel, each rater's link. */
sl_status sl_raters_serve(sl_raters *r, const sl_serve_config *c, void (*ready)(void *, const char *), void *user, sl_err *err) SL_USE_RESULT;

/* Ends the answering for good and keeps a hash of all answers. SL_EXISTS: it is frozen already. */
sl_status sl_raters_freeze(sl_raters *r, sl_err *err) SL_USE_RESULT;

typedef struct sl_raters_analysis_opts { /* option table sl_raters_analyse_opts */
    const char *seal;       /* the file that opens the key; NULL: seal.key of the study */
    int64_t draws;          /* of the bootstraps */
    int64_t seed;
} sl_raters_analysis_opts;
extern const sl_opt sl_raters_analyse_opts[];
/* Writes DIR/analysis.json and shows it through `put`, line by line. Without any answer the result is NOT RUN, also before a freeze, and the key stays
 * sealed. SL_ARG: not frozen yet; SL_DATA: the key was opened before the freeze, it or the answers were changed since; SL_MISSING: no seal. */
sl_status sl_raters_analyse(sl_raters *r, const sl_raters_analysis_opts *o, void (*put)(void *, const char *), void *user, sl_err *err) SL_USE_RESULT;

/* Writes DIR/export: items.jsonl, answers.jsonl, answers.csv; with open_key also key.json and scores.csv (answers with method, feature and what is
 * right). Opening the key before the freeze is noted for good, and analyse then refuses. */
sl_status sl_raters_export(sl_raters *r, bool open_key, const char *seal, sl_err *err) SL_USE_RESULT;

#endif
