/* The feature index from inside: the arrays that its file holds, and the steps that fill them.
 *   features_build.c   the order of things            features_rows.c     rows in the order of the text, their strings
 *   features_codes.c   codes to a scratch file        features_pick.c     a feature's statistics, contexts and co-firing
 *   features_near.c    neighbours by cosine           features_lens.c     logits that a feature moves
 *   features_vectors.c directions in place of an SAE
 *   features_file.c    one table of all arrays: written and read by it     features_read.c  the reader */
#ifndef SL_EVAL_FEATURES_H
#define SL_EVAL_FEATURES_H

#include "io/io.h"

#include <saelab/features.h>

/* ---- the arrays of an index ---- */

/* Names of dimensions; sizes of the same name agree. */
typedef enum sl_fdim {
    FD_ONE, FD_FEATURES, FD_FEATURES_1 /* + 1 */, FD_ROWS, FD_PASSAGES, FD_PASSAGES_1, FD_STRINGS_1, FD_BYTES, FD_CONTEXTS, FD_WINDOW, FD_BINS, FD_TOKENS,
    FD_NEAR, FD_LENS, FD_LINKS, FD_N
} sl_fdim;

typedef struct sl_findex { /* a pointer is NULL where the index has no such array */
    int64_t size[FD_N];
    int64_t *string_ptr;    /* [STRINGS_1] where each string starts in */
    uint8_t *string_bytes;  /* [BYTES] */
    int32_t *row_string;    /* [ROWS] string id or -1 */
    int32_t *passage;       /* [PASSAGES_1] first row of each run of rows that follow one another in the text */
    int32_t *passage_doc, *passage_pos; /* [PASSAGES] of the first row; -1: none */
    int32_t *fired, *top_token, *hist;  /* [FEATURES], [FEATURES], [FEATURES, BINS] */
    float *density, *max, *mean, *norm, *max_cosine, *top_share;
    int32_t *token;         /* [FEATURES, TOKENS] and -1 */
    float *token_share;     /* [FEATURES, TOKENS] */
    int32_t *cosine_id, *cofire_id;     /* [FEATURES, NEAR], -1: no more */
    float *cosine, *cofire;
    int32_t *up, *down;     /* [FEATURES, LENS] */
    float *up_logit, *down_logit;
    int32_t *logit_hist;    /* [FEATURES, BINS] */
    float *logit_min, *logit_max;       /* [FEATURES] */
    float *fss, *sci, *reproducibility, *f1;
    int32_t *truth;         /* string id of the best true feature */
    int32_t *compositions;  /* how many it takes part in */
    int32_t *link_ptr, *link; /* [FEATURES_1], [LINKS] */
    float *link_share;
    int32_t *context_ptr;   /* [FEATURES_1] */
    int32_t *context_at;    /* [CONTEXTS] row */
    float *context_value;
    uint8_t *context_kind, *context_same; /* kind: SL_CONTEXT_*; of QUANTILE, 16 + quantile */
    uint8_t *context_level; /* [CONTEXTS, WINDOW] the row in question at `before`; 0 outside of the passage */
} sl_findex;
enum { SL_FQUANTILE = 16, SL_FQUANTILES = 100 /* at most */ };

/* Makes the array whose pointer `at` is (&x->max), of its size, zeros. SL_MEM. */
sl_status sl_findex_make(sl_ctx *ctx, sl_findex *x, void *at, sl_err *err) SL_USE_RESULT;
void sl_findex_release(sl_ctx *ctx, sl_findex *x); /* of arrays that were made */
/* path: every array that is there, with the checksum of them all. meta: further texts (borrowed). bytes: of the file. */
sl_status sl_findex_write(sl_ctx *ctx, const char *path, const sl_findex *x, const json_t *meta, int64_t *bytes, sl_err *err) SL_USE_RESULT;
/* Pointers into d, which the caller releases, after a failure too. before + 1 + after is the window's size. Checks every number that is an index. */
sl_status sl_findex_read(sl_ctx *ctx, const char *path, bool verify, sl_dict *d, sl_findex *x, sl_err *err) SL_USE_RESULT;

/* ---- building ---- */

/* Codes of all rows as they came: row r of the source's order has entries ptr[r] .. ptr[r + 1] - 1, features ascending. */
typedef struct sl_fentry { int32_t id; float value; } sl_fentry;
typedef struct sl_fcodes {
    char path[1024];
    sl_mmap map;
    const sl_fentry *entry;
    int64_t *ptr;           /* [rows + 1] */
} sl_fcodes;

typedef struct sl_fbuild {
    sl_ctx *ctx;
    const sl_features_input *in;
    const sl_features_opts *o;
    sl_coder coder;
    sl_sae *made;           /* of vectors */
    int64_t n;              /* rows */
    sl_fcodes codes;
    int32_t *token, *doc, *pos; /* [n] in the source's order; NULL: the rows have none */
    int32_t *arrived;       /* [n] which row of the source's order is at each place of the text */
    int32_t *both;          /* [n_features, n_truth] rows in which a latent and a true feature are on; NULL without truth */
    int32_t *truth_fired;   /* [n_truth] */
    int64_t truth_string;   /* string id of the first true feature's name */
    int32_t *string_rows_ptr, *string_rows; /* rows of each string, ascending */
    int64_t contexts;       /* slots a feature */
    sl_findex x;
    double encode_seconds;
} sl_fbuild;

int64_t sl_fbuild_width(const sl_fbuild *b); /* of the decoder's rows */
/* features_vectors.c: coder and made of in->vectors. */
sl_status sl_fbuild_vectors(sl_fbuild *b, sl_err *err) SL_USE_RESULT;
/* features_codes.c: fills codes, token, doc, pos, fired and the counts of truth. */
sl_status sl_fbuild_codes(sl_fbuild *b, sl_err *err) SL_USE_RESULT;
void sl_fcodes_release(sl_ctx *ctx, sl_fcodes *c);
/* features_rows.c: arrived, passages, strings. */
sl_rows_kind sl_fbuild_kind(const sl_fbuild *b); /* once the codes are there */
sl_status sl_fbuild_rows(sl_fbuild *b, sl_err *err) SL_USE_RESULT;
sl_status sl_fbuild_truth_strings(sl_fbuild *b, sl_err *err) SL_USE_RESULT; /* once the contexts are known: truth_string */
/* features_pick.c: everything that comes from the codes of one feature. */
sl_status sl_fbuild_pick(sl_fbuild *b, sl_err *err) SL_USE_RESULT;
/* features_near.c, features_lens.c */
sl_status sl_fbuild_cosines(sl_fbuild *b, sl_err *err) SL_USE_RESULT;
sl_status sl_fbuild_lens(sl_fbuild *b, sl_err *err) SL_USE_RESULT;

/* Rows of a product with n columns that are made at once: 64 MB of it, so that the other factor is read seldom. */
static inline int64_t sl_fproduct_rows(int64_t n_rows, int64_t n)
{
    int64_t rows = ((int64_t)1 << 24) / n;
    rows = rows < 64 ? 64 : rows > 1024 ? 1024 : rows;
    return rows < n_rows ? rows : n_rows;
}

/* The `n` largest of a stream of (value, id), ties to the lower id: a short sorted list. */
typedef struct sl_fbest { int n, room; int32_t *id; float *value; } sl_fbest;
static inline void sl_fbest_add(sl_fbest *b, int32_t id, float value)
{
    int i = b->n;
    if (i < b->room)
        b->n++;
    else if (i == 0 || value < b->value[i - 1] || (value == b->value[i - 1] && id > b->id[i - 1]))
        return;
    else
        i--;
    for (; i > 0 && (value > b->value[i - 1] || (value == b->value[i - 1] && id < b->id[i - 1])); i--) {
        b->id[i] = b->id[i - 1];
        b->value[i] = b->value[i - 1];
    }
    b->id[i] = id;
    b->value[i] = value;
}

#endif
